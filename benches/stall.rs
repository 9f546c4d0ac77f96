//! No stall: one slot grows to ten million keys under a probe of a thousand requests a second.
//!
//! `cargo bench --bench stall [-- KEYS]`. Starts the server, fills keys of one hash tag from one connection, and on
//! another sends a PING and a GET of that slot a thousand times a second; the same probe runs first while nothing else
//! does, and once while the same load goes to another slot with few keys, to show what the machine itself adds. Prints the
//! slowest replies of each, and how many commands the server itself saw take longer than a millisecond.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures time by itself")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

struct Server(Child);
impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn connect(port: u16) -> TcpStream {
    let start = Instant::now();
    loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(s) => {
                s.set_nodelay(true).expect("a TCP socket");
                return s;
            }
            Err(e) if start.elapsed() > Duration::from_secs(10) => panic!("the server did not start: {e}"),
            Err(_) => std::thread::yield_now(),
        }
    }
}

/// Sends a request a millisecond until `stop`; the latencies in microseconds, sorted.
fn probe(port: u16, stop: &AtomicBool) -> Vec<u64> {
    let mut s = connect(port);
    let (mut seen, start, mut n) = (Vec::new(), Instant::now(), 0u64);
    let mut reply = [0u8; 256];
    while !stop.load(Relaxed) {
        n += 1;
        while let Some(left) = Duration::from_millis(n).checked_sub(start.elapsed()) {
            std::thread::park_timeout(left);
        }
        let sent = Instant::now();
        s.write_all(b"*2\r\n$3\r\nGET\r\n$6\r\n{t}:1x\r\n").expect("the server lives");
        let _ = s.read(&mut reply).expect("a reply");
        seen.push(sent.elapsed().as_micros() as u64);
    }
    seen.sort_unstable();
    seen
}

fn show(what: &str, seen: &[u64]) {
    let at = |p: f64| seen[((seen.len() - 1) as f64 * p) as usize];
    println!(
        "{what}: {} replies, median {} us, p99.9 {} us, slowest {:?} us",
        seen.len(),
        at(0.5),
        at(0.999),
        &seen[seen.len().saturating_sub(5)..]
    );
}

fn main() {
    let keys: u64 = std::env::args().filter_map(|a| a.parse().ok()).next_back().unwrap_or(10_000_000);
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
    let server = Command::new(env!("CARGO_BIN_EXE_dunlin"))
        .args(["--port", &port.to_string(), "--save", ""])
        .stdout(Stdio::null())
        .spawn()
        .expect("the server starts");
    let _server = Server(server);
    drop(connect(port));
    let run = |what: &str, load: &mut dyn FnMut()| {
        let stop = AtomicBool::new(false);
        std::thread::scope(|s| {
            let probe = s.spawn(|| probe(port, &stop));
            load();
            stop.store(true, Relaxed);
            show(what, &probe.join().expect("the probe"));
        });
    };
    run("idle", &mut || std::thread::park_timeout(Duration::from_secs(10)));
    let load = |tag: &str, keys: u64, different: u64| {
        let mut s = connect(port);
        let mut reply = vec![0u8; 5 * 100];
        for from in (0..keys).step_by(100) {
            let mut bytes = Vec::new();
            for i in from..from + 100 {
                let key = format!("{{{tag}}}:{:012}", i % different);
                bytes.extend_from_slice(format!("*3\r\n$3\r\nSET\r\n$16\r\n{key}\r\n$1\r\nv\r\n").as_bytes());
            }
            s.write_all(&bytes).expect("the server lives");
            s.read_exact(&mut reply).expect("replies");
        }
    };
    let ask = |line: &str| {
        let mut s = connect(port);
        s.write_all(format!("{line}\r\n").as_bytes()).expect("the server lives");
        let mut reply = [0u8; 256];
        let n = s.read(&mut reply).expect("a reply");
        String::from_utf8_lossy(&reply[..n]).trim().to_owned()
    };
    ask("CONFIG SET slowlog-log-slower-than 1000 slowlog-max-len 100000");
    run("loaded, not growing", &mut || load("u", keys, 1000));
    println!("commands over a millisecond: {}", ask("SLOWLOG LEN"));
    ask("SLOWLOG RESET");
    let start = Instant::now();
    run("growing", &mut || load("t", keys, u64::MAX));
    println!("commands over a millisecond: {}", ask("SLOWLOG LEN"));
    println!("{keys} keys in one slot in {:.1} s", start.elapsed().as_secs_f64());
}
