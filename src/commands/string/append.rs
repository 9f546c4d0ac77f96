//! APPEND.

use super::super::collections::RW_INSERT;
use super::super::{CmdResult, Command, Ctx};
use super::check_length;
use crate::keyspace::{Ttl, Value, notify};
use crate::resp::Error;
use crate::spec::{Flags, Group, KeySpec, Meta};

/// `APPEND key value` <https://valkey.io/commands/append/>
pub static APPEND: Command = Command::new(
    Meta::new("append", 3, Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST), Group::String)
        .keys(const { &[KeySpec::one(1, RW_INSERT)] })
        .doc("2.0.0", "O(1) amortized.", "Adds to the end of the string at a key, which is empty if missing."),
    append,
);

fn append(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let (key, more) = (args[1], args[2]);
    let old = match cx.db.peek(key) {
        None => None,
        Some(e) => Some(e.text().ok_or(Error::WRONGTYPE)?.len()),
    };
    let len = match old {
        None => {
            cx.db.set_text(key, more, Ttl::Clear);
            more.len()
        }
        Some(old) => {
            check_length(cx, old, more.len())?;
            cx.db.edit_text(key, |text| text.extend_from_slice(more))?;
            old + more.len()
        }
    };
    cx.db.notify(notify::STRING, "append", key);
    cx.db.modified(key, 1);
    cx.out.len_int(len);
    Ok(())
}

/// Stores bytes as a string that was changed in place.
pub(super) fn store_raw(cx: &mut Ctx<'_>, key: &[u8], text: Vec<u8>) {
    cx.db.set_value(key, Value::Raw(text), Ttl::Keep);
}
