//! A cursor over foreign bytes that runs out instead of panicking.

use super::Invalid;

/// What is left to read.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader(bytes)
    }

    /// The next `len` bytes, if there are so many.
    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(|&[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(|bytes| u16::from_be_bytes(*bytes))
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(|bytes| u32::from_be_bytes(*bytes))
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(|bytes| u64::from_be_bytes(*bytes))
    }

    /// Everything that is left.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// Nothing may be left.
    pub(super) fn end(&self) -> Result<(), Invalid> {
        if self.0.is_empty() { Ok(()) } else { Err(Invalid::Length) }
    }
}

/// The length of an address on the wire.
pub(super) const ADDRESS: usize = 46;

/// The text before the first zero byte, if every byte of it passes `allowed`; empty otherwise. What a peer calls itself
/// ends up in a file of lines and in replies: it may not hold a space, a line end or a comma.
pub(super) fn text(bytes: &[u8], allowed: impl Fn(u8) -> bool) -> &str {
    let end = bytes.iter().position(|&c| c == 0).unwrap_or(bytes.len());
    let bytes = bytes.get(..end).unwrap_or_default();
    if bytes.iter().all(|&c| allowed(c)) { std::str::from_utf8(bytes).unwrap_or("") } else { "" }
}

/// What an address may be made of: digits, names, colons, an interface after a percent sign.
pub(super) fn in_address(c: u8) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, b'.' | b':' | b'-' | b'_' | b'%')
}

/// What a host name may be made of.
pub(super) fn in_hostname(c: u8) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-')
}

/// What a name for people may be made of: nothing that separates fields of nodes.conf.
pub(super) fn in_nodename(c: u8) -> bool {
    c.is_ascii_alphanumeric() || (c.is_ascii_graphic() && !b"!#$%&()*+;<>?@[]^{|}~,=\"'\\".contains(&c))
}

/// Append `address`, padded with zeros; what does not fit with a zero behind it is cut.
pub(super) fn put_address(out: &mut Vec<u8>, address: &str) {
    let bytes = address.as_bytes();
    let bytes = &bytes[..bytes.len().min(ADDRESS - 1)];
    out.extend_from_slice(bytes);
    out.resize(out.len() + ADDRESS - bytes.len(), 0);
}
