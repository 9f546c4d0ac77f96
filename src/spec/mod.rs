//! What a command is: name, arity, flags, where its keys are, categories, documentation.
//!
//! Everything that needs to know about commands reads it from here: dispatch, locking, COMMAND, ACL categories, metric
//! labels. The handlers stand beside their metadata in `commands/`.

mod keys;

use smallvec::SmallVec;

pub use keys::{Begin, Find, KeyFlags, KeySpec, KeyUse, extract};

/// A set of flags, as `COMMAND INFO` shows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(pub u32);

macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident = $bit:expr, $text:expr;)*) => {
        impl Flags {
            $($(#[$doc])* pub const $name: Flags = Flags(1 << $bit);)*
            /// Every flag with the name that `COMMAND INFO` gives it; an empty name is not shown.
            pub const ALL: &'static [(Flags, &'static str)] = &[$((Flags::$name, $text)),*];
        }
    };
}

flags! {
    /// May change data.
    WRITE = 0, "write";
    /// Reads data.
    READONLY = 1, "readonly";
    /// Refused when memory is over the limit.
    DENYOOM = 2, "denyoom";
    /// For administrators.
    ADMIN = 3, "admin";
    /// Has to do with publish/subscribe.
    PUBSUB = 4, "pubsub";
    /// Not from scripts.
    NOSCRIPT = 5, "noscript";
    /// May block the client.
    BLOCKING = 6, "blocking";
    /// Works while data is being loaded.
    LOADING = 7, "loading";
    /// Works on a replica with stale data.
    STALE = 8, "stale";
    /// Not shown to MONITOR.
    SKIP_MONITOR = 9, "skip_monitor";
    /// Not in the slow log.
    SKIP_SLOWLOG = 10, "skip_slowlog";
    /// Takes ASKING for granted.
    ASKING = 11, "asking";
    /// O(1) or O(log n).
    FAST = 12, "fast";
    /// Works before authentication.
    NO_AUTH = 13, "no_auth";
    /// Not in a transaction.
    NO_MULTI = 14, "no_multi";
    /// Key positions depend on the arguments.
    MOVABLEKEYS = 15, "movablekeys";
    /// May have effects that replicate though it is no write. Clients are not told.
    MAY_REPLICATE = 16, "";
    /// Goes on in asynchronous loading.
    NO_ASYNC_LOADING = 17, "no_async_loading";
    /// Keys are optional.
    NO_MANDATORY_KEYS = 18, "no_mandatory_keys";
    /// All databases are concerned (transactions in a cluster).
    ALL_DBS = 19, "";
    /// Allowed while the server is busy with a script.
    ALLOW_BUSY = 20, "allow_busy";
}

impl Flags {
    /// No flag.
    pub const NONE: Flags = Flags(0);
    /// The union.
    pub const fn or(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
    /// Whether all flags of `other` are set.
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }
    /// Whether any flag of `other` is set.
    pub const fn any(self, other: Flags) -> bool {
        self.0 & other.0 != 0
    }
}

/// ACL categories of a command, a bit each, in the order of [`CATEGORIES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cat(pub u32);

/// The names of the ACL categories.
pub const CATEGORIES: [&str; 21] = [
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
];

macro_rules! cats {
    ($($name:ident = $bit:expr;)*) => { impl Cat { $(#[allow(missing_docs)] pub const $name: Cat = Cat(1 << $bit);)* } };
}
cats! {
    KEYSPACE = 0; READ = 1; WRITE = 2; SET = 3; SORTEDSET = 4; LIST = 5; HASH = 6; STRING = 7; BITMAP = 8; HYPERLOGLOG = 9;
    GEO = 10; STREAM = 11; PUBSUB = 12; ADMIN = 13; FAST = 14; SLOW = 15; BLOCKING = 16; DANGEROUS = 17; CONNECTION = 18;
    TRANSACTION = 19; SCRIPTING = 20;
}

impl Cat {
    /// The union.
    pub const fn or(self, other: Cat) -> Cat {
        Cat(self.0 | other.0)
    }
    /// The names of the categories in the set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        CATEGORIES.iter().enumerate().filter(move |(i, _)| self.0 & (1 << i) != 0).map(|(_, n)| *n)
    }
}

/// The documentation group of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Group {
    Generic,
    String,
    List,
    Set,
    SortedSet,
    Hash,
    Pubsub,
    Transactions,
    Connection,
    Server,
    Scripting,
    Hyperloglog,
    Cluster,
    Geo,
    Stream,
    Bitmap,
}

impl Group {
    /// The name in `COMMAND DOCS`.
    pub const fn name(self) -> &'static str {
        match self {
            Group::Generic => "generic",
            Group::String => "string",
            Group::List => "list",
            Group::Set => "set",
            Group::SortedSet => "sorted-set",
            Group::Hash => "hash",
            Group::Pubsub => "pubsub",
            Group::Transactions => "transactions",
            Group::Connection => "connection",
            Group::Server => "server",
            Group::Scripting => "scripting",
            Group::Hyperloglog => "hyperloglog",
            Group::Cluster => "cluster",
            Group::Geo => "geo",
            Group::Stream => "stream",
            Group::Bitmap => "bitmap",
        }
    }
    /// The ACL category that follows from the group.
    const fn category(self) -> Cat {
        match self {
            Group::Generic => Cat::KEYSPACE,
            Group::String => Cat::STRING,
            Group::List => Cat::LIST,
            Group::Set => Cat::SET,
            Group::SortedSet => Cat::SORTEDSET,
            Group::Hash => Cat::HASH,
            Group::Pubsub => Cat::PUBSUB,
            Group::Transactions => Cat::TRANSACTION,
            Group::Connection => Cat::CONNECTION,
            Group::Server | Group::Cluster => Cat(0),
            Group::Scripting => Cat::SCRIPTING,
            Group::Hyperloglog => Cat::HYPERLOGLOG,
            Group::Geo => Cat::GEO,
            Group::Stream => Cat::STREAM,
            Group::Bitmap => Cat::BITMAP,
        }
    }
}

/// Finds the keys among the arguments of a command.
pub type GetKeys = fn(&[&[u8]]) -> Option<SmallVec<[KeyUse; 4]>>;

/// The metadata of a command or subcommand. Built in const context: `Meta::new("get", 2, ...)` and the methods below.
#[derive(Debug, Clone, Copy)]
pub struct Meta {
    /// Full name in lower case; a subcommand's is `container|sub`.
    pub name: &'static str,
    /// Number of arguments with the name; negative: at least that many.
    pub arity: i16,
    /// Flags.
    pub flags: Flags,
    /// ACL categories.
    pub acl: Cat,
    /// Where the keys are.
    pub keys: &'static [KeySpec],
    /// Documentation group.
    pub group: Group,
    /// Version of Redis or Valkey that brought it.
    pub since: &'static str,
    /// Time complexity.
    pub complexity: &'static str,
    /// What it does, in a sentence.
    pub summary: &'static str,
    /// Command tips for proxies.
    pub tips: &'static [&'static str],
    /// Finds the keys where the specifications cannot.
    pub getkeys: Option<GetKeys>,
    /// Deprecated since, and what replaces it.
    pub deprecated: Option<(&'static str, &'static str)>,
}

impl Meta {
    /// A command. Categories follow from group and flags (read, write, fast, slow, blocking, admin and dangerous).
    pub const fn new(name: &'static str, arity: i16, flags: Flags, group: Group) -> Meta {
        let mut acl = group.category();
        if flags.has(Flags::WRITE) {
            acl = acl.or(Cat::WRITE);
        }
        if flags.has(Flags::READONLY) && !matches!(group, Group::Scripting) {
            acl = acl.or(Cat::READ);
        }
        if flags.has(Flags::ADMIN) {
            acl = acl.or(Cat::ADMIN).or(Cat::DANGEROUS);
        }
        if flags.has(Flags::PUBSUB) {
            acl = acl.or(Cat::PUBSUB);
        }
        if flags.has(Flags::BLOCKING) {
            acl = acl.or(Cat::BLOCKING);
        }
        acl = acl.or(if flags.has(Flags::FAST) { Cat::FAST } else { Cat::SLOW });
        Meta {
            name,
            arity,
            flags,
            acl,
            keys: &[],
            group,
            since: "1.0.0",
            complexity: "O(1)",
            summary: "",
            tips: &[],
            getkeys: None,
            deprecated: None,
        }
    }
    /// Key positions.
    pub const fn keys(mut self, keys: &'static [KeySpec]) -> Meta {
        self.keys = keys;
        self
    }
    /// A function of its own that finds the keys.
    pub const fn getkeys(mut self, f: GetKeys) -> Meta {
        self.getkeys = Some(f);
        self
    }
    /// The keys among the arguments; `None` if a number of keys is wrong.
    pub fn keys_of(&self, args: &[&[u8]]) -> Option<SmallVec<[KeyUse; 4]>> {
        match self.getkeys {
            Some(f) => f(args),
            None => extract(self.keys, args),
        }
    }
    /// Further ACL categories.
    pub const fn cat(mut self, cat: Cat) -> Meta {
        self.acl = self.acl.or(cat);
        self
    }
    /// Not in these ACL categories, though its group is.
    pub const fn not_cat(mut self, cat: Cat) -> Meta {
        self.acl = Cat(self.acl.0 & !cat.0);
        self
    }
    /// Version, complexity and summary.
    pub const fn doc(mut self, since: &'static str, complexity: &'static str, summary: &'static str) -> Meta {
        self.since = since;
        self.complexity = complexity;
        self.summary = summary;
        self
    }
    /// Command tips.
    pub const fn tips(mut self, tips: &'static [&'static str]) -> Meta {
        self.tips = tips;
        self
    }
    /// Deprecated since a version, and what to use in its place.
    pub const fn deprecated(mut self, since: &'static str, instead: &'static str) -> Meta {
        self.deprecated = Some((since, instead));
        self
    }
    /// Whether this many arguments (with the name) fit.
    pub const fn arity_fits(&self, argc: usize) -> bool {
        if self.arity >= 0 { argc == self.arity as usize } else { argc >= self.arity.unsigned_abs() as usize }
    }
}
