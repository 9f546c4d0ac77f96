//! The sections of INFO that have a fixed list of fields.

use std::collections::HashSet;
use std::sync::atomic::Ordering::Relaxed;

use crate::base::{clock, os};
use crate::clients::{PauseKind, flags};
use crate::commands::Server;
use crate::commands::server::shutdown::Ending;
use crate::commands::state::rate;
use crate::commands::text::{COMPATIBLE_VERSION, Text};
use crate::config::Supervised;
use crate::keyspace::access;
use crate::metrics::{Counter, ThreadStats};

pub(super) fn server(server: &'static Server, text: &mut Text) {
    let config = server.config;
    let uptime = (clock::now_ms() - server.started) / 1000;
    let supervised = match config.supervised() {
        Supervised::Systemd | Supervised::Auto if std::env::var_os("NOTIFY_SOCKET").is_some() => "systemd",
        _ => "no",
    };
    text.section("Server");
    text.field("redis_version", COMPATIBLE_VERSION);
    text.field("server_name", "dunlin");
    text.field("dunlin_version", env!("CARGO_PKG_VERSION"));
    text.field("redis_git_sha1", "00000000");
    text.field("redis_git_dirty", 0);
    text.field("redis_build_id", "0");
    // Valkey's name and Redis's: clients look for either.
    let mode = if server.cluster.is_enabled() { "cluster" } else { "standalone" };
    text.field("server_mode", mode);
    text.field("redis_mode", mode);
    text.field("os", os::uname());
    text.field("arch_bits", usize::BITS);
    text.field("monotonic_clock", "POSIX clock_gettime");
    text.field("multiplexing_api", "epoll");
    text.field("process_id", std::process::id());
    text.field("process_supervised", supervised);
    text.field("run_id", &server.run_id);
    text.field("tcp_port", config.port());
    text.field("server_time_usec", clock::now_us());
    text.field("uptime_in_seconds", uptime);
    text.field("uptime_in_days", uptime / 86_400);
    text.field("hz", config.hz());
    text.field("configured_hz", config.hz());
    text.field("lru_clock", access::lru_clock(clock::now_ms()));
    let executable = std::env::current_exe().unwrap_or_default();
    text.field("executable", executable.display());
    text.field("config_file", config.file().unwrap_or(std::path::Path::new("")).display());
    if let Some(deadline) = server.ending.lock().as_ref().map(Ending::deadline) {
        text.field("shutdown_in_milliseconds", (deadline - clock::now_ms()).max(0));
    }
    text.field("io_threads_active", u8::from(config.workers() > 1));
    text.field("availability_zone", String::from_utf8_lossy(&config.availability_zone()));
    let binds = config.bind_addresses();
    let mut listeners = 0;
    if config.port() != 0 && !binds.is_empty() {
        let binds: String = binds.iter().map(|bind| format!(",bind={bind}")).collect();
        text.field("listener0", format_args!("name=tcp{binds},port={}", config.port()));
        listeners += 1;
    }
    if !config.unixsocket().is_empty() {
        let path = String::from_utf8_lossy(&config.unixsocket()).into_owned();
        text.field(&format!("listener{listeners}"), format_args!("name=unix,bind={path}"));
    }
}

pub(super) fn clients(server: &'static Server, text: &mut Text) {
    let all = server.registry.all();
    let (mut input, mut output, mut pubsub, mut watching, mut watched) = (0, 0, 0, 0, 0);
    let mut blocking: HashSet<(usize, Vec<u8>)> = HashSet::new();
    // Keys whose end would end a wait, too.
    let mut blocking_on_nokey = HashSet::new();
    let mut timeouts = 0;
    for client in &all {
        input = input.max(client.qbuf.load(Relaxed) + client.qbuf_free.load(Relaxed));
        output = output.max(client.out_peak.load(Relaxed));
        pubsub += usize::from(client.subscriptions() > 0);
        let keys = client.watch.load(Relaxed);
        watching += usize::from(keys > 0);
        watched += keys;
        if client.has(flags::BLOCKED)
            && let Some(waiter) = &*client.blocked.lock()
            && !waiter.is_done()
        {
            if waiter.argv.first().is_some_and(|name| name.eq_ignore_ascii_case(b"xreadgroup")) {
                blocking_on_nokey.extend(waiter.keys.iter().map(|key| (waiter.db, key.clone())));
            }
            blocking.extend(waiter.keys.iter().map(|key| (waiter.db, key.clone())));
            timeouts += usize::from(!waiter.keys.is_empty());
        }
    }
    text.section("Clients");
    let replicas = all.iter().filter(|c| c.has(flags::REPLICA)).count();
    text.field("connected_clients", all.len() - replicas);
    text.field("cluster_connections", server.cluster.core().map_or(0, |core| core.links().len()));
    text.field("maxclients", server.config.maxclients());
    text.field("client_recent_max_input_buffer", input);
    text.field("client_recent_max_output_buffer", output);
    text.field("blocked_clients", server.registry.blocked());
    text.field("tracking_clients", server.tracking.clients());
    text.field("pubsub_clients", pubsub);
    text.field("watching_clients", watching);
    text.field("clients_in_timeout_table", timeouts);
    text.field("total_watched_keys", watched);
    text.field("total_blocking_keys", blocking.len());
    text.field("total_blocking_keys_on_nokey", blocking_on_nokey.len());
    let (action, reason, left) = match server.pause.longest(clock::now_ms()) {
        Some((PauseKind::All, reason, left)) => ("all", reason.name(), left),
        Some((PauseKind::Write, reason, left)) => ("write", reason.name(), left),
        None => ("none", "none", 0),
    };
    text.field("paused_reason", reason);
    text.field("paused_actions", action);
    text.field("paused_timeout_milliseconds", left);
}

pub(super) fn stats(server: &'static Server, text: &mut Text) {
    let sum = |counter: fn(&ThreadStats) -> &Counter| server.metrics.sum(counter);
    let per_second = |at: usize| server.rates.per_second(at);
    text.section("Stats");
    text.field("total_connections_received", sum(|t| &t.connections_received));
    text.field("total_commands_processed", sum(|t| &t.commands_processed));
    text.field("instantaneous_ops_per_sec", per_second(rate::COMMANDS));
    text.field("total_net_input_bytes", sum(|t| &t.net_in));
    text.field("total_net_output_bytes", sum(|t| &t.net_out));
    let repl = &server.repl.counters;
    text.field("total_net_repl_input_bytes", repl.bytes_in.load(Relaxed));
    text.field("total_net_repl_output_bytes", repl.bytes_out.load(Relaxed));
    text.ratio("instantaneous_input_kbps", per_second(rate::INPUT) as f64 / 1024.0);
    text.ratio("instantaneous_output_kbps", per_second(rate::OUTPUT) as f64 / 1024.0);
    text.ratio("instantaneous_input_repl_kbps", 0.0);
    text.ratio("instantaneous_output_repl_kbps", 0.0);
    text.field("rejected_connections", server.registry.rejected());
    text.field("sync_full", repl.full.load(Relaxed));
    text.field("sync_partial_ok", repl.partial.load(Relaxed));
    text.field("sync_partial_err", repl.refused.load(Relaxed));
    text.field("expired_keys", sum(|t| &t.expired_keys));
    text.field("expired_fields", sum(|t| &t.expired_fields));
    text.ratio("expired_stale_perc", server.metrics.stale_percent());
    text.field("expired_time_cap_reached_count", sum(|t| &t.expire_cut_short));
    text.field("expire_cycle_cpu_milliseconds", sum(|t| &t.expire_ns) / 1_000_000);
    text.field("evicted_keys", sum(|t| &t.evicted_keys));
    text.field("evicted_clients", server.registry.evicted());
    text.field("evicted_scripts", server.scripts.evicted());
    text.field("total_eviction_exceeded_time", sum(|t| &t.evict_ns) / 1_000_000);
    text.field("current_eviction_exceeded_time", 0);
    text.field("keyspace_hits", sum(|t| &t.hits));
    text.field("keyspace_misses", sum(|t| &t.misses));
    text.field("pubsub_channels", server.pubsub.channel_count());
    text.field("pubsub_patterns", server.pubsub.pattern_count());
    text.zeros(&["pubsubshard_channels", "latest_fork_usec", "total_forks"]);
    text.field("migrate_cached_sockets", server.targets.len());
    text.zeros(&["slave_expires_tracked_keys", "active_defrag_hits", "active_defrag_misses"]);
    text.zeros(&["active_defrag_key_hits", "active_defrag_key_misses"]);
    text.zeros(&["total_active_defrag_time", "current_active_defrag_time"]);
    let (keys, items) = server.tracking.sizes();
    text.field("tracking_total_keys", keys);
    text.field("tracking_total_items", items);
    text.field("tracking_total_prefixes", server.tracking.prefixes());
    text.field("unexpected_error_replies", 0);
    text.field("total_error_replies", sum(|t| &t.error_replies));
    text.field("dump_payload_sanitizations", 0);
    text.field("total_reads_processed", sum(|t| &t.reads_processed));
    text.field("total_writes_processed", sum(|t| &t.writes_processed));
    text.zeros(&[
        "io_threaded_reads_processed",
        "io_threaded_writes_processed",
        "io_threaded_freed_objects",
        "io_threaded_poll_processed",
        "io_threaded_total_prefetch_batches",
        "io_threaded_total_prefetch_entries",
    ]);
    text.field("client_query_buffer_limit_disconnections", sum(|t| &t.query_limit_disconnections));
    text.field("client_output_buffer_limit_disconnections", server.output_limit_disconnections());
    text.zeros(&["reply_buffer_shrinks", "reply_buffer_expands"]);
    // What commands took, and all that workers did, both in microseconds.
    let commands: u64 = server.lookup.all().iter().map(|entry| server.metrics.command(entry.id).ns).sum();
    let workers: f64 = os::thread_times()
        .iter()
        .filter(|thread| thread.name.starts_with("worker-"))
        .map(|thread| thread.running)
        .sum();
    text.field("eventloop_cycles", sum(|t| &t.reads_processed));
    text.field("eventloop_duration_sum", (workers * 1e6) as u64);
    text.field("eventloop_duration_cmd_sum", commands / 1000);
    text.field("instantaneous_eventloop_cycles_per_sec", per_second(rate::TURNS));
    text.field("acl_access_denied_auth", sum(|t| &t.auth_denied));
    text.field("acl_access_denied_cmd", sum(|t| &t.command_denied));
    text.field("acl_access_denied_key", sum(|t| &t.key_denied));
    text.field("acl_access_denied_channel", sum(|t| &t.channel_denied));
    text.zeros(&["acl_access_denied_tls_cert"]);
    text.field("acl_access_denied_db", sum(|t| &t.database_denied));
}

pub(super) fn cpu(_server: &'static Server, text: &mut Text) {
    text.section("CPU");
    for (suffix, of) in
        [("", os::CpuOf::Process), ("_children", os::CpuOf::Children), ("_main_thread", os::CpuOf::Thread)]
    {
        let times = os::cpu_times(of);
        text.field(&format!("used_cpu_sys{suffix}"), format_args!("{:.6}", times.system));
        text.field(&format!("used_cpu_user{suffix}"), format_args!("{:.6}", times.user));
    }
    // A worker that waits for work takes no time on a CPU. The first of them stands for the thread that runs commands in
    // Valkey, the others for those that help it.
    let number = |name: &str| name.strip_prefix("worker-")?.parse::<usize>().ok();
    let mut workers: Vec<(usize, f64)> =
        os::thread_times().iter().filter_map(|t| Some((number(&t.name)?, t.running))).collect();
    workers.sort_by_key(|(number, _)| *number);
    for (number, seconds) in workers {
        let name = match number {
            0 => "used_active_time_main_thread".to_owned(),
            n => format!("used_active_time_io_thread_{n}"),
        };
        text.field(&name, format_args!("{seconds:.6}"));
    }
}

pub(super) fn modules(_server: &'static Server, text: &mut Text) {
    text.section("Modules");
}

pub(super) fn cluster(server: &'static Server, text: &mut Text) {
    text.section("Cluster");
    text.field("cluster_enabled", u8::from(server.cluster.is_enabled()));
}
