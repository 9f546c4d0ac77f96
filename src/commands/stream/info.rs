//! XINFO.

use super::super::collections::RO_ACCESS;
use super::super::{CmdResult, Command, Ctx, help, options};
use super::{bad_subcommand, bulk_id, reply_entries, reply_entry};
use crate::resp::{Error, Out};
use crate::spec::{Flags, Group as Docs, KeySpec, Meta};
use crate::types::Stream;
use crate::types::stream::{Consumer, Group, StreamId, UNKNOWN};

const KEY: &[KeySpec] = &[KeySpec::one(2, RO_ACCESS)];

/// `XINFO` <https://valkey.io/commands/xinfo/>
pub static XINFO: Command = Command::container(
    Meta::new("xinfo", -2, Flags::NONE, Docs::Stream).doc(
        "5.0.0",
        "Depends on subcommand.",
        "A container for the commands that look at streams and their groups.",
    ),
    &[&CONSUMERS, &GROUPS, &HELP, &STREAM],
);
static CONSUMERS: Command = Command::new(
    Meta::new("xinfo|consumers", 4, Flags::READONLY, Docs::Stream)
        .keys(KEY)
        .doc("5.0.0", "O(N) where N is the number of consumers.", "Returns the consumers of a group.")
        .tips(&["nondeterministic_output"]),
    consumers,
);
static GROUPS: Command = Command::new(
    Meta::new("xinfo|groups", 3, Flags::READONLY, Docs::Stream).keys(KEY).doc(
        "5.0.0",
        "O(N) where N is the number of groups.",
        "Returns the consumer groups of a stream.",
    ),
    groups,
);
static STREAM: Command = Command::new(
    Meta::new("xinfo|stream", -3, Flags::READONLY, Docs::Stream).keys(KEY).doc(
        "5.0.0",
        "O(1), or O(N) with FULL where N is the number of groups, consumers and entries shown.",
        "Returns what is known of a stream.",
    ),
    stream,
);
static HELP: Command = Command::new(
    Meta::new("xinfo|help", 2, Flags::LOADING.or(Flags::STALE), Docs::Stream).doc(
        "5.0.0",
        "O(1)",
        "Returns helpful text about the subcommands.",
    ),
    |cx, _| {
        help::reply(
            cx.out,
            "XINFO",
            &[
                "CONSUMERS <key> <groupname>",
                "    Show the consumers of a group.",
                "GROUPS <key>",
                "    Show the consumer groups of a stream.",
                "STREAM <key> [FULL [COUNT <count>]",
                "    Show what is known of a stream.",
            ],
        );
        Ok(())
    },
);

fn field(out: &mut Out, name: &str, n: i64) {
    out.bulk(name.as_bytes());
    out.int(n);
}
fn id_field(out: &mut Out, name: &str, id: StreamId) {
    out.bulk(name.as_bytes());
    bulk_id(out, id);
}
fn maybe(out: &mut Out, name: &str, n: Option<i64>) {
    out.bulk(name.as_bytes());
    match n {
        Some(n) => out.int(n),
        None => out.null(),
    }
}
fn read_and_lag(out: &mut Out, stream: &Stream, group: &Group) {
    maybe(out, "entries-read", Some(group.entries_read).filter(|n| *n != UNKNOWN));
    maybe(out, "lag", stream.lag(group));
}

fn consumers(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let (key, name, now) = (args[2], args[3], cx.db.clock);
    let Some(stream) = cx.db.stream_read(key)? else { return Err(Error::NO_KEY) };
    let Some(group) = stream.group(name) else {
        return Err(Error::owned([b"NOGROUP No such consumer group '", name, b"' for key name '", key, b"'"].concat()));
    };
    cx.out.array(group.consumers().len());
    for c in group.consumers() {
        cx.out.map(4);
        cx.out.bulk(b"name");
        cx.out.bulk(c.name());
        field(cx.out, "pending", c.pending_len() as i64);
        field(cx.out, "idle", now.saturating_sub(c.seen).max(0));
        field(cx.out, "inactive", if c.active == -1 { -1 } else { now.saturating_sub(c.active) });
    }
    Ok(())
}

fn groups(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let Some(stream) = cx.db.stream_read(args[2])? else { return Err(Error::NO_KEY) };
    cx.out.array(stream.groups().len());
    for (name, group) in stream.groups() {
        cx.out.map(6);
        cx.out.bulk(b"name");
        cx.out.bulk(name);
        field(cx.out, "consumers", group.consumers().len() as i64);
        field(cx.out, "pending", group.pending_len() as i64);
        id_field(cx.out, "last-delivered-id", group.last_id);
        read_and_lag(cx.out, stream, group);
    }
    Ok(())
}

/// Whether everything is wanted, and how much of each list (0: all of it).
fn full(args: &[&[u8]]) -> Result<Option<u64>, Error> {
    match &args[3..] {
        [] => Ok(None),
        [word] if options::is(word, "full") => Ok(Some(10)),
        [word, count, n] if options::is(word, "full") && options::is(count, "count") => {
            Ok(Some(u64::try_from(options::int(n)?).unwrap_or(10)))
        }
        _ => Err(bad_subcommand(args, "XINFO")),
    }
}

fn stream(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let Some(s) = cx.db.stream_read(args[2])? else { return Err(Error::NO_KEY) };
    let full = full(args)?;
    let (out, c) = (&mut *cx.out, s.counters());
    out.map(if full.is_some() { 9 } else { 10 });
    field(out, "length", c.len as i64);
    field(out, "radix-tree-keys", s.nodes().len() as i64);
    // There is no such tree; one of this many keys has about a node for each, and a root.
    field(out, "radix-tree-nodes", s.nodes().len() as i64 + 1);
    id_field(out, "last-generated-id", c.last);
    id_field(out, "max-deleted-entry-id", c.max_deleted);
    field(out, "entries-added", c.added as i64);
    id_field(out, "recorded-first-entry-id", c.first);
    let Some(count) = full else {
        field(out, "groups", s.groups().len() as i64);
        let ends = [
            ("first-entry", s.range(StreamId::MIN, StreamId::MAX).next()),
            ("last-entry", s.range_rev(StreamId::MIN, StreamId::MAX).next()),
        ];
        for (name, entry) in ends {
            out.bulk(name.as_bytes());
            match entry {
                Some(entry) => reply_entry(out, &entry),
                None => out.null(),
            }
        }
        return Ok(());
    };
    out.bulk(b"entries");
    reply_entries(out, s.range(StreamId::MIN, StreamId::MAX), count);
    out.bulk(b"groups");
    out.array(s.groups().len());
    let most = if count == 0 { usize::MAX } else { count as usize };
    for (name, group) in s.groups() {
        out.map(7);
        out.bulk(b"name");
        out.bulk(name);
        id_field(out, "last-delivered-id", group.last_id);
        read_and_lag(out, s, group);
        field(out, "pel-count", group.pending_len() as i64);
        out.bulk(b"pending");
        out.array(group.pending_len().min(most));
        for (id, nack) in group.pending(StreamId::MIN).take(most) {
            out.array(4);
            bulk_id(out, id);
            out.bulk(&nack.consumer);
            out.int(nack.time);
            out.int(nack.count as i64);
        }
        out.bulk(b"consumers");
        out.array(group.consumers().len());
        group.consumers().for_each(|c| full_consumer(out, group, c, most));
    }
    Ok(())
}

fn full_consumer(out: &mut Out, group: &Group, c: &Consumer, most: usize) {
    out.map(5);
    out.bulk(b"name");
    out.bulk(c.name());
    field(out, "seen-time", c.seen);
    field(out, "active-time", c.active);
    field(out, "pel-count", c.pending_len() as i64);
    out.bulk(b"pending");
    out.array(c.pending_len().min(most));
    for id in c.pending(StreamId::MIN).take(most) {
        let nack = group.nack(id);
        out.array(3);
        bulk_id(out, id);
        out.int(nack.map_or(0, |n| n.time));
        out.int(nack.map_or(0, |n| n.count as i64));
    }
}
