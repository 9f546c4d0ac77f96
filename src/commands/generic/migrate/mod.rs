//! MIGRATE: keys go to another server, and leave this one once they are there.
//!
//! The command hands the work to a thread of its own ([`crate::clients::Job`]), so that a target that is slow keeps
//! nobody waiting but the client that asked. Keys are locked while they are written out and while they are removed, not
//! in between: one that changed meanwhile is sent again ([`transfer`]). [`target`] is the other server.

pub mod target;
mod transfer;

use smallvec::SmallVec;

use self::transfer::{Order, carry};
use crate::clients::{Block, Job, Reach};
use crate::commands::options::{self, is};
use crate::commands::{CmdResult, Command, Ctx, Scope};
use crate::keyspace::Db;
use crate::resp::Error;
use crate::spec::{Begin, Cat, Find, Flags, Group, KeyFlags, KeySpec, KeyUse, Meta};

const MOVED: KeyFlags = KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE);
const AFTER_KEYS: KeySpec = KeySpec {
    begin: Begin::Keyword("KEYS", -2),
    find: Find::Range { last: -1, step: 1, limit: 0 },
    flags: MOVED.or(KeyFlags::INCOMPLETE),
};
/// Where the options begin.
const OPTIONS: usize = 6;

/// `MIGRATE host port key|"" destination-db timeout [COPY] [REPLACE] [AUTH password | AUTH2 username password]
/// [KEYS key ...]` <https://valkey.io/commands/migrate/>
pub static MIGRATE: Command = Command::new(
    Meta::new("migrate", -6, Flags::WRITE.or(Flags::MOVABLEKEYS), Group::Generic)
        .cat(Cat::DANGEROUS)
        .getkeys(keys)
        .keys(const { &[KeySpec::one(3, MOVED), AFTER_KEYS] })
        .doc(
            "2.6.0",
            "O(N) where N is the size of the values, here and at the other server.",
            "Moves keys to another server.",
        )
        .tips(&["nondeterministic_output"]),
    migrate,
)
.scope(Scope::Own);

/// How many arguments belong to an option.
fn values(option: &[u8]) -> usize {
    match () {
        () if is(option, "AUTH") => 1,
        () if is(option, "AUTH2") => 2,
        () => 0,
    }
}

/// Where the options stand. What belongs to one is passed over; KEYS is the last: what follows it are keys.
fn options_of(args: &[&[u8]]) -> impl Iterator<Item = usize> {
    let mut next = OPTIONS;
    std::iter::from_fn(move || {
        let at = next;
        let option = args.get(at)?;
        next = if is(option, "KEYS") { args.len() } else { at + 1 + values(option) };
        Some(at)
    })
}

/// Where secrets stand.
pub fn secrets(args: &[&[u8]]) -> impl Iterator<Item = usize> {
    options_of(args).flat_map(|at| at + 1..=at + values(args[at]))
}

/// The argument at 3, or those after KEYS.
fn keys(args: &[&[u8]]) -> Option<SmallVec<[KeyUse; 4]>> {
    let keys = match options_of(args).find(|&at| is(args[at], "KEYS")) {
        Some(_) if !args[3].is_empty() => 0..0,
        Some(at) => at + 1..args.len(),
        None => 3..4,
    };
    Some(keys.map(|index| KeyUse { index, flags: MOVED }).collect())
}

fn parse(args: &[&[u8]], asking: bool, compress: bool) -> Result<Order, Error> {
    let mut order = Order {
        host: args[1].to_vec(),
        port: args[2].to_vec(),
        db: 0,
        timeout_ms: 0,
        copy: false,
        replace: false,
        auth: Vec::new(),
        keys: vec![args[3].to_vec()],
        asking,
        compress,
    };
    let mut rest = args[OPTIONS..].iter();
    while let Some(word) = rest.next() {
        match rest.as_slice() {
            _ if is(word, "COPY") => order.copy = true,
            _ if is(word, "REPLACE") => order.replace = true,
            [password, ..] if is(word, "AUTH") => {
                order.auth = vec![password.to_vec()];
                rest.next();
            }
            [user, password, ..] if is(word, "AUTH2") => {
                order.auth = vec![user.to_vec(), password.to_vec()];
                rest.nth(1);
            }
            keys if is(word, "KEYS") => {
                if !args[3].is_empty() {
                    return Err(Error::new(
                        "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string",
                    ));
                }
                order.keys = keys.iter().map(|key| key.to_vec()).collect();
                break;
            }
            _ => return Err(Error::SYNTAX),
        }
    }
    let timeout = options::int(args[5])?;
    order.db = options::int(args[4])?;
    order.timeout_ms = if timeout <= 0 { 1000 } else { timeout as u64 };
    // A key named twice moves once.
    let mut seen = std::collections::HashSet::new();
    order.keys.retain(|key| seen.insert(key.clone()));
    Ok(order)
}

fn migrate(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let order = parse(args, cx.server.cluster.is_enabled(), cx.config().rdbcompression())?;
    let targets = &cx.server.targets;
    if cx.session.deny_blocking {
        // The keys of the whole transaction are locked already.
        cx.db.fx.suppress();
        return carry(targets, &order, &mut Inside(&mut cx.db), cx.out);
    }
    let job = Job(Box::new(move |reach, out| {
        let _note = order.asking.then(|| targets.note(&order.keys));
        carry(targets, &order, reach, out)
    }));
    cx.session.block = Some(Block { job: Some(job), ..Block::default() });
    Ok(())
}

/// Keys that are locked for the whole of the command.
struct Inside<'a, 'b>(&'a mut Db<'b>);

impl Reach for Inside<'_, '_> {
    fn with(&mut self, _keys: &[&[u8]], work: &mut dyn FnMut(&mut Db<'_>, bool)) {
        work(self.0, true);
    }
    fn hold_writes(&mut self, _keys: &[&[u8]]) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<&[u8]> {
        line.split(' ').map(|w| if w == "_" { &b""[..] } else { w.as_bytes() }).collect()
    }

    #[test]
    fn keys_stand_in_one_place_or_after_a_word_that_is_no_password() {
        let of = |line: &str| keys(&words(line)).unwrap().iter().map(|k| k.index).collect::<Vec<_>>();
        assert_eq!(of("MIGRATE h 1 key 0 5"), [3]);
        assert_eq!(of("MIGRATE h 1 key 0 5 AUTH keys COPY"), [3]);
        assert_eq!(of("MIGRATE h 1 _ 0 5 AUTH2 u keys REPLACE KEYS a b"), [11, 12]);
        assert!(of("MIGRATE h 1 key 0 5 KEYS a b").is_empty());
        assert!(of("MIGRATE h 1 _ 0 5 KEYS").is_empty());
    }

    #[test]
    fn options_come_in_any_order_and_bad_ones_are_named() {
        let of = |line: &str| parse(&words(line), false, true);
        let o = of("MIGRATE h 1 _ 3 0 REPLACE AUTH2 u p COPY KEYS a b a").unwrap();
        assert!(o.copy && o.replace && o.db == 3 && o.timeout_ms == 1000);
        assert_eq!((o.auth, o.keys), (vec![b"u".to_vec(), b"p".to_vec()], vec![b"a".to_vec(), b"b".to_vec()]));
        for bad in ["MIGRATE h 1 k 0 5 AUTH", "MIGRATE h 1 k 0 5 AUTH2 u", "MIGRATE h 1 k 0 5 NOW"] {
            assert_eq!(of(bad).err(), Some(Error::SYNTAX), "{bad}");
        }
        let e = of("MIGRATE h 1 k 0 5 KEYS a").err().unwrap();
        assert!(String::from_utf8_lossy(e.text()).contains("must be set to the empty string"));
        assert!(of("MIGRATE h 1 k x 5").is_err() && of("MIGRATE h 1 k 0 y").is_err());
    }
}
