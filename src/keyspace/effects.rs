//! What follows from a command beside its reply: gathered while it runs, carried out by `exec` before (log) or after
//! (everything else) the locks are dropped.

/// Classes of keyspace notifications, as `notify-keyspace-events` has them.
#[allow(missing_docs)]
pub mod notify {
    pub const KEYSPACE: u32 = 1 << 0;
    pub const KEYEVENT: u32 = 1 << 1;
    pub const GENERIC: u32 = 1 << 2;
    pub const STRING: u32 = 1 << 3;
    pub const LIST: u32 = 1 << 4;
    pub const SET: u32 = 1 << 5;
    pub const HASH: u32 = 1 << 6;
    pub const ZSET: u32 = 1 << 7;
    pub const EXPIRED: u32 = 1 << 8;
    pub const EVICTED: u32 = 1 << 9;
    pub const STREAM: u32 = 1 << 10;
    pub const KEY_MISS: u32 = 1 << 11;
    pub const MODULE: u32 = 1 << 13;
    pub const NEW: u32 = 1 << 14;
    /// `A`: everything but key misses and new keys.
    pub const ALL: u32 = GENERIC | STRING | LIST | SET | HASH | ZSET | EXPIRED | EVICTED | STREAM | MODULE;
}

/// A keyspace notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The event's name.
    pub name: &'static str,
    /// The database.
    pub db: usize,
    /// The key.
    pub key: Vec<u8>,
    /// Its class, a bit of [`notify`].
    pub class: u32,
}

/// A command for the replication log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// The database it applies to.
    pub db: usize,
    /// Its arguments.
    pub argv: Vec<Vec<u8>>,
}

/// What follows from a command.
#[derive(Debug, Default)]
pub struct Effects {
    /// Changes so far. A command that leaves it alone was no write.
    pub dirty: u64,
    /// Which notifications somebody wants.
    pub notify_mask: u32,
    /// Notifications to publish.
    pub events: Vec<Event>,
    /// Keys that appeared and that clients are blocked for.
    pub ready: Vec<(usize, Vec<u8>)>,
    /// Whether the replication log takes entries. Nothing is gathered for it otherwise.
    pub logging: bool,
    /// Commands to log before the command's own form: removals of expired keys, and explicit effects.
    pub log: Vec<Logged>,
    /// A transaction is under way: its effects are logged together at its end.
    pub in_transaction: bool,
    /// The command said itself what to log.
    pub replaced: bool,
    /// Expired keys are hidden but stay: during CLIENT PAUSE nothing may change.
    pub keep_expired: bool,
    /// Whether clients track keys.
    pub tracking: bool,
    /// Keys whose cached copies are out of date.
    pub invalidated: Vec<Vec<u8>>,
    /// A whole database changed.
    pub flushed: bool,
}

impl Effects {
    /// Whether notifications of this class are wanted.
    #[inline]
    pub fn wants(&self, class: u32) -> bool {
        self.notify_mask & class != 0
    }
    /// Logs this in place of the command itself. May be called several times.
    pub fn replace(&mut self, db: usize, argv: &[&[u8]]) {
        self.replaced = true;
        if self.logging {
            self.log.push(Logged { db, argv: argv.iter().map(|a| a.to_vec()).collect() });
        }
    }
    /// Logs nothing for the command.
    pub fn suppress(&mut self) {
        self.replaced = true;
    }
    /// An expired or evicted key is logged as its removal.
    pub(super) fn propagate_removal(&mut self, db: usize, key: &[u8], lazy: bool) {
        if self.logging {
            let verb: &[u8] = if lazy { b"UNLINK" } else { b"DEL" };
            self.log.push(Logged { db, argv: vec![verb.to_vec(), key.to_vec()] });
        }
    }
    /// Whether anything is left to carry out.
    #[inline]
    pub fn is_quiet(&self) -> bool {
        self.events.is_empty() && self.ready.is_empty() && self.invalidated.is_empty() && !self.flushed
    }
}
