//! What is recorded about commands: slow, large, latency.

use crate::config::kind::{Kind::*, any_text};
use crate::config::row::*;

rows! {
    /// Record commands that take at least this many microseconds; -1 for none, 0 for all.
    "commandlog-execution-slower-than" ["slowlog-log-slower-than"]: Int(-1, i64::MAX), = "10000", MUTABLE,
        commandlog_execution_slower_than -> i64;
    /// How many slow commands to keep.
    "commandlog-slow-execution-max-len" ["slowlog-max-len"]: Int(0, i64::MAX), = "128", MUTABLE,
        commandlog_slow_execution_max_len -> usize;
    /// Record commands whose request has at least this many bytes; -1 for none.
    "commandlog-request-larger-than": Int(-1, i64::MAX), = "1048576", MUTABLE, commandlog_request_larger_than -> i64;
    /// How many commands with large requests to keep.
    "commandlog-large-request-max-len": Int(0, i64::MAX), = "128", MUTABLE, commandlog_large_request_max_len -> usize;
    /// Record commands whose reply has at least this many bytes; -1 for none.
    "commandlog-reply-larger-than": Int(-1, i64::MAX), = "1048576", MUTABLE, commandlog_reply_larger_than -> i64;
    /// How many commands with large replies to keep.
    "commandlog-large-reply-max-len": Int(0, i64::MAX), = "128", MUTABLE, commandlog_large_reply_max_len -> usize;
    /// Record events that take at least this many milliseconds for LATENCY; 0 for none.
    "latency-monitor-threshold": Int(0, i64::MAX), = "0", MUTABLE, latency_monitor_threshold -> i64;
    /// Keep a histogram of each command's latency.
    "latency-tracking": Bool, = "yes", MUTABLE, latency_tracking -> bool;
    /// The percentiles of latency that INFO shows.
    "latency-tracking-info-percentiles": Percentiles, = "50 99 99.9", MUTABLE;
    /// The port on which /metrics, /healthz, /readyz and /version are served by HTTP; 0 for none.
    "metrics-port": Int(0, 65_535), = "0", MUTABLE, metrics_port -> u16;
    /// The addresses for it, in the form of bind.
    "metrics-bind": Text(any_text), = "127.0.0.1 -::1", MUTABLE, metrics_bind -> Vec<u8>;
    /// 'user:password' that a scraper has to give (HTTP basic authentication) for /metrics and /version; empty for none.
    "metrics-auth": Text(user_and_password), = "", MUTABLE | SENSITIVE | OMIT_EMPTY, metrics_auth -> Vec<u8>;
}

fn user_and_password(text: &[u8]) -> Result<(), &'static str> {
    if text.is_empty() || text.contains(&b':') { Ok(()) } else { Err("metrics-auth must have the form user:password") }
}
