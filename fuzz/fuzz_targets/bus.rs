//! Packets of the cluster bus: any bytes to the decoder, and packets that are nearly right to a node that knows the sender.
#![no_main]

#[path = "../../tests/support/bus.rs"]
mod bus;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| bus::run(input));
