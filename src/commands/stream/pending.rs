//! XPENDING.

use super::super::collections::RO_ACCESS;
use super::super::{CmdResult, Command, Ctx, options};
use super::{bulk_id, interval_end, interval_start, no_group};
use crate::resp::Error;
use crate::spec::{Flags, Group as Docs, KeySpec, Meta};
use crate::types::stream::{Group, StreamId};

/// `XPENDING key group [[IDLE min-idle-time] start end count [consumer]]`
pub static XPENDING: Command = Command::new(
    Meta::new("xpending", -3, Flags::READONLY, Docs::Stream)
        .keys(&[KeySpec::one(1, RO_ACCESS)])
        .doc(
            "5.0.0",
            "O(N) where N is the number of entries looked at; O(M) for the summary where M is the number of consumers.",
            "Returns what a group's consumers have not acknowledged: a summary, or the entries one by one.",
        )
        .tips(&["nondeterministic_output"]),
    xpending,
);

/// Which pending entries are wanted.
struct Wanted<'a> {
    start: StreamId,
    end: StreamId,
    count: u64,
    idle: i64,
    consumer: Option<&'a [u8]>,
}

fn parse<'a>(args: &[&'a [u8]]) -> Result<Option<Wanted<'a>>, Error> {
    if args.len() == 3 {
        return Ok(None);
    }
    if !(6..=9).contains(&args.len()) {
        return Err(Error::SYNTAX);
    }
    let (mut at, mut idle) = (3, 0);
    if options::is(args[3], "idle") {
        idle = options::int(args[4])?;
        if args.len() < 8 {
            return Err(Error::SYNTAX);
        }
        at = 5;
    }
    let count = options::int(args[at + 2])?.max(0) as u64;
    let (start, end) = (interval_start(args[at])?, interval_end(args[at + 1])?);
    Ok(Some(Wanted { start, end, count, idle, consumer: args.get(at + 3).copied() }))
}

fn xpending(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let wanted = parse(args)?;
    let now = cx.db.clock;
    let Some(group) = cx.db.stream_read(args[1])?.and_then(|s| s.group(args[2])) else {
        return Err(no_group(args[1], args[2], ""));
    };
    let Some(w) = wanted else {
        summary(cx.out, group);
        return Ok(());
    };
    let consumer = match w.consumer.map(|name| group.consumer(name)) {
        Some(None) => {
            cx.out.array(0);
            return Ok(());
        }
        found => found.flatten(),
    };
    let ids: Box<dyn Iterator<Item = StreamId> + '_> = match consumer {
        Some(c) => Box::new(c.pending(w.start)),
        None => Box::new(group.pending(w.start).map(|(id, _)| id)),
    };
    let at = cx.out.later();
    let mut n = 0;
    for id in ids.take_while(|id| *id <= w.end) {
        if n as u64 == w.count {
            break;
        }
        let Some(nack) = group.nack(id) else { continue };
        if w.idle != 0 && now.saturating_sub(nack.time) < w.idle {
            continue;
        }
        cx.out.array(4);
        bulk_id(cx.out, id);
        cx.out.bulk(&nack.consumer);
        cx.out.int(now.saturating_sub(nack.time).max(0));
        cx.out.int(nack.count as i64);
        n += 1;
    }
    cx.out.array_at(at, n);
    Ok(())
}

/// How many entries are pending, the first and the last, and how many each consumer has.
fn summary(out: &mut crate::resp::Out, group: &Group) {
    out.array(4);
    out.len_int(group.pending_len());
    let (mut ids, mut from_end) = (group.pending(StreamId::MIN), group.pending(StreamId::MIN).rev());
    let (Some((first, _)), Some((last, _))) = (ids.next(), from_end.next()) else {
        out.null();
        out.null();
        out.null_array();
        return;
    };
    bulk_id(out, first);
    bulk_id(out, last);
    let at = out.later();
    let mut n = 0;
    for consumer in group.consumers().filter(|c| c.pending_len() > 0) {
        n += 1;
        out.array(2);
        out.bulk(consumer.name());
        out.bulk_int(consumer.pending_len() as i64);
    }
    out.array_at(at, n);
}
