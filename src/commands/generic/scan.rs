//! SCAN: the keys of the database, step by step.
//!
//! The cursor is the slot in the lowest 14 bits and the position in its table above; see `types::dict` for why a key
//! that is there all the time is returned whatever the tables do meanwhile.

use super::super::options::{self, is};
use super::super::{CmdResult, Command, Ctx, Scope};
use crate::base::glob;
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

fn scan(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let cursor = options::cursor(args[1])?;
    let (mut count, mut pattern, mut kind) = (10usize, None, None);
    let mut rest = args[2..].iter();
    while let Some(word) = rest.next() {
        let value = rest.next().ok_or(Error::SYNTAX)?;
        match () {
            () if is(word, "COUNT") => {
                let n = options::int(value)?;
                if n < 1 {
                    return Err(Error::SYNTAX);
                }
                count = n as usize;
            }
            () if is(word, "MATCH") => pattern = Some(*value).filter(|p| *p != b"*"),
            () if is(word, "TYPE") => {
                let known = Kind::ALL.into_iter().find(|k| is(value, k.name()));
                kind = Some(
                    known.ok_or_else(|| Error::owned([b"ERR unknown type name '".as_slice(), value, b"'"].concat()))?,
                );
            }
            () => return Err(Error::SYNTAX),
        }
    }
    let (mut slot, mut pos) = ((cursor & (SLOTS as u64 - 1)) as u16, cursor >> SLOT_BITS);
    let mut found: Vec<Vec<u8>> = Vec::new();
    let (mut seen, mut steps) = (0, 0usize);
    let most = count.saturating_mul(10);
    let next = loop {
        if !cx.db.is_used() {
            break 0;
        }
        let ended = cx.db.with_slot(slot, |db| {
            if db.slot_len(slot) == 0 {
                return true;
            }
            loop {
                let now = db.now;
                let mut over = Vec::new();
                pos = db.scan_slot_raw(slot, pos, |e| {
                    seen += 1;
                    let wanted = pattern.is_none_or(|p| glob::matches(p, e.key(), false));
                    if wanted && kind.is_none_or(|k| e.kind() == k) {
                        let list = if e.is_expired(now) { &mut over } else { &mut found };
                        list.push(e.key().to_vec());
                    }
                });
                for key in over {
                    db.expire_now(&key);
                }
                steps += 1;
                if pos == 0 {
                    return true;
                }
                if seen >= count || steps >= most {
                    return false;
                }
            }
        });
        let Some(ended) = ended else { return Err(cx.server.running.refusal()) };
        if ended {
            pos = 0;
            slot += 1;
            if usize::from(slot) == SLOTS {
                break 0;
            }
        }
        if seen >= count || steps >= most {
            break pos << SLOT_BITS | u64::from(slot);
        }
    };
    cx.out.array(2);
    cx.out.bulk(next.to_string().as_bytes());
    cx.out.array(found.len());
    found.iter().for_each(|k| cx.out.bulk(k));
    Ok(())
}
