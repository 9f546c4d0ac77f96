//! ZPOPMIN, ZPOPMAX, ZMPOP and the forms of them that wait: BZPOPMIN, BZPOPMAX, BZMPOP.
//!
//! A command that waited is run again when one of its keys appears. It goes into the replication log as the plain pop
//! that it came to.

use super::super::collections::{RW_ACCESS_DELETE, Words, elem, numbered_keys};
use super::super::{CmdResult, Command, Ctx, options};
use super::highest;
use crate::clients::NullKind;
use crate::keyspace::notify;
use crate::resp::{Error, Out};
use crate::spec::{Flags, Group, KeySpec, Meta};
use crate::types::ZSet;

const FAST: Flags = Flags::WRITE.or(Flags::FAST);
const WAIT_FLAGS: Flags = Flags::WRITE.or(Flags::BLOCKING);

const fn pop_meta(name: &'static str, summary: &'static str) -> Meta {
    Meta::new(name, -2, FAST, Group::SortedSet).keys(const { &[KeySpec::one(1, RW_ACCESS_DELETE)] }).doc(
        "5.0.0",
        "O(log(N)*M) where N is the size of the sorted set and M the number of members removed.",
        summary,
    )
}
const fn wait_meta(name: &'static str, summary: &'static str) -> Meta {
    Meta::new(name, -3, WAIT_FLAGS.or(Flags::FAST), Group::SortedSet)
        .keys(const { &[KeySpec::range(1, -2, 1, RW_ACCESS_DELETE)] })
        .doc("5.0.0", "O(log(N)) where N is the size of the sorted set.", summary)
}
const MPOP: &str = "O(K) + O(M*log(N)) where K is the number of keys, N the size of the sorted set and M the number of \
                    members removed.";

/// `ZPOPMIN key [count]`
pub static ZPOPMIN: Command = Command::new(
    pop_meta("zpopmin", "Removes the members with the lowest scores from a sorted set and returns them."),
    |cx, args| pop(cx, args, false),
);
/// `ZPOPMAX key [count]`
pub static ZPOPMAX: Command = Command::new(
    pop_meta("zpopmax", "Removes the members with the highest scores from a sorted set and returns them."),
    |cx, args| pop(cx, args, true),
);
/// `BZPOPMIN key [key ...] timeout`
pub static BZPOPMIN: Command = Command::new(
    wait_meta(
        "bzpopmin",
        "Removes the member with the lowest score of the first sorted set there is, and waits for one.",
    ),
    |cx, args| wait_pop(cx, &args[1..args.len() - 1], args[args.len() - 1], false, None),
);
/// `BZPOPMAX key [key ...] timeout`
pub static BZPOPMAX: Command = Command::new(
    wait_meta(
        "bzpopmax",
        "Removes the member with the highest score of the first sorted set there is, and waits for one.",
    ),
    |cx, args| wait_pop(cx, &args[1..args.len() - 1], args[args.len() - 1], true, None),
);
/// `ZMPOP numkeys key [key ...] MIN|MAX [COUNT count]`
pub static ZMPOP: Command = Command::new(
    Meta::new("zmpop", -4, Flags::WRITE.or(Flags::MOVABLEKEYS), Group::SortedSet)
        .keys(&[KeySpec::count(1, RW_ACCESS_DELETE)])
        .doc("7.0.0", MPOP, "Removes several members from an end of the first sorted set there is and returns them."),
    |cx, args| {
        let (keys, max, count) = parse_mpop(args, 1)?;
        if !try_pop(cx, keys, max, Some(count))? {
            cx.out.null_array();
        }
        Ok(())
    },
);
/// `BZMPOP timeout numkeys key [key ...] MIN|MAX [COUNT count]`
pub static BZMPOP: Command = Command::new(
    Meta::new("bzmpop", -5, WAIT_FLAGS.or(Flags::MOVABLEKEYS), Group::SortedSet)
        .keys(&[KeySpec::count(2, RW_ACCESS_DELETE)])
        .doc("7.0.0", MPOP, "Removes several members from an end of the first sorted set there is, and waits for one."),
    |cx, args| {
        let (keys, max, count) = parse_mpop(args, 2)?;
        wait_pop(cx, keys, args[1], max, Some(count))
    },
);

/// Removes `n` members from an end, showing each in a reply: alone or as a pair.
fn take(out: &mut Out, set: &mut ZSet, max: bool, n: usize, paired: bool) {
    let show = |out: &mut Out, e: crate::types::Elem<'_>, score| {
        if paired {
            out.array(2);
        }
        elem(out, e);
        out.double(score);
    };
    if !max {
        set.remove_range(0, n, |e, score| show(out, e, score));
    } else if n > 0 {
        let len = set.len();
        set.for_range(len - 1, n, true, |e, score| show(out, e, score));
        set.remove_range(len - n, n, |_, _| {});
    }
}

fn popped(cx: &mut Ctx<'_>, key: &[u8], max: bool, n: usize, emptied: bool) {
    cx.db.notify(notify::ZSET, if max { "zpopmax" } else { "zpopmin" }, key);
    if emptied {
        cx.db.remove_if_empty(key);
    }
    cx.db.modified(key, n as u64);
}

fn pop(cx: &mut Ctx<'_>, args: &[&[u8]], max: bool) -> CmdResult {
    let count = match args {
        [_, _] => None,
        [_, _, n] => Some(options::positive(n)? as usize),
        _ => return Err(Error::SYNTAX),
    };
    let key = args[1];
    let Some(set) = cx.db.zset_write(key)? else {
        cx.out.array(0);
        return Ok(());
    };
    let n = count.unwrap_or(1).min(set.len());
    if n == 0 {
        cx.out.array(0);
        return Ok(());
    }
    // RESP3 gives each pair an array of its own, but only where a count was asked for.
    let paired = cx.out.resp3() && count.is_some();
    cx.out.array(if paired { n } else { n * 2 });
    take(cx.out, set, max, n, paired);
    let emptied = set.is_empty();
    popped(cx, key, max, n, emptied);
    Ok(())
}

/// Pops from the first of the keys that holds a sorted set: `count` members as ZMPOP does, or one as BZPOPMIN. False if
/// none does.
fn try_pop(cx: &mut Ctx<'_>, keys: &[&[u8]], max: bool, count: Option<usize>) -> Result<bool, Error> {
    for key in keys {
        let set = match cx.db.zset_write(key) {
            Ok(Some(set)) if !set.is_empty() => set,
            Ok(_) => continue,
            // Who waits for a sorted set does not hear of other types that come by.
            Err(_) if cx.session.serving => continue,
            Err(e) => return Err(e),
        };
        let n = count.unwrap_or(1).min(set.len());
        if count.is_some() {
            cx.out.array(2);
            cx.out.bulk(key);
            cx.out.array(n);
        } else {
            cx.out.array(3);
            cx.out.bulk(key);
        }
        take(cx.out, set, max, n, count.is_some());
        let emptied = set.is_empty();
        popped(cx, key, max, n, emptied);
        let verb: &[u8] = if max { b"ZPOPMAX" } else { b"ZPOPMIN" };
        if count.is_some() {
            cx.db.effect(&[verb, key, n.to_string().as_bytes()]);
        } else {
            cx.db.effect(&[verb, key]);
        }
        return Ok(true);
    }
    Ok(false)
}

fn wait_pop(cx: &mut Ctx<'_>, keys: &[&[u8]], timeout: &[u8], max: bool, count: Option<usize>) -> CmdResult {
    let timeout = options::timeout(timeout, cx.db.clock)?;
    if !try_pop(cx, keys, max, count)? {
        cx.block(keys, timeout, NullKind::Array)?;
    }
    Ok(())
}

/// What stands behind `numkeys`, which is argument `at`: keys, end and count.
fn parse_mpop<'k, 'a>(args: Words<'k, 'a>, at: usize) -> Result<(Words<'k, 'a>, bool, usize), Error> {
    let (keys, rest) = numbered_keys(args, at, "ERR numkeys should be greater than 0", Error::SYNTAX)?;
    let (side, rest) = rest.split_first().ok_or(Error::SYNTAX)?;
    let max = highest(side)?;
    let count = match rest {
        [] => 1,
        [word, n, more @ ..] if options::is(word, "count") => {
            let n = options::int_in(n, 1, i64::MAX, Some("ERR count should be greater than 0"))?;
            if !more.is_empty() {
                return Err(Error::SYNTAX);
            }
            n
        }
        _ => return Err(Error::SYNTAX),
    };
    Ok((keys, max, count as usize))
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Bench;

    #[test]
    fn a_pop_takes_from_its_end() {
        for entries in ["128", "0"] {
            let mut b = Bench::new();
            b.config("zset-max-listpack-entries", entries);
            b.run("zadd k 1 a 2 b 3 c 4 d 5 e");
            assert_eq!(b.run("zpopmin k"), "*2 $1 a $1 1");
            assert_eq!(b.run("zpopmax k 2"), "*4 $1 e $1 5 $1 d $1 4");
            assert_eq!(b.events, ["zpopmax k"]);
            assert_eq!(b.run("zpopmax k 0"), "*0");
            assert_eq!(b.run("zmpop 2 none k min count 5"), "*2 $1 k *2 *2 $1 b $1 2 *2 $1 c $1 3");
            assert_eq!(
                (b.log.clone(), b.events.clone()),
                (vec!["ZPOPMIN k 2".into()], vec!["zpopmin k".into(), "del k".into()])
            );
            assert_eq!((b.run("zpopmin k"), b.run("zmpop 1 k max")), ("*0".into(), "*-1".into()));
            assert_eq!(b.run("zpopmin k 1 2"), "-ERR syntax error");
            b.resp3();
            b.run("zadd k 1 a 2 b");
            assert_eq!((b.run("zpopmin k"), b.run("zpopmin k 1")), ("*2 $1 a ,1".into(), "*1 *2 $1 b ,2".into()));
        }
    }

    #[test]
    fn what_waited_is_logged_as_what_it_came_to() {
        let mut b = Bench::new();
        assert_eq!(b.run("bzpopmin a b 0"), "");
        assert!(b.blocked);
        b.run("zadd b 1 x 2 y");
        assert_eq!(b.run("bzpopmax a b 0"), "*3 $1 b $1 y $1 2");
        assert_eq!(b.log, ["ZPOPMAX b"]);
        assert_eq!(b.run("bzmpop 0.1 1 b min count 10"), "*2 $1 b *1 *2 $1 x $1 1");
        assert_eq!(b.log, ["ZPOPMIN b 1"]);
        assert_eq!(b.run("bzmpop x 1 b min"), "-ERR timeout is not a float or out of range");
        assert_eq!(b.run("zmpop 1 b up"), "-ERR syntax error");
        assert_eq!(b.run("zmpop 1 b min count 0"), "-ERR count should be greater than 0");
    }
}
