//! The debugger of scripts: it stops them at lines, and lets a client look around meanwhile (<https://valkey.io/topics/ldb/>).
//!
//! [`watch`] is the hook that runs before every line. Where the script is to stop, [`console`] tells the client and does what
//! it asks for ([`request`]), until that is to go on. What is shown is made by [`show`]. How bytes reach the client, and come
//! from it, is the host's business ([`Host::tell`](super::vm::Host::tell), [`Host::hear`](super::vm::Host::hear)).
//!
//! While a hook runs Lua calls no other one. So code that the client has evaluated runs on a Lua thread of its own, where
//! it can be ended like any other.

mod console;
mod request;
mod show;

use self::request::Requests;
use super::convert::push_plain_error;
use super::lua::{Raise, Returns, Stack};
use super::vm::{self, shared};
use crate::base::clock;

/// Breakpoints that there can be.
const MAX_BREAKPOINTS: usize = 64;
/// Values and replies are trimmed to this length at first, bytes.
const MAX_LEN: usize = 256;
/// However long they may be, they are trimmed here.
const MAX_LINE: usize = 1 << 20;
/// Lines that the client is not told of yet take no more than this, bytes.
const MAX_LINES: usize = 16 << 20;

/// The state of one session.
pub struct Debugger {
    source: Vec<Vec<u8>>,
    breakpoints: Vec<i64>,
    /// It stops at the next line, and shows commands and their replies until then.
    step: bool,
    /// The script asked to be stopped.
    called: bool,
    /// The line where the script is.
    line: i64,
    /// Where values are trimmed; 0: only at the limit.
    max_len: usize,
    hinted: bool,
    lines: Vec<Vec<u8>>,
    held: usize,
    left_out: usize,
    requests: Requests,
    /// Code of the client is being evaluated; and it has left meanwhile.
    evaluates: bool,
    abandoned: bool,
    /// When the script began or went on, monotonic ns, and how long it may run without a stop.
    since: u64,
    patience_ns: u64,
}

impl Debugger {
    /// A session for a script of this text. One that runs for longer than `patience_ms` is stopped.
    pub fn new(text: &[u8], patience_ms: u64) -> Debugger {
        let end = text.iter().rposition(|c| !matches!(c, b'\n' | b'\r')).map_or(0, |last| last + 1);
        Debugger {
            source: text[..end].split(|c| *c == b'\n').map(<[u8]>::to_vec).collect(),
            breakpoints: Vec::new(),
            step: true,
            called: false,
            line: 0,
            max_len: MAX_LEN,
            hinted: false,
            lines: Vec::new(),
            held: 0,
            left_out: 0,
            requests: Requests::default(),
            evaluates: false,
            abandoned: false,
            since: clock::mono_ns(),
            patience_ns: patience_ms.saturating_mul(1_000_000),
        }
    }
    /// The last that the client is told.
    pub fn end(mut self) -> Vec<u8> {
        self.log("<endsession>");
        self.take_lines()
    }

    /// Another line for the client.
    fn log(&mut self, line: impl Into<Vec<u8>>) {
        let mut line = line.into();
        if line.len() > MAX_LINE {
            line.truncate(MAX_LINE);
            line.extend_from_slice(b" ...");
        }
        if self.held + line.len() > MAX_LINES {
            self.left_out += 1;
            return;
        }
        self.held += line.len() + 32;
        self.lines.push(line);
    }
    /// Another line, trimmed if it is long.
    fn log_trimmed(&mut self, mut line: Vec<u8>) {
        let trimmed = self.max_len > 0 && line.len() > self.max_len;
        if trimmed {
            line.truncate(self.max_len);
            line.extend_from_slice(b" ...");
        }
        self.log(line);
        if trimmed && !self.hinted {
            self.hinted = true;
            self.log("<hint> The above reply was trimmed. Use 'maxlen 0' to disable trimming.");
        }
    }
    /// How much of a value is of use.
    fn most(&self) -> usize {
        if self.max_len > 0 { self.max_len.min(MAX_LINE) } else { MAX_LINE }
    }
    fn log_value(&mut self, prefix: &str, s: Stack, at: std::ffi::c_int) {
        let mut line = prefix.as_bytes().to_vec();
        show::value(s, at, &mut line, self.most());
        self.log_trimmed(line);
    }
    fn log_source(&mut self, number: i64) {
        let here = self.line == number;
        let mark = match (here, self.breakpoints.contains(&number)) {
            (true, true) => "->#",
            (true, false) => "-> ",
            (false, true) => "  #",
            (false, false) => "   ",
        };
        let text = usize::try_from(number - 1).ok().and_then(|i| self.source.get(i));
        let text = text.map_or(&b"<out of range source code line>"[..], |line| line);
        let line = [format!("{mark}{number:<3} ").as_bytes(), text].concat();
        self.log(line);
    }
    /// The lines around one.
    fn list(&mut self, around: i64, context: i64) {
        let last = self.source.len() as i64;
        for number in (around - context).max(1)..=(around + context).min(last) {
            self.log_source(number);
        }
    }
    /// What the client is to be told, as it goes over the wire.
    fn take_lines(&mut self) -> Vec<u8> {
        if self.left_out > 0 {
            let hint = format!("<hint> {} more lines were left out.", std::mem::take(&mut self.left_out));
            self.lines.push(hint.into_bytes());
        }
        self.held = 0;
        let lines = std::mem::take(&mut self.lines);
        let mut bytes = format!("*{}\r\n", lines.len()).into_bytes();
        for line in lines {
            bytes.push(b'+');
            bytes.extend(line.iter().map(|c| if matches!(c, b'\r' | b'\n') { b' ' } else { *c }));
            bytes.extend_from_slice(b"\r\n");
        }
        bytes
    }
}

/// Works with the debugger, if there is one.
fn with<R>(s: Stack, f: impl FnOnce(&mut Debugger) -> R) -> Option<R> {
    shared(s).debugger.borrow_mut().as_deref_mut().map(f)
}

/// Whether commands are to be shown.
pub(super) fn is_stepping(s: Stack) -> bool {
    shared(s).debugger.borrow().as_deref().is_some_and(|d| d.step)
}

/// A command is about to run.
pub(super) fn note_command(s: Stack, argv: &[&[u8]]) {
    let mut line = b"<command>".to_vec();
    for arg in argv.iter().take(10) {
        line.push(b' ');
        line.extend_from_slice(&arg[..arg.len().min(MAX_LINE + 1)]);
    }
    if argv.len() > 10 {
        line.extend_from_slice(format!(" ... ({} more)", argv.len() - 11).as_bytes());
    }
    with(s, |d| d.log(line));
}

/// Its reply.
pub(super) fn note_reply(s: Stack, reply: &[u8]) {
    with(s, |d| {
        let mut line = b"<reply> ".to_vec();
        show::reply(reply, &mut line, d.most());
        d.log_trimmed(line);
    });
}

/// An error of a command or of the interface.
pub(super) fn note_error(s: Stack, mark: &str, text: &[u8]) {
    if is_stepping(s) {
        let text = &text[..text.len().min(MAX_LINE)];
        with(s, |d| d.log([b"<error> ", mark.as_bytes(), text].concat()));
    }
}

/// `redis.breakpoint()`: the next line is stopped at. True in a session.
pub(super) fn breakpoint(s: Stack) -> Returns {
    let there = with(s, |d| d.called = true).is_some();
    s.push_boolean(there);
    Ok(1)
}

/// `redis.debug(...)`: a line for the client with these values.
pub(super) fn debug(s: Stack) -> Returns {
    with(s, |d| {
        let mut line = format!("<debug> line {}: ", d.line).into_bytes();
        for i in 1..=s.top() {
            if i > 1 {
                line.extend_from_slice(b", ");
            }
            show::value(s, i, &mut line, MAX_LINE);
        }
        d.log(line);
    });
    Ok(0)
}

/// An error for the script.
fn wrong(s: Stack, text: &str) -> Raise {
    push_plain_error(s, text);
    Raise
}

/// The hook, before every line and every so many instructions.
pub fn watch(s: Stack) -> Returns {
    let counts = s.hook_counts();
    if counts || vm::stopping(s) {
        vm::look(s)?;
    }
    let shared = shared(s);
    if with(s, |d| d.evaluates) == Some(true) {
        if counts && shared.with_host(|host| host.has_left()) == Some(true) {
            with(s, |d| d.abandoned = true);
        }
        return match with(s, |d| d.abandoned) {
            Some(true) => Err(wrong(s, "the debugging client has left")),
            _ => Ok(0),
        };
    }
    let Some(frame) = s.frame(0) else { return Ok(0) };
    let stop = with(s, |d| {
        d.line = i64::from(frame.line);
        if !frame.is_of("user_script") {
            return None;
        }
        let at_breakpoint = d.breakpoints.contains(&d.line);
        let (mut reason, mut late) = ("step over", false);
        if d.called {
            reason = "server.breakpoint() called";
        } else if at_breakpoint {
            reason = "break point";
        } else if !d.step {
            late = counts && clock::mono_ns().saturating_sub(d.since) >= d.patience_ns;
            if !late {
                return None;
            }
            reason = "timeout reached, infinite loop?";
        }
        (d.step, d.called) = (false, false);
        d.log(format!("* Stopped at {}, stop reason = {reason}", d.line));
        d.log_source(d.line);
        Some((late, d.take_lines()))
    });
    let Some((late, lines)) = stop.flatten() else { return Ok(0) };
    shared.with_host(|host| host.tell(lines));
    let stays = console::talk(s)?;
    if !stays {
        // It may have gone because the script is to end.
        vm::look(s)?;
        if late {
            return Err(wrong(s, "timeout during Lua debugging with client closing connection"));
        }
    }
    with(s, |d| d.since = clock::mono_ns());
    Ok(0)
}
