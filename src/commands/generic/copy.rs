//! COPY, MOVE.

use super::super::options::{self, is};
use super::super::{CmdResult, Command, Ctx};
use crate::keyspace::{NO_EXPIRY, notify};
use crate::resp::Error;
use crate::spec::{Flags, Group, KeyFlags, KeySpec, Meta};

/// `COPY source destination [DB index] [REPLACE]` <https://valkey.io/commands/copy/>
pub static COPY: Command = Command::new(
    Meta::new("copy", -3, Flags::WRITE.or(Flags::DENYOOM), Group::Generic)
        .keys(
            const {
                &[
                    KeySpec::one(1, KeyFlags::RO.or(KeyFlags::ACCESS)),
                    KeySpec::one(2, KeyFlags::OW.or(KeyFlags::UPDATE)),
                ]
            },
        )
        .doc(
            "6.2.0",
            "O(N) where N is the number of elements that are copied.",
            "Copies the value of a key to another.",
        ),
    copy,
);
/// `MOVE key db` <https://valkey.io/commands/move/>
pub static MOVE: Command = Command::new(
    Meta::new("move", 3, Flags::WRITE.or(Flags::FAST), Group::Generic)
        .keys(const { &[KeySpec::one(1, KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE))] })
        .doc("1.0.0", "O(1)", "Moves a key to another database."),
    mv,
);

fn database(cx: &Ctx<'_>, arg: &[u8], bad: Error) -> Result<usize, Error> {
    let n = options::int(arg).map_err(|_| bad)?;
    usize::try_from(n).ok().filter(|n| *n < cx.db.keyspace().databases()).ok_or(Error::DB_INDEX)
}

fn copy(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let (from, to) = (args[1], args[2]);
    let (mut index, mut replace) = (cx.db.index(), false);
    let mut rest = args[3..].iter();
    while let Some(word) = rest.next() {
        match rest.as_slice().first() {
            _ if is(word, "REPLACE") => replace = true,
            Some(n) if is(word, "DB") => {
                index = database(cx, n, Error::NOT_INT)?;
                rest.next();
            }
            _ => return Err(Error::SYNTAX),
        }
    }
    if index == cx.db.index() && from == to {
        return Err(Error::SAME_OBJECT);
    }
    let Some(e) = cx.db.read(from) else {
        cx.out.int(0);
        return Ok(());
    };
    let (value, expiry, access) = (e.duplicate(), e.expiry(), e.access());
    let mut target = cx.db.other(index);
    target.expire_if_needed(to);
    if target.exists(to) {
        if !replace {
            cx.out.int(0);
            return Ok(());
        }
        let lazy = target.tuning().lazy_server_del;
        target.delete(to, lazy);
    }
    target.insert(to, value, expiry);
    if let Some(e) = target.peek(to) {
        e.set_access(access);
    }
    target.notify(notify::GENERIC, "copy_to", to);
    target.modified(to, 1);
    cx.out.int(1);
    Ok(())
}

fn mv(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let key = args[1];
    let index = database(cx, args[2], Error::new("ERR value is not an integer or out of range"))?;
    if index == cx.db.index() {
        return Err(Error::SAME_OBJECT);
    }
    cx.db.expire_if_needed(key);
    let mut target = cx.db.other(index);
    target.expire_if_needed(key);
    if target.exists(key) || !cx.db.exists(key) {
        cx.out.int(0);
        return Ok(());
    }
    let Some(e) = cx.db.take(key) else { return Ok(()) };
    debug_assert!(e.as_ref().expiry() == NO_EXPIRY || e.as_ref().expiry() > cx.db.now);
    let mut target = cx.db.other(index);
    target.insert_entry(key, e);
    target.notify(notify::GENERIC, "move_to", key);
    target.modified(key, 0);
    cx.db.notify(notify::GENERIC, "move_from", key);
    cx.db.modified(key, 1);
    cx.out.int(1);
    Ok(())
}
