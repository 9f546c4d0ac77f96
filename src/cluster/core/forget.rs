//! Removing nodes: CLUSTER FORGET, its spread by gossip, and the list of nodes that are not taken in again for a while.

use super::node::ME;
use super::{Core, NodeId};

/// More forgotten nodes than this are not remembered on the word of others.
const MAX_BLACKLIST: usize = 4096;

impl Core {
    /// Remove a node, and everything that points to it.
    pub(super) fn remove_node(&mut self, at: usize) {
        if at == ME || !self.nodes.has(at) {
            return;
        }
        let links = [self.nodes[at].link, self.nodes[at].inbound];
        for link in links.into_iter().flatten() {
            self.close_link(link);
        }
        for slot in self.nodes[at].slots.clone().iter() {
            self.release_slot(slot);
        }
        self.migrating.retain(|_, to| *to != at);
        self.importing.retain(|_, from| *from != at);
        for other in self.nodes.indexes() {
            self.drop_report(other, at);
        }
        if self.manual.replica == Some(at) {
            self.end_manual_failover();
        }
        self.nodes.remove(at);
        self.todo.view = true;
    }

    /// Remove a node for good, on the word of an operator.
    pub(super) fn forget(&mut self, at: usize) {
        let until = self.now + self.settings.blacklist_ttl * 1000;
        self.blacklist.insert(self.nodes[at].id, until);
        self.note_address(at);
        self.remove_node(at);
        self.save();
        self.todo.state = true;
    }

    /// Another node was told to forget a node.
    pub(super) fn learn_forgotten(&mut self, sender: usize, id: &NodeId, ttl: u64) {
        let Some(at) = self.nodes.find(id) else { return };
        let my_primary = self.nodes[ME].primary == Some(at) && self.nodes[ME].is_replica();
        if at == ME || at == sender || my_primary || self.blacklist.len() >= MAX_BLACKLIST {
            return;
        }
        let ttl = i64::try_from(ttl).unwrap_or(i64::MAX).min(i64::MAX / 4000);
        self.blacklist.insert(*id, self.now + ttl * 1000);
        self.note_address(at);
        self.remove_node(at);
        self.save();
        self.todo.state = true;
    }

    fn note_address(&mut self, at: usize) {
        if self.forgotten.len() < MAX_BLACKLIST {
            let node = &self.nodes[at];
            self.forgotten.insert((node.ip.clone(), node.main_port(self.settings.tls_cluster)));
        }
    }

    /// Whether a node with this address was forgotten, and nobody asked to meet it since. The port is that for clients.
    pub fn was_forgotten(&self, ip: &str, port: u16) -> bool {
        self.forgotten.contains(&(ip.into(), port))
    }

    pub(super) fn is_blacklisted(&self, id: &NodeId) -> bool {
        self.blacklist.get(id).is_some_and(|&until| until >= self.now)
    }

    pub(super) fn expire_blacklist(&mut self) {
        let now = self.now;
        self.blacklist.retain(|_, until| *until >= now);
    }
}
