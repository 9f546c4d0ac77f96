//! DEBUG RELOAD and LOADAOF: the data go to disk and come back.

use std::fs::File;

use crate::commands::options::is;
use crate::commands::persistence::{load, save};
use crate::commands::{CmdResult, Ctx};
use crate::resp::Error;
use crate::script::Policy;

/// `DEBUG RELOAD [MERGE] [NOFLUSH] [NOSAVE]`
pub(super) fn reload(cx: &mut Ctx<'_>, options: &[&[u8]]) -> CmdResult {
    let (mut flush, mut save, mut merge) = (true, true, false);
    for option in options {
        match () {
            () if is(option, "MERGE") => merge = true,
            () if is(option, "NOFLUSH") => flush = false,
            () if is(option, "NOSAVE") => save = false,
            () => return Err(Error::new("ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.")),
        }
    }
    // A transaction holds the locks that this needs.
    if !cx.db.held().is_empty() {
        return Err(Error::new("ERR DEBUG RELOAD is not allowed inside a transaction"));
    }
    let server = cx.server;
    // From here on nobody else changes anything.
    let announced = load::Announced::begin(server, 0, false);
    if save {
        let mut tries = 0;
        while let Err(e) = save::save_now(server) {
            // A snapshot that is under way ends.
            if e.kind() != std::io::ErrorKind::ResourceBusy || tries >= 5000 {
                return Err(Error::owned(format!("ERR {e}")));
            }
            tries += 1;
            crate::base::clock::pause_us(1000);
        }
    }
    if flush {
        flush_all(cx);
    }
    let failed = |e: &dyn std::fmt::Display| {
        tracing::warn!("DEBUG RELOAD: {e}");
        Error::new("ERR Error trying to load the RDB dump, check server logs.")
    };
    let file = File::open(save::path(server)).map_err(|e| failed(&e))?;
    let libraries = match (flush, merge) {
        (true, _) => Policy::Flush,
        (false, true) => Policy::Replace,
        (false, false) => Policy::Append,
    };
    let how = load::How { replace: merge, libraries: Some(libraries), ..load::How::default() };
    let into = (server.keyspace, &server.metrics);
    let loaded = load::into(server, into, file, how);
    drop(announced);
    loaded.map_err(|e| failed(&e))?;
    tracing::info!("DB reloaded by DEBUG RELOAD");
    cx.out.ok();
    Ok(())
}

/// Removes everything, without a word in the log.
pub(super) fn flush_all(cx: &mut Ctx<'_>) {
    cx.db.held().lock_all();
    for db in 0..cx.db.keyspace().databases() {
        cx.db.other(db).flush(false);
    }
    cx.db.held().unlock();
    cx.db.fx.flushed = false;
}

/// `DEBUG LOADAOF`: what is in the append-only file takes the place of the data.
pub(super) fn load_aof(cx: &mut Ctx<'_>) -> CmdResult {
    if !cx.db.held().is_empty() {
        return Err(Error::new("ERR DEBUG LOADAOF is not allowed inside a transaction"));
    }
    let server = cx.server;
    let failed = || Error::new("ERR Error trying to load the AOF files, check server logs.");
    let Some(replay) = server.replay.get() else { return Err(failed()) };
    // Without one the files are what a rewrite left.
    let writer = server.aof.writer();
    // From here on nobody else changes anything.
    let announced = load::Announced::begin(server, 0, false);
    if let Some(writer) = &writer {
        let mut tries = 0;
        while (writer.pending() > 0 || writer.synced() < server.repl.log.end()) && tries < 50_000 {
            crate::base::clock::pause_us(100);
            tries += 1;
        }
        server.repl.log.set_file(None);
        crate::commands::replication::role::review_log(server);
    }
    flush_all(cx);
    let loaded = replay(server);
    if let Some(writer) = writer {
        crate::commands::persistence::aof::attach_again(server, writer);
    }
    drop(announced);
    loaded.map_err(|e| {
        tracing::warn!("DEBUG LOADAOF: {e}");
        failed()
    })?;
    cx.out.ok();
    Ok(())
}
