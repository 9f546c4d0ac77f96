//! Reads of streams that wait: what ends the wait, and with what.

mod support;

use support::{Conn, Server, Value};

/// Sends a command that waits, and comes back when the server says so.
fn wait_with(server: &Server, line: &str) -> Conn {
    let (mut control, mut c) = (server.connect(), server.connect());
    let before: u32 = control.info("blocked_clients").parse().unwrap();
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    c.send(&words);
    control.until("the wait", |c| c.info("blocked_clients").parse::<u32>().unwrap() > before);
    c
}

fn first_id(reply: &Value) -> String {
    reply.items()[0].items()[1].items()[0].items()[0].text()
}

#[test]
fn everybody_who_waits_for_a_stream_reads_what_is_added() {
    let server = Server::start(&[]);
    let mut c = server.connect();
    c.run("XADD s 1-1 f v");
    let mut waiting: Vec<Conn> =
        ["XREAD BLOCK 0 STREAMS s $", "XREAD BLOCK 0 STREAMS none s 0 1-1", "XREAD COUNT 1 BLOCK 0 STREAMS s +"]
            .iter()
            .filter(|line| !line.contains('+'))
            .map(|line| wait_with(&server, line))
            .collect();
    // The newest entry is there already.
    assert_eq!(first_id(&c.run("XREAD BLOCK 0 STREAMS s +")), "1-1");
    // Others than streams wake nobody.
    c.run("SET none text");
    c.run("DEL none");
    c.run("XADD s 2-1 f v");
    for w in &mut waiting {
        assert_eq!(first_id(&w.read()), "2-1");
    }
    // What a transaction added is read when it is over.
    let mut w = wait_with(&server, "XREAD BLOCK 0 STREAMS s $");
    for line in ["MULTI", "XADD s 3-1 f v", "XADD s 4-1 f v", "EXEC"] {
        c.run(line);
    }
    let reply = w.read();
    assert_eq!((first_id(&reply), reply.items()[0].items()[1].items().len()), ("3-1".into(), 2));
    let mut w = wait_with(&server, "XREAD BLOCK 50 STREAMS s $");
    assert_eq!(w.read(), Value::NilArray);
}

#[test]
fn one_consumer_gets_each_entry() {
    let server = Server::start(&[]);
    let mut c = server.connect();
    c.run("XGROUP CREATE s g $ MKSTREAM");
    let mut first = wait_with(&server, "XREADGROUP GROUP g alice BLOCK 0 STREAMS s >");
    let mut second = wait_with(&server, "XREADGROUP GROUP g bob BLOCK 0 STREAMS s >");
    c.run("XADD s 1-1 f v");
    assert_eq!(first_id(&first.read()), "1-1");
    c.run("XADD s 2-1 f v");
    assert_eq!(first_id(&second.read()), "2-1");
    assert_eq!(c.run("XPENDING s g").items()[0].int(), 2);
    assert_eq!(c.run("XPENDING s g - + 9 bob").items()[0].items()[0].text(), "2-1");
}

#[test]
fn who_reads_for_a_group_hears_of_its_end() {
    let server = Server::start(&["--enable-debug-command", "yes"]);
    let mut c = server.connect();
    for (ends, reply) in [
        (&["DEL s"][..], "NOGROUP"),
        (&["UNLINK s"], "NOGROUP"),
        (&["XGROUP DESTROY s g"], "NOGROUP"),
        (&["FLUSHALL"], "NOGROUP"),
        (&["FLUSHDB ASYNC"], "NOGROUP"),
        (&["SWAPDB 0 1"], "NOGROUP"),
        (&["RENAME s t"], "NOGROUP"),
        (&["MOVE s 5"], "NOGROUP"),
        (&["SET s text"], "WRONGTYPE"),
        (&["PEXPIRE s 1"], "NOGROUP"),
        (&["XADD t 1-1 f v", "RENAME t s"], "NOGROUP"),
        (&["SADD x a", "SUNIONSTORE s x"], "WRONGTYPE"),
    ] {
        c.run("FLUSHALL");
        c.run("XGROUP CREATE s g $ MKSTREAM");
        let mut w = wait_with(&server, "XREADGROUP GROUP g alice BLOCK 0 STREAMS s >");
        for line in ends {
            assert!(!c.run(line).is_error(), "{line}");
        }
        let text = w.read().text();
        assert!(text.starts_with(reply), "{ends:?}: {text}");
    }
}

#[test]
fn groups_survive_every_way_of_keeping_them() {
    let server =
        Server::start(&["--appendonly", "yes", "--aof-use-rdb-preamble", "no", "--enable-debug-command", "yes"]);
    let mut c = server.connect();
    for i in 1..=250 {
        c.run(&format!("XADD s {i}-0 f {i}"));
    }
    for line in [
        "XDEL s 10-0 250-0",
        "XGROUP CREATE s g 0",
        "XGROUP CREATE s idle $ ENTRIESREAD 7",
        "XREADGROUP GROUP g alice COUNT 30 STREAMS s >",
        "XREADGROUP GROUP g bob COUNT 5 STREAMS s >",
        "XCLAIM s g carol 0 3-0 RETRYCOUNT 9",
        "XGROUP CREATECONSUMER s g dave",
        "XGROUP CREATE empty g 5-5 MKSTREAM",
    ] {
        assert!(!c.run(line).is_error(), "{line}");
    }
    let show = |c: &mut Conn| {
        ["XINFO STREAM s", "XINFO GROUPS s", "XINFO GROUPS empty", "XPENDING s g", "XRANGE s - +", "XINFO STREAM empty"]
            .iter()
            .map(|line| format!("{:?}", c.run(line)))
            .collect::<Vec<_>>()
    };
    let deliveries = |c: &mut Conn| c.run("XPENDING s g 3-0 3-0 1").items()[0].items()[3].int();
    let before = show(&mut c);
    assert_eq!(deliveries(&mut c), 9);
    c.run("BGREWRITEAOF");
    c.until("the rewrite", |c| c.info("aof_rewrite_in_progress") == "0" && c.info("aof_rewrites") != "0");
    for line in ["DEBUG LOADAOF", "DEBUG RELOAD"] {
        assert_eq!(c.run(line).text(), "OK", "{line}");
        assert_eq!((show(&mut c), deliveries(&mut c)), (before.clone(), 9), "{line}");
    }
    assert_eq!(c.run("COPY s t").int(), 1);
    let Value::Bulk(payload) = c.run("DUMP s") else { panic!() };
    c.run("DEL s");
    assert_eq!(c.command(&[b"RESTORE", b"s", b"0", &payload]).text(), "OK");
    assert_eq!(show(&mut c), before);
    assert_eq!(c.run("DEBUG DIGEST-VALUE s t").texts().windows(2).filter(|w| w[0] != w[1]).count(), 0);
}

/// What is known of a stream, without the times at which consumers came by: a replica has its own.
fn known(c: &mut Conn, key: &str) -> String {
    fn without_times(v: &Value) -> Value {
        let Value::Array(items) = v else { return v.clone() };
        let is_time = |v: &Value| ["seen-time", "active-time"].iter().any(|t| *v == Value::Bulk(t.as_bytes().to_vec()));
        let kept = items.iter().enumerate().filter(|(i, v)| !is_time(v) && (*i == 0 || !is_time(&items[i - 1])));
        Value::Array(kept.map(|(_, v)| without_times(v)).collect())
    }
    format!("{:?}", without_times(&c.run(&format!("XINFO STREAM {key} FULL COUNT 0"))))
}

#[test]
fn replicas_know_of_groups_what_their_primary_knows() {
    for redis in [false, true] {
        let primary = Server::start(&["--repl-diskless-sync-delay", "0"]);
        let replica = if redis { Server::redis() } else { Server::start(&[]) };
        let (mut a, mut b) = (primary.connect(), replica.connect());
        b.run(&format!("REPLICAOF 127.0.0.1 {}", primary.port));
        b.until("the link", |c| c.info("master_link_status") == "up");
        let mut rng = dunlin::base::rng::Rng::new(7);
        let mut added = 0;
        for _ in 0..3000 {
            let mut n = |n| rng.below(n);
            let (s, g, c) = (n(3), n(2), n(3));
            let (id, other) = (1 + n(added + 1), 1 + n(added + 1));
            let line = match n(14) {
                0 | 1 => {
                    added += 1;
                    format!("XADD s{s} MAXLEN ~ 60 {added}-1 f {id}")
                }
                2 => {
                    added += 1;
                    format!("XADD s{s} MINID {} {added}-* f {id}", added / 2)
                }
                3 => format!("XGROUP CREATE s{s} g{g} {id}-1 MKSTREAM"),
                4 | 5 => format!("XREADGROUP GROUP g{g} c{c} COUNT {} STREAMS s{s} >", 1 + other % 4),
                6 => format!("XREADGROUP GROUP g{g} c{c} COUNT 2 NOACK STREAMS s{s} >"),
                7 => format!("XREADGROUP GROUP g{g} c{c} COUNT 3 STREAMS s{s} {}", id / 2),
                8 => format!("XACK s{s} g{g} {id}-1 {other}-1"),
                9 => format!("XCLAIM s{s} g{g} c{c} 0 {id}-1 {other}-1 FORCE"),
                10 => format!("XAUTOCLAIM s{s} g{g} c{c} 0 - COUNT 3"),
                11 => format!("XDEL s{s} {id}-1"),
                12 => format!("XTRIM s{s} MAXLEN ~ {}", id % 50),
                _ if other % 9 == 0 => format!("XGROUP DESTROY s{s} g{g}"),
                _ if other % 9 == 1 => format!("XGROUP DELCONSUMER s{s} g{g} c{c}"),
                _ => format!("XGROUP SETID s{s} g{g} {id}-1"),
            };
            a.run(&line);
        }
        assert_eq!(a.run("WAIT 1 0").int(), 1);
        for s in ["s0", "s1", "s2"] {
            if redis {
                // Version 7.0 reports groups in a form of its own.
                for line in [format!("XPENDING {s} g0"), format!("XPENDING {s} g1"), format!("XRANGE {s} - +")] {
                    assert_eq!(a.run(&line), b.run(&line), "{line}");
                }
            } else {
                assert_eq!(known(&mut a, s), known(&mut b, s), "{s}");
            }
        }
    }
}

/// The client that was woken for it removed it, though no command asked for it.
#[test]
fn a_key_that_is_over_when_it_would_serve_a_waiter_stays_until_a_command_looks_for_it() {
    let server = Server::start(&["--enable-debug-command", "yes"]);
    let mut c = server.connect();
    c.run("DEBUG SET-ACTIVE-EXPIRE 0");
    let _waiting = wait_with(&server, "XREAD BLOCK 0 STREAMS k $");
    c.send_raw(b"MULTI\r\nXADD k 1-1 f v\r\nPEXPIRE k 20\r\nDEBUG SLEEP 0.1\r\nEXEC\r\n");
    for _ in 0..5 {
        c.read();
    }
    // Its wait goes on, and the key is there for DBSIZE.
    assert_eq!((c.info("blocked_clients").as_str(), c.run("DBSIZE").int()), ("1", 1));
    assert_eq!(c.info("expired_keys"), "0");
    assert_eq!(c.run("EXISTS k").int(), 0);
    assert_eq!(c.info("expired_keys"), "1");
}
