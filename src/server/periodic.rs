//! What the main thread does from time to time: rates, idle connections, the end of pauses.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::evict;
use crate::base::clock;
use crate::clients::flags;
use crate::commands::Server;
use crate::commands::persistence::{aof, save};
use crate::commands::server::shutdown;

/// Rates are sampled this often.
const TICK: Duration = Duration::from_millis(100);

/// Runs until the process ends.
pub async fn run(server: &'static Server) {
    let mut tick = 0u64;
    loop {
        tokio::time::sleep(TICK).await;
        if server.switches.pause_cron.load(Relaxed) {
            continue;
        }
        tick += 1;
        let now = clock::now_ms();
        let m = &server.metrics;
        server.rates.sample(
            now,
            [
                m.sum(|t| &t.commands_processed),
                m.sum(|t| &t.net_in),
                m.sum(|t| &t.net_out),
                m.sum(|t| &t.reads_processed),
            ],
        );
        if server.pause.lapse(now) {
            server.registry.nudge_all();
        }
        evict::evict(server);
        server.tracking.limit(&server.registry, server.config.tracking_table_max_keys());
        save::cron(server, now);
        aof::cron(server, now);
        shutdown::cron(server, now);
        if tick.is_multiple_of(10) {
            close_idle(server, now);
            server.targets.close_idle(now);
        }
    }
}

/// `timeout`: connections that said nothing for so long are closed; those that wait for something are not.
fn close_idle(server: &'static Server, now: i64) {
    let limit = server.config.timeout() as i64 * 1000;
    if limit == 0 {
        return;
    }
    for client in server.registry.all() {
        let waits = flags::BLOCKED | flags::PUBSUB | flags::MONITOR | flags::REPLICA | flags::PRIMARY;
        if !client.has(waits) && now - client.active.load(Relaxed) > limit {
            tracing::debug!("Closing idle client");
            client.mailbox.close();
        }
    }
}
