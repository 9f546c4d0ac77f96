//! The metrics port as scrapers meet it: pages, health and readiness, and what wrong, slow, huge and many requests do.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;

use dunlin::base::clock;
use support::{Server, free_port};

/// A server with a metrics port.
fn start(args: &[&str]) -> (Server, u16) {
    let port = free_port();
    let text = port.to_string();
    let mut all = vec!["--metrics-port", &text];
    all.extend_from_slice(args);
    (Server::start(&all), port)
}

fn open(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(support::PATIENCE)).unwrap();
    stream
}

/// What the server sends until it closes the connection.
fn rest(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// The answer to a request on a connection of its own.
fn ask(port: u16, request: &str) -> (u16, String) {
    let mut stream = open(port);
    stream.write_all(request.as_bytes()).unwrap();
    answer(&rest(stream))
}

fn answer(text: &str) -> (u16, String) {
    let status = text.split(' ').nth(1).unwrap_or_else(|| panic!("no answer: {text:?}")).parse().unwrap();
    (status, text.to_owned())
}

fn get(port: u16, path: &str, head: &str) -> (u16, String) {
    ask(port, &format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{head}\r\n"))
}

#[test]
fn the_page_is_text_or_openmetrics_as_the_scraper_asks() {
    let (server, port) = start(&[]);
    server.connect().run("SET a 1");
    let (status, text) = get(port, "/metrics", "");
    assert_eq!(status, 200);
    assert!(text.contains("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    assert!(text.contains("\nredis_up 1\n") && text.contains("\nredis_commands_total{cmd=\"set\"} 1\n"));
    assert!(text.contains("\n# TYPE redis_commands_total counter\n"));
    let accept = "Accept: application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5\r\n";
    let (status, text) = get(port, "/metrics", accept);
    assert_eq!(status, 200);
    assert!(text.contains("Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"));
    assert!(text.contains("\n# TYPE redis_commands counter\n") && text.ends_with("# EOF\n"));
    let (status, text) = ask(port, "HEAD /metrics HTTP/1.1\r\nConnection: close\r\n\r\n");
    assert!(status == 200 && text.ends_with("\r\n\r\n"));
}

#[test]
fn the_port_and_its_addresses_change_at_run_time_or_stay() {
    let server = Server::start(&[]);
    let (first, second) = (free_port(), free_port());
    let mut conn = server.connect();
    let is_open = |port: u16| TcpStream::connect(("127.0.0.1", port)).is_ok();
    assert_eq!(conn.run(&format!("CONFIG SET metrics-port {first}")).text(), "OK");
    assert_eq!(get(first, "/healthz", "").0, 200);
    assert_eq!(conn.run(&format!("CONFIG SET metrics-port {second} metrics-bind 127.0.0.1")).text(), "OK");
    assert_eq!((get(second, "/healthz", "").0, is_open(first)), (200, false));
    // The port of the server itself, and an address that is not there: nothing changes.
    let why = |option| {
        format!(
            "ERR CONFIG SET failed (possibly related to argument '{option}') - Unable to listen on this port. Check server logs."
        )
    };
    assert_eq!(conn.run(&format!("CONFIG SET metrics-port {}", server.port)).text(), why("metrics-port"));
    assert_eq!(conn.run("CONFIG SET metrics-bind 192.0.2.1").text(), why("metrics-bind"));
    assert_eq!((conn.config("metrics-port"), conn.config("metrics-bind")), (second.to_string(), "127.0.0.1".into()));
    assert_eq!(get(second, "/healthz", "").0, 200);
    assert_eq!(conn.run("CONFIG SET metrics-port 0").text(), "OK");
    assert!(!is_open(second));
    assert_eq!(conn.run(&format!("CONFIG SET metrics-port {second}")).text(), "OK");
    assert_eq!(get(second, "/healthz", "").0, 200);
}

#[test]
fn no_series_stands_twice_on_a_page() {
    let (server, port) = start(&["--appendonly", "yes", "--databases", "20"]);
    let mut conn = server.connect();
    for line in ["SET a 1", "GET a", "LPUSH a 1", "NOSUCH", "SELECT 19", "SET b 1 EX 100", "HSET h f v"] {
        conn.run(line);
    }
    let (_, text) = get(port, "/metrics", "");
    let body = text.split_once("\r\n\r\n").unwrap().1;
    let mut seen = std::collections::HashSet::new();
    for line in body.lines() {
        let series = line.rsplit_once(' ').unwrap().0;
        let what = if line.starts_with('#') {
            line.split(' ').take(3).collect::<Vec<_>>().join(" ")
        } else {
            series.to_owned()
        };
        assert!(seen.insert(what), "twice: {line}");
    }
    for line in [
        "redis_errors_total{err=\"WRONGTYPE\"} 1",
        "redis_db_keys{db=\"db19\"} 2",
        "redis_db_keys_expiring{db=\"db19\"} 1",
        "redis_commands_failed_calls_total{cmd=\"lpush\"} 1",
        "redis_aof_enabled 1",
        "dunlin_pipeline_depth_bucket{le=\"1\"} 7",
    ] {
        assert!(body.lines().any(|l| l == line), "{line} is missing in:\n{body}");
    }
}

#[test]
fn wrong_requests_get_their_status() {
    let (_server, port) = start(&[]);
    for (request, status) in [
        ("POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 405),
        ("DELETE /metrics HTTP/1.1\r\n\r\n", 405),
        ("GET /nothing HTTP/1.1\r\nConnection: close\r\n\r\n", 404),
        ("GET /metrics/../etc HTTP/1.1\r\nConnection: close\r\n\r\n", 404),
        ("GET /metrics HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", 413),
        ("GET /metrics HTTP/3.0\r\n\r\n", 400),
        ("GET /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 413),
        ("GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        ("nonsense\r\n\r\n", 400),
        ("*1\r\n$4\r\nPING\r\n\r\n", 400),
        ("GET /healthz HTTP/1.0\r\n\r\n", 200),
        ("GET /version HTTP/1.1\r\nConnection: close\r\n\r\n", 200),
    ] {
        let (got, text) = ask(port, request);
        assert_eq!(got, status, "{request:?}: {text}");
        assert_eq!(text.contains("\r\nAllow: GET, HEAD\r\n"), status == 405);
    }
    // Two requests on one connection, in one packet.
    let (_, text) = ask(port, "GET /healthz HTTP/1.1\r\n\r\nGET /readyz HTTP/1.1\r\nConnection: close\r\n\r\n");
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 2);
}

#[test]
fn a_huge_request_is_refused_before_it_takes_memory() {
    let (server, port) = start(&[]);
    let before: u64 = server.connect().info("used_memory").parse().unwrap();
    let mut streams = Vec::new();
    for _ in 0..20 {
        let mut stream = open(port);
        // Refused after 8 KB; the rest is thrown away.
        stream.write_all(format!("GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(500_000)).as_bytes()).unwrap();
        streams.push(stream);
    }
    for stream in streams {
        assert_eq!(answer(&rest(stream)).0, 431);
    }
    let after: u64 = server.connect().info("used_memory").parse().unwrap();
    assert!(after < before + (2 << 20), "{before} {after}");
}

#[test]
fn a_slow_request_is_given_up_and_holds_nobody_back() {
    let (server, port) = start(&[]);
    let mut slow: Vec<TcpStream> = (0..100).map(|_| open(port)).collect();
    for stream in &mut slow {
        stream.write_all(b"GET /metrics HT").unwrap();
    }
    // Others are served meanwhile, clients among them.
    assert_eq!(get(port, "/metrics", "").0, 200);
    assert_eq!(server.connect().run("PING").text(), "PONG");
    for stream in slow {
        assert_eq!(answer(&rest(stream)).0, 408);
    }
}

#[test]
fn a_thousand_scrapers_are_served_and_clients_do_not_notice() {
    let (server, port) = start(&[]);
    let mut conn = server.connect();
    let probe = std::thread::spawn(move || {
        let mut slowest = 0;
        for _ in 0..20_000 {
            let start = clock::mono_ns();
            conn.run("PING");
            slowest = slowest.max(clock::mono_ns() - start);
        }
        slowest
    });
    let request = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n";
    // All of them keep their connections open.
    let mut scrapers: Vec<TcpStream> = Vec::new();
    for _ in 0..1000 {
        let mut stream = open(port);
        stream.write_all(request).unwrap();
        scrapers.push(stream);
    }
    let mut served = 0;
    for mut stream in scrapers {
        let mut head = [0; 15];
        stream.read_exact(&mut head).unwrap();
        assert_eq!(&head, b"HTTP/1.1 200 OK");
        served += 1;
    }
    assert_eq!(served, 1000);
    let slowest = probe.join().unwrap();
    assert!(slowest < 500_000_000, "a client waited {slowest} ns");
    let used: u64 = server.connect().info("used_memory").parse().unwrap();
    assert!(used < 64 << 20, "{used}");
}

#[test]
fn a_password_guards_the_numbers_and_not_the_health() {
    let (server, port) = start(&["--metrics-auth", "scraper:it is:secret"]);
    let right = "Authorization: Basic c2NyYXBlcjppdCBpczpzZWNyZXQ=\r\n";
    for (path, head, status) in [
        ("/metrics", "", 401),
        ("/version", "", 401),
        ("/metrics", "Authorization: Basic c2NyYXBlcjp3cm9uZw==\r\n", 401),
        ("/metrics", "Authorization: Bearer c2NyYXBlcjppdCBpczpzZWNyZXQ=\r\n", 401),
        ("/metrics", right, 200),
        ("/version", right, 200),
        ("/healthz", "", 200),
        ("/readyz", "", 200),
    ] {
        let (got, text) = get(port, path, head);
        assert_eq!(got, status, "{path} {head}");
        assert_eq!(text.contains("\r\nWww-Authenticate: Basic realm="), status == 401);
    }
    server.connect().run("CONFIG SET metrics-auth a:b");
    assert_eq!(get(port, "/metrics", right).0, 401);
    assert_eq!(get(port, "/metrics", "Authorization: basic YTpi\r\n").0, 200);
}

#[test]
fn a_node_is_ready_when_its_link_and_its_cluster_are() {
    let nobody = free_port();
    let (replica, port) = start(&["--replicaof", &format!("127.0.0.1 {nobody}")]);
    let (status, text) = get(port, "/readyz", "");
    assert!(status == 503 && text.contains("the link to the primary is down"), "{text}");
    assert_eq!(get(port, "/healthz", "").0, 200);
    replica.connect().run("REPLICAOF NO ONE");
    assert_eq!(get(port, "/readyz", "").0, 200);

    let dir = support::TempDir::new();
    let (node, port) = start(&["--cluster-enabled", "yes", "--dir", dir.0.to_str().unwrap()]);
    let (status, text) = get(port, "/readyz", "");
    assert!(status == 503 && text.contains("the cluster is down"), "{text}");
    let mut conn = node.connect();
    assert_eq!(conn.run("CLUSTER ADDSLOTSRANGE 0 16383").text(), "OK");
    conn.until("readiness", |_| get(port, "/readyz", "").0 == 200);
}
