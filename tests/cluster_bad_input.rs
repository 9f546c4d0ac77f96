//! What comes over the bus, stands in nodes.conf or is said by mistake, and must not bring down a node or its cluster.

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;

use support::cluster::{Node, OPTIONS, agree, cli, picture, three, wait};
use support::{PATIENCE, Server, TempDir, dunlin, free_port};

const BUS: u16 = 10_000;

/// The beginning of a packet: signature, length, version, port, type, count.
fn head(signature: &[u8; 4], length: u32, version: u16, kind: u16, count: u16) -> Vec<u8> {
    let mut packet = signature.to_vec();
    packet.extend_from_slice(&length.to_be_bytes());
    for field in [version, 7000, kind, count] {
        packet.extend_from_slice(&field.to_be_bytes());
    }
    packet
}

#[test]
fn what_is_no_packet_ends_its_connection_alone() {
    let nodes = three();
    let before = picture(&nodes[0]);
    let open = || {
        let stream = TcpStream::connect(("127.0.0.1", nodes[0].port() + BUS)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    };
    // The end of the connection may come while we write.
    let is_closed = |mut stream: TcpStream| stream.read(&mut [0; 4096]).map_or(true, |n| n == 0);
    let whole = |mut packet: Vec<u8>, length: usize| {
        packet.resize(length, 0);
        packet
    };
    for (what, bytes) in [
        ("another protocol", b"*1\r\n$4\r\nPING\r\n".repeat(4)),
        ("another signature", whole(head(b"RCmx", 2256, 1, 0, 0), 2256)),
        ("a length of no packet", whole(head(b"RCmb", 8, 1, 0, 0), 64)),
        ("a length beyond all packets", whole(head(b"RCmb", u32::MAX, 1, 0, 0), 4096)),
    ] {
        let mut stream = open();
        let _ = stream.write_all(&bytes);
        assert!(is_closed(stream), "{what}");
    }
    // Packets that do not hold what they say they do, of a sender whom nobody knows.
    for (version, kind, count, length) in
        [(1, 0, 65_535, 2256), (1, 2, 100, 2300), (9, 0, 0, 2256), (1, 77, 0, 2256), (1, 4, 0, 2256), (1, 3, 0, 2260)]
    {
        let mut stream = open();
        let _ = stream.write_all(&whole(head(b"RCmb", length, version, kind, count), length as usize));
    }
    // Half a packet, and nothing more: closed by us, or never.
    let mut half = open();
    half.write_all(&whole(head(b"RCmb", 2256, 1, 0, 0), 1000)).unwrap();
    let mut gone = open();
    gone.write_all(&head(b"RCmb", 2256, 1, 0, 0)[..7]).unwrap();
    drop(gone);
    assert_eq!(nodes[0].run("PING"), "PONG");
    agree(&nodes.iter().collect::<Vec<_>>());
    assert_eq!(picture(&nodes[0]), before);
    drop(half);
}

#[test]
fn a_damaged_nodes_conf_stops_the_start_and_is_left_as_it_is() {
    let (id, other) = ("a".repeat(40), "b".repeat(40));
    let good =
        format!("{id} 127.0.0.1:7000@17000 myself,master - 0 0 0 connected 0-9\nvars currentEpoch 1 lastVoteEpoch 0\n");
    for (text, reason) in [
        (format!("{good}{other} 127.0.0.1:7001"), "line 3"),
        (good.replace("0-9", "0-99999"), "line 1"),
        (good[..good.len() - 60].to_owned(), "line"),
        ("\u{0}\u{0}\u{0}\u{0}".to_owned(), "line 1"),
        (good.replace("myself,", ""), "no line is about this node itself"),
    ] {
        let (dir, port) = (TempDir::in_memory(), free_port());
        let path = dir.file("nodes.conf", &text);
        let child = dunlin()
            .current_dir(&dir.0)
            .args(["--port", &port.to_string()])
            .args(OPTIONS)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let out = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&[&out.stdout[..], &out.stderr].concat()).into_owned();
        assert_eq!(out.status.code(), Some(1), "{text:?}: {said}");
        assert!(said.contains("corrupted cluster config file") && said.contains(reason), "{text:?}: {said}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        assert_eq!(std::fs::read_dir(&dir.0).unwrap().count(), 1, "nothing is beside it");
    }
}

#[test]
fn a_meet_to_where_no_node_is_leaves_nothing_behind() {
    let (node, other) = (Node::ours(), Node::ours());
    // Nobody, somebody who says nothing, a client port.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = free_port();
    for bus in [nobody, silent.local_addr().unwrap().port(), other.port()] {
        assert_eq!(node.run(&format!("CLUSTER MEET 127.0.0.1 {nobody} {bus}")), "OK");
    }
    let lines = || node.run("CLUSTER NODES").lines().count();
    assert!(lines() > 1, "they are asked");
    wait("the end of the handshakes", || lines() == 1);
    assert_eq!(other.run("PING"), "PONG");
    for wrong in ["127.0.0.1 0", "127.0.0.1 65536", "127.0.0.1 7000 70000", "here 7000", "127.0.0.1 60000"] {
        assert!(node.run(&format!("CLUSTER MEET {wrong}")).starts_with("ERR"), "{wrong}");
    }
    assert_eq!(node.run(&format!("CLUSTER MEET 127.0.0.1 {}", other.port())), "OK");
    wait("the right one", || picture(&node).len() == 2 && picture(&other).len() == 2);
}

/// A copy of a node's directory, started beside it: two nodes with one name.
#[test]
fn a_second_node_with_the_same_id_does_no_lasting_harm() {
    let nodes = three();
    let id = nodes[0].id();
    let mut conn = nodes[0].server.connect();
    let dir = conn.config("dir");
    let text = std::fs::read_to_string(std::path::Path::new(&dir).join("nodes.conf")).unwrap();
    let (copy, port) = (TempDir::in_memory(), free_port());
    copy.file("nodes.conf", &text);
    let mut command = dunlin();
    command.current_dir(&copy.0).args(["--port", &port.to_string()]).args(OPTIONS);
    let second = Server::run(command, port);
    let at =
        |node: &Node| node.run("CLUSTER NODES").lines().find(|l| l.starts_with(&id)).unwrap_or_default().to_owned();
    // The others hear both, and go by whom they heard of at another address.
    wait("the second one", || {
        at(&nodes[1]).contains(&format!(":{port}@")) || at(&nodes[2]).contains(&format!(":{port}@"))
    });
    assert_eq!(second.connect().run("CLUSTER MYID").text(), id);
    assert_eq!(nodes[0].id(), id);
    drop(second);
    agree(&nodes.iter().collect::<Vec<_>>());
    for node in &nodes {
        assert_eq!(picture(node).len(), 3);
        assert!(at(node).contains(&format!(":{}@", nodes[0].port())), "{}", at(node));
    }
}

/// Each slot had an owner in both.
#[test]
fn two_clusters_that_meet_become_one_with_one_owner_a_slot() {
    let (a, b) = (three(), three());
    assert_eq!(a[0].run(&format!("CLUSTER MEET 127.0.0.1 {}", b[0].port())), "OK");
    let all: Vec<&Node> = a.iter().chain(&b).collect();
    agree(&all);
    let owned: Vec<String> = picture(&a[0]).values().flat_map(|node| node.3.clone()).collect();
    let slots = owned.iter().map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        last.parse::<u32>().unwrap() - first.parse::<u32>().unwrap() + 1
    });
    assert_eq!(slots.sum::<u32>(), 16_384, "{owned:?}");
    // Writes go where they belong, from every node.
    let text = cli(&["call", &a[0].at(), "PING"]);
    assert_eq!(text.matches("PONG").count(), 6, "{text}");
    cli(&["check", &b[2].at()]);
}
