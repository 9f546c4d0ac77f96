//! The classes of the flaws that were published about Redis and Valkey from 2021 to 2026, each by its name: Dunlin gives an
//! error, or the right answer, and goes on. Those of Lua are in `scripting.rs` and `script_sandbox.rs`.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use dunlin::base::clock;
use dunlin::base::crc64::crc64;
use dunlin::base::rng::{Rng, seed_from_os};
use support::{Conn, Server, Value};

/// What a line answers, as text; nothing at all is "nil".
fn run(c: &mut Conn, line: &str) -> String {
    match c.run(line) {
        Value::Int(n) => n.to_string(),
        Value::Array(items) => format!("{} items", items.len()),
        other => other.text_or("nil"),
    }
}

fn alive(c: &mut Conn) {
    assert_eq!(c.run("PING").text(), "PONG");
}

/// An RDB value as a payload with the right checksum.
fn payload(body: &[u8]) -> Vec<u8> {
    let mut bytes = body.to_vec();
    bytes.extend_from_slice(&11u16.to_le_bytes());
    let sum = crc64(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

/// Sizes and offsets that overflow 32 or 64 bits.
#[test]
fn integer_overflows_of_string_commands() {
    let server = Server::start(&[]);
    let mut c = server.connect();
    c.run("SET s hello");
    const LONG: &str = "ERR string exceeds maximum allowed size (proto-max-bulk-len)";
    const NO_OFFSET: &str = "ERR bit offset is not an integer or out of range";
    for (cve, line, wanted) in [
        ("CVE-2022-35977", "SETRANGE s 9223372036854775807 x", LONG),
        ("CVE-2022-35977", "SETRANGE s 536870911 xx", LONG),
        ("CVE-2022-35977", "SETRANGE s -1 x", "ERR offset is out of range"),
        ("CVE-2021-32761", "BITFIELD s GET u8 4294967296", NO_OFFSET),
        ("CVE-2021-32761", "BITFIELD s SET u8 18446744073709551615 1", NO_OFFSET),
        ("CVE-2021-32761", "BITFIELD s GET u8 #1152921504606846976", NO_OFFSET),
        ("CVE-2021-32761", "SETBIT s 4294967296 1", NO_OFFSET),
        ("CVE-2021-32761", "GETRANGE s -9223372036854775808 9223372036854775807", "hello"),
        ("CVE-2021-32761", "BITCOUNT s -9223372036854775808 9223372036854775807", "21"),
        ("CVE-2021-32761", "BITPOS s 1 9223372036854775807 9223372036854775807", "-1"),
        ("CVE-2021-29477", "LCS s s IDX MINMATCHLEN 9223372036854775807", "4 items"),
        ("CVE-2021-29477", "LCS s s MINMATCHLEN -9223372036854775808", "hello"),
        ("CVE-2023-28425", "MSETNX a 1 a 2", "1"),
        ("CVE-2023-28425", "GET a", "2"),
        ("CVE-2022-35977", "INCRBY a 9223372036854775807", "ERR increment or decrement would overflow"),
        ("CVE-2022-35977", "DECRBY a -9223372036854775808", "ERR decrement would overflow"),
    ] {
        assert_eq!(run(&mut c, line), wanted, "{cve}: {line}");
    }
    alive(&mut c);
}

/// CVE-2021-29477, CVE-2021-32625: the table of LCS is as big as the product of two lengths.
#[test]
fn cve_2021_29477_lcs_of_long_strings_is_refused() {
    let server = Server::start(&[]);
    let mut c = server.connect();
    for key in ["a", "b"] {
        c.run(&format!("SETRANGE {key} 200000 x"));
    }
    assert!(c.run("LCS a b LEN").is_error());
    alive(&mut c);
}

/// Counts at the edge of 64 bits.
#[test]
fn integer_overflows_of_counts() {
    let server = Server::start(&[]);
    let mut c = server.connect();
    for line in ["SADD t a b", "HSET h f v", "ZADD z 1 a", "RPUSH l a b", "XADD e 1-1 f v", "XGROUP CREATE e g 0"] {
        c.run(line);
    }
    const RANGE: &str = "ERR value is out of range";
    const LEAST: &str = "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807";
    for (cve, line, wanted) in [
        ("CVE-2023-25155", "SRANDMEMBER t -9223372036854775808", LEAST),
        ("CVE-2023-25155", "HRANDFIELD h -9223372036854775808 WITHVALUES", LEAST),
        ("CVE-2023-25155", "ZRANDMEMBER z -9223372036854775808 WITHSCORES", LEAST),
        ("CVE-2023-22458", "HRANDFIELD h -4611686018427387905 WITHVALUES", RANGE),
        ("CVE-2023-22458", "ZRANDMEMBER z 4611686018427387904 WITHSCORES", RANGE),
        ("CVE-2022-35951", "XAUTOCLAIM e g c 0 0 COUNT 1152921504606846976", "ERR COUNT must be > 0"),
        ("CVE-2022-35951", "XAUTOCLAIM e g c 0 0 COUNT 9223372036854775807", "ERR COUNT must be > 0"),
        ("CVE-2022-35977", "SORT l ALPHA LIMIT 9223372036854775807 9223372036854775807", "0 items"),
        ("CVE-2022-35977", "SORT l ALPHA LIMIT -9223372036854775808 9223372036854775807", "2 items"),
        (
            "CVE-2022-35977",
            "LPOS l a RANK -9223372036854775808",
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        ),
        (
            "CVE-2022-35977",
            "ZRANGE z 0 9223372036854775807 BYSCORE LIMIT 9223372036854775807 9223372036854775807",
            "0 items",
        ),
        ("CVE-2022-35977", "XTRIM e MAXLEN ~ 0 LIMIT 9223372036854775807", "1"),
    ] {
        assert_eq!(run(&mut c, line), wanted, "{cve}: {line}");
    }
    alive(&mut c);
}

/// CVE-2022-31144: XAUTOCLAIM of entries that are deleted wrote past the list of them.
#[test]
fn cve_2022_31144_xautoclaim_of_deleted_entries() {
    let server = Server::start(&[]);
    let mut c = server.connect();
    c.run("XGROUP CREATE e g 0 MKSTREAM");
    for n in 1..=200 {
        c.run(&format!("XADD e {n}-1 f v"));
    }
    c.run("XREADGROUP GROUP g a STREAMS e >");
    c.run("XTRIM e MAXLEN 0");
    let reply = c.run("XAUTOCLAIM e g b 0 0 COUNT 200");
    assert_eq!((reply.items()[1].items().len(), reply.items()[2].items().len()), (0, 200));
    assert_eq!(c.run("XPENDING e g").items()[0].int(), 0);
}

/// Collections whose limits for packed forms are set without bound (CVE-2021-32628, CVE-2021-32687, CVE-2021-29478, CVE-2021-32627).
#[test]
fn cve_2021_32628_packed_forms_without_bound() {
    let server = Server::start(&[]);
    let mut c = server.connect();
    for option in
        ["hash-max-listpack-entries", "zset-max-listpack-entries", "set-max-intset-entries", "set-max-listpack-entries"]
    {
        c.run(&format!("CONFIG SET {option} 9223372036854775807"));
        c.run(&format!("CONFIG SET {} 9223372036854775807", option.replace("entries", "value")));
    }
    c.run("CONFIG SET list-max-listpack-size 2147483647");
    c.run("CONFIG SET stream-node-max-bytes 0");
    c.run("CONFIG SET stream-node-max-entries 0");
    let long = "x".repeat(200_000);
    for n in 0..60 {
        c.run(&format!("HSET h {n} {long}"));
        c.run(&format!("ZADD z {n} {n}{long}"));
        c.run(&format!("RPUSH l {long}"));
        c.run(&format!("SADD t {n}{long}"));
        c.run(&format!("XADD e * f {long}"));
    }
    for n in 0..3000 {
        c.run(&format!("SADD i {} {}", n * 7919, i64::MIN + n));
    }
    assert_eq!(c.run("COPY i j").int(), 1);
    assert_eq!((c.run("SCARD j").int(), c.run("LLEN l").int(), c.run("XLEN e").int()), (6000, 60, 60));
    assert_eq!((c.run("HLEN h").int(), c.run("ZCARD z").int(), c.run("SCARD t").int()), (60, 60, 60));
    for key in ["h", "z", "l", "t", "e"] {
        let Value::Bulk(dump) = c.command(&[b"DUMP", key.as_bytes()]) else { panic!("{key}") };
        assert_eq!(c.command(&[b"RESTORE", b"back", b"0", &dump, b"REPLACE"]).text(), "OK", "{key}");
    }
    alive(&mut c);
}

/// CVE-2021-41099, CVE-2021-21309: `proto-max-bulk-len` raised beyond what can be had.
#[test]
fn cve_2021_41099_a_string_is_never_longer_than_there_is_memory_asked_for() {
    let server = Server::start(&["--proto-max-bulk-len", "9223372036854775807", "--client-query-buffer-limit", "1mb"]);
    let mut c = server.connect();
    for line in [
        "SETRANGE s 9223372036854775806 x",
        "SETBIT s 9223372036854775807 1",
        "BITFIELD s SET u8 9223372036854775800 1",
    ] {
        assert!(run(&mut c, line).starts_with("ERR"), "{line}");
    }
    // A bulk that is announced takes no memory before it is there.
    let mut huge = server.connect();
    huge.send_raw(b"*2\r\n$3\r\nGET\r\n$9223372036854775806\r\nabc");
    let used: i64 = c.info("used_memory").parse().unwrap();
    assert!(used < 200 << 20, "{used}");
    alive(&mut c);
}

/// CVE-2023-28856: a hash field became "nan" or "inf" and could not be read again.
#[test]
fn cve_2023_28856_no_field_becomes_infinite() {
    let server = Server::start(&[]);
    let mut c = server.connect();
    c.run("HSET h f 1e308 g 1");
    for line in ["HINCRBYFLOAT h g inf", "HINCRBYFLOAT h g nan", "HINCRBYFLOAT h new -inf"] {
        assert!(c.run(line).is_error(), "{line}");
    }
    assert_eq!(c.run("HGET h g").text(), "1");
    assert_eq!(c.run("HEXISTS h new").int(), 0);
    for line in ["INCRBYFLOAT n inf", "ZADD z nan m", "ZINCRBY z nan m", "GEOADD p nan nan m"] {
        assert!(c.run(line).is_error(), "{line}");
    }
    c.run("ZADD z inf m");
    assert_eq!(c.run("ZINCRBY z -inf m").text(), "ERR resulting score is not a number (NaN)");
    assert_eq!(c.run("ZUNION 2 z z WEIGHTS 1 -1").items().len(), 1);
}

/// CVE-2022-36021, CVE-2024-31228: patterns that take exponential time or a stack as deep as they are long.
#[test]
fn cve_2024_31228_patterns_are_matched_in_bounded_time() {
    let server = Server::start(&[]);
    let mut c = server.connect();
    let key = "a".repeat(100);
    c.run(&format!("SET {key} v"));
    c.run(&format!("HSET h {key} v"));
    let start = clock::mono_ns();
    let (stars, long) = ("a*".repeat(100) + "b", "*?".repeat(60_000) + "b");
    for pattern in [&stars, &long, &"[a-".repeat(10_000), &"\\".repeat(9_999)] {
        for line in [
            "KEYS @",
            "SCAN 0 MATCH @",
            "HSCAN h 0 MATCH @",
            "PUBSUB CHANNELS @",
            "CONFIG GET @",
            "COMMAND LIST FILTERBY PATTERN @",
            "FUNCTION LIST LIBRARYNAME @",
            "PSUBSCRIBE @",
        ] {
            let words: Vec<&[u8]> =
                line.split(' ').map(|word| if word == "@" { pattern.as_bytes() } else { word.as_bytes() }).collect();
            let reply = c.command(&words);
            assert!(!reply.is_error(), "{line}: {}", reply.text());
        }
        c.run("RESET");
        c.command(&[b"ACL", b"SETUSER", b"bob", b"on", b"nopass", b"+@all", &[b"~", pattern.as_bytes()].concat()]);
        c.command(&[b"ACL", b"DRYRUN", b"bob", b"GET", key.as_bytes()]);
    }
    c.run(&format!("PUBLISH {key} x"));
    let took = (clock::mono_ns() - start) / 1_000_000;
    assert!(took < 20_000, "{took} ms");
    alive(&mut c);
}

/// CVE-2023-36824: key positions of commands with counts that are not so.
#[test]
fn cve_2023_36824_keys_are_found_within_the_arguments() {
    let server = Server::start(&[]);
    let mut c = server.connect();
    let counts = [
        "0",
        "-1",
        "1",
        "3",
        "2147483647",
        "2147483648",
        "4294967297",
        "9223372036854775807",
        "-9223372036854775808",
        "x",
    ];
    for count in counts {
        for line in [
            "EVAL s @ a b",
            "EVAL_RO s @ a b",
            "FCALL f @ a b",
            "ZUNIONSTORE d @ a b",
            "ZUNION @ a b",
            "ZINTER @ a b",
            "ZDIFFSTORE d @ a b",
            "SINTERCARD @ a b",
            "LMPOP @ a b LEFT",
            "BLMPOP 0 @ a b LEFT",
            "ZMPOP @ a b MIN",
            "BZMPOP 0 @ a b MIN",
            "MSETEX @ a b",
            "XREAD COUNT @ STREAMS a b c",
            "XREADGROUP GROUP g c COUNT @ STREAMS a",
            "MIGRATE h 1 @ 0 1 KEYS a b",
            "GEORADIUS a 1 1 1 m STORE @",
            "SORT a LIMIT @ 1 GET",
            "SORT a BY",
            "OBJECT ENCODING @",
            "MEMORY USAGE @",
            "XGROUP CREATE @ g 0",
            "SET @ v",
            "SCRIPT LOAD @",
        ] {
            let line = line.replace('@', count);
            for command in ["COMMAND GETKEYS", "COMMAND GETKEYSANDFLAGS", "ACL DRYRUN default"] {
                c.run(&format!("{command} {line}"));
            }
        }
    }
    alive(&mut c);
}

/// CVE-2023-41053, and what else an ACL could be got around by: keys that options name.
#[test]
fn cve_2023_41053_options_reach_no_keys_that_rules_do_not_allow() {
    let server = Server::start(&["--enable-debug-command", "yes"]);
    let mut admin = server.connect();
    for line in ["RPUSH mine 1 2", "SET secret v", "SADD s a", "ZADD z 1 m", "GEOADD g 1 1 m"] {
        admin.run(line);
    }
    admin.run("ACL SETUSER bob on nopass +@all ~mine %R~look");
    let mut c = server.connect();
    c.run("AUTH bob x");
    for line in [
        "SORT mine BY secret*",
        "SORT mine BY nosort GET secret",
        "SORT_RO mine GET *",
        "SORT mine STORE secret",
        "SORT mine STORE look",
        "SORT mine STORE mine STORE secret",
        "GEORADIUS mine 0 0 1 m STORE secret",
        "GEORADIUSBYMEMBER mine m 1 m STOREDIST secret",
        "GEOSEARCHSTORE secret mine FROMLONLAT 0 0 BYRADIUS 1 m",
        "GEORADIUS mine 0 0 1 m STORE mine STORE secret",
        "ZRANGESTORE secret mine 0 1",
        "SUNIONSTORE mine secret",
        "BITOP AND mine secret",
        "COPY mine secret",
        "COPY secret mine",
        "RENAME secret mine",
        "LMOVE mine secret LEFT LEFT",
        "SMOVE mine secret m",
        "MIGRATE h 1 secret 0 1",
        "XREAD STREAMS secret 0",
        "EVAL return 1 secret",
        "SET look v",
        "SET look v GET",
        "GETDEL look",
        "EVAL x 1 secret",
        "PFMERGE mine secret",
        "PFCOUNT secret",
        "OBJECT ENCODING secret",
        "MEMORY USAGE secret",
    ] {
        let reply = c.run(line);
        let text = reply.text();
        assert!(reply.is_error(), "{line}");
        assert!(
            text.starts_with("NOPERM")
                || text.contains("insufficient ACL permissions")
                || text.starts_with("ERR value is not")
                || text.starts_with("ERR Number of keys"),
            "{line}: {text}"
        );
    }
    assert_eq!(admin.run("GET secret").text(), "v");
    assert_eq!(admin.run("EXISTS look").int(), 0);
}

/// CVE-2024-31227, CVE-2024-51741: selectors and rules that are no rules.
#[test]
fn cve_2024_51741_rules_that_are_none_are_refused() {
    let server = Server::start(&[]);
    let mut c = server.connect();
    for rule in [
        "(", ")", "()(", "((+get)", "(%R~", "%", "%~", "%RW", "%Z~x", "(~x +get", "~", "&", "+", "-", "+@", "#", "!",
        "<", ">", "+get|", "db=", "(db=x)",
    ] {
        c.command(&[b"ACL", b"SETUSER", b"bob", rule.as_bytes()]);
        c.command(&[b"ACL", b"SETUSER", b"bob", b"reset", b"on", b"nopass", &[b"(", rule.as_bytes(), b")"].concat()]);
        c.run("ACL LIST");
        c.run("ACL GETUSER bob");
        c.run("ACL DRYRUN bob GET x");
    }
    let deep = "(".repeat(100_000);
    assert!(c.command(&[b"ACL", b"SETUSER", b"bob", deep.as_bytes()]).is_error());
    alive(&mut c);
}

/// CVE-2021-32675, CVE-2025-21605, CVE-2025-48367: what a client without a password can make the server hold.
#[test]
fn cve_2025_21605_who_has_no_password_gets_no_memory() {
    let server = Server::start(&["--requirepass", "secret"]);
    let mut admin = server.connect();
    admin.run("AUTH secret");
    let before: i64 = admin.info("used_memory").parse().unwrap();
    let mut held = Vec::new();
    for request in [&b"*1000000\r\n"[..], b"*2\r\n$3\r\nGET\r\n$1000000000\r\n", b"*10\r\n$16384\r\n"] {
        let mut socket = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        socket.write_all(request).unwrap();
        held.push(socket);
    }
    // Who reads no replies to what is refused.
    for _ in 0..10 {
        let mut socket = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        socket.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        for _ in 0..2000 {
            if socket.write_all(&b"NOSUCH\r\nGET k\r\n".repeat(100)).is_err() {
                break;
            }
        }
        held.push(socket);
    }
    let used: i64 = admin.info("used_memory").parse().unwrap();
    assert!(used - before < 16 << 20, "{} bytes", used - before);
    alive(&mut admin);
}

/// CVE-2026-27623: an empty request before another left the reader in a state that it had not.
#[test]
fn cve_2026_27623_empty_requests_leave_nothing_behind() {
    let server = Server::start(&[]);
    let mut socket = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    socket
        .write_all(
            b"*0\r\n*-1\r\n\r\n*0\r\nPING\r\n*0\r\n*1\r\n$4\r\nPING\r\n\r\n*-1\r\n*2\r\n$4\r\nECHO\r\n$2\r\nhi\r\n",
        )
        .unwrap();
    let mut reply = [0; 22];
    socket.read_exact(&mut reply).unwrap();
    assert_eq!(&reply, b"+PONG\r\n+PONG\r\n$2\r\nhi\r\n");
}

/// CVE-2025-67733, CVE-2025-49112: an error of a script that brings line ends cannot forge a reply.
#[test]
fn cve_2025_67733_a_script_forges_no_replies() {
    let server = Server::start(&[]);
    let mut c = server.connect();
    for script in [
        &b"return redis.error_reply('ERR a\r\n+OK\r\n:1')"[..],
        b"return redis.status_reply('a\r\n+OK')",
        b"return {err='ERR a\r\n$3\r\nabc'}",
        b"return {ok='a\r\n+OK'}",
        b"error('a\r\n+OK')",
        b"return redis.call('NO\r\nSUCH')",
        b"return redis.pcall('GET', 'a', 'b\r\n+OK')",
    ] {
        c.command(&[b"EVAL", script, b"0"]);
        assert_eq!(c.command(&[b"ECHO", b"mine"]).text(), "mine", "{}", script.escape_ascii());
    }
    c.command(&[b"NO\r\n+OK\r\n", b"x\r\n:1"]);
    assert_eq!(c.command(&[b"ECHO", b"mine"]).text(), "mine");
}

/// CVE-2025-32023: runs of a sparse HyperLogLog that reach beyond its registers.
#[test]
fn cve_2025_32023_a_sparse_hyperloglog_has_as_many_registers_as_it_has() {
    let server = Server::start(&[]);
    let mut c = server.connect();
    let head = [&b"HYLL"[..], &[1, 0, 0, 0], &[0; 7], &[0x80]].concat();
    // Runs of zeros beyond the last register, too few registers, runs of values beyond, and half an opcode.
    for body in [
        &[0x7f, 0xff, 0x7f, 0xff][..],
        &[0x40, 0x00],
        &[0x7f, 0xff, 0x83],
        &[0x7f],
        &[],
        &[0xff; 2000],
        &[0x7f, 0xfe, 0x8f, 0x8f],
    ] {
        c.command(&[b"SET", b"p", &[&head[..], body].concat()]);
        c.command(&[b"SET", b"dense", &[b"HYLL\0", &[0; 11][..], body].concat()]);
        for line in [
            "PFADD p a b c",
            "PFCOUNT p",
            "PFMERGE to p",
            "PFMERGE p p",
            "PFDEBUG TODENSE p",
            "PFCOUNT dense",
            "PFADD dense a",
            "PFMERGE dense p",
        ] {
            c.run(line);
        }
    }
    for key in ["p", "dense"] {
        assert!(c.run(&format!("PFCOUNT {key}")).is_error(), "{key}");
    }
    alive(&mut c);
}

/// CVE-2021-32762, CVE-2021-32627 and the reports without number: payloads that say more than they hold. Streams, HyperLogLogs and
/// other values are altered at random in `bad_input.rs`; here are libraries of functions, and lengths.
#[test]
fn payloads_that_promise_more_than_they_hold_are_refused() {
    let server = Server::start(&[]);
    let mut c = server.connect();
    // Length fields of 32 and 64 bits, and of a compressed string, behind each type of value.
    for kind in 0..30u8 {
        for length in [
            &[0x80, 0xff, 0xff, 0xff, 0xff][..],
            &[0x81, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            &[0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            &[0xc3, 0x01, 0x80, 0x7f, 0xff, 0xff, 0xff, 0x00],
            &[0x00],
            &[],
        ] {
            let bytes = payload(&[&[kind][..], length].concat());
            let reply = c.command(&[b"RESTORE", b"k", b"0", &bytes, b"REPLACE"]);
            // An empty string is a string.
            assert!(reply.is_error() || kind == 0 && length == [0], "type {kind}, {length:?}");
        }
    }
    let code = b"#!lua name=lib\nredis.register_function('f', function() return 1 end)";
    assert_eq!(c.command(&[b"FUNCTION", b"LOAD", code]).text(), "lib");
    let Value::Bulk(dump) = c.run("FUNCTION DUMP") else { panic!("no payload") };
    let seed = std::env::var("DUNLIN_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(seed_from_os);
    println!("DUNLIN_SEED={seed}");
    let mut rng = Rng::new(seed);
    let mut refused = 0;
    for _ in 0..500 {
        let mut bytes = dump[..dump.len() - 8].to_vec();
        for _ in 0..1 + rng.below(3) {
            let at = rng.below(bytes.len() as u64 - 2) as usize;
            bytes[at] = rng.below(256) as u8;
        }
        if rng.below(4) == 0 {
            bytes.drain(..rng.below(bytes.len() as u64 - 2) as usize);
        }
        let sum = crc64(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        refused += usize::from(c.command(&[b"FUNCTION", b"RESTORE", &bytes, b"REPLACE"]).is_error());
        c.run("FCALL f 0");
    }
    assert!(refused > 250, "{refused}");
    alive(&mut c);
}

/// CVE-2021-32672: the debugger read beyond its buffer where a request's lengths said so.
#[test]
fn cve_2021_32672_a_debugger_takes_no_length_for_granted() {
    let server = Server::start(&[]);
    let frames: [&[u8]; 6] = [
        b"*1\r\n$100000\r\ns\r\n",
        b"*1\r\n$-1\r\ns\r\n",
        b"*2\r\n$1\r\nsXX$1\r\np\r\n",
        b"*99999999\r\n$1\r\ns\r\n",
        b"*1\r\n$9223372036854775807\r\ns\r\n",
        b"*1\r\ns\r\n",
    ];
    for mode in ["SCRIPT DEBUG SYNC", "SCRIPT DEBUG YES"] {
        for frame in frames {
            let mut c = server.connect();
            assert_eq!(run(&mut c, mode), "OK");
            c.command(&[b"EVAL", b"local a = 1\nlocal b = 2\nreturn a + b", b"0"]);
            c.send_raw(frame);
            // What is not whole waits for its rest, which does not come.
            drop(c);
            alive(&mut server.connect());
        }
    }
}

/// CVE-2022-0543 and others of the Lua engine's surroundings: there is no library that opens files.
#[test]
fn cve_2022_0543_scripts_have_no_library_that_opens_files() {
    let server = Server::start(&[]);
    let mut c = server.connect();
    for name in ["package", "require", "dofile", "loadfile", "io", "debug", "module", "newproxy", "collectgarbage_"] {
        let script = format!("return tostring(rawget(_G, '{name}'))");
        assert_eq!(c.command(&[b"EVAL", script.as_bytes(), b"0"]).text(), "nil", "{name}");
    }
    // CVE-2025-49844, CVE-2024-46981: objects that the collector met in the middle of the parser or of a finalizer.
    let chunk = "local t = {} for i = 1, 200 do t[i] = loadstring('return \"' .. string.rep('x', i * 50) .. '\"') end return #t";
    for _ in 0..20 {
        assert_eq!(c.command(&[b"EVAL", chunk.as_bytes(), b"0"]).int(), 200);
    }
}

/// CVE-2023-45145: between bind and chmod anybody could connect to the unix socket.
#[test]
fn cve_2023_45145_a_unix_socket_never_has_more_rights_than_it_is_given() {
    use std::os::unix::fs::PermissionsExt;
    let dir = support::TempDir::new();
    let path = dir.0.join("s");
    let server = Server::start(&["--unixsocket", path.to_str().unwrap(), "--unixsocketperm", "700"]);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    drop(server);
}
