//! Snapshots on disk: ours for Redis, Redis's for us, and what is no good.

mod support;

use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use support::{Conn, Server, TempDir, Value, dunlin, free_port, redis};

fn start_in(dir: &Path, mut command: Command, args: &[&str]) -> Server {
    let port = free_port();
    command.current_dir(dir).args(["--port", &port.to_string(), "--enable-debug-command", "yes"]).args(args);
    Server::run(command, port)
}

/// Every type in every encoding, expiries, several databases, odd bytes.
fn fill(c: &mut Conn) {
    let big = "x".repeat(5000);
    for db in [0, 1, 9] {
        c.run(&format!("SELECT {db}"));
        for (i, text) in ["", "a", "12", "-129", "70000", "5000000000", "12345678901234567890", &big].iter().enumerate()
        {
            c.command(&[b"SET", format!("s{i}").as_bytes(), text.as_bytes()]);
        }
        c.command(&[b"SET", b"\x00\xff\r\n key", b"\x00\xff\r\n value"]);
        c.run("APPEND raw abc");
        for (name, n) in [("small", 5), ("large", 1500)] {
            for i in 0..n {
                c.run(&format!("RPUSH list-{name} {i} element-{i}"));
                c.run(&format!("SADD ints-{name} {i}"));
                c.run(&format!("SADD set-{name} member-{i} {i}"));
                c.run(&format!("ZADD zset-{name} {}.5 member-{i} {i} {i}", i * 3));
                c.run(&format!("HSET hash-{name} field-{i} value-{i} {i} {i}"));
            }
        }
        c.command(&[b"RPUSH", b"list-with-long", big.as_bytes(), b"short", big.as_bytes()]);
        c.run("ZADD zset-edges inf a -inf b 0 c -7.25 d");
        for i in 0..250 {
            c.run(&format!("XADD stream {i}-1 f {i} g value-{i}"));
        }
        c.run("XADD stream 300-1 other fields here too");
        c.run("XDEL stream 7-1 249-1");
        c.run("XTRIM stream MAXLEN 220");
        c.run("XGROUP CREATE stream g 0");
        c.run("XGROUP CREATE empty-stream g $ MKSTREAM");
        c.run("XREADGROUP GROUP g alice COUNT 20 STREAMS stream >");
        c.run("XREADGROUP GROUP g bob COUNT 5 STREAMS stream >");
        c.run("SET later 1 EX 100000");
        c.run("PEXPIRE hash-small 100000000");
    }
    c.run("SELECT 0");
}

/// Of all data, and of what the digest leaves out: groups, and what they have not acknowledged.
fn digest(c: &mut Conn) -> String {
    let mut text = c.run("DEBUG DIGEST").text();
    for line in ["XPENDING stream g", "XINFO GROUPS stream", "XPENDING empty-stream g", "XRANGE stream 200 210"] {
        text.push_str(&format!("{:?}", c.run(line)));
    }
    for field in ["length", "last-generated-id", "max-deleted-entry-id", "entries-added", "recorded-first-entry-id"] {
        let info = c.run("XINFO STREAM stream");
        let at = info.items().iter().position(|i| *i == Value::Bulk(field.as_bytes().to_vec())).unwrap();
        text.push_str(&format!("{:?}", info.items()[at + 1]));
    }
    text
}

#[test]
fn redis_starts_from_our_snapshot_and_we_from_its() {
    for compression in ["yes", "no"] {
        let dir = TempDir::new();
        let ours = start_in(&dir.0, dunlin(), &["--save", "", "--rdbcompression", compression]);
        let mut c = ours.connect();
        fill(&mut c);
        let expected = digest(&mut c);
        assert_eq!(c.run("SAVE").text(), "OK");
        drop(ours);
        let check = Command::new("redis-check-rdb").arg(dir.0.join("dump.rdb")).output().unwrap();
        assert!(check.status.success(), "{check:?}");
        let theirs = start_in(&dir.0, redis(), &["--save", "", "--rdbcompression", compression]);
        let mut c = theirs.connect();
        assert_eq!(digest(&mut c), expected);
        assert!(c.run("TTL later").int() > 99_000);
        c.run("SET more 1");
        let expected = digest(&mut c);
        assert_eq!(c.run("SAVE").text(), "OK");
        drop(theirs);
        let again = start_in(&dir.0, dunlin(), &["--save", ""]);
        let mut c = again.connect();
        assert_eq!(digest(&mut c), expected);
        assert!(c.run("TTL later").int() > 99_000 && c.run("PTTL hash-small").int() > 99_000_000);
        assert_eq!(c.run("OBJECT ENCODING list-small").text(), "listpack");
        assert_eq!(c.run("DEBUG RELOAD").text(), "OK");
        assert_eq!(digest(&mut c), expected);
        let keys = c.info("db9");
        assert!(keys.starts_with("keys=25,expires=2"), "{keys}");
    }
}

#[test]
fn fields_that_expire_survive_a_restart() {
    let dir = TempDir::new();
    let server = start_in(&dir.0, dunlin(), &[]);
    let mut c = server.connect();
    c.run("HSET h a 1 b 2");
    c.run("HEXPIRE h 10000 FIELDS 1 a");
    assert_eq!(c.run("SAVE").text(), "OK");
    drop(server);
    assert!(std::fs::read(dir.0.join("dump.rdb")).unwrap().starts_with(b"VALKEY080"));
    let server = start_in(&dir.0, dunlin(), &[]);
    let ttl = server.connect().run("HTTL h FIELDS 2 a b");
    assert!(ttl.items()[0].int() > 9000 && ttl.items()[1].int() == -1, "{ttl:?}");
}

#[test]
fn keys_whose_time_is_over_are_left_out_at_the_start() {
    let dir = TempDir::new();
    let server = start_in(&dir.0, dunlin(), &[]);
    let mut c = server.connect();
    c.run("DEBUG SET-ACTIVE-EXPIRE 0");
    c.run("SET gone 1 PX 10");
    c.run("SET stays 1");
    c.until("expiry", |c| c.run("EXISTS gone").int() == 0 || c.run("PTTL gone").int() <= 0);
    c.run("SET gone2 1 PX 1");
    assert_eq!(c.run("SAVE").text(), "OK");
    drop(server);
    let server = start_in(&dir.0, dunlin(), &[]);
    let mut c = server.connect();
    assert_eq!(c.run("KEYS *").texts(), ["stays"]);
    assert_eq!(c.info("rdb_last_load_keys_loaded"), "1");
}

#[test]
fn a_spoilt_file_is_refused_with_its_name_and_place_and_left_alone() {
    let dir = TempDir::new();
    let server = start_in(&dir.0, dunlin(), &[]);
    let mut c = server.connect();
    fill(&mut c);
    assert_eq!(c.run("SAVE").text(), "OK");
    drop(server);
    let path = dir.0.join("dump.rdb");
    let good = std::fs::read(&path).unwrap();
    let n = good.len();
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        bytes
    };
    let mut newer = good.clone();
    newer[5..9].copy_from_slice(b"0099");
    let mut unknown = good[..9].to_vec();
    unknown.extend_from_slice(b"\x07\x01k\x00");
    let cases = [
        good[..n - 1].to_vec(),
        good[..n / 2].to_vec(),
        good[..20].to_vec(),
        Vec::new(),
        b"not a snapshot at all".to_vec(),
        flipped(n / 3),
        flipped(n - 3),
        newer,
        unknown,
    ];
    for bytes in cases {
        std::fs::write(&path, &bytes).unwrap();
        let output = dunlin().current_dir(&dir.0).args(["--port", &free_port().to_string()]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("dump.rdb") && text.contains(" at offset "), "{text}");
        assert!(std::fs::read(&path).unwrap() == bytes, "it was changed");
    }
}

/// Old versions could write them. The server once did not start from such a file.
#[test]
fn collections_without_elements_are_left_out_of_a_file_and_refused_as_payloads() {
    const ZIPLIST: &[u8] = b"\x0b\x0b\0\0\0\x0a\0\0\0\0\0\xff";
    const LISTPACK: &[u8] = b"\x07\x07\0\0\0\0\0\xff";
    // Type, and what follows the key.
    let empty: [(u8, &[u8]); 13] = [
        (1, b"\0"),
        (2, b"\0"),
        (4, b"\0"),
        (5, b"\0"),
        (10, ZIPLIST),
        (12, ZIPLIST),
        (13, ZIPLIST),
        (14, b"\0"),
        (14, &[b"\x01", ZIPLIST].concat()),
        (16, LISTPACK),
        (17, LISTPACK),
        (18, &[b"\x01\x02", LISTPACK].concat()),
        (20, LISTPACK),
    ];
    let mut file = b"REDIS0011".to_vec();
    for (n, (kind, body)) in empty.iter().enumerate() {
        file.extend_from_slice(&[*kind, 1, b'a' + n as u8]);
        file.extend_from_slice(body);
    }
    // A string, the end, and no checksum.
    file.extend_from_slice(b"\0\x03key\x05value\xff\0\0\0\0\0\0\0\0");
    let dir = TempDir::in_memory();
    std::fs::write(dir.0.join("dump.rdb"), file).unwrap();
    let port = free_port();
    let mut command = dunlin();
    command.current_dir(&dir.0).args(["--port", &port.to_string(), "--enable-debug-command", "yes"]);
    let server = Server::spawn(command, port);
    server.wait_for_log("rdbLoadObject skipping empty key: ");
    server.wait_for_log("keys loaded: 1, keys expired: 0, empty keys skipped: 13.");
    server.wait_for_log("Ready to accept connections");
    let mut c = server.connect();
    assert_eq!((c.run("KEYS *").texts(), c.run("GET key").text()), (vec!["key".to_owned()], "value".to_owned()));
    c.run("DEBUG SET-SKIP-CHECKSUM-VALIDATION 1");
    for (kind, body) in empty {
        let payload = [&[kind], body, b"\x0b\0", &[1; 8]].concat();
        assert_eq!(c.command(&[b"RESTORE", b"k", b"0", &payload]).text(), "ERR Bad data format", "{kind}");
    }
}

#[test]
fn a_directory_that_takes_no_snapshot_is_said_at_the_start() {
    // Not even root can write there.
    let start = |args: &[&str]| {
        let mut command = dunlin();
        command.args(["--port", &free_port().to_string(), "--dir", "/proc"]).args(args);
        command
    };
    for args in [&["--save", "3600 1"][..], &["--appendonly", "yes"]] {
        let output = start(args).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains("/proc") || text.contains("append-only dir"), "{text}");
    }
    // Without save points nothing has to be written.
    let port = free_port();
    let mut command = dunlin();
    command.args(["--port", &port.to_string(), "--dir", "/proc", "--save", ""]);
    assert_eq!(Server::run(command, port).connect().run("PING").text(), "PONG");
}

#[test]
fn save_points_and_orders_write_in_the_background() {
    let dir = TempDir::new();
    let server = start_in(&dir.0, dunlin(), &["--save", "1 5"]);
    let mut c = server.connect();
    let first = c.run("LASTSAVE").int();
    assert_eq!(c.info("rdb_changes_since_last_save"), "0");
    (0..6).for_each(|i| drop(c.run(&format!("SET k{i} 1"))));
    c.until("the save point", |c| c.info("rdb_saves") == "1");
    assert!(c.run("LASTSAVE").int() > first && c.info("rdb_changes_since_last_save") == "0");
    c.command(&[b"CONFIG", b"SET", b"save", b""]);
    c.run("DEBUG POPULATE 20000");
    c.run("CONFIG SET rdb-key-save-delay 1000");
    assert_eq!(c.run("BGSAVE").text(), "Background saving started");
    assert_eq!(c.run("BGSAVE").text(), "ERR Background save already in progress");
    assert_eq!(c.run("SAVE").text(), "ERR Background save already in progress");
    assert_eq!(c.info("rdb_bgsave_in_progress"), "1");
    assert_eq!(c.run("SET written meanwhile").text(), "OK");
    assert_eq!(c.run("BGSAVE CANCEL").text(), "Background saving cancelled");
    c.until("the end", |c| c.info("rdb_bgsave_in_progress") == "0");
    assert!(c.run("BGSAVE CANCEL").is_error());
    assert_eq!((c.info("rdb_saves"), c.info("rdb_last_bgsave_status")), ("1".into(), "ok".into()));
    assert!(
        std::fs::read_dir(&dir.0).unwrap().flatten().all(|f| f.file_name() == "dump.rdb"),
        "nothing is left behind"
    );
    // FLUSHALL ends it too, however little there is to write.
    c.run("FLUSHALL");
    (0..100).for_each(|i| drop(c.run(&format!("SET k{i} 1"))));
    c.run("BGSAVE");
    c.run("FLUSHALL");
    c.until("the end", |c| c.info("rdb_bgsave_in_progress") == "0");
    assert_eq!(c.info("rdb_saves"), "1");
    c.run("CONFIG SET rdb-key-save-delay 0");
    assert_eq!(c.run("BGSAVE SCHEDULE").text(), "Background saving started");
    c.until("the end", |c| c.info("rdb_saves") == "2");
    assert_eq!(c.run("BGSAVE NOW").text(), "ERR syntax error");
    // One that has not begun is cancelled with other words, which it once was not.
    c.run("DEBUG POPULATE 20000");
    c.run("CONFIG SET rdb-key-save-delay 1000");
    c.run("BGREWRITEAOF");
    assert_eq!(c.run("BGSAVE SCHEDULE").text(), "Background saving scheduled");
    assert_eq!(c.run("BGSAVE CANCEL").text(), "Scheduled background saving cancelled");
    c.run("CONFIG SET rdb-key-save-delay 0");
    c.until("the end of the rewrite", |c| c.info("aof_rewrite_in_progress") == "0");
    assert_eq!(c.info("rdb_saves"), "2");
}

/// A server with a change that a snapshot has to hold, and whose snapshots fail.
fn with_failing_snapshots() -> (TempDir, Server, Conn) {
    let dir = TempDir::new();
    std::fs::create_dir(dir.0.join("occupied")).unwrap();
    std::fs::write(dir.0.join("occupied/file"), "x").unwrap();
    let server = start_in(&dir.0, dunlin(), &["--save", "3600 1", "--enable-protected-configs", "yes"]);
    let mut c = server.connect();
    c.run("SET a 1");
    c.run("CONFIG SET dbfilename occupied");
    (dir, server, c)
}

#[test]
fn when_a_snapshot_fails_writes_stop_until_one_succeeds() {
    let (_dir, _server, mut c) = with_failing_snapshots();
    c.run("BGSAVE");
    c.until("the failure", |c| c.info("rdb_last_bgsave_status") == "err");
    assert!(c.run("SET a 2").text().starts_with("MISCONF Redis is configured to save RDB snapshots"));
    assert!(c.run("PING").text().starts_with("MISCONF"));
    assert_eq!(c.run("GET a").text(), "1", "reads go on");
    assert_eq!(c.run("CONFIG SET stop-writes-on-bgsave-error no").text(), "OK");
    assert_eq!(c.run("SET a 2").text(), "OK");
    c.run("CONFIG SET stop-writes-on-bgsave-error yes");
    assert!(c.run("SET a 3").is_error());
    c.run("CONFIG SET dbfilename dump.rdb");
    c.run("BGSAVE");
    c.until("the recovery", |c| c.run("SET a 3") == Value::Simple("OK".into()));
}

#[test]
fn clients_are_told_while_data_are_loaded() {
    let dir = TempDir::new();
    let server = start_in(&dir.0, dunlin(), &[]);
    let mut c = server.connect();
    c.run("DEBUG POPULATE 5000");
    c.run("SAVE");
    drop(server);
    let port = free_port();
    let mut command = dunlin();
    command.current_dir(&dir.0).args(["--port", &port.to_string(), "--key-load-delay", "300"]);
    let server = Server::spawn(command, port);
    server.wait_for_log("starting");
    let mut tries = 0;
    let mut c = loop {
        match std::net::TcpStream::connect(("127.0.0.1", port)) {
            Ok(_) => break Conn::open(port),
            Err(_) => std::thread::yield_now(),
        }
        tries += 1;
        assert!(tries < 1_000_000, "no connection");
    };
    assert_eq!(c.run("GET key:1").text(), "LOADING Redis is loading the dataset in memory");
    assert_eq!(c.info("loading"), "1");
    c.until("the length of the file", |c| c.info("loading_total_bytes").parse::<u64>().unwrap() > 50_000);
    let loading = "LOADING Redis is loading the dataset in memory";
    assert_eq!(c.run("CONFIG SET loglevel notice dir /no/such/place").text(), loading);
    assert_eq!(c.run("CONFIG SET appendonly yes").text(), loading);
    c.run("CONFIG SET key-load-delay 0");
    server.wait_for_log("Ready to accept connections");
    assert_eq!((c.run("DBSIZE").int(), c.info("loading")), (5000, "0".into()));
}

/// The changes that FLUSHALL itself counts as were left over.
#[test]
fn after_flushall_with_save_points_no_change_is_unsaved() {
    let dir = TempDir::new();
    let server = start_in(&dir.0, dunlin(), &["--save", "3600 1"]);
    let mut c = server.connect();
    for flush in ["FLUSHALL", "FLUSHALL SYNC"] {
        c.run("MSET a 1 b 2");
        assert_eq!((c.run(flush).text(), c.info("rdb_changes_since_last_save")), ("OK".into(), "0".into()));
    }
    assert_eq!(c.command(&[b"CONFIG", b"SET", b"save", b""]).text(), "OK");
    c.run("SET a 1");
    c.run("FLUSHALL");
    assert_ne!(c.info("rdb_changes_since_last_save"), "0");
}

/// It was heard only once the snapshot was done, and left the file behind.
#[test]
fn a_second_interrupt_ends_a_final_snapshot() {
    let dir = TempDir::new();
    let server = start_in(&dir.0, dunlin(), &["--save", "3600 1", "--rdb-key-save-delay", "100000000"]);
    let mut c = server.connect();
    c.run("SET a 1");
    server.signal("INT");
    let temporary = dir.0.join(format!("temp-{}.rdb", server.pid()));
    c.until("the snapshot", |_| temporary.exists());
    server.signal("INT");
    assert_eq!(server.wait(), Some(1));
    assert!(!temporary.exists() && !dir.0.join("dump.rdb").exists());
}

/// A SHUTDOWN or SAVE that failed said so, and then writes stopped too.
#[test]
fn a_snapshot_that_fails_in_the_foreground_stops_no_writes() {
    let (_dir, _server, mut c) = with_failing_snapshots();
    assert!(c.run("SAVE").is_error());
    assert_eq!(c.run("SHUTDOWN").text(), "ERR Errors trying to SHUTDOWN. Check logs.");
    assert_eq!((c.run("PING").text(), c.run("SET a 2").text()), ("PONG".into(), "OK".into()));
}

#[test]
fn snapshots_and_rewrites_come_after_the_transaction_that_asked_for_them() {
    let dir = TempDir::new();
    let server = start_in(&dir.0, dunlin(), &["--appendonly", "yes"]);
    let mut c = server.connect();
    for (line, reply, field) in [
        ("BGSAVE", "Background saving scheduled", "rdb_saves"),
        ("BGREWRITEAOF", "Background append only file rewriting scheduled", "aof_rewrites"),
    ] {
        let before = c.info(field);
        c.run("MULTI");
        c.run(line);
        c.run("SET a 1");
        assert_eq!(c.run("EXEC").items()[0].text(), reply);
        c.until(line, |c| c.info(field) != before);
    }
}

#[test]
fn an_orderly_end_saves_where_there_are_save_points() {
    for (args, signal, saved) in [(&["--save", "3600 1"][..], true, true), (&["--save", ""], true, false)] {
        let dir = TempDir::new();
        let server = start_in(&dir.0, dunlin(), args);
        server.connect().run("SET a 1");
        if signal {
            server.signal("TERM");
        }
        assert_eq!(server.wait(), Some(0));
        assert_eq!(dir.0.join("dump.rdb").exists(), saved, "{args:?}");
    }
    let dir = TempDir::new();
    let server = start_in(&dir.0, dunlin(), &["--save", "3600 1"]);
    let mut c = server.connect();
    c.run("SET a 1");
    assert_eq!(c.run("SHUTDOWN ABORT").text(), "ERR No shutdown in progress.");
    c.send(&[b"SHUTDOWN", b"NOSAVE"]);
    assert_eq!(server.wait(), Some(0));
    assert!(!dir.0.join("dump.rdb").exists());
}

#[test]
fn what_redis_7_4_and_old_versions_wrote_is_read() {
    // A hash packed with expiries (25), one in parts (24), a ziplist hash (13), a zipmap (9), a list of ziplists (14).
    let mut file = b"REDIS0012".to_vec();
    let far = 4_000_000_000_000i64.to_le_bytes();
    let mut record = |kind: u8, key: &str, body: &[u8]| {
        file.push(kind);
        file.push(key.len() as u8);
        file.extend_from_slice(key.as_bytes());
        file.extend_from_slice(body);
    };
    let parts = [&far[..], b"\x02\x01\x01f\x01v\x00\x01g\x01w"].concat();
    record(24, "parts", &parts);
    record(9, "zipmap", b"\x10\x01\x03foo\x03\x00bar\x01a\x01\x00b\xff");
    let ziplist: &[u8] = &[17, 0, 0, 0, 13, 0, 0, 0, 2, 0, 0x00, 0x01, b'f', 0x03, 0x01, b'v', 0xff];
    record(13, "packed", &[&[ziplist.len() as u8], ziplist].concat());
    record(14, "list", &[&[2, ziplist.len() as u8][..], ziplist, &[ziplist.len() as u8], ziplist].concat());
    file.push(0xff);
    file.extend_from_slice(&[0; 8]);
    let dir = TempDir::new();
    std::fs::write(dir.0.join("dump.rdb"), &file).unwrap();
    let server = start_in(&dir.0, dunlin(), &[]);
    let mut c = server.connect();
    assert_eq!(c.run("HMGET parts f g").texts(), ["v", "w"]);
    let at = c.run("HPEXPIRETIME parts FIELDS 2 f g");
    assert_eq!((at.items()[0].int(), at.items()[1].int()), (4_000_000_000_000, -1));
    assert_eq!(c.run("HGET packed f").text(), "v");
    assert_eq!(c.run("HGET zipmap foo").text(), "bar");
    assert_eq!(c.run("LRANGE list 0 -1").texts(), ["f", "v", "f", "v"]);
}

#[test]
fn redis_cli_takes_a_snapshot_and_listens_as_a_replica() {
    let primary = Server::start(&["--repl-diskless-sync-delay", "0"]);
    let mut c = primary.connect();
    (0..1000).for_each(|i| drop(c.run(&format!("SET key:{i} value"))));
    let dir = TempDir::new();
    let file = dir.0.join("copy.rdb");
    let port = primary.port.to_string();
    let run = Command::new("redis-cli").args(["-p", &port, "--rdb", file.to_str().unwrap()]).output().unwrap();
    assert!(run.status.success(), "{run:?}");
    let check = Command::new("redis-check-rdb").arg(&file).output().unwrap();
    let text = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(check.status.success() && text.contains("1000 keys read"), "{text}");
    // Functions alone: what was asked for was noted, and everything was sent.
    let library = "#!lua name=lib\nserver.register_function('f', function() return 1 end)";
    assert_eq!(c.command(&[b"FUNCTION", b"LOAD", library.as_bytes()]).text(), "lib");
    for diskless in ["yes", "no"] {
        c.run(&format!("CONFIG SET repl-diskless-sync {diskless}"));
        let run = Command::new("redis-cli").args(["-p", &port, "--functions-rdb", file.to_str().unwrap()]).output();
        assert!(run.as_ref().is_ok_and(|run| run.status.success()), "{run:?}");
        let check = Command::new("redis-check-rdb").arg(&file).output().unwrap();
        let text = String::from_utf8_lossy(&check.stdout).into_owned();
        assert!(check.status.success() && text.contains(" 0 keys read"), "{text}");
        let bytes = std::fs::read(&file).unwrap();
        assert!(bytes.windows(library.len()).any(|part| part == library.as_bytes()));
    }
    let mut listener = Command::new("redis-cli");
    listener.args(["-p", &port, "--replica"]).stdout(std::process::Stdio::piped());
    let mut child = listener.spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    let seen = Arc::new(Mutex::new(String::new()));
    let text = seen.clone();
    let reader = std::thread::spawn(move || {
        let mut buf = [0; 4096];
        while let Ok(n @ 1..) = out.read(&mut buf) {
            text.lock().unwrap().push_str(&String::from_utf8_lossy(&buf[..n]));
        }
    });
    c.until("redis-cli as a replica", |c| c.info("connected_slaves") == "1");
    c.until("what it prints", |c| {
        c.run("SET hello world");
        seen.lock().unwrap().contains("\"hello\",\"world\"")
    });
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap();
}
