//! Commands on hashes.
//!
//! Fields may have a time to expire. A field whose time is over is invisible to every command here from that moment,
//! whether or not the expiry cycle has removed it; only HLEN counts it until then, as Valkey's does.

pub mod expiry;
pub mod getex;
pub mod hdel;
pub mod hget;
pub mod hincr;
pub mod hrandfield;
pub mod hscan;
pub mod hset;
pub mod setex;
pub mod ttl;

use super::{Command, Ctx, options};
use crate::keyspace::notify;
use crate::resp::Error;
use crate::types::Hash;

/// All of them.
pub const COMMANDS: &[&Command] = &[
    &hdel::HDEL,
    &hget::HEXISTS,
    &expiry::HEXPIRE,
    &expiry::HEXPIREAT,
    &ttl::HEXPIRETIME,
    &hget::HGET,
    &hget::HGETALL,
    &hdel::HGETDEL,
    &getex::HGETEX,
    &hincr::HINCRBY,
    &hincr::HINCRBYFLOAT,
    &hget::HKEYS,
    &hget::HLEN,
    &hget::HMGET,
    &hset::HMSET,
    &expiry::HPERSIST,
    &expiry::HPEXPIRE,
    &expiry::HPEXPIREAT,
    &ttl::HPEXPIRETIME,
    &ttl::HPTTL,
    &hrandfield::HRANDFIELD,
    &hscan::HSCAN,
    &hset::HSET,
    &setex::HSETEX,
    &hset::HSETNX,
    &hget::HSTRLEN,
    &ttl::HTTL,
    &hget::HVALS,
];

const NUMFIELDS: Error = Error::new("ERR numfields should be greater than 0 and match the provided number of fields");

/// The moment as hashes count it.
fn now(cx: &Ctx<'_>) -> i64 {
    cx.db.now
}

/// The fields behind `numfields`, which is argument `at`. Each brings `width` arguments.
fn fields<'k, 'a>(args: &'k [&'a [u8]], at: usize, width: usize, wrong: Error) -> Result<&'k [&'a [u8]], Error> {
    let n = options::int(args[at])?;
    let fields = &args[at + 1..];
    match usize::try_from(n) {
        Ok(n) if n > 0 && n.checked_mul(width) == Some(fields.len()) => Ok(fields),
        _ => Err(wrong),
    }
}

/// Where the word FIELDS stands, from argument `from` on; the last argument cannot be it.
fn find_fields(args: &[&[u8]], from: usize) -> Result<usize, Error> {
    let last = args.len() - 1;
    (from..last).find(|i| options::is(args[*i], "fields")).ok_or(NUMFIELDS)
}

/// The moment (Unix ms) that an expiry argument means, counted from `base`. It must not be negative.
fn moment(arg: &[u8], seconds: bool, base: i64, name: &str) -> Result<i64, Error> {
    let n = options::int(arg)?;
    let ms = if seconds { n.checked_mul(1000) } else { Some(n) };
    match ms.and_then(|ms| ms.checked_add(base)) {
        Some(at) if n >= 0 => Ok(at),
        _ => Err(Error::expire(name)),
    }
}

/// What follows from a change of a hash: the key goes if nothing is left of it; else, if the change made it the first or
/// the last field that expires, its entry is told.
fn changed(cx: &mut Ctx<'_>, key: &[u8], changes: usize, was_volatile: bool, after: State) {
    if after.empty {
        cx.db.remove_if_empty(key);
    } else if after.volatile != was_volatile {
        cx.db.refresh_volatile(key);
    }
    cx.db.modified(key, changes as u64);
}

/// What a hash is like after a command.
#[derive(Clone, Copy)]
struct State {
    empty: bool,
    volatile: bool,
}

impl State {
    fn of(hash: &Hash) -> State {
        State { empty: hash.is_empty(), volatile: hash.has_volatile() }
    }
}

/// Logs the removal of fields whose time turned out to be over already.
fn log_removed(cx: &mut Ctx<'_>, key: &[u8], fields: &[&[u8]]) {
    let argv: Vec<&[u8]> = [&b"HDEL"[..], key].into_iter().chain(fields.iter().copied()).collect();
    cx.db.effect(&argv);
    cx.stats.expired_fields.add(fields.len() as u64);
    cx.db.notify(notify::HASH, "hexpired", key);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_absolute_and_never_negative() {
        assert_eq!(moment(b"10", true, 5, "hexpire"), Ok(10_005));
        assert_eq!(moment(b"10", false, 0, "hexpire"), Ok(10));
        let bad = Err(Error::expire("hexpire"));
        assert_eq!(moment(b"-1", false, 100, "hexpire"), bad);
        assert_eq!(moment(b"9223372036854775807", true, 0, "hexpire"), bad);
        assert_eq!(moment(b"9223372036854775807", false, 1, "hexpire"), bad);
        assert_eq!(moment(b"x", false, 1, "hexpire"), Err(Error::NOT_INT));
    }

    #[test]
    fn the_number_of_fields_must_match() {
        let args: [&[u8]; 6] = [b"httl", b"k", b"FIELDS", b"2", b"a", b"b"];
        assert_eq!(fields(&args, 3, 1, NUMFIELDS).map(<[_]>::len), Ok(2));
        assert_eq!(fields(&args, 3, 2, NUMFIELDS), Err(NUMFIELDS));
        assert_eq!(find_fields(&args, 2), Ok(2));
        assert_eq!(find_fields(&args[..3], 2), Err(NUMFIELDS));
        for bad in [&b"0"[..], b"-1", b"3", b"9223372036854775807"] {
            assert_eq!(fields(&[args[0], args[1], args[2], bad, b"a", b"b"], 3, 1, NUMFIELDS), Err(NUMFIELDS));
        }
    }
}
