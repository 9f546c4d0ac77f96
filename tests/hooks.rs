//! The places where a replication log and a snapshot attach, driven through the engine without sockets.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use dunlin::base::{clock, rng};
use dunlin::clients::Session;
use dunlin::commands::Server;
use dunlin::commands::replication::role;
use dunlin::config::Config;
use dunlin::exec::{Turn, Worker};
use dunlin::keyspace::snapshot::{Busy, Encode, Snapshot};
use dunlin::keyspace::{EntryRef, Kind};
use dunlin::repl::FileSink;
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
        let Ok(Step::Inline(n)) = Decoder::default().next(&mut buf, &mut pos, &mut args, &Limits::default()) else {
            panic!("no request: {line}");
        };
        let turn =
            Turn { buf: &buf, args: &args, counts: &[n as u32], inline: &[], now: clock::now_ms(), stream: None };
        self.worker.run(&mut self.session, &turn, &mut out);
        String::from_utf8_lossy(&out.take_bytes()).into_owned()
    }
}

#[derive(Default)]
struct Log(Mutex<Vec<String>>);

/// The requests in these bytes, each with its arguments joined.
fn requests(bytes: &[u8]) -> Vec<String> {
    let mut buf = bytes.to_vec();
    let (mut pos, mut all) = (0, Vec::new());
    while pos < buf.len() {
        let mut args = Vec::new();
        let step = Decoder::default().next(&mut buf, &mut pos, &mut args, &Limits::default());
        assert!(matches!(step, Ok(Step::Request(_))));
        let words: Vec<String> = args.iter().map(|a| String::from_utf8_lossy(a.of(&buf)).into_owned()).collect();
        all.push(words.join(" "));
    }
    all
}

impl FileSink for Log {
    fn append(&self, bytes: &[u8], _offset: u64) {
        self.0.lock().push(requests(bytes).join("; "));
    }
    fn reach(&self, _offset: u64) {}
}

/// Attaches what takes the place of the append-only file.
fn attach(server: &'static Server, sink: Arc<dyn FileSink>) {
    server.repl.log.set_file(Some(sink));
    role::review_log(server);
}

#[test]
fn the_log_gets_deterministic_effects_in_order_and_nothing_of_reads() {
    let mut e = Engine::new();
    let server = e.server;
    e.run("SET before 1");
    let log = Arc::new(Log::default());
    attach(server, log.clone());
    let mut logged = |line: &str| {
        e.run(line);
        std::mem::take(&mut *log.0.lock()).join(" | ")
    };
    assert_eq!(logged("GET before"), "");
    assert_eq!(logged("SET k v"), "SELECT 0; SET k v");
    let text = logged("SET k v PX 100000");
    let at: i64 = text.strip_prefix("SET k v PXAT ").and_then(|n| n.parse().ok()).expect("an absolute time");
    assert!((at - clock::now_ms() - 100_000).abs() < 5000);
    assert!(logged("EXPIRE k 100").starts_with("PEXPIREAT k "));
    assert_eq!(logged("EXPIRE k -1"), "UNLINK k");
    assert_eq!(logged("GETEX before PERSIST"), "", "nothing to take away");
    assert_eq!(logged("SADD s a"), "SADD s a");
    let popped = logged("SPOP s");
    assert!(popped == "SREM s a" || popped == "DEL s" || popped == "UNLINK s", "{popped}");
    assert_eq!(logged("INCRBYFLOAT f 0.5"), "SET f 0.5 KEEPTTL");
    assert_eq!(logged("DEL nothing"), "");
    assert_eq!(logged("LPUSH before x"), "", "a failed write has no effect");
    logged("SELECT 3");
    logged("MULTI");
    logged("SET a 1");
    logged("GET a");
    logged("INCR a");
    assert_eq!(logged("EXEC"), "MULTI; SELECT 3; SET a 1; INCR a; EXEC", "a transaction is one range");
    // A key whose time is over is logged as deleted before what the command that met it did.
    logged("SET short v PX 1");
    while clock::now_ms() < at - 100_000 + 20 {
        std::hint::spin_loop();
    }
    assert_eq!(logged("SETNX short new"), "MULTI; UNLINK short; SET short new; EXEC");
    // Also where the command does not look for it: else it would add to the old value wherever the log is replayed.
    logged("SET short v PX 1");
    let until = clock::now_ms() + 20;
    while clock::now_ms() < until {
        std::hint::spin_loop();
    }
    assert_eq!(logged("APPEND short new"), "MULTI; UNLINK short; APPEND short new; EXEC");
    assert_eq!(logged("SET k v NX pxat 9000000000000"), "SET k v pxat 9000000000000", "in its own words");
    // RANDOMKEY meets only keys that are over, and removes each by itself.
    logged("FLUSHALL");
    logged("SET over v PX 1");
    logged("SET past v PX 1");
    let until = clock::now_ms() + 20;
    while clock::now_ms() < until {
        std::hint::spin_loop();
    }
    let removed = logged("RANDOMKEY");
    assert!(removed == "UNLINK over | UNLINK past" || removed == "UNLINK past | UNLINK over", "{removed}");
    server.repl.log.set_file(None);
    role::review_log(server);
    assert_eq!(logged("SET k v"), "");
}

/// Writes keys as lines, "db key value"; collections as their lengths.
struct Lines;

impl Encode for Lines {
    fn select(&mut self, _db: usize, _out: &mut Vec<u8>) {}
    fn entry(&mut self, db: usize, e: EntryRef<'_>, out: &mut Vec<u8>) {
        let value = match e.text() {
            Some(t) => String::from_utf8_lossy(&t.to_vec()).into_owned(),
            None => format!("{:?}", e.kind()),
        };
        assert!(e.kind() == Kind::String || value != "String");
        out.extend_from_slice(format!("{db} {} {value}\n", String::from_utf8_lossy(e.key())).as_bytes());
    }
}

fn cut(server: &'static Server) -> Snapshot {
    let encoders = || Box::new(Lines) as Box<dyn Encode>;
    Snapshot::begin(server.keyspace, &encoders, Arc::default(), |_| ()).expect("no other snapshot").0
}

fn lines(snapshot: Snapshot) -> Vec<String> {
    let mut bytes = Vec::new();
    let stats = snapshot.run(&AtomicBool::new(false), |chunk| {
        bytes.extend_from_slice(chunk);
        Ok(())
    });
    let text = String::from_utf8(bytes).expect("text");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    assert_eq!(stats.expect("no error").keys, lines.len() as u64);
    lines.sort();
    lines
}

#[test]
fn a_snapshot_has_what_was_there_at_the_cut_whatever_happens_afterwards() {
    let mut e = Engine::new();
    let server = e.server;
    let start = ["SET a 1", "SET b old", "SET gone x", "SELECT 2", "RPUSH l 1 2", "SET t x PX 100000", "SELECT 0"];
    let expected = ["0 a 1", "0 b old", "0 gone x", "2 l List", "2 t x"];
    let ways: &[&[&str]] = &[
        &[],
        &["INCR a", "INCR a", "APPEND b er", "DEL gone", "SET gone new", "SET fresh 1", "SELECT 2", "LPOP l 2"],
        &["RENAME a b", "COPY b c", "MOVE gone 2", "SELECT 2", "PERSIST t", "SET t longer-than-before", "SELECT 0"],
        &["FLUSHALL", "SET a 2", "SET z 1"],
        &["SELECT 2", "FLUSHDB", "SET l 1", "SELECT 0", "SWAPDB 0 2", "SET a 3"],
        &["SWAPDB 0 5", "SET a 4", "SWAPDB 5 2", "SELECT 2", "INCR a", "SELECT 5", "RPUSH l 3", "SELECT 0"],
    ];
    for way in ways {
        for line in start {
            e.run(line);
        }
        let snapshot = cut(server);
        assert_eq!(
            Snapshot::begin(server.keyspace, &|| Box::new(Lines), Arc::default(), |_| ()).map(|_| ()),
            Err(Busy)
        );
        for line in *way {
            assert!(!e.run(line).starts_with('-'), "{line}");
        }
        assert_eq!(lines(snapshot), expected, "{way:?}");
        e.run("FLUSHALL");
        e.run("SELECT 0");
    }
    // One that is given up, or cancelled on the way, leaves nothing behind that the next one would miss or double.
    for line in start {
        e.run(line);
    }
    drop(cut(server));
    let cancelled = cut(server).run(&AtomicBool::new(true), |_| Ok(()));
    assert_eq!(cancelled.unwrap_err().kind(), std::io::ErrorKind::Interrupted);
    let snapshot = cut(server);
    e.run("SET b new");
    assert_eq!(lines(snapshot), expected);
}

/// Sums every number that is set, with the order in which the log got it.
#[derive(Default)]
struct Replay(Mutex<BTreeMap<String, String>>);

impl FileSink for Replay {
    fn append(&self, bytes: &[u8], _offset: u64) {
        let mut data = self.0.lock();
        for text in requests(bytes) {
            let argv: Vec<&str> = text.split(' ').collect();
            match argv[..] {
                ["SELECT", "0"] => None,
                ["SET", key, value] => data.insert(key.to_owned(), value.to_owned()),
                ["DEL" | "UNLINK", key] => data.remove(key),
                ["INCRBY", key, by] => {
                    let n: i64 = data.get(key).map_or(0, |v| v.parse().expect("a number"));
                    data.insert(key.to_owned(), (n + by.parse::<i64>().expect("a number")).to_string())
                }
                _ => panic!("not expected: {text}"),
            };
        }
    }
    fn reach(&self, _offset: u64) {}
}

#[test]
fn under_concurrent_writers_the_snapshot_equals_the_log_up_to_the_cut() {
    let server = Engine::new().server;
    let log = Arc::new(Replay::default());
    attach(server, log.clone());
    let stop = AtomicBool::new(false);
    std::thread::scope(|s| {
        for id in 0..3 {
            let stop = &stop;
            s.spawn(move || {
                let mut e =
                    Engine { server, worker: Worker::new(server, id), session: Session::new(Arc::default(), true) };
                while !stop.load(Relaxed) {
                    let key = rng::below(3000);
                    e.run(&match rng::below(6) {
                        0 => format!("DEL k{key}"),
                        1 | 2 => format!("INCRBY k{key} {}", rng::below(100)),
                        3 => format!("SET k{key} {}{}", 1 + rng::below(9), "0".repeat(rng::below(15) as usize)),
                        _ => format!("SET k{key} {}", rng::below(1000)),
                    });
                }
            });
        }
        for round in 0..30 {
            let encoders = || Box::new(Lines) as Box<dyn Encode>;
            let at_cut = |_: &mut dunlin::keyspace::Held| log.0.lock().clone();
            let begun = Snapshot::begin(server.keyspace, &encoders, Arc::default(), at_cut);
            let (snapshot, expected) = begun.expect("no other snapshot");
            let mut expected: Vec<String> = expected.iter().map(|(k, v)| format!("0 {k} {v}")).collect();
            expected.sort();
            assert_eq!(lines(snapshot), expected, "round {round}");
        }
        stop.store(true, Relaxed);
    });
}
