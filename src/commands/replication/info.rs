//! INFO replication.

use std::sync::atomic::Ordering::Relaxed;

use crate::clients::Stage;
use crate::commands::Server;
use crate::commands::text::Text;
use crate::repl::{LinkState, Peer};

/// The address and port under which a replica can be reached, as far as it told.
pub fn address(peer: &Peer) -> (String, u16) {
    let hello = peer.replica.hello.lock();
    let address = if hello.address.is_empty() {
        let addr = &peer.client.addr;
        let host = addr.rsplit_once(':').map_or(addr.as_str(), |(host, _)| host);
        host.trim_matches(['[', ']']).to_owned()
    } else {
        hello.address.clone()
    };
    (address, hello.port)
}

/// Writes the section.
pub fn write(server: &'static Server, text: &mut Text) {
    let (repl, config, now) = (&server.repl, server.config, crate::base::clock::now_ms());
    let seconds_since = |at: i64| (now - at).max(0) / 1000;
    let end = repl.log.end();
    text.section("Replication");
    let primary = repl.link.primary();
    text.field("role", if primary.is_some() { "slave" } else { "master" });
    if let Some(primary) = primary {
        let (link, state) = (&repl.link, repl.link.state());
        let up = state == LinkState::Connected;
        text.field("master_host", primary.host);
        text.field("master_port", primary.port);
        text.field("master_link_status", if up { "up" } else { "down" });
        let last = if up { seconds_since(link.last_io.load(Relaxed)) } else { -1 };
        text.field("master_last_io_seconds_ago", last);
        text.field("master_sync_in_progress", u8::from(state == LinkState::Sync));
        text.field("slave_read_repl_offset", end + link.ahead.load(Relaxed));
        text.field("slave_repl_offset", end);
        text.field("replicas_repl_buffer_size", link.buffered.load(Relaxed));
        text.field("replicas_repl_buffer_peak", link.buffered_peak.load(Relaxed));
        if state == LinkState::Sync {
            let (total, read) = (link.bulk_total.load(Relaxed), link.bulk_read.load(Relaxed));
            text.field("master_sync_total_bytes", total);
            text.field("master_sync_read_bytes", read);
            text.field("master_sync_left_bytes", total - read);
            text.ratio("master_sync_perc", if total > 0 { read as f64 / total as f64 * 100.0 } else { 0.0 });
            text.field("master_sync_last_io_seconds_ago", seconds_since(link.bulk_at.load(Relaxed)));
        }
        if !up {
            let since = link.down_since.load(Relaxed);
            text.field("master_link_down_since_seconds", if since > 0 { seconds_since(since) } else { -1 });
        }
        text.field("slave_priority", config.replica_priority());
        text.field("slave_read_only", u8::from(config.replica_read_only()));
        text.field("replica_announced", u8::from(config.replica_announced()));
    }
    let peers = repl.peers();
    text.field("connected_slaves", peers.len());
    if config.min_replicas_to_write() > 0 && config.min_replicas_max_lag() > 0 {
        text.field("min_slaves_good_slaves", repl.good(config.min_replicas_max_lag(), now));
    }
    for (i, peer) in peers.iter().enumerate() {
        let (address, port) = address(peer);
        let r = &peer.replica;
        let lag = if r.stage() == Stage::Online { seconds_since(r.acked_at.load(Relaxed)) } else { 0 };
        let (state, offset) = (r.stage().name(), r.acked.load(Relaxed));
        let kind = match r.stage() {
            _ if r.hello.lock().rdb_channel => "rdb-channel",
            Stage::Background => "main-channel",
            _ => "replica",
        };
        text.field(
            &format!("slave{i}"),
            format_args!("ip={address},port={port},state={state},offset={offset},lag={lag},type={kind}"),
        );
    }
    text.field("replicas_waiting_psync", repl.expected());
    let failover = match &*repl.failover.lock() {
        None => "no-failover",
        Some(plan) if plan.handing_over => "failover-in-progress",
        Some(_) => "waiting-for-sync",
    };
    text.field("master_failover_state", failover);
    let ids = repl.ids();
    text.field("master_replid", ids.current);
    text.field("master_replid2", ids.previous);
    text.field("master_repl_offset", end);
    text.field("second_repl_offset", ids.previous_end);
    let kept = repl.log.kept();
    text.field("repl_backlog_active", u8::from(kept.is_some()));
    text.field("repl_backlog_size", config.repl_backlog_size());
    text.field("repl_backlog_first_byte_offset", kept.map_or(0, |k| k.start + 1));
    text.field("repl_backlog_histlen", kept.map_or(0, |k| k.len));
}
