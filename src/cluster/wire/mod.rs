//! The packets of the cluster bus, version 1: byte for byte those of Redis 7 and Valkey.
//!
//! A packet has a header of 2,256 bytes and a body; numbers are big-endian. The header repeats who the sender is, where
//! it lives, which slots its shard owns and under which epoch, so every packet teaches the receiver all of that.
//!
//! ```text
//! offset  size  header                            offset  size  header
//!      0     4  signature "RCmb"                    2128    40  the sender's primary, zeros: it is one
//!      4     4  length of the packet                2168    46  announced address, or empty
//!      8     2  version: 1                          2214     2  number of extensions
//!     10     2  port for clients                    2216    30  zeros
//!     12     2  type                                2246     2  the other port for clients (TLS or not)
//!     14     2  number of gossip entries            2248     2  port of the bus
//!     16     8  the sender's current epoch          2250     2  the sender's flags
//!     24     8  epoch of its configuration          2252     1  state of the cluster: 0 ok, 1 fail
//!     32     8  its replication offset              2253     3  flags of the message
//!     40    40  its id                              2256     -  body, by type
//!     80  2048  bitmap of its shard's slots
//!
//! body of     PING, PONG, MEET      gossip entries (104 bytes each), then extensions (multiples of 8)
//!             FAIL                  40: the node that failed
//!             PUBLISH, PUBLISHSHARD 4: length of the channel, 4: of the message, then both
//!             UPDATE                8: epoch, 40: node, 2048: its slots
//!             MODULE                8: module, 4: length, 1: type, payload
//!             AUTH_REQUEST, AUTH_ACK, MFSTART   nothing
//! ```
//!
//! Nodes that say that they can read it get published messages with a short header, 16 bytes, and the type's highest
//! bit set. [`frame`] cuts a stream into packets, [`decode`] reads one without copying, [`encode`] writes.
//! Nothing in here can panic on foreign bytes or allocate by a length that they claim.

mod encode;
pub mod ext;
pub mod frame;
pub mod gossip;
mod header;
mod read;

pub use encode::{bare, fail, ping, publish, publish_light, update};
pub use ext::{Extension, Extensions};
pub use gossip::{Entries, Entry};
pub use header::{Header, MessageFlags};

use super::{NodeId, SlotSet};
use read::Reader;

/// What a packet is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u16)]
pub enum Kind {
    /// Are you there? With gossip.
    Ping = 0,
    /// Yes; or news for everybody.
    Pong = 1,
    /// A ping that asks to be taken into the cluster.
    Meet = 2,
    /// A majority gave a node up.
    Fail = 3,
    /// A message to a channel.
    Publish = 4,
    /// A replica asks for a vote.
    AuthRequest = 5,
    /// A vote.
    AuthAck = 6,
    /// Somebody else owns slots that the receiver claims.
    Update = 7,
    /// A replica asks its primary to pause writes for a manual failover.
    MfStart = 8,
    /// Of a module of Redis.
    Module = 9,
    /// A message to a channel of one shard.
    PublishShard = 10,
}

impl Kind {
    /// All kinds, by number.
    pub const ALL: [Kind; 11] = [
        Kind::Ping,
        Kind::Pong,
        Kind::Meet,
        Kind::Fail,
        Kind::Publish,
        Kind::AuthRequest,
        Kind::AuthAck,
        Kind::Update,
        Kind::MfStart,
        Kind::Module,
        Kind::PublishShard,
    ];

    /// The kind of this number.
    pub fn from_wire(number: u16) -> Option<Kind> {
        Kind::ALL.get(usize::from(number)).copied()
    }

    /// The name in CLUSTER INFO and in logs.
    pub fn name(self) -> &'static str {
        super::Stats::NAMES[self as usize]
    }
}

/// The bit of the type that says that the header is short.
pub const LIGHT: u16 = 0x8000;
/// The signature of a packet.
pub const SIGNATURE: [u8; 4] = *b"RCmb";
/// The version that is spoken.
pub const VERSION: u16 = 1;
/// The length of the header.
pub const HEADER: usize = 2256;
/// The length of the short header.
pub const LIGHT_HEADER: usize = 16;

/// Why a packet is not one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Invalid {
    /// The signature is another.
    Signature,
    /// It is longer or shorter than its type and counts say.
    Length,
    /// It is of another version of the protocol.
    Version(u16),
    /// There is no such type, or not with a short header.
    Kind(u16),
    /// An extension is not of its length.
    Extension,
    /// The sender's id is none.
    Sender,
}

impl std::fmt::Display for Invalid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Invalid::Signature => f.write_str("bad signature"),
            Invalid::Length => f.write_str("length does not match the content"),
            Invalid::Version(version) => write!(f, "version {version} of the bus protocol is not supported"),
            Invalid::Kind(kind) => write!(f, "unknown packet type {kind}"),
            Invalid::Extension => f.write_str("malformed ping extension"),
            Invalid::Sender => f.write_str("the sender has no valid id"),
        }
    }
}

impl std::error::Error for Invalid {}

/// A packet, read in place.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// What it is for.
    pub kind: Kind,
    /// Who sent it; none with a short header, where the link tells.
    pub header: Option<Header<'a>>,
    /// What it says.
    pub body: Body<'a>,
}

/// What a packet says.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// PING, PONG, MEET.
    Ping {
        /// What the sender knows of others.
        gossip: Entries<'a>,
        /// What else it tells of itself.
        extensions: Extensions<'a>,
    },
    /// FAIL: this node failed.
    Fail(NodeId),
    /// PUBLISH and PUBLISHSHARD.
    Publish {
        /// The channel.
        channel: &'a [u8],
        /// The message.
        message: &'a [u8],
    },
    /// UPDATE.
    Update {
        /// The epoch under which the node owns the slots.
        epoch: u64,
        /// The owner.
        node: NodeId,
        /// The bitmap of its slots.
        slots: &'a [u8; SlotSet::BITMAP],
    },
    /// MODULE: nothing here has use for it.
    Module {
        /// Which module.
        id: u64,
        /// Its own type.
        kind: u8,
        /// Its bytes.
        payload: &'a [u8],
    },
    /// AUTH_REQUEST, AUTH_ACK, MFSTART: the header says everything.
    Bare,
}

/// Read the packet that `bytes` is, from its first byte to its last.
///
/// # Errors
/// If it is no packet of version 1, or its length is not what its parts add up to.
pub fn decode(bytes: &[u8]) -> Result<Packet<'_>, Invalid> {
    let mut start = Reader::new(bytes);
    let signature = start.array::<4>().ok_or(Invalid::Length)?;
    if *signature != SIGNATURE {
        return Err(Invalid::Signature);
    }
    let total = start.u32().ok_or(Invalid::Length)?;
    let version = start.u16().ok_or(Invalid::Length)?;
    start.u16().ok_or(Invalid::Length)?;
    let number = start.u16().ok_or(Invalid::Length)?;
    if usize::try_from(total) != Ok(bytes.len()) {
        return Err(Invalid::Length);
    }
    if version != VERSION {
        return Err(Invalid::Version(version));
    }
    let kind = Kind::from_wire(number & !LIGHT).ok_or(Invalid::Kind(number))?;
    if number & LIGHT != 0 {
        if !matches!(kind, Kind::Publish | Kind::PublishShard) {
            return Err(Invalid::Kind(number));
        }
        let mut body = Reader::new(bytes.get(LIGHT_HEADER..).ok_or(Invalid::Length)?);
        return Ok(Packet { kind, header: None, body: read_publish(&mut body)? });
    }
    let (header, counts) = header::decode(bytes).ok_or(Invalid::Length)?;
    if !header.sender.is_valid() {
        return Err(Invalid::Sender);
    }
    let mut rest = Reader::new(bytes.get(HEADER..).ok_or(Invalid::Length)?);
    let body = match kind {
        Kind::Ping | Kind::Pong | Kind::Meet => {
            let entries = rest.take(usize::from(counts.gossip) * gossip::SIZE).ok_or(Invalid::Length)?;
            let extensions = if header.message_flags.has(MessageFlags::EXTENSIONS) { counts.extensions } else { 0 };
            let extensions = Extensions::check(rest.rest(), extensions)?;
            Body::Ping { gossip: Entries::new(entries), extensions }
        }
        Kind::Fail => {
            let node = NodeId::from_wire(*rest.array().ok_or(Invalid::Length)?);
            rest.end()?;
            Body::Fail(node)
        }
        Kind::Publish | Kind::PublishShard => read_publish(&mut rest)?,
        Kind::Update => {
            let epoch = rest.u64().ok_or(Invalid::Length)?;
            let node = NodeId::from_wire(*rest.array().ok_or(Invalid::Length)?);
            let slots = rest.array().ok_or(Invalid::Length)?;
            rest.end()?;
            Body::Update { epoch, node, slots }
        }
        Kind::Module => {
            let id = rest.u64().ok_or(Invalid::Length)?;
            let len = rest.u32().ok_or(Invalid::Length)?;
            let kind = rest.u8().ok_or(Invalid::Length)?;
            let payload = rest.rest();
            if usize::try_from(len) != Ok(payload.len()) {
                return Err(Invalid::Length);
            }
            Body::Module { id, kind, payload }
        }
        Kind::AuthRequest | Kind::AuthAck | Kind::MfStart => {
            rest.end()?;
            Body::Bare
        }
    };
    Ok(Packet { kind, header: Some(header), body })
}

fn read_publish<'a>(body: &mut Reader<'a>) -> Result<Body<'a>, Invalid> {
    let channel = body.u32().ok_or(Invalid::Length)? as usize;
    let message = body.u32().ok_or(Invalid::Length)? as usize;
    let channel = body.take(channel).ok_or(Invalid::Length)?;
    let message = body.take(message).ok_or(Invalid::Length)?;
    body.end()?;
    Ok(Body::Publish { channel, message })
}

#[cfg(test)]
mod tests;
