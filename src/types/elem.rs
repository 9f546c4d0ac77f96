//! One element of a collection as every encoding shows it: bytes, or an integer that stands for its decimal form.
//!
//! Packed encodings keep `"12"` as the number 12; the reader decides whether it needs the text. Replies format the
//! number straight into the output buffer, comparisons compare numbers, and nobody allocates.

use std::cmp::Ordering;

use crate::base::num::parse_i64;

/// Room for the text of an integer element; see [`Elem::as_bytes`].
pub type IntBuf = itoa::Buffer;

/// An element as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elem<'a> {
    /// Raw bytes. They never spell a canonical integer when Dunlin wrote them, but may when they came from a dump.
    Str(&'a [u8]),
    /// The integer whose canonical decimal text is the element.
    Int(i64),
}

impl<'a> Elem<'a> {
    /// The element's bytes; `buf` holds the digits when it is an integer.
    #[inline]
    pub fn as_bytes<'b>(self, buf: &'b mut IntBuf) -> &'b [u8]
    where
        'a: 'b,
    {
        match self {
            Elem::Str(s) => s,
            Elem::Int(n) => buf.format(n).as_bytes(),
        }
    }

    /// The element's bytes as an owned vector.
    pub fn to_vec(self) -> Vec<u8> {
        self.as_bytes(&mut IntBuf::new()).to_vec()
    }

    /// Length of the element in bytes (of its decimal text when it is an integer).
    #[inline]
    pub fn len(self) -> usize {
        match self {
            Elem::Str(s) => s.len(),
            Elem::Int(n) => decimal_len(n),
        }
    }

    /// Whether the element is the empty string.
    pub fn is_empty(self) -> bool {
        matches!(self, Elem::Str(s) if s.is_empty())
    }

    /// Whether the element's bytes are `other`.
    #[inline]
    pub fn eq_bytes(self, other: &[u8]) -> bool {
        match self {
            Elem::Str(s) => s == other,
            Elem::Int(n) => parse_i64(other) == Some(n),
        }
    }

    /// Orders the element's bytes against `other`, as memcmp does.
    pub fn cmp_bytes(self, other: &[u8]) -> Ordering {
        self.as_bytes(&mut IntBuf::new()).cmp(other)
    }

    /// The integer this element spells canonically, if it does.
    #[inline]
    pub fn as_int(self) -> Option<i64> {
        match self {
            Elem::Str(s) => parse_i64(s),
            Elem::Int(n) => Some(n),
        }
    }
}

/// A value that elements are searched for: its bytes, and the number they spell, worked out once.
#[derive(Clone, Copy, Debug)]
pub struct Needle<'a> {
    bytes: &'a [u8],
    number: Option<i64>,
}

impl<'a> Needle<'a> {
    /// Prepares a search for `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Needle { bytes, number: parse_i64(bytes) }
    }

    /// Whether `e` is the value searched for.
    #[inline]
    pub fn is(&self, e: Elem<'_>) -> bool {
        match e {
            Elem::Str(s) => s == self.bytes,
            Elem::Int(n) => self.number == Some(n),
        }
    }
}

/// How many bytes the decimal text of `n` takes.
#[inline]
pub fn decimal_len(n: i64) -> usize {
    let digits = match n.unsigned_abs() {
        0 => 1,
        u => u.ilog10() as usize + 1,
    };
    digits + usize::from(n < 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_integer_survives_its_text(n: i64) {
            let mut b = IntBuf::new();
            let s = Elem::Int(n).as_bytes(&mut b);
            prop_assert_eq!(parse_i64(s), Some(n));
            prop_assert_eq!(s.len(), decimal_len(n));
            prop_assert!(Elem::Int(n).eq_bytes(s));
        }
    }
}
