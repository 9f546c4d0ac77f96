//! XADD.

use super::super::collections::RW_UPDATE;
use super::super::{CmdResult, Command, Ctx};
use super::trim::Request;
use super::{bulk_id, node_limits, text};
use crate::keyspace::notify;
use crate::resp::Error;
use crate::spec::{Flags, Group, KeySpec, Meta};
use crate::types::Stream;
use crate::types::listpack::MAX_BYTES;
use crate::types::stream::{NewId, StreamId};

/// `XADD key [NOMKSTREAM] [MAXLEN|MINID [=|~] threshold [LIMIT count]] *|id field value [field value ...]`
pub static XADD: Command = Command::new(
    Meta::new("xadd", -5, Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST), Group::Stream)
        .keys(&[KeySpec::one(1, RW_UPDATE)])
        .doc(
            "5.0.0",
            "O(1) for the entry, O(N) for trimming where N is the number of entries removed.",
            "Appends an entry to a stream, making the stream if need be, and trims it if asked to.",
        )
        .tips(&["nondeterministic_output"]),
    xadd,
);

fn xadd(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let request = Request::parse(cx, args, true)?;
    let items = args.get(request.at + 1..).unwrap_or_default();
    if items.is_empty() || !items.len().is_multiple_of(2) {
        return Err(cx.arity());
    }
    if request.id == Some(NewId::Exact(StreamId::MIN)) {
        return Err(Error::new("ERR The ID specified in XADD must be greater than 0-0"));
    }
    let key = args[1];
    let too_large = items.iter().map(|i| i.len()).sum::<usize>() > MAX_BYTES;
    let wanted = request.id.unwrap_or(NewId::Auto(cx.db.clock.max(0) as u64));
    let limits = node_limits(cx.server);
    if too_large {
        return Err(Error::new("ERR Elements are too large to be stored"));
    }
    if request.no_make && cx.db.stream_write(key)?.is_none() {
        cx.out.null();
        return Ok(());
    }
    let stream = cx.db.stream_create(key, Stream::new)?;
    if stream.last_id() == StreamId::MAX {
        return Err(Error::new("ERR The stream has exhausted the last possible ID, unable to add more items"));
    }
    let id = stream
        .next_id(wanted)
        .ok_or(Error::new("ERR The ID specified in XADD is equal or smaller than the target stream top item"))?;
    stream.append(id, items, limits);
    let removed = request.apply(stream);
    let exact = request.exact(stream);
    bulk_id(cx.out, id);
    cx.db.notify(notify::STREAM, "xadd", key);
    if removed > 0 {
        cx.db.notify(notify::STREAM, "xtrim", key);
    }
    cx.db.modified(key, 1);
    if cx.db.fx.logging && (request.whole || !matches!(request.id, Some(NewId::Exact(_)))) {
        let id = text(id);
        let mut effect: Vec<&[u8]> = vec![b"XADD", key];
        if let Some(words) = &exact {
            effect.extend(words.iter().map(|w| w.as_bytes()));
        }
        effect.push(id.as_bytes());
        effect.extend(items);
        cx.db.effect(&effect);
    }
    cx.db.signal(key);
    Ok(())
}
