//! HSCAN.

use super::super::collections::{NamesOnly, RO_ACCESS, Scan, elem, empty_scan};
use super::super::{CmdResult, Command, Ctx, options};
use super::now;
use crate::resp::Out;
use crate::spec::{Flags, Group, KeySpec, Meta};

/// `HSCAN key cursor [MATCH pattern] [COUNT count] [NOVALUES]`
pub static HSCAN: Command = Command::new(
    Meta::new("hscan", -3, Flags::READONLY, Group::Hash)
        .keys(&[KeySpec::one(1, RO_ACCESS)])
        .doc(
            "2.8.0",
            "O(1) for every call; O(N) for a whole walk over a hash of N fields.",
            "Walks over the fields of a hash, some with each call.",
        )
        .tips(&["nondeterministic_output"]),
    hscan,
);

fn hscan(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let now = now(cx);
    let cursor = options::cursor(args[2])?;
    let Some(hash) = cx.db.hash_read(args[1])? else { return empty_scan(cx) };
    let scan = Scan::parse(cursor, &args[3..], NamesOnly::Values)?;
    let mut found = Out::new(cx.out.proto());
    let mut n = 0;
    let next = scan.run(|cursor, seen| {
        hash.scan(cursor, now, |name, value| {
            *seen += 1;
            if scan.wants(name) {
                elem(&mut found, name);
                n += 1;
                if !scan.names_only {
                    elem(&mut found, value);
                    n += 1;
                }
            }
        })
    });
    cx.out.array(2);
    cx.out.bulk(next.to_string().as_bytes());
    cx.out.array(n);
    cx.out.append(&mut found);
    Ok(())
}
