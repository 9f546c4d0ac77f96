//! GET, GETDEL, GETEX, DELIFEQ.

use super::super::collections::{RO_ACCESS, RW_ACCESS_DELETE, RW_ACCESS_UPDATE};
use super::super::{CmdResult, Command, Ctx};
use super::reply_entry;
use super::set::{Expiry, Options};
use crate::keyspace::{NO_EXPIRY, notify};
use crate::resp::Error;
use crate::spec::{Flags, Group, KeySpec, Meta};

/// `GET key` <https://valkey.io/commands/get/>
pub static GET: Command = Command::new(
    Meta::new("get", 2, Flags::READONLY.or(Flags::FAST), Group::String)
        .keys(const { &[KeySpec::one(1, RO_ACCESS)] })
        .doc("1.0.0", "O(1)", "Returns the string at a key."),
    get,
);
/// `GETDEL key` <https://valkey.io/commands/getdel/>
pub static GETDEL: Command = Command::new(
    Meta::new("getdel", 2, Flags::WRITE.or(Flags::FAST), Group::String)
        .keys(const { &[KeySpec::one(1, RW_ACCESS_DELETE)] })
        .doc("6.2.0", "O(1)", "Returns the string at a key, and deletes the key."),
    getdel,
);
/// `GETEX key [EX s | PX ms | EXAT s | PXAT ms | PERSIST]` <https://valkey.io/commands/getex/>
pub static GETEX: Command = Command::new(
    Meta::new("getex", -2, Flags::WRITE.or(Flags::FAST), Group::String)
        .keys(const { &[KeySpec::one(1, RW_ACCESS_UPDATE)] })
        .doc("6.2.0", "O(1)", "Returns the string at a key, and sets or clears the key's expiry."),
    getex,
);
/// `DELIFEQ key value` <https://valkey.io/commands/delifeq/>
pub static DELIFEQ: Command = Command::new(
    Meta::new("delifeq", 3, Flags::WRITE.or(Flags::FAST), Group::String)
        .keys(const { &[KeySpec::one(1, RW_ACCESS_DELETE)] })
        .doc("9.0.0", "O(1)", "Deletes a key if it holds this very string."),
    delifeq,
);

fn get(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    match cx.db.read(args[1]) {
        Some(e) => reply_entry(cx.out, e),
        None => {
            cx.out.null();
            Ok(())
        }
    }
}

fn getdel(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let key = args[1];
    get(cx, args)?;
    if cx.db.delete_by_user(key) {
        cx.db.effect(&[b"DEL", key]);
        cx.db.notify(notify::GENERIC, "del", key);
        cx.db.modified(key, 1);
    }
    Ok(())
}

fn getex(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let key = args[1];
    let options = match Options::parse(cx, &args[2..], Options::GETEX) {
        // Of a key that is not there, or no string, the expiry is not looked at; the syntax is.
        Err(e) if e != Error::SYNTAX => {
            let is_text = cx.db.peek(key).map(|entry| entry.text().is_some());
            return if is_text == Some(true) { Err(e) } else { get(cx, args) };
        }
        parsed => parsed?,
    };
    get(cx, args)?;
    let Some(had) = cx.db.peek(key).map(|e| e.expiry()) else { return Ok(()) };
    match options.expiry {
        Expiry::At(at) if cx.db.is_over(at) => {
            let lazy = cx.db.tuning().lazy_expire;
            cx.db.delete(key, lazy);
            cx.db.effect(&[if lazy { b"UNLINK" } else { b"DEL" }, key]);
            cx.db.notify(notify::GENERIC, "del", key);
            cx.db.modified(key, 1);
        }
        Expiry::At(at) => {
            cx.db.set_expiry(key, at);
            cx.db.effect(&[b"PEXPIREAT", key, itoa::Buffer::new().format(at).as_bytes()]);
            cx.db.notify(notify::GENERIC, "expire", key);
            cx.db.modified(key, 1);
        }
        Expiry::Persist if had != NO_EXPIRY => {
            cx.db.set_expiry(key, NO_EXPIRY);
            cx.db.effect(&[b"PERSIST", key]);
            cx.db.notify(notify::GENERIC, "persist", key);
            cx.db.modified(key, 1);
        }
        _ => {}
    }
    Ok(())
}

fn delifeq(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let key = args[1];
    let equal = match cx.db.read(key) {
        Some(e) => {
            let text = e.text().ok_or(Error::WRONGTYPE)?;
            text.bytes(&mut itoa::Buffer::new()) == args[2]
        }
        None => false,
    };
    if equal {
        cx.db.delete_by_user(key);
        cx.db.effect(&[b"DEL", key]);
        cx.db.notify(notify::GENERIC, "del", key);
        cx.db.modified(key, 1);
    }
    cx.out.int(i64::from(equal));
    Ok(())
}
