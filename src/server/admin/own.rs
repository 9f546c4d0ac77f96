//! What Redis cannot tell: metrics whose names begin with `dunlin_`.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use super::super::worker::Gate;
use super::cluster;
use crate::base::{alloc, clock, os};
use crate::clients::Stage;
use crate::cluster::View;
use crate::commands::Server;
use crate::commands::replication::info::address;
use crate::metrics::page::{Kind, Page, seconds};
use crate::metrics::{Counter, Distribution, ThreadStats};
use crate::repl::LinkState;

/// Writes them.
pub fn write(server: &'static Server, gates: &[Gate], view: Option<&View>, page: &mut Page) {
    let version = [("version", env!("CARGO_PKG_VERSION")), ("allocator", &alloc::version()[..])];
    page.metric("dunlin_build_info", Kind::Gauge, "1, with what the binary is.").sample(&version, 1.0);
    latencies(server, page);
    requests(server, page);
    workers(gates, page);
    upkeep(server, page);
    tables(server, page);
    persistence(server, page);
    replication(server, page);
    memory(server, page);
    if let Some(view) = view {
        cluster::write(server, view, page);
    }
}

fn latencies(server: &Server, page: &mut Page) {
    if !server.config.latency_tracking() {
        return;
    }
    page.metric(
        "dunlin_command_duration_seconds",
        Kind::Histogram,
        "How long a command took, from its locks to its reply.",
    );
    for entry in server.lookup.all() {
        if let Some(times) = server.metrics.latency(entry.id) {
            let ns = server.metrics.command(entry.id).ns;
            page.distribution(&[("cmd", entry.command.meta.name)], &times, ns);
        }
    }
}

fn requests(server: &Server, page: &mut Page) {
    let sum = |counter: fn(&ThreadStats) -> &Counter| server.metrics.sum(counter) as f64;
    let (times, ns) = server.metrics.queue();
    page.metric(
        "dunlin_queue_wait_seconds",
        Kind::Histogram,
        "How long a connection with something to do waited for its worker, before the execution of its commands.",
    )
    .distribution(&[], &times, ns);
    let depths = server.metrics.depths();
    let upto: Vec<(f64, u64)> = (0u32..).map(|e| f64::from(1 << e)).zip(depths.upto).collect();
    page.metric(
        "dunlin_pipeline_depth",
        Kind::Histogram,
        "How many requests of a connection were executed in one turn.",
    )
    .buckets(&[], &upto, depths.turns, depths.requests as f64);
    page.counter("dunlin_read_turns_total", "Reads from clients.", sum(|t| &t.reads_processed));
    page.counter("dunlin_write_turns_total", "Writes to clients.", sum(|t| &t.writes_processed));
    page.counter(
        "dunlin_output_limit_disconnections_total",
        "Clients closed because they did not read their replies.",
        server.output_limit_disconnections() as f64,
    );
    page.counter(
        "dunlin_query_limit_disconnections_total",
        "Clients closed because of the size of a request.",
        sum(|t| &t.query_limit_disconnections),
    );
    page.counter("dunlin_auth_denied_total", "Failed authentications.", sum(|t| &t.auth_denied));
    page.metric(
        "dunlin_acl_denied_total",
        Kind::Counter,
        "Commands that their user may not run, by what it may not use.",
    );
    let denied = [
        ("command", sum(|t| &t.command_denied)),
        ("key", sum(|t| &t.key_denied)),
        ("channel", sum(|t| &t.channel_denied)),
        ("database", sum(|t| &t.database_denied)),
    ];
    for (reason, n) in denied {
        page.sample(&[("reason", reason)], n);
    }
    page.counter(
        "dunlin_evicted_clients_total",
        "Clients closed because of maxmemory-clients.",
        server.registry.evicted() as f64,
    );
    let errors = server.metrics.errors();
    page.metric(
        "dunlin_redirections_total",
        Kind::Counter,
        "Commands that were sent elsewhere, or refused for their slots.",
    );
    for kind in ["MOVED", "ASK", "TRYAGAIN", "CROSSSLOT", "CLUSTERDOWN"] {
        page.sample(&[("kind", kind)], errors.get(kind.as_bytes()).copied().unwrap_or(0) as f64);
    }
    let (waits, ns) = server.keyspace.lock_waits();
    page.counter("dunlin_slot_lock_waits_total", "How often a slot was locked by another worker.", waits as f64);
    page.counter("dunlin_slot_lock_wait_seconds_total", "How long was waited for locks of slots.", seconds(ns));
}

fn workers(gates: &[Gate], page: &mut Page) {
    let names: Vec<String> = (0..gates.len()).map(|worker| worker.to_string()).collect();
    page.metric("dunlin_worker_connections", Kind::Gauge, "Connections of a worker.");
    for (name, gate) in names.iter().zip(gates) {
        page.sample(&[("worker", name)], gate.load() as f64);
    }
    // Threads that share a name (the allocator's) are shown as one.
    let mut threads: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for thread in os::thread_times() {
        let sums = threads.entry(thread.name).or_default();
        *sums = (sums.0 + thread.running, sums.1 + thread.waiting);
    }
    page.metric("dunlin_thread_busy_seconds_total", Kind::Counter, "Time of a thread on a CPU.");
    for (name, (running, _)) in &threads {
        page.sample(&[("thread", name)], *running);
    }
    page.metric(
        "dunlin_thread_wait_seconds_total",
        Kind::Counter,
        "Time that a thread had work and no CPU: what requests wait for before they are executed.",
    );
    for (name, (_, waiting)) in &threads {
        page.sample(&[("thread", name)], *waiting);
    }
}

fn upkeep(server: &Server, page: &mut Page) {
    let sum = |counter: fn(&ThreadStats) -> &Counter| server.metrics.sum(counter);
    page.counter("dunlin_changes_total", "Changes to the data.", sum(|t| &t.changes) as f64);
    page.counter("dunlin_expire_seconds_total", "Time spent in expiry passes.", seconds(sum(|t| &t.expire_ns)));
    page.counter("dunlin_evict_seconds_total", "Time spent evicting.", seconds(sum(|t| &t.evict_ns)));
    page.counter(
        "dunlin_expire_cut_short_total",
        "Expiry passes that ran out of time.",
        sum(|t| &t.expire_cut_short) as f64,
    );
    page.counter("dunlin_expired_fields_total", "Fields of hashes that expired.", sum(|t| &t.expired_fields) as f64);
    page.counter(
        "dunlin_lazyfreed_objects_total",
        "Values freed in the background.",
        server.keyspace.lazy.freed() as f64,
    );
    page.gauge(
        "dunlin_lazyfree_pending_objects",
        "Values that wait to be freed in the background.",
        server.keyspace.lazy.pending() as f64,
    );
}

fn tables(server: &Server, page: &mut Page) {
    let sizes: Vec<_> = (0..server.keyspace.databases())
        .filter(|&db| server.metrics.keys(db) > 0)
        .map(|db| (format!("db{db}"), server.keyspace.table_sizes(db)))
        .collect();
    page.metric("dunlin_table_bytes", Kind::Gauge, "Memory of a database's hash tables, without the entries.");
    for (db, size) in &sizes {
        page.sample(&[("db", db)], size.bytes as f64);
    }
    page.metric("dunlin_table_buckets", Kind::Gauge, "Buckets of a database's hash tables, of seven entries each.");
    for (db, size) in &sizes {
        page.sample(&[("db", db)], size.buckets as f64);
    }
    page.metric("dunlin_largest_slot_keys", Kind::Gauge, "Keys of the slot that has most of them.");
    for (db, size) in &sizes {
        page.sample(&[("db", db)], size.most_keys as f64);
    }
}

fn persistence(server: &Server, page: &mut Page) {
    let job = server.snapshots.job();
    let share = job.as_ref().map_or(0.0, |job| {
        let total = job.progress.total.load(Relaxed);
        if total == 0 { 0.0 } else { job.progress.done.load(Relaxed) as f64 / total as f64 }
    });
    page.gauge("dunlin_snapshot_progress_ratio", "How much of the snapshot under way is written.", share);
    page.gauge(
        "dunlin_snapshot_waiting_bytes",
        "Values that changed before the snapshot came to them, kept for it.",
        job.map_or(0.0, |job| job.progress.waiting.load(Relaxed) as f64),
    );
    let snapshots = &server.snapshots;
    page.counter("dunlin_snapshots_total", "Snapshots on disk.", snapshots.saves.load(Relaxed) as f64);
    let ms = |of: &std::sync::atomic::AtomicU64| of.load(Relaxed) as f64 / 1000.0;
    page.gauge("dunlin_snapshot_last_duration_seconds", "How long the last snapshot took.", ms(&snapshots.last_ms));
    page.counter("dunlin_snapshot_seconds_total", "How long all snapshots took.", ms(&snapshots.all_ms));
    if let Some(writer) = server.aof.writer() {
        let mut times = Distribution::default();
        times.add(&writer.fsync_times);
        page.metric("dunlin_aof_fsync_seconds", Kind::Histogram, "How long an fsync of the append-only file took.")
            .distribution(&[], &times, writer.fsync_ns.load(Relaxed));
        page.gauge(
            "dunlin_aof_unwritten_bytes",
            "Bytes that wait to be written to the append-only file.",
            writer.pending() as f64,
        );
        page.gauge(
            "dunlin_aof_failing",
            "Whether the append-only file cannot be written.",
            f64::from(u8::from(writer.is_failing())),
        );
    }
    let loading = &server.loading;
    let (done, total) = (loading.done.load(Relaxed), loading.total.load(Relaxed));
    let share = if total == 0 { 1.0 } else { done as f64 / total as f64 };
    page.gauge(
        "dunlin_load_progress_ratio",
        "How much of the data was read at the start or from the primary.",
        share.min(1.0),
    );
}

fn replication(server: &Server, page: &mut Page) {
    let repl = &server.repl;
    let (end, now) = (repl.log.end(), clock::now_ms());
    let counters = &repl.counters;
    page.counter(
        "dunlin_replication_input_bytes_total",
        "Bytes from the primary.",
        counters.bytes_in.load(Relaxed) as f64,
    );
    page.counter(
        "dunlin_replication_output_bytes_total",
        "Bytes to replicas.",
        counters.bytes_out.load(Relaxed) as f64,
    );
    let peers: Vec<_> = repl
        .peers()
        .into_iter()
        .map(|peer| {
            let (ip, port) = address(&peer);
            (format!("{ip}:{port}"), peer)
        })
        .collect();
    page.metric("dunlin_replica_lag_bytes", Kind::Gauge, "How far a replica is behind.");
    for (name, peer) in &peers {
        page.sample(&[("replica", name)], end.saturating_sub(peer.replica.acked.load(Relaxed)) as f64);
    }
    page.metric("dunlin_replica_lag_seconds", Kind::Gauge, "When a replica last acknowledged anything.");
    for (name, peer) in peers.iter().filter(|(_, peer)| peer.replica.stage() == Stage::Online) {
        page.sample(&[("replica", name)], (now - peer.replica.acked_at.load(Relaxed)).max(0) as f64 / 1000.0);
    }
    let link = &repl.link;
    if !link.is_replica() {
        return;
    }
    let up = link.state() == LinkState::Connected;
    page.gauge("dunlin_primary_link_up", "Whether this replica is in step with its primary.", f64::from(u8::from(up)));
    let since = link.down_since.load(Relaxed);
    let down = if up || since == 0 { 0.0 } else { (now - since) as f64 / 1000.0 };
    page.gauge("dunlin_primary_link_down_seconds", "For how long the link to the primary has been down.", down);
    let (total, read) = (link.bulk_total.load(Relaxed), link.bulk_read.load(Relaxed));
    let share = if up || total <= 0 { f64::from(u8::from(up)) } else { read as f64 / total as f64 };
    page.gauge("dunlin_full_sync_progress_ratio", "How much of the primary's snapshot has arrived.", share);
}

fn memory(server: &Server, page: &mut Page) {
    let stats = alloc::stats();
    page.metric("dunlin_allocator_bytes", Kind::Gauge, "Memory as the allocator sees it.");
    for (kind, bytes) in [
        ("allocated", stats.allocated),
        ("active", stats.active),
        ("resident", stats.resident),
        ("mapped", stats.mapped),
        ("retained", stats.retained),
        ("metadata", stats.metadata),
        ("muzzy", stats.muzzy),
    ] {
        page.sample(&[("kind", kind)], bytes as f64);
    }
    let (open, limit) = os::open_files();
    page.gauge("process_virtual_memory_bytes", "Address space.", os::virtual_bytes() as f64);
    page.gauge("process_start_time_seconds", "When the process started, Unix seconds.", server.started as f64 / 1000.0);
    page.gauge("process_threads", "Threads.", os::threads() as f64);
    page.gauge("process_open_fds", "Open files.", open as f64);
    page.gauge("process_max_fds", "How many files may be open.", limit as f64);
    page.gauge("process_resident_memory_bytes", "Resident memory.", os::resident_bytes() as f64);
    let cpu = os::cpu_times(os::CpuOf::Process);
    page.counter("process_cpu_seconds_total", "CPU time, user and system.", cpu.user + cpu.system);
}
