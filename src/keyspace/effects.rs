//! What follows from a command beside its reply: gathered while it runs, carried out by `exec` before (log) or after
//! (everything else) the locks are dropped.

/// Classes of keyspace notifications, as `notify-keyspace-events` has them.
#[allow(missing_docs)]
pub mod notify {
    pub const KEYSPACE: u32 = 1 << 0;
    pub const KEYEVENT: u32 = 1 << 1;
    pub const GENERIC: u32 = 1 << 2;
    pub const STRING: u32 = 1 << 3;
    pub const LIST: u32 = 1 << 4;
    pub const SET: u32 = 1 << 5;
    pub const HASH: u32 = 1 << 6;
    pub const ZSET: u32 = 1 << 7;
    pub const EXPIRED: u32 = 1 << 8;
    pub const EVICTED: u32 = 1 << 9;
    pub const STREAM: u32 = 1 << 10;
    pub const KEY_MISS: u32 = 1 << 11;
    pub const MODULE: u32 = 1 << 13;
    pub const NEW: u32 = 1 << 14;
    /// `A`: everything but key misses and new keys.
    pub const ALL: u32 = GENERIC | STRING | LIST | SET | HASH | ZSET | EXPIRED | EVICTED | STREAM | MODULE;
}

/// A keyspace notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The event's name.
    pub name: &'static str,
    /// The database.
    pub db: usize,
    /// The key.
    pub key: Vec<u8>,
    /// Its class, a bit of [`notify`].
    pub class: u32,
}

/// Where an effect goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// To replicas and to the append-only file.
    All,
    /// To replicas only (PUBLISH).
    Replicas,
    /// To the append-only file only.
    File,
}

/// Commands of so many bytes are not copied if that can be helped.
const LONG: usize = 256 << 10;

/// Commands for the replication log, encoded as requests, gathered under the locks of their keys.
///
/// Commands form groups: what one command or one transaction did. A group of several is logged between MULTI and EXEC,
/// so that it takes effect as one wherever it is replayed.
#[derive(Debug, Default)]
pub struct LogBuf {
    bytes: Vec<u8>,
    ops: Vec<Op>,
    /// The first command of the group that is being gathered.
    group: usize,
    /// Finished groups of several commands: first, and one past the last.
    brackets: Vec<(usize, usize)>,
}

#[derive(Debug, Clone, Copy)]
struct Op {
    db: usize,
    end: usize,
    to: Target,
}

/// A command of a [`LogBuf`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Logged<'a> {
    /// The database it applies to.
    pub db: usize,
    /// The request, as RESP has it.
    pub request: &'a [u8],
    /// Where it goes.
    pub to: Target,
    /// It is the first of a group of several.
    pub opens: bool,
    /// It is the last of a group of several.
    pub closes: bool,
}

impl LogBuf {
    /// Adds a command.
    pub fn push(&mut self, db: usize, argv: &[&[u8]], to: Target) {
        encode_request(argv, &mut self.bytes);
        self.ops.push(Op { db, end: self.bytes.len(), to });
    }
    /// Ends a group.
    #[inline]
    pub fn close_group(&mut self) {
        if self.ops.len() - self.group > 1 {
            self.brackets.push((self.group, self.ops.len()));
        }
        self.group = self.ops.len();
    }
    /// Bytes of the commands in it.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }
    /// Whether there is nothing.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }
    /// The bytes of a long command that is alone and goes everywhere, with its database: such are better handed on than
    /// copied. Nothing is left then.
    pub fn take_long(&mut self) -> Option<(usize, Vec<u8>)> {
        match self.ops[..] {
            [Op { db, to: Target::All, .. }] if self.bytes.len() >= LONG => {
                self.ops.clear();
                self.group = 0;
                Some((db, std::mem::take(&mut self.bytes)))
            }
            _ => None,
        }
    }
    /// Forgets everything; the memory stays for the next turn, unless it is a lot.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(64 << 10);
        self.ops.clear();
        self.brackets.clear();
        self.group = 0;
    }
    /// The commands in order.
    pub fn iter(&self) -> impl Iterator<Item = Logged<'_>> {
        let (mut start, mut brackets) = (0, self.brackets.iter().copied().peekable());
        self.ops.iter().enumerate().map(move |(i, op)| {
            let request = &self.bytes[start..op.end];
            start = op.end;
            let group = brackets.peek().copied().filter(|(first, _)| *first <= i);
            let closes = group.is_some_and(|(_, end)| end == i + 1);
            if closes {
                brackets.next();
            }
            Logged { db: op.db, request, to: op.to, opens: group.is_some_and(|(first, _)| first == i), closes }
        })
    }
}

/// The length of a request as [`encode_request`] writes it: *n, and $n with its bytes for each argument.
pub fn request_len(argv: &[&[u8]]) -> usize {
    let line = |n: usize| 3 + n.checked_ilog10().unwrap_or(0) as usize + 1;
    line(argv.len()) + argv.iter().map(|a| line(a.len()) + a.len() + 2).sum::<usize>()
}

/// Writes a command as a request: an array of bulk strings.
pub fn encode_request(argv: &[&[u8]], out: &mut Vec<u8>) {
    let mut digits = itoa::Buffer::new();
    let mut head = |mark: u8, n: usize, out: &mut Vec<u8>| {
        out.push(mark);
        out.extend_from_slice(digits.format(n).as_bytes());
        out.extend_from_slice(b"\r\n");
    };
    out.reserve(argv.iter().map(|a| a.len() + 16).sum::<usize>() + 16);
    head(b'*', argv.len(), out);
    for arg in argv {
        head(b'$', arg.len(), out);
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

/// What follows from a command.
#[derive(Debug)]
pub struct Effects {
    /// Changes so far. A command that leaves it alone was no write.
    pub dirty: u64,
    /// Which notifications somebody wants.
    pub notify_mask: u32,
    /// Notifications to publish.
    pub events: Vec<Event>,
    /// Keys that appeared and that clients are blocked for.
    pub ready: Vec<(usize, Vec<u8>)>,
    /// Whether the replication log takes entries. Nothing is gathered for it otherwise.
    pub logging: bool,
    /// What is to be logged when the locks are dropped.
    pub log: LogBuf,
    /// A transaction is under way: its effects are logged together at its end.
    pub in_transaction: bool,
    /// The command said itself what to log.
    pub replaced: bool,
    /// Expired keys are hidden but stay: during CLIENT PAUSE nothing may change.
    pub keep_expired: bool,
    /// The command is a client's on a writable replica: the keys that it gives a time end here.
    pub owns_expiry: bool,
    /// The command comes from a primary, which says itself when keys go: those whose time is over are still there.
    pub ignore_expiry: bool,
    /// `import-mode` is on: keys that are over stay, and so do those that are given a time which is.
    pub importing: bool,
    /// Whether clients track keys.
    pub tracking: bool,
    /// Keys whose cached copies are out of date.
    pub invalidated: Vec<Vec<u8>>,
    /// Of so many of them those who had read them have heard already.
    pub told: usize,
    /// A whole database changed.
    pub flushed: bool,
    /// Where effects go: to the append-only file (1), to replicas (2). A script can choose.
    pub mask: u8,
}

/// The [`Effects::mask`] of effects that go everywhere.
pub const EVERYWHERE: u8 = 3;

impl Default for Effects {
    fn default() -> Effects {
        Effects {
            dirty: 0,
            notify_mask: 0,
            events: Vec::new(),
            ready: Vec::new(),
            logging: false,
            log: LogBuf::default(),
            in_transaction: false,
            replaced: false,
            keep_expired: false,
            owns_expiry: false,
            ignore_expiry: false,
            importing: false,
            tracking: false,
            invalidated: Vec::new(),
            told: 0,
            flushed: false,
            mask: EVERYWHERE,
        }
    }
}

/// Up to where notes have been counted, see [`Effects::noted_since`].
#[derive(Debug, Default)]
pub struct Mark {
    events: usize,
    invalidated: usize,
}

impl Effects {
    /// Bytes of memory that notes of keys have taken since the mark, which is put at the end.
    pub fn noted_since(&self, mark: &mut Mark) -> usize {
        let events = self.events.iter().skip(mark.events).map(|e| e.key.capacity()).sum::<usize>();
        let invalidated = self.invalidated.iter().skip(mark.invalidated).map(|k| k.capacity()).sum::<usize>();
        *mark = Mark { events: self.events.len(), invalidated: self.invalidated.len() };
        events + invalidated
    }
    /// Whether notifications of this class are wanted.
    #[inline]
    pub fn wants(&self, class: u32) -> bool {
        self.notify_mask & class != 0
    }
    /// Logs this in place of the command itself. May be called several times.
    pub fn replace(&mut self, db: usize, argv: &[&[u8]]) {
        self.replaced = true;
        if self.logging {
            self.push(db, argv);
        }
    }
    /// Logs a command, where effects are to go now.
    pub fn push(&mut self, db: usize, argv: &[&[u8]]) {
        let to = match self.mask {
            EVERYWHERE => Target::All,
            1 => Target::File,
            2 => Target::Replicas,
            _ => return,
        };
        self.log.push(db, argv, to);
    }
    /// Passes a command on to replicas that changes no data.
    pub fn share(&mut self, db: usize, argv: &[&[u8]]) {
        if self.logging && self.mask & 2 != 0 {
            self.log.push(db, argv, Target::Replicas);
        }
    }
    /// Logs nothing for the command.
    pub fn suppress(&mut self) {
        self.replaced = true;
    }
    /// An expired or evicted key is logged as its removal.
    pub(super) fn propagate_removal(&mut self, db: usize, key: &[u8], lazy: bool) {
        if self.logging {
            let verb: &[u8] = if lazy { b"UNLINK" } else { b"DEL" };
            self.log.push(db, &[verb, key], Target::All);
        }
    }
    /// Whether anything is left to carry out.
    #[inline]
    pub fn is_quiet(&self) -> bool {
        self.events.is_empty() && self.ready.is_empty() && self.invalidated.is_empty() && !self.flushed
    }
}
