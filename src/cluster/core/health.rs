//! Who is alive: suspicion by this node (PFAIL), agreement of a majority (FAIL), and the way back; and whether the
//! cluster as a whole serves.

use super::cron::TICK;
use super::node::ME;
use super::{Core, DownReason, Event, Flags, Level, State};
use crate::base::slot::SLOTS;

/// Reports are good for so many node timeouts.
const REPORT_VALIDITY: i64 = 2;
/// A failed primary that answers again, and that nobody replaced, is well after so many node timeouts.
const FAIL_UNDO: i64 = 2;
/// A primary that comes back to the majority waits for one node timeout, within these bounds, before it serves.
const REJOIN_DELAY: (i64, i64) = (500, 5_000);
/// A primary that starts waits so long before it serves: it may have been replaced.
const WRITABLE_DELAY: i64 = 2_000;

impl Core {
    /// How many votes are a majority.
    pub(super) fn quorum(&self) -> usize {
        self.size / 2 + 1
    }

    /// Note that `reporter` says that a node does not answer; true if it had not said so before.
    pub(super) fn add_report(&mut self, at: usize, reporter: usize) -> bool {
        let now = self.now;
        let reports = &mut self.nodes[at].reports;
        match reports.iter_mut().find(|(from, _)| *from == reporter) {
            Some((_, time)) => {
                *time = now;
                false
            }
            None => {
                reports.push((reporter, now));
                true
            }
        }
    }

    /// Note that `reporter` says that a node is well; true if it had said otherwise before.
    pub(super) fn drop_report(&mut self, at: usize, reporter: usize) -> bool {
        let reports = &mut self.nodes[at].reports;
        let before = reports.len();
        reports.retain(|(from, _)| *from != reporter);
        reports.len() != before
    }

    /// How many others say that a node does not answer; old reports are dropped.
    pub(super) fn count_reports(&mut self, at: usize) -> usize {
        let oldest = self.now - self.settings.node_timeout * REPORT_VALIDITY;
        let reports = &mut self.nodes[at].reports;
        reports.retain(|&(_, time)| time >= oldest);
        reports.len()
    }

    /// A node that this node suspects has failed if a majority of the primaries suspects it.
    pub(super) fn fail_if_agreed(&mut self, at: usize) {
        let node = &self.nodes[at];
        if !node.is_suspected() || node.is_failed() {
            return;
        }
        let votes = self.count_reports(at) + usize::from(self.nodes[ME].is_voter());
        if votes < self.quorum() {
            return;
        }
        let name = self.named(at);
        self.log(Level::Notice, || format!("Marking node {name} as failing (quorum reached)."));
        self.set_failed(at);
        self.broadcast_fail(at);
    }

    pub(super) fn set_failed(&mut self, at: usize) {
        let now = self.now;
        let node = &mut self.nodes[at];
        node.flags.set(Flags::PFAIL, false);
        node.flags |= Flags::FAIL;
        node.fail_time = now;
        self.save();
        self.todo.state = true;
        // A replica of it plans its election now.
        self.todo.failover = true;
    }

    /// A node answered a ping.
    pub(super) fn answered(&mut self, at: usize) {
        let now = self.now;
        let node = &mut self.nodes[at];
        if node.ping_sent != 0 {
            node.ping_time = Some((now - node.ping_sent).max(0));
        }
        node.pong_received = now;
        node.ping_sent = 0;
        self.view = None;
        if node.is_suspected() {
            node.flags.set(Flags::PFAIL, false);
            self.save();
            self.todo.state = true;
        } else if node.is_failed() {
            self.forgive(at);
        }
    }

    /// A failed node answers again. Nodes without a vote are well at once; a primary with slots only after a time in
    /// which somebody could have replaced it.
    fn forgive(&mut self, at: usize) {
        let node = &self.nodes[at];
        let name = self.named(at);
        let text = if !node.is_voter() {
            let role = if node.is_replica() { "replica" } else { "primary without slots" };
            format!("Clear FAIL state for node {name}: {role} is reachable again.")
        } else if self.now - node.fail_time > self.settings.node_timeout * FAIL_UNDO {
            format!(
                "Clear FAIL state for node {name}: is reachable again and nobody is serving its slots after some time."
            )
        } else {
            return;
        };
        self.nodes[at].flags.set(Flags::FAIL, false);
        self.save();
        self.todo.state = true;
        self.log(Level::Notice, || text);
    }

    /// Whether a node gave a sign of life lately enough for this node, a primary, to count on it: within one node timeout,
    /// less the time until this is asked again. Suspicion comes later, as it begins with a ping; but who may have been
    /// replaced by then takes no more writes. Ticks that are long for the timeout leave room for one answer.
    fn was_heard(&self, at: usize) -> bool {
        let node = &self.nodes[at];
        let last = node.data_received.max(node.pong_received).max(node.created);
        let timeout = self.settings.node_timeout;
        at == ME || self.now - last <= (timeout - TICK).max(timeout / 2 + 3 * TICK)
    }

    /// Whether the cluster serves: every slot has an owner that did not fail (if that is required), and most primaries
    /// can be reached. Coming back to ok takes a primary some time, in which it may learn that it was replaced.
    pub(super) fn evaluate_state(&mut self) {
        let now = self.now;
        let started = *self.first_evaluation.get_or_insert(now);
        let (mut size, mut reachable, mut failed_owner) = (0, 0, false);
        let counts_signs = self.nodes[ME].is_voter();
        for (at, node) in self.nodes.iter().filter(|(_, node)| !node.slots.is_empty()) {
            failed_owner |= node.is_failed();
            if node.is_primary() {
                size += 1;
                let is_well = !node.flags.any(Flags::FAIL | Flags::PFAIL);
                reachable += usize::from(is_well && (!counts_signs || self.was_heard(at)));
            }
        }
        if self.size != size {
            self.size = size;
            self.todo.view = true;
        }
        let is_primary = self.nodes[ME].is_primary();
        if is_primary && self.state == State::Fail && now - started < WRITABLE_DELAY {
            return self.set_reason(DownReason::Rejoining);
        }
        let mut reason = DownReason::None;
        if self.settings.require_full_coverage {
            if self.nodes.assigned() < usize::from(SLOTS) {
                reason = DownReason::SlotUnassigned;
            } else if failed_owner {
                reason = DownReason::OwnerFailed;
            }
        }
        if reachable < self.quorum() {
            reason = DownReason::Minority;
            self.minority_time = now;
        }
        let state = if reason == DownReason::None { State::Ok } else { State::Fail };
        if state == State::Ok && self.state == State::Fail && is_primary {
            let delay = self.settings.node_timeout.clamp(REJOIN_DELAY.0, REJOIN_DELAY.1);
            if now - self.minority_time < delay {
                return self.set_reason(DownReason::Rejoining);
            }
        }
        self.set_reason(reason);
        if state != self.state {
            self.state = state;
            self.todo.view = true;
            let level = if state == State::Ok { Level::Notice } else { Level::Warning };
            self.log(level, || format!("Cluster state changed: {}", state.name()));
            if state == State::Fail {
                self.log(Level::Warning, || format!("Cluster is currently down: {}", reason.text()));
            }
            self.events.push_back(Event::State(state, reason));
        }
    }

    fn set_reason(&mut self, reason: DownReason) {
        if self.reason != reason {
            self.reason = reason;
            self.todo.view = true;
        }
    }
}
