//! A packet came in.
//!
//! Every packet with a header teaches the sender's epochs, offset and flags. PING, PONG and MEET then go through the
//! stages below, in this order, because later ones rely on what earlier ones found out: who is this, where does it
//! live, is it well, what is its role, which slots does it claim, whom does it gossip about.

use super::node::{ME, Node};
use super::{Core, Flags, Level, LinkId, NodeId, SlotSet};
use crate::cluster::wire::{self, Body, Header, Kind, MessageFlags, Packet};

/// More handshakes than this at once are not begun for strangers.
const MAX_HANDSHAKES: usize = 2048;

impl Core {
    /// A packet came over a link. Bytes that are none are counted, mentioned in the log and dropped.
    pub fn handle_packet(&mut self, now: i64, link: LinkId, bytes: &[u8]) {
        self.begin(now);
        if self.links.get(link).is_none() {
            return;
        }
        match wire::decode(bytes) {
            Ok(packet) => {
                self.stats.received[packet.kind as usize] += 1;
                self.packet(link, &packet);
            }
            Err(error) => {
                let peer = self.links.get(link).map(|link| link.peer.clone()).unwrap_or_default();
                self.complain(|| format!("Dropping an invalid packet on the cluster bus from {peer}: {error}"));
            }
        }
        self.settle();
    }

    /// A packet came that is to be lost, because somebody tests that: it counts as received.
    pub fn lose_packet(&mut self, kind: u16) {
        if let Some(count) = self.stats.received.get_mut(usize::from(kind)) {
            *count += 1;
        }
    }

    fn packet(&mut self, link: LinkId, packet: &Packet<'_>) {
        let Some(header) = &packet.header else {
            return self.light_packet(link, packet);
        };
        let sender = self.sender(link, header);
        if sender == Some(ME) {
            return self.own_packet(link, header);
        }
        if let Some(at) = sender {
            self.learn_from_header(at, header);
        }
        match (packet.kind, packet.body) {
            (Kind::Ping | Kind::Pong | Kind::Meet, Body::Ping { gossip, extensions }) => {
                self.ping_packet(link, sender, header, gossip, extensions);
            }
            (Kind::Fail, Body::Fail(failing)) => self.fail_packet(sender, header, &failing),
            (Kind::Publish | Kind::PublishShard, Body::Publish { channel, message }) if sender.is_some() => {
                self.published(packet.kind, channel, message);
            }
            (Kind::AuthRequest, _) => {
                if let Some(at) = sender {
                    self.vote_if_due(at, header);
                }
            }
            (Kind::AuthAck, _) => {
                if let Some(at) = sender {
                    self.count_vote(at, header);
                }
            }
            (Kind::MfStart, _) => {
                if let Some(at) = sender {
                    self.begin_pause(link, at);
                }
            }
            (Kind::Update, Body::Update { epoch, node, slots }) if sender.is_some() => {
                self.update_packet(&node, epoch, slots);
            }
            // Modules' messages mean nothing here; the rest is from nodes that are not known.
            (Kind::Module, _) => {}
            _ => self.stats.dropped += 1,
        }
    }

    /// Published messages come with a short header once the link is known to lead to a node.
    fn light_packet(&mut self, link: LinkId, packet: &Packet<'_>) {
        let sender = self.links.get(link).and_then(|link| link.node);
        let Some(at) = sender.filter(|&at| !self.nodes[at].in_handshake()) else {
            self.stats.dropped += 1;
            self.log(Level::Notice, || {
                let kind = packet.kind.name();
                format!("Closing link for node that sent a lightweight message of type {kind} as its first message on the link")
            });
            return self.close_link(link);
        };
        self.nodes[at].data_received = self.now;
        if let Body::Publish { channel, message } = packet.body {
            self.published(packet.kind, channel, message);
        }
    }

    /// Who sent a packet, if it is a node that is known. A link that somebody opened is from now on that node's.
    fn sender(&mut self, link: LinkId, header: &Header<'_>) -> Option<usize> {
        let sender = self.nodes.find(&header.sender)?;
        if sender != ME && self.links.get(link).is_some_and(|link| link.node.is_none()) {
            self.name_link(link, sender);
        }
        Some(sender)
    }

    /// A packet in this node's own name: it was told to meet itself, or somebody runs a copy of its nodes.conf.
    fn own_packet(&mut self, link: LinkId, header: &Header<'_>) {
        let handshake = self.links.get(link).and_then(|link| link.node).filter(|&at| self.nodes[at].in_handshake());
        if let Some(at) = handshake {
            self.log(Level::Notice, || "Handshake: the address is my own, or that of a node with my ID.".to_owned());
            return self.remove_node(at);
        }
        if matches!(header.kind, Kind::Ping | Kind::Meet) {
            self.learn_my_address(link, header.kind);
            self.send_ping(link, Kind::Pong);
        }
        let (_, _, bus_port) = self.settings.announced_ports();
        if header.bus_port != bus_port {
            let port = header.port;
            self.complain(|| format!("Ignoring a packet of another node with my own node ID, on port {port}"));
        }
    }

    /// What every packet with a header tells of a node.
    fn learn_from_header(&mut self, at: usize, header: &Header<'_>) {
        let now = self.now;
        let is_primary = header.primary.is_none();
        let node = &mut self.nodes[at];
        if header.message_flags.has(MessageFlags::EXTENSIONS) {
            node.flags |= Flags::EXTENSIONS;
        }
        node.flags.set(Flags::LIGHT_HEADER, header.flags.any(Flags::LIGHT_HEADER));
        node.data_received = now;
        if node.in_handshake() {
            return;
        }
        if (node.repl_offset == 0) != (header.offset == 0) {
            // CLUSTER SLOTS hides replicas without data.
            self.todo.view = true;
        }
        node.repl_offset = header.offset;
        let newer = is_primary && header.config_epoch > node.config_epoch;
        if newer {
            node.config_epoch = header.config_epoch;
        }
        self.current_epoch = self.current_epoch.max(header.current_epoch);
        if newer {
            self.save_durably();
        }
        if header.message_flags.has(MessageFlags::PAUSED) {
            self.learn_paused_offset(at, header.offset);
        }
    }

    fn ping_packet(
        &mut self,
        link: LinkId,
        sender: Option<usize>,
        header: &Header<'_>,
        gossip: wire::Entries<'_>,
        extensions: wire::Extensions<'_>,
    ) {
        if matches!(header.kind, Kind::Ping | Kind::Meet) {
            self.learn_my_address(link, header.kind);
            if sender.is_none() && header.kind == Kind::Meet {
                // Who sends a MEET is trusted because an operator asked it to.
                let stranger = self.greet(link, header);
                self.learn_gossip(stranger, &gossip);
            }
            self.send_ping(link, Kind::Pong);
        }
        if let Some(at) = sender.filter(|&at| self.nodes[at].flags.any(Flags::MEET)) {
            self.nodes[at].flags.set(Flags::MEET, false);
            let name = self.named(at);
            self.log(Level::Notice, || format!("Successfully completed handshake with {name}"));
        }
        let opened = self.links.get(link).filter(|link| !link.inbound).and_then(|link| link.node);
        if let Some(at) = opened
            && !self.check_identity(link, at, header)
        {
            return;
        }
        if let Some(at) = sender {
            self.nodes[at].flags.set(Flags::NOFAILOVER, header.flags.any(Flags::NOFAILOVER));
            if header.kind == Kind::Ping && self.learn_address(at, link, header) {
                self.save();
                self.todo.state = true;
            }
        }
        if let Some(at) = opened.filter(|_| header.kind == Kind::Pong) {
            self.answered(at);
        }
        let Some(at) = sender else { return };
        let was_replica = self.nodes[at].is_replica();
        self.learn_role(at, header);
        if header.primary.is_none() {
            let claimed = SlotSet::from_bitmap(header.slots);
            if was_replica || self.nodes[at].slots != claimed {
                self.learn_claims(at, header.config_epoch, &claimed);
                self.correct_claims(at, header.config_epoch, &claimed);
            }
            self.resolve_collision(at, header.config_epoch);
        }
        self.learn_gossip(Some(at), &gossip);
        self.learn_extensions(at, &extensions);
    }

    /// Other nodes connect to this one by its official address, so the address of the socket is that; at least if
    /// somebody who was told to meet this node connects, or if nothing better is known.
    fn learn_my_address(&mut self, link: LinkId, kind: Kind) {
        if self.settings.announce_ip.is_some() || !(kind == Kind::Meet || self.nodes[ME].ip.is_empty()) {
            return;
        }
        let Some(local) = self.links.get(link).map(|link| link.local.clone()) else { return };
        if !local.is_empty() && local != self.nodes[ME].ip {
            self.log(Level::Notice, || format!("IP address for this node updated to {local}"));
            self.nodes[ME].ip = local;
            self.save();
        }
    }

    /// A stranger wants in: begin a handshake with the address that it tells.
    fn greet(&mut self, link: LinkId, header: &Header<'_>) -> Option<usize> {
        let peer = self.links.get(link)?.peer.clone();
        let ip: Box<str> = if header.ip.is_empty() { peer } else { header.ip.into() };
        let (port, tls_port) = self.client_ports(header.port, header.other_port);
        let going_on = self.handshakes().filter(|(_, n)| n.bus_port == header.bus_port && n.ip == ip);
        if let Some((at, _)) = going_on.into_iter().next() {
            return Some(at);
        }
        if self.handshakes().count() >= MAX_HANDSHAKES {
            self.complain(|| format!("Too many handshakes: ignoring MEET from {ip}"));
            return None;
        }
        let mut node = Node::new(NodeId::random(&mut self.rng), Flags::HANDSHAKE, self.now);
        node.ip = ip;
        (node.port, node.tls_port, node.bus_port) = (port, tls_port, header.bus_port);
        node.flags.set(Flags::EXTENSIONS, header.message_flags.has(MessageFlags::EXTENSIONS));
        let at = self.nodes.add(node);
        if self.links.get(link).is_some_and(|link| link.node.is_none()) {
            self.name_link(link, at);
        }
        self.todo.view = true;
        Some(at)
    }

    /// The ports for clients without and with TLS, from the two that a packet has.
    pub(super) fn client_ports(&self, port: u16, other_port: u16) -> (u16, u16) {
        if self.settings.tls_cluster { (other_port, port) } else { (port, other_port) }
    }

    pub(super) fn handshakes(&self) -> impl Iterator<Item = (usize, &Node)> {
        self.nodes.iter().filter(|(_, node)| node.in_handshake())
    }

    /// Whether the node at the other end of a link that this node opened is the one that was meant. If a handshake goes
    /// on, the answer tells who it is. False: the packet is of no more use.
    fn check_identity(&mut self, link: LinkId, at: usize, header: &Header<'_>) -> bool {
        if self.nodes[at].in_handshake() {
            // Not what was known when the packet came: its own gossip may have named the sender.
            if let Some(known) = self.nodes.find(&header.sender) {
                let name = self.named(known);
                self.log(Level::Verbose, || {
                    format!("Handshake: we already know node {name}, updating the address if needed.")
                });
                if self.learn_address(known, link, header) {
                    self.save();
                    self.todo.state = true;
                }
                self.remove_node(at);
                return false;
            }
            if self.is_blacklisted(&header.sender) {
                self.remove_node(at);
                return false;
            }
            self.nodes.rename(at, header.sender);
            let node = &mut self.nodes[at];
            node.shard_id = header.sender;
            node.flags.set(Flags::HANDSHAKE, false);
            node.flags |= header.flags & (Flags::PRIMARY | Flags::REPLICA);
            self.save();
            return true;
        }
        if self.nodes[at].id == header.sender {
            return true;
        }
        let (name, shard) = (self.named(at), self.nodes[at].shard_id);
        let (age, flags) = (self.now - self.nodes[at].created, self.nodes[at].flags.0);
        self.log(Level::Notice, || {
            format!("PONG contains mismatching sender ID. About node {name} in shard {shard} added {age} ms ago, having flags {flags}")
        });
        let node = &mut self.nodes[at];
        node.flags |= Flags::NOADDR;
        node.ip = "".into();
        (node.port, node.tls_port, node.bus_port) = (0, 0, 0);
        self.close_link(link);
        self.save();
        false
    }

    /// Whether a node's address is another than was known: then the link to it is opened anew.
    fn learn_address(&mut self, at: usize, link: LinkId, header: &Header<'_>) -> bool {
        // What comes over the link that was opened to the node says nothing about where it lives.
        if self.nodes[at].link == Some(link) {
            return false;
        }
        let Some(peer) = self.links.get(link).map(|link| link.peer.clone()) else { return false };
        let ip: Box<str> = if header.ip.is_empty() { peer } else { header.ip.into() };
        let (port, tls_port) = self.client_ports(header.port, header.other_port);
        self.move_node(at, ip, port, tls_port, header.bus_port)
    }

    /// Note a node's address; true if it changed.
    pub(super) fn move_node(&mut self, at: usize, ip: Box<str>, port: u16, tls_port: u16, bus_port: u16) -> bool {
        let node = &mut self.nodes[at];
        if ip.is_empty() || (&node.ip, node.port, node.tls_port, node.bus_port) == (&ip, port, tls_port, bus_port) {
            return false;
        }
        node.ip = ip;
        (node.port, node.tls_port, node.bus_port) = (port, tls_port, bus_port);
        node.flags.set(Flags::NOADDR, false);
        if let Some(link) = node.link {
            self.close_link(link);
        }
        let node = &self.nodes[at];
        let address = format!("{}:{}", node.ip, node.main_port(self.settings.tls_cluster));
        let name = self.named(at);
        self.log(Level::Notice, || format!("Address updated for node {name}, now {address}"));
        if self.nodes[ME].is_replica() && self.nodes[ME].primary == Some(at) {
            self.follow_primary(false);
        }
        true
    }

    fn fail_packet(&mut self, sender: Option<usize>, header: &Header<'_>, failing: &NodeId) {
        let Some(sender) = sender else {
            self.stats.dropped += 1;
            let from = header.sender;
            return self
                .log(Level::Notice, || format!("Ignoring FAIL message from unknown node {from} about {failing}"));
        };
        let Some(at) = self.nodes.find(failing) else { return };
        if self.nodes[at].flags.any(Flags::FAIL | Flags::MYSELF) {
            return;
        }
        let (from, about) = (self.named(sender), self.named(at));
        self.log(Level::Notice, || format!("FAIL message received from {from} about {about}"));
        self.set_failed(at);
    }

    /// Somebody says that slots which this node claims, or believes to be another's, belong to a third.
    fn update_packet(&mut self, node: &NodeId, epoch: u64, slots: &[u8; SlotSet::BITMAP]) {
        let Some(at) = self.nodes.find(node) else { return };
        if self.nodes[at].config_epoch >= epoch || at == ME {
            return;
        }
        self.set_primary_role(at);
        self.nodes[at].config_epoch = epoch;
        self.save_durably();
        self.learn_claims(at, epoch, &SlotSet::from_bitmap(slots));
    }
}
