//! Epochs: whose configuration is newer.
//!
//! An election makes one by agreement. Moving a slot and CLUSTER FAILOVER TAKEOVER make one alone, so two nodes may come
//! to have the same: then the one with the smaller id moves on, until all differ.

use super::node::ME;
use super::{Core, Level};

impl Core {
    /// Give this node's configuration an epoch of its own, without asking anybody; false if it has the greatest already.
    pub(super) fn bump_epoch(&mut self) -> bool {
        let greatest = self.nodes.iter().map(|(_, node)| node.config_epoch).max().unwrap_or(0).max(self.current_epoch);
        let mine = self.nodes[ME].config_epoch;
        if mine != 0 && mine == greatest {
            return false;
        }
        self.current_epoch = greatest + 1;
        self.set_my_epoch(self.current_epoch);
        let epoch = self.current_epoch;
        self.log(Level::Notice, || format!("New configEpoch set to {epoch}"));
        true
    }

    fn set_my_epoch(&mut self, epoch: u64) {
        self.nodes[ME].config_epoch = epoch;
        self.save_durably();
    }

    /// Another primary has the epoch `epoch`; if that is this node's, the one with the smaller id moves on.
    pub(super) fn resolve_collision(&mut self, sender: usize, epoch: u64) {
        let (me, other) = (&self.nodes[ME], &self.nodes[sender]);
        if !me.is_primary() || !other.is_primary() || me.config_epoch != epoch || other.config_epoch != epoch {
            return;
        }
        if other.id <= me.id {
            return;
        }
        self.current_epoch += 1;
        self.set_my_epoch(self.current_epoch);
        let (name, epoch) = (self.named(sender), self.current_epoch);
        self.log(Level::Notice, || format!("configEpoch collision with node {name}. configEpoch set to {epoch}"));
    }
}
