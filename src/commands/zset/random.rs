//! ZRANDMEMBER.

use super::super::collections::{RO_ACCESS, draw, draw_count, elem};
use super::super::{CmdResult, Command, Ctx, options};
use super::{member, members_header};
use crate::resp::Error;
use crate::spec::{Flags, Group, KeySpec, Meta};

/// `ZRANDMEMBER key [count [WITHSCORES]]`
pub static ZRANDMEMBER: Command = Command::new(
    Meta::new("zrandmember", -2, Flags::READONLY, Group::SortedSet)
        .keys(&[KeySpec::one(1, RO_ACCESS)])
        .doc(
            "6.2.0",
            "O(N) where N is the number of members returned.",
            "Returns random members of a sorted set: distinct ones for a positive count, any for a negative one.",
        )
        .tips(&["nondeterministic_output"]),
    zrandmember,
);

fn zrandmember(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let Some(count) = args.get(2) else {
        match cx.db.zset_read(args[1])? {
            Some(set) => set.random(|e, _| elem(cx.out, e)),
            None => cx.out.null(),
        }
        return Ok(());
    };
    draw_count(count, false)?;
    let with_scores = match args.get(3..) {
        Some([]) => false,
        Some([word]) if options::is(word, "withscores") => true,
        _ => return Err(Error::SYNTAX),
    };
    let count = draw_count(count, with_scores)?;
    let Some(set) = cx.db.zset_read(args[1])? else {
        cx.out.array(0);
        return Ok(());
    };
    if count >= 0 {
        let n = set.len().min(count as usize);
        members_header(cx.out, n, with_scores);
        set.sample(n, |e, score| member(cx.out, e, score, with_scores));
    } else {
        let n = count.unsigned_abs() as usize;
        members_header(cx.out, n, with_scores);
        draw(cx.server, cx.session, cx.out, n as u64, |out| set.random(|e, score| member(out, e, score, with_scores)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Bench;

    #[test]
    fn pairs_are_flat_in_resp2_and_nested_in_resp3() {
        let mut b = Bench::new();
        b.run("zadd k 1 a");
        assert_eq!(
            (b.run("zrandmember k"), b.run("zrandmember k 3"), b.run("zrandmember none")),
            ("$1 a".into(), "*1 $1 a".into(), "$-1".into())
        );
        assert_eq!(b.run("zrandmember k -2 withscores"), "*4 $1 a $1 1 $1 a $1 1");
        assert_eq!(b.run("zrandmember k 1 what"), "-ERR syntax error");
        b.resp3();
        assert_eq!(b.run("zrandmember k 1 withscores"), "*1 *2 $1 a ,1");
    }
}
