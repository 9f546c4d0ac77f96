//! Who is a primary, and who follows whom.

use super::node::ME;
use super::{Core, Event, Flags, Level, SlotSet};
use crate::base::slot::SLOTS;
use crate::cluster::wire::Header;

impl Core {
    /// Note that a node is a primary; nothing happens if that was known.
    pub(super) fn set_primary_role(&mut self, at: usize) {
        if self.nodes[at].is_primary() {
            return;
        }
        let had_primary = self.nodes[at].primary.is_some();
        self.nodes.unfollow(at);
        let node = &mut self.nodes[at];
        if had_primary && at != ME {
            node.flags |= Flags::MIGRATE_TO;
        }
        node.flags.set(Flags::REPLICA, false);
        node.flags |= Flags::PRIMARY;
        self.save();
        self.todo.state = true;
    }

    /// Take in the role that a node tells.
    pub(super) fn learn_role(&mut self, sender: usize, header: &Header<'_>) {
        let Some(claimed) = &header.primary else {
            return self.set_primary_role(sender);
        };
        let claimed = self.nodes.find(claimed);
        if self.nodes[ME].primary == Some(sender) && claimed == Some(ME) {
            // Each of two nodes takes the other for its primary: one of them has an old nodes.conf. Others, who know
            // better, will say which.
            return;
        }
        if self.nodes[sender].is_primary() {
            self.learn_demotion(sender, claimed, header.config_epoch);
        }
        let Some(primary) = claimed else { return };
        if self.nodes[sender].primary == Some(primary) || primary == sender {
            // A late packet may have led this node from its primary to one that is a replica again: nothing changes
            // any more that would lead it back.
            if self.nodes[ME].primary == Some(sender) && self.nodes[primary].is_primary() {
                self.leave_chain();
            }
            return;
        }
        let (name, of) = (self.named(sender), self.named(primary));
        let shard = self.nodes[primary].shard_id;
        self.log(Level::Notice, || format!("Node {name} is now a replica of node {of} in shard {shard}"));
        self.nodes.follow(sender, primary);
        self.leave_chain();
        self.retarget(sender, primary);
        // Not earlier: whether this node can continue from the new primary depends on the shard that it was in.
        self.set_shard(sender, shard);
        self.save();
    }

    /// Slots on their way to a node that follows another of its shard now go to that one. Claims tell of a failover, too, but
    /// not if the heir's role was known before them, or a late packet had turned the roles back for a moment.
    fn retarget(&mut self, from: usize, to: usize) {
        if !self.nodes.same_shard(from, to) {
            return;
        }
        let slots: Vec<u16> = self.migrating.iter().filter(|&(_, &at)| at == from).map(|(&slot, _)| slot).collect();
        for slot in slots {
            let (name, shard) = (self.named(to), self.nodes[to].shard_id);
            self.log(Level::Notice, || {
                format!("Failover occurred in migration target. Slot {slot} is now being migrated to node {name} in shard {shard}.")
            });
            self.migrating.insert(slot, to);
            self.save_durably();
        }
    }

    /// A primary says that it is a replica now.
    fn learn_demotion(&mut self, sender: usize, claimed: Option<usize>, epoch: u64) {
        let name = self.named(sender);
        let shard = self.nodes[sender].shard_id;
        let same_shard = claimed.filter(|&primary| self.nodes.same_shard(primary, sender));
        if let Some(primary) = same_shard {
            if self.nodes[sender].config_epoch > epoch {
                let known = self.nodes[sender].config_epoch;
                self.log(Level::Notice, || {
                    format!("Ignore stale message from {name} in shard {shard}; gossip config epoch: {epoch}, current config epoch: {known}")
                });
            } else if primary != ME {
                // Its successor did not tell yet; this is as good.
                self.set_primary_role(primary);
                self.nodes[primary].config_epoch = epoch;
                let to = self.named(primary);
                self.log(Level::Notice, || {
                    format!("A failover occurred in shard {shard}; node {name} failed over to node {to} with a config epoch of {epoch}")
                });
            }
        } else {
            let slots = self.nodes[sender].slots.clone();
            for slot in slots.iter() {
                self.release_slot(slot);
            }
            let count = slots.len();
            self.log(Level::Notice, || {
                format!("Node {name} is no longer primary of shard {shard}; removed all {count} slot(s) it used to own")
            });
            if let Some(primary) = claimed {
                let shard = self.nodes[primary].shard_id;
                self.log(Level::Notice, || format!("Node {name} is now part of shard {shard}"));
            }
        }
        let node = &mut self.nodes[sender];
        node.flags.set(Flags::PRIMARY | Flags::MIGRATE_TO, false);
        node.flags |= Flags::REPLICA;
        self.save();
        self.todo.state = true;
    }

    /// If the primary of this node became a replica itself, follow the one that it follows.
    fn leave_chain(&mut self) {
        let Some(primary) = self.nodes[ME].primary else { return };
        let Some(top) = self.nodes[primary].primary.filter(|&top| top != ME) else { return };
        let (to, from) = (self.nodes[top].id, self.nodes[primary].id);
        self.log(Level::Notice, || format!("I'm a sub-replica! Reconfiguring myself as a replica of {to} from {from}"));
        let full_sync = !self.nodes.same_shard(top, ME);
        self.follow(top, true, full_sync);
        self.save_durably();
        self.todo.state = true;
    }

    /// Become a replica of a node. This node owns no slots any more.
    pub(super) fn follow(&mut self, primary: usize, close_slots: bool, full_sync: bool) {
        debug_assert!(primary != ME && self.nodes[ME].slots.is_empty());
        let me = &mut self.nodes[ME];
        me.flags.set(Flags::PRIMARY | Flags::MIGRATE_TO, false);
        me.flags |= Flags::REPLICA;
        if close_slots {
            self.close_slots();
        }
        self.nodes.follow(ME, primary);
        self.set_shard(ME, self.nodes[primary].shard_id);
        self.follow_primary(full_sync);
        let others: SlotSet = (0..SLOTS).filter(|&slot| self.nodes.owner(slot) != Some(primary)).collect();
        if !others.is_empty() {
            self.events.push_back(Event::ChannelsLost(others));
        }
        self.end_manual_failover();
        self.election.cancel();
        self.save();
    }

    /// Tell the driver whom this node follows, and where that lives.
    pub(super) fn follow_primary(&mut self, full_sync: bool) {
        let Some(primary) = self.nodes[ME].primary else { return };
        let node = &self.nodes[primary];
        let port = node.main_port(self.settings.tls_replication);
        self.following = Some((node.id, node.ip.clone(), port));
        let event = Event::Follow { id: node.id, ip: node.ip.to_string(), port, full_sync };
        self.events.push_back(event);
    }

    /// If this node is a replica and the driver does not follow where the primary lives, tell it.
    pub(super) fn follow_if_due(&mut self) {
        let me = &self.nodes[ME];
        let Some(primary) = me.primary.filter(|_| me.is_replica()) else { return };
        let node = &self.nodes[primary];
        if node.flags.any(Flags::NOADDR) || node.ip.is_empty() {
            return;
        }
        let port = node.main_port(self.settings.tls_replication);
        let known = self.following.as_ref().is_some_and(|(id, ip, at)| (*id, ip, *at) == (node.id, &node.ip, port));
        if !known {
            self.follow_primary(false);
        }
    }

    /// Stop following, with the flags and events that go with it.
    pub(super) fn become_primary(&mut self) {
        self.set_primary_role(ME);
        self.following = None;
        self.events.push_back(Event::BecomePrimary);
    }
}
