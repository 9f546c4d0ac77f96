//! Scripts and functions. There is no engine to run them, so there are none; clients and tools that look for them, or
//! see to it that there are none, get the answer of a server that has none.

use super::Command;
use crate::commands::options::is;
use crate::commands::{CmdResult, Ctx};
use crate::resp::Error;
use crate::spec::{Flags, Group, Meta};

/// The commands of the group.
pub const COMMANDS: &[&Command] = &[&FUNCTION, &SCRIPT];

const fn meta(name: &'static str, arity: i16, flags: Flags, since: &'static str, summary: &'static str) -> Meta {
    Meta::new(name, arity, flags, Group::Scripting).doc(since, "O(1)", summary)
}

/// <https://valkey.io/commands/function/>
static FUNCTION: Command = Command::container(
    meta("function", -2, Flags::NONE, "7.0.0", "A container for function commands."),
    &[&FUNCTION_FLUSH, &FUNCTION_LIST],
);

static FUNCTION_FLUSH: Command = Command::new(
    meta("function|flush", -2, Flags::WRITE.or(Flags::NOSCRIPT), "7.0.0", "Deletes all libraries.")
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"]),
    |cx, args| flush(cx, args, "ERR FUNCTION FLUSH only supports SYNC|ASYNC option"),
);

static FUNCTION_LIST: Command = Command::new(
    meta("function|list", -2, Flags::NOSCRIPT, "7.0.0", "Returns the libraries.")
        .tips(&["nondeterministic_output_order"]),
    |cx, _args| {
        cx.out.array(0);
        Ok(())
    },
);

/// <https://valkey.io/commands/script/>
static SCRIPT: Command = Command::container(
    meta("script", -2, Flags::NONE, "2.6.0", "A container for Lua scripts management commands."),
    &[&SCRIPT_EXISTS, &SCRIPT_FLUSH],
);

static SCRIPT_EXISTS: Command = Command::new(
    meta("script|exists", -3, Flags::NOSCRIPT, "2.6.0", "Tells which scripts are there.")
        .tips(&["request_policy:all_shards", "response_policy:agg_logical_and"]),
    |cx, args| {
        cx.out.array(args.len() - 2);
        args[2..].iter().for_each(|_| cx.out.int(0));
        Ok(())
    },
);

static SCRIPT_FLUSH: Command = Command::new(
    meta("script|flush", -2, Flags::NOSCRIPT, "2.6.0", "Deletes all scripts.")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
    |cx, args| flush(cx, args, "ERR SCRIPT FLUSH only support SYNC|ASYNC option"),
);

fn flush(cx: &mut Ctx<'_>, args: &[&[u8]], bad: &'static str) -> CmdResult {
    match &args[2..] {
        [] => {}
        [how] if is(how, "SYNC") || is(how, "ASYNC") => {}
        _ => return Err(Error::new(bad)),
    }
    cx.out.ok();
    Ok(())
}
