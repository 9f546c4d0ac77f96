//! MIGRATE between servers: what arrives, what leaves, what is said when something is in the way.

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::channel;

use dunlin::base::slot::key_slot;
use support::cluster::{three, wait};
use support::{Conn, Server, TempDir, free_port};

/// A key of each type, and one that expires.
fn fill(conn: &mut Conn) {
    for line in [
        "SET text value",
        "SET number 42 PX 500000",
        "RPUSH list a b c",
        "SADD set a b c 1",
        "SADD numbers 1 2 3",
        "HSET hash f v g w",
        "ZADD zset 1 a 2.5 b",
        "XADD stream 1-1 f v",
        "XGROUP CREATE stream group 0",
    ] {
        assert!(!conn.run(line).is_error(), "{line}");
    }
}

const ALL: &str = "text number list set numbers hash zset stream";

/// `MIGRATE ... KEYS`, whose key argument is empty.
fn migrate_keys(from: &mut Conn, to: u16, options: &[&str], keys: &[&str]) -> String {
    let port = to.to_string();
    let mut args: Vec<&[u8]> = vec![b"MIGRATE", b"127.0.0.1", port.as_bytes(), b"", b"0", b"5000"];
    args.extend(options.iter().map(|o| o.as_bytes()));
    args.push(b"KEYS");
    args.extend(keys.iter().map(|k| k.as_bytes()));
    from.command(&args).text()
}

#[test]
fn keys_of_every_type_go_to_redis_and_come_back() {
    let (ours, theirs) = (Server::start(&[]), Server::redis());
    let (mut here, mut there) = (ours.connect(), theirs.connect());
    fill(&mut here);
    let keys: Vec<&str> = ALL.split(' ').collect();
    let digest = here.run("DEBUG DIGEST-VALUE text list set numbers hash zset stream").texts();
    assert_eq!(migrate_keys(&mut here, theirs.port, &[], &keys), "OK");
    assert_eq!((here.run("DBSIZE").int(), there.run("DBSIZE").int()), (0, keys.len() as i64));
    assert!((1..=500_000).contains(&there.run("PTTL number").int()));
    assert_eq!(there.run("TTL text").int(), -1);
    assert_eq!(migrate_keys(&mut there, ours.port, &[], &keys), "OK");
    assert_eq!((here.run("DBSIZE").int(), there.run("DBSIZE").int()), (keys.len() as i64, 0));
    assert_eq!(here.run("DEBUG DIGEST-VALUE text list set numbers hash zset stream").texts(), digest);
    assert_eq!(here.info("migrate_cached_sockets"), "1");
}

#[test]
fn options_and_refusals_are_those_of_redis() {
    let (a, b) = (Server::start(&[]), Server::start(&[]));
    let (mut from, mut to) = (a.connect(), b.connect());
    let port = b.port;
    assert_eq!(from.run(&format!("MIGRATE 127.0.0.1 {port} none 0 100")).text(), "NOKEY");
    from.run("SET k here");
    to.run("SET k there");
    let busy = from.run(&format!("MIGRATE 127.0.0.1 {port} k 0 1000"));
    assert_eq!(busy.text(), "ERR Target instance replied with error: BUSYKEY Target key name already exists.");
    assert_eq!((from.run("GET k").text(), to.run("GET k").text()), ("here".into(), "there".into()));
    assert_eq!(from.run(&format!("MIGRATE 127.0.0.1 {port} k 0 1000 COPY REPLACE")).text(), "OK");
    assert_eq!((from.run("GET k").text(), to.run("GET k").text()), ("here".into(), "here".into()));
    // Another database.
    assert_eq!(from.run(&format!("MIGRATE 127.0.0.1 {port} k 9 1000")).text(), "OK");
    assert_eq!(from.run("EXISTS k").int(), 0);
    to.run("SELECT 9");
    assert_eq!(to.run("GET k").text(), "here");
    from.run("SET k 1");
    let e = from.run(&format!("MIGRATE 127.0.0.1 {port} k 99 1000")).text();
    assert_eq!(e, "ERR Target instance replied with error: ERR DB index is out of range");
    // After a refusal the database is selected anew.
    assert_eq!(from.run(&format!("MIGRATE 127.0.0.1 {port} k 0 1000 REPLACE")).text(), "OK");
    from.run("SET k 1");
    let e = from.run(&format!("MIGRATE 127.0.0.1 {} k 0 200", free_port())).text();
    assert_eq!(e, "IOERR error or timeout connecting to the client");
    assert_eq!(from.run("GET k").text(), "1");
    // Some of the keys.
    assert_eq!(migrate_keys(&mut from, port, &["REPLACE"], &["none", "k", "k", "nothing"]), "OK");
    assert_eq!(from.run("DBSIZE").int(), 0);
    // In a transaction.
    from.run("SET k 2");
    from.run("MULTI");
    from.run(&format!("MIGRATE 127.0.0.1 {port} k 0 1000 REPLACE"));
    from.run("EXISTS k");
    let replies = from.run("EXEC");
    assert_eq!((replies.items()[0].text(), replies.items()[1].int()), ("OK".into(), 0));
    // An error counts, wherever it comes about: once above, and once in a transaction.
    from.run("SET k 3");
    from.run("MULTI");
    from.run(&format!("MIGRATE 127.0.0.1 {} k 0 200", free_port()));
    assert_eq!(from.run("EXEC").items()[0].text(), "IOERR error or timeout connecting to the client");
    assert_eq!(from.info("errorstat_IOERR"), "count=2");
}

#[test]
fn a_password_opens_the_target_and_is_shown_nowhere() {
    let (a, b) = (Server::start(&["--slowlog-log-slower-than", "0"]), Server::start(&["--requirepass", "secret"]));
    let (mut from, mut to) = (a.connect(), b.connect());
    to.run("AUTH secret");
    from.run("SET k v");
    let port = b.port;
    let e = from.run(&format!("MIGRATE 127.0.0.1 {port} k 0 1000")).text();
    assert_eq!(e, "ERR Target instance replied with error: NOAUTH Authentication required.");
    let e = from.run(&format!("MIGRATE 127.0.0.1 {port} k 0 1000 AUTH wrong")).text();
    assert!(e.starts_with("ERR Target instance replied with error: WRONGPASS"), "{e}");
    let mut monitor = a.connect();
    monitor.run("MONITOR");
    assert_eq!(from.run(&format!("MIGRATE 127.0.0.1 {port} k 0 1000 COPY AUTH secret")).text(), "OK");
    assert_eq!(from.run(&format!("MIGRATE 127.0.0.1 {port} k 0 1000 REPLACE AUTH2 default secret")).text(), "OK");
    assert_eq!(to.run("GET k").text(), "v");
    for _ in 0..2 {
        let line = monitor.read().text();
        assert!(line.contains("(redacted)") && !line.contains("secret"), "{line}");
    }
    // It runs on a thread of its own, and once its time was in no log.
    let slow = from.run("SLOWLOG GET 20");
    let logged: Vec<String> = slow.items().iter().map(|entry| entry.items()[3].texts().join(" ")).collect();
    let seen: Vec<&String> = logged.iter().filter(|line| line.starts_with("MIGRATE")).collect();
    assert_eq!(seen.len(), 4, "{logged:?}");
    assert!(
        seen[0].ends_with("REPLACE AUTH2 (redacted) (redacted)") && seen[1].ends_with("COPY AUTH (redacted)"),
        "{seen:?}"
    );
}

#[test]
fn a_target_that_does_not_answer_keeps_nobody_else_waiting() {
    let source = Server::start(&[]);
    // It takes connections and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let (mut mover, mut other) = (source.connect(), source.connect());
    mover.run("SET k v");
    mover.send(&[b"MIGRATE", b"127.0.0.1", port.to_string().as_bytes(), b"k", b"0", b"3000"]);
    let _held = silent.accept().unwrap();
    for _ in 0..100 {
        assert_eq!(other.run("GET k").text(), "v");
        assert_eq!(other.run("APPEND k v").int(), 2);
        other.run("SET k v");
    }
    // Nothing but the target ends it.
    let list = other.run("CLIENT LIST").text();
    let id =
        list.lines().find(|l| l.contains("cmd=migrate")).and_then(|l| l.split([' ', '=']).nth(1)).unwrap().to_owned();
    assert_eq!(other.run(&format!("CLIENT UNBLOCK {id}")).int(), 0);
    assert_eq!(mover.read().text(), "IOERR error or timeout reading from target instance");
    assert_eq!(other.run("GET k").text(), "v");
}

/// A write to a key on its way is in one of the two servers: increments are not lost, and not doubled.
#[test]
fn no_write_to_a_moving_key_is_lost() {
    let (a, b) = (Server::start(&[]), Server::start(&[]));
    let (port, target) = (a.port, b.port);
    let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
    let (stopped, counted) = (stop.clone(), done.clone());
    let writer = std::thread::spawn(move || {
        let mut conn = Conn::open(port);
        while !stopped.load(Relaxed) {
            conn.run("RPUSH list x");
            counted.fetch_add(1, Relaxed);
        }
    });
    let (mut from, mut to) = (a.connect(), b.connect());
    let mut there = 0;
    for _ in 0..100 {
        from.until("a key", |conn| conn.run("EXISTS list").int() == 1);
        assert_eq!(from.run(&format!("MIGRATE 127.0.0.1 {target} list 0 5000")).text(), "OK");
        there += to.run("LLEN list").int();
        to.run("DEL list");
    }
    stop.store(true, Relaxed);
    writer.join().unwrap();
    let here = from.run("LLEN list").int();
    assert_eq!((here + there) as u64, done.load(Relaxed));
}

/// A server that takes what MIGRATE sends: it tells of each request, and answers it when it is let go.
fn reluctant() -> (u16, std::sync::mpsc::Receiver<()>, std::sync::mpsc::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let ((asked, requests), (go, wait_for)) = (channel(), channel::<()>());
    std::thread::spawn(move || {
        let (mut source, _) = listener.accept().unwrap();
        let (mut seen, mut buf) = (Vec::new(), [0; 4096]);
        while let Ok(n @ 1..) = source.read(&mut buf) {
            seen.extend_from_slice(&buf[..n]);
            while let Some((request, rest)) = whole(&seen) {
                seen = rest;
                if request.starts_with(b"RESTORE") {
                    asked.send(()).unwrap();
                    wait_for.recv().unwrap();
                }
                source.write_all(b"+OK\r\n").unwrap();
            }
        }
    });
    (port, requests, go)
}

/// The name of the first request, if it is whole, and what comes after it.
fn whole(bytes: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let number = |at: &mut usize| {
        let end = *at + bytes.get(*at..)?.iter().position(|b| *b == b'\n')?;
        let n: usize = std::str::from_utf8(&bytes[*at + 1..end - 1]).unwrap().parse().unwrap();
        *at = end + 1;
        Some(n)
    };
    let (mut at, mut name) = (0, None);
    for _ in 0..number(&mut at)? {
        let len = number(&mut at)?;
        let arg = bytes.get(at..at + len + 2)?;
        name.get_or_insert_with(|| arg[..len].to_vec());
        at += len + 2;
    }
    Some((name?, bytes[at..].to_vec()))
}

/// A key that was written all the time was sent with its slot locked in the end, and who wanted anything of that slot kept
/// a whole worker waiting for the target.
#[test]
fn a_key_that_is_written_all_the_time_goes_while_others_are_served() {
    let source = Server::start(&["--io-threads", "1"]);
    let (port, requests, go) = reluctant();
    let (mut mover, mut writer, mut other) = (source.connect(), source.connect(), source.connect());
    other.run("SET {t}k v");
    mover.send(&[b"MIGRATE", b"127.0.0.1", port.to_string().as_bytes(), b"{t}k", b"0", b"60000"]);
    for n in 2..5 {
        requests.recv().unwrap();
        assert_eq!(writer.run("APPEND {t}k v").int(), n);
        go.send(()).unwrap();
    }
    requests.recv().unwrap();
    writer.send(&[b"APPEND", b"{t}k", b"v"]);
    other.until("a write that waits", |c| {
        c.run("CLIENT LIST").text().contains("cmd=append") && c.info("blocked_clients") == "2"
    });
    for _ in 0..20 {
        assert_eq!(other.run("GET {t}k").text(), "vvvv");
        assert_eq!(other.run("SET another v").text(), "OK");
    }
    go.send(()).unwrap();
    assert_eq!(mover.read().text(), "OK");
    assert_eq!(writer.read().int(), 1, "the key is gone by then");
    assert_eq!(other.run("SET {t}k v").text(), "OK");
}

#[test]
fn what_left_is_deleted_from_replicas_and_the_append_only_file() {
    let dir = TempDir::new();
    let path = dir.0.to_str().unwrap().to_owned();
    let args = ["--appendonly", "yes", "--appendfsync", "always", "--dir", &path, "--repl-diskless-sync-delay", "0"];
    let target = Server::start(&[]);
    let source = Server::start(&args);
    let replica = Server::start(&["--replicaof", "127.0.0.1", &source.port.to_string()]);
    let (mut from, mut follower) = (source.connect(), replica.connect());
    for n in 0..10 {
        from.run(&format!("SET key:{n} {n}"));
    }
    follower.until("a replica in step", |conn| conn.run("DBSIZE").text() == "10");
    let mut events = source.connect();
    from.run("CONFIG SET notify-keyspace-events Kg");
    events.run("PSUBSCRIBE __keyspace@0__:*");
    assert_eq!(migrate_keys(&mut from, target.port, &[], &["key:1", "key:2"]), "OK");
    follower.until("the deletions", |conn| conn.run("DBSIZE").text() == "8");
    assert_eq!(events.read().texts()[2..], ["__keyspace@0__:key:1", "del"]);
    drop(source);
    let again = Server::start(&args);
    assert_eq!(again.connect().run("DBSIZE").int(), 8);
    assert_eq!(target.connect().run("DBSIZE").int(), 2);
}

/// What stands between a source and its target: answers come back once they are let go.
fn slow_answers(target: u16) -> (u16, std::sync::mpsc::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (go, wait_for) = channel::<()>();
    std::thread::spawn(move || {
        let (mut source, _) = listener.accept().unwrap();
        let mut target = TcpStream::connect(("127.0.0.1", target)).unwrap();
        let (mut from, mut to) = (source.try_clone().unwrap(), target.try_clone().unwrap());
        std::thread::spawn(move || std::io::copy(&mut from, &mut to));
        wait_for.recv().unwrap();
        let _ = std::io::copy(&mut target, &mut source);
    });
    (port, go)
}

/// A key that was deleted while a copy of it was under way could be written again at the target before MIGRATE removed the
/// copy there: that took the new value, which had been acknowledged.
#[test]
fn what_is_written_after_a_key_under_way_was_deleted_stays() {
    let nodes = three();
    let (source, target) = (&nodes[0], &nodes[1]);
    let tag = (0..).map(|n| format!("t{n}")).find(|tag| key_slot(tag.as_bytes()) < 5000).unwrap();
    let slot = key_slot(tag.as_bytes());
    let (key, other) = (format!("{{{tag}}}:key"), format!("{{{tag}}}:other"));
    assert_eq!(source.run(&format!("SET {key} old")), "OK");
    assert_eq!(target.run(&format!("CLUSTER SETSLOT {slot} IMPORTING {}", source.id())), "OK");
    assert_eq!(source.run(&format!("CLUSTER SETSLOT {slot} MIGRATING {}", target.id())), "OK");
    let (port, go) = slow_answers(target.port());
    let mut mover = source.server.connect();
    mover.send(&[b"MIGRATE", b"127.0.0.1", port.to_string().as_bytes(), key.as_bytes(), b"0", b"60000"]);
    let there = |line: &str| {
        let mut conn = target.server.connect();
        conn.run("ASKING");
        conn.run(line)
    };
    wait("the copy", || there(&format!("EXISTS {key}")).int() == 1);
    // A transaction that was queued while the key was here.
    let (mut conn, mut queued) = (source.server.connect(), source.server.connect());
    queued.run("MULTI");
    assert_eq!(queued.run(&format!("SET {key} new")).text(), "QUEUED");
    assert_eq!(conn.run(&format!("DEL {key}")).int(), 1);
    assert!(conn.run(&format!("GET {other}")).text().starts_with("ASK"), "one that was never here");
    // Where a client is sent to, in a transaction and outside: nowhere yet.
    let written = Arc::new(AtomicU64::new(0));
    let writers: Vec<_> = [(source.server.connect(), false), (queued, true)]
        .into_iter()
        .map(|(mut conn, in_multi)| {
            let (set, written) = (format!("SET {key} new"), written.clone());
            let target = target.port();
            std::thread::spawn(move || {
                let reply = if in_multi { conn.run("EXEC").text() } else { conn.run(&set).text() };
                assert!(reply.starts_with("ASK"), "{reply}");
                let mut there = Conn::open(target);
                there.run("ASKING");
                assert_eq!(there.run(&set).text(), "OK");
                written.fetch_add(1, Relaxed);
            })
        })
        .collect();
    let blocked = || source.server.connect().info("blocked_clients").parse::<u64>().unwrap();
    wait("writers", || blocked() + written.load(Relaxed) >= 3);
    go.send(()).unwrap();
    assert_eq!(mover.read().text(), "OK");
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    assert_eq!(there(&format!("GET {key}")).text(), "new");
}
