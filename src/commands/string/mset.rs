//! MGET, MSET, MSETNX, MSETEX.

use super::super::collections::{OW_UPDATE, RO_ACCESS};
use super::super::{CmdResult, Command, Ctx, options};
use super::reply_entry;
use super::set::{Expiry, Options, When};
use crate::keyspace::{Ttl, notify};
use crate::resp::Error;
use crate::spec::{Begin, Find, Flags, Group, KeyFlags, KeySpec, Meta};

/// `MGET key [key ...]` <https://valkey.io/commands/mget/>
pub static MGET: Command = Command::new(
    Meta::new("mget", -2, Flags::READONLY.or(Flags::FAST), Group::String)
        .keys(const { &[KeySpec::range(1, -1, 1, RO_ACCESS)] })
        .doc("1.0.0", "O(N) where N is the number of keys.", "Returns the strings at several keys.")
        .tips(&["request_policy:multi_shard"]),
    mget,
);
/// `MSET key value [key value ...]` <https://valkey.io/commands/mset/>
pub static MSET: Command = Command::new(
    Meta::new("mset", -3, Flags::WRITE.or(Flags::DENYOOM), Group::String)
        .keys(const { &[KeySpec::range(1, -1, 2, OW_UPDATE)] })
        .doc("1.0.1", "O(N) where N is the number of keys.", "Stores strings at several keys as one.")
        .tips(&["request_policy:multi_shard", "response_policy:all_succeeded"]),
    |cx, args| mset(cx, args, false),
);
/// `MSETNX key value [key value ...]` <https://valkey.io/commands/msetnx/>
pub static MSETNX: Command = Command::new(
    Meta::new("msetnx", -3, Flags::WRITE.or(Flags::DENYOOM), Group::String)
        .keys(const { &[KeySpec::range(1, -1, 2, KeyFlags::OW.or(KeyFlags::INSERT))] })
        .doc("1.0.1", "O(N) where N is the number of keys.", "Stores strings at several keys if none of them exists."),
    |cx, args| mset(cx, args, true),
);
/// `MSETEX numkeys key value [key value ...] [NX | XX] [EX s | PX ms | EXAT s | PXAT ms | KEEPTTL]`
/// <https://valkey.io/commands/msetex/>
pub static MSETEX: Command =
    Command::new(
        Meta::new("msetex", -4, Flags::WRITE.or(Flags::DENYOOM).or(Flags::MOVABLEKEYS), Group::String)
            .keys(
                const {
                    &[KeySpec {
                        begin: Begin::Index(1),
                        find: Find::Count { at: 0, first: 1, step: 2 },
                        flags: OW_UPDATE,
                    }]
                },
            )
            .doc(
                "9.1.0",
                "O(N) where N is the number of keys.",
                "Stores strings at several keys as one, all with the same expiry.",
            ),
        msetex,
    );

fn mget(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    cx.out.array(args.len() - 1);
    for key in &args[1..] {
        match cx.db.read(key) {
            Some(e) if e.text().is_some() => reply_entry(cx.out, e)?,
            _ => cx.out.null(),
        }
    }
    Ok(())
}

fn mset(cx: &mut Ctx<'_>, args: &[&[u8]], only_new: bool) -> CmdResult {
    let pairs = &args[1..];
    if !pairs.len().is_multiple_of(2) {
        return Err(cx.arity());
    }
    if only_new && pairs.iter().step_by(2).any(|key| cx.db.read(key).is_some()) {
        cx.out.int(0);
        return Ok(());
    }
    store_all(cx, pairs, Ttl::Clear);
    if only_new {
        cx.out.int(1)
    } else {
        cx.out.ok()
    }
    Ok(())
}

fn store_all(cx: &mut Ctx<'_>, pairs: &[&[u8]], ttl: Ttl) {
    for pair in pairs.chunks_exact(2) {
        cx.db.set_text(pair[0], pair[1], ttl);
        cx.db.notify(notify::STRING, "set", pair[0]);
        if let Ttl::At(_) = ttl {
            cx.db.notify(notify::GENERIC, "expire", pair[0]);
        }
        cx.db.modified(pair[0], 1);
    }
}

fn msetex(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    const COUNT: &str = "ERR invalid numkeys value";
    let n = options::int_in(args[1], 1, i64::from(i32::MAX), Some(COUNT))? as usize;
    let pairs = args.get(2..2 + n * 2).ok_or(Error::arity("msetex"))?;
    let o = Options::parse(cx, &args[2 + n * 2..], Options::MSETEX)?;
    let stores = match o.when {
        When::Missing => !pairs.iter().step_by(2).any(|key| cx.db.read(key).is_some()),
        When::There => pairs.iter().step_by(2).all(|key| cx.db.read(key).is_some()),
        When::Always | When::Equal(_) => true,
    };
    if stores {
        let ttl = match o.expiry {
            Expiry::At(at) => Ttl::At(at),
            Expiry::Keep => Ttl::Keep,
            Expiry::None | Expiry::Persist => Ttl::Clear,
        };
        store_all(cx, pairs, ttl);
        if let Ttl::At(at) = ttl
            && o.absolute.is_none()
        {
            let mut argv = args[..2 + n * 2].to_vec();
            let mut digits = itoa::Buffer::new();
            argv.extend([b"PXAT".as_slice(), digits.format(at).as_bytes()]);
            cx.db.effect(&argv);
        }
    }
    cx.out.int(i64::from(stores));
    Ok(())
}
