//! The cluster as this node sees it, frozen.
//!
//! The core makes a [`View`] when something changed and somebody asks; commands, routing and INFO read it through an
//! `Arc` without a lock. Nodes stand in the order of their ids and are referred to by position; positions are good
//! within one view only.

use std::ops::{BitAnd, BitOr, BitOrAssign};
use std::sync::Arc;

use super::{NodeId, SlotSet};
use crate::base::slot::SLOTS;

/// What is known of a node, one bit each. The values are those of the wire.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Hash)]
pub struct Flags(pub u16);

impl Flags {
    /// A primary.
    pub const PRIMARY: Flags = Flags(1 << 0);
    /// A replica.
    pub const REPLICA: Flags = Flags(1 << 1);
    /// This node did not reach it within the node timeout.
    pub const PFAIL: Flags = Flags(1 << 2);
    /// A majority did not.
    pub const FAIL: Flags = Flags(1 << 3);
    /// The node that looks.
    pub const MYSELF: Flags = Flags(1 << 4);
    /// An address that somebody asked to meet; its id is not known yet.
    pub const HANDSHAKE: Flags = Flags(1 << 5);
    /// Its address is not known.
    pub const NOADDR: Flags = Flags(1 << 6);
    /// It is to be sent a MEET.
    pub const MEET: Flags = Flags(1 << 7);
    /// A primary to which replicas may migrate.
    pub const MIGRATE_TO: Flags = Flags(1 << 8);
    /// A replica that does not take over.
    pub const NOFAILOVER: Flags = Flags(1 << 9);
    /// It reads extensions of pings.
    pub const EXTENSIONS: Flags = Flags(1 << 10);
    /// It reads published messages with the short header.
    pub const LIGHT_HEADER: Flags = Flags(1 << 11);

    /// No flag.
    pub const NONE: Flags = Flags(0);

    /// Whether any of `other`'s flags is set.
    pub const fn any(self, other: Flags) -> bool {
        self.0 & other.0 != 0
    }

    /// Set or clear `other`'s flags.
    pub fn set(&mut self, other: Flags, on: bool) {
        if on { self.0 |= other.0 } else { self.0 &= !other.0 }
    }
}

impl BitOr for Flags {
    type Output = Flags;
    fn bitor(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

impl BitOrAssign for Flags {
    fn bitor_assign(&mut self, other: Flags) {
        self.0 |= other.0;
    }
}

impl BitAnd for Flags {
    type Output = Flags;
    fn bitand(self, other: Flags) -> Flags {
        Flags(self.0 & other.0)
    }
}

/// How CLUSTER SHARDS calls the condition of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Health {
    /// It serves.
    Online,
    /// A majority did not reach it.
    Fail,
    /// A replica without data.
    Loading,
}

impl Health {
    /// `online`, `fail` or `loading`.
    pub fn name(self) -> &'static str {
        match self {
            Health::Online => "online",
            Health::Fail => "fail",
            Health::Loading => "loading",
        }
    }
}

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeInfo {
    /// Its id; a random one while the handshake goes on.
    pub id: NodeId,
    /// The id of its shard: equal for a primary and its replicas.
    pub shard_id: NodeId,
    /// Its address; empty if not known.
    pub ip: String,
    /// The port for clients without TLS; 0: none.
    pub port: u16,
    /// The port for clients with TLS; 0: none.
    pub tls_port: u16,
    /// The port of the cluster bus.
    pub bus_port: u16,
    /// `cluster-announce-hostname`; empty if none.
    pub hostname: String,
    /// `cluster-announce-human-nodename`; empty if none.
    pub human_nodename: String,
    /// `cluster-announce-client-ipv4`: the address for clients that came by IPv4; empty if none.
    pub client_ipv4: String,
    /// `cluster-announce-client-ipv6`; empty if none.
    pub client_ipv6: String,
    /// Role and condition.
    pub flags: Flags,
    /// The primary that a replica follows, if known.
    pub primary: Option<NodeId>,
    /// Where its primary stands in the view.
    pub primary_at: Option<usize>,
    /// Where its replicas stand in the view.
    pub replicas: Vec<usize>,
    /// When the ping that it has not answered was sent, in Unix milliseconds; 0: none is open.
    pub ping_sent: i64,
    /// When it last answered, in Unix milliseconds; 0: never.
    pub pong_received: i64,
    /// How long its last answer to a ping took, in milliseconds, if it answered any.
    pub ping_time: Option<i64>,
    /// The epoch of its configuration; for a replica its own, which is seldom of interest.
    pub config_epoch: u64,
    /// The epoch that CLUSTER NODES prints: for a replica that of its primary.
    pub epoch: u64,
    /// Whether there is a link to it.
    pub connected: bool,
    /// The slots that it owns.
    pub slots: SlotSet,
    /// The offset in the replication stream that it last told.
    pub repl_offset: u64,
}

impl NodeInfo {
    /// Whether it is a primary.
    pub fn is_primary(&self) -> bool {
        self.flags.any(Flags::PRIMARY)
    }

    /// Whether it is a replica.
    pub fn is_replica(&self) -> bool {
        self.flags.any(Flags::REPLICA)
    }

    /// Whether a majority gave it up.
    pub fn is_failed(&self) -> bool {
        self.flags.any(Flags::FAIL)
    }

    /// Whether it serves what it has: a replica without data does not.
    pub fn is_available(&self) -> bool {
        self.health() == Health::Online
    }

    /// Its condition as CLUSTER SHARDS has it.
    pub fn health(&self) -> Health {
        if self.is_failed() {
            Health::Fail
        } else if self.is_replica() && self.repl_offset == 0 {
            Health::Loading
        } else {
            Health::Online
        }
    }

    /// The address for a client that came by IPv6 or by IPv4.
    pub fn ip_for(&self, client_is_ipv6: bool) -> &str {
        let announced = if client_is_ipv6 { &self.client_ipv6 } else { &self.client_ipv4 };
        if announced.is_empty() { &self.ip } else { announced }
    }

    /// The port for clients with or without TLS.
    pub fn client_port(&self, tls: bool) -> u16 {
        if tls { self.tls_port } else { self.port }
    }
}

/// Whether the cluster serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// It does.
    Ok,
    /// It does not: CLUSTERDOWN.
    Fail,
}

impl State {
    /// `ok` or `fail`.
    pub fn name(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Fail => "fail",
        }
    }
}

/// Why the cluster is down, for the log and for people.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DownReason {
    /// It is not.
    None,
    /// A slot has no owner, and `cluster-require-full-coverage` is on.
    SlotUnassigned,
    /// The owner of a slot failed, and `cluster-require-full-coverage` is on.
    OwnerFailed,
    /// Less than a majority of the primaries can be reached.
    Minority,
    /// A primary that just started, or came back to the majority, waits for news before it serves.
    Rejoining,
}

impl DownReason {
    /// A few words for the log.
    pub fn text(self) -> &'static str {
        match self {
            DownReason::None => "none",
            DownReason::SlotUnassigned => "at least one hash slot is not served by any available node",
            DownReason::OwnerFailed => "the owner of at least one hash slot failed",
            DownReason::Minority => "I am part of a minority partition",
            DownReason::Rejoining => "waiting for updates of the configuration before I serve",
        }
    }
}

/// Packets by type, and what went wrong with some.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Packets sent, by the number of the type.
    pub sent: [u64; Stats::TYPES],
    /// Packets received, by the number of the type.
    pub received: [u64; Stats::TYPES],
    /// Packets that were dropped: malformed, of another version or of a sender that is not known.
    pub dropped: u64,
    /// Links that were closed because more waited to be sent than `cluster-link-sendbuf-limit` allows.
    pub links_over_limit: u64,
}

impl Stats {
    /// How many types of packets there are.
    pub const TYPES: usize = 11;

    /// The types as CLUSTER INFO names them (`cluster_stats_messages_ping_sent`), by number.
    pub const NAMES: [&'static str; Stats::TYPES] = [
        "ping",
        "pong",
        "meet",
        "fail",
        "publish",
        "auth-req",
        "auth-ack",
        "update",
        "mfstart",
        "module",
        "publishshard",
    ];
}

/// The position that stands for no owner in the table of owners.
const NOBODY: u16 = u16::MAX;

/// The cluster as this node sees it.
#[derive(Clone, Debug)]
pub struct View {
    /// Counts the views of this node; a later one has a greater number.
    pub version: u64,
    /// Where this node stands in `nodes`.
    pub me: usize,
    /// Whether the cluster serves.
    pub state: State,
    /// Why it does not.
    pub reason: DownReason,
    /// All nodes, those in handshake included, in the order of their ids.
    pub nodes: Vec<NodeInfo>,
    /// By slot: the position of its owner, or [`NOBODY`].
    owners: Arc<[u16]>,
    /// Slots that this node gives away, and to whom, ascending.
    migrating: Vec<(u16, NodeId)>,
    /// Slots that this node receives, and from whom, ascending.
    importing: Vec<(u16, NodeId)>,
    /// The greatest epoch that was seen.
    pub current_epoch: u64,
    /// The epoch of the configuration of this node, or of its primary.
    pub my_epoch: u64,
    /// The last epoch in which this node voted.
    pub last_vote_epoch: u64,
    /// How many primaries own slots.
    pub size: usize,
    /// Slots with an owner.
    pub slots_assigned: usize,
    /// Slots whose owner is not suspected.
    pub slots_ok: usize,
    /// Slots whose owner does not answer this node.
    pub slots_pfail: usize,
    /// Slots whose owner failed.
    pub slots_fail: usize,
    /// Packets by type.
    pub stats: Stats,
    /// When a manual failover that goes on will be given up, in Unix milliseconds; 0: none goes on.
    pub manual_failover_end: i64,
}

/// What goes into a view. The core fills it in; [`View::new`] completes it.
pub struct Parts {
    /// See [`View::version`].
    pub version: u64,
    /// The id of this node.
    pub me: NodeId,
    /// See [`View::state`].
    pub state: State,
    /// See [`View::reason`].
    pub reason: DownReason,
    /// All nodes in any order; `primary_at`, `replicas` and `epoch` are filled in here.
    pub nodes: Vec<NodeInfo>,
    /// Slots that this node gives away.
    pub migrating: Vec<(u16, NodeId)>,
    /// Slots that this node receives.
    pub importing: Vec<(u16, NodeId)>,
    /// See [`View::current_epoch`].
    pub current_epoch: u64,
    /// See [`View::last_vote_epoch`].
    pub last_vote_epoch: u64,
    /// See [`View::size`].
    pub size: usize,
    /// See [`View::stats`].
    pub stats: Stats,
    /// See [`View::manual_failover_end`].
    pub manual_failover_end: i64,
}

impl View {
    /// The view of `parts`; no view if this node is not among the nodes.
    pub fn new(parts: Parts) -> Option<View> {
        let mut nodes = parts.nodes;
        nodes.sort_by_key(|node| node.id);
        let at = |nodes: &[NodeInfo], id: &NodeId| nodes.binary_search_by(|node| node.id.cmp(id)).ok();
        let me = at(&nodes, &parts.me)?;
        let mut owners = vec![NOBODY; usize::from(SLOTS)];
        let mut counts = [0; 3];
        for place in 0..nodes.len() {
            let primary_at = nodes[place].primary.and_then(|primary| at(&nodes, &primary));
            let epoch = primary_at.map_or(nodes[place].config_epoch, |primary| nodes[primary].config_epoch);
            nodes[place].primary_at = primary_at;
            nodes[place].epoch = epoch;
            if let Some(primary) = primary_at {
                nodes[primary].replicas.push(place);
            }
            let node = &nodes[place];
            for &(first, last) in node.slots.ranges() {
                owners[usize::from(first)..=usize::from(last)].fill(place as u16);
            }
            let condition = if node.is_failed() { 2 } else { usize::from(node.flags.any(Flags::PFAIL)) };
            counts[condition] += usize::from(node.slots.len());
        }
        Some(View {
            version: parts.version,
            me,
            state: parts.state,
            reason: parts.reason,
            my_epoch: nodes[me].epoch,
            nodes,
            owners: owners.into(),
            migrating: parts.migrating,
            importing: parts.importing,
            current_epoch: parts.current_epoch,
            last_vote_epoch: parts.last_vote_epoch,
            size: parts.size,
            slots_assigned: counts.iter().sum(),
            slots_ok: counts[0],
            slots_pfail: counts[1],
            slots_fail: counts[2],
            stats: parts.stats,
            manual_failover_end: parts.manual_failover_end,
        })
    }

    /// This node.
    pub fn myself(&self) -> &NodeInfo {
        &self.nodes[self.me]
    }

    /// The primary of this node's shard: itself, or whom it follows. A replica that knows no primary stands for itself.
    pub fn my_primary(&self) -> &NodeInfo {
        &self.nodes[self.myself().primary_at.unwrap_or(self.me)]
    }

    /// The node of this id.
    pub fn node(&self, id: &NodeId) -> Option<&NodeInfo> {
        self.nodes.binary_search_by(|node| node.id.cmp(id)).ok().map(|at| &self.nodes[at])
    }

    /// The node whose id is spelled by `text`, as arguments of commands spell it.
    pub fn lookup(&self, text: &[u8]) -> Option<&NodeInfo> {
        self.node(&NodeId::parse(text)?)
    }

    /// The owner of `slot`.
    #[inline]
    pub fn owner(&self, slot: u16) -> Option<&NodeInfo> {
        let at = *self.owners.get(usize::from(slot))?;
        self.nodes.get(usize::from(at))
    }

    /// Whether this node owns `slot`.
    #[inline]
    pub fn is_mine(&self, slot: u16) -> bool {
        self.owners.get(usize::from(slot)).is_some_and(|&at| usize::from(at) == self.me)
    }

    /// Whether this node, or the primary that it follows, owns `slot`.
    #[inline]
    pub fn is_my_shards(&self, slot: u16) -> bool {
        let Some(&at) = self.owners.get(usize::from(slot)) else { return false };
        usize::from(at) == self.me || self.myself().primary_at == Some(usize::from(at))
    }

    /// Whether `slot` belongs to another shard, and is not being received key by key. What is here of it is on its way, in
    /// or out, and nobody's business yet or any more.
    #[inline]
    pub fn is_elsewhere(&self, slot: u16) -> bool {
        self.owner(slot).is_some() && !self.is_my_shards(slot) && self.importing_from(slot).is_none()
    }

    /// The replicas of a node.
    pub fn replicas_of<'a>(&'a self, node: &'a NodeInfo) -> impl Iterator<Item = &'a NodeInfo> + 'a {
        node.replicas.iter().map(|&at| &self.nodes[at])
    }

    /// The nodes by shard, for CLUSTER SHARDS: the shards in the order of their ids, the primary of a shard first.
    pub fn shards(&self) -> Vec<Vec<&NodeInfo>> {
        let mut nodes: Vec<&NodeInfo> = self.nodes.iter().filter(|node| !node.flags.any(Flags::HANDSHAKE)).collect();
        nodes.sort_by_key(|node| (node.shard_id, node.is_replica(), node.id));
        nodes.chunk_by(|a, b| a.shard_id == b.shard_id).map(<[_]>::to_vec).collect()
    }

    /// To whom this node gives `slot` away.
    #[inline]
    pub fn migrating_to(&self, slot: u16) -> Option<&NodeInfo> {
        self.open(&self.migrating, slot)
    }

    /// From whom this node receives `slot`.
    #[inline]
    pub fn importing_from(&self, slot: u16) -> Option<&NodeInfo> {
        self.open(&self.importing, slot)
    }

    #[inline]
    fn open(&self, list: &[(u16, NodeId)], slot: u16) -> Option<&NodeInfo> {
        if list.is_empty() {
            return None;
        }
        let at = list.binary_search_by_key(&slot, |&(slot, _)| slot).ok()?;
        self.node(&list[at].1)
    }

    /// All slots that this node gives away, and to whom, ascending.
    pub fn migrating(&self) -> &[(u16, NodeId)] {
        &self.migrating
    }

    /// All slots that this node receives, and from whom, ascending.
    pub fn importing(&self) -> &[(u16, NodeId)] {
        &self.importing
    }

    /// The owners by range, for CLUSTER SLOTS: `(first, last, owner)`, slots without an owner left out.
    pub fn owned_ranges(&self) -> Vec<(u16, u16, &NodeInfo)> {
        let mut out = Vec::new();
        let mut first = 0;
        for run in self.owners.chunk_by(|a, b| a == b) {
            let last = first + run.len() - 1;
            if let Some(owner) = run.first().and_then(|&at| self.nodes.get(usize::from(at))) {
                out.push((first as u16, last as u16, owner));
            }
            first = last + 1;
        }
        out
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn node(digit: char, flags: Flags) -> NodeInfo {
        let id = NodeId::parse(digit.to_string().repeat(40).as_bytes()).unwrap();
        NodeInfo {
            id,
            shard_id: id,
            ip: "10.0.0.1".to_owned(),
            port: 7000,
            tls_port: 0,
            bus_port: 17000,
            hostname: String::new(),
            human_nodename: String::new(),
            client_ipv4: String::new(),
            client_ipv6: String::new(),
            flags,
            primary: None,
            primary_at: None,
            replicas: Vec::new(),
            ping_sent: 0,
            pong_received: 0,
            ping_time: None,
            config_epoch: 0,
            epoch: 0,
            connected: true,
            slots: SlotSet::new(),
            repl_offset: 1,
        }
    }

    pub(crate) fn view(nodes: Vec<NodeInfo>, migrating: Vec<(u16, NodeId)>) -> View {
        let me = nodes.iter().find(|node| node.flags.any(Flags::MYSELF)).unwrap().id;
        View::new(Parts {
            version: 1,
            me,
            state: State::Ok,
            reason: DownReason::None,
            nodes,
            migrating,
            importing: Vec::new(),
            current_epoch: 3,
            last_vote_epoch: 2,
            size: 2,
            stats: Stats::default(),
            manual_failover_end: 0,
        })
        .unwrap()
    }

    #[test]
    fn a_view_knows_owners_replicas_and_counts() {
        let mut b = node('b', Flags::PRIMARY | Flags::MYSELF);
        b.slots = SlotSet::range(0, 99);
        b.config_epoch = 7;
        let mut a = node('a', Flags::REPLICA);
        a.primary = Some(b.id);
        a.shard_id = b.shard_id;
        let mut c = node('c', Flags::PRIMARY | Flags::FAIL);
        c.slots = SlotSet::range(200, 209);
        let view = view(vec![c.clone(), b.clone(), a.clone()], vec![(5, c.id)]);
        assert_eq!((view.me, view.my_epoch), (1, 7));
        assert_eq!(view.owner(99).unwrap().id, b.id);
        assert!(view.is_mine(0) && !view.is_mine(200) && !view.is_mine(100) && view.owner(100).is_none());
        assert!(view.owner(u16::MAX).is_none() && view.is_my_shards(3));
        assert_eq!(view.replicas_of(view.myself()).map(|node| node.id).collect::<Vec<_>>(), [a.id]);
        assert_eq!(view.node(&a.id).unwrap().epoch, 7);
        assert_eq!((view.slots_assigned, view.slots_ok, view.slots_fail), (110, 100, 10));
        assert_eq!(view.migrating_to(5).unwrap().id, c.id);
        assert!(view.migrating_to(6).is_none() && view.importing_from(5).is_none());
        let ranges: Vec<_> = view.owned_ranges().iter().map(|&(first, last, owner)| (first, last, owner.id)).collect();
        assert_eq!(ranges, [(0, 99, b.id), (200, 209, c.id)]);
        let shards = view.shards();
        assert_eq!(shards.len(), 2);
        assert_eq!(shards[0].iter().map(|node| node.id).collect::<Vec<_>>(), [b.id, a.id]);
    }

    #[test]
    fn health_is_what_cluster_shards_says() {
        let mut replica = node('a', Flags::REPLICA);
        assert_eq!(replica.health().name(), "online");
        replica.repl_offset = 0;
        assert_eq!(replica.health().name(), "loading");
        replica.flags |= Flags::FAIL;
        assert_eq!(replica.health().name(), "fail");
    }
}
