//! HGET, HMGET, HGETALL, HKEYS, HVALS, HLEN, HSTRLEN, HEXISTS.

use super::super::collections::{RO_ACCESS, elem};
use super::super::{CmdResult, Command, Ctx};
use super::now;
use crate::spec::{Flags, Group, KeyFlags, KeySpec, Meta};

const FAST: Flags = Flags::READONLY.or(Flags::FAST);
const UNORDERED: &[&str] = &["nondeterministic_output_order"];

/// `HGET key field`
pub static HGET: Command = Command::new(
    Meta::new("hget", 3, FAST, Group::Hash).keys(&[KeySpec::one(1, RO_ACCESS)]).doc(
        "2.0.0",
        "O(1)",
        "Returns the value of a field of a hash.",
    ),
    |cx, args| {
        let now = now(cx);
        match cx.db.hash_read(args[1])?.and_then(|hash| hash.get(args[2], now)) {
            Some(value) => elem(cx.out, value),
            None => cx.out.null(),
        }
        Ok(())
    },
);
/// `HMGET key field [field ...]`
pub static HMGET: Command = Command::new(
    Meta::new("hmget", -3, FAST, Group::Hash).keys(&[KeySpec::one(1, RO_ACCESS)]).doc(
        "2.0.0",
        "O(N) where N is the number of fields.",
        "Returns the values of several fields of a hash.",
    ),
    |cx, args| {
        let now = now(cx);
        let hash = cx.db.hash_read(args[1])?;
        cx.out.array(args.len() - 2);
        for field in &args[2..] {
            match hash.and_then(|hash| hash.get(field, now)) {
                Some(value) => elem(cx.out, value),
                None => cx.out.null(),
            }
        }
        Ok(())
    },
);
/// `HEXISTS key field`
pub static HEXISTS: Command = Command::new(
    Meta::new("hexists", 3, FAST, Group::Hash).keys(&[KeySpec::one(1, KeyFlags::RO)]).doc(
        "2.0.0",
        "O(1)",
        "Tells whether a hash has a field.",
    ),
    |cx, args| {
        let now = now(cx);
        let there = cx.db.hash_read(args[1])?.is_some_and(|hash| hash.contains(args[2], now));
        cx.out.int(i64::from(there));
        Ok(())
    },
);
/// `HSTRLEN key field`
pub static HSTRLEN: Command = Command::new(
    Meta::new("hstrlen", 3, FAST, Group::Hash).keys(&[KeySpec::one(1, KeyFlags::RO)]).doc(
        "3.2.0",
        "O(1)",
        "Returns the length of a field's value.",
    ),
    |cx, args| {
        let now = now(cx);
        let len = cx.db.hash_read(args[1])?.and_then(|hash| hash.get(args[2], now)).map_or(0, |value| value.len());
        cx.out.len_int(len);
        Ok(())
    },
);
/// `HLEN key`
pub static HLEN: Command = Command::new(
    Meta::new("hlen", 2, FAST, Group::Hash).keys(&[KeySpec::one(1, KeyFlags::RO)]).doc(
        "2.0.0",
        "O(1)",
        "Tells how many fields a hash has.",
    ),
    |cx, args| {
        let len = cx.db.hash_read(args[1])?.map_or(0, |hash| hash.raw_len());
        cx.out.len_int(len);
        Ok(())
    },
);

const fn whole(name: &'static str, summary: &'static str) -> Meta {
    Meta::new(name, 2, Flags::READONLY, Group::Hash)
        .keys(const { &[KeySpec::one(1, RO_ACCESS)] })
        .doc("2.0.0", "O(N) where N is the size of the hash.", summary)
        .tips(UNORDERED)
}
/// `HGETALL key`
pub static HGETALL: Command =
    Command::new(whole("hgetall", "Returns all fields of a hash with their values."), |cx, args| {
        all(cx, args, true, true)
    });
/// `HKEYS key`
pub static HKEYS: Command =
    Command::new(whole("hkeys", "Returns the names of all fields of a hash."), |cx, args| all(cx, args, true, false));
/// `HVALS key`
pub static HVALS: Command =
    Command::new(whole("hvals", "Returns the values of all fields of a hash."), |cx, args| all(cx, args, false, true));

fn all(cx: &mut Ctx<'_>, args: &[&[u8]], names: bool, values: bool) -> CmdResult {
    let now = now(cx);
    let hash = cx.db.hash_read(args[1])?;
    let n = hash.map_or(0, |hash| hash.len(now));
    if names && values {
        cx.out.map(n);
    } else {
        cx.out.array(n);
    }
    if let Some(hash) = hash {
        hash.for_each(now, |name, value| {
            if names {
                elem(cx.out, name);
            }
            if values {
                elem(cx.out, value);
            }
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Bench;

    #[test]
    fn whole_hashes_have_a_form_for_each_protocol() {
        let mut b = Bench::new();
        b.run("hset k a 1 b xyz");
        assert_eq!(b.run("hgetall k"), "*4 $1 a $1 1 $1 b $3 xyz");
        assert_eq!((b.run("hkeys k"), b.run("hvals k")), ("*2 $1 a $1 b".into(), "*2 $1 1 $3 xyz".into()));
        assert_eq!(
            (b.run("hstrlen k b"), b.run("hlen k"), b.run("hexists k a")),
            (":3".into(), ":2".into(), ":1".into())
        );
        b.resp3();
        assert_eq!(b.run("hgetall k"), "%2 $1 a $1 1 $1 b $3 xyz");
        assert_eq!(
            (b.run("hgetall none"), b.run("hkeys none"), b.run("hget k x")),
            ("%0".into(), "*0".into(), "_".into())
        );
    }

    #[test]
    fn an_expired_field_is_seen_by_nobody() {
        let mut b = Bench::new();
        b.run("hset k a 1 b 2");
        b.run("hpexpire k 100 fields 1 a");
        b.now += 100;
        assert_eq!(b.run("hgetall k"), "*2 $1 b $1 2");
        assert_eq!(
            (b.run("hget k a"), b.run("hexists k a"), b.run("hstrlen k a")),
            ("$-1".into(), ":0".into(), ":0".into())
        );
        assert_eq!(b.run("hmget k a b"), "*2 $-1 $1 2");
        assert_eq!(b.run("hrandfield k 5"), "*1 $1 b");
        assert_eq!(b.run("hscan k 0"), "*2 $1 0 *2 $1 b $1 2");
        assert_eq!(b.run("hdel k a"), ":0");
        assert_eq!(b.run("hlen k"), ":2", "until the expiry cycle comes by");
    }
}
