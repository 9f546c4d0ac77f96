//! `dunlin cluster start` and `status`, and nodes that meet by `cluster-seeds`.

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use dunlin::base::clock;
use support::{Conn, PATIENCE, Server, TempDir, dunlin, free_port, free_ports};

fn wait(what: &str, mut right: impl FnMut() -> bool) {
    let start = clock::mono_ns();
    while !right() {
        assert!(clock::mono_ns() - start < 3 * PATIENCE.as_nanos() as u64, "{what} did not come about");
        clock::pause_us(20_000);
    }
}

/// `dunlin cluster start`, and what it printed so far.
struct Local {
    child: Child,
    printed: Arc<Mutex<String>>,
    port: u16,
}

impl Local {
    fn start(dir: &TempDir, port: u16, args: &[&str]) -> Local {
        let mut command = dunlin();
        command.args(["cluster", "start", "--port", &port.to_string(), "--dir"]).arg(&dir.0).args(args);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let printed = Arc::<Mutex<String>>::default();
        let (into, out) = (printed.clone(), child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let mut text = into.lock().unwrap();
                text.push_str(&line);
                text.push('\n');
            }
        });
        Local { child, printed, port }
    }
    fn said(&self) -> String {
        self.printed.lock().unwrap().clone()
    }
    fn until_says(&mut self, what: &str) {
        let start = clock::mono_ns();
        while !self.said().contains(what) {
            assert!(self.child.try_wait().unwrap().is_none(), "it ended:\n{}", self.said());
            assert!(clock::mono_ns() - start < 6 * PATIENCE.as_nanos() as u64, "no {what:?} in:\n{}", self.said());
            clock::pause_us(20_000);
        }
    }
    /// The process ids that it told, by port.
    fn pid(&self, port: u16) -> String {
        let said = self.said();
        let line = said.lines().find(|line| line.starts_with("Processes:")).unwrap();
        let mark = format!("{port}=");
        line.split(' ').find_map(|word| word.strip_prefix(&mark)).unwrap().to_owned()
    }
    fn stop(mut self) -> String {
        signal("-INT", &self.child.id().to_string());
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}:\n{}", self.said());
        self.said()
    }
    fn status(&self) -> (bool, String) {
        let out = dunlin().args(["cluster", "status", &format!("127.0.0.1:{}", self.port)]).output().unwrap();
        (out.status.success(), String::from_utf8(out.stdout).unwrap())
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            signal("-TERM", &self.child.id().to_string());
            let _ = self.child.wait();
        }
    }
}

fn signal(name: &str, pid: &str) {
    assert!(Command::new("kill").args([name, pid]).status().unwrap().success());
}

fn cli(port: u16, words: &[&str]) -> String {
    let out = Command::new("redis-cli").args(["-c", "-p", &port.to_string()]).args(words).output().unwrap();
    String::from_utf8(out.stdout).unwrap().trim_end().to_owned()
}

#[test]
fn one_command_runs_a_cluster_restarts_what_dies_and_keeps_the_data() {
    let dir = TempDir::new();
    let port = free_ports(6);
    let mut local = Local::start(&dir, port, &["--", "--appendonly", "yes"]);
    local.until_says("Ctrl-C stops it.");
    assert!(local.said().contains("A new cluster is ready"), "{}", local.said());
    let (ok, table) = local.status();
    assert!(ok && table.contains("ok: 16384 of 16384 slots served, 6 nodes"), "{table}");
    assert_eq!((table.matches(" primary ").count(), table.matches(" replica ").count()), (3, 3), "{table}");
    for i in 0..100 {
        assert_eq!(cli(port, &["SET", &format!("key:{i}"), &i.to_string()]), "OK");
    }

    // A primary is killed: its replica takes over, and it comes back as a replica.
    signal("-9", &local.pid(port + 1));
    local.until_says("ended (signal: 9");
    local.until_says("runs again");
    wait("a cluster in order", || local.status().0);
    for i in 0..100 {
        assert_eq!(cli(port, &["GET", &format!("key:{i}")]), i.to_string());
    }
    // It hears of its successor with the first message, which may come after the first node's word that all is in order.
    wait("a replica", || cli(port + 1, &["ROLE"]).starts_with("slave"));

    let said = local.stop();
    assert!(said.contains("Stopping the nodes."), "{said}");
    wait("free ports", || std::net::TcpListener::bind(("127.0.0.1", port)).is_ok());

    let mut local = Local::start(&dir, port, &["--", "--appendonly", "yes"]);
    local.until_says("Ctrl-C stops it.");
    assert!(local.said().contains("The cluster of before is ready"), "{}", local.said());
    for i in 0..100 {
        assert_eq!(cli(port, &["GET", &format!("key:{i}")]), i.to_string());
    }
    local.stop();
}

#[test]
fn a_cluster_whose_starter_is_killed_ends_with_it() {
    let dir = TempDir::new();
    let port = free_ports(1);
    let mut local = Local::start(&dir, port, &["--nodes", "1", "--replicas", "0"]);
    local.until_says("Ctrl-C stops it.");
    signal("-9", &local.child.id().to_string());
    local.child.wait().unwrap();
    wait("an end of the node", || std::net::TcpListener::bind(("127.0.0.1", port)).is_ok());
}

#[test]
fn what_is_wrong_is_told_before_anything_starts() {
    let dir = TempDir::new();
    let server = Server::start(&[]);
    let run = |args: &[&str]| {
        let out = dunlin().args(["cluster", "start", "--dir"]).arg(&dir.0).args(args).output().unwrap();
        assert!(!out.status.success(), "{args:?}");
        String::from_utf8(out.stderr).unwrap()
    };
    let port = server.port.to_string();
    assert!(run(&["--nodes", "1", "--replicas", "0", "--port", &port]).contains("can't be used"));
    assert!(run(&["--nodes", "2", "--replicas", "2"]).contains("too few"));
    assert!(run(&["--nodes", "0"]).contains("--nodes"));
    // An option that the nodes refuse: their own words are shown.
    let port = free_ports(1).to_string();
    let said = run(&["--nodes", "1", "--replicas", "0", "--port", &port, "--", "--cluster-node-timeout", "soon"]);
    assert!(said.contains("did not start"), "{said}");
    let down = dunlin().args(["cluster", "status", &format!("127.0.0.1:{port}")]).output().unwrap();
    assert!(!down.status.success() && String::from_utf8(down.stderr).unwrap().contains("Can't connect"));
}

fn node(seeds: &str) -> (Server, TempDir) {
    let (port, dir) = (free_port(), TempDir::new());
    let mut command = dunlin();
    command.current_dir(&dir.0).args(["--port", &port.to_string(), "--cluster-enabled", "yes", "--save", ""]);
    command.args(["--cluster-node-timeout", "2000", "--cluster-seeds", seeds]);
    (Server::run(command, port), dir)
}

fn knows(conn: &mut Conn) -> usize {
    conn.run("CLUSTER NODES").text().lines().filter(|line| !line.contains("handshake")).count()
}

#[test]
fn nodes_meet_by_their_seeds_and_leave_alone_whom_somebody_forgot() {
    let (first, _a) = node("");
    let seeds = format!("localhost:{0},no-such-name.invalid:7000", first.port);
    let (second, _b) = node(&seeds);
    let (third, _c) = node(&seeds);
    for server in [&first, &second, &third] {
        server.connect().until("three nodes", |c| knows(c) == 3);
    }
    second.wait_for_log("The seed no-such-name.invalid:7000 is not found");

    // A seed may name the node itself, and can be changed while it runs.
    let mut conn = first.connect();
    assert!(!conn.run(&format!("CONFIG SET cluster-seeds 127.0.0.1:{}", first.port)).is_error());
    for bad in ["nothing", "a:", "a:0", ":7000", "a:60000", "a:1@x"] {
        assert!(conn.run(&format!("CONFIG SET cluster-seeds {bad}")).is_error(), "{bad}");
    }

    // Forgotten everywhere, the third is not met again by those whose seeds name it.
    let id = third.connect().run("CLUSTER MYID").text();
    let name = format!("127.0.0.1:{}", third.port);
    for server in [&first, &second] {
        assert!(!server.connect().run(&format!("CONFIG SET cluster-seeds {name}")).is_error());
    }
    drop(third);
    for server in [&first, &second] {
        server.connect().run(&format!("CLUSTER FORGET {id}"));
        server.connect().until("two nodes", |c| knows(c) == 2);
    }
    for server in [&first, &second] {
        server.wait_for_log("the node there was forgotten");
        assert!(!server.connect().run("CLUSTER NODES").text().contains(&name));
    }
}

fn run_cluster(args: &[&str]) -> (bool, String) {
    let out = dunlin().arg("cluster").args(args).output().unwrap();
    (out.status.success(), String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned())
}

/// The slots that nodes have in the table of `status`, by port.
fn slots_of(table: &str, port: u16) -> usize {
    let line = table.lines().find(|line| line.contains(&format!("127.0.0.1:{port} "))).unwrap();
    line.split_whitespace().nth(4).unwrap().parse().unwrap()
}

#[test]
fn rebalance_shares_slots_out_by_weight_keys_and_operations() {
    let dir = TempDir::new();
    let port = free_ports(3);
    let mut local = Local::start(&dir, port, &["--nodes", "3", "--replicas", "0"]);
    local.until_says("Ctrl-C stops it.");
    let at = format!("127.0.0.1:{port}");
    let (ok, said) = run_cluster(&["rebalance", &at]);
    assert!(ok && said.contains("Nothing is to be moved"), "{said}");
    // Many keys in the slots of the first node.
    for n in 0..3000 {
        let tag = format!("{{t{n}}}");
        if dunlin::base::slot::key_slot(tag.as_bytes()) < 5000 {
            assert_eq!(Conn::open(port).run(&format!("SET {tag} x")).text(), "OK");
        }
    }
    let heavy = format!("127.0.0.1:{}=2", port + 2);
    let (ok, said) = run_cluster(&["rebalance", &at, "--weight", &heavy, "--dry-run"]);
    assert!(ok && said.contains("A dry run: nothing was moved."), "{said}");
    assert_eq!(slots_of(&local.status().1, port), 5461);
    let (ok, said) = run_cluster(&["rebalance", &at, "--weight", &heavy, "--batch", "500", "--pause", "1"]);
    assert!(ok && said.contains("Done: "), "{said}");
    let (ok, table) = local.status();
    assert!(ok && slots_of(&table, port + 2).abs_diff(8192) < 5, "{table}");

    let (ok, said) = run_cluster(&["rebalance", &at, "--by", "keys"]);
    assert!(ok && said.contains("Done: "), "{said}");
    let keys: Vec<i64> = (port..port + 3).map(|port| Conn::open(port).run("DBSIZE").int()).collect();
    let mean = keys.iter().sum::<i64>() / 3;
    assert!(keys.iter().all(|n| (n - mean).abs() * 10 < mean), "{keys:?}");
    let (ok, said) = run_cluster(&["rebalance", &at, "--by", "ops", "--sample", "1", "--dry-run"]);
    assert!(ok, "{said}");
    assert_eq!(Conn::open(port).config("cluster-slot-stats-enabled"), "no");
    let (ok, said) = run_cluster(&["rebalance", &at, "--by", "bytes"]);
    assert!(ok, "{said}");
    for wrong in [["--weight", "nobody=1"], ["--weight", "x"], ["--by", "luck"], ["--batch", "0"]] {
        assert!(!run_cluster(&["rebalance", &at, wrong[0], wrong[1]]).0, "{wrong:?}");
    }
}
