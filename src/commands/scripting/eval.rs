//! EVAL, EVALSHA, FCALL and their read-only forms. What they mean stands in `exec/script`.

use crate::base::num;
use crate::commands::{Command, Scope, ScriptKind};
use crate::spec::{Begin, Find, Flags, Group, KeyFlags, KeySpec, Meta};

const FLAGS: Flags =
    Flags::NOSCRIPT.or(Flags::STALE).or(Flags::SKIP_MONITOR).or(Flags::NO_MANDATORY_KEYS).or(Flags::MOVABLEKEYS);
const RW: KeyFlags = KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE);
const RO: KeyFlags = KeyFlags::RO.or(KeyFlags::ACCESS);

const fn keys(flags: KeyFlags) -> KeySpec {
    KeySpec { begin: Begin::Index(2), find: Find::Count { at: 0, first: 1, step: 1 }, flags }
}
const WRITES: &[KeySpec] = &[keys(RW)];
const READS: &[KeySpec] = &[keys(RO)];

/// The slots of the declared keys. Where their number makes no sense nothing will run.
fn scope(argv: &[&[u8]]) -> Scope {
    let n = argv.get(2).and_then(|n| num::parse_i64(n)).and_then(|n| usize::try_from(n).ok());
    match n {
        Some(n) if n > 0 && n <= argv.len() - 3 => Scope::Keys,
        _ => Scope::None,
    }
}

const fn command(
    name: &'static str,
    ro: bool,
    since: &'static str,
    summary: &'static str,
    kind: ScriptKind,
) -> Command {
    let flags = FLAGS.or(if ro { Flags::READONLY } else { Flags::MAY_REPLICATE });
    let meta = Meta::new(name, -3, flags, Group::Scripting).keys(if ro { READS } else { WRITES }).doc(
        since,
        "Depends on the script that is executed.",
        summary,
    );
    Command::of_script(meta, kind, Scope::Dynamic(scope))
}

/// <https://valkey.io/commands/eval/>
pub static EVAL: Command =
    command("eval", false, "2.6.0", "Executes a server-side Lua script.", ScriptKind::Text { ro: false });
/// <https://valkey.io/commands/eval_ro/>
pub static EVAL_RO: Command =
    command("eval_ro", true, "7.0.0", "Executes a read-only server-side Lua script.", ScriptKind::Text { ro: true });
/// <https://valkey.io/commands/evalsha/>
pub static EVALSHA: Command = command(
    "evalsha",
    false,
    "2.6.0",
    "Executes a server-side Lua script by its SHA1 digest.",
    ScriptKind::Hash { ro: false },
);
/// <https://valkey.io/commands/evalsha_ro/>
pub static EVALSHA_RO: Command = command(
    "evalsha_ro",
    true,
    "7.0.0",
    "Executes a read-only server-side Lua script by its SHA1 digest.",
    ScriptKind::Hash { ro: true },
);
/// <https://valkey.io/commands/fcall/>
pub static FCALL: Command = command("fcall", false, "7.0.0", "Invokes a function.", ScriptKind::Function { ro: false });
/// <https://valkey.io/commands/fcall_ro/>
pub static FCALL_RO: Command =
    command("fcall_ro", true, "7.0.0", "Invokes a read-only function.", ScriptKind::Function { ro: true });
