//! Persistence and replication beside the redis-server of this machine.
//!
//! `cargo bench --bench persistence [-- PART ...]`, parts: save, load, sync, cost (all by default). Each part runs Dunlin
//! and redis-server in turn, several rounds, and prints both and the ratio.
//!
//! * save: BGSAVE of 3,000,000 keys of 200 bytes under 20,000 writes a second: peak memory against that before (of
//!   redis-server with its child, by proportional set size), slowest reply of a probe before and during, time to save.
//! * load: 5,000,000 small keys from a dump file that redis-server wrote.
//! * sync: a full synchronization of 1 GB, ours to ours and Redis to Redis.
//! * cost: CPU a SET at pipeline 16 of a primary with one replica, and with `appendfsync everysec`.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures time by itself")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    Dunlin,
    Redis,
}

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Dir {
        let path = std::env::temp_dir().join(format!("dunlin-bench-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a directory");
        Dir(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct Server {
    child: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn start(kind: Kind, dir: &Path, args: &[&str]) -> Server {
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
        let own = port.to_string();
        let mut command = match kind {
            Kind::Dunlin => Command::new(env!("CARGO_BIN_EXE_dunlin")),
            Kind::Redis => Command::new("redis-server"),
        };
        command.args([
            "--port",
            &own,
            "--save",
            "",
            "--enable-debug-command",
            "yes",
            "--repl-diskless-sync-delay",
            "0",
        ]);
        let child = command.args(args).current_dir(dir).stdout(Stdio::null()).spawn().expect("the server starts");
        let server = Server { child, port };
        let start = Instant::now();
        loop {
            if server.try_ask("PING").is_some_and(|r| r.starts_with("+PONG")) {
                return server;
            }
            assert!(start.elapsed() < Duration::from_secs(120), "the server did not start");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
    fn try_ask(&self, line: &str) -> Option<String> {
        let mut s = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        s.write_all(format!("{line}\r\n").as_bytes()).ok()?;
        let mut text = String::new();
        let mut read = BufReader::new(s);
        read.read_line(&mut text).ok()?;
        if let Some(n) = text.strip_prefix('$').and_then(|n| n.trim().parse::<usize>().ok()) {
            let mut bytes = vec![0; n];
            read.read_exact(&mut bytes).ok()?;
            text = String::from_utf8_lossy(&bytes).into_owned();
        }
        Some(text)
    }
    fn ask(&self, line: &str) -> String {
        self.try_ask(line).expect("an answer")
    }
    fn info(&self, field: &str) -> String {
        let text = self.ask("INFO everything");
        let line = text.lines().find_map(|l| l.strip_prefix(&format!("{field}:")));
        line.unwrap_or_default().to_owned()
    }
    fn until(&self, field: &str, value: &str) {
        let start = Instant::now();
        while self.info(field) != value {
            assert!(start.elapsed() < Duration::from_secs(300), "{field} did not become {value}");
            std::thread::park_timeout(Duration::from_millis(2));
        }
    }
    /// User and system time so far, seconds.
    fn cpu(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("a process");
        let rest: Vec<&str> = stat[stat.rfind(')').expect("a name") + 2..].split(' ').collect();
        let ticks = |i: usize| rest[i].parse::<f64>().expect("a number");
        (ticks(11) + ticks(12)) / 100.0
    }
    /// Memory of the process and its children, proportional, bytes.
    fn memory(&self) -> u64 {
        let pid = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let all = std::iter::once(pid.to_string()).chain(children.split_whitespace().map(str::to_owned));
        all.map(|pid| {
            let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
            let line = text.lines().find(|l| l.starts_with("Pss:")).unwrap_or("Pss: 0 kB");
            line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) * 1024
        })
        .sum()
    }
}

/// A GET a millisecond until told; the slowest reply, ms.
fn probe(port: u16, stop: &AtomicBool) -> f64 {
    let mut s = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    s.set_nodelay(true).expect("a TCP socket");
    let (mut slowest, start, mut n) = (Duration::ZERO, Instant::now(), 0u64);
    let mut reply = [0u8; 4096];
    while !stop.load(Relaxed) {
        n += 1;
        while let Some(left) = Duration::from_millis(n).checked_sub(start.elapsed()) {
            std::thread::park_timeout(left);
        }
        let sent = Instant::now();
        s.write_all(b"*2\r\n$3\r\nGET\r\n$5\r\nkey:1\r\n").expect("the server lives");
        let _ = s.read(&mut reply).expect("a reply");
        slowest = slowest.max(sent.elapsed());
    }
    slowest.as_secs_f64() * 1000.0
}

/// Twenty SETs of 200 bytes a millisecond, all over the keys, until told.
fn write(port: u16, keys: u64, stop: &AtomicBool) -> u64 {
    let mut s = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    s.set_nodelay(true).expect("a TCP socket");
    let value = "y".repeat(200);
    let (start, mut n, mut seed) = (Instant::now(), 0u64, 88172645463325252u64);
    let mut reply = [0u8; 100];
    while !stop.load(Relaxed) {
        n += 1;
        while let Some(left) = Duration::from_millis(n).checked_sub(start.elapsed()) {
            std::thread::park_timeout(left);
        }
        let mut bytes = Vec::new();
        for _ in 0..20 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let key = format!("key:{}", seed % keys);
            bytes.extend_from_slice(
                format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n$200\r\n{value}\r\n", key.len()).as_bytes(),
            );
        }
        s.write_all(&bytes).expect("the server lives");
        s.read_exact(&mut reply).expect("replies");
    }
    n * 20
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

fn save(kind: Kind) -> [f64; 4] {
    let dir = Dir::new("save");
    let keys = 3_000_000;
    let server = Server::start(kind, &dir.0, &[]);
    server.ask(&format!("DEBUG POPULATE {keys} key 200"));
    let (stop, quiet, sampling) = (AtomicBool::new(false), AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|s| {
        let writer = s.spawn(|| write(server.port, keys, &stop));
        let before = s.spawn(|| probe(server.port, &quiet));
        std::thread::park_timeout(Duration::from_secs(5));
        quiet.store(true, Relaxed);
        let before = before.join().expect("the probe");
        let memory = server.memory();
        let probing = s.spawn(|| probe(server.port, &sampling));
        let start = Instant::now();
        server.ask("BGSAVE");
        let mut peak = 0;
        while server.info("rdb_bgsave_in_progress") == "1" {
            peak = peak.max(server.memory());
            std::thread::park_timeout(Duration::from_millis(20));
        }
        let took = start.elapsed().as_secs_f64();
        sampling.store(true, Relaxed);
        let during = probing.join().expect("the probe");
        stop.store(true, Relaxed);
        let writes = writer.join().expect("the writer");
        println!("  {kind:?}: {writes} writes in all");
        [peak as f64 / memory as f64, before, during, took]
    })
}

fn load(kind: Kind, dir: &Path, keys: u64) -> f64 {
    let start = Instant::now();
    let server = Server::start(kind, dir, &[]);
    server.until("loading", "0");
    let took = start.elapsed().as_secs_f64();
    assert_eq!(server.ask("DBSIZE").trim(), format!(":{keys}"));
    took
}

fn sync(kind: Kind) -> f64 {
    let (one, two) = (Dir::new("sync-a"), Dir::new("sync-b"));
    let primary = Server::start(kind, &one.0, &[]);
    primary.ask("DEBUG POPULATE 1000000 key 1000");
    let replica = Server::start(kind, &two.0, &[]);
    let start = Instant::now();
    replica.ask(&format!("REPLICAOF 127.0.0.1 {}", primary.port));
    replica.until("master_link_status", "up");
    start.elapsed().as_secs_f64()
}

fn cost(kind: Kind, with: &str) -> f64 {
    let (one, two) = (Dir::new("cost-a"), Dir::new("cost-b"));
    let args: &[&str] = if with == "aof" { &["--appendonly", "yes", "--appendfsync", "everysec"] } else { &[] };
    let args = [args, if kind == Kind::Dunlin { &["--io-threads", "1"] } else { &[] }].concat();
    let server = Server::start(kind, &one.0, &args);
    // The replica is the same for both, so that it takes as much of the machine from either.
    let _replica = (with == "replica").then(|| {
        let replica = Server::start(Kind::Redis, &two.0, &[]);
        replica.ask(&format!("REPLICAOF 127.0.0.1 {}", server.port));
        replica.until("master_link_status", "up");
        replica
    });
    let bench = |n: u32| {
        let status = Command::new("redis-benchmark")
            .args([
                "-p",
                &server.port.to_string(),
                "-t",
                "set",
                "-P",
                "16",
                "-d",
                "64",
                "-r",
                "100000",
                "-c",
                "50",
                "-q",
            ])
            .args(["-n", &n.to_string()])
            .stdout(Stdio::null())
            .status()
            .expect("redis-benchmark runs");
        assert!(status.success());
    };
    bench(200_000);
    let before = server.cpu();
    bench(2_000_000);
    (server.cpu() - before) / 2_000_000.0 * 1e9
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let does = |part: &str| wanted.is_empty() || wanted.iter().any(|w| w == part);
    let kinds = [Kind::Dunlin, Kind::Redis];
    if does("save") {
        println!("save: peak memory ratio, slowest reply before and during (ms), seconds to save");
        for _ in 0..3 {
            for kind in kinds {
                let [memory, before, during, took] = save(kind);
                println!("  {kind:?}: memory {memory:.3}, before {before:.2}, during {during:.2}, took {took:.2}");
            }
        }
    }
    if does("load") {
        let keys = 5_000_000;
        let dir = Dir::new("load");
        {
            let source = Server::start(Kind::Redis, &dir.0, &[]);
            source.ask(&format!("DEBUG POPULATE {keys} key 20"));
            source.ask("SAVE");
        }
        let mut took = [Vec::new(), Vec::new()];
        for _ in 0..3 {
            for (kind, took) in kinds.iter().zip(&mut took) {
                took.push(load(*kind, &dir.0, keys));
            }
        }
        let [ours, theirs] = took.map(median);
        println!("load of {keys} keys: Dunlin {ours:.2} s, Redis {theirs:.2} s, {:.2} times as fast", theirs / ours);
    }
    if does("sync") {
        let mut took = [Vec::new(), Vec::new()];
        for _ in 0..3 {
            for (kind, took) in kinds.iter().zip(&mut took) {
                took.push(sync(*kind));
            }
        }
        let [ours, theirs] = took.map(median);
        println!("full sync of 1 GB: Dunlin {ours:.2} s, Redis {theirs:.2} s, {:.2} times as fast", theirs / ours);
    }
    if does("cost") {
        for with in ["replica", "aof", "nothing"] {
            let mut cpu = [Vec::new(), Vec::new()];
            for _ in 0..5 {
                for (kind, cpu) in kinds.iter().zip(&mut cpu) {
                    cpu.push(cost(*kind, with));
                }
            }
            let [ours, theirs] = cpu.map(median);
            println!(
                "SET at pipeline 16, with {with}: Dunlin {ours:.0} ns, Redis {theirs:.0} ns CPU, {:.2}",
                ours / theirs
            );
        }
    }
}
