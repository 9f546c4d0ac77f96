//! Arguments as numbers and words, with the error texts that go with them.

use crate::base::num;
use crate::resp::Error;

/// Whether an argument is this word, in any case.
#[inline]
pub fn is(arg: &[u8], word: &str) -> bool {
    arg.eq_ignore_ascii_case(word.as_bytes())
}
/// A 64-bit integer.
#[inline]
pub fn int(arg: &[u8]) -> Result<i64, Error> {
    num::parse_i64(arg).ok_or(Error::NOT_INT)
}

/// A hash slot.
pub fn slot(arg: &[u8]) -> Result<u16, Error> {
    let slot = int(arg).ok().and_then(|n| u16::try_from(n).ok()).filter(|&slot| slot < crate::base::slot::SLOTS);
    slot.ok_or(Error::new("ERR Invalid or out of range slot"))
}
/// A 64-bit integer from `min` on, or the error that Redis has for a negative number.
pub fn int_in(arg: &[u8], min: i64, max: i64, text: Option<&'static str>) -> Result<i64, Error> {
    let n = match (num::parse_i64(arg), text) {
        (Some(n), _) => n,
        (None, Some(text)) => return Err(Error::new(text)),
        (None, None) => return Err(Error::NOT_INT),
    };
    if (min..=max).contains(&n) {
        return Ok(n);
    }
    Err(match text {
        Some(text) => Error::new(text),
        None if min == 0 => Error::new("ERR value is out of range, must be positive"),
        None => Error::owned(format!("ERR value is out of range, value must between {min} and {max}")),
    })
}
/// An integer that is not negative.
pub fn positive(arg: &[u8]) -> Result<i64, Error> {
    int_in(arg, 0, i64::MAX, Some("ERR value is out of range, must be positive"))
}
/// A floating point number.
pub fn float(arg: &[u8]) -> Result<f64, Error> {
    num::parse_f64(arg).ok_or(Error::NOT_FLOAT)
}
/// The timeout of a blocking command, seconds with a fraction, as milliseconds. 0: none.
pub fn timeout(arg: &[u8], now: i64) -> Result<i64, Error> {
    let seconds = num::parse_f64(arg).ok_or(Error::TIMEOUT)?;
    if seconds < 0.0 {
        return Err(Error::NEG_TIMEOUT);
    }
    let ms = (seconds * 1000.0).ceil();
    if ms > i64::MAX as f64 - now as f64 {
        return Err(Error::new("ERR timeout is out of range"));
    }
    Ok(ms as i64)
}
/// A timeout in milliseconds, which ends before the end of time. 0: none.
pub fn timeout_ms(arg: &[u8], now: i64) -> Result<i64, Error> {
    match num::parse_i64(arg) {
        None => Err(Error::new("ERR timeout is not an integer or out of range")),
        Some(..0) => Err(Error::NEG_TIMEOUT),
        Some(ms) if ms > i64::MAX - now => Err(Error::new("ERR timeout is out of range")),
        Some(ms) => Ok(ms),
    }
}
/// The cursor of a SCAN command.
pub fn cursor(arg: &[u8]) -> Result<u64, Error> {
    std::str::from_utf8(arg).ok().and_then(|s| s.parse().ok()).ok_or(Error::CURSOR)
}

/// The units and kinds in which an expiry is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Millis,
}

/// The moment (unix ms) that an expiry argument means. `absolute`: a point in time, else from `now` on. With
/// `must_be_positive` zero and less are refused, as SET does.
pub fn expiry(
    arg: &[u8],
    unit: Unit,
    absolute: bool,
    now: i64,
    must_be_positive: bool,
    name: &str,
) -> Result<i64, Error> {
    let n = int(arg)?;
    if must_be_positive && n <= 0 {
        return Err(Error::expire(name));
    }
    let ms = match unit {
        Unit::Seconds => n.checked_mul(1000),
        Unit::Millis => Some(n),
    };
    let ms = ms.ok_or_else(|| Error::expire(name))?;
    let at = if absolute { Some(ms) } else { ms.checked_add(now) };
    at.ok_or_else(|| Error::expire(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_that_overflows_is_refused() {
        assert_eq!(expiry(b"10", Unit::Seconds, false, 5, true, "set"), Ok(10_005));
        assert_eq!(expiry(b"10", Unit::Millis, true, 5, true, "set"), Ok(10));
        assert_eq!(expiry(b"0", Unit::Millis, true, 5, true, "set"), Err(Error::expire("set")));
        assert_eq!(expiry(b"9223372036854775807", Unit::Seconds, true, 5, false, "x"), Err(Error::expire("x")));
        assert_eq!(expiry(b"9223372036854775807", Unit::Millis, false, 5, false, "x"), Err(Error::expire("x")));
        assert_eq!(expiry(b"1.5", Unit::Millis, false, 5, false, "x"), Err(Error::NOT_INT));
    }

    #[test]
    fn timeouts_are_seconds_rounded_up_to_milliseconds() {
        assert_eq!(timeout(b"0.0001", 0), Ok(1));
        assert_eq!(timeout(b"0", 0), Ok(0));
        assert_eq!(timeout(b"-1", 0), Err(Error::NEG_TIMEOUT));
        assert_eq!(timeout(b"abc", 0), Err(Error::TIMEOUT));
        assert_eq!(timeout(b"0x7FFFFFFFFFFFFFFF", 0), Err(Error::new("ERR timeout is out of range")));
    }

    #[test]
    fn timeouts_in_milliseconds_end_before_the_end_of_time() {
        assert_eq!((timeout_ms(b"0", 5), timeout_ms(b"7", 5)), (Ok(0), Ok(7)));
        assert_eq!(timeout_ms(b"-1", 5), Err(Error::NEG_TIMEOUT));
        assert_eq!(timeout_ms(b"9223372036854775807", 5), Err(Error::new("ERR timeout is out of range")));
        let text = "ERR timeout is not an integer or out of range";
        assert_eq!(timeout_ms(b"9223372036854775808", 5), Err(Error::new(text)));
    }
}
