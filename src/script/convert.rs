//! Replies to Lua values and back (<https://valkey.io/topics/lua-api/#lua-server-protocol-conversion>).

use super::debugger::note_error;
use super::lua::{Raise, Stack, Type};
use super::vm::Pace;
use crate::base::num;
use crate::resp::{Error, Out};

/// Pushes the value of the reply at the start of `bytes`, which this server wrote. Returns what is left after it.
pub fn push_reply(s: Stack, bytes: &[u8]) -> &[u8] {
    let (line, rest) = line(bytes);
    let (mark, text) = line.split_first().unwrap_or((&b'_', &[]));
    let n = || num::parse_i64(text).unwrap_or(-1);
    if !s.reserve(8) {
        s.push_nil();
        return &[];
    }
    match mark {
        b'$' | b'=' => {
            let Ok(len) = usize::try_from(n()) else {
                s.push_boolean(false);
                return rest;
            };
            let (text, rest) = rest.split_at(len.min(rest.len()));
            if *mark == b'$' {
                s.push_bytes(text);
            } else {
                let (format, text) = text.split_at(4.min(text.len()));
                s.new_table(0, 1);
                s.new_table(0, 2);
                s.push_bytes(text);
                s.set_raw_field(-2, b"string");
                s.push_bytes(&format[..3.min(format.len())]);
                s.set_raw_field(-2, b"format");
                s.set_raw_field(-2, b"verbatim_string");
            }
            rest.get(2..).unwrap_or_default()
        }
        b':' => {
            s.push_number(n() as f64);
            rest
        }
        b'+' => {
            field(s, b"ok", text);
            rest
        }
        b'-' => {
            note_error(s, "-", text);
            push_error(s, text, true);
            rest
        }
        b'*' | b'>' => {
            let Ok(len) = usize::try_from(n()) else {
                s.push_boolean(false);
                return rest;
            };
            s.new_table(len, 0);
            let mut rest = rest;
            for i in 1..=len {
                rest = push_reply(s, rest);
                s.raw_set_at(-2, i as i32);
            }
            rest
        }
        b'%' => {
            s.new_table(0, 1);
            s.new_table(0, n().max(0) as usize);
            let mut rest = rest;
            for _ in 0..n() {
                rest = push_reply(s, rest);
                rest = push_reply(s, rest);
                set_unless_nil(s);
            }
            s.set_raw_field(-2, b"map");
            rest
        }
        b'~' => {
            s.new_table(0, 1);
            s.new_table(0, n().max(0) as usize);
            let mut rest = rest;
            for _ in 0..n() {
                rest = push_reply(s, rest);
                s.push_boolean(true);
                set_unless_nil(s);
            }
            s.set_raw_field(-2, b"set");
            rest
        }
        b'#' => {
            s.push_boolean(text == b"t");
            rest
        }
        b',' => {
            s.new_table(0, 1);
            s.push_number(num::parse_f64(text).unwrap_or(f64::NAN));
            s.set_raw_field(-2, b"double");
            rest
        }
        b'(' => {
            field(s, b"big_number", text);
            rest
        }
        b'|' => {
            // Attributes are not shown to scripts.
            let mut rest = rest;
            for _ in 0..n().saturating_mul(2) {
                rest = push_reply(s, rest);
                s.pop(1);
            }
            push_reply(s, rest)
        }
        _ => {
            s.push_nil();
            rest
        }
    }
}

fn line(bytes: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b'\r', bytes) {
        Some(end) => (&bytes[..end], bytes.get(end + 2..).unwrap_or_default()),
        None => (bytes, &[]),
    }
}

/// Sets the pair on top in the table below it; one whose key a table can not have is left out.
fn set_unless_nil(s: Stack) {
    let nan = s.is(-2, Type::Number) && s.number(-2).is_nan();
    if s.is(-2, Type::Nil) || nan { s.pop(2) } else { s.raw_set(-3) }
}

fn field(s: Stack, name: &[u8], text: &[u8]) {
    s.new_table(0, 1);
    s.push_bytes(text);
    s.set_raw_field(-2, name);
}

/// Pushes an error as scripts know it: a table with the text, code first, in `err`. `counted`: the statistics have it.
pub fn push_error(s: Stack, text: &[u8], counted: bool) {
    let coded = text.contains(&b' ');
    let mut whole = if coded { Vec::new() } else { b"ERR ".to_vec() };
    whole.extend_from_slice(text);
    let end = whole.iter().rposition(|c| !matches!(c, b'\r' | b'\n')).map_or(0, |i| i + 1);
    whole.truncate(end);
    field(s, b"err", &whole);
    if counted {
        s.push_boolean(true);
        s.set_raw_field(-2, b"ignore_error_stats_update");
    }
}

/// Pushes an error of the interface itself, whose text comes without a code.
pub fn push_plain_error(s: Stack, text: &str) {
    note_error(s, "", text.as_bytes());
    field(s, b"err", format!("ERR {text}").as_bytes());
}

/// An error that a script returned or died of.
#[derive(Debug)]
pub struct Failure {
    /// What the client gets.
    pub error: Error,
    /// The statistics of errors have it already.
    pub counted: bool,
}

/// What the error table on top says.
pub fn failure(s: Stack) -> Failure {
    let mut text = Vec::new();
    s.raw_field(-1, b"err");
    if s.is_string(-1) {
        text = s.bytes(-1).unwrap_or_default().to_vec();
    }
    s.pop(1);
    s.raw_field(-1, b"ignore_error_stats_update");
    let counted = s.is(-1, Type::Boolean) && s.boolean(-1);
    s.pop(1);
    Failure { error: Error::owned(text), counted }
}

/// Replies nested deeper end in an error.
const DEEPEST: u32 = 4000;

/// Writes the value on top, which goes, as a reply. `resp3`: the script works in RESP3. An error at the outermost level is
/// returned, not written; `Err`: the script was ended meanwhile, or the reply is too big.
pub fn write_reply(s: Stack, resp3: bool, out: &mut Out) -> Result<Option<Failure>, Raise> {
    let start = out.len();
    write(s, resp3, out, 0, &mut (Pace::default(), start))
}

/// `Ok(Some)`: an error at the outermost level.
type Written = Result<Option<Failure>, Raise>;

fn write(s: Stack, resp3: bool, out: &mut Out, depth: u32, pace: &mut (Pace, usize)) -> Written {
    if !s.reserve(8) || depth > DEEPEST {
        s.pop(1);
        out.error(&Error::new("ERR reached lua stack limit"));
        return Ok(None);
    }
    if depth > 0 {
        // A table that is in another many times is written as often.
        pace.0.step(s, out.len().saturating_sub(pace.1))?;
    }
    match s.type_of(-1) {
        Type::String => out.bulk(s.bytes(-1).unwrap_or_default()),
        Type::Boolean if resp3 => out.bool(s.boolean(-1)),
        Type::Boolean if s.boolean(-1) => out.int(1),
        Type::Number => out.int(s.number(-1) as i64),
        Type::Table => return table(s, resp3, out, depth, pace),
        _ => out.null(),
    }
    s.pop(1);
    Ok(None)
}

/// Whether the table on top has a field of this type, which is pushed then.
fn has(s: Stack, name: &[u8], t: Type) -> bool {
    s.raw_field(-1, name);
    if s.is(-1, t) {
        return true;
    }
    s.pop(1);
    false
}

fn table(s: Stack, resp3: bool, out: &mut Out, depth: u32, pace: &mut (Pace, usize)) -> Written {
    let clean =
        |text: &[u8]| -> Vec<u8> { text.iter().map(|c| if matches!(c, b'\r' | b'\n') { b' ' } else { *c }).collect() };
    let own = s.top();
    if has(s, b"err", Type::String) {
        s.pop(1);
        let failure = failure(s);
        s.pop(1);
        if depth == 0 {
            return Ok(Some(failure));
        }
        out.error(&failure.error);
        return Ok(None);
    }
    if has(s, b"ok", Type::String) {
        // As C has it: up to a NUL.
        let text = s.bytes(-1).unwrap_or_default();
        let text = text.split(|c| *c == 0).next().unwrap_or_default();
        out.raw(b"+");
        out.raw(&clean(text));
        out.raw(b"\r\n");
    } else if has(s, b"double", Type::Number) {
        out.double(s.number(-1));
    } else if has(s, b"big_number", Type::String) {
        out.big_number(&String::from_utf8_lossy(&clean(s.bytes(-1).unwrap_or_default())));
    } else if has(s, b"verbatim_string", Type::Table) && verbatim(s, out) {
    } else if has(s, b"map", Type::Table) {
        let (at, mut n) = (out.later(), 0);
        s.push_nil();
        while s.next(-2) {
            s.push_value(-2);
            write(s, resp3, out, depth + 1, pace)?;
            write(s, resp3, out, depth + 1, pace)?;
            n += 1;
        }
        out.map_at(at, n);
    } else if has(s, b"set", Type::Table) {
        let (at, mut n) = (out.later(), 0);
        s.push_nil();
        while s.next(-2) {
            s.pop(1);
            s.push_value(-1);
            write(s, resp3, out, depth + 1, pace)?;
            n += 1;
        }
        out.set_at(at, n);
    } else {
        s.set_top(own);
        let (at, mut n) = (out.later(), 0);
        loop {
            s.raw_get_at(own, n + 1);
            if s.is(-1, Type::Nil) {
                break;
            }
            write(s, resp3, out, depth + 1, pace)?;
            n += 1;
        }
        out.array_at(at, n as usize);
    }
    s.set_top(own - 1);
    Ok(None)
}

/// Writes the table on top as a verbatim string, if it has what one needs.
fn verbatim(s: Stack, out: &mut Out) -> bool {
    if has(s, b"format", Type::String) {
        let format = s.bytes(-1).unwrap_or_default();
        let mut three = [b' '; 3];
        three.iter_mut().zip(format).for_each(|(to, from)| *to = *from);
        s.pop(1);
        if has(s, b"string", Type::String) {
            out.verbatim(&String::from_utf8_lossy(&clean3(three)), s.bytes(-1).unwrap_or_default());
            return true;
        }
    }
    s.pop(1);
    false
}

/// A format that can not end the reply early, nor be longer than three bytes.
fn clean3(format: [u8; 3]) -> [u8; 3] {
    format.map(|c| if c.is_ascii_graphic() { c } else { b' ' })
}
