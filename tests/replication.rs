//! Primaries and replicas, ours and Redis's, in both roles, under load and with links that break.

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::time::Duration;

use support::replicas::Kind::{self, Dunlin, Redis};
use support::replicas::{Cable, Node, Writers, assert_in_step, now, wait};
use support::{Conn, PATIENCE, Server, TempDir, dunlin, free_port};

/// How often links are cut: more often in a long run.
fn cuts() -> usize {
    std::env::var("DUNLIN_CUTS").ok().and_then(|n| n.parse().ok()).unwrap_or(4)
}

fn links_break_and_heal(primary: Kind, replica: Kind) {
    let primary_node = Node::start(primary, &[]);
    let replica_node = Node::start(replica, &[]);
    let cable = Cable::to(primary_node.port());
    let writers = Writers::start(primary_node.port(), 4);
    let start = now();
    writers.more(5_000);
    replica_node.follow(cable.port);
    wait("the first synchronization", || replica_node.info("master_link_status") == "up");
    for _ in 0..cuts() {
        writers.more(5_000);
        let before: usize = primary_node.info("sync_partial_ok").parse().unwrap();
        cable.cut();
        wait("the link again", || primary_node.info("sync_partial_ok").parse::<usize>().unwrap() > before);
        wait("the link again", || replica_node.info("master_link_status") == "up");
        // Writers that have the machine for themselves would fill the backlog in a few cuts without this.
        let offset = primary_node.offset();
        wait("what was missed", || replica_node.offset() >= offset);
    }
    writers.more(5_000);
    let rate = writers.written.load(Acquire) as f64 / start.elapsed().as_secs_f64();
    println!("{primary:?} to {replica:?}: {rate:.0} writes a second meanwhile");
    writers.stop();
    assert_in_step(&primary_node, &replica_node, "after the cuts");
    assert_eq!(primary_node.info("sync_full"), "1", "{primary:?} to {replica:?}: the rest is partial");
    assert!(primary_node.info("sync_partial_ok").parse::<usize>().unwrap() >= cuts());
}

#[test]
fn redis_follows_dunlin_over_a_link_that_breaks() {
    links_break_and_heal(Dunlin, Redis);
}

#[test]
fn dunlin_follows_redis_over_a_link_that_breaks() {
    links_break_and_heal(Redis, Dunlin);
}

#[test]
fn dunlin_follows_dunlin_over_a_link_that_breaks() {
    links_break_and_heal(Dunlin, Dunlin);
}

#[test]
fn killed_replicas_and_restarted_primaries_come_back_to_equal_data() {
    for (of, by) in [(Dunlin, Redis), (Redis, Dunlin), (Dunlin, Dunlin)] {
        let saves = ["--save", "3600 1"];
        let (mut primary, mut replica) = (Node::start(of, &saves), Node::start(by, &[]));
        let address = format!("127.0.0.1 {}", primary.port());
        replica.follow(primary.port());
        let writers = Writers::start(primary.port(), 2);
        writers.more(10_000);
        replica = replica.restart(by, "KILL", &["--replicaof", &address]);
        writers.more(10_000);
        writers.stop();
        wait("the link", || replica.info("master_link_status") == "up");
        assert_in_step(&primary, &replica, &format!("{by:?} killed, which follows {of:?}"));
        primary = primary.restart(of, "TERM", &saves);
        let writers = Writers::start(primary.port(), 2);
        writers.more(10_000);
        writers.stop();
        wait("the link", || replica.info("master_link_status") == "up");
        assert_in_step(&primary, &replica, &format!("{of:?} restarted, which {by:?} follows"));
    }
}

#[test]
fn a_chain_of_replicas_passes_the_stream_on_byte_for_byte() {
    let nodes = [Node::start(Dunlin, &[]), Node::start(Dunlin, &[]), Node::start(Redis, &[]), Node::start(Dunlin, &[])];
    for pair in nodes.windows(2) {
        pair[1].follow(pair[0].port());
        wait("the link", || pair[1].info("master_link_status") == "up");
    }
    let writers = Writers::start(nodes[0].port(), 3);
    writers.more(20_000);
    writers.stop();
    for replica in &nodes[1..] {
        assert_in_step(&nodes[0], replica, "at the end of the chain");
        assert_eq!(replica.info("master_replid"), nodes[0].info("master_replid"));
    }
}

#[test]
fn a_promoted_replica_is_followed_without_a_full_synchronization() {
    for (old, new, other) in [(Dunlin, Dunlin, Redis), (Redis, Dunlin, Dunlin), (Dunlin, Redis, Dunlin)] {
        let nodes = [Node::start(old, &[]), Node::start(new, &[]), Node::start(other, &[])];
        nodes[1].follow(nodes[0].port());
        nodes[2].follow(nodes[0].port());
        let writers = Writers::start(nodes[0].port(), 2);
        writers.more(10_000);
        writers.stop();
        assert_in_step(&nodes[0], &nodes[1], "before");
        assert_in_step(&nodes[0], &nodes[2], "before");
        assert_eq!(nodes[1].conn().run("REPLICAOF NO ONE").text(), "OK");
        nodes[2].follow(nodes[1].port());
        nodes[0].follow(nodes[1].port());
        let writers = Writers::start(nodes[1].port(), 2);
        writers.more(10_000);
        writers.stop();
        assert_in_step(&nodes[1], &nodes[2], "after the promotion");
        assert_in_step(&nodes[1], &nodes[0], "after the promotion");
        assert_eq!(nodes[1].info("sync_full"), "0", "{old:?} {new:?} {other:?}");
    }
}

#[test]
fn failover_hands_over_without_losing_a_write() {
    for (old, new) in [(Dunlin, Dunlin), (Dunlin, Redis), (Redis, Dunlin)] {
        let nodes = [Node::start(old, &[]), Node::start(new, &[])];
        nodes[1].follow(nodes[0].port());
        wait("the link", || nodes[1].info("master_link_status") == "up");
        // Counts what was acknowledged, by whichever of the two is the primary.
        let stop = Arc::new(AtomicBool::new(false));
        let (halt, port) = (stop.clone(), nodes[0].port());
        let counter = std::thread::spawn(move || {
            let mut c = Conn::open(port);
            let mut acknowledged = 0;
            for _ in 0..1_000_000 {
                if halt.load(Acquire) {
                    break;
                }
                match c.run("INCR counter") {
                    support::Value::Int(n) => acknowledged = n,
                    // From now on it is a replica.
                    _ => break,
                }
            }
            acknowledged
        });
        wait("some writes", || nodes[0].conn().run("STRLEN counter").int() > 2);
        assert_eq!(nodes[0].conn().run("FAILOVER TIMEOUT 10000").text(), "OK");
        wait("the new primary", || nodes[1].info("role") == "master");
        wait("the old primary's link", || nodes[0].info("master_link_status") == "up");
        stop.store(true, Release);
        let acknowledged = counter.join().unwrap();
        assert_eq!(nodes[1].conn().run("GET counter").text(), acknowledged.to_string(), "{old:?} {new:?}");
        assert_eq!(nodes[0].info("master_failover_state"), "no-failover");
        nodes[1].conn().run("SET more 1");
        assert_in_step(&nodes[1], &nodes[0], "after the failover");
        assert_eq!(nodes[1].info("sync_full"), "0");
    }
}

#[test]
fn a_failover_that_cannot_be_is_given_up_and_writes_go_on() {
    let nodes = [Node::start(Dunlin, &[]), Node::start(Dunlin, &[])];
    let mut c = nodes[0].conn();
    assert_eq!(c.run("FAILOVER").text(), "ERR FAILOVER requires connected replicas.");
    assert_eq!(c.run("FAILOVER ABORT").text(), "ERR No failover in progress.");
    nodes[1].follow(nodes[0].port());
    wait("the link", || nodes[1].info("master_link_status") == "up");
    assert_eq!(c.run("FAILOVER TO 127.0.0.1 1").text(), "ERR FAILOVER target HOST and PORT is not a replica.");
    assert_eq!(
        c.run("FAILOVER FORCE").text(),
        "ERR FAILOVER with force option requires both a timeout and target HOST and IP."
    );
    assert_eq!(c.run("FAILOVER TIMEOUT -1").text(), "ERR FAILOVER timeout must be greater than 0");
    // A replica that stands still is never in step.
    nodes[1].server.signal("STOP");
    c.run("SET a 1");
    assert_eq!(c.run("FAILOVER TIMEOUT 200").text(), "OK");
    assert_eq!(c.run("FAILOVER").text(), "ERR FAILOVER already in progress.");
    assert_eq!(c.info("master_failover_state"), "waiting-for-sync");
    // The pause is the failover's, whatever clients do about theirs.
    c.run("CLIENT PAUSE 1 WRITE");
    c.run("CLIENT UNPAUSE");
    assert_eq!((c.info("paused_reason"), c.info("paused_actions")), ("failover_in_progress".into(), "write".into()));
    assert_eq!(c.run("SET a 2").text(), "OK", "held back until it is given up");
    assert_eq!(c.info("master_failover_state"), "no-failover");
    nodes[1].server.signal("CONT");
    assert_in_step(&nodes[0], &nodes[1], "afterwards");
}

#[test]
fn wait_counts_the_replicas_that_have_a_write() {
    let primary = Node::start(Dunlin, &[]);
    let replicas = [Node::start(Dunlin, &[]), Node::start(Redis, &[])];
    let mut c = primary.conn();
    assert_eq!(c.run("WAIT 1 50").int(), 0);
    for r in &replicas {
        r.follow(primary.port());
    }
    wait("the replicas", || primary.info("connected_slaves") == "2" && c.run("WAIT 2 100").int() == 2);
    c.run("SET a 1");
    assert_eq!(c.run("WAIT 2 10000").int(), 2);
    replicas[0].server.signal("STOP");
    c.run("SET a 2");
    assert_eq!(c.run("WAIT 1 10000").int(), 1);
    assert_eq!(c.run("WAIT 2 100").int(), 1, "as many as there are when the time is up");
    replicas[0].server.signal("CONT");
    assert_eq!(c.run("WAIT 2 10000").int(), 2);
    assert!(replicas[0].conn().run("WAIT 1 1").text().starts_with("ERR WAIT cannot be used with replica instances"));
    assert_eq!(c.run("WAIT 1 -1").text(), "ERR timeout is negative");
    // In a script it counted replicas that have nothing at all.
    replicas[0].server.signal("STOP");
    c.run("SET a 3");
    assert_eq!(c.run("WAIT 1 10000").int(), 1);
    let script: &[&[u8]] = &[b"EVAL", b"return redis.call('WAIT', 2, 0)", b"0"];
    assert_eq!(c.command(script).int(), 1);
    replicas[0].server.signal("CONT");
    // It waited for ever.
    assert_eq!(c.run("WAIT 3 9223372036854775807").text(), "ERR timeout is out of range");
    assert!(c.run("WAITAOF 1 0 0").text().contains("appendonly is disabled"));
}

#[test]
fn a_replica_refuses_writes_and_hides_what_its_primary_has_not_removed_yet() {
    let primary = Node::start(Dunlin, &[]);
    let replica = Node::start(Dunlin, &[]);
    let (mut p, mut c) = (primary.conn(), replica.conn());
    replica.follow(primary.port());
    wait("the link", || replica.info("master_link_status") == "up");
    assert_eq!(c.run("SET a 1").text(), "READONLY You can't write against a read only replica.");
    assert_eq!(
        c.run("ROLE").items()[..2],
        [support::Value::Bulk(b"slave".into()), support::Value::Bulk(b"127.0.0.1".into())]
    );
    // The primary is kept from removing the key.
    p.run("DEBUG SET-ACTIVE-EXPIRE 0");
    p.run("SET k v PX 50");
    p.run("SET other 1");
    assert_eq!(p.run("WAIT 1 10000").int(), 1);
    c.until("expiry on the replica", |c| c.run("GET k") == support::Value::Nil);
    assert_eq!((c.run("EXISTS k").int(), c.run("DBSIZE").int()), (0, 2), "hidden, not removed");
    assert_eq!(p.run("GET k"), support::Value::Nil);
    c.until("the removal", |c| c.run("DBSIZE").int() == 1);
    // Stale data, if that is forbidden.
    c.run("CONFIG SET replica-serve-stale-data no");
    c.run("REPLICAOF 127.0.0.1 1");
    assert!(c.run("GET other").text().starts_with("MASTERDOWN "));
    assert_eq!(c.run("CONFIG SET replica-serve-stale-data yes").text(), "OK");
    assert_eq!(c.run("GET other").text(), "1");
    assert_eq!(c.info("master_link_status"), "down");
    assert_eq!(c.run("REPLICAOF NO ONE").text(), "OK");
    assert_eq!(c.run("SET a 1").text(), "OK");
}

#[test]
fn a_paused_replica_reads_the_stream_and_applies_it_later() {
    let (primary, replica) = (Node::start(Dunlin, &[]), Node::start(Dunlin, &[]));
    let (mut p, mut c) = (primary.conn(), replica.conn());
    replica.follow(primary.port());
    wait("the link", || replica.info("master_link_status") == "up");
    p.run("SET a 1");
    assert_eq!(p.run("WAIT 1 10000").int(), 1);
    assert_eq!(c.run("CLIENT PAUSE 100000 WRITE").text(), "OK");
    let before = c.info("slave_repl_offset");
    p.run("SET a 2");
    let end = p.info("master_repl_offset");
    c.until("the bytes", |c| c.info("slave_read_repl_offset") == end);
    assert_eq!((c.info("slave_repl_offset"), c.run("GET a").text()), (before, "1".into()));
    assert_eq!(p.run("WAIT 1 50").int(), 0);
    assert_eq!(c.run("CLIENT UNPAUSE").text(), "OK");
    c.until("the write", |c| c.run("GET a").text() == "2");
    assert_in_step(&primary, &replica, "after the pause");
}

/// They stayed for ever: the primary knows nothing of them.
#[test]
fn keys_of_a_writable_replicas_own_end_there() {
    let (primary, replica) = (Node::start(Dunlin, &[]), Node::start(Dunlin, &[]));
    let (mut p, mut c) = (primary.conn(), replica.conn());
    replica.follow(primary.port());
    wait("the link", || replica.info("master_link_status") == "up");
    p.run("DEBUG SET-ACTIVE-EXPIRE 0");
    p.run("SET theirs 1 PX 1");
    assert_eq!(p.run("WAIT 1 10000").int(), 1);
    c.run("CONFIG SET replica-read-only no");
    for aof in ["yes", "no"] {
        assert_eq!(c.run(&format!("CONFIG SET appendonly {aof}")).text(), "OK");
        let before: u64 = c.info("expired_keys").parse().unwrap();
        c.run("SET a 1 PX 1");
        c.run("RPUSH l 1");
        c.run("PEXPIRE l 1");
        c.run("SET stays 1 PX 1000000");
        c.run("SET kept 1 PX 20");
        c.run("PERSIST kept");
        c.until("the end of two keys", |c| c.info("expired_keys").parse::<u64>().unwrap() == before + 2);
        assert_eq!(c.run("DBSIZE").int(), 3, "the primary's key is its own");
        assert_eq!((c.run("EXISTS a l").int(), c.run("EXISTS stays kept").int()), (0, 2));
    }
    // As a primary it removes all.
    c.run("REPLICAOF NO ONE");
    c.until("the other key", |c| c.run("DBSIZE").int() == 2);
}

/// Nobody woke what reads the log of a replica, unless its own reader spoke.
#[test]
fn who_follows_a_replica_hears_at_once_without_a_word() {
    let (primary, replica) = (Node::start(Dunlin, &[]), Node::start(Dunlin, &[]));
    primary.conn().run("CONFIG SET repl-ping-replica-period 3600");
    replica.follow(primary.port());
    wait("the link", || replica.info("master_link_status") == "up");
    let mut follower = TcpStream::connect(("127.0.0.1", replica.port())).unwrap();
    follower.set_read_timeout(Some(PATIENCE)).unwrap();
    follower.write_all(b"SYNC\r\n").unwrap();
    wait("the snapshot", || replica.conn().run("INFO replication").text().contains("state=online"));
    let mut p = primary.conn();
    let mut got = Vec::new();
    for value in ["one", "two", "three"] {
        p.run(&format!("SET key {value}"));
        let end = format!("{value}\r\n").into_bytes();
        while !got.ends_with(&end) {
            let mut some = [0; 4096];
            let n = follower.read(&mut some).unwrap_or_else(|e| panic!("{value}: {e}"));
            assert!(n > 0, "{value}");
            got.extend_from_slice(&some[..n]);
        }
    }
}

#[test]
fn debug_replicate_makes_a_replica_say_which_command_was_wrong() {
    let primary = Node::start(Dunlin, &[]);
    // A replica that may be written to once ended of it.
    let writable = ["--propagation-error-behavior", "panic", "--replica-read-only", "no"];
    let replica = Node::start(Dunlin, &writable);
    replica.follow(primary.port());
    wait("the link", || replica.info("master_link_status") == "up");
    let mut p = primary.conn();
    p.run("SET text abc");
    assert_eq!(p.run("DEBUG REPLICATE incr text").text(), "OK");
    p.run("SET after 1");
    assert_eq!(p.run("WAIT 1 10000").int(), 1);
    let line = replica.server.wait_for_log("== CRITICAL ==");
    assert!(line.contains("not an integer") && line.ends_with("after processing the command 'incr'"), "{line}");
    assert_eq!((p.run("GET text").text(), replica.conn().run("GET after").text()), ("abc".into(), "1".into()));
}

/// It once waited for half a second, in which the history went on without it.
/// What came of the stream after REPLICAOF NO ONE was refused, and that taken for the primary's error: with this setting the
/// process ended.
#[test]
fn a_replica_that_leaves_its_primary_under_load_finds_no_fault_with_it() {
    let primary = Node::start(Dunlin, &[]);
    let replica = Node::start(Dunlin, &["--propagation-error-behavior", "panic"]);
    let writers = Writers::start(primary.port(), 2);
    for _ in 0..20 {
        replica.follow(primary.port());
        wait("the link", || replica.info("master_link_status") == "up");
        writers.more(200);
        assert_eq!(replica.conn().run("REPLICAOF NO ONE").text(), "OK");
    }
    writers.stop();
    assert_eq!(replica.conn().run("PING").text(), "PONG");
}

#[test]
fn a_link_that_was_up_is_made_anew_at_once() {
    let (primary, replica) = (Node::start(Dunlin, &[]), Node::start(Dunlin, &[]));
    replica.follow(primary.port());
    let mut p = primary.conn();
    let rounds = (1..=3).map(|round| {
        wait("the link", || replica.info("master_link_status") == "up");
        let up = now();
        // A link that was up for less time than this waits before it tries again.
        wait("some time", || up.elapsed() > Duration::from_millis(600));
        let cut = now();
        assert_eq!(p.run("CLIENT KILL TYPE replica").int(), 1);
        p.until("the replica", |p| p.info("sync_partial_ok") == round.to_string());
        cut.elapsed()
    });
    let quickest = rounds.min().unwrap();
    assert!(quickest < Duration::from_millis(400), "{quickest:?}");
}

/// The replica once came back in the middle of the transaction that had cut it off, and went on from there.
#[test]
fn a_replica_that_a_transaction_cuts_off_comes_back_after_it() {
    let (primary, replica) = (Node::start(Dunlin, &[]), Node::start(Dunlin, &[]));
    replica.follow(primary.port());
    let mut p = primary.conn();
    let value = "x".repeat(16 << 10);
    for round in 2..=4 {
        wait("the link", || replica.info("master_link_status") == "up");
        let up = now();
        // From then on it comes back at once.
        wait("some time", || up.elapsed() > Duration::from_millis(600));
        p.run("MULTI");
        p.run("CLIENT KILL TYPE replica");
        p.run("CONFIG SET repl-backlog-size 16384");
        (0..500).for_each(|i| drop(p.run(&format!("SET key:{i} {value}"))));
        assert_eq!(p.run("EXEC").items().len(), 502);
        p.until("a full synchronization", |p| p.info("sync_full") == round.to_string());
    }
    assert_eq!(p.info("sync_partial_ok"), "0");
}

/// Data of another history served while the primary's were loaded beside them.
#[test]
fn data_beside_which_others_are_loaded_serve_if_they_are_of_the_same_history() {
    let primary = Node::start(Dunlin, &["--repl-diskless-sync", "yes"]);
    let replica = Node::start(Dunlin, &["--repl-diskless-load", "swapdb"]);
    let (mut p, mut c) = (primary.conn(), replica.conn());
    p.run("DEBUG POPULATE 2000 key 2000");
    c.run("SET own value");
    p.run("CONFIG SET rdb-key-save-delay 10000");
    replica.follow(primary.port());
    c.until("the loading", |c| c.info("loading") == "1");
    replica.server.wait_for_log("Loading DB in memory");
    assert_eq!(c.info("async_loading"), "0");
    assert_eq!(c.run("GET own").text(), "LOADING Redis is loading the dataset in memory");
    p.run("CONFIG SET repl-diskless-sync-delay 3600");
    p.run("CLIENT KILL TYPE replica");
    c.until("the end of the loading", |c| c.info("loading") == "0");
    assert_eq!((c.run("GET own").text(), c.run("DBSIZE").int()), ("value".into(), 1));
    for line in ["CONFIG SET rdb-key-save-delay 0", "CONFIG SET repl-diskless-sync-delay 0"] {
        p.run(line);
    }
    wait("the link", || replica.info("master_link_status") == "up");
    assert_eq!(c.run("DBSIZE").int(), 2000);
    // The same history, from which too much is missing.
    p.run("CONFIG SET repl-backlog-size 16384");
    p.run("CONFIG SET rdb-key-save-delay 10000");
    let far = vec![b'x'; 1 << 20];
    p.run("MULTI");
    p.run("CLIENT KILL TYPE replica");
    p.run("SET a 1");
    p.command(&[b"SET", b"b", &far]);
    p.run("EXEC");
    let before = p.info("sync_full");
    p.until("another snapshot", |p| p.info("sync_full") != before);
    c.until("the loading", |c| c.info("async_loading") == "1");
    assert_eq!((c.info("loading"), c.run("EXISTS key:1 a").int()), ("0".into(), 1));
    // A snapshot that goes to sockets is never sent from a file.
    assert!(p.info("slave0").contains("state=wait_bgsave"));
    for line in ["SAVE", "CONFIG SET appendonly no"] {
        assert_eq!(c.run(line).text(), "LOADING Redis is loading the dataset in memory");
    }
    p.run("CONFIG SET rdb-key-save-delay 0");
    c.until("the new data", |c| c.info("async_loading") == "0" && c.run("EXISTS a").int() == 1);
    assert_in_step(&primary, &replica, "in the end");
}

/// The limit held only once the snapshot was through, and till then the log grew without end.
#[test]
fn a_replica_that_is_too_slow_for_the_snapshot_is_disconnected() {
    let options = ["--client-output-buffer-limit", "replica 4mb 0 0", "--repl-backlog-size", "1mb"];
    let primary = Node::start(Dunlin, &[&options[..], &["--repl-diskless-sync", "yes"]].concat());
    let replica = Node::start(Dunlin, &[]);
    let mut c = primary.conn();
    c.run("DEBUG POPULATE 100000 key 500");
    c.run("CONFIG SET rdb-key-save-delay 1000");
    replica.follow(primary.port());
    c.until("the snapshot", |c| c.info("rdb_bgsave_in_progress") == "1");
    replica.server.signal("STOP");
    let value = vec![b'x'; 100_000];
    let start = now();
    while primary.info("connected_slaves") != "0" {
        assert!(start.elapsed() < Duration::from_secs(30), "the limit has no effect");
        c.command(&[b"SET", b"big", &value]);
    }
    c.run("CONFIG SET rdb-key-save-delay 0");
    c.until("the end of the snapshot", |c| c.info("rdb_bgsave_in_progress") == "0");
    c.run("SET big small");
    c.until("the memory", |c| c.info("repl_backlog_histlen").parse::<u64>().unwrap() < 3 << 20);
    replica.server.signal("CONT");
    assert_in_step(&primary, &replica, "after it came back");
}

/// It held the snapshot up for all others, without end.
#[test]
fn a_replica_that_takes_nothing_of_its_snapshot_is_disconnected() {
    let primary = Node::start(Dunlin, &["--repl-diskless-sync", "yes", "--repl-timeout", "1"]);
    let (stopped, other) = (Node::start(Dunlin, &[]), Node::start(Dunlin, &[]));
    let mut c = primary.conn();
    c.run("DEBUG POPULATE 5000 key 10000");
    c.run("CONFIG SET rdbcompression no");
    c.run("CONFIG SET rdb-key-save-delay 1000");
    c.run("CONFIG SET repl-diskless-sync-delay 30");
    c.run("CONFIG SET repl-diskless-sync-max-replicas 2");
    stopped.follow(primary.port());
    other.follow(primary.port());
    c.until("the snapshot", |c| c.info("rdb_bgsave_in_progress") == "1");
    stopped.server.signal("STOP");
    c.run("CONFIG SET rdb-key-save-delay 0");
    primary.server.wait_for_log("Disconnecting timedout replica (full sync)");
    primary.server.wait_for_log("1 replicas still up");
    wait("the other", || other.info("master_link_status") == "up" && other.conn().run("DBSIZE").int() == 5000);
    stopped.server.signal("CONT");
}

/// A snapshot that goes to a file first was written to its end.
#[test]
fn a_snapshot_ends_when_no_replica_is_left_that_gets_it() {
    for diskless in ["no", "yes"] {
        let primary = Node::start(Dunlin, &["--repl-diskless-sync", diskless]);
        let replicas = [Node::start(Dunlin, &[]), Node::start(Dunlin, &[])];
        let mut c = primary.conn();
        c.run("DEBUG POPULATE 1000");
        c.run("CONFIG SET rdb-key-save-delay 1000000");
        c.run("CONFIG SET repl-diskless-sync-delay 30");
        c.run("CONFIG SET repl-diskless-sync-max-replicas 2");
        replicas.iter().for_each(|r| r.follow(primary.port()));
        c.until("the replicas", |c| c.info("connected_slaves") == "2");
        c.until("the snapshot", |c| c.info("rdb_bgsave_in_progress") == "1");
        replicas[0].conn().run("REPLICAOF NO ONE");
        c.until("one replica", |c| c.info("connected_slaves") == "1");
        // By way of a file each gets its own.
        c.until("a snapshot for the other", |c| c.info("rdb_bgsave_in_progress") == "1");
        replicas[1].conn().run("REPLICAOF NO ONE");
        c.until("the end of the snapshot", |c| c.info("rdb_bgsave_in_progress") == "0");
    }
}

/// Its replies once went into the stream, where they are taken for the primary's writes.
#[test]
fn a_replica_that_causes_a_reply_is_disconnected() {
    let primary = Node::start(Dunlin, &["--repl-diskless-sync", "yes"]);
    let mut c = primary.conn();
    assert_eq!(c.run("PSYNC ? offset").text(), "ERR value is not an integer or out of range");
    primary.server.wait_for_log("asks for synchronization but with a wrong offset");
    for (line, error) in [("PING", false), ("SET key value", true), ("XINFO HELP", false), ("NOSUCH", true)] {
        let mut replica = primary.conn();
        replica.send_raw(format!("SYNC\r\nREPLCONF ACK 0\r\n{line}\r\n").as_bytes());
        if error {
            primary.server.wait_for_log("== CRITICAL == This primary is sending an error to its replica");
        }
        primary.server.wait_for_log("Replica generated a reply to command");
        c.until("the end", |c| c.info("connected_slaves") == "0" && c.info("rdb_bgsave_in_progress") == "0");
    }
    assert_eq!((c.run("EXISTS key").int(), c.run("PING").text()), (0, "PONG".into()));
}

#[test]
fn writes_can_be_made_to_depend_on_replicas() {
    let primary = Node::start(Dunlin, &["--min-replicas-to-write", "1", "--min-replicas-max-lag", "2"]);
    let replica = Node::start(Redis, &[]);
    let mut c = primary.conn();
    c.until("the refusal", |c| c.run("SET a 1").text() == "NOREPLICAS Not enough good replicas to write.");
    replica.follow(primary.port());
    c.until("the replica", |c| c.run("SET a 1").text() == "OK");
    replica.server.signal("STOP");
    wait("the lag", || c.run("SET a 1").text() == "NOREPLICAS Not enough good replicas to write.");
    assert_eq!(c.run("GET a").text(), "1");
    replica.server.signal("CONT");
    wait("the replica again", || c.run("SET a 1").text() == "OK");
}

#[test]
fn a_primary_with_a_password_is_followed_with_it() {
    let primary = Node::start(Dunlin, &["--requirepass", "secret"]);
    let mut c = primary.conn();
    c.run("AUTH secret");
    c.run("SET a 1");
    for kind in [Dunlin, Redis] {
        let replica = Node::start(kind, &["--masterauth", "wrong"]);
        replica.follow(primary.port());
        let mut r = replica.conn();
        assert_eq!(r.info("master_link_status"), "down");
        r.run("CONFIG SET masterauth secret");
        wait("the link", || replica.info("master_link_status") == "up");
        assert_eq!(r.run("GET a").text(), "1");
    }
}

#[test]
fn replicas_that_fall_behind_are_disconnected_and_come_back() {
    let primary =
        Node::start(Dunlin, &["--client-output-buffer-limit", "replica 4mb 0 0", "--repl-backlog-size", "1mb"]);
    let replica = Node::start(Dunlin, &[]);
    replica.follow(primary.port());
    wait("the link", || replica.info("master_link_status") == "up");
    wait("the replica", || primary.conn().run("ROLE").items()[2].items().len() == 1);
    replica.server.signal("STOP");
    let mut c = primary.conn();
    let value = vec![b'x'; 100_000];
    let start = now();
    while primary.info("connected_slaves") != "0" {
        assert!(start.elapsed() < Duration::from_secs(30), "the limit has no effect");
        c.command(&[b"SET", b"big", &value]);
    }
    assert!(c.info("repl_backlog_histlen").parse::<u64>().unwrap() < 3 << 20);
    // It is counted, which it once was not.
    assert_eq!(primary.info("client_output_buffer_limit_disconnections"), "1");
    replica.server.signal("CONT");
    assert_in_step(&primary, &replica, "after it came back");
    assert_eq!(primary.info("sync_full"), "2");
}

/// A value longer than the limit broke the link, again and again, though the backlog had room for it.
#[test]
fn a_replica_may_have_as_much_output_as_the_backlog_keeps() {
    let limits = ["--client-output-buffer-limit", "replica 128kb 0 0", "--repl-backlog-size", "100mb"];
    let primary = Node::start(Dunlin, &limits);
    let replica = Node::start(Dunlin, &[]);
    replica.follow(primary.port());
    wait("the link", || replica.info("master_link_status") == "up");
    let mut c = primary.conn();
    let value = vec![b'x'; 10 << 20];
    c.run("MULTI");
    c.command(&[b"SET", b"big", &value]);
    c.command(&[b"SET", b"other", &value]);
    assert_eq!(c.run("EXEC").items().len(), 2);
    assert_in_step(&primary, &replica, "with big values");
    let counters = ["sync_full", "sync_partial_ok", "client_output_buffer_limit_disconnections"];
    assert_eq!(counters.map(|field| primary.info(field)), ["1", "0", "0"]);
}

#[test]
fn every_way_of_a_full_synchronization_works_under_load() {
    for (diskless, kind) in [("no", Redis), ("no", Dunlin), ("yes", Dunlin)] {
        for load in ["disabled", "swapdb", "on-empty-db"] {
            let primary = Node::start(Dunlin, &["--repl-diskless-sync", diskless]);
            let replica = Node::start(kind, &["--repl-diskless-load", load]);
            replica.conn().run("SET old data");
            let writers = Writers::start(primary.port(), 2);
            writers.more(3_000);
            replica.follow(primary.port());
            writers.more(3_000);
            wait("the link", || replica.info("master_link_status") == "up");
            writers.more(1_000);
            writers.stop();
            assert_in_step(&primary, &replica, &format!("diskless {diskless}, load {load}"));
            assert_eq!(replica.conn().run("EXISTS old").int(), 0);
        }
    }
}

/// A primary that says what it should not.
fn false_primary(snapshot: Vec<u8>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok).take(50) {
            let snapshot = snapshot.clone();
            std::thread::spawn(move || {
                let mut buf = [0; 4096];
                let mut asked = Vec::new();
                while let Ok(n @ 1..) = stream.read(&mut buf) {
                    asked.extend_from_slice(&buf[..n]);
                    let text = String::from_utf8_lossy(&asked).into_owned();
                    if text.contains("PSYNC") {
                        let id = "a".repeat(40);
                        let _ = stream.write_all(format!("+FULLRESYNC {id} 1\r\n").as_bytes());
                        let _ = stream.write_all(&snapshot);
                        return;
                    }
                    let replies = text.matches("PING").count() + text.matches("REPLCONF").count();
                    asked.clear();
                    let _ = stream.write_all("+OK\r\n".repeat(replies).as_bytes());
                }
            });
        }
    });
    port
}

#[test]
fn a_primary_that_sends_garbage_or_goes_away_costs_no_data() {
    // A good snapshot first, to spoil.
    let source = Node::start(Dunlin, &[]);
    let mut c = source.conn();
    c.run("DEBUG POPULATE 2000");
    let code = |says| format!("function_name='f', callback=function() return '{says}' end, flags={{'no-writes'}}");
    let library = |says| format!("#!lua name=f\nredis.register_function{{{}}}", code(says));
    c.command(&[b"FUNCTION", b"LOAD", library("theirs").as_bytes()]);
    c.run("SAVE");
    let good = std::fs::read(source._dir.0.join("dump.rdb")).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    let framed = |bytes: &[u8], length: usize| [format!("${length}\r\n").as_bytes(), bytes].concat();
    let marked = |bytes: &[u8]| {
        let mark = "m".repeat(40);
        [format!("$EOF:{mark}\r\n").as_bytes(), bytes, mark.as_bytes()].concat()
    };
    let cases = [
        b"hello, this is not it\r\n".to_vec(),
        framed(&good[..good.len() / 2], good.len()),
        framed(&flipped, flipped.len()),
        marked(&flipped),
        marked(&good[..good.len() / 3]),
        marked(b"garbage"),
        [&marked(&good)[..86 + good.len()], b"x"].concat(),
        b"$EOF:short\r\n".to_vec(),
        b"$99999999999999999999\r\n".to_vec(),
    ];
    for load in ["disabled", "swapdb"] {
        for case in &cases {
            let port = false_primary(case.clone());
            let replica = Node::start(Dunlin, &["--repl-diskless-load", load]);
            let mut c = replica.conn();
            c.run("SET mine kept");
            c.command(&[b"FUNCTION", b"LOAD", library("kept").as_bytes()]);
            replica.follow(port);
            // It tries, and tries again.
            let (mut tries, mut was) = (0, String::new());
            wait("several tries", || {
                let state = c.run("ROLE").items()[3].text();
                tries += u32::from(state != was);
                was = state;
                tries > 4
            });
            // While it tries to load another history's data beside them, they are not shown.
            let mut reply = String::new();
            wait("the end of a try", || {
                reply = c.run("GET mine").text_or("") + &c.run("FCALL_RO f 0").text();
                !reply.contains("LOADING ")
            });
            assert_eq!(reply, "keptkept", "load {load}");
            // A true primary is followed afterwards as if nothing had been.
            let follow = format!("REPLICAOF 127.0.0.1 {}", source.port());
            wait("another end of a try", || c.run(&follow).text() == "OK");
            wait("the link", || replica.info("master_link_status") == "up");
            assert_eq!(c.run("DBSIZE").int(), 2000);
        }
    }
}

#[test]
fn published_messages_reach_the_subscribers_of_replicas() {
    for kind in [Dunlin, Redis] {
        let primary = Node::start(Dunlin, &[]);
        let replica = Node::start(kind, &[]);
        replica.follow(primary.port());
        wait("the link", || replica.info("master_link_status") == "up");
        let mut sub = replica.conn();
        sub.run("SUBSCRIBE news");
        let mut c = primary.conn();
        wait("the log", || primary.conn().run("ROLE").items()[2].items().len() == 1);
        c.run("PUBLISH news hello");
        assert_eq!(sub.read().texts(), ["message", "news", "hello"]);
    }
}

#[test]
fn replicas_go_on_without_a_snapshot_after_their_primary_restarted() {
    let dir = TempDir::new();
    let port = free_port();
    let start = || {
        let mut command = dunlin();
        command.current_dir(&dir.0);
        command.args(["--port", &port.to_string(), "--save", "3600 1", "--enable-debug-command", "yes"]);
        command.args(["--repl-diskless-sync-delay", "0"]);
        Server::run(command, port)
    };
    let primary = start();
    let replicas = [Node::start(Dunlin, &[]), Node::start(Redis, &[])];
    for r in &replicas {
        r.follow(port);
        wait("the link", || r.info("master_link_status") == "up");
    }
    let mut c = primary.connect();
    c.run("DEBUG SET-ACTIVE-EXPIRE 0");
    c.run("SET stays 1");
    c.run("SET goes 1 PX 1");
    assert_eq!(c.run("WAIT 2 10000").int(), 2);
    primary.signal("TERM");
    assert_eq!(primary.wait(), Some(0));
    let primary = start();
    wait("the replicas", || primary.connect().info("sync_partial_ok") == "2");
    let mut c = primary.connect();
    assert_eq!((c.info("sync_full"), c.run("DBSIZE").int()), ("0".into(), 1));
    c.run("SET more 1");
    for r in &replicas {
        wait("the last write", || r.conn().run("EXISTS more").int() == 1);
        wait("the end of the expired key", || r.conn().run("DBSIZE").int() == 2);
        assert_eq!(r.conn().run("DEBUG DIGEST"), c.run("DEBUG DIGEST"));
    }
}

#[test]
fn an_orderly_end_waits_for_replicas_and_can_be_called_off() {
    let primary = Node::start(Dunlin, &["--shutdown-timeout", "60"]);
    let replica = Node::start(Dunlin, &[]);
    replica.follow(primary.port());
    wait("the link", || replica.info("master_link_status") == "up");
    let mut c = primary.conn();
    wait("the replica", || c.run("WAIT 1 100").int() == 1);
    replica.server.signal("STOP");
    c.run("SET a 1");
    let mut asking = primary.conn();
    asking.send(&[b"SHUTDOWN"]);
    wait("the wait", || primary.conn().run("INFO server").text().contains("shutdown_in_milliseconds:"));
    assert_eq!(c.run("SHUTDOWN ABORT").text(), "OK");
    assert_eq!(asking.read().text(), "ERR Errors trying to SHUTDOWN. Check logs.");
    assert_eq!(c.run("SET a 2").text(), "OK", "writes go on");
    c.send(&[b"SHUTDOWN"]);
    wait("the wait", || primary.conn().run("INFO server").text().contains("shutdown_in_milliseconds:"));
    replica.server.signal("CONT");
    let Node { server, _dir } = primary;
    assert_eq!(server.wait(), Some(0));
    assert_eq!(replica.conn().run("GET a").text(), "2");
}

#[test]
fn the_order_of_the_log_explains_the_data() {
    let dir = TempDir::new();
    let start = |rewrite: &str| {
        let port = free_port();
        let mut command = dunlin();
        command.current_dir(&dir.0);
        command.args(["--port", &port.to_string(), "--save", "", "--enable-debug-command", "yes"]);
        command.args(["--appendonly", "yes", "--repl-diskless-sync-delay", "0", "--aof-use-rdb-preamble", rewrite]);
        Server::run(command, port)
    };
    for (preamble, rewrites) in [("no", 0), ("yes", 0), ("yes", 3)] {
        let server = start(preamble);
        let primary = Node { server, _dir: TempDir::new() };
        primary.conn().run("FLUSHALL");
        let writers = Writers::start(primary.port(), 8);
        writers.more(5_000);
        // Snapshots on the way: each with the stream from its offset on is the data.
        let replicas = [Node::start(Dunlin, &[]), Node::start(Redis, &[])];
        for (r, n) in replicas.iter().zip(0..) {
            r.follow(primary.port());
            writers.more(5_000);
            if n < rewrites {
                primary.conn().run("BGREWRITEAOF");
            }
        }
        writers.more(10_000);
        writers.stop();
        for r in &replicas {
            assert_in_step(&primary, r, "eight writers");
        }
        // The log replayed from empty, or from the last rewrite, is the data.
        let expected = primary.conn().run("DEBUG DIGEST").text();
        let Node { server, _dir } = primary;
        server.signal("TERM");
        assert_eq!(server.wait(), Some(0));
        let again = start(preamble);
        assert_eq!(again.connect().run("DEBUG DIGEST").text(), expected, "preamble {preamble}, {rewrites} rewrites");
    }
}

/// It used to wait for the answer of the stopped one, for as long as `repl-timeout`.
#[test]
fn a_replica_leaves_a_primary_that_says_nothing_at_once() {
    let (old, new) = (Node::start(Dunlin, &[]), Node::start(Dunlin, &[]));
    let replica = Node::start(Dunlin, &["--repl-timeout", "3600"]);
    new.conn().run("SET key value");
    old.server.signal("STOP");
    replica.follow(old.port());
    wait("a handshake", || replica.info("master_link_status") == "down" && replica.info("role") == "slave");
    std::thread::yield_now();
    replica.follow(new.port());
    wait("the new primary", || replica.info("master_link_status") == "up");
    assert_eq!(replica.conn().run("GET key").text(), "value");
    // The same in the middle of a snapshot.
    let slow = Node::start(Dunlin, &["--repl-diskless-sync", "yes", "--rdb-key-save-delay", "100000"]);
    slow.conn().run("DEBUG POPULATE 100000");
    replica.follow(slow.port());
    wait("a snapshot", || replica.info("master_sync_in_progress") == "1");
    slow.server.signal("STOP");
    replica.follow(new.port());
    wait("the new primary", || replica.info("master_link_status") == "up");
    assert_eq!(replica.conn().run("DBSIZE").int(), 1);
    for node in [&old, &slow] {
        node.server.signal("CONT");
    }
}
