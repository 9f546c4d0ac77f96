//! The access history of a key, 24 bits in its entry: for LRU the seconds of the last access, for LFU a logarithmic
//! counter with the minute of its last decay (<https://valkey.io/topics/lru-cache/>).

use crate::base::rng;

/// Settings that the keyspace works by, read from the configuration once a turn.
#[derive(Debug, Clone, Copy)]
pub struct Tuning {
    /// `maxmemory-policy` is one of the LFU policies.
    pub lfu: bool,
    /// `lfu-log-factor`
    pub lfu_log_factor: u32,
    /// `lfu-decay-time`, minutes
    pub lfu_decay_time: u32,
    /// `lazyfree-lazy-eviction`
    pub lazy_eviction: bool,
    /// `lazyfree-lazy-expire`
    pub lazy_expire: bool,
    /// `lazyfree-lazy-server-del`
    pub lazy_server_del: bool,
    /// `lazyfree-lazy-user-del`
    pub lazy_user_del: bool,
}

impl Default for Tuning {
    fn default() -> Self {
        Tuning {
            lfu: false,
            lfu_log_factor: 10,
            lfu_decay_time: 1,
            lazy_eviction: true,
            lazy_expire: true,
            lazy_server_del: true,
            lazy_user_del: true,
        }
    }
}

/// A new key begins with this count, so that it is not evicted at once.
const LFU_START: u32 = 5;

fn minutes(now: i64) -> u32 {
    (now / 60_000) as u32 & 0xffff
}
/// The LRU clock: seconds in 24 bits.
pub fn lru_clock(now: i64) -> u32 {
    (now / 1000) as u32 & 0xff_ffff
}

/// The bits of a key made now.
pub fn fresh(now: i64, t: &Tuning) -> u32 {
    if t.lfu { minutes(now) << 8 | LFU_START } else { lru_clock(now) }
}
/// The bits after an access now.
#[inline]
pub fn touched(bits: u32, now: i64, t: &Tuning) -> u32 {
    if t.lfu { minutes(now) << 8 | increment(frequency(bits, now, t), t.lfu_log_factor) } else { lru_clock(now) }
}
/// The LFU counter, decayed to now.
pub fn frequency(bits: u32, now: i64, t: &Tuning) -> u32 {
    let (at, count) = (bits >> 8, bits & 0xff);
    if t.lfu_decay_time == 0 {
        return count;
    }
    let passed = minutes(now).wrapping_sub(at) & 0xffff;
    count.saturating_sub(passed / t.lfu_decay_time)
}
fn increment(count: u32, factor: u32) -> u32 {
    if count >= 255 {
        return 255;
    }
    let base = count.saturating_sub(LFU_START);
    let odds = 1.0 / (f64::from(base) * f64::from(factor) + 1.0);
    let draw = rng::next_u64() as f64 / u64::MAX as f64;
    count + u32::from(draw < odds)
}
/// How long the key has not been accessed, ms (LRU).
pub fn idle_ms(bits: u32, now: i64) -> u64 {
    u64::from(lru_clock(now).wrapping_sub(bits) & 0xff_ffff) * 1000
}
/// The LRU bits of a key that was not accessed for so long.
pub fn bits_for_idle(idle_s: u64, now: i64) -> u32 {
    lru_clock(now).wrapping_sub(idle_s.min(0x7f_ffff) as u32) & 0xff_ffff
}
/// The LFU bits of a key with this frequency now.
pub fn bits_for_frequency(freq: u8, now: i64) -> u32 {
    minutes(now) << 8 | u32::from(freq)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_survives_the_wrap_of_the_clock() {
        let wrap = 1i64 << 24;
        let bits = lru_clock((wrap - 2) * 1000);
        assert_eq!(idle_ms(bits, (wrap + 3) * 1000), 5000);
        assert_eq!(idle_ms(bits_for_idle(100, wrap * 1000), wrap * 1000), 100_000);
    }

    #[test]
    fn a_frequency_grows_with_use_ever_more_slowly_and_decays() {
        let t = Tuning { lfu: true, ..Tuning::default() };
        let mut bits = fresh(0, &t);
        (0..1000).for_each(|_| bits = touched(bits, 0, &t));
        let after = frequency(bits, 0, &t);
        assert!((11..60).contains(&after), "{after}");
        assert_eq!(frequency(bits, 10 * 60_000, &t), after - 10);
        assert_eq!(frequency(bits, 500 * 60_000, &t), 0);
    }
}
