//! What a worker does from time to time without being asked: expiry, and keeping memory in order.

use std::sync::atomic::Ordering::Relaxed;

use super::Worker;
use crate::base::{alloc, clock};
use crate::commands::gate::bits;
use crate::keyspace::expire::{self, Walk};
use crate::keyspace::{Db, Located, rehome};

/// How long keys of a replica's own are looked at, ns.
const OWN_NS: u64 = 1_000_000;

/// From the start of one round of housekeeping to the next, ns.
const ROUND_NS: u64 = 10_000_000_000;
/// How long it takes at a time, ns.
const TURN_NS: u64 = 500_000;

/// Where a worker's round of housekeeping stands.
#[derive(Debug, Default)]
pub(super) struct Housekeeping {
    walk: rehome::Walk,
    db: usize,
    /// When the next round begins, as [`clock::mono_ns`].
    next: u64,
}

impl Worker {
    /// A turn of the round that moves tables together, through this worker's share of the slots; after the round the
    /// thread's cache of free memory goes back, which other sizes are needed from by then, or nothing at all.
    pub fn keep_house(&mut self, workers: usize) {
        let now = clock::mono_ns();
        if now < self.housekeeping.next || self.server.gate.has(bits::LOADING) {
            return;
        }
        self.held.set_patient(false);
        self.client = 0;
        let share = (self.id % workers, workers);
        let Worker { held, fx, stats, tuning, server, housekeeping, .. } = self;
        while housekeeping.db < server.keyspace.databases() {
            let mut db = Db::new(server.keyspace, held, housekeeping.db, 0, fx, stats, *tuning, Located::NONE);
            let spent = clock::mono_ns() - now;
            if db.is_used() && !rehome::pass(&mut db, &mut housekeeping.walk, share, TURN_NS.saturating_sub(spent)) {
                return;
            }
            housekeeping.db += 1;
        }
        alloc::flush_cache();
        *housekeeping = Housekeeping { next: now + ROUND_NS, ..Housekeeping::default() };
    }
    /// The keys of a writable replica's own whose time is over go. On a primary all keys do.
    fn expire_own(&mut self) {
        if self.server.pause.is_set() {
            return;
        }
        self.refresh();
        let (start, now) = (clock::mono_ns(), clock::now_ms());
        let server = self.server;
        for (index, key) in server.keyspace.own.take() {
            let late = clock::mono_ns() - start > OWN_NS;
            let at = Located::of(&key);
            let goes_on = late || {
                let mut db = self.db(index, now);
                db.with_slot(at.slot, |db| db.expire_own(&key)).unwrap_or(true)
            };
            if goes_on && self.gate & bits::REPLICA != 0 {
                server.keyspace.own.add(index, &key);
            }
        }
        self.after();
        server.keyspace.hooks.wake();
    }
    /// One expiry pass over this worker's share of the slots (`workers` share them). `hz` passes a second.
    pub fn expire(&mut self, workers: usize, hz: u64) {
        if self.has_put_off() {
            self.catch_up();
        }
        self.held.set_patient(false);
        self.client = 0;
        self.scripts.tidy(self.server);
        if self.server.keyspace.own.any() && self.id.is_multiple_of(workers) {
            self.expire_own();
        }
        // The primary of a replica says when keys go, and so does whoever imports data.
        if !self.server.switches.active_expire.load(Relaxed)
            || self.server.pause.is_set()
            || self.server.config.import_mode()
            || self.server.gate.has(bits::REPLICA | bits::LOADING)
        {
            return;
        }
        self.refresh();
        let now = clock::now_ms();
        let dbs = self.server.keyspace.databases();
        self.walks.resize(dbs, Walk::default());
        // As Redis: at effort 1 a quarter of a core at the most, up to 43 % at effort 10; and 10 % of stale keys are
        // tolerated, down to 1 %.
        let effort = u64::from(self.server.config.active_expire_effort()) - 1;
        let mut budget = 1_000_000_000 / hz.max(1) * (25 + 2 * effort) / 100;
        let tolerated = 10 - effort;
        let start = clock::mono_ns();
        for index in 0..dbs {
            let volatile = self.server.metrics.expires(index) > 0 || self.server.metrics.volatile_hashes(index) > 0;
            if !volatile {
                continue;
            }
            let Worker { held, fx, stats, tuning, server, walks, view, .. } = self;
            let mut db = Db::new(server.keyspace, held, index, now, fx, stats, *tuning, Located::NONE);
            // Whoever sends slots says when their keys go.
            let leave = |slot| view.as_ref().is_some_and(|view| view.is_elsewhere(slot));
            let share = (self.id % workers, workers);
            let pass = expire::pass(&mut db, &mut walks[index], share, budget, tolerated, leave);
            self.stats.expired_fields.add(pass.fields);
            self.stats.expiry_seen(index, (pass.looked, pass.expired), (pass.alive, pass.ttl_ms));
            self.stats.expire_cut_short.add(u64::from(pass.cut_short));
            if !self.fx.is_quiet() {
                self.after();
            }
            budget = budget.saturating_sub(clock::mono_ns() - start);
            if budget == 0 {
                break;
            }
        }
        self.server.keyspace.hooks.wake();
        let ns = clock::mono_ns() - start;
        self.stats.expire_ns.add(ns);
        self.server.note_spike("expire-cycle", ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng;
    use crate::commands::Server;
    use crate::config::Config;
    use crate::keyspace::{SLOTS, Ttl};

    /// How many of the slots' tables stand in slabs that are mostly free.
    fn sparse(db: &mut Db<'_>) -> usize {
        let mut count = 0;
        for slot in 0..SLOTS as u16 {
            let look = |at: *const u8| {
                count += usize::from(alloc::is_sparse(at));
                false
            };
            db.with_slot(slot, |db| db.rehome_slot(slot, 0, look));
        }
        count
    }

    #[test]
    fn tables_that_stayed_behind_while_others_grew_move_together() {
        let mut worker = Worker::new(Server::new(Box::leak(Box::new(Config::new()))), 0);
        let before = {
            let mut db = worker.db(0, clock::now_ms());
            // Sixty keys a slot, more or less: most tables pass the sizes below that, some stay.
            for _ in 0..60 * SLOTS {
                let key = rng::next_u64().to_le_bytes();
                let at = Located::of(&key);
                db.with_slot(at.slot, |db| db.set_text(&key, b"value", Ttl::Clear));
            }
            alloc::flush_cache();
            sparse(&mut db)
        };
        assert!(before > 100, "{before}");
        let rounds = worker.housekeeping.next;
        let start = clock::mono_ns();
        while worker.housekeeping.next == rounds {
            worker.keep_house(1);
            assert!(clock::mono_ns() - start < 60_000_000_000, "a round ends");
        }
        let after = sparse(&mut worker.db(0, clock::now_ms()));
        assert!(after < before / 2, "{before} before, {after} after");
        // Not again before its time.
        let next = worker.housekeeping.next;
        worker.keep_house(1);
        assert_eq!(worker.housekeeping.next, next);
    }
}
