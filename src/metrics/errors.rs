//! Error replies by their code (`ERR`, `WRONGTYPE`, ...), for INFO errorstats.
//!
//! Codes come from the first word of an error, and scripts can make up words, so the table is bounded: when there would
//! be more than [`LIMIT`] codes, counting by code stops until CONFIG RESETSTAT, and INFO shows that it did. Each thread
//! has its own table, whose lock nobody else holds but a reader.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Most codes that are told apart.
pub const LIMIT: usize = 128;

/// The code that stands for a table that gave up.
pub const DISABLED: &[u8] = b"ERRORSTATS_DISABLED";

/// One thread's error replies by code.
#[derive(Debug, Default)]
pub struct ErrorCounts {
    counts: Mutex<BTreeMap<Box<[u8]>, u64>>,
    full: AtomicBool,
}

impl ErrorCounts {
    /// Count an error with this code.
    pub fn count(&self, code: &[u8]) {
        if self.full.load(Relaxed) {
            return;
        }
        let mut counts = self.counts.lock();
        if let Some(count) = counts.get_mut(code) {
            *count += 1;
        } else if counts.len() < LIMIT {
            counts.insert(code.into(), 1);
        } else {
            counts.clear();
            self.full.store(true, Relaxed);
        }
    }

    /// Add this thread's counts to `sums`; a full table empties them for good.
    pub fn add_to(&self, sums: &mut BTreeMap<Box<[u8]>, u64>) {
        for (code, count) in self.counts.lock().iter() {
            *sums.entry(code.clone()).or_default() += count;
        }
        if self.full.load(Relaxed) || sums.len() > LIMIT || sums.contains_key(DISABLED) {
            sums.clear();
            sums.insert(DISABLED.into(), 1);
        }
    }

    /// Back to nothing.
    pub fn reset(&self) {
        self.counts.lock().clear();
        self.full.store(false, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_counted_apart_and_threads_summed() {
        let (a, b) = (ErrorCounts::default(), ErrorCounts::default());
        a.count(b"ERR");
        a.count(b"ERR");
        b.count(b"ERR");
        b.count(b"WRONGTYPE");
        let mut sums = BTreeMap::new();
        a.add_to(&mut sums);
        b.add_to(&mut sums);
        assert_eq!(
            sums.into_iter().collect::<Vec<_>>(),
            [(b"ERR".as_slice().into(), 3), (b"WRONGTYPE".as_slice().into(), 1)]
        );
    }

    #[test]
    fn too_many_codes_switch_the_table_off_until_it_is_reset() {
        let counts = ErrorCounts::default();
        (0..LIMIT + 1).for_each(|n| counts.count(format!("E{n}").as_bytes()));
        let mut sums = BTreeMap::new();
        counts.add_to(&mut sums);
        assert_eq!(sums.keys().map(|k| &**k).collect::<Vec<_>>(), [DISABLED]);
        counts.reset();
        counts.count(b"ERR");
        let mut sums = BTreeMap::new();
        counts.add_to(&mut sums);
        assert_eq!(sums.len(), 1);
    }
}
