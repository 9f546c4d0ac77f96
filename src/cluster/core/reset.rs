//! CLUSTER RESET and CLUSTER REPLICATE NO ONE: leaving the cluster, or the shard.

use super::node::ME;
use super::{Core, Event, Level, NodeId};
use crate::base::slot::SLOTS;

impl Core {
    /// Forget every node and slot. A hard reset takes a new id, too, and starts from epoch 0.
    pub(super) fn reset(&mut self, hard: bool) {
        if self.nodes[ME].is_replica() {
            self.become_primary();
            self.events.push_back(Event::FlushAll);
        }
        self.close_slots();
        self.end_manual_failover();
        for slot in 0..SLOTS {
            self.release_slot(slot);
        }
        for at in self.nodes.indexes() {
            self.remove_node(at);
        }
        self.blacklist.clear();
        self.forgotten.clear();
        if hard {
            self.current_epoch = 0;
            self.last_vote_epoch = 0;
            self.nodes[ME].config_epoch = 0;
            self.log(Level::Notice, || "configEpoch set to 0 via CLUSTER RESET HARD".to_owned());
            let id = NodeId::random(&mut self.rng);
            self.nodes.rename(ME, id);
            self.nodes[ME].shard_id = NodeId::random(&mut self.rng);
            self.log(Level::Notice, || format!("Node hard reset, now I'm {id}"));
        }
        self.election = super::Election::default();
        self.save_durably();
        self.todo.state = true;
    }

    /// Leave the shard: become a primary without slots and data, in a shard of its own.
    pub(super) fn leave_shard(&mut self) {
        self.become_primary();
        self.events.push_back(Event::FlushAll);
        self.close_slots();
        self.end_manual_failover();
        self.election.cancel();
        self.nodes[ME].shard_id = NodeId::random(&mut self.rng);
        self.log(Level::Notice, || "Stop replication and turning myself into empty primary.".to_owned());
        self.save_durably();
        self.todo.state = true;
    }
}
