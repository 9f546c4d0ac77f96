//! What may never happen, checked on every packet that a node sends.
//!
//! * A node votes once in an epoch, also if it died in between.
//! * A slot has one owner in an epoch.

use std::collections::HashMap;

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
            assert!(both.is_empty(), "{now}: {other} and {from} both own {both} in epoch {}", claim.0);
        }
        claims.push((from, claim.1.clone()));
        self.last.insert(from, claim);
    }
}
