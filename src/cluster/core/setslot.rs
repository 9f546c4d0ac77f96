//! Moving slots: CLUSTER SETSLOT, and the end of a move of whole slots.

use super::command::{Error, Keys, Reply};
use super::message::Audience;
use super::node::ME;
use super::{Core, Level, SlotAction, SlotSet};

impl Core {
    pub(super) fn set_slot(
        &mut self,
        slot: u16,
        action: &SlotAction,
        from_primary: bool,
        keys: &dyn Keys,
    ) -> Result<Reply, Error> {
        let is_replica = self.nodes[ME].is_replica();
        if is_replica && !from_primary {
            return Err("ERR Please use SETSLOT only with masters.".into());
        }
        if slot >= crate::base::slot::SLOTS {
            return Err("ERR Invalid or out of range slot".into());
        }
        let mine = self.nodes.owner(slot) == Some(ME);
        match action {
            SlotAction::Migrating(node) => {
                if !is_replica && !mine {
                    return Err(format!("ERR I'm not the owner of hash slot {slot}").into());
                }
                let at = self.target(node, "I don't know about node")?;
                let name = self.named(at);
                self.log(Level::Notice, || format!("Migrating slot {slot} to node {name}"));
                self.migrating.insert(slot, at);
            }
            SlotAction::Importing(node) => {
                if mine {
                    return Err(format!("ERR I'm already the owner of hash slot {slot}").into());
                }
                let at = self.target(node, "I don't know about node")?;
                let name = self.named(at);
                self.log(Level::Notice, || format!("Importing slot {slot} from node {name}"));
                self.importing.insert(slot, at);
            }
            SlotAction::Stable => {
                self.log(Level::Notice, || format!("Marking slot {slot} stable"));
                self.importing.remove(&slot);
                self.migrating.remove(&slot);
            }
            SlotAction::Node(node) => {
                let at = self.target(node, "Unknown node")?;
                if mine && at != ME && keys.in_slot(slot) != 0 {
                    return Err(format!(
                        "ERR Can't assign hashslot {slot} to a different node while I still hold keys for this hash slot."
                    )
                    .into());
                }
                self.give_slot(slot, at, keys);
            }
        }
        self.save();
        self.todo.state = true;
        Ok(Reply::Ok)
    }

    /// The primary that an argument names.
    fn target(&self, node: &[u8], unknown: &str) -> Result<usize, Error> {
        let Some(at) = self.lookup(node) else {
            return Err(format!("ERR {unknown} {}", String::from_utf8_lossy(node)).into());
        };
        if self.nodes[at].is_replica() {
            return Err("ERR Target node is not a master".into());
        }
        Ok(at)
    }

    /// SETSLOT NODE: the end of a move, on the source, on the target, and on anybody else who is told.
    fn give_slot(&mut self, slot: u16, at: usize, keys: &dyn Keys) {
        let (name, shard) = (self.named(at), self.nodes[at].shard_id);
        self.log(Level::Notice, || format!("Assigning slot {slot} to node {name} in shard {shard}"));
        if self.migrating.contains_key(&slot) && keys.in_slot(slot) == 0 {
            self.migrating.remove(&slot);
        }
        let my_primary = self.nodes.primary_of(ME);
        let was_ours = self.nodes.owner(slot) == Some(my_primary);
        self.release_slot(slot);
        self.assign_slot(slot, at);
        let shard_is_empty = self.nodes[my_primary].slots.is_empty();
        if was_ours && shard_is_empty && at != my_primary {
            if self.settings.allow_replica_migration && at != ME {
                self.log(Level::Notice, || {
                    format!("Lost my last slot during slot migration. Reconfiguring myself as a replica of {name} in shard {shard}")
                });
                self.follow(at, true, true);
                self.save_durably();
            } else if self.nodes[ME].is_primary() {
                self.log(Level::Notice, || {
                    format!("My last slot was migrated to node {name} in shard {shard}. I am now an empty primary.")
                });
            }
        }
        let to_my_shard = at == ME || self.nodes[ME].primary == Some(at);
        if to_my_shard && self.importing.remove(&slot).is_some() && at == ME {
            // The others take the slot from its old owner only under a greater epoch.
            if self.bump_epoch() {
                self.log(Level::Notice, || format!("ConfigEpoch updated after importing slot {slot}"));
            }
            self.save_durably();
            self.broadcast_pong(Audience::All);
        }
    }

    /// Slots that were received as a whole belong to this node from now on.
    pub(super) fn claim_slots(&mut self, slots: &SlotSet) -> Result<Reply, Error> {
        if self.nodes[ME].is_replica() {
            return Err("ERR Please use SETSLOT only with masters.".into());
        }
        for slot in slots.iter() {
            self.importing.remove(&slot);
            self.migrating.remove(&slot);
            if self.nodes.owner(slot) != Some(ME) {
                self.release_slot(slot);
                self.assign_slot(slot, ME);
            }
        }
        self.bump_epoch();
        self.save_durably();
        self.broadcast_pong(Audience::All);
        self.todo.state = true;
        Ok(Reply::Ok)
    }

    /// Nobody else may have these slots, which are this node's: another node may have taken them under the next epoch and
    /// told nobody.
    pub(super) fn reclaim_slots(&mut self, slots: &SlotSet) -> Result<Reply, Error> {
        if slots.iter().any(|slot| self.nodes.owner(slot) != Some(ME)) {
            return Err("ERR I'm not the owner of these slots".into());
        }
        let greatest = self.nodes.iter().map(|(_, node)| node.config_epoch).max().unwrap_or(0);
        self.current_epoch = self.current_epoch.max(greatest) + 1;
        self.bump_epoch();
        self.save_durably();
        self.broadcast_pong(Audience::All);
        Ok(Reply::Ok)
    }
}
