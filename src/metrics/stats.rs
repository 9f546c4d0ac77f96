//! Per-thread counters: written by one thread with plain additions, read by any.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use parking_lot::{Mutex, RwLock};

use super::errors::ErrorCounts;
use super::histogram::{Distribution, Histogram};

/// A number that one thread adds to and others read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Zero.
    pub const fn new() -> Counter {
        Counter(AtomicU64::new(0))
    }
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
    /// Times, once there is one (`latency-tracking`).
    latency: OnceLock<Box<Histogram>>,
}

impl CommandStats {
    /// Counts a time in the histogram. Only the owning thread calls this.
    #[inline]
    pub fn record_latency(&self, ns: u64) {
        self.latency.get_or_init(Box::default).record(ns);
    }
    fn reset(&self) {
        self.calls.reset();
        self.ns.reset();
        self.rejected.reset();
        self.failed.reset();
        self.reset_latency();
    }
    fn reset_latency(&self) {
        if let Some(histogram) = self.latency.get() {
            histogram.reset();
        }
    }
}

/// A command's counters, summed over the threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommandSums {
    /// Executions.
    pub calls: u64,
    /// Time in them, ns.
    pub ns: u64,
    /// Refused before execution.
    pub rejected: u64,
    /// Ended with an error.
    pub failed: u64,
}

/// The counters of a database. Signed: keys may be added by one thread and removed by another.
#[derive(Debug, Default)]
struct DbStats {
    keys: AtomicI64,
    expires: AtomicI64,
    volatile_hashes: AtomicI64,
    /// The mean time to live of what expiry passes see, ms; 0: not known.
    ttl: AtomicI64,
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
            /// Error replies by code.
            pub errors: ErrorCounts,
            /// Turns by how many requests were in them.
            depths: [Counter; DEPTHS],
            /// The share of expired keys among those that expiry passes see, in millionths.
            stale: Counter,
            /// How long connections that were wanted waited for their worker.
            queue: Histogram,
        }
        impl ThreadStats {
            fn new(databases: usize, commands: usize) -> ThreadStats {
                ThreadStats {
                    $($name: Counter::default(),)*
                    dbs: (0..databases).map(|_| DbStats::default()).collect(),
                    commands: (0..commands).map(|_| CommandStats::default()).collect(),
                    errors: ErrorCounts::default(),
                    depths: [const { Counter::new() }; DEPTHS],
                    stale: Counter::default(),
                    queue: Histogram::default(),
                }
            }
            fn reset(&self) {
                $(self.$name.reset();)*
                self.commands.iter().for_each(CommandStats::reset);
                self.errors.reset();
                self.depths.iter().for_each(Counter::reset);
                self.queue.reset();
                self.stale.reset();
            }
        }
    };
}

counters! {
    /// Commands executed.
    commands_processed,
    /// Changes to the data.
    changes,
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
    /// Connections accepted.
    connections_received,
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
    /// Commands refused for lack of the right to run them.
    command_denied,
    /// Commands refused for a key.
    key_denied,
    /// Commands refused for a channel.
    channel_denied,
    /// Commands refused for a database.
    database_denied,
    /// Requests in the turns that were counted by their depth.
    requests,
    /// Time that connections waited for their worker, ns.
    queue_ns,
}

/// Depths that are told apart: 1, up to 2, up to 4 and so on, and more than 64.
const DEPTHS: usize = 8;

/// How many turns there were by how many requests they had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depths {
    /// Turns with at most 1, 2, 4, 8, 16, 32 and 64 requests.
    pub upto: [u64; DEPTHS - 1],
    /// All turns.
    pub turns: u64,
    /// All requests.
    pub requests: u64,
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
    /// Notes that a database has more or fewer hashes with fields that expire.
    #[inline]
    pub fn volatile_hashes(&self, db: usize, delta: i64) {
        let k = &self.dbs[db].volatile_hashes;
        k.store(k.load(Relaxed) + delta, Relaxed);
    }
    /// What an expiry pass saw in a database: keys and the expired among them; living ones and the sum of their times
    /// to live, ms. Both means move slowly, as Redis's do.
    pub fn expiry_seen(&self, db: usize, (keys, expired): (u64, u64), (alive, ttl_ms): (u64, u64)) {
        if let Some(now) = (expired * 1_000_000).checked_div(keys) {
            self.stale.0.store((self.stale.get() * 19 + now) / 20, Relaxed);
        }
        if let Some(mean) = ttl_ms.checked_div(alive) {
            let (ttl, mean) = (&self.dbs[db].ttl, mean as i64);
            let old = ttl.load(Relaxed);
            ttl.store(if old == 0 { mean } else { old + (mean - old) / 50 }, Relaxed);
        }
    }
    /// Counts a turn with so many requests.
    #[inline]
    pub fn turn(&self, requests: usize) {
        let at = (requests.max(1) as u64 * 2 - 1).ilog2() as usize;
        self.depths[at.min(DEPTHS - 1)].add(1);
        self.requests.add(requests as u64);
    }
    /// Counts how long a connection that was wanted waited for its worker.
    #[inline]
    pub fn queued(&self, ns: u64) {
        self.queue.record(ns);
        self.queue_ns.add(ns);
    }
    /// The counters of a command, by its id.
    #[inline]
    pub fn command(&self, id: u16) -> &CommandStats {
        &self.commands[id as usize]
    }
}

/// Lent counters.
pub struct Spare<'a> {
    of: &'a Metrics,
    /// The counters.
    pub stats: &'static ThreadStats,
}

impl Drop for Spare<'_> {
    fn drop(&mut self) {
        self.of.spare.lock().push(self.stats);
    }
}

/// The counters of all threads.
#[derive(Debug)]
pub struct Metrics {
    threads: RwLock<Vec<&'static ThreadStats>>,
    databases: usize,
    commands: usize,
    spare: Mutex<Vec<&'static ThreadStats>>,
}

impl Metrics {
    /// For so many databases and command ids.
    pub fn new(databases: usize, commands: usize) -> Metrics {
        Metrics { threads: RwLock::default(), databases, commands, spare: Mutex::default() }
    }
    /// The counters of a new thread. They stay when the thread ends, since their sums do.
    pub fn thread(&self) -> &'static ThreadStats {
        let stats: &'static ThreadStats = Box::leak(Box::new(ThreadStats::new(self.databases, self.commands)));
        self.threads.write().push(stats);
        stats
    }
    /// Counters for a thread that does not last: they are used again by the next such thread.
    pub fn spare(&self) -> Spare<'_> {
        let stats = self.spare.lock().pop().unwrap_or_else(|| self.thread());
        Spare { of: self, stats }
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
    /// Hashes with fields that expire in a database.
    pub fn volatile_hashes(&self, db: usize) -> u64 {
        self.threads.read().iter().map(|t| t.dbs[db].volatile_hashes.load(Relaxed)).sum::<i64>().max(0) as u64
    }
    /// The mean time to live of a database's keys that expire, ms, as expiry passes have seen it lately; 0: not known.
    pub fn average_ttl(&self, db: usize) -> u64 {
        if self.expires(db) == 0 {
            return 0;
        }
        mean(self.threads.read().iter().map(|t| t.dbs[db].ttl.load(Relaxed).max(0) as u64))
    }
    /// How many of the keys that expire are expired and still there, in percent, as expiry passes have seen it lately.
    pub fn stale_percent(&self) -> f64 {
        mean(self.threads.read().iter().map(|t| t.stale.get())) as f64 / 10_000.0
    }
    /// Runs `f` for the counters of each thread.
    pub fn each(&self, f: impl FnMut(&'static ThreadStats)) {
        self.threads.read().iter().copied().for_each(f);
    }
    /// A command's counters.
    pub fn command(&self, id: u16) -> CommandSums {
        let mut sums = CommandSums::default();
        for thread in self.threads.read().iter() {
            let stats = thread.command(id);
            sums.calls += stats.calls.get();
            sums.ns += stats.ns.get();
            sums.rejected += stats.rejected.get();
            sums.failed += stats.failed.get();
        }
        sums
    }
    /// A command's latencies; nothing if none were recorded.
    pub fn latency(&self, id: u16) -> Option<Distribution> {
        let mut sum = Distribution::default();
        let threads = self.threads.read();
        let histograms = threads.iter().filter_map(|thread| thread.command(id).latency.get());
        histograms.for_each(|histogram| sum.add(histogram));
        (sum.total() > 0).then_some(sum)
    }
    /// Turns by how many requests they had.
    pub fn depths(&self) -> Depths {
        let mut sums = Depths { requests: self.sum(|t| &t.requests), ..Depths::default() };
        for at in 0..DEPTHS {
            sums.turns += self.sum(|t| &t.depths[at]);
            if let Some(upto) = sums.upto.get_mut(at) {
                *upto = sums.turns;
            }
        }
        sums
    }
    /// How long connections that were wanted waited for their workers, and all of it together, ns.
    pub fn queue(&self) -> (Distribution, u64) {
        let mut sum = Distribution::default();
        self.each(|thread| sum.add(&thread.queue));
        (sum, self.sum(|t| &t.queue_ns))
    }
    /// Error replies by code, sorted.
    pub fn errors(&self) -> BTreeMap<Box<[u8]>, u64> {
        let mut sums = BTreeMap::new();
        self.each(|thread| thread.errors.add_to(&mut sums));
        sums
    }
    /// CONFIG RESETSTAT: everything but the numbers of keys.
    pub fn reset(&self) {
        self.each(ThreadStats::reset);
    }
}

/// The mean of what is not zero.
fn mean(values: impl Iterator<Item = u64>) -> u64 {
    let (sum, count) = values.filter(|&v| v > 0).fold((0, 0), |(sum, count), v| (sum + v, count + 1));
    sum.checked_div(count).unwrap_or(0)
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
        b.command(2).calls.add(1);
        b.command(2).ns.add(70);
        a.command(2).record_latency(1000);
        b.command(2).record_latency(3000);
        b.errors.count(b"OOM");
        assert_eq!(m.command(2), CommandSums { calls: 6, ns: 70, rejected: 0, failed: 0 });
        assert_eq!(m.latency(2).unwrap().total(), 2);
        assert!(m.latency(1).is_none());
        assert_eq!(m.errors().len(), 1);
        [1, 2, 3, 4, 64, 65, 500].iter().for_each(|&requests| a.turn(requests));
        let depths = m.depths();
        assert_eq!(depths, Depths { upto: [1, 2, 4, 4, 4, 4, 5], turns: 7, requests: 639 });
        a.expires(1, 2);
        a.expiry_seen(1, (10, 5), (4, 4000));
        a.expiry_seen(1, (10, 5), (1, 6000));
        assert_eq!((m.average_ttl(1), m.average_ttl(0)), (1100, 0));
        assert_eq!(m.stale_percent(), 4.875);
        a.queued(1500);
        assert_eq!((m.queue().0.total(), m.queue().1), (1, 1500));
        m.reset();
        assert_eq!((m.depths(), m.queue().1), (Depths::default(), 0));
        assert_eq!((m.sum(|t| &t.hits), m.keys(1)), (0, 1));
        assert!(m.latency(2).is_none() && m.errors().is_empty());
    }
}
