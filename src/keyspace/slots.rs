//! The slots with their locks and tables, and the proof of holding locks.
//!
//! A slot's ONE mutex guards the slot's tables in every database, its waiters and its watchers. (A mutex a slot and
//! database would allow nothing more in practice, and would make MOVE, COPY and SWAPDB take two kinds of lock.)
//!
//! 1. [`Held`] is the only way to lock: it takes slots in ascending order, each once, and releases all of them together.
//!    It never locks while it holds something, except through [`Held::also`], which insists on ascending order by
//!    refusing (not waiting) where that would break it. So there are no lock cycles.
//! 2. A slot's tables are reached only through `Held`, and only for a slot whose bit is set in it. A `Held` belongs to
//!    one thread at a time and is borrowed mutably for mutable access; that is the argument for every `unsafe` here.
//! 3. Code that takes every slot ([`Held::lock_all`]) has the whole keyspace for itself.

use parking_lot::lock_api::RawMutex as _;
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering::*};

use super::entry::Entry;
use super::waiters::Extra;
use crate::base::sync::{RawMutex, lock_for, unlock_fair};
use crate::types::dict::Dict;

/// How many hash slots there are.
pub const SLOTS: usize = 16384;

/// A slot: its lock, its table in database 0, and what few slots have.
#[repr(align(64))]
pub(super) struct Slot {
    lock: RawMutex,
    /// How often commands named keys of it. Written under the lock only.
    uses: AtomicU64,
    table: UnsafeCell<Dict<Entry>>,
    extra: UnsafeCell<Option<Box<Extra>>>,
}

/// The tables of a database above 0.
type Tables = [UnsafeCell<Dict<Entry>>; SLOTS];

/// All slots of all databases.
pub(super) struct Slots {
    slots: Box<[Slot]>,
    /// Databases 1 and up; made when first used.
    others: Box<[AtomicPtr<Tables>]>,
    /// How often a lock was not free, and for how long it was waited for, ns. Written by those who wait, and by nobody else.
    waits: [AtomicU64; 2],
    /// Scripts have run for so long that nobody shall wait for them who can do without.
    busy: AtomicBool,
    /// A script holds slots and waits for another, out of order: whoever waits with slots in hand lets them go.
    urgent: AtomicBool,
}

/// How waiting for a slot ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    Locked,
    /// Everything in hand is to go, and to be asked for again.
    LetGo,
    /// A script keeps it.
    Denied,
}

/// How long one try to get a slot lasts, ms.
const TRY_MS: u64 = 5;
/// Tries of a script that waits out of order while another one does.
const URGENT_TRIES: usize = 20;

// SAFETY: rule 2: tables and extras are reached only under the slot's lock.
unsafe impl Sync for Slots {}
// SAFETY: nothing in it is bound to a thread.
unsafe impl Send for Slots {}

impl Slots {
    pub(super) fn new(databases: usize) -> Slots {
        let slot = |_| Slot {
            lock: RawMutex::INIT,
            uses: AtomicU64::new(0),
            table: UnsafeCell::new(Dict::new()),
            extra: UnsafeCell::new(None),
        };
        Slots {
            slots: (0..SLOTS).map(slot).collect(),
            others: (1..databases).map(|_| AtomicPtr::default()).collect(),
            waits: Default::default(),
            busy: AtomicBool::new(false),
            urgent: AtomicBool::new(false),
        }
    }
    /// How often somebody found a slot locked, and how long all of them waited together, ns.
    pub(super) fn waits(&self) -> (u64, u64) {
        (self.waits[0].load(Relaxed), self.waits[1].load(Relaxed))
    }
    /// How often commands named keys of each slot.
    pub(super) fn uses(&self) -> impl Iterator<Item = u64> + '_ {
        self.slots.iter().map(|slot| slot.uses.load(Relaxed))
    }
    #[cold]
    #[inline(never)]
    fn wait_for(&self, slot: usize, holds: bool, patient: bool) -> Wait {
        let start = crate::base::clock::mono_ns();
        let end = loop {
            if lock_for(&self.slots[slot].lock, TRY_MS) {
                break Wait::Locked;
            }
            if holds && self.urgent.load(Acquire) {
                break Wait::LetGo;
            }
            if !patient && self.busy.load(Acquire) {
                break Wait::Denied;
            }
        };
        self.waits[0].fetch_add(1, Relaxed);
        self.waits[1].fetch_add(crate::base::clock::mono_ns().saturating_sub(start), Relaxed);
        end
    }
    /// Says whether scripts keep others from their slots for long.
    pub(super) fn set_busy(&self, on: bool) {
        self.busy.store(on, Release);
    }
    pub(super) fn databases(&self) -> usize {
        self.others.len() + 1
    }
    /// Whether the database has ever been used.
    fn exists(&self, db: usize) -> bool {
        db == 0 || !self.others[db - 1].load(Acquire).is_null()
    }
    #[inline]
    fn cell(&self, db: usize, slot: u16) -> &UnsafeCell<Dict<Entry>> {
        if db == 0 {
            return &self.slots[slot as usize].table;
        }
        let tables = self.others[db - 1].load(Acquire);
        let tables = if tables.is_null() { self.make(db) } else { tables };
        // SAFETY: once set, a database's tables stay until the Slots are dropped.
        unsafe { &(&*tables)[slot as usize] }
    }
    #[cold]
    fn make(&self, db: usize) -> *mut Tables {
        let tables: Vec<UnsafeCell<Dict<Entry>>> = (0..SLOTS).map(|_| UnsafeCell::new(Dict::new())).collect();
        let tables: Box<Tables> = tables.try_into().unwrap_or_else(|_| unreachable!("SLOTS elements"));
        let ours = Box::into_raw(tables);
        match self.others[db - 1].compare_exchange(std::ptr::null_mut(), ours, AcqRel, Acquire) {
            Ok(_) => ours,
            Err(theirs) => {
                // SAFETY: ours lost the race and was never shared.
                drop(unsafe { Box::from_raw(ours) });
                theirs
            }
        }
    }
    #[inline]
    pub(super) fn prefetch_slot(&self, slot: u16) {
        crate::types::dict::prefetch((&raw const self.slots[slot as usize]).cast());
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        for tables in &self.others {
            let tables = tables.load(Acquire);
            if !tables.is_null() {
                // SAFETY: made by Box::into_raw in `make`, dropped once.
                drop(unsafe { Box::from_raw(tables) });
            }
        }
    }
}

/// The locks that a thread holds now. Reused from command to command.
pub struct Held {
    slots: &'static Slots,
    bits: Box<[u64; SLOTS / 64]>,
    /// The locked slots, ascending. Empty when `all`.
    list: Vec<u16>,
    all: bool,
    /// Waits also for scripts that take long.
    patient: bool,
}

impl Held {
    pub(super) fn new(slots: &'static Slots) -> Held {
        Held { slots, bits: Box::new([0; SLOTS / 64]), list: Vec::new(), all: false, patient: true }
    }
    /// Whether it waits also for scripts that take long. Returns whether it did.
    #[inline]
    pub fn set_patient(&mut self, patient: bool) -> bool {
        std::mem::replace(&mut self.patient, patient)
    }
    /// Locks these slots, in any order and with repetitions. Nothing may be held. False if a script keeps one of them and
    /// this one is impatient: nothing is held then.
    #[inline]
    pub fn lock(&mut self, slots: &mut [u16]) -> bool {
        debug_assert!(self.list.is_empty() && !self.all, "locks are taken all at once");
        // Insertion sort: a handful of numbers, as a rule.
        if slots.len() <= 32 {
            for i in 1..slots.len() {
                let mut j = i;
                while j > 0 && slots[j - 1] > slots[j] {
                    slots.swap(j - 1, j);
                    j -= 1;
                }
            }
        } else {
            slots.sort_unstable();
        }
        let (mut last, mut at) = (u32::MAX, 0);
        while let Some(&slot) = slots.get(at) {
            at += 1;
            if u32::from(slot) != last {
                last = u32::from(slot);
                let end = self.take(slot);
                if end != Wait::Locked {
                    if !self.retreat(end) {
                        return false;
                    }
                    (last, at) = (u32::MAX, 0);
                }
            }
        }
        true
    }
    /// Lets everything go. Whether to begin again, which is when nobody is in urgent need any more.
    #[cold]
    fn retreat(&mut self, why: Wait) -> bool {
        self.unlock();
        while why == Wait::LetGo && self.slots.urgent.load(Acquire) {
            crate::base::clock::pause_us(200);
        }
        why == Wait::LetGo
    }
    #[inline]
    fn take(&mut self, slot: u16) -> Wait {
        if !self.slots.slots[slot as usize].lock.try_lock() {
            let end = self.slots.wait_for(slot as usize, !self.list.is_empty(), self.patient);
            if end != Wait::Locked {
                return end;
            }
        }
        self.bits[slot as usize / 64] |= 1 << (slot % 64);
        self.list.push(slot);
        Wait::Locked
    }
    /// Counts that a command names keys of these slots, which are held; one that stands there twice counts twice.
    #[inline]
    pub fn note_use(&self, slots: &[u16]) {
        for &slot in slots {
            let uses = &self.slots.slots[slot as usize].uses;
            uses.store(uses.load(Relaxed).wrapping_add(1), Relaxed);
        }
    }
    /// Locks every slot: the holder has the keyspace for itself. False as with [`Held::lock`].
    pub fn lock_all(&mut self) -> bool {
        debug_assert!(self.list.is_empty() && !self.all, "locks are taken all at once");
        let mut at = 0;
        while at < SLOTS {
            if !self.slots.slots[at].lock.try_lock() {
                let end = self.slots.wait_for(at, at > 0, self.patient);
                if end != Wait::Locked {
                    // So far they are not in the list.
                    self.list.extend(0..at as u16);
                    if !self.retreat(end) {
                        return false;
                    }
                    at = 0;
                    continue;
                }
            }
            at += 1;
        }
        self.bits.fill(u64::MAX);
        self.all = true;
        true
    }
    /// Locks one more slot beside those that are held, if it is greater than all of them or free at once; says whether
    /// it was.
    pub fn also(&mut self, slot: u16) -> bool {
        if self.has(slot) {
            return true;
        }
        if self.list.last().is_none_or(|last| *last < slot) {
            return self.take(slot) == Wait::Locked;
        }
        self.also_now(slot)
    }
    /// Locks one more slot beside those that are held, if it is free at once; says whether it was.
    pub fn also_now(&mut self, slot: u16) -> bool {
        let free = self.slots.slots[slot as usize].lock.try_lock();
        if free {
            self.insert(slot);
        }
        free
    }
    fn insert(&mut self, slot: u16) {
        self.bits[slot as usize / 64] |= 1 << (slot % 64);
        let at = self.list.partition_point(|s| *s < slot);
        self.list.insert(at, slot);
    }
    /// Locks one more slot for a script that can not let go what it holds. Those who wait with slots in hand let theirs go
    /// for it; commands that run end. False if it has to give way to another script in the same need.
    pub fn also_urgent(&mut self, slot: u16) -> bool {
        let (mut ours, mut tries) = (false, 0);
        let locked = loop {
            if lock_for(&self.slots.slots[slot as usize].lock, TRY_MS) {
                break true;
            }
            ours = ours || self.slots.urgent.compare_exchange(false, true, AcqRel, Relaxed).is_ok();
            tries += 1;
            if !ours && tries >= URGENT_TRIES {
                break false;
            }
        };
        if locked {
            self.insert(slot);
        }
        if ours {
            self.slots.urgent.store(false, Release);
        }
        locked
    }
    /// Whether the slot is locked by us.
    #[inline]
    pub fn has(&self, slot: u16) -> bool {
        self.bits[slot as usize / 64] & 1 << (slot % 64) != 0
    }
    /// Whether every slot is locked by us.
    pub fn has_all(&self) -> bool {
        self.all || self.list.len() == SLOTS
    }
    /// Whether nothing is locked by us.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty() && !self.all
    }
    /// Releases everything.
    #[inline]
    pub fn unlock(&mut self) {
        if self.all {
            self.all = false;
            self.bits.fill(0);
            for s in self.slots.slots.iter() {
                // SAFETY: `lock_all` took it.
                unsafe { s.lock.unlock() }
            }
        }
        while let Some(slot) = self.list.pop() {
            self.bits[slot as usize / 64] = 0;
            // SAFETY: it is in the list, so we took it.
            unsafe { self.slots.slots[slot as usize].lock.unlock() }
        }
    }
    /// Releases the slots that are held for those who wait for them: for somebody who will ask for them again at once, and
    /// would have them again before others wake up.
    pub fn give_way(&mut self) {
        debug_assert!(!self.all);
        while let Some(slot) = self.list.pop() {
            self.bits[slot as usize / 64] = 0;
            // SAFETY: it is in the list, so we took it.
            unsafe { unlock_fair(&self.slots.slots[slot as usize].lock) }
        }
    }
    #[track_caller]
    #[inline]
    fn check(&self, slot: u16) {
        assert!(self.has(slot), "slot {slot} is not locked");
    }
    /// The table of a slot that is held.
    #[inline]
    #[track_caller]
    pub(super) fn table(&self, db: usize, slot: u16) -> &Dict<Entry> {
        self.check(slot);
        // SAFETY: rule 2: we hold the lock, and `&self` keeps mutable access away.
        unsafe { &*self.slots.cell(db, slot).get() }
    }
    /// The table of a slot that is held, to change.
    #[inline]
    #[track_caller]
    pub(super) fn table_mut(&mut self, db: usize, slot: u16) -> &mut Dict<Entry> {
        self.check(slot);
        // SAFETY: rule 2: we hold the lock, and `&mut self` keeps other access away.
        unsafe { &mut *self.slots.cell(db, slot).get() }
    }
    /// Asks the processor for the bucket that a key of a held slot is in.
    #[inline]
    pub fn prefetch_bucket(&self, db: usize, at: &super::Located) {
        self.table(db, at.slot).prefetch_bucket(at.hash);
    }
    /// Asks the processor for the entry of a key of a held slot, once its bucket is there.
    #[inline]
    pub fn prefetch_entry(&self, db: usize, at: &super::Located) {
        self.table(db, at.slot).prefetch_item(at.hash);
    }
    /// Whether the database has tables at all; one that has not is empty.
    pub(super) fn exists(&self, db: usize) -> bool {
        self.slots.exists(db)
    }
    /// Swaps a slot's tables of two databases.
    pub(super) fn swap(&mut self, a: usize, b: usize, slot: u16) {
        self.check(slot);
        if a != b {
            // SAFETY: rule 2, and the two cells are different ones.
            unsafe { core::ptr::swap(self.slots.cell(a, slot).get(), self.slots.cell(b, slot).get()) }
        }
    }
    /// Swaps all tables with those of another keyspace of as many databases. Every slot of both is held.
    pub(super) fn exchange(&mut self, other: &mut Held) {
        assert!(self.all && other.all && self.slots.databases() == other.slots.databases());
        for db in 0..self.slots.databases() {
            if !self.exists(db) && !other.exists(db) {
                continue;
            }
            for slot in 0..SLOTS as u16 {
                // SAFETY: rule 2 for both, and they are different keyspaces, or the cells would be locked twice.
                unsafe { core::ptr::swap(self.slots.cell(db, slot).get(), other.slots.cell(db, slot).get()) }
            }
        }
    }
    /// What a held slot has beside tables.
    #[inline]
    pub(super) fn extra(&self, slot: u16) -> Option<&Extra> {
        self.check(slot);
        // SAFETY: rule 2.
        unsafe { (*self.slots.slots[slot as usize].extra.get()).as_deref() }
    }
    /// The table of a held slot, and what the slot has beside tables, to change.
    pub(super) fn table_and_extra(&mut self, db: usize, slot: u16) -> (&Dict<Entry>, Option<&mut Extra>) {
        let (table, _, extra) = self.tables_and_extra(db, db, slot);
        (table, extra)
    }
    /// The tables of a held slot in two databases, and what the slot has beside tables, to change.
    pub(super) fn tables_and_extra(
        &mut self,
        a: usize,
        b: usize,
        slot: u16,
    ) -> (&Dict<Entry>, &Dict<Entry>, Option<&mut Extra>) {
        self.check(slot);
        // SAFETY: rule 2; the extra is another object than the tables.
        unsafe {
            let extra = (*self.slots.slots[slot as usize].extra.get()).as_deref_mut();
            (&*self.slots.cell(a, slot).get(), &*self.slots.cell(b, slot).get(), extra)
        }
    }
    /// What a held slot has beside tables, made if it is not there.
    pub(super) fn extra_mut(&mut self, slot: u16) -> &mut Extra {
        self.check(slot);
        // SAFETY: rule 2.
        unsafe { (*self.slots.slots[slot as usize].extra.get()).get_or_insert_with(Default::default) }
    }
    /// Gives the memory of an empty extra back.
    pub(super) fn tidy_extra(&mut self, slot: u16) {
        if self.extra(slot).is_some_and(Extra::is_empty) {
            // SAFETY: rule 2.
            unsafe { *self.slots.slots[slot as usize].extra.get() = None }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lasting() -> &'static Slots {
        // Remembered, so that nothing takes it for a leak.
        static ALL: parking_lot::Mutex<Vec<&Slots>> = parking_lot::Mutex::new(Vec::new());
        let slots = Box::leak(Box::new(Slots::new(2)));
        ALL.lock().push(slots);
        slots
    }

    #[test]
    fn locks_are_taken_once_each_and_released_together() {
        let slots = lasting();
        let mut held = Held::new(slots);
        held.lock(&mut [9, 3, 9, 16383, 3]);
        assert!(held.list == [3, 9, 16383] && held.has(9) && !held.has(10));
        assert!(slots.slots[3].lock.is_locked());
        assert!(held.also(5) && held.list == [3, 5, 9, 16383]);
        held.unlock();
        assert!(held.is_empty() && slots.slots.iter().all(|s| !s.lock.is_locked()));
        held.lock_all();
        assert!(held.has(77) && held.has_all());
        drop(held);
        assert!(!slots.slots[3].lock.is_locked());
    }

    #[test]
    #[should_panic(expected = "slot 7 is not locked")]
    fn a_table_cannot_be_reached_without_its_lock() {
        Held::new(lasting()).table(0, 7);
    }
}
