//! CLIENT PAUSE: commands are held back for a time, all of them or only writes. A slot that changes its owner, or whose key
//! can not be carried away for all the writes to it, holds back the writes to itself alone.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::*};

use parking_lot::Mutex;

use super::Registry;

/// What a pause holds back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PauseKind {
    /// Writes, and what may replicate.
    Write,
    /// Everything.
    All,
}

/// What a pause is for. Each begins and ends by itself: CLIENT UNPAUSE leaves that of a failover alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PauseReason {
    /// CLIENT PAUSE.
    Command,
    /// SHUTDOWN waits for replicas.
    Shutdown,
    /// A failover by hand waits until its replica has everything.
    Failover,
}

impl PauseReason {
    /// The name in INFO.
    pub fn name(self) -> &'static str {
        match self {
            PauseReason::Command => "client_pause",
            PauseReason::Shutdown => "shutdown_in_progress",
            PauseReason::Failover => "failover_in_progress",
        }
    }
}

/// The pauses in force, if any.
#[derive(Debug, Default)]
pub struct Pause {
    /// Unix ms until which writes are held back, the last of `reasons`; 0: not. The hot path looks at these two.
    write_until: AtomicI64,
    all_until: AtomicI64,
    /// Unix ms until which writes to slots are held back, the last of `slots`; 0: not.
    slots_until: AtomicI64,
    slots: Mutex<Slots>,
    /// Counts changes, so that waiting connections look again.
    changes: AtomicU64,
    reasons: Mutex<Vec<Reasoned>>,
}

/// A pause of all slots: what for, of what, and until when (Unix ms).
#[derive(Debug, Clone, Copy)]
struct Reasoned {
    reason: PauseReason,
    kind: PauseKind,
    until: i64,
}

/// Slots to which writes are held back.
#[derive(Debug, Default)]
struct Slots {
    held: Vec<HeldSlots>,
    numbers: u64,
}

#[derive(Debug)]
struct HeldSlots {
    number: u64,
    /// Both ends included.
    ranges: Vec<(u16, u16)>,
    /// Unix ms.
    until: i64,
}

impl Slots {
    /// The number of the new hold.
    fn add(&mut self, ranges: Vec<(u16, u16)>, until: i64) -> u64 {
        self.numbers += 1;
        self.held.push(HeldSlots { number: self.numbers, ranges, until });
        self.numbers
    }
    fn of(&self, slot: u16) -> impl Iterator<Item = &HeldSlots> {
        self.held.iter().filter(move |h| h.ranges.iter().any(|&(first, last)| (first..=last).contains(&slot)))
    }
    fn until(&self) -> i64 {
        self.held.iter().map(|h| h.until).max().unwrap_or(0)
    }
}

/// Writes to some slots are held back as long as it lives, but no longer than its time. Whoever relies on it takes the locks of
/// the slots first: then the writes that were under way are through.
pub struct SlotPause<'a> {
    pause: &'a Pause,
    registry: &'a Registry,
    number: u64,
}

impl SlotPause<'_> {
    /// Makes it last until then, Unix ms, if it is not over.
    pub fn extend(&self, until: i64) {
        self.pause.change_slots(|slots| {
            slots.held.iter_mut().filter(|h| h.number == self.number).for_each(|h| h.until = until);
        });
    }
    /// Its number, for [`Pause::holds_slot`].
    pub fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for SlotPause<'_> {
    fn drop(&mut self) {
        self.pause.change_slots(|slots| slots.held.retain(|h| h.number != self.number));
        self.registry.nudge_all();
    }
}

impl Pause {
    /// Begins a pause, or makes the one that is in force at `now` for the same reason longer and stricter; it never shortens it.
    pub fn start(&self, reason: PauseReason, kind: PauseKind, now: i64, until: i64) {
        self.change_reasons(|reasons| match reasons.iter_mut().find(|of| of.reason == reason) {
            // One that is over and was not looked after yet says nothing.
            Some(of) if of.until <= now => (of.kind, of.until) = (kind, until),
            Some(of) => (of.kind, of.until) = (of.kind.max(kind), of.until.max(until)),
            None => reasons.push(Reasoned { reason, kind, until }),
        });
    }
    fn change_reasons(&self, change: impl FnOnce(&mut Vec<Reasoned>)) {
        let mut reasons = self.reasons.lock();
        change(&mut reasons);
        let last = |kind| reasons.iter().filter(|of| of.kind >= kind).map(|of| of.until).max().unwrap_or(0);
        self.all_until.store(last(PauseKind::All), Release);
        self.write_until.store(last(PauseKind::Write), Release);
        self.changes.fetch_add(1, AcqRel);
    }
    /// What is held back at `now`, what for, and for how many more ms: of several reasons the one that lasts longest.
    pub fn longest(&self, now: i64) -> Option<(PauseKind, PauseReason, i64)> {
        let kind = self.kind(now)?;
        let reasons = self.reasons.lock();
        let of = reasons.iter().filter(|of| of.kind >= kind && of.until > now).max_by_key(|of| of.until)?;
        Some((kind, of.reason, of.until - now))
    }
    /// Holds back writes to these ranges of slots, both ends included, until then (Unix ms) at most.
    pub fn hold<'a>(&'a self, registry: &'a Registry, ranges: Vec<(u16, u16)>, until: i64) -> SlotPause<'a> {
        let number = self.change_slots(|slots| slots.add(ranges, until));
        SlotPause { pause: self, registry, number }
    }
    /// Holds back writes to these slots, if nobody else does so.
    pub fn try_hold<'a>(&'a self, registry: &'a Registry, of: &[u16], until: i64) -> Option<SlotPause<'a>> {
        let number = self.change_slots(|slots| {
            let free = of.iter().all(|&slot| slots.of(slot).next().is_none());
            free.then(|| slots.add(of.iter().map(|&slot| (slot, slot)).collect(), until))
        })?;
        Some(SlotPause { pause: self, registry, number })
    }
    fn change_slots<T>(&self, change: impl FnOnce(&mut Slots) -> T) -> T {
        let mut slots = self.slots.lock();
        let result = change(&mut slots);
        self.slots_until.store(slots.until(), Release);
        self.changes.fetch_add(1, AcqRel);
        result
    }
    /// Whether writes to slots are held back at `now`.
    #[inline]
    pub fn holds_slots(&self, now: i64) -> bool {
        self.slots_until.load(Acquire) > now
    }
    /// Whether writes to this slot are held back, as long as [`Pause::holds_slots`], by another pause than that number.
    pub fn holds_slot(&self, slot: u16, but: Option<u64>) -> bool {
        self.slots.lock().of(slot).any(|h| Some(h.number) != but)
    }
    /// Changes with every beginning and end of a pause.
    #[inline]
    pub fn version(&self) -> u64 {
        self.changes.load(Acquire)
    }
    /// Ends the pause for this reason.
    pub fn end(&self, reason: PauseReason) {
        self.change_reasons(|reasons| reasons.retain(|of| of.reason != reason));
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
    /// Forgets pauses whose time is over. True if there was one.
    pub fn lapse(&self, now: i64) -> bool {
        let all = self.write_until.load(Acquire) != 0 && self.reasons.lock().iter().any(|of| of.until <= now);
        if all {
            self.change_reasons(|reasons| reasons.retain(|of| of.until > now));
        }
        let slots = self.slots_until.load(Acquire) != 0 && self.slots.lock().held.iter().any(|h| h.until <= now);
        if slots {
            self.change_slots(|slots| slots.held.retain(|h| h.until > now));
        }
        all || slots
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_held_back_beside_everything_else() {
        let (p, registry) = (Pause::default(), Registry::default());
        let before = p.version();
        let _held = p.hold(&registry, vec![(3, 5), (9, 9)], 100);
        assert!(p.is_set() && p.version() != before && p.holds_slots(99) && !p.holds_slots(100));
        assert_eq!((p.kind(50), p.until()), (None, 100));
        let holds = |slot| p.holds_slot(slot, None);
        assert!([3, 5, 9].into_iter().all(holds) && ![2, 6, 10].into_iter().any(holds));
        p.start(PauseReason::Command, PauseKind::Write, 0, 50);
        assert!(p.lapse(60) && p.holds_slots(60) && p.is_set());
        assert!(p.lapse(100) && !p.is_set() && !p.lapse(100));
    }

    #[test]
    fn several_hold_back_slots_each_its_own() {
        let (p, registry) = (Pause::default(), Registry::default());
        let first = p.try_hold(&registry, &[1, 2], 100).unwrap();
        assert!(p.try_hold(&registry, &[2, 3], 100).is_none());
        let second = p.try_hold(&registry, &[3], 50).unwrap();
        assert!(
            p.holds_slot(2, None) && p.holds_slot(2, Some(second.number())) && !p.holds_slot(2, Some(first.number()))
        );
        let over = p.hold(&registry, vec![(0, 16383)], 70);
        assert!(p.holds_slot(2, Some(first.number())));
        over.extend(200);
        assert!(p.lapse(60) && p.holds_slot(3, None) && p.until() == 200);
        drop(over);
        assert!(!p.holds_slot(3, None) && p.holds_slot(1, None) && p.until() == 100);
        drop((first, second));
        assert!(!p.is_set());
    }

    #[test]
    fn pauses_for_several_reasons_end_each_by_itself() {
        let p = Pause::default();
        p.start(PauseReason::Failover, PauseKind::Write, 0, i64::MAX);
        p.start(PauseReason::Command, PauseKind::All, 0, 100);
        assert_eq!(p.longest(40), Some((PauseKind::All, PauseReason::Command, 60)));
        p.end(PauseReason::Command);
        assert_eq!(p.longest(40), Some((PauseKind::Write, PauseReason::Failover, i64::MAX - 40)));
        p.start(PauseReason::Command, PauseKind::Write, 0, 100);
        assert!(!p.lapse(50) && p.lapse(100) && p.is_set());
        assert_eq!(p.kind(200), Some(PauseKind::Write));
        p.end(PauseReason::Failover);
        assert_eq!((p.longest(40), p.is_set()), (None, false));
    }

    #[test]
    fn a_second_pause_never_shortens_or_softens_the_first() {
        let p = Pause::default();
        p.start(PauseReason::Command, PauseKind::All, 0, 100);
        p.start(PauseReason::Command, PauseKind::Write, 0, 50);
        assert_eq!(p.kind(60), Some(PauseKind::All));
        p.start(PauseReason::Command, PauseKind::Write, 0, 200);
        // As in Valkey: a reason has one kind and one end.
        assert_eq!((p.kind(150), p.kind(200)), (Some(PauseKind::All), None));
        assert!(p.lapse(200) && !p.is_set());
        // One that is over has no say, though nobody has looked after it yet.
        p.start(PauseReason::Command, PauseKind::All, 200, 250);
        p.start(PauseReason::Command, PauseKind::Write, 250, 300);
        assert_eq!(p.kind(250), Some(PauseKind::Write));
        assert!(p.lapse(300) && !p.is_set());
    }
}
