//! The ground floor: clock, randomness, glob matching, hashing, number formatting, the allocator.
//!
//! Everything here is free of Dunlin's own ideas (no key, slot table, command or connection), so every layer may use
//! it. Two doors stand in this module and nowhere else: time is read through [`clock`], randomness drawn from [`rng`].

pub mod alloc;
pub mod clock;
pub mod coroutine;
pub mod cpus;
pub mod crc64;
pub mod glob;
pub mod long_double;
pub mod num;
pub mod os;
pub mod rng;
pub mod siphash;
pub mod slot;
pub mod sync;
pub mod title;
