//! Keeps memory under `maxmemory`.

use super::Worker;
use crate::base::{alloc, clock};
use crate::config::Policy;
use crate::keyspace::evict::{Policy as Order, Rank};
use crate::keyspace::{Db, Located};

/// The longest that evicting may hold one command up, ns. What is over the limit then goes with the next commands.
const MAX_NS: u64 = 500_000;

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
        if limit == 0 || alloc::used_memory() <= limit {
            return true;
        }
        self.evict_down_to(limit, now)
    }

    #[cold]
    fn evict_down_to(&mut self, limit: usize, now: i64) -> bool {
        let config = self.server.config;
        let Some(order) = order(config.maxmemory_policy()) else { return false };
        let start = clock::mono_ns();
        let dbs = self.server.keyspace.databases();
        let samples = config.maxmemory_samples();
        let mut room = true;
        while alloc::used_memory() > limit {
            let Worker { evictor, held, fx, stats, tuning, server, .. } = self;
            let evicted = evictor.evict_one(dbs, order, samples, |index, f| {
                f(&mut Db::new(server.keyspace, held, index, now, fx, stats, *tuning, Located::NONE));
            });
            if self.fx.logging && !self.fx.log.is_empty() {
                self.server.keyspace.hooks.append(&self.fx.log);
                self.fx.log.clear();
            }
            if !evicted {
                // What is being freed in the background will make room.
                room = self.server.keyspace.lazy.pending() > 0;
                break;
            }
            if clock::mono_ns() - start > MAX_NS {
                break;
            }
        }
        let ns = clock::mono_ns() - start;
        self.stats.evict_ns.add(ns);
        let threshold = config.latency_monitor_threshold();
        if threshold > 0 && ns as i64 / 1_000_000 >= threshold {
            self.server.spikes.add("eviction-cycle", now / 1000, ns / 1_000_000);
        }
        if !self.fx.is_quiet() {
            self.after();
        }
        room
    }
}
