//! The stream type: an ordered map from IDs to packed nodes of entries, and consumer groups.
//!
//! Nodes are listpacks in Redis's own layout (see [`node`]), keyed by the ID that the entries in them are relative to, so
//! that dumps, snapshots and full synchronizations carry them without conversion. The map is a B-tree and no radix tree:
//! IDs are two integers that compare in a few instructions, appends go to the last leaf, and a tree with eleven nodes a
//! leaf has less overhead than a trie with one allocation a node. Deleting marks an entry inside its node; a node goes
//! when its last entry does.
//!
//! What the stream remembers beside its entries decides how far a group is behind without counting: how many entries were
//! ever added, the first entry, and the greatest ID that was deleted by name.

mod group;
mod node;
mod range;

pub use group::{Consumer, Group, Nack, UNKNOWN};
pub use node::{Entry, Node};
pub use range::Range;

use std::collections::BTreeMap;
use std::collections::btree_map;
use std::ops::Bound;

use super::listpack::{Listpack, MAX_BYTES, Malformed};

/// The ID of an entry: a time, and a sequence within it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// Milliseconds, by convention Unix time.
    pub ms: u64,
    /// Orders the entries of a millisecond.
    pub seq: u64,
}

impl StreamId {
    /// The least ID, which no entry can have.
    pub const MIN: StreamId = StreamId { ms: 0, seq: 0 };
    /// The greatest ID.
    pub const MAX: StreamId = StreamId { ms: u64::MAX, seq: u64::MAX };

    /// An ID of its two parts.
    pub const fn new(ms: u64, seq: u64) -> StreamId {
        StreamId { ms, seq }
    }
    /// The ID after this one; none after the greatest.
    pub fn next(self) -> Option<StreamId> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(StreamId { seq, ..self }),
            None => Some(StreamId { ms: self.ms.checked_add(1)?, seq: 0 }),
        }
    }
    /// The ID before this one; none before the least.
    pub fn prev(self) -> Option<StreamId> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(StreamId { seq, ..self }),
            None => Some(StreamId { ms: self.ms.checked_sub(1)?, seq: u64::MAX }),
        }
    }
    /// Sixteen bytes that order as the IDs do: how dumps have it.
    pub fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.ms) << 64 | u128::from(self.seq)).to_be_bytes()
    }
    /// The ID that [`StreamId::to_bytes`] wrote.
    pub fn from_bytes(bytes: [u8; 16]) -> StreamId {
        let n = u128::from_be_bytes(bytes);
        StreamId { ms: (n >> 64) as u64, seq: n as u64 }
    }
}

impl std::fmt::Display for StreamId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

/// The size of nodes: `stream-node-max-bytes` and `stream-node-max-entries`; 0 is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeLimits {
    /// Bytes.
    pub bytes: usize,
    /// Entries, deleted ones included.
    pub entries: usize,
}

impl NodeLimits {
    /// The defaults of the configuration table.
    pub const DEFAULT: NodeLimits = NodeLimits { bytes: 4096, entries: 100 };
}

/// The ID that a new entry is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewId {
    /// The time of the clock (Unix ms), or the ID after the last one where that is later.
    Auto(u64),
    /// The next free sequence of a millisecond.
    At(u64),
    /// This one.
    Exact(StreamId),
}

/// What a trim keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The newest so many.
    Newest(u64),
    /// Those from an ID on.
    From(StreamId),
}

/// The most that are counted as added: replies and commands have no greater number.
const MAX_ADDED: u64 = i64::MAX as u64;

/// A stream; see the module's header.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    nodes: BTreeMap<StreamId, Node>,
    len: u64,
    last: StreamId,
    first: StreamId,
    max_deleted: StreamId,
    added: u64,
    groups: BTreeMap<Box<[u8]>, Group>,
}

/// The numbers that a dump has beside the nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// How many entries there are.
    pub len: u64,
    /// The last ID ever given.
    pub last: StreamId,
    /// The first entry there is; 0-0 if there is none.
    pub first: StreamId,
    /// The greatest ID deleted by name.
    pub max_deleted: StreamId,
    /// How many entries were ever added.
    pub added: u64,
}

impl Stream {
    /// An empty stream.
    pub fn new() -> Stream {
        Stream::default()
    }

    /// A stream of foreign nodes, in the order of a dump. Everything is checked: the nodes themselves, that IDs ascend
    /// through all of them, and that `counters` agree with them. Dumps of old versions have only `len` and `last` (`old`):
    /// the rest is worked out.
    pub fn from_nodes(
        nodes: impl IntoIterator<Item = (StreamId, Listpack)>,
        counters: Counters,
        old: bool,
    ) -> Result<Stream, Malformed> {
        let mut s = Stream { last: counters.last, ..Stream::default() };
        let mut end: Option<StreamId> = None;
        for (master, lp) in nodes {
            let (node, last) = Node::from_listpack(master, lp)?;
            if end.is_some_and(|end| master <= end) {
                return Err(Malformed);
            }
            if node.live() > 0 {
                end = last;
                s.len += node.live();
                s.nodes.insert(master, node);
            }
        }
        if s.len != counters.len || s.last_entry().is_some_and(|end| end > counters.last) {
            return Err(Malformed);
        }
        s.drop_marks_after_last();
        s.find_first();
        if old {
            s.added = s.len;
        } else {
            s.max_deleted = counters.max_deleted;
            s.added = counters.added.clamp(s.len, MAX_ADDED);
        }
        Ok(s)
    }

    /// The `OBJECT ENCODING` name.
    pub fn encoding(&self) -> &'static str {
        "stream"
    }
    /// How many entries there are.
    pub fn len(&self) -> u64 {
        self.len
    }
    /// Whether there is no entry. The key of such a stream stays.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// The numbers beside the entries.
    pub fn counters(&self) -> Counters {
        Counters { len: self.len, last: self.last, first: self.first, max_deleted: self.max_deleted, added: self.added }
    }
    /// The last ID ever given.
    pub fn last_id(&self) -> StreamId {
        self.last
    }
    /// The ID of the last entry there is.
    pub fn last_entry(&self) -> Option<StreamId> {
        self.range_rev(StreamId::MIN, StreamId::MAX).next().map(|e| e.id)
    }
    /// The least ID in the nodes, deleted entries included: what an exact trim by ID starts from. The greatest if there
    /// is none.
    pub fn first_stored(&self) -> StreamId {
        self.nodes.iter().find_map(|(master, node)| node.first(*master)).map_or(StreamId::MAX, |e| e.id)
    }
    /// The nodes with the IDs that they are kept under.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = (StreamId, &Listpack)> {
        self.nodes.iter().map(|(id, node)| (*id, node.listpack()))
    }
    /// The nodes behind the one that is kept under `id`.
    pub fn nodes_after(&self, id: StreamId) -> impl Iterator<Item = (StreamId, &Listpack)> {
        self.nodes.range((Bound::Excluded(id), Bound::Unbounded)).map(|(id, node)| (*id, node.listpack()))
    }

    /// The ID that an entry added with `id` gets; none where it is not greater than the last, or there is none left.
    pub fn next_id(&self, id: NewId) -> Option<StreamId> {
        let id = match id {
            NewId::Auto(now) if now > self.last.ms => StreamId::new(now, 0),
            NewId::Auto(_) => self.last.next()?,
            NewId::At(ms) if ms == self.last.ms => StreamId::new(ms, self.last.seq.checked_add(1)?),
            NewId::At(ms) => StreamId::new(ms, 0),
            NewId::Exact(id) => id,
        };
        (id > self.last).then_some(id)
    }

    /// Adds an entry of fields and values in turn, under an ID from [`Stream::next_id`].
    pub fn append(&mut self, id: StreamId, items: &[&[u8]], limits: NodeLimits) {
        debug_assert!(id > self.last && items.len().is_multiple_of(2));
        let bytes: usize = items.iter().map(|i| i.len()).sum();
        let most = if limits.bytes == 0 { MAX_BYTES } else { limits.bytes.min(MAX_BYTES) };
        let room = |node: &Node| {
            node.listpack().bytes() + bytes < most && (limits.entries == 0 || node.stored() < limits.entries as u64)
        };
        match self.nodes.last_entry() {
            Some(mut last) if room(last.get()) => {
                let master = *last.key();
                last.get_mut().push(master, id, items);
            }
            _ => {
                let mut node = Node::new(items);
                node.push(id, id, items);
                self.nodes.insert(id, node);
            }
        }
        self.len += 1;
        self.added = (self.added + 1).min(MAX_ADDED);
        self.last = id;
        if self.len == 1 {
            self.first = id;
        }
    }

    /// The entries from `start` to `end`, both included, deleted ones left out.
    pub fn range(&self, start: StreamId, end: StreamId) -> Range<'_> {
        Range::forward(&self.nodes, start, end)
    }
    /// The same, from the end.
    pub fn range_rev(&self, start: StreamId, end: StreamId) -> Range<'_> {
        Range::backward(&self.nodes, start, end)
    }
    /// The entry of this ID.
    pub fn get(&self, id: StreamId) -> Option<Entry<'_>> {
        self.range(id, id).next()
    }

    /// Deletes entries by their IDs; how many there were.
    pub fn delete(&mut self, ids: &[StreamId]) -> u64 {
        let (mut deleted, mut first_gone) = (0, false);
        for &id in ids {
            let Some((&master, node)) = self.nodes.range_mut(..=id).next_back() else { continue };
            if !node.delete(master, id) {
                continue;
            }
            if node.live() == 0 {
                self.nodes.remove(&master);
            }
            first_gone |= id == self.first;
            self.max_deleted = self.max_deleted.max(id);
            self.len -= 1;
            deleted += 1;
        }
        if first_gone {
            self.find_first();
        }
        deleted
    }

    /// Removes old entries until only those are left that `keep` says. `whole`: only whole nodes go, and only while no
    /// more than `limit` entries are removed (0: no limit). Returns how many were removed.
    pub fn trim(&mut self, keep: Keep, whole: bool, limit: u64) -> u64 {
        let mut removed = 0;
        while let Some(mut node) = self.nodes.first_entry() {
            if matches!(keep, Keep::Newest(n) if self.len <= n) {
                break;
            }
            let live = node.get().live();
            if limit > 0 && removed + live > limit {
                break;
            }
            let master = *node.key();
            let all = match keep {
                Keep::Newest(n) => self.len - live >= n,
                Keep::From(id) => node.get().last(master).is_none_or(|e| e.id < id),
            };
            if all {
                node.remove();
                self.len -= live;
                removed += live;
                continue;
            }
            if !whole {
                let n = match keep {
                    Keep::Newest(n) => node.get_mut().delete_first(master, self.len - n, StreamId::MAX),
                    Keep::From(id) => node.get_mut().delete_first(master, u64::MAX, id),
                };
                self.len -= n;
                removed += n;
                if n == live {
                    node.remove();
                }
            }
            break;
        }
        if removed > 0 {
            self.find_first();
        }
        removed
    }

    fn find_first(&mut self) {
        self.first = self.range(StreamId::MIN, StreamId::MAX).next().map_or(StreamId::MIN, |e| e.id);
    }

    /// Sets what XSETID sets; the caller has checked it against the entries.
    pub fn set_counters(&mut self, last: StreamId, added: Option<u64>, max_deleted: Option<StreamId>) {
        self.last = last;
        self.added = added.unwrap_or(self.added);
        self.max_deleted = max_deleted.unwrap_or(self.max_deleted);
        self.drop_marks_after_last();
    }

    /// Forgets deleted entries behind the last ID, which was set back: what is added next goes before their IDs.
    fn drop_marks_after_last(&mut self) {
        let last = self.last;
        if let Some(mut node) = self.nodes.last_entry() {
            let master = *node.key();
            node.get_mut().drop_marks_after(master, last);
        }
    }

    /// Whether an entry after `start` may have been deleted by name: then counters do not say how many there are.
    fn has_holes(&self, start: StreamId) -> bool {
        self.len > 0 && self.max_deleted != StreamId::MIN && self.first <= self.max_deleted && start <= self.max_deleted
    }

    /// How many entries were ever added up to this ID, where that can be told without counting.
    pub fn distance(&self, id: StreamId) -> Option<i64> {
        let added = self.added as i64;
        if self.added == 0 {
            return Some(0);
        }
        if (self.len == 0 && id <= self.last) || id == self.last {
            return Some(added);
        }
        if id > self.last || (self.max_deleted != StreamId::MIN && self.max_deleted >= self.first) {
            return None;
        }
        match id.cmp(&self.first) {
            std::cmp::Ordering::Less => Some(added.wrapping_sub(self.len as i64)),
            std::cmp::Ordering::Equal => Some(added.wrapping_sub(self.len as i64).wrapping_add(1)),
            std::cmp::Ordering::Greater => None,
        }
    }

    /// How many entries a group has not read yet, where that can be told without counting.
    pub fn lag(&self, group: &Group) -> Option<i64> {
        if self.added == 0 {
            return Some(0);
        }
        if group.entries_read != UNKNOWN && !self.has_holes(group.last_id) {
            return Some((self.added as i64).wrapping_sub(group.entries_read));
        }
        self.distance(group.last_id).map(|read| (self.added as i64).wrapping_sub(read))
    }

    /// How many entries a group has read after it reads `id` next, when it had read `before`.
    pub fn read_count_after(&self, before: i64, id: StreamId) -> i64 {
        if before != UNKNOWN && !self.has_holes(id) {
            before.wrapping_add(1)
        } else if self.added > 0 {
            self.distance(id).unwrap_or(UNKNOWN)
        } else {
            before
        }
    }

    /// The groups by name, in order.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = (&[u8], &Group)> {
        self.groups.iter().map(|(name, g)| (&name[..], g))
    }
    /// A group.
    pub fn group(&self, name: &[u8]) -> Option<&Group> {
        self.groups.get(name)
    }
    /// A group, to change.
    pub fn group_mut(&mut self, name: &[u8]) -> Option<&mut Group> {
        self.groups.get_mut(name)
    }
    /// Adds a group; false if there is one of this name.
    pub fn add_group(&mut self, name: &[u8], group: Group) -> bool {
        match self.groups.entry(name.into()) {
            btree_map::Entry::Occupied(_) => false,
            btree_map::Entry::Vacant(v) => {
                v.insert(group);
                true
            }
        }
    }
    /// Removes a group; whether there was one.
    pub fn remove_group(&mut self, name: &[u8]) -> bool {
        self.groups.remove(name).is_some()
    }

    /// A copy.
    pub fn duplicate(&self) -> Stream {
        self.clone()
    }

    /// Bytes allocated beyond the handle itself, estimated from up to `samples` nodes (0: all).
    pub fn mem_usage(&self, samples: usize) -> usize {
        /// What the tree takes for a node beside its listpack: key and handle, three quarters full.
        const SLOT: usize = (size_of::<StreamId>() + size_of::<Node>()) * 4 / 3;
        let samples = if samples == 0 { usize::MAX } else { samples };
        let seen = self.nodes.len().min(samples);
        let sum: usize = self.nodes.values().take(samples).map(|n| n.listpack().allocated()).sum();
        let nodes = match (self.nodes.len() > seen, self.nodes.values().next_back()) {
            // The last one is often not full: its own size counts, and the mean for the others.
            (true, Some(last)) => sum / seen * (self.nodes.len() - 1) + last.listpack().allocated(),
            _ => sum,
        };
        nodes + self.nodes.len() * SLOT + self.groups.iter().map(|(name, g)| name.len() + g.mem_usage()).sum::<usize>()
    }

    /// About how many allocations it takes to free the stream.
    pub fn free_effort(&self) -> usize {
        let pending = self.groups.values().next().map_or(0, |g| g.pending_len());
        1 + self.nodes.len() + self.groups.len() * (1 + pending / 8)
    }
}

#[cfg(test)]
mod tests;
