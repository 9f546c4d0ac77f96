//! LLEN, LINDEX, LRANGE.

use super::super::collections::{RO_ACCESS, clamp, elem};
use super::super::{Command, options};
use crate::spec::{Flags, Group, KeyFlags, KeySpec, Meta};

/// `LLEN key`
pub static LLEN: Command = Command::new(
    Meta::new("llen", 2, Flags::READONLY.or(Flags::FAST), Group::List).keys(&[KeySpec::one(1, KeyFlags::RO)]).doc(
        "1.0.0",
        "O(1)",
        "Tells how many elements a list has.",
    ),
    |cx, args| {
        let len = cx.db.list_read(args[1])?.map_or(0, |list| list.len());
        cx.out.len_int(len);
        Ok(())
    },
);
/// `LINDEX key index`
pub static LINDEX: Command = Command::new(
    Meta::new("lindex", 3, Flags::READONLY, Group::List).keys(&[KeySpec::one(1, RO_ACCESS)]).doc(
        "1.0.0",
        "O(N) where N is the distance from the nearer end; O(1) at the ends.",
        "Returns the element at an index of a list.",
    ),
    |cx, args| {
        let Some(list) = cx.db.list_read(args[1])? else {
            cx.out.null();
            return Ok(());
        };
        let index = options::int(args[2])?;
        match list.resolve(index) {
            Some(i) => drop(list.get(i, |e| elem(cx.out, e))),
            None => cx.out.null(),
        }
        Ok(())
    },
);
/// `LRANGE key start stop`
pub static LRANGE: Command = Command::new(
    Meta::new("lrange", 4, Flags::READONLY, Group::List).keys(&[KeySpec::one(1, RO_ACCESS)]).doc(
        "1.0.0",
        "O(S+N) where S is the distance of the first element from the nearer end, and N the number of elements.",
        "Returns the elements between two indexes of a list.",
    ),
    |cx, args| {
        let (start, stop) = (options::int(args[2])?, options::int(args[3])?);
        let Some(list) = cx.db.list_read(args[1])? else {
            cx.out.array(0);
            return Ok(());
        };
        match clamp(start, stop, list.len()) {
            Some((start, n)) => {
                cx.out.array(n);
                list.for_range(start, n, |e| elem(cx.out, e));
            }
            None => cx.out.array(0),
        }
        Ok(())
    },
);

#[cfg(test)]
mod tests {
    use crate::commands::testing::Bench;

    #[test]
    fn indexes_count_from_both_ends() {
        let mut b = Bench::new();
        b.run("rpush k a 10 c");
        assert_eq!(b.run("lindex k -2"), "$2 10");
        assert_eq!(b.run("lindex k 3"), "$-1");
        assert_eq!(b.run("lindex k x"), "-ERR value is not an integer or out of range");
        assert_eq!(b.run("lindex none x"), "$-1");
        assert_eq!(b.run("lrange k -2 9"), "*2 $2 10 $1 c");
        assert_eq!(b.run("lrange k 2 1"), "*0");
        assert_eq!((b.run("llen k"), b.run("llen none")), (":3".into(), ":0".into()));
    }
}
