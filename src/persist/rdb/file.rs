//! A snapshot in the form of an RDB file: header, auxiliary fields, keys, end, checksum.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::{Steps, Writer, form_of, opcode, write_body};
use crate::base::crc64;
use crate::config::Config;
use crate::keyspace::snapshot::{Busy, Encode, Pieces, Progress, Snapshot, Stats};
use crate::keyspace::{EntryRef, Keyspace, NO_EXPIRY, access};
use crate::persist::pace::Pace;

/// Which access history goes into the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum History {
    /// None.
    None,
    /// Idle times.
    Idle,
    /// LFU counters.
    Frequency,
}

/// How the file is written.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Compress strings.
    pub compress: bool,
    /// End with a checksum.
    pub checksum: bool,
    /// Access history.
    pub history: History,
    /// Unix time, ms.
    pub now: i64,
    /// Whose `rdb-key-save-delay` to wait after each key, as it is then.
    pub delay: Option<&'static Config>,
}

/// What is known at the cut.
#[derive(Debug, Default)]
pub struct Head {
    /// The version: [`super::VERSION`], or [`super::VERSION_FIELD_EXPIRY`] if there are hashes with fields that expire.
    pub version: u16,
    /// Auxiliary fields, in order.
    pub aux: Vec<(&'static str, String)>,
    /// Of each database: keys, and keys with an expiry.
    pub sizes: Vec<(u64, u64)>,
    /// Function libraries.
    pub functions: Vec<Vec<u8>>,
}

impl Head {
    /// Adds which history of replication the data belong to, and where in it they are.
    pub fn with_history(mut self, id: &str, offset: u64) -> Head {
        self.aux.push(("repl-stream-db", "0".to_owned()));
        self.aux.push(("repl-id", id.to_owned()));
        self.aux.push(("repl-offset", offset.to_string()));
        self
    }
}

/// Writes keys as records of a file.
struct Records {
    options: Options,
}

impl Encode for Records {
    fn select(&mut self, db: usize, out: &mut Vec<u8>) {
        with_writer(out, self.options.compress, |w| {
            w.bytes.push(opcode::SELECTDB);
            w.length(db as u64);
        });
    }
    fn entry(&mut self, _db: usize, entry: EntryRef<'_>, out: &mut Vec<u8>) {
        with_writer(out, self.options.compress, |w| {
            self.write_head(w, entry);
            let view = entry.view();
            w.bytes.push(form_of(view).0);
            w.string(entry.key());
            write_body(w, view);
        });
    }
    fn pieces(&mut self, entry: EntryRef<'_>) -> Option<Box<dyn Pieces>> {
        let compress = self.options.compress;
        let mut head = Writer::new(compress);
        self.write_head(&mut head, entry);
        let (key, steps) = (entry.key().to_vec(), Steps::new(compress));
        Some(Box::new(Record { head, key, steps, written: Vec::new() }))
    }
}

impl Records {
    /// What comes before the type.
    fn write_head(&self, w: &mut Writer, entry: EntryRef<'_>) {
        if entry.expiry() != NO_EXPIRY {
            w.bytes.push(opcode::EXPIRETIME_MS);
            w.bytes.extend_from_slice(&entry.expiry().to_le_bytes());
        }
        match self.options.history {
            History::None => {}
            History::Idle => {
                w.bytes.push(opcode::IDLE);
                w.length(access::idle_ms(entry.access(), self.options.now) / 1000);
            }
            History::Frequency => w.bytes.extend_from_slice(&[opcode::FREQ, entry.access() as u8]),
        }
    }
}

/// A record that is written in steps.
struct Record {
    head: Writer,
    key: Vec<u8>,
    steps: Steps,
    /// Its bytes so far, from the type on, without the key.
    written: Vec<Vec<u8>>,
}

impl Pieces for Record {
    fn step(&mut self, entry: EntryRef<'_>) -> bool {
        let last = self.steps.step(entry.view());
        self.written.push(self.steps.take_written());
        last
    }
    fn finish(self: Box<Self>) -> Vec<Vec<u8>> {
        let Record { head: mut w, key, steps, mut written } = *self;
        written.push(steps.finish().0);
        // The key stands between the type, which is the first byte that was written, and the value.
        let first = written.iter_mut().find(|bytes| !bytes.is_empty());
        if let Some(first) = first {
            w.bytes.push(first.remove(0));
        }
        w.string(&key);
        written.insert(0, w.bytes);
        written
    }
}

/// Lends bytes to a writer.
fn with_writer(out: &mut Vec<u8>, compress: bool, f: impl FnOnce(&mut Writer)) {
    let mut w = Writer::new(compress);
    w.bytes = std::mem::take(out);
    f(&mut w);
    *out = w.bytes;
}

impl Head {
    fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new(false);
        // Valkey's files of its own versions have its name.
        let magic = if self.version >= 80 { "VALKEY" } else { "REDIS" };
        let digits = if self.version >= 80 { 3 } else { 4 };
        w.bytes.extend_from_slice(format!("{magic}{:0digits$}", self.version).as_bytes());
        for (name, value) in &self.aux {
            w.bytes.push(opcode::AUX);
            w.string(name.as_bytes());
            w.string(value.as_bytes());
        }
        for code in &self.functions {
            w.bytes.push(opcode::FUNCTION2);
            w.string(code);
        }
        for (db, (keys, expires)) in self.sizes.iter().enumerate().filter(|(_, (keys, _))| *keys > 0) {
            w.bytes.push(opcode::SELECTDB);
            w.length(db as u64);
            w.bytes.push(opcode::RESIZEDB);
            w.length(*keys);
            w.length(*expires);
        }
        w.bytes
    }
}

/// A snapshot that will be written as a file.
#[derive(Debug)]
pub struct FileSnapshot {
    /// The data, if they belong to it.
    snapshot: Option<Snapshot>,
    head: Vec<u8>,
    checksum: bool,
    delay: Option<&'static Config>,
    progress: Arc<Progress>,
}

impl FileSnapshot {
    /// Makes the cut. `at_cut` runs while all slots are held, and says what the file begins with.
    pub fn begin<T>(
        ks: &'static Keyspace,
        options: Options,
        progress: Arc<Progress>,
        at_cut: impl FnOnce() -> (Head, T),
    ) -> Result<(FileSnapshot, T), Busy> {
        let encoders = move || Box::new(Records { options }) as Box<dyn Encode>;
        let (snapshot, (head, result)) = Snapshot::begin(ks, &encoders, progress.clone(), |_| at_cut())?;
        let (checksum, delay) = (options.checksum, options.delay);
        Ok((FileSnapshot { snapshot: Some(snapshot), head: head.encode(), checksum, delay, progress }, result))
    }
    /// A file without data. `at_cut` runs while all slots are held.
    pub fn without_data<T>(
        ks: &'static Keyspace,
        options: Options,
        progress: Arc<Progress>,
        at_cut: impl FnOnce() -> (Head, T),
    ) -> (FileSnapshot, T) {
        let mut held = ks.held();
        held.lock_all();
        let (head, result) = at_cut();
        held.unlock();
        let (head, checksum, delay) = (head.encode(), options.checksum, options.delay);
        (FileSnapshot { snapshot: None, head, checksum, delay, progress }, result)
    }
    /// Writes it, in pieces. Ends early with the error of the sink, or if `cancel` is set.
    pub fn run(self, cancel: &AtomicBool, mut sink: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<Stats> {
        let (mut crc, checksum) = (0, self.checksum);
        let (mut bytes, mut pace) = (0, Pace::new(self.delay));
        let mut put = |chunk: &[u8]| {
            if checksum {
                crc = crc64::update(crc, chunk);
            }
            bytes += chunk.len() as u64;
            pace.wait(&self.progress, cancel)?;
            sink(chunk)
        };
        put(&self.head)?;
        let mut stats = match self.snapshot {
            Some(snapshot) => snapshot.run(cancel, &mut put)?,
            None => Stats::default(),
        };
        put(&[opcode::EOF])?;
        let end = crc.to_le_bytes();
        sink(&end)?;
        stats.bytes = bytes + 8;
        Ok(stats)
    }
}
