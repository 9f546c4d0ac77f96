//! Keeps memory under `maxmemory`.

use super::Worker;
use crate::base::{alloc, clock};
use crate::commands::gate::bits;
use crate::commands::state::Aside;
use crate::config::Policy;
use crate::keyspace::evict::{Policy as Order, Rank};
use crate::keyspace::{Db, Effects, Located, Mark};

/// The longest that evicting may hold one command up, ns, by `maxmemory-eviction-tenacity`: up to half a millisecond at
/// 10, then 15 % more a step, without limit at 100. What is over the memory limit then goes with the next commands.
fn patience(tenacity: u32) -> u64 {
    match tenacity {
        0..=10 => u64::from(tenacity) * 50_000,
        11..=99 => (500_000.0 * 1.15f64.powi(tenacity as i32 - 10)) as u64,
        _ => u64::MAX,
    }
}

fn order(policy: Policy) -> Option<Order> {
    let rank = match policy {
        Policy::NoEviction => return None,
        Policy::VolatileLru | Policy::AllkeysLru => Rank::Lru,
        Policy::VolatileLfu | Policy::AllkeysLfu => Rank::Lfu,
        Policy::VolatileRandom | Policy::AllkeysRandom => Rank::Random,
        Policy::VolatileTtl => Rank::Ttl,
    };
    Some(Order { rank, volatile: policy.is_volatile() })
}

impl Worker {
    /// Evicts until memory is under the limit. False if it stays over it and nothing can be evicted. Nothing is locked.
    pub(super) fn make_room(&mut self, now: i64) -> bool {
        let limit = self.server.config.maxmemory();
        if limit == 0 {
            return true;
        }
        if alloc::used_memory() <= limit || self.leaves_eviction_to_source() || !self.is_over(limit) {
            return true;
        }
        self.evict_down_to(limit, now)
    }

    /// Whether what counts is over this limit.
    fn is_over(&self, limit: usize) -> bool {
        // What does not count comes and goes meanwhile.
        let before = self.server.uncounted_memory();
        let used = alloc::used_memory();
        used > limit + before && used > limit + self.server.uncounted_memory()
    }

    /// A replica holds what its primary holds; whoever imports data says what goes.
    fn leaves_eviction_to_source(&self) -> bool {
        let replica = self.gate & bits::REPLICA != 0;
        if replica { self.server.config.replica_ignore_maxmemory() } else { self.fx.importing }
    }

    /// Removes everything, without a word in the log: other data come in its place. Nothing is locked.
    pub fn flush_all(&mut self) {
        self.refresh();
        let patient = self.held.set_patient(true);
        self.held.lock_all();
        self.flush_locked(clock::now_ms());
        self.held.unlock();
        self.held.set_patient(patient);
        self.after();
    }
    /// Removes everything. All slots are held.
    fn flush_locked(&mut self, now: i64) {
        for index in 0..self.server.keyspace.databases() {
            self.db(index, now).flush(true);
        }
        self.fx.events.clear();
        self.fx.log.clear();
    }
    /// Makes what was loaded aside the data, in place of the old; or, if that failed, drops it. Nothing is locked.
    pub fn take_over(&mut self, aside: &Aside, whole: bool) {
        self.refresh();
        let now = clock::now_ms();
        let spare = aside.metrics.spare();
        let mut other = aside.keyspace.held();
        let patient = self.held.set_patient(true);
        self.held.lock_all();
        other.lock_all();
        let databases = self.server.keyspace.databases();
        if whole {
            // In one go with what follows: clients that are served meanwhile see the old data or the new, never none.
            self.flush_locked(now);
            for index in 0..databases {
                let moved =
                    [aside.metrics.keys(index), aside.metrics.expires(index), aside.metrics.volatile_hashes(index)];
                let [keys, expires, volatile] = moved.map(|n| n as i64);
                for (stats, sign) in [(self.stats, 1), (spare.stats, -1)] {
                    stats.keys(index, sign * keys);
                    stats.expires(index, sign * expires);
                    stats.volatile_hashes(index, sign * volatile);
                }
            }
            self.db(0, now).adopt(aside.keyspace, &mut other);
        } else {
            let mut fx = Effects::default();
            for index in 0..databases {
                let none = Located::NONE;
                Db::new(aside.keyspace, &mut other, index, now, &mut fx, spare.stats, self.tuning, none).flush(true);
            }
        }
        self.held.unlock();
        self.held.set_patient(patient);
        self.after();
    }

    /// Evicts between commands, when the limit was lowered or the last command's patience was not enough.
    pub fn evict(&mut self) {
        if self.server.config.maxmemory() > 0 && !self.server.pause.is_set() {
            self.refresh();
            self.held.set_patient(false);
            self.make_room(clock::now_ms());
            self.server.keyspace.hooks.wake();
        }
    }

    #[cold]
    fn evict_down_to(&mut self, limit: usize, now: i64) -> bool {
        let config = self.server.config;
        let Some(order) = order(config.maxmemory_policy()) else { return false };
        let start = clock::mono_ns();
        let dbs = self.server.keyspace.databases();
        let samples = config.maxmemory_samples();
        let longest = patience(config.maxmemory_eviction_tenacity());
        let mut room = true;
        // What is noted of the keys that go is gone soon. Were it counted, as it once was, long keys would go in vain.
        let (mut mark, mut notes) = (Mark::default(), 0);
        self.fx.noted_since(&mut mark);
        let logged = self.fx.log.bytes();
        while self.is_over(limit + notes + self.fx.log.bytes() - logged) {
            let Worker { evictor, held, fx, stats, tuning, server, .. } = self;
            let evict = || {
                evictor.evict_one(dbs, order, samples, |index, f| {
                    f(&mut Db::new(server.keyspace, held, index, now, fx, stats, *tuning, Located::NONE));
                })
            };
            let evicted = server.timed("eviction-del", evict);
            if !evicted {
                // What is being freed in the background will make room.
                room = self.server.keyspace.lazy.pending() > 0;
                break;
            }
            notes += self.fx.noted_since(&mut mark);
            if clock::mono_ns() - start > longest {
                break;
            }
        }
        let ns = clock::mono_ns() - start;
        self.stats.evict_ns.add(ns);
        self.server.note_spike("eviction-cycle", ns);
        if !self.fx.is_quiet() {
            self.after();
        }
        room
    }
}
