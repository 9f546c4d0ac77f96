//! The command log: the latest commands that were slow, had a large request, or a large reply.
//!
//! SLOWLOG shows the first of the three, COMMANDLOG all. Entries keep what helps to recognise a command, not the
//! command: at most 32 arguments of at most 128 bytes, and how much was left out. Recording is rare, so one lock a log
//! does; the decision whether to record is a comparison that the caller makes without it.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;

/// Most arguments that an entry keeps; the last tells how many more there were.
const MAX_ARGS: usize = 32;
/// Most bytes of an argument.
const MAX_ARG_LEN: usize = 128;

/// Which log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogKind {
    /// Execution took long: microseconds.
    Slow,
    /// The request was large: bytes.
    LargeRequest,
    /// The reply was large: bytes.
    LargeReply,
}

impl LogKind {
    /// All of them.
    pub const ALL: [LogKind; 3] = [LogKind::Slow, LogKind::LargeRequest, LogKind::LargeReply];

    /// The name that COMMANDLOG takes.
    pub fn name(self) -> &'static str {
        match self {
            LogKind::Slow => "slow",
            LogKind::LargeRequest => "large-request",
            LogKind::LargeReply => "large-reply",
        }
    }
}

/// A recorded command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Ascending, never used twice.
    pub id: u64,
    /// When it ended, Unix seconds.
    pub time: i64,
    /// Microseconds or bytes, by the kind of log.
    pub value: i64,
    /// Its arguments, shortened.
    pub argv: Vec<Vec<u8>>,
    /// The client's address.
    pub addr: String,
    /// The client's name.
    pub name: Vec<u8>,
}

/// Who sent a command, and when it ended.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// Unix seconds.
    pub time: i64,
    /// The client's address.
    pub addr: &'a str,
    /// The client's name.
    pub name: &'a [u8],
}

#[derive(Debug, Default)]
struct Log {
    next_id: u64,
    /// Newest first.
    entries: VecDeque<Arc<LogEntry>>,
}

/// The three logs.
#[derive(Debug, Default)]
pub struct CommandLog {
    logs: [Mutex<Log>; 3],
}

impl CommandLog {
    fn log(&self, kind: LogKind) -> &Mutex<Log> {
        &self.logs[kind as usize]
    }

    /// Record a command; the oldest entries beyond `max_len` go. A log without room counts nothing.
    pub fn record(&self, kind: LogKind, value: i64, argv: &[impl AsRef<[u8]>], origin: Origin<'_>, max_len: usize) {
        if max_len == 0 {
            return;
        }
        let argv = shortened(argv);
        let mut log = self.log(kind).lock();
        let id = log.next_id;
        log.next_id += 1;
        let Origin { time, addr, name } = origin;
        log.entries.push_front(Arc::new(LogEntry {
            id,
            time,
            value,
            argv,
            addr: addr.to_owned(),
            name: name.to_vec(),
        }));
        log.entries.truncate(max_len);
    }

    /// The newest entries, at most `count`.
    pub fn newest(&self, kind: LogKind, count: usize) -> Vec<Arc<LogEntry>> {
        self.log(kind).lock().entries.iter().take(count).cloned().collect()
    }

    /// How many entries there are.
    pub fn len(&self, kind: LogKind) -> usize {
        self.log(kind).lock().entries.len()
    }

    /// Is there none?
    pub fn is_empty(&self, kind: LogKind) -> bool {
        self.len(kind) == 0
    }

    /// Drop all entries; ids go on.
    pub fn reset(&self, kind: LogKind) {
        self.log(kind).lock().entries.clear();
    }

    /// Drop the oldest entries beyond `max_len` (the limit was lowered).
    pub fn trim(&self, kind: LogKind, max_len: usize) {
        self.log(kind).lock().entries.truncate(max_len);
    }
}

fn shortened(argv: &[impl AsRef<[u8]>]) -> Vec<Vec<u8>> {
    let kept = if argv.len() > MAX_ARGS { MAX_ARGS - 1 } else { argv.len() };
    let mut out: Vec<Vec<u8>> = argv[..kept].iter().map(|arg| shortened_arg(arg.as_ref())).collect();
    if kept < argv.len() {
        out.push(format!("... ({} more arguments)", argv.len() - kept).into_bytes());
    }
    out
}

fn shortened_arg(arg: &[u8]) -> Vec<u8> {
    if arg.len() <= MAX_ARG_LEN {
        return arg.to_vec();
    }
    let mut out = arg[..MAX_ARG_LEN].to_vec();
    out.extend_from_slice(format!("... ({} more bytes)", arg.len() - MAX_ARG_LEN).as_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: Origin<'_> = Origin { time: 7, addr: "127.0.0.1:1", name: b"me" };

    #[test]
    fn the_newest_come_first_and_the_oldest_go() {
        let log = CommandLog::default();
        for n in 0..5 {
            log.record(LogKind::Slow, n, &["get", "k"], ORIGIN, 3);
        }
        let newest = log.newest(LogKind::Slow, 2);
        assert_eq!(newest.iter().map(|e| (e.id, e.value)).collect::<Vec<_>>(), [(4, 4), (3, 3)]);
        assert_eq!((log.len(LogKind::Slow), log.len(LogKind::LargeReply)), (3, 0));
        log.trim(LogKind::Slow, 1);
        assert_eq!(log.len(LogKind::Slow), 1);
        log.reset(LogKind::Slow);
        assert!(log.is_empty(LogKind::Slow));
        log.record(LogKind::Slow, 0, &["a"], ORIGIN, 3);
        assert_eq!(log.newest(LogKind::Slow, 9)[0].id, 5);
        log.record(LogKind::Slow, 0, &["a"], ORIGIN, 0);
        log.record(LogKind::Slow, 0, &["a"], ORIGIN, 3);
        assert_eq!(log.newest(LogKind::Slow, 9)[0].id, 6, "a log without room counts nothing");
    }

    #[test]
    fn long_commands_are_shortened() {
        let log = CommandLog::default();
        let long = "a".repeat(129);
        let argv: Vec<&str> = ["set"].into_iter().chain(std::iter::repeat_n(long.as_str(), 40)).collect();
        log.record(LogKind::LargeRequest, 1, &argv, ORIGIN, 3);
        let argv = log.newest(LogKind::LargeRequest, 1)[0].argv.clone();
        assert_eq!(argv.len(), 32);
        assert_eq!(argv[31], b"... (10 more arguments)");
        assert_eq!(argv[1], [&[b'a'; 128][..], b"... (1 more bytes)"].concat());
        let exact: Vec<&str> = std::iter::repeat_n("x", 32).collect();
        log.record(LogKind::LargeRequest, 1, &exact, ORIGIN, 3);
        assert_eq!(log.newest(LogKind::LargeRequest, 1)[0].argv[31], b"x");
    }
}
