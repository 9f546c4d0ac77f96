//! Strings as rows of bits: bit 0 is the most significant bit of byte 0. Past the end, all bits are clear.

/// How many bits are set from bit `first` to bit `last`, both included and within the string.
pub fn count(bytes: &[u8], first: u64, last: u64) -> u64 {
    let Some(part) = part(bytes, first, last) else { return 0 };
    let (words, rest) = part.as_chunks::<8>();
    let whole: u64 = words.iter().map(|w| u64::from(u64::from_ne_bytes(*w).count_ones())).sum();
    let rest: u64 = rest.iter().map(|b| u64::from(b.count_ones())).sum();
    let before = u64::from((part[0] & before_mask(first)).count_ones());
    let after = u64::from((part[part.len() - 1] & after_mask(last)).count_ones());
    whole + rest - before - after
}

/// The first bit with this value from bit `first` to bit `last`, both included and within the string.
pub fn find(bytes: &[u8], value: bool, first: u64, last: u64) -> Option<u64> {
    let part = part(bytes, first, last)?;
    // Looking for a set bit in the bytes as they are, or turned over.
    let turn = if value { 0 } else { 0xff };
    let mut at = 0;
    while at < part.len() {
        if at > 0
            && let Some(word) = part.get(at..at + 8)
            && word.iter().all(|b| *b == turn)
        {
            at += 8;
            continue;
        }
        let mut byte = part[at] ^ turn;
        if at == 0 {
            byte &= !before_mask(first);
        }
        if at == part.len() - 1 {
            byte &= !after_mask(last);
        }
        if byte != 0 {
            return Some((first / 8 + at as u64) * 8 + u64::from(byte.leading_zeros()));
        }
        at += 1;
    }
    None
}

fn part(bytes: &[u8], first: u64, last: u64) -> Option<&[u8]> {
    bytes.get((first / 8) as usize..=(last / 8) as usize).filter(|part| first <= last && !part.is_empty())
}
/// The bits of a byte before bit `first`.
fn before_mask(first: u64) -> u8 {
    !(0xff >> (first % 8))
}
/// The bits of a byte after bit `last`.
fn after_mask(last: u64) -> u8 {
    0x7f >> (last % 8)
}

/// Whether a bit is set.
pub fn get(bytes: &[u8], at: u64) -> bool {
    bytes.get((at / 8) as usize).is_some_and(|b| b & (0x80 >> (at % 8)) != 0)
}

/// Makes the string long enough to hold bit `last`. Whether it grew.
pub fn reach(bytes: &mut Vec<u8>, last: u64) -> bool {
    let len = (last / 8) as usize + 1;
    let grows = bytes.len() < len;
    if grows {
        bytes.resize(len, 0);
    }
    grows
}

/// Sets a bit that the string reaches; its value before.
pub fn set(bytes: &mut [u8], at: u64, value: bool) -> bool {
    let Some(byte) = bytes.get_mut((at / 8) as usize) else { return false };
    let mask = 0x80 >> (at % 8);
    let old = *byte & mask != 0;
    if value {
        *byte |= mask;
    } else {
        *byte &= !mask;
    }
    old
}

/// The unsigned number of `width` bits (1 to 64) at bit `at`.
pub fn get_number(bytes: &[u8], at: u64, width: u32) -> u64 {
    let start = (at / 8) as usize;
    let mut window = [0u8; 16];
    if let Some(from) = bytes.get(start..) {
        let n = from.len().min(9);
        window[..n].copy_from_slice(&from[..n]);
    }
    let n = u128::from_be_bytes(window) << (at % 8);
    (n >> (128 - width)) as u64
}

/// Stores the low `width` bits (1 to 64) of a number at bit `at`, as far as the string reaches.
pub fn set_number(bytes: &mut [u8], at: u64, width: u32, n: u64) {
    let start = (at / 8) as usize;
    let Some(target) = bytes.get_mut(start..) else { return };
    let len = target.len().min(9);
    let shift = 128 - width - (at % 8) as u32;
    let mask = (u128::MAX >> (128 - width)) << shift;
    let mut window = [0u8; 16];
    window[..len].copy_from_slice(&target[..len]);
    let new = u128::from_be_bytes(window) & !mask | (u128::from(n) << shift) & mask;
    target[..len].copy_from_slice(&new.to_be_bytes()[..len]);
}

/// What BITOP does with the bits of its sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Combine {
    /// Set in all.
    And,
    /// Set in any.
    Or,
    /// Set in an odd number.
    Xor,
}

/// Combines `other` into `bytes`; the shorter one counts as followed by clear bits.
pub fn combine(bytes: &mut Vec<u8>, other: &[u8], how: Combine) {
    if bytes.len() < other.len() {
        bytes.resize(other.len(), 0);
    }
    let (both, rest) = bytes.split_at_mut(other.len());
    let pairs = both.iter_mut().zip(other);
    match how {
        Combine::And => {
            pairs.for_each(|(a, b)| *a &= b);
            rest.fill(0);
        }
        Combine::Or => pairs.for_each(|(a, b)| *a |= b),
        Combine::Xor => pairs.for_each(|(a, b)| *a ^= b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn model(bytes: &[u8]) -> Vec<bool> {
        bytes.iter().flat_map(|b| (0..8).map(move |i| b & (0x80 >> i) != 0)).collect()
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(prop_oneof![4 => Just(0u8), 4 => Just(0xffu8), 2 => any::<u8>()], 1..60)
    }

    proptest! {
        #[test]
        fn they_behave_like_a_row_of_booleans(b in bytes(), x: u16, y: u16, value: bool) {
            let m = model(&b);
            let (x, y) = (u64::from(x) % m.len() as u64, u64::from(y) % m.len() as u64);
            let range = x as usize..=y as usize;
            let expected = if x <= y { m[range.clone()].iter().filter(|b| **b).count() as u64 } else { 0 };
            prop_assert_eq!(count(&b, x, y), expected);
            let found = if x <= y { m[range].iter().position(|b| *b == value).map(|i| x + i as u64) } else { None };
            prop_assert_eq!(find(&b, value, x, y), found);
            prop_assert_eq!(get(&b, x), m[x as usize]);
            let mut c = b.clone();
            prop_assert_eq!(set(&mut c, x, value), m[x as usize]);
            let mut m = m;
            m[x as usize] = value;
            prop_assert_eq!(model(&c), m);
        }

        #[test]
        fn numbers_stand_at_any_bit(b in bytes(), at: u16, width in 1u32..=64, n: u64) {
            let mut m = model(&b);
            let at = u64::from(at) % m.len() as u64;
            m.resize(m.len() + 128, false);
            let there = &m[at as usize..at as usize + width as usize];
            prop_assert_eq!(get_number(&b, at, width), there.iter().fold(0u64, |n, b| n << 1 | u64::from(*b)));
            let mut c = b.clone();
            reach(&mut c, at + u64::from(width) - 1);
            set_number(&mut c, at, width, n);
            prop_assert_eq!(get_number(&c, at, width), n & (u64::MAX >> (64 - width)));
            for (i, bit) in m.iter_mut().skip(at as usize).take(width as usize).enumerate() {
                *bit = n >> (width - 1 - i as u32) & 1 == 1;
            }
            m.truncate(c.len() * 8);
            prop_assert_eq!(model(&c), m);
        }

        #[test]
        fn combining_pads_with_clear_bits(a in bytes(), b in bytes()) {
            let n = a.len().max(b.len());
            let at = |v: &[u8], i: usize| v.get(i).copied().unwrap_or(0);
            for how in [Combine::And, Combine::Or, Combine::Xor] {
                let mut r = a.clone();
                combine(&mut r, &b, how);
                let expected: Vec<u8> = (0..n).map(|i| match how {
                    Combine::And => at(&a, i) & at(&b, i),
                    Combine::Or => at(&a, i) | at(&b, i),
                    Combine::Xor => at(&a, i) ^ at(&b, i),
                }).collect();
                prop_assert_eq!(r, expected);
            }
        }
    }
}
