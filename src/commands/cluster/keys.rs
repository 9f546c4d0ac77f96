//! The keys of slots: counting, listing and removing them.

use super::{DISABLED, UNSTEADY, meta};
use crate::base::clock;
use crate::base::slot::SLOTS;
use crate::cluster::SlotSet;
use crate::commands::options;
use crate::commands::{CmdResult, Command, Ctx, Scope, Server};
use crate::keyspace::{Db, Effects, Located, notify};
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

/// How many keys go under one lock.
const STEP: usize = 256;

/// Removes the keys of slots that went to another node, a few at a time. Replicas and the append-only file hear of it.
/// How many there were. No slots are held.
pub fn remove(server: &'static Server, slots: &SlotSet) -> u64 {
    let counters = server.metrics.spare();
    let mut held = server.keyspace.held();
    let mut fx = Effects::default();
    let mut removed = 0;
    for slot in slots.iter() {
        for index in 0..server.keyspace.databases() {
            let mut left = true;
            while left {
                held.lock(&mut [slot]);
                // It may have come back meanwhile.
                left = server.cluster.view().is_some_and(|view| !view.is_my_shards(slot));
                fx.logging = server.keyspace.hooks.logging();
                fx.notify_mask = 0;
                let now = clock::now_ms();
                let mut db = Db::new(
                    server.keyspace,
                    &mut held,
                    index,
                    now,
                    &mut fx,
                    counters.stats,
                    server.tuning(),
                    Located::NONE,
                );
                let mut names = Vec::new();
                if left && db.is_used() {
                    let mut pos = 0;
                    while names.len() < STEP {
                        pos = db.scan_slot_raw(slot, pos, |e| names.push(e.key().to_vec()));
                        if pos == 0 {
                            break;
                        }
                    }
                }
                left = names.len() >= STEP;
                for name in &names {
                    db.delete(name, true);
                    db.effect(&[b"DEL", name]);
                    db.notify(notify::GENERIC, "del", name);
                    db.modified(name, 1);
                    removed += 1;
                }
                fx.log.close_group();
                if !fx.log.is_empty() {
                    server.keyspace.hooks.append(&mut fx.log);
                }
                held.unlock();
                fx.events.clear();
                server.keyspace.hooks.wake();
            }
        }
    }
    removed
}
