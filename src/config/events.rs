//! The classes of keyspace notifications, as `notify-keyspace-events` spells them.

/// `K`: publish on `__keyspace@<db>__:<key>`.
pub const KEYSPACE: i64 = 1;
/// `E`: publish on `__keyevent@<db>__:<event>`.
pub const KEYEVENT: i64 = 1 << 1;
/// `g`: commands of no type, such as DEL, EXPIRE and RENAME.
pub const GENERIC: i64 = 1 << 2;
/// `$`: string commands.
pub const STRING: i64 = 1 << 3;
/// `l`: list commands.
pub const LIST: i64 = 1 << 4;
/// `s`: set commands.
pub const SET: i64 = 1 << 5;
/// `h`: hash commands.
pub const HASH: i64 = 1 << 6;
/// `z`: sorted set commands.
pub const ZSET: i64 = 1 << 7;
/// `x`: a key expired.
pub const EXPIRED: i64 = 1 << 8;
/// `e`: a key was evicted for memory.
pub const EVICTED: i64 = 1 << 9;
/// `t`: stream commands.
pub const STREAM: i64 = 1 << 10;
/// `m`: a key was looked up and not found; not part of `A`.
pub const KEY_MISS: i64 = 1 << 11;
/// `d`: module key types.
pub const MODULE: i64 = 1 << 13;
/// `n`: a key was created; not part of `A`.
pub const NEW: i64 = 1 << 14;
/// `A`: every class but `m` and `n`.
pub const ALL: i64 = GENERIC | STRING | LIST | SET | HASH | ZSET | EXPIRED | EVICTED | STREAM | MODULE;

/// In the order in which they are printed.
const LETTERS: [(u8, i64); 14] = [
    (b'g', GENERIC),
    (b'$', STRING),
    (b'l', LIST),
    (b's', SET),
    (b'h', HASH),
    (b'z', ZSET),
    (b'x', EXPIRED),
    (b'e', EVICTED),
    (b't', STREAM),
    (b'd', MODULE),
    (b'n', NEW),
    (b'K', KEYSPACE),
    (b'E', KEYEVENT),
    (b'm', KEY_MISS),
];

/// The classes that `text` names, or nothing if one of its letters names none.
pub fn parse(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |flags, &c| {
        if c == b'A' {
            return Some(flags | ALL);
        }
        LETTERS.iter().find(|(letter, _)| *letter == c).map(|(_, flag)| flags | flag)
    })
}

/// The letters of `flags`, with `A` for all the classes it stands for.
pub fn print(flags: i64) -> Vec<u8> {
    let all = flags & ALL == ALL;
    let mut text = if all { vec![b'A'] } else { Vec::new() };
    for (letter, flag) in LETTERS {
        // Valkey drops the `n` behind an `A`, and so loses it when the file is rewritten; we keep it.
        let shown = !all || flag & ALL == 0;
        if shown && flags & flag != 0 {
            text.push(letter);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_print_in_one_order_and_read_back() {
        assert_eq!(print(parse(b"KEA").unwrap()), b"AKE");
        assert_eq!(print(parse(b"lK$").unwrap()), b"$lK");
        assert_eq!(print(parse(b"mE").unwrap()), b"Em");
        assert_eq!(print(0), b"");
        assert_eq!(parse(b"Kq"), None);
        for flags in (0..1 << 15).filter(|f| f & (1 << 12) == 0) {
            assert_eq!(parse(&print(flags)), Some(flags));
        }
    }
}
