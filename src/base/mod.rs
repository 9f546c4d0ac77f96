//! The ground floor: clock, randomness, glob matching, hashing, number formatting, the allocator.
