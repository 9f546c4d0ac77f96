//! HGETEX, and the options that it shares with HSETEX.

use super::super::collections::elem;
use super::super::{CmdResult, Command, Ctx, options};
use super::{NUMFIELDS, State, changed, fields, find_fields, log_removed, moment, now};
use crate::keyspace::notify;
use crate::resp::Error;
use crate::spec::{Flags, Group, KeyFlags, KeySpec, Meta};

/// `HGETEX key [EX seconds|PX milliseconds|EXAT unix-s|PXAT unix-ms|PERSIST] FIELDS numfields field [field ...]`
pub static HGETEX: Command = Command::new(
    Meta::new("hgetex", -5, Flags::WRITE.or(Flags::FAST), Group::Hash)
        .keys(&[KeySpec::one(1, KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE))])
        .doc(
            "9.0.0",
            "O(N) where N is the number of fields.",
            "Returns the values of fields of a hash, and sets or clears the fields' time to live.",
        ),
    hgetex,
);

/// The time to live that a command gives to fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NewTime<'a> {
    /// Nothing was said about it.
    Unsaid,
    /// KEEPTTL.
    Keep,
    /// PERSIST.
    Persist,
    /// EX, PX, EXAT or PXAT with its argument.
    At { arg: &'a [u8], seconds: bool, absolute: bool },
}

impl<'a> NewTime<'a> {
    /// Reads one option at the front of `words`; the number of words it took, or none if it is something else.
    pub(super) fn parse(words: &[&'a [u8]]) -> Option<(NewTime<'a>, usize)> {
        let word = words.first()?;
        let (seconds, absolute) = match *word {
            w if options::is(w, "keepttl") => return Some((NewTime::Keep, 1)),
            w if options::is(w, "persist") => return Some((NewTime::Persist, 1)),
            w if options::is(w, "ex") => (true, false),
            w if options::is(w, "px") => (false, false),
            w if options::is(w, "exat") => (true, true),
            w if options::is(w, "pxat") => (false, true),
            _ => return None,
        };
        let arg = words.get(1)?;
        Some((NewTime::At { arg, seconds, absolute }, 2))
    }

    /// The moment it means, if it means one.
    pub(super) fn moment(self, now: i64, name: &str) -> Result<Option<i64>, Error> {
        match self {
            NewTime::At { arg, seconds, absolute } => {
                moment(arg, seconds, if absolute { 0 } else { now }, name).map(Some)
            }
            _ => Ok(None),
        }
    }
}

fn hgetex(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let at = find_fields(args, 2)?;
    let time = match &args[2..at] {
        [] => NewTime::Unsaid,
        words => match NewTime::parse(words) {
            Some((time, n)) if n == words.len() && time != NewTime::Keep => time,
            _ => return Err(Error::SYNTAX),
        },
    };
    let names = fields(args, at + 1, 1, NUMFIELDS)?;
    let (now, key) = (now(cx), args[1]);
    let found = cx.db.hash_read(key)?.is_some();
    let when = time.moment(cx.db.clock, cx.name())?;
    cx.out.array(names.len());
    let Some(hash) = (if found { cx.db.hash_write(key)? } else { None }) else {
        names.iter().for_each(|_| cx.out.null());
        return Ok(());
    };
    let was_volatile = hash.has_volatile();
    let past = when.is_some_and(|at| at <= now);
    let mut touched: Vec<&[u8]> = Vec::new();
    for name in names {
        match hash.get(name, now) {
            Some(value) => elem(cx.out, value),
            None => cx.out.null(),
        }
        let done = match (time, when) {
            (_, Some(_)) if past => hash.remove(name, now),
            (_, Some(at)) => hash.set_expiry(name, Some(at), now),
            (NewTime::Persist, _) => hash.expiry(name, now).flatten().is_some() && hash.set_expiry(name, None, now),
            _ => false,
        };
        if done {
            touched.push(name);
        }
    }
    let after = State::of(hash);
    if touched.is_empty() {
        cx.db.fx.suppress();
        return Ok(());
    }
    let n = touched.len().to_string();
    match when {
        Some(_) if past => log_removed(cx, key, &touched),
        Some(at) => {
            let at = at.to_string();
            let head: [&[u8]; 5] = [b"HPEXPIREAT", key, at.as_bytes(), b"FIELDS", n.as_bytes()];
            cx.db.effect(&[&head[..], &touched].concat());
            cx.db.notify(notify::HASH, "hexpire", key);
        }
        None => {
            let head: [&[u8]; 4] = [b"HPERSIST", key, b"FIELDS", n.as_bytes()];
            cx.db.effect(&[&head[..], &touched].concat());
            cx.db.notify(notify::HASH, "hpersist", key);
        }
    }
    changed(cx, key, touched.len(), was_volatile, after);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::Bench;

    #[test]
    fn an_option_takes_its_argument_with_it() {
        let at = |arg, seconds, absolute| Some((NewTime::At { arg, seconds, absolute }, 2));
        assert_eq!(NewTime::parse(&[b"EX", b"5", b"x"]), at(b"5", true, false));
        assert_eq!(NewTime::parse(&[b"pxat", b"5"]), at(b"5", false, true));
        assert_eq!(NewTime::parse(&[b"keepttl"]), Some((NewTime::Keep, 1)));
        assert_eq!(NewTime::parse(&[b"ex"]), None);
        assert_eq!(NewTime::parse(&[b"nx"]), None);
    }

    #[test]
    fn values_come_back_and_times_change() {
        let mut b = Bench::new();
        b.run("hset k a 1 b 2");
        assert_eq!(b.run("hgetex k fields 2 a x"), "*2 $1 1 $-1");
        assert!(b.log.is_empty());
        assert_eq!(b.run("hgetex k ex 10 fields 2 a x"), "*2 $1 1 $-1");
        assert_eq!(
            (b.log.clone(), b.events.clone()),
            (vec!["HPEXPIREAT k 1010000 FIELDS 1 a".into()], vec!["hexpire k".into()])
        );
        assert_eq!(b.run("hgetex k persist fields 2 a b"), "*2 $1 1 $1 2");
        assert_eq!(
            (b.log.clone(), b.events.clone()),
            (vec!["HPERSIST k FIELDS 1 a".into()], vec!["hpersist k".into()])
        );
        assert_eq!(b.run("hgetex k px 0 fields 2 a b"), "*2 $1 1 $1 2");
        assert_eq!(
            (b.log.clone(), b.events.clone()),
            (vec!["HDEL k a b".into()], vec!["hexpired k".into(), "del k".into()])
        );
        assert_eq!(b.run("hgetex k ex 5 fields 1 a"), "*1 $-1");
        assert_eq!(b.run("hgetex k ex -5 fields 1 a"), "-ERR invalid expire time in 'hgetex' command");
        assert_eq!(b.run("hgetex k ex 5 px 6 fields 1 a"), "-ERR syntax error");
    }
}
