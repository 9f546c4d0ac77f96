//! The functions of `string` that could take very long or very much: in place of Lua's own, with the same results and texts.
//!
//! Lua's hook runs between instructions, and one call of these is one instruction. So they look themselves, every so many
//! steps, whether the script is to end, and whether the memory that they gather is within the limit.

use super::lua::{Function, GLOBALS, Raise, Returns, Stack, Type};
use super::pattern::{Bad, Matcher, Part};
use super::vm;

/// Puts the functions in their places.
pub fn open(s: Stack) {
    s.raw_field(GLOBALS, b"string");
    for (name, f) in [("find", find as Function), ("match", match_), ("rep", rep)] {
        s.push_function(f);
        s.set_raw_field(-2, name.as_bytes());
    }
    for name in ["gmatch", "gfind"] {
        s.push_function(gmatch);
        s.set_raw_field(-2, name.as_bytes());
    }
    // What looks a replacement up where that may run code of the script.
    if s.load(b"local t, k = ... return t[k]", c"=gsub").is_ok() {
        s.push_closure(gsub, 1);
        s.set_raw_field(-2, b"gsub");
    }
    s.pop(1);
}

fn failed(s: Stack, bad: Bad<Raise>) -> Raise {
    match bad {
        Bad::Pattern(text) => s.error(text),
        Bad::Stopped(raise) => raise,
    }
}

fn rep(s: Stack) -> Returns {
    let text = s.check_bytes(1)?;
    let n = usize::try_from(s.check_integer(2)?).unwrap_or(0);
    let len = text.len().saturating_mul(n);
    vm::afford(s, len)?;
    s.push_bytes(&if text.is_empty() { Vec::new() } else { text.repeat(n) });
    Ok(1)
}

fn find(s: Stack) -> Returns {
    search(s, true)
}

fn match_(s: Stack) -> Returns {
    search(s, false)
}

fn search(s: Stack, find: bool) -> Returns {
    let (text, pattern) = (s.check_bytes(1)?, s.check_bytes(2)?);
    let from = s.opt_integer(3, 1)?;
    let from = if from < 0 { from.saturating_add(text.len() as i64 + 1) } else { from };
    let from = usize::try_from(from - 1).unwrap_or(0).min(text.len());
    let shown = &pattern[..memchr::memchr(0, pattern).unwrap_or(pattern.len())];
    if find && (s.boolean(4) || !shown.iter().any(|c| b"^$*+?.([%-".contains(c))) {
        match memchr::memmem::find(&text[from..], pattern) {
            Some(at) => {
                s.push_number((from + at + 1) as f64);
                s.push_number((from + at + pattern.len()) as f64);
                return Ok(2);
            }
            None => {
                s.push_nil();
                return Ok(1);
            }
        }
    }
    let (anchored, pattern) = anchor(pattern);
    let mut m = Matcher::new(text, pattern, || vm::look(s));
    let last = if anchored { from } else { text.len() };
    for start in from..=last {
        if let Some(end) = m.at(start).map_err(|bad| failed(s, bad))? {
            if !find {
                return push_captures(s, &m, Some((start, end)));
            }
            s.push_number((start + 1) as f64);
            s.push_number(end as f64);
            return Ok(2 + push_captures(s, &m, None)?);
        }
    }
    s.push_nil();
    Ok(1)
}

fn anchor(pattern: &[u8]) -> (bool, &[u8]) {
    pattern.strip_prefix(b"^").map_or((false, pattern), |rest| (true, rest))
}

fn push_part(s: Stack, part: Part<'_>) {
    match part {
        Part::Text(text) => s.push_bytes(text),
        Part::Position(at) => s.push_number(at as f64),
    }
}

/// Pushes the captures, or without any the `whole` match, if that is given.
fn push_captures<F: FnMut() -> Result<(), Raise>>(
    s: Stack,
    m: &Matcher<'_, F>,
    whole: Option<(usize, usize)>,
) -> Returns {
    let n = if m.captures() == 0 { usize::from(whole.is_some()) } else { m.captures() };
    if !s.reserve(n as i32 + 2) {
        return Err(s.error("stack overflow (too many captures)"));
    }
    for i in 0..n {
        push_part(s, m.capture(i, whole.unwrap_or_default()).map_err(|bad| failed(s, bad))?);
    }
    Ok(n as i32)
}

fn gmatch(s: Stack) -> Returns {
    s.check_bytes(1)?;
    s.check_bytes(2)?;
    s.set_top(2);
    s.push_number(0.0);
    s.push_closure(gmatch_next, 3);
    Ok(1)
}

/// The iterator, with text, pattern and place as its values.
fn gmatch_next(s: Stack) -> Returns {
    let (text, pattern) = (s.bytes(s.own(1)).unwrap_or_default(), s.bytes(s.own(2)).unwrap_or_default());
    let mut m = Matcher::new(text, pattern, || vm::look(s));
    for start in s.number(s.own(3)) as usize..=text.len() {
        if let Some(end) = m.at(start).map_err(|bad| failed(s, bad))? {
            s.push_number((end + usize::from(end == start)) as f64);
            s.replace(s.own(3));
            return push_captures(s, &m, Some((start, end)));
        }
    }
    Ok(0)
}

/// `gsub`, with a function that reads a field of a table as its value.
fn gsub(s: Stack) -> Returns {
    let (text, pattern) = (s.check_bytes(1)?, s.check_bytes(2)?);
    let kind = s.type_of(3);
    if !matches!(kind, Type::Number | Type::String | Type::Table | Type::Function) {
        return Err(s.bad_argument(3, "string/function/table expected"));
    }
    let most = s.opt_integer(4, text.len() as i64 + 1)?;
    let new = if matches!(kind, Type::Number | Type::String) { s.bytes(3) } else { None };
    let (anchored, pattern) = anchor(pattern);
    let mut m = Matcher::new(text, pattern, || vm::look(s));
    let (mut out, mut at, mut n) = (Vec::new(), 0, 0);
    let mut affordable = 0;
    while n < most {
        let end = m.at(at).map_err(|bad| failed(s, bad))?;
        if let Some(end) = end {
            n += 1;
            match new {
                Some(new) => expand(s, &m, new, (at, end), &mut out)?,
                None => replace(s, &m, kind, text, (at, end), &mut out)?,
            }
        }
        match end {
            Some(end) if end > at => at = end,
            _ if at < text.len() => {
                out.push(text[at]);
                at += 1;
            }
            _ => break,
        }
        if out.len() > affordable {
            affordable = out.len() + (64 << 10);
            vm::afford(s, affordable)?;
        }
        if anchored {
            break;
        }
    }
    out.extend_from_slice(&text[at..]);
    vm::afford(s, out.len())?;
    s.push_bytes(&out);
    s.push_number(n as f64);
    Ok(2)
}

/// Adds a replacement text, with what `%1` and the like stand for.
fn expand<F: FnMut() -> Result<(), Raise>>(
    s: Stack,
    m: &Matcher<'_, F>,
    new: &[u8],
    whole: (usize, usize),
    out: &mut Vec<u8>,
) -> Result<(), Raise> {
    let mut rest = new;
    while let Some(at) = memchr::memchr(b'%', rest) {
        out.extend_from_slice(&rest[..at]);
        let mark = rest.get(at + 1).copied().unwrap_or(0);
        rest = rest.get(at + 2..).unwrap_or_default();
        let part = match mark {
            b'0' => {
                let (start, end) = whole;
                m.text_at(start, end)
            }
            b'1'..=b'9' => m.capture(usize::from(mark - b'1'), whole).map_err(|bad| failed(s, bad))?,
            other => {
                out.push(other);
                continue;
            }
        };
        match part {
            Part::Text(text) => {
                vm::afford(s, out.len().saturating_add(text.len()))?;
                out.extend_from_slice(text);
            }
            Part::Position(n) => out.extend_from_slice(n.to_string().as_bytes()),
        }
    }
    out.extend_from_slice(rest);
    Ok(())
}

/// Adds what a table or function has in place of a match.
fn replace<F: FnMut() -> Result<(), Raise>>(
    s: Stack,
    m: &Matcher<'_, F>,
    kind: Type,
    text: &[u8],
    (start, end): (usize, usize),
    out: &mut Vec<u8>,
) -> Result<(), Raise> {
    let top = s.top();
    if kind == Type::Function {
        s.push_value(3);
        let n = push_captures(s, m, Some((start, end)))?;
        s.call(n, 1, 0)?;
    } else {
        s.push_value(s.own(1));
        s.push_value(3);
        push_part(s, m.capture(0, (start, end)).map_err(|bad| failed(s, bad))?);
        s.call(2, 1, 0)?;
    }
    if !s.boolean(-1) {
        out.extend_from_slice(&text[start..end]);
    } else if s.is_string(-1) {
        out.extend_from_slice(s.bytes(-1).unwrap_or_default());
    } else {
        let kind = s.type_of(-1).name();
        return Err(s.error(format!("invalid replacement value (a {kind})")));
    }
    s.set_top(top);
    Ok(())
}
