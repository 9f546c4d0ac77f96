//! XCLAIM and XAUTOCLAIM: pending entries change their owner.

use std::ops::Bound;

use super::super::collections::{RW_DELETE, RW_UPDATE};
use super::super::{CmdResult, Command, Ctx, options};
use super::{bulk_id, consumer_made, interval_start, log_claims, log_progress, no_group, reply_entry, strict_id};
use crate::base::num;
use crate::resp::{Error, Out};
use crate::spec::{Flags, Group as Docs, KeySpec, Meta};
use crate::types::Stream;
use crate::types::stream::{Nack, StreamId};

const FLAGS: Flags = Flags::WRITE.or(Flags::FAST);

/// `XCLAIM key group consumer min-idle-time id [id ...] [IDLE ms] [TIME unix-time-ms] [RETRYCOUNT count] [FORCE] [JUSTID]
/// [LASTID last-id]`
pub static XCLAIM: Command = Command::new(
    Meta::new("xclaim", -6, FLAGS, Docs::Stream)
        .keys(&[KeySpec::one(1, RW_UPDATE)])
        .doc(
            "5.0.0",
            "O(log N) for each ID, where N is the number of entries pending in the group.",
            "Makes a consumer the owner of pending entries, as if they had been delivered to it.",
        )
        .tips(&["nondeterministic_output"]),
    xclaim,
);
/// `XAUTOCLAIM key group consumer min-idle-time start [COUNT count] [JUSTID]`
pub static XAUTOCLAIM: Command = Command::new(
    Meta::new("xautoclaim", -6, FLAGS, Docs::Stream)
        .keys(&[KeySpec::one(1, RW_DELETE)])
        .doc(
            "6.2.0",
            "O(1) if COUNT is small.",
            "Makes a consumer the owner of pending entries that were idle for long, walking through them with a cursor.",
        )
        .tips(&["nondeterministic_output"]),
    xautoclaim,
);

fn min_idle(arg: &[u8], text: &'static str) -> Result<i64, Error> {
    Ok(num::parse_i64(arg).ok_or(Error::new(text))?.max(0))
}

/// The options of XCLAIM.
#[derive(Debug, Default)]
struct Rules {
    /// IDLE or TIME, as a moment.
    time: Option<i64>,
    retries: Option<u64>,
    force: bool,
    just_id: bool,
    last: StreamId,
}

impl Rules {
    fn parse(words: &[&[u8]], now: i64) -> Result<Rules, Error> {
        let mut r = Rules::default();
        let mut rest = words;
        while let [word, more @ ..] = rest {
            let number = |arg: &[u8], text| num::parse_i64(arg).ok_or(Error::new(text));
            rest = match more {
                _ if options::is(word, "force") => {
                    r.force = true;
                    more
                }
                _ if options::is(word, "justid") => {
                    r.just_id = true;
                    more
                }
                [n, more @ ..] if options::is(word, "idle") => {
                    let idle = number(n, "ERR Invalid IDLE option argument for XCLAIM")?;
                    r.time = Some(now.saturating_sub(idle));
                    more
                }
                [n, more @ ..] if options::is(word, "time") => {
                    r.time = Some(number(n, "ERR Invalid TIME option argument for XCLAIM")?);
                    more
                }
                [n, more @ ..] if options::is(word, "retrycount") => {
                    r.retries = u64::try_from(number(n, "ERR Invalid RETRYCOUNT option argument for XCLAIM")?).ok();
                    more
                }
                [id, more @ ..] if options::is(word, "lastid") => {
                    r.last = strict_id(id, 0)?;
                    more
                }
                _ => return Err(Error::owned([b"ERR Unrecognized XCLAIM option '", *word, b"'"].concat())),
            };
        }
        Ok(r)
    }
}

/// An entry, or its ID, as a claim answers it.
fn show(out: &mut Out, stream: &Stream, id: StreamId, just_id: bool) {
    match stream.get(id) {
        Some(entry) if !just_id => reply_entry(out, &entry),
        _ => bulk_id(out, id),
    }
}

fn xclaim(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let (key, name, consumer, now) = (args[1], args[2], args[3], cx.db.clock);
    if cx.db.stream_read(key)?.is_none_or(|s| s.group(name).is_none()) {
        return Err(no_group(key, name, ""));
    }
    let idle = min_idle(args[4], "ERR Invalid min-idle-time argument for XCLAIM")?;
    let ids: Vec<StreamId> = args[5..].iter().map_while(|a| strict_id(a, 0).ok()).collect();
    let rules = Rules::parse(&args[5 + ids.len()..], now)?;
    // A moment that cannot be is the present one: clients work it out from clocks of their own.
    let time = rules.time.filter(|t| (0..=now).contains(t)).unwrap_or(now);

    cx.db.fx.suppress();
    let Some(stream) = cx.db.stream_write(key)? else { return Ok(()) };
    let Some(group) = stream.group_mut(name) else { return Ok(()) };
    let made = group.add_consumer(consumer, now, -1);
    group.seen(consumer, now);
    let moved = rules.last > group.last_id;
    if moved {
        group.last_id = rules.last;
    }
    let (last, read) = (group.last_id, group.entries_read);
    let at = cx.out.later();
    let (mut n, mut claims): (usize, Vec<(StreamId, Nack)>) = (0, Vec::new());
    for id in ids {
        let there = stream.get(id).is_some();
        let Some(group) = stream.group_mut(name) else { break };
        let nack = group.nack(id).cloned();
        let count = match &nack {
            Some(nack) if !there => {
                // The entry was deleted: nobody can process it any more.
                claims.push((id, nack.clone()));
                group.acknowledge(id);
                continue;
            }
            Some(nack) if idle > 0 && now.saturating_sub(nack.time) < idle => continue,
            Some(nack) => nack.count,
            None if there && rules.force => 1,
            None => continue,
        };
        let count = rules.retries.unwrap_or(if rules.just_id { count } else { count.saturating_add(1) });
        group.assign(id, consumer, time, count, Some(now));
        claims.extend(group.nack(id).map(|nack| (id, nack.clone())));
        show(cx.out, stream, id, rules.just_id);
        n += 1;
    }
    cx.out.array_at(at, n);
    finish(cx, key, name, consumer, made, last, &claims);
    if claims.is_empty() && moved {
        log_progress(cx, key, name, last, read);
        cx.db.fx.dirty += 1;
    }
    Ok(())
}

/// Logs what claiming did.
fn finish(
    cx: &mut Ctx<'_>,
    key: &[u8],
    group: &[u8],
    consumer: &[u8],
    made: bool,
    last: StreamId,
    claims: &[(StreamId, Nack)],
) {
    if made {
        consumer_made(cx, key, group, consumer);
    }
    log_claims(cx, key, group, last, claims);
    cx.db.fx.dirty += claims.len() as u64;
}

fn xautoclaim(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    /// How many entries are looked at for each that is wanted.
    const ATTEMPTS: i64 = 10;
    let (key, name, consumer, now) = (args[1], args[2], args[3], cx.db.clock);
    let idle = min_idle(args[4], "ERR Invalid min-idle-time argument for XAUTOCLAIM")?;
    let start = interval_start(args[5])?;
    let (mut count, mut just_id) = (100, false);
    let mut rest = &args[6..];
    while let [word, more @ ..] = rest {
        rest = match more {
            [n, more @ ..] if options::is(word, "count") => {
                count = options::int_in(n, 1, i64::MAX / 16, Some("ERR COUNT must be > 0"))?;
                more
            }
            _ if options::is(word, "justid") => {
                just_id = true;
                more
            }
            _ => return Err(Error::SYNTAX),
        };
    }
    if cx.db.stream_read(key)?.is_none_or(|s| s.group(name).is_none()) {
        return Err(no_group(key, name, ""));
    }
    cx.db.fx.suppress();
    let Some(stream) = cx.db.stream_write(key)? else { return Ok(()) };
    let Some(group) = stream.group_mut(name) else { return Ok(()) };
    let made = group.add_consumer(consumer, now, -1);
    group.seen(consumer, now);
    let last = group.last_id;
    let (mut from, mut attempts) = (Bound::Included(start), count * ATTEMPTS);
    let (mut claims, mut gone): (Vec<(StreamId, Nack)>, Vec<StreamId>) = (Vec::new(), Vec::new());
    let mut claimed = Out::new(cx.out.proto());
    let mut n = 0;
    while attempts > 0 && count > 0 {
        attempts -= 1;
        let Some((id, nack)) = stream.group(name).and_then(|g| g.next_pending(from)) else { break };
        from = Bound::Excluded(id);
        let nack = nack.clone();
        let there = stream.get(id).is_some();
        let Some(group) = stream.group_mut(name) else { break };
        if !there {
            group.acknowledge(id);
            claims.push((id, nack));
            gone.push(id);
            count -= 1;
            continue;
        }
        if idle > 0 && now.saturating_sub(nack.time) < idle {
            continue;
        }
        let deliveries = if just_id { nack.count } else { nack.count.saturating_add(1) };
        group.assign(id, consumer, now, deliveries, Some(now));
        claims.extend(group.nack(id).map(|nack| (id, nack.clone())));
        show(&mut claimed, stream, id, just_id);
        n += 1;
        count -= 1;
    }
    let next = stream.group(name).and_then(|g| g.next_pending(from)).map_or(StreamId::MIN, |(id, _)| id);
    cx.out.array(3);
    bulk_id(cx.out, next);
    cx.out.array(n);
    cx.out.append(&mut claimed);
    cx.out.array(gone.len());
    gone.into_iter().for_each(|id| bulk_id(cx.out, id));
    finish(cx, key, name, consumer, made, last, &claims);
    Ok(())
}
