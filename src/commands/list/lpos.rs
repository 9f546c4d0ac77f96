//! LPOS.

use std::ops::ControlFlow;

use super::super::collections::RO_ACCESS;
use super::super::{CmdResult, Command, Ctx, options};
use crate::resp::Error;
use crate::spec::{Flags, Group, KeySpec, Meta};
use crate::types::elem::Needle;

/// `LPOS key element [RANK rank] [COUNT num-matches] [MAXLEN len]`
pub static LPOS: Command = Command::new(
    Meta::new("lpos", -3, Flags::READONLY, Group::List).keys(&[KeySpec::one(1, RO_ACCESS)]).doc(
        "6.0.6",
        "O(N) where N is the number of elements looked at: the whole list at worst, MAXLEN of them at most.",
        "Returns at which indexes of a list an element is.",
    ),
    lpos,
);

fn lpos(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let (mut rank, mut count, mut max_len) = (1, None, 0);
    let mut options = args[3..].chunks_exact(2);
    for option in &mut options {
        let value = option[1];
        if options::is(option[0], "rank") {
            rank = options::int_in(value, -i64::MAX, i64::MAX, None)?;
            if rank == 0 {
                return Err(Error::new(
                    "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... \
                     or use negative to start from the end of the list",
                ));
            }
        } else if options::is(option[0], "count") {
            count = Some(options::int_in(value, 0, i64::MAX, Some("ERR COUNT can't be negative"))? as usize);
        } else if options::is(option[0], "maxlen") {
            max_len = options::int_in(value, 0, i64::MAX, Some("ERR MAXLEN can't be negative"))? as usize;
        } else {
            return Err(Error::SYNTAX);
        }
    }
    if !options.remainder().is_empty() {
        return Err(Error::SYNTAX);
    }
    let Some(list) = cx.db.list_read(args[1])? else {
        if count.is_some() {
            cx.out.array(0)
        } else {
            cx.out.null()
        }
        return Ok(());
    };

    let forward = rank > 0;
    let len = list.len();
    let needle = Needle::new(args[2]);
    // Matches still to pass over, indexes still to return, elements still to look at.
    let mut skip = rank.unsigned_abs() - 1;
    let wanted = match count {
        None => 1,
        Some(0) => usize::MAX,
        Some(n) => n,
    };
    let budget = if max_len == 0 { len } else { max_len.min(len) };
    let mut found = Vec::new();
    let mut seen = 0;
    if budget > 0 {
        list.for_each_from(if forward { 0 } else { len - 1 }, forward, |e| {
            if needle.is(e) {
                if skip > 0 {
                    skip -= 1;
                } else {
                    found.push(if forward { seen } else { len - 1 - seen });
                }
            }
            seen += 1;
            if seen == budget || found.len() == wanted { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
    }
    match (count, found.first()) {
        (None, Some(i)) => cx.out.len_int(*i),
        (None, None) => cx.out.null(),
        (Some(_), _) => {
            cx.out.array(found.len());
            found.into_iter().for_each(|i| cx.out.len_int(i));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Bench;

    #[test]
    fn matches_are_counted_from_the_end_that_rank_names() {
        let mut b = Bench::new();
        b.run("rpush k a b c 1 2 3 c c");
        assert_eq!(b.run("lpos k c"), ":2");
        assert_eq!(b.run("lpos k c rank -1"), ":7");
        assert_eq!(b.run("lpos k c rank 2 count 0"), "*2 :6 :7");
        assert_eq!(b.run("lpos k c rank -1 count 2"), "*2 :7 :6");
        assert_eq!(b.run("lpos k c maxlen 2"), "$-1");
        assert_eq!(b.run("lpos k c count 0 maxlen 3"), "*1 :2");
        assert_eq!((b.run("lpos none c"), b.run("lpos none c count 1")), ("$-1".into(), "*0".into()));
        assert!(b.run("lpos k c rank 0").starts_with("-ERR RANK can't be zero: use 1"));
        assert_eq!(b.run("lpos k c count -1"), "-ERR COUNT can't be negative");
        assert_eq!(b.run("lpos k c maxlen -1"), "-ERR MAXLEN can't be negative");
        assert_eq!(b.run("lpos k c count"), "-ERR syntax error");
        assert!(b.run("lpos k c rank -9223372036854775808").starts_with("-ERR value is out of range"));
    }
}
