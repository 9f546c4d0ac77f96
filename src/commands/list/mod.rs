//! Commands on lists.

pub mod edit;
pub mod lmove;
pub mod lpos;
pub mod pop;
pub mod push;
pub mod read;

use super::{Command, Ctx, options};
use crate::keyspace::notify;
use crate::resp::{Error, Out};
use crate::types::{End, List};

/// All of them.
pub const COMMANDS: &[&Command] = &[
    &lmove::BLMOVE,
    &pop::BLMPOP,
    &pop::BLPOP,
    &pop::BRPOP,
    &lmove::BRPOPLPUSH,
    &read::LINDEX,
    &edit::LINSERT,
    &read::LLEN,
    &lmove::LMOVE,
    &pop::LMPOP,
    &pop::LPOP,
    &lpos::LPOS,
    &push::LPUSH,
    &push::LPUSHX,
    &read::LRANGE,
    &edit::LREM,
    &edit::LSET,
    &edit::LTRIM,
    &pop::RPOP,
    &lmove::RPOPLPUSH,
    &push::RPUSH,
    &push::RPUSHX,
];

/// LEFT or RIGHT.
fn end(arg: &[u8]) -> Result<End, Error> {
    if options::is(arg, "left") {
        Ok(End::Left)
    } else if options::is(arg, "right") {
        Ok(End::Right)
    } else {
        Err(Error::SYNTAX)
    }
}

/// The words for an end in events and effects: push, pop, side.
fn words(end: End) -> (&'static str, &'static str) {
    match end {
        End::Left => ("lpush", "lpop"),
        End::Right => ("rpush", "rpop"),
    }
}

/// Replies with `n` elements from an end inwards.
fn reply_from_end(out: &mut Out, list: &List, end: End, n: usize) {
    out.array(n);
    let mut rest = n;
    if rest == 0 {
        return;
    }
    let start = if end == End::Left { 0 } else { list.len() - 1 };
    list.for_each_from(start, end == End::Left, |e| {
        super::collections::elem(out, e);
        rest -= 1;
        if rest == 0 { std::ops::ControlFlow::Break(()) } else { std::ops::ControlFlow::Continue(()) }
    });
}

/// What follows from `n` elements having left the list at an end; an emptied list goes.
fn popped(cx: &mut Ctx<'_>, key: &[u8], end: End, n: usize, emptied: bool) {
    cx.db.notify(notify::LIST, words(end).1, key);
    if emptied {
        cx.db.remove_if_empty(key);
    }
    cx.db.modified(key, n as u64);
}
