//! The snapshot that a primary sends: received into a file or straight from the socket, loaded, and only then believed.
//!
//! The old data serve on until the new are known to be whole, where that is possible: with a file its checksum is
//! verified before anything is removed; with `repl-diskless-load swapdb` the new data are loaded beside the old.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::Ordering::*;
use std::time::Duration;

use bytes::{Buf, Bytes};

use super::link::{Wire, failed};
use super::sync::OPEN_SLOTS;
use crate::base::{clock, crc64};
use crate::commands::Server;
use crate::commands::persistence::load::{self, How};
use crate::commands::persistence::{aof, save};
use crate::commands::replication::role;
use crate::config::enums::DisklessLoad;
use crate::exec::Worker;
use crate::keyspace::Keyspace;
use crate::metrics::Metrics;
use crate::persist::rdb::load::Loaded;
use crate::script::Policy;

const LOADING: &str = "PRIMARY <-> REPLICA sync: Loading DB in memory";
const NOT_LOADED: &str = "Failed trying to load the PRIMARY synchronization DB from socket, check server logs.";

/// How the end of the snapshot is known.
enum End {
    /// After so many bytes.
    Length(u64),
    /// After this mark, which was announced.
    Mark(Bytes),
}

/// A temporary file that goes unless it is kept.
pub(super) struct Temporary {
    path: PathBuf,
    pub(super) file: File,
    keep: bool,
}

impl Temporary {
    pub(super) fn create(path: PathBuf) -> io::Result<Temporary> {
        let file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        Ok(Temporary { path, file, keep: false })
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.keep {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Reads the announcement: `$<length>` or `$EOF:<mark>`.
async fn announcement(wire: &mut Wire) -> io::Result<End> {
    let line = loop {
        let line = wire.line().await?;
        // Empty lines are signs of life.
        if !line.is_empty() {
            break line;
        }
    };
    let shown = || String::from_utf8_lossy(&line).into_owned();
    if line[0] == b'-' {
        return Err(failed(format!("PRIMARY aborted replication with an error: {}", shown())));
    }
    if let Some(mark) = line.strip_prefix(b"$EOF:") {
        if mark.len() != 40 {
            return Err(failed(format!("Bad mark of the end: {}", shown())));
        }
        return Ok(End::Mark(line.slice(5..)));
    }
    let length = line.strip_prefix(b"$").and_then(|n| std::str::from_utf8(n).ok()).and_then(|n| n.parse().ok());
    length.map(End::Length).ok_or_else(|| {
        failed(format!(
            "Bad protocol from PRIMARY, the first byte is not '$' (we received '{}'), are you sure the host and port are right?",
            shown()
        ))
    })
}

/// Reads the snapshot and hands it to `sink` in pieces.
async fn transfer(
    server: &Server,
    wire: &mut Wire,
    end: &End,
    mut sink: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let link = &server.repl.link;
    let took = |n: usize| {
        link.bulk_read.fetch_add(n as i64, Relaxed);
        link.bulk_at.store(clock::now_ms(), Relaxed);
        link.last_io.store(clock::now_ms(), Relaxed);
        server.repl.counters.bytes_in.fetch_add(n as u64, Relaxed);
    };
    match end {
        End::Length(n) => {
            let mut left = *n;
            while left > 0 {
                if wire.buf.is_empty() {
                    wire.fill().await?;
                }
                let n = wire.buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                sink(&wire.buf[..n])?;
                wire.buf.advance(n);
                left -= n as u64;
                took(n);
            }
        }
        End::Mark(mark) => loop {
            // The primary sends nothing after the mark before it hears that we have loaded.
            if wire.buf.len() >= mark.len() && wire.buf.ends_with(mark) {
                let n = wire.buf.len() - mark.len();
                sink(&wire.buf[..n])?;
                took(n);
                wire.buf.clear();
                return Ok(());
            }
            // What may be the beginning of the mark stays until more is there.
            let n = wire.buf.len().saturating_sub(mark.len());
            if n > 0 {
                sink(&wire.buf[..n])?;
                wire.buf.advance(n);
                took(n);
            }
            wire.fill().await?;
        },
    }
    Ok(())
}

/// Takes the snapshot, and makes it the data of this node, at `offset` of history `id`.
pub(super) async fn receive(
    server: &'static Server,
    worker: &mut Worker,
    generation: u64,
    wire: &mut Wire,
    id: &str,
    offset: u64,
) -> io::Result<()> {
    let end = announcement(wire).await?;
    let link = &server.repl.link;
    let total = if let End::Length(n) = end { n } else { 0 };
    link.bulk_read.store(0, Relaxed);
    link.bulk_total.store(total as i64, Relaxed);
    let empty = (0..server.keyspace.databases()).all(|db| server.metrics.keys(db) == 0);
    let loaded = match server.config.repl_diskless_load() {
        DisklessLoad::SwapDb => aside(server, worker, generation, wire, &end, (id, total)).await?,
        DisklessLoad::FlushBeforeLoad => straight(server, worker, generation, wire, &end, total).await?,
        DisklessLoad::OnEmptyDb if empty => straight(server, worker, generation, wire, &end, total).await?,
        _ => by_file(server, worker, generation, wire, &end).await?,
    };
    take_open_slots(server, &loaded);
    server.repl.adopt(id);
    link.selected.store(0, Release);
    role::disconnect_replicas(server);
    server.repl.log.restart(offset);
    server.repl.log.start();
    server.snapshots.saved_changes.store(server.dirty(), Release);
    tokio::task::spawn_blocking(move || aof::restart(server)).await.map_err(|e| failed(e.to_string()))
}

/// The slots that the primary gives away and receives: if this node replaces it, it goes on.
fn take_open_slots(server: &Server, loaded: &Loaded) {
    let Some(text) = loaded.aux(OPEN_SLOTS) else { return };
    let Some(mut core) = server.cluster.core() else { return };
    if let Err(e) = core.learn_open_slots(clock::steady_ms(), text) {
        tracing::warn!("The snapshot of the primary tells slots in a way that is not understood: {e}");
    }
    drop(core);
    server.cluster.ring();
}

/// Whether the primary is still the one to follow.
fn check(server: &Server, generation: u64) -> io::Result<()> {
    if server.repl.link.generation() == generation { Ok(()) } else { Err(failed("another primary is to be followed")) }
}

const HOW: How = How { replace: false, keep_expired: true, note_expired: false, libraries: Some(Policy::Flush) };

/// By way of a file, whose checksum is verified before the old data go.
async fn by_file(
    server: &'static Server,
    worker: &mut Worker,
    generation: u64,
    wire: &mut Wire,
    end: &End,
) -> io::Result<Loaded> {
    let path = PathBuf::from(format!("temp-{}.{}.rdb", clock::now_ms(), std::process::id()));
    let mut file = Temporary::create(path)?;
    transfer(server, wire, end, |bytes| file.file.write_all(bytes)).await?;
    let path = file.path.clone();
    let (copy, written) = (file.file.try_clone()?, path.clone());
    patiently(wire, move || copy.sync_all().and_then(|()| verify(&written))).await?;
    check(server, generation)?;
    let (reader, total) = load::open(&path)?;
    tracing::info!("PRIMARY <-> REPLICA sync: Flushing old data");
    let announced = load::Announced::begin(server, total, false);
    worker.flush_all();
    tracing::info!("{LOADING}");
    let result = patiently(wire, move || load::into(server, (server.keyspace, &server.metrics), reader, HOW)).await;
    if result.is_err() {
        worker.flush_all();
        return result;
    }
    drop(announced);
    // It is a good snapshot: a restart may begin with it.
    let own = save::path(server);
    match fs::rename(&path, &own) {
        Ok(()) => file.keep = true,
        Err(e) => tracing::warn!(
            "Failed trying to rename the temp DB into {} in PRIMARY <-> REPLICA synchronization: {e}",
            own.display()
        ),
    }
    result
}

/// Reads a file to its end, and compares the checksum.
fn verify(path: &std::path::Path) -> io::Result<()> {
    use std::io::Read;
    let (mut file, total) = load::open(path)?;
    let (mut crc, mut left) = (0, total.saturating_sub(8));
    let mut buf = vec![0; 1 << 20];
    while left > 0 {
        let n = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        file.read_exact(&mut buf[..n])?;
        crc = crc64::update(crc, &buf[..n]);
        left -= n as u64;
    }
    let mut stored = [0; 8];
    file.read_exact(&mut stored)?;
    match u64::from_le_bytes(stored) {
        0 => Ok(()),
        stored if stored == crc => Ok(()),
        _ => Err(failed("the snapshot of the primary has a wrong checksum")),
    }
}

/// Runs `work` on another thread, with signs of life for the primary meanwhile.
async fn patiently<T: Send + 'static, E: Into<io::Error> + Send + 'static>(
    wire: &mut Wire,
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> io::Result<T> {
    let mut work = tokio::task::spawn_blocking(work);
    loop {
        tokio::select! {
            done = &mut work => {
                return done.map_err(|e| failed(e.to_string()))?.map_err(Into::into);
            }
            () = tokio::time::sleep(Duration::from_secs(1)) => wire.sign_of_life().await?,
        }
    }
}

/// The snapshot's bytes on their way from the socket to the loader.
struct Pipe {
    from: std::sync::mpsc::Receiver<Vec<u8>>,
    chunk: Vec<u8>,
    pos: usize,
}

impl io::Read for Pipe {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.pos == self.chunk.len() {
            // The sender is gone: the end, or a broken link. The loader knows which by what it has.
            let Ok(chunk) = self.from.recv() else { return Ok(0) };
            (self.chunk, self.pos) = (chunk, 0);
        }
        let n = buf.len().min(self.chunk.len() - self.pos);
        buf[..n].copy_from_slice(&self.chunk[self.pos..self.pos + n]);
        self.pos += n;
        Ok(n)
    }
}

/// Loads from the socket into a keyspace.
async fn load_from(
    server: &'static Server,
    into: (&'static Keyspace, &'static Metrics),
    wire: &mut Wire,
    end: &End,
    how: How,
) -> io::Result<Loaded> {
    let (to, from) = std::sync::mpsc::sync_channel(64);
    let pipe = Pipe { from, chunk: Vec::new(), pos: 0 };
    let work = tokio::task::spawn_blocking(move || load::into(server, into, pipe, how).map_err(io::Error::from));
    let gone = || failed("the loader has given up");
    let sent = transfer(server, wire, end, |bytes| to.send(bytes.to_vec()).map_err(|_| gone())).await;
    drop(to);
    let loaded = work.await.map_err(|e| failed(e.to_string()))?;
    // What the loader says is nearer to the cause.
    let loaded = loaded?;
    sent.map(|()| loaded)
}

/// Straight from the socket, in place of the old data.
async fn straight(
    server: &'static Server,
    worker: &mut Worker,
    generation: u64,
    wire: &mut Wire,
    end: &End,
    total: u64,
) -> io::Result<Loaded> {
    check(server, generation)?;
    let _announced = load::Announced::begin(server, total, false);
    tracing::info!("PRIMARY <-> REPLICA sync: Flushing old data");
    worker.flush_all();
    tracing::info!("{LOADING}");
    let result = load_from(server, (server.keyspace, &server.metrics), wire, end, HOW).await;
    if result.is_err() {
        tracing::warn!("{NOT_LOADED}");
        tracing::info!("PRIMARY <-> REPLICA sync: Discarding the half-loaded data");
        worker.flush_all();
    }
    result
}

/// Straight from the socket, beside the old data, which stay until all is there. They serve meanwhile if they are an earlier
/// state of the same history `of.0`; `of.1`: bytes, if known.
async fn aside(
    server: &'static Server,
    worker: &mut Worker,
    generation: u64,
    wire: &mut Wire,
    end: &End,
    of: (&str, u64),
) -> io::Result<Loaded> {
    let same = server.repl.ids().current == of.0;
    let _announced = load::Announced::begin(server, of.1, same);
    tracing::info!("{LOADING}");
    let aside = server.aside();
    // The old functions serve on like the old data.
    let how = How { libraries: None, ..HOW };
    let loaded = load_from(server, (aside.keyspace, &aside.metrics), wire, end, how).await;
    let result = loaded.and_then(|loaded| {
        check(server, generation)?;
        load::take_libraries(server, &loaded, Policy::Flush)?;
        Ok(loaded)
    });
    if result.is_ok() {
        tracing::info!("PRIMARY <-> REPLICA sync: Swapping active DB with loaded DB");
    } else {
        tracing::warn!("{NOT_LOADED}");
        tracing::info!("PRIMARY <-> REPLICA sync: Discarding temporary DB in background");
    }
    worker.take_over(aside, result.is_ok());
    result
}
