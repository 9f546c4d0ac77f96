//! What a debugging client can ask for while the script is stopped.

use std::ffi::c_int;

use super::request::{Next, leading_number};
use super::{MAX_BREAKPOINTS, with, wrong};
use crate::base::num;
use crate::script::api;
use crate::script::lua::{GLOBALS, Raise, Stack};
use crate::script::vm::{self, shared};

/// What is not known, or not so.
const UNKNOWN: &str = "<error> Unknown Lua debugger command or wrong number of arguments.";

const HELP: &[&str] = &[
    "Lua debugger help:",
    "[h]elp               Show this help.",
    "[s]tep               Run current line and stop again.",
    "[n]ext               Alias for step.",
    "[c]ontinue           Run till next breakpoint.",
    "[l]ist               List source code around current line.",
    "[l]ist [line]        List source code around [line].",
    "                     line = 0 means: current position.",
    "[l]ist [line] [ctx]  In this form [ctx] specifies how many lines",
    "                     to show before/after [line].",
    "[w]hole              List all source code. Alias for 'list 1 1000000'.",
    "[p]rint              Show all the local variables.",
    "[p]rint <var>        Show the value of the specified variable.",
    "                     Can also show global vars KEYS and ARGV.",
    "[b]reak              Show all breakpoints.",
    "[b]reak <line>       Add a breakpoint to the specified line.",
    "[b]reak -<line>      Remove breakpoint from the specified line.",
    "[b]reak 0            Remove all breakpoints.",
    "[t]race              Show a backtrace.",
    "[e]val <code>        Execute some Lua code (in a different callframe).",
    "[v]alkey <cmd>       Execute a command.",
    "[m]axlen [len]       Trim logged replies and Lua var dumps to len.",
    "                     Specifying zero as <len> means unlimited.",
    "[a]bort              Stop the execution of the script. In sync",
    "                     mode dataset changes will be retained.",
    "",
    "Debugger functions you can call from Lua scripts:",
    "server.debug()       Produce logs in the debugger console.",
    "server.breakpoint()  Stop execution like if there was a breakpoint in the",
    "                     next line of code.",
];

/// A text as C has it: up to a NUL.
fn as_c(text: &[u8]) -> &[u8] {
    text.split(|c| *c == 0).next().unwrap_or_default()
}

/// Does what the client asks for until the script is to go on. False: the client is gone. The error ends the script, if it
/// does not catch it.
pub(super) fn talk(s: Stack) -> Result<bool, Raise> {
    let shared = shared(s);
    loop {
        let argv = loop {
            match with(s, |d| d.requests.next()) {
                Some(Next::Command(argv)) => break argv,
                Some(Next::Wrong) => return Err(wrong(s, "protocol error")),
                Some(Next::More) | None => {}
            }
            let Some(bytes) = shared.with_host(|host| host.hear()).flatten() else {
                // Nobody is there to be stopped for.
                with(s, |d| d.breakpoints.clear());
                return Ok(false);
            };
            if with(s, |d| d.requests.add(&bytes)) == Some(false) {
                return Err(wrong(s, "max client buffer reached"));
            }
        };
        let name = as_c(&argv[0]).to_ascii_lowercase();
        match &name[..] {
            b"h" | b"help" => {
                with(s, |d| HELP.iter().for_each(|line| d.log(*line)));
            }
            b"s" | b"step" | b"n" | b"next" => {
                with(s, |d| d.step = true);
                return Ok(true);
            }
            b"c" | b"continue" => return Ok(true),
            b"t" | b"trace" => trace(s),
            b"m" | b"maxlen" => max_len(s, &argv),
            b"b" | b"break" => breakpoints(s, &argv),
            b"e" | b"eval" => evaluate(s, &argv),
            b"a" | b"abort" => return Err(wrong(s, "script aborted for user request")),
            b"r" | b"redis" | b"v" | b"valkey" | b"server" if argv.len() > 1 => command(s, &argv),
            b"p" | b"print" if argv.len() == 2 => print(s, as_c(&argv[1])),
            b"p" | b"print" => print_all(s),
            b"l" | b"list" => list(s, &argv),
            b"w" | b"whole" => {
                with(s, |d| d.list(1, 1_000_000));
            }
            _ => {
                with(s, |d| d.log(UNKNOWN));
            }
        }
        if let Some(lines) = with(s, |d| d.take_lines()) {
            shared.with_host(|host| host.tell(lines));
        }
        if vm::stopping(s) {
            vm::look(s)?;
        }
    }
}

fn list(s: Stack, argv: &[Vec<u8>]) {
    let number = |i: usize| argv.get(i).map(|a| leading_number(a));
    with(s, |d| {
        let around = number(1).filter(|n| *n > 0).unwrap_or(d.line);
        d.list(around, number(2).unwrap_or(5));
    });
}

fn breakpoints(s: Stack, argv: &[Vec<u8>]) {
    with(s, |d| {
        if argv.len() == 1 {
            if d.breakpoints.is_empty() {
                return d.log("No breakpoints set. Use 'b <line>' to add one.");
            }
            let all = d.breakpoints.clone();
            d.log(format!("{} breakpoints set:", all.len()));
            return all.into_iter().for_each(|line| d.log_source(line));
        }
        for arg in &argv[1..] {
            match num::parse_i64(arg) {
                None => d.log([b"Invalid argument:'", as_c(arg), b"'"].concat()),
                Some(0) => {
                    d.breakpoints.clear();
                    d.log("All breakpoints removed.");
                }
                Some(1..) if d.breakpoints.len() == MAX_BREAKPOINTS => d.log("Too many breakpoints set."),
                Some(line @ 1..) => {
                    if line > d.source.len() as i64 || d.breakpoints.contains(&line) {
                        d.log("Wrong line number.");
                    } else {
                        d.breakpoints.push(line);
                        d.list(line, 1);
                    }
                }
                Some(line) => match d.breakpoints.iter().position(|b| Some(*b) == line.checked_neg()) {
                    Some(at) => {
                        d.breakpoints.remove(at);
                        d.log("Breakpoint removed.");
                    }
                    None => d.log("No breakpoint in the specified line."),
                },
            }
        }
    });
}

fn max_len(s: Stack, argv: &[Vec<u8>]) {
    with(s, |d| {
        if argv.len() == 2 {
            d.hinted = true;
            let n = leading_number(&argv[1]);
            d.max_len = if n == 0 { 0 } else { n.max(60) as usize };
        }
        match d.max_len {
            0 => d.log("<value> replies are unlimited."),
            n => d.log(format!("<value> replies are truncated at {n} bytes.")),
        }
    });
}

fn trace(s: Stack) {
    let mut level = 0;
    while let Some(frame) = s.frame(level) {
        if frame.is_of("user_script") {
            let name = frame.name.as_deref().unwrap_or(b"top level");
            let way: &[u8] = if level == 0 { b"In " } else { b"From " };
            with(s, |d| {
                d.log([way, name, b":"].concat());
                d.log_source(i64::from(frame.line));
            });
        }
        level += 1;
    }
    if level == 0 {
        with(s, |d| d.log("<error> Can't retrieve Lua stack."));
    }
}

/// The variable of this name, in the innermost function that has it.
fn print(s: Stack, name: &[u8]) {
    let mut level = 0;
    while s.frame(level).is_some() {
        let mut n = 1;
        while let Some(local) = s.push_local(level, n) {
            if local == name {
                with(s, |d| d.log_value("<value> ", s, -1));
            }
            s.pop(1);
            if local == name {
                return;
            }
            n += 1;
        }
        level += 1;
    }
    if name == b"ARGV" || name == b"KEYS" {
        let top = s.top();
        // Past the proxy, which would raise an error.
        s.push_metatable(GLOBALS);
        s.raw_field(-1, b"__index");
        s.raw_field(-1, name);
        with(s, |d| d.log_value("<value> ", s, -1));
        s.pop(s.top() - top);
    } else {
        with(s, |d| d.log("No such variable."));
    }
}

fn print_all(s: Stack) {
    let (mut n, mut any) = (1, false);
    while let Some(name) = s.push_local(0, n) {
        if !name.starts_with(b"(*temporary)") {
            let prefix = format!("<value> {} = ", String::from_utf8_lossy(&name));
            with(s, |d| d.log_value(&prefix, s, -1));
            any = true;
        }
        s.pop(1);
        n += 1;
    }
    if !any {
        with(s, |d| d.log("No local variables in the current context."));
    }
}

/// Runs code on a thread of its own, and shows its first result.
fn evaluate(s: Stack, argv: &[Vec<u8>]) {
    let code = argv[1..].join(&b' ');
    let t = s.new_thread();
    let expression = [b"return ", &code[..]].concat();
    let compiled = t.load(&expression, c"@ldb_eval").is_ok() || {
        t.pop(1);
        // Only text: bytecode is not checked by Lua.
        if code.first() == Some(&0x1b) {
            t.push_bytes(b"ldb_eval:1: unexpected symbol near '\x1b'");
            false
        } else {
            t.load(&code, c"@ldb_eval").is_ok()
        }
    };
    with(s, |d| (d.evaluates, d.abandoned) = (true, false));
    let done = compiled && t.call(0, 1, 0).is_ok();
    with(s, |d| {
        d.evaluates = false;
        if done {
            return d.log_value("<retval> ", t, -1);
        }
        // An error that is a table has no text; C shows it so.
        let text = if t.is_string(-1) { t.bytes(-1).unwrap_or_default() } else { b"(null)" };
        d.log([b"<error> ", as_c(&text[..text.len().min(super::MAX_LINE)])].concat());
    });
    s.pop(1);
}

/// Runs a command as a script does, which shows it with its reply.
fn command(s: Stack, argv: &[Vec<u8>]) {
    if !s.reserve(argv.len() as c_int + 1) {
        with(s, |d| d.log("<error> max lua stack reached"));
        return;
    }
    s.push_function(api::call_or_raise);
    argv[1..].iter().for_each(|arg| s.push_bytes(arg));
    with(s, |d| d.step = true);
    // An error has been shown already.
    let _ = s.call(argv.len() as c_int - 1, 1, 0);
    with(s, |d| d.step = false);
    s.pop(1);
}
