//! What the commands on lists, hashes, sets and sorted sets share: thresholds, key flags, replies of elements.

use std::sync::atomic::Ordering::Relaxed;

use super::{CmdResult, Ctx, Server, options};
use crate::base::glob;
use crate::clients::{Close, Session};
use crate::keyspace::{Ttl, Value, notify};
use crate::resp::{Error, Out};
use crate::spec::KeyFlags;
use crate::types::{Elem, IntBuf, Limits};

/// Reads a key's data.
pub const RO_ACCESS: KeyFlags = KeyFlags::RO.or(KeyFlags::ACCESS);
/// Adds to a key's data.
pub const RW_INSERT: KeyFlags = KeyFlags::RW.or(KeyFlags::INSERT);
/// Changes a key's data.
pub const RW_UPDATE: KeyFlags = KeyFlags::RW.or(KeyFlags::UPDATE);
/// Deletes from a key's data.
pub const RW_DELETE: KeyFlags = KeyFlags::RW.or(KeyFlags::DELETE);
/// Returns what it deletes.
pub const RW_ACCESS_DELETE: KeyFlags = RW_DELETE.or(KeyFlags::ACCESS);
/// Returns what it changes.
pub const RW_ACCESS_UPDATE: KeyFlags = RW_UPDATE.or(KeyFlags::ACCESS);
/// Overwrites a key.
pub const OW_UPDATE: KeyFlags = KeyFlags::OW.or(KeyFlags::UPDATE);

/// The encoding thresholds in force.
pub fn limits(server: &Server) -> Limits {
    let config = server.config;
    Limits {
        list_max_listpack_size: config.list_max_listpack_size(),
        list_compress_depth: config.list_compress_depth(),
        list_packed_threshold: server.switches.packed_threshold.load(Relaxed),
        hash_max_listpack_entries: config.hash_max_listpack_entries(),
        hash_max_listpack_value: config.hash_max_listpack_value(),
        set_max_intset_entries: config.set_max_intset_entries(),
        set_max_listpack_entries: config.set_max_listpack_entries(),
        set_max_listpack_value: config.set_max_listpack_value(),
        zset_max_listpack_entries: config.zset_max_listpack_entries(),
        zset_max_listpack_value: config.zset_max_listpack_value(),
    }
}

/// An element as a bulk string.
#[inline]
pub fn elem(out: &mut Out, e: Elem<'_>) {
    match e {
        Elem::Str(s) => out.bulk(s),
        Elem::Int(n) => out.bulk_int(n),
    }
}

/// Resolves the inclusive range `start..=stop` of indexes that may be negative against a length: first index and count.
pub fn clamp(start: i64, stop: i64, len: usize) -> Option<(usize, usize)> {
    let len = len as i64;
    let start = if start < 0 { start.saturating_add(len).max(0) } else { start };
    let stop = if stop < 0 { stop.saturating_add(len) } else { stop }.min(len - 1);
    (start <= stop && start < len).then(|| (start as usize, (stop - start + 1) as usize))
}

/// The `count` of a command that draws random members: positive, or negative for draws with repetition.
pub fn draw_count(arg: &[u8], with_pairs: bool) -> Result<i64, Error> {
    const MAX: i64 = i64::MAX;
    let n = options::int_in(arg, -MAX, MAX, None)?;
    if with_pairs && !(-(MAX / 2)..=MAX / 2).contains(&n) {
        return Err(Error::new("ERR value is out of range"));
    }
    Ok(n)
}

/// Draws `n` times with repetition. A reply beyond the client's output buffer limit would not be sent: it ends the drawing,
/// and the connection, as soon as it is passed, however many draws were asked for.
pub fn draw(server: &Server, session: &mut Session, out: &mut Out, n: u64, mut one: impl FnMut(&mut Out)) {
    let hard = usize::try_from(server.config.output_limit(0).hard).unwrap_or(usize::MAX);
    let clients = server.config.maxmemory_clients();
    let limits = [hard, clients].into_iter().filter(|limit| *limit > 0);
    let most = limits.min().map_or(usize::MAX, |limit| limit.saturating_add(64 << 10));
    for _ in 0..n {
        one(out);
        if out.len() > most {
            session.close = Close::Now;
            tracing::warn!("Client id={} closed for overcoming of output buffer limits.", session.client.id);
            return;
        }
    }
}

/// Words of a request, some of them keys.
pub type Words<'k, 'a> = &'k [&'a [u8]];

/// The keys behind `numkeys`, which is argument `at`, and what stands behind them. `none` is the error for a number below
/// 1, `too_many` the one for more keys than there are arguments.
pub fn numbered_keys<'k, 'a>(
    args: Words<'k, 'a>,
    at: usize,
    none: &'static str,
    too_many: Error,
) -> Result<(Words<'k, 'a>, Words<'k, 'a>), Error> {
    let n = options::int_in(args[at], 1, i64::MAX, Some(none))?;
    let rest = &args[at + 1..];
    match usize::try_from(n) {
        Ok(n) if n <= rest.len() => Ok(rest.split_at(n)),
        _ => Err(too_many),
    }
}

/// Ends a command that stores what it worked out: the value goes to the key, whatever was there, and its size is the
/// reply; if there is none, the key goes.
pub fn store(cx: &mut Ctx<'_>, key: &[u8], value: Option<(Value, usize)>, class: u32, event: &'static str) {
    match value {
        Some((value, len)) => {
            cx.db.set_value(key, value, Ttl::Clear);
            cx.out.len_int(len);
            cx.db.modified(key, 1);
            cx.db.notify(class, event, key);
        }
        None => {
            cx.out.int(0);
            let lazy = cx.db.tuning().lazy_server_del;
            if cx.db.delete(key, lazy) {
                cx.db.modified(key, 1);
                cx.db.notify(notify::GENERIC, "del", key);
            }
        }
    }
}

/// A word that only one of the scan commands knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamesOnly {
    /// SSCAN knows none.
    No,
    /// HSCAN's NOVALUES.
    Values,
    /// ZSCAN's NOSCORES.
    Scores,
}

/// The options of SSCAN, HSCAN and ZSCAN.
pub struct Scan<'a> {
    cursor: u64,
    pattern: Option<&'a [u8]>,
    count: usize,
    /// NOVALUES or NOSCORES was given.
    pub names_only: bool,
}

impl<'a> Scan<'a> {
    /// Reads the options behind the cursor.
    pub fn parse(cursor: u64, words: &[&'a [u8]], only: NamesOnly) -> Result<Self, Error> {
        let mut scan = Scan { cursor, pattern: None, count: 10, names_only: false };
        let mut i = 0;
        while i < words.len() {
            match (words[i], words.get(i + 1)) {
                (word, Some(n)) if options::is(word, "count") => {
                    let n = options::int(n)?;
                    if n < 1 {
                        return Err(Error::SYNTAX);
                    }
                    scan.count = n as usize;
                    i += 2;
                }
                (word, Some(pattern)) if options::is(word, "match") => {
                    scan.pattern = Some(*pattern).filter(|p| *p != b"*");
                    i += 2;
                }
                (word, _) if options::is(word, "novalues") => {
                    if only != NamesOnly::Values {
                        return Err(Error::new("ERR NOVALUES option can only be used in HSCAN"));
                    }
                    scan.names_only = true;
                    i += 1;
                }
                (word, _) if options::is(word, "noscores") => {
                    if only != NamesOnly::Scores {
                        return Err(Error::new("ERR NOSCORES option can only be used in ZSCAN"));
                    }
                    scan.names_only = true;
                    i += 1;
                }
                _ => return Err(Error::SYNTAX),
            }
        }
        Ok(scan)
    }

    /// Whether a member is wanted.
    pub fn wants(&self, e: Elem<'_>) -> bool {
        self.pattern.is_none_or(|p| glob::matches(p, e.as_bytes(&mut IntBuf::new()), false))
    }

    /// Takes scan steps until enough was seen: `step` makes one from a cursor, adds what it saw to the count it is given,
    /// and returns the next cursor.
    pub fn run(&self, mut step: impl FnMut(u64, &mut usize) -> u64) -> u64 {
        let (mut cursor, mut seen) = (self.cursor, 0);
        // A bound on empty steps keeps one call short in a table that was emptied.
        let mut steps = self.count.saturating_mul(10);
        loop {
            cursor = step(cursor, &mut seen);
            steps -= 1;
            if cursor == 0 || seen >= self.count || steps == 0 {
                return cursor;
            }
        }
    }
}

/// Replies with the next cursor and the `n` elements found.
pub fn scan_reply(out: &mut Out, next: u64, n: usize, found: &mut Out) {
    out.array(2);
    out.bulk(next.to_string().as_bytes());
    out.array(n);
    out.append(found);
}

/// A walk that ends at once: the reply of a scan over a missing key.
pub fn empty_scan(cx: &mut Ctx<'_>) -> CmdResult {
    scan_reply(cx.out, 0, 0, &mut Out::default());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_clamped_as_lrange_does() {
        assert_eq!(clamp(0, -1, 3), Some((0, 3)));
        assert_eq!(clamp(-100, 100, 3), Some((0, 3)));
        assert_eq!(clamp(1, 1, 3), Some((1, 1)));
        assert_eq!(clamp(2, 1, 3), None);
        assert_eq!(clamp(3, 5, 3), None);
        assert_eq!(clamp(0, -4, 3), None);
        assert_eq!(clamp(0, -1, 0), None);
        assert_eq!(clamp(i64::MIN, i64::MAX, 2), Some((0, 2)));
        assert_eq!(clamp(i64::MAX, i64::MIN, 2), None);
    }

    #[test]
    fn scan_options_are_read_in_any_order_and_case() {
        let words: &[&[u8]] = &[b"NoValues", b"MATCH", b"a*", b"count", b"7"];
        let s = Scan::parse(5, words, NamesOnly::Values).unwrap();
        assert!((s.cursor, s.count, s.names_only) == (5, 7, true));
        assert!(s.wants(Elem::Str(b"abc")) && !s.wants(Elem::Int(5)));
        for bad in [&[&b"count"[..], b"0"][..], &[b"match"], &[b"what"]] {
            assert_eq!(Scan::parse(0, bad, NamesOnly::No).err(), Some(Error::SYNTAX));
        }
        assert!(Scan::parse(0, &[b"noscores"], NamesOnly::Values).is_err());
    }

    #[test]
    fn numkeys_must_be_there_and_fit() {
        let args: [&[u8]; 5] = [b"lmpop", b"2", b"a", b"b", b"left"];
        let (keys, rest) = numbered_keys(&args, 1, "ERR none", Error::SYNTAX).unwrap();
        assert_eq!((keys.len(), rest.len()), (2, 1));
        assert_eq!(numbered_keys(&[b"x", b"0"], 1, "ERR none", Error::SYNTAX), Err(Error::new("ERR none")));
        assert_eq!(numbered_keys(&[b"x", b"1"], 1, "ERR none", Error::SYNTAX), Err(Error::SYNTAX));
    }
}
