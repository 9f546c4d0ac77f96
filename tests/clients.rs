//! Real clients against the binary: redis-cli in its modes, redis-benchmark, the `redis` crate, redis-py.
//!
//! A tool that is not installed is named and passed over; `make test` installs them all.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use support::Server;

/// The tool, or nothing (and a word about it) where it is missing.
fn tool(name: &str, server: &Server, args: &[&str]) -> Option<Command> {
    if Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        eprintln!("{name} is not installed: passed over");
        return None;
    }
    let mut command = Command::new(name);
    command.args(["-p", &server.port.to_string()]).args(args);
    Some(command)
}

fn output(mut command: Command) -> String {
    let out = command.output().unwrap();
    assert!(out.status.success(), "{command:?}: {out:?}");
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// Kills the child when the test ends, however it does.
struct Guard(Child);
impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn redis_cli_loads_a_pipe_and_finds_big_keys() {
    let server = Server::start(&[]);
    let Some(mut command) = tool("redis-cli", &server, &["--pipe"]) else { return };
    let mut child = Guard(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
    let mut stdin = child.0.stdin.take().unwrap();
    let writer = std::thread::spawn(move || {
        for i in 0..20_000 {
            let (key, value) = (format!("key:{i}"), "v".repeat(i % 200));
            write!(stdin, "*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${}\r\n{value}\r\n", key.len(), value.len()).unwrap();
        }
        stdin.write_all(b"*4\r\n$5\r\nRPUSH\r\n$4\r\nlist\r\n$1\r\na\r\n$1\r\nb\r\n").unwrap();
    });
    let mut text = String::new();
    let mut lines = BufReader::new(child.0.stdout.take().unwrap());
    while lines.read_line(&mut text).unwrap() > 0 {}
    writer.join().unwrap();
    assert!(text.contains("errors: 0, replies: 20001"), "{text}");
    let text = output(tool("redis-cli", &server, &["--bigkeys"]).unwrap());
    assert!(
        text.contains("Sampled 20001 keys") && text.contains("Biggest   list found '\"list\"' has 2 items"),
        "{text}"
    );
    assert!(output(tool("redis-cli", &server, &["--memkeys"]).unwrap()).contains("Sampled 20001 keys"));
    assert_eq!(output(tool("redis-cli", &server, &["--scan", "--pattern", "key:1999?"]).unwrap()).lines().count(), 10);
}

#[test]
fn redis_cli_shows_statistics_latency_and_what_others_do() {
    let server = Server::start(&[]);
    let first_lines = |args: &[&str], n: usize, poke: bool| -> Option<Vec<String>> {
        let mut command = tool("redis-cli", &server, args)?;
        let mut child = Guard(command.stdout(Stdio::piped()).spawn().unwrap());
        let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
        let mut seen = vec![lines.next()?.unwrap()];
        if poke {
            server.connect().run("SET poked 1");
        }
        seen.extend(lines.take(n - 1).map(Result::unwrap));
        Some(seen)
    };
    let Some(stat) = first_lines(&["--stat", "-i", "0.05"], 3, false) else { return };
    assert!(stat[0].contains("data") && stat[1].contains("keys"), "{stat:?}");
    let monitor = first_lines(&["MONITOR"], 2, true).unwrap();
    assert!(monitor[0] == "OK" && monitor[1].contains("\"SET\" \"poked\" \"1\""), "{monitor:?}");
    let latency = output(tool("redis-cli", &server, &["--latency", "-i", "0.2"]).unwrap());
    assert_eq!(latency.split_whitespace().count(), 4, "min, max, mean, samples: {latency}");
    let eval = output(tool("redis-cli", &server, &["-3", "HELLO"]).unwrap());
    assert!(eval.contains("server") && eval.contains("proto"), "{eval}");
}

#[test]
fn redis_benchmark_runs_its_default_set() {
    let server = Server::start(&[]);
    let Some(command) = tool("redis-benchmark", &server, &["-n", "2000", "-P", "16", "-r", "1000", "--csv"]) else {
        return;
    };
    let text = output(command);
    // The header, and twenty tests; one that the server refuses ends the program.
    assert!(text.lines().count() >= 20 && text.contains("MSET (10 keys)"), "{text}");
}

#[test]
fn the_redis_crate_pipelines_subscribes_and_blocks_asynchronously() {
    let server = Server::start(&[]);
    let client = redis::Client::open(format!("redis://127.0.0.1:{}/?protocol=resp3", server.port)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut c = client.get_multiplexed_async_connection().await.unwrap();
        let (a, b): (i64, Vec<String>) = redis::pipe()
            .atomic()
            .cmd("INCRBY")
            .arg("n")
            .arg(5)
            .cmd("RPUSH")
            .arg("l")
            .arg("x")
            .arg("y")
            .ignore()
            .cmd("LRANGE")
            .arg("l")
            .arg(0)
            .arg(-1)
            .query_async(&mut c)
            .await
            .unwrap();
        assert_eq!((a, b), (5, vec!["x".to_owned(), "y".to_owned()]));
        let scored: Vec<(String, f64)> = redis::pipe()
            .cmd("ZADD")
            .arg("z")
            .arg(1.5)
            .arg("m")
            .ignore()
            .cmd("ZRANGE")
            .arg("z")
            .arg(0)
            .arg(-1)
            .arg("WITHSCORES")
            .query_async::<(Vec<(String, f64)>,)>(&mut c)
            .await
            .unwrap()
            .0;
        assert_eq!(scored, [("m".to_owned(), 1.5)]);
        // A blocked connection is served by another.
        let mut waiting = client.get_multiplexed_async_connection().await.unwrap();
        let blocked = tokio::spawn(async move {
            redis::cmd("BLPOP").arg("q").arg(10).query_async::<(String, String)>(&mut waiting).await.unwrap()
        });
        let mut observer = server.connect();
        let seen = tokio::task::spawn_blocking(move || {
            observer.until("a client is blocked", |c| c.info("blocked_clients") == "1");
        });
        seen.await.unwrap();
        redis::cmd("LPUSH").arg("q").arg("job").query_async::<i64>(&mut c).await.unwrap();
        assert_eq!(blocked.await.unwrap(), ("q".to_owned(), "job".to_owned()));
    });
}

#[test]
fn redis_py_works_from_a_virtual_environment() {
    let server = Server::start(&[]);
    let Some(python) = support::redis_py() else { return };
    let script = r#"
import sys, threading, redis
for protocol in (2, 3):
    r = redis.Redis(port=int(sys.argv[1]), protocol=protocol, decode_responses=True)
    r.flushall()
    assert r.set("k", "v", ex=100) and r.get("k") == "v" and 0 < r.ttl("k") <= 100
    assert r.hset("h", mapping={"a": 1, "b": 2}) == 2 and r.hgetall("h") == {"a": "1", "b": "2"}
    assert r.zadd("z", {"x": 1, "y": 2.5}) == 2 and r.zscore("z", "y") == 2.5
    assert r.sadd("s", 1, 2, 3) == 3 and r.smembers("s") == {"1", "2", "3"}
    with r.pipeline(transaction=True) as p:
        p.watch("k")
        p.multi()
        p.incr("n")
        p.lpush("l", "a", "b")
        assert p.execute() == [1, 2]
    with r.pipeline() as p:
        p.watch("k")
        r.set("k", "changed")
        p.multi()
        p.get("k")
        try:
            p.execute()
            assert False, "the watched key changed"
        except redis.WatchError:
            pass
    s = r.pubsub()
    s.subscribe("c")
    assert s.get_message(timeout=5)["type"] == "subscribe"
    r.publish("c", "hello")
    assert s.get_message(timeout=5)["data"] == "hello"
    got = []
    t = threading.Thread(target=lambda: got.append(r.blpop("q", timeout=10)))
    t.start()
    r.rpush("q", "job")
    t.join()
    assert [list(x) for x in got] == [["q", "job"]]
    assert sorted(r.scan_iter()) == ["h", "k", "l", "n", "s", "z"]
    assert r.client_setname("py") and r.client_info()["name"] == "py"
    assert r.config_get("maxmemory")["maxmemory"] == "0" and r.info("server")["redis_mode"] == "standalone"
    assert r.command_count() > 150
print("done")
"#;
    let mut command = Command::new(&python);
    command.args(["-c", script, &server.port.to_string()]);
    assert_eq!(output(command).trim(), "done");
}
