//! The source's side of a move: a thread that sends the slots' keys, then their changes, and hands the slots over.
//!
//! ```text
//!   connect, ESTABLISH          the target agrees to receive the slots
//!   walk                        each key is written out under its slot's lock; the log is read on all the time
//!   catch up                    until little of the log is left
//!   SETTLE                      the target answers when its replicas have it all
//!   pause                       writes to the slots are held back, the rest of the log is sent
//!   FAILOVER                    the target takes the slots under a new epoch, and answers
//!   view                        this node hears of that on the bus; clients that were held back are redirected
//! ```
//!
//! Until FAILOVER is sent this node is the owner whatever happens, and everything can be given up. Once it is sent the
//! target may be the owner. If no answer comes the slots stay held back until the bus says that they are the target's, or
//! until enough time has passed without that: then this node claims them anew, under an epoch that outranks whatever the
//! target may have written down before it died.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use parking_lot::Mutex;
use redis_protocol::resp2::decode::decode_bytes_mut;
use redis_protocol::resp2::types::BytesFrame;

use super::super::keys::Hands;
use super::super::{change, events};
use super::filter::{Filter, Outgoing, Place, Stopped};
use crate::base::clock;
use crate::cluster::Flags;
use crate::cluster::core;
use crate::cluster::transfers::{Stage, Transfer};
use crate::commands::Server;
use crate::commands::generic::dump::{payload, sealed};
use crate::commands::replication::role;
use crate::keyspace::{Db, EntryRef, NO_EXPIRY, Watch};
use crate::persist::rdb::{self, Steps};
use crate::repl::ReaderId;

/// About so many bytes of values are written out under one lock.
const STEP: usize = 64 << 10;
/// So often a big value is written out in steps; then in one piece.
const ROUNDS: usize = 3;
/// Bytes that gather before they are sent.
const FLUSH: usize = 64 << 10;
/// With no more than this left of the log, bytes, the slots are handed over.
const CLOSE: u64 = 32 << 10;
/// Requests that the target may have left to answer then.
const UNANSWERED: u64 = 512;
/// A write that takes longer is interrupted, to see whether the move may go on.
const WRITE: Duration = Duration::from_millis(100);
/// Looks at whether something has happened come so often, microseconds.
const LOOK_US: u64 = 200;
/// Longer than this a target that says nothing, while there is something to say, is dead, ms.
const SILENCE_MS: i64 = 30_000;

/// What the target has answered.
#[derive(Default)]
struct Answers {
    count: AtomicU64,
    refusal: Mutex<Option<String>>,
    closed: AtomicBool,
}

struct Export {
    server: &'static Server,
    transfer: Arc<Transfer>,
    hands: Hands,
    stream: TcpStream,
    answers: Arc<Answers>,
    reader: ReaderId,
    filter: Filter,
    sent: u64,
    /// Big values are among the requests up to here: the target may take its time for them.
    big_until: u64,
    /// A target that takes nothing for longer is given up, ms.
    patience_ms: i64,
}

impl Drop for Export {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
        self.server.repl.log.remove_reader(self.reader);
        self.server.repl.log_unused(clock::now_ms());
    }
}

/// Starts the thread.
pub fn start(server: &'static Server, transfer: Arc<Transfer>) {
    let of_thread = transfer.clone();
    let work = move || {
        let ended = run(server, &of_thread);
        let now = clock::now_ms();
        let (name, slots) = (of_thread.name, of_thread.slots.to_string());
        match ended {
            Ok(()) => {
                of_thread.set(Stage::Success, "", now);
                tracing::info!(
                    "Slot migration {name}: {slots} belong to {} now: {} keys, {} bytes, writes held back for {} us",
                    of_thread.target,
                    of_thread.keys.load(Relaxed),
                    of_thread.bytes.load(Relaxed),
                    of_thread.paused_us.load(Relaxed)
                );
            }
            Err(Stopped(why)) => {
                let stage = if of_thread.is_cancelled() { Stage::Cancelled } else { Stage::Failed };
                tracing::warn!("Slot migration {name} of {slots}: {}: {why}", stage.name());
                of_thread.set(stage, &why, now);
            }
        }
    };
    if let Err(e) = std::thread::Builder::new().name("slot-export".into()).spawn(work) {
        transfer.set(Stage::Failed, &format!("Can't start a thread: {e}"), clock::now_ms());
    }
}

fn run(server: &'static Server, transfer: &Arc<Transfer>) -> Result<(), Stopped> {
    let mut export = Export::begin(server, transfer)?;
    let slots = transfer.slots.clone();
    transfer.set(Stage::Snapshotting, "", clock::now_ms());
    for slot in slots.iter() {
        export.walk(slot)?;
    }
    transfer.set(Stage::Streaming, "", clock::now_ms());
    export.catch_up()?;
    export.settle()?;
    export.hand_over()
}

fn io_error(what: &str) -> impl Fn(io::Error) -> Stopped + '_ {
    move |e| Stopped(format!("{what}: {e}"))
}

fn connect(server: &'static Server, transfer: &Transfer) -> Result<TcpStream, Stopped> {
    let view = server.cluster.view().ok_or_else(|| Stopped("no cluster".to_owned()))?;
    let target = view.nodes.iter().find(|node| node.id == transfer.target);
    let target = target.ok_or_else(|| Stopped("Target node is gone".to_owned()))?;
    let timeout = Duration::from_millis(server.config.cluster_node_timeout().clamp(1000, SILENCE_MS) as u64);
    let address =
        (target.ip.as_str(), target.client_port(false)).to_socket_addrs().ok().and_then(|mut list| list.next());
    let address = address.ok_or_else(|| Stopped("Target node has no address".to_owned()))?;
    let stream = TcpStream::connect_timeout(&address, timeout).map_err(io_error("Can't connect to the target"))?;
    let _ = stream.set_nodelay(true);
    stream.set_write_timeout(Some(WRITE)).map_err(io_error("Target"))?;
    Ok(stream)
}

fn refusal_of(frame: &BytesFrame) -> Option<String> {
    match frame {
        BytesFrame::Error(text) => Some(text.to_string()),
        BytesFrame::Array(frames) => frames.iter().find_map(refusal_of),
        _ => None,
    }
}

/// Reads what the target answers until the connection ends.
fn listen(mut stream: TcpStream, answers: &Answers, transfer: &Transfer) {
    let (mut buf, mut piece) = (BytesMut::new(), [0; 16 << 10]);
    'connection: while let Ok(n) = stream.read(&mut piece) {
        if n == 0 {
            break;
        }
        transfer.heard.store(clock::now_ms() as u64, Relaxed);
        buf.extend_from_slice(&piece[..n]);
        loop {
            match decode_bytes_mut(&mut buf) {
                Ok(Some((frame, ..))) => {
                    if let Some(text) = refusal_of(&frame) {
                        answers.refusal.lock().get_or_insert(text);
                    }
                    answers.count.fetch_add(1, AcqRel);
                }
                Ok(None) => break,
                Err(_) => break 'connection,
            }
        }
    }
    answers.closed.store(true, Release);
}

impl Export {
    fn begin(server: &'static Server, transfer: &Arc<Transfer>) -> Result<Export, Stopped> {
        let stream = connect(server, transfer)?;
        let answers = Arc::<Answers>::default();
        let of_thread = (stream.try_clone().map_err(io_error("Target"))?, answers.clone(), transfer.clone());
        let ear = move || listen(of_thread.0, &of_thread.1, &of_thread.2);
        std::thread::Builder::new().name("slot-answers".into()).spawn(ear).map_err(io_error("Can't start a thread"))?;
        // The log names the database anew for those who begin to read here.
        let mut held = server.keyspace.held();
        held.set_patient(true);
        held.lock_all();
        role::begin_log(server);
        let (reader, at) = (server.repl.log.reader_at_end(), server.repl.log.end());
        held.unlock();
        let mut export = Export {
            server,
            transfer: transfer.clone(),
            hands: Hands::new(server),
            stream,
            answers,
            reader,
            filter: Filter::new(&server.lookup, transfer.slots.clone(), at),
            sent: 0,
            big_until: 0,
            patience_ms: SILENCE_MS,
        };
        export.establish()?;
        Ok(export)
    }

    fn establish(&mut self) -> Result<(), Stopped> {
        let config = self.server.config;
        let (user, password) = (config.primaryuser(), config.primaryauth());
        let out = &mut self.filter.out;
        match (user.is_empty(), password.is_empty()) {
            (_, true) => {}
            (true, false) => out.push_plain(&[b"AUTH", &password]),
            (false, false) => out.push_plain(&[b"AUTH", &user, &password]),
        }
        let t = &self.transfer;
        let mut argv: Vec<Vec<u8>> = ["CLUSTER", "SYNCSLOTS", "ESTABLISH", "SOURCE", t.source.as_str(), "NAME"]
            .into_iter()
            .chain([t.name.as_str(), "SLOTSRANGE"])
            .map(|word| word.as_bytes().to_vec())
            .collect();
        argv.extend(t.slots.ranges().iter().flat_map(|(a, b)| [a, b]).map(|n| n.to_string().into_bytes()));
        out.push_plain(&argv.iter().map(|arg| &arg[..]).collect::<Vec<_>>());
        self.flush()?;
        self.answered(SILENCE_MS)
    }

    /// Whether the move may go on.
    fn check(&self) -> Result<(), Stopped> {
        if let Some(text) = &*self.answers.refusal.lock() {
            return Err(Stopped(format!("The target said: {text}")));
        }
        if self.answers.closed.load(Acquire) {
            return Err(Stopped("The target closed the connection".to_owned()));
        }
        if self.transfer.is_cancelled() {
            return Err(Stopped("Cancelled by a client".to_owned()));
        }
        if self.server.is_stopping() {
            return Err(Stopped("This node is shutting down".to_owned()));
        }
        let view = self.server.cluster.view().ok_or_else(|| Stopped("no cluster".to_owned()))?;
        if self.server.repl.link.is_replica() || !self.transfer.slots.iter().all(|slot| view.is_mine(slot)) {
            return Err(Stopped("This node does not own the slots any more".to_owned()));
        }
        let target = view.nodes.iter().find(|node| node.id == self.transfer.target);
        if target.is_none_or(|node| node.is_replica() || node.flags.any(Flags::FAIL)) {
            return Err(Stopped("The target is no primary any more".to_owned()));
        }
        let behind = self.server.repl.log.behind(self.reader);
        self.transfer.behind.store(behind, Relaxed);
        let limit = self.server.config.output_limit(1).hard;
        if limit > 0 && behind > limit {
            return Err(Stopped("The target does not keep up with the writes to the slots".to_owned()));
        }
        Ok(())
    }

    /// Sends what has gathered.
    fn flush(&mut self) -> Result<(), Stopped> {
        let mut bytes = std::mem::take(&mut self.filter.out.bytes);
        let (mut sent, mut since) = (0, clock::steady_ms());
        while sent < bytes.len() {
            match self.stream.write(&bytes[sent..]) {
                Ok(n) if n > 0 => {
                    sent += n;
                    since = clock::steady_ms();
                    self.transfer.bytes.fetch_add(n as u64, Relaxed);
                }
                // It may be busy with something big.
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    self.check()?;
                    if clock::steady_ms() - since > self.patience_ms {
                        return Err(Stopped("The target does not read".to_owned()));
                    }
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                result => {
                    let e = result.err().unwrap_or(ErrorKind::WriteZero.into());
                    return Err(io_error("Can't write to the target")(e));
                }
            }
        }
        bytes.clear();
        bytes.shrink_to(4 * FLUSH);
        self.filter.out.bytes = bytes;
        self.sent += std::mem::take(&mut self.filter.out.requests);
        Ok(())
    }

    fn unanswered(&self) -> u64 {
        self.sent - self.answers.count.load(Acquire).min(self.sent)
    }

    /// Waits until the target has answered everything.
    fn answered(&self, patience_ms: i64) -> Result<(), Stopped> {
        let start = clock::steady_ms();
        while self.unanswered() > 0 {
            self.check()?;
            if clock::steady_ms() - start > patience_ms {
                return Err(Stopped("The target does not answer".to_owned()));
            }
            clock::pause_us(LOOK_US);
        }
        self.check()
    }

    /// Reads the log up to where it ends now.
    fn drain(&mut self) -> Result<(), Stopped> {
        let end = self.server.repl.log.end();
        while self.filter.offset() < end {
            let mut cx = Context::from_waker(Waker::noop());
            let Poll::Ready(parts) = self.server.repl.log.poll_read(self.reader, &mut cx) else { break };
            for part in &parts {
                self.filter.read(part)?;
            }
            if self.filter.out.bytes.len() >= FLUSH {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Writes out all keys of a slot.
    fn walk(&mut self, slot: u16) -> Result<(), Stopped> {
        self.check()?;
        self.filter.enter(slot);
        for db in 0..self.server.keyspace.databases() {
            let (mut pos, mut big) = (0, Vec::new());
            loop {
                let (server, filter, transfer) = (self.server, &mut self.filter, &self.transfer);
                let compress = server.config.rdbcompression();
                pos = self.hands.with(slot, db, |view| {
                    if !view.is_used() || view.slot_len(slot) == 0 {
                        return 0;
                    }
                    let (offset, now) = (server.repl.log.end(), view.now);
                    let (start, mut at) = (filter.out.bytes.len(), pos);
                    loop {
                        at = view.scan_slot_raw(slot, at, |e| {
                            let place: Place = (db, e.key().to_vec());
                            if e.is_expired(now) || filter.has(&place) {
                                return;
                            }
                            if rdb::is_big(e.view()) {
                                big.push(place);
                                return;
                            }
                            restore(&mut filter.out, &place, e.expiry(), &payload(e, compress));
                            filter.captured(place, offset);
                            transfer.keys.fetch_add(1, Relaxed);
                        });
                        if at == 0 || filter.out.bytes.len() - start > STEP {
                            return at;
                        }
                    }
                });
                if self.filter.out.bytes.len() >= FLUSH {
                    self.flush()?;
                    self.check()?;
                }
                self.drain()?;
                for place in big.drain(..) {
                    if !self.filter.has(&place) {
                        self.write_out(place)?;
                    }
                }
                if pos == 0 {
                    break;
                }
            }
        }
        self.write_pending()?;
        self.filter.leave();
        Ok(())
    }

    /// Writes out what is pending, until the log is read past it and there is nothing more.
    fn write_pending(&mut self) -> Result<(), Stopped> {
        loop {
            // The log's end, read after the last value was: all that those values contain is before it.
            self.drain()?;
            let Some(place) = self.filter.next_pending() else { return Ok(()) };
            self.write_out(place)?;
        }
    }

    /// Writes out what a key holds now; that it is gone, if it is.
    fn write_out(&mut self, place: Place) -> Result<(), Stopped> {
        let mut round = 0;
        while !self.try_write_out(&place, round >= ROUNDS)? {
            round += 1;
        }
        self.transfer.keys.fetch_add(1, Relaxed);
        if self.filter.out.bytes.len() >= FLUSH {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes out a key, a big one in steps, with the slot free in between, unless `at_once`. False if it was touched
    /// before all was written.
    fn try_write_out(&mut self, place: &Place, at_once: bool) -> Result<bool, Stopped> {
        let (server, compress) = (self.server, self.server.config.rdbcompression());
        let slot = crate::base::slot::key_slot(&place.1);
        let alive = |e: &EntryRef<'_>, now| !e.is_expired(now);
        let (filter, watch, mut big) = (&mut self.filter, Arc::<Watch>::default(), false);
        let mut steps = self.hands.with(slot, place.0, |view: &mut Db<'_>| {
            let (offset, now) = (server.repl.log.end(), view.now);
            match view.peek(&place.1).filter(|e| alive(e, now)) {
                Some(e) if !at_once && rdb::is_big(e.view()) => {
                    view.watch(&place.1, &watch);
                    return Some(Steps::new(compress));
                }
                Some(e) => {
                    big = rdb::is_big(e.view());
                    restore(&mut filter.out, place, e.expiry(), &payload(e, compress));
                }
                None => filter.out.push(place.0, &[b"DEL", &place.1]),
            }
            filter.captured(place.clone(), offset);
            None
        });
        while let Some(under_way) = &mut steps {
            let checked = self.check();
            let filter = &mut self.filter;
            // Some(Some): that was the last step, with the key's expiry. Some(None): it was touched.
            let end = self.hands.with(slot, place.0, |view: &mut Db<'_>| {
                let (offset, now) = (server.repl.log.end(), view.now);
                let untouched = !watch.is_touched() && checked.is_ok();
                let entry = view.peek(&place.1).filter(|e| untouched && alive(e, now));
                let end = match entry {
                    None => Some(None),
                    Some(e) => under_way.step(e.view()).then(|| Some(e.expiry())),
                };
                if let Some(written) = end {
                    view.unwatch(&place.1, &watch);
                    if written.is_some() {
                        filter.captured(place.clone(), offset);
                    }
                }
                end
            });
            checked?;
            match end {
                None => {}
                Some(None) => return Ok(false),
                Some(Some(expiry)) => {
                    let (body, version) = steps.take().map(Steps::finish).unwrap_or_default();
                    restore(&mut self.filter.out, place, expiry, &sealed(body, version));
                    big = true;
                }
            }
        }
        if big {
            self.big_until = self.sent + self.filter.out.requests;
        }
        Ok(true)
    }

    /// Sends changes until little is left.
    fn catch_up(&mut self) -> Result<(), Stopped> {
        loop {
            self.write_pending()?;
            self.filter.forget_old();
            self.flush()?;
            self.check()?;
            let took_big_ones = self.answers.count.load(Acquire) >= self.big_until;
            if self.server.repl.log.behind(self.reader) <= CLOSE && self.unanswered() <= UNANSWERED && took_big_ones {
                return Ok(());
            }
            clock::pause_us(LOOK_US);
        }
    }

    /// Waits until the target's replicas have what was sent so far.
    fn settle(&mut self) -> Result<(), Stopped> {
        let settle: [&[u8]; 5] = [b"CLUSTER", b"SYNCSLOTS", b"SETTLE", b"NAME", self.transfer.name.as_bytes()];
        self.filter.out.push_plain(&settle);
        let asked = self.sent + self.filter.out.requests;
        self.flush()?;
        let start = clock::steady_ms();
        while self.answers.count.load(Acquire) < asked {
            self.check()?;
            if clock::steady_ms() - start > SILENCE_MS {
                return Err(Stopped("The target does not answer".to_owned()));
            }
            self.drain()?;
            clock::pause_us(LOOK_US);
        }
        self.catch_up()
    }

    fn hand_over(&mut self) -> Result<(), Stopped> {
        let (server, transfer) = (self.server, self.transfer.clone());
        // One at a time: there is one pause.
        let _turn = loop {
            match server.cluster.transfers.handing_over.try_lock() {
                Some(turn) => break turn,
                None => self.catch_up()?,
            }
            clock::pause_us(LOOK_US);
        };
        let _pause = Pause::begin(server, &transfer);
        transfer.set(Stage::Paused, "", clock::now_ms());
        // Writes that were under way are through once their locks were held.
        for slot in transfer.slots.iter() {
            self.hands.with(slot, 0, |_| ());
        }
        let left = server.config.cluster_manual_failover_timeout();
        self.patience_ms = left;
        self.write_pending()?;
        self.flush()?;
        self.answered(left)?;
        self.check()?;
        transfer.set(Stage::HandingOver, "", clock::now_ms());
        self.filter.out.push_plain(&[b"CLUSTER", b"SYNCSLOTS", b"FAILOVER", b"NAME", transfer.name.as_bytes()]);
        if self.flush().is_err() {
            return self.undecided();
        }
        let start = clock::steady_ms();
        while self.unanswered() > 0 || !is_theirs(server, &transfer) {
            if let Some(text) = self.answers.refusal.lock().take() {
                return Err(Stopped(format!("The target said: {text}")));
            }
            let waited = clock::steady_ms() - start;
            let answered = self.unanswered() == 0;
            if answered && waited > left {
                // It has said that it took them; the bus does not bring it.
                return concede(server, &transfer);
            }
            if !answered && (waited > left || self.answers.closed.load(Acquire)) {
                return self.undecided();
            }
            clock::pause_us(LOOK_US);
        }
        Ok(())
    }

    /// The target was told to take the slots and has not answered: it did, or it did not.
    fn undecided(&mut self) -> Result<(), Stopped> {
        let (server, transfer) = (self.server, self.transfer.clone());
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
        let patience = (2 * server.config.cluster_node_timeout()).max(server.config.cluster_manual_failover_timeout());
        tracing::warn!("Slot migration {}: no answer to the hand-over, waiting for news of the target", transfer.name);
        server.pause.start_slots(transfer.slots.ranges().to_vec(), clock::now_ms() + patience + 1000);
        let start = clock::steady_ms();
        while clock::steady_ms() - start < patience && !server.is_stopping() {
            if is_theirs(server, &transfer) {
                return Ok(());
            }
            if server.repl.link.is_replica() {
                return Err(Stopped("This node is no primary any more".to_owned()));
            }
            clock::pause_us(10 * LOOK_US);
        }
        if let Some(mut core) = server.cluster.core() {
            let command = core::Command::ReclaimSlots(transfer.slots.clone());
            let claimed = core.handle_command(clock::steady_ms(), command, &change::Counted::NOTHING);
            drop(core);
            events::carry_out(server);
            server.cluster.ring();
            if claimed.is_err() {
                return Err(Stopped("The slots belong to another node".to_owned()));
            }
        }
        Err(Stopped("The target did not answer to the hand-over, the slots stay here".to_owned()))
    }
}

/// Whether this node knows that the slots are not its own any more.
fn is_theirs(server: &Server, transfer: &Transfer) -> bool {
    server.cluster.view().is_some_and(|view| transfer.slots.iter().all(|slot| !view.is_mine(slot)))
}

/// The target is the owner, which the bus has not told.
fn concede(server: &'static Server, transfer: &Transfer) -> Result<(), Stopped> {
    for slot in transfer.slots.iter() {
        let action = core::SlotAction::Node(transfer.target.as_bytes().to_vec());
        let command = core::Command::SetSlot { slot, action, timeout: Ok(0), from_primary: false };
        if let Some(mut core) = server.cluster.core() {
            // The keys are with the target, whatever is left of them here.
            let _ = core.handle_command(clock::steady_ms(), command, &change::Counted::NOTHING);
        }
    }
    events::carry_out(server);
    server.cluster.ring();
    events::lose(server, transfer.slots.clone());
    Ok(())
}

fn restore(out: &mut Outgoing, place: &Place, expiry: i64, payload: &[u8]) {
    let at = if expiry == NO_EXPIRY { 0 } else { expiry }.to_string();
    out.push(place.0, &[b"RESTORE", &place.1, at.as_bytes(), payload, b"ABSTTL", b"REPLACE"]);
}

/// Holds back writes to the slots as long as it lives.
struct Pause<'a> {
    server: &'static Server,
    transfer: &'a Transfer,
    start: u64,
}

impl<'a> Pause<'a> {
    fn begin(server: &'static Server, transfer: &'a Transfer) -> Pause<'a> {
        let ranges = transfer.slots.ranges().to_vec();
        let most = 3 * server.config.cluster_manual_failover_timeout();
        server.pause.start_slots(ranges, clock::now_ms() + most);
        Pause { server, transfer, start: clock::mono_ns() }
    }
}

impl Drop for Pause<'_> {
    fn drop(&mut self) {
        self.transfer.paused_us.store((clock::mono_ns() - self.start) / 1000, Relaxed);
        self.server.pause.end_slots();
        self.server.registry.nudge_all();
    }
}
