//! CLIENT KILL, UNBLOCK, PAUSE, UNPAUSE: what one connection does to others.

use super::client::FLAGS;
use super::filter::Filter;
use crate::clients::{Close, PauseKind, PauseReason};
use crate::commands::options;
use crate::commands::options::{int, is};
use crate::commands::{CmdResult, Command, Ctx, Server};
use crate::keyspace::Waiter;
use crate::metrics::ThreadStats;
use crate::resp::Error;
use crate::spec::{Flags, Group, Meta};

const ADMIN: Flags = FLAGS.or(Flags::ADMIN);

/// <https://valkey.io/commands/client-kill/>
pub static KILL: Command = Command::new(
    Meta::new("client|kill", -3, ADMIN, Group::Connection).doc(
        "2.4.0",
        "O(N) where N is the number of client connections",
        "Closes connections.",
    ),
    kill,
);

fn kill(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let old_form = args.len() == 3;
    let filter = if old_form {
        Filter::addr(args[2])
    } else {
        Filter::of(cx, &args[2..], "ERR client-id should be greater than 0")?
    };
    let (now, me) = (cx.db.clock, cx.session.client.id);
    let skip_me = filter.skip_me.unwrap_or(true);
    let mut killed = 0;
    for client in cx.server.registry.all() {
        if !filter.fits(&client, now) || (skip_me && client.id == me) {
            continue;
        }
        if client.id == me {
            cx.session.close = Close::AfterReply;
        } else {
            client.mailbox.close();
            // It is gone for whoever looks, although its worker still has to see to that.
            cx.server.registry.hide(client.id);
        }
        killed += 1;
    }
    match (old_form, killed) {
        (true, 0) => return Err(Error::new("ERR No such client")),
        (true, _) => cx.out.ok(),
        (false, n) => cx.out.int(n),
    }
    Ok(())
}

/// <https://valkey.io/commands/client-unblock/>
pub static UNBLOCK: Command = Command::new(
    Meta::new("client|unblock", -3, ADMIN, Group::Connection).doc(
        "5.0.0",
        "O(log N) where N is the number of client connections",
        "Ends the wait of a client that is blocked in a command.",
    ),
    unblock,
);

fn unblock(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let with_error = match args.get(3) {
        _ if args.len() > 4 => return Err(cx.arity()),
        None => false,
        Some(reason) if is(reason, "TIMEOUT") => false,
        Some(reason) if is(reason, "ERROR") => true,
        Some(_) => return Err(Error::new("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")),
    };
    let id = int(args[2])?;
    let target = u64::try_from(id).ok().and_then(|id| cx.server.registry.get(id));
    let waiter = target.and_then(|client| client.blocked.lock().clone());
    let claimed = waiter.filter(|waiter| waiter.claim());
    if let Some(waiter) = &claimed {
        count_unserved(cx.server, cx.stats, waiter, with_error.then_some(b"UNBLOCKED"));
        waiter.to.deliver(if with_error {
            b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n".to_vec()
        } else {
            waiter.on_timeout.clone()
        });
    }
    cx.out.int(i64::from(claimed.is_some()));
    Ok(())
}

/// A wait ended without service, with an error of this code or without one: the command counts as executed now.
pub fn count_unserved(server: &Server, stats: &ThreadStats, waiter: &Waiter, error: Option<&[u8]>) {
    let argv: Vec<&[u8]> = waiter.argv.iter().map(Vec::as_slice).collect();
    if let Some(entry) = server.lookup.resolve(&argv) {
        let command = stats.command(entry.id);
        command.calls.add(1);
        command.failed.add(u64::from(error.is_some()));
    }
    if let Some(code) = error {
        stats.errors.count(code);
        stats.error_replies.add(1);
    }
}

/// <https://valkey.io/commands/client-pause/>
pub static PAUSE: Command = Command::new(
    Meta::new("client|pause", -3, ADMIN, Group::Connection).doc(
        "3.0.0",
        "O(1)",
        "Holds commands back for a time, all of them or only writes.",
    ),
    pause,
);

fn pause(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let kind = match args.get(3) {
        _ if args.len() > 4 => return Err(cx.arity()),
        None => PauseKind::All,
        Some(mode) if is(mode, "ALL") => PauseKind::All,
        Some(mode) if is(mode, "WRITE") => PauseKind::Write,
        Some(_) => return Err(Error::new("ERR CLIENT PAUSE mode must be WRITE or ALL")),
    };
    let timeout = options::timeout_ms(args[2], cx.db.clock)?;
    cx.server.pause.start(PauseReason::Command, kind, cx.db.clock, cx.db.clock + timeout);
    cx.out.ok();
    Ok(())
}

/// <https://valkey.io/commands/client-unpause/>
pub static UNPAUSE: Command = Command::new(
    Meta::new("client|unpause", 2, ADMIN, Group::Connection).doc(
        "6.2.0",
        "O(N) where N is the number of paused clients",
        "Lets commands run again after CLIENT PAUSE.",
    ),
    unpause,
);

fn unpause(cx: &mut Ctx<'_>, _args: &[&[u8]]) -> CmdResult {
    cx.server.pause.end(PauseReason::Command);
    cx.server.registry.nudge_all();
    cx.out.ok();
    Ok(())
}
