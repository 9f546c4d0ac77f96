//! What a node knows of its cluster, and which of its slots are hot.

use std::sync::atomic::Ordering::Relaxed;

use crate::base::clock;
use crate::cluster::view::Stats;
use crate::cluster::{Flags, View};
use crate::commands::Server;
use crate::keyspace::Keyspace;
use crate::metrics::page::{Kind, Page};

/// How many of the hottest slots are shown.
const HOTTEST: usize = 10;
/// For so long the hottest slots stay the same, ms: rates of a shorter time say little.
const PERIOD: u64 = 5_000;

/// The hottest slots, looked for every few seconds at most.
#[derive(Default)]
pub struct HotSlots {
    at: u64,
    uses: Vec<u64>,
    /// Slots with their uses a second, hottest first.
    hottest: Vec<(String, f64)>,
}

impl HotSlots {
    /// Writes them; a slot that was not used is not shown.
    pub fn write(&mut self, keyspace: &Keyspace, page: &mut Page) {
        self.look(keyspace, clock::mono_ns() / 1_000_000);
        page.metric(
            "dunlin_hot_slot_operations",
            Kind::Gauge,
            "Uses of keys a second in the hottest slots of this node, over some seconds.",
        );
        for (slot, rate) in &self.hottest {
            page.sample(&[("slot", slot)], *rate);
        }
    }

    fn look(&mut self, keyspace: &Keyspace, now: u64) {
        if !self.uses.is_empty() && now - self.at < PERIOD {
            return;
        }
        let uses: Vec<u64> = keyspace.slot_uses().collect();
        if !self.uses.is_empty() {
            let seconds = (now - self.at) as f64 / 1000.0;
            let mut grown: Vec<(u64, usize)> =
                uses.iter().zip(&self.uses).map(|(now, then)| now.wrapping_sub(*then)).zip(0..).collect();
            let hottest = grown.len() - HOTTEST;
            grown.select_nth_unstable(hottest);
            let mut hottest = grown.split_off(hottest);
            hottest.sort_unstable_by(|a, b| b.cmp(a));
            let used = hottest.into_iter().filter(|(uses, _)| *uses > 0);
            self.hottest = used.map(|(uses, slot)| (slot.to_string(), uses as f64 / seconds)).collect();
        }
        (self.at, self.uses) = (now, uses);
    }
}

/// Writes them.
pub fn write(server: &Server, view: &View, page: &mut Page) {
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
        page.sample(&[("node", id), ("addr", addr)], node.slots.len() as f64);
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
    page.metric("dunlin_cluster_ping_seconds", Kind::Gauge, "How long a node's last answer to a ping took (to 1 ms).");
    for (node, id, addr) in peers() {
        if let Some(ms) = node.ping_time {
            page.sample(&[("node", id), ("addr", addr)], ms as f64 / 1000.0);
        }
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
    page.metric("dunlin_cluster_packets_total", Kind::Counter, "Packets of the bus by type and way.");
    for (way, counts) in [("sent", &view.stats.sent), ("received", &view.stats.received)] {
        for (kind, count) in Stats::NAMES.iter().zip(counts).filter(|(_, count)| **count > 0) {
            page.sample(&[("type", kind), ("way", way)], *count as f64);
        }
    }
    page.counter(
        "dunlin_cluster_packets_dropped_total",
        "Packets of the bus that were dropped: malformed, of another version, or of a stranger.",
        view.stats.dropped as f64,
    );
    page.counter(
        "dunlin_cluster_links_over_limit_total",
        "Links that were closed because too much waited to be sent over them.",
        view.stats.links_over_limit as f64,
    );
    write_moves(server, page);
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

/// What left for other nodes, and came from them.
fn write_moves(server: &Server, page: &mut Page) {
    let slots = server.cluster.transfers.totals();
    let keys = &server.targets;
    let of_keys = (keys.keys.load(Relaxed), keys.bytes.load(Relaxed));
    page.metric(
        "dunlin_migrated_keys_total",
        Kind::Counter,
        "Keys sent to other nodes: with their slots by CLUSTER MIGRATESLOTS, or by MIGRATE.",
    );
    page.sample(&[("way", "slots")], slots.keys as f64);
    page.sample(&[("way", "migrate")], of_keys.0 as f64);
    page.metric("dunlin_migrated_bytes_total", Kind::Counter, "Bytes sent to other nodes for that.");
    page.sample(&[("way", "slots")], slots.bytes as f64);
    page.sample(&[("way", "migrate")], of_keys.1 as f64);
    page.counter(
        "dunlin_slot_migration_paused_seconds_total",
        "For how long writes to slots were held back at their hand-over.",
        slots.paused_us as f64 / 1e6,
    );
    page.metric("dunlin_slot_migrations_active", Kind::Gauge, "CLUSTER MIGRATESLOTS under way.");
    for (side, [active, ..]) in ["export", "import"].iter().zip(slots.moves) {
        page.sample(&[("side", side)], active as f64);
    }
    page.metric("dunlin_slot_migrations_total", Kind::Counter, "CLUSTER MIGRATESLOTS by how they ended.");
    for (side, [_, success, failed, cancelled]) in ["export", "import"].iter().zip(slots.moves) {
        for (result, count) in [("success", success), ("failed", failed), ("cancelled", cancelled)] {
            page.sample(&[("side", side), ("result", result)], count as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slots_that_are_used_most_are_shown_with_their_rates() {
        let keyspace = Keyspace::new(1);
        let mut held = keyspace.held();
        let mut uses = |slot: u16, times: usize| {
            held.lock(&mut [slot]);
            held.note_use(&vec![slot; times]);
            held.unlock();
        };
        uses(9, 1000);
        let mut hot = HotSlots::default();
        hot.look(keyspace, 1_000);
        // What was before the first look has no rate yet.
        assert!(hot.hottest.is_empty());
        (0..20).for_each(|slot| uses(slot, usize::from(slot) * 10));
        hot.look(keyspace, 1_000 + PERIOD - 1);
        assert!(hot.hottest.is_empty());
        hot.look(keyspace, 11_000);
        assert_eq!(hot.hottest.len(), HOTTEST);
        assert_eq!(hot.hottest[0], ("19".to_owned(), 19.0));
        assert_eq!(hot.hottest[9], ("10".to_owned(), 10.0));
        hot.look(keyspace, 21_000);
        assert!(hot.hottest.is_empty());
    }
}
