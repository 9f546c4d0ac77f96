//! Runs commands: look-up, checks, locks, execution, and what follows from it.
//!
//! A [`Worker`] belongs to one thread. [`Worker::run`] takes the requests that a connection has decoded:
//!
//! 1. A run of plain one-key commands ([`batch`]) takes the locks of its slots together, asks the processor for the
//!    buckets, then for the entries, executes in order and drops the locks. Holding more locks than a command needs is
//!    still a serial order.
//! 2. Any other command goes alone ([`single`]): all checks, its own locks, MULTI/EXEC ([`transaction`]), blocking
//!    ([`blocking`]).
//!
//! While the locks are held the command's effect goes to the replication log; after they are dropped [`after`] publishes
//! notifications and serves blocked clients, before the next command of the same connection runs.

mod after;
mod batch;
mod blocking;
mod call;
mod cron;
mod debug;
mod debug_copy;
mod gate;
mod job;
mod memory;
mod permit;
mod route;
mod script;
mod single;
mod transaction;

pub use call::{Stream, Turn};

use std::sync::Arc;

use crate::cluster::View;
use crate::commands::Server;
use crate::commands::gate::bits;
use crate::keyspace::evict::Evictor;
use crate::keyspace::expire::Walk;
use crate::keyspace::sample::Sampler;
use crate::keyspace::{Effects, Held, Tuning};
use crate::metrics::ThreadStats;
use crate::spec::Flags;

/// Requests of so many bytes are prepared before they have their locks, if their command can be.
const LONG: usize = 64 << 10;

/// Whether a request is so long that what can be done without locks should be.
fn is_long(argv: &[&[u8]]) -> bool {
    argv.iter().map(|arg| arg.len()).sum::<usize>() >= LONG
}

/// Why a worker stopped before the last request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// All requests were executed.
    No,
    /// The client is blocked, or the connection is to end.
    Session,
    /// CLIENT PAUSE holds the next request back.
    Paused,
    /// The next request runs a script, which is to have a stack of its own ([`crate::base::coroutine`]).
    Stack,
    /// The next request is long: its payload is to be prepared on another thread ([`crate::commands::Prepare`]).
    Prepare,
}

/// What one thread needs to execute commands.
pub struct Worker {
    /// Its number.
    pub id: usize,
    /// The server.
    pub server: &'static Server,
    /// Its counters.
    pub stats: &'static ThreadStats,
    held: Held,
    fx: Effects,
    tuning: Tuning,
    thresholds: call::Thresholds,
    samplers: Vec<Sampler>,
    evictor: Evictor,
    walks: Vec<Walk>,
    housekeeping: cron::Housekeeping,
    slots: Vec<u16>,
    /// The state of the server when it was last looked at.
    gate: u32,
    /// The cluster when it was last looked at, and the number of that view.
    view: Option<Arc<View>>,
    view_version: u64,
    /// The version of the users when they were last looked at.
    acl_version: u64,
    /// The version of the pause when it was last looked at.
    pause_version: u64,
    /// The commands of this turn come from a stream that the state of the server does not bar.
    trusted: bool,
    /// The flags of the command that is being looked at.
    flags: Flags,
    /// What was put off because a script kept the locks.
    put_off: blocking::PutOff,
    /// A script kept the locks that were asked for last.
    denied: bool,
    /// Interpreters, and what scripts need.
    scripts: script::Scripts,
    /// How much of the turn's buffer has gone on to this node's own followers.
    passed_on: usize,
    /// The connection whose commands run; 0: none.
    client: u64,
    /// Scripts may be left half-way for others of the same thread.
    leaves: bool,
}

impl Worker {
    /// The worker of the calling thread.
    pub fn new(server: &'static Server, id: usize) -> Worker {
        Worker::with_stats(server, id, server.metrics.thread())
    }
    /// The worker of a thread that has counters already.
    pub fn with_stats(server: &'static Server, id: usize, stats: &'static ThreadStats) -> Worker {
        Worker {
            id,
            server,
            stats,
            held: server.keyspace.held(),
            fx: Effects::default(),
            tuning: server.tuning(),
            thresholds: call::Thresholds::read(server.config),
            samplers: Vec::new(),
            evictor: Evictor::ready(),
            walks: Vec::new(),
            housekeeping: cron::Housekeeping::default(),
            slots: Vec::new(),
            gate: 0,
            view: None,
            view_version: 0,
            acl_version: 0,
            pause_version: 0,
            trusted: false,
            flags: Flags::NONE,
            put_off: blocking::PutOff::default(),
            denied: false,
            scripts: script::Scripts::default(),
            passed_on: 0,
            client: 0,
            leaves: false,
        }
    }
    /// From now on scripts that take long are left half-way, so that the thread can serve others. So nobody on this thread
    /// may wait for locks that a script keeps.
    pub fn may_leave(&mut self) {
        self.leaves = true;
        self.held.set_patient(false);
    }
    /// Reads the state of the server. Keys whose time is over are hidden but stay while nothing may change, while data are
    /// imported, and on a replica, where the primary says when they go.
    fn look_at_state(&mut self) {
        self.gate = self.server.gate.bits();
        self.acl_version = self.server.acl.version();
        self.pause_version = self.server.pause.version();
        self.look_at_cluster();
        let replica = self.gate & bits::REPLICA != 0;
        self.fx.importing = !replica && self.server.config.import_mode();
        self.fx.keep_expired = self.server.pause.is_set() || replica || self.fx.importing;
        self.fx.owns_expiry &= replica;
    }
    /// Reads the settings that hold for the next turn.
    fn refresh(&mut self) {
        self.fx.ignore_expiry = false;
        self.fx.owns_expiry = false;
        self.tuning = self.server.tuning();
        self.thresholds = call::Thresholds::read(self.server.config);
        self.fx.notify_mask = self.server.config.notify_keyspace_events() as u32;
        if self.fx.notify_mask & (crate::keyspace::notify::KEYSPACE | crate::keyspace::notify::KEYEVENT) == 0 {
            self.fx.notify_mask = 0;
        }
        self.look_at_state();
    }
}
