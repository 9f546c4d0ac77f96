//! May this user run this command?

use smallvec::SmallVec;

use super::selector::{KeyPattern, Selector};
use super::table::{Channels, Row, Table, Wanted};
use super::user::User;
use crate::base::glob;
use crate::spec::{Flags, KeyFlags, KeyUse};

/// What the right is missing for; the greater tells more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The command.
    Command,
    /// A key.
    Key,
    /// Logging in.
    Auth,
    /// A channel.
    Channel,
    /// A database.
    Database,
}

impl Reason {
    /// Its name in ACL LOG.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Command => "command",
            Reason::Key => "key",
            Reason::Auth => "auth",
            Reason::Channel => "channel",
            Reason::Database => "database",
        }
    }
}

/// Why a command may not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// What the right is missing for.
    pub reason: Reason,
    /// The command, key, channel or database.
    pub object: Vec<u8>,
    /// Which argument that is.
    at: usize,
}

impl Denied {
    fn new(reason: Reason, at: usize, object: &[u8]) -> Denied {
        Denied { reason, object: object.to_vec(), at }
    }
    /// What the client is told; `verbose`: with the name of what it may not touch.
    pub fn text(&self, user: &User, verbose: bool) -> Vec<u8> {
        let kind = self.reason.name();
        match self.reason {
            Reason::Command => {
                [b"User ", &user.name[..], b" has no permissions to run the '", &self.object, b"' command"].concat()
            }
            _ if verbose => {
                let what = format!("' {kind}").into_bytes();
                [b"User ", &user.name[..], b" has no permissions to access the '", &self.object, &what].concat()
            }
            _ => format!("No permissions to access a {kind}").into_bytes(),
        }
    }
    /// What the client is told in EXEC, if the rights went since the command was queued.
    pub fn text_in_exec(&self) -> String {
        let why = match self.reason {
            Reason::Command => "no permission to execute the command or subcommand",
            Reason::Key => "no permission to touch the specified keys",
            Reason::Channel => "no permission to access one of the channels used as arguments",
            _ => "no permission",
        };
        format!(
            "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command \
             is no longer allowed for the following reason: {why}"
        )
    }
}

/// What a use of a key needs.
fn needs(flags: KeyFlags) -> (bool, bool) {
    let writes = [KeyFlags::INSERT, KeyFlags::DELETE, KeyFlags::UPDATE].iter().any(|flag| flags.has(*flag));
    (flags.has(KeyFlags::ACCESS), writes)
}

impl KeyPattern {
    fn grants(&self, (read, write): (bool, bool)) -> bool {
        (self.read || !read) && (self.write || !write)
    }
}

/// The keys of a command, found when the first selector asks.
struct Keys<'a> {
    row: &'a Row,
    argv: &'a [&'a [u8]],
    found: Option<SmallVec<[KeyUse; 4]>>,
}

impl Keys<'_> {
    /// Where the number of arguments or keys is wrong there is none: such a command is refused by others.
    fn get(&mut self) -> &[KeyUse] {
        let meta = self.row.meta;
        self.found.get_or_insert_with(|| {
            if meta.arity_fits(self.argv.len()) { meta.keys_of(self.argv).unwrap_or_default() } else { SmallVec::new() }
        })
    }
}

impl Selector {
    fn allows_key(&self, key: &[u8], flags: KeyFlags) -> bool {
        let needed = needs(flags);
        self.all_keys || self.keys.iter().any(|k| k.grants(needed) && glob::matches(&k.pattern, key, false))
    }
    /// Whether every key may be read.
    fn reads_all_keys(&self) -> bool {
        self.all_keys || self.keys.iter().any(|k| k.read && k.pattern == b"*")
    }

    fn check(&self, id: u16, keys: &mut Keys<'_>, selected: usize) -> Result<(), Denied> {
        let (row, argv) = (keys.row, keys.argv);
        let name = row.meta.name.as_bytes();
        if !row.meta.flags.has(Flags::NO_AUTH) && !self.allows_command(id, row.is_sub, argv) {
            return Err(Denied::new(Reason::Command, 0, name));
        }
        if let Some(allowed) = &self.databases {
            let mut object = Vec::new();
            let all = row.databases(argv, selected, |wanted| match wanted {
                Wanted::One(db) if allowed.contains(&db) => true,
                Wanted::One(db) => {
                    object = db.to_string().into_bytes();
                    false
                }
                Wanted::Every => {
                    object = name.to_vec();
                    false
                }
            });
            if !all {
                return Err(Denied::new(Reason::Database, 0, &object));
            }
        }
        if !self.all_keys && !row.meta.keys.is_empty() {
            let real = keys.get().iter().filter(|key| !key.flags.has(KeyFlags::NOT_KEY));
            for key in real {
                if !self.allows_key(argv[key.index], key.flags) {
                    return Err(Denied::new(Reason::Key, key.index, argv[key.index]));
                }
            }
        }
        if self.all_channels {
            return Ok(());
        }
        let (channels, pattern) = match row.channels {
            Channels::None => return Ok(()),
            Channels::First => (argv.get(1..2).unwrap_or_default(), false),
            Channels::All { pattern } => (argv.get(1..).unwrap_or_default(), pattern),
        };
        for (at, channel) in channels.iter().enumerate() {
            if !allows_channel(&self.channels, channel, pattern) {
                return Err(Denied::new(Reason::Channel, at + 1, channel));
            }
        }
        Ok(())
    }
}

/// Whether a list of patterns allows a channel, or literally contains a pattern to subscribe to.
pub fn allows_channel(allowed: &[Vec<u8>], channel: &[u8], pattern: bool) -> bool {
    allowed.iter().any(|p| if pattern { p == channel } else { glob::matches(p, channel, false) })
}

impl User {
    /// Whether the user may run the command of this number while the database `selected` is.
    pub fn check(&self, table: &Table, id: u16, argv: &[&[u8]], selected: usize) -> Result<(), Denied> {
        if self.unrestricted {
            return Ok(());
        }
        let mut keys = Keys { row: table.row(id), argv, found: None };
        let mut worst: Option<Denied> = None;
        for selector in &self.selectors {
            match selector.check(id, &mut keys, selected) {
                Ok(()) => return Ok(()),
                // The selector that got furthest says why.
                Err(e) if worst.as_ref().is_none_or(|w| (e.reason, e.at) > (w.reason, w.at)) => worst = Some(e),
                Err(_) => {}
            }
        }
        // There is at least one selector.
        worst.map_or(Ok(()), Err)
    }
    /// Whether a selector allows the command and the reading of every key.
    pub fn may_read_all(&self, table: &Table, id: u16, argv: &[&[u8]], selected: usize) -> bool {
        let mut keys = Keys { row: table.row(id), argv, found: None };
        self.selectors.iter().any(|s| s.reads_all_keys() && s.check(id, &mut keys, selected).is_ok())
    }
    /// The channels of the user that `old` becomes by this one, if `old` may use any that this one may not.
    pub fn channels_if_fewer_than(&self, old: &User) -> Option<Vec<Vec<u8>>> {
        if self.selectors.iter().any(|s| s.all_channels) {
            return None;
        }
        let left: Vec<Vec<u8>> = self.selectors.iter().flat_map(|s| s.channels.iter().cloned()).collect();
        let kept = |s: &Selector| !s.all_channels && s.channels.iter().all(|channel| left.contains(channel));
        if old.selectors.iter().all(kept) { None } else { Some(left) }
    }
    /// Whether the user may use a channel, or subscribe to a pattern.
    pub fn may_use_channel(&self, channel: &[u8], pattern: bool) -> bool {
        self.selectors.iter().any(|s| s.all_channels || allows_channel(&s.channels, channel, pattern))
    }
}
