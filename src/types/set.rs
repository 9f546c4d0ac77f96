//! The set type: an intset while all members are integers, a listpack while it is small, a hash table beyond.
//!
//! A set only ever moves towards the table; a command that builds a fresh set from integers alone may ask for the
//! intset again ([`Set::prefer_intset`]).

use std::collections::HashSet;

use super::dict::{Dict, Place, hash};
use super::elem::Elem;
use super::intset::Intset;
use super::item::{Member, member};
use super::limits::Limits;
use super::listpack::{Listpack, Malformed};
use crate::base::num::parse_i64;
use crate::base::rng;

/// The most members an intset may have whatever the option says: its length field and offsets are 32-bit.
const INTSET_MAX: usize = 1 << 30;

/// A set of byte strings; see the module's header.
pub struct Set(Repr);

enum Repr {
    Ints(Intset),
    Packed(Listpack),
    Table(Box<Dict<Member>>),
}

impl Default for Set {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Set {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Set({}, {})", self.encoding(), self.len())
    }
}

impl Set {
    /// An empty set.
    pub fn new() -> Self {
        Set(Repr::Ints(Intset::new()))
    }

    /// An empty set for about `expected` members the first of which is `first`.
    pub fn for_members(first: &[u8], expected: usize, limits: &Limits) -> Self {
        if expected <= limits.set_max_intset_entries && parse_i64(first).is_some() {
            Set(Repr::Ints(Intset::new()))
        } else if expected <= limits.set_max_listpack_entries {
            Set(Repr::Packed(Listpack::new()))
        } else {
            Set(Repr::Table(Box::default()))
        }
    }

    /// A set of an intset's members, encoded as `limits` ask for.
    pub fn from_intset(ints: Intset, limits: &Limits) -> Self {
        let mut set = Set(Repr::Ints(ints));
        set.reserve(set.len(), limits);
        set
    }

    /// A set of a listpack's elements; an error when two of them are equal.
    pub fn from_listpack(lp: Listpack, limits: &Limits) -> Result<Self, Malformed> {
        let mut seen = HashSet::with_capacity(lp.len());
        if !lp.iter().all(|e| seen.insert(e.to_vec())) {
            return Err(Malformed);
        }
        let longest = lp.iter().map(Elem::len).max().unwrap_or(0);
        let mut set = Set(Repr::Packed(lp));
        if longest > limits.set_max_listpack_value {
            set.make_table();
        } else {
            set.reserve(set.len(), limits);
        }
        Ok(set)
    }

    /// The `OBJECT ENCODING` name.
    pub fn encoding(&self) -> &'static str {
        match self.0 {
            Repr::Ints(_) => "intset",
            Repr::Packed(_) => "listpack",
            Repr::Table(_) => "hashtable",
        }
    }

    /// The intset, when that is the encoding.
    pub fn as_intset(&self) -> Option<&Intset> {
        match &self.0 {
            Repr::Ints(s) => Some(s),
            _ => None,
        }
    }

    /// The listpack, when that is the encoding.
    pub fn as_listpack(&self) -> Option<&Listpack> {
        match &self.0 {
            Repr::Packed(lp) => Some(lp),
            _ => None,
        }
    }

    /// Number of members.
    #[inline]
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Ints(s) => s.len(),
            Repr::Packed(lp) => lp.len(),
            Repr::Table(d) => d.len(),
        }
    }

    /// Whether there is no member: such a set is deleted from its key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether `value` is a member.
    #[inline]
    pub fn contains(&self, value: &[u8]) -> bool {
        match &self.0 {
            Repr::Ints(s) => parse_i64(value).is_some_and(|n| s.contains(n)),
            Repr::Packed(lp) => lp.find(lp.first(), value, 0).is_some(),
            Repr::Table(d) => d.find(hash(value), value).is_some(),
        }
    }

    /// Whether `e` is a member.
    pub fn contains_elem(&self, e: Elem<'_>) -> bool {
        match (&self.0, e) {
            (Repr::Ints(s), Elem::Int(n)) => s.contains(n),
            _ => self.contains(e.as_bytes(&mut itoa::Buffer::new())),
        }
    }

    /// Makes ready for a set of `expected` members: a packed set that cannot hold them becomes a table at once.
    pub fn reserve(&mut self, expected: usize, limits: &Limits) {
        let over = match self.0 {
            Repr::Ints(_) => expected > limits.set_max_intset_entries,
            Repr::Packed(_) => expected > limits.set_max_listpack_entries,
            Repr::Table(_) => false,
        };
        if over {
            self.make_table();
        }
    }

    fn make_table(&mut self) {
        let mut dict: Box<Dict<Member>> = Box::default();
        self.for_each(|e| insert(&mut dict, e.as_bytes(&mut itoa::Buffer::new())));
        self.0 = Repr::Table(dict);
    }

    /// Adds `value`; returns whether it is new.
    pub fn add(&mut self, value: &[u8], limits: &Limits) -> bool {
        match &mut self.0 {
            Repr::Ints(ints) => {
                if let Some(n) = parse_i64(value) {
                    let added = ints.add(n);
                    if added && ints.len() > limits.set_max_intset_entries.min(INTSET_MAX) {
                        self.make_table();
                    }
                    return added;
                }
                let longest =
                    [ints.min(), ints.max()].into_iter().flatten().map(|n| Elem::Int(n).len()).max().unwrap_or(0);
                let packs = ints.len() < limits.set_max_listpack_entries
                    && value.len() <= limits.set_max_listpack_value
                    && longest <= limits.set_max_listpack_value;
                if packs {
                    let items = ints.iter().map(Elem::Int).chain([Elem::Str(value)]);
                    self.0 = Repr::Packed(Listpack::from_items(items));
                    return true;
                }
                self.make_table();
                self.add(value, limits)
            }
            Repr::Packed(lp) => {
                if lp.find(lp.first(), value, 0).is_some() {
                    return false;
                }
                let fits = lp.len() < limits.set_max_listpack_entries
                    && value.len() <= limits.set_max_listpack_value
                    && lp.has_room(value.len());
                if fits {
                    lp.append(Elem::Str(value));
                } else {
                    self.make_table();
                    if let Repr::Table(d) = &mut self.0 {
                        insert(d, value);
                    }
                }
                true
            }
            Repr::Table(d) => {
                let h = hash(value);
                if d.find(h, value).is_some() {
                    return false;
                }
                d.insert_new(h, member(value));
                true
            }
        }
    }

    /// Adds `e`; returns whether it is new.
    pub fn add_elem(&mut self, e: Elem<'_>, limits: &Limits) -> bool {
        self.add(e.as_bytes(&mut itoa::Buffer::new()), limits)
    }

    /// Removes `value`; returns whether it was a member.
    pub fn remove(&mut self, value: &[u8]) -> bool {
        match &mut self.0 {
            Repr::Ints(s) => parse_i64(value).is_some_and(|n| s.remove(n)),
            Repr::Packed(lp) => match lp.find(lp.first(), value, 0) {
                Some(at) => {
                    lp.delete(at);
                    true
                }
                None => false,
            },
            Repr::Table(d) => d.find_mut(hash(value), value).map(Place::remove).is_some(),
        }
    }

    /// Shows every member.
    pub fn for_each(&self, mut f: impl FnMut(Elem<'_>)) {
        match &self.0 {
            Repr::Ints(s) => s.iter().for_each(|n| f(Elem::Int(n))),
            Repr::Packed(lp) => lp.iter().for_each(f),
            Repr::Table(d) => d.iter().for_each(|m| f(Elem::Str(m.key()))),
        }
    }

    /// The members.
    pub fn iter(&self) -> Box<dyn Iterator<Item = Elem<'_>> + '_> {
        match &self.0 {
            Repr::Ints(s) => Box::new(s.iter().map(Elem::Int)),
            Repr::Packed(lp) => Box::new(lp.iter()),
            Repr::Table(d) => Box::new(d.iter().map(|m| Elem::Str(m.key()))),
        }
    }

    /// One step of an incremental walk: shows some members and returns the cursor to go on with, 0 at the end. A packed
    /// set is shown whole.
    pub fn scan(&self, cursor: u64, mut f: impl FnMut(Elem<'_>)) -> u64 {
        match &self.0 {
            Repr::Table(d) => d.scan(cursor, |m| f(Elem::Str(m.key()))),
            _ => {
                self.for_each(f);
                0
            }
        }
    }

    /// A random member, each with the same probability.
    pub fn random(&self) -> Option<Elem<'_>> {
        match &self.0 {
            Repr::Ints(s) => s.get(rng::below(s.len() as u64) as usize).map(Elem::Int),
            Repr::Packed(lp) => lp.seek(rng::below(lp.len() as u64) as i64).map(|at| lp.get(at)),
            Repr::Table(d) => d.random().map(|m| Elem::Str(m.key())),
        }
    }

    /// Shows `n` distinct random members (all, when there are no more); every choice of `n` is equally likely.
    pub fn sample(&self, n: usize, mut f: impl FnMut(Elem<'_>)) {
        let len = self.len();
        if let Repr::Table(d) = &self.0
            && n < len / 3
        {
            // Few out of many: draw, and draw again what was drawn before.
            let mut seen = HashSet::with_capacity(n);
            while seen.len() < n {
                let Some(m) = d.random() else { return };
                if seen.insert(m.ptr()) {
                    f(Elem::Str(m.key()));
                }
            }
            return;
        }
        select(len, n, self.iter(), f);
    }

    /// Removes and returns a random member.
    pub fn pop(&mut self) -> Option<Vec<u8>> {
        let value = self.random()?.to_vec();
        self.remove(&value);
        Some(value)
    }

    /// Turns a set of integers alone into an intset, when it is small enough.
    pub fn prefer_intset(&mut self, limits: &Limits) {
        if matches!(self.0, Repr::Ints(_)) || self.len() > limits.set_max_intset_entries.min(INTSET_MAX) {
            return;
        }
        let mut numbers = Vec::with_capacity(self.len());
        for e in self.iter() {
            match e.as_int() {
                Some(n) => numbers.push(n),
                None => return,
            }
        }
        numbers.sort_unstable();
        let mut ints = Intset::new();
        for n in numbers {
            ints.add(n);
        }
        self.0 = Repr::Ints(ints);
    }

    /// A copy of its own.
    pub fn duplicate(&self) -> Self {
        match &self.0 {
            Repr::Ints(s) => Set(Repr::Ints(s.clone())),
            Repr::Packed(lp) => Set(Repr::Packed(lp.clone())),
            Repr::Table(d) => {
                let mut copy: Box<Dict<Member>> = Box::default();
                d.iter().for_each(|m| insert(&mut copy, m.key()));
                Set(Repr::Table(copy))
            }
        }
    }

    /// Bytes allocated beyond the handle itself, estimated from up to `samples` members (0: all).
    pub fn mem_usage(&self, samples: usize) -> usize {
        match &self.0 {
            Repr::Ints(s) => s.allocated(),
            Repr::Packed(lp) => lp.allocated(),
            Repr::Table(d) => {
                let look = if samples == 0 { d.len() } else { samples.min(d.len()) };
                let seen: usize = d.iter().take(look).map(|m| m.allocated()).sum();
                size_of::<Dict<Member>>() + d.mem_bytes() + extrapolate(seen, look, d.len())
            }
        }
    }

    /// How many allocations freeing the set takes: what decides whether it is freed in the background.
    pub fn free_effort(&self) -> usize {
        match &self.0 {
            Repr::Table(d) => d.len(),
            _ => 1,
        }
    }
}

fn insert(dict: &mut Dict<Member>, value: &[u8]) {
    dict.insert_new(hash(value), member(value));
}

/// What `total` things take when `look` of them take `seen`.
pub(super) fn extrapolate(seen: usize, look: usize, total: usize) -> usize {
    if look == 0 { 0 } else { (seen as u128 * total as u128 / look as u128) as usize }
}

/// Passes `n` of the `len` items on, every choice equally likely, in their order (Knuth's algorithm S).
pub(super) fn select<T>(len: usize, n: usize, items: impl Iterator<Item = T>, mut f: impl FnMut(T)) {
    let mut need = n.min(len);
    for (i, item) in items.enumerate() {
        if need == 0 {
            return;
        }
        if rng::below((len - i) as u64) < need as u64 {
            need -= 1;
            f(item);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const L: Limits = Limits::DEFAULT;

    #[test]
    fn encodings_change_at_redis_thresholds() {
        let mut s = Set::new();
        (0..512).for_each(|i: i32| assert!(s.add(i.to_string().as_bytes(), &L)));
        assert_eq!(s.encoding(), "intset");
        s.add(b"512", &L);
        assert_eq!((s.encoding(), s.len()), ("hashtable", 513));

        let mut s = Set::new();
        s.add(b"1", &L);
        s.add(b"a", &L);
        assert_eq!(s.encoding(), "listpack");
        (0..126).for_each(|i| assert!(s.add(format!("m{i}").as_bytes(), &L)));
        assert_eq!((s.encoding(), s.len()), ("listpack", 128));
        s.add(b"a", &L);
        assert_eq!(s.encoding(), "listpack");
        s.add(b"b", &L);
        assert_eq!((s.encoding(), s.len()), ("hashtable", 129));

        let mut s = Set::new();
        (0..200).for_each(|i: i32| assert!(s.add(i.to_string().as_bytes(), &L)));
        s.add(b"x", &L);
        assert_eq!(s.encoding(), "hashtable", "an intset too long for a listpack");

        let mut s = Set::new();
        s.add(&[b'x'; 65], &L);
        assert_eq!(s.encoding(), "hashtable");
    }

    #[test]
    fn integers_alone_may_become_an_intset_again() {
        let mut s = Set::for_members(b"a", 200, &L);
        assert_eq!(s.encoding(), "hashtable");
        for i in ["5", "-3", "100000"] {
            s.add(i.as_bytes(), &L);
        }
        s.prefer_intset(&L);
        assert_eq!(s.encoding(), "intset");
        assert!(s.contains(b"-3") && !s.contains(b"05"));
    }

    #[test]
    fn samples_are_distinct_and_fair() {
        for (n, text) in [(20, false), (20, true), (400, true)] {
            let mut s = Set::new();
            for i in 0..n {
                let m = if text { format!("m{i}") } else { i.to_string() };
                s.add(m.as_bytes(), &L);
            }
            let mut hits = std::collections::HashMap::new();
            for _ in 0..2000 {
                let mut one = HashSet::new();
                s.sample(5, |e| assert!(one.insert(e.to_vec())));
                assert_eq!(one.len(), 5);
                one.into_iter().for_each(|m| *hits.entry(m).or_insert(0) += 1);
            }
            let expected = 10_000 / n;
            assert_eq!(hits.len(), n);
            assert!(hits.values().all(|h| *h > expected / 4 && *h < expected * 3 + 20), "{hits:?}");
            let mut all = 0;
            s.sample(n + 5, |_| all += 1);
            assert_eq!(all, n);
        }
    }

    #[test]
    fn a_listpack_with_duplicates_is_refused() {
        let lp = Listpack::from_items([Elem::Str(b"a"), Elem::Str(b"b"), Elem::Str(b"a")]);
        assert!(Set::from_listpack(lp, &L).is_err());
    }

    proptest! {
        #[test]
        fn it_behaves_like_a_set(
            ops in proptest::collection::vec((0u8..4, prop_oneof![
                (0i64..300).prop_map(|n| n.to_string()), "[a-c]{0,3}", "x{60,70}"]), 1..400),
            entries in prop_oneof![Just(128usize), Just(4)],
        ) {
            let limits = Limits { set_max_listpack_entries: entries, set_max_intset_entries: entries * 2, ..L };
            let mut set = Set::new();
            let mut model = BTreeSet::new();
            for (op, text) in ops {
                let m = text.into_bytes();
                match op {
                    0 | 1 => prop_assert_eq!(set.add(&m, &limits), model.insert(m.clone())),
                    2 => prop_assert_eq!(set.remove(&m), model.remove(&m)),
                    _ => if let Some(gone) = set.pop() { prop_assert!(model.remove(&gone)) },
                }
                prop_assert_eq!(set.len(), model.len());
                prop_assert_eq!(set.contains(&m), model.contains(&m));
            }
            let seen: BTreeSet<Vec<u8>> = set.iter().map(Elem::to_vec).collect();
            prop_assert_eq!(&seen, &model);
            let copy = set.duplicate();
            let (mut scanned, mut cursor) = (BTreeSet::new(), 0);
            loop {
                cursor = copy.scan(cursor, |e| { scanned.insert(e.to_vec()); });
                if cursor == 0 { break }
            }
            prop_assert_eq!(&scanned, &model);
        }
    }
}
