//! The append-only file: ours for Redis, Redis's for us, kills, full disks, spoilt files.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use support::{Conn, Server, TempDir, Value, dunlin, free_port, redis};

fn start_in(dir: &Path, mut command: Command, args: &[&str]) -> Server {
    let port = free_port();
    command
        .current_dir(dir)
        .args(["--port", &port.to_string(), "--enable-debug-command", "yes", "--save", ""])
        .args(args);
    Server::run(command, port)
}

const ON: [&str; 2] = ["--appendonly", "yes"];

fn digest(c: &mut Conn) -> String {
    c.run("DEBUG DIGEST").text()
}

fn files(dir: &Path) -> Vec<String> {
    let list = std::fs::read_dir(dir.join("appendonlydir")).unwrap().flatten();
    let mut names: Vec<String> = list.map(|f| f.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Writes of all types, with transactions and expiries.
fn work(c: &mut Conn, from: u32) {
    for i in from..from + 300 {
        c.run(&format!("SELECT {}", i % 3));
        c.run(&format!("SET s{} {i} EX 10000", i % 50));
        c.run(&format!("APPEND s{} x", i % 70));
        c.run(&format!("RPUSH l{} {i} b", i % 20));
        c.run(&format!("LPOP l{}", i % 30));
        c.run(&format!("SADD set{} {i} {}", i % 10, i * 7));
        c.run(&format!("SPOP set{}", i % 10));
        c.run(&format!("ZADD z{} {i}.5 m{i}", i % 10));
        c.run(&format!("HSET h{} f{i} {i}", i % 10));
        c.run(&format!("INCRBYFLOAT float{} 0.5", i % 5));
        c.run(&format!("SET short{} 1 PX 1", i % 5));
        c.run(&format!("XADD x{} MAXLEN ~ 40 * f {i}", i % 4));
        c.run(&format!("XGROUP CREATE x{} g 0 MKSTREAM", i % 5));
        c.run(&format!("XREADGROUP GROUP g c COUNT 2 STREAMS x{} >", i % 4));
        c.run("MULTI");
        c.run(&format!("INCR n{}", i % 5));
        c.run(&format!("DEL s{}", i % 90));
        c.run("EXEC");
    }
    c.run("SELECT 0");
}

fn settle(c: &mut Conn) {
    c.until("the short-lived keys", |c| {
        c.run("INFO keyspace").text().lines().filter(|l| l.starts_with("db")).all(|l| {
            let field = |name: &str| {
                let rest = &l[l.find(name).unwrap() + name.len()..];
                rest[..rest.find(',').unwrap()].parse::<u32>().unwrap()
            };
            let _ = field("keys=");
            true
        }) && (0..3).all(|db| {
            c.run(&format!("SELECT {db}"));
            (0..5).all(|i| c.run(&format!("EXISTS short{i}")).int() == 0)
        })
    });
    c.run("SELECT 0");
}

#[test]
fn with_fsync_always_no_reply_comes_before_a_slow_write() {
    let dir = TempDir::in_memory();
    let args = ["--appendonly", "yes", "--appendfsync", "always", "--dir", dir.0.to_str().unwrap()];
    let server = Server::start(&args);
    let mut c = server.connect();
    assert_eq!(c.run("DEBUG AOF-FLUSH-SLEEP 300000").text(), "OK");
    assert!(c.run("DEBUG AOF-FLUSH-SLEEP -1").is_error());
    let start = dunlin::base::clock::mono_ns();
    assert_eq!(c.run("SET key value").text(), "OK");
    assert!(dunlin::base::clock::mono_ns() - start >= 300_000_000);
    // A file that is begun later is as slow.
    c.run("CONFIG SET appendonly no");
    c.run("CONFIG SET appendonly yes");
    c.until("its base is there", |c| {
        c.info("aof_rewrite_in_progress") == "0" && c.info("aof_rewrite_scheduled") == "0"
    });
    let start = dunlin::base::clock::mono_ns();
    assert_eq!(c.run("SET key value").text(), "OK");
    assert!(dunlin::base::clock::mono_ns() - start >= 300_000_000);
}

#[test]
fn redis_starts_from_our_directory_and_we_from_its() {
    for preamble in ["yes", "no"] {
        let dir = TempDir::new();
        let options = [&ON[..], &["--aof-use-rdb-preamble", preamble]].concat();
        let ours = start_in(&dir.0, dunlin(), &options);
        let mut c = ours.connect();
        work(&mut c, 0);
        assert_eq!(c.run("BGREWRITEAOF").text(), "Background append only file rewriting started");
        c.until("the rewrite", |c| c.info("aof_rewrites") == "1");
        work(&mut c, 1000);
        settle(&mut c);
        let expected = digest(&mut c);
        ours.signal("TERM");
        assert_eq!(ours.wait(), Some(0));
        let manifest = dir.0.join("appendonlydir/appendonly.aof.manifest");
        let check = Command::new("redis-check-aof").arg(&manifest).output().unwrap();
        assert!(check.status.success(), "{check:?}");
        let theirs = start_in(&dir.0, redis(), &options);
        let mut c = theirs.connect();
        assert_eq!(digest(&mut c), expected, "preamble {preamble}");
        work(&mut c, 2000);
        c.run("BGREWRITEAOF");
        c.until("the rewrite", |c| c.info("aof_rewrite_in_progress") == "0" && c.info("aof_rewrite_scheduled") == "0");
        work(&mut c, 3000);
        settle(&mut c);
        let expected = digest(&mut c);
        theirs.signal("TERM");
        theirs.wait();
        let again = start_in(&dir.0, dunlin(), &options);
        let mut c = again.connect();
        assert_eq!(digest(&mut c), expected, "preamble {preamble}");
        assert_eq!(c.run("DEBUG LOADAOF").text(), "OK");
        assert_eq!(digest(&mut c), expected);
        c.run("SET after loading");
        drop(again);
    }
}

/// A rewrite without a preamble left the functions out.
#[test]
fn a_rewrite_keeps_the_functions() {
    for preamble in ["yes", "no"] {
        let dir = TempDir::new();
        let options = [&ON[..], &["--aof-use-rdb-preamble", preamble]].concat();
        let server = start_in(&dir.0, dunlin(), &options);
        let mut c = server.connect();
        let code = b"#!lua name=lib\nredis.register_function('f', function() return 7 end)";
        assert_eq!(c.command(&[b"FUNCTION", b"LOAD", code]).text(), "lib");
        c.run("BGREWRITEAOF");
        c.until("the rewrite", |c| c.info("aof_rewrites") == "1");
        assert_eq!(c.run("DEBUG LOADAOF").text(), "OK");
        assert_eq!(c.run("FCALL f 0").int(), 7, "preamble {preamble}");
        drop(server);
        let theirs = start_in(&dir.0, redis(), &options);
        assert_eq!(theirs.connect().run("FUNCTION LIST").items().len(), 1, "preamble {preamble}");
    }
}

/// It was BUSY, which clients take for a script that they could kill.
#[test]
fn a_script_that_is_slow_while_it_is_loaded_says_loading() {
    let dir = TempDir::new();
    let script = "for i = 1, 3000000 do redis.call('ping') end redis.call('set', KEYS[1], 'y')";
    let text = format!("*4\r\n$4\r\neval\r\n${}\r\n{script}\r\n$1\r\n1\r\n$1\r\nx\r\n", script.len());
    dir.file("appendonly.aof", &text);
    let port = free_port();
    let mut command = dunlin();
    command.current_dir(&dir.0).args(["--port", &port.to_string(), "--busy-reply-threshold", "1"]).args(ON);
    let server = Server::spawn(command, port);
    server.wait_for_log("Server initialized");
    let mut c = server.connect();
    let mut told = 0;
    c.until("the end of the script", |c| {
        let reply = c.run("PING").text();
        told += u32::from(reply.starts_with("LOADING "));
        assert!(reply == "PONG" || reply.starts_with("LOADING "), "{reply}");
        reply == "PONG"
    });
    assert!(told > 0);
    assert_eq!(c.run("GET x").text(), "y");
}

#[test]
fn it_can_be_turned_on_and_off_while_clients_write() {
    let dir = TempDir::in_memory();
    let server = start_in(&dir.0, dunlin(), &[]);
    let mut c = server.connect();
    work(&mut c, 0);
    assert_eq!(c.info("aof_enabled"), "0");
    assert_eq!(c.run("CONFIG SET appendonly yes").text(), "OK");
    c.until("the first rewrite", |c| c.info("aof_rewrites") == "1");
    work(&mut c, 500);
    settle(&mut c);
    let expected = digest(&mut c);
    assert_eq!(c.run("CONFIG SET appendonly no").text(), "OK");
    c.run("SET not written");
    c.until("the end of what was replaced", |_| files(&dir.0).len() == 3);
    drop(server);
    let server = start_in(&dir.0, dunlin(), &ON);
    let mut c = server.connect();
    assert_eq!(digest(&mut c), expected);
    // Growth starts a rewrite by itself.
    c.run("CONFIG SET auto-aof-rewrite-min-size 1000");
    c.run("CONFIG SET auto-aof-rewrite-percentage 50");
    work(&mut c, 900);
    c.until("the rewrite of growth", |c| c.info("aof_rewrites") != "0");
    settle(&mut c);
    let expected = digest(&mut c);
    // A kill might lose what was not written yet: with everysec that is no promise.
    server.signal("TERM");
    server.wait();
    let server = start_in(&dir.0, dunlin(), &ON);
    assert_eq!(digest(&mut server.connect()), expected);
}

/// A change of `aof-use-rdb-preamble` in the next instant had a say in it; and without the preamble `rdb-key-save-delay` had none.
#[test]
fn a_rewrite_keeps_the_form_it_began_with_and_is_held_back_in_either() {
    let dir = TempDir::in_memory();
    let server = start_in(&dir.0, dunlin(), &ON);
    let mut c = server.connect();
    (0..25).for_each(|n| drop(c.run(&format!("SET key:{n} value"))));
    for round in 2..=21 {
        let (form, kind, other) = if round % 2 == 0 { ("no", "aof", "yes") } else { ("yes", "rdb", "no") };
        c.run(&format!("CONFIG SET aof-use-rdb-preamble {form}"));
        // Two of them take their time.
        let delay = if round < 4 { 10_000 } else { 0 };
        c.run(&format!("CONFIG SET rdb-key-save-delay {delay}"));
        let begun = support::replicas::now();
        c.send_raw(format!("BGREWRITEAOF\r\nCONFIG SET aof-use-rdb-preamble {other}\r\n").as_bytes());
        assert_eq!(c.read().text(), "Background append only file rewriting started");
        assert_eq!(c.read().text(), "OK");
        c.until("the end of the rewrite", |c| c.info("aof_rewrite_in_progress") == "0");
        let base = format!("appendonly.aof.{round}.base.{kind}");
        assert!(files(&dir.0).contains(&base), "{base} is not in {:?}", files(&dir.0));
        let taken = begun.elapsed();
        assert!(delay == 0 || taken >= std::time::Duration::from_millis(240), "{kind}: {taken:?}");
    }
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let dir = TempDir::in_memory();
    let rounds = std::env::var("DUNLIN_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(8);
    let mut acknowledged = [0i64; 4];
    for round in 0..rounds {
        let server = start_in(&dir.0, dunlin(), &[&ON[..], &["--appendfsync", "always"]].concat());
        let mut c = server.connect();
        for (i, n) in acknowledged.iter().enumerate() {
            let have = |c: &mut Conn, key: &str| c.run(&format!("GET {key}{i}")).clone();
            let value = |v: Value| if v == Value::Nil { 0 } else { v.text().parse::<i64>().unwrap() };
            let (a, b) = (value(have(&mut c, "a")), value(have(&mut c, "b")));
            assert!(a >= *n, "round {round}: {n} was acknowledged, {a} is there");
            assert_eq!(a, b, "round {round}: half a transaction");
        }
        let port = server.port;
        let workers: Vec<_> = (0..4)
            .map(|i| {
                std::thread::spawn(move || {
                    let mut c = Conn::open(port);
                    let mut last = 0;
                    for _ in 0..100_000 {
                        c.send_raw(format!("MULTI\r\nINCR a{i}\r\nINCR b{i}\r\nEXEC\r\n").as_bytes());
                        for _ in 0..3 {
                            if c.try_read().is_none() {
                                return last;
                            }
                        }
                        match c.try_read() {
                            Some(reply) => last = reply.items()[0].int(),
                            None => return last,
                        }
                    }
                    last
                })
            })
            .collect();
        let before: i64 = acknowledged.iter().sum();
        c.until("some writes", |c| {
            let all: i64 = (0..4).map(|i| c.run(&format!("GET a{i}")).text_or("0").parse::<i64>().unwrap()).sum();
            all > before + 40 + round * 13
        });
        if round % 3 == 1 {
            c.run("BGREWRITEAOF");
        }
        server.signal("KILL");
        server.wait();
        for (n, w) in acknowledged.iter_mut().zip(workers) {
            *n = (*n).max(w.join().unwrap());
        }
    }
    assert!(acknowledged.iter().all(|n| *n > 0), "{acknowledged:?}");
}

#[test]
fn a_file_that_ends_in_the_middle_is_cut_back_or_refused() {
    let dir = TempDir::in_memory();
    let server = start_in(&dir.0, dunlin(), &ON);
    let mut c = server.connect();
    c.run("SET a 1");
    c.run("SET b 2");
    server.signal("TERM");
    server.wait();
    let path = dir.0.join("appendonlydir/appendonly.aof.1.incr.aof");
    let good = std::fs::read(&path).unwrap();
    let refused = |args: &[&str]| {
        let port = free_port().to_string();
        let all = [&ON[..], &["--port", &port, "--save", ""], args].concat();
        let output = dunlin().current_dir(&dir.0).args(&all).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    for tail in [&b"*3\r\n$3\r\nSET\r\n$1\r\nc"[..], b"*1\r\n$5\r\nMULTI\r\n*3\r\n$3\r\nSET\r\n$1\r\nc\r\n$1\r\n3\r\n"]
    {
        std::fs::write(&path, [&good, tail].concat()).unwrap();
        let text = refused(&["--aof-load-truncated", "no"]);
        assert!(text.contains(&format!("at offset {}", good.len())) && text.contains("incr.aof"), "{text}");
        assert_eq!(std::fs::read(&path).unwrap().len(), good.len() + tail.len(), "left alone");
        let server = start_in(&dir.0, dunlin(), &ON);
        assert_eq!(server.connect().run("DBSIZE").int(), 2);
        server.signal("KILL");
        server.wait();
        assert_eq!(std::fs::read(&path).unwrap(), good);
    }
    std::fs::write(&path, [&good[..], b"*3\r\n$3\r\nSEX\r\n$1\r\na\r\n$1\r\nb\r\n"].concat()).unwrap();
    assert!(refused(&[]).contains("Unknown command 'SEX' reading the append only file"));
    std::fs::write(&path, [&good[..], b"hello\r\n"].concat()).unwrap();
    let text = refused(&[]);
    assert!(text.contains("Bad file format") && text.contains(&format!("at offset {}", good.len())), "{text}");
    let manifest = dir.0.join("appendonlydir/appendonly.aof.manifest");
    std::fs::write(&manifest, "file a seq 1\n").unwrap();
    assert!(refused(&[]).contains("line 1"));
    std::fs::write(&manifest, "file nothing.aof seq 1 type b\n").unwrap();
    assert!(refused(&[]).contains("nothing.aof"));
}

#[test]
fn a_directory_belongs_to_one_process() {
    let dir = TempDir::in_memory();
    let server = start_in(&dir.0, dunlin(), &ON);
    let port = free_port().to_string();
    let output = dunlin().current_dir(&dir.0).args(["--port", &port, "--appendonly", "yes"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("appendonlydir is in use by another process"), "{text}");
    assert_eq!(server.connect().run("PING").text(), "PONG");
}

#[test]
fn an_old_single_file_is_taken_over() {
    let dir = TempDir::in_memory();
    std::fs::write(
        dir.0.join("appendonly.aof"),
        "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n#TS:1700000000\r\n*2\r\n$4\r\nINCR\r\n$1\r\na\r\n",
    )
    .unwrap();
    let server = start_in(&dir.0, dunlin(), &ON);
    assert_eq!(server.connect().run("GET a").text(), "2");
    assert!(!dir.0.join("appendonly.aof").exists());
    assert_eq!(files(&dir.0), ["appendonly.aof", "appendonly.aof.1.incr.aof", "appendonly.aof.manifest"]);
}

#[test]
fn waitaof_tells_what_is_on_disk() {
    let dir = TempDir::in_memory();
    let server = start_in(&dir.0, dunlin(), &[&ON[..], &["--appendfsync", "everysec"]].concat());
    let mut c = server.connect();
    c.run("SET a 1");
    assert_eq!(c.run("WAITAOF 1 0 10000"), Value::Array(vec![Value::Int(1), Value::Int(0)]));
    assert_eq!(c.run("WAITAOF 0 1 10"), Value::Array(vec![Value::Int(1), Value::Int(0)]));
    assert_eq!(c.run("WAITAOF 2 0 0").text(), "ERR value is out of range, value must between 0 and 1");
    let replica_dir = TempDir::in_memory();
    let replica = start_in(&replica_dir.0, dunlin(), &ON);
    replica.connect().run(&format!("REPLICAOF 127.0.0.1 {}", server.port));
    c.run("CONFIG SET repl-diskless-sync-delay 0");
    let mut r = replica.connect();
    r.until("the link", |r| r.info("master_link_status") == "up" && r.info("aof_rewrites") == "1");
    // No PING follows: a replica once told its file one command late.
    c.run("CONFIG SET repl-ping-replica-period 3600");
    c.run("SET a 2");
    assert_eq!(c.run("WAITAOF 1 1 10000"), Value::Array(vec![Value::Int(1), Value::Int(1)]));
    drop(replica);
    let again = start_in(&replica_dir.0, dunlin(), &ON);
    assert_eq!(again.connect().run("GET a").text(), "2");
}

/// With fsync always they waited for what the log has for replicas alone, until the next write: for ever.
#[test]
fn replies_wait_for_no_more_of_the_log_than_goes_to_the_file() {
    let (dir, replica_dir) = (TempDir::in_memory(), TempDir::in_memory());
    let options = [&ON[..], &["--appendfsync", "always", "--repl-diskless-sync-delay", "0"]].concat();
    let server = start_in(&dir.0, dunlin(), &options);
    let mut c = server.connect();
    let replica = start_in(&replica_dir.0, dunlin(), &ON);
    replica.connect().run(&format!("REPLICAOF 127.0.0.1 {}", server.port));
    replica.connect().until("the link", |r| r.info("master_link_status") == "up" && r.info("aof_rewrites") == "1");
    c.run("CONFIG SET repl-ping-replica-period 3600");
    for _ in 0..3 {
        c.run("SET a 1");
        // It asks the replica how far it is, by way of the log.
        assert_eq!(c.run("WAITAOF 1 1 10000"), Value::Array(vec![Value::Int(1), Value::Int(1)]));
    }
}

/// Replies waited for the offset of a write to a history that was long since replaced by a shorter one.
#[test]
fn who_wrote_to_another_history_waits_for_nothing_of_it() {
    let (dir, other_dir) = (TempDir::in_memory(), TempDir::in_memory());
    let options = [&ON[..], &["--appendfsync", "always"]].concat();
    let server = start_in(&dir.0, dunlin(), &options);
    let other = start_in(&other_dir.0, dunlin(), &["--repl-diskless-sync-delay", "0"]);
    let mut c = server.connect();
    for _ in 0..200 {
        c.run("SET key a-value-of-some-length");
    }
    assert_eq!(c.run(&format!("REPLICAOF 127.0.0.1 {}", other.port)).text(), "OK");
    server.connect().until("the link", |r| r.info("master_link_status") == "up" && r.info("aof_rewrites") == "1");
    assert_eq!(c.run("PING").text(), "PONG");
}

/// It said yes although there was no base yet, and a restart would have found nothing.
#[test]
fn waitaof_waits_for_the_first_base_and_hears_when_the_file_is_given_up() {
    let dir = TempDir::in_memory();
    let server = start_in(&dir.0, dunlin(), &["--appendfsync", "always"]);
    let (mut c, mut other) = (server.connect(), server.connect());
    let answer = |local| Value::Array(vec![Value::Int(local), Value::Int(0)]);
    c.run("SET a 1");
    c.run("CONFIG SET rdb-key-save-delay 100000000");
    assert_eq!(c.run("CONFIG SET appendonly yes").text(), "OK");
    c.until("the file", |c| c.info("aof_rewrite_in_progress") == "1");
    c.run("SET b 1");
    assert_eq!(c.run("WAITAOF 1 0 100"), answer(0));
    other.run("SET c 1");
    other.send(&[b"WAITAOF", b"1", b"0", b"0"]);
    c.until("the wait", |c| c.info("blocked_clients") == "1");
    // A delay that is taken back ends at once.
    c.run("CONFIG SET rdb-key-save-delay 0");
    assert_eq!((other.read(), c.info("aof_rewrite_in_progress")), (answer(1), "0".into()));
    c.run("CONFIG SET appendfsync no");
    other.run("SET c 2");
    other.send(&[b"WAITAOF", b"1", b"0", b"0"]);
    c.until("the wait", |c| c.info("blocked_clients") == "1");
    c.run("CONFIG SET appendonly no");
    let error = "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.";
    assert_eq!((other.read().text(), c.run("WAITAOF 1 0 0").text()), (error.into(), error.into()));
}

/// A small file system of its own, if this user may mount one.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Option<SmallDisk> {
        let path = at.join("disk");
        std::fs::create_dir(&path).unwrap();
        let run = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(&path).output().ok()?;
        run.status.success().then_some(SmallDisk(path))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

#[test]
fn a_full_disk_stops_writes_and_loses_nothing() {
    let dir = TempDir::in_memory();
    let Some(disk) = SmallDisk::mount(&dir.0) else {
        println!("not run: this user may not mount a file system");
        return;
    };
    let server = start_in(&disk.0, dunlin(), &[&ON[..], &["--appendfsync", "always"]].concat());
    let port = server.port;
    std::fs::write(disk.0.join("ballast"), vec![0; 400 << 10]).unwrap();
    // The replies of writes that find no room do not come before there is some.
    let writer = std::thread::spawn(move || {
        let mut c = Conn::open(port);
        let mut acknowledged = 0;
        for i in 0..800 {
            if c.command(&[b"SET", format!("k{i}").as_bytes(), &[b'x'; 1000]]).is_error() {
                break;
            }
            acknowledged = i + 1;
        }
        acknowledged
    });
    let mut c = server.connect();
    c.until("the full disk", |c| c.info("aof_last_write_status") == "err");
    assert_eq!(c.run("SET a 1").text(), "MISCONF Errors writing to the AOF file");
    assert_eq!(c.run("GET k1").text().len(), 1000, "reads go on");
    std::fs::remove_file(disk.0.join("ballast")).unwrap();
    c.until("the recovery", |c| c.run("SET a 1") == Value::Simple("OK".into()));
    let acknowledged = writer.join().unwrap();
    assert!(acknowledged > 100);
    server.signal("KILL");
    server.wait();
    let server = start_in(&disk.0, dunlin(), &ON);
    let mut c = server.connect();
    for i in 0..acknowledged {
        assert_eq!(c.run(&format!("EXISTS k{i}")).int(), 1, "k{i} was acknowledged");
    }
    assert_eq!(c.run("GET a").text(), "1");
}

/// A replica that ended right after a full synchronization started again without data: its files had no base yet.
#[test]
fn an_end_right_after_a_full_synchronization_waits_for_the_first_base() {
    let (primary, dir) = (Server::start(&["--repl-diskless-sync-delay", "0"]), TempDir::in_memory());
    let mut conn = primary.connect();
    assert_eq!(conn.run("DEBUG POPULATE 200000 key 100").text(), "OK");
    let port = free_port();
    let start = || {
        let mut command = dunlin();
        command.current_dir(&dir.0).args(["--port", &port.to_string(), "--appendonly", "yes", "--save", ""]);
        Server::run(command, port)
    };
    let replica = start();
    replica.connect().run(&format!("REPLICAOF 127.0.0.1 {}", primary.port));
    replica.connect().until("the data", |c| c.run("DBSIZE").text() == "200000");
    replica.signal("TERM");
    assert_eq!(replica.wait(), Some(0));
    assert_eq!(start().connect().run("DBSIZE").int(), 200_000);
}
