//! LPUSH, RPUSH, LPUSHX, RPUSHX.

use super::super::collections::{RW_INSERT, limits};
use super::super::{CmdResult, Command, Ctx};
use super::words;
use crate::keyspace::notify;
use crate::spec::{Flags, Group, KeySpec, Meta};
use crate::types::{End, List};

const fn meta(name: &'static str, since: &'static str, summary: &'static str) -> Meta {
    Meta::new(name, -3, Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST), Group::List)
        .keys(const { &[KeySpec::one(1, RW_INSERT)] })
        .doc(since, "O(1) for each element added, so O(N) for N elements.", summary)
}

/// `LPUSH key element [element ...]`
pub static LPUSH: Command = Command::new(
    meta("lpush", "1.0.0", "Puts elements before the head of a list, one after the other, making the list if need be."),
    |cx, args| push(cx, args, End::Left, false),
);
/// `RPUSH key element [element ...]`
pub static RPUSH: Command = Command::new(
    meta("rpush", "1.0.0", "Puts elements behind the tail of a list, making the list if need be."),
    |cx, args| push(cx, args, End::Right, false),
);
/// `LPUSHX key element [element ...]`
pub static LPUSHX: Command = Command::new(
    meta("lpushx", "2.2.0", "Puts elements before the head of a list that exists, and does nothing otherwise."),
    |cx, args| push(cx, args, End::Left, true),
);
/// `RPUSHX key element [element ...]`
pub static RPUSHX: Command = Command::new(
    meta("rpushx", "2.2.0", "Puts elements behind the tail of a list that exists, and does nothing otherwise."),
    |cx, args| push(cx, args, End::Right, true),
);

fn push(cx: &mut Ctx<'_>, args: &[&[u8]], end: End, must_exist: bool) -> CmdResult {
    let limits = limits(cx.server);
    let (key, values) = (args[1], &args[2..]);
    let list = if must_exist {
        match cx.db.list_write(key)? {
            Some(list) => list,
            None => {
                cx.out.int(0);
                return Ok(());
            }
        }
    } else {
        cx.db.list_create(key, List::new)?
    };
    list.reserve(values.iter().map(|v| v.len()).sum(), values.len(), &limits);
    for value in values {
        list.push(end, value, &limits);
    }
    cx.out.len_int(list.len());
    cx.db.modified(key, values.len() as u64);
    cx.db.notify(notify::LIST, words(end).0, key);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Bench;

    #[test]
    fn pushes_grow_a_list_from_both_ends() {
        let mut b = Bench::new();
        assert_eq!(b.run("rpush k a b"), ":2");
        assert_eq!(
            (b.log.clone(), b.events.clone()),
            (vec!["rpush k a b".into()], vec!["new k".into(), "rpush k".into()])
        );
        assert_eq!(b.run("lpush k c d"), ":4");
        assert_eq!(b.run("lrange k 0 -1"), "*4 $1 d $1 c $1 a $1 b");
        assert_eq!(b.run("rpushx k e"), ":5");
        assert_eq!(b.run("lpushx none e"), ":0");
        assert!(b.log.is_empty());
    }

    #[test]
    fn a_value_of_another_type_is_refused() {
        let mut b = Bench::new();
        b.run("sadd k a");
        for line in
            ["rpush k a", "lpushx k a", "lrange k 0 1", "lpop k", "blpop k 0", "lmove k d left left", "lpos k a"]
        {
            assert!(b.run(line).starts_with("-WRONGTYPE"), "{line}");
            assert!(b.log.is_empty() && !b.blocked);
        }
    }
}
