//! The servers that MIGRATE sends keys to: connections that are kept for a while, and the exchange over one of them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;

use crate::base::clock;
use crate::keyspace::encode_request;
use crate::resp::Error;

/// Connections that are kept at most.
const KEPT: usize = 64;
/// One that nobody used for so long is closed, ms.
const IDLE_MS: i64 = 10_000;
/// Bytes written in one go; the timeout holds for each.
const PIECE: usize = 64 << 10;
/// A reply of one line is no longer, bytes.
const LINE: u64 = 1024;

type Address = (Vec<u8>, Vec<u8>);

struct Connection {
    stream: BufReader<TcpStream>,
    /// The database that it has selected, if that is known.
    db: Option<i64>,
    used: i64,
}

/// Connections that wait to be used again.
#[derive(Default)]
pub struct Targets {
    kept: Mutex<HashMap<Address, Connection>>,
    /// Keys that targets took.
    pub keys: AtomicU64,
    /// Bytes sent to them.
    pub bytes: AtomicU64,
    /// Keys that a MIGRATE within a cluster is about, with how many of them are.
    under_way: Mutex<HashMap<Vec<u8>, usize>>,
}

/// Keys are under way as long as it lives.
pub struct UnderWay<'a> {
    targets: &'a Targets,
    keys: &'a [Vec<u8>],
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut under_way = self.targets.under_way.lock();
        for key in self.keys {
            if let Entry::Occupied(mut of) = under_way.entry(key.clone()) {
                *of.get_mut() -= 1;
                if *of.get() == 0 {
                    of.remove();
                }
            }
        }
    }
}

/// What is to be said to a target.
pub struct Errand<'a> {
    /// Its host or address.
    pub host: &'a [u8],
    /// Its port, as the client wrote it.
    pub port: &'a [u8],
    /// The database to select.
    pub db: i64,
    /// For connecting, and for every piece that is written or read, ms.
    pub timeout_ms: u64,
    /// The arguments of AUTH; none: it is not sent.
    pub auth: &'a [Vec<u8>],
}

/// What a target said to each request: the text of its error, without the dash.
pub type Answers = Vec<Result<(), Vec<u8>>>;

/// Why not all requests were answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// There is no connection.
    Connecting,
    /// Not everything was sent.
    Writing,
    /// Not all answers came.
    Reading,
}

impl Failure {
    /// What the client is told.
    pub fn error(self) -> Error {
        Error::new(match self {
            Failure::Connecting => "IOERR error or timeout connecting to the client",
            Failure::Writing => "IOERR error or timeout writing to target instance",
            Failure::Reading => "IOERR error or timeout reading from target instance",
        })
    }
}

impl Targets {
    /// How many connections are kept.
    pub fn len(&self) -> usize {
        self.kept.lock().len()
    }
    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Notes that these keys begin to move. Of one that vanishes here meanwhile the target may have a copy that is removed
    /// later.
    pub fn note<'a>(&'a self, keys: &'a [Vec<u8>]) -> UnderWay<'a> {
        let mut under_way = self.under_way.lock();
        keys.iter().for_each(|key| *under_way.entry(key.clone()).or_insert(0) += 1);
        UnderWay { targets: self, keys }
    }
    /// Whether a key is under way.
    pub fn is_under_way(&self, key: &[u8]) -> bool {
        self.under_way.lock().contains_key(key)
    }
    /// Closes those that nobody uses.
    pub fn close_idle(&self, now: i64) {
        self.kept.lock().retain(|_, c| now - c.used < IDLE_MS);
    }

    /// Sends `requests` (so many, encoded) and reads what is answered. A connection that turns out to be dead before it
    /// answered anything is made anew once. What was answered before a failure is told with it.
    pub fn send(&self, errand: &Errand<'_>, requests: &[u8], many: usize) -> (Answers, Option<Failure>) {
        let mut again = true;
        loop {
            let address = (errand.host.to_vec(), errand.port.to_vec());
            let kept = self.kept.lock().remove(&address);
            let Some(mut connection) = kept.or_else(|| Connection::open(errand)) else {
                return (Vec::new(), Some(Failure::Connecting));
            };
            let mut answers = Vec::new();
            let Err((failure, e)) = connection.exchange(errand, requests, many, &mut answers) else {
                self.keep(address, connection);
                self.bytes.fetch_add(requests.len() as u64, Relaxed);
                return (answers, None);
            };
            let timeout = matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
            if timeout || !answers.is_empty() || !again {
                return (answers, Some(failure));
            }
            again = false;
        }
    }

    fn keep(&self, address: Address, mut connection: Connection) {
        connection.used = clock::now_ms();
        let mut kept = self.kept.lock();
        if kept.len() >= KEPT
            && let Some(oldest) = kept.iter().min_by_key(|(_, c)| c.used).map(|(a, _)| a.clone())
        {
            kept.remove(&oldest);
        }
        kept.insert(address, connection);
    }
}

impl Connection {
    fn open(errand: &Errand<'_>) -> Option<Connection> {
        let host = std::str::from_utf8(errand.host).ok()?;
        let port: u16 = std::str::from_utf8(errand.port).ok()?.parse().ok()?;
        let timeout = Duration::from_millis(errand.timeout_ms);
        let stream = (host, port).to_socket_addrs().ok()?.find_map(|a| TcpStream::connect_timeout(&a, timeout).ok())?;
        let _ = stream.set_nodelay(true);
        Some(Connection { stream: BufReader::new(stream), db: None, used: 0 })
    }

    fn exchange(
        &mut self,
        errand: &Errand<'_>,
        requests: &[u8],
        many: usize,
        answers: &mut Answers,
    ) -> Result<(), (Failure, io::Error)> {
        let timeout = Some(Duration::from_millis(errand.timeout_ms));
        let stream = self.stream.get_mut();
        let prepared = stream.set_write_timeout(timeout).and_then(|()| stream.set_read_timeout(timeout));
        prepared.map_err(|e| (Failure::Writing, e))?;
        let mut head = Vec::new();
        let mut before = 0;
        if !errand.auth.is_empty() {
            let mut argv: Vec<&[u8]> = vec![b"AUTH"];
            argv.extend(errand.auth.iter().map(|a| &a[..]));
            encode_request(&argv, &mut head);
            before += 1;
        }
        if self.db != Some(errand.db) {
            encode_request(&[b"SELECT", errand.db.to_string().as_bytes()], &mut head);
            before += 1;
        }
        self.db = None;
        for piece in std::iter::once(&head[..]).chain(requests.chunks(PIECE)) {
            stream.write_all(piece).map_err(|e| (Failure::Writing, e))?;
        }
        let mut refused = None;
        for _ in 0..before {
            let line = self.line().map_err(|e| (Failure::Reading, e))?;
            refused = refused.or(line.err());
        }
        for _ in 0..many {
            let line = self.line().map_err(|e| (Failure::Reading, e))?;
            answers.push(refused.clone().map_or(line, Err));
        }
        if answers.iter().all(Result::is_ok) {
            self.db = Some(errand.db);
        }
        Ok(())
    }

    /// A reply of one line: `+`, `:` or `-`.
    fn line(&mut self) -> io::Result<Result<(), Vec<u8>>> {
        let mut line = Vec::new();
        self.stream.by_ref().take(LINE).read_until(b'\n', &mut line)?;
        let Some(text) = line.strip_suffix(b"\r\n") else {
            return Err(ErrorKind::UnexpectedEof.into());
        };
        match text.split_first() {
            Some((b'+' | b':', _)) => Ok(Ok(())),
            Some((b'-', text)) => Ok(Err(text.to_vec())),
            _ => Err(ErrorKind::InvalidData.into()),
        }
    }
}
