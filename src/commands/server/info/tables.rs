//! The sections of INFO with a line for each command, error or database.

use super::super::databases::hidden_keys;
use super::{Text, safe};
use crate::commands::{Ctx, Server};

pub(super) fn commands(server: &'static Server, text: &mut Text) {
    text.section("Commandstats");
    for entry in server.lookup.all() {
        let sums = server.metrics.command(entry.id);
        if sums.calls == 0 && sums.rejected == 0 && sums.failed == 0 {
            continue;
        }
        let usec = sums.ns / 1000;
        let each = if sums.calls == 0 { 0.0 } else { sums.ns as f64 / 1000.0 / sums.calls as f64 };
        text.field(
            &format!("cmdstat_{}", entry.command.meta.name),
            format_args!(
                "calls={},usec={usec},usec_per_call={each:.2},rejected_calls={},failed_calls={}",
                sums.calls, sums.rejected, sums.failed
            ),
        );
    }
}

pub(super) fn errors(server: &'static Server, text: &mut Text) {
    text.section("Errorstats");
    for (code, count) in server.metrics.errors() {
        text.field(&format!("errorstat_{}", safe(&code)), format_args!("count={count}"));
    }
}

pub(super) fn latencies(server: &'static Server, text: &mut Text) {
    text.section("Latencystats");
    if !server.config.latency_tracking() {
        return;
    }
    let percentiles = server.config.latency_percentiles();
    for entry in server.lookup.all() {
        let Some(times) = server.metrics.latency(entry.id) else { continue };
        let shown: Vec<String> = percentiles
            .iter()
            .map(|&percentile| {
                let name = format!("{percentile:.6}");
                let name = name.trim_end_matches('0').trim_end_matches('.');
                format!("p{name}={:.3}", times.percentile(percentile) as f64 / 1000.0)
            })
            .collect();
        text.field(&format!("latency_percentiles_usec_{}", entry.command.meta.name), shown.join(","));
    }
}

/// Databases and their keys, as DBSIZE counts them. How many of those on their way in or out expire is not known.
pub(super) fn keyspace(cx: &mut Ctx<'_>, text: &mut Text) {
    text.section("Keyspace");
    let (server, view) = (cx.server, cx.server.cluster.view());
    let used: Vec<usize> = (0..server.keyspace.databases()).filter(|&db| server.metrics.keys(db) > 0).collect();
    for (&db, hidden) in used.iter().zip(hidden_keys(&mut cx.db, &view, &used)) {
        let keys = server.metrics.keys(db).saturating_sub(hidden);
        let expires = server.metrics.expires(db).min(keys);
        if keys > 0 {
            text.field(
                &format!("db{db}"),
                format_args!("keys={keys},expires={expires},avg_ttl={}", server.metrics.average_ttl(db)),
            );
        }
    }
}
