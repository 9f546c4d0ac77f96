//! Keys as the commands that make them.

use crate::keyspace::snapshot::Encode;
use crate::keyspace::{EntryRef, NO_EXPIRY, View, encode_request};
use crate::types::stream::StreamId;
use crate::types::{Elem, Stream};

/// Elements of a collection in one command, as Redis does.
const ITEMS: usize = 64;

/// Writes keys as commands.
#[derive(Debug, Default)]
pub struct Commands;

/// Gathers elements into commands of at most [`ITEMS`].
struct Chunks<'a> {
    verb: &'a [u8],
    key: &'a [u8],
    args: Vec<Vec<u8>>,
    items: usize,
    out: &'a mut Vec<u8>,
}

impl Chunks<'_> {
    fn add(&mut self, item: &[&[u8]]) {
        self.args.extend(item.iter().map(|i| i.to_vec()));
        self.items += 1;
        if self.items == ITEMS {
            self.flush();
        }
    }
    fn flush(&mut self) {
        if self.items > 0 {
            let mut argv = vec![self.verb, self.key];
            argv.extend(self.args.iter().map(|a| &a[..]));
            encode_request(&argv, self.out);
            self.args.clear();
            self.items = 0;
        }
    }
}

fn bytes(e: Elem<'_>) -> Vec<u8> {
    e.to_vec()
}

/// A stream as the commands that make it.
fn stream_commands(key: &[u8], stream: &Stream, out: &mut Vec<u8>) {
    let text = |n: &dyn std::fmt::Display| n.to_string().into_bytes();
    for e in stream.range(StreamId::MIN, StreamId::MAX) {
        let mut argv = vec![b"XADD".to_vec(), key.to_vec(), text(&e.id)];
        e.for_each(|field, value| argv.extend([bytes(field), bytes(value)]));
        encode_request(&argv.iter().map(|a| &a[..]).collect::<Vec<_>>(), out);
    }
    if stream.is_empty() {
        // A stream without entries is made with one that goes at once.
        encode_request(&[b"XADD", key, b"MAXLEN", b"0", b"0-1", b"x", b"y"], out);
    }
    let c = stream.counters();
    let (last, added, deleted) = (text(&c.last), text(&c.added), text(&c.max_deleted));
    encode_request(&[b"XSETID", key, &last, b"ENTRIESADDED", &added, b"MAXDELETEDID", &deleted], out);
    for (name, group) in stream.groups() {
        let (last, read) = (text(&group.last_id), text(&group.entries_read));
        encode_request(&[b"XGROUP", b"CREATE", key, name, &last, b"ENTRIESREAD", &read], out);
        for consumer in group.consumers() {
            if consumer.pending_len() == 0 {
                encode_request(&[b"XGROUP", b"CREATECONSUMER", key, name, consumer.name()], out);
            }
        }
        for (id, nack) in group.pending(StreamId::MIN) {
            let (id, time, count) = (text(&id), text(&nack.time), text(&nack.count));
            encode_request(
                &[
                    b"XCLAIM",
                    key,
                    name,
                    &nack.consumer,
                    b"0",
                    &id,
                    b"TIME",
                    &time,
                    b"RETRYCOUNT",
                    &count,
                    b"JUSTID",
                    b"FORCE",
                ],
                out,
            );
        }
    }
}

impl Encode for Commands {
    fn select(&mut self, db: usize, out: &mut Vec<u8>) {
        encode_request(&[b"SELECT", db.to_string().as_bytes()], out);
    }
    fn entry(&mut self, _db: usize, entry: EntryRef<'_>, out: &mut Vec<u8>) {
        let key = entry.key();
        let mut chunks = Chunks { verb: b"", key, args: Vec::new(), items: 0, out };
        match entry.view() {
            View::String(text) => encode_request(&[b"SET", key, &text.to_vec()], chunks.out),
            View::List(list) => {
                chunks.verb = b"RPUSH";
                list.for_each(|e: Elem<'_>| chunks.add(&[&bytes(e)]));
            }
            View::Set(set) => {
                chunks.verb = b"SADD";
                set.for_each(|e| chunks.add(&[&bytes(e)]));
            }
            View::ZSet(set) => {
                chunks.verb = b"ZADD";
                set.for_each(|member, score| {
                    let mut text = Vec::new();
                    crate::base::num::fmt_f64(score, &mut text);
                    chunks.add(&[&text, &bytes(member)]);
                });
            }
            View::Hash(hash) => {
                chunks.verb = b"HMSET";
                let mut volatile = Vec::new();
                hash.for_each_raw(|field, value, expiry| {
                    chunks.add(&[&bytes(field), &bytes(value)]);
                    if let Some(at) = expiry {
                        volatile.push((bytes(field), at));
                    }
                });
                chunks.flush();
                for (field, at) in volatile {
                    let at = at.to_string();
                    encode_request(&[b"HPEXPIREAT", key, at.as_bytes(), b"FIELDS", b"1", &field], chunks.out);
                }
            }
            View::Stream(stream) => stream_commands(key, stream, chunks.out),
        }
        chunks.flush();
        if entry.expiry() != NO_EXPIRY {
            encode_request(&[b"PEXPIREAT", key, entry.expiry().to_string().as_bytes()], out);
        }
    }
}
