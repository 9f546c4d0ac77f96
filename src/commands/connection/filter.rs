//! The filters of CLIENT LIST and CLIENT KILL.

use std::sync::atomic::Ordering::Relaxed;

use super::list::letters;
use crate::base::num;
use crate::clients::{Client, flags};
use crate::commands::Ctx;
use crate::commands::options::is;
use crate::resp::Error;

/// The class of a client, as CLIENT KILL TYPE and the output buffer limits have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// An ordinary client; MONITOR counts as one.
    Normal,
    /// The replica of this server.
    Replica,
    /// The primary of this server.
    Primary,
    /// A client with subscriptions.
    Pubsub,
}

impl Class {
    fn named(name: &[u8]) -> Result<Class, Error> {
        match () {
            () if is(name, "normal") => Ok(Class::Normal),
            () if is(name, "replica") || is(name, "slave") => Ok(Class::Replica),
            () if is(name, "primary") || is(name, "master") => Ok(Class::Primary),
            () if is(name, "pubsub") => Ok(Class::Pubsub),
            () => Err(quoting("ERR Unknown client type", name)),
        }
    }

    /// The class of a client.
    pub fn of(client: &Client) -> Class {
        if client.has(flags::PRIMARY) {
            Class::Primary
        } else if client.has(flags::REPLICA) && !client.has(flags::MONITOR) {
            Class::Replica
        } else if client.subscriptions() > 0 {
            Class::Pubsub
        } else {
            Class::Normal
        }
    }
}

fn quoting(text: &str, arg: &[u8]) -> Error {
    Error::owned([text.as_bytes(), b" '", arg, b"'"].concat())
}

/// One property to look for.
#[derive(Clone, Debug)]
enum Test {
    Ids(Vec<u64>),
    Class(Class),
    Addr(Vec<u8>),
    Laddr(Vec<u8>),
    Ip(Vec<u8>),
    User(Vec<u8>),
    Name(Vec<u8>),
    LibName(Vec<u8>),
    LibVer(Vec<u8>),
    Db(usize),
    /// Letters of which all are set.
    Flags(Vec<u8>),
    /// It said that it can be redirected, the one ability that there is.
    Redirects,
    /// At least so many seconds without a command.
    Idle(i64),
    /// At least so many seconds old.
    MaxAge(i64),
}

impl Test {
    fn holds(&self, client: &Client, now: i64) -> bool {
        let seconds_since = |ms: i64| (now - ms) / 1000;
        match self {
            Test::Ids(ids) => ids.contains(&client.id),
            Test::Class(class) => Class::of(client) == *class,
            Test::Addr(addr) => client.addr.as_bytes() == addr,
            Test::Laddr(addr) => client.laddr.as_bytes() == addr,
            Test::Ip(ip) => host(&client.addr).as_bytes() == ip,
            Test::User(user) => effective_user(client) == *user,
            Test::Name(name) => client.names.lock().name == *name,
            Test::LibName(name) => client.names.lock().lib_name == *name,
            Test::LibVer(version) => client.names.lock().lib_ver == *version,
            Test::Db(db) => client.db.load(Relaxed) == *db,
            Test::Flags(wanted) => {
                let set = letters(client);
                wanted.iter().all(|letter| set.as_bytes().contains(letter))
            }
            Test::Redirects => client.has(flags::REDIRECTS),
            Test::Idle(seconds) => seconds_since(client.active.load(Relaxed)) >= *seconds,
            Test::MaxAge(seconds) => seconds_since(client.created) >= *seconds,
        }
    }
}

/// The user of a client: `default` until it says otherwise.
pub fn effective_user(client: &Client) -> Vec<u8> {
    let names = client.names.lock();
    if names.user.is_empty() { b"default".to_vec() } else { names.user.clone() }
}

/// The address without the port.
fn host(addr: &str) -> &str {
    let host = addr.rsplit_once(':').map_or(addr, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// What filters are checked by.
pub struct Known<'a> {
    /// How many databases there are.
    pub databases: usize,
    /// Whether there is a user of this name.
    pub is_user: &'a dyn Fn(&[u8]) -> bool,
}

impl Filter {
    /// The filters of a command.
    pub fn of(cx: &Ctx<'_>, args: &[&[u8]], bad_id: &'static str) -> Result<Filter, Error> {
        let is_user = |name: &[u8]| cx.server.acl.get(name).is_some();
        let known = Known { databases: cx.db.keyspace().databases(), is_user: &is_user };
        Filter::parse(args, &known, bad_id)
    }
}

/// What a client must be, and what it must not be.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Each with whether it must hold.
    tests: Vec<(Test, bool)>,
    /// SKIPME: leave out the client that asks, where it was said.
    pub skip_me: Option<bool>,
}

/// The letter that stands for CLIENT CAPA redirect.
const REDIRECTS: u8 = b'r';
/// The letters that FLAGS knows.
const LETTERS: &[u8] = b"OSMPxbtRBdcuAUreTNiE";

impl Filter {
    /// Only this address (the old form of CLIENT KILL).
    pub fn addr(addr: &[u8]) -> Filter {
        Filter { tests: vec![(Test::Addr(addr.to_vec()), true)], skip_me: Some(false) }
    }

    /// Parse `<option> <value> ...`; each option but SKIPME also exists with `NOT-` in front, and ID takes several
    /// values. `bad_id` is the error for what is no id.
    pub fn parse(mut args: &[&[u8]], known: &Known<'_>, bad_id: &'static str) -> Result<Filter, Error> {
        let mut filter = Filter::default();
        while let Some((option, values)) = args.split_first() {
            let Some((value, rest)) = values.split_first() else { return Err(Error::SYNTAX) };
            if is(option, "SKIPME") {
                filter.skip_me = Some(match () {
                    () if is(value, "yes") => true,
                    () if is(value, "no") => false,
                    () => return Err(Error::SYNTAX),
                });
                args = rest;
                continue;
            }
            let negated = option.len() > 4 && option[..4].eq_ignore_ascii_case(b"NOT-");
            let name = if negated { &option[4..] } else { option };
            let (test, rest) = if is(name, "ID") { ids(values, bad_id)? } else { (test(name, value, known)?, rest) };
            filter.tests.push((test, !negated));
            args = rest;
        }
        Ok(filter)
    }

    /// Does the client fit?
    pub fn fits(&self, client: &Client, now: i64) -> bool {
        self.tests.iter().all(|(test, wanted)| test.holds(client, now) == *wanted)
    }
}

/// The ids at the front of `values`, at least one; what follows them.
fn ids<'a, 'b>(values: &'a [&'b [u8]], bad: &'static str) -> Result<(Test, &'a [&'b [u8]]), Error> {
    let id = |value: &[u8]| num::parse_i64(value).filter(|&id| id > 0).map(|id| id as u64);
    let mut ids = vec![id(values[0]).ok_or(Error::new(bad))?];
    let mut rest = &values[1..];
    // A number cannot be the name of the next option, so it is an id, and then a valid one.
    while let Some(value) = rest.first().filter(|value| num::parse_i64(value).is_some()) {
        ids.push(id(value).ok_or(Error::new(bad))?);
        rest = &rest[1..];
    }
    Ok((Test::Ids(ids), rest))
}

fn test(name: &[u8], value: &[u8], known: &Known<'_>) -> Result<Test, Error> {
    let databases = known.databases;
    let text = || value.to_vec();
    Ok(match () {
        () if is(name, "TYPE") => Test::Class(Class::named(value)?),
        () if is(name, "ADDR") => Test::Addr(text()),
        () if is(name, "LADDR") => Test::Laddr(text()),
        () if is(name, "IP") => Test::Ip(text()),
        () if is(name, "USER") => {
            if !(known.is_user)(value) {
                return Err(quoting("ERR No such user", value));
            }
            Test::User(text())
        }
        () if is(name, "NAME") => Test::Name(text()),
        () if is(name, "LIB-NAME") => Test::LibName(text()),
        () if is(name, "LIB-VER") => Test::LibVer(text()),
        () if is(name, "DB") => {
            let db = num::parse_i64(value).ok_or(Error::new("ERR DB is not an integer or out of range"))?;
            let bad = Error::owned(format!("ERR DB number should be between 0 and {}", databases - 1));
            Test::Db(usize::try_from(db).ok().filter(|&db| db < databases).ok_or(bad)?)
        }
        () if is(name, "FLAGS") => {
            if value.is_empty() || !value.iter().all(|letter| LETTERS.contains(letter)) {
                return Err(Error::owned([b"ERR Unknown flags found in the provided filter: ", value].concat()));
            }
            Test::Flags(text())
        }
        () if is(name, "CAPA") => {
            if value.is_empty() || !value.iter().all(|letter| *letter == REDIRECTS) {
                return Err(Error::owned([b"ERR Unknown capa found in the provided filter: ", value].concat()));
            }
            Test::Redirects
        }
        () if is(name, "IDLE") => Test::Idle(seconds(value, "idle")?),
        () if is(name, "MAXAGE") => Test::MaxAge(seconds(value, "maxage")?),
        () => return Err(Error::SYNTAX),
    })
}

fn seconds(value: &[u8], what: &str) -> Result<i64, Error> {
    match num::parse_i64(value) {
        None => Err(Error::owned(format!("ERR {what} is not an integer or out of range"))),
        Some(n) if n <= 0 => Err(Error::owned(format!("ERR {what} should be greater than 0"))),
        Some(n) => Ok(n),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Filter, Error> {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let known = Known { databases: 16, is_user: &|name| name == b"default" };
        Filter::parse(&args, &known, "ERR Invalid client ID")
    }

    fn client(id: u64, name: &str) -> Client {
        let client = Client { id, addr: format!("10.0.0.{id}:5000"), created: 0, ..Client::default() };
        client.names.lock().name = name.as_bytes().to_vec();
        client.active.store(60_000, Relaxed);
        client
    }

    #[test]
    fn filters_combine_and_can_be_turned_round() {
        let (a, b) = (client(1, "a"), client(2, "b"));
        let fits = |line: &str| {
            let filter = parse(line).unwrap();
            (filter.fits(&a, 100_000), filter.fits(&b, 100_000))
        };
        assert_eq!(fits("ID 1"), (true, false));
        assert_eq!(fits("ID 1 2 NAME b"), (false, true));
        assert_eq!(fits("NOT-ID 1"), (false, true));
        assert_eq!(fits("IP 10.0.0.2"), (false, true));
        assert_eq!(fits("ADDR 10.0.0.1:5000 TYPE normal"), (true, false));
        assert_eq!(fits("MAXAGE 100 NOT-IDLE 41"), (true, true));
        assert_eq!(fits("MAXAGE 101"), (false, false));
        assert_eq!(fits("USER default DB 0 FLAGS N"), (true, true));
        b.set(flags::REDIRECTS, true);
        assert_eq!((fits("CAPA r"), fits("NOT-CAPA rr")), ((false, true), (true, false)));
        assert_eq!(parse("SKIPME no").unwrap().skip_me, Some(false));
    }

    #[test]
    fn what_makes_no_sense_is_refused_in_known_words() {
        let error = |line: &str| parse(line).unwrap_err().to_string();
        assert_eq!(error("ID 0"), "ERR Invalid client ID");
        assert_eq!(error("ID 1 -5"), "ERR Invalid client ID");
        assert_eq!(error("TYPE x"), "ERR Unknown client type 'x'");
        assert_eq!(error("USER nobody"), "ERR No such user 'nobody'");
        assert_eq!(error("MAXAGE x"), "ERR maxage is not an integer or out of range");
        assert_eq!(error("MAXAGE 0"), "ERR maxage should be greater than 0");
        assert_eq!(error("SKIPME perhaps"), "ERR syntax error");
        assert_eq!(error("ID"), "ERR syntax error");
        assert_eq!(error("WHAT 1"), "ERR syntax error");
        assert_eq!(error("CAPA x"), "ERR Unknown capa found in the provided filter: x");
        assert_eq!(error("FLAGS 9"), "ERR Unknown flags found in the provided filter: 9");
    }
}
