//! The places where a replication log and a snapshot attach, driven through the engine without sockets.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use dunlin::base::{clock, rng};
use dunlin::clients::Session;
use dunlin::commands::Server;
use dunlin::commands::replication::role;
use dunlin::config::Config;
use dunlin::exec::{Stop, Turn, Worker};
use dunlin::keyspace::snapshot::{Busy, Encode, Pieces, Snapshot};
use dunlin::keyspace::{EntryRef, Kind, View};
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
    /// Runs a line as an inline request, once nothing holds it back any more.
    fn run(&mut self, line: &str) -> String {
        loop {
            if let Some(reply) = self.try_run(line) {
                return reply;
            }
            std::thread::yield_now();
        }
    }
    /// `None`: something holds it back.
    fn try_run(&mut self, line: &str) -> Option<String> {
        let mut buf = format!("{line}\r\n").into_bytes();
        let (mut pos, mut args, mut out) = (0, Vec::new(), Out::default());
        let Ok(Step::Inline(n)) = Decoder::default().next(&mut buf, &mut pos, &mut args, &Limits::default()) else {
            panic!("no request: {line}");
        };
        let turn =
            Turn { buf: &buf, args: &args, counts: &[n as u32], inline: &[], now: clock::now_ms(), stream: None };
        let (_, stop) = self.worker.run(&mut self.session, &turn, &mut out);
        (stop != Stop::Paused).then(|| String::from_utf8_lossy(&out.take_bytes()).into_owned())
    }
}

/// The arguments of a request as [`requests`] has it.
fn words(request: &str) -> Vec<&str> {
    request.split(' ').collect()
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
            match words(&text)[..] {
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

/// Writes sets as lines: "key members sum", in steps where they are long.
struct Sums;

struct Sum {
    cursor: u64,
    members: u64,
    sum: u64,
    line: Vec<u8>,
}

/// A number that stands for a set, whatever the order of its members.
fn add(member: &[u8], sum: u64) -> u64 {
    member.iter().fold(14_695_981_039_346_656_037u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(1_099_511_628_211)) ^ sum
}

impl Pieces for Sum {
    fn step(&mut self, entry: EntryRef<'_>) -> bool {
        let View::Set(set) = entry.view() else { panic!("only sets") };
        let before = self.members;
        loop {
            let (mut members, mut sum) = (self.members, self.sum);
            self.cursor = set.scan(self.cursor, |e| {
                members += 1;
                sum = add(&e.to_vec(), sum);
            });
            (self.members, self.sum) = (members, sum);
            if self.cursor == 0 || self.members - before >= 500 {
                break;
            }
        }
        if self.cursor == 0 {
            self.line =
                format!("{} {} {}\n", String::from_utf8_lossy(entry.key()), self.members, self.sum).into_bytes();
        }
        self.cursor == 0
    }
    fn finish(self: Box<Self>) -> Vec<Vec<u8>> {
        vec![self.line]
    }
}

impl Encode for Sums {
    fn select(&mut self, _db: usize, _out: &mut Vec<u8>) {}
    fn entry(&mut self, _db: usize, e: EntryRef<'_>, out: &mut Vec<u8>) {
        let mut sum = Sum { cursor: 0, members: 0, sum: 0, line: Vec::new() };
        while !sum.step(e) {}
        out.append(&mut sum.line);
    }
    fn pieces(&mut self, _entry: EntryRef<'_>) -> Option<Box<dyn Pieces>> {
        Some(Box::new(Sum { cursor: 0, members: 0, sum: 0, line: Vec::new() }))
    }
}

fn sums() -> Box<dyn Encode> {
    Box::new(Sums)
}

/// Fills a set with so many members.
fn fill(e: &mut Engine, key: &str, members: usize) {
    for from in (0..members).step_by(500) {
        let words: Vec<String> = (from..from + 500).map(|n| format!("member:{n}")).collect();
        e.run(&format!("SADD {key} {}", words.join(" ")));
    }
}

fn line_of(key: &str, members: usize) -> String {
    let sum = (0..members).fold(0, |sum, n| add(format!("member:{n}").as_bytes(), sum));
    format!("{key} {members} {sum}")
}

/// Once a command that changed a long value during a snapshot encoded it first, with the slot locked.
#[test]
fn who_changes_a_long_value_waits_until_it_is_saved_and_others_go_on() {
    let mut e = Engine::new();
    let server = e.server;
    fill(&mut e, "{s}long", 20_000);
    fill(&mut e, "{s}short", 500);
    let (snapshot, ()) = Snapshot::begin(server.keyspace, &sums, Arc::default(), |_| ()).expect("no other snapshot");
    // Before the walk begins: the value is encoded because somebody waits for it.
    let mut waits = 0;
    while e.try_run("SADD {s}long another").is_none() {
        assert_eq!(e.run("SADD {s}short another"), if waits == 0 { ":1\r\n" } else { ":0\r\n" }, "of the same slot");
        assert_eq!(e.run("SISMEMBER {s}long another"), ":0\r\n");
        waits += 1;
        std::thread::yield_now();
    }
    assert!(waits > 0);
    let mut bytes = Vec::new();
    let sink = |chunk: &[u8]| {
        bytes.extend_from_slice(chunk);
        Ok(())
    };
    let stats = snapshot.run(&AtomicBool::new(false), sink).expect("no error");
    assert_eq!((stats.keys, stats.in_steps, stats.saved_by_writers), (2, 1, 1));
    let text = String::from_utf8(bytes).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, [line_of("{s}long", 20_000), line_of("{s}short", 500)]);
    // The next one has what is there by then, and nobody waits once it is over.
    assert_eq!(e.try_run("SADD {s}long third").as_deref(), Some(":1\r\n"));
}

/// Each way to a long value that is half encoded, or not at all: what is saved is what was there at the cut.
#[test]
fn a_long_value_is_saved_as_it_was_whoever_comes_in_between() {
    // A script that names no keys is not held back. The rest are ways around the keys that a command names.
    let script = "EVAL \"redis.call('sadd', 'long', 'x') return redis.call('unlink', 'other')\" 0";
    let ways: &[&[&str]] = &[
        &[],
        &[script],
        &["FLUSHALL", "SADD long x"],
        &["SWAPDB 0 3", "SADD long x", "SWAPDB 3 5", "FLUSHALL"],
        &["SWAPDB 0 3", "SELECT 3", script, "SELECT 0"],
        &["MULTI", "SADD long x", "DEL other", "EXEC", "RENAME long other"],
        &["PEXPIREAT long 1", "GET long", "SADD long x"],
        &["SPOP long", "SUNIONSTORE other long", "COPY long third", "SMOVE long other member:7"],
    ];
    for way in ways {
        for steps in [0, 3, 1000] {
            let mut e = Engine::new();
            let server = e.server;
            fill(&mut e, "long", 20_000);
            fill(&mut e, "other", 10_000);
            let (snapshot, ()) = Snapshot::begin(server.keyspace, &sums, Arc::default(), |_| ()).expect("no other");
            // Somebody waits already, and has gone.
            for _ in 0..steps {
                e.try_run("SADD long y");
            }
            let changed = !e.run("SISMEMBER long y").starts_with(":0");
            for line in *way {
                let reply = e.run(line);
                assert!(!reply.starts_with("-ERR"), "{line}: {reply}");
            }
            let mut bytes = Vec::new();
            let sink = |chunk: &[u8]| {
                bytes.extend_from_slice(chunk);
                Ok(())
            };
            let stats = snapshot.run(&AtomicBool::new(false), sink).expect("no error");
            assert_eq!(stats.keys, 2, "{way:?}, {steps} steps");
            let text = String::from_utf8(bytes).unwrap();
            let mut lines: Vec<&str> = text.lines().collect();
            lines.sort_unstable();
            assert_eq!(lines, [line_of("long", 20_000), line_of("other", 10_000)], "{way:?}, {steps}, {changed}");
            // Nothing is left behind.
            let again = Snapshot::begin(server.keyspace, &sums, Arc::default(), |_| ()).expect("no other").0;
            let keys: usize = [0, 3, 5]
                .map(|db| {
                    e.run(&format!("SELECT {db}"));
                    e.run("DBSIZE").trim_matches([':', '\r', '\n']).parse::<usize>().unwrap()
                })
                .into_iter()
                .sum();
            assert_eq!(again.run(&AtomicBool::new(false), |_| Ok(())).expect("no error").keys, keys as u64);
        }
    }
}

/// Sets as the log has them.
#[derive(Default)]
struct Sets(Mutex<BTreeMap<String, std::collections::BTreeSet<String>>>);

impl FileSink for Sets {
    fn append(&self, bytes: &[u8], _offset: u64) {
        let mut data = self.0.lock();
        for text in requests(bytes) {
            match words(&text)[..] {
                ["SELECT", "0"] | ["MULTI"] | ["EXEC"] => {}
                ["SADD", key, ref members @ ..] => {
                    data.entry(key.to_owned()).or_default().extend(members.iter().map(|m| m.to_string()));
                }
                ["SREM", key, member] => {
                    let set = data.get_mut(key).expect("a set");
                    set.remove(member);
                }
                ["RENAME", from, to] => {
                    let set = data.remove(from).expect("a set");
                    data.insert(to.to_owned(), set);
                }
                _ => panic!("not expected: {text}"),
            }
        }
    }
    fn reach(&self, _offset: u64) {}
}

#[test]
fn long_values_under_concurrent_writers_are_what_the_log_says_up_to_the_cut() {
    let mut e = Engine::new();
    let server = e.server;
    let log = Arc::new(Sets::default());
    attach(server, log.clone());
    let stop = AtomicBool::new(false);
    let in_steps = std::thread::scope(|s| {
        for id in 0..3 {
            let stop = &stop;
            s.spawn(move || {
                let mut e =
                    Engine { server, worker: Worker::new(server, id), session: Session::new(Arc::default(), true) };
                while !stop.load(Relaxed) {
                    let (key, member) = (rng::below(4), rng::below(12_000));
                    e.run(&match rng::below(20) {
                        0 => format!("RENAME long{key} long{}", 4 + rng::below(4)),
                        1 => format!("RENAME long{} long{key}", 4 + rng::below(4)),
                        2 | 3 => format!("EVAL \"return redis.call('SADD', 'long{key}', 'member:{member}')\" 0"),
                        4..10 => format!("SREM long{key} member:{member}"),
                        _ => format!("SADD long{key} member:{member} x"),
                    });
                }
            });
        }
        let mut in_steps = 0;
        for round in 0..20 {
            // What the others' RENAME puts in the place of long ones is short.
            (0..4).for_each(|n| fill(&mut e, &format!("spare{n}"), 9_000));
            (0..4).for_each(|n| drop(e.run(&format!("RENAME spare{n} long{n}"))));
            let at_cut = |_: &mut dunlin::keyspace::Held| log.0.lock().clone();
            let begun = Snapshot::begin(server.keyspace, &sums, Arc::default(), at_cut);
            let (snapshot, expected) = begun.expect("no other snapshot");
            let sum = |set: &std::collections::BTreeSet<String>| set.iter().fold(0, |sum, m| add(m.as_bytes(), sum));
            let mut expected: Vec<String> = expected
                .iter()
                .filter(|(_, set)| !set.is_empty())
                .map(|(key, set)| format!("{key} {} {}", set.len(), sum(set)))
                .collect();
            expected.sort();
            let mut bytes = Vec::new();
            let sink = |chunk: &[u8]| {
                bytes.extend_from_slice(chunk);
                Ok(())
            };
            in_steps += snapshot.run(&AtomicBool::new(false), sink).expect("no error").in_steps;
            let text = String::from_utf8(bytes).unwrap();
            let mut lines: Vec<&str> = text.lines().collect();
            lines.sort_unstable();
            assert_eq!(lines, expected, "round {round}");
        }
        stop.store(true, Relaxed);
        in_steps
    });
    assert!(in_steps > 0);
}
