//! EXPIRE, PEXPIRE, EXPIREAT, PEXPIREAT, PERSIST.

use super::super::options::{self, Unit, is};
use super::super::{CmdResult, Command, Ctx};
use super::deleted;
use crate::keyspace::{NO_EXPIRY, notify};
use crate::resp::Error;
use crate::spec::{Flags, Group, KeyFlags, KeySpec, Meta};

const KEYS: &[KeySpec] = &[KeySpec::one(1, KeyFlags::RW.or(KeyFlags::UPDATE))];

const fn meta(name: &'static str, arity: i16, since: &'static str, summary: &'static str) -> Meta {
    Meta::new(name, arity, Flags::WRITE.or(Flags::FAST), Group::Generic).keys(KEYS).doc(since, "O(1)", summary)
}

/// `EXPIRE key seconds [NX | XX | GT | LT]` <https://valkey.io/commands/expire/>
pub static EXPIRE: Command =
    Command::new(meta("expire", -3, "1.0.0", "Makes a key expire after some seconds."), |cx, args| {
        expire(cx, args, Unit::Seconds, false)
    });
/// `PEXPIRE key milliseconds [NX | XX | GT | LT]` <https://valkey.io/commands/pexpire/>
pub static PEXPIRE: Command =
    Command::new(meta("pexpire", -3, "2.6.0", "Makes a key expire after some milliseconds."), |cx, args| {
        expire(cx, args, Unit::Millis, false)
    });
/// `EXPIREAT key unix-time-seconds [NX | XX | GT | LT]` <https://valkey.io/commands/expireat/>
pub static EXPIREAT: Command =
    Command::new(meta("expireat", -3, "1.2.0", "Makes a key expire at a unix time in seconds."), |cx, args| {
        expire(cx, args, Unit::Seconds, true)
    });
/// `PEXPIREAT key unix-time-milliseconds [NX | XX | GT | LT]` <https://valkey.io/commands/pexpireat/>
pub static PEXPIREAT: Command =
    Command::new(meta("pexpireat", -3, "2.6.0", "Makes a key expire at a unix time in milliseconds."), |cx, args| {
        expire(cx, args, Unit::Millis, true)
    });
/// `PERSIST key` <https://valkey.io/commands/persist/>
pub static PERSIST: Command = Command::new(meta("persist", 2, "2.2.0", "Takes the expiry from a key."), |cx, args| {
    let key = args[1];
    let had = cx.db.peek(key).is_some_and(|e| e.expiry() != NO_EXPIRY);
    if had {
        cx.db.set_expiry(key, NO_EXPIRY);
        cx.db.notify(notify::GENERIC, "persist", key);
        cx.db.modified(key, 1);
    }
    cx.out.int(i64::from(had));
    Ok(())
});

#[derive(Default)]
struct Conditions {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
}

fn conditions(args: &[&[u8]]) -> Result<Conditions, Error> {
    let mut c = Conditions::default();
    for arg in args {
        match () {
            () if is(arg, "NX") => c.nx = true,
            () if is(arg, "XX") => c.xx = true,
            () if is(arg, "GT") => c.gt = true,
            () if is(arg, "LT") => c.lt = true,
            () => return Err(Error::owned([b"ERR Unsupported option ".as_slice(), arg].concat())),
        }
    }
    if c.nx && (c.xx || c.gt || c.lt) {
        return Err(Error::new("ERR NX and XX, GT or LT options at the same time are not compatible"));
    }
    if c.gt && c.lt {
        return Err(Error::new("ERR GT and LT options at the same time are not compatible"));
    }
    Ok(c)
}

fn expire(cx: &mut Ctx<'_>, args: &[&[u8]], unit: Unit, absolute: bool) -> CmdResult {
    let key = args[1];
    let c = conditions(&args[3..])?;
    let at = options::expiry(args[2], unit, absolute, cx.db.clock, false, cx.name())?;
    // A time before 1970 is over as well as any.
    let at = at.max(0);
    let Some(had) = cx.db.peek(key).map(|e| e.expiry()) else {
        cx.out.int(0);
        return Ok(());
    };
    let has = had != NO_EXPIRY;
    // A key without expiry counts as one that expires never.
    let refused = c.nx && has || c.xx && !has || c.gt && (!has || at <= had) || c.lt && has && at >= had;
    if refused {
        cx.out.int(0);
        return Ok(());
    }
    if cx.db.is_over(at) {
        let lazy = cx.db.tuning().lazy_expire;
        cx.db.delete(key, lazy);
        cx.db.effect(&[if lazy { b"UNLINK" } else { b"DEL" }, key]);
        deleted(cx, key);
    } else {
        cx.db.set_expiry(key, at);
        cx.db.effect(&[b"PEXPIREAT", key, itoa::Buffer::new().format(at).as_bytes()]);
        cx.db.notify(notify::GENERIC, "expire", key);
        cx.db.modified(key, 1);
    }
    cx.out.int(1);
    Ok(())
}
