//! Random keys out of all slots, each with about the same probability however unevenly the slots are filled.
//!
//! A draw chooses a group of slots by its number of keys, from cumulative sums that are made anew when they are old or found
//! wrong, then a slot of the group by what it has now, and then a key in it evenly. (A sum a slot took 128 KB for each
//! database and thread, at the moment when memory was short.)

use super::db::Db;
use super::slots::SLOTS;
use crate::base::rng;

/// Slots of a group.
const GROUP: usize = 16;
/// Sums older than this are made anew, ms.
const MAX_AGE: i64 = 100;

/// The cumulative numbers of keys of one database's groups of slots.
#[derive(Default)]
pub struct Sampler {
    db: usize,
    made_at: i64,
    total: u64,
    sums: Vec<u64>,
}

impl Sampler {
    /// One that will need no more memory.
    pub fn ready() -> Sampler {
        Sampler { sums: Vec::with_capacity(SLOTS / GROUP), ..Sampler::default() }
    }
    fn refresh(&mut self, db: &mut Db<'_>) {
        self.db = db.index();
        self.made_at = db.now;
        self.total = 0;
        self.sums.clear();
        if !db.is_used() {
            return;
        }
        self.sums.reserve_exact(SLOTS / GROUP);
        for group in 0..SLOTS / GROUP {
            self.total += lens(db, group).iter().sum::<u64>();
            self.sums.push(self.total);
        }
    }
    /// A slot with keys, by their number; `None` if there are none. With `exact` the sums are right, else at most
    /// 100 ms old: then the slot may have none any more.
    pub fn slot(&mut self, db: &mut Db<'_>, exact: bool) -> Option<u16> {
        let fresh = self.db == db.index() && !self.sums.is_empty() && db.now - self.made_at < MAX_AGE;
        if exact || !fresh || self.total == 0 {
            self.refresh(db);
        }
        if self.total == 0 {
            return None;
        }
        let at = rng::below(self.total);
        let group = self.sums.partition_point(|s| *s <= at);
        let lens = lens(db, group);
        let mut left = rng::below(lens.iter().sum::<u64>().max(1));
        let within = lens.iter().position(|&len| {
            let here = left < len;
            left = left.saturating_sub(len);
            here
        });
        Some((group * GROUP + within.unwrap_or(0)) as u16)
    }
    /// How many keys there were when the sums were made.
    pub fn total(&self) -> u64 {
        self.total
    }
    /// Forgets the sums.
    pub fn forget(&mut self) {
        self.sums.clear();
    }
}

/// How many keys each slot of a group has.
fn lens(db: &mut Db<'_>, group: usize) -> [u64; GROUP] {
    std::array::from_fn(|i| {
        let slot = (group * GROUP + i) as u16;
        db.with_slot(slot, |db| db.slot_len(slot) as u64).unwrap_or(0)
    })
}
