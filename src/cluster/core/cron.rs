//! What is done ten times a second: keep links open, ping who was not heard from, suspect who does not answer, move
//! failovers forward.

use super::migration::ReplicaCensus;
use super::node::ME;
use super::{Core, Flags, Level, State};
use crate::cluster::wire::Kind;

/// Milliseconds between ticks.
pub(super) const TICK: i64 = 100;
/// A handshake that did not succeed in one node timeout, at least so long, is given up.
const MIN_HANDSHAKE: i64 = 1_000;
/// A MEET is sent so often while a handshake may go on.
const MEETS: i64 = 3;
/// Once a second somebody is pinged by chance: of so many, the one not heard from for the longest.
const SAMPLE: usize = 5;

impl Core {
    pub(super) fn tick(&mut self) {
        // Ticks that were missed are not made up for.
        self.next_tick = self.now + TICK;
        self.ticks += 1;
        self.expire_blacklist();
        self.keep_links();
        if self.ticks.is_multiple_of(10) {
            self.ping_somebody();
        }
        let census = self.look_at_nodes();
        self.follow_if_due();
        self.check_manual_timeout();
        if self.nodes[ME].is_replica() {
            self.advance_manual_failover();
            self.advance_failover();
            self.migrate_if_due(census);
        }
        if self.state == State::Fail || self.nodes[ME].is_voter() {
            self.todo.state = true;
        }
    }

    /// Open missing links, give up handshakes, count who is suspected.
    fn keep_links(&mut self) {
        let lifetime = self.settings.node_timeout.max(MIN_HANDSHAKE);
        let held = self.durability.held_since.is_some();
        self.suspected = 0;
        for at in self.nodes.indexes() {
            let node = &self.nodes[at];
            if at == ME || node.flags.any(Flags::NOADDR) {
                continue;
            }
            self.suspected += usize::from(node.is_suspected());
            if node.in_handshake() && !held && self.now - node.created > lifetime {
                self.remove_node(at);
            } else if node.ip.is_empty() || node.bus_port == 0 {
                // Nowhere to connect to: as good as a ping without answer.
                if node.ping_sent == 0 {
                    self.nodes[at].ping_sent = self.now;
                }
            } else if let Some(link) = node.link {
                // It did not get the MEET, or could not connect to this node in time and gave up: an answer alone does
                // not say that it knows this node.
                if node.meet_sent.is_some_and(|sent| self.now - sent > lifetime / MEETS) {
                    self.nodes[at].meet_sent = Some(self.now);
                    self.send_ping(link, Kind::Meet);
                }
            } else {
                self.open_link(at);
            }
        }
    }

    fn ping_somebody(&mut self) {
        let mut oldest: Option<usize> = None;
        for _ in 0..SAMPLE {
            let at = self.nodes.nth(self.rng.below(self.nodes.len() as u64) as usize);
            let node = &self.nodes[at];
            if at == ME || node.link.is_none() || node.ping_sent != 0 || node.in_handshake() {
                continue;
            }
            if oldest.is_none_or(|oldest| node.pong_received < self.nodes[oldest].pong_received) {
                oldest = Some(at);
            }
        }
        if let Some(link) = oldest.and_then(|at| self.nodes[at].link) {
            self.send_ping(link, Kind::Ping);
        }
    }

    fn look_at_nodes(&mut self) -> ReplicaCensus {
        let mut census = ReplicaCensus::default();
        for at in self.nodes.indexes() {
            let node = &self.nodes[at];
            if at == ME || node.flags.any(Flags::NOADDR | Flags::HANDSHAKE) {
                continue;
            }
            if self.nodes[ME].is_replica() && node.is_primary() && !node.is_failed() {
                let working = self.nodes.working_replicas(at);
                if working == 0 && !node.slots.is_empty() && node.flags.any(Flags::MIGRATE_TO) {
                    census.orphaned += 1;
                }
                census.most = census.most.max(working);
                if self.nodes[ME].primary == Some(at) {
                    census.mine = working;
                }
            }
            self.look_at(at);
        }
        census
    }

    /// Ping a node if it is time to; suspect it if its answer is overdue.
    fn look_at(&mut self, at: usize) {
        let timeout = self.settings.node_timeout;
        let now = self.now;
        let node = &self.nodes[at];
        // How long the open ping, and the node altogether, have been silent.
        let unanswered = now - node.ping_sent;
        let silent = now - node.data_received;
        let link_age = node.link.and_then(|link| self.links.get(link)).map(|link| now - link.created);
        if let (Some(link), Some(age)) = (node.link, link_age)
            && age > timeout
            && node.ping_sent != 0
            && (unanswered > timeout / 2 && silent > timeout / 2 || unanswered > timeout * 2)
        {
            // Perhaps only the connection is broken: open another while there is time. A node that talks, but never
            // answers over this link, does not get the pings: its end of the link is gone.
            self.close_link(link);
        }
        let interval = if self.settings.ping_interval > 0 { self.settings.ping_interval } else { timeout / 2 };
        let node = &self.nodes[at];
        if let Some(link) = node.link {
            let waits_for_failover = self.manual.is_on() && self.manual.replica == Some(at);
            if node.ping_sent == 0 && now - node.pong_received > interval || waits_for_failover {
                return self.send_ping(link, Kind::Ping);
            }
        }
        // Whatever comes from a node proves that it lives: under load, pongs are late.
        if node.ping_sent == 0 || unanswered.min(silent) <= timeout {
            return;
        }
        if node.flags.any(Flags::PFAIL | Flags::FAIL) {
            return;
        }
        self.nodes[at].flags |= Flags::PFAIL;
        self.suspected += 1;
        self.todo.suspicion |= self.nodes[ME].is_voter() && self.nodes[at].is_voter();
        self.todo.state = true;
        self.todo.view = true;
        if self.size == 1 && self.nodes[ME].is_voter() {
            self.fail_if_agreed(at);
        } else {
            let name = self.named(at);
            self.log(Level::Notice, || format!("NODE {name} possibly failing."));
        }
    }
}
