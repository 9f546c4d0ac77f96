//! Any bytes to the request decoder: it never panics, cuts do not matter, and it agrees with redis-protocol.
#![no_main]

#[path = "../../tests/support/decoder.rs"]
mod decoder;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (Vec<u8>, Vec<u16>)| {
    let cuts: Vec<usize> = input.1.iter().take(16).map(|&cut| usize::from(cut)).collect();
    decoder::check(&input.0, &cuts);
});
