//! AUTH and HELLO: who the client is, and which protocol version it speaks.
//!
//! AUTH with a password alone is for the user `default`, whose password is `requirepass` unless ACL SETUSER says otherwise.

use std::sync::atomic::Ordering::Relaxed;

use super::client::checked_name;
use super::list::Running;
use crate::acl::{Context, DEFAULT, Event, Reason};
use crate::base::num;
use crate::commands::acl::denied;
use crate::commands::options::is;
use crate::commands::text::COMPATIBLE_VERSION;
use crate::commands::{CmdResult, Command, Ctx};
use crate::resp::{Error, Proto};
use crate::spec::{Flags, Group, Meta};

const FLAGS: Flags =
    Flags::NOSCRIPT.or(Flags::LOADING).or(Flags::STALE).or(Flags::FAST).or(Flags::NO_AUTH).or(Flags::ALLOW_BUSY);

const WRONGPASS: Error = Error::new("WRONGPASS invalid username-password pair or user is disabled.");

/// <https://valkey.io/commands/auth/>
pub static AUTH: Command = Command::new(
    Meta::new("auth", -2, FLAGS, Group::Connection).doc("1.0.0", "O(1)", "Authenticates the connection."),
    auth,
);

fn auth(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let (user, password) = match args {
        [_, password] => {
            if cx.server.acl.default_has_no_password() {
                return Err(Error::new(
                    "ERR AUTH <password> called without any password configured for the default user. Are you sure \
                     your configuration is correct?",
                ));
            }
            (DEFAULT, *password)
        }
        [_, user, password] => (*user, *password),
        _ => return Err(Error::SYNTAX),
    };
    authenticate(cx, args, user, password)?;
    cx.out.ok();
    Ok(())
}

/// Check a password, and note who the client is. `args` are those of the command that asks for it.
fn authenticate(cx: &mut Ctx<'_>, args: &[&[u8]], name: &[u8], password: &[u8]) -> CmdResult {
    let acl = &cx.server.acl;
    let version = acl.version();
    let user = acl.get(name).filter(|user| user.accepts(password));
    let Some(user) = user else {
        let queued = cx.session.multi.is_some() || cx.session.deny_blocking;
        let context = if queued { Context::Multi } else { Context::TopLevel };
        let client = denied::client_line(cx.server, &cx.session.client, Running::own(cx, args));
        let object = args[0].to_vec();
        denied::log(cx.server, cx.stats, Event { reason: Reason::Auth, context, object, user: name.to_vec(), client });
        return Err(WRONGPASS);
    };
    cx.session.log_in(user, acl, version);
    Ok(())
}

/// <https://valkey.io/commands/hello/>
pub static HELLO: Command = Command::new(
    Meta::new("hello", -1, FLAGS, Group::Connection).doc(
        "6.0.0",
        "O(1)",
        "Chooses the protocol version, authenticates and names the connection, and tells about the server.",
    ),
    hello,
);

fn hello(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let proto = match args.get(1) {
        None => None,
        Some(version) => {
            let version =
                num::parse_i64(version).ok_or(Error::new("ERR Protocol version is not an integer or out of range"))?;
            Some(match version {
                2 => Proto::Resp2,
                3 => Proto::Resp3,
                _ => return Err(Error::new("NOPROTO unsupported protocol version")),
            })
        }
    };
    let (mut login, mut name) = (None, None);
    let mut rest = args.get(2..).unwrap_or_default();
    while let Some((option, values)) = rest.split_first() {
        rest = match values {
            [user, password, rest @ ..] if is(option, "AUTH") => {
                login = Some((*user, *password));
                rest
            }
            [value, rest @ ..] if is(option, "SETNAME") => {
                name = Some(checked_name(value)?);
                rest
            }
            _ => {
                let option = String::from_utf8_lossy(option);
                return Err(Error::owned(format!("ERR Syntax error in HELLO option '{option}'")));
            }
        };
    }
    if let Some((user, password)) = login {
        authenticate(cx, args, user, password)?;
    }
    if !cx.session.authenticated {
        return Err(Error::new(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH \
             <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the \
             same time",
        ));
    }
    if let Some(name) = name {
        cx.session.client.names.lock().name = name.to_vec();
    }
    if let Some(proto) = proto {
        cx.out.set_proto(proto);
        cx.session.client.resp.store(proto as usize, Relaxed);
    }
    let redis = cx.config().extended_redis_compatibility();
    let mode: &[u8] = if cx.server.cluster.is_enabled() { b"cluster" } else { b"standalone" };
    let role: &[u8] = if cx.server.repl.link.is_replica() { b"replica" } else { b"master" };
    let out = &mut *cx.out;
    out.map(7);
    out.bulk(b"server");
    out.bulk(if redis { b"redis" } else { b"dunlin" });
    out.bulk(b"version");
    out.bulk(COMPATIBLE_VERSION.as_bytes());
    out.bulk(b"proto");
    out.int(out.proto() as i64);
    out.bulk(b"id");
    out.int(cx.session.client.id as i64);
    out.bulk(b"mode");
    out.bulk(mode);
    out.bulk(b"role");
    out.bulk(role);
    out.bulk(b"modules");
    out.array(0);
    Ok(())
}
