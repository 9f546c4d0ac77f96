//! DUMP and RESTORE: a value as a payload that another server takes.
//!
//! A payload is the value in RDB form, two bytes of version, and a CRC-64 of all before it, little endian.

use std::sync::atomic::Ordering::Relaxed;

use super::super::options::{self, is};
use super::super::{CmdResult, Command, Ctx, Server};
use super::deleted;
use crate::base::{clock, crc64};
use crate::keyspace::{Db, EntryRef, NO_EXPIRY, Value, Watch, access, notify};
use crate::persist::rdb::{self, Steps};
use crate::resp::Error;
use crate::spec::{Flags, Group, KeyFlags, KeySpec, Meta};

/// `DUMP key` <https://valkey.io/commands/dump/>
pub static DUMP: Command = Command::new(
    Meta::new("dump", 2, Flags::READONLY, Group::Generic)
        .keys(const { &[KeySpec::one(1, KeyFlags::RO.or(KeyFlags::ACCESS))] })
        .doc("2.6.0", "O(N) where N is the size of the value.", "Returns the value of a key in a form for RESTORE.")
        .tips(&["nondeterministic_output"]),
    dump,
);
/// `RESTORE key ttl payload [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]`
/// <https://valkey.io/commands/restore/>
pub static RESTORE: Command = Command::new(
    Meta::new("restore", -4, Flags::WRITE.or(Flags::DENYOOM), Group::Generic)
        .cat(crate::spec::Cat::DANGEROUS)
        .keys(const { &[KeySpec::one(1, KeyFlags::OW.or(KeyFlags::UPDATE))] })
        .doc("2.6.0", "O(N) where N is the size of the value.", "Makes a key of the value that DUMP returned."),
    restore,
)
.prepared(|server, args| unpack(server, args[3]));
/// `RESTORE-ASKING`: RESTORE on a slot that is just arriving, as MIGRATE sends it.
/// <https://valkey.io/commands/restore-asking/>
pub static RESTORE_ASKING: Command = Command::new(
    Meta::new("restore-asking", -4, Flags::WRITE.or(Flags::DENYOOM).or(Flags::ASKING), Group::Server)
        .cat(crate::spec::Cat::KEYSPACE)
        .cat(crate::spec::Cat::DANGEROUS)
        .keys(const { &[KeySpec::one(1, KeyFlags::OW.or(KeyFlags::UPDATE))] })
        .doc("3.0.0", "O(N) where N is the size of the value.", "Makes a key of a slot that is moving here."),
    restore,
)
.prepared(|server, args| unpack(server, args[3]));

/// The newest version that is read.
const NEWEST: u16 = 80;
/// Versions that no server writes: between Redis's and Valkey's numbers.
const FOREIGN: std::ops::RangeInclusive<u16> = 13..=79;

fn dump(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let compress = cx.config().rdbcompression();
    match cx.db.read(args[1]) {
        Some(e) => cx.out.bulk(&payload(e, compress)),
        None => cx.out.null(),
    }
    Ok(())
}

/// The value of a key for RESTORE.
pub fn payload(e: EntryRef<'_>, compress: bool) -> Vec<u8> {
    let mut w = rdb::Writer::new(compress);
    let version = rdb::write_value(&mut w, e.view());
    sealed(w.bytes, version)
}

/// What a step of writing out a big value led to.
pub enum Written {
    /// There is more.
    Some,
    /// That was the last of it. The key has this expiry.
    All(i64),
    /// The key was touched since the watch on it began, or is gone: what is written is worth nothing.
    Touched,
}

/// Writes some more of a watched key's value. Its slot is held.
pub fn write_some(steps: &mut Steps, db: &Db<'_>, key: &[u8], watch: &Watch) -> Written {
    match db.peek(key).filter(|_| !watch.is_touched()) {
        None => Written::Touched,
        Some(e) if steps.step(e.view()) => Written::All(e.expiry()),
        Some(_) => Written::Some,
    }
}

/// A payload of this: version and checksum are put behind it.
pub fn sealed(mut bytes: Vec<u8>, version: u16) -> Vec<u8> {
    bytes.extend_from_slice(&version.to_le_bytes());
    let crc = crc64::crc64(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// What a payload carries, if version and checksum are right, or the version is and the checksum may be `any`.
pub fn body(payload: &[u8], any: bool) -> Option<&[u8]> {
    let (rest, crc) = payload.split_last_chunk::<8>()?;
    let (body, version) = rest.split_last_chunk::<2>()?;
    let version = u16::from_le_bytes(*version);
    let crc = u64::from_le_bytes(*crc);
    let right = any || crc == 0 || crc == crc64::crc64(rest);
    (version <= NEWEST && !FOREIGN.contains(&version) && right).then_some(body)
}

/// The value that a payload holds.
fn unpack(server: &Server, payload: &[u8]) -> Result<Value, Error> {
    let any = server.switches.skip_checksum.load(Relaxed);
    let body = body(payload, any).ok_or(Error::new("ERR DUMP payload version or checksum are wrong"))?;
    let mut reader = rdb::Reader::new(body);
    let limits = server.limits();
    let value = reader.byte().and_then(|what| rdb::read_value(what, &mut reader, &limits, clock::now_ms()));
    value.ok().filter(|_| reader.rest().is_empty()).ok_or_else(|| {
        tracing::warn!("RESTORE of a payload whose integrity check failed");
        Error::new("ERR Bad data format")
    })
}

fn restore(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let (key, payload) = (args[1], args[3]);
    let (mut replace, mut absolute, mut idle, mut freq) = (false, false, None, None);
    let mut rest = args[4..].iter();
    while let Some(word) = rest.next() {
        match rest.as_slice().first() {
            _ if is(word, "REPLACE") => replace = true,
            _ if is(word, "ABSTTL") => absolute = true,
            Some(n) if is(word, "IDLETIME") && freq.is_none() => {
                let n = options::int(n)?;
                idle = Some(u64::try_from(n).map_err(|_| Error::new("ERR Invalid IDLETIME value, must be >= 0"))?);
                rest.next();
            }
            Some(n) if is(word, "FREQ") && idle.is_none() => {
                let n = options::int(n)?;
                let n = u8::try_from(n).map_err(|_| Error::new("ERR Invalid FREQ value, must be >= 0 and <= 255"))?;
                freq = Some(n);
                rest.next();
            }
            _ => return Err(Error::SYNTAX),
        }
    }
    if !replace && cx.db.read(key).is_some() {
        return Err(Error::new("BUSYKEY Target key name already exists."));
    }
    let ttl = options::int(args[2])?;
    if ttl < 0 {
        return Err(Error::new("ERR Invalid TTL value, must be >= 0"));
    }
    let value = cx.session.prepared.take().unwrap_or_else(|| unpack(cx.server, payload))?;
    let expiry = match ttl {
        0 => NO_EXPIRY,
        t if absolute => t,
        t => t.checked_add(cx.db.clock).ok_or(Error::new("ERR Invalid TTL value, must be >= 0"))?,
    };
    let replaced = replace && cx.db.delete(key, cx.db.tuning().lazy_server_del);
    if expiry != NO_EXPIRY && cx.db.is_over(expiry) {
        if replaced {
            let verb: &[u8] = if cx.db.tuning().lazy_server_del { b"UNLINK" } else { b"DEL" };
            cx.db.effect(&[verb, key]);
            deleted(cx, key);
        }
        cx.out.ok();
        return Ok(());
    }
    cx.db.insert(key, value, expiry);
    let (now, lfu) = (cx.db.clock, cx.db.tuning().lfu);
    if let Some(e) = cx.db.peek(key) {
        match (idle, freq) {
            (Some(seconds), _) if !lfu => e.set_access(access::bits_for_idle(seconds, now)),
            (_, Some(freq)) if lfu => e.set_access(access::bits_for_frequency(freq, now)),
            _ => {}
        }
    }
    if expiry != NO_EXPIRY && !absolute {
        let mut argv = args.to_vec();
        let mut digits = itoa::Buffer::new();
        argv[2] = digits.format(expiry).as_bytes();
        argv.push(b"ABSTTL");
        cx.db.effect(&argv);
    }
    cx.db.notify(notify::GENERIC, "restore", key);
    cx.db.modified(key, 1);
    cx.out.ok();
    Ok(())
}
