//! ZADD and ZINCRBY.

use super::super::collections::{RW_ACCESS_UPDATE, RW_UPDATE, limits};
use super::super::{CmdResult, Command, Ctx, options};
use crate::keyspace::notify;
use crate::resp::Error;
use crate::spec::{Flags, Group, KeySpec, Meta};
use crate::types::ZSet;

const FLAGS: Flags = Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST);

/// `ZADD key [NX|XX] [GT|LT] [CH] [INCR] score member [score member ...]`
pub static ZADD: Command = Command::new(
    Meta::new("zadd", -4, FLAGS, Group::SortedSet).keys(&[KeySpec::one(1, RW_UPDATE)]).doc(
        "1.2.0",
        "O(log(N)) for each member, where N is the size of the sorted set.",
        "Adds members to a sorted set or changes their scores, making the sorted set if need be.",
    ),
    |cx, args| {
        let (rules, pairs) = Rules::parse(&args[2..])?;
        zadd(cx, args[1], rules, pairs)
    },
);
/// `ZINCRBY key increment member`
pub static ZINCRBY: Command = Command::new(
    Meta::new("zincrby", 4, FLAGS, Group::SortedSet).keys(&[KeySpec::one(1, RW_ACCESS_UPDATE)]).doc(
        "1.2.0",
        "O(log(N)) where N is the size of the sorted set.",
        "Adds to the score of a member; a member that is not there counts as 0.",
    ),
    |cx, args| {
        let rules = Rules { incr: true, ..Rules::default() };
        zadd(cx, args[1], rules, &args[2..])
    },
);

/// What ZADD's options ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Rules {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
    ch: bool,
    incr: bool,
}

impl Rules {
    /// Reads the options; what is left are the pairs.
    fn parse<'k, 'a>(mut words: &'k [&'a [u8]]) -> Result<(Rules, &'k [&'a [u8]]), Error> {
        let mut r = Rules::default();
        while let [word, rest @ ..] = words {
            let flag = match *word {
                w if options::is(w, "nx") => &mut r.nx,
                w if options::is(w, "xx") => &mut r.xx,
                w if options::is(w, "gt") => &mut r.gt,
                w if options::is(w, "lt") => &mut r.lt,
                w if options::is(w, "ch") => &mut r.ch,
                w if options::is(w, "incr") => &mut r.incr,
                _ => break,
            };
            *flag = true;
            words = rest;
        }
        if words.is_empty() || !words.len().is_multiple_of(2) {
            return Err(Error::SYNTAX);
        }
        if r.nx && r.xx {
            return Err(Error::new("ERR XX and NX options at the same time are not compatible"));
        }
        if (r.nx && (r.gt || r.lt)) || (r.gt && r.lt) {
            return Err(Error::new("ERR GT, LT, and/or NX options at the same time are not compatible"));
        }
        if r.incr && words.len() > 2 {
            return Err(Error::new("ERR INCR option supports a single increment-element pair"));
        }
        Ok((r, words))
    }

    /// The score that a member with the score `old` gets from `arg`; none if the options leave it alone.
    fn apply(self, old: Option<f64>, arg: f64) -> Option<f64> {
        let Some(old) = old else { return (!self.xx).then_some(arg) };
        if self.nx {
            return None;
        }
        let new = if self.incr { old + arg } else { arg };
        let refused = (self.lt && new >= old) || (self.gt && new <= old);
        (!refused).then_some(new)
    }
}

/// ZADD with its options, scores and members as words: what GEOADD comes to.
pub(in crate::commands) fn run(cx: &mut Ctx<'_>, key: &[u8], words: &[&[u8]]) -> CmdResult {
    let (rules, pairs) = Rules::parse(words)?;
    zadd(cx, key, rules, pairs)
}

fn zadd(cx: &mut Ctx<'_>, key: &[u8], rules: Rules, pairs: &[&[u8]]) -> CmdResult {
    let scores: smallvec::SmallVec<[f64; 8]> =
        pairs.iter().step_by(2).map(|s| options::float(s)).collect::<Result<_, _>>()?;
    let limits = limits(cx.server);
    let set = if rules.xx {
        match cx.db.zset_write(key)? {
            Some(set) => set,
            None => {
                if rules.incr {
                    cx.out.null()
                } else {
                    cx.out.int(0)
                }
                return Ok(());
            }
        }
    } else {
        cx.db.zset_create(key, || {
            let longest = pairs.iter().skip(1).step_by(2).map(|m| m.len()).max().unwrap_or(0);
            ZSet::for_members(scores.len(), longest, &limits)
        })?
    };
    let (mut added, mut updated, mut result, mut nan) = (0, 0, None, false);
    for (score, pair) in scores.iter().zip(pairs.chunks_exact(2)) {
        let mut new = None;
        let old = set.update(pair[1], &limits, |old| {
            new = rules.apply(old, *score);
            nan |= new.is_some_and(f64::is_nan);
            new.filter(|n| !n.is_nan())
        });
        if nan {
            // Only INCR makes one, of infinities, and it has but one pair.
            return Err(Error::new("ERR resulting score is not a number (NaN)"));
        }
        match (old, new) {
            (None, Some(_)) => added += 1,
            (Some(old), Some(new)) if old != new => updated += 1,
            _ => {}
        }
        result = new;
    }
    if rules.incr {
        match result {
            Some(score) => cx.out.double(score),
            None => cx.out.null(),
        }
    } else {
        cx.out.int(if rules.ch { added + updated } else { added });
    }
    if added + updated > 0 {
        cx.db.modified(key, (added + updated) as u64);
        cx.db.notify(notify::ZSET, if rules.incr { "zincr" } else { "zadd" }, key);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::Bench;

    #[test]
    fn options_are_checked_in_redis_order() {
        let parse = |s: &'static str| Rules::parse(&s.split(' ').map(str::as_bytes).collect::<Vec<_>>()).map(|r| r.0);
        assert_eq!(parse("xx gt ch 1 a"), Ok(Rules { xx: true, gt: true, ch: true, ..Rules::default() }));
        assert_eq!(parse("1 a 2"), Err(Error::SYNTAX));
        assert_eq!(parse("nx"), Err(Error::SYNTAX));
        assert!(parse("nx xx 1 a").unwrap_err().text().starts_with(b"ERR XX and NX"));
        assert!(parse("gt lt 1 a").unwrap_err().text().starts_with(b"ERR GT, LT"));
        assert!(parse("incr 1 a 2 b").unwrap_err().text().starts_with(b"ERR INCR"));
    }

    #[test]
    fn conditions_decide_about_the_new_score() {
        let r = |nx, xx, gt, lt| Rules { nx, xx, gt, lt, ..Rules::default() };
        assert_eq!(r(true, false, false, false).apply(Some(1.0), 2.0), None);
        assert_eq!(r(false, true, false, false).apply(None, 2.0), None);
        assert_eq!(r(false, false, true, false).apply(Some(3.0), 2.0), None);
        assert_eq!(r(false, false, true, false).apply(None, 2.0), Some(2.0));
        assert_eq!(r(false, false, false, true).apply(Some(3.0), 2.0), Some(2.0));
        let incr = Rules { incr: true, gt: true, ..Rules::default() };
        assert_eq!((incr.apply(Some(3.0), 2.0), incr.apply(Some(3.0), -2.0)), (Some(5.0), None));
    }

    /// A long member that XX keeps out turned the set into a tree, as did many that were there.
    #[test]
    fn what_is_not_added_leaves_the_encoding_alone() {
        let mut b = Bench::new();
        let long = "m".repeat(65);
        b.run("zadd k 1 a");
        assert_eq!(b.run(&format!("zadd k xx 6 {long}")), ":0");
        assert_eq!(b.run(&format!("zadd k {}", "2 a ".repeat(200).trim())), ":0");
        assert_eq!(b.run("object encoding k"), "$8 listpack");
        assert_eq!(b.run(&format!("zadd k 6 {long}")), ":1");
        assert_eq!(b.run("object encoding k"), "$8 skiplist");
    }

    #[test]
    fn scores_are_set_and_counted() {
        let mut b = Bench::new();
        assert_eq!(b.run("zadd k 1 a 2 b"), ":2");
        assert_eq!(b.events, ["new k", "zadd k"]);
        assert_eq!((b.run("zadd k 3 a"), b.run("zadd k ch 4 a 5 c")), (":0".into(), ":2".into()));
        assert_eq!(b.run("zadd k nx 9 a"), ":0");
        assert!(b.log.is_empty());
        assert_eq!(b.run("zadd k incr 1.5 a"), "$3 5.5");
        assert_eq!(b.events, ["zincr k"]);
        assert_eq!(
            (b.run("zadd k xx incr 1 x"), b.run("zadd none xx 1 a"), b.run("zcard none")),
            ("$-1".into(), ":0".into(), ":0".into())
        );
        assert_eq!(b.run("zincrby k -0.5 a"), "$1 5");
        assert_eq!(b.run("zincrby k 0 a"), "$1 5");
        assert!(b.log.is_empty());
        assert_eq!(b.run("zadd k x a"), "-ERR value is not a valid float");
        b.run("zadd k inf i");
        assert_eq!(b.run("zincrby k -inf i"), "-ERR resulting score is not a number (NaN)");
        b.resp3();
        assert_eq!(b.run("zincrby k 1 a"), ",6");
    }
}
