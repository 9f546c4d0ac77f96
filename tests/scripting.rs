//! Scripts in a running server: what others see of one that takes long, how it is ended, what it leaves behind.

mod support;

use dunlin::base::clock;
use support::{Conn, Server, TempDir, Value};

const BUSY: &str = "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";
const BUSY_FUNCTION: &str = "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.";
const UNKILLABLE: &str = "UNKILLABLE Sorry the script already executed write commands";

/// A server that says soon that a script takes long. With one worker all connections are the script's neighbours; of
/// two workers the connections alternate.
fn impatient(workers: &str) -> Server {
    Server::start(&["--busy-reply-threshold", "20", "--io-threads", workers])
}

fn eval(c: &mut Conn, code: &str, keys: &[&str], args: &[&str]) -> Value {
    send_eval(c, code, keys, args);
    c.read()
}

fn send_eval(c: &mut Conn, code: &str, keys: &[&str], args: &[&str]) {
    let n = keys.len().to_string();
    let mut argv: Vec<&[u8]> = vec![b"EVAL", code.as_bytes(), n.as_bytes()];
    argv.extend(keys.iter().chain(args).map(|a| a.as_bytes()));
    c.send(&argv);
}

fn load(c: &mut Conn, code: &str) -> Value {
    c.command(&[b"FUNCTION", b"LOAD", b"REPLACE", code.as_bytes()])
}

/// Ask for something harmless until the answer is that a script is busy.
fn until_busy(c: &mut Conn, text: &str) {
    c.until("a script is busy", |c| match c.run("GET x") {
        Value::Error(e) => e == text,
        _ => false,
    });
}

#[test]
fn a_script_that_takes_long_is_left_for_its_neighbours_and_ended_by_one() {
    for workers in ["1", "2"] {
        let server = impatient(workers);
        let (mut a, mut b, mut c) = (server.connect(), server.connect(), server.connect());
        for round in 0..3 {
            send_eval(&mut a, "local n = 0 while true do n = n + 1 end", &["k"], &[]);
            until_busy(&mut b, BUSY);
            until_busy(&mut c, BUSY);
            // Some commands are for such moments.
            assert_eq!(c.run("MULTI"), Value::Simple("OK".into()), "{workers} {round}");
            assert_eq!(c.run("INCR x"), Value::Error(BUSY.into()));
            assert!(c.run("EXEC").text().starts_with("EXECABORT Transaction discarded because of: BUSY"));
            assert!(c.run("HELLO 2").items().len() > 5);
            assert_eq!(c.run("SHUTDOWN"), Value::Error(BUSY.into()));
            assert_eq!(c.run("FUNCTION KILL"), Value::Error(BUSY.into()));
            assert_eq!(c.run("FUNCTION STATS"), Value::Error(BUSY.into()));
            // A connection that comes now, and one that goes.
            let mut late = server.connect();
            assert_eq!(late.run("PING"), Value::Error(BUSY.into()));
            drop(late);
            assert_eq!(c.run("SCRIPT KILL"), Value::Simple("OK".into()));
            let end = a.read().text();
            assert!(end.starts_with("ERR Script killed by user with SCRIPT KILL"), "{end}");
            c.until("nothing is busy", |c| c.run("SET x 1") == Value::Simple("OK".into()));
            assert_eq!(c.run("SCRIPT KILL"), Value::Error("NOTBUSY No scripts in execution right now.".into()));
            assert_eq!(a.run("GET x").text(), "1");
        }
    }
}

#[test]
fn a_busy_function_is_named_and_only_its_own_command_ends_it() {
    let server = impatient("1");
    let (mut a, mut b) = (server.connect(), server.connect());
    load(&mut b, "#!lua name=lib\nredis.register_function('spin', function() while true do end end)");
    a.send(&[b"FCALL", b"spin", b"1", b"k", b"arg"]);
    until_busy(&mut b, BUSY_FUNCTION);
    let Value::Array(stats) = b.run("FUNCTION STATS") else { panic!("no array") };
    let running = stats[1].items();
    assert_eq!(
        (running[1].text(), running[3].texts()),
        ("spin".into(), vec!["FCALL".into(), "spin".into(), "1".into(), "k".into(), "arg".into()])
    );
    assert!(running[5].int() >= 20);
    assert_eq!(b.run("SCRIPT KILL"), Value::Error(BUSY_FUNCTION.into()));
    assert_eq!(b.run("FUNCTION KILL"), Value::Simple("OK".into()));
    assert!(a.read().text().starts_with("ERR Script killed by user with FUNCTION KILL"));
}

#[test]
fn a_script_in_a_transaction_is_left_for_its_neighbours_too() {
    let server = impatient("1");
    let (mut a, mut b) = (server.connect(), server.connect());
    a.run("MULTI");
    a.run("SET before 1");
    send_eval(&mut a, "while true do end", &[], &[]);
    a.read();
    a.send(&[b"EXEC"]);
    until_busy(&mut b, BUSY);
    b.run("SCRIPT KILL");
    let Value::Array(replies) = a.read() else { panic!("no array") };
    assert!(replies[0] == Value::Simple("OK".into()) && replies[1].is_error(), "{replies:?}");
    b.until("nothing is busy", |c| c.run("GET before") == Value::Bulk(b"1".to_vec()));
}

#[test]
fn a_script_that_has_written_is_not_killed_and_goes_on_in_slices() {
    let server = impatient("1");
    let (mut a, mut b) = (server.connect(), server.connect());
    // It ends by itself once its neighbours were told that it cannot be killed.
    send_eval(&mut a, "redis.call('SET', KEYS[1], 1) local n = 0 while n < 3e8 do n = n + 1 end return n", &["k"], &[]);
    until_busy(&mut b, BUSY);
    assert!(b.run("SCRIPT KILL").text().starts_with(UNKILLABLE));
    // Watching asks for a lock that the script keeps: nobody waits for it.
    b.run("WATCH k");
    drop(b);
    assert_eq!(a.read(), Value::Int(300_000_000));
    let mut c = server.connect();
    c.until("nothing is busy", |c| c.run("GET k") == Value::Bulk(b"1".to_vec()));
    assert_eq!(c.info("watching_clients"), "0");
}

#[test]
fn a_script_of_many_slow_commands_is_seen_to_be_busy() {
    let server = impatient("1");
    let (mut a, mut b) = (server.connect(), server.connect());
    let members: Vec<String> = (0..20_000).map(|i| i.to_string()).collect();
    let mut argv: Vec<&[u8]> = vec![b"SADD", b"s"];
    argv.extend(members.iter().map(|m| m.as_bytes()));
    a.command(&argv);
    send_eval(&mut a, "while true do redis.call('SMEMBERS', KEYS[1]) end", &["s"], &[]);
    until_busy(&mut b, BUSY);
    b.run("SCRIPT KILL");
    assert!(a.read().text().contains("Script killed by user"));
}

#[test]
fn shutdown_nosave_ends_a_server_whose_script_does_not_end() {
    for workers in ["1", "2"] {
        let server = impatient(workers);
        let (mut a, mut b) = (server.connect(), server.connect());
        b.run("SET k 1");
        send_eval(&mut a, "redis.call('SET', KEYS[1], 2) while true do end", &["k"], &[]);
        until_busy(&mut b, BUSY);
        assert!(b.run("SCRIPT KILL").text().starts_with(UNKILLABLE));
        b.send(&[b"SHUTDOWN", b"NOSAVE"]);
        assert_eq!(server.wait(), Some(0), "{workers}");
    }
}

#[test]
fn blocked_clients_are_served_once_a_script_has_ended() {
    let server = impatient("1");
    let (mut a, mut b, mut c) = (server.connect(), server.connect(), server.connect());
    b.send(&[b"BLPOP", b"list", b"0"]);
    c.until("a client is blocked", |c| c.info("blocked_clients") == "1");
    let mut gone = server.connect();
    gone.send(&[b"BLPOP", b"k", b"0"]);
    c.until("another is blocked", |c| c.info("blocked_clients") == "2");
    send_eval(
        &mut a,
        "redis.call('RPUSH', KEYS[1], 'x') while true do redis.call('GET', 'k') end",
        &["list", "k"],
        &[],
    );
    until_busy(&mut c, BUSY);
    // It leaves while the slot that it waits in is kept.
    drop(gone);
    let answer = c.run("SCRIPT KILL").text();
    assert!(answer.starts_with(UNKILLABLE), "{answer}");
    drop(server);
    assert!(b.is_closed());
}

#[test]
fn what_a_script_does_is_one_transaction_in_the_file_and_on_a_replica() {
    let dir = TempDir::new();
    let place = dir.0.to_str().unwrap().to_owned();
    let server = Server::start(&["--appendonly", "yes", "--appendfsync", "always", "--dir", &place]);
    let replica = Server::start(&["--replicaof", &format!("127.0.0.1 {}", server.port)]);
    let (mut c, mut r) = (server.connect(), replica.connect());
    r.until("the replica is in step", |r| r.info("master_link_status") == "up");
    let mut watcher = replica.connect();
    watcher.run("MONITOR");
    let code = "redis.call('SET', KEYS[1], 1) redis.call('SPOP', KEYS[2]) redis.call('INCR', KEYS[1]) return redis.call('GET', KEYS[1])";
    c.run("SADD s m");
    assert_eq!(eval(&mut c, code, &["k", "s"], &[]).text(), "2");
    r.until("it is there", |r| r.run("GET k") == Value::Bulk(b"2".to_vec()));
    let mut seen = Vec::new();
    while !seen.last().is_some_and(|line: &String| line.ends_with("\"EXEC\"")) {
        let line = watcher.read().text();
        let words = line.split("] ").nth(1).unwrap_or_default().to_ascii_uppercase();
        if !words.starts_with("\"INFO")
            && !words.starts_with("\"GET")
            && !words.starts_with("\"REPLCONF")
            && !words.starts_with("\"PING")
            && !words.starts_with("\"SELECT")
        {
            seen.push(words);
        }
    }
    let start = seen.iter().position(|l| l.ends_with("\"MULTI\"")).unwrap();
    assert_eq!(
        seen[start + 1..],
        ["\"SET\" \"K\" \"1\"", "\"SREM\" \"S\" \"M\"", "\"INCR\" \"K\"", "\"EXEC\""],
        "{seen:?}"
    );
    let file = std::fs::read_dir(dir.0.join("appendonlydir")).unwrap().flatten();
    let text: String = file
        .filter(|f| f.file_name().to_string_lossy().contains(".incr."))
        .map(|f| String::from_utf8_lossy(&std::fs::read(f.path()).unwrap()).to_ascii_uppercase())
        .collect();
    let order: Vec<_> = ["MULTI", "SET\r\n$1\r\nK", "INCR", "EXEC"].iter().map(|w| text.find(w).unwrap()).collect();
    assert!(order.is_sorted(), "{text}");
    // Restarted, the server has it.
    drop(server);
    let again = Server::start(&["--appendonly", "yes", "--dir", &place]);
    assert_eq!(again.connect().run("GET k").text(), "2");
}

#[test]
fn scripts_that_reach_for_each_others_keys_before_they_write_both_succeed() {
    let server = Server::start(&["--io-threads", "2"]);
    let threads: Vec<_> = [("a", "b"), ("b", "a")]
        .into_iter()
        .map(|(own, other)| {
            let mut c = server.connect();
            std::thread::spawn(move || {
                for _ in 0..2000 {
                    let code = "local n = redis.call('GET', ARGV[1]) redis.call('INCR', KEYS[1]) return redis.call('INCR', ARGV[1])";
                    assert!(!eval(&mut c, code, &[own], &[other]).is_error());
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|t| t.join().unwrap());
    let mut c = server.connect();
    assert_eq!((c.run("GET a").text(), c.run("GET b").text()), ("4000".into(), "4000".into()));
}

#[test]
fn in_a_cluster_scripts_stay_in_their_slot() {
    let dir = TempDir::new();
    let server = Server::start(&["--cluster-enabled", "yes", "--dir", dir.0.to_str().unwrap()]);
    let mut c = server.connect();
    assert_eq!(c.run("CLUSTER ADDSLOTSRANGE 0 16383"), Value::Simple("OK".into()));
    // What CLUSTER INFO says, commands go by a moment later.
    c.until("the cluster is well", |c| {
        eval(c, "return redis.call('SET', KEYS[1], ARGV[1])", &["{a}1"], &["x"]) == Value::Simple("OK".into())
    });
    assert_eq!(eval(&mut c, "return redis.call('GET', '{a}1')", &["{a}2"], &[]).text(), "x");
    let refused = eval(&mut c, "#!lua\nreturn redis.call('GET', 'other')", &["{a}1"], &[]).text();
    assert!(
        refused.contains("Script attempted to access keys that do not hash to the same slot")
            || refused.contains("undeclared"),
        "{refused}"
    );
    assert!(eval(&mut c, "return 1", &["a", "b"], &[]).text().starts_with("CROSSSLOT"));
    let flagged = "#!lua flags=allow-cross-slot-keys\nredis.call('SET', 'x', 1) return redis.call('SET', 'y', 2)";
    assert_eq!(eval(&mut c, flagged, &[], &[]), Value::Simple("OK".into()));
    let barred = eval(&mut c, "#!lua flags=no-cluster\nreturn 1", &[], &[]).text();
    assert_eq!(barred, "ERR Can not run script on cluster, 'no-cluster' flag is set.");
}

#[test]
fn flags_of_scripts_and_the_read_only_commands_hold() {
    let server = Server::start(&[]);
    let mut c = server.connect();
    c.run("SET k 1");
    let write = b"return redis.call('INCR', KEYS[1])";
    let refused = c.command(&[b"EVAL_RO", write, b"1", b"k"]).text();
    assert!(refused.starts_with("ERR Write commands are not allowed from read-only scripts."), "{refused}");
    assert_eq!(c.command(&[b"EVAL_RO", b"return redis.call('GET', KEYS[1])", b"1", b"k"]).text(), "1");
    let refused = c.command(&[b"EVAL_RO", b"#!lua\nreturn 1", b"0"]).text();
    assert_eq!(refused, "ERR Can not execute a script with write flag using *_ro command.");
    let flagged = "#!lua flags=no-writes\nreturn redis.call('INCR', KEYS[1])";
    assert!(
        eval(&mut c, flagged, &["k"], &[]).text().contains("Write commands are not allowed from read-only scripts.")
    );
    load(
        &mut c,
        "#!lua name=l\nredis.register_function{function_name='r', callback=function(k) return redis.call('GET', k[1]) end, flags={'no-writes'}}\nredis.register_function('w', function(k) return redis.call('INCR', k[1]) end)",
    );
    assert_eq!(c.run("FCALL_RO r 1 k").text(), "1");
    assert_eq!(c.run("FCALL_RO w 1 k").text(), "ERR Can not execute a script with write flag using *_ro command.");
    // Memory is over the limit.
    c.run("CONFIG SET maxmemory 1");
    assert!(eval(&mut c, "#!lua\nreturn 1", &["k"], &[]).text().starts_with("OOM "));
    assert_eq!(
        eval(&mut c, "#!lua flags=allow-oom\nreturn redis.call('SET', KEYS[1], 2)", &["k"], &[]),
        Value::Simple("OK".into())
    );
    assert_eq!(eval(&mut c, "return redis.call('GET', KEYS[1])", &["k"], &[]).text(), "2");
    assert!(
        eval(&mut c, "return redis.call('SET', KEYS[1], 2)", &["k"], &[]).text().starts_with("OOM command not allowed")
    );
    c.run("CONFIG SET maxmemory 0");
    // A replica takes no script that may write.
    c.run("REPLICAOF 127.0.0.1 1");
    assert!(eval(&mut c, "#!lua\nreturn 1", &[], &[]).text().starts_with("READONLY "));
    assert_eq!(eval(&mut c, "#!lua flags=no-writes\nreturn redis.call('GET', KEYS[1])", &["k"], &[]).text(), "2");
}

#[test]
fn replies_of_every_type_cross_in_both_protocols() {
    let server = Server::start(&[]);
    let mut c = server.connect();
    c.run("HSET h f v");
    let code = "redis.setresp(3) local r = redis.call('HGETALL', KEYS[1]) return {r, {double = 1.5}, true, {set = {a = true}}, {big_number = '12'}}";
    let Value::Array(two) = eval(&mut c, code, &["h"], &[]) else { panic!("no array") };
    assert_eq!(two[0], Value::Array(vec![Value::Bulk(b"f".to_vec()), Value::Bulk(b"v".to_vec())]));
    assert_eq!((&two[1], &two[2]), (&Value::Bulk(b"1.5".to_vec()), &Value::Int(1)));
    c.run("HELLO 3");
    let Value::Array(three) = eval(&mut c, code, &["h"], &[]) else { panic!("no array") };
    assert_eq!(three[0], Value::Map(vec![(Value::Bulk(b"f".to_vec()), Value::Bulk(b"v".to_vec()))]));
    assert_eq!((&three[1], &three[2]), (&Value::Double("1.5".into()), &Value::Bool(true)));
    assert_eq!((&three[3], &three[4]), (&Value::Set(vec![Value::Bulk(b"a".to_vec())]), &Value::Big("12".into())));
}

#[test]
fn loading_a_library_keeps_nobody_from_their_keys() {
    let server = Server::start(&["--io-threads", "2"]);
    let (mut a, mut b) = (server.connect(), server.connect());
    // Half a second is what it may take.
    a.send(&[b"FUNCTION", b"LOAD", b"#!lua name=slow\nwhile true do end"]);
    let mut rounds = 0u64;
    let start = clock::mono_ns();
    while clock::mono_ns() - start < 300_000_000 {
        assert_eq!(b.run("SET x 1"), Value::Simple("OK".into()));
        rounds += 1;
    }
    // With the locks kept it would have been one.
    assert!(rounds > 20, "{rounds}");
    assert!(a.read().text().contains("FUNCTION LOAD timeout"));
}

#[test]
fn libraries_are_kept_or_replaced_as_debug_reload_says() {
    let dir = TempDir::new();
    let server = Server::start(&["--dir", dir.0.to_str().unwrap()]);
    let mut c = server.connect();
    let lib =
        |name: &str| format!("#!lua name={name}\nredis.register_function('{name}', function() return '{name}' end)");
    load(&mut c, &lib("one"));
    assert!(c.run("DEBUG RELOAD NOFLUSH").text().starts_with("ERR Error trying to load the RDB dump"));
    assert_eq!(c.run("DEBUG RELOAD NOFLUSH MERGE"), Value::Simple("OK".into()));
    load(&mut c, &lib("two"));
    assert_eq!(c.run("DEBUG RELOAD NOSAVE NOFLUSH MERGE"), Value::Simple("OK".into()));
    assert_eq!((c.run("FCALL one 0").text(), c.run("FCALL two 0").text()), ("one".into(), "two".into()));
    assert_eq!(c.run("DEBUG RELOAD NOSAVE"), Value::Simple("OK".into()));
    assert!(c.run("FCALL two 0").is_error());
}

/// Scripts that were ways out of other servers' sandboxes, or ways to end them.
#[test]
fn published_attacks_on_script_engines_find_nothing_here() {
    let server = Server::start(&["--script-memory-limit", "64mb"]);
    let mut c = server.connect();
    let ok = |c: &mut Conn, code: &str| {
        let reply = eval(c, code, &[], &[]);
        assert_eq!(eval(c, "return 1", &[], &[]), Value::Int(1), "{code}");
        reply
    };
    for (name, code, wanted) in [
        ("bytecode", "return tostring(loadstring('\\27Lua\\81\\0\\1\\4\\8\\4\\8\\0'))", "nil"),
        (
            "bytecode by load",
            "local n = 0 return tostring(load(function() n = n + 1 if n == 1 then return '\\27Lua' end end))",
            "nil",
        ),
        ("dumped bytecode", "return tostring(loadstring(string.dump(function() return 1 end)))", "nil"),
        (
            "CVE-2022-24735: code in another's globals",
            "local ok = pcall(function() getmetatable(_G).__index = function() return 1 end end) return tostring(ok)",
            "false",
        ),
        (
            "CVE-2022-24736: a nil library",
            "return select(2, pcall(function() return tostring(os.execute) .. tostring(io) end)) ~= nil and 'closed'",
            "closed",
        ),
        (
            "CVE-2025-46818: metatables of basic types",
            "return tostring((pcall(function() getmetatable('').__index = {} end)))",
            "false",
        ),
        ("the same by setmetatable", "return tostring((pcall(setmetatable, '', {})))", "false"),
        ("CVE-2024-31449: bit.tohex of the least width", "return bit.tohex(65535, -2147483648)", "0000FFFF"),
        ("CVE-2024-46981: finalizers", "return tostring(rawget(_G, 'newproxy'))", "nil"),
        (
            "CVE-2025-46817: unpack of a range that overflows",
            "return tostring((pcall(unpack, {1, 2, 3}, -2, 2147483647)))",
            "false",
        ),
        ("unpack from the least integer", "return tostring((pcall(unpack, {}, -2147483648, 2147483647)))", "false"),
        (
            "CVE-2025-46819: a long bracket that does not end",
            "return tostring((loadstring('return [' .. string.rep('=', 1000000))))",
            "nil",
        ),
        (
            "CVE-2018-11218: cmsgpack, a depth without end",
            "return tostring((pcall(cmsgpack.unpack, string.rep('\\145', 1000000))))",
            "false",
        ),
        (
            "cmsgpack, a length that is not there",
            "return tostring((pcall(cmsgpack.unpack, '\\221\\255\\255\\255\\255')))",
            "false",
        ),
        (
            "CVE-2018-11219: struct, a size that overflows",
            "return tostring((pcall(struct.unpack, 'c2147483648', 'x')))",
            "false",
        ),
        (
            "struct, an offset before the start",
            "return tostring((pcall(struct.unpack, 'I', 'abcd', -2147483648)))",
            "false",
        ),
        (
            "CVE-2022-24834: cjson, a string of growing escapes",
            "return tostring((pcall(cjson.encode, string.rep('\\1', 20 * 1024 * 1024))))",
            "false",
        ),
        (
            "cjson, a depth without end",
            "cjson.decode_max_depth(2147483647) return tostring((pcall(cjson.decode, string.rep('[', 1000000))))",
            "false",
        ),
        (
            "cjson, a table in itself",
            "local t = {} t[1] = t cjson.encode_max_depth(2147483647) return tostring((pcall(cjson.encode, t)))",
            "false",
        ),
        ("string.rep of everything", "return tostring((pcall(string.rep, 'x', 2147483647)))", "false"),
        ("string.rep of nothing", "return tostring(#string.rep('', 1e300))", "0"),
        (
            "concatenation without end",
            "return tostring((pcall(function() local s = 'x' while true do s = s .. s end end)))",
            "false",
        ),
        ("string.format with a wide field", "return tostring((pcall(string.format, '%99999999d', 1)))", "false"),
        (
            "a pattern of a million items",
            "return tostring((pcall(string.find, string.rep('a', 1e6), string.rep('a?', 1e6))))",
            "false",
        ),
        ("calls without end", "local function f() return 1 + f() end return tostring((pcall(f)))", "false"),
        (
            "C calls without end",
            "local function f() return (string.gsub('a', 'a', f)) end return tostring((pcall(f)))",
            "false",
        ),
        (
            "coroutines in coroutines",
            "local function f() return coroutine.wrap(f)() end return tostring((pcall(f)))",
            "false",
        ),
        (
            "a sort that lies",
            "local t = {} for i = 1, 100 do t[i] = i end return tostring(pcall(table.sort, t, function() return true end) ~= nil)",
            "true",
        ),
        ("an environment for all", "return tostring((pcall(setfenv, 0, {})))", "false"),
        ("getfenv of the host", "local e = getfenv(0) return tostring((pcall(function() e.x = 1 end)))", "false"),
        ("many results of concat", "return tostring((pcall(table.concat, {}, 'x', 1, 2147483647)))", "false"),
    ] {
        let reply = ok(&mut c, code).text();
        assert_eq!(reply, wanted, "{name}");
    }
    // CVE-2025-49844: the compiler used the name of a chunk that the collector had taken.
    let code = "for i = 1, 200 do local f = loadstring('return ' .. i .. string.rep(' + 1', 500), 'n' .. i) collectgarbage() f() end return 'whole'";
    assert_eq!(ok(&mut c, code).text(), "whole");
    // A reply of a table that has itself, and one that has others many times.
    assert!(!ok(&mut c, "local t = {} t[1] = t return 1").is_error());
    let reply = ok(&mut c, "local t = {1} for i = 1, 60 do t = {t, t} end return t").text();
    assert!(reply.contains("not enough memory"), "{reply}");
    let nested = ok(&mut c, "local t = {} for i = 1, 100000 do t = {t} end return t");
    let depth = |mut v: &Value| {
        let mut n = 0;
        while let Value::Array(items) = v {
            let Some(first) = items.first() else { break };
            (v, n) = (first, n + 1);
        }
        n
    };
    assert!(depth(&nested) < 10_000);
    // What a script left behind in a global, a metatable or a library another does not see.
    for code in ["x = 1", "redis.x = 1", "string.x = 1", "getmetatable('').x = 1", "rawset(_G, 'x', 1)"] {
        assert!(ok(&mut c, code).is_error(), "{code}");
        assert_eq!(ok(&mut c, "return tostring(rawget(_G, 'x'))").text(), "nil");
    }
    assert!(c.run("INFO everything").text().contains("used_memory_vm_eval"));
}

#[test]
fn time_stands_still_in_a_script_and_sets_have_an_order_there() {
    let server = Server::start(&[]);
    let mut c = server.connect();
    let code = "local a = redis.call('TIME') for i = 1, 1e6 do end local b = redis.call('TIME') return a[1] == b[1] and a[2] == b[2]";
    assert_eq!(eval(&mut c, code, &[], &[]), Value::Int(1));
    c.run("SADD s b aa a c azz");
    let sorted = eval(&mut c, "return redis.call('SORT', KEYS[1], 'BY', 'nosort')", &["s"], &[]);
    assert_eq!(sorted.texts(), ["a", "aa", "azz", "b", "c"]);
}

/// It was counted for the command and again for the script.
#[test]
fn an_error_that_ends_a_script_counts_once() {
    let server = Server::start(&[]);
    let mut c = server.connect();
    for (script, code) in [
        ("return redis.call('select', 99)", "ERR"),
        ("return redis.pcall('hset', KEYS[1], 'a', 'b')", "WRONGTYPE"),
        ("return redis.error_reply('MINE x')", "MINE"),
        ("error('x')", "ERR"),
    ] {
        c.run("SET s 1");
        assert_eq!(c.run("CONFIG RESETSTAT").text(), "OK");
        assert!(c.command(&[b"EVAL", script.as_bytes(), b"1", b"s"]).is_error());
        assert_eq!(c.info("total_error_replies"), "1", "{script}");
        assert_eq!(c.info(&format!("errorstat_{code}")), "count=1", "{script}");
        assert!(c.info("cmdstat_eval").ends_with("rejected_calls=0,failed_calls=1"), "{script}");
    }
}
