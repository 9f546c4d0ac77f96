//! A selector: one set of permissions. A command may run if one of the user's selectors allows all of it.
//!
//! What commands are allowed is kept twice: as a bit for each, which checks look at, and as the rules that led to it, in
//! their order, which is what users are shown. A rule that names what an older one named replaces it, and one for a
//! command also those for its subcommands, so the rules give the same bits when they are read again.

use std::collections::{BTreeSet, HashMap};

use super::table::{Table, category};
use crate::config::split::split;
use crate::spec::Cat;

/// What rules depend on beside the user.
#[derive(Clone, Copy)]
pub struct Env<'a> {
    /// The commands.
    pub table: &'a Table,
    /// `acl-pubsub-default`: new users may use all channels.
    pub all_channels: bool,
    /// How many databases there are.
    pub databases: usize,
}

/// Why a rule is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleError {
    /// It is none.
    Syntax,
    /// A command or category that does not exist.
    Unknown,
    /// A key pattern where all keys are allowed.
    AfterAllKeys,
    /// A channel pattern where all channels are allowed.
    AfterAllChannels,
    /// The password to remove is not there.
    NoPassword,
    /// Not the hash of a password.
    BadHash,
    /// The first argument of a subcommand.
    FirstArgOfSub,
    /// A database that does not exist.
    Database,
}

impl RuleError {
    /// The text for the error reply.
    pub fn text(self) -> &'static str {
        match self {
            RuleError::Syntax => "Syntax error",
            RuleError::Unknown => "Unknown command or category name in ACL",
            RuleError::AfterAllKeys => {
                "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. \
                 Try 'resetkeys' to start with an empty list of patterns"
            }
            RuleError::AfterAllChannels => {
                "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any \
                 effect. Try 'resetchannels' to start with an empty list of channels"
            }
            RuleError::NoPassword => "The password you are trying to remove from the user does not exist",
            RuleError::BadHash => {
                "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters"
            }
            RuleError::FirstArgOfSub => "Allowing first-arg of a subcommand is not supported",
            RuleError::Database => "The database id is out of range",
        }
    }
}

/// Keys of a pattern may be read, written or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyPattern {
    pub pattern: Vec<u8>,
    pub read: bool,
    pub write: bool,
}

/// One set of permissions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    /// All commands, none taken away since: the bits need not be looked at.
    pub(super) all_commands: bool,
    /// A bit for each command.
    commands: Vec<u64>,
    /// The rules began with +@all, so that commands that may come belong to them.
    future: bool,
    /// Commands that may run with these first arguments only.
    first_args: HashMap<u16, Vec<Vec<u8>>>,
    /// The rules since +@all or -@all: whether it allows, and for what.
    rules: Vec<(bool, Vec<u8>)>,
    pub(super) all_keys: bool,
    /// All keys are allowed by a pattern, after which others may be given.
    by_pattern: bool,
    pub(super) keys: Vec<KeyPattern>,
    pub(super) all_channels: bool,
    pub(super) channels: Vec<Vec<u8>>,
    /// `None`: all databases.
    pub(super) databases: Option<BTreeSet<usize>>,
}

/// White space or NUL: it could not be told from the end of a rule.
pub fn has_space(text: &[u8]) -> bool {
    text.iter().any(|c| c.is_ascii_whitespace() || matches!(c, 0 | 0x0b))
}

impl Selector {
    /// Without permissions but those of `acl-pubsub-default`.
    pub fn new(env: &Env<'_>) -> Selector {
        Selector {
            all_commands: false,
            commands: vec![0; env.table.len().div_ceil(64)],
            future: false,
            first_args: HashMap::new(),
            rules: Vec::new(),
            all_keys: false,
            by_pattern: false,
            keys: Vec::new(),
            all_channels: env.all_channels,
            channels: Vec::new(),
            databases: None,
        }
    }
    /// The selector of `(rule rule ...)`, parentheses included.
    pub fn parse(text: &[u8], env: &Env<'_>) -> Result<Selector, RuleError> {
        let inner = text.get(1..text.len() - 1).unwrap_or_default();
        let mut selector = Selector::new(env);
        for rule in split(inner).ok_or(RuleError::Syntax)? {
            if rule.ends_with(b")") || rule.iter().any(|c| b"\"'".contains(c)) {
                // It would end the selector, or be another rule, when it is read again.
                return Err(RuleError::Syntax);
            }
            selector.apply(&rule, env)?;
        }
        Ok(selector)
    }
    /// Whether everything is allowed.
    pub fn allows_all(&self) -> bool {
        self.all_commands && self.all_keys && self.all_channels && self.databases.is_none()
    }
    /// Whether the command may run, as far as its name and first argument go.
    pub(super) fn allows_command(&self, id: u16, is_sub: bool, argv: &[&[u8]]) -> bool {
        if self.all_commands || self.bit(id) {
            return true;
        }
        let first = argv.get(if is_sub { 2 } else { 1 });
        let Some((first, allowed)) = first.zip(self.first_args.get(&id)) else { return false };
        allowed.iter().any(|arg| arg.eq_ignore_ascii_case(first))
    }

    fn bit(&self, id: u16) -> bool {
        self.commands[id as usize / 64] & (1 << (id % 64)) != 0
    }
    fn set_bit(&mut self, id: u16, on: bool) {
        let bit = 1 << (id % 64);
        let word = &mut self.commands[id as usize / 64];
        if on {
            *word |= bit;
        } else {
            *word &= !bit;
            self.all_commands = false;
        }
    }
    /// Allows or forbids a command with its subcommands.
    fn set_command(&mut self, id: u16, on: bool, table: &Table) {
        self.set_bit(id, on);
        self.first_args.remove(&id);
        table.row(id).subs.clone().for_each(|sub| self.set_bit(sub, on));
    }
    fn set_all(&mut self, on: bool) {
        self.commands.fill(if on { u64::MAX } else { 0 });
        (self.all_commands, self.future) = (on, on);
        self.first_args.clear();
        self.rules.clear();
    }
    /// Keeps a rule, in place of those that it makes void.
    fn keep(&mut self, on: bool, what: &[u8]) {
        let what = what.to_ascii_lowercase();
        let void = |old: &[u8]| old.strip_prefix(&what[..]).is_some_and(|rest| rest.is_empty() || rest[0] == b'|');
        self.rules.retain(|(_, old)| !void(old));
        self.rules.push((on, what));
    }

    /// Applies one rule.
    pub fn apply(&mut self, rule: &[u8], env: &Env<'_>) -> Result<(), RuleError> {
        let is = |word: &str| rule.eq_ignore_ascii_case(word.as_bytes());
        match () {
            () if is("allkeys") || is("~*") => self.set_all_keys(true),
            () if is("resetkeys") => self.set_all_keys(false),
            () if is("allchannels") || is("&*") => self.set_all_channels(true),
            () if is("resetchannels") => self.set_all_channels(false),
            () if is("alldbs") => self.databases = None,
            () if is("resetdbs") => self.databases = Some(BTreeSet::new()),
            () if is("allcommands") || is("+@all") => self.set_all(true),
            () if is("nocommands") || is("-@all") => self.set_all(false),
            () => {
                return match rule {
                    [b'~', pattern @ ..] => self.add_keys(pattern, true, true),
                    [b'%', permission @ ..] => self.add_permission(permission),
                    [b'&', pattern @ ..] => self.add_channels(pattern),
                    [sign @ (b'+' | b'-'), b'@', name @ ..] => {
                        let category = category(name).ok_or(RuleError::Unknown)?;
                        self.set_category(*sign == b'+', category, &rule[1..], env.table);
                        Ok(())
                    }
                    [b'+', name @ ..] => self.allow(name, env.table),
                    [b'-', name @ ..] => {
                        let id = env.table.find(name).ok_or(RuleError::Unknown)?;
                        self.set_command(id, false, env.table);
                        self.keep(false, name);
                        Ok(())
                    }
                    [b'd' | b'D', b'b' | b'B', b'=', ids @ ..] => self.set_databases(ids, env.databases),
                    _ => Err(RuleError::Syntax),
                };
            }
        }
        Ok(())
    }

    fn set_category(&mut self, on: bool, category: Cat, what: &[u8], table: &Table) {
        table.of(category).for_each(|id| self.set_command(id, on, table));
        self.keep(on, what);
    }
    /// `+command`, `+container|subcommand`, or `+command|first-argument`.
    fn allow(&mut self, name: &[u8], table: &Table) -> Result<(), RuleError> {
        let Some(bar) = name.iter().rposition(|c| *c == b'|') else {
            let id = table.find(name).ok_or(RuleError::Unknown)?;
            self.set_command(id, true, table);
            self.keep(true, name);
            return Ok(());
        };
        let (command, arg) = (&name[..bar], &name[bar + 1..]);
        let id = table.find(command).ok_or(RuleError::Unknown)?;
        let row = table.row(id);
        if row.is_sub {
            return Err(RuleError::FirstArgOfSub);
        }
        // What would not be read again as it was given is refused.
        if arg.is_empty() || has_space(arg) || arg.iter().any(|c| b"()\"'\\".contains(c)) {
            return Err(RuleError::Syntax);
        }
        if row.subs.is_empty() {
            let allowed = self.first_args.entry(id).or_default();
            if !allowed.iter().any(|old| old.eq_ignore_ascii_case(arg)) {
                allowed.push(arg.to_vec());
            }
        } else {
            let sub = table.find(name).ok_or(RuleError::Unknown)?;
            self.set_command(sub, true, table);
        }
        self.keep(true, name);
        Ok(())
    }

    fn set_all_keys(&mut self, on: bool) {
        (self.all_keys, self.by_pattern) = (on, false);
        self.keys.clear();
    }
    /// What follows a `%`: R, W or both, a `~`, the pattern.
    fn add_permission(&mut self, rule: &[u8]) -> Result<(), RuleError> {
        if self.all_keys && !self.by_pattern {
            return Err(RuleError::AfterAllKeys);
        }
        let (mut read, mut write) = (false, false);
        for (at, c) in rule.iter().enumerate() {
            match c.to_ascii_uppercase() {
                b'R' if !read => read = true,
                b'W' if !write => write = true,
                b'~' if read || write => return self.add_keys(&rule[at + 1..], read, write),
                _ => break,
            }
        }
        Err(RuleError::Syntax)
    }
    fn add_keys(&mut self, pattern: &[u8], read: bool, write: bool) -> Result<(), RuleError> {
        if self.all_keys && !self.by_pattern {
            return Err(RuleError::AfterAllKeys);
        }
        if has_space(pattern) {
            return Err(RuleError::Syntax);
        }
        if self.all_keys {
            return Ok(());
        }
        match self.keys.iter_mut().find(|known| known.pattern == pattern) {
            Some(known) => {
                known.read |= read;
                known.write |= write;
            }
            None => self.keys.push(KeyPattern { pattern: pattern.to_vec(), read, write }),
        }
        if pattern == b"*" && self.keys.iter().any(|known| known.pattern == b"*" && known.read && known.write) {
            // Both permissions for every key are `~*`, however they came: so they can be read again.
            self.set_all_keys(true);
            self.by_pattern = true;
        }
        Ok(())
    }
    fn set_all_channels(&mut self, on: bool) {
        self.all_channels = on;
        self.channels.clear();
    }
    fn add_channels(&mut self, pattern: &[u8]) -> Result<(), RuleError> {
        if self.all_channels {
            return Err(RuleError::AfterAllChannels);
        }
        if has_space(pattern) {
            return Err(RuleError::Syntax);
        }
        if !self.channels.iter().any(|known| known == pattern) {
            self.channels.push(pattern.to_vec());
        }
        Ok(())
    }
    fn set_databases(&mut self, ids: &[u8], databases: usize) -> Result<(), RuleError> {
        let id = |text: &[u8]| {
            let n = crate::base::num::parse_i64(text).ok_or(RuleError::Syntax)?;
            usize::try_from(n).ok().filter(|n| *n < databases).ok_or(RuleError::Database)
        };
        self.databases = Some(ids.split(|c| *c == b',').map(id).collect::<Result<_, _>>()?);
        Ok(())
    }

    /// The rules about commands, as they can be given again.
    pub fn commands_text(&self) -> Vec<u8> {
        let mut text = if self.future { b"+@all".to_vec() } else { b"-@all".to_vec() };
        for (on, what) in &self.rules {
            text.extend_from_slice(if *on { b" +" } else { b" -" });
            text.extend_from_slice(what);
        }
        text
    }
    /// The rules about keys.
    pub fn keys_text(&self) -> Vec<u8> {
        if self.all_keys {
            return b"~*".to_vec();
        }
        let one = |key: &KeyPattern| {
            let sign: &[u8] = match (key.read, key.write) {
                (true, true) => b"~",
                (true, false) => b"%R~",
                _ => b"%W~",
            };
            [sign, &key.pattern].concat()
        };
        self.keys.iter().map(one).collect::<Vec<_>>().join(&b' ')
    }
    /// The rules about channels.
    pub fn channels_text(&self) -> Vec<u8> {
        if self.all_channels {
            return b"&*".to_vec();
        }
        self.channels.iter().map(|c| [b"&", &c[..]].concat()).collect::<Vec<_>>().join(&b' ')
    }
    /// The rule about databases: `alldbs`, `resetdbs` or `db=` with their numbers.
    pub fn databases_text(&self) -> String {
        match &self.databases {
            None => "alldbs".to_owned(),
            Some(ids) if ids.is_empty() => "resetdbs".to_owned(),
            Some(ids) => format!("db={}", ids.iter().map(usize::to_string).collect::<Vec<_>>().join(",")),
        }
    }
    /// All its rules in one line. That all databases are allowed goes without saying.
    pub fn text(&self) -> Vec<u8> {
        let mut parts = vec![self.keys_text()];
        if !self.all_channels {
            parts.push(b"resetchannels".to_vec());
        }
        parts.push(self.channels_text());
        if self.databases.is_some() {
            parts.push(self.databases_text().into_bytes());
        }
        parts.push(self.commands_text());
        parts.retain(|part| !part.is_empty());
        parts.join(&b' ')
    }
}
