//! DEBUG DIGEST and DIGEST-VALUE: a signature of the data, by which tests compare data sets.
//!
//! The construction is Redis's, so that a digest can be compared with that of another server: what has an order (a
//! list) is hashed on and on, what has none (members, fields, keys) is hashed one by one and combined by xor.

use sha1::{Digest as _, Sha1};

use crate::base::num::fmt_f64;
use crate::commands::Ctx;
use crate::keyspace::{Db, EntryRef, NO_EXPIRY, SLOTS, View};
use crate::types::stream::StreamId;
use crate::types::{Elem, IntBuf};

/// A signature in the making.
#[derive(Clone, Copy, Default)]
struct Digest([u8; 20]);

impl Digest {
    /// Combine with `bytes`, in whatever order.
    fn xor(&mut self, bytes: &[u8]) {
        let hash = Sha1::digest(bytes);
        self.0.iter_mut().zip(hash.iter()).for_each(|(d, h)| *d ^= h);
    }

    /// Combine with `bytes`, such that order matters.
    fn mix(&mut self, bytes: &[u8]) {
        self.xor(bytes);
        let hash = Sha1::digest(self.0);
        self.0.copy_from_slice(&hash);
    }

    fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A signature of two parts that belong together.
fn pair(a: &[u8], b: &[u8]) -> Digest {
    let mut digest = Digest::default();
    digest.mix(a);
    digest.mix(b);
    digest
}

fn add_value(digest: &mut Digest, entry: EntryRef<'_>, now: i64) {
    let mut buf = IntBuf::new();
    let mut other = IntBuf::new();
    digest.mix(&u32::from(entry.kind().code()).to_be_bytes());
    match entry.view() {
        View::String(text) => digest.mix(&text.to_vec()),
        View::List(list) => list.for_each(|e: Elem<'_>| digest.mix(e.as_bytes(&mut buf))),
        View::Set(set) => set.for_each(|e| digest.xor(e.as_bytes(&mut buf))),
        View::ZSet(zset) => zset.for_each(|member, score| {
            let mut text = Vec::new();
            fmt_f64(score, &mut text);
            let part = pair(member.as_bytes(&mut buf), &text);
            digest.xor(&part.0);
        }),
        View::Hash(hash) => hash.for_each(now, |field, value| {
            let part = pair(field.as_bytes(&mut buf), value.as_bytes(&mut other));
            digest.xor(&part.0);
        }),
        View::Stream(stream) => {
            for e in stream.range(StreamId::MIN, StreamId::MAX) {
                digest.mix(format!("{}.{}", e.id.ms, e.id.seq).as_bytes());
                e.for_each(|field, value| {
                    digest.mix(field.as_bytes(&mut buf));
                    digest.mix(value.as_bytes(&mut other));
                });
            }
        }
    }
    if entry.expiry() != NO_EXPIRY {
        digest.xor(b"!!expire!!");
    }
}

fn add_database(whole: &mut Digest, db: &Db<'_>) {
    whole.mix(&(db.index() as u32).to_be_bytes());
    for slot in 0..SLOTS as u16 {
        let mut position = 0;
        loop {
            position = db.scan_slot(slot, position, |entry| {
                let mut digest = Digest::default();
                digest.mix(entry.key());
                add_value(&mut digest, entry, db.now);
                whole.xor(&digest.0);
            });
            if position == 0 {
                break;
            }
        }
    }
}

/// DEBUG DIGEST.
pub(super) fn dataset(cx: &mut Ctx<'_>) {
    let mut whole = Digest::default();
    for index in 0..cx.db.keyspace().databases() {
        if cx.server.metrics.keys(index) > 0 {
            add_database(&mut whole, &cx.db.other(index));
        }
    }
    cx.out.simple(&whole.hex());
}

/// DEBUG DIGEST-VALUE.
pub(super) fn values(cx: &mut Ctx<'_>, keys: &[&[u8]]) {
    cx.out.array(keys.len());
    for key in keys {
        let mut digest = Digest::default();
        if let Some(entry) = cx.db.peek(key) {
            add_value(&mut digest, entry, cx.db.now);
        }
        cx.out.simple(&digest.hex());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixing_minds_the_order_and_xor_does_not() {
        let digest = |f: &dyn Fn(&mut Digest)| {
            let mut d = Digest::default();
            f(&mut d);
            d.hex()
        };
        let ab = |d: &mut Digest, a: &[u8], b: &[u8]| [a, b].iter().for_each(|part| d.mix(part));
        assert_ne!(digest(&|d| ab(d, b"a", b"b")), digest(&|d| ab(d, b"b", b"a")));
        let xor = |d: &mut Digest, a: &[u8], b: &[u8]| [a, b].iter().for_each(|part| d.xor(part));
        assert_eq!(digest(&|d| xor(d, b"a", b"b")), digest(&|d| xor(d, b"b", b"a")));
        assert_eq!(Digest::default().hex(), "0".repeat(40));
    }
}
