//! Moves tables together that the allocator keeps apart.
//!
//! The tables of slots grow by an eighth at a time, from one size class of the allocator to the next, at about the same
//! time. Few stay behind in a class that the others have left, and each keeps a run of pages (a slab) for itself. A walk
//! through the slots moves those to where the rest of their class is, so that whole slabs become free.

use super::db::Db;
use super::slots::SLOTS;
use crate::base::{alloc, clock};

/// Slots between two looks at the clock.
const STRIDE: usize = 64;

/// Where a worker's walk stands.
#[derive(Debug, Default, Clone, Copy)]
pub struct Walk {
    slot: usize,
    pos: u64,
}

/// Walks the slots of database `db` among `share.0`, `share.0 + share.1`, ... on from where `walk` stands, for some
/// `budget_ns`; slots that somebody keeps are left for the next time round. Whether it came to the end.
pub fn pass(db: &mut Db<'_>, walk: &mut Walk, share: (usize, usize), budget_ns: u64) -> bool {
    let (first, step) = share;
    if walk.slot % step != first {
        *walk = Walk { slot: first, pos: 0 };
    }
    let start = clock::mono_ns();
    loop {
        for _ in 0..STRIDE {
            let slot = walk.slot as u16;
            let pos = db.with_slot(slot, |db| db.rehome_slot(slot, walk.pos, alloc::is_sparse));
            walk.pos = pos.unwrap_or(0);
            if walk.pos != 0 {
                continue;
            }
            walk.slot += step;
            if walk.slot >= SLOTS {
                *walk = Walk { slot: first, pos: 0 };
                return true;
            }
        }
        if clock::mono_ns() - start > budget_ns {
            return false;
        }
    }
}
