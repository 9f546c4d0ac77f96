//! What Redis cannot tell: metrics whose names begin with `dunlin_`.

use std::sync::atomic::Ordering::Relaxed;

use super::super::worker::Gate;
use crate::base::{alloc, clock, os};
use crate::clients::Stage;
use crate::cluster::{Flags, View};
use crate::commands::Server;
use crate::commands::replication::info::address;
use crate::metrics::page::{Kind, Page};
use crate::metrics::{Counter, ThreadStats};
use crate::repl::LinkState;

/// Bounds of the buckets of latency: powers of two of nanoseconds, 1 µs to 1 s.
const BUCKETS: std::ops::RangeInclusive<u32> = 10..=30;

/// Seconds of nanoseconds.
pub fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// Writes them.
pub fn write(server: &'static Server, gates: &[Gate], page: &mut Page) {
    let version = [("version", env!("CARGO_PKG_VERSION")), ("allocator", &alloc::version()[..])];
    page.metric("dunlin_build_info", Kind::Gauge, "1, with what the binary is.").sample(&version, 1.0);
    latencies(server, page);
    requests(server, page);
    workers(gates, page);
    upkeep(server, page);
    persistence(server, page);
    replication(server, page);
    memory(page);
    if let Some(view) = server.cluster.view() {
        cluster(server, &view, page);
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
    let bounds: Vec<String> = BUCKETS.map(|exponent| seconds(1 << exponent).to_string()).collect();
    for entry in server.lookup.all() {
        let Some(times) = server.metrics.latency(entry.id) else { continue };
        let name = entry.command.meta.name;
        for ((_, seen), bound) in times.below(BUCKETS).into_iter().zip(&bounds) {
            page.part("_bucket", &[("cmd", name), ("le", bound)], seen as f64);
        }
        page.part("_bucket", &[("cmd", name), ("le", "+Inf")], times.total() as f64);
        page.part("_sum", &[("cmd", name)], seconds(server.metrics.command(entry.id).ns));
        page.part("_count", &[("cmd", name)], times.total() as f64);
    }
}

fn requests(server: &Server, page: &mut Page) {
    let sum = |counter: fn(&ThreadStats) -> &Counter| server.metrics.sum(counter) as f64;
    page.counter(
        "dunlin_read_turns_total",
        "Reads from clients; commands divided by it is the depth of pipelines.",
        sum(|t| &t.reads_processed),
    );
    page.counter("dunlin_write_turns_total", "Writes to clients.", sum(|t| &t.writes_processed));
    page.counter(
        "dunlin_output_limit_disconnections_total",
        "Clients closed because they did not read their replies.",
        sum(|t| &t.output_limit_disconnections),
    );
    page.counter(
        "dunlin_query_limit_disconnections_total",
        "Clients closed because of the size of a request.",
        sum(|t| &t.query_limit_disconnections),
    );
    page.counter("dunlin_auth_denied_total", "Failed authentications.", sum(|t| &t.auth_denied));
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
    let threads = os::thread_times();
    page.metric("dunlin_thread_busy_seconds_total", Kind::Counter, "Time of a thread on a CPU.");
    for thread in threads.iter() {
        page.sample(&[("thread", &thread.name)], thread.running);
    }
    page.metric(
        "dunlin_thread_wait_seconds_total",
        Kind::Counter,
        "Time that a thread had work and no CPU: what requests wait for before they are executed.",
    );
    for thread in threads.iter() {
        page.sample(&[("thread", &thread.name)], thread.waiting);
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
    page.counter("dunlin_snapshots_total", "Snapshots on disk.", server.snapshots.saves.load(Relaxed) as f64);
    if let Some(writer) = server.aof.writer() {
        page.counter("dunlin_aof_fsyncs_total", "Fsyncs of the append-only file.", writer.fsyncs.load(Relaxed) as f64);
        page.counter("dunlin_aof_fsync_seconds_total", "Time that they took.", seconds(writer.fsync_ns.load(Relaxed)));
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

fn memory(page: &mut Page) {
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
    page.gauge("process_open_fds", "Open files.", open as f64);
    page.gauge("process_max_fds", "How many files may be open.", limit as f64);
    page.gauge("process_resident_memory_bytes", "Resident memory.", os::resident_bytes() as f64);
    let cpu = os::cpu_times(os::CpuOf::Process);
    page.counter("process_cpu_seconds_total", "CPU time, user and system.", cpu.user + cpu.system);
}

fn cluster(server: &Server, view: &View, page: &mut Page) {
    let now = clock::now_ms();
    let nodes: Vec<_> =
        view.nodes.iter().map(|node| (node, node.id.to_string(), format!("{}:{}", node.ip, node.port))).collect();
    page.metric("dunlin_cluster_node_info", Kind::Gauge, "1 for each node that this node knows, with what it is.");
    for (node, id, addr) in &nodes {
        let role = if node.is_primary() { "primary" } else { "replica" };
        let state = match node.flags {
            flags if flags.any(Flags::FAIL) => "fail",
            flags if flags.any(Flags::PFAIL) => "pfail",
            flags if flags.any(Flags::HANDSHAKE) => "handshake",
            _ => "ok",
        };
        let shard = node.shard_id.to_string();
        let own = if node.flags.any(Flags::MYSELF) { "yes" } else { "no" };
        let labels =
            [("node", &id[..]), ("addr", addr), ("role", role), ("shard", &shard), ("state", state), ("self", own)];
        page.sample(&labels, 1.0);
    }
    page.metric("dunlin_cluster_node_slots", Kind::Gauge, "Slots of a primary, as this node sees it.");
    for (node, id, addr) in nodes.iter().filter(|(node, ..)| node.is_primary()) {
        page.sample(&[("node", id), ("addr", addr)], f64::from(node.slots.len() as u32));
        let _ = node;
    }
    let peers = || nodes.iter().filter(|(node, ..)| !node.flags.any(Flags::MYSELF));
    page.metric("dunlin_cluster_link_up", Kind::Gauge, "Whether there is a link of the bus to a node.");
    for (node, id, addr) in peers() {
        page.sample(&[("node", id), ("addr", addr)], f64::from(u8::from(node.connected)));
    }
    page.metric("dunlin_cluster_pong_age_seconds", Kind::Gauge, "When a node last answered a ping.");
    for (node, id, addr) in peers().filter(|(node, ..)| node.pong_received > 0) {
        page.sample(&[("node", id), ("addr", addr)], (now - node.pong_received).max(0) as f64 / 1000.0);
    }
    page.metric(
        "dunlin_cluster_ping_open_seconds",
        Kind::Gauge,
        "For how long a ping has had no answer; 0: none is open.",
    );
    for (node, id, addr) in peers() {
        let open = if node.ping_sent == 0 { 0 } else { (now - node.ping_sent).max(0) };
        page.sample(&[("node", id), ("addr", addr)], open as f64 / 1000.0);
    }
    page.gauge("dunlin_cluster_slots_migrating", "Slots that this node gives away.", view.migrating().len() as f64);
    page.gauge("dunlin_cluster_slots_importing", "Slots that this node receives.", view.importing().len() as f64);
    page.gauge(
        "dunlin_cluster_bus_waiting_bytes",
        "Bytes that wait to be sent to other nodes.",
        server.cluster.all_waiting() as f64,
    );
    let ended = server.cluster.core().map(|core| core.failovers()).unwrap_or_default();
    page.metric(
        "dunlin_cluster_failovers_total",
        Kind::Counter,
        "Attempts of this node to replace its primary, by how they ended.",
    );
    for (result, count) in [("done", ended.done), ("expired", ended.expired), ("timed_out", ended.timed_out)] {
        page.sample(&[("result", result)], count as f64);
    }
}
