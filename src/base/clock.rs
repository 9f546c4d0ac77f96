//! The one door to time.
//!
//! Two clocks, never mixed: wall time for what clients see and what is stored (expiry is a Unix time in milliseconds),
//! and monotonic time for durations. For timing every command there is a third, cheaper reading: [`mono_raw`] is the
//! CPU's tick counter (about 6 ns, where a `clock_gettime` costs 20 to 25), turned into nanoseconds by [`raw_to_ns`]
//! only when a number is wanted.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

static TICKS: LazyLock<(quanta::Clock, u64)> = LazyLock::new(|| {
    let clock = quanta::Clock::new();
    let base = clock.raw();
    (clock, base)
});

#[allow(clippy::disallowed_methods, reason = "this is the door the ban points to")]
fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO)
}

/// Wall-clock milliseconds since the Unix epoch.
pub fn now_ms() -> i64 {
    since_epoch().as_millis() as i64
}

/// Wall-clock microseconds since the Unix epoch.
pub fn now_us() -> i64 {
    since_epoch().as_micros() as i64
}

/// Monotonic nanoseconds since the first reading of this process; never goes back.
pub fn mono_ns() -> u64 {
    let (clock, base) = &*TICKS;
    clock.delta_as_nanos(*base, clock.raw())
}

/// Milliseconds of a clock that began at Unix time and never goes back, whatever is done to the wall clock.
pub fn steady_ms() -> i64 {
    static START: LazyLock<i64> = LazyLock::new(|| now_ms() - (mono_ns() / 1_000_000) as i64);
    *START + (mono_ns() / 1_000_000) as i64
}

/// Does nothing for so many microseconds. For settings that slow things down, in tests.
#[allow(clippy::disallowed_methods, reason = "as above")]
pub fn pause_us(us: u64) {
    std::thread::sleep(Duration::from_micros(us));
}

/// The raw tick counter: cheap, of unknown unit, only good for [`raw_to_ns`].
#[inline]
pub fn mono_raw() -> u64 {
    TICKS.0.raw()
}

/// Nanoseconds between two readings of [`mono_raw`]; zero if `end` is not after `start`.
#[inline]
pub fn raw_to_ns(start: u64, end: u64) -> u64 {
    TICKS.0.delta_as_nanos(start, end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_time_is_after_2024_and_its_units_agree() {
        let (ms, us) = (now_ms(), now_us());
        assert!(ms > 1_704_067_200_000);
        assert!((us / 1000 - ms).abs() < 1000);
    }

    #[test]
    fn monotonic_time_never_goes_back_and_ticks_convert_to_it() {
        let (start, raw) = (mono_ns(), mono_raw());
        let mut last = start;
        while last < start + 2_000_000 {
            let now = mono_ns();
            assert!(now >= last);
            last = now;
        }
        let ticked = raw_to_ns(raw, mono_raw());
        assert!((1_500_000..1_000_000_000).contains(&ticked), "{ticked}");
        assert_eq!(raw_to_ns(raw, raw), 0);
    }
}
