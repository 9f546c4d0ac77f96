//! Where the replication log and the snapshot attach to the keyspace.
//!
//! Both cost one relaxed load while nobody is attached. The log receives the effects of commands while their locks are
//! still held, so its order is the order of the locks. The snapshot hears of an entry before its first change, under the
//! slot's lock, and so can save what was there at the cut.
//!
//! Every entry has one bit that says whether the snapshot under way has it already: the bit is equal to the current
//! parity. A cut turns the parity over, and so marks all entries as not saved without touching any; new entries are born
//! with the current parity; a snapshot ends only when it has visited every entry, and so leaves all of them equal again.

use std::sync::atomic::Ordering::*;
use std::sync::{Arc, OnceLock};

use super::effects::LogBuf;
use super::entry::Entry;
use crate::base::sync::{AtomicBool, RwLock};
use crate::types::dict::{Dict, Ref};

/// Takes the effects of commands, in the order of their locks.
pub trait LogSink: Send + Sync {
    /// Appends effects as one range. Their bytes may be taken.
    fn append(&self, effects: &mut LogBuf);
    /// Wakes those who wait for effects. Nothing is locked.
    fn wake(&self) {}
}

/// Hears of changes while a snapshot is taken. All calls come under the locks of the slots concerned.
pub trait SnapshotHook: Send + Sync {
    /// The entry, which the snapshot has not saved yet, is about to be changed or removed.
    fn before_write(&self, db: usize, entry: Ref<'_, Entry>);
    /// Somebody waits to change the entry, which the snapshot has not saved yet: it does so now, in steps. False: nobody is to
    /// wait.
    fn want(&self, _db: usize, _entry: Ref<'_, Entry>) -> bool {
        false
    }
    /// The database was emptied; these are its tables. Entries that are not saved yet are to be saved, then all is freed.
    fn take_tables(&self, db: usize, tables: Vec<Dict<Entry>>);
    /// Two databases changed places.
    fn swapped(&self, a: usize, b: usize);
}

/// The attached log and snapshot.
#[derive(Default)]
pub struct Hooks {
    logging: AtomicBool,
    log: OnceLock<Arc<dyn LogSink>>,
    watching: AtomicBool,
    parity: AtomicBool,
    snapshot: RwLock<Option<Arc<dyn SnapshotHook>>>,
    tracking: AtomicBool,
}

impl Hooks {
    /// Attaches the log, once and for all; it receives something only while [`Hooks::set_logging`] says so.
    pub fn set_log(&self, sink: Arc<dyn LogSink>) {
        assert!(self.log.set(sink).is_ok(), "one log");
    }
    /// Whether effects are gathered. Turned on while all slots are held, so that no effect after that is missed.
    pub fn set_logging(&self, on: bool) {
        self.logging.store(on, Release);
    }
    /// Whether effects are gathered. To be asked after the locks are taken.
    #[inline]
    pub fn logging(&self) -> bool {
        self.logging.load(Relaxed)
    }
    /// Says whether anybody wants to hear which keys change.
    pub fn set_tracking(&self, on: bool) {
        self.tracking.store(on, Release);
    }
    /// Whether anybody does. To be asked after the locks are taken: then no change after a read is missed that came after it
    /// was turned on.
    #[inline]
    pub fn tracking(&self) -> bool {
        self.tracking.load(Relaxed)
    }
    /// Hands effects to the log, and forgets them. The locks of their keys are held.
    pub fn append(&self, effects: &mut LogBuf) {
        if let Some(log) = self.log.get() {
            log.append(effects);
        }
        effects.clear();
    }
    /// Wakes those who follow the log. Nothing is locked.
    #[inline]
    pub fn wake(&self) {
        if self.logging()
            && let Some(log) = self.log.get()
        {
            log.wake();
        }
    }
    /// Attaches a snapshot, and marks all entries as not saved. All slots are held. False if one is attached already.
    pub fn begin_snapshot(&self, hook: Arc<dyn SnapshotHook>) -> bool {
        let mut attached = self.snapshot.write();
        if attached.is_some() {
            return false;
        }
        *attached = Some(hook);
        self.parity.fetch_xor(true, AcqRel);
        self.watching.store(true, Release);
        true
    }
    /// Detaches the snapshot, which has visited every entry.
    pub fn end_snapshot(&self) {
        self.watching.store(false, Release);
        *self.snapshot.write() = None;
    }
    /// Whether a snapshot is attached.
    #[inline]
    pub fn watching(&self) -> bool {
        self.watching.load(Relaxed)
    }
    /// The bit of entries that the snapshot under way has, or that came after the cut.
    #[inline]
    pub fn parity(&self) -> bool {
        self.parity.load(Relaxed)
    }
    /// Lets new entries have the bit that those of another keyspace have, to which they will go.
    pub fn follow_parity(&self, of: &Hooks) {
        self.parity.store(of.parity(), Release);
    }
    #[inline]
    pub(super) fn before_write(&self, db: usize, entry: Ref<'_, Entry>) {
        if self.watching() {
            self.save(db, entry);
        }
    }
    #[cold]
    fn save(&self, db: usize, entry: Ref<'_, Entry>) {
        let parity = self.parity();
        if entry.snapshot_bit() != parity
            && let Some(hook) = &*self.snapshot.read()
        {
            hook.before_write(db, entry);
            entry.set_snapshot_bit(parity);
        }
    }
    /// Whether a change to this entry is to wait until the snapshot under way has encoded it, which takes long. It is asked to
    /// do so now. The lock of its slot is held.
    #[cold]
    pub(super) fn is_awaited(&self, db: usize, entry: Ref<'_, Entry>) -> bool {
        entry.snapshot_bit() != self.parity()
            && entry.view().is_long()
            && self.snapshot.read().as_ref().is_some_and(|hook| hook.want(db, entry))
    }
    /// Gives the tables of a database that was emptied to the snapshot under way; back if there is none.
    pub(super) fn take_tables(&self, db: usize, tables: Vec<Dict<Entry>>) -> Option<Vec<Dict<Entry>>> {
        if self.watching()
            && let Some(hook) = &*self.snapshot.read()
        {
            hook.take_tables(db, tables);
            return None;
        }
        Some(tables)
    }
    pub(super) fn swapped(&self, a: usize, b: usize) {
        if self.watching()
            && let Some(hook) = &*self.snapshot.read()
        {
            hook.swapped(a, b);
        }
    }
}
