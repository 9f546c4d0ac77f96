//! A connection to a node: one request, one reply.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use bytes::BytesMut;
use redis_protocol::resp2::decode::decode_bytes_mut;
use redis_protocol::resp2::types::BytesFrame;

use crate::keyspace::encode_request;

/// For connecting, and for each reply unless more is asked for.
const TIMEOUT: Duration = Duration::from_secs(5);
/// No reply that is asked for here is bigger, bytes.
const LARGEST: usize = 256 << 20;

/// The name and password that nodes ask for.
#[derive(Clone, Debug, Default)]
pub struct Login {
    /// `None`: the default user.
    pub user: Option<String>,
    /// `None`: no AUTH is sent.
    pub password: Option<String>,
}

/// A reply. What a client of nodes does not meet (pushes, maps) does not occur: RESP2 is spoken.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// A status or a string.
    Text(Vec<u8>),
    /// A number.
    Int(i64),
    /// Several replies.
    Array(Vec<Reply>),
    /// Nothing.
    Null,
}

impl Reply {
    /// A string or a number as text; empty for anything else.
    pub fn text(&self) -> String {
        match self {
            Reply::Text(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Reply::Int(n) => n.to_string(),
            Reply::Array(_) | Reply::Null => String::new(),
        }
    }
    /// The elements; none for what is no array.
    pub fn items(&self) -> &[Reply] {
        if let Reply::Array(items) = self { items } else { &[] }
    }
    /// The value of `name` in a map, which RESP2 sends as an array of names and values.
    pub fn field(&self, name: &str) -> Option<&Reply> {
        self.items().chunks_exact(2).find(|pair| pair[0].text() == name).map(|pair| &pair[1])
    }
}

fn reply(frame: BytesFrame) -> Result<Reply, String> {
    Ok(match frame {
        BytesFrame::SimpleString(bytes) | BytesFrame::BulkString(bytes) => Reply::Text(bytes.to_vec()),
        BytesFrame::Integer(n) => Reply::Int(n),
        BytesFrame::Array(frames) => Reply::Array(frames.into_iter().map(reply).collect::<Result<_, _>>()?),
        BytesFrame::Null => Reply::Null,
        BytesFrame::Error(text) => return Err(text.to_string()),
    })
}

/// A connection to a node.
pub struct Client {
    /// `host:port`, for messages.
    pub at: String,
    /// The host as it was given.
    pub host: String,
    stream: TcpStream,
    buf: BytesMut,
}

impl Client {
    /// Connects, and logs in where there is a password.
    ///
    /// # Errors
    /// A sentence that names the address.
    pub fn connect(host: &str, port: u16, login: &Login) -> Result<Client, String> {
        let at = format!("{host}:{port}");
        let addresses = (host, port).to_socket_addrs().map_err(|e| format!("{at} is not known: {e}"))?;
        let mut why = "it has no address".to_owned();
        for address in addresses {
            match TcpStream::connect_timeout(&address, TIMEOUT) {
                Ok(stream) => {
                    let _ = stream.set_nodelay(true);
                    let set = stream.set_read_timeout(Some(TIMEOUT)).and(stream.set_write_timeout(Some(TIMEOUT)));
                    set.map_err(|e| format!("{at}: {e}"))?;
                    let mut client = Client { at, host: host.to_owned(), stream, buf: BytesMut::new() };
                    if let Some(password) = &login.password {
                        let user = login.user.as_deref();
                        let words: Vec<&str> = ["AUTH"].into_iter().chain(user).chain([&password[..]]).collect();
                        client.call(&words)?;
                    }
                    return Ok(client);
                }
                Err(e) => why = e.to_string(),
            }
        }
        Err(format!("Can't connect to {at}: {why}"))
    }

    /// Sends a request and reads its reply.
    ///
    /// # Errors
    /// What the node answered, or what happened to the connection, after its address.
    pub fn call(&mut self, words: &[&str]) -> Result<Reply, String> {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        let mut request = Vec::new();
        encode_request(&words, &mut request);
        self.exchange(&request).map_err(|e| format!("{}: {e}", self.at))
    }

    fn exchange(&mut self, request: &[u8]) -> Result<Reply, String> {
        self.stream.write_all(request).map_err(|e| e.to_string())?;
        let mut piece = [0; 16 << 10];
        loop {
            if let Some((frame, ..)) = decode_bytes_mut(&mut self.buf).map_err(|e| e.to_string())? {
                return reply(frame);
            }
            match self.stream.read(&mut piece).map_err(|e| e.to_string())? {
                0 => return Err("the connection was closed".to_owned()),
                n => self.buf.extend_from_slice(&piece[..n]),
            }
            if self.buf.len() > LARGEST {
                return Err("the reply is too big".to_owned());
            }
        }
    }

    /// A field of an INFO text; empty where it is missing.
    pub fn info(&mut self, section: &str, field: &str) -> Result<String, String> {
        Ok(info_field(&self.call(&["INFO", section])?.text(), field))
    }
}

/// A field of an INFO text; empty where it is missing.
pub fn info_field(text: &str, field: &str) -> String {
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    value.unwrap_or_default().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_a_map_and_of_info() {
        let map =
            Reply::Array(vec![Reply::Text(b"a".to_vec()), Reply::Int(1), Reply::Text(b"b".to_vec()), Reply::Null]);
        assert_eq!((map.field("a"), map.field("b"), map.field("c")), (Some(&Reply::Int(1)), Some(&Reply::Null), None));
        assert_eq!(info_field("# Server\r\nrole:master\r\nrole_x:1\r\n", "role"), "master");
        assert_eq!(info_field("role:master\r\n", "rol"), "");
    }
}
