//! The log: a line a message, in the form that Redis writes, to standard output or to `logfile`.
//!
//! A small `tracing` subscriber of our own. `loglevel`, `log-format` and `log-timestamp-format` are read with each
//! message, so CONFIG SET acts at once; spans are not shown. The file is opened for every line: whoever rotates logs
//! may move or truncate it at any time. Of tracing's levels, TRACE is Redis's debug, DEBUG verbose, INFO notice, WARN
//! and ERROR warning.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

use crate::base::{clock, os};
use crate::config::{Config, LogFormat, LogLevel, LogTimestamp};

/// Writes what is logged.
struct Log {
    config: &'static Config,
}

/// Send everything that is logged from here on where `config` says. Once a process; later calls change nothing.
pub fn init(config: &'static Config) {
    // A second server in one process (tests) goes on with the first one's log.
    if tracing::subscriber::set_global_default(Log { config }).is_ok() {
        report_panics(config);
    }
}

/// A panic leaves a report in the log (`crash-log-enabled`), and standard error gets its usual lines.
fn report_panics(config: &'static Config) {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if config.crash_log_enabled() {
            let thread = std::thread::current();
            let trace = std::backtrace::Backtrace::force_capture();
            tracing::error!(
                "=== DUNLIN BUG REPORT START === Dunlin {} panicked in thread {}: {info}\n{trace}\n\
                 === DUNLIN BUG REPORT END ===",
                env!("CARGO_PKG_VERSION"),
                thread.name().unwrap_or("?")
            );
        }
        usual(info);
    }));
}

fn level_of(level: &Level) -> LogLevel {
    match *level {
        Level::TRACE => LogLevel::Debug,
        Level::DEBUG => LogLevel::Verbose,
        Level::INFO => LogLevel::Notice,
        Level::WARN | Level::ERROR => LogLevel::Warning,
    }
}

impl Subscriber for Log {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        // The level may change at any time.
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Libraries may chatter at their lower levels; what they warn of is welcome.
        let ours = metadata.target().starts_with("dunlin") || *metadata.level() <= Level::WARN;
        ours && metadata.is_event() && level_of(metadata.level()) >= self.config.loglevel()
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Message(String::new());
        event.record(&mut text);
        let now_us = clock::now_us();
        let time = timestamp(self.config.log_timestamp_format(), now_us);
        let line = line(self.config.log_format(), &time, level_of(event.metadata().level()), &text.0);
        write(&self.config.logfile(), line.as_bytes());
    }
}

/// A message with its fields as text.
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a String does not fail.
        let _ = if field.name() == "message" {
            write!(self.0, "{value:?}")
        } else {
            write!(self.0, " {}={value:?}", field.name())
        };
    }
}

fn write(path: &[u8], line: &[u8]) {
    // A log that cannot be written has nobody to complain to.
    let _ = if path.is_empty() {
        std::io::stdout().lock().write_all(line)
    } else {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(OsStr::from_bytes(path));
        file.and_then(|mut file| file.write_all(line))
    };
}

fn timestamp(form: LogTimestamp, now_us: i64) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let ms = now_us / 1000;
    if form == LogTimestamp::Milliseconds {
        return ms.to_string();
    }
    let t = os::local_time(ms / 1000);
    let clock = format!("{:02}:{:02}:{:02}.{:03}", t.hour, t.minute, t.second, ms % 1000);
    if form == LogTimestamp::Legacy {
        return format!("{:02} {} {} {clock}", t.day, MONTHS[(t.month - 1) as usize % 12], t.year);
    }
    let (sign, offset) = (if t.offset < 0 { '-' } else { '+' }, t.offset.abs() / 60);
    format!("{}-{:02}-{:02}T{clock}{sign}{:02}:{:02}", t.year, t.month, t.day, offset / 60, offset % 60)
}

fn line(form: LogFormat, time: &str, level: LogLevel, message: &str) -> String {
    let pid = std::process::id();
    match form {
        LogFormat::Legacy => {
            let mark = match level {
                LogLevel::Debug => '.',
                LogLevel::Verbose => '-',
                LogLevel::Notice => '*',
                LogLevel::Warning | LogLevel::Nothing => '#',
            };
            format!("{pid}:M {time} {mark} {message}\n")
        }
        LogFormat::Logfmt => {
            let level = match level {
                LogLevel::Debug => "debug",
                LogLevel::Verbose => "info",
                LogLevel::Notice => "notice",
                LogLevel::Warning | LogLevel::Nothing => "warning",
            };
            let message: String = message
                .chars()
                .map(|c| match c {
                    '"' => '\'',
                    '\n' | '\r' => ' ',
                    other => other,
                })
                .collect();
            format!("pid={pid} role=primary timestamp=\"{time}\" level={level} message=\"{message}\"\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_the_form_that_log_readers_know() {
        let pid = std::process::id();
        let legacy = line(LogFormat::Legacy, "T", LogLevel::Notice, "Ready to accept connections tcp");
        assert_eq!(legacy, format!("{pid}:M T * Ready to accept connections tcp\n"));
        let logfmt = line(LogFormat::Logfmt, "T", LogLevel::Warning, "a \"b\"\nc");
        assert_eq!(logfmt, format!("pid={pid} role=primary timestamp=\"T\" level=warning message=\"a 'b' c\"\n"));
    }

    #[test]
    fn times_have_three_forms() {
        let us = 1_700_000_000_123_456;
        assert_eq!(timestamp(LogTimestamp::Milliseconds, us), "1700000000123");
        let legacy = timestamp(LogTimestamp::Legacy, us);
        assert!(legacy.contains(" Nov 2023 ") && legacy.ends_with(".123"), "{legacy}");
        let iso = timestamp(LogTimestamp::Iso8601, us);
        assert!(iso.starts_with("2023-11-1") && iso.contains(".123+") || iso.contains(".123-"), "{iso}");
    }
}
