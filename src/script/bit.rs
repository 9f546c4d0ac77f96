//! The `bit` library: operations on 32-bit integers, as Lua BitOp has them (<https://bitop.luajit.org/api.html>).

use std::ffi::c_int;

use super::lua::{Function, Raise, Returns, Stack};

/// Its functions.
pub const FUNCTIONS: &[(&str, Function)] = &[
    ("tobit", |s| result(s, bits(s, 1)?)),
    ("bnot", |s| result(s, !bits(s, 1)?)),
    ("band", |s| fold(s, |a, b| a & b)),
    ("bor", |s| fold(s, |a, b| a | b)),
    ("bxor", |s| fold(s, |a, b| a ^ b)),
    ("lshift", |s| shift(s, |b, n| b << n)),
    ("rshift", |s| shift(s, |b, n| b >> n)),
    ("arshift", |s| shift(s, |b, n| (b as i32 >> n) as u32)),
    ("rol", |s| shift(s, u32::rotate_left)),
    ("ror", |s| shift(s, u32::rotate_right)),
    ("bswap", |s| result(s, bits(s, 1)?.swap_bytes())),
    ("tohex", tohex),
];

/// The argument, modulo 2^32, rounded to the nearest integer (ties to even).
fn bits(s: Stack, n: c_int) -> Result<u32, Raise> {
    // The low bits of the sum are those of the integer: 2^52 + 2^51.
    let b = (s.number(n) + 6_755_399_441_055_744.0).to_bits() as u32;
    if b == 0 && !s.is_number(n) {
        return Err(s.bad_type(n, "number"));
    }
    Ok(b)
}

fn result(s: Stack, b: u32) -> Returns {
    s.push_number(f64::from(b as i32));
    Ok(1)
}

fn fold(s: Stack, op: fn(u32, u32) -> u32) -> Returns {
    let mut b = bits(s, 1)?;
    for i in (2..=s.top()).rev() {
        b = op(b, bits(s, i)?);
    }
    result(s, b)
}

fn shift(s: Stack, op: fn(u32, u32) -> u32) -> Returns {
    let (b, n) = (bits(s, 1)?, bits(s, 2)? & 31);
    result(s, op(b, n))
}

fn tohex(s: Stack) -> Returns {
    let b = bits(s, 1)?;
    let n = if s.top() < 2 { 8 } else { bits(s, 2)? as i32 };
    let digits = n.unsigned_abs().min(8) as usize;
    let text = if n < 0 { format!("{b:08X}") } else { format!("{b:08x}") };
    s.push_bytes(&text.as_bytes()[8 - digits..]);
    Ok(1)
}
