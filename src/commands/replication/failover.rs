//! FAILOVER: hands the role of primary to a replica, without losing a write.
//!
//! Writes are paused until the replica has everything; then this node follows it, and tells it by PSYNC ... FAILOVER to
//! take over. Where that fails, or the time is up, writes go on here.

use std::sync::atomic::Ordering::*;

use super::{info, role};
use crate::clients::{PauseKind, PauseReason, Stage};
use crate::commands::options::{self, is};
use crate::commands::{CmdResult, Command, Ctx, Server};
use crate::repl::{FailoverPlan, Primary};
use crate::resp::Error;
use crate::spec::{Cat, Flags, Group, Meta};

/// `FAILOVER [TO host port [FORCE]] [ABORT] [TIMEOUT milliseconds]` <https://valkey.io/commands/failover/>
pub static FAILOVER: Command = Command::new(
    Meta::new("failover", -1, Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::STALE), Group::Server)
        .cat(Cat::DANGEROUS)
        .doc("6.2.0", "O(1)", "Hands the role of primary over to a replica."),
    failover,
);

fn failover(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let server = cx.server;
    if let [_, word] = args
        && is(word, "abort")
    {
        if server.repl.failover.lock().is_none() {
            return Err(Error::new("ERR No failover in progress."));
        }
        abort(server, "Failover manually aborted");
        cx.out.ok();
        return Ok(());
    }
    let (mut timeout, mut force, mut to) = (0, false, None);
    let mut rest = args[1..].iter();
    while let Some(word) = rest.next() {
        match rest.as_slice() {
            [ms, ..] if is(word, "timeout") && timeout == 0 => {
                timeout = options::int(ms)?;
                if timeout <= 0 {
                    return Err(Error::new("ERR FAILOVER timeout must be greater than 0"));
                }
                rest.next();
            }
            [host, port, ..] if is(word, "to") && to.is_none() => {
                to = Some((String::from_utf8_lossy(host).into_owned(), options::int(port)?));
                rest.nth(1);
            }
            _ if is(word, "force") && !force => force = true,
            _ => return Err(Error::SYNTAX),
        }
    }
    if server.cluster.is_enabled() {
        return Err(Error::new("ERR FAILOVER not allowed in cluster mode."));
    }
    if server.repl.failover.lock().is_some() {
        return Err(Error::new("ERR FAILOVER already in progress."));
    }
    if server.repl.link.is_replica() {
        return Err(Error::new("ERR FAILOVER is not valid when server is a replica."));
    }
    let peers = server.repl.peers();
    if peers.is_empty() {
        return Err(Error::new("ERR FAILOVER requires connected replicas."));
    }
    if force && (timeout == 0 || to.is_none()) {
        return Err(Error::new("ERR FAILOVER with force option requires both a timeout and target HOST and IP."));
    }
    let to = match to {
        None => None,
        Some((host, port)) => {
            let target = u16::try_from(port).unwrap_or(0);
            let found = peers.iter().find(|p| info::address(p) == (host.clone(), target));
            let peer = found.ok_or(Error::new("ERR FAILOVER target HOST and PORT is not a replica."))?;
            if peer.replica.stage() != Stage::Online {
                return Err(Error::new("ERR FAILOVER target replica is not online."));
            }
            Some((host, target))
        }
    };
    tracing::info!("FAILOVER requested to {}.", to.as_ref().map_or("any replica".into(), |(h, p)| format!("{h}:{p}")));
    let deadline = (timeout > 0).then(|| cx.db.clock.saturating_add(timeout));
    *server.repl.failover.lock() = Some(FailoverPlan { to, force, deadline, handing_over: false, abort: None });
    server.pause.start(PauseReason::Failover, PauseKind::Write, cx.db.clock, i64::MAX);
    server.repl.ask();
    cx.out.ok();
    Ok(())
}

/// Gives a failover up: writes go on here. Carried out at once, or by [`step`] where the role must change back.
pub fn abort(server: &Server, why: &'static str) {
    let mut state = server.repl.failover.lock();
    let Some(plan) = &mut *state else { return };
    if plan.handing_over {
        plan.abort = Some(why);
        server.repl.changed.notify_waiters();
        return;
    }
    tracing::info!("Aborting failover: {why}");
    *state = None;
    drop(state);
    end_pause(server);
}

/// The replica has taken over, and this node follows it.
pub fn succeed(server: &Server) {
    if server.repl.failover.lock().take().is_some() {
        tracing::info!("Failover target is now the primary.");
        server.repl.link.hand_over.store(false, Release);
        end_pause(server);
    }
}

fn end_pause(server: &Server) {
    server.pause.end(PauseReason::Failover);
    server.registry.nudge_all();
}

/// Goes on with a failover. Called from time to time, and when a replica has said how far it is. No slots are held.
pub fn step(server: &'static Server, now: i64) {
    let Some(plan) = server.repl.failover.lock().clone() else { return };
    if plan.handing_over {
        if let Some(why) = plan.abort {
            tracing::info!("Aborting failover: {why}");
            let mut held = server.keyspace.held();
            held.lock_all();
            server.repl.link.hand_over.store(false, Release);
            *server.repl.failover.lock() = None;
            role::become_primary(server);
            held.unlock();
            end_pause(server);
        }
        return;
    }
    let late = plan.deadline.is_some_and(|at| at <= now);
    if late && !plan.force {
        return abort(server, "Replica never caught up before timeout");
    }
    let end = server.repl.log.end();
    let target = match &plan.to {
        Some(to) if late => Some(to.clone()),
        wanted => server.repl.peers().iter().find_map(|p| {
            let address = info::address(p);
            let chosen = wanted.as_ref().is_none_or(|to| *to == address);
            let in_step = p.replica.stage() == Stage::Online && p.replica.acked.load(Acquire) >= end;
            (chosen && in_step).then_some(address)
        }),
    };
    let Some((host, port)) = target else { return };
    if late {
        tracing::info!("FAILOVER to {host}:{port} time out exceeded, failing over.");
    }
    let mut held = server.keyspace.held();
    held.lock_all();
    if server.repl.log.end() != end && !late {
        // A write was still under way when the pause began.
        return;
    }
    match &mut *server.repl.failover.lock() {
        Some(plan) => plan.handing_over = true,
        None => return,
    }
    tracing::info!("Failover target is {host}:{port}, handing over at offset {end}.");
    server.repl.link.hand_over.store(true, Release);
    role::become_replica(server, Primary { host, port });
}
