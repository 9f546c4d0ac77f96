//! Synchronizations over two connections, `dual-channel-replication-enabled`: the snapshot over one and, at the same time, what
//! is written meanwhile over the other.
//!
//! With `DUNLIN_PEER` naming a valkey-server of 8.0 or later that is the other end, too.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use support::replicas::Kind::{Dunlin, Redis};
use support::replicas::{Kind, Node, Writers, assert_in_step, wait};
use support::{Conn, PATIENCE};

const ON: [&str; 2] = ["--dual-channel-replication-enabled", "yes"];

/// Who is on either end: the peer only where one is named that knows how.
fn ends() -> Vec<(Kind, Kind)> {
    let mut ends = vec![(Dunlin, Dunlin)];
    if std::env::var("DUNLIN_PEER").is_ok_and(|peer| peer.contains("valkey")) {
        ends.extend([(Dunlin, Redis), (Redis, Dunlin)]);
    }
    ends
}

fn replicas(node: &Node) -> Vec<String> {
    let text = node.conn().run("INFO replication").text();
    text.lines().filter(|line| line.starts_with("slave") && line.contains("type=")).map(str::to_owned).collect()
}

fn is_under_way(primary: &Node) -> bool {
    let all = replicas(primary);
    let has = |state: &str, kind: &str| {
        all.iter().any(|line| line.contains(&format!("state={state},")) && line.ends_with(&format!("type={kind}")))
    };
    has("wait_bgsave", "rdb-channel") && has("bg_transfer", "main-channel")
}

/// The connection of a replica whose last command was this one.
fn client(primary: &Node, command: &str) -> String {
    let list = primary.conn().run("CLIENT LIST").text();
    let line = list.lines().find(|line| line.contains(&format!("cmd={command} ")));
    let line = line.unwrap_or_else(|| panic!("no client in {command}: {list}"));
    line.split([' ', '=']).nth(1).unwrap().to_owned()
}

#[test]
fn the_snapshot_has_a_connection_of_its_own_and_the_stream_does_not_wait_for_it() {
    for (of, by) in ends() {
        let (primary, replica) = (Node::start(of, &ON), Node::start(by, &ON));
        let mut c = primary.conn();
        c.run("DEBUG POPULATE 500 key 1000");
        c.run("CONFIG SET rdb-key-save-delay 10000");
        replica.follow(primary.port());
        wait("two channels", || is_under_way(&primary));
        assert_eq!(primary.info("replicas_waiting_psync"), "0", "{of:?}, {by:?}");
        let writers = Writers::start(primary.port(), 2);
        writers.more(5_000);
        let buffered = || replica.info("replicas_repl_buffer_size").parse::<u64>().unwrap();
        wait("what was written meanwhile", || buffered() > 50_000);
        assert_eq!(replica.info("master_link_status"), "down");
        assert!(is_under_way(&primary));
        c.run("CONFIG SET rdb-key-save-delay 0");
        wait("the end of it", || replica.info("master_link_status") == "up");
        writers.more(2_000);
        writers.stop();
        assert_in_step(&primary, &replica, &format!("{of:?}, {by:?}"));
        wait("one connection", || replicas(&primary).len() == 1);
        let line = replicas(&primary).remove(0);
        assert!(line.contains("state=online") && line.ends_with("type=replica"), "{line}");
        assert_eq!((primary.info("sync_full"), primary.info("sync_partial_ok")), ("1".into(), "1".into()));
        assert_eq!(replica.info("replicas_repl_buffer_size"), "0");
        assert!(replica.info("replicas_repl_buffer_peak").parse::<u64>().unwrap() > 50_000);
    }
}

#[test]
fn one_end_that_does_not_want_it_is_enough_for_the_usual_way() {
    let yes = ["--dual-channel-replication-enabled", "yes"];
    let no = ["--dual-channel-replication-enabled", "no"];
    let by_file = ["--dual-channel-replication-enabled", "yes", "--repl-diskless-sync", "no"];
    for (of, by) in [(&yes[..], &no[..]), (&no[..], &yes[..]), (&by_file[..], &yes[..])] {
        let (primary, replica) = (Node::start(Dunlin, of), Node::start(Dunlin, by));
        primary.conn().run("SET key value");
        replica.follow(primary.port());
        wait("the link", || replica.info("master_link_status") == "up");
        assert_in_step(&primary, &replica, "usual");
        assert_eq!(
            (primary.info("sync_full"), primary.info("sync_partial_ok")),
            ("1".into(), "0".into()),
            "{of:?} {by:?}"
        );
    }
}

#[test]
fn either_connection_that_breaks_is_made_up_for() {
    for (of, by) in ends() {
        let (primary, replica) = (Node::start(of, &ON), Node::start(by, &ON));
        let mut c = primary.conn();
        c.run("DEBUG POPULATE 500 key 100");
        for channel in ["sync", "psync"] {
            c.run("CONFIG SET rdb-key-save-delay 10000");
            replica.follow(primary.port());
            wait(&format!("{of:?}, {by:?}: two channels"), || is_under_way(&primary));
            let killed = client(&primary, channel);
            assert_eq!(c.run(&format!("CLIENT KILL ID {killed}")).int(), 1);
            // The synchronization begins anew, with connections of its own.
            wait(&format!("{of:?}, {by:?}: two other channels"), || {
                let list = primary.conn().run("CLIENT LIST").text();
                is_under_way(&primary) && !list.lines().any(|line| line.starts_with(&format!("id={killed} ")))
            });
            assert_eq!(primary.info("replicas_waiting_psync"), "0");
            c.run("CONFIG SET rdb-key-save-delay 0");
            wait(&format!("{of:?}, {by:?}: the end of it after the end of {channel}"), || {
                replica.info("master_link_status") == "up"
            });
            assert_eq!(replica.conn().run("REPLICAOF NO ONE").text(), "OK");
            wait("nobody", || primary.info("connected_slaves") == "0");
            replica.conn().run("DEBUG CHANGE-REPL-ID");
        }
        let writers = Writers::start(primary.port(), 1);
        replica.follow(primary.port());
        writers.more(1_000);
        writers.stop();
        assert_in_step(&primary, &replica, &format!("{of:?}, {by:?}"));
    }
}

#[test]
fn what_is_too_much_for_the_replica_waits_at_the_primary() {
    let (primary, replica) = (Node::start(Dunlin, &ON), Node::start(Dunlin, &ON));
    let limit: [&[u8]; 4] = [b"CONFIG", b"SET", b"client-output-buffer-limit", b"replica 16383 16383 0"];
    assert_eq!(replica.conn().command(&limit).text(), "OK");
    let mut c = primary.conn();
    c.run("DEBUG POPULATE 2000 key 100");
    c.run("CONFIG SET rdb-key-save-delay 10000");
    replica.follow(primary.port());
    wait("two channels", || is_under_way(&primary));
    let value = "x".repeat(10_000);
    let buffered = || replica.info("replicas_repl_buffer_size").parse::<u64>().unwrap();
    let mut n = 0;
    wait("too much", || {
        n += 1;
        c.run(&format!("SET other:{n} {value}"));
        buffered() > 16383
    });
    for n in 0..2_000 {
        c.run(&format!("SET third:{n} {value}"));
    }
    // One read more than the limit at the most.
    assert!(buffered() <= 16383 + (64 << 10), "{}", buffered());
    c.run("CONFIG SET rdb-key-save-delay 0");
    wait("the link", || replica.info("master_link_status") == "up");
    assert_in_step(&primary, &replica, "after that");
}

/// Says what a replica says; the lines that are answered.
fn says(port: u16, lines: &[&str]) -> (Conn, Vec<String>) {
    let mut c = Conn::open(port);
    let replies = lines.iter().map(|line| c.run(line).text()).collect();
    (c, replies)
}

#[test]
fn the_log_is_kept_from_the_cut_on_until_the_other_connection_asks_for_it() {
    let primary = Node::start(Dunlin, &[&ON[..], &["--repl-backlog-size", "16kb"]].concat());
    let port = primary.port();
    primary.conn().run("SET key value");
    let psync = ["REPLCONF capa psync2 capa dual-channel", "PSYNC ? -1"];
    let (_main, replies) = says(port, &psync);
    assert_eq!(replies, ["OK", "DUALCHANNELSYNC"]);
    assert_eq!((primary.info("connected_slaves"), primary.info("sync_full")), ("0".into(), "0".into()));
    let unknown = says(port, &["REPLCONF set-rdb-client-id 12345", "REPLCONF rdb-channel 2"]).1;
    assert_eq!(unknown[0], "ERR Unrecognized RDB client id 12345");
    assert_eq!(unknown[1], "ERR value is out of range, value must between 0 and 1");

    // The snapshot: where its cut is, and all of it; then the connection is closed.
    let snapshot = || {
        let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", port)).unwrap());
        stream.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
        let mut line = String::new();
        let hello = b"REPLCONF capa eof rdb-only 1 rdb-channel 1 listening-port 7\r\n";
        stream.get_mut().write_all(hello).unwrap();
        stream.read_line(&mut line).unwrap();
        assert_eq!(line, "+OK\r\n");
        stream.get_mut().write_all(b"SYNC\r\n").unwrap();
        line.clear();
        while line.trim().is_empty() {
            line.clear();
            stream.read_line(&mut line).unwrap();
        }
        let words: Vec<String> =
            line.trim().strip_prefix("$ENDOFF:").expect(&line).split(' ').map(str::to_owned).collect();
        assert_eq!((words[1].as_str(), words[2].as_str()), (primary.info("master_replid").as_str(), "0"));
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert!(rest.starts_with(b"$EOF:") && rest.ends_with(&rest[5..45]), "the whole snapshot");
        (words[0].parse::<u64>().unwrap(), words[3].clone())
    };
    let (offset, client) = snapshot();
    // More than the backlog.
    let mut c = primary.conn();
    (0..100).for_each(|n| drop(c.run(&format!("SET after:{n} {}", "x".repeat(1000)))));
    assert_eq!(primary.info("replicas_waiting_psync"), "1");
    let (mut main, replies) = says(port, &[psync[0], &format!("REPLCONF set-rdb-client-id {client}")]);
    assert_eq!(replies, ["OK", "OK"]);
    main.send(&[b"PSYNC", primary.info("master_replid").as_bytes(), (offset + 1).to_string().as_bytes()]);
    assert!(main.read().text().starts_with("CONTINUE "));
    assert_eq!(main.read().texts(), ["SELECT", "0"]);
    assert_eq!(main.read().texts()[..2], ["SET", "after:0"]);
    assert_eq!(primary.info("replicas_waiting_psync"), "0");
    let line = replicas(&primary).pop().unwrap();
    assert!(line.contains("state=bg_transfer") && line.ends_with("type=main-channel"), "{line}");
    // It is in step once it says so.
    main.send(&[b"REPLCONF", b"ACK", b"1"]);
    wait("online", || replicas(&primary).pop().unwrap().contains("state=online"));
    drop(main);

    // One that does not come back in time.
    let (offset, client) = snapshot();
    wait("that it is gone", || primary.info("connected_slaves") == "0");
    assert_eq!(primary.info("replicas_waiting_psync"), "1");
    assert_eq!(c.run("DEBUG delay-rdb-client-free-seconds 0").text(), "OK");
    wait("the end of the time", || primary.info("replicas_waiting_psync") == "0");
    let refused = says(port, &[&format!("REPLCONF set-rdb-client-id {client}")]).1;
    assert_eq!(refused, [format!("ERR Unrecognized RDB client id {client}")]);
    (0..100).for_each(|n| drop(c.run(&format!("SET after:{n} {}", "x".repeat(1000)))));
    let late = format!("PSYNC {} {}", primary.info("master_replid"), offset + 1);
    assert_eq!(says(port, &[psync[0], &late]).1[1], "DUALCHANNELSYNC");
}
