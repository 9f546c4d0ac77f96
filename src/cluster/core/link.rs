//! Links to other nodes: who opened them, what they lead to, and when they end.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::net::IpAddr;

use bytes::Bytes;

use super::node::ME;
use super::table::IdHasher;
use super::{Core, Flags, Level, NodeId, Transmit};
use crate::cluster::wire::Kind;

/// Names a link for as long as the core lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LinkId(pub u64);

/// Which links of a node are meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// The one that this node opened.
    To,
    /// The one that the other opened.
    From,
    /// Both.
    All,
}

/// A link, for CLUSTER LINKS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkInfo {
    /// Its number.
    pub link: LinkId,
    /// Whether the other node opened it: `from`; else `to`.
    pub inbound: bool,
    /// The node at the other end.
    pub node: NodeId,
    /// When it was opened, in Unix milliseconds.
    pub created: i64,
}

pub(super) struct Link {
    /// The node at the other end; for a link that somebody opened, once that is known.
    pub(super) node: Option<usize>,
    pub(super) inbound: bool,
    pub(super) created: i64,
    /// The address of the other end.
    pub(super) peer: Box<str>,
    /// The address of this end.
    pub(super) local: Box<str>,
}

#[derive(Default)]
pub(super) struct Links {
    links: HashMap<LinkId, Link, BuildHasherDefault<IdHasher>>,
    next: u64,
}

impl Links {
    fn add(&mut self, link: Link) -> LinkId {
        self.next += 1;
        let id = LinkId(self.next);
        self.links.insert(id, link);
        id
    }

    pub(super) fn get(&self, id: LinkId) -> Option<&Link> {
        self.links.get(&id)
    }
}

/// An address as nodes write it: IPv4 in IPv6 is IPv4.
fn text(ip: IpAddr) -> Box<str> {
    ip.to_canonical().to_string().into()
}

impl Core {
    /// Somebody opened a link, from `peer`, to the address `local` of this machine.
    pub fn accept(&mut self, now: i64, peer: IpAddr, local: IpAddr) -> LinkId {
        self.begin(now);
        self.links.add(Link { node: None, inbound: true, created: self.now, peer: text(peer), local: text(local) })
    }

    /// A link that this node asked for is connected, from the address `local` of this machine.
    pub fn link_up(&mut self, now: i64, link: LinkId, local: IpAddr) {
        self.begin(now);
        let Some(entry) = self.links.links.get_mut(&link) else { return };
        entry.local = text(local);
        let Some(at) = entry.node else { return };
        // A ping at once: a link that says nothing for long would look like a failure.
        let open_since = self.nodes[at].ping_sent;
        let meet = self.nodes[at].flags.any(Flags::MEET);
        if meet {
            self.nodes[at].meet_sent = Some(self.now);
        }
        self.send_ping(link, if meet { Kind::Meet } else { Kind::Ping });
        if open_since != 0 {
            // The ping that went down with the link before still waits for its answer.
            self.nodes[at].ping_sent = open_since;
        }
        self.settle();
    }

    /// A link is gone, or could not be connected.
    pub fn link_down(&mut self, now: i64, link: LinkId) {
        self.begin(now);
        self.forget_link(link);
        self.settle();
    }

    /// More waits to be sent over a link than the driver keeps: it is given up and opened again.
    pub fn link_overflow(&mut self, now: i64, link: LinkId, bytes: u64) {
        self.begin(now);
        let Some(entry) = self.links.get(link) else { return };
        let (way, node) = (if entry.inbound { "from" } else { "to" }, entry.node);
        let node = node.map(|at| self.nodes[at].id.to_string()).unwrap_or_default();
        self.stats.links_over_limit += 1;
        self.log(Level::Warning, || {
            format!("Freeing cluster link({way} node {node}, used memory: {bytes}) due to exceeding send buffer memory limit.")
        });
        self.close_link(link);
        self.settle();
    }

    /// The links to known nodes, for CLUSTER LINKS.
    pub fn links(&self) -> Vec<LinkInfo> {
        let mut out = Vec::new();
        for (_, node) in self.nodes.iter() {
            for link in [node.link, node.inbound].into_iter().flatten() {
                if let Some(entry) = self.links.get(link) {
                    out.push(LinkInfo { link, inbound: entry.inbound, node: node.id, created: entry.created });
                }
            }
        }
        out.sort_by_key(|info| (info.node, info.inbound));
        out
    }

    /// Cut links to a node, for DEBUG CLUSTERLINK KILL.
    ///
    /// # Errors
    /// The node is not known, or this one.
    pub fn kill_links(&mut self, now: i64, direction: Direction, node: &[u8]) -> Result<(), String> {
        self.begin(now);
        let at = NodeId::parse(node).and_then(|id| self.nodes.find(&id));
        let at = at.ok_or_else(|| format!("ERR Unknown node {}", String::from_utf8_lossy(node)))?;
        if at == ME {
            return Err("ERR Cannot free cluster link(s) to myself".to_owned());
        }
        let node = &self.nodes[at];
        let (to, from) = (node.link, node.inbound);
        if let Some(link) = to.filter(|_| direction != Direction::From) {
            self.close_link(link);
        }
        if let Some(link) = from.filter(|_| direction != Direction::To) {
            self.close_link(link);
        }
        self.settle();
        Ok(())
    }

    /// Open a link to a node.
    pub(super) fn open_link(&mut self, at: usize) -> LinkId {
        let node = &self.nodes[at];
        let (ip, port) = (node.ip.to_string(), node.bus_port);
        let link = self.links.add(Link {
            node: Some(at),
            inbound: false,
            created: self.now,
            peer: node.ip.clone(),
            local: "".into(),
        });
        self.nodes[at].link = Some(link);
        self.view = None;
        self.transmit(Transmit::Connect { link, ip, port });
        link
    }

    /// It turned out who opened a link. A node has one: the older is given up.
    pub(super) fn name_link(&mut self, link: LinkId, at: usize) {
        if let Some(old) = self.nodes[at].inbound.filter(|&old| old != link) {
            self.close_link(old);
        }
        if let Some(entry) = self.links.links.get_mut(&link) {
            entry.node = Some(at);
            self.nodes[at].inbound = Some(link);
            self.nodes[at].meet_sent = None;
        }
    }

    /// Give a link up.
    pub(super) fn close_link(&mut self, link: LinkId) {
        if self.forget_link(link) {
            self.transmit(Transmit::Close { link });
        }
    }

    fn forget_link(&mut self, link: LinkId) -> bool {
        let Some(entry) = self.links.links.remove(&link) else { return false };
        if let Some(at) = entry.node {
            let node = &mut self.nodes[at];
            if node.link == Some(link) {
                node.link = None;
                self.view = None;
            }
            if node.inbound == Some(link) {
                node.inbound = None;
            }
        }
        true
    }

    /// Send a packet over a link.
    pub(super) fn send(&mut self, link: LinkId, kind: Kind, packet: Bytes) {
        self.stats.sent[kind as usize] += 1;
        self.transmit(Transmit::Send { link, packet });
    }
}
