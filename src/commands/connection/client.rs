//! CLIENT: the container, and the subcommands about the connection itself.

use super::{kill, list, tracking};
use crate::clients::{ReplyMode, flags};
use crate::commands::options::is;
use crate::commands::{CmdResult, Command, Ctx, help};
use crate::resp::Error;
use crate::spec::{Cat, Flags, Group, Meta};

/// Flags of most subcommands.
pub(super) const FLAGS: Flags = Flags::NOSCRIPT.or(Flags::LOADING).or(Flags::STALE);
/// The same, for those that only concern the caller.
pub(super) const SUB: Flags = FLAGS;

const TO_ALL: &[&str] = &["request_policy:all_nodes", "response_policy:all_succeeded"];

/// <https://valkey.io/commands/client/>
pub static CLIENT: Command = Command::container(
    Meta::new("client", -2, Flags::NONE, Group::Connection).doc(
        "2.4.0",
        "Depends on subcommand.",
        "A container for client connection commands.",
    ),
    &[
        &tracking::CACHING,
        &CAPA,
        &GETNAME,
        &tracking::GETREDIR,
        &HELP,
        &ID,
        &IMPORT_SOURCE,
        &list::INFO,
        &kill::KILL,
        &list::LIST,
        &NO_EVICT,
        &NO_TOUCH,
        &kill::PAUSE,
        &REPLY,
        &SETINFO,
        &SETNAME,
        &tracking::TRACKING,
        &tracking::TRACKINGINFO,
        &kill::UNBLOCK,
        &kill::UNPAUSE,
    ],
);

pub(super) const fn sub(
    name: &'static str,
    arity: i16,
    flags: Flags,
    since: &'static str,
    summary: &'static str,
) -> Meta {
    Meta::new(name, arity, flags, Group::Connection).doc(since, "O(1)", summary)
}

/// Text that CLIENT LIST can show: printable, without spaces.
fn is_plain(text: &[u8]) -> bool {
    text.iter().all(u8::is_ascii_graphic)
}

/// A name that CLIENT SETNAME and HELLO SETNAME take.
pub(super) fn checked_name(name: &[u8]) -> Result<&[u8], Error> {
    if is_plain(name) {
        Ok(name)
    } else {
        Err(Error::new("ERR Client names cannot contain spaces, newlines or special characters."))
    }
}

pub(super) fn on_off(arg: &[u8]) -> Result<bool, Error> {
    match () {
        () if is(arg, "ON") => Ok(true),
        () if is(arg, "OFF") => Ok(false),
        () => Err(Error::SYNTAX),
    }
}

/// <https://valkey.io/commands/client-capa/>
static CAPA: Command = Command::new(
    sub("client|capa", -3, SUB, "8.0.0", "Tells the server what the client is capable of."),
    |cx, args| {
        // What is unknown is to be ignored.
        if args[2..].iter().any(|capability| is(capability, "REDIRECT")) {
            cx.session.redirects = true;
            cx.session.client.set(flags::REDIRECTS, true);
        }
        cx.out.ok();
        Ok(())
    },
);

/// <https://valkey.io/commands/client-getname/>
static GETNAME: Command =
    Command::new(sub("client|getname", 2, SUB, "2.6.9", "Returns the name of the connection."), |cx, _args| {
        let name = cx.session.client.names.lock().name.clone();
        cx.out.bulk_or_null(Some(&name[..]).filter(|name| !name.is_empty()));
        Ok(())
    });

/// <https://valkey.io/commands/client-id/>
static ID: Command =
    Command::new(sub("client|id", 2, SUB, "5.0.0", "Returns the number of the connection."), |cx, _args| {
        cx.out.int(cx.session.client.id as i64);
        Ok(())
    });

/// <https://valkey.io/commands/client-import-source/>
static IMPORT_SOURCE: Command = Command::new(
    sub("client|import-source", 3, SUB, "8.1.0", "Lets the connection see keys whose time is over, in import mode."),
    |cx, args| {
        let on = on_off(args[2])?;
        if on && !cx.config().import_mode() {
            return Err(Error::new("ERR Server is not in import mode"));
        }
        cx.session.import_source = on;
        cx.session.client.set(flags::IMPORT_SOURCE, on);
        // For what comes in the same turn.
        cx.db.fx.ignore_expiry = cx.session.sees_expired(cx.config().import_mode());
        cx.out.ok();
        Ok(())
    },
);

/// <https://valkey.io/commands/client-no-evict/>
static NO_EVICT: Command = Command::new(
    sub(
        "client|no-evict",
        3,
        FLAGS.or(Flags::ADMIN),
        "7.0.0",
        "Protects the connection from being closed for the memory of all clients.",
    ),
    |cx, args| {
        let on = on_off(args[2])?;
        cx.session.client.set(flags::NO_EVICT, on);
        cx.out.ok();
        Ok(())
    },
);

/// <https://valkey.io/commands/client-no-touch/>
static NO_TOUCH: Command = Command::new(
    sub("client|no-touch", 3, SUB, "7.2.0", "Lets the connection's commands leave no trace in access histories."),
    |cx, args| {
        let on = on_off(args[2])?;
        cx.session.no_touch = on;
        cx.session.client.set(flags::NO_TOUCH, on);
        cx.out.ok();
        Ok(())
    },
);

/// <https://valkey.io/commands/client-reply/>
static REPLY: Command = Command::new(
    sub("client|reply", 3, SUB.or(Flags::NO_MULTI), "3.2.0", "Turns the replies to this connection on or off."),
    reply,
);

fn reply(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    match () {
        () if is(args[2], "ON") => {
            cx.session.reply = ReplyMode::On;
            cx.out.ok();
        }
        () if is(args[2], "OFF") => cx.session.reply = ReplyMode::Off,
        () if is(args[2], "SKIP") => {
            if cx.session.reply != ReplyMode::Off {
                cx.session.reply = ReplyMode::SkipNext;
            }
        }
        () => return Err(Error::SYNTAX),
    }
    Ok(())
}

/// <https://valkey.io/commands/client-setname/>
static SETNAME: Command =
    Command::new(sub("client|setname", 3, SUB, "2.6.9", "Names the connection.").tips(TO_ALL), |cx, args| {
        let name = checked_name(args[2])?;
        cx.session.client.names.lock().name = name.to_vec();
        cx.out.ok();
        Ok(())
    });

/// <https://valkey.io/commands/client-setinfo/>
static SETINFO: Command = Command::new(
    sub("client|setinfo", 4, SUB, "7.2.0", "Notes the client library's name or version.").tips(TO_ALL),
    setinfo,
);

fn setinfo(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let (attribute, value) = (args[2], args[3]);
    let is_name = is(attribute, "LIB-NAME");
    if !is_name && !is(attribute, "LIB-VER") {
        return Err(Error::owned([b"ERR Unrecognized option '", attribute, b"'"].concat()));
    }
    if !is_plain(value) {
        let why = b" cannot contain spaces, newlines or special characters.";
        return Err(Error::general(&[attribute, why].concat()));
    }
    let mut names = cx.session.client.names.lock();
    *(if is_name { &mut names.lib_name } else { &mut names.lib_ver }) = value.to_vec();
    drop(names);
    cx.out.ok();
    Ok(())
}

/// <https://valkey.io/commands/client-help/>
static HELP: Command = Command::new(
    sub("client|help", 2, Flags::LOADING.or(Flags::STALE), "5.0.0", "Explains the subcommands.").cat(Cat::CONNECTION),
    |cx, _args| {
        help::reply(cx.out, "CLIENT", HELP_LINES);
        Ok(())
    },
);

const HELP_LINES: &[&str] = &[
    "CACHING (YES|NO)",
    "    Enable/disable tracking of the keys for next command in OPTIN/OPTOUT modes.",
    "CAPA <option> [options...]",
    "    Tell what the client can do. Options are:",
    "    * REDIRECT",
    "      The client follows redirections of a replica.",
    "GETNAME",
    "    Return the name of the current connection.",
    "GETREDIR",
    "    Return the client ID we are redirecting to when tracking is enabled.",
    "ID",
    "    Return the ID of the current connection.",
    "IMPORT-SOURCE (ON|OFF)",
    "    See keys whose time is over, while the server is in import mode.",
    "INFO",
    "    Return information about the current client connection.",
    "KILL <ip:port>",
    "    Kill connection made from <ip:port>.",
    "KILL <filter> <value> [<filter> <value> [...]]",
    "    Kill connections that fit all filters, and SKIPME (YES|NO) (default: yes).",
    "LIST [<filter> <value> [<filter> <value> [...]]]",
    "    Return information about client connections. Filters, each also as NOT-<filter>:",
    "    * ADDR (<ip:port>|<unixsocket>:0), LADDR (<ip:port>|<unixsocket>:0), IP <ip>",
    "    * TYPE (NORMAL|PRIMARY|REPLICA|PUBSUB), FLAGS <letters>, DB <index>",
    "    * ID <client-id> [<client-id> ...], USER <username>, NAME <name>",
    "    * LIB-NAME <name>, LIB-VER <version>, CAPA <letters>",
    "    * IDLE <seconds>, MAXAGE <seconds> (at least)",
    "NO-EVICT (ON|OFF)",
    "    Protect current client connection from eviction.",
    "NO-TOUCH (ON|OFF)",
    "    Will not touch LRU/LFU stats when this mode is on.",
    "PAUSE <timeout> [WRITE|ALL]",
    "    Suspend all, or just write, clients for <timeout> milliseconds.",
    "REPLY (ON|OFF|SKIP)",
    "    Control the replies sent to the current connection.",
    "SETINFO <option> <value>",
    "    Set client meta attr. Options are:",
    "    * LIB-NAME: the client lib name.",
    "    * LIB-VER: the client lib version.",
    "SETNAME <name>",
    "    Assign the name <name> to the current connection.",
    "TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]]",
    "         [OPTIN] [OPTOUT] [NOLOOP]",
    "    Control server assisted client side caching.",
    "TRACKINGINFO",
    "    Report tracking status for the current connection.",
    "UNBLOCK <clientid> [TIMEOUT|ERROR]",
    "    Unblock the specified blocked client.",
    "UNPAUSE",
    "    Stop the current client pause, resuming traffic.",
];
