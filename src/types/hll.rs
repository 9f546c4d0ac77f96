//! HyperLogLog: how many different elements a set has, estimated from 16,384 registers, in Redis's own bytes.
//!
//! ```text
//! "HYLL" | encoding: 0 dense, 1 sparse | three unused | cached estimate u64le, its top bit set when out of date | registers
//!
//! dense:  registers of six bits, the first in the low bits of the first byte: 12,288 bytes
//! sparse: 00nnnnnn           n+1 registers are 0
//!         01nnnnnn nnnnnnnn  n+1 registers are 0
//!         1vvvvvnn           n+1 registers are v+1
//! ```
//!
//! An element's hash (MurmurHash64A, the seed is Redis's) says which register, and its remaining bits how great the
//! register is at least: one more than how many of them are clear before the first that is set. The estimate is Ertl's (New
//! cardinality estimation algorithms for HyperLogLog sketches, arXiv:1702.01284). The bytes are a string that any client may
//! have written, so every walk over the sparse form checks it.

/// Registers.
pub const REGISTERS: usize = 1 << 14;
const BITS: u32 = 14;
/// Bits of a hash that a register's value is taken from.
const RANK_BITS: u32 = 64 - BITS;
const HEADER: usize = 16;
const DENSE_LEN: usize = HEADER + REGISTERS * 6 / 8;
const ZERO_MAX: usize = 64;
const XZERO_MAX: usize = 16384;
const VAL_MAX: u8 = 32;
const VAL_LEN_MAX: usize = 4;

/// The bytes are no HyperLogLog, or one that contradicts itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// There is no header of one.
    Foreign,
    /// The registers are not 16,384.
    Corrupt,
}

type Result<T> = std::result::Result<T, Bad>;

/// A run of equal registers in the sparse form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    value: u8,
    len: usize,
}

impl Run {
    /// The run at the start of `bytes`, and how many bytes it takes.
    #[inline]
    fn read(bytes: &[u8]) -> Option<(Run, usize)> {
        let first = *bytes.first()?;
        let low = usize::from(first & 63);
        Some(match first >> 6 {
            0 => (Run { value: 0, len: low + 1 }, 1),
            1 => (Run { value: 0, len: (low << 8 | usize::from(*bytes.get(1)?)) + 1 }, 2),
            _ => (Run { value: (first >> 2 & 31) + 1, len: usize::from(first & 3) + 1 }, 1),
        })
    }
    fn write(self, out: &mut Vec<u8>) {
        let n = self.len - 1;
        match self {
            Run { value: 0, len } if len <= ZERO_MAX => out.push(n as u8),
            Run { value: 0, .. } => out.extend_from_slice(&[0x40 | (n >> 8) as u8, n as u8]),
            Run { value, .. } => out.push(0x80 | (value - 1) << 2 | n as u8),
        }
    }
}

/// A HyperLogLog of no elements.
pub fn new() -> Vec<u8> {
    let mut v = b"HYLL\x01".to_vec();
    v.resize(HEADER, 0);
    // Whoever makes one changes it, too: the estimate is not kept from here.
    outdate(&mut v);
    Run { value: 0, len: XZERO_MAX }.write(&mut v);
    v
}

/// Whether the bytes have the header of a HyperLogLog, and the right length if they are dense.
pub fn check(bytes: &[u8]) -> Result<()> {
    let good = match bytes {
        [b'H', b'Y', b'L', b'L', 0, ..] => bytes.len() == DENSE_LEN,
        [b'H', b'Y', b'L', b'L', 1, ..] => bytes.len() >= HEADER,
        _ => false,
    };
    if good { Ok(()) } else { Err(Bad::Foreign) }
}

/// Whether the registers are dense.
pub fn is_dense(bytes: &[u8]) -> bool {
    bytes.get(4) == Some(&0)
}

/// The cached estimate, unless it is out of date.
pub fn cached(bytes: &[u8]) -> Option<u64> {
    let n = u64::from_le_bytes(bytes.get(8..HEADER)?.try_into().ok()?);
    (n >> 63 == 0).then_some(n)
}

/// Notes the estimate.
pub fn cache(bytes: &mut [u8], n: u64) {
    if let Some(place) = bytes.get_mut(8..HEADER) {
        place.copy_from_slice(&n.to_le_bytes());
    }
}

/// Notes that the cached estimate is out of date.
pub fn outdate(bytes: &mut [u8]) {
    if let Some(b) = bytes.get_mut(HEADER - 1) {
        *b |= 0x80;
    }
}

/// MurmurHash64A, reading little-endian everywhere.
fn hash(element: &[u8]) -> u64 {
    const M: u64 = 0xc6a4_a793_5bd1_e995;
    const SEED: u64 = 0xadc8_3b19;
    let mix = |k: u64| {
        let k = k.wrapping_mul(M);
        (k ^ k >> 47).wrapping_mul(M)
    };
    let (words, rest) = element.as_chunks::<8>();
    let mut h = SEED ^ (element.len() as u64).wrapping_mul(M);
    for w in words {
        h = (h ^ mix(u64::from_le_bytes(*w))).wrapping_mul(M);
    }
    if !rest.is_empty() {
        let mut last = [0u8; 8];
        last[..rest.len()].copy_from_slice(rest);
        h = (h ^ u64::from_le_bytes(last)).wrapping_mul(M);
    }
    h = (h ^ h >> 47).wrapping_mul(M);
    h ^ h >> 47
}

/// The register of an element, and its least value.
fn place(element: &[u8]) -> (usize, u8) {
    let h = hash(element);
    let rank = (h >> BITS | 1 << RANK_BITS).trailing_zeros() + 1;
    (h as usize & (REGISTERS - 1), rank as u8)
}

fn dense_get(registers: &[u8], at: usize) -> u8 {
    let (byte, shift) = (at * 6 / 8, at * 6 % 8);
    let high = registers.get(byte + 1).copied().unwrap_or(0);
    (u16::from_le_bytes([registers[byte], high]) >> shift) as u8 & 63
}

fn dense_set(registers: &mut [u8], at: usize, value: u8) {
    let (byte, shift) = (at * 6 / 8, at * 6 % 8);
    let high = registers.get(byte + 1).copied().unwrap_or(0);
    let old = u16::from_le_bytes([registers[byte], high]);
    let [low, high] = (old & !(63 << shift) | u16::from(value & 63) << shift).to_le_bytes();
    registers[byte] = low;
    if let Some(b) = registers.get_mut(byte + 1) {
        *b = high;
    }
}

/// Passes the runs of the sparse form to `f`; an error if they do not make up all registers.
fn runs(bytes: &[u8], mut f: impl FnMut(usize, Run)) -> Result<()> {
    let (mut rest, mut at) = (bytes.get(HEADER..).ok_or(Bad::Corrupt)?, 0);
    while !rest.is_empty() {
        let (run, n) = Run::read(rest).ok_or(Bad::Corrupt)?;
        if at + run.len > REGISTERS {
            return Err(Bad::Corrupt);
        }
        f(at, run);
        at += run.len;
        rest = &rest[n..];
    }
    if at == REGISTERS { Ok(()) } else { Err(Bad::Corrupt) }
}

/// Makes the registers dense.
pub fn make_dense(bytes: &mut Vec<u8>) -> Result<()> {
    if is_dense(bytes) {
        return Ok(());
    }
    let mut dense = bytes[..HEADER].to_vec();
    dense[4] = 0;
    dense.resize(DENSE_LEN, 0);
    runs(bytes, |at, run| {
        if run.value > 0 {
            (at..at + run.len).for_each(|i| dense_set(&mut dense[HEADER..], i, run.value));
        }
    })?;
    *bytes = dense;
    Ok(())
}

/// Adds an element; whether a register changed. The sparse form ends where it would be longer than `sparse_max` bytes.
pub fn add(bytes: &mut Vec<u8>, element: &[u8], sparse_max: usize) -> Result<bool> {
    let (at, value) = place(element);
    raise(bytes, at, value, sparse_max)
}

/// Makes a register at least `value`; whether it changed.
pub fn raise(bytes: &mut Vec<u8>, at: usize, value: u8, sparse_max: usize) -> Result<bool> {
    if is_dense(bytes) {
        return Ok(raise_dense(bytes, at, value));
    }
    if value <= VAL_MAX
        && let Some(changed) = raise_sparse(bytes, at, value, sparse_max)?
    {
        return Ok(changed);
    }
    make_dense(bytes)?;
    Ok(raise_dense(bytes, at, value))
}

fn raise_dense(bytes: &mut [u8], at: usize, value: u8) -> bool {
    let registers = &mut bytes[HEADER..];
    let grows = dense_get(registers, at) < value;
    if grows {
        dense_set(registers, at, value);
    }
    grows
}

/// The same in the sparse form; none if it would become too long.
fn raise_sparse(bytes: &mut Vec<u8>, at: usize, value: u8, sparse_max: usize) -> Result<Option<bool>> {
    // The run that holds the register, and where the one before it stands.
    let (mut pos, mut before, mut first) = (HEADER, HEADER, 0);
    while let Some(&byte) = bytes.get(pos) {
        // Plain branches: the processor guesses most of them, and reads ahead.
        let (len, size) = if byte < 0x40 {
            (usize::from(byte) + 1, 1)
        } else if byte >= 0x80 {
            (usize::from(byte & 3) + 1, 1)
        } else {
            ((usize::from(byte & 63) << 8 | bytes.get(pos + 1).map_or(0, |b| usize::from(*b))) + 1, 2)
        };
        if at < first + len {
            break;
        }
        before = pos;
        pos += size;
        first += len;
    }
    let (run, size) = bytes.get(pos..).and_then(Run::read).ok_or(Bad::Corrupt)?;
    if run.value >= value {
        return Ok(Some(false));
    }
    let mut parts = Vec::with_capacity(5);
    let pieces = [(run.value, at - first), (value, 1), (run.value, first + run.len - 1 - at)];
    for (value, len) in pieces.into_iter().filter(|p| p.1 > 0) {
        Run { value, len }.write(&mut parts);
    }
    if parts.len() > size && bytes.len() + parts.len() - size > sparse_max {
        return Ok(None);
    }
    bytes.splice(pos..pos + size, parts);
    merge(bytes, before);
    Ok(Some(true))
}

/// Joins equal neighbours around a change: looks at five runs from `pos` on, as Redis does.
fn merge(bytes: &mut Vec<u8>, mut pos: usize) {
    let mut left = 5;
    while left > 0 && pos < bytes.len() {
        left -= 1;
        let Some((a, size)) = Run::read(&bytes[pos..]) else { return };
        if a.value > 0
            && let Some((b, _)) = Run::read(&bytes[pos + size..])
            && b.value == a.value
            && a.len + b.len <= VAL_LEN_MAX
        {
            let mut joined = Vec::with_capacity(1);
            Run { value: a.value, len: a.len + b.len }.write(&mut joined);
            bytes.splice(pos..pos + 2, joined);
            continue;
        }
        pos += size;
    }
}

/// Registers, a byte each: what several HyperLogLogs are merged in.
pub struct Registers(Box<[u8; REGISTERS]>);

impl Default for Registers {
    fn default() -> Self {
        Registers(Box::new([0; REGISTERS]))
    }
}

impl Registers {
    /// Raises the registers to those of a HyperLogLog.
    pub fn merge(&mut self, bytes: &[u8]) -> Result<()> {
        if is_dense(bytes) {
            let dense = bytes.get(HEADER..DENSE_LEN).ok_or(Bad::Corrupt)?;
            self.0.iter_mut().enumerate().for_each(|(i, r)| *r = (*r).max(dense_get(dense, i)));
            return Ok(());
        }
        runs(bytes, |at, run| self.0[at..at + run.len].iter_mut().for_each(|r| *r = (*r).max(run.value)))
    }
    /// The values.
    pub fn values(&self) -> &[u8; REGISTERS] {
        &self.0
    }
    /// The estimate.
    pub fn estimate(&self) -> u64 {
        let mut histogram = [0u32; 64];
        self.0.iter().for_each(|r| histogram[usize::from(r & 63)] += 1);
        let m = REGISTERS as f64;
        let ranks = RANK_BITS as usize;
        let mut z = m * tau((m - f64::from(histogram[ranks + 1])) / m);
        for n in histogram[1..=ranks].iter().rev() {
            z = (z + f64::from(*n)) * 0.5;
        }
        z += m * sigma(f64::from(histogram[0]) / m);
        (0.5 / std::f64::consts::LN_2 * m * m / z).round() as u64
    }
}

/// The estimate of one HyperLogLog.
pub fn estimate(bytes: &[u8]) -> Result<u64> {
    let mut r = Registers::default();
    r.merge(bytes)?;
    Ok(r.estimate())
}

/// What registers that are still 0 add.
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

/// What registers that can grow no more add.
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x).powi(2) * y;
        if z == before {
            return z / 3.0;
        }
    }
}

/// The sparse form as text: `z:n` and `Z:n` for n zeros, `v:x,n` for n times x.
pub fn describe(bytes: &[u8]) -> Result<String> {
    let mut words = Vec::new();
    let (mut rest, mut at) = (bytes.get(HEADER..).ok_or(Bad::Corrupt)?, 0);
    while let Some((run, n)) = Run::read(rest) {
        words.push(match (run.value, n) {
            (0, 1) => format!("z:{}", run.len),
            (0, _) => format!("Z:{}", run.len),
            (v, _) => format!("v:{v},{}", run.len),
        });
        at += run.len;
        rest = &rest[n..];
    }
    if rest.is_empty() && at > 0 { Ok(words.join(" ")) } else { Err(Bad::Corrupt) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_hash_is_murmur_with_redis_seed() {
        // What redis-server makes of these: the register and its value.
        let mut v = new();
        add(&mut v, b"a", 3000).unwrap();
        add(&mut v, b"b", 3000).unwrap();
        add(&mut v, b"c", 3000).unwrap();
        assert_eq!(describe(&v).unwrap(), "Z:8436 v:1,1 Z:4274 v:2,1 Z:3068 v:1,1 Z:603");
        assert_eq!(estimate(&v).unwrap(), 3);
    }

    #[test]
    fn the_estimate_is_within_its_error_in_both_forms() {
        let (mut sparse, mut dense) = (new(), new());
        make_dense(&mut dense).unwrap();
        let mut next = 1u64;
        for i in 1..=100_000u64 {
            let element = i.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes();
            let a = add(&mut sparse, &element, 3000).unwrap();
            assert_eq!(a, add(&mut dense, &element, 3000).unwrap());
            if i == next {
                let n = estimate(&sparse).unwrap();
                assert_eq!(n, estimate(&dense).unwrap());
                assert!((n as f64 - i as f64).abs() <= (i as f64 * 0.04).ceil(), "{n} for {i}");
                assert!(i > 1000 || !is_dense(&sparse));
                next *= 10;
            }
        }
        assert!(is_dense(&sparse) && sparse[HEADER..] == dense[HEADER..]);
    }

    proptest! {
        #[test]
        fn the_sparse_form_holds_what_registers_of_a_byte_do(
            writes in proptest::collection::vec((prop_oneof![0usize..40, 0usize..REGISTERS], 1u8..40), 1..120), max in 20usize..400,
        ) {
            let mut v = new();
            let mut model = vec![0u8; REGISTERS];
            for (at, value) in writes {
                let grows = model[at] < value;
                prop_assert_eq!(raise(&mut v, at, value, max), Ok(grows));
                model[at] = model[at].max(value);
                prop_assert!(check(&v).is_ok() && (is_dense(&v) || v.len() <= max.max(18)));
            }
            let mut r = Registers::default();
            r.merge(&v).unwrap();
            prop_assert_eq!(&r.values()[..], &model[..]);
            make_dense(&mut v).unwrap();
            let mut r = Registers::default();
            r.merge(&v).unwrap();
            prop_assert_eq!(&r.values()[..], &model[..]);
        }

        #[test]
        fn any_bytes_are_survived(mut tail in proptest::collection::vec(any::<u8>(), 0..80), at in 0usize..REGISTERS, fill: bool) {
            let mut v = b"HYLL\x01".to_vec();
            v.resize(HEADER, 0);
            if fill {
                tail.push(0x7f);
            }
            v.extend(tail);
            let _ = (estimate(&v), describe(&v));
            let _ = raise(&mut v.clone(), at, 7, 100);
            let _ = raise(&mut v, at, 40, 100);
        }
    }
}
