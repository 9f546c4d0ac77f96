//! CLUSTERSCAN: the keys of the whole cluster, slot by slot.
//!
//! The cursor is `fingerprint-{tag}-position`. The tag hashes to the slot, so clients that know clusters send each call to
//! the owner of the slot. Positions are good on the node that gave them, whose fingerprint goes with them; on another node
//! the slot begins anew.

use std::sync::LazyLock;

use super::{Server, view};
use crate::base::siphash;
use crate::base::slot::{SLOTS, key_slot};
use crate::commands::generic::scan::{Request, Scan};
use crate::commands::{CmdResult, Command, Ctx, Scope};
use crate::resp::Error;
use crate::spec::{Flags, Group, KeyFlags, KeySpec, Meta};

/// `CLUSTERSCAN cursor [MATCH pattern] [COUNT count] [TYPE type] [SLOT slot]` <https://valkey.io/commands/clusterscan/>
pub static CLUSTERSCAN: Command = Command::new(
    Meta::new("clusterscan", -2, Flags::READONLY, Group::Generic)
        .keys(const { &[KeySpec::one(1, KeyFlags::NOT_KEY)] })
        .doc(
            "9.1.0",
            "O(N) where N is the number of keys that are returned.",
            "Returns some keys of the cluster, and the cursor to go on with.",
        )
        .tips(&["nondeterministic_output"]),
    scan,
)
.scope(Scope::Own);

/// For each slot a short text that hashes to it.
static TAGS: LazyLock<Vec<String>> = LazyLock::new(|| {
    const DIGITS: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut tags = vec![String::new(); usize::from(SLOTS)];
    let mut missing = tags.len();
    let mut n = 0usize;
    while missing > 0 {
        let (mut text, mut rest) = (String::new(), n);
        loop {
            text.push(char::from(DIGITS[rest % DIGITS.len()]));
            rest /= DIGITS.len();
            if rest == 0 {
                break;
            }
        }
        let tag = &mut tags[usize::from(key_slot(text.as_bytes()))];
        if tag.is_empty() {
            *tag = text;
            missing -= 1;
        }
        n += 1;
    }
    tags
});

/// Where positions come from: tables are ordered by a hash with a secret, which changes with every start, unless `hash-seed`
/// names it; then all nodes with the same one have the same order.
fn fingerprint(server: &Server) -> String {
    match &server.config.hash_seed()[..] {
        [] => server.run_id[..8].to_owned(),
        // No part of the hash's own key.
        _ => format!("S{:08x}", siphash::hash(b"order of tables") as u32),
    }
}

fn cursor(fingerprint: &str, slot: u16, pos: u64) -> String {
    format!("{fingerprint}-{{{}}}-{pos}", TAGS[usize::from(slot)])
}

/// Fingerprint, slot and position; none for `0`.
fn parse(text: &[u8]) -> Result<Option<(&str, u16, u64)>, Error> {
    if text == b"0" {
        return Ok(None);
    }
    let parts = || {
        let text = std::str::from_utf8(text).ok()?;
        let (fingerprint, rest) = text.split_once("-{")?;
        let (tag, pos) = rest.rsplit_once("}-")?;
        let pos = pos.parse().ok().filter(|_| pos.bytes().all(|c| c.is_ascii_digit()))?;
        let good = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_alphanumeric());
        (good(fingerprint) && good(tag)).then(|| (fingerprint, key_slot(tag.as_bytes()), pos))
    };
    parts().map(Some).ok_or(Error::new("ERR invalid cursor"))
}

fn scan(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    view(cx)?;
    let at = parse(args[1])?;
    let request = Request::parse(&args[2..], true)?;
    let only = request.slot;
    let mut scan = Scan::new(cx, request);
    let Some((from, slot, pos)) = at else {
        scan.reply(cx, cursor("0", only.unwrap_or(0), 0).as_bytes());
        return Ok(());
    };
    if only.is_some_and(|only| only != slot) {
        return Err(Error::new("ERR The cursor is of another slot"));
    }
    let mine = fingerprint(cx.server);
    let mut pos = if from == mine { pos } else { 0 };
    let ended = if cx.db.is_used() { scan.slot(cx, slot, &mut pos)? } else { true };
    let next = match ended {
        false => cursor(&mine, slot, pos),
        true if only.is_some() || slot + 1 == SLOTS => "0".to_owned(),
        true => cursor("0", slot + 1, 0),
    };
    scan.reply(cx, next.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_slot_has_a_tag_and_cursors_come_back() {
        for slot in 0..SLOTS {
            assert_eq!(key_slot(TAGS[usize::from(slot)].as_bytes()), slot);
        }
        let text = cursor("abc", 77, 1234);
        assert_eq!(parse(text.as_bytes()).ok().flatten(), Some(("abc", 77, 1234)));
        assert!(matches!(parse(b"0"), Ok(None)));
        for bad in
            ["", "1", "x-{a}", "x-{}-1", "-{a}-1", "x-{a}--1", "x-{a}-+1", "x-{a}-99999999999999999999", "x-{a b}-1"]
        {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
