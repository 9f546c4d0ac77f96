//! Commands on strings as rows of bits.

pub mod bit;
pub mod bitfield;
pub mod bitop;
pub mod count;

use super::{Command, Ctx};
use crate::base::{num, os};
use crate::keyspace::{Ttl, Value};
use crate::resp::Error;

/// All of them.
pub const COMMANDS: &[&Command] = &[
    &count::BITCOUNT,
    &bitfield::BITFIELD,
    &bitfield::BITFIELD_RO,
    &bitop::BITOP,
    &count::BITPOS,
    &bit::GETBIT,
    &bit::SETBIT,
];

/// The offset of a bit. `width`: `#n` means the n-th number of so many bits.
fn offset(cx: &Ctx<'_>, arg: &[u8], width: Option<u32>) -> Result<u64, Error> {
    let bad = || Error::new("ERR bit offset is not an integer or out of range");
    let n = match (arg, width) {
        ([b'#', rest @ ..], Some(width)) => num::parse_i64(rest).and_then(|n| n.checked_mul(i64::from(width))),
        _ => num::parse_i64(arg),
    };
    let n = n.and_then(|n| u64::try_from(n).ok()).ok_or_else(bad)?;
    let trusted = cx.session.internal || cx.session.primary || cx.session.replaying;
    if !trusted && n >> 3 >= cx.config().proto_max_bulk_len() as u64 || os::exceeds_memory((n >> 3) as usize) {
        return Err(bad());
    }
    Ok(n)
}

/// Changes the bytes of a string, which is made if there is none.
fn edit<R>(cx: &mut Ctx<'_>, key: &[u8], change: impl FnOnce(&mut Vec<u8>) -> R) -> Result<R, Error> {
    let there = match cx.db.peek(key) {
        None => false,
        Some(e) if e.text().is_none() => return Err(Error::WRONGTYPE),
        Some(_) => true,
    };
    if !there {
        let mut bytes = Vec::new();
        let result = change(&mut bytes);
        cx.db.set_value(key, Value::Raw(bytes), Ttl::Keep);
        return Ok(result);
    }
    match cx.db.edit_text(key, change)? {
        Some(result) => Ok(result),
        None => Err(Error::NO_KEY),
    }
}
