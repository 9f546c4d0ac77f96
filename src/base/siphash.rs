//! The key hash: SipHash-1-3 under a random key of the process.
//!
//! Clients choose the keys, so an unkeyed hash would let one of them put every key into one bucket; SipHash
//! (Aumasson and Bernstein, 2012) with one compression and three finalisation rounds is the variant that hash tables
//! use. It is written out here, and not taken from a crate, because keys are short: one call hashes one slice, reads
//! whole words, and takes the tail by overlapping loads, without a buffering state machine.
//!
//! The hash key lives in two atomics that are read relaxed (a plain load on every machine we run on). It starts as a
//! constant, so unit tests are deterministic; the server calls [`randomize`] before it makes its first table.

use super::rng;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

static K0: AtomicU64 = AtomicU64::new(0x0706_0504_0302_0100);
static K1: AtomicU64 = AtomicU64::new(0x0f0e_0d0c_0b0a_0908);
static KEYED: AtomicBool = AtomicBool::new(false);

/// Take a hash key from the operating system. To be called once, before anything is hashed for keeping: hashes made
/// under another key are worthless. A second call changes nothing.
pub fn randomize() {
    set_key(rng::seed_from_os(), rng::seed_from_os());
}

/// Fix the process's hash key; false (and no change) if it was set before.
pub fn set_key(k0: u64, k1: u64) -> bool {
    if KEYED.swap(true, Relaxed) {
        return false;
    }
    K0.store(k0, Relaxed);
    K1.store(k1, Relaxed);
    true
}

/// The hash of `key` under the process's hash key.
#[inline]
pub fn hash(key: &[u8]) -> u64 {
    hash_with(K0.load(Relaxed), K1.load(Relaxed), key)
}

/// SipHash-1-3 of `key` under the hash key (`k0`, `k1`).
#[inline]
pub fn hash_with(k0: u64, k1: u64, key: &[u8]) -> u64 {
    let mut v = State {
        v0: k0 ^ 0x736f_6d65_7073_6575,
        v1: k1 ^ 0x646f_7261_6e64_6f6d,
        v2: k0 ^ 0x6c79_6765_6e65_7261,
        v3: k1 ^ 0x7465_6462_7974_6573,
    };
    let (words, tail) = key.as_chunks::<8>();
    for word in words {
        v.compress(u64::from_le_bytes(*word));
    }
    v.compress(tail_word(key, tail) | (key.len() as u64) << 56);
    v.v2 ^= 0xff;
    v.round();
    v.round();
    v.round();
    v.v0 ^ v.v1 ^ v.v2 ^ v.v3
}

/// The up to seven bytes behind the last whole word, little-endian.
#[inline]
fn tail_word(key: &[u8], tail: &[u8]) -> u64 {
    if tail.is_empty() {
        return 0;
    }
    if let Some(last) = key.last_chunk::<8>() {
        // Overlaps bytes already taken; the shift drops them.
        return u64::from_le_bytes(*last) >> (8 * (8 - tail.len()));
    }
    if let (Some(first), Some(last)) = (tail.first_chunk::<4>(), tail.last_chunk::<4>()) {
        let high = u64::from(u32::from_le_bytes(*last));
        return u64::from(u32::from_le_bytes(*first)) | high << (8 * (tail.len() - 4));
    }
    tail.iter().rev().fold(0, |word, &b| word << 8 | u64::from(b))
}

struct State {
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
}

impl State {
    #[inline]
    fn compress(&mut self, word: u64) {
        self.v3 ^= word;
        self.round();
        self.v0 ^= word;
    }

    #[inline]
    fn round(&mut self) {
        self.v0 = self.v0.wrapping_add(self.v1);
        self.v2 = self.v2.wrapping_add(self.v3);
        self.v1 = self.v1.rotate_left(13) ^ self.v0;
        self.v3 = self.v3.rotate_left(16) ^ self.v2;
        self.v0 = self.v0.rotate_left(32);
        self.v2 = self.v2.wrapping_add(self.v1);
        self.v0 = self.v0.wrapping_add(self.v3);
        self.v1 = self.v1.rotate_left(17) ^ self.v2;
        self.v3 = self.v3.rotate_left(21) ^ self.v0;
        self.v2 = self.v2.rotate_left(32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use siphasher::sip::SipHasher13;
    use std::hash::Hasher;

    fn reference(k0: u64, k1: u64, key: &[u8]) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(k0, k1);
        hasher.write(key);
        hasher.finish()
    }

    #[test]
    fn every_short_length_agrees_with_the_reference() {
        let bytes: Vec<u8> = (0..100).collect();
        for len in 0..bytes.len() {
            assert_eq!(hash_with(1, 2, &bytes[..len]), reference(1, 2, &bytes[..len]), "length {len}");
        }
    }

    #[test]
    fn hashing_works_before_the_key_is_set() {
        assert_eq!(hash(b"key"), hash(b"key"));
        assert_ne!(hash(b"key"), hash(b"kez"));
    }

    proptest! {
        #[test]
        fn agrees_with_the_reference(k0: u64, k1: u64, key in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(hash_with(k0, k1, &key), reference(k0, k1, &key));
        }
    }
}
