//! HRANDFIELD.

use super::super::collections::{RO_ACCESS, draw, draw_count, elem};
use super::super::{CmdResult, Command, Ctx, options};
use super::now;
use crate::resp::{Error, Out};
use crate::spec::{Flags, Group, KeySpec, Meta};

/// `HRANDFIELD key [count [WITHVALUES]]`
pub static HRANDFIELD: Command = Command::new(
    Meta::new("hrandfield", -2, Flags::READONLY, Group::Hash)
        .keys(&[KeySpec::one(1, RO_ACCESS)])
        .doc(
            "6.2.0",
            "O(N) where N is the number of fields returned.",
            "Returns random fields of a hash: distinct ones for a positive count, any for a negative one.",
        )
        .tips(&["nondeterministic_output"]),
    hrandfield,
);

fn hrandfield(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let now = now(cx);
    let Some(count) = args.get(2) else {
        let hash = cx.db.hash_read(args[1])?;
        let mut shown = false;
        if let Some(hash) = hash {
            hash.random(now, |name, _| {
                elem(cx.out, name);
                shown = true;
            });
        }
        if !shown {
            cx.out.null();
        }
        return Ok(());
    };
    let count_word = *count;
    let plain = options::int_in(count_word, -i64::MAX, i64::MAX, None)?;
    let with_values = match args.get(3..) {
        Some([]) => false,
        Some([word]) if options::is(word, "withvalues") => true,
        _ => return Err(Error::SYNTAX),
    };
    let count = if with_values { draw_count(count_word, true)? } else { plain };
    let Some(hash) = cx.db.hash_read(args[1])? else {
        cx.out.array(0);
        return Ok(());
    };
    // RESP3 gives each pair an array of its own, RESP2 one flat array.
    let nested = cx.out.resp3();
    let len = hash.len(now);
    let n = if count >= 0 {
        len.min(count as usize)
    } else if len == 0 {
        0
    } else {
        count.unsigned_abs() as usize
    };
    cx.out.array(if with_values && !nested { n * 2 } else { n });
    let show = |out: &mut Out, name: crate::types::Elem<'_>, value: crate::types::Elem<'_>| {
        if with_values && nested {
            out.array(2);
        }
        elem(out, name);
        if with_values {
            elem(out, value);
        }
    };
    if count >= 0 {
        hash.sample(n, now, |name, value| show(cx.out, name, value));
    } else {
        draw(cx.server, cx.session, cx.out, n as u64, |out| hash.random(now, |name, value| show(out, name, value)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Bench;

    #[test]
    fn pairs_are_flat_in_resp2_and_nested_in_resp3() {
        let mut b = Bench::new();
        b.run("hset k a 1");
        assert_eq!(
            (b.run("hrandfield k"), b.run("hrandfield k 3"), b.run("hrandfield k 0")),
            ("$1 a".into(), "*1 $1 a".into(), "*0".into())
        );
        assert_eq!(b.run("hrandfield k -2 withvalues"), "*4 $1 a $1 1 $1 a $1 1");
        assert_eq!((b.run("hrandfield none"), b.run("hrandfield none 1")), ("$-1".into(), "*0".into()));
        assert_eq!(b.run("hrandfield k 1 what"), "-ERR syntax error");
        assert_eq!(b.run("hrandfield k 9223372036854775807 withvalues"), "-ERR value is out of range");
        assert!(b.run("hrandfield k -9223372036854775808").starts_with("-ERR value is out of range, value must"));
        b.resp3();
        assert_eq!(b.run("hrandfield k 1 withvalues"), "*1 *2 $1 a $1 1");
    }
}
