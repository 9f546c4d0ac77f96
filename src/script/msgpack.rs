//! The `cmsgpack` library: MessagePack (<https://github.com/msgpack/msgpack/blob/master/spec-old.md>), as the lua-cmsgpack
//! that Redis scripts know has it.

use super::lua::{Function, Raise, Returns, Stack, Type};
use super::vm::{Pace, afford};

/// Its functions.
pub const FUNCTIONS: &[(&str, Function)] =
    &[("pack", pack), ("unpack", unpack), ("unpack_one", unpack_one), ("unpack_limit", unpack_limit)];

/// Its strings.
pub const STRINGS: &[(&str, &str)] = &[
    ("_NAME", "cmsgpack"),
    ("_VERSION", "lua-cmsgpack 0.4.0"),
    ("_DESCRIPTION", "MessagePack C implementation for Lua"),
];

/// Tables nested deeper are packed as nil.
const MAX_NESTING: u32 = 16;
/// Values nested deeper are not unpacked.
const MAX_DEPTH: u32 = 3000;

fn pack(s: Stack) -> Returns {
    let n = s.top();
    if n == 0 {
        return Err(s.bad_argument(0, "MessagePack pack needs input."));
    }
    if !s.reserve(8) {
        return Err(s.bad_argument(0, "Too many arguments for MessagePack pack."));
    }
    let (mut out, mut pace) = (Vec::new(), Pace::default());
    for i in 1..=n {
        s.push_value(i);
        encode(s, &mut out, 0, &mut pace)?;
    }
    afford(s, out.len())?;
    s.push_bytes(&out);
    Ok(1)
}

/// The header of something of a length: a form of one byte for small ones, then those of 8 (where there is one), 16 and 32
/// bits.
fn header(out: &mut Vec<u8>, n: usize, (small, max): (u8, usize), eight: Option<u8>, wide: [u8; 2]) {
    match (n, eight) {
        (n, _) if n <= max => out.push(small | n as u8),
        (n, Some(mark)) if n <= 0xff => out.extend_from_slice(&[mark, n as u8]),
        (n, _) if n <= 0xffff => {
            out.push(wide[0]);
            out.extend_from_slice(&(n as u16).to_be_bytes());
        }
        (n, _) => {
            out.push(wide[1]);
            out.extend_from_slice(&(n as u32).to_be_bytes());
        }
    }
}

/// Packs the value on top, which goes.
fn encode(s: Stack, out: &mut Vec<u8>, level: u32, pace: &mut Pace) -> Result<(), Raise> {
    pace.step(s, out.len())?;
    match s.type_of(-1) {
        Type::String => {
            let text = s.bytes(-1).unwrap_or_default();
            header(out, text.len(), (0xa0, 31), Some(0xd9), [0xda, 0xdb]);
            out.extend_from_slice(text);
        }
        Type::Boolean => out.push(if s.boolean(-1) { 0xc3 } else { 0xc2 }),
        Type::Number => number(out, s.number(-1)),
        Type::Table if level < MAX_NESTING => table(s, out, level, pace)?,
        _ => out.push(0xc0),
    }
    s.pop(1);
    Ok(())
}

fn number(out: &mut Vec<u8>, d: f64) {
    let n = d as i64;
    if n as f64 != d || n == i64::MAX {
        if f64::from(d as f32) == d {
            out.push(0xca);
            out.extend_from_slice(&(d as f32).to_be_bytes());
        } else {
            out.push(0xcb);
            out.extend_from_slice(&d.to_be_bytes());
        }
        return;
    }
    let mut put = |mark: u8, bytes: &[u8]| {
        out.push(mark);
        out.extend_from_slice(bytes);
    };
    match n {
        0..=127 => put(n as u8, &[]),
        128..=0xff => put(0xcc, &[n as u8]),
        0x100..=0xffff => put(0xcd, &(n as u16).to_be_bytes()),
        0x1_0000..=0xffff_ffff => put(0xce, &(n as u32).to_be_bytes()),
        n if n > 0 => put(0xcf, &n.to_be_bytes()),
        -32.. => put(n as u8, &[]),
        -128.. => put(0xd0, &[n as u8]),
        -0x8000.. => put(0xd1, &(n as i16).to_be_bytes()),
        -0x8000_0000.. => put(0xd2, &(n as i32).to_be_bytes()),
        _ => put(0xd3, &n.to_be_bytes()),
    }
}

fn table(s: Stack, out: &mut Vec<u8>, level: u32, pace: &mut Pace) -> Result<(), Raise> {
    if !s.reserve(6) {
        return Err(s.error("stack overflow (in function mp_encode_lua_table)"));
    }
    match array_len(s) {
        Ok(len) => {
            header(out, len, (0x90, 15), None, [0xdc, 0xdd]);
            for i in 1..=len {
                s.raw_get_at(-1, i as i32);
                encode(s, out, level + 1, pace)?;
            }
        }
        Err(len) => {
            header(out, len, (0x80, 15), None, [0xde, 0xdf]);
            s.push_nil();
            while s.next(-2) {
                s.push_value(-2);
                encode(s, out, level + 1, pace)?;
                encode(s, out, level + 1, pace)?;
            }
        }
    }
    Ok(())
}

/// The length of the table on top if its keys are 1 to n; else how many pairs it has.
fn array_len(s: Stack) -> Result<usize, usize> {
    let (mut count, mut max, mut plain) = (0usize, 0.0, true);
    s.push_nil();
    while s.next(-2) {
        s.pop(1);
        count += 1;
        let k = s.number(-1);
        plain &= s.is(-1, Type::Number) && k >= 1.0 && k.fract() == 0.0 && k <= f64::from(i32::MAX);
        if plain && k > max {
            max = k;
        }
    }
    if plain && max == count as f64 { Ok(count) } else { Err(count) }
}

fn unpack(s: Stack) -> Returns {
    s.set_top(1);
    unpack_some(s, 0, 0)
}

fn unpack_one(s: Stack) -> Returns {
    let offset = s.opt_integer(2, 0)?;
    s.set_top(1);
    unpack_some(s, 1, offset)
}

fn unpack_limit(s: Stack) -> Returns {
    let (limit, offset) = (s.check_integer(2)?, s.opt_integer(3, 0)?);
    s.set_top(1);
    unpack_some(s, limit, offset)
}

fn unpack_some(s: Stack, limit: i64, offset: i64) -> Returns {
    let data = s.check_bytes(1)?;
    let all = limit == 0 && offset == 0;
    if offset < 0 || limit < 0 {
        return Err(s.error(format!("Invalid request to unpack with offset of {offset} and limit of {}.", data.len())));
    }
    if offset as u64 > data.len() as u64 {
        return Err(s.error(format!("Start offset {offset} greater than input length {}.", data.len())));
    }
    let most = if all { i64::from(i32::MAX) } else { limit };
    let mut c = Cursor { data, at: offset as usize, pace: Pace::default() };
    let mut count = 0;
    while c.at < data.len() && i64::from(count) < most {
        c.value(s, 0).map_err(|e| match e {
            Bad::Short => s.error("Missing bytes in input."),
            Bad::Format => s.error("Bad data format in input."),
            Bad::Raised(raise) => raise,
        })?;
        count += 1;
    }
    if all {
        return Ok(count);
    }
    if !s.reserve(1) {
        return Err(s.error("stack overflow (in function mp_unpack_full)"));
    }
    s.push_number(if c.at == data.len() { -1.0 } else { c.at as f64 });
    s.insert(2);
    Ok(count + 1)
}

enum Bad {
    Short,
    Format,
    Raised(Raise),
}

struct Cursor<'a> {
    data: &'a [u8],
    at: usize,
    pace: Pace,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], Bad> {
        let part = self.at.checked_add(n).and_then(|end| self.data.get(self.at..end)).ok_or(Bad::Short)?;
        self.at += n;
        Ok(part)
    }
    fn word<const N: usize>(&mut self) -> Result<[u8; N], Bad> {
        self.take(N)?.try_into().map_err(|_| Bad::Short)
    }
    /// Unpacks one value onto the stack.
    fn value(&mut self, s: Stack, depth: u32) -> Result<(), Bad> {
        if depth > MAX_DEPTH || !s.reserve(4) {
            return Err(Bad::Raised(
                s.error("stack overflow (too many return values at once; use unpack_one or unpack_limit instead.)"),
            ));
        }
        self.pace.step(s, 0).map_err(Bad::Raised)?;
        let [mark] = self.word()?;
        match mark {
            0x00..=0x7f => s.push_number(f64::from(mark)),
            0xe0..=0xff => s.push_number(f64::from(mark as i8)),
            0xcc => s.push_number(f64::from(u8::from_be_bytes(self.word()?))),
            0xcd => s.push_number(f64::from(u16::from_be_bytes(self.word()?))),
            0xce => s.push_number(f64::from(u32::from_be_bytes(self.word()?))),
            0xcf => s.push_number(u64::from_be_bytes(self.word()?) as f64),
            0xd0 => s.push_number(f64::from(i8::from_be_bytes(self.word()?))),
            0xd1 => s.push_number(f64::from(i16::from_be_bytes(self.word()?))),
            0xd2 => s.push_number(f64::from(i32::from_be_bytes(self.word()?))),
            0xd3 => s.push_number(i64::from_be_bytes(self.word()?) as f64),
            0xca => s.push_number(f64::from(f32::from_be_bytes(self.word()?))),
            0xcb => s.push_number(f64::from_be_bytes(self.word()?)),
            0xc0 => s.push_nil(),
            0xc2 => s.push_boolean(false),
            0xc3 => s.push_boolean(true),
            0xa0..=0xbf => s.push_bytes(self.take(usize::from(mark & 0x1f))?),
            0xd9 => {
                let [n] = self.word()?;
                s.push_bytes(self.take(usize::from(n))?);
            }
            0xda => {
                let n = u16::from_be_bytes(self.word()?);
                s.push_bytes(self.take(usize::from(n))?);
            }
            0xdb => {
                let n = u32::from_be_bytes(self.word()?);
                s.push_bytes(self.take(n as usize)?);
            }
            0x90..=0x9f => self.array(s, depth, u32::from(mark & 0xf))?,
            0xdc => {
                let n = u16::from_be_bytes(self.word()?);
                self.array(s, depth, u32::from(n))?;
            }
            0xdd => {
                let n = u32::from_be_bytes(self.word()?);
                self.array(s, depth, n)?;
            }
            0x80..=0x8f => self.map(s, depth, u32::from(mark & 0xf))?,
            0xde => {
                let n = u16::from_be_bytes(self.word()?);
                self.map(s, depth, u32::from(n))?;
            }
            0xdf => {
                let n = u32::from_be_bytes(self.word()?);
                self.map(s, depth, n)?;
            }
            _ => return Err(Bad::Format),
        }
        Ok(())
    }
    fn array(&mut self, s: Stack, depth: u32, n: u32) -> Result<(), Bad> {
        s.new_table(0, 0);
        for i in 1..=n {
            self.value(s, depth + 1)?;
            s.raw_set_at(-2, i as i32);
        }
        Ok(())
    }
    fn map(&mut self, s: Stack, depth: u32, n: u32) -> Result<(), Bad> {
        s.new_table(0, 0);
        for _ in 0..n {
            self.value(s, depth + 1)?;
            self.value(s, depth + 1)?;
            // What Lua refuses as a key it would refuse by a jump.
            if s.is(-2, Type::Nil) {
                return Err(Bad::Raised(s.error("table index is nil")));
            }
            if s.is(-2, Type::Number) && s.number(-2).is_nan() {
                return Err(Bad::Raised(s.error("table index is NaN")));
            }
            s.raw_set(-3);
        }
        Ok(())
    }
}
