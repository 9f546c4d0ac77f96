//! redis-cli --cluster and redis-benchmark --cluster: what tests/cluster.rs does not have of them.

mod support;

use std::process::Command;

use dunlin::base::slot::key_slot;
use support::cluster::{Load, Node, agree, cli, picture, replicas_are_linked, three, try_cli, wait, with_replicas};
use support::{Server, TempDir};

fn keys(nodes: &[Node]) -> i64 {
    nodes.iter().map(|n| n.server.connect().run("DBSIZE").int()).sum()
}

/// import: from a server that is no node of a cluster, Dunlin or Redis; with copies, and over what is there.
#[test]
fn redis_cli_imports_the_keys_of_a_server_outside() {
    let nodes = three();
    for source in [Server::start(&[]), Server::redis()] {
        let mut c = source.connect();
        c.run("DEBUG POPULATE 500 plain 20");
        for n in 0..500 {
            c.run(&format!("SET plain:{n} {n}"));
        }
        c.run("RPUSH list a b c");
        c.run("SET short life PX 1000000");
        let from = format!("127.0.0.1:{}", source.port);
        let text = cli(&["import", &nodes[0].at(), "--cluster-from", &from, "--cluster-copy", "--cluster-replace"]);
        assert!(!text.contains("ERR"), "{text}");
        assert_eq!((c.run("DBSIZE").int(), keys(&nodes)), (502, 502), "copied");
        // A key that is there stops it, unless it may be replaced.
        let (_, text) = try_cli(&["import", &nodes[0].at(), "--cluster-from", &from]);
        assert!(text.contains("BUSYKEY"), "{text}");
        let text = cli(&["import", &nodes[0].at(), "--cluster-from", &from, "--cluster-replace"]);
        assert!(!text.contains("ERR"), "{text}");
        assert_eq!((c.run("DBSIZE").int(), keys(&nodes)), (0, 502), "moved");
        let ask = |line: &str| {
            let port = nodes[1].port().to_string();
            let args: Vec<&str> = ["-c", "-p", &port].into_iter().chain(line.split(' ')).collect();
            let out = Command::new("redis-cli").args(args).output().unwrap();
            String::from_utf8_lossy(&out.stdout).trim().replace('\n', " ")
        };
        assert_eq!((ask("GET plain:77"), ask("LRANGE list 0 -1")), ("77".to_owned(), "a b c".to_owned()));
        assert!(ask("PTTL short").parse::<i64>().unwrap() > 900_000);
    }
}

/// backup: a snapshot of each primary, which a server loads, and the cluster's form.
#[test]
fn redis_cli_makes_a_backup_that_servers_start_from() {
    let nodes = three();
    let load = Load::start(nodes[0].port());
    load.more(3000);
    load.end(nodes[0].port());
    let dir = TempDir::new();
    let path = dir.0.to_str().unwrap();
    let text = cli(&["backup", &nodes[0].at(), path]);
    assert!(text.contains("nodes.json"), "{text}");
    let form = std::fs::read_to_string(dir.0.join("nodes.json")).unwrap();
    let mut found = 0;
    for node in &nodes {
        assert!(form.contains(&node.id()));
        // valkey-cli may stand for redis-cli.
        let names = ["redis", "valkey"].map(|of| format!("{of}-node-127.0.0.1-{}-{}.rdb", node.port(), node.id()));
        let name = names.iter().find(|name| dir.0.join(name).exists()).unwrap_or_else(|| panic!("{names:?}"));
        for other in [Server::start(&["--dir", path, "--dbfilename", name]), {
            let port = support::free_port();
            let mut command = support::redis();
            command.args(["--port", &port.to_string(), "--dir", path, "--dbfilename", name, "--save", ""]);
            Server::run(command, port)
        }] {
            let mut c = other.connect();
            c.until("the snapshot is loaded", |c| c.info("loading") == "0");
            let n = c.run("DBSIZE").int();
            assert_eq!(n, node.server.connect().run("DBSIZE").int());
            found += n;
        }
    }
    assert_eq!(found, 2 * keys(&nodes));
}

/// fix where no slot has an owner: how nodes that have met, by seeds, become a cluster.
#[test]
fn redis_cli_gives_slots_to_nodes_that_have_met() {
    let nodes: Vec<Node> = (0..3).map(|_| Node::ours()).collect();
    for node in &nodes[1..] {
        assert_eq!(nodes[0].run(&format!("CLUSTER MEET 127.0.0.1 {}", node.port())), "OK");
    }
    wait("they know each other", || nodes.iter().all(|n| picture(n).len() == 3));
    cli(&["fix", &nodes[0].at(), "--cluster-yes"]);
    agree(&nodes.iter().collect::<Vec<_>>());
    let text = cli(&["check", &nodes[0].at()]);
    assert!(text.contains("[OK] All 16384 slots covered."), "{text}");
}

/// The kinds of damage that fix knows, besides those in tests/cluster.rs: keys in a slot that nobody has, in several
/// nodes, a slot that two nodes believe to be theirs, a slot open to a node that is gone, a dead primary.
#[test]
fn redis_cli_mends_other_kinds_of_damage() {
    let nodes = three();
    let at: Vec<String> = nodes.iter().map(Node::at).collect();
    let all: Vec<&Node> = nodes.iter().collect();
    let slot = key_slot(b"{a}");
    let owner = |nodes: &[Node]| nodes.iter().position(|n| !n.run("GET {a}").starts_with("MOVED")).unwrap();
    let home = owner(&nodes);
    for n in 0..50 {
        nodes[home].run(&format!("SET {{a}}:{n} {n}"));
    }
    let mended = |damage: &str| {
        cli(&["fix", &at[0], "--cluster-yes", "--cluster-fix-with-unreachable-masters"]);
        wait(damage, || try_cli(&["check", &at[0]]).0);
        agree(&all);
        let text = cli(&["check", &at[0]]);
        assert!(text.contains("[OK] All 16384 slots covered.") && !text.contains("[WARNING]"), "{damage}: {text}");
        assert_eq!(keys(&nodes), 50, "{damage}");
    };
    // The slot is nobody's, and its keys are there.
    nodes.iter().for_each(|n| drop(n.run(&format!("CLUSTER DELSLOTS {slot}"))));
    mended("keys in nobody's slot");
    // Keys on two sides of a slot that is open on several nodes.
    let home = owner(&nodes);
    let (other, third) = ((home + 1) % 3, (home + 2) % 3);
    nodes[home].run(&format!("CLUSTER SETSLOT {slot} MIGRATING {}", nodes[other].id()));
    nodes[other].run(&format!("CLUSTER SETSLOT {slot} IMPORTING {}", nodes[home].id()));
    nodes[third].run(&format!("CLUSTER SETSLOT {slot} IMPORTING {}", nodes[home].id()));
    let port = nodes[other].port();
    assert_eq!(nodes[home].run(&format!("MIGRATE 127.0.0.1 {port} {{a}}:7 0 1000")), "OK");
    mended("a slot that arrives at two nodes");
    // Two nodes claim a slot: the one with the greater epoch is believed in the end, fix or not.
    let home = owner(&nodes);
    let other = (home + 1) % 3;
    nodes[other].run(&format!("CLUSTER DELSLOTS {slot}"));
    nodes[other].run(&format!("CLUSTER ADDSLOTS {slot}"));
    wait("agreement", || {
        let _ = try_cli(&["fix", &at[0], "--cluster-yes"]);
        try_cli(&["check", &at[0]]).0
    });
    agree(&all);
}

#[test]
fn redis_cli_gives_the_slots_of_a_dead_primary_to_others() {
    let mut nodes = three();
    let dead = nodes.pop().unwrap();
    dead.server.signal("KILL");
    wait("its death is known", || nodes.iter().all(|n| n.run("CLUSTER NODES").contains("fail")));
    let (ok, text) = try_cli(&["fix", &nodes[0].at(), "--cluster-yes"]);
    assert!(!ok || text.contains("unreachable"), "{text}");
    let _ = try_cli(&["fix", &nodes[0].at(), "--cluster-yes", "--cluster-fix-with-unreachable-masters"]);
    wait("all is served", || {
        nodes.iter().all(|n| {
            let info = n.run("CLUSTER INFO");
            info.contains("cluster_state:ok") && info.contains("cluster_slots_ok:16384")
        })
    });
}

/// redis-benchmark --cluster: on primaries with replicas, with pipelines and several threads.
#[test]
fn redis_benchmark_runs_on_a_cluster() {
    let nodes: Vec<Node> = (0..6).map(|_| Node::ours()).collect();
    with_replicas(&nodes.iter().collect::<Vec<_>>());
    for extra in [&["-P", "16"][..], &["--threads", "2"], &["-3"]] {
        let port = nodes[0].port().to_string();
        let out = Command::new("redis-benchmark")
            .args(["--cluster", "-p", &port, "-n", "3000", "-c", "12", "-r", "1000", "-q"])
            .args(["-t", "set,get,incr,lpush,sadd,hset,zadd,mset"])
            .args(extra)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&[&out.stdout[..], &out.stderr].concat()).into_owned();
        assert!(out.status.success(), "{extra:?}: {text}");
        assert!(text.matches("requests per second").count() >= 8 && !text.contains("Error"), "{extra:?}: {text}");
    }
}

/// bind-source-addr: the links to primaries and other nodes come from there; where that cannot be, from anywhere.
#[test]
fn links_come_from_the_address_that_is_asked_for() {
    let with = |source: &str| {
        let mut command = support::dunlin();
        command.args(["--bind", "127.0.0.1", "127.0.0.5", "--bind-source-addr", source]);
        Node::of(command)
    };
    let nodes = [Node::ours(), with("127.0.0.5"), with("192.0.2.1")];
    assert_eq!(nodes[0].run("CLUSTER ADDSLOTSRANGE 0 16383"), "OK");
    for node in &nodes[1..] {
        assert_eq!(node.run(&format!("CLUSTER MEET 127.0.0.1 {}", nodes[0].port())), "OK");
    }
    wait("they know each other", || nodes.iter().all(|n| picture(n).len() == 3));
    for node in &nodes[1..] {
        wait("the order", || node.run(&format!("CLUSTER REPLICATE {}", nodes[0].id())) == "OK");
    }
    replicas_are_linked(&nodes.iter().collect::<Vec<_>>());
    let seen = picture(&nodes[0]);
    let info = nodes[0].run("INFO replication");
    for (node, address) in [(&nodes[1], "127.0.0.5"), (&nodes[2], "127.0.0.1")] {
        assert_eq!(seen[&node.id()].0.split(':').next(), Some(address));
        assert!(info.contains(&format!("ip={address},port={}", node.port())), "{info}");
    }
    assert_eq!(nodes[1].server.connect().config("bind-source-addr"), "127.0.0.5");
}
