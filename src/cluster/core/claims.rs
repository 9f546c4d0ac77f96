//! Which slots a primary says it owns, and what this node makes of it.
//!
//! A claim holds against the owner that this node knows if it comes with a greater epoch. When the claims take the last
//! slot from this node's shard, the shard was taken over, by one of its replicas or by an operator who moved everything
//! away, and this node follows whoever did it.

use std::collections::BTreeMap;

use super::node::ME;
use super::{Core, Event, Level, SlotSet};

impl Core {
    /// `sender` owns exactly `claimed` since `epoch`, as it says itself or as somebody says in an UPDATE.
    pub(super) fn learn_claims(&mut self, sender: usize, epoch: u64, claimed: &SlotSet) {
        if sender == ME {
            return self.log(Level::Notice, || "Discarding UPDATE message about myself.".to_owned());
        }
        let me_primary = self.nodes[ME].is_primary();
        let mine = if me_primary { Some(ME) } else { self.nodes[ME].primary };
        let same_shard = self.nodes.same_shard(sender, ME);
        let mut dirty = SlotSet::new();
        let mut moved: BTreeMap<usize, SlotSet> = BTreeMap::new();
        let mut lost_to_sender = 0u16;
        for slot in claimed.iter() {
            let owner = self.nodes.owner(slot);
            if owner == Some(sender) {
                self.unclaimed.remove(slot);
                continue;
            }
            let stale = owner.is_some_and(|owner| self.nodes[owner].config_epoch >= epoch);
            if !self.is_unclaimed(slot) && stale {
                continue;
            }
            if let Some(owner) = owner.filter(|&owner| !self.nodes.same_shard(owner, sender)) {
                moved.entry(owner).or_default().insert(slot);
            }
            if owner == Some(ME) {
                dirty.insert(slot);
            }
            if owner.is_some() && owner == mine {
                lost_to_sender += 1;
            }
            self.close_taken_slot(slot, sender, same_shard);
            self.release_slot(slot);
            self.assign_slot(slot, sender);
            self.save_durably();
            self.todo.state = true;
        }
        for (owner, slots) in moved {
            let (from, to) = (self.named(owner), self.named(sender));
            let (old, new) = (self.nodes[owner].shard_id, self.nodes[sender].shard_id);
            let (noun, verb) = if slots.len() == 1 { ("Slot", "is") } else { ("Slots", "are") };
            self.log(Level::Notice, || {
                format!("{noun} {slots} {verb} migrated from node {from} in shard {old} to node {to} in shard {new}.")
            });
        }
        self.learn_given_up(sender, epoch, claimed);
        let mut new_primary = lost_to_sender > 0;
        // Two shards without slots: who has the greater epoch leads.
        if !new_primary
            && same_shard
            && claimed.is_empty()
            && self.nodes[ME].primary != Some(sender)
            && self.nodes[ME].slots.is_empty()
            && self.nodes.epoch_of(ME) < epoch
        {
            new_primary = true;
        }
        let shard_is_empty = mine.is_some_and(|mine| self.nodes[mine].slots.is_empty());
        if new_primary && shard_is_empty {
            let name = self.named(sender);
            let shard = self.nodes[sender].shard_id;
            if self.settings.allow_replica_migration || same_shard {
                self.log(Level::Notice, || {
                    format!("Configuration change detected. Reconfiguring myself as a replica of node {name} in shard {shard}")
                });
                // Within the shard the slots that are being moved stay open: the new primary goes on.
                self.follow(sender, !same_shard, !same_shard);
                self.save_durably();
                self.todo.state = true;
                return;
            }
            if me_primary && claimed.len() >= lost_to_sender {
                self.log(Level::Notice, || {
                    format!("My last slot was migrated to node {name} in shard {shard}. I am now an empty primary.")
                });
            }
        }
        // This node was not demoted (it would synchronize): what it has of the slots that it lost has to go.
        if !dirty.is_empty() {
            self.events.push_back(Event::SlotsLost(dirty));
        }
    }

    /// A slot that this node gives away or receives got another owner.
    fn close_taken_slot(&mut self, slot: u16, sender: usize, same_shard: bool) {
        // A failover within this shard leaves what it was doing as it was; everything else is an operator's decision.
        if let Some(&to) = self.migrating.get(&slot)
            && !same_shard
        {
            let (name, shard) = (self.named(to), self.nodes[to].shard_id);
            self.log(Level::Notice, || {
                format!("Slot {slot} is no longer being migrated to node {name} in shard {shard}.")
            });
            self.migrating.remove(&slot);
        }
        let Some(&from) = self.importing.get(&slot).filter(|&&from| from != sender) else { return };
        if self.nodes.same_shard(sender, from) {
            let (name, shard) = (self.named(sender), self.nodes[sender].shard_id);
            self.log(Level::Notice, || {
                format!("Failover occurred in migration source. Update importing source for slot {slot} to node {name} in shard {shard}.")
            });
            self.importing.insert(slot, sender);
        } else {
            let (name, shard) = (self.named(from), self.nodes[from].shard_id);
            self.log(Level::Notice, || {
                format!("Slot {slot} is no longer being imported from node {name} in shard {shard}.")
            });
            self.importing.remove(&slot);
        }
    }

    /// Slots that `sender` does not claim.
    fn learn_given_up(&mut self, sender: usize, epoch: u64, claimed: &SlotSet) {
        // It stays the owner until somebody else claims them: a redirect that leads nowhere new is better than none.
        let given_up = self.nodes[sender].slots.difference(claimed);
        for slot in given_up.iter() {
            self.unclaimed.insert(slot);
        }
        let retarget: Vec<u16> = self
            .migrating
            .iter()
            .filter(|&(slot, &to)| {
                to != sender
                    && !claimed.contains(*slot)
                    && (self.nodes[to].config_epoch < epoch || self.nodes[to].is_replica())
                    && self.nodes.same_shard(to, sender)
            })
            .map(|(&slot, _)| slot)
            .collect();
        for slot in retarget {
            let (name, shard) = (self.named(sender), self.nodes[sender].shard_id);
            self.log(Level::Notice, || {
                format!("Failover occurred in migration target. Slot {slot} is now being migrated to node {name} in shard {shard}.")
            });
            self.migrating.insert(slot, sender);
            self.save_durably();
        }
        if !self.nodes[ME].is_primary() {
            return;
        }
        // The source gave a slot up that this node was receiving: the end of the move was missed, by this node or by
        // the primary that it replaced.
        let finished: Vec<u16> = self
            .importing
            .iter()
            .filter(|&(slot, &from)| from == sender && !claimed.contains(*slot))
            .map(|(&slot, _)| slot)
            .collect();
        for slot in finished {
            let (name, shard) = (self.named(sender), self.nodes[sender].shard_id);
            self.log(Level::Notice, || {
                format!("Slot {slot} is no longer being imported from node {name} in shard {shard}; Clear my importing source for the slot.")
            });
            self.importing.remove(&slot);
            if self.nodes.owner(slot) != Some(ME) {
                self.release_slot(slot);
                self.assign_slot(slot, ME);
                self.bump_epoch();
                self.todo.state = true;
            }
            self.save_durably();
        }
    }

    /// If a node claims slots that belong to somebody with a greater epoch, say so: after a partition nobody else may
    /// be there to tell it.
    pub(super) fn correct_claims(&mut self, sender: usize, epoch: u64, claimed: &SlotSet) {
        let owner = claimed.iter().find_map(|slot| {
            let owner = self.nodes.owner(slot).filter(|&owner| owner != sender && !self.unclaimed.contains(slot))?;
            (self.nodes[owner].config_epoch > epoch).then_some(owner)
        });
        if let Some(owner) = owner {
            let (name, about) = (self.named(sender), self.nodes[owner].id);
            self.log(Level::Verbose, || {
                format!("Node {name} has old slots configuration, sending an UPDATE message about {about}")
            });
            self.send_update(sender, owner);
        }
    }
}
