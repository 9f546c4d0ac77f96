//! Which slots move where, so that primaries carry their shares.

use crate::base::slot::SLOTS;
use crate::cluster::SlotSet;

/// A primary as the plan sees it.
#[derive(Clone, Debug)]
pub struct Carrier {
    /// What it is to carry in proportion to the others; 0: nothing.
    pub weight: f64,
    /// Its slots, each with its load.
    pub slots: Vec<(u16, f64)>,
}

impl Carrier {
    fn load(&self) -> f64 {
        self.slots.iter().map(|(_, load)| load).sum()
    }
}

/// Slots that go from one carrier to another, by their numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Move {
    /// Whose they are.
    pub from: usize,
    /// Whose they are to be.
    pub to: usize,
    /// The slots.
    pub slots: SlotSet,
}

/// What each carries afterwards should differ from its share by no more than `threshold` (0.02: 2 %) where it does
/// already; who is within that gives and takes nothing. Slots are taken from the end of what a carrier has, so that its
/// ranges stay few, except those that would overshoot.
pub fn plan(carriers: &[Carrier], threshold: f64) -> Vec<Move> {
    let weights: f64 = carriers.iter().map(|c| c.weight).sum();
    let total: f64 = carriers.iter().map(Carrier::load).sum();
    if weights <= 0.0 || total <= 0.0 {
        return Vec::new();
    }
    let share = |c: &Carrier| total * c.weight / weights;
    let mut need: Vec<f64> = carriers.iter().map(|c| share(c) - c.load()).collect();
    let unit = total / f64::from(SLOTS);
    let is_off = |i: usize| carriers[i].weight == 0.0 || need[i].abs() > (threshold * share(&carriers[i])).max(unit);
    if !(0..carriers.len()).any(is_off) {
        return Vec::new();
    }
    let mut givers: Vec<usize> = (0..carriers.len()).filter(|&i| need[i] < 0.0).collect();
    givers.sort_by(|&a, &b| need[a].total_cmp(&need[b]));
    let mut moves: Vec<Move> = Vec::new();
    for from in givers {
        let mut slots = carriers[from].slots.clone();
        slots.sort_by_key(|(slot, _)| *slot);
        let empties = carriers[from].weight == 0.0;
        let mut to: Option<usize> = None;
        for &(slot, load) in slots.iter().rev() {
            if !empties && (need[from] >= 0.0 || -need[from] < load / 2.0) {
                continue;
            }
            // One receiver is filled before the next.
            if to.is_none_or(|to| need[to] < load / 2.0) {
                let others = (0..carriers.len()).filter(|&i| i != from && carriers[i].weight > 0.0);
                to = others.max_by(|&a, &b| need[a].total_cmp(&need[b])).filter(|&i| empties || need[i] >= load / 2.0);
            }
            let Some(to) = to else { continue };
            need[from] += load;
            need[to] -= load;
            match moves.iter_mut().find(|m| m.from == from && m.to == to) {
                Some(m) => drop(m.slots.insert(slot)),
                None => moves.push(Move { from, to, slots: [slot].into_iter().collect() }),
            }
        }
    }
    moves
}

/// Cuts a move into parts of at most `most` slots.
pub fn batches(m: &Move, most: usize) -> Vec<Move> {
    let slots: Vec<u16> = m.slots.iter().collect();
    slots.chunks(most.max(1)).map(|part| Move { slots: part.iter().copied().collect(), ..m.clone() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carrier(weight: f64, slots: std::ops::Range<u16>, load: f64) -> Carrier {
        Carrier { weight, slots: slots.map(|slot| (slot, load)).collect() }
    }
    fn after(carriers: &[Carrier], moves: &[Move]) -> Vec<f64> {
        let mut loads: Vec<f64> = carriers.iter().map(Carrier::load).collect();
        for m in moves {
            let moved = m.slots.iter().map(|slot| carriers[m.from].slots.iter().find(|(s, _)| *s == slot).unwrap().1);
            let moved: f64 = moved.sum();
            loads[m.from] -= moved;
            loads[m.to] += moved;
        }
        loads
    }

    #[test]
    fn a_new_primary_gets_its_share_in_few_ranges() {
        let carriers = [carrier(1.0, 0..8192, 1.0), carrier(1.0, 8192..16384, 1.0), carrier(1.0, 0..0, 1.0)];
        let moves = plan(&carriers, 0.02);
        assert!(after(&carriers, &moves).iter().all(|load| (load - 5461.3).abs() < 2.0), "{moves:?}");
        assert!(moves.iter().all(|m| m.to == 2 && m.slots.ranges().len() == 1));
        assert_eq!(batches(&moves[0], 1000).len(), 3);
    }

    #[test]
    fn weights_count_and_zero_empties() {
        let carriers = [carrier(0.0, 0..4000, 1.0), carrier(3.0, 4000..8000, 1.0), carrier(1.0, 8000..16384, 1.0)];
        let loads = after(&carriers, &plan(&carriers, 0.02));
        assert_eq!(loads[0], 0.0);
        assert!((loads[1] - 12288.0).abs() < 2.0 && (loads[2] - 4096.0).abs() < 2.0, "{loads:?}");
    }

    #[test]
    fn what_is_in_balance_stays_and_a_heavy_slot_is_not_passed_around() {
        let even = [carrier(1.0, 0..8192, 1.0), carrier(1.0, 8192..16384, 1.0)];
        assert_eq!(plan(&even, 0.02), []);
        let slightly = [carrier(1.0, 0..8250, 1.0), carrier(1.0, 8250..16384, 1.0)];
        assert_eq!(plan(&slightly, 0.02), []);
        let mut heavy = [carrier(1.0, 0..10, 1.0), carrier(1.0, 10..20, 1.0)];
        heavy[0].slots[9].1 = 1000.0;
        let moves = plan(&heavy, 0.02);
        // The light slots go, the heavy one stays.
        assert!(moves.iter().all(|m| !m.slots.contains(9)), "{moves:?}");
        assert_eq!(plan(&[carrier(0.0, 0..10, 1.0)], 0.02), []);
    }

    proptest::proptest! {
        #[test]
        fn no_plan_makes_it_worse(loads in proptest::collection::vec(0.0f64..50.0, 60), weights in proptest::collection::vec(0.1f64..3.0, 3)) {
            let carriers: Vec<Carrier> = (0..3)
                .map(|i| Carrier {
                    weight: weights[i],
                    slots: (0..20u16).map(|n| (i as u16 * 20 + n, loads[i * 20 + usize::from(n)])).collect(),
                })
                .collect();
            let total: f64 = carriers.iter().map(Carrier::load).sum();
            let off = |loads: &[f64]| -> f64 {
                let sum: f64 = weights.iter().sum();
                loads.iter().zip(&weights).map(|(load, weight)| (load - total * weight / sum).abs()).sum()
            };
            let before: Vec<f64> = carriers.iter().map(Carrier::load).collect();
            let moves = plan(&carriers, 0.02);
            proptest::prop_assert!(off(&after(&carriers, &moves)) <= off(&before) + 1e-6);
        }
    }
}
