//! Writing snapshots: SAVE, BGSAVE, LASTSAVE, save points.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::*;

use super::status::Job;
use crate::base::cpus::{self, Duty};
use crate::base::{clock, os};
use crate::commands::gate::bits;
use crate::commands::options::is;
use crate::commands::{CmdResult, Command, Ctx, Server};
use crate::persist::rdb::file::FileSnapshot;
use crate::resp::Error;
use crate::spec::{Cat, Flags, Group, Meta};

/// Bytes after which what was written is sent to the disk, so that the end does not take long.
const SYNC_STEP: u64 = 4 << 20;
/// Seconds until a save point tries again after a failure.
const RETRY: i64 = 5;

/// `SAVE` <https://valkey.io/commands/save/>
pub static SAVE: Command = Command::new(
    Meta::new(
        "save",
        1,
        Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::NO_ASYNC_LOADING).or(Flags::NO_MULTI),
        Group::Server,
    )
    .cat(Cat::DANGEROUS)
    .doc(
        "1.0.0",
        "O(N) where N is the total number of keys in all databases",
        "Writes a snapshot, and answers when it is on disk.",
    ),
    save,
);

/// `BGSAVE [SCHEDULE | CANCEL]` <https://valkey.io/commands/bgsave/>
pub static BGSAVE: Command = Command::new(
    Meta::new("bgsave", -1, Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::NO_ASYNC_LOADING), Group::Server)
        .cat(Cat::DANGEROUS)
        .doc("1.0.0", "O(1)", "Writes a snapshot in the background."),
    bgsave,
);

/// `LASTSAVE` <https://valkey.io/commands/lastsave/>
pub static LASTSAVE: Command = Command::new(
    Meta::new("lastsave", 1, Flags::LOADING.or(Flags::STALE).or(Flags::FAST), Group::Server)
        .cat(Cat::ADMIN.or(Cat::DANGEROUS))
        .doc("1.0.0", "O(1)", "Returns the time of the last snapshot, or of the start while there was none.")
        .tips(&["nondeterministic_output"]),
    |cx, _args| {
        cx.out.int(cx.server.snapshots.last_save.load(Acquire));
        Ok(())
    },
);

const BUSY: Error = Error::new("ERR Background save already in progress");

fn save(cx: &mut Ctx<'_>, _args: &[&[u8]]) -> CmdResult {
    save_now(cx.server)
        .map_err(|e| if e.kind() == io::ErrorKind::ResourceBusy { BUSY } else { Error::owned(format!("ERR {e}")) })?;
    cx.out.ok();
    Ok(())
}

fn bgsave(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let server = cx.server;
    let snapshots = &server.snapshots;
    let schedule = match args {
        [_] => false,
        [_, word] if is(word, "schedule") => true,
        [_, word] if is(word, "cancel") => {
            if snapshots.scheduled.swap(false, AcqRel) {
                cx.out.simple("Scheduled background saving cancelled");
                return Ok(());
            }
            let job = snapshots.job().filter(|j| !j.foreground);
            let job = job.ok_or(Error::new("ERR Background saving is currently not in progress or scheduled"))?;
            job.cancel.store(true, Release);
            cx.out.simple("Background saving cancelled");
            return Ok(());
        }
        _ => return Err(Error::SYNTAX),
    };
    if snapshots.job().is_some() {
        return Err(BUSY);
    }
    // In a transaction it comes after that.
    let inside = cx.db.fx.in_transaction;
    if inside || server.has_snapshot() || !start(server) {
        // Another snapshot is under way: for replicas, or for the append-only file.
        if !schedule && !inside {
            return Err(Error::new(
                "ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE in order to \
                 schedule a BGSAVE whenever possible.",
            ));
        }
        snapshots.scheduled.store(true, Release);
        cx.out.simple("Background saving scheduled");
        return Ok(());
    }
    cx.out.simple("Background saving started");
    Ok(())
}

/// Writes a snapshot on this thread. No slots are held. `ResourceBusy`: another is under way.
pub fn save_now(server: &'static Server) -> io::Result<()> {
    let busy = || io::Error::from(io::ErrorKind::ResourceBusy);
    let job = server.snapshots.begin(true).ok_or_else(busy)?;
    let result = write(server, &job);
    server.snapshots.end();
    note(server, &job, &result);
    result
}

/// Begins a snapshot in the background. False if another is under way.
pub fn start(server: &'static Server) -> bool {
    let Some(job) = server.snapshots.begin(false) else { return false };
    server.snapshots.last_try.store(job.started / 1000, Release);
    server.snapshots.scheduled.store(false, Release);
    tracing::info!("Background saving started");
    let work = move || {
        cpus::enter(Duty::Snapshot);
        let result = write(server, &job);
        server.snapshots.end();
        let cancelled = job.cancel.load(Acquire);
        match &result {
            Ok(()) => tracing::info!("Background saving terminated with success"),
            Err(_) if cancelled => tracing::info!("Background saving cancelled"),
            Err(e) => tracing::warn!("Background saving error: {e}"),
        }
        if !cancelled {
            note(server, &job, &result);
        }
    };
    match std::thread::Builder::new().name("bgsave".into()).spawn(work) {
        Ok(_) => true,
        Err(e) => {
            tracing::warn!("Can't save in background: {e}");
            server.snapshots.end();
            server.snapshots.last_ok.store(false, Release);
            false
        }
    }
}

/// What follows from the end of a snapshot.
fn note(server: &Server, job: &Job, result: &io::Result<()>) {
    let s = &server.snapshots;
    // Who saved by himself has heard of a failure.
    if result.is_ok() || !job.foreground {
        s.last_ok.store(result.is_ok(), Release);
    }
    let ms = (clock::now_ms() - job.started).max(0);
    s.last_seconds.store(ms / 1000, Release);
    s.last_ms.store(ms as u64, Release);
    s.all_ms.fetch_add(ms as u64, AcqRel);
    review_gate(server);
}

/// `stop-writes-on-bgsave-error`: whether the last failure keeps writes out.
pub fn review_gate(server: &Server) {
    let stops = server.config.stop_writes_on_bgsave_error() && !server.config.save_points().is_empty();
    server.gate.set(bits::SNAPSHOT, stops && !server.snapshots.last_ok.load(Acquire));
}

/// Where the snapshot is.
pub fn path(server: &Server) -> PathBuf {
    os::path(server.config.dbfilename())
}

/// Whether snapshots can be written where save points would write them, tried before clients are served: else the first that
/// fails would stop all writes, an hour later.
pub fn check_directory(server: &Server) -> Result<(), String> {
    if server.config.save_points().is_empty() {
        return Ok(());
    }
    let file = temporary();
    let tried = File::create(&file).and_then(|_| std::fs::remove_file(&file));
    tried.map_err(|e| {
        let dir = std::env::current_dir().unwrap_or_default();
        format!(
            "Can't write into the data directory {}, where snapshots go (save \"\" does without them): {e}",
            dir.display()
        )
    })
}

/// Makes what a directory says lasting.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

/// Writes chunks to a file, and starts them on their way to the disk before there are too many.
pub struct SteadyFile {
    file: File,
    written: u64,
    synced: u64,
    steady: bool,
}

impl SteadyFile {
    /// `steady`: in steps.
    pub fn new(file: File, steady: bool) -> SteadyFile {
        SteadyFile { file, written: 0, synced: 0, steady }
    }
    /// Writes a chunk.
    pub fn put(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.file.write_all(chunk)?;
        self.written += chunk.len() as u64;
        if self.steady && self.written - self.synced >= SYNC_STEP {
            os::begin_writeback(&self.file, self.synced, self.written - self.synced);
            self.synced = self.written;
        }
        Ok(())
    }
    /// All of it is on disk.
    pub fn finish(self) -> io::Result<()> {
        self.file.sync_all()
    }
}

/// Where a snapshot is until it is whole. There is one at a time.
pub fn temporary() -> PathBuf {
    PathBuf::from(format!("temp-{}.rdb", std::process::id()))
}

/// The whole of it: cut, temporary file, rename.
fn write(server: &'static Server, job: &Job) -> io::Result<()> {
    let path = path(server);
    let temporary = temporary();
    let result = write_as(server, job, &temporary).and_then(|changes| {
        fs::rename(&temporary, &path)?;
        sync_directory(&path)?;
        Ok(changes)
    });
    match result {
        Ok(changes) => {
            let s = &server.snapshots;
            s.saved_changes.store(changes, Release);
            s.last_save.store(clock::now_ms() / 1000, Release);
            s.saves.fetch_add(1, AcqRel);
            Ok(())
        }
        Err(e) => {
            let _ = server.timed("rdb-unlink-temp-file", || fs::remove_file(&temporary));
            Err(e)
        }
    }
}

/// Writes the snapshot to a new file. Returns the changes of the data up to the cut.
fn write_as(server: &'static Server, job: &Job, path: &Path) -> io::Result<u64> {
    let file = File::create(path)?;
    let at_cut = || {
        let mut head = server.rdb_head(false);
        if server.repl.log.is_kept() {
            head = head.with_history(&server.repl.ids().current, server.repl.log.end());
        }
        job.progress.total.store(head.sizes.iter().map(|s| s.0 as usize).sum(), Relaxed);
        (head, server.dirty())
    };
    let begun = FileSnapshot::begin(server.keyspace, server.rdb_options(), job.progress.clone(), at_cut);
    let (snapshot, changes) = begun.map_err(|_| io::Error::from(io::ErrorKind::ResourceBusy))?;
    let mut file = SteadyFile::new(file, server.config.rdb_save_incremental_fsync());
    snapshot.run(&job.cancel, |chunk| file.put(chunk))?;
    file.finish()?;
    Ok(changes)
}

/// FLUSHALL, which counts as so many changes: a snapshot under way is of no use any more, and where there are save points
/// the empty data are saved.
pub fn after_flush(server: &Server, changes: u64) {
    let s = &server.snapshots;
    if let Some(job) = s.job().filter(|j| !j.foreground) {
        job.cancel.store(true, Release);
    }
    if !server.config.save_points().is_empty() && !server.gate.has(bits::LOADING) {
        s.saved_changes.store(server.dirty().wrapping_add(changes), Release);
        s.scheduled.store(true, Release);
    }
}

/// Begins what a save point or BGSAVE SCHEDULE asks for. Called from time to time.
pub fn cron(server: &'static Server, now: i64) {
    let s = &server.snapshots;
    if server.has_snapshot() || server.gate.has(bits::LOADING) {
        return;
    }
    if s.scheduled.load(Acquire) {
        start(server);
        return;
    }
    let changes = server.dirty().wrapping_sub(s.saved_changes.load(Acquire));
    let seconds = now / 1000;
    let since = seconds - s.last_save.load(Acquire);
    let rested = s.last_ok.load(Acquire) || seconds - s.last_try.load(Acquire) > RETRY;
    if !rested {
        return;
    }
    for (after, least) in server.config.save_points() {
        if changes >= least && since > after {
            tracing::info!("{least} changes in {after} seconds. Saving...");
            start(server);
            return;
        }
    }
}
