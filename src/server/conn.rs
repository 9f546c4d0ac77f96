//! One connection: read until it would block, decode, execute, write, wait.
//!
//! A connection without a partial request reads into the buffer that all connections of its worker share, and replies
//! from the worker's output; both are free again before the next await. Only what is left over (half a request, replies
//! that the socket had no room for) takes memory of the connection's own, so an idle connection costs next to nothing.
//!
//! A turn is one read, cut short after a millisecond, so that a busy connection does not keep its worker from the others. A
//! client that does not read its replies is not read from any more once [`MAX_UNSENT`] bytes wait for it.
//!
//! States of the own buffer `buf`: empty; a partial request, whose progress is in `decode`; or, while the client is
//! blocked or paused, whole requests that nobody has looked at (`decode` is fresh then).

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Duration;

use tokio::io::ReadBuf;

use super::accept::Accepted;
use super::debug::Line;
use super::evict::Account;
use super::feed::{Feed, Next};
use super::queue::Queued;
use super::requests::{Decode, Halt, Requests, Rest};
use super::stream::Stream;
use super::worker::{Desk, Shared};
use crate::base::clock;
use crate::clients::{Client, Close, Mail, ReplyMode, Session, flags};
use crate::commands::Server;
use crate::commands::pubsub;
use crate::config::OutputLimit;
use crate::metrics::ThreadStats;
use crate::persist::aof::Writer;
use crate::resp::Out;

/// Unsent bytes above which a connection is not read from.
const MAX_UNSENT: usize = 128 << 20;
/// A big argument is read in pieces of at most this size, so that memory follows what has arrived.
const MAX_GROWTH: usize = 1 << 20;
/// A buffer that holds more than this gets more memory on another thread: that copies it.
const GROWS_ALONE: usize = 4 << 20;
/// A replica is sent more of the log when less than this waits to be sent.
const MAX_FEED: usize = 64 << 10;
/// Output buffers above this size are given back once empty.
const KEEP_OUT: usize = 64 << 10;
/// Replies that do not count for the output buffer limits.
const OWN_OUT: usize = 16 << 10;
/// A client that must still authenticate may not make us hold more than this.
const MAX_UNAUTHENTICATED: usize = 64 << 10;

struct Conn {
    server: &'static Server,
    shared: Rc<Shared>,
    stream: Stream,
    session: Session,
    buf: Vec<u8>,
    decode: Decode,
    /// Replies that did not fit into the socket.
    out: Out,
    /// Unix ms since which the output is over the soft limit; 0: it is not.
    soft_since: i64,
    /// A pause holds the first request in `buf` back.
    paused: bool,
    /// `buf` has something new to decode.
    pending: bool,
    /// What it is sent as a replica.
    feed: Option<Feed>,
    /// Replies wait until the append-only file is on disk up to here.
    hold: Option<u64>,
    /// What it is known to take.
    account: Account,
}

/// Why a connection woke up.
enum Wake {
    Mail,
    /// So many bytes are in the worker's read buffer; 0: the other end sends no more.
    Read(usize),
    Writable,
    Timer,
    /// Something for a replica.
    Feed(Next),
}

/// Serves a connection until it ends.
pub async fn serve(server: &'static Server, shared: Rc<Shared>, worker: usize, id: u64, accepted: Accepted) {
    let now = clock::now_ms();
    let Ok((stream, client)) = open(server, worker, id, accepted, now) else { return server.registry.remove(id) };
    let client = Arc::new(client);
    server.registry.add(client.clone());
    shared.stats().connections_received.add(1);
    let mut session = Session::new(client, false);
    session.start_as_default(&server.acl);
    let mut conn = Conn {
        server,
        shared,
        stream,
        session,
        buf: Vec::new(),
        decode: Decode::default(),
        out: Out::default(),
        soft_since: 0,
        paused: false,
        pending: false,
        feed: None,
        hold: None,
        account: Account::default(),
    };
    let stats = conn.shared.stats();
    Queued::new(conn.run(), stats).await;
    conn.leave();
}

fn open(server: &Server, worker: usize, id: u64, accepted: Accepted, now: i64) -> io::Result<(Stream, Client)> {
    let mut client = Client { id, worker, created: now, ..Client::default() };
    let stream = match accepted {
        Accepted::Tcp(s) => {
            s.set_nodelay(true)?;
            let keepalive = server.config.tcp_keepalive();
            if keepalive > 0 {
                let time = Duration::from_secs(keepalive);
                let probe = Duration::from_secs((keepalive / 3).max(1));
                let k = socket2::TcpKeepalive::new().with_time(time).with_interval(probe).with_retries(3);
                socket2::SockRef::from(&s).set_tcp_keepalive(&k)?;
            }
            client.addr = s.peer_addr()?.to_string();
            client.laddr = s.local_addr()?.to_string();
            client.fd = s.as_raw_fd();
            Stream::Tcp(tokio::net::TcpStream::from_std(s)?)
        }
        Accepted::Unix(s, path) => {
            client.addr = format!("{path}:0");
            client.laddr = client.addr.clone();
            client.fd = s.as_raw_fd();
            client.flags.store(flags::UNIX, Relaxed);
            Stream::Unix(tokio::net::UnixStream::from_std(s)?)
        }
    };
    client.active.store(now, Relaxed);
    client.resp.store(2, Relaxed);
    Ok((stream, client))
}

impl Conn {
    async fn run(&mut self) {
        loop {
            let wake = self.wait().await;
            if self.session.client.mailbox.is_closing() {
                // Not even what has come for it already is sent.
                return;
            }
            match wake {
                Ok(Wake::Mail) => self.mail(),
                Ok(Wake::Read(n)) => {
                    if !self.received(n).await {
                        return;
                    }
                }
                Ok(Wake::Writable) => {}
                Ok(Wake::Timer) => self.timer(),
                Ok(Wake::Feed(Next::Bytes(parts))) => self.feed(parts),
                Ok(Wake::Feed(Next::Over)) => self.session.close = Close::AfterReply,
                Ok(Wake::Feed(Next::Failed)) => return,
                Err(_) => return,
            }
            self.work().await;
            self.begin_feed();
            if !self.flush() || self.is_over() || !self.account.settle(self.server, &self.session.client) {
                return;
            }
        }
    }
    /// Whether requests have to wait.
    fn is_blocked(&self) -> bool {
        self.session.waiting.is_some() || self.paused
    }

    /// Whether so little waits to be sent that more may be asked for.
    fn has_room(&self) -> bool {
        self.out.len() < if self.session.authenticated { MAX_UNSENT } else { MAX_UNAUTHENTICATED }
    }
    /// Waits for mail, for the socket, or for a deadline.
    async fn wait(&mut self) -> io::Result<Wake> {
        let roomy = self.has_room() && self.hold.is_none();
        if self.pending && !self.is_blocked() && roomy {
            // More requests are here already; others first.
            tokio::task::yield_now().await;
            return Ok(Wake::Writable);
        }
        let deadline = self.deadline();
        let may_read = roomy && self.session.close == Close::No;
        let feeds = self.out.len() < MAX_FEED;
        let (stream, session, unsent) = (&mut self.stream, &self.session, self.out.memory());
        let (server, feed, hold) = (self.server, &mut self.feed, self.hold);
        let (shared, empty) = (&self.shared, self.out.is_empty());
        let mut waiting = std::pin::pin!(poll_fn(|cx| {
            if session.client.mailbox.poll(cx).is_ready() {
                return Poll::Ready(Ok(Wake::Mail));
            }
            if let Some(offset) = hold {
                return match server.aof.writer() {
                    Some(writer) => writer.poll_synced(offset, cx).map(|()| Ok(Wake::Writable)),
                    // It was turned off meanwhile, which made it lasting.
                    None => Poll::Ready(Ok(Wake::Writable)),
                };
            }
            if !empty && let Poll::Ready(r) = stream.poll_write_ready(cx) {
                return Poll::Ready(r.map(|()| Wake::Writable));
            }
            if feeds
                && let Some(feed) = feed
                && let Poll::Ready(next) = feed.poll(server, unsent, cx)
            {
                return Poll::Ready(Ok(Wake::Feed(next)));
            }
            if may_read {
                // What is read stays in the worker's buffer until we look at it, which is before anybody else runs.
                let mut desk = shared.take();
                let mut buf = ReadBuf::new(&mut desk.read);
                if let Poll::Ready(r) = stream.poll_read(cx, &mut buf) {
                    return Poll::Ready(r.map(|()| Wake::Read(buf.filled().len())));
                }
            }
            Poll::Pending
        }));
        match deadline {
            None => waiting.await,
            Some(at) => {
                let left = Duration::from_millis((at - clock::now_ms()).max(0) as u64);
                tokio::time::timeout(left, &mut waiting).await.unwrap_or(Ok(Wake::Timer))
            }
        }
    }
    /// Unix ms at which something is to be done without being asked.
    fn deadline(&self) -> Option<i64> {
        let blocked = self.session.waiting.as_ref().and_then(|w| w.1);
        // Without a pause it is a key under way to another node that is waited for.
        let paused = self.paused.then(|| self.server.pause.until().max(clock::now_ms() + 1));
        let limit = self.limit();
        let soft = (self.soft_since > 0).then(|| self.soft_since + limit.soft_seconds as i64 * 1000 + 1);
        [blocked, paused, soft].into_iter().flatten().min()
    }

    /// Executes what was read into the worker's buffer. False if the connection is at its end.
    async fn received(&mut self, n: usize) -> bool {
        if n == 0 {
            // The other end sends no more. What it has asked for it still gets.
            self.session.close = Close::AfterReply;
            return !self.out.is_empty();
        }
        let blocked = self.is_blocked();
        let mut desk = self.shared.take();
        let Desk { exec, read, out, .. } = &mut *desk;
        let own = !self.buf.is_empty() || blocked;
        exec.stats.net_in.add(n as u64);
        exec.stats.reads_processed.add(1);
        let c = &self.session.client;
        c.net_in.store(c.net_in.load(Relaxed) + n as u64, Relaxed);
        if own {
            if self.buf.capacity() - self.buf.len() < n {
                // All of a long argument at once where its length is known, but no more than a step ahead of what came.
                self.buf.reserve(self.decode.wants(self.buf.len()).clamp(n, MAX_GROWTH));
            }
            self.buf.extend_from_slice(&read[..n]);
            self.pending = true;
            let held = self.buf.len();
            // What a blocked client waits with is not in its buffer.
            let argv = if self.session.waiting.is_some() { 0 } else { c.argv_mem.load(Relaxed) };
            self.note_sizes(argv);
            let c = &self.session.client;
            let limit = self.server.config.client_query_buffer_limit();
            if held > limit || (held > MAX_UNAUTHENTICATED && !self.session.authenticated) {
                exec.stats.query_limit_disconnections.add(1);
                tracing::warn!("Closing client that reached max query buffer length: {}", c.addr);
                return false;
            }
            // Before the request is whole, or is looked at.
            if !self.account.settle(self.server, c) {
                return false;
            }
            let room = read.len();
            drop(desk);
            return self.make_room(room).await;
        }
        // The plain case: everything that came is executed where it is, and the replies go out where they are.
        out.set_proto(self.out.proto());
        let bytes = &mut read[..n];
        let (session, decode) = (&mut self.session, &mut self.decode);
        let requests =
            Requests { server: self.server, exec: &mut *exec, session, buf: &mut *bytes, decode, out: &mut *out };
        let line = Line { stream: &mut self.stream, earlier: Some(&mut self.out) };
        let mut halt = requests.run(None, line).await;
        if let Halt::Prepare(Rest { done, .. }) = halt {
            // It is prepared from the connection's own buffer.
            halt = Halt::Left { done, paused: false };
        }
        let mut argv = 0;
        match halt {
            Halt::Stack(_) | Halt::Prepare(_) | Halt::Clean => self.decode.reset(),
            Halt::Partial => {
                argv = self.decode.partial_argv();
                self.buf.extend_from_slice(self.decode.partial(bytes));
                self.decode.shift();
            }
            Halt::Left { done, paused } => {
                if paused {
                    argv = self.decode.next_argv(done);
                }
                self.buf = self.decode.unread(bytes, done);
                self.pending = !self.buf.is_empty();
                if paused {
                    self.paused = true;
                    self.server.registry.count_blocked(true);
                    self.session.client.set(flags::PAUSED, true);
                }
            }
        }
        self.out.set_proto(out.proto());
        self.note_sizes(argv);
        if self.overflows(out.len()) {
            self.note_overflow(exec.stats);
            out.clear();
            out.shrink(KEEP_OUT);
            return false;
        }
        if let Some(writer) = always(self.server) {
            self.hold = hold(self.server, &writer, self.session.written);
        }
        if self.out.is_empty()
            && !out.is_empty()
            && self.hold.is_none()
            && let Err(e) = send(&self.stream, out, &self.session, exec.stats)
        {
            tracing::debug!("Writing to client: {e}");
            out.clear();
            return false;
        }
        if !out.is_empty() {
            self.out.append(out);
        }
        out.shrink(KEEP_OUT);
        true
    }

    /// Makes room for a next read of so many bytes, if the buffer is long and what it waits for does. False if that failed.
    async fn make_room(&mut self, next: usize) -> bool {
        let (held, wants) = (self.buf.len(), self.decode.wants(self.buf.len()));
        if held < GROWS_ALONE || wants == 0 || self.buf.capacity() - held >= next {
            return true;
        }
        let mut buf = std::mem::take(&mut self.buf);
        let grown = tokio::task::spawn_blocking(move || {
            buf.reserve_exact(wants.min(held).max(next));
            buf
        });
        match grown.await {
            Ok(buf) => self.buf = buf,
            Err(_) => return false,
        }
        true
    }

    /// Executes what is new in the connection's own buffer.
    async fn work(&mut self) {
        // A pause is looked at anew whenever the connection wakes: it may be over, or of another kind.
        if !self.pending || self.session.waiting.is_some() || !self.has_room() || self.session.close != Close::No {
            return;
        }
        self.pending = false;
        self.session.client.argv_mem.store(0, Relaxed);
        let mut buf = std::mem::take(&mut self.buf);
        let mut rest = None;
        let halt = loop {
            let mut desk = self.shared.take();
            let (exec, session, decode, out) = (&mut desk.exec, &mut self.session, &mut self.decode, &mut self.out);
            let requests = Requests { server: self.server, exec, session, buf: &mut buf, decode, out };
            let line = Line { stream: &mut self.stream, earlier: None };
            let halt = requests.run(rest.take(), line).await;
            drop(desk);
            let Halt::Prepare(of) = halt else { break halt };
            let Some(same) = self.prepare(buf, &of).await else {
                self.session.close = Close::Now;
                return;
            };
            (buf, rest) = (same, Some(of));
        };
        self.set_paused(matches!(halt, Halt::Left { paused: true, .. }));
        let mut argv = 0;
        match halt {
            Halt::Stack(_) | Halt::Prepare(_) | Halt::Clean => self.decode.reset(),
            Halt::Partial => {
                argv = self.decode.partial_argv();
                buf.drain(..buf.len() - self.decode.partial(&buf).len());
                self.decode.shift();
                self.buf = buf;
            }
            Halt::Left { done, paused } => {
                if paused {
                    argv = self.decode.next_argv(done);
                }
                self.buf = self.decode.unread(&buf, done);
                self.pending = !self.buf.is_empty();
            }
        }
        self.note_sizes(argv);
        if let Some(writer) = always(self.server) {
            self.hold = hold(self.server, &writer, self.session.written);
        }
    }

    /// Prepares the next of the decoded requests on another thread; gives the buffer back. Others are served meanwhile.
    async fn prepare(&mut self, buf: Vec<u8>, rest: &Rest) -> Option<Vec<u8>> {
        let (server, args) = (self.server, self.decode.next_args(rest));
        let work = move || {
            let argv: Vec<&[u8]> = args.iter().map(|arg| arg.of(&buf)).collect();
            let prepare = server.lookup.resolve(&argv).and_then(|entry| entry.command.prepare)?;
            let made = prepare(server, &argv);
            Some((buf, made))
        };
        let (buf, made) = tokio::task::spawn_blocking(work).await.ok().flatten()?;
        self.session.prepared = Some(made);
        Some(buf)
    }

    /// Takes what others sent.
    fn mail(&mut self) {
        let client = self.session.client.clone();
        for mail in client.mailbox.take() {
            match mail {
                Mail::Push(bytes) => self.out.raw(&bytes),
                Mail::ShardLeft(channel) => pubsub::shard_left(&mut self.session, &channel, &mut self.out),
                Mail::Reply(bytes) => {
                    if self.session.reply == ReplyMode::On {
                        self.out.raw(&bytes);
                    }
                    self.end_wait();
                    // What another connection did for this one is in the log by now.
                    if let Some(writer) = always(self.server) {
                        self.hold = hold(self.server, &writer, self.server.repl.log.end());
                    }
                }
            }
        }
    }
    /// The blocking command is through.
    fn end_wait(&mut self) {
        if let Some((waiter, _)) = self.session.waiting.take() {
            let client = &self.session.client;
            *client.blocked.lock() = None;
            client.argv_mem.store(0, Relaxed);
            client.set(flags::BLOCKED, false);
            client.active.store(clock::now_ms(), Relaxed);
            client.commands.store(client.commands.load(Relaxed) + 1, Relaxed);
            self.shared.stats().commands_processed.add(1);
            self.shared.take().exec.forget_waiter(&waiter, clock::now_ms());
            self.pending = !self.buf.is_empty();
        }
    }
    /// A deadline passed.
    fn timer(&mut self) {
        let now = clock::now_ms();
        if let Some((waiter, deadline)) = &mut self.session.waiting
            && deadline.is_some_and(|at| at <= now)
        {
            if waiter.claim() {
                let counted = crate::commands::replication::wait::on_timeout(self.server, waiter);
                let reply = counted.unwrap_or_else(|| waiter.on_timeout.clone());
                self.shared.take().exec.count_unserved(waiter);
                self.out.raw(&reply);
                self.end_wait();
            } else {
                // Somebody is serving it right now: the reply is on its way, or the wait goes on for a moment.
                *deadline = Some(now + 1);
            }
        }
    }

    /// A command made the connection a replica's.
    fn begin_feed(&mut self) {
        if let Some(how) = self.session.sync.take() {
            self.feed = Feed::new(self.server, &self.session, how);
            self.pending = !self.buf.is_empty();
        }
    }
    /// Something for a replica goes out.
    fn feed(&mut self, parts: Vec<bytes::Bytes>) {
        let bytes: usize = parts.iter().map(|b| b.len()).sum();
        self.server.repl.counters.bytes_out.fetch_add(bytes as u64, Relaxed);
        parts.into_iter().for_each(|b| self.out.raw_shared(b));
    }

    /// The output buffer limits of its class.
    fn limit(&self) -> OutputLimit {
        let config = self.server.config;
        match self.feed {
            Some(_) => config.replica_output_limit(),
            None => config.output_limit(if self.session.subscriptions() > 0 { 2 } else { 0 }),
        }
    }
    /// Writes what fits, and sees to the limits. False if the connection is at its end.
    fn flush(&mut self) -> bool {
        if self.overflows(self.out.len()) {
            self.note_overflow(self.shared.stats());
            return false;
        }
        if let Some(offset) = self.hold
            && self.server.aof.writer().is_none_or(|w| w.synced() >= offset)
        {
            self.hold = None;
        }
        if !self.out.is_empty() && self.hold.is_none() {
            if let Err(e) = send(&self.stream, &mut self.out, &self.session, self.shared.stats()) {
                tracing::debug!("Writing to client: {e}");
                return false;
            }
            if self.out.is_empty() {
                self.out.shrink(0);
            }
        }
        let unsent = self.out.len();
        let client = &self.session.client;
        client.out.store(unsent, Relaxed);
        client.out_capacity.store(self.out.memory(), Relaxed);
        if unsent == 0 {
            self.soft_since = 0;
            return true;
        }
        client.out_peak.fetch_max(unsent, Relaxed);
        let limit = self.limit();
        let now = clock::now_ms();
        let over_soft = limit.soft > 0 && unsent as u64 >= limit.soft;
        if !over_soft {
            self.soft_since = 0;
        } else if self.soft_since == 0 {
            self.soft_since = now;
        }
        if over_soft && now - self.soft_since > limit.soft_seconds as i64 * 1000 {
            self.note_overflow(self.shared.stats());
            return false;
        }
        true
    }
    /// Whether so many bytes of replies are over the hard limit. As in Redis the first 16 KB, a connection's own buffer
    /// there, do not count, and what is over the limit is not sent even if the socket would take it.
    fn overflows(&self, unsent: usize) -> bool {
        let hard = self.limit().hard;
        hard > 0 && unsent.saturating_sub(OWN_OUT) as u64 >= hard
    }
    fn note_overflow(&self, stats: &ThreadStats) {
        stats.output_limit_disconnections.add(1);
        let client = &self.session.client;
        tracing::warn!("Client id={} addr={} closed for overcoming of output buffer limits.", client.id, client.addr);
    }
    fn is_over(&self) -> bool {
        let ends = match self.session.close {
            Close::No => self.server.is_stopping(),
            Close::AfterReply => self.out.is_empty(),
            Close::Now => true,
        };
        let mailbox = &self.session.client.mailbox;
        ends || mailbox.is_closing() || mailbox.is_last() && self.out.is_empty() && !mailbox.has_signal()
    }

    /// Tells others how full the connection's own buffer is; `argv` bytes of it are arguments of the request that is next.
    fn note_sizes(&self, argv: usize) {
        let (client, held) = (&self.session.client, self.buf.len());
        client.qbuf.store(held - argv, Relaxed);
        client.qbuf_free.store(self.buf.capacity() - held, Relaxed);
        if self.session.waiting.is_none() {
            client.argv_mem.store(argv, Relaxed);
        }
    }

    /// Whether a pause holds the connection back. It counts as blocked while it does.
    fn set_paused(&mut self, on: bool) {
        if self.paused != on {
            self.paused = on;
            self.server.registry.count_blocked(on);
            self.session.client.set(flags::PAUSED, on);
        }
    }

    /// What a connection leaves behind is put in order.
    fn leave(&mut self) {
        self.set_paused(false);
        let now = clock::now_ms();
        if let Some(feed) = self.feed.take() {
            // Nothing of the log is held once nobody is known any more for whom.
            self.out.clear();
            feed.end(self.server, self.session.client.id);
        }
        let client = self.session.client.clone();
        if let Some((waiter, _)) = self.session.waiting.take() {
            waiter.claim();
            *client.blocked.lock() = None;
            self.shared.take().exec.forget_waiter(&waiter, now);
        }
        self.shared.take().exec.end_transaction(&mut self.session, now);
        self.server.tracking.disable(&self.server.keyspace.hooks, &client);
        crate::commands::pubsub::leave(&mut self.session, &self.server.pubsub);
        if self.session.monitor {
            self.server.registry.count_monitor(false);
        }
        std::mem::take(&mut self.account).close(self.server);
        self.server.registry.remove(client.id);
    }
}

/// The append-only file, if replies wait for it.
pub(super) fn always(server: &Server) -> Option<Arc<Writer>> {
    if !server.config.appendonly() || server.config.appendfsync() != 1 {
        return None;
    }
    server.aof.writer()
}

/// What replies after writes up to `written` wait for.
pub(super) fn hold(server: &Server, writer: &Writer, written: u64) -> Option<u64> {
    // What was written to another history, before a synchronization with a new primary, may have a greater offset than this
    // one will have for long.
    let written = written.min(server.repl.log.end());
    (writer.synced() < written).then_some(written)
}

/// Writes what fits.
fn send(stream: &Stream, out: &mut Out, session: &Session, stats: &ThreadStats) -> io::Result<()> {
    while !out.is_empty() {
        let written = match out.plain() {
            Some(bytes) => stream.try_write(bytes),
            None => {
                let mut slices = [IoSlice::new(b""); 64];
                let n = out.slices(&mut slices);
                stream.try_write_vectored(&slices[..n])
            }
        };
        match written {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                stats.net_out.add(n as u64);
                stats.writes_processed.add(1);
                let c = &session.client;
                c.net_out.store(c.net_out.load(Relaxed) + n as u64, Relaxed);
                out.consume(n);
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
