//! XTRIM, XDEL, XSETID, and the trimming words that XADD shares.

use super::super::collections::{RW_DELETE, RW_UPDATE};
use super::super::{CmdResult, Command, Ctx, options};
use super::{parse_parts, strict_id, strict_ids, text};
use crate::keyspace::notify;
use crate::resp::Error;
use crate::spec::{Flags, Group, KeySpec, Meta};
use crate::types::Stream;
use crate::types::stream::{Keep, NewId, StreamId};

/// `XTRIM key MAXLEN|MINID [=|~] threshold [LIMIT count]`
pub static XTRIM: Command = Command::new(
    Meta::new("xtrim", -4, Flags::WRITE, Group::Stream)
        .keys(&[KeySpec::one(1, RW_DELETE)])
        .doc(
            "5.0.0",
            "O(N) where N is the number of entries removed; whole nodes go at once.",
            "Removes old entries from a stream, down to a length or up to an ID.",
        )
        .tips(&["nondeterministic_output"]),
    xtrim,
);
/// `XDEL key id [id ...]`
pub static XDEL: Command = Command::new(
    Meta::new("xdel", -3, Flags::WRITE.or(Flags::FAST), Group::Stream).keys(&[KeySpec::one(1, RW_DELETE)]).doc(
        "5.0.0",
        "O(1) for each entry.",
        "Deletes entries from a stream and returns how many there were.",
    ),
    xdel,
);
/// `XSETID key last-id [ENTRIESADDED entries-added] [MAXDELETEDID max-deleted-id]`
pub static XSETID: Command = Command::new(
    Meta::new("xsetid", -3, Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST), Group::Stream)
        .keys(&[KeySpec::one(1, RW_UPDATE)])
        .doc("5.0.0", "O(1)", "Sets the numbers that a stream keeps beside its entries; for internal use."),
    xsetid,
);

/// What the words before an ID, or those of XTRIM, ask for.
#[derive(Debug, Default)]
pub struct Request {
    /// What to keep, if the stream is to be trimmed.
    pub keep: Option<Keep>,
    /// Only whole nodes go.
    pub whole: bool,
    /// The most entries to remove; 0: any number.
    pub limit: u64,
    /// XADD: no stream is made.
    pub no_make: bool,
    /// XADD: the ID; none where it is `*`.
    pub id: Option<NewId>,
    /// XADD: the position of the ID.
    pub at: usize,
}

impl Request {
    /// Reads the words from `args[2]` on. `add`: they are XADD's, and end with an ID.
    pub fn parse(cx: &Ctx<'_>, args: &[&[u8]], add: bool) -> Result<Request, Error> {
        let mut r = Request::default();
        let (mut limit, mut i) = (None, 2);
        while i < args.len() {
            let more = args.len() - 1 - i;
            let word = args[i];
            let (maxlen, minid) = (options::is(word, "maxlen"), options::is(word, "minid"));
            if add && word == b"*" {
                break;
            } else if (maxlen || minid) && more > 0 {
                if r.keep.is_some() {
                    return Err(Error::new(
                        "ERR syntax error, MAXLEN and MINID options at the same time are not compatible",
                    ));
                }
                r.whole = false;
                if more >= 2 && matches!(args[i + 1], b"~" | b"=") {
                    r.whole = args[i + 1] == b"~";
                    i += 1;
                }
                i += 1;
                r.keep = Some(if maxlen {
                    let n = options::int(args[i])?;
                    Keep::Newest(u64::try_from(n).map_err(|_| Error::new("ERR The MAXLEN argument must be >= 0."))?)
                } else {
                    Keep::From(strict_id(args[i], 0)?)
                });
            } else if options::is(word, "limit") && more > 0 {
                i += 1;
                let n = options::int(args[i])?;
                limit = Some(u64::try_from(n).map_err(|_| Error::new("ERR The LIMIT argument must be >= 0."))?);
            } else if add && options::is(word, "nomkstream") {
                r.no_make = true;
            } else if add {
                let (ms, seq) = parse_parts(word, true).ok_or(super::BAD_ID)?;
                r.id = Some(match seq {
                    Some(None) => NewId::At(ms),
                    Some(Some(seq)) => NewId::Exact(StreamId::new(ms, seq)),
                    None => NewId::Exact(StreamId::new(ms, 0)),
                });
                break;
            } else {
                return Err(Error::SYNTAX);
            }
            i += 1;
        }
        r.at = i;
        if limit.is_some_and(|n| n > 0) && r.keep.is_none() {
            return Err(Error::new("ERR syntax error, LIMIT cannot be used without specifying a trimming strategy"));
        }
        if !add && r.keep.is_none() {
            return Err(Error::new("ERR syntax error, XTRIM must be called with a trimming strategy"));
        }
        if cx.session.primary || cx.session.replaying {
            // What is replayed was bounded when it was done first.
            return Ok(r);
        }
        r.limit = match limit {
            Some(_) if !r.whole => {
                return Err(Error::new("ERR syntax error, LIMIT cannot be used without the special ~ option"));
            }
            Some(n) => n,
            None if r.whole => match cx.config().stream_node_max_entries().saturating_mul(100) {
                0 => 10_000,
                n => n.min(1_000_000) as u64,
            },
            None => 0,
        };
        Ok(r)
    }
    /// Trims as asked; how many entries went.
    pub fn apply(&self, stream: &mut Stream) -> u64 {
        self.keep.map_or(0, |keep| stream.trim(keep, self.whole, self.limit))
    }
    /// The words that trim another copy of the stream to what this one is now.
    pub fn exact(&self, stream: &Stream) -> Option<[String; 3]> {
        let (word, bound) = match self.keep? {
            Keep::Newest(n) => ("MAXLEN", if self.whole { text(stream.len()) } else { text(n) }),
            Keep::From(id) => ("MINID", if self.whole { text(stream.first_stored()) } else { text(id) }),
        };
        Some([word.to_owned(), "=".to_owned(), bound])
    }
}

fn xtrim(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let request = Request::parse(cx, args, false)?;
    let key = args[1];
    let Some(stream) = cx.db.stream_write(key)? else {
        cx.out.int(0);
        return Ok(());
    };
    let removed = request.apply(stream);
    let exact = request.exact(stream);
    cx.out.int(removed as i64);
    if removed > 0 {
        cx.db.notify(notify::STREAM, "xtrim", key);
        if let Some([word, sign, bound]) = exact.filter(|_| request.whole) {
            cx.db.effect(&[b"XTRIM", key, word.as_bytes(), sign.as_bytes(), bound.as_bytes()]);
        }
        cx.db.modified(key, removed);
    }
    Ok(())
}

fn xdel(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let key = args[1];
    let Some(stream) = cx.db.stream_write(key)? else {
        cx.out.int(0);
        return Ok(());
    };
    let deleted = stream.delete(&strict_ids(&args[2..])?);
    cx.out.int(deleted as i64);
    if deleted > 0 {
        cx.db.modified(key, deleted);
        cx.db.notify(notify::STREAM, "xdel", key);
    }
    Ok(())
}

fn xsetid(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let id = strict_id(args[2], 0)?;
    let (mut added, mut deleted) = (None, None);
    let mut i = 3;
    while i < args.len() {
        let Some(value) = args.get(i + 1) else { return Err(Error::SYNTAX) };
        if options::is(args[i], "entriesadded") {
            let n = options::int(value)?;
            added = Some(u64::try_from(n).map_err(|_| Error::new("ERR entries_added must be positive"))?);
        } else if options::is(args[i], "maxdeletedid") {
            let max = strict_id(value, 0)?;
            if id < max {
                return Err(Error::new(
                    "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id",
                ));
            }
            deleted = Some(max).filter(|id| *id != StreamId::MIN);
        } else {
            return Err(Error::SYNTAX);
        }
        i += 2;
    }
    let key = args[1];
    let Some(stream) = cx.db.stream_write(key)? else { return Err(Error::NO_KEY) };
    if id < stream.counters().max_deleted {
        return Err(Error::new("ERR The ID specified in XSETID is smaller than current max_deleted_entry_id"));
    }
    if stream.last_entry().is_some_and(|top| id < top) {
        return Err(Error::new("ERR The ID specified in XSETID is smaller than the target stream top item"));
    }
    if !stream.is_empty() && added.is_some_and(|n| n < stream.len()) {
        return Err(Error::new("ERR The entries_added specified in XSETID is smaller than the target stream length"));
    }
    stream.set_counters(id, added, deleted);
    cx.out.ok();
    cx.db.fx.dirty += 1;
    cx.db.notify(notify::STREAM, "xsetid", key);
    Ok(())
}
