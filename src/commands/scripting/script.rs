//! SCRIPT: the cache of scripts, and the end of one that runs.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::clients::Dialogue;
use crate::commands::options::is;
use crate::commands::{CmdResult, Command, Ctx, help};
use crate::resp::Error;
use crate::script::cache;
use crate::script::interpreters::NOSCRIPT;
use crate::spec::{Flags, Group, Meta};

/// <https://valkey.io/commands/script/>
pub static SCRIPT: Command = Command::container(
    meta("script", -2, Flags::NONE, "2.6.0", "A container for Lua scripts management commands."),
    &[&DEBUG, &EXISTS, &FLUSH, &HELP, &KILL, &LOAD, &SHOW],
);

const fn meta(name: &'static str, arity: i16, flags: Flags, since: &'static str, summary: &'static str) -> Meta {
    Meta::new(name, arity, flags, Group::Scripting).doc(since, "O(1)", summary)
}

static DEBUG: Command = Command::new(
    meta("script|debug", 3, Flags::NOSCRIPT, "3.2.0", "Sets the debug mode of server-side Lua scripts."),
    |cx, args| {
        if !cx.out.is_empty() || cx.session.client.out.load(Relaxed) > 0 {
            return Err(Error::new("ERR SCRIPT DEBUG must be called outside a pipeline"));
        }
        if is(args[2], "no") {
            cx.session.debug = None;
        } else if is(args[2], "sync") {
            cx.session.debug = Some(Arc::new(Dialogue::new(false)));
        } else if is(args[2], "yes") {
            cx.session.debug = Some(Arc::new(Dialogue::new(true)));
        } else {
            return Err(Error::new("ERR Use SCRIPT DEBUG YES/SYNC/NO"));
        }
        cx.out.ok();
        Ok(())
    },
);

static EXISTS: Command = Command::new(
    meta(
        "script|exists",
        -3,
        Flags::NOSCRIPT,
        "2.6.0",
        "Determines whether server-side Lua scripts exist in the script cache.",
    )
    .tips(&["request_policy:all_shards", "response_policy:agg_logical_and"]),
    |cx, args| {
        cx.out.array(args.len() - 2);
        for arg in &args[2..] {
            let there = cache::sha_of(arg).is_some_and(|sha| cx.server.scripts.get(&sha).is_some());
            cx.out.int(i64::from(there));
        }
        Ok(())
    },
);

static FLUSH: Command = Command::new(
    meta("script|flush", -2, Flags::NOSCRIPT, "2.6.0", "Removes all server-side Lua scripts from the script cache.")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
    |cx, args| {
        match &args[2..] {
            [] => {}
            [how] if is(how, "SYNC") || is(how, "ASYNC") => {}
            _ => return Err(Error::new("ERR SCRIPT FLUSH only support SYNC|ASYNC option")),
        }
        cx.server.scripts.flush();
        cx.out.ok();
        Ok(())
    },
);

static HELP: Command = Command::new(
    meta(
        "script|help",
        2,
        Flags::LOADING.or(Flags::STALE),
        "5.0.0",
        "Returns helpful text about the different subcommands.",
    ),
    |cx, _| {
        help::reply(
            cx.out,
            "SCRIPT",
            &[
                "DEBUG (YES|SYNC|NO)",
                "    Set the debug mode for subsequent scripts executed.",
                "EXISTS <sha1> [<sha1> ...]",
                "    Return information about the existence of the scripts in the script cache.",
                "FLUSH [ASYNC|SYNC]",
                "    Flush the Lua scripts cache. Very dangerous on replicas.",
                "    When called without the optional mode argument, the behavior is determined",
                "     by the lazyfree-lazy-user-flush configuration directive. Valid modes are:",
                "    * ASYNC: Asynchronously flush the scripts cache.",
                "    * SYNC: Synchronously flush the scripts cache.",
                "KILL",
                "    Kill the currently executing Lua script.",
                "LOAD <script>",
                "    Load a script into the scripts cache without executing it.",
                "SHOW <sha1>",
                "    Show a script from the scripts cache.",
            ],
        );
        Ok(())
    },
);

static KILL: Command = Command::new(
    meta(
        "script|kill",
        2,
        Flags::NOSCRIPT.or(Flags::ALLOW_BUSY),
        "2.6.0",
        "Terminates a server-side Lua script during execution.",
    )
    .tips(&["request_policy:all_shards", "response_policy:one_succeeded"]),
    |cx, _| {
        cx.server.running.kill(true)?;
        cx.out.ok();
        Ok(())
    },
);

static LOAD: Command = Command::new(
    meta(
        "script|load",
        3,
        Flags::NOSCRIPT.or(Flags::STALE),
        "2.6.0",
        "Loads a server-side Lua script to the script cache.",
    )
    .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
    load,
);

fn load(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let limit = cx.server.script_memory_limit();
    let sha = cx.interpreters.load(&cx.server.scripts, limit, args[2])?;
    cx.out.bulk(&sha);
    Ok(())
}

static SHOW: Command = Command::new(
    meta("script|show", 3, Flags::NOSCRIPT, "8.0.0", "Show server-side Lua script in the script cache."),
    |cx, args| {
        let script = cache::sha_of(args[2]).and_then(|sha| cx.server.scripts.get(&sha)).ok_or(NOSCRIPT)?;
        cx.out.bulk(&script.body);
        Ok(())
    },
);
