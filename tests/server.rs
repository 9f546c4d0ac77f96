//! The commands on the server and on connections, and the configuration, against the binary.

mod support;

use support::{Conn, Server, TempDir, Value, dunlin, free_port};

fn fails(args: &[&str]) -> String {
    let output = dunlin().args(args).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_bad_configuration_ends_with_status_1_and_names_its_place() {
    let dir = TempDir::new();
    let file = dir.file("d.conf", "timeout 1\n\nmaxclients none\n");
    let text = fails(&[&file]);
    assert!(text.contains("at line 3") && text.contains(&file) && text.contains("maxclients: argument"), "{text}");
    assert!(fails(&["--no-such-option", "1"]).contains("no-such-option"));
    assert!(fails(&["/no/such/file.conf"]).contains("No such file"));
}

#[test]
fn help_and_version_need_no_server() {
    let text = |arg: &str| String::from_utf8(dunlin().arg(arg).output().unwrap().stdout).unwrap();
    assert!(text("--version").starts_with("Dunlin server v="));
    assert!(text("--help").contains("--maxmemory-policy"));
}

#[test]
fn file_standard_input_and_flags_configure_in_that_order() {
    let dir = TempDir::new();
    let port = free_port();
    let file =
        dir.file("d.conf", &format!("port {port}\nhz 20\ntimeout 100\ninclude {}/more/*.conf\n", dir.0.display()));
    std::fs::create_dir(dir.0.join("more")).unwrap();
    dir.file("more/1.conf", "tcp-keepalive 77\n");
    let mut command = dunlin();
    command.args([&file, "--hz", "30", "--maxmemory", "100mb"]);
    let server = Server::run(command, port);
    let mut c = server.connect();
    assert_eq!(
        (c.config("hz"), c.config("timeout"), c.config("tcp-keepalive")),
        ("30".into(), "100".into(), "77".into())
    );
    assert_eq!(c.config("maxmemory"), "104857600");
    assert_eq!(c.info("config_file"), file);
}

#[test]
fn a_rewritten_configuration_outlives_the_server() {
    let dir = TempDir::new();
    let port = free_port();
    let file = dir.file("d.conf", &format!("# mine\nport {port}\nhz 20\n"));
    let start = || {
        let mut command = dunlin();
        command.arg(&file);
        Server::run(command, port)
    };
    let server = start();
    let mut c = server.connect();
    assert_eq!(c.run("CONFIG SET hz 40 maxmemory 200mb").text(), "OK");
    assert_eq!(c.run("CONFIG REWRITE").text(), "OK");
    drop(server);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(
        text.starts_with(&format!("# mine\nport {port}\nhz 40\n")) && text.contains("\nmaxmemory 200mb\n"),
        "{text}"
    );
    let server = start();
    assert_eq!(server.connect().config("maxmemory"), "209715200");
}

#[test]
fn config_set_takes_all_or_nothing() {
    let server = Server::start(&[]);
    let mut c = server.connect();
    let error = c.run("CONFIG SET hz 50 maxmemory x").text();
    assert_eq!(
        error,
        "ERR CONFIG SET failed (possibly related to argument 'maxmemory') - argument must be a memory value"
    );
    assert_eq!(c.config("hz"), "10");
    assert!(c.run("CONFIG SET hz 50 nope 1").text().contains("Unknown option"));
    assert!(c.run("CONFIG SET databases 1").text().contains("can't set immutable config"));
    assert!(c.run("CONFIG SET hz 1 hz 2").text().contains("duplicate parameter"));
    assert!(c.run("CONFIG SET hz").text().contains("wrong number of arguments"));
    assert_eq!(c.run("CONFIG REWRITE").text(), "ERR The server is running without a config file");
}

#[test]
fn info_has_its_sections_and_used_memory_first() {
    let server = Server::start(&[]);
    let mut c = server.connect();
    let default = c.run("INFO").text();
    for section in [
        "Server",
        "Clients",
        "Memory",
        "Persistence",
        "Stats",
        "Replication",
        "CPU",
        "Modules",
        "Errorstats",
        "Cluster",
        "Keyspace",
    ] {
        assert!(default.contains(&format!("# {section}\r\n")), "{section}");
    }
    assert!(!default.contains("# Commandstats"));
    let memory: Vec<&str> = default.lines().filter(|line| line.starts_with("used_memory")).collect();
    assert!(memory[0].starts_with("used_memory:"), "{memory:?}");
    c.run("SET a 1");
    c.run("GET a");
    c.run("NOSUCH");
    let two = c.run("INFO commandstats keyspace").text();
    assert!(
        two.starts_with("# Commandstats\r\n") && two.contains("cmdstat_get:calls=1,usec=") && !two.contains("# Server")
    );
    assert!(two.contains("db0:keys=1,expires=0,avg_ttl=0"), "{two}");
    assert!(c.run("INFO errorstats").text().contains("errorstat_ERR:count=1"));
    assert!(c.run("INFO latencystats").text().contains("latency_percentiles_usec_get:p50="));
    assert_eq!(c.run("CONFIG RESETSTAT").text(), "OK");
    assert!(!c.run("INFO commandstats").text().contains("cmdstat_get"));
    assert_eq!(c.info("redis_version"), "7.2.4");
}

#[test]
fn hello_chooses_the_protocol_and_names_the_connection() {
    let server = Server::start(&[]);
    let mut c = server.connect();
    assert!(c.run("HELLO 4").text().starts_with("NOPROTO"));
    assert!(c.run("HELLO x").text().contains("Protocol version is not an integer"));
    assert!(c.run("HELLO 3 BAD").text().contains("Syntax error in HELLO option 'BAD'"));
    let Value::Map(map) = c.run("HELLO 3 SETNAME me") else { panic!("no map") };
    let proto = map.iter().find(|(name, _)| name.text() == "proto").unwrap();
    assert_eq!(proto.1, Value::Int(3));
    assert_eq!(c.run("CLIENT GETNAME").text(), "me");
    let Value::Verbatim(format, text) = c.run("CLIENT INFO") else { panic!("no verbatim text") };
    let text = String::from_utf8(text).unwrap();
    assert!(format == "txt" && text.contains(" name=me ") && text.contains(" resp=3 "), "{text}");
    assert_eq!(c.run("RESET").text(), "RESET");
    assert_eq!(c.run("CLIENT GETNAME"), Value::Nil);
}

#[test]
fn a_password_is_asked_for() {
    let server = Server::start(&["--requirepass", "secret"]);
    let mut c = server.connect();
    // Nor is it said what there is.
    for line in ["GET a", "GET", "NOSUCH a", "CONFIG NOSUCH", "CLIENT SETNAME"] {
        assert_eq!(c.run(line).text(), "NOAUTH Authentication required.", "{line}");
    }
    assert_eq!(c.run("AUTH").text(), "ERR wrong number of arguments for 'auth' command");
    assert!(c.run("HELLO 3").text().starts_with("NOAUTH HELLO must be called"));
    assert!(c.run("AUTH wrong").text().starts_with("WRONGPASS"));
    assert!(c.run("AUTH nobody secret").text().starts_with("WRONGPASS"));
    assert_eq!(c.run("AUTH default secret").text(), "OK");
    assert_eq!(c.run("GET a"), Value::Nil);
    assert_eq!(c.info("acl_access_denied_auth"), "2");
    assert!(matches!(server.connect().run("HELLO 3 AUTH default secret"), Value::Map(_)));
    let open = Server::start(&[]);
    assert!(open.connect().run("AUTH x").text().contains("without any password configured"));
}

#[test]
fn clients_are_listed_filtered_and_killed() {
    let server = Server::start(&[]);
    let (mut a, mut b) = (server.connect(), server.connect());
    a.run("CLIENT SETNAME a");
    b.run("CLIENT SETNAME b");
    let id = b.run("CLIENT ID").int();
    let names = |c: &mut Conn, line: &str| -> Vec<String> {
        let text = c.run(line).text();
        let name = |line: &str| line.split(" name=").nth(1).unwrap().split(' ').next().unwrap().to_owned();
        text.lines().map(name).collect()
    };
    assert_eq!(names(&mut a, "CLIENT LIST"), ["a", "b"]);
    assert_eq!(names(&mut a, &format!("CLIENT LIST ID {id}")), ["b"]);
    assert_eq!(names(&mut a, &format!("CLIENT LIST NOT-ID {id}")), ["a"]);
    assert_eq!(a.run(&format!("CLIENT KILL ID {id}")), Value::Int(1));
    assert_eq!(b.try_read(), None);
    assert_eq!(a.run("CLIENT KILL 1.1.1.1:1").text(), "ERR No such client");
    assert_eq!(a.run("CLIENT KILL SKIPME no"), Value::Int(1));
    assert_eq!(a.try_read(), None);
}

/// It was 0 whatever a connection did.
#[test]
fn argv_mem_is_that_of_the_command_under_way() {
    let server = Server::start(&[]);
    let (mut a, mut b) = (server.connect(), server.connect());
    let field = |line: &str, name: &str| -> usize {
        line.split(&format!(" {name}=")).nth(1).and_then(|rest| rest.split(' ').next()).unwrap().parse().unwrap()
    };
    let own = a.run("CLIENT INFO").text();
    assert_eq!(field(&own, "argv-mem"), "CLIENTINFO".len(), "{own}");
    a.run("MULTI");
    a.run("CLIENT INFO");
    let queued = a.run("EXEC").items()[0].text();
    assert_eq!(field(&queued, "argv-mem"), "EXEC".len(), "{queued}");
    let list = format!("CLIENT LIST ID {}", b.run("CLIENT ID").int());
    let mut until = |what: &str, argv: usize, held: usize| {
        a.until(what, |a| {
            let line = a.run(&list).text();
            assert!(field(&line, "tot-mem") > argv + held, "{line}");
            (field(&line, "argv-mem"), field(&line, "qbuf")) == (argv, held)
        });
    };
    until("nothing", 0, 0);
    // Two arguments with their frames, and something of a third.
    b.send_raw(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$10\r\nabcde");
    until("half a request", 4, 30 - 4);
    b.send_raw(b"fghij\r\n");
    assert_eq!(b.read().text(), "OK");
    until("no request", 0, 0);
    b.send(&[b"BLPOP", b"list", b"0"]);
    until("a blocked command", "BLPOPlist0".len(), 0);
    b.send_raw(b"*2\r\n$3\r\nGET\r\n");
    until("something after it", "BLPOPlist0".len(), 13);
    server.connect().run("RPUSH list x");
    assert_eq!(b.read().texts(), ["list", "x"]);
    until("what came after it", 3, 10);
    b.send_raw(b"$1\r\nk\r\n");
    assert_eq!(b.read().text(), "abcdefghij");
    let mut c = server.connect();
    c.run("CLIENT PAUSE 100000 WRITE");
    b.send(&[b"SET", b"k", b"value"]);
    until("a command that is held back", "SETkvalue".len(), 31 - 9);
    c.run("CLIENT UNPAUSE");
    assert_eq!(b.read().text(), "OK");
    until("nothing again", 0, 0);
}

#[test]
fn commands_describe_themselves() {
    let server = Server::start(&[]);
    let mut c = server.connect();
    let count = c.run("COMMAND COUNT").int() as usize;
    assert_eq!(c.run("COMMAND").items().len(), count);
    assert_eq!(c.run("COMMAND DOCS").items().len(), count * 2);
    let info = c.run("COMMAND INFO get config|get nosuch");
    assert_eq!(info.items()[0].items()[0].text(), "get");
    assert_eq!(info.items()[1].items()[0].text(), "config|get");
    assert_eq!(info.items()[2], Value::NilArray);
    assert_eq!(c.run("COMMAND GETKEYS mset a 1 b 2").texts(), ["a", "b"]);
    assert!(c.run("COMMAND GETKEYS ping").text().contains("has no key arguments"));
    for line in ["nosuch", "client nosuch", "command nosuch"] {
        assert!(c.run(&format!("COMMAND GETKEYS {line}")).text().contains("Invalid command specified"), "{line}");
    }
    assert!(c.run("COMMAND GETKEYS eval s -1 k").items().is_empty());
    assert!(c.run("COMMAND GETKEYS zunionstore d 0 k").text().contains("Invalid arguments specified"));
    let list = c.run("COMMAND LIST FILTERBY PATTERN xyz*");
    assert!(list.items().is_empty());
    assert!(c.run("COMMAND LIST FILTERBY ACLCAT hash").texts().contains(&"hset".to_owned()));
    assert!(c.run("COMMAND NOPE").text().contains("unknown subcommand"));
}

#[test]
fn databases_are_flushed_and_swapped() {
    let server = Server::start(&[]);
    let mut c = server.connect();
    c.run("SET a 1");
    c.run("SELECT 1");
    c.run("SET b 2");
    assert_eq!(c.run("SWAPDB 0 1").text(), "OK");
    assert_eq!((c.run("GET a").text(), c.run("DBSIZE").int()), ("1".into(), 1));
    assert_eq!(c.run("FLUSHDB ASYNC").text(), "OK");
    assert_eq!(c.run("DBSIZE").int(), 0);
    c.run("SELECT 0");
    assert_eq!(c.run("DBSIZE").int(), 1);
    assert_eq!(c.run("FLUSHALL SYNC").text(), "OK");
    assert_eq!(c.run("DBSIZE").int(), 0);
    assert!(c.run("FLUSHALL NOW").text().contains("syntax error"));
    assert!(c.run("SWAPDB a 1").text().contains("invalid first DB index"));
    assert!(c.run("SELECT 16").text().contains("DB index is out of range"));
}

#[test]
fn slow_and_large_commands_are_logged() {
    let server = Server::start(&["--slowlog-log-slower-than", "0", "--commandlog-request-larger-than", "1000"]);
    let mut c = server.connect();
    c.run("SLOWLOG RESET");
    c.run("SET a 1");
    let log = c.run("SLOWLOG GET 1");
    assert_eq!(log.items()[0].items()[3].texts(), ["SET", "a", "1"]);
    c.command(&[b"SET", b"big", &[b'x'; 2000]]);
    assert_eq!(c.run("COMMANDLOG LEN large-request").int(), 1);
    let entry = c.run("COMMANDLOG GET -1 large-request");
    assert!(entry.items()[0].items()[3].texts()[2].ends_with("... (1872 more bytes)"));
    assert_eq!(c.run("COMMANDLOG RESET large-request").text(), "OK");
    assert!(c.run("COMMANDLOG LEN x").text().contains("type should be one of"));
}

#[test]
fn monitor_sees_what_others_do() {
    let server = Server::start(&[]);
    let (mut watcher, mut worker) = (server.connect(), server.connect());
    assert_eq!(watcher.run("MONITOR").text(), "OK");
    worker.command(&[b"SET", b"a b", b"\"\n"]);
    let line = watcher.read().text();
    assert!(line.contains(" [0 127.0.0.1:") && line.ends_with("\"SET\" \"a b\" \"\\\"\\n\""), "{line}");
}

#[test]
fn debug_is_off_unless_allowed() {
    let port = free_port();
    let mut command = dunlin();
    command.args(["--port", &port.to_string()]);
    let server = Server::run(command, port);
    assert!(server.connect().run("DEBUG SLEEP 0").text().contains("DEBUG command not allowed"));
    let server = Server::start(&[]);
    let mut c = server.connect();
    assert_eq!(c.run("DEBUG SLEEP 0.01").text(), "OK");
    assert_eq!(c.run("DEBUG DIGEST").text(), "0".repeat(40));
    c.run("DEBUG POPULATE 100 k 50");
    assert_eq!(c.run("DBSIZE").int(), 100);
    let before = c.run("DEBUG DIGEST").text();
    c.run("SET x 1");
    assert_ne!(c.run("DEBUG DIGEST").text(), before);
    c.run("DEL x");
    assert_eq!(c.run("DEBUG DIGEST").text(), before);
    assert!(c.run("DEBUG OBJECT nokey").text().contains("no such key"));
    assert!(c.run("DEBUG OBJECT k:1").text().contains("encoding:"));
    assert!(c.run("DEBUG NOPE").text().contains("unknown subcommand"));
}

#[test]
fn shutdown_and_signals_end_the_server_cleanly() {
    let server = Server::start(&[]);
    let mut c = server.connect();
    assert!(c.run("SHUTDOWN ABORT").text().contains("No shutdown in progress"));
    assert!(c.run("SHUTDOWN SAVE NOSAVE").text().contains("syntax error"));
    c.send(&[b"SHUTDOWN", b"NOSAVE"]);
    assert_eq!(c.try_read(), None);
    assert_eq!(server.wait(), Some(0));
    for signal in ["TERM", "INT"] {
        let server = Server::start(&[]);
        server.signal(signal);
        assert_eq!(server.wait(), Some(0), "{signal}");
    }
}

/// A client saw its connection close and could still open another one for a moment.
#[test]
fn who_sees_the_server_end_finds_nobody_listening() {
    for _ in 0..5 {
        let server = Server::start(&[]);
        let mut c = server.connect();
        c.send(&[b"SHUTDOWN", b"NOSAVE"]);
        assert_eq!(c.try_read(), None);
        let error = std::net::TcpStream::connect(("127.0.0.1", server.port)).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
        assert_eq!(server.wait(), Some(0));
    }
}

#[test]
fn the_kernels_score_follows_options_and_role() {
    let server = Server::start(&["--oom-score-adj-values", "10 20 30"]);
    let mut c = server.connect();
    let path = format!("/proc/{}/oom_score_adj", server.pid());
    let score = || std::fs::read_to_string(&path).unwrap().trim().parse::<i64>().unwrap();
    let base = score();
    let mut set = |line: &str| c.run(line).text();
    assert_eq!((set("CONFIG SET oom-score-adj yes"), score()), ("OK".into(), base + 10));
    assert_eq!((set("REPLICAOF 127.0.0.1 1"), score()), ("OK".into(), base + 20));
    assert_eq!((set("REPLICAOF NO ONE"), score()), ("OK".into(), base + 10));
    assert_eq!((set("CONFIG SET oom-score-adj no"), score()), ("OK".into(), base));
    assert_eq!((set("CONFIG SET oom-score-adj absolute"), score()), ("OK".into(), 10));
    drop(server);
    let server = Server::start(&["--oom-score-adj", "relative"]);
    let score = std::fs::read_to_string(format!("/proc/{}/oom_score_adj", server.pid())).unwrap();
    assert_eq!(score.trim().parse::<i64>().unwrap(), base, "a primary's score is 0 by default");
}

#[test]
fn memory_is_explained() {
    let server = Server::start(&[]);
    let mut c = server.connect();
    c.run("SET a 1");
    assert!(c.run("MEMORY USAGE a").int() > 0);
    // A database whose keys are all gone is still shown.
    c.run("SELECT 5");
    c.run("SET b 1");
    c.run("DEL b");
    assert!(c.run("MEMORY STATS").items().chunks(2).any(|pair| pair[0].text() == "db.5"));
    c.run("SELECT 0");
    assert_eq!(c.run("MEMORY USAGE nokey"), Value::Nil);
    assert!(c.run("MEMORY USAGE a SAMPLES -1").text().contains("syntax error"));
    let stats = c.run("MEMORY STATS");
    assert!(stats.items().chunks(2).any(|pair| pair[0].text() == "keys.count" && pair[1] == Value::Int(1)));
    let figure = |c: &mut Conn, name: &str| {
        let stats = c.run("MEMORY STATS");
        stats.items().chunks(2).find(|pair| pair[0].text() == name).map(|pair| pair[1].int())
    };
    assert_eq!(figure(&mut c, "aof.buffer"), Some(0), "there is no append-only file");
    let overhead = figure(&mut c, "overhead.total");
    c.run("CONFIG SET appendonly yes");
    c.until("the file", |c| c.run("INFO persistence").text().contains("aof_buffer_length"));
    // It was 0 as soon as everything was written, though its memory was still there.
    c.command(&[b"SET", b"big", &[b'x'; 100_000]]);
    c.until("the write", |c| c.info("aof_buffer_length") == "0");
    assert!(figure(&mut c, "aof.buffer").is_some_and(|n| n >= 100_000));
    assert!(figure(&mut c, "overhead.total") >= overhead.map(|n| n + 100_000));
    assert_eq!(c.run("MEMORY PURGE").text(), "OK");
    assert!(c.run("MEMORY DOCTOR").text().contains("Sam"));
    assert!(c.run("MEMORY MALLOC-STATS").text().contains("jemalloc"));
    assert_eq!(c.run("DEBUG MALLCTL arenas.page").int(), 4096);
    assert_eq!(c.run("DEBUG MALLCTL no.such").text(), "ERR No such file or directory");
    assert_eq!(c.run("DEBUG MALLCTL-STR thread.tcache.flush VOID").text(), "OK");
    assert!(c.run("DEBUG MALLCTL-STR version").text().starts_with("jemalloc-5"));
    // What it would read there is no text.
    assert!(c.run("DEBUG MALLCTL-STR arenas.page").is_error());
}

#[test]
fn debug_ends_the_process_as_errors_do() {
    for (how, said) in [("PANIC", "BUG REPORT START"), ("ASSERT", "ASSERTION FAILED"), ("SEGFAULT", "signal 11")] {
        let server = Server::start(&[]);
        let mut c = server.connect();
        c.send(&[b"DEBUG", how.as_bytes()]);
        server.wait_for_log(said);
        assert!(c.is_closed());
        assert_eq!(server.wait(), None, "by a signal");
    }
}

#[test]
fn latency_is_monitored_on_request() {
    let server = Server::start(&["--latency-monitor-threshold", "1"]);
    let mut c = server.connect();
    c.run("DEBUG SLEEP 0.02");
    let latest = c.run("LATENCY LATEST");
    assert_eq!(latest.items()[0].items()[0].text(), "command");
    assert!(latest.items()[0].items()[2].int() >= 20);
    assert_eq!(c.run("LATENCY HISTORY command").items().len(), 1);
    assert!(c.run("LATENCY GRAPH command").text().contains("command - high"));
    assert!(c.run("LATENCY GRAPH nothing").text().contains("No samples available for event 'nothing'"));
    assert!(c.run("LATENCY DOCTOR").text().contains("command: 1 latency spikes"));
    assert_eq!(c.run("LATENCY RESET").int(), 1);
    let histogram = c.run("LATENCY HISTOGRAM latency|reset nosuch");
    assert_eq!(histogram.items()[0].text(), "latency|reset");
}

#[test]
fn latency_tells_of_the_append_only_file() {
    let server = Server::start(&["--latency-monitor-threshold", "1", "--appendonly", "yes"]);
    let mut c = server.connect();
    let events = |c: &mut Conn| -> Vec<String> {
        c.run("LATENCY LATEST").items().iter().map(|event| event.items()[0].text().to_owned()).collect()
    };
    // So much takes longer than a millisecond on any disk.
    let big = vec![b'x'; 64 << 20];
    assert_eq!(c.command(&[b"SET", b"big", &big[..]]).text(), "OK");
    c.until("the write is told of", |c| {
        let seen = events(c);
        seen.contains(&"aof-write".to_owned()) && seen.contains(&"aof-write-alone".to_owned())
    });
    assert!(!events(&mut c).contains(&"aof-fsync-always".to_owned()));
    assert!(c.run("LATENCY DOCTOR").text().contains("disk of its own"));
    c.run("LATENCY RESET");
    c.run("CONFIG SET latency-monitor-threshold 0");
    assert_eq!(c.command(&[b"SET", b"big", &big[..]]).text(), "OK");
    assert_eq!(c.run("LATENCY LATEST").items().len(), 0);
}

#[test]
fn addresses_and_port_change_while_it_runs() {
    let server = Server::start(&["--bind", "127.0.0.1"]);
    let mut c = server.connect();
    // The same address again, and more of them: the old sockets are not in the way.
    assert_eq!(c.run("CONFIG SET port 0").text(), "OK");
    assert!(std::net::TcpStream::connect(("127.0.0.1", server.port)).is_err());
    let other = free_port();
    assert_eq!(c.run(&format!("CONFIG SET port {other}")).text(), "OK");
    assert_eq!(Conn::open(other).run("PING").text(), "PONG");
    let addresses: [&[u8]; 4] = [b"CONFIG", b"SET", b"bind", b"* -::*"];
    assert_eq!(c.command(&addresses).text(), "OK");
    assert_eq!(Conn::open(other).run("PING").text(), "PONG");
    let error = c.run("CONFIG SET bind 999.999.999.999").text();
    assert_eq!(
        error,
        "ERR CONFIG SET failed (possibly related to argument 'bind') - Failed to bind to specified addresses."
    );
    assert_eq!(c.config("bind"), "* -::*");
    assert_eq!(Conn::open(other).run("PING").text(), "PONG");
}

/// A killed connection was once taken off the count twice, and the server then refused everybody.
#[test]
fn killed_connections_make_room_for_others() {
    let server = Server::start(&[]);
    let mut c = server.connect();
    for _ in 0..20 {
        let mut others: Vec<Conn> = (0..3).map(|_| server.connect()).collect();
        others.iter_mut().for_each(|other| assert_eq!(other.run("PING").text(), "PONG"));
        assert_eq!(c.run("CLIENT KILL SKIPME yes"), Value::Int(3));
        assert_eq!(c.info("connected_clients"), "1");
        others.iter_mut().for_each(|other| assert_eq!(other.try_read(), None));
    }
}

/// It was a map, which redis-py could not read.
#[test]
fn numbers_of_subscribers_are_an_array_in_resp3_too() {
    let server = Server::start(&[]);
    let mut c = server.connect();
    assert!(!c.run("HELLO 3").is_error());
    for command in ["NUMSUB", "SHARDNUMSUB"] {
        let reply = c.run(&format!("PUBSUB {command} a b"));
        assert_eq!(reply, Value::Array(vec![bulk("a"), Value::Int(0), bulk("b"), Value::Int(0)]));
    }
}

fn bulk(text: &str) -> Value {
    Value::Bulk(text.as_bytes().to_vec())
}

/// Only sorted sets were turned round.
#[test]
fn a_list_that_is_not_sorted_comes_from_its_end_if_asked_to() {
    let server = Server::start(&[]);
    let mut c = server.connect();
    c.run("RPUSH l 2 3 1");
    assert_eq!(c.run("SORT l BY nosort").texts(), ["2", "3", "1"]);
    assert_eq!(c.run("SORT l BY nosort DESC LIMIT 0 2").texts(), ["1", "3"]);
}

/// It was the null of LMOVE.
#[test]
fn a_move_that_waited_in_vain_ends_with_a_null_array() {
    let server = Server::start(&[]);
    let mut c = server.connect();
    assert_eq!(c.run("BLMOVE a b LEFT LEFT 0.01"), Value::NilArray);
    assert_eq!(c.run("BRPOPLPUSH a b 0.01"), Value::NilArray);
    c.run("MULTI");
    c.run("BRPOPLPUSH a b 0");
    assert_eq!(c.run("EXEC").items(), [Value::Nil]);
}

/// The sum of what is left of them overflowed.
#[test]
fn keys_that_expire_at_the_end_of_time_stop_no_expiry_pass() {
    let server = Server::start(&["--io-threads", "1"]);
    let mut c = server.connect();
    for key in ["a", "b", "c"] {
        c.run(&format!("SET {key} v PXAT 9223372036854775807"));
    }
    c.run("SET short v PX 1");
    c.until("a pass", |c| c.run("DBSIZE").int() == 3);
    assert!(c.info("db0").contains("avg_ttl="), "{}", c.info("db0"));
}

#[test]
fn a_hash_seed_orders_keys_alike_on_all_nodes() {
    let order = |args: &[&str]| {
        let server = Server::start(args);
        let mut c = server.connect();
        for i in 0..200 {
            c.run(&format!("SET {{t}}{i} x"));
            c.run(&format!("SADD set {{t}}{i}"));
        }
        let (mut found, mut cursors, mut cursor) = (Vec::new(), Vec::new(), "0".to_owned());
        loop {
            let reply = c.run(&format!("SCAN {cursor}"));
            cursor = reply.items()[0].text();
            found.extend(reply.items()[1].texts());
            cursors.push(cursor.clone());
            if cursor == "0" {
                break;
            }
        }
        let members = c.run("SSCAN set 0 COUNT 1000").items()[1].texts();
        assert!(found.len() == 201 && members.len() == 200);
        (found, cursors, members)
    };
    let first = order(&["--hash-seed", "of all nodes"]);
    assert_eq!(order(&["--hash-seed", "of all nodes"]), first);
    assert_ne!(order(&["--hash-seed", "another"]).0, first.0);
    assert_ne!(order(&[]).0, order(&[]).0);
    assert!(fails(&["--hash-seed", &"x".repeat(257)]).contains("hash-seed must be at most 256 characters"));
}

#[test]
fn what_valkey_9_says_otherwise_than_redis_7() {
    let server = Server::start(&[]);
    let mut c = server.connect();
    // Options come in the order of their names.
    let Value::Array(pairs) = c.run("CONFIG GET *max*") else { panic!("no array") };
    let names: Vec<String> = pairs.iter().step_by(2).map(Value::text).collect();
    assert!(names.len() > 10 && names.is_sorted(), "{names:?}");
    // A transaction can not lose the replies to its own commands.
    c.run("MULTI");
    assert_eq!(c.run("CLIENT REPLY OFF").text(), "ERR Command not allowed inside a transaction");
    assert!(c.run("EXEC").text().starts_with("EXECABORT"));
    assert!(c.run("CLIENT INFO").text().contains(" flags=N capa= db=0 "));
    c.run("CLIENT CAPA redirect");
    assert!(c.run("CLIENT INFO").text().contains(" flags=N capa=r db=0 "));
    // Slots are numbers also where there is no cluster.
    assert_eq!(c.run("CLUSTER KEYSLOT foo{hash_tag}").int(), 2515);
    assert_eq!(c.run("CLUSTER MYID").text(), "ERR This instance has cluster support disabled");
}

#[test]
fn info_tells_of_pauses_and_of_what_workers_do() {
    let server = Server::start(&["--io-threads", "2"]);
    let mut c = server.connect();
    let state = |c: &mut Conn| ["paused_reason", "paused_actions", "paused_timeout_milliseconds"].map(|f| c.info(f));
    assert_eq!(state(&mut c), ["none", "none", "0"]);
    c.run("CLIENT PAUSE 100000 WRITE");
    let [reason, actions, left] = state(&mut c);
    assert_eq!((&reason[..], &actions[..]), ("client_pause", "write"));
    assert!((50_000..=100_000).contains(&left.parse().unwrap()), "{left}");
    c.run("CLIENT UNPAUSE");
    assert_eq!(state(&mut c), ["none", "none", "0"]);
    c.until("time on a CPU", |c| c.info("used_active_time_main_thread").parse::<f64>().is_ok_and(|s| s > 0.0));
    assert!(c.info("used_active_time_io_thread_1").parse::<f64>().is_ok());
}

#[test]
fn threads_run_on_the_cpus_of_their_lists() {
    let list = |task: &std::path::Path| {
        let status = std::fs::read_to_string(task.join("status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("Cpus_allowed_list:")).unwrap();
        line.split_once(':').unwrap().1.trim().to_owned()
    };
    let allowed = |pid: u32, thread: &str| {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let name = |task: &std::path::Path| std::fs::read_to_string(task.join("comm")).unwrap_or_default();
        let mut found = tasks.map(|task| task.unwrap().path()).filter(|task| name(task).trim_end() == thread);
        list(&found.next().unwrap_or_else(|| panic!("no thread {thread}")))
    };
    // One that there is.
    let free = list("/proc/thread-self".as_ref());
    let cpu: String = free.chars().take_while(char::is_ascii_digit).collect();
    let dir = TempDir::in_memory();
    let path = dir.0.to_str().unwrap();
    let server = Server::start(&["--server-cpulist", &cpu, "--appendonly", "yes", "--dir", path]);
    let mut c = server.connect();
    let times = c.run("INFO cpu").text();
    assert!(times.contains("main_thread:") && !times.contains("io_thread_1:"), "a worker for each CPU: {times}");
    for thread in ["worker-0", "lazyfree", "aof"] {
        assert_eq!(allowed(server.pid(), thread), cpu, "{thread}");
    }
    let server = Server::start(&["--bio-cpulist", &cpu]);
    assert_eq!(allowed(server.pid(), "lazyfree"), cpu);
    assert_eq!(allowed(server.pid(), "worker-0"), free);
    assert!(fails(&["--server-cpulist", "1-"]).contains("argument must be a list of CPUs"));
    assert!(fails(&["--bgsave-cpulist", "1023"]).contains("Can't bind threads to the CPUs of bgsave-cpulist"));
}
