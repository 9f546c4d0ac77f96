//! The one door to randomness.
//!
//! Xoshiro256++ (Blackman and Vigna, 2019): 256 bits of state, a nanosecond a draw, good enough for sampling keys and
//! picking members, and not for secrets. Each thread has its own generator, seeded from the operating system, so no
//! draw touches shared memory. What must replay takes a [`Rng`] built with [`Rng::new`] from a seed.

use std::cell::RefCell;
use std::hash::{BuildHasher, RandomState};
use std::io::Read;

/// A seedable generator; the same seed gives the same draws on every machine.
#[derive(Clone, Debug)]
pub struct Rng {
    s: [u64; 4],
}

impl Rng {
    /// A generator whose state is spread from `seed` by SplitMix64, as the authors recommend.
    pub fn new(seed: u64) -> Rng {
        let mut x = seed;
        let mut next = || {
            x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = x;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        Rng { s: [next(), next(), next(), next()] }
    }

    /// A generator seeded by the operating system.
    pub fn from_os() -> Rng {
        Rng::new(seed_from_os())
    }

    /// The next 64 uniform bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.s;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A number below `n`, without bias (Lemire's multiply and reject); zero when `n` is zero.
    #[inline]
    pub fn below(&mut self, n: u64) -> u64 {
        let mut m = u128::from(self.next_u64()) * u128::from(n);
        if (m as u64) < n {
            let threshold = n.wrapping_neg() % n;
            while (m as u64) < threshold {
                m = u128::from(self.next_u64()) * u128::from(n);
            }
        }
        (m >> 64) as u64
    }

    /// A float in `[0, 1)` with 53 random bits.
    pub fn unit_f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Fill `out` with random bytes.
    pub fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            chunk.copy_from_slice(&self.next_u64().to_le_bytes()[..chunk.len()]);
        }
    }
}

thread_local! {
    static LOCAL: RefCell<Rng> = RefCell::new(Rng::from_os());
}

/// Run `f` on this thread's generator: one look-up for many draws.
pub fn with<T>(f: impl FnOnce(&mut Rng) -> T) -> T {
    LOCAL.with_borrow_mut(f)
}

/// 64 uniform bits from this thread's generator.
pub fn next_u64() -> u64 {
    with(Rng::next_u64)
}

/// A number below `n` from this thread's generator; zero when `n` is zero.
pub fn below(n: u64) -> u64 {
    with(|rng| rng.below(n))
}

/// Fill `out` from this thread's generator.
pub fn fill(out: &mut [u8]) {
    with(|rng| rng.fill(out));
}

/// Fill `out` with random bytes that nobody can guess, straight from the operating system.
pub fn secret(out: &mut [u8]) -> std::io::Result<()> {
    std::fs::File::open("/dev/urandom")?.read_exact(out)
}

/// Restart this thread's generator from `seed`, so that what follows replays.
pub fn reseed(seed: u64) {
    LOCAL.set(Rng::new(seed));
}

/// 64 bits of the operating system's entropy.
pub fn seed_from_os() -> u64 {
    let mut seed = [0; 8];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut seed));
    match read {
        Ok(()) => u64::from_le_bytes(seed),
        // A chroot without /dev: the standard library's hasher keys come from getrandom.
        Err(_) => RandomState::new().hash_one(std::process::id()),
    }
}

/// Forty lower-case hex digits straight from the operating system: a run id, a replication id, a node id.
pub fn hex_id() -> String {
    let words = [seed_from_os(), seed_from_os(), seed_from_os()];
    let mut id: String = words.iter().map(|word| format!("{word:016x}")).collect();
    id.truncate(40);
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_of_a_known_state_is_the_published_one() {
        // Reference values of xoshiro256plusplus.c for the state 1, 2, 3, 4.
        let mut rng = Rng { s: [1, 2, 3, 4] };
        assert_eq!(rng.next_u64(), 41_943_041);
        assert_eq!(rng.next_u64(), 58_720_359);
        assert_eq!(rng.next_u64(), 3_588_806_011_781_223);
    }

    #[test]
    fn the_same_seed_draws_the_same_numbers() {
        let (mut a, mut b) = (Rng::new(7), Rng::new(7));
        assert!((0..100).all(|_| a.next_u64() == b.next_u64()));
        reseed(9);
        let first = next_u64();
        reseed(9);
        assert_eq!(first, next_u64());
    }

    #[test]
    fn below_stays_below_and_reaches_every_value_evenly() {
        let mut rng = Rng::new(1);
        let mut seen = [0u32; 7];
        for _ in 0..70_000 {
            seen[rng.below(7) as usize] += 1;
        }
        assert!(seen.iter().all(|&n| (9_500..10_500).contains(&n)), "{seen:?}");
        assert_eq!(rng.below(1), 0);
        assert_eq!(rng.below(0), 0);
        assert!((0..1000).all(|_| rng.below(u64::MAX) < u64::MAX));
        assert!((0..1000).all(|_| (0.0..1.0).contains(&rng.unit_f64())));
    }

    #[test]
    fn fill_covers_lengths_that_are_no_multiple_of_eight() {
        let mut out = [0; 1003];
        fill(&mut out);
        assert!(out[1000..].iter().any(|&b| b != 0) || out[992..].iter().any(|&b| b != 0));
    }

    #[test]
    fn hex_ids_have_forty_digits_and_differ() {
        let (a, b) = (hex_id(), hex_id());
        assert_eq!(a.len(), 40);
        assert!(a.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c)));
        assert_ne!(a, b);
    }
}
