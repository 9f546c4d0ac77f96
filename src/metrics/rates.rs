//! Rates over the last moments, such as INFO's `instantaneous_ops_per_sec`.
//!
//! A timer hands in running totals about every 100 ms; the rate is the mean over the last 16 intervals, so a burst
//! shows within a tenth of a second and fades within two.

use parking_lot::Mutex;

const SAMPLES: usize = 16;

#[derive(Clone, Copy, Debug)]
struct Series {
    last: u64,
    per_second: [u64; SAMPLES],
}

#[derive(Debug)]
struct State<const N: usize> {
    series: [Series; N],
    at_ms: i64,
    next: usize,
    started: bool,
}

/// The rates of `N` totals.
#[derive(Debug)]
pub struct Rates<const N: usize>(Mutex<State<N>>);

impl<const N: usize> Default for Rates<N> {
    fn default() -> Rates<N> {
        let series = [Series { last: 0, per_second: [0; SAMPLES] }; N];
        Rates(Mutex::new(State { series, at_ms: 0, next: 0, started: false }))
    }
}

impl<const N: usize> Rates<N> {
    /// Note the totals at the time `now_ms`.
    pub fn sample(&self, now_ms: i64, totals: [u64; N]) {
        let mut state = self.0.lock();
        let elapsed = now_ms - state.at_ms;
        let (started, next) = (state.started, state.next);
        if started && elapsed <= 0 {
            return;
        }
        for (series, total) in state.series.iter_mut().zip(totals) {
            if started {
                // A total that was reset starts from zero.
                let grown = total.checked_sub(series.last).unwrap_or(total);
                series.per_second[next] = (u128::from(grown) * 1000 / elapsed as u128) as u64;
            }
            series.last = total;
        }
        if started {
            state.next = (next + 1) % SAMPLES;
        }
        state.started = true;
        state.at_ms = now_ms;
    }

    /// The mean rate of total number `at`, per second.
    pub fn per_second(&self, at: usize) -> u64 {
        let state = self.0.lock();
        state.series[at].per_second.iter().sum::<u64>() / SAMPLES as u64
    }

    /// Forget the past.
    pub fn reset(&self) {
        *self.0.lock() = Rates::default().0.into_inner();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_stream_shows_its_rate_and_fades_when_it_ends() {
        let rates = Rates::<2>::default();
        for step in 0..=20i64 {
            rates.sample(1_000_000 + step * 100, [5_000_000 + step as u64 * 50, 7]);
        }
        assert_eq!((rates.per_second(0), rates.per_second(1)), (500, 0));
        (21..=36i64).for_each(|step| rates.sample(1_000_000 + step * 100, [5_001_000, 7]));
        assert_eq!(rates.per_second(0), 0);
    }

    #[test]
    fn a_clock_that_stands_still_or_a_reset_total_does_no_harm() {
        let rates = Rates::<1>::default();
        rates.sample(0, [100]);
        rates.sample(0, [200]);
        rates.sample(-5, [200]);
        rates.sample(1000, [16]);
        assert_eq!(rates.per_second(0), 1);
        rates.reset();
        assert_eq!(rates.per_second(0), 0);
    }
}
