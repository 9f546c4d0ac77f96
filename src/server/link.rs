//! The link to a primary: connects, agrees on what is to come, takes a snapshot or goes on where it was, and applies
//! the stream of writes. One thread, which follows one primary at a time.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::*;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use redis_protocol::resp2::decode::decode_bytes_mut;
use redis_protocol::resp2::types::BytesFrame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::{bulk, dial};
use crate::base::clock;
use crate::clients::{Client, Session, flags};
use crate::commands::Server;
use crate::commands::persistence::aof;
use crate::commands::replication::{failover, role};
use crate::commands::text::REPLICA_VERSION;
use crate::config::enums::PropagationError;
use crate::exec::{Stop, Stream, Turn, Worker};
use crate::keyspace::encode_request;
use crate::keyspace::hooks::LogSink;
use crate::repl::{LinkState, Primary};
use crate::resp::{Decoder, Limits, Out, Step};

/// Bytes read at once.
pub(super) const READ: usize = 64 << 10;
/// How long until the next try after a failure, and how long a link is up that is made anew at once.
const RETRY: Duration = Duration::from_millis(500);
/// The stream is read ahead so far while CLIENT PAUSE holds it back, bytes.
const PAUSED_STREAM: usize = 16 << 20;
/// How often the end of a pause is looked for.
const PAUSE_LOOK: Duration = Duration::from_millis(5);

/// A primary that does not answer.
const LATE: &str = "Timeout connecting to the PRIMARY...";
pub(super) const LATE_BULK: &str = "Timeout receiving bulk data from PRIMARY... If the problem persists try to set the \
                         'repl-timeout' parameter to a larger value.";
/// The wait is over because it is no use any more.
pub(super) const SUPERSEDED: &str = "another primary is to be followed";

/// Starts the thread.
pub fn start(server: &'static Server, id: usize) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| format!("Can't make the runtime of the link to a primary: {e}"))?;
    let run = move || runtime.block_on(run(server, Worker::new(server, id)));
    let spawned = std::thread::Builder::new().name("link".into()).spawn(run);
    spawned.map(drop).map_err(|e| format!("Can't start the thread of the link to a primary: {e}"))
}

async fn run(server: &'static Server, mut worker: Worker) {
    let link = &server.repl.link;
    while !server.is_stopping() {
        let Some(primary) = link.primary() else {
            tokio::select! {
                () = server.repl.changed.notified() => {}
                () = tokio::time::sleep(Duration::from_millis(100)) => {}
            }
            continue;
        };
        let generation = link.generation();
        tracing::info!("Connecting to PRIMARY {}:{}", primary.host, primary.port);
        let mut following = Following { server, generation, client: None, up_since: None };
        let result = following.run(&mut worker, &primary).await;
        following.forget_client();
        link.buffered.store(0, Release);
        if link.generation() != generation {
            continue;
        }
        if let Err(e) = result {
            tracing::warn!("Link to PRIMARY {}:{}: {e}", primary.host, primary.port);
        }
        role::set_link_state(server, LinkState::Connect);
        if link.hand_over.load(Acquire) {
            failover::abort(server, "Failover target rejected psync request or is not reachable");
        }
        // A link that was up is made anew at once: the primary's history does not wait.
        if following.up_since.is_none_or(|at| at.elapsed() < RETRY) {
            tokio::time::sleep(RETRY).await;
        }
    }
}

pub(super) fn failed(text: impl Into<String>) -> io::Error {
    io::Error::other(text.into())
}

/// `repl-timeout`, as it is now.
fn patience(server: &Server) -> Duration {
    Duration::from_secs(server.config.repl_timeout().max(1) as u64)
}

/// One life of the link.
pub(super) struct Following {
    pub(super) server: &'static Server,
    pub(super) generation: u64,
    /// The link as CLIENT LIST shows it.
    client: Option<Arc<Client>>,
    /// Since when the stream is applied.
    up_since: Option<Instant>,
}

/// The socket, with what was read and not used yet.
pub(super) struct Wire {
    pub(super) stream: TcpStream,
    pub(super) buf: BytesMut,
    server: &'static Server,
    generation: u64,
    /// What a timeout means at this point.
    pub(super) late: &'static str,
    /// What came of the stream while a snapshot was loaded that comes over another connection.
    pub(super) ahead: VecDeque<BytesMut>,
    /// The primary sends a snapshot over it and nothing else, and closes it when it likes.
    pub(super) one_way: bool,
}

/// Ready when another primary is to be followed than that of this generation, or none.
pub(super) async fn superseded(server: &Server, generation: u64) {
    loop {
        let changed = server.repl.changed.notified();
        if server.repl.link.generation() != generation {
            return;
        }
        changed.await;
    }
}

/// Waits for the primary, which may be silent: until `repl-timeout`, or until another is to be followed.
pub(super) async fn with_patience<T>(
    server: &Server,
    generation: u64,
    late: &'static str,
    work: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    tokio::select! {
        done = timeout(patience(server), work) => done.unwrap_or_else(|_| Err(failed(late))),
        () = superseded(server, generation) => Err(failed(SUPERSEDED)),
    }
}

impl Wire {
    pub(super) fn new(stream: TcpStream, server: &'static Server, generation: u64) -> io::Result<Wire> {
        stream.set_nodelay(!server.config.repl_disable_tcp_nodelay())?;
        let (buf, ahead) = (BytesMut::new(), VecDeque::new());
        Ok(Wire { stream, buf, server, generation, late: LATE, ahead, one_way: false })
    }
    pub(super) async fn send(&mut self, argv: &[&[u8]]) -> io::Result<()> {
        let mut request = Vec::new();
        encode_request(argv, &mut request);
        with_patience(self.server, self.generation, self.late, self.stream.write_all(&request)).await
    }
    /// Tells the primary that this end is alive.
    pub(super) async fn sign_of_life(&mut self) -> io::Result<()> {
        if self.one_way {
            return Ok(());
        }
        self.stream.write_all(b"\n").await
    }
    /// Reads more.
    pub(super) async fn fill(&mut self) -> io::Result<usize> {
        self.buf.reserve(READ);
        let read = self.stream.read_buf(&mut self.buf);
        match with_patience(self.server, self.generation, self.late, read).await {
            Ok(0) => Err(failed("the primary closed the connection")),
            result => result,
        }
    }
    /// The next line, without its end.
    pub(super) async fn line(&mut self) -> io::Result<Bytes> {
        loop {
            if let Some(end) = self.buf.iter().position(|c| *c == b'\n') {
                let mut line = self.buf.split_to(end + 1);
                line.truncate(end);
                if line.last() == Some(&b'\r') {
                    line.truncate(end - 1);
                }
                return Ok(line.freeze());
            }
            if self.buf.len() > 64 << 10 {
                return Err(failed("the primary sends an endless line"));
            }
            self.fill().await?;
        }
    }
    /// The next reply: its text, or the error's.
    pub(super) async fn reply(&mut self) -> io::Result<Result<String, String>> {
        loop {
            // Signs of life while the primary prepares.
            while self.buf.first() == Some(&b'\n') {
                let _ = self.buf.split_to(1);
            }
            match decode_bytes_mut(&mut self.buf) {
                Ok(Some((frame, _, _))) => {
                    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
                    return match frame {
                        BytesFrame::SimpleString(s) | BytesFrame::BulkString(s) => Ok(Ok(text(&s))),
                        BytesFrame::Error(e) => Ok(Err(e.to_string())),
                        other => Err(failed(format!("unexpected reply of the primary: {other:?}"))),
                    };
                }
                Ok(None) => {
                    if self.buf.len() > 64 << 10 {
                        return Err(failed("the primary sends an endless reply"));
                    }
                    self.fill().await?;
                }
                Err(e) => return Err(failed(format!("the primary does not speak the protocol: {e}"))),
            }
        }
    }
}

/// How the primary goes on.
enum Answer {
    Continue(Option<String>),
    Full {
        id: String,
        offset: u64,
    },
    /// Over another connection.
    Apart,
}

impl Following {
    /// Whether this is still the primary to follow.
    fn is_current(&self) -> bool {
        self.server.repl.link.generation() == self.generation && !self.server.is_stopping()
    }
    pub(super) fn set_state(&self, state: LinkState) -> io::Result<()> {
        if !self.is_current() {
            return Err(failed(SUPERSEDED));
        }
        role::set_link_state(self.server, state);
        Ok(())
    }
    fn forget_client(&mut self) {
        if let Some(client) = self.client.take() {
            self.server.registry.remove(client.id);
        }
    }

    async fn run(&mut self, worker: &mut Worker, primary: &Primary) -> io::Result<()> {
        let server = self.server;
        self.set_state(LinkState::Connecting)?;
        let connecting = dial::connect(server.config, &primary.host, primary.port);
        let stream = with_patience(server, self.generation, LATE, connecting).await?;
        let mut wire = Wire::new(stream, server, self.generation)?;
        self.set_state(LinkState::Handshake)?;
        self.handshake(&mut wire).await?;
        match self.psync(&mut wire).await? {
            Answer::Continue(id) => {
                if !self.is_current() {
                    return Err(failed(SUPERSEDED));
                }
                if let Some(id) = id
                    && id != server.repl.ids().current
                {
                    tracing::info!("Primary replication ID changed to {id}");
                    server.repl.adopt_continuation(&id);
                    role::disconnect_replicas(server);
                }
                server.repl.log.start();
                failover::succeed(server);
                tracing::info!("PRIMARY <-> REPLICA sync: Primary accepted a Partial Resynchronization.");
            }
            Answer::Full { id, offset } => {
                tracing::info!("Full resync from primary: {id}:{offset}");
                failover::succeed(server);
                self.set_state(LinkState::Sync)?;
                wire.late = LATE_BULK;
                bulk::receive(server, worker, self.generation, &mut wire, &id, offset).await?;
                tracing::info!("PRIMARY <-> REPLICA sync: Finished with success");
            }
            Answer::Apart => {
                tracing::info!("PSYNC is not possible, initialize RDB channel.");
                failover::succeed(server);
                self.synchronize_apart(worker, primary, &mut wire).await?;
                tracing::info!("PRIMARY <-> REPLICA sync: Finished with success");
            }
        }
        server.repl.link.blank.store(false, Release);
        self.set_state(LinkState::Connected)?;
        self.up_since = Some(Instant::now());
        self.stream(worker, wire).await
    }

    /// The port under which the primary shows this node.
    pub(super) fn own_port(&self) -> String {
        let config = self.server.config;
        match config.replica_announce_port() {
            0 => config.port().to_string(),
            port => port.to_string(),
        }
    }

    pub(super) async fn authenticate(&self, wire: &mut Wire) -> io::Result<()> {
        let (user, password) = (self.server.config.primaryuser(), self.server.config.primaryauth());
        if password.is_empty() {
            return Ok(());
        }
        if user.is_empty() {
            wire.send(&[b"AUTH", &password]).await?;
        } else {
            wire.send(&[b"AUTH", &user, &password]).await?;
        }
        wire.reply().await?.map(drop).map_err(|e| failed(format!("Unable to AUTH to PRIMARY: {e}")))
    }

    async fn handshake(&self, wire: &mut Wire) -> io::Result<()> {
        let config = self.server.config;
        wire.send(&[b"PING"]).await?;
        match wire.reply().await? {
            Ok(_) => {}
            // Authentication is still to come, or something like it.
            Err(e) if ["NOAUTH", "NOPERM", "ERR operation not permitted"].iter().any(|p| e.starts_with(p)) => {}
            Err(e) => return Err(failed(format!("Error reply to PING from primary: '{e}'"))),
        }
        self.authenticate(wire).await?;
        let (port, address) = (self.own_port(), config.replica_announce_ip());
        let mut tells: Vec<Vec<&[u8]>> = vec![vec![b"REPLCONF", b"listening-port", port.as_bytes()]];
        if !address.is_empty() {
            tells.push(vec![b"REPLCONF", b"ip-address", &address]);
        }
        let mut capable: Vec<&[u8]> = vec![b"REPLCONF", b"capa", b"eof", b"capa", b"psync2", b"capa", b"slot-sets"];
        if config.dual_channel_replication_enabled() {
            capable.extend([&b"capa"[..], b"dual-channel"]);
        }
        tells.push(capable);
        tells.push(vec![b"REPLCONF", b"version", REPLICA_VERSION.as_bytes()]);
        for tell in &tells {
            wire.send(tell).await?;
        }
        for tell in &tells {
            // Old primaries do not know all of it, which does no harm.
            if let Err(e) = wire.reply().await? {
                tracing::info!(
                    "(Non critical) Primary does not understand {:?}: {e}",
                    String::from_utf8_lossy(tell[1])
                );
            }
        }
        Ok(())
    }

    async fn psync(&self, wire: &mut Wire) -> io::Result<Answer> {
        let repl = &self.server.repl;
        let (id, next) = (repl.ids().current, (repl.log.end() + 1).to_string());
        if repl.link.blank.load(Acquire) {
            tracing::info!("Partial resynchronization not possible (no cached primary)");
            wire.send(&[b"PSYNC", b"?", b"-1"]).await?;
        } else if repl.link.hand_over.load(Acquire) {
            wire.send(&[b"PSYNC", id.as_bytes(), next.as_bytes(), b"FAILOVER"]).await?;
        } else {
            tracing::info!("Trying a partial resynchronization (request {id}:{next}).");
            wire.send(&[b"PSYNC", id.as_bytes(), next.as_bytes()]).await?;
        }
        let text = wire.reply().await?.map_err(|e| failed(format!("the primary refuses: {e}")))?;
        let words: Vec<&str> = text.split(' ').collect();
        match words[..] {
            ["DUALCHANNELSYNC"] => Ok(Answer::Apart),
            ["CONTINUE"] => Ok(Answer::Continue(None)),
            ["CONTINUE", id] if id.len() == 40 => Ok(Answer::Continue(Some(id.to_owned()))),
            ["FULLRESYNC", id, offset] if id.len() == 40 => {
                let offset = offset.parse().map_err(|_| failed(format!("Unexpected reply to PSYNC: {text}")))?;
                Ok(Answer::Full { id: id.to_owned(), offset })
            }
            _ => Err(failed(format!("Unexpected reply to PSYNC: {text}"))),
        }
    }

    /// Applies the stream until something ends it.
    async fn stream(&mut self, worker: &mut Worker, mut wire: Wire) -> io::Result<()> {
        let server = self.server;
        let client = self.enlist(&wire)?;
        let mut session = Session::internal(server.repl.link.selected.load(Acquire));
        session.primary = true;
        session.client = client.clone();
        let mut reader = Reader::default();
        let now = clock::now_ms();
        server.repl.link.last_io.store(now, Release);
        let mut first = true;
        let mut tick = tokio::time::interval_at(Instant::now() + Duration::from_secs(1), Duration::from_secs(1));
        loop {
            let paused = server.pause.is_set() && server.pause.kind(clock::now_ms()).is_some();
            let asked = if paused {
                false
            } else {
                server.repl.link.ahead.store(0, Release);
                reader.apply(server, worker, &mut session, self.generation, &mut wire.buf)?
            };
            server.repl.link.ahead.store(wire.buf.len() as u64, Release);
            if !self.is_current() || client.mailbox.is_closing() {
                return Err(failed("the link was cut"));
            }
            if !paused && let Some(some) = wire.ahead.pop_front() {
                let left: usize = wire.ahead.iter().map(|b| b.len()).sum();
                server.repl.link.buffered.store(left as u64, Release);
                wire.buf.unsplit(some);
                continue;
            }
            // The first one says that what came with the synchronization is applied.
            if asked || std::mem::take(&mut first) {
                self.acknowledge(&mut wire).await?;
            }
            wire.buf.reserve(READ);
            // What comes during a pause waits here, and what is more than this at the primary.
            let reads = !paused || wire.buf.len() < PAUSED_STREAM;
            tokio::select! {
                () = tokio::time::sleep(PAUSE_LOOK), if paused => {}
                read = wire.stream.read_buf(&mut wire.buf), if reads => match read? {
                    0 => return Err(failed("Connection with primary lost.")),
                    n => {
                        let now = clock::now_ms();
                        server.repl.link.last_io.store(now, Release);
                        client.active.store(now, Relaxed);
                        server.repl.counters.bytes_in.fetch_add(n as u64, Relaxed);
                        client.net_in.fetch_add(n as u64, Relaxed);
                    }
                },
                _ = tick.tick() => {
                    let silent = clock::now_ms() - server.repl.link.last_io.load(Acquire);
                    if silent > server.config.repl_timeout() * 1000 {
                        return Err(failed("PRIMARY timeout: no data nor PING received..."));
                    }
                    self.acknowledge(&mut wire).await?;
                }
                () = server.repl.changed.notified() => {}
            }
        }
    }

    /// Tells the primary how far this node is.
    async fn acknowledge(&self, wire: &mut Wire) -> io::Result<()> {
        let repl = &self.server.repl;
        let offset = repl.log.end().to_string();
        if repl.log.has_file() {
            let file = aof::lasting(self.server).to_string();
            wire.send(&[b"REPLCONF", b"ACK", offset.as_bytes(), b"FACK", file.as_bytes()]).await
        } else {
            wire.send(&[b"REPLCONF", b"ACK", offset.as_bytes()]).await
        }
    }

    /// Shows the link among the connections.
    fn enlist(&mut self, wire: &Wire) -> io::Result<Arc<Client>> {
        let id = self.server.registry.admit();
        let now = clock::now_ms();
        let client = Client {
            id,
            addr: wire.stream.peer_addr()?.to_string(),
            laddr: wire.stream.local_addr()?.to_string(),
            created: now,
            ..Client::default()
        };
        client.active.store(now, Relaxed);
        client.resp.store(2, Relaxed);
        client.set(flags::PRIMARY, true);
        let client = Arc::new(client);
        self.server.registry.add(client.clone());
        self.client = Some(client.clone());
        Ok(client)
    }
}

/// The number of the first of some replies that is an error, or has one in it, and its text.
fn first_error(replies: &[u8]) -> (usize, String) {
    fn text(frame: &BytesFrame) -> Option<String> {
        match frame {
            BytesFrame::Error(e) => Some(e.to_string()),
            BytesFrame::Array(items) => items.iter().find_map(text),
            _ => None,
        }
    }
    let mut rest = BytesMut::from(replies);
    let mut number = 0;
    while let Ok(Some((frame, ..))) = decode_bytes_mut(&mut rest) {
        if let Some(text) = text(&frame) {
            return (number, text);
        }
        number += 1;
    }
    (number, String::new())
}

/// Takes requests out of the stream.
#[derive(Default)]
struct Reader {
    decoder: Decoder,
    args: Vec<crate::resp::Arg>,
    /// How many arguments each whole request has, and where it ends.
    counts: Vec<u32>,
    ends: Vec<usize>,
    pos: usize,
    /// With how many requests the next look at them is worth it.
    check_at: usize,
    out: Out,
}

impl Reader {
    /// Applies the whole requests in `buf`, and takes them out of it. Whether the primary asks how far this node is.
    ///
    /// A transaction is applied when all of it is there: should the link break before, it is as if it had not begun.
    fn apply(
        &mut self,
        server: &'static Server,
        worker: &mut Worker,
        session: &mut Session,
        generation: u64,
        buf: &mut BytesMut,
    ) -> io::Result<bool> {
        let limits = Limits { bulk: u64::MAX, ..Limits::default() };
        let mut asked = false;
        loop {
            let step = self.decoder.next(buf, &mut self.pos, &mut self.args, &limits);
            match step {
                Ok(Step::Request(n) | Step::Inline(n)) => {
                    self.counts.push(n as u32);
                    self.ends.push(self.pos);
                }
                Ok(Step::Nothing) => {
                    // An empty line is part of the stream all the same.
                    match self.ends.last_mut() {
                        Some(end) => *end = self.pos,
                        None => {
                            server.repl.log.append_stream(&buf[..self.pos], generation);
                            server.repl.log.wake();
                            let _ = buf.split_to(self.pos);
                            self.pos = 0;
                        }
                    }
                }
                Ok(Step::More) => {
                    self.execute(server, worker, session, generation, buf, &mut asked)?;
                    return Ok(asked);
                }
                Err(e) => return Err(failed(format!("Protocol error from primary: {e:?}"))),
            }
            if self.counts.len() >= self.check_at.max(256) {
                self.execute(server, worker, session, generation, buf, &mut asked)?;
                // What is left is a long transaction: not to be looked through again at every step.
                self.check_at = self.counts.len() * 2;
            }
        }
    }

    /// Executes the requests that were taken out, except for a transaction whose end is not there.
    fn execute(
        &mut self,
        server: &'static Server,
        worker: &mut Worker,
        session: &mut Session,
        generation: u64,
        buf: &mut BytesMut,
        asked: &mut bool,
    ) -> io::Result<()> {
        let is = |arg: &crate::resp::Arg, word: &str| arg.of(buf).eq_ignore_ascii_case(word.as_bytes());
        let (mut ready, mut argc, mut at) = (0, 0, 0);
        let mut open = false;
        for (i, n) in self.counts.iter().enumerate() {
            let name = &self.args[at];
            if *n == 3 && is(name, "replconf") && is(&self.args[at + 1], "getack") {
                *asked = true;
            }
            open = (open || is(name, "multi")) && !is(name, "exec");
            at += *n as usize;
            if !open {
                (ready, argc) = (i + 1, at);
            }
        }
        if ready == 0 {
            return Ok(());
        }
        let end = self.ends[ready - 1];
        let turn = Turn {
            buf,
            args: &self.args[..argc],
            counts: &self.counts[..ready],
            inline: &[],
            now: clock::now_ms(),
            stream: Some(Stream { ends: &self.ends[..ready], generation }),
        };
        let errors = worker.stats.error_replies.get();
        let (done, stop) = worker.run(session, &turn, &mut self.out);
        // What replicas of this node read is the primary's stream, not what this node does.
        server.repl.log.wake();
        server.repl.link.selected.store(session.db, Release);
        if server.repl.link.generation() != generation {
            // What was refused, was because this primary is not followed any more.
            self.out.clear();
            return Err(failed(SUPERSEDED));
        }
        if worker.stats.error_replies.get() != errors {
            let (number, error) = first_error(&self.out.take_bytes());
            let first: usize = self.counts[..number.min(ready - 1)].iter().map(|n| *n as usize).sum();
            let name = String::from_utf8_lossy(self.args[first].of(buf)).into_owned();
            tracing::warn!(
                "== CRITICAL == This replica is sending an error to its primary: '{error}' after processing the \
                 command '{name}'"
            );
            // Who writes to a replica makes its data differ, and knows it.
            let severe = server.config.replica_read_only();
            if severe && server.config.propagation_error_behavior() != PropagationError::Ignore {
                std::process::abort();
            }
        }
        self.out.clear();
        if stop != Stop::No || done != ready {
            return Err(failed("the primary sent a command that cannot be applied"));
        }
        let _ = buf.split_to(end);
        self.args.drain(..argc);
        self.counts.drain(..ready);
        self.ends.drain(..ready);
        self.pos -= end;
        self.ends.iter_mut().for_each(|e| *e -= end);
        for a in &mut self.args {
            a.start -= end as u32;
            a.end -= end as u32;
        }
        Ok(())
    }
}
