//! Clusters as operators make and change them: with redis-cli, of Dunlin nodes alone and beside redis-server.

mod support;

use dunlin::base::slot::key_slot;
use support::cluster::{Load, Node, agree, cli, leads, picture, replicas_are_linked, try_cli, wait};

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
