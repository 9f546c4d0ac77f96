//! The `cjson` library, as lua-cjson 2.1 has it (<https://kyne.com.au/~mark/software/lua-cjson-manual.html>), with
//! `decode_array_with_array_mt`.
//!
//! What its functions remember stands in the state's [`Shared`](super::vm::Shared); a number tells which of the instances
//! that `cjson.new()` made a function belongs to.

use std::ffi::c_int;

use super::lua::{Function, Raise, Returns, Stack, Type};
use super::number::{format_g, parse_prefix};
use super::vm::{Pace, afford, shared};

const FUNCTIONS: &[(&str, Function)] = &[
    ("encode", encode),
    ("decode", decode),
    ("encode_sparse_array", encode_sparse_array),
    ("encode_max_depth", |s| integer_option(s, 1, 1, i32::MAX, |c| &mut c.encode_max_depth)),
    ("decode_max_depth", |s| integer_option(s, 1, 1, i32::MAX, |c| &mut c.decode_max_depth)),
    ("encode_number_precision", |s| integer_option(s, 1, 1, 14, |c| &mut c.precision)),
    ("encode_keep_buffer", |s| switch(s, 1, |c| &mut c.keep_buffer)),
    ("encode_invalid_numbers", encode_invalid_numbers),
    ("decode_invalid_numbers", |s| switch(s, 1, |c| &mut c.decode_invalid)),
    ("decode_array_with_array_mt", |s| switch(s, 1, |c| &mut c.array_metatable)),
    ("new", new),
];

/// Nesting that neither option can raise: the stack of the thread has an end.
const DEEPEST: i32 = 4000;
/// So many instances a state has at most.
const MOST_INSTANCES: usize = 1000;

/// What to do with numbers that JSON does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Invalid {
    Refuse,
    Write,
    Null,
}

/// The settings of an instance.
#[derive(Debug, Clone)]
pub struct Config {
    sparse_convert: bool,
    sparse_ratio: i32,
    sparse_safe: i32,
    encode_max_depth: i32,
    decode_max_depth: i32,
    precision: i32,
    keep_buffer: bool,
    encode_invalid: Invalid,
    decode_invalid: bool,
    array_metatable: bool,
    /// The metatable of decoded arrays, once it was asked for.
    metatable: Option<c_int>,
    buffer: Vec<u8>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            sparse_convert: false,
            sparse_ratio: 2,
            sparse_safe: 10,
            encode_max_depth: 1000,
            decode_max_depth: 1000,
            precision: 14,
            keep_buffer: true,
            encode_invalid: Invalid::Refuse,
            decode_invalid: true,
            array_metatable: false,
            metatable: None,
            buffer: Vec::new(),
        }
    }
}

/// Pushes a module table with settings of its own.
pub fn open(s: Stack) {
    let configs = &mut *shared(s).json.borrow_mut();
    configs.push(Config::default());
    let instance = configs.len() - 1;
    s.new_table(0, 16);
    for (name, f) in FUNCTIONS {
        s.push_number(instance as f64);
        s.push_closure(*f, 1);
        s.set_raw_field(-2, name.as_bytes());
    }
    s.push_light(std::ptr::null());
    s.set_raw_field(-2, b"null");
    for (name, text) in [("_NAME", "cjson"), ("_VERSION", "2.1.0")] {
        s.push_bytes(text.as_bytes());
        s.set_raw_field(-2, name.as_bytes());
    }
}

fn new(s: Stack) -> Returns {
    if shared(s).json.borrow().len() >= MOST_INSTANCES {
        return Err(s.error("too many instances of cjson"));
    }
    open(s);
    Ok(1)
}

fn with<R>(s: Stack, f: impl FnOnce(&mut Config) -> R) -> R {
    let instance = s.number(s.own(1)) as usize;
    f(&mut shared(s).json.borrow_mut()[instance])
}

fn at_most(s: Stack, n: c_int) -> Result<(), Raise> {
    if s.top() > n {
        return Err(s.bad_argument(n + 1, "found too many arguments"));
    }
    s.set_top(n);
    Ok(())
}

fn integer_option(s: Stack, n: c_int, min: i32, max: i32, field: fn(&mut Config) -> &mut i32) -> Returns {
    if n == 1 {
        at_most(s, 1)?;
    }
    if !s.is(n, Type::Nil) {
        let value = s.check_integer(n)?;
        if value < i64::from(min) || value > i64::from(max) {
            return Err(s.bad_argument(1, &format!("expected integer between {min} and {max}")));
        }
        with(s, |c| *field(c) = value as i32);
    }
    s.push_number(f64::from(with(s, |c| *field(c))));
    Ok(1)
}

/// Which of the words an argument is.
fn option(s: Stack, n: c_int, words: &[&str]) -> Result<usize, Raise> {
    let word = s.check_bytes(n)?;
    words.iter().position(|w| w.as_bytes() == word).ok_or_else(|| {
        let word = String::from_utf8_lossy(word).into_owned();
        s.bad_argument(n, &format!("invalid option '{word}'"))
    })
}

fn switch(s: Stack, n: c_int, field: fn(&mut Config) -> &mut bool) -> Returns {
    if n == 1 && s.top() != 3 {
        at_most(s, 1)?;
    }
    match s.type_of(n) {
        Type::Nil => {}
        Type::Boolean => with(s, |c| *field(c) = s.boolean(n)),
        _ => {
            let on = option(s, n, &["off", "on"])? == 1;
            with(s, |c| *field(c) = on);
        }
    }
    s.push_boolean(with(s, |c| *field(c)));
    Ok(1)
}

fn encode_sparse_array(s: Stack) -> Returns {
    at_most(s, 3)?;
    switch(s, 1, |c| &mut c.sparse_convert)?;
    integer_option(s, 2, 0, i32::MAX, |c| &mut c.sparse_ratio)?;
    integer_option(s, 3, 0, i32::MAX, |c| &mut c.sparse_safe)?;
    Ok(3)
}

fn encode_invalid_numbers(s: Stack) -> Returns {
    at_most(s, 1)?;
    let all = [Invalid::Refuse, Invalid::Write, Invalid::Null];
    match s.type_of(1) {
        Type::Nil => {}
        Type::Boolean => with(s, |c| c.encode_invalid = all[usize::from(s.boolean(1))]),
        _ => {
            let choice = all[option(s, 1, &["off", "on", "null"])?];
            with(s, |c| c.encode_invalid = choice);
        }
    }
    match with(s, |c| c.encode_invalid) {
        Invalid::Null => s.push_bytes(b"null"),
        other => s.push_boolean(other == Invalid::Write),
    }
    Ok(1)
}

fn encode(s: Stack) -> Returns {
    if s.top() != 1 {
        return Err(s.bad_argument(1, "expected 1 argument"));
    }
    let config = with(s, |c| Config { buffer: std::mem::take(&mut c.buffer), ..c.clone() });
    let mut e = Encoder { s, config, pace: Pace::default() };
    e.config.buffer.clear();
    let result = e.value(0).and_then(|()| afford(s, e.config.buffer.len()));
    let mut buffer = e.config.buffer;
    if result.is_ok() {
        s.push_bytes(&buffer);
    }
    if e.config.keep_buffer {
        buffer.shrink_to(64 << 10);
        with(s, |c| c.buffer = buffer);
    }
    result.map(|()| 1)
}

struct Encoder {
    s: Stack,
    config: Config,
    pace: Pace,
}

impl Encoder {
    fn put(&mut self, text: &str) {
        self.config.buffer.extend_from_slice(text.as_bytes());
    }
    fn refuse(&self, at: c_int, reason: &str) -> Raise {
        let what = self.s.type_of(at).name();
        self.s.error(format!("Cannot serialise {what}: {reason}"))
    }
    /// Writes the value on top.
    fn value(&mut self, depth: i32) -> Result<(), Raise> {
        let s = self.s;
        self.pace.step(s, self.config.buffer.len())?;
        match s.type_of(-1) {
            Type::String => self.string(-1),
            Type::Number => self.number(-1)?,
            Type::Boolean => self.put(if s.boolean(-1) { "true" } else { "false" }),
            Type::Nil => self.put("null"),
            Type::Light if s.light(-1).is_null() => self.put("null"),
            Type::Table => {
                let depth = depth + 1;
                if depth > self.config.encode_max_depth || depth > DEEPEST || !s.reserve(6) {
                    return Err(s.error(format!("Cannot serialise, excessive nesting ({depth})")));
                }
                match self.array_len()? {
                    Some(len) => self.array(len, depth)?,
                    None => self.object(depth)?,
                }
            }
            _ => return Err(self.refuse(-1, "type not supported")),
        }
        Ok(())
    }
    fn string(&mut self, at: c_int) {
        let text = self.s.bytes(at).unwrap_or_default();
        let out = &mut self.config.buffer;
        out.reserve(text.len() + 2);
        out.push(b'"');
        for &c in text {
            match c {
                b'"' | b'\\' | b'/' => out.extend_from_slice(&[b'\\', c]),
                8 => out.extend_from_slice(b"\\b"),
                9 => out.extend_from_slice(b"\\t"),
                10 => out.extend_from_slice(b"\\n"),
                12 => out.extend_from_slice(b"\\f"),
                13 => out.extend_from_slice(b"\\r"),
                0..32 | 127 => out.extend_from_slice(format!("\\u{c:04x}").as_bytes()),
                c => out.push(c),
            }
        }
        out.push(b'"');
    }
    fn number(&mut self, at: c_int) -> Result<(), Raise> {
        let d = self.s.number(at);
        if !d.is_finite() {
            match self.config.encode_invalid {
                Invalid::Refuse => return Err(self.refuse(at, "must not be NaN or Inf")),
                Invalid::Null => self.put("null"),
                Invalid::Write if d.is_nan() => self.put("nan"),
                Invalid::Write => self.put(if d < 0.0 { "-inf" } else { "inf" }),
            }
        } else if d.fract() == 0.0 && d.abs() < 1e14 && self.config.precision == 14 {
            let mut digits = itoa::Buffer::new();
            let text = digits.format(d as i64);
            if d == 0.0 && d.is_sign_negative() { self.put("-0") } else { self.put(text) }
        } else {
            let text = format_g(d, self.config.precision as usize);
            self.put(&text);
        }
        Ok(())
    }
    /// The length of the table on top, if it is an array.
    fn array_len(&self) -> Result<Option<i32>, Raise> {
        let s = self.s;
        let (mut max, mut items) = (0.0f64, 0i64);
        s.push_nil();
        while s.next(-2) {
            let k = s.number(-2);
            if !s.is(-2, Type::Number) || k < 1.0 || k.fract() != 0.0 {
                s.pop(2);
                return Ok(None);
            }
            max = max.max(k);
            items += 1;
            s.pop(1);
        }
        let max = max.min(f64::from(i32::MAX)) as i64;
        let ratio = i64::from(self.config.sparse_ratio);
        if ratio > 0 && max > items * ratio && max > i64::from(self.config.sparse_safe) {
            if !self.config.sparse_convert {
                return Err(self.refuse(-1, "excessively sparse array"));
            }
            return Ok(None);
        }
        if max == 0 && !self.is_marked_array() {
            return Ok(None);
        }
        Ok(Some(max as i32))
    }
    /// Whether the table on top was decoded as an array.
    fn is_marked_array(&self) -> bool {
        let s = self.s;
        let Some(metatable) = self.config.metatable else { return false };
        if !s.push_metatable(-1) {
            return false;
        }
        s.push_kept(metatable);
        let is = s.raw_equal(-1, -2);
        s.pop(2);
        is
    }
    fn array(&mut self, len: i32, depth: i32) -> Result<(), Raise> {
        self.put("[");
        for i in 1..=len {
            if i > 1 {
                self.put(",");
            }
            self.s.raw_get_at(-1, i);
            self.value(depth)?;
            self.s.pop(1);
        }
        self.put("]");
        Ok(())
    }
    fn object(&mut self, depth: i32) -> Result<(), Raise> {
        let s = self.s;
        self.put("{");
        let mut first = true;
        s.push_nil();
        while s.next(-2) {
            if !std::mem::take(&mut first) {
                self.put(",");
            }
            match s.type_of(-2) {
                Type::Number => {
                    self.put("\"");
                    self.number(-2)?;
                    self.put("\":");
                }
                Type::String => {
                    self.string(-2);
                    self.put(":");
                }
                _ => return Err(self.refuse(-2, "table key must be a number or string")),
            }
            self.value(depth)?;
            s.pop(1);
        }
        self.put("}");
        Ok(())
    }
}

fn decode(s: Stack) -> Returns {
    if s.top() != 1 {
        return Err(s.bad_argument(1, "expected 1 argument"));
    }
    let data = s.check_bytes(1)?;
    if data.len() >= 2 && (data[0] == 0 || data[1] == 0) {
        return Err(s.error("JSON parser does not support UTF-16 or UTF-32"));
    }
    let (max_depth, invalid, marks) = with(s, |c| (c.decode_max_depth, c.decode_invalid, c.array_metatable));
    let mut metatable = None;
    if marks {
        let kept = with(s, |c| c.metatable).unwrap_or_else(|| {
            s.new_table(0, 0);
            s.keep()
        });
        with(s, |c| c.metatable = Some(kept));
        metatable = Some(kept);
    }
    let mut d = Decoder { s, data, at: 0, depth: 0, max_depth, invalid, metatable, pace: Pace::default() };
    let token = d.token();
    d.value(&token)?;
    let end = d.token();
    if !matches!(end.what, What::End) {
        return Err(d.unexpected("the end", &end));
    }
    Ok(1)
}

/// What stands at a place of the text.
enum What {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    String(Vec<u8>),
    Number(f64),
    Boolean(bool),
    Null,
    Colon,
    Comma,
    End,
    Error(&'static str),
}

impl What {
    fn name(&self) -> &'static str {
        match self {
            What::ObjectBegin => "T_OBJ_BEGIN",
            What::ObjectEnd => "T_OBJ_END",
            What::ArrayBegin => "T_ARR_BEGIN",
            What::ArrayEnd => "T_ARR_END",
            What::String(_) => "T_STRING",
            What::Number(_) => "T_NUMBER",
            What::Boolean(_) => "T_BOOLEAN",
            What::Null => "T_NULL",
            What::Colon => "T_COLON",
            What::Comma => "T_COMMA",
            What::End => "T_END",
            What::Error(text) => text,
        }
    }
}

struct Token {
    what: What,
    at: usize,
}

struct Decoder<'a> {
    s: Stack,
    data: &'a [u8],
    at: usize,
    depth: i32,
    pace: Pace,
    max_depth: i32,
    invalid: bool,
    metatable: Option<c_int>,
}

impl Decoder<'_> {
    /// A byte ahead; 0 past the end.
    fn peek(&self, ahead: usize) -> u8 {
        self.data.get(self.at + ahead).copied().unwrap_or(0)
    }
    fn unexpected(&self, wanted: &str, found: &Token) -> Raise {
        let what = found.what.name();
        self.s.error(format!("Expected {wanted} but found {what} at character {}", found.at + 1))
    }
    fn token(&mut self) -> Token {
        while matches!(self.peek(0), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
        let at = self.at;
        let single = match self.peek(0) {
            b'{' => Some(What::ObjectBegin),
            b'}' => Some(What::ObjectEnd),
            b'[' => Some(What::ArrayBegin),
            b']' => Some(What::ArrayEnd),
            b',' => Some(What::Comma),
            b':' => Some(What::Colon),
            _ => None,
        };
        if let Some(what) = single {
            self.at += 1;
            return Token { what, at };
        }
        let rest = self.data.get(at..).unwrap_or_default();
        let what = match self.peek(0) {
            0 => What::End,
            b'"' => match self.string() {
                Ok(text) => What::String(text),
                Err(why) => return Token { what: What::Error(why), at: self.at },
            },
            b'-' | b'0'..=b'9' if !self.invalid && invalid_number(rest) => What::Error("invalid number"),
            b'-' | b'0'..=b'9' => self.number(rest),
            _ if rest.starts_with(b"true") => self.word(4, What::Boolean(true)),
            _ if rest.starts_with(b"false") => self.word(5, What::Boolean(false)),
            _ if rest.starts_with(b"null") => self.word(4, What::Null),
            b'+' | b'i' | b'I' | b'n' | b'N' if self.invalid && invalid_number(rest) => self.number(rest),
            _ => What::Error("invalid token"),
        };
        Token { what, at }
    }
    fn word(&mut self, len: usize, what: What) -> What {
        self.at += len;
        what
    }
    fn number(&mut self, rest: &[u8]) -> What {
        match parse_prefix(rest) {
            Some((d, len)) => self.word(len, What::Number(d)),
            None => What::Error("invalid number"),
        }
    }
    fn string(&mut self) -> Result<Vec<u8>, &'static str> {
        self.at += 1;
        let mut text = Vec::new();
        loop {
            let rest = self.data.get(self.at..).unwrap_or_default();
            let plain = rest.iter().take_while(|c| !matches!(c, b'"' | b'\\' | 0)).count();
            text.extend_from_slice(&rest[..plain]);
            self.at += plain;
            match self.peek(0) {
                b'"' => {
                    self.at += 1;
                    return Ok(text);
                }
                b'\\' => {
                    let c = match self.peek(1) {
                        c @ (b'"' | b'\\' | b'/') => c,
                        b'b' => 8,
                        b't' => b'\t',
                        b'n' => b'\n',
                        b'f' => 12,
                        b'r' => b'\r',
                        b'u' => {
                            self.unicode(&mut text).ok_or("invalid unicode escape code")?;
                            continue;
                        }
                        _ => return Err("invalid escape code"),
                    };
                    text.push(c);
                    self.at += 2;
                }
                _ => return Err("unexpected end of string"),
            }
        }
    }
    /// The four hexadecimal digits of an escape `ahead` of here.
    fn unit(&self, ahead: usize) -> Option<u32> {
        (2..6).try_fold(0, |code, i| Some(code << 4 | char::from(self.peek(ahead + i)).to_digit(16)?))
    }
    fn unicode(&mut self, text: &mut Vec<u8>) -> Option<()> {
        let mut code = self.unit(0)?;
        let mut len = 6;
        if code & 0xf800 == 0xd800 {
            if code & 0x400 != 0 || self.peek(6) != b'\\' || self.peek(7) != b'u' {
                return None;
            }
            let low = self.unit(6).filter(|low| low & 0xfc00 == 0xdc00)?;
            code = ((code & 0x3ff) << 10 | low & 0x3ff) + 0x10000;
            len = 12;
        }
        let mut utf8 = [0; 4];
        text.extend_from_slice(char::from_u32(code)?.encode_utf8(&mut utf8).as_bytes());
        self.at += len;
        Some(())
    }
    fn descend(&mut self, slots: c_int) -> Result<(), Raise> {
        self.depth += 1;
        if self.depth <= self.max_depth && self.depth <= DEEPEST && self.s.reserve(slots) {
            return Ok(());
        }
        let (depth, at) = (self.depth, self.at);
        Err(self.s.error(format!("Found too many nested data structures ({depth}) at character {at}")))
    }
    /// Pushes the value that begins with the token.
    fn value(&mut self, token: &Token) -> Result<(), Raise> {
        self.pace.step(self.s, 0)?;
        match &token.what {
            What::String(text) => self.s.push_bytes(text),
            What::Number(d) => self.s.push_number(*d),
            What::Boolean(b) => self.s.push_boolean(*b),
            What::Null => self.s.push_light(std::ptr::null()),
            What::ObjectBegin => self.object()?,
            What::ArrayBegin => self.array()?,
            _ => return Err(self.unexpected("value", token)),
        }
        Ok(())
    }
    fn object(&mut self) -> Result<(), Raise> {
        self.descend(5)?;
        self.s.new_table(0, 0);
        let mut token = self.token();
        if !matches!(token.what, What::ObjectEnd) {
            loop {
                let What::String(key) = &token.what else {
                    return Err(self.unexpected("object key string", &token));
                };
                self.s.push_bytes(key);
                let colon = self.token();
                if !matches!(colon.what, What::Colon) {
                    return Err(self.unexpected("colon", &colon));
                }
                let value = self.token();
                self.value(&value)?;
                self.s.raw_set(-3);
                token = self.token();
                match token.what {
                    What::ObjectEnd => break,
                    What::Comma => token = self.token(),
                    _ => return Err(self.unexpected("comma or object end", &token)),
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }
    fn array(&mut self) -> Result<(), Raise> {
        self.descend(4)?;
        self.s.new_table(0, 0);
        if let Some(metatable) = self.metatable {
            self.s.push_kept(metatable);
            self.s.set_metatable(-2);
        }
        let mut token = self.token();
        let mut i = 1;
        if !matches!(token.what, What::ArrayEnd) {
            loop {
                self.value(&token)?;
                self.s.raw_set_at(-2, i);
                i += 1;
                token = self.token();
                match token.what {
                    What::ArrayEnd => break,
                    What::Comma => token = self.token(),
                    _ => return Err(self.unexpected("comma or array end", &token)),
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }
}

/// Whether what begins here is a number that JSON does not have, though C may read it.
fn invalid_number(text: &[u8]) -> bool {
    let at = |i: usize| text.get(i).copied().unwrap_or(0);
    if at(0) == b'+' {
        return true;
    }
    let from = usize::from(at(0) == b'-');
    match at(from) {
        b'0' => at(from + 1) | 0x20 == b'x' || at(from + 1).is_ascii_digit(),
        c if c <= b'9' => false,
        _ => {
            let word = text.get(from..from + 3).unwrap_or_default();
            word.eq_ignore_ascii_case(b"inf") || word.eq_ignore_ascii_case(b"nan")
        }
    }
}
