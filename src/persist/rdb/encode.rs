//! Values to bytes.

use super::{VERSION, VERSION_FIELD_EXPIRY, kind};
use crate::base::num;
use crate::keyspace::{Text, View};
use crate::types::quicklist;
use crate::types::{Elem, lzf};

/// Strings up to this length are not worth compressing.
const LZF_MIN: usize = 20;

/// Bytes being written.
pub struct Writer {
    /// What was written so far.
    pub bytes: Vec<u8>,
    compress: bool,
}

impl Writer {
    /// An empty one; `compress`: long strings are compressed where that makes them shorter.
    pub fn new(compress: bool) -> Writer {
        Writer { bytes: Vec::new(), compress }
    }
    /// A length.
    pub fn length(&mut self, n: u64) {
        match n {
            0..64 => self.bytes.push(n as u8),
            64..16384 => self.bytes.extend_from_slice(&[0x40 | (n >> 8) as u8, n as u8]),
            16384..=0xffff_ffff => {
                self.bytes.push(0x80);
                self.bytes.extend_from_slice(&(n as u32).to_be_bytes());
            }
            _ => {
                self.bytes.push(0x81);
                self.bytes.extend_from_slice(&n.to_be_bytes());
            }
        }
    }
    /// A string, as a number or compressed where that is shorter.
    pub fn string(&mut self, s: &[u8]) {
        if s.len() <= 11
            && let Some(n) = num::parse_i64(s)
            && self.short_int(n)
        {
            return;
        }
        if self.compress
            && s.len() > LZF_MIN
            && let Some(packed) = lzf::compress(s, s.len() - 4)
        {
            self.bytes.push(0xc3);
            self.length(packed.len() as u64);
            self.length(s.len() as u64);
            self.bytes.extend_from_slice(&packed);
            return;
        }
        self.length(s.len() as u64);
        self.bytes.extend_from_slice(s);
    }
    /// A number as a string.
    pub fn int(&mut self, n: i64) {
        if !self.short_int(n) {
            let mut b = itoa::Buffer::new();
            let s = b.format(n).as_bytes();
            self.length(s.len() as u64);
            self.bytes.extend_from_slice(s);
        }
    }
    fn short_int(&mut self, n: i64) -> bool {
        if let Ok(n) = i8::try_from(n) {
            self.bytes.extend_from_slice(&[0xc0, n as u8]);
        } else if let Ok(n) = i16::try_from(n) {
            self.bytes.push(0xc1);
            self.bytes.extend_from_slice(&n.to_le_bytes());
        } else if let Ok(n) = i32::try_from(n) {
            self.bytes.push(0xc2);
            self.bytes.extend_from_slice(&n.to_le_bytes());
        } else {
            return false;
        }
        true
    }
    pub(super) fn elem(&mut self, e: Elem<'_>) {
        match e {
            Elem::Str(s) => self.string(s),
            Elem::Int(n) => self.int(n),
        }
    }
    /// A node of a list.
    pub(super) fn node(&mut self, node: quicklist::View<'_>) {
        match node {
            quicklist::View::Plain(s) => {
                self.length(1);
                self.string(s);
            }
            quicklist::View::Packed(lp) => {
                self.length(2);
                self.string(lp.as_bytes());
            }
        }
    }
    /// A field of a hash with its value, and its expiry where the hash has the form with those.
    pub(super) fn field(&mut self, field: Elem<'_>, value: Elem<'_>, expiry: Option<Option<i64>>) {
        self.elem(field);
        self.elem(value);
        if let Some(expiry) = expiry {
            self.bytes.extend_from_slice(&expiry.unwrap_or(-1).to_le_bytes());
        }
    }
    /// A member of a sorted set.
    pub(super) fn member(&mut self, member: Elem<'_>, score: f64) {
        self.elem(member);
        self.bytes.extend_from_slice(&score.to_le_bytes());
    }
}

/// Writes type byte and body of a value. Returns the version that a reader must know.
pub fn write_value(w: &mut Writer, value: View<'_>) -> u16 {
    let (kind, version) = form_of(value);
    w.bytes.push(kind);
    write_body(w, value);
    version
}

/// The type byte for a value, and the version that a reader must know.
pub fn form_of(value: View<'_>) -> (u8, u16) {
    let kind = match value {
        View::String(_) => kind::STRING,
        View::List(_) => kind::LIST_QUICKLIST_2,
        View::Set(s) if s.as_intset().is_some() => kind::SET_INTSET,
        // Redis 7.0 does not know sets as listpacks.
        View::Set(_) => kind::SET,
        View::ZSet(z) if z.as_listpack().is_some() => kind::ZSET_LISTPACK,
        View::ZSet(_) => kind::ZSET_2,
        View::Hash(h) if h.as_listpack().is_some() => kind::HASH_LISTPACK,
        View::Hash(h) if h.has_volatile() => return (kind::HASH_2, VERSION_FIELD_EXPIRY),
        View::Hash(_) => kind::HASH,
        // Redis 7.0 does not know when consumers were active; everybody takes the time they were seen for it.
        View::Stream(_) => kind::STREAM_2,
    };
    (kind, VERSION)
}

/// Writes the body of a value, in the form that [`form_of`] names.
pub fn write_body(w: &mut Writer, value: View<'_>) {
    match value {
        View::String(Text::Int(n)) => w.int(n),
        View::String(Text::Bytes(b)) => w.string(b),
        View::List(l) => {
            if let Some(lp) = l.as_listpack() {
                w.length(1);
                w.length(2);
                w.string(lp.as_bytes());
            } else if let Some(q) = l.as_quicklist() {
                w.length(q.node_count() as u64);
                q.for_each_node(|node| w.node(node));
            }
        }
        View::Set(s) => match s.as_intset() {
            Some(ints) => w.string(ints.as_bytes()),
            None => {
                w.length(s.len() as u64);
                s.for_each(|e| w.elem(e));
            }
        },
        View::ZSet(z) => match z.as_listpack() {
            Some(lp) => w.string(lp.as_bytes()),
            None => {
                w.length(z.len() as u64);
                // From the highest score down, as Redis does: a reader then always inserts at the front.
                z.for_range(z.len().saturating_sub(1), z.len(), true, |e, score| w.member(e, score));
            }
        },
        View::Hash(h) => match h.as_listpack() {
            Some(lp) => w.string(lp.as_bytes()),
            None => {
                let volatile = h.has_volatile();
                w.length(h.raw_len() as u64);
                h.for_each_raw(|f, v, expiry| w.field(f, v, volatile.then_some(expiry)));
            }
        },
        View::Stream(s) => super::stream::write(w, s),
    }
}
