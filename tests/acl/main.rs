//! Users and their rights, on real servers.

mod redis;
#[path = "../support/mod.rs"]
mod support;

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use support::{Conn, Server, TempDir, Value, dunlin, free_port};

/// A connection of a user that does not need a password.
fn login(server: &Server, user: &str) -> Conn {
    let mut c = server.connect();
    assert_eq!(c.run(&format!("AUTH {user} x")).text(), "OK");
    c
}

/// Makes a user without password, and a connection of it.
fn user(server: &Server, name: &str, rules: &str) -> Conn {
    setuser(&mut server.connect(), name, rules);
    login(server, name)
}

fn setuser(c: &mut Conn, name: &str, rules: &str) {
    assert_eq!(c.run(&format!("ACL SETUSER {name} on nopass {rules}")).text(), "OK", "{rules}");
}

/// A field of a reply that is a list of names and values.
fn field(reply: &Value, name: &str) -> Value {
    let items = reply.items();
    let at = items.iter().step_by(2).position(|item| item.text() == name).unwrap_or_else(|| panic!("no {name}"));
    items[at * 2 + 1].clone()
}

/// The newest entry of the log: reason, context, object, user.
fn newest(c: &mut Conn) -> [String; 4] {
    let entry = &c.run("ACL LOG 1").items()[0].clone();
    ["reason", "context", "object", "username"].map(|name| field(entry, name).text())
}

fn dryrun(c: &mut Conn, user: &str, command: &str) -> String {
    c.run(&format!("ACL DRYRUN {user} {command}")).text()
}

#[test]
fn users_log_in_and_are_held_to_their_rules() {
    let server = Server::start(&[]);
    let mut admin = server.connect();
    assert_eq!(admin.run("ACL WHOAMI").text(), "default");
    assert_eq!(admin.run("ACL LIST").texts(), ["user default on nopass sanitize-payload ~* &* +@all"]);
    assert_eq!(admin.run("ACL SETUSER alice on >p1pp0 ~cached:* +get").text(), "OK");
    let mut c = server.connect();
    assert!(c.run("AUTH alice wrong").text().starts_with("WRONGPASS invalid username-password pair"));
    assert_eq!(c.run("ACL WHOAMI").text(), "default");
    assert_eq!(c.run("AUTH alice p1pp0").text(), "OK");
    assert_eq!(c.run("GET cached:1"), Value::Nil);
    assert_eq!(c.run("GET foo").text(), "NOPERM No permissions to access a key");
    assert_eq!(c.run("SET cached:1 zap").text(), "NOPERM User alice has no permissions to run the 'set' command");
    assert_eq!(c.run("CONFIG GET x").text(), "NOPERM User alice has no permissions to run the 'config|get' command");
    assert_eq!(c.run("NOSUCH").text().split(' ').next(), Some("ERR"));
    assert_eq!(c.run("RESET").text(), "RESET");
    assert_eq!(c.run("ACL WHOAMI").text(), "default");
    assert!(!c.run("HELLO 3 AUTH alice p1pp0 SETNAME x").is_error());
    assert!(c.run("ACL WHOAMI").is_error());
    let line = admin.run("CLIENT LIST USER alice").text();
    assert!(line.contains(" name=x ") && line.contains(" user=alice ") && line.lines().count() == 1, "{line}");
    assert_eq!(admin.run("CLIENT LIST USER nobody").text(), "ERR No such user 'nobody'");
    assert_eq!(admin.run("CLIENT KILL USER alice").int(), 1);
    assert!(c.is_closed());
    assert_eq!(admin.info("errorstat_NOPERM"), "count=4");
    assert_eq!(admin.info("acl_access_denied_auth"), "1");
    assert_eq!(admin.info("acl_access_denied_cmd"), "3");
    assert_eq!(admin.info("acl_access_denied_key"), "1");
    assert_eq!(admin.info("cmdstat_set"), "calls=0,usec=0,usec_per_call=0.00,rejected_calls=1,failed_calls=0");
}

#[test]
fn users_are_told_of_in_the_forms_of_valkey() {
    let server = Server::start(&[]);
    let mut c = server.connect();
    setuser(&mut c, "sample", "~a %R~b &ch +get -@dangerous db=0,2 (+set ~key2 &*)");
    let user = c.run("ACL GETUSER sample");
    assert_eq!(field(&user, "flags").texts(), ["on", "nopass", "sanitize-payload"]);
    assert_eq!(field(&user, "passwords"), Value::Array(vec![]));
    assert_eq!(field(&user, "commands").text(), "-@all +get -@dangerous");
    assert_eq!(field(&user, "keys").text(), "~a %R~b");
    assert_eq!(field(&user, "channels").text(), "&ch");
    assert_eq!(field(&user, "databases").text(), "db=0,2");
    let selector = &field(&user, "selectors").items()[0].clone();
    assert_eq!(field(selector, "commands").text(), "-@all +set");
    assert_eq!(field(selector, "databases").text(), "alldbs");
    assert_eq!(
        c.run("ACL LIST").texts()[1],
        "user sample on nopass sanitize-payload ~a %R~b resetchannels &ch db=0,2 -@all +get -@dangerous (~key2 &* -@all +set)"
    );
    assert_eq!(c.run("ACL GETUSER nobody"), Value::Nil);
    assert_eq!(c.run("ACL USERS").texts(), ["default", "sample"]);
    assert_eq!(c.run("ACL SETUSER sample resetdbs").text(), "OK");
    assert_eq!(field(&c.run("ACL GETUSER sample"), "databases").text(), "resetdbs");
    assert!(!c.run("HELLO 3").is_error());
    let Value::Map(fields) = c.run("ACL GETUSER default") else { panic!("no map") };
    assert!(matches!(fields[0].1, Value::Set(_)) && fields.len() == 7);
    assert_eq!(c.run("ACL GENPASS").text().len(), 64);
    assert_eq!(c.run("ACL GENPASS 5").text().len(), 2);
    assert_ne!(c.run("ACL GENPASS").text(), c.run("ACL GENPASS").text());
    for bad in ["0", "-236", "4097"] {
        let text = c.run(&format!("ACL GENPASS {bad}")).text();
        assert_eq!(
            text,
            "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to 4096"
        );
    }
    assert_eq!(c.run("ACL CAT").items().len(), 21);
    assert!(c.run("ACL CAT Geo").texts().contains(&"geosearch".to_owned()));
    assert_eq!(c.run("ACL CAT x").text(), "ERR Unknown category 'x'");
    assert!(c.run("ACL CAT x y").text().contains("unknown subcommand or wrong number of arguments for 'CAT'"));
    assert!(c.run("ACL NOSUCH").text().starts_with("ERR unknown subcommand 'NOSUCH'. Try ACL HELP."));
    assert_eq!(c.run("ACL DELUSER default").text(), "ERR The 'default' user cannot be removed");
    assert_eq!(
        c.command(&[b"ACL", b"SETUSER", b"a b"]).text(),
        "ERR Usernames can't contain spaces or null characters"
    );
    assert_eq!(
        c.run("ACL SETUSER x +nope").text(),
        "ERR Error in ACL SETUSER modifier '+nope': Unknown command or category name in ACL"
    );
    assert_eq!(c.run("ACL USERS").items().len(), 2, "a user with a wrong rule is not made");
}

#[test]
fn the_password_of_the_default_user_is_requirepass() {
    let server = Server::start(&["--requirepass", "one"]);
    let mut c = server.connect();
    assert_eq!(c.run("PING").text(), "NOAUTH Authentication required.");
    assert_eq!(c.run("AUTH one").text(), "OK");
    assert_eq!(c.run("CONFIG SET requirepass two").text(), "OK");
    assert_eq!(c.run("PING").text(), "PONG", "who is in stays in");
    assert!(server.connect().run("AUTH one").is_error());
    let mut late = server.connect();
    assert!(late.run("PING").is_error());
    assert_eq!(c.run("ACL SETUSER default nopass").text(), "OK");
    assert_eq!(late.run("PING").text(), "PONG");
    assert!(late.run("AUTH x").text().contains("without any password configured"));
    assert_eq!(c.run("ACL SETUSER default off").text(), "OK");
    assert!(late.run("PING").is_error() && server.connect().run("PING").is_error());
    assert_eq!(c.run("PING").text(), "PONG");
    assert_eq!(c.run("ACL SETUSER default on >three").text(), "OK");
    assert_eq!(server.connect().run("AUTH three").text(), "OK");
    assert_eq!(server.connect().run("AUTH default three").text(), "OK");
    // Secrets stay out of the logs.
    assert_eq!(c.run("CONFIG SET slowlog-log-slower-than 0").text(), "OK");
    c.run("ACL SETUSER default on >three");
    let log = format!("{:?}", c.run("SLOWLOG GET 2").items()[0].items()[3].texts());
    assert!(log.contains("(redacted)") && !log.contains("three"), "{log}");
}

#[test]
fn a_pipeline_of_a_restricted_user_keeps_its_order() {
    let server = Server::start(&[]);
    let mut c = user(&server, "u", "~a* +get +set +mget");
    let mut request = Vec::new();
    for i in 0..200 {
        let key = if i % 3 == 2 { "b" } else { "a" };
        request.extend_from_slice(
            format!("*3\r\n$3\r\nSET\r\n$1\r\n{key}\r\n$1\r\n1\r\n*2\r\n$3\r\nGET\r\n$1\r\n{key}\r\n").as_bytes(),
        );
    }
    c.send_raw(&request);
    for i in 0..200 {
        let (set, get) = (c.read(), c.read());
        if i % 3 == 2 {
            assert!(set.text().starts_with("NOPERM") && get.text().starts_with("NOPERM"), "{i}");
        } else {
            assert!(set.text() == "OK" && get.text() == "1", "{i}");
        }
    }
    assert_eq!(server.connect().run("EXISTS b").int(), 0);
}

#[test]
fn a_transaction_is_checked_when_it_is_queued_and_when_it_runs() {
    let server = Server::start(&[]);
    let mut admin = server.connect();
    let mut c = user(&server, "u", "~* +multi +exec +get +incr +publish +mget &a");
    assert_eq!(c.run("MULTI").text(), "OK");
    assert!(c.run("SET a 1").text().starts_with("NOPERM User u has no permissions to run the 'set'"));
    assert_eq!(newest(&mut admin), ["command", "multi", "set", "u"]);
    assert_eq!(c.run("EXEC").text(), "EXECABORT Transaction discarded because of previous errors.");
    for (rule, back, why) in [
        ("-incr", "+incr", "no permission to execute the command or subcommand"),
        ("resetkeys", "~*", "no permission to touch the specified keys"),
        ("resetdbs", "alldbs", "no permission"),
    ] {
        c.run("SET n 0");
        assert_eq!(c.run("MULTI").text(), "OK");
        for queued in ["INCR n", "PUBLISH a x"] {
            assert_eq!(c.run(queued).text(), "QUEUED");
        }
        assert_eq!(admin.run(&format!("ACL SETUSER u {rule}")).text(), "OK");
        let replies = c.run("EXEC");
        assert_eq!(
            replies.items()[0].text(),
            format!(
                "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This \
                 command is no longer allowed for the following reason: {why}"
            )
        );
        assert_eq!(replies.items()[1].int(), 0, "the others run");
        assert_eq!(admin.run(&format!("ACL SETUSER u {back}")).text(), "OK");
    }
    assert_eq!(c.run("INCR n").int(), 1);
    // A transaction may change its own user.
    let mut c = user(&server, "v", "~* &* +@all");
    for line in ["MULTI", "ACL SETUSER v -get", "GET n", "AUTH default x", "GET n"] {
        c.run(line);
    }
    let replies = c.run("EXEC");
    assert!(replies.items()[1].text().starts_with("NOPERM ACLs rules changed"), "{replies:?}");
    assert_eq!(replies.items()[3].text(), "1");
}

#[test]
fn scripts_and_functions_run_as_the_caller() {
    let server = Server::start(&[]);
    let mut admin = server.connect();
    let library = "#!lua name=lib\nserver.register_function('put', function(keys, args) return server.call('set', args[1], '1') end)";
    assert_eq!(admin.command(&[b"FUNCTION", b"LOAD", library.as_bytes()]).text(), "lib");
    let mut c = user(&server, "u", "~a* +@scripting +get +set &*");
    let mut eval = |script: &str, keys: &[&str]| {
        let n = keys.len().to_string();
        let mut args = vec![&b"EVAL"[..], script.as_bytes(), n.as_bytes()];
        args.extend(keys.iter().map(|key| key.as_bytes()));
        c.command(&args)
    };
    assert_eq!(eval("return redis.call('set', KEYS[1], 1)", &["a"]).text(), "OK");
    assert!(eval("return 1", &["b"]).text().starts_with("NOPERM No permissions to access a key"));
    let text = eval("return redis.call('incr', 'a')", &[]).text();
    assert!(
        text.starts_with("ERR ACL failure in script: User u has no permissions to run the 'incr' command"),
        "{text}"
    );
    assert_eq!(newest(&mut admin), ["command", "lua", "incr", "u"]);
    let entry = admin.run("ACL LOG 1").items()[0].clone();
    assert!(field(&entry, "client-info").text().contains(" cmd=eval "), "{entry:?}");
    let text = eval("return redis.call('get', 'b')", &[]).text();
    assert!(text.starts_with("ERR ACL failure in script: No permissions to access a key"), "{text}");
    let text = eval("return redis.pcall('get', 'b')['err']", &[]).text();
    assert!(text.contains("ACL failure in script"), "{text}");
    assert_eq!(
        eval(
            "return {redis.acl_check_cmd('get','a'), redis.acl_check_cmd('get','b'), redis.acl_check_cmd('del','a')}",
            &[]
        ),
        Value::Array(vec![Value::Int(1), Value::Nil, Value::Nil])
    );
    assert!(eval("return redis.acl_check_cmd('nosuch')", &[]).is_error());
    assert_eq!(eval("return redis.acl_check_cmd('get')", &[]).int(), 1, "arguments are another matter");
    assert!(c.run("FCALL put 0 b").text().contains("ACL failure in script: No permissions to access a key"));
    assert_eq!(c.run("FCALL put 0 a").text(), "OK");
    assert_eq!(admin.run("EXISTS b").int(), 0);
    // Without the right to run scripts there is none.
    let mut plain = user(&server, "w", "~* +get +readonly");
    assert!(plain.run("EVAL x 0").text().starts_with("NOPERM"));
}

#[test]
fn a_blocked_command_is_checked_again_when_it_is_served() {
    let server = Server::start(&[]);
    let mut admin = server.connect();
    let mut blocked = user(&server, "u", "~* +@all");
    blocked.send(&[b"BLPOP", b"list", b"0"]);
    admin.until("the wait", |c| c.info("blocked_clients") == "1");
    assert_eq!(admin.run("ACL SETUSER u resetkeys").text(), "OK");
    assert_eq!(admin.run("RPUSH list x").int(), 1);
    assert_eq!(blocked.read().text(), "NOPERM No permissions to access a key");
    assert_eq!(admin.run("LRANGE list 0 -1").texts(), ["x"], "nothing was taken");
    assert!(
        admin.info("cmdstat_blpop").contains("calls=0,") && admin.info("cmdstat_blpop").contains("rejected_calls=1")
    );
    assert_eq!(newest(&mut admin), ["key", "toplevel", "list", "u"]);
    assert_eq!(blocked.run("PING").text(), "PONG");
}

/// Keys that are not where they are looked for first, and options that name further keys: each a way that ACLs of Redis
/// were got around (SORT_RO in CVE-2023-41053, malformed selectors in CVE-2024-51741), or could be.
#[test]
fn no_key_is_reached_around_the_rules() {
    let server = Server::start(&[]);
    let mut c = server.connect();
    setuser(&mut c, "u", "+@all %R~r* %W~w* ~rw*");
    setuser(&mut c, "x", "+@all ~mine*");
    let denied = |key: &str| format!("User u has no permissions to access the '{key}' key");
    for (command, result) in [
        // STORE in all its places: the last one counts.
        ("SORT r STORE w", None),
        ("SORT r STORE r2", Some("r2")),
        ("SORT r STORE w STORE r2", Some("r2")),
        ("SORT w STORE w", Some("w")),
        ("SORT_RO w", Some("w")),
        ("SORT_RO r", None),
        ("GEORADIUS r 1 2 3 m STORE w", None),
        ("GEORADIUS r 1 2 3 m STORE r2", Some("r2")),
        ("GEORADIUS r 1 2 3 m STOREDIST r2", Some("r2")),
        ("GEORADIUS r 1 2 3 m STORE w STOREDIST r2", Some("r2")),
        ("GEORADIUSBYMEMBER r x 3 m STORE r2", Some("r2")),
        ("GEOSEARCHSTORE r2 r FROMLONLAT 1 2 BYRADIUS 3 m", Some("r2")),
        ("GEOSEARCHSTORE w r FROMLONLAT 1 2 BYRADIUS 3 m", None),
        ("ZUNIONSTORE w 2 r w2", Some("w2")),
        ("ZUNIONSTORE r2 1 r", Some("r2")),
        ("ZRANGESTORE w w2 0 -1", Some("w2")),
        ("BITOP AND w r w2", Some("w2")),
        ("PFMERGE w", Some("w")),
        ("LMOVE r w LEFT LEFT", Some("r")),
        ("COPY r w", None),
        ("COPY w r", Some("w")),
        ("RENAME r w", Some("r")),
        // Keys behind a number, a word, or another argument.
        ("EVAL x 1 rw1", None),
        ("EVAL x 1 r", Some("r")),
        ("EVAL_RO x 1 r", None),
        ("EVAL x 0 r", None),
        ("EVAL x 3 rw r", None),
        ("FCALL f 1 r", Some("r")),
        ("XREAD STREAMS r w 0 0", Some("w")),
        ("XREAD COUNT 1 STREAMS r 0", None),
        ("XREADGROUP GROUP streams c STREAMS r w 0 0", Some("w")),
        ("MIGRATE h 1 rw 0 5", None),
        ("MIGRATE h 1 r 0 5", Some("r")),
        ("MIGRATE h 1 ! 0 5 AUTH KEYS KEYS r", Some("r")),
        ("MIGRATE h 1 ! 0 5 AUTH2 KEYS 123 KEYS rw w", Some("w")),
        ("LMPOP 2 rw w LEFT", Some("w")),
        ("SINTERCARD 2 r w", Some("w")),
        ("OBJECT ENCODING no", Some("no")),
        ("MEMORY USAGE no", Some("no")),
        ("XINFO STREAM no", Some("no")),
        // What an option turns a write into.
        ("SET w v", None),
        ("SET w v GET", Some("w")),
        ("SET w v EX 5 GET", Some("w")),
        ("SET w v IFEQ x", Some("w")),
        ("SET w GET", None),
        ("SET r v NX", Some("r")),
        ("BITFIELD r GET u4 0", None),
        ("BITFIELD r GET u4 0 SET u4 0 1", Some("r")),
        ("BITFIELD r OVERFLOW SAT INCRBY u4 0 1", Some("r")),
        ("BITFIELD w GET u4 0", Some("w")),
        ("BITFIELD_RO w GET u4 0", Some("w")),
        ("GETEX r", Some("r")),
        ("GETDEL w", Some("w")),
        ("LPOP w", Some("w")),
        ("LPUSH w 1", None),
        ("ZADD w 1 m", None),
        ("ZADD r 1 m", Some("r")),
        // Whether something is there is known to who may read or write it.
        ("HEXISTS w f", None),
        ("EXISTS r w no", Some("no")),
        ("TYPE no", Some("no")),
        ("STRLEN w", None),
        ("WATCH no", Some("no")),
        ("DUMP w", Some("w")),
        ("RESTORE r 0 x", Some("r")),
    ] {
        let command = command.replace('!', "");
        let args: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        let args = [&[&b"ACL"[..], b"DRYRUN", b"u"], &args[..]].concat();
        assert_eq!(c.command(&args).text(), result.map_or("OK".to_owned(), denied), "{command}");
    }
    // The same keys, by running commands for real.
    let mut x = login(&server, "x");
    c.run("SET secret 1");
    c.run("RPUSH mine secret");
    for (command, error) in [
        ("SORT mine BY nosort GET *", "ERR GET option of SORT denied due to insufficient ACL permissions."),
        ("SORT mine BY *->f", "ERR BY option of SORT denied due to insufficient ACL permissions."),
        ("SORT_RO mine GET *", "ERR GET option of SORT denied due to insufficient ACL permissions."),
        ("SORT mine STORE theirs", "NOPERM No permissions to access a key"),
        ("EVAL return 1 secret", "NOPERM"),
        ("COPY mine theirs", "NOPERM"),
        ("SORT_RO theirs", "NOPERM"),
    ] {
        let text = x.run(command).text();
        assert!(text.starts_with(error) || command.starts_with("EVAL") && text.starts_with("ERR"), "{command}: {text}");
    }
    setuser(&mut c, "x", "%R~*");
    assert_eq!(x.run("SORT mine BY nosort GET *").texts(), ["1"]);
    // In the words of that CVE: selectors that are none.
    for rules in ["%RW", "%~", "%R", "(%RW)", "(%)", "(", "()(", "%", "(%R~a"] {
        assert!(c.run(&format!("ACL SETUSER y {rules}")).is_error(), "{rules}");
    }
    assert_eq!(c.run("PING").text(), "PONG");
}

#[test]
fn channels_are_asked_for_and_subscribers_end_with_their_right() {
    let server = Server::start(&[]);
    let mut admin = server.connect();
    let mut c = user(&server, "u", "+@all &foo:1 &bar:*");
    assert_eq!(c.run("PUBLISH bar:2 x").int(), 0);
    assert_eq!(c.run("PUBLISH zap x").text(), "NOPERM No permissions to access a channel");
    assert_eq!(c.run("SPUBLISH zap x").text(), "NOPERM No permissions to access a channel");
    assert_eq!(c.run("PSUBSCRIBE bar:b*").text(), "NOPERM No permissions to access a channel");
    assert_eq!(c.run("SUBSCRIBE foo:1 zap").text(), "NOPERM No permissions to access a channel");
    assert_eq!(newest(&mut admin), ["channel", "toplevel", "zap", "u"]);
    assert_eq!(admin.info("acl_access_denied_channel"), "4");
    assert_eq!(c.run("UNSUBSCRIBE zap").items()[1].text(), "zap", "leaving needs no right");
    let mut subscribers: Vec<Conn> = ["SUBSCRIBE foo:1", "PSUBSCRIBE bar:*", "SSUBSCRIBE bar:1"]
        .map(|line| {
            let mut c = login(&server, "u");
            c.run(line);
            c
        })
        .into();
    setuser(&mut admin, "u", "&foo:1 &bar:* &more");
    assert_eq!(admin.info("connected_clients"), "5", "more channels end nobody");
    setuser(&mut admin, "u", "resetchannels &bar:*");
    assert!(subscribers.remove(0).is_closed());
    assert_eq!(subscribers[0].run("PING").items()[0].text(), "pong");
    setuser(&mut admin, "u", "resetchannels");
    assert_eq!(admin.run("PUBLISH bar:1 late").int() + admin.run("SPUBLISH bar:1 late").int(), 0, "none is there");
    for mut gone in subscribers {
        assert_eq!(gone.try_read(), None, "no message after the right is gone");
    }
    assert_eq!(c.run("PING").text(), "PONG");
}

#[test]
fn connections_of_a_deleted_user_end() {
    let server = Server::start(&[]);
    let mut admin = server.connect();
    let mut c = user(&server, "u", "~* +@all");
    let mut waiting = login(&server, "u");
    waiting.send(&[b"BLPOP", b"l", b"0"]);
    admin.until("the wait", |c| c.info("blocked_clients") == "1");
    assert_eq!(admin.run("ACL DELUSER u nobody").int(), 1);
    assert_eq!(admin.run("CLIENT LIST").text().lines().count(), 1);
    assert!(c.is_closed() && waiting.is_closed());
    assert!(server.connect().run("AUTH u x").is_error());
    // Who deletes itself hears of it, and nothing behind that is run.
    let mut c = user(&server, "u", "~* +@all");
    c.send_raw(b"ACL DELUSER u\r\nSET after 1\r\n");
    assert_eq!(c.read().int(), 1);
    assert!(c.is_closed());
    assert_eq!(admin.run("EXISTS after").int(), 0);
    // A user of the same name is another one.
    let mut old = user(&server, "u", "~* +@all");
    assert_eq!(admin.run("ACL DELUSER u").int(), 1);
    setuser(&mut admin, "u", "~* +@all");
    assert!(old.is_closed());
}

#[test]
fn refusals_are_logged_and_counted_together() {
    let server = Server::start(&[]);
    let mut admin = server.connect();
    let mut c = user(&server, "u", "+@all ~a");
    for _ in 0..3 {
        c.run("GET secret");
    }
    c.run("AUTH u2 x");
    c.run("HELLO 3 AUTH u2 x");
    let log = admin.run("ACL LOG");
    let objects: Vec<String> = log.items().iter().map(|e| field(e, "object").text()).collect();
    assert_eq!(objects, ["HELLO", "AUTH", "secret"]);
    let entry = &log.items()[2];
    assert_eq!((field(entry, "count").int(), field(entry, "entry-id").int()), (3, 0));
    assert!(field(entry, "age-seconds").text().parse::<f64>().unwrap() < 60.0);
    let info = field(entry, "client-info").text();
    assert!(
        info.starts_with("id=") && info.contains(" user=u ") && info.contains(" cmd=get ") && !info.ends_with('\n'),
        "{info}"
    );
    assert!(field(entry, "timestamp-last-updated").int() >= field(entry, "timestamp-created").int());
    assert_eq!(newest(&mut admin)[3], "u2", "the name that was tried");
    assert_eq!(admin.run("ACL LOG 2").items().len(), 2);
    assert_eq!(admin.run("ACL LOG -1").items().len(), 0);
    assert!(admin.run("ACL LOG x").is_error() && admin.run("ACL LOG 1 2").is_error());
    assert_eq!(admin.run("ACL LOG RESET").text(), "OK");
    assert_eq!(admin.run("ACL LOG").items().len(), 0);
    assert_eq!(admin.run("CONFIG SET acllog-max-len 2").text(), "OK");
    (0..5).for_each(|i| drop(c.run(&format!("GET s{i}"))));
    assert_eq!(admin.run("ACL LOG").items().len(), 2);
}

#[test]
fn databases_are_reached_by_those_who_may() {
    let server = Server::start(&[]);
    let mut admin = server.connect();
    let mut c = user(&server, "u", "+@all ~* &* db=1,2");
    let denied = "NOPERM No permissions to access a database";
    assert_eq!(c.run("GET k").text(), denied, "connections begin in database 0");
    assert_eq!(c.run("PING").text(), "PONG");
    for line in ["SET k 1", "DBSIZE", "SCAN 0", "KEYS *", "FLUSHDB", "RANDOMKEY", "MULTI", "GET k"] {
        assert_eq!(c.run(line).is_error(), line != "MULTI", "{line}");
    }
    c.run("DISCARD");
    assert_eq!(c.run("SELECT 3").text(), denied);
    assert_eq!(newest(&mut admin), ["database", "toplevel", "3", "u"]);
    assert_eq!(c.run("SELECT 1").text(), "OK");
    assert_eq!(c.run("SET k 1").text(), "OK");
    for line in ["MOVE k 0", "COPY k k2 DB 0", "COPY k k2 DB 2 REPLACE DB 0", "SWAPDB 0 1", "FLUSHALL"] {
        assert_eq!(c.run(line).text(), denied, "{line}");
    }
    assert_eq!(newest(&mut admin), ["database", "toplevel", "flushall", "u"]);
    assert_eq!(c.run("COPY k k2 DB 2").int(), 1);
    assert_eq!(c.run("SWAPDB 1 2").text(), "OK");
    let script: [&[u8]; 3] = [b"EVAL", b"server.call('select', '0') return server.call('get', 'k')", b"0"];
    let text = c.command(&script).text();
    assert!(text.contains("ACL failure in script: No permissions to access a database"), "{text}");
    assert_eq!(dryrun(&mut admin, "u", "GET k"), "User u has no permissions to access the '0' database");
    assert!(admin.info("acl_access_denied_db").parse::<u32>().unwrap() > 10);
    // Selectors each have their own.
    let mut c = user(&server, "s", "(db=0 +@write ~*) (db=1 +@read ~*) +select");
    assert_eq!(c.run("SET k 1").text(), "OK");
    assert_eq!(c.run("GET k").text(), denied);
    c.run("SELECT 1");
    assert!(c.run("SET k 1").is_error() && !c.run("GET k2").is_error());
}

#[test]
fn a_file_of_users_is_loaded_and_saved() {
    let dir = TempDir::new();
    let file = dir.file("users.acl", "user alice on +@all ~* &* >alice\nuser bob on +@set +acl ~set* nopass\n");
    let server = Server::start(&["--aclfile", &file]);
    let mut admin = server.connect();
    assert_eq!(admin.run("ACL USERS").texts(), ["alice", "bob", "default"]);
    let mut alice = server.connect();
    assert_eq!(alice.run("AUTH alice alice").text(), "OK");
    let mut doug = user(&server, "doug", "~* +@all &test*");
    alice.run("SUBSCRIBE test1");
    assert_eq!(admin.run("ACL LOAD").text(), "OK");
    assert!(doug.is_closed(), "its user is not in the file");
    assert_eq!(admin.run("PUBLISH test1 x").int(), 1);
    assert_eq!(alice.read().items()[2].text(), "x");
    setuser(&mut admin, "eve", "+get ~k (%R~r* +set)");
    assert_eq!(admin.run("ACL SAVE").text(), "OK");
    let saved = std::fs::read_to_string(&file).unwrap();
    assert!(
        saved.ends_with(
            "user eve on nopass sanitize-payload ~k resetchannels -@all +get (%R~r* resetchannels -@all +set)\n"
        ),
        "{saved}"
    );
    assert_eq!(std::fs::read_dir(&dir.0).unwrap().count(), 1, "no temporary file is left");
    let mut eve = login(&server, "eve");
    assert_eq!(admin.run("ACL LOAD").text(), "OK");
    assert_eq!(eve.run("GET k"), Value::Nil, "nothing changed for it");
    // All or nothing.
    std::fs::write(&file, "user alice off\nuser alice on\nuser x +nosuch\nhello").unwrap();
    let text = admin.run("ACL LOAD").text();
    assert_eq!(
        text,
        format!(
            "ERR WARNING: Duplicate user 'alice' found on line 2. {file}:3: Error in applying operation '+nosuch': Unknown \
             command or category name in ACL. {file}:4 should start with user keyword followed by the username. WARNING: \
             ACL errors detected, no change to the previously active ACL rules was performed"
        )
    );
    assert_eq!(admin.run("ACL USERS").items().len(), 4);
    std::fs::remove_file(&file).unwrap();
    assert!(admin.run("ACL LOAD").text().contains(&format!("opening file '{file}': No such file or directory")));
    // The file's mode lets a restart read it.
    assert_eq!(admin.run("ACL SAVE").text(), "OK");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
    drop(server);
    let server = Server::start(&["--aclfile", &file]);
    assert_eq!(server.connect().run("ACL USERS").texts(), ["alice", "bob", "default", "eve"]);
    let without = Server::start(&[]);
    assert!(without.connect().run("ACL LOAD").text().contains("not configured to use an ACL file"));
}

#[test]
fn wrong_users_end_the_start_with_file_and_line() {
    let dir = TempDir::new();
    let fails = |args: &[&str], words: &[&str]| {
        let port = free_port().to_string();
        let out = dunlin().args(args).args(["--port", &port]).stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(1), "{text}");
        words.iter().for_each(|word| assert!(text.contains(word), "{word}: {text}"));
    };
    let acl = dir.file("users.acl", "user a on\n\nuser b +nosuch\n");
    fails(&["--aclfile", &acl], &[&format!("{acl}:3: Error in applying operation '+nosuch'")]);
    fails(&["--aclfile", "/no/such/file"], &["opening file '/no/such/file': No such file or directory"]);
    let conf = dir.file("d.conf", "hz 10\nuser a on ~*\nuser b ~* ~a\n");
    fails(&[&conf], &["at line 3", ">>> 'user b ~* ~a'", "Error in user declaration '~a': Adding a pattern after"]);
    fails(&["--user", "foo", "--user", "foo"], &["Reading the command line", "Duplicate user found"]);
    fails(&["--user", "foo", "on", "--aclfile", &acl], &["aclfile is set"]);
}

#[test]
fn users_of_the_configuration_come_back_after_a_rewrite() {
    let dir = TempDir::new();
    let conf = dir.file(
        "d.conf",
        "# users\nuser default on nopass ~* +@all -flushdb\nuser old on\nport 1\nuser worker on >secret +@list (~a* +get)\n",
    );
    let start = || {
        let port = free_port();
        let mut command = dunlin();
        command.args([&conf, "--port", &port.to_string(), "--save", ""]);
        Server::run(command, port)
    };
    let server = start();
    let mut c = server.connect();
    assert!(c.run("FLUSHDB").text().starts_with("NOPERM"));
    assert_eq!(c.run("SUBSCRIBE x").text(), "NOPERM No permissions to access a channel");
    c.run("ACL DELUSER old");
    assert_eq!(
        c.command(&[b"ACL", b"SETUSER", b"q\"uote", b"on", b"nopass", b"~a\"b'c", b"&\\x", b"(+set", b"~x)"]).text(),
        "OK"
    );
    let before = c.run("ACL LIST").texts();
    assert_eq!(c.run("CONFIG REWRITE").text(), "OK");
    drop(server);
    let text = std::fs::read_to_string(&conf).unwrap();
    assert!(text.starts_with("# users\nuser default on nopass") && !text.contains("user old"), "{text}");
    assert!(!text.contains("secret"), "{text}");
    let server = start();
    let mut c = server.connect();
    assert_eq!(c.run("ACL LIST").texts(), before);
    assert_eq!(c.run("AUTH worker secret").text(), "OK");
}

#[test]
fn replication_and_the_append_only_file_know_no_users() {
    let dir = TempDir::new();
    let path = dir.0.to_str().unwrap();
    let primary = Server::start(&[
        "--user",
        "repl",
        "on",
        ">pw",
        "+psync",
        "+replconf",
        "+ping",
        "--requirepass",
        "admin",
        "--repl-diskless-sync-delay",
        "0",
    ]);
    let mut p = primary.connect();
    assert_eq!(p.run("AUTH admin").text(), "OK");
    let port = primary.port.to_string();
    let follow = format!("127.0.0.1 {port}");
    // Nobody may write on the replica, and yet the primary's writes arrive.
    let replica = Server::start(&[
        "--replicaof",
        &follow,
        "--primaryuser",
        "repl",
        "--primaryauth",
        "pw",
        "--appendonly",
        "yes",
        "--dir",
        path,
        "--user",
        "default",
        "on",
        "nopass",
        "~*",
        "+@all",
        "-@write",
    ]);
    let mut r = replica.connect();
    r.until("the link", |c| c.info("master_link_status") == "up");
    for line in ["SET a 1", "MULTI", "INCR a", "RPUSH l x", "EXEC"] {
        assert!(!p.run(line).is_error());
    }
    assert!(!p.command(&[b"EVAL", b"return server.call('set', 's', '1')", b"0"]).is_error());
    r.until("the data", |c| c.run("DBSIZE").int() == 3);
    assert!(r.run("REPLICAOF NO ONE").text() == "OK");
    assert!(r.run("SET b 1").text().starts_with("NOPERM"));
    // The file is begun anew after a full synchronization.
    r.until("the file", |c| c.info("aof_rewrite_in_progress") == "0" && c.info("aof_rewrite_scheduled") == "0");
    r.send(&[b"SHUTDOWN"]);
    assert_eq!(replica.wait(), Some(0));
    let again = Server::start(&[
        "--appendonly",
        "yes",
        "--dir",
        path,
        "--user",
        "default",
        "on",
        "nopass",
        "~*",
        "+@all",
        "-@write",
    ]);
    assert_eq!(again.connect().run("GET a").text(), "2");
    // A user without the right to replicate cannot.
    assert_eq!(p.run("ACL SETUSER repl -psync").text(), "OK");
    let other = Server::start(&["--replicaof", &follow, "--primaryuser", "repl", "--primaryauth", "pw"]);
    p.until("the refusal", |c| c.run("INFO errorstats").text().contains("errorstat_NOPERM"));
    assert_eq!(other.connect().info("master_link_status"), "down");
}

#[test]
fn tools_log_in_with_a_name() {
    let server = Server::start(&[]);
    setuser(&mut server.connect(), "u", ">pw ~* +@read +@connection resetpass >pw");
    let cli = |args: &[&str]| {
        let port = server.port.to_string();
        let out = Command::new("redis-cli").args(["-p", &port]).args(args).output().ok()?;
        Some(String::from_utf8_lossy(&out.stdout).trim().to_owned())
    };
    let Some(text) = cli(&["--user", "u", "--pass", "pw", "GET", "a"]) else {
        return eprintln!("redis-cli is not installed: passed over");
    };
    assert_eq!(text, "");
    assert!(cli(&["--user", "u", "--pass", "pw", "SET", "a", "1"]).unwrap().starts_with("NOPERM"));
    assert!(
        cli(&["-u", &format!("redis://u:pw@127.0.0.1:{}", server.port), "CLIENT", "INFO"]).unwrap().contains("user=u")
    );
}

#[test]
fn no_command_runs_by_a_right_that_is_gone() {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    let server = Server::start(&["--io-threads", "3"]);
    let mut admin = server.connect();
    setuser(&mut admin, "u", "~* +incr");
    struct Ends<'a>(&'a AtomicBool);
    impl Drop for Ends<'_> {
        fn drop(&mut self) {
            self.0.store(true, Relaxed);
        }
    }
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for i in 0..3 {
            let (mut c, over) = (login(&server, "u"), &over);
            scope.spawn(move || {
                // Short runs and long ones: what is alone goes another way than what goes in batches.
                let n = [1, 7, 200][i];
                let request = b"*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n".repeat(n);
                while !over.load(Relaxed) {
                    c.send_raw(&request);
                    for _ in 0..n {
                        let reply = c.read();
                        assert!(matches!(reply, Value::Int(_)) || reply.text().starts_with("NOPERM"), "{reply:?}");
                    }
                }
            });
        }
        let _ends = Ends(&over);
        let value = |c: &mut Conn| c.run("GET n").text_or("0").parse::<u64>().unwrap();
        for round in 0..150 {
            let from = value(&mut admin);
            admin.until("some work", |c| value(c) > from);
            assert_eq!(admin.run("ACL SETUSER u -incr").text(), "OK");
            // What was under way is through when the key's lock is free.
            let stopped = value(&mut admin);
            (0..20).for_each(|_| drop(admin.run("PING")));
            let later = value(&mut admin);
            assert_eq!(later, stopped, "round {round}");
            assert_eq!(admin.run("ACL SETUSER u +incr").text(), "OK");
        }
    });
}

#[test]
fn command_list_and_acl_cat_agree() {
    let server = Server::start(&[]);
    let mut c = server.connect();
    for category in c.run("ACL CAT").texts() {
        let mut cat = c.run(&format!("ACL CAT {category}")).texts();
        let mut list = c.run(&format!("COMMAND LIST FILTERBY ACLCAT {category}")).texts();
        cat.sort();
        list.sort();
        assert!(cat == list && !cat.is_empty(), "{category}");
    }
}

#[test]
fn renamed_commands_keep_their_names_in_rules() {
    let server = Server::start(&["--rename-command", "get", "fetch", "--user", "u", "on", "nopass", "~*", "+get"]);
    let mut c = login(&server, "u");
    assert_eq!(c.run("FETCH a"), Value::Nil);
    assert!(c.run("SET a 1").text().starts_with("NOPERM"));
    assert!(server.connect().run("ACL SETUSER u +fetch").is_error());
}
