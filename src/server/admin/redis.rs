//! The metrics of redis_exporter, under its names, types and labels, so that dashboards and alerts made for it work.
//!
//! The exporter reads INFO, and so does this: what INFO shows and what a scrape shows cannot differ.

use std::collections::BTreeMap;

use crate::base::clock;
use crate::cluster::{State, View};
use crate::commands::Server;
use crate::commands::server::info;
use crate::metrics::LogKind;
use crate::metrics::page::{Kind, Page, seconds};

/// INFO fields that are gauges as they are.
const GAUGES: &[(&str, &str)] = &[
    ("active_defrag_running", "redis_active_defrag_running"),
    ("allocator_active", "redis_allocator_active_bytes"),
    ("allocator_allocated", "redis_allocator_allocated_bytes"),
    ("allocator_frag_bytes", "redis_allocator_frag_bytes"),
    ("allocator_frag_ratio", "redis_allocator_frag_ratio"),
    ("allocator_resident", "redis_allocator_resident_bytes"),
    ("allocator_rss_bytes", "redis_allocator_rss_bytes"),
    ("allocator_rss_ratio", "redis_allocator_rss_ratio"),
    ("aof_base_size", "redis_aof_base_size_bytes"),
    ("aof_buffer_length", "redis_aof_buffer_length"),
    ("aof_current_rewrite_time_sec", "redis_aof_current_rewrite_duration_sec"),
    ("aof_current_size", "redis_aof_current_size_bytes"),
    ("aof_delayed_fsync", "redis_aof_delayed_fsync"),
    ("aof_enabled", "redis_aof_enabled"),
    ("aof_last_cow_size", "redis_aof_last_cow_size_bytes"),
    ("aof_last_rewrite_time_sec", "redis_aof_last_rewrite_duration_sec"),
    ("aof_pending_bio_fsync", "redis_aof_pending_bio_fsync"),
    ("aof_pending_rewrite", "redis_aof_pending_rewrite"),
    ("aof_rewrite_in_progress", "redis_aof_rewrite_in_progress"),
    ("aof_rewrite_scheduled", "redis_aof_rewrite_scheduled"),
    ("async_loading", "redis_async_loading"),
    ("blocked_clients", "redis_blocked_clients"),
    ("client_recent_max_input_buffer", "redis_client_recent_max_input_buffer_bytes"),
    ("client_recent_max_output_buffer", "redis_client_recent_max_output_buffer_bytes"),
    ("clients_in_timeout_table", "redis_clients_in_timeout_table"),
    ("cluster_connections", "redis_cluster_connections"),
    ("cluster_enabled", "redis_cluster_enabled"),
    ("connected_clients", "redis_connected_clients"),
    ("connected_slaves", "redis_connected_slaves"),
    ("active_defrag_hits", "redis_defrag_hits"),
    ("active_defrag_key_hits", "redis_defrag_key_hits"),
    ("active_defrag_key_misses", "redis_defrag_key_misses"),
    ("active_defrag_misses", "redis_defrag_misses"),
    ("expired_stale_perc", "redis_expired_stale_percentage"),
    ("expired_time_cap_reached_count", "redis_expired_time_cap_reached_total"),
    ("io_threads_active", "redis_io_threads_active"),
    ("lazyfree_pending_objects", "redis_lazyfree_pending_objects"),
    ("loading", "redis_loading_dump_file"),
    ("master_repl_offset", "redis_master_repl_offset"),
    ("maxmemory", "redis_memory_max_bytes"),
    ("mem_clients_normal", "redis_mem_clients_normal"),
    ("mem_clients_slaves", "redis_mem_clients_slaves"),
    ("mem_fragmentation_bytes", "redis_mem_fragmentation_bytes"),
    ("mem_fragmentation_ratio", "redis_mem_fragmentation_ratio"),
    ("mem_not_counted_for_evict", "redis_mem_not_counted_for_eviction_bytes"),
    ("migrate_cached_sockets", "redis_migrate_cached_sockets_total"),
    ("module_fork_in_progress", "redis_module_fork_in_progress"),
    ("module_fork_last_cow_size", "redis_module_fork_last_cow_size"),
    ("number_of_cached_scripts", "redis_number_of_cached_scripts"),
    ("process_id", "redis_process_id"),
    ("pubsub_channels", "redis_pubsub_channels"),
    ("pubsub_patterns", "redis_pubsub_patterns"),
    ("rdb_bgsave_in_progress", "redis_rdb_bgsave_in_progress"),
    ("rdb_changes_since_last_save", "redis_rdb_changes_since_last_save"),
    ("rdb_current_bgsave_time_sec", "redis_rdb_current_bgsave_duration_sec"),
    ("rdb_last_bgsave_time_sec", "redis_rdb_last_bgsave_duration_sec"),
    ("rdb_last_cow_size", "redis_rdb_last_cow_size_bytes"),
    ("rdb_last_save_time", "redis_rdb_last_save_timestamp_seconds"),
    ("repl_backlog_active", "redis_repl_backlog_is_active"),
    ("repl_backlog_first_byte_offset", "redis_repl_backlog_first_byte_offset"),
    ("repl_backlog_histlen", "redis_repl_backlog_history_bytes"),
    ("repl_backlog_size", "redis_replication_backlog_bytes"),
    ("second_repl_offset", "redis_second_repl_offset"),
    ("slave_expires_tracked_keys", "redis_slave_expires_tracked_keys"),
    ("sync_full", "redis_replica_resyncs_full"),
    ("sync_partial_err", "redis_replica_partial_resync_denied"),
    ("sync_partial_ok", "redis_replica_partial_resync_accepted"),
    ("tracking_clients", "redis_tracking_clients"),
    ("tracking_total_items", "redis_tracking_total_items"),
    ("tracking_total_keys", "redis_tracking_total_keys"),
    ("tracking_total_prefixes", "redis_tracking_total_prefixes"),
    ("uptime_in_seconds", "redis_uptime_in_seconds"),
    ("used_memory", "redis_memory_used_bytes"),
    ("used_memory_dataset", "redis_memory_used_dataset_bytes"),
    ("used_memory_lua", "redis_memory_used_lua_bytes"),
    ("used_memory_overhead", "redis_memory_used_overhead_bytes"),
    ("used_memory_peak", "redis_memory_used_peak_bytes"),
    ("used_memory_rss", "redis_memory_used_rss_bytes"),
    ("used_memory_scripts", "redis_memory_used_scripts_bytes"),
    ("used_memory_startup", "redis_memory_used_startup_bytes"),
];

/// INFO fields that are counters as they are.
const COUNTERS: &[(&str, &str)] = &[
    ("dump_payload_sanitizations", "redis_dump_payload_sanitizations"),
    ("evicted_keys", "redis_evicted_keys_total"),
    ("expired_keys", "redis_expired_keys_total"),
    ("io_threaded_reads_processed", "redis_io_threaded_reads_processed"),
    ("io_threaded_writes_processed", "redis_io_threaded_writes_processed"),
    ("keyspace_hits", "redis_keyspace_hits_total"),
    ("keyspace_misses", "redis_keyspace_misses_total"),
    ("rejected_connections", "redis_rejected_connections_total"),
    ("total_commands_processed", "redis_commands_processed_total"),
    ("total_connections_received", "redis_connections_received_total"),
    ("total_error_replies", "redis_total_error_replies"),
    ("total_net_input_bytes", "redis_net_input_bytes_total"),
    ("total_net_output_bytes", "redis_net_output_bytes_total"),
    ("total_reads_processed", "redis_total_reads_processed"),
    ("total_writes_processed", "redis_total_writes_processed"),
    ("unexpected_error_replies", "redis_unexpected_error_replies"),
    ("used_cpu_sys", "redis_cpu_sys_seconds_total"),
    ("used_cpu_sys_children", "redis_cpu_sys_children_seconds_total"),
    ("used_cpu_sys_main_thread", "redis_cpu_sys_main_thread_seconds_total"),
    ("used_cpu_user", "redis_cpu_user_seconds_total"),
    ("used_cpu_user_children", "redis_cpu_user_children_seconds_total"),
    ("used_cpu_user_main_thread", "redis_cpu_user_main_thread_seconds_total"),
];

/// INFO fields that are `ok` or something else.
const VERDICTS: &[(&str, &str)] = &[
    ("aof_last_bgrewrite_status", "redis_aof_last_bgrewrite_status"),
    ("aof_last_write_status", "redis_aof_last_write_status"),
    ("rdb_last_bgsave_status", "redis_rdb_last_bgsave_status"),
];

/// Writes them.
pub fn write(server: &'static Server, view: Option<&View>, page: &mut Page) {
    let text = info::text(server, &[b"everything"]);
    let fields: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once(':')).collect();
    let number = |field: &str| fields.get(field).and_then(|value| value.parse::<f64>().ok());
    page.gauge("redis_up", "Whether the node answers.", 1.0);
    for (table, kind) in [(GAUGES, Kind::Gauge), (COUNTERS, Kind::Counter)] {
        for &(field, name) in table {
            if let Some(value) = number(field) {
                page.metric(name, kind, &format!("{field} of INFO.")).sample(&[], value);
            }
        }
    }
    for &(field, name) in VERDICTS {
        if let Some(value) = fields.get(field) {
            page.gauge(name, &format!("Whether {field} of INFO is ok."), f64::from(u8::from(*value == "ok")));
        }
    }
    page.gauge("redis_latest_fork_seconds", "0: there is no fork.", 0.0);
    let uptime = number("uptime_in_seconds").unwrap_or(0.0);
    page.gauge("redis_start_time_seconds", "When the node started, Unix seconds.", {
        (clock::now_ms() / 1000) as f64 - uptime
    });
    let field = |name: &str| fields.get(name).copied().unwrap_or_default();
    page.metric("redis_instance_info", Kind::Gauge, "1, with what the node is.").sample(
        &[
            ("role", field("role")),
            ("redis_version", field("redis_version")),
            ("redis_build_id", field("redis_build_id")),
            ("redis_mode", field("redis_mode")),
            ("os", field("os")),
            ("maxmemory_policy", field("maxmemory_policy")),
            ("tcp_port", field("tcp_port")),
            ("run_id", field("run_id")),
            ("process_id", field("process_id")),
        ],
        1.0,
    );
    configuration(server, page);
    commands(server, page);
    databases(server, page);
    average_ttls(server, page);
    replication(&fields, page);
    slow_log(server, page);
    if let Some(view) = view {
        cluster(view, page);
    }
}

fn configuration(server: &Server, page: &mut Page) {
    page.gauge("redis_config_maxclients", "The setting maxclients.", server.config.maxclients() as f64);
    page.gauge("redis_config_maxmemory", "The setting maxmemory, in bytes.", server.config.maxmemory() as f64);
    page.gauge("redis_config_io_threads", "How many workers there are.", server.config.workers() as f64);
}

fn commands(server: &Server, page: &mut Page) {
    let all: Vec<_> = server
        .lookup
        .all()
        .iter()
        .map(|entry| (entry.command.meta.name, server.metrics.command(entry.id), entry.id))
        .filter(|(_, sums, _)| sums.calls + sums.rejected + sums.failed > 0)
        .collect();
    page.metric("redis_commands_total", Kind::Counter, "Calls of a command.");
    for (name, sums, _) in &all {
        page.sample(&[("cmd", name)], sums.calls as f64);
    }
    page.metric("redis_commands_duration_seconds_total", Kind::Counter, "Time spent in a command.");
    for (name, sums, _) in &all {
        page.sample(&[("cmd", name)], seconds(sums.ns));
    }
    page.metric("redis_commands_failed_calls_total", Kind::Counter, "Calls of a command that ended with an error.");
    for (name, sums, _) in &all {
        page.sample(&[("cmd", name)], sums.failed as f64);
    }
    page.metric("redis_commands_rejected_calls_total", Kind::Counter, "Calls of a command that were refused.");
    for (name, sums, _) in &all {
        page.sample(&[("cmd", name)], sums.rejected as f64);
    }
    page.metric("redis_errors_total", Kind::Counter, "Error replies by the first word.");
    for (code, count) in server.metrics.errors() {
        page.sample(&[("err", &String::from_utf8_lossy(&code))], count as f64);
    }
    if !server.config.latency_tracking() {
        return;
    }
    page.metric("redis_latency_percentiles_usec", Kind::Summary, "Percentiles of a command's latency, microseconds.");
    for (name, sums, id) in &all {
        let Some(times) = server.metrics.latency(*id) else { continue };
        for percentile in server.config.latency_percentiles() {
            let value = times.percentile(percentile) as f64 / 1000.0;
            page.sample(&[("cmd", name), ("quantile", &percentile.to_string())], value);
        }
        page.totals(&[("cmd", name)], (sums.ns / 1000) as f64, times.total());
    }
}

fn databases(server: &Server, page: &mut Page) {
    let names: Vec<String> = (0..server.keyspace.databases()).map(|db| format!("db{db}")).collect();
    // Beyond the usual sixteen only those with keys: there may be two billion.
    let shown = |db: usize| db < 16 || server.metrics.keys(db) > 0;
    page.metric("redis_db_keys", Kind::Gauge, "Keys in a database.");
    for (db, name) in names.iter().enumerate().filter(|(db, _)| shown(*db)) {
        page.sample(&[("db", name)], server.metrics.keys(db) as f64);
    }
    page.metric("redis_db_keys_expiring", Kind::Gauge, "Keys with an expiry in a database.");
    for (db, name) in names.iter().enumerate().filter(|(db, _)| shown(*db)) {
        page.sample(&[("db", name)], server.metrics.expires(db) as f64);
    }
}

fn average_ttls(server: &Server, page: &mut Page) {
    page.metric("redis_db_avg_ttl_seconds", Kind::Gauge, "Mean time to live of a database's keys that expire.");
    for db in (0..server.keyspace.databases()).filter(|&db| server.metrics.keys(db) > 0) {
        page.sample(&[("db", &format!("db{db}"))], server.metrics.average_ttl(db) as f64 / 1000.0);
    }
}

fn replication(fields: &BTreeMap<&str, &str>, page: &mut Page) {
    let field = |name: &str| fields.get(name).copied().unwrap_or_default();
    if field("role") == "slave" {
        let labels = [("master_host", field("master_host")), ("master_port", field("master_port"))];
        let up = f64::from(u8::from(field("master_link_status") == "up"));
        page.metric("redis_master_link_up", Kind::Gauge, "Whether the link to the primary is up.").sample(&labels, up);
        for (name, of, help) in [
            ("redis_master_last_io_seconds_ago", "master_last_io_seconds_ago", "When the primary last sent anything."),
            (
                "redis_master_sync_in_progress",
                "master_sync_in_progress",
                "Whether the primary's snapshot is on its way.",
            ),
            ("redis_slave_repl_offset", "slave_repl_offset", "How far this replica is in the stream."),
        ] {
            if let Ok(value) = field(of).parse() {
                page.metric(name, Kind::Gauge, help).sample(&labels, value);
            }
        }
        let labels = [labels[0], labels[1], ("read_only", field("slave_read_only"))];
        page.metric("redis_slave_info", Kind::Gauge, "1, with what this replica is.").sample(&labels, 1.0);
        if let Ok(value) = field("slave_priority").parse() {
            page.gauge("redis_slave_priority", "The setting replica-priority.", value);
        }
    }
    // slave0:ip=127.0.0.1,port=7001,state=online,offset=70,lag=1
    let replicas: Vec<BTreeMap<&str, &str>> = (0..)
        .map_while(|i| fields.get(&format!("slave{i}")[..]))
        .map(|line| line.split(',').filter_map(|pair| pair.split_once('=')).collect())
        .collect();
    for (name, of, help) in [
        ("redis_connected_slave_offset_bytes", "offset", "How far a replica has told that it is in the stream."),
        ("redis_connected_slave_lag_seconds", "lag", "When a replica last told anything."),
    ] {
        if !replicas.is_empty() {
            page.metric(name, Kind::Gauge, help);
        }
        for replica in &replicas {
            let get = |name: &str| replica.get(name).copied().unwrap_or_default();
            let labels = [("slave_ip", get("ip")), ("slave_port", get("port")), ("slave_state", get("state"))];
            page.sample(&labels, get(of).parse().unwrap_or(0.0));
        }
    }
}

fn slow_log(server: &Server, page: &mut Page) {
    page.gauge("redis_slowlog_length", "Entries of the slow log.", server.log.len(LogKind::Slow) as f64);
    let last = server.log.newest(LogKind::Slow, 1);
    let (id, took) = last.first().map_or((0, 0), |entry| (entry.id, entry.value));
    page.gauge("redis_slowlog_last_id", "The id of the last entry of the slow log.", id as f64);
    page.gauge("redis_last_slow_execution_duration_seconds", "How long the last slow command took.", took as f64 / 1e6);
}

fn cluster(view: &View, page: &mut Page) {
    let state = f64::from(u8::from(view.state == State::Ok));
    for (name, help, value) in [
        ("redis_cluster_state", "Whether the cluster is ok.", state),
        ("redis_cluster_slots_assigned", "Slots that have an owner.", view.slots_assigned as f64),
        ("redis_cluster_slots_ok", "Slots whose owner is well.", view.slots_ok as f64),
        ("redis_cluster_slots_pfail", "Slots whose owner this node suspects.", view.slots_pfail as f64),
        ("redis_cluster_slots_fail", "Slots whose owner has failed.", view.slots_fail as f64),
        ("redis_cluster_known_nodes", "Nodes that this node knows.", view.nodes.len() as f64),
        ("redis_cluster_size", "Primaries that own slots.", view.size as f64),
        ("redis_cluster_current_epoch", "The epoch of the cluster.", view.current_epoch as f64),
        ("redis_cluster_my_epoch", "The epoch of this shard's configuration.", view.my_epoch as f64),
        ("redis_cluster_messages_sent_total", "Packets to other nodes.", view.stats.sent.iter().sum::<u64>() as f64),
        (
            "redis_cluster_messages_received_total",
            "Packets from other nodes.",
            view.stats.received.iter().sum::<u64>() as f64,
        ),
    ] {
        page.gauge(name, help, value);
    }
}
