//! HSET, HMSET, HSETNX.

use super::super::collections::{RW_INSERT, RW_UPDATE, limits};
use super::super::{CmdResult, Command, Ctx};
use super::{State, changed, now};
use crate::keyspace::notify;
use crate::spec::{Flags, Group, KeySpec, Meta};
use crate::types::Hash;
use crate::types::hash::Expiry;

const FLAGS: Flags = Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST);

/// `HSET key field value [field value ...]`
pub static HSET: Command = Command::new(
    Meta::new("hset", -4, FLAGS, Group::Hash).keys(&[KeySpec::one(1, RW_UPDATE)]).doc(
        "2.0.0",
        "O(1) for each pair, so O(N) for N pairs.",
        "Sets fields of a hash, making the hash if need be, and tells how many are new.",
    ),
    |cx, args| {
        let created = set_all(cx, args)?;
        cx.out.len_int(created);
        Ok(())
    },
);
/// `HMSET key field value [field value ...]`
pub static HMSET: Command = Command::new(
    Meta::new("hmset", -4, FLAGS, Group::Hash)
        .keys(&[KeySpec::one(1, RW_UPDATE)])
        .doc("2.0.0", "O(N) where N is the number of fields.", "Sets fields of a hash, making the hash if need be.")
        .deprecated("4.0.0", "`HSET` with multiple field-value pairs"),
    |cx, args| {
        set_all(cx, args)?;
        cx.out.ok();
        Ok(())
    },
);
/// `HSETNX key field value`
pub static HSETNX: Command = Command::new(
    Meta::new("hsetnx", 4, FLAGS, Group::Hash).keys(&[KeySpec::one(1, RW_INSERT)]).doc(
        "2.0.0",
        "O(1)",
        "Sets a field of a hash only where it is not there yet.",
    ),
    hsetnx,
);

fn set_all(cx: &mut Ctx<'_>, args: &[&[u8]]) -> Result<usize, crate::resp::Error> {
    if !args.len().is_multiple_of(2) {
        return Err(cx.arity());
    }
    let (limits, now, key) = (limits(cx.server), now(cx), args[1]);
    let hash = cx.db.hash_create(key, Hash::new)?;
    let was_volatile = hash.has_volatile();
    hash.reserve(args[2..].iter().map(|a| a.len()), &limits);
    let mut created = 0;
    for pair in args[2..].chunks_exact(2) {
        created += usize::from(hash.set(pair[0], pair[1], Expiry::Clear, now, &limits));
    }
    let after = State::of(hash);
    changed(cx, key, args.len() / 2 - 1, was_volatile, after);
    cx.db.notify(notify::HASH, "hset", key);
    Ok(created)
}

fn hsetnx(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let (limits, now, key) = (limits(cx.server), now(cx), args[1]);
    let hash = cx.db.hash_create(key, Hash::new)?;
    if hash.contains(args[2], now) {
        cx.out.int(0);
        return Ok(());
    }
    let was_volatile = hash.has_volatile();
    hash.set(args[2], args[3], Expiry::Clear, now, &limits);
    let after = State::of(hash);
    cx.out.int(1);
    changed(cx, key, 1, was_volatile, after);
    cx.db.notify(notify::HASH, "hset", key);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Bench;

    #[test]
    fn fields_are_set_and_counted() {
        let mut b = Bench::new();
        assert_eq!(b.run("hset k a 1 b 2 a 3"), ":2");
        assert_eq!(b.events, ["new k", "hset k"]);
        assert_eq!(b.run("hmset k c 3"), "+OK");
        assert_eq!((b.run("hsetnx k a 9"), b.run("hsetnx k d 9")), (":0".into(), ":1".into()));
        assert_eq!(b.run("hmget k a d x"), "*3 $1 3 $1 9 $-1");
        assert_eq!(b.run("hset k a 1 b"), "-ERR wrong number of arguments for 'hset' command");
        assert_eq!(b.run("hmset k a 1 b"), "-ERR wrong number of arguments for 'hmset' command");
    }

    #[test]
    fn setting_a_field_ends_its_time() {
        let mut b = Bench::new();
        b.run("hset k a 1");
        b.run("hexpire k 10 fields 1 a");
        b.run("hset k a 2");
        assert_eq!(b.run("httl k fields 1 a"), "*1 :-1");
    }
}
