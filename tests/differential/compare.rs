//! When two replies count as the same.
//!
//! Equal bytes always do. The exceptions, each for a reason:
//! - Sets, hashes and key listings have no order: they are compared sorted.
//! - Random picks are compared by their number; the grammar asks for none that changes data.
//! - Times to live are compared with a tolerance of two seconds, and of the time between the two servers' executions where the
//!   machine stood still for longer.
//! - Redis 7.0 lacks some options, and what it answers in their place is in [`is_newer`].
//! - SORT reads an element up to its first NUL byte in Redis, and in full here.
//! - Redis 7.0 prints doubles with 17 digits where Valkey prints the shortest form: they are compared as numbers.

use crate::support::Value;

/// Commands whose reply has no order.
const UNORDERED: &[&str] = &["smembers", "sinter", "sunion", "sdiff", "hkeys", "hvals", "keys", "hgetall", "spop"];
/// Commands whose reply is a cursor, which is 0, and a list without order.
const SCANS: &[&str] = &["scan", "sscan", "hscan", "zscan"];
/// Commands whose reply is about sizes and bytes in memory.
const SIZES: &[&str] = &["memory", "dump"];
/// Commands whose reply is a random pick.
const RANDOM: &[&str] = &["srandmember", "hrandfield", "zrandmember", "randomkey"];
/// Commands whose reply is a time.
const TIMES: &[&str] = &["ttl", "pttl", "expiretime", "pexpiretime"];

/// Why the replies differ; nothing if they do not. The servers executed what came so far at most `apart` ms after one another.
pub fn differ(command: &[Vec<u8>], ours: &Value, theirs: &Value, apart: i64) -> Option<&'static str> {
    let name = String::from_utf8_lossy(&command[0]).to_ascii_lowercase();
    if name == "exec" {
        // What the transaction held is not known here; its members were compared as QUEUED. Order within is kept.
        return same_shape(ours, theirs).err();
    }
    if same(ours, theirs) {
        return None;
    }
    // A set that is not to be sorted has no order either.
    let unsorted = name.starts_with("sort") && command.iter().any(|arg| arg == b"nosort");
    if (UNORDERED.contains(&name.as_str()) || unsorted) && same(&sorted(&name, ours), &sorted(&name, theirs)) {
        return None;
    }
    // With a LIMIT, which members of an unordered set come is not said; how many is.
    let some_of_set = unsorted && command.iter().any(|arg| arg.eq_ignore_ascii_case(b"limit"));
    if SCANS.contains(&name.as_str())
        && let (Value::Array(a), Value::Array(b)) = (ours, theirs)
        && a[0] == b[0]
        && same(&sorted(&name, &a[1]), &sorted(&name, &b[1]))
    {
        return None;
    }
    if name == "object" && (is_newer_encoding(ours, theirs) || matches!((ours, theirs), (Value::Int(_), Value::Int(_))))
    {
        return None;
    }
    if SIZES.contains(&name.as_str()) {
        return same_shape(ours, theirs).err();
    }
    if RANDOM.contains(&name.as_str()) || some_of_set {
        return same_shape(ours, theirs).err();
    }
    if TIMES.contains(&name.as_str())
        && let (Value::Int(a), Value::Int(b)) = (ours, theirs)
    {
        let tolerance = if name.starts_with('p') { 2000 + 2 * apart } else { 2 + 2 * apart / 1000 };
        return ((a - b).abs() > tolerance || (*a < 0) != (*b < 0)).then_some("the times differ");
    }
    if is_newer(&name, ours) {
        return None;
    }
    // Any scores are places, most of them in one corner of the map and as good as equally far away.
    if name.starts_with("geo") && command.get(1).is_some_and(|key| key.starts_with(b"z")) {
        return same_shape(ours, theirs).err();
    }
    // A start without an end is an error there.
    if name == "bitcount" && command.len() == 3 {
        return None;
    }
    // Which of several reasons to refuse an ID is told depends on the version.
    if name == "xsetid" && matches!((ours, theirs), (Value::Error(_), Value::Error(_))) {
        return None;
    }
    // Redis does not clear errno before it reads a number, and so may refuse any after one that overflowed.
    let refuses =
        |reply: &Value| matches!(reply, Value::Error(text) if text.contains("can't be converted into double"));
    if name.starts_with("sort")
        && (refuses(ours) || refuses(theirs) || [ours, theirs].iter().any(|reply| holds_nul(reply)))
    {
        return None;
    }
    Some("the replies differ")
}

/// What Valkey (8.0) makes something odd of: AUTH with a wrong password has no reply in a transaction; it cuts LSET's index to 32 bits, and a LIMIT that begins below zero counts from the
/// end of a sorted set, if that is a tree.
pub fn is_odd_in_valkey(command: &[Vec<u8>]) -> bool {
    let is = |word: &[u8], name: &str| word.eq_ignore_ascii_case(name.as_bytes());
    let number = |word: &Vec<u8>| std::str::from_utf8(word).ok()?.parse::<i64>().ok();
    match &command[0][..] {
        name if is(name, "auth") => true,
        name if is(name, "lset") => command.get(2).and_then(number).is_some_and(|n| i32::try_from(n).is_err()),
        [b'z' | b'Z', ..] => {
            command.windows(2).any(|pair| is(&pair[0], "limit") && number(&pair[1]).is_some_and(|n| n < 0))
        }
        _ => false,
    }
}

/// The same values in any order: Valkey's Lua gives the pairs of a table in an order of its own.
pub fn have_same_leaves(a: &Value, b: &Value) -> bool {
    fn leaves(value: &Value, into: &mut Vec<String>) {
        match value {
            Value::Array(items) | Value::Set(items) | Value::Push(items) => items.iter().for_each(|v| leaves(v, into)),
            Value::Map(pairs) => pairs.iter().for_each(|(field, v)| {
                leaves(field, into);
                leaves(v, into);
            }),
            leaf => into.push(format!("{leaf:?}")),
        }
    }
    let sorted = |value| {
        let mut all = Vec::new();
        leaves(value, &mut all);
        all.sort();
        all
    };
    sorted(a) == sorted(b)
}

/// Replies to what Valkey has and Redis 7.0 has not, or words otherwise. None of them changes data.
fn is_newer(name: &str, ours: &Value) -> bool {
    let Value::Error(ours) = ours else { return false };
    match name {
        // The least rank has no opposite.
        "lpos" => ours.contains("value must between -9223372036854775807"),
        // Arguments are read before the key is looked for.
        "bitcount" | "bitpos" => ours == "ERR value is not an integer or out of range" || ours == "ERR syntax error",
        "xread" | "xreadgroup" => ours.contains("Unbalanced '"),
        _ => false,
    }
}

/// Small sets and lists are listpacks since Redis 7.2; and a sorted set that another one was stored over may be packed
/// again. And how a string was made does not matter here, if it is a number or short.
fn is_newer_encoding(ours: &Value, theirs: &Value) -> bool {
    let texts = ["int", "embstr", "raw"];
    let strings = |value: &Value| texts.contains(&value.text_or("").as_str());
    strings(ours) && strings(theirs)
        || ours.text_or("") == "listpack"
            && ["hashtable", "quicklist", "skiplist"].contains(&theirs.text_or("").as_str())
}

fn holds_nul(value: &Value) -> bool {
    match value {
        Value::Bulk(text) => text.contains(&0),
        Value::Array(items) => items.iter().any(holds_nul),
        _ => false,
    }
}

/// Equal, up to the spelling of doubles.
fn same(a: &Value, b: &Value) -> bool {
    let all = |a: &[Value], b: &[Value]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b));
    match (a, b) {
        (Value::Array(a), Value::Array(b)) | (Value::Set(a), Value::Set(b)) | (Value::Push(a), Value::Push(b)) => {
            all(a, b)
        }
        (Value::Map(a), Value::Map(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(&a.0, &b.0) && same(&a.1, &b.1))
        }
        (Value::Double(a), Value::Double(b)) => number(a.as_bytes()) == number(b.as_bytes()),
        (Value::Bulk(a), Value::Bulk(b)) => {
            // A score in RESP2.
            a == b
                || (number(a).is_some() && number(a) == number(b) && a.contains(&b'.') && b.contains(&b'.'))
                || (number(a).is_some() && number(a) == number(b) && b.windows(2).any(|w| w == b"e+"))
        }
        _ => a == b,
    }
}

fn number(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The same number of elements, or both an error or both not.
fn same_shape(a: &Value, b: &Value) -> Result<(), &'static str> {
    let len = |v: &Value| match v {
        Value::Array(items) | Value::Set(items) | Value::Push(items) => items.len(),
        Value::Map(items) => items.len(),
        Value::Nil => usize::MAX,
        Value::NilArray => usize::MAX - 1,
        Value::Error(_) => usize::MAX - 2,
        _ => usize::MAX - 3,
    };
    if len(a) == len(b) { Ok(()) } else { Err("the shapes differ") }
}

fn sorted(name: &str, value: &Value) -> Value {
    let key = |v: &Value| format!("{v:?}");
    match value {
        Value::Array(items) if ["hgetall", "hscan", "zscan"].contains(&name) => {
            let mut pairs: Vec<&[Value]> = items.chunks(2).collect();
            pairs.sort_by_key(|pair| key(&pair[0]));
            Value::Array(pairs.concat())
        }
        Value::Array(items) => {
            let mut items = items.clone();
            items.sort_by_key(key);
            Value::Array(items)
        }
        Value::Set(items) => {
            let mut items = items.clone();
            items.sort_by_key(key);
            Value::Set(items)
        }
        Value::Map(items) => {
            let mut items = items.clone();
            items.sort_by_key(|(field, _)| key(field));
            Value::Map(items)
        }
        other => other.clone(),
    }
}
