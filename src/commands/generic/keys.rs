//! KEYS, RANDOMKEY, WAIT.

use super::super::{CmdResult, Command, Ctx, Scope};
use crate::base::glob;
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
    if cx.db.is_used() {
        for slot in 0..SLOTS as u16 {
            if cx.db.slot_len(slot) == 0 {
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

enum Drawn {
    Key,
    Expired,
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
    let mut exact = cx.samplers[index].total() != keys;
    for _ in 0..100 {
        let Some(slot) = cx.samplers[index].slot(&mut cx.db, exact) else { break };
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
            Drawn::Expired
        });
        match drawn {
            Some(Drawn::Key) => return Ok(()),
            Some(Drawn::Expired) => exact = false,
            Some(Drawn::Nothing) | None => exact = true,
        }
    }
    cx.out.null();
    Ok(())
}
