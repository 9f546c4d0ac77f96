//! Moves of whole slots, as CLUSTER GETSLOTMIGRATIONS tells of them: those under way, and the last ones that ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};

use parking_lot::Mutex;

use super::{NodeId, SlotSet};

/// Which side of a move this node is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The slots leave.
    Export,
    /// They arrive.
    Import,
}

/// How far a move is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// The other side is asked.
    Connecting,
    /// The keys are being sent; what changes meanwhile follows.
    Snapshotting,
    /// All keys were sent; what changed meanwhile is sent.
    Streaming,
    /// Writes to the slots are held back, the last changes are sent.
    Paused,
    /// The target was told to take the slots.
    HandingOver,
    /// On the target: keys and changes come in.
    Receiving,
    /// On a replica of the target: its primary receives them.
    OnPrimary,
    /// It is done.
    Success,
    /// It was given up; the slots stay where they were.
    Failed,
    /// Somebody gave it up.
    Cancelled,
}

impl Stage {
    /// The name that clients see.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Connecting => "connecting",
            Stage::Snapshotting => "snapshotting",
            Stage::Streaming => "replicating",
            Stage::Paused => "waiting-to-pause",
            Stage::HandingOver => "failover-granted",
            Stage::Receiving => "receiving-snapshot",
            Stage::OnPrimary => "occurring-on-primary",
            Stage::Success => "success",
            Stage::Failed => "failed",
            Stage::Cancelled => "cancelled",
        }
    }
    /// Whether it is over.
    pub fn is_over(self) -> bool {
        matches!(self, Stage::Success | Stage::Failed | Stage::Cancelled)
    }
}

struct Progress {
    stage: Stage,
    message: String,
    updated: i64,
}

/// One move.
pub struct Transfer {
    /// Its name, which both sides use: 40 hexadecimal digits.
    pub name: NodeId,
    /// Which side this is.
    pub side: Side,
    /// The slots.
    pub slots: SlotSet,
    /// Who owned them.
    pub source: NodeId,
    /// Who is to own them.
    pub target: NodeId,
    /// When it began, unix ms.
    pub created: i64,
    progress: Mutex<Progress>,
    cancelled: AtomicBool,
    /// Keys sent or received.
    pub keys: AtomicU64,
    /// Bytes sent.
    pub bytes: AtomicU64,
    /// Bytes of changes that wait to be sent.
    pub behind: AtomicU64,
    /// For how long writes to the slots were held back, microseconds.
    pub paused_us: AtomicU64,
    /// When the other side was last heard, unix ms.
    pub heard: AtomicU64,
}

impl Transfer {
    /// One that begins now (unix ms).
    pub fn new(name: NodeId, side: Side, slots: SlotSet, source: NodeId, target: NodeId, now: i64) -> Transfer {
        let stage = if side == Side::Export { Stage::Connecting } else { Stage::Receiving };
        Transfer {
            name,
            side,
            slots,
            source,
            target,
            created: now,
            progress: Mutex::new(Progress { stage, message: String::new(), updated: now }),
            cancelled: AtomicBool::new(false),
            keys: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            behind: AtomicU64::new(0),
            paused_us: AtomicU64::new(0),
            heard: AtomicU64::new(now as u64),
        }
    }
    /// How far it is.
    pub fn stage(&self) -> Stage {
        self.progress.lock().stage
    }
    /// Stage, what there is to say about it, and when that changed, unix ms.
    pub fn progress(&self) -> (Stage, String, i64) {
        let p = self.progress.lock();
        (p.stage, p.message.clone(), p.updated)
    }
    /// It goes on, or ends. What is over stays as it ended: false.
    pub fn set(&self, stage: Stage, message: &str, now: i64) -> bool {
        let mut p = self.progress.lock();
        if p.stage.is_over() {
            return false;
        }
        *p = Progress { stage, message: message.to_owned(), updated: now };
        true
    }
    /// Gives it up, unless it is over or this node is taking the slots just now. Whether it was.
    pub fn give_up(&self, message: &str, now: i64) -> bool {
        let mut p = self.progress.lock();
        if p.stage.is_over() || self.side == Side::Import && p.stage == Stage::HandingOver {
            return false;
        }
        let stage = if self.is_cancelled() { Stage::Cancelled } else { Stage::Failed };
        *p = Progress { stage, message: message.to_owned(), updated: now };
        true
    }
    /// Whether keys may still come.
    pub fn is_open(&self) -> bool {
        !self.is_cancelled() && !self.stage().is_over()
    }
    /// Asks it to end, if it is not past the point at which it can.
    pub fn cancel(&self) {
        self.cancelled.store(true, Release);
    }
    /// Whether somebody asked it to end.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Acquire)
    }
}

/// What moves of slots have come to since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Keys sent.
    pub keys: u64,
    /// Bytes sent.
    pub bytes: u64,
    /// For how long writes were held back, microseconds.
    pub paused_us: u64,
    /// How many moves are under way, ended well, failed, were given up: those away from this node, then those to it.
    pub moves: [[u64; 4]; 2],
}

impl Totals {
    fn add(&mut self, t: &Transfer) {
        self.keys += t.keys.load(Relaxed);
        self.bytes += t.bytes.load(Relaxed);
        self.paused_us += t.paused_us.load(Relaxed);
        let end = match t.stage() {
            Stage::Success => 1,
            Stage::Failed => 2,
            Stage::Cancelled => 3,
            _ => 0,
        };
        self.moves[usize::from(t.side == Side::Import)][end] += 1;
    }
}

/// All of them.
#[derive(Default)]
pub struct Transfers {
    all: Mutex<Vec<Arc<Transfer>>>,
    /// Of those that are remembered no more.
    forgotten: Mutex<Totals>,
    /// Held by the one whose slots change their owner just now.
    pub handing_over: Mutex<()>,
}

impl Transfers {
    /// Takes one up, unless another under way has a slot of it: that slot is the error. Of those that are over the last
    /// `kept` are remembered.
    pub fn add(&self, transfer: Transfer, kept: usize) -> Result<Arc<Transfer>, u16> {
        let mut all = self.all.lock();
        let busy = |slot: &u16| all.iter().any(|t| !t.stage().is_over() && t.slots.contains(*slot));
        if let Some(slot) = transfer.slots.iter().find(busy) {
            return Err(slot);
        }
        let mut surplus = all.iter().filter(|t| t.stage().is_over()).count().saturating_sub(kept);
        all.retain(|t| {
            let goes = surplus > 0 && t.stage().is_over();
            surplus -= usize::from(goes);
            if goes {
                self.forgotten.lock().add(t);
            }
            !goes
        });
        let transfer = Arc::new(transfer);
        all.push(transfer.clone());
        Ok(transfer)
    }
    /// All of them, the oldest first.
    pub fn all(&self) -> Vec<Arc<Transfer>> {
        self.all.lock().clone()
    }
    /// What they came to.
    pub fn totals(&self) -> Totals {
        let all = self.all.lock();
        let mut totals = *self.forgotten.lock();
        all.iter().for_each(|t| totals.add(t));
        totals
    }
    /// Those of which this node has heard as a replica, and whose end it has not heard of.
    pub fn on_primary(&self) -> Vec<Arc<Transfer>> {
        self.all.lock().iter().filter(|t| t.stage() == Stage::OnPrimary).cloned().collect()
    }
    /// Whether one of this side that is under way has the slot.
    pub fn has(&self, side: Side, slot: u16) -> bool {
        self.all.lock().iter().any(|t| t.side == side && !t.stage().is_over() && t.slots.contains(slot))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    fn transfer(slots: SlotSet) -> Transfer {
        let mut rng = Rng::new(1);
        let id = NodeId::random(&mut rng);
        Transfer::new(id, Side::Export, slots, id, id, 5)
    }

    #[test]
    fn no_slot_moves_twice_at_once_and_what_is_over_stays_so() {
        let all = Transfers::default();
        let first = all.add(transfer(SlotSet::range(1, 9)), 1).ok().unwrap();
        assert_eq!(all.add(transfer(SlotSet::range(9, 12)), 1).err(), Some(9));
        assert!(all.has(Side::Export, 5) && !all.has(Side::Import, 5) && !all.has(Side::Export, 10));
        assert!(first.set(Stage::Failed, "why", 7) && !first.set(Stage::Success, "", 8));
        assert_eq!(first.progress(), (Stage::Failed, "why".to_owned(), 7));
        for n in 0..3 {
            let next = all.add(transfer(SlotSet::range(9, 12)), 1).ok().unwrap();
            assert!(next.set(Stage::Cancelled, "", n));
        }
        assert_eq!(all.all().len(), 2);
        // What is forgotten still counts.
        all.all()[1].keys.store(7, Relaxed);
        assert_eq!(all.totals(), Totals { keys: 7, moves: [[0, 0, 1, 3], [0; 4]], ..Totals::default() });
    }
}
