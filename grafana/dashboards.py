"""The dashboards: what each panel asks and how it is read. build.py writes the JSON that Grafana imports.

In a query N stands for the nodes that the variables choose, and R for the interval of rates. A panel is
kind(title, unit, description, queries..., options): a query is an expression, or an expression and its legend.
Thresholds are (value, colour) pairs over a green ground; `low=True` turns that about: red below the first.
"""

import re

N = 'job="$job", cluster=~"$cluster", instance=~"$instance"'
R = "[$__rate_interval]"
I = "{{instance}}"

WARN, CRIT = "orange", "red"


def panel(kind, title, unit, description, *queries, steps=(), low=False, **options):
    queries = [q if isinstance(q, tuple) else (q, I) for q in queries]
    queries = [(re.sub(r"\bR\b", R, re.sub(r"\bN\b", N, expr)), legend) for expr, legend in queries]
    return dict(kind=kind, title=title, unit=unit, description=description, queries=queries, steps=steps, low=low, **options)


def row(title):
    return dict(kind="row", title=title)


def graph(*args, **options):
    return panel("timeseries", *args, **options)


def stat(*args, **options):
    return panel("stat", *args, **options)


def table(*args, **options):
    return panel("table", *args, **options)


def heatmap(*args, **options):
    return panel("heatmap", *args, **options)


def bars(*args, **options):
    return panel("bargauge", *args, **options)


def states(*args, **options):
    return panel("state-timeline", *args, **options)


def quantile(q, metric, by=""):
    """A quantile of a histogram, over the chosen nodes or by a label."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({q}, sum by ({labels}) (rate({metric}_bucket{{N}}R)))"


# `may_be_empty`: there is nothing to show on a cluster that is well, or that does without the feature.
DASHBOARDS = [
    ("overview", "Overview", "The state of all chosen nodes on one page.", [
        row("Now"),
        stat("Nodes up", "none", "Nodes that answer the scrape.", ("sum(up{N})", ""), steps=[(1, "green")], low=True, w=3, h=4),
        stat("Cluster", "none", "1: every node sees all slots served. 0: some node refuses commands.",
             ("min(redis_cluster_state{N})", ""), steps=[(1, "green")], low=True, w=3, h=4, may_be_empty=True,
             values={"0": ("down", "red"), "1": ("ok", "green")}),
        stat("Commands a second", "ops", "All commands of all nodes.", ("sum(rate(redis_commands_processed_total{N}R))", ""), w=4, h=4),
        stat("Hit ratio", "percentunit", "Reads that found their key, of all reads of keys. A cache below 0.8 is often too small, or its keys expire too early.",
             ("sum(rate(redis_keyspace_hits_total{N}R)) / (sum(rate(redis_keyspace_hits_total{N}R)) + sum(rate(redis_keyspace_misses_total{N}R)))", ""),
             steps=[(0.5, "orange"), (0.8, "green")], low=True, w=4, h=4),
        stat("Slowest percent", "s", "99 of 100 commands took no longer, over all commands.", (quantile(0.99, "dunlin_command_duration_seconds"), ""),
             steps=[(0.005, WARN), (0.05, CRIT)], w=4, h=4),
        stat("Memory", "bytes", "Memory in use, all nodes.", ("sum(redis_memory_used_bytes{N})", ""), w=3, h=4),
        stat("Keys", "short", "Keys in all databases of the primaries.", ('sum(redis_db_keys{N} * on (job, cluster, instance) group_left () redis_instance_info{role="master", N})', ""), w=3, h=4),
        row("Load"),
        graph("Commands", "ops", "Commands a second by node. Nodes far above the others have hot slots, or more slots than their share.", "rate(redis_commands_processed_total{N}R)"),
        graph("Busiest commands", "ops", "The ten commands that are called most.", ("topk(10, sum by (cmd) (rate(redis_commands_total{N}R)))", "{{cmd}}")),
        graph("Error replies", "ops", "Error replies a second by node. See the dashboard Commands for their kinds.", "rate(redis_total_error_replies{N}R)", steps=[(10, WARN)]),
        graph("Latency", "s", "Quantiles of how long commands take, from their locks to their reply, over all nodes.",
              *[(quantile(q, "dunlin_command_duration_seconds"), name) for q, name in [(0.5, "median"), (0.99, "99 %"), (0.999, "99.9 %")]], steps=[(0.05, CRIT)]),
        graph("Wait for a worker", "s", "How long a connection with something to do waited until its worker came to it. High values with low latency: workers have too much to do, add cores or nodes.",
              *[(quantile(q, "dunlin_queue_wait_seconds"), name) for q, name in [(0.5, "median"), (0.99, "99 %"), (0.999, "99.9 %")]], steps=[(0.01, WARN), (0.1, CRIT)]),
        graph("Busiest worker", "percentunit", "The share of its time that a node's busiest worker spends on a CPU.",
              'max by (instance) (rate(dunlin_thread_busy_seconds_total{thread=~"worker-.*", N}R))', steps=[(0.8, WARN), (0.95, CRIT)], max=1),
        graph("Memory in use", "bytes", "What the allocator has given out, by node.", "redis_memory_used_bytes{N}"),
        graph("Clients", "short", "Connected clients, by node.", "redis_connected_clients{N}"),
        graph("Network", "Bps", "Bytes from clients (in) and to clients (out), all nodes.",
              ("sum(rate(redis_net_input_bytes_total{N}R))", "in"), ("-sum(rate(redis_net_output_bytes_total{N}R))", "out")),
    ]),
    ("commands", "Commands", "Requests, errors and latency by command.", [
        row("Requests"),
        graph("Calls", "ops", "Calls a second by command.", ("sum by (cmd) (rate(redis_commands_total{N}R))", "{{cmd}}"), w=12),
        graph("Time spent", "percentunit", "The share of a core that a command takes. The one to make cheaper is on top here, not in the number of calls.",
              ("sum by (cmd) (rate(redis_commands_duration_seconds_total{N}R))", "{{cmd}}"), w=12),
        table("By command", "none", "What each command cost over the chosen time.",
              ("sum by (cmd) (increase(redis_commands_total{N}[$__range]))", "Calls"),
              ("sum by (cmd) (increase(redis_commands_duration_seconds_total{N}[$__range]))", "Time"),
              ("sum by (cmd) (increase(redis_commands_duration_seconds_total{N}[$__range])) / (sum by (cmd) (increase(redis_commands_total{N}[$__range])) > 0)", "Mean"),
              ("sum by (cmd) (increase(redis_commands_failed_calls_total{N}[$__range]))", "Failed"),
              ("sum by (cmd) (increase(redis_commands_rejected_calls_total{N}[$__range]))", "Refused"),
              units={"Time": "s", "Mean": "s"}, w=24, h=9),
        row("Latency"),
        graph("99 % by command", "s", "99 of 100 calls took no longer. Waits of blocking commands are not in it.",
              (quantile(0.99, "dunlin_command_duration_seconds", "cmd"), "{{cmd}}"), steps=[(0.005, WARN), (0.05, CRIT)], w=12),
        graph("Mean by command", "s", "Mean time of a call.",
              ("sum by (cmd) (rate(redis_commands_duration_seconds_total{N}R)) / (sum by (cmd) (rate(redis_commands_total{N}R)) > 0)", "{{cmd}}"), steps=[(0.005, WARN)], w=12),
        heatmap("Distribution", "s", "How many calls took how long, all commands.", ("sum by (le) (increase(dunlin_command_duration_seconds_bucket{N}R))", "{{le}}"), w=12),
        heatmap("Distribution of waits", "s", "How many times a connection waited how long for its worker.", ("sum by (le) (increase(dunlin_queue_wait_seconds_bucket{N}R))", "{{le}}"), w=12),
        row("Errors"),
        graph("By kind", "ops", "Error replies by their first word. MOVED and ASK are not failures: clients follow them.", ("sum by (err) (rate(redis_errors_total{N}R))", "{{err}}"), steps=[(10, WARN)]),
        graph("Failed and refused", "ops", "Calls that ended with an error, and calls that were refused before they began (memory, permissions, arguments).",
              ("sum(rate(redis_commands_failed_calls_total{N}R))", "failed"), ("sum(rate(redis_commands_rejected_calls_total{N}R))", "refused"), steps=[(10, WARN)]),
        graph("Slow log", "short", "New entries of SLOWLOG a second; `slowlog-log-slower-than` says what is slow.", "rate(redis_slowlog_last_id{N}R)", steps=[(1, WARN)]),
        graph("Pipelines", "short", "How many requests of a connection are executed in one turn: without pipelining 1.",
              ("sum(rate(dunlin_pipeline_depth_sum{N}R)) / sum(rate(dunlin_pipeline_depth_count{N}R))", "mean"),
              (quantile(0.99, "dunlin_pipeline_depth"), "99 %")),
    ]),
    ("clients", "Clients and network", "Connections, their buffers, and what they move.", [
        row("Connections"),
        graph("Connected", "short", "Connected clients. The red line of the alert is at nine tenths of maxclients.", "redis_connected_clients{N}"),
        graph("Share of maxclients", "percentunit", "Connections that `maxclients` allows and that are taken.", "redis_connected_clients{N} / redis_config_maxclients{N}", steps=[(0.8, WARN), (0.9, CRIT)], max=1),
        graph("New connections", "cps", "Connections accepted a second. Many: clients that do not keep theirs.", "rate(redis_connections_received_total{N}R)", steps=[(500, WARN)]),
        graph("Blocked", "short", "Clients that wait: for a list, a stream, WAIT, or a pause.", "redis_blocked_clients{N}"),
        graph("Turned away", "short", "Connections refused (maxclients), closed for what they did not read or for the size of a request, or for memory, and failed log-ins; a second.",
              ("sum(rate(redis_rejected_connections_total{N}R))", "refused"), ("sum(rate(dunlin_output_limit_disconnections_total{N}R))", "output buffer"),
              ("sum(rate(dunlin_query_limit_disconnections_total{N}R))", "query buffer"), ("sum(rate(dunlin_evicted_clients_total{N}R))", "maxmemory-clients"),
              ("sum(rate(dunlin_auth_denied_total{N}R))", "wrong password"), steps=[(0.1, CRIT)]),
        graph("Published and subscribed", "short", "Channels and patterns that somebody listens to.", ("sum(redis_pubsub_channels{N})", "channels"), ("sum(redis_pubsub_patterns{N})", "patterns")),
        row("Network"),
        graph("From clients", "Bps", "Bytes read.", "rate(redis_net_input_bytes_total{N}R)"),
        graph("To clients", "Bps", "Bytes written.", "rate(redis_net_output_bytes_total{N}R)"),
        graph("Turns", "ops", "Reads from clients and writes to them a second. Commands divided by reads is the depth of pipelines.",
              ("sum(rate(dunlin_read_turns_total{N}R))", "reads"), ("sum(rate(dunlin_write_turns_total{N}R))", "writes")),
        row("Buffers"),
        graph("Memory of connections", "bytes", "What connections hold in buffers.", "redis_mem_clients_normal{N}", steps=[(1 << 30, WARN)]),
        graph("Largest request buffer", "bytes", "The biggest query buffer of a client that is connected.", "redis_client_recent_max_input_buffer_bytes{N}"),
        graph("Largest reply buffer", "bytes", "The biggest output buffer of a client that is connected: one that does not read.", "redis_client_recent_max_output_buffer_bytes{N}", steps=[(64 << 20, WARN)]),
    ]),
    ("memory", "Memory and keyspace", "What is stored, and what it takes.", [
        row("Memory"),
        graph("In use and limit", "bytes", "Allocated memory, resident memory, and the limit where there is one.",
              ("redis_memory_used_bytes{N}", I + " used"), ("redis_memory_used_rss_bytes{N}", I + " resident"), ("redis_memory_max_bytes{N} > 0", I + " limit"), w=12),
        graph("Share of maxmemory", "percentunit", "What is used of `maxmemory`; nothing where there is no limit.", "redis_memory_used_bytes{N} / (redis_memory_max_bytes{N} > 0)",
              steps=[(0.8, WARN), (0.95, CRIT)], w=12, may_be_empty=True),
        graph("Data and overhead", "bytes", "Values and keys, and everything else (connections, tables, the program).",
              ("sum(redis_memory_used_dataset_bytes{N})", "data"), ("sum(redis_memory_used_overhead_bytes{N})", "overhead"), stack=True),
        graph("Allocator", "bytes", "From what the program asked for to what the system gave: allocated, active pages, resident, mapped.", ("sum by (kind) (dunlin_allocator_bytes{N})", "{{kind}}")),
        graph("Fragmentation", "none", "Resident memory for each byte in use. Above 1.5 with much data: memory that is not given back.", "redis_mem_fragmentation_ratio{N}", steps=[(1.5, WARN), (2, CRIT)]),
        row("Keys"),
        graph("Keys", "short", "Keys by node.", "sum by (instance) (redis_db_keys{N})"),
        graph("Keys that expire", "short", "Keys with a time to live.", "sum by (instance) (redis_db_keys_expiring{N})"),
        graph("Mean time to live", "s", "Of keys that expire, as the expiry passes see them.", "max by (instance) (redis_db_avg_ttl_seconds{N})"),
        graph("Hits and misses", "ops", "Reads that found their key, and those that did not.", ("sum(rate(redis_keyspace_hits_total{N}R))", "hits"), ("sum(rate(redis_keyspace_misses_total{N}R))", "misses")),
        graph("Hit ratio", "percentunit", "By node.", "rate(redis_keyspace_hits_total{N}R) / (rate(redis_keyspace_hits_total{N}R) + rate(redis_keyspace_misses_total{N}R))", steps=[(0.5, WARN), (0.8, "green")], low=True, max=1),
        graph("Expired and evicted", "ops", "Keys removed because their time was over, and because memory was short.", ("sum(rate(redis_expired_keys_total{N}R))", "expired"), ("sum(rate(redis_evicted_keys_total{N}R))", "evicted")),
        row("Upkeep"),
        graph("Time of expiry and eviction", "percentunit", "The share of a core that they take.", ("sum(rate(dunlin_expire_seconds_total{N}R))", "expiry"), ("sum(rate(dunlin_evict_seconds_total{N}R))", "eviction"), steps=[(0.25, WARN)]),
        graph("Stale keys", "percent", "Keys that are expired and still there, of those that expire, as expiry passes see them.", "redis_expired_stale_percentage{N}", steps=[(10, WARN), (25, CRIT)]),
        graph("Tables", "bytes", "Memory of the hash tables, without the entries: it grows with the keys, an eighth at a time.", "sum by (instance) (dunlin_table_bytes{N})"),
        graph("Largest slot", "short", "Keys of the slot with the most keys. Far above keys / 16384: one {tag} for very many keys.", "max by (instance) (dunlin_largest_slot_keys{N})"),
        graph("Waiting to be freed", "short", "Values that UNLINK and others left to the background.", "dunlin_lazyfree_pending_objects{N}", steps=[(10000, WARN)]),
    ]),
    ("workers", "Workers", "How a node uses its cores.", [
        row("Workers"),
        graph("Busy", "percentunit", "The share of its time that a worker spends on a CPU. All near 1: add cores or nodes. One near 1 alone: connections are unevenly spread.",
              ('rate(dunlin_thread_busy_seconds_total{thread=~"worker-.*", N}R)', I + " {{thread}}"), steps=[(0.8, WARN), (0.95, CRIT)], max=1, w=12),
        graph("Without a CPU", "percentunit", "The share of its time that a worker had work and no CPU: others use the cores.",
              ('rate(dunlin_thread_wait_seconds_total{thread=~"worker-.*", N}R)', I + " {{thread}}"), steps=[(0.1, WARN), (0.3, CRIT)], w=12),
        graph("Connections", "short", "Connections of each worker; a new one goes to the worker with the fewest.", ("dunlin_worker_connections{N}", I + " worker-{{worker}}")),
        graph("Wait for a worker", "s", "99 of 100 waits of a connection until its worker came to it were no longer.", ("histogram_quantile(0.99, sum by (instance, le) (rate(dunlin_queue_wait_seconds_bucket{N}R)))", I), steps=[(0.01, WARN), (0.1, CRIT)]),
        graph("Commands a turn", "short", "Requests of a connection that are executed together, on average.", "rate(dunlin_pipeline_depth_sum{N}R) / rate(dunlin_pipeline_depth_count{N}R)"),
        row("Locks and hot spots"),
        graph("Waits for slots", "ops", "How often a worker found a slot locked by another, a second.", "rate(dunlin_slot_lock_waits_total{N}R)"),
        graph("Time of these waits", "percentunit", "The share of a core that waits for slots take. High: hot keys, or commands that take every slot.", "rate(dunlin_slot_lock_wait_seconds_total{N}R)", steps=[(0.1, WARN), (0.3, CRIT)]),
        graph("Hottest slots", "ops", "Uses of keys a second in the ten hottest slots of each node. One far above the others: a hot key, or a {tag} that holds too much.", ("topk(10, dunlin_hot_slot_operations{N})", I + " slot {{slot}}")),
        row("Other threads"),
        graph("Busy", "percentunit", "Time on a CPU of threads that are not workers: replication, the bus, the append-only file, snapshots, freeing, metrics.",
              ('sum by (instance, thread) (rate(dunlin_thread_busy_seconds_total{thread!~"worker-.*", N}R)) > 0.001', I + " {{thread}}"), w=24, steps=[(0.9, WARN)]),
    ]),
    ("cluster", "Cluster", "Topology, slots, and the bus.", [
        row("State"),
        states("Cluster state by node", "none", "Whether a node sees every slot served (ok). A node that says down refuses commands.", ("redis_cluster_state{N}", I),
               values={"0": ("down", "red"), "1": ("ok", "green")}, w=12, h=7),
        graph("Slots", "short", "Slots that have an owner, and those whose owner is suspected or failed, as the nodes see it.",
              ("min(redis_cluster_slots_assigned{N})", "assigned"), ("min(redis_cluster_slots_ok{N})", "ok"), ("max(redis_cluster_slots_pfail{N})", "suspected"), ("max(redis_cluster_slots_fail{N})", "failed"), w=12, h=7),
        table("Topology", "none", "Every node as the others see it: role, shard, state. Two lines for a node: the views differ.",
              ("max by (addr, node, role, shard, state) (dunlin_cluster_node_info{N})", "Known"), w=14, h=9),
        bars("Slots of a primary", "short", "How many slots each primary owns; uneven ones: rebalance.", ("max by (addr) (dunlin_cluster_node_slots{N})", "{{addr}}"), w=10, h=9, max=16384),
        row("Changes"),
        graph("Epoch", "none", "The cluster's epoch: it grows with every failover and every slot that was moved.", "redis_cluster_current_epoch{N}"),
        graph("Failovers", "short", "Attempts of a replica to replace its primary, by how they ended, in five minutes.", ("sum by (result) (increase(dunlin_cluster_failovers_total{N}[5m]))", "{{result}}"), steps=[(1, WARN)]),
        graph("Slots that move", "short", "Slots that are being given away and received.", ("sum(dunlin_cluster_slots_migrating{N})", "migrating"), ("sum(dunlin_cluster_slots_importing{N})", "importing"), ("sum(dunlin_slot_migrations_active{N})", "moves of whole slots")),
        graph("Keys that move", "ops", "Keys sent to other nodes a second, by MIGRATE or with their slots.", ("sum by (way) (rate(dunlin_migrated_keys_total{N}R))", "{{way}}")),
        graph("Bytes that move", "Bps", "Bytes sent to other nodes for that.", ("sum by (way) (rate(dunlin_migrated_bytes_total{N}R))", "{{way}}")),
        graph("Moves of whole slots", "short", "How they ended, in five minutes.", ("sum by (result) (increase(dunlin_slot_migrations_total{N,side='export'}[5m]))", "{{result}}")),
        graph("Redirections", "ops", "Commands sent elsewhere or refused for their slots. MOVED for long: clients that do not learn.", ("sum by (kind) (rate(dunlin_redirections_total{N}R))", "{{kind}}")),
        row("Bus"),
        graph("Answer to a ping", "s", "How long a node's last answer took, as each other node saw it.", ("max by (instance) (dunlin_cluster_ping_seconds{N})", "asked by " + I), steps=[(0.1, WARN), (0.5, CRIT)]),
        graph("Open pings", "s", "For how long a ping has had no answer. Beyond cluster-node-timeout the node is suspected.", ("max by (addr) (dunlin_cluster_ping_open_seconds{N})", "{{addr}}"), steps=[(1, WARN), (5, CRIT)]),
        graph("Links", "short", "Links of the bus that are missing, by the node that misses them.", "count by (instance) (dunlin_cluster_link_up{N} == 0) or 0 * max by (instance) (redis_cluster_state{N})", steps=[(1, WARN)]),
        graph("Last answer", "s", "When a node last answered anybody.", ("min by (addr) (dunlin_cluster_pong_age_seconds{N})", "{{addr}}"), steps=[(5, WARN), (15, CRIT)]),
        graph("Packets", "ops", "Packets of the bus that are sent, by type. Pings and pongs are its pulse; the rest should be rare.", ('sum by (type) (rate(dunlin_cluster_packets_total{way="sent", N}R))', "{{type}}")),
        graph("Dropped", "ops", "Packets that were malformed, of another version or of a stranger, and links that were closed because too much waited for them.",
              ("sum(rate(dunlin_cluster_packets_dropped_total{N}R))", "packets"), ("sum(rate(dunlin_cluster_links_over_limit_total{N}R))", "links"), steps=[(1, WARN)]),
        graph("Waiting to be sent", "bytes", "Bytes of the bus that wait for other nodes.", "dunlin_cluster_bus_waiting_bytes{N}", steps=[(1 << 20, WARN)]),
    ]),
    ("replication", "Replication", "How far replicas are behind.", [
        row("Replicas"),
        graph("Behind, in bytes", "bytes", "What a replica has not acknowledged of its primary's stream. It acknowledges once a second: a second's writes are normal.", ("dunlin_replica_lag_bytes{N}", I + " to {{replica}}"), steps=[(16 << 20, WARN), (128 << 20, CRIT)], w=12),
        graph("Behind, in seconds", "s", "When a replica last acknowledged anything; it does so every second.", ("dunlin_replica_lag_seconds{N}", I + " to {{replica}}"), steps=[(5, WARN), (30, CRIT)], w=12),
        graph("Replicas", "short", "Replicas of each primary.", 'redis_connected_slaves{N} * on (job, cluster, instance) group_left () redis_instance_info{role="master", N}'),
        states("Link to the primary", "none", "Whether a replica is in step with its primary.", ("redis_master_link_up{N}", I), values={"0": ("down", "red"), "1": ("up", "green")}),
        graph("Link down for", "s", "For how long the link to the primary has been down.", "dunlin_primary_link_down_seconds{N}", steps=[(10, WARN), (60, CRIT)]),
        row("Stream"),
        graph("Offset", "bytes", "Bytes of the stream that a node has written or applied, a second.", "rate(redis_master_repl_offset{N}R)"),
        graph("Traffic", "Bps", "Bytes from primaries and to replicas.", ("sum(rate(dunlin_replication_input_bytes_total{N}R))", "in"), ("sum(rate(dunlin_replication_output_bytes_total{N}R))", "out")),
        graph("Backlog", "bytes", "What is kept for replicas that come back, and how much may be kept.", ("redis_repl_backlog_history_bytes{N}", I + " kept"), ("redis_replication_backlog_bytes{N}", I + " most")),
        row("Synchronization"),
        graph("Synchronizations", "short", "Begun in five minutes: full ones, partial ones, and partial ones that were refused (the backlog was too small).",
              ("sum(increase(redis_replica_resyncs_full{N}[5m]))", "full"), ("sum(increase(redis_replica_partial_resync_accepted{N}[5m]))", "partial"), ("sum(increase(redis_replica_partial_resync_denied{N}[5m]))", "refused"), steps=[(3, WARN)]),
        graph("Full synchronization", "percentunit", "How much of the primary's snapshot has arrived; 1: in step.", "dunlin_full_sync_progress_ratio{N}", max=1),
        graph("Buffers for replicas", "bytes", "What replicas have not fetched yet, beyond the backlog.", "redis_mem_clients_slaves{N}", steps=[(256 << 20, WARN)]),
    ]),
    ("persistence", "Persistence", "Snapshots and the append-only file.", [
        row("Snapshots"),
        graph("Age of the last snapshot", "s", "How long ago the last snapshot was finished.", "time() - redis_rdb_last_save_timestamp_seconds{N}", steps=[(86400, WARN)]),
        graph("Changes since", "short", "Changes that the last snapshot does not have.", "redis_rdb_changes_since_last_save{N}"),
        states("Last snapshot", "none", "Whether the last one succeeded.", ("redis_rdb_last_bgsave_status{N}", I), values={"0": ("failed", "red"), "1": ("ok", "green")}),
        graph("Duration", "s", "How long the last snapshot took.", "dunlin_snapshot_last_duration_seconds{N}"),
        graph("Progress", "percentunit", "How much of the snapshot under way is written; 0: none is.", "dunlin_snapshot_progress_ratio{N}", max=1),
        graph("Kept for it", "bytes", "Values that were changed before the snapshot came to them.", "dunlin_snapshot_waiting_bytes{N}", steps=[(256 << 20, WARN)]),
        row("Append-only file"),
        graph("Fsync", "s", "99 of 100 fsyncs took no longer; nothing where `appendonly` is off.", ("histogram_quantile(0.99, sum by (instance, le) (rate(dunlin_aof_fsync_seconds_bucket{N}R)))", I), steps=[(0.1, WARN), (1, CRIT)], may_be_empty=True),
        graph("Fsyncs", "ops", "Fsyncs a second.", "rate(dunlin_aof_fsync_seconds_count{N}R)", may_be_empty=True),
        graph("Unwritten", "bytes", "Bytes that wait to be written.", "dunlin_aof_unwritten_bytes{N}", steps=[(64 << 20, WARN)], may_be_empty=True),
        states("Writing", "none", "Whether the file can be written. While it cannot, writes are refused.", ("1 - dunlin_aof_failing{N}", I), values={"0": ("failing", "red"), "1": ("ok", "green")}, may_be_empty=True),
        states("Rewrite", "none", "Whether a rewrite of the file is under way.", ("redis_aof_rewrite_in_progress{N}", I), values={"0": ("none", "transparent"), "1": ("under way", "blue")}),
        graph("Loading", "percentunit", "How much of the data was read after a start or from a primary.", "dunlin_load_progress_ratio{N}", max=1),
    ]),
    ("process", "Process", "What the system sees of a node.", [
        row("Processor"),
        graph("CPU", "percentunit", "CPU time a second, all threads; 2: two cores.", "rate(process_cpu_seconds_total{N}R)"),
        graph("User and system", "percentunit", "Its parts, all nodes.", ("sum(rate(redis_cpu_user_seconds_total{N}R))", "user"), ("sum(rate(redis_cpu_sys_seconds_total{N}R))", "system"), stack=True),
        graph("CPU a command", "s", "CPU time for each command.", "rate(process_cpu_seconds_total{N}R) / rate(redis_commands_processed_total{N}R)"),
        row("Resources"),
        graph("Resident memory", "bytes", "Memory that the system gave.", "process_resident_memory_bytes{N}"),
        graph("Open files", "percentunit", "Files and sockets, of those that may be open.", "process_open_fds{N} / process_max_fds{N}", steps=[(0.8, WARN), (0.9, CRIT)], max=1),
        graph("Threads", "short", "Threads of the process.", "process_threads{N}"),
        row("Itself"),
        graph("Uptime", "s", "Since the start.", "redis_uptime_in_seconds{N}"),
        graph("Scrape", "s", "How long the node took to make its page of metrics.", "dunlin_scrape_duration_seconds{N}", steps=[(0.05, WARN), (0.5, CRIT)]),
        table("Builds", "none", "What runs where.", ("max by (instance, version, allocator) (dunlin_build_info{N})", "Build"), w=8, h=8),
    ]),
]
