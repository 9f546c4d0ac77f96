//! A primary failed: one of its replicas takes over, if a majority of the primaries agrees.
//!
//! A replica waits half a second, so that everybody hears of the failure, up to another half by chance, so that two
//! seldom ask at once, and a second for each replica that has more of the data. Then it raises the epoch and asks. A
//! primary votes once in an epoch, for a replica of a primary that it holds for failed, too, and its vote is on disk
//! before the answer leaves. Who has the majority owns the slots from then on, under the new epoch
//! (<https://valkey.io/topics/cluster-spec/#replica-election-and-promotion>).

use super::message::Audience;
use super::node::ME;
use super::{Core, Level, NodeId, PrimaryLink, SlotSet};
use crate::cluster::wire::{self, Header, Kind, MessageFlags};

/// An election lasts two node timeouts, at least so long.
const MIN_ELECTION: i64 = 2_000;
/// Before a vote is asked for: fixed, by chance, and for each better replica.
const DELAY: (i64, u64, i64) = (500, 500, 1_000);
/// The same obstacle is mentioned in the log again after so long; old data less often.
const RELOG: i64 = 1_000;
const RELOG_DATA_AGE: i64 = 10_000;

/// Why a replica does not take over right now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Obstacle {
    #[default]
    None,
    DataAge,
    Delay,
    Expired,
    Votes,
}

/// The attempt to take over that goes on, or the last one.
#[derive(Default)]
pub(super) struct Election {
    /// When votes are asked for; the attempt is over some time after that.
    time: Option<i64>,
    /// Votes were asked for.
    asked: bool,
    /// Who voted for this node, in `epoch`. A packet may come twice.
    votes: Vec<NodeId>,
    /// How many replicas are better.
    rank: i64,
    /// The epoch in which votes were asked for.
    epoch: u64,
    obstacle: Obstacle,
    logged: i64,
}

impl Election {
    /// The primary changed: what was planned is void.
    pub(super) fn cancel(&mut self) {
        self.time = None;
    }
}

/// Attempts of this node to replace its primary, by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failovers {
    /// It took over.
    pub done: u64,
    /// It asked for votes and did not get enough in time.
    pub expired: u64,
    /// A manual failover ran out of time, on either side.
    pub timed_out: u64,
}

impl Core {
    /// How the failovers of this node ended so far.
    pub fn failovers(&self) -> Failovers {
        self.failovers
    }

    /// When the election that is planned begins.
    pub(super) fn election_due(&self) -> Option<i64> {
        self.election.time.filter(|_| !self.election.asked && self.election.obstacle == Obstacle::Delay)
    }

    /// One step towards taking over, if this node is a replica that should.
    pub(super) fn advance_failover(&mut self) {
        let manual = self.manual.can_start();
        let me = &self.nodes[ME];
        let Some(primary) = me.primary.filter(|_| me.is_replica()) else {
            self.election.obstacle = Obstacle::None;
            return;
        };
        if !manual && (!self.nodes[primary].is_failed() || self.settings.replica_no_failover) {
            self.election.obstacle = Obstacle::None;
            return;
        }
        let timeout = (self.settings.node_timeout * 2).max(MIN_ELECTION);
        if !manual && self.data_is_old() {
            return self.note_obstacle(Obstacle::DataAge);
        }
        let time = match self.election.time {
            Some(time) if self.now - time <= timeout * 2 => time,
            _ => return self.plan_election(),
        };
        if !self.election.asked && !self.manual.is_on() {
            self.follow_rank();
        }
        let time = self.election.time.unwrap_or(time);
        if self.now < time {
            return self.note_obstacle(Obstacle::Delay);
        }
        if self.now - time > timeout {
            return self.note_obstacle(Obstacle::Expired);
        }
        if !self.election.asked {
            return self.ask_for_votes();
        }
        if self.election.votes.len() < self.quorum() {
            return self.note_obstacle(Obstacle::Votes);
        }
        self.log(Level::Notice, || "Failover election won: I'm the new primary.".to_owned());
        let epoch = self.election.epoch;
        if self.nodes[ME].config_epoch < epoch {
            self.nodes[ME].config_epoch = epoch;
            self.log(Level::Notice, || format!("configEpoch set to {epoch} after successful failover"));
        }
        self.take_over(primary);
    }

    /// Whether the replica has been without its primary for too long: that the primary was failing for one node timeout
    /// is no fault of the data.
    fn data_is_old(&self) -> bool {
        let factor = self.settings.replica_validity_factor;
        let since = match self.facts.primary_link {
            PrimaryLink::Up { last_heard } => last_heard,
            PrimaryLink::Down { since } => since,
        };
        let timeout = self.settings.node_timeout;
        let mut age = self.now.saturating_sub(since);
        if age > timeout {
            age -= timeout;
        }
        factor != 0 && age > self.settings.repl_ping_period * 1000 + timeout.saturating_mul(factor)
    }

    fn plan_election(&mut self) {
        let rank = self.rank();
        let (fixed, chance, each) = DELAY;
        let mut time = self.now + fixed + self.rng.below(chance) as i64 + rank * each;
        let mut rank = rank;
        if self.manual.is_on() {
            (time, rank) = (self.now, 0);
            self.todo.failover = true;
        }
        let epoch = self.election.epoch;
        self.election = Election {
            time: Some(time),
            asked: false,
            votes: Vec::new(),
            rank,
            epoch,
            obstacle: Obstacle::Delay,
            logged: self.now,
        };
        let (delay, offset) = (time - self.now, self.facts.repl_offset);
        self.log(Level::Notice, || {
            format!("Start of election delayed for {delay} milliseconds (rank #{rank}, offset {offset}).")
        });
        // The others learn how much of the data this node has, and rank themselves.
        self.broadcast_pong(Audience::ShardReplicas);
    }

    /// How many replicas of the same primary have more of the data, or as much and a smaller id.
    fn rank(&self) -> i64 {
        let me = &self.nodes[ME];
        let Some(primary) = me.primary else { return 0 };
        let mine = (std::cmp::Reverse(self.facts.repl_offset), me.id);
        let better = self.nodes[primary].replicas.iter().filter(|&&at| {
            let node = &self.nodes[at];
            at != ME
                && !node.flags.any(super::Flags::NOFAILOVER)
                && (std::cmp::Reverse(node.repl_offset), node.id) < mine
        });
        better.count() as i64
    }

    /// Others told their offsets since the election was planned.
    fn follow_rank(&mut self) {
        let rank = self.rank();
        if rank == self.election.rank {
            return;
        }
        let added = (rank - self.election.rank) * DELAY.2;
        self.election.rank = rank;
        self.election.time = self.election.time.map(|time| time + added);
        self.log(Level::Notice, || format!("Replica rank updated to #{rank}, added {added} milliseconds of delay."));
    }

    fn ask_for_votes(&mut self) {
        self.current_epoch += 1;
        self.election.epoch = self.current_epoch;
        self.election.asked = true;
        let epoch = self.current_epoch;
        self.log(Level::Notice, || format!("Starting a failover election for epoch {epoch}."));
        // On disk first: after a crash this node must not ask for votes in the same epoch again.
        self.save_durably();
        let bitmap = self.claimed_bitmap();
        let mut header = self.header(Kind::AuthRequest, &bitmap);
        if self.manual.is_on() {
            header.message_flags.add(MessageFlags::FORCE_ACK);
        }
        let packet = wire::bare(&header);
        self.broadcast(Kind::AuthRequest, packet);
        self.todo.state = true;
    }

    /// Somebody voted for this node.
    pub(super) fn count_vote(&mut self, voter: usize, header: &Header<'_>) {
        let id = self.nodes[voter].id;
        let counts = self.election.asked && header.current_epoch == self.election.epoch;
        if counts && self.nodes[voter].is_voter() && !self.election.votes.contains(&id) {
            self.election.votes.push(id);
            self.todo.failover = true;
        }
    }

    /// The last step of every failover: own what the old primary owned, and tell everybody. The epoch was raised before.
    pub(super) fn take_over(&mut self, old: usize) {
        let (name, shard) = (self.named(old), self.nodes[ME].shard_id);
        self.log(Level::Notice, || {
            format!("Setting myself to primary in shard {shard} after failover; my old primary is {name}")
        });
        self.failovers.done += 1;
        self.become_primary();
        for slot in self.nodes[old].slots.clone().iter() {
            self.release_slot(slot);
            self.assign_slot(slot, ME);
        }
        self.evaluate_state();
        self.save_durably();
        self.broadcast_pong(Audience::All);
        self.end_manual_failover();
        self.election.cancel();
    }

    fn note_obstacle(&mut self, obstacle: Obstacle) {
        let pause = if obstacle == Obstacle::DataAge { RELOG_DATA_AGE } else { RELOG };
        if obstacle == self.election.obstacle && self.now - self.election.logged < pause {
            return;
        }
        if obstacle == Obstacle::Expired && self.election.asked && self.election.obstacle != obstacle {
            self.failovers.expired += 1;
        }
        self.election.obstacle = obstacle;
        self.election.logged = self.now;
        let text = match obstacle {
            Obstacle::None => return,
            Obstacle::DataAge => {
                "Disconnected from primary for longer than allowed. Please check the 'cluster-replica-validity-factor' \
                 configuration option."
            }
            Obstacle::Delay => "Waiting the delay before I can start a new failover.",
            Obstacle::Expired => "Failover attempt expired.",
            Obstacle::Votes => "Waiting for votes, but majority still not reached.",
        };
        self.log(Level::Notice, || format!("Currently unable to failover: {text}"));
        if matches!(obstacle, Obstacle::Expired | Obstacle::Votes) {
            let (quorum, votes) = (self.quorum(), self.election.votes.len());
            self.log(Level::Notice, || format!("Needed quorum: {quorum}. Number of votes received so far: {votes}"));
        }
    }

    /// A replica asks for this node's vote.
    pub(super) fn vote_if_due(&mut self, candidate: usize, request: &Header<'_>) {
        if !self.nodes[ME].is_voter() {
            return;
        }
        if let Err(why) = self.may_vote(candidate, request) {
            let (name, epoch) = (self.named(candidate), request.current_epoch);
            return self.log(Level::Warning, || format!("Failover auth denied to {name} for epoch {epoch}: {why}"));
        }
        self.last_vote_epoch = self.current_epoch;
        if let Some(primary) = self.nodes[candidate].primary {
            self.nodes[primary].voted_time = Some(self.now);
        }
        // The vote is on disk before it leaves: see the order of calls.
        self.save_durably();
        if let Some(link) = self.nodes[candidate].link {
            self.send_bare(link, Kind::AuthAck);
        }
        let (name, epoch) = (self.named(candidate), self.current_epoch);
        self.log(Level::Notice, || format!("Failover auth granted to {name} for epoch {epoch}"));
    }

    fn may_vote(&self, candidate: usize, request: &Header<'_>) -> Result<(), String> {
        let (epoch, current) = (request.current_epoch, self.current_epoch);
        if epoch < current {
            return Err(format!("reqEpoch ({epoch}) < curEpoch({current})"));
        }
        if self.last_vote_epoch >= current {
            return Err(format!("already voted for epoch {current}"));
        }
        if self.nodes[candidate].is_primary() {
            return Err("it is a primary node".to_owned());
        }
        let Some(primary) = self.nodes[candidate].primary else {
            return Err("I don't know its primary".to_owned());
        };
        if !self.nodes[primary].is_failed() && !request.message_flags.has(MessageFlags::FORCE_ACK) {
            return Err("its primary is up".to_owned());
        }
        // Not needed for safety: the winner has time to tell everybody before there is another.
        if let Some(voted) = self.nodes[primary].voted_time {
            let wait = voted + self.settings.node_timeout * 2 - self.now;
            if wait > 0 {
                return Err(format!("can't vote about this primary before {wait} milliseconds"));
            }
        }
        // Whoever owns the slots by now may not be newer than what the candidate knows.
        for slot in SlotSet::from_bitmap(request.slots).iter().filter(|&slot| !self.is_unclaimed(slot)) {
            let known = self.nodes.owner(slot).map_or(0, |owner| self.nodes[owner].config_epoch);
            if known > request.config_epoch {
                return Err(format!("slot {slot} epoch ({known}) > reqEpoch ({})", request.config_epoch));
            }
        }
        Ok(())
    }
}
