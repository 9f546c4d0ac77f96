//! The nodes, by index, by id, and by slot.
//!
//! An index is good until its node is removed; indexes are used again. Whoever keeps one (links, open slots, reports)
//! is cleaned up by [`Core::remove_node`](super::Core), which is the only way to remove a node.
//!
//! Invariants: `owners[slot] == at` exactly if `nodes[at].slots` has the slot; `nodes[p].replicas` has `r` exactly if
//! `nodes[r].primary == Some(p)`; `live[nodes[at].place] == at`.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::{Index, IndexMut};

use super::node::{ME, Node};
use crate::base::slot::SLOTS;
use crate::cluster::{Flags, NodeId};

const NOBODY: u32 = u32::MAX;

/// Ids are random digits already: folding them is enough.
#[derive(Default)]
pub(super) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let word = chunk.iter().fold(0u64, |word, &byte| word << 8 | u64::from(byte));
            self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// All nodes that are known, this one first.
pub(super) struct Table {
    nodes: Vec<Option<Node>>,
    free: Vec<usize>,
    live: Vec<usize>,
    ids: HashMap<NodeId, usize, BuildHasherDefault<IdHasher>>,
    owners: Box<[u32]>,
    assigned: usize,
}

impl Table {
    pub(super) fn new(me: Node) -> Table {
        let mut table = Table {
            nodes: Vec::new(),
            free: Vec::new(),
            live: Vec::new(),
            ids: HashMap::default(),
            owners: vec![NOBODY; usize::from(SLOTS)].into(),
            assigned: 0,
        };
        table.add(me);
        table
    }

    /// Take a node in; its id must be new.
    pub(super) fn add(&mut self, mut node: Node) -> usize {
        let at = self.free.pop().unwrap_or(self.nodes.len());
        node.place = self.live.len();
        self.live.push(at);
        self.ids.insert(node.id, at);
        if at == self.nodes.len() {
            self.nodes.push(Some(node));
        } else {
            self.nodes[at] = Some(node);
        }
        at
    }

    /// Take a node out, with its slots and ties to primary and replicas.
    pub(super) fn remove(&mut self, at: usize) -> Option<Node> {
        if at == ME {
            return None;
        }
        self.unfollow(at);
        for replica in std::mem::take(&mut self[at].replicas) {
            self[replica].primary = None;
        }
        for slot in self[at].slots.clone().iter() {
            self.unassign(slot);
        }
        let node = self.nodes[at].take()?;
        self.ids.remove(&node.id);
        self.live.swap_remove(node.place);
        if let Some(&moved) = self.live.get(node.place) {
            self[moved].place = node.place;
        }
        self.free.push(at);
        Some(node)
    }

    /// Give a node the id that it turned out to have.
    pub(super) fn rename(&mut self, at: usize, id: NodeId) {
        let old = std::mem::replace(&mut self[at].id, id);
        self.ids.remove(&old);
        self.ids.insert(id, at);
    }

    pub(super) fn find(&self, id: &NodeId) -> Option<usize> {
        self.ids.get(id).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.live.len()
    }

    /// All nodes in a fixed order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Node)> {
        self.live.iter().filter_map(|&at| Some((at, self.nodes[at].as_ref()?)))
    }

    /// The indexes of all nodes, for loops that change them.
    pub(super) fn indexes(&self) -> Vec<usize> {
        self.live.clone()
    }

    /// The `draw`th node, of [`len`](Self::len).
    pub(super) fn nth(&self, draw: usize) -> usize {
        self.live[draw]
    }

    /// Whether there is a node at this index.
    pub(super) fn has(&self, at: usize) -> bool {
        self.nodes.get(at).is_some_and(Option::is_some)
    }

    pub(super) fn owner(&self, slot: u16) -> Option<usize> {
        match self.owners.get(usize::from(slot)) {
            Some(&at) if at != NOBODY => Some(at as usize),
            _ => None,
        }
    }

    /// How many slots have an owner.
    pub(super) fn assigned(&self) -> usize {
        self.assigned
    }

    /// Give a slot that has no owner one; false if it has one.
    pub(super) fn assign(&mut self, slot: u16, at: usize) -> bool {
        if slot >= SLOTS || self.owner(slot).is_some() {
            return false;
        }
        self.owners[usize::from(slot)] = at as u32;
        self.assigned += 1;
        self[at].slots.insert(slot);
        // A primary without replicas that gets its first slot may be given some, if others have any.
        if self[at].slots.len() == 1 && self.iter().any(|(_, node)| node.is_primary() && !node.replicas.is_empty()) {
            self[at].flags |= Flags::MIGRATE_TO;
        }
        true
    }

    /// Take a slot from its owner, whom it returns.
    pub(super) fn unassign(&mut self, slot: u16) -> Option<usize> {
        let at = self.owner(slot)?;
        self.owners[usize::from(slot)] = NOBODY;
        self.assigned -= 1;
        self[at].slots.remove(slot);
        Some(at)
    }

    /// Make one node the replica of another.
    pub(super) fn follow(&mut self, replica: usize, primary: usize) {
        self.unfollow(replica);
        self[replica].primary = Some(primary);
        let id = self[replica].id;
        let place = self[primary].replicas.partition_point(|&other| self[other].id < id);
        self[primary].replicas.insert(place, replica);
        self[primary].flags |= Flags::MIGRATE_TO;
    }

    /// Cut a node's tie to its primary.
    pub(super) fn unfollow(&mut self, replica: usize) {
        let Some(primary) = self[replica].primary.take() else { return };
        self[primary].replicas.retain(|&other| other != replica);
        if self[primary].replicas.is_empty() {
            self[primary].flags.set(Flags::MIGRATE_TO, false);
        }
    }

    /// How many replicas of a node did not fail.
    pub(super) fn working_replicas(&self, at: usize) -> usize {
        self[at].replicas.iter().filter(|&&replica| !self[replica].is_failed()).count()
    }

    /// Whether two nodes belong to one shard.
    pub(super) fn same_shard(&self, a: usize, b: usize) -> bool {
        self[a].shard_id == self[b].shard_id
    }

    /// The primary of a node's shard: itself, or whom it follows. Chains are followed to their end. Of a circle, which
    /// can stand anywhere on the way while roles change, no node is the primary: then it is the node itself.
    pub(super) fn primary_of(&self, at: usize) -> usize {
        let (mut primary, mut behind, mut steps) = (at, at, 0_usize);
        while let Some(next) = self[primary].primary {
            primary = next;
            // Half as fast on the same way: it is met where the way is a circle.
            steps += 1;
            if steps.is_multiple_of(2)
                && let Some(next) = self[behind].primary
            {
                behind = next;
            }
            if primary == behind || primary == at {
                return at;
            }
        }
        primary
    }

    /// The epoch under which a node's shard owns its slots.
    pub(super) fn epoch_of(&self, at: usize) -> u64 {
        self[self[at].primary.unwrap_or(at)].config_epoch
    }

    #[cfg(test)]
    pub(super) fn check(&self) {
        let mut owned = 0;
        for (at, node) in self.iter() {
            assert_eq!(self.find(&node.id), Some(at));
            assert_eq!(self.live[node.place], at);
            assert!(node.slots.iter().all(|slot| self.owner(slot) == Some(at)));
            assert!(node.replicas.iter().all(|&replica| self[replica].primary == Some(at)));
            assert!(node.primary.is_none_or(|primary| self[primary].replicas.contains(&at)));
            owned += usize::from(node.slots.len());
        }
        assert_eq!(owned, self.assigned);
        assert_eq!((0..SLOTS).filter(|&slot| self.owner(slot).is_some()).count(), owned);
    }
}

impl Index<usize> for Table {
    type Output = Node;
    fn index(&self, at: usize) -> &Node {
        match &self.nodes[at] {
            Some(node) => node,
            None => unreachable!("an index outlived its node"),
        }
    }
}

impl IndexMut<usize> for Table {
    fn index_mut(&mut self, at: usize) -> &mut Node {
        match &mut self.nodes[at] {
            Some(node) => node,
            None => unreachable!("an index outlived its node"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_a_primary_ends_wherever_it_is_a_circle() {
        let mut rng = crate::base::rng::Rng::new(1);
        let mut node = || Node::new(NodeId::random(&mut rng), Flags::REPLICA, 0);
        let mut table = Table::new(node());
        let at: Vec<usize> = (0..6).map(|_| table.add(node())).collect();
        for pair in at.windows(2) {
            table.follow(pair[0], pair[1]);
        }
        assert!(at.iter().all(|&node| table.primary_of(node) == at[5]));
        // The last ones follow each other: a circle that the first ones are not part of.
        for entry in (0..5).rev() {
            table.follow(at[5], at[entry]);
            assert!(at.iter().all(|&node| table.primary_of(node) == node), "{entry}");
        }
    }
}
