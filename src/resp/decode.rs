//! The request decoder: arguments as ranges of the read buffer, without allocating, resumable after any byte.
//!
//! A request is either a multibulk (`*2\r\n$3\r\nGET\r\n$1\r\nk\r\n`) or, when its first byte is not `*`, an inline line
//! of words (`GET k\r\n`), whose quotes and escapes are undone in place. A partial request leaves its progress in the
//! decoder and its arguments so far at the end of the argument list; the next call goes on where the bytes ended.
//! Nothing is allocated by a length that a client claims: the buffer grows by the bytes that arrive, the argument list
//! by the arguments in them.

use super::Error;
use crate::base::num;

/// One argument: the range `start..end` of the read buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arg {
    /// Offset of the first byte.
    pub start: u32,
    /// Offset past the last byte.
    pub end: u32,
}

impl Arg {
    /// The bytes of the argument.
    #[inline]
    pub fn of(self, buf: &[u8]) -> &[u8] {
        &buf[self.start as usize..self.end as usize]
    }
}

/// What a request may be at the most.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Longest argument, bytes (`proto-max-bulk-len`).
    pub bulk: u64,
    /// Longest inline request or header line, bytes.
    pub line: usize,
    /// Whether the client still has to authenticate: then 10 arguments of 16 KB are the most.
    pub unauthenticated: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { bulk: 512 << 20, line: 64 << 10, unauthenticated: false }
    }
}

/// Why a connection cannot go on: its bytes are not a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProtocolError {
    /// An inline request without an end.
    InlineTooLong,
    /// The line with the number of arguments has no end.
    CountTooLong,
    /// The line with the length of an argument has no end.
    LengthTooLong,
    /// The number of arguments is not a number, or too big.
    BadCount,
    /// More than 10 arguments before authentication.
    UnauthenticatedCount,
    /// An argument does not begin with `$`.
    ExpectedBulk(u8),
    /// The length of an argument is not a number, negative or too big.
    BadLength,
    /// An argument over 16 KB before authentication.
    UnauthenticatedLength,
    /// Quotes of an inline request do not close.
    UnbalancedQuotes,
}

impl ProtocolError {
    /// The error reply, sent before the connection is closed.
    pub fn reply(&self) -> Error {
        use ProtocolError::*;
        Error::new(match self {
            InlineTooLong => "ERR Protocol error: too big inline request",
            CountTooLong => "ERR Protocol error: too big mbulk count string",
            LengthTooLong => "ERR Protocol error: too big bulk count string",
            BadCount => "ERR Protocol error: invalid multibulk length",
            UnauthenticatedCount => "ERR Protocol error: unauthenticated multibulk length",
            BadLength => "ERR Protocol error: invalid bulk length",
            UnauthenticatedLength => "ERR Protocol error: unauthenticated bulk length",
            UnbalancedQuotes => "ERR Protocol error: unbalanced quotes in request",
            ExpectedBulk(got) => {
                return Error::owned([b"ERR Protocol error: expected '$', got '".as_slice(), &[*got], b"'"].concat());
            }
        })
    }
}

/// What a call of [`Decoder::next`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A request of this many arguments, which now are the last in the list. At least one.
    Request(usize),
    /// The same, of an inline request.
    Inline(usize),
    /// The bytes at the front stood for nothing (an empty line, `*0`).
    Nothing,
    /// The request goes on past the end of the buffer.
    More,
}

/// The progress through the request at the front of the buffer.
#[derive(Debug, Default)]
pub struct Decoder {
    /// Arguments still to come of a multibulk under way; 0 between requests.
    left: u32,
    /// Arguments found of it.
    found: u32,
    /// The length of the argument under way, once its header was read.
    bulk: Option<u32>,
}

impl Decoder {
    /// Whether a request is only partly read.
    pub fn is_partial(&self) -> bool {
        self.left > 0
    }
    /// Arguments of the partial request that stand at the end of the list.
    pub fn partial_args(&self) -> usize {
        if self.left > 0 { self.found as usize } else { 0 }
    }
    /// How many bytes the argument under way still needs beyond those in `buf` from `pos` on: a hint for the size of
    /// the next read.
    pub fn wants(&self, have: usize) -> usize {
        self.bulk.map_or(0, |len| (len as usize + 2).saturating_sub(have))
    }

    /// Decodes the request that begins (or goes on) at `pos`, appends its arguments to `args` and moves `pos` past what
    /// was read. `buf` is mutable because inline words are unescaped where they stand. Buffers end below 4 GiB.
    #[inline]
    pub fn next(
        &mut self,
        buf: &mut [u8],
        pos: &mut usize,
        args: &mut Vec<Arg>,
        limits: &Limits,
    ) -> Result<Step, ProtocolError> {
        debug_assert!(buf.len() <= u32::MAX as usize);
        if self.left == 0 {
            match buf.get(*pos) {
                None => return Ok(Step::More),
                Some(b'*') => {
                    let Some((count, after)) = header(buf, *pos, limits, ProtocolError::CountTooLong)? else {
                        return Ok(Step::More);
                    };
                    let count = count.filter(|n| *n <= i64::from(i32::MAX)).ok_or(ProtocolError::BadCount)?;
                    if count > 10 && limits.unauthenticated {
                        return Err(ProtocolError::UnauthenticatedCount);
                    }
                    *pos = after;
                    if count <= 0 {
                        return Ok(Step::Nothing);
                    }
                    self.left = count as u32;
                    self.found = 0;
                }
                Some(_) => return inline(buf, pos, args, limits),
            }
        }
        while self.left > 0 {
            let len = match self.bulk {
                Some(len) => len as usize,
                None => {
                    match buf.get(*pos) {
                        None => return Ok(Step::More),
                        Some(b'$') => {}
                        Some(&other) => {
                            // As Redis: only a whole line is looked at.
                            if header(buf, *pos, limits, ProtocolError::LengthTooLong)?.is_none() {
                                return Ok(Step::More);
                            }
                            return Err(ProtocolError::ExpectedBulk(other));
                        }
                    }
                    let Some((len, after)) = header(buf, *pos, limits, ProtocolError::LengthTooLong)? else {
                        return Ok(Step::More);
                    };
                    let max = limits.bulk.min(u64::from(u32::MAX) - 64);
                    let len = len.and_then(|n| u64::try_from(n).ok()).filter(|n| *n <= max);
                    let len = len.ok_or(ProtocolError::BadLength)? as usize;
                    if len > 16384 && limits.unauthenticated {
                        return Err(ProtocolError::UnauthenticatedLength);
                    }
                    *pos = after;
                    len
                }
            };
            if buf.len() - *pos < len + 2 {
                self.bulk = Some(len as u32);
                return Ok(Step::More);
            }
            self.bulk = None;
            args.push(Arg { start: *pos as u32, end: (*pos + len) as u32 });
            // The two bytes after an argument are not looked at, as in Redis.
            *pos += len + 2;
            self.found += 1;
            self.left -= 1;
        }
        Ok(Step::Request(self.found as usize))
    }
}

/// A number after a type byte at `pos`, up to CRLF: the number (`None` if it is none) and the offset past the line.
/// `Ok(None)` when the line has no end yet.
#[inline]
fn header(
    buf: &[u8],
    pos: usize,
    limits: &Limits,
    too_long: ProtocolError,
) -> Result<Option<(Option<i64>, usize)>, ProtocolError> {
    // One or two digits are nearly all there is.
    let rest = &buf[pos..];
    if rest.len() >= 5 {
        let (a, b) = (rest[1].wrapping_sub(b'0'), rest[2].wrapping_sub(b'0'));
        if a < 10 && rest[2] == b'\r' {
            return Ok(Some((Some(i64::from(a)), pos + 4)));
        }
        if (1..10).contains(&a) && b < 10 && rest[3] == b'\r' {
            return Ok(Some((Some(i64::from(a) * 10 + i64::from(b)), pos + 5)));
        }
    }
    match memchr::memchr(b'\r', &rest[..rest.len().min(limits.line + 2)]) {
        Some(end) if end + 1 < rest.len() => Ok(Some((rest.get(1..end).and_then(num::parse_i64), pos + end + 2))),
        Some(_) => Ok(None),
        None if rest.len() > limits.line => Err(too_long),
        None => Ok(None),
    }
}

fn inline(buf: &mut [u8], pos: &mut usize, args: &mut Vec<Arg>, limits: &Limits) -> Result<Step, ProtocolError> {
    let start = *pos;
    let rest = &buf[start..];
    let Some(end) = memchr::memchr(b'\n', &rest[..rest.len().min(limits.line + 2)]) else {
        return if rest.len() > limits.line { Err(ProtocolError::InlineTooLong) } else { Ok(Step::More) };
    };
    let line_end = if end > 0 && rest[end - 1] == b'\r' { end - 1 } else { end };
    let before = args.len();
    let words = split_in_place(&mut buf[start..start + line_end], start as u32, args);
    if words.is_none() {
        args.truncate(before);
        return Err(ProtocolError::UnbalancedQuotes);
    }
    *pos = start + end + 1;
    match args.len() - before {
        0 => Ok(Step::Nothing),
        n => Ok(Step::Inline(n)),
    }
}

fn is_space(b: u8) -> bool {
    b.is_ascii_whitespace() || b == 0x0b
}

/// A word never grows by unescaping, so each is written over itself.
fn split_in_place(line: &mut [u8], base: u32, args: &mut Vec<Arg>) -> Option<()> {
    let mut i = 0;
    loop {
        while i < line.len() && is_space(line[i]) {
            i += 1;
        }
        // A NUL ends the line, as the strings of C do.
        if i >= line.len() || line[i] == 0 {
            return Some(());
        }
        let start = i;
        let mut w = i;
        let mut quote = 0u8;
        loop {
            let c = line.get(i).copied();
            match (quote, c) {
                (0, None | Some(0)) => break,
                (_, None) => return None,
                (b'"', Some(b'\\')) if i + 1 < line.len() => {
                    let hex = |k: usize| line.get(k).and_then(|b| (*b as char).to_digit(16));
                    let (byte, len) = match (line[i + 1], hex(i + 2), hex(i + 3)) {
                        (b'x', Some(h), Some(l)) => ((h * 16 + l) as u8, 4),
                        (b'n', ..) => (b'\n', 2),
                        (b'r', ..) => (b'\r', 2),
                        (b't', ..) => (b'\t', 2),
                        (b'b', ..) => (8, 2),
                        (b'a', ..) => (7, 2),
                        (other, ..) => (other, 2),
                    };
                    line[w] = byte;
                    w += 1;
                    i += len;
                    continue;
                }
                (b'\'', Some(b'\\')) if line.get(i + 1) == Some(&b'\'') => {
                    line[w] = b'\'';
                    w += 1;
                    i += 2;
                    continue;
                }
                (0, Some(q @ (b'"' | b'\''))) => quote = q,
                (q, Some(c)) if q != 0 && q == c => {
                    i += 1;
                    match line.get(i) {
                        Some(&next) if !is_space(next) => return None,
                        _ => break,
                    }
                }
                (0, Some(c)) if is_space(c) => break,
                (_, Some(c)) => {
                    line[w] = c;
                    w += 1;
                }
            }
            i += 1;
        }
        args.push(Arg { start: base + start as u32, end: base + w as u32 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Requests = Vec<Vec<Vec<u8>>>;

    /// Feeds the bytes in pieces of the given size, dropping what was read as a connection does.
    fn decode(bytes: &[u8], piece: usize, limits: &Limits) -> (Requests, Option<ProtocolError>) {
        let (mut d, mut args, mut got) = (Decoder::default(), Vec::new(), Vec::new());
        let (mut buf, mut pos) = (Vec::new(), 0);
        for chunk in bytes.chunks(piece.max(1)) {
            buf.extend_from_slice(chunk);
            loop {
                match d.next(&mut buf, &mut pos, &mut args, limits) {
                    Ok(Step::Request(n) | Step::Inline(n)) => {
                        assert!(n > 0 && args.len() == n);
                        got.push(args.drain(..).map(|a| a.of(&buf).to_vec()).collect());
                    }
                    Ok(Step::Nothing) => {}
                    Ok(Step::More) => break,
                    Err(e) => return (got, Some(e)),
                }
            }
            if !d.is_partial() {
                buf.drain(..pos);
                pos = 0;
            }
        }
        (got, None)
    }
    fn words(list: &[&str]) -> Vec<Vec<u8>> {
        list.iter().map(|s| s.as_bytes().to_vec()).collect()
    }

    #[test]
    fn requests_come_out_the_same_however_the_bytes_are_cut() {
        let bytes = b"*2\r\n$3\r\nGET\r\n$11\r\nhello world\r\n\r\n*0\r\nPING  \"a\\x41\\n\" 'it\\'s'\r\n*1\r\n$0\r\n\r\n*-1\r\nx\n";
        let want = vec![words(&["GET", "hello world"]), words(&["PING", "aA\n", "it's"]), words(&[""]), words(&["x"])];
        for piece in 1..=bytes.len() {
            assert_eq!(decode(bytes, piece, &Limits::default()), (want.clone(), None), "pieces of {piece}");
        }
    }

    #[test]
    fn each_malformed_request_has_redis_error() {
        let cases: &[(&[u8], &str)] = &[
            (b"*x\r\n", "ERR Protocol error: invalid multibulk length"),
            (b"*2147483648\r\n", "ERR Protocol error: invalid multibulk length"),
            (b"*1\r\nfoo\r\n", "ERR Protocol error: expected '$', got 'f'"),
            // Once an index out of range: a line end where an argument begins.
            (b"*1\r\n\r\nabc", "ERR Protocol error: expected '$', got ' '"),
            (b"*1\r\n$-1\r\n", "ERR Protocol error: invalid bulk length"),
            (b"*1\r\n$abc\r\n", "ERR Protocol error: invalid bulk length"),
            (b"*1\r\n$536870913\r\n", "ERR Protocol error: invalid bulk length"),
            (b"a \"b\r\n", "ERR Protocol error: unbalanced quotes in request"),
            (b"a \"b\"c\r\n", "ERR Protocol error: unbalanced quotes in request"),
        ];
        for (bytes, text) in cases {
            let e = decode(bytes, 1, &Limits::default()).1.expect("an error");
            assert_eq!(String::from_utf8_lossy(e.reply().text()), *text);
        }
        let long = vec![b'1'; (64 << 10) + 10];
        let after = |head: &str| decode(&[head.as_bytes(), &long].concat(), 4096, &Limits::default()).1;
        assert_eq!(after(""), Some(ProtocolError::InlineTooLong));
        assert_eq!(after("*"), Some(ProtocolError::CountTooLong));
        assert_eq!(after("*1\r\n$"), Some(ProtocolError::LengthTooLong));
    }

    #[test]
    fn before_authentication_ten_arguments_of_16_kb_are_the_most() {
        let limits = Limits { unauthenticated: true, ..Limits::default() };
        assert_eq!(decode(b"*11\r\n", 9, &limits).1, Some(ProtocolError::UnauthenticatedCount));
        assert_eq!(decode(b"*1\r\n$16385\r\n", 9, &limits).1, Some(ProtocolError::UnauthenticatedLength));
        assert_eq!(decode(b"*10\r\n$16384\r\n", 9, &limits).1, None);
    }

    #[test]
    fn a_claimed_count_allocates_nothing() {
        let (mut d, mut args, mut pos) = (Decoder::default(), Vec::new(), 0);
        let mut buf = b"*2147483647\r\n$2147483000\r\nab".to_vec();
        let limits = Limits { bulk: 1 << 40, ..Limits::default() };
        assert_eq!(d.next(&mut buf, &mut pos, &mut args, &limits), Ok(Step::More));
        assert_eq!(args.capacity(), 0);
    }

    proptest! {
        #[test]
        fn any_bytes_decode_without_panic_and_alike_in_any_pieces(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'*'), Just(b'$'), Just(b'1'),
                Just(b'"'), Just(b'\\'), Just(b' '), any::<u8>()], 0..200),
            piece in 1usize..50,
        ) {
            let whole = decode(&bytes, bytes.len(), &Limits::default());
            prop_assert_eq!(decode(&bytes, piece, &Limits::default()), whole);
        }

        #[test]
        fn what_a_client_library_encodes_is_what_comes_out(
            requests in proptest::collection::vec(proptest::collection::vec(
                proptest::collection::vec(any::<u8>(), 0..40), 1..6), 0..10),
            piece in 1usize..64,
        ) {
            let mut bytes = Vec::new();
            for r in &requests {
                bytes.extend_from_slice(format!("*{}\r\n", r.len()).as_bytes());
                for a in r {
                    bytes.extend_from_slice(format!("${}\r\n", a.len()).as_bytes());
                    bytes.extend_from_slice(a);
                    bytes.extend_from_slice(b"\r\n");
                }
            }
            prop_assert_eq!(decode(&bytes, piece, &Limits::default()), (requests, None));
        }
    }
}
