//! DEBUG RELOAD: the data go to disk and come back.

use std::fs::File;
use std::sync::atomic::AtomicBool;

use crate::commands::options::is;
use crate::commands::persistence::{load, save};
use crate::commands::{CmdResult, Ctx};
use crate::resp::Error;

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
        save::save_now(server).map_err(|e| Error::owned(format!("ERR {e}")))?;
    }
    if flush {
        flush_all(cx);
    }
    let failed = |e: &dyn std::fmt::Display| {
        tracing::warn!("DEBUG RELOAD: {e}");
        Error::new("ERR Error trying to load the RDB dump, check server logs.")
    };
    let file = File::open(save::path(server)).map_err(|e| failed(&e))?;
    let how = load::How { replace: merge, keep_expired: false };
    let into = (server.keyspace, &server.metrics);
    let loaded = load::into(server, into, file, how, &AtomicBool::new(false));
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
