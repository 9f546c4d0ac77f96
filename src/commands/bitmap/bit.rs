//! SETBIT and GETBIT.

use super::super::collections::{RO_ACCESS, RW_ACCESS_UPDATE};
use super::super::{CmdResult, Command, Ctx};
use super::{edit, offset};
use crate::keyspace::notify;
use crate::resp::Error;
use crate::spec::{Flags, Group, KeySpec, Meta};
use crate::types::bits;

/// `SETBIT key offset value`
pub static SETBIT: Command = Command::new(
    Meta::new("setbit", 4, Flags::WRITE.or(Flags::DENYOOM), Group::Bitmap)
        .keys(&[KeySpec::one(1, RW_ACCESS_UPDATE)])
        .doc(
            "2.2.0",
            "O(1)",
            "Sets or clears a bit of the string at a key, which grows as need be; the bit's old value.",
        ),
    setbit,
);
/// `GETBIT key offset`
pub static GETBIT: Command = Command::new(
    Meta::new("getbit", 3, Flags::READONLY.or(Flags::FAST), Group::Bitmap).keys(&[KeySpec::one(1, RO_ACCESS)]).doc(
        "2.2.0",
        "O(1)",
        "Returns a bit of the string at a key.",
    ),
    |cx, args| {
        let at = offset(cx, args[2], None)?;
        let mut scratch = itoa::Buffer::new();
        let bit = cx.db.text(args[1])?.is_some_and(|text| bits::get(text.bytes(&mut scratch), at));
        cx.out.int(i64::from(bit));
        Ok(())
    },
);

fn setbit(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let at = offset(cx, args[2], None)?;
    let value = match args[3] {
        b"0" => false,
        b"1" => true,
        _ => return Err(Error::new("ERR bit is not an integer or out of range")),
    };
    let key = args[1];
    let (old, grown) = edit(cx, key, |bytes| {
        let grown = bits::reach(bytes, at);
        (bits::set(bytes, at, value), grown)
    })?;
    if grown || old != value {
        cx.db.modified(key, 1);
        cx.db.notify(notify::STRING, "setbit", key);
    }
    cx.out.int(i64::from(old));
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Bench;

    #[test]
    fn a_string_grows_to_its_highest_bit() {
        let mut b = Bench::new();
        assert_eq!(
            (b.run("setbit k 17 1"), b.run("strlen k"), b.run("getbit k 17")),
            (":0".into(), ":3".into(), ":1".into())
        );
        assert_eq!((b.run("setbit k 17 1"), b.log.len(), b.events.len()), (":1".into(), 0, 0));
        assert_eq!((b.run("setbit k 23 0"), b.log.len()), (":0".into(), 0));
        assert_eq!((b.run("setbit k 24 0"), b.events.clone()), (":0".into(), vec!["setbit k".into()]));
        assert_eq!(b.run("getbit k 4000000"), ":0");
        b.run("set n 12");
        assert_eq!((b.run("setbit n 6 0"), b.run("get n")), (":0".into(), "$2 12".into()));
        assert_eq!((b.run("setbit n 7 0"), b.run("get n")), (":1".into(), "$2 02".into()));
        let out = "-ERR bit offset is not an integer or out of range";
        assert_eq!((b.run("setbit k -1 1"), b.run("getbit k 4294967296")), (out.into(), out.into()));
        assert_eq!(b.run("setbit k 1 2"), "-ERR bit is not an integer or out of range");
        b.run("rpush l a");
        assert!(b.run("setbit l 1 1").starts_with("-WRONGTYPE") && b.run("getbit l 1").starts_with("-WRONGTYPE"));
    }
}
