//! The target's side of a move: a connection over which another node sends slots.
//!
//! After ESTABLISH the connection may write to the slots, although they are the source's. When it ends before FAILOVER was
//! said, what came over it is removed. With FAILOVER this node takes the slots, under a new epoch that is on disk before
//! the answer leaves.
//!
//! The source removes its keys when the slots are not its own any more. So this node's replicas must have them before: SETTLE,
//! which comes before writes are held back, is answered when they have caught up, and FAILOVER tells them of the new owner
//! first. Keys of slots that are another shard's are hidden from KEYS, SCAN, RANDOMKEY and DBSIZE. Replicas hear of the
//! beginning and of the end: one that is promoted in between removes what has come.

use std::sync::Arc;

use super::{named, parse_ranges};
use crate::base::clock;
use crate::clients::{Block, Import, Job};
use crate::cluster::transfers::{Side, Stage, Transfer};
use crate::cluster::{NodeId, core};
use crate::commands::cluster::change::{Counted, order};
use crate::commands::cluster::replicas::{self, Wait};
use crate::commands::cluster::{DISABLED, events, keys, view};
use crate::commands::{CmdResult, Ctx, Server};
use crate::resp::Error;

/// For so long replicas may take to catch up before writes are held back, ms, and for what is left then.
const SETTLE_MS: i64 = 5000;
const FAILOVER_MS: i64 = 100;

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
    let (server, now) = (cx.server, clock::now_ms());
    if cx.session.primary {
        let target = view.myself().primary.unwrap_or(view.myself().id);
        return note_on_replica(cx, Transfer::new(name, Side::Import, slots, source, target, now));
    }
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
    let transfer = Transfer::new(name, Side::Import, slots, source, view.myself().id, now);
    let kept = server.config.cluster_slot_migration_log_max_len();
    let added = server.cluster.transfers.add(transfer, kept);
    let transfer = added.map_err(|slot| Error::owned(format!("ERR Slot {slot} is being migrated already")))?;
    tracing::info!("Slot migration {name}: receiving slots {} from {source}", transfer.slots);
    tell_replicas(server, &[start_of(&transfer)]);
    let of_end = transfer.clone();
    cx.session.import = Some(Import::new(transfer, Box::new(move || give_up(server, &of_end))));
    cx.out.ok();
    Ok(())
}

/// The connection ended, or the move was given up.
fn give_up(server: &'static Server, transfer: &Transfer) {
    if transfer.give_up("The source ended the connection", clock::now_ms()) {
        remove(server, transfer);
    }
}

fn remove(server: &'static Server, transfer: &Transfer) {
    tracing::warn!("Slot migration {}: given up, what was received is removed", transfer.name);
    let (name, slots) = (transfer.name, transfer.slots.clone());
    // Replicas hear of each key, and then of the end.
    events::lose_and_then(server, slots, move || tell_replicas(server, &end_of(name, false)));
}

fn tell_replicas(server: &Server, orders: &[Vec<Vec<u8>>]) {
    if server.repl.follow_slots() > 0 {
        replicas::log(server, orders);
        server.keyspace.hooks.wake();
    }
}

fn words(words: &[&str]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

fn start_of(transfer: &Transfer) -> Vec<Vec<u8>> {
    let (source, name) = (transfer.source.as_str(), transfer.name.as_str());
    let mut order = words(&["CLUSTER", "SYNCSLOTS", "ESTABLISH", "SOURCE", source, "NAME", name, "SLOTSRANGE"]);
    order.extend(ranges_of(transfer));
    order
}

/// First and last slots.
fn ranges_of(transfer: &Transfer) -> impl Iterator<Item = Vec<u8>> {
    transfer.slots.ranges().iter().flat_map(|(a, b)| [a, b]).map(|n| n.to_string().into_bytes())
}

fn end_of(name: NodeId, success: bool) -> [Vec<Vec<u8>>; 1] {
    let state = if success { "success" } else { "failed" };
    [words(&["CLUSTER", "SYNCSLOTS", "FINISH", "NAME", name.as_str(), "STATE", state])]
}

/// What a replica that gets a snapshot now must hear of, since the data do not tell it. For the log, at the cut.
pub fn tell_new_replicas(server: &Server) {
    let under_way = server.cluster.transfers.all();
    let under_way = under_way.iter().filter(|t| t.side == Side::Import && t.is_open());
    replicas::log(server, under_way.map(|t| start_of(t)));
}

/// `CLUSTER SYNCSLOTS FINISH NAME name STATE success|failed`, from this replica's primary.
pub fn finish(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let [name_word, name, state_word, state] = args else { return Err(Error::SYNTAX) };
    if !cx.session.primary || !name_word.eq_ignore_ascii_case(b"name") || !state_word.eq_ignore_ascii_case(b"state") {
        return Err(Error::SYNTAX);
    }
    let name = named(name)?;
    let stage = if state.eq_ignore_ascii_case(b"success") { Stage::Success } else { Stage::Failed };
    if let Some(transfer) = cx.server.cluster.transfers.on_primary().iter().find(|t| t.name == name) {
        transfer.set(stage, "", clock::now_ms());
    }
    cx.out.ok();
    Ok(())
}

/// `CLUSTER SYNCSLOTS OWNER NODE id SLOTSRANGE first last ...`, from this replica's primary, which takes the slots. Many SETSLOT
/// in its place kept the replica busy for longer than the primary waits.
pub fn owner(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let [node_word, node, range_word, ranges @ ..] = args else { return Err(Error::SYNTAX) };
    let words = node_word.eq_ignore_ascii_case(b"node") && range_word.eq_ignore_ascii_case(b"slotsrange");
    if !cx.session.primary || !words {
        return Err(Error::SYNTAX);
    }
    let pass = core::Command::PassSlots { slots: parse_ranges(ranges)?, to: named(node)? };
    order(cx.server, pass, &Counted::NOTHING)?;
    cx.out.ok();
    Ok(())
}

/// A replica hears that its primary receives slots.
fn note_on_replica(cx: &mut Ctx<'_>, transfer: Transfer) -> CmdResult {
    let transfers = &cx.server.cluster.transfers;
    if !transfers.all().iter().any(|t| t.name == transfer.name) {
        transfer.set(Stage::OnPrimary, "", clock::now_ms());
        // One that is in the way is of a primary before this one, and over.
        let _ = transfers.add(transfer, cx.config().cluster_slot_migration_log_max_len());
    }
    cx.out.ok();
    Ok(())
}

/// This node replaces its primary, which was receiving slots: what has come of them is removed, the source has it all.
pub fn give_up_of_primary(server: &'static Server) {
    for transfer in server.cluster.transfers.on_primary() {
        if transfer.give_up("The primary that received the slots failed", clock::now_ms()) {
            remove(server, &transfer);
        }
    }
}

/// This node follows another primary: what the one before received is not its business any more.
pub fn forget_of_primary(server: &Server) {
    for transfer in server.cluster.transfers.on_primary() {
        transfer.give_up("This node follows another primary", clock::now_ms());
    }
}

/// The move that comes over this connection, by the words `NAME name`.
fn under_way(cx: &Ctx<'_>, args: &[&[u8]]) -> Result<Arc<Transfer>, Error> {
    let [word, name] = args else { return Err(Error::SYNTAX) };
    if !word.eq_ignore_ascii_case(b"name") {
        return Err(Error::SYNTAX);
    }
    let name = named(name)?;
    let import = cx.session.import.as_ref().map(|import| import.transfer.clone());
    let import = import.filter(|t| t.name == name && t.is_open());
    import.ok_or(Error::new("ERR No such slot migration on this connection"))
}

/// Runs `work` on a thread of its own where there are replicas to wait for, `most` ms, and replies OK. It hears whether they
/// have all.
fn after_replicas(
    cx: &mut Ctx<'_>,
    most: i64,
    work: impl FnOnce(bool) -> Result<(), Error> + Send + 'static,
) -> CmdResult {
    let online = cx.server.repl.online();
    if online == 0 || cx.session.deny_blocking {
        work(true)?;
        cx.out.ok();
        return Ok(());
    }
    let wait = Wait::begin(cx, online, most);
    let job = Job(Box::new(move |_, out| {
        work(wait.run().is_ok())?;
        out.ok();
        Ok(())
    }));
    cx.session.block = Some(Block { job: Some(job), ..Block::default() });
    Ok(())
}

/// `CLUSTER SYNCSLOTS SETTLE NAME name`: nearly all was sent.
pub fn settle(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let transfer = under_way(cx, args)?;
    after_replicas(cx, SETTLE_MS, move |follow| {
        if !follow {
            tracing::warn!("Slot migration {}: replicas do not keep up, it goes on without them", transfer.name);
        }
        Ok(())
    })
}

/// `CLUSTER SYNCSLOTS FAILOVER NAME name`: all of it was sent.
pub fn take_over(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let transfer = under_way(cx, args)?;
    let (server, me) = (cx.server, view(cx)?.myself().id);
    check_owner(server, &transfer)?;
    if server.repl.follow_slots() > 0 {
        if server.repl.all_follow_slot_sets() {
            let mut order = words(&["CLUSTER", "SYNCSLOTS", "OWNER", "NODE", me.as_str(), "SLOTSRANGE"]);
            order.extend(ranges_of(&transfer));
            tell_replicas(server, &[order]);
        } else {
            let owned = |slot: u16| words(&["CLUSTER", "SETSLOT", &slot.to_string(), "NODE", me.as_str()]);
            tell_replicas(server, &transfer.slots.iter().map(owned).collect::<Vec<_>>());
        }
    }
    after_replicas(cx, FAILOVER_MS, move |_| claim(server, &transfer))
}

/// Whether the slots are still the source's.
fn check_owner(server: &Server, transfer: &Transfer) -> Result<(), Error> {
    let view = server.cluster.view().ok_or(DISABLED)?;
    match transfer.slots.iter().find(|&s| view.owner(s).is_none_or(|owner| owner.id != transfer.source)) {
        Some(slot) => Err(Error::owned(format!("ERR Slot {slot} does not belong to the source node any more"))),
        None => Ok(()),
    }
}

fn claim(server: &'static Server, transfer: &Transfer) -> Result<(), Error> {
    let claimed = try_claim(server, transfer);
    if claimed.is_err() && transfer.set(Stage::Failed, "The slots could not be taken", clock::now_ms()) {
        remove(server, transfer);
    }
    claimed
}

fn try_claim(server: &'static Server, transfer: &Transfer) -> Result<(), Error> {
    // From here on the end of the connection changes nothing.
    if transfer.is_cancelled() || !transfer.set(Stage::HandingOver, "", clock::now_ms()) {
        return Err(Error::new("ERR This slot migration is over"));
    }
    check_owner(server, transfer)?;
    order(server, core::Command::ClaimSlots(transfer.slots.clone()), &Counted::NOTHING)?;
    transfer.set(Stage::Success, "", clock::now_ms());
    tell_replicas(server, &end_of(transfer.name, true));
    tracing::info!("Slot migration {}: slots {} belong to this node now", transfer.name, transfer.slots);
    Ok(())
}
