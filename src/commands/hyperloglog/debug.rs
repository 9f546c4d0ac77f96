//! PFDEBUG and PFSELFTEST, for tests of HyperLogLogs.

use super::super::{CmdResult, Command, Ctx, options};
use super::{edit, read};
use crate::base::rng;
use crate::resp::Error;
use crate::spec::{Flags, Group, KeyFlags, KeySpec, Meta};
use crate::types::hll::{self, Bad, Registers};

/// `PFDEBUG GETREG | DECODE | ENCODING | TODENSE key`
pub static PFDEBUG: Command = Command::new(
    Meta::new("pfdebug", 3, Flags::WRITE.or(Flags::DENYOOM).or(Flags::ADMIN), Group::Hyperloglog)
        .keys(&[KeySpec::one(2, KeyFlags::RW.or(KeyFlags::ACCESS))])
        .doc("2.8.9", "N/A", "Shows the registers of a HyperLogLog, or changes their form; for tests."),
    pfdebug,
);
/// `PFSELFTEST`
pub static PFSELFTEST: Command = Command::new(
    Meta::new("pfselftest", 1, Flags::ADMIN, Group::Hyperloglog).doc(
        "2.8.9",
        "N/A",
        "Tests that estimates of HyperLogLogs are as good as they should be.",
    ),
    |cx, _| self_test(cx),
);

fn pfdebug(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let (what, key) = (args[1], args[2]);
    let Some(dense) = read(cx, key, |bytes| Ok(hll::is_dense(bytes)))? else {
        return Err(Error::new("ERR The specified key does not exist"));
    };
    if options::is(what, "getreg") || options::is(what, "todense") {
        if !dense {
            edit(cx, key, hll::make_dense)?;
            cx.db.modified(key, 1);
        }
        if options::is(what, "todense") {
            cx.out.int(i64::from(!dense));
            return Ok(());
        }
        let mut registers = Registers::default();
        read(cx, key, |bytes| registers.merge(bytes))?;
        cx.out.array(registers.values().len());
        registers.values().iter().for_each(|value| cx.out.int(i64::from(*value)));
    } else if options::is(what, "decode") {
        if dense {
            return Err(Error::new("ERR HLL encoding is not sparse"));
        }
        let text = read(cx, key, hll::describe)?;
        cx.out.bulk_or_null(text.as_deref().map(str::as_bytes));
    } else if options::is(what, "encoding") {
        cx.out.simple(if dense { "dense" } else { "sparse" });
    } else {
        return Err(Error::owned([b"ERR Unknown PFDEBUG subcommand '", what, b"'"].concat()));
    }
    Ok(())
}

/// Adds elements to a HyperLogLog of each form and compares what they say with each other and with the truth.
fn self_test(cx: &mut Ctx<'_>) -> CmdResult {
    const ELEMENTS: u64 = 1_000_000;
    let max = cx.config().hll_sparse_max_bytes();
    let seed = rng::next_u64();
    let (mut sparse, mut dense) = (hll::new(), hll::new());
    hll::make_dense(&mut dense)?;
    let mut checkpoint = 1;
    for i in 1..=ELEMENTS {
        let element = (i ^ seed).to_le_bytes();
        hll::add(&mut dense, &element, max)?;
        hll::add(&mut sparse, &element, max)?;
        if i < checkpoint {
            continue;
        }
        if (i as usize) < max / 2 && hll::is_dense(&sparse) {
            return Err(Error::new("ERR TESTFAILED sparse encoding not used"));
        }
        let estimate = compare(&sparse, &dense)?;
        // Six times the standard error, and a collision among ten.
        let allowed = if i == 10 { 1 } else { (1.04 / 128.0 * 6.0 * i as f64).ceil() as u64 };
        let error = estimate.abs_diff(i);
        if error > allowed {
            return Err(Error::owned(format!("ERR TESTFAILED Too big error. card:{i} abserr:{error}")));
        }
        checkpoint *= 10;
    }
    cx.out.ok();
    Ok(())
}

fn compare(sparse: &[u8], dense: &[u8]) -> Result<u64, Error> {
    let estimates: Result<Vec<u64>, Bad> = [sparse, dense].into_iter().map(hll::estimate).collect();
    match estimates?[..] {
        [a, b] if a == b => Ok(a),
        _ => Err(Error::new("ERR TESTFAILED dense/sparse disagree")),
    }
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Bench;

    #[test]
    fn the_form_can_be_looked_at_and_changed() {
        let mut b = Bench::new();
        assert_eq!(b.run("pfdebug encoding k"), "-ERR The specified key does not exist");
        b.run("pfadd k");
        assert_eq!((b.run("pfdebug encoding k"), b.run("pfdebug decode k")), ("+sparse".into(), "$7 Z:16384".into()));
        assert_eq!((b.run("pfdebug todense k"), b.run("pfdebug todense k")), (":1".into(), ":0".into()));
        assert_eq!(
            (b.run("pfdebug encoding k"), b.run("pfdebug decode k")),
            ("+dense".into(), "-ERR HLL encoding is not sparse".into())
        );
        assert!(b.run("pfdebug getreg k").starts_with("*16384 :0 :0"));
        assert_eq!(b.run("pfdebug what k"), "-ERR Unknown PFDEBUG subcommand 'what'");
        assert_eq!(b.run("pfselftest"), "+OK");
    }
}
