//! CLUSTER MIGRATESLOTS: whole slots change their owner while clients write, and every failure leaves one owner.

mod support;

use dunlin::base::clock;
use dunlin::base::slot::key_slot;
use support::Conn;
use support::cluster::{Load, Node, agree, cli, leads, picture, replicas_are_linked, three, wait};

/// The newest migration that a node tells of, as names and values.
fn newest(node: &Node) -> Vec<(String, String)> {
    let reply = node.server.connect().run("CLUSTER GETSLOTMIGRATIONS");
    let Some(first) = reply.items().first() else { return Vec::new() };
    first.texts().chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
}

fn field(node: &Node, name: &str) -> String {
    newest(node).into_iter().find(|(n, _)| n == name).map(|(_, v)| v).unwrap_or_default()
}

fn state(node: &Node) -> String {
    field(node, "state")
}

fn succeeds(source: &Node) {
    wait("the end of the migration", || {
        let state = state(source);
        assert!(!["failed", "cancelled"].contains(&&state[..]), "{:?}", newest(source));
        state == "success"
    });
}

/// One key of each type, all in one slot.
fn all_types(conn: &mut Conn, tag: &str) {
    for line in [
        "SET {T}string value",
        "SET {T}int 42",
        "SET {T}later v EX 1000",
        "RPUSH {T}list a b c",
        "SADD {T}set a b c",
        "SADD {T}ints 1 2 3",
        "ZADD {T}zset 1 a 2 b",
        "HSET {T}hash f v g w",
        "XADD {T}stream 1-1 f v",
        "XGROUP CREATE {T}stream group 0",
        "PFADD {T}hll a b c",
        "SETBIT {T}bits 100 1",
        "GEOADD {T}geo 13.4 52.5 berlin",
    ] {
        let reply = conn.run(&line.replace("{T}", &format!("{{{tag}}}:")));
        assert!(!reply.is_error(), "{line}: {}", reply.text());
    }
}

fn names(node: &Node, slot: u16) -> Vec<String> {
    let mut names = node.server.connect().run(&format!("CLUSTER GETKEYSINSLOT {slot} 1000")).texts();
    names.sort();
    names
}

#[test]
fn slots_move_with_all_that_is_in_them_while_clients_write() {
    let nodes = three();
    let all: Vec<&Node> = nodes.iter().collect();
    let replica = Node::ours();
    cli(&["add-node", &replica.at(), &nodes[0].at(), "--cluster-slave", "--cluster-master-id", &nodes[1].id()]);
    let mut with_replica = all.clone();
    with_replica.push(&replica);
    agree(&with_replica);
    replicas_are_linked(&[&replica]);

    // Some value of every type, in a slot of the first node.
    let tag = (0..).map(|n| format!("t{n}")).find(|tag| key_slot(tag.as_bytes()) < 5000).unwrap();
    let slot = key_slot(tag.as_bytes());
    all_types(&mut nodes[0].server.connect(), &tag);
    let before = names(&nodes[0], slot);
    let dump = |node: &Node, key: &str| node.run(&format!("DUMP {key}"));
    let dumps: Vec<String> = before.iter().map(|key| dump(&nodes[0], key)).collect();

    let load = Load::start(nodes[0].port());
    load.more(2000);
    for (from, to, first, last) in [(0, 1, 0, 5460), (1, 2, 0, 3000), (2, 0, 0, 3000), (1, 0, 3001, 5460)] {
        let reply = nodes[from].run(&format!("CLUSTER MIGRATESLOTS SLOTSRANGE {first} {last} NODE {}", nodes[to].id()));
        assert_eq!(reply, "OK");
        succeeds(&nodes[from]);
        assert_eq!(field(&nodes[from], "operation"), "EXPORT");
        let operation = |node: &Node| (field(node, "operation"), state(node), field(node, "slot_ranges"));
        assert_eq!(operation(&nodes[to]), ("IMPORT".to_owned(), "success".to_owned(), format!("{first}-{last}")));
        load.more(500);
        if from == 0 {
            // A primary that gave its last slot away follows the taker, as with SETSLOT.
            agree(&with_replica);
            assert_eq!(names(&nodes[1], slot), before);
            let now: Vec<String> = before.iter().map(|key| dump(&nodes[1], key)).collect();
            assert_eq!(now, dumps);
            nodes[0].run("CLUSTER REPLICATE NO ONE");
            nodes[0].server.connect().until("a primary", |c| c.run("ROLE").items()[0].text() == "master");
            agree(&with_replica);
        }
    }
    agree(&with_replica);
    assert_eq!(names(&nodes[0], slot), before);
    wait("the removal of what is elsewhere", || names(&nodes[1], slot).is_empty() && names(&nodes[2], slot).is_empty());
    load.end(nodes[0].port());
    // The replica of a node that received and gave away has what its primary has.
    let digest = |node: &Node| node.run("DEBUG DIGEST");
    wait("equal data", || digest(&replica) == digest(&nodes[1]));
}

#[test]
fn what_cannot_be_moved_is_refused() {
    let nodes = three();
    let (me, other) = (nodes[0].id(), nodes[1].id());
    let ask = |line: &str| nodes[0].run(&format!("CLUSTER MIGRATESLOTS {line}"));
    assert_eq!(ask(&format!("SLOTSRANGE 0 9 NODE {me}")), "ERR Target node can not be this node");
    assert_eq!(ask(&format!("SLOTSRANGE 16383 16383 NODE {other}")), "ERR Slot 16383 is not served by this node");
    assert_eq!(
        ask(&format!("SLOTSRANGE 0 9 NODE {}", "a".repeat(40))),
        format!("ERR Unknown node name: {}", "a".repeat(40))
    );
    assert_eq!(
        ask(&format!("SLOTSRANGE 9 0 NODE {other}")),
        "ERR start slot number 9 is greater than end slot number 0"
    );
    assert_eq!(nodes[0].run("CLUSTER CANCELSLOTMIGRATIONS"), "ERR No migrations ongoing");
    assert_eq!(nodes[0].run(&format!("CLUSTER SETSLOT 5 MIGRATING {other}")), "OK");
    assert_eq!(ask(&format!("SLOTSRANGE 0 9 NODE {other}")), "ERR Slot 5 is being migrated by CLUSTER SETSLOT");
    // What only nodes say.
    let name = "b".repeat(40);
    let sync = |line: &str| nodes[1].run(&format!("CLUSTER SYNCSLOTS {line}"));
    assert_eq!(sync("NONSENSE"), "ERR syntax error");
    assert_eq!(sync(&format!("ESTABLISH SOURCE {me} NAME {name} SLOTSRANGE 1 2 3")), "ERR syntax error");
    assert_eq!(
        sync(&format!("ESTABLISH SOURCE {me} NAME {name} SLOTSRANGE 16383 16383")),
        "ERR Slot 16383 does not belong to the source node"
    );
    assert_eq!(sync(&format!("FAILOVER NAME {name}")), "ERR No such slot migration on this connection");
    let single = support::Server::start(&[]);
    let text = single.connect().run("CLUSTER MIGRATESLOTS SLOTSRANGE 0 1 NODE x").text();
    assert_eq!(text, "ERR This instance has cluster support disabled");
}

/// A connection that establishes an import by hand may write to these slots alone, and what it wrote goes with it.
#[test]
fn what_was_received_is_removed_when_the_source_is_gone() {
    let nodes = three();
    let (source, target) = (&nodes[0], &nodes[1]);
    let tag = (0..).map(|n| format!("t{n}")).find(|tag| key_slot(tag.as_bytes()) < 5000).unwrap();
    let slot = key_slot(tag.as_bytes());
    let other = (0..).map(|n| format!("t{n}")).find(|tag| key_slot(tag.as_bytes()) > 12000).unwrap();
    let mut conn = target.server.connect();
    let name = "c".repeat(40);
    let line = format!("CLUSTER SYNCSLOTS ESTABLISH SOURCE {} NAME {name} SLOTSRANGE {slot} {slot}", source.id());
    assert_eq!(conn.run(&line).text(), "OK");
    assert_eq!(target.run(&line), format!("ERR Slot {slot} is being migrated already"));
    assert_eq!(conn.run(&format!("SET {tag} arrived")).text(), "OK");
    assert!(conn.run(&format!("SET {other} x")).text().starts_with("MOVED"));
    // To others the key is still the source's.
    assert!(target.run(&format!("GET {tag}")).starts_with("MOVED"));
    assert_eq!(names(target, slot).join(" "), tag);
    // And it does not show.
    assert_eq!(shown(target), (0, 0, 0, true));
    drop(conn);
    wait("the removal of what was received", || names(target, slot).is_empty());
    assert_eq!(
        (state(target), field(target, "message")),
        ("failed".to_owned(), "The source ended the connection".to_owned())
    );
    assert_eq!(source.run(&format!("SET {tag} here")), "OK");
}

/// How many keys DBSIZE (and INFO, which counted those on their way, too), KEYS and SCAN tell of, and whether RANDOMKEY has
/// none.
fn shown(node: &Node) -> (i64, usize, usize, bool) {
    let mut conn = node.server.connect();
    let (counted, info) = (conn.run("DBSIZE").int(), conn.run("INFO keyspace").text());
    let keys = info.lines().find_map(|line| line.strip_prefix("db0:keys=")?.split(',').next()?.parse().ok());
    assert_eq!(keys.unwrap_or(0), counted, "{info}");
    let scanned = conn.run("SCAN 0 COUNT 100000").items()[1].items().len();
    (conn.run("DBSIZE").int(), conn.run("KEYS *").items().len(), scanned, conn.run("RANDOMKEY") == support::Value::Nil)
}

/// Three primaries, the second with a replica.
fn three_and_a_replica() -> (Vec<Node>, Node) {
    let (nodes, replica) = (three(), Node::ours());
    cli(&["add-node", &replica.at(), &nodes[0].at(), "--cluster-slave", "--cluster-master-id", &nodes[1].id()]);
    let mut all: Vec<&Node> = nodes.iter().collect();
    all.push(&replica);
    agree(&all);
    replicas_are_linked(&[&replica]);
    (nodes, replica)
}

/// Keys that were arriving stayed on the target's replica when it took over, beside those of the source.
#[test]
fn a_replica_that_replaces_the_target_removes_what_had_come() {
    let (nodes, replica) = three_and_a_replica();
    let (source, target) = (&nodes[0], &nodes[1]);
    let tag = (0..).map(|n| format!("t{n}")).find(|tag| key_slot(tag.as_bytes()) < 5000).unwrap();
    let slot = key_slot(tag.as_bytes());
    let own = (0..).map(|n| format!("t{n}")).find(|tag| (6000..10_000).contains(&key_slot(tag.as_bytes()))).unwrap();
    assert_eq!(target.run(&format!("SET {own} x")), "OK");
    assert_eq!(source.run(&format!("SET {tag} here")), "OK");
    let mut conn = target.server.connect();
    let name = "d".repeat(40);
    let line = format!("CLUSTER SYNCSLOTS ESTABLISH SOURCE {} NAME {name} SLOTSRANGE {slot} {slot}", source.id());
    assert_eq!(conn.run(&line).text(), "OK");
    assert_eq!(conn.run(&format!("SET {tag} arrived")).text(), "OK");
    wait("the key at the replica", || names(&replica, slot) == [tag.clone()]);
    assert_eq!((state(&replica), field(&replica, "operation")), ("occurring-on-primary".into(), "IMPORT".into()));
    assert_eq!((shown(target), shown(&replica)), ((1, 1, 1, false), (1, 1, 1, false)));
    // A replica that comes only now knows as much.
    let late = Node::ours();
    cli(&["add-node", &late.at(), &nodes[0].at(), "--cluster-slave", "--cluster-master-id", &nodes[1].id()]);
    replicas_are_linked(&[&late]);
    wait("news of the move", || state(&late) == "occurring-on-primary");
    target.server.signal("KILL");
    drop(conn);
    wait("another primary", || leads(&replica) || leads(&late));
    for node in [&replica, &late] {
        wait("the removal", || names(node, slot).is_empty());
        wait("the end", || state(node) == "failed");
        assert_eq!(shown(node), (1, 1, 1, false));
    }
    assert_eq!(source.run(&format!("GET {tag}")), "here");
}

/// The source removes its keys once the target has the slots: the target's replicas must have them by then.
#[test]
fn a_target_that_dies_right_after_the_hand_over_is_replaced_by_a_replica_with_all_keys() {
    let (nodes, replica) = three_and_a_replica();
    fill(&nodes[0], 10_000_000);
    let before = nodes[0].server.connect().run("DBSIZE").int();
    assert_eq!(nodes[0].run(&format!("CLUSTER MIGRATESLOTS SLOTSRANGE 0 5000 NODE {}", nodes[1].id())), "OK");
    wait("the end of the move", || {
        let state = state(&nodes[0]);
        assert!(!["failed", "cancelled"].contains(&&state[..]), "{:?}", newest(&nodes[0]));
        state == "success"
    });
    // They are told of all slots in one order: 5,001 kept them busy for longer than the target waits.
    let calls = |verb: &str| {
        let (stats, name) = (replica.run("INFO commandstats"), format!("cmdstat_cluster|{verb}:calls="));
        stats.lines().find_map(|line| line.strip_prefix(&name)?.split(',').next()?.parse().ok()).unwrap_or(0)
    };
    wait("the end at the replica", || calls("syncslots") == 3);
    assert_eq!(calls("setslot"), 0);
    nodes[1].server.signal("KILL");
    wait("the replica's promotion", || leads(&replica));
    wait("slots at one node", || picture(&nodes[2])[&replica.id()].3.iter().any(|range| range.starts_with("0-")));
    assert_eq!(replica.server.connect().run("DBSIZE").int(), before);
    wait("the removal at the source", || nodes[0].server.connect().run("DBSIZE").int() == 0);
}

/// Slots with much in them, so that there is time to do something in between.
fn fill(node: &Node, bytes: usize) {
    let mut conn = node.server.connect();
    let value = "x".repeat(10_000);
    let tag = (0..).map(|n| format!("t{n}")).find(|tag| key_slot(tag.as_bytes()) < 5000).unwrap();
    for n in 0..bytes / value.len() {
        assert_eq!(conn.run(&format!("SET {{{tag}}}:{n} {value}")).text(), "OK");
    }
}

#[test]
fn a_move_can_be_given_up_and_a_target_that_dies_leaves_the_slots_where_they_are() {
    let nodes = three();
    fill(&nodes[0], 20_000_000);
    let load = Load::start(nodes[0].port());
    load.more(1000);
    let ask = format!("CLUSTER MIGRATESLOTS SLOTSRANGE 0 5000 NODE {}", nodes[1].id());
    let mut conn = nodes[0].server.connect();
    conn.send(
        &["CLUSTER MIGRATESLOTS SLOTSRANGE 0 5000 NODE", &nodes[1].id()]
            .join(" ")
            .split(' ')
            .map(str::as_bytes)
            .collect::<Vec<_>>(),
    );
    conn.send(&[b"CLUSTER", b"CANCELSLOTMIGRATIONS"]);
    assert_eq!((conn.read().text(), conn.read().text()), ("OK".to_owned(), "OK".to_owned()));
    wait("the end", || state(&nodes[0]) == "cancelled");
    wait("the removal", || nodes[1].run("CLUSTER COUNTKEYSINSLOT 1").parse() == Ok(0));
    load.more(500);

    let owner = |node: &Node| picture(&nodes[2])[&node.id()].3.join(" ");
    assert_eq!(owner(&nodes[0]), "0-5460");

    // The target is stopped: it answers nothing, and is given up. The source serves on.
    wait("the removal of the first try", || nodes[1].server.connect().run("DBSIZE").int() < 400);
    load.end(nodes[0].port());
    nodes.iter().for_each(|n| drop(n.run("CONFIG SET cluster-require-full-coverage no")));
    nodes[1].server.signal("STOP");
    assert_eq!(nodes[0].run(&ask), "OK");
    wait("the end", || state(&nodes[0]) == "failed");
    let tag = (0..).map(|n| format!("t{n}")).find(|tag| key_slot(tag.as_bytes()) < 5000).unwrap();
    assert_eq!(nodes[0].run(&format!("SET {tag} written")), "OK");
    nodes[1].server.signal("CONT");
    agree(&nodes.iter().collect::<Vec<_>>());
    assert_eq!(owner(&nodes[0]), "0-5460");
    // And then it works.
    let load = Load::start(nodes[0].port());
    wait("a second try", || nodes[0].run(&ask) == "OK");
    let start = clock::mono_ns();
    succeeds(&nodes[0]);
    println!("20 MB moved in {} ms", (clock::mono_ns() - start) / 1_000_000);
    load.more(500);
    load.end(nodes[0].port());
}

/// Whoever is killed, and whenever: one owner of each slot is left, and every key is with it, once.
#[test]
fn a_death_at_any_moment_leaves_one_owner_with_all_keys() {
    let mut nodes: Vec<Node> = (0..3).map(|_| Node::lasting()).collect();
    let at: Vec<String> = nodes.iter().map(Node::at).collect();
    cli(&["create", &at[0], &at[1], &at[2], "--cluster-yes"]);
    agree(&nodes.iter().collect::<Vec<_>>());
    // Slots 0 to 5460 are the first node's, and go to and fro between it and the second.
    let keys: Vec<String> =
        (0..20_000).map(|n| format!("key:{n}")).filter(|k| key_slot(k.as_bytes()) <= 5460).collect();
    let mut conn = nodes[0].server.connect();
    for part in keys.chunks(500) {
        part.iter().for_each(|key| conn.send(&[b"SET", key.as_bytes(), &[b'x'; 500]]));
        part.iter().for_each(|_| assert_eq!(conn.read().text(), "OK"));
    }
    drop(conn);
    let mut outcomes = [0, 0];
    for round in 0..10u64 {
        let owns = |node: &Node| picture(node)[&node.id()].3.iter().any(|range| range.starts_with("0-"));
        let source = (0..2).find(|&i| owns(&nodes[i])).expect("somebody owns the slots");
        let target = 1 - source;
        let ask = format!("CLUSTER MIGRATESLOTS SLOTSRANGE 0 5460 NODE {}", nodes[target].id());
        wait("a start", || nodes[source].run(&ask) == "OK");
        // From the first moment to about the last.
        clock::pause_us(round * 12_000);
        let victim = if round % 2 == 0 { source } else { target };
        nodes[victim].kill_and_restart();
        agree(&nodes.iter().collect::<Vec<_>>());
        wait("an end of the migration", || {
            let ended = |node: &Node| ["", "success", "failed", "cancelled"].contains(&&state(node)[..]);
            ended(&nodes[0]) && ended(&nodes[1])
        });
        // The end may have changed the owner once more.
        agree(&nodes.iter().collect::<Vec<_>>());
        let owners: Vec<usize> = (0..3).filter(|&i| owns(&nodes[i])).collect();
        assert_eq!(owners.len(), 1, "round {round}");
        let owner = owners[0];
        outcomes[usize::from(owner == target)] += 1;
        let mut conn = nodes[owner].server.connect();
        keys.iter().for_each(|key| conn.send(&[b"STRLEN", key.as_bytes()]));
        let found = keys.iter().filter(|_| conn.read().int() == 500).count();
        assert_eq!(found, keys.len(), "round {round}");
        // What the other one had is removed, also where it died and loaded it again.
        let other = &nodes[1 - owner];
        wait("the removal", || other.server.connect().run("DBSIZE").int() == 0);
        assert!(other.run(&format!("GET {}", keys[0])).starts_with("MOVED"), "round {round}");
    }
    println!("the slots stayed in {} rounds and moved in {}", outcomes[0], outcomes[1]);
}

/// A primary that gave its last slot away was elected in its new shard, before it had anything of it: its offset was that
/// of its old history.
#[test]
fn who_comes_from_another_shard_tells_no_offset_until_it_has_the_data() {
    let nodes = three();
    nodes[2].run("CONFIG SET repl-diskless-sync-delay 1000");
    let mut conn = nodes[0].server.connect();
    let tag = (0..).map(|n| format!("t{n}")).find(|tag| key_slot(tag.as_bytes()) < 5000).unwrap();
    for _ in 0..1000 {
        conn.run(&format!("INCR {tag}"));
    }
    let reply = nodes[0].run(&format!("CLUSTER MIGRATESLOTS SLOTSRANGE 0 5460 NODE {}", nodes[2].id()));
    assert_eq!(reply, "OK");
    let id = nodes[0].id();
    let offset = |node: &Node| {
        let shards = node.server.connect().run("CLUSTER SHARDS");
        let mut nodes = shards.items().iter().flat_map(|shard| shard.items()[3].items().to_vec());
        let mine = nodes.find(|node| node.items()[1].text() == id)?;
        let at = mine.items().iter().position(|field| field.text_or("") == "replication-offset")?;
        Some((mine.items()[at + 1].int(), mine.items().iter().any(|field| field.text_or("") == "replica")))
    };
    wait("a replica that has nothing yet", || offset(&nodes[1]) == Some((0, true)));
    nodes[2].run("CONFIG SET repl-diskless-sync-delay 0");
    replicas_are_linked(&[&nodes[0]]);
    wait("its place in the new history", || offset(&nodes[1]).is_some_and(|(offset, _)| offset > 0));
}
