//! ACL CAT, DRYRUN, GENPASS and WHOAMI.

use super::{ADMIN, OPEN};
use crate::acl::category;
use crate::base::rng;
use crate::commands::options::int;
use crate::commands::{CmdResult, Command, Ctx};
use crate::resp::Error;
use crate::spec::{CATEGORIES, Group, Meta};

/// <https://valkey.io/commands/acl-cat/>
pub(super) static CAT: Command = Command::new(
    Meta::new("acl|cat", -2, OPEN, Group::Server).doc(
        "6.0.0",
        "O(1) since the categories and commands are a fixed set.",
        "Returns the categories, or the commands of one.",
    ),
    cat,
);

fn cat(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let names = match &args[2..] {
        [] => CATEGORIES.to_vec(),
        [name] => {
            let shown = &name[..name.len().min(128)];
            let unknown = || Error::owned([b"ERR Unknown category '", shown, b"'"].concat());
            cx.server.acl.table.names_of(category(name).ok_or_else(unknown)?)
        }
        _ => return Err(Error::usage("ACL", args[1])),
    };
    cx.out.array(names.len());
    names.iter().for_each(|name| cx.out.bulk(name.as_bytes()));
    Ok(())
}

/// <https://valkey.io/commands/acl-dryrun/>
pub(super) static DRYRUN: Command = Command::new(
    Meta::new("acl|dryrun", -4, ADMIN, Group::Server).doc(
        "7.0.0",
        "O(1).",
        "Tells whether a user may run a command, and does not run it.",
    ),
    dryrun,
);

fn dryrun(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let quoting =
        |before: &str, what: &[u8], after: &str| Error::owned([before.as_bytes(), what, after.as_bytes()].concat());
    let (name, argv) = (args[2], &args[3..]);
    let user = cx.server.acl.get(name).ok_or_else(|| quoting("ERR User '", name, "' not found"))?;
    let unknown = || quoting("ERR Command '", argv[0], "' not found");
    let lookup = &cx.server.lookup;
    let container = lookup.command(argv[0]).ok_or_else(unknown)?;
    let entry = match argv.get(1) {
        Some(sub) if !container.command.subs.is_empty() => lookup.sub(container, sub).ok_or_else(unknown)?,
        _ => container,
    };
    if !entry.command.meta.arity_fits(argv.len()) {
        return Err(Error::arity(entry.command.meta.name));
    }
    match user.check(&cx.server.acl.table, entry.id, argv, cx.session.db) {
        Ok(()) => cx.out.ok(),
        Err(why) => cx.out.bulk(&why.text(&user, true)),
    }
    Ok(())
}

/// The longest password that ACL GENPASS makes, in bits.
const MAX_BITS: i64 = 4096;

/// <https://valkey.io/commands/acl-genpass/>
pub(super) static GENPASS: Command = Command::new(
    Meta::new("acl|genpass", -2, OPEN, Group::Server).doc("6.0.0", "O(1)", "Returns a password that nobody can guess."),
    genpass,
);

fn genpass(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let bits = match &args[2..] {
        [] => 256,
        [bits] => int(bits)?,
        _ => return Err(Error::usage("ACL", args[1])),
    };
    if !(1..=MAX_BITS).contains(&bits) {
        return Err(Error::owned(format!(
            "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to \
             {MAX_BITS}"
        )));
    }
    let digits = (bits as usize).div_ceil(4);
    let mut secret = vec![0; digits.div_ceil(2)];
    rng::secret(&mut secret).map_err(|_| Error::new("ERR the operating system gives no random bytes"))?;
    let text: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    cx.out.bulk(&text.as_bytes()[..digits]);
    Ok(())
}

/// <https://valkey.io/commands/acl-whoami/>
pub(super) static WHOAMI: Command = Command::new(
    Meta::new("acl|whoami", 2, OPEN, Group::Server).doc("6.0.0", "O(1)", "Returns the name of the connection's user."),
    |cx, _args| {
        cx.out.bulk_or_null(cx.session.user.as_ref().map(|user| &user.name[..]));
        Ok(())
    },
);
