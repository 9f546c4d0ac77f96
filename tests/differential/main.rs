//! Dunlin against redis-server: random commands go to both, and the replies are compared.
//!
//! Commands come from the grammar in `grammar.rs`, filled with arguments that tend to be at an edge. A round is a fresh
//! pair of connections and an empty data set; at its end the data of both servers is compared too. Replies are compared
//! byte for byte, with exceptions that `compare.rs` argues for.
//!
//! A failure prints the seed of its round; `DUNLIN_SEED=<seed>` runs that round alone (`DUNLIN_CONTEXT=<n>`
//! shows as many commands before the one that failed). `DUNLIN_SOAK_SECONDS=<n>` goes on
//! for that long.

#[path = "../support/mod.rs"]
mod support;

mod compare;
mod grammar;

use dunlin::base::{clock, rng};
use grammar::Grammar;
use std::process::{Child, Command, Stdio};
use support::{Conn, PATIENCE, Server, Value, free_port};

/// Commands of a run, at least.
const COMMANDS: usize = 200_000;
/// Commands of a round.
const ROUND: usize = 4_000;
/// Commands sent before their replies are read.
const BATCH: usize = 40;

struct Redis {
    child: Child,
    port: u16,
}

impl Redis {
    fn start() -> Option<Redis> {
        let port = free_port();
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--save", "", "--enable-debug-command", "yes", "--loglevel", "warning"])
            .current_dir(std::env::temp_dir())
            .stdout(Stdio::null())
            .spawn()
            .ok()?;
        let redis = Redis { child, port };
        let deadline = clock::mono_ns() + PATIENCE.as_nanos() as u64;
        while clock::mono_ns() < deadline {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Some(redis);
            }
            std::thread::yield_now();
        }
        panic!("redis-server does not accept connections");
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn random_commands_have_the_replies_of_redis() {
    let Some(redis) = Redis::start() else {
        panic!("this test compares with redis-server: install it (apt-get install redis-server)");
    };
    let server = Server::start(&["--io-threads", "2"]);
    let grammar = Grammar::new();
    if let Some(seed) = std::env::var("DUNLIN_SEED").ok().and_then(|seed| seed.parse().ok()) {
        return round(&grammar, seed, server.port, redis.port);
    }
    let soak = std::env::var("DUNLIN_SOAK_SECONDS").ok().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    let until = clock::mono_ns() + soak * 1_000_000_000;
    let mut sent = 0;
    while sent < COMMANDS || clock::mono_ns() < until {
        round(&grammar, rng::seed_from_os(), server.port, redis.port);
        sent += ROUND;
    }
}

fn round(grammar: &Grammar, seed: u64, dunlin: u16, redis: u16) {
    let mut rng = rng::Rng::new(seed);
    let (mut ours, mut theirs) = (Conn::open(dunlin), Conn::open(redis));
    for conn in [&mut ours, &mut theirs] {
        assert_eq!(conn.run("FLUSHALL").text(), "OK");
        if seed.is_multiple_of(2) {
            conn.run("HELLO 3");
        }
    }
    let mut done = 0;
    let mut sent: Vec<Vec<Vec<u8>>> = Vec::new();
    let context = std::env::var("DUNLIN_CONTEXT").ok().and_then(|n| n.parse().ok()).unwrap_or(8);
    while done < ROUND {
        let batch = grammar.batch(&mut rng, BATCH);
        for conn in [&mut ours, &mut theirs] {
            for command in &batch {
                conn.send(&command.iter().map(Vec::as_slice).collect::<Vec<_>>());
            }
        }
        sent.extend(batch.iter().cloned());
        for (n, command) in batch.iter().enumerate() {
            let (a, b) = (ours.read(), theirs.read());
            if let Some(why) = compare::differ(command, &a, &b) {
                panic!(
                    "{why}\n  command: {}\n  dunlin: {a:?}\n  redis:  {b:?}\n  before: {}\nDUNLIN_SEED={seed}, command {}",
                    show(command),
                    sent[..done + n]
                        .iter()
                        .rev()
                        .take(context)
                        .map(|c| show(c))
                        .collect::<Vec<_>>()
                        .join("\n          "),
                    done + n,
                );
            }
        }
        done += batch.len();
    }
    compare_data(&mut ours, &mut theirs, seed);
}

fn show(command: &[Vec<u8>]) -> String {
    let text = |arg: &Vec<u8>| arg.escape_ascii().to_string();
    command.iter().map(|arg| if arg.is_empty() { "\"\"".into() } else { text(arg) }).collect::<Vec<_>>().join(" ")
}

/// Every key of both servers holds the same.
fn compare_data(ours: &mut Conn, theirs: &mut Conn, seed: u64) {
    for db in ["0", "1"] {
        for conn in [&mut *ours, &mut *theirs] {
            conn.run("DISCARD");
            conn.command(&[b"SELECT", db.as_bytes()]);
        }
        let mut keys: Vec<Vec<u8>> = Vec::new();
        for key in theirs.run("KEYS *").items() {
            if let Value::Bulk(key) = key {
                keys.push(key.clone());
            }
        }
        assert_eq!(ours.run("DBSIZE"), Value::Int(keys.len() as i64), "DUNLIN_SEED={seed}");
        for key in &keys {
            let kind = theirs.command(&[b"TYPE", key]).text();
            let read: Vec<Vec<u8>> = match kind.as_str() {
                "string" => vec![b"GET".to_vec(), key.clone()],
                "list" => vec![b"LRANGE".to_vec(), key.clone(), b"0".to_vec(), b"-1".to_vec()],
                "set" => vec![b"SMEMBERS".to_vec(), key.clone()],
                "hash" => vec![b"HGETALL".to_vec(), key.clone()],
                "zset" => {
                    let words: [&[u8]; 5] = [b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"];
                    words.iter().map(|word| word.to_vec()).collect()
                }
                "stream" => [b"XRANGE", &key[..], b"-", b"+"].map(<[u8]>::to_vec).to_vec(),
                other => panic!("a key of type {other}"),
            };
            for command in [read, vec![b"PTTL".to_vec(), key.clone()]] {
                let words: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
                let (a, b) = (ours.command(&words), theirs.command(&words));
                if let Some(why) = compare::differ(&command, &a, &b) {
                    panic!("{why}: {}\n  dunlin: {a:?}\n  redis:  {b:?}\nDUNLIN_SEED={seed}", show(&command));
                }
            }
        }
    }
}
