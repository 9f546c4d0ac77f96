//! Keys with very many members go to other nodes, and come from them, while everybody else is served.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use dunlin::base::slot::key_slot;
use support::cluster::{Node, agree, cli, wait};
use support::{Conn, Server, TempDir, dunlin, free_port};

const MEMBERS: usize = 100_000;

/// A big key of each type, all with this tag.
fn fill(conn: &mut Conn, tag: &str) -> Vec<String> {
    let mut keys = fill_some(conn, tag, &["RPUSH", "SADD", "ZADD", "HSET", "XADD"]);
    let text: Vec<u8> = (0..3_000_000u32).map(|n| b'a' + (n * 7 % 23) as u8).collect();
    keys.push(format!("{{{tag}}}:text"));
    assert_eq!(conn.command(&[b"SET", keys[5].as_bytes(), &text]).text(), "OK");
    keys
}

/// A big key for each of these verbs.
fn fill_some(conn: &mut Conn, tag: &str, verbs: &[&str]) -> Vec<String> {
    let mut keys = Vec::new();
    let member = |n: usize| format!("member:{n}").into_bytes();
    for verb in verbs {
        let kind = match *verb {
            "RPUSH" => "list",
            "SADD" => "set",
            "ZADD" => "zset",
            "HSET" => "hash",
            _ => "stream",
        };
        let key = format!("{{{tag}}}:{kind}");
        let mut sent = 0;
        for from in (0..MEMBERS).step_by(1000) {
            let mut argv: Vec<Vec<u8>> = vec![verb.as_bytes().to_vec(), key.clone().into_bytes()];
            for n in from..from + 1000 {
                match *verb {
                    "ZADD" => argv.extend([n.to_string().into_bytes(), member(n)]),
                    "HSET" => argv.extend([member(n), b"value".to_vec()]),
                    "XADD" => argv.extend([format!("{}-1", n + 1).into_bytes(), b"field".to_vec(), member(n)]),
                    _ => argv.push(member(n)),
                }
                if *verb == "XADD" {
                    conn.send(&argv.iter().map(|a| &a[..]).collect::<Vec<_>>());
                    argv.truncate(2);
                    sent += 1;
                }
            }
            if *verb != "XADD" {
                conn.send(&argv.iter().map(|a| &a[..]).collect::<Vec<_>>());
                sent += 1;
            }
        }
        (0..sent).for_each(|_| assert!(!conn.read().is_error()));
        keys.push(key);
    }
    keys
}

fn digests(conn: &mut Conn, keys: &[String]) -> Vec<String> {
    conn.run(&format!("DEBUG DIGEST-VALUE {}", keys.join(" "))).texts()
}

#[test]
fn big_values_of_every_type_go_to_redis_and_come_back() {
    let (mut command, port) = (support::redis(), free_port());
    command.args(["--port", &port.to_string(), "--save", "", "--enable-debug-command", "yes"]);
    let (ours, theirs) = (Server::start(&[]), Server::run(command, port));
    let (mut here, mut there) = (ours.connect(), theirs.connect());
    let keys = fill(&mut here, "t");
    let before = digests(&mut here, &keys);
    let line =
        |port: u16| format!("MIGRATE 127.0.0.1 {port} \"\" 0 60000 KEYS {}", keys.join(" ")).replace("\"\"", "_");
    let to = |conn: &mut Conn, port: u16| {
        let line = line(port);
        let argv: Vec<&[u8]> = line.split(' ').map(|w| if w == "_" { &b""[..] } else { w.as_bytes() }).collect();
        assert_eq!(conn.command(&argv).text(), "OK");
    };
    to(&mut here, theirs.port);
    assert_eq!((here.run("DBSIZE").int(), there.run("DBSIZE").int()), (0, keys.len() as i64));
    assert_eq!(digests(&mut there, &keys), before);
    to(&mut there, ours.port);
    assert_eq!((here.run("DBSIZE").int(), there.run("DBSIZE").int()), (keys.len() as i64, 0));
    assert_eq!(digests(&mut here, &keys), before);
}

/// A write to a big key is in one of the two servers, wherever the key was between its first step and its last.
#[test]
fn no_write_to_a_big_key_on_its_way_is_lost() {
    let (a, b) = (Server::start(&[]), Server::start(&[]));
    let (port, target) = (a.port, b.port);
    let (mut from, mut to) = (a.connect(), b.connect());
    let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
    let (stopped, counted) = (stop.clone(), done.clone());
    let writer = std::thread::spawn(move || {
        let mut conn = Conn::open(port);
        while !stopped.load(Relaxed) {
            let added = conn.run("HINCRBY {t}:hash count 1");
            assert!(added.int() > 0);
            counted.fetch_add(1, Relaxed);
        }
    });
    let mut there = 0;
    for _ in 0..5 {
        fill_some(&mut from, "t", &["HSET"]);
        assert_eq!(from.run(&format!("MIGRATE 127.0.0.1 {target} {{t}}:hash 0 60000")).text(), "OK");
        there += to.run("HGET {t}:hash count").text().parse::<u64>().unwrap_or(0);
        to.run("FLUSHALL");
    }
    stop.store(true, Relaxed);
    writer.join().unwrap();
    let here: u64 = from.run("HGET {t}:hash count").text().parse().unwrap_or(0);
    assert_eq!(here + there, done.load(Relaxed));
}

/// How many requests are answered while `ask` is.
fn answered_meanwhile(other: &mut Conn, line: &str, ask: impl FnOnce() + Send) -> u64 {
    let done = AtomicBool::new(false);
    std::thread::scope(|s| {
        s.spawn(|| {
            ask();
            done.store(true, Relaxed);
        });
        let mut n = 0;
        while !done.load(Relaxed) {
            assert!(!other.run(line).is_error());
            n += 1;
        }
        n
    })
}

/// The only worker served nobody while it took a big value apart, and whoever wanted the slot waited while one was
/// written out.
#[test]
fn others_are_served_while_a_big_value_comes_and_goes() {
    let one = ["--io-threads", "1"];
    let (a, b) = (Server::start(&one), Server::start(&one));
    let (mut from, mut to, mut writer) = (a.connect(), b.connect(), b.connect());
    fill(&mut from, "t");
    let payload = from.command(&[b"DUMP", b"{t}:zset"]);
    let support::Value::Bulk(payload) = payload else { panic!("no payload") };
    // All but the last bytes have arrived when the count begins.
    let mut request = Vec::new();
    request
        .extend_from_slice(format!("*4\r\n$7\r\nRESTORE\r\n$1\r\nz\r\n$1\r\n0\r\n${}\r\n", payload.len()).as_bytes());
    request.extend_from_slice(&payload);
    writer.send_raw(&request);
    // The first three arguments are whole, and count as such.
    let all = format!(" qbuf={} ", request.len() - "RESTOREz0".len());
    to.until("all of it", |c| c.run("CLIENT LIST").text().contains(&all));
    let n = answered_meanwhile(&mut to, "PING", || {
        writer.send_raw(b"\r\n");
        assert_eq!(writer.read().text(), "OK");
    });
    assert!(n > 10, "{n} while a value came");
    assert_eq!(to.run("ZCARD z").int() as usize, MEMBERS);
    assert_eq!(from.run("SET {t}:other x").text(), "OK");
    let mut asker = a.connect();
    let target = b.port;
    let n = answered_meanwhile(&mut from, "APPEND {t}:other x", || {
        assert_eq!(asker.run(&format!("MIGRATE 127.0.0.1 {target} {{t}}:zset 0 60000")).text(), "OK");
    });
    assert!(n > 10, "{n} while a value went");
}

/// What is prepared on another thread is checked like any other request, and in its order.
#[test]
fn a_long_restore_is_like_a_short_one() {
    let dir = TempDir::new();
    let path = dir.0.to_str().unwrap().to_owned();
    let args = ["--appendonly", "yes", "--dir", &path, "--repl-diskless-sync-delay", "0"];
    let server = Server::start(&args);
    let replica = Server::start(&["--replicaof", "127.0.0.1", &server.port.to_string()]);
    let mut conn = server.connect();
    conn.until("the replica", |c| c.info("connected_slaves") == "1");
    let keys = fill(&mut conn, "t");
    let dump = |conn: &mut Conn, key: &str| match conn.command(&[b"DUMP", key.as_bytes()]) {
        support::Value::Bulk(payload) => payload,
        other => panic!("{}", other.text()),
    };
    let payloads: Vec<Vec<u8>> = keys.iter().map(|key| dump(&mut conn, key)).collect();
    let copies: Vec<String> = keys.iter().map(|key| format!("copy:{key}")).collect();
    // In a pipeline, between others.
    for (copy, payload) in copies.iter().zip(&payloads) {
        conn.send(&[b"SET", b"n", b"1"]);
        conn.send(&[b"RESTORE", copy.as_bytes(), b"0", payload]);
        conn.send(&[b"INCR", b"n"]);
        conn.send(&[b"RESTORE", copy.as_bytes(), b"0", payload]);
        conn.send(&[b"EXISTS", copy.as_bytes()]);
        let replies: Vec<String> = (0..5).map(|_| conn.read().text_or("")).collect();
        assert_eq!(replies[..2], ["OK", "OK"], "{copy}");
        assert_eq!(replies[3], "BUSYKEY Target key name already exists.");
    }
    let expected = digests(&mut conn, &keys);
    assert_eq!(digests(&mut conn, &copies), expected);
    // Bad ones.
    let payload = &payloads[1];
    let mut broken = payload.clone();
    broken[1000] ^= 1;
    let text = conn.command(&[b"RESTORE", b"bad", b"0", &broken]).text();
    assert_eq!(text, "ERR DUMP payload version or checksum are wrong");
    let end = broken.len() - 8;
    broken[end..].fill(0);
    broken.truncate(end - 1000);
    broken.extend_from_slice(&[10, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(conn.command(&[b"RESTORE", b"bad", b"0", &broken]).text(), "ERR Bad data format");
    assert_eq!(conn.command(&[b"RESTORE", b"bad", b"-1", payload]).text(), "ERR Invalid TTL value, must be >= 0");
    assert_eq!(conn.command(&[b"RESTORE", b"bad", b"0", payload, b"NOW"]).text(), "ERR syntax error");
    assert_eq!(conn.run("EXISTS bad").int(), 0);
    // Nobody may who may not.
    assert_eq!(conn.run("ACL SETUSER some on nopass ~ok +@all").text(), "OK");
    let mut some = server.connect();
    assert_eq!(some.run("AUTH some x").text(), "OK");
    assert!(some.command(&[b"RESTORE", b"no", b"0", payload]).text().starts_with("NOPERM"));
    assert_eq!(some.command(&[b"RESTORE", b"ok", b"0", payload]).text(), "OK");
    // In a transaction, with a time.
    conn.run("MULTI");
    conn.send(&[b"RESTORE", b"ok", b"500000", payload, b"REPLACE"]);
    conn.send(&[b"SCARD", b"ok"]);
    conn.send(&[b"EXEC"]);
    assert_eq!((conn.read().text(), conn.read().text()), ("QUEUED".to_owned(), "QUEUED".to_owned()));
    assert_eq!(conn.read().items()[1].int() as usize, MEMBERS);
    assert!(conn.run("PTTL ok").int() > 400_000);
    // It is with the replica, and there again after a restart.
    let digest = conn.run("DEBUG DIGEST").text();
    let mut follower = replica.connect();
    follower.until("the same data", |c| c.run("DEBUG DIGEST").text() == digest);
    let port = server.port;
    drop((conn, some));
    server.signal("TERM");
    assert_eq!(server.wait(), Some(0));
    let again = Server::start_on(port, &args);
    assert_eq!(again.connect().run("DEBUG DIGEST").text(), digest);
}

#[test]
fn big_values_move_with_their_slot_while_they_are_written() {
    let command = || {
        let mut command = dunlin();
        command.args(["--enable-debug-command", "yes"]);
        command
    };
    let nodes: Vec<Node> = (0..3).map(|_| Node::of(command())).collect();
    let at: Vec<String> = nodes.iter().map(Node::at).collect();
    cli(&["create", &at[0], &at[1], &at[2], "--cluster-yes"]);
    agree(&nodes.iter().collect::<Vec<_>>());
    let tag = (0..).map(|n| format!("t{n}")).find(|tag| key_slot(tag.as_bytes()) < 5000).unwrap();
    let slot = key_slot(tag.as_bytes());
    let keys = fill(&mut nodes[0].server.connect(), &tag);
    let before = digests(&mut nodes[0].server.connect(), &keys);
    // Counters in two of the big keys, by clients that follow the slot.
    let stop = Arc::<AtomicBool>::default();
    let ports: Vec<u16> = nodes.iter().map(Node::port).collect();
    let writers: Vec<_> = ["hash", "zset"]
        .into_iter()
        .map(|kind| {
            let (stop, ports, key) = (stop.clone(), ports.clone(), format!("{{{tag}}}:{kind}"));
            std::thread::spawn(move || {
                let mut conns: Vec<Conn> = ports.iter().map(|port| Conn::open(*port)).collect();
                let verb = if kind == "hash" { "HINCRBY" } else { "ZINCRBY" };
                let line =
                    if kind == "hash" { format!("{verb} {key} count 1") } else { format!("{verb} {key} 1 count") };
                let (mut at, mut n) = (0, 0u64);
                while !stop.load(Relaxed) {
                    let reply = conns[at].run(&line);
                    if reply.is_error() {
                        let text = reply.text();
                        let port = text.strip_prefix("MOVED ").and_then(|t| t.rsplit(':').next()?.parse().ok());
                        let port: u16 = port.unwrap_or_else(|| panic!("{text}"));
                        at = ports.iter().position(|p| *p == port).unwrap();
                    } else {
                        n += 1;
                    }
                }
                n
            })
        })
        .collect();
    for to in [1, 2, 0] {
        let from = (to + 2) % 3;
        let reply = nodes[from].run(&format!("CLUSTER MIGRATESLOTS SLOTSRANGE {slot} {slot} NODE {}", nodes[to].id()));
        assert_eq!(reply, "OK");
        wait("the move", || {
            let reply = nodes[from].server.connect().run("CLUSTER GETSLOTMIGRATIONS");
            let row = reply.items()[0].texts().join(" ");
            assert!(!row.contains("state failed"), "{row}");
            row.contains("state success")
        });
        agree(&nodes.iter().collect::<Vec<_>>());
    }
    stop.store(true, Relaxed);
    let counts: Vec<u64> = writers.into_iter().map(|w| w.join().unwrap()).collect();
    let mut conn = nodes[0].server.connect();
    let (hash, zset) = (format!("{{{tag}}}:hash"), format!("{{{tag}}}:zset"));
    assert_eq!(conn.run(&format!("HGET {hash} count")).text(), counts[0].to_string());
    assert_eq!(conn.run(&format!("ZSCORE {zset} count")).text(), counts[1].to_string());
    conn.run(&format!("HDEL {hash} count"));
    conn.run(&format!("ZREM {zset} count"));
    assert_eq!(digests(&mut conn, &keys), before);
}
