//! A cluster whose network fails: each node in a network namespace of its own, on a bridge in which packets from one to
//! another can be dropped, both ways, one way, or now and then.
//!
//! Clients of a node come by its unix socket: they are always on its side of a cut. Where namespaces cannot be made, or
//! the kernel cannot drop packets on a bridge, the tests say that they skip.

mod support;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;

use dunlin::base::clock;
use dunlin::base::slot::key_slot;
use support::nodes::{Picture, is_well, picture};
use support::{PATIENCE, Server, TempDir};

const TIMEOUT_MS: u64 = 1500;

/// A command of the system; what it said, if it failed.
fn run(line: &str) -> Result<(), String> {
    let mut words = line.split(' ');
    let out = Command::new(words.next().unwrap()).args(words).output().map_err(|e| format!("{line}: {e}"))?;
    if out.status.success() { Ok(()) } else { Err(format!("{line}: {}", String::from_utf8_lossy(&out.stderr).trim())) }
}

/// The namespaces of the nodes, and the one with the bridge. They go with the value.
struct Network {
    name: String,
    nodes: usize,
}

impl Network {
    fn new(nodes: usize) -> Result<Network, String> {
        let network = Network { name: format!("dunlin{}", std::process::id()), nodes };
        let hub = network.hub();
        run(&format!("ip netns add {hub}"))?;
        run(&format!("ip -n {hub} link add br0 type bridge forward_delay 0"))?;
        run(&format!("ip -n {hub} link set br0 up"))?;
        for at in 0..nodes {
            let ns = network.node(at);
            run(&format!("ip netns add {ns}"))?;
            run(&format!("ip -n {ns} link add eth0 type veth peer name v{at} netns {hub}"))?;
            run(&format!("ip -n {hub} link set v{at} master br0 up"))?;
            run(&format!("ip -n {ns} addr add {}/24 dev eth0", ip(at)))?;
            run(&format!("ip -n {ns} link set eth0 up"))?;
            run(&format!("ip -n {ns} link set lo up"))?;
        }
        network.nft("add table bridge cuts")?;
        network.nft("add chain bridge cuts forward { type filter hook forward priority 0; }")?;
        Ok(network)
    }

    /// As `new`, or a line that says why not.
    fn try_new(nodes: usize) -> Option<Network> {
        Network::new(nodes).map_err(|why| println!("SKIPPED: no network namespaces here ({why})")).ok()
    }

    fn hub(&self) -> String {
        format!("{}-hub", self.name)
    }

    fn node(&self, at: usize) -> String {
        format!("{}-{at}", self.name)
    }

    fn nft(&self, rule: &str) -> Result<(), String> {
        let hub = self.hub();
        let out = Command::new("ip").args(["netns", "exec", &hub, "nft", rule]).output().map_err(|e| e.to_string())?;
        if out.status.success() { Ok(()) } else { Err(format!("nft: {}", String::from_utf8_lossy(&out.stderr).trim())) }
    }

    /// What one sends to the other is lost.
    fn cut(&self, from: usize, to: usize) {
        self.nft(&format!("add rule bridge cuts forward ip saddr {} ip daddr {} drop", ip(from), ip(to))).unwrap();
    }

    /// Two parts hear nothing of each other.
    fn split(&self, part: &[usize]) {
        for a in 0..self.nodes {
            for b in 0..self.nodes {
                if part.contains(&a) != part.contains(&b) {
                    self.cut(a, b);
                }
            }
        }
    }

    fn heal(&self) {
        self.nft("flush chain bridge cuts forward").unwrap();
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for at in 0..self.nodes {
            let _ = run(&format!("ip netns del {}", self.node(at)));
        }
        let _ = run(&format!("ip netns del {}", self.hub()));
    }
}

fn ip(at: usize) -> String {
    format!("10.77.0.{}", at + 1)
}

/// A client beside a node.
struct Local(BufReader<UnixStream>);

impl Local {
    /// The reply as text: of an array, its elements in lines.
    fn run(&mut self, line: &str) -> String {
        self.0.get_mut().write_all(format!("{line}\r\n").as_bytes()).unwrap();
        self.reply()
    }

    fn reply(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        let line = line.trim_end();
        let (kind, rest) = line.split_at(1);
        let len = || rest.parse::<i64>().unwrap();
        match kind {
            "$" if len() >= 0 => {
                let mut text = vec![0; len() as usize + 2];
                self.0.read_exact(&mut text).unwrap();
                text.truncate(text.len() - 2);
                String::from_utf8(text).unwrap()
            }
            "*" => (0..len()).map(|_| self.reply()).collect::<Vec<_>>().join("\n"),
            "$" => "(nil)".to_owned(),
            "-" => line.to_owned(),
            _ => rest.to_owned(),
        }
    }
}

struct Cluster {
    /// Before the network: namespaces outlive the processes in them.
    _servers: Vec<Server>,
    ids: Vec<String>,
    dir: TempDir,
    network: Network,
}

impl Cluster {
    /// Three primaries with a replica each: node 3 follows node 0, and so on.
    fn start() -> Option<Cluster> {
        let network = Network::try_new(6)?;
        let dir = TempDir::new();
        let servers = (0..6).map(|at| {
            let home = dir.0.join(at.to_string());
            std::fs::create_dir(&home).unwrap();
            let mut command = Command::new("ip");
            command.args(["netns", "exec", &network.node(at), env!("CARGO_BIN_EXE_dunlin")]);
            command.args(["--port", "7000", "--bind", "0.0.0.0", "--protected-mode", "no", "--save", ""]);
            command.args(["--unixsocket", dir.0.join(format!("{at}.sock")).to_str().unwrap()]);
            command.args(["--cluster-enabled", "yes", "--cluster-node-timeout", &TIMEOUT_MS.to_string()]);
            command.args(["--dir", home.to_str().unwrap(), "--repl-diskless-sync-delay", "0"]);
            command.args(["--cluster-replica-validity-factor", "0"]);
            Server::run(command, 7000)
        });
        let servers: Vec<Server> = servers.collect();
        let mut cluster = Cluster { _servers: servers, ids: Vec::new(), dir, network };
        cluster.ids = (0..6).map(|at| cluster.local(at).run("CLUSTER MYID")).collect();
        for at in 1..6 {
            assert_eq!(cluster.local(0).run(&format!("CLUSTER MEET {} 7000", ip(at))), "OK");
        }
        for (at, range) in ["0 5460", "5461 10922", "10923 16383"].iter().enumerate() {
            assert_eq!(cluster.local(at).run(&format!("CLUSTER ADDSLOTSRANGE {range}")), "OK");
        }
        cluster.until("everybody has met", |cluster| (0..6).all(|at| cluster.picture(at).len() == 6));
        for at in 3..6 {
            let primary = format!("CLUSTER REPLICATE {}", cluster.ids[at - 3]);
            cluster.until("a replica", |cluster| cluster.local(at).run(&primary) == "OK");
        }
        cluster.until("links to primaries", |cluster| {
            (3..6).all(|at| cluster.local(at).run("INFO replication").contains("master_link_status:up"))
        });
        cluster.agree();
        Some(cluster)
    }

    fn local(&self, at: usize) -> Local {
        let stream = UnixStream::connect(self.dir.0.join(format!("{at}.sock"))).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Local(BufReader::new(stream))
    }

    /// Waits; how long, in ms.
    fn until(&self, what: &str, right: impl Fn(&Cluster) -> bool) -> u64 {
        let start = clock::mono_ns();
        loop {
            if right(self) {
                return (clock::mono_ns() - start) / 1_000_000;
            }
            if clock::mono_ns() - start > 2 * PATIENCE.as_nanos() as u64 {
                (0..6).for_each(|at| println!("node {at}:\n{}", self.local(at).run("CLUSTER NODES")));
                panic!("{what} did not come about");
            }
            clock::pause_us(20_000);
        }
    }

    fn is_ok(&self, at: usize) -> bool {
        self.local(at).run("CLUSTER INFO").contains("cluster_state:ok")
    }

    /// The cluster as a node sees it.
    fn picture(&self, at: usize) -> Picture {
        picture(&self.local(at).run("CLUSTER NODES"))
    }

    /// Waits until all nodes have the same view, in which all are well and each slot has one owner; how long, in ms.
    fn agree(&self) -> u64 {
        self.until("agreement", |cluster| {
            let first = cluster.picture(0);
            is_well(&first) && (0..6).all(|at| cluster.is_ok(at) && cluster.picture(at) == first) && covers_once(&first)
        })
    }

    fn id_of(&self, at: usize) -> &str {
        &self.ids[at]
    }

    fn is_primary(&self, at: usize, seen_by: usize) -> bool {
        let picture = self.picture(seen_by);
        picture[self.id_of(at)].1 == "master"
    }

    fn epoch(&self, at: usize) -> u64 {
        let info = self.local(at).run("CLUSTER INFO");
        info.lines().find_map(|line| line.strip_prefix("cluster_current_epoch:")).unwrap().trim().parse().unwrap()
    }
}

fn covers_once(picture: &Picture) -> bool {
    let mut owners = [0; 16_384];
    for range in picture.values().flat_map(|(_, _, _, slots)| slots) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (Ok(first), Ok(last)) = (first.parse::<usize>(), last.parse::<usize>()) else { return false };
        owners[first..=last].iter_mut().for_each(|owner| *owner += 1);
    }
    owners.iter().all(|&owner| owner == 1)
}

/// Writes to one node, keys of its slots, and remembers what it acknowledged.
struct Writer {
    stop: Arc<AtomicBool>,
    /// When a write was last acknowledged, on the monotonic clock, in ns.
    last: Arc<AtomicU64>,
    thread: JoinHandle<BTreeSet<String>>,
}

impl Writer {
    fn start(cluster: &Cluster, at: usize, name: &str, slots: std::ops::RangeInclusive<u16>) -> Writer {
        let (stop, last) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (mut conn, name) = (cluster.local(at), name.to_owned());
        let (stopped, noted) = (stop.clone(), last.clone());
        let thread = std::thread::spawn(move || {
            let mut acknowledged = BTreeSet::new();
            let keys = (0..).map(|n| format!("{name}:{n}")).filter(|key| slots.contains(&key_slot(key.as_bytes())));
            for key in keys {
                if stopped.load(Relaxed) {
                    break;
                }
                if conn.run(&format!("SET {key} {key}")) == "OK" {
                    acknowledged.insert(key);
                    noted.store(clock::mono_ns(), Relaxed);
                }
                clock::pause_us(500);
            }
            acknowledged
        });
        Writer { stop, last, thread }
    }

    fn end(self) -> BTreeSet<String> {
        self.stop.store(true, Relaxed);
        self.thread.join().unwrap()
    }
}

/// All of these keys are where the cluster says that they are.
fn check_keys(cluster: &Cluster, keys: &BTreeSet<String>) {
    let mut conns: Vec<Local> = (0..6).map(|at| cluster.local(at)).collect();
    for key in keys {
        let found =
            conns.iter_mut().map(|conn| conn.run(&format!("GET {key}"))).find(|reply| !reply.starts_with("-MOVED"));
        assert_eq!(found.as_ref(), Some(key), "an acknowledged write is gone");
    }
}

#[test]
fn a_minority_stops_taking_writes_and_the_majority_goes_on() {
    let Some(cluster) = Cluster::start() else { return };
    // A primary and the replica of another are cut off from the rest.
    let minority = Writer::start(&cluster, 0, "minority", 0..=5460);
    let majority = Writer::start(&cluster, 1, "majority", 5461..=10_922);
    cluster.until("writes", |_| minority.last.load(Relaxed) > 0 && majority.last.load(Relaxed) > 0);
    cluster.network.split(&[0, 4]);
    let cut = clock::mono_ns();
    let replaced =
        cluster.until("a successor", |cluster| cluster.is_primary(3, 1) && (1..4).all(|at| cluster.is_ok(at)));
    cluster.until("the minority's end", |cluster| !cluster.is_ok(0) && !cluster.is_ok(4));
    let refused = minority.last.load(Relaxed).saturating_sub(cut) / 1_000_000;
    println!("the minority took writes for {refused} ms, the majority was whole after {replaced} ms");
    // What came last may have been on its way when the links were cut.
    assert!(refused < TIMEOUT_MS + 100, "the minority took writes for {refused} ms");
    // The successor takes writes to the slots of the one that is cut off.
    let successor = Writer::start(&cluster, 3, "successor", 0..=5460);
    cluster.until("writes to the successor", |_| successor.last.load(Relaxed) > 0);
    let before = majority.last.load(Relaxed);
    cluster.until("writes to the majority", |_| majority.last.load(Relaxed) > before);
    cluster.network.heal();
    let agreed = cluster.agree();
    println!("all agreed {agreed} ms after the network was whole");
    assert!(cluster.is_primary(3, 0) && !cluster.is_primary(0, 0), "the old primary follows its successor");
    drop(minority.end());
    let mut kept = successor.end();
    kept.extend(majority.end());
    assert!(kept.len() > 100, "{}", kept.len());
    check_keys(&cluster, &kept);
    // And the replicas have it too.
    cluster.until("replicas in step", |cluster| {
        cluster.local(0).run("DBSIZE") == cluster.local(3).run("DBSIZE")
            && cluster.local(4).run("DBSIZE") == cluster.local(1).run("DBSIZE")
    });
}

#[test]
fn a_primary_that_nobody_hears_is_replaced_and_one_lost_way_between_two_is_not_enough() {
    let Some(cluster) = Cluster::start() else { return };
    // What node 0 sends to node 1 is lost: two of three primaries still hear both.
    let epoch = cluster.epoch(2);
    cluster.network.cut(0, 1);
    let start = clock::mono_ns();
    cluster.until("three timeouts", |cluster| {
        assert!((0..6).all(|at| cluster.is_ok(at)), "one lost way stops the cluster");
        clock::mono_ns() - start > 3 * TIMEOUT_MS * 1_000_000
    });
    assert_eq!(cluster.epoch(2), epoch, "one lost way led to a failover");
    // Nobody hears node 0, which hears everybody.
    (1..6).for_each(|to| cluster.network.cut(0, to));
    cluster.until("a successor", |cluster| cluster.is_primary(3, 1) && (1..6).all(|at| cluster.is_ok(at)));
    let writes = Writer::start(&cluster, 3, "successor", 0..=5460);
    cluster.until("writes", |_| writes.last.load(Relaxed) > 0);
    cluster.network.heal();
    cluster.agree();
    check_keys(&cluster, &writes.end());
}

#[test]
fn loss_and_delay_slow_a_cluster_and_do_not_break_it() {
    let Some(cluster) = Cluster::start() else { return };
    let network = &cluster.network;
    if let Err(why) = network.nft("add rule bridge cuts forward numgen random mod 100 < 15 drop") {
        return println!("SKIPPED: the kernel cannot lose packets at random ({why})");
    }
    for at in 0..6 {
        if let Err(why) = run(&format!("tc -n {} qdisc add dev v{at} root netem delay 40ms 20ms", network.hub())) {
            println!("SKIPPED the delay: the kernel cannot ({why})");
            break;
        }
    }
    let writers: Vec<Writer> = [(0, 0..=5460), (1, 5461..=10_922), (2, 10_923..=16_383)]
        .into_iter()
        .map(|(at, slots)| Writer::start(&cluster, at, &format!("w{at}"), slots))
        .collect();
    let start = clock::mono_ns();
    cluster.until("five timeouts", |_| clock::mono_ns() - start > 5 * TIMEOUT_MS * 1_000_000);
    network.heal();
    for at in 0..6 {
        let _ = run(&format!("tc -n {} qdisc del dev v{at} root", network.hub()));
    }
    cluster.agree();
    // A failover for want of answers may have happened, and what its old primary had not passed on is then lost: only
    // the primaries that still are ones must have everything.
    for (at, writer) in writers.into_iter().enumerate() {
        let keys = writer.end();
        assert!(!keys.is_empty());
        if cluster.is_primary(at, at) {
            check_keys(&cluster, &keys);
        } else {
            println!("node {at} was replaced");
        }
    }
}
