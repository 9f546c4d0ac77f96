//! SCAN: the keys of the database, step by step.
//!
//! The cursor is the slot in the lowest 14 bits and the position in its table above; see `types::dict` for why a key
//! that is there all the time is returned whatever the tables do meanwhile.

use std::sync::Arc;

use super::super::options::{self, is};
use super::super::{CmdResult, Command, Ctx, Scope};
use crate::base::glob;
use crate::cluster::View;
use crate::keyspace::{Kind, SLOTS};
use crate::resp::Error;
use crate::spec::{Flags, Group, Meta};

/// `SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]` <https://valkey.io/commands/scan/>
pub static SCAN: Command = Command::new(
    Meta::new("scan", -2, Flags::READONLY, Group::Generic)
        .doc(
            "2.8.0",
            "O(1) for every call, O(N) for the whole of it.",
            "Returns some keys, and the cursor to go on with.",
        )
        .tips(&["nondeterministic_output", "request_policy:special", "response_policy:special"]),
    scan,
)
.scope(Scope::Own);

const SLOT_BITS: u32 = 14;

/// What a scan is to return.
pub struct Request<'a> {
    count: usize,
    pattern: Option<&'a [u8]>,
    kind: Option<Kind>,
    /// SLOT, where that is allowed.
    pub slot: Option<u16>,
}

impl<'a> Request<'a> {
    /// Reads the options. `slots`: SLOT is one of them.
    pub fn parse(args: &[&'a [u8]], slots: bool) -> Result<Request<'a>, Error> {
        let mut request = Request { count: 10, pattern: None, kind: None, slot: None };
        let mut rest = args.iter();
        while let Some(word) = rest.next() {
            let value: &'a [u8] = rest.next().ok_or(Error::SYNTAX)?;
            match () {
                () if is(word, "COUNT") => {
                    let n = options::int(value)?;
                    if n < 1 {
                        return Err(Error::SYNTAX);
                    }
                    request.count = n as usize;
                }
                () if is(word, "MATCH") => request.pattern = Some(value).filter(|p| *p != b"*"),
                () if is(word, "TYPE") => {
                    let known = Kind::ALL.into_iter().find(|k| is(value, k.name()));
                    let unknown = || Error::owned([b"ERR unknown type name '".as_slice(), value, b"'"].concat());
                    request.kind = Some(known.ok_or_else(unknown)?);
                }
                () if slots && is(word, "SLOT") => {
                    request.slot = Some(options::slot(value)?);
                }
                () => return Err(Error::SYNTAX),
            }
        }
        Ok(request)
    }
}

/// A scan under way.
pub struct Scan<'a> {
    request: Request<'a>,
    /// Names found.
    pub found: Vec<Vec<u8>>,
    seen: usize,
    steps: usize,
    cluster: Option<Arc<View>>,
}

impl<'a> Scan<'a> {
    /// Begins.
    pub fn new(cx: &Ctx<'_>, request: Request<'a>) -> Scan<'a> {
        Scan { request, found: Vec::new(), seen: 0, steps: 0, cluster: cx.server.cluster.view() }
    }
    /// Whether it has done enough for one call.
    pub fn is_enough(&self) -> bool {
        self.seen >= self.request.count || self.steps >= self.request.count.saturating_mul(10)
    }
    /// Goes on in a slot from `pos`, which is moved. True if the slot is through.
    pub fn slot(&mut self, cx: &mut Ctx<'_>, slot: u16, pos: &mut u64) -> Result<bool, Error> {
        if super::keys::is_hidden(&self.cluster, slot) {
            return Ok(true);
        }
        let ended = cx.db.with_slot(slot, |db| {
            if db.slot_len(slot) == 0 {
                return true;
            }
            loop {
                let now = db.now;
                let mut over = Vec::new();
                let Scan { request, found, seen, steps, .. } = self;
                *pos = db.scan_slot_raw(slot, *pos, |e| {
                    *seen += 1;
                    let wanted = request.pattern.is_none_or(|p| glob::matches(p, e.key(), false));
                    if wanted && request.kind.is_none_or(|k| e.kind() == k) {
                        let list = if e.is_expired(now) { &mut over } else { &mut *found };
                        list.push(e.key().to_vec());
                    }
                });
                for key in over {
                    db.expire_now(&key);
                }
                *steps += 1;
                if *pos == 0 {
                    return true;
                }
                if self.is_enough() {
                    return false;
                }
            }
        });
        ended.ok_or_else(|| cx.server.running.refusal())
    }
    /// Replies.
    pub fn reply(self, cx: &mut Ctx<'_>, cursor: &[u8]) {
        cx.out.array(2);
        cx.out.bulk(cursor);
        cx.out.array(self.found.len());
        self.found.iter().for_each(|k| cx.out.bulk(k));
    }
}

fn scan(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let cursor = options::cursor(args[1])?;
    let mut scan = Scan::new(cx, Request::parse(&args[2..], false)?);
    let (mut slot, mut pos) = ((cursor & (SLOTS as u64 - 1)) as u16, cursor >> SLOT_BITS);
    let next = loop {
        if !cx.db.is_used() {
            break 0;
        }
        if scan.slot(cx, slot, &mut pos)? {
            pos = 0;
            slot += 1;
            if usize::from(slot) == SLOTS {
                break 0;
            }
        }
        if scan.is_enough() {
            break pos << SLOT_BITS | u64::from(slot);
        }
    };
    scan.reply(cx, next.to_string().as_bytes());
    Ok(())
}
