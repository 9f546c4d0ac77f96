//! What is known of the connection to a primary: whom to follow, and how far that is.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, AtomicUsize, Ordering::*};

use parking_lot::Mutex;

/// A primary to follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Primary {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// How far the link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum LinkState {
    /// This node is no replica.
    None = 0,
    /// To be connected.
    Connect = 1,
    /// Connecting.
    Connecting = 2,
    /// Speaking about what is to come.
    Handshake = 3,
    /// Receiving or loading a snapshot.
    Sync = 4,
    /// In step.
    Connected = 5,
}

impl LinkState {
    /// As ROLE has it.
    pub fn name(self) -> &'static str {
        match self {
            LinkState::None => "none",
            LinkState::Connect => "connect",
            LinkState::Connecting => "connecting",
            LinkState::Handshake => "handshake",
            LinkState::Sync => "sync",
            LinkState::Connected => "connected",
        }
    }
}

/// The link to a primary.
#[derive(Debug, Default)]
pub struct Link {
    primary: Mutex<Option<Primary>>,
    is_replica: AtomicBool,
    state: AtomicU8,
    /// Counts changes of the primary: a driver that works for an older one stops.
    generation: AtomicU64,
    /// When the primary last sent anything, unix ms.
    pub last_io: AtomicI64,
    /// Since when the link is down, unix ms; 0: it is up, or never was.
    pub down_since: AtomicI64,
    /// Bytes of the snapshot: how many there are (-1: unknown) and how many came.
    pub bulk_total: AtomicI64,
    /// See `bulk_total`.
    pub bulk_read: AtomicI64,
    /// When the last of them came, unix ms.
    pub bulk_at: AtomicI64,
    /// Bytes of the primary's stream that came and are not applied yet.
    pub ahead: AtomicU64,
    /// Bytes of the primary's stream that came over another connection than the snapshot under way, and wait for its end;
    /// and the most that ever did.
    pub buffered: AtomicU64,
    /// See `buffered`.
    pub buffered_peak: AtomicU64,
    /// The database that the primary's stream has selected: a stream that is resumed does not say it again.
    pub selected: AtomicUsize,
    /// This node has no history that a primary could know: it has just started, and empty.
    pub blank: AtomicBool,
    /// PSYNC is to tell the primary to take over (FAILOVER).
    pub hand_over: AtomicBool,
}

impl Link {
    /// Whom this node follows.
    pub fn primary(&self) -> Option<Primary> {
        self.primary.lock().clone()
    }
    /// Whether this node is a replica.
    #[inline]
    pub fn is_replica(&self) -> bool {
        self.is_replica.load(Relaxed)
    }
    /// Follows another primary, or nobody. All slots are held.
    pub fn set_primary(&self, primary: Option<Primary>) {
        let mut current = self.primary.lock();
        self.is_replica.store(primary.is_some(), Release);
        self.set_state(if primary.is_some() { LinkState::Connect } else { LinkState::None });
        *current = primary;
        self.generation.fetch_add(1, AcqRel);
        self.down_since.store(0, Release);
    }
    /// Changes whenever the primary does.
    pub fn generation(&self) -> u64 {
        self.generation.load(Acquire)
    }
    /// How far it is.
    pub fn state(&self) -> LinkState {
        match self.state.load(Acquire) {
            0 => LinkState::None,
            1 => LinkState::Connect,
            2 => LinkState::Connecting,
            3 => LinkState::Handshake,
            4 => LinkState::Sync,
            _ => LinkState::Connected,
        }
    }
    /// It is this far.
    pub fn set_state(&self, state: LinkState) {
        self.state.store(state as u8, Release);
    }
}
