//! Numbers as C prints and reads them: `%.14g`, and `strtod`.

/// The number as `%.<precision>g` prints it.
pub fn format_g(d: f64, precision: usize) -> String {
    if d.is_nan() {
        return if d.is_sign_negative() { "-nan" } else { "nan" }.to_owned();
    }
    if d.is_infinite() {
        return if d < 0.0 { "-inf" } else { "inf" }.to_owned();
    }
    let precision = precision.max(1);
    let scientific = format!("{:.*e}", precision - 1, d);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |s: &str| match s.contains('.') {
        true => s.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => s.to_owned(),
    };
    if exponent < -4 || exponent >= precision as i32 {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trim(mantissa), exponent.unsigned_abs());
    }
    trim(&format!("{:.*}", (precision as i32 - 1 - exponent).max(0) as usize, d))
}

/// The number that a text begins with, and how many bytes of it that is: decimal, hexadecimal, infinities and NaN, as C has
/// them.
pub fn parse_prefix(text: &[u8]) -> Option<(f64, usize)> {
    let at = |i: usize| text.get(i).copied().unwrap_or(0);
    let negative = at(0) == b'-';
    let signed = usize::from(negative || at(0) == b'+');
    let sign = |d: f64| if negative { -d } else { d };
    let word = |w: &str| text.get(signed..signed + w.len()).is_some_and(|t| t.eq_ignore_ascii_case(w.as_bytes()));
    if word("infinity") {
        return Some((sign(f64::INFINITY), signed + 8));
    }
    if word("inf") {
        return Some((sign(f64::INFINITY), signed + 3));
    }
    if word("nan") {
        return Some((sign(f64::NAN), signed + 3));
    }
    if at(signed) == b'0' && at(signed + 1) | 0x20 == b'x' && at(signed + 2).is_ascii_hexdigit() {
        return Some(hexadecimal(text, signed + 2)).map(|(d, end)| (sign(d), end));
    }
    let digits = |mut i: usize| {
        while at(i).is_ascii_digit() {
            i += 1;
        }
        i
    };
    let mut end = digits(signed);
    let mut any = end > signed;
    if at(end) == b'.' {
        let fraction = digits(end + 1);
        any |= fraction > end + 1;
        end = if any { fraction } else { end };
    }
    if !any {
        return None;
    }
    if at(end) | 0x20 == b'e' {
        let from = end + 1 + usize::from(matches!(at(end + 1), b'+' | b'-'));
        let until = digits(from);
        if until > from {
            end = until;
        }
    }
    let d = std::str::from_utf8(&text[..end]).ok()?.parse().ok()?;
    Some((d, end))
}

/// The hexadecimal number whose digits begin at `from`.
fn hexadecimal(text: &[u8], from: usize) -> (f64, usize) {
    let at = |i: usize| text.get(i).copied().unwrap_or(0);
    let digit = |c: u8| f64::from((c as char).to_digit(16).unwrap_or(0));
    let (mut i, mut value) = (from, 0.0);
    while at(i).is_ascii_hexdigit() {
        value = value * 16.0 + digit(at(i));
        i += 1;
    }
    if at(i) == b'.' {
        i += 1;
        let mut unit = 1.0 / 16.0;
        while at(i).is_ascii_hexdigit() {
            value += digit(at(i)) * unit;
            unit /= 16.0;
            i += 1;
        }
    }
    if at(i) | 0x20 == b'p' {
        let negative = at(i + 1) == b'-';
        let mut j = i + 1 + usize::from(matches!(at(i + 1), b'+' | b'-'));
        if at(j).is_ascii_digit() {
            let mut exponent = 0i32;
            while at(j).is_ascii_digit() {
                exponent = (exponent * 10 + i32::from(at(j) - b'0')).min(10_000);
                j += 1;
            }
            value *= 2f64.powi(if negative { -exponent } else { exponent });
            i = j;
        }
    }
    (value, i)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_print_as_in_c() {
        for (d, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (-0.5, "-0.5"),
            (2.123456789012345, "2.1234567890123"),
            (1e15, "1e+15"),
            (123456789012345.0, "1.2345678901234e+14"),
            (12345678901234.0, "12345678901234"),
            (1e-5, "1e-05"),
            (0.0001, "0.0001"),
            (1.5e300, "1.5e+300"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(format_g(d, 14), text);
        }
        assert_eq!(format_g(0.123456, 3), "0.123");
    }

    #[test]
    fn numbers_are_read_as_far_as_they_go() {
        let read = |s: &str| parse_prefix(s.as_bytes());
        assert_eq!(read("12.5e3x"), Some((12500.0, 6)));
        assert_eq!(read("1e+"), Some((1.0, 1)));
        assert_eq!(read("-0x1F,"), Some((-31.0, 5)));
        assert_eq!(read("0x1.8p1"), Some((3.0, 7)));
        assert_eq!(read("-Infinity"), Some((f64::NEG_INFINITY, 9)));
        assert_eq!(read("-.5"), Some((-0.5, 3)));
        assert_eq!(read("-"), None);
        assert_eq!(read("."), None);
    }
}
