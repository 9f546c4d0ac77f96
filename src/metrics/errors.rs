//! Error replies by their code (`ERR`, `WRONGTYPE`, ...), for INFO errorstats.
//!
//! Codes come from the first word of an error. Those of the server are few; scripts can make up words, so those of theirs that
//! come when there are [`LIMIT`] codes already are counted together. Each thread has its own table, whose lock nobody else
//! holds but a reader.

use parking_lot::Mutex;
use std::collections::BTreeMap;

/// Most codes beside which a script's new one is told apart.
pub const LIMIT: usize = 128;

/// What the codes of scripts beyond that are counted as.
pub const OVERFLOW: &[u8] = b"ERRORSTATS_OVERFLOW";

/// One thread's error replies by code.
#[derive(Debug, Default)]
pub struct ErrorCounts {
    counts: Mutex<BTreeMap<Box<[u8]>, u64>>,
}

impl ErrorCounts {
    /// Count an error with this code.
    pub fn count(&self, code: &[u8]) {
        add(&mut self.counts.lock(), code);
    }

    /// Count an error that a script made up.
    pub fn count_custom(&self, code: &[u8]) {
        let mut counts = self.counts.lock();
        let known = code == b"ERR" || counts.len() < LIMIT || counts.contains_key(code);
        add(&mut counts, if known { code } else { OVERFLOW });
    }

    /// Add this thread's counts to `sums`.
    pub fn add_to(&self, sums: &mut BTreeMap<Box<[u8]>, u64>) {
        for (code, count) in self.counts.lock().iter() {
            *sums.entry(code.clone()).or_default() += count;
        }
    }

    /// Back to nothing.
    pub fn reset(&self) {
        self.counts.lock().clear();
    }
}

fn add(counts: &mut BTreeMap<Box<[u8]>, u64>, code: &[u8]) {
    match counts.get_mut(code) {
        Some(count) => *count += 1,
        None => drop(counts.insert(code.into(), 1)),
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
    fn new_codes_of_scripts_are_counted_together_once_there_are_many() {
        let counts = ErrorCounts::default();
        let custom = |n: usize| counts.count_custom(format!("E{n}").as_bytes());
        (0..LIMIT + 5).for_each(custom);
        custom(0);
        counts.count(b"WRONGTYPE");
        let mut sums = BTreeMap::new();
        counts.add_to(&mut sums);
        let count = |code: &[u8]| sums.get(code).copied();
        assert_eq!((count(b"E0"), count(OVERFLOW), count(b"WRONGTYPE")), (Some(2), Some(5), Some(1)));
        assert_eq!(sums.len(), LIMIT + 2);
        counts.reset();
        counts.count(b"ERR");
        let mut sums = BTreeMap::new();
        counts.add_to(&mut sums);
        assert_eq!(sums.len(), 1);
    }
}
