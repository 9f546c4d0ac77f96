//! ZSCAN.

use super::super::collections::{NamesOnly, RO_ACCESS, Scan, elem, empty_scan, scan_reply};
use super::super::{CmdResult, Command, Ctx, options};
use crate::base::num;
use crate::resp::Out;
use crate::spec::{Flags, Group, KeySpec, Meta};

/// `ZSCAN key cursor [MATCH pattern] [COUNT count] [NOSCORES]`
pub static ZSCAN: Command = Command::new(
    Meta::new("zscan", -3, Flags::READONLY, Group::SortedSet)
        .keys(&[KeySpec::one(1, RO_ACCESS)])
        .doc(
            "2.8.0",
            "O(1) for every call; O(N) for a whole walk over a sorted set of N members.",
            "Walks over the members of a sorted set with their scores, some with each call.",
        )
        .tips(&["nondeterministic_output"]),
    zscan,
);

fn zscan(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let cursor = options::cursor(args[2])?;
    let Some(set) = cx.db.zset_read(args[1])? else { return empty_scan(cx) };
    let scan = Scan::parse(cursor, &args[3..], NamesOnly::Scores)?;
    let mut found = Out::new(cx.out.proto());
    let mut text = Vec::new();
    let mut n = 0;
    let next = scan.run(|cursor, seen| {
        set.scan(cursor, |member, score| {
            *seen += 1;
            if scan.wants(member) {
                elem(&mut found, member);
                n += 1;
                if !scan.names_only {
                    // A string in both protocol versions.
                    text.clear();
                    num::fmt_f64(score, &mut text);
                    found.bulk(&text);
                    n += 1;
                }
            }
        })
    });
    scan_reply(cx.out, next, n, &mut found);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Bench;

    #[test]
    fn scores_are_strings_in_both_protocols() {
        let mut b = Bench::new();
        b.run("zadd k 1.5 a 2 b");
        b.resp3();
        assert_eq!(b.run("zscan k 0"), "*2 $1 0 *4 $1 a $3 1.5 $1 b $1 2");
        assert_eq!(b.run("zscan k 0 noscores match b"), "*2 $1 0 *1 $1 b");
        assert_eq!(b.run("zscan k 0 novalues"), "-ERR NOVALUES option can only be used in HSCAN");
    }
}
