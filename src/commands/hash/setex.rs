//! HSETEX.

use super::super::collections::{RW_INSERT, limits};
use super::super::{CmdResult, Command, Ctx, options};
use super::getex::NewTime;
use super::{NUMFIELDS, State, changed, fields, find_fields, log_removed, now};
use crate::keyspace::notify;
use crate::resp::Error;
use crate::spec::{Flags, Group, KeySpec, Meta};
use crate::types::Hash;
use crate::types::hash::Expiry;

/// `HSETEX key [NX|XX] [FNX|FXX] [EX seconds|PX milliseconds|EXAT unix-s|PXAT unix-ms|KEEPTTL] FIELDS numfields field value
/// [field value ...]`
pub static HSETEX: Command = Command::new(
    Meta::new("hsetex", -6, Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST), Group::Hash)
        .keys(&[KeySpec::one(1, RW_INSERT)])
        .doc(
            "9.0.0",
            "O(N) where N is the number of fields.",
            "Sets fields of a hash together with their time to live, where the key and the fields meet conditions.",
        ),
    hsetex,
);

/// What stands between the key and FIELDS.
#[derive(Debug, PartialEq, Eq)]
struct Options<'a> {
    /// NX: no such key may exist; XX: it must.
    key: Option<bool>,
    /// FNX: none of the fields may exist; FXX: all must.
    fields: Option<bool>,
    time: NewTime<'a>,
}

impl<'a> Options<'a> {
    fn parse(mut words: &[&'a [u8]]) -> Result<Self, Error> {
        let mut o = Options { key: None, fields: None, time: NewTime::Unsaid };
        while let Some(word) = words.first() {
            let flag = match *word {
                w if options::is(w, "nx") => Some((&mut o.key, false)),
                w if options::is(w, "xx") => Some((&mut o.key, true)),
                w if options::is(w, "fnx") => Some((&mut o.fields, false)),
                w if options::is(w, "fxx") => Some((&mut o.fields, true)),
                _ => None,
            };
            let taken = match flag {
                Some((condition, must)) if condition.is_none_or(|c| c == must) => {
                    *condition = Some(must);
                    1
                }
                Some(_) => return Err(Error::SYNTAX),
                None => match NewTime::parse(words) {
                    Some((time, n)) if o.time == NewTime::Unsaid && time != NewTime::Persist => {
                        o.time = time;
                        n
                    }
                    _ => return Err(Error::SYNTAX),
                },
            };
            words = &words[taken..];
        }
        Ok(o)
    }
}

fn hsetex(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let at = find_fields(args, 2)?;
    let options = Options::parse(&args[2..at])?;
    let pairs = fields(args, at + 1, 2, NUMFIELDS)?;
    let (limits, now, key) = (limits(cx.server), now(cx), args[1]);
    let exists = cx.db.hash_write(key)?.is_some();
    if options.key.is_some_and(|must| must != exists) {
        cx.out.int(0);
        return Ok(());
    }
    let when = options.time.moment(cx.db.clock, cx.name())?;
    let names = || pairs.chunks_exact(2).map(|p| p[0]);
    if let Some(must) = options.fields {
        let hash = cx.db.hash_write(key)?;
        let met = match hash {
            Some(hash) => names().all(|name| hash.contains(name, now) == must),
            None => !must,
        };
        if !met {
            cx.out.int(0);
            return Ok(());
        }
    }
    if when.is_some_and(|at| at <= now) {
        // Fields that would be over at once are not set but removed.
        let Some(hash) = cx.db.hash_write(key)? else {
            cx.out.int(0);
            return Ok(());
        };
        let was_volatile = hash.has_volatile();
        let removed: Vec<&[u8]> = names().filter(|name| hash.remove(name, now)).collect();
        let after = State::of(hash);
        cx.out.int(i64::from(removed.len() == pairs.len() / 2));
        if !removed.is_empty() {
            log_removed(cx, key, &removed);
            changed(cx, key, removed.len(), was_volatile, after);
        }
        return Ok(());
    }
    let expiry = match (options.time, when) {
        (NewTime::Keep, _) => Expiry::Keep,
        (_, Some(at)) => Expiry::At(at),
        _ => Expiry::Clear,
    };
    let hash = cx.db.hash_create(key, Hash::new)?;
    let was_volatile = hash.has_volatile();
    hash.reserve(pairs.iter().map(|a| a.len()), &limits);
    for pair in pairs.chunks_exact(2) {
        hash.set(pair[0], pair[1], expiry, now, &limits);
    }
    let after = State::of(hash);
    cx.out.int(1);
    log_set(cx, key, expiry, pairs);
    cx.db.notify(notify::HASH, "hset", key);
    if when.is_some() {
        cx.db.notify(notify::HASH, "hexpire", key);
    }
    changed(cx, key, pairs.len() / 2, was_volatile, after);
    Ok(())
}

/// Logs what was set, without the conditions and with an absolute time.
fn log_set(cx: &mut Ctx<'_>, key: &[u8], expiry: Expiry, pairs: &[&[u8]]) {
    let n = (pairs.len() / 2).to_string();
    let mut argv: Vec<&[u8]> = vec![b"HSETEX", key];
    let at;
    match expiry {
        Expiry::Clear => {}
        Expiry::Keep => argv.push(b"KEEPTTL"),
        Expiry::At(ms) => {
            at = ms.to_string();
            argv.extend_from_slice(&[b"PXAT", at.as_bytes()]);
        }
    }
    argv.extend_from_slice(&[b"FIELDS", n.as_bytes()]);
    argv.extend_from_slice(pairs);
    cx.db.effect(&argv);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::Bench;

    #[test]
    fn options_exclude_each_other() {
        let parse = |s: &'static str| Options::parse(&s.split_terminator(' ').map(str::as_bytes).collect::<Vec<_>>());
        let o = parse("XX fnx EX 5").unwrap();
        assert_eq!((o.key, o.fields), (Some(true), Some(false)));
        assert_eq!(parse("keepttl").unwrap().time, NewTime::Keep);
        for bad in ["nx xx", "fnx fxx", "ex 1 px 2", "ex 1 keepttl", "persist", "ex", "what"] {
            assert_eq!(parse(bad), Err(Error::SYNTAX), "{bad}");
        }
    }

    #[test]
    fn fields_are_set_with_a_time_under_conditions() {
        let mut b = Bench::new();
        assert_eq!(b.run("hsetex k xx fields 1 a 1"), ":0");
        assert_eq!(b.run("hsetex k ex 10 fields 2 a 1 b 2"), ":1");
        assert_eq!(b.log, ["HSETEX k PXAT 1010000 FIELDS 2 a 1 b 2"]);
        assert_eq!(b.events, ["new k", "hset k", "hexpire k"]);
        assert_eq!(
            (b.run("hsetex k nx fields 1 c 1"), b.run("hsetex k fnx fields 2 c 1 a 1")),
            (":0".into(), ":0".into())
        );
        assert_eq!(b.run("hsetex k fxx keepttl fields 1 a 5"), ":1");
        assert_eq!(b.run("httl k fields 1 a"), "*1 :10");
        assert_eq!(b.run("hsetex k fields 1 a 6"), ":1");
        assert_eq!(b.run("httl k fields 1 a"), "*1 :-1");
        assert_eq!(b.run("hsetex k exat 1 fields 2 a 1 b 1"), ":1");
        assert_eq!(
            (b.log.clone(), b.events.clone()),
            (vec!["HDEL k a b".into()], vec!["hexpired k".into(), "del k".into()])
        );
        assert_eq!(b.run("hsetex k exat 1 fields 1 a 1"), ":0");
        assert_eq!(b.run("hlen k"), ":0");
        assert!(b.run("hsetex k fields 2 a 1").starts_with("-ERR numfields"));
    }
}
