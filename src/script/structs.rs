//! The `struct` library: values in and out of strings with a format, as Roberto Ierusalimschy's has it
//! (<https://www.inf.puc-rio.br/~roberto/struct/>).

use std::ffi::c_int;

use super::lua::{Function, Raise, Returns, Stack};
use super::vm::afford;

/// Its functions.
pub const FUNCTIONS: &[(&str, Function)] = &[("pack", pack), ("unpack", unpack), ("size", size)];

/// The widest integer, bytes.
const MAX_INTEGER: usize = 32;
/// The alignment of `!`.
const MAX_ALIGN: usize = 8;

/// A format on its way, with what its control options have set.
struct Format<'a> {
    rest: &'a [u8],
    big: bool,
    align: usize,
}

impl<'a> Format<'a> {
    fn new(text: &'a [u8]) -> Format<'a> {
        let end = text.iter().position(|c| *c == 0).unwrap_or(text.len());
        Format { rest: &text[..end], big: false, align: 1 }
    }
    fn next(&mut self) -> Option<u8> {
        let (&c, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(c)
    }
    fn number(&mut self, s: Stack, default: usize) -> Result<usize, Raise> {
        let digits = self.rest.iter().take_while(|c| c.is_ascii_digit()).count();
        if digits == 0 {
            return Ok(default);
        }
        let mut n = 0i64;
        for c in &self.rest[..digits] {
            n = n * 10 + i64::from(c - b'0');
            if n > i64::from(i32::MAX) {
                return Err(s.error("integral size overflow"));
            }
        }
        self.rest = &self.rest[digits..];
        Ok(n as usize)
    }
    /// The size of an option's item.
    fn size(&mut self, s: Stack, option: u8) -> Result<usize, Raise> {
        Ok(match option {
            b'B' | b'b' | b'x' => 1,
            b'H' | b'h' => 2,
            b'L' | b'l' | b'T' | b'd' => 8,
            b'f' => 4,
            b'c' => self.number(s, 1)?,
            b'i' | b'I' => {
                let n = self.number(s, 4)?;
                if n > MAX_INTEGER {
                    return Err(s.error(format!("integral size {n} is larger than limit of {MAX_INTEGER}")));
                }
                n
            }
            _ => 0,
        })
    }
    /// Bytes of padding before an item of this size.
    fn padding(&self, at: usize, option: u8, size: usize) -> usize {
        if size == 0 || option == b'c' {
            return 0;
        }
        let size = size.min(self.align);
        size.wrapping_sub(at & (size - 1)) & (size - 1)
    }
    /// An option that stands for no item.
    fn control(&mut self, s: Stack, option: u8) -> Result<(), Raise> {
        match option {
            b' ' => {}
            b'>' => self.big = true,
            b'<' => self.big = false,
            b'!' => {
                let n = self.number(s, MAX_ALIGN)?;
                if !n.is_power_of_two() {
                    return Err(s.error(format!("alignment {n} is not a power of 2")));
                }
                self.align = n;
            }
            other => return Err(s.bad_argument(1, &format!("invalid format option '{}'", char::from(other)))),
        }
        Ok(())
    }
    fn put(&self, little: &[u8], out: &mut Vec<u8>) {
        if self.big {
            out.extend(little.iter().rev());
        } else {
            out.extend_from_slice(little);
        }
    }
    fn take<const N: usize>(&self, bytes: &[u8]) -> [u8; N] {
        let mut word = [0; N];
        for (w, b) in word.iter_mut().zip(bytes) {
            *w = *b;
        }
        if self.big {
            word.reverse();
        }
        word
    }
}

fn pack(s: Stack) -> Returns {
    let mut f = Format::new(s.check_bytes(1)?);
    let mut out = Vec::new();
    let (mut arg, mut total): (c_int, usize) = (2, 0);
    while let Some(option) = f.next() {
        let mut size = f.size(s, option)?;
        let padding = f.padding(total, option, size);
        out.resize(out.len() + padding, 0);
        total += padding;
        match option {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                let n = s.check_number(arg)?;
                arg += 1;
                let value = word_of(n);
                let mut word = [0; MAX_INTEGER];
                word[..8].copy_from_slice(&value.to_le_bytes());
                f.put(&word[..size], &mut out);
            }
            b'x' => out.push(0),
            b'f' => {
                f.put(&(s.check_number(arg)? as f32).to_le_bytes(), &mut out);
                arg += 1;
            }
            b'd' => {
                f.put(&s.check_number(arg)?.to_le_bytes(), &mut out);
                arg += 1;
            }
            b'c' | b's' => {
                let text = s.check_bytes(arg)?;
                arg += 1;
                if size == 0 {
                    size = text.len();
                }
                let Some(part) = text.get(..size) else { return Err(s.bad_argument(arg, "string too short")) };
                afford(s, out.len().saturating_add(size))?;
                out.extend_from_slice(part);
                if option == b's' {
                    out.push(0);
                    size += 1;
                }
            }
            other => f.control(s, other)?,
        }
        total += size;
    }
    s.push_bytes(&out);
    Ok(1)
}

fn unpack(s: Stack) -> Returns {
    let mut f = Format::new(s.check_bytes(1)?);
    let data = s.check_bytes(2)?;
    let pos = s.opt_integer(3, 1)?;
    if pos <= 0 {
        return Err(s.bad_argument(3, "offset must be 1 or greater"));
    }
    let mut pos = pos as usize - 1;
    let mut n = 0;
    let short = |s: Stack| s.bad_argument(2, "data string too short");
    while let Some(option) = f.next() {
        let mut size = f.size(s, option)?;
        pos = pos.saturating_add(f.padding(pos, option, size));
        let Some(item) = pos.checked_add(size).and_then(|end| data.get(pos..end)) else { return Err(short(s)) };
        if !s.reserve(2) {
            return Err(s.error("stack overflow (too many results)"));
        }
        match option {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                s.push_number(integer(&f, item, option.is_ascii_lowercase()));
                n += 1;
            }
            b'x' => {}
            b'f' => {
                s.push_number(f64::from(f32::from_le_bytes(f.take(item))));
                n += 1;
            }
            b'd' => {
                s.push_number(f64::from_le_bytes(f.take(item)));
                n += 1;
            }
            b'c' => {
                let mut item = item;
                if size == 0 {
                    if n == 0 || !s.is_number(-1) {
                        return Err(s.error("format 'c0' needs a previous size"));
                    }
                    size = s.number(-1) as usize;
                    s.pop(1);
                    n -= 1;
                    let Some(whole) = pos.checked_add(size).and_then(|end| data.get(pos..end)) else {
                        return Err(short(s));
                    };
                    item = whole;
                }
                s.push_bytes(item);
                n += 1;
            }
            b's' => {
                let rest = data.get(pos..).unwrap_or_default();
                let Some(end) = rest.iter().position(|c| *c == 0) else {
                    return Err(s.error("unfinished string in data"));
                };
                size = end + 1;
                s.push_bytes(&rest[..end]);
                n += 1;
            }
            other => f.control(s, other)?,
        }
        pos += size;
    }
    s.push_number((pos + 1) as f64);
    Ok(n + 1)
}

/// An integer of any width; of more than eight bytes only the low ones count.
fn integer(f: &Format<'_>, item: &[u8], signed: bool) -> f64 {
    let mut value = 0u64;
    let mut add = |b: &u8| value = value << 8 | u64::from(*b);
    if f.big {
        item.iter().for_each(&mut add);
    } else {
        item.iter().rev().for_each(&mut add);
    }
    if !signed {
        return value as f64;
    }
    let unused = 64 - 8 * item.len().clamp(1, 8) as u32;
    ((value << unused) as i64 >> unused) as f64
}

fn size(s: Stack) -> Returns {
    let mut f = Format::new(s.check_bytes(1)?);
    let mut pos = 0usize;
    while let Some(option) = f.next() {
        let size = f.size(s, option)?;
        pos = pos.saturating_add(f.padding(pos, option, size));
        match option {
            b's' => return Err(s.bad_argument(1, "option 's' has no fixed size")),
            b'c' if size == 0 => return Err(s.bad_argument(1, "option 'c0' has no fixed size")),
            o if !o.is_ascii_alphanumeric() => f.control(s, o)?,
            _ => {}
        }
        pos = pos.saturating_add(size);
    }
    s.push_number(pos as f64);
    Ok(1)
}

/// A number as 64 bits. What does not fit becomes what an x86 processor, and so Redis on it, makes of it.
fn word_of(n: f64) -> u64 {
    const HALF: f64 = (1u64 << 63) as f64;
    let truncated = |n: f64| if (-HALF..HALF).contains(&n) { n as i64 } else { i64::MIN };
    if n >= HALF { truncated(n - HALF) as u64 ^ (1 << 63) } else { truncated(n) as u64 }
}

#[cfg(test)]
mod tests {
    use super::word_of;

    /// Infinity was packed as the greatest number.
    #[test]
    fn numbers_beyond_64_bits_are_packed_as_redis_packs_them() {
        assert_eq!([2.9, -2.9, 1e19].map(word_of), [2, -2i64 as u64, 10_000_000_000_000_000_000]);
        assert_eq!([f64::INFINITY, 1e300].map(word_of), [0, 0]);
        assert_eq!([f64::NAN, f64::NEG_INFINITY, -1e300].map(word_of), [1 << 63; 3]);
    }
}
