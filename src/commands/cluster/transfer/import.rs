//! The target's side of a move: a connection over which another node sends slots.
//!
//! After ESTABLISH the connection may write to the slots, although they are the source's. When it ends before FAILOVER was
//! said, what came over it is removed. With FAILOVER this node takes the slots, under a new epoch that is on disk before
//! the answer leaves.

use super::{named, parse_ranges};
use crate::base::clock;
use crate::clients::Import;
use crate::cluster::core;
use crate::cluster::transfers::{Side, Stage, Transfer};
use crate::commands::cluster::{change, events, keys, view};
use crate::commands::{CmdResult, Ctx, Server};
use crate::resp::Error;

/// `CLUSTER SYNCSLOTS ESTABLISH SOURCE id NAME name SLOTSRANGE first last ...`
pub fn establish(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let view = view(cx)?;
    let [source_word, source, name_word, name, range_word, ranges @ ..] = args else { return Err(Error::SYNTAX) };
    let words = [(source_word, "source"), (name_word, "name"), (range_word, "slotsrange")];
    if words.iter().any(|(word, wanted)| !word.eq_ignore_ascii_case(wanted.as_bytes())) {
        return Err(Error::SYNTAX);
    }
    let (source, name) = (named(source)?, named(name)?);
    let slots = parse_ranges(ranges)?;
    if view.myself().is_replica() {
        return Err(Error::new("ERR Slots can only be received by a primary"));
    }
    if cx.session.import.is_some() {
        return Err(Error::new("ERR This connection receives slots already"));
    }
    if !view.nodes.iter().any(|node| node.id == source && node.is_primary()) {
        return Err(Error::owned(format!("ERR Unknown source node {source}")));
    }
    for slot in slots.iter() {
        if view.owner(slot).is_none_or(|owner| owner.id != source) {
            return Err(Error::owned(format!("ERR Slot {slot} does not belong to the source node")));
        }
        if view.importing_from(slot).is_some() || keys::count(cx, slot) > 0 {
            return Err(Error::owned(format!("ERR Slot {slot} has keys or is being imported here")));
        }
    }
    let (server, now) = (cx.server, clock::now_ms());
    let transfer = Transfer::new(name, Side::Import, slots, source, view.myself().id, now);
    let kept = server.config.cluster_slot_migration_log_max_len();
    let added = server.cluster.transfers.add(transfer, kept);
    let transfer = added.map_err(|slot| Error::owned(format!("ERR Slot {slot} is being migrated already")))?;
    tracing::info!("Slot migration {name}: receiving slots {} from {source}", transfer.slots);
    let of_end = transfer.clone();
    cx.session.import = Some(Import::new(transfer, Box::new(move || give_up(server, &of_end))));
    cx.out.ok();
    Ok(())
}

/// The connection ended, or the move was given up.
fn give_up(server: &'static Server, transfer: &Transfer) {
    let stage = if transfer.is_cancelled() { Stage::Cancelled } else { Stage::Failed };
    if transfer.set(stage, "The source ended the connection", clock::now_ms()) {
        tracing::warn!("Slot migration {}: given up, what was received is removed", transfer.name);
        events::lose(server, transfer.slots.clone());
    }
}

/// `CLUSTER SYNCSLOTS FAILOVER NAME name`: all of it was sent.
pub fn take_over(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let [word, name] = args else { return Err(Error::SYNTAX) };
    if !word.eq_ignore_ascii_case(b"name") {
        return Err(Error::SYNTAX);
    }
    let name = named(name)?;
    let import = cx.session.import.as_ref().map(|import| import.transfer.clone());
    let Some(transfer) = import.filter(|t| t.name == name && !t.stage().is_over() && !t.is_cancelled()) else {
        return Err(Error::new("ERR No such slot migration on this connection"));
    };
    let view = view(cx)?;
    if let Some(slot) = transfer.slots.iter().find(|&s| view.owner(s).is_none_or(|owner| owner.id != transfer.source)) {
        return Err(Error::owned(format!("ERR Slot {slot} does not belong to the source node any more")));
    }
    let server = cx.server;
    let Some(mut core) = server.cluster.core() else { return Err(super::super::DISABLED) };
    let command = core::Command::ClaimSlots(transfer.slots.clone());
    let claimed = core.handle_command(clock::steady_ms(), command, &change::Counted::NOTHING);
    drop(core);
    events::carry_out(server);
    server.cluster.ring();
    claimed.map_err(|e| Error::owned(e.into_owned()))?;
    transfer.set(Stage::Success, "", clock::now_ms());
    tracing::info!("Slot migration {name}: slots {} belong to this node now", transfer.slots);
    cx.out.ok();
    Ok(())
}
