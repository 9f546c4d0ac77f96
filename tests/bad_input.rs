//! Arguments that nobody sends on purpose, for every command there is: an answer each, and the server goes on.

mod support;

use dunlin::base::rng::{Rng, seed_from_os};
use support::{Conn, Server, Value};

/// Commands that end the connection or the server, change what the connection is, or wait for others.
const LEFT_OUT: &[&str] = &[
    "shutdown",
    "debug",
    "psync",
    "sync",
    "monitor",
    "subscribe",
    "psubscribe",
    "ssubscribe",
    "unsubscribe",
    "punsubscribe",
    "sunsubscribe",
    "replicaof",
    "slaveof",
    "failover",
    "quit",
    "reset",
    "client",
    "hello",
    "auth",
    "acl",
    "config",
    "save",
    "bgsave",
    "bgrewriteaof",
    "pfselftest",
    "migrate",
    "cluster",
    "wait",
    "waitaof",
    "latency",
];

const WORDS: &[&str] = &[
    "",
    "0",
    "1",
    "-1",
    "2",
    "5",
    "100",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999999",
    "1.5",
    "nan",
    "inf",
    "-inf",
    "1e400",
    "0x10",
    " 1",
    "1 ",
    "+1",
    "a",
    "b",
    "*",
    "?",
    "[",
    "(",
    ")",
    "$",
    ">",
    "<",
    "=",
    "~",
    "#",
    "#1",
    "-",
    "+",
    "1-1",
    "0-0",
    "1-*",
    "(1-1",
    "1-",
    "-5",
    "u8",
    "i64",
    "u64",
    "i0",
    "GET",
    "SET",
    "INCRBY",
    "OVERFLOW",
    "WRAP",
    "SAT",
    "FAIL",
    "STREAMS",
    "COUNT",
    "BLOCK",
    "GROUP",
    "NOACK",
    "MAXLEN",
    "MINID",
    "LIMIT",
    "NOMKSTREAM",
    "MKSTREAM",
    "ENTRIESREAD",
    "ENTRIESADDED",
    "MAXDELETEDID",
    "IDLE",
    "TIME",
    "RETRYCOUNT",
    "FORCE",
    "JUSTID",
    "LASTID",
    "FULL",
    "CREATE",
    "SETID",
    "DESTROY",
    "STREAM",
    "GROUPS",
    "CONSUMERS",
    "BYRADIUS",
    "BYBOX",
    "BYPOLYGON",
    "FROMMEMBER",
    "FROMLONLAT",
    "STORE",
    "STOREDIST",
    "WITHDIST",
    "ANY",
    "ASC",
    "DESC",
    "m",
    "km",
    "BYTE",
    "BIT",
    "AND",
    "OR",
    "NOT",
    "XOR",
    "NX",
    "XX",
    "GT",
    "LT",
    "CH",
    "EX",
    "PX",
    "EXAT",
    "KEEPTTL",
    "FIELDS",
    "WEIGHTS",
    "AGGREGATE",
    "SUM",
    "WITHSCORES",
    "BYSCORE",
    "BYLEX",
    "REV",
    "LEFT",
    "RIGHT",
    "BEFORE",
    "MATCH",
    "TYPE",
    "BY",
    "ALPHA",
    "REPLACE",
    "ABSTTL",
    "DECODE",
    "GETREG",
    "TODENSE",
    "ENCODING",
    "HELP",
    "SAMPLES",
    "USAGE",
    "g",
    "alice",
    "field",
];

const KEYS: &[&str] = &["text", "number", "list", "set", "zset", "hash", "stream", "hll", "geo", "bits", "none"];

fn fill(c: &mut Conn) {
    for line in [
        "FLUSHALL",
        "SET text hello",
        "SET number 12",
        "RPUSH list a 1 b 2",
        "SADD set a b 1",
        "ZADD zset 1 a 2 b inf c",
        "HSET hash field v a 1",
        "XADD stream 1-1 field v",
        "XADD stream 2-1 other v",
        "XGROUP CREATE stream g 0",
        "XREADGROUP GROUP g alice STREAMS stream >",
        "PFADD hll a b c",
        "GEOADD geo 13.3 38.1 a 15 37 b",
        "SETBIT bits 77 1",
    ] {
        c.run(line);
    }
}

#[test]
fn every_command_answers_whatever_its_arguments_are() {
    let server = Server::start(&[]);
    let mut c = server.connect();
    let seed = std::env::var("DUNLIN_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(seed_from_os);
    println!("DUNLIN_SEED={seed}");
    let mut rng = Rng::new(seed);
    let names: Vec<String> = c.run("COMMAND LIST").texts();
    assert!(names.len() > 180);
    for name in names.iter().filter(|n| !LEFT_OUT.contains(&n.as_str())) {
        fill(&mut c);
        for _ in 0..150 {
            let n = rng.below(9) as usize;
            let mut args: Vec<&str> = vec![name];
            for i in 0..n {
                let pool = if i < 2 && rng.below(3) > 0 { KEYS } else { WORDS };
                args.push(pool[rng.below(pool.len() as u64) as usize]);
            }
            let words: Vec<&[u8]> = args.iter().map(|a| a.as_bytes()).collect();
            // Nobody is there to end a wait: in a transaction there is none.
            let waits = args.contains(&"BLOCK") || name.starts_with('b') && !name.starts_with("bit");
            if waits {
                c.run("MULTI");
            }
            c.command(&words);
            if waits {
                c.run("EXEC");
            }
        }
        if c.run("MULTI").is_error() || c.run("DISCARD").is_error() {
            c.run("DISCARD");
        }
        c.run("UNWATCH");
        c.run("SELECT 0");
        assert_eq!(c.run("PING").text(), "PONG", "after {name}");
    }
}

#[test]
fn altered_payloads_are_refused_or_can_be_used() {
    let server = Server::start(&[]);
    let mut c = server.connect();
    let seed = std::env::var("DUNLIN_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(seed_from_os);
    println!("DUNLIN_SEED={seed}");
    let mut rng = Rng::new(seed);
    fill(&mut c);
    let (mut taken, mut refused) = (0, 0);
    for key in ["stream", "hll", "list", "set", "zset", "hash", "geo"] {
        let Value::Bulk(payload) = c.command(&[b"DUMP", key.as_bytes()]) else { panic!("no payload of {key}") };
        for _ in 0..400 {
            let mut bytes = payload[..payload.len() - 8].to_vec();
            for _ in 0..1 + rng.below(3) {
                let at = 1 + rng.below(bytes.len() as u64 - 3) as usize;
                bytes[at] = rng.below(256) as u8;
            }
            let sum = dunlin::base::crc64::crc64(&bytes);
            bytes.extend_from_slice(&sum.to_le_bytes());
            if c.command(&[b"RESTORE", b"k", b"0", &bytes, b"REPLACE"]).is_error() {
                refused += 1;
                continue;
            }
            taken += 1;
            for line in [
                "XRANGE k - +",
                "XREVRANGE k + -",
                "XADD k * field v",
                "XREADGROUP GROUP g alice STREAMS k >",
                "XREADGROUP GROUP g alice STREAMS k 0",
                "XAUTOCLAIM k g bob 0 -",
                "XINFO STREAM k FULL",
                "XTRIM k MAXLEN 1",
                "XDEL k 1-1 2-1",
                "PFADD k x y z",
                "PFCOUNT k",
                "PFMERGE other k",
                "LRANGE k 0 -1",
                "SMEMBERS k",
                "ZRANGE k 0 -1",
                "HGETALL k",
                "GEOPOS k a",
                "GEOSEARCH k FROMLONLAT 13 38 BYRADIUS 100 km",
                "DUMP k",
                "DEBUG DIGEST-VALUE k",
                "MEMORY USAGE k",
                "DEL k other",
            ] {
                c.run(line);
            }
        }
    }
    assert!(taken > 100 && refused > 300, "{taken} taken, {refused} refused");
    assert_eq!(c.run("PING").text(), "PONG");
}

#[test]
fn the_longest_strings_are_the_limit_of_bits_and_ranges() {
    let server = Server::start(&[]);
    let mut c = server.connect();
    assert_eq!(c.run("SETBIT k 4294967295 1").int(), 0);
    assert_eq!((c.run("STRLEN k").int(), c.run("BITCOUNT k").int()), (1 << 29, 1));
    assert_eq!(c.run("BITPOS k 1").int(), 4_294_967_295);
    for line in [
        "SETBIT k 4294967296 1",
        "GETBIT k 9223372036854775807",
        "SETRANGE k 536870912 x",
        "APPEND k x",
        "BITFIELD k SET u8 4294967296 1",
        "BITFIELD k GET u8 #9223372036854775807",
        "BITFIELD k INCRBY i64 #67108864 1",
    ] {
        assert!(c.run(line).is_error(), "{line}");
    }
    assert_eq!(c.run("BITFIELD k SET u8 #3 255 GET u4 24").texts(), ["0", "15"]);
    assert_eq!(c.run("DEL k").int(), 1);
}
