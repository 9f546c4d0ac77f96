//! Client-side caching with connections, and with clients that have it built in.

mod support;

use std::process::Command;

use support::{Conn, Server, Value};

fn tracked(server: &Server, options: &str) -> Conn {
    let mut c = server.connect();
    c.run("HELLO 3");
    assert_eq!(c.run(&format!("CLIENT TRACKING on {options}")), Value::Simple("OK".into()));
    c
}

fn bulk(text: &str) -> Value {
    Value::Bulk(text.as_bytes().to_vec())
}

fn invalid(keys: &[&str]) -> Value {
    Value::Push(vec![bulk("invalidate"), Value::Array(keys.iter().map(|k| bulk(k)).collect())])
}

fn everything() -> Value {
    Value::Push(vec![bulk("invalidate"), Value::Nil])
}

#[test]
fn a_change_of_any_kind_is_told_to_who_has_read_the_key() {
    let server = Server::start(&["--io-threads", "2"]);
    let (mut a, mut b) = (tracked(&server, ""), server.connect());
    b.run("MSET k 1 l 1 n 1");
    b.run("RPUSH list x");
    let changes: [(&str, &[&str]); 14] = [
        ("SET k 2", &["k"]),
        ("INCR k", &["k"]),
        ("EXPIRE k 100", &["k"]),
        ("PERSIST k", &["k"]),
        ("RENAME k l", &["k"]),
        ("RENAME l k", &["k"]),
        ("COPY n k REPLACE", &["k"]),
        ("EVAL return(redis.call('SET',KEYS[1],3)) 1 k", &["k"]),
        ("PEXPIRE k 1", &["k"]),
        ("SET k 1", &["k"]),
        ("SORT list STORE k ALPHA", &["k"]),
        ("DEL k", &["k"]),
        ("SET k 1", &["k"]),
        ("MOVE k 1", &["k"]),
    ];
    for (change, keys) in changes {
        a.run("EXISTS k");
        let reply = b.run(change);
        assert!(!reply.is_error(), "{change}: {reply:?}");
        assert_eq!(a.read(), invalid(keys), "{change}");
        if change == "PEXPIRE k 1" {
            // The end of its time is a change of its own.
            a.run("EXISTS k");
            if a.run("EXISTS k") == Value::Int(1) {
                assert_eq!(a.read(), invalid(&["k"]));
            }
        }
    }
    b.run("FLUSHALL");
    assert_eq!(a.read(), everything());
    assert_eq!((b.info("tracking_clients"), b.info("tracking_total_keys")), ("1".into(), "0".into()));
}

#[test]
fn a_key_that_expires_or_is_evicted_is_told() {
    let server = Server::start(&["--maxmemory-policy", "allkeys-random"]);
    let (mut a, mut b) = (tracked(&server, ""), server.connect());
    b.run("SET k 1 PX 30");
    assert_eq!(a.run("GET k"), bulk("1"));
    // Nobody asks for it: the expiry pass finds it.
    assert_eq!(a.read(), invalid(&["k"]));
    b.run("SET k 1");
    a.run("GET k");
    b.run("CONFIG SET maxmemory 1");
    assert_eq!(a.read(), invalid(&["k"]));
}

#[test]
fn messages_stand_behind_the_reply_that_caused_them() {
    let server = Server::start(&[]);
    let mut a = tracked(&server, "");
    a.run("SET k 1");
    a.run("GET k");
    a.send_raw(b"SET k 2\r\nPING\r\n");
    assert_eq!(
        (a.read(), a.read(), a.read()),
        (Value::Simple("OK".into()), invalid(&["k"]), Value::Simple("PONG".into()))
    );
    a.run("GET k");
    a.send_raw(b"MULTI\r\nSET k 3\r\nGET k\r\nEXEC\r\nPING\r\n");
    (0..3).for_each(|_| drop(a.read()));
    assert_eq!(a.read(), Value::Array(vec![Value::Simple("OK".into()), bulk("3")]));
    assert_eq!(a.read(), invalid(&["k"]));
    assert_eq!(a.read(), Value::Simple("PONG".into()));
    let mut quiet = tracked(&server, "NOLOOP");
    quiet.send_raw(b"GET k\r\nSET k 4\r\nPING\r\n");
    assert_eq!(
        (quiet.read(), quiet.read(), quiet.read()),
        (bulk("3"), Value::Simple("OK".into()), Value::Simple("PONG".into()))
    );
}

#[test]
fn reads_count_when_they_are_to() {
    let server = Server::start(&[]);
    let mut b = server.connect();
    b.run("MSET x 1 y 1 z 1");
    let mut a = tracked(&server, "OPTIN");
    a.run("GET x");
    a.run("CLIENT CACHING yes");
    a.send_raw(b"GET y\r\nGET z\r\n");
    a.read();
    a.read();
    b.run("MSET x 2 z 2 y 2");
    assert_eq!(a.read(), invalid(&["y"]));
    let mut c = tracked(&server, "OPTOUT");
    c.run("CLIENT CACHING no");
    c.send_raw(b"GET x\r\nGET y\r\n");
    c.read();
    c.read();
    b.run("MSET x 3 y 3");
    assert_eq!(c.read(), invalid(&["y"]));
    // With CACHING before a transaction, all of it counts.
    a.send_raw(b"CLIENT CACHING yes\r\nMULTI\r\nGET x\r\nGET y\r\nEXEC\r\nGET z\r\n");
    (0..6).for_each(|_| drop(a.read()));
    b.run("MSET z 4 x 4 y 4");
    let mut told = [a.read(), a.read()];
    told.sort_by_key(|v| format!("{v:?}"));
    assert_eq!(told, [invalid(&["x"]), invalid(&["y"])]);
    for (line, why) in [
        ("CLIENT CACHING no", "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode."),
        ("CLIENT TRACKING on OPTOUT", "ERR You can't switch OPTIN/OPTOUT mode before disabling"),
        ("CLIENT TRACKING on BCAST", "ERR You can't switch BCAST mode on/off before disabling"),
        ("CLIENT TRACKING on OPTIN OPTOUT", "ERR You can't specify both OPTIN mode and OPTOUT mode"),
        ("CLIENT TRACKING on PREFIX x", "ERR PREFIX option requires BCAST mode to be enabled"),
        ("CLIENT TRACKING on REDIRECT 999999", "ERR The client ID you want redirect to does not exist"),
        ("CLIENT TRACKING maybe", "ERR syntax error"),
    ] {
        let text = a.run(line).text();
        assert!(text.starts_with(why), "{line}: {text}");
    }
    assert!(b.run("CLIENT CACHING yes").text().starts_with("ERR CLIENT CACHING can be called only when"));
}

#[test]
fn prefixes_are_told_of_changes_of_keys_that_nobody_has_read() {
    let server = Server::start(&["--io-threads", "2"]);
    let mut a = tracked(&server, "BCAST PREFIX user: PREFIX item:");
    let mut b = server.connect();
    b.run("MSET other 1 user:1 1 item:1 1 user:2 1");
    let mut told = [a.read(), a.read()];
    told.sort_by_key(|v| v.items()[1].items().len());
    assert_eq!(told[1], invalid(&["user:1", "user:2"]));
    assert_eq!(told[0], invalid(&["item:1"]));
    assert_eq!(b.info("tracking_total_prefixes"), "2");
    assert!(a.run("CLIENT TRACKING on BCAST PREFIX user").text().contains("overlaps with an existing prefix 'user:'"));
    let info = a.run("CLIENT INFO").text();
    assert!(info.contains(" flags=tB ") && info.contains(" redir=0 "), "{info}");
    let Value::Map(fields) = a.run("CLIENT TRACKINGINFO") else { panic!("no map") };
    assert_eq!(fields[2].1.texts(), ["item:", "user:"]);
    a.run("RESET");
    assert_eq!((b.info("tracking_clients"), b.info("tracking_total_prefixes")), ("0".into(), "0".into()));
}

#[test]
fn messages_for_resp2_go_to_another_connection_until_that_is_gone() {
    let server = Server::start(&[]);
    let (mut to, mut b) = (server.connect(), server.connect());
    let id = to.run("CLIENT ID").int();
    to.run("SUBSCRIBE __redis__:invalidate");
    let mut a = server.connect();
    a.run(&format!("CLIENT TRACKING on REDIRECT {id}"));
    assert_eq!(a.run("CLIENT GETREDIR"), Value::Int(id));
    b.run("SET k 1");
    a.run("GET k");
    b.run("SET k 2");
    let message = |keys| Value::Array(vec![bulk("message"), bulk("__redis__:invalidate"), keys]);
    assert_eq!(to.read(), message(Value::Array(vec![bulk("k")])));
    b.run("FLUSHDB");
    assert_eq!(to.read(), message(Value::Nil));
    a.run("HELLO 3");
    b.run("SET k 1");
    a.run("GET k");
    drop(to);
    b.until("the other is gone", |b| !b.run("CLIENT LIST").text().contains(&format!("id={id} ")));
    b.run("SET k 3");
    assert_eq!(a.read(), Value::Push(vec![bulk("tracking-redir-broken"), Value::Int(id)]));
    assert!(a.run("CLIENT INFO").text().contains(" flags=tR "));
}

#[test]
fn tables_keep_to_their_size_and_tell_what_they_forget() {
    let server = Server::start(&["--tracking-table-max-keys", "100"]);
    let (mut a, mut b) = (tracked(&server, ""), server.connect());
    let mut told = 0;
    for i in 0..400 {
        b.run(&format!("SET key:{i} 1"));
    }
    for i in 0..400 {
        a.send_raw(format!("GET key:{i}\r\n").as_bytes());
    }
    let mut replies = 0;
    while replies < 400 || told < 300 {
        match a.read() {
            Value::Push(_) => told += 1,
            _ => replies += 1,
        }
    }
    b.until("the table has its size", |b| {
        b.info("tracking_total_keys") == "100" && b.info("tracking_total_items") == "100"
    });
    b.run("CONFIG SET tracking-table-max-keys 10");
    b.until("the table is smaller", |b| b.info("tracking_total_keys") == "10");
    drop(a);
    b.until("nobody tracks", |b| b.info("tracking_clients") == "0");
}

/// Four connections change keys while one keeps a cache of them: whatever is in the cache at the end is what the server has.
#[test]
fn a_cache_that_drops_what_it_is_told_to_drop_is_never_out_of_date() {
    use std::collections::HashMap;
    let server = Server::start(&["--io-threads", "2"]);
    let writers: Vec<_> = (0..2)
        .map(|w| {
            let mut c = server.connect();
            std::thread::spawn(move || {
                for i in 0..4000 {
                    c.run(&format!("SET k{} {w}-{i}", (i * 7 + w) % 20));
                }
            })
        })
        .collect();
    let mut a = tracked(&server, "");
    let mut cache: HashMap<String, Value> = HashMap::new();
    let mut round = 0;
    let drop_it = |cache: &mut HashMap<String, Value>, push: &Value| {
        for key in push.items()[1].texts() {
            cache.remove(&key);
        }
    };
    while writers.iter().any(|w| !w.is_finished()) || round < 100 {
        let key = format!("k{}", round % 20);
        round += 1;
        if cache.contains_key(&key) {
            a.send_raw(b"PING\r\n");
        } else {
            a.send_raw(format!("GET {key}\r\n").as_bytes());
        }
        let reply = loop {
            match a.read() {
                push @ Value::Push(_) => drop_it(&mut cache, &push),
                reply => break reply,
            }
        };
        if reply != Value::Simple("PONG".into()) {
            cache.insert(key, reply);
        }
    }
    writers.into_iter().for_each(|w| w.join().unwrap());
    // What is under way arrives before the answer to a command that comes after it.
    let mut b = server.connect();
    for _ in 0..2 {
        b.run("PING");
        a.send_raw(b"PING\r\n");
        while let push @ Value::Push(_) = a.read() {
            drop_it(&mut cache, &push);
        }
    }
    for (key, value) in &cache {
        assert_eq!(b.run(&format!("GET {key}")), *value, "{key}");
    }
}

#[test]
fn the_cache_of_redis_py_follows_the_server() {
    let server = Server::start(&[]);
    let Some(python) = support::redis_py() else { return };
    let script = r#"
import sys, time, redis
from redis.cache import CacheConfig
import redis.connection
port = int(sys.argv[1])
# It asks for a name and a version that only Redis has.
hello = redis.Redis(port=port, decode_responses=True).execute_command("HELLO")
redis.connection.CacheProxyConnection.DEFAULT_SERVER_NAME = hello["server"]
redis.connection.CacheProxyConnection.MIN_ALLOWED_VERSION = hello["version"]
cached = redis.Redis(port=port, protocol=3, decode_responses=True, cache_config=CacheConfig())
plain = redis.Redis(port=port, decode_responses=True)
plain.set("k", "1")
assert cached.get("k") == "1" and cached.get("k") == "1"
before = plain.info("commandstats")["cmdstat_get"]["calls"]
for _ in range(50):
    assert cached.get("k") == "1"
assert plain.info("commandstats")["cmdstat_get"]["calls"] == before, "the cache answers"
for value in ("2", "3"):
    plain.set("k", value)
    for _ in range(1000):
        if cached.get("k") == value:
            break
    assert cached.get("k") == value
plain.flushall()
for _ in range(1000):
    if cached.get("k") is None:
        break
assert cached.get("k") is None
print("done")
"#;
    let out = Command::new(python).args(["-c", script, &server.port.to_string()]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&out.stdout).trim(), "done", "{}", String::from_utf8_lossy(&out.stderr));
}

/// It was still told of for a moment, so a redirection to it did not look broken.
#[test]
fn a_client_that_has_read_the_reply_of_quit_is_gone() {
    let server = Server::start(&["--io-threads", "4"]);
    let mut c = server.connect();
    for _ in 0..50 {
        let mut other = server.connect();
        let id = other.run("CLIENT ID").int();
        assert_eq!(other.run("QUIT").text(), "OK");
        assert_eq!(c.run(&format!("CLIENT LIST ID {id}")).text(), "");
    }
}
