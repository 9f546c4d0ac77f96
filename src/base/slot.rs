//! Which of the 16,384 hash slots a key belongs to.
//!
//! Slot = CRC16 (XMODEM: polynomial 0x1021, initial value 0) of the key, modulo 16384; if the key holds a `{` and a
//! later `}` with at least one byte between, only the bytes between the first such pair count, so that `{user1}.a`
//! and `{user1}.b` meet in one slot
//! ([cluster specification](https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#key-distribution-model)).
//!
//! Every command with a key pays this, so eight bytes go through eight tables at once (slicing-by-8, 4 KiB of
//! constants that live in L1) instead of eight dependent look-ups. Zero bytes before a text do not change its CRC, as the
//! initial value is 0: what is left over of a length that is no multiple of eight goes first, filled up with zeros. The
//! tables are computed at compile time; a lazily built table would add a check to each use. The tests compare with the
//! `crc16` crate.

/// How many slots there are.
pub const SLOTS: u16 = 16_384;

const POLY: u16 = 0x1021;

/// `TABLES[k][b]`: the CRC of byte `b` followed by `k` zero bytes.
static TABLES: [[u16; 256]; 8] = {
    let mut tables = [[0u16; 256]; 8];
    let mut b = 0;
    while b < 256 {
        let mut crc = (b as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { (crc << 1) ^ POLY } else { crc << 1 };
            bit += 1;
        }
        tables[0][b] = crc;
        b += 1;
    }
    let mut k = 1;
    while k < 8 {
        let mut b = 0;
        while b < 256 {
            let before = tables[k - 1][b];
            tables[k][b] = (before << 8) ^ tables[0][(before >> 8) as usize];
            b += 1;
        }
        k += 1;
    }
    tables
};

/// The slot of `key`, by its hash tag if it has one.
#[inline]
pub fn key_slot(key: &[u8]) -> u16 {
    crc(tag(key)) % SLOTS
}

/// The slot of all names that a glob pattern may become, if its part that decides is literal: a tag with nothing special up to
/// its end.
pub fn pattern_slot(pattern: &[u8]) -> Option<u16> {
    let special = pattern.iter().position(|c| matches!(c, b'*' | b'?' | b'[' | b'\\'));
    let literal = &pattern[..special.unwrap_or(pattern.len())];
    let tagged = tag(literal).len() < literal.len();
    (tagged || special.is_none()).then(|| key_slot(literal))
}

/// The bytes of `key` that decide its slot: those in the first `{...}` that is not empty, or all.
#[inline]
pub fn tag(key: &[u8]) -> &[u8] {
    if has_brace(key) { tag_of_braced(key) } else { key }
}

#[cold]
fn tag_of_braced(key: &[u8]) -> &[u8] {
    let Some(open) = memchr::memchr(b'{', key) else { return key };
    let rest = &key[open + 1..];
    match memchr::memchr(b'}', rest) {
        Some(len) if len > 0 => &rest[..len],
        _ => key,
    }
}

/// Is there a `{` in `key`? A word at a time: for the usual short key this is a quarter of a memchr call's price.
#[inline]
fn has_brace(key: &[u8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
    const BRACES: u64 = u64::from_ne_bytes([b'{'; 8]);
    let hit = |word: u64| {
        let x = word ^ BRACES;
        x.wrapping_sub(ONES) & !x & HIGHS != 0
    };
    if key.len() > 64 {
        return memchr::memchr(b'{', key).is_some();
    }
    let (words, tail) = key.as_chunks::<8>();
    if words.iter().any(|word| hit(u64::from_ne_bytes(*word))) {
        return true;
    }
    match key.last_chunk::<8>() {
        Some(last) if !tail.is_empty() => hit(u64::from_ne_bytes(*last)),
        Some(_) => false,
        None => tail.contains(&b'{'),
    }
}

#[inline]
fn crc(bytes: &[u8]) -> u16 {
    let (first, words) = bytes.as_rchunks::<8>();
    let mut crc = if first.is_empty() { 0 } else { step(0, padded(first)) };
    for word in words {
        crc = step(crc, u64::from_be_bytes(*word));
    }
    crc
}

/// The CRC of what `crc` stands for followed by the eight bytes of `word`, the highest first.
#[inline]
fn step(crc: u16, word: u64) -> u16 {
    let w = (word ^ u64::from(crc) << 48).to_be_bytes();
    (0..8).fold(0, |sum, i| sum ^ TABLES[7 - i][w[i] as usize])
}

/// One to seven bytes with zeros before them.
#[inline]
fn padded(bytes: &[u8]) -> u64 {
    let n = bytes.len();
    // The first and the last four or two bytes; where they overlap they say the same.
    if let (Some(head), Some(tail)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        u64::from(u32::from_be_bytes(*head)) << (8 * (n - 4)) | u64::from(u32::from_be_bytes(*tail))
    } else if let (Some(head), Some(tail)) = (bytes.first_chunk::<2>(), bytes.last_chunk::<2>()) {
        u64::from(u16::from_be_bytes(*head)) << (8 * (n - 2)) | u64::from(u16::from_be_bytes(*tail))
    } else {
        u64::from(bytes[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reference(key: &[u8]) -> u16 {
        let part = match key.iter().position(|&b| b == b'{') {
            Some(open) => match key[open + 1..].iter().position(|&b| b == b'}') {
                Some(len) if len > 0 => &key[open + 1..open + 1 + len],
                _ => key,
            },
            None => key,
        };
        crc16::State::<crc16::XMODEM>::calculate(part) % SLOTS
    }

    #[test]
    fn known_keys_have_their_published_slots() {
        assert_eq!(key_slot(b"123456789"), 0x31c3);
        assert_eq!(key_slot(b"foo"), 12182);
        assert_eq!(key_slot(b"bar"), 5061);
        assert_eq!(key_slot(b""), 0);
    }

    #[test]
    fn a_hash_tag_alone_decides_unless_it_is_empty() {
        assert_eq!(key_slot(b"{user1000}.following"), key_slot(b"{user1000}.followers"));
        assert_eq!(tag(b"foo{}{bar}"), b"foo{}{bar}");
        assert_eq!(tag(b"foo{{bar}}zap"), b"{bar");
        assert_eq!(tag(b"foo{bar}{zap}"), b"bar");
        assert_eq!(tag(b"no-end{tag"), b"no-end{tag");
        assert_eq!(tag(b"}{"), b"}{");
    }

    proptest! {
        #[test]
        fn agrees_with_the_plain_definition(key in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'{'), Just(b'}')], 0..90)) {
            prop_assert_eq!(key_slot(&key), reference(&key));
        }

        #[test]
        fn brace_search_agrees_with_a_scan(key in proptest::collection::vec(0x70u8..0x80, 0..70)) {
            prop_assert_eq!(has_brace(&key), key.contains(&b'{'));
        }
    }
}
