//! Consumer groups: how far a group has read, what was delivered and not acknowledged, and to whom.
//!
//! A pending entry stands in the group's list, with all that is known of it, and as a bare ID in that of its consumer.
//! The two always agree.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use super::StreamId;
use crate::types::listpack::Malformed;

/// The number of entries read is not known.
pub const UNKNOWN: i64 = -1;

/// A delivered entry that was not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nack {
    /// When it was delivered last, Unix ms.
    pub time: i64,
    /// How often it was delivered.
    pub count: u64,
    /// The name of the consumer it was delivered to.
    pub consumer: Arc<[u8]>,
}

/// A consumer of a group.
#[derive(Clone, Debug)]
pub struct Consumer {
    name: Arc<[u8]>,
    /// When it last tried to read or claim, Unix ms.
    pub seen: i64,
    /// When it last got an entry, Unix ms; -1: never.
    pub active: i64,
    pending: BTreeSet<StreamId>,
}

impl Consumer {
    /// Its name.
    pub fn name(&self) -> &[u8] {
        &self.name
    }
    /// How many entries it has not acknowledged.
    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }
    /// The entries it has not acknowledged, from an ID on.
    pub fn pending(&self, from: StreamId) -> impl Iterator<Item = StreamId> {
        self.pending.range(from..).copied()
    }
}

/// A consumer group; see the module's header.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// The last ID that was delivered to any consumer.
    pub last_id: StreamId,
    /// How many entries up to there, or [`UNKNOWN`].
    pub entries_read: i64,
    pending: BTreeMap<StreamId, Nack>,
    consumers: BTreeMap<Arc<[u8]>, Consumer>,
}

impl Group {
    /// A group without consumers that has read up to an ID.
    pub fn new(last_id: StreamId, entries_read: i64) -> Group {
        Group { last_id, entries_read, ..Group::default() }
    }

    /// How many entries are not acknowledged.
    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }
    /// The entries that are not acknowledged, from an ID on.
    pub fn pending(&self, from: StreamId) -> impl DoubleEndedIterator<Item = (StreamId, &Nack)> {
        self.pending.range(from..).map(|(id, nack)| (*id, nack))
    }
    /// The first entry from an ID on that is not acknowledged.
    pub fn next_pending(&self, from: Bound<StreamId>) -> Option<(StreamId, &Nack)> {
        self.pending.range((from, Bound::Unbounded)).next().map(|(id, nack)| (*id, nack))
    }
    /// An entry that is not acknowledged.
    pub fn nack(&self, id: StreamId) -> Option<&Nack> {
        self.pending.get(&id)
    }

    /// The consumers in the order of their names.
    pub fn consumers(&self) -> impl ExactSizeIterator<Item = &Consumer> {
        self.consumers.values()
    }
    /// A consumer.
    pub fn consumer(&self, name: &[u8]) -> Option<&Consumer> {
        self.consumers.get(name)
    }
    /// Adds a consumer; false if there is one of this name.
    pub fn add_consumer(&mut self, name: &[u8], seen: i64, active: i64) -> bool {
        if self.consumers.contains_key(name) {
            return false;
        }
        let name: Arc<[u8]> = name.into();
        self.consumers.insert(name.clone(), Consumer { name, seen, active, pending: BTreeSet::new() });
        true
    }
    /// Notes that a consumer tried to read.
    pub fn seen(&mut self, name: &[u8], now: i64) {
        if let Some(c) = self.consumers.get_mut(name) {
            c.seen = now;
        }
    }
    /// Removes a consumer and what it had not acknowledged: how much that was. None if there is no such consumer.
    pub fn remove_consumer(&mut self, name: &[u8]) -> Option<usize> {
        let consumer = self.consumers.remove(name)?;
        consumer.pending.iter().for_each(|id| drop(self.pending.remove(id)));
        Some(consumer.pending.len())
    }

    /// Makes an entry pending for a consumer, whoever had it before, delivered at `time` for the `count`-th time. `now`:
    /// the consumer got it at that moment. Nothing happens if there is no such consumer.
    pub fn assign(&mut self, id: StreamId, consumer: &[u8], time: i64, count: u64, now: Option<i64>) {
        let Some(owner) = self.consumers.get_mut(consumer) else { return };
        owner.pending.insert(id);
        if let Some(now) = now {
            owner.active = now;
        }
        let name = owner.name.clone();
        if let Some(old) = self.pending.insert(id, Nack { time, count, consumer: name })
            && *old.consumer != *consumer
            && let Some(before) = self.consumers.get_mut(&old.consumer)
        {
            before.pending.remove(&id);
        }
    }
    /// Removes a pending entry; whether there was one.
    pub fn acknowledge(&mut self, id: StreamId) -> bool {
        let Some(nack) = self.pending.remove(&id) else { return false };
        if let Some(c) = self.consumers.get_mut(&nack.consumer) {
            c.pending.remove(&id);
        }
        true
    }

    /// Takes over the consumers and pending entries of a dump. Each consumer comes with its times and its IDs; every
    /// pending entry must belong to exactly one consumer.
    pub fn load(
        &mut self,
        mut pending: BTreeMap<StreamId, (i64, u64)>,
        consumers: Vec<(Vec<u8>, i64, i64, Vec<StreamId>)>,
    ) -> Result<(), Malformed> {
        for (name, seen, active, ids) in consumers {
            if !self.add_consumer(&name, seen, active) {
                return Err(Malformed);
            }
            for id in ids {
                let (time, count) = pending.remove(&id).ok_or(Malformed)?;
                self.assign(id, &name, time, count, None);
            }
        }
        if pending.is_empty() { Ok(()) } else { Err(Malformed) }
    }

    /// Bytes allocated beyond the handle itself.
    pub(super) fn mem_usage(&self) -> usize {
        /// A pending entry in both lists, whose leaves are about three quarters full.
        const PENDING: usize = (size_of::<(StreamId, Nack)>() + size_of::<StreamId>()) * 4 / 3;
        const CONSUMER: usize = (size_of::<Consumer>() + size_of::<Arc<[u8]>>()) * 4 / 3 + 16;
        size_of::<Group>()
            + self.pending.len() * PENDING
            + self.consumers.values().map(|c| CONSUMER + c.name.len()).sum::<usize>()
    }
}
