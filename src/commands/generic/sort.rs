//! SORT and SORT_RO.

use std::cmp::Ordering;

use smallvec::SmallVec;

use super::super::options::{self, is};
use super::super::{CmdResult, Command, Ctx, Scope};
use crate::base::num;
use crate::base::slot::{key_slot, pattern_slot};
use crate::keyspace::{Text, Ttl, Value, View, notify};
use crate::resp::Error;
use crate::spec::{Flags, Group, KeyFlags, KeySpec, KeyUse, Meta};
use crate::types::{End, List};

const KEY: KeySpec = KeySpec::one(1, KeyFlags::RO.or(KeyFlags::ACCESS));
/// BY and GET may name any key.
const PATTERNS: KeySpec = KeySpec::unknown(KeyFlags::RO.or(KeyFlags::ACCESS));
/// STORE may stand anywhere, and more than once: the last one counts.
const STORE: KeySpec = KeySpec::unknown(KeyFlags::OW.or(KeyFlags::UPDATE));
const COMPLEXITY: &str = "O(N+M*log(M)) where N is the number of elements and M the number of those returned.";

/// `SORT key [BY pattern] [LIMIT offset count] [GET pattern ...] [ASC | DESC] [ALPHA] [STORE destination]`
/// <https://valkey.io/commands/sort/>
pub static SORT: Command = Command::new(
    Meta::new("sort", -2, Flags::WRITE.or(Flags::DENYOOM).or(Flags::MOVABLEKEYS), Group::Generic)
        .cat(ALL_TYPES)
        .not_cat(crate::spec::Cat::KEYSPACE)
        .getkeys(sort_keys)
        .keys(const { &[KEY, PATTERNS, STORE] })
        .doc("1.0.0", COMPLEXITY, "Sorts the elements of a list, set or sorted set, and returns or stores them."),
    |cx, args| sort(cx, args, false),
)
.scope(Scope::Dynamic(scope));
/// `SORT_RO key [BY pattern] [LIMIT offset count] [GET pattern ...] [ASC | DESC] [ALPHA]`
/// <https://valkey.io/commands/sort_ro/>
pub static SORT_RO: Command = Command::new(
    Meta::new("sort_ro", -2, Flags::READONLY.or(Flags::MOVABLEKEYS), Group::Generic)
        .cat(ALL_TYPES)
        .not_cat(crate::spec::Cat::KEYSPACE)
        .keys(const { &[KEY, PATTERNS] })
        .doc("7.0.0", COMPLEXITY, "Sorts the elements of a list, set or sorted set, and returns them."),
    |cx, args| sort(cx, args, true),
)
.scope(Scope::Dynamic(scope));

const ALL_TYPES: crate::spec::Cat =
    crate::spec::Cat::SET.or(crate::spec::Cat::SORTEDSET).or(crate::spec::Cat::LIST).or(crate::spec::Cat::DANGEROUS);

/// With patterns that lead to other keys, all slots.
fn scope(args: &[&[u8]]) -> Scope {
    let leads = |w: &[&[u8]]| (is(w[0], "BY") || is(w[0], "GET")) && w[1].contains(&b'*');
    if args.windows(2).any(leads) { Scope::All } else { Scope::Keys }
}

/// The key, and the destination of the last STORE.
fn sort_keys(args: &[&[u8]]) -> Option<SmallVec<[KeyUse; 4]>> {
    let mut keys = SmallVec::new();
    keys.push(KeyUse { index: 1, flags: KEY.flags });
    let (mut i, mut store) = (2, None);
    while i < args.len() {
        i += match () {
            () if is(args[i], "LIMIT") => 3,
            () if is(args[i], "GET") || is(args[i], "BY") => 2,
            () if is(args[i], "STORE") && i + 1 < args.len() => {
                store = Some(i + 1);
                2
            }
            () => 1,
        };
    }
    keys.extend(store.map(|index| KeyUse { index, flags: STORE.flags }));
    Some(keys)
}

/// Whether the user may read whatever key the patterns of BY and GET lead to.
fn may_follow(cx: &Ctx<'_>, args: &[&[u8]]) -> bool {
    let Some(user) = cx.session.user.as_ref().filter(|_| !cx.session.unrestricted) else { return true };
    user.may_read_all(&cx.server.acl.table, cx.entry.id, args, cx.session.db)
}

/// Which keys the patterns of BY and GET may lead to.
#[derive(Clone, Copy)]
struct Reach {
    /// In a cluster: those of this slot.
    slot: Option<u16>,
    /// The user may read all keys.
    everything: bool,
}

impl Reach {
    fn check(self, option: &str, pattern: &[u8]) -> Result<(), Error> {
        let elsewhere = |slot| pattern != b"#" && pattern_slot(pattern) != Some(slot);
        if self.slot.is_some_and(elsewhere) {
            return Err(Error::owned(format!(
                "ERR {option} option of SORT denied in Cluster mode when keys formed by the pattern may be in different \
                 slots."
            )));
        }
        if !self.everything {
            return Err(Error::owned(format!(
                "ERR {option} option of SORT denied due to insufficient ACL permissions."
            )));
        }
        Ok(())
    }
}

#[derive(Default)]
struct Request<'a> {
    by: Option<&'a [u8]>,
    unsorted: bool,
    limit: Option<(i64, i64)>,
    get: Vec<&'a [u8]>,
    desc: bool,
    alpha: bool,
    store: Option<&'a [u8]>,
}

impl<'a> Request<'a> {
    fn parse(args: &[&'a [u8]], read_only: bool, reach: Reach) -> Result<Self, Error> {
        let mut r = Request::default();
        let mut i = 0;
        while i < args.len() {
            let (arg, left) = (args[i], args.len() - i - 1);
            match () {
                () if is(arg, "ASC") => r.desc = false,
                () if is(arg, "DESC") => r.desc = true,
                () if is(arg, "ALPHA") => r.alpha = true,
                () if is(arg, "LIMIT") && left >= 2 => {
                    r.limit = Some((options::int(args[i + 1])?, options::int(args[i + 2])?));
                    i += 2;
                }
                () if !read_only && is(arg, "STORE") && left >= 1 => {
                    r.store = Some(args[i + 1]);
                    i += 1;
                }
                () if is(arg, "BY") && left >= 1 => {
                    r.by = Some(args[i + 1]);
                    r.unsorted = !args[i + 1].contains(&b'*');
                    if !r.unsorted {
                        reach.check("BY", args[i + 1])?;
                    }
                    i += 1;
                }
                () if is(arg, "GET") && left >= 1 => {
                    reach.check("GET", args[i + 1])?;
                    r.get.push(args[i + 1]);
                    i += 1;
                }
                () => return Err(Error::SYNTAX),
            }
            i += 1;
        }
        Ok(r)
    }
}

/// What an element is compared by.
enum Weight {
    Number(f64),
    /// `None`: the pattern led nowhere.
    Text(Option<Vec<u8>>),
}

/// The value that a pattern leads to for an element: `#` is the element itself, `*` stands for it in the name of a key,
/// and `->field` behind it for a field of the hash there.
fn follow(cx: &mut Ctx<'_>, pattern: &[u8], element: &[u8]) -> Option<Vec<u8>> {
    if pattern == b"#" {
        return Some(element.to_vec());
    }
    let star = pattern.iter().position(|b| *b == b'*')?;
    let arrow = pattern[star + 1..].windows(2).position(|w| w == b"->").map(|i| star + 1 + i);
    let (name, field) = match arrow {
        Some(i) if i + 2 < pattern.len() => (&pattern[..i], Some(&pattern[i + 2..])),
        _ => (pattern, None),
    };
    let key = [&name[..star], element, &name[star + 1..]].concat();
    let now = cx.db.now;
    match (field, cx.db.read(&key)?.view()) {
        (Some(field), View::Hash(h)) => h.get(field, now).map(|e| e.to_vec()),
        (None, View::String(t)) => Some(Text::to_vec(t)),
        _ => None,
    }
}

/// The elements in the order they are stored; a sorted set's by score. A list and a sorted set from the end if `desc`. And
/// whether they are a set's.
fn elements(cx: &mut Ctx<'_>, key: &[u8], desc: bool) -> Result<(Vec<Vec<u8>>, bool), Error> {
    let mut list = Vec::new();
    let mut is_set = false;
    match cx.db.read(key).map(|e| e.view()) {
        None => {}
        Some(View::List(l)) => {
            l.for_each(|e| list.push(e.to_vec()));
            if desc {
                list.reverse();
            }
        }
        Some(View::Set(s)) => {
            is_set = true;
            s.for_each(|e| list.push(e.to_vec()));
        }
        Some(View::ZSet(z)) => {
            let from = if desc { z.len().saturating_sub(1) } else { 0 };
            z.for_range(from, z.len(), desc, |e, _| list.push(e.to_vec()));
        }
        Some(_) => return Err(Error::WRONGTYPE),
    }
    Ok((list, is_set))
}

fn sort(cx: &mut Ctx<'_>, args: &[&[u8]], read_only: bool) -> CmdResult {
    let slot = cx.server.cluster.is_enabled().then(|| key_slot(args[1]));
    let reach = Reach { slot, everything: may_follow(cx, args) };
    let mut r = Request::parse(&args[2..], read_only, reach)?;
    let (list, is_set) = elements(cx, args[1], r.desc && r.unsorted)?;
    // An unordered source must not store, nor show scripts, an order that differs from machine to machine.
    if r.unsorted && is_set && (r.store.is_some() || cx.session.script.is_some()) {
        r.unsorted = false;
        r.alpha = true;
        r.by = None;
    }
    let len = list.len() as i64;
    let (start, count) = r.limit.unwrap_or((0, -1));
    let start = start.clamp(0, len);
    let end = if count < 0 { len } else { start.saturating_add(count).min(len) };
    let range = start as usize..end.max(start) as usize;

    let sorted: Vec<Vec<u8>> = if r.unsorted {
        list
    } else {
        let mut weighed = Vec::with_capacity(list.len());
        for element in list {
            let weight = weigh(cx, &r, &element)?;
            weighed.push((weight, element));
        }
        weighed.sort_by(|a, b| {
            let order = compare(a, b, &r);
            if r.desc { order.reverse() } else { order }
        });
        weighed.into_iter().map(|(_, e)| e).collect()
    };
    let shown = &sorted[range];
    match r.store {
        None => {
            cx.out.array(shown.len() * r.get.len().max(1));
            for element in shown {
                if r.get.is_empty() {
                    cx.out.bulk(element);
                }
                for pattern in &r.get {
                    let value = follow(cx, pattern, element);
                    cx.out.bulk_or_null(value.as_deref());
                }
            }
        }
        Some(key) => store(cx, key, shown, &r.get),
    }
    Ok(())
}

fn weigh(cx: &mut Ctx<'_>, r: &Request<'_>, element: &[u8]) -> Result<Weight, Error> {
    let text = match r.by {
        Some(pattern) => follow(cx, pattern, element),
        None => Some(element.to_vec()),
    };
    if r.alpha {
        return Ok(Weight::Text(text));
    }
    match text {
        None => Ok(Weight::Number(0.0)),
        Some(t) => number(&t).map(Weight::Number),
    }
}

/// A weight as a number, as strtod reads it: blanks in front are passed over, an empty string is 0.
fn number(text: &[u8]) -> Result<f64, Error> {
    let trimmed = text.trim_ascii_start();
    if trimmed.is_empty() && text.is_empty() {
        return Ok(0.0);
    }
    let n = num::parse_f64(trimmed).filter(|n| !n.is_nan());
    n.ok_or(Error::new("ERR One or more scores can't be converted into double"))
}

fn compare(a: &(Weight, Vec<u8>), b: &(Weight, Vec<u8>), r: &Request<'_>) -> Ordering {
    match (&a.0, &b.0) {
        (Weight::Number(x), Weight::Number(y)) => {
            x.partial_cmp(y).unwrap_or(Ordering::Equal).then_with(|| a.1.cmp(&b.1))
        }
        (Weight::Text(x), Weight::Text(y)) => match (x, y) {
            (Some(x), Some(y)) if r.store.is_none() => crate::base::os::collate(x, y),
            (x, y) => x.cmp(y),
        },
        _ => Ordering::Equal,
    }
}

fn store(cx: &mut Ctx<'_>, key: &[u8], shown: &[Vec<u8>], get: &[&[u8]]) {
    let limits = cx.server.limits();
    let mut list = List::new();
    let mut add = |value: &[u8]| {
        list.reserve(value.len(), 1, &limits);
        list.push(End::Right, value, &limits);
    };
    for element in shown {
        if get.is_empty() {
            add(element);
        }
        for pattern in get {
            add(&follow(cx, pattern, element).unwrap_or_default());
        }
    }
    let len = list.len();
    if len > 0 {
        cx.db.set_value(key, Value::List(Box::new(list)), Ttl::Clear);
        cx.db.notify(notify::LIST, "sortstore", key);
        cx.db.modified(key, len as u64);
    } else if cx.db.delete(key, cx.db.tuning().lazy_server_del) {
        super::deleted(cx, key);
    }
    cx.out.len_int(len);
}
