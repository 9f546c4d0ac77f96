//! What a connection has received: decoded, executed, and halted where something stops it.

use std::sync::atomic::Ordering::Relaxed;

use super::conn::{always, hold};
use super::debug::{Carrier, Line};
use crate::base::clock;
use crate::base::coroutine::{self, Work};
use crate::clients::{Close, Session};
use crate::commands::Server;
use crate::exec::{Stop, Turn, Worker};
use crate::metrics::METERED;
use crate::resp::{Arg, Decoder, Limits, Out, ProtocolError, Step};

/// Requests decoded before they are executed.
const TURN_REQUESTS: usize = 64;
/// How long one connection may go on before others get their turn, ns.
const TURN_NS: u64 = 1_000_000;
/// Replies of this many bytes end a turn: they are sent, or found to be too many, before more are made.
const TURN_OUT: usize = 256 << 10;
/// Room for arguments that is kept from request to request.
const KEEP_ARGS: usize = 1024;

/// The progress of decoding.
#[derive(Default)]
pub(super) struct Decode {
    decoder: Decoder,
    /// Arguments of the requests decoded so far, those of a partial one last.
    args: Vec<Arg>,
    /// How many each whole request has.
    counts: Vec<u32>,
    /// Where the first arguments of inline requests begin.
    inline: Vec<u32>,
    /// Where decoding goes on.
    pos: usize,
    /// Where the request at `pos` began.
    frame: usize,
    /// So many arguments of a partial request were added up, and have so many bytes.
    summed: (usize, usize),
}

/// How [`Requests::run`] ended.
pub(super) enum Halt {
    /// Everything was executed.
    Clean,
    /// A request goes on past the end; it begins at `frame`.
    Partial,
    /// The first so many decoded requests were executed, and for now no more shall be.
    Left { done: usize, paused: bool },
    /// The next of them is to be executed on a stack of its own.
    Stack(Rest),
    /// The next of them is to be prepared on another thread.
    Prepare(Rest),
}

/// Where [`Requests::run`] goes on among requests that are decoded.
pub(super) struct Rest {
    /// So many of them were executed.
    pub done: usize,
    /// What comes after them is not whole, or wrong.
    more: bool,
    wrong: Option<ProtocolError>,
}

impl Decode {
    pub fn reset(&mut self) {
        self.args.clear();
        self.args.shrink_to(KEEP_ARGS);
        self.counts.clear();
        self.inline.clear();
        self.decoder = Decoder::default();
        self.pos = 0;
        self.frame = 0;
        self.summed = (0, 0);
    }
    /// Of `held` bytes, how many more it takes until the request at their end is whole, as far as it is known.
    pub fn wants(&self, held: usize) -> usize {
        self.decoder.wants(held - self.pos.min(held))
    }
    /// The bytes of the partial request at the end of the buffer.
    pub fn partial<'b>(&self, buf: &'b [u8]) -> &'b [u8] {
        &buf[self.frame..]
    }
    /// Bytes of the arguments that are there of a partial request, the only one.
    pub fn partial_argv(&mut self) -> usize {
        let (count, bytes) = &mut self.summed;
        *bytes += self.args[*count..].iter().map(|a| (a.end - a.start) as usize).sum::<usize>();
        *count = self.args.len();
        *bytes
    }
    /// Bytes of the arguments of the request that is next once `done` of them were executed; 0: none is decoded.
    pub fn next_argv(&self, done: usize) -> usize {
        let start: usize = self.counts[..done].iter().map(|c| *c as usize).sum();
        let argc = self.counts.get(done).map_or(0, |c| *c as usize);
        self.args[start..start + argc].iter().map(|a| (a.end - a.start) as usize).sum()
    }
    /// The arguments of the first of the decoded requests that was not executed.
    pub fn next_args(&self, rest: &Rest) -> Vec<Arg> {
        let start: usize = self.counts[..rest.done].iter().map(|c| *c as usize).sum();
        self.args[start..start + self.counts[rest.done] as usize].to_vec()
    }
    /// The bytes before the partial request are gone.
    pub fn shift(&mut self) {
        if self.frame == 0 {
            return;
        }
        for a in &mut self.args {
            a.start -= self.frame as u32;
            a.end -= self.frame as u32;
        }
        self.pos -= self.frame;
        self.frame = 0;
    }
    /// The bytes of the requests that were not executed, decoded (from number `done` on) or not, to be decoded again.
    pub fn unread(&mut self, buf: &[u8], done: usize) -> Vec<u8> {
        let mut left = Vec::new();
        let mut at: usize = self.counts[..done].iter().map(|c| *c as usize).sum();
        for &argc in &self.counts[done..] {
            left.extend_from_slice(format!("*{argc}\r\n").as_bytes());
            for a in &self.args[at..at + argc as usize] {
                left.extend_from_slice(format!("${}\r\n", a.end - a.start).as_bytes());
                left.extend_from_slice(a.of(buf));
                left.extend_from_slice(b"\r\n");
            }
            at += argc as usize;
        }
        left.extend_from_slice(self.partial(buf));
        self.reset();
        left
    }
}

/// A buffer with requests, and what they are executed with.
pub(super) struct Requests<'a> {
    pub server: &'static Server,
    pub exec: &'a mut Worker,
    pub session: &'a mut Session,
    pub buf: &'a mut [u8],
    pub decode: &'a mut Decode,
    /// Where the replies go.
    pub out: &'a mut Out,
}

impl Requests<'_> {
    /// Executes what is in the buffer, to its end unless something stops it; from `rest` on if some was. Scripts get a stack
    /// of their own.
    pub(super) async fn run(mut self, rest: Option<Rest>, line: Line<'_>) -> Halt {
        match self.execute(rest) {
            Halt::Stack(rest) => self.apart(rest, line).await,
            halt => halt,
        }
    }

    /// Decodes and executes what is in the buffer, to its end unless something stops it; from `rest` on if some was.
    fn execute(&mut self, mut rest: Option<Rest>) -> Halt {
        let Requests { server, exec, session, buf, decode: d, out } = self;
        if session.acl_version != server.acl.version() {
            session.look_at_user(&server.acl);
        }
        let start = clock::mono_ns();
        let now = clock::now_ms();
        session.client.active.store(now, Relaxed);
        loop {
            let limits = Limits {
                bulk: server.config.proto_max_bulk_len() as u64,
                unauthenticated: !session.authenticated,
                ..Limits::default()
            };
            // Authentication changes the limits: then one request at a time.
            let most = if limits.unauthenticated { 1 } else { TURN_REQUESTS };
            let decoded = rest.is_some();
            let Rest { mut done, mut more, mut wrong } =
                rest.take().unwrap_or(Rest { done: 0, more: false, wrong: None });
            if !decoded {
                d.counts.clear();
                d.inline.clear();
            }
            while !decoded && d.counts.len() < most {
                match d.decoder.next(buf, &mut d.pos, &mut d.args, &limits) {
                    Ok(Step::Request(n)) => {
                        d.counts.push(n as u32);
                        d.frame = d.pos;
                    }
                    Ok(Step::Inline(n)) => {
                        d.counts.push(n as u32);
                        d.inline.push(d.args[d.args.len() - n].start);
                        d.frame = d.pos;
                    }
                    Ok(Step::Nothing) => d.frame = d.pos,
                    Ok(Step::More) => {
                        more = true;
                        break;
                    }
                    Err(e) => {
                        wrong = Some(e);
                        break;
                    }
                }
            }
            if !d.counts.is_empty() {
                if METERED && !decoded {
                    exec.stats.turn(d.counts.len());
                }
                let whole = d.args.len() - d.decoder.partial_args();
                let over: usize = d.counts[..done].iter().map(|c| *c as usize).sum();
                let (args, counts) = (&d.args[over..whole], &d.counts[done..]);
                let turn = Turn { buf, args, counts, inline: &d.inline, now, stream: None };
                let (executed, stop) = exec.run(session, &turn, out);
                done += executed;
                match stop {
                    Stop::Stack => return Halt::Stack(Rest { done, more, wrong }),
                    Stop::Prepare => return Halt::Prepare(Rest { done, more, wrong }),
                    Stop::No | Stop::Session | Stop::Paused => {}
                }
                if stop != Stop::No {
                    if session.close != Close::No {
                        return Halt::Clean;
                    }
                    return Halt::Left { done, paused: stop == Stop::Paused };
                }
                d.args.drain(..whole);
                d.summed = (0, 0);
            }
            if let Some(e) = wrong {
                tracing::debug!("Protocol error ({e:?}) from client {}", session.client.addr);
                exec.stats.error_replies.add(1);
                out.error(&e.reply());
                session.close = Close::AfterReply;
                return Halt::Clean;
            }
            if more {
                return if d.frame == buf.len() { Halt::Clean } else { Halt::Partial };
            }
            let long = out.len() > TURN_OUT || clock::mono_ns() - start > TURN_NS;
            if long && d.frame < buf.len() {
                d.counts.clear();
                return Halt::Left { done: 0, paused: false };
            }
        }
    }

    /// Goes on with [`execute`](Self::execute) on a stack of its own, so that a script that takes very long can be left half-way for the other
    /// connections of this worker.
    async fn apart(mut self, rest: Rest, line: Line<'_>) -> Halt {
        let stack = match coroutine::stack() {
            Ok(stack) => stack,
            Err(e) => {
                tracing::error!("No memory for the stack of a script: {e}");
                // Without it nothing can be executed that may take for ever.
                self.session.close = Close::Now;
                return Halt::Clean;
            }
        };
        let mut carrier = None;
        if let Some(dialogue) = self.session.debug.clone() {
            dialogue.attend();
            let (client, stats) = (self.session.client.clone(), self.exec.stats);
            let mut c = Carrier { server: self.server, stream: line.stream, client, stats, dialogue };
            // The replies before it come first.
            let written = self.session.written;
            let held = always(self.server).and_then(|w| hold(self.server, &w, written).map(|offset| (w, offset)));
            if let Some(earlier) = line.earlier {
                c.send_before(earlier, None).await;
            }
            c.send_before(self.out, held).await;
            carrier = Some(c);
        }
        let mut work = Work::new(stack, || self.execute(Some(rest)));
        loop {
            let halt = work.go_on();
            match &mut carrier {
                Some(carrier) => carrier.carry(halt.is_some()).await,
                None if halt.is_none() => tokio::task::yield_now().await,
                None => {}
            }
            if let Some(halt) = halt {
                return halt;
            }
        }
    }
}
