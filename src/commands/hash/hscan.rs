//! HSCAN.

use super::super::collections::{NamesOnly, RO_ACCESS, Scan, elem, empty_scan, scan_reply};
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
    scan_reply(cx.out, next, n, &mut found);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Bench;

    #[test]
    fn a_small_hash_is_walked_at_once() {
        let mut b = Bench::new();
        b.run("hset k a 1 ab 2");
        assert_eq!(b.run("hscan k 0 match ab novalues"), "*2 $1 0 *1 $2 ab");
        assert_eq!(b.run("hscan none 0 what"), "*2 $1 0 *0");
        assert_eq!(b.run("hscan k x"), "-ERR invalid cursor");
        assert_eq!(b.run("hscan k 0 count 0"), "-ERR syntax error");
        assert_eq!(b.run("hscan k 0 count x"), "-ERR value is not an integer or out of range");
    }

    #[test]
    fn a_big_hash_is_walked_whole_in_many_calls() {
        let mut b = Bench::new();
        (0..2000).for_each(|i| drop(b.run(&format!("hset k field{i} {i}"))));
        let (mut cursor, mut seen, mut calls) = ("0".to_owned(), std::collections::HashSet::new(), 0);
        loop {
            let reply = b.run(&format!("hscan k {cursor} count 50 novalues"));
            let words: Vec<&str> = reply.split(' ').collect();
            seen.extend(words.iter().filter(|w| w.starts_with("field")).map(|w| (*w).to_owned()));
            cursor = words[2].to_owned();
            calls += 1;
            if cursor == "0" {
                break;
            }
        }
        assert!(seen.len() == 2000 && calls > 20, "{} in {calls}", seen.len());
    }
}
