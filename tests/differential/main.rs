//! Dunlin against redis-server: random commands go to both, and the replies are compared.
//!
//! Commands come from the grammar in `grammar.rs`, filled with arguments that tend to be at an edge. A round is a fresh
//! pair of connections and an empty data set; at its end the data of both servers is compared too. Replies are compared
//! byte for byte, with exceptions that `compare.rs` argues for.
//!
//! Some commands go through a script or a function, and random scripts that call none are compared too.
//!
//! A failure prints the seed of its round; `DUNLIN_SEED=<seed>` runs that round alone (`DUNLIN_CONTEXT=<n>`
//! shows as many commands before the one that failed). `DUNLIN_SOAK_SECONDS=<n>` goes on
//! for that long, `DUNLIN_COMMANDS=<n>` for that many commands. `DUNLIN_PEER=valkey-server` sends random commands to that server in
//! Redis's place, but for those of which it makes something odd.

#[path = "../support/mod.rs"]
mod support;

#[allow(dead_code, reason = "the test of the sandbox uses the rest")]
#[path = "../support/lua.rs"]
mod lua;

mod compare;
mod grammar;
mod info;

use dunlin::base::{clock, rng};
use grammar::Grammar;
use std::collections::BTreeSet;
use std::process::{Child, Stdio};
use support::replicas::peer;
use support::{Conn, PATIENCE, Server, Value, free_port};

/// Commands of a run, at least.
const COMMANDS: usize = 400_000;
/// Commands of a round.
const ROUND: usize = 4_000;
/// Commands that no line of the grammar has, each with the reason. A container stands for its subcommands.
const NOT_DRAWN: &[(&str, &str)] = &[
    ("command", "compared in info.rs"),
    ("pfselftest", "Redis takes half a second for it: it has a test of its own"),
    ("multi", "the grammar opens transactions by itself"),
    ("eval evalsha eval_ro evalsha_ro fcall fcall_ro", "commands are sent through them"),
    (
        "subscribe psubscribe ssubscribe unsubscribe punsubscribe sunsubscribe monitor quit hello",
        "they change what a connection is",
    ),
    ("time lastsave info role slowlog lolwut debug", "what they say is of the server and the moment"),
    ("flushall flushdb", "a round begins with it"),
    ("save bgsave bgrewriteaof shutdown", "about disks and processes"),
    ("readonly readwrite", "Valkey has them outside of clusters, too"),
    ("sync psync replconf replicaof slaveof", "about replication"),
];
/// Commands sent before their replies are read.
const BATCH: usize = 40;

struct Redis {
    child: Child,
    port: u16,
}

impl Redis {
    fn start() -> Option<Redis> {
        let port = free_port();
        let child = peer()
            .args(["--port", &port.to_string(), "--save", "", "--enable-debug-command", "yes", "--loglevel", "warning"])
            // It looks only so often a second whether a wait is over.
            .args(["--hz", "500"])
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
    let wanted = std::env::var("DUNLIN_COMMANDS").ok().and_then(|n| n.parse().ok()).unwrap_or(COMMANDS);
    let until = clock::mono_ns() + soak * 1_000_000_000;
    let mut sent = 0;
    while sent < wanted || clock::mono_ns() < until {
        round(&grammar, rng::seed_from_os(), server.port, redis.port);
        sent += ROUND;
    }
    println!("{sent} commands, no difference");
}

fn round(grammar: &Grammar, seed: u64, dunlin: u16, redis: u16) {
    let mut rng = rng::Rng::new(seed);
    let (mut ours, mut theirs) = (Conn::open(dunlin), Conn::open(redis));
    for conn in [&mut ours, &mut theirs] {
        assert_eq!(conn.run("FLUSHALL").text(), "OK");
        if seed.is_multiple_of(2) {
            conn.run("HELLO 3");
        }
        assert_eq!(conn.command(&[b"FUNCTION", b"LOAD", b"REPLACE", LIBRARY]).text(), "lib");
        assert_eq!(conn.command(&[b"SCRIPT", b"LOAD", CALL]).text().as_bytes(), CALL_SHA);
    }
    let valkey = std::env::var("DUNLIN_PEER").is_ok_and(|peer| peer.contains("valkey"));
    let mut done = 0;
    // The two servers executed a command at most so many ms apart: the longest batch so far.
    let mut apart = 0;
    let mut sent: Vec<Vec<Vec<u8>>> = Vec::new();
    let context = std::env::var("DUNLIN_CONTEXT").ok().and_then(|n| n.parse().ok()).unwrap_or(8);
    while done < ROUND {
        let mut batch = grammar.batch(&mut rng, BATCH);
        batch.retain(|command| !valkey || !compare::is_odd_in_valkey(command));
        let scripted: Vec<bool> = batch.iter().map(|command| may_be_scripted(command) && rng.below(8) == 0).collect();
        let whole: Vec<_> = batch
            .iter()
            .zip(&scripted)
            .map(|(c, s)| if *s { through_a_script(c, &mut rng) } else { c.clone() })
            .collect();
        let start = clock::mono_ns();
        for conn in [&mut ours, &mut theirs] {
            for command in &whole {
                conn.send(&command.iter().map(Vec::as_slice).collect::<Vec<_>>());
            }
        }
        sent.extend(whole.iter().cloned());
        for (n, command) in batch.iter().enumerate() {
            let (mut a, b) = (ours.read(), theirs.read());
            apart = apart.max(ms_since(start));
            if scripted[n]
                && let Value::Error(text) = &mut a
            {
                text.truncate(text.find(" script: ").unwrap_or(text.len()));
            }
            if scripted[n] && (is_beyond_comparison(&a, &b) || valkey && compare::have_same_leaves(&a, &b)) {
                continue;
            }
            if let Some(why) = compare::differ(command, &a, &b, apart) {
                panic!(
                    "{why}\n  command: {}\n  dunlin: {a:?}\n  redis:  {b:?}\n  before: {}\nDUNLIN_SEED={seed}, command {}",
                    show(&whole[n]),
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
    compare_data(&mut ours, &mut theirs, seed, apart);
}

fn ms_since(start_ns: u64) -> i64 {
    ((clock::mono_ns() - start_ns) / 1_000_000) as i64
}

const LIBRARY: &[u8] = b"#!lua name=lib
local function call(_, args) return redis.call(unpack(args)) end
redis.register_function('call', call)
redis.register_function{function_name='look', callback=call, flags={'no-writes'}}";
const CALL: &[u8] = b"return redis.call(unpack(ARGV))";
/// Its SHA-1.
const CALL_SHA: &[u8] = b"3c44b7a40779a5c68a6e3920550ff76660a813aa";

/// What a transaction queues is compared when it is queued, so what opens or ends one stays as it is; and a script answers in
/// the protocol that it chose, so what comes as a map or a double is compared by itself. Redis 7.0 refuses scripts
/// what may wait.
fn may_be_scripted(command: &[Vec<u8>]) -> bool {
    let name = String::from_utf8_lossy(&command[0]).to_ascii_lowercase();
    !["multi", "exec", "discard", "watch", "unwatch", "select", "keys", "bz", "bl", "brpop", "wait"]
        .iter()
        .any(|n| name.starts_with(n))
        && !command.iter().any(|word| word == b"BLOCK")
}

/// What scripts are told of errors changed from version to version, and a number that Lua has no exact form of becomes what
/// the processor makes of it.
fn is_beyond_comparison(a: &Value, b: &Value) -> bool {
    fn is_great(value: &Value) -> bool {
        match value {
            Value::Int(n) => n.unsigned_abs() > 1 << 53,
            Value::Array(items) => items.iter().any(is_great),
            _ => false,
        }
    }
    matches!((a, b), (Value::Error(_), Value::Error(_))) || is_great(a) && is_great(b)
}

/// The same command, called by a script or a function.
fn through_a_script(command: &[Vec<u8>], rng: &mut rng::Rng) -> Vec<Vec<u8>> {
    let head: &[&[u8]] = match rng.below(8) {
        0 => &[b"EVAL", b"return redis.pcall(unpack(ARGV))", b"0"],
        1 => &[b"EVAL", b"local r = redis.call(unpack(ARGV)) return r", b"0"],
        2 => &[b"EVAL", b"redis.setresp(3) return redis.call(unpack(ARGV))", b"0"],
        3 => &[b"EVALSHA", CALL_SHA, b"0"],
        4 => &[b"EVAL_RO", CALL, b"0"],
        5 => &[b"EVALSHA_RO", CALL_SHA, b"0"],
        6 => &[b"FCALL_RO", b"look", b"0"],
        _ => &[b"FCALL", b"call", b"0"],
    };
    head.iter().map(|word| word.to_vec()).chain(command.iter().cloned()).collect()
}

#[test]
fn every_command_of_redis_is_drawn_or_says_why_not() {
    let Some(redis) = Redis::start() else {
        panic!("this test compares with redis-server: install it (apt-get install redis-server)");
    };
    let drawn: BTreeSet<String> = Grammar::new().names().collect();
    let excused: BTreeSet<&str> = NOT_DRAWN.iter().flat_map(|(names, _)| names.split(' ')).collect();
    let all = Conn::open(redis.port).run("COMMAND LIST").texts();
    for name in all.iter().filter(|name| !name.contains('|')) {
        assert!(drawn.contains(name) != excused.contains(name.as_str()), "{name}: once, in the grammar or in the list");
    }
    assert!(excused.iter().all(|name| all.iter().any(|n| n == name)));
}

#[test]
fn the_self_test_of_hyperloglogs_ends_as_in_redis() {
    let Some(redis) = Redis::start() else {
        panic!("this test compares with redis-server: install it (apt-get install redis-server)");
    };
    let ours = Server::start(&[]).connect().run("PFSELFTEST");
    assert_eq!(ours, Conn::open(redis.port).run("PFSELFTEST"));
}

#[test]
fn random_scripts_have_the_replies_of_redis() {
    let Some(redis) = Redis::start() else {
        panic!("this test compares with redis-server: install it (apt-get install redis-server)");
    };
    let server = Server::start(&[]);
    let (mut ours, mut theirs) = (server.connect(), Conn::open(redis.port));
    let one = std::env::var("DUNLIN_SEED").ok().and_then(|seed| seed.parse().ok());
    let soak = std::env::var("DUNLIN_SOAK_SECONDS").ok().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    let until = clock::mono_ns() + soak * 1_000_000_000;
    let mut ran = 0;
    while ran < if one.is_some() { 1 } else { 3000 } || clock::mono_ns() < until {
        let seed = one.unwrap_or_else(rng::seed_from_os);
        let code = lua::plain(&mut rng::Rng::new(seed));
        let words: [&[u8]; 3] = [b"EVAL", code.as_bytes(), b"0"];
        let (a, b) = (ours.command(&words), theirs.command(&words));
        let script = code.trim_start_matches(lua::PRELUDE);
        assert!(a == b, "DUNLIN_SEED={seed}\n{script}\n  dunlin: {}\n  redis:  {}", a.text(), b.text());
        ran += 1;
    }
}

fn show(command: &[Vec<u8>]) -> String {
    let text = |arg: &Vec<u8>| arg.escape_ascii().to_string();
    command.iter().map(|arg| if arg.is_empty() { "\"\"".into() } else { text(arg) }).collect::<Vec<_>>().join(" ")
}

/// The names of all keys, sorted.
fn names(conn: &mut Conn) -> Vec<Vec<u8>> {
    let reply = conn.run("KEYS *");
    let name = |key: &Value| match key {
        Value::Bulk(name) => name.clone(),
        other => panic!("a name is {other:?}"),
    };
    let mut names: Vec<Vec<u8>> = reply.items().iter().map(name).collect();
    names.sort();
    names
}

/// Every key of both servers holds the same. They executed commands at most `apart` ms after one another.
fn compare_data(ours: &mut Conn, theirs: &mut Conn, seed: u64, apart: i64) {
    for db in ["0", "1"] {
        for conn in [&mut *ours, &mut *theirs] {
            conn.run("DISCARD");
            conn.command(&[b"SELECT", db.as_bytes()]);
        }
        // A key whose time was over just now may be counted for a moment.
        let mut keys = Vec::new();
        ours.until(&format!("the same keys (DUNLIN_SEED={seed})"), |ours| {
            keys = names(theirs);
            keys == names(ours) && ours.run("DBSIZE") == Value::Int(keys.len() as i64)
        });
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
                let start = clock::mono_ns();
                let (a, b) = (ours.command(&words), theirs.command(&words));
                if let Some(why) = compare::differ(&command, &a, &b, apart.max(ms_since(start))) {
                    panic!("{why}: {}\n  dunlin: {a:?}\n  redis:  {b:?}\nDUNLIN_SEED={seed}", show(&command));
                }
            }
        }
    }
}
