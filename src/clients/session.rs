//! The state of one connection that only itself touches.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use indexmap::IndexSet;

use super::dialogue::Dialogue;
use super::job::Job;
use super::registry::{Client, flags};
use super::replica::Replica;
use super::tracking::Mode;
use crate::acl::{Acl, User};
use crate::cluster::transfers::Transfer;
use crate::keyspace::{Value, Waiter, Watch, request_len};
use crate::resp::Error;
use crate::spec::Flags;

/// CLIENT REPLY.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReplyMode {
    /// Replies are sent.
    #[default]
    On,
    /// None is.
    Off,
    /// The next one is not.
    SkipNext,
    /// This one is not.
    Skip,
}

/// Whether the connection is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Close {
    /// No.
    #[default]
    No,
    /// Once everything is sent.
    AfterReply,
    /// At once.
    Now,
}

/// A command queued in a transaction.
#[derive(Debug, Clone)]
pub struct Queued {
    /// Its id in the command table.
    pub command: u16,
    /// Its flags, in view of the script that it runs.
    pub flags: Flags,
    /// Its arguments with the name.
    pub argv: Vec<Vec<u8>>,
    /// It came as an inline request, as far as anybody counts.
    pub inline: bool,
}

/// An open transaction.
#[derive(Debug, Default)]
pub struct Multi {
    /// Its commands.
    pub queue: Vec<Queued>,
    /// One of them was refused: EXEC will fail.
    pub failed: bool,
    /// Bytes of the arguments.
    pub bytes: usize,
}

/// The kind of null that a command answers when its time is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NullKind {
    /// `$-1`
    #[default]
    Bulk,
    /// `*-1`
    Array,
    /// `:0` (an integer command that waits, such as WAIT)
    Zero,
}

/// A command's wish to wait.
#[derive(Debug, Default)]
pub struct Block {
    /// Keys whose appearance ends the wait.
    pub keys: Vec<Vec<u8>>,
    /// What to run then, where it is not the command as it came.
    pub argv: Option<Vec<Vec<u8>>>,
    /// When it ends without, unix ms; `None`: never.
    pub deadline: Option<i64>,
    /// What is answered then.
    pub null: NullKind,
    /// WAIT: what ends the wait.
    pub acks: Option<Acks>,
    /// SHUTDOWN: it waits for the end, or for its failure.
    pub ending: bool,
    /// What goes on meanwhile on a thread of its own. Its end, and nothing else, ends the wait.
    pub job: Option<Job>,
}

/// What a client in WAIT or WAITAOF waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acks {
    /// The end of its last write in the log.
    pub offset: u64,
    /// Replicas that must have it.
    pub replicas: usize,
    /// WAITAOF: on disk; and whether on this node's disk, too.
    pub file: Option<bool>,
}

/// What PSYNC or SYNC led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// The log goes on where the replica stands; the reader of this number follows it.
    Resume(u64),
    /// A snapshot is needed first.
    Full,
}

/// The state of one connection.
pub struct Session {
    /// What others see of it.
    pub client: Arc<Client>,
    /// Selected database.
    pub db: usize,
    /// Whether commands need no further authentication.
    pub authenticated: bool,
    /// It logged in, or came when nobody had to.
    pub logged_in: bool,
    /// As whom it acts, as read at `acl_version`; nobody for commands of the server itself.
    pub user: Option<Arc<User>>,
    /// The version of the users that it knows.
    pub acl_version: u64,
    /// It may do everything.
    pub unrestricted: bool,
    /// CLIENT REPLY.
    pub reply: ReplyMode,
    /// Whether it is to end.
    pub close: Close,
    /// The open transaction.
    pub multi: Option<Multi>,
    /// Watched keys.
    pub watched: IndexSet<(usize, Vec<u8>)>,
    /// Their mark.
    pub watch: Arc<Watch>,
    /// Subscribed channels.
    pub channels: BTreeSet<Vec<u8>>,
    /// Subscribed patterns.
    pub patterns: BTreeSet<Vec<u8>>,
    /// Subscribed shard channels.
    pub shard_channels: BTreeSet<Vec<u8>>,
    /// In MONITOR.
    pub monitor: bool,
    /// CLIENT NO-TOUCH.
    pub no_touch: bool,
    /// ASKING: the next command may meet a slot that is just arriving.
    pub asking: bool,
    /// READONLY: a replica's answers will do.
    pub readonly: bool,
    /// What the command that just ran wants to wait for.
    pub block: Option<Block>,
    /// What it waits for now, with the deadline.
    pub waiting: Option<(Arc<Waiter>, Option<i64>)>,
    /// Commands must not block: inside EXEC, or where nobody waits for the reply.
    pub deny_blocking: bool,
    /// The command came as an inline request; known only while somebody counts its bytes.
    pub inline: bool,
    /// The command is being run for a blocked client by somebody else.
    pub serving: bool,
    /// Comes from a trusted stream (log, replication): not checked, not blocked.
    pub internal: bool,
    /// The stream is the primary's: keys are there until it says that they are not.
    pub primary: bool,
    /// The stream is a file of what was done before.
    pub replaying: bool,
    /// What it told of itself as a replica.
    pub replica: Option<Arc<Replica>>,
    /// It asked for the log, and how that goes on.
    pub sync: Option<Follow>,
    /// The end of the log after its last write.
    pub written: u64,
    /// CLIENT IMPORT-SOURCE: while `import-mode` is on, no key's time is over for it.
    pub import_source: bool,
    /// CLIENT CAPA redirect: a replica may send it to its primary.
    pub redirects: bool,
    /// How it tracks, if it does.
    pub tracking: Option<Mode>,
    /// CLIENT CACHING was said for the next command.
    pub caching: bool,
    /// Its commands come from a script, which began at this Unix time, µs.
    pub script: Option<i64>,
    /// SCRIPT DEBUG: the scripts that it sends are debugged.
    pub debug: Option<Arc<Dialogue>>,
    /// Since when its next command waits for another connection's debugging session, unix ms.
    pub held_since: Option<i64>,
    /// Another node sends slots over it.
    pub import: Option<Import>,
    /// What was made of a big request's payload before its locks were asked for.
    pub prepared: Option<Result<Value, Error>>,
}

/// Slots that come over a connection.
pub struct Import {
    /// What is known of the move.
    pub transfer: Arc<Transfer>,
    end: Option<Box<dyn FnOnce() + Send>>,
}

impl Import {
    /// `end` runs when the connection ends.
    pub fn new(transfer: Arc<Transfer>, end: Box<dyn FnOnce() + Send>) -> Import {
        Import { transfer, end: Some(end) }
    }
}

impl Drop for Import {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            end();
        }
    }
}

/// How many bytes count as received for a request: of an inline one, the words with a space in between and the end of the
/// line, however they were quoted.
pub fn received(argv: &[&[u8]], inline: bool) -> usize {
    if inline { argv.iter().map(|arg| arg.len() + 1).sum::<usize>() + 1 } else { request_len(argv) }
}

impl Session {
    /// The session of a new connection.
    pub fn new(client: Arc<Client>, authenticated: bool) -> Session {
        Session {
            client,
            db: 0,
            authenticated,
            logged_in: authenticated,
            user: None,
            acl_version: 0,
            unrestricted: true,
            reply: ReplyMode::On,
            close: Close::No,
            multi: None,
            watched: IndexSet::new(),
            watch: Arc::default(),
            channels: BTreeSet::new(),
            patterns: BTreeSet::new(),
            shard_channels: BTreeSet::new(),
            monitor: false,
            no_touch: false,
            asking: false,
            readonly: false,
            block: None,
            waiting: None,
            deny_blocking: false,
            inline: false,
            serving: false,
            internal: false,
            primary: false,
            replaying: false,
            replica: None,
            sync: None,
            written: 0,
            redirects: false,
            tracking: None,
            caching: false,
            script: None,
            debug: None,
            held_since: None,
            import: None,
            prepared: None,
            import_source: false,
        }
    }
    /// A session without a connection, for commands that the server runs by itself.
    pub fn internal(db: usize) -> Session {
        let mut s = Session::new(Arc::default(), true);
        s.db = db;
        s.internal = true;
        s.deny_blocking = true;
        s
    }
    /// Makes it act as the default user, as a new connection does.
    pub fn start_as_default(&mut self, acl: &Acl) {
        let version = acl.version();
        self.logged_in = acl.is_open();
        self.set_user(acl.default_user(), acl, version);
    }
    /// It has logged in as this user, who was looked up when the users were at `version`.
    pub fn log_in(&mut self, user: Arc<User>, acl: &Acl, version: u64) {
        self.logged_in = true;
        self.set_user(user, acl, version);
        self.client.set(flags::AUTHENTICATED, true);
    }
    fn set_user(&mut self, user: Arc<User>, acl: &Acl, version: u64) {
        self.authenticated = self.logged_in || acl.is_open();
        self.unrestricted = user.unrestricted;
        self.acl_version = version;
        self.client.names.lock().user = user.name.clone();
        self.user = Some(user);
    }
    /// Users have changed: looks at its own again. If that was deleted, the connection ends.
    #[cold]
    pub fn look_at_user(&mut self, acl: &Acl) {
        let version = acl.version();
        match self.user.take() {
            None => self.acl_version = version,
            Some(user) => match acl.again(&user) {
                Some(user) => self.set_user(user, acl, version),
                None => {
                    self.lose_user(acl);
                    self.acl_version = version;
                }
            },
        }
    }
    /// Its user was deleted: it may do nothing any more, and ends.
    pub fn lose_user(&mut self, acl: &Acl) {
        self.start_as_default(acl);
        (self.logged_in, self.authenticated) = (false, false);
        if self.close == Close::No {
            self.close = Close::AfterReply;
        }
    }
    /// Whether no key's time is over for what it sends.
    #[inline]
    pub fn sees_expired(&self, importing: bool) -> bool {
        self.primary || self.replaying || self.import.is_some() || self.import_source && importing
    }
    /// How many bytes count as received for the command that it runs.
    pub fn received(&self, argv: &[&[u8]]) -> usize {
        received(argv, self.inline)
    }
    /// Whether keys that it reads now are to be noted.
    #[inline]
    pub fn notes_reads(&self) -> bool {
        let passed_over = |m: Mode| m.broadcast || m.opt_in && !self.caching || m.opt_out && self.caching;
        self.tracking.is_some_and(|m| !passed_over(m))
    }
    /// Whether what it sends may bring itself messages, which belong right behind its reply.
    #[inline]
    pub fn hears_itself(&self) -> bool {
        self.subscriptions() > 0 || self.tracking.is_some()
    }
    /// Subscriptions of all kinds.
    pub fn subscriptions(&self) -> usize {
        self.channels.len() + self.patterns.len() + self.shard_channels.len()
    }
    /// Selects a database.
    pub fn select(&mut self, db: usize) {
        self.db = db;
        self.client.db.store(db, Relaxed);
    }
    /// Tells others how many subscriptions there are.
    pub fn publish_subscriptions(&self) {
        self.client.subs[0].store(self.channels.len(), Relaxed);
        self.client.subs[1].store(self.patterns.len(), Relaxed);
        self.client.subs[2].store(self.shard_channels.len(), Relaxed);
        self.client.set(flags::PUBSUB, self.subscriptions() > 0);
    }
    /// Tells others of the state of the transaction.
    pub fn publish_multi(&self) {
        self.client.multi.store(self.multi.as_ref().map_or(0, |m| m.queue.len() + 1), Relaxed);
        self.client.multi_mem.store(self.multi.as_ref().map_or(0, |m| m.bytes), Relaxed);
        self.client.set(flags::MULTI, self.multi.is_some());
        self.client.watch.store(self.watched.len(), Relaxed);
    }
}
