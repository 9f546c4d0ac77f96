//! The large form of a sorted set: a table that finds a member's score, and a B+tree that knows everyone's rank.
//!
//! A member's item lives in the table; the tree holds its address beside the score, so that most comparisons end at the
//! score and only ties read the member. This is one of the modules with `unsafe`. Its invariant: the addresses in the
//! tree are exactly those of the items in the table, and the score in a tree slot is the one in its item. Items of a
//! sorted set never move: a score changes in place.

use std::cmp::Ordering;
use std::ptr::NonNull;

use super::bptree::{Key, Tree};
use super::dict::{Dict, Place, Ref, hash};
use super::item::{Scored, scored};
use super::set::extrapolate;

/// A score and the address of its member's item.
#[derive(Clone, Copy)]
struct Slot {
    score: f64,
    item: NonNull<u8>,
}

// SAFETY: a Slot is an address into the table that stands beside the tree; both move and are shared together.
unsafe impl Send for Slot {}
// SAFETY: as above; shared access only reads.
unsafe impl Sync for Slot {}

impl Slot {
    /// # Safety
    /// The table still holds the item, and does so for `'a`.
    unsafe fn member<'a>(self) -> &'a [u8] {
        // SAFETY: see above.
        unsafe { Ref::<Scored>::from_ptr(self.item).key() }
    }
}

impl Key for Slot {
    #[inline]
    fn order(&self, other: &Self) -> Ordering {
        match self.score.partial_cmp(&other.score) {
            Some(Ordering::Equal) | None if self.item == other.item => Ordering::Equal,
            // SAFETY: slots are compared only while their items are in the table (the module's invariant).
            Some(Ordering::Equal) | None => unsafe { self.member().cmp(other.member()) },
            Some(unequal) => unequal,
        }
    }
}

/// Members with scores, by member and by rank. Scores are never NaN.
#[derive(Default)]
pub struct Ranked {
    tree: Tree<Slot>,
    dict: Dict<Scored>,
}

impl Ranked {
    /// Number of members.
    #[inline]
    pub fn len(&self) -> usize {
        self.tree.len()
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The member's score.
    #[inline]
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        self.dict.find(hash(member), member).map(Ref::score)
    }

    /// Looks the member up and gives it the score that `f` makes of its present one; `f` may decline. Returns the
    /// present score.
    pub fn update(&mut self, member: &[u8], f: impl FnOnce(Option<f64>) -> Option<f64>) -> Option<f64> {
        let h = hash(member);
        let Some(mut place) = self.dict.find_mut(h, member) else {
            if let Some(score) = f(None) {
                let item = self.dict.insert_new(h, scored(member, score)).ptr();
                self.tree.insert(Slot { score, item });
            }
            return None;
        };
        let old = place.get().score();
        if let Some(score) = f(Some(old))
            && score != old
        {
            let item = place.ptr();
            place.set_score(score);
            let (was, is) = (Slot { score: old, item }, Slot { score, item });
            if !self.tree.replace_in_place(&was, is) {
                self.tree.remove(&was);
                self.tree.insert(is);
            }
        }
        Some(old)
    }

    /// Removes the member; returns its score.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let place = self.dict.find_mut(hash(member), member)?;
        let slot = Slot { score: place.get().score(), item: place.ptr() };
        self.tree.remove(&slot);
        drop(Place::remove(place));
        Some(slot.score)
    }

    /// The member's rank, from the lowest score, and its score.
    pub fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        let item = self.dict.find(hash(member), member)?;
        let slot = Slot { score: item.score(), item: item.ptr() };
        Some((self.tree.rank(&slot)?, slot.score))
    }

    /// How many members at the front satisfy `pred`, which must hold for a prefix of the order and nothing after it.
    pub fn partition_point(&self, pred: impl Fn(&[u8], f64) -> bool) -> usize {
        // SAFETY: slots of the tree have their items in the table.
        self.tree.partition_point(|s| pred(unsafe { s.member() }, s.score))
    }

    /// As [`Ranked::partition_point`] for a predicate on the score alone, which reads no member.
    pub fn partition_point_by_score(&self, pred: impl Fn(f64) -> bool) -> usize {
        self.tree.partition_point(|s| pred(s.score))
    }

    /// The members from `rank` on, ascending.
    pub fn iter_from(&self, rank: usize) -> impl Iterator<Item = (&[u8], f64)> {
        // SAFETY: as above; the table is borrowed as long as the items are.
        self.tree.iter_from(rank).map(|s| (unsafe { s.member() }, s.score))
    }

    /// The members from `rank` on, descending.
    pub fn iter_back_from(&self, rank: usize) -> impl Iterator<Item = (&[u8], f64)> {
        // SAFETY: as above.
        self.tree.iter_back_from(rank).map(|s| (unsafe { s.member() }, s.score))
    }

    /// Removes `count` members from `rank` on, showing each to `f`.
    pub fn remove_range(&mut self, rank: usize, count: usize, mut f: impl FnMut(&[u8], f64)) {
        let dict = &mut self.dict;
        let mut gone = Vec::new();
        // The tree may still compare with slots that it is removing, so the items go afterwards.
        self.tree.remove_range(rank, count, &mut |s| gone.push(s));
        for slot in gone {
            // SAFETY: the item is still in the table, and is removed once.
            let member = unsafe { slot.member() };
            f(member, slot.score);
            drop(dict.remove(hash(member), member));
        }
    }

    /// One step of an incremental walk; see [`Dict::scan`].
    pub fn scan(&self, cursor: u64, mut f: impl FnMut(&[u8], f64)) -> u64 {
        self.dict.scan(cursor, |item| f(item.key(), item.score()))
    }

    /// A copy of its own.
    pub fn duplicate(&self) -> Self {
        let mut copy = Self::default();
        for (member, score) in self.iter_from(0) {
            copy.update(member, |_| Some(score));
        }
        copy
    }

    /// Bytes allocated, estimated from up to `samples` members (0: all).
    pub fn mem_usage(&self, samples: usize) -> usize {
        let look = if samples == 0 { self.len() } else { samples.min(self.len()) };
        let seen: usize = self.dict.iter().take(look).map(|m| m.allocated()).sum();
        size_of::<Self>() + self.tree.mem_bytes() + self.dict.mem_bytes() + extrapolate(seen, look, self.len())
    }
}
