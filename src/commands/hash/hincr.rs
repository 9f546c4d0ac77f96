//! HINCRBY and HINCRBYFLOAT.

use super::super::collections::{RW_ACCESS_UPDATE, limits};
use super::super::{CmdResult, Command, Ctx, options};
use super::now;
use crate::base::long_double::LongDouble;
use crate::keyspace::notify;
use crate::resp::Error;
use crate::spec::{Flags, Group, KeySpec, Meta};
use crate::types::hash::Expiry;
use crate::types::{Elem, Hash, IntBuf};

const FLAGS: Flags = Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST);

/// `HINCRBY key field increment`
pub static HINCRBY: Command = Command::new(
    Meta::new("hincrby", 4, FLAGS, Group::Hash).keys(&[KeySpec::one(1, RW_ACCESS_UPDATE)]).doc(
        "2.0.0",
        "O(1)",
        "Adds to the integer in a field of a hash; a field that is not there counts as 0.",
    ),
    hincrby,
);
/// `HINCRBYFLOAT key field increment`
pub static HINCRBYFLOAT: Command = Command::new(
    Meta::new("hincrbyfloat", 4, FLAGS, Group::Hash).keys(&[KeySpec::one(1, RW_ACCESS_UPDATE)]).doc(
        "2.6.0",
        "O(1)",
        "Adds to the floating point number in a field of a hash; a field that is not there counts as 0.",
    ),
    hincrbyfloat,
);

fn hincrby(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let by = options::int(args[3])?;
    let (limits, now, key, field) = (limits(cx.server), now(cx), args[1], args[2]);
    let hash = cx.db.hash_create(key, Hash::new)?;
    let old = match hash.get(field, now) {
        Some(value) => value.as_int().ok_or(Error::new("ERR hash value is not an integer"))?,
        None => 0,
    };
    let new = old.checked_add(by).ok_or(Error::new("ERR increment or decrement would overflow"))?;
    hash.set(field, IntBuf::new().format(new).as_bytes(), Expiry::Keep, now, &limits);
    cx.out.int(new);
    cx.db.modified(key, 1);
    cx.db.notify(notify::HASH, "hincrby", key);
    Ok(())
}

fn hincrbyfloat(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let by = LongDouble::parse(args[3]).ok_or(Error::NOT_FLOAT)?;
    if !by.is_finite() {
        return Err(Error::new("ERR value is NaN or Infinity"));
    }
    let (limits, now, key, field) = (limits(cx.server), now(cx), args[1], args[2]);
    let hash = cx.db.hash_create(key, Hash::new)?;
    let old = match hash.get(field, now) {
        Some(Elem::Int(n)) => LongDouble::from_i64(n),
        Some(Elem::Str(s)) => LongDouble::parse(s).ok_or(Error::new("ERR hash value is not a float"))?,
        None => LongDouble::ZERO,
    };
    let new = old + by;
    if !new.is_finite() {
        return Err(Error::new("ERR increment would produce NaN or Infinity"));
    }
    let mut text = Vec::with_capacity(32);
    new.fmt_human(&mut text);
    hash.set(field, &text, Expiry::Keep, now, &limits);
    let expiry = hash.expiry(field, now).flatten();
    cx.out.bulk(&text);
    cx.db.modified(key, 1);
    cx.db.notify(notify::HASH, "hincrbyfloat", key);
    // Replicas store the sum, for their sums might differ. HSET would end the field's time: HSETEX keeps it.
    match expiry {
        None => cx.db.effect(&[b"HSET", key, field, &text]),
        Some(_) => cx.db.effect(&[b"HSETEX", key, b"KEEPTTL", b"FIELDS", b"1", field, &text]),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Bench;

    #[test]
    fn numbers_are_added_to() {
        let mut b = Bench::new();
        assert_eq!(b.run("hincrby k a 5"), ":5");
        assert_eq!(b.run("hincrby k a -15"), ":-10");
        b.run("hset k s text m 9223372036854775807");
        assert_eq!(b.run("hincrby k s 1"), "-ERR hash value is not an integer");
        assert_eq!(b.run("hincrby k m 1"), "-ERR increment or decrement would overflow");
        assert_eq!(b.run("hincrby k a x"), "-ERR value is not an integer or out of range");
        assert_eq!(b.run("hincrbyfloat k f 3.0"), "$1 3");
        assert_eq!(b.run("hincrbyfloat k f 0.1"), "$3 3.1");
        assert_eq!(b.log, ["HSET k f 3.1"]);
        assert_eq!(b.run("hincrbyfloat k s 1"), "-ERR hash value is not a float");
        assert_eq!(b.run("hincrbyfloat k f inf"), "-ERR value is NaN or Infinity");
        assert_eq!(b.run("hincrbyfloat k f x"), "-ERR value is not a valid float");
    }

    #[test]
    fn an_increment_keeps_the_fields_time() {
        let mut b = Bench::new();
        b.run("hset k a 1");
        b.run("hexpire k 10 fields 1 a");
        b.run("hincrby k a 1");
        b.run("hincrbyfloat k a 0.5");
        assert_eq!(b.log, ["HSETEX k KEEPTTL FIELDS 1 a 2.5"]);
        assert_eq!(b.run("httl k fields 1 a"), "*1 :10");
    }
}
