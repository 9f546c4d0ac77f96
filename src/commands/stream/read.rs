//! XREAD and XREADGROUP, which may wait.
//!
//! A wait ends when an entry is added to one of the streams; a read for a group also hears of the end of its stream or
//! group, as an error. A `$` is replaced by the ID that it meant when the wait began.

use smallvec::SmallVec;

use super::super::collections::RO_ACCESS;
use super::super::{CmdResult, Command, Ctx, options};
use super::{
    announce_consumer, bulk_id, log_claims, log_consumer, log_progress, no_group, reply_entries, reply_entry,
    strict_id, text,
};
use crate::clients::NullKind;
use crate::resp::Error;
use crate::spec::{Begin, Find, Flags, Group, KeySpec, KeyUse, Meta};
use crate::types::Stream;
use crate::types::stream::{Nack, StreamId};

const COMPLEXITY: &str = "O(M) for each stream where M is the number of entries returned.";
const MOVABLE: Flags = Flags::BLOCKING.or(Flags::MOVABLEKEYS);

const fn streams(from: i32) -> KeySpec {
    KeySpec {
        begin: Begin::Keyword("STREAMS", from),
        find: Find::Range { last: -1, step: 1, limit: 2 },
        flags: RO_ACCESS,
    }
}

/// `XREAD [COUNT count] [BLOCK milliseconds] STREAMS key [key ...] id [id ...]`
pub static XREAD: Command = Command::new(
    Meta::new("xread", -4, Flags::READONLY.or(MOVABLE), Group::Stream).keys(&[streams(1)]).getkeys(find_keys).doc(
        "5.0.0",
        COMPLEXITY,
        "Returns the entries after given IDs of several streams, and waits for some if asked to.",
    ),
    |cx, args| xread(cx, args, false),
);
/// `XREADGROUP GROUP group consumer [COUNT count] [BLOCK milliseconds] [NOACK] STREAMS key [key ...] id [id ...]`
pub static XREADGROUP: Command = Command::new(
    Meta::new("xreadgroup", -7, Flags::WRITE.or(MOVABLE), Group::Stream).keys(&[streams(4)]).getkeys(find_keys).doc(
        "5.0.0",
        COMPLEXITY,
        "Returns entries of several streams that no consumer of the group had yet, or the consumer's own again.",
    ),
    |cx, args| xread(cx, args, true),
);

/// The position behind STREAMS, passing over the options before it. The options may hold any words.
fn after_streams(args: &[&[u8]]) -> Option<usize> {
    let mut i = 1;
    while i < args.len() {
        let word = args[i];
        i += match word {
            w if options::is(w, "streams") => return Some(i + 1),
            w if options::is(w, "block") || options::is(w, "count") => 2,
            w if options::is(w, "group") => 3,
            w if options::is(w, "noack") => 1,
            _ => return None,
        };
    }
    None
}

fn find_keys(args: &[&[u8]]) -> Option<SmallVec<[KeyUse; 4]>> {
    let first = after_streams(args)?;
    let n = args.len().saturating_sub(first);
    if n == 0 || !n.is_multiple_of(2) {
        return None;
    }
    Some((first..first + n / 2).map(|index| KeyUse { index, flags: RO_ACCESS }).collect())
}

/// Where in a stream to read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    /// After this ID.
    Id(StreamId),
    /// `>`: what the group has not read.
    New,
}

/// A request, its options read.
struct Request<'k, 'a> {
    count: u64,
    timeout: Option<i64>,
    noack: bool,
    group: Option<(&'a [u8], &'a [u8])>,
    /// Position of the first key.
    at: usize,
    keys: &'k [&'a [u8]],
    ids: &'k [&'a [u8]],
}

impl<'k, 'a> Request<'k, 'a> {
    fn parse(args: &'k [&'a [u8]], for_group: bool, name: &str, now: i64) -> Result<Self, Error> {
        let mut r = Request { count: 0, timeout: None, noack: false, group: None, at: 0, keys: &[], ids: &[] };
        let mut i = 1;
        while i < args.len() {
            let more = args.len() - 1 - i;
            let word = args[i];
            if options::is(word, "block") && more > 0 {
                i += 1;
                r.timeout = Some(options::timeout_ms(args[i], now)?);
            } else if options::is(word, "count") && more > 0 {
                i += 1;
                r.count = options::int(args[i])?.max(0) as u64;
            } else if options::is(word, "streams") && more > 0 {
                if !more.is_multiple_of(2) {
                    let symbol = if for_group { '>' } else { '$' };
                    return Err(Error::owned(format!(
                        "ERR Unbalanced '{name}' list of streams: for each stream key an ID or '{symbol}' must be specified."
                    )));
                }
                r.at = i + 1;
                (r.keys, r.ids) = args[r.at..].split_at(more / 2);
                break;
            } else if options::is(word, "group") && more >= 2 {
                if !for_group {
                    return Err(Error::new(
                        "ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead.",
                    ));
                }
                r.group = Some((args[i + 1], args[i + 2]));
                i += 2;
            } else if options::is(word, "noack") {
                if !for_group {
                    return Err(Error::new(
                        "ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead.",
                    ));
                }
                r.noack = true;
            } else {
                return Err(Error::SYNTAX);
            }
            i += 1;
        }
        if r.at == 0 {
            return Err(Error::SYNTAX);
        }
        if for_group && r.group.is_none() {
            return Err(Error::new("ERR Missing GROUP option for XREADGROUP"));
        }
        Ok(r)
    }
}

const MEANINGLESS: &str = "ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer \
                           by specifying a proper ID, or use the > ID to get new messages. The";

/// The ID that an argument means.
fn resolve(arg: &[u8], stream: Option<&Stream>, for_group: bool) -> Result<From, Error> {
    let last = stream.map_or(StreamId::MIN, Stream::last_id);
    match arg {
        b"$" | b"+" if for_group => {
            let sign = char::from(arg[0]);
            Err(Error::owned(format!("ERR The {sign} {MEANINGLESS} {sign} ID would just return an empty result set.")))
        }
        b"$" => Ok(From::Id(last)),
        b"+" => match stream {
            Some(_) => last.prev().map(From::Id).ok_or(Error::new("ERR the stream last element ID is 0-0")),
            None => Ok(From::Id(StreamId::MIN)),
        },
        b">" if for_group => Ok(From::New),
        b">" => Err(Error::new(
            "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option.",
        )),
        arg => match strict_id(arg, 0)? {
            // Nothing can come after the greatest ID; Redis takes it for `>`.
            StreamId::MAX if for_group => Ok(From::New),
            id => Ok(From::Id(id)),
        },
    }
}

fn xread(cx: &mut Ctx<'_>, args: &[&[u8]], for_group: bool) -> CmdResult {
    let request = Request::parse(args, for_group, cx.name(), cx.db.clock)?;
    let mut from = Vec::with_capacity(request.ids.len());
    for (key, id) in request.keys.iter().zip(request.ids) {
        let stream = match cx.db.stream_read(key) {
            Ok(stream) => stream,
            // Who waits for a stream does not hear of other types that come by, unless it reads for a group.
            Err(_) if cx.session.serving && !for_group => None,
            Err(e) => return Err(e),
        };
        if let Some((group, _)) = request.group
            && stream.is_none_or(|s| s.group(group).is_none())
        {
            return Err(no_group(key, group, " in XREADGROUP with GROUP option"));
        }
        from.push(resolve(id, stream, for_group)?);
    }
    if for_group {
        // What it did is logged as such, wherever it ends.
        cx.db.fx.suppress();
    }
    let head = cx.out.later();
    let mut served = 0;
    for (key, from) in request.keys.iter().zip(&from) {
        let any = match request.group {
            Some((group, consumer)) => read_for_group(cx, &request, key, group, consumer, *from)?,
            None => read_plain(cx, &request, key, *from)?,
        };
        served += usize::from(any);
    }
    if served > 0 {
        if cx.out.resp3() {
            cx.out.map_at(head, served)
        } else {
            cx.out.array_at(head, served)
        }
        return Ok(());
    }
    let Some(timeout) = request.timeout else {
        cx.out.null_array();
        return Ok(());
    };
    cx.block(request.keys, timeout, NullKind::Array)?;
    if let Some(block) = &mut cx.session.block
        && request.ids.contains(&&b"$"[..])
    {
        let mut argv: Vec<Vec<u8>> = args.iter().map(|a| a.to_vec()).collect();
        let first = request.at + request.keys.len();
        for (i, from) in from.iter().enumerate() {
            if let (b"$", From::Id(id)) = (args[first + i], from) {
                argv[first + i] = text(id).into_bytes();
            }
        }
        block.argv = Some(argv);
    }
    Ok(())
}

/// The head of a stream's part of the reply.
fn name(cx: &mut Ctx<'_>, key: &[u8]) {
    if !cx.out.resp3() {
        cx.out.array(2);
    }
    cx.out.bulk(key);
}

/// Replies with what comes after an ID; whether there is anything.
fn read_plain(cx: &mut Ctx<'_>, request: &Request<'_, '_>, key: &[u8], from: From) -> Result<bool, Error> {
    let From::Id(after) = from else { return Ok(false) };
    let any = |s: &Stream| s.last_entry().is_some_and(|last| last > after);
    match cx.db.stream_read(key) {
        Ok(Some(stream)) if any(stream) => {}
        _ => return Ok(false),
    }
    name(cx, key);
    if let Some(stream) = cx.db.stream_read(key)? {
        let start = after.next().unwrap_or(StreamId::MAX);
        reply_entries(cx.out, stream.range(start, StreamId::MAX), request.count);
    }
    Ok(true)
}

/// Replies with what a group has not read, or with what a consumer has not acknowledged; whether there is a reply.
fn read_for_group(
    cx: &mut Ctx<'_>,
    request: &Request<'_, '_>,
    key: &[u8],
    group: &[u8],
    consumer: &[u8],
    from: From,
) -> Result<bool, Error> {
    let now = cx.db.clock;
    let Some(stream) = cx.db.stream_write(key)? else { return Ok(false) };
    let newest = stream.last_entry();
    let Some(g) = stream.group_mut(group) else { return Ok(false) };
    let made = g.add_consumer(consumer, now, -1);
    g.seen(consumer, now);
    let last = g.last_id;
    let any = matches!(from, From::New) && newest.is_some_and(|newest| newest > last);
    if made {
        announce_consumer(cx, key);
        // Claims make it, too.
        if request.noack || !any {
            log_consumer(cx, key, group, consumer);
        }
    }
    match from {
        From::New if !any => return Ok(false),
        From::New => deliver(cx, request, key, group, consumer)?,
        From::Id(after) => history(cx, request, key, group, consumer, after)?,
    }
    cx.db.fx.dirty += 1;
    Ok(true)
}

/// Delivers new entries to a consumer.
fn deliver(cx: &mut Ctx<'_>, request: &Request<'_, '_>, key: &[u8], group: &[u8], consumer: &[u8]) -> CmdResult {
    let now = cx.db.clock;
    name(cx, key);
    let Some(stream) = cx.db.stream_write(key)? else { return Ok(()) };
    let Some(g) = stream.group(group) else { return Ok(()) };
    let (mut last, mut read) = (g.last_id, g.entries_read);
    let mut ids = Vec::new();
    let at = cx.out.later();
    for entry in stream.range(last.next().unwrap_or(StreamId::MAX), StreamId::MAX) {
        read = stream.read_count_after(read, entry.id);
        last = entry.id;
        reply_entry(cx.out, &entry);
        ids.push(entry.id);
        if ids.len() as u64 == request.count {
            break;
        }
    }
    cx.out.array_at(at, ids.len());
    let Some(g) = stream.group_mut(group) else { return Ok(()) };
    (g.last_id, g.entries_read) = (last, read);
    let mut claims = Vec::new();
    if !request.noack {
        for id in ids {
            g.assign(id, consumer, now, 1, Some(now));
            claims.extend(g.nack(id).map(|n| (id, n.clone())));
        }
    }
    log_claims(cx, key, group, last, &claims);
    log_progress(cx, key, group, last, read);
    Ok(())
}

/// Gives a consumer again what it has not acknowledged.
fn history(
    cx: &mut Ctx<'_>,
    request: &Request<'_, '_>,
    key: &[u8],
    group: &[u8],
    consumer: &[u8],
    after: StreamId,
) -> CmdResult {
    let now = cx.db.clock;
    name(cx, key);
    let Some(stream) = cx.db.stream_write(key)? else { return Ok(()) };
    let most = if request.count == 0 { usize::MAX } else { request.count as usize };
    let Some(c) = stream.group(group).and_then(|g| g.consumer(consumer)) else { return Ok(()) };
    let ids: Vec<StreamId> = match after.next() {
        Some(start) => c.pending(start).take(most).collect(),
        None => Vec::new(),
    };
    cx.out.array(ids.len());
    let mut claims: Vec<(StreamId, Nack)> = Vec::new();
    for id in ids {
        let Some(entry) = stream.get(id) else {
            // It was deleted from the stream; the consumer is still to acknowledge it.
            cx.out.array(2);
            bulk_id(cx.out, id);
            cx.out.null_array();
            continue;
        };
        reply_entry(cx.out, &entry);
        let Some(g) = stream.group_mut(group) else { continue };
        let count = g.nack(id).map_or(0, |n| n.count).saturating_add(1);
        g.assign(id, consumer, now, count, None);
        claims.extend(g.nack(id).map(|n| (id, n.clone())));
    }
    let last = stream.group(group).map_or(StreamId::MIN, |g| g.last_id);
    log_claims(cx, key, group, last, &claims);
    Ok(())
}
