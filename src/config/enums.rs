//! The enumerations among the options, as Rust types and as the names that the table gives them.

use super::Config;
use super::kind::Names;
use super::row::FromOption;
use std::sync::atomic::Ordering::Relaxed;

/// Declare an enumeration option: the type, and the table of its names.
macro_rules! names {
    ($(#[doc = $doc:literal])+ $ty:ident, $table:ident: $($(#[doc = $vdoc:literal])+ $variant:ident = $name:literal),+ $(,)?) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $ty { $($(#[doc = $vdoc])+ $variant),+ }

        #[doc = concat!("The names of [`", stringify!($ty), "`].")]
        pub const $table: Names = &[$(($name, $ty::$variant as i64)),+];

        impl $ty {
            /// The name in configuration files and CONFIG GET.
            pub fn name(self) -> &'static str {
                match self { $($ty::$variant => $name),+ }
            }
        }

        impl FromOption for $ty {
            fn read(config: &Config, at: usize) -> $ty {
                const ALL: &[$ty] = &[$($ty::$variant),+];
                let number = config.nums[at].load(Relaxed);
                // The parser stores no other number than those of the table.
                ALL[usize::try_from(number).unwrap_or(0).min(ALL.len() - 1)]
            }
        }
    };
}

names! {
    /// What to do when memory is used up (`maxmemory-policy`).
    Policy, POLICY:
    /// Evict the keys with an expiry that were used the longest ago.
    VolatileLru = "volatile-lru",
    /// Evict the keys with an expiry that are used the least often.
    VolatileLfu = "volatile-lfu",
    /// Evict any keys with an expiry.
    VolatileRandom = "volatile-random",
    /// Evict the keys that expire the soonest.
    VolatileTtl = "volatile-ttl",
    /// Evict the keys that were used the longest ago.
    AllkeysLru = "allkeys-lru",
    /// Evict the keys that are used the least often.
    AllkeysLfu = "allkeys-lfu",
    /// Evict any keys.
    AllkeysRandom = "allkeys-random",
    /// Evict nothing; refuse commands that need memory.
    NoEviction = "noeviction",
}

impl Policy {
    /// Does it evict only keys with an expiry?
    pub fn is_volatile(self) -> bool {
        matches!(self, Policy::VolatileLru | Policy::VolatileLfu | Policy::VolatileRandom | Policy::VolatileTtl)
    }

    /// Does it need access frequencies instead of access times?
    pub fn is_lfu(self) -> bool {
        matches!(self, Policy::VolatileLfu | Policy::AllkeysLfu)
    }
}

names! {
    /// How much is logged (`loglevel`).
    LogLevel, LOG_LEVEL:
    /// Everything.
    Debug = "debug",
    /// What is seldom of use.
    Verbose = "verbose",
    /// What an operator wants to see.
    Notice = "notice",
    /// Only what is wrong.
    Warning = "warning",
    /// Nothing.
    Nothing = "nothing",
}

names! {
    /// Who may use a dangerous command (`enable-debug-command` and its kin).
    Allow, ALLOW:
    /// Nobody.
    No = "no",
    /// Everybody.
    Yes = "yes",
    /// Connections from this machine.
    Local = "local",
}

names! {
    /// The process supervisor to report to (`supervised`).
    Supervised, SUPERVISED:
    /// Upstart: stop at start until it goes on.
    Upstart = "upstart",
    /// systemd: readiness and status through its socket.
    Systemd = "systemd",
    /// Whichever the environment shows.
    Auto = "auto",
    /// None.
    No = "no",
}

names! {
    /// How a replica loads a snapshot from the network (`repl-diskless-load`).
    DisklessLoad, DISKLESS_LOAD:
    /// By way of a file.
    Disabled = "disabled",
    /// Straight from the socket where there are no data to lose.
    OnEmptyDb = "on-empty-db",
    /// Straight from the socket, beside the old data, which serve until the new are whole.
    SwapDb = "swapdb",
    /// Straight from the socket, after the old data are gone.
    FlushBeforeLoad = "flush-before-load",
}

names! {
    /// What a replica does when a write of its primary fails (`propagation-error-behavior`).
    PropagationError, PROPAGATION:
    /// Logs it and goes on.
    Ignore = "ignore",
    /// Ends the process.
    Panic = "panic",
    /// Ends the process, on a replica.
    PanicOnReplicas = "panic-on-replicas",
}

names! {
    /// The form of a log line (`log-format`).
    LogFormat, LOG_FORMAT:
    /// As Redis writes it.
    Legacy = "legacy",
    /// `key=value` pairs.
    Logfmt = "logfmt",
}

names! {
    /// The form of a log line's time (`log-timestamp-format`).
    LogTimestamp, LOG_TIMESTAMP:
    /// As Redis writes it.
    Legacy = "legacy",
    /// ISO 8601 with milliseconds.
    Iso8601 = "iso8601",
    /// Milliseconds since the Unix epoch.
    Milliseconds = "milliseconds",
}

/// `shutdown-on-sigint`, `shutdown-on-sigterm`: bits.
pub const SHUTDOWN: Names =
    &[("default", 0), ("save", 1), ("nosave", 2), ("now", 4), ("force", 8), ("safe", 16), ("failover", 32)];
/// `syslog-facility`.
pub const SYSLOG: Names = &[
    ("user", 1),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];
/// `appendfsync`.
pub const FSYNC: Names = &[("everysec", 0), ("always", 1), ("no", 2)];
/// `oom-score-adj`.
pub const OOM: Names = &[("no", OOM_NO), ("yes", 1), ("relative", 1), ("absolute", OOM_ABSOLUTE)];
/// The score is left alone.
pub const OOM_NO: i64 = 0;
/// The score is replaced.
pub const OOM_ABSOLUTE: i64 = 2;
/// `acl-pubsub-default`.
pub const PUBSUB_DEFAULT: Names = &[("allchannels", 1), ("resetchannels", 0)];
/// `sanitize-dump-payload`.
pub const SANITIZE: Names = &[("no", 0), ("yes", 1), ("clients", 2)];
/// `cluster-preferred-endpoint-type`.
pub const ENDPOINT: Names = &[("ip", 0), ("hostname", 1), ("unknown-endpoint", 2)];
/// `tls-auth-clients`.
pub const TLS_AUTH: Names = &[("no", 0), ("yes", 1), ("optional", 2)];
