//! Moving slots: CLUSTER SETSLOT, and the end of a move of whole slots.

use std::fmt::Write;

use super::command::{Command, Error, Keys, Reply};
use super::message::Audience;
use super::node::{ME, Node};
use super::{Core, Flags, Level, NodeId, SlotAction, SlotSet};

impl Core {
    /// Whether SETSLOT could be carried out now. `true`: this node has replicas, who are to hear of it first. A failure of
    /// this node right after the change would otherwise lose it, and the others may know of it already.
    ///
    /// # Errors
    /// The text that the client gets.
    pub fn may_set_slot(&self, command: &Command, keys: &dyn Keys) -> Result<bool, Error> {
        let Command::SetSlot { slot, action, timeout, from_primary } = command else { return Ok(false) };
        self.check_set_slot(*slot, action, *from_primary, keys)?;
        (*timeout)?;
        Ok(!self.nodes[ME].replicas.is_empty())
    }

    pub(super) fn check_set_slot(
        &self,
        slot: u16,
        action: &SlotAction,
        from_primary: bool,
        keys: &dyn Keys,
    ) -> Result<(), Error> {
        let is_replica = self.nodes[ME].is_replica();
        if is_replica && !from_primary {
            return Err("ERR Please use SETSLOT only with masters.".into());
        }
        if slot >= crate::base::slot::SLOTS {
            return Err("ERR Invalid or out of range slot".into());
        }
        let mine = self.nodes.owner(slot) == Some(ME);
        match action {
            SlotAction::Migrating(_) if !is_replica && !mine => {
                return Err(format!("ERR I'm not the owner of hash slot {slot}").into());
            }
            SlotAction::Importing(_) if mine => {
                return Err(format!("ERR I'm already the owner of hash slot {slot}").into());
            }
            _ => {}
        }
        if let Some(at) = self.target(action)?
            && matches!(action, SlotAction::Node(_))
            && mine
            && at != ME
            && keys.in_slot(slot) != 0
        {
            return Err(format!(
                "ERR Can't assign hashslot {slot} to a different node while I still hold keys for this hash slot."
            )
            .into());
        }
        Ok(())
    }

    /// Carries out what was checked.
    pub(super) fn set_slot(&mut self, slot: u16, action: &SlotAction, keys: &dyn Keys) -> Result<Reply, Error> {
        let target = self.target(action)?;
        match (action, target) {
            (SlotAction::Migrating(_), Some(at)) => {
                let name = self.named(at);
                self.log(Level::Notice, || format!("Migrating slot {slot} to node {name}"));
                self.migrating.insert(slot, at);
            }
            (SlotAction::Importing(_), Some(at)) => {
                let name = self.named(at);
                self.log(Level::Notice, || format!("Importing slot {slot} from node {name}"));
                self.importing.insert(slot, at);
            }
            (SlotAction::Node(_), Some(at)) => self.give_slot(slot, at, keys),
            _ => {
                self.log(Level::Notice, || format!("Marking slot {slot} stable"));
                self.importing.remove(&slot);
                self.migrating.remove(&slot);
            }
        }
        self.save();
        self.todo.state = true;
        Ok(Reply::Ok)
    }

    /// The primary that an action names, if it names one.
    fn target(&self, action: &SlotAction) -> Result<Option<usize>, Error> {
        let (node, unknown) = match action {
            SlotAction::Stable => return Ok(None),
            SlotAction::Node(node) => (node, "Unknown node"),
            SlotAction::Migrating(node) | SlotAction::Importing(node) => (node, "I don't know about node"),
        };
        let Some(at) = self.lookup(node) else {
            return Err(format!("ERR {unknown} {}", String::from_utf8_lossy(node)).into());
        };
        if self.nodes[at].is_replica() {
            return Err("ERR Target node is not a master".into());
        }
        Ok(Some(at))
    }

    /// What this node gives away and receives, as a full synchronization tells it to a replica: `slot>id,` and
    /// `slot<id,`. None if there is nothing.
    pub fn open_slots(&self) -> Option<String> {
        let mut text = String::new();
        for (map, sign) in [(&self.importing, '<'), (&self.migrating, '>')] {
            for (slot, &at) in map {
                let _ = write!(text, "{slot}{sign}{},", self.nodes[at].id);
            }
        }
        (!text.is_empty()).then_some(text)
    }

    /// Takes over what [`open_slots`](Self::open_slots) of this replica's primary told.
    ///
    /// # Errors
    /// What is wrong with it; what stood before that is taken.
    pub fn learn_open_slots(&mut self, now: i64, text: &str) -> Result<(), String> {
        self.begin(now);
        let mut result = Ok(());
        for entry in text.split_terminator(',') {
            let parsed = entry.split_once(['<', '>']).and_then(|(slot, id)| {
                let slot = slot.parse::<u16>().ok().filter(|&slot| slot < crate::base::slot::SLOTS)?;
                Some((slot, NodeId::parse(id.as_bytes())?, entry.contains('<')))
            });
            let Some((slot, id, importing)) = parsed else {
                result = Err(format!("wrong slot state '{entry}'"));
                break;
            };
            let at = self.nodes.find(&id).unwrap_or_else(|| {
                // Known by its name alone until others tell where it is.
                self.log(Level::Notice, || {
                    format!("Slot {slot} is open to or from node {id}, of which nothing is known yet")
                });
                self.nodes.add(Node::new(id, Flags::NONE, self.now))
            });
            if importing {
                self.importing.insert(slot, at)
            } else {
                self.migrating.insert(slot, at)
            };
            self.save();
        }
        self.settle();
        result
    }

    /// SETSLOT NODE: the end of a move, on the source, on the target, and on anybody else who is told.
    fn give_slot(&mut self, slot: u16, at: usize, keys: &dyn Keys) {
        let (name, shard) = (self.named(at), self.nodes[at].shard_id);
        self.log(Level::Notice, || format!("Assigning slot {slot} to node {name} in shard {shard}"));
        if self.migrating.contains_key(&slot) && keys.in_slot(slot) == 0 {
            self.migrating.remove(&slot);
        }
        let was_ours = self.nodes.owner(slot) == Some(self.nodes.primary_of(ME));
        self.release_slot(slot);
        self.assign_slot(slot, at);
        if was_ours {
            self.left_slots(at);
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

    /// Slots of this node's shard are another node's now: what follows if that were its last.
    fn left_slots(&mut self, at: usize) {
        let my_primary = self.nodes.primary_of(ME);
        let (name, shard) = (self.named(at), self.nodes[at].shard_id);
        if self.nodes[my_primary].slots.is_empty() && at != my_primary {
            if self.settings.allow_replica_migration && at != ME {
                self.log(Level::Notice, || {
                    format!("Lost my last slot during slot migration. Reconfiguring myself as a replica of {name} in shard {shard}")
                });
                self.follow(at, true, true);
                self.save_durably();
                // The old primary waits for its replicas, and would not hear of this one any more.
                self.broadcast_pong(Audience::All);
            } else if self.nodes[ME].is_primary() {
                self.log(Level::Notice, || {
                    format!("My last slot was migrated to node {name} in shard {shard}. I am now an empty primary.")
                });
            }
        }
    }

    /// Slots that were moved as a whole are another node's from now on.
    pub(super) fn pass_slots(&mut self, slots: &SlotSet, to: &NodeId) -> Result<Reply, Error> {
        let at = self.nodes.find(to).filter(|&at| at != ME).ok_or_else(|| format!("ERR Unknown node {to}"))?;
        if self.nodes[at].is_replica() {
            return Err("ERR Target node is not a master".into());
        }
        let (name, shard) = (self.named(at), self.nodes[at].shard_id);
        self.log(Level::Notice, || format!("Assigning slots {slots} to node {name} in shard {shard}"));
        let my_primary = self.nodes.primary_of(ME);
        let mut were_ours = false;
        for slot in slots.iter() {
            self.importing.remove(&slot);
            self.migrating.remove(&slot);
            were_ours |= self.nodes.owner(slot) == Some(my_primary);
            self.release_slot(slot);
            self.assign_slot(slot, at);
        }
        if were_ours {
            self.left_slots(at);
        }
        self.save();
        self.todo.state = true;
        Ok(Reply::Ok)
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
