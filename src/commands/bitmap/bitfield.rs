//! BITFIELD and BITFIELD_RO: numbers of any width at any bit.

use smallvec::{SmallVec, smallvec};

use super::super::collections::{RO_ACCESS, RW_ACCESS_UPDATE};
use super::super::{CmdResult, Command, Ctx, options};
use super::{edit, offset};
use crate::base::num;
use crate::keyspace::notify;
use crate::resp::{Error, Out};
use crate::spec::{Flags, Group, KeyFlags, KeySpec, KeyUse, Meta};
use crate::types::bits;

/// `BITFIELD key [GET type offset | [OVERFLOW WRAP|SAT|FAIL] SET type offset value | INCRBY type offset increment ...]`
pub static BITFIELD: Command = Command::new(
    Meta::new("bitfield", -2, Flags::WRITE.or(Flags::DENYOOM), Group::Bitmap)
        .keys(&[KeySpec::one(1, RW_ACCESS_UPDATE.or(KeyFlags::VARIABLE_FLAGS))])
        .getkeys(keys)
        .doc("3.2.0", "O(1) for each operation.", "Reads, sets and adds to numbers of any width within a string."),
    |cx, args| bitfield(cx, args, false),
);
/// `BITFIELD_RO key [GET type offset ...]`
pub static BITFIELD_RO: Command = Command::new(
    Meta::new("bitfield_ro", -2, Flags::READONLY.or(Flags::FAST), Group::Bitmap)
        .keys(&[KeySpec::one(1, RO_ACCESS)])
        .doc("6.0.0", "O(1) for each operation.", "Reads numbers of any width within a string."),
    |cx, args| bitfield(cx, args, true),
);

/// Only GET reads alone. What makes no sense counts as a write.
fn keys(args: &[&[u8]]) -> Option<SmallVec<[KeyUse; 4]>> {
    let mut rest = args.get(2..)?;
    let mut flags = RO_ACCESS;
    while let Some((word, values)) = rest.split_first() {
        rest = match values {
            [_, _, rest @ ..] if options::is(word, "GET") => rest,
            [_, rest @ ..] if options::is(word, "OVERFLOW") => rest,
            _ => {
                flags = RW_ACCESS_UPDATE;
                break;
            }
        };
    }
    Some(smallvec![KeyUse { index: 1, flags }])
}

/// What happens to a number that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overflow {
    /// Its high bits are dropped.
    Wrap,
    /// It becomes the greatest or least that fits.
    Saturate,
    /// Nothing is stored.
    Fail,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Get,
    Set(i64),
    Add(i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Type {
    signed: bool,
    width: u32,
}

#[derive(Clone, Copy, Debug)]
struct Op {
    ty: Type,
    at: u64,
    action: Action,
    overflow: Overflow,
}

impl Type {
    fn parse(arg: &[u8]) -> Result<Type, Error> {
        let bad = Error::new(
            "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
        );
        let (signed, digits, max) = match arg {
            [b'i', digits @ ..] => (true, digits, 64),
            [b'u', digits @ ..] => (false, digits, 63),
            _ => return Err(bad),
        };
        match num::parse_i64(digits) {
            Some(n) if (1..=max).contains(&n) => Ok(Type { signed, width: n as u32 }),
            _ => Err(bad),
        }
    }
    /// The number that these bits mean.
    fn read(self, raw: u64) -> i64 {
        let unused = 64 - self.width;
        if self.signed { ((raw << unused) as i64) >> unused } else { raw as i64 }
    }
    fn range(self) -> (i128, i128) {
        if self.signed { (-(1 << (self.width - 1)), (1 << (self.width - 1)) - 1) } else { (0, (1 << self.width) - 1) }
    }
    /// What is stored for a number; none if it does not fit and must.
    fn fit(self, n: i128, overflow: Overflow) -> Option<i64> {
        let (min, max) = self.range();
        if (min..=max).contains(&n) {
            return Some(n as i64);
        }
        match overflow {
            Overflow::Fail => None,
            Overflow::Saturate => Some(n.clamp(min, max) as i64),
            Overflow::Wrap => Some(self.read(n as u64 & (u64::MAX >> (64 - self.width)))),
        }
    }
}

fn parse(cx: &Ctx<'_>, args: &[&[u8]]) -> Result<SmallVec<[Op; 8]>, Error> {
    let mut ops = SmallVec::new();
    let mut overflow = Overflow::Wrap;
    let mut rest = args;
    while let [word, more @ ..] = rest {
        let (get, set) = (options::is(word, "get"), options::is(word, "set"));
        rest = match more {
            [how, more @ ..] if options::is(word, "overflow") => {
                overflow = match how {
                    w if options::is(w, "wrap") => Overflow::Wrap,
                    w if options::is(w, "sat") => Overflow::Saturate,
                    w if options::is(w, "fail") => Overflow::Fail,
                    _ => return Err(Error::new("ERR Invalid OVERFLOW type specified")),
                };
                more
            }
            [ty, at, more @ ..] if get => {
                let ty = Type::parse(ty)?;
                let at = offset(cx, at, Some(ty.width))?;
                ops.push(Op { ty, at, action: Action::Get, overflow });
                more
            }
            [ty, at, n, more @ ..] if set || options::is(word, "incrby") => {
                let ty = Type::parse(ty)?;
                let at = offset(cx, at, Some(ty.width))?;
                let n = options::int(n)?;
                ops.push(Op { ty, at, action: if set { Action::Set(n) } else { Action::Add(n) }, overflow });
                more
            }
            _ => return Err(Error::SYNTAX),
        };
    }
    Ok(ops)
}

fn bitfield(cx: &mut Ctx<'_>, args: &[&[u8]], read_only: bool) -> CmdResult {
    let ops = parse(cx, &args[2..])?;
    let key = args[1];
    let writes = ops.iter().filter(|op| op.action != Action::Get);
    let Some(last) = writes.map(|op| op.at + u64::from(op.ty.width) - 1).max() else {
        let mut scratch = itoa::Buffer::new();
        let text = cx.db.text(key)?;
        let bytes = text.as_ref().map_or(&[][..], |t| t.bytes(&mut scratch));
        cx.out.array(ops.len());
        ops.iter().for_each(|op| cx.out.int(op.ty.read(bits::get_number(bytes, op.at, op.ty.width))));
        return Ok(());
    };
    if read_only {
        return Err(Error::new("ERR BITFIELD_RO only supports the GET subcommand"));
    }
    let mut reply = Out::new(cx.out.proto());
    let (changes, grown) = edit(cx, key, |bytes| {
        let grown = bits::reach(bytes, last);
        (apply(bytes, &ops, &mut reply), grown)
    })?;
    cx.out.array(ops.len());
    cx.out.append(&mut reply);
    if changes > 0 || grown {
        cx.db.modified(key, changes.max(1));
        cx.db.notify(notify::STRING, "setbit", key);
    }
    Ok(())
}

/// Carries the operations out on a string that reaches as far as they do; how many changed it.
fn apply(bytes: &mut [u8], ops: &[Op], out: &mut Out) -> u64 {
    let mut changes = 0;
    for op in ops {
        let old = op.ty.read(bits::get_number(bytes, op.at, op.ty.width));
        let wanted = match op.action {
            Action::Get => {
                out.int(old);
                continue;
            }
            // A negative number is too great for an unsigned field.
            Action::Set(n) if !op.ty.signed => i128::from(n as u64),
            Action::Set(n) => i128::from(n),
            Action::Add(n) => i128::from(old) + i128::from(n),
        };
        let Some(new) = op.ty.fit(wanted, op.overflow) else {
            out.null();
            continue;
        };
        bits::set_number(bytes, op.at, op.ty.width, new as u64);
        changes += u64::from(new != old);
        out.int(if matches!(op.action, Action::Set(_)) { old } else { new });
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::Bench;

    #[test]
    fn numbers_that_do_not_fit_wrap_saturate_or_fail() {
        let t = |s: &str| Type::parse(s.as_bytes()).unwrap();
        assert_eq!(t("u8").fit(256, Overflow::Wrap), Some(0));
        assert_eq!(t("i8").fit(128, Overflow::Wrap), Some(-128));
        assert_eq!(t("i8").fit(-200, Overflow::Saturate), Some(-128));
        assert_eq!(t("u8").fit(-1, Overflow::Saturate), Some(0));
        assert_eq!(t("i64").fit(1 << 63, Overflow::Wrap), Some(i64::MIN));
        assert_eq!(t("i64").fit(1 << 63, Overflow::Saturate), Some(i64::MAX));
        assert_eq!(t("u63").fit(1 << 63, Overflow::Fail), None);
        assert!(["u64", "i65", "i0", "x8", "", "u"].iter().all(|s| Type::parse(s.as_bytes()).is_err()));
    }

    #[test]
    fn operations_run_in_order_on_one_string() {
        let mut b = Bench::new();
        assert_eq!(b.run("bitfield k set i5 100 1 get u4 0 incrby u2 #3 1"), "*3 :0 :0 :1");
        assert_eq!((b.log.len(), b.events.last().cloned()), (1, Some("setbit k".into())));
        assert_eq!(b.run("bitfield k get i5 100 get u2 6"), "*2 :1 :1");
        assert!(b.log.is_empty());
        assert_eq!(b.run("bitfield k overflow sat incrby u2 6 9 overflow fail incrby u2 6 1"), "*2 :3 $-1");
        assert_eq!(b.run("bitfield k set u8 0 -1 get u8 0"), "*2 :3 :255");
        assert_eq!(b.run("bitfield k overflow sat set u8 0 -1"), "*1 :255");
        assert_eq!((b.run("bitfield_ro k get u8 0"), b.run("bitfield k")), ("*1 :255".into(), "*0".into()));
        assert_eq!(b.run("bitfield_ro k set u8 0 1"), "-ERR BITFIELD_RO only supports the GET subcommand");
        assert_eq!(b.run("bitfield k get u8"), "-ERR syntax error");
        assert_eq!(b.run("bitfield k overflow what get u8 0"), "-ERR Invalid OVERFLOW type specified");
        let out = "-ERR bit offset is not an integer or out of range";
        assert_eq!(
            (b.run("bitfield k get u8 #9223372036854775807"), b.run("bitfield k get u8 x")),
            (out.into(), out.into())
        );
    }
}
