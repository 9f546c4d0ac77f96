//! DBSIZE, FLUSHDB, FLUSHALL, SWAPDB.

use std::sync::Arc;

use crate::base::num;
use crate::cluster::View;
use crate::commands::generic::keys::is_hidden;
use crate::commands::options::is;
use crate::commands::persistence::save;
use crate::commands::{CmdResult, Command, Ctx, Scope};
use crate::keyspace::{Db, SLOTS};
use crate::resp::Error;
use crate::spec::{Cat, Flags, Group, Meta};

const TO_ALL_SHARDS: &[&str] = &["request_policy:all_shards", "response_policy:all_succeeded"];

/// <https://valkey.io/commands/dbsize/>
pub static DBSIZE: Command = Command::new(
    Meta::new("dbsize", 1, Flags::READONLY.or(Flags::FAST), Group::Server)
        .cat(Cat::KEYSPACE)
        .doc("1.0.0", "O(1)", "Returns the number of keys in the database.")
        .tips(&["request_policy:all_shards", "response_policy:agg_sum"]),
    |cx, _args| {
        let (index, view) = (cx.db.index(), cx.server.cluster.view());
        let all = cx.server.metrics.keys(index);
        let hidden = hidden_keys(&mut cx.db, &view, &[index])[0];
        cx.out.int(all.saturating_sub(hidden) as i64);
        Ok(())
    },
)
.scope(Scope::Own);

/// How many keys these databases have in slots that are another shard's: they come in, and are not ours yet, or go. No slots
/// are held, or all.
pub fn hidden_keys(db: &mut Db<'_>, cluster: &Option<Arc<View>>, of: &[usize]) -> Vec<u64> {
    let mut keys = vec![0; of.len()];
    if cluster.is_none() || of.is_empty() {
        return keys;
    }
    for slot in (0..SLOTS as u16).filter(|&slot| is_hidden(cluster, slot)) {
        db.with_slot(slot, |db| {
            for (&index, keys) in of.iter().zip(&mut keys) {
                let db = db.other(index);
                *keys += if db.is_used() { db.slot_len(slot) as u64 } else { 0 };
            }
        });
    }
    keys
}

/// <https://valkey.io/commands/flushdb/>
pub static FLUSHDB: Command = Command::new(
    Meta::new("flushdb", -1, Flags::WRITE, Group::Server)
        .cat(Cat::KEYSPACE.or(Cat::DANGEROUS))
        .doc(
            "1.0.0",
            "O(N) where N is the number of keys in the selected database",
            "Removes all keys of the database.",
        )
        .tips(TO_ALL_SHARDS),
    |cx, args| {
        let lazy = lazily(cx, args)?;
        cx.db.fx.dirty += cx.db.flush(lazy);
        done(cx, args)
    },
)
.scope(Scope::All);

/// <https://valkey.io/commands/flushall/>
pub static FLUSHALL: Command = Command::new(
    Meta::new("flushall", -1, Flags::WRITE, Group::Server)
        .cat(Cat::KEYSPACE.or(Cat::DANGEROUS))
        .doc("1.0.0", "O(N) where N is the total number of keys in all databases", "Removes all keys of all databases.")
        .tips(TO_ALL_SHARDS),
    |cx, args| {
        let lazy = lazily(cx, args)?;
        for db in 0..cx.db.keyspace().databases() {
            let keys = cx.db.other(db).flush(lazy);
            cx.db.fx.dirty += keys;
        }
        done(cx, args)?;
        save::after_flush(cx.server, cx.db.fx.dirty);
        Ok(())
    },
)
.scope(Scope::All);

/// Is memory to be freed in the background?
fn lazily(cx: &Ctx<'_>, args: &[&[u8]]) -> Result<bool, Error> {
    match args {
        [_] => Ok(cx.config().lazyfree_lazy_user_flush()),
        [_, how] if is(how, "ASYNC") => Ok(true),
        [_, how] if is(how, "SYNC") => Ok(false),
        _ => Err(Error::SYNTAX),
    }
}

/// A flush is logged as it was asked for, also if there was nothing to remove.
fn done(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    cx.db.fx.dirty = cx.db.fx.dirty.max(1);
    cx.db.effect(args);
    cx.out.ok();
    Ok(())
}

/// <https://valkey.io/commands/swapdb/>
pub static SWAPDB: Command = Command::new(
    Meta::new("swapdb", 3, Flags::WRITE.or(Flags::FAST), Group::Server).cat(Cat::KEYSPACE.or(Cat::DANGEROUS)).doc(
        "4.0.0",
        "O(N) where N is the count of clients watching or blocking on keys from both databases.",
        "Swaps two databases.",
    ),
    swapdb,
)
.scope(Scope::All);

fn swapdb(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let parse = |arg: &[u8], text| num::parse_i64(arg).filter(|n| i32::try_from(*n).is_ok()).ok_or(Error::new(text));
    if cx.server.cluster.is_enabled() {
        return Err(Error::new("ERR SWAPDB is not allowed in cluster mode"));
    }
    let first = parse(args[1], "ERR invalid first DB index")?;
    let second = parse(args[2], "ERR invalid second DB index")?;
    let databases = cx.db.keyspace().databases();
    let index = |n: i64| usize::try_from(n).ok().filter(|&n| n < databases).ok_or(Error::DB_INDEX);
    let (first, second) = (index(first)?, index(second)?);
    cx.db.other(first).swap(second);
    cx.db.fx.dirty += 1;
    cx.out.ok();
    Ok(())
}
