//! What the rules of users need to know of the commands: their names and numbers, categories, subcommands, and which
//! arguments are channels and databases.
//!
//! Names are those that commands were born with: renaming one changes nothing about who may run it.

use std::collections::HashMap;
use std::ops::Range;

use crate::base::num;
use crate::spec::{CATEGORIES, Cat, Flags, Group, KeyFlags, Meta};

/// Which arguments of a command are channels that it publishes or subscribes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channels {
    None,
    /// The first.
    First,
    /// All.
    All {
        /// They are patterns.
        pattern: bool,
    },
}

/// Which databases a command touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Databases {
    /// None.
    None,
    /// The selected one.
    Selected,
    /// The selected one if there are keys among the arguments.
    SelectedWithKeys,
    /// Those that its arguments name: all of them.
    Named,
    /// The selected one, and the one that the second argument names.
    Move,
    /// The selected one, and those behind the word DB.
    Copy,
    /// Every database.
    Every,
}

/// A command or subcommand.
#[derive(Debug)]
pub(super) struct Row {
    pub meta: &'static Meta,
    /// It is a subcommand.
    pub is_sub: bool,
    /// Numbers of its subcommands.
    pub subs: Range<u16>,
    pub channels: Channels,
    pub databases: Databases,
}

/// All commands, by number.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Row>,
    names: HashMap<&'static str, u16>,
}

impl Table {
    /// The table of these commands: of each its metadata, whether it is a subcommand, and the numbers of its
    /// subcommands. A command's number is its place.
    pub fn new(commands: impl Iterator<Item = (&'static Meta, bool, Range<u16>)>) -> Table {
        let rows: Vec<Row> = commands
            .map(|(meta, is_sub, subs)| Row {
                meta,
                is_sub,
                subs,
                channels: channels(meta.name),
                databases: databases(meta),
            })
            .collect();
        let names = rows.iter().enumerate().map(|(id, row)| (row.meta.name, id as u16)).collect();
        Table { rows, names }
    }
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }
    pub(super) fn row(&self, id: u16) -> &Row {
        &self.rows[id as usize]
    }
    /// The number of the command with this full name, in any case.
    pub(super) fn find(&self, name: &[u8]) -> Option<u16> {
        let name = std::str::from_utf8(name).ok()?.to_ascii_lowercase();
        self.names.get(name.as_str()).copied()
    }
    /// The numbers of the commands of a category.
    pub(super) fn of(&self, category: Cat) -> impl Iterator<Item = u16> {
        (0u16..).zip(&self.rows).filter(move |(_, row)| row.meta.acl.0 & category.0 != 0).map(|(id, _)| id)
    }
    /// The full names of the commands of a category.
    pub fn names_of(&self, category: Cat) -> Vec<&'static str> {
        self.of(category).map(|id| self.row(id).meta.name).collect()
    }
}

/// The category of this name, in any case.
pub fn category(name: &[u8]) -> Option<Cat> {
    CATEGORIES.iter().position(|known| name.eq_ignore_ascii_case(known.as_bytes())).map(|bit| Cat(1 << bit))
}

fn channels(name: &str) -> Channels {
    match name {
        "publish" | "spublish" => Channels::First,
        "subscribe" | "ssubscribe" => Channels::All { pattern: false },
        "psubscribe" => Channels::All { pattern: true },
        _ => Channels::None,
    }
}

/// What the documentation says of a command (<https://valkey.io/topics/acl/#database-permissions>); else the selected
/// database, for what reads or writes data or has keys.
fn databases(meta: &Meta) -> Databases {
    match meta.name {
        "select" | "swapdb" => Databases::Named,
        "move" => Databases::Move,
        "copy" => Databases::Copy,
        "flushall" | "cluster|flushslot" | "cluster|migrateslots" | "cluster|cancelslotmigrations" => Databases::Every,
        "cluster|getkeysinslot" | "cluster|countkeysinslot" => Databases::Selected,
        "lolwut" => Databases::None,
        _ if matches!(meta.group, Group::Scripting) => Databases::SelectedWithKeys,
        _ if meta.flags.any(Flags::READONLY.or(Flags::WRITE)) => Databases::Selected,
        _ if meta.keys.iter().any(|spec| !spec.flags.has(KeyFlags::NOT_KEY)) => Databases::SelectedWithKeys,
        _ => Databases::None,
    }
}

/// What a command asks of the databases.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// This one.
    One(usize),
    /// All of them.
    Every,
}

impl Row {
    /// Calls `each` with every database that the command touches, the selected one being `selected`, until it returns
    /// false. Arguments that are no number are the handler's to refuse.
    pub fn databases(&self, argv: &[&[u8]], selected: usize, mut each: impl FnMut(Wanted) -> bool) -> bool {
        let named = |arg: &[u8]| num::parse_i64(arg).and_then(|n| usize::try_from(n).ok());
        match self.databases {
            Databases::None => true,
            Databases::Selected => each(Wanted::One(selected)),
            Databases::SelectedWithKeys => {
                let fits = self.meta.arity_fits(argv.len());
                let keys = if fits { self.meta.keys_of(argv).unwrap_or_default() } else { Default::default() };
                keys.iter().all(|key| key.flags.has(KeyFlags::NOT_KEY)) || each(Wanted::One(selected))
            }
            Databases::Named => argv.iter().skip(1).filter_map(|arg| named(arg)).all(|db| each(Wanted::One(db))),
            Databases::Move => {
                each(Wanted::One(selected))
                    && argv.get(2).and_then(|arg| named(arg)).is_none_or(|db| each(Wanted::One(db)))
            }
            Databases::Copy => {
                let options = argv.get(3..).unwrap_or_default();
                let behind_db = options.windows(2).filter(|pair| pair[0].eq_ignore_ascii_case(b"db"));
                each(Wanted::One(selected))
                    && behind_db.filter_map(|pair| named(pair[1])).all(|db| each(Wanted::One(db)))
            }
            Databases::Every => each(Wanted::Every),
        }
    }
}
