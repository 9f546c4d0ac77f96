//! BITCOUNT and BITPOS.

use super::super::collections::RO_ACCESS;
use super::super::{CmdResult, Command, Ctx, options};
use crate::resp::Error;
use crate::spec::{Flags, Group, KeySpec, Meta};
use crate::types::bits;

/// `BITCOUNT key [start [end [BYTE | BIT]]]`
pub static BITCOUNT: Command = Command::new(
    Meta::new("bitcount", -2, Flags::READONLY, Group::Bitmap).keys(&[KeySpec::one(1, RO_ACCESS)]).doc(
        "2.6.0",
        "O(N)",
        "Counts the set bits of a string, or of a part of it.",
    ),
    bitcount,
);
/// `BITPOS key bit [start [end [BYTE | BIT]]]`
pub static BITPOS: Command = Command::new(
    Meta::new("bitpos", -3, Flags::READONLY, Group::Bitmap).keys(&[KeySpec::one(1, RO_ACCESS)]).doc(
        "2.8.7",
        "O(N)",
        "Returns the position of the first set or clear bit of a string, or of a part of it.",
    ),
    bitpos,
);

/// A part of a string, as the arguments have it.
struct Part {
    start: i64,
    end: Option<i64>,
    /// The numbers count bits, not bytes.
    in_bits: bool,
}

impl Part {
    fn parse(args: &[&[u8]]) -> Result<Part, Error> {
        let mut part = Part { start: 0, end: None, in_bits: false };
        if args.len() > 3 {
            return Err(Error::SYNTAX);
        }
        if let Some(start) = args.first() {
            part.start = options::int(start)?;
        }
        if let Some(unit) = args.get(2) {
            part.in_bits = options::is(unit, "bit");
            if !part.in_bits && !options::is(unit, "byte") {
                return Err(Error::SYNTAX);
            }
        }
        part.end = args.get(1).map(|end| options::int(end)).transpose()?;
        Ok(part)
    }
    /// The first and the last bit of the part in a string of `len` bytes; none if it is empty.
    fn bits(&self, len: usize) -> Option<(u64, u64)> {
        let total = if self.in_bits { len as i64 * 8 } else { len as i64 };
        let from_end = |n: i64| if n < 0 { n.saturating_add(total).max(0) } else { n };
        let start = from_end(self.start);
        let end = from_end(self.end.unwrap_or(total - 1)).min(total - 1);
        if start > end {
            return None;
        }
        let (start, end) = (start as u64, end as u64);
        Some(if self.in_bits { (start, end) } else { (start * 8, end * 8 + 7) })
    }
}

fn bitcount(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let part = Part::parse(&args[2..])?;
    let mut scratch = itoa::Buffer::new();
    let n = cx.db.text(args[1])?.map_or(0, |text| {
        let bytes = text.bytes(&mut scratch);
        match part {
            Part { start, end: Some(end), .. } if start < 0 && end < 0 && start > end => 0,
            part => part.bits(bytes.len()).map_or(0, |(first, last)| bits::count(bytes, first, last)),
        }
    });
    cx.out.int(n as i64);
    Ok(())
}

fn bitpos(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let value = match options::int(args[2])? {
        0 => false,
        1 => true,
        _ => return Err(Error::new("ERR The bit argument must be 1 or 0.")),
    };
    let part = Part::parse(&args[3..])?;
    let mut scratch = itoa::Buffer::new();
    let at = match cx.db.text(args[1])? {
        None if value => -1,
        None => 0,
        Some(text) => {
            let bytes = text.bytes(&mut scratch);
            match part.bits(bytes.len()) {
                None => -1,
                Some((first, last)) => match bits::find(bytes, value, first, last) {
                    Some(at) => at as i64,
                    // Behind the string all bits are clear, unless an end was named.
                    None if !value && part.end.is_none() => last as i64 + 1,
                    None => -1,
                },
            }
        }
    };
    cx.out.int(at);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Bench;

    #[test]
    fn parts_are_counted_in_bytes_or_bits() {
        let mut b = Bench::new();
        b.run("set k foobar");
        for (args, n) in [
            ("", 26),
            (" 1", 22),
            (" 0 0", 4),
            (" 1 1", 6),
            (" 1 1 byte", 6),
            (" 5 30 BIT", 17),
            (" -2 -1", 7),
            (" -1 -2", 0),
            (" 9 12", 0),
        ] {
            assert_eq!(b.run(&format!("bitcount k{args}")), format!(":{n}"), "{args}");
        }
        assert_eq!((b.run("bitcount none 0 1"), b.run("bitcount k 0 1 x")), (":0".into(), "-ERR syntax error".into()));
        assert_eq!(b.run("bitcount k 0 1 bit x"), "-ERR syntax error");
        assert_eq!(b.run("bitcount k a"), "-ERR value is not an integer or out of range");
    }

    #[test]
    fn behind_the_end_bits_are_clear_unless_an_end_was_named() {
        let mut b = Bench::new();
        b.run_args(&[b"set", b"k", b"\xff\xf0\x00"]);
        b.run_args(&[b"set", b"ones", b"\xff\xff"]);
        for (command, n) in [
            ("bitpos k 0", 12),
            ("bitpos k 1 2", -1),
            ("bitpos k 1 1", 8),
            ("bitpos k 0 0 11 bit", -1),
            ("bitpos k 0 7 -3 bit", 12),
            ("bitpos ones 0", 16),
            ("bitpos ones 0 1", 16),
            ("bitpos ones 0 0 -1", -1),
            ("bitpos ones 1 5", -1),
            ("bitpos none 1", -1),
            ("bitpos none 0 5", 0),
        ] {
            assert_eq!(b.run(command), format!(":{n}"), "{command}");
        }
        assert_eq!(b.run("bitpos k 2"), "-ERR The bit argument must be 1 or 0.");
    }
}
