//! Clusters as operators make and change them: with redis-cli, of Dunlin nodes alone and beside redis-server.

mod support;

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use dunlin::base::slot::key_slot;
use support::cluster::{Load, Node, agree, cli, leads, picture, replicas_are_linked, try_cli, wait, with_replicas};
use support::{Value, dunlin};

/// create, check, info, call, reshard and rebalance while clients write, add-node, del-node.
#[test]
fn redis_cli_makes_and_changes_a_cluster_while_clients_write() {
    let nodes: Vec<Node> = (0..6).map(|_| Node::ours()).collect();
    let at: Vec<String> = nodes.iter().map(Node::at).collect();
    let all: Vec<&Node> = nodes.iter().collect();
    assert!(with_replicas(&all).contains("[OK] All 16384 slots covered."));
    assert!(cli(&["check", &at[0]]).contains("[OK] All nodes agree about slots configuration."));
    // valkey-cli, which may stand for it, says primaries.
    let info = cli(&["info", &at[0]]);
    assert!(info.contains("3 masters") || info.contains("3 primaries"), "{info}");
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

/// SHUTDOWN FAILOVER, and SIGTERM with `shutdown-on-sigterm failover`: a replica has the slots before the primary is gone, long
/// before anybody could have missed it, and no write is lost.
#[test]
fn a_primary_that_is_told_to_hands_over_before_it_ends() {
    let node = || {
        let mut command = dunlin();
        command.args(["--shutdown-on-sigterm", "failover safe"]);
        Node::of(command)
    };
    let nodes: Vec<Node> = (0..6).map(|_| node()).collect();
    let mut nodes: Vec<&Node> = nodes.iter().collect();
    with_replicas(&nodes);
    for node in &nodes {
        assert_eq!(node.run("CONFIG SET cluster-node-timeout 60000"), "OK");
    }
    // A primary with slots is missed; a replica is not.
    let (primary, replica) = (nodes[0], nodes.iter().position(|n| !leads(n)).unwrap());
    assert_eq!(primary.run("SHUTDOWN SAFE"), "ERR Errors trying to SHUTDOWN. Check logs.");
    assert!(leads(primary));
    let replica = nodes.remove(replica);
    replica.server.connect().send(&[b"SHUTDOWN", b"SAFE"]);
    wait("its end", || std::net::TcpStream::connect(("127.0.0.1", replica.port())).is_err());

    // Whose replica is there still.
    let heir_of = |head: &Node, nodes: &[&Node]| {
        let info = head.run("INFO replication");
        nodes.iter().position(|n| info.contains(&format!("port={},state=online", n.port())))
    };
    for by_signal in [false, true] {
        // One that has not heard of the last election would ask for votes in an epoch that has been voted in.
        let epoch = |node: &Node| {
            let info = node.run("CLUSTER INFO");
            info.lines().find(|line| line.starts_with("cluster_current_epoch")).unwrap().to_owned()
        };
        wait("one epoch", || nodes.iter().all(|n| epoch(n) == epoch(nodes[0])));
        let head = nodes.iter().position(|n| leads(n) && heir_of(n, &nodes).is_some()).unwrap();
        let head = nodes.remove(head);
        let heir = nodes[heir_of(head, &nodes).unwrap()];
        let key = (0..).map(|n| format!("count:{n}")).find(|key| head.run(&format!("SET {key} 0")) == "OK").unwrap();
        // Counts until it is sent elsewhere, or the connection ends.
        let (mut writer, counted) = (head.server.connect(), AtomicI64::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                loop {
                    writer.send(&[b"INCR", key.as_bytes()]);
                    match writer.try_read() {
                        Some(Value::Int(n)) => counted.store(n, Relaxed),
                        _ => break,
                    }
                }
            });
            wait("writes", || counted.load(Relaxed) > 500);
            if by_signal {
                head.server.signal("TERM");
            } else {
                head.server.connect().send(&[b"SHUTDOWN", b"FAILOVER", b"SAFE"]);
            }
            head.server.wait_for_log("A replica took over before the shutdown.");
            wait("its end", || std::net::TcpStream::connect(("127.0.0.1", head.port())).is_err());
        });
        assert!(leads(heir));
        let (has, counted): (i64, _) = (heir.run(&format!("GET {key}")).parse().unwrap(), counted.into_inner());
        // The last may have been written and its reply be lost.
        assert!(has == counted || has == counted + 1, "{has} of {counted}");
    }
}
