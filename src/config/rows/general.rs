//! The process: databases, logging, supervision, what is allowed.

use crate::config::enums::*;
use crate::config::kind::{Kind::*, any_text};
use crate::config::row::*;

const I32: i64 = i32::MAX as i64;

rows! {
    /// How many databases there are; SELECT chooses one.
    "databases": Int(1, I32), = "16", IMMUTABLE, databases -> usize;
    /// Run in the background.
    "daemonize": Bool, = "no", IMMUTABLE, daemonize -> bool;
    /// Report to a process supervisor: 'systemd', or 'auto' to report to systemd
    /// where it started the process.
    "supervised": Enum(SUPERVISED), = "no", IMMUTABLE => only(["no", "auto", "systemd"], "upstart is not supported"),
        supervised -> Supervised;
    /// A file to write the process id to; empty for none unless daemonized.
    "pidfile": Text(any_text), = "", IMMUTABLE | OMIT_EMPTY, pidfile -> Vec<u8>;
    /// How much to log.
    "loglevel": Enum(LOG_LEVEL), = "notice", MUTABLE, loglevel -> LogLevel;
    /// The file to log to; empty for standard output.
    "logfile": Text(any_text), = "", IMMUTABLE, logfile -> Vec<u8>;
    /// The form of a log line.
    "log-format": Enum(LOG_FORMAT), = "legacy", MUTABLE, log_format -> LogFormat;
    /// The form of the time in a log line.
    "log-timestamp-format": Enum(LOG_TIMESTAMP), = "legacy", MUTABLE, log_timestamp_format -> LogTimestamp;
    /// Keep keys and values out of the log.
    "hide-user-data-from-log": Bool, = "yes", MUTABLE | DORMANT;
    /// Log to the system logger.
    "syslog-enabled": Bool, = "no", IMMUTABLE => only(["no"], "the system logger is not supported");
    /// The name in the system log.
    "syslog-ident": Text(any_text), = "dunlin", IMMUTABLE | DORMANT;
    /// The facility in the system log.
    "syslog-facility": Enum(SYSLOG), = "local0", IMMUTABLE | DORMANT;
    /// Write a report to the log when the server crashes.
    "crash-log-enabled": Bool, = "yes", MUTABLE | DORMANT, crash_log_enabled -> bool;
    /// Check memory after a crash.
    "crash-memcheck-enabled": Bool, = "yes", MUTABLE | DORMANT;
    /// Show the banner in the log also where it is no terminal.
    "always-show-logo": Bool, = "no", IMMUTABLE | DORMANT;
    /// Show state in the title of the process.
    "set-proc-title": Bool, = "yes", IMMUTABLE, set_proc_title -> bool;
    /// The title of the process. Variables: {title}, {listen-addr}, {server-mode},
    /// {port}, {tls-port}, {unixsocket}, {config-file}.
    "proc-title-template": Text(title_template), = "{title} {listen-addr} {server-mode}", MUTABLE,
        proc_title_template -> Vec<u8>;
    /// The locale that SORT ALPHA compares text by; empty for the environment's.
    "locale-collate": Text(known_locale), = "", MUTABLE, locale_collate -> Vec<u8>;
    /// How many times a second background work runs (1 to 500).
    "hz": Clamped(0, I32, 1, 500), = "10", MUTABLE, hz -> u64;
    /// Run background work more often with many clients.
    "dynamic-hz": Bool, = "yes", MUTABLE | DORMANT;
    /// Move tables to their new size also while they are idle. Tables here grow
    /// as they are used, in small steps.
    "activerehashing": Bool, = "yes", MUTABLE | DORMANT;
    /// The directory of files; relative paths start here.
    "dir": Dir, = "", MUTABLE | PROTECTED | NOT_WHILE_LOADING;
    /// Milliseconds before a running script lets other clients see -BUSY; 0 for never.
    "busy-reply-threshold" ["lua-time-limit"]: Int(0, i64::MAX), = "5000", MUTABLE,
        busy_reply_threshold -> u64;
    /// The most memory that scripts may take in one interpreter, of which each
    /// thread has two (one for scripts, one for functions); 0 for no limit.
    "script-memory-limit": Memory(0, i64::MAX), = "1073741824", MUTABLE, script_memory_limit -> usize;
    /// Seconds to wait for replicas when shutting down.
    "shutdown-timeout": Int(0, I32), = "10", MUTABLE, shutdown_timeout -> u32;
    /// How SIGINT shuts down.
    "shutdown-on-sigint": Flags(SHUTDOWN), = "default", MUTABLE, shutdown_on_sigint -> i64;
    /// How SIGTERM shuts down.
    "shutdown-on-sigterm": Flags(SHUTDOWN), = "default", MUTABLE, shutdown_on_sigterm -> i64;
    /// Who may use DEBUG.
    "enable-debug-command": Enum(ALLOW), = "no", IMMUTABLE, enable_debug_command -> Allow;
    /// Who may change protected options with CONFIG SET.
    "enable-protected-configs": Enum(ALLOW), = "no", IMMUTABLE, enable_protected_configs -> Allow;
    /// Who may use MODULE. There are no modules.
    "enable-module-command": Enum(ALLOW), = "no", IMMUTABLE | DORMANT;
    /// Start in spite of these warnings.
    "ignore-warnings": Text(any_text), = "", MUTABLE | DORMANT;
    /// Tell clients and scripts that this is Redis where they ask for the name.
    "extended-redis-compatibility": Bool, = "no", MUTABLE, extended_redis_compatibility -> bool;
    /// A secret, the same one on all nodes, that orders keys: then SCAN and CLUSTERSCAN go on after a failover, or on
    /// another node. Without one each start has an order of its own. Whoever knows it can choose keys that make tables slow.
    "hash-seed": Text(seed), = "", IMMUTABLE | OMIT_EMPTY, hash_seed -> Vec<u8>;
    /// Where this server stands, for clients that prefer near ones.
    "availability-zone": Text(any_text), = "", MUTABLE, availability_zone -> Vec<u8>;
    /// Turn transparent huge pages off for this process.
    "disable-thp": Bool, = "yes", IMMUTABLE, disable_thp -> bool;
    /// Tell the kernel which process to kill first when memory runs out: 'yes' or 'relative'
    /// adds a score to the one that the process was started with, 'absolute' replaces it.
    "oom-score-adj": Enum(OOM), = "no", MUTABLE, oom_score_adj -> i64;
    /// The scores for a primary, a replica and background processes, of which there are none.
    "oom-score-adj-values": OomValues, = "0 200 800", MUTABLE;
    /// The CPUs that the server may run on, such as 0,2-5,8-14:2 (every second from 8 to 14). By default there is a worker for
    /// each of them.
    "server-cpulist" ["server_cpulist"]: Text(cpus), = "", IMMUTABLE | OMIT_EMPTY, server_cpulist -> Vec<u8>;
    /// The CPUs for threads that free memory and write the append-only file.
    "bio-cpulist" ["bio_cpulist"]: Text(cpus), = "", IMMUTABLE | OMIT_EMPTY, bio_cpulist -> Vec<u8>;
    /// The CPUs that a rewrite of the append-only file may run on.
    "aof-rewrite-cpulist" ["aof_rewrite_cpulist"]: Text(cpus), = "", IMMUTABLE | OMIT_EMPTY, aof_rewrite_cpulist -> Vec<u8>;
    /// The CPUs that a snapshot may run on.
    "bgsave-cpulist" ["bgsave_cpulist"]: Text(cpus), = "", IMMUTABLE | OMIT_EMPTY, bgsave_cpulist -> Vec<u8>;
    /// A text for crash reports, for tests.
    "debug-context": Text(any_text), = "", MUTABLE | HIDDEN | DORMANT;
    /// Panic by exit, for tests.
    "use-exit-on-panic": Bool, = "no", MUTABLE | HIDDEN | DORMANT;
    /// Milliseconds after which a stuck main thread is logged.
    "watchdog-period": Int(0, I32), = "0", MUTABLE | HIDDEN | DORMANT;
    /// Check assertions that are for tests.
    "enable-debug-assert": Bool, = "no", IMMUTABLE | HIDDEN | DORMANT;
}

/// The variables that `proc-title-template` knows.
const TITLE_VARIABLES: [&[u8]; 7] =
    [b"title", b"listen-addr", b"server-mode", b"port", b"tls-port", b"unixsocket", b"config-file"];

fn title_template(text: &[u8]) -> Result<(), &'static str> {
    const BAD: &str = "template format is invalid or contains unknown variables";
    let mut rest = text;
    while let Some(open) = rest.iter().position(|&c| c == b'{') {
        let inner = &rest[open + 1..];
        let close = inner.iter().position(|&c| c == b'}').ok_or(BAD)?;
        if !TITLE_VARIABLES.contains(&&inner[..close]) {
            return Err(BAD);
        }
        rest = &inner[close + 1..];
    }
    Ok(())
}

fn cpus(text: &[u8]) -> Result<(), &'static str> {
    let read = std::str::from_utf8(text).ok().and_then(crate::base::cpus::parse);
    read.map(|_| ()).ok_or("argument must be a list of CPUs, such as 0,2-5,8-14:2")
}

fn seed(text: &[u8]) -> Result<(), &'static str> {
    if text.len() <= 256 { Ok(()) } else { Err("hash-seed must be at most 256 characters") }
}

/// Text is compared byte by byte, which is what these locales mean.
fn known_locale(text: &[u8]) -> Result<(), &'static str> {
    const BYTEWISE: [&[u8]; 5] = [b"", b"C", b"POSIX", b"C.UTF-8", b"C.utf8"];
    if BYTEWISE.contains(&text) { Ok(()) } else { Err("Invalid locale name") }
}
