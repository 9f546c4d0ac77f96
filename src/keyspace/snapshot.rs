//! A consistent picture of all data, taken while commands go on.
//!
//! The cut is an instant in which all slots are locked. Afterwards a thread walks through the tables, a few buckets at a
//! time, and encodes what it finds. A command that is about to change an entry which the walk has not reached yet first
//! encodes the entry as it was. So every key of the cut is encoded exactly once, with its value at the cut, in no order
//! that means anything; keys that came later are left out. Who has been encoded is one bit of the entry (see `hooks`).
//!
//! What it costs in memory: the encoded images of entries that were changed, until the walk's next step takes them to
//! the sink. Nothing is copied because of reads.
//!
//! A long value ([`super::View::is_long`]) is encoded in steps, with its slot let go in between: reads go on, and so do
//! writes to other keys. A command that would change it waits ([`super::Db::waits_for_snapshot`]) while others are served, and has a
//! thread encode the value first, whatever the walk is at. That is a favour to others, and nothing relies on it: whoever changes
//! such a value all the same (a script that had not named it, say) encodes what is left of it there and then.
//!
//! Databases are told apart by their number at the cut, also after SWAPDB. A flushed database leaves its tables here;
//! they are walked last, then freed.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;

use super::entry::Entry;
use super::hooks::SnapshotHook;
use super::slots::{Held, SLOTS};
use super::{EntryRef, Keyspace};
use crate::base::slot::key_slot;
use crate::base::sync::Mutex;
use crate::types::dict::{self, Dict};

/// Bytes that are gathered before the sink gets them.
const CHUNK: usize = 64 << 10;

/// The form in which keys leave the snapshot: records of a dump file, or commands.
pub trait Encode: Send {
    /// Says that what follows is of database `db`.
    fn select(&mut self, db: usize, out: &mut Vec<u8>);
    /// Appends a key with its value and expiry.
    fn entry(&mut self, db: usize, entry: EntryRef<'_>, out: &mut Vec<u8>);
    /// Begins to encode a key in steps. `None`: it can only be encoded in one.
    fn pieces(&mut self, _entry: EntryRef<'_>) -> Option<Box<dyn Pieces>> {
        None
    }
}

/// A key on its way into bytes. Between the steps its value stays as it is.
pub trait Pieces: Send {
    /// Encodes some more. Whether that was the last of it.
    fn step(&mut self, entry: EntryRef<'_>) -> bool;
    /// All of it, one after the other. Nothing needs to be locked.
    fn finish(self: Box<Self>) -> Vec<Vec<u8>>;
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
    /// Keys that were encoded in steps.
    pub in_steps: u64,
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
    ks: &'static Keyspace,
    /// Itself, for the thread that saves what is wanted.
    me: Weak<Shared>,
    state: Mutex<State>,
    progress: Arc<Progress>,
}

/// A long value that is encoded in steps. Who makes the next one, under the lock of the slot, takes it out of the list for that.
struct UnderWay {
    /// The number at the cut of its database.
    origin: usize,
    key: Vec<u8>,
    pieces: Box<dyn Pieces>,
}

struct State {
    encoder: Box<dyn Encode>,
    /// Images of entries that are not the walk's own: the last of them, and whole pieces before.
    images: Vec<u8>,
    whole: Vec<Vec<u8>>,
    /// Bytes of the whole ones.
    bytes: usize,
    /// Images, by whom they were made.
    by_writers: u64,
    in_steps: u64,
    under_way: Vec<UnderWay>,
    /// Long values that commands wait for, with the number at the cut of their database.
    wanted: VecDeque<(usize, Vec<u8>)>,
    /// The thread that encodes them, and whether it looks for more.
    saver: Option<JoinHandle<()>>,
    saves: bool,
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
    fn select(&mut self, db: usize) {
        if self.selected != Some(db) {
            self.selected = Some(db);
            self.encoder.select(db, &mut self.images);
        }
    }
    fn save(&mut self, db: usize, entry: EntryRef<'_>) {
        self.select(db);
        self.encoder.entry(db, entry, &mut self.images);
    }
    /// Adds a key that was encoded in steps, without copying it.
    fn add(&mut self, db: usize, record: Vec<Vec<u8>>) {
        self.select(db);
        let before = std::mem::take(&mut self.images);
        self.bytes += before.len() + record.iter().map(Vec::len).sum::<usize>();
        self.whole.push(before);
        self.whole.extend(record);
    }
    /// What there is of a long value, to go on with; its slot is locked. `None`: its encoder knows no steps.
    fn pieces(&mut self, origin: usize, entry: EntryRef<'_>) -> Option<Box<dyn Pieces>> {
        match self.under_way.iter().position(|u| u.origin == origin && u.key == entry.key()) {
            Some(at) => Some(self.under_way.swap_remove(at).pieces),
            None => self.encoder.pieces(entry),
        }
    }
    /// Nobody wants the result any more.
    fn give_up(&mut self) {
        self.discard = true;
        (self.images, self.whole, self.bytes) = Default::default();
        self.under_way.clear();
    }
    /// What is now the database that had this number at the cut. They change places only while every slot is held.
    fn now_at(&self, origin: usize) -> usize {
        self.origin.iter().position(|o| *o == origin).unwrap_or(origin)
    }
}

impl SnapshotHook for Shared {
    fn before_write(&self, db: usize, entry: EntryRef<'_>) {
        let mut state = self.state.lock();
        if state.discard {
            return;
        }
        let origin = state.origin[db];
        state.by_writers += 1;
        let pieces = if entry.view().is_long() { state.pieces(origin, entry) } else { None };
        if let Some(mut pieces) = pieces {
            // Others who save what they change do not wait for that.
            drop(state);
            while !pieces.step(entry) {}
            let record = pieces.finish();
            state = self.state.lock();
            if !state.discard {
                state.add(origin, record);
            }
        } else {
            state.save(origin, entry);
        }
        self.progress.waiting.store(state.bytes + state.images.len(), Relaxed);
    }
    fn want(&self, db: usize, entry: EntryRef<'_>) -> bool {
        let mut state = self.state.lock();
        if state.discard {
            return false;
        }
        let origin = state.origin[db];
        if state.wanted.iter().any(|(of, key)| *of == origin && key == entry.key()) {
            return true;
        }
        state.wanted.push_back((origin, entry.key().to_vec()));
        if !state.saves {
            let Some(me) = self.me.upgrade() else { return false };
            let saver = std::thread::Builder::new().name("snapshot-values".into()).spawn(move || me.save_wanted());
            let Ok(saver) = saver else {
                state.wanted.clear();
                return false;
            };
            // One that is there already has nothing more to do, and ends.
            state.saver = Some(saver);
            state.saves = true;
        }
        true
    }
    fn take_tables(&self, db: usize, tables: Vec<Dict<Entry>>) {
        let mut state = self.state.lock();
        let db = state.origin[db];
        // What was begun of them is encoded anew, with nobody waiting.
        state.under_way.retain(|u| u.origin != db);
        state.orphans.push((db, tables));
    }
    fn swapped(&self, a: usize, b: usize) {
        self.state.lock().origin.swap(a, b);
    }
}

impl Shared {
    /// Encodes what commands wait for, until there is nothing more.
    fn save_wanted(&self) {
        let mut held = self.ks.held();
        loop {
            let (origin, key) = {
                let mut state = self.state.lock();
                match state.wanted.front() {
                    Some((origin, key)) => (*origin, key.clone()),
                    None => {
                        state.saves = false;
                        return;
                    }
                }
            };
            self.save_in_steps(&mut held, origin, &key);
            // Until here nobody has to ask for it again.
            self.state.lock().wanted.pop_front();
        }
    }
    /// Waits for the thread that does.
    fn end_saver(&self) {
        loop {
            let saver = self.state.lock().saver.take();
            match saver {
                Some(saver) => drop(saver.join()),
                None => return,
            }
        }
    }

    /// Encodes a long value that is not saved yet, with its slot let go between the steps. Somebody else may do so at the same
    /// time: each makes some of the steps.
    fn save_in_steps(&self, held: &mut Held, origin: usize, key: &[u8]) {
        let (slot, hash, parity) = (key_slot(key), dict::hash(key), self.ks.hooks.parity());
        loop {
            held.lock(&mut [slot]);
            let mut state = self.state.lock();
            let db = state.now_at(origin);
            let entry = if held.exists(db) { held.table(db, slot).find(hash, key) } else { None };
            let Some(entry) = entry.filter(|e| e.snapshot_bit() != parity) else {
                drop(state);
                return held.unlock();
            };
            let pieces = if state.discard { None } else { state.pieces(origin, entry) };
            let Some(mut pieces) = pieces else {
                if !state.discard {
                    state.in_steps += 1;
                    state.save(origin, entry);
                }
                entry.set_snapshot_bit(parity);
                drop(state);
                return held.unlock();
            };
            drop(state);
            if pieces.step(entry) {
                entry.set_snapshot_bit(parity);
                held.unlock();
                let record = pieces.finish();
                let mut state = self.state.lock();
                if !state.discard {
                    state.in_steps += 1;
                    state.add(origin, record);
                }
                return;
            }
            self.state.lock().under_way.push(UnderWay { origin, key: key.to_vec(), pieces });
            held.give_way();
        }
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
            whole: Vec::new(),
            bytes: 0,
            by_writers: 0,
            in_steps: 0,
            under_way: Vec::new(),
            wanted: VecDeque::new(),
            saver: None,
            saves: false,
            selected: None,
            origin: (0..databases).collect(),
            orphans: Vec::new(),
            discard: false,
        };
        let shared = Arc::new_cyclic(|me| Shared { ks, me: me.clone(), state: Mutex::new(state), progress });
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
        let mut w = Walk::new();
        let mut held = self.ks.held();
        for origin in 0..self.used.len() {
            if !self.used[origin] {
                continue;
            }
            for slot in 0..SLOTS as u16 {
                let mut pos = 0;
                loop {
                    held.lock(&mut [slot]);
                    let db = self.shared.state.lock().now_at(origin);
                    if !held.exists(db) || held.table(db, slot).is_empty() {
                        held.unlock();
                        break;
                    }
                    loop {
                        let table = held.table(db, slot);
                        pos = table.scan(pos, |e| {
                            if !w.puts_off(self.parity, e) {
                                w.visit(self.encoder.as_mut(), self.parity, origin, e);
                            }
                        });
                        if pos == 0 || w.out.len() >= CHUNK || !w.long.is_empty() {
                            break;
                        }
                    }
                    held.unlock();
                    let full = w.out.len() >= CHUNK || !w.long.is_empty();
                    for key in std::mem::take(&mut w.long) {
                        self.shared.save_in_steps(&mut held, origin, &key);
                    }
                    if full {
                        self.hand_over(&mut w, &mut sink);
                    }
                    if pos == 0 {
                        break;
                    }
                }
            }
        }
        self.shared.end_saver();
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
        let state = self.shared.state.lock();
        (w.stats.saved_by_writers, w.stats.in_steps) = (state.by_writers, state.in_steps);
        w.stats.keys += state.by_writers + state.in_steps;
        w.outcome.map(|()| w.stats)
    }

    /// Gives the sink what the walk and the commands have gathered.
    fn hand_over(&self, w: &mut Walk, sink: &mut impl FnMut(&[u8]) -> io::Result<()>) {
        let (whole, images, keys) = {
            let mut state = self.shared.state.lock();
            (state.selected, state.bytes) = (None, 0);
            let (whole, images) = (std::mem::take(&mut state.whole), std::mem::take(&mut state.images));
            (whole, images, state.by_writers + state.in_steps)
        };
        let progress = &self.shared.progress;
        progress.waiting.store(0, Relaxed);
        progress.done.store((w.stats.keys + keys) as usize, Relaxed);
        for bytes in whole.iter().chain([&images, &w.out]) {
            if w.outcome.is_ok() && !bytes.is_empty() {
                w.stats.bytes += bytes.len() as u64;
                w.outcome = sink(bytes);
            }
        }
        w.out.clear();
        w.selected = None;
        if w.outcome.is_err() {
            self.shared.state.lock().give_up();
        }
    }
}

/// The walk so far.
struct Walk {
    stats: Stats,
    out: Vec<u8>,
    /// The database of what `out` ends with.
    selected: Option<usize>,
    /// Long values that it has met, to be encoded in steps.
    long: Vec<Vec<u8>>,
    outcome: io::Result<()>,
}

impl Walk {
    fn new() -> Walk {
        Walk { stats: Stats::default(), out: Vec::new(), selected: None, long: Vec::new(), outcome: Ok(()) }
    }
    /// Whether the entry is to be encoded in steps, once its slot is let go.
    #[inline]
    fn puts_off(&mut self, parity: bool, entry: EntryRef<'_>) -> bool {
        let long = entry.snapshot_bit() != parity && self.outcome.is_ok() && entry.view().is_long();
        if long {
            self.long.push(entry.key().to_vec());
        }
        long
    }
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
            self.shared.state.lock().give_up();
            let _ = self.walk(|_| Err(io::Error::from(io::ErrorKind::Interrupted)));
        }
    }
}
