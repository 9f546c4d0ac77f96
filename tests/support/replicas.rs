//! Primaries and replicas, ours and Redis's: links that can be cut, and clients that write.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::{Conn, PATIENCE, Server, TempDir, dunlin, free_port};

/// Whose server a node is.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Kind {
    Dunlin,
    Redis,
}
use Kind::Dunlin;

/// The server to test against: `DUNLIN_PEER` names another than redis-server, such as valkey-server.
pub fn peer() -> Command {
    Command::new(std::env::var("DUNLIN_PEER").unwrap_or_else(|_| "redis-server".into()))
}

/// A server in a directory of its own.
pub struct Node {
    pub server: Server,
    pub _dir: TempDir,
}

impl Node {
    pub fn start(kind: Kind, args: &[&str]) -> Node {
        Node::start_on(kind, free_port(), args)
    }
    pub fn start_on(kind: Kind, port: u16, args: &[&str]) -> Node {
        let dir = TempDir::in_memory();
        Node { server: Server::run(Node::command(kind, port, &dir, args), port), _dir: dir }
    }
    fn command(kind: Kind, port: u16, dir: &TempDir, args: &[&str]) -> Command {
        let mut command = if kind == Dunlin { dunlin() } else { peer() };
        let own = port.to_string();
        let mut all = vec!["--port", &own, "--save", "", "--enable-debug-command", "yes"];
        all.extend(["--repl-diskless-sync-delay", "0", "--repl-backlog-size", "64mb"]);
        command.current_dir(&dir.0).args(all).args(args);
        command
    }
    /// Ends it with a signal, and starts it again in its directory.
    pub fn restart(self, kind: Kind, signal: &str, args: &[&str]) -> Node {
        let port = self.port();
        self.server.signal(signal);
        self.server.wait();
        Node { server: Server::run(Node::command(kind, port, &self._dir, args), port), _dir: self._dir }
    }
    pub fn port(&self) -> u16 {
        self.server.port
    }
    pub fn conn(&self) -> Conn {
        self.server.connect()
    }
    pub fn follow(&self, port: u16) {
        assert_eq!(self.conn().run(&format!("REPLICAOF 127.0.0.1 {port}")).text(), "OK");
    }
    pub fn info(&self, field: &str) -> String {
        self.conn().info(field)
    }
    pub fn offset(&self) -> u64 {
        self.info("master_repl_offset").parse().unwrap()
    }
}

#[allow(clippy::disallowed_methods, reason = "tests measure their patience")]
pub fn now() -> Instant {
    Instant::now()
}

/// Waits for something that will come about.
pub fn wait(what: &str, mut right: impl FnMut() -> bool) {
    let start = now();
    while !right() {
        assert!(start.elapsed() < PATIENCE * 2, "{what} did not come about");
        std::thread::yield_now();
    }
}

/// Waits until the replica has all that the primary has, and compares.
pub fn assert_in_step(primary: &Node, replica: &Node, when: &str) {
    // What is over is gone on the primary first.
    wait(&format!("{when}: the expiries"), || {
        let text = primary.conn().run("INFO keyspace").text();
        text.lines().filter(|l| l.starts_with("db")).all(|l| l.contains("expires=0"))
    });
    wait(&format!("{when}: the link"), || replica.info("master_link_status") == "up");
    wait(&format!("{when}: the offset"), || replica.offset() == primary.offset());
    let digest = |n: &Node| n.conn().run("DEBUG DIGEST").text();
    if digest(primary) != digest(replica) {
        panic!("{when}: {}", differences(primary, replica));
    }
}

/// The keys that two nodes do not agree on.
pub fn differences(a: &Node, b: &Node) -> String {
    let (mut a, mut b) = (a.conn(), b.conn());
    let mut all = Vec::new();
    for db in 0..3 {
        let select = format!("SELECT {db}");
        a.run(&select);
        b.run(&select);
        let mut keys = a.run("KEYS *").texts();
        keys.extend(b.run("KEYS *").texts());
        keys.sort();
        keys.dedup();
        for key in keys {
            let show = |c: &mut Conn| {
                let kind = c.run(&format!("TYPE {key}")).text();
                let value = match kind.as_str() {
                    "string" => format!("{:?}", c.run(&format!("GET {key}"))),
                    "list" => format!("{:?}", c.run(&format!("LRANGE {key} 0 -1"))),
                    _ => c.run(&format!("DEBUG DIGEST-VALUE {key}")).texts().join(""),
                };
                format!("{kind} {value} ttl {}", c.run(&format!("PEXPIRETIME {key}")).int())
            };
            let (x, y) = (show(&mut a), show(&mut b));
            if x != y {
                all.push(format!("db {db} {key}: {x:.200} / {y:.200}"));
            }
        }
    }
    all.join("\n")
}

/// A way between two nodes that can be cut.
pub struct Cable {
    pub port: u16,
    open: Arc<Mutex<Vec<TcpStream>>>,
    closed: Arc<AtomicBool>,
}

impl Cable {
    pub fn to(target: u16) -> Cable {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let open: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        let closed = Arc::new(AtomicBool::new(false));
        let (streams, down) = (open.clone(), closed.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(("127.0.0.1", target)) else { continue };
                if down.load(Acquire) {
                    continue;
                }
                streams.lock().unwrap().extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    std::thread::spawn(move || {
                        let mut buf = [0; 16384];
                        while let Ok(n @ 1..) = from.read(&mut buf) {
                            if to.write_all(&buf[..n]).is_err() {
                                break;
                            }
                        }
                        let _ = to.shutdown(Shutdown::Both);
                        let _ = from.shutdown(Shutdown::Both);
                    });
                }
            }
        });
        Cable { port, open, closed }
    }
    pub fn cut(&self) {
        for s in self.open.lock().unwrap().drain(..) {
            let _ = s.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.closed.store(true, Release);
        self.cut();
    }
}

/// Clients that write all types, transactions and expiries to a primary until they are told to stop.
pub struct Writers {
    stop: Arc<AtomicBool>,
    pub written: Arc<AtomicU64>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Writers {
    pub fn start(port: u16, n: u64) -> Writers {
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let threads = (0..n)
            .map(|id| {
                let (stop, written) = (stop.clone(), written.clone());
                std::thread::spawn(move || write(port, id, &stop, &written))
            })
            .collect();
        Writers { stop, written, threads }
    }
    /// Waits until so many more writes were made.
    pub fn more(&self, n: u64) {
        let from = self.written.load(Acquire);
        wait("the writes", || self.written.load(Acquire) - from >= n);
    }
    pub fn stop(self) {
        self.stop.store(true, Release);
        for t in self.threads {
            t.join().unwrap();
        }
    }
}

/// A small generator of numbers: what is written is the same in every run, the order of the threads is not.
pub struct Random(u64);

impl Random {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

pub fn write(port: u16, id: u64, stop: &AtomicBool, written: &AtomicU64) {
    let mut c = Conn::open(port);
    let mut r = Random(0x9E37_79B9 + id * 7919);
    for _ in 0..2_000_000u32 {
        if stop.load(Acquire) {
            return;
        }
        let mut lines = Vec::new();
        for _ in 0..16 {
            let (k, n, v) = (r.below(300), r.below(20), r.below(1_000_000));
            let line = match r.below(27) {
                0 => format!("SET s{k} {v}"),
                1 => format!("SET s{k} {v} PX {}", 1 + r.below(400)),
                2 => format!("INCRBY n{k} {n}"),
                3 => format!("APPEND s{k} {v}"),
                4 => format!("RPUSH l{k} {v} {n}"),
                5 => format!("LPOP l{k}"),
                6 => format!("LMOVE l{k} l{n} LEFT RIGHT"),
                7 => format!("SADD set{k} {v} {n} member-{n}"),
                8 => format!("SPOP set{k} 2"),
                9 => format!("ZADD z{k} {v} m{n} {n} x"),
                10 => format!("ZINCRBY z{k} 1.5 m{n}"),
                11 => format!("ZPOPMIN z{k}"),
                12 => format!("HSET h{k} f{n} {v}"),
                13 => format!("HINCRBYFLOAT h{k} float 0.1"),
                14 => format!("EXPIRE h{k} {}", r.below(2)),
                15 => format!("DEL s{k} l{k}"),
                16 => format!("SUNIONSTORE set{n} set{k} set{}", r.below(300)),
                17 => format!("RENAME n{k} n{n}"),
                18 => format!("GETEX s{k} PX {}", 50 + r.below(500)),
                19 => format!("SELECT {}", r.below(3)),
                20 => format!("INCRBYFLOAT fl{k} 1.25"),
                21 => format!("XADD x{n} MAXLEN ~ 300 * f {v} g {k}"),
                22 => format!("XGROUP CREATE x{n} g 0 MKSTREAM"),
                23 => format!("XREADGROUP GROUP g c{} COUNT 5 STREAMS x{n} >", r.below(3)),
                24 => format!("XAUTOCLAIM x{n} g c{} 0 - COUNT 3", r.below(3)),
                25 => format!("XTRIM x{n} MAXLEN {}", 200 + k),
                _ => {
                    lines.push("MULTI".into());
                    lines.push(format!("INCR n{k}"));
                    lines.push(format!("SADD set{k} {v}"));
                    lines.push(format!("RPUSH l{k} {v}"));
                    "EXEC".into()
                }
            };
            lines.push(line);
        }
        let mut bytes = Vec::new();
        for line in &lines {
            let words: Vec<&str> = line.split(' ').collect();
            bytes.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
            for w in words {
                bytes.extend_from_slice(format!("${}\r\n{w}\r\n", w.len()).as_bytes());
            }
        }
        c.send_raw(&bytes);
        for _ in &lines {
            c.read();
        }
        written.fetch_add(lines.len() as u64, AcqRel);
    }
}
