//! What is known of snapshots on disk and of loading, for INFO and for decisions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::*};

use parking_lot::Mutex;

use crate::base::clock;
use crate::keyspace::snapshot::Progress;

/// A snapshot being written.
#[derive(Debug, Clone)]
pub struct Job {
    /// When it began, unix ms.
    pub started: i64,
    /// Ends it, when set.
    pub cancel: Arc<AtomicBool>,
    /// How far it is.
    pub progress: Arc<Progress>,
    /// It blocks its client (SAVE), and is no background save.
    pub foreground: bool,
    /// It goes to replicas and to nobody else: once none is left that gets it, it is no use.
    pub for_replicas: Arc<AtomicBool>,
}

/// Snapshots on disk.
#[derive(Debug)]
pub struct Snapshots {
    job: Mutex<Option<Job>>,
    /// BGSAVE SCHEDULE: one is to begin as soon as it can.
    pub scheduled: AtomicBool,
    /// When the last one was done, unix seconds.
    pub last_save: AtomicI64,
    /// Changes of the data that the last one has.
    pub saved_changes: AtomicU64,
    /// Whether the last one in the background succeeded.
    pub last_ok: AtomicBool,
    /// When the last one in the background was tried, unix seconds.
    pub last_try: AtomicI64,
    /// How long the last one took, seconds; -1: there was none.
    pub last_seconds: AtomicI64,
    /// How long the last one took, ms.
    pub last_ms: AtomicU64,
    /// How long all of them took together, ms.
    pub all_ms: AtomicU64,
    /// How many there were.
    pub saves: AtomicU64,
}

impl Snapshots {
    /// None yet, at the start of the process.
    pub fn new(now: i64) -> Snapshots {
        Snapshots {
            job: Mutex::default(),
            scheduled: AtomicBool::new(false),
            last_save: AtomicI64::new(now / 1000),
            saved_changes: AtomicU64::new(0),
            last_ok: AtomicBool::new(true),
            last_try: AtomicI64::new(0),
            last_seconds: AtomicI64::new(-1),
            last_ms: AtomicU64::new(0),
            all_ms: AtomicU64::new(0),
            saves: AtomicU64::new(0),
        }
    }
    /// The snapshot under way.
    pub fn job(&self) -> Option<Job> {
        self.job.lock().clone()
    }
    /// Begins one, unless there is one already.
    pub fn begin(&self, foreground: bool) -> Option<Job> {
        let mut job = self.job.lock();
        if job.is_some() {
            return None;
        }
        let new = Job {
            started: clock::now_ms(),
            cancel: Arc::default(),
            progress: Arc::default(),
            foreground,
            for_replicas: Arc::default(),
        };
        *job = Some(new.clone());
        Some(new)
    }
    /// The one under way is through.
    pub fn end(&self) {
        *self.job.lock() = None;
    }
}

/// Loading of data.
#[derive(Debug, Default)]
pub struct Loading {
    /// Under way, and the old data are gone.
    pub on: AtomicBool,
    /// Under way beside the old data.
    pub aside: AtomicBool,
    /// When it began, unix seconds.
    pub started: AtomicI64,
    /// Bytes to load, 0: not known.
    pub total: AtomicU64,
    /// Bytes loaded.
    pub done: AtomicU64,
    /// Memory in use when it began.
    pub memory: AtomicU64,
    /// Keys of the last file that were over.
    pub last_expired: AtomicU64,
    /// Keys that the last file gave.
    pub last_keys: AtomicU64,
}

impl Loading {
    /// It begins.
    pub fn begin(&self, total: u64, aside: bool) {
        self.total.store(total, Release);
        self.done.store(0, Release);
        self.started.store(clock::now_ms() / 1000, Release);
        self.memory.store(crate::base::alloc::used_memory() as u64, Release);
        self.on.store(!aside, Release);
        self.aside.store(aside, Release);
    }
    /// It is through.
    pub fn end(&self) {
        self.on.store(false, Release);
        self.aside.store(false, Release);
    }
}
