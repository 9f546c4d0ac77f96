//! INCR, DECR, INCRBY, DECRBY, INCRBYFLOAT.

use super::super::collections::RW_ACCESS_UPDATE;
use super::super::{CmdResult, Command, Ctx, options};
use crate::base::long_double::LongDouble;
use crate::base::num;
use crate::keyspace::{Text, Ttl, notify};
use crate::resp::Error;
use crate::spec::{Flags, Group, KeySpec, Meta};

const FLAGS: Flags = Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST);

const fn meta(name: &'static str, arity: i16, summary: &'static str) -> Meta {
    Meta::new(name, arity, FLAGS, Group::String)
        .keys(const { &[KeySpec::one(1, RW_ACCESS_UPDATE)] })
        .doc("1.0.0", "O(1)", summary)
}

/// `INCR key` <https://valkey.io/commands/incr/>
pub static INCR: Command =
    Command::new(meta("incr", 2, "Adds one to the number at a key, which is 0 if missing."), |cx, args| {
        incr(cx, args[1], 1)
    });
/// `DECR key` <https://valkey.io/commands/decr/>
pub static DECR: Command =
    Command::new(meta("decr", 2, "Subtracts one from the number at a key, which is 0 if missing."), |cx, args| {
        incr(cx, args[1], -1)
    });
/// `INCRBY key increment` <https://valkey.io/commands/incrby/>
pub static INCRBY: Command =
    Command::new(meta("incrby", 3, "Adds to the number at a key, which is 0 if missing."), |cx, args| {
        let by = options::int(args[2])?;
        incr(cx, args[1], by)
    });
/// `DECRBY key decrement` <https://valkey.io/commands/decrby/>
pub static DECRBY: Command =
    Command::new(meta("decrby", 3, "Subtracts from the number at a key, which is 0 if missing."), |cx, args| {
        let by = options::int(args[2])?;
        let by = by.checked_neg().ok_or(Error::new("ERR decrement would overflow"))?;
        incr(cx, args[1], by)
    });
/// `INCRBYFLOAT key increment` <https://valkey.io/commands/incrbyfloat/>
pub static INCRBYFLOAT: Command = Command::new(
    Meta::new("incrbyfloat", 3, FLAGS, Group::String).keys(const { &[KeySpec::one(1, RW_ACCESS_UPDATE)] }).doc(
        "2.6.0",
        "O(1)",
        "Adds to the floating point number at a key, which is 0 if missing.",
    ),
    incrbyfloat,
);

fn incr(cx: &mut Ctx<'_>, key: &[u8], by: i64) -> CmdResult {
    let n = match cx.db.incr_int(key, by)? {
        Some(n) => n,
        None => {
            let old = match cx.db.peek(key) {
                None => 0,
                Some(e) => match e.text().ok_or(Error::WRONGTYPE)? {
                    Text::Int(n) => n,
                    Text::Bytes(b) => num::parse_i64(b).ok_or(Error::NOT_INT)?,
                },
            };
            let n = old.checked_add(by).ok_or(Error::new("ERR increment or decrement would overflow"))?;
            cx.db.set_text(key, itoa::Buffer::new().format(n).as_bytes(), Ttl::Keep);
            n
        }
    };
    cx.out.int(n);
    cx.db.notify(notify::STRING, "incrby", key);
    cx.db.modified(key, 1);
    Ok(())
}

fn incrbyfloat(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let key = args[1];
    let old = match cx.db.text(key)? {
        None => LongDouble::ZERO,
        Some(Text::Int(n)) => LongDouble::from_i64(n),
        Some(Text::Bytes(b)) => LongDouble::parse(b).ok_or(Error::NOT_FLOAT)?,
    };
    let by = LongDouble::parse(args[2]).ok_or(Error::NOT_FLOAT)?;
    let sum = old + by;
    if !sum.is_finite() {
        return Err(Error::new("ERR increment would produce NaN or Infinity"));
    }
    let mut text = Vec::new();
    sum.fmt_human(&mut text);
    cx.db.set_text(key, &text, Ttl::Keep);
    cx.db.notify(notify::STRING, "incrbyfloat", key);
    // The sum, not the addition: another machine might round otherwise.
    cx.db.effect(&[b"SET", key, &text, b"KEEPTTL"]);
    cx.db.modified(key, 1);
    cx.out.bulk(&text);
    Ok(())
}
