//! XGROUP and XACK.
//!
//! Groups are no data to WATCH and to caches of clients, as in Redis: only the stream that is made for a group counts.

use super::super::collections::{RW_DELETE, RW_INSERT, RW_UPDATE};
use super::super::{CmdResult, Command, Ctx, help, options};
use super::{bad_subcommand, id, strict_id, strict_ids};
use crate::keyspace::notify;
use crate::resp::Error;
use crate::spec::{Flags, Group as Docs, KeySpec, Meta};
use crate::types::Stream;
use crate::types::stream::{Group, StreamId, UNKNOWN};

/// `XGROUP` <https://valkey.io/commands/xgroup/>
pub static XGROUP: Command = Command::container(
    Meta::new("xgroup", -2, Flags::NONE, Docs::Stream).doc(
        "5.0.0",
        "Depends on subcommand.",
        "A container for the commands that manage consumer groups.",
    ),
    &[&CREATE, &CREATECONSUMER, &DELCONSUMER, &DESTROY, &HELP, &SETID],
);
static CREATE: Command = Command::new(
    Meta::new("xgroup|create", -5, Flags::WRITE.or(Flags::DENYOOM), Docs::Stream)
        .keys(&[KeySpec::one(2, RW_INSERT)])
        .doc("5.0.0", "O(1)", "Creates a consumer group."),
    create,
);
static SETID: Command = Command::new(
    Meta::new("xgroup|setid", -5, Flags::WRITE, Docs::Stream).keys(&[KeySpec::one(2, RW_UPDATE)]).doc(
        "5.0.0",
        "O(1)",
        "Sets how far a consumer group has read.",
    ),
    setid,
);
static DESTROY: Command = Command::new(
    Meta::new("xgroup|destroy", 4, Flags::WRITE, Docs::Stream).keys(&[KeySpec::one(2, RW_DELETE)]).doc(
        "5.0.0",
        "O(N) where N is the number of entries that the group has not acknowledged.",
        "Removes a consumer group.",
    ),
    destroy,
);
static CREATECONSUMER: Command = Command::new(
    Meta::new("xgroup|createconsumer", 5, Flags::WRITE.or(Flags::DENYOOM), Docs::Stream)
        .keys(&[KeySpec::one(2, RW_INSERT)])
        .doc("6.2.0", "O(1)", "Adds a consumer to a group."),
    create_consumer,
);
static DELCONSUMER: Command = Command::new(
    Meta::new("xgroup|delconsumer", 5, Flags::WRITE, Docs::Stream).keys(&[KeySpec::one(2, RW_DELETE)]).doc(
        "5.0.0",
        "O(N) where N is the number of entries that the consumer has not acknowledged.",
        "Removes a consumer from a group, with what it has not acknowledged.",
    ),
    delete_consumer,
);
static HELP: Command = Command::new(
    Meta::new("xgroup|help", 2, Flags::LOADING.or(Flags::STALE), Docs::Stream).doc(
        "5.0.0",
        "O(1)",
        "Returns helpful text about the subcommands.",
    ),
    |cx, _| {
        help::reply(
            cx.out,
            "XGROUP",
            &[
                "CREATE <key> <groupname> <id|$> [option]",
                "    Create a new consumer group. Options are:",
                "    * MKSTREAM",
                "      Make the stream if there is none.",
                "    * ENTRIESREAD entries_read",
                "      Set how many entries the group has read (internal use).",
                "CREATECONSUMER <key> <groupname> <consumer>",
                "    Add a consumer to the group.",
                "DELCONSUMER <key> <groupname> <consumer>",
                "    Remove the consumer.",
                "DESTROY <key> <groupname>",
                "    Remove the group.",
                "SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
                "    Set how far the group has read.",
            ],
        );
        Ok(())
    },
);
/// `XACK key group id [id ...]`
pub static XACK: Command = Command::new(
    Meta::new("xack", -4, Flags::WRITE.or(Flags::FAST), Docs::Stream).keys(&[KeySpec::one(1, RW_UPDATE)]).doc(
        "5.0.0",
        "O(1) for each ID.",
        "Acknowledges entries: the group's consumers are done with them. Returns how many were pending.",
    ),
    xack,
);

/// What stands behind the ID of CREATE and SETID: MKSTREAM and ENTRIESREAD.
fn trailing(args: &[&[u8]], make: bool) -> Result<(bool, i64), Error> {
    let (mut make_stream, mut read) = (false, UNKNOWN);
    let mut rest = &args[5..];
    while let [word, more @ ..] = rest {
        rest = match more {
            _ if make && options::is(word, "mkstream") => {
                make_stream = true;
                more
            }
            [n, more @ ..] if options::is(word, "entriesread") => {
                read = options::int(n)?;
                if read < UNKNOWN {
                    return Err(Error::new("ERR value for ENTRIESREAD must be positive or -1"));
                }
                more
            }
            _ => return Err(bad_subcommand(args, "XGROUP")),
        };
    }
    Ok((make_stream, read))
}

const NO_STREAM: Error = Error::new(
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM option to \
     create an empty stream automatically.",
);

/// The stream of a subcommand that needs one.
fn stream<'c>(cx: &'c mut Ctx<'_>, key: &[u8]) -> Result<&'c mut Stream, Error> {
    cx.db.stream_write(key)?.ok_or(NO_STREAM)
}

/// The group of a subcommand that needs one.
fn group<'c>(cx: &'c mut Ctx<'_>, key: &[u8], name: &[u8]) -> Result<&'c mut Group, Error> {
    let missing = || Error::owned([b"NOGROUP No such consumer group '", name, b"' for key name '", key, b"'"].concat());
    stream(cx, key)?.group_mut(name).ok_or_else(missing)
}

fn create(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let (make, read) = trailing(args, true)?;
    let (key, name) = (args[2], args[3]);
    let found = cx.db.stream_write(key)?;
    if found.is_none() && !make {
        return Err(NO_STREAM);
    }
    let last = match args[4] {
        b"$" => found.as_ref().map_or(StreamId::MIN, |s| s.last_id()),
        arg => strict_id(arg, 0)?,
    };
    let new = found.is_none();
    let stream = cx.db.stream_create(key, Stream::new)?;
    if !stream.add_group(name, Group::new(last, read)) {
        return Err(Error::new("BUSYGROUP Consumer Group name already exists"));
    }
    cx.out.ok();
    if new {
        cx.db.modified(key, 1);
    } else {
        cx.db.fx.dirty += 1;
    }
    cx.db.notify(notify::STREAM, "xgroup-create", key);
    Ok(())
}

fn setid(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let (_, read) = trailing(args, false)?;
    let (key, name) = (args[2], args[3]);
    group(cx, key, name)?;
    let last = match args[4] {
        b"$" => stream(cx, key)?.last_id(),
        arg => id(arg, 0)?,
    };
    let g = group(cx, key, name)?;
    (g.last_id, g.entries_read) = (last, read);
    cx.out.ok();
    cx.db.fx.dirty += 1;
    cx.db.notify(notify::STREAM, "xgroup-setid", key);
    Ok(())
}

fn destroy(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let key = args[2];
    let found = stream(cx, key)?.remove_group(args[3]);
    cx.out.int(i64::from(found));
    if found {
        cx.db.fx.dirty += 1;
        cx.db.notify(notify::STREAM, "xgroup-destroy", key);
        // Who waits for something to read in the group hears that it is gone.
        cx.db.signal(key);
    }
    Ok(())
}

fn create_consumer(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let (key, now) = (args[2], cx.db.clock);
    let made = group(cx, key, args[3])?.add_consumer(args[4], now, -1);
    cx.out.int(i64::from(made));
    if made {
        cx.db.fx.dirty += 1;
        cx.db.notify(notify::STREAM, "xgroup-createconsumer", key);
    }
    Ok(())
}

fn delete_consumer(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let key = args[2];
    let pending = group(cx, key, args[3])?.remove_consumer(args[4]);
    cx.out.len_int(pending.unwrap_or(0));
    if pending.is_some() {
        cx.db.fx.dirty += 1;
        cx.db.notify(notify::STREAM, "xgroup-delconsumer", key);
    }
    Ok(())
}

fn xack(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let Some(group) = cx.db.stream_write(args[1])?.and_then(|s| s.group_mut(args[2])) else {
        cx.out.int(0);
        return Ok(());
    };
    let ids = strict_ids(&args[3..])?;
    let n = ids.into_iter().filter(|id| group.acknowledge(*id)).count();
    cx.out.len_int(n);
    cx.db.fx.dirty += n as u64;
    Ok(())
}
