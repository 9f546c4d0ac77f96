//! A gossip entry: what the sender of a ping knows of a third node. 104 bytes:
//!
//! ```text
//!  0  40  id                                     94  2  port for clients
//! 40   4  when it was pinged, Unix seconds       96  2  port of the bus
//! 44   4  when it answered, Unix seconds         98  2  flags
//! 48  46  address                               100  2  the other port for clients
//!                                               102  2  zeros
//! ```

use super::read::{ADDRESS, Reader, in_address, put_address, text};
use crate::cluster::{Flags, NodeId};

/// The length of an entry.
pub const SIZE: usize = 104;

/// What somebody knows of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry<'a> {
    /// Its id.
    pub id: NodeId,
    /// When it was pinged and did not answer yet, in Unix seconds; 0: no ping is open.
    pub ping_sent: u32,
    /// When it last answered, in Unix seconds.
    pub pong_received: u32,
    /// Its address.
    pub ip: &'a str,
    /// The port for clients; with TLS on the bus the one for TLS.
    pub port: u16,
    /// The port of the bus.
    pub bus_port: u16,
    /// Its flags, as the teller sees them.
    pub flags: Flags,
    /// The other port for clients; 0: none.
    pub other_port: u16,
}

impl<'a> Entry<'a> {
    fn read(bytes: &'a [u8]) -> Option<Entry<'a>> {
        let mut from = Reader::new(bytes);
        Some(Entry {
            id: NodeId::from_wire(*from.array()?),
            ping_sent: from.u32()?,
            pong_received: from.u32()?,
            ip: text(from.array::<ADDRESS>()?, in_address),
            port: from.u16()?,
            bus_port: from.u16()?,
            flags: Flags(from.u16()?),
            other_port: from.u16()?,
        })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.id.as_bytes());
        out.extend_from_slice(&self.ping_sent.to_be_bytes());
        out.extend_from_slice(&self.pong_received.to_be_bytes());
        put_address(out, self.ip);
        for number in [self.port, self.bus_port, self.flags.0, self.other_port, 0] {
            out.extend_from_slice(&number.to_be_bytes());
        }
    }
}

/// The entries of a packet, read one by one.
#[derive(Clone, Copy, Debug)]
pub struct Entries<'a>(&'a [u8]);

impl<'a> Entries<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Entries<'a> {
        Entries(bytes)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len() / SIZE
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The entries in their order.
    pub fn iter(&self) -> impl Iterator<Item = Entry<'a>> + use<'a> {
        self.0.chunks_exact(SIZE).filter_map(Entry::read)
    }
}
