//! Commands on sorted sets.

pub mod algebra;
pub mod pop;
pub mod random;
pub mod range;
pub mod rank;
pub mod remove;
pub mod zadd;
pub mod zscan;

use super::{Command, options};
use crate::base::num;
use crate::resp::{Error, Out};
use crate::types::zset::{LexBound, LexRange, ScoreRange};
use crate::types::{Elem, ZSet};

/// All of them.
pub const COMMANDS: &[&Command] = &[
    &pop::BZMPOP,
    &pop::BZPOPMAX,
    &pop::BZPOPMIN,
    &zadd::ZADD,
    &rank::ZCARD,
    &rank::ZCOUNT,
    &algebra::ZDIFF,
    &algebra::ZDIFFSTORE,
    &zadd::ZINCRBY,
    &algebra::ZINTER,
    &algebra::ZINTERCARD,
    &algebra::ZINTERSTORE,
    &rank::ZLEXCOUNT,
    &pop::ZMPOP,
    &rank::ZMSCORE,
    &pop::ZPOPMAX,
    &pop::ZPOPMIN,
    &random::ZRANDMEMBER,
    &range::ZRANGE,
    &range::ZRANGEBYLEX,
    &range::ZRANGEBYSCORE,
    &range::ZRANGESTORE,
    &rank::ZRANK,
    &remove::ZREM,
    &remove::ZREMRANGEBYLEX,
    &remove::ZREMRANGEBYRANK,
    &remove::ZREMRANGEBYSCORE,
    &range::ZREVRANGE,
    &range::ZREVRANGEBYLEX,
    &range::ZREVRANGEBYSCORE,
    &rank::ZREVRANK,
    &zscan::ZSCAN,
    &rank::ZSCORE,
    &algebra::ZUNION,
    &algebra::ZUNIONSTORE,
];

/// One end of a score range: a number as `strtod` reads it, with `(` before it when the end itself is left out.
fn score_bound(arg: &[u8]) -> Result<(f64, bool), Error> {
    let (text, open) = match arg {
        [b'(', rest @ ..] => (rest, true),
        _ => (arg, false),
    };
    // C reads up to the first NUL, skips leading space, and makes 0 of nothing at all.
    let text = text.split(|b| *b == 0).next().unwrap_or_default();
    if text.is_empty() {
        return Ok((0.0, open));
    }
    let from = text.iter().position(|b| !matches!(b, b' ' | b'\t'..=b'\r')).unwrap_or(text.len());
    let text = &text[from..];
    let plain = || std::str::from_utf8(text).ok()?.parse::<f64>().ok().filter(|n| !n.is_nan());
    let n = num::parse_f64(text).or_else(plain).ok_or(Error::new("ERR min or max is not a float"))?;
    Ok((n, open))
}

fn score_range(min: &[u8], max: &[u8]) -> Result<ScoreRange, Error> {
    let (min, min_open) = score_bound(min)?;
    let (max, max_open) = score_bound(max)?;
    Ok(ScoreRange { min, min_open, max, max_open })
}

fn lex_bound(arg: &[u8]) -> Result<LexBound<'_>, Error> {
    match arg {
        [b'-'] | [b'-', 0, ..] => Ok(LexBound::First),
        [b'+'] | [b'+', 0, ..] => Ok(LexBound::Last),
        [b'[', member @ ..] => Ok(LexBound::Closed(member)),
        [b'(', member @ ..] => Ok(LexBound::Open(member)),
        _ => Err(Error::new("ERR min or max not valid string range item")),
    }
}

fn lex_range<'a>(min: &'a [u8], max: &'a [u8]) -> Result<LexRange<'a>, Error> {
    Ok(LexRange { min: lex_bound(min)?, max: lex_bound(max)? })
}

/// The ranks that a range names: by rank, score or member.
#[derive(Clone, Copy, Debug, PartialEq)]
enum By<'a> {
    Rank(i64, i64),
    Score(ScoreRange),
    Lex(LexRange<'a>),
}

impl By<'_> {
    /// First rank and count. Ranks count from the highest score when `reverse`; the span is in ascending order always.
    fn span(&self, set: &ZSet, reverse: bool) -> (usize, usize) {
        match self {
            By::Rank(start, stop) => match super::collections::clamp(*start, *stop, set.len()) {
                Some((first, n)) if reverse => (set.len() - first - n, n),
                Some(span) => span,
                None => (0, 0),
            },
            By::Score(range) => set.score_span(range),
            By::Lex(range) => set.lex_span(range),
        }
    }
}

/// MIN or MAX: whether it is MAX.
fn highest(arg: &[u8]) -> Result<bool, Error> {
    match arg {
        w if options::is(w, "min") => Ok(false),
        w if options::is(w, "max") => Ok(true),
        _ => Err(Error::SYNTAX),
    }
}

/// The header of `n` members, with their scores if asked for: RESP2 has one flat array, RESP3 an array for each pair.
fn members_header(out: &mut Out, n: usize, with_scores: bool) {
    let flat = with_scores && !out.resp3();
    out.array(if flat { n * 2 } else { n });
}

/// One member under such a header.
fn member(out: &mut Out, e: Elem<'_>, score: f64, with_scores: bool) {
    if with_scores && out.resp3() {
        out.array(2);
    }
    super::collections::elem(out, e);
    if with_scores {
        out.double(score);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn score_ends_are_read_as_strtod_reads() {
        for (text, n, open) in [
            (&b"1.5"[..], 1.5, false),
            (b"(1.5", 1.5, true),
            (b"-inf", f64::NEG_INFINITY, false),
            (b"(+inf", f64::INFINITY, true),
            (b"1e400", f64::INFINITY, false),
            (b"", 0.0, false),
            (b"(", 0.0, true),
            (b" 3", 3.0, false),
            (b"3\0x", 3.0, false),
            (b"0x10", 16.0, false),
        ] {
            assert_eq!(score_bound(text), Ok((n, open)), "{text:?}");
        }
        for bad in [&b"x"[..], b"1 ", b"((1", b"nan", b" ", b"1x"] {
            assert!(score_bound(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn lex_ends_need_their_mark() {
        assert_eq!(lex_bound(b"-"), Ok(LexBound::First));
        assert_eq!(lex_bound(b"[a"), Ok(LexBound::Closed(b"a")));
        assert_eq!(lex_bound(b"("), Ok(LexBound::Open(b"")));
        for bad in [&b"a"[..], b"", b"-a", b"++"] {
            assert!(lex_bound(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_reverse_span_counts_from_the_other_end() {
        let mut z = ZSet::new();
        for (m, s) in [("a", 1.0), ("b", 2.0), ("c", 3.0)] {
            z.insert(m.as_bytes(), s, &crate::types::Limits::DEFAULT);
        }
        assert_eq!(By::Rank(0, 0).span(&z, true), (2, 1));
        assert_eq!(By::Rank(1, -1).span(&z, true), (0, 2));
        assert_eq!(By::Rank(1, -1).span(&z, false), (1, 2));
        assert_eq!(By::Rank(5, 9).span(&z, true), (0, 0));
    }
}
