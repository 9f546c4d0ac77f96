//! MONITOR: see every command that the server executes. `exec` sends the lines.

use crate::base::clock;
use crate::clients::flags;
use crate::commands::redact::redact;
use crate::commands::{CmdResult, Command, Ctx, Entry, Server};
use crate::resp::Error;
use crate::spec::{Flags, Group, Meta};

/// <https://valkey.io/commands/monitor/>
pub static MONITOR: Command =
    Command::new(
        Meta::new("monitor", 1, Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::LOADING).or(Flags::STALE), Group::Server)
            .doc("1.0.0", "O(1)", "Shows this connection every command that the server executes."),
        monitor,
    );

fn monitor(cx: &mut Ctx<'_>, _args: &[&[u8]]) -> CmdResult {
    if cx.session.deny_blocking {
        return Err(Error::new("ERR MONITOR isn't allowed for DENY BLOCKING client"));
    }
    if !cx.session.monitor {
        cx.session.monitor = true;
        cx.session.client.set(flags::MONITOR, true);
        cx.server.registry.count_monitor(true);
    }
    cx.out.ok();
    Ok(())
}

/// Whether a command is kept from MONITOR. Those that run scripts show themselves, and then what the scripts call.
pub fn hides(entry: &Entry) -> bool {
    entry.flags().any(Flags::SKIP_MONITOR.or(Flags::ADMIN)) && entry.command.script.is_none()
}

/// Shows a command to everybody in MONITOR. `addr`: where it comes from.
pub fn show(server: &Server, entry: &Entry, db: usize, addr: &str, argv: &[&[u8]]) {
    let redacted = redact(entry, argv);
    let args: Vec<&[u8]> = redacted.iter().map(|a| &a[..]).collect();
    let mut text = Vec::new();
    line(clock::now_us(), db, addr, &args, &mut text);
    server.registry.to_monitors(&text.into());
}

/// Append the line that MONITOR shows of a command: time, database, address, quoted arguments.
fn line(now_us: i64, db: usize, addr: &str, args: &[&[u8]], out: &mut Vec<u8>) {
    let (seconds, micros) = (now_us / 1_000_000, now_us % 1_000_000);
    out.extend_from_slice(format!("+{seconds}.{micros:06} [{db} {addr}]").as_bytes());
    for arg in args {
        out.push(b' ');
        crate::config::split::push_quoted(arg, out);
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_line_shows_time_database_address_and_quoted_arguments() {
        let mut out = Vec::new();
        super::line(1_700_000_000_000_042, 3, "127.0.0.1:5", &[b"set", b"a\"b", b"\x00"], &mut out);
        assert_eq!(out, b"+1700000000.000042 [3 127.0.0.1:5] \"set\" \"a\\\"b\" \"\\x00\"\r\n");
    }
}
