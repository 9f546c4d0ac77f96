//! The world in which simulated nodes live: virtual time, machines with clocks and disks, a network that does what it is
//! told, and crashes.
//!
//! Everything follows from one seed. Nodes are cores; this is their driver, as `src/cluster/core` describes one.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::Bytes;
use dunlin::base::rng::Rng;
use dunlin::cluster::core::{Boot, Command, Core, Event, Facts, Keys, LinkId, PrimaryLink, Reply, Settings, Transmit};
use dunlin::cluster::{NodeId, View, nodes_conf};

use crate::safety::Safety;

/// Where the clocks of all nodes start, but for their skew.
const EPOCH: i64 = 1_700_000_000_000;
pub const PORT: u16 = 7000;
const BUS: u16 = 17000;

/// What the network does to packets, in parts of 1,000, and how long it takes.
#[derive(Clone, Copy, Default, Debug)]
pub struct Weather {
    pub loss: u64,
    pub duplicate: u64,
    /// Packets of a link may overtake each other.
    pub reorder: bool,
    /// Milliseconds: at least, and at most so much more.
    pub delay: (i64, u64),
    /// How often, of 10,000 calls, a node dies between the disk and the network.
    pub sudden_death: u64,
}

enum Action {
    Timer,
    Deliver {
        link: LinkId,
        packet: Bytes,
        /// The other end: node, life, link.
        from: (usize, u64, LinkId),
    },
    /// A connection arrives: from which node's link.
    Arrive {
        from: usize,
        life: u64,
        link: LinkId,
    },
    Up {
        link: LinkId,
    },
    Down {
        link: LinkId,
    },
}

struct Due {
    at: i64,
    number: u64,
    node: usize,
    /// The life of the node that it is for: what was under way when it died is lost.
    life: u64,
    action: Action,
}

impl PartialEq for Due {
    fn eq(&self, other: &Due) -> bool {
        self.number == other.number
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Due) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    fn cmp(&self, other: &Due) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// One end of a connection.
struct Wire {
    peer: usize,
    peer_life: u64,
    peer_link: LinkId,
    /// When the last packet arrives.
    last: i64,
}

pub struct Machine {
    pub core: Option<Core>,
    life: u64,
    /// What survives the death of the process, and what that of the machine.
    cached: Option<String>,
    durable: Option<String>,
    /// Its clock: how far off, and how many thousandths too fast.
    skew: i64,
    drift: i64,
    wires: BTreeMap<LinkId, Wire>,
    /// Packets for links that are not up yet.
    waiting: BTreeMap<LinkId, Vec<Bytes>>,
    timer: i64,
    /// Whom it replicates from.
    following: Option<NodeId>,
    /// Where that node was last seen.
    source: usize,
    /// It lets no writes in.
    paused: bool,
    offset: u64,
    down_since: i64,
    settings: Settings,
}

struct NoKeys;
impl Keys for NoKeys {
    fn total(&self) -> u64 {
        0
    }
    fn in_slot(&self, _: u16) -> u64 {
        0
    }
}

pub struct World {
    pub now: i64,
    pub rng: Rng,
    pub machines: Vec<Machine>,
    pub weather: Weather,
    /// Packets from one to the other are lost.
    pub cut: HashSet<(usize, usize)>,
    pub safety: Safety,
    queue: BinaryHeap<Reverse<Due>>,
    number: u64,
    pub bytes_sent: u64,
    pub packets_sent: u64,
    pub files: Files,
    /// Lines of the logs, if somebody wants to see them.
    pub trace: bool,
}

/// Which nodes.conf is printed. That of a thousand nodes takes long, and each node writes it a thousand times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Files {
    /// Each.
    All,
    /// Those that must be on disk before a packet leaves.
    Durable,
    /// None: nobody starts again.
    None,
}

fn ip(node: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, (node >> 8) as u8, node as u8))
}

impl World {
    /// Machines whose clocks are wrong, and run at different speeds.
    pub fn new(seed: u64, size: usize, settings: &Settings) -> World {
        World::with_clocks(seed, size, settings, false)
    }

    /// The same with clocks that are right, or not.
    pub fn with_clocks(seed: u64, size: usize, settings: &Settings, right: bool) -> World {
        let mut world = World {
            now: 0,
            rng: Rng::new(seed),
            machines: Vec::new(),
            weather: Weather { delay: (1, 2), ..Weather::default() },
            cut: HashSet::new(),
            safety: Safety::default(),
            queue: BinaryHeap::new(),
            number: 0,
            bytes_sent: 0,
            packets_sent: 0,
            files: if size <= 30 { Files::All } else { Files::Durable },
            trace: std::env::var_os("DUNLIN_TRACE").is_some(),
        };
        for node in 0..size {
            let skew = world.rng.below(1_200_000) as i64 - 600_000;
            let drift = world.rng.below(41) as i64 - 20;
            let (skew, drift) = if right { (0, 0) } else { (skew, drift) };
            world.machines.push(Machine {
                core: None,
                life: 0,
                cached: None,
                durable: None,
                skew,
                drift,
                wires: BTreeMap::new(),
                waiting: BTreeMap::new(),
                timer: i64::MAX,
                following: None,
                source: 0,
                paused: false,
                offset: 1,
                down_since: 0,
                settings: Settings { port: PORT, announce_ip: Some(ip(node).to_string()), ..settings.clone() },
            });
            world.start(node);
        }
        world
    }

    /// What a node's clock shows.
    fn clock(&self, node: usize) -> i64 {
        let machine = &self.machines[node];
        EPOCH + machine.skew + self.now + self.now * machine.drift / 1000
    }

    /// When a node's clock shows `clock`.
    fn when(&self, node: usize, clock: i64) -> i64 {
        let machine = &self.machines[node];
        let local = clock.saturating_sub(EPOCH + machine.skew);
        // Rounded up: a timer may be late, not early.
        (local.saturating_mul(1000) / (1000 + machine.drift) + 1).max(self.now)
    }

    fn push(&mut self, at: i64, node: usize, action: Action) {
        self.number += 1;
        let life = self.machines[node].life;
        self.queue.push(Reverse(Due { at, number: self.number, node, life, action }));
    }

    fn delay(&mut self) -> i64 {
        let (least, more) = self.weather.delay;
        least + self.rng.below(more.max(1)) as i64
    }

    pub fn is_up(&self, node: usize) -> bool {
        self.machines[node].core.is_some()
    }

    pub fn up(&self) -> Vec<usize> {
        (0..self.machines.len()).filter(|&node| self.is_up(node)).collect()
    }

    pub fn view(&mut self, node: usize) -> Option<Arc<View>> {
        Some(self.machines[node].core.as_mut()?.view())
    }

    pub fn id(&self, node: usize) -> Option<NodeId> {
        Some(self.machines[node].core.as_ref()?.my_id())
    }

    fn facts(&self, node: usize) -> Facts {
        let machine = &self.machines[node];
        let clock = self.clock(node);
        let since = clock.saturating_sub(self.now.saturating_sub(machine.down_since));
        let primary_link = if machine.down_since == i64::MAX {
            PrimaryLink::Up { last_heard: clock }
        } else {
            PrimaryLink::Down { since }
        };
        Facts { repl_offset: machine.offset, primary_link }
    }

    /// Start a node from its disk.
    pub fn start(&mut self, node: usize) {
        if self.is_up(node) {
            return;
        }
        let seed = self.rng.next_u64();
        let (facts, clock) = (self.facts(node), self.clock(node));
        let boot = match self.machines[node].cached.clone().filter(|text| !text.is_empty()) {
            None => Boot::Fresh(NodeId::random(&mut self.rng)),
            Some(text) => match nodes_conf::parse(&text, false) {
                Ok(Some(stored)) => Boot::Stored(stored),
                other => panic!("a file that a node wrote cannot be read: {other:?}\n{text}"),
            },
        };
        let machine = &mut self.machines[node];
        machine.core = Some(Core::new(boot, machine.settings.clone(), facts, clock, seed));
        machine.following = None;
        machine.paused = false;
        machine.down_since = self.now;
        self.pump(node);
    }

    /// A node dies; with its machine, or only the process. `wipe`: its disk is lost, too.
    pub fn crash(&mut self, node: usize, machine_too: bool, wipe: bool) {
        if !self.is_up(node) {
            return;
        }
        let wires = std::mem::take(&mut self.machines[node].wires);
        for wire in wires.into_values() {
            // A process that dies closes its connections; a machine says nothing.
            let told = !machine_too && !self.cut.contains(&(node, wire.peer));
            if told && self.machines[wire.peer].life == wire.peer_life {
                let at = self.now + self.delay();
                self.push(at, wire.peer, Action::Down { link: wire.peer_link });
            }
        }
        let machine = &mut self.machines[node];
        machine.core = None;
        machine.life += 1;
        machine.waiting.clear();
        machine.timer = i64::MAX;
        if machine_too {
            machine.cached = machine.durable.clone();
        }
        if wipe {
            machine.cached = None;
            machine.durable = None;
            machine.offset = 1;
        }
    }

    pub fn command(&mut self, node: usize, text: &str) -> Result<Reply, String> {
        let words: Vec<&[u8]> = text.split(' ').map(str::as_bytes).collect();
        let command = Command::parse(&words, "sim").unwrap_or_else(|| panic!("{text} is no command"));
        let command = command.map_err(|error| error.into_owned())?;
        self.order(node, command)
    }

    /// A SETSLOT as a primary gets it: its replicas hear of it first, by way of their stream.
    pub fn set_slot(&mut self, node: usize, text: &str) -> Result<Reply, String> {
        let me = self.id(node).expect("a node that is up");
        let replicas: Vec<usize> =
            self.up().into_iter().filter(|&other| self.view(other).unwrap().myself().primary == Some(me)).collect();
        for replica in replicas {
            let words: Vec<&[u8]> = text.split(' ').map(str::as_bytes).collect();
            let mut command = Command::parse(&words, "sim").expect("a command").map_err(|error| error.into_owned())?;
            if let Command::SetSlot { from_primary, .. } = &mut command {
                *from_primary = true;
            }
            self.order(replica, command)?;
        }
        self.command(node, text)
    }

    fn order(&mut self, node: usize, command: Command) -> Result<Reply, String> {
        let clock = self.clock(node);
        let Some(core) = &mut self.machines[node].core else { return Err("down".to_owned()) };
        let reply = core.handle_command(clock, command, &NoKeys).map_err(|error| error.into_owned());
        self.pump(node);
        reply
    }

    pub fn meet(&mut self, node: usize, other: usize) {
        let _ = self.command(node, &format!("meet {} {PORT}", ip(other)));
    }

    /// Carry out what a node asks for: events, then the disk, then the network.
    fn pump(&mut self, node: usize) {
        let dies = self.rng.below(10_000) < self.weather.sudden_death;
        let before_disk = dies && self.rng.below(2) == 0;
        let clock = self.clock(node);
        if self.machines[node].core.is_none() {
            return;
        }
        loop {
            let Some(core) = &mut self.machines[node].core else { return };
            let Some(event) = core.poll_event() else { break };
            match event {
                Event::PauseWrites { .. } => {
                    let offset = self.machines[node].offset;
                    self.machines[node].paused = true;
                    if let Some(core) = &mut self.machines[node].core {
                        core.handle_paused(clock, offset);
                    }
                }
                Event::Follow { id, full_sync, .. } => {
                    let machine = &mut self.machines[node];
                    if machine.following != Some(id) {
                        machine.following = Some(id);
                        machine.down_since = self.now;
                    }
                    if full_sync {
                        machine.offset = 1;
                    }
                }
                Event::ResumeWrites => self.machines[node].paused = false,
                Event::BecomePrimary => self.machines[node].following = None,
                Event::Log(level, text) if self.trace => println!("{:>7} node {node} {level:?}: {text}", self.now),
                _ => {}
            }
        }
        if before_disk {
            return self.crash(node, true, false);
        }
        let machine = &mut self.machines[node];
        let Some(core) = &mut machine.core else { return };
        if let Some(persist) = core.poll_persist() {
            if self.files == Files::All || (self.files == Files::Durable && persist.sync) {
                machine.cached = Some(core.nodes_conf());
                if persist.sync {
                    machine.durable = machine.cached.clone();
                }
            }
            core.persisted(persist.version);
        }
        if dies {
            return self.crash(node, true, false);
        }
        while let Some(transmit) = self.machines[node].core.as_mut().and_then(Core::poll_transmit) {
            self.carry(node, transmit);
        }
        self.schedule(node);
    }

    fn schedule(&mut self, node: usize) {
        let Some(core) = &self.machines[node].core else { return };
        let at = self.when(node, core.poll_timeout());
        if at < self.machines[node].timer {
            self.machines[node].timer = at;
            self.push(at, node, Action::Timer);
        }
    }

    fn at_address(&self, address: IpAddr) -> Option<usize> {
        let IpAddr::V4(v4) = address else { return None };
        let [_, _, high, low] = v4.octets();
        let node = usize::from(high) << 8 | usize::from(low);
        (node < self.machines.len() && ip(node) == address).then_some(node)
    }

    fn carry(&mut self, node: usize, transmit: Transmit) {
        match transmit {
            Transmit::Connect { link, ip: address, port } => {
                let peer = address.parse().ok().and_then(|address| self.at_address(address));
                self.machines[node].waiting.insert(link, Vec::new());
                let at = self.now + self.delay();
                match peer.filter(|_| port == BUS) {
                    Some(peer) => {
                        let life = self.machines[node].life;
                        // For whoever lives there then.
                        self.number += 1;
                        let action = Action::Arrive { from: node, life, link };
                        self.queue.push(Reverse(Due { at, number: self.number, node: peer, life: u64::MAX, action }));
                    }
                    None => self.push(at, node, Action::Down { link }),
                }
            }
            Transmit::Send { link, packet } => {
                let to = self.machines[node].wires.get(&link).map(|wire| wire.peer);
                if let Some(id) = self.id(node) {
                    self.safety.sent(self.now, id, to.and_then(|to| self.id(to)), &packet);
                }
                match self.machines[node].waiting.get_mut(&link) {
                    Some(waiting) => waiting.push(packet),
                    None => self.send(node, link, packet),
                }
            }
            Transmit::Close { link } => {
                self.machines[node].waiting.remove(&link);
                if let Some(wire) = self.machines[node].wires.remove(&link)
                    && self.machines[wire.peer].life == wire.peer_life
                    && !self.cut.contains(&(node, wire.peer))
                {
                    let at = wire.last.max(self.now + self.delay());
                    self.push(at, wire.peer, Action::Down { link: wire.peer_link });
                }
            }
        }
    }

    fn send(&mut self, node: usize, link: LinkId, packet: Bytes) {
        self.bytes_sent += packet.len() as u64;
        self.packets_sent += 1;
        let weather = self.weather;
        let copies = 1 + usize::from(self.rng.below(1000) < weather.duplicate);
        for _ in 0..copies {
            let lost = self.rng.below(1000) < weather.loss;
            let delay = self.delay();
            let Some(wire) = self.machines[node].wires.get_mut(&link) else { return };
            if lost || self.cut.contains(&(node, wire.peer)) {
                continue;
            }
            let mut at = self.now + delay;
            if !weather.reorder {
                at = at.max(wire.last);
                wire.last = at;
            }
            let (peer, life, peer_link) = (wire.peer, wire.peer_life, wire.peer_link);
            if self.machines[peer].life == life {
                let from = (node, self.machines[node].life, link);
                self.push(at, peer, Action::Deliver { link: peer_link, packet: packet.clone(), from });
            }
        }
    }

    fn arrive(&mut self, node: usize, from: usize, life: u64, link: LinkId) {
        let waits = self.machines[from].life == life && self.machines[from].waiting.contains_key(&link);
        // What cannot come back is as lost as what cannot arrive: the connection hangs.
        if !waits || self.cut.contains(&(from, node)) || self.cut.contains(&(node, from)) {
            return;
        }
        let at = self.now + self.delay();
        let clock = self.clock(node);
        let Some(core) = &mut self.machines[node].core else {
            return self.push(at, from, Action::Down { link });
        };
        let own = core.accept(clock, ip(from), ip(node));
        let peer_life = self.machines[node].life;
        self.machines[node].wires.insert(own, Wire { peer: from, peer_life: life, peer_link: link, last: 0 });
        self.machines[from].wires.insert(link, Wire { peer: node, peer_life, peer_link: own, last: 0 });
        self.push(at, from, Action::Up { link });
    }

    fn act(&mut self, due: Due) {
        let node = due.node;
        if let Action::Arrive { from, life, link } = due.action {
            return self.arrive(node, from, life, link);
        }
        if self.machines[node].life != due.life || !self.is_up(node) {
            return;
        }
        let clock = self.clock(node);
        match due.action {
            Action::Timer => {
                self.machines[node].timer = i64::MAX;
                self.replicate(node);
                let facts = self.facts(node);
                if let Some(core) = &mut self.machines[node].core {
                    core.handle_facts(clock, facts);
                    core.handle_timeout(clock);
                }
            }
            Action::Deliver { link, packet, from: (peer, life, back) } => {
                if !self.machines[node].wires.contains_key(&link) {
                    // That end was closed, and the news of it was lost: TCP answers with a reset.
                    if self.machines[peer].life == life && !self.cut.contains(&(node, peer)) {
                        let at = self.now + self.delay();
                        self.push(at, peer, Action::Down { link: back });
                    }
                    return;
                }
                if let Some(core) = &mut self.machines[node].core {
                    core.handle_packet(clock, link, &packet);
                }
            }
            Action::Up { link } => {
                let waiting = self.machines[node].waiting.remove(&link);
                if let Some(core) = &mut self.machines[node].core {
                    core.link_up(clock, link, ip(node));
                }
                for packet in waiting.into_iter().flatten() {
                    self.send(node, link, packet);
                }
            }
            Action::Down { link } => {
                self.machines[node].wires.remove(&link);
                self.machines[node].waiting.remove(&link);
                if let Some(core) = &mut self.machines[node].core {
                    core.link_down(clock, link);
                }
            }
            Action::Arrive { .. } => {}
        }
        self.pump(node);
    }

    /// Replication as far as elections see it: a primary's offset grows, a replica's follows if there is a way.
    fn replicate(&mut self, node: usize) {
        let Some(primary) = self.machines[node].following else {
            if !self.machines[node].paused {
                self.machines[node].offset += self.rng.below(50);
            }
            return;
        };
        let mut source = Some(self.machines[node].source);
        if self.id(self.machines[node].source) != Some(primary) {
            source = (0..self.machines.len()).find(|&other| self.id(other) == Some(primary));
        }
        self.machines[node].source = source.unwrap_or(0);
        let source = source.filter(|&o| !self.cut.contains(&(o, node)) && !self.cut.contains(&(node, o)));
        let was_up = self.machines[node].down_since == i64::MAX;
        match source {
            Some(source) if self.rng.below(4) > 0 => {
                self.machines[node].offset = self.machines[source].offset;
                self.machines[node].down_since = i64::MAX;
            }
            // It lags, but it is there.
            Some(_) => {}
            None if was_up => self.machines[node].down_since = self.now,
            None => {}
        }
    }

    /// Let `ms` pass.
    pub fn run(&mut self, ms: i64) {
        let end = self.now + ms;
        while self.queue.peek().is_some_and(|Reverse(due)| due.at <= end) {
            let Some(Reverse(due)) = self.queue.pop() else { break };
            self.now = self.now.max(due.at);
            self.act(due);
        }
        self.now = end;
    }

    /// Let time pass until `done`, which is looked at ten times a second; false: it was not within `limit` ms.
    pub fn run_until(&mut self, limit: i64, mut done: impl FnMut(&mut World) -> bool) -> bool {
        let end = self.now + limit;
        while !done(self) {
            if self.now >= end {
                return false;
            }
            self.run(100);
        }
        true
    }
}
