//! Loads an RDB file on all cores.
//!
//! One thread reads, sums the checksum, and cuts the bytes into records: it looks at lengths and copies nothing but whole
//! batches. The others decode the records of a batch and put the keys into their slots. So the order of keys in the file
//! means nothing, and a key that is there twice is an error.
//!
//! What is wrong with a file is told with the offset at which it is. Keys loaded before stay where they are: the caller
//! must not take them for data.

use std::fmt;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use std::sync::mpsc::{Receiver, sync_channel};

use parking_lot::Mutex;

use super::decode::{BadPayload, Reader, read_value};
use super::{kind, opcode, skip, type_name};
use crate::base::crc64;
use crate::base::slot::key_slot;
use crate::keyspace::entry::{new_text, new_value};
use crate::keyspace::{Db, Effects, Keyspace, Located, NO_EXPIRY, Tuning, access};
use crate::metrics::ThreadStats;
use crate::types::Limits;

/// Records are handed over in batches of about this many bytes.
const BATCH: usize = 256 << 10;
/// Bytes read at once.
const READ: usize = 1 << 20;
/// The newest version of Redis that is read, and those of Valkey.
const NEWEST: u16 = 12;
const VALKEY: std::ops::RangeInclusive<u16> = 80..=80;

/// How to load, and where to.
#[derive(Clone, Copy)]
pub struct Load<'a> {
    /// The keyspace to fill. Others may read it meanwhile.
    pub into: &'static Keyspace,
    /// Settings of the keyspace.
    pub tuning: Tuning,
    /// Thresholds of the packed encodings.
    pub limits: Limits,
    /// Unix time, ms.
    pub now: i64,
    /// Keys whose time is over are loaded all the same: a primary will say when they go.
    pub keep_expired: bool,
    /// Note which keys are left out.
    pub note_expired: bool,
    /// A key that is there already is replaced; else that is an error.
    pub replace: bool,
    /// Verify the checksum.
    pub checksum: bool,
    /// Microseconds to wait after each key, for tests.
    pub delay_us: i64,
    /// How far it is, in bytes; others may look.
    pub progress: &'a AtomicU64,
}

/// What was loaded.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Keys.
    pub keys: u64,
    /// Keys that were left out because their time was over.
    pub expired: u64,
    /// Which those were, with their database, if that was asked for.
    pub expired_keys: Vec<(usize, Vec<u8>)>,
    /// Keys of collections without elements, as old versions could write: they are left out.
    pub empty: u64,
    /// Auxiliary fields.
    pub aux: Vec<(String, String)>,
    /// The source of function libraries.
    pub functions: Vec<Vec<u8>>,
    /// Bytes of the file.
    pub bytes: u64,
    /// What was read beyond the end of the file: the commands of an append-only file with a preamble.
    pub rest: Vec<u8>,
}

impl Loaded {
    /// An auxiliary field.
    pub fn aux(&self, name: &str) -> Option<&str> {
        self.aux.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// Why a file was not loaded.
#[derive(Debug)]
pub enum LoadError {
    /// It could not be read.
    Io(io::Error),
    /// It is not what it should be, at this offset.
    Bad(u64, String),
    /// Another part of it failed.
    Cancelled,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Io(e) => write!(f, "{e}"),
            LoadError::Bad(at, what) => write!(f, "{what} at offset {at}"),
            LoadError::Cancelled => f.write_str("cancelled"),
        }
    }
}

impl From<LoadError> for io::Error {
    fn from(e: LoadError) -> io::Error {
        match e {
            LoadError::Io(e) => e,
            other => io::Error::new(io::ErrorKind::InvalidData, other.to_string()),
        }
    }
}

/// What stands before a key.
#[derive(Debug, Default, Clone, Copy)]
struct Meta {
    expiry: Option<i64>,
    idle: Option<u64>,
    freq: Option<u8>,
}

/// A key in a batch.
#[derive(Debug, Clone, Copy)]
struct Record {
    start: usize,
    end: usize,
    db: usize,
    meta: Meta,
}

/// Records to decode. Their bytes begin at `offset` of the file.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    offset: u64,
    records: Vec<Record>,
}

/// The bytes of the file on their way through.
struct Source<R> {
    reader: R,
    buf: Vec<u8>,
    pos: usize,
    /// The offset of `buf[0]`.
    offset: u64,
    crc: u64,
    ended: bool,
}

impl<R: Read> Source<R> {
    fn at(&self) -> u64 {
        self.offset + self.pos as u64
    }
    fn bad(&self, what: impl Into<String>) -> LoadError {
        LoadError::Bad(self.at(), what.into())
    }
    /// Drops what was used, and reads more. What is not used yet may be the half of something long: each time as much
    /// again is read.
    fn fill(&mut self) -> Result<(), LoadError> {
        if self.ended {
            return Err(self.bad("Unexpected end of file"));
        }
        self.crc = crc64::update(self.crc, &self.buf[..self.pos]);
        self.offset += self.pos as u64;
        self.buf.drain(..self.pos);
        self.pos = 0;
        let have = self.buf.len();
        let want = have.max(READ) as u64;
        let n = (&mut self.reader).take(want).read_to_end(&mut self.buf).map_err(LoadError::Io)?;
        self.ended = (n as u64) < want;
        if n == 0 { Err(self.bad("Unexpected end of file")) } else { Ok(()) }
    }
    /// Takes something whose bytes may not all be there yet.
    fn take<T>(&mut self, mut f: impl FnMut(&mut Reader<'_>) -> Result<T, BadPayload>) -> Result<T, LoadError> {
        loop {
            let mut r = Reader::new(&self.buf[self.pos..]);
            match f(&mut r) {
                Ok(value) => {
                    self.pos = self.buf.len() - r.rest().len();
                    return Ok(value);
                }
                Err(BadPayload::Short) => self.fill()?,
                Err(BadPayload::Malformed | BadPayload::Empty) => return Err(self.bad("Malformed data")),
                Err(BadPayload::UnknownType(t)) => {
                    return Err(self.bad(format!("Can't load a value of type {t} ({})", type_name(t))));
                }
            }
        }
    }
    /// The checksum of everything up to here.
    fn sum(&self) -> u64 {
        crc64::update(self.crc, &self.buf[..self.pos])
    }
}

/// What all threads have done.
#[derive(Default)]
struct Done {
    keys: AtomicU64,
    empty: AtomicU64,
}

impl Done {
    /// A key has a collection without elements. The log names the first ten.
    fn skip(&self, from_key: &[u8]) {
        if self.empty.fetch_add(1, AcqRel) < 10
            && let Ok(key) = Reader::new(from_key).string()
        {
            tracing::info!("rdbLoadObject skipping empty key: {}", String::from_utf8_lossy(&key));
        }
    }
}

/// Loads a file. `stats` gives each thread its counters; there are as many threads beside the calling one.
pub fn load(reader: impl Read, how: Load<'_>, stats: &[&'static ThreadStats]) -> Result<Loaded, LoadError> {
    let (to, from) = sync_channel::<Batch>(stats.len() * 4);
    let from = Mutex::new(from);
    let failure: Mutex<Option<LoadError>> = Mutex::new(None);
    let failed = AtomicBool::new(false);
    let done = Done::default();
    let fail = |e: LoadError| {
        failure.lock().get_or_insert(e);
        failed.store(true, Release);
    };
    let result = std::thread::scope(|s| {
        for stats in stats {
            let (from, done, failed, fail) = (&from, &done, &failed, &fail);
            s.spawn(move || insert_all(how, stats, from, done, failed, fail));
        }
        let send = |batch: Batch| {
            if failed.load(Acquire) {
                return Err(LoadError::Cancelled);
            }
            to.send(batch).map_err(|_| LoadError::Cancelled)
        };
        let result = cut(reader, how, send);
        drop(to);
        result
    });
    if let Some(e) = failure.into_inner() {
        return Err(e);
    }
    let mut loaded = result?;
    (loaded.keys, loaded.empty) = (done.keys.into_inner(), done.empty.into_inner());
    Ok(loaded)
}

/// Cuts the file into batches.
fn cut(reader: impl Read, how: Load<'_>, send: impl Fn(Batch) -> Result<(), LoadError>) -> Result<Loaded, LoadError> {
    let mut src = Source { reader, buf: Vec::new(), pos: 0, offset: 0, crc: 0, ended: false };
    let version = header(&mut src)?;
    let mut loaded = Loaded::default();
    let (mut db, mut meta, mut batch) = (0, Meta::default(), Batch::default());
    loop {
        let start = src.at();
        let op = src.take(|r| r.byte())?;
        match op {
            opcode::EOF => break,
            opcode::SELECTDB => {
                let n = src.take(|r| r.plain_len())?;
                db = usize::try_from(n).ok().filter(|n| *n < how.into.databases()).ok_or_else(|| {
                    src.bad(format!("The file has keys in database {n}, and there are only {}", how.into.databases()))
                })?;
            }
            opcode::RESIZEDB => drop(src.take(|r| Ok((r.plain_len()?, r.plain_len()?)))?),
            opcode::SLOT_INFO => drop(src.take(|r| Ok((r.plain_len()?, r.plain_len()?, r.plain_len()?)))?),
            opcode::AUX => {
                let (name, value) = src.take(|r| Ok((r.string()?, r.string()?)))?;
                let text = |b: Vec<u8>| String::from_utf8_lossy(&b).into_owned();
                loaded.aux.push((text(name), text(value)));
            }
            opcode::EXPIRETIME_MS => meta.expiry = Some(i64::from_le_bytes(src.take(|r| r.array())?)),
            opcode::EXPIRETIME => {
                let seconds = i64::from(i32::from_le_bytes(src.take(|r| r.array())?));
                meta.expiry = Some(seconds * 1000);
            }
            opcode::IDLE => meta.idle = Some(src.take(|r| r.plain_len())?),
            opcode::FREQ => meta.freq = Some(src.take(|r| r.byte())?),
            opcode::FUNCTION2 => loaded.functions.push(src.take(|r| r.string())?),
            opcode::FUNCTION_PRE_GA => {
                return Err(src.bad("The file has functions in a form of a release candidate"));
            }
            opcode::MODULE_AUX => return Err(src.bad("The file has data of a module, and there are no modules")),
            what => {
                // The type byte belongs to the record.
                let len = src.take(|r| {
                    let before = r.rest().len();
                    r.skip_string()?;
                    skip::body(r, what)?;
                    Ok(before - r.rest().len())
                })?;
                let meta = std::mem::take(&mut meta);
                if !how.keep_expired && meta.expiry.is_some_and(|at| at >= 0 && at <= how.now) {
                    loaded.expired += 1;
                    if how.note_expired {
                        let key = Reader::new(&src.buf[src.pos - len..src.pos]).string();
                        loaded.expired_keys.extend(key.ok().map(|key| (db, key)));
                    }
                    continue;
                }
                if batch.records.is_empty() {
                    batch.offset = start;
                }
                let begin = batch.bytes.len();
                batch.bytes.push(what);
                batch.bytes.extend_from_slice(&src.buf[src.pos - len..src.pos]);
                batch.records.push(Record { start: begin, end: batch.bytes.len(), db, meta });
                if batch.bytes.len() >= BATCH {
                    how.progress.store(src.at(), Relaxed);
                    send(std::mem::take(&mut batch))?;
                }
            }
        }
    }
    if !batch.records.is_empty() {
        send(batch)?;
    }
    if version >= 5 {
        let sum = src.sum();
        let stored = u64::from_le_bytes(src.take(|r| r.array())?);
        if how.checksum && stored != 0 && stored != sum {
            return Err(src.bad(format!("RDB CRC error: the checksum is {sum:016x}, and {stored:016x} in the file")));
        }
    }
    loaded.bytes = src.at();
    loaded.rest = src.buf.split_off(src.pos);
    how.progress.store(loaded.bytes, Relaxed);
    Ok(loaded)
}

/// Reads the first nine bytes: the version.
fn header<R: Read>(src: &mut Source<R>) -> Result<u16, LoadError> {
    let magic: [u8; 9] = src.take(|r| r.array())?;
    let number = |digits: &[u8]| std::str::from_utf8(digits).ok().and_then(|d| d.parse::<u16>().ok());
    let version = match magic.strip_prefix(b"REDIS") {
        Some(digits) => number(digits).map(|v| (v, (1..=NEWEST).contains(&v))),
        None => magic.strip_prefix(b"VALKEY").and_then(number).map(|v| (v, VALKEY.contains(&v))),
    };
    match version {
        Some((version, true)) => Ok(version),
        Some((version, false)) => Err(LoadError::Bad(0, format!("Can't handle RDB format version {version}"))),
        None => Err(LoadError::Bad(0, "Wrong signature trying to load DB from file".into())),
    }
}

/// Decodes batches and inserts their keys, until there are no more.
fn insert_all(
    how: Load<'_>,
    stats: &'static ThreadStats,
    from: &Mutex<Receiver<Batch>>,
    done: &Done,
    failed: &AtomicBool,
    fail: &impl Fn(LoadError),
) {
    let mut held = how.into.held();
    let mut fx = Effects { ignore_expiry: true, ..Effects::default() };
    let mut inserted = 0;
    loop {
        let Ok(batch) = from.lock().recv() else { break };
        if failed.load(Acquire) {
            continue;
        }
        for record in &batch.records {
            let mut r = Reader::new(&batch.bytes[record.start..record.end]);
            let meta = record.meta;
            let expiry = meta.expiry.map_or(NO_EXPIRY, |at| at.max(0));
            let decoded = (|| {
                let what = r.byte()?;
                let key = r.string_cow()?;
                if what == kind::STRING {
                    let text = r.string_cow()?;
                    return Ok((new_text(&key, &text, expiry), key));
                }
                let value = read_value(what, &mut r, &how.limits, how.now)?;
                Ok((new_value(&key, value, expiry), key))
            })();
            let at = batch.offset + record.start as u64;
            let (entry, key) = match decoded {
                Ok(decoded) => decoded,
                Err(BadPayload::Empty) => {
                    done.skip(&batch.bytes[record.start + 1..record.end]);
                    continue;
                }
                Err(BadPayload::UnknownType(t)) => {
                    fail(LoadError::Bad(at, format!("Can't load a value of type {t} ({})", type_name(t))));
                    break;
                }
                Err(_) => {
                    fail(LoadError::Bad(at, "Malformed value".into()));
                    break;
                }
            };
            let bits = match (meta.idle, meta.freq) {
                (Some(seconds), _) if !how.tuning.lfu => Some(access::bits_for_idle(seconds, how.now)),
                (_, Some(freq)) if how.tuning.lfu => Some(access::bits_for_frequency(freq, how.now)),
                _ => None,
            };
            held.lock(&mut [key_slot(&key)]);
            let mut db =
                Db::new(how.into, &mut held, record.db, how.now, &mut fx, stats, how.tuning, Located::of(&key));
            let added = db.load(&key, entry, bits, how.replace);
            held.unlock();
            if !added {
                let name = String::from_utf8_lossy(&key).into_owned();
                fail(LoadError::Bad(at, format!("The key '{name}' is there twice")));
                break;
            }
            inserted += 1;
            if how.delay_us > 0 {
                crate::base::clock::pause_us(how.delay_us as u64);
            }
        }
    }
    done.keys.fetch_add(inserted, AcqRel);
}
