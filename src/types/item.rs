//! The items of big sets, hashes and sorted sets: one allocation each, holding member or field, value and extras.
//!
//! ```text
//! Member  (set)         [len][member]
//! Scored  (sorted set)  [score f64][len][member]
//! Field   (hash)        [head][value len][field][value][expiry u64, when head says so]
//!
//! len   one byte below 255; 255 and eight bytes beyond
//! head  bit 7: has an expiry; low bits: the field's length below 127; 127 and eight bytes beyond
//! ```
//!
//! Every block is allocated with the allocator's own size class for what it holds, so a value that changes within the
//! class changes in place, and the size needed to free a block follows from its header alone.
//!
//! This module is one of the few with `unsafe`: an item is known by its pointer. Its invariant: a pointer that reaches
//! these functions came from `allocate` below, with the header of its kind written, by way of [`Owned`], which the
//! table keeps. All reads go through `Reader`, which walks the header and never passes the sizes it states.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;

use super::dict::{Item, Owned, Place, Ref};
use crate::base::alloc::usable_size;

const LONG: u8 = 255;
const FIELD_LONG: u8 = 127;
const EXPIRES: u8 = 128;

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(usable_size(bytes), 8).expect("an item's size fits")
}

/// A block for `bytes` bytes, not yet written.
fn allocate(bytes: usize) -> NonNull<u8> {
    let layout = layout(bytes);
    // SAFETY: the size is at least 8.
    let p = unsafe { alloc(layout) };
    NonNull::new(p).unwrap_or_else(|| handle_alloc_error(layout))
}

/// # Safety
/// `p` came from `allocate(bytes)`, and is not used again.
unsafe fn release(p: NonNull<u8>, bytes: usize) {
    // SAFETY: the same layout as in `allocate`.
    unsafe { dealloc(p.as_ptr(), layout(bytes)) }
}

/// Writes the parts of an item one after the other.
struct Writer {
    start: NonNull<u8>,
    at: usize,
    size: usize,
}

impl Writer {
    fn new(size: usize) -> Self {
        Writer { start: allocate(size), at: 0, size }
    }

    fn put(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= self.size - self.at);
        // SAFETY: the bytes fit into the block of `size` bytes, which is ours alone.
        unsafe {
            self.start.as_ptr().add(self.at).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
        self.at += bytes.len();
    }

    fn put_len(&mut self, len: usize, long: u8, flags: u8) {
        if len < usize::from(long) {
            self.put(&[len as u8 | flags]);
        } else {
            self.put(&[long | flags]);
            self.put(&(len as u64).to_le_bytes());
        }
    }

    fn finish(self) -> NonNull<u8> {
        debug_assert_eq!(self.at, self.size);
        self.start
    }
}

/// Reads the parts of an item one after the other.
struct Reader {
    p: *const u8,
}

impl Reader {
    /// # Safety
    /// The reads that follow stay within a live item that was written in the same order.
    #[inline]
    unsafe fn byte(&mut self) -> u8 {
        // SAFETY: see above.
        unsafe {
            let b = *self.p;
            self.p = self.p.add(1);
            b
        }
    }

    /// # Safety
    /// As `byte`.
    #[inline]
    unsafe fn u64(&mut self) -> u64 {
        // SAFETY: see above; the read is unaligned.
        unsafe {
            let n = self.p.cast::<u64>().read_unaligned();
            self.p = self.p.add(8);
            u64::from_le(n)
        }
    }

    /// # Safety
    /// As `byte`.
    #[inline]
    unsafe fn len(&mut self, long: u8, first: u8) -> usize {
        // SAFETY: see above.
        if first == long { unsafe { self.u64() as usize } } else { usize::from(first) }
    }

    /// # Safety
    /// As `byte`; the item lives for `'a`.
    #[inline]
    unsafe fn bytes<'a>(&mut self, n: usize) -> &'a [u8] {
        // SAFETY: see above.
        unsafe {
            let s = std::slice::from_raw_parts(self.p, n);
            self.p = self.p.add(n);
            s
        }
    }
}

const fn len_size(len: usize, long: u8) -> usize {
    if len < long as usize { 1 } else { 9 }
}

/// The member of a set.
#[derive(Debug)]
pub struct Member;

/// A new set member.
pub fn member(bytes: &[u8]) -> Owned<Member> {
    let mut w = Writer::new(len_size(bytes.len(), LONG) + bytes.len());
    w.put_len(bytes.len(), LONG, 0);
    w.put(bytes);
    // SAFETY: freshly written as a Member.
    unsafe { Owned::from_raw(w.finish()) }
}

// SAFETY: the key is the member's bytes, which never change; blocks are 8-aligned.
unsafe impl Item for Member {
    #[inline]
    unsafe fn key<'a>(p: NonNull<u8>) -> &'a [u8] {
        let mut r = Reader { p: p.as_ptr() };
        // SAFETY: `p` is a live Member.
        unsafe {
            let first = r.byte();
            let n = r.len(LONG, first);
            r.bytes(n)
        }
    }

    unsafe fn free(p: NonNull<u8>) {
        // SAFETY: `p` is a live Member, used for the last time.
        unsafe {
            let n = Self::key(p).len();
            release(p, len_size(n, LONG) + n);
        }
    }
}

impl Ref<'_, Member> {
    /// Bytes the item's block takes.
    pub fn allocated(self) -> usize {
        let n = self.key().len();
        usable_size(len_size(n, LONG) + n)
    }
}

/// The member of a sorted set, with its score.
#[derive(Debug)]
pub struct Scored;

/// A new sorted set member.
pub fn scored(bytes: &[u8], score: f64) -> Owned<Scored> {
    let mut w = Writer::new(8 + len_size(bytes.len(), LONG) + bytes.len());
    w.put(&score.to_ne_bytes());
    w.put_len(bytes.len(), LONG, 0);
    w.put(bytes);
    // SAFETY: freshly written as a Scored.
    unsafe { Owned::from_raw(w.finish()) }
}

// SAFETY: the key is the member's bytes, which never change; blocks are 8-aligned.
unsafe impl Item for Scored {
    #[inline]
    unsafe fn key<'a>(p: NonNull<u8>) -> &'a [u8] {
        // SAFETY: `p` is a live Scored.
        unsafe {
            let mut r = Reader { p: p.as_ptr().add(8) };
            let first = r.byte();
            let n = r.len(LONG, first);
            r.bytes(n)
        }
    }

    unsafe fn free(p: NonNull<u8>) {
        // SAFETY: `p` is a live Scored, used for the last time.
        unsafe {
            let n = Self::key(p).len();
            release(p, 8 + len_size(n, LONG) + n);
        }
    }
}

impl Ref<'_, Scored> {
    /// The score.
    #[inline]
    pub fn score(self) -> f64 {
        // SAFETY: a live Scored is 8-aligned and starts with its score.
        unsafe { self.ptr().cast::<f64>().read() }
    }

    /// Bytes the item's block takes.
    pub fn allocated(self) -> usize {
        let n = self.key().len();
        usable_size(8 + len_size(n, LONG) + n)
    }
}

impl Place<'_, Scored> {
    /// Changes the score.
    pub fn set_score(&mut self, score: f64) {
        // SAFETY: as in `score`; the place is exclusive.
        unsafe { self.ptr().cast::<f64>().write(score) }
    }
}

/// A field of a hash with its value and, maybe, the time it expires.
#[derive(Debug)]
pub struct Field;

/// The parts of a Field, found by one walk over its header.
struct Parts<'a> {
    field: &'a [u8],
    value: &'a [u8],
    expiry: Option<i64>,
}

impl<'a> Parts<'a> {
    /// # Safety
    /// `p` is a live Field that is not written to during `'a`.
    #[inline]
    unsafe fn of(p: NonNull<u8>) -> Self {
        let mut r = Reader { p: p.as_ptr() };
        // SAFETY: the reads follow the order of `field` below.
        unsafe {
            let head = r.byte();
            let field_len = r.len(FIELD_LONG, head & !EXPIRES);
            let first = r.byte();
            let value_len = r.len(LONG, first);
            let field = r.bytes(field_len);
            let value = r.bytes(value_len);
            let expiry = (head & EXPIRES != 0).then(|| r.u64() as i64);
            Parts { field, value, expiry }
        }
    }

    fn size(&self) -> usize {
        field_size(self.field.len(), self.value.len(), self.expiry.is_some())
    }
}

const fn field_size(field: usize, value: usize, expires: bool) -> usize {
    len_size(field, FIELD_LONG) + len_size(value, LONG) + field + value + if expires { 8 } else { 0 }
}

fn write_field(field: &[u8], value: &[u8], expiry: Option<i64>) -> NonNull<u8> {
    let mut w = Writer::new(field_size(field.len(), value.len(), expiry.is_some()));
    w.put_len(field.len(), FIELD_LONG, if expiry.is_some() { EXPIRES } else { 0 });
    w.put_len(value.len(), LONG, 0);
    w.put(field);
    w.put(value);
    if let Some(at) = expiry {
        w.put(&at.to_le_bytes());
    }
    w.finish()
}

/// A new hash field. `expiry` is in Unix milliseconds.
pub fn field(field: &[u8], value: &[u8], expiry: Option<i64>) -> Owned<Field> {
    // SAFETY: freshly written as a Field.
    unsafe { Owned::from_raw(write_field(field, value, expiry)) }
}

// SAFETY: the key is the field's bytes, which never change; blocks are 8-aligned.
unsafe impl Item for Field {
    #[inline]
    unsafe fn key<'a>(p: NonNull<u8>) -> &'a [u8] {
        let mut r = Reader { p: p.as_ptr() };
        // SAFETY: `p` is a live Field.
        unsafe {
            let head = r.byte();
            let n = r.len(FIELD_LONG, head & !EXPIRES);
            let first = r.byte();
            r.len(LONG, first);
            r.bytes(n)
        }
    }

    unsafe fn free(p: NonNull<u8>) {
        // SAFETY: `p` is a live Field, used for the last time.
        unsafe { release(p, Parts::of(p).size()) }
    }

    unsafe fn marked(p: NonNull<u8>) -> bool {
        // SAFETY: `p` is a live Field.
        unsafe { *p.as_ptr() & EXPIRES != 0 }
    }
}

impl<'a> Ref<'a, Field> {
    /// The value.
    #[inline]
    pub fn value(self) -> &'a [u8] {
        // SAFETY: the item lives for 'a.
        unsafe { Parts::of(self.ptr()).value }
    }

    /// When the field expires, in Unix milliseconds.
    #[inline]
    pub fn expiry(self) -> Option<i64> {
        // SAFETY: the item lives for 'a.
        unsafe { if Field::marked(self.ptr()) { Parts::of(self.ptr()).expiry } else { None } }
    }

    /// Bytes the item's block takes.
    pub fn allocated(self) -> usize {
        // SAFETY: the item lives for 'a.
        usable_size(unsafe { Parts::of(self.ptr()).size() })
    }
}

impl Place<'_, Field> {
    /// Changes value and expiry, in place when the block's size class stays and no part but the value changes.
    pub fn rewrite(&mut self, value: &[u8], expiry: Option<i64>) {
        let p = self.ptr();
        // SAFETY: the place is exclusive. `old` borrows the item and is last used before it is freed; in the in-place
        // case only bytes behind the field are written, and `value` cannot overlap them, since it outlives `&mut self`.
        unsafe {
            let old = Parts::of(p);
            let size = field_size(old.field.len(), value.len(), expiry.is_some());
            let same_block = usable_size(size) == usable_size(old.size());
            if same_block && expiry.is_none() && old.expiry.is_none() && value.len() < 255 && old.value.len() < 255 {
                let head = len_size(old.field.len(), FIELD_LONG);
                let at = head + 1 + old.field.len();
                *p.as_ptr().add(head) = value.len() as u8;
                p.as_ptr().add(at).copy_from_nonoverlapping(value.as_ptr(), value.len());
                return;
            }
            let old_size = old.size();
            let new = write_field(old.field, value, expiry);
            self.set(new);
            release(p, old_size);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::dict::{Dict, hash};

    #[test]
    fn members_and_scores_of_every_length_come_back() {
        for n in [0, 1, 126, 127, 254, 255, 70_000] {
            let bytes = vec![b'm'; n];
            assert_eq!(member(&bytes).as_ref().key(), bytes);
            let item = scored(&bytes, -1.5);
            assert_eq!((item.as_ref().key(), item.as_ref().score()), (&bytes[..], -1.5));
        }
    }

    #[test]
    fn a_field_keeps_its_parts_through_every_rewrite() {
        let mut dict: Dict<Field> = Dict::new();
        let lengths = [0, 1, 5, 126, 127, 200, 254, 255, 256, 5000];
        for n in lengths {
            let name = vec![b'f'; n];
            dict.insert_new(hash(&name), field(&name, b"v", None));
            for m in lengths.iter().chain(lengths.iter().rev()) {
                for expiry in [None, Some(7), Some(i64::MAX), None, None] {
                    let value = vec![b'a' + (m % 26) as u8; *m];
                    dict.find_mut(hash(&name), &name).unwrap().rewrite(&value, expiry);
                    let seen = dict.find(hash(&name), &name).unwrap();
                    assert_eq!((seen.key(), seen.value(), seen.expiry()), (&name[..], &value[..], expiry));
                    assert_eq!(dict.marked(), usize::from(expiry.is_some()));
                }
            }
        }
        assert_eq!(dict.len(), lengths.len());
    }
}
