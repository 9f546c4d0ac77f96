//! The packed forms of old files: ziplists (up to Redis 6.2) and zipmaps (up to 2.4).
//!
//! ```text
//! ziplist: u32 bytes | u32 offset of the last entry | u16 entries | entry ... | 0xFF
//!   entry: length of the entry before (1 byte, or 0xFE and u32) | encoding | bytes
//! zipmap:  u8 entries | length | key | length | u8 free | value | free bytes ... | 0xFF
//!   length: 1 byte, or 0xFE and u32
//! ```
//!
//! Everything is copied out and checked on the way; nothing keeps these forms in memory.

use super::decode::BadPayload;

type Result<T> = std::result::Result<T, BadPayload>;

/// Bytes being read, with no more than is there.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(n).ok_or(BadPayload::Malformed)?;
        self.0 = tail;
        Ok(head)
    }
    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| BadPayload::Malformed)
    }
    fn byte(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }
}

/// The elements of a ziplist.
pub fn ziplist(bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
    let mut b = Bytes(bytes);
    let total = u32::from_le_bytes(b.array()?) as usize;
    let (tail, count) = (u32::from_le_bytes(b.array()?) as usize, u16::from_le_bytes(b.array()?));
    if total != bytes.len() {
        return Err(BadPayload::Malformed);
    }
    let mut all = Vec::new();
    // Where the last entry began, and how long it was, with all that belongs to it.
    let (mut begin, mut before) = (bytes.len() - b.0.len(), 0);
    loop {
        let at = bytes.len() - b.0.len();
        let told = match b.byte()? {
            0xff => break,
            0xfe => u32::from_le_bytes(b.array()?) as usize,
            n => usize::from(n),
        };
        if told != before {
            return Err(BadPayload::Malformed);
        }
        let number = |n: i64| itoa::Buffer::new().format(n).as_bytes().to_vec();
        let first = b.byte()?;
        all.push(match first {
            0x00..=0x3f => b.take(usize::from(first))?.to_vec(),
            0x40..=0x7f => {
                let n = usize::from(first & 0x3f) << 8 | usize::from(b.byte()?);
                b.take(n)?.to_vec()
            }
            0x80 => {
                let n = u32::from_be_bytes(b.array()?) as usize;
                b.take(n)?.to_vec()
            }
            0xc0 => number(i64::from(i16::from_le_bytes(b.array()?))),
            0xd0 => number(i64::from(i32::from_le_bytes(b.array()?))),
            0xe0 => number(i64::from_le_bytes(b.array()?)),
            0xf0 => {
                let [x, y, z] = b.array()?;
                number(i64::from(i32::from_le_bytes([0, x, y, z]) >> 8))
            }
            0xfe => number(i64::from(b.byte()? as i8)),
            0xf1..=0xfd => number(i64::from(first & 15) - 1),
            _ => return Err(BadPayload::Malformed),
        });
        (begin, before) = (at, bytes.len() - b.0.len() - at);
    }
    if tail != begin {
        return Err(BadPayload::Malformed);
    }
    // The count is not kept above 65,534.
    if !b.0.is_empty() || count != u16::MAX && usize::from(count) != all.len() {
        return Err(BadPayload::Malformed);
    }
    Ok(all)
}

/// The fields and values of a zipmap, in turn.
pub fn zipmap(bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
    fn length(first: u8, b: &mut Bytes<'_>) -> Result<usize> {
        match first {
            0xff => Err(BadPayload::Malformed),
            0xfe => Ok(u32::from_le_bytes(b.array()?) as usize),
            n => Ok(usize::from(n)),
        }
    }
    let mut b = Bytes(bytes);
    let _count = b.byte()?;
    let mut all = Vec::new();
    loop {
        let first = b.byte()?;
        if first == 0xff {
            break;
        }
        let n = length(first, &mut b)?;
        all.push(b.take(n)?.to_vec());
        let first = b.byte()?;
        let n = length(first, &mut b)?;
        let free = usize::from(b.byte()?);
        all.push(b.take(n)?.to_vec());
        b.take(free)?;
    }
    if b.0.is_empty() { Ok(all) } else { Err(BadPayload::Malformed) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_ziplist_gives_its_elements_back() {
        // "2", "5", "hello", -1 as a byte, 1000 as 16 bits.
        let body: &[u8] = &[
            0x00, 0xf3, 0x02, 0xf6, 0x02, 0x05, b'h', b'e', b'l', b'l', b'o', 0x07, 0xfe, 0xff, 0x03, 0xc0, 0xe8, 0x03,
        ];
        let total = 10 + body.len() as u32 + 1;
        let mut bytes = total.to_le_bytes().to_vec();
        bytes.extend_from_slice(&(total - 5).to_le_bytes());
        bytes.extend_from_slice(&5u16.to_le_bytes());
        bytes.extend_from_slice(body);
        bytes.push(0xff);
        let texts: Vec<String> = ziplist(&bytes).unwrap().into_iter().map(|e| String::from_utf8(e).unwrap()).collect();
        assert_eq!(texts, ["2", "5", "hello", "-1", "1000"]);
        // A count, the place of the last entry, the length of one before that are not so.
        for (at, wrong) in [(8, 4), (4, 23), (12, 3), (24, 6)] {
            let mut bad = bytes.clone();
            bad[at] = wrong;
            assert_eq!(ziplist(&bad), Err(BadPayload::Malformed), "{at}");
        }
    }

    #[test]
    fn a_zipmap_gives_its_pairs_back() {
        let bytes = b"\x02\x03foo\x03\x00bar\x05hello\x05\x01world.\xff";
        let texts: Vec<String> = zipmap(bytes).unwrap().into_iter().map(|e| String::from_utf8(e).unwrap()).collect();
        assert_eq!(texts, ["foo", "bar", "hello", "world"]);
        assert_eq!(zipmap(&bytes[..20]), Err(BadPayload::Malformed));
    }

    proptest! {
        #[test]
        fn any_bytes_are_elements_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = ziplist(&bytes);
            let _ = zipmap(&bytes);
        }
    }
}
