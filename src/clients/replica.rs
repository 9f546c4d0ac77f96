//! What is known of a connection that follows us as a replica.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering::*};

use parking_lot::Mutex;

/// How far a replica is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// It has said things about itself, but not asked for data.
    Hello = 0,
    /// It waits for a snapshot to begin.
    WaitStart = 1,
    /// It waits for the end of a snapshot under way, or gets one as it is made.
    WaitEnd = 2,
    /// It gets a snapshot from a file.
    Bulk = 3,
    /// It gets the log.
    Online = 4,
    /// It gets the log while it loads a snapshot that comes over another connection, and applies nothing yet.
    Background = 5,
}

impl Stage {
    /// As INFO and ROLE have it.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Hello | Stage::WaitStart | Stage::WaitEnd => "wait_bgsave",
            Stage::Bulk => "send_bulk",
            Stage::Online => "online",
            Stage::Background => "bg_transfer",
        }
    }
}

/// What a replica told of itself.
#[derive(Debug, Default, Clone)]
pub struct Hello {
    /// REPLCONF listening-port
    pub port: u16,
    /// REPLCONF ip-address
    pub address: String,
    /// REPLCONF capa eof: it takes a snapshot of unknown length.
    pub eof: bool,
    /// REPLCONF capa psync2
    pub psync2: bool,
    /// REPLCONF capa slot-sets: it understands CLUSTER SYNCSLOTS OWNER.
    pub slot_sets: bool,
    /// REPLCONF capa dual-channel: it takes snapshot and log over two connections.
    pub dual_channel: bool,
    /// REPLCONF rdb-channel 1: this is the one for the snapshot, and the log will follow another.
    pub rdb_channel: bool,
    /// REPLCONF set-rdb-client-id: this is the one for the log; that client gets the snapshot. 0: it is not.
    pub rdb_client: u64,
    /// REPLCONF version: `0x00MMmmpp`; 0: it did not say.
    pub version: u32,
    /// REPLCONF rdb-only 1: it wants a snapshot and no log.
    pub rdb_only: bool,
    /// REPLCONF rdb-filter-only: parts it wants, `None` for all.
    pub filter: Option<Filter>,
}

/// Which parts of a snapshot a replica wants.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Filter {
    /// Function libraries.
    pub functions: bool,
}

/// A replica. The numbers are written by its connection and read by anyone.
#[derive(Debug, Default)]
pub struct Replica {
    /// What it told.
    pub hello: Mutex<Hello>,
    stage: AtomicU8,
    /// The offset up to which it has applied the log.
    pub acked: AtomicU64,
    /// The offset up to which its append-only file is on disk.
    pub acked_file: AtomicU64,
    /// When it last spoke, unix ms.
    pub acked_at: AtomicI64,
    /// It speaks the old SYNC, and sends no acknowledgements.
    pub old: AtomicBool,
    /// Acknowledgements so far.
    pub acks: AtomicU64,
    /// The number of its reader of the log; 0: none yet.
    pub reader: AtomicU64,
    /// When it asked for data, unix ms.
    pub asked_at: AtomicI64,
}

impl Replica {
    /// How far it is.
    pub fn stage(&self) -> Stage {
        match self.stage.load(Acquire) {
            0 => Stage::Hello,
            1 => Stage::WaitStart,
            2 => Stage::WaitEnd,
            3 => Stage::Bulk,
            5 => Stage::Background,
            _ => Stage::Online,
        }
    }
    /// It has come this far.
    pub fn set_stage(&self, stage: Stage) {
        self.stage.store(stage as u8, Release);
    }
}
