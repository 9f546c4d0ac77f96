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

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering::*;
use std::task::{Context, Poll, Waker};

use super::super::keys::Hands;
use super::super::{change, events};
use super::filter::{Filter, Stopped};
use super::target::{Answers, connect, io_error, listen};
use crate::base::clock;
use crate::clients::SlotPause;
use crate::cluster::Flags;
use crate::cluster::core;
use crate::cluster::transfers::{Stage, Transfer};
use crate::commands::Server;
use crate::commands::replication::role;
use crate::repl::ReaderId;

/// Bytes that gather before they are sent.
pub(super) const FLUSH: usize = 64 << 10;
/// With no more than this left of the log, bytes, the slots are handed over.
const CLOSE: u64 = 32 << 10;
/// Requests that the target may have left to answer then.
const UNANSWERED: u64 = 512;
/// More slots than these are quicker locked all at once than one by one.
const MANY: u16 = 1000;
/// Looks at whether something has happened come so often, microseconds.
const LOOK_US: u64 = 200;
/// Longer than this a target that says nothing, while there is something to say, is dead, ms.
pub(super) const SILENCE_MS: i64 = 30_000;

/// A move under way, on its thread.
pub(super) struct Export {
    pub(super) server: &'static Server,
    pub(super) transfer: Arc<Transfer>,
    pub(super) hands: Hands,
    stream: TcpStream,
    answers: Arc<Answers>,
    reader: ReaderId,
    pub(super) filter: Filter,
    pub(super) sent: u64,
    /// Big values are among the requests up to here: the target may take its time for them.
    pub(super) big_until: u64,
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
    pub(super) fn check(&self) -> Result<(), Stopped> {
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
    pub(super) fn flush(&mut self) -> Result<(), Stopped> {
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
    pub(super) fn drain(&mut self) -> Result<(), Stopped> {
        let end = self.server.repl.log.end();
        while self.filter.offset() < end {
            let mut cx = Context::from_waker(Waker::noop());
            let Poll::Ready(parts) = self.server.repl.log.poll_read(self.reader, 0, &mut cx) else { break };
            for part in &parts {
                self.filter.read(part)?;
            }
            if self.filter.out.bytes.len() >= FLUSH {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Sends changes until little is left.
    fn catch_up(&mut self) -> Result<(), Stopped> {
        loop {
            self.write_pending()?;
            self.filter.forget_old();
            self.flush()?;
            self.check()?;
            let took_big_ones = self.answers.count.load(Acquire) >= self.big_until;
            let (bytes, requests) = match self.server.config.slot_migration_max_failover_repl_bytes() {
                0 => (CLOSE, UNANSWERED),
                n => (u64::try_from(n).map_or(u64::MAX, |n| n.max(CLOSE)), u64::MAX),
            };
            if self.server.repl.log.behind(self.reader) <= bytes && self.unanswered() <= requests && took_big_ones {
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
        // One at a time.
        let _turn = loop {
            match server.cluster.transfers.handing_over.try_lock() {
                Some(turn) => break turn,
                None => self.catch_up()?,
            }
            clock::pause_us(LOOK_US);
        };
        let pause = Pause::begin(server, &transfer);
        transfer.set(Stage::Paused, "", clock::now_ms());
        // Writes that were under way are through once their locks were held.
        if transfer.slots.len() > MANY {
            let mut held = server.keyspace.held();
            held.set_patient(true);
            held.lock_all();
            held.unlock();
        } else {
            transfer.slots.iter().for_each(|slot| self.hands.with(slot, 0, |_| ()));
        }
        tracing::debug!("Slot migration {}: hand-over: held back after {} us", transfer.name, pause.us());
        let left = server.config.cluster_manual_failover_timeout();
        self.patience_ms = left;
        self.write_pending()?;
        self.flush()?;
        self.answered(left)?;
        self.check()?;
        tracing::debug!("Slot migration {}: hand-over: all is there after {} us", transfer.name, pause.us());
        transfer.set(Stage::HandingOver, "", clock::now_ms());
        self.filter.out.push_plain(&[b"CLUSTER", b"SYNCSLOTS", b"FAILOVER", b"NAME", transfer.name.as_bytes()]);
        if self.flush().is_err() {
            return self.undecided(&pause);
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
                return self.undecided(&pause);
            }
            clock::pause_us(LOOK_US);
        }
        tracing::debug!("Slot migration {}: hand-over: known here after {} us", transfer.name, pause.us());
        Ok(())
    }

    /// The target was told to take the slots and has not answered: it did, or it did not.
    fn undecided(&mut self, pause: &Pause<'_>) -> Result<(), Stopped> {
        let (server, transfer) = (self.server, self.transfer.clone());
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
        let patience = (2 * server.config.cluster_node_timeout()).max(server.config.cluster_manual_failover_timeout());
        tracing::warn!("Slot migration {}: no answer to the hand-over, waiting for news of the target", transfer.name);
        pause.slots.extend(clock::now_ms() + patience + 1000);
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
        let reclaim = core::Command::ReclaimSlots(transfer.slots.clone());
        if change::order(server, reclaim, &change::Counted::NOTHING).is_err() {
            return Err(Stopped("The slots belong to another node".to_owned()));
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
    // The keys are with the target, whatever is left of them here.
    let pass = core::Command::PassSlots { slots: transfer.slots.clone(), to: transfer.target };
    if let Err(e) = change::order(server, pass, &change::Counted::NOTHING) {
        return Err(Stopped(format!("The slots are the target's, but: {}", String::from_utf8_lossy(e.text()))));
    }
    events::lose(server, transfer.slots.clone());
    Ok(())
}

/// Holds back writes to the slots as long as it lives.
struct Pause<'a> {
    slots: SlotPause<'static>,
    transfer: &'a Transfer,
    start: u64,
}

impl<'a> Pause<'a> {
    fn begin(server: &'static Server, transfer: &'a Transfer) -> Pause<'a> {
        let ranges = transfer.slots.ranges().to_vec();
        let most = 3 * server.config.cluster_manual_failover_timeout();
        let slots = server.pause.hold(&server.registry, ranges, clock::now_ms() + most);
        Pause { slots, transfer, start: clock::mono_ns() }
    }
}

impl Pause<'_> {
    /// How long it has been, microseconds.
    fn us(&self) -> u64 {
        (clock::mono_ns() - self.start) / 1000
    }
}

impl Drop for Pause<'_> {
    fn drop(&mut self) {
        self.transfer.paused_us.store(self.us(), Relaxed);
    }
}
