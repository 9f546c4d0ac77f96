//! States of the server in which it does not take every command.
//!
//! The hot path looks at one word, which is zero on a primary that is well; what follows from a bit is worked out only
//! then.

use std::sync::atomic::{AtomicU32, Ordering::*};

/// What is the matter, as bits.
#[allow(missing_docs)]
pub mod bits {
    /// The data are being loaded: commands that need them are refused.
    pub const LOADING: u32 = 1 << 0;
    /// This node is a replica: it takes writes from its primary, and removes no key by itself.
    pub const REPLICA: u32 = 1 << 1;
    /// The link to the primary is down.
    pub const STALE: u32 = 1 << 2;
    /// Too few replicas are in step (`min-replicas-to-write`).
    pub const FEW_REPLICAS: u32 = 1 << 3;
    /// The last snapshot could not be written, and writes are to stop then.
    pub const SNAPSHOT: u32 = 1 << 4;
    /// The append-only file can not be written.
    pub const FILE: u32 = 1 << 5;
    /// A script has run for longer than `busy-reply-threshold`: few commands are taken meanwhile.
    pub const BUSY: u32 = 1 << 6;
    /// The data are being loaded beside the old ones, which serve: only what works on all of them is refused.
    pub const ASIDE: u32 = 1 << 7;
}

/// The word.
#[derive(Debug, Default)]
pub struct Gate(AtomicU32);

impl Gate {
    /// All bits.
    #[inline]
    pub fn bits(&self) -> u32 {
        self.0.load(Relaxed)
    }
    /// Whether a bit is set.
    #[inline]
    pub fn has(&self, bit: u32) -> bool {
        self.bits() & bit != 0
    }
    /// Sets or clears a bit.
    pub fn set(&self, bit: u32, on: bool) {
        if on {
            self.0.fetch_or(bit, AcqRel);
        } else {
            self.0.fetch_and(!bit, AcqRel);
        }
    }
}
