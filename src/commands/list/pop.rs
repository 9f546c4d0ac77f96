//! LPOP, RPOP, LMPOP and the forms of them that wait: BLPOP, BRPOP, BLMPOP.
//!
//! A command that waited is run again when one of its keys appears. It goes into the replication log as the plain pop
//! that it came to.

use super::super::collections::{RW_ACCESS_DELETE, elem, limits, numbered_keys};
use super::super::{CmdResult, Command, Ctx, options};
use super::{end, popped, reply_from_end, words};
use crate::clients::NullKind;
use crate::resp::Error;
use crate::spec::{Flags, Group, KeySpec, Meta};
use crate::types::End;

const POP_FLAGS: Flags = Flags::WRITE.or(Flags::FAST);
const WAIT_FLAGS: Flags = Flags::WRITE.or(Flags::BLOCKING);

/// `LPOP key [count]`
pub static LPOP: Command = Command::new(
    Meta::new("lpop", -2, POP_FLAGS, Group::List).keys(&[KeySpec::one(1, RW_ACCESS_DELETE)]).doc(
        "1.0.0",
        "O(N) where N is the number of elements returned.",
        "Takes elements from the head of a list and returns them.",
    ),
    |cx, args| pop(cx, args, End::Left),
);
/// `RPOP key [count]`
pub static RPOP: Command = Command::new(
    Meta::new("rpop", -2, POP_FLAGS, Group::List).keys(&[KeySpec::one(1, RW_ACCESS_DELETE)]).doc(
        "1.0.0",
        "O(N) where N is the number of elements returned.",
        "Takes elements from the tail of a list and returns them.",
    ),
    |cx, args| pop(cx, args, End::Right),
);
/// `BLPOP key [key ...] timeout`
pub static BLPOP: Command = Command::new(
    Meta::new("blpop", -3, WAIT_FLAGS, Group::List).keys(&[KeySpec::range(1, -2, 1, RW_ACCESS_DELETE)]).doc(
        "2.0.0",
        "O(N) where N is the number of keys.",
        "Takes the head of the first list that has one, and waits for it where none has.",
    ),
    |cx, args| wait_pop(cx, &args[1..args.len() - 1], args[args.len() - 1], End::Left, None),
);
/// `BRPOP key [key ...] timeout`
pub static BRPOP: Command = Command::new(
    Meta::new("brpop", -3, WAIT_FLAGS, Group::List).keys(&[KeySpec::range(1, -2, 1, RW_ACCESS_DELETE)]).doc(
        "2.0.0",
        "O(N) where N is the number of keys.",
        "Takes the tail of the first list that has one, and waits for it where none has.",
    ),
    |cx, args| wait_pop(cx, &args[1..args.len() - 1], args[args.len() - 1], End::Right, None),
);
/// `LMPOP numkeys key [key ...] LEFT|RIGHT [COUNT count]`
pub static LMPOP: Command = Command::new(
    Meta::new("lmpop", -4, Flags::WRITE.or(Flags::MOVABLEKEYS), Group::List)
        .keys(&[KeySpec::count(1, RW_ACCESS_DELETE)])
        .doc(
            "7.0.0",
            "O(N+M) where N is the number of keys and M the number of elements returned.",
            "Takes several elements from an end of the first list that has any.",
        ),
    |cx, args| {
        let (keys, end, count) = parse_mpop(args, 1)?;
        if !try_pop(cx, keys, end, Some(count))? {
            cx.out.null_array();
        }
        Ok(())
    },
);
/// `BLMPOP timeout numkeys key [key ...] LEFT|RIGHT [COUNT count]`
pub static BLMPOP: Command = Command::new(
    Meta::new("blmpop", -5, WAIT_FLAGS.or(Flags::MOVABLEKEYS), Group::List)
        .keys(&[KeySpec::count(2, RW_ACCESS_DELETE)])
        .doc(
            "7.0.0",
            "O(N+M) where N is the number of keys and M the number of elements returned.",
            "Takes several elements from an end of the first list that has any, and waits where none has.",
        ),
    |cx, args| {
        let (keys, end, count) = parse_mpop(args, 2)?;
        wait_pop(cx, keys, args[1], end, Some(count))
    },
);

fn pop(cx: &mut Ctx<'_>, args: &[&[u8]], end: End) -> CmdResult {
    let count = match args {
        [_, _] => None,
        [_, _, n] => Some(options::positive(n)? as usize),
        _ => return Err(cx.arity()),
    };
    let limits = limits(cx.server);
    let key = args[1];
    let Some(list) = cx.db.list_write(key)? else {
        if count.is_some() {
            cx.out.null_array()
        } else {
            cx.out.null()
        }
        return Ok(());
    };
    let n = match count {
        None => {
            match list.peek(end) {
                Some(e) => elem(cx.out, e),
                None => cx.out.null(),
            }
            list.drop_end(end, &limits);
            1
        }
        Some(0) => {
            cx.out.array(0);
            return Ok(());
        }
        Some(count) => {
            let n = count.min(list.len());
            reply_from_end(cx.out, list, end, n);
            let start = if end == End::Left { 0 } else { list.len() - n };
            list.remove_range(start, n, &limits);
            n
        }
    };
    let emptied = list.is_empty();
    popped(cx, key, end, n, emptied);
    Ok(())
}

/// Pops from the first of the keys that holds a list: `count` elements as LMPOP does, or one as BLPOP. False if none does.
fn try_pop(cx: &mut Ctx<'_>, keys: &[&[u8]], end: End, count: Option<usize>) -> Result<bool, Error> {
    let limits = limits(cx.server);
    for key in keys {
        let list = match cx.db.list_write(key) {
            Ok(Some(list)) if !list.is_empty() => list,
            Ok(_) => continue,
            // Who waits for a list does not hear of other types that come by.
            Err(_) if cx.session.serving => continue,
            Err(e) => return Err(e),
        };
        cx.out.array(2);
        cx.out.bulk(key);
        let n = count.unwrap_or(1).min(list.len());
        if count.is_some() {
            reply_from_end(cx.out, list, end, n);
        } else if let Some(e) = list.peek(end) {
            elem(cx.out, e);
        }
        let start = if end == End::Left { 0 } else { list.len() - n };
        list.remove_range(start, n, &limits);
        let emptied = list.is_empty();
        popped(cx, key, end, n, emptied);
        let verb = if end == End::Left { b"LPOP" } else { b"RPOP" };
        if count.is_some() {
            cx.db.effect(&[verb, key, n.to_string().as_bytes()]);
        } else {
            cx.db.effect(&[verb, key]);
        }
        debug_assert!(words(end).1.eq_ignore_ascii_case(std::str::from_utf8(verb).unwrap_or_default()));
        return Ok(true);
    }
    Ok(false)
}

fn wait_pop(cx: &mut Ctx<'_>, keys: &[&[u8]], timeout: &[u8], end: End, count: Option<usize>) -> CmdResult {
    let timeout = options::timeout(timeout, cx.db.clock)?;
    if !try_pop(cx, keys, end, count)? {
        cx.block(keys, timeout, NullKind::Array)?;
    }
    Ok(())
}

/// What stands behind `numkeys`, which is argument `at`: keys, end and count.
fn parse_mpop<'k, 'a>(args: &'k [&'a [u8]], at: usize) -> Result<(&'k [&'a [u8]], End, usize), Error> {
    let (keys, rest) = numbered_keys(args, at, "ERR numkeys should be greater than 0", Error::SYNTAX)?;
    let (side, rest) = rest.split_first().ok_or(Error::SYNTAX)?;
    let end = end(side)?;
    let count = match rest {
        [] => 1,
        [word, n] if options::is(word, "count") => {
            options::int_in(n, 1, i64::MAX, Some("ERR count should be greater than 0"))?
        }
        [word, n, ..] if options::is(word, "count") => {
            options::int_in(n, 1, i64::MAX, Some("ERR count should be greater than 0"))?;
            return Err(Error::SYNTAX);
        }
        _ => return Err(Error::SYNTAX),
    };
    Ok((keys, end, count as usize))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::Bench;

    #[test]
    fn lmpop_arguments_are_checked_in_redis_order() {
        let parse = |s: &str| {
            parse_mpop(&s.split(' ').map(str::as_bytes).collect::<Vec<_>>(), 1).map(|p| (p.0.len(), p.1, p.2))
        };
        assert_eq!(parse("lmpop 1 k left"), Ok((1, End::Left, 1)));
        assert_eq!(parse("lmpop 2 a b RIGHT count 3"), Ok((2, End::Right, 3)));
        let none = Error::new("ERR numkeys should be greater than 0");
        assert_eq!(parse("lmpop 0 k left"), Err(none.clone()));
        assert_eq!(parse("lmpop x k left"), Err(none));
        assert_eq!(parse("lmpop 4 a b left"), Err(Error::SYNTAX));
        assert_eq!(parse("lmpop 2 a b"), Err(Error::SYNTAX));
        assert_eq!(parse("lmpop 1 a up"), Err(Error::SYNTAX));
        assert_eq!(parse("lmpop 1 a left count"), Err(Error::SYNTAX));
        assert_eq!(parse("lmpop 1 a left count 0"), Err(Error::new("ERR count should be greater than 0")));
        assert_eq!(parse("lmpop 1 a left count 1 count 2"), Err(Error::SYNTAX));
    }

    #[test]
    fn a_pop_takes_from_its_end_and_deletes_an_emptied_list() {
        let mut b = Bench::new();
        b.run("rpush k a b c d e");
        assert_eq!(b.run("lpop k"), "$1 a");
        assert_eq!(b.run("rpop k 2"), "*2 $1 e $1 d");
        assert_eq!(b.run("lpop k 0"), "*0");
        assert_eq!(b.run("lpop k 9"), "*2 $1 b $1 c");
        assert_eq!(b.events, ["lpop k", "del k"]);
        assert_eq!((b.run("lpop k"), b.run("lpop k 1")), ("$-1".into(), "*-1".into()));
        assert_eq!(b.run("lpop k -1"), "-ERR value is out of range, must be positive");
        assert_eq!(b.run("lpop k 1 2"), "-ERR wrong number of arguments for 'lpop' command");
        b.resp3();
        assert_eq!((b.run("lpop k"), b.run("lpop k 1")), ("_".into(), "_".into()));
    }

    #[test]
    fn what_waited_is_logged_as_what_it_came_to() {
        let mut b = Bench::new();
        b.run("rpush k a b c");
        assert_eq!(b.run("blpop none k 0"), "*2 $1 k $1 a");
        assert_eq!(b.log, ["LPOP k"]);
        assert_eq!(b.run("blmpop 0 2 none k right count 9"), "*2 $1 k *2 $1 c $1 b");
        assert_eq!(b.log, ["RPOP k 2"]);
        assert_eq!(b.run("brpop k 0"), "");
        assert!(b.blocked && b.log.is_empty());
        assert_eq!(b.run("lmpop 1 k left"), "*-1");
        assert_eq!(b.run("blpop k -1"), "-ERR timeout is negative");
        assert_eq!(b.run("blpop k x"), "-ERR timeout is not a float or out of range");
    }

    #[test]
    fn a_served_client_passes_over_values_of_other_types() {
        let mut b = Bench::new();
        b.run("sadd k a");
        b.serving(true);
        assert_eq!(b.run("blpop k 0"), "");
        assert!(b.blocked);
    }
}
