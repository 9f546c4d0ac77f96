//! What the core knows of one node.

use super::LinkId;
use crate::cluster::{Flags, NodeId, NodeInfo, SlotSet};

/// Where this node stands in the table.
pub(super) const ME: usize = 0;

/// What a node calls itself, beyond its id.
#[derive(Default, Clone, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) hostname: Box<str>,
    pub(super) human: Box<str>,
    pub(super) client_ipv4: Box<str>,
    pub(super) client_ipv6: Box<str>,
}

/// A node. Times are of the core's clock; 0 means never.
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) shard_id: NodeId,
    pub(super) flags: Flags,
    /// Empty: not known.
    pub(super) ip: Box<str>,
    pub(super) port: u16,
    pub(super) tls_port: u16,
    pub(super) bus_port: u16,
    pub(super) names: Names,
    /// Whom it follows, if that is known; the table keeps `replicas` of that node in step.
    pub(super) primary: Option<usize>,
    /// Who follows it, by id.
    pub(super) replicas: Vec<usize>,
    /// What it owns; the table keeps its owners in step.
    pub(super) slots: SlotSet,
    pub(super) config_epoch: u64,
    /// When this entry was made.
    pub(super) created: i64,
    /// When the ping that it did not answer yet was sent.
    pub(super) ping_sent: i64,
    pub(super) pong_received: i64,
    /// How long its last answer to a ping took, ms.
    pub(super) ping_time: Option<i64>,
    /// When anything came from it.
    pub(super) data_received: i64,
    pub(super) fail_time: i64,
    /// When this node last voted for a replica of it.
    pub(super) voted_time: Option<i64>,
    /// Since when it has no working replica; see `migration`.
    pub(super) orphaned_since: Option<i64>,
    /// When a MEET was last sent to it; none once it has opened a link itself, which says that it knows this node.
    pub(super) meet_sent: Option<i64>,
    pub(super) repl_offset: u64,
    /// Which primaries said, and when, that it does not answer.
    pub(super) reports: Vec<(usize, i64)>,
    /// The link that this node opened to it.
    pub(super) link: Option<LinkId>,
    /// The link that it opened to this node.
    pub(super) inbound: Option<LinkId>,
    /// The last round of gossip that mentioned it.
    pub(super) mentioned: u64,
    /// Where it stands in the table's list of nodes.
    pub(super) place: usize,
}

impl Node {
    pub(super) fn new(id: NodeId, flags: Flags, now: i64) -> Node {
        Node {
            id,
            shard_id: id,
            flags,
            ip: "".into(),
            port: 0,
            tls_port: 0,
            bus_port: 0,
            names: Names::default(),
            primary: None,
            replicas: Vec::new(),
            slots: SlotSet::new(),
            config_epoch: 0,
            created: now,
            ping_sent: 0,
            pong_received: 0,
            ping_time: None,
            data_received: 0,
            fail_time: 0,
            voted_time: None,
            orphaned_since: None,
            meet_sent: None,
            repl_offset: 0,
            reports: Vec::new(),
            link: None,
            inbound: None,
            mentioned: 0,
            place: 0,
        }
    }

    /// A node as nodes.conf remembered it. Its slots and primary are set by the table.
    pub(super) fn from_info(info: &NodeInfo, now: i64) -> Node {
        let mut node = Node::new(info.id, info.flags, now);
        node.shard_id = info.shard_id;
        node.ip = info.ip.as_str().into();
        (node.port, node.tls_port, node.bus_port) = (info.port, info.tls_port, info.bus_port);
        node.names = Names {
            hostname: info.hostname.as_str().into(),
            human: info.human_nodename.as_str().into(),
            client_ipv4: info.client_ipv4.as_str().into(),
            client_ipv6: info.client_ipv6.as_str().into(),
        };
        node.config_epoch = info.config_epoch;
        // What the times were does not matter after a restart; that there were any does.
        node.ping_sent = if info.ping_sent != 0 { now } else { 0 };
        node.pong_received = if info.pong_received != 0 { now } else { 0 };
        node.fail_time = if info.is_failed() { now } else { 0 };
        node
    }

    pub(super) fn is_primary(&self) -> bool {
        self.flags.any(Flags::PRIMARY)
    }

    pub(super) fn is_replica(&self) -> bool {
        self.flags.any(Flags::REPLICA)
    }

    pub(super) fn in_handshake(&self) -> bool {
        self.flags.any(Flags::HANDSHAKE)
    }

    pub(super) fn is_failed(&self) -> bool {
        self.flags.any(Flags::FAIL)
    }

    pub(super) fn is_suspected(&self) -> bool {
        self.flags.any(Flags::PFAIL)
    }

    /// Only primaries with slots have a vote.
    pub(super) fn is_voter(&self) -> bool {
        self.is_primary() && !self.slots.is_empty()
    }

    /// The port for clients that stands first on a bus with or without TLS.
    pub(super) fn main_port(&self, tls: bool) -> u16 {
        if tls { self.tls_port } else { self.port }
    }
}
