//! From a name to its command: an open-addressed table over the first sixteen bytes of the name, in lower case.

use super::{Command, Scope};
use crate::spec::{Begin, Find, Flags};

/// A command with what was worked out about it at the start.
#[derive(Debug)]
pub struct Entry {
    /// The command.
    pub command: &'static Command,
    /// Its number: dense, subcommands included. Indexes statistics.
    pub id: u16,
    /// The container, of a subcommand.
    pub parent: Option<u16>,
    /// First subcommand's number, and how many there are.
    subs: (u16, u16),
    /// A plain command on the one key `args[1]`, or on none, which can run in a batch under common locks.
    pub batchable: bool,
    /// It has a key.
    pub keyed: bool,
    /// The name by which clients call it (it may have been renamed).
    pub name: String,
    /// Its [`fold`], where that and the length say all: up to sixteen letters.
    folded: Option<(u64, u64)>,
}

impl Entry {
    /// Its flags.
    #[inline]
    pub fn flags(&self) -> Flags {
        self.command.meta.flags
    }

    /// Whether this is its name, in any case.
    #[inline]
    fn is_called(&self, name: &[u8], folded: (u64, u64)) -> bool {
        self.name.len() == name.len()
            && match self.folded {
                Some(own) => own == folded,
                None => name.eq_ignore_ascii_case(self.name.as_bytes()),
            }
    }
}

/// All commands.
#[derive(Debug)]
pub struct Lookup {
    entries: Vec<Entry>,
    index: Vec<u16>,
    shift: u32,
}

const EMPTY: u16 = u16::MAX;

/// Up to sixteen bytes of a name with the case bit set. Names of commands are letters, `_`, `-` and `|`; of letters only
/// the two cases of one are alike in it.
#[inline]
fn fold(name: &[u8]) -> (u64, u64) {
    const LOWER: u64 = 0x2020_2020_2020_2020;
    let word = |part: &[u8]| {
        let mut b = [0u8; 8];
        b[..part.len()].copy_from_slice(part);
        u64::from_le_bytes(b)
    };
    let n = name.len();
    match n {
        0..=3 => {
            let b = |i: usize| u64::from(*name.get(i).unwrap_or(&0));
            ((b(0) | b(1) << 8 | b(2) << 16) | LOWER, LOWER)
        }
        4..=8 => {
            let at = |i: usize| u64::from(u32::from_le_bytes([name[i], name[i + 1], name[i + 2], name[i + 3]]));
            ((at(0) | at(n - 4) << 32) | LOWER, LOWER)
        }
        _ => (word(&name[..8]) | LOWER, word(&name[n.min(16) - 8..n.min(16)]) | LOWER),
    }
}

/// The fold of a name that is nothing else's.
fn exact(name: &str) -> Option<(u64, u64)> {
    (name.len() <= 16 && name.bytes().all(|c| c.is_ascii_alphabetic())).then(|| fold(name.as_bytes()))
}

impl Lookup {
    /// Numbers the commands of a table and indexes their names. `rename(name)` gives the name to use, or `None` to
    /// leave the command out.
    pub fn new(table: &[&'static Command], rename: impl Fn(&str) -> Option<String>) -> Lookup {
        let mut entries = Vec::new();
        for &command in table {
            let name = rename(command.meta.name);
            let parent = entries.len() as u16;
            let first_sub = parent + 1;
            entries.push(Entry {
                command,
                id: parent,
                parent: None,
                subs: (first_sub, command.subs.len() as u16),
                batchable: batchable(command),
                keyed: !command.meta.keys.is_empty(),
                folded: name.as_deref().and_then(exact),
                name: name.unwrap_or_default(),
            });
            for &sub in command.subs {
                entries.push(Entry {
                    command: sub,
                    id: entries.len() as u16,
                    parent: Some(parent),
                    subs: (0, 0),
                    batchable: false,
                    keyed: !sub.meta.keys.is_empty(),
                    name: sub.meta.name.to_owned(),
                    folded: None,
                });
            }
        }
        let size = (entries.len() * 4).next_power_of_two();
        let mut lookup = Lookup { entries, index: vec![EMPTY; size], shift: 64 - size.trailing_zeros() };
        for i in 0..lookup.entries.len() {
            let e = &lookup.entries[i];
            if e.parent.is_some() || e.name.is_empty() {
                continue;
            }
            let mut at = lookup.slot(fold(e.name.as_bytes()), e.name.len());
            while lookup.index[at] != EMPTY {
                at = (at + 1) & (size - 1);
            }
            lookup.index[at] = i as u16;
        }
        lookup
    }
    #[inline]
    fn slot(&self, (a, b): (u64, u64), len: usize) -> usize {
        let h = (a ^ b.rotate_left(29) ^ (len as u64) << 59).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (h >> self.shift) as usize
    }
    /// The command of this name, in any case.
    #[inline]
    pub fn command(&self, name: &[u8]) -> Option<&Entry> {
        let folded = fold(name);
        let mut at = self.slot(folded, name.len());
        loop {
            let i = self.index[at];
            if i == EMPTY {
                return None;
            }
            let e = &self.entries[i as usize];
            if e.is_called(name, folded) {
                return Some(e);
            }
            at = (at + 1) & (self.index.len() - 1);
        }
    }
    /// The command or subcommand that a request is for. A container whose second word is no subcommand of it comes
    /// back itself.
    pub fn resolve(&self, args: &[&[u8]]) -> Option<&Entry> {
        let e = self.command(args.first()?)?;
        match args.get(1) {
            Some(sub) if e.subs.1 > 0 => Some(self.sub(e, sub).unwrap_or(e)),
            _ => Some(e),
        }
    }
    /// A subcommand of a container by its name.
    pub fn sub(&self, container: &Entry, name: &[u8]) -> Option<&Entry> {
        let own = |e: &&Entry| {
            e.command.meta.name.split_once('|').is_some_and(|(_, s)| name.eq_ignore_ascii_case(s.as_bytes()))
        };
        self.subs(container).iter().find(own)
    }
    /// The subcommands of a container.
    pub fn subs(&self, container: &Entry) -> &[Entry] {
        let numbers = self.numbers_of_subs(container);
        &self.entries[numbers.start as usize..numbers.end as usize]
    }
    /// The numbers of the subcommands of a container.
    pub fn numbers_of_subs(&self, container: &Entry) -> std::ops::Range<u16> {
        let (first, n) = container.subs;
        first..first + n
    }
    /// Every command and subcommand, by number.
    pub fn all(&self) -> &[Entry] {
        &self.entries
    }
    /// Every command that is no subcommand and was not renamed away.
    pub fn commands(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|e| e.parent.is_none() && !e.name.is_empty())
    }
    /// By number.
    #[inline]
    pub fn get(&self, id: u16) -> &Entry {
        &self.entries[id as usize]
    }
}

fn batchable(c: &Command) -> bool {
    let plain = !c.meta.flags.any(
        Flags::BLOCKING
            .or(Flags::ADMIN)
            .or(Flags::PUBSUB)
            .or(Flags::NO_AUTH)
            .or(Flags::NO_MULTI)
            .or(Flags::MOVABLEKEYS),
    );
    let one = matches!(c.meta.keys, [spec] if matches!(
        (spec.begin, spec.find), (Begin::Index(1), Find::Range { last: 0, .. })));
    let none = c.meta.keys.is_empty() && matches!(c.scope, Scope::None) && c.meta.flags.has(Flags::FAST);
    plain && c.subs.is_empty() && (none || one && matches!(c.scope, Scope::Keys))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::table;

    #[test]
    fn every_command_is_found_in_any_case_and_nothing_else_is() {
        let l = Lookup::new(&table::all(), |n| Some(n.to_owned()));
        for e in l.commands() {
            assert!(std::ptr::eq(l.command(e.name.to_uppercase().as_bytes()).unwrap(), e), "{}", e.name);
            assert!(l.command(format!("{}~", e.name).as_bytes()).is_none());
            for sub in l.subs(e) {
                let word = sub.name.split_once('|').unwrap().1.to_uppercase();
                assert!(std::ptr::eq(l.resolve(&[e.name.as_bytes(), word.as_bytes()]).unwrap(), sub));
            }
        }
        for odd in [&b""[..], b"x", b"ge", b"g\x05t", b"\xff\xff\xff\xff", &[b'a'; 300]] {
            assert!(l.command(odd).is_none());
        }
    }

    #[test]
    fn a_name_with_one_byte_changed_is_another_name() {
        let l = Lookup::new(&table::all(), |n| Some(n.to_owned()));
        for e in l.commands() {
            for i in 0..e.name.len() {
                for byte in 0..=u8::MAX {
                    let mut name = e.name.clone().into_bytes();
                    name[i] = byte;
                    let found = l.command(&name).map(|e| e.name.clone().into_bytes());
                    assert!(found.is_none_or(|found| found.eq_ignore_ascii_case(&name)), "{name:?}");
                }
            }
        }
    }

    #[test]
    fn a_renamed_command_answers_to_its_new_name_only() {
        let l = Lookup::new(&table::all(), |n| match n {
            "get" => Some("fetch".to_owned()),
            "set" => None,
            n => Some(n.to_owned()),
        });
        assert!(l.command(b"get").is_none() && l.command(b"set").is_none() && l.command(b"FETCH").is_some());
    }

    #[test]
    fn names_are_unique_and_metadata_is_complete() {
        let mut seen = std::collections::HashSet::new();
        for e in Lookup::new(&table::all(), |n| Some(n.to_owned())).all() {
            let m = &e.command.meta;
            assert!(seen.insert(m.name), "{} twice", m.name);
            assert!(m.name == m.name.to_lowercase() && m.arity != 0, "{}", m.name);
            assert!(!m.summary.is_empty() && m.summary.ends_with('.'), "{}: a summary is a sentence", m.name);
            assert!(!(m.flags.has(Flags::WRITE) && m.flags.has(Flags::READONLY)), "{}", m.name);
        }
    }
}
