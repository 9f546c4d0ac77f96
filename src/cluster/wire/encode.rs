//! Writing packets. The length goes into the header first, so each packet is built by one pass and one allocation.

use super::gossip::SIZE;
use super::{Entry, Extension, HEADER, Header, Kind, LIGHT, LIGHT_HEADER, MessageFlags, SIGNATURE, VERSION};
use crate::cluster::{NodeId, SlotSet};

/// A PING, PONG or MEET. More than 65,535 entries or extensions are cut.
pub fn ping(mut header: Header<'_>, gossip: &[Entry<'_>], extensions: &[Extension<'_>]) -> Vec<u8> {
    let most = usize::from(u16::MAX);
    let gossip = &gossip[..gossip.len().min(most)];
    let extensions = &extensions[..extensions.len().min(most)];
    let mut tail = Vec::with_capacity(extensions.len() * 64);
    for extension in extensions {
        extension.encode(&mut tail);
    }
    // Set without extensions too: it says that this node reads them.
    header.message_flags.add(MessageFlags::EXTENSIONS);
    let total = HEADER + gossip.len() * SIZE + tail.len();
    let mut out = Vec::with_capacity(total);
    header.encode(&mut out, total, gossip.len() as u16, extensions.len() as u16);
    for entry in gossip {
        entry.encode(&mut out);
    }
    out.extend_from_slice(&tail);
    out
}

/// A packet that is a header only: AUTH_REQUEST, AUTH_ACK, MFSTART.
pub fn bare(header: &Header<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER);
    header.encode(&mut out, HEADER, 0, 0);
    out
}

/// A FAIL about `node`.
pub fn fail(header: &Header<'_>, node: &NodeId) -> Vec<u8> {
    let total = HEADER + NodeId::LEN;
    let mut out = Vec::with_capacity(total);
    header.encode(&mut out, total, 0, 0);
    out.extend_from_slice(node.as_bytes());
    out
}

/// An UPDATE: `node` owns `slots` since `epoch`.
pub fn update(header: &Header<'_>, node: &NodeId, epoch: u64, slots: &SlotSet) -> Vec<u8> {
    let total = HEADER + 8 + NodeId::LEN + SlotSet::BITMAP;
    let mut out = Vec::with_capacity(total);
    header.encode(&mut out, total, 0, 0);
    out.extend_from_slice(&epoch.to_be_bytes());
    out.extend_from_slice(node.as_bytes());
    let mut bitmap = [0; SlotSet::BITMAP];
    slots.write_bitmap(&mut bitmap);
    out.extend_from_slice(&bitmap);
    out
}

/// A PUBLISH or PUBLISHSHARD with the long header.
pub fn publish(header: &Header<'_>, channel: &[u8], message: &[u8]) -> Vec<u8> {
    let total = HEADER + 8 + channel.len() + message.len();
    let mut out = Vec::with_capacity(total);
    header.encode(&mut out, total, 0, 0);
    put_message(&mut out, channel, message);
    out
}

/// A PUBLISH or PUBLISHSHARD with the short header.
pub fn publish_light(kind: Kind, channel: &[u8], message: &[u8]) -> Vec<u8> {
    let total = LIGHT_HEADER + 8 + channel.len() + message.len();
    let mut out = Vec::with_capacity(total);
    out.extend_from_slice(&SIGNATURE);
    out.extend_from_slice(&(total as u32).to_be_bytes());
    for number in [VERSION, 0, kind as u16 | LIGHT, 0] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    put_message(&mut out, channel, message);
    out
}

fn put_message(out: &mut Vec<u8>, channel: &[u8], message: &[u8]) {
    out.extend_from_slice(&(channel.len() as u32).to_be_bytes());
    out.extend_from_slice(&(message.len() as u32).to_be_bytes());
    out.extend_from_slice(channel);
    out.extend_from_slice(message);
}
