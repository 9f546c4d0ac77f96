//! The long header of a packet. The layout is drawn in the module above.

use super::read::{ADDRESS, Reader, in_address, put_address, text};
use super::{HEADER, Kind, SIGNATURE, VERSION};
use crate::cluster::{Flags, NodeId, SlotSet, State};

/// What is to be known about a message, one bit each.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct MessageFlags(pub u8);

impl MessageFlags {
    /// The sender is a primary that paused writes for a manual failover.
    pub const PAUSED: MessageFlags = MessageFlags(1 << 0);
    /// Vote even if the primary is well: a manual failover.
    pub const FORCE_ACK: MessageFlags = MessageFlags(1 << 1);
    /// The sender knows extensions; some may follow the gossip.
    pub const EXTENSIONS: MessageFlags = MessageFlags(1 << 2);

    /// Whether any of `other`'s flags is set.
    pub fn has(self, other: MessageFlags) -> bool {
        self.0 & other.0 != 0
    }

    /// Set `other`'s flags.
    pub fn add(&mut self, other: MessageFlags) {
        self.0 |= other.0;
    }
}

/// Who sends, and what it stands for.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a> {
    /// The type of the packet.
    pub kind: Kind,
    /// The port for clients; with TLS on the bus the one for TLS.
    pub port: u16,
    /// The other port for clients; 0: none.
    pub other_port: u16,
    /// The port of the bus.
    pub bus_port: u16,
    /// The greatest epoch that the sender saw.
    pub current_epoch: u64,
    /// The epoch of the configuration of the sender, or of its primary.
    pub config_epoch: u64,
    /// The offset in the replication stream that it reached.
    pub offset: u64,
    /// Its id.
    pub sender: NodeId,
    /// The slots of the sender, or of its primary.
    pub slots: &'a [u8; SlotSet::BITMAP],
    /// The primary that it follows; none: it is one.
    pub primary: Option<NodeId>,
    /// The address that it announces; empty: take the one that it comes from.
    pub ip: &'a str,
    /// Its flags.
    pub flags: Flags,
    /// Whether the cluster serves, as it sees it.
    pub state: State,
    /// Flags of the message.
    pub message_flags: MessageFlags,
}

/// How much of what comes behind the header.
pub(super) struct Counts {
    pub(super) gossip: u16,
    pub(super) extensions: u16,
}

/// Read a header whose signature, version and type were looked at.
pub(super) fn decode(bytes: &[u8]) -> Option<(Header<'_>, Counts)> {
    let mut from = Reader::new(bytes);
    from.take(10)?;
    let port = from.u16()?;
    let kind = Kind::from_wire(from.u16()?)?;
    let gossip = from.u16()?;
    let current_epoch = from.u64()?;
    let config_epoch = from.u64()?;
    let offset = from.u64()?;
    let sender = NodeId::from_wire(*from.array()?);
    let slots = from.array()?;
    let primary = NodeId::from_wire(*from.array()?);
    let ip = text(from.array::<ADDRESS>()?, in_address);
    let extensions = from.u16()?;
    from.take(30)?;
    let other_port = from.u16()?;
    let bus_port = from.u16()?;
    let flags = Flags(from.u16()?);
    let state = if from.u8()? == 0 { State::Ok } else { State::Fail };
    let [first, _, _] = *from.array::<3>()?;
    let header = Header {
        kind,
        port,
        other_port,
        bus_port,
        current_epoch,
        config_epoch,
        offset,
        sender,
        slots,
        primary: (!primary.is_null()).then_some(primary),
        ip,
        flags,
        state,
        message_flags: MessageFlags(first),
    };
    Some((header, Counts { gossip, extensions }))
}

impl Header<'_> {
    /// Append the header of a packet of `total` bytes.
    pub(super) fn encode(&self, out: &mut Vec<u8>, total: usize, gossip: u16, extensions: u16) {
        let start = out.len();
        out.extend_from_slice(&SIGNATURE);
        out.extend_from_slice(&(total as u32).to_be_bytes());
        for number in [VERSION, self.port, self.kind as u16, gossip] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        for number in [self.current_epoch, self.config_epoch, self.offset] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(self.sender.as_bytes());
        out.extend_from_slice(self.slots);
        out.extend_from_slice(self.primary.unwrap_or(NodeId::NULL).as_bytes());
        put_address(out, self.ip);
        out.extend_from_slice(&extensions.to_be_bytes());
        out.resize(out.len() + 30, 0);
        for number in [self.other_port, self.bus_port, self.flags.0] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.push(u8::from(self.state == State::Fail));
        out.extend_from_slice(&[self.message_flags.0, 0, 0]);
        debug_assert_eq!(out.len() - start, HEADER);
    }
}
