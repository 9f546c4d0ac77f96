//! Streams against a simple model, and payloads that are not what they claim.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn texts(e: &Entry<'_>) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    e.for_each(|f, v| all.extend([f.to_vec(), v.to_vec()]));
    all
}

fn add(s: &mut Stream, ms: u64, items: &[&[u8]]) {
    let id = s.next_id(NewId::Exact(StreamId::new(ms, 0))).unwrap();
    s.append(id, items, NodeLimits::DEFAULT);
}

fn ids(s: &Stream) -> Vec<u64> {
    s.range(StreamId::MIN, StreamId::MAX).map(|e| e.id.ms).collect()
}

#[test]
fn the_first_node_has_redis_bytes() {
    let mut s = Stream::new();
    add(&mut s, 5, &[b"f", b"v"]);
    add(&mut s, 7, &[b"f", b"12"]);
    add(&mut s, 9, &[b"g", b"w"]);
    let (master, lp) = s.nodes().next().unwrap();
    let words: Vec<Vec<u8>> = lp.iter().map(|e| e.to_vec()).collect();
    let expected = "3 0 1 f 0 2 0 0 v 4 2 2 0 12 4 0 4 0 1 g w 6";
    assert_eq!(words.join(&b' '), expected.as_bytes());
    assert_eq!(master, StreamId::new(5, 0));
    s.delete(&[StreamId::new(7, 0)]);
    let words: Vec<Vec<u8>> = s.nodes().next().unwrap().1.iter().map(|e| e.to_vec()).collect();
    assert_eq!(words.join(&b' '), b"2 1 1 f 0 2 0 0 v 4 3 2 0 12 4 0 4 0 1 g w 6");
}

#[test]
fn new_ids_ascend_whatever_the_clock_says() {
    let mut s = Stream::new();
    assert_eq!(s.next_id(NewId::Auto(0)), Some(StreamId::new(0, 1)));
    assert_eq!(s.next_id(NewId::At(0)), Some(StreamId::new(0, 1)));
    assert_eq!(s.next_id(NewId::Exact(StreamId::MIN)), None);
    s.append(StreamId::new(10, 5), &[b"a", b"b"], NodeLimits::DEFAULT);
    assert_eq!(s.next_id(NewId::Auto(3)), Some(StreamId::new(10, 6)));
    assert_eq!(s.next_id(NewId::Auto(11)), Some(StreamId::new(11, 0)));
    assert_eq!(s.next_id(NewId::At(10)), Some(StreamId::new(10, 6)));
    assert_eq!(s.next_id(NewId::At(9)), None);
    s.append(StreamId::new(10, u64::MAX), &[b"a", b"b"], NodeLimits::DEFAULT);
    assert_eq!((s.next_id(NewId::At(10)), s.next_id(NewId::Auto(1))), (None, Some(StreamId::new(11, 0))));
    s.append(StreamId::MAX, &[b"a", b"b"], NodeLimits::DEFAULT);
    assert_eq!(s.next_id(NewId::Auto(1)), None);
}

#[test]
fn nodes_end_at_their_limits_and_go_when_they_are_empty() {
    let mut s = Stream::new();
    for ms in 1..=250 {
        add(&mut s, ms, &[b"f", b"v"]);
    }
    assert_eq!(s.nodes().len(), 3);
    // Whole nodes only.
    assert_eq!((s.trim(Keep::Newest(20), true, 0), s.len()), (200, 50));
    assert_eq!((s.trim(Keep::Newest(20), true, 0), s.len()), (0, 50));
    assert_eq!((s.trim(Keep::Newest(20), false, 0), s.len(), s.counters().first.ms), (30, 20, 231));
    assert_eq!((s.trim(Keep::From(StreamId::new(240, 0)), false, 0), s.len()), (9, 11));
    let rest: Vec<StreamId> = (240..=250).map(|ms| StreamId::new(ms, 0)).collect();
    assert_eq!((s.delete(&rest), s.nodes().len(), s.counters().first), (11, 0, StreamId::MIN));
    assert_eq!((s.last_id().ms, s.counters().added, s.counters().max_deleted.ms), (250, 250, 250));
    let bytes = NodeLimits { bytes: 64, entries: 0 };
    s.append(StreamId::new(300, 0), &[b"f", &[b'x'; 100]], bytes);
    s.append(StreamId::new(301, 0), &[b"f", b"v"], bytes);
    assert_eq!(s.nodes().len(), 2);
}

#[test]
fn a_trim_stops_at_its_limit() {
    let mut s = Stream::new();
    for ms in 1..=1000 {
        add(&mut s, ms, &[b"f", b"v"]);
    }
    assert_eq!(s.trim(Keep::Newest(0), true, 250), 200);
    assert_eq!(s.trim(Keep::From(StreamId::new(950, 0)), true, 50), 0);
    assert_eq!(s.trim(Keep::From(StreamId::new(950, 0)), true, 0), 700);
}

#[test]
fn a_last_id_that_is_set_back_leaves_no_marks_behind_it() {
    let mut s = Stream::new();
    for ms in 1..=5 {
        add(&mut s, ms, &[b"f", b"v"]);
    }
    s.delete(&[StreamId::new(4, 0), StreamId::new(5, 0)]);
    s.set_counters(StreamId::new(3, 0), Some(u64::MAX / 2), Some(StreamId::new(1, 0)));
    add(&mut s, 4, &[b"g", b"v"]);
    assert_eq!((ids(&s), s.counters().added), (vec![1, 2, 3, 4], u64::MAX / 2));
    let nodes: Vec<_> = s.nodes().map(|(id, lp)| (id, lp.clone())).collect();
    assert_eq!(Stream::from_nodes(nodes, s.counters(), false).unwrap().counters(), s.counters());
}

#[test]
fn a_group_knows_how_far_it_is_behind_unless_there_are_holes() {
    let mut s = Stream::new();
    for ms in 1..=5 {
        add(&mut s, ms, &[b"f", b"v"]);
    }
    let at = |ms, read| Group::new(StreamId::new(ms, 0), read);
    assert_eq!((s.lag(&at(0, UNKNOWN)), s.lag(&at(5, UNKNOWN)), s.lag(&at(3, UNKNOWN))), (Some(5), Some(0), None));
    assert_eq!(s.lag(&at(3, 3)), Some(2));
    assert_eq!(s.lag(&at(1, UNKNOWN)), Some(4));
    s.delete(&[StreamId::new(4, 0)]);
    assert_eq!((s.lag(&at(3, 3)), s.lag(&at(4, 4)), s.lag(&at(5, 5))), (None, None, Some(0)));
}

#[test]
fn both_lists_of_pending_entries_agree() {
    let mut g = Group::new(StreamId::MIN, UNKNOWN);
    let id = StreamId::new;
    assert!(g.add_consumer(b"a", 1, -1) && g.add_consumer(b"b", 1, -1) && !g.add_consumer(b"a", 2, 2));
    g.assign(id(1, 0), b"a", 10, 1, Some(10));
    g.assign(id(2, 0), b"a", 10, 1, Some(10));
    g.assign(id(1, 0), b"b", 20, 2, Some(20));
    g.assign(id(3, 0), b"nobody", 20, 2, Some(20));
    assert_eq!(g.pending_len(), 2);
    assert_eq!((g.consumer(b"a").unwrap().pending_len(), g.consumer(b"b").unwrap().pending_len()), (1, 1));
    assert_eq!(&*g.nack(id(1, 0)).unwrap().consumer, b"b");
    assert!(g.acknowledge(id(1, 0)) && !g.acknowledge(id(1, 0)));
    assert_eq!((g.remove_consumer(b"a"), g.remove_consumer(b"a"), g.pending_len()), (Some(1), None, 0));
}

#[test]
fn foreign_nodes_are_checked() {
    let node = |words: &str| Listpack::from_items(words.split(' ').map(|w| crate::types::Elem::Str(w.as_bytes())));
    let load = |words: &str, len, last| {
        let c = Counters { len, last: StreamId::new(last, 0), added: len, ..Counters::default() };
        Stream::from_nodes([(StreamId::new(5, 0), node(words))], c, false)
    };
    let good = "2 1 1 f 0 2 0 0 v 4 3 2 0 12 4 0 4 0 1 g w 6";
    assert_eq!(ids(&load(good, 2, 9).unwrap()), [5, 9]);
    for (bad, why) in [
        ("2 1 1 f 0 2 0 0 v 4 3 2 0 12 4 0 4 0 1 g w 5", "a wrong way back"),
        ("2 1 1 f 0 2 0 0 v 4 3 2 0 12 4 0 4 0 1 g w", "an end in an entry"),
        ("3 0 1 f 0 2 0 0 v 4 3 2 0 12 4 0 4 0 1 g w 6", "a wrong count"),
        ("2 1 1 f 1 2 0 0 v 4 3 2 0 12 4 0 4 0 1 g w 6", "no end of the master"),
        ("2 1 1 f 0 2 0 0 v 4 3 0 0 12 4 0 4 0 1 g w 6", "an ID twice"),
        ("2 1 1 f 0 2 -1 0 v 4 3 2 0 12 4 0 4 0 1 g w 6", "an ID before the node's"),
        ("2 1 1 f 0 2 0 0 v 4 7 2 0 12 4 0 4 0 1 g w 6", "flags that nobody knows"),
        ("2 1 900 f 0 2 0 0 v 4 3 2 0 12 4 0 4 0 1 g w 6", "names that are not there"),
        ("2 1 -1 f 0 2 0 0 v 4 3 2 0 12 4 0 4 0 1 g w 6", "a negative count"),
        ("x", "no numbers"),
    ] {
        assert!(load(bad, 2, 9).is_err(), "{why}");
    }
    assert!(load(good, 3, 9).is_err() && load(good, 2, 8).is_err());
}

#[derive(Clone, Debug)]
enum Op {
    Add(u64, Vec<(u8, u8)>),
    Delete(usize),
    Trim(u64, bool),
    TrimFrom(usize, bool),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0u64..4, proptest::collection::vec((0u8..3, any::<u8>()), 1..4)).prop_map(|(d, f)| Op::Add(d, f)),
        2 => any::<usize>().prop_map(Op::Delete),
        1 => (0u64..40, any::<bool>()).prop_map(|(n, w)| Op::Trim(n, w)),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(n, w)| Op::TrimFrom(n, w)),
    ]
}

proptest! {
    #[test]
    fn it_behaves_like_an_ordered_map(ops in proptest::collection::vec(op(), 1..150), entries in 0usize..6) {
        let limits = NodeLimits { bytes: 200, entries };
        let mut s = Stream::new();
        let mut model: BTreeMap<StreamId, Vec<Vec<u8>>> = BTreeMap::new();
        for op in ops {
            match op {
                Op::Add(step, fields) => {
                    let items: Vec<Vec<u8>> = fields
                        .iter()
                        .flat_map(|(f, v)| [format!("field-{f}").into_bytes(), v.to_string().into_bytes()])
                        .collect();
                    let id = s.next_id(NewId::Auto(s.last_id().ms + step)).unwrap();
                    s.append(id, &items.iter().map(|i| &i[..]).collect::<Vec<_>>(), limits);
                    model.insert(id, items);
                }
                Op::Delete(n) => {
                    let id = model.keys().nth(n % (model.len() + 1)).copied().unwrap_or(StreamId::new(n as u64, 7));
                    prop_assert_eq!(s.delete(&[id]), u64::from(model.remove(&id).is_some()));
                }
                Op::Trim(n, whole) => {
                    let removed = s.trim(Keep::Newest(n), whole, 0);
                    prop_assert!(s.len() >= n.min(model.len() as u64) && (whole || s.len() <= n));
                    for _ in 0..removed {
                        model.pop_first();
                    }
                }
                Op::TrimFrom(n, whole) => {
                    let id = model.keys().nth(n % (model.len() + 1)).copied().unwrap_or(StreamId::MIN);
                    let removed = s.trim(Keep::From(id), whole, 0);
                    prop_assert!(whole || s.counters().first >= id || s.is_empty());
                    for _ in 0..removed {
                        model.pop_first();
                    }
                }
            }
            prop_assert_eq!(s.len(), model.len() as u64);
            prop_assert_eq!(s.counters().first, model.keys().next().copied().unwrap_or_default());
            prop_assert_eq!(s.last_entry(), model.keys().next_back().copied());
        }
        let all: Vec<_> = s.range(StreamId::MIN, StreamId::MAX).map(|e| (e.id, texts(&e))).collect();
        let mut back: Vec<_> = s.range_rev(StreamId::MIN, StreamId::MAX).map(|e| (e.id, texts(&e))).collect();
        back.reverse();
        prop_assert_eq!(&all, &back);
        prop_assert_eq!(all, model.iter().map(|(k, v)| (*k, v.clone())).collect::<Vec<_>>());
        for (a, b) in model.keys().zip(model.keys().skip(3)) {
            let part: Vec<_> = s.range(*a, *b).map(|e| e.id).collect();
            prop_assert_eq!(&part, &model.range(a..=b).map(|(k, _)| *k).collect::<Vec<_>>());
            let mut back: Vec<_> = s.range_rev(*a, *b).map(|e| e.id).collect();
            back.reverse();
            prop_assert_eq!(back, part);
            prop_assert!(s.get(*a).is_some());
        }
        let nodes: Vec<_> = s.nodes().map(|(id, lp)| (id, lp.clone())).collect();
        let again = Stream::from_nodes(nodes, s.counters(), false).unwrap();
        prop_assert_eq!(again.counters(), s.counters());
    }

    #[test]
    fn any_foreign_node_is_refused_or_can_be_used(
        words in proptest::collection::vec(-2i64..8, 0..40), id in 0u64..9, len in 0u64..4,
    ) {
        let lp = Listpack::from_items(words.iter().map(|n| crate::types::Elem::Int(*n)));
        let c = Counters { len, last: StreamId::MAX, added: len, ..Counters::default() };
        if let Ok(mut s) = Stream::from_nodes([(StreamId::new(id, 0), lp)], c, false) {
            prop_assert_eq!(ids(&s).len() as u64, len);
            prop_assert_eq!(s.range_rev(StreamId::MIN, StreamId::MAX).count() as u64, len);
            s.trim(Keep::Newest(1), false, 0);
            prop_assert!(s.len() <= 1);
        }
    }
}
