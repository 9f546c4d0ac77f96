//! Replicas that move to primaries which have none left
//! (<https://valkey.io/topics/cluster-spec/#replica-migration>).

use super::node::ME;
use super::{Core, Flags, Level, State};

/// A primary has to be without replicas for so long: after a failover its own replicas need time to say so.
const DELAY: i64 = 5_000;

/// What a tick counts on a replica.
#[derive(Default, Clone, Copy)]
pub(super) struct ReplicaCensus {
    /// Primaries with slots that had replicas and have no working one.
    pub(super) orphaned: usize,
    /// The most working replicas of one primary.
    pub(super) most: usize,
    /// The working replicas of this node's primary.
    pub(super) mine: usize,
}

impl Core {
    /// Move to an orphaned primary, if this node is the one that should: of all replicas of the primaries that have the
    /// most, the one with the smallest id.
    pub(super) fn migrate_if_due(&mut self, census: ReplicaCensus) {
        if !self.settings.allow_replica_migration
            || census.orphaned == 0
            || census.most < 2
            || census.mine != census.most
        {
            return;
        }
        let Some(primary) = self.nodes[ME].primary.filter(|_| self.state == State::Ok) else { return };
        let bad = Flags::FAIL | Flags::PFAIL;
        let well = self.nodes[primary].replicas.iter().filter(|&&at| !self.nodes[at].flags.any(bad)).count();
        if well <= self.settings.migration_barrier {
            return;
        }
        let mut candidate = self.nodes[ME].id;
        let mut target: Option<usize> = None;
        for at in self.nodes.indexes() {
            let node = &self.nodes[at];
            let working = if node.is_primary() { self.nodes.working_replicas(at) } else { 0 };
            let orphaned = node.is_primary() && !node.is_failed() && node.flags.any(Flags::MIGRATE_TO) && working == 0;
            if working == census.most {
                let smallest = node.replicas.iter().map(|&replica| self.nodes[replica].id).min();
                candidate = smallest.unwrap_or(candidate).min(candidate);
            }
            if orphaned && !node.slots.is_empty() && target.is_none_or(|target| node.id < self.nodes[target].id) {
                target = Some(at);
            }
            let since = self.nodes[at].orphaned_since.unwrap_or(self.now);
            self.nodes[at].orphaned_since = orphaned.then_some(since);
        }
        let Some(target) = target.filter(|_| candidate == self.nodes[ME].id) else { return };
        if self.nodes[target].orphaned_since.is_none_or(|since| self.now - since <= DELAY) {
            return;
        }
        let (name, shard) = (self.named(target), self.nodes[target].shard_id);
        self.log(Level::Notice, || format!("Migrating to orphaned primary {name} in shard {shard}"));
        self.follow(target, true, true);
        self.save_durably();
    }
}
