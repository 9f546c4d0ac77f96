//! SSCAN.

use super::super::collections::{NamesOnly, RO_ACCESS, Scan, elem, empty_scan, scan_reply};
use super::super::{CmdResult, Command, Ctx, options};
use crate::resp::Out;
use crate::spec::{Flags, Group, KeySpec, Meta};

/// `SSCAN key cursor [MATCH pattern] [COUNT count]`
pub static SSCAN: Command = Command::new(
    Meta::new("sscan", -3, Flags::READONLY, Group::Set)
        .keys(&[KeySpec::one(1, RO_ACCESS)])
        .doc(
            "2.8.0",
            "O(1) for every call; O(N) for a whole walk over a set of N members.",
            "Walks over the members of a set, some with each call.",
        )
        .tips(&["nondeterministic_output"]),
    sscan,
);

fn sscan(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let cursor = options::cursor(args[2])?;
    let Some(set) = cx.db.set_read(args[1])? else { return empty_scan(cx) };
    let scan = Scan::parse(cursor, &args[3..], NamesOnly::No)?;
    let mut found = Out::new(cx.out.proto());
    let mut n = 0;
    let next = scan.run(|cursor, seen| {
        set.scan(cursor, |member| {
            *seen += 1;
            if scan.wants(member) {
                elem(&mut found, member);
                n += 1;
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
    fn a_small_set_is_walked_at_once() {
        let mut b = Bench::new();
        b.run("sadd k 1 2 30");
        assert_eq!(b.run("sscan k 0 match 3*"), "*2 $1 0 *1 $2 30");
        assert_eq!(b.run("sscan k 0 novalues"), "-ERR NOVALUES option can only be used in HSCAN");
        assert_eq!(b.run("sscan none 0 what"), "*2 $1 0 *0");
    }
}
