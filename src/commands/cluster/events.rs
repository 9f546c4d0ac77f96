//! What the cluster's state machine decides, carried out: roles, lost slots, pauses, messages.
//!
//! The bus thread does it after everything that it hears, and a CLUSTER command after itself, so that its reply finds it
//! done. What takes long goes to a thread of its own: nobody's heartbeat waits for it.

use std::sync::atomic::Ordering::*;

use super::transfer::import;
use super::{endpoint, keys};
use crate::base::{clock, slot};
use crate::clients::{Client, PauseKind, PauseReason};
use crate::cluster::core::{Event, Level};
use crate::cluster::{SlotSet, State};
use crate::commands::Server;
use crate::commands::connection::kill;
use crate::commands::replication::role;
use crate::keyspace::{Db, Effects, Located};
use crate::repl::Primary;

/// Carries out what waits to be. No slots are held.
pub fn carry_out(server: &'static Server) {
    server.cluster.carry_out(|event| carry(server, event));
}

fn carry(server: &'static Server, event: Event) {
    match event {
        Event::ViewChanged => publish_view(server),
        Event::Log(Level::Verbose, text) => tracing::debug!("{text}"),
        Event::Log(Level::Notice, text) => tracing::info!("{text}"),
        Event::Log(Level::Warning, text) => tracing::warn!("{text}"),
        Event::State(state, reason) => {
            tracing::info!("Cluster state changed: {}", state.name());
            tracing::debug!("Cluster state: {}", reason.text());
            if state == State::Fail {
                // What they wait for nobody can write.
                publish_view(server);
                send_away(server, None, |_, _| Some(b"-CLUSTERDOWN The cluster is down\r\n".to_vec()));
            }
        }
        Event::BecomePrimary => {
            let mut held = server.keyspace.held();
            held.lock_all();
            if server.repl.link.is_replica() {
                role::become_primary(server);
            }
            held.unlock();
            import::give_up_of_primary(server);
        }
        Event::Follow { ip, port, full_sync, .. } => {
            // First the view, then the role: clients in between are redirected. The other way about they would hear
            // READONLY, which no cluster client expects.
            publish_view(server);
            follow(server, Primary { host: ip, port }, full_sync);
        }
        Event::FlushAll => flush(server),
        Event::SlotsLost(slots) => {
            // Whoever removes their keys looks whether they are still lost.
            publish_view(server);
            server.cluster.slot_stats.reset(slots.iter());
            lose(server, slots);
        }
        Event::ChannelsLost(slots) => {
            // Whoever comes from now on is redirected at once, and whoever waits is below.
            publish_view(server);
            server.cluster.slot_stats.reset(slots.iter());
            server.pubsub.end_shard(|channel| slots.contains(slot::key_slot(channel)));
            redirect_blocked(server, &slots);
        }
        Event::PauseWrites { until } => {
            // The core's clock and the wall clock have their own zero.
            let now = clock::now_ms();
            let until = now + (until - clock::steady_ms());
            server.pause.start(PauseReason::Failover, PauseKind::Write, now, until);
            // Writes that were under way are through once all slots were held.
            let mut held = server.keyspace.held();
            held.lock_all();
            let end = server.repl.log.end();
            held.unlock();
            if let Some(mut core) = server.cluster.core() {
                core.handle_paused(clock::steady_ms(), end);
            }
        }
        Event::ResumeWrites => {
            server.pause.end(PauseReason::Failover);
            server.registry.nudge_all();
        }
        Event::Published { channel, message, shard } => {
            if shard {
                crate::commands::pubsub::spublish(server, &channel, &message);
            } else {
                server.pubsub.publish(&channel, &message);
            }
        }
    }
}

/// Lets commands see the newest view.
pub fn publish_view(server: &Server) {
    let view = server.cluster.core().map(|mut core| core.view());
    if let Some(view) = view {
        server.cluster.publish(view);
    }
}

fn follow(server: &'static Server, primary: Primary, full_sync: bool) {
    let mut held = server.keyspace.held();
    held.lock_all();
    let present = server.repl.link.primary();
    let same = present.as_ref().is_some_and(|p| p.host == primary.host && p.port == primary.port);
    if !same {
        import::forget_of_primary(server);
        role::become_replica(server, primary);
        if full_sync {
            server.repl.link.blank.store(true, Release);
        }
    }
    held.unlock();
}

/// Removes all data. Whoever follows, and the append-only file, hears of it.
fn flush(server: &'static Server) {
    let counters = server.metrics.spare();
    let (mut held, mut fx) = (server.keyspace.held(), Effects::default());
    held.lock_all();
    fx.logging = server.keyspace.hooks.logging();
    let now = clock::now_ms();
    let mut db = Db::new(server.keyspace, &mut held, 0, now, &mut fx, counters.stats, server.tuning(), Located::NONE);
    for index in 0..server.keyspace.databases() {
        db.other(index).flush(true);
    }
    db.effect(&[b"FLUSHALL"]);
    fx.log.close_group();
    if !fx.log.is_empty() {
        server.keyspace.hooks.append(&mut fx.log);
    }
    held.unlock();
    server.keyspace.hooks.wake();
}

/// Removes what is here of slots that are not this shard's, on a thread.
pub fn lose(server: &'static Server, slots: SlotSet) {
    lose_and_then(server, slots, || ());
}

/// As [`lose`], and then something more on that thread.
pub fn lose_and_then(server: &'static Server, slots: SlotSet, then: impl FnOnce() + Send + 'static) {
    let work = move || {
        let removed = keys::remove(server, &slots);
        if removed > 0 {
            tracing::info!("Removed {removed} keys of slots that belong to another node now.");
        }
        then();
    };
    if let Err(e) = std::thread::Builder::new().name("slots-lost".into()).spawn(work) {
        tracing::error!("Can't start a thread to remove the keys of lost slots: {e}");
    }
}

/// Clients that wait for keys of these slots are sent to the new owner.
fn redirect_blocked(server: &'static Server, slots: &SlotSet) {
    let Some(view) = server.cluster.view() else { return };
    send_away(server, Some(slots), |client, slot| {
        if view.is_mine(slot) {
            return None;
        }
        let text = match view.owner(slot) {
            Some(owner) => {
                let ipv6 = client.laddr.matches(':').count() > 1;
                let host = endpoint(server, owner, ipv6);
                format!("-MOVED {slot} {host}:{}\r\n", owner.client_port(false))
            }
            None => "-CLUSTERDOWN Hash slot not served\r\n".to_owned(),
        };
        Some(text.into_bytes())
    });
}

/// Ends waits for keys of these slots, or of any, with the error that is given for a client and a slot.
fn send_away(server: &'static Server, slots: Option<&SlotSet>, error: impl Fn(&Client, u16) -> Option<Vec<u8>>) {
    // Whoever went by an older view waits already, where others can see it, once its slot was held.
    let mut held = server.keyspace.held();
    match slots {
        Some(slots) => held.lock(&mut slots.iter().collect::<Vec<_>>()),
        None => held.lock_all(),
    };
    held.unlock();
    let counters = server.metrics.spare();
    for client in server.registry.all() {
        let waiter = client.blocked.lock().clone();
        let Some(waiter) = waiter else { continue };
        let Some(slot) = waiter.keys.first().map(|key| slot::key_slot(key)) else { continue };
        if slots.is_some_and(|slots| !slots.contains(slot)) {
            continue;
        }
        if let Some(text) = error(&client, slot).filter(|_| waiter.claim()) {
            let code = text[1..].split(|&c| c == b' ').next();
            kill::count_unserved(server, counters.stats, &waiter, code);
            waiter.to.deliver(text);
        }
    }
}
