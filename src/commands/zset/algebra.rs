//! ZUNION, ZINTER, ZDIFF, their storing forms, and ZINTERCARD. Plain sets may take part: their members score 1.

use std::collections::HashMap;

use super::super::collections::{OW_UPDATE, RO_ACCESS, limits, store};
use super::super::{CmdResult, Command, Ctx, options};
use super::{member, members_header};
use crate::keyspace::{Db, Value, View, notify};
use crate::resp::Error;
use crate::spec::{Flags, Group, KeySpec, Meta};
use crate::types::{Elem, IntBuf, Set, ZSet};

const fn read(name: &'static str, since: &'static str, complexity: &'static str, summary: &'static str) -> Meta {
    Meta::new(name, -3, Flags::READONLY.or(Flags::MOVABLEKEYS), Group::SortedSet)
        .keys(const { &[KeySpec::count(1, RO_ACCESS)] })
        .doc(since, complexity, summary)
}
const fn write(name: &'static str, since: &'static str, complexity: &'static str, summary: &'static str) -> Meta {
    Meta::new(name, -4, Flags::WRITE.or(Flags::DENYOOM).or(Flags::MOVABLEKEYS), Group::SortedSet)
        .keys(const { &[KeySpec::one(1, OW_UPDATE), KeySpec::count(2, RO_ACCESS)] })
        .doc(since, complexity, summary)
}
const UNION: &str = "O(N)+O(M*log(M)) where N is the number of members of all sets and M that of the result.";
const INTER: &str = "O(N*K)+O(M*log(M)) at worst where N is the size of the smallest set, K the number of sets and M the size of the result.";
const DIFF: &str = "O(L + (N-K)*log(N)) at worst where L is the number of members of all sets, N the size of the first \
                    and K that of the result.";

/// `ZUNION numkeys key [key ...] [WEIGHTS weight ...] [AGGREGATE SUM|MIN|MAX] [WITHSCORES]`
pub static ZUNION: Command = Command::new(
    read("zunion", "6.2.0", UNION, "Returns the members that at least one of several sorted sets has."),
    |cx, args| reply(cx, args, Op::Union),
);
/// `ZINTER numkeys key [key ...] [WEIGHTS weight ...] [AGGREGATE SUM|MIN|MAX] [WITHSCORES]`
pub static ZINTER: Command = Command::new(
    read("zinter", "6.2.0", INTER, "Returns the members that several sorted sets have in common."),
    |cx, args| reply(cx, args, Op::Inter),
);
/// `ZDIFF numkeys key [key ...] [WITHSCORES]`
pub static ZDIFF: Command = Command::new(
    read("zdiff", "6.2.0", DIFF, "Returns the members of the first sorted set that none of the others has."),
    |cx, args| reply(cx, args, Op::Diff),
);
/// `ZUNIONSTORE destination numkeys key [key ...] [WEIGHTS weight ...] [AGGREGATE SUM|MIN|MAX]`
pub static ZUNIONSTORE: Command = Command::new(
    write("zunionstore", "2.0.0", UNION, "Stores the members that at least one of several sorted sets has."),
    |cx, args| store_result(cx, args, Op::Union, "zunionstore"),
);
/// `ZINTERSTORE destination numkeys key [key ...] [WEIGHTS weight ...] [AGGREGATE SUM|MIN|MAX]`
pub static ZINTERSTORE: Command = Command::new(
    write("zinterstore", "2.0.0", INTER, "Stores the members that several sorted sets have in common."),
    |cx, args| store_result(cx, args, Op::Inter, "zinterstore"),
);
/// `ZDIFFSTORE destination numkeys key [key ...]`
pub static ZDIFFSTORE: Command = Command::new(
    write("zdiffstore", "6.2.0", DIFF, "Stores the members of the first sorted set that none of the others has."),
    |cx, args| store_result(cx, args, Op::Diff, "zdiffstore"),
);
/// `ZINTERCARD numkeys key [key ...] [LIMIT limit]`
pub static ZINTERCARD: Command = Command::new(
    read(
        "zintercard",
        "7.0.0",
        "O(N*K) at worst where N is the size of the smallest set and K the number of sets.",
        "Tells how many members several sorted sets have in common.",
    ),
    zintercard,
);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Union,
    Inter,
    Diff,
}

/// How the scores of a member in several sets become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn join(self, a: f64, b: f64) -> f64 {
        match self {
            // Infinities of both signs cancel out.
            Aggregate::Sum => not_nan(a + b),
            Aggregate::Min => {
                if b < a {
                    b
                } else {
                    a
                }
            }
            Aggregate::Max => {
                if b > a {
                    b
                } else {
                    a
                }
            }
        }
    }
}

fn not_nan(n: f64) -> f64 {
    if n.is_nan() { 0.0 } else { n }
}

/// What a command asks for, its keys aside.
#[derive(Debug, PartialEq)]
struct Query {
    weights: Vec<f64>,
    aggregate: Aggregate,
    with_scores: bool,
    limit: usize,
}

/// Which options a command knows.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Knows {
    weights: bool,
    scores: bool,
    limit: bool,
}

impl Query {
    fn parse(mut words: &[&[u8]], keys: usize, knows: Knows) -> Result<Query, Error> {
        let mut q = Query { weights: vec![1.0; keys], aggregate: Aggregate::Sum, with_scores: false, limit: 0 };
        while let [word, rest @ ..] = words {
            let taken = match *word {
                w if knows.weights && rest.len() >= keys && options::is(w, "weights") => {
                    for (weight, arg) in q.weights.iter_mut().zip(rest) {
                        *weight = options::float(arg).map_err(|_| Error::new("ERR weight value is not a float"))?;
                    }
                    keys
                }
                w if knows.weights && !rest.is_empty() && options::is(w, "aggregate") => {
                    q.aggregate = match rest[0] {
                        a if options::is(a, "sum") => Aggregate::Sum,
                        a if options::is(a, "min") => Aggregate::Min,
                        a if options::is(a, "max") => Aggregate::Max,
                        _ => return Err(Error::SYNTAX),
                    };
                    1
                }
                w if knows.scores && options::is(w, "withscores") => {
                    q.with_scores = true;
                    0
                }
                w if knows.limit && !rest.is_empty() && options::is(w, "limit") => {
                    q.limit = options::int_in(rest[0], 0, i64::MAX, Some("ERR LIMIT can't be negative"))? as usize;
                    1
                }
                _ => return Err(Error::SYNTAX),
            };
            words = &rest[taken..];
        }
        Ok(q)
    }
}

/// An input.
#[derive(Clone, Copy)]
enum Source<'d> {
    Nothing,
    Set(&'d Set),
    ZSet(&'d ZSet),
}

impl Source<'_> {
    fn len(self) -> usize {
        match self {
            Source::Nothing => 0,
            Source::Set(s) => s.len(),
            Source::ZSet(z) => z.len(),
        }
    }

    fn score(self, member: &[u8]) -> Option<f64> {
        match self {
            Source::Nothing => None,
            Source::Set(s) => s.contains(member).then_some(1.0),
            Source::ZSet(z) => z.score(member),
        }
    }

    /// Shows the members until `f` has seen enough.
    fn walk(self, mut f: impl FnMut(&[u8], f64) -> bool) {
        let mut buf = IntBuf::new();
        match self {
            Source::Nothing => {}
            Source::Set(s) => {
                for e in s.iter() {
                    if !f(e.as_bytes(&mut buf), 1.0) {
                        return;
                    }
                }
            }
            Source::ZSet(z) => {
                let mut go = true;
                z.for_each(|e, score| {
                    if go {
                        go = f(e.as_bytes(&mut buf), score);
                    }
                });
            }
        }
    }

    fn same(self, other: Source<'_>) -> bool {
        match (self, other) {
            (Source::Set(a), Source::Set(b)) => std::ptr::eq(a, b),
            (Source::ZSet(a), Source::ZSet(b)) => std::ptr::eq(a, b),
            _ => false,
        }
    }
}

/// Reads the inputs and the options; `at` is the argument with their number.
fn inputs<'d>(
    db: &'d mut Db<'_>,
    args: &[&[u8]],
    at: usize,
    knows: Knows,
    name: &str,
) -> Result<(Vec<Source<'d>>, Query), Error> {
    let n = options::int(args[at])?;
    if n < 1 {
        return Err(Error::owned(format!("ERR at least 1 input key is needed for '{name}' command")));
    }
    let rest = &args[at + 1..];
    let n = usize::try_from(n).ok().filter(|n| *n <= rest.len()).ok_or(Error::SYNTAX)?;
    let (keys, words) = rest.split_at(n);
    for key in keys {
        match db.read(key).map(|e| e.view()) {
            None | Some(View::Set(_) | View::ZSet(_)) => {}
            Some(_) => return Err(Error::WRONGTYPE),
        }
    }
    let query = Query::parse(words, n, knows)?;
    let source = |key: &&[u8]| match db.peek(key).map(|e| e.view()) {
        Some(View::Set(s)) => Source::Set(s),
        Some(View::ZSet(z)) => Source::ZSet(z),
        _ => Source::Nothing,
    };
    Ok((keys.iter().map(source).collect(), query))
}

/// Members with scores, in no order.
type Pairs = Vec<(Vec<u8>, f64)>;

fn combine(sources: Vec<Source<'_>>, query: &Query, op: Op) -> Pairs {
    let mut result = match op {
        Op::Diff => diff(&sources),
        _ => {
            // From the smallest: few look-ups in an intersection, and the order in which scores are summed.
            let mut weighted: Vec<_> = sources.into_iter().zip(query.weights.iter().copied()).collect();
            weighted.sort_by_key(|(s, _)| s.len());
            if op == Op::Union { union(&weighted, query.aggregate) } else { inter(&weighted, query.aggregate) }
        }
    };
    // Not total_cmp, for -0 and 0 are one score.
    result.sort_by(|a, b| a.1.partial_cmp(&b.1).unwrap_or(std::cmp::Ordering::Equal).then_with(|| a.0.cmp(&b.0)));
    result
}

fn union(sources: &[(Source<'_>, f64)], aggregate: Aggregate) -> Pairs {
    let mut scores: HashMap<Vec<u8>, f64> = HashMap::with_capacity(sources.last().map_or(0, |s| s.0.len()));
    for (source, weight) in sources {
        source.walk(|member, score| {
            let score = not_nan(weight * score);
            match scores.get_mut(member) {
                Some(sum) => *sum = aggregate.join(*sum, score),
                None => drop(scores.insert(member.to_vec(), score)),
            }
            true
        });
    }
    scores.into_iter().collect()
}

/// Shows the members that all sources have with their joined scores, until `f` has seen enough.
fn for_common(sources: &[(Source<'_>, f64)], aggregate: Aggregate, mut f: impl FnMut(&[u8], f64) -> bool) {
    let Some(((first, weight), others)) = sources.split_first() else { return };
    first.walk(|member, own| {
        let mut joined = not_nan(weight * own);
        for (other, weight) in others {
            let score = if other.same(*first) { Some(own) } else { other.score(member) };
            match score {
                Some(score) => joined = aggregate.join(joined, score * weight),
                None => return true,
            }
        }
        f(member, joined)
    });
}

fn inter(sources: &[(Source<'_>, f64)], aggregate: Aggregate) -> Pairs {
    let mut result = Vec::new();
    for_common(sources, aggregate, |member, score| {
        result.push((member.to_vec(), score));
        true
    });
    result
}

fn diff(sources: &[Source<'_>]) -> Pairs {
    let mut result = Vec::new();
    let Some((first, others)) = sources.split_first() else { return result };
    if others.iter().any(|s| s.same(*first)) {
        return result;
    }
    let by_lookup = first.len() * (others.len() + 1) / 2;
    let by_removal = first.len() + others.iter().map(|s| s.len()).sum::<usize>();
    if by_lookup <= by_removal {
        first.walk(|member, score| {
            if others.iter().all(|s| s.score(member).is_none()) {
                result.push((member.to_vec(), score));
            }
            true
        });
        return result;
    }
    let mut left: HashMap<Vec<u8>, f64> = HashMap::with_capacity(first.len());
    first.walk(|member, score| {
        left.insert(member.to_vec(), score);
        true
    });
    for source in others {
        source.walk(|member, _| {
            left.remove(member);
            !left.is_empty()
        });
    }
    left.into_iter().collect()
}

fn reply(cx: &mut Ctx<'_>, args: &[&[u8]], op: Op) -> CmdResult {
    let knows = Knows { weights: op != Op::Diff, scores: true, limit: false };
    let name = cx.name();
    let (sources, query) = inputs(&mut cx.db, args, 1, knows, name)?;
    let result = combine(sources, &query, op);
    members_header(cx.out, result.len(), query.with_scores);
    for (m, score) in &result {
        member(cx.out, Elem::Str(m), *score, query.with_scores);
    }
    Ok(())
}

fn store_result(cx: &mut Ctx<'_>, args: &[&[u8]], op: Op, event: &'static str) -> CmdResult {
    let knows = Knows { weights: op != Op::Diff, scores: false, limit: false };
    let (limits, name) = (limits(cx.server), cx.name());
    let (sources, query) = inputs(&mut cx.db, args, 2, knows, name)?;
    let result = combine(sources, &query, op);
    let longest = result.iter().map(|(m, _)| m.len()).max().unwrap_or(0);
    let value = (!result.is_empty()).then(|| {
        let mut set = ZSet::for_members(result.len(), longest, &limits);
        for (m, score) in &result {
            set.insert(m, *score, &limits);
        }
        (Value::ZSet(Box::new(set)), result.len())
    });
    store(cx, args[1], value, notify::ZSET, event);
    Ok(())
}

fn zintercard(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let knows = Knows { weights: false, scores: false, limit: true };
    let name = cx.name();
    let (mut sources, query) = inputs(&mut cx.db, args, 1, knows, name)?;
    sources.sort_by_key(|s| s.len());
    let weighted: Vec<_> = sources.into_iter().map(|s| (s, 1.0)).collect();
    let mut n = 0;
    for_common(&weighted, Aggregate::Sum, |_, _| {
        n += 1;
        n != query.limit
    });
    cx.out.len_int(n);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::Bench;
    use crate::types::Limits;

    const L: Limits = Limits::DEFAULT;

    fn zset(pairs: &[(&str, f64)]) -> ZSet {
        let mut z = ZSet::new();
        pairs.iter().for_each(|(m, s)| {
            z.insert(m.as_bytes(), *s, &L);
        });
        z
    }

    fn query(weights: &[f64], aggregate: Aggregate) -> Query {
        Query { weights: weights.to_vec(), aggregate, with_scores: false, limit: 0 }
    }

    fn text(pairs: Pairs) -> String {
        pairs.into_iter().map(|(m, s)| format!("{}={s} ", String::from_utf8(m).unwrap())).collect()
    }

    #[test]
    fn scores_are_weighted_and_joined() {
        let (a, b) = (zset(&[("x", 1.0), ("y", 2.0)]), zset(&[("y", 10.0), ("z", 3.0)]));
        let both = || vec![Source::ZSet(&a), Source::ZSet(&b)];
        assert_eq!(text(combine(both(), &query(&[2.0, 1.0], Aggregate::Sum), Op::Union)), "x=2 z=3 y=14 ");
        assert_eq!(text(combine(both(), &query(&[1.0, 1.0], Aggregate::Min), Op::Inter)), "y=2 ");
        assert_eq!(text(combine(both(), &query(&[1.0, 1.0], Aggregate::Max), Op::Inter)), "y=10 ");
        assert_eq!(text(combine(both(), &query(&[1.0, 1.0], Aggregate::Sum), Op::Diff)), "x=1 ");
        let mut s = Set::new();
        s.add(b"y", &L);
        let with_set = vec![Source::ZSet(&a), Source::Set(&s), Source::Nothing];
        assert_eq!(text(combine(with_set, &query(&[1.0; 3], Aggregate::Sum), Op::Union)), "x=1 y=3 ");
    }

    #[test]
    fn infinities_of_both_signs_make_zero() {
        let (a, b) = (zset(&[("x", f64::INFINITY)]), zset(&[("x", f64::NEG_INFINITY)]));
        let both = vec![Source::ZSet(&a), Source::ZSet(&b)];
        assert_eq!(text(combine(both, &query(&[1.0, 1.0], Aggregate::Sum), Op::Inter)), "x=0 ");
        assert_eq!(text(combine(vec![Source::ZSet(&a)], &query(&[0.0], Aggregate::Sum), Op::Union)), "x=0 ");
    }

    #[test]
    fn options_depend_on_the_command() {
        let all = Knows { weights: true, scores: true, limit: false };
        let parse =
            |s: &str, keys, knows| Query::parse(&s.split(' ').map(str::as_bytes).collect::<Vec<_>>(), keys, knows);
        let q = parse("weights 1 2 aggregate MAX withscores", 2, all).unwrap();
        assert!(q.weights == [1.0, 2.0] && q.aggregate == Aggregate::Max && q.with_scores);
        assert_eq!(parse("weights 1", 2, all), Err(Error::SYNTAX));
        assert_eq!(parse("weights 1 x", 2, all), Err(Error::new("ERR weight value is not a float")));
        assert_eq!(parse("aggregate avg", 2, all), Err(Error::SYNTAX));
        assert_eq!(parse("limit 1", 2, all), Err(Error::SYNTAX));
        let card = Knows { weights: false, scores: false, limit: true };
        assert_eq!(parse("limit -1", 2, card), Err(Error::new("ERR LIMIT can't be negative")));
        assert_eq!(parse("limit 5", 2, card).unwrap().limit, 5);
    }

    #[test]
    fn sets_and_sorted_sets_combine() {
        let mut b = Bench::new();
        b.run("zadd a 1 x 2 y");
        b.run("sadd s y z");
        b.run("rpush l x");
        assert_eq!(b.run("zunion 2 a s withscores"), "*6 $1 x $1 1 $1 z $1 1 $1 y $1 3");
        assert_eq!(b.run("zinter 2 a s weights 2 10 withscores"), "*2 $1 y $2 14");
        assert_eq!(b.run("zdiff 2 a s"), "*1 $1 x");
        assert_eq!(b.run("zunionstore d 3 a s none aggregate max"), ":3");
        assert_eq!(b.events, ["keymiss none", "new d", "zunionstore d"]);
        assert_eq!(b.run("zinterstore d 2 a none"), ":0");
        assert_eq!(b.events, ["keymiss none", "del d"]);
        assert_eq!((b.run("zintercard 2 a s"), b.run("zintercard 2 a a limit 1")), (":1".into(), ":1".into()));
        assert!(b.run("zunion 2 a l").starts_with("-WRONGTYPE"));
        assert_eq!(b.run("zunionstore d 0 a"), "-ERR at least 1 input key is needed for 'zunionstore' command");
        assert_eq!(b.run("zunion 3 a s"), "-ERR syntax error");
        assert_eq!(b.run("zdiff 2 a s weights 1 1"), "-ERR syntax error");
        b.resp3();
        assert_eq!(b.run("zdiff 2 a s withscores"), "*1 *2 $1 x ,1");
    }
}
