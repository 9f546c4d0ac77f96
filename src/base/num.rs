//! Numbers as clients write and read them.
//!
//! Parsing is as strict as Redis's: an integer has exactly one spelling (no sign `+`, no leading zero, no space), a
//! float is whatever C's `strtod` accepts in full. Printing a double gives what Valkey's replies hold: integers of up
//! to 62 bits without point or exponent, anything else as its shortest digits that read back to the same double, with
//! an exponent only where plain notation would be long. The digits come from `ryu`; only their layout is ours.

use rustc_apfloat::{Float, ieee::Double};

/// The longest text of an `i64`, sign included.
pub const MAX_I64_LEN: usize = 20;

/// The integer that `s` spells in the one canonical way, or nothing.
#[inline]
pub fn parse_i64(s: &[u8]) -> Option<i64> {
    let (negative, digits) = match s {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, s),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    let mut value = 0u64;
    for &c in digits {
        let digit = c.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        // 19 digits stay below 10^19, which fits 64 bits.
        value = value * 10 + u64::from(digit);
    }
    if negative { 0i64.checked_sub_unsigned(value) } else { i64::try_from(value).ok() }
}

/// The unsigned integer that the decimal digits `s` spell; leading zeros are fine, signs are not.
pub fn parse_u64(s: &[u8]) -> Option<u64> {
    if s.is_empty() {
        return None;
    }
    s.iter().try_fold(0u64, |value, &c| {
        let digit = c.wrapping_sub(b'0');
        if digit > 9 { None } else { value.checked_mul(10)?.checked_add(u64::from(digit)) }
    })
}

/// The double that `s` spells in full, as C's `strtod` reads it: decimal or hexadecimal, `inf`, `infinity` in any
/// case. Nothing for NaN, for text around the number, and for a number that over- or underflows.
pub fn parse_f64(s: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(s).ok()?;
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if unsigned.starts_with(['+', '-']) {
        return None;
    }
    if let Some(hex) = hex_float(text, unsigned) {
        let parsed = hex.parse::<Double>().ok()?;
        let value = f64::from_bits(parsed.to_bits() as u64);
        let zero_digits =
            unsigned[2..].bytes().take_while(|c| !matches!(c, b'p' | b'P')).all(|c| c == b'0' || c == b'.');
        return (value.is_finite() && (value != 0.0 || zero_digits)).then_some(value);
    }
    let value = text.parse::<f64>().ok()?;
    if value.is_nan() {
        return None;
    }
    let digits = || unsigned.bytes().take_while(|c| !matches!(c, b'e' | b'E'));
    if value.is_infinite() && unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    if value == 0.0 && digits().any(|c| (b'1'..=b'9').contains(&c)) {
        return None;
    }
    Some(value)
}

/// If `unsigned` (`text` without its sign) is a hexadecimal float, `text` with the exponent that the parser insists on.
pub(super) fn hex_float(text: &str, unsigned: &str) -> Option<String> {
    if !unsigned.starts_with("0x") && !unsigned.starts_with("0X") {
        return None;
    }
    let exponent = if unsigned.contains(['p', 'P']) { "" } else { "p0" };
    Some(format!("{text}{exponent}").to_ascii_lowercase())
}

/// Append the decimal form of `n`.
#[inline]
pub fn push_i64(n: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
}

/// Append the decimal form of `n`.
#[inline]
pub fn push_u64(n: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
}

/// The integer that `value` is, where that is exact and within 62 bits.
pub fn exact_i64(value: f64) -> Option<i64> {
    const LIMIT: f64 = (i64::MAX / 2) as f64;
    if !(-LIMIT..=LIMIT).contains(&value) {
        return None;
    }
    let int = value as i64;
    (int as f64 == value).then_some(int)
}

/// Append `value` as replies and sorted set scores show it: `3`, `-0`, `1.5`, `1e+21`, `inf`, `-inf`, `nan`. RESP2 puts
/// these bytes into a bulk string, RESP3 behind a `,`.
pub fn fmt_f64(value: f64, out: &mut Vec<u8>) {
    if value.is_nan() {
        out.extend_from_slice(b"nan");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"inf" } else { b"-inf" });
    } else if value == 0.0 {
        out.extend_from_slice(if value.is_sign_negative() { b"-0" } else { b"0" });
    } else if let Some(int) = exact_i64(value) {
        push_i64(int, out);
    } else {
        if value < 0.0 {
            out.push(b'-');
        }
        lay_out(value.abs(), out);
    }
}

/// Lay the shortest digits of a positive finite number out as Valkey's printer does.
fn lay_out(value: f64, out: &mut Vec<u8>) {
    let mut digits = [0u8; 17];
    let (n, k) = shortest(value, &mut digits);
    let digits = &digits[..n];
    let n = n as i32;
    // value = digits * 10^k; the first digit stands at 10^(n + k - 1).
    let magnitude = (n + k - 1).abs();
    if k >= 0 && magnitude < n + 7 {
        out.extend_from_slice(digits);
        out.resize(out.len() + k as usize, b'0');
    } else if k < 0 && (k > -7 || magnitude < 4) {
        let before_point = n + k;
        if before_point <= 0 {
            out.extend_from_slice(b"0.");
            out.resize(out.len() + before_point.unsigned_abs() as usize, b'0');
            out.extend_from_slice(digits);
        } else {
            let (int, fraction) = digits.split_at(before_point as usize);
            out.extend_from_slice(int);
            out.push(b'.');
            out.extend_from_slice(fraction);
        }
    } else {
        out.push(digits[0]);
        if n > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        out.extend_from_slice(if n + k - 1 < 0 { b"e-" } else { b"e+" });
        push_i64(i64::from(magnitude), out);
    }
}

/// The shortest digits of a positive finite number: how many, and the power of ten that the last of them counts.
fn shortest(value: f64, digits: &mut [u8; 17]) -> (usize, i32) {
    let mut buffer = ryu::Buffer::new();
    let text = buffer.format_finite(value).as_bytes();
    let (mantissa, exponent) = match text.iter().position(|&c| c == b'e') {
        Some(e) => (&text[..e], std::str::from_utf8(&text[e + 1..]).ok().and_then(|s| s.parse().ok()).unwrap_or(0)),
        None => (text, 0i32),
    };
    let point = mantissa.iter().position(|&c| c == b'.').unwrap_or(mantissa.len());
    let mut k = exponent - (mantissa.len() - point).saturating_sub(1) as i32;
    let mut n = 0;
    // `ryu` may pad with zeros on either side ("0.001", "100.0"): they are no digits of the number.
    let end = mantissa.iter().rposition(|&c| (b'1'..=b'9').contains(&c)).map_or(0, |last| last + 1);
    for &c in &mantissa[..end] {
        if c != b'.' && (c != b'0' || n > 0) {
            digits[n] = c;
            n += 1;
        }
    }
    k += mantissa[end..].iter().filter(|&&c| c == b'0').count() as i32;
    (n, k)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn f(value: f64) -> String {
        let mut out = Vec::new();
        fmt_f64(value, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn integers_have_one_spelling() {
        assert_eq!(parse_i64(b"0"), Some(0));
        assert_eq!(parse_i64(b"-1"), Some(-1));
        assert_eq!(parse_i64(b"9223372036854775807"), Some(i64::MAX));
        assert_eq!(parse_i64(b"-9223372036854775808"), Some(i64::MIN));
        for bad in [
            "",
            "-",
            "+1",
            "01",
            "-0",
            " 1",
            "1 ",
            "1a",
            "9223372036854775808",
            "-9223372036854775809",
            "99999999999999999999",
        ] {
            assert_eq!(parse_i64(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn unsigned_integers_take_zeros_in_front_but_no_sign() {
        assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(parse_u64(b"007"), Some(7));
        for bad in ["", "-1", "+1", "18446744073709551616", "1 "] {
            assert_eq!(parse_u64(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn floats_are_what_strtod_takes_in_full() {
        for (text, value) in [
            ("3", 3.0),
            ("+3.5", 3.5),
            ("-.5", -0.5),
            ("5.", 5.0),
            ("1e3", 1000.0),
            ("1E-2", 0.01),
            ("inf", f64::INFINITY),
            ("+INF", f64::INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
            ("0x10", 16.0),
            ("0x1.8p1", 3.0),
            ("-0X.8", -0.5),
            ("0e999", 0.0),
            ("0x0p9", 0.0),
            ("5e-324", 5e-324),
            ("1.7976931348623157e308", f64::MAX),
        ] {
            assert_eq!(parse_f64(text.as_bytes()), Some(value), "{text}");
        }
        for bad in [
            "",
            " 1",
            "1 ",
            "nan",
            "-nan",
            "1e",
            "1e400",
            "-1e400",
            "1e-400",
            ".",
            "+",
            "--1",
            "+-1",
            "0x",
            "0xp1",
            "1_0",
            "1\0",
            "infin",
            "0x1p2000",
            "0x1p-2000",
            "12abc",
        ] {
            assert_eq!(parse_f64(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(parse_f64(b"\xff"), None);
    }

    #[test]
    fn doubles_print_as_valkey_prints_them() {
        for (value, text) in [
            (3.0, "3"),
            (-0.0, "-0"),
            (0.0, "0"),
            (0.1, "0.1"),
            (2.75, "2.75"),
            (0.30000000000000004, "0.30000000000000004"),
            (-12.5, "-12.5"),
            (1e21, "1e+21"),
            (1e-7, "1e-7"),
            (1.5e-5, "0.000015"),
            (1.5e-6, "1.5e-6"),
            (1.5e-7, "1.5e-7"),
            (1.234567e-5, "1.234567e-5"),
            (1.234e-3, "0.001234"),
            (0.00012345678, "1.2345678e-4"),
            (1e17, "100000000000000000"),
            (4e18, "4000000000000000000"),
            (1.2345678901234567e19, "12345678901234567000"),
            (1.7976931348623157e308, "1.7976931348623157e+308"),
            (5e-324, "5e-324"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
            (9007199254740993.0, "9007199254740992"),
        ] {
            assert_eq!(f(value), text);
        }
    }

    proptest! {
        #[test]
        fn every_double_reads_back(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            prop_assert_eq!(parse_f64(f(value).as_bytes()), Some(value));
        }

        #[test]
        fn every_integer_reads_back(n: i64) {
            let mut out = Vec::new();
            push_i64(n, &mut out);
            prop_assert_eq!(parse_i64(&out), Some(n));
        }

        #[test]
        fn parsing_never_panics(s in proptest::collection::vec(prop_oneof![any::<u8>(), proptest::sample::select(b"0123456789.+-eExXpPinf".to_vec())], 0..30)) {
            parse_i64(&s);
            parse_u64(&s);
            parse_f64(&s);
        }
    }
}
