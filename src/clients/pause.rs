//! CLIENT PAUSE: commands are held back for a time, all of them or only writes.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::*};

use parking_lot::Mutex;

/// What a pause holds back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PauseKind {
    /// Writes, and what may replicate.
    Write,
    /// Everything.
    All,
}

/// The pause in force, if any.
#[derive(Debug, Default)]
pub struct Pause {
    /// Unix ms until which writes are held back; 0: not. The hot path looks at these two.
    write_until: AtomicI64,
    all_until: AtomicI64,
    /// Counts changes, so that waiting connections look again.
    changes: AtomicU64,
    lock: Mutex<()>,
}

impl Pause {
    /// Begins a pause, or makes the one in force longer and stricter; it never shortens it.
    pub fn start(&self, kind: PauseKind, until: i64) {
        let _guard = self.lock.lock();
        if kind == PauseKind::All {
            self.all_until.fetch_max(until, AcqRel);
        }
        self.write_until.fetch_max(until, AcqRel);
        self.changes.fetch_add(1, AcqRel);
    }
    /// Ends the pause.
    pub fn end(&self) {
        let _guard = self.lock.lock();
        self.all_until.store(0, Release);
        self.write_until.store(0, Release);
        self.changes.fetch_add(1, AcqRel);
    }
    /// Whether any pause may be in force: cheap, and false nearly always.
    #[inline]
    pub fn is_set(&self) -> bool {
        self.write_until.load(Relaxed) != 0
    }
    /// What is held back at `now`.
    pub fn kind(&self, now: i64) -> Option<PauseKind> {
        if self.all_until.load(Acquire) > now {
            Some(PauseKind::All)
        } else if self.write_until.load(Acquire) > now {
            Some(PauseKind::Write)
        } else {
            None
        }
    }
    /// Unix ms at which the pause ends by itself.
    pub fn until(&self) -> i64 {
        self.write_until.load(Acquire)
    }
    /// Forgets a pause whose time is over. True if there was one.
    pub fn lapse(&self, now: i64) -> bool {
        self.is_set() && self.kind(now).is_none() && {
            self.end();
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_pause_never_shortens_or_softens_the_first() {
        let p = Pause::default();
        p.start(PauseKind::All, 100);
        p.start(PauseKind::Write, 50);
        assert_eq!(p.kind(60), Some(PauseKind::All));
        p.start(PauseKind::Write, 200);
        assert_eq!((p.kind(99), p.kind(150), p.kind(200)), (Some(PauseKind::All), Some(PauseKind::Write), None));
        assert!(p.lapse(200) && !p.is_set());
    }
}
