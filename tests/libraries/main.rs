//! Client libraries as they are published, each with streams and groups, scripts, functions, users, and messages.
//!
//! The packages are installed once, into the directory of this build. Where pip or npm, or a package, is not to be had,
//! that is said and the test passes over it.

#[path = "../support/mod.rs"]
mod support;

use std::path::Path;
use std::time::Duration;

use support::{Server, node_clients, redis_py, script, workplace};

const CODE: &str = "#!lua name=lib\nserver.register_function('twice', function(k, a) return a[1] * 2 end)";
const LUA: &str = "return redis.call('incrby', KEYS[1], ARGV[1])";

/// Runs a script with the port of a new server for its argument. It prints "done" in the end.
fn run(program: impl AsRef<std::ffi::OsStr>, dir: &Path, name: &str) {
    let server = Server::start(&[]);
    let out = script(program, dir, &format!("libraries/{name}"), server.port).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    assert!(out.status.success() && text(&out.stdout) == "done", "{}\n{}", text(&out.stdout), text(&out.stderr));
}

#[test]
fn ioredis() {
    let Some(dir) = node_clients() else { return };
    run("node", &dir, "ioredis.js");
}

#[test]
fn node_redis() {
    let Some(dir) = node_clients() else { return };
    run("node", &dir, "node_redis.js");
}

#[test]
fn redis_py_synchronous_and_with_asyncio() {
    let Some(python) = redis_py() else { return };
    run(python, &workplace(), "redis_py.py");
}

/// Runs a client's part, which must not take for ever.
fn block_on(part: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), part).await.expect("it ends") });
}

#[test]
fn the_redis_crate() {
    use futures_util::StreamExt;
    use redis::streams::{StreamReadOptions, StreamReadReply};
    use redis::{AsyncCommands, ErrorKind, acl::Rule};

    let server = Server::start(&[]);
    let url = |login: &str| format!("redis://{login}127.0.0.1:{}/", server.port);
    block_on(async {
        for protocol in ["resp2", "resp3"] {
            let client = redis::Client::open(format!("{}?protocol={protocol}", url(""))).unwrap();
            let mut c = client.get_multiplexed_async_connection().await.unwrap();
            let _: () = redis::cmd("FLUSHALL").query_async(&mut c).await.unwrap();
            // Streams.
            let _: () = c.xgroup_create_mkstream("s", "g", "0").await.unwrap();
            let id: String = c.xadd("s", "*", &[("n", "0")]).await.unwrap();
            let options = StreamReadOptions::default().group("g", "a").count(5).block(10_000);
            let read: StreamReadReply = c.xread_options(&["s"], &[">"], &options).await.unwrap();
            assert_eq!(read.keys[0].ids[0].id, id);
            assert_eq!(read.keys[0].ids[0].get::<String>("n").unwrap(), "0");
            assert_eq!(c.xack::<_, _, _, i64>("s", "g", &[&id]).await.unwrap(), 1);
            // Scripts and functions.
            let script = redis::Script::new(LUA);
            assert_eq!(script.key("n").arg(5).invoke_async::<i64>(&mut c).await.unwrap(), 5);
            let _: () = redis::cmd("SCRIPT").arg("FLUSH").query_async(&mut c).await.unwrap();
            assert_eq!(script.key("n").arg(1).invoke_async::<i64>(&mut c).await.unwrap(), 6);
            let load = redis::cmd("FUNCTION").arg("LOAD").arg("REPLACE").arg(CODE).query_async::<String>(&mut c).await;
            assert_eq!(load.unwrap(), "lib");
            let twice = redis::cmd("FCALL").arg("twice").arg(0).arg(21).query_async::<i64>(&mut c).await;
            assert_eq!(twice.unwrap(), 42);
            // Users.
            let rules = [
                Rule::On,
                Rule::AddPass("pw".into()),
                Rule::Pattern("a*".into()),
                Rule::AddCommand("get".into()),
                Rule::AddCommand("set".into()),
            ];
            let _: () = c.acl_setuser_rules("ann", &rules).await.unwrap();
            let ann = redis::Client::open(url("ann:pw@")).unwrap();
            let mut ann = ann.get_multiplexed_async_connection().await.unwrap();
            let _: () = ann.set("a1", "x").await.unwrap();
            let denied = ann.get::<_, Option<String>>("b").await.unwrap_err();
            assert_eq!(denied.code(), Some("NOPERM"), "{denied}");
            let users: Vec<String> = c.acl_users().await.unwrap();
            assert_eq!(users, ["ann", "default"]);
            assert_eq!(c.acl_deluser::<_, i64>(&["ann"]).await.unwrap(), 1);
            let wrong = redis::Client::open(url("ann:pw@")).unwrap();
            let failed = wrong.get_multiplexed_async_connection().await.err().unwrap();
            assert_eq!(failed.kind(), ErrorKind::AuthenticationFailed, "{failed}");
            // Messages.
            let (mut sink, mut stream) = client.get_async_pubsub().await.unwrap().split();
            sink.subscribe("c").await.unwrap();
            sink.psubscribe("c*").await.unwrap();
            assert_eq!(c.publish::<_, _, i64>("c", "hello").await.unwrap(), 2);
            for _ in 0..2 {
                assert_eq!(stream.next().await.unwrap().get_payload::<String>().unwrap(), "hello");
            }
        }
    });
}

#[test]
fn fred() {
    use fred::prelude::*;
    use fred::types::RespVersion;
    use fred::types::scripts::{Function, Library, Script};

    let server = support::Server::start(&[]);
    let open = |version: RespVersion, login: &str| {
        let mut config = Config::from_url(&format!("redis://{login}127.0.0.1:{}", server.port)).unwrap();
        config.version = version;
        config
    };
    block_on(async {
        for version in [RespVersion::RESP2, RespVersion::RESP3] {
            let c = Builder::from_config(open(version.clone(), "")).build().unwrap();
            c.init().await.unwrap();
            let _: () = c.flushall(false).await.unwrap();
            // Streams.
            let _: () = c.xgroup_create("s", "g", "0", true).await.unwrap();
            let id: String = c.xadd("s", false, None, "*", ("n", 0)).await.unwrap();
            let read: fred::types::streams::XReadResponse<String, String, String, String> =
                c.xreadgroup_map("g", "a", Some(5), Some(10_000), false, "s", ">").await.unwrap();
            assert_eq!((&read["s"][0].0, &read["s"][0].1["n"][..]), (&id, "0"));
            assert_eq!(c.xack::<i64, _, _, _>("s", "g", id.clone()).await.unwrap(), 1);
            // Scripts and functions.
            let script = Script::from_lua(LUA);
            script.load(&c).await.unwrap();
            assert_eq!(script.evalsha::<i64, _, _, _>(&c, "n", 5).await.unwrap(), 5);
            let library = Library::from_code(&c, CODE).await.unwrap();
            let twice: Function = library.functions()["twice"].clone();
            assert_eq!(twice.fcall::<i64, _, _, _>(&c, Vec::<String>::new(), 21).await.unwrap(), 42);
            // Users.
            let _: () =
                c.acl_setuser("ann", vec!["on", ">pw", "~a*", "+get", "+set", "+client", "+ping"]).await.unwrap();
            let ann = Builder::from_config(open(version.clone(), "ann:pw@")).build().unwrap();
            ann.init().await.unwrap();
            let _: () = ann.set("a1", "x", None, None, false).await.unwrap();
            let denied = ann.get::<Option<String>, _>("b").await.unwrap_err();
            assert!(denied.details().contains("No permissions to access a key"), "{denied}");
            let _: () = ann.quit().await.unwrap();
            assert_eq!(c.acl_whoami::<String>().await.unwrap(), "default");
            assert_eq!(c.acl_deluser::<i64, _>("ann").await.unwrap(), 1);
            // Messages.
            let subscriber = Builder::from_config(open(version, "")).build_subscriber_client().unwrap();
            subscriber.init().await.unwrap();
            let mut messages = subscriber.message_rx();
            subscriber.subscribe("c").await.unwrap();
            subscriber.psubscribe("c*").await.unwrap();
            // It does not wait for the answer.
            while c.pubsub_numpat::<i64>().await.unwrap() == 0 {
                tokio::task::yield_now().await;
            }
            assert_eq!(c.publish::<i64, _, _>("c", "hello").await.unwrap(), 2);
            for _ in 0..2 {
                let message = messages.recv().await.unwrap();
                assert_eq!(message.value.convert::<String>().unwrap(), "hello");
            }
            let _: () = subscriber.quit().await.unwrap();
            let _: () = c.quit().await.unwrap();
        }
    });
}
