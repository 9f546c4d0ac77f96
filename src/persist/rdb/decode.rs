//! Bytes to values. The bytes may be anything: every length is checked against what is there before it is believed.

use std::borrow::Cow;
use std::collections::HashSet;

use super::{kind, old};
use crate::base::num;
use crate::keyspace::Value;
use crate::types::hash::Expiry;
use crate::types::intset::Intset;
use crate::types::listpack::{Listpack, Malformed};
use crate::types::quicklist::Quicklist;
use crate::types::{Hash, Limits, List, Set, ZSet, lzf};

/// The bytes are no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadPayload {
    /// They contradict themselves.
    Malformed,
    /// They are a collection without elements, which is no value.
    Empty,
    /// They end too early.
    Short,
    /// They are of a type that this version does not know.
    UnknownType(u8),
}

impl From<Malformed> for BadPayload {
    fn from(_: Malformed) -> Self {
        BadPayload::Malformed
    }
}

type Result<T> = std::result::Result<T, BadPayload>;

/// A compressed string may claim to be at most this many times as long: LZF cannot do better.
const LZF_RATIO: usize = 264;

/// Bytes being read.
pub struct Reader<'a> {
    rest: &'a [u8],
}

enum Length {
    Plain(u64),
    Special(u8),
}

impl<'a> Reader<'a> {
    /// Reads from these bytes.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }
    /// What was not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let (head, tail) = self.rest.split_at_checked(n).ok_or(BadPayload::Short)?;
        self.rest = tail;
        Ok(head)
    }
    /// The next bytes, as many as wanted.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| BadPayload::Malformed)
    }
    /// One byte.
    pub fn byte(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }
    fn length(&mut self) -> Result<Length> {
        let first = self.byte()?;
        Ok(match first >> 6 {
            0 => Length::Plain(u64::from(first & 63)),
            1 => Length::Plain(u64::from(first & 63) << 8 | u64::from(self.byte()?)),
            3 => Length::Special(first & 63),
            _ if first == 0x80 => Length::Plain(u64::from(u32::from_be_bytes(self.array()?))),
            _ if first == 0x81 => Length::Plain(u64::from_be_bytes(self.array()?)),
            _ => return Err(BadPayload::Malformed),
        })
    }
    /// A plain length.
    pub fn plain_len(&mut self) -> Result<u64> {
        match self.length()? {
            Length::Plain(n) => Ok(n),
            Length::Special(_) => Err(BadPayload::Malformed),
        }
    }
    /// A number of elements, at least one, each of which takes at least `bytes` bytes of what is left.
    fn count(&mut self, bytes: usize) -> Result<usize> {
        match self.plain_len()? {
            0 => Err(BadPayload::Empty),
            n if n > (self.rest.len() / bytes) as u64 => Err(BadPayload::Malformed),
            n => Ok(n as usize),
        }
    }
    /// A string.
    pub fn string(&mut self) -> Result<Vec<u8>> {
        let number = |n: i64| itoa::Buffer::new().format(n).as_bytes().to_vec();
        match self.length()? {
            Length::Plain(n) => {
                let n = usize::try_from(n).map_err(|_| BadPayload::Malformed)?;
                Ok(self.take(n)?.to_vec())
            }
            Length::Special(0) => Ok(number(i64::from(self.byte()? as i8))),
            Length::Special(1) => Ok(number(i64::from(i16::from_le_bytes(self.array()?)))),
            Length::Special(2) => Ok(number(i64::from(i32::from_le_bytes(self.array()?)))),
            Length::Special(3) => {
                let (packed, len) = (self.plain_len()?, self.plain_len()?);
                let packed = self.take(usize::try_from(packed).map_err(|_| BadPayload::Malformed)?)?;
                let len = usize::try_from(len).ok().filter(|n| *n <= packed.len().saturating_mul(LZF_RATIO));
                lzf::decompress(packed, len.ok_or(BadPayload::Malformed)?).ok_or(BadPayload::Malformed)
            }
            Length::Special(_) => Err(BadPayload::Malformed),
        }
    }
    /// A string, borrowed where it stands as it is.
    pub fn string_cow(&mut self) -> Result<Cow<'a, [u8]>> {
        let before = self.rest;
        if let Length::Plain(n) = self.length()? {
            return Ok(Cow::Borrowed(self.take(usize::try_from(n).map_err(|_| BadPayload::Malformed)?)?));
        }
        self.rest = before;
        self.string().map(Cow::Owned)
    }
    /// Passes over a string.
    pub fn skip_string(&mut self) -> Result<()> {
        let n = match self.length()? {
            Length::Plain(n) => n,
            Length::Special(n @ 0..=2) => 1 << n,
            Length::Special(3) => {
                let packed = self.plain_len()?;
                self.plain_len()?;
                packed
            }
            Length::Special(_) => return Err(BadPayload::Malformed),
        };
        self.take(usize::try_from(n).map_err(|_| BadPayload::Malformed)?).map(drop)
    }
    /// A double of eight bytes.
    fn double(&mut self) -> Result<f64> {
        Ok(f64::from_le_bytes(self.array()?))
    }
    /// A double as text, of old versions.
    fn old_double(&mut self) -> Result<f64> {
        match self.byte()? {
            253 => Ok(f64::NAN),
            254 => Ok(f64::INFINITY),
            255 => Ok(f64::NEG_INFINITY),
            n => num::parse_f64(self.take(n as usize)?).ok_or(BadPayload::Malformed),
        }
    }
}

/// Reads the body of a value whose type byte is `what`. Hash fields whose time is over are kept; readers hide them.
pub fn read_value(what: u8, r: &mut Reader<'_>, limits: &Limits, now: i64) -> Result<Value> {
    let value = match what {
        kind::STRING => Value::String(r.string()?),
        kind::LIST => {
            let mut list = List::new();
            for _ in 0..r.count(1)? {
                let element = r.string()?;
                list.reserve(element.len(), 1, limits);
                list.push(crate::types::End::Right, &element, limits);
            }
            Value::List(Box::new(list))
        }
        kind::LIST_QUICKLIST_2 => quicklist(r, limits)?,
        kind::SET => {
            let n = r.count(1)?;
            let mut set: Option<Set> = None;
            for _ in 0..n {
                let member = r.string()?;
                let set = set.get_or_insert_with(|| Set::for_members(&member, n, limits));
                if !set.add(&member, limits) {
                    return Err(BadPayload::Malformed);
                }
            }
            Value::Set(Box::new(set.ok_or(BadPayload::Empty)?))
        }
        kind::SET_INTSET => Value::Set(Box::new(Set::from_intset(Intset::from_bytes(&r.string()?)?, limits))),
        kind::SET_LISTPACK => Value::Set(Box::new(Set::from_listpack(Listpack::from_bytes(&r.string()?)?, limits)?)),
        what @ (kind::ZSET | kind::ZSET_2) => {
            let n = r.count(2)?;
            let mut set = ZSet::new();
            for _ in 0..n {
                let member = r.string()?;
                let score = if what == kind::ZSET { r.old_double()? } else { r.double()? };
                if score.is_nan() || set.insert(&member, score, limits).is_some() {
                    return Err(BadPayload::Malformed);
                }
            }
            Value::ZSet(Box::new(set))
        }
        kind::ZSET_LISTPACK => Value::ZSet(Box::new(ZSet::from_listpack(Listpack::from_bytes(&r.string()?)?, limits)?)),
        kind::HASH => {
            let n = r.count(2)?;
            let mut hash = Hash::new();
            let mut seen = HashSet::new();
            for _ in 0..n {
                let (field, value) = (r.string()?, r.string()?);
                hash.set(&field, &value, Expiry::Clear, now, limits);
                if !seen.insert(field) {
                    return Err(BadPayload::Malformed);
                }
            }
            Value::Hash(Box::new(hash))
        }
        kind::HASH_2 => {
            let n = r.count(10)?;
            let mut hash = Hash::new();
            hash.make_table();
            let mut seen = HashSet::new();
            for _ in 0..n {
                let (field, value) = (r.string()?, r.string()?);
                let at = i64::from_le_bytes(r.array()?);
                let expiry = if at >= 0 { Expiry::At(at) } else { Expiry::Clear };
                hash.set(&field, &value, expiry, i64::MIN, limits);
                if !seen.insert(field) {
                    return Err(BadPayload::Malformed);
                }
            }
            Value::Hash(Box::new(hash))
        }
        kind::LIST_ZIPLIST => {
            let mut list = List::new();
            for element in old::ziplist(&r.string()?)? {
                list.reserve(element.len(), 1, limits);
                list.push(crate::types::End::Right, &element, limits);
            }
            Value::List(Box::new(list))
        }
        kind::LIST_QUICKLIST => {
            let mut list = List::new();
            for _ in 0..r.count(1)? {
                for element in old::ziplist(&r.string()?)? {
                    list.reserve(element.len(), 1, limits);
                    list.push(crate::types::End::Right, &element, limits);
                }
            }
            Value::List(Box::new(list))
        }
        kind::ZSET_ZIPLIST => {
            let mut set = ZSet::new();
            let all = old::ziplist(&r.string()?)?;
            let (pairs, odd) = all.as_chunks::<2>();
            for [member, score] in pairs {
                let score = num::parse_f64(score).filter(|s| !s.is_nan()).ok_or(BadPayload::Malformed)?;
                if set.insert(member, score, limits).is_some() {
                    return Err(BadPayload::Malformed);
                }
            }
            if !odd.is_empty() {
                return Err(BadPayload::Malformed);
            }
            Value::ZSet(Box::new(set))
        }
        kind::HASH_ZIPLIST => hash_of(&old::ziplist(&r.string()?)?, now, limits)?,
        kind::HASH_ZIPMAP => hash_of(&old::zipmap(&r.string()?)?, now, limits)?,
        kind::HASH_METADATA => {
            let least = i64::from_le_bytes(r.array()?);
            let n = r.count(3)?;
            let mut hash = Hash::new();
            hash.make_table();
            let mut seen = HashSet::new();
            for _ in 0..n {
                // Relative to the least of all, plus one; 0: none.
                let at = i64::try_from(r.plain_len()?).map_err(|_| BadPayload::Malformed)?;
                let at = if at == 0 { None } else { Some(least.checked_add(at - 1).ok_or(BadPayload::Malformed)?) };
                let (field, value) = (r.string()?, r.string()?);
                hash.set(&field, &value, at.map_or(Expiry::Clear, Expiry::At), i64::MIN, limits);
                if !seen.insert(field) {
                    return Err(BadPayload::Malformed);
                }
            }
            Value::Hash(Box::new(hash))
        }
        kind::HASH_LISTPACK_EX => {
            r.take(8)?;
            let lp = Listpack::from_bytes(&r.string()?)?;
            let all: Vec<Vec<u8>> = lp.iter().map(|e| e.to_vec()).collect();
            let (triples, odd) = all.as_chunks::<3>();
            if !odd.is_empty() {
                return Err(BadPayload::Malformed);
            }
            let mut hash = Hash::new();
            hash.make_table();
            let mut seen = HashSet::new();
            for [field, value, at] in triples {
                let at = num::parse_i64(at).ok_or(BadPayload::Malformed)?;
                hash.set(field, value, if at > 0 { Expiry::At(at) } else { Expiry::Clear }, i64::MIN, limits);
                if !seen.insert(field) {
                    return Err(BadPayload::Malformed);
                }
            }
            Value::Hash(Box::new(hash))
        }
        kind::HASH_LISTPACK => Value::Hash(Box::new(Hash::from_listpack(Listpack::from_bytes(&r.string()?)?, limits)?)),
        kind::STREAM | kind::STREAM_2 | kind::STREAM_3 => Value::Stream(Box::new(super::stream::read(what, r)?)),
        other => return Err(BadPayload::UnknownType(other)),
    };
    let empty = match &value {
        Value::List(l) => l.is_empty(),
        Value::Set(s) => s.is_empty(),
        Value::ZSet(z) => z.is_empty(),
        Value::Hash(h) => h.is_empty(),
        Value::String(_) | Value::Raw(_) | Value::Stream(_) => false,
    };
    if empty { Err(BadPayload::Empty) } else { Ok(value) }
}

/// A hash of fields and values in turn.
fn hash_of(all: &[Vec<u8>], now: i64, limits: &Limits) -> Result<Value> {
    let (pairs, odd) = all.as_chunks::<2>();
    let mut hash = Hash::new();
    let mut seen = HashSet::new();
    for [field, value] in pairs {
        hash.set(field, value, Expiry::Clear, now, limits);
        if !seen.insert(field) {
            return Err(BadPayload::Malformed);
        }
    }
    if odd.is_empty() { Ok(Value::Hash(Box::new(hash))) } else { Err(BadPayload::Malformed) }
}

fn quicklist(r: &mut Reader<'_>, limits: &Limits) -> Result<Value> {
    let n = r.count(2)?;
    let mut list = Quicklist::new();
    for _ in 0..n {
        match r.plain_len()? {
            1 => list.push_plain_node(
                Some(r.string()?).filter(|text| !text.is_empty()).ok_or(BadPayload::Malformed)?.as_ref(),
            ),
            2 => {
                let lp = Listpack::from_bytes(&r.string()?)?;
                if !lp.is_empty() {
                    list.push_packed_node(lp);
                }
            }
            _ => return Err(BadPayload::Malformed),
        }
    }
    Ok(Value::List(Box::new(List::from_quicklist(list, limits))))
}

#[cfg(test)]
mod tests {
    use super::super::{Writer, write_value};
    use super::*;
    use crate::types::End;
    use proptest::prelude::*;

    fn round_trip(value: Value) -> Value {
        for compress in [false, true] {
            let mut w = Writer::new(compress);
            write_value(&mut w, value.view());
            let mut r = Reader::new(&w.bytes);
            let back = read_value(r.byte().unwrap(), &mut r, &Limits::DEFAULT, 0).expect("what was written is read");
            assert!(r.rest().is_empty());
            let mut again = Writer::new(compress);
            write_value(&mut again, back.view());
            if !matches!(value, Value::Set(_) | Value::Hash(_)) {
                assert_eq!(again.bytes, w.bytes);
            }
        }
        value
    }

    #[test]
    fn every_type_and_encoding_survives_the_way_there_and_back() {
        let l = &Limits::DEFAULT;
        for s in ["", "abc", "12", "-129", "70000", "5000000000", &"x".repeat(1000)] {
            round_trip(Value::String(s.as_bytes().to_vec()));
        }
        for n in [3, 600, 20000] {
            let (mut list, mut set, mut ints, mut zset, mut hash) =
                (List::new(), Set::new(), Set::new(), ZSet::new(), Hash::new());
            for i in 0..n {
                let text = format!("element {i}");
                list.reserve(text.len(), 1, l);
                list.push(End::Right, text.as_bytes(), l);
                set.add(text.as_bytes(), l);
                ints.add(i.to_string().as_bytes(), l);
                zset.insert(text.as_bytes(), f64::from(i) / 3.0, l);
                hash.set(text.as_bytes(), b"value", Expiry::Clear, 0, l);
            }
            round_trip(Value::List(Box::new(list)));
            round_trip(Value::Set(Box::new(set)));
            round_trip(Value::Set(Box::new(ints)));
            round_trip(Value::ZSet(Box::new(zset)));
            round_trip(Value::Hash(Box::new(hash)));
        }
        let mut volatile = Hash::new();
        volatile.set(b"f", b"v", Expiry::At(5_000_000), 0, l);
        volatile.set(b"g", b"w", Expiry::Clear, 0, l);
        let Value::Hash(h) = round_trip(Value::Hash(Box::new(volatile))) else { unreachable!() };
        assert_eq!((h.expiry(b"f", 0), h.expiry(b"g", 0)), (Some(Some(5_000_000)), Some(None)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_value_or_an_error(kind in 0u8..27, bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_value(kind, &mut Reader::new(&bytes), &Limits::DEFAULT, 0);
            let mut r = Reader::new(&bytes);
            // Where a value can be read, passing over it takes as many bytes.
            if let (Ok(_), mut s) = (read_value(kind, &mut r, &Limits::DEFAULT, 0), Reader::new(&bytes)) {
                prop_assert!(super::super::skip::body(&mut s, kind).is_ok() && s.rest() == r.rest());
            }
        }
    }
}
