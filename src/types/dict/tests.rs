//! Tables against a model, and their sizes.

use super::*;
use std::collections::{HashMap, HashSet};

/// An item for tests: a boxed number and a string key.
struct Num;
struct NumBox {
    key: Vec<u8>,
    value: u64,
}
// SAFETY: an item is a boxed NumBox, which is 8-aligned.
unsafe impl Item for Num {
    unsafe fn key<'a>(p: NonNull<u8>) -> &'a [u8] {
        // SAFETY: see the trait.
        unsafe { &(*p.as_ptr().cast::<NumBox>()).key }
    }
    unsafe fn free(p: NonNull<u8>) {
        // SAFETY: see the trait.
        drop(unsafe { Box::from_raw(p.as_ptr().cast::<NumBox>()) })
    }
    unsafe fn marked(p: NonNull<u8>) -> bool {
        // SAFETY: see the trait.
        unsafe { (*p.as_ptr().cast::<NumBox>()).value % 3 == 0 }
    }
}
impl Ref<'_, Num> {
    fn value(self) -> u64 {
        // SAFETY: the item is live.
        unsafe { (*self.ptr().as_ptr().cast::<NumBox>()).value }
    }
}
fn item(key: &str, value: u64) -> Owned<Num> {
    let b = Box::new(NumBox { key: key.as_bytes().to_vec(), value });
    // SAFETY: a fresh box.
    unsafe { Owned::from_raw(NonNull::new(Box::into_raw(b).cast()).unwrap()) }
}
fn set(d: &mut Dict<Num>, key: &str, value: u64) {
    let h = hash(key.as_bytes());
    match d.find_mut(h, key.as_bytes()) {
        Some(mut place) => drop(place.replace(item(key, value))),
        None => drop(d.insert_new(h, item(key, value))),
    }
}
// Under miri tables split early, and small ones do.
const BIG: u64 = if cfg!(miri) { 300 } else { 60_000 };

#[test]
fn it_agrees_with_a_std_map_while_it_grows_and_shrinks() {
    let (mut d, mut model) = (Dict::<Num>::new(), HashMap::new());
    for round in 0..3u64 {
        for i in 0..BIG {
            let key = format!("k{}", rng::below(BIG));
            set(&mut d, &key, i + round);
            model.insert(key, i + round);
        }
        assert_eq!(d.len(), model.len());
        assert_eq!(d.marked(), model.values().filter(|v| *v % 3 == 0).count());
        let keys: Vec<_> = model.keys().cloned().collect();
        for (i, key) in keys.iter().enumerate() {
            assert_eq!(d.find(hash(key.as_bytes()), key.as_bytes()).unwrap().value(), model[key]);
            if i % 5 != 0 || round == 2 {
                assert!(d.remove(hash(key.as_bytes()), key.as_bytes()).is_some());
                assert!(d.remove(hash(key.as_bytes()), key.as_bytes()).is_none());
                model.remove(key);
            }
        }
        assert_eq!(d.len(), model.len());
        assert_eq!(d.iter().count(), model.len());
    }
    assert!(d.is_empty() && d.dir.is_none() && d.buckets() == 0, "an emptied table gives its memory back");
}

#[test]
fn a_scan_returns_every_lasting_item_while_others_come_and_go() {
    let mut d = Dict::<Num>::new();
    let (stay, go) = if cfg!(miri) { (40, 300) } else { (500, 9000) };
    let lasting: Vec<String> = (0..stay).map(|i| format!("stay{i}")).collect();
    lasting.iter().for_each(|k| set(&mut d, k, 1));
    let (mut seen, mut pos, mut step) = (HashSet::new(), 0, 0u64);
    loop {
        pos = d.scan(pos, |r| {
            seen.insert(String::from_utf8(r.key().to_vec()).unwrap());
        });
        if pos == 0 {
            break;
        }
        // Grow far beyond a split in the first half, then empty it again.
        for _ in 0..40 {
            step += 1;
            let key = format!("go{}", if step < go { step } else { step - go });
            if step < go {
                set(&mut d, &key, step);
            } else {
                d.remove(hash(key.as_bytes()), key.as_bytes());
            }
        }
    }
    assert!(lasting.iter().all(|k| seen.contains(k)));
}

#[test]
fn a_scan_of_a_resting_table_returns_each_item_once() {
    let mut d = Dict::<Num>::new();
    (0..BIG).for_each(|i| set(&mut d, &format!("k{i}"), i));
    let (mut seen, mut marked, mut pos) = (HashSet::new(), 0, 0);
    loop {
        d.scan_marked(pos, |r| marked += u64::from(r.value() % 3 == 0));
        pos = d.scan(pos, |r| assert!(seen.insert(r.key().to_vec())));
        if pos == 0 {
            break;
        }
        assert!(pos < 1 << 37);
    }
    assert_eq!(seen.len() as u64, BIG);
    assert_eq!(marked, BIG.div_ceil(3));
}

#[test]
fn random_items_are_drawn_evenly() {
    for n in [10, if cfg!(miri) { 100 } else { 3000 }] {
        let mut d = Dict::<Num>::new();
        (0..n).for_each(|i| set(&mut d, &format!("k{i}"), i));
        let draws = if cfg!(miri) { 200 } else { n * 200 };
        let mut count = HashMap::new();
        (0..draws).for_each(|_| *count.entry(d.random().unwrap().value()).or_insert(0u64) += 1);
        if !cfg!(miri) {
            assert!(count.len() as u64 == n && count.values().all(|c| (100..320).contains(c)), "{count:?}");
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "nothing to find in it, and tables are others there")]
fn the_table_costs_at_most_eleven_bytes_an_item_from_sixty_items_on() {
    let mut d = Dict::<Num>::new();
    let (mut total, mut steps) = (0.0, 0);
    for i in 0..2000u64 {
        set(&mut d, &format!("k{i}"), i);
        if i >= 60 {
            total += d.buckets() as f64 * 64.0 / (i + 1) as f64;
            steps += 1;
        }
    }
    assert!(total / (steps as f64) < 11.0, "{}", total / steps as f64);
}

#[test]
fn a_table_that_moves_keeps_its_items() {
    let mut d = Dict::<Num>::new();
    (0..BIG).for_each(|i| set(&mut d, &format!("k{i}"), i));
    let at = |d: &Dict<Num>| d.subs().map(|s| s.buckets.addr()).collect::<HashSet<_>>();
    let (before, mut pos, mut steps) = (at(&d), 0, 0);
    loop {
        pos = d.rehome(pos, |_| true);
        steps += 1;
        if pos == 0 {
            break;
        }
    }
    assert!(steps > 1 && steps == d.subs().count());
    assert!(at(&d) != before);
    (0..BIG).for_each(|i| {
        let key = format!("k{i}");
        assert_eq!(d.find(hash(key.as_bytes()), key.as_bytes()).unwrap().value(), i);
    });
    let mut empty = Dict::<Num>::new();
    assert_eq!(empty.rehome(0, |_| true), 0);
}
