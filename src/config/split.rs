//! Words and quotes of a configuration line.
//!
//! The same rules hold in redis.conf, on inline command lines and in redis-cli: words are parted by white space;
//! `"..."` knows the escapes `\n \r \t \b \a \\ \" \xHH`; `'...'` knows only `\'`; a closing quote must be followed by
//! white space or the end.

/// The words of `line`, or nothing if its quotes do not balance.
pub fn split(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_ascii_start();
        if rest.is_empty() || rest[0] == 0 {
            return Some(words);
        }
        let (word, after) = word(rest)?;
        words.push(word);
        rest = after;
    }
}

/// The first word of `rest`, which starts with one, and what follows it.
fn word(mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut out = Vec::new();
    loop {
        match rest {
            [] | [b' ' | b'\n' | b'\r' | b'\t' | 0, ..] => return Some((out, rest)),
            [b'"', after @ ..] => return ended(out, double_quoted, after),
            [b'\'', after @ ..] => return ended(out, single_quoted, after),
            [c, after @ ..] => {
                out.push(*c);
                rest = after;
            }
        }
    }
}

type Quoted = fn(&mut Vec<u8>, &[u8]) -> Option<usize>;

/// Finish a word by its quoted part: quotes end a word.
fn ended(mut out: Vec<u8>, quoted: Quoted, rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let after = &rest[quoted(&mut out, rest)?..];
    match after {
        [] => Some((out, after)),
        [c, ..] if c.is_ascii_whitespace() || *c == 0 || *c == 0x0b => Some((out, after)),
        _ => None,
    }
}

/// Take text up to a closing `"`; the length taken, quote included.
fn double_quoted(out: &mut Vec<u8>, text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match text[at..] {
            [] | [0, ..] => return None,
            [b'"', ..] => return Some(at + 1),
            [b'\\', b'x', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                out.push(hex(high) << 4 | hex(low));
                at += 4;
            }
            [b'\\', c, ..] if c != 0 => {
                out.push(match c {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => other,
                });
                at += 2;
            }
            [c, ..] => {
                out.push(c);
                at += 1;
            }
        }
    }
}

/// Take text up to a closing `'`; the length taken, quote included.
fn single_quoted(out: &mut Vec<u8>, text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match text[at..] {
            [] | [0, ..] => return None,
            [b'\\', b'\'', ..] => {
                out.push(b'\'');
                at += 2;
            }
            [b'\'', ..] => return Some(at + 1),
            [c, ..] => {
                out.push(c);
                at += 1;
            }
        }
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

/// Append `text` in double quotes, so that [`split`] reads it back.
pub fn push_quoted(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for &c in text {
        match c {
            b'\\' | b'"' => out.extend_from_slice(&[b'\\', c]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            7 => out.extend_from_slice(b"\\a"),
            8 => out.extend_from_slice(b"\\b"),
            b' '..=b'~' => out.push(c),
            _ => out.extend_from_slice(format!("\\x{c:02x}").as_bytes()),
        }
    }
    out.push(b'"');
}

/// `text` in double quotes.
pub fn quoted(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 2);
    push_quoted(text, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn s(line: &str) -> Option<Vec<String>> {
        Some(split(line.as_bytes())?.into_iter().map(|w| String::from_utf8(w).unwrap()).collect())
    }

    #[test]
    fn words_part_at_white_space_and_quotes_hold_them_together() {
        assert_eq!(s("  a  b\tc \r\n").unwrap(), ["a", "b", "c"]);
        assert_eq!(s("").unwrap(), [""; 0]);
        assert_eq!(s(r#"save """#).unwrap(), ["save", ""]);
        assert_eq!(s(r#""a b" 'c d'"#).unwrap(), ["a b", "c d"]);
        assert_eq!(s(r#"ab"c d" e"#).unwrap(), ["abc d", "e"]);
    }

    #[test]
    fn escapes_are_those_of_redis_conf() {
        assert_eq!(split(br#""\x41\n\t\q\"\xzz""#).unwrap(), [b"A\n\tq\"xzz".to_vec()]);
        assert_eq!(s(r"'it\'s \n'").unwrap(), ["it's \\n"]);
        assert_eq!(split(br#""\xff\x00""#).unwrap(), [vec![255, 0]]);
    }

    #[test]
    fn unbalanced_quotes_are_refused() {
        for bad in ["\"abc", "'abc", "\"a\"b", "'a'b", "\"abc\\"] {
            assert_eq!(s(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn quoting_reads_back(words in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 0..6)) {
            let line = words.iter().map(|w| quoted(w)).collect::<Vec<_>>().join(&b' ');
            prop_assert_eq!(split(&line), Some(words));
        }

        #[test]
        fn splitting_never_panics(line in proptest::collection::vec(any::<u8>(), 0..60)) {
            split(&line);
        }
    }
}
