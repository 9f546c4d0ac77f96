//! A node of a stream: entries in a listpack, relative to a master entry at its start, as Redis lays them out.
//!
//! ```text
//! master: live | deleted | fields | name ... name | 0
//! entry with the master's fields:  1 | ms | seq | value ... value | elements before this one
//! entry with fields of its own:    0 | ms | seq | fields | name | value ... | elements before this one
//! ```
//!
//! Each word is an element of the listpack. The times and sequences are differences to the ID under which the node is
//! kept. The first number of an entry has two bits: 1 for deleted, 2 for the master's fields. The last one lets a reader
//! step backwards; behind the master it is 0, where such a reader stops.

use smallvec::SmallVec;

use super::StreamId;
use crate::types::elem::Elem;
use crate::types::listpack::{Listpack, Malformed};

const DELETED: i64 = 1;
const SAME_FIELDS: i64 = 2;

/// Entries under a common key; see the module's header.
#[derive(Clone, Debug)]
pub struct Node {
    lp: Listpack,
    /// The first two numbers of the master, which every append and trim asks for.
    live: u64,
    deleted: u64,
}

/// An entry in its node.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Its ID.
    pub id: StreamId,
    /// How many pairs of field and value it has.
    pub len: usize,
    lp: &'a Listpack,
    /// Position of the flags.
    at: usize,
    flags: i64,
    /// Position of the first name or value.
    data: usize,
    /// Position of the master's first name.
    names: usize,
}

impl<'a> Entry<'a> {
    /// Whether it is only kept as a mark.
    pub(super) fn is_deleted(&self) -> bool {
        self.flags & DELETED != 0
    }
    /// Passes each pair of field and value to `f`.
    pub fn for_each(&self, mut f: impl FnMut(Elem<'a>, Elem<'a>)) {
        let same = self.flags & SAME_FIELDS != 0;
        let mut values = self.lp.iter_from(self.data);
        let mut names = self.lp.iter_from(self.names);
        for _ in 0..self.len {
            let name = if same { names.next() } else { values.next() };
            if let (Some(name), Some(value)) = (name, values.next()) {
                f(name, value);
            }
        }
    }
    /// Position of the count behind the entry.
    fn end(&self) -> Option<usize> {
        let words = if self.flags & SAME_FIELDS != 0 { self.len } else { self.len * 2 };
        let mut at = self.data;
        for _ in 0..words {
            at = self.lp.next(at)?;
        }
        Some(at)
    }
}

fn int(lp: &Listpack, at: usize) -> Option<i64> {
    lp.get(at).as_int()
}

impl Node {
    /// An empty node whose master has the field names of `items`, which are names and values in turn.
    pub fn new(items: &[&[u8]]) -> Node {
        let names = items.iter().step_by(2);
        let head = [Elem::Int(0), Elem::Int(0), Elem::Int(names.len() as i64)];
        let lp = Listpack::from_items(head.into_iter().chain(names.map(|n| Elem::Str(n))).chain([Elem::Int(0)]));
        Node { lp, live: 0, deleted: 0 }
    }

    /// Takes over a listpack, kept under `master`, after checking every entry: the form, that IDs ascend from the master's
    /// on, and the counts. Also returns the last ID in it.
    pub fn from_listpack(master: StreamId, lp: Listpack) -> Result<(Node, Option<StreamId>), Malformed> {
        let (live, deleted, last) = check(master, &lp).ok_or(Malformed)?;
        Ok((Node { lp, live, deleted }, last))
    }

    /// The listpack.
    pub fn listpack(&self) -> &Listpack {
        &self.lp
    }
    /// How many entries there are.
    pub fn live(&self) -> u64 {
        self.live
    }
    /// How many entries there are, deleted ones included.
    pub fn stored(&self) -> u64 {
        self.live + self.deleted
    }

    /// Adds an entry of names and values in turn.
    pub fn push(&mut self, master: StreamId, id: StreamId, items: &[&[u8]]) {
        let same = self.has_names(items);
        let mut words: SmallVec<[Elem<'_>; 24]> = SmallVec::new();
        words.push(Elem::Int(if same { SAME_FIELDS } else { 0 }));
        words.push(Elem::Int(id.ms.wrapping_sub(master.ms) as i64));
        words.push(Elem::Int(id.seq.wrapping_sub(master.seq) as i64));
        if same {
            words.extend(items.iter().skip(1).step_by(2).map(|v| Elem::Str(v)));
        } else {
            words.push(Elem::Int(items.len() as i64 / 2));
            words.extend(items.iter().map(|i| Elem::Str(i)));
        }
        words.push(Elem::Int(words.len() as i64));
        self.lp.append_all(&words);
        self.set_counts(self.live + 1, self.deleted);
    }

    fn has_names(&self, items: &[&[u8]]) -> bool {
        let Some((n, names)) = self.names() else { return false };
        let mut own = self.lp.iter_from(names);
        n * 2 == items.len() && items.iter().step_by(2).all(|name| own.next().is_some_and(|e| e.eq_bytes(name)))
    }
    /// How many names the master has, and the position behind their number: of the first of them.
    fn names(&self) -> Option<(usize, usize)> {
        let count = self.lp.next(self.lp.next(self.lp.first()?)?)?;
        Some((int(&self.lp, count)? as usize, self.lp.next(count)?))
    }
    /// The position behind the master.
    fn start(&self) -> Option<usize> {
        let (n, mut at) = self.names()?;
        for _ in 0..n {
            at = self.lp.next(at)?;
        }
        self.lp.next(at)
    }

    fn set_counts(&mut self, live: u64, deleted: u64) {
        let changed = deleted != self.deleted;
        (self.live, self.deleted) = (live, deleted);
        if let Some(at) = self.lp.first() {
            self.lp.replace(at, Elem::Int(live as i64));
            if changed && let Some(at) = self.lp.next(at) {
                self.lp.replace(at, Elem::Int(deleted as i64));
            }
        }
    }

    /// The entry whose flags stand at `at`.
    pub(super) fn entry(&self, master: StreamId, at: usize) -> Option<Entry<'_>> {
        let lp = &self.lp;
        let flags = int(lp, at)?;
        let ms = lp.next(at)?;
        let seq = lp.next(ms)?;
        let id = StreamId {
            ms: master.ms.wrapping_add(int(lp, ms)? as u64),
            seq: master.seq.wrapping_add(int(lp, seq)? as u64),
        };
        let (fields, names) = self.names()?;
        let mut data = lp.next(seq)?;
        let mut len = fields;
        if flags & SAME_FIELDS == 0 {
            len = int(lp, data)? as usize;
            data = lp.next(data)?;
        }
        Some(Entry { id, len, lp, at, flags, data, names })
    }
    /// The first entry, deleted ones included.
    pub(super) fn first(&self, master: StreamId) -> Option<Entry<'_>> {
        self.entry(master, self.start()?)
    }
    /// The entry after `entry`.
    pub(super) fn after(&self, master: StreamId, entry: &Entry<'_>) -> Option<Entry<'_>> {
        self.entry(master, self.lp.next(entry.end()?)?)
    }
    /// The last entry, deleted ones included.
    pub(super) fn last(&self, master: StreamId) -> Option<Entry<'_>> {
        self.ending_at(master, self.lp.last()?)
    }
    /// The entry before `entry`.
    pub(super) fn before(&self, master: StreamId, entry: &Entry<'_>) -> Option<Entry<'_>> {
        self.ending_at(master, self.lp.prev(entry.at)?)
    }
    /// The entry whose last number stands at `at`; none where that is the master.
    fn ending_at(&self, master: StreamId, at: usize) -> Option<Entry<'_>> {
        let words = int(&self.lp, at)?;
        let mut at = at;
        for _ in 0..words {
            at = self.lp.prev(at)?;
        }
        if words == 0 { None } else { self.entry(master, at) }
    }

    fn mark(&mut self, at: usize, flags: i64) {
        self.lp.replace(at, Elem::Int(flags | DELETED));
    }

    /// Marks the entry of this ID as deleted; whether there was one.
    pub fn delete(&mut self, master: StreamId, id: StreamId) -> bool {
        let mut next = self.first(master);
        while let Some(e) = next {
            if e.id >= id {
                let found = e.id == id && !e.is_deleted();
                let (at, flags) = (e.at, e.flags);
                if found {
                    self.mark(at, flags);
                    self.set_counts(self.live - 1, self.deleted + 1);
                }
                return found;
            }
            next = self.after(master, &e);
        }
        false
    }

    /// Removes deleted entries at the end whose IDs are greater than `id`.
    pub fn drop_marks_after(&mut self, master: StreamId, id: StreamId) {
        let mut n = 0;
        while let Some(at) = self.last(master).filter(|e| e.is_deleted() && e.id > id).map(|e| e.at) {
            self.lp.delete_at(at, usize::MAX);
            n += 1;
        }
        if n > 0 {
            self.set_counts(self.live, self.deleted - n);
        }
    }

    /// Marks up to `count` entries with IDs below `until` as deleted, from the first on; how many.
    pub fn delete_first(&mut self, master: StreamId, count: u64, until: StreamId) -> u64 {
        let mut marks: SmallVec<[(usize, i64); 32]> = SmallVec::new();
        let mut next = self.first(master);
        while let Some(e) = next {
            if marks.len() as u64 >= count || e.id >= until {
                break;
            }
            if !e.is_deleted() {
                marks.push((e.at, e.flags));
            }
            next = self.after(master, &e);
        }
        let n = marks.len() as u64;
        // From the end, for flags that somebody wrote in more bytes than they need become shorter.
        marks.into_iter().rev().for_each(|(at, flags)| self.mark(at, flags));
        self.set_counts(self.live - n, self.deleted + n);
        n
    }
}

/// Walks a foreign node: how many entries are live and deleted, and the last ID.
fn check(master: StreamId, lp: &Listpack) -> Option<(u64, u64, Option<StreamId>)> {
    let mut words = lp.iter();
    let mut number = || words.next()?.as_int();
    let (live, deleted) = (u64::try_from(number()?).ok()?, u64::try_from(number()?).ok()?);
    let fields = usize::try_from(number()?).ok()?;
    for _ in 0..fields {
        words.next()?;
    }
    if words.next()?.as_int()? != 0 {
        return None;
    }
    let (mut seen, mut last) = ([0u64; 2], None);
    while let Some(first) = words.next() {
        // Marking an entry as deleted must not move what follows.
        let Elem::Int(flags @ 0..=3) = first else { return None };
        let ms = words.next()?.as_int()? as u64;
        let seq = words.next()?.as_int()? as u64;
        let id = StreamId { ms: master.ms.wrapping_add(ms), seq: master.seq.wrapping_add(seq) };
        if id < master || last.is_some_and(|last| id <= last) {
            return None;
        }
        last = Some(id);
        let (skip, before) = if flags & SAME_FIELDS != 0 {
            (fields, fields.checked_add(3)?)
        } else {
            let n = usize::try_from(words.next()?.as_int()?).ok()?.checked_mul(2)?;
            (n, n.checked_add(4)?)
        };
        for _ in 0..skip {
            words.next()?;
        }
        if words.next()?.as_int()? != before as i64 {
            return None;
        }
        seen[usize::from(flags & DELETED != 0)] += 1;
    }
    (seen == [live, deleted]).then_some((live, deleted, last))
}
