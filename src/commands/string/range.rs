//! GETRANGE, SUBSTR, SETRANGE, STRLEN.

use super::super::collections::{RO_ACCESS, RW_UPDATE};
use super::super::{CmdResult, Command, Ctx, options};
use super::append::store_raw;
use super::check_length;
use crate::keyspace::{Text, notify};
use crate::resp::Error;
use crate::spec::{Flags, Group, KeyFlags, KeySpec, Meta};

const GETRANGE_KEYS: &[KeySpec] = &[KeySpec::one(1, RO_ACCESS)];

/// `GETRANGE key start end` <https://valkey.io/commands/getrange/>
pub static GETRANGE: Command = Command::new(
    Meta::new("getrange", 4, Flags::READONLY, Group::String).keys(GETRANGE_KEYS).doc(
        "2.4.0",
        "O(N) where N is the length of the returned string.",
        "Returns a part of the string at a key.",
    ),
    getrange,
);
/// `SUBSTR key start end` <https://valkey.io/commands/substr/>
pub static SUBSTR: Command = Command::new(
    Meta::new("substr", 4, Flags::READONLY, Group::String)
        .keys(GETRANGE_KEYS)
        .doc("1.0.0", "O(N) where N is the length of the returned string.", "Returns a part of the string at a key.")
        .deprecated("2.0.0", "`GETRANGE`"),
    getrange,
);
/// `SETRANGE key offset value` <https://valkey.io/commands/setrange/>
pub static SETRANGE: Command = Command::new(
    Meta::new("setrange", 4, Flags::WRITE.or(Flags::DENYOOM), Group::String)
        .keys(const { &[KeySpec::one(1, RW_UPDATE)] })
        .doc(
            "2.2.0",
            "O(M), M being the length of the new part, and of the zeros before it.",
            "Overwrites a part of the string at a key, with zeros before it where the string ends earlier.",
        ),
    setrange,
);
/// `STRLEN key` <https://valkey.io/commands/strlen/>
pub static STRLEN: Command = Command::new(
    Meta::new("strlen", 2, Flags::READONLY.or(Flags::FAST), Group::String)
        .keys(const { &[KeySpec::one(1, KeyFlags::RO)] })
        .doc("2.2.0", "O(1)", "Returns the length of the string at a key."),
    |cx, args| {
        let len = cx.db.text(args[1])?.map_or(0, Text::len);
        cx.out.len_int(len);
        Ok(())
    },
);

fn getrange(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let (start, end) = (options::int(args[2])?, options::int(args[3])?);
    let mut scratch = itoa::Buffer::new();
    let Some(text) = cx.db.text(args[1])? else {
        cx.out.bulk(b"");
        return Ok(());
    };
    let text = text.bytes(&mut scratch);
    let len = text.len() as i64;
    if start < 0 && end < 0 && start > end {
        cx.out.bulk(b"");
        return Ok(());
    }
    let from = |i: i64| if i < 0 { i.saturating_add(len).max(0) } else { i };
    let (start, end) = (from(start), from(end).min(len - 1));
    if start > end || len == 0 {
        cx.out.bulk(b"");
    } else {
        cx.out.bulk(&text[start as usize..=end as usize]);
    }
    Ok(())
}

fn setrange(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let (key, part) = (args[1], args[3]);
    let offset = options::int(args[2])?;
    let offset = usize::try_from(offset).map_err(|_| Error::new("ERR offset is out of range"))?;
    let old = match cx.db.read(key) {
        None => None,
        Some(e) => Some(e.text().ok_or(Error::WRONGTYPE)?.len()),
    };
    if part.is_empty() {
        cx.out.len_int(old.unwrap_or(0));
        return Ok(());
    }
    check_length(cx, offset, part.len())?;
    let write = |text: &mut Vec<u8>| {
        let end = offset + part.len();
        if text.len() < end {
            text.resize(end, 0);
        }
        text[offset..end].copy_from_slice(part);
        text.len()
    };
    let len = match old {
        Some(_) => cx.db.edit_text(key, write)?.unwrap_or(0),
        None => {
            let mut text = Vec::new();
            let len = write(&mut text);
            store_raw(cx, key, text);
            len
        }
    };
    cx.db.notify(notify::STRING, "setrange", key);
    cx.db.modified(key, 1);
    cx.out.len_int(len);
    Ok(())
}
