//! `maxmemory`: what counts, and what goes.

mod support;

use support::{Conn, Server};

/// What is noted of evicted keys, for those who had read them, once counted as memory that had to be freed, so all went.
#[test]
fn notes_of_evicted_keys_evict_no_more_keys() {
    let server = Server::start(&["--maxmemory-policy", "allkeys-lru", "--maxmemory-eviction-tenacity", "100"]);
    let mut c = server.connect();
    let mut reader = server.connect();
    reader.run("HELLO 3");
    reader.run("CLIENT TRACKING ON");
    let name = "x".repeat(4000);
    for i in 0..300 {
        c.run(&format!("SET {i}{name} v"));
        reader.run(&format!("GET {i}{name}"));
    }
    let used: u64 = c.info("used_memory").parse().unwrap();
    c.run(&format!("CONFIG SET maxmemory {}", used - 100_000));
    let left = c.run("DBSIZE").int();
    assert!((200..300).contains(&left), "{left}");
}

/// It once kept the empty tables of slots, and evicted every key without getting under the limit.
#[test]
fn evicting_the_last_key_of_a_slot_frees_its_table() {
    let server = Server::start(&["--maxmemory-policy", "allkeys-random", "--maxmemory-eviction-tenacity", "100"]);
    let mut c = server.connect();
    let used = |c: &mut Conn| c.info("used_memory").parse::<u64>().unwrap();
    // Not all threads have what they need when the first connection is served.
    let (mut last, mut same) = (0, 0);
    c.until("steady memory", |c| {
        let now = used(c);
        same = if now.abs_diff(std::mem::replace(&mut last, now)) < 4096 { same + 1 } else { 0 };
        same > 300
    });
    let limit = last + 100 * 1024;
    c.run(&format!("CONFIG SET maxmemory {limit}"));
    for i in 0..3000 {
        assert_eq!(c.run(&format!("SETEX key:{i} 10000 x")).text(), "OK");
    }
    assert!(used(&mut c) < limit + 16384, "{} over {limit}", used(&mut c));
    assert!(c.run("DBSIZE").int() > 100);
}

/// What had been handed to a replica's connection and not sent once counted as data, and as a normal client's; later only what
/// the log needs around its bytes did.
#[test]
fn what_waits_for_a_slow_replica_evicts_nothing() {
    let limit = [
        "--client-output-buffer-limit",
        "replica 0 0 0",
        "--repl-backlog-size",
        "16kb",
        "--repl-diskless-sync-delay",
        "0",
        "--latency-tracking",
        "no",
    ];
    let primary = Server::start(&[&limit[..], &["--maxmemory-policy", "allkeys-random"]].concat());
    let replica = Server::start(&[]);
    let mut p = primary.connect();
    let value = "x".repeat(100_000);
    (0..50).for_each(|i| drop(p.run(&format!("SET key:{i} {value}"))));
    replica.connect().run(&format!("REPLICAOF 127.0.0.1 {}", primary.port));
    p.until("the replica", |p| p.run("INFO replication").text().contains("state=online"));
    let number = |p: &mut Conn, name: &str| p.info(name).parse::<i64>().unwrap();
    let used = number(&mut p, "used_memory") - number(&mut p, "mem_not_counted_for_evict");
    p.run(&format!("CONFIG SET maxmemory {}", used + 120_000));
    replica.signal("STOP");
    let pieces = format!("SETRANGE key:0 0 {}\r\n", "y".repeat(100)).repeat(200);
    while number(&mut p, "mem_clients_slaves") < 30 << 20 {
        p.send_raw(pieces.as_bytes());
        (0..200).for_each(|_| drop(p.read()));
    }
    assert_eq!((p.info("evicted_keys"), p.run("DBSIZE").int()), ("0".into(), 50));
    assert!(number(&mut p, "mem_clients_normal") < 200_000);
    replica.signal("CONT");
}
