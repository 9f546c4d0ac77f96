//! Commands on strings.

pub mod append;
pub mod get;
pub mod incr;
pub mod lcs;
pub mod mset;
pub mod range;
pub mod set;

use super::{Command, Ctx};
use crate::base::os;
use crate::keyspace::EntryRef;
use crate::keyspace::Text;
use crate::resp::{Error, Out};

/// All of them.
pub const COMMANDS: &[&Command] = &[
    &append::APPEND,
    &incr::DECR,
    &incr::DECRBY,
    &get::DELIFEQ,
    &get::GET,
    &get::GETDEL,
    &get::GETEX,
    &range::GETRANGE,
    &set::GETSET,
    &incr::INCR,
    &incr::INCRBY,
    &incr::INCRBYFLOAT,
    &lcs::LCS,
    &mset::MGET,
    &mset::MSET,
    &mset::MSETEX,
    &mset::MSETNX,
    &set::PSETEX,
    &set::SET,
    &set::SETEX,
    &set::SETNX,
    &range::SETRANGE,
    &range::STRLEN,
    &range::SUBSTR,
];

/// Strings from this length on are sent from where they are.
const SHARE_FROM: usize = 32 << 10;

/// Replies with a string.
#[inline]
fn reply(out: &mut Out, text: Text<'_>) {
    match text {
        Text::Bytes(b) => out.bulk(b),
        Text::Int(n) => out.bulk_int(n),
    }
}
/// Replies with the string of an entry; a long one is not copied.
#[inline]
fn reply_entry(out: &mut Out, e: EntryRef<'_>) -> Result<(), Error> {
    let text = e.text().ok_or(Error::WRONGTYPE)?;
    if let Text::Bytes(b) = text
        && b.len() >= SHARE_FROM
        && let Some(shared) = e.share_blob()
    {
        out.bulk_shared(shared);
        return Ok(());
    }
    reply(out, text);
    Ok(())
}

/// A string may not grow beyond `proto-max-bulk-len`, whatever that is beyond the machine's memory.
fn check_length(cx: &Ctx<'_>, len: usize, add: usize) -> Result<(), Error> {
    let max = cx.config().proto_max_bulk_len();
    match len.checked_add(add) {
        Some(total) if (total <= max || cx.session.internal) && !os::exceeds_memory(total) => Ok(()),
        _ => Err(Error::new("ERR string exceeds maximum allowed size (proto-max-bulk-len)")),
    }
}
