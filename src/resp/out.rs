//! The reply encoder: each value in the form that the connection's protocol version has for it.
//!
//! Replies go into one growing buffer. A value too big to copy stays in its own shared buffer and is only noted at its
//! place ([`Out::bulk_shared`]); [`Out::slices`] gives all pieces in order for `writev`.

use bytes::Bytes;
use std::io::IoSlice;

use super::Error;
use crate::base::num;

/// The protocol version of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub enum Proto {
    /// RESP2, what a connection starts with.
    Resp2 = 2,
    /// RESP3, after `HELLO 3`.
    Resp3 = 3,
}

/// A place in the output where the header of an aggregate goes once its length is known.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct Mark(usize, usize);

/// Replies on their way to a client.
#[derive(Debug)]
pub struct Out {
    buf: Vec<u8>,
    /// Shared pieces, each with the place in `buf` before which it goes. Ascending.
    shared: Vec<(usize, Bytes)>,
    shared_len: usize,
    proto: Proto,
}

impl Default for Out {
    fn default() -> Self {
        Out::new(Proto::Resp2)
    }
}

impl Out {
    /// An empty output for a connection of this version.
    pub fn new(proto: Proto) -> Out {
        Out { buf: Vec::new(), shared: Vec::new(), shared_len: 0, proto }
    }
    /// The protocol version in use.
    pub fn proto(&self) -> Proto {
        self.proto
    }
    /// Whether the client speaks RESP3.
    pub fn resp3(&self) -> bool {
        self.proto == Proto::Resp3
    }
    /// Changes the version from the next reply on.
    pub fn set_proto(&mut self, proto: Proto) {
        self.proto = proto;
    }
    /// Bytes not yet taken.
    #[inline]
    pub fn len(&self) -> usize {
        self.buf.len() + self.shared_len
    }
    /// Whether there is nothing to send.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Bytes of memory that the buffer holds.
    pub fn capacity(&self) -> usize {
        self.buf.capacity()
    }
    /// Bytes of memory that it keeps alive: the buffer, and pieces that others may have let go of.
    pub fn memory(&self) -> usize {
        self.buf.capacity() + self.shared_len + self.shared.capacity() * size_of::<(usize, Bytes)>()
    }
    /// Drops everything after a length read earlier with [`Out::place`].
    pub fn truncate(&mut self, to: Mark) {
        self.buf.truncate(to.0);
        for (_, b) in self.shared.drain(to.1..) {
            self.shared_len -= b.len();
        }
    }
    /// The present end of the output.
    pub fn place(&self) -> Mark {
        Mark(self.buf.len(), self.shared.len())
    }
    /// What was written since the mark is an error reply.
    pub fn is_error_since(&self, mark: Mark) -> bool {
        self.buf.get(mark.0) == Some(&b'-')
    }
    /// Whether anything was written since the mark.
    pub fn has_grown_since(&self, mark: Mark) -> bool {
        self.buf.len() > mark.0 || self.shared.len() > mark.1
    }
    /// The error reply that was written since the mark, without its first and last bytes, if it is one.
    pub fn error_since(&self, mark: Mark) -> Option<&[u8]> {
        let text = self.buf.get(mark.0..)?.strip_prefix(b"-")?;
        text.split(|c| *c == b'\r').next()
    }
    /// The pieces in order, for one gathering write; at most as many as `slices` has room for. Returns how many.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let (mut n, mut from) = (0, 0);
        for (at, piece) in &self.shared {
            for s in [&self.buf[from..*at], &piece[..]] {
                if !s.is_empty() && n < slices.len() {
                    slices[n] = IoSlice::new(s);
                    n += 1;
                }
            }
            from = *at;
        }
        if n < slices.len() && from < self.buf.len() {
            slices[n] = IoSlice::new(&self.buf[from..]);
            n += 1;
        }
        n
    }
    /// The plain buffer, where nothing is shared.
    pub fn plain(&self) -> Option<&[u8]> {
        self.shared.is_empty().then_some(&self.buf[..])
    }
    /// Everything, in one buffer; leaves the output empty.
    pub fn take_bytes(&mut self) -> Vec<u8> {
        let all = match self.plain() {
            Some(_) => return std::mem::take(&mut self.buf),
            None => {
                let mut all = Vec::with_capacity(self.len());
                let mut from = 0;
                for (at, piece) in &self.shared {
                    all.extend_from_slice(&self.buf[from..*at]);
                    all.extend_from_slice(piece);
                    from = *at;
                }
                all.extend_from_slice(&self.buf[from..]);
                all
            }
        };
        self.clear();
        all
    }
    /// Forgets `n` bytes from the front: they were sent.
    pub fn consume(&mut self, mut n: usize) {
        if self.shared.is_empty() && n == self.buf.len() {
            self.buf.clear();
            return;
        }
        let mut cut = 0;
        while n > 0 {
            let until = self.shared.first().map_or(self.buf.len(), |s| s.0);
            let step = n.min(until - cut);
            cut += step;
            n -= step;
            if n > 0 {
                let Some((_, piece)) = self.shared.first_mut() else { break };
                let step = n.min(piece.len());
                let _ = piece.split_to(step);
                self.shared_len -= step;
                n -= step;
                if piece.is_empty() {
                    self.shared.remove(0);
                }
            }
        }
        self.buf.drain(..cut);
        self.shared.iter_mut().for_each(|s| s.0 -= cut);
    }
    /// Forgets everything.
    pub fn clear(&mut self) {
        self.buf.clear();
        self.shared.clear();
        self.shared_len = 0;
    }
    /// Gives memory back that a big reply made the buffer take.
    pub fn shrink(&mut self, to: usize) {
        if self.buf.capacity() > to {
            self.buf.shrink_to(to);
        }
    }

    /// Bytes that are a whole reply already.
    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) {
        self.buf.extend_from_slice(bytes);
    }
    /// Bytes that are sent from where they are.
    pub fn raw_shared(&mut self, bytes: Bytes) {
        self.shared_len += bytes.len();
        self.shared.push((self.buf.len(), bytes));
    }
    /// Moves everything that another output holds to the end of this one.
    pub fn append(&mut self, other: &mut Out) {
        let base = self.buf.len();
        self.buf.append(&mut other.buf);
        self.shared.extend(other.shared.drain(..).map(|(at, b)| (at + base, b)));
        self.shared_len += std::mem::take(&mut other.shared_len);
    }
    /// `+OK`
    #[inline]
    pub fn ok(&mut self) {
        self.raw(b"+OK\r\n");
    }
    /// A simple string, which has no line break in it.
    pub fn simple(&mut self, text: &str) {
        self.buf.push(b'+');
        self.raw(text.as_bytes());
        self.crlf();
    }
    /// An error.
    pub fn error(&mut self, e: &Error) {
        self.buf.push(b'-');
        self.raw(e.text());
        self.crlf();
    }
    /// A 64-bit integer.
    #[inline]
    pub fn int(&mut self, n: i64) {
        if let Ok(n) = u64::try_from(n) {
            self.header(b':', n as usize);
        } else {
            let mut b = itoa::Buffer::new();
            self.buf.push(b':');
            self.raw(b.format(n).as_bytes());
            self.crlf();
        }
    }
    /// A length or count.
    #[inline]
    pub fn len_int(&mut self, n: usize) {
        self.header(b':', n);
    }
    /// A string of bytes.
    #[inline]
    pub fn bulk(&mut self, s: &[u8]) {
        self.buf.reserve(s.len() + 16);
        self.header(b'$', s.len());
        self.raw(s);
        self.crlf();
    }
    /// A string of bytes that is sent from where it is. Worth it from some 16 KB on.
    pub fn bulk_shared(&mut self, s: Bytes) {
        self.header(b'$', s.len());
        self.shared_len += s.len();
        self.shared.push((self.buf.len(), s));
        self.crlf();
    }
    /// A string of bytes, or null.
    pub fn bulk_or_null(&mut self, s: Option<&[u8]>) {
        match s {
            Some(s) => self.bulk(s),
            None => self.null(),
        }
    }
    /// An integer as a string of bytes.
    #[inline]
    pub fn bulk_int(&mut self, n: i64) {
        let mut b = itoa::Buffer::new();
        self.bulk(b.format(n).as_bytes());
    }
    /// Null: the string that is not there (`$-1`, or `_` in RESP3).
    #[inline]
    pub fn null(&mut self) {
        self.raw(if self.resp3() { b"_\r\n" } else { b"$-1\r\n" });
    }
    /// Null where an array is expected (`*-1`, or `_` in RESP3).
    pub fn null_array(&mut self) {
        self.raw(if self.resp3() { b"_\r\n" } else { b"*-1\r\n" });
    }
    /// The header of an array of `n` elements.
    #[inline]
    pub fn array(&mut self, n: usize) {
        self.header(b'*', n);
    }
    /// The header of a map of `n` pairs; an array of 2n in RESP2.
    pub fn map(&mut self, n: usize) {
        if self.resp3() { self.header(b'%', n) } else { self.header(b'*', n * 2) }
    }
    /// The header of a set of `n` members; an array in RESP2.
    pub fn set(&mut self, n: usize) {
        self.header(if self.resp3() { b'~' } else { b'*' }, n);
    }
    /// The header of a push message of `n` elements; an array in RESP2.
    pub fn push(&mut self, n: usize) {
        self.header(if self.resp3() { b'>' } else { b'*' }, n);
    }
    /// The header of `n` attribute pairs, which stand before the reply they belong to. RESP3 only.
    pub fn attribute(&mut self, n: usize) {
        debug_assert!(self.resp3());
        self.header(b'|', n);
    }
    /// A double: a RESP3 double, or its text as a string.
    pub fn double(&mut self, d: f64) {
        let mut text = Vec::with_capacity(24);
        num::fmt_f64(d, &mut text);
        if self.resp3() {
            self.buf.push(b',');
            self.raw(&text);
            self.crlf();
        } else {
            self.bulk(&text);
        }
    }
    /// A boolean: `#t`/`#f`, or 1/0.
    pub fn bool(&mut self, b: bool) {
        match (self.resp3(), b) {
            (true, true) => self.raw(b"#t\r\n"),
            (true, false) => self.raw(b"#f\r\n"),
            (false, b) => self.int(i64::from(b)),
        }
    }
    /// A number too big for 64 bits, in decimal.
    pub fn big_number(&mut self, digits: &str) {
        if self.resp3() {
            self.buf.push(b'(');
            self.raw(digits.as_bytes());
            self.crlf();
        } else {
            self.bulk(digits.as_bytes());
        }
    }
    /// A text with its format (three letters: `txt`, `mkd`); a plain string in RESP2.
    pub fn verbatim(&mut self, format: &str, text: &[u8]) {
        if self.resp3() {
            debug_assert!(format.len() == 3);
            self.header(b'=', text.len() + 4);
            self.raw(format.as_bytes());
            self.buf.push(b':');
            self.raw(text);
            self.crlf();
        } else {
            self.bulk(text);
        }
    }
    /// The place for a header whose length is not known yet; one of the `*_at` methods fills it in.
    pub fn later(&self) -> Mark {
        self.place()
    }
    /// Fills in the header of an array.
    pub fn array_at(&mut self, at: Mark, n: usize) {
        self.header_at(at, b'*', n);
    }

    /// Fills in the header of a map of `n` pairs.
    pub fn map_at(&mut self, at: Mark, n: usize) {
        if self.resp3() { self.header_at(at, b'%', n) } else { self.header_at(at, b'*', n * 2) }
    }

    /// Fills in the header of a set of `n` members.
    pub fn set_at(&mut self, at: Mark, n: usize) {
        self.header_at(at, if self.resp3() { b'~' } else { b'*' }, n);
    }

    fn header_at(&mut self, at: Mark, kind: u8, n: usize) {
        let mut b = itoa::Buffer::new();
        let text = b.format(n);
        let header = [&[kind], text.as_bytes(), b"\r\n"].concat();
        self.buf.splice(at.0..at.0, header.iter().copied());
        self.shared[at.1..].iter_mut().for_each(|s| s.0 += header.len());
    }
    #[inline]
    fn header(&mut self, kind: u8, n: usize) {
        if n < 10 {
            self.raw(&[kind, b'0' + n as u8, b'\r', b'\n']);
        } else if n < 100 {
            self.raw(&[kind, b'0' + (n / 10) as u8, b'0' + (n % 10) as u8, b'\r', b'\n']);
        } else {
            let mut b = itoa::Buffer::new();
            self.buf.push(kind);
            self.raw(b.format(n).as_bytes());
            self.crlf();
        }
    }
    #[inline]
    fn crlf(&mut self) {
        self.raw(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(proto: Proto, f: impl Fn(&mut Out)) -> String {
        let mut out = Out::new(proto);
        f(&mut out);
        String::from_utf8(out.take_bytes()).unwrap()
    }

    #[test]
    fn each_type_has_its_form_in_both_versions() {
        let all = |o: &mut Out| {
            o.ok();
            o.int(-5);
            o.int(123);
            o.bulk(b"abc");
            o.null();
            o.null_array();
            o.map(1);
            o.set(12);
            o.push(2);
            o.double(1.5);
            o.bool(true);
            o.big_number("123");
            o.verbatim("txt", b"hi");
            o.error(&Error::SYNTAX);
        };
        assert_eq!(
            written(Proto::Resp2, all),
            "+OK\r\n:-5\r\n:123\r\n$3\r\nabc\r\n$-1\r\n*-1\r\n*2\r\n*12\r\n*2\r\n$3\r\n1.5\r\n:1\r\n$3\r\n123\r\n$2\r\nhi\r\n\
             -ERR syntax error\r\n"
        );
        assert_eq!(
            written(Proto::Resp3, all),
            "+OK\r\n:-5\r\n:123\r\n$3\r\nabc\r\n_\r\n_\r\n%1\r\n~12\r\n>2\r\n,1.5\r\n#t\r\n(123\r\n=6\r\ntxt:hi\r\n\
             -ERR syntax error\r\n"
        );
    }

    #[test]
    fn a_late_header_and_a_shared_piece_keep_their_places() {
        let mut out = Out::default();
        out.ok();
        let m = out.later();
        out.bulk(b"x");
        out.bulk_shared(Bytes::from_static(b"0123456789abc"));
        out.array_at(m, 2);
        out.int(7);
        let whole = b"+OK\r\n*2\r\n$1\r\nx\r\n$13\r\n0123456789abc\r\n:7\r\n".to_vec();
        assert_eq!(out.len(), whole.len());
        // However the socket cuts it, the bytes come out in order.
        for step in [1, 3, 7, 20] {
            let mut o = Out::default();
            o.raw(&whole[..5]);
            let m = o.later();
            o.bulk(b"x");
            o.bulk_shared(Bytes::from_static(b"0123456789abc"));
            o.array_at(m, 2);
            o.int(7);
            let mut got = Vec::new();
            while !o.is_empty() {
                let mut s = [IoSlice::new(b""); 8];
                let n = o.slices(&mut s);
                let flat: Vec<u8> = s[..n].iter().flat_map(|s| s.to_vec()).take(step).collect();
                got.extend_from_slice(&flat);
                o.consume(flat.len());
            }
            assert_eq!(got, whole, "step {step}");
        }
        assert_eq!(out.take_bytes(), whole);
        assert!(out.is_empty());
    }

    #[test]
    fn truncate_forgets_what_came_after_the_mark() {
        let mut out = Out::default();
        out.ok();
        let m = out.place();
        out.bulk_shared(Bytes::from_static(b"0123456789abc"));
        out.int(1);
        out.truncate(m);
        assert_eq!(out.len(), 5);
        assert_eq!(out.take_bytes(), b"+OK\r\n");
    }
}
