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
    w.length(s.nodes().len() as u64);
    s.nodes().for_each(|(master, lp)| write_node(w, master, lp));
    write_rest(w, s);
}

/// Writes a node.
pub(super) fn write_node(w: &mut Writer, master: StreamId, lp: &Listpack) {
    w.string(&master.to_bytes());
    w.string(lp.as_bytes());
}

/// Writes what follows the nodes.
pub(super) fn write_rest(w: &mut Writer, s: &Stream) {
    let id = |w: &mut Writer, id: StreamId| {
        w.length(id.ms);
        w.length(id.seq);
    };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::stream::{Keep, NewId, NodeLimits};
    use proptest::prelude::*;

    /// A stream with several nodes, deleted entries, groups, and entries that were not acknowledged.
    fn sample() -> Stream {
        let mut s = Stream::new();
        let limits = NodeLimits { bytes: 4096, entries: 7 };
        for i in 1..=20u64 {
            let value = i.to_string();
            let items: &[&[u8]] = if i % 5 == 0 { &[b"other", b"x"] } else { &[b"field", value.as_bytes()] };
            s.append(StreamId::new(i, i % 3), items, limits);
        }
        s.delete(&[StreamId::new(3, 0), StreamId::new(10, 1)]);
        let mut group = Group::new(StreamId::new(9, 0), 8);
        for name in [&b"alice"[..], b"bob"] {
            group.add_consumer(name, 1_000, -1);
        }
        for i in 1..=9u64 {
            group.assign(StreamId::new(i, i % 3), if i % 2 == 0 { b"alice" } else { b"bob" }, 5_000, i, Some(5_000));
        }
        s.add_group(b"group", group);
        s.add_group(b"idle", Group::new(StreamId::MIN, -1));
        s
    }

    fn bytes(s: &Stream) -> Vec<u8> {
        let mut w = Writer::new(false);
        write(&mut w, s);
        w.bytes
    }

    #[test]
    fn a_stream_comes_back_with_its_groups() {
        let s = sample();
        let written = bytes(&s);
        let mut r = Reader::new(&written);
        let back = read(kind::STREAM_2, &mut r).unwrap();
        assert!(r.rest().is_empty());
        assert_eq!((bytes(&back), back.counters()), (written.clone(), s.counters()));
        let alice = back.group(b"group").and_then(|g| g.consumer(b"alice")).unwrap();
        // What this form has no room for is taken from the time it was seen.
        assert_eq!((alice.pending_len(), alice.seen, alice.active), (4, 1_000, 1_000));
        let mut r = Reader::new(&written);
        assert!(skip(&mut r, kind::STREAM_2).is_ok() && r.rest().is_empty());
    }

    #[test]
    fn pending_entries_without_an_owner_or_with_two_are_refused() {
        let mut w = Writer::new(false);
        // No nodes, no entries, all counters 0, one group "g" with one pending entry.
        let head = [&[0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, b'g', 0, 0, 0, 1][..], &[0; 15], &[1], &[0; 8], &[1]].concat();
        w.bytes.extend_from_slice(&head);
        let consumer = |name: u8| [&[1, name][..], &[0; 8], &[1], &[0; 15], &[1]].concat();
        let of = |consumers: &[u8]| {
            let mut all = w.bytes.clone();
            all.push(consumers.len() as u8);
            consumers.iter().for_each(|name| all.extend(consumer(*name)));
            read(kind::STREAM_2, &mut Reader::new(&all)).is_ok()
        };
        assert!(of(b"a") && !of(b"") && !of(b"ab") && !of(b"aa"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1500))]
        #[test]
        fn an_altered_stream_is_refused_or_can_be_worked_with(
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            cut in prop::option::of(any::<prop::sample::Index>()),
            kind in prop::sample::select(&[kind::STREAM, kind::STREAM_2, kind::STREAM_2, kind::STREAM_2, kind::STREAM_3]),
        ) {
            let mut b = bytes(&sample());
            for (at, byte) in changes {
                let at = at.index(b.len());
                b[at] = byte;
            }
            if let Some(cut) = cut {
                b.truncate(cut.index(b.len()));
            }
            let Ok(mut s) = read(kind, &mut Reader::new(&b)) else { return Ok(()) };
            let ids: Vec<StreamId> = s.range(StreamId::MIN, StreamId::MAX).map(|e| e.id).collect();
            prop_assert_eq!(ids.len() as u64, s.len());
            prop_assert_eq!(s.range_rev(StreamId::MIN, StreamId::MAX).count(), ids.len());
            prop_assert!(ids.windows(2).all(|w| w[0] < w[1]));
            for (_, g) in s.groups() {
                let of_consumers: usize = g.consumers().map(|c| c.pending_len()).sum();
                prop_assert_eq!(of_consumers, g.pending_len());
                let _ = s.lag(g);
            }
            let again = read(kind::STREAM_2, &mut Reader::new(&bytes(&s)));
            prop_assert_eq!(again.map(|a| a.counters()), Ok(s.counters()));
            if let Some(id) = s.next_id(NewId::Auto(1)) {
                s.append(id, &[b"field", b"v"], NodeLimits::DEFAULT);
            }
            s.delete(&ids[..ids.len() / 3]);
            s.trim(Keep::Newest(4), false, 0);
            prop_assert!(s.len() <= 4);
        }
    }
}
