//! Commands on HyperLogLogs, which are strings with a form of their own.

pub mod debug;
pub mod pf;

use super::{Command, Ctx};
use crate::keyspace::{Ttl, Value};
use crate::resp::Error;
use crate::types::hll::{self, Bad};

/// All of them.
pub const COMMANDS: &[&Command] = &[&pf::PFADD, &pf::PFCOUNT, &debug::PFDEBUG, &pf::PFMERGE, &debug::PFSELFTEST];

impl From<Bad> for Error {
    fn from(bad: Bad) -> Error {
        match bad {
            Bad::Foreign => Error::new("WRONGTYPE Key is not a valid HyperLogLog string value."),
            Bad::Corrupt => Error::new("INVALIDOBJ Corrupted HLL object detected"),
        }
    }
}

/// The bytes of the HyperLogLog at a key, to read.
fn read<R>(cx: &mut Ctx<'_>, key: &[u8], f: impl FnOnce(&[u8]) -> Result<R, Bad>) -> Result<Option<R>, Error> {
    let mut scratch = itoa::Buffer::new();
    let Some(text) = cx.db.text(key)? else { return Ok(None) };
    let bytes = text.bytes(&mut scratch);
    hll::check(bytes)?;
    Ok(Some(f(bytes)?))
}

/// Changes the HyperLogLog at a key, which is made if there is none. Also whether it was made.
fn edit<R>(cx: &mut Ctx<'_>, key: &[u8], f: impl FnOnce(&mut Vec<u8>) -> Result<R, Bad>) -> Result<(R, bool), Error> {
    let mut scratch = itoa::Buffer::new();
    let there = match cx.db.peek(key) {
        None => false,
        Some(e) => {
            let text = e.text().ok_or(Error::WRONGTYPE)?;
            let bytes = text.bytes(&mut scratch);
            hll::check(bytes)?;
            true
        }
    };
    if !there {
        let mut bytes = hll::new();
        let result = f(&mut bytes)?;
        cx.db.set_value(key, Value::Raw(bytes), Ttl::Clear);
        return Ok((result, true));
    }
    match cx.db.edit_text(key, f)? {
        Some(result) => Ok((result?, false)),
        None => Err(Error::NO_KEY),
    }
}
