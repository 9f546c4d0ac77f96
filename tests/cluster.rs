//! Clusters as operators make and change them: with redis-cli, of Dunlin nodes alone and beside redis-server.

mod support;

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;

use dunlin::base::clock;
use dunlin::base::slot::key_slot;
use support::nodes::{self, Picture};
use support::{Conn, PATIENCE, Server, TempDir, dunlin, free_port};

const OPTIONS: [&str; 8] =
    ["--cluster-enabled", "yes", "--cluster-node-timeout", "1500", "--save", "", "--repl-diskless-sync-delay", "0"];

/// A node with a directory of its own.
struct Node {
    server: Server,
    _dir: TempDir,
}

impl Node {
    fn of(mut command: Command) -> Node {
        let (port, dir) = (free_port(), TempDir::new());
        command.current_dir(&dir.0).args(["--port", &port.to_string()]).args(OPTIONS);
        Node { server: Server::run(command, port), _dir: dir }
    }
    fn ours() -> Node {
        Node::of(dunlin())
    }
    fn redis() -> Node {
        Node::of(support::redis())
    }
    fn port(&self) -> u16 {
        self.server.port
    }
    fn at(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }
    fn run(&self, line: &str) -> String {
        self.server.connect().run(line).text_or("")
    }
    fn id(&self) -> String {
        self.run("CLUSTER MYID")
    }
}

/// `redis-cli --cluster ...`: what it printed. It must end well.
fn cli(args: &[&str]) -> String {
    let (ok, text) = try_cli(args);
    assert!(ok, "redis-cli --cluster {args:?}:\n{text}");
    text
}

fn try_cli(args: &[&str]) -> (bool, String) {
    // Some questions are asked whatever the options say.
    let mut child = Command::new("redis-cli")
        .arg("--cluster")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("redis-cli is there");
    child.stdin.take().unwrap().write_all(b"yes\nyes\n").unwrap();
    let out = child.wait_with_output().unwrap();
    let text = [&out.stdout[..], &out.stderr].concat();
    (out.status.success(), String::from_utf8_lossy(&text).into_owned())
}

fn wait(what: &str, right: impl Fn() -> bool) {
    let start = clock::mono_ns();
    while !right() {
        assert!(clock::mono_ns() - start < 3 * PATIENCE.as_nanos() as u64, "{what} did not come about");
        clock::pause_us(20_000);
    }
}

/// What a node thinks of the cluster.
fn picture(node: &Node) -> Picture {
    nodes::picture(&node.run("CLUSTER NODES"))
}

/// Waits until all nodes have the same view, in which all are well and each slot is served.
fn agree(nodes: &[&Node]) {
    wait("agreement", || {
        let first = picture(nodes[0]);
        first.len() == nodes.len()
            && nodes::is_well(&first)
            && nodes.iter().all(|n| n.run("CLUSTER INFO").contains("cluster_state:ok") && picture(n) == first)
    });
}

fn leads(node: &Node) -> bool {
    node.run("INFO replication").contains("role:master")
}

fn replicas_are_linked(nodes: &[&Node]) {
    wait("links of replicas", || {
        nodes.iter().all(|n| {
            let info = n.run("INFO replication");
            info.contains("role:master") || info.contains("master_link_status:up")
        })
    });
}

/// Increments keys over the cluster, follows redirections, and counts what was acknowledged.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    thread: JoinHandle<BTreeMap<String, u64>>,
}

impl Load {
    fn start(port: u16) -> Load {
        let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (stopped, counted) = (stop.clone(), done.clone());
        let thread = std::thread::spawn(move || {
            let mut counts = BTreeMap::new();
            let mut conns: BTreeMap<u16, Conn> = BTreeMap::new();
            let mut homes: BTreeMap<u16, u16> = BTreeMap::new();
            for n in 0u64.. {
                if stopped.load(Relaxed) {
                    break;
                }
                let key = format!("count:{}", n % 500);
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
    fn more(&self, n: u64) {
        let before = self.done.load(Relaxed);
        wait("writes", || self.done.load(Relaxed) >= before + n);
    }

    /// Ends, and sees that every increment is there once.
    fn end(self, port: u16) {
        self.stop.store(true, Relaxed);
        let counts = self.thread.join().unwrap();
        assert!(counts.len() == 500);
        for (key, n) in counts {
            let out = Command::new("redis-cli").args(["-c", "-p", &port.to_string(), "GET", &key]).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&out.stdout).trim(), n.to_string(), "{key}");
        }
    }
}

/// create, check, info, call, reshard and rebalance while clients write, add-node, del-node.
#[test]
fn redis_cli_makes_and_changes_a_cluster_while_clients_write() {
    let nodes: Vec<Node> = (0..6).map(|_| Node::ours()).collect();
    let at: Vec<String> = nodes.iter().map(Node::at).collect();
    let mut args = vec!["create"];
    args.extend(at.iter().map(|a| &a[..]));
    args.extend(["--cluster-replicas", "1", "--cluster-yes"]);
    assert!(cli(&args).contains("[OK] All 16384 slots covered."));
    let all: Vec<&Node> = nodes.iter().collect();
    agree(&all);
    replicas_are_linked(&all);
    assert!(cli(&["check", &at[0]]).contains("[OK] All nodes agree about slots configuration."));
    assert!(cli(&["info", &at[0]]).contains("3 masters"));
    assert_eq!(cli(&["call", &at[0], "PING"]).matches("PONG").count(), 6);

    let load = Load::start(nodes[0].port());
    load.more(2000);
    let (from, to) = (nodes[0].id(), nodes[1].id());
    cli(&[
        "reshard",
        &at[0],
        "--cluster-from",
        &from,
        "--cluster-to",
        &to,
        "--cluster-slots",
        "300",
        "--cluster-yes",
        "--cluster-pipeline",
        "10",
    ]);
    load.more(2000);
    agree(&all);
    cli(&["check", &at[2]]);

    // A new primary takes its share, with weights; then it gives everything up and goes.
    let new = Node::ours();
    cli(&["add-node", &new.at(), &at[0]]);
    let mut more = all.clone();
    more.push(&new);
    agree(&more);
    let weight = format!("{}=1", new.id());
    let heavy = format!("{}=2", nodes[1].id());
    cli(&["rebalance", &at[0], "--cluster-use-empty-masters", "--cluster-weight", &heavy, &weight]);
    load.more(2000);
    agree(&more);
    cli(&["check", &at[0]]);
    let seen = picture(&new);
    let slots = seen[&new.id()].3.iter().map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        last.parse::<u32>().unwrap() - first.parse::<u32>().unwrap() + 1
    });
    let slots = slots.sum::<u32>().to_string();
    cli(&[
        "reshard",
        &at[0],
        "--cluster-from",
        &new.id(),
        "--cluster-to",
        &from,
        "--cluster-slots",
        &slots,
        "--cluster-yes",
    ]);
    agree(&more);
    cli(&["del-node", &at[0], &new.id()]);
    agree(&all);
    // And comes back as a replica.
    let primary = nodes[2].id();
    let other = Node::ours();
    cli(&["add-node", &other.at(), &at[0], "--cluster-slave", "--cluster-master-id", &primary]);
    let mut more = all.clone();
    more.push(&other);
    agree(&more);
    load.more(1000);
    load.end(nodes[0].port());
}

/// fix: slots that stand open on either side or both, slots that nobody has, keys in nobody's slot.
#[test]
fn redis_cli_mends_what_is_broken() {
    let nodes: Vec<Node> = (0..3).map(|_| Node::ours()).collect();
    let at: Vec<String> = nodes.iter().map(Node::at).collect();
    cli(&["create", &at[0], &at[1], &at[2], "--cluster-yes"]);
    let all: Vec<&Node> = nodes.iter().collect();
    agree(&all);
    let slot = key_slot(b"{a}");
    let owner = nodes.iter().position(|n| !n.run("GET {a}").starts_with("MOVED")).unwrap();
    let other = (owner + 1) % 3;
    for n in 0..50 {
        nodes[owner].run(&format!("SET {{a}}:{n} {n}"));
    }
    let mended = |damage: &str| {
        cli(&["fix", &at[0], "--cluster-yes"]);
        wait(damage, || try_cli(&["check", &at[0]]).0);
        let text = cli(&["check", &at[0]]);
        assert!(text.contains("[OK] All 16384 slots covered.") && !text.contains("[WARNING]"), "{damage}: {text}");
        let found: i64 = nodes.iter().map(|n| n.server.connect().run("DBSIZE").int()).sum();
        assert_eq!(found, 50, "{damage}");
    };
    nodes[owner].run(&format!("CLUSTER SETSLOT {slot} MIGRATING {}", nodes[other].id()));
    mended("a slot that leaves");
    let owner = nodes.iter().position(|n| !n.run("GET {a}:1").starts_with("MOVED")).unwrap();
    let other = (owner + 1) % 3;
    nodes[other].run(&format!("CLUSTER SETSLOT {slot} IMPORTING {}", nodes[owner].id()));
    mended("a slot that arrives");
    let owner = nodes.iter().position(|n| !n.run("GET {a}:1").starts_with("MOVED")).unwrap();
    let other = (owner + 1) % 3;
    nodes[other].run(&format!("CLUSTER SETSLOT {slot} IMPORTING {}", nodes[owner].id()));
    nodes[owner].run(&format!("CLUSTER SETSLOT {slot} MIGRATING {}", nodes[other].id()));
    let port = nodes[other].port();
    assert_eq!(nodes[owner].run(&format!("MIGRATE 127.0.0.1 {port} {{a}}:7 0 1000")), "OK");
    mended("a slot on its way");
    let empty = (0..16384).find(|s| *s != slot).unwrap();
    nodes.iter().for_each(|n| drop(n.run(&format!("CLUSTER DELSLOTS {empty}"))));
    mended("a slot that nobody has");
}

/// Redis 7.0 and Dunlin on one bus: views agree, each follows the other, fails over to it and takes its slots.
#[test]
fn redis_and_dunlin_are_nodes_of_one_cluster() {
    let (a, b, c) = (Node::redis(), Node::ours(), Node::redis());
    cli(&["create", &a.at(), &b.at(), &c.at(), "--cluster-yes"]);
    agree(&[&a, &b, &c]);
    let (x, y) = (Node::ours(), Node::redis());
    cli(&["add-node", &x.at(), &a.at(), "--cluster-slave", "--cluster-master-id", &a.id()]);
    wait("the first replica", || picture(&a).len() == 4 && picture(&b).len() == 4);
    cli(&["add-node", &y.at(), &a.at(), "--cluster-slave", "--cluster-master-id", &b.id()]);
    agree(&[&a, &b, &c, &x, &y]);
    replicas_are_linked(&[&x, &y]);
    let load = Load::start(b.port());
    load.more(1000);
    // Slots go both ways.
    for (from, to) in [(&a, &b), (&b, &c)] {
        let (source, target) = (from.id(), to.id());
        cli(&[
            "reshard",
            &a.at(),
            "--cluster-from",
            &source,
            "--cluster-to",
            &target,
            "--cluster-slots",
            "200",
            "--cluster-yes",
        ]);
        load.more(1000);
        agree(&[&a, &b, &c, &x, &y]);
    }
    // Each takes over from the other, asked to.
    for (replica, primary) in [(&x, &a), (&y, &b)] {
        assert_eq!(replica.run("CLUSTER FAILOVER"), "OK");
        wait("a failover", || leads(replica) && !leads(primary));
        replicas_are_linked(&[primary]);
        agree(&[&a, &b, &c, &x, &y]);
        load.more(500);
    }
    load.end(c.port());
    for node in [&a, &b, &c, &x, &y] {
        assert_eq!(node.run("CONFIG SET cluster-node-timeout 3000"), "OK");
    }
    // A Redis primary dies: a Dunlin replica is voted for by Redis and Dunlin alike, and the other way about.
    drop(y);
    wait("b in place of y", || leads(&b) && b.run("CLUSTER INFO").contains("cluster_state:ok"));
    drop(x);
    wait("a in place of x", || leads(&a) && a.run("CLUSTER INFO").contains("cluster_state:ok"));
}
