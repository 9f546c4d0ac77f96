//! Extensions of a ping: what a node tells of itself beyond the header.
//!
//! ```text
//! 0  4  length, this head included, a multiple of 8
//! 4  2  type
//! 6  2  zeros
//! 8  -  text with a zero byte behind it; or an id (and, for a forgotten node, 8 bytes: seconds)
//! ```
//!
//! Extensions are sent only to nodes that showed that they know them. Unknown types are skipped.

use super::Invalid;
use super::read::{Reader, in_address, in_hostname, in_nodename, text};
use crate::cluster::NodeId;

/// The length of an extension's head.
const HEAD: usize = 8;

/// One of the things that a node tells of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extension<'a> {
    /// `cluster-announce-hostname`.
    Hostname(&'a str),
    /// `cluster-announce-human-nodename`.
    HumanNodename(&'a str),
    /// A node that CLUSTER FORGET removed.
    Forgotten {
        /// Its id.
        id: NodeId,
        /// For how many seconds more it is not to be taken in again.
        ttl: u64,
    },
    /// The shard to which the sender belongs.
    ShardId(NodeId),
    /// `cluster-announce-client-ipv4`.
    ClientIpv4(&'a str),
    /// `cluster-announce-client-ipv6`.
    ClientIpv6(&'a str),
    /// Something of a type that is not known here.
    Unknown(u16),
}

impl<'a> Extension<'a> {
    fn read(kind: u16, body: &'a [u8]) -> Option<Extension<'a>> {
        let mut from = Reader::new(body);
        Some(match kind {
            0 => Extension::Hostname(text(body, in_hostname)),
            1 => Extension::HumanNodename(text(body, in_nodename)),
            2 => {
                let id = NodeId::from_wire(*from.array()?);
                Extension::Forgotten { id, ttl: from.u64()? }
            }
            3 => Extension::ShardId(NodeId::from_wire(*from.array()?)),
            4 => Extension::ClientIpv4(text(body, in_address)),
            5 => Extension::ClientIpv6(text(body, in_address)),
            _ => Extension::Unknown(kind),
        })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; HEAD]);
        let kind: u16 = match *self {
            Extension::Hostname(name) => put_text(out, 0, name),
            Extension::HumanNodename(name) => put_text(out, 1, name),
            Extension::Forgotten { id, ttl } => {
                out.extend_from_slice(id.as_bytes());
                out.extend_from_slice(&ttl.to_be_bytes());
                2
            }
            Extension::ShardId(id) => {
                out.extend_from_slice(id.as_bytes());
                3
            }
            Extension::ClientIpv4(ip) => put_text(out, 4, ip),
            Extension::ClientIpv6(ip) => put_text(out, 5, ip),
            Extension::Unknown(kind) => kind,
        };
        out.resize(start + (out.len() - start).next_multiple_of(8), 0);
        let len = (out.len() - start) as u32;
        out[start..start + 4].copy_from_slice(&len.to_be_bytes());
        out[start + 4..start + 6].copy_from_slice(&kind.to_be_bytes());
    }
}

fn put_text(out: &mut Vec<u8>, kind: u16, value: &str) -> u16 {
    out.extend_from_slice(value.as_bytes());
    out.push(0);
    kind
}

/// The extensions of a packet, read one by one.
#[derive(Clone, Copy, Debug)]
pub struct Extensions<'a>(&'a [u8]);

impl<'a> Extensions<'a> {
    /// Those that `bytes` holds, which must be `count`, with nothing behind them.
    pub(super) fn check(bytes: &'a [u8], count: u16) -> Result<Extensions<'a>, Invalid> {
        let mut at = bytes;
        for _ in 0..count {
            let (kind, body, rest) = split(at).ok_or(Invalid::Extension)?;
            Extension::read(kind, body).ok_or(Invalid::Extension)?;
            at = rest;
        }
        if at.is_empty() { Ok(Extensions(bytes)) } else { Err(Invalid::Length) }
    }

    /// The extensions in their order.
    pub fn iter(&self) -> impl Iterator<Item = Extension<'a>> + use<'a> {
        let mut at = self.0;
        std::iter::from_fn(move || {
            let (kind, body, rest) = split(at)?;
            at = rest;
            Extension::read(kind, body)
        })
    }
}

/// The first extension's type and body, and what comes behind it.
fn split(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let mut head = Reader::new(bytes);
    let len = usize::try_from(head.u32()?).ok()?;
    let kind = head.u16()?;
    if len < HEAD || len % 8 != 0 {
        return None;
    }
    let (whole, rest) = bytes.split_at_checked(len)?;
    Some((kind, whole.get(HEAD..)?, rest))
}
