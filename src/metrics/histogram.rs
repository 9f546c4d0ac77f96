//! A latency histogram: log-linear, two significant digits, 1 ns to 1 s.
//!
//! The buckets are those of HdrHistogram at that precision, which is what LATENCY HISTOGRAM and INFO latencystats are
//! read against: values up to 255 have a bucket each, and every following power of two has 128, so a bucket is never
//! wider than 1/128 of its values. Index of a value: with `e` the power of two by which it exceeds 255, the bucket is
//! `(e + 1) * 128 + (value >> e) - 128`.
//!
//! There may be a histogram for each command on each thread, so memory counts. The 3,072 buckets would take 24 KiB; a
//! command's latencies fall into few powers of two, so the 128 buckets of each are allocated when the first value falls
//! among them (1 KiB each). One thread records with plain additions; any may read.

use super::Counter;
use std::sync::OnceLock;

/// The longest time that is told apart, in ns; longer ones count as this.
const MAX: u64 = 1_000_000_000;
/// Buckets of a power of two.
const WIDTH: usize = 128;
/// Groups of [`WIDTH`] buckets: values up to 255 take two.
const GROUPS: usize = 24;

type Group = Box<[Counter; WIDTH]>;

/// Times that one thread measured.
#[derive(Debug, Default)]
pub struct Histogram {
    groups: [OnceLock<Group>; GROUPS],
}

/// The bucket of a value.
fn index(ns: u64) -> usize {
    let exponent = (ns | 255).ilog2() - 7;
    ((exponent as usize) + 1) * WIDTH + (ns >> exponent) as usize - WIDTH
}

/// The highest value that falls into the bucket.
fn highest(index: usize) -> u64 {
    let exponent = (index / WIDTH).saturating_sub(1) as u32;
    let step = index as u64 - u64::from(exponent) * WIDTH as u64;
    ((step + 1) << exponent) - 1
}

impl Histogram {
    /// Count a time. Only the owning thread calls this.
    #[inline]
    pub fn record(&self, ns: u64) {
        let at = index(ns.clamp(1, MAX));
        let group = self.groups[at / WIDTH].get_or_init(|| Box::new([const { Counter::new() }; WIDTH]));
        group[at % WIDTH].add(1);
    }

    /// Back to nothing.
    pub fn reset(&self) {
        self.groups.iter().filter_map(OnceLock::get).flat_map(|group| group.iter()).for_each(Counter::reset);
    }
}

/// The sum of some histograms, to be read.
#[derive(Clone, Debug)]
pub struct Distribution {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Distribution {
    fn default() -> Distribution {
        Distribution { counts: vec![0; GROUPS * WIDTH], total: 0 }
    }
}

impl Distribution {
    /// Add what a histogram holds.
    pub fn add(&mut self, histogram: &Histogram) {
        for (at, group) in histogram.groups.iter().enumerate() {
            let Some(group) = group.get() else { continue };
            for (sum, counter) in self.counts[at * WIDTH..].iter_mut().zip(group.iter()) {
                *sum += counter.get();
                self.total += counter.get();
            }
        }
    }

    /// How many times were counted.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// How many times did not exceed each power of two of `exponents` (of 2^e ns, with the precision of the buckets).
    pub fn below(&self, exponents: impl Iterator<Item = u32>) -> Vec<(u64, u64)> {
        let (mut seen, mut next) = (0, 0);
        exponents
            .map(|exponent| {
                let level = 1u64 << exponent;
                // The bucket that ends just below the power of two.
                let end = index(level - 1).min(self.counts.len() - 1);
                if end >= next {
                    seen += self.counts[next..=end].iter().sum::<u64>();
                    next = end + 1;
                }
                (level, seen)
            })
            .collect()
    }

    /// The time, in ns, that `percentile` percent of all times do not exceed; 0 if there are none.
    pub fn percentile(&self, percentile: f64) -> u64 {
        if self.total == 0 {
            return 0;
        }
        let wanted = ((percentile.clamp(0.0, 100.0) / 100.0 * self.total as f64) + 0.5) as u64;
        let mut seen = 0;
        for (at, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted.max(1) {
                return highest(at);
            }
        }
        MAX
    }

    /// The cumulative distribution that LATENCY HISTOGRAM shows: for 1, 2, 4 ... microseconds, as far as needed, how
    /// many times did not exceed it; steps at which nothing is added are left out.
    pub fn cumulative(&self) -> Vec<(u64, u64)> {
        let mut steps = Vec::new();
        let (mut seen, mut reported, mut next) = (0, 0, 0);
        let mut level = 1024;
        while seen < self.total {
            let end = index(level).min(self.counts.len() - 1);
            seen += self.counts[next..=end].iter().sum::<u64>();
            next = end + 1;
            if seen > reported {
                steps.push((highest(end) / 1000, seen));
                reported = seen;
            }
            if next == self.counts.len() {
                break;
            }
            level *= 2;
        }
        steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_in_order_and_within_a_hundred_twenty_eighth() {
        let mut last = 0;
        for value in (1..5000).chain((5000..MAX).step_by(99_991)).chain([MAX]) {
            let at = index(value);
            assert!(at < GROUPS * WIDTH && at >= last, "{value}");
            assert!(highest(at) >= value && (highest(at) - value) as f64 <= value as f64 / 128.0, "{value}");
            assert!(at == 0 || highest(at - 1) < value);
            last = at;
        }
    }

    #[test]
    fn percentiles_find_their_values() {
        let histogram = Histogram::default();
        (1..=1000).for_each(|ms| histogram.record(ms * 1000));
        let mut sum = Distribution::default();
        sum.add(&histogram);
        assert_eq!(sum.total(), 1000);
        for (percentile, ns) in [(50.0, 500_000.0), (99.0, 990_000.0), (100.0, 1_000_000.0)] {
            let found = sum.percentile(percentile) as f64;
            assert!((found / ns - 1.0).abs() < 0.01, "{percentile}: {found}");
        }
        assert_eq!(Distribution::default().percentile(50.0), 0);
        histogram.reset();
        let mut sum = Distribution::default();
        sum.add(&histogram);
        assert_eq!(sum.total(), 0);
    }

    #[test]
    fn the_cumulative_form_counts_by_powers_of_two() {
        let histogram = Histogram::default();
        [500, 900, 3000, 3000, 40_000, 5 * MAX].iter().for_each(|&ns| histogram.record(ns));
        let mut sum = Distribution::default();
        sum.add(&histogram);
        let steps = sum.cumulative();
        assert_eq!(steps[..3], [(1, 2), (4, 4), (66, 5)]);
        assert_eq!(steps[3].1, 6);
        assert!(Distribution::default().cumulative().is_empty());
    }
}
