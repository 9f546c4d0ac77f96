//! KEYS, RANDOMKEY, WAIT.

use std::sync::Arc;

use super::super::{CmdResult, Command, Ctx, Scope};
use crate::base::{glob, rng};
use crate::cluster::View;
use crate::keyspace::SLOTS;
use crate::spec::{Flags, Group, Meta};

/// `KEYS pattern` <https://valkey.io/commands/keys/>
pub static KEYS: Command = Command::new(
    Meta::new("keys", 2, Flags::READONLY, Group::Generic)
        .cat(crate::spec::Cat::DANGEROUS)
        .doc("1.0.0", "O(N) with N being the number of keys.", "Returns all keys that match a pattern.")
        .tips(&["request_policy:all_shards", "nondeterministic_output_order"]),
    keys,
)
.scope(Scope::All);
/// `RANDOMKEY` <https://valkey.io/commands/randomkey/>
pub static RANDOMKEY: Command =
    Command::new(
        Meta::new("randomkey", 1, Flags::READONLY, Group::Generic)
            .doc("1.0.0", "O(1)", "Returns a random key.")
            .tips(&["request_policy:all_shards", "response_policy:special", "nondeterministic_output"]),
        randomkey,
    )
    .scope(Scope::Own);
fn keys(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let pattern = args[1];
    let all = pattern == b"*";
    let mark = cx.out.later();
    let mut n = 0;
    let cluster = cx.server.cluster.view();
    if cx.db.is_used() {
        for slot in 0..SLOTS as u16 {
            if cx.db.slot_len(slot) == 0 || is_hidden(&cluster, slot) {
                continue;
            }
            let mut pos = 0;
            loop {
                pos = cx.db.scan_slot(slot, pos, |e| {
                    if all || glob::matches(pattern, e.key(), false) {
                        cx.out.bulk(e.key());
                        n += 1;
                    }
                });
                if pos == 0 {
                    break;
                }
            }
        }
    }
    cx.out.array_at(mark, n);
    Ok(())
}

/// Whether the keys of a slot are left out where a node tells what it has.
pub fn is_hidden(cluster: &Option<Arc<View>>, slot: u16) -> bool {
    cluster.as_ref().is_some_and(|view| view.is_elsewhere(slot))
}

enum Drawn {
    Key,
    /// It does not count: its time is over, or it is hidden.
    Another,
    Nothing,
}

fn randomkey(cx: &mut Ctx<'_>, _args: &[&[u8]]) -> CmdResult {
    let index = cx.db.index();
    if cx.samplers.len() <= index {
        cx.samplers.resize_with(index + 1, Default::default);
    }
    // The sums of an earlier draw serve again while the number of keys is the same, or until they lead to a slot that has
    // none. Keys whose time is over are drawn too, and removed, so it may take some tries.
    let keys = cx.server.metrics.keys(index);
    let cluster = cx.server.cluster.view();
    let mut exact = cx.samplers[index].total() != keys;
    for _ in 0..100 {
        let Some(slot) = cx.samplers[index].slot(&mut cx.db, exact) else { break };
        if is_hidden(&cluster, slot) {
            exact = false;
            continue;
        }
        let (out, now) = (&mut *cx.out, cx.db.now);
        let drawn = cx.db.with_slot(slot, |db| {
            let over = match db.random_in_slot(slot) {
                None => return Drawn::Nothing,
                Some(e) if e.is_expired(now) => e.key().to_vec(),
                Some(e) => {
                    out.bulk(e.key());
                    return Drawn::Key;
                }
            };
            db.expire_now(&over);
            Drawn::Another
        });
        match drawn {
            Some(Drawn::Key) => return Ok(()),
            Some(Drawn::Another) => exact = false,
            Some(Drawn::Nothing) | None => exact = true,
        }
    }
    // Most keys may be hidden: then the first that is not, from anywhere on.
    let start = rng::below(SLOTS as u64) as usize;
    let rest = (start..SLOTS).chain(0..start).filter(|_| cluster.is_some() && keys > 0);
    for slot in rest.map(|slot| slot as u16).filter(|&slot| !is_hidden(&cluster, slot)) {
        let out = &mut *cx.out;
        let found = cx.db.with_slot(slot, |db| {
            let mut found = false;
            let mut pos = 0;
            while db.is_used() && db.slot_len(slot) > 0 {
                pos = db.scan_slot(slot, pos, |e| {
                    if !std::mem::replace(&mut found, true) {
                        out.bulk(e.key());
                    }
                });
                if found || pos == 0 {
                    break;
                }
            }
            found
        });
        if found == Some(true) {
            return Ok(());
        }
    }
    cx.out.null();
    Ok(())
}
