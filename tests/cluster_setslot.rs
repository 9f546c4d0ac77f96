//! CLUSTER SETSLOT where primaries have replicas: they know of a change before it is made, so a failover in the middle of
//! a move loses nothing.

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use dunlin::base::clock;
use dunlin::base::slot::key_slot;
use support::cluster::{Node, agree, cli, picture, replicas_are_linked, three, wait};

/// Primaries first, each with a replica.
fn cluster(primaries: usize) -> Vec<Node> {
    let nodes: Vec<Node> = (0..2 * primaries).map(|_| Node::ours()).collect();
    let at: Vec<String> = nodes.iter().map(Node::at).collect();
    let mut args = vec!["create"];
    args.extend(at[..primaries].iter().map(|at| &at[..]));
    args.push("--cluster-yes");
    cli(&args);
    agree(&nodes[..primaries].iter().collect::<Vec<_>>());
    for n in 0..primaries {
        let id = nodes[n].id();
        cli(&["add-node", &at[primaries + n], &at[0], "--cluster-slave", "--cluster-master-id", &id]);
    }
    let all: Vec<&Node> = nodes.iter().collect();
    agree(&all);
    replicas_are_linked(&all);
    nodes
}

/// The open slots that a node tells of itself.
fn open(node: &Node) -> Vec<String> {
    let slots = picture(node)[&node.id()].3.clone();
    slots.into_iter().filter(|slot| slot.starts_with('[')).collect()
}

#[test]
fn replicas_know_of_an_open_slot_before_the_client_does() {
    let nodes = cluster(3);
    let slot = key_slot(b"aga");
    let (source, target) = (&nodes[0], &nodes[1]);
    assert_eq!(source.run("SET {aga}2 banana"), "OK");
    let (migrating, importing) = (format!("[{slot}->-{}]", target.id()), format!("[{slot}-<-{}]", source.id()));
    assert_eq!(source.run(&format!("CLUSTER SETSLOT {slot} MIGRATING {}", target.id())), "OK");
    let open_slot = |n: usize| open(&nodes[n]).join(" ");
    assert_eq!(open_slot(3), migrating, "no wait: the OK says that it is there");
    assert_eq!(target.run(&format!("CLUSTER SETSLOT {slot} IMPORTING {}", source.id())), "OK");
    assert_eq!(open_slot(4), importing);
    assert_eq!((open_slot(0), open_slot(1)), (migrating.clone(), importing));

    // Those who read from replicas are told where else a key may be.
    let mut reader = nodes[3].server.connect();
    assert!(reader.run("GET aga").text().starts_with(&format!("MOVED {slot} 127.0.0.1:{}", source.port())));
    reader.run("READONLY");
    assert_eq!(reader.run("GET aga").text(), format!("ASK {slot} 127.0.0.1:{}", target.port()));
    assert!(reader.run("MGET {aga}1 {aga}2").text().starts_with("TRYAGAIN"));
    assert_eq!(reader.run("GET {aga}2").text(), "banana");
    assert!(reader.run("SET {aga}2 apple").text().starts_with("MOVED"), "but they do not write there");
    let mut reader = nodes[4].server.connect();
    reader.run("READONLY");
    reader.run("ASKING");
    assert!(reader.run("MGET {aga}1 {aga}2").text().starts_with("TRYAGAIN"));

    // A replica that comes later gets to know with the data.
    assert_eq!(nodes[3].run("CLUSTER RESET"), "OK");
    assert!(open(&nodes[3]).is_empty());
    assert_eq!(nodes[3].run(&format!("CLUSTER MEET 127.0.0.1 {}", source.port())), "OK");
    wait("the node is known", || picture(&nodes[3]).len() == nodes.len());
    wait("the order", || nodes[3].run(&format!("CLUSTER REPLICATE {}", source.id())) == "OK");
    wait("the open slot", || open_slot(3) == migrating);

    // The end, too, is known to the replicas first.
    assert!(source.run(&format!("MIGRATE 127.0.0.1 {} {{aga}}2 0 5000", target.port())) == "OK");
    assert_eq!(target.run(&format!("CLUSTER SETSLOT {slot} NODE {}", target.id())), "OK");
    assert!(open(&nodes[4]).is_empty());
    let owner = picture(&nodes[4])[&target.id()].3.clone();
    assert!(owner.contains(&slot.to_string()), "{owner:?}");
    assert_eq!(source.run(&format!("CLUSTER SETSLOT {slot} NODE {}", target.id())), "OK");
    agree(&nodes.iter().collect::<Vec<_>>());
}

#[test]
fn a_replica_that_does_not_answer_stops_a_setslot() {
    let nodes = cluster(3);
    let line = format!("CLUSTER SETSLOT 5 MIGRATING {}", nodes[1].id());
    assert_eq!(nodes[0].run(&format!("{line} TIMEOUT")), "ERR Missing timeout value");
    nodes[3].server.signal("STOP");
    for (line, least, most) in [(format!("{line} TIMEOUT 300"), 290, 1500), (line.clone(), 1990, 5000)] {
        let start = clock::mono_ns();
        assert_eq!(nodes[0].run(&line), "NOREPLICAS Not enough good replicas to write.");
        let took = (clock::mono_ns() - start) / 1_000_000;
        assert!((least..most).contains(&took), "{line} took {took} ms");
    }
    assert!(open(&nodes[0]).is_empty());
    // Without an end it waits until the replica is there again; other clients are served meanwhile.
    let mut conn = nodes[0].server.connect();
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).chain([&b"TIMEOUT"[..], b"0"]).collect();
    conn.send(&words);
    wait("the client waits", || nodes[0].run("INFO clients").contains("blocked_clients:1"));
    nodes[3].server.signal("CONT");
    assert_eq!(conn.read().text(), "OK");
    assert_eq!(open(&nodes[0]).len(), 1);
    // In a transaction nothing waits.
    let mut conn = nodes[0].server.connect();
    conn.run("MULTI");
    conn.run("CLUSTER SETSLOT 5 STABLE");
    assert_eq!(conn.run("EXEC").texts(), ["OK"]);
    assert!(open(&nodes[0]).is_empty());
    wait("the replica hears of it", || open(&nodes[3]).is_empty());
}

/// Its replica goes to the new owner when it hears that the last slot is gone, and confirms nothing any more.
#[test]
fn redis_cli_can_take_the_last_slots_from_a_shard_with_a_replica() {
    let nodes = cluster(3);
    let all: Vec<&Node> = nodes.iter().collect();
    // Most of them in another way, which is quicker.
    let line = format!("CLUSTER MIGRATESLOTS SLOTSRANGE 10923 16363 NODE {}", nodes[0].id());
    assert_eq!(nodes[2].run(&line), "OK");
    wait("the slots are there", || picture(&nodes[0])[&nodes[2].id()].3 == ["16364-16383"]);
    agree(&all);
    let (from, to) = (nodes[2].id(), nodes[0].id());
    let sides = ["--cluster-from", &from, "--cluster-to", &to, "--cluster-slots", "20", "--cluster-yes"];
    cli(&[&["reshard", &nodes[0].at()[..]], &sides[..]].concat());
    agree(&all);
    let seen = picture(&nodes[0]);
    for moved in [2, 5] {
        let (_, role, primary, slots) = &seen[&nodes[moved].id()];
        assert_eq!((&role[..], slots.len()), ("slave", 0));
        assert_eq!(primary, &to);
    }
    replicas_are_linked(&all);
}

/// The thread that had waited for replicas once went on with the settings of then.
#[test]
fn a_setting_holds_for_the_next_setslot() {
    let nodes = cluster(3);
    let (slot, target) = (key_slot(b"aga"), nodes[1].id());
    let migrate = || assert_eq!(nodes[0].run(&format!("CLUSTER SETSLOT {slot} MIGRATING {target}")), "OK");
    migrate();
    assert_eq!(nodes[0].run("CONFIG SET slowlog-log-slower-than 0"), "OK");
    migrate();
    let log = nodes[0].server.connect().run("SLOWLOG GET -1");
    let logged = |entry: &support::Value| entry.items()[3].texts()[..2] == ["CLUSTER", "SETSLOT"];
    assert!(log.items().iter().any(logged), "{log:?}");
}

/// While orders came faster than nodes.conf was written the bus wrote it again and again, and neither sent nor read
/// anything: a reshard on a slow disk made nodes silent, and CLUSTERDOWN ended it.
#[test]
fn a_node_that_gets_orders_without_a_pause_says_what_it_has_to_say() {
    let nodes = three();
    let (busy, other) = (&nodes[0], &nodes[1]);
    let (stop, orders) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let mut conn = busy.server.connect();
        let (stop, orders) = (&stop, &orders);
        scope.spawn(move || {
            while !stop.load(Relaxed) {
                (0..10).for_each(|_| conn.send(&[b"CLUSTER", b"SAVECONFIG"]));
                (0..10).for_each(|_| assert_eq!(conn.read().text(), "OK"));
                orders.fetch_add(10, Relaxed);
            }
        });
        let heard = || {
            let nodes = other.run("CLUSTER NODES");
            let line = nodes.lines().find(|line| line.starts_with(&busy.id())).unwrap().to_owned();
            line.split(' ').nth(5).unwrap().parse::<u64>().unwrap()
        };
        let mut last = heard();
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..4 {
                wait("a pong of the busy node", || heard() > last);
                last = heard();
                assert!(busy.run("CLUSTER INFO").contains("cluster_state:ok"));
            }
        }));
        stop.store(true, Relaxed);
        ended.unwrap();
    });
    assert!(orders.load(Relaxed) > 1000);
    agree(&nodes.iter().collect::<Vec<_>>());
}
