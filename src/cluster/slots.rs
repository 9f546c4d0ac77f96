//! A set of hash slots, as sorted ranges.
//!
//! A node of a healthy cluster owns one or a few ranges, and every node knows about every other: a bitmap for each would
//! be 2 KB where four bytes do (two gigabytes, in a simulated cluster of a thousand). The wire has bitmaps; converting
//! one costs a look at 256 words.

use std::fmt;

use crate::base::slot::SLOTS;

/// A set of slots.
///
/// Invariant: ranges are inclusive, ascending, and neither overlap nor touch, so that equal sets are equal ranges.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct SlotSet {
    ranges: Vec<(u16, u16)>,
    len: u16,
}

impl SlotSet {
    /// The length of a bitmap of all slots in bytes.
    pub const BITMAP: usize = SLOTS as usize / 8;

    /// The empty set.
    pub const fn new() -> SlotSet {
        SlotSet { ranges: Vec::new(), len: 0 }
    }

    /// The slots from `first` to `last`, both included.
    pub fn range(first: u16, last: u16) -> SlotSet {
        let mut set = SlotSet::new();
        set.push_range(first, last);
        set
    }

    /// How many slots are in the set.
    pub fn len(&self) -> u16 {
        self.len
    }

    /// Whether no slot is in the set.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The ranges, ascending, both ends included.
    pub fn ranges(&self) -> &[(u16, u16)] {
        &self.ranges
    }

    /// The slots, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        self.ranges.iter().flat_map(|&(first, last)| first..=last)
    }

    /// Where the range that ends at or after `slot` is.
    fn seek(&self, slot: u16) -> usize {
        self.ranges.partition_point(|&(_, last)| last < slot)
    }

    /// Whether `slot` is in the set.
    pub fn contains(&self, slot: u16) -> bool {
        self.ranges.get(self.seek(slot)).is_some_and(|&(first, _)| first <= slot)
    }

    /// Put `slot` in; false if it was there, or is no slot.
    pub fn insert(&mut self, slot: u16) -> bool {
        if slot >= SLOTS || self.contains(slot) {
            return false;
        }
        let at = self.seek(slot);
        let joins_left = at > 0 && self.ranges[at - 1].1 + 1 == slot;
        let joins_right = self.ranges.get(at).is_some_and(|&(first, _)| first == slot + 1);
        match (joins_left, joins_right) {
            (true, true) => {
                self.ranges[at - 1].1 = self.ranges[at].1;
                self.ranges.remove(at);
            }
            (true, false) => self.ranges[at - 1].1 = slot,
            (false, true) => self.ranges[at].0 = slot,
            (false, false) => self.ranges.insert(at, (slot, slot)),
        }
        self.len += 1;
        true
    }

    /// Take `slot` out; false if it was not there.
    pub fn remove(&mut self, slot: u16) -> bool {
        if !self.contains(slot) {
            return false;
        }
        let at = self.seek(slot);
        let (first, last) = self.ranges[at];
        match (first == slot, last == slot) {
            (true, true) => {
                self.ranges.remove(at);
            }
            (true, false) => self.ranges[at].0 = slot + 1,
            (false, true) => self.ranges[at].1 = slot - 1,
            (false, false) => {
                self.ranges[at].1 = slot - 1;
                self.ranges.insert(at + 1, (slot + 1, last));
            }
        }
        self.len -= 1;
        true
    }

    /// Append a range that lies behind all others. What it shares with the set, and what is no slot, is left out.
    pub fn push_range(&mut self, first: u16, last: u16) {
        let last = last.min(SLOTS - 1);
        let first = self.ranges.last().map_or(first, |&(_, end)| first.max(end + 1));
        if first > last {
            return;
        }
        match self.ranges.last_mut() {
            Some((_, end)) if *end + 1 == first => *end = last,
            _ => self.ranges.push((first, last)),
        }
        self.len += last - first + 1;
    }

    /// The set that a bitmap of the wire spells: slot `s` is bit `s & 7` of byte `s / 8`.
    pub fn from_bitmap(bitmap: &[u8; SlotSet::BITMAP]) -> SlotSet {
        let mut set = SlotSet::new();
        for (place, word) in bitmap.chunks_exact(8).enumerate() {
            let mut word = word.iter().rev().fold(0u64, |word, &byte| word << 8 | u64::from(byte));
            let base = place as u16 * 64;
            let mut shift = 0;
            while word != 0 {
                let gap = word.trailing_zeros();
                word >>= gap;
                let run = word.trailing_ones();
                let first = base + (shift + gap) as u16;
                set.push_range(first, first + run as u16 - 1);
                shift += gap + run;
                word = word.checked_shr(run).unwrap_or(0);
            }
        }
        set
    }

    /// Write the set as a bitmap of the wire.
    pub fn write_bitmap(&self, out: &mut [u8; SlotSet::BITMAP]) {
        out.fill(0);
        for &(first, last) in &self.ranges {
            let (from, to) = (usize::from(first / 8), usize::from(last / 8));
            let (head, tail) = (0xff << (first & 7), 0xff >> (7 - (last & 7)));
            if from == to {
                out[from] |= head & tail;
            } else {
                out[from] |= head;
                out[from + 1..to].fill(0xff);
                out[to] |= tail;
            }
        }
    }

    /// The slots of this set that are not in `other`.
    pub fn difference(&self, other: &SlotSet) -> SlotSet {
        let mut set = SlotSet::new();
        for slot in self.iter().filter(|&slot| !other.contains(slot)) {
            set.push_range(slot, slot);
        }
        set
    }
}

impl FromIterator<u16> for SlotSet {
    fn from_iter<I: IntoIterator<Item = u16>>(slots: I) -> SlotSet {
        let mut set = SlotSet::new();
        for slot in slots {
            set.insert(slot);
        }
        set
    }
}

/// As CLUSTER NODES prints slots: `0-5460 5500`.
impl fmt::Display for SlotSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (first, last)) in self.ranges.iter().enumerate() {
            let space = if place > 0 { " " } else { "" };
            if first == last {
                write!(f, "{space}{first}")?;
            } else {
                write!(f, "{space}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for SlotSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{self}}}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn a_set_does_as_a_sorted_set_of_numbers_does(
            steps in proptest::collection::vec((any::<bool>(), 0u16..200, any::<bool>()), 0..300)
        ) {
            let (mut set, mut model) = (SlotSet::new(), BTreeSet::new());
            for (add, slot, high) in steps {
                let slot = if high { SLOTS - 1 - slot } else { slot };
                if add {
                    prop_assert_eq!(set.insert(slot), model.insert(slot));
                } else {
                    prop_assert_eq!(set.remove(slot), model.remove(&slot));
                }
            }
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), model.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(usize::from(set.len()), model.len());
            prop_assert!((0..SLOTS).all(|slot| set.contains(slot) == model.contains(&slot)));
            prop_assert!(set.ranges().windows(2).all(|pair| pair[0].1 + 1 < pair[1].0));
            let mut bitmap = [0; SlotSet::BITMAP];
            set.write_bitmap(&mut bitmap);
            prop_assert_eq!(SlotSet::from_bitmap(&bitmap), set);
        }
    }

    #[test]
    fn full_and_empty_bitmaps_convert() {
        let all = SlotSet::from_bitmap(&[255; SlotSet::BITMAP]);
        assert_eq!((all.len(), all.ranges()), (SLOTS, &[(0, SLOTS - 1)][..]));
        assert!(SlotSet::from_bitmap(&[0; SlotSet::BITMAP]).is_empty());
        assert!(!SlotSet::new().insert(SLOTS));
    }

    #[test]
    fn slots_print_as_cluster_nodes_prints_them() {
        let set: SlotSet = [0, 1, 2, 9, 11, 12].into_iter().collect();
        assert_eq!(set.to_string(), "0-2 9 11-12");
        assert_eq!(set.difference(&SlotSet::range(1, 11)).to_string(), "0 12");
    }
}
