//! Where the replication log and the snapshot attach to the keyspace.
//!
//! Both cost one relaxed load while nobody is attached. The log receives a command's effect while the command's locks
//! are still held, so its order is the order of the locks. The snapshot hears of an entry before its first change and
//! after its insertion, under the slot's lock, and so can save what was there at the cut.

use parking_lot::RwLock;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::*};

use super::effects::Logged;
use super::entry::Entry;
use crate::types::dict::Ref;

/// Takes the effects of commands, in the order of their locks.
pub trait LogSink: Send + Sync {
    /// Appends the effects of one command or transaction as one range.
    fn append(&self, effects: &[Logged]);
}

/// Hears of changes to entries while a snapshot is taken.
pub trait SnapshotHook: Send + Sync {
    /// The entry is about to be changed or removed.
    fn before_write(&self, db: usize, slot: u16, entry: Ref<'_, Entry>);
    /// The entry was just added.
    fn after_insert(&self, slot: u16, entry: Ref<'_, Entry>);
}

/// The attached log and snapshot.
#[derive(Default)]
pub struct Hooks {
    logging: AtomicBool,
    log: RwLock<Option<Arc<dyn LogSink>>>,
    watching: AtomicBool,
    snapshot: RwLock<Option<Arc<dyn SnapshotHook>>>,
}

impl Hooks {
    /// Attaches or detaches the log.
    pub fn set_log(&self, sink: Option<Arc<dyn LogSink>>) {
        let on = sink.is_some();
        *self.log.write() = sink;
        self.logging.store(on, Release);
    }
    /// Whether a log is attached.
    #[inline]
    pub fn logging(&self) -> bool {
        self.logging.load(Relaxed)
    }
    /// Hands effects to the log. The locks of their keys are held.
    pub fn append(&self, effects: &[Logged]) {
        if let Some(log) = &*self.log.read() {
            log.append(effects);
        }
    }
    /// Attaches or detaches a snapshot. All slots are held, or the first changes are missed.
    pub fn set_snapshot(&self, hook: Option<Arc<dyn SnapshotHook>>) {
        let on = hook.is_some();
        *self.snapshot.write() = hook;
        self.watching.store(on, Release);
    }
    /// Whether a snapshot is attached.
    #[inline]
    pub fn watching(&self) -> bool {
        self.watching.load(Relaxed)
    }
    #[inline]
    pub(super) fn before_write(&self, db: usize, slot: u16, entry: Ref<'_, Entry>) {
        if self.watching()
            && let Some(hook) = &*self.snapshot.read()
        {
            hook.before_write(db, slot, entry);
        }
    }
    #[inline]
    pub(super) fn after_insert(&self, slot: u16, entry: Ref<'_, Entry>) {
        if self.watching()
            && let Some(hook) = &*self.snapshot.read()
        {
            hook.after_insert(slot, entry);
        }
    }
}
