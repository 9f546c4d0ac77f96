//! Bad days of simulated clusters, each drawn from a seed.
//!
//! A day: nodes meet, slots and replicas are given out. Then faults: packets are lost, late, doubled, out of order;
//! one direction between two nodes fails, or a part of the network; processes and machines die between any two steps,
//! come back with their disks, or without; clocks are wrong and run at different speeds; operators ask for failovers in
//! the middle of it. `safety` watches every packet. Then the faults stop: within a bounded time all nodes must agree,
//! with every slot in the shard to which it belongs; a slot is moved; a primary dies, and must be replaced; a second
//! round of faults may not undo the move.
//!
//! `DUNLIN_SEEDS=10000 cargo test --release --test cluster_sim days` runs so many days (from `DUNLIN_FIRST` on),
//! `DUNLIN_SEED=n` one of them (with `DUNLIN_SIZE` nodes), and `DUNLIN_TRACE=1` prints the nodes' logs.

mod net;
mod safety;

use dunlin::base::rng::Rng;
use dunlin::cluster::core::Settings;
use dunlin::cluster::{Flags, NodeId, State};

use net::{Files, Weather, World};

struct Day {
    world: World,
    primaries: usize,
    timeout: i64,
    /// The shard to which each slot belongs: by the number of the node that it was given to first.
    shards: Vec<NodeId>,
    /// Nodes whose disk was lost, and the ids that they had.
    wiped: Vec<(usize, NodeId)>,
    moved: Vec<(u16, usize)>,
}

impl Day {
    fn new(seed: u64) -> Day {
        if let Some(size) = number("DUNLIN_SIZE") {
            return Day::of_size(seed, size as usize);
        }
        let mut rng = Rng::new(seed ^ 0x5eed);
        let size = match rng.below(1000) {
            0..800 => 3 + rng.below(8),
            800..980 => 8 + rng.below(12),
            980..997 => 20 + rng.below(30),
            _ => 50 + rng.below(151),
        };
        Day::of_size(seed, size as usize)
    }

    fn of_size(seed: u64, size: usize) -> Day {
        let mut rng = Rng::new(seed ^ 0x51e5);
        let primaries = (size / (1 + rng.below(3) as usize)).max(3).min(size);
        let timeout = if size > 50 { 10_000 } else { 1_000 + rng.below(1_500) as i64 };
        let settings = Settings {
            node_timeout: timeout,
            replica_validity_factor: if rng.below(2) == 0 { 0 } else { 10 },
            allow_replica_migration: rng.below(2) == 0,
            ..Settings::default()
        };
        let world = World::new(seed, size, &settings);
        Day { world, primaries, timeout, shards: Vec::new(), wiped: Vec::new(), moved: Vec::new() }
    }

    fn size(&self) -> usize {
        self.world.machines.len()
    }

    fn slots_of(&self, primary: usize) -> (usize, usize) {
        let share = 16_384 / self.primaries;
        let last = if primary + 1 == self.primaries { 16_383 } else { (primary + 1) * share - 1 };
        (primary * share, last)
    }

    /// How long agreement may take once nothing is in the way.
    fn patience(&self) -> i64 {
        60_000 + self.timeout * 20
    }

    fn build(&mut self) {
        for node in 1..self.size() {
            self.world.meet(0, node);
        }
        for node in 0..self.primaries {
            let (first, last) = self.slots_of(node);
            self.world.command(node, &format!("addslotsrange {first} {last}")).unwrap();
        }
        let size = self.size();
        let met = self.world.run_until(self.patience(), |world| {
            (0..size).all(|node| {
                let view = world.view(node).unwrap();
                view.nodes.len() == size && view.nodes.iter().all(|node| !node.flags.any(Flags::HANDSHAKE))
            })
        });
        assert!(met, "the nodes did not meet");
        for node in self.primaries..size {
            let id = self.world.id(node % self.primaries).unwrap();
            self.world.command(node, &format!("replicate {id}")).unwrap();
        }
        self.agree("the start");
        let world = &mut self.world;
        self.shards = (0..self.primaries).map(|node| world.view(node).unwrap().myself().shard_id).collect();
    }

    /// Why the nodes that are up do not agree yet; nothing: they do.
    fn disagreement(&mut self, with_health: bool) -> Option<String> {
        let mut first: Option<(usize, Vec<_>, u64)> = None;
        for node in self.world.up() {
            let view = self.world.view(node).unwrap();
            if with_health && view.state != State::Ok {
                return Some(format!("node {node} is down: {}", view.reason.text()));
            }
            let picture: Vec<_> = view
                .nodes
                .iter()
                .map(|n| {
                    (
                        n.id,
                        n.shard_id,
                        n.slots.clone(),
                        n.primary,
                        n.epoch,
                        n.flags.0 & 0b1101_1111 & !0b1_0000 & !0x180,
                    )
                })
                .collect();
            if with_health && view.nodes.iter().any(|n| n.flags.any(Flags::FAIL | Flags::PFAIL | Flags::NOADDR)) {
                return Some(format!("node {node} believes that somebody is not well"));
            }
            match &first {
                None => first = Some((node, picture, view.current_epoch)),
                Some((other, theirs, epoch)) => {
                    if *epoch != view.current_epoch {
                        return Some(format!("nodes {other} and {node} are in different epochs"));
                    }
                    if *theirs != picture {
                        let pair = theirs.iter().zip(&picture).find(|(a, b)| a != b);
                        return Some(format!("nodes {other} and {node} disagree: {pair:?}"));
                    }
                }
            }
        }
        None
    }

    /// What every node believes, for people who look for what went wrong.
    fn dump(&mut self) {
        for node in self.world.up() {
            let view = self.world.view(node).unwrap();
            println!("node {node}:\n{}", dunlin::cluster::line::cluster_nodes(&view, false, false));
        }
    }

    fn agree(&mut self, when: &str) {
        let end = self.world.now + self.patience();
        while let Some(why) = self.disagreement(true) {
            if self.world.now >= end {
                self.dump();
                panic!("no agreement after {when}: {why}");
            }
            self.world.run(500);
        }
    }

    /// Every slot is in the shard to which it belongs.
    fn check_slots(&mut self) {
        let node = self.world.up()[0];
        let view = self.world.view(node).unwrap();
        for primary in 0..self.primaries {
            let (first, last) = self.slots_of(primary);
            for slot in first..=last {
                let moved = self.moved.iter().rev().find(|(moved, _)| usize::from(*moved) == slot);
                let shard = self.shards[moved.map_or(primary, |&(_, to)| to)];
                let owner = view.owner(slot as u16).expect("an owner");
                assert_eq!(owner.shard_id, shard, "slot {slot} is in another shard");
                assert!(owner.is_primary());
            }
        }
    }

    fn weather(rng: &mut Rng) -> Weather {
        Weather {
            loss: [0, 0, 10, 100, 300][rng.below(5) as usize],
            duplicate: [0, 0, 20, 200][rng.below(4) as usize],
            reorder: rng.below(3) == 0,
            delay: [(1, 3), (1, 50), (20, 400), (1, 2000)][rng.below(4) as usize],
            sudden_death: [0, 0, 2, 10][rng.below(4) as usize],
        }
    }

    fn faults(&mut self, rng: &mut Rng) {
        let steps = 5 + rng.below(15);
        for _ in 0..steps {
            let node = rng.below(self.size() as u64) as usize;
            let other = rng.below(self.size() as u64) as usize;
            match rng.below(12) {
                0 | 1 => self.world.crash(node, rng.below(2) == 0, false),
                2 => self.wipe(node),
                3 | 4 => self.start_some(rng),
                5 => {
                    self.world.cut.insert((node, other));
                }
                6 => self.world.cut.extend([(node, other), (other, node)]),
                7 => self.partition(rng),
                8 => self.world.cut.clear(),
                9 => self.world.weather = Day::weather(rng),
                10 => {
                    let kind = if rng.below(2) == 0 { "failover" } else { "failover force" };
                    let _ = self.world.command(node, kind);
                }
                _ => {}
            }
            let pause = 100 + rng.below(2 * self.timeout as u64) as i64;
            self.world.run(pause);
        }
    }

    fn start_some(&mut self, rng: &mut Rng) {
        for node in 0..self.size() {
            if rng.below(2) == 0 {
                self.world.start(node);
            }
        }
    }

    /// A part of the nodes hears nothing of the rest, or is not heard, or both.
    fn partition(&mut self, rng: &mut Rng) {
        let part: Vec<bool> = (0..self.size()).map(|_| rng.below(3) == 0).collect();
        let (there, back) = [(true, true), (true, true), (true, false)][rng.below(3) as usize];
        for a in 0..self.size() {
            for b in 0..self.size() {
                if part[a] && !part[b] {
                    self.world.cut.extend(there.then_some((a, b)));
                    self.world.cut.extend(back.then_some((b, a)));
                }
            }
        }
    }

    /// A replica loses its disk. (What only a primary knew would be lost with the primary's.)
    fn wipe(&mut self, node: usize) {
        let Some(view) = self.world.view(node) else { return };
        if view.myself().is_replica() && !self.wiped.iter().any(|(wiped, _)| *wiped == node) {
            self.wiped.push((node, view.myself().id));
            self.world.crash(node, true, true);
        }
    }

    /// The faults stop; operators put new nodes where old ones were lost.
    fn heal(&mut self) {
        self.world.weather = Weather { delay: (1, 3), ..Weather::default() };
        self.world.cut.clear();
        for node in 0..self.size() {
            self.world.start(node);
        }
        let wiped = std::mem::take(&mut self.wiped);
        // A failover that an operator asked for is tried for five seconds, and may still come about.
        let pause = (self.timeout * 3).max(5_500);
        self.world.run(pause);
        for &(_, id) in &wiped {
            for node in self.world.up() {
                // A node that follows the lost one cannot forget it yet; gossip will tell it.
                let _ = self.world.command(node, &format!("forget {id}"));
            }
        }
        for &(node, _) in &wiped {
            let old = (0..self.size()).find(|other| !wiped.iter().any(|(wiped, _)| wiped == other)).unwrap();
            self.world.meet(old, node);
        }
        let lost: Vec<NodeId> = wiped.iter().map(|(_, id)| *id).collect();
        let size = self.size();
        let met = self.world.run_until(self.patience(), |world| {
            (0..size).all(|node| {
                let view = world.view(node).unwrap();
                view.nodes.len() == size && !view.nodes.iter().any(|n| n.flags.any(Flags::HANDSHAKE))
            })
        });
        if !met {
            self.dump();
            panic!("not everybody met again; lost: {lost:?}");
        }
        for &(node, _) in &wiped {
            // Whom it met it knows at once; what they own it hears with their first packets.
            let patience = self.patience();
            self.world.run_until(patience, |world| world.view(node).unwrap().slots_assigned > 0);
            let view = self.world.view(node).unwrap();
            let shard = self.shards[node % self.primaries];
            let primary = view.nodes.iter().find(|n| n.is_primary() && n.shard_id == shard && !n.slots.is_empty());
            let id = primary.or_else(|| view.nodes.iter().find(|n| !n.slots.is_empty())).unwrap().id;
            let _ = self.world.command(node, &format!("replicate {id}"));
        }
        self.agree("faults");
        self.check_slots();
    }

    /// Move a slot from one shard to another, as redis-cli does.
    fn move_slot(&mut self, rng: &mut Rng) {
        let slot = rng.below(16_384) as u16;
        let node = self.world.up()[0];
        let view = self.world.view(node).unwrap();
        let from = view.owner(slot).unwrap().clone();
        let targets: Vec<_> = view.nodes.iter().filter(|n| n.is_primary() && !n.slots.is_empty()).collect();
        let to = targets[rng.below(targets.len() as u64) as usize].clone();
        // A shard's last slot is not moved away: it would cease to exist.
        if to.id == from.id || from.slots.len() < 2 {
            return;
        }
        let at = |day: &Day, id: NodeId| (0..day.size()).find(|&node| day.world.id(node) == Some(id)).unwrap();
        let (source, target) = (at(self, from.id), at(self, to.id));
        self.world.set_slot(target, &format!("setslot {slot} importing {}", from.id)).unwrap();
        self.world.set_slot(source, &format!("setslot {slot} migrating {}", to.id)).unwrap();
        self.world.run(500);
        // One side may be replaced in the middle of it: its heir goes on.
        let mut sides = [source, target];
        if let Some(side) = sides.get_mut(rng.below(4) as usize)
            && let Some(heir) = self.replace(*side)
        {
            *side = heir;
        }
        let [source, target] = sides;
        let (from, to) = (self.world.id(source).unwrap(), self.world.id(target).unwrap());
        let mut open = |node: usize| self.world.view(node).unwrap();
        assert_eq!(open(source).migrating(), [(slot, to)], "what the source gives away");
        assert_eq!(open(target).importing(), [(slot, from)], "what the target receives");
        self.world.set_slot(target, &format!("setslot {slot} node {to}")).unwrap();
        self.world.set_slot(source, &format!("setslot {slot} node {to}")).unwrap();
        let to = shard_of(&mut self.world, target);
        let shard = self.shards.iter().position(|shard| *shard == to).unwrap();
        self.moved.push((slot, shard));
        self.agree("a move");
        self.check_slots();
    }

    /// A primary that has a replica dies for good: it is replaced. Then it comes back and follows.
    fn replace_primary(&mut self) {
        let view = self.world.view(0).unwrap();
        let voters = view.nodes.iter().filter(|n| n.is_primary() && !n.slots.is_empty()).count();
        let may = |n: &&dunlin::cluster::NodeInfo| n.is_primary() && !n.slots.is_empty() && !n.replicas.is_empty();
        let Some(victim) = view.nodes.iter().find(may).filter(|_| voters >= 3) else { return };
        let node = (0..self.size()).find(|&node| self.world.id(node) == Some(victim.id)).unwrap();
        self.replace(node);
    }

    /// A primary dies until it is replaced, if it can be. Who replaced it.
    fn replace(&mut self, node: usize) -> Option<usize> {
        let view = self.world.view(node).unwrap();
        let (me, voters) = (view.myself(), view.nodes.iter().filter(|n| n.is_primary() && !n.slots.is_empty()).count());
        if voters < 3 || me.replicas.is_empty() {
            return None;
        }
        let slot = me.slots.iter().next().unwrap();
        let (id, shard) = (me.id, me.shard_id);
        self.world.crash(node, true, false);
        let replaced = self.world.run_until(self.patience(), |world| {
            world.up().into_iter().all(|node| {
                let view = world.view(node).unwrap();
                let owner = view.owner(slot).unwrap();
                owner.id != id && owner.shard_id == shard && view.state == State::Ok
            })
        });
        assert!(replaced, "the primary {id} was not replaced");
        self.world.start(node);
        self.agree("a failover");
        self.check_slots();
        let owner = self.world.view(node).unwrap().owner(slot).unwrap().id;
        (0..self.size()).find(|&node| self.world.id(node) == Some(owner))
    }
}

fn shard_of(world: &mut World, node: usize) -> NodeId {
    world.view(node).unwrap().myself().shard_id
}

/// Votes, and contested claims.
fn run(seed: u64, mut day: Day) -> (u64, u64) {
    let mut rng = Rng::new(seed.wrapping_mul(31).wrapping_add(7));
    day.build();
    day.faults(&mut rng);
    day.heal();
    day.move_slot(&mut rng);
    day.replace_primary();
    day.faults(&mut rng);
    day.heal();
    (day.world.safety.elections, day.world.safety.contested)
}

/// A number in the environment.
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Run the days of `seeds`; a day that goes wrong is told by its seed.
fn days(seeds: std::ops::Range<u64>) {
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let next = std::sync::atomic::AtomicU64::new(seeds.start);
    let failed = std::sync::Mutex::new(Vec::new());
    let votes = std::sync::atomic::AtomicU64::new(0);
    let contested = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    match std::panic::catch_unwind(|| run(seed, Day::new(seed))) {
                        Ok((voted, claims)) => {
                            votes.fetch_add(voted, std::sync::atomic::Ordering::Relaxed);
                            contested.fetch_add(claims, std::sync::atomic::Ordering::Relaxed);
                        }
                        Err(_) => {
                            println!("day {seed} went wrong");
                            failed.lock().unwrap().push(seed);
                        }
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    let (votes, contested) = (votes.into_inner(), contested.into_inner());
    println!("{} days, {votes} votes, {contested} contested claims", seeds.end - seeds.start);
    assert!(failed.is_empty(), "days that went wrong; run one with DUNLIN_SEED=: {failed:?}");
}

#[test]
#[ignore = "takes minutes; `make soak` runs it"]
fn a_day_of_two_hundred_nodes() {
    println!("{} votes", run(1, Day::of_size(1, 200)).0);
}

/// How fast many nodes come to know each other, and what the bus costs them then.
#[test]
#[ignore = "takes minutes; `make sim` runs it"]
fn a_thousand_nodes_meet() {
    let size = number("DUNLIN_NODES").unwrap_or(1000) as usize;
    let settings = Settings { node_timeout: 15_000, ..Settings::default() };
    // A clock that is ahead would delay suspicion: others take its word for when a node was last heard.
    let mut world = World::with_clocks(1, size, &settings, true);
    world.files = Files::None;
    for node in 1..size {
        world.meet(0, node);
    }
    let met = world.run_until(600_000, |world| {
        (0..size).all(|node| {
            let view = world.view(node).unwrap();
            view.nodes.len() == size && !view.nodes.iter().any(|n| n.flags.any(Flags::HANDSHAKE))
        })
    });
    assert!(met, "the nodes did not meet");
    println!("{size} nodes know each other after {:.1} s", world.now as f64 / 1000.0);
    let (bytes, packets, start) = (world.bytes_sent, world.packets_sent, world.now);
    world.run(30_000);
    let nodes = size as f64 * (world.now - start) as f64 / 1000.0;
    println!(
        "each sends {:.0} bytes and {:.1} packets a second, with a node timeout of 15 s",
        (world.bytes_sent - bytes) as f64 / nodes,
        (world.packets_sent - packets) as f64 / nodes
    );
    let victim = size - 1;
    let id = world.id(victim).unwrap();
    let died = world.now;
    world.crash(victim, true, false);
    let suspected = world.run_until(120_000, |world| {
        world.up().into_iter().all(|node| {
            world.view(node).unwrap().nodes.iter().any(|n| n.id == id && n.flags.any(Flags::FAIL | Flags::PFAIL))
        })
    });
    assert!(suspected, "a dead node was not missed");
    println!("a dead node is missed by all after {:.1} s", (world.now - died) as f64 / 1000.0);
}

#[test]
fn days_of_faults_break_nothing_and_end_in_agreement() {
    match number("DUNLIN_SEED") {
        Some(seed) => days(seed..seed + 1),
        None => {
            let first = number("DUNLIN_FIRST").unwrap_or(0);
            days(first..first + number("DUNLIN_SEEDS").unwrap_or(100));
        }
    }
}
