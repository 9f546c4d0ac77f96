//! CLUSTER FAILOVER: a replica takes over from a primary that is well, and no write is lost.
//!
//! 1. The replica sends MFSTART.
//! 2. The primary lets no write in; its packets now say so, with the offset at which its stream stands still.
//! 3. The replica applies the stream up to that offset, then holds an election in which everybody votes although the
//!    primary is well.
//! 4. The old primary learns from the new one's claims that it is a replica, and lets clients go on: to the new one.
//!
//! FORCE leaves the first three steps out, TAKEOVER the election, too.

use super::node::ME;
use super::{Core, Event, Level, LinkId};
use crate::cluster::wire::Kind;

/// Writes stay paused for so many times the time that the failover may take.
const PAUSE: i64 = 2;
/// How often a replica looks whether it has caught up, in milliseconds.
const LOOK: i64 = 10;

/// The manual failover that goes on.
#[derive(Default)]
pub(super) struct Manual {
    /// When it will be given up; none: none goes on.
    pub(super) end: Option<i64>,
    /// On the primary: the replica that is to take over.
    pub(super) replica: Option<usize>,
    /// On the primary: where its stream stands still, once writes are paused.
    pub(super) paused_at: Option<u64>,
    /// On the replica: where the primary's stream stands still, once it told.
    pub(super) primary_offset: Option<u64>,
    /// On the replica: the election may begin.
    pub(super) can_start: bool,
}

impl Manual {
    pub(super) fn is_on(&self) -> bool {
        self.end.is_some()
    }

    pub(super) fn can_start(&self) -> bool {
        self.is_on() && self.can_start
    }
}

impl Core {
    /// When the manual failover has to be looked at.
    pub(super) fn manual_due(&self) -> Option<i64> {
        let end = self.manual.end?;
        let waiting = self.manual.primary_offset.is_some() && !self.manual.can_start;
        Some(if waiting { self.now + LOOK } else { end + 1 })
    }

    /// Begin on the replica; what follows depends on the kind.
    pub(super) fn begin_manual_failover(&mut self) {
        self.end_manual_failover();
        // An attempt before this one, that failed or was given up, is no reason to wait.
        self.election.cancel();
        self.manual.end = Some(self.now + self.settings.manual_failover_timeout);
        self.todo.view = true;
    }

    /// The manual failover succeeded, failed or was given up.
    pub(super) fn end_manual_failover(&mut self) {
        if self.manual.replica.is_some() {
            self.events.push_back(Event::ResumeWrites);
        }
        if self.manual.is_on() {
            self.todo.view = true;
        }
        self.manual = Manual::default();
    }

    pub(super) fn check_manual_timeout(&mut self) {
        if self.manual.end.is_some_and(|end| end < self.now) {
            self.failovers.timed_out += 1;
            self.log(Level::Warning, || "Manual failover timed out.".to_owned());
            self.end_manual_failover();
        }
    }

    /// MFSTART: one of this primary's replicas wants to take over.
    pub(super) fn begin_pause(&mut self, _link: LinkId, replica: usize) {
        if self.nodes[replica].primary != Some(ME) || !self.nodes[ME].is_primary() {
            return;
        }
        self.end_manual_failover();
        let timeout = self.settings.manual_failover_timeout;
        self.manual.end = Some(self.now + timeout);
        self.manual.replica = Some(replica);
        self.events.push_back(Event::PauseWrites { until: self.now + timeout * PAUSE });
        self.todo.view = true;
        let name = self.named(replica);
        self.log(Level::Notice, || format!("Manual failover requested by replica {name}."));
    }

    /// Writes are paused, as [`Event::PauseWrites`] asked; the stream stands still at `offset`.
    pub fn handle_paused(&mut self, now: i64, offset: u64) {
        self.begin(now);
        if let Some(replica) = self.manual.replica {
            self.facts.repl_offset = offset;
            self.manual.paused_at = Some(offset);
            // At once: clients wait.
            if let Some(link) = self.nodes[replica].link {
                self.send_ping(link, Kind::Ping);
            }
        }
        self.settle();
    }

    /// A packet of a node that paused writes: if it is the primary that this node takes over from, this is how far the
    /// stream goes.
    pub(super) fn learn_paused_offset(&mut self, at: usize, offset: u64) {
        let me = &self.nodes[ME];
        if !self.manual.is_on() || !me.is_replica() || me.primary != Some(at) || self.manual.primary_offset.is_some() {
            return;
        }
        self.manual.primary_offset = Some(offset);
        self.todo.manual_failover = true;
        self.log(Level::Notice, || format!("Received replication offset for paused primary manual failover: {offset}"));
    }

    /// On the replica: begin the election once everything is applied.
    pub(super) fn advance_manual_failover(&mut self) {
        if !self.manual.is_on() || self.manual.can_start || !self.nodes[ME].is_replica() {
            return;
        }
        if self.manual.primary_offset == Some(self.facts.repl_offset) {
            self.manual.can_start = true;
            self.todo.failover = true;
            self.log(Level::Notice, || {
                "All primary replication stream processed, manual failover can start.".to_owned()
            });
        }
    }
}
