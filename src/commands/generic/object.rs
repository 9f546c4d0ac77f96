//! OBJECT and TYPE: what a key holds, and how.

use super::super::{CmdResult, Command, Ctx, help};
use crate::keyspace::{Text, access};
use crate::resp::Error;
use crate::spec::{Flags, Group, KeyFlags, KeySpec, Meta};

const KEY: &[KeySpec] = &[KeySpec::one(2, KeyFlags::RO)];
const ONE: &[&str] = &["nondeterministic_output"];

/// `OBJECT` <https://valkey.io/commands/object/>
pub static OBJECT: Command = Command::container(
    Meta::new("object", -2, Flags::NONE, Group::Generic).doc(
        "2.2.3",
        "Depends on subcommand.",
        "A container for the commands that look at how a value is stored.",
    ),
    &[&ENCODING, &FREQ, &HELP, &IDLETIME, &REFCOUNT],
);
static ENCODING: Command = Command::new(
    Meta::new("object|encoding", 3, Flags::READONLY, Group::Generic)
        .keys(KEY)
        .doc("2.2.3", "O(1)", "Returns the name of the encoding of a value.")
        .tips(ONE),
    |cx, args| {
        match cx.db.peek(args[2]) {
            Some(e) => cx.out.bulk(e.encoding().as_bytes()),
            None => cx.out.null(),
        }
        Ok(())
    },
);
static REFCOUNT: Command = Command::new(
    Meta::new("object|refcount", 3, Flags::READONLY, Group::Generic)
        .keys(KEY)
        .doc("2.2.3", "O(1)", "Returns the reference count of a value: 1, or a huge one for a small number.")
        .tips(ONE),
    |cx, args| {
        match cx.db.peek(args[2]) {
            // Redis shares these numbers, and clients know them by this count.
            Some(e) if matches!(e.text(), Some(Text::Int(0..10_000))) => cx.out.int(i64::from(i32::MAX)),
            Some(_) => cx.out.int(1),
            None => cx.out.null(),
        }
        Ok(())
    },
);
static IDLETIME: Command = Command::new(
    Meta::new("object|idletime", 3, Flags::READONLY, Group::Generic)
        .keys(KEY)
        .doc("2.2.3", "O(1)", "Returns the seconds since a key was accessed.")
        .tips(ONE),
    |cx, args| {
        let (lfu, now) = (cx.db.tuning().lfu, cx.db.clock);
        match cx.db.peek(args[2]) {
            None => cx.out.null(),
            Some(_) if lfu => {
                return Err(Error::new(
                    "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching \
                     between policies at runtime LRU and LFU data will take some time to adjust.",
                ));
            }
            Some(e) => cx.out.int((access::idle_ms(e.access(), now) / 1000) as i64),
        }
        Ok(())
    },
);
static FREQ: Command = Command::new(
    Meta::new("object|freq", 3, Flags::READONLY, Group::Generic)
        .keys(KEY)
        .doc("4.0.0", "O(1)", "Returns the logarithmic access frequency of a key.")
        .tips(ONE),
    |cx, args| {
        let (tuning, now) = (cx.db.tuning(), cx.db.clock);
        match cx.db.peek(args[2]) {
            None => cx.out.null(),
            Some(_) if !tuning.lfu => {
                return Err(Error::new(
                    "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when \
                     switching between policies at runtime LRU and LFU data will take some time to adjust.",
                ));
            }
            Some(e) => cx.out.int(i64::from(access::frequency(e.access(), now, &tuning))),
        }
        Ok(())
    },
);
static HELP: Command =
    Command::new(
        Meta::new("object|help", 2, Flags::LOADING.or(Flags::STALE), Group::Generic)
            .cat(crate::spec::Cat::KEYSPACE)
            .doc("6.2.0", "O(1)", "Returns a text about the subcommands."),
        |cx, _| {
            help::reply(
                cx.out,
                "OBJECT",
                &[
                    "ENCODING <key>",
                    "    Return the kind of internal representation used in order to store the value",
                    "    associated with a <key>.",
                    "FREQ <key>",
                    "    Return the access frequency index of the <key>. The returned integer is",
                    "    proportional to the logarithm of the recent access frequency of the key.",
                    "IDLETIME <key>",
                    "    Return the idle time of the <key>, that is the approximated number of",
                    "    seconds elapsed since the last access to the key.",
                    "REFCOUNT <key>",
                    "    Return the number of references of the value associated with the specified",
                    "    <key>.",
                ],
            );
            Ok(())
        },
    );

/// `TYPE key` <https://valkey.io/commands/type/>
pub static TYPE: Command = Command::new(
    Meta::new("type", 2, Flags::READONLY.or(Flags::FAST), Group::Generic)
        .keys(const { &[KeySpec::one(1, KeyFlags::RO)] })
        .doc("1.0.0", "O(1)", "Returns the type of the value at a key."),
    kind,
);

fn kind(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let no_touch = std::mem::replace(&mut cx.db.no_touch, true);
    let name = cx.db.read(args[1]).map_or("none", |e| e.kind().name());
    cx.db.no_touch = no_touch;
    cx.out.simple(name);
    Ok(())
}
