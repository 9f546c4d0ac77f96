//! The state machine of a cluster node.
//!
//! [`Core`] knows the nodes, decides who is alive, votes, takes over, learns and tells who owns which slot. It does no
//! I/O: a driver feeds it and carries out what it says. The simulator is a driver, too.
//!
//! # The order of calls
//!
//! 1. Any `handle_*` method, [`accept`](Core::accept), [`link_up`](Core::link_up), [`link_down`](Core::link_down),
//!    [`publish`](Core::publish): something happened at `now`.
//! 2. [`poll_event`](Core::poll_event) until it is empty: what the node must do. Roles change before anybody hears.
//! 3. [`poll_persist`](Core::poll_persist): if it says so, write [`nodes_conf`](Core::nodes_conf) to disk, with an fsync
//!    if asked for, and call [`persisted`](Core::persisted).
//! 4. [`poll_transmit`](Core::poll_transmit) until it is empty: what to connect, send and close.
//! 5. [`poll_timeout`](Core::poll_timeout): when to call [`handle_timeout`](Core::handle_timeout) at the latest. Before
//!    that call, [`handle_facts`](Core::handle_facts) with fresh facts.
//!
//! Steps 3 and 4 cannot be turned around: packets that promise something (a vote, a new epoch, slots that were taken
//! over) stay in the queue, and what was queued after them too, until the state that they depend on is reported durable.
//!
//! # Time
//!
//! `now` is in milliseconds of a clock that never goes back and started at Unix time: nodes tell each other the times
//! of pings, and a step of the wall clock must not make everybody look dead.
//!
//! # Nodes
//!
//! They live in [`table`]; this node is always at [`ME`]. Links are directed: to every node one that this node opened
//! (over which it pings) and one that the other opened (over which it is pinged).

mod claims;
mod command;
mod cron;
mod election;
mod epoch;
mod forget;
mod gossip;
mod health;
mod link;
mod manual;
mod message;
mod migration;
mod node;
mod packet;
mod pubsub;
mod reset;
mod role;
mod setslot;
mod settings;
mod slots;
mod table;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::nodes_conf::Stored;
use super::view::Parts;
use super::{DownReason, Flags, NodeId, NodeInfo, SlotSet, State, Stats, View, nodes_conf};
use crate::base::rng::Rng;
pub use command::{Command, FailoverKind, Keys, Reply, SlotAction};
use election::Election;
pub use election::Failovers;
use link::Links;
pub use link::{Direction, LinkId, LinkInfo};
use manual::Manual;
use message::Audience;
use node::{ME, Node};
pub use settings::{BUS_OFFSET, Settings};
use table::Table;

/// How the link of a replica to its primary is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PrimaryLink {
    /// Connected and in sync; the primary was last heard then.
    Up {
        /// By the core's clock.
        last_heard: i64,
    },
    /// Not connected, or not in sync, since then.
    Down {
        /// By the core's clock.
        since: i64,
    },
}

/// What the core cannot know by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Facts {
    /// The offset in the replication stream that this node reached: written as a primary, applied as a replica.
    pub repl_offset: u64,
    /// As a replica: how the link to the primary is doing.
    pub primary_link: PrimaryLink,
}

/// How much a line of the log matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// For people who look for something.
    Verbose,
    /// Something happened.
    Notice,
    /// Something is wrong.
    Warning,
}

/// What the node must do.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// Stop following: this node is a primary now. Keep the data.
    BecomePrimary,
    /// Follow a node. May come again for the same node when its address changed, or when nothing changed.
    Follow {
        /// Whom.
        id: NodeId,
        /// Where it lives.
        ip: String,
        /// Its port for replication.
        port: u16,
        /// The data at hand has nothing to do with that node's history: do not try to continue.
        full_sync: bool,
    },
    /// Remove all data: the node was reset, or left its shard.
    FlushAll,
    /// These slots belong to somebody else now: remove their keys.
    SlotsLost(SlotSet),
    /// The owner of these slots changed: their shard channels lose their subscribers.
    ChannelsLost(SlotSet),
    /// The cluster serves, or does not.
    State(State, DownReason),
    /// A manual failover begins: let no write in until the given time at most, then call
    /// [`handle_paused`](Core::handle_paused) with the offset that stands still.
    PauseWrites {
        /// By the core's clock.
        until: i64,
    },
    /// The manual failover is over, one way or the other.
    ResumeWrites,
    /// Another node published a message.
    Published {
        /// The channel.
        channel: Bytes,
        /// The message.
        message: Bytes,
        /// For a shard channel.
        shard: bool,
    },
    /// Something that routing or CLUSTER NODES shows changed: fetch a [`view`](Core::view).
    ViewChanged,
    /// A line for the log.
    Log(Level, String),
}

/// What goes to other nodes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Transmit {
    /// Open a connection, and report [`link_up`](Core::link_up) or [`link_down`](Core::link_down). Packets for the link
    /// may come before it is up: keep them in their order.
    Connect {
        /// The link's number from now on.
        link: LinkId,
        /// To which address.
        ip: String,
        /// To which port.
        port: u16,
    },
    /// Send a packet. On a link that is down it is dropped.
    Send {
        /// Over which link.
        link: LinkId,
        /// The whole packet.
        packet: Bytes,
    },
    /// Close the link. It is not spoken of again.
    Close {
        /// Which.
        link: LinkId,
    },
}

/// The state that has to go to disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Persist {
    /// Give it back to [`persisted`](Core::persisted).
    pub version: u64,
    /// Packets wait until it is on disk: fsync.
    pub sync: bool,
}

/// What a core starts from.
pub enum Boot {
    /// A new node with this id.
    Fresh(NodeId),
    /// What nodes.conf remembered.
    Stored(Stored),
}

/// What is left to do before a call returns: the things that several causes ask for and that are done once.
#[derive(Default)]
struct Todo {
    failover: bool,
    manual_failover: bool,
    state: bool,
    view: bool,
    /// This node, a voter, suspects another since now: the others are to hear of it.
    suspicion: bool,
}

/// What must reach the disk, and what waits for it.
struct Durability {
    /// Counts the changes of what nodes.conf holds.
    version: u64,
    /// Changes since the last [`Core::poll_persist`].
    dirty: bool,
    /// Packets that are queued now wait until this version is durable.
    required: u64,
    /// This version is.
    durable: u64,
    /// Since when packets wait.
    held_since: Option<i64>,
}

/// A node of the cluster, without its sockets, files and clock.
pub struct Core {
    settings: Settings,
    rng: Rng,
    /// The time of the call that is going on.
    now: i64,
    nodes: Table,
    links: Links,
    /// Slots that this node gives away, and to whom.
    migrating: BTreeMap<u16, usize>,
    /// Slots that this node receives, and from whom.
    importing: BTreeMap<u16, usize>,
    /// Slots whose owner stopped claiming them, with no successor yet: not to be spread by UPDATE.
    unclaimed: SlotSet,
    current_epoch: u64,
    last_vote_epoch: u64,
    state: State,
    reason: DownReason,
    /// How many primaries own slots.
    size: usize,
    /// When this node last was among the minority.
    minority_time: i64,
    /// When the state was evaluated first.
    first_evaluation: Option<i64>,
    election: Election,
    failovers: Failovers,
    manual: Manual,
    facts: Facts,
    /// Whom the driver was last told to follow, and where.
    following: Option<(NodeId, Box<str>, u16)>,
    /// Nodes that were forgotten, and until when they are not taken in again.
    blacklist: BTreeMap<NodeId, i64>,
    /// Where nodes were that were forgotten: not met by the seeds again.
    forgotten: BTreeSet<(Box<str>, u16)>,
    stats: Stats,
    /// Counts packets with gossip, so that a node is not mentioned twice in one.
    gossip_round: u64,
    /// How many nodes are suspected, as of the last tick.
    suspected: usize,
    next_tick: i64,
    ticks: u64,
    /// When a malformed packet was last mentioned in the log.
    last_complaint: i64,
    todo: Todo,
    durability: Durability,
    out: VecDeque<(u64, Transmit)>,
    events: VecDeque<Event>,
    /// Slots whose owner changed during this call.
    disowned: SlotSet,
    view: Option<Arc<View>>,
    view_version: u64,
}

impl Core {
    /// A node that starts at `now`. Everything random follows from `seed`.
    pub fn new(boot: Boot, settings: Settings, facts: Facts, now: i64, seed: u64) -> Core {
        let mut rng = Rng::new(seed);
        let (me, stored) = match boot {
            Boot::Fresh(id) => {
                let mut me = Node::new(id, Flags::MYSELF | Flags::PRIMARY, now);
                me.shard_id = NodeId::random(&mut rng);
                (me, None)
            }
            Boot::Stored(stored) => {
                let mine = stored.nodes.iter().find(|info| info.id == stored.me);
                let me = mine.map(|info| Node::from_info(info, now));
                let me = me.unwrap_or_else(|| Node::new(stored.me, Flags::MYSELF | Flags::PRIMARY, now));
                (me, Some(stored))
            }
        };
        let mut core = Core {
            settings,
            rng,
            now,
            nodes: Table::new(me),
            links: Links::default(),
            migrating: BTreeMap::new(),
            importing: BTreeMap::new(),
            unclaimed: SlotSet::new(),
            current_epoch: 0,
            last_vote_epoch: 0,
            state: State::Fail,
            reason: DownReason::Rejoining,
            size: 0,
            failovers: Failovers::default(),
            minority_time: 0,
            first_evaluation: None,
            election: Election::default(),
            manual: Manual::default(),
            facts,
            following: None,
            blacklist: BTreeMap::new(),
            forgotten: BTreeSet::new(),
            stats: Stats::default(),
            gossip_round: 0,
            suspected: 0,
            next_tick: now,
            ticks: 0,
            last_complaint: i64::MIN,
            todo: Todo { state: true, view: true, ..Todo::default() },
            durability: Durability { version: 0, dirty: false, required: 0, durable: 0, held_since: None },
            out: VecDeque::new(),
            events: VecDeque::new(),
            disowned: SlotSet::new(),
            view: None,
            view_version: 0,
        };
        match stored {
            None => {
                let id = core.my_id();
                core.log(Level::Notice, || format!("No cluster configuration found, I'm {id}"));
                core.save_durably();
            }
            Some(stored) => core.restore(stored),
        }
        core.announce();
        core.settle();
        core
    }

    /// Take in what nodes.conf remembered.
    fn restore(&mut self, stored: Stored) {
        for info in stored.nodes.iter().filter(|info| info.id != stored.me) {
            self.nodes.add(Node::from_info(info, self.now));
        }
        for info in &stored.nodes {
            let Some(at) = self.nodes.find(&info.id) else { continue };
            if let Some(primary) = info.primary.and_then(|primary| self.nodes.find(&primary)) {
                self.nodes.follow(at, primary);
            }
            for slot in info.slots.iter() {
                self.nodes.assign(slot, at);
            }
        }
        let open = |list: Vec<(u16, NodeId)>| -> BTreeMap<u16, usize> {
            list.into_iter().filter_map(|(slot, id)| Some((slot, self.nodes.find(&id)?))).collect()
        };
        self.migrating = open(stored.migrating);
        self.importing = open(stored.importing);
        self.last_vote_epoch = stored.last_vote_epoch;
        // Smaller than the epoch of a node only if somebody edited the file.
        self.current_epoch =
            stored.current_epoch.max(self.nodes.iter().map(|(_, n)| n.config_epoch).max().unwrap_or(0));
        let id = self.my_id();
        self.log(Level::Notice, || format!("Node configuration loaded, I'm {id}"));
        // Before the first tick: the driver loads data next, and takes them as a replica's.
        self.follow_if_due();
    }

    /// Something happens at `now`. The clock does not go back, whatever the driver says.
    fn begin(&mut self, now: i64) {
        self.now = self.now.max(now);
    }

    /// The end of every call: do once what several causes may have asked for.
    fn settle(&mut self) {
        // What is done here can ask for more, but not forever: each step forward of a failover happens once.
        for _ in 0..4 {
            if std::mem::take(&mut self.todo.manual_failover) {
                self.todo.failover = true;
                self.advance_manual_failover();
            }
            if std::mem::take(&mut self.todo.failover) {
                self.advance_failover();
            }
            if std::mem::take(&mut self.todo.state) {
                self.evaluate_state();
            }
        }
        if std::mem::take(&mut self.todo.suspicion) {
            // A majority has to say the same before anybody acts: that need not wait for the next pings.
            self.broadcast_pong(Audience::SomeVoters);
        }
        if !self.disowned.is_empty() {
            let slots = std::mem::take(&mut self.disowned);
            self.events.push_back(Event::ChannelsLost(slots));
        }
        if std::mem::take(&mut self.todo.view) {
            self.view = None;
            self.events.push_back(Event::ViewChanged);
        }
    }

    /// What nodes.conf holds changed; losing the change in a crash does no harm.
    fn save(&mut self) {
        self.durability.version += 1;
        self.durability.dirty = true;
        self.todo.view = true;
    }

    /// What nodes.conf holds changed; packets that are queued from now on wait until it is on disk.
    fn save_durably(&mut self) {
        self.save();
        self.durability.required = self.durability.version;
    }

    fn log(&mut self, level: Level, text: impl FnOnce() -> String) {
        self.events.push_back(Event::Log(level, text()));
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do, unless something else happens before.
    pub fn poll_timeout(&self) -> i64 {
        let election = self.election_due().unwrap_or(i64::MAX);
        let manual = self.manual_due().unwrap_or(i64::MAX);
        // Not at once again, whatever was found: the clock has to move for anything to change.
        self.next_tick.min(election).min(manual).max(self.now + 1)
    }

    /// The time that [`poll_timeout`](Self::poll_timeout) named has come, or another.
    pub fn handle_timeout(&mut self, now: i64) {
        self.begin(now);
        if self.now >= self.next_tick {
            self.tick();
        } else {
            self.check_manual_timeout();
            self.todo.manual_failover = true;
        }
        self.settle();
    }

    /// News of what the core cannot know by itself.
    pub fn handle_facts(&mut self, now: i64, facts: Facts) {
        self.begin(now);
        let moved = facts.repl_offset != self.facts.repl_offset;
        if (facts.repl_offset == 0) != (self.facts.repl_offset == 0) {
            self.todo.view = true;
        }
        self.facts = facts;
        if moved && self.manual.is_on() {
            self.todo.manual_failover = true;
        }
        self.settle();
    }

    /// The settings changed.
    pub fn handle_settings(&mut self, now: i64, settings: Settings) {
        self.begin(now);
        self.settings = settings;
        self.announce();
        self.todo.state = true;
        self.settle();
    }

    /// The settings in force.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The next thing that the node must do.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether the state has to go to disk before anything else is sent.
    pub fn poll_persist(&mut self) -> Option<Persist> {
        let durability = &mut self.durability;
        std::mem::take(&mut durability.dirty)
            .then_some(Persist { version: durability.version, sync: durability.required > durability.durable })
    }

    /// The state of `version` is on disk.
    pub fn persisted(&mut self, version: u64) {
        self.durability.durable = self.durability.durable.max(version);
        let still = self.out.front().is_some_and(|&(required, _)| required > self.durability.durable);
        if !still && let Some(since) = self.durability.held_since.take() {
            // The other side of a handshake could not hear of it meanwhile.
            let handshakes: Vec<usize> = self.handshakes().map(|(at, _)| at).collect();
            for at in handshakes {
                let node = &mut self.nodes[at];
                node.created += self.now - since.max(node.created);
            }
        }
    }

    /// The next thing that goes to other nodes. Nothing, while the state that the next packet depends on is not durable.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        let &(required, _) = self.out.front()?;
        if required > self.durability.durable {
            return None;
        }
        self.out.pop_front().map(|(_, transmit)| transmit)
    }

    fn transmit(&mut self, transmit: Transmit) {
        if self.durability.required > self.durability.durable {
            self.durability.held_since.get_or_insert(self.now);
        }
        self.out.push_back((self.durability.required, transmit));
    }

    /// The text of nodes.conf.
    pub fn nodes_conf(&mut self) -> String {
        nodes_conf::print(&self.view(), self.settings.tls_cluster)
    }

    /// The id of this node.
    pub fn my_id(&self) -> NodeId {
        self.nodes[ME].id
    }

    /// Whether the cluster serves, as this node sees it.
    pub fn state(&self) -> State {
        self.state
    }

    /// The cluster as this node sees it. The same view again if nothing that it shows changed.
    pub fn view(&mut self) -> Arc<View> {
        if let Some(view) = &self.view {
            return view.clone();
        }
        self.view_version += 1;
        let open = |map: &BTreeMap<u16, usize>| map.iter().map(|(&slot, &at)| (slot, self.nodes[at].id)).collect();
        let parts = Parts {
            version: self.view_version,
            me: self.my_id(),
            state: self.state,
            reason: self.reason,
            nodes: self.nodes.iter().map(|(at, node)| self.info(at, node)).collect(),
            migrating: open(&self.migrating),
            importing: open(&self.importing),
            current_epoch: self.current_epoch,
            last_vote_epoch: self.last_vote_epoch,
            size: self.size,
            stats: self.stats,
            manual_failover_end: self.manual.end.unwrap_or(0),
        };
        let view = Arc::new(View::new(parts).unwrap_or_else(|| unreachable!("this node is always in its own table")));
        self.view = Some(view.clone());
        view
    }

    fn info(&self, at: usize, node: &Node) -> NodeInfo {
        NodeInfo {
            id: node.id,
            shard_id: node.shard_id,
            ip: node.ip.to_string(),
            port: node.port,
            tls_port: node.tls_port,
            bus_port: node.bus_port,
            hostname: node.names.hostname.to_string(),
            human_nodename: node.names.human.to_string(),
            client_ipv4: node.names.client_ipv4.to_string(),
            client_ipv6: node.names.client_ipv6.to_string(),
            flags: node.flags,
            primary: node.primary.map(|primary| self.nodes[primary].id),
            primary_at: None,
            replicas: Vec::new(),
            ping_sent: node.ping_sent,
            pong_received: node.pong_received,
            ping_time: node.ping_time,
            config_epoch: node.config_epoch,
            epoch: node.config_epoch,
            connected: at == ME || node.link.is_some(),
            slots: node.slots.clone(),
            repl_offset: if at == ME { self.facts.repl_offset } else { node.repl_offset },
        }
    }

    /// As [`view`](Self::view), with the times of pings, offsets and counters of this moment.
    pub fn fresh_view(&mut self) -> Arc<View> {
        self.view = None;
        self.view()
    }

    /// The id of this node with its human name, as the log has nodes.
    fn named(&self, at: usize) -> String {
        let node = &self.nodes[at];
        format!("{} ({})", node.id, node.names.human)
    }
}
