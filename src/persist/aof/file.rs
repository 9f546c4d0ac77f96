//! The buffer that takes effects from the log, and the thread that writes them to the file of the day.
//!
//! The log calls [`Writer::append`] under its lock: bytes are copied and nothing else. The thread takes everything that is
//! there, writes it in one piece, and with `appendfsync always` makes it lasting at once: one fsync for all who wait.
//! Whoever waits for an offset ([`Writer::poll_synced`]) is woken then. Nobody's reply leaves before its writes are on
//! disk, also when the disk is full: bytes that could not be written stay, and are tried again until there is room.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering::*};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::base::clock;
use crate::base::cpus::{self, Duty};
use crate::metrics::Histogram;

/// When what was written is made lasting (`appendfsync`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Fsync {
    /// Once a second.
    EverySecond = 0,
    /// Before the reply.
    Always = 1,
    /// When the system likes.
    No = 2,
}

/// What the thread does to the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Bytes are handed to the system.
    Write,
    /// They are made lasting.
    Sync,
}

/// How often the thread looks without being called.
const TICK: Duration = Duration::from_millis(100);
/// How long effects gather between one write and the next, unless replies wait for them: so much a killed process may lose.
const GATHER: Duration = Duration::from_millis(1);
/// After a failed write the next try comes after this long, ns.
const RETRY_NS: u64 = 200_000_000;
/// The buffer's memory that is kept from one turn to the next.
const KEEP: usize = 1 << 20;

#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
    /// The log's end after them.
    offset: u64,
    /// Where other files begin: position in `bytes`, and the file.
    rotations: Vec<(usize, File, Before)>,
    /// The second of the last time note.
    noted: i64,
    stop: bool,
    /// The thread waits to be called.
    asleep: bool,
    waiters: Vec<(u64, Waker)>,
}

/// What must have been done before a file is written to: naming it in the manifest.
type Before = Box<dyn FnOnce() + Send>;
/// What follows when more is on disk.
type Synced = Box<dyn Fn(u64) + Send + Sync>;
/// What is told of each step and its time, ns.
type Timed = Box<dyn Fn(Step, u64) + Send + Sync>;
/// What follows when writing fails (true) or goes on again (false).
type Failing = Box<dyn Fn(bool) + Send + Sync>;

/// The file, to those who append and wait.
pub struct Writer {
    buffer: Mutex<Buffer>,
    called: Condvar,
    /// How lasting it is to be.
    fsync: AtomicU8,
    /// Leave out the fsync while a rewrite is under way.
    hold_fsync: AtomicBool,
    /// Microseconds to wait before each write, for tests.
    delay_us: AtomicU64,
    /// Note the time of writes.
    timestamps: AtomicBool,
    /// The log's offset up to which everything is on disk.
    synced: AtomicU64,
    /// Bytes of the current file and those before it that count.
    size: AtomicU64,
    /// Bytes taken and not written yet.
    pending: AtomicU64,
    /// Bytes of memory of what the thread writes, or keeps for the next turn.
    writing: AtomicUsize,
    failing: AtomicBool,
    /// Fsyncs that came late.
    pub delayed: AtomicU64,
    /// Fsyncs that were done.
    pub fsyncs: AtomicU64,
    /// How long they took together, ns.
    pub fsync_ns: AtomicU64,
    /// How long each took.
    pub fsync_times: Histogram,
    on_synced: Synced,
    on_failing: Failing,
    on_step: Timed,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("size", &self.size).finish_non_exhaustive()
    }
}

impl Writer {
    /// Begins to write to `file`, from `offset` of the log on. `size`: bytes that are there.
    pub fn start(
        file: File,
        offset: u64,
        size: u64,
        fsync: Fsync,
        on_synced: Synced,
        on_failing: Failing,
        on_step: Timed,
    ) -> std::io::Result<Arc<Writer>> {
        let writer = Arc::new(Writer {
            buffer: Mutex::new(Buffer { offset, ..Buffer::default() }),
            called: Condvar::new(),
            fsync: AtomicU8::new(fsync as u8),
            hold_fsync: AtomicBool::new(false),
            delay_us: AtomicU64::new(0),
            timestamps: AtomicBool::new(false),
            synced: AtomicU64::new(offset),
            size: AtomicU64::new(size),
            pending: AtomicU64::new(0),
            writing: AtomicUsize::new(0),
            failing: AtomicBool::new(false),
            delayed: AtomicU64::new(0),
            fsyncs: AtomicU64::new(0),
            fsync_ns: AtomicU64::new(0),
            fsync_times: Histogram::default(),
            on_synced,
            on_failing,
            on_step,
        });
        let thread = writer.clone();
        std::thread::Builder::new().name("aof".into()).spawn(move || {
            cpus::enter(Duty::Background);
            thread.run(file)
        })?;
        Ok(writer)
    }
    /// `appendfsync`
    pub fn set_fsync(&self, fsync: Fsync) {
        self.fsync.store(fsync as u8, Release);
        self.called.notify_one();
    }
    /// `aof-timestamp-enabled`
    pub fn set_timestamps(&self, on: bool) {
        self.timestamps.store(on, Release);
    }
    /// Waits so many microseconds before each write, as if the disk were slow.
    pub fn set_delay(&self, us: u64) {
        self.delay_us.store(us, Relaxed);
    }
    /// Leaves fsyncs out, for as long as a rewrite keeps the disk busy.
    pub fn hold_fsync(&self, on: bool) {
        self.hold_fsync.store(on, Release);
    }
    /// Whether replies wait for the disk.
    #[inline]
    pub fn is_always(&self) -> bool {
        self.fsync.load(Relaxed) == Fsync::Always as u8
    }
    /// Appends requests. Called under the log's lock.
    pub fn append(&self, requests: &[u8], offset: u64) {
        let mut b = self.buffer.lock();
        if self.timestamps.load(Relaxed) {
            let second = clock::now_ms() / 1000;
            if b.noted != second {
                b.noted = second;
                b.bytes.extend_from_slice(format!("#TS:{second}\r\n").as_bytes());
            }
        }
        b.bytes.extend_from_slice(requests);
        b.offset = offset;
        self.pending.store(b.bytes.len() as u64, Relaxed);
        let asleep = std::mem::take(&mut b.asleep);
        drop(b);
        if asleep {
            self.called.notify_one();
        }
    }
    /// The log is at `offset`, with nothing more for the file up to there. Called under the log's lock.
    pub fn reach(&self, offset: u64) {
        self.buffer.lock().offset = offset;
    }
    /// What comes from now on goes to another file, once the thread has run `before`. Called while nothing is appended.
    pub fn rotate(&self, file: File, before: Before) {
        let mut b = self.buffer.lock();
        let at = b.bytes.len();
        b.rotations.push((at, file, before));
        b.noted = 0;
        self.called.notify_one();
    }
    /// The log's offset up to which everything is on disk.
    #[inline]
    pub fn synced(&self) -> u64 {
        self.synced.load(Acquire)
    }
    /// Bytes of the files that count.
    pub fn size(&self) -> u64 {
        self.size.load(Relaxed)
    }
    /// Sets it, when files are added or left out.
    pub fn set_size(&self, size: u64) {
        self.size.store(size, Relaxed);
    }
    /// Bytes not written yet.
    pub fn pending(&self) -> u64 {
        self.pending.load(Relaxed)
    }
    /// Bytes of memory that the buffer takes.
    pub fn memory(&self) -> usize {
        self.buffer.lock().bytes.capacity() + self.writing.load(Relaxed)
    }
    /// Whether the last write failed.
    pub fn is_failing(&self) -> bool {
        self.failing.load(Acquire)
    }
    /// Ready when everything up to `offset` is on disk.
    pub fn poll_synced(&self, offset: u64, cx: &mut Context<'_>) -> Poll<()> {
        if self.synced() >= offset {
            return Poll::Ready(());
        }
        let mut b = self.buffer.lock();
        if self.synced() >= offset || b.stop {
            return Poll::Ready(());
        }
        b.waiters.push((offset, cx.waker().clone()));
        if b.bytes.is_empty() {
            // What it waits for may be there already, and only be told with the next write.
            self.called.notify_one();
        }
        Poll::Pending
    }
    /// Writes what is there, makes it lasting, and ends the thread. Waits for that, if the disk takes it.
    pub fn stop(&self) {
        self.buffer.lock().stop = true;
        let mut tries = 0;
        while self.pending() > 0 && !self.is_failing() && tries < 50_000 {
            self.called.notify_one();
            clock::pause_us(100);
            tries += 1;
        }
        self.called.notify_one();
        let end = self.buffer.lock().offset;
        while self.synced() < end && !self.is_failing() && tries < 50_000 {
            clock::pause_us(100);
            tries += 1;
        }
    }

    fn run(&self, mut file: File) {
        let mut spare = Vec::new();
        let mut last_sync = clock::mono_ns();
        let (mut unsynced, mut busy) = (false, false);
        loop {
            let mut b = self.buffer.lock();
            if busy && !self.is_always() && b.rotations.is_empty() && !b.stop {
                self.called.wait_for(&mut b, GATHER);
            }
            if b.bytes.is_empty() && b.rotations.is_empty() && !b.stop {
                b.asleep = true;
                self.called.wait_for(&mut b, TICK);
                b.asleep = false;
            }
            busy = !b.bytes.is_empty();
            let stop = b.stop;
            let mut bytes = std::mem::replace(&mut b.bytes, std::mem::take(&mut spare));
            self.writing.store(bytes.capacity(), Relaxed);
            let rotations = std::mem::take(&mut b.rotations);
            let offset = b.offset;
            drop(b);
            let mut done = 0;
            for (at, next, before) in rotations {
                self.put(&mut file, &bytes[done..at]);
                done = at;
                // The old file is complete, and must be so on disk too: what follows relies on it.
                self.sync(&mut file);
                before();
                file = next;
            }
            self.put(&mut file, &bytes[done..]);
            unsynced |= !bytes.is_empty();
            self.pending.store(self.buffer.lock().bytes.len() as u64, Relaxed);
            let policy = self.fsync.load(Acquire);
            let now = clock::mono_ns();
            let due = match policy {
                _ if stop => true,
                p if p == Fsync::Always as u8 => true,
                p if p == Fsync::EverySecond as u8 => {
                    now - last_sync >= 1_000_000_000 && !self.hold_fsync.load(Acquire)
                }
                _ => false,
            };
            if due && unsynced {
                self.sync(&mut file);
                if clock::mono_ns() - now > 2_000_000_000 {
                    self.delayed.fetch_add(1, Relaxed);
                }
                last_sync = now;
                unsynced = false;
            }
            if !unsynced {
                self.publish(offset);
            }
            bytes.clear();
            bytes.shrink_to(KEEP);
            self.writing.store(bytes.capacity(), Relaxed);
            spare = bytes;
            if stop && self.buffer.lock().bytes.is_empty() {
                return;
            }
        }
    }

    /// Everything up to `offset` is on disk.
    fn publish(&self, offset: u64) {
        if self.synced.swap(offset, AcqRel) == offset {
            return;
        }
        let ready: Vec<Waker> = {
            let mut b = self.buffer.lock();
            let stop = b.stop;
            let (ready, rest) = b.waiters.drain(..).partition(|(at, _)| *at <= offset || stop);
            b.waiters = rest;
            let ready: Vec<(u64, Waker)> = ready;
            ready.into_iter().map(|(_, w)| w).collect()
        };
        ready.into_iter().for_each(Waker::wake);
        (self.on_synced)(offset);
    }

    /// Writes all of it, however long that takes.
    fn put(&self, file: &mut File, mut bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let start = clock::mono_ns();
        match self.delay_us.load(Relaxed) {
            0 => {}
            us => clock::pause_us(us),
        }
        while !bytes.is_empty() {
            match file.write(bytes) {
                Ok(n) if n > 0 => {
                    bytes = &bytes[n..];
                    self.size.fetch_add(n as u64, Relaxed);
                    self.fails(false, "");
                }
                Ok(_) => self.fails(true, "nothing was written"),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => self.fails(true, &e.to_string()),
            }
        }
        (self.on_step)(Step::Write, clock::mono_ns().saturating_sub(start));
    }
    fn sync(&self, file: &mut File) {
        let start = clock::mono_ns();
        while let Err(e) = file.sync_data() {
            // What the system could not write it may have dropped: another try that succeeds would prove nothing.
            if self.is_always() {
                tracing::error!(
                    "Can't persist AOF for fsync error when the AOF fsync policy is 'always': {e}. Exiting..."
                );
                std::process::exit(1);
            }
            self.fails(true, &format!("fsync: {e}"));
        }
        self.fsyncs.fetch_add(1, Relaxed);
        let ns = clock::mono_ns().saturating_sub(start);
        self.fsync_ns.fetch_add(ns, Relaxed);
        self.fsync_times.record(ns);
        (self.on_step)(Step::Sync, ns);
        self.fails(false, "");
    }
    /// Notes failure or success; after a failure waits a moment.
    fn fails(&self, now: bool, why: &str) {
        if self.failing.swap(now, AcqRel) != now {
            if now {
                tracing::warn!("Error writing to the AOF file: {why}");
            } else {
                tracing::warn!("AOF write error looks solved, we can write again.");
            }
            (self.on_failing)(now);
        }
        if now {
            clock::pause_us(RETRY_NS / 1000);
        }
    }
}
