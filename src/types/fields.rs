//! The large form of a hash: a table of fields, and, once a field expires, a tree that knows which goes next.
//!
//! The tree orders (time, address of the field's item), so the next field to expire and the number of expired fields are
//! a look-up, never a walk. It exists only while a field has a time, and costs nothing otherwise. This is one of the
//! modules with `unsafe`. Its invariant: the tree holds exactly the items of the table that have an expiry, at their
//! present address and with their present time.

use std::cmp::Ordering;
use std::ptr::NonNull;

use super::bptree::{Key, Tree};
use super::dict::{Dict, Place, Ref, hash};
use super::item::{Field, field};
use super::set::extrapolate;

/// When a field expires, and the address of its item.
#[derive(Clone, Copy)]
struct Due {
    at: i64,
    item: NonNull<u8>,
}

// SAFETY: a Due is an address into the table that stands beside the tree; both move and are shared together.
unsafe impl Send for Due {}
// SAFETY: as above; shared access only reads.
unsafe impl Sync for Due {}

impl Key for Due {
    #[inline]
    fn order(&self, other: &Self) -> Ordering {
        (self.at, self.item).cmp(&(other.at, other.item))
    }
}

/// Fields with values and expiry times. A field whose time has come stays until it is removed; readers compare its time
/// with theirs.
#[derive(Default)]
pub struct Fields {
    dict: Dict<Field>,
    due: Option<Box<Tree<Due>>>,
}

impl Fields {
    /// Number of fields, expired ones included.
    #[inline]
    pub fn len(&self) -> usize {
        self.dict.len()
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.dict.is_empty()
    }

    /// The field with its value and time.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<Ref<'_, Field>> {
        self.dict.find(hash(name), name)
    }

    /// Gives the field a value and a time; adds it when it is not there.
    pub fn set(&mut self, name: &[u8], value: &[u8], expiry: Option<i64>) {
        let h = hash(name);
        match self.dict.find_mut(h, name) {
            Some(mut place) => {
                let old = due_of(place.get());
                place.rewrite(value, expiry);
                let new = due_of(place.get());
                self.reschedule(old, new);
            }
            None => {
                let new = due_of(self.dict.insert_new(h, field(name, value, expiry)));
                self.reschedule(None, new);
            }
        }
    }

    /// Changes the field's time; false when there is no such field.
    pub fn set_expiry(&mut self, name: &[u8], expiry: Option<i64>) -> bool {
        let Some(mut place) = self.dict.find_mut(hash(name), name) else { return false };
        let old = due_of(place.get());
        if place.get().expiry() != expiry {
            let value = place.get().value().to_vec();
            place.rewrite(&value, expiry);
        }
        let new = due_of(place.get());
        self.reschedule(old, new);
        true
    }

    /// Removes the field; returns whether it was there.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        let Some(place) = self.dict.find_mut(hash(name), name) else { return false };
        let old = due_of(place.get());
        drop(Place::remove(place));
        self.reschedule(old, None);
        true
    }

    fn reschedule(&mut self, old: Option<Due>, new: Option<Due>) {
        if old.is_none() && new.is_none() {
            return;
        }
        let due = self.due.get_or_insert_default();
        if let Some(old) = old {
            due.remove(&old);
        }
        match new {
            Some(new) => due.insert(new),
            None if due.is_empty() => self.due = None,
            None => {}
        }
    }

    /// Whether some field has a time.
    #[inline]
    pub fn has_volatile(&self) -> bool {
        self.due.is_some()
    }

    /// The earliest time of all fields.
    pub fn next_expiry(&self) -> Option<i64> {
        Some(self.due.as_ref()?.first()?.at)
    }

    /// How many fields have a time at or before `now`.
    pub fn expired(&self, now: i64) -> usize {
        self.due.as_ref().map_or(0, |due| due.partition_point(|d| d.at <= now))
    }

    /// Removes up to `budget` fields whose time is at or before `now`, earliest first, showing each name to `f`.
    pub fn expire(&mut self, now: i64, budget: usize, mut f: impl FnMut(&[u8])) -> usize {
        let n = self.expired(now).min(budget);
        let Some(due) = &mut self.due else { return 0 };
        let dict = &mut self.dict;
        due.remove_range(0, n, &mut |d| {
            // SAFETY: the tree's addresses are those of items in the table; this one is removed once.
            let name = unsafe { Ref::<Field>::from_ptr(d.item).key() };
            f(name);
            drop(dict.remove(hash(name), name));
        });
        if due.is_empty() {
            self.due = None;
        }
        n
    }

    /// Every field, expired ones included.
    pub fn iter(&self) -> impl Iterator<Item = Ref<'_, Field>> {
        self.dict.iter()
    }

    /// One step of an incremental walk; see [`Dict::scan`].
    pub fn scan(&self, cursor: u64, f: impl FnMut(Ref<'_, Field>)) -> u64 {
        self.dict.scan(cursor, f)
    }

    /// A random field, expired ones included.
    pub fn random(&self) -> Option<Ref<'_, Field>> {
        self.dict.random()
    }

    /// A copy of its own.
    pub fn duplicate(&self) -> Self {
        let mut copy = Self::default();
        self.iter().for_each(|f| copy.set(f.key(), f.value(), f.expiry()));
        copy
    }

    /// Bytes allocated, estimated from up to `samples` fields (0: all).
    pub fn mem_usage(&self, samples: usize) -> usize {
        let look = if samples == 0 { self.len() } else { samples.min(self.len()) };
        let seen: usize = self.iter().take(look).map(|f| f.allocated()).sum();
        let due = self.due.as_ref().map_or(0, |d| d.mem_bytes() + size_of::<Tree<Due>>());
        size_of::<Self>() + self.dict.mem_bytes() + due + extrapolate(seen, look, self.len())
    }
}

fn due_of(f: Ref<'_, Field>) -> Option<Due> {
    f.expiry().map(|at| Due { at, item: f.ptr() })
}
