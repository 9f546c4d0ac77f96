//! Bytes that no good client sends, and clients that behave badly: the error Redis gives, that connection alone closed,
//! nothing else disturbed.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use support::{Conn, Server};

fn raw(server: &Server) -> TcpStream {
    let s = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    s.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    s
}

/// Sends the bytes and reads until the server closes.
fn last_words(server: &Server, bytes: &[u8]) -> String {
    let mut s = raw(server);
    // The server may close before all of it is sent.
    let _ = s.write_all(bytes);
    let mut text = Vec::new();
    let _ = s.read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn malformed_requests_are_answered_and_end_their_connection_alone() {
    let server = Server::start(&[]);
    let mut other = server.connect();
    for (bytes, error) in [
        (&b"*x\r\n"[..], "invalid multibulk length"),
        (b"*2147483648\r\n", "invalid multibulk length"),
        (b"*1\r\n:1\r\n", "expected '$', got ':'"),
        (b"*1\r\n\r\nabcd\r\n", "expected '$', got ' '"),
        (b"*1\r\n*1\r\n*1\r\n$4\r\nPING\r\n", "expected '$', got '*'"),
        (b"*1\r\n$-7\r\n", "invalid bulk length"),
        (b"*1\r\n$99999999999\r\n", "invalid bulk length"),
        (b"GET \"unbalanced\r\n", "unbalanced quotes in request"),
        (&[b'a'; 70_000], "too big inline request"),
        (&[&b"*"[..], &[b'1'; 70_000]].concat(), "too big mbulk count string"),
        (&[&b"*1\r\n$"[..], &[b'1'; 70_000]].concat(), "too big bulk count string"),
    ] {
        let text = last_words(&server, bytes);
        assert!(text.starts_with("-ERR Protocol error: ") && text.contains(error), "{error}: {text:?}");
        assert_eq!(other.run("PING").text(), "PONG");
    }
    let text = last_words(&server, b"PING\r\n*1\r\n$x\r\nPING\r\n");
    assert!(
        text.starts_with("+PONG\r\n-ERR Protocol error: invalid bulk length"),
        "what came before is answered: {text}"
    );
}

#[test]
fn a_sender_of_single_bytes_is_understood() {
    let server = Server::start(&[]);
    let mut s = raw(&server);
    s.set_nodelay(true).unwrap();
    for b in b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$3\r\n\x00\xff\n\r\nGET k\r\n" {
        s.write_all(&[*b]).unwrap();
    }
    let mut got = [0; 14];
    s.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"+OK\r\n$3\r\n\x00\xff\n\r\n");
}

#[test]
fn a_million_arguments_are_one_request() {
    let server = Server::start(&[]);
    let mut s = raw(&server);
    let n = 1_048_577;
    let mut bytes = format!("*{n}\r\n$4\r\nSADD\r\n$1\r\ns\r\n").into_bytes();
    (0..n - 2).for_each(|i| bytes.extend_from_slice(format!("$7\r\n{i:07}\r\n").as_bytes()));
    s.write_all(&bytes).unwrap();
    let mut got = [0; 10];
    s.read_exact(&mut got).unwrap();
    assert_eq!(&got, b":1048575\r\n");
}

#[test]
fn before_authentication_little_is_taken_and_little_kept() {
    let server = Server::start(&["--requirepass", "secret"]);
    let text = last_words(&server, b"*11\r\n");
    assert!(text.contains("unauthenticated multibulk length"), "{text}");
    let text = last_words(&server, b"*2\r\n$4\r\nAUTH\r\n$16385\r\n");
    assert!(text.contains("unauthenticated bulk length"), "{text}");
    // Whoever asks without end and never reads is not read from for ever.
    let mut greedy = raw(&server);
    greedy.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let chunk = b"GET k\r\n".repeat(10_000);
    let sent = (0..2000).take_while(|_| greedy.write_all(&chunk).is_ok()).count();
    assert!(sent < 2000, "the server read 140 MB of requests whose replies nobody takes");
    let mut other = server.connect();
    assert_eq!(other.run("AUTH secret").text(), "OK");
    assert!(other.info("used_memory").parse::<u64>().unwrap() < 30_000_000);
}

#[test]
fn a_client_that_never_reads_is_closed_at_its_output_limit() {
    let server = Server::start(&["--client-output-buffer-limit", "normal 1mb 0 0"]);
    let mut other = server.connect();
    other.command(&[b"SET", b"big", &[b'x'; 100_000]]);
    let mut silent = raw(&server);
    silent.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
    let ask = b"GET big\r\n".repeat(1000);
    while silent.write_all(&ask).is_ok() {}
    other.until("the silent client is gone", |c| c.info("connected_clients") == "1");
    assert!(other.info("used_memory").parse::<u64>().unwrap() < 100_000_000);
}

#[test]
fn a_half_closed_socket_still_gets_its_replies() {
    let server = Server::start(&[]);
    server.connect().command(&[b"SET", b"big", &[b'x'; 5_000_000]]);
    let mut s = raw(&server);
    s.write_all(b"GET big\r\nPING\r\n").unwrap();
    s.shutdown(Shutdown::Write).unwrap();
    let mut all = Vec::new();
    s.read_to_end(&mut all).unwrap();
    assert_eq!(all.len(), "$5000000\r\n".len() + 5_000_000 + 2 + "+PONG\r\n".len());
}

#[test]
fn writes_over_the_memory_limit_are_refused_and_reads_go_on() {
    let server = Server::start(&["--maxmemory", "20mb"]);
    let mut c = server.connect();
    let value = [b'x'; 100_000];
    let refused = (0..1000).find_map(|i| {
        let reply = c.command(&[b"SET", format!("k{i}").as_bytes(), &value]);
        reply.is_error().then(|| reply.text())
    });
    assert_eq!(refused.as_deref(), Some("OOM command not allowed when used memory > 'maxmemory'."));
    assert_eq!(c.run("STRLEN k0").int(), 100_000);
    assert_eq!(c.run("DEL k0 k1 k2 k3").int(), 4);
    c.run("CONFIG SET maxmemory-policy allkeys-lru");
    for i in 0..1000 {
        assert_eq!(c.command(&[b"SET", format!("n{i}").as_bytes(), &value]).text(), "OK");
    }
    let (used, keys) = (c.info("used_memory").parse::<u64>().unwrap(), c.run("DBSIZE").int());
    assert!(used < 21_500_000 && (50..300).contains(&keys), "{used} bytes, {keys} keys");
}

#[test]
fn more_clients_than_allowed_are_refused() {
    let server = Server::start(&["--maxclients", "2"]);
    let (mut a, _b) = (server.connect(), server.connect());
    a.run("PING");
    a.until("both are in", |c| c.info("connected_clients") == "2");
    assert_eq!(last_words(&server, b""), "-ERR max number of clients reached\r\n");
}

#[test]
fn a_unix_socket_serves_too() {
    let dir = support::TempDir::new();
    let path = dir.0.join("dunlin.sock");
    let _server = Server::start(&["--unixsocket", path.to_str().unwrap(), "--unixsocketperm", "700"]);
    let mut s = std::os::unix::net::UnixStream::connect(&path).unwrap();
    s.write_all(b"PING\r\n").unwrap();
    let mut got = [0; 7];
    s.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"+PONG\r\n");
}

#[test]
fn the_largest_client_is_closed_where_clients_take_too_much_memory() {
    let server = Server::start(&["--maxmemory-clients", "3mb"]);
    let mut other = server.connect();
    let mut big = raw(&server);
    // Half a request of five megabytes.
    let _ = big.write_all(b"*2\r\n$4\r\nECHO\r\n$5000000\r\n");
    let _ = big.write_all(&[b'x'; 4_500_000]);
    other.until("the client is evicted", |c| c.info("evicted_clients") == "1" && c.info("connected_clients") == "1");
    assert_eq!(other.run("PING").text(), "PONG");
}

/// Only buffers counted, and only ten times a second.
#[test]
fn all_that_a_client_makes_the_server_keep_counts_for_its_eviction() {
    let server = Server::start(&["--maxmemory-clients", "1mb"]);
    let mut other = server.connect();
    other.run("CLIENT NO-EVICT on");
    other.run("SETRANGE big 200000 x");
    let request = |n: usize, args: &[String]| {
        let mut text = format!("*{}\r\n", args.len());
        args.iter().for_each(|arg| text.push_str(&format!("${}\r\n{arg}\r\n", arg.len())));
        text.repeat(n).into_bytes()
    };
    let name = |i: usize| format!("{i:0>100}");
    // What is sent again and again until the connection is closed.
    type Work<'a> = (&'a str, &'a dyn Fn(usize) -> Vec<u8>);
    let words = |verb: &'static str| move |i: usize| request(1, &[verb.to_owned(), name(i)]);
    let (watch, subscribe, psubscribe, ssubscribe) =
        (words("WATCH"), words("SUBSCRIBE"), words("PSUBSCRIBE"), words("SSUBSCRIBE"));
    let track = |i: usize| {
        let arguments = ["CLIENT", "TRACKING", "ON", "BCAST", "PREFIX"].map(str::to_owned);
        request(1, &[&arguments[..], &[name(i)]].concat())
    };
    let multi = |i: usize| {
        if i == 0 { b"MULTI\r\n".to_vec() } else { request(1, &["ECHO".to_owned(), "x".repeat(100_000)]) }
    };
    // A value that is sent from where it is; the replies are not read.
    let get = |_: usize| request(1, &["GET".to_owned(), "big".to_owned()]);
    let argument = |_: usize| request(1, &["ECHO".to_owned(), "x".repeat(1 << 20)]);
    let all: [Work<'_>; 8] = [
        ("watched keys", &watch),
        ("channels", &subscribe),
        ("patterns", &psubscribe),
        ("shard channels", &ssubscribe),
        ("prefixes", &track),
        ("a transaction", &multi),
        ("replies", &get),
        ("an argument", &argument),
    ];
    for (done, (what, work)) in all.into_iter().enumerate() {
        let mut big = raw(&server);
        let reads = what != "replies";
        let reader = reads.then(|| {
            let mut read = big.try_clone().unwrap();
            std::thread::spawn(move || std::io::copy(&mut read, &mut std::io::sink()))
        });
        let closed = (0..100_000).any(|i| {
            let failed = big.write_all(&work(i)).is_err();
            failed || i % 50 == 49 && other.info("evicted_clients") == (done + 1).to_string()
        });
        assert!(closed, "{what}");
        other.until(what, |c| c.info("evicted_clients") == (done + 1).to_string());
        other.until(what, |c| c.info("connected_clients") == "1");
        drop(big);
        if let Some(reader) = reader {
            let _ = reader.join();
        }
    }
}

#[test]
fn a_lowered_limit_of_clients_acts_at_once() {
    let server = Server::start(&["--enable-debug-command", "yes"]);
    let mut c = server.connect();
    c.run("DEBUG PAUSE-CRON 1");
    let mut clients: Vec<TcpStream> = (0..4).map(|_| raw(&server)).collect();
    for client in &mut clients {
        client.write_all(b"*2\r\n$4\r\nECHO\r\n$2000000\r\n").unwrap();
        client.write_all(&[b'x'; 1_000_000]).unwrap();
    }
    let big = |c: &mut Conn| {
        let list = c.run("CLIENT LIST").text();
        let sizes =
            list.split("tot-mem=").skip(1).map(|rest| rest.split(' ').next().unwrap().parse::<usize>().unwrap());
        sizes.filter(|size| *size > 1_000_000).collect::<Vec<_>>()
    };
    c.until("the arguments", |c| big(c).len() == 4);
    let sizes = big(&mut c);
    let limit = sizes.iter().sum::<usize>() - sizes[0] / 2;
    c.run(&format!("CONFIG SET maxmemory-clients {limit}"));
    assert_eq!((c.info("evicted_clients"), big(&mut c).len()), ("1".into(), 3));
}

#[test]
fn a_lowered_memory_limit_acts_without_waiting_for_a_command() {
    let server = Server::start(&["--maxmemory-policy", "allkeys-lru", "--notify-keyspace-events", "Ee"]);
    let (mut c, mut listener) = (server.connect(), server.connect());
    listener.run("SUBSCRIBE __keyevent@0__:evicted");
    c.run("SET foo bar");
    c.run("CONFIG SET maxmemory 1");
    assert_eq!(listener.read().texts()[2], "foo");
}

#[test]
fn draws_without_end_stop_at_the_output_limit() {
    let server = Server::start(&["--client-output-buffer-limit", "normal 1mb 0 0"]);
    let mut c = server.connect();
    c.run("SADD s a b c");
    c.run("HSET h a 1 b 2");
    c.run("ZADD z 1 a 2 b");
    let before: u64 = c.info("used_memory_rss").parse().unwrap();
    for line in [
        "SRANDMEMBER s -9000000000000000000",
        "HRANDFIELD h -4000000000000000000 WITHVALUES",
        "ZRANDMEMBER z -9000000000000000000",
    ] {
        let mut greedy = server.connect();
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        greedy.send(&words);
        assert!(greedy.is_closed(), "{line}");
    }
    let after: u64 = c.info("used_memory_rss").parse().unwrap();
    assert!(after < before + (20 << 20), "{before} {after}");
    assert_eq!(c.run("SRANDMEMBER s -5").items().len(), 5);
}
