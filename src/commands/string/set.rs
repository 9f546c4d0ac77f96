//! SET, SETNX, SETEX, PSETEX, GETSET, and the options that SET shares with GETEX and MSETEX.

use smallvec::{SmallVec, smallvec};

use super::super::collections::OW_UPDATE;
use super::super::options::{self, Unit, is};
use super::super::{CmdResult, Command, Ctx};
use super::reply_entry;
use crate::keyspace::{Ttl, notify};
use crate::resp::Error;
use crate::spec::{Flags, Group, KeyFlags, KeySpec, KeyUse, Meta};

const RW_ACCESS_UPDATE: KeyFlags = KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE);
const OW_INSERT: KeyFlags = KeyFlags::OW.or(KeyFlags::INSERT);
/// How the log calls a point in time, ms.
const PXAT: &[u8] = b"PXAT";

/// `SET key value [NX | XX | IFEQ value] [GET] [EX s | PX ms | EXAT s | PXAT ms | KEEPTTL]`
/// <https://valkey.io/commands/set/>
pub static SET: Command = Command::new(
    Meta::new("set", -3, Flags::WRITE.or(Flags::DENYOOM), Group::String)
        .keys(const { &[KeySpec::one(1, RW_ACCESS_UPDATE.or(KeyFlags::VARIABLE_FLAGS))] })
        .getkeys(set_keys)
        .doc("1.0.0", "O(1)", "Stores a string at a key, whatever was there."),
    set,
);
/// `SETNX key value` <https://valkey.io/commands/setnx/>
pub static SETNX: Command = Command::new(
    Meta::new("setnx", 3, Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST), Group::String)
        .keys(const { &[KeySpec::one(1, OW_INSERT)] })
        .doc("1.0.0", "O(1)", "Stores a string at a key that does not exist yet.")
        .deprecated("2.6.12", "`SET` with the `NX` argument"),
    setnx,
);
/// `SETEX key seconds value` <https://valkey.io/commands/setex/>
pub static SETEX: Command = Command::new(
    Meta::new("setex", 4, Flags::WRITE.or(Flags::DENYOOM), Group::String)
        .keys(const { &[KeySpec::one(1, OW_UPDATE)] })
        .doc("2.0.0", "O(1)", "Stores a string at a key that expires after some seconds.")
        .deprecated("2.6.12", "`SET` with the `EX` argument"),
    |cx, args| setex(cx, args, Unit::Seconds),
);
/// `PSETEX key milliseconds value` <https://valkey.io/commands/psetex/>
pub static PSETEX: Command = Command::new(
    Meta::new("psetex", 4, Flags::WRITE.or(Flags::DENYOOM), Group::String)
        .keys(const { &[KeySpec::one(1, OW_UPDATE)] })
        .doc("2.6.0", "O(1)", "Stores a string at a key that expires after some milliseconds.")
        .deprecated("2.6.12", "`SET` with the `PX` argument"),
    |cx, args| setex(cx, args, Unit::Millis),
);
/// `GETSET key value` <https://valkey.io/commands/getset/>
pub static GETSET: Command = Command::new(
    Meta::new("getset", 3, Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST), Group::String)
        .keys(const { &[KeySpec::one(1, RW_ACCESS_UPDATE)] })
        .doc("1.0.0", "O(1)", "Stores a string at a key and returns the one that was there.")
        .deprecated("6.2.0", "`SET` with the `GET` argument"),
    getset,
);

/// SET overwrites unless it also looks.
fn set_keys(args: &[&[u8]]) -> Option<SmallVec<[KeyUse; 4]>> {
    let looks = args.get(3..)?.iter().any(|arg| is(arg, "GET") || is(arg, "IFEQ"));
    Some(smallvec![KeyUse { index: 1, flags: if looks { RW_ACCESS_UPDATE } else { OW_UPDATE } }])
}

/// What the options say of the key's expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// Nothing.
    None,
    /// It becomes this, unix ms.
    At(i64),
    /// It stays (KEEPTTL).
    Keep,
    /// It goes (PERSIST).
    Persist,
}

/// When to store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When<'a> {
    /// Always.
    Always,
    /// If the key does not exist.
    Missing,
    /// If it does.
    There,
    /// If it holds this string.
    Equal(&'a [u8]),
}

/// Parsed options.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// When to store.
    pub when: When<'a>,
    /// GET: reply with the string that was there.
    pub get: bool,
    /// The expiry.
    pub expiry: Expiry,
    /// The word for a point in time in ms, if the expiry was given as such: so it replicates as it is.
    pub absolute: Option<&'a [u8]>,
}

impl<'a> Options<'a> {
    /// Options of SET.
    pub const SET: u8 = 1;
    /// Options of GETEX.
    pub const GETEX: u8 = 2;
    /// Options of MSETEX.
    pub const MSETEX: u8 = 4;

    /// Parses the options of one of these commands.
    pub fn parse(cx: &Ctx<'_>, args: &[&'a [u8]], of: u8) -> Result<Options<'a>, Error> {
        let mut o = Options { when: When::Always, get: false, expiry: Expiry::None, absolute: None };
        let mut time: Option<(&[u8], Unit, bool, &'a [u8])> = None;
        let sets = of & (Options::SET | Options::MSETEX) != 0;
        let mut i = 0;
        while i < args.len() {
            let arg = args[i];
            let next = args.get(i + 1).copied();
            let free = o.expiry == Expiry::None && time.is_none();
            match () {
                () if sets && o.when == When::Always && is(arg, "NX") => o.when = When::Missing,
                () if sets && o.when == When::Always && is(arg, "XX") => o.when = When::There,
                () if of == Options::SET && o.when == When::Always && is(arg, "IFEQ") => {
                    o.when = When::Equal(next.ok_or(Error::SYNTAX)?);
                    i += 1;
                }
                () if of == Options::SET && is(arg, "GET") => o.get = true,
                () if sets && free && is(arg, "KEEPTTL") => o.expiry = Expiry::Keep,
                () if of == Options::GETEX && free && is(arg, "PERSIST") => o.expiry = Expiry::Persist,
                () if free && next.is_some() => {
                    let (unit, absolute) = match () {
                        () if is(arg, "EX") => (Unit::Seconds, false),
                        () if is(arg, "PX") => (Unit::Millis, false),
                        () if is(arg, "EXAT") => (Unit::Seconds, true),
                        () if is(arg, "PXAT") => (Unit::Millis, true),
                        () => return Err(Error::SYNTAX),
                    };
                    time = next.map(|n| (n, unit, absolute, arg));
                    i += 1;
                }
                () => return Err(Error::SYNTAX),
            }
            i += 1;
        }
        if let Some((n, unit, absolute, word)) = time {
            o.expiry = Expiry::At(options::expiry(n, unit, absolute, cx.db.clock, true, cx.name())?);
            o.absolute = (absolute && unit == Unit::Millis).then_some(word);
        }
        Ok(o)
    }
}

fn set(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let (key, value) = (args[1], args[2]);
    if args.len() == 3 {
        cx.db.set_text(key, value, Ttl::Clear);
        cx.out.ok();
        cx.db.notify(notify::STRING, "set", key);
        cx.db.modified(key, 1);
        return Ok(());
    }
    let options = Options::parse(cx, &args[3..], Options::SET)?;
    let mut stores = true;
    if options.get || options.when != When::Always {
        let old = cx.db.read(key);
        stores = match (options.when, &old) {
            (When::Always, _) => true,
            (When::Missing, old) => old.is_none(),
            (When::There, old) => old.is_some(),
            (When::Equal(_), None) => false,
            (When::Equal(want), Some(e)) => e.text().ok_or(Error::WRONGTYPE)?.bytes(&mut itoa::Buffer::new()) == want,
        };
        if options.get {
            match old {
                Some(e) => reply_entry(cx.out, e)?,
                None => cx.out.null(),
            }
        }
    }
    if !stores {
        if !options.get {
            cx.out.null();
        }
        return Ok(());
    }
    let ttl = match options.expiry {
        Expiry::At(at) => Ttl::At(at),
        Expiry::Keep => Ttl::Keep,
        Expiry::None | Expiry::Persist => Ttl::Clear,
    };
    store(cx, key, value, ttl, options.absolute.unwrap_or(PXAT));
    if !options.get {
        cx.out.ok();
    }
    Ok(())
}

/// Stores the string with all that follows from it. `word` is how the log calls a time.
fn store(cx: &mut Ctx<'_>, key: &[u8], value: &[u8], ttl: Ttl, word: &[u8]) {
    if matches!(ttl, Ttl::At(at) if cx.db.is_over(at)) {
        // Over before it began.
        let lazy = cx.db.tuning().lazy_expire;
        if cx.db.delete(key, lazy) {
            cx.db.effect(&[if lazy { b"UNLINK" } else { b"DEL" }, key]);
            cx.db.notify(notify::GENERIC, "del", key);
            cx.db.modified(key, 1);
        }
        return;
    }
    cx.db.set_text(key, value, ttl);
    cx.db.notify(notify::STRING, "set", key);
    match ttl {
        Ttl::At(at) => {
            cx.db.notify(notify::GENERIC, "expire", key);
            cx.db.effect(&[b"SET", key, value, word, itoa::Buffer::new().format(at).as_bytes()]);
        }
        Ttl::Keep => cx.db.effect(&[b"SET", key, value, b"KEEPTTL"]),
        Ttl::Clear => cx.db.effect(&[b"SET", key, value]),
    }
    cx.db.modified(key, 1);
}

fn setnx(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let missing = cx.db.read(args[1]).is_none();
    if missing {
        store(cx, args[1], args[2], Ttl::Clear, PXAT);
    }
    cx.out.int(i64::from(missing));
    Ok(())
}

fn setex(cx: &mut Ctx<'_>, args: &[&[u8]], unit: Unit) -> CmdResult {
    let at = options::expiry(args[2], unit, false, cx.db.clock, true, cx.name())?;
    store(cx, args[1], args[3], Ttl::At(at), PXAT);
    cx.out.ok();
    Ok(())
}

fn getset(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    match cx.db.read(args[1]) {
        Some(e) => reply_entry(cx.out, e)?,
        None => cx.out.null(),
    }
    store(cx, args[1], args[2], Ttl::Clear, PXAT);
    Ok(())
}
