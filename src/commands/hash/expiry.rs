//! HEXPIRE, HPEXPIRE, HEXPIREAT, HPEXPIREAT, HPERSIST.

use super::super::collections::RW_UPDATE;
use super::super::{CmdResult, Command, Ctx, options};
use super::{NUMFIELDS, State, changed, fields, find_fields, log_removed, moment, now};
use crate::keyspace::notify;
use crate::resp::Error;
use crate::spec::{Flags, Group, KeySpec, Meta};

const FLAGS: Flags = Flags::WRITE.or(Flags::FAST);

const fn meta(name: &'static str, summary: &'static str) -> Meta {
    Meta::new(name, -6, FLAGS, Group::Hash).keys(const { &[KeySpec::one(1, RW_UPDATE)] }).doc(
        "9.0.0",
        "O(N) where N is the number of fields.",
        summary,
    )
}
/// `HEXPIRE key seconds [NX|XX|GT|LT] FIELDS numfields field [field ...]`
pub static HEXPIRE: Command =
    Command::new(meta("hexpire", "Gives fields of a hash so many seconds to live."), |cx, args| {
        expire(cx, args, true, false)
    });
/// `HPEXPIRE key milliseconds [NX|XX|GT|LT] FIELDS numfields field [field ...]`
pub static HPEXPIRE: Command =
    Command::new(meta("hpexpire", "Gives fields of a hash so many milliseconds to live."), |cx, args| {
        expire(cx, args, false, false)
    });
/// `HEXPIREAT key unix-time-seconds [NX|XX|GT|LT] FIELDS numfields field [field ...]`
pub static HEXPIREAT: Command =
    Command::new(meta("hexpireat", "Lets fields of a hash live until a Unix time in seconds."), |cx, args| {
        expire(cx, args, true, true)
    });
/// `HPEXPIREAT key unix-time-milliseconds [NX|XX|GT|LT] FIELDS numfields field [field ...]`
pub static HPEXPIREAT: Command =
    Command::new(meta("hpexpireat", "Lets fields of a hash live until a Unix time in milliseconds."), |cx, args| {
        expire(cx, args, false, true)
    });
/// `HPERSIST key FIELDS numfields field [field ...]`
pub static HPERSIST: Command = Command::new(
    Meta::new("hpersist", -5, FLAGS, Group::Hash).keys(&[KeySpec::one(1, RW_UPDATE)]).doc(
        "9.0.0",
        "O(N) where N is the number of fields.",
        "Lets fields of a hash live for ever.",
    ),
    hpersist,
);

const NO_FIELD: i64 = -2;
const NO_EXPIRY: i64 = -1;
const UNMET: i64 = 0;
const DONE: i64 = 1;
const EXPIRED: i64 = 2;

/// When a new time may take the place of the present one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Condition {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
}

impl Condition {
    fn parse(words: &[&[u8]]) -> Result<Self, Error> {
        let mut c = Condition::default();
        for word in words {
            match *word {
                w if options::is(w, "nx") => c.nx = true,
                w if options::is(w, "xx") => c.xx = true,
                w if options::is(w, "gt") => c.gt = true,
                w if options::is(w, "lt") => c.lt = true,
                w => return Err(Error::owned([b"ERR Unsupported option ", w].concat())),
            }
        }
        if c.nx && (c.xx || c.gt || c.lt) {
            return Err(Error::new("ERR NX and XX, GT or LT options at the same time are not compatible"));
        }
        if c.gt && c.lt {
            return Err(Error::new("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(c)
    }

    /// A field without a time lives longest.
    fn allows(self, old: Option<i64>, new: i64) -> bool {
        match old {
            None => !self.xx && !self.gt,
            Some(old) => !self.nx && (!self.gt || new > old) && (!self.lt || new < old),
        }
    }
}

fn expire(cx: &mut Ctx<'_>, args: &[&[u8]], seconds: bool, absolute: bool) -> CmdResult {
    let at = find_fields(args, 3)?;
    let condition = Condition::parse(&args[3..at])?;
    let names = fields(args, at + 1, 1, NUMFIELDS)?;
    let (now, key) = (now(cx), args[1]);
    let when = moment(args[2], seconds, if absolute { 0 } else { cx.db.clock }, cx.name())?;
    let hash = cx.db.hash_write(key)?;
    cx.out.array(names.len());
    let Some(hash) = hash else {
        names.iter().for_each(|_| cx.out.int(NO_FIELD));
        return Ok(());
    };
    let was_volatile = hash.has_volatile();
    if when <= now {
        let removed: Vec<&[u8]> = names
            .iter()
            .copied()
            .filter(|name| {
                let gone = hash.remove(name, now);
                cx.out.int(if gone { EXPIRED } else { NO_FIELD });
                gone
            })
            .collect();
        let after = State::of(hash);
        if !removed.is_empty() {
            log_removed(cx, key, &removed);
            changed(cx, key, removed.len(), was_volatile, after);
        }
        return Ok(());
    }
    let mut updated = 0;
    for name in names {
        let result = match hash.expiry(name, now) {
            None => NO_FIELD,
            Some(old) if !condition.allows(old, when) => UNMET,
            Some(_) => {
                hash.set_expiry(name, Some(when), now);
                updated += 1;
                DONE
            }
        };
        cx.out.int(result);
    }
    let after = State::of(hash);
    if updated > 0 {
        let when = when.to_string();
        let argv: Vec<&[u8]> =
            [&b"HPEXPIREAT"[..], key, when.as_bytes()].into_iter().chain(args[3..].iter().copied()).collect();
        cx.db.effect(&argv);
        cx.db.notify(notify::HASH, "hexpire", key);
        changed(cx, key, updated, was_volatile, after);
    }
    Ok(())
}

fn hpersist(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let names = fields(args, 3, 1, NUMFIELDS)?;
    let (now, key) = (now(cx), args[1]);
    let hash = cx.db.hash_write(key)?;
    cx.out.array(names.len());
    let Some(hash) = hash else {
        names.iter().for_each(|_| cx.out.int(NO_FIELD));
        return Ok(());
    };
    let was_volatile = hash.has_volatile();
    let mut updated = 0;
    for name in names {
        let result = match hash.expiry(name, now) {
            None => NO_FIELD,
            Some(None) => NO_EXPIRY,
            Some(Some(_)) => {
                hash.set_expiry(name, None, now);
                updated += 1;
                DONE
            }
        };
        cx.out.int(result);
    }
    let after = State::of(hash);
    if updated > 0 {
        cx.db.notify(notify::HASH, "hpersist", key);
        changed(cx, key, updated, was_volatile, after);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::Bench;

    #[test]
    fn conditions_compare_with_the_present_time() {
        let parse = |s: &str| Condition::parse(&s.split_terminator(' ').map(str::as_bytes).collect::<Vec<_>>());
        let c = |s: &str| parse(s).unwrap();
        assert!(c("").allows(None, 5) && c("").allows(Some(9), 5));
        assert!(c("nx").allows(None, 5) && !c("NX").allows(Some(9), 5));
        assert!(!c("xx").allows(None, 5) && c("xx").allows(Some(9), 5));
        assert!(!c("gt").allows(None, 5) && !c("gt").allows(Some(5), 5) && c("gt").allows(Some(4), 5));
        assert!(c("lt").allows(None, 5) && !c("lt").allows(Some(5), 5) && c("lt").allows(Some(6), 5));
        assert!(!c("xx lt").allows(None, 5));
        assert!(parse("nx gt").is_err() && parse("gt lt").is_err());
        assert_eq!(parse("no"), Err(Error::new("ERR Unsupported option no")));
    }

    #[test]
    fn times_are_set_under_conditions_and_logged_absolute() {
        let mut b = Bench::new();
        b.run("hset k a 1 b 2");
        assert_eq!(b.run("hexpire k 10 FIELDS 2 a x"), "*2 :1 :-2");
        assert_eq!(
            (b.log.clone(), b.events.clone()),
            (vec!["HPEXPIREAT k 1010000 FIELDS 2 a x".into()], vec!["hexpire k".into()])
        );
        assert_eq!(b.run("hexpire k 5 gt fields 2 a b"), "*2 :0 :0");
        assert!(b.log.is_empty());
        assert_eq!(b.run("hpexpire k 5 lt fields 2 a b"), "*2 :1 :1");
        assert_eq!(b.run("hpexpireat k 1000500 xx fields 1 a"), "*1 :1");
        assert_eq!(b.run("hpersist k fields 3 a x a"), "*3 :1 :-2 :-1");
        assert_eq!(b.events, ["hpersist k"]);
        assert_eq!(b.run("hexpire none 1 fields 1 a"), "*1 :-2");
    }

    #[test]
    fn a_time_that_is_over_removes_the_field() {
        let mut b = Bench::new();
        b.run("hset k a 1 b 2");
        assert_eq!(b.run("hexpire k 0 fields 2 a x"), "*2 :2 :-2");
        assert_eq!((b.log.clone(), b.events.clone()), (vec!["HDEL k a".into()], vec!["hexpired k".into()]));
        assert_eq!(b.run("hexpireat k 1 fields 1 b"), "*1 :2");
        assert_eq!(b.events, ["hexpired k", "del k"]);
    }

    #[test]
    fn bad_arguments_have_valkeys_errors() {
        let mut b = Bench::new();
        b.run("hset k a 1");
        assert_eq!(b.run("hexpire k -1 fields 1 a"), "-ERR invalid expire time in 'hexpire' command");
        assert_eq!(b.run("hexpire k x fields 1 a"), "-ERR value is not an integer or out of range");
        let numfields = "-ERR numfields should be greater than 0 and match the provided number of fields";
        assert_eq!(b.run("hexpire k 1 fields 2 a"), numfields);
        assert_eq!(b.run("hexpire k 1 fields 0 a"), numfields);
        assert_eq!(b.run("hexpire k 1 what 1 a"), numfields);
        assert_eq!(b.run("hexpire k 1 what fields 1 a"), "-ERR Unsupported option what");
    }
}
