//! What all parts of the running server share.

use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use std::sync::{Arc, OnceLock};

use super::gate::Gate;
use super::generic::migrate::target::Targets;
use super::lookup::Lookup;
use super::persistence::aof::Aof;
use super::persistence::status::{Loading, Snapshots};
use super::server::debug::switches::Switches;
use super::server::oom::OomScore;
use super::server::shutdown::Ending;
use super::table;
use crate::acl::{self, Acl};
use crate::base::{alloc, clock, rng};
use crate::clients::{Pause, Registry, Tracking};
use crate::cluster::Cluster;
use crate::config::{Config, Policy};
use crate::keyspace::{Keyspace, Tuning, Waiter};
use crate::metrics::{CommandLog, Metrics, Rates, Spikes};
use crate::persist::rdb::{self, file::History};
use crate::pubsub::PubSub;
use crate::repl::Replication;
use crate::script::{Libraries, Running, Scripts};
use crate::types::Limits;

/// Indexes into [`Server::rates`].
#[allow(missing_docs)]
pub mod rate {
    pub const COMMANDS: usize = 0;
    pub const INPUT: usize = 1;
    pub const OUTPUT: usize = 2;
    pub const TURNS: usize = 3;
}

/// Loads the append-only file.
pub type Replay = fn(&'static Server) -> Result<(), String>;

/// A keyspace for data that are to take the place of the others once they are whole.
pub struct Aside {
    /// The data.
    pub keyspace: &'static Keyspace,
    /// Their counters.
    pub metrics: Metrics,
}

/// The state of the server. One for a process; lives as long as it.
pub struct Server {
    /// The options.
    pub config: &'static Config,
    /// The data.
    pub keyspace: &'static Keyspace,
    /// The connections.
    pub registry: Registry,
    /// The subscriptions.
    pub pubsub: PubSub,
    /// The counters.
    pub metrics: Metrics,
    /// Rates of some counters; see [`rate`].
    pub rates: Rates<4>,
    /// The commands by name.
    pub lookup: Lookup,
    /// The users.
    pub acl: Acl,
    /// CLIENT PAUSE.
    pub pause: Pause,
    /// SLOWLOG and COMMANDLOG.
    pub log: CommandLog,
    /// LATENCY.
    pub spikes: Spikes,
    /// What DEBUG can set.
    pub switches: Switches,
    /// Identifies this run of the server.
    pub run_id: String,
    /// When it started, unix ms.
    pub started: i64,
    /// Memory in use when the start was done, bytes.
    pub startup_memory: usize,
    /// Why some commands are refused now.
    pub gate: Gate,
    /// Replication.
    pub repl: Replication,
    /// The cluster.
    pub cluster: Cluster,
    /// Who has read what, to be told of changes.
    pub tracking: Tracking,
    /// The scripts by hash.
    pub scripts: Scripts,
    /// The libraries of functions.
    pub libraries: Libraries,
    /// Scripts that keep others waiting.
    pub running: Running,
    /// Bytes that interpreters use: for scripts, and for functions.
    pub interpreter_memory: [AtomicUsize; 2],
    /// Snapshots on disk.
    pub snapshots: Snapshots,
    /// The append-only file.
    pub aof: Aof,
    /// Loading of data.
    pub loading: Loading,
    /// Executes the append-only file, for DEBUG LOADAOF: what executes stands above what asks for it.
    pub replay: OnceLock<Replay>,
    /// An end that waits for replicas.
    pub ending: Mutex<Option<Ending>>,
    /// Clients in SHUTDOWN, who hear of it only if it fails.
    pub enders: Mutex<Vec<Arc<Waiter>>>,
    /// The kernel's score of this process.
    pub oom_score: OomScore,
    /// Connections of MIGRATE.
    pub targets: Targets,
    aside: OnceLock<Aside>,
    /// Ends listening, at once.
    deafen: OnceLock<Box<dyn Fn() + Send + Sync>>,
    stopping: AtomicBool,
    stop: tokio::sync::Notify,
}

impl Server {
    /// Clients and replicas that were disconnected because too much waited for them.
    pub fn output_limit_disconnections(&self) -> u64 {
        self.metrics.sum(|t| &t.output_limit_disconnections) + self.repl.counters.too_slow.load(Relaxed)
    }
    /// A server with these options, with no data.
    pub fn new(config: &'static Config) -> &'static Server {
        let databases = if config.cluster_enabled() { config.cluster_databases() } else { config.databases() };
        let renames = config.renames();
        let rename = |name: &str| match renames.iter().rev().find(|(old, _)| old.eq_ignore_ascii_case(name.as_bytes()))
        {
            Some((_, new)) if new.is_empty() => None,
            Some((_, new)) => Some(String::from_utf8_lossy(new).to_ascii_lowercase()),
            None => Some(name.to_owned()),
        };
        let lookup = Lookup::new(&table::all(), rename);
        let acl_table = acl::Table::new(
            lookup
                .all()
                .iter()
                .map(|entry| (&entry.command.meta, entry.parent.is_some(), lookup.numbers_of_subs(entry))),
        );
        let keyspace = Keyspace::new(databases);
        let repl = Replication::default();
        repl.log.set_backlog(config.repl_backlog_size() as u64);
        keyspace.hooks.set_log(repl.log.clone());
        Box::leak(Box::new(Server {
            config,
            keyspace,
            registry: Registry::default(),
            tracking: Tracking::default(),
            pubsub: PubSub::default(),
            metrics: Metrics::new(databases, lookup.all().len()),
            rates: Rates::default(),
            acl: Acl::new(acl_table, config),
            lookup,
            pause: Pause::default(),
            log: CommandLog::default(),
            spikes: Spikes::default(),
            switches: Switches::default(),
            run_id: rng::hex_id(),
            started: clock::now_ms(),
            startup_memory: alloc::used_memory(),
            gate: Gate::default(),
            repl,
            cluster: Cluster::default(),
            scripts: Scripts::default(),
            libraries: Libraries::default(),
            running: Running::default(),
            interpreter_memory: Default::default(),
            snapshots: Snapshots::new(clock::now_ms()),
            aof: Aof::default(),
            loading: Loading::default(),
            replay: OnceLock::new(),
            ending: Mutex::default(),
            enders: Mutex::default(),
            oom_score: OomScore::default(),
            targets: Targets::default(),
            aside: OnceLock::new(),
            deafen: OnceLock::new(),
            stopping: AtomicBool::new(false),
            stop: tokio::sync::Notify::new(),
        }))
    }
    /// Settings that the keyspace works by, as they are now.
    pub fn tuning(&self) -> Tuning {
        let c = self.config;
        Tuning {
            lfu: c.maxmemory_policy().is_lfu(),
            lfu_log_factor: c.lfu_log_factor(),
            lfu_decay_time: c.lfu_decay_time(),
            lazy_eviction: c.lazyfree_lazy_eviction(),
            lazy_expire: c.lazyfree_lazy_expire(),
            lazy_server_del: c.lazyfree_lazy_server_del(),
            lazy_user_del: c.lazyfree_lazy_user_del(),
        }
    }
    /// Thresholds of the packed encodings, as they are now.
    pub fn limits(&self) -> Limits {
        super::collections::limits(self)
    }
    /// Where data are loaded beside those that serve. Empty; one at a time uses it.
    pub fn aside(&self) -> &Aside {
        let databases = self.keyspace.databases();
        let aside = self.aside.get_or_init(|| Aside {
            keyspace: Keyspace::new(databases),
            metrics: Metrics::new(databases, self.lookup.all().len()),
        });
        aside.keyspace.hooks.follow_parity(&self.keyspace.hooks);
        aside
    }
    /// Memory that eviction could not free, and that it would only let grow: what waits for replicas beyond the backlog, and
    /// for the append-only file, and what tells clients of keys that went.
    pub fn uncounted_memory(&self) -> usize {
        let file = self.aof.writer().map_or(0, |w| w.pending());
        (self.repl.log.surplus() + file) as usize + self.registry.in_transit()
    }
    /// Bytes that the Lua code of one interpreter may use.
    pub fn script_memory_limit(&self) -> usize {
        match self.config.script_memory_limit() {
            0 => usize::MAX,
            n => n,
        }
    }
    /// Changes of the data since the start.
    pub fn dirty(&self) -> u64 {
        self.metrics.sum(|t| &t.changes)
    }
    /// LATENCY: `event` took so long.
    #[inline]
    pub fn note_spike(&self, event: &str, ns: u64) {
        if self.is_spike(ns) {
            self.spikes.add(event, clock::now_ms() / 1000, ns / 1_000_000);
        }
    }
    /// Whether LATENCY hears of what takes so long.
    #[inline]
    pub fn is_spike(&self, ns: u64) -> bool {
        let threshold = self.config.latency_monitor_threshold();
        threshold > 0 && (ns / 1_000_000) as i64 >= threshold
    }
    /// Does `work`, which is an event of LATENCY. The clock is asked only where somebody wants to know.
    pub fn timed<T>(&self, event: &str, work: impl FnOnce() -> T) -> T {
        if self.config.latency_monitor_threshold() == 0 {
            return work();
        }
        let start = clock::mono_ns();
        let done = work();
        self.note_spike(event, clock::mono_ns() - start);
        done
    }
    /// How files of the data are written, by the settings of now.
    pub fn rdb_options(&self) -> rdb::file::Options {
        let policy = self.config.maxmemory_policy();
        let history = match policy {
            Policy::AllkeysLru | Policy::VolatileLru => History::Idle,
            p if p.is_lfu() => History::Frequency,
            _ => History::None,
        };
        rdb::file::Options {
            compress: self.config.rdbcompression(),
            checksum: self.config.rdbchecksum(),
            history,
            now: clock::now_ms(),
            delay: Some(self.config),
        }
    }
    /// Whether data are being written out, or are about to be: no other snapshot can begin.
    pub fn has_snapshot(&self) -> bool {
        self.keyspace.hooks.watching() || self.snapshots.job().is_some() || self.aof.rewrite().is_some()
    }
    /// What a file of the data begins with; `aof_base`: it is the base of an append-only file. All slots are held.
    pub fn rdb_head(&self, aof_base: bool) -> rdb::file::Head {
        let dbs = 0..self.keyspace.databases();
        let volatile = dbs.clone().any(|db| self.metrics.volatile_hashes(db) > 0);
        rdb::file::Head {
            version: if volatile { rdb::VERSION_FIELD_EXPIRY } else { rdb::VERSION },
            aux: vec![
                ("redis-ver", super::text::COMPATIBLE_VERSION.to_owned()),
                ("redis-bits", usize::BITS.to_string()),
                ("ctime", (clock::now_ms() / 1000).to_string()),
                ("used-mem", alloc::used_memory().to_string()),
                ("aof-base", u8::from(aof_base).to_string()),
            ],
            sizes: dbs.map(|db| (self.metrics.keys(db), self.metrics.expires(db))).collect(),
            functions: self.libraries.all().iter().map(|l| l.text.clone()).collect(),
        }
    }
    /// What ends listening when the server ends: called once, by any thread.
    pub fn on_shut_down(&self, deafen: Box<dyn Fn() + Send + Sync>) {
        let _ = self.deafen.set(deafen);
    }
    /// Ends the server: no further commands, connections close, the process exits with 0. Who sees a connection close finds
    /// nobody listening any more.
    pub fn shut_down(&self) {
        if let Some(deafen) = self.deafen.get() {
            deafen();
        }
        self.stopping.store(true, Release);
        self.stop.notify_waiters();
        self.stop.notify_one();
    }
    /// Whether the server is ending.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Acquire)
    }
    /// Ready when the server is to end.
    pub async fn stopped(&self) {
        while !self.is_stopping() {
            self.stop.notified().await;
        }
    }
}
