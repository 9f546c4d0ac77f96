//! CLIENT PAUSE: commands are held back for a time, all of them or only writes. A slot that changes its owner holds back
//! the writes to itself alone.

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
    /// Unix ms until which writes to `slots` are held back; 0: not.
    slots_until: AtomicI64,
    /// Ranges, both ends included.
    slots: Mutex<Vec<(u16, u16)>>,
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
    /// Holds back writes to these ranges of slots, both ends included. Another such pause gives way to it.
    pub fn start_slots(&self, ranges: Vec<(u16, u16)>, until: i64) {
        let _guard = self.lock.lock();
        *self.slots.lock() = ranges;
        self.slots_until.store(until, Release);
        self.changes.fetch_add(1, AcqRel);
    }
    /// Ends the pause of slots.
    pub fn end_slots(&self) {
        let _guard = self.lock.lock();
        self.slots_until.store(0, Release);
        self.changes.fetch_add(1, AcqRel);
    }
    /// Whether writes to slots are held back at `now`.
    #[inline]
    pub fn holds_slots(&self, now: i64) -> bool {
        self.slots_until.load(Acquire) > now
    }
    /// Whether writes to this slot are held back, as long as [`Pause::holds_slots`].
    pub fn holds_slot(&self, slot: u16) -> bool {
        self.slots.lock().iter().any(|&(first, last)| (first..=last).contains(&slot))
    }
    /// Changes with every beginning and end of a pause.
    #[inline]
    pub fn version(&self) -> u64 {
        self.changes.load(Acquire)
    }
    /// Ends the pause of all slots.
    pub fn end(&self) {
        let _guard = self.lock.lock();
        self.all_until.store(0, Release);
        self.write_until.store(0, Release);
        self.changes.fetch_add(1, AcqRel);
    }
    /// Whether any pause may be in force: cheap, and false nearly always.
    #[inline]
    pub fn is_set(&self) -> bool {
        self.write_until.load(Relaxed) != 0 || self.slots_until.load(Relaxed) != 0
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
        self.write_until.load(Acquire).max(self.slots_until.load(Acquire))
    }
    /// Forgets a pause whose time is over. True if there was one.
    pub fn lapse(&self, now: i64) -> bool {
        let over = |until: &AtomicI64| (1..=now).contains(&until.load(Acquire));
        let (all, slots) = (over(&self.write_until), over(&self.slots_until));
        if all && self.kind(now).is_none() {
            self.end();
        }
        if slots {
            self.end_slots();
        }
        all || slots
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_held_back_beside_everything_else() {
        let p = Pause::default();
        let before = p.version();
        p.start_slots(vec![(3, 5), (9, 9)], 100);
        assert!(p.is_set() && p.version() != before && p.holds_slots(99) && !p.holds_slots(100));
        assert_eq!((p.kind(50), p.until()), (None, 100));
        assert!([3, 5, 9].into_iter().all(|s| p.holds_slot(s)) && ![2, 6, 10].into_iter().any(|s| p.holds_slot(s)));
        p.start(PauseKind::Write, 50);
        assert!(p.lapse(60) && p.holds_slots(60) && p.is_set());
        assert!(p.lapse(100) && !p.is_set() && !p.lapse(100));
    }

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
