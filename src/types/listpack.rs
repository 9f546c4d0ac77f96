//! Listpack: a list of strings and integers packed into one block, byte for byte as Redis lays it out.
//!
//! ```text
//! +-------------------+------------------+-------+-------+-----+------+
//! | total bytes u32le | elements   u16le | entry | entry | ... | 0xFF |
//! +-------------------+------------------+-------+-------+-----+------+
//! entry = encoding byte(s), data, back-length (size of the two, read right to left)
//!
//! 0xxxxxxx            unsigned 7-bit integer
//! 10llllll            string of up to 63 bytes
//! 110xxxxx xxxxxxxx   signed 13-bit integer, big-endian
//! 1110llll llllllll   string of up to 4095 bytes, big-endian length
//! 11110000 u32le      string
//! 11110001 i16le, 11110010 i24le, 11110011 i32le, 11110100 i64le
//! ```
//!
//! The element count saturates at 65535, which means "count them". A back-length holds seven bits a byte, most
//! significant first; every byte but the first has its top bit set, so the list can be walked from its end.
//!
//! The block is a boxed slice as long as the allocator's size class for its content; the header says how much of it is
//! used. The alternatives cost more: a `Vec` is a word longer and doubles when it grows, an exact fit reallocates with
//! every push.
//!
//! Positions are byte offsets of entries. Dunlin writes every block it mutates, or checks it in full first
//! ([`Listpack::from_bytes`]), so inside this module an offset that came from a cursor method is always valid.

use super::elem::Elem;
use crate::base::alloc::usable_size;
use crate::base::num::parse_i64;

const HEADER: usize = 6;
const END: u8 = 0xFF;
/// The element count from which on the header no longer tells it.
const COUNT_UNKNOWN: u16 = u16::MAX;
/// Largest block anyone may build: the size that every reader of the format accepts.
pub const MAX_BYTES: usize = 1 << 30;

/// A packed list; see the module's header for the layout.
#[derive(Clone)]
pub struct Listpack {
    /// `block.len() == usable_size(total)`, where `total` is the header's first field and `total <= block.len()`.
    block: Box<[u8]>,
}

/// Why foreign bytes are no listpack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("malformed packed encoding")
    }
}

impl std::error::Error for Malformed {}

/// An element ready to be written: its encoding, the string it may carry, its back-length.
struct Encoded<'a> {
    head: [u8; 9],
    head_len: u8,
    back: [u8; 5],
    back_len: u8,
    tail: &'a [u8],
}

impl<'a> Encoded<'a> {
    #[inline]
    fn of(e: Elem<'a>) -> Self {
        match e {
            Elem::Int(n) => Self::int(n),
            Elem::Str(s) => match parse_i64(s) {
                Some(n) => Self::int(n),
                None => Self::str(s),
            },
        }
    }

    #[inline]
    fn int(n: i64) -> Self {
        let mut head = [0u8; 9];
        let head_len = if (0..128).contains(&n) {
            head[0] = n as u8;
            1
        } else if (-4096..4096).contains(&n) {
            let u = (n & 0x1FFF) as u16;
            head[0] = 0xC0 | (u >> 8) as u8;
            head[1] = u as u8;
            2
        } else {
            let width = match n {
                -0x8000..0x8000 => 2,
                -0x80_0000..0x80_0000 => 3,
                -0x8000_0000..0x8000_0000 => 4,
                _ => 8,
            };
            head[0] = match width {
                2 => 0xF1,
                3 => 0xF2,
                4 => 0xF3,
                _ => 0xF4,
            };
            head[1..9].copy_from_slice(&n.to_le_bytes());
            width + 1
        };
        Encoded { head, head_len, back: [head_len, 0, 0, 0, 0], back_len: 1, tail: &[] }
    }

    #[inline]
    fn str(s: &'a [u8]) -> Self {
        let mut head = [0u8; 9];
        let head_len = if s.len() < 64 {
            head[0] = 0x80 | s.len() as u8;
            1
        } else if s.len() < 4096 {
            head[0] = 0xE0 | (s.len() >> 8) as u8;
            head[1] = s.len() as u8;
            2
        } else {
            head[0] = 0xF0;
            head[1..5].copy_from_slice(&(s.len() as u32).to_le_bytes());
            5
        };
        let (back, back_len) = back_length(usize::from(head_len) + s.len());
        Encoded { head, head_len, back, back_len, tail: s }
    }

    #[inline]
    fn len(&self) -> usize {
        usize::from(self.head_len) + self.tail.len() + usize::from(self.back_len)
    }

    #[inline]
    fn write(&self, out: &mut [u8]) {
        let h = usize::from(self.head_len);
        let b = usize::from(self.back_len);
        out[..h].copy_from_slice(&self.head[..h]);
        out[h..h + self.tail.len()].copy_from_slice(self.tail);
        out[h + self.tail.len()..].copy_from_slice(&self.back[..b]);
    }
}

/// How many bytes the back-length of an entry of `n` bytes takes. The bounds are those of the format's first writer.
#[inline]
const fn back_length_size(n: usize) -> usize {
    if n <= 127 {
        1
    } else if n < 16_383 {
        2
    } else if n < 2_097_151 {
        3
    } else if n < 268_435_455 {
        4
    } else {
        5
    }
}

#[inline]
fn back_length(n: usize) -> ([u8; 5], u8) {
    let size = back_length_size(n);
    let mut out = [0u8; 5];
    for (i, byte) in out[..size].iter_mut().enumerate() {
        let bits = (n >> (7 * (size - 1 - i))) as u8 & 0x7F;
        *byte = if i == 0 { bits } else { bits | 0x80 };
    }
    (out, size as u8)
}

impl Default for Listpack {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Listpack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl PartialEq for Listpack {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Listpack {
    /// An empty list.
    pub fn new() -> Self {
        let mut block = vec![0; usable_size(HEADER + 1)].into_boxed_slice();
        block[0] = HEADER as u8 + 1;
        block[HEADER] = END;
        Listpack { block }
    }

    /// A list of `items`, built in one piece.
    pub fn from_items<'a>(items: impl IntoIterator<Item = Elem<'a>>) -> Self {
        let mut v = vec![0u8; HEADER];
        let mut count = 0usize;
        for item in items {
            let e = Encoded::of(item);
            let at = v.len();
            v.resize(at + e.len(), 0);
            e.write(&mut v[at..]);
            count += 1;
        }
        v.push(END);
        let total = v.len();
        v[..4].copy_from_slice(&(total as u32).to_le_bytes());
        v[4..6].copy_from_slice(&(count.min(usize::from(COUNT_UNKNOWN)) as u16).to_le_bytes());
        Self::from_vec(v)
    }

    /// Takes over bytes that a listpack of this process once was.
    pub(super) fn from_vec(mut v: Vec<u8>) -> Self {
        let class = usable_size(v.len());
        v.reserve_exact(class - v.len());
        v.resize(class, 0);
        Listpack { block: v.into_boxed_slice() }
    }

    /// Takes over foreign bytes after checking all of them: header, every entry, every back-length, the count, the end.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        check(bytes)?;
        Ok(Self::from_vec(bytes.to_vec()))
    }

    /// The listpack's bytes, as Redis would store them.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.block[..self.total()]
    }

    /// Size of [`Listpack::as_bytes`].
    #[inline]
    pub fn bytes(&self) -> usize {
        self.total()
    }

    /// Whether `more` bytes of new elements keep the list below [`MAX_BYTES`].
    #[inline]
    pub fn has_room(&self, more: usize) -> bool {
        self.total().saturating_add(more) <= MAX_BYTES
    }

    /// Size of the block that holds it.
    #[inline]
    pub fn allocated(&self) -> usize {
        self.block.len()
    }

    #[inline]
    fn total(&self) -> usize {
        u32::from_le_bytes([self.block[0], self.block[1], self.block[2], self.block[3]]) as usize
    }

    #[inline]
    fn set_total(&mut self, n: usize) {
        self.block[..4].copy_from_slice(&(n as u32).to_le_bytes());
    }

    #[inline]
    fn count_field(&self) -> u16 {
        u16::from_le_bytes([self.block[4], self.block[5]])
    }

    #[inline]
    fn set_count_field(&mut self, n: usize) {
        let n = n.min(usize::from(COUNT_UNKNOWN)) as u16;
        self.block[4..6].copy_from_slice(&n.to_le_bytes());
    }

    /// Number of elements; constant time up to 65534, a walk beyond.
    #[inline]
    pub fn len(&self) -> usize {
        match self.count_field() {
            COUNT_UNKNOWN => self.count_by_walking(),
            n => usize::from(n),
        }
    }

    #[cold]
    fn count_by_walking(&self) -> usize {
        let mut n = 0;
        let mut at = self.first();
        while let Some(p) = at {
            n += 1;
            at = self.next(p);
        }
        n
    }

    /// Whether there is no element.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.block[HEADER] == END
    }

    /// Adds to the count field; a saturated one is recounted once, when the list shrinks (`removed`), as it may have
    /// become countable again.
    fn adjust_count(&mut self, added: usize, removed: usize) {
        match self.count_field() {
            COUNT_UNKNOWN if removed == 0 => {}
            COUNT_UNKNOWN => {
                let n = self.count_by_walking();
                self.set_count_field(n);
            }
            n => self.set_count_field(usize::from(n) + added - removed),
        }
    }

    /// Size of the entry at `at` without its back-length.
    #[inline]
    fn body(&self, at: usize) -> usize {
        body_size(&self.block, at)
    }

    #[inline]
    fn entry(&self, at: usize) -> usize {
        let n = self.body(at);
        n + back_length_size(n)
    }

    /// The element at position `at`.
    #[inline]
    pub fn get(&self, at: usize) -> Elem<'_> {
        let b = &self.block[at..];
        let first = b[0];
        if first < 0x80 {
            Elem::Int(i64::from(first))
        } else if first < 0xC0 {
            Elem::Str(&b[1..1 + usize::from(first & 0x3F)])
        } else if first < 0xE0 {
            let u = u16::from(first & 0x1F) << 8 | u16::from(b[1]);
            // Shift the 13 bits to the top and back to spread the sign.
            Elem::Int(i64::from((u << 3) as i16 >> 3))
        } else if first < 0xF0 {
            let n = usize::from(first & 0x0F) << 8 | usize::from(b[1]);
            Elem::Str(&b[2..2 + n])
        } else {
            match first {
                0xF0 => {
                    let n = u32::from_le_bytes([b[1], b[2], b[3], b[4]]) as usize;
                    Elem::Str(&b[5..5 + n])
                }
                0xF1 => Elem::Int(i64::from(i16::from_le_bytes([b[1], b[2]]))),
                0xF2 => Elem::Int(i64::from(i32::from_le_bytes([0, b[1], b[2], b[3]]) >> 8)),
                0xF3 => Elem::Int(i64::from(i32::from_le_bytes([b[1], b[2], b[3], b[4]]))),
                _ => Elem::Int(i64::from_le_bytes([b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8]])),
            }
        }
    }

    /// Position of the first element.
    #[inline]
    pub fn first(&self) -> Option<usize> {
        (self.block[HEADER] != END).then_some(HEADER)
    }

    /// Position of the last element.
    #[inline]
    pub fn last(&self) -> Option<usize> {
        self.prev(self.total() - 1)
    }

    /// Position after the last element: where an append inserts.
    #[inline]
    pub fn end(&self) -> usize {
        self.total() - 1
    }

    /// Position of the element after the one at `at`.
    #[inline]
    pub fn next(&self, at: usize) -> Option<usize> {
        let n = at + self.entry(at);
        (self.block[n] != END).then_some(n)
    }

    /// Position of the element before `at` (which may be [`Listpack::end`]).
    #[inline]
    pub fn prev(&self, at: usize) -> Option<usize> {
        if at == HEADER {
            return None;
        }
        let mut p = at - 1;
        let mut n = usize::from(self.block[p] & 0x7F);
        let mut shift = 7;
        while self.block[p] & 0x80 != 0 {
            p -= 1;
            n |= usize::from(self.block[p] & 0x7F) << shift;
            shift += 7;
        }
        Some(p - n)
    }

    /// Position of the `index`-th element; negative indexes count from the end (-1 is the last).
    pub fn seek(&self, index: i64) -> Option<usize> {
        let count = self.count_field();
        let (mut forward, mut steps) = if index >= 0 { (true, index as u64) } else { (false, !index as u64) };
        if count != COUNT_UNKNOWN {
            let len = u64::from(count);
            if steps >= len {
                return None;
            }
            // Walk from the nearer end.
            if steps > len / 2 {
                forward = !forward;
                steps = len - 1 - steps;
            }
        }
        let mut at = if forward { self.first() } else { self.last() }?;
        for _ in 0..steps {
            at = if forward { self.next(at) } else { self.prev(at) }?;
        }
        Some(at)
    }

    /// Replaces `old` bytes at `at` by a gap of `new` bytes, moving what follows.
    fn make_gap(&mut self, at: usize, old: usize, new: usize) {
        let total = self.total();
        let new_total = total - old + new;
        assert!(new_total <= u32::MAX as usize, "listpack over 4 GB");
        let class = usable_size(new_total);
        if class > self.block.len() {
            self.resize_block(class);
        }
        if old != new {
            self.block.copy_within(at + old..total, at + new);
        }
        if class < self.block.len() {
            self.resize_block(class);
        }
        self.set_total(new_total);
    }

    fn resize_block(&mut self, class: usize) {
        let mut v = std::mem::take(&mut self.block).into_vec();
        if class > v.len() {
            v.reserve_exact(class - v.len());
            v.resize(class, 0);
        } else {
            v.truncate(class);
        }
        self.block = v.into_boxed_slice();
    }

    /// Inserts `e` so that it stands at position `at`; what stood there follows it.
    pub fn insert(&mut self, at: usize, e: Elem<'_>) {
        let enc = Encoded::of(e);
        let n = enc.len();
        self.make_gap(at, 0, n);
        enc.write(&mut self.block[at..at + n]);
        self.adjust_count(1, 0);
    }

    /// Adds `e` at the end.
    pub fn append(&mut self, e: Elem<'_>) {
        self.insert(self.end(), e);
    }

    /// Adds `items` at the end, making room for them once.
    pub fn append_all(&mut self, items: &[Elem<'_>]) {
        let encoded: smallvec::SmallVec<[Encoded<'_>; 24]> = items.iter().map(|e| Encoded::of(*e)).collect();
        let mut at = self.end();
        self.make_gap(at, 0, encoded.iter().map(Encoded::len).sum());
        for e in &encoded {
            e.write(&mut self.block[at..at + e.len()]);
            at += e.len();
        }
        self.adjust_count(items.len(), 0);
    }

    /// Adds `e` at the start.
    pub fn prepend(&mut self, e: Elem<'_>) {
        self.insert(HEADER, e);
    }

    /// Replaces the element at `at`, in place when the size is the same.
    pub fn replace(&mut self, at: usize, e: Elem<'_>) {
        let enc = Encoded::of(e);
        let old = self.entry(at);
        let n = enc.len();
        self.make_gap(at, old, n);
        enc.write(&mut self.block[at..at + n]);
    }

    /// Removes the element at `at`; returns the position of the one that followed it.
    pub fn delete(&mut self, at: usize) -> Option<usize> {
        let old = self.entry(at);
        self.make_gap(at, old, 0);
        self.adjust_count(0, 1);
        (self.block[at] != END).then_some(at)
    }

    /// Removes up to `count` elements from `at` on; returns how many there were.
    pub fn delete_at(&mut self, at: usize, count: usize) -> usize {
        let mut end = at;
        let mut n = 0;
        while n < count && self.block[end] != END {
            end += self.entry(end);
            n += 1;
        }
        if n > 0 {
            self.make_gap(at, end - at, 0);
            self.adjust_count(0, n);
        }
        n
    }

    /// Removes up to `count` elements from the `index`-th on (negative: from the end); returns how many there were.
    pub fn delete_range(&mut self, index: i64, count: usize) -> usize {
        match self.seek(index) {
            Some(at) if count > 0 => self.delete_at(at, count),
            _ => 0,
        }
    }

    /// Position of the first element equal to `needle` at or after `from`, looking at one element and then passing over
    /// `skip` (1 to look at the fields of field-value pairs).
    pub fn find(&self, from: Option<usize>, needle: &[u8], skip: usize) -> Option<usize> {
        let number = parse_i64(needle);
        let mut at = from?;
        let block = &self.block[..];
        loop {
            let first = block[at];
            if first == END {
                return None;
            }
            let body = body_size(block, at);
            let matches = if (0x80..0xC0).contains(&first) {
                body - 1 == needle.len() && &block[at + 1..at + body] == needle
            } else {
                match self.get(at) {
                    Elem::Int(n) => number == Some(n),
                    Elem::Str(s) => s == needle,
                }
            };
            if matches {
                return Some(at);
            }
            at += body + back_length_size(body);
            for _ in 0..skip {
                if block[at] == END {
                    return None;
                }
                let n = body_size(block, at);
                at += n + back_length_size(n);
            }
        }
    }

    /// The elements, first to last.
    pub fn iter(&self) -> Iter<'_> {
        Iter { lp: self, at: HEADER, back: self.end() }
    }

    /// The elements from position `at` to the end.
    pub fn iter_from(&self, at: usize) -> Iter<'_> {
        Iter { lp: self, at, back: self.end() }
    }

    /// The elements before position `at` (which may be [`Listpack::end`]); read it with `.rev()`.
    pub fn iter_until(&self, at: usize) -> Iter<'_> {
        Iter { lp: self, at: HEADER, back: at }
    }

    /// The elements in groups of two; a last lone element is dropped.
    pub fn pairs(&self) -> impl Iterator<Item = (Elem<'_>, Elem<'_>)> {
        let mut it = self.iter();
        std::iter::from_fn(move || Some((it.next()?, it.next()?)))
    }

    /// Appends all elements of `other`.
    pub fn extend(&mut self, other: &Listpack) {
        let added = other.len();
        let body = &other.as_bytes()[HEADER..other.end()];
        let at = self.end();
        let counted = self.len() + added;
        self.make_gap(at, 0, body.len());
        self.block[at..at + body.len()].copy_from_slice(body);
        self.set_count_field(counted);
    }

    /// Splits at position `at`: what stands there and after it moves into the returned list.
    pub fn split_off(&mut self, at: usize) -> Listpack {
        let end = self.end();
        let tail = end - at;
        let mut v = Vec::with_capacity(usable_size(HEADER + tail + 1));
        v.extend_from_slice(&((HEADER + tail + 1) as u32).to_le_bytes());
        v.extend_from_slice(&COUNT_UNKNOWN.to_le_bytes());
        v.extend_from_slice(&self.block[at..end]);
        v.push(END);
        let mut right = Self::from_vec(v);
        let moved = right.count_by_walking();
        right.set_count_field(moved);
        let kept = self.len() - moved;
        self.make_gap(at, tail, 0);
        self.set_count_field(kept);
        right
    }

    /// The elements at the given ascending indexes, each passed to `f` with its place in `indexes`; equal indexes are
    /// allowed. One walk for all: this is how several random members are drawn.
    pub fn pick(&self, indexes: &[usize], group: usize, mut f: impl FnMut(usize, usize)) {
        let mut at = HEADER;
        let mut index = 0;
        for (place, &want) in indexes.iter().enumerate() {
            while index < want {
                for _ in 0..group {
                    at += self.entry(at);
                }
                index += 1;
            }
            f(place, at);
        }
    }
}

/// Size of the entry at `at` without its back-length.
#[inline]
fn body_size(block: &[u8], at: usize) -> usize {
    let first = block[at];
    if first < 0x80 {
        1
    } else if first < 0xC0 {
        1 + usize::from(first & 0x3F)
    } else if first < 0xE0 {
        2
    } else if first < 0xF0 {
        2 + (usize::from(first & 0x0F) << 8 | usize::from(block[at + 1]))
    } else {
        match first {
            0xF0 => 5 + u32::from_le_bytes([block[at + 1], block[at + 2], block[at + 3], block[at + 4]]) as usize,
            0xF1 => 3,
            0xF2 => 4,
            0xF3 => 5,
            _ => 9,
        }
    }
}

/// Checks that `bytes` are one listpack and nothing else. Never panics.
fn check(bytes: &[u8]) -> Result<(), Malformed> {
    let &[a, b, c, d, e, f, ref rest @ ..] = bytes else { return Err(Malformed) };
    if u32::from_le_bytes([a, b, c, d]) as usize != bytes.len() || bytes.len() > MAX_BYTES {
        return Err(Malformed);
    }
    let mut rest = rest;
    let mut count = 0usize;
    loop {
        let body = match *rest {
            [END] => break,
            [] | [END, ..] => return Err(Malformed),
            [x, ..] if x < 0x80 => 1,
            [x, ..] if x < 0xC0 => 1 + usize::from(x & 0x3F),
            [x, ..] if x < 0xE0 => 2,
            [x, y, ..] if x < 0xF0 => 2 + (usize::from(x & 0x0F) << 8 | usize::from(y)),
            [0xF0, p, q, r, s, ..] => 5 + u32::from_le_bytes([p, q, r, s]) as usize,
            [0xF1, ..] => 3,
            [0xF2, ..] => 4,
            [0xF3, ..] => 5,
            [0xF4, ..] => 9,
            _ => return Err(Malformed),
        };
        let (back, back_len) = back_length(body);
        let back = back.get(..usize::from(back_len)).ok_or(Malformed)?;
        let tail = rest.get(body..).ok_or(Malformed)?;
        rest = tail.strip_prefix(back).ok_or(Malformed)?;
        count += 1;
    }
    let claimed = u16::from_le_bytes([e, f]);
    if claimed != COUNT_UNKNOWN && usize::from(claimed) != count {
        return Err(Malformed);
    }
    Ok(())
}

/// Iterator over the elements of a [`Listpack`], from both ends.
#[derive(Clone)]
pub struct Iter<'a> {
    lp: &'a Listpack,
    at: usize,
    back: usize,
}

impl Iter<'_> {
    /// Position of the element that `next` will return.
    pub fn position(&self) -> usize {
        self.at
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = Elem<'a>;

    #[inline]
    fn next(&mut self) -> Option<Elem<'a>> {
        if self.at >= self.back {
            return None;
        }
        // The short forms, most of all entries, are told apart once.
        let rest = &self.lp.block[self.at..];
        let first = rest[0];
        if first < 0x80 {
            self.at += 2;
            return Some(Elem::Int(i64::from(first)));
        }
        if first < 0xC0 {
            let n = usize::from(first & 0x3F);
            self.at += n + 2;
            return Some(Elem::Str(&rest[1..1 + n]));
        }
        let e = self.lp.get(self.at);
        self.at += self.lp.entry(self.at);
        Some(e)
    }
}

impl<'a> DoubleEndedIterator for Iter<'a> {
    #[inline]
    fn next_back(&mut self) -> Option<Elem<'a>> {
        if self.at >= self.back {
            return None;
        }
        self.back = self.lp.prev(self.back)?;
        Some(self.lp.get(self.back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(items: &[&[u8]]) -> Listpack {
        let mut lp = Listpack::new();
        for i in items {
            lp.append(Elem::Str(i));
        }
        lp
    }

    fn texts(lp: &Listpack) -> Vec<Vec<u8>> {
        lp.iter().map(Elem::to_vec).collect()
    }

    #[test]
    fn the_bytes_are_those_redis_writes() {
        let lp = of(&[b"a", b"1", b"-1", b"4095", b"1000000"]);
        let header = [23, 0, 0, 0, 5, 0];
        let entries = [0x81, b'a', 2, 1, 1, 0xDF, 0xFF, 2, 0xCF, 0xFF, 2, 0xF2, 0x40, 0x42, 0x0F, 4, 0xFF];
        assert_eq!(lp.as_bytes(), [&header[..], &entries].concat());
    }

    #[test]
    fn integers_of_every_width_come_back() {
        let numbers =
            [0, 127, 128, -1, 4095, -4096, 4096, -4097, 32767, -32768, 32768, 8_388_607, -8_388_608, 8_388_608]
                .into_iter()
                .chain([i64::from(i32::MAX), i64::from(i32::MIN), 1 << 31, i64::MAX, i64::MIN]);
        for n in numbers {
            let mut lp = Listpack::new();
            lp.append(Elem::Int(n));
            assert_eq!(lp.get(lp.first().unwrap()), Elem::Int(n));
            assert_eq!(Listpack::from_bytes(lp.as_bytes()).unwrap(), lp);
            assert_eq!(lp.last(), lp.first());
        }
    }

    #[test]
    fn strings_of_every_width_come_back_from_both_ends() {
        for len in [0, 1, 63, 64, 125, 126, 127, 128, 4095, 4096, 16_380, 16_381, 16_382, 70_000, 2_097_150] {
            let s = vec![b'x'; len];
            let lp = of(&[b"head", &s, b"tail"]);
            assert_eq!(texts(&lp), [b"head".to_vec(), s.clone(), b"tail".to_vec()]);
            assert_eq!(lp.iter().rev().nth(1).unwrap(), Elem::Str(&s));
            assert!(Listpack::from_bytes(lp.as_bytes()).is_ok(), "{len}");
        }
    }

    #[test]
    fn seek_counts_from_both_ends() {
        let lp = of(&[b"a", b"b", b"c", b"d"]);
        for (i, s) in [(0, b"a"), (3, b"d"), (-1, b"d"), (-4, b"a"), (2, b"c"), (-3, b"b")] {
            assert_eq!(lp.get(lp.seek(i).unwrap()), Elem::Str(s), "{i}");
        }
        assert_eq!((lp.seek(4), lp.seek(-5), lp.seek(i64::MIN), lp.seek(i64::MAX)), (None, None, None, None));
    }

    #[test]
    fn find_skips_the_values() {
        let lp = of(&[b"f1", b"f2", b"f2", b"v", b"10", b"x"]);
        let at = lp.find(lp.first(), b"f2", 1).unwrap();
        assert_eq!(lp.get(lp.next(at).unwrap()), Elem::Str(b"v"));
        assert_eq!(lp.find(lp.first(), b"v", 1), None);
        assert!(lp.find(lp.first(), b"10", 1).is_some());
        assert_eq!(lp.find(lp.first(), b"010", 1), None);
    }

    #[test]
    fn more_elements_than_the_header_counts_are_counted() {
        let mut lp = Listpack::from_items((0..65_534).map(|_| Elem::Int(1)));
        assert_eq!(lp.len(), 65_534);
        lp.append(Elem::Int(2));
        lp.append(Elem::Int(3));
        assert_eq!(lp.len(), 65_536);
        assert_eq!(lp.get(lp.seek(-2).unwrap()), Elem::Int(2));
        assert_eq!(Listpack::from_bytes(lp.as_bytes()).unwrap().len(), 65_536);
        lp.delete_range(0, 10);
        assert_eq!(lp.len(), 65_526);
    }

    #[test]
    fn split_and_extend_undo_each_other() {
        let mut lp = of(&[b"a", b"b", b"c", b"d"]);
        let whole = lp.clone();
        let right = lp.split_off(lp.seek(1).unwrap());
        assert_eq!((lp.len(), right.len()), (1, 3));
        lp.extend(&right);
        assert_eq!(lp, whole);
    }

    #[test]
    fn a_truncated_or_altered_listpack_is_refused() {
        let good = of(&[b"hello", b"12", &[b'z'; 200]]);
        let bytes = good.as_bytes();
        for cut in 0..bytes.len() {
            assert_eq!(Listpack::from_bytes(&bytes[..cut]), Err(Malformed));
        }
        for i in 0..bytes.len() {
            let mut bad = bytes.to_vec();
            bad[i] ^= 0x55;
            if let Ok(lp) = Listpack::from_bytes(&bad) {
                let _ = (texts(&lp), lp.iter().rev().count());
            }
        }
    }

    #[derive(Clone, Debug)]
    enum Op {
        Insert(usize, Vec<u8>),
        Replace(usize, Vec<u8>),
        Delete(usize),
        DeleteRange(i64, usize),
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..80),
            any::<i64>().prop_map(|n| n.to_string().into_bytes()),
            (-5000i64..5000).prop_map(|n| n.to_string().into_bytes()),
            (100usize..5000).prop_map(|n| vec![b'y'; n]),
        ]
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => (0usize..40, text()).prop_map(|(i, s)| Op::Insert(i, s)),
            1 => (0usize..40, text()).prop_map(|(i, s)| Op::Replace(i, s)),
            1 => (0usize..40).prop_map(Op::Delete),
            1 => (-20i64..20, 0usize..4).prop_map(|(i, n)| Op::DeleteRange(i, n)),
        ]
    }

    proptest! {
        #[test]
        fn it_behaves_like_a_vector(ops in proptest::collection::vec(op(), 1..60), needle in text()) {
            let mut lp = Listpack::new();
            let mut model: Vec<Vec<u8>> = Vec::new();
            for op in ops {
                match op {
                    Op::Insert(i, s) => {
                        let i = i.min(model.len());
                        let at = lp.seek(i as i64).unwrap_or(lp.end());
                        lp.insert(at, Elem::Str(&s));
                        model.insert(i, s);
                    }
                    Op::Replace(i, s) if i < model.len() => {
                        lp.replace(lp.seek(i as i64).unwrap(), Elem::Str(&s));
                        model[i] = s;
                    }
                    Op::Delete(i) if i < model.len() => {
                        lp.delete(lp.seek(i as i64).unwrap());
                        model.remove(i);
                    }
                    Op::DeleteRange(i, n) => {
                        let start = if i < 0 { model.len() as i64 + i } else { i };
                        let removed = lp.delete_range(i, n);
                        if (0..model.len() as i64).contains(&start) {
                            let start = start as usize;
                            let end = (start + n).min(model.len());
                            prop_assert_eq!(removed, end - start);
                            model.drain(start..end);
                        } else {
                            prop_assert_eq!(removed, 0);
                        }
                    }
                    _ => {}
                }
                prop_assert_eq!(lp.len(), model.len());
            }
            prop_assert_eq!(texts(&lp), model.clone());
            let mut reversed: Vec<_> = lp.iter().rev().map(Elem::to_vec).collect();
            reversed.reverse();
            prop_assert_eq!(&reversed, &model);
            let checked = Listpack::from_bytes(lp.as_bytes()).unwrap();
            prop_assert_eq!(&checked, &lp);
            prop_assert_eq!(lp.allocated(), usable_size(lp.bytes()));
            for wanted in model.iter().chain([&needle]) {
                let place = model.iter().position(|s| s == wanted);
                prop_assert_eq!(lp.find(lp.first(), wanted, 0), place.map(|i| lp.seek(i as i64).unwrap()));
            }
        }

        #[test]
        fn any_bytes_are_survived(mut data in proptest::collection::vec(any::<u8>(), 0..200), honest: bool) {
            if honest && data.len() >= 4 {
                let n = data.len() as u32;
                data[..4].copy_from_slice(&n.to_le_bytes());
            }
            if let Ok(lp) = Listpack::from_bytes(&data) {
                prop_assert_eq!(lp.iter().count(), lp.iter().rev().count());
            }
        }
    }
}
