//! Six nodes in a cluster, three primaries with a replica each, and clients that write to it.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;

use dunlin::base::clock;
use dunlin::base::slot::key_slot;

use crate::support::{Conn, PATIENCE, Server, TempDir, dunlin, free_port};

pub struct Node {
    pub server: Option<Server>,
    pub port: u16,
    pub metrics: u16,
    dir: TempDir,
}

impl Node {
    fn new() -> Node {
        let mut node = Node { server: None, port: free_port(), metrics: free_port(), dir: TempDir::new() };
        node.start();
        node
    }

    pub fn start(&mut self) {
        let mut command = dunlin();
        let (port, metrics) = (self.port.to_string(), self.metrics.to_string());
        command.current_dir(&self.dir.0);
        command.args(["--port", &port, "--metrics-port", &metrics, "--enable-debug-command", "yes"]);
        command.args(["--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--appendonly", "yes"]);
        command.args(["--maxmemory", "1gb", "--save", "", "--repl-diskless-sync-delay", "0"]);
        self.server = Some(Server::run(command, self.port));
    }

    pub fn connect(&self) -> Conn {
        Conn::open(self.port)
    }

    pub fn id(&self) -> String {
        self.connect().run("CLUSTER MYID").text()
    }

    /// Whether the node sees every slot served.
    fn is_ok(&self) -> bool {
        self.connect().run("CLUSTER INFO").text().contains("cluster_state:ok")
    }
}

pub struct Cluster {
    pub nodes: Vec<Node>,
}

impl Cluster {
    /// The first three nodes are primaries; node 3 follows node 0, and so on.
    pub fn start() -> Cluster {
        let cluster = Cluster { nodes: (0..6).map(|_| Node::new()).collect() };
        let mut first = cluster.nodes[0].connect();
        for node in &cluster.nodes[1..] {
            first.run(&format!("CLUSTER MEET 127.0.0.1 {}", node.port));
        }
        for (node, range) in cluster.nodes.iter().zip(["0 5460", "5461 10922", "10923 16383"]) {
            assert_eq!(node.connect().run(&format!("CLUSTER ADDSLOTSRANGE {range}")).text(), "OK");
        }
        cluster.settle();
        let ids: Vec<String> = cluster.nodes.iter().map(Node::id).collect();
        for (node, id) in cluster.nodes[3..].iter().zip(&ids) {
            let mut conn = node.connect();
            conn.until("a replica", |conn| conn.run(&format!("CLUSTER REPLICATE {id}")).text() == "OK");
            conn.until("a link", |conn| conn.run("INFO replication").text().contains("master_link_status:up"));
        }
        cluster.settle();
        cluster
    }

    /// Waits until all nodes that are up know all others, and every slot is served.
    pub fn settle(&self) {
        let start = clock::mono_ns();
        let settled = |node: &Node| {
            let known = node.connect().run("CLUSTER NODES").text();
            known.lines().count() == self.nodes.len() && !known.contains("handshake") && node.is_ok()
        };
        while !self.nodes.iter().filter(|node| node.server.is_some()).all(settled) {
            assert!(clock::mono_ns() - start < 2 * PATIENCE.as_nanos() as u64, "the cluster does not settle");
            clock::pause_us(50_000);
        }
    }

    /// Moves a slot with its keys, as redis-cli does.
    pub fn move_slot(&self, slot: u16, from: usize, to: usize) {
        let (source, target) = (&self.nodes[from], &self.nodes[to]);
        let (from_id, to_id) = (source.id(), target.id());
        let (mut from, mut to) = (source.connect(), target.connect());
        assert_eq!(to.run(&format!("CLUSTER SETSLOT {slot} IMPORTING {from_id}")).text(), "OK");
        assert_eq!(from.run(&format!("CLUSTER SETSLOT {slot} MIGRATING {to_id}")).text(), "OK");
        loop {
            let keys = from.run(&format!("CLUSTER GETKEYSINSLOT {slot} 100")).texts();
            if keys.is_empty() {
                break;
            }
            let port = target.port.to_string();
            let mut args: Vec<&[u8]> = vec![b"MIGRATE", b"127.0.0.1", port.as_bytes(), b"", b"0", b"5000", b"KEYS"];
            args.extend(keys.iter().map(String::as_bytes));
            let moved = from.command(&args);
            assert!(!moved.is_error(), "{moved:?}");
        }
        for conn in [&mut to, &mut from] {
            assert_eq!(conn.run(&format!("CLUSTER SETSLOT {slot} NODE {to_id}")).text(), "OK");
        }
    }
}

/// A client that writes and reads until it is told to stop, and goes where the cluster sends it.
pub struct Load {
    stop: Arc<AtomicBool>,
    pub done: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

/// One connection: sends a line, and reads the first line of the reply (and a string after it).
struct Line(BufReader<TcpStream>);

impl Line {
    fn open(port: u16) -> std::io::Result<Line> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Line(BufReader::new(stream)))
    }

    fn ask(&mut self, line: &str) -> std::io::Result<String> {
        self.0.get_mut().write_all(format!("{line}\r\n").as_bytes())?;
        let mut reply = String::new();
        if self.0.read_line(&mut reply)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if reply.starts_with('$') && !reply.starts_with("$-1") {
            let mut text = String::new();
            self.0.read_line(&mut text)?;
        }
        Ok(reply)
    }
}

impl Load {
    pub fn start(ports: Vec<u16>, seed: usize) -> Load {
        let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (stopped, counted) = (stop.clone(), done.clone());
        let thread = std::thread::spawn(move || {
            let mut lines: Vec<Option<Line>> = ports.iter().map(|_| None).collect();
            let mut owner = vec![0usize; 16_384];
            for step in seed.. {
                if stopped.load(Relaxed) {
                    return;
                }
                let key = format!("key:{}", step * 7919 % 2999);
                let slot = usize::from(key_slot(key.as_bytes()));
                let line = match step % 5 {
                    0 | 1 => format!("SET {key} {step} EX 600"),
                    2 => format!("GET {key}"),
                    3 => format!("GET no{key}"),
                    // An error now and then.
                    _ => format!("LPUSH {key} x"),
                };
                let slot = if step % 5 == 3 { usize::from(key_slot(format!("no{key}").as_bytes())) } else { slot };
                let at = owner[slot];
                if lines[at].is_none() {
                    lines[at] = Line::open(ports[at]).ok();
                }
                let reply = lines[at].as_mut().map(|l| l.ask(&line));
                match reply {
                    Some(Ok(reply)) if reply.starts_with("-MOVED") => {
                        let port = reply.trim_end().rsplit(':').next().and_then(|port| port.parse().ok());
                        owner[slot] = ports.iter().position(|p| Some(*p) == port).unwrap_or(0);
                    }
                    Some(Ok(reply)) if !reply.starts_with("-CLUSTERDOWN") => {
                        counted.fetch_add(1, Relaxed);
                    }
                    _ => {
                        lines[at] = None;
                        owner[slot] = (at + 1) % ports.len();
                    }
                }
                if step % 20 == 0 {
                    clock::pause_us(2000);
                }
            }
        });
        Load { stop, done, thread: Some(thread) }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
