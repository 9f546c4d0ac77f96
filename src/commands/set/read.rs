//! SCARD, SISMEMBER, SMISMEMBER, SMEMBERS.

use super::super::Command;
use super::super::collections::{RO_ACCESS, elem};
use crate::spec::{Flags, Group, KeyFlags, KeySpec, Meta};

const FAST: Flags = Flags::READONLY.or(Flags::FAST);

/// `SCARD key`
pub static SCARD: Command = Command::new(
    Meta::new("scard", 2, FAST, Group::Set).keys(&[KeySpec::one(1, KeyFlags::RO)]).doc(
        "1.0.0",
        "O(1)",
        "Tells how many members a set has.",
    ),
    |cx, args| {
        let len = cx.db.set_read(args[1])?.map_or(0, |set| set.len());
        cx.out.len_int(len);
        Ok(())
    },
);
/// `SISMEMBER key member`
pub static SISMEMBER: Command = Command::new(
    Meta::new("sismember", 3, FAST, Group::Set).keys(&[KeySpec::one(1, KeyFlags::RO)]).doc(
        "1.0.0",
        "O(1)",
        "Tells whether a set has a member.",
    ),
    |cx, args| {
        let there = cx.db.set_read(args[1])?.is_some_and(|set| set.contains(args[2]));
        cx.out.int(i64::from(there));
        Ok(())
    },
);
/// `SMISMEMBER key member [member ...]`
pub static SMISMEMBER: Command = Command::new(
    Meta::new("smismember", -3, FAST, Group::Set).keys(&[KeySpec::one(1, RO_ACCESS)]).doc(
        "6.2.0",
        "O(N) where N is the number of members asked for.",
        "Tells of each of several values whether a set has it.",
    ),
    |cx, args| {
        let set = cx.db.set_read(args[1])?;
        cx.out.array(args.len() - 2);
        for member in &args[2..] {
            cx.out.int(i64::from(set.is_some_and(|set| set.contains(member))));
        }
        Ok(())
    },
);
/// `SMEMBERS key`
pub static SMEMBERS: Command = Command::new(
    Meta::new("smembers", 2, Flags::READONLY, Group::Set)
        .keys(&[KeySpec::one(1, RO_ACCESS)])
        .doc("1.0.0", "O(N) where N is the size of the set.", "Returns all members of a set.")
        .tips(&["nondeterministic_output_order"]),
    |cx, args| {
        let set = cx.db.set_read(args[1])?;
        cx.out.set(set.map_or(0, |set| set.len()));
        if let Some(set) = set {
            set.for_each(|e| elem(cx.out, e));
        }
        Ok(())
    },
);

#[cfg(test)]
mod tests {
    use crate::commands::testing::Bench;

    #[test]
    fn members_are_told() {
        let mut b = Bench::new();
        b.run("sadd k 1 2");
        assert_eq!(b.run("smembers k"), "*2 $1 1 $1 2");
        assert_eq!(b.run("smismember k 2 3"), "*2 :1 :0");
        assert_eq!(b.run("smismember none 2"), "*1 :0");
        assert_eq!(
            (b.run("scard k"), b.run("sismember k 1"), b.run("sismember k 01")),
            (":2".into(), ":1".into(), ":0".into())
        );
        b.resp3();
        assert_eq!((b.run("smembers k"), b.run("smembers none")), ("~2 $1 1 $1 2".into(), "~0".into()));
    }
}
