//! What operators see, looked at with their tools: Debian's prometheus scrapes a cluster through a failover and a
//! reshard, every query of every panel and rule is asked of it, promtool checks pages and rules, and redis_exporter's
//! view of a node is compared with the node's own. Where a tool is missing the test says SKIPPED.
//!
//! `DUNLIN_PREVIEW=dir cargo test --test monitoring queries` also draws the dashboards there, by tools/preview.py.

#[path = "../support/mod.rs"]
mod support;

mod cluster;
mod exposition;
mod prom;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use cluster::{Cluster, Load};
use dunlin::base::clock;
use exposition::Metric;
use prom::{Prometheus, encoded, fetch, installed};
use support::{Server, free_port};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What a program prints, with success.
fn output(command: &mut Command) -> String {
    let out = command.output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{command:?}:\n{text}");
    text
}

fn build() -> Command {
    let mut command = Command::new("python3");
    command.arg(root().join("grafana/build.py"));
    command
}

#[test]
fn dashboards_rules_and_runbook_are_as_their_source_says() {
    output(build().arg("--check"));
}

#[test]
fn dashboards_have_the_types_that_grafana_publishes() {
    let check = root().join("grafana/check");
    if !check.join("node_modules").exists() {
        println!("SKIPPED: grafana/check has no packages (npm ci --prefix grafana/check)");
        return;
    }
    output(Command::new("npm").args(["run", "check"]).current_dir(check));
}

#[test]
fn rules_are_valid_and_each_alert_fires_when_it_should() {
    if !installed("promtool") {
        return;
    }
    let rules = root().join("grafana/prometheus/rules");
    let files = ["recording.yml", "alerts.yml"].map(|name| rules.join(name));
    output(Command::new("promtool").args(["check", "rules"]).args(files));
    output(Command::new("promtool").args(["test", "rules"]).arg(root().join("grafana/prometheus/tests/rules.yml")));
    output(Command::new("promtool").args(["check", "config"]).arg(root().join("grafana/prometheus/prometheus.yml")));
}

#[test]
fn every_alert_has_its_entry_in_the_runbook() {
    let rules = std::fs::read_to_string(root().join("grafana/prometheus/rules/alerts.yml")).unwrap();
    let runbook = std::fs::read_to_string(root().join("docs/runbook.md")).unwrap();
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 30);
    for alert in alerts {
        assert!(runbook.contains(&format!("\n## {alert}\n")), "{alert}");
        assert!(rules.contains(&format!("runbook.md#{}'", alert.to_lowercase())), "{alert}");
    }
}

#[test]
fn promtool_finds_nothing_in_a_page_that_is_ours_to_mend() {
    if !installed("promtool") {
        return;
    }
    let port = free_port();
    let server = Server::start(&["--metrics-port", &port.to_string(), "--appendonly", "yes"]);
    let mut conn = server.connect();
    ["SET a 1 EX 100", "GET a", "LPUSH a x", "NOSUCH"].iter().for_each(|line| drop(conn.run(line)));
    let mut check = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    check.stdin.take().unwrap().write_all(fetch(port, "/metrics").unwrap().as_bytes()).unwrap();
    let out = check.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    // The exporter's names are what they are.
    let ours: Vec<&str> = said.lines().filter(|line| !line.starts_with("redis_")).collect();
    assert!(ours.is_empty() && out.stdout.is_empty(), "{said}");
}

/// A query as Grafana sends it.
fn filled(expr: &str) -> String {
    let mut text = expr.to_owned();
    for (name, value) in [
        ("$job", "dunlin"),
        ("$cluster", ".*"),
        ("$instance", ".*"),
        ("$__rate_interval", "10s"),
        ("$__range", "60s"),
        ("$__interval", "2s"),
    ] {
        text = text.replace(name, value);
    }
    assert!(!text.contains('$'), "{text}");
    text
}

/// What dashboards 763 and 11835 of grafana.com, made for redis_exporter, ask.
const PUBLISHED: &[&str] = &[
    "max(max_over_time(redis_uptime_in_seconds{instance=~\".*\"}[60s]))",
    "sum(redis_connected_clients{instance=~\".*\"})",
    "100 * (redis_memory_used_bytes{instance=~\".*\"} / redis_memory_max_bytes{instance=~\".*\"})",
    "sum(rate(redis_commands_processed_total{instance=~\".*\"}[1m])) by (instance)",
    "irate(redis_keyspace_hits_total{instance=~\".*\"}[5m])",
    "irate(redis_keyspace_misses_total{instance=~\".*\"}[5m])",
    "redis_memory_used_bytes{instance=~\".*\"}",
    "redis_memory_max_bytes{instance=~\".*\"}",
    "sum(rate(redis_net_input_bytes_total{instance=~\".*\"}[5m]))",
    "sum(rate(redis_net_output_bytes_total{instance=~\".*\"}[5m]))",
    "sum(redis_db_keys{instance=~\".*\"}) by (db, instance)",
    "sum(redis_db_keys{instance=~\".*\"}) by (instance) - sum(redis_db_keys_expiring{instance=~\".*\"}) by (instance)",
    "sum(redis_db_keys_expiring{instance=~\".*\"}) by (instance)",
    "sum(rate(redis_expired_keys_total{instance=~\".*\"}[5m])) by (instance)",
    "sum(rate(redis_evicted_keys_total{instance=~\".*\"}[5m])) by (instance)",
    "topk(5, irate(redis_commands_total{instance=~\".*\"}[1m]))",
    "sum(irate(redis_commands_duration_seconds_total{instance=~\".*\"}[1m])) by (cmd) / sum(irate(redis_commands_total{instance=~\".*\"}[1m])) by (cmd)",
    "redis_blocked_clients{instance=~\".*\"}",
    "redis_connected_slaves{instance=~\".*\"}",
    "redis_cluster_state{instance=~\".*\"}",
    "redis_instance_info{instance=~\".*\"}",
    "redis_master_link_up{instance=~\".*\"}",
    "redis_mem_fragmentation_ratio{instance=~\".*\"}",
    "rate(redis_rejected_connections_total{instance=~\".*\"}[5m])",
];

#[test]
fn every_query_of_every_panel_and_rule_has_data_through_a_failover_and_a_reshard() {
    if !installed("prometheus") {
        return;
    }
    let mut cluster = Cluster::start();
    let targets: Vec<u16> = cluster.nodes.iter().map(|node| node.metrics).collect();
    let prometheus = Prometheus::start(&targets);
    let began = clock::now_ms() / 1000;
    let ports: Vec<u16> = cluster.nodes.iter().map(|node| node.port).collect();
    let loads: Vec<Load> = (0..2).map(|seed| Load::start(ports.clone(), seed * 1_000_003)).collect();
    prometheus.until("sum(up)", |up| up == 6.0);
    prometheus.until("sum(rate(redis_commands_processed_total[10s]))", |rate| rate > 100.0);

    // A primary dies; its replica takes over, and it comes back as one.
    let old = cluster.nodes[0].server.take().unwrap();
    old.signal("KILL");
    old.wait();
    prometheus.until("sum(dunlin_cluster_failovers_total{result='done'})", |done| done == 1.0);
    prometheus.until("sum(up)", |up| up == 5.0);
    cluster.nodes[0].start();
    cluster.settle();
    prometheus.until("count(redis_instance_info{role='slave'})", |replicas| replicas == 3.0);
    let after: u64 = loads.iter().map(|load| load.done.load(std::sync::atomic::Ordering::Relaxed)).sum();

    // Slots move from the second primary to the third.
    let known = matches!(cluster.nodes[1].connect().run("COMMAND INFO MIGRATE").items()[0], support::Value::Array(_));
    let mut conn = cluster.nodes[1].connect();
    let slots = (5461..).filter(|slot| known || conn.run(&format!("CLUSTER COUNTKEYSINSLOT {slot}")).int() == 0);
    for slot in slots.take(20) {
        cluster.move_slot(slot, 1, 2);
    }
    cluster.settle();
    prometheus.until("min(redis_cluster_current_epoch) == max(redis_cluster_current_epoch)", |epoch| epoch > 0.0);
    prometheus.until("max(dunlin_cluster_node_slots)", |slots| slots == 5481.0);
    // The hottest slots are known after some seconds.
    prometheus.until("count(count_over_time(dunlin_hot_slot_operations[10s]) > 3)", |slots| slots > 0.0);
    let now: u64 = loads.iter().map(|load| load.done.load(std::sync::atomic::Ordering::Relaxed)).sum();
    assert!(now > after, "the clients stand still after the failover");
    prometheus.until("count(dunlin_replica_lag_seconds)", |replicas| replicas == 3.0);

    let queries: serde_json::Value = serde_json::from_str(&output(build().arg("--queries"))).unwrap();
    let mut wrong = Vec::new();
    let mut asked = 0;
    for query in queries.as_array().unwrap() {
        let (place, expr) = (query["where"].as_str().unwrap(), query["expr"].as_str().unwrap());
        let to = clock::now_ms() / 1000;
        let result = match expr.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')) {
            Some(inner) => {
                let (series, label) = inner.rsplit_once(", ").unwrap();
                let path = format!("/api/v1/series?match[]={}&start={began}&end={to}", encoded(&filled(series)));
                prometheus.api(&path).map(|found| {
                    let found = found.as_array().cloned().unwrap_or_default();
                    found.into_iter().filter(|series| series[label].is_string()).collect::<Vec<_>>()
                })
            }
            None => prometheus.range(&filled(expr), began, to),
        };
        asked += 1;
        match result {
            Err(error) => wrong.push(format!("{place}: {expr}: {error}")),
            Ok(series) if series.is_empty() && query["may_be_empty"] != true => {
                wrong.push(format!("{place}: {expr}: nothing"));
            }
            Ok(_) => {}
        }
    }
    for expr in PUBLISHED {
        match prometheus.query(expr) {
            Err(error) => wrong.push(format!("published: {expr}: {error}")),
            Ok(series) if series.is_empty() => wrong.push(format!("published: {expr}: nothing")),
            Ok(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{} of {asked} queries:\n{}", wrong.len(), wrong.join("\n"));
    assert!(asked > 150, "{asked}");
    let rules = prometheus.api("/api/v1/rules").unwrap();
    for group in rules["groups"].as_array().unwrap() {
        for rule in group["rules"].as_array().unwrap() {
            assert_eq!(rule["health"], "ok", "{rule}");
        }
    }
    // Who was dead for a while, and a failover: that is what the alerts say, and nothing that never was.
    let fired = prometheus.range("max by (alertname) (ALERTS{alertstate='firing'})", began, clock::now_ms() / 1000);
    let fired: BTreeSet<String> =
        fired.unwrap().iter().map(|series| series["metric"]["alertname"].as_str().unwrap().to_owned()).collect();
    assert!(fired.contains("DunlinFailover"), "{fired:?}");
    for alert in ["DunlinMemoryNearLimit", "DunlinSnapshotFailed", "DunlinAofFailing", "DunlinConnectionsRefused"] {
        assert!(!fired.contains(alert), "{fired:?}");
    }
    if let Some(dir) = std::env::var_os("DUNLIN_PREVIEW") {
        // Some more seconds make a better picture.
        while clock::now_ms() / 1000 < began + 75 {
            clock::pause_us(100_000);
        }
        let url = format!("http://127.0.0.1:{}", prometheus.port);
        output(Command::new("python3").arg(root().join("tools/preview.py")).arg(&url).arg(dir));
    }
}

struct Exporter {
    child: Child,
    port: u16,
}

impl Exporter {
    fn start(of: u16) -> Exporter {
        let port = free_port();
        let child = Command::new("prometheus-redis-exporter")
            .arg(format!("-redis.addr=redis://127.0.0.1:{of}"))
            .arg(format!("-web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Exporter { child, port }
    }

    fn page(&self) -> BTreeMap<String, Metric> {
        let start = clock::mono_ns();
        loop {
            match fetch(self.port, "/metrics") {
                Ok(text) => return exposition::parse(&text),
                Err(error) => assert!(clock::mono_ns() - start < 20_000_000_000, "{error}"),
            }
            clock::pause_us(20_000);
        }
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where two pages differ in names, types or labels, as docs/monitoring.md lists it.
fn differences(theirs: &BTreeMap<String, Metric>, ours: &BTreeMap<String, Metric>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    // What its own process is like is not about the node.
    let of_exporter =
        |name: &str| name.starts_with("go_") || name.starts_with("process_") || name.starts_with("promhttp_");
    for (name, their) in theirs.iter().filter(|(name, _)| !of_exporter(name)) {
        match ours.get(name) {
            None => drop(found.insert(format!("{name}: only the exporter"))),
            Some(our) if our.kind != their.kind => {
                found.insert(format!("{name}: {} there, {} here", their.kind, our.kind));
            }
            Some(our) if our.labels != their.labels => {
                found.insert(format!("{name}: labels {:?} there, {:?} here", their.labels, our.labels));
            }
            Some(_) => {}
        }
    }
    for name in ours.keys().filter(|name| name.starts_with("redis_") && !theirs.contains_key(*name)) {
        found.insert(format!("{name}: only here"));
    }
    found
}

/// Metrics whose values stand still between two scrapes of a node that nobody else uses.
const STEADY: &[&str] = &[
    "redis_db_keys",
    "redis_db_keys_expiring",
    "redis_memory_max_bytes",
    "redis_config_maxclients",
    "redis_config_maxmemory",
    "redis_connected_slaves",
    "redis_evicted_keys_total",
    "redis_expired_keys_total",
    "redis_keyspace_hits_total",
    "redis_keyspace_misses_total",
    "redis_rdb_changes_since_last_save",
    "redis_replication_backlog_bytes",
    "redis_aof_enabled",
    "redis_cluster_enabled",
    "redis_pubsub_channels",
    "redis_blocked_clients",
    "redis_slowlog_length",
    "redis_instance_info",
    "redis_up",
];

fn same_values(theirs: &BTreeMap<String, Metric>, ours: &BTreeMap<String, Metric>) {
    for name in STEADY {
        // The order of labels in a line means nothing.
        let sorted = |metric: &Metric| -> BTreeMap<String, f64> {
            let sort = |series: &String| {
                let mut parts: Vec<&str> = series.trim_end_matches('}').split(['{', ',']).collect();
                parts.sort_unstable();
                parts.join(",")
            };
            metric.samples.iter().map(|(series, value)| (sort(series), *value)).collect()
        };
        assert_eq!(sorted(&theirs[*name]), sorted(&ours[*name]), "{name}");
    }
    let calls =
        |page: &BTreeMap<String, Metric>| page["redis_commands_total"].samples["redis_commands_total{cmd=\"set\"}"];
    assert_eq!((calls(theirs), calls(ours)), (100.0, 100.0));
    for (name, within) in [("redis_memory_used_bytes", 0.1), ("redis_uptime_in_seconds", 5.0)] {
        let (their, our) = (theirs[name].samples[name], ours[name].samples[name]);
        assert!((their - our).abs() <= (their * within).max(within), "{name}: {their} {our}");
    }
}

#[test]
fn the_exporter_sees_what_a_node_tells_itself() {
    if !installed("prometheus-redis-exporter") {
        return;
    }
    let (primary_port, replica_port, node_port) = (free_port(), free_port(), free_port());
    let primary = Server::start(&[
        "--metrics-port",
        &primary_port.to_string(),
        "--maxmemory",
        "1gb",
        "--repl-diskless-sync-delay",
        "0",
    ]);
    let mut conn = primary.connect();
    (0..100).for_each(|n| drop(conn.run(&format!("SET key{n} {n}"))));
    ["GET key1", "GET nothing", "LPUSH key1 x", "EXPIRE key2 1000"].iter().for_each(|line| drop(conn.run(line)));
    let replica = Server::start(&[
        "--metrics-port",
        &replica_port.to_string(),
        "--appendonly",
        "yes",
        "--replicaof",
        &format!("127.0.0.1 {}", primary.port),
    ]);
    replica.connect().until("a link", |conn| conn.run("INFO replication").text().contains("master_link_status:up"));
    conn.until("a replica", |conn| conn.run("INFO replication").text().contains("state=online"));
    let dir = support::TempDir::new();
    let node = Server::start(&[
        "--metrics-port",
        &node_port.to_string(),
        "--cluster-enabled",
        "yes",
        "--dir",
        dir.0.to_str().unwrap(),
    ]);
    let mut of_node = node.connect();
    of_node.run("CONFIG SET slowlog-log-slower-than 0");
    of_node.run("CLUSTER ADDSLOTSRANGE 0 16383");
    of_node.until("a cluster", |conn| conn.run("CLUSTER INFO").text().contains("cluster_state:ok"));

    let text = std::fs::read_to_string(root().join("docs/monitoring.md")).unwrap();
    let mut found = BTreeSet::new();
    for (server, port) in [(&primary, primary_port), (&replica, replica_port), (&node, node_port)] {
        let exporter = Exporter::start(server.port);
        // The first scrape's own commands are in the second.
        exporter.page();
        let theirs = exporter.page();
        let ours = exposition::parse(&fetch(port, "/metrics").unwrap());
        found.extend(differences(&theirs, &ours));
        for name in ours.keys().filter(|name| name.starts_with("dunlin_")) {
            assert!(text.contains(&format!("`{name}`")), "docs/monitoring.md does not name {name}");
        }
        if server.port == primary.port {
            same_values(&theirs, &ours);
        }
    }
    // Lines of the table: | `difference` | reason |
    let listed: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `redis_"))
        .filter_map(|line| line.split_once("` | "))
        .map(|(difference, _)| format!("redis_{difference}"))
        .collect();
    let missing: Vec<_> = found.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&found).collect();
    assert!(missing.is_empty() && gone.is_empty(), "not listed: {missing:#?}\nlisted, and not found: {gone:#?}");
}
