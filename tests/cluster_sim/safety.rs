//! What may never happen, checked on every packet that a node sends.
//!
//! * A node votes once in an epoch, also if it died in between.
//! * A slot has one owner in an epoch that was agreed on: one that a majority voted for.
//!
//! Epochs that a node takes without asking are another matter. To resolve a collision, or to end the move of a slot, a
//! node adds one to the greatest epoch that it knows; if an election that it has not heard of made the same epoch, two
//! nodes may claim a slot in it, until the next collision is resolved between them. That is the protocol's rule, which
//! every node of a mixed cluster has to keep, so it is counted (`contested`) and not forbidden. That all nodes agree on
//! one owner in the end, and that it is of the right shard, is checked when the faults are over. No node votes for
//! itself in an epoch that it took alone: it has raised its own before it asks, so a vote tells the two kinds apart.

use std::collections::{HashMap, HashSet};

use dunlin::cluster::wire::{self, Kind};
use dunlin::cluster::{NodeId, SlotSet};

#[derive(Default)]
pub struct Safety {
    votes: HashMap<(NodeId, u64), NodeId>,
    /// By epoch: who claimed which slots.
    claims: HashMap<u64, Vec<(NodeId, SlotSet)>>,
    /// What each node claimed last: most packets say nothing new.
    last: HashMap<NodeId, (u64, SlotSet)>,
    pub elections: u64,
    /// Claims to slots that somebody else claimed, too, in an epoch that one of them took without asking.
    pub contested: u64,
    /// Who was voted for, and when.
    candidates: HashSet<(NodeId, u64)>,
}

impl Safety {
    pub fn sent(&mut self, now: i64, from: NodeId, to: Option<NodeId>, bytes: &[u8]) {
        let packet = wire::decode(bytes).unwrap_or_else(|error| panic!("a node sent an invalid packet: {error}"));
        let Some(header) = packet.header else { return };
        assert_eq!(header.sender, from);
        if let (Kind::AuthAck, Some(to)) = (packet.kind, to) {
            let before = self.votes.insert((from, header.current_epoch), to);
            assert!(
                before.is_none_or(|before| before == to),
                "{now}: node {from} voted twice in epoch {}: for {before:?}, then for {to}",
                header.current_epoch
            );
            self.elections += u64::from(before.is_none());
            self.candidates.insert((to, header.current_epoch));
        }
        // Epochs of slots that were never moved or failed over are 0 with everybody, and the slots given by hand.
        if header.primary.is_some() {
            return;
        }
        let slots = SlotSet::from_bitmap(header.slots);
        let claim = (header.config_epoch, slots);
        if claim.1.is_empty() || self.last.get(&from) == Some(&claim) {
            return;
        }
        let claims = self.claims.entry(claim.0).or_default();
        for (other, theirs) in claims.iter().filter(|(other, _)| *other != from) {
            let both: SlotSet = theirs.iter().filter(|&slot| claim.1.contains(slot)).collect();
            if both.is_empty() {
                continue;
            }
            let agreed = |node: NodeId| self.candidates.contains(&(node, claim.0));
            assert!(!agreed(*other) || !agreed(from), "{now}: {other} and {from} both own {both} in epoch {}", claim.0);
            self.contested += 1;
        }
        claims.push((from, claim.1.clone()));
        self.last.insert(from, claim);
    }
}
