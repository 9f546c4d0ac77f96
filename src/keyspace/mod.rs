//! The data: 16,384 slot tables a database, their locks, expiry, eviction, waiters and watchers.
//!
//! Start reading at [`slots`] (the locking rules) and [`db`] (what commands call); [`entry`] is the memory layout.

pub mod access;
pub mod db;
pub mod effects;
pub mod entry;
pub mod evict;
pub mod expire;
pub mod hooks;
pub mod lazyfree;
pub mod own;
pub mod rehome;
pub mod sample;
pub mod slots;
pub mod snapshot;
pub mod value;
pub mod waiters;

pub use access::Tuning;
pub use db::{Db, Located, Ttl};
pub use effects::{Effects, Event, LogBuf, Logged, Mark, Target, encode_request, notify, request_len};
pub use entry::{Entry, NO_EXPIRY, Text};
pub use slots::{Held, SLOTS};
pub use value::{Kind, Value, View, ViewMut};
pub use waiters::{WaitRequest, Waiter, WaiterClient, Watch};

/// An entry to read.
pub type EntryRef<'a> = crate::types::dict::Ref<'a, Entry>;

/// All keys of all databases.
pub struct Keyspace {
    slots: &'static slots::Slots,
    /// Where big values are freed.
    pub lazy: lazyfree::LazyFree,
    /// What replication and snapshots are told of.
    pub hooks: hooks::Hooks,
    /// Keys that end without a word of the primary.
    pub own: own::OwnKeys,
}

/// How big the tables of a database are.
#[derive(Clone, Copy, Debug, Default)]
pub struct TableSizes {
    /// Bytes that the tables take, without the entries.
    pub bytes: usize,
    /// Their buckets, of seven entries each.
    pub buckets: usize,
    /// Their entries.
    pub keys: usize,
    /// The entries of the biggest slot.
    pub most_keys: usize,
}

impl Keyspace {
    /// An empty keyspace, which lives as long as the process.
    pub fn new(databases: usize) -> &'static Keyspace {
        Box::leak(Box::new(Keyspace {
            slots: Box::leak(Box::new(slots::Slots::new(databases.max(1)))),
            lazy: lazyfree::LazyFree::start(),
            hooks: hooks::Hooks::default(),
            own: own::OwnKeys::default(),
        }))
    }
    /// How many databases there are.
    pub fn databases(&self) -> usize {
        self.slots.databases()
    }
    /// How often somebody found a slot locked, and how long all of them waited together, ns.
    pub fn lock_waits(&self) -> (u64, u64) {
        self.slots.waits()
    }
    /// How often commands named keys of each slot, since the start.
    pub fn slot_uses(&self) -> impl Iterator<Item = u64> + '_ {
        self.slots.uses()
    }
    /// Bytes and buckets of the tables of a database. Locks one slot after the other.
    pub fn table_sizes(&self, db: usize) -> TableSizes {
        let mut sizes = TableSizes::default();
        let mut held = self.held();
        if !held.exists(db) {
            return sizes;
        }
        for slot in 0..SLOTS as u16 {
            held.lock(&mut [slot]);
            let table = held.table(db, slot);
            sizes.bytes += table.mem_bytes();
            sizes.buckets += table.buckets();
            sizes.keys += table.len();
            sizes.most_keys = sizes.most_keys.max(table.len());
            held.unlock();
        }
        sizes
    }
    /// Says whether scripts keep others from their slots for long.
    pub fn set_busy(&self, on: bool) {
        self.slots.set_busy(on);
    }
    /// A set of locks for one thread.
    pub fn held(&self) -> Held {
        Held::new(self.slots)
    }
    /// Asks the processor for a slot's lock and table.
    #[inline]
    pub fn prefetch_slot(&self, slot: u16) {
        self.slots.prefetch_slot(slot);
    }
}
