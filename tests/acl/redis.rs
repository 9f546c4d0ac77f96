//! The same asked of redis-server: categories, what commands do with keys, and what rules mean.

use std::process::{Command, Stdio};

use super::support::{Server, Value};
use super::{dryrun, field};

/// Where this table is right and Redis 7.0 is not: both are as in Valkey.
const OTHER_CATEGORIES: [&str; 1] = ["wait"];
const OTHER_KEYS: [&str; 1] = ["sinterstore"];

#[test]
fn categories_and_key_flags_are_those_of_redis() {
    if Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().is_err() {
        return eprintln!("redis-server is not installed: passed over");
    }
    /// Of each command and subcommand: categories, flags of its keys.
    fn collect(reply: &Value, into: &mut std::collections::BTreeMap<String, (Vec<String>, Vec<Vec<String>>)>) {
        for command in reply.items() {
            let parts = command.items();
            let sorted = |value: &Value| {
                let mut texts = value.texts();
                texts.sort();
                texts
            };
            let keys = parts[8].items().iter().map(|spec| sorted(&field(spec, "flags"))).collect();
            into.insert(parts[0].text(), (sorted(&parts[6]), keys));
            collect(&parts[9], into);
        }
    }
    let (ours, theirs) = (Server::start(&[]), Server::redis());
    let mut table = [Default::default(), Default::default()];
    for (server, table) in [&ours, &theirs].into_iter().zip(&mut table) {
        collect(&server.connect().run("COMMAND"), table);
    }
    let [ours, theirs] = table;
    let (mut compared, mut wrong) = (0, Vec::new());
    for (name, (categories, keys)) in &theirs {
        let Some((our_categories, our_keys)) = ours.get(name) else { continue };
        compared += 1;
        if (categories != our_categories) != OTHER_CATEGORIES.contains(&name.as_str()) {
            wrong.push(format!("{name}: {our_categories:?}, Redis {categories:?}"));
        }
        if (keys != our_keys) != OTHER_KEYS.contains(&name.as_str()) {
            wrong.push(format!("{name}: keys {our_keys:?}, Redis {keys:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(compared > 350, "{compared}");
}

/// Numbers that look random and are the same every time.
struct Draw(u64);
impl Draw {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
    fn of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len())]
    }
    /// A rule that a selector may have.
    fn inner(&mut self) -> String {
        let commands = [
            "get",
            "SET",
            "mget",
            "select",
            "config",
            "config|get",
            "config|nope",
            "client|kill",
            "acl",
            "xinfo|stream",
            "debug",
            "hset",
            "nosuch",
            "@read",
            "@WRITE",
            "@hash",
            "@admin",
            "@connection",
            "@all",
            "@nope",
        ];
        match self.below(8) {
            0..3 => format!("{}{}", self.of(&["+", "-"]), self.of(&commands)),
            3 => format!(
                "+{}|{}",
                self.of(&["select", "debug", "get", "config|get"]),
                self.of(&["0", "OBJECT", "x|y", ""])
            ),
            4 | 5 => {
                let sign = self.of(&["~", "%R~", "%W~", "%RW~", "%~", "%RR~", "%r~"]);
                format!("{sign}{}", self.of(&["a", "b*", "a?", "[ab]", "[^a", "", "*b"]))
            }
            6 => format!("&{}", self.of(&["a", "b*", "a?", ""])),
            _ => {
                let words =
                    ["allkeys", "resetkeys", "allchannels", "RESETCHANNELS", "allcommands", "nocommands", "~*", "&*"];
                self.of(&[&words[..], &["junk", "+", "-", "~", "%"]].concat()).to_owned()
            }
        }
    }
    /// A rule, in as many words as it is given.
    fn rule(&mut self) -> Vec<String> {
        match self.below(10) {
            0 => vec![self.of(&["on", "off", "nopass", "resetpass", "reset", "clearselectors", ""]).to_owned()],
            1 => vec![format!("{}{}", self.of(&[">", "<", "#", "!"]), self.of(&["a", "b", "", &"9".repeat(64)]))],
            2 => {
                let n = self.below(4);
                let text = format!("({})", (0..n).map(|_| self.inner()).collect::<Vec<_>>().join(" "));
                if self.below(2) == 0 { vec![text] } else { text.split(' ').map(str::to_owned).collect() }
            }
            _ => vec![self.inner()],
        }
    }
}

#[test]
fn random_rules_mean_what_they_mean_to_redis() {
    if Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().is_err() {
        return eprintln!("redis-server is not installed: passed over");
    }
    let servers = [Server::start(&[]), Server::redis()];
    let mut conns = [servers[0].connect(), servers[1].connect()];
    let calls = [
        "GET a",
        "SET ab 1",
        "SET b 1 GET",
        "MGET a b ab",
        "CONFIG GET x",
        "CONFIG SET a b",
        "SELECT 0",
        "PUBLISH a x",
        "SUBSCRIBE a b",
        "PSUBSCRIBE b*",
        "DEBUG OBJECT a",
        "HSET a b c",
        "XINFO STREAM a",
        "EVAL x 1 a",
        "SORT a STORE b",
        "CLIENT KILL x",
        "ACL WHOAMI",
        "COPY a b",
        "LMPOP 2 a b LEFT",
        "PING",
    ];
    // Redis 7.0 leaves the usual out, sums rules of commands up, and does not name the user.
    let plain = |line: String| {
        let line = line.replace(" sanitize-payload", "");
        let mut shown = String::new();
        for part in line.split_inclusive(['(', ')']) {
            let end = part.find("@all").map_or(part.len(), |at| at + 4);
            shown.push_str(&part[..end]);
        }
        shown
    };
    for round in 0..600 {
        let mut draw = Draw(0x9e37_79b9_7f4a_7c15 ^ (round + 1));
        (0..20).for_each(|_| {
            draw.below(2);
        });
        let rules: Vec<String> = (0..1 + draw.below(6)).flat_map(|_| draw.rule()).collect();
        let mut seen = conns.iter_mut().map(|c| {
            if round % 10 == 0 {
                c.run("ACL DELUSER u");
            }
            let mut args = vec![&b"ACL"[..], b"SETUSER", b"u"];
            args.extend(rules.iter().map(|rule| rule.as_bytes()));
            let reply = c.command(&args).text();
            let line = c.run("ACL LIST").texts().into_iter().find(|line| line.starts_with("user u "));
            let may = calls.map(|call| match line {
                Some(_) => dryrun(c, "u", call).replace("This user", "User u"),
                None => String::new(),
            });
            (reply, line.map(plain), may)
        });
        assert_eq!(seen.next(), seen.next(), "round {round}: {rules:?}");
    }
}
