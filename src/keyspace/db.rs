//! A database as a command sees it: the keys of the slots whose locks it holds.
//!
//! Reading hides and removes expired keys, notes the access for LRU/LFU and counts hits and misses; writing also passes
//! the snapshot's hook first. What else follows from a change (notifications, waiters, watchers, the replication log) is
//! gathered in [`Effects`], which `exec` carries out after the command.

use std::sync::Arc;

use smallvec::SmallVec;

use super::Keyspace;
use super::access::{self, Tuning};
use super::effects::{Effects, Event, notify};
use super::entry::{self, Entry, NO_EXPIRY, Text};
use super::lazyfree::Garbage;
use super::slots::{Held, SLOTS};
use super::value::{Kind, Value, View, ViewMut};
use super::waiters::{Waiter, Watch};
use crate::base::slot::key_slot;
use crate::metrics::ThreadStats;
use crate::resp::Error;
use crate::types::dict::{self, Dict, Owned, Place, Ref};
use crate::types::{hash::Hash, list::List, set::Set, stream::Stream, zset::ZSet};

/// Where a key is: computed once, when the command is prepared.
#[derive(Debug, Clone, Copy)]
pub struct Located {
    key: *const u8,
    len: usize,
    /// The key's hash slot.
    pub slot: u16,
    /// The key's hash in the slot's table.
    pub hash: u64,
}

impl Located {
    /// Computes slot and hash of a key.
    #[inline]
    pub fn of(key: &[u8]) -> Located {
        Located { key: key.as_ptr(), len: key.len(), slot: key_slot(key), hash: dict::hash(key) }
    }
    /// No key.
    pub const NONE: Located = Located { key: std::ptr::null(), len: 0, slot: 0, hash: 0 };
}

/// What happens to a key's expiry when its value is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ttl {
    /// It stays.
    Keep,
    /// It goes.
    Clear,
    /// It becomes this, unix ms.
    At(i64),
}

/// The selected database during one command.
pub struct Db<'a> {
    ks: &'static Keyspace,
    held: &'a mut Held,
    index: usize,
    /// Unix time of the command, ms; 0 for commands to which no key's time is over.
    pub now: i64,
    /// Unix time of the command, ms, for the history of accesses.
    pub clock: i64,
    /// What follows from the command.
    pub fx: &'a mut Effects,
    stats: &'a ThreadStats,
    tuning: Tuning,
    /// The command's first key, located when it was prepared. The argument it points to outlives the `Db`.
    first: Located,
    /// CLIENT NO-TOUCH: reading leaves the access history alone.
    pub no_touch: bool,
}

macro_rules! typed {
    ($($read:ident $write:ident $create:ident $kind:ident $ty:ty;)*) => {$(
        /// The value of this type at the key, to read. WRONGTYPE if it has another type.
        pub fn $read(&mut self, key: &[u8]) -> Result<Option<&$ty>, Error> {
            match self.read(key).map(Ref::view) {
                None => Ok(None),
                Some(View::$kind(v)) => Ok(Some(v)),
                Some(_) => Err(Error::WRONGTYPE),
            }
        }
        /// The value of this type at the key, to change. WRONGTYPE if it has another type.
        pub fn $write(&mut self, key: &[u8]) -> Result<Option<&mut $ty>, Error> {
            match self.place(key).map(Place::into_view_mut) {
                None => Ok(None),
                Some(ViewMut::$kind(v)) => Ok(Some(v)),
                Some(_) => Err(Error::WRONGTYPE),
            }
        }
        /// The value of this type at the key, to change; made by `new` if there is none. WRONGTYPE if it has another type.
        pub fn $create(&mut self, key: &[u8], new: impl FnOnce() -> $ty) -> Result<&mut $ty, Error> {
            if self.touch_for_write(key).is_none() {
                self.insert(key, Value::$kind(Box::new(new())), NO_EXPIRY);
            }
            match self.place_untouched(key).map(Place::into_view_mut) {
                Some(ViewMut::$kind(v)) => Ok(v),
                _ => Err(Error::WRONGTYPE),
            }
        }
    )*};
}

/// Notes an access in the entry, where that changes anything.
#[inline]
fn note_access(e: Ref<'_, Entry>, now: i64, tuning: &Tuning) {
    let old = e.access();
    let new = access::touched(old, now, tuning);
    if new != old {
        e.set_access(new);
    }
}

impl<'a> Db<'a> {
    /// The database `index` for a command at `now`, whose slots are locked in `held`.
    #[allow(clippy::too_many_arguments)]
    #[inline]
    pub fn new(
        ks: &'static Keyspace,
        held: &'a mut Held,
        index: usize,
        now: i64,
        fx: &'a mut Effects,
        stats: &'a ThreadStats,
        tuning: Tuning,
        first: Located,
    ) -> Db<'a> {
        let clock = now;
        let now = if fx.ignore_expiry { 0 } else { now };
        Db { ks, held, index, now, clock, fx, stats, tuning, first, no_touch: false }
    }
    /// The keyspace.
    pub fn keyspace(&self) -> &'static Keyspace {
        self.ks
    }
    /// The number of the database.
    pub fn index(&self) -> usize {
        self.index
    }
    /// Settings that the keyspace works by.
    pub fn tuning(&self) -> Tuning {
        self.tuning
    }
    /// The same command on another database (MOVE, COPY).
    pub fn other(&mut self, index: usize) -> Db<'_> {
        Db { index, held: self.held, fx: self.fx, ..*self }
    }

    #[inline]
    fn locate(&self, key: &[u8]) -> Located {
        if key.as_ptr() == self.first.key && key.len() == self.first.len { self.first } else { Located::of(key) }
    }
    /// The entry, whatever its expiry; nothing is noted.
    #[inline]
    fn find(&self, at: &Located, key: &[u8]) -> Option<Ref<'_, Entry>> {
        self.held.table(self.index, at.slot).find(at.hash, key)
    }

    /// The entry to look at: expired keys are hidden (and stay), no access is noted, nothing is counted.
    pub fn peek(&self, key: &[u8]) -> Option<Ref<'_, Entry>> {
        self.find(&self.locate(key), key).filter(|e| !e.is_expired(self.now))
    }
    /// Whether a time that a key is given is over, so that the key goes at once. While data are imported it may stay.
    pub fn is_over(&self, at: i64) -> bool {
        at <= self.now && !self.fx.importing
    }
    /// Whether the key is there.
    pub fn exists(&self, key: &[u8]) -> bool {
        self.peek(key).is_some()
    }
    /// The entry to read. An expired key is removed; the access is noted; the hit or miss counted.
    #[inline]
    pub fn read(&mut self, key: &[u8]) -> Option<Ref<'_, Entry>> {
        let at = self.locate(key);
        let Some(p) = self.live(&at, key) else {
            self.stats.miss();
            self.notify(notify::KEY_MISS, "keymiss", key);
            return None;
        };
        self.stats.hit();
        // SAFETY: the entry is in the table of a slot that `held` has locked; the borrow of self keeps it there.
        let e = unsafe { Ref::from_ptr(p) };
        if !self.no_touch {
            note_access(e, self.clock, &self.tuning);
        }
        Some(e)
    }
    /// The pointer of an entry that has not expired; one that has is removed.
    #[inline]
    fn live(&mut self, at: &Located, key: &[u8]) -> Option<std::ptr::NonNull<u8>> {
        let e = self.find(at, key)?;
        if e.is_expired(self.now) {
            if !self.fx.keep_expired && !self.is_awaited(e) {
                self.expire(at, key);
            }
            return None;
        }
        Some(e.ptr())
    }
    /// Whether a snapshot under way is to encode the entry, which takes long, before it changes.
    #[inline]
    fn is_awaited(&self, e: Ref<'_, Entry>) -> bool {
        self.ks.hooks.watching() && self.ks.hooks.is_awaited(self.index, e)
    }
    /// Whether a change to the key had better wait: a snapshot under way has to encode its long value first, and does so now.
    /// Whoever does not wait encodes it by itself, with the slot locked.
    pub fn waits_for_snapshot(&self, key: &[u8]) -> bool {
        self.ks.hooks.watching() && self.find(&self.locate(key), key).is_some_and(|e| self.is_awaited(e))
    }
    /// Hides nothing and counts nothing, but removes the key if it has expired. For commands that then `peek` at several
    /// keys.
    pub fn expire_if_needed(&mut self, key: &[u8]) {
        let at = self.locate(key);
        let _ = self.live(&at, key);
    }
    /// The place of an entry, to change it. An expired key is removed, the access noted, the snapshot told.
    #[inline]
    fn place(&mut self, key: &[u8]) -> Option<Place<'_, Entry>> {
        self.touch_for_write(key)?;
        self.place_untouched(key)
    }
    /// Expiry, access and snapshot for a write; whether the key is there.
    #[inline]
    fn touch_for_write(&mut self, key: &[u8]) -> Option<()> {
        let at = self.locate(key);
        let p = self.live(&at, key)?;
        // SAFETY: as in `read`.
        let e = unsafe { Ref::from_ptr(p) };
        if !self.no_touch {
            note_access(e, self.clock, &self.tuning);
        }
        self.ks.hooks.before_write(self.index, e);
        Some(())
    }
    #[inline]
    fn place_untouched(&mut self, key: &[u8]) -> Option<Place<'_, Entry>> {
        let at = self.locate(key);
        self.held.table_mut(self.index, at.slot).find_mut(at.hash, key)
    }

    typed! {
        list_read list_write list_create List List;
        set_read set_write set_create Set Set;
        zset_read zset_write zset_create ZSet ZSet;
        hash_read hash_write hash_create Hash Hash;
        stream_read stream_write stream_create Stream Stream;
    }

    /// The string at the key, to read. WRONGTYPE if it is something else.
    #[inline]
    pub fn text(&mut self, key: &[u8]) -> Result<Option<Text<'_>>, Error> {
        match self.read(key) {
            None => Ok(None),
            Some(e) => e.text().map(Some).ok_or(Error::WRONGTYPE),
        }
    }
    /// Stores a string, whatever was there. The caller notes the change ([`Db::modified`]).
    #[inline]
    pub fn set_text(&mut self, key: &[u8], text: &[u8], ttl: Ttl) {
        let at = self.locate(key);
        if let Some(mut place) = self.held.table_mut(self.index, at.slot).find_mut(at.hash, key) {
            let e = place.get();
            let had = e.expiry();
            if e.is_expired(self.now) && !self.fx.keep_expired {
                // Its end is told first: what is logged of the command may rely on the key not being there.
                self.expire(&at, key);
                let expiry = if let Ttl::At(t) = ttl { t } else { NO_EXPIRY };
                return self.add(&at, entry::new_text(key, text, expiry));
            }
            note_access(e, self.clock, &self.tuning);
            self.ks.hooks.before_write(self.index, e);
            let expiry = match ttl {
                Ttl::Keep if !e.is_expired(self.now) => had,
                Ttl::At(t) => t,
                _ => NO_EXPIRY,
            };
            let old = place.set_text(text, expiry);
            self.count_expires(had, expiry);
            self.note_own(key, expiry);
            if let Some(old) = old {
                if old.as_ref().kind() == Kind::Stream {
                    self.wake(&at, key);
                }
                self.count_volatile(old.as_ref().has_volatile_fields(), false);
                self.dispose(old, self.tuning.lazy_server_del);
            }
            return;
        }
        let expiry = if let Ttl::At(t) = ttl { t } else { NO_EXPIRY };
        self.add(&at, entry::new_text(key, text, expiry));
    }
    /// Stores any value, whatever was there.
    pub fn set_value(&mut self, key: &[u8], value: Value, ttl: Ttl) {
        let at = self.locate(key);
        let wakes = value.wakes();
        let _ = self.live(&at, key);
        match self.find(&at, key) {
            Some(e) => {
                let had = e.expiry();
                let expiry = match ttl {
                    Ttl::Keep if !e.is_expired(self.now) => had,
                    Ttl::At(t) => t,
                    _ => NO_EXPIRY,
                };
                self.ks.hooks.before_write(self.index, e);
                let mut place = self.held.table_mut(self.index, at.slot).find_mut(at.hash, key).expect("found above");
                let volatile = value.has_volatile_fields();
                let old = place.set_value(value, expiry);
                let wakes = wakes || old.as_ref().kind() == Kind::Stream;
                self.count_expires(had, expiry);
                self.note_own(key, expiry);
                self.count_volatile(old.as_ref().has_volatile_fields(), volatile);
                self.dispose(old, self.tuning.lazy_server_del);
                if wakes {
                    self.wake(&at, key);
                }
            }
            None => self.insert(key, value, if let Ttl::At(t) = ttl { t } else { NO_EXPIRY }),
        }
    }
    /// Adds a key that is not there.
    pub fn insert(&mut self, key: &[u8], value: Value, expiry: i64) {
        let at = self.locate(key);
        let wakes = value.wakes();
        self.add(&at, entry::new_value(key, value, expiry));
        if wakes {
            self.wake(&at, key);
        }
    }
    /// Adds an entry that was loaded, with its access history if that is known. False if the key is there already and
    /// `replace` is not set.
    pub fn load(&mut self, key: &[u8], e: Owned<Entry>, bits: Option<u32>, replace: bool) -> bool {
        let at = self.locate(key);
        if self.find(&at, key).is_some() {
            if !replace {
                return false;
            }
            if let Some(old) = self.take_at(&at, key) {
                self.dispose(old, true);
            }
        }
        self.add(&at, e);
        if let (Some(bits), Some(e)) = (bits, self.find(&at, key)) {
            e.set_access(bits);
        }
        true
    }
    /// Adds an entry taken out elsewhere under this key, access history and all.
    pub fn insert_entry(&mut self, key: &[u8], e: Owned<Entry>) {
        let at = self.locate(key);
        debug_assert!(e.as_ref().key() == key);
        let wakes = e.as_ref().kind().wakes();
        let bits = e.as_ref().access();
        self.add(&at, e);
        if let Some(e) = self.find(&at, key) {
            e.set_access(bits);
        }
        if wakes {
            self.wake(&at, key);
        }
    }
    #[inline]
    fn add(&mut self, at: &Located, e: Owned<Entry>) {
        if (self.fx.keep_expired || self.ks.hooks.watching()) && self.find(at, e.as_ref().key()).is_some() {
            // One that is over and was kept gives way.
            let key = e.as_ref().key().to_vec();
            self.expire(at, &key);
        }
        e.as_ref().set_access(access::fresh(self.clock, &self.tuning));
        self.stats.keys(self.index, 1);
        self.count_expires(NO_EXPIRY, e.as_ref().expiry());
        self.note_own(e.as_ref().key(), e.as_ref().expiry());
        self.count_volatile(false, e.as_ref().has_volatile_fields());
        if self.fx.wants(notify::NEW) {
            let key = e.as_ref().key().to_vec();
            self.notify(notify::NEW, "new", &key);
        }
        e.as_ref().set_snapshot_bit(self.ks.hooks.parity());
        self.held.table_mut(self.index, at.slot).insert_new(at.hash, e);
    }
    #[inline]
    fn count_expires(&self, had: i64, has: i64) {
        if (had == NO_EXPIRY) != (has == NO_EXPIRY) {
            self.stats.expires(self.index, if has == NO_EXPIRY { -1 } else { 1 });
        }
    }
    /// On a writable replica: a key whose time a client set is looked after here.
    #[inline]
    fn note_own(&self, key: &[u8], expiry: i64) {
        if self.fx.owns_expiry && expiry != NO_EXPIRY {
            self.ks.own.add(self.index, key);
        }
    }
    #[inline]
    fn count_volatile(&self, was: bool, is: bool) {
        if was != is {
            self.stats.volatile_hashes(self.index, i64::from(is) - i64::from(was));
        }
    }
    /// Changes a string's bytes in place (APPEND, SETRANGE). `None` if there is no key; WRONGTYPE if it is no string.
    pub fn edit_text<R>(&mut self, key: &[u8], edit: impl FnOnce(&mut Vec<u8>) -> R) -> Result<Option<R>, Error> {
        let Some(mut place) = self.place(key) else { return Ok(None) };
        if place.get().kind() != Kind::String {
            return Err(Error::WRONGTYPE);
        }
        let result = edit(place.text_mut());
        place.settle_text();
        Ok(Some(result))
    }
    /// Adds to a number stored as one: the new value. `Ok(None)` if the key is missing or not stored as a number;
    /// the error, and no change, on overflow.
    #[inline]
    pub fn incr_int(&mut self, key: &[u8], by: i64) -> Result<Option<i64>, Error> {
        let Some(mut place) = self.place(key) else { return Ok(None) };
        let Some(Text::Int(n)) = place.get().text() else { return Ok(None) };
        let n = n.checked_add(by).ok_or(Error::new("ERR increment or decrement would overflow"))?;
        place.set_int(n);
        Ok(Some(n))
    }
    /// Sets or clears the expiry of a key. False if there is no key.
    pub fn set_expiry(&mut self, key: &[u8], at: i64) -> bool {
        let Some(mut place) = self.place(key) else { return false };
        let had = place.get().expiry();
        place.set_expiry(at);
        self.count_expires(had, at);
        self.note_own(key, at);
        true
    }
    /// After a change to a hash: brings in step whether it has fields that expire.
    pub fn refresh_volatile(&mut self, key: &[u8]) {
        if let Some(mut place) = self.place_untouched(key) {
            let was = place.get().has_volatile_fields();
            place.refresh_volatile();
            let is = place.get().has_volatile_fields();
            self.count_volatile(was, is);
        }
    }

    /// Removes a key; its value is freed here or, if it is big and `lazy`, in the background. Whether it was there.
    pub fn delete(&mut self, key: &[u8], lazy: bool) -> bool {
        match self.take(key) {
            Some(e) => {
                self.dispose(e, lazy);
                true
            }
            None => false,
        }
    }
    /// DEL's way: in the background if `lazyfree-lazy-user-del` says so.
    pub fn delete_by_user(&mut self, key: &[u8]) -> bool {
        self.delete(key, self.tuning.lazy_user_del)
    }
    /// Takes an entry out. An expired one is removed, not given.
    pub fn take(&mut self, key: &[u8]) -> Option<Owned<Entry>> {
        let at = self.locate(key);
        self.live(&at, key)?;
        self.take_at(&at, key)
    }
    fn take_at(&mut self, at: &Located, key: &[u8]) -> Option<Owned<Entry>> {
        let e = self.find(at, key)?;
        self.ks.hooks.before_write(self.index, e);
        let e = self.held.table_mut(self.index, at.slot).remove(at.hash, key)?;
        self.stats.keys(self.index, -1);
        self.count_expires(e.as_ref().expiry(), NO_EXPIRY);
        self.count_volatile(e.as_ref().has_volatile_fields(), false);
        if e.as_ref().kind() == Kind::Stream {
            // Who reads one of its groups hears that it is gone.
            self.wake(at, key);
        }
        Some(e)
    }
    fn dispose(&self, e: Owned<Entry>, lazy: bool) {
        self.ks.lazy.dispose(e, lazy);
    }
    /// Removes a key of which the command left nothing, with the event `del`. True if it was removed.
    pub fn remove_if_empty(&mut self, key: &[u8]) -> bool {
        let empty = match self.peek(key).map(Ref::view) {
            Some(View::List(v)) => v.is_empty(),
            Some(View::Set(v)) => v.is_empty(),
            Some(View::ZSet(v)) => v.is_empty(),
            Some(View::Hash(v)) => v.is_empty(),
            _ => false,
        };
        if empty {
            self.delete(key, self.tuning.lazy_server_del);
            self.notify(notify::GENERIC, "del", key);
        }
        empty
    }
    /// An expired key goes: counted, announced, and replicated as a deletion.
    #[cold]
    fn expire(&mut self, at: &Located, key: &[u8]) {
        if let Some(e) = self.take_at(at, key) {
            self.dispose(e, self.tuning.lazy_expire);
            self.stats.expired(1);
            self.fx.propagate_removal(self.index, key, self.tuning.lazy_expire);
            self.notify(notify::EXPIRED, "expired", key);
            self.touched(at, key);
        }
    }
    /// For the expiry cycle: removes the key if it has expired now. Whether it was.
    pub fn expire_now(&mut self, key: &[u8]) -> bool {
        let at = self.locate(key);
        let over = |e: Ref<'_, Entry>| e.is_expired(self.now) && !self.is_awaited(e);
        let expired = !self.fx.keep_expired && self.find(&at, key).is_some_and(over);
        if expired {
            self.expire(&at, key);
        }
        expired
    }
    /// For keys of a writable replica's own: removes the key if it has expired. Whether it goes on and has a time.
    pub fn expire_own(&mut self, key: &[u8]) -> bool {
        let at = self.locate(key);
        let over = |e: Ref<'_, Entry>| e.is_expired(self.now) && !self.is_awaited(e);
        let expired = self.find(&at, key).map(|e| (e.expiry() != NO_EXPIRY).then(|| over(e)));
        if expired == Some(Some(true)) {
            self.expire(&at, key);
        }
        expired == Some(Some(false))
    }
    /// For eviction: removes the key, counted, announced and replicated.
    pub fn evict(&mut self, key: &[u8]) -> bool {
        let at = self.locate(key);
        let Some(e) = self.take_at(&at, key) else { return false };
        // Thousands of empty tables are memory, too.
        let table = self.held.table_mut(self.index, at.slot);
        if table.is_empty() {
            *table = Dict::new();
        }
        self.dispose(e, self.tuning.lazy_eviction);
        self.stats.evicted(1);
        self.fx.propagate_removal(self.index, key, self.tuning.lazy_eviction);
        self.notify(notify::EVICTED, "evicted", key);
        self.touched(&at, key);
        true
    }

    /// The key was changed: its watchers are dirtied, and the command counts as a write (`changes` of it).
    #[inline]
    pub fn modified(&mut self, key: &[u8], changes: u64) {
        self.fx.dirty += changes;
        let at = self.locate(key);
        self.touched(&at, key);
    }
    /// Something that is no key was changed: the command counts as a write.
    pub fn changed(&mut self) {
        self.fx.dirty += 1;
    }
    #[inline]
    fn touched(&mut self, at: &Located, key: &[u8]) {
        if self.held.extra(at.slot).is_some() {
            let exists = self.find(at, key).is_some();
            self.held.extra_mut(at.slot).touch(self.index, key, exists);
        }
        if self.fx.tracking {
            self.fx.invalidated.push(key.to_vec());
        }
    }
    /// A keyspace notification, if somebody wants this class.
    #[inline]
    pub fn notify(&mut self, class: u32, name: &'static str, key: &[u8]) {
        if self.fx.wants(class) {
            self.fx.events.push(Event { name, db: self.index, key: key.to_vec(), class });
        }
    }
    /// The key holds something that clients may be blocked for.
    #[inline]
    fn wake(&mut self, at: &Located, key: &[u8]) {
        if self.held.extra(at.slot).is_some_and(|x| x.has_waiters(self.index, key)) {
            self.fx.ready.push((self.index, key.to_vec()));
        }
    }
    /// Something was added to the value at the key that clients may be blocked for.
    pub fn signal(&mut self, key: &[u8]) {
        let at = self.locate(key);
        self.wake(&at, key);
    }
    /// Watches a key in a held slot.
    pub fn watch(&mut self, key: &[u8], watch: &Arc<Watch>) {
        let at = self.locate(key);
        let expired = self.find(&at, key).is_some_and(|e| e.is_expired(self.now));
        self.held.extra_mut(at.slot).watch(self.index, key, watch, expired);
    }
    /// Ends the watch of a key in a held slot.
    pub fn unwatch(&mut self, key: &[u8], watch: &Arc<Watch>) {
        let at = self.locate(key);
        self.held.extra_mut(at.slot).unwatch(self.index, key, watch);
        self.held.tidy_extra(at.slot);
    }
    /// Whether a watched key's time was over only after it was watched: that counts as a change.
    pub fn watch_expired(&self, key: &[u8], watch: &Arc<Watch>) -> bool {
        let at = self.locate(key);
        self.find(&at, key).is_some_and(|e| e.is_expired(self.now))
            && self.held.extra(at.slot).is_some_and(|x| !x.watched_when_expired(self.index, key, watch))
    }
    /// Puts a waiter into the queue of a key in a held slot.
    pub fn wait(&mut self, key: &[u8], waiter: &Arc<Waiter>) {
        let at = self.locate(key);
        self.held.extra_mut(at.slot).wait(self.index, key, waiter);
    }
    /// Takes a waiter out of the queue of a key in a held slot.
    pub fn forget_waiter(&mut self, key: &[u8], waiter: &Arc<Waiter>) {
        let at = self.locate(key);
        self.held.extra_mut(at.slot).forget_waiter(self.index, key, waiter);
        self.held.tidy_extra(at.slot);
    }
    /// The waiters of a key in a held slot, in order.
    pub fn waiters(&mut self, key: &[u8]) -> Vec<Arc<Waiter>> {
        let at = self.locate(key);
        if self.held.extra(at.slot).is_none() {
            return Vec::new();
        }
        let list = self.held.extra_mut(at.slot).waiters(self.index, key);
        self.held.tidy_extra(at.slot);
        list
    }
    /// The command's effect for replicas and the append-only file, in place of the command itself.
    pub fn effect(&mut self, argv: &[&[u8]]) {
        self.fx.replace(self.index, argv);
    }

    /// Passes a command on to replicas that changes no data (PUBLISH).
    pub fn share(&mut self, argv: &[&[u8]]) {
        self.fx.share(self.index, argv);
    }

    /// The locks, for code that works on slots rather than keys.
    pub fn held(&mut self) -> &mut Held {
        self.held
    }
    /// Runs `f` on one slot of this database, locking it for the time if it is not locked already. What it removed is
    /// logged before the lock is dropped. `None` if a script keeps the slot from those who do not wait for it.
    pub fn with_slot<R>(&mut self, slot: u16, f: impl FnOnce(&mut Db<'_>) -> R) -> Option<R> {
        if self.held.has(slot) {
            return Some(f(self));
        }
        debug_assert!(self.held.is_empty(), "slot by slot, or all");
        if !self.held.lock(&mut [slot]) {
            return None;
        }
        self.fx.logging = self.ks.hooks.logging();
        self.fx.tracking = self.ks.hooks.tracking();
        let result = f(self);
        if !self.fx.log.is_empty() && !self.fx.in_transaction {
            self.ks.hooks.append(&mut self.fx.log);
        }
        self.held.unlock();
        Some(result)
    }
    /// Whether the database was ever used.
    pub fn is_used(&self) -> bool {
        self.held.exists(self.index)
    }
    /// Keys in a held slot.
    pub fn slot_len(&self, slot: u16) -> usize {
        self.held.table(self.index, slot).len()
    }
    /// One step of a scan through a held slot, from a position; see [`dict::Dict::scan`]. Expired keys are left out.
    pub fn scan_slot(&self, slot: u16, pos: u64, mut f: impl FnMut(Ref<'_, Entry>)) -> u64 {
        let now = self.now;
        self.held.table(self.index, slot).scan(pos, |e| {
            if !e.is_expired(now) {
                f(e)
            }
        })
    }
    /// As [`Db::scan_slot`], expired keys included.
    pub fn scan_slot_raw(&self, slot: u16, pos: u64, f: impl FnMut(Ref<'_, Entry>)) -> u64 {
        self.held.table(self.index, slot).scan(pos, f)
    }
    /// One step of a scan through the entries of a held slot that have an expiry or expiring fields.
    pub fn scan_slot_volatile(&self, slot: u16, pos: u64, f: impl FnMut(Ref<'_, Entry>)) -> u64 {
        self.held.table(self.index, slot).scan_marked(pos, f)
    }
    /// How many entries of a held slot have an expiry or expiring fields.
    pub fn slot_volatile(&self, slot: u16) -> usize {
        self.held.table(self.index, slot).marked()
    }
    /// One step of moving the tables of a held slot to where memory is better used; see [`dict::Dict::rehome`].
    pub fn rehome_slot(&mut self, slot: u16, pos: u64, worth: impl FnOnce(*const u8) -> bool) -> u64 {
        self.held.table_mut(self.index, slot).rehome(pos, worth)
    }
    /// A random entry of a held slot.
    pub fn random_in_slot(&self, slot: u16) -> Option<Ref<'_, Entry>> {
        self.held.table(self.index, slot).random()
    }
    /// Bytes of the tables of a held slot.
    pub fn slot_table_bytes(&self, slot: u16) -> usize {
        self.held.table(self.index, slot).mem_bytes()
    }

    /// Empties the database; all slots are held. Returns how many keys it had.
    pub fn flush(&mut self, lazy: bool) -> u64 {
        assert!(self.held.has_all());
        if !self.is_used() {
            return 0;
        }
        let (mut keys, mut expires, mut volatile) = (0, 0, 0);
        let mut tables = Vec::new();
        let index = self.index;
        for slot in 0..SLOTS as u16 {
            let (table, extra) = self.held.table_and_extra(index, slot);
            if let Some(x) = extra {
                x.touch_all(index, |k| table.find(dict::hash(k), k).is_some(), |_| None);
                let is_stream = |k: &&[u8]| table.find(dict::hash(k), k).is_some_and(|e| e.kind() == Kind::Stream);
                self.fx.ready.extend(x.waited_keys(index).filter(is_stream).map(|k| (index, k.to_vec())));
            }
            let table = self.held.table_mut(index, slot);
            if !table.is_empty() {
                keys += table.len() as u64;
                let table = std::mem::take(table);
                if table.marked() > 0 {
                    expires += table.iter().filter(|e| e.expiry() != NO_EXPIRY).count() as i64;
                    volatile += table.iter().filter(|e| e.has_volatile_fields()).count() as i64;
                }
                tables.push(table);
            }
        }
        self.stats.keys(index, -(keys as i64));
        self.stats.expires(index, -expires);
        self.stats.volatile_hashes(index, -volatile);
        self.fx.flushed = true;
        if let Some(tables) = self.ks.hooks.take_tables(index, tables) {
            self.ks.lazy.dispose_tables(Garbage::Tables(tables), lazy);
        }
        keys
    }
    /// Puts what another keyspace holds in place of nothing: this one is empty, and the other one is afterwards. All slots
    /// of both are held.
    pub fn adopt(&mut self, from: &'static Keyspace, other: &mut Held) {
        let (ours, theirs) = (self.ks.hooks.parity(), from.hooks.parity());
        self.held.exchange(other);
        if ours != theirs {
            // To a snapshot, what came is new.
            for db in (0..self.ks.databases()).filter(|db| self.held.exists(*db)) {
                for slot in 0..SLOTS as u16 {
                    self.held.table(db, slot).iter().for_each(|e| e.set_snapshot_bit(ours));
                }
            }
        }
    }
    /// Swaps this database with another; all slots are held.
    pub fn swap(&mut self, other: usize) {
        assert!(self.held.has_all());
        let (a, b) = (self.index, other);
        if a == b || !(self.held.exists(a) || self.held.exists(b)) {
            return;
        }
        let (mut keys, mut expires, mut volatile) = (0i64, 0i64, 0i64);
        let now = self.now;
        for slot in 0..SLOTS as u16 {
            for (this, that) in [(a, b), (b, a)] {
                let (before, after, extra) = self.held.tables_and_extra(this, that, slot);
                if let Some(x) = extra {
                    let is_there = |k: &[u8]| before.find(dict::hash(k), k).is_some();
                    x.touch_all(this, is_there, |k| after.find(dict::hash(k), k).map(|e| e.is_expired(now)));
                }
            }
            for (t, sign) in [(a, -1), (b, 1)] {
                let table = self.held.table(t, slot);
                keys += sign * table.len() as i64;
                if table.marked() > 0 {
                    expires += sign * table.iter().filter(|e| e.expiry() != NO_EXPIRY).count() as i64;
                    volatile += sign * table.iter().filter(|e| e.has_volatile_fields()).count() as i64;
                }
            }
            self.held.swap(a, b, slot);
        }
        self.ks.hooks.swapped(a, b);
        self.stats.keys(a, keys);
        self.stats.keys(b, -keys);
        self.stats.expires(a, expires);
        self.stats.expires(b, -expires);
        self.stats.volatile_hashes(a, volatile);
        self.stats.volatile_hashes(b, -volatile);
        self.fx.flushed = true;
        for slot in 0..SLOTS as u16 {
            let Some(x) = self.held.extra(slot) else { continue };
            let waited: SmallVec<[(usize, Vec<u8>); 4]> =
                [a, b].iter().flat_map(|db| x.waited_keys(*db).map(|k| (*db, k.to_vec()))).collect();
            for (db, key) in waited {
                let wakes =
                    |t: usize| self.held.table(t, slot).find(dict::hash(&key), &key).is_some_and(|e| e.kind().wakes());
                // Who reads a group of a stream that went with its database hears of it.
                if wakes(db) || wakes(a + b - db) {
                    self.fx.ready.push((db, key));
                }
            }
        }
    }
}
