//! What others say about third nodes, and what nodes say of themselves in extensions.

use super::node::{ME, Names, Node};
use super::{Core, Flags, Level, NodeId};
use crate::cluster::wire::{Entries, Entry, Extension, Extensions};

/// How far ahead of this node's clock the time of a pong may be to be believed, in milliseconds.
const CLOCK_TOLERANCE: i64 = 500;

/// The flags that are believed when a node is known from hearsay only.
const HEARSAY: Flags = Flags(
    Flags::PRIMARY.0
        | Flags::REPLICA.0
        | Flags::PFAIL.0
        | Flags::FAIL.0
        | Flags::MIGRATE_TO.0
        | Flags::NOFAILOVER.0
        | Flags::EXTENSIONS.0
        | Flags::LIGHT_HEADER.0,
);

impl Core {
    /// Take in the gossip of a packet; without a known sender it is not believed.
    pub(super) fn learn_gossip(&mut self, sender: Option<usize>, gossip: &Entries<'_>) {
        let Some(sender) = sender else { return };
        let invalid = gossip.iter().filter(|entry| !entry.id.is_valid()).count();
        if invalid > 0 {
            let name = self.named(sender);
            return self.complain(|| format!("Node {name} gossiped {invalid} nodes with invalid IDs."));
        }
        for entry in gossip.iter() {
            match self.nodes.find(&entry.id) {
                Some(ME) => {}
                Some(at) => self.learn_about_known(sender, at, &entry),
                None => self.learn_about_unknown(&entry),
            }
        }
    }

    fn learn_about_known(&mut self, sender: usize, at: usize, entry: &Entry<'_>) {
        let bad = entry.flags.any(Flags::FAIL | Flags::PFAIL);
        if self.nodes[sender].is_voter() {
            if bad {
                if self.add_report(at, sender) {
                    let (from, about) = (self.named(sender), self.named(at));
                    self.log(Level::Notice, || format!("Node {from} reported node {about} as not reachable."));
                }
                self.fail_if_agreed(at);
            } else if self.drop_report(at, sender) {
                let (from, about) = (self.named(sender), self.named(at));
                self.log(Level::Notice, || format!("Node {from} reported node {about} is back online."));
            }
        }
        if bad {
            return;
        }
        // Others pinged it, so this node need not, if it has no doubts of its own.
        if self.nodes[at].ping_sent == 0 && self.count_reports(at) == 0 {
            let heard = i64::from(entry.pong_received) * 1000;
            let node = &mut self.nodes[at];
            if heard <= self.now + CLOCK_TOLERANCE && heard > node.pong_received {
                node.pong_received = heard;
                self.view = None;
            }
        }
        // A node that this node cannot reach, and others can, at another address; or that it knows by its name alone.
        let lost = self.nodes[at].flags.any(Flags::FAIL | Flags::PFAIL) || self.nodes[at].ip.is_empty();
        if lost && !entry.flags.any(Flags::NOADDR) && !entry.ip.is_empty() {
            let (port, tls_port) = self.client_ports(entry.port, entry.other_port);
            if self.move_node(at, entry.ip.into(), port, tls_port, entry.bus_port) {
                self.save();
            }
        }
    }

    /// A node that is new. It is taken in under the id that is told, without a handshake: the address may be another
    /// cluster's by now.
    fn learn_about_unknown(&mut self, entry: &Entry<'_>) {
        if entry.flags.any(Flags::NOADDR | Flags::HANDSHAKE)
            || entry.ip.is_empty()
            || entry.bus_port == 0
            || self.is_blacklisted(&entry.id)
        {
            return;
        }
        let mut node = Node::new(entry.id, entry.flags & HEARSAY, self.now);
        node.ip = entry.ip.into();
        (node.port, node.tls_port) = self.client_ports(entry.port, entry.other_port);
        node.bus_port = entry.bus_port;
        self.nodes.add(node);
        self.save();
    }

    /// Take in what a node tells of itself. What it does not mention, it does not have.
    pub(super) fn learn_extensions(&mut self, sender: usize, extensions: &Extensions<'_>) {
        let mut names = Names::default();
        let mut shard = None;
        for extension in extensions.iter() {
            match extension {
                Extension::Hostname(name) => names.hostname = name.into(),
                Extension::HumanNodename(name) => names.human = name.into(),
                Extension::ClientIpv4(ip) => names.client_ipv4 = ip.into(),
                Extension::ClientIpv6(ip) => names.client_ipv6 = ip.into(),
                Extension::ShardId(id) => shard = id.is_valid().then_some(id),
                Extension::Forgotten { id, ttl } => self.learn_forgotten(sender, &id, ttl),
                Extension::Unknown(_) => {}
            }
        }
        let changed = self.nodes[sender].names != names;
        if changed {
            self.nodes[sender].names = names;
            self.save();
        }
        // Old nodes tell no shard: theirs is that of their primary.
        let shard = shard.unwrap_or_else(|| self.nodes[self.nodes.primary_of(sender)].shard_id);
        self.set_shard(sender, shard);
    }

    /// Note the shard of a node; this node belongs to that of the primary that it follows.
    pub(super) fn set_shard(&mut self, at: usize, shard: NodeId) {
        if self.nodes[at].shard_id != shard {
            self.nodes[at].shard_id = shard;
            let joins = at != ME && shard == self.nodes[ME].shard_id;
            // Its replicas will say the same; until then the file should not contradict itself.
            for replica in self.nodes[at].replicas.clone() {
                if replica != ME {
                    self.nodes[replica].shard_id = shard;
                }
            }
            self.save();
            if joins {
                // It may take over. Who comes back from an older file would follow it into the shard that it was in.
                self.save_durably();
            }
        }
        if at != ME && self.nodes[ME].primary == Some(at) && self.nodes[ME].shard_id != shard {
            self.nodes[ME].shard_id = shard;
            self.save_durably();
        }
    }
}
