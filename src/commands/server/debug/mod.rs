//! DEBUG: look into the server and make it misbehave, for tests. Off unless `enable-debug-command` allows it.
//!
//! It has no subcommand table (COMMAND shows none either), so it dispatches by itself, and takes its locks by what it
//! is asked to do.

mod digest;
mod keys;
mod persistence;
mod protocol;
pub mod switches;

use std::ffi::CString;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::config::allowed;
use crate::base::{alloc, clock, glob, num, os};
use crate::cluster::core::Direction;
use crate::commands::options::{int, is};
use crate::commands::{CmdResult, Command, Ctx, Scope, help};
use crate::config::kind::parse_memory;
use crate::resp::Error;
use crate::spec::{Flags, Group, Meta};

/// <https://valkey.io/commands/debug/>
pub static DEBUG: Command =
    Command::new(
        Meta::new("debug", -2, Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::LOADING).or(Flags::STALE), Group::Server)
            .doc("1.0.0", "Depends on subcommand.", "A container for debugging commands."),
        debug,
    )
    .scope(Scope::Dynamic(scope));

/// What looks at data does so with the world stopped; DEBUG SLEEP stops it for everybody, as it would a server of one
/// thread; POPULATE locks as it goes.
fn scope(args: &[&[u8]]) -> Scope {
    const WHOLE: [&str; 8] =
        ["digest", "digest-value", "object", "listpack", "quicklist", "htstats", "htstats-key", "sleep"];
    match args.get(1) {
        Some(what) if WHOLE.iter().any(|name| is(what, name)) => Scope::All,
        Some(what) if is(what, "populate") => Scope::Own,
        _ => Scope::None,
    }
}

fn debug(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    if !allowed(cx, cx.config().enable_debug_command()) {
        return Err(Error::new(
            "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it \
             from a local connection, otherwise you need to set this option in the configuration file, and then \
             restart the server.",
        ));
    }
    let name = args[1].to_ascii_lowercase();
    match (name.as_slice(), &args[2..]) {
        (b"help", []) => help::reply(cx.out, "DEBUG", HELP),
        (b"sleep", [seconds]) => sleep(cx, seconds)?,
        (b"object", [key] | [key, _]) => keys::object(cx, key, args.get(3).is_some_and(|fast| is(fast, "fast")))?,
        (b"listpack", [key]) => keys::listpack(cx, key)?,
        (b"quicklist", [key] | [key, _]) => keys::quicklist(cx, key)?,
        (b"htstats", [db] | [db, _]) => keys::htstats(cx, db)?,
        (b"htstats-key", [key] | [key, _]) => keys::htstats_key(cx, key)?,
        (b"populate", [count, more @ ..]) if more.len() <= 2 => keys::populate(cx, count, more)?,
        (b"digest", []) => digest::dataset(cx),
        (b"clusterlink", [what, way, node]) if is(what, "kill") => kill_links(cx, way, node)?,
        (b"digest-value", wanted) => digest::values(cx, wanted),
        (b"protocol", [what]) => protocol::reply(cx, what)?,
        (b"error", [text]) => return Err(Error::owned(*text)),
        (b"log", [text]) => {
            tracing::warn!("DEBUG LOG: {}", String::from_utf8_lossy(text));
            cx.out.ok();
        }
        (b"stringmatch-len", [pattern, text]) => cx.out.int(i64::from(glob::matches(pattern, text, false))),
        (b"change-repl-id", []) => {
            tracing::info!("Changing replication IDs after receiving DEBUG change-repl-id");
            cx.server.repl.new_history();
            cx.out.ok();
        }
        (b"config-rewrite-force-all", []) => {
            cx.config().rewrite().map_err(|why| Error::owned(format!("ERR CONFIG-REWRITE-FORCE-ALL failed: {why}")))?;
            cx.out.ok();
        }
        (b"replicate", argv @ [_, ..]) => {
            cx.db.share(argv);
            cx.out.ok();
        }
        (b"panic", []) => end_by_panic("DEBUG PANIC called"),
        (b"assert", []) => end_by_panic("ASSERTION FAILED: DEBUG ASSERT called"),
        (b"segfault", []) => {
            tracing::error!("DEBUG SEGFAULT: this process ends by signal 11");
            os::end_by_segfault();
        }
        (b"structsize", []) => structsize(cx),
        (b"mallctl", [name] | [name, _]) => mallctl(cx, name, args.get(3).copied())?,
        (b"mallctl-str", [name] | [name, _]) => mallctl_str(cx, name, args.get(3).copied())?,
        (b"loadaof", []) => return persistence::load_aof(cx),
        (b"reload", options) => return persistence::reload(cx, options),
        (_, values) => switch(cx, &name, values)?,
    }
    Ok(())
}

/// Subcommands that set something.
fn switch(cx: &mut Ctx<'_>, name: &[u8], values: &[&[u8]]) -> CmdResult {
    let switches = &cx.server.switches;
    // Like C's atoi: what is no number is off.
    let on = |value: &[u8]| num::parse_i64(value).is_some_and(|n| n != 0);
    match (name, values) {
        (b"set-active-expire", [value]) => switches.active_expire.store(on(value), Relaxed),
        (b"set-disable-deny-scripts", [value]) => switches.allow_all_in_scripts.store(on(value), Relaxed),
        (b"drop-cluster-packet-filter", [kind]) => switches.dropped_packets.store(int(kind)?, Relaxed),
        (b"close-cluster-link-on-packet-drop", [value]) => switches.close_on_drop.store(on(value), Relaxed),
        (b"delay-rdb-client-free-seconds", [value]) => switches.rdb_client_grace.store(int(value)?, Relaxed),
        (b"pause-after-fork", [_]) => {
            return Err(Error::new("ERR Nothing is forked here: who stopped would send the snapshot no more"));
        }
        (b"pause-cron", [value]) => switches.pause_cron.store(on(value), Relaxed),
        (b"aof-flush-sleep", [us]) => {
            let us = u64::try_from(int(us)?).map_err(|_| Error::NOT_INT)?;
            switches.aof_delay_us.store(us, Relaxed);
            if let Some(writer) = cx.server.aof.writer() {
                writer.set_delay(us);
            }
        }
        (b"quicklist-packed-threshold", [size]) => {
            let size = parse_memory(size)
                .filter(|size| *size < 4 << 30)
                .ok_or(Error::new("ERR argument must be a memory value bigger than 1 and smaller than 4gb"))?;
            switches.packed_threshold.store(size as usize, Relaxed);
        }
        (b"replybuffer", [what, value]) if is(what, "peak-reset-time") => {
            let ms = match () {
                () if is(value, "never") => -1,
                () if is(value, "reset") => switches::PEAK_RESET_MS,
                () => int(value)?,
            };
            switches.reply_peak_reset_ms.store(ms, Relaxed);
        }
        (b"replybuffer", [what, value]) if is(what, "resizing") => {
            switches.reply_resizing.store(on(value), Relaxed);
        }
        (b"set-skip-checksum-validation", [value]) => switches.skip_checksum.store(on(value), Relaxed),
        // Tables grow as they are used; tests that set this lose nothing.
        (b"dict-resizing", [_]) => {}
        _ => return Err(Error::subcommand("debug", name)),
    }
    cx.out.ok();
    Ok(())
}

/// Closes the links of the cluster bus to a node, from it, or both.
fn kill_links(cx: &mut Ctx<'_>, way: &[u8], node: &[u8]) -> CmdResult {
    let direction = match () {
        () if is(way, "to") => Direction::To,
        () if is(way, "from") => Direction::From,
        () if is(way, "all") => Direction::All,
        () => return Err(Error::general(&[b"Unknown direction ", way].concat())),
    };
    let Some(mut core) = cx.server.cluster.core() else {
        return Err(Error::new("ERR Debug option only available for cluster mode enabled setup!"));
    };
    let killed = core.kill_links(clock::steady_ms(), direction, node);
    drop(core);
    cx.server.cluster.ring();
    killed.map_err(Error::owned)?;
    cx.out.ok();
    Ok(())
}

/// Hold this worker, and with it every lock, for a time.
fn sleep(cx: &mut Ctx<'_>, seconds: &[u8]) -> CmdResult {
    let seconds = num::parse_f64(seconds).filter(|s| (0.0..86_400.0).contains(s)).unwrap_or(0.0);
    // Nobody notifies: the wait ends when its time is over.
    let (lock, never) = (parking_lot::Mutex::new(()), parking_lot::Condvar::new());
    never.wait_for(&mut lock.lock(), Duration::from_secs_f64(seconds));
    cx.out.ok();
    Ok(())
}

fn system_error(number: i32) -> Error {
    let text = std::io::Error::from_raw_os_error(number).to_string();
    Error::owned(format!("ERR {}", text.split(" (os error").next().unwrap_or(&text)))
}

/// A number of the allocator's: as it is, and then as it is to be.
fn mallctl(cx: &mut Ctx<'_>, name: &[u8], new: Option<&[u8]>) -> CmdResult {
    let new = new.map(int).transpose()?;
    let name = CString::new(name).map_err(|_| system_error(libc::ENOENT))?;
    match alloc::control_number(&name, new).map_err(system_error)? {
        Some(n) => cx.out.int(n),
        None => cx.out.ok(),
    }
    Ok(())
}

/// An action of the allocator's (`VOID`), or its version: other texts are pointers that nobody can check.
fn mallctl_str(cx: &mut Ctx<'_>, name: &[u8], new: Option<&[u8]>) -> CmdResult {
    match new {
        None if name == b"version" => cx.out.bulk(alloc::version().as_bytes()),
        Some(b"VOID") => {
            let name = CString::new(name).map_err(|_| system_error(libc::ENOENT))?;
            alloc::control_action(&name).map_err(system_error)?;
            cx.out.ok();
        }
        _ => return Err(Error::new("ERR Only version can be read, and only VOID be given")),
    }
    Ok(())
}

/// Ends the process as a panic does, also in builds where that would end a thread only.
fn end_by_panic(why: &'static str) -> ! {
    let _ = std::panic::catch_unwind(|| panic!("{why}"));
    std::process::abort()
}

fn structsize(cx: &mut Ctx<'_>) {
    let client = size_of::<crate::clients::Client>();
    let session = size_of::<crate::clients::Session>();
    let out = size_of::<crate::resp::Out>();
    cx.out.bulk(format!("bits:{} client:{client} session:{session} out:{out}", usize::BITS).as_bytes());
}

const HELP: &[&str] = &[
    "AOF-FLUSH-SLEEP <microsec>",
    "    Wait before each write to the append-only file, as if the disk were slow.",
    "ASSERT",
    "    End the process as a failed assertion does, with a report in the log.",
    "CHANGE-REPL-ID",
    "    Change the replication IDs of the instance.",
    "CLOSE-CLUSTER-LINK-ON-PACKET-DROP <0|1>",
    "    Close the link of the cluster bus over which a dropped packet came.",
    "CLUSTERLINK KILL <TO|FROM|ALL> <node-id>",
    "    Close the links of the cluster bus with a node.",
    "CONFIG-REWRITE-FORCE-ALL",
    "    Like CONFIG REWRITE.",
    "DELAY-RDB-CLIENT-FREE-SECONDS <seconds>",
    "    How long the log is kept for a replica that has its snapshot and has not asked for the log over its main channel.",
    "DIGEST",
    "    Output a hex signature representing the current DB content.",
    "DIGEST-VALUE <key> [<key> ...]",
    "    Output a hex signature of the values of all the specified keys.",
    "DROP-CLUSTER-PACKET-FILTER <packet-type>",
    "    Drop packets of the cluster bus of this type; -1 for none.",
    "ERROR <string>",
    "    Return a RESP protocol error with <string> as message.",
    "HTSTATS <dbid> [full]",
    "    Return hash table statistics of the specified database.",
    "HTSTATS-KEY <key> [full]",
    "    Like HTSTATS but for the hash table stored at <key>'s value.",
    "LISTPACK <key>",
    "    Show the entries of the listpack encoding of <key>.",
    "LOG <message>",
    "    Write <message> to the server log.",
    "LOADAOF",
    "    Replace the data by what the append-only file has.",
    "MALLCTL <key> [<val>]",
    "    Show a number of the allocator's, and set it.",
    "MALLCTL-STR <key> [VOID]",
    "    Show the allocator's version, or carry out an action of it.",
    "OBJECT <key> [fast]",
    "    Show low level info about `key` and associated value.",
    "PANIC",
    "    End the process as an error of the program does, with a report in the log.",
    "PAUSE-CRON <0|1>",
    "    Stop periodic background work.",
    "POPULATE <count> [<prefix>] [<size>]",
    "    Create <count> string keys named key:<num>. If <prefix> is specified then",
    "    it is used instead of the 'key' prefix.",
    "PROTOCOL <type>",
    "    Reply with a test value of the specified type. <type> can be: string,",
    "    integer, double, bignum, null, array, set, map, attrib, push, verbatim,",
    "    true, false.",
    "QUICKLIST <key>",
    "    Show the nodes of the quicklist encoding of <key>.",
    "QUICKLIST-PACKED-THRESHOLD <size>",
    "    Sets the threshold for elements to be inserted as plain vs packed nodes.",
    "    Setting to 0 restores to default.",
    "RELOAD [option ...]",
    "    Save the data to disk and load them again. Options: MERGE (keys of the file",
    "    replace those that are there), NOFLUSH (what is there stays), NOSAVE.",
    "REPLICATE <command> [<arg> ...]",
    "    Send a command to the replicas that is not executed here.",
    "REPLYBUFFER PEAK-RESET-TIME <NEVER|RESET|time>",
    "    Sets the time (in milliseconds) to wait between client reply buffer peak resets.",
    "REPLYBUFFER RESIZING <0|1>",
    "    Enable or disable the shrinking of reply buffers.",
    "SEGFAULT",
    "    End the process by SIGSEGV.",
    "SET-DISABLE-DENY-SCRIPTS <0|1>",
    "    Let scripts call the commands that they may not call.",
    "SET-SKIP-CHECKSUM-VALIDATION <0|1>",
    "    Let RESTORE take payloads whose checksum is wrong.",
    "SET-ACTIVE-EXPIRE <0|1>",
    "    Setting it to 0 disables expiring keys in background when they are not",
    "    accessed. Setting it to 1 reenables it.",
    "SLEEP <seconds>",
    "    Stop the server for <seconds>. Decimals allowed.",
    "STRINGMATCH-LEN <pattern> <string>",
    "    Return 1 if <string> matches the glob <pattern>.",
    "STRUCTSIZE",
    "    Return the size of different structures.",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_are_taken_by_what_is_asked() {
        assert!(matches!(scope(&[b"debug", b"DIGEST"]), Scope::All));
        assert!(matches!(scope(&[b"debug", b"Populate", b"1"]), Scope::Own));
        assert!(matches!(scope(&[b"debug", b"log", b"x"]), Scope::None));
        assert!(matches!(scope(&[b"debug"]), Scope::None));
    }
}
