//! The places where a replication log and a snapshot attach, driven through the engine without sockets.

use std::sync::Arc;

use dunlin::base::clock;
use dunlin::clients::Session;
use dunlin::commands::Server;
use dunlin::config::Config;
use dunlin::exec::{Turn, Worker};
use dunlin::keyspace::hooks::{LogSink, SnapshotHook};
use dunlin::keyspace::{EntryRef, Logged};
use dunlin::resp::{Decoder, Limits, Out, Step};
use parking_lot::Mutex;

struct Engine {
    server: &'static Server,
    worker: Worker,
    session: Session,
}

impl Engine {
    fn new() -> Engine {
        let server = Server::new(Box::leak(Box::new(Config::new())));
        Engine { server, worker: Worker::new(server, 0), session: Session::new(Arc::default(), true) }
    }
    /// Runs a line as an inline request.
    fn run(&mut self, line: &str) -> String {
        let mut buf = format!("{line}\r\n").into_bytes();
        let (mut pos, mut args, mut out) = (0, Vec::new(), Out::default());
        let Ok(Step::Request(n)) = Decoder::default().next(&mut buf, &mut pos, &mut args, &Limits::default()) else {
            panic!("no request: {line}");
        };
        let turn = Turn { buf: &buf, args: &args, counts: &[n as u32], now: clock::now_ms() };
        self.worker.run(&mut self.session, &turn, &mut out);
        String::from_utf8_lossy(&out.take_bytes()).into_owned()
    }
}

#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl LogSink for Log {
    fn append(&self, effects: &[Logged]) {
        let line = |l: &Logged| {
            let words: Vec<String> = l.argv.iter().map(|a| String::from_utf8_lossy(a).into_owned()).collect();
            format!("{}: {}", l.db, words.join(" "))
        };
        self.0.lock().push(effects.iter().map(line).collect::<Vec<_>>().join("; "));
    }
}

#[test]
fn the_log_gets_deterministic_effects_in_order_and_nothing_of_reads() {
    let mut e = Engine::new();
    let server = e.server;
    e.run("SET before 1");
    let log = Arc::new(Log::default());
    server.keyspace.hooks.set_log(Some(log.clone()));
    let mut logged = |line: &str| {
        e.run(line);
        std::mem::take(&mut *log.0.lock()).join(" | ")
    };
    assert_eq!(logged("GET before"), "");
    assert_eq!(logged("SET k v"), "0: SET k v");
    let text = logged("SET k v PX 100000");
    let at: i64 = text.strip_prefix("0: SET k v PXAT ").and_then(|n| n.parse().ok()).expect("an absolute time");
    assert!((at - clock::now_ms() - 100_000).abs() < 5000);
    assert!(logged("EXPIRE k 100").starts_with("0: PEXPIREAT k "));
    assert_eq!(logged("EXPIRE k -1"), "0: UNLINK k");
    assert_eq!(logged("GETEX before PERSIST"), "", "nothing to take away");
    assert_eq!(logged("SADD s a"), "0: SADD s a");
    let popped = logged("SPOP s");
    assert!(popped == "0: SREM s a" || popped == "0: DEL s" || popped == "0: UNLINK s", "{popped}");
    assert_eq!(logged("INCRBYFLOAT f 0.5"), "0: SET f 0.5 KEEPTTL");
    assert_eq!(logged("DEL nothing"), "");
    assert_eq!(logged("LPUSH before x"), "", "a failed write has no effect");
    logged("SELECT 3");
    logged("MULTI");
    logged("SET a 1");
    logged("GET a");
    logged("INCR a");
    assert_eq!(logged("EXEC"), "3: MULTI; 3: SET a 1; 3: INCR a; 3: EXEC", "a transaction is one range");
    // A key whose time is over is logged as deleted before what the command that met it did.
    logged("SET short v PX 1");
    while clock::now_ms() < at - 100_000 + 20 {
        std::hint::spin_loop();
    }
    assert_eq!(logged("SETNX short new"), "3: UNLINK short; 3: SETNX short new".replace("SETNX", "SET"));
    server.keyspace.hooks.set_log(None);
}

#[derive(Default)]
struct Watcher(Mutex<Vec<String>>);

impl SnapshotHook for Watcher {
    fn before_write(&self, db: usize, _slot: u16, entry: EntryRef<'_>) {
        let text = entry.text().map(|t| String::from_utf8_lossy(&t.to_vec()).into_owned());
        let key = String::from_utf8_lossy(entry.key()).into_owned();
        self.0.lock().push(format!("{db} {key} was {}", text.unwrap_or_default()));
    }
    fn after_insert(&self, _slot: u16, entry: EntryRef<'_>) {
        self.0.lock().push(format!("new {}", String::from_utf8_lossy(entry.key())));
    }
}

#[test]
fn a_snapshot_sees_what_was_there_before_each_change() {
    let mut e = Engine::new();
    let server = e.server;
    e.run("SET a 1");
    e.run("SET b old");
    let seen = Arc::new(Watcher::default());
    server.keyspace.hooks.set_snapshot(Some(seen.clone()));
    let mut after = |line: &str| {
        e.run(line);
        std::mem::take(&mut *seen.0.lock()).join(", ")
    };
    assert_eq!(after("GET a"), "");
    assert_eq!(after("INCR a"), "0 a was 1");
    assert_eq!(after("SET b new"), "0 b was old");
    assert_eq!(after("APPEND b er"), "0 b was new");
    assert_eq!(after("EXPIRE b 100"), "0 b was newer");
    assert_eq!(after("DEL b"), "0 b was newer");
    assert_eq!(after("SET c 1"), "new c");
    assert_eq!(after("RENAME c d"), "0 c was 1, new d");
    assert_eq!(after("DEL a"), "0 a was 2");
    assert_eq!(after("FLUSHALL"), "0 d was 1");
    server.keyspace.hooks.set_snapshot(None);
    assert_eq!(after("SET a 1"), "");
}
