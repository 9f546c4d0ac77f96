//! Who may do what: users, their rules, the check of a command, the log of refusals, the file of users.
//!
//! A [`User`] never changes; a change puts another in its place and raises the [`Acl::version`]. A session keeps its user
//! and the version that it was read at, so on the path of a command there is one comparison of numbers, and for a user who
//! may do everything nothing else ([`User::unrestricted`]).
//!
//! Rules, their texts and the order of checks: <https://valkey.io/topics/acl/>.

mod check;
pub mod file;
mod log;
mod selector;
mod table;
#[cfg(test)]
mod tests;
mod user;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};

use parking_lot::{Mutex, RwLock};

pub use check::{Denied, Reason, allows_channel};
pub use log::{Context, Entry, Event, Log};
pub use selector::{Env, RuleError, Selector, has_space};
pub use table::{Table, category};
pub use user::{DEFAULT, User, merge};

use crate::config::Config;

/// What a change of users did: the user before and after it.
pub type Change = (Option<Arc<User>>, Option<Arc<User>>);

/// All users, and the log.
#[derive(Debug)]
pub struct Acl {
    /// The commands.
    pub table: Table,
    /// The refusals.
    pub log: Log,
    users: RwLock<BTreeMap<Vec<u8>, Arc<User>>>,
    /// Held by whoever changes users.
    changing: Mutex<()>,
    /// Raised after every change.
    version: AtomicU64,
    next_id: AtomicU64,
    /// Connections need not log in.
    open: AtomicBool,
    /// The default user has no password.
    nopass: AtomicBool,
    /// Every user may do everything.
    plain: AtomicBool,
}

impl Acl {
    /// The default user alone, who may do everything.
    pub fn new(table: Table, config: &Config) -> Acl {
        let acl = Acl {
            table,
            log: Log::default(),
            users: RwLock::default(),
            changing: Mutex::default(),
            version: AtomicU64::new(0),
            next_id: AtomicU64::new(1),
            open: AtomicBool::new(true),
            nopass: AtomicBool::new(true),
            plain: AtomicBool::new(true),
        };
        let user = User::default(acl.new_id(), &acl.env(config));
        acl.put(user);
        acl
    }
    /// What rules depend on.
    pub fn env(&self, config: &Config) -> Env<'_> {
        let databases = if config.cluster_enabled() { config.cluster_databases() } else { config.databases() };
        Env { table: &self.table, all_channels: config.acl_pubsub_default() != 0, databases }
    }
    fn new_id(&self) -> u64 {
        self.next_id.fetch_add(1, Relaxed)
    }
    /// Changes whenever a user does.
    #[inline]
    pub fn version(&self) -> u64 {
        self.version.load(Acquire)
    }
    /// Whether connections begin logged in.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.open.load(Relaxed)
    }
    /// Whether the default user has no password, be it on or off.
    pub fn default_has_no_password(&self) -> bool {
        self.nopass.load(Relaxed)
    }
    /// Whether every user may do everything, so that nobody needs to be looked at.
    #[inline]
    pub fn is_plain(&self) -> bool {
        self.plain.load(Relaxed)
    }
    /// The user of this name.
    pub fn get(&self, name: &[u8]) -> Option<Arc<User>> {
        self.users.read().get(name).cloned()
    }
    /// What a user has become; `None`: it was deleted.
    pub fn again(&self, user: &User) -> Option<Arc<User>> {
        self.get(&user.name).filter(|now| now.id == user.id)
    }
    /// The default user.
    pub fn default_user(&self) -> Arc<User> {
        // It can be changed, and not be deleted.
        self.users.read()[DEFAULT].clone()
    }
    /// All users, by name.
    pub fn all(&self) -> Vec<Arc<User>> {
        self.users.read().values().cloned().collect()
    }

    fn put(&self, user: User) -> Arc<User> {
        let user = Arc::new(user);
        self.users.write().insert(user.name.clone(), user.clone());
        self.changed();
        user
    }
    /// Whoever sees the new version sees the new users.
    fn changed(&self) {
        let users = self.users.read();
        if let Some(default) = users.get(DEFAULT) {
            self.open.store(default.on && default.nopass, Relaxed);
            self.nopass.store(default.nopass, Relaxed);
        }
        self.plain.store(users.values().all(|user| user.unrestricted), Relaxed);
        drop(users);
        self.version.fetch_add(1, Release);
    }

    /// ACL SETUSER: makes or changes a user by rules, all or none. The error is the reply's text, without `ERR `.
    pub fn set(&self, name: &[u8], rules: &[&[u8]], env: &Env<'_>) -> Result<Change, Vec<u8>> {
        let unclosed = |first: &[u8]| [b"Unmatched parenthesis in acl selector starting at '", first, b"'."].concat();
        let rules = merge(rules).map_err(unclosed)?;
        let _alone = self.changing.lock();
        let before = self.get(name);
        let mut user = match &before {
            Some(user) => User::clone(user),
            None => User::new(name, self.new_id(), env),
        };
        for rule in &rules {
            user.apply(rule, env)
                .map_err(|e| [b"Error in ACL SETUSER modifier '", &rule[..], b"': ", e.text().as_bytes()].concat())?;
        }
        Ok((before, Some(self.put(user))))
    }
    /// `requirepass`: the one password of the default user, or none.
    pub fn set_default_password(&self, password: &[u8]) {
        let _alone = self.changing.lock();
        let mut user = User::clone(&self.default_user());
        user.set_password(password);
        self.put(user);
    }
    /// ACL DELUSER, for a user that is not the default one. What was deleted.
    pub fn delete(&self, name: &[u8]) -> Option<Arc<User>> {
        let _alone = self.changing.lock();
        let user = self.users.write().remove(name)?;
        self.changed();
        Some(user)
    }
    /// Puts these users in place of all others; without a default user among them it is as on a new server. What became
    /// of those that there were.
    pub fn replace(&self, users: Vec<User>, env: &Env<'_>) -> Vec<(Arc<User>, Option<Arc<User>>)> {
        let _alone = self.changing.lock();
        let mut new = BTreeMap::new();
        for mut user in users {
            user.id = self.get(&user.name).map_or_else(|| self.new_id(), |old| old.id);
            new.insert(user.name.clone(), Arc::new(user));
        }
        let id = self.default_user().id;
        new.entry(DEFAULT.to_vec()).or_insert_with(|| Arc::new(User::default(id, env)));
        let old = std::mem::replace(&mut *self.users.write(), new);
        self.changed();
        old.into_values().map(|old| (old.clone(), self.get(&old.name))).collect()
    }
    /// The `user` lines of the configuration, each the name and the rules: in the order they stand, the default user
    /// from nothing. The error is the number of the line, the argument it is about, and the reason.
    pub fn load(&self, lines: &[Vec<Vec<u8>>], env: &Env<'_>) -> Result<(), (usize, String)> {
        for (at, words) in lines.iter().enumerate() {
            let failed = |what: &[u8], why: &str| {
                (at, format!("Error in user declaration '{}': {why}", String::from_utf8_lossy(what)))
            };
            let [name, rules @ ..] = &words[..] else { continue };
            if has_space(name) {
                return Err(failed(name, "Spaces not allowed in ACL usernames"));
            }
            if lines[..at].iter().any(|earlier| earlier.first() == Some(name)) {
                let why = "Duplicate user found. A user can only be defined once in config files";
                return Err(failed(name, why));
            }
            let rules: Vec<&[u8]> = rules.iter().map(Vec::as_slice).collect();
            let rules = merge(&rules).map_err(|first| failed(first, "Unmatched parenthesis in acl selector"))?;
            let id = self.get(name).map_or_else(|| self.new_id(), |old| old.id);
            let mut user = User::new(name, id, env);
            for rule in &rules {
                user.apply(rule, env).map_err(|e| failed(rule, e.text()))?;
            }
            self.put(user);
        }
        Ok(())
    }
}
