//! The 80-bit float that INCRBYFLOAT and HINCRBYFLOAT count in.
//!
//! On x86-64, C's `long double` has a 64-bit mantissa, and clients see its sums: 3.0 + 0.1 is `3.1`, not
//! `3.1000000000000000888`. The arithmetic is `rustc_apfloat`'s software x87, so every machine gives the same reply.
//! Parsing and adding cost some hundred nanoseconds, which these commands can bear.

use super::num;
use rustc_apfloat::{Float, ieee::X87DoubleExtended};

/// The longest text that is read as a number: Redis's limit, which bounds the work of a decimal conversion.
const MAX_LEN: usize = 5 * 1024;

/// Digits behind the point in the printed form, before trailing zeros go.
const DECIMALS: u32 = 17;

/// An x87 double-extended number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LongDouble(X87DoubleExtended);

impl LongDouble {
    /// Zero.
    pub const ZERO: LongDouble = LongDouble(X87DoubleExtended::ZERO);

    /// The number that `s` spells in full, as C's `strtold` reads it; nothing for NaN, for surrounding text, and where
    /// the number over- or underflows.
    pub fn parse(s: &[u8]) -> Option<LongDouble> {
        if s.is_empty() || s.len() >= MAX_LEN {
            return None;
        }
        if let Some(int) = num::parse_i64(s) {
            return Some(LongDouble::from_i64(int));
        }
        let text = std::str::from_utf8(s).ok()?;
        let (negative, unsigned) = match text.as_bytes()[0] {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        if unsigned.eq_ignore_ascii_case("inf") || unsigned.eq_ignore_ascii_case("infinity") {
            let inf = X87DoubleExtended::INFINITY;
            return Some(LongDouble(if negative { -inf } else { inf }));
        }
        if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
            return None;
        }
        let hex = num::hex_float(unsigned, unsigned);
        let is_hex = hex.is_some();
        let value = hex.as_deref().unwrap_or(unsigned).parse::<X87DoubleExtended>().ok()?;
        let nonzero = |c: u8| if is_hex { c.is_ascii_hexdigit() && c != b'0' } else { (b'1'..=b'9').contains(&c) };
        let exponent = if is_hex { b'p' } else { b'e' };
        let significand = unsigned.bytes().take_while(|c| c.to_ascii_lowercase() != exponent);
        if value.is_infinite()
            || value.is_nan()
            || (value.is_zero() && significand.skip(usize::from(is_hex)).any(nonzero))
        {
            return None;
        }
        Some(LongDouble(if negative { -value } else { value }))
    }

    /// The integer `n`, exactly.
    pub fn from_i64(n: i64) -> LongDouble {
        LongDouble(X87DoubleExtended::from_i128(i128::from(n)).value)
    }

    /// Is it a number that can be stored: neither infinite nor NaN?
    pub fn is_finite(self) -> bool {
        self.0.is_finite()
    }

    /// Is it below zero?
    pub fn is_negative(self) -> bool {
        self.0.is_negative() && !self.0.is_zero()
    }

    /// The least integer not below this number, if 64 bits hold it.
    pub fn ceil_i64(self) -> Option<i64> {
        let result = self.0.to_i128_r(64, rustc_apfloat::Round::TowardPositive, &mut false);
        if result.status.contains(rustc_apfloat::Status::INVALID_OP) {
            return None;
        }
        i64::try_from(result.value).ok()
    }

    /// Append the form people read: plain notation with up to 17 decimals, trailing zeros (and a bare point) trimmed,
    /// `-0` as `0`.
    pub fn fmt_human(self, out: &mut Vec<u8>) {
        if self.0.is_nan() {
            out.extend_from_slice(b"nan");
            return;
        }
        let start = out.len();
        if self.0.is_negative() {
            out.push(b'-');
        }
        if self.0.is_infinite() {
            out.extend_from_slice(b"inf");
            return;
        }
        // The x87 format: sign, 15 bits of exponent, 64 bits of mantissa with its leading one explicit.
        let bits = self.0.to_bits();
        let mantissa = bits as u64;
        let biased = ((bits >> 64) & 0x7fff) as i32;
        // value = mantissa * 2^power; denormals share the smallest exponent.
        let power = biased.max(1) - 16_383 - 63;
        if power >= 0 {
            push_shifted(mantissa, power as u32, out);
        } else {
            push_fraction(mantissa, power.unsigned_abs(), out);
        }
        if &out[start..] == b"-0" {
            out.truncate(start);
            out.push(b'0');
        }
    }
}

impl std::ops::Add for LongDouble {
    type Output = LongDouble;

    fn add(self, other: LongDouble) -> LongDouble {
        LongDouble((self.0 + other.0).value)
    }
}

impl std::ops::Mul for LongDouble {
    type Output = LongDouble;

    fn mul(self, other: LongDouble) -> LongDouble {
        LongDouble((self.0 * other.0).value)
    }
}

/// Append mantissa / 2^shift with up to 17 decimals. The scaled value fits 128 bits: 64 + 57.
fn push_fraction(mantissa: u64, shift: u32, out: &mut Vec<u8>) {
    const SCALE: u128 = 10u128.pow(DECIMALS);
    let scaled = u128::from(mantissa) * SCALE;
    // Shifts of 128 and more leave less than half a unit of the last decimal.
    let rounded = if shift >= 128 {
        0
    } else {
        let (whole, rest, half) = (scaled >> shift, scaled & ((1 << shift) - 1), 1u128 << (shift - 1));
        whole + u128::from(rest > half || (rest == half && whole & 1 == 1))
    };
    num::push_u64((rounded / SCALE) as u64, out);
    let fraction = (rounded % SCALE) as u64;
    if fraction != 0 {
        let text = format!(".{fraction:017}");
        out.extend_from_slice(text.trim_end_matches('0').as_bytes());
    }
}

/// Append mantissa * 2^shift, by long arithmetic in base 10^18.
fn push_shifted(mantissa: u64, shift: u32, out: &mut Vec<u8>) {
    const BASE: u128 = 10u128.pow(18);
    let mut limbs = vec![(u128::from(mantissa) % BASE) as u64, (u128::from(mantissa) / BASE) as u64];
    let mut left = shift;
    while left > 0 {
        let step = left.min(60);
        let mut carry = 0u128;
        for limb in &mut limbs {
            let value = (u128::from(*limb) << step) + carry;
            *limb = (value % BASE) as u64;
            carry = value / BASE;
        }
        while carry > 0 {
            limbs.push((carry % BASE) as u64);
            carry /= BASE;
        }
        left -= step;
    }
    while limbs.len() > 1 && limbs.last() == Some(&0) {
        limbs.pop();
    }
    let mut rest = limbs.iter().rev();
    num::push_u64(rest.next().copied().unwrap_or(0), out);
    for limb in rest {
        out.extend_from_slice(format!("{limb:018}").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn human(n: LongDouble) -> String {
        let mut out = Vec::new();
        n.fmt_human(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn sum(a: &str, b: &str) -> String {
        human(LongDouble::parse(a.as_bytes()).unwrap() + LongDouble::parse(b.as_bytes()).unwrap())
    }

    #[test]
    fn sums_print_as_clients_expect() {
        assert_eq!(sum("3", "1.1"), "4.1");
        assert_eq!(sum("10.50", "0.1"), "10.6");
        assert_eq!(sum("5.0e3", "2.0e2"), "5200");
        assert_eq!(sum("1", "-1.1"), "-0.1");
        assert_eq!(sum("-1", "1"), "0");
        assert_eq!(sum("17179869184", "1.5"), "17179869185.5");
        assert_eq!(sum("1.23", "-1.23"), "0");
        assert_eq!(sum("1e300", "0").len(), 301);
        assert_eq!(sum("9223372036854775807", "1"), "9223372036854775808");
    }

    #[test]
    fn large_and_small_values_print_exactly() {
        assert_eq!(sum("36893488147419103232", "0"), "36893488147419103232");
        assert_eq!(sum("1e-17", "0"), "0.00000000000000001");
        assert_eq!(sum("1e-19", "0"), "0");
        assert_eq!(sum("-1e-4000", "0"), "0");
        assert_eq!(sum("0.5", "0"), "0.5");
        assert_eq!(sum("0x1p70", "0"), "1180591620717411303424");
        let huge = sum("0x1p16383", "0");
        assert!(huge.starts_with("594865747678615882542879663314") && huge.len() == 4932, "{}", huge.len());
    }

    #[test]
    fn infinities_parse_and_overflow_does_not() {
        assert!(!LongDouble::parse(b"inf").unwrap().is_finite());
        assert_eq!(human(LongDouble::parse(b"-Infinity").unwrap()), "-inf");
        let nan = LongDouble::parse(b"inf").unwrap() + LongDouble::parse(b"-inf").unwrap();
        assert!(!nan.is_finite());
        for bad in ["", " 1", "1 ", "nan", "1e5000", "1e-6000", "abc", "1a", "--1", "-", ".", "0x", "+inf1", "\u{e9}"] {
            assert_eq!(LongDouble::parse(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(LongDouble::parse(&[b'1'; MAX_LEN]), None);
        assert_eq!(human(LongDouble::parse(b"0e99999999999").unwrap()), "0");
    }

    #[test]
    fn timeouts_round_up() {
        let ms = |s: &str| (LongDouble::parse(s.as_bytes()).unwrap() * LongDouble::from_i64(1000)).ceil_i64();
        assert_eq!(ms("0.0001"), Some(1));
        assert_eq!(ms("1.5"), Some(1500));
        assert_eq!(ms("-1"), Some(-1000));
        assert_eq!(ms("1e300"), None);
        assert_eq!(ms("9223372036854775807"), None);
    }

    proptest! {
        #[test]
        fn integers_print_as_themselves(n: i64) {
            prop_assert_eq!(human(LongDouble::from_i64(n)), n.to_string());
        }

        #[test]
        fn parsing_never_panics(s in proptest::collection::vec(prop_oneof![any::<u8>(), proptest::sample::select(b"0123456789.+-eExXpPinf".to_vec())], 0..30)) {
            if let Some(n) = LongDouble::parse(&s) {
                n.fmt_human(&mut Vec::new());
            }
        }

        #[test]
        fn short_decimals_survive(int in 0u32..16, fraction in 0u32..1_000_000) {
            let text = format!("{int}.{fraction:06}");
            let trimmed = text.trim_end_matches('0').trim_end_matches('.');
            prop_assert_eq!(human(LongDouble::parse(text.as_bytes()).unwrap()), trimmed);
        }
    }
}
