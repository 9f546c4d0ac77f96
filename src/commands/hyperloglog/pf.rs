//! PFADD, PFCOUNT, PFMERGE.

use super::super::collections::{RO_ACCESS, RW_INSERT};
use super::super::{CmdResult, Command, Ctx};
use super::{edit, read};
use crate::keyspace::notify;
use crate::spec::{Flags, Group, KeyFlags, KeySpec, Meta};
use crate::types::hll::{self, Registers};

/// `PFADD key [element [element ...]]`
pub static PFADD: Command = Command::new(
    Meta::new("pfadd", -2, Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST), Group::Hyperloglog)
        .keys(&[KeySpec::one(1, RW_INSERT)])
        .doc("2.8.9", "O(1) for each element.", "Adds elements to a HyperLogLog, making it if need be."),
    pfadd,
);
/// `PFCOUNT key [key ...]`
pub static PFCOUNT: Command = Command::new(
    Meta::new("pfcount", -2, Flags::READONLY.or(Flags::MAY_REPLICATE), Group::Hyperloglog)
        .keys(&[KeySpec::range(1, -1, 1, KeyFlags::RW.or(KeyFlags::ACCESS))])
        .doc(
            "2.8.9",
            "O(1) with one key; O(N) with several, where N is the number of keys.",
            "Returns about how many different elements were added to HyperLogLogs.",
        ),
    pfcount,
);
/// `PFMERGE destkey [sourcekey [sourcekey ...]]`
pub static PFMERGE: Command = Command::new(
    Meta::new("pfmerge", -2, Flags::WRITE.or(Flags::DENYOOM), Group::Hyperloglog)
        .keys(&[KeySpec::one(1, RW_INSERT.or(KeyFlags::ACCESS)), KeySpec::range(2, -1, 1, RO_ACCESS)])
        .doc("2.8.9", "O(N) where N is the number of HyperLogLogs.", "Merges HyperLogLogs into one."),
    pfmerge,
);

fn pfadd(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let (key, max) = (args[1], cx.config().hll_sparse_max_bytes());
    let ((added, broken), made) = edit(cx, key, |bytes| {
        let (mut added, mut broken) = (0, None);
        for element in &args[2..] {
            match hll::add(bytes, element, max) {
                Ok(new) => added += u64::from(new),
                // What was added before stays, here and on replicas.
                Err(bad) => {
                    broken = Some(bad);
                    break;
                }
            }
        }
        if added > 0 {
            hll::outdate(bytes);
        }
        Ok((added, broken))
    })?;
    let updates = added + u64::from(made);
    if updates > 0 {
        cx.db.modified(key, updates);
        cx.db.notify(notify::STRING, "pfadd", key);
    }
    if let Some(bad) = broken {
        return Err(bad.into());
    }
    cx.out.int(i64::from(updates > 0));
    Ok(())
}

fn pfcount(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    if let [_, key] = args {
        let found = read(cx, key, |bytes| match hll::cached(bytes) {
            Some(n) => Ok((n, true)),
            None => Ok((hll::estimate(bytes)?, false)),
        })?;
        if let Some((n, false)) = found
            && (cx.session.primary || !cx.server.repl.link.is_replica())
        {
            // The estimate is kept with the value. A replica gets it from its primary.
            cx.db.edit_text(key, |bytes| hll::cache(bytes, n))?;
            cx.db.modified(key, 1);
        }
        cx.out.int(found.map_or(0, |(n, _)| n as i64));
        return Ok(());
    }
    let mut registers = Registers::default();
    for key in &args[1..] {
        read(cx, key, |bytes| registers.merge(bytes))?;
    }
    cx.out.int(registers.estimate() as i64);
    Ok(())
}

fn pfmerge(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let (key, max) = (args[1], cx.config().hll_sparse_max_bytes());
    let mut registers = Registers::default();
    let mut dense = false;
    for source in &args[1..] {
        read(cx, source, |bytes| {
            dense |= hll::is_dense(bytes);
            registers.merge(bytes)
        })?;
    }
    edit(cx, key, |bytes| {
        if dense {
            hll::make_dense(bytes)?;
        }
        for (at, value) in registers.values().iter().enumerate().filter(|(_, value)| **value > 0) {
            hll::raise(bytes, at, *value, max)?;
        }
        hll::outdate(bytes);
        Ok(())
    })?;
    cx.db.modified(key, 1);
    cx.db.notify(notify::STRING, "pfadd", key);
    cx.out.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Bench;

    #[test]
    fn elements_are_counted_and_the_count_is_kept() {
        let mut b = Bench::new();
        assert_eq!((b.run("pfadd k"), b.events.clone()), (":1".into(), vec!["new k".into(), "pfadd k".into()]));
        assert_eq!((b.run("pfadd k"), b.run("pfadd k a b c d e f g")), (":0".into(), ":1".into()));
        assert_eq!((b.run("pfadd k a b c"), b.log.len()), (":0".into(), 0));
        assert_eq!((b.run("pfcount k"), b.log.clone()), (":7".into(), vec!["pfcount k".into()]));
        assert_eq!((b.run("pfcount k"), b.log.len()), (":7".into(), 0));
        b.run("pfadd l x y a");
        assert_eq!(
            (b.run("pfcount k l none"), b.run("pfmerge m k l"), b.run("pfcount m")),
            (":9".into(), "+OK".into(), ":9".into())
        );
        assert_eq!(
            (b.run("pfcount none"), b.run("pfmerge empty"), b.run("pfcount empty")),
            (":0".into(), "+OK".into(), ":0".into())
        );
    }

    #[test]
    fn what_is_no_hyperloglog_is_refused_and_left_alone() {
        let mut b = Bench::new();
        let foreign = "-WRONGTYPE Key is not a valid HyperLogLog string value.";
        b.run("set text hello");
        b.run("rpush list a");
        assert_eq!(
            (b.run("pfadd text a"), b.run("pfcount text"), b.run("pfcount text none")),
            (foreign.into(), foreign.into(), foreign.into())
        );
        assert!(b.run("pfadd list a").starts_with("-WRONGTYPE Operation"));
        b.run("pfadd k a b c");
        b.run("append k hello");
        let corrupt = "-INVALIDOBJ Corrupted HLL object detected";
        assert_eq!(
            (b.run("pfcount k l"), b.run("pfcount k"), b.run("pfmerge d k")),
            (corrupt.into(), corrupt.into(), corrupt.into())
        );
        assert_eq!(b.run("exists d"), ":0");
        b.run("pfadd t a");
        b.run("pfdebug todense t");
        b.run("append t x");
        assert_eq!(b.run("pfcount t"), foreign);
    }
}
