//! LZF, the byte-oriented LZ77 of liblzf, which RDB files and compressed quicklist nodes use.
//!
//! A stream is a run of tokens. A control byte below 32 is a literal run of `control + 1` bytes. Otherwise its top
//! three bits are a length (7: one more byte extends it), its low five bits and the next byte a distance minus one;
//! `length + 2` bytes are copied from that far back, where source and destination may overlap.

use std::cell::RefCell;

const MAX_LITERAL: usize = 32;
const MAX_DISTANCE: usize = 1 << 13;
const MAX_MATCH: usize = 255 + 7 + 2;
const MIN_INPUT: usize = 4;

thread_local! {
    /// Positions (plus one; 0 is empty) of recently seen three-byte strings; kept between calls to save its allocation.
    static TABLE: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

/// Compresses `input` when that makes it smaller than `max` bytes; `None` when it would not.
pub fn compress(input: &[u8], max: usize) -> Option<Vec<u8>> {
    if input.len() < MIN_INPUT || input.len() > u32::MAX as usize - 1 {
        return None;
    }
    TABLE.with_borrow_mut(|table| compress_with(table, input, max))
}

fn compress_with(table: &mut Vec<u32>, input: &[u8], max: usize) -> Option<Vec<u8>> {
    let bits = (input.len().ilog2() + 1).clamp(8, 14);
    table.clear();
    table.resize(1 << bits, 0);
    let mut out = Vec::with_capacity(max.min(input.len()));
    let mut literal_start = 0;
    let mut i = 0;
    while i + 2 < input.len() {
        let triple = u32::from(input[i]) << 16 | u32::from(input[i + 1]) << 8 | u32::from(input[i + 2]);
        let slot = &mut table[(triple.wrapping_mul(0x9E37_79B1) >> (32 - bits)) as usize];
        let candidate = (*slot as usize).wrapping_sub(1);
        *slot = i as u32 + 1;
        let found =
            candidate < i && i - candidate <= MAX_DISTANCE && input[candidate..candidate + 3] == input[i..i + 3];
        if !found {
            i += 1;
            continue;
        }
        flush_literals(&mut out, &input[literal_start..i]);
        let limit = (input.len() - i).min(MAX_MATCH);
        let mut len = 3;
        while len < limit && input[candidate + len] == input[i + len] {
            len += 1;
        }
        let distance = i - candidate - 1;
        let code = len - 2;
        let high = (distance >> 8) as u8;
        if code < 7 {
            out.push((code as u8) << 5 | high);
        } else {
            out.push(7 << 5 | high);
            out.push((code - 7) as u8);
        }
        out.push(distance as u8);
        i += len;
        literal_start = i;
        if out.len() >= max {
            return None;
        }
    }
    flush_literals(&mut out, &input[literal_start..]);
    (out.len() < max).then_some(out)
}

fn flush_literals(out: &mut Vec<u8>, literals: &[u8]) {
    for run in literals.chunks(MAX_LITERAL) {
        out.push((run.len() - 1) as u8);
        out.extend_from_slice(run);
    }
}

/// Decompresses a stream that must yield exactly `len` bytes; `None` when it is malformed or yields anything else.
///
/// Memory grows only as far as the input produces output: a hostile `len` alone allocates nothing.
pub fn decompress(input: &[u8], len: usize) -> Option<Vec<u8>> {
    // A token of three bytes yields at most MAX_MATCH bytes, so no valid stream expands further than this.
    if len > input.len().saturating_mul(MAX_MATCH) {
        return None;
    }
    let mut out = Vec::with_capacity(len);
    let mut rest = input;
    while let [control, tail @ ..] = rest {
        let control = usize::from(*control);
        rest = tail;
        if control < MAX_LITERAL {
            let run = rest.get(..control + 1)?;
            rest = rest.get(control + 1..)?;
            if out.len() + run.len() > len {
                return None;
            }
            out.extend_from_slice(run);
            continue;
        }
        let mut count = control >> 5;
        if count == 7 {
            let (extra, tail) = rest.split_first()?;
            count += usize::from(*extra);
            rest = tail;
        }
        let count = count + 2;
        let (low, tail) = rest.split_first()?;
        rest = tail;
        let distance = ((control & 0x1F) << 8 | usize::from(*low)) + 1;
        let start = out.len().checked_sub(distance)?;
        if out.len() + count > len {
            return None;
        }
        if distance >= count {
            out.extend_from_within(start..start + count);
        } else {
            for k in 0..count {
                let byte = *out.get(start + k)?;
                out.push(byte);
            }
        }
    }
    (out.len() == len).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn repetition_shrinks_and_comes_back() {
        let text = b"the quick brown fox the quick brown fox the quick brown fox".repeat(50);
        let packed = compress(&text, text.len()).unwrap();
        assert!(packed.len() < text.len() / 10);
        assert_eq!(decompress(&packed, text.len()).unwrap(), text);
    }

    #[test]
    fn a_stream_written_by_liblzf_decompresses() {
        // 100 times 'a', as redis-server writes it into an RDB file.
        let stream = [0x01, b'a', b'a', 0xE0, 0x57, 0x00, 0x01, b'a', b'a'];
        assert_eq!(decompress(&stream, 100).unwrap(), vec![b'a'; 100]);
    }

    #[test]
    fn malformed_streams_are_refused() {
        assert_eq!(decompress(&[0x20], 3), None);
        assert_eq!(decompress(&[0x20, 0x00], 3), None, "copies from before the start");
        assert_eq!(decompress(&[0x05, b'a'], 6), None);
        assert_eq!(decompress(&[0x00, b'a'], 2), None);
        assert_eq!(decompress(&[0x00, b'a'], usize::MAX), None);
        assert_eq!(decompress(&[], 0), Some(vec![]));
    }

    proptest! {
        #[test]
        fn what_is_compressed_comes_back(data in proptest::collection::vec(0u8..4, 0..3000)) {
            if let Some(packed) = compress(&data, data.len()) {
                prop_assert!(packed.len() < data.len());
                prop_assert_eq!(decompress(&packed, data.len()), Some(data));
            }
        }

        #[test]
        fn any_bytes_are_survived(data: Vec<u8>, len in 0usize..1000) {
            if let Some(out) = decompress(&data, len) {
                prop_assert_eq!(out.len(), len);
            }
        }
    }
}
