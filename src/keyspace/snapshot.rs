//! A consistent picture of all data, taken while commands go on.
//!
//! The cut is an instant in which all slots are locked. Afterwards a thread walks through the tables, a few buckets at a
//! time, and encodes what it finds. A command that is about to change an entry which the walk has not reached yet first
//! encodes the entry as it was. So every key of the cut is encoded exactly once, with its value at the cut, in no order
//! that means anything; keys that came later are left out. Who has been encoded is one bit of the entry (see `hooks`).
//!
//! What it costs in memory: the encoded images of entries that were changed, until the walk's next step takes them to
//! the sink. Nothing is copied because of reads. A value of a big collection is encoded in one piece, under the lock of
//! its slot.
//!
//! Databases are told apart by their number at the cut, also after SWAPDB. A flushed database leaves its tables here;
//! they are walked last, then freed.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};

use super::entry::Entry;
use super::hooks::SnapshotHook;
use super::slots::{Held, SLOTS};
use super::{EntryRef, Keyspace};
use crate::base::sync::Mutex;
use crate::types::dict::Dict;

/// Bytes that are gathered before the sink gets them.
const CHUNK: usize = 64 << 10;

/// The form in which keys leave the snapshot: records of a dump file, or commands.
pub trait Encode: Send {
    /// Says that what follows is of database `db`.
    fn select(&mut self, db: usize, out: &mut Vec<u8>);
    /// Appends a key with its value and expiry.
    fn entry(&mut self, db: usize, entry: EntryRef<'_>, out: &mut Vec<u8>);
}

/// Makes encoders: the walk has one and the commands that save what they change have another.
pub type Encoders = dyn Fn() -> Box<dyn Encode> + Send + Sync;

/// What is in a snapshot.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Keys.
    pub keys: u64,
    /// Keys that a command saved before it changed them.
    pub saved_by_writers: u64,
    /// Bytes handed to the sink.
    pub bytes: u64,
}

/// How far a snapshot is; read by others while it runs.
#[derive(Debug, Default)]
pub struct Progress {
    /// Keys at the cut.
    pub total: AtomicUsize,
    /// Keys encoded so far.
    pub done: AtomicUsize,
    /// Bytes of images that wait for the walk.
    pub waiting: AtomicUsize,
}

/// What commands leave for the walk.
struct Shared {
    state: Mutex<State>,
    progress: Arc<Progress>,
}

struct State {
    encoder: Box<dyn Encode>,
    /// Images of entries that were changed.
    images: Vec<u8>,
    keys: u64,
    /// The database of the last image.
    selected: Option<usize>,
    /// The number at the cut of what is now database i.
    origin: Vec<usize>,
    /// Tables of flushed databases, with their number at the cut.
    orphans: Vec<(usize, Vec<Dict<Entry>>)>,
    /// Nobody wants the result any more; the walk only brings the entries' bits in step.
    discard: bool,
}

impl State {
    fn save(&mut self, db: usize, entry: EntryRef<'_>) {
        if self.selected != Some(db) {
            self.selected = Some(db);
            self.encoder.select(db, &mut self.images);
        }
        self.encoder.entry(db, entry, &mut self.images);
        self.keys += 1;
    }
}

impl SnapshotHook for Shared {
    fn before_write(&self, db: usize, entry: EntryRef<'_>) {
        let mut state = self.state.lock();
        if !state.discard {
            let db = state.origin[db];
            state.save(db, entry);
            self.progress.waiting.store(state.images.len(), Relaxed);
        }
    }
    fn take_tables(&self, db: usize, tables: Vec<Dict<Entry>>) {
        let mut state = self.state.lock();
        let db = state.origin[db];
        state.orphans.push((db, tables));
    }
    fn swapped(&self, a: usize, b: usize) {
        self.state.lock().origin.swap(a, b);
    }
}

/// A snapshot whose cut has been made. Dropped without [`Snapshot::run`], it still visits every entry.
pub struct Snapshot {
    ks: &'static Keyspace,
    shared: Arc<Shared>,
    encoder: Box<dyn Encode>,
    parity: bool,
    /// Databases that had tables at the cut.
    used: Vec<bool>,
    finished: bool,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("parity", &self.parity).finish_non_exhaustive()
    }
}

/// Another snapshot is under way; there is one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy;

impl Snapshot {
    /// Makes the cut: locks every slot for an instant, in which `at_cut` runs. Nothing may be locked by the caller.
    pub fn begin<T>(
        ks: &'static Keyspace,
        encoders: &Encoders,
        progress: Arc<Progress>,
        at_cut: impl FnOnce(&mut Held) -> T,
    ) -> Result<(Snapshot, T), Busy> {
        let databases = ks.databases();
        let state = State {
            encoder: encoders(),
            images: Vec::new(),
            keys: 0,
            selected: None,
            origin: (0..databases).collect(),
            orphans: Vec::new(),
            discard: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), progress });
        let mut held = ks.held();
        held.lock_all();
        if !ks.hooks.begin_snapshot(shared.clone()) {
            return Err(Busy);
        }
        let result = at_cut(&mut held);
        let used = (0..databases).map(|db| held.exists(db)).collect();
        held.unlock();
        let parity = ks.hooks.parity();
        Ok((Snapshot { ks, shared, encoder: encoders(), parity, used, finished: false }, result))
    }

    /// Walks through everything on this thread and hands the encoded keys to `sink` in pieces. An error of the sink ends
    /// it, as does `cancel` (`Interrupted`).
    pub fn run(mut self, cancel: &AtomicBool, mut sink: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<Stats> {
        self.walk(|chunk| {
            if cancel.load(Relaxed) {
                return Err(io::Error::new(io::ErrorKind::Interrupted, "cancelled"));
            }
            sink(chunk)
        })
    }

    fn walk(&mut self, mut sink: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<Stats> {
        let mut w = Walk { stats: Stats::default(), out: Vec::new(), selected: None, outcome: Ok(()) };
        let mut held = self.ks.held();
        for origin in 0..self.used.len() {
            if !self.used[origin] {
                continue;
            }
            for slot in 0..SLOTS as u16 {
                let mut pos = 0;
                loop {
                    held.lock(&mut [slot]);
                    // Databases change places only while every slot is held.
                    let db = self.shared.state.lock().origin.iter().position(|o| *o == origin).unwrap_or(origin);
                    if !held.exists(db) || held.table(db, slot).is_empty() {
                        held.unlock();
                        break;
                    }
                    loop {
                        let table = held.table(db, slot);
                        pos = table.scan(pos, |e| w.visit(self.encoder.as_mut(), self.parity, origin, e));
                        if pos == 0 || w.out.len() >= CHUNK {
                            break;
                        }
                    }
                    held.unlock();
                    if w.out.len() >= CHUNK {
                        self.hand_over(&mut w, &mut sink);
                    }
                    if pos == 0 {
                        break;
                    }
                }
            }
        }
        // Every entry of the keyspace has its bit now; entries of flushed tables are nobody's but ours.
        self.ks.hooks.end_snapshot();
        let orphans = std::mem::take(&mut self.shared.state.lock().orphans);
        for (origin, tables) in orphans {
            for table in tables {
                let mut pos = 0;
                loop {
                    pos = table.scan(pos, |e| w.visit(self.encoder.as_mut(), self.parity, origin, e));
                    if w.out.len() >= CHUNK {
                        self.hand_over(&mut w, &mut sink);
                    }
                    if pos == 0 {
                        break;
                    }
                }
            }
        }
        self.hand_over(&mut w, &mut sink);
        self.finished = true;
        w.stats.saved_by_writers = self.shared.state.lock().keys;
        w.stats.keys += w.stats.saved_by_writers;
        w.outcome.map(|()| w.stats)
    }

    /// Gives the sink what the walk and the commands have gathered.
    fn hand_over(&self, w: &mut Walk, sink: &mut impl FnMut(&[u8]) -> io::Result<()>) {
        let (images, keys) = {
            let mut state = self.shared.state.lock();
            state.selected = None;
            (std::mem::take(&mut state.images), state.keys)
        };
        let progress = &self.shared.progress;
        progress.waiting.store(0, Relaxed);
        progress.done.store((w.stats.keys + keys) as usize, Relaxed);
        for bytes in [&images, &w.out] {
            if w.outcome.is_ok() && !bytes.is_empty() {
                w.stats.bytes += bytes.len() as u64;
                w.outcome = sink(bytes);
            }
        }
        w.out.clear();
        w.selected = None;
        if w.outcome.is_err() {
            let mut state = self.shared.state.lock();
            state.discard = true;
            state.images = Vec::new();
        }
    }
}

/// The walk so far.
struct Walk {
    stats: Stats,
    out: Vec<u8>,
    /// The database of what `out` ends with.
    selected: Option<usize>,
    outcome: io::Result<()>,
}

impl Walk {
    #[inline]
    fn visit(&mut self, encoder: &mut dyn Encode, parity: bool, db: usize, entry: EntryRef<'_>) {
        if entry.snapshot_bit() == parity {
            return;
        }
        entry.set_snapshot_bit(parity);
        if self.outcome.is_ok() {
            if self.selected != Some(db) {
                self.selected = Some(db);
                encoder.select(db, &mut self.out);
            }
            encoder.entry(db, entry, &mut self.out);
            self.stats.keys += 1;
        }
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        if !self.finished {
            self.shared.state.lock().discard = true;
            let _ = self.walk(|_| Err(io::Error::from(io::ErrorKind::Interrupted)));
        }
    }
}
