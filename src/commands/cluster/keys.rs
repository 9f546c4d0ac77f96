//! The keys of slots: counting, listing and removing them.

use super::change::Counted;
use super::{DISABLED, UNSTEADY, events, meta};
use crate::base::clock;
use crate::base::slot::SLOTS;
use crate::cluster::{SlotSet, core};
use crate::commands::options;
use crate::commands::{CmdResult, Command, Ctx, Scope, Server};
use crate::keyspace::{Db, Effects, Held, Located, notify};
use crate::metrics::stats::Spare;
use crate::resp::Error;
use crate::spec::Flags;

/// <https://valkey.io/commands/cluster-countkeysinslot/>
pub static COUNTKEYSINSLOT: Command = Command::new(
    meta("cluster|countkeysinslot", 3, Flags::STALE).doc("3.0.0", "O(1)", "Returns the number of keys in a slot."),
    |cx, args| {
        if !cx.server.cluster.is_enabled() {
            return Err(DISABLED);
        }
        let slot = u16::try_from(options::int(args[2])?).ok().filter(|&slot| slot < SLOTS);
        let slot = slot.ok_or(Error::new("ERR Invalid slot"))?;
        let n = count(cx, slot);
        cx.out.int(n as i64);
        Ok(())
    },
)
.scope(Scope::Own);

/// <https://valkey.io/commands/cluster-getkeysinslot/>
pub static GETKEYSINSLOT: Command = Command::new(
    meta("cluster|getkeysinslot", 4, Flags::STALE)
        .doc("3.0.0", "O(N) where N is the number of keys asked for.", "Returns names of keys in a slot.")
        .tips(UNSTEADY),
    list,
)
.scope(Scope::Own);

/// <https://valkey.io/commands/cluster-flushslot/>
pub static FLUSHSLOT: Command = Command::new(
    meta("cluster|flushslot", -3, Flags::WRITE.or(Flags::NO_ASYNC_LOADING)).doc(
        "9.0.0",
        "O(N) where N is the number of keys in the slot.",
        "Removes all keys in a slot.",
    ),
    flush,
)
.scope(Scope::Own);

fn flush(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    if !cx.server.cluster.is_enabled() {
        return Err(DISABLED);
    }
    let slot = options::slot(args[2])?;
    let lazy = match args.get(3) {
        None => cx.config().lazyfree_lazy_user_flush(),
        Some(word) if args.len() == 4 && options::is(word, "async") => true,
        Some(word) if args.len() == 4 && options::is(word, "sync") => false,
        Some(_) => return Err(Error::SYNTAX),
    };
    let databases = cx.db.keyspace().databases();
    for index in 0..databases {
        let mut more = true;
        while more {
            // Some at a time: others get at the slot in between.
            let step = cx.db.with_slot(slot, |db| {
                let mut db = db.other(index);
                db.is_used() && remove_step(&mut db, slot, lazy) >= STEP
            });
            more = step.ok_or_else(|| cx.server.running.refusal())?;
        }
    }
    cx.out.ok();
    Ok(())
}

/// How many keys a slot has in all databases. No slots are held, or all.
pub fn count(cx: &mut Ctx<'_>, slot: u16) -> u64 {
    let databases = cx.db.keyspace().databases();
    cx.db
        .with_slot(slot, |db| {
            let mut total = 0;
            for index in 0..databases {
                let db = db.other(index);
                if db.is_used() {
                    total += db.slot_len(slot) as u64;
                }
            }
            total
        })
        .unwrap_or(0)
}

fn list(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    if !cx.server.cluster.is_enabled() {
        return Err(DISABLED);
    }
    let (slot, most) = (options::int(args[2])?, options::int(args[3])?);
    let slot = u16::try_from(slot).ok().filter(|&slot| slot < SLOTS);
    let (Some(slot), Ok(most)) = (slot, usize::try_from(most)) else {
        return Err(Error::new("ERR Invalid slot or number of keys"));
    };
    let databases = cx.db.keyspace().databases();
    let mut names: Vec<Vec<u8>> = Vec::new();
    cx.db.with_slot(slot, |db| {
        for index in 0..databases {
            let db = db.other(index);
            if !db.is_used() {
                continue;
            }
            let mut pos = 0;
            while names.len() < most {
                pos = db.scan_slot_raw(slot, pos, |e| names.push(e.key().to_vec()));
                if pos == 0 {
                    break;
                }
            }
        }
    });
    names.truncate(most);
    cx.out.array(names.len());
    names.iter().for_each(|name| cx.out.bulk(name));
    Ok(())
}

/// Works on slots, one at a time, on a thread that serves no client.
pub struct Hands {
    /// The server.
    pub server: &'static Server,
    counters: Spare<'static>,
    held: Held,
    fx: Effects,
}

impl Hands {
    /// For the calling thread.
    pub fn new(server: &'static Server) -> Hands {
        let mut held = server.keyspace.held();
        held.set_patient(true);
        Hands { server, counters: server.metrics.spare(), held, fx: Effects::default() }
    }
    /// How many keys a slot has in all databases.
    pub fn count(&mut self, slot: u16) -> u64 {
        let databases = self.server.keyspace.databases();
        (0..databases)
            .map(|index| self.with(slot, index, |db| if db.is_used() { db.slot_len(slot) as u64 } else { 0 }))
            .sum()
    }
    /// Runs `work` on the database `index` under the lock of a slot. What it changes is logged, no notification leaves.
    pub fn with<R>(&mut self, slot: u16, index: usize, work: impl FnOnce(&mut Db<'_>) -> R) -> R {
        let Hands { server, counters, held, fx } = self;
        held.lock(&mut [slot]);
        fx.logging = server.keyspace.hooks.logging();
        fx.notify_mask = 0;
        let (now, stats, tuning) = (clock::now_ms(), counters.stats, server.tuning());
        let result = work(&mut Db::new(server.keyspace, held, index, now, fx, stats, tuning, Located::NONE));
        fx.log.close_group();
        let logs = !fx.log.is_empty();
        if logs {
            server.keyspace.hooks.append(&mut fx.log);
        }
        held.unlock();
        fx.events.clear();
        if logs {
            server.keyspace.hooks.wake();
        }
        result
    }
}

/// How many keys go under one lock.
const STEP: usize = 256;

/// Removes the keys of slots that went to another node, a few at a time. Replicas and the append-only file hear of it.
/// How many there were. No slots are held.
pub fn remove(server: &'static Server, slots: &SlotSet) -> u64 {
    let mut hands = Hands::new(server);
    let mut removed = 0;
    for slot in slots.iter() {
        for index in 0..server.keyspace.databases() {
            while hands.with(slot, index, |db| remove_some(server, db, slot, &mut removed)) {}
        }
    }
    removed
}

/// Holds what was loaded at the start against what the node remembers of the cluster: keys in slots that nobody has make
/// these slots this node's, keys in slots of others, which it was not receiving, are removed. A replica has what its
/// primary says.
pub fn verify_loaded(server: &'static Server) -> Result<(), String> {
    let Some(view) = server.cluster.view().filter(|view| view.myself().is_primary()) else { return Ok(()) };
    let mut hands = Hands::new(server);
    let (mut unassigned, mut elsewhere) = (SlotSet::new(), SlotSet::new());
    for slot in 0..SLOTS {
        if view.is_my_shards(slot) || hands.count(slot) == 0 {
            continue;
        }
        match (view.owner(slot), view.importing_from(slot)) {
            (None, _) => unassigned.insert(slot),
            (Some(owner), Some(from)) if owner.id == from.id => continue,
            (Some(_), _) => elsewhere.insert(slot),
        };
    }
    if !unassigned.is_empty() {
        tracing::info!("I have keys for unassigned slots {unassigned}. Taking responsibility for them.");
        let command = core::Command::Slots { add: true, ranges: unassigned.ranges().to_vec() };
        if let Some(mut core) = server.cluster.core() {
            let taken = core.handle_command(clock::steady_ms(), command, &Counted::NOTHING);
            taken.map_err(|e| e.into_owned())?;
        }
        events::carry_out(server);
    }
    if !elsewhere.is_empty() {
        tracing::info!("I have keys for slots {elsewhere}, which are assigned to other nodes. Deleting them.");
        remove(server, &elsewhere);
    }
    Ok(())
}

/// True if there are more.
fn remove_some(server: &Server, db: &mut Db<'_>, slot: u16, removed: &mut u64) -> bool {
    // It may have come back meanwhile.
    if !db.is_used() || server.cluster.view().is_none_or(|view| view.is_my_shards(slot)) {
        return false;
    }
    let gone = remove_step(db, slot, true);
    *removed += gone as u64;
    gone >= STEP
}

/// Removes some keys of a slot. How many.
fn remove_step(db: &mut Db<'_>, slot: u16, lazy: bool) -> usize {
    let (mut names, mut pos) = (Vec::new(), 0);
    while names.len() < STEP {
        pos = db.scan_slot_raw(slot, pos, |e| names.push(e.key().to_vec()));
        if pos == 0 {
            break;
        }
    }
    for name in &names {
        db.delete(name, lazy);
        db.effect(&[b"DEL", name]);
        db.notify(notify::GENERIC, "del", name);
        db.modified(name, 1);
    }
    names.len()
}
