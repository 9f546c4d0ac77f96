//! The snapshot that a primary sends: received into a file or straight from the socket, loaded, and only then believed.
//!
//! The old data serve on until the new are known to be whole, where that is possible: with a file its checksum is
//! verified before anything is removed; with `repl-diskless-load swapdb` the new data are loaded beside the old.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::Ordering::*;

use bytes::{Buf, Bytes};

use super::link::{Wire, failed};
use crate::base::clock;
use crate::commands::Server;
use crate::commands::gate::bits;
use crate::commands::replication::role;
use crate::exec::Worker;

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
    link.bulk_read.store(0, Relaxed);
    link.bulk_total.store(if let End::Length(n) = end { n as i64 } else { 0 }, Relaxed);
    let path = PathBuf::from(format!("temp-{}.{}.rdb", clock::now_ms(), std::process::id()));
    let mut file = Temporary::create(path)?;
    transfer(server, wire, &end, |bytes| file.file.write_all(bytes)).await?;
    file.file.sync_all()?;
    if link.generation() != generation {
        return Err(failed("another primary is to be followed"));
    }
    server.gate.set(bits::LOADING, true);
    role::disconnect_replicas(server);
    worker.flush_all();
    let loaded = load_all(server, worker, &fs::read(&file.path)?);
    server.gate.set(bits::LOADING, false);
    loaded?;
    server.repl.adopt(id);
    server.repl.log.restart(offset);
    server.repl.log.start();
    file.keep = false;
    Ok(())
}

/// Loads the bytes of a whole file.
fn load_all(server: &'static Server, worker: &mut Worker, bytes: &[u8]) -> io::Result<()> {
    use crate::persist::rdb::{Reader, opcode, read_value};
    let bad = |_| failed("bad snapshot");
    let mut r = Reader::new(bytes.get(9..).ok_or_else(|| failed("short"))?);
    let (mut db, mut expiry) = (0usize, -1i64);
    loop {
        let head = r.rest().first().copied().ok_or_else(|| failed("short"))?;
        match head {
            opcode::EOF => return Ok(()),
            opcode::SELECTDB => {
                r.byte().map_err(bad)?;
                db = r.plain_len().map_err(bad)? as usize;
            }
            opcode::RESIZEDB => {
                r.byte().map_err(bad)?;
                r.plain_len().map_err(bad)?;
                r.plain_len().map_err(bad)?;
            }
            opcode::AUX => {
                r.byte().map_err(bad)?;
                r.string().map_err(bad)?;
                r.string().map_err(bad)?;
            }
            opcode::FUNCTION2 => {
                r.byte().map_err(bad)?;
                r.string().map_err(bad)?;
            }
            opcode::EXPIRETIME_MS => {
                r.byte().map_err(bad)?;
                expiry = i64::from_le_bytes(r.take(8).map_err(bad)?.try_into().map_err(|_| failed("x"))?);
            }
            opcode::IDLE => {
                r.byte().map_err(bad)?;
                r.plain_len().map_err(bad)?;
            }
            opcode::FREQ => {
                r.take(2).map_err(bad)?;
            }
            kind => {
                r.byte().map_err(bad)?;
                let key = r.string().map_err(bad)?;
                let mut rest = vec![kind];
                rest.extend_from_slice(r.rest());
                let mut vr = Reader::new(&rest);
                let value = read_value(&mut vr, &server.limits(), 0).map_err(bad)?;
                let used = rest.len() - 1 - vr.rest().len();
                r.take(used).map_err(bad)?;
                worker.load(db, &key, value, std::mem::replace(&mut expiry, -1));
            }
        }
    }
}
