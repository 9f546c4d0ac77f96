//! SINTER, SUNION, SDIFF, their storing forms, and SINTERCARD.

use std::cmp::Reverse;

use super::super::collections::{OW_UPDATE, RO_ACCESS, elem, limits, numbered_keys, store};
use super::super::{CmdResult, Command, Ctx, options};
use crate::keyspace::{Db, Value, View, notify};
use crate::resp::Error;
use crate::spec::{Flags, Group, KeySpec, Meta};
use crate::types::{Elem, Limits, Set};

const UNORDERED: &[&str] = &["nondeterministic_output_order"];

const fn read(name: &'static str, complexity: &'static str, summary: &'static str) -> Meta {
    Meta::new(name, -2, Flags::READONLY, Group::Set)
        .keys(const { &[KeySpec::range(1, -1, 1, RO_ACCESS)] })
        .doc("1.0.0", complexity, summary)
        .tips(UNORDERED)
}
const fn write(name: &'static str, complexity: &'static str, summary: &'static str) -> Meta {
    Meta::new(name, -3, Flags::WRITE.or(Flags::DENYOOM), Group::Set)
        .keys(const { &[KeySpec::one(1, OW_UPDATE), KeySpec::range(2, -1, 1, RO_ACCESS)] })
        .doc("1.0.0", complexity, summary)
}
const PRODUCT: &str = "O(N*M) at worst where N is the size of the smallest set and M the number of sets.";
const SUM: &str = "O(N) where N is the number of members of all sets together.";

/// `SINTER key [key ...]`
pub static SINTER: Command =
    Command::new(read("sinter", PRODUCT, "Returns the members that several sets have in common."), |cx, args| {
        let limits = limits(cx.server);
        reply(cx, &args[1..], |sets| inter(sets, &limits))
    });
/// `SUNION key [key ...]`
pub static SUNION: Command =
    Command::new(read("sunion", SUM, "Returns the members that at least one of several sets has."), |cx, args| {
        let limits = limits(cx.server);
        reply(cx, &args[1..], |sets| union(sets, &limits))
    });
/// `SDIFF key [key ...]`
pub static SDIFF: Command = Command::new(
    read("sdiff", SUM, "Returns the members of the first set that none of the others has."),
    |cx, args| {
        let limits = limits(cx.server);
        reply(cx, &args[1..], |sets| diff(sets, &limits))
    },
);
/// `SINTERSTORE destination key [key ...]`
pub static SINTERSTORE: Command =
    Command::new(write("sinterstore", PRODUCT, "Stores the members that several sets have in common."), |cx, args| {
        let limits = limits(cx.server);
        store_result(cx, args, "sinterstore", |sets| inter(sets, &limits))
    });
/// `SUNIONSTORE destination key [key ...]`
pub static SUNIONSTORE: Command =
    Command::new(write("sunionstore", SUM, "Stores the members that at least one of several sets has."), |cx, args| {
        let limits = limits(cx.server);
        store_result(cx, args, "sunionstore", |sets| union(sets, &limits))
    });
/// `SDIFFSTORE destination key [key ...]`
pub static SDIFFSTORE: Command = Command::new(
    write("sdiffstore", SUM, "Stores the members of the first set that none of the others has."),
    |cx, args| {
        let limits = limits(cx.server);
        store_result(cx, args, "sdiffstore", |sets| diff(sets, &limits))
    },
);
/// `SINTERCARD numkeys key [key ...] [LIMIT limit]`
pub static SINTERCARD: Command = Command::new(
    Meta::new("sintercard", -3, Flags::READONLY.or(Flags::MOVABLEKEYS), Group::Set)
        .keys(&[KeySpec::count(1, RO_ACCESS)])
        .doc("7.0.0", PRODUCT, "Tells how many members several sets have in common."),
    sintercard,
);

/// The sets at the keys; `None` where there is no key. The first key of another type is the error.
fn sets<'d>(db: &'d mut Db<'_>, keys: &[&[u8]]) -> Result<Vec<Option<&'d Set>>, Error> {
    for key in keys {
        db.set_read(key)?;
    }
    let set = |key: &&[u8]| match db.peek(key).map(|e| e.view()) {
        Some(View::Set(set)) => Some(set),
        _ => None,
    };
    Ok(keys.iter().map(set).collect())
}

fn reply(cx: &mut Ctx<'_>, keys: &[&[u8]], combine: impl FnOnce(Vec<Option<&Set>>) -> Set) -> CmdResult {
    let result = combine(sets(&mut cx.db, keys)?);
    cx.out.set(result.len());
    result.for_each(|e| elem(cx.out, e));
    Ok(())
}

fn store_result(
    cx: &mut Ctx<'_>,
    args: &[&[u8]],
    event: &'static str,
    combine: impl FnOnce(Vec<Option<&Set>>) -> Set,
) -> CmdResult {
    let result = combine(sets(&mut cx.db, &args[2..])?);
    let len = result.len();
    let value = (len > 0).then(|| (Value::Set(Box::new(result)), len));
    store(cx, args[1], value, notify::SET, event);
    Ok(())
}

/// Shows the members that all sets have, until `f` has seen enough.
fn for_common(sets: Vec<Option<&Set>>, mut f: impl FnMut(Elem<'_>) -> bool) {
    let Some(mut sets) = sets.into_iter().collect::<Option<Vec<&Set>>>() else { return };
    sets.sort_by_key(|s| s.len());
    let Some((smallest, others)) = sets.split_first() else { return };
    for e in smallest.iter() {
        let common = others.iter().all(|s| std::ptr::eq(*s, *smallest) || s.contains_elem(e));
        if common && !f(e) {
            return;
        }
    }
}

fn inter(sets: Vec<Option<&Set>>, limits: &Limits) -> Set {
    let all_ints = sets.iter().flatten().min_by_key(|s| s.len()).is_some_and(|s| s.as_intset().is_some());
    let mut result = if all_ints { Set::new() } else { Set::for_members(b"", 0, limits) };
    for_common(sets, |e| {
        result.add_elem(e, limits);
        true
    });
    result.prefer_intset(limits);
    result
}

fn union(sets: Vec<Option<&Set>>, limits: &Limits) -> Set {
    let mut result = Set::new();
    for set in sets.into_iter().flatten() {
        set.for_each(|e| {
            result.add_elem(e, limits);
        });
    }
    result
}

fn diff(sets: Vec<Option<&Set>>, limits: &Limits) -> Set {
    let mut result = Set::new();
    let Some((Some(first), others)) = sets.split_first() else { return result };
    let mut others: Vec<&Set> = others.iter().flatten().copied().collect();
    if others.iter().any(|s| std::ptr::eq(*s, *first)) {
        return result;
    }
    // Two ways: look each member of the first set up in the others, or take their members out of a copy. The first has
    // the better constant, and stops early where sets have much in common.
    let by_lookup = first.len() * (others.len() + 1) / 2;
    let by_removal = first.len() + others.iter().map(|s| s.len()).sum::<usize>();
    if by_lookup <= by_removal {
        others.sort_by_key(|s| Reverse(s.len()));
        first.for_each(|e| {
            if !others.iter().any(|s| s.contains_elem(e)) {
                result.add_elem(e, limits);
            }
        });
        return result;
    }
    first.for_each(|e| {
        result.add_elem(e, limits);
    });
    for set in others {
        for e in set.iter() {
            if result.remove(e.as_bytes(&mut itoa::Buffer::new())) && result.is_empty() {
                return result;
            }
        }
    }
    result
}

fn sintercard(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let too_many = Error::new("ERR Number of keys can't be greater than number of args");
    let (keys, rest) = numbered_keys(args, 1, "ERR numkeys should be greater than 0", too_many)?;
    let mut limit = 0;
    for option in rest.chunks(2) {
        match option {
            [word, n] if options::is(word, "limit") => {
                limit = options::int_in(n, 0, i64::MAX, Some("ERR LIMIT can't be negative"))?;
            }
            _ => return Err(Error::SYNTAX),
        }
    }
    let mut n = 0;
    for_common(sets(&mut cx.db, keys)?, |_| {
        n += 1;
        n != limit
    });
    cx.out.int(n);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::Bench;
    use std::collections::BTreeSet;

    const L: Limits = Limits::DEFAULT;

    fn of(members: &[&str]) -> Set {
        let mut s = Set::new();
        for m in members {
            s.add(m.as_bytes(), &L);
        }
        s
    }

    fn texts(s: &Set) -> BTreeSet<String> {
        s.iter().map(|e| String::from_utf8(e.to_vec()).unwrap()).collect()
    }

    #[test]
    fn intersection_union_and_difference_agree_with_std() {
        let big: Vec<String> = (0..400).map(|i| format!("m{i}")).collect();
        let big = of(&big.iter().map(String::as_str).collect::<Vec<_>>());
        let cases = [of(&["1", "2", "3"]), of(&["2", "m5", "x"]), of(&["m5", "m399", "2"]), big];
        for a in &cases {
            for b in &cases {
                let (ta, tb) = (texts(a), texts(b));
                assert_eq!(texts(&inter(vec![Some(a), Some(b)], &L)), &ta & &tb);
                assert_eq!(texts(&union(vec![Some(a), None, Some(b)], &L)), &ta | &tb);
                assert_eq!(texts(&diff(vec![Some(a), Some(b), None], &L)), &ta - &tb);
            }
        }
        assert!(inter(vec![Some(&cases[0]), None], &L).is_empty());
        assert!(diff(vec![None, Some(&cases[0])], &L).is_empty());
    }

    #[test]
    fn an_intersection_of_integers_is_an_intset() {
        let text = of(&["1", "a", "2"]);
        let r = inter(vec![Some(&text), Some(&of(&["2", "1", "7", "b"]))], &L);
        assert_eq!((r.encoding(), r.len()), ("intset", 2));
    }

    #[test]
    fn results_are_replied_or_stored() {
        let mut b = Bench::new();
        b.run("sadd a 1 2 3");
        b.run("sadd b 2 3 4");
        b.run("rpush s x");
        assert_eq!(b.run("sinter a b"), "*2 $1 2 $1 3");
        assert_eq!(b.run("sinter a none"), "*0");
        assert_eq!(b.run("sdiff a b none"), "*1 $1 1");
        assert_eq!(b.run("sunion a b"), "*4 $1 1 $1 2 $1 3 $1 4");
        assert!(b.run("sinter none s").starts_with("-WRONGTYPE"));
        assert_eq!(b.run("sunionstore s a b"), ":4");
        assert_eq!(b.events, ["sunionstore s"]);
        assert_eq!(b.run("sinterstore s a none"), ":0");
        assert_eq!(b.events, ["keymiss none", "del s"]);
        assert_eq!(b.run("sdiffstore s a a"), ":0");
        assert!(b.log.is_empty());
        assert_eq!((b.run("sintercard 2 a b"), b.run("sintercard 2 a b limit 1")), (":2".into(), ":1".into()));
        assert_eq!(b.run("sintercard 3 a b"), "-ERR Number of keys can't be greater than number of args");
        assert_eq!(b.run("sintercard 0 a"), "-ERR numkeys should be greater than 0");
        assert_eq!(b.run("sintercard 1 a limit -1"), "-ERR LIMIT can't be negative");
        assert_eq!(b.run("sintercard 1 a limit"), "-ERR syntax error");
        b.resp3();
        assert_eq!(b.run("sdiff a b"), "~1 $1 1");
    }
}
