//! Commands about slots, most on a cluster of one node: CLUSTER SLOT-STATS, FLUSHSLOT and CLUSTERSCAN; transactions.

mod support;

use std::collections::BTreeSet;

use dunlin::base::slot::key_slot;
use support::cluster::{Node, agree, cli, three, wait};
use support::{Conn, Value};

fn single() -> Node {
    let node = Node::ours();
    assert_eq!(node.run("CLUSTER ADDSLOTSRANGE 0 16383"), "OK");
    wait("a cluster", || node.run("CLUSTER INFO").contains("cluster_state:ok"));
    node
}

/// The statistics of one slot, as a line.
fn stats(conn: &mut Conn, slot: u16) -> String {
    let reply = conn.run(&format!("CLUSTER SLOT-STATS SLOTSRANGE {slot} {slot}"));
    let row = reply.items()[0].items();
    format!("{} {}", row[0].int(), row[1].texts().join(" "))
}

#[test]
fn sort_follows_patterns_within_the_slot_of_its_key_only() {
    let node = single();
    let mut c = node.server.connect();
    c.run("RPUSH {t}l 2 1 3");
    c.run("MSET {t}w1 30 {t}w2 20 {t}w3 10 {t}w 5");
    assert_eq!(c.run("SORT {t}l BY {t}w*").texts(), ["3", "2", "1"]);
    assert_eq!(c.run("SORT {t}l BY {t}w* GET # GET {t}w*").texts(), ["3", "10", "2", "20", "1", "30"]);
    assert_eq!(c.run("SORT {t}l BY none").texts(), ["2", "1", "3"], "no pattern leads nowhere");
    let denied = "denied in Cluster mode when keys formed by the pattern may be in different slots.";
    for pattern in ["w*", "{u}w*", "*{t}", "{t*}", "{t\\}w*", "{}*"] {
        assert_eq!(
            c.run(&format!("SORT {{t}}l BY {pattern}")).text(),
            format!("ERR BY option of SORT {denied}"),
            "{pattern}"
        );
        assert_eq!(c.run(&format!("SORT_RO {{t}}l GET {pattern}")).text(), format!("ERR GET option of SORT {denied}"));
    }
    assert_eq!(c.run("SORT {t}l GET other").text(), format!("ERR GET option of SORT {denied}"));
}

#[test]
fn slot_stats_count_what_is_spent_on_slots() {
    let node = single();
    let mut c = node.server.connect();
    let slot = key_slot(b"key");
    assert_eq!(c.run("SET key value").text(), "OK");
    assert_eq!(stats(&mut c, slot), format!("{slot} key-count 1"));
    assert_eq!(c.run("CLUSTER SLOT-STATS ORDERBY cpu-usec").text(), "ERR Unrecognized sort metric for ORDERBY.");
    c.run("CONFIG SET cluster-slot-stats-enabled yes");
    assert_eq!(c.run("GET key").text(), "value");
    let line = stats(&mut c, slot);
    // *2 $3 GET $3 key, and $5 value.
    assert!(line.contains("network-bytes-in 22 ") && line.ends_with("network-bytes-out 11"), "{line}");
    for n in 0..50 {
        c.run(&format!("SET {{heavy}}:{n} {}", "x".repeat(1000)));
    }
    let heavy = i64::from(key_slot(b"heavy"));
    for metric in ["key-count", "cpu-usec", "network-bytes-in", "network-bytes-out"] {
        let reply = c.run(&format!("CLUSTER SLOT-STATS ORDERBY {metric} LIMIT 2"));
        assert_eq!((reply.items().len(), reply.items()[0].items()[0].int()), (2, heavy), "{metric}");
    }
    let least = c.run("CLUSTER SLOT-STATS ORDERBY key-count LIMIT 1 ASC");
    assert_eq!(least.items()[0].items()[0].int(), 0);
    c.run("CONFIG RESETSTAT");
    assert_eq!(stats(&mut c, slot), format!("{slot} key-count 1 cpu-usec 0 network-bytes-in 0 network-bytes-out 0"));
    for (line, error) in [
        ("SLOTSRANGE 5 4", "ERR Start slot number 5 is greater than end slot number 4"),
        ("SLOTSRANGE 0 16384", "ERR Invalid or out of range slot"),
        ("SLOTSRANGE 0", "ERR unknown subcommand or wrong number of arguments for 'SLOT-STATS'. Try CLUSTER HELP."),
        ("ORDERBY key-count LIMIT 0", "ERR Limit has to lie in between 1 and 16384 (maximum number of slots)."),
        ("ORDERBY key-count ASC DESC", "ERR Multiple filters of the same type are disallowed."),
        ("ORDERBY key-count UP", "ERR syntax error"),
    ] {
        assert_eq!(c.run(&format!("CLUSTER SLOT-STATS {line}")).text(), error, "{line}");
    }
}

/// Once an inline request counted as long as it is in RESP.
#[test]
fn slot_stats_count_inline_requests_as_they_came() {
    let node = single();
    let mut c = node.server.connect();
    c.run("CONFIG SET cluster-slot-stats-enabled yes");
    let slot = key_slot(b"key");
    let mut received = |bytes: &str, replies: usize| {
        c.run("CONFIG RESETSTAT");
        c.send_raw(bytes.as_bytes());
        (0..replies).for_each(|_| drop(c.read()));
        let line = stats(&mut c, slot);
        line.split(' ').nth(6).unwrap().parse::<usize>().unwrap()
    };
    assert_eq!(received("SET key value\r\n", 1), 15);
    // As Valkey counts: a space between two words, and no quotes.
    assert_eq!(received("SET   key \"v\\x41\"\n", 1), "SET key vA\r\n".len());
    let get = "*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n";
    assert_eq!(received(&format!("{get}GET key\r\n{get}"), 3), 2 * get.len() + 9, "in one pipeline");
    let multi = "*1\r\n$5\r\nmulti\r\n";
    assert_eq!(received(&format!("{multi}{get}GET key\r\nEXEC\r\n"), 4), multi.len() + get.len() + 9 + 6);
    c.run("DEL key");
    let mut other = node.server.connect();
    other.send_raw(b"BLPOP key 0\r\n");
    wait("it to block", || node.run("INFO clients").contains("blocked_clients:1"));
    c.run("CONFIG RESETSTAT");
    c.run("RPUSH key value");
    other.read();
    let line = stats(&mut c, slot);
    let push = dunlin::keyspace::request_len(&[b"RPUSH", b"key", b"value"]);
    assert!(line.contains(&format!("network-bytes-in {} ", push + "BLPOP key 0\r\n".len())), "{line}");
}

/// Transactions and scripts count as a whole, if they keep to one slot; what a client is not told counts nowhere.
#[test]
fn slot_stats_count_transactions_scripts_messages_and_replication() {
    let (node, replica) = (single(), Node::ours());
    cli(&["add-node", &replica.at(), &node.at(), "--cluster-slave", "--cluster-master-id", &node.id()]);
    agree(&[&node, &replica]);
    wait("the link", || replica.run("INFO replication").contains("master_link_status:up"));
    let (mut c, mut r) = (node.server.connect(), replica.server.connect());
    for conn in [&mut c, &mut r] {
        conn.run("CONFIG SET cluster-slot-stats-enabled yes");
    }
    let slot = key_slot(b"key");
    // By name, since the last reset.
    let spent = |conn: &mut Conn, slot: u16| {
        let line = stats(conn, slot);
        let words: Vec<String> = line.split(' ').skip(3).map(str::to_owned).collect();
        conn.run("CONFIG RESETSTAT");
        [1, 3, 5].map(|n| words[n].parse::<u64>().unwrap())
    };
    c.run("CONFIG RESETSTAT");
    // A write: the reply is +OK, and the replica gets the request once more.
    c.run("SET key value");
    assert_eq!(spent(&mut c, slot)[1..], [33, 5 + 33]);
    wait("the replica has it", || replica.run("INFO commandstats").contains("cmdstat_set:calls=1"));
    let on_replica = spent(&mut r, slot);
    assert_eq!(on_replica[1..], [33, 0], "its primary gets no reply");
    // MULTI, GET, SET and EXEC; the reply of EXEC; the replica gets the SET.
    for line in ["MULTI", "GET key", "SET key value", "EXEC"] {
        c.run(line);
    }
    let (bytes, reply) = (15 + 22 + 33 + 14, "*2\r\n$5\r\nvalue\r\n+OK\r\n".len() as u64);
    let of_exec = spent(&mut c, slot);
    assert_eq!(of_exec[1..], [bytes, reply + 33]);
    // A script without declared keys, of one slot and of two.
    let eval = |code: &str, flags: &str| format!("#!lua {flags}\n{code}");
    let code = eval("redis.call('get', 'key') return redis.call('get', 'key')", "flags=no-writes");
    assert_eq!(c.command(&[b"EVAL", code.as_bytes(), b"0"]).text(), "value");
    let length = dunlin::keyspace::request_len(&[b"EVAL", code.as_bytes(), b"0"]) as u64;
    assert_eq!(spent(&mut c, slot)[1..], [length, 11]);
    let code = eval("redis.call('get', 'key') redis.call('get', 'other')", "flags=allow-cross-slot-keys");
    c.command(&[b"EVAL", code.as_bytes(), b"0"]);
    for slot in [slot, key_slot(b"other")] {
        assert_eq!(stats(&mut c, slot).matches(" 0").count(), 3 + usize::from(slot != key_slot(b"key")), "{slot}");
    }
    c.run("CONFIG RESETSTAT");
    // A message to two subscribers of the shard channel.
    let mut subscribers = [node.server.connect(), node.server.connect()];
    subscribers.iter_mut().for_each(|s| drop(s.run("SSUBSCRIBE key")));
    c.run("CONFIG RESETSTAT");
    assert_eq!(c.run("SPUBLISH key hello").int(), 2);
    let message = "*3\r\n$8\r\nsmessage\r\n$3\r\nkey\r\n$5\r\nhello\r\n".len() as u64;
    assert_eq!(spent(&mut c, slot)[1..], [message, 4 + 2 * message]);
    // A slot that goes takes its statistics with it.
    c.run("SET key value");
    c.run(&format!("CLUSTER DELSLOTS {slot}"));
    c.run(&format!("CLUSTER ADDSLOTS {slot}"));
    assert_eq!(spent(&mut c, slot), [0, 0, 0]);
}

#[test]
fn flushslot_empties_one_slot_here_and_on_replicas() {
    let (node, replica) = (single(), Node::ours());
    cli(&["add-node", &replica.at(), &node.at(), "--cluster-slave", "--cluster-master-id", &node.id()]);
    agree(&[&node, &replica]);
    let mut c = node.server.connect();
    for n in 0..1000 {
        c.run(&format!("SET {{a}}:{n} x"));
    }
    c.run("SET b stays");
    let slot = key_slot(b"a");
    assert_eq!(c.run(&format!("CLUSTER FLUSHSLOT {slot} SYNC")).text(), "OK");
    assert_eq!(c.run("DBSIZE").int(), 1);
    wait("the replica", || replica.server.connect().run("DBSIZE") == Value::Int(1));
    assert_eq!(c.run(&format!("CLUSTER FLUSHSLOT {slot}")).text(), "OK");
    assert_eq!(c.run("CLUSTER FLUSHSLOT 16384").text(), "ERR Invalid or out of range slot");
    assert_eq!(c.run("CLUSTER FLUSHSLOT 1 LATER").text(), "ERR syntax error");
    assert!(replica.run("CLUSTER FLUSHSLOT 1").starts_with("READONLY"));
}

/// Whoever waited for a key of a slot without keys went on waiting at the node that the slot had left, and nobody heard that
/// the cluster was down.
#[test]
fn clients_that_wait_for_keys_hear_that_their_slot_is_gone() {
    let nodes = three();
    let (from, to) = (&nodes[2], &nodes[0]);
    // The first slot of the third node.
    let (key, slot) = ("key9184688", 10923);
    assert_eq!(key_slot(key.as_bytes()), slot);
    let mut waiting = from.server.connect();
    let block = |conn: &mut Conn, key: &str| {
        conn.send(&[b"BRPOP", key.as_bytes(), b"0"]);
        wait("a client that waits", || from.run("INFO clients").contains("blocked_clients:1"));
    };
    block(&mut waiting, key);
    for node in [to, from] {
        assert_eq!(node.run(&format!("CLUSTER SETSLOT {slot} NODE {}", to.id())), "OK");
    }
    assert_eq!(waiting.read().text(), format!("MOVED {slot} 127.0.0.1:{}", to.port()));
    // What it waits for now stays where it is; but a slot without an owner makes the cluster one that is down.
    let other = (0..).map(|n| format!("k{n}")).find(|k| (11_000..16_000).contains(&key_slot(k.as_bytes()))).unwrap();
    block(&mut waiting, &other);
    assert_eq!(from.run("CLUSTER DELSLOTS 16383"), "OK");
    assert_eq!(waiting.read().text(), "CLUSTERDOWN The cluster is down");
    let stats = from.run("INFO all");
    assert!(stats.contains("errorstat_MOVED:count=1") && stats.contains("errorstat_CLUSTERDOWN:count=1"), "{stats}");
    assert!(stats.lines().any(|l| l.starts_with("cmdstat_brpop:calls=2,") && l.ends_with("failed_calls=2")), "{stats}");
}

/// Only what waits to be sent was counted, which is next to nothing most of the time.
#[test]
fn what_links_of_the_bus_take_is_counted() {
    let nodes = three();
    // Each has two links in each direction, with room for 16 KB.
    wait("the memory of links", || {
        let memory = |node: &Node| node.server.connect().info("mem_cluster_links").parse::<usize>().unwrap();
        nodes.iter().all(|node| memory(node) >= 4 * (16 << 10))
    });
    let stats = nodes[0].server.connect().run("MEMORY STATS");
    let links = stats.items().chunks(2).find(|pair| pair[0].text() == "cluster.links").unwrap();
    assert!(links[1].int() >= 4 * (16 << 10), "{links:?}");
    assert_eq!(single().server.connect().info("mem_cluster_links"), "0", "a node alone has no links");
}

#[test]
fn clusterscan_returns_every_key_of_a_cluster_that_changes() {
    let nodes = three();
    let mut conns: Vec<Conn> = nodes.iter().map(|n| n.server.connect()).collect();
    // Some command, wherever it leads.
    let mut ask = |line: &str| loop {
        for conn in &mut conns {
            let reply = conn.run(line);
            if !reply.is_error() || !reply.text().starts_with("MOVED") {
                return reply;
            }
        }
    };
    let mut wanted = BTreeSet::new();
    for n in 0..3000 {
        let key = if n % 3 == 0 { format!("{{one}}:{n}") } else { format!("key:{n}") };
        ask(&format!("SET {key} x"));
        wanted.insert(key);
    }
    assert_eq!(ask("CLUSTERSCAN 7").text(), "ERR invalid cursor");
    assert_eq!(ask("SCAN 0 SLOT 5").text(), "ERR syntax error");
    let (mut cursor, mut found, mut calls) = ("0".to_owned(), BTreeSet::new(), 0);
    loop {
        let reply = ask(&format!("CLUSTERSCAN {cursor} COUNT 100"));
        found.extend(reply.items()[1].texts());
        cursor = reply.items()[0].text();
        calls += 1;
        if calls == 8000 {
            // The slots of the third node go to the first in the middle of it.
            let line = format!("CLUSTER MIGRATESLOTS SLOTSRANGE 10923 16382 NODE {}", nodes[0].id());
            assert_eq!(nodes[2].run(&line), "OK");
        }
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(found, wanted);
    let slot = key_slot(b"one");
    let (mut cursor, mut found) = ("0".to_owned(), BTreeSet::new());
    loop {
        let reply = ask(&format!("CLUSTERSCAN {cursor} SLOT {slot} MATCH *:*0"));
        found.extend(reply.items()[1].texts());
        cursor = reply.items()[0].text();
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(found.len(), wanted.iter().filter(|key| key.starts_with("{one}") && key.ends_with('0')).count());
}

#[test]
fn a_rewritten_configuration_of_a_replica_in_a_cluster_starts_again() {
    let (node, replica) = (single(), Node::ours());
    cli(&["add-node", &replica.at(), &node.at(), "--cluster-slave", "--cluster-master-id", &node.id()]);
    agree(&[&node, &replica]);
    let dir = support::TempDir::new();
    let path = dir.file("dunlin.conf", "cluster-enabled yes\n");
    let port = support::free_port();
    let mut command = support::dunlin();
    command.current_dir(&dir.0).arg(&path).args(["--port", &port.to_string(), "--save", ""]);
    let other = support::Server::run(command, port);
    let line = format!("CLUSTER MEET 127.0.0.1 {}", node.port());
    assert_eq!(other.connect().run(&line).text(), "OK");
    other.connect().until("a meeting", |c| c.run("CLUSTER NODES").text().contains(&node.at()));
    wait("a replica", || other.connect().run(&format!("CLUSTER REPLICATE {}", node.id())).text() == "OK");
    other.connect().until("a link", |c| c.run("INFO replication").text().contains("master_link_status:up"));
    assert_eq!(other.connect().run("CONFIG REWRITE").text(), "OK");
    assert!(!std::fs::read_to_string(&path).unwrap().contains("replicaof"));
    drop(other);
    let mut command = support::dunlin();
    command.current_dir(&dir.0).arg(&path);
    support::Server::run(command, port)
        .connect()
        .until("a link", |c| c.run("INFO replication").text().contains("master_link_status:up"));
}

/// It once took its snapshot for that of a primary, began a history of its own, and had to get all data again.
#[test]
fn a_replica_of_a_cluster_that_restarts_goes_on_from_its_snapshot() {
    let (node, mut replica) = (single(), Node::ours());
    cli(&["add-node", &replica.at(), &node.at(), "--cluster-slave", "--cluster-master-id", &node.id()]);
    agree(&[&node, &replica]);
    assert_eq!(node.run("SET before 1 PX 1000"), "OK");
    wait("the key", || replica.run("DBSIZE") == "1");
    assert_eq!(replica.run("SAVE"), "OK");
    replica.server.signal("STOP");
    assert_eq!(node.run("SET after 1"), "OK");
    wait("the end of the key", || node.run("EXISTS before") == "0");
    replica.kill_and_run(support::dunlin());
    wait("the link", || replica.run("INFO replication").contains("master_link_status:up"));
    let stats = node.run("INFO stats");
    assert!(stats.contains("sync_full:1\r\n") && stats.contains("sync_partial_ok:1\r\n"), "{stats}");
    wait("the data", || replica.run("DEBUG DIGEST") == node.run("DEBUG DIGEST"));
}

/// Keys from a file that no slot of the node covers: slots that nobody has are taken.
#[test]
fn keys_that_are_loaded_for_unassigned_slots_bring_their_slots_with_them() {
    let dir = support::TempDir::new();
    let start = |cluster: &str| {
        let port = support::free_port();
        let mut command = support::dunlin();
        command.current_dir(&dir.0).args(["--port", &port.to_string(), "--cluster-enabled", cluster]);
        support::Server::run(command, port)
    };
    let single = start("no");
    assert_eq!(single.connect().run("SET key value").text(), "OK");
    assert_eq!(single.connect().run("SAVE").text(), "OK");
    drop(single);
    let node = start("yes");
    let nodes = node.connect().run("CLUSTER NODES").text();
    assert!(nodes.trim_end().ends_with(&format!(" {}", key_slot(b"key"))), "{nodes}");
}

/// ASK and TRYAGAIN came with EXEC only; ASKING ended with MULTI; and one key in two commands was taken for two keys.
#[test]
fn a_transaction_hears_of_keys_on_the_move_when_they_are_queued() {
    let nodes = three();
    let (source, target) = (&nodes[0], &nodes[1]);
    let tag = (0..).map(|n| format!("t{n}")).find(|tag| key_slot(tag.as_bytes()) < 5000).unwrap();
    let slot = key_slot(tag.as_bytes());
    let (here, gone, third) = (format!("{{{tag}}}here"), format!("{{{tag}}}gone"), format!("{{{tag}}}third"));
    assert_eq!(source.run(&format!("SET {here} v")), "OK");
    assert_eq!(target.run(&format!("CLUSTER SETSLOT {slot} IMPORTING {}", source.id())), "OK");
    assert_eq!(source.run(&format!("CLUSTER SETSLOT {slot} MIGRATING {}", target.id())), "OK");
    const ABORTED: &str = "EXECABORT Transaction discarded because of previous errors.";
    let transaction = |node: &Node, lines: &[&str]| {
        let mut conn = node.server.connect();
        let brief = |reply: Value| if let Value::Array(_) = reply { "values".to_owned() } else { reply.text() };
        lines.iter().map(|line| brief(conn.run(line))).collect::<Vec<_>>()
    };
    let ask = format!("ASK {slot} 127.0.0.1:{}", target.port());
    let moved = format!("MOVED {slot} 127.0.0.1:{}", source.port());
    let again = "TRYAGAIN Multiple keys request during rehashing of slot";
    let (get_here, get_gone, both) = (format!("GET {here}"), format!("GET {gone}"), format!("MGET {here} {gone}"));
    let run = |lines: &[&str]| transaction(source, lines);
    assert_eq!(run(&["MULTI", &get_here, "EXEC"]), ["OK", "QUEUED", "values"]);
    assert_eq!(run(&["MULTI", &get_here, &get_gone, "EXEC"]), ["OK", "QUEUED", &ask, ABORTED]);
    assert_eq!(run(&["MULTI", &both, &get_here, "EXEC"]), ["OK", again, "QUEUED", ABORTED]);
    assert_eq!(run(&["MULTI", "MGET a b", "EXEC"])[1], "CROSSSLOT Keys in request don't hash to the same slot");
    // A key that leaves after it was queued: EXEC itself is sent away, and the transaction is over.
    let (mut conn, mut other) = (source.server.connect(), source.server.connect());
    assert_eq!((conn.run("MULTI").text(), conn.run(&get_here).text()), ("OK".into(), "QUEUED".into()));
    assert_eq!(other.run(&format!("MIGRATE 127.0.0.1 {} {here} 0 5000", target.port())).text(), "OK");
    assert_eq!((conn.run("EXEC").text(), conn.run("EXEC").text()), (ask, "ERR EXEC without MULTI".into()));
    // ASKING before MULTI holds for the whole transaction, and for nothing after it.
    let run = |lines: &[&str]| transaction(target, lines);
    let (set, incr, pair) = (format!("SET {gone} 1"), format!("INCR {gone}"), format!("MGET {gone} {third}"));
    let done = ["OK", "OK", "QUEUED", "QUEUED", "values", &moved];
    assert_eq!(run(&["ASKING", "MULTI", &set, &incr, "EXEC", &get_gone]), done);
    assert_eq!(run(&["ASKING", &format!("MGET {third} {third}")]), ["OK", "values"], "one key");
    assert_eq!(run(&["ASKING", "MULTI", &pair, "EXEC"]), ["OK", "OK", again, ABORTED]);
    assert_eq!(run(&["ASKING", "MULTI", &get_here, "DISCARD", &get_here]), ["OK", "OK", "QUEUED", "OK", &moved]);
    assert_eq!(run(&["MULTI", &get_here, "EXEC"]), ["OK", &moved, ABORTED]);
}
