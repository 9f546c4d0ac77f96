//! ZCARD, ZSCORE, ZMSCORE, ZRANK, ZREVRANK, ZCOUNT, ZLEXCOUNT.

use super::super::collections::RO_ACCESS;
use super::super::{CmdResult, Command, Ctx, options};
use super::{lex_range, score_range};
use crate::resp::Error;
use crate::spec::{Flags, Group, KeyFlags, KeySpec, Meta};

const FAST: Flags = Flags::READONLY.or(Flags::FAST);

/// `ZCARD key`
pub static ZCARD: Command = Command::new(
    Meta::new("zcard", 2, FAST, Group::SortedSet).keys(&[KeySpec::one(1, KeyFlags::RO)]).doc(
        "1.2.0",
        "O(1)",
        "Tells how many members a sorted set has.",
    ),
    |cx, args| {
        let len = cx.db.zset_read(args[1])?.map_or(0, |set| set.len());
        cx.out.len_int(len);
        Ok(())
    },
);
/// `ZSCORE key member`
pub static ZSCORE: Command = Command::new(
    Meta::new("zscore", 3, FAST, Group::SortedSet).keys(&[KeySpec::one(1, RO_ACCESS)]).doc(
        "1.2.0",
        "O(1)",
        "Returns the score of a member of a sorted set.",
    ),
    |cx, args| {
        match cx.db.zset_read(args[1])?.and_then(|set| set.score(args[2])) {
            Some(score) => cx.out.double(score),
            None => cx.out.null(),
        }
        Ok(())
    },
);
/// `ZMSCORE key member [member ...]`
pub static ZMSCORE: Command = Command::new(
    Meta::new("zmscore", -3, FAST, Group::SortedSet).keys(&[KeySpec::one(1, RO_ACCESS)]).doc(
        "6.2.0",
        "O(N) where N is the number of members asked for.",
        "Returns the scores of several members of a sorted set.",
    ),
    |cx, args| {
        let set = cx.db.zset_read(args[1])?;
        cx.out.array(args.len() - 2);
        for member in &args[2..] {
            match set.and_then(|set| set.score(member)) {
                Some(score) => cx.out.double(score),
                None => cx.out.null(),
            }
        }
        Ok(())
    },
);
/// `ZRANK key member [WITHSCORE]`
pub static ZRANK: Command = Command::new(
    Meta::new("zrank", -3, FAST, Group::SortedSet).keys(&[KeySpec::one(1, RO_ACCESS)]).doc(
        "2.0.0",
        "O(log(N))",
        "Tells how many members stand below a member of a sorted set.",
    ),
    |cx, args| rank(cx, args, false),
);
/// `ZREVRANK key member [WITHSCORE]`
pub static ZREVRANK: Command = Command::new(
    Meta::new("zrevrank", -3, FAST, Group::SortedSet).keys(&[KeySpec::one(1, RO_ACCESS)]).doc(
        "2.0.0",
        "O(log(N))",
        "Tells how many members stand above a member of a sorted set.",
    ),
    |cx, args| rank(cx, args, true),
);
/// `ZCOUNT key min max`
pub static ZCOUNT: Command = Command::new(
    Meta::new("zcount", 4, FAST, Group::SortedSet).keys(&[KeySpec::one(1, RO_ACCESS)]).doc(
        "2.0.0",
        "O(log(N)) where N is the size of the sorted set.",
        "Tells how many members have a score within a range.",
    ),
    |cx, args| {
        let range = score_range(args[2], args[3])?;
        let n = cx.db.zset_read(args[1])?.map_or(0, |set| set.score_span(&range).1);
        cx.out.len_int(n);
        Ok(())
    },
);
/// `ZLEXCOUNT key min max`
pub static ZLEXCOUNT: Command = Command::new(
    Meta::new("zlexcount", 4, FAST, Group::SortedSet).keys(&[KeySpec::one(1, RO_ACCESS)]).doc(
        "2.8.9",
        "O(log(N)) where N is the size of the sorted set.",
        "Tells how many members are within a range of members, in a sorted set of equal scores.",
    ),
    |cx, args| {
        let range = lex_range(args[2], args[3])?;
        let n = cx.db.zset_read(args[1])?.map_or(0, |set| set.lex_span(&range).1);
        cx.out.len_int(n);
        Ok(())
    },
);

fn rank(cx: &mut Ctx<'_>, args: &[&[u8]], reverse: bool) -> CmdResult {
    let with_score = match args.get(3..) {
        Some([]) => false,
        Some([word]) if options::is(word, "withscore") => true,
        Some([_]) => return Err(Error::SYNTAX),
        _ => return Err(cx.arity()),
    };
    let found = cx.db.zset_read(args[1])?.and_then(|set| {
        let (rank, score) = set.rank(args[2])?;
        Some((if reverse { set.len() - 1 - rank } else { rank }, score))
    });
    match (found, with_score) {
        (Some((rank, _)), false) => cx.out.len_int(rank),
        (Some((rank, score)), true) => {
            cx.out.array(2);
            cx.out.len_int(rank);
            cx.out.double(score);
        }
        (None, false) => cx.out.null(),
        (None, true) => cx.out.null_array(),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Bench;

    #[test]
    fn ranks_scores_and_counts_are_told() {
        let mut b = Bench::new();
        b.run("zadd k 1 a 2 b 3 c");
        assert_eq!(
            (b.run("zrank k b"), b.run("zrevrank k c"), b.run("zrank k x")),
            (":1".into(), ":0".into(), "$-1".into())
        );
        assert_eq!(b.run("zrank k c withscore"), "*2 :2 $1 3");
        assert_eq!(b.run("zrank k x withscore"), "*-1");
        assert_eq!(b.run("zrank k c what"), "-ERR syntax error");
        assert_eq!(b.run("zrank k c withscore x"), "-ERR wrong number of arguments for 'zrank' command");
        assert_eq!(b.run("zmscore k a x"), "*2 $1 1 $-1");
        assert_eq!(
            (b.run("zscore k a"), b.run("zscore k x"), b.run("zcard k")),
            ("$1 1".into(), "$-1".into(), ":3".into())
        );
        assert_eq!((b.run("zcount k (1 +inf"), b.run("zcount none 0 1")), (":2".into(), ":0".into()));
        assert_eq!(b.run("zcount k a b"), "-ERR min or max is not a float");
        assert_eq!(b.run("zlexcount k - +"), ":3");
        assert_eq!(b.run("zlexcount k a b"), "-ERR min or max not valid string range item");
    }
}
