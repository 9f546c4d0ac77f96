//! The debugger of scripts: SCRIPT DEBUG, sessions over bare sockets and with redis-cli, and what others see of one.

mod support;

use std::io::Write;
use std::process::Stdio;

use support::{Conn, Server, Value};

const BUSY: &str = "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";
const STOPPED: &str = "* Stopped at 1, stop reason = step over";

/// A connection whose script has stopped at its first line.
fn session(server: &Server, code: &str, keys: &[&str]) -> Conn {
    begin(server, "SCRIPT DEBUG SYNC", code, keys)
}

/// The same on a copy of the data.
fn copied(server: &Server, code: &str, keys: &[&str]) -> Conn {
    begin(server, "SCRIPT DEBUG YES", code, keys)
}

fn begin(server: &Server, mode: &str, code: &str, keys: &[&str]) -> Conn {
    let mut c = server.connect();
    assert_eq!(c.run(mode).text(), "OK");
    let n = keys.len().to_string();
    let mut argv: Vec<&[u8]> = vec![b"EVAL", code.as_bytes(), n.as_bytes()];
    argv.extend(keys.iter().map(|k| k.as_bytes()));
    assert!(c.command(&argv).texts()[0].starts_with("* Stopped at "));
    c
}

fn eval(c: &mut Conn, name: &[u8], code: &str) -> Value {
    c.command(&[name, code.as_bytes(), b"0"])
}

fn say(c: &mut Conn, words: &[&str]) -> Vec<String> {
    let argv: Vec<&[u8]> = words.iter().map(|w| w.as_bytes()).collect();
    c.command(&argv).texts()
}

#[test]
fn a_script_is_stepped_through_and_looked_into() {
    let server = Server::start(&[]);
    let code = "local a = {1, 2, x = 'y'}\n\
                local b = redis.call('set', KEYS[1], 'v')\n\
                local function f(n)\n\
                return redis.call('get', KEYS[1])\n\
                end\n\
                redis.debug(a, 'hi', nil)\n\
                local c = f(5)\n\
                return c\n\n";
    let mut c = session(&server, code, &["k"]);
    assert_eq!(
        say(&mut c, &["s"]),
        ["* Stopped at 2, stop reason = step over", "-> 2   local b = redis.call('set', KEYS[1], 'v')"]
    );
    assert_eq!(
        say(&mut c, &["NEXT"]),
        ["<command> set k v", "<reply> \"+OK\"", "* Stopped at 5, stop reason = step over", "-> 5   end"]
    );
    assert_eq!(say(&mut c, &["p"]), ["<value> a = {[1]=1; [2]=2; [\"x\"]=\"y\"}", "<value> b = {[\"ok\"]=\"OK\"}"]);
    assert_eq!(say(&mut c, &["print", "KEYS"]), ["<value> {\"k\"}"]);
    assert_eq!(say(&mut c, &["print", "ARGV"]), ["<value> {}"]);
    assert_eq!(say(&mut c, &["p", "nosuch"]), ["No such variable."]);
    assert_eq!(say(&mut c, &["b"]), ["No breakpoints set. Use 'b <line>' to add one."]);
    assert_eq!(
        say(&mut c, &["b", "4", "99", "x", "4"]),
        [
            "   3   local function f(n)",
            "  #4   return redis.call('get', KEYS[1])",
            "-> 5   end",
            "Wrong line number.",
            "Invalid argument:'x'",
            "Wrong line number."
        ]
    );
    assert_eq!(say(&mut c, &["break"]), ["1 breakpoints set:", "  #4   return redis.call('get', KEYS[1])"]);
    assert_eq!(
        say(&mut c, &["l", "1", "1"]),
        ["   1   local a = {1, 2, x = 'y'}", "   2   local b = redis.call('set', KEYS[1], 'v')"]
    );
    assert_eq!(say(&mut c, &["list"]).len(), 8);
    assert_eq!(say(&mut c, &["w"]).len(), 8);
    assert_eq!(
        say(&mut c, &["c"]),
        [
            "<debug> line 6: {[1]=1; [2]=2; [\"x\"]=\"y\"}, \"hi\", nil",
            "* Stopped at 4, stop reason = break point",
            "->#4   return redis.call('get', KEYS[1])"
        ]
    );
    assert_eq!(
        say(&mut c, &["t"]),
        ["In f:", "->#4   return redis.call('get', KEYS[1])", "From top level:", "   7   local c = f(5)"]
    );
    assert_eq!(say(&mut c, &["p"]), ["<value> n = 5"]);
    assert_eq!(say(&mut c, &["p", "b"]), ["<value> {[\"ok\"]=\"OK\"}"]);
    assert_eq!(say(&mut c, &["e", "redis.call('get',", "'k')"]), ["<retval> \"v\""]);
    assert_eq!(say(&mut c, &["e", "x="]), ["<error> ldb_eval:1: unexpected symbol near '<eof>'"]);
    assert_eq!(say(&mut c, &["e", "\x1bLua"]).len(), 1);
    assert_eq!(say(&mut c, &["server", "ping"]), ["<command> ping", "<reply> \"+PONG\""]);
    assert_eq!(say(&mut c, &["r", "nosuch"]), ["<command> nosuch", "<error> Unknown command called from script"]);
    assert_eq!(
        say(&mut c, &["b", "-4", "-4", "0"]),
        ["Breakpoint removed.", "No breakpoint in the specified line.", "All breakpoints removed."]
    );
    let unknown = ["<error> Unknown Lua debugger command or wrong number of arguments."];
    assert_eq!(say(&mut c, &["bogus"]), unknown);
    assert_eq!(say(&mut c, &["redis"]), unknown);
    assert_eq!(say(&mut c, &["'hello\0world'"]), unknown);
    assert_eq!(say(&mut c, &["help"]).len(), 30);
    // The end: what was left to say, then the reply of EVAL, then the connection closes.
    assert_eq!(say(&mut c, &["c"]), ["<endsession>"]);
    assert_eq!(c.read().text(), "v");
    assert!(c.is_closed());
    // What it did stays.
    assert_eq!(server.connect().run("GET k").text(), "v");
}

#[test]
fn long_values_are_trimmed_until_one_asks_for_all() {
    let server = Server::start(&[]);
    let mut c = session(&server, "local a = string.rep('x', 300)\nreturn 1", &[]);
    say(&mut c, &["s"]);
    let trimmed = |n: usize| format!("<value> \"{} ...", "x".repeat(n - 9));
    let hint = "<hint> The above reply was trimmed. Use 'maxlen 0' to disable trimming.".to_owned();
    assert_eq!(say(&mut c, &["p", "a"]), [trimmed(256), hint]);
    assert_eq!(say(&mut c, &["p", "a"]), [trimmed(256)]);
    assert_eq!(say(&mut c, &["m"]), ["<value> replies are truncated at 256 bytes."]);
    assert_eq!(say(&mut c, &["maxlen", "10"]), ["<value> replies are truncated at 60 bytes."]);
    assert_eq!(say(&mut c, &["p", "a"]), [trimmed(60)]);
    assert_eq!(say(&mut c, &["m", "0"]), ["<value> replies are unlimited."]);
    assert_eq!(say(&mut c, &["p", "a"]), [format!("<value> \"{}\"", "x".repeat(300))]);
    // A table that holds itself many times ends, too.
    let wide = "(function() local t = {} for i = 1, 100 do t[i] = t end return t end)()";
    let lines = say(&mut c, &["e", wide]);
    assert!(lines[0].len() < 2 << 20 && lines[0].ends_with(" ..."), "{}", lines[0].len());
}

#[test]
fn a_script_stops_itself_and_an_endless_one_is_stopped() {
    let server = Server::start(&["--busy-reply-threshold", "50"]);
    let mut c = session(&server, "local n = 0\nif redis.breakpoint() then n = 1 end\nwhile n < 5 do\nn = n\nend", &[]);
    assert_eq!(say(&mut c, &["c"])[0], "* Stopped at 3, stop reason = server.breakpoint() called");
    let late = say(&mut c, &["c"]);
    assert!(late[0].ends_with("stop reason = timeout reached, infinite loop?"), "{late:?}");
    // Abort is an error of the script.
    c.send(&[b"abort"]);
    assert_eq!(c.read().texts(), ["<endsession>"]);
    let Value::Error(text) = c.read() else { panic!("no error") };
    assert!(text.starts_with("ERR script aborted for user request script: "), "{text}");
    assert!(c.is_closed());
    assert_eq!(eval(&mut server.connect(), b"EVAL", "return redis.breakpoint() == false").int(), 1);
}

#[test]
fn others_wait_are_told_that_it_is_busy_and_can_end_it() {
    let server = Server::start(&["--io-threads", "1", "--busy-reply-threshold", "20"]);
    let (mut a, mut b) = (server.connect(), server.connect());
    let mut c = session(&server, "local a = 1\nreturn a", &["k"]);
    for other in [&mut a, &mut b, &mut server.connect()] {
        assert_eq!(other.run("GET elsewhere"), Value::Error(BUSY.into()));
        assert_eq!(other.run("SCRIPT DEBUG NO"), Value::Error(BUSY.into()));
    }
    assert_eq!(a.run("SCRIPT KILL").text(), "OK");
    assert_eq!(c.read().texts(), ["<endsession>"]);
    assert!(c.read().text().contains("Script killed by user with SCRIPT KILL."));
    assert!(c.is_closed());
    a.until("it is over", |a| a.run("SET elsewhere 1") == Value::Simple("OK".into()));
    // One that has written is not ended so.
    let mut c = session(&server, "redis.call('set', KEYS[1], 1)\nreturn 1", &["k"]);
    say(&mut c, &["s"]);
    assert!(a.run("SCRIPT KILL").text().starts_with("UNKILLABLE"));
    assert_eq!(say(&mut c, &["s"])[0], "<endsession>");
    a.until("it is over", |a| a.run("GET k") == Value::Bulk(b"1".to_vec()));
}

#[test]
fn a_client_that_leaves_lets_its_script_run_to_the_end() {
    let server = Server::start(&["--busy-reply-threshold", "50"]);
    let mut a = server.connect();
    drop(session(&server, "local n = 1\nredis.call('set', KEYS[1], n)", &["k"]));
    a.until("it was executed", |a| a.run("GET k") == Value::Bulk(b"1".to_vec()));
    // An endless one is ended, and so is endless code that the client had evaluated.
    drop(session(&server, "local n = 1\nwhile true do\nn = 1\nend", &["k"]));
    a.until("it is ended", |a| a.run("GET k") == Value::Bulk(b"1".to_vec()));
    let mut c = session(&server, "local n = 1\nreturn n", &["k"]);
    c.send(&[b"e", b"while true do pcall(function() while true do end end) end"]);
    assert_eq!(a.run("GET k"), Value::Error(BUSY.into()));
    drop(c);
    a.until("it is ended", |a| a.run("GET k") == Value::Bulk(b"1".to_vec()));
}

#[test]
fn a_command_that_comes_while_a_session_ends_waits_for_that() {
    // As with a client that connects anew to begin anew.
    let server = Server::start(&["--io-threads", "2"]);
    for _ in 0..20 {
        let old = session(&server, "local n = 1\nredis.call('incr', KEYS[1])", &["k"]);
        let mut new = server.connect();
        new.send(&[b"GET", b"k"]);
        drop(old);
        assert!(!new.read().is_error());
    }
    assert_eq!(server.connect().run("GET k").text(), "20");
}

#[test]
fn bytes_that_are_no_commands_end_the_session() {
    let server = Server::start(&[]);
    let over = format!("*2\r\n$1\r\ne\r\n$1025\r\n{}", "x".repeat(1025));
    let endless = format!("*{}", "1".repeat(2 << 20));
    for (bytes, why) in [
        (&b"PING\r\n"[..], "protocol error"),
        (b"*0\r\n", "protocol error"),
        (over.as_bytes(), "protocol error"),
        (endless.as_bytes(), "max client buffer reached"),
    ] {
        let mut c = session(&server, "local a = 1\nreturn a", &[]);
        c.send_raw(bytes);
        assert_eq!(c.read().texts(), ["<endsession>"]);
        let Value::Error(text) = c.read() else { panic!("no error") };
        assert!(text.starts_with(&format!("ERR {why} script: ")), "{text}");
    }
    // Byte by byte, and several at once.
    let mut c = session(&server, "local a = 1\nlocal b = 2\nreturn a", &[]);
    for byte in b"*1\r\n$1\r\ns\r\n" {
        c.send_raw(&[*byte]);
    }
    assert_eq!(c.read().texts()[0], "* Stopped at 2, stop reason = step over");
    c.send_raw(b"*1\r\n$1\r\np\r\n*1\r\n$1\r\nc\r\n");
    assert_eq!(c.read().texts(), ["<value> a = 1"]);
    assert_eq!(c.read().texts(), ["<endsession>"]);
    // The server is well.
    assert_eq!(server.connect().run("PING").text(), "PONG");
}

#[test]
fn what_is_debugged_and_when() {
    let server = Server::start(&[]);
    let mut c = server.connect();
    assert_eq!(c.run("SCRIPT DEBUG maybe"), Value::Error("ERR Use SCRIPT DEBUG YES/SYNC/NO".into()));
    c.send_raw(b"PING\r\nSCRIPT DEBUG SYNC\r\n");
    assert_eq!(c.read().text(), "PONG");
    let outside = Value::Error("ERR SCRIPT DEBUG must be called outside a pipeline".into());
    assert_eq!(c.read(), outside);
    c.run("MULTI");
    c.run("SCRIPT DEBUG SYNC");
    assert_eq!(c.run("EXEC").items(), [outside]);
    let sha = c.command(&[b"SCRIPT", b"LOAD", b"return 5"]).text();
    c.run("SCRIPT DEBUG SYNC");
    let e = "ERR Please use EVAL instead of EVALSHA for debugging";
    assert_eq!(c.run(&format!("EVALSHA {sha} 0")), Value::Error(e.into()));
    assert_eq!(c.run("SCRIPT DEBUG NO").text(), "OK");
    assert_eq!(c.run(&format!("EVALSHA {sha} 0")).int(), 5);
    assert_eq!(eval(&mut c, b"EVAL", "return 1").int(), 1);
    // A text that does not compile ends the session at once; a read-only one is debugged, too.
    c.run("SCRIPT DEBUG SYNC");
    assert_eq!(eval(&mut c, b"EVAL", "return (").texts(), ["<endsession>"]);
    assert!(c.read().text().contains("Error compiling script"));
    assert!(c.is_closed());
    let mut c = server.connect();
    c.run("SCRIPT DEBUG SYNC");
    assert_eq!(eval(&mut c, b"EVAL_RO", "return 1").texts()[0], STOPPED);
    assert_eq!(say(&mut c, &["c"]), ["<endsession>"]);
    assert_eq!(c.read().int(), 1);
    // Replies before it come before it.
    let mut c = server.connect();
    c.send_raw(b"SCRIPT DEBUG SYNC\r\nEVAL 'return 1' 0\r\n");
    assert_eq!(c.read().text(), "OK");
    assert_eq!(c.read().texts()[0], STOPPED);
}

#[test]
fn a_server_that_ends_does_not_wait_for_the_client() {
    let server = Server::start(&[]);
    let mut c = session(&server, "local a = 1\nreturn a", &[]);
    server.connect().send(&[b"SHUTDOWN", b"NOSAVE"]);
    assert_eq!(server.wait(), Some(0));
    while c.try_read().is_some() {}
}

#[test]
fn redis_cli_debugs() {
    for (cli, mode) in [("redis-cli", "--ldb-sync-mode"), ("redis-cli", "--ldb"), ("valkey-cli", "--ldb")] {
        let server = Server::start(&[]);
        let dir = support::TempDir::in_memory();
        let file = dir.file("script.lua", "local a = redis.call('incr', KEYS[1])\nreturn a + ARGV[1]\n");
        let child = std::process::Command::new(cli)
            .args(["-p", &server.port.to_string(), mode, "--eval", &file, "k", ",", "5"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut child) = child else { continue };
        child.stdin.take().unwrap().write_all(b"step\nprint\neval 1 + 1\ncontinue\nquit\n").unwrap();
        let out = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let sync = mode == "--ldb-sync-mode";
        let ended = if sync { "(Lua debugging session ended)" } else { " -- dataset changes rolled back)" };
        for part in [
            "Lua debugging session started",
            STOPPED,
            "<command> incr k",
            "<reply> 1",
            "<value> a = 1",
            "<retval> 2",
            "(integer) 6",
            ended,
        ] {
            assert!(text.contains(part), "{cli}: no {part} in {text}");
        }
        assert_eq!(server.connect().run("GET k").text_or("nothing"), if sync { "1" } else { "nothing" });
    }
}

#[test]
fn a_session_on_a_copy_is_seen_by_nobody_and_sees_nobody() {
    for workers in ["1", "2"] {
        let dir = support::TempDir::in_memory();
        let server = Server::start(&["--io-threads", workers, "--appendonly", "yes", "--dir", dir.0.to_str().unwrap()]);
        let (mut a, mut b) = (server.connect(), server.connect());
        a.run("CONFIG SET notify-keyspace-events KEA");
        a.run("SET k old");
        a.run("RPUSH l 1 2 3");
        a.run("SELECT 3");
        a.run("SET other x");
        b.run("PSUBSCRIBE *");
        let mut watcher = server.connect();
        watcher.run("WATCH k");
        watcher.run("MULTI");
        watcher.run("GET k");
        let before = (a.info("aof_current_size"), a.info("rdb_changes_since_last_save"), a.run("DBSIZE"));
        let code = "redis.call('set', KEYS[1], 'new')\n\
                    redis.call('publish', 'channel', 'x')\n\
                    redis.call('flushall')\n\
                    redis.call('set', KEYS[1], 'last')\n\
                    return redis.call('get', KEYS[1])";
        let mut sessions = [copied(&server, code, &["k"]), copied(&server, code, &["k"])];
        for c in &mut sessions {
            assert_eq!(say(c, &["r", "get", "k"])[1], "<reply> \"old\"");
            assert_eq!(say(c, &["r", "lrange", "l", "0", "-1"])[1], "<reply> [\"1\",\"2\",\"3\"]");
            assert_eq!(say(c, &["s"])[..2], ["<command> set k new", "<reply> \"+OK\""]);
        }
        // Others are served, and what they do is not seen in the sessions.
        assert_eq!(a.run("GET other").text(), "x");
        let mut late = server.connect();
        assert_eq!(late.run("GET k").text(), "old");
        assert_eq!(late.run("SET later 1").text(), "OK");
        for c in &mut sessions {
            assert_eq!(say(c, &["r", "get", "later"])[1], "<reply> NULL");
            assert_eq!(say(c, &["c"]), ["<endsession>"]);
            assert_eq!(c.read().text(), "last");
            assert!(c.is_closed());
        }
        assert_eq!(late.run("DEL later").int(), 1);
        assert_eq!(late.run("GET k").text(), "old");
        assert_eq!(watcher.run("EXEC").texts(), ["old"]);
        // Two changes, and the words about them, are the other client's.
        assert_eq!(a.info("rdb_changes_since_last_save"), (before.1.parse::<u64>().unwrap() + 2).to_string());
        assert_eq!(a.run("DBSIZE"), before.2);
        for channel in ["__keyspace@0__:later", "__keyevent@0__:set", "__keyspace@0__:later", "__keyevent@0__:del"] {
            assert_eq!(b.read().texts()[2], channel);
        }
        assert_ne!(a.info("aof_current_size"), before.0);
        let file = std::fs::read_dir(dir.0.join("appendonlydir")).unwrap().flatten();
        let file = file.map(|f| f.path()).find(|f| f.to_string_lossy().contains(".incr.")).unwrap();
        let logged = String::from_utf8_lossy(&std::fs::read(file).unwrap()).into_owned();
        assert!(logged.contains("later") && !logged.contains("last") && !logged.contains("flushall"), "{logged}");
        // The next one begins with the same data.
        let mut c = copied(&server, code, &["k"]);
        assert_eq!(say(&mut c, &["r", "get", "k"])[1], "<reply> \"old\"");
        assert_eq!(say(&mut c, &["r", "dbsize"])[1], "<reply> 2");
    }
}

#[test]
fn a_session_on_a_copy_ends_with_its_client_and_costs_nothing_then() {
    let server = Server::start(&["--io-threads", "1", "--busy-reply-threshold", "50"]);
    let mut a = server.connect();
    a.run("SET k 1");
    for round in 0..5 {
        let mut c = copied(&server, "local n = 1\nwhile true do n = n + 1 end", &["k"]);
        if round % 2 == 0 {
            // It runs, and is stopped after a while.
            assert!(say(&mut c, &["c"])[0].ends_with("timeout reached, infinite loop?"));
            c.send(&[b"c"]);
        }
        assert_eq!(a.run("INCR k").int(), round + 2);
        if round == 3 {
            assert_eq!(a.run("CLIENT KILL SKIPME YES").int(), 1);
            assert!(c.is_closed());
        }
        drop(c);
        a.until("only one client is left", |a| a.info("connected_clients") == "1");
    }
    let mut c = copied(&server, "local n = 1\nreturn 1", &[]);
    assert_eq!(a.run("FLUSHALL").text(), "OK");
    assert_eq!(say(&mut c, &["r", "get", "k"])[1], "<reply> \"6\"");
    c.send(&[b"a"]);
    assert_eq!(c.read().texts(), ["<endsession>"]);
    assert!(c.read().text().starts_with("ERR script aborted for user request"));
    // The server's end is not held up.
    let _open = copied(&server, "local n = 1\nreturn 1", &[]);
    a.send(&[b"SHUTDOWN", b"NOSAVE"]);
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn a_copy_that_can_not_be_had_is_refused() {
    let server = Server::start(&[]);
    let mut a = server.connect();
    let value = vec![b'x'; 1 << 20];
    for i in 0..40 {
        a.command(&[b"SET", format!("k{i}").as_bytes(), &value]);
    }
    a.run("CONFIG SET maxmemory 64mb");
    let mut c = server.connect();
    c.run("SCRIPT DEBUG YES");
    let refused = "ERR Can't copy the data: can't run EVAL in debugging mode: it does not fit into maxmemory";
    for _ in 0..50 {
        assert_eq!(eval(&mut c, b"EVAL", "return 1"), Value::Error(refused.into()));
    }
    assert_eq!(a.run("DBSIZE").int(), 40);
    // The connection goes on, and so do others.
    a.run("CONFIG SET maxmemory 0");
    c.run("MULTI");
    eval(&mut c, b"EVAL", "return 1");
    assert!(c.run("EXEC").items()[0].is_error());
    assert_eq!(eval(&mut c, b"EVAL", "return 1").texts()[0], STOPPED);
    assert_eq!(say(&mut c, &["r", "dbsize"])[1], "<reply> 40");
}
