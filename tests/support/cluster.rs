//! Clusters of real nodes, redis-cli --cluster, and a load that counts what was acknowledged.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;

use dunlin::base::clock;
use dunlin::base::slot::key_slot;

use super::nodes::{self, Picture};
use super::{Conn, PATIENCE, Server, TempDir, dunlin, free_port};

pub const OPTIONS: [&str; 8] =
    ["--cluster-enabled", "yes", "--cluster-node-timeout", "1500", "--save", "", "--repl-diskless-sync-delay", "0"];

/// A node with a directory of its own.
pub struct Node {
    pub server: Server,
    _dir: TempDir,
}

impl Node {
    pub fn of(command: Command) -> Node {
        let (port, dir) = (free_port(), TempDir::in_memory());
        Node { server: Node::run_in(command, port, &dir), _dir: dir }
    }
    fn run_in(mut command: Command, port: u16, dir: &TempDir) -> Server {
        command.current_dir(&dir.0).args(["--port", &port.to_string()]).args(OPTIONS);
        Server::run(command, port)
    }
    /// One of ours whose acknowledged writes survive its death. It stays a primary without slots.
    pub fn lasting() -> Node {
        Node::of(Node::lasting_command())
    }
    fn lasting_command() -> Command {
        let mut command = dunlin();
        command.args(["--appendonly", "yes", "--appendfsync", "always"]);
        // From the start: one that lost its last slot while it was down would follow the new owner right away.
        command.args(["--cluster-allow-replica-migration", "no"]);
        command
    }
    /// Kills a node that [`Node::lasting`] made, and starts it again.
    pub fn kill_and_restart(&mut self) {
        self.kill_and_run(Node::lasting_command());
    }
    /// Kills the node, and starts another program with its directory and port.
    pub fn kill_and_run(&mut self, command: Command) {
        let port = self.port();
        self.server.signal("KILL");
        wait("a free port", || std::net::TcpListener::bind(("127.0.0.1", port)).is_ok());
        self.server = Node::run_in(command, port, &self._dir);
    }
    pub fn ours() -> Node {
        Node::of(dunlin())
    }
    pub fn redis() -> Node {
        Node::of(super::redis())
    }
    pub fn port(&self) -> u16 {
        self.server.port
    }
    pub fn at(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }
    pub fn run(&self, line: &str) -> String {
        self.server.connect().run(line).text_or("")
    }
    pub fn id(&self) -> String {
        self.run("CLUSTER MYID")
    }
}

/// `redis-cli --cluster ...`: what it printed. It must end well.
pub fn cli(args: &[&str]) -> String {
    let (ok, text) = try_cli(args);
    assert!(ok, "redis-cli --cluster {args:?}:\n{text}");
    text
}

pub fn try_cli(args: &[&str]) -> (bool, String) {
    // Some questions are asked whatever the options say.
    let mut child = Command::new("redis-cli")
        .arg("--cluster")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("redis-cli is there");
    // It may be over before that.
    let _ = child.stdin.take().unwrap().write_all(b"yes\nyes\n");
    let out = child.wait_with_output().unwrap();
    let text = [&out.stdout[..], &out.stderr].concat();
    (out.status.success(), String::from_utf8_lossy(&text).into_owned())
}

pub fn wait(what: &str, right: impl Fn() -> bool) {
    let start = clock::mono_ns();
    while !right() {
        assert!(clock::mono_ns() - start < 3 * PATIENCE.as_nanos() as u64, "{what} did not come about");
        clock::pause_us(20_000);
    }
}

/// What a node thinks of the cluster.
pub fn picture(node: &Node) -> Picture {
    nodes::picture(&node.run("CLUSTER NODES"))
}

/// Three primaries that redis-cli made a cluster of.
pub fn three() -> Vec<Node> {
    let nodes: Vec<Node> = (0..3).map(|_| Node::ours()).collect();
    let at: Vec<String> = nodes.iter().map(Node::at).collect();
    cli(&["create", &at[0], &at[1], &at[2], "--cluster-yes"]);
    agree(&nodes.iter().collect::<Vec<_>>());
    nodes
}

/// Makes a cluster of these nodes, in which each primary has a replica that follows it. What redis-cli says.
pub fn with_replicas(nodes: &[&Node]) -> String {
    let at: Vec<String> = nodes.iter().map(|n| n.at()).collect();
    let mut args = vec!["create"];
    args.extend(at.iter().map(|a| &a[..]));
    args.extend(["--cluster-replicas", "1", "--cluster-yes"]);
    let said = cli(&args);
    agree(nodes);
    replicas_are_linked(nodes);
    said
}

/// Waits until all nodes have the same view, in which all are well and each slot is served.
pub fn agree(nodes: &[&Node]) {
    wait("agreement", || {
        let first = picture(nodes[0]);
        first.len() == nodes.len()
            && nodes::is_well(&first)
            && nodes.iter().all(|n| n.run("CLUSTER INFO").contains("cluster_state:ok") && picture(n) == first)
    });
}

pub fn leads(node: &Node) -> bool {
    node.run("INFO replication").contains("role:master")
}

pub fn replicas_are_linked(nodes: &[&Node]) {
    wait("links of replicas", || {
        nodes.iter().all(|n| {
            let info = n.run("INFO replication");
            info.contains("role:master") || info.contains("master_link_status:up")
        })
    });
}

/// Increments keys over the cluster, follows redirections, and counts what was acknowledged.
pub struct Load {
    stop: Arc<AtomicBool>,
    pub done: Arc<AtomicU64>,
    thread: JoinHandle<BTreeMap<String, u64>>,
}

impl Load {
    pub fn start(port: u16) -> Load {
        let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (stopped, counted) = (stop.clone(), done.clone());
        // Each load has keys of its own.
        static LOADS: AtomicU64 = AtomicU64::new(0);
        let load = LOADS.fetch_add(1, Relaxed);
        let thread = std::thread::spawn(move || {
            let mut counts = BTreeMap::new();
            let mut conns: BTreeMap<u16, Conn> = BTreeMap::new();
            let mut homes: BTreeMap<u16, u16> = BTreeMap::new();
            for n in 0u64.. {
                if stopped.load(Relaxed) {
                    break;
                }
                let key = format!("count:{load}:{}", n % 500);
                let slot = key_slot(key.as_bytes());
                let mut at = *homes.get(&slot).unwrap_or(&port);
                let mut asking = false;
                for _ in 0..1000 {
                    let conn = conns.entry(at).or_insert_with(|| Conn::open(at));
                    if asking {
                        conn.run("ASKING");
                    }
                    asking = false;
                    let reply = conn.run(&format!("INCR {key}"));
                    if !reply.is_error() {
                        *counts.entry(key.clone()).or_insert(0) += 1;
                        counted.fetch_add(1, Relaxed);
                        break;
                    }
                    let text = reply.text();
                    let words: Vec<&str> = text.split([' ', ':']).collect();
                    match words[0] {
                        "MOVED" | "ASK" => {
                            at = words[3].parse().unwrap();
                            asking = words[0] == "ASK";
                            if !asking {
                                homes.insert(slot, at);
                            }
                        }
                        "TRYAGAIN" | "CLUSTERDOWN" => clock::pause_us(5000),
                        _ => panic!("{text}"),
                    }
                }
            }
            counts
        });
        Load { stop, done, thread }
    }

    /// Waits for so many further writes.
    pub fn more(&self, n: u64) {
        let before = self.done.load(Relaxed);
        wait("writes", || self.done.load(Relaxed) >= before + n);
    }

    /// Ends, and sees that every increment is there once.
    pub fn end(self, port: u16) {
        self.stop.store(true, Relaxed);
        let counts = self.thread.join().unwrap();
        assert!(counts.len() == 500);
        for (key, n) in counts {
            let out = Command::new("redis-cli").args(["-c", "-p", &port.to_string(), "GET", &key]).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&out.stdout).trim(), n.to_string(), "{key}");
        }
    }
}
