//! What DEBUG can set, for the parts of the server that look at it.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize};

/// After this many ms the peak of a reply buffer starts over, unless DEBUG says otherwise.
pub const PEAK_RESET_MS: i64 = 5000;

/// Settings of DEBUG.
#[derive(Debug)]
pub struct Switches {
    /// Whether expired keys are removed in the background.
    pub active_expire: AtomicBool,
    /// Whether periodic work stands still.
    pub pause_cron: AtomicBool,
    /// Elements of at least this many bytes get a node of their own in a list; 0: the default.
    pub packed_threshold: AtomicUsize,
    /// Ms after which the peak of a reply buffer starts over; -1: never.
    pub reply_peak_reset_ms: AtomicI64,
    /// Whether reply buffers are made smaller.
    pub reply_resizing: AtomicBool,
    /// Scripts may call every command.
    pub allow_all_in_scripts: AtomicBool,
    /// Microseconds to wait before each write to the append-only file.
    pub aof_delay_us: AtomicU64,
    /// RESTORE takes payloads whose checksum is wrong.
    pub skip_checksum: AtomicBool,
    /// Packets of the cluster bus of this type are dropped when they come; -1: none.
    pub dropped_packets: AtomicI64,
    /// The link over which a dropped packet came is closed.
    pub close_on_drop: AtomicBool,
    /// Seconds that a replica with two connections has to ask for the log once the one with the snapshot is gone.
    pub rdb_client_grace: AtomicI64,
}

impl Default for Switches {
    fn default() -> Switches {
        Switches {
            active_expire: AtomicBool::new(true),
            pause_cron: AtomicBool::new(false),
            packed_threshold: AtomicUsize::new(0),
            reply_peak_reset_ms: AtomicI64::new(PEAK_RESET_MS),
            reply_resizing: AtomicBool::new(true),
            allow_all_in_scripts: AtomicBool::new(false),
            aof_delay_us: AtomicU64::new(0),
            skip_checksum: AtomicBool::new(false),
            dropped_packets: AtomicI64::new(-1),
            close_on_drop: AtomicBool::new(false),
            rdb_client_grace: AtomicI64::new(60),
        }
    }
}
