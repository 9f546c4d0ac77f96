//! Loading: at the start, from a primary, and for DEBUG RELOAD.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::Ordering::*;

use crate::base::clock;
use crate::commands::Server;
use crate::commands::gate::bits;
use crate::commands::replication::role;
use crate::keyspace::{Keyspace, LogBuf, Target};
use crate::metrics::Metrics;
use crate::persist::rdb::load::{Load, LoadError, Loaded, load};
use crate::script::{Library, Policy};

/// How a file is taken.
#[derive(Debug, Clone, Copy)]
pub struct How {
    /// Keys that are there already are replaced; else they are an error.
    pub replace: bool,
    /// Keys whose time is over are loaded all the same.
    pub keep_expired: bool,
    /// Note which keys are left out.
    pub note_expired: bool,
    /// What becomes of the libraries that are there. None: the caller takes those of the file, later.
    pub libraries: Option<Policy>,
}

impl Default for How {
    fn default() -> How {
        How { replace: false, keep_expired: false, note_expired: false, libraries: Some(Policy::Flush) }
    }
}

/// Loads an RDB file into a keyspace, on all cores. Says nothing to clients: see [`Announced`].
pub fn into(
    server: &'static Server,
    (ks, metrics): (&'static Keyspace, &Metrics),
    reader: impl Read,
    how: How,
) -> Result<Loaded, LoadError> {
    let spares: Vec<_> = (0..server.config.workers().max(1)).map(|_| metrics.spare()).collect();
    let stats: Vec<_> = spares.iter().map(|s| s.stats).collect();
    let load_how = Load {
        into: ks,
        tuning: server.tuning(),
        limits: server.limits(),
        now: clock::now_ms(),
        keep_expired: how.keep_expired,
        note_expired: how.note_expired,
        replace: how.replace,
        checksum: server.config.rdbchecksum(),
        delay_us: server.config.key_load_delay(),
        progress: &server.loading.done,
    };
    let mut result = load(reader, load_how, &stats);
    if let Ok(loaded) = &result
        && let Some(policy) = how.libraries
        && let Err(e) = take_libraries(server, loaded, policy)
    {
        result = Err(e);
    }
    if let Ok(loaded) = &result {
        server.loading.last_keys.store(loaded.keys, Release);
        server.loading.last_expired.store(loaded.expired, Release);
    }
    result
}

/// A snapshot tells all libraries of functions that there are.
pub fn take_libraries(server: &Server, loaded: &Loaded, policy: Policy) -> Result<(), LoadError> {
    let refused = |e: Vec<u8>| {
        LoadError::Bad(loaded.bytes, format!("Failed creating the library: {}", String::from_utf8_lossy(&e)))
    };
    let found = loaded.functions.iter().map(|text| Library::examine(text, false)).collect::<Result<Vec<_>, _>>();
    server.libraries.restore(found.map_err(refused)?, policy).map_err(refused)
}

/// While it lives, clients are told that data are being loaded.
pub struct Announced(&'static Server);

impl Announced {
    /// Loading begins. `total`: bytes, if known. `aside`: the old data serve on.
    pub fn begin(server: &'static Server, total: u64, aside: bool) -> Announced {
        server.loading.begin(total, aside);
        server.gate.set(if aside { bits::ASIDE } else { bits::LOADING }, true);
        Announced(server)
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        self.0.loading.end();
        self.0.gate.set(bits::LOADING | bits::ASIDE, false);
    }
}

/// Loads the snapshot at the start, if there is one. The error says which file, and what is wrong with it.
pub fn at_start(server: &'static Server) -> Result<(), String> {
    let path = super::save::path(server);
    let failed = |e: &dyn std::fmt::Display| {
        format!("Fatal error loading the DB, check server logs. Exiting: {}: {e}", path.display())
    };
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed(&e)),
    };
    let total = file.metadata().map(|m| m.len()).map_err(|e| failed(&e))?;
    let _announced = Announced::begin(server, total, false);
    let start = clock::mono_ns();
    let is_replica = server.repl.link.is_replica();
    let how = How { keep_expired: is_replica, note_expired: !is_replica, ..How::default() };
    let loaded = into(server, (server.keyspace, &server.metrics), file, how).map_err(|e| failed(&e))?;
    let seconds = (clock::mono_ns() - start) as f64 / 1e9;
    tracing::info!(
        "Done loading RDB, keys loaded: {}, keys expired: {}, empty keys skipped: {}. DB loaded from disk: {seconds:.3} seconds",
        loaded.keys,
        loaded.expired,
        loaded.empty
    );
    server.snapshots.saved_changes.store(server.dirty(), Release);
    resume_history(server, &loaded);
    Ok(())
}

/// Whoever restarts goes on with the history that the snapshot belongs to.
fn resume_history(server: &'static Server, loaded: &Loaded) {
    let (Some(id), Some(offset)) = (loaded.aux("repl-id"), loaded.aux("repl-offset").and_then(|o| o.parse().ok()))
    else {
        return;
    };
    if id.len() != 40 {
        return;
    }
    if server.repl.link.is_replica() {
        server.repl.adopt(id);
        server.repl.log.restart(offset);
        server.repl.link.blank.store(false, Release);
        return;
    }
    // A primary begins a history that continues the old one: replicas that have all of that can go on without a snapshot.
    server.repl.log.restart(offset);
    server.repl.continue_from(id, offset, clock::now_ms());
    server.repl.log.start();
    role::review_log(server);
    let mut gone = LogBuf::default();
    for (db, key) in &loaded.expired_keys {
        gone.push(*db, &[b"DEL", key], Target::Replicas);
        gone.close_group();
    }
    if !gone.is_empty() {
        server.keyspace.hooks.append(&mut gone);
    }
    tracing::info!("Replication history {id} goes on at offset {}", server.repl.log.end());
}

/// Opens a file that was written for this purpose, with its length.
pub fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    Ok((file, length))
}
