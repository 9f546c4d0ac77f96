//! `import-mode` and CLIENT IMPORT-SOURCE: data come from elsewhere, and with them the word of what is over.

mod support;

use support::{Conn, Server};

fn source(server: &Server) -> Conn {
    let mut c = server.connect();
    assert_eq!(c.run("CLIENT IMPORT-SOURCE ON").text(), "OK");
    c
}

/// Waits until a key of this many milliseconds is over.
fn outlive(c: &mut Conn, ms: u64) {
    c.run(&format!("SET probe v PX {ms}"));
    c.until("the end of a key", |c| c.run("EXISTS probe").int() == 0);
}

#[test]
fn only_a_server_in_import_mode_takes_sources() {
    let server = Server::start(&[]);
    let mut c = server.connect();
    assert_eq!(c.run("CLIENT IMPORT-SOURCE ON").text(), "ERR Server is not in import mode");
    assert_eq!(c.run("CLIENT IMPORT-SOURCE OFF").text(), "OK");
    assert_eq!(c.run("CLIENT IMPORT-SOURCE maybe").text(), "ERR syntax error");
    c.run("CONFIG SET import-mode yes");
    assert_eq!(c.run("CLIENT IMPORT-SOURCE ON").text(), "OK");
    assert!(c.run("CLIENT INFO").text().contains(" flags=I "));
    c.run("RESET");
    assert!(c.run("CLIENT INFO").text().contains(" flags=N "));
}

#[test]
fn what_is_over_stays_for_the_source_and_is_hidden_from_others() {
    let server = Server::start(&["--import-mode", "yes"]);
    let (mut c, mut from) = (server.connect(), source(&server));
    // The one that the documentation of the command tells of.
    from.run("SET key 1 PX 1");
    from.run("HSET h f v");
    from.run("PEXPIRE h 1");
    outlive(&mut c, 30);
    assert_eq!((c.run("GET key").text_or("none"), c.run("EXISTS h").int()), ("none".into(), 0));
    assert!(c.run("KEYS *").items().is_empty() && c.run("SCAN 0 COUNT 1000").items()[1].items().is_empty());
    assert_eq!((from.run("INCR key").int(), from.run("HGET h f").text()), (2, "v".into()));
    assert_eq!((from.run("PTTL key").int(), from.run("TTL key").int()), (0, 0));
    assert_eq!(from.run("KEYS *").items().len(), 3);
    assert_eq!(c.run("DBSIZE").int(), 3, "nothing was removed");
    // A time that is over is taken like others; times to come count from now.
    assert_eq!(from.run("PEXPIREAT h 1000").int(), 1);
    assert_eq!(from.run("EXISTS h").int(), 1);
    from.run("EXPIRE key 100");
    assert!((95..=100).contains(&c.run("TTL key").int()));
    assert_eq!(c.run("GET key").text(), "2");
    from.run("SET old v PXAT 1");
    assert_eq!((from.run("GET old").text(), c.run("EXISTS old").int()), ("v".into(), 0));
    // Others write as if it was not there.
    assert_eq!((c.run("APPEND old x").int(), from.run("GET old").text()), (1, "x".into()));
    // When the data are there, they expire.
    c.run("CONFIG SET import-mode no");
    c.until("the expiry pass", |c| c.run("DBSIZE").int() == 2);
    assert_eq!(from.run("EXISTS h").int(), 0, "a source is a client like others then");
}

#[test]
fn waits_of_a_source_end_in_time() {
    let server = Server::start(&["--import-mode", "yes"]);
    let mut from = source(&server);
    assert_eq!(from.run("BLPOP none 0.01"), support::Value::NilArray);
}

#[test]
fn nothing_is_evicted_while_data_are_imported() {
    let server = Server::start(&["--import-mode", "yes", "--maxmemory", "1", "--maxmemory-policy", "allkeys-random"]);
    let (mut c, mut from) = (server.connect(), source(&server));
    for i in 0..100 {
        assert_eq!(from.run(&format!("SET k{i} v")).text(), "OK");
    }
    assert_eq!(c.run("DBSIZE").int(), 100);
    c.run("CONFIG SET import-mode no");
    c.until("eviction", |c| {
        let _ = c.run("SET more v");
        c.run("DBSIZE").int() <= 1
    });
}
