//! TTL, PTTL, EXPIRETIME, PEXPIRETIME.

use super::super::{CmdResult, Command, Ctx};
use crate::keyspace::NO_EXPIRY;
use crate::spec::{Flags, Group, KeyFlags, KeySpec, Meta};

const fn meta(name: &'static str, since: &'static str, summary: &'static str) -> Meta {
    Meta::new(name, 2, Flags::READONLY.or(Flags::FAST), Group::Generic)
        .keys(const { &[KeySpec::one(1, KeyFlags::RO.or(KeyFlags::ACCESS))] })
        .doc(since, "O(1)", summary)
}

/// `TTL key` <https://valkey.io/commands/ttl/>
pub static TTL: Command = Command::new(
    meta("ttl", "1.0.0", "Returns in how many seconds a key expires.").tips(&["nondeterministic_output"]),
    |cx, args| reply(cx, args, |at, now| (at - now).saturating_add(500) / 1000),
);
/// `PTTL key` <https://valkey.io/commands/pttl/>
pub static PTTL: Command = Command::new(
    meta("pttl", "2.6.0", "Returns in how many milliseconds a key expires.").tips(&["nondeterministic_output"]),
    |cx, args| reply(cx, args, |at, now| at - now),
);
/// `EXPIRETIME key` <https://valkey.io/commands/expiretime/>
pub static EXPIRETIME: Command = Command::new(
    meta("expiretime", "7.0.0", "Returns the unix time in seconds at which a key expires."),
    |cx, args| reply(cx, args, |at, _| at.saturating_add(500) / 1000),
);
/// `PEXPIRETIME key` <https://valkey.io/commands/pexpiretime/>
pub static PEXPIRETIME: Command = Command::new(
    meta("pexpiretime", "7.0.0", "Returns the unix time in milliseconds at which a key expires."),
    |cx, args| reply(cx, args, |at, _| at),
);

/// -2: there is no such key; -1: it does not expire.
fn reply(cx: &mut Ctx<'_>, args: &[&[u8]], show: impl Fn(i64, i64) -> i64) -> CmdResult {
    let now = cx.db.clock;
    let no_touch = std::mem::replace(&mut cx.db.no_touch, true);
    let n = match cx.db.read(args[1]).map(|e| e.expiry()) {
        None => -2,
        Some(NO_EXPIRY) => -1,
        Some(at) => show(at, now).max(0),
    };
    cx.db.no_touch = no_touch;
    cx.out.int(n);
    Ok(())
}
