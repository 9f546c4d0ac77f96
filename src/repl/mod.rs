//! Replication: the log of this node, who follows it, and whom this node follows.
//!
//! * [`log`]: the stream of effects.
//! * [`Replication`]: identity of the history (PSYNC2: two ids and the offset at which the second ends), the replicas
//!   that are connected, and clients in WAIT.
//! * [`link`]: what is known of the connection to a primary. What drives it, sockets and snapshots, is in `server`.

pub mod link;
pub mod log;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::*};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard, RwLock};
use tokio::sync::mpsc;

use crate::base::rng;
use crate::clients::{Acks, Client, Replica, Stage};
use crate::keyspace::Waiter;
pub use link::{Link, LinkState, Primary};
pub use log::{FileSink, Kept, Log, ReaderId};

/// Replicas up to this version (7.2.255) take CLUSTER SETSLOT in the stream for an error.
const NO_SETSLOT: u32 = 0x0007_02ff;

/// Which history the data at hand belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ids {
    /// The history that goes on.
    pub current: String,
    /// The one before, of which the current one is the continuation. Zeros: none.
    pub previous: String,
    /// The first offset that is not of the previous history; -1: there is none.
    pub previous_end: i64,
}

impl Ids {
    fn new() -> Ids {
        Ids { current: rng::hex_id(), previous: "0".repeat(40), previous_end: -1 }
    }
}

/// A connection that asked for data.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The connection.
    pub client: Arc<Client>,
    /// What is known of it as a replica.
    pub replica: Arc<Replica>,
}

/// What a connection that waits for a snapshot gets, in order.
#[derive(Debug)]
pub enum Part {
    /// Bytes to send as they are.
    Bytes(Bytes),
    /// The snapshot is through; what this reader finds comes next. `acknowledged`: not before the replica says that it
    /// has loaded what it got.
    Log {
        /// The reader.
        reader: ReaderId,
        /// See above.
        acknowledged: bool,
    },
}

/// A connection that waits for a snapshot to begin.
#[derive(Debug)]
pub struct Candidate {
    /// The connection.
    pub peer: Peer,
    /// How it gets it. Dropped before the end: the connection closes.
    pub to: mpsc::Sender<Part>,
}

/// A replica gets a snapshot over one connection, and has not yet asked for the log over its other one.
#[derive(Debug)]
struct Expected {
    /// The connection that gets the snapshot.
    client: u64,
    /// Keeps the log from the cut on.
    reader: ReaderId,
    /// When that connection ended, unix ms; 0: it has not.
    gone: i64,
}

/// A client in WAIT or WAITAOF.
#[derive(Debug, Clone)]
pub struct Wait {
    /// How it is answered.
    pub waiter: Arc<Waiter>,
    /// What for.
    pub acks: Acks,
}

/// Counters of INFO stats.
#[derive(Debug, Default)]
pub struct Counters {
    /// Full resynchronizations.
    pub full: AtomicU64,
    /// Partial ones.
    pub partial: AtomicU64,
    /// Partial ones that were asked for and could not be.
    pub refused: AtomicU64,
    /// Bytes read from the primary.
    pub bytes_in: AtomicU64,
    /// Bytes sent to replicas.
    pub bytes_out: AtomicU64,
    /// Replicas that were disconnected because too much of the log waited for them.
    pub too_slow: AtomicU64,
}

impl Counters {
    /// CONFIG RESETSTAT
    pub fn reset(&self) {
        for n in [&self.full, &self.partial, &self.refused, &self.bytes_in, &self.bytes_out, &self.too_slow] {
            n.store(0, Relaxed);
        }
    }
}

/// What a FAILOVER command asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailoverPlan {
    /// The replica that is to take over; `None`: the first that is in step.
    pub to: Option<(String, u16)>,
    /// Hand over at the deadline even if it is not in step.
    pub force: bool,
    /// Unix ms at which it is given up (or forced).
    pub deadline: Option<i64>,
    /// The hand-over has begun: the replica was told to take over.
    pub handing_over: bool,
    /// It is to be given up, for this reason.
    pub abort: Option<&'static str>,
}

/// The state of replication.
pub struct Replication {
    /// The log.
    pub log: Arc<Log>,
    /// The connection to a primary.
    pub link: Link,
    /// Counters.
    pub counters: Counters,
    /// The failover under way.
    pub failover: Mutex<Option<FailoverPlan>>,
    ids: RwLock<Ids>,
    peers: RwLock<Vec<Peer>>,
    waits: Mutex<Vec<Wait>>,
    candidates: Mutex<Vec<Candidate>>,
    expected: Mutex<Vec<Expected>>,
    file_synced: AtomicU64,
    /// When the last replica went, unix ms; 0: there are some, or there never were.
    alone_since: AtomicI64,
    /// Wakes whoever begins full synchronizations and follows primaries.
    pub changed: tokio::sync::Notify,
}

impl Default for Replication {
    fn default() -> Self {
        Replication {
            log: Arc::default(),
            link: Link::default(),
            counters: Counters::default(),
            failover: Mutex::default(),
            ids: RwLock::new(Ids::new()),
            peers: RwLock::default(),
            waits: Mutex::default(),
            candidates: Mutex::default(),
            expected: Mutex::default(),
            file_synced: AtomicU64::new(0),
            alone_since: AtomicI64::new(0),
            changed: tokio::sync::Notify::new(),
        }
    }
}

impl Replication {
    /// The identity of the history.
    pub fn ids(&self) -> Ids {
        self.ids.read().clone()
    }
    /// Begins another history that has nothing to do with the one before.
    pub fn new_history(&self) {
        *self.ids.write() = Ids::new();
    }
    /// Takes over the identity of a primary's history.
    pub fn adopt(&self, id: &str) {
        *self.ids.write() = Ids { current: id.to_owned(), ..Ids::new() };
    }
    /// The primary goes on under another id: what it was up to now is the previous one.
    pub fn adopt_continuation(&self, id: &str) {
        let mut ids = self.ids.write();
        if ids.current != id {
            let previous = std::mem::replace(&mut ids.current, id.to_owned());
            ids.previous = previous;
            ids.previous_end = self.log.end() as i64 + 1;
        }
    }
    /// After a restart: a new id, which continues `id` up to `offset`.
    pub fn continue_from(&self, id: &str, offset: u64, now: i64) {
        *self.ids.write() = Ids { current: rng::hex_id(), previous: id.to_owned(), previous_end: offset as i64 + 1 };
        self.alone_since.store(now, Release);
    }
    /// A replica becomes a primary: a new id, which continues the old one.
    pub fn shift(&self) {
        self.adopt_continuation(&rng::hex_id());
    }
    /// Whether a replica that has `id` up to before `offset` (its next byte, counted from 1) can go on from there.
    /// The reader that it gets then.
    pub fn resume(&self, id: &str, offset: i64) -> Option<ReaderId> {
        let ids = self.ids.read();
        let known = id == ids.current || (id == ids.previous && offset <= ids.previous_end);
        let from = u64::try_from(offset.checked_sub(1)?).ok()?;
        if known { self.log.reader_at(from) } else { None }
    }

    /// The connections that asked for data, by age.
    pub fn peers(&self) -> Vec<Peer> {
        self.peers.read().clone()
    }
    /// A connection asks for data.
    pub fn add_peer(&self, peer: Peer) {
        self.alone_since.store(0, Release);
        let mut peers = self.peers.write();
        peers.retain(|p| p.client.id != peer.client.id);
        peers.push(peer);
    }
    /// Such a connection is gone.
    pub fn remove_peer(&self, client: u64, now: i64) {
        let mut peers = self.peers.write();
        peers.retain(|p| p.client.id != client);
        if peers.is_empty() {
            self.alone_since.store(now, Release);
        }
    }
    /// Somebody who is no replica has read the log and needs it no more.
    pub fn log_unused(&self, now: i64) {
        let peers = self.peers.read();
        if peers.is_empty() {
            self.alone_since.store(now, Release);
        }
    }
    /// Whether none is there, and since when (unix ms; 0: never was).
    pub fn alone_since(&self) -> Option<i64> {
        self.peers.read().is_empty().then(|| self.alone_since.load(Acquire))
    }
    /// How many get the log.
    pub fn online(&self) -> usize {
        self.peers.read().iter().filter(|p| p.replica.stage() == Stage::Online).count()
    }
    /// How many have spoken within `max_lag` seconds.
    pub fn good(&self, max_lag: i64, now: i64) -> usize {
        let good = |p: &&Peer| {
            p.replica.stage() == Stage::Online && now - p.replica.acked_at.load(Relaxed) <= max_lag.saturating_mul(1000)
        };
        self.peers.read().iter().filter(good).count()
    }
    /// How many get the log and understand CLUSTER SETSLOT in it: Valkey from 8.0 on.
    pub fn follow_slots(&self) -> usize {
        let follows = |p: &&Peer| p.replica.stage() == Stage::Online && p.replica.hello.lock().version > NO_SETSLOT;
        self.peers.read().iter().filter(follows).count()
    }
    /// Whether all who get the log understand orders about many slots at once in it.
    pub fn all_follow_slot_sets(&self) -> bool {
        let peers = self.peers.read();
        let mut online = peers.iter().filter(|p| p.replica.stage() == Stage::Online);
        online.all(|p| p.replica.hello.lock().slot_sets)
    }
    /// How many have the log up to `offset`; `file`: on disk.
    pub fn have(&self, offset: u64, file: bool) -> usize {
        let of = |r: &Replica| if file { r.acked_file.load(Acquire) } else { r.acked.load(Acquire) };
        let has = |p: &&Peer| p.replica.stage() == Stage::Online && of(&p.replica) >= offset;
        self.peers.read().iter().filter(has).count()
    }

    /// A connection waits for a snapshot. What it will get comes out of the other end.
    pub fn add_candidate(&self, peer: Peer) -> mpsc::Receiver<Part> {
        let (to, from) = mpsc::channel(16);
        self.candidates.lock().push(Candidate { peer, to });
        self.changed.notify_waiters();
        from
    }
    /// The connections that wait for a snapshot, without those that are gone.
    pub fn candidates(&self) -> MutexGuard<'_, Vec<Candidate>> {
        let mut candidates = self.candidates.lock();
        candidates.retain(|c| !c.to.is_closed());
        candidates
    }
    /// At a cut: client `client` gets the snapshot, and its replica will ask for the log over another connection. Until then
    /// this keeps the log.
    pub fn expect_other(&self, client: u64) {
        let reader = self.log.reader_at_end();
        self.expected.lock().push(Expected { client, reader, gone: 0 });
    }
    /// How many replicas get a snapshot and have not asked for the log yet.
    pub fn expected(&self) -> usize {
        self.expected.lock().len()
    }
    /// Whether the replica to which this client belongs is one of them.
    pub fn is_expected(&self, client: u64) -> bool {
        self.expected.lock().iter().any(|e| e.client == client)
    }
    /// It has asked for the log, or will not. Whether it was expected.
    pub fn expect_no_more(&self, client: u64) -> bool {
        let mut expected = self.expected.lock();
        let Some(at) = expected.iter().position(|e| e.client == client) else { return false };
        let gone = expected.swap_remove(at);
        drop(expected);
        self.log.remove_reader(gone.reader);
        true
    }
    /// The connection with the snapshot has ended. If the replica has all of it, it still has some time to ask for the log.
    pub fn snapshot_channel_ended(&self, client: u64, whole: bool, now: i64) {
        if whole {
            self.expected.lock().iter_mut().filter(|e| e.client == client).for_each(|e| e.gone = now);
        } else {
            self.expect_no_more(client);
        }
    }
    /// Of those that are expected: the client, since when it is gone (0: it is not), and how much of the log waits for its
    /// replica.
    pub fn who_is_expected(&self) -> Vec<(u64, i64, u64)> {
        self.expected.lock().iter().map(|e| (e.client, e.gone, self.log.behind(e.reader))).collect()
    }
    /// Asks all replicas how far they are. They answer when they have read that far.
    pub fn ask(&self) {
        if self.online() > 0 && !self.link.is_replica() {
            self.log.append_raw(b"*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n");
        }
    }
    /// The append-only file is on disk up to this offset.
    pub fn file_synced(&self) -> u64 {
        self.file_synced.load(Acquire)
    }
    /// Says that it is. Clients in WAITAOF are to be served then.
    pub fn set_file_synced(&self, offset: u64) {
        self.file_synced.store(offset, Release);
    }
    /// A client begins to wait for replicas.
    pub fn wait(&self, wait: Wait) {
        self.waits.lock().push(wait);
    }
    /// The clients that wait; those that are through are forgotten.
    pub fn waits(&self) -> Vec<Wait> {
        let mut waits = self.waits.lock();
        waits.retain(|w| !w.waiter.is_done());
        waits.clone()
    }
    /// What a client waits for, also when its wait is over.
    pub fn wait_of(&self, waiter: &Arc<Waiter>) -> Option<Wait> {
        self.waits.lock().iter().find(|w| Arc::ptr_eq(&w.waiter, waiter)).cloned()
    }
    /// Whether any client waits: cheap.
    pub fn has_waits(&self) -> bool {
        !self.waits.lock().is_empty()
    }
}
