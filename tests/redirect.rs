//! CLIENT CAPA redirect: a replica outside of a cluster sends clients that can go there to its primary.

mod support;

use support::{Server, Value};

fn ok() -> Value {
    Value::Simple("OK".into())
}

#[test]
fn a_replica_sends_reads_and_writes_to_its_primary_and_answers_the_rest() {
    let (primary, replica) = (Server::start(&[]), Server::start(&[]));
    let at = format!("REDIRECT 127.0.0.1:{}", primary.port);
    let (mut c, mut plain) = (replica.connect(), replica.connect());
    assert_eq!(c.run("CLIENT CAPA redirect unknown"), ok());
    // Queued by a primary, and refused when that has become a replica; one that is blocked hears of it.
    let mut queued = replica.connect();
    queued.run("CLIENT CAPA REDIRECT");
    queued.run("MULTI");
    assert_eq!(queued.run("SET k 1").text(), "QUEUED");
    let mut blocked = replica.connect();
    blocked.run("CLIENT CAPA redirect");
    blocked.send(&[b"BLPOP", b"list", b"0"]);
    plain.until("a client is blocked", |c| c.info("blocked_clients") == "1");
    plain.run(&format!("REPLICAOF 127.0.0.1 {}", primary.port));
    assert_eq!(queued.run("EXEC"), Value::Error(at.clone()));
    assert_eq!(blocked.read(), Value::Error(at.clone()));
    plain.until("the replica is in step", |c| c.info("master_link_status") == "up");
    for line in ["SET k 1", "GET k", "MGET k l"] {
        assert_eq!(c.run(line), Value::Error(at.clone()), "{line}");
    }
    // A script does not say whether it will read or write.
    c.send(&[b"EVAL", b"return redis.call('GET', KEYS[1])", b"1", b"k"]);
    assert_eq!(c.read(), Value::Nil);
    assert_eq!(c.run("PING").text(), "PONG");
    assert_eq!(c.run("MULTI"), ok());
    assert_eq!(c.run("SET k 1"), Value::Error(at.clone()));
    assert!(c.run("EXEC").text().starts_with("EXECABORT"));
    // Who says that reads of a replica will do reads here.
    assert_eq!(c.run("READONLY"), ok());
    assert_eq!(c.run("GET k"), Value::Nil);
    assert_eq!(c.run("SET k 1"), Value::Error(at.clone()));
    assert_eq!(c.run("READWRITE"), ok());
    assert_eq!(c.run("GET k"), Value::Error(at));
    // Others see nothing of it.
    assert_eq!(plain.run("GET k"), Value::Nil);
    assert!(plain.run("SET k 1").text().starts_with("READONLY"));
    // RESET forgets it.
    assert_eq!(queued.run("RESET").text(), "RESET");
    assert_eq!(queued.run("GET k"), Value::Nil);
    plain.run("REPLICAOF NO ONE");
    assert_eq!(c.run("SET k 1"), ok());
}
