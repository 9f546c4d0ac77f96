//! Giving slots to nodes and taking them, with what follows from it.

use super::node::ME;
use super::{Core, Event, Level, SlotSet};
use crate::base::slot::SLOTS;

impl Core {
    /// Give a slot without owner to a node.
    pub(super) fn assign_slot(&mut self, slot: u16, at: usize) -> bool {
        self.unclaimed.remove(slot);
        self.nodes.assign(slot, at)
    }

    /// Take a slot from its owner. Who is subscribed to shard channels in it has to look for them elsewhere.
    pub(super) fn release_slot(&mut self, slot: u16) -> Option<usize> {
        let owner = self.nodes.unassign(slot)?;
        self.unclaimed.remove(slot);
        self.disowned.insert(slot);
        Some(owner)
    }

    /// Whether anybody may have a slot: it has no owner, or one that does not claim it any more.
    pub(super) fn is_unclaimed(&self, slot: u16) -> bool {
        self.nodes.owner(slot).is_none() || self.unclaimed.contains(slot)
    }

    /// No slot is given away or received any more.
    pub(super) fn close_slots(&mut self) {
        self.migrating.clear();
        self.importing.clear();
    }

    /// After the data was loaded: a node that has keys in slots which are nobody's takes them, and drops the keys of
    /// slots which are somebody else's. `populated` tells whether a slot has keys.
    pub fn reconcile_with_data(&mut self, now: i64, populated: impl Fn(u16) -> bool) {
        self.begin(now);
        if self.nodes[ME].is_replica() {
            return;
        }
        let mut lost = SlotSet::new();
        let mut taken = false;
        for slot in (0..SLOTS).filter(|&slot| populated(slot)) {
            let owner = self.nodes.owner(slot);
            if owner == Some(ME) || self.importing.contains_key(&slot) {
                continue;
            }
            if owner.is_none() {
                self.log(Level::Notice, || {
                    format!("I have keys for unassigned slot {slot}. Taking responsibility for it.")
                });
                self.assign_slot(slot, ME);
                taken = true;
            } else {
                self.log(Level::Notice, || {
                    format!("I have keys for slot {slot}, but the slot is assigned to another node. Deleting keys in the slot.")
                });
                lost.insert(slot);
            }
        }
        if taken {
            self.save_durably();
            self.todo.state = true;
        }
        if !lost.is_empty() {
            self.events.push_back(Event::SlotsLost(lost));
        }
        self.settle();
    }
}
