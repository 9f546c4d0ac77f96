//! LMOVE and BLMOVE, and their older forms RPOPLPUSH and BRPOPLPUSH.

use super::super::collections::{RW_ACCESS_DELETE, RW_INSERT, limits};
use super::super::{CmdResult, Command, Ctx, options};
use super::{end, popped, words};
use crate::clients::NullKind;
use crate::keyspace::notify;
use crate::spec::{Flags, Group, KeySpec, Meta};
use crate::types::{End, List};

const KEYS: &[KeySpec] = &[KeySpec::one(1, RW_ACCESS_DELETE), KeySpec::one(2, RW_INSERT)];
const FLAGS: Flags = Flags::WRITE.or(Flags::DENYOOM);

/// `LMOVE source destination LEFT|RIGHT LEFT|RIGHT`
pub static LMOVE: Command = Command::new(
    Meta::new("lmove", 5, FLAGS, Group::List).keys(KEYS).doc(
        "6.2.0",
        "O(1)",
        "Moves an element from an end of one list to an end of another, and returns it.",
    ),
    |cx, args| {
        let (from, to) = (end(args[3])?, end(args[4])?);
        move_element(cx, args[1], args[2], from, to).map(drop)
    },
);
/// `RPOPLPUSH source destination`
pub static RPOPLPUSH: Command = Command::new(
    Meta::new("rpoplpush", 3, FLAGS, Group::List)
        .keys(KEYS)
        .doc("1.2.0", "O(1)", "Moves the tail of one list to the head of another, and returns it.")
        .deprecated("6.2.0", "`LMOVE` with the `RIGHT` and `LEFT` arguments"),
    |cx, args| move_element(cx, args[1], args[2], End::Right, End::Left).map(drop),
);
/// `BLMOVE source destination LEFT|RIGHT LEFT|RIGHT timeout`
pub static BLMOVE: Command = Command::new(
    Meta::new("blmove", 6, FLAGS.or(Flags::BLOCKING), Group::List).keys(KEYS).doc(
        "6.2.0",
        "O(1)",
        "Moves an element from an end of one list to an end of another, and waits while the first is not there.",
    ),
    |cx, args| {
        let (from, to) = (end(args[3])?, end(args[4])?);
        let timeout = options::timeout(args[5], cx.db.clock)?;
        wait_move(cx, args, from, to, timeout, &[b"LMOVE", args[1], args[2], args[3], args[4]])
    },
);
/// `BRPOPLPUSH source destination timeout`
pub static BRPOPLPUSH: Command = Command::new(
    Meta::new("brpoplpush", 4, FLAGS.or(Flags::BLOCKING), Group::List)
        .keys(KEYS)
        .doc(
            "2.2.0",
            "O(1)",
            "Moves the tail of one list to the head of another, and waits while the first is not there.",
        )
        .deprecated("6.2.0", "`BLMOVE` with the `RIGHT` and `LEFT` arguments"),
    |cx, args| {
        let timeout = options::timeout(args[3], cx.db.clock)?;
        wait_move(cx, args, End::Right, End::Left, timeout, &[b"RPOPLPUSH", args[1], args[2]])
    },
);

fn wait_move(cx: &mut Ctx<'_>, args: &[&[u8]], from: End, to: End, timeout: i64, effect: &[&[u8]]) -> CmdResult {
    match cx.db.list_write(args[1]) {
        Ok(Some(_)) => {
            if move_element(cx, args[1], args[2], from, to)? {
                cx.db.effect(effect);
            }
            Ok(())
        }
        // Where nobody can wait the reply is that of LMOVE; a wait ends like those of other commands.
        Ok(None) if cx.session.deny_blocking && !cx.session.serving => {
            cx.out.null();
            Ok(())
        }
        Ok(None) => cx.block(&args[1..2], timeout, NullKind::Array),
        // Who waits for a list does not hear of other types that come by.
        Err(_) if cx.session.serving => cx.block(&args[1..2], timeout, NullKind::Array),
        Err(e) => Err(e),
    }
}

/// Moves one element and replies with it, or with null if there is none. Whether one was moved.
fn move_element(
    cx: &mut Ctx<'_>,
    source: &[u8],
    destination: &[u8],
    from: End,
    to: End,
) -> Result<bool, crate::resp::Error> {
    let limits = limits(cx.server);
    if cx.db.list_write(source)?.is_none() {
        cx.out.null();
        return Ok(false);
    }
    cx.db.list_write(destination)?;
    let Some((value, emptied)) = cx.db.list_write(source)?.and_then(|list| {
        let value = list.pop(from, &limits)?;
        Some((value, list.is_empty()))
    }) else {
        cx.out.null();
        return Ok(false);
    };
    let list = cx.db.list_create(destination, List::new)?;
    list.reserve(value.len(), 1, &limits);
    list.push(to, &value, &limits);
    cx.db.modified(destination, 0);
    cx.db.notify(notify::LIST, words(to).0, destination);
    cx.out.bulk(&value);
    popped(cx, source, from, 1, emptied && source != destination);
    Ok(true)
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Bench;

    #[test]
    fn an_element_moves_between_lists_and_within_one() {
        let mut b = Bench::new();
        b.run("rpush k a b c");
        assert_eq!(b.run("lmove k d left right"), "$1 a");
        assert_eq!(b.events, ["new d", "rpush d", "lpop k"]);
        assert_eq!(b.run("rpoplpush k k"), "$1 c");
        assert_eq!(b.run("lrange k 0 -1"), "*2 $1 c $1 b");
        assert_eq!(b.run("blmove d d left left 0"), "$1 a");
        assert_eq!((b.log.clone(), b.run("llen d")), (vec!["LMOVE d d left left".to_string()], ":1".into()));
        assert_eq!(b.run("brpoplpush d k 0"), "$1 a");
        assert_eq!(
            (b.log.clone(), b.events.clone()),
            (vec!["RPOPLPUSH d k".into()], vec!["lpush k".into(), "rpop d".into(), "del d".into()])
        );
        assert_eq!(b.run("lmove d k left left"), "$-1");
        assert_eq!(b.run("lmove k d up left"), "-ERR syntax error");
        assert_eq!(b.run("blmove d k left left 1"), "");
        assert!(b.blocked);
    }

    #[test]
    fn nothing_moves_to_a_value_of_another_type() {
        let mut b = Bench::new();
        b.run("rpush k a");
        b.run("sadd s x");
        assert!(b.run("lmove k s left left").starts_with("-WRONGTYPE"));
        assert_eq!(b.run("llen k"), ":1");
        assert_eq!(b.run("rpoplpush none s"), "$-1");
    }
}
