//! SADD, SREM, SMOVE.

use super::super::collections::{RW_ACCESS_DELETE, RW_DELETE, RW_INSERT, limits};
use super::super::{CmdResult, Command, Ctx};
use crate::keyspace::notify;
use crate::spec::{Flags, Group, KeySpec, Meta};
use crate::types::Set;

/// `SADD key member [member ...]`
pub static SADD: Command = Command::new(
    Meta::new("sadd", -3, Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST), Group::Set)
        .keys(&[KeySpec::one(1, RW_INSERT)])
        .doc(
            "1.0.0",
            "O(1) for each member, so O(N) for N members.",
            "Adds members to a set, making the set if need be, and tells how many are new.",
        ),
    sadd,
);
/// `SREM key member [member ...]`
pub static SREM: Command = Command::new(
    Meta::new("srem", -3, Flags::WRITE.or(Flags::FAST), Group::Set).keys(&[KeySpec::one(1, RW_DELETE)]).doc(
        "1.0.0",
        "O(N) where N is the number of members to remove.",
        "Removes members from a set, and the set with its last one.",
    ),
    srem,
);
/// `SMOVE source destination member`
pub static SMOVE: Command = Command::new(
    Meta::new("smove", 4, Flags::WRITE.or(Flags::FAST), Group::Set)
        .keys(&[KeySpec::one(1, RW_ACCESS_DELETE), KeySpec::one(2, RW_INSERT)])
        .doc("1.0.0", "O(1)", "Moves a member from one set to another."),
    smove,
);

fn sadd(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let limits = limits(cx.server);
    let (key, members) = (args[1], &args[2..]);
    let set = cx.db.set_create(key, || Set::for_members(members[0], members.len(), &limits))?;
    set.reserve(members.len(), &limits);
    let added = members.iter().filter(|m| set.add(m, &limits)).count();
    cx.out.len_int(added);
    if added > 0 {
        cx.db.modified(key, added as u64);
        cx.db.notify(notify::SET, "sadd", key);
    }
    Ok(())
}

fn srem(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let key = args[1];
    let Some(set) = cx.db.set_write(key)? else {
        cx.out.int(0);
        return Ok(());
    };
    let removed = args[2..].iter().filter(|m| set.remove(m)).count();
    let emptied = set.is_empty();
    cx.out.len_int(removed);
    if removed > 0 {
        cx.db.notify(notify::SET, "srem", key);
        if emptied {
            cx.db.remove_if_empty(key);
        }
        cx.db.modified(key, removed as u64);
    }
    Ok(())
}

fn smove(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let (source, destination, member) = (args[1], args[2], args[3]);
    if !cx.db.exists(source) {
        cx.db.expire_if_needed(source);
        cx.out.int(0);
        return Ok(());
    }
    let there = cx.db.set_write(source)?.is_some_and(|set| set.contains(member));
    cx.db.set_write(destination)?;
    if source == destination || !there {
        cx.out.int(i64::from(there));
        return Ok(());
    }
    let limits = limits(cx.server);
    let emptied = cx.db.set_write(source)?.is_some_and(|set| set.remove(member) && set.is_empty());
    cx.db.notify(notify::SET, "srem", source);
    if emptied {
        cx.db.remove_if_empty(source);
    }
    cx.db.modified(source, 1);
    if cx.db.set_create(destination, || Set::for_members(member, 1, &limits))?.add(member, &limits) {
        cx.db.modified(destination, 1);
        cx.db.notify(notify::SET, "sadd", destination);
    }
    cx.out.int(1);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Bench;

    #[test]
    fn members_come_and_go() {
        let mut b = Bench::new();
        assert_eq!(b.run("sadd k a b a"), ":2");
        assert_eq!(b.events, ["new k", "sadd k"]);
        assert_eq!(b.run("sadd k a"), ":0");
        assert!(b.log.is_empty() && b.events.is_empty());
        assert_eq!(b.run("srem k a x"), ":1");
        assert_eq!(b.run("srem k b"), ":1");
        assert_eq!(b.events, ["srem k", "del k"]);
        assert_eq!(b.run("srem k b"), ":0");
    }

    #[test]
    fn a_member_moves() {
        let mut b = Bench::new();
        b.run("sadd s a b");
        b.run("sadd d b");
        b.run("rpush l x");
        assert_eq!(b.run("smove s d a"), ":1");
        assert_eq!(b.events, ["srem s", "sadd d"]);
        assert_eq!(b.run("smove s d b"), ":1");
        assert_eq!(b.events, ["srem s", "del s"], "it was there already");
        assert_eq!(
            (b.run("smove s d b"), b.run("smove d d b"), b.run("smove d d x")),
            (":0".into(), ":1".into(), ":0".into())
        );
        assert!(b.run("smove d l b").starts_with("-WRONGTYPE"));
        assert!(b.run("smove l d b").starts_with("-WRONGTYPE"));
        assert_eq!(b.run("smove none l b"), ":0");
    }
}
