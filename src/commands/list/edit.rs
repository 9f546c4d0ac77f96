//! LSET, LINSERT, LREM, LTRIM.

use super::super::collections::{RW_DELETE, RW_INSERT, RW_UPDATE, clamp, limits};
use super::super::{CmdResult, Command, Ctx, options};
use crate::keyspace::notify;
use crate::resp::Error;
use crate::spec::{Flags, Group, KeySpec, Meta};

const FLAGS: Flags = Flags::WRITE.or(Flags::DENYOOM);

/// `LSET key index element`
pub static LSET: Command = Command::new(
    Meta::new("lset", 4, FLAGS, Group::List).keys(&[KeySpec::one(1, RW_UPDATE)]).doc(
        "1.0.0",
        "O(N) where N is the distance from the nearer end; O(1) at the ends.",
        "Replaces the element at an index of a list.",
    ),
    lset,
);
/// `LINSERT key BEFORE|AFTER pivot element`
pub static LINSERT: Command = Command::new(
    Meta::new("linsert", 5, FLAGS, Group::List).keys(&[KeySpec::one(1, RW_INSERT)]).doc(
        "2.2.0",
        "O(N) where N is the number of elements before the pivot.",
        "Puts an element next to the first one that equals a given value.",
    ),
    linsert,
);
/// `LREM key count element`
pub static LREM: Command = Command::new(
    Meta::new("lrem", 4, Flags::WRITE, Group::List).keys(&[KeySpec::one(1, RW_DELETE)]).doc(
        "1.0.0",
        "O(N+M) where N is the length of the list and M the number of elements removed.",
        "Removes elements that equal a given value: all of them, or so many from the head or the tail.",
    ),
    lrem,
);
/// `LTRIM key start stop`
pub static LTRIM: Command = Command::new(
    Meta::new("ltrim", 4, Flags::WRITE, Group::List).keys(&[KeySpec::one(1, RW_DELETE)]).doc(
        "1.0.0",
        "O(N) where N is the number of elements removed.",
        "Removes the elements on both sides of a range of indexes.",
    ),
    ltrim,
);

fn lset(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let limits = limits(cx.server);
    let (key, value) = (args[1], args[3]);
    let list = cx.db.list_write(key)?.ok_or(Error::NO_KEY)?;
    let index = options::int(args[2])?;
    let index = list.resolve(index).ok_or(Error::RANGE)?;
    list.set(index, value, &limits);
    cx.out.ok();
    cx.db.modified(key, 1);
    cx.db.notify(notify::LIST, "lset", key);
    Ok(())
}

fn linsert(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let after = match args[2] {
        w if options::is(w, "after") => true,
        w if options::is(w, "before") => false,
        _ => return Err(Error::SYNTAX),
    };
    let limits = limits(cx.server);
    let (key, pivot, value) = (args[1], args[3], args[4]);
    let Some(list) = cx.db.list_write(key)? else {
        cx.out.int(0);
        return Ok(());
    };
    let Some(index) = list.position(pivot) else {
        cx.out.int(-1);
        return Ok(());
    };
    list.insert(index, value, after, &limits);
    cx.out.len_int(list.len());
    cx.db.modified(key, 1);
    cx.db.notify(notify::LIST, "linsert", key);
    Ok(())
}

fn lrem(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let count = options::int_in(args[2], -i64::MAX, i64::MAX, None)?;
    let limits = limits(cx.server);
    let (key, value) = (args[1], args[3]);
    let Some(list) = cx.db.list_write(key)? else {
        cx.out.int(0);
        return Ok(());
    };
    let removed = list.remove(value, count, &limits);
    let emptied = list.is_empty();
    cx.out.len_int(removed);
    if removed > 0 {
        cx.db.notify(notify::LIST, "lrem", key);
        if emptied {
            cx.db.remove_if_empty(key);
        }
        cx.db.modified(key, removed as u64);
    }
    Ok(())
}

fn ltrim(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let (start, stop) = (options::int(args[2])?, options::int(args[3])?);
    let limits = limits(cx.server);
    let key = args[1];
    cx.out.ok();
    let Some(list) = cx.db.list_write(key)? else { return Ok(()) };
    let len = list.len();
    let (left, kept) = clamp(start, stop, len).unwrap_or((len, 0));
    list.remove_range(left + kept, len - left - kept, &limits);
    list.remove_range(0, left, &limits);
    cx.db.notify(notify::LIST, "ltrim", key);
    if kept == 0 {
        cx.db.remove_if_empty(key);
    }
    cx.db.modified(key, (len - kept) as u64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Bench;

    #[test]
    fn elements_are_replaced_inserted_and_removed() {
        let mut b = Bench::new();
        b.run("rpush k a b a c a");
        assert_eq!(b.run("lset k -1 z"), "+OK");
        assert_eq!(b.run("lset k 9 z"), "-ERR index out of range");
        assert_eq!(b.run("lset none 0 z"), "-ERR no such key");
        assert_eq!(b.run("linsert k before b x"), ":6");
        assert_eq!(b.run("linsert k AFTER nope x"), ":-1");
        assert_eq!(b.run("linsert none after b x"), ":0");
        assert_eq!(b.run("linsert k at b x"), "-ERR syntax error");
        assert_eq!(b.run("lrem k -1 a"), ":1");
        assert_eq!(b.run("lrange k 0 -1"), "*5 $1 a $1 x $1 b $1 c $1 z");
        assert_eq!(b.run("lrem k 0 nope"), ":0");
        assert!(b.log.is_empty());
        let range = "-ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807";
        assert_eq!(b.run("lrem k -9223372036854775808 a"), range);
    }

    #[test]
    fn a_trim_keeps_the_range_and_deletes_an_emptied_list() {
        let mut b = Bench::new();
        b.run("rpush k a b c d e");
        assert_eq!(b.run("ltrim k 1 -2"), "+OK");
        assert_eq!(b.run("lrange k 0 -1"), "*3 $1 b $1 c $1 d");
        assert_eq!(b.run("ltrim k 0 -1"), "+OK");
        assert!(b.log.is_empty() && b.events == ["ltrim k"]);
        assert_eq!(b.run("ltrim k 5 9"), "+OK");
        assert_eq!(b.events, ["ltrim k", "del k"]);
    }
}
