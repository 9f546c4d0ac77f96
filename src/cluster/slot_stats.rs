//! What is spent on each slot, for CLUSTER SLOT-STATS: counted only while `cluster-slot-stats-enabled` is on.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::base::slot::SLOTS;

#[derive(Default)]
struct Counters {
    cpu_ns: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

/// What was spent on a slot.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Spent {
    /// CPU time of commands, microseconds.
    pub cpu_us: u64,
    /// Bytes of requests.
    pub bytes_in: u64,
    /// Bytes of replies.
    pub bytes_out: u64,
}

/// The counters of all slots; they take memory once something was counted.
#[derive(Default)]
pub struct SlotStats(OnceLock<Box<[Counters]>>);

impl SlotStats {
    /// A command took so long (ns), and so many bytes.
    pub fn add(&self, slot: u16, ns: u64, bytes_in: u64, bytes_out: u64) {
        let all = self.0.get_or_init(|| (0..SLOTS).map(|_| Counters::default()).collect());
        let counters = &all[usize::from(slot)];
        counters.cpu_ns.fetch_add(ns, Relaxed);
        counters.bytes_in.fetch_add(bytes_in, Relaxed);
        counters.bytes_out.fetch_add(bytes_out, Relaxed);
    }
    /// What was spent on a slot.
    pub fn of(&self, slot: u16) -> Spent {
        let Some(all) = self.0.get() else { return Spent::default() };
        let counters = &all[usize::from(slot)];
        Spent {
            cpu_us: counters.cpu_ns.load(Relaxed) / 1000,
            bytes_in: counters.bytes_in.load(Relaxed),
            bytes_out: counters.bytes_out.load(Relaxed),
        }
    }
    /// Begins anew for these slots.
    pub fn reset(&self, slots: impl Iterator<Item = u16>) {
        let Some(all) = self.0.get() else { return };
        for slot in slots {
            let counters = &all[usize::from(slot)];
            [&counters.cpu_ns, &counters.bytes_in, &counters.bytes_out].into_iter().for_each(|c| c.store(0, Relaxed));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_counted_apart() {
        let stats = SlotStats::default();
        assert_eq!(stats.of(5), Spent::default());
        stats.add(5, 1500, 3, 4);
        stats.add(5, 1500, 3, 4);
        stats.add(6, 1000, 1, 1);
        assert_eq!(stats.of(5), Spent { cpu_us: 3, bytes_in: 6, bytes_out: 8 });
        stats.reset([5].into_iter());
        assert_eq!((stats.of(5), stats.of(6).cpu_us), (Spent::default(), 1));
    }
}
