//! Finds where a value ends without building it: lengths are read, nothing is copied.

use super::decode::{BadPayload, Reader};
use super::kind;

type Result<T> = std::result::Result<T, BadPayload>;

/// Skips the body of a value whose type byte is `what`. `Malformed` also when the bytes end before the value does.
pub fn body(r: &mut Reader<'_>, what: u8) -> Result<()> {
    match what {
        kind::STRING
        | kind::HASH_ZIPMAP
        | kind::LIST_ZIPLIST
        | kind::SET_INTSET
        | kind::ZSET_ZIPLIST
        | kind::HASH_ZIPLIST
        | kind::HASH_LISTPACK
        | kind::ZSET_LISTPACK
        | kind::SET_LISTPACK => r.skip_string(),
        kind::HASH_LISTPACK_EX => {
            r.take(8)?;
            r.skip_string()
        }
        kind::LIST | kind::SET | kind::LIST_QUICKLIST => repeat(r, |r| r.skip_string()),
        kind::LIST_QUICKLIST_2 => repeat(r, |r| {
            r.plain_len()?;
            r.skip_string()
        }),
        kind::ZSET => repeat(r, |r| {
            r.skip_string()?;
            let n = r.byte()?;
            if n < 253 { r.take(usize::from(n)).map(drop) } else { Ok(()) }
        }),
        kind::ZSET_2 => repeat(r, |r| {
            r.skip_string()?;
            r.take(8).map(drop)
        }),
        kind::HASH => repeat(r, |r| {
            r.skip_string()?;
            r.skip_string()
        }),
        kind::HASH_2 => repeat(r, |r| {
            r.skip_string()?;
            r.skip_string()?;
            r.take(8).map(drop)
        }),
        kind::HASH_METADATA => {
            r.take(8)?;
            repeat(r, |r| {
                r.plain_len()?;
                r.skip_string()?;
                r.skip_string()
            })
        }
        kind::STREAM | kind::STREAM_2 | kind::STREAM_3 => super::stream::skip(r, what),
        other => Err(BadPayload::UnknownType(other)),
    }
}

pub(super) fn repeat(r: &mut Reader<'_>, mut one: impl FnMut(&mut Reader<'_>) -> Result<()>) -> Result<()> {
    for _ in 0..r.plain_len()? {
        one(r)?;
    }
    Ok(())
}
