//! Cutting a stream of bytes into packets.

use super::{HEADER, Invalid, Kind, LIGHT, LIGHT_HEADER, SIGNATURE};

/// How many bytes tell how long a packet is: signature, length, version, port, type.
pub const PREFIX: usize = 14;

/// The most that a packet other than a published message may have: a header, 65,535 gossip entries, extensions.
pub const CONTROL_LIMIT: usize = 16 << 20;

/// What a reader has to do next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Need {
    /// Read until there are so many bytes. While a packet's prefix is missing, that is the prefix.
    Bytes(usize),
    /// So many bytes are a packet.
    Packet(usize),
}

/// The type of a packet by its prefix, without what says how its header is.
pub fn kind(packet: &[u8]) -> Option<u16> {
    let prefix = packet.first_chunk::<PREFIX>()?;
    Some(u16::from_be_bytes([prefix[12], prefix[13]]) & !LIGHT)
}

/// How far `buffer`, which starts where a packet starts, is from holding it.
///
/// `limit` bounds published messages; other packets have their own bound. Do not allocate what [`Need::Bytes`] says:
/// anybody may claim a length. Let the buffer grow with what arrives.
///
/// # Errors
/// When what comes is no packet, or a longer one than is allowed: close the link.
pub fn need(buffer: &[u8], limit: usize) -> Result<Need, Invalid> {
    let mismatch = buffer.iter().zip(&SIGNATURE).any(|(a, b)| a != b);
    if mismatch {
        return Err(Invalid::Signature);
    }
    let Some(prefix) = buffer.first_chunk::<PREFIX>() else {
        return Ok(Need::Bytes(PREFIX));
    };
    let [_, _, _, _, a, b, c, d, _, _, _, _, high, low] = *prefix;
    let total = u32::from_be_bytes([a, b, c, d]) as usize;
    let kind = u16::from_be_bytes([high, low]);
    let least = if kind & LIGHT != 0 { LIGHT_HEADER } else { HEADER };
    let is_message = kind & !LIGHT == Kind::Publish as u16 || kind & !LIGHT == Kind::PublishShard as u16;
    let most = if is_message { limit } else { CONTROL_LIMIT };
    if total < least || total > most {
        return Err(Invalid::Length);
    }
    Ok(if buffer.len() >= total { Need::Packet(total) } else { Need::Bytes(total) })
}
