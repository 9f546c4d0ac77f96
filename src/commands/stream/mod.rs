//! Commands on streams.
//!
//! What a command does is logged such that a replay needs no clock and no luck: an entry goes with its ID, a trim with the
//! exact bound that it came to, and what reading and claiming do to a group as XCLAIM and XGROUP SETID.

pub mod add;
pub mod claim;
pub mod group;
pub mod info;
pub mod pending;
pub mod range;
pub mod read;
pub mod trim;

use super::collections::elem;
use super::{Command, Ctx, Server};
use crate::base::num;
use crate::resp::{Error, Out};
use crate::types::stream::{Entry, Nack, NodeLimits, StreamId};

/// All of them.
pub const COMMANDS: &[&Command] = &[
    &group::XACK,
    &add::XADD,
    &claim::XAUTOCLAIM,
    &claim::XCLAIM,
    &trim::XDEL,
    &group::XGROUP,
    &info::XINFO,
    &range::XLEN,
    &pending::XPENDING,
    &range::XRANGE,
    &read::XREAD,
    &read::XREADGROUP,
    &range::XREVRANGE,
    &trim::XSETID,
    &trim::XTRIM,
];

const BAD_ID: Error = Error::new("ERR Invalid stream ID specified as stream command argument");

/// The size of nodes in force.
fn node_limits(server: &Server) -> NodeLimits {
    NodeLimits { bytes: server.config.stream_node_max_bytes(), entries: server.config.stream_node_max_entries() }
}

/// An ID; one without a sequence gets `seq`. `*` for the sequence is allowed where `auto` is, and comes back as none.
fn parse_parts(arg: &[u8], auto: bool) -> Option<(u64, Option<Option<u64>>)> {
    if arg.len() > 127 {
        return None;
    }
    match arg.iter().position(|b| *b == b'-') {
        None => Some((num::parse_u64(arg)?, None)),
        Some(at) => {
            let (ms, seq) = (num::parse_u64(&arg[..at])?, &arg[at + 1..]);
            let seq = if auto && seq == b"*" { None } else { Some(num::parse_u64(seq)?) };
            Some((ms, Some(seq)))
        }
    }
}

/// A complete ID; one without a sequence gets `seq`.
fn strict_id(arg: &[u8], seq: u64) -> Result<StreamId, Error> {
    let (ms, given) = parse_parts(arg, false).ok_or(BAD_ID)?;
    Ok(StreamId::new(ms, given.flatten().unwrap_or(seq)))
}

/// An ID, or `-` or `+` for the least and the greatest.
fn id(arg: &[u8], seq: u64) -> Result<StreamId, Error> {
    match arg {
        b"-" => Ok(StreamId::MIN),
        b"+" => Ok(StreamId::MAX),
        arg => strict_id(arg, seq),
    }
}

/// Where an interval begins; `(` leaves the ID itself out.
fn interval_start(arg: &[u8]) -> Result<StreamId, Error> {
    match arg {
        [b'(', rest @ ..] if !rest.is_empty() => {
            strict_id(rest, 0)?.next().ok_or(Error::new("ERR invalid start ID for the interval"))
        }
        arg => id(arg, 0),
    }
}

/// Where an interval ends; `(` leaves the ID itself out.
fn interval_end(arg: &[u8]) -> Result<StreamId, Error> {
    match arg {
        [b'(', rest @ ..] if !rest.is_empty() => {
            strict_id(rest, u64::MAX)?.prev().ok_or(Error::new("ERR invalid end ID for the interval"))
        }
        arg => id(arg, u64::MAX),
    }
}

/// IDs that must all be complete.
fn strict_ids(args: &[&[u8]]) -> Result<Vec<StreamId>, Error> {
    args.iter().map(|a| strict_id(a, 0)).collect()
}

/// An ID as a bulk string.
fn bulk_id(out: &mut Out, id: StreamId) {
    let (mut ms, mut seq) = (itoa::Buffer::new(), itoa::Buffer::new());
    let mut text: smallvec::SmallVec<[u8; 48]> = smallvec::SmallVec::new();
    text.extend_from_slice(ms.format(id.ms).as_bytes());
    text.push(b'-');
    text.extend_from_slice(seq.format(id.seq).as_bytes());
    out.bulk(&text);
}

fn text(n: impl std::fmt::Display) -> String {
    n.to_string()
}

/// An entry: its ID, then fields and values in turn.
fn reply_entry(out: &mut Out, entry: &Entry<'_>) {
    out.array(2);
    bulk_id(out, entry.id);
    out.array(entry.len * 2);
    entry.for_each(|field, value| {
        elem(out, field);
        elem(out, value);
    });
}

/// Entries as an array, at most `count` (0: all).
fn reply_entries<'a>(out: &mut Out, entries: impl Iterator<Item = Entry<'a>>, count: u64) {
    let at = out.later();
    let mut n = 0;
    for entry in entries {
        reply_entry(out, &entry);
        n += 1;
        if n as u64 == count {
            break;
        }
    }
    out.array_at(at, n);
}

fn no_group(key: &[u8], group: &[u8], rest: &str) -> Error {
    Error::owned([b"NOGROUP No such key '", key, b"' or consumer group '", group, b"'", rest.as_bytes()].concat())
}

fn bad_subcommand(args: &[&[u8]], container: &str) -> Error {
    let sub = &args[1][..args[1].len().min(128)];
    let head: &[u8] = b"ERR unknown subcommand or wrong number of arguments for '";
    Error::owned([head, sub, b"'. Try ", container.as_bytes(), b" HELP."].concat())
}

/// Logs pending entries of a group as the claims that make them what they are.
fn log_claims(cx: &mut Ctx<'_>, key: &[u8], group: &[u8], last: StreamId, claims: &[(StreamId, Nack)]) {
    if !cx.db.fx.logging {
        return;
    }
    let last = text(last);
    for (id, nack) in claims {
        let (id, time, count) = (text(id), text(nack.time), text(nack.count));
        cx.db.effect(&[
            b"XCLAIM",
            key,
            group,
            &nack.consumer,
            b"0",
            id.as_bytes(),
            b"TIME",
            time.as_bytes(),
            b"RETRYCOUNT",
            count.as_bytes(),
            b"FORCE",
            b"JUSTID",
            b"LASTID",
            last.as_bytes(),
        ]);
    }
}

/// Logs how far a group has read.
fn log_progress(cx: &mut Ctx<'_>, key: &[u8], group: &[u8], last: StreamId, read: i64) {
    let (last, read) = (text(last), text(read));
    cx.db.effect(&[b"XGROUP", b"SETID", key, group, last.as_bytes(), b"ENTRIESREAD", read.as_bytes()]);
}

/// Logs that a consumer came to be, which is announced, too.
fn consumer_made(cx: &mut Ctx<'_>, key: &[u8], group: &[u8], consumer: &[u8]) {
    announce_consumer(cx, key);
    log_consumer(cx, key, group, consumer);
}

/// Announces that a consumer came to be.
fn announce_consumer(cx: &mut Ctx<'_>, key: &[u8]) {
    cx.db.notify(crate::keyspace::notify::STREAM, "xgroup-createconsumer", key);
    cx.db.fx.dirty += 1;
}

/// Logs that a consumer came to be.
fn log_consumer(cx: &mut Ctx<'_>, key: &[u8], group: &[u8], consumer: &[u8]) {
    cx.db.effect(&[b"XGROUP", b"CREATECONSUMER", key, group, consumer]);
}

#[cfg(test)]
mod tests;
