//! All connections, and of each what others may see and touch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering::*};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use super::mailbox::{Mail, Mailbox};
use super::tracking::Tracked;
use crate::keyspace::{Waiter, WaiterClient};

/// Flags of a connection, as bits of [`Client::flags`].
#[allow(missing_docs)]
pub mod flags {
    pub const MULTI: u32 = 1 << 0;
    pub const BLOCKED: u32 = 1 << 1;
    pub const MONITOR: u32 = 1 << 2;
    pub const PUBSUB: u32 = 1 << 3;
    pub const DIRTY: u32 = 1 << 4;
    pub const CLOSE_AFTER_REPLY: u32 = 1 << 5;
    pub const CLOSE_ASAP: u32 = 1 << 6;
    pub const UNIX: u32 = 1 << 7;
    pub const NO_EVICT: u32 = 1 << 8;
    pub const NO_TOUCH: u32 = 1 << 9;
    pub const PAUSED: u32 = 1 << 10;
    pub const REPLICA: u32 = 1 << 11;
    pub const PRIMARY: u32 = 1 << 12;
    pub const READONLY: u32 = 1 << 13;
    pub const TRACKING: u32 = 1 << 14;
    pub const AUTHENTICATED: u32 = 1 << 15;
    /// It tracks prefixes.
    pub const TRACKING_BROADCAST: u32 = 1 << 16;
    /// The connection that its messages go to is gone.
    pub const TRACKING_BROKEN: u32 = 1 << 17;
    /// CLIENT CAPA redirect
    pub const REDIRECTS: u32 = 1 << 18;
    /// CLIENT IMPORT-SOURCE
    pub const IMPORT_SOURCE: u32 = 1 << 19;
}

/// What the client told of itself and its user.
#[derive(Debug, Default, Clone)]
pub struct Names {
    /// CLIENT SETNAME
    pub name: Vec<u8>,
    /// CLIENT SETINFO LIB-NAME
    pub lib_name: Vec<u8>,
    /// CLIENT SETINFO LIB-VER
    pub lib_ver: Vec<u8>,
    /// The authenticated user.
    pub user: Vec<u8>,
}

/// What others may see and touch of a connection. The numbers are written by the connection, read by anyone.
#[derive(Debug, Default)]
pub struct Client {
    /// Its number, never used again.
    pub id: u64,
    /// `ip:port` of the other end, or the path of the socket.
    pub addr: String,
    /// `ip:port` of this end.
    pub laddr: String,
    /// The file descriptor.
    pub fd: i32,
    /// The worker that serves it.
    pub worker: usize,
    /// When it connected, unix ms.
    pub created: i64,
    /// Names.
    pub names: Mutex<Names>,
    /// [`flags`]
    pub flags: AtomicU32,
    /// Time of the last command, unix ms.
    pub active: AtomicI64,
    /// Selected database.
    pub db: AtomicUsize,
    /// Subscribed channels, patterns and shard channels.
    pub subs: [AtomicUsize; 3],
    /// Queued commands of a transaction, plus one; 0: none is open.
    pub multi: AtomicUsize,
    /// Watched keys.
    pub watch: AtomicUsize,
    /// Protocol version.
    pub resp: AtomicUsize,
    /// Bytes in the query buffer.
    pub qbuf: AtomicUsize,
    /// Bytes free in the query buffer.
    pub qbuf_free: AtomicUsize,
    /// Bytes of the arguments of a command under way.
    pub argv_mem: AtomicUsize,
    /// Bytes of queued commands.
    pub multi_mem: AtomicUsize,
    /// Bytes of watched keys, subscriptions and prefixes that it tracks.
    pub names_mem: AtomicUsize,
    /// Bytes waiting to be sent.
    pub out: AtomicUsize,
    /// Bytes of the output buffer, and of values that are to be sent from where they are.
    pub out_capacity: AtomicUsize,
    /// Most bytes in the output buffer lately.
    pub out_peak: AtomicUsize,
    /// Bytes received.
    pub net_in: AtomicU64,
    /// Bytes sent.
    pub net_out: AtomicU64,
    /// Commands executed.
    pub commands: AtomicU64,
    /// Id of the last command, plus one; 0: none yet.
    pub last_command: AtomicU32,
    /// Its tracking, while it has [`flags::TRACKING`].
    pub tracked: Tracked,
    /// How others reach it.
    pub mailbox: Mailbox,
    /// The command it is blocked in.
    pub blocked: Mutex<Option<Arc<Waiter>>>,
}

impl Client {
    /// Whether the flag is set.
    pub fn has(&self, flag: u32) -> bool {
        self.flags.load(Relaxed) & flag != 0
    }
    /// Sets or clears a flag.
    pub fn set(&self, flag: u32, on: bool) {
        if on {
            self.flags.fetch_or(flag, AcqRel);
        } else {
            self.flags.fetch_and(!flag, AcqRel);
        }
    }
    /// Subscriptions of all kinds.
    pub fn subscriptions(&self) -> usize {
        self.subs.iter().map(|s| s.load(Relaxed)).sum()
    }
    /// It watches, subscribes to or tracks something of this name.
    pub fn hold_name(&self, name: &[u8]) {
        self.names_mem.fetch_add(name_memory(name), Relaxed);
    }
    /// It does no longer.
    pub fn drop_name(&self, name: &[u8]) {
        self.names_mem.fetch_sub(name_memory(name), Relaxed);
    }
    /// Bytes of memory that the connection takes.
    pub fn memory(&self) -> usize {
        [&self.qbuf, &self.qbuf_free, &self.argv_mem, &self.multi_mem, &self.names_mem, &self.out_capacity]
            .iter()
            .map(|n| n.load(Relaxed))
            .sum::<usize>()
            + self.mailbox.pending()
            + size_of::<Client>()
    }
}

/// What a name takes: once in the connection and once where it is looked up, with what is around it.
fn name_memory(name: &[u8]) -> usize {
    2 * name.len() + 128
}

impl WaiterClient for Client {
    fn deliver(&self, reply: Vec<u8>) {
        self.mailbox.send(Mail::Reply(reply));
    }
}

/// All connections.
#[derive(Debug, Default)]
pub struct Registry {
    clients: RwLock<BTreeMap<u64, Arc<Client>>>,
    count: AtomicUsize,
    next: AtomicU64,
    /// How many connections are in MONITOR; the hot path looks at it.
    monitors: AtomicUsize,
    /// How many are blocked.
    blocked: AtomicUsize,
    /// Connections refused so far.
    rejected: AtomicU64,
    /// Bytes that connections took when they last counted, while `maxmemory-clients` is set.
    memory: AtomicUsize,
    /// Held by whoever chooses connections to close for it, or two would count one.
    pub evicting: Mutex<()>,
    /// Connections closed for `maxmemory-clients`.
    evicted: AtomicU64,
    /// How many have open transactions watching keys.
    pub watching: AtomicUsize,
    /// Bytes of messages about cached keys that are on their way to connections.
    in_transit: Arc<AtomicUsize>,
}

/// A message that counts as in transit until it is dropped.
struct InTransit {
    bytes: Vec<u8>,
    count: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for InTransit {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for InTransit {
    fn drop(&mut self) {
        self.count.fetch_sub(self.bytes.capacity(), Relaxed);
    }
}

impl Registry {
    /// A message that counts as in transit for as long as it is there.
    pub fn message(&self, bytes: Vec<u8>) -> Bytes {
        self.in_transit.fetch_add(bytes.capacity(), Relaxed);
        Bytes::from_owner(InTransit { bytes, count: self.in_transit.clone() })
    }
    /// Bytes of memory that such messages take.
    pub fn in_transit(&self) -> usize {
        self.in_transit.load(Relaxed)
    }
    /// Counts a connection that was accepted, and gives it its number. [`Registry::remove`] must follow.
    pub fn admit(&self) -> u64 {
        self.count.fetch_add(1, Relaxed);
        self.next.fetch_add(1, Relaxed) + 1
    }
    /// Adds an admitted connection.
    pub fn add(&self, client: Arc<Client>) {
        self.clients.write().insert(client.id, client);
    }
    /// Removes an admitted connection, whether it was added or not.
    pub fn remove(&self, id: u64) {
        self.clients.write().remove(&id);
        self.count.fetch_sub(1, Relaxed);
    }
    /// Takes a connection that is to close out of sight. It counts until it is removed, when its worker has seen to it.
    pub fn hide(&self, id: u64) {
        self.clients.write().remove(&id);
    }
    /// How many there are.
    pub fn len(&self) -> usize {
        self.count.load(Relaxed)
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// One of them.
    pub fn get(&self, id: u64) -> Option<Arc<Client>> {
        self.clients.read().get(&id).cloned()
    }
    /// All of them, by age.
    pub fn all(&self) -> Vec<Arc<Client>> {
        self.clients.read().values().cloned().collect()
    }
    /// Whether any connection is in MONITOR.
    #[inline]
    pub fn has_monitors(&self) -> bool {
        self.monitors.load(Relaxed) != 0
    }
    /// Notes a connection that enters or leaves MONITOR.
    pub fn count_monitor(&self, enters: bool) {
        if enters {
            self.monitors.fetch_add(1, Relaxed)
        } else {
            self.monitors.fetch_sub(1, Relaxed)
        };
    }
    /// Sends a line to every connection in MONITOR.
    pub fn to_monitors(&self, line: &bytes::Bytes) {
        for c in self.clients.read().values().filter(|c| c.has(flags::MONITOR)) {
            c.mailbox.send(Mail::Push(line.clone()));
        }
    }
    /// Notes a refused connection.
    pub fn count_rejected(&self) {
        self.rejected.fetch_add(1, Relaxed);
    }
    /// Refused connections since the start or CONFIG RESETSTAT.
    pub fn rejected(&self) -> u64 {
        self.rejected.load(Relaxed)
    }
    /// A connection takes so many bytes now, after so many before. All of them together.
    pub fn count_memory(&self, before: usize, now: usize) -> usize {
        let change = now.wrapping_sub(before);
        self.memory.fetch_add(change, Relaxed).wrapping_add(change)
    }
    /// Notes a connection closed for `maxmemory-clients`.
    pub fn count_evicted(&self) {
        self.evicted.fetch_add(1, Relaxed);
    }
    /// Connections closed for `maxmemory-clients` since the start or CONFIG RESETSTAT.
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Relaxed)
    }
    /// Forgets how many were refused or evicted.
    pub fn reset_rejected(&self) {
        self.rejected.store(0, Relaxed);
        self.evicted.store(0, Relaxed);
    }
    /// Blocked connections.
    pub fn blocked(&self) -> usize {
        self.blocked.load(Relaxed)
    }
    /// Notes a connection that blocks or is released.
    pub fn count_blocked(&self, blocks: bool) {
        if blocks {
            self.blocked.fetch_add(1, Relaxed)
        } else {
            self.blocked.fetch_sub(1, Relaxed)
        };
    }
    /// Wakes every connection, so that it looks again at what it waits for (a pause that ended, a shutdown).
    pub fn nudge_all(&self) {
        self.clients.read().values().for_each(|c| c.mailbox.nudge());
    }
}
