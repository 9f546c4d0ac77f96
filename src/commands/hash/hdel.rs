//! HDEL and HGETDEL.

use super::super::collections::{RW_ACCESS_DELETE, RW_DELETE, elem};
use super::super::options::is;
use super::super::{CmdResult, Command, Ctx};
use super::{State, fields, now};
use crate::keyspace::notify;
use crate::resp::Error;
use crate::spec::{Flags, Group, KeySpec, Meta};

const FLAGS: Flags = Flags::WRITE.or(Flags::FAST);

/// `HDEL key field [field ...]`
pub static HDEL: Command = Command::new(
    Meta::new("hdel", -3, FLAGS, Group::Hash).keys(&[KeySpec::one(1, RW_DELETE)]).doc(
        "2.0.0",
        "O(N) where N is the number of fields.",
        "Removes fields of a hash, and the hash with its last one.",
    ),
    |cx, args| {
        let now = now(cx);
        let Some(hash) = cx.db.hash_write(args[1])? else {
            cx.out.int(0);
            return Ok(());
        };
        let was_volatile = hash.has_volatile();
        let removed = args[2..].iter().filter(|field| hash.remove(field, now)).count();
        let after = State::of(hash);
        cx.out.len_int(removed);
        deleted(cx, args[1], removed, was_volatile, after);
        Ok(())
    },
);
/// `HGETDEL key FIELDS numfields field [field ...]`
pub static HGETDEL: Command = Command::new(
    Meta::new("hgetdel", -5, FLAGS, Group::Hash).keys(&[KeySpec::one(1, RW_ACCESS_DELETE)]).doc(
        "9.1.0",
        "O(N) where N is the number of fields.",
        "Returns the values of fields of a hash and removes the fields.",
    ),
    hgetdel,
);

fn hgetdel(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    // Other commands of fields have a text of their own for a number that does not fit.
    if !is(args[2], "fields") {
        return Err(Error::SYNTAX);
    }
    let names = fields(args, 3, 1, Error::SYNTAX)?;
    let now = now(cx);
    let hash = cx.db.hash_write(args[1])?;
    cx.out.array(names.len());
    let Some(hash) = hash else {
        names.iter().for_each(|_| cx.out.null());
        return Ok(());
    };
    let was_volatile = hash.has_volatile();
    let mut removed = 0;
    for name in names {
        match hash.get(name, now) {
            Some(value) => elem(cx.out, value),
            None => cx.out.null(),
        }
        removed += usize::from(hash.remove(name, now));
    }
    let after = State::of(hash);
    deleted(cx, args[1], removed, was_volatile, after);
    Ok(())
}

fn deleted(cx: &mut Ctx<'_>, key: &[u8], removed: usize, was_volatile: bool, after: State) {
    if removed > 0 {
        cx.db.notify(notify::HASH, "hdel", key);
        super::changed(cx, key, removed, was_volatile, after);
    }
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Bench;

    #[test]
    fn a_hash_goes_with_its_last_field() {
        let mut b = Bench::new();
        b.run("hset k a 1 b 2 c 3");
        assert_eq!(b.run("hdel k a x"), ":1");
        assert_eq!(b.events, ["hdel k"]);
        assert_eq!(b.run("hdel k x"), ":0");
        assert!(b.log.is_empty());
        assert_eq!(b.run("hgetdel k FIELDS 3 b x b"), "*3 $1 2 $-1 $-1");
        assert_eq!(b.run("hgetdel k FIELDS 1 c"), "*1 $1 3");
        assert_eq!(b.events, ["hdel k", "del k"]);
        assert_eq!(b.run("hgetdel k FIELDS 2 b x"), "*2 $-1 $-1");
        for line in ["hgetdel k FIELDS 2 b", "hgetdel k FIELDS 0 b", "hgetdel k FIELD 1 b"] {
            assert_eq!(b.run(line), "-ERR syntax error", "{line}");
        }
    }
}
