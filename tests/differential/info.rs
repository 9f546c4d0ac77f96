//! What commands say of themselves, and which keys they name, as redis-server has it for its own.

use super::{Redis, show};
use crate::grammar::Grammar;
use crate::support::{Conn, Server, Value};
use dunlin::base::rng;
use std::collections::{BTreeMap, BTreeSet};

/// Where Valkey has it otherwise than Redis 7.0, by what is behind it: the command and the part of its description.
const NEWER: &[(&str, &[&str])] = &[
    (
        "Valkey tells proxies to do it on every node.",
        &[
            "acl|deluser tips",
            "acl|save tips",
            "acl|setuser tips",
            "client|setname tips",
            "config|resetstat tips",
            "config|rewrite tips",
        ],
    ),
    ("Valkey tells proxies to add up what nodes answer.", &["latency|reset tips"]),
    ("Valkey tells proxies nothing of it: parts of it on several shards would not be one MSETNX.", &["msetnx tips"]),
    ("Valkey tells proxies that what shards answer is not simply joined.", &["randomkey tips", "scan tips"]),
    (
        "Valkey lets scripts call what blocks: there it answers at once.",
        &[
            "blmove flags",
            "blpop flags",
            "brpop flags",
            "brpoplpush flags",
            "bzpopmax flags",
            "bzpopmin flags",
            "wait flags",
        ],
    ),
    ("In Valkey WAIT is a command that blocks.", &["wait categories"]),
    ("Valkey 9 keeps it out of transactions, whose replies it would lose.", &["client|reply flags"]),
    ("In Valkey a flag keeps it out of transactions; in Redis it refuses by itself.", &["multi flags", "watch flags"]),
    (
        "Valkey answers it while data are loaded.",
        &[
            "cluster|info flags",
            "cluster|myid flags",
            "cluster|nodes flags",
            "cluster|shards flags",
            "cluster|slots flags",
        ],
    ),
    ("CLUSTER REPLICATE NO ONE is of Valkey 9.", &["cluster|replicate arity"]),
    (
        "Valkey takes a command of one word, to say that it has no keys.",
        &["command|getkeys arity", "command|getkeysandflags arity"],
    ),
    ("WITHSCORE is of Redis 7.2.", &["zrank arity", "zrevrank arity"]),
    ("The destination is overwritten; Redis 7.0 had it read.", &["sinterstore keys"]),
];
const PARTS: [&str; 9] = ["name", "arity", "flags", "first", "last", "step", "categories", "tips", "keys"];

/// A part of a description: lists without order are sorted, and notes, which are texts, left out.
fn part(value: &Value) -> Vec<String> {
    fn text(value: &Value) -> String {
        let Value::Array(items) = value else { return format!("{value:?}") };
        let noted = matches!(items.first(), Some(Value::Bulk(word)) if word == b"notes");
        let items = if noted { &items[2..] } else { &items[..] };
        format!("[{}]", items.iter().map(text).collect::<Vec<_>>().join(" "))
    }
    match value {
        Value::Array(items) => items.iter().map(text).collect::<BTreeSet<_>>().into_iter().collect(),
        other => vec![text(other)],
    }
}

fn described(conn: &mut Conn) -> BTreeMap<String, Vec<Vec<String>>> {
    fn add(items: &[Value], all: &mut BTreeMap<String, Vec<Vec<String>>>) {
        for command in items {
            let fields = command.items();
            all.insert(fields[0].text(), fields[..9].iter().map(part).collect());
            add(fields[9].items(), all);
        }
    }
    let mut all = BTreeMap::new();
    add(conn.run("COMMAND").items(), &mut all);
    all
}

#[test]
fn command_info_and_categories_are_those_of_redis() {
    let redis = Redis::start().expect("this test compares with redis-server");
    let server = Server::start(&[]);
    let (ours, theirs) = (described(&mut server.connect()), described(&mut Conn::open(redis.port)));
    let listed: BTreeSet<String> = NEWER.iter().flat_map(|(_, parts)| parts.iter().map(|p| (*p).to_owned())).collect();
    let mut newer = BTreeSet::new();
    for (name, theirs) in theirs.iter().filter(|(name, _)| !name.starts_with("module|load") && *name != "module|unload")
    {
        let ours = ours.get(name).unwrap_or_else(|| panic!("{name} is missing"));
        for ((part, a), b) in PARTS.iter().zip(ours).zip(theirs).filter(|((_, a), b)| a != b) {
            let what = format!("{name} {part}");
            assert!(listed.contains(&what), "{what}\n  dunlin: {a:?}\n  redis:  {b:?}");
            newer.insert(what);
        }
    }
    assert_eq!(newer, listed, "what is listed differs");
}

#[test]
fn keys_and_what_is_done_with_them_are_those_of_redis() {
    let redis = Redis::start().expect("this test compares with redis-server");
    let server = Server::start(&[]);
    let (mut ours, mut theirs) = (server.connect(), Conn::open(redis.port));
    let known: BTreeSet<String> = theirs.run("COMMAND LIST").texts().into_iter().collect();
    let grammar = Grammar::new();
    let seed = std::env::var("DUNLIN_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rng::seed_from_os);
    let mut rng = rng::Rng::new(seed);
    let mut with_keys = 0;
    for command in (0..150).flat_map(|_| grammar.batch(&mut rng, 40)) {
        let name = String::from_utf8_lossy(&command[0]).to_ascii_lowercase();
        // Its destination is overwritten, Valkey says; Redis 7.0 had it updated.
        if !known.contains(&name) || name == "sinterstore" {
            continue;
        }
        for what in ["GETKEYS", "GETKEYSANDFLAGS"] {
            let words: Vec<&[u8]> =
                [&b"COMMAND"[..], what.as_bytes()].into_iter().chain(command.iter().map(Vec::as_slice)).collect();
            // A name alone is too little for Redis 7.0.
            if command.len() == 1 {
                continue;
            }
            let (a, b) = (ours.command(&words), theirs.command(&words));
            // It reads a count as far as it is a number, and pairs what is left over after STREAMS.
            let odd = name.starts_with("xread") || command.iter().any(|word| word == b"1.5" || word == b"01");
            if odd && a.is_error() && !b.is_error() {
                continue;
            }
            assert!(a == b, "{what} {}\n  dunlin: {a:?}\n  redis:  {b:?}\nDUNLIN_SEED={seed}", show(&command));
            with_keys += usize::from(!a.is_error());
        }
    }
    assert!(with_keys > 5000, "{with_keys}");
}
