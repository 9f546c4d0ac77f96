//! The append-only file of the running server: on, off, rewritten.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::*};

use parking_lot::{Mutex, RwLock};

use super::save::SteadyFile;
use crate::base::cpus::{self, Duty};
use crate::base::{clock, os};
use crate::commands::gate::bits;
use crate::commands::replication::{role, wait};
use crate::commands::{CmdResult, Command, Ctx, Server};
use crate::keyspace::encode_request;
use crate::keyspace::snapshot::{Encode, Progress, Snapshot};
use crate::persist::aof::commands::Commands;
use crate::persist::aof::{Entry, Fsync, Manifest, Role, Step, Writer};
use crate::persist::pace::Pace;
use crate::persist::rdb::file::FileSnapshot;
use crate::repl::FileSink;
use crate::resp::Error;
use crate::spec::{Cat, Flags, Group, Meta};

/// `BGREWRITEAOF` <https://valkey.io/commands/bgrewriteaof/>
pub static BGREWRITEAOF: Command = Command::new(
    Meta::new("bgrewriteaof", 1, Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::NO_ASYNC_LOADING), Group::Server)
        .cat(Cat::DANGEROUS)
        .doc("1.0.0", "O(1)", "Writes the append-only file anew, as short as the data allow."),
    bgrewriteaof,
);

/// A rewrite under way.
#[derive(Debug, Clone)]
pub struct Rewrite {
    /// When it began, unix ms.
    pub started: i64,
    /// Ends it, when set.
    pub cancel: Arc<AtomicBool>,
    /// How far it is.
    pub progress: Arc<Progress>,
    /// The base is a snapshot, as `aof-use-rdb-preamble` was when it began.
    pub rdb: bool,
}

/// The append-only file.
#[derive(Debug, Default)]
pub struct Aof {
    writer: RwLock<Option<Arc<Writer>>>,
    manifest: Mutex<Manifest>,
    rewrite: Mutex<Option<Rewrite>>,
    /// The directory, locked for as long as it is ours.
    lock: Mutex<Option<File>>,
    /// A rewrite is to begin as soon as it can.
    pub scheduled: AtomicBool,
    /// The files do not have the data yet: the first rewrite is not through.
    pub baseless: AtomicBool,
    /// Whether the last rewrite succeeded.
    pub failed: AtomicBool,
    /// How long the last one took, seconds plus one; 0: there was none.
    pub last_seconds: AtomicI64,
    /// How many there were.
    pub rewrites: AtomicU64,
    /// Failures since the last success.
    pub failures: AtomicU64,
    /// When the last one was tried, unix ms.
    pub last_try: AtomicI64,
    /// Bytes of the files after the last rewrite, or at the start.
    pub base_size: AtomicU64,
}

impl Aof {
    /// The file, if it is on.
    pub fn writer(&self) -> Option<Arc<Writer>> {
        self.writer.read().clone()
    }
    /// The rewrite under way.
    pub fn rewrite(&self) -> Option<Rewrite> {
        self.rewrite.lock().clone()
    }
    /// Which files there are.
    pub fn manifest(&self) -> Manifest {
        self.manifest.lock().clone()
    }
}

/// The log's offset up to which a restart would find everything in the append-only file; 0 while there is nothing to build on.
pub fn lasting(server: &Server) -> u64 {
    if server.aof.baseless.load(Acquire) { 0 } else { server.repl.file_synced() }
}

/// Hands the log's effects on.
struct Sink(Arc<Writer>);

impl FileSink for Sink {
    fn append(&self, requests: &[u8], offset: u64) {
        self.0.append(requests, offset);
    }
    fn reach(&self, offset: u64) {
        self.0.reach(offset);
    }
}

/// The directory of the files.
pub fn directory(server: &Server) -> PathBuf {
    os::path(server.config.appenddirname())
}

/// What the files' names begin with.
pub fn stem(server: &Server) -> String {
    String::from_utf8_lossy(&server.config.appendfilename()).into_owned()
}

/// Makes the directory, and takes it for this process.
fn claim(server: &Server) -> io::Result<()> {
    let dir = directory(server);
    let mut lock = server.aof.lock.lock();
    if lock.is_some() {
        return Ok(());
    }
    if !dir.exists() {
        fs::create_dir(&dir)?;
        super::save::sync_directory(&dir)?;
    }
    let handle = File::open(&dir)?;
    handle.try_lock().map_err(|e| match e {
        fs::TryLockError::WouldBlock => io::Error::other(format!("{} is in use by another process", dir.display())),
        fs::TryLockError::Error(e) => e,
    })?;
    *lock = Some(handle);
    Ok(())
}

/// Before anything is loaded: the manifest, or `None` where there are no files. An old single file is moved to where
/// files are now.
pub fn prepare(server: &Server) -> Result<Option<Manifest>, String> {
    let failed = |e: io::Error| format!("Can't open or create append-only dir {}: {e}", directory(server).display());
    claim(server).map_err(failed)?;
    let (dir, stem) = (directory(server), stem(server));
    if let Some(manifest) = Manifest::load(&dir, &stem)? {
        // A move of an old single file may have been interrupted before the file itself was moved.
        let old = manifest.base.as_ref().is_some_and(|b| b.name == stem);
        if old && !dir.join(&stem).exists() && PathBuf::from(&stem).is_file() {
            tracing::info!("Moving the AOF file {stem} of an old version into {}", dir.display());
            fs::rename(&stem, dir.join(&stem)).map_err(failed)?;
        }
        *server.aof.manifest.lock() = manifest.clone();
        return Ok(Some(manifest));
    }
    if !PathBuf::from(&stem).is_file() {
        return Ok(None);
    }
    tracing::info!("Moving the AOF file {stem} of an old version into {}", dir.display());
    let base = Entry { name: stem.clone(), seq: 1, role: Role::Base };
    let manifest = Manifest { base: Some(base), base_seq: 1, ..Manifest::default() };
    manifest.store(&dir, &stem).and_then(|()| fs::rename(&stem, dir.join(&stem))).map_err(failed)?;
    *server.aof.manifest.lock() = manifest.clone();
    Ok(Some(manifest))
}

/// Begins to write, once the data are loaded. No command runs yet.
pub fn open_at_start(server: &'static Server) -> Result<(), String> {
    let (dir, stem) = (directory(server), stem(server));
    let failed = |e: io::Error| format!("Can't open the append-only file in {}: {e}", dir.display());
    let mut manifest = server.aof.manifest();
    if manifest.base.is_none() && manifest.incrementals.is_empty() && server.config.aof_use_rdb_preamble() {
        // As Redis: a base, if only an empty one, so that the files are whole from the beginning.
        let base = manifest.next_base(&stem, true);
        tracing::info!("Creating AOF base file {} on server start", base.name);
        let file = File::create(dir.join(&base.name)).map_err(failed)?;
        let at_cut = || (server.rdb_head(true), ());
        let begun = FileSnapshot::begin(server.keyspace, server.rdb_options(), Arc::default(), at_cut);
        let (snapshot, ()) = begun.map_err(|_| "a snapshot is under way".to_owned())?;
        let mut file = SteadyFile::new(file, true);
        snapshot.run(&AtomicBool::new(false), |chunk| file.put(chunk)).map_err(failed)?;
        file.finish().map_err(failed)?;
        manifest.base = Some(base);
    } else if manifest.base.is_none() && manifest.incrementals.is_empty() {
        let base = manifest.next_base(&stem, false);
        tracing::info!("Creating AOF base file {} on server start", base.name);
        let note = time_note(server);
        fs::write(dir.join(&base.name), note).map_err(failed)?;
        manifest.base = Some(base);
    }
    if manifest.incrementals.is_empty() {
        let next = manifest.next_incremental(&stem);
        tracing::info!("Creating AOF incr file {} on server start", next.name);
        File::create(dir.join(&next.name)).map_err(failed)?;
        manifest.incrementals.push(next);
    }
    let history = std::mem::take(&mut manifest.history);
    manifest.store(&dir, &stem).map_err(failed)?;
    remove(server, &history);
    let size = size_of(server, &manifest);
    let last = manifest.incrementals.last().map(|e| e.name.clone()).unwrap_or_default();
    let file = fs::OpenOptions::new().append(true).open(dir.join(last)).map_err(failed)?;
    *server.aof.manifest.lock() = manifest;
    server.aof.base_size.store(size, Release);
    attach(server, file, size).map_err(failed)?;
    role::review_log(server);
    Ok(())
}

/// Bytes of the files that count.
fn size_of(server: &Server, manifest: &Manifest) -> u64 {
    let dir = directory(server);
    let all = manifest.base.iter().chain(&manifest.incrementals);
    all.filter_map(|e| fs::metadata(dir.join(&e.name)).ok()).map(|m| m.len()).sum()
}

/// Lets the log write to a file from now on. All slots are held, or no command runs yet.
fn attach(server: &'static Server, file: File, size: u64) -> io::Result<()> {
    let on_synced = Box::new(move |offset| {
        server.repl.set_file_synced(offset);
        wait::serve(server);
    });
    let on_failing = Box::new(move |failing| server.gate.set(bits::FILE, failing));
    let on_step = Box::new(move |step, ns| note_step(server, step, ns));
    let offset = server.repl.log.end();
    server.repl.set_file_synced(offset);
    let writer = Writer::start(file, offset, size, policy(server), on_synced, on_failing, on_step)?;
    writer.set_delay(server.switches.aof_delay_us.load(Relaxed));
    writer.set_timestamps(server.config.aof_timestamp_enabled());
    server.repl.log.set_file(Some(Arc::new(Sink(writer.clone()))));
    *server.aof.writer.write() = Some(writer);
    Ok(())
}

/// LATENCY's events of the file.
fn note_step(server: &Server, step: Step, ns: u64) {
    if !server.is_spike(ns) {
        return;
    }
    match step {
        Step::Write => {
            let alone = if server.has_snapshot() { "aof-write-active-child" } else { "aof-write-alone" };
            server.note_spike("aof-write", ns);
            server.note_spike(alone, ns);
        }
        Step::Sync if policy(server) == Fsync::Always => server.note_spike("aof-fsync-always", ns),
        Step::Sync => {}
    }
}

/// Lets the log write to the same file again, after the data were loaded from it. Nobody changes anything meanwhile.
pub fn attach_again(server: &'static Server, writer: Arc<Writer>) {
    server.repl.log.set_file(Some(Arc::new(Sink(writer))));
    role::review_log(server);
}

/// `appendfsync`
pub fn policy(server: &Server) -> Fsync {
    match server.config.appendfsync() {
        1 => Fsync::Always,
        2 => Fsync::No,
        _ => Fsync::EverySecond,
    }
}

/// `appendonly yes` on a running server: a rewrite whose writes are kept from the cut on.
pub fn turn_on(server: &'static Server) -> Result<(), String> {
    if server.aof.writer().is_some() {
        return Ok(());
    }
    claim(server).map_err(|e| format!("Unable to turn on AOF: {e}"))?;
    if let Ok(Some(manifest)) = Manifest::load(&directory(server), &stem(server)) {
        *server.aof.manifest.lock() = manifest;
    }
    server.aof.baseless.store(true, Release);
    if server.has_snapshot() || !begin(server) {
        server.aof.scheduled.store(true, Release);
    }
    Ok(())
}

/// `appendonly no`: what was written is made lasting, and no more is written. No slots are held.
pub fn turn_off(server: &'static Server) {
    server.aof.scheduled.store(false, Release);
    server.aof.baseless.store(false, Release);
    if let Some(rewrite) = server.aof.rewrite() {
        rewrite.cancel.store(true, Release);
    }
    wait::fail_local(server);
    detach(server);
    server.repl.set_file_synced(0);
    server.gate.set(bits::FILE, false);
}

/// After the data were replaced (by a primary's): the files begin anew.
pub fn restart(server: &'static Server) {
    if server.config.appendonly() {
        turn_off(server);
        let waited = (0..10_000).take_while(|_| server.aof.rewrite().is_some()).map(|_| clock::pause_us(1000)).count();
        tracing::info!("AOF begins anew after the synchronization (waited {waited} ms)");
        if let Err(e) = turn_on(server) {
            tracing::warn!("{e}");
        }
    }
}

fn bgrewriteaof(cx: &mut Ctx<'_>, _args: &[&[u8]]) -> CmdResult {
    let server = cx.server;
    if server.aof.rewrite().is_some() {
        return Err(Error::new("ERR Background append only file rewriting already in progress"));
    }
    // In a transaction it comes after that.
    if server.has_snapshot() || cx.db.fx.in_transaction {
        server.aof.scheduled.store(true, Release);
        cx.out.simple("Background append only file rewriting scheduled");
        return Ok(());
    }
    claim(server).map_err(|e| Error::owned(format!("ERR Can't execute an AOF background rewriting: {e}")))?;
    if !begin(server) {
        return Err(Error::new(
            "ERR Can't execute an AOF background rewriting. Please check the server logs for more information.",
        ));
    }
    cx.out.simple("Background append only file rewriting started");
    Ok(())
}

/// Begins a rewrite. False if one is under way, or no thread can be had.
fn begin(server: &'static Server) -> bool {
    let rdb = server.config.aof_use_rdb_preamble();
    let rewrite = Rewrite { started: clock::now_ms(), cancel: Arc::default(), progress: Arc::default(), rdb };
    {
        let mut current = server.aof.rewrite.lock();
        if current.is_some() {
            return false;
        }
        *current = Some(rewrite.clone());
    }
    server.aof.scheduled.store(false, Release);
    server.aof.last_try.store(rewrite.started, Release);
    let work = move || {
        cpus::enter(Duty::Rewrite);
        let result = run(server, &rewrite);
        let aof = &server.aof;
        *aof.rewrite.lock() = None;
        if let Some(writer) = aof.writer() {
            writer.hold_fsync(false);
        }
        match result {
            Ok(()) => {
                aof.baseless.store(false, Release);
                wait::serve(server);
                aof.failed.store(false, Release);
                aof.failures.store(0, Release);
                aof.rewrites.fetch_add(1, AcqRel);
                tracing::info!("Background AOF rewrite finished successfully");
            }
            // Another snapshot was first.
            Err(e) if e.kind() == io::ErrorKind::ResourceBusy => aof.scheduled.store(true, Release),
            Err(e) if rewrite.cancel.load(Acquire) => tracing::info!("Background AOF rewrite cancelled: {e}"),
            Err(e) => {
                aof.failed.store(true, Release);
                aof.failures.fetch_add(1, AcqRel);
                tracing::warn!("Background AOF rewrite terminated with error: {e}");
            }
        }
        aof.last_seconds.store((clock::now_ms() - rewrite.started) / 1000 + 1, Release);
    };
    match std::thread::Builder::new().name("aof-rewrite".into()).spawn(work) {
        Ok(_) => true,
        Err(e) => {
            tracing::warn!("Can't rewrite the AOF: {e}");
            *server.aof.rewrite.lock() = None;
            false
        }
    }
}

/// `aof-timestamp-enabled`: the time, before anything else.
fn time_note(server: &Server) -> String {
    if server.config.aof_timestamp_enabled() { format!("#TS:{}\r\n", clock::now_ms() / 1000) } else { String::new() }
}

/// What a base of commands begins with: the functions. All slots are held.
fn commands_head(server: &Server) -> Vec<u8> {
    let mut head = time_note(server).into_bytes();
    for library in server.libraries.all() {
        encode_request(&[b"FUNCTION", b"LOAD", &library.text], &mut head);
    }
    head
}

/// A base being written.
enum Base {
    Rdb(FileSnapshot),
    /// With what stands before the keys.
    Commands(Snapshot, Vec<u8>),
}

/// The whole rewrite.
fn run(server: &'static Server, rewrite: &Rewrite) -> io::Result<()> {
    tracing::info!("Background append only file rewriting started");
    let (dir, stem, aof) = (directory(server), stem(server), &server.aof);
    let wanted = server.config.appendonly();
    let rdb = rewrite.rdb;
    if server.config.no_appendfsync_on_rewrite()
        && let Some(writer) = aof.writer()
    {
        writer.hold_fsync(true);
    }
    // The file that takes the writes after the cut.
    let (next, file) = {
        let mut manifest = aof.manifest.lock();
        let next = manifest.next_incremental(&stem);
        let file = if wanted {
            let path = dir.join(&next.name);
            Some(fs::OpenOptions::new().create(true).append(true).open(path)?)
        } else {
            None
        };
        (next, file)
    };
    let unused = |e: io::Error| {
        let _ = fs::remove_file(dir.join(&next.name));
        e
    };
    let attached = aof.writer().is_some();
    let switch = || -> io::Result<()> {
        let Some(file) = file else { return Ok(()) };
        match aof.writer() {
            Some(writer) => {
                let (next, dir, stem) = (next.clone(), dir.clone(), stem.clone());
                // The manifest names the file before anything is in it.
                let before = move || {
                    let mut manifest = server.aof.manifest.lock();
                    manifest.name(next);
                    while let Err(e) = manifest.store(&dir, &stem) {
                        tracing::warn!("Can't write the AOF manifest: {e}");
                        clock::pause_us(200_000);
                    }
                };
                writer.rotate(file, Box::new(before));
                server.repl.log.reselect_file();
            }
            None => attach(server, file, 0)?,
        }
        role::review_log(server);
        Ok(())
    };
    let busy = |_| unused(io::Error::from(io::ErrorKind::ResourceBusy));
    let (base, switched) = if rdb {
        let at_cut = || (server.rdb_head(true), switch());
        let begun = FileSnapshot::begin(server.keyspace, server.rdb_options(), rewrite.progress.clone(), at_cut);
        let (snapshot, switched) = begun.map_err(busy)?;
        (Base::Rdb(snapshot), switched)
    } else {
        let encoders = || Box::new(Commands) as Box<dyn Encode>;
        let begun = Snapshot::begin(server.keyspace, &encoders, rewrite.progress.clone(), |_| {
            (commands_head(server), switch())
        });
        let (snapshot, (head, switched)) = begun.map_err(busy)?;
        (Base::Commands(snapshot, head), switched)
    };
    switched.map_err(unused)?;
    let temporary = dir.join(format!("temp-rewriteaof-{}.aof", std::process::id()));
    let written = (|| {
        let mut file = SteadyFile::new(File::create(&temporary)?, server.config.aof_rewrite_incremental_fsync());
        match base {
            Base::Rdb(snapshot) => snapshot.run(&rewrite.cancel, |chunk| file.put(chunk))?,
            Base::Commands(snapshot, head) => {
                file.put(&head)?;
                let mut pace = Pace::new(Some(server.config));
                snapshot.run(&rewrite.cancel, |chunk| {
                    pace.wait(&rewrite.progress, &rewrite.cancel)?;
                    file.put(chunk)
                })?
            }
        };
        file.finish()
    })();
    if let Err(e) = written {
        let _ = fs::remove_file(&temporary);
        if !attached && wanted {
            // The first rewrite after `appendonly yes`: without a base the writes since the cut are of no use. It is tried
            // again.
            detach(server);
            return Err(unused(e));
        }
        return Err(e);
    }
    let history = {
        let mut manifest = aof.manifest.lock();
        let base = manifest.next_base(&stem, rdb);
        server.timed("aof-rename", || fs::rename(&temporary, dir.join(&base.name)))?;
        if wanted {
            // The writer may not have come to the change of files yet.
            manifest.name(next.clone());
        }
        let keep = manifest.incrementals.iter().filter(|e| wanted && e.seq >= next.seq).count();
        manifest.rebase(base, keep);
        manifest.store(&dir, &stem)?;
        std::mem::take(&mut manifest.history)
    };
    remove(server, &history);
    let manifest = aof.manifest();
    manifest.store(&dir, &stem)?;
    let size = size_of(server, &manifest);
    aof.base_size.store(size, Release);
    if let Some(writer) = aof.writer() {
        writer.set_size(size);
    }
    Ok(())
}

/// Lets the log write to no file any more. No slots are held.
fn detach(server: &'static Server) {
    let mut held = server.keyspace.held();
    held.lock_all();
    server.repl.log.set_file(None);
    role::review_log(server);
    held.unlock();
    if let Some(writer) = server.aof.writer.write().take() {
        writer.stop();
    }
}

/// Removes files that do not count any more.
fn remove(server: &Server, history: &[Entry]) {
    if server.config.aof_disable_auto_gc() {
        return;
    }
    let dir = directory(server);
    for e in history {
        if let Err(error) = fs::remove_file(dir.join(&e.name))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!("Can't remove {}: {error}", e.name);
        }
    }
}

/// Begins what was scheduled, or what the growth of the file asks for. Called from time to time.
pub fn cron(server: &'static Server, now: i64) {
    let aof = &server.aof;
    if aof.rewrite().is_some() || server.keyspace.hooks.watching() || server.gate.has(bits::LOADING) {
        return;
    }
    if aof.scheduled.load(Acquire) {
        begin(server);
        return;
    }
    if !server.config.appendonly() {
        return;
    }
    // After failures the next try waits longer and longer, up to an hour.
    let failures = aof.failures.load(Acquire).min(12);
    let rest = if failures == 0 { 0 } else { (1i64 << failures).min(3600) * 1000 };
    if now - aof.last_try.load(Acquire) < rest {
        return;
    }
    let Some(writer) = aof.writer() else {
        begin(server);
        return;
    };
    let percentage = server.config.auto_aof_rewrite_percentage() as u64;
    let (size, base) = (writer.size(), aof.base_size.load(Acquire).max(1));
    if percentage > 0
        && size > server.config.auto_aof_rewrite_min_size() as u64
        && size.saturating_sub(base) * 100 / base >= percentage
    {
        tracing::info!("Starting automatic rewriting of AOF on {}% growth", (size - base) * 100 / base);
        begin(server);
    }
}
