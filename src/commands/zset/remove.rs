//! ZREM, ZREMRANGEBYRANK, ZREMRANGEBYSCORE, ZREMRANGEBYLEX.

use super::super::collections::RW_DELETE;
use super::super::{CmdResult, Command, Ctx, options};
use super::{By, lex_range, score_range};
use crate::keyspace::notify;
use crate::spec::{Flags, Group, KeySpec, Meta};

/// `ZREM key member [member ...]`
pub static ZREM: Command = Command::new(
    Meta::new("zrem", -3, Flags::WRITE.or(Flags::FAST), Group::SortedSet).keys(&[KeySpec::one(1, RW_DELETE)]).doc(
        "1.2.0",
        "O(M*log(N)) where N is the size of the sorted set and M the number of members to remove.",
        "Removes members from a sorted set, and the sorted set with its last one.",
    ),
    |cx, args| {
        let Some(set) = cx.db.zset_write(args[1])? else {
            cx.out.int(0);
            return Ok(());
        };
        let removed = args[2..].iter().filter(|m| set.remove(m).is_some()).count();
        let emptied = set.is_empty();
        done(cx, args[1], removed, emptied, "zrem");
        Ok(())
    },
);

const fn ranged(name: &'static str, since: &'static str, summary: &'static str) -> Meta {
    Meta::new(name, 4, Flags::WRITE, Group::SortedSet).keys(const { &[KeySpec::one(1, RW_DELETE)] }).doc(
        since,
        "O(log(N)+M) where N is the size of the sorted set and M the number of members removed.",
        summary,
    )
}
/// `ZREMRANGEBYRANK key start stop`
pub static ZREMRANGEBYRANK: Command = Command::new(
    ranged("zremrangebyrank", "2.0.0", "Removes the members of a sorted set within a range of ranks."),
    |cx, args| {
        let by = By::Rank(options::int(args[2])?, options::int(args[3])?);
        remove(cx, args[1], by, "zremrangebyrank")
    },
);
/// `ZREMRANGEBYSCORE key min max`
pub static ZREMRANGEBYSCORE: Command = Command::new(
    ranged("zremrangebyscore", "1.2.0", "Removes the members of a sorted set within a range of scores."),
    |cx, args| {
        let by = By::Score(score_range(args[2], args[3])?);
        remove(cx, args[1], by, "zremrangebyscore")
    },
);
/// `ZREMRANGEBYLEX key min max`
pub static ZREMRANGEBYLEX: Command = Command::new(
    ranged(
        "zremrangebylex",
        "2.8.9",
        "Removes the members within a range of members, in a sorted set of equal scores.",
    ),
    |cx, args| {
        let by = By::Lex(lex_range(args[2], args[3])?);
        remove(cx, args[1], by, "zremrangebylex")
    },
);

fn remove(cx: &mut Ctx<'_>, key: &[u8], by: By<'_>, event: &'static str) -> CmdResult {
    let Some(set) = cx.db.zset_write(key)? else {
        cx.out.int(0);
        return Ok(());
    };
    let (start, n) = by.span(set, false);
    set.remove_range(start, n, |_, _| {});
    let emptied = set.is_empty();
    done(cx, key, n, emptied, event);
    Ok(())
}

fn done(cx: &mut Ctx<'_>, key: &[u8], removed: usize, emptied: bool, event: &'static str) {
    cx.out.len_int(removed);
    if removed > 0 {
        cx.db.notify(notify::ZSET, event, key);
        if emptied {
            cx.db.remove_if_empty(key);
        }
        cx.db.modified(key, removed as u64);
    }
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Bench;

    #[test]
    fn ranges_are_removed_and_an_emptied_set_goes() {
        for entries in ["128", "0"] {
            let mut b = Bench::new();
            b.config("zset-max-listpack-entries", entries);
            b.run("zadd k 1 a 2 b 3 c 4 d 5 e");
            assert_eq!(b.run("zrem k a x"), ":1");
            assert_eq!(b.run("zremrangebyrank k -1 -1"), ":1");
            assert_eq!(b.run("zremrangebyscore k (2 (4"), ":1");
            assert_eq!(b.run("zremrangebyscore k 5 9"), ":0");
            assert!(b.log.is_empty());
            assert_eq!(b.run("zrange k 0 -1"), "*2 $1 b $1 d");
            assert_eq!(b.run("zremrangebyrank k 0 -1"), ":2");
            assert_eq!(b.events, ["zremrangebyrank k", "del k"]);
            assert_eq!(b.run("zremrangebyrank k x 1"), "-ERR value is not an integer or out of range");
        }
    }
}
