//! The hash type: a listpack of field-value pairs while it is small, a table of fields beyond.
//!
//! A hash some field of which has a time to expire is always a table: the packed form has no room for times. Expired
//! fields stay until [`Hash::expire_some`] or a write removes them, but no reader sees them: reads take `now`, in Unix
//! milliseconds, and a field is gone from the moment its time is reached.

use super::elem::Elem;
use super::fields::Fields;
use super::limits::Limits;
use super::listpack::{Listpack, Malformed};
use super::set::select;
use crate::base::rng;

/// A hash; see the module's header.
pub struct Hash(Repr);

enum Repr {
    Packed(Listpack),
    Table(Box<Fields>),
}

/// What happens to a field's time when its value is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// The field has none afterwards.
    Clear,
    /// It stays as it is.
    Keep,
    /// It becomes this, in Unix milliseconds.
    At(i64),
}

impl Default for Hash {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hash({}, {})", self.encoding(), self.raw_len())
    }
}

fn alive(expiry: Option<i64>, now: i64) -> bool {
    expiry.is_none_or(|at| at > now)
}

impl Hash {
    /// An empty hash.
    pub fn new() -> Self {
        Hash(Repr::Packed(Listpack::new()))
    }

    /// A hash of a listpack's pairs; an error when they are no pairs or two fields are equal.
    pub fn from_listpack(lp: Listpack, limits: &Limits) -> Result<Self, Malformed> {
        if !lp.len().is_multiple_of(2) {
            return Err(Malformed);
        }
        let mut seen = std::collections::HashSet::with_capacity(lp.len() / 2);
        if !lp.pairs().all(|(f, _)| seen.insert(f.to_vec())) {
            return Err(Malformed);
        }
        let longest = lp.iter().map(Elem::len).max().unwrap_or(0);
        let pairs = lp.len() / 2;
        let mut hash = Hash(Repr::Packed(lp));
        if pairs > limits.hash_max_listpack_entries || longest > limits.hash_max_listpack_value {
            hash.make_table();
        }
        Ok(hash)
    }

    /// The `OBJECT ENCODING` name.
    pub fn encoding(&self) -> &'static str {
        match self.0 {
            Repr::Packed(_) => "listpack",
            Repr::Table(_) => "hashtable",
        }
    }

    /// The listpack, when that is the encoding.
    pub fn as_listpack(&self) -> Option<&Listpack> {
        match &self.0 {
            Repr::Packed(lp) => Some(lp),
            Repr::Table(_) => None,
        }
    }

    /// Number of fields, expired ones not yet removed included.
    #[inline]
    pub fn raw_len(&self) -> usize {
        match &self.0 {
            Repr::Packed(lp) => lp.len() / 2,
            Repr::Table(t) => t.len(),
        }
    }

    /// Number of fields that readers see at `now`.
    pub fn len(&self, now: i64) -> usize {
        match &self.0 {
            Repr::Packed(lp) => lp.len() / 2,
            Repr::Table(t) => t.len() - t.expired(now),
        }
    }

    /// Whether no field is stored at all: such a hash is deleted from its key.
    pub fn is_empty(&self) -> bool {
        self.raw_len() == 0
    }

    /// Makes ready for pairs of fields and values of these lengths: one too long makes the hash a table at once.
    pub fn reserve(&mut self, lengths: impl Iterator<Item = usize>, limits: &Limits) {
        let Repr::Packed(lp) = &self.0 else { return };
        let mut sum = 0;
        let mut over = false;
        for n in lengths {
            over |= n > limits.hash_max_listpack_value;
            sum += n;
        }
        if over || !lp.has_room(sum) {
            self.make_table();
        }
    }

    /// Makes the hash a table, whatever its size.
    pub fn make_table(&mut self) -> &mut Fields {
        if let Repr::Packed(lp) = &self.0 {
            let mut fields = Box::<Fields>::default();
            for (f, v) in lp.pairs() {
                let (mut fb, mut vb) = (itoa::Buffer::new(), itoa::Buffer::new());
                fields.set(f.as_bytes(&mut fb), v.as_bytes(&mut vb), None);
            }
            self.0 = Repr::Table(fields);
        }
        match &mut self.0 {
            Repr::Table(t) => t,
            Repr::Packed(_) => unreachable!("just made"),
        }
    }

    /// The field's value.
    #[inline]
    pub fn get(&self, field: &[u8], now: i64) -> Option<Elem<'_>> {
        match &self.0 {
            Repr::Packed(lp) => {
                let at = lp.find(lp.first(), field, 1)?;
                Some(lp.get(lp.next(at)?))
            }
            Repr::Table(t) => {
                let f = t.find(field)?;
                alive(f.expiry(), now).then(|| Elem::Str(f.value()))
            }
        }
    }

    /// Whether readers see the field.
    pub fn contains(&self, field: &[u8], now: i64) -> bool {
        self.get(field, now).is_some()
    }

    /// The field's time: `None` when there is no such field, `Some(None)` when it has none.
    pub fn expiry(&self, field: &[u8], now: i64) -> Option<Option<i64>> {
        match &self.0 {
            Repr::Packed(lp) => lp.find(lp.first(), field, 1).map(|_| None),
            Repr::Table(t) => {
                let at = t.find(field)?.expiry();
                alive(at, now).then_some(at)
            }
        }
    }

    /// Sets the field; returns whether it is new to readers.
    pub fn set(&mut self, field: &[u8], value: &[u8], expiry: Expiry, now: i64, limits: &Limits) -> bool {
        if let Repr::Packed(lp) = &mut self.0 {
            let long = field.len().max(value.len()) > limits.hash_max_listpack_value;
            if long || matches!(expiry, Expiry::At(_)) || !lp.has_room(field.len() + value.len()) {
                self.make_table();
            } else {
                let found = lp.find(lp.first(), field, 1).and_then(|at| lp.next(at));
                match found {
                    Some(at) => lp.replace(at, Elem::Str(value)),
                    None => {
                        lp.append(Elem::Str(field));
                        lp.append(Elem::Str(value));
                        if lp.len() / 2 > limits.hash_max_listpack_entries {
                            self.make_table();
                        }
                    }
                }
                return found.is_none();
            }
        }
        let Repr::Table(t) = &mut self.0 else { return false };
        // A table without times, and a write that sets none, need not look the old time up.
        if expiry == Expiry::Clear && !t.has_volatile() {
            let before = t.len();
            t.set(field, value, None);
            return t.len() > before;
        }
        let old = t.find(field).map(|f| f.expiry());
        let seen = old.filter(|at| alive(*at, now));
        let at = match expiry {
            Expiry::Clear => None,
            Expiry::Keep => seen.flatten(),
            Expiry::At(at) => Some(at),
        };
        t.set(field, value, at);
        seen.is_none()
    }

    /// Changes the field's time; false when readers see no such field.
    pub fn set_expiry(&mut self, field: &[u8], expiry: Option<i64>, now: i64) -> bool {
        match self.expiry(field, now) {
            None => false,
            Some(old) if old == expiry => true,
            Some(_) => self.make_table().set_expiry(field, expiry),
        }
    }

    /// Removes a field that readers see; returns whether there was one.
    pub fn remove(&mut self, field: &[u8], now: i64) -> bool {
        match &mut self.0 {
            Repr::Packed(lp) => match lp.find(lp.first(), field, 1) {
                Some(at) => {
                    lp.delete_at(at, 2);
                    true
                }
                None => false,
            },
            // A field whose time is over is left to the expiry, which tells the replicas of it.
            Repr::Table(t) if t.has_volatile() => {
                t.find(field).is_some_and(|f| alive(f.expiry(), now)) && t.remove(field)
            }
            Repr::Table(t) => t.remove(field),
        }
    }

    /// Shows every field that readers see at `now`, with its value.
    pub fn for_each(&self, now: i64, mut f: impl FnMut(Elem<'_>, Elem<'_>)) {
        match &self.0 {
            Repr::Packed(lp) => lp.pairs().for_each(|(k, v)| f(k, v)),
            Repr::Table(t) => {
                t.iter().filter(|e| alive(e.expiry(), now)).for_each(|e| f(Elem::Str(e.key()), Elem::Str(e.value())))
            }
        }
    }

    /// Shows every stored field with its value and time, expired ones included.
    pub fn for_each_raw(&self, mut f: impl FnMut(Elem<'_>, Elem<'_>, Option<i64>)) {
        match &self.0 {
            Repr::Packed(lp) => lp.pairs().for_each(|(k, v)| f(k, v, None)),
            Repr::Table(t) => t.iter().for_each(|e| f(Elem::Str(e.key()), Elem::Str(e.value()), e.expiry())),
        }
    }

    /// One step of an incremental walk: shows some fields and returns the cursor to go on with, 0 at the end. A packed
    /// hash is shown whole.
    pub fn scan(&self, cursor: u64, now: i64, mut f: impl FnMut(Elem<'_>, Elem<'_>)) -> u64 {
        match &self.0 {
            Repr::Packed(_) => {
                self.for_each(now, f);
                0
            }
            Repr::Table(t) => t.scan(cursor, |e| {
                if alive(e.expiry(), now) {
                    f(Elem::Str(e.key()), Elem::Str(e.value()));
                }
            }),
        }
    }

    /// As [`Hash::scan`], but with every stored field and its time, expired ones included.
    pub fn scan_raw(&self, cursor: u64, mut f: impl FnMut(Elem<'_>, Elem<'_>, Option<i64>)) -> u64 {
        match &self.0 {
            Repr::Packed(_) => {
                self.for_each_raw(f);
                0
            }
            Repr::Table(t) => t.scan(cursor, |e| f(Elem::Str(e.key()), Elem::Str(e.value()), e.expiry())),
        }
    }

    /// Shows a random field with its value, each with the same probability; nothing when readers see none.
    pub fn random(&self, now: i64, mut f: impl FnMut(Elem<'_>, Elem<'_>)) {
        match &self.0 {
            Repr::Packed(lp) => {
                let pick = rng::below(lp.len() as u64 / 2) as i64;
                if let Some(at) = lp.seek(2 * pick)
                    && let Some(value) = lp.next(at)
                {
                    f(lp.get(at), lp.get(value));
                }
            }
            Repr::Table(t) => {
                let (all, live) = (t.len(), self.len(now));
                if live == 0 {
                    return;
                }
                if live < all / 4 {
                    // Mostly expired fields: one walk is cheaper than many misses.
                    let pick = rng::below(live as u64) as usize;
                    if let Some(e) = t.iter().filter(|e| alive(e.expiry(), now)).nth(pick) {
                        f(Elem::Str(e.key()), Elem::Str(e.value()));
                    }
                    return;
                }
                while let Some(e) = t.random() {
                    if alive(e.expiry(), now) {
                        return f(Elem::Str(e.key()), Elem::Str(e.value()));
                    }
                }
            }
        }
    }

    /// Shows `n` distinct random fields (all, when there are no more); every choice of `n` is equally likely.
    pub fn sample(&self, n: usize, now: i64, mut f: impl FnMut(Elem<'_>, Elem<'_>)) {
        let len = self.len(now);
        match &self.0 {
            Repr::Packed(lp) => select(len, n, lp.pairs(), |(k, v)| f(k, v)),
            Repr::Table(t) if n < len / 3 && len > t.len() / 4 => {
                let mut seen = std::collections::HashSet::with_capacity(n);
                while seen.len() < n {
                    let Some(e) = t.random() else { return };
                    if alive(e.expiry(), now) && seen.insert(e.ptr()) {
                        f(Elem::Str(e.key()), Elem::Str(e.value()));
                    }
                }
            }
            Repr::Table(t) => {
                let live = t.iter().filter(|e| alive(e.expiry(), now));
                select(len, n, live, |e| f(Elem::Str(e.key()), Elem::Str(e.value())));
            }
        }
    }

    /// Whether some field has a time.
    #[inline]
    pub fn has_volatile(&self) -> bool {
        matches!(&self.0, Repr::Table(t) if t.has_volatile())
    }

    /// The earliest time of all fields, in Unix milliseconds.
    pub fn next_expiry(&self) -> Option<i64> {
        match &self.0 {
            Repr::Packed(_) => None,
            Repr::Table(t) => t.next_expiry(),
        }
    }

    /// How many stored fields have expired by `now`.
    pub fn expired(&self, now: i64) -> usize {
        match &self.0 {
            Repr::Packed(_) => 0,
            Repr::Table(t) => t.expired(now),
        }
    }

    /// Removes up to `budget` fields that have expired by `now`, earliest first, and returns their names. The caller
    /// deletes a hash that is left empty.
    pub fn expire_some(&mut self, now: i64, budget: usize) -> Vec<Vec<u8>> {
        let mut gone = Vec::new();
        if let Repr::Table(t) = &mut self.0 {
            t.expire(now, budget, |name| gone.push(name.to_vec()));
        }
        gone
    }

    /// A copy of its own.
    pub fn duplicate(&self) -> Self {
        match &self.0 {
            Repr::Packed(lp) => Hash(Repr::Packed(lp.clone())),
            Repr::Table(t) => Hash(Repr::Table(Box::new(t.duplicate()))),
        }
    }

    /// Bytes allocated beyond the handle itself, estimated from up to `samples` fields (0: all).
    pub fn mem_usage(&self, samples: usize) -> usize {
        match &self.0 {
            Repr::Packed(lp) => lp.allocated(),
            Repr::Table(t) => t.mem_usage(samples),
        }
    }

    /// How many allocations freeing the hash takes: what decides whether it is freed in the background.
    pub fn free_effort(&self) -> usize {
        match &self.0 {
            Repr::Packed(_) => 1,
            Repr::Table(t) => t.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const L: Limits = Limits::DEFAULT;

    #[test]
    fn encodings_change_at_redis_thresholds() {
        let mut h = Hash::new();
        for i in 0..512 {
            assert!(h.set(format!("f{i}").as_bytes(), b"v", Expiry::Clear, 0, &L));
        }
        assert_eq!(h.encoding(), "listpack");
        h.set(b"one more", b"v", Expiry::Clear, 0, &L);
        assert_eq!((h.encoding(), h.raw_len()), ("hashtable", 513));
        let mut h = Hash::new();
        h.set(b"f", &[b'v'; 64], Expiry::Clear, 0, &L);
        assert_eq!(h.encoding(), "listpack");
        h.set(b"f", &[b'v'; 65], Expiry::Clear, 0, &L);
        assert_eq!(h.encoding(), "hashtable");
    }

    #[test]
    fn an_expired_field_is_invisible_before_it_is_removed() {
        let mut h = Hash::new();
        h.set(b"a", b"1", Expiry::Clear, 0, &L);
        h.set(b"b", b"2", Expiry::At(100), 0, &L);
        assert_eq!(h.encoding(), "hashtable");
        assert_eq!((h.next_expiry(), h.len(99), h.len(100), h.raw_len()), (Some(100), 2, 1, 2));
        assert!(h.contains(b"b", 99) && !h.contains(b"b", 100));
        assert!(!h.remove(b"b", 100), "nobody sees it to remove it");
        assert_eq!((h.expire_some(100, 10), h.raw_len()), (vec![b"b".to_vec()], 1));
        assert!(!h.has_volatile());
    }

    #[test]
    fn a_written_field_forgets_or_keeps_its_time() {
        let mut h = Hash::new();
        h.set(b"f", b"1", Expiry::At(100), 0, &L);
        assert!(!h.set(b"f", b"2", Expiry::Keep, 0, &L));
        assert_eq!(h.expiry(b"f", 0), Some(Some(100)));
        assert!(h.set(b"f", b"3", Expiry::Keep, 100, &L), "an expired field is new again");
        assert_eq!(h.expiry(b"f", 100), Some(None));
        assert!(h.set_expiry(b"f", Some(300), 100));
        assert!(!h.set(b"f", b"4", Expiry::Clear, 100, &L));
        assert_eq!(h.expiry(b"f", 100), Some(None));
        assert!(!h.has_volatile());
    }

    proptest! {
        #[test]
        fn it_behaves_like_a_map_with_times(
            ops in proptest::collection::vec((0u8..8, "[a-e]{0,2}", "[0-9a-z]{0,70}", 0i64..50), 1..300),
            entries in prop_oneof![Just(128usize), Just(3)],
        ) {
            let limits = Limits { hash_max_listpack_entries: entries, ..L };
            let mut h = Hash::new();
            let mut model: BTreeMap<Vec<u8>, (Vec<u8>, Option<i64>)> = BTreeMap::new();
            let mut now = 0;
            for (op, f, v, t) in ops {
                let (f, v) = (f.into_bytes(), v.into_bytes());
                model.retain(|_, (_, at)| alive(*at, now));
                match op {
                    0..=2 => {
                        prop_assert_eq!(h.set(&f, &v, Expiry::Clear, now, &limits), model.insert(f.clone(), (v, None)).is_none());
                    }
                    3 => {
                        let keep = model.get(&f).and_then(|e| e.1);
                        prop_assert_eq!(h.set(&f, &v, Expiry::Keep, now, &limits), model.insert(f.clone(), (v, keep)).is_none());
                    }
                    4 => {
                        let at = now + 1 + t;
                        prop_assert_eq!(h.set(&f, &v, Expiry::At(at), now, &limits), model.insert(f.clone(), (v, Some(at))).is_none());
                    }
                    5 => {
                        let at = (t % 3 != 0).then_some(now + 1 + t);
                        let there = model.get_mut(&f).map(|e| e.1 = at).is_some();
                        prop_assert_eq!(h.set_expiry(&f, at, now), there);
                    }
                    6 => prop_assert_eq!(h.remove(&f, now), model.remove(&f).is_some()),
                    _ => {
                        now += t / 5;
                        model.retain(|_, (_, at)| alive(*at, now));
                        if t % 2 == 0 {
                            let due = h.expired(now);
                            let gone = h.expire_some(now, 2);
                            prop_assert_eq!(gone.len(), due.min(2));
                            prop_assert!(gone.iter().all(|f| !model.contains_key(f)));
                        }
                    }
                }
                prop_assert_eq!(h.len(now), model.len());
                prop_assert_eq!(h.get(&f, now).map(Elem::to_vec), model.get(&f).map(|e| e.0.clone()));
                prop_assert_eq!(h.expiry(&f, now), model.get(&f).map(|e| e.1));
            }
            for h in [&h, &h.duplicate()] {
                let mut seen = BTreeMap::new();
                h.for_each(now, |f, v| { seen.insert(f.to_vec(), v.to_vec()); });
                prop_assert!(seen.iter().eq(model.iter().map(|(k, v)| (k, &v.0))));
                let mut drawn = std::collections::BTreeSet::new();
                h.sample(3, now, |f, _| assert!(drawn.insert(f.to_vec())));
                prop_assert_eq!(drawn.len(), model.len().min(3));
                let mut one = 0;
                h.random(now, |_, _| one += 1);
                prop_assert_eq!(one, model.len().min(1));
            }
        }
    }
}
