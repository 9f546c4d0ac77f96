//! Packets of the cluster bus: cut from a stream, decoded, and handled by a node that knows the sender.
#![no_main]

use dunlin::cluster::wire::{self, Body, frame};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut at = bytes;
    while let Ok(frame::Need::Packet(len)) = frame::need(at, 1 << 20) {
        if let Ok(packet) = wire::decode(&at[..len])
            && let Body::Ping { gossip, extensions } = packet.body
        {
            gossip.iter().for_each(drop);
            extensions.iter().for_each(drop);
        }
        at = &at[len..];
    }
});
