//! ZRANGE, its older forms, and ZRANGESTORE.
//!
//! A range, whatever it goes by, is a span of ranks; LIMIT cuts the span, REV reads it from its end.

use super::super::collections::{OW_UPDATE, RO_ACCESS, limits, store};
use super::super::{CmdResult, Command, Ctx, options};
use super::{By, lex_range, member, members_header, score_range};
use crate::keyspace::{Value, notify};
use crate::resp::Error;
use crate::spec::{Flags, Group, KeySpec, Meta};
use crate::types::{IntBuf, ZSet};

const fn read(name: &'static str, since: &'static str, summary: &'static str) -> Meta {
    Meta::new(name, -4, Flags::READONLY, Group::SortedSet).keys(const { &[KeySpec::one(1, RO_ACCESS)] }).doc(
        since,
        "O(log(N)+M) where N is the size of the sorted set and M the number of members returned.",
        summary,
    )
}

/// `ZRANGE key start stop [BYSCORE|BYLEX] [REV] [LIMIT offset count] [WITHSCORES]`
pub static ZRANGE: Command = Command::new(
    read("zrange", "1.2.0", "Returns the members of a sorted set within a range of ranks, scores or members."),
    |cx, args| zrange(cx, args, Form::Any),
);
/// `ZREVRANGE key start stop [WITHSCORES]`
pub static ZREVRANGE: Command = Command::new(
    read("zrevrange", "1.2.0", "Returns the members within a range of ranks, the highest score first.")
        .deprecated("6.2.0", "`ZRANGE` with the `REV` argument"),
    |cx, args| zrange(cx, args, Form::Fixed(Kind::Rank, true)),
);
/// `ZRANGEBYSCORE key min max [WITHSCORES] [LIMIT offset count]`
pub static ZRANGEBYSCORE: Command = Command::new(
    read("zrangebyscore", "1.0.5", "Returns the members within a range of scores.")
        .deprecated("6.2.0", "`ZRANGE` with the `BYSCORE` argument"),
    |cx, args| zrange(cx, args, Form::Fixed(Kind::Score, false)),
);
/// `ZREVRANGEBYSCORE key max min [WITHSCORES] [LIMIT offset count]`
pub static ZREVRANGEBYSCORE: Command = Command::new(
    read("zrevrangebyscore", "2.2.0", "Returns the members within a range of scores, the highest score first.")
        .deprecated("6.2.0", "`ZRANGE` with the `REV` and `BYSCORE` arguments"),
    |cx, args| zrange(cx, args, Form::Fixed(Kind::Score, true)),
);
/// `ZRANGEBYLEX key min max [LIMIT offset count]`
pub static ZRANGEBYLEX: Command = Command::new(
    read("zrangebylex", "2.8.9", "Returns the members within a range of members, in a sorted set of equal scores.")
        .deprecated("6.2.0", "`ZRANGE` with the `BYLEX` argument"),
    |cx, args| zrange(cx, args, Form::Fixed(Kind::Lex, false)),
);
/// `ZREVRANGEBYLEX key max min [LIMIT offset count]`
pub static ZREVRANGEBYLEX: Command = Command::new(
    read("zrevrangebylex", "2.8.9", "Returns the members within a range of members, the last first.")
        .deprecated("6.2.0", "`ZRANGE` with the `REV` and `BYLEX` arguments"),
    |cx, args| zrange(cx, args, Form::Fixed(Kind::Lex, true)),
);
/// `ZRANGESTORE dst src min max [BYSCORE|BYLEX] [REV] [LIMIT offset count]`
pub static ZRANGESTORE: Command = Command::new(
    Meta::new("zrangestore", -5, Flags::WRITE.or(Flags::DENYOOM), Group::SortedSet)
        .keys(&[KeySpec::one(1, OW_UPDATE), KeySpec::one(2, RO_ACCESS)])
        .doc(
            "6.2.0",
            "O(log(N)+M) where N is the size of the sorted set and M the number of members stored.",
            "Stores the members of a sorted set within a range of ranks, scores or members.",
        ),
    zrangestore,
);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Rank,
    Score,
    Lex,
}

/// Which options a command knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// ZRANGE: all.
    Any,
    /// ZRANGESTORE: all but WITHSCORES.
    Store,
    /// The older forms: kind and direction go with the name.
    Fixed(Kind, bool),
}

/// A range as it was asked for.
#[derive(Debug, PartialEq)]
struct Query<'a> {
    by: By<'a>,
    reverse: bool,
    with_scores: bool,
    offset: i64,
    limit: i64,
}

impl<'a> Query<'a> {
    /// Reads `min max [options]`.
    fn parse(words: &[&'a [u8]], form: Form) -> Result<Self, Error> {
        let (mut kind, mut reverse) = match form {
            Form::Fixed(kind, reverse) => (Some(kind), Some(reverse)),
            _ => (None, None),
        };
        let (mut with_scores, mut offset, mut limit) = (false, 0, -1);
        let mut i = 2;
        while i < words.len() {
            match words[i] {
                w if form != Form::Store && options::is(w, "withscores") => with_scores = true,
                w if options::is(w, "limit") && i + 2 < words.len() => {
                    offset = options::int(words[i + 1])?;
                    limit = options::int(words[i + 2])?;
                    i += 2;
                }
                w if reverse.is_none() && options::is(w, "rev") => reverse = Some(true),
                w if kind.is_none() && options::is(w, "bylex") => kind = Some(Kind::Lex),
                w if kind.is_none() && options::is(w, "byscore") => kind = Some(Kind::Score),
                _ => return Err(Error::SYNTAX),
            }
            i += 1;
        }
        let (kind, reverse) = (kind.unwrap_or(Kind::Rank), reverse.unwrap_or(false));
        if limit != -1 && kind == Kind::Rank {
            return Err(Error::new(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ));
        }
        if with_scores && kind == Kind::Lex {
            return Err(Error::new("ERR syntax error, WITHSCORES not supported in combination with BYLEX"));
        }
        // A reverse range by score or member is given from its high end.
        let (min, max) = if reverse && kind != Kind::Rank { (words[1], words[0]) } else { (words[0], words[1]) };
        let by = match kind {
            Kind::Rank => By::Rank(options::int(min)?, options::int(max)?),
            Kind::Score => By::Score(score_range(min, max)?),
            Kind::Lex => By::Lex(lex_range(min, max)?),
        };
        Ok(Query { by, reverse, with_scores, offset, limit })
    }

    /// The rank to start reading at, and how many members to read, in the query's direction.
    fn cut(&self, set: &ZSet) -> (usize, usize) {
        let (first, n) = self.by.span(set, self.reverse);
        let Some(offset) = usize::try_from(self.offset).ok().filter(|o| *o < n) else { return (0, 0) };
        let n = n - offset;
        let taken = if self.limit < 0 { n } else { n.min(self.limit as usize) };
        if self.reverse { (first + n - 1, taken) } else { (first + offset, taken) }
    }
}

fn zrange(cx: &mut Ctx<'_>, args: &[&[u8]], form: Form) -> CmdResult {
    let query = Query::parse(&args[2..], form)?;
    let Some(set) = cx.db.zset_read(args[1])? else {
        cx.out.array(0);
        return Ok(());
    };
    let (start, n) = query.cut(set);
    members_header(cx.out, n, query.with_scores);
    if n > 0 {
        set.for_range(start, n, query.reverse, |e, score| member(cx.out, e, score, query.with_scores));
    }
    Ok(())
}

fn zrangestore(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let query = Query::parse(&args[3..], Form::Store)?;
    let limits = limits(cx.server);
    let mut result = None;
    if let Some(set) = cx.db.zset_read(args[2])? {
        let (start, n) = query.cut(set);
        if n > 0 {
            let mut copy = ZSet::for_members(n, 0, &limits);
            set.for_range(start, n, query.reverse, |e, score| {
                copy.insert(e.as_bytes(&mut IntBuf::new()), score, &limits);
            });
            result = Some((Value::ZSet(Box::new(copy)), n));
        }
    }
    store(cx, args[1], result, notify::ZSET, "zrangestore");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::Bench;

    fn parse(s: &'static str, form: Form) -> Result<Query<'static>, Error> {
        Query::parse(&s.split(' ').map(str::as_bytes).collect::<Vec<_>>(), form)
    }

    #[test]
    fn each_form_knows_its_own_options() {
        assert!(parse("0 -1 WITHSCORES rev", Form::Any).is_ok());
        assert!(parse("0 -1 WITHSCORES", Form::Store).is_err());
        assert!(parse("0 -1 rev", Form::Fixed(Kind::Rank, true)).is_err());
        assert!(parse("1 2 byscore bylex", Form::Any).is_err());
        assert!(parse("1 2 byscore limit 0", Form::Any).is_err());
        let e = parse("0 -1 limit 0 1", Form::Any).unwrap_err();
        assert!(e.text().starts_with(b"ERR syntax error, LIMIT"));
        let e = parse("[a [b bylex withscores", Form::Any).unwrap_err();
        assert!(e.text().starts_with(b"ERR syntax error, WITHSCORES"));
    }

    #[test]
    fn limits_cut_the_span_in_its_direction() {
        let mut z = ZSet::new();
        for i in 0..5 {
            z.insert(&[b'a' + i], f64::from(i), &crate::types::Limits::DEFAULT);
        }
        let cut = |s| parse(s, Form::Any).unwrap().cut(&z);
        assert_eq!(cut("1 3 byscore limit 1 1"), (2, 1));
        assert_eq!(cut("3 1 byscore rev limit 1 5"), (2, 2));
        assert_eq!(cut("1 3 byscore limit 3 5"), (0, 0));
        assert_eq!(cut("1 3 byscore limit -1 5"), (0, 0));
        assert_eq!(cut("1 3 byscore limit 0 -7"), (1, 3));
        assert_eq!(cut("0 1 rev"), (4, 2));
    }

    #[test]
    fn every_form_reads_the_same_range() {
        let mut b = Bench::new();
        b.run("zadd k 1 a 2 b 3 c 4 d");
        assert_eq!(b.run("zrange k 1 2"), "*2 $1 b $1 c");
        assert_eq!(b.run("zrevrange k 0 1 withscores"), "*4 $1 d $1 4 $1 c $1 3");
        assert_eq!(b.run("zrange k 0 1 rev"), "*2 $1 d $1 c");
        assert_eq!(b.run("zrangebyscore k (1 3"), "*2 $1 b $1 c");
        assert_eq!(b.run("zrange k (1 3 byscore limit 1 -1"), "*1 $1 c");
        assert_eq!(b.run("zrevrangebyscore k +inf 2 limit 1 1"), "*1 $1 c");
        assert_eq!(b.run("zrevrangebyscore k 2 +inf"), "*0");
        assert_eq!(b.run("zrange none 0 -1"), "*0");
        assert_eq!(b.run("zrangebyscore k a b"), "-ERR min or max is not a float");
        assert_eq!(b.run("zrangestore d k 1 2 rev"), ":2");
        assert_eq!(b.events, ["new d", "zrangestore d"]);
        assert_eq!(b.run("zrange d 0 -1 withscores"), "*4 $1 b $1 2 $1 c $1 3");
        assert_eq!(b.run("zrangestore d k 9 10"), ":0");
        assert_eq!(b.events, ["del d"]);
        b.resp3();
        assert_eq!(b.run("zrange k 0 0 withscores"), "*1 *2 $1 a ,1");
    }

    #[test]
    fn members_of_one_score_are_ranged_by_themselves() {
        for entries in ["128", "0"] {
            let mut b = Bench::new();
            b.config("zset-max-listpack-entries", entries);
            b.run("zadd k 0 a 0 b 0 c 0 d");
            assert_eq!(b.run("zrangebylex k [b (d"), "*2 $1 b $1 c");
            assert_eq!(b.run("zrevrangebylex k + (b limit 0 1"), "*1 $1 d");
            assert_eq!(b.run("zrange k - [b bylex"), "*2 $1 a $1 b");
            assert_eq!(b.run("zrange k + - bylex"), "*0");
            assert_eq!(b.run("zremrangebylex k (a (c"), ":1");
        }
    }
}
