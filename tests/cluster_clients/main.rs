//! Cluster clients as they are published, while slots move, primaries hand over and one dies: no command fails that the
//! client does not repeat by itself, and every write that was acknowledged is there in the end.
//!
//! What a client does is in a script of its own language (for Rust: in [`client`]); it works without a pause, tells how far
//! it is, and obeys three orders by lines. Before a primary is killed its clients hold their writes until the replica has
//! them all: what is acknowledged is then that by the surviving side. Reads, scans and messages go on.

mod client;
#[path = "../support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use dunlin::base::clock;
use support::cluster::{Node, agree, cli, leads, picture, replicas_are_linked, wait};
use support::{PATIENCE, node_clients, redis_py, script, workplace};

/// Writes, reads, pipelines, scans, messages, and those of the shard channel that has got the fewest.
type Progress = [u64; 6];

/// A client at work in a process of its own.
struct Worker {
    child: Child,
    orders: ChildStdin,
    lines: Receiver<String>,
}

impl Worker {
    fn start(mut command: Command) -> Worker {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (orders, out) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (to, lines) = channel();
        std::thread::spawn(move || {
            BufReader::new(out).lines().map_while(Result::ok).try_for_each(|line| to.send(line))
        });
        Worker { child, orders, lines }
    }
    fn order(&mut self, order: &str) {
        writeln!(self.orders, "{order}").unwrap();
    }
    /// The next line but for progress, unless that is wanted.
    fn line(&mut self) -> String {
        self.lines.recv_timeout(6 * PATIENCE).expect("the client says something")
    }
    fn wait_for(&mut self, wanted: &str) {
        loop {
            let line = self.line();
            assert!(!line.starts_with("error"), "{line}");
            if line == wanted {
                return;
            }
        }
    }
    /// Waits until all that it does has gone on since now, but for writes where they are held.
    fn goes_on(&mut self, when: &str) {
        while let Ok(line) = self.lines.try_recv() {
            assert!(!line.starts_with("error"), "{when}: {line}");
        }
        let (start, mut first) = (clock::mono_ns(), None::<Progress>);
        loop {
            let line = self.line();
            assert!(!line.starts_with("error"), "{when}: {line}");
            let Some(counts) = line.strip_prefix("progress ") else { continue };
            let counts: Vec<u64> = counts.split(' ').map(|n| n.parse().unwrap()).collect();
            let now: Progress = counts.try_into().unwrap();
            let first = *first.get_or_insert(now);
            // Each write key, and each fixed one, is met again.
            let least = [500, 400, 10, 2, 10, 5];
            if (0..6).all(|n| now[n] >= first[n] + least[n]) {
                return;
            }
            let waited = clock::mono_ns() - start;
            assert!(waited < 6 * PATIENCE.as_nanos() as u64, "{when}: from {first:?} only to {now:?}");
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Three primaries, each with a replica.
fn cluster() -> Vec<Node> {
    let nodes: Vec<Node> = (0..6).map(|_| Node::ours()).collect();
    let at: Vec<String> = nodes.iter().map(Node::at).collect();
    cli(&["create", &at[0], &at[1], &at[2], "--cluster-yes"]);
    agree(&[&nodes[0], &nodes[1], &nodes[2]]);
    for n in 0..3 {
        let id = nodes[n].id();
        cli(&["add-node", &at[3 + n], &at[0], "--cluster-slave", "--cluster-master-id", &id]);
    }
    let all: Vec<&Node> = nodes.iter().collect();
    agree(&all);
    replicas_are_linked(&all);
    nodes
}

/// Slots move in both ways, a primary hands over, and one dies.
fn changes(command: impl FnOnce(u16) -> Command) {
    let mut nodes = cluster();
    let mut client = Worker::start(command(nodes[0].port()));
    client.goes_on("at first");

    let (a, b) = (nodes[0].id(), nodes[1].id());
    cli(&[
        "reshard",
        &nodes[0].at(),
        "--cluster-from",
        &a,
        "--cluster-to",
        &b,
        "--cluster-slots",
        "500",
        "--cluster-yes",
    ]);
    agree(&nodes.iter().collect::<Vec<_>>());
    client.goes_on("after a reshard");

    let slots = picture(&nodes[2])[&nodes[2].id()].3.clone();
    assert_eq!(slots, ["10923-16383"]);
    assert_eq!(nodes[2].run(&format!("CLUSTER MIGRATESLOTS SLOTSRANGE 10923 12000 NODE {a}")), "OK");
    wait("the slots are there", || picture(&nodes[2])[&nodes[2].id()].3 == ["12001-16383"]);
    client.goes_on("after slots moved at once");

    assert_eq!(nodes[4].run("CLUSTER FAILOVER"), "OK");
    wait("a failover", || leads(&nodes[4]) && !leads(&nodes[1]));
    agree(&nodes.iter().collect::<Vec<_>>());
    client.goes_on("after a failover");

    client.order("hold");
    client.wait_for("held");
    let offset = |n: &Node| n.server.connect().info("master_repl_offset");
    wait("the replica has it all", || offset(&nodes[5]) == offset(&nodes[2]));
    nodes[2].server.signal("KILL");
    client.order("go");
    wait("another failover", || leads(&nodes[5]));
    client.goes_on("after a death");
    nodes.remove(2);
    wait("all is served", || nodes.iter().all(|n| n.run("CLUSTER INFO").contains("cluster_state:ok")));
    client.order("stop");
    client.wait_for("done");
}

#[test]
fn redis_py_cluster_goes_through_a_reshard_and_failovers() {
    let Some(python) = redis_py() else { return };
    changes(|port| script(&python, &workplace(), "cluster_clients/redis_py.py", port));
}

#[test]
fn redis_py_asyncio_cluster_goes_through_a_reshard_and_failovers() {
    let Some(python) = redis_py() else { return };
    changes(|port| script(&python, &workplace(), "cluster_clients/redis_py_asyncio.py", port));
}

#[test]
fn ioredis_cluster_goes_through_a_reshard_and_failovers() {
    let Some(dir) = node_clients() else { return };
    changes(|port| script("node", &dir, "cluster_clients/ioredis.js", port));
}

/// The client is this program once more: see [`client::work`].
#[test]
fn the_redis_crate_goes_through_a_reshard_and_failovers() {
    if let Ok(port) = std::env::var(client::PORT) {
        return client::work(port.parse().unwrap());
    }
    changes(|port| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let name = "the_redis_crate_goes_through_a_reshard_and_failovers";
        command.args(["--exact", name, "--nocapture"]).env(client::PORT, port.to_string());
        command
    });
}
