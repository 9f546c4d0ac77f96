//! Snapshots and the append-only file.

use crate::config::enums::FSYNC;
use crate::config::kind::Kind::*;
use crate::config::row::*;

const I32: i64 = i32::MAX as i64;

rows! {
    /// Snapshot after so many seconds with so many changes; "" for never.
    "save": Save, = "3600 1 300 100 60 10000", MUTABLE;
    /// The name of the snapshot file.
    "dbfilename": Text(dbfilename), = "dump.rdb", MUTABLE | PROTECTED, dbfilename -> Vec<u8>;
    /// Refuse writes after a failed snapshot.
    "stop-writes-on-bgsave-error": Bool, = "yes", MUTABLE, stop_writes_on_bgsave_error -> bool;
    /// Compress strings in snapshots.
    "rdbcompression": Bool, = "yes", MUTABLE, rdbcompression -> bool;
    /// End snapshots with a checksum.
    "rdbchecksum": Bool, = "yes", IMMUTABLE, rdbchecksum -> bool;
    /// Remove snapshots that were only made for replicas.
    "rdb-del-sync-files": Bool, = "no", MUTABLE | DORMANT;
    /// Write snapshots to disk in steps.
    "rdb-save-incremental-fsync": Bool, = "yes", MUTABLE, rdb_save_incremental_fsync -> bool;
    /// Microseconds to wait after each saved key, for tests.
    "rdb-key-save-delay": Int(i32::MIN as i64, I32), = "0", MUTABLE | HIDDEN, rdb_key_save_delay -> i64;
    /// Microseconds to wait after each loaded key, for tests.
    "key-load-delay": Int(i32::MIN as i64, I32), = "0", MUTABLE | HIDDEN, key_load_delay -> i64;
    /// Bytes loaded between looks at clients, for tests.
    "loading-process-events-interval-bytes": Int(1024, I32), = "2097152", MUTABLE | HIDDEN | DORMANT;
    /// Log every write to a file.
    "appendonly": Bool, = "no", MUTABLE | NOT_WHILE_LOADING, appendonly -> bool;
    /// The base name of the append-only files.
    "appendfilename": Text(appendfilename), = "appendonly.aof", IMMUTABLE, appendfilename -> Vec<u8>;
    /// The directory of the append-only files.
    "appenddirname": Text(appenddirname), = "appendonlydir", IMMUTABLE, appenddirname -> Vec<u8>;
    /// How often the append-only file is forced to disk.
    "appendfsync": Enum(FSYNC), = "everysec", MUTABLE, appendfsync -> i64;
    /// Do not force to disk while a rewrite runs.
    "no-appendfsync-on-rewrite": Bool, = "no", MUTABLE, no_appendfsync_on_rewrite -> bool;
    /// Growth in percent that starts a rewrite; 0 for none.
    "auto-aof-rewrite-percentage": Int(0, I32), = "100", MUTABLE, auto_aof_rewrite_percentage -> u32;
    /// Least size that starts a rewrite.
    "auto-aof-rewrite-min-size": Memory(0, i64::MAX), = "67108864", MUTABLE, auto_aof_rewrite_min_size -> i64;
    /// Load a file whose end is cut off.
    "aof-load-truncated": Bool, = "yes", MUTABLE, aof_load_truncated -> bool;
    /// Start a rewritten file with a snapshot.
    "aof-use-rdb-preamble": Bool, = "yes", MUTABLE, aof_use_rdb_preamble -> bool;
    /// Note times in the file.
    "aof-timestamp-enabled": Bool, = "no", MUTABLE, aof_timestamp_enabled -> bool;
    /// Write a rewritten file to disk in steps.
    "aof-rewrite-incremental-fsync": Bool, = "yes", MUTABLE, aof_rewrite_incremental_fsync -> bool;
    /// Keep replaced append-only files, for tests.
    "aof-disable-auto-gc": Bool, = "no", MUTABLE | HIDDEN, aof_disable_auto_gc -> bool;
}

/// A file name without a directory.
fn base_name(text: &[u8], empty: &'static str, path: &'static str) -> Result<(), &'static str> {
    if text.is_empty() {
        Err(empty)
    } else if text.contains(&b'/') {
        Err(path)
    } else {
        Ok(())
    }
}

fn dbfilename(text: &[u8]) -> Result<(), &'static str> {
    base_name(text, "dbfilename can't be empty", "dbfilename can't be a path, just a filename")
}

fn appendfilename(text: &[u8]) -> Result<(), &'static str> {
    base_name(text, "appendfilename can't be empty", "appendfilename can't be a path, just a filename")
}

fn appenddirname(text: &[u8]) -> Result<(), &'static str> {
    base_name(text, "appenddirname can't be empty", "appenddirname can't be a path, just a dirname")
}
