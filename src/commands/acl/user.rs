//! ACL SETUSER, GETUSER, DELUSER, LIST and USERS.

use super::{ADMIN, TO_ALL, effects};
use crate::acl::{DEFAULT, Selector, has_space};
use crate::commands::{CmdResult, Command, Ctx};
use crate::resp::{Error, Out};
use crate::spec::{Group, Meta};

const PER_USER: &str = "O(N). Where N is the number of configured users.";

/// <https://valkey.io/commands/acl-setuser/>
pub(super) static SETUSER: Command = Command::new(
    Meta::new("acl|setuser", -3, ADMIN, Group::Server)
        .doc("6.0.0", "O(N). Where N is the number of rules provided.", "Makes a user, or changes its rules.")
        .tips(TO_ALL),
    setuser,
);

fn setuser(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let name = args[2];
    if has_space(name) {
        return Err(Error::new("ERR Usernames can't contain spaces or null characters"));
    }
    let acl = &cx.server.acl;
    let env = acl.env(cx.config());
    let change = acl.set(name, &args[3..], &env).map_err(|why| Error::general(&why))?;
    if let (Some(old), Some(new)) = change {
        effects::end_subscribers(cx, &old, &new);
    }
    cx.out.ok();
    Ok(())
}

/// <https://valkey.io/commands/acl-deluser/>
pub(super) static DELUSER: Command = Command::new(
    Meta::new("acl|deluser", -3, ADMIN, Group::Server)
        .doc("6.0.0", "O(1) amortized time considering the typical user.", "Deletes users and ends their connections.")
        .tips(TO_ALL),
    deluser,
);

fn deluser(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let names = &args[2..];
    if names.contains(&DEFAULT) {
        return Err(Error::new("ERR The 'default' user cannot be removed"));
    }
    let mut deleted = 0;
    for name in names {
        if let Some(user) = cx.server.acl.delete(name) {
            effects::end_connections(cx, &user);
            deleted += 1;
        }
    }
    cx.out.int(deleted);
    Ok(())
}

/// <https://valkey.io/commands/acl-getuser/>
pub(super) static GETUSER: Command = Command::new(
    Meta::new("acl|getuser", 3, ADMIN, Group::Server).doc(
        "6.0.0",
        "O(N). Where N is the number of password, command and pattern rules that the user has.",
        "Tells the rules of a user.",
    ),
    getuser,
);

fn getuser(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let Some(user) = cx.server.acl.get(args[2]) else {
        cx.out.null();
        return Ok(());
    };
    let out = &mut *cx.out;
    out.map(7);
    out.bulk(b"flags");
    let flags = user.flags();
    out.set(flags.len());
    flags.iter().for_each(|flag| out.bulk(flag.as_bytes()));
    out.bulk(b"passwords");
    let passwords = user.passwords();
    out.array(passwords.len());
    passwords.for_each(|hash| out.bulk(hash.as_bytes()));
    let root = fields(user.root());
    root[..3].iter().for_each(|field| pair(out, field));
    out.bulk(b"selectors");
    out.array(user.selectors.len() - 1);
    for selector in &user.selectors[1..] {
        out.map(4);
        fields(selector).iter().for_each(|field| pair(out, field));
    }
    // In its place before the selectors it would move these, which clients of RESP2 look for by number.
    pair(out, &root[3]);
    Ok(())
}

fn pair(out: &mut Out, (name, text): &(&str, Vec<u8>)) {
    out.bulk(name.as_bytes());
    out.bulk(text);
}

fn fields(selector: &Selector) -> [(&'static str, Vec<u8>); 4] {
    [
        ("commands", selector.commands_text()),
        ("keys", selector.keys_text()),
        ("channels", selector.channels_text()),
        ("databases", selector.databases_text().into_bytes()),
    ]
}

/// <https://valkey.io/commands/acl-list/>
pub(super) static LIST: Command = Command::new(
    Meta::new("acl|list", 2, ADMIN, Group::Server).doc("6.0.0", PER_USER, "Returns users as lines of a file of users."),
    |cx, _args| {
        let users = cx.server.acl.all();
        cx.out.array(users.len());
        users.iter().for_each(|user| cx.out.bulk(&user.line()));
        Ok(())
    },
);

/// <https://valkey.io/commands/acl-users/>
pub(super) static USERS: Command = Command::new(
    Meta::new("acl|users", 2, ADMIN, Group::Server).doc("6.0.0", PER_USER, "Returns the names of all users."),
    |cx, _args| {
        let users = cx.server.acl.all();
        cx.out.array(users.len());
        users.iter().for_each(|user| cx.out.bulk(&user.name));
        Ok(())
    },
);
