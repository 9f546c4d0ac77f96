//! HTTL, HPTTL, HEXPIRETIME, HPEXPIRETIME.

use super::super::collections::RO_ACCESS;
use super::super::{CmdResult, Command, Ctx};
use super::{fields, now};
use crate::resp::Error;
use crate::spec::{Flags, Group, KeySpec, Meta};

const fn meta(name: &'static str, summary: &'static str) -> Meta {
    Meta::new(name, -5, Flags::READONLY.or(Flags::FAST), Group::Hash).keys(const { &[KeySpec::one(1, RO_ACCESS)] }).doc(
        "9.0.0",
        "O(N) where N is the number of fields.",
        summary,
    )
}
/// `HTTL key FIELDS numfields field [field ...]`
pub static HTTL: Command =
    Command::new(meta("httl", "Tells how many seconds fields of a hash have to live."), |cx, args| {
        times(cx, args, true, false)
    });
/// `HPTTL key FIELDS numfields field [field ...]`
pub static HPTTL: Command =
    Command::new(meta("hpttl", "Tells how many milliseconds fields of a hash have to live."), |cx, args| {
        times(cx, args, false, false)
    });
/// `HEXPIRETIME key FIELDS numfields field [field ...]`
pub static HEXPIRETIME: Command = Command::new(
    meta("hexpiretime", "Tells the Unix time in seconds at which fields of a hash expire."),
    |cx, args| times(cx, args, true, true),
);
/// `HPEXPIRETIME key FIELDS numfields field [field ...]`
pub static HPEXPIRETIME: Command = Command::new(
    meta("hpexpiretime", "Tells the Unix time in milliseconds at which fields of a hash expire."),
    |cx, args| times(cx, args, false, true),
);

fn times(cx: &mut Ctx<'_>, args: &[&[u8]], seconds: bool, absolute: bool) -> CmdResult {
    let names = fields(args, 3, 1, Error::SYNTAX)?;
    let now = now(cx);
    let hash = cx.db.hash_read(args[1])?;
    cx.out.array(names.len());
    for name in names {
        let reply = match hash.and_then(|hash| hash.expiry(name, now)) {
            None => -2,
            Some(None) => -1,
            Some(Some(at)) => {
                let ms = if absolute { at } else { (at - now).max(0) };
                // Seconds are rounded to the nearest.
                if seconds { ms.saturating_add(500) / 1000 } else { ms }
            }
        };
        cx.out.int(reply);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Bench;

    #[test]
    fn times_are_told_relative_and_absolute() {
        let mut b = Bench::new();
        b.run("hset k a 1 b 2");
        b.run("hpexpire k 1600 fields 1 a");
        assert_eq!(b.run("httl k fields 3 a b x"), "*3 :2 :-1 :-2");
        assert_eq!(b.run("hpttl k fields 1 a"), "*1 :1600");
        assert_eq!(b.run("hexpiretime k fields 1 a"), "*1 :1002");
        assert_eq!(b.run("hpexpiretime k fields 1 a"), "*1 :1001600");
        assert_eq!(b.run("httl none fields 1 a"), "*1 :-2");
        assert_eq!(b.run("httl k fields 2 a"), "-ERR syntax error");
        b.now += 1600;
        assert_eq!(b.run("hpttl k fields 1 a"), "*1 :-2");
    }
}
