//! ACL LOAD and SAVE, and the users that the server starts with.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::{ADMIN, TO_ALL, effects};
use crate::acl::{Acl, User, file};
use crate::commands::{CmdResult, Command, Ctx, Server};
use crate::config::Config;
use crate::resp::Error;
use crate::spec::{Group, Meta};

const PER_USER: &str = "O(N). Where N is the number of configured users.";
const NO_FILE: Error = Error::new(
    "ERR This instance is not configured to use an ACL file. You may want to specify users via the ACL SETUSER command \
     and then issue a CONFIG REWRITE (assuming you have a configuration file set) in order to store users in the \
     configuration.",
);

/// <https://valkey.io/commands/acl-load/>
pub(super) static LOAD: Command = Command::new(
    Meta::new("acl|load", 2, ADMIN, Group::Server).doc("6.0.0", PER_USER, "Reads the file of users again."),
    load,
);

fn load(cx: &mut Ctx<'_>, _args: &[&[u8]]) -> CmdResult {
    let acl = &cx.server.acl;
    let path = path(cx.config()).ok_or(NO_FILE)?;
    let users = read(acl, cx.config(), &path).map_err(|why| Error::general(why.as_bytes()))?;
    for (old, new) in acl.replace(users, &acl.env(cx.config())) {
        match new {
            Some(new) => effects::end_subscribers(cx, &old, &new),
            None => effects::end_connections(cx, &old),
        }
    }
    cx.out.ok();
    Ok(())
}

/// <https://valkey.io/commands/acl-save/>
pub(super) static SAVE: Command = Command::new(
    Meta::new("acl|save", 2, ADMIN, Group::Server).doc("6.0.0", PER_USER, "Writes the file of users.").tips(TO_ALL),
    save,
);

fn save(cx: &mut Ctx<'_>, _args: &[&[u8]]) -> CmdResult {
    let path = path(cx.config()).ok_or(NO_FILE)?;
    let text: Vec<u8> = cx.server.acl.all().iter().flat_map(|user| [&user.line()[..], b"\n"].concat()).collect();
    file::write(&path, &text).map_err(|e| {
        tracing::warn!("Writing the ACL file '{}': {e}", path.display());
        Error::new("ERR There was an error trying to save the ACLs. Please check the server logs for more information")
    })?;
    cx.out.ok();
    Ok(())
}

/// The file of users, if there is to be one.
fn path(config: &Config) -> Option<PathBuf> {
    let path = config.aclfile();
    (!path.is_empty()).then(|| PathBuf::from(OsStr::from_bytes(&path)))
}

fn read(acl: &Acl, config: &Config, path: &std::path::Path) -> Result<Vec<User>, String> {
    let name = path.display().to_string();
    let text = std::fs::read(path).map_err(|e| {
        let why = e.to_string();
        let why = why.split(" (os error").next().unwrap_or_default();
        format!("Error loading ACLs, opening file '{name}': {why}")
    })?;
    file::parse(&text, &name, &acl.env(config))
}

/// The users of the configuration, or of the file of users. The error ends the start.
pub fn load_at_start(server: &Server) -> Result<(), String> {
    let (acl, config) = (&server.acl, server.config);
    acl.set_default_password(&config.requirepass());
    let lines = config.users();
    let Some(path) = path(config) else {
        let words: Vec<Vec<Vec<u8>>> = lines.iter().map(|line| line.words.clone()).collect();
        acl.load(&words, &acl.env(config)).map_err(|(at, why)| lines[at].fatal(why))?;
        for user in acl.all().iter().filter(|user| !user.on) {
            let name = String::from_utf8_lossy(&user.name).into_owned();
            tracing::info!("The user '{name}' is disabled: its description has no 'on'.");
        }
        return Ok(());
    };
    if !lines.is_empty() {
        return Err("Users are defined in the configuration, and aclfile is set: please have users in one place, in \
                    the configuration or in the ACL file."
            .to_owned());
    }
    let users =
        read(acl, config, &path).map_err(|why| format!("Aborting Dunlin startup because of ACL errors: {why}"))?;
    acl.replace(users, &acl.env(config));
    Ok(())
}

/// The users as words of lines of the configuration; none where there is a file of users.
pub fn save_lines(server: &Server) -> Vec<Vec<Vec<u8>>> {
    if path(server.config).is_some() {
        return Vec::new();
    }
    let words = |user: &User| user.line().split(|c| *c == b' ').map(<[u8]>::to_vec).collect();
    server.acl.all().iter().map(|user| words(user)).collect()
}
