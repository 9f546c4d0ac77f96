//! FUNCTION: libraries of functions.

use crate::base::glob;
use crate::commands::gate::bits;
use crate::commands::generic::dump as payload;
use crate::commands::options::is;
use crate::commands::{CmdResult, Command, Ctx, Scope, help};
use crate::persist::rdb;
use crate::resp::{Error, Out};
use crate::script::library::ENGINE;
use crate::script::running::BUSY_SCRIPT;
use crate::script::{Libraries, Library, Policy, ScriptFlags};
use crate::spec::{Flags, Group, Meta};

/// <https://valkey.io/commands/function/>
pub static FUNCTION: Command = Command::container(
    meta("function", -2, Flags::NONE, "A container for function commands."),
    &[&DELETE, &DUMP, &FLUSH, &HELP, &KILL, &LIST, &LOAD, &RESTORE, &STATS],
);

const WRITES: Flags = Flags::WRITE.or(Flags::NOSCRIPT);

const fn meta(name: &'static str, arity: i16, flags: Flags, summary: &'static str) -> Meta {
    Meta::new(name, arity, flags, Group::Scripting).doc("7.0.0", "O(1)", summary)
}

/// A change of the libraries goes the way of every write, and is there once it is in the log: no snapshot is taken in
/// between.
const fn change(meta: Meta, run: crate::commands::Handler) -> Command {
    Command::new(meta.tips(&["request_policy:all_shards", "response_policy:all_succeeded"]), run).scope(Scope::All)
}

/// A change that is prepared without locks: `run` takes them by [`settle`] once it is to take effect.
const fn prepared(meta: Meta, run: crate::commands::Handler) -> Command {
    Command::new(meta.tips(&["request_policy:all_shards", "response_policy:all_succeeded"]), run).scope(Scope::Own)
}

/// Takes all locks, unless a transaction has them, and looks again at what may have changed meanwhile. They are held until
/// the command is in the log.
fn settle(cx: &mut Ctx<'_>) -> CmdResult {
    if cx.db.held().has_all() {
        return Ok(());
    }
    if !cx.db.held().lock_all() {
        return Err(cx.server.running.refusal());
    }
    cx.db.fx.logging = cx.db.keyspace().hooks.logging();
    let is_replica = cx.server.gate.has(bits::REPLICA);
    if cx.session.primary && !is_replica {
        return Err(Error::new("ERR this node does not follow a primary any more"));
    }
    if is_replica && !cx.session.internal && cx.server.config.replica_read_only() {
        return Err(Error::READONLY);
    }
    Ok(())
}

static DELETE: Command =
    change(meta("function|delete", 3, WRITES, "Deletes a library and its functions."), |cx, args| {
        if !cx.server.libraries.delete(args[2]) {
            return Err(Error::new("ERR Library not found"));
        }
        cx.db.changed();
        cx.out.ok();
        Ok(())
    });

static DUMP: Command = Command::new(
    meta("function|dump", 2, Flags::NOSCRIPT, "Dumps all libraries into a serialized binary payload."),
    |cx, _| {
        cx.out.bulk(&dump(&cx.server.libraries));
        Ok(())
    },
);

/// All libraries as a payload.
pub fn dump(libraries: &Libraries) -> Vec<u8> {
    let mut w = rdb::Writer::new(false);
    for library in libraries.all() {
        w.bytes.push(rdb::opcode::FUNCTION2);
        w.string(&library.text);
    }
    payload::sealed(w.bytes, rdb::VERSION)
}

static FLUSH: Command =
    change(meta("function|flush", -2, WRITES, "Deletes all libraries and functions."), |cx, args| {
        match &args[2..] {
            [] => {}
            [how] if is(how, "SYNC") || is(how, "ASYNC") => {}
            [_] => return Err(Error::new("ERR FUNCTION FLUSH only supports SYNC|ASYNC option")),
            _ => return Err(Error::usage("FUNCTION", b"flush")),
        }
        cx.server.libraries.flush();
        cx.db.changed();
        cx.out.ok();
        Ok(())
    });

static HELP: Command = Command::new(
    meta("function|help", 2, Flags::LOADING.or(Flags::STALE), "Returns helpful text about the different subcommands."),
    |cx, _| {
        help::reply(
            cx.out,
            "FUNCTION",
            &[
                "LOAD [REPLACE] <FUNCTION CODE>",
                "    Create a new library with the given library name and code.",
                "DELETE <LIBRARY NAME>",
                "    Delete the given library.",
                "LIST [LIBRARYNAME PATTERN] [WITHCODE]",
                "    Return general information on all the libraries:",
                "    * Library name",
                "    * The engine used to run the Library",
                "    * Functions list",
                "    * Library code (if WITHCODE is given)",
                "    It also possible to get only function that matches a pattern using LIBRARYNAME argument.",
                "STATS",
                "    Return information about the current function running:",
                "    * Function name",
                "    * Command used to run the function",
                "    * Duration in MS that the function is running",
                "    If no function is running, return nil",
                "    In addition, returns a list of available engines.",
                "KILL",
                "    Kill the current running function.",
                "FLUSH [ASYNC|SYNC]",
                "    Delete all the libraries.",
                "    When called without the optional mode argument, the behavior is determined by the",
                "    lazyfree-lazy-user-flush configuration directive. Valid modes are:",
                "    * ASYNC: Asynchronously flush the libraries.",
                "    * SYNC: Synchronously flush the libraries.",
                "DUMP",
                "    Return a serialized payload representing the current libraries, can be restored using FUNCTION \
                 RESTORE command",
                "RESTORE <PAYLOAD> [FLUSH|APPEND|REPLACE]",
                "    Restore the libraries represented by the given payload, it is possible to give a restore policy to",
                "    control how to handle existing libraries (default APPEND):",
                "    * FLUSH: delete all existing libraries.",
                "    * APPEND: appends the restored libraries to the existing libraries. On collision, abort.",
                "    * REPLACE: appends the restored libraries to the existing libraries, On collision, replace the old",
                "      libraries with the new libraries (notice that even on this option there is a chance of failure",
                "      in case of functions name collision with another library).",
            ],
        );
        Ok(())
    },
);

static KILL: Command = Command::new(
    meta("function|kill", 2, Flags::NOSCRIPT.or(Flags::ALLOW_BUSY), "Terminates a function during execution.")
        .tips(&["request_policy:all_shards", "response_policy:one_succeeded"]),
    |cx, _| {
        cx.server.running.kill(false)?;
        cx.out.ok();
        Ok(())
    },
);

static LIST: Command = Command::new(
    meta("function|list", -2, Flags::NOSCRIPT, "Returns information about all libraries.")
        .tips(&["nondeterministic_output_order"]),
    list,
);

fn list(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let (mut pattern, mut with_code) = (None, false);
    let mut rest = args[2..].iter();
    while let Some(arg) = rest.next() {
        if !with_code && is(arg, "WITHCODE") {
            with_code = true;
        } else if pattern.is_none() && is(arg, "LIBRARYNAME") {
            pattern = Some(*rest.next().ok_or(Error::new("ERR library name argument was not given"))?);
        } else {
            return Err(Error::general(&[b"Unknown argument ", *arg].concat()));
        }
    }
    let libraries = cx.server.libraries.all();
    let wanted = |l: &Library| pattern.is_none_or(|p| glob::matches(p, &l.name, true));
    let found: Vec<_> = libraries.iter().filter(|l| wanted(l)).collect();
    cx.out.array(found.len());
    for library in found {
        describe(cx.out, library, with_code);
    }
    Ok(())
}

fn describe(out: &mut Out, library: &Library, with_code: bool) {
    out.map(if with_code { 4 } else { 3 });
    out.bulk(b"library_name");
    out.bulk(&library.name);
    out.bulk(b"engine");
    out.bulk(ENGINE.as_bytes());
    out.bulk(b"functions");
    out.array(library.functions.len());
    for f in &library.functions {
        out.map(3);
        out.bulk(b"name");
        out.bulk(&f.name);
        out.bulk(b"description");
        out.bulk_or_null(f.description.as_deref());
        out.bulk(b"flags");
        let flags = ScriptFlags::NAMED.iter().filter(|(flag, _)| f.flags.has(*flag));
        out.set(flags.clone().count());
        flags.for_each(|(_, name)| out.simple(name));
    }
    if with_code {
        out.bulk(b"library_code");
        out.bulk(&library.text);
    }
}

// Its code runs for half a second at the most, which nobody else is to wait for.
static LOAD: Command =
    prepared(meta("function|load", -3, WRITES.or(Flags::DENYOOM), "Creates a library."), |cx, args| {
        let Some((code, options)) = args[2..].split_last() else { return Err(cx.arity()) };
        let mut replace = false;
        for option in options {
            if !is(option, "REPLACE") {
                return Err(Error::general(&[b"Unknown option given: ", *option].concat()));
            }
            replace = true;
        }
        let library = Library::examine(code, !cx.session.internal).map_err(|e| Error::general(&e))?;
        let name = library.name.clone();
        settle(cx)?;
        cx.server.libraries.add(library, replace).map_err(|e| Error::general(&e))?;
        cx.db.changed();
        cx.out.bulk(&name);
        Ok(())
    });

static RESTORE: Command = prepared(
    meta("function|restore", -3, WRITES.or(Flags::DENYOOM), "Restores all libraries from a payload."),
    |cx, args| {
        let policy = match args {
            [_, _, _] => Policy::Append,
            [_, _, _, how] if is(how, "APPEND") => Policy::Append,
            [_, _, _, how] if is(how, "REPLACE") => Policy::Replace,
            [_, _, _, how] if is(how, "FLUSH") => Policy::Flush,
            [_, _, _, _] => {
                return Err(Error::new(
                    "ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.",
                ));
            }
            _ => return Err(Error::usage("FUNCTION", b"restore")),
        };
        let found = libraries_of(args[2], !cx.session.internal)?;
        settle(cx)?;
        cx.server.libraries.restore(found, policy).map_err(|e| Error::general(&e))?;
        cx.db.changed();
        cx.out.ok();
        Ok(())
    },
);

/// The libraries of a payload; `bounded` in the time that their code may take.
fn libraries_of(text: &[u8], bounded: bool) -> Result<Vec<Library>, Error> {
    let bad = || Error::general(b"DUMP payload version or checksum are wrong");
    let body = payload::body(text, false).ok_or_else(bad)?;
    let mut r = rdb::Reader::new(body);
    let mut found = Vec::new();
    while !r.rest().is_empty() {
        let failed = || Error::general(b"failed loading the given functions payload");
        match r.byte().map_err(|_| Error::general(b"can not read data type"))? {
            rdb::opcode::FUNCTION2 => {}
            rdb::opcode::FUNCTION_PRE_GA => return Err(Error::general(b"Pre-GA function format not supported")),
            _ => return Err(Error::general(b"given type is not a function")),
        }
        let text = r.string().map_err(|_| failed())?;
        found.push(Library::examine(&text, bounded).map_err(|e| Error::general(&e))?);
    }
    Ok(found)
}

static STATS: Command = Command::new(
    meta(
        "function|stats",
        2,
        Flags::NOSCRIPT.or(Flags::ALLOW_BUSY),
        "Returns information about a function during execution.",
    )
    .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"]),
    |cx, _| {
        let run = cx.server.running.first();
        if run.as_ref().is_some_and(|r| r.eval) {
            return Err(BUSY_SCRIPT);
        }
        let (libraries, functions) = cx.server.libraries.count();
        let out = &mut *cx.out;
        out.map(2);
        out.bulk(b"running_script");
        match run {
            None => out.null(),
            Some(run) => {
                out.map(3);
                out.bulk(b"name");
                out.bulk(run.name.as_bytes());
                out.bulk(b"command");
                out.array(run.argv.len());
                run.argv.iter().for_each(|a| out.bulk(a));
                out.bulk(b"duration_ms");
                out.int(run.duration_ms() as i64);
            }
        }
        out.bulk(b"engines");
        out.map(1);
        out.bulk(ENGINE.as_bytes());
        out.map(2);
        out.bulk(b"libraries_count");
        out.len_int(libraries);
        out.bulk(b"functions_count");
        out.len_int(functions);
        Ok(())
    },
);
