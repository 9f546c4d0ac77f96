//! The `redis` and `server` tables, and `math.random` (<https://valkey.io/topics/lua-api/>).

use smallvec::SmallVec;
use std::ffi::c_int;

use super::convert::{push_error, push_plain_error, push_reply};
use super::debugger;
use super::library;
use super::lua::{Function, Raise, Returns, Stack, Type};
use super::vm::{Called, Kind, shared};
use crate::base::num;

/// What scripts are told of the version, as major, minor and patch.
const REDIS_VERSION: [u32; 3] = [7, 2, 4];
const VALKEY_VERSION: [u32; 3] = [9, 1, 2];

/// Replacements in `math`.
pub const MATH: &[(&str, Function)] = &[("random", random), ("randomseed", randomseed)];

/// Which table to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// For scripts.
    Eval,
    /// For functions that run.
    Functions,
    /// For the code of a library that is being loaded.
    Load,
}

impl Table {
    /// The one for code that runs.
    pub fn of(kind: Kind) -> Table {
        match kind {
            Kind::Eval => Table::Eval,
            Kind::Functions => Table::Functions,
        }
    }
}

/// Functions for everything that runs.
const RUNNING: &[(&str, Function)] = &[
    ("call", call_or_raise),
    ("pcall", |s| call(s, false)),
    ("setresp", setresp),
    ("sha1hex", sha1hex),
    ("error_reply", error_reply),
    ("status_reply", status_reply),
    ("set_repl", set_repl),
    ("acl_check_cmd", acl_check_cmd),
];

/// What only scripts have: the debugger, and what is left of replication by scripts.
const EVAL: &[(&str, Function)] = &[
    ("breakpoint", debugger::breakpoint),
    ("debug", debugger::debug),
    ("replicate_commands", |s| {
        s.push_boolean(true);
        Ok(1)
    }),
];

/// Pushes the table.
pub fn push_table(s: Stack, which: Table) {
    s.new_table(0, 32);
    let mut functions = vec![("log", log as Function)];
    match which {
        Table::Eval => functions.extend(RUNNING.iter().chain(EVAL)),
        Table::Functions => functions.extend(RUNNING),
        Table::Load => functions.push(("register_function", library::register)),
    }
    for (name, f) in functions {
        s.push_function(f);
        s.set_raw_field(-2, name.as_bytes());
    }
    let mut numbers = vec![
        ("LOG_DEBUG", 0.0),
        ("LOG_VERBOSE", 1.0),
        ("LOG_NOTICE", 2.0),
        ("LOG_WARNING", 3.0),
        ("REDIS_VERSION_NUM", packed(REDIS_VERSION)),
        ("VALKEY_VERSION_NUM", packed(VALKEY_VERSION)),
        ("SERVER_VERSION_NUM", packed(VALKEY_VERSION)),
    ];
    if which != Table::Load {
        numbers.extend([
            ("REPL_NONE", 0.0),
            ("REPL_AOF", 1.0),
            ("REPL_SLAVE", 2.0),
            ("REPL_REPLICA", 2.0),
            ("REPL_ALL", 3.0),
        ]);
    }
    for (name, n) in numbers {
        s.push_number(n);
        s.set_raw_field(-2, name.as_bytes());
    }
    let dotted = |v: [u32; 3]| format!("{}.{}.{}", v[0], v[1], v[2]);
    for (name, text) in [
        ("REDIS_VERSION", dotted(REDIS_VERSION)),
        ("VALKEY_VERSION", dotted(VALKEY_VERSION)),
        ("SERVER_VERSION", dotted(VALKEY_VERSION)),
        ("SERVER_NAME", "valkey".to_owned()),
    ] {
        s.push_bytes(text.as_bytes());
        s.set_raw_field(-2, name.as_bytes());
    }
}

fn packed([major, minor, patch]: [u32; 3]) -> f64 {
    f64::from(major << 16 | minor << 8 | patch)
}

/// An error of the interface: a table with the text.
fn wrong(s: Stack, text: &str) -> Raise {
    push_plain_error(s, text);
    Raise
}

/// The arguments on the stack, which stay there, as bytes; numbers as integers where they are some.
fn arguments<'a>(s: Stack) -> Result<SmallVec<[&'a [u8]; 16]>, Raise> {
    let n = s.top();
    if n == 0 {
        return Err(wrong(s, "Please specify at least one argument for this call"));
    }
    let mut argv = SmallVec::new();
    for i in 1..=n {
        match s.type_of(i) {
            Type::String => {}
            Type::Number => {
                let mut text = Vec::with_capacity(24);
                match num::exact_i64(s.number(i)) {
                    Some(n) => num::push_i64(n, &mut text),
                    None => num::fmt_f64(s.number(i), &mut text),
                }
                s.push_bytes(&text);
                s.replace(i);
            }
            _ => return Err(wrong(s, "Command arguments must be strings or integers")),
        }
        argv.push(s.bytes(i).unwrap_or_default());
    }
    Ok(argv)
}

/// `redis.call`.
pub(super) fn call_or_raise(s: Stack) -> Returns {
    call(s, true)
}

/// `redis.call` and `redis.pcall`.
fn call(s: Stack, raise: bool) -> Returns {
    let failed = |raise_value: Raise| if raise { Err(raise_value) } else { Ok(1) };
    let shared = shared(s);
    let argv = match arguments(s) {
        Ok(argv) => argv,
        Err(e) => return failed(e),
    };
    if shared.stopping().is_some() || shared.busy.replace(true) {
        push_plain_error(s, "A command is under way already");
        return Err(Raise);
    }
    let resp3 = shared.resp3.get();
    if debugger::is_stepping(s) {
        debugger::note_command(s, &argv);
    }
    let done = shared.with_host(|host| {
        let called = host.call(&argv, resp3);
        // They have done their duty, and the reply may need the room.
        s.set_top(0);
        let mut refused = true;
        match &called {
            Called::Done => {
                let reply = host.reply();
                refused = reply.first() == Some(&b'-');
                push_reply(s, reply);
                if debugger::is_stepping(s) {
                    debugger::note_reply(s, reply);
                }
            }
            Called::Refused(text) => {
                debugger::note_error(s, "", text);
                match text.strip_prefix(b"-") {
                    Some(text) => push_error(s, text, true),
                    None => push_error(s, &[b"ERR ", &text[..]].concat(), true),
                }
            }
            Called::Stop(why) => shared.stop(why.clone()),
        }
        (matches!(called, Called::Stop(_)), refused)
    });
    shared.busy.set(false);
    match done {
        None => Err(wrong(s, "redis.call/pcall can only be called inside a script invocation")),
        Some((true, _)) => {
            // The next line that runs raises it again.
            s.set_hook(Some(|s| Err(wrong(s, &super::vm::shared(s).stopping().unwrap_or_default()))), 0, true);
            Err(wrong(s, &shared.stopping().unwrap_or_default()))
        }
        Some((false, true)) if raise => Err(Raise),
        Some(_) => Ok(1),
    }
}

fn setresp(s: Stack) -> Returns {
    if s.top() != 1 {
        return Err(wrong(s, "server.setresp() requires one argument."));
    }
    let version = s.number(1) as i64;
    if version != 2 && version != 3 {
        return Err(wrong(s, "RESP version must be 2 or 3."));
    }
    shared(s).resp3.set(version == 3);
    Ok(0)
}

fn sha1hex(s: Stack) -> Returns {
    if s.top() != 1 {
        return Err(wrong(s, "wrong number of arguments"));
    }
    let hash = super::cache::sha1_hex(s.bytes(1).unwrap_or_default());
    s.push_bytes(&hash);
    Ok(1)
}

fn error_reply(s: Stack) -> Returns {
    if s.top() != 1 || !s.is(1, Type::String) {
        push_plain_error(s, "wrong number or type of arguments");
        return Ok(1);
    }
    let text = s.bytes(1).unwrap_or_default();
    let text = text.strip_prefix(b"-").unwrap_or(text);
    debugger::note_error(s, "-", text);
    push_error(s, text, false);
    Ok(1)
}

fn status_reply(s: Stack) -> Returns {
    if s.top() != 1 || !s.is(1, Type::String) {
        push_plain_error(s, "wrong number or type of arguments");
        return Ok(1);
    }
    s.new_table(0, 1);
    s.push_value(1);
    s.set_raw_field(-2, b"ok");
    Ok(1)
}

fn set_repl(s: Stack) -> Returns {
    if s.top() != 1 {
        return Err(wrong(s, "server.set_repl() requires one argument."));
    }
    let mask = s.number(1) as i64;
    if mask & !3 != 0 {
        return Err(wrong(s, "Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE."));
    }
    shared(s).with_host(|h| h.replicate_to(mask as u8));
    Ok(0)
}

fn acl_check_cmd(s: Stack) -> Returns {
    let argv = arguments(s)?;
    match shared(s).with_host(|h| h.may(&argv)).flatten() {
        Some(may) => s.push_boolean(may),
        None => return Err(wrong(s, "Invalid command passed to server.acl_check_cmd()")),
    }
    Ok(1)
}

fn log(s: Stack) -> Returns {
    let n = s.top();
    if n < 2 {
        return Err(wrong(s, "server.log() requires two arguments or more."));
    }
    if !s.is_number(1) {
        return Err(wrong(s, "First argument must be a number (log level)."));
    }
    let level = s.number(1) as i64;
    if !(0..=3).contains(&level) {
        return Err(wrong(s, "Invalid log level."));
    }
    let mut text = Vec::new();
    for i in 2..=n {
        if let Some(part) = s.bytes(i) {
            if i > 2 {
                text.push(b' ');
            }
            text.extend_from_slice(part);
        }
    }
    library::log(level as u8, &text);
    Ok(0)
}

/// The next number of the sequence that `drand48` makes, 31 bits of it.
fn lrand48(s: Stack) -> u32 {
    let state = &shared(s).random;
    let next = state.get().wrapping_mul(0x5_DEEC_E66D).wrapping_add(0xB) & 0xffff_ffff_ffff;
    state.set(next);
    (next >> 17) as u32
}

fn random(s: Stack) -> Returns {
    let max = i32::MAX as u32;
    let r = f64::from(lrand48(s) % max) / f64::from(max);
    let int = |n: c_int| s.check_integer(n).map(|i| i as i32);
    let result = match s.top() {
        0 => r,
        1 => {
            let upper = int(1)?;
            if upper < 1 {
                return Err(s.bad_argument(1, "interval is empty"));
            }
            (r * f64::from(upper)).floor() + 1.0
        }
        2 => {
            let (lower, upper) = (int(1)?, int(2)?);
            if lower > upper {
                return Err(s.bad_argument(2, "interval is empty"));
            }
            let width = i64::from(upper) - i64::from(lower) + 1;
            (r * width as f64).floor() + f64::from(lower)
        }
        _ => return Err(s.error("wrong number of arguments")),
    };
    s.push_number(result);
    Ok(1)
}

fn randomseed(s: Stack) -> Returns {
    let seed = s.check_integer(1)? as u32;
    shared(s).random.set(u64::from(seed) << 16 | 0x330E);
    Ok(0)
}
