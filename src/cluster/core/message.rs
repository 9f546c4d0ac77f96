//! Building packets: the header that every one starts with, pings with gossip, and who gets them.

use bytes::Bytes;

use super::node::{ME, Node};
use super::{Core, Flags, Level, LinkId, SlotSet};
use crate::cluster::wire::{self, Entry, Extension, Header, Kind, MessageFlags};

/// Who gets news that cannot wait for the next ping.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Audience {
    /// Everybody with a link.
    All,
    /// The replicas of this node's shard.
    ShardReplicas,
    /// Primaries with slots, some by chance where they are many.
    SomeVoters,
}

/// So many are some.
const SOME: usize = 16;

impl Core {
    /// The bitmap of slots that goes into headers: a replica speaks for its primary.
    pub(super) fn claimed_bitmap(&self) -> Box<[u8; SlotSet::BITMAP]> {
        let mut bitmap = Box::new([0; SlotSet::BITMAP]);
        self.nodes[self.spokesman()].slots.write_bitmap(&mut bitmap);
        bitmap
    }

    /// Whose slots and epoch this node tells.
    fn spokesman(&self) -> usize {
        let me = &self.nodes[ME];
        me.primary.filter(|_| me.is_replica()).unwrap_or(ME)
    }

    /// The header of a packet that is about to be sent.
    pub(super) fn header<'a>(&'a self, kind: Kind, slots: &'a [u8; SlotSet::BITMAP]) -> Header<'a> {
        let me = &self.nodes[ME];
        let (port, tls_port, bus_port) = self.settings.announced_ports();
        let (port, other_port) = if self.settings.tls_cluster { (tls_port, port) } else { (port, tls_port) };
        let mut message_flags = MessageFlags::default();
        let paused = self.manual.paused_at.filter(|_| me.is_primary());
        if paused.is_some() {
            message_flags.add(MessageFlags::PAUSED);
        }
        Header {
            kind,
            port,
            other_port,
            bus_port,
            current_epoch: self.current_epoch,
            config_epoch: self.nodes[self.spokesman()].config_epoch,
            offset: paused.unwrap_or(self.facts.repl_offset),
            sender: me.id,
            slots,
            primary: me.primary.map(|primary| self.nodes[primary].id),
            ip: self.settings.announce_ip.as_deref().unwrap_or(""),
            flags: me.flags,
            state: self.state,
            message_flags,
        }
    }

    /// Send a packet that is a header only.
    pub(super) fn send_bare(&mut self, link: LinkId, kind: Kind) {
        let packet = wire::bare(&self.header(kind, &self.claimed_bitmap()));
        self.send(link, kind, packet.into());
    }

    /// Send the same packet to every node with a link that is no handshake.
    pub(super) fn broadcast(&mut self, kind: Kind, packet: Vec<u8>) {
        let packet = Bytes::from(packet);
        let links: Vec<LinkId> = self.nodes.iter().filter_map(|(at, node)| reachable(at, node)).collect();
        for link in links {
            self.send(link, kind, packet.clone());
        }
    }

    /// Tell everybody that a node failed.
    pub(super) fn broadcast_fail(&mut self, at: usize) {
        let packet = wire::fail(&self.header(Kind::Fail, &self.claimed_bitmap()), &self.nodes[at].id);
        self.broadcast(Kind::Fail, packet);
    }

    /// Tell a node that another owns slots which it claims.
    pub(super) fn send_update(&mut self, to: usize, about: usize) {
        let Some(link) = self.nodes[to].link else { return };
        let owner = &self.nodes[about];
        let slots = owner.slots.difference(&self.unclaimed);
        let bitmap = self.claimed_bitmap();
        let packet = wire::update(&self.header(Kind::Update, &bitmap), &owner.id, owner.config_epoch, &slots);
        self.send(link, Kind::Update, packet.into());
    }

    /// Tell news at once, by pongs that nobody asked for.
    pub(super) fn broadcast_pong(&mut self, audience: Audience) {
        let my_primary = self.nodes[ME].primary;
        let mut links: Vec<LinkId> = self
            .nodes
            .iter()
            .filter(|(_, node)| match audience {
                Audience::All => true,
                Audience::SomeVoters => node.is_voter() && !node.flags.any(Flags::PFAIL | Flags::FAIL),
                Audience::ShardReplicas => {
                    node.is_replica() && node.primary.is_some_and(|p| p == ME || Some(p) == my_primary)
                }
            })
            .filter_map(|(at, node)| reachable(at, node))
            .collect();
        while audience == Audience::SomeVoters && links.len() > SOME {
            links.swap_remove(self.rng.below(links.len() as u64) as usize);
        }
        for link in links {
            self.send_ping(link, Kind::Pong);
        }
    }

    /// Send a PING, PONG or MEET with what this node knows of some others.
    pub(super) fn send_ping(&mut self, link: LinkId, kind: Kind) {
        let Some(entry) = self.links.get(link) else { return };
        let (receiver, inbound) = (entry.node, entry.inbound);
        if let Some(at) = receiver.filter(|_| !inbound && kind == Kind::Ping) {
            self.nodes[at].ping_sent = self.now;
            self.view = None;
        }
        let chosen = self.choose_gossip(receiver);
        let bitmap = self.claimed_bitmap();
        let tls = self.settings.tls_cluster;
        let entries: Vec<Entry<'_>> = chosen.iter().map(|&at| gossip_entry(&self.nodes[at], tls)).collect();
        let knows_extensions = receiver.is_some_and(|at| self.nodes[at].flags.any(Flags::EXTENSIONS));
        let extensions = if knows_extensions { self.extensions() } else { Vec::new() };
        let packet = wire::ping(self.header(kind, &bitmap), &entries, &extensions);
        self.send(link, kind, packet.into());
    }

    /// Whom to mention: a tenth of the nodes, at least three, by chance, and everybody who is suspected.
    ///
    /// A tenth, because in two node timeouts, for which a report of a failure is good, two nodes exchange at least eight
    /// packets: so a suspected node is mentioned to everybody by most of the primaries.
    fn choose_gossip(&mut self, receiver: Option<usize>) -> Vec<usize> {
        self.gossip_round += 1;
        let round = self.gossip_round;
        // All but this node and the receiver.
        let mut fresh = self.nodes.len().saturating_sub(2);
        let wanted = (self.nodes.len() / 10).max(3).min(fresh);
        let mut chosen = Vec::with_capacity(wanted + self.suspected);
        let mut tries = wanted * 3;
        while fresh > 0 && chosen.len() < wanted && tries > 0 {
            tries -= 1;
            let at = self.nodes.nth(self.rng.below(self.nodes.len() as u64) as usize);
            let node = &mut self.nodes[at];
            if at == ME || Some(at) == receiver || node.is_suspected() {
                continue;
            }
            let unusable = node.flags.any(Flags::HANDSHAKE | Flags::NOADDR);
            if unusable || (node.link.is_none() && node.slots.is_empty()) {
                fresh -= 1;
                continue;
            }
            if node.mentioned == round {
                continue;
            }
            node.mentioned = round;
            fresh -= 1;
            chosen.push(at);
        }
        if self.suspected > 0 {
            let skip = Flags::HANDSHAKE | Flags::NOADDR;
            let suspects = self.nodes.iter().filter(|(_, node)| node.is_suspected() && !node.flags.any(skip));
            chosen.extend(suspects.map(|(at, _)| at).take(self.suspected));
        }
        chosen
    }

    /// What this node tells of itself beyond the header.
    fn extensions(&self) -> Vec<Extension<'_>> {
        let me = &self.nodes[ME];
        let mut out = Vec::with_capacity(2);
        let texts = [
            (&me.names.hostname, Extension::Hostname(&me.names.hostname)),
            (&me.names.human, Extension::HumanNodename(&me.names.human)),
            (&me.names.client_ipv4, Extension::ClientIpv4(&me.names.client_ipv4)),
            (&me.names.client_ipv6, Extension::ClientIpv6(&me.names.client_ipv6)),
        ];
        out.extend(texts.into_iter().filter(|(text, _)| !text.is_empty()).map(|(_, extension)| extension));
        for (&id, &until) in &self.blacklist {
            if until > self.now {
                out.push(Extension::Forgotten { id, ttl: ((until - self.now) / 1000) as u64 });
            }
        }
        out.push(Extension::ShardId(me.shard_id));
        out
    }

    /// Complain about foreign bytes, but not more than once a second.
    pub(super) fn complain(&mut self, text: impl FnOnce() -> String) {
        self.stats.dropped += 1;
        if self.now.saturating_sub(self.last_complaint) >= 1000 {
            self.last_complaint = self.now;
            self.log(Level::Warning, text);
        }
    }
}

/// The link to a node that gets broadcasts.
fn reachable(at: usize, node: &Node) -> Option<LinkId> {
    node.link.filter(|_| at != ME && !node.in_handshake())
}

fn gossip_entry(node: &Node, tls: bool) -> Entry<'_> {
    Entry {
        id: node.id,
        ping_sent: (node.ping_sent / 1000) as u32,
        pong_received: (node.pong_received / 1000) as u32,
        ip: &node.ip,
        port: node.main_port(tls),
        bus_port: node.bus_port,
        flags: node.flags,
        other_port: node.main_port(!tls),
    }
}
