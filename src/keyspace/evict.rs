//! Eviction: keeps memory under `maxmemory` by the policy in force.
//!
//! As in Redis, a key to evict is the best of a small pool of candidates, which samples refill: so a few samples a round
//! come close to true LRU or LFU. Each round locks one slot to sample and one to evict, never more, and never while a
//! command holds locks.

use super::EntryRef;
use super::access::{self, Tuning};
use super::db::Db;
use super::entry::NO_EXPIRY;
use super::sample::Sampler;
use crate::base::slot::key_slot;

const POOL: usize = 16;
/// So many times other keys are looked for than those that a snapshot has to encode first, which takes long.
const SPARED: usize = 4;

/// What `maxmemory-policy` ranks keys by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rank {
    /// Longest not used.
    Lru,
    /// Least often used.
    Lfu,
    /// Any.
    Random,
    /// Nearest to its expiry.
    Ttl,
}

/// A policy that evicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// The order of eviction.
    pub rank: Rank,
    /// Only keys with an expiry.
    pub volatile: bool,
}

struct Candidate {
    score: u64,
    db: usize,
    key: Vec<u8>,
}

/// A thread's eviction state.
#[derive(Default)]
pub struct Evictor {
    /// Ascending by score; the best to evict is last.
    pool: Vec<Candidate>,
    samplers: Vec<Sampler>,
    next_db: usize,
    policy: Option<Policy>,
}

impl Evictor {
    /// Has the memory that it needs for database 0: what it took when memory is short, keys would have to go for.
    pub fn ready() -> Evictor {
        Evictor { samplers: vec![Sampler::ready()], ..Evictor::default() }
    }
    /// Evicts one key of any database. `on(i)` gives database i; `dbs` is how many there are. False if nothing can be.
    pub fn evict_one(
        &mut self,
        dbs: usize,
        policy: Policy,
        samples: usize,
        mut on: impl FnMut(usize, &mut dyn FnMut(&mut Db<'_>)),
    ) -> bool {
        if self.policy.replace(policy) != Some(policy) {
            self.pool.clear();
        }
        self.samplers.resize_with(dbs, Sampler::default);
        for attempt in 0..8 {
            let mut found = false;
            for i in 0..dbs {
                let i = (self.next_db + i) % dbs;
                let (sampler, pool) = (&mut self.samplers[i], &mut self.pool);
                on(i, &mut |db| found |= fill(db, sampler, pool, policy, samples, attempt > 0));
                if found && policy.rank == Rank::Random {
                    self.next_db = i + 1;
                    break;
                }
            }
            while let Some(best) = self.pool.pop() {
                let mut gone = false;
                on(best.db, &mut |db| {
                    let done = db.with_slot(key_slot(&best.key), |db| {
                        let fits = db.peek(&best.key).is_some_and(|e| !policy.volatile || e.expiry() != NO_EXPIRY);
                        let waits = attempt < SPARED && db.waits_for_snapshot(&best.key);
                        fits && !waits && db.evict(&best.key)
                    });
                    gone = done == Some(true);
                });
                if gone {
                    return true;
                }
            }
            if !found && attempt > 0 {
                return false;
            }
        }
        false
    }
}

/// Samples one slot into the pool. Whether anything was found.
fn fill(
    db: &mut Db<'_>,
    sampler: &mut Sampler,
    pool: &mut Vec<Candidate>,
    policy: Policy,
    samples: usize,
    exact: bool,
) -> bool {
    if !db.is_used() {
        return false;
    }
    let Some(slot) = sampler.slot(db, exact) else { return false };
    let (now, tuning, index) = (db.now, db.tuning(), db.index());
    let mut found = false;
    db.with_slot(slot, |db| {
        let mut consider = |e: EntryRef<'_>| {
            if policy.volatile && e.expiry() == NO_EXPIRY {
                return;
            }
            found = true;
            offer(pool, score(e, now, policy.rank, &tuning), index, e.key());
        };
        if policy.volatile {
            // Few keys may have an expiry: a scan for the mark from a random place finds them without touching others.
            if db.slot_volatile(slot) == 0 {
                return;
            }
            let (mut pos, mut left, mut steps) = (crate::base::rng::next_u64() & 0xffff, samples, 0);
            while left > 0 && steps < 512 {
                pos = db.scan_slot_volatile(slot, pos, |e| {
                    left = left.saturating_sub(1);
                    consider(e);
                });
                steps += 1;
            }
        } else {
            (0..samples).for_each(|_| {
                if let Some(e) = db.random_in_slot(slot) {
                    consider(e);
                }
            });
        }
    });
    if !found && policy.volatile && !exact {
        return false;
    }
    if !found && policy.volatile {
        // The slots that were drawn have none: look at all of them in turn.
        for slot in 0..super::SLOTS as u16 {
            let mut some = None;
            db.with_slot(slot, |db| {
                if db.slot_volatile(slot) > 0 {
                    let mut pos = 0;
                    loop {
                        pos = db.scan_slot_volatile(slot, pos, |e| {
                            if e.expiry() != NO_EXPIRY {
                                some = Some((score(e, now, policy.rank, &tuning), e.key().to_vec()));
                            }
                        });
                        if pos == 0 || some.is_some() {
                            break;
                        }
                    }
                }
            });
            if let Some((score, key)) = some {
                offer(pool, score, index, &key);
                return true;
            }
        }
    }
    found
}

fn score(e: EntryRef<'_>, now: i64, rank: Rank, tuning: &Tuning) -> u64 {
    match rank {
        Rank::Lru => access::idle_ms(e.access(), now),
        Rank::Lfu => u64::from(255 - access::frequency(e.access(), now, tuning).min(255)),
        Rank::Random => 0,
        Rank::Ttl => u64::MAX - e.expiry().max(0) as u64,
    }
}

fn offer(pool: &mut Vec<Candidate>, score: u64, db: usize, key: &[u8]) {
    if pool.iter().any(|c| c.db == db && c.key == key) {
        return;
    }
    if pool.len() == POOL {
        if pool[0].score >= score {
            return;
        }
        pool.remove(0);
    }
    let at = pool.partition_point(|c| c.score <= score);
    pool.insert(at, Candidate { score, db, key: key.to_vec() });
}
