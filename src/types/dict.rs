//! The hash table behind the keyspace, big hashes, big sets and big sorted sets.
//!
//! An item is ONE allocation that holds its own key; the table stores pointers to items. A bucket is a cache line of
//! eight words, and a word packs what a probe needs:
//!
//! ```text
//! 63            48 47                                3  2   1   0
//! +---------------+-----------------------------------+---+---+---+
//! | tag: 16 bits  |  pointer to the item (8-aligned)  | - | O | M |     M: the item is "marked" (has an expiry, say)
//! +---------------+-----------------------------------+---+---+---+     O: (word 0 only) the bucket has overflowed
//! ```
//!
//! The 64-bit hash of a key is used in three parts: `dir` = bits 63..43 (21 bits) chooses the sub-table, `tag` =
//! bits 31..16 chooses the bucket in it AND tells items of a bucket apart. A sub-table of `n` buckets keeps an item in
//! bucket `tag * n >> 16`, or, when that is full, in the next one with room (the bucket passed over is flagged O, and a
//! probe goes on only past flagged buckets).
//!
//! Growth is in bounded steps, never in proportion to the table:
//! * A sub-table grows by about an eighth at a time (to the next allocation size class), which moves words only: the tag
//!   in the word says where it goes, no item is touched. `n` is any number, not a power of two, so tables stay 75 to
//!   85 % full at every size.
//! * A sub-table that would pass [`MAX_BUCKETS`] splits into eight by the next three `dir` bits; that reads the keys of
//!   at most some 1,700 items. A directory of pointers, indexed by the leading `dir` bits, leads to the sub-tables
//!   (extendible hashing). Emptied sub-tables merge again.
//!
//! Order: position = (dir, tag) as one 37-bit number. Growing, splitting, shrinking and merging never change an item's
//! position, and a scan visits positions in ascending order, so [`Dict::scan`] returns every item that was there all
//! the time, whatever the table did between two calls.
//!
//! Rejected: chained buckets (13 bytes an item instead of 10 at the same speed), hashbrown (growth copies everything at
//! once), linear hashing (unsplit buckets hold twice the load of split ones, so a third of them overflow).

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};

use crate::base::{alloc as memory, rng, siphash};

const SLOTS: usize = 8;
/// A sub-table of this many buckets splits instead of growing.
const MAX_BUCKETS: u32 = if cfg!(miri) { 8 } else { 256 };
const SPLIT_BITS: u32 = 3;
const DIR_BITS: u32 = 21;
const POINTER: usize = 0x0000_FFFF_FFFF_FFF8;
const TAG_SHIFT: u32 = 48;
const MARK: usize = 1;
const OVERFLOW: usize = 2;

/// The kind of item a [`Dict`] stores: how to read the key of one, and how to free it.
///
/// # Safety
/// A pointer handed to these functions came from an [`Owned`] of the same kind. It must be 8-aligned and below 2^48, and
/// `key` must return the same bytes as long as the item is in a table.
pub unsafe trait Item {
    /// The key of the item: what is hashed and compared.
    ///
    /// # Safety
    /// `p` points to a live item, which outlives `'a`.
    unsafe fn key<'a>(p: NonNull<u8>) -> &'a [u8];
    /// Frees the item.
    ///
    /// # Safety
    /// `p` points to a live item that nobody uses again.
    unsafe fn free(p: NonNull<u8>);
    /// Whether the item wants the mark bit, which [`Dict::scan_marked`] looks for.
    ///
    /// # Safety
    /// `p` points to a live item.
    unsafe fn marked(_p: NonNull<u8>) -> bool {
        false
    }
}

/// An item that belongs to its holder, not to a table.
pub struct Owned<T: Item>(NonNull<u8>, PhantomData<T>);

// SAFETY: an Owned is the only handle to its allocation; items hold plain data.
unsafe impl<T: Item + Send> Send for Owned<T> {}

impl<T: Item> Owned<T> {
    /// Takes over an item.
    ///
    /// # Safety
    /// `p` points to a live item of kind `T` that has no other owner.
    pub unsafe fn from_raw(p: NonNull<u8>) -> Self {
        debug_assert!(p.addr().get() & !POINTER == 0);
        Owned(p, PhantomData)
    }
    /// Gives the item up; the caller frees it, or hands it back through [`Owned::from_raw`].
    pub fn into_raw(self) -> NonNull<u8> {
        let p = self.0;
        std::mem::forget(self);
        p
    }
    /// The item, to read.
    pub fn as_ref(&self) -> Ref<'_, T> {
        Ref(self.0, PhantomData)
    }
    /// The raw pointer; the item stays with `self`.
    pub fn ptr(&mut self) -> NonNull<u8> {
        self.0
    }
}

impl<T: Item> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: we own the item.
        unsafe { T::free(self.0) }
    }
}

/// A shared reference to an item in a table. The kinds of item add their own readers to it.
pub struct Ref<'a, T: Item>(NonNull<u8>, PhantomData<&'a T>);

impl<T: Item> Clone for Ref<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T: Item> Copy for Ref<'_, T> {}

impl<'a, T: Item> Ref<'a, T> {
    /// The key of the item.
    pub fn key(self) -> &'a [u8] {
        // SAFETY: the item lives for 'a.
        unsafe { T::key(self.0) }
    }
    /// The raw pointer, for the item kind's own readers.
    pub fn ptr(self) -> NonNull<u8> {
        self.0
    }
    /// A reference from a raw pointer.
    ///
    /// # Safety
    /// `p` points to a live item of kind `T` that is not written to during `'a`.
    pub unsafe fn from_ptr(p: NonNull<u8>) -> Self {
        Ref(p, PhantomData)
    }
}

/// Exclusive access to one item in a table, and to its place.
pub struct Place<'a, T: Item> {
    /// Raw as the others, which are derived from it: a reference would claim all of the table for itself.
    dict: *mut Dict<T>,
    sub: *mut Sub,
    word: *mut *mut u8,
    borrow: PhantomData<&'a mut Dict<T>>,
}

impl<'a, T: Item> Place<'a, T> {
    /// The item, to read.
    pub fn get(&self) -> Ref<'_, T> {
        Ref(self.ptr(), PhantomData)
    }
    /// The item for as long as the table is borrowed.
    pub fn into_ptr(self) -> NonNull<u8> {
        self.ptr()
    }
    /// The raw pointer, for the item kind's own writers. Call [`Place::refresh`] when what they did may change the mark.
    pub fn ptr(&self) -> NonNull<u8> {
        // SAFETY: `word` points into a bucket of the borrowed table, and holds an item.
        unsafe { item_of(*self.word).unwrap_unchecked() }
    }
    /// Puts another item with the SAME key in the place, and returns the one that was there.
    pub fn replace(&mut self, item: Owned<T>) -> Owned<T> {
        let old = self.ptr();
        // SAFETY: both items live; keys are equal by contract, checked in debug builds.
        unsafe {
            debug_assert!(T::key(old) == T::key(item.0));
            self.set(item.into_raw());
            Owned::from_raw(old)
        }
    }
    /// Says that the item was moved to another address (reallocated) with its key unchanged.
    ///
    /// # Safety
    /// The item at the old address is gone, the one at `p` is of kind `T` and owned by nobody else.
    pub unsafe fn set(&mut self, p: NonNull<u8>) {
        // SAFETY: as in `ptr`; the mark count is kept in step.
        unsafe {
            let word = *self.word;
            let mark = T::marked(p);
            self.count_mark(word.addr() & MARK != 0, mark);
            let keep = word.addr() & (!POINTER & !MARK);
            *self.word = p.as_ptr().map_addr(|a| a | keep | usize::from(mark));
        }
    }
    /// Brings the mark bit up to date after the item changed in place.
    pub fn refresh(&mut self) {
        let p = self.ptr();
        // SAFETY: the item is where it was.
        unsafe { self.set(p) }
    }
    fn count_mark(&mut self, was: bool, is: bool) {
        let delta = i64::from(is) - i64::from(was);
        if delta != 0 {
            // SAFETY: the table is borrowed, and `sub` belongs to it; its directory is another part of it.
            unsafe {
                (*self.sub).marked = ((*self.sub).marked as i64 + delta) as u32;
                if let Some(dir) = &mut (*self.dict).dir {
                    dir.marked = (dir.marked as i64 + delta) as usize;
                }
            }
        }
    }
    /// Takes the item out of the table.
    pub fn remove(self) -> Owned<T> {
        let p = self.ptr();
        // SAFETY: as in `ptr`; the word becomes empty but keeps its overflow flag. `sub` and `word` are not used after it.
        unsafe {
            let hash = siphash::hash(T::key(p));
            let marked = (*self.word).addr() & MARK != 0;
            *self.word = (*self.word).map_addr(|a| a & OVERFLOW);
            (*self.dict).removed(hash, marked);
            Owned::from_raw(p)
        }
    }
}

#[repr(C, align(64))]
struct Bucket([*mut u8; SLOTS]);

fn item_of(word: *mut u8) -> Option<NonNull<u8>> {
    NonNull::new(word.map_addr(|a| a & POINTER))
}
fn is_empty(word: *mut u8) -> bool {
    word.addr() & POINTER == 0
}
fn tag_of_word(word: *mut u8) -> u16 {
    (word.addr() >> TAG_SHIFT) as u16
}
fn tag_of(hash: u64) -> u16 {
    (hash >> 16) as u16
}
fn dir_of(hash: u64) -> u32 {
    (hash >> (64 - DIR_BITS)) as u32
}
fn home(tag: u16, n: u32) -> u32 {
    (u32::from(tag) * n) >> 16
}
/// How many items `n` buckets hold before they grow.
fn capacity(n: u32) -> u32 {
    if n == 1 { SLOTS as u32 } else { n * 7 - n / 8 }
}
/// Bucket counts follow the allocator's size classes (four to a doubling), so that no memory is lost to rounding.
fn round_up(n: u32) -> u32 {
    if n <= 8 {
        return n.max(1);
    }
    let step = 1 << (31 - (n - 1).leading_zeros() - 2);
    n.div_ceil(step) * step
}
fn buckets_for(len: u32) -> u32 {
    let mut n = round_up(len.div_ceil(7).max(1));
    while capacity(n) < len {
        n = round_up(n + 1);
    }
    n
}

/// A flat table of `n` buckets. `len <= capacity(n)`, except while it is being emptied; `n == 0` means no memory yet.
struct Sub {
    buckets: *mut Bucket,
    n: u32,
    len: u32,
    marked: u32,
    /// How many leading `dir` bits all items here share.
    depth: u8,
}

impl Sub {
    const fn empty(depth: u8) -> Sub {
        Sub { buckets: ptr::null_mut(), n: 0, len: 0, marked: 0, depth }
    }
    fn layout(n: u32) -> Layout {
        Layout::array::<Bucket>(n as usize).expect("a table's size fits")
    }
    fn allocate(n: u32) -> *mut Bucket {
        let layout = Sub::layout(n);
        // SAFETY: n > 0, so the layout is not of size zero. Zeroed words are empty words.
        let p = unsafe { alloc_zeroed(layout) };
        if p.is_null() {
            handle_alloc_error(layout)
        }
        p.cast()
    }
    fn words(&self) -> &[*mut u8] {
        if self.n == 0 {
            return &[];
        }
        // SAFETY: `buckets` points to n buckets of eight words.
        unsafe { std::slice::from_raw_parts(self.buckets.cast(), self.n as usize * SLOTS) }
    }
    #[inline]
    fn bucket(&self, i: u32) -> *mut [*mut u8; SLOTS] {
        debug_assert!(i < self.n);
        // SAFETY: i < n.
        unsafe { &raw mut (*self.buckets.add(i as usize)).0 }
    }
    /// The word that holds `key`, or null.
    #[inline]
    fn find<T: Item>(&self, tag: u16, key: &[u8]) -> *mut *mut u8 {
        if self.n == 0 {
            return ptr::null_mut();
        }
        let mut i = home(tag, self.n);
        for _ in 0..self.n {
            let b = self.bucket(i);
            // SAFETY: `b` is a live bucket; words that are not empty hold live items.
            unsafe {
                let words = &*b;
                let mut hits = match_tag(words, tag);
                while hits != 0 {
                    let j = hits.trailing_zeros() as usize;
                    if let Some(p) = item_of(words[j])
                        && T::key(p) == key
                    {
                        return (b as *mut *mut u8).add(j);
                    }
                    hits &= hits - 1;
                }
                if words[0].addr() & OVERFLOW == 0 {
                    return ptr::null_mut();
                }
            }
            i = if i + 1 == self.n { 0 } else { i + 1 };
        }
        ptr::null_mut()
    }
    /// Puts a word (tag, pointer, mark) into the first free place from its home on. There is one.
    fn put(&mut self, word: *mut u8) {
        let mut i = home(tag_of_word(word), self.n);
        loop {
            // SAFETY: `i < n`; the bucket is ours to write.
            let words = unsafe { &mut *self.bucket(i) };
            if let Some(w) = words.iter_mut().find(|w| is_empty(**w)) {
                let flag = w.addr() & OVERFLOW;
                *w = word.map_addr(|a| (a & !OVERFLOW) | flag);
                return;
            }
            words[0] = words[0].map_addr(|a| a | OVERFLOW);
            i = if i + 1 == self.n { 0 } else { i + 1 };
        }
    }
    fn resize(&mut self, n: u32) {
        let old = Sub { buckets: self.buckets, ..*self };
        self.buckets = Sub::allocate(n);
        self.n = n;
        for &word in old.words() {
            if !is_empty(word) {
                self.put(word);
            }
        }
        old.release();
    }
    /// Frees the buckets, not the items.
    fn release(&self) {
        if self.n != 0 {
            // SAFETY: allocated by `allocate` with the same n.
            unsafe { dealloc(self.buckets.cast(), Sub::layout(self.n)) }
        }
    }
    /// Moves the buckets to another address, unless there is no memory for that.
    fn rehome(&mut self) {
        // SAFETY: allocated by `allocate` with the same n, and nobody else knows the address.
        let moved = unsafe { memory::moved(self.buckets.cast(), Sub::layout(self.n)) };
        if !moved.is_null() {
            self.buckets = moved.cast();
        }
    }
    /// Room for one more item.
    fn reserve(&mut self) {
        if self.n == 0 {
            self.buckets = Sub::allocate(1);
            self.n = 1;
        } else if self.len >= capacity(self.n) {
            self.resize(round_up(self.n + 1));
        }
    }
    /// The position after those of this sub-table, which is that of `dir`; 0 after the last.
    fn next(&self, dir: u32) -> u64 {
        let step = 1u32 << (DIR_BITS - u32::from(self.depth));
        let next = (dir & !(step - 1)) + step;
        if next >= 1 << DIR_BITS { 0 } else { u64::from(next) << 16 }
    }
    fn full_and_biggest(&self) -> bool {
        self.n >= MAX_BUCKETS && self.len >= capacity(self.n)
    }
}

/// Which of the eight words carry the tag: bit i for word i. Empty words may match; callers look.
#[inline(always)]
fn match_tag(words: &[*mut u8; SLOTS], tag: u16) -> u32 {
    let mut hits = 0;
    for (i, w) in words.iter().enumerate() {
        hits |= u32::from((w.addr() >> TAG_SHIFT) as u16 == tag) << i;
    }
    hits
}

/// The directory of a table that outgrew one sub-table. A sub-table of depth d stands in 2^(depth - d) neighbouring
/// entries.
struct Directory {
    subs: Vec<*mut Sub>,
    depth: u32,
    len: usize,
    marked: usize,
}

/// A hash table of items of kind `T`; see the module's page.
pub struct Dict<T: Item> {
    /// The whole table while there is no directory; unused otherwise.
    root: Sub,
    dir: Option<Box<Directory>>,
    kind: PhantomData<T>,
}

// SAFETY: a Dict owns its buckets and items; it has no interior mutability.
unsafe impl<T: Item + Send> Send for Dict<T> {}
// SAFETY: as above; shared access only reads.
unsafe impl<T: Item + Sync> Sync for Dict<T> {}

impl<T: Item> Default for Dict<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// The hash under which a key is stored: SipHash-1-3 under the process's random key.
#[inline]
pub fn hash(key: &[u8]) -> u64 {
    siphash::hash(key)
}

impl<T: Item> Dict<T> {
    /// An empty table, without memory of its own.
    pub const fn new() -> Self {
        Dict { root: Sub::empty(0), dir: None, kind: PhantomData }
    }
    /// How many items there are.
    #[inline]
    pub fn len(&self) -> usize {
        match &self.dir {
            None => self.root.len as usize,
            Some(d) => d.len,
        }
    }
    /// Whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// How many items are marked.
    pub fn marked(&self) -> usize {
        match &self.dir {
            None => self.root.marked as usize,
            Some(d) => d.marked,
        }
    }
    /// How many buckets the table has, and how many items they hold before they grow (for statistics).
    pub fn buckets(&self) -> usize {
        self.subs().map(|s| s.n as usize).sum()
    }
    /// Bytes of the table itself, without its items.
    pub fn mem_bytes(&self) -> usize {
        let dir = self.dir.as_ref().map_or(0, |d| d.subs.len() * 8 + size_of::<Directory>());
        self.subs().map(|s| s.n as usize * size_of::<Bucket>() + size_of::<Sub>()).sum::<usize>() + dir
    }

    #[inline]
    fn sub(&self, hash: u64) -> *mut Sub {
        match &self.dir {
            None => &raw const self.root as *mut Sub,
            Some(d) => d.subs[(dir_of(hash) >> (DIR_BITS - d.depth)) as usize],
        }
    }
    fn subs(&self) -> impl Iterator<Item = &Sub> {
        let mut i = 0;
        let mut root = self.dir.is_none();
        std::iter::from_fn(move || match &self.dir {
            None => std::mem::take(&mut root).then_some(&self.root),
            Some(d) => {
                let sub = *d.subs.get(i)?;
                // SAFETY: the directory's pointers lead to live sub-tables of ours.
                let sub = unsafe { &*sub };
                i += 1 << (d.depth - u32::from(sub.depth));
                Some(sub)
            }
        })
    }

    /// The item with this key.
    #[inline]
    pub fn find(&self, hash: u64, key: &[u8]) -> Option<Ref<'_, T>> {
        // SAFETY: `sub` leads to a live sub-table; the word, where not null, holds a live item.
        unsafe {
            let word = (*self.sub(hash)).find::<T>(tag_of(hash), key);
            if word.is_null() { None } else { item_of(*word).map(|p| Ref(p, PhantomData)) }
        }
    }
    /// The item with this key, to change, replace or remove.
    #[inline]
    pub fn find_mut(&mut self, hash: u64, key: &[u8]) -> Option<Place<'_, T>> {
        let dict: *mut Self = self;
        // SAFETY: as in `find`; `&mut self` makes the access exclusive.
        unsafe {
            let sub = Self::sub_of(dict, hash);
            let word = (*sub).find::<T>(tag_of(hash), key);
            if word.is_null() { None } else { Some(Place { dict, sub, word, borrow: PhantomData }) }
        }
    }
    #[inline]
    fn sub_mut(&mut self, hash: u64) -> *mut Sub {
        // SAFETY: `self` is borrowed exclusively.
        unsafe { Self::sub_of(self, hash) }
    }
    /// The sub-table of `hash`, for a holder of `dict` that goes on using it.
    ///
    /// # Safety
    /// `dict` is live and borrowed exclusively by the caller.
    #[inline]
    unsafe fn sub_of(dict: *mut Self, hash: u64) -> *mut Sub {
        // SAFETY: the caller's word; the reference is to the directory alone.
        unsafe {
            match &(*dict).dir {
                None => &raw mut (*dict).root,
                Some(d) => d.subs[(dir_of(hash) >> (DIR_BITS - d.depth)) as usize],
            }
        }
    }
    /// Asks the processor for the bucket that this hash leads to.
    #[inline]
    pub fn prefetch_bucket(&self, hash: u64) {
        // SAFETY: the sub-table is live.
        let sub = unsafe { &*self.sub(hash) };
        if sub.n != 0 {
            prefetch(sub.bucket(home(tag_of(hash), sub.n)).cast());
        }
    }
    /// Asks the processor for the item that this hash most likely leads to (after [`Dict::prefetch_bucket`]).
    #[inline]
    pub fn prefetch_item(&self, hash: u64) {
        // SAFETY: the sub-table is live.
        let sub = unsafe { &*self.sub(hash) };
        if sub.n != 0 {
            // SAFETY: a live bucket.
            let words = unsafe { &*sub.bucket(home(tag_of(hash), sub.n)) };
            let hits = match_tag(words, tag_of(hash));
            if hits != 0
                && let Some(p) = item_of(words[hits.trailing_zeros() as usize])
            {
                prefetch(p.as_ptr());
                prefetch(p.as_ptr().wrapping_add(56));
            }
        }
    }

    /// Adds an item whose key is not in the table yet.
    pub fn insert_new(&mut self, hash: u64, item: Owned<T>) -> Ref<'_, T> {
        debug_assert!(self.find(hash, item.as_ref().key()).is_none(), "the key is there already");
        let mut sub = self.sub_mut(hash);
        // SAFETY: sub-tables are ours and live; `split` may free the one we hold, so we look it up again.
        unsafe {
            while (*sub).full_and_biggest() && u32::from((*sub).depth) + SPLIT_BITS <= DIR_BITS {
                self.split(hash);
                sub = self.sub_mut(hash);
            }
            let sub = &mut *sub;
            sub.reserve();
            let p = item.into_raw();
            let mark = T::marked(p);
            sub.put(word_for(p, hash, mark));
            sub.len += 1;
            sub.marked += u32::from(mark);
            if let Some(d) = &mut self.dir {
                d.len += 1;
                d.marked += usize::from(mark);
            }
            Ref(p, PhantomData)
        }
    }
    /// Takes the item with this key out.
    pub fn remove(&mut self, hash: u64, key: &[u8]) -> Option<Owned<T>> {
        self.find_mut(hash, key).map(Place::remove)
    }
    fn removed(&mut self, hash: u64, marked: bool) {
        // SAFETY: the sub-table is live, and ours.
        let sub = unsafe { &mut *self.sub_mut(hash) };
        sub.len -= 1;
        sub.marked -= u32::from(marked);
        if let Some(d) = &mut self.dir {
            d.len -= 1;
            d.marked -= usize::from(marked);
        }
        if sub.len == 0 {
            sub.release();
            sub.buckets = ptr::null_mut();
            sub.n = 0;
            self.merge(hash);
        } else if sub.n > 1 && sub.len < sub.n * 2 {
            let n = buckets_for(sub.len + sub.len / 2);
            if n < sub.n {
                sub.resize(n);
                self.merge(hash);
            }
        }
    }

    /// Replaces the sub-table of `hash` by eight, each with the items that share three more `dir` bits.
    fn split(&mut self, hash: u64) {
        if self.dir.is_none() {
            let (len, marked) = (self.root.len as usize, self.root.marked as usize);
            let root = Box::into_raw(Box::new(std::mem::replace(&mut self.root, Sub::empty(0))));
            self.dir = Some(Box::new(Directory { subs: vec![root], depth: 0, len, marked }));
        }
        let dir = self.dir.as_mut().expect("made above");
        let at = |d: &Directory| (dir_of(hash) >> (DIR_BITS - d.depth)) as usize;
        // SAFETY: a live sub-table; it leaves the directory below.
        let old = unsafe { Box::from_raw(dir.subs[at(dir)]) };
        let depth = u32::from(old.depth) + SPLIT_BITS;
        while dir.depth < depth {
            dir.subs = dir.subs.iter().flat_map(|&s| [s; 1 << SPLIT_BITS]).collect();
            dir.depth += SPLIT_BITS;
        }
        let mut parts: [Sub; 1 << SPLIT_BITS] = std::array::from_fn(|_| Sub::empty(depth as u8));
        for part in &mut parts {
            part.n = buckets_for(old.len >> SPLIT_BITS);
            part.buckets = Sub::allocate(part.n);
        }
        let words = old.words();
        for (i, &word) in words.iter().enumerate() {
            if let Some(p) = words.get(i + 16).and_then(|w| item_of(*w)) {
                prefetch(p.as_ptr());
            }
            if let Some(p) = item_of(word) {
                // SAFETY: a live item.
                let hash = siphash::hash(unsafe { T::key(p) });
                let part = &mut parts[(dir_of(hash) >> (DIR_BITS - depth)) as usize % (1 << SPLIT_BITS)];
                part.reserve();
                part.put(word);
                part.len += 1;
                part.marked += (word.addr() & MARK) as u32;
            }
        }
        old.release();
        let span = 1usize << (dir.depth - depth);
        let first = at(dir) & !(span * (1 << SPLIT_BITS) - 1);
        for (i, part) in parts.into_iter().enumerate() {
            let part = Box::into_raw(Box::new(part));
            dir.subs[first + i * span..first + (i + 1) * span].fill(part);
        }
    }

    /// Joins the sub-table of `hash` with its seven siblings when all of them together are small.
    fn merge(&mut self, hash: u64) {
        let Some(dir) = &mut self.dir else { return };
        let at = (dir_of(hash) >> (DIR_BITS - dir.depth)) as usize;
        // SAFETY: the directory's pointers lead to live sub-tables of ours.
        let depth = unsafe { u32::from((*dir.subs[at]).depth) };
        if depth == 0 {
            return;
        }
        let span = 1usize << (dir.depth - depth);
        let first = at & !(span * (1 << SPLIT_BITS) - 1);
        let siblings: [*mut Sub; 1 << SPLIT_BITS] = std::array::from_fn(|i| dir.subs[first + i * span]);
        let mut len = 0;
        for &s in &siblings {
            // SAFETY: as above.
            let s = unsafe { &*s };
            if u32::from(s.depth) != depth {
                return;
            }
            len += s.len;
        }
        if len > capacity(MAX_BUCKETS) / 4 {
            return;
        }
        let n = if len == 0 { 0 } else { buckets_for(len + len / 2) };
        let mut whole = Sub::empty((depth - SPLIT_BITS) as u8);
        if n != 0 {
            whole.n = n;
            whole.buckets = Sub::allocate(n);
        }
        for s in siblings {
            // SAFETY: taken out of the directory below.
            let s = unsafe { Box::from_raw(s) };
            for &word in s.words() {
                if !is_empty(word) {
                    whole.put(word);
                }
            }
            whole.len += s.len;
            whole.marked += s.marked;
            s.release();
        }
        if depth == SPLIT_BITS && dir.depth == SPLIT_BITS {
            self.dir = None;
            self.root = whole;
            return;
        }
        let whole = Box::into_raw(Box::new(whole));
        dir.subs[first..first + span * (1 << SPLIT_BITS)].fill(whole);
        // Nobody needs the last three bits of the directory: drop them. A look at every entry, once in many merges.
        let groups = dir.subs.chunks(1 << SPLIT_BITS);
        if span == 1 && groups.len() > 1 && groups.clone().all(|g| g.iter().all(|s| *s == g[0])) {
            dir.subs = dir.subs.iter().step_by(1 << SPLIT_BITS).copied().collect();
            dir.depth -= SPLIT_BITS;
        }
    }

    /// Every item, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = Ref<'_, T>> {
        self.subs().flat_map(|s| s.words()).filter_map(|w| item_of(*w)).map(|p| Ref(p, PhantomData))
    }
    /// Calls `f` for the items of the first bucket at or after position `pos`, and returns the position to go on from,
    /// or 0 when the table is through. Start with 0. Positions are below 2^37.
    pub fn scan(&self, pos: u64, f: impl FnMut(Ref<'_, T>)) -> u64 {
        self.scan_if(pos, |_| true, f)
    }
    /// As [`Dict::scan`], for marked items only; items without the mark are not even touched.
    pub fn scan_marked(&self, pos: u64, f: impl FnMut(Ref<'_, T>)) -> u64 {
        self.scan_if(pos, |word| word.addr() & MARK != 0, f)
    }
    fn scan_if(&self, pos: u64, want: impl Fn(*mut u8) -> bool, mut f: impl FnMut(Ref<'_, T>)) -> u64 {
        let (dir, tag) = ((pos >> 16) as u32 & ((1 << DIR_BITS) - 1), pos as u16);
        // SAFETY: a live sub-table.
        let sub = unsafe { &*self.sub(u64::from(dir) << (64 - DIR_BITS)) };
        let mut next_tag = 1 << 16;
        if sub.n != 0 {
            let at = home(tag, sub.n);
            let mut i = at;
            for _ in 0..sub.n {
                // SAFETY: i < n.
                let words = unsafe { &*sub.bucket(i) };
                for &word in words {
                    if let Some(p) = item_of(word)
                        && home(tag_of_word(word), sub.n) == at
                        && want(word)
                    {
                        f(Ref(p, PhantomData));
                    }
                }
                if words[0].addr() & OVERFLOW == 0 {
                    break;
                }
                i = if i + 1 == sub.n { 0 } else { i + 1 };
            }
            next_tag = ((at + 1) << 16).div_ceil(sub.n);
        }
        if next_tag < 1 << 16 {
            return u64::from(dir) << 16 | u64::from(next_tag);
        }
        sub.next(dir)
    }
    /// Moves the sub-table at position `pos` to another address if `worth` says so of the one that it has. Returns the
    /// position to go on from, or 0 when the table is through. Items stay where they are.
    pub fn rehome(&mut self, pos: u64, worth: impl FnOnce(*const u8) -> bool) -> u64 {
        let dir = (pos >> 16) as u32 & ((1 << DIR_BITS) - 1);
        // SAFETY: a live sub-table of ours, borrowed exclusively.
        let sub = unsafe { &mut *self.sub_mut(u64::from(dir) << (64 - DIR_BITS)) };
        if sub.n != 0 && worth(sub.buckets.cast()) {
            sub.rehome();
        }
        sub.next(dir)
    }
    /// One item, each with the same probability.
    pub fn random(&self) -> Option<Ref<'_, T>> {
        if self.is_empty() {
            return None;
        }
        let weight = |s: &Sub| (s.n as usize) << s.depth;
        let most = match &self.dir {
            None => 0,
            // SAFETY: live sub-tables.
            Some(d) => d.subs.iter().take(64).map(|s| weight(unsafe { &**s })).max().unwrap_or(0) * 2,
        };
        for _ in 0..1000 {
            // SAFETY: a live sub-table.
            let sub = unsafe { &*self.sub(rng::next_u64()) };
            if self.dir.is_some() && rng::below(most.max(1) as u64) as usize >= weight(sub) {
                continue;
            }
            let words = sub.words();
            if words.is_empty() {
                continue;
            }
            if let Some(p) = item_of(words[rng::below(words.len() as u64) as usize]) {
                return Some(Ref(p, PhantomData));
            }
        }
        self.iter().next()
    }
    /// Removes every item.
    pub fn clear(&mut self) {
        *self = Dict::new();
    }
}

impl<T: Item> Drop for Dict<T> {
    fn drop(&mut self) {
        for sub in self.subs() {
            for (i, &word) in sub.words().iter().enumerate() {
                if let Some(p) = sub.words().get(i + 8).and_then(|w| item_of(*w)) {
                    prefetch(p.as_ptr());
                }
                if let Some(p) = item_of(word) {
                    // SAFETY: the table owns its items, and is going.
                    unsafe { T::free(p) }
                }
            }
            sub.release();
        }
        if let Some(d) = &self.dir {
            let mut i = 0;
            while i < d.subs.len() {
                // SAFETY: each sub-table is freed once: the step passes over its other entries.
                let sub = unsafe { Box::from_raw(d.subs[i]) };
                i += 1 << (d.depth - u32::from(sub.depth));
            }
        }
    }
}

fn word_for(p: NonNull<u8>, hash: u64, mark: bool) -> *mut u8 {
    debug_assert!(p.addr().get() & !POINTER == 0, "an item is 8-aligned and below 2^48");
    p.as_ptr().map_addr(|a| a | usize::from(tag_of(hash)) << TAG_SHIFT | usize::from(mark))
}

/// Asks the processor to load a cache line; a hint, valid for any address.
#[inline(always)]
pub fn prefetch(p: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(p.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = p;
}

#[cfg(test)]
mod tests;
