//! SHUTDOWN: end the server, with a snapshot first where the settings or the client ask for one.
//!
//! Replicas get a moment to catch up first (`shutdown-timeout`), unless NOW is said; with FAILOVER one of them takes over then.
//! Meanwhile writes are paused, and SHUTDOWN ABORT calls it off.

use std::sync::atomic::Ordering::*;

use crate::base::clock;
use crate::clients::{Block, Close, PauseKind, PauseReason};
use crate::commands::cluster::succession;
use crate::commands::options::is;
use crate::commands::persistence::save;
use crate::commands::{CmdResult, Command, Ctx, Server};
use crate::resp::{Error, Out};
use crate::spec::{Flags, Group, Meta};

/// <https://valkey.io/commands/shutdown/>
pub static SHUTDOWN: Command = Command::new(
    Meta::new(
        "shutdown",
        -1,
        Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::LOADING).or(Flags::STALE).or(Flags::NO_MULTI).or(Flags::ALLOW_BUSY),
        Group::Server,
    )
    .doc(
        "1.0.0",
        "O(N) when saving, where N is the total number of keys in all databases when saving data, otherwise O(1)",
        "Ends the server.",
    ),
    shutdown,
);

/// How the server is to end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Plan {
    /// Write a snapshot, or do not; `None`: where there are save points.
    pub save: Option<bool>,
    /// Do not wait for replicas.
    pub now: bool,
    /// End whatever goes wrong.
    pub force: bool,
    /// Do not end where a cluster would miss this node.
    pub safe: bool,
    /// Let a replica take over this node's slots first.
    pub failover: bool,
}

/// An end that waits for replicas.
#[derive(Debug, Clone, Copy)]
pub struct Ending {
    plan: Plan,
    /// Until when, unix ms.
    deadline: i64,
    /// A replica was told to take over.
    handing_over: bool,
}

impl Ending {
    /// Waits for nothing but its turn.
    pub fn without_wait(plan: Plan) -> Ending {
        Ending { plan, deadline: 0, handing_over: false }
    }
    /// Until when it waits, unix ms.
    pub fn deadline(&self) -> i64 {
        self.deadline
    }
}

fn shutdown(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let (mut plan, mut abort) = (Plan::default(), false);
    for option in &args[1..] {
        match () {
            () if is(option, "NOSAVE") && plan.save != Some(true) => plan.save = Some(false),
            () if is(option, "SAVE") && plan.save != Some(false) => plan.save = Some(true),
            () if is(option, "NOW") => plan.now = true,
            () if is(option, "FORCE") => plan.force = true,
            () if is(option, "SAFE") => plan.safe = true,
            () if is(option, "FAILOVER") => plan.failover = true,
            () if is(option, "ABORT") => abort = true,
            () => return Err(Error::SYNTAX),
        }
    }
    let server = cx.server;
    if abort {
        if plan != Plan::default() {
            return Err(Error::SYNTAX);
        }
        if server.ending.lock().take().is_none() {
            return Err(Error::new("ERR No shutdown in progress."));
        }
        tracing::info!("Shutdown manually aborted.");
        give_up(server);
        cx.out.ok();
        return Ok(());
    }
    if cx.session.deny_blocking && !plan.now {
        return Err(Error::new("ERR SHUTDOWN without NOW or ABORT isn't allowed for DENY BLOCKING client"));
    }
    if server.loading.on.load(Acquire) {
        // What is half loaded must not take the place of what is on disk.
        plan.save = Some(false);
    }
    if server.running.any() && plan.save != Some(false) {
        return Err(server.running.refusal());
    }
    tracing::warn!("User requested shutdown...");
    if begin(server, plan) {
        finish(server, plan).map_err(|_| FAILED)?;
        cx.session.close = Close::Now;
        return Ok(());
    }
    cx.session.block = Some(Block { ending: true, ..Block::default() });
    Ok(())
}

const FAILED: Error = Error::new("ERR Errors trying to SHUTDOWN. Check logs.");

/// Writes go on, and those who asked for the end hear of it.
fn give_up(server: &Server) {
    server.pause.end(PauseReason::Shutdown);
    server.registry.nudge_all();
    for waiter in server.enders.lock().drain(..) {
        if waiter.claim() {
            let mut out = Out::default();
            out.error(&FAILED);
            waiter.to.deliver(out.take_bytes());
        }
    }
}

/// Begins the end. True if nothing is to be waited for: then [`finish`] follows; else [`cron`] sees to it.
pub fn begin(server: &Server, plan: Plan) -> bool {
    let timeout = server.config.shutdown_timeout() as i64 * 1000;
    let waits = !plan.now && timeout > 0 && replicas_behind(server);
    if !waits && (!plan.failover || succession::successor(server).is_none()) {
        return true;
    }
    let mut ending = server.ending.lock();
    if ending.is_none() {
        tracing::info!("Waiting for replicas before shutting down.");
        let deadline = if waits { clock::now_ms() + timeout } else { 0 };
        *ending = Some(Ending { plan, deadline, handing_over: false });
        server.pause.start(PauseReason::Shutdown, PauseKind::Write, clock::now_ms(), i64::MAX);
        server.repl.ask();
    }
    false
}

fn replicas_behind(server: &Server) -> bool {
    let end = server.repl.log.end();
    !server.repl.link.is_replica() && server.repl.online() > server.repl.have(end, false)
}

/// Tells a replica to take over, if there is one, and lets the end wait for that.
fn hand_over(server: &Server, now: i64) -> bool {
    let Some(successor) = succession::successor(server) else { return false };
    let mut ending = server.ending.lock();
    let Some(ending) = ending.as_mut() else { return false };
    tracing::info!("Handing over to replica {successor} before shutting down.");
    ending.handing_over = true;
    ending.deadline = now + server.config.cluster_manual_failover_timeout();
    succession::order(server, &successor);
    true
}

/// Goes on with an end that waits for replicas.
pub fn cron(server: &'static Server, now: i64) {
    let Some(Ending { plan, deadline, handing_over }) = *server.ending.lock() else { return };
    let waits = if handing_over { succession::leads(server) } else { replicas_behind(server) };
    if waits && now < deadline {
        return;
    }
    if plan.failover && !handing_over && hand_over(server, now) {
        return;
    }
    if handing_over {
        if waits {
            tracing::warn!("No replica took over before the shutdown.");
        } else {
            tracing::info!("A replica took over before the shutdown.");
            // Who waits to write is sent there.
            server.pause.end(PauseReason::Shutdown);
            server.registry.nudge_all();
        }
    }
    if server.ending.lock().take().is_none() {
        return;
    }
    let end = server.repl.log.end();
    for p in server.repl.peers().iter().filter(|p| p.replica.acked.load(Acquire) < end) {
        tracing::info!(
            "Lagging replica {} reported offset {} behind primary, lag={}",
            p.client.addr,
            end - p.replica.acked.load(Acquire),
            (now - p.replica.acked_at.load(Acquire)) / 1000
        );
    }
    if finish(server, plan).is_err() {
        tracing::warn!("Errors trying to shut down the server. Check the logs for more information.");
        give_up(server);
    }
}

/// The server cannot end: the final snapshot could not be written, or it is not safe.
#[derive(Debug, Clone, Copy)]
pub struct Refused;

/// Waits until the append-only file has the data that it does not have yet, for as long as replicas would be waited for.
fn has_first_base(server: &Server) -> bool {
    tracing::info!("Waiting for the initial AOF before exiting.");
    let patience = server.config.shutdown_timeout() as i64 * 1000;
    let start = clock::steady_ms();
    while server.aof.baseless.load(Acquire) && clock::steady_ms() - start < patience && !server.running.any() {
        clock::pause_us(1000);
    }
    !server.aof.baseless.load(Acquire)
}

/// Saves, if that is asked for, and ends. `Err`: the server goes on.
pub fn finish(server: &'static Server, plan: Plan) -> Result<(), Refused> {
    if plan.safe && !plan.force && succession::leads(server) {
        tracing::warn!("This node is a primary with slots, which the cluster would miss. Can't exit");
        return Err(Refused);
    }
    if let Some(job) = server.snapshots.job() {
        tracing::warn!("There is a snapshot under way. Cancelling it...");
        job.cancel.store(true, Release);
        // It needs the locks that a busy script keeps, and the script may be left half-way on this very thread; it ends with
        // the server.
        while server.snapshots.job().is_some() && !server.running.any() {
            clock::pause_us(1000);
        }
    }
    let replicas = server.repl.online();
    if replicas > 0 && !server.repl.link.is_replica() {
        let in_step = server.repl.have(server.repl.log.end(), false);
        tracing::info!("{in_step} of {replicas} replicas are in sync when shutting down.");
    }
    if server.aof.baseless.load(Acquire) && !has_first_base(server) && !plan.force {
        tracing::warn!("Writing initial AOF, can't exit");
        return Err(Refused);
    }
    let saves = plan.save.unwrap_or_else(|| !server.config.save_points().is_empty());
    if saves {
        tracing::info!("Saving the final RDB snapshot before exiting.");
        // One for replicas may be under way, which ends soon.
        let mut tries = 0;
        while let Err(e) = save::save_now(server) {
            if e.kind() == std::io::ErrorKind::ResourceBusy && tries < 5000 {
                tries += 1;
                clock::pause_us(1000);
                continue;
            }
            tracing::warn!("Error trying to save the DB, can't exit: {e}");
            if !plan.force {
                return Err(Refused);
            }
            break;
        }
    }
    server.shut_down();
    Ok(())
}
