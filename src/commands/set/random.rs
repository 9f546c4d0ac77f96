//! SPOP and SRANDMEMBER.

use super::super::collections::{RO_ACCESS, RW_ACCESS_DELETE, draw, draw_count, elem, limits};
use super::super::{CmdResult, Command, Ctx, options};
use crate::keyspace::notify;
use crate::resp::Error;
use crate::spec::{Flags, Group, KeySpec, Meta};
use crate::types::Set;

/// `SPOP key [count]`
pub static SPOP: Command = Command::new(
    Meta::new("spop", -2, Flags::WRITE.or(Flags::FAST), Group::Set)
        .keys(&[KeySpec::one(1, RW_ACCESS_DELETE)])
        .doc(
            "1.0.0",
            "O(1) without a count, else O(N) where N is the count.",
            "Removes random members from a set and returns them.",
        )
        .tips(&["nondeterministic_output"]),
    |cx, args| match args {
        [_, key] => spop(cx, key),
        [_, key, count] => spop_count(cx, key, count),
        _ => Err(Error::SYNTAX),
    },
);
/// `SRANDMEMBER key [count]`
pub static SRANDMEMBER: Command = Command::new(
    Meta::new("srandmember", -2, Flags::READONLY, Group::Set)
        .keys(&[KeySpec::one(1, RO_ACCESS)])
        .doc(
            "1.0.0",
            "O(1) without a count, else O(N) where N is the count.",
            "Returns random members of a set: distinct ones for a positive count, any for a negative one.",
        )
        .tips(&["nondeterministic_output"]),
    srandmember,
);

/// How many members one logged SREM takes at most.
const BATCH: usize = 1024;

fn spop(cx: &mut Ctx<'_>, key: &[u8]) -> CmdResult {
    let Some(set) = cx.db.set_write(key)? else {
        cx.out.null();
        return Ok(());
    };
    let popped = set.pop();
    let emptied = set.is_empty();
    let Some(member) = popped else {
        cx.out.null();
        return Ok(());
    };
    cx.out.bulk(&member);
    cx.db.notify(notify::SET, "spop", key);
    cx.db.effect(&[b"SREM", key, &member]);
    if emptied {
        cx.db.remove_if_empty(key);
    }
    cx.db.modified(key, 1);
    Ok(())
}

fn spop_count(cx: &mut Ctx<'_>, key: &[u8], count: &[u8]) -> CmdResult {
    let count = options::positive(count)? as usize;
    let limits = limits(cx.server);
    let Some(set) = cx.db.set_write(key)? else {
        cx.out.set(0);
        return Ok(());
    };
    let len = set.len();
    if count == 0 || len == 0 {
        cx.out.set(0);
        return Ok(());
    }
    if count >= len {
        cx.out.set(len);
        set.for_each(|e| elem(cx.out, e));
        cx.db.notify(notify::SET, "spop", key);
        let lazy = cx.db.tuning().lazy_server_del;
        cx.db.delete(key, lazy);
        cx.db.notify(notify::GENERIC, "del", key);
        cx.db.effect(&[if lazy { b"UNLINK" } else { b"DEL" }, key]);
        cx.db.modified(key, len as u64);
        return Ok(());
    }
    let mut popped = Vec::with_capacity(count);
    set.sample(count, |e| popped.push(e.to_vec()));
    if count > len / 2 && set.as_listpack().is_none() && set.as_intset().is_none() {
        // Most of a table goes: what stays is the smaller part to touch.
        let gone: std::collections::HashSet<&[u8]> = popped.iter().map(Vec::as_slice).collect();
        let mut rest: Option<Set> = None;
        set.for_each(|e| {
            let mut buf = itoa::Buffer::new();
            let member = e.as_bytes(&mut buf);
            if !gone.contains(member) {
                rest.get_or_insert_with(|| Set::for_members(member, len - count, &limits)).add(member, &limits);
            }
        });
        *set = rest.unwrap_or_default();
    } else {
        popped.iter().for_each(|m| {
            set.remove(m);
        });
    }
    cx.out.set(count);
    popped.iter().for_each(|m| cx.out.bulk(m));
    cx.db.notify(notify::SET, "spop", key);
    for batch in popped.chunks(BATCH) {
        let argv: Vec<&[u8]> = [&b"SREM"[..], key].into_iter().chain(batch.iter().map(Vec::as_slice)).collect();
        cx.db.effect(&argv);
    }
    cx.db.modified(key, count as u64);
    Ok(())
}

fn srandmember(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let count = match args {
        [_, _] => None,
        [_, _, count] => Some(draw_count(count, false)?),
        _ => return Err(Error::SYNTAX),
    };
    let set = cx.db.set_read(args[1])?;
    let (Some(set), Some(count)) = (set, count) else {
        match (count, set.and_then(Set::random)) {
            (Some(_), _) => cx.out.array(0),
            (None, Some(e)) => elem(cx.out, e),
            (None, None) => cx.out.null(),
        }
        return Ok(());
    };
    if count >= 0 {
        let n = set.len().min(count as usize);
        cx.out.array(n);
        set.sample(n, |e| elem(cx.out, e));
    } else {
        cx.out.array(count.unsigned_abs() as usize);
        draw(cx.server, cx.session, cx.out, count.unsigned_abs(), |out| match set.random() {
            Some(e) => elem(out, e),
            None => out.null(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Bench;

    #[test]
    fn a_pop_is_logged_as_the_removal_it_was() {
        let mut b = Bench::new();
        b.run("sadd k a");
        assert_eq!(b.run("spop k"), "$1 a");
        assert_eq!((b.log.clone(), b.events.clone()), (vec!["SREM k a".into()], vec!["spop k".into(), "del k".into()]));
        assert_eq!(
            (b.run("spop k"), b.run("spop k 1"), b.run("spop k 1 2")),
            ("$-1".into(), "*0".into(), "-ERR syntax error".into())
        );
        b.run("sadd k a b");
        assert_eq!(b.run("spop k 5"), "*2 $1 a $1 b");
        assert_eq!((b.log.clone(), b.events.clone()), (vec!["UNLINK k".into()], vec!["spop k".into(), "del k".into()]));
        assert_eq!(b.run("spop k -1"), "-ERR value is out of range, must be positive");
    }

    #[test]
    fn popping_many_leaves_the_rest() {
        for (size, count) in [(100, 30), (100, 95), (3000, 10), (3000, 2950)] {
            let mut b = Bench::new();
            let members: Vec<String> = (0..size).map(|i| format!("m{i}")).collect();
            b.run(&format!("sadd k {}", members.join(" ")));
            let reply = b.run(&format!("spop k {count}"));
            let popped: std::collections::HashSet<&str> = reply.split(' ').filter(|w| w.starts_with('m')).collect();
            assert_eq!(popped.len(), count);
            let logged: usize = b.log.iter().map(|l| l.split(' ').count() - 2).sum();
            assert_eq!(logged, count);
            assert_eq!(b.run("scard k"), format!(":{}", size - count));
            let left = b.run("smembers k");
            assert!(left.split(' ').all(|w| !popped.contains(w)));
        }
    }

    #[test]
    fn a_negative_count_may_repeat() {
        let mut b = Bench::new();
        b.run("sadd k a");
        assert_eq!(
            (b.run("srandmember k"), b.run("srandmember k 3"), b.run("srandmember k -2")),
            ("$1 a".into(), "*1 $1 a".into(), "*2 $1 a $1 a".into())
        );
        assert_eq!((b.run("srandmember none"), b.run("srandmember none 2")), ("$-1".into(), "*0".into()));
        assert!(b.run("srandmember k -9223372036854775808").starts_with("-ERR value is out of range"));
    }
}
