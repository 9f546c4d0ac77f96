//! BITOP.

use super::super::collections::{OW_UPDATE, RO_ACCESS, store};
use super::super::{CmdResult, Command, Ctx, options};
use crate::keyspace::{Value, notify};
use crate::resp::Error;
use crate::spec::{Flags, Group, KeySpec, Meta};
use crate::types::bits::{Combine, combine};

/// `BITOP AND | OR | XOR | NOT destkey key [key ...]`
pub static BITOP: Command = Command::new(
    Meta::new("bitop", -4, Flags::WRITE.or(Flags::DENYOOM), Group::Bitmap)
        .keys(&[KeySpec::one(2, OW_UPDATE), KeySpec::range(3, -1, 1, RO_ACCESS)])
        .doc(
            "2.6.0",
            "O(N)",
            "Combines the bits of several strings, or turns those of one over, and stores the result.",
        ),
    bitop,
);

fn bitop(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let how = match args[1] {
        w if options::is(w, "and") => Some(Combine::And),
        w if options::is(w, "or") => Some(Combine::Or),
        w if options::is(w, "xor") => Some(Combine::Xor),
        w if options::is(w, "not") => None,
        _ => return Err(Error::SYNTAX),
    };
    if how.is_none() && args.len() != 4 {
        return Err(Error::new("ERR BITOP NOT must be called with a single source key."));
    }
    let mut result: Option<Vec<u8>> = None;
    let mut scratch = itoa::Buffer::new();
    for key in &args[3..] {
        let text = cx.db.text(key)?;
        let bytes = text.as_ref().map_or(&[][..], |t| t.bytes(&mut scratch));
        match (&mut result, how) {
            (Some(result), Some(how)) => combine(result, bytes, how),
            _ => result = Some(bytes.to_vec()),
        }
    }
    let mut result = result.unwrap_or_default();
    if how.is_none() {
        result.iter_mut().for_each(|b| *b = !*b);
    }
    let len = result.len();
    store(cx, args[2], (len > 0).then_some((Value::Raw(result), len)), notify::STRING, "set");
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Bench;

    #[test]
    fn strings_are_combined_bit_by_bit() {
        let mut b = Bench::new();
        b.run("set a foobar");
        b.run("set b abc");
        assert_eq!((b.run("bitop and d a b"), b.events.contains(&"set d".into())), (":6".into(), true));
        assert_eq!(b.run_args(&[b"get", b"d"]), "$6 `bc\0\0\0");
        assert_eq!((b.run("bitop or d b none"), b.run("get d")), (":3".into(), "$3 abc".into()));
        assert_eq!((b.run("bitop xor d a a"), b.run("bitcount d")), (":6".into(), ":0".into()));
        assert_eq!(
            (b.run("bitop not d a"), b.run("bitop not d d"), b.run("get d")),
            (":6".into(), ":6".into(), "$6 foobar".into())
        );
        assert_eq!((b.run("bitop or d none"), b.run("exists d"), b.log.len()), (":0".into(), ":0".into(), 0));
        assert_eq!(b.run("bitop not d a b"), "-ERR BITOP NOT must be called with a single source key.");
        assert_eq!(b.run("bitop nor d a b"), "-ERR syntax error");
        b.run("rpush l a");
        assert!(b.run("bitop or d a l").starts_with("-WRONGTYPE"));
    }
}
