//! Moving whole slots to another node at once: CLUSTER MIGRATESLOTS and what belongs to it.
//!
//! [`export`] is the source's side, with [`target`] its connection and [`values`] what it writes out; [`import`] is the
//! target's; [`filter`] says which writes follow the keys. Between the two goes one connection of ordinary requests:
//! `CLUSTER SYNCSLOTS ESTABLISH`, the keys as RESTORE, their changes as they are in the log, `CLUSTER SYNCSLOTS SETTLE` and
//! `FAILOVER`. Keys are the source's until the target has answered that.

mod export;
mod filter;
pub mod import;
mod target;
mod values;

use super::{DISABLED, UNSTEADY, meta, view};
use crate::base::{clock, rng};
use crate::cluster::transfers::{Side, Stage, Transfer};
use crate::cluster::{NodeId, SlotSet};
use crate::commands::{CmdResult, Command, Ctx, Scope, options};
use crate::resp::Error;
use crate::spec::Flags;

const ADMIN: Flags = Flags::NO_ASYNC_LOADING.or(Flags::ADMIN).or(Flags::STALE);

/// <https://valkey.io/commands/cluster-migrateslots/>
pub static MIGRATESLOTS: Command = Command::new(
    meta("cluster|migrateslots", -4, ADMIN).doc(
        "9.0.0",
        "O(N) where N is the number of slots; the move goes on afterwards.",
        "Moves slots with their keys to other nodes.",
    ),
    migrate,
)
.scope(Scope::Own);
/// <https://valkey.io/commands/cluster-getslotmigrations/>
pub static GETSLOTMIGRATIONS: Command = Command::new(
    meta("cluster|getslotmigrations", 2, ADMIN.or(Flags::LOADING))
        .doc("9.0.0", "O(N) where N is the number of moves.", "Tells of moves of slots, under way and over.")
        .tips(UNSTEADY),
    list,
);
/// <https://valkey.io/commands/cluster-cancelslotmigrations/>
pub static CANCELSLOTMIGRATIONS: Command = Command::new(
    meta("cluster|cancelslotmigrations", 2, ADMIN).doc(
        "9.0.0",
        "O(N) where N is the number of moves.",
        "Gives up the moves of slots away from this node.",
    ),
    cancel,
);
/// What nodes say to each other.
pub static SYNCSLOTS: Command = Command::new(
    meta("cluster|syncslots", -3, ADMIN.or(Flags::NOSCRIPT).or(Flags::NO_MULTI)).doc(
        "9.0.0",
        "O(N) where N is the number of slots.",
        "Used by nodes while slots move.",
    ),
    |cx, args| match args[2] {
        word if word.eq_ignore_ascii_case(b"establish") => import::establish(cx, &args[3..]),
        word if word.eq_ignore_ascii_case(b"owner") => import::owner(cx, &args[3..]),
        word if word.eq_ignore_ascii_case(b"finish") => import::finish(cx, &args[3..]),
        word if word.eq_ignore_ascii_case(b"settle") => import::settle(cx, &args[3..]),
        word if word.eq_ignore_ascii_case(b"failover") => import::take_over(cx, &args[3..]),
        _ => Err(Error::SYNTAX),
    },
)
.scope(Scope::Own);

fn named(arg: &[u8]) -> Result<NodeId, Error> {
    NodeId::parse(arg).ok_or_else(|| Error::general(&[b"Invalid node name: ", arg].concat()))
}

/// Pairs of a first and a last slot.
fn parse_ranges(args: &[&[u8]]) -> Result<SlotSet, Error> {
    if args.is_empty() || !args.len().is_multiple_of(2) {
        return Err(Error::SYNTAX);
    }
    let mut slots = SlotSet::new();
    for pair in args.chunks_exact(2) {
        let (first, last) = (options::slot(pair[0])?, options::slot(pair[1])?);
        if first > last {
            return Err(Error::owned(format!("ERR start slot number {first} is greater than end slot number {last}")));
        }
        if let Some(slot) = (first..=last).find(|&slot| !slots.insert(slot)) {
            return Err(Error::owned(format!("ERR Slot {slot} specified multiple times")));
        }
    }
    Ok(slots)
}

/// The moves that MIGRATESLOTS names.
fn parse_moves(args: &[&[u8]]) -> Result<Vec<(SlotSet, NodeId)>, Error> {
    let mut moves: Vec<(SlotSet, NodeId)> = Vec::new();
    let mut rest = args;
    while let Some((word, after)) = rest.split_first() {
        if !word.eq_ignore_ascii_case(b"slotsrange") {
            return Err(Error::SYNTAX);
        }
        let end = after.iter().position(|word| word.eq_ignore_ascii_case(b"node")).ok_or(Error::SYNTAX)?;
        let slots = parse_ranges(&after[..end])?;
        let node = named(after.get(end + 1).ok_or(Error::SYNTAX)?)?;
        if let Some(slot) = slots.iter().find(|&slot| moves.iter().any(|(others, _)| others.contains(slot))) {
            return Err(Error::owned(format!("ERR Slot {slot} specified multiple times")));
        }
        moves.push((slots, node));
        rest = &after[end + 2..];
    }
    if moves.is_empty() { Err(Error::SYNTAX) } else { Ok(moves) }
}

fn migrate(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let view = view(cx)?;
    let moves = parse_moves(&args[2..])?;
    let me = view.myself();
    if me.is_replica() {
        return Err(Error::new("ERR Slot migration can only be used on primary nodes"));
    }
    for (slots, target) in &moves {
        let node = view.nodes.iter().find(|node| node.id == *target);
        let node = node.ok_or_else(|| Error::owned(format!("ERR Unknown node name: {target}")))?;
        if node.id == me.id {
            return Err(Error::new("ERR Target node can not be this node"));
        }
        if node.is_replica() {
            return Err(Error::new("ERR Target node is not a master"));
        }
        for slot in slots.iter() {
            if !view.is_mine(slot) {
                return Err(Error::owned(format!("ERR Slot {slot} is not served by this node")));
            }
            if view.migrating_to(slot).is_some() {
                return Err(Error::owned(format!("ERR Slot {slot} is being migrated by CLUSTER SETSLOT")));
            }
        }
    }
    let (server, now) = (cx.server, clock::now_ms());
    let kept = server.config.cluster_slot_migration_log_max_len();
    let mut rng = rng::Rng::from_os();
    let mut begun = Vec::new();
    for (slots, target) in moves {
        let transfer = Transfer::new(NodeId::random(&mut rng), Side::Export, slots, me.id, target, now);
        match server.cluster.transfers.add(transfer, kept) {
            Ok(transfer) => begun.push(transfer),
            Err(slot) => {
                // All of them, or none.
                begun.iter().for_each(|t: &std::sync::Arc<Transfer>| {
                    t.set(Stage::Failed, "Another move of the same command could not begin", now);
                });
                return Err(Error::owned(format!("ERR Slot {slot} is already being migrated")));
            }
        }
    }
    begun.into_iter().for_each(|transfer| export::start(server, transfer));
    cx.out.ok();
    Ok(())
}

fn list(cx: &mut Ctx<'_>, _args: &[&[u8]]) -> CmdResult {
    view(cx)?;
    let all = cx.server.cluster.transfers.all();
    let out = &mut *cx.out;
    out.array(all.len());
    // The newest first.
    for t in all.iter().rev() {
        let (stage, message, updated) = t.progress();
        let ranges: Vec<String> = t.slots.ranges().iter().map(|(first, last)| format!("{first}-{last}")).collect();
        let operation = if t.side == Side::Export { "EXPORT" } else { "IMPORT" };
        out.map(12);
        let texts: [(&str, &str); 5] = [
            ("name", t.name.as_str()),
            ("operation", operation),
            ("slot_ranges", &ranges.join(" ")),
            ("target_node", t.target.as_str()),
            ("source_node", t.source.as_str()),
        ];
        for (name, value) in texts {
            out.bulk(name.as_bytes());
            out.bulk(value.as_bytes());
        }
        let heard = t.heard.load(std::sync::atomic::Ordering::Relaxed) as i64;
        for (name, ms) in [("create_time", t.created), ("last_update_time", updated), ("last_ack_time", heard)] {
            out.bulk(name.as_bytes());
            out.int(ms / 1000);
        }
        for (name, value) in [("state", stage.name()), ("message", &message)] {
            out.bulk(name.as_bytes());
            out.bulk(value.as_bytes());
        }
        // Nothing is copied for a move.
        out.bulk(b"cow_size");
        out.int(0);
        out.bulk(b"remaining_repl_size");
        out.int(t.behind.load(std::sync::atomic::Ordering::Relaxed) as i64);
    }
    Ok(())
}

fn cancel(cx: &mut Ctx<'_>, _args: &[&[u8]]) -> CmdResult {
    if !cx.server.cluster.is_enabled() {
        return Err(DISABLED);
    }
    let all = cx.server.cluster.transfers.all();
    let under_way = all.iter().filter(|t| t.side == Side::Export && !t.stage().is_over());
    let mut any = false;
    under_way.for_each(|t| {
        t.cancel();
        any = true;
    });
    if !any {
        return Err(Error::new("ERR No migrations ongoing"));
    }
    cx.out.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moves(line: &str) -> Result<Vec<(String, NodeId)>, String> {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let moves = parse_moves(&words).map_err(|e| String::from_utf8_lossy(e.text()).into_owned())?;
        Ok(moves.into_iter().map(|(slots, node)| (slots.to_string(), node)).collect())
    }

    #[test]
    fn what_may_be_asked_for() {
        let (a, b) = ("a".repeat(40), "b".repeat(40));
        let id = |text: &str| NodeId::parse(text.as_bytes()).unwrap();
        assert_eq!(
            moves(&format!("SLOTSRANGE 0 9 20 20 NODE {a} slotsrange 10 19 node {b}")),
            Ok(vec![("0-9 20".to_owned(), id(&a)), ("10-19".to_owned(), id(&b))])
        );
        for (line, error) in [
            (format!("SLOTSRANGE 0 9 20 NODE {a}"), "ERR syntax error"),
            ("SLOTSRANGE 0 9".to_owned(), "ERR syntax error"),
            ("SLOTSRANGE 0 9 NODE".to_owned(), "ERR syntax error"),
            (format!("SLOTS 0 9 NODE {a}"), "ERR syntax error"),
            (format!("SLOTSRANGE 9 0 NODE {a}"), "ERR start slot number 9 is greater than end slot number 0"),
            (format!("SLOTSRANGE 0 16384 NODE {a}"), "ERR Invalid or out of range slot"),
            (format!("SLOTSRANGE 0 9 9 10 NODE {a}"), "ERR Slot 9 specified multiple times"),
            (format!("SLOTSRANGE 0 9 NODE {a} SLOTSRANGE 9 9 NODE {b}"), "ERR Slot 9 specified multiple times"),
            ("SLOTSRANGE 0 9 NODE X".to_owned(), "ERR Invalid node name: X"),
        ] {
            assert_eq!(moves(&line), Err(error.to_owned()), "{line}");
        }
    }
}
