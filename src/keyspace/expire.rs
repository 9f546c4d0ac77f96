//! The active expiry cycle: finds keys (and hash fields) whose time is over, in bounded steps.
//!
//! Each worker walks its own share of the slots. A slot without marked entries costs a look at its lock and table; in
//! others only marked entries are touched. A pass goes on while much of what it looks at is expired, up to its time
//! budget, and stops early when little is.

use super::db::Db;
use super::slots::SLOTS;
use super::{View, notify};
use crate::base::clock;

/// Where a worker's walk stands.
#[derive(Debug, Default, Clone, Copy)]
pub struct Walk {
    slot: usize,
    pos: u64,
    db: usize,
}

/// What a pass did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Pass {
    /// Keys with an expiry that it looked at.
    pub looked: u64,
    /// Keys removed.
    pub expired: u64,
    /// Keys that go on living, and for how long together, ms.
    pub alive: u64,
    /// See `alive`.
    pub ttl_ms: u64,
    /// Hash fields removed.
    pub fields: u64,
    /// It ran out of time.
    pub cut_short: bool,
}

/// Walks the slots `share.0`, `share.0 + share.1`, ... of database `db` on from where `walk` stands, at most once round,
/// for at most `budget_ns`. `tolerated` percent of stale keys are not worth going on for. Slots that `leave` names are left
/// alone.
pub fn pass(
    db: &mut Db<'_>,
    walk: &mut Walk,
    share: (usize, usize),
    budget_ns: u64,
    tolerated: u64,
    leave: impl Fn(u16) -> bool,
) -> Pass {
    let mut done = Pass::default();
    let (first, step) = share;
    if walk.db != db.index() || walk.slot % step != first {
        *walk = Walk { slot: first, pos: 0, db: db.index() };
    }
    let start = clock::mono_ns();
    let slots = (SLOTS - first).div_ceil(step);
    let mut expired = Vec::new();
    let mut hashes = Vec::new();
    for visited in 0..slots {
        let slot = walk.slot as u16;
        loop {
            let finished = db.with_slot(slot, |db| {
                if db.slot_volatile(slot) == 0 || leave(slot) {
                    walk.pos = 0;
                    return true;
                }
                let now = db.now;
                let mut buckets = 0;
                loop {
                    walk.pos = db.scan_slot_volatile(slot, walk.pos, |e| {
                        done.looked += 1;
                        if e.is_expired(now) {
                            expired.push(e.key().to_vec());
                            return;
                        }
                        if let Ok(left @ 1..) = u64::try_from(e.expiry() - now) {
                            done.alive += 1;
                            done.ttl_ms = done.ttl_ms.saturating_add(left);
                        }
                        if e.has_volatile_fields() {
                            hashes.push(e.key().to_vec());
                        }
                    });
                    buckets += 1;
                    if walk.pos == 0 || buckets >= 64 || expired.len() >= 32 {
                        break;
                    }
                }
                for key in expired.drain(..) {
                    done.expired += u64::from(db.expire_now(&key));
                }
                for key in hashes.drain(..) {
                    done.fields += expire_fields(db, &key);
                }
                walk.pos == 0
            });
            // If a script keeps it: another time.
            let finished = finished.unwrap_or(true);
            if clock::mono_ns() - start > budget_ns {
                done.cut_short = true;
                if finished {
                    walk.slot = next(walk.slot, first, step);
                }
                return done;
            }
            if finished {
                break;
            }
        }
        walk.slot = next(walk.slot, first, step);
        // Little is stale: the rest can wait for the next pass.
        if visited > 64 && done.looked > 400 && done.expired * 100 <= done.looked * tolerated {
            break;
        }
    }
    done
}

fn next(slot: usize, first: usize, step: usize) -> usize {
    if slot + step >= SLOTS { first } else { slot + step }
}

/// Removes the expired fields of a hash, some of them. How many.
fn expire_fields(db: &mut Db<'_>, key: &[u8]) -> u64 {
    let now = db.now;
    if !matches!(db.peek(key).map(|e| e.view()), Some(View::Hash(_))) || db.waits_for_snapshot(key) {
        return 0;
    }
    let Ok(Some(hash)) = db.hash_write(key) else { return 0 };
    let gone = hash.expire_some(now, 64);
    if gone.is_empty() {
        return 0;
    }
    if db.fx.logging {
        let mut argv: Vec<&[u8]> = vec![b"HDEL", key];
        argv.extend(gone.iter().map(|f| &f[..]));
        db.effect(&argv);
    }
    db.refresh_volatile(key);
    db.notify(notify::HASH, "hexpired", key);
    db.remove_if_empty(key);
    db.modified(key, gone.len() as u64);
    gone.len() as u64
}
