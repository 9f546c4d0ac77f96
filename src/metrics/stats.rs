//! Per-thread counters: written by one thread with plain additions, read by any.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use parking_lot::RwLock;

/// A number that one thread adds to and others read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds. Only the owning thread calls this, so that a load and a store are enough.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }
    /// The value.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
    /// Back to zero; an addition of the owner at the same moment may survive it or be lost.
    pub fn reset(&self) {
        self.0.store(0, Relaxed);
    }
}

/// What is counted for each command.
#[derive(Debug, Default)]
pub struct CommandStats {
    /// Executions.
    pub calls: Counter,
    /// Time in them, ns.
    pub ns: Counter,
    /// Refused before execution.
    pub rejected: Counter,
    /// Ended with an error.
    pub failed: Counter,
}

/// The counters of a database. Signed: keys may be added by one thread and removed by another.
#[derive(Debug, Default)]
struct DbStats {
    keys: AtomicI64,
    expires: AtomicI64,
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// The counters of one thread.
        #[derive(Debug)]
        #[repr(align(128))]
        pub struct ThreadStats {
            $($(#[$doc])* pub $name: Counter,)*
            dbs: Box<[DbStats]>,
            commands: Box<[CommandStats]>,
        }
        impl ThreadStats {
            fn new(databases: usize, commands: usize) -> ThreadStats {
                ThreadStats {
                    $($name: Counter::default(),)*
                    dbs: (0..databases).map(|_| DbStats::default()).collect(),
                    commands: (0..commands).map(|_| CommandStats::default()).collect(),
                }
            }
            fn reset(&self) {
                $(self.$name.reset();)*
                for c in &self.commands {
                    c.calls.reset();
                    c.ns.reset();
                    c.rejected.reset();
                    c.failed.reset();
                }
            }
        }
    };
}

counters! {
    /// Commands executed.
    commands_processed,
    /// Reads of keys that were there.
    hits,
    /// Reads of keys that were not.
    misses,
    /// Keys removed because their time was over.
    expired_keys,
    /// Hash fields removed because their time was over.
    expired_fields,
    /// Keys evicted.
    evicted_keys,
    /// Clients evicted by maxmemory-clients.
    evicted_clients,
    /// Connections accepted.
    connections_received,
    /// Connections refused because of maxclients.
    connections_rejected,
    /// Bytes read from clients.
    net_in,
    /// Bytes written to clients.
    net_out,
    /// Turns in which something was read.
    reads_processed,
    /// Turns in which something was written.
    writes_processed,
    /// Error replies.
    error_replies,
    /// Expiry passes that ran out of time.
    expire_cut_short,
    /// Clients closed for their output buffers.
    output_limit_disconnections,
    /// Clients closed for their query buffers.
    query_limit_disconnections,
    /// Time spent in expiry passes, ns.
    expire_ns,
    /// Time spent evicting, ns.
    evict_ns,
    /// Failed authentications.
    auth_denied,
}

impl ThreadStats {
    /// Counts a read of a key that was there.
    #[inline]
    pub fn hit(&self) {
        self.hits.add(1);
    }
    /// Counts a read of a key that was not there.
    #[inline]
    pub fn miss(&self) {
        self.misses.add(1);
    }
    /// Counts expired keys.
    pub fn expired(&self, n: u64) {
        self.expired_keys.add(n);
    }
    /// Counts evicted keys.
    pub fn evicted(&self, n: u64) {
        self.evicted_keys.add(n);
    }
    /// Notes that a database has more or fewer keys.
    #[inline]
    pub fn keys(&self, db: usize, delta: i64) {
        let k = &self.dbs[db].keys;
        k.store(k.load(Relaxed) + delta, Relaxed);
    }
    /// Notes that a database has more or fewer keys with an expiry.
    #[inline]
    pub fn expires(&self, db: usize, delta: i64) {
        let k = &self.dbs[db].expires;
        k.store(k.load(Relaxed) + delta, Relaxed);
    }
    /// The counters of a command, by its id.
    #[inline]
    pub fn command(&self, id: u16) -> &CommandStats {
        &self.commands[id as usize]
    }
}

/// The counters of all threads.
#[derive(Debug)]
pub struct Metrics {
    threads: RwLock<Vec<&'static ThreadStats>>,
    databases: usize,
    commands: usize,
}

impl Metrics {
    /// For so many databases and command ids.
    pub fn new(databases: usize, commands: usize) -> Metrics {
        Metrics { threads: RwLock::default(), databases, commands }
    }
    /// The counters of a new thread. They stay when the thread ends, since their sums do.
    pub fn thread(&self) -> &'static ThreadStats {
        let stats: &'static ThreadStats = Box::leak(Box::new(ThreadStats::new(self.databases, self.commands)));
        self.threads.write().push(stats);
        stats
    }
    /// The sum of one counter.
    pub fn sum(&self, counter: impl Fn(&ThreadStats) -> &Counter) -> u64 {
        self.threads.read().iter().map(|t| counter(t).get()).fold(0, u64::wrapping_add)
    }
    /// Keys in a database.
    pub fn keys(&self, db: usize) -> u64 {
        self.threads.read().iter().map(|t| t.dbs[db].keys.load(Relaxed)).sum::<i64>().max(0) as u64
    }
    /// Keys with an expiry in a database.
    pub fn expires(&self, db: usize) -> u64 {
        self.threads.read().iter().map(|t| t.dbs[db].expires.load(Relaxed)).sum::<i64>().max(0) as u64
    }
    /// Runs `f` for the counters of each thread.
    pub fn each(&self, f: impl FnMut(&'static ThreadStats)) {
        self.threads.read().iter().copied().for_each(f);
    }
    /// CONFIG RESETSTAT: everything but the numbers of keys.
    pub fn reset(&self) {
        self.each(ThreadStats::reset);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_run_over_all_threads_and_keys_may_move_between_them() {
        let m = Metrics::new(2, 3);
        let (a, b) = (m.thread(), m.thread());
        a.hit();
        b.hit();
        a.keys(1, 3);
        b.keys(1, -2);
        a.command(2).calls.add(5);
        assert_eq!((m.sum(|t| &t.hits), m.keys(1), m.keys(0)), (2, 1, 0));
        m.reset();
        assert_eq!((m.sum(|t| &t.hits), m.keys(1)), (0, 1));
    }
}
