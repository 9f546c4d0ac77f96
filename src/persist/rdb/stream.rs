//! Streams: nodes as they are in memory, counters, groups with what is pending, consumers with the IDs that are theirs.
//!
//! IDs are sixteen bytes, big-endian, where they stand in lists, and two lengths elsewhere; times are eight bytes,
//! little-endian.

use std::collections::BTreeMap;

use super::decode::{BadPayload, Reader};
use super::encode::Writer;
use super::kind;
use crate::types::Stream;
use crate::types::listpack::Listpack;
use crate::types::stream::{Counters, Group, StreamId};

type Result<T> = std::result::Result<T, BadPayload>;

/// Writes the body of a stream in the form of Redis 7.0.
pub fn write(w: &mut Writer, s: &Stream) {
    let id = |w: &mut Writer, id: StreamId| {
        w.length(id.ms);
        w.length(id.seq);
    };
    w.length(s.nodes().len() as u64);
    for (master, lp) in s.nodes() {
        w.string(&master.to_bytes());
        w.string(lp.as_bytes());
    }
    let c = s.counters();
    w.length(c.len);
    id(w, c.last);
    id(w, c.first);
    id(w, c.max_deleted);
    w.length(c.added);
    w.length(s.groups().len() as u64);
    for (name, group) in s.groups() {
        w.string(name);
        id(w, group.last_id);
        w.length(group.entries_read as u64);
        w.length(group.pending_len() as u64);
        for (id, nack) in group.pending(StreamId::MIN) {
            w.bytes.extend_from_slice(&id.to_bytes());
            w.bytes.extend_from_slice(&nack.time.to_le_bytes());
            w.length(nack.count);
        }
        w.length(group.consumers().len() as u64);
        for consumer in group.consumers() {
            w.string(consumer.name());
            w.bytes.extend_from_slice(&consumer.seen.to_le_bytes());
            w.length(consumer.pending_len() as u64);
            consumer.pending(StreamId::MIN).for_each(|id| w.bytes.extend_from_slice(&id.to_bytes()));
        }
    }
}

fn id(r: &mut Reader<'_>) -> Result<StreamId> {
    Ok(StreamId::new(r.plain_len()?, r.plain_len()?))
}

fn time(r: &mut Reader<'_>) -> Result<i64> {
    Ok(i64::from_le_bytes(r.array()?))
}

/// Reads the body of a stream in any form.
pub fn read(what: u8, r: &mut Reader<'_>) -> Result<Stream> {
    let mut nodes = Vec::new();
    for _ in 0..r.plain_len()? {
        let master: [u8; 16] = (*r.string_cow()?).try_into().map_err(|_| BadPayload::Malformed)?;
        nodes.push((StreamId::from_bytes(master), Listpack::from_bytes(&r.string_cow()?)?));
    }
    let mut c = Counters { len: r.plain_len()?, last: id(r)?, ..Counters::default() };
    if what != kind::STREAM {
        (c.first, c.max_deleted, c.added) = (id(r)?, id(r)?, r.plain_len()?);
    }
    let mut stream = Stream::from_nodes(nodes, c, what == kind::STREAM)?;
    for _ in 0..r.plain_len()? {
        let name = r.string()?;
        let last = id(r)?;
        let read = match what {
            kind::STREAM => stream.distance(last).unwrap_or(crate::types::stream::UNKNOWN),
            _ => r.plain_len()? as i64,
        };
        let read = read.max(crate::types::stream::UNKNOWN);
        let mut group = Group::new(last, read);
        let mut pending = BTreeMap::new();
        for _ in 0..r.plain_len()? {
            let id = StreamId::from_bytes(r.array()?);
            if pending.insert(id, (time(r)?, r.plain_len()?.min(i64::MAX as u64))).is_some() {
                return Err(BadPayload::Malformed);
            }
        }
        let mut consumers = Vec::new();
        for _ in 0..r.plain_len()? {
            let name = r.string()?;
            let seen = time(r)?;
            let active = if what == kind::STREAM_3 { time(r)? } else { seen };
            let mut ids = Vec::new();
            for _ in 0..r.plain_len()? {
                ids.push(StreamId::from_bytes(r.array()?));
            }
            consumers.push((name, seen, active, ids));
        }
        group.load(pending, consumers)?;
        if !stream.add_group(&name, group) {
            return Err(BadPayload::Malformed);
        }
    }
    Ok(stream)
}

/// Passes over the body of a stream in any form.
pub fn skip(r: &mut Reader<'_>, what: u8) -> Result<()> {
    use super::skip::repeat;
    repeat(r, |r| {
        r.skip_string()?;
        r.skip_string()
    })?;
    let counters = if what == kind::STREAM { 3 } else { 8 };
    for _ in 0..counters {
        r.plain_len()?;
    }
    repeat(r, |r| {
        r.skip_string()?;
        for _ in 0..if what == kind::STREAM { 2 } else { 3 } {
            r.plain_len()?;
        }
        repeat(r, |r| {
            r.take(24)?;
            r.plain_len().map(drop)
        })?;
        repeat(r, |r| {
            r.skip_string()?;
            r.take(if what == kind::STREAM_3 { 16 } else { 8 })?;
            repeat(r, |r| r.take(16).map(drop))
        })
    })
}
