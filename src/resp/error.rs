//! An error reply: its whole text, code word first, without the leading `-`.

use std::borrow::Cow;

/// The text of an error reply, such as `ERR syntax error`. Bytes, since it may quote what a client sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(Cow<'static, [u8]>);

impl Error {
    /// A value of another type is stored at the key.
    pub const WRONGTYPE: Error = Error::new("WRONGTYPE Operation against a key holding the wrong kind of value");
    /// The options of a command make no sense together.
    pub const SYNTAX: Error = Error::new("ERR syntax error");
    /// An argument is not a 64-bit integer.
    pub const NOT_INT: Error = Error::new("ERR value is not an integer or out of range");
    /// An argument is not a floating point number.
    pub const NOT_FLOAT: Error = Error::new("ERR value is not a valid float");
    /// The key does not exist.
    pub const NO_KEY: Error = Error::new("ERR no such key");
    /// A position is past the end.
    pub const RANGE: Error = Error::new("ERR index out of range");
    /// Source and destination are the same object.
    pub const SAME_OBJECT: Error = Error::new("ERR source and destination objects are the same");
    /// The memory limit is reached, and nothing may be evicted.
    pub const OOM: Error = Error::new("OOM command not allowed when used memory > 'maxmemory'.");
    /// Data are being loaded.
    pub const LOADING: Error = Error::new("LOADING Redis is loading the dataset in memory");
    /// A write on a replica.
    pub const READONLY: Error = Error::new("READONLY You can't write against a read only replica.");
    /// A command before authentication.
    pub const NOAUTH: Error = Error::new("NOAUTH Authentication required.");
    /// A queued transaction had an error.
    pub const EXECABORT: Error = Error::new("EXECABORT Transaction discarded because of previous errors.");
    /// A database index that does not exist.
    pub const DB_INDEX: Error = Error::new("ERR DB index is out of range");
    /// A timeout that is not a number.
    pub const TIMEOUT: Error = Error::new("ERR timeout is not a float or out of range");
    /// A negative timeout.
    pub const NEG_TIMEOUT: Error = Error::new("ERR timeout is negative");
    /// A cursor that is not a number.
    pub const CURSOR: Error = Error::new("ERR invalid cursor");

    /// An error with a fixed text.
    pub const fn new(text: &'static str) -> Error {
        Error(Cow::Borrowed(text.as_bytes()))
    }
    /// An error whose text was put together. Line breaks become spaces, for they would end the reply.
    pub fn owned(text: impl Into<Vec<u8>>) -> Error {
        let mut text = text.into();
        text.iter_mut().filter(|b| matches!(b, b'\r' | b'\n')).for_each(|b| *b = b' ');
        Error(Cow::Owned(text))
    }
    /// An error of no special kind, with this text.
    pub fn general(text: &[u8]) -> Error {
        Error::owned([b"ERR ", text].concat())
    }
    /// The number of arguments does not fit the command (its full name, as `client|kill`).
    pub fn arity(name: &str) -> Error {
        Error::owned(format!("ERR wrong number of arguments for '{name}' command"))
    }
    /// The expiry time given to the command is out of range.
    pub fn expire(name: &str) -> Error {
        Error::owned(format!("ERR invalid expire time in '{name}' command"))
    }
    /// The subcommand is not known.
    pub fn subcommand(container: &str, sub: &[u8]) -> Error {
        let mut text = b"ERR unknown subcommand '".to_vec();
        text.extend_from_slice(&sub[..sub.len().min(128)]);
        text.extend_from_slice(format!("'. Try {} HELP.", container.to_uppercase()).as_bytes());
        Error::owned(text)
    }
    /// The subcommand is not known, or takes other arguments.
    pub fn usage(container: &str, sub: &[u8]) -> Error {
        let start = b"ERR unknown subcommand or wrong number of arguments for '".as_slice();
        Error::owned([start, &sub[..sub.len().min(128)], format!("'. Try {container} HELP.").as_bytes()].concat())
    }
    /// The whole text.
    pub fn text(&self) -> &[u8] {
        &self.0
    }
    /// The first word: `ERR`, `WRONGTYPE` ...
    pub fn code(&self) -> &[u8] {
        self.0.split(|b| *b == b' ').next().unwrap_or(&[])
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}
impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_break_in_a_quoted_argument_cannot_end_the_reply() {
        assert_eq!(Error::owned("ERR a\r\nb").text(), b"ERR a  b");
        assert_eq!(Error::WRONGTYPE.code(), b"WRONGTYPE");
    }
}
