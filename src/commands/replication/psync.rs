//! What a replica says to its primary: REPLCONF, PSYNC, SYNC.

use std::sync::Arc;
use std::sync::atomic::Ordering::*;

use super::role;
use crate::clients::{Filter, Follow, Stage, flags};
use crate::commands::options::{self, is};
use crate::commands::{CmdResult, Command, Ctx, Scope};
use crate::repl::{LinkState, Peer};
use crate::resp::Error;
use crate::spec::{Cat, Flags, Group, Meta};

const OF_REPLICAS: Flags = Flags::ADMIN.or(Flags::NOSCRIPT);

/// `REPLCONF option value [option value ...]` <https://valkey.io/commands/replconf/>
pub static REPLCONF: Command = Command::new(
    Meta::new("replconf", -1, OF_REPLICAS.or(Flags::LOADING).or(Flags::STALE).or(Flags::ALLOW_BUSY), Group::Server)
        .cat(Cat::DANGEROUS)
        .doc("3.0.0", "O(1)", "Configures the link between a primary and its replica, for their own use."),
    replconf,
);

/// `PSYNC replicationid offset [FAILOVER]` <https://valkey.io/commands/psync/>
pub static PSYNC: Command = Command::new(
    Meta::new("psync", -3, OF_REPLICAS.or(Flags::NO_MULTI).or(Flags::NO_ASYNC_LOADING), Group::Server)
        .cat(Cat::DANGEROUS)
        .doc("2.8.0", "", "Begins or resumes the stream of writes, for replicas."),
    psync,
)
// Comes before or after a transaction, with which a replica may have been cut off, and not in the middle of it.
.scope(Scope::All);

/// `SYNC` <https://valkey.io/commands/sync/>
pub static SYNC: Command = Command::new(
    Meta::new("sync", 1, OF_REPLICAS.or(Flags::NO_MULTI).or(Flags::NO_ASYNC_LOADING), Group::Server)
        .cat(Cat::DANGEROUS)
        .doc("1.0.0", "", "Begins the stream of writes in its old form, for replicas."),
    sync,
);

fn replconf(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    if args.len().is_multiple_of(2) {
        return Err(Error::SYNTAX);
    }
    let replica = cx.session.replica.get_or_insert_with(Default::default).clone();
    for pair in args[1..].chunks(2) {
        let (option, value) = (pair[0], pair[1]);
        let mut hello = replica.hello.lock();
        if is(option, "listening-port") {
            let port = options::int(value)?;
            hello.port = port as u16;
        } else if is(option, "ip-address") {
            if value.len() >= 256 {
                return Err(Error::owned(format!(
                    "ERR REPLCONF ip-address provided by replica instance is too long: {} bytes",
                    value.len()
                )));
            }
            hello.address = String::from_utf8_lossy(value).into_owned();
        } else if is(option, "capa") {
            // Unknown ones are for other kinds of primary.
            hello.eof |= is(value, "eof");
            hello.psync2 |= is(value, "psync2");
            hello.slot_sets |= is(value, "slot-sets");
            // As a capability that is not known, where it is not wanted here.
            let config = cx.server.config;
            let wanted = config.dual_channel_replication_enabled() && config.repl_diskless_sync();
            hello.dual_channel |= is(value, "dual-channel") && wanted;
        } else if is(option, "rdb-channel") {
            hello.rdb_channel = flag(value)?;
        } else if is(option, "set-rdb-client-id") {
            let id = options::int(value)?;
            let client = u64::try_from(id).ok().filter(|id| cx.server.repl.is_expected(*id));
            hello.rdb_client = client.ok_or_else(|| Error::owned(format!("ERR Unrecognized RDB client id {id}")))?;
        } else if is(option, "version") {
            hello.version = version(value).ok_or_else(|| {
                Error::owned(format!("ERR Unrecognized version format: {}", String::from_utf8_lossy(value)))
            })?;
        } else if is(option, "rdb-only") {
            hello.rdb_only = flag(value)?;
        } else if is(option, "rdb-filter-only") {
            let mut filter = Filter::default();
            for word in value.split(|c| *c == b' ').filter(|w| !w.is_empty()) {
                if !is(word, "functions") {
                    return Err(Error::owned(format!(
                        "ERR Unsupported rdb-filter-only option: {}",
                        String::from_utf8_lossy(word)
                    )));
                }
                filter.functions = true;
            }
            hello.filter = Some(filter);
        } else if is(option, "ack") || is(option, "fack") {
            drop(hello);
            if !cx.session.client.has(flags::REPLICA) {
                return Ok(());
            }
            acknowledge(cx, &args[1..]);
            return Ok(());
        } else if is(option, "getack") {
            // Answered where the primary's stream is read.
            return Ok(());
        } else {
            return Err(Error::owned(format!("ERR Unrecognized REPLCONF option: {}", String::from_utf8_lossy(option))));
        }
    }
    cx.out.ok();
    Ok(())
}

fn flag(value: &[u8]) -> Result<bool, Error> {
    match options::int(value)? {
        n @ 0..=1 => Ok(n == 1),
        _ => Err(Error::new("ERR value is out of range, value must between 0 and 1")),
    }
}

/// `major.minor.patch`, each at most 255, as one number.
fn version(text: &[u8]) -> Option<u32> {
    let parts: Vec<&str> = std::str::from_utf8(text).ok()?.split('.').collect();
    let [major, minor, patch] = parts[..] else { return None };
    let part = |text: &str| text.bytes().all(|c| c.is_ascii_digit()).then(|| text.parse::<u8>().ok()).flatten();
    Some(u32::from_be_bytes([0, part(major)?, part(minor)?, part(patch)?]))
}

/// `REPLCONF ACK offset [FACK offset]`: how far the replica is. Not replied to.
fn acknowledge(cx: &mut Ctx<'_>, words: &[&[u8]]) {
    let Some(replica) = &cx.session.replica else { return };
    for pair in words.chunks(2) {
        let Some(offset) = options::int(pair[1]).ok().and_then(|n| u64::try_from(n).ok()) else { return };
        let cell = if is(pair[0], "fack") { &replica.acked_file } else { &replica.acked };
        cell.fetch_max(offset, AcqRel);
    }
    replica.acked_at.store(cx.db.clock, Release);
    replica.acks.fetch_add(1, AcqRel);
    if replica.stage() == Stage::Background {
        // It has the snapshot, and applies what comes.
        replica.set_stage(Stage::Online);
        cx.server.repl.changed.notify_waiters();
        tracing::info!("Synchronization with replica {} succeeded", cx.session.client.addr);
    }
    super::wait::serve(cx.server);
    if cx.server.repl.failover.lock().is_some() {
        cx.server.repl.changed.notify_waiters();
    }
}

/// Whether this node can serve replicas at all now.
fn ready(cx: &Ctx<'_>) -> Result<(), Error> {
    let repl = &cx.server.repl;
    if repl.failover.lock().is_some() {
        return Err(Error::new("NOMASTERLINK Can't SYNC while failing over"));
    }
    if repl.link.is_replica() && repl.link.state() != LinkState::Connected {
        return Err(Error::new("NOMASTERLINK Can't SYNC while not connected with my master"));
    }
    if !cx.out.is_empty() {
        return Err(Error::new("ERR SYNC and PSYNC are invalid with pending output"));
    }
    Ok(())
}

/// Notes that the connection follows us.
fn enlist(cx: &mut Ctx<'_>, stage: Stage) {
    let replica = cx.session.replica.get_or_insert_with(Default::default);
    replica.acked_at.store(cx.db.clock, Release);
    replica.asked_at.store(cx.db.clock, Release);
    replica.set_stage(stage);
    let peer = Peer { client: cx.session.client.clone(), replica: Arc::clone(replica) };
    peer.client.set(flags::REPLICA, true);
    cx.server.repl.add_peer(peer);
}

fn psync(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    if cx.session.client.has(flags::REPLICA) {
        return Ok(());
    }
    let server = cx.server;
    let id = String::from_utf8_lossy(args[1]).into_owned();
    if args.get(3).is_some_and(|word| is(word, "failover")) {
        tracing::info!("Failover request received for replid {id}.");
        if !server.repl.link.is_replica() {
            return Err(Error::new("ERR PSYNC FAILOVER can't be sent to a master."));
        }
        if id != server.repl.ids().current {
            return Err(Error::new("ERR PSYNC FAILOVER replid must match my replid."));
        }
        role::become_primary(server);
        tracing::info!("PRIMARY MODE enabled (failover request from '{}')", cx.session.client.addr);
    }
    ready(cx)?;
    let offset = options::int(args[2]).inspect_err(|_| {
        let replica = &cx.session.client.addr;
        tracing::warn!("Replica {replica} asks for synchronization but with a wrong offset");
    })?;
    if let Some(reader) = server.repl.resume(&id, offset) {
        let rdb_client = cx.session.replica.as_ref().map_or(0, |r| r.hello.lock().rdb_client);
        let loads = rdb_client != 0 && server.repl.expect_no_more(rdb_client);
        enlist(cx, if loads { Stage::Background } else { Stage::Online });
        server.repl.counters.partial.fetch_add(1, Relaxed);
        let psync2 = cx.session.replica.as_ref().is_some_and(|r| r.hello.lock().psync2);
        if psync2 {
            cx.out.simple(&format!("CONTINUE {}", server.repl.ids().current));
        } else {
            cx.out.simple("CONTINUE");
        }
        tracing::info!(
            "Partial resynchronization request from {} accepted at offset {offset}.",
            cx.session.client.addr
        );
        cx.session.sync = Some(Follow::Resume(reader.0));
        return Ok(());
    }
    if id != "?" {
        server.repl.counters.refused.fetch_add(1, Relaxed);
        tracing::info!(
            "Unable to partial resync with replica {} for lack of backlog (Replica request was: {id} {offset}).",
            cx.session.client.addr
        );
    }
    if cx.session.replica.as_ref().is_some_and(|r| r.hello.lock().dual_channel) {
        // It comes back with another connection for the snapshot.
        tracing::info!(
            "Replica {} is capable of dual channel synchronization, and partial sync isn't possible. Full sync will continue \
             with dedicated RDB channel.",
            cx.session.client.addr
        );
        cx.out.simple("DUALCHANNELSYNC");
        return Ok(());
    }
    full(cx)
}

fn sync(cx: &mut Ctx<'_>, _args: &[&[u8]]) -> CmdResult {
    if cx.session.client.has(flags::REPLICA) {
        return Ok(());
    }
    ready(cx)?;
    cx.session.replica.get_or_insert_with(Default::default).old.store(true, Release);
    full(cx)
}

/// The replica gets a snapshot first. What it is told, it is told when that begins.
fn full(cx: &mut Ctx<'_>) -> CmdResult {
    let filtered = cx.session.replica.as_ref().is_some_and(|r| {
        let hello = r.hello.lock();
        hello.filter.is_some() && !hello.eof
    });
    if filtered {
        return Err(Error::new("ERR Filtered replica requires EOF capability"));
    }
    cx.server.repl.counters.full.fetch_add(1, Relaxed);
    enlist(cx, Stage::WaitStart);
    cx.session.sync = Some(Follow::Full);
    tracing::info!("Replica {} asks for synchronization", cx.session.client.addr);
    if cx.server.snapshots.job().is_some_and(|job| job.for_replicas.load(Acquire)) {
        tracing::info!("Current BGSAVE has socket target. Waiting for next BGSAVE for SYNC");
    }
    cx.server.repl.changed.notify_waiters();
    Ok(())
}
