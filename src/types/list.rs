//! The list type: one listpack while it is small, a quicklist beyond.
//!
//! A list turns into a quicklist when a write would take its listpack over the node limit of `list-max-listpack-size`,
//! and back when a removal leaves one node below half of it; the gap keeps a list at the border from flapping.
//!
//! Reading is by callback (`for_each_from`), because an element of a compressed node lives in a temporary copy.

use std::ops::ControlFlow;

use super::elem::{Elem, Needle};
use super::limits::Limits;
use super::listpack::Listpack;
use super::quicklist::{Quicklist, exceeds_node, remove_from_listpack};
use crate::base::alloc::usable_size;

/// One end of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The head: index 0.
    Left,
    /// The tail: index -1.
    Right,
}

/// A list; see the module's header.
#[derive(Clone, Debug)]
pub struct List(Repr);

#[derive(Clone, Debug)]
enum Repr {
    Packed(Listpack),
    Quick(Box<Quicklist>),
}

impl Default for List {
    fn default() -> Self {
        Self::new()
    }
}

impl List {
    /// An empty list.
    pub fn new() -> Self {
        List(Repr::Packed(Listpack::new()))
    }

    /// A list of a whole listpack, encoded as `limits` ask for.
    pub fn from_listpack(lp: Listpack, limits: &Limits) -> Self {
        let mut list = List(Repr::Packed(lp));
        list.reserve(0, 0, limits);
        list
    }

    /// A list of a whole quicklist, turned into a listpack when it fits one.
    pub fn from_quicklist(mut quick: Quicklist, limits: &Limits) -> Self {
        if quick.sole_listpack().is_some_and(|lp| !exceeds_node(limits, lp.bytes(), lp.len()))
            && let Some(lp) = quick.take_sole_listpack()
        {
            return List(Repr::Packed(lp));
        }
        List(Repr::Quick(Box::new(quick)))
    }

    /// The `OBJECT ENCODING` name.
    pub fn encoding(&self) -> &'static str {
        match self.0 {
            Repr::Packed(_) => "listpack",
            Repr::Quick(_) => "quicklist",
        }
    }

    /// The listpack, when that is the encoding.
    pub fn as_listpack(&self) -> Option<&Listpack> {
        match &self.0 {
            Repr::Packed(lp) => Some(lp),
            Repr::Quick(_) => None,
        }
    }

    /// The quicklist, when that is the encoding.
    pub fn as_quicklist(&self) -> Option<&Quicklist> {
        match &self.0 {
            Repr::Packed(_) => None,
            Repr::Quick(q) => Some(q),
        }
    }

    /// Number of elements.
    #[inline]
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Packed(lp) => lp.len(),
            Repr::Quick(q) => q.len(),
        }
    }

    /// Whether there is no element: such a list is deleted from its key.
    #[inline]
    pub fn is_empty(&self) -> bool {
        match &self.0 {
            Repr::Packed(lp) => lp.is_empty(),
            Repr::Quick(q) => q.is_empty(),
        }
    }

    /// Makes ready for `count` more elements of `bytes` bytes together: to be called before pushes and inserts, it
    /// decides about the encoding for all of them at once.
    pub fn reserve(&mut self, bytes: usize, count: usize, limits: &Limits) {
        let Repr::Packed(lp) = &mut self.0 else { return };
        if exceeds_node(limits, lp.bytes() + bytes, lp.len() + count) {
            let mut quick = Quicklist::new();
            quick.push_packed_node(std::mem::take(lp));
            self.0 = Repr::Quick(Box::new(quick));
        }
    }

    /// Turns a quicklist that shrank below half a node back into a listpack.
    fn shrink(&mut self, limits: &Limits) {
        let Repr::Quick(quick) = &mut self.0 else { return };
        if quick.is_empty() || quick.node_count() != 1 {
            return;
        }
        let small = quick.sole_listpack().is_some_and(|lp| match limits.list_max_listpack_size {
            fill @ 0.. => lp.len() <= fill.max(1) as usize / 2,
            fill => lp.bytes() <= (4096 << (fill.unsigned_abs() - 1).min(4)) / 2,
        });
        if small && let Some(lp) = quick.take_sole_listpack() {
            self.0 = Repr::Packed(lp);
        }
    }

    /// Adds `value` at `end`; [`List::reserve`] comes first.
    #[inline]
    pub fn push(&mut self, end: End, value: &[u8], limits: &Limits) {
        match (&mut self.0, end) {
            (Repr::Packed(lp), End::Left) => lp.prepend(Elem::Str(value)),
            (Repr::Packed(lp), End::Right) => lp.append(Elem::Str(value)),
            (Repr::Quick(q), _) => q.push(end, value, limits),
        }
    }

    /// The element at `end`.
    #[inline]
    pub fn peek(&self, end: End) -> Option<Elem<'_>> {
        match (&self.0, end) {
            (Repr::Packed(lp), End::Left) => lp.first().map(|at| lp.get(at)),
            (Repr::Packed(lp), End::Right) => lp.last().map(|at| lp.get(at)),
            (Repr::Quick(q), _) => q.peek(end),
        }
    }

    /// Removes the element at `end`, which [`List::peek`] showed; false when there is none.
    pub fn drop_end(&mut self, end: End, limits: &Limits) -> bool {
        match &mut self.0 {
            Repr::Packed(lp) => {
                let at = match end {
                    End::Left => lp.first(),
                    End::Right => lp.last(),
                };
                at.map(|at| lp.delete(at)).is_some()
            }
            Repr::Quick(q) => {
                let dropped = q.drop_end(end, limits);
                self.shrink(limits);
                dropped
            }
        }
    }

    /// Removes and returns the element at `end`.
    pub fn pop(&mut self, end: End, limits: &Limits) -> Option<Vec<u8>> {
        let value = self.peek(end)?.to_vec();
        self.drop_end(end, limits);
        Some(value)
    }

    /// Resolves an index that may be negative to one from the head; `None` when it is outside the list.
    pub fn resolve(&self, index: i64) -> Option<usize> {
        let len = self.len() as i64;
        let index = if index < 0 { index.checked_add(len)? } else { index };
        (0..len).contains(&index).then_some(index as usize)
    }

    /// Shows elements from the `index`-th on, towards the tail (`forward`) or the head, until `f` breaks.
    pub fn for_each_from(&self, index: usize, forward: bool, mut f: impl FnMut(Elem<'_>) -> ControlFlow<()>) {
        match &self.0 {
            Repr::Packed(lp) => {
                let Some(at) = lp.seek(index as i64) else { return };
                let _ = if forward {
                    lp.iter_from(at).try_for_each(f)
                } else {
                    f(lp.get(at)).is_continue().then(|| lp.iter_until(at).rev().try_for_each(f));
                    ControlFlow::Continue(())
                };
            }
            Repr::Quick(q) => {
                let _ = q.for_each_from(index, forward, &mut f);
            }
        }
    }

    /// Shows `count` elements from the `index`-th on.
    pub fn for_range(&self, index: usize, count: usize, mut f: impl FnMut(Elem<'_>)) {
        if count == 0 {
            return;
        }
        let mut rest = count;
        self.for_each_from(index, true, |e| {
            f(e);
            rest -= 1;
            if rest == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
    }

    /// Shows every element, first to last.
    pub fn for_each(&self, mut f: impl FnMut(Elem<'_>)) {
        self.for_each_from(0, true, |e| {
            f(e);
            ControlFlow::Continue(())
        });
    }

    /// Passes the `index`-th element to `f`; `None` when there is none.
    pub fn get<R>(&self, index: usize, f: impl FnOnce(Elem<'_>) -> R) -> Option<R> {
        let mut f = Some(f);
        let mut out = None;
        self.for_each_from(index, true, |e| {
            out = f.take().map(|f| f(e));
            ControlFlow::Break(())
        });
        out
    }

    /// Index of the first element equal to `value`, from the head.
    pub fn position(&self, value: &[u8]) -> Option<usize> {
        let needle = Needle::new(value);
        let mut index = 0;
        let mut found = false;
        self.for_each_from(0, true, |e| {
            if needle.is(e) {
                found = true;
                return ControlFlow::Break(());
            }
            index += 1;
            ControlFlow::Continue(())
        });
        found.then_some(index)
    }

    /// Replaces the `index`-th element; false when there is none.
    pub fn set(&mut self, index: usize, value: &[u8], limits: &Limits) -> bool {
        self.reserve(value.len(), 1, limits);
        match &mut self.0 {
            Repr::Packed(lp) => {
                let Some(at) = lp.seek(index as i64) else { return false };
                lp.replace(at, Elem::Str(value));
                true
            }
            Repr::Quick(q) => {
                let done = q.set(index, value, limits);
                self.shrink(limits);
                done
            }
        }
    }

    /// Inserts `value` before or after the `index`-th element, which must exist.
    pub fn insert(&mut self, index: usize, value: &[u8], after: bool, limits: &Limits) {
        self.reserve(value.len(), 1, limits);
        match &mut self.0 {
            Repr::Packed(lp) => {
                let at = lp.seek((index + usize::from(after)) as i64).unwrap_or(lp.end());
                lp.insert(at, Elem::Str(value));
            }
            Repr::Quick(q) => q.insert(index, value, after, limits),
        }
    }

    /// Removes elements equal to `value`: all (0), the first `count`, or, negative, the last `-count`.
    pub fn remove(&mut self, value: &[u8], count: i64, limits: &Limits) -> usize {
        let forward = count >= 0;
        let max = if count == 0 { usize::MAX } else { count.unsigned_abs() as usize };
        match &mut self.0 {
            Repr::Packed(lp) => remove_from_listpack(lp, value, max, forward),
            Repr::Quick(q) => {
                let removed = q.remove_equal(value, max, forward, limits);
                self.shrink(limits);
                removed
            }
        }
    }

    /// Removes up to `count` elements from the `index`-th on; returns how many there were.
    pub fn remove_range(&mut self, index: usize, count: usize, limits: &Limits) -> usize {
        match &mut self.0 {
            Repr::Packed(lp) => lp.delete_range(index as i64, count),
            Repr::Quick(q) => {
                let removed = q.remove_range(index, count, limits);
                self.shrink(limits);
                removed
            }
        }
    }

    /// A copy of its own.
    pub fn duplicate(&self) -> Self {
        self.clone()
    }

    /// Bytes allocated beyond the handle itself, estimated from up to `samples` nodes (0: all).
    pub fn mem_usage(&self, samples: usize) -> usize {
        match &self.0 {
            Repr::Packed(lp) => usable_size(lp.bytes()),
            Repr::Quick(q) => q.mem_usage(samples),
        }
    }

    /// How many allocations freeing the list takes: what decides whether it is freed in the background.
    pub fn free_effort(&self) -> usize {
        match &self.0 {
            Repr::Packed(_) => 1,
            Repr::Quick(q) => q.node_count(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const L: Limits = Limits::DEFAULT;

    fn texts(list: &List) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        list.for_each(|e| out.push(e.to_vec()));
        out
    }

    #[test]
    fn a_list_becomes_a_quicklist_at_the_limit_and_a_listpack_below_half_of_it() {
        let limits = Limits { list_max_listpack_size: 4, ..L };
        let mut list = List::new();
        for i in 0..4 {
            list.reserve(1, 1, &limits);
            list.push(End::Right, i.to_string().as_bytes(), &limits);
        }
        assert_eq!(list.encoding(), "listpack");
        list.reserve(1, 1, &limits);
        list.push(End::Right, b"4", &limits);
        assert_eq!(list.encoding(), "quicklist");
        for _ in 0..2 {
            list.drop_end(End::Right, &limits);
        }
        assert_eq!(list.encoding(), "quicklist");
        list.drop_end(End::Right, &limits);
        assert_eq!((list.encoding(), list.len()), ("listpack", 2));
    }

    #[test]
    fn a_large_element_gets_a_plain_node() {
        let big = vec![b'b'; 9000];
        let mut list = List::new();
        for v in [&b"a"[..], &big, b"z"] {
            list.reserve(v.len(), 1, &L);
            list.push(End::Right, v, &L);
        }
        assert_eq!(list.as_quicklist().unwrap().node_count(), 3);
        assert_eq!(texts(&list), [b"a".to_vec(), big, b"z".to_vec()]);
        assert!(list.set(1, b"small", &L));
        assert_eq!(texts(&list), [b"a".to_vec(), b"small".to_vec(), b"z".to_vec()]);
    }

    #[test]
    fn removal_counts_from_the_end_it_was_told() {
        let mut list = List::new();
        for v in ["a", "b", "a", "c", "a"] {
            list.push(End::Right, v.as_bytes(), &L);
        }
        assert_eq!(list.remove(b"a", -2, &L), 2);
        assert_eq!(texts(&list), [b"a", b"b", b"c"]);
        assert_eq!(list.remove(b"a", 0, &L), 1);
    }

    #[derive(Clone, Debug)]
    enum Op {
        Push(bool, Vec<u8>),
        Pop(bool),
        Set(usize, Vec<u8>),
        Insert(usize, bool, Vec<u8>),
        Remove(Vec<u8>, i64),
        RemoveRange(usize, usize),
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            4 => (0u8..6).prop_map(|n| vec![b'a' + n]),
            2 => any::<i16>().prop_map(|n| n.to_string().into_bytes()),
            2 => (40usize..300).prop_map(|n| vec![b'x'; n]),
            1 => (5000usize..9000).prop_map(|n| vec![b'y'; n]),
        ]
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            6 => (any::<bool>(), text()).prop_map(|(l, s)| Op::Push(l, s)),
            2 => any::<bool>().prop_map(Op::Pop),
            2 => (0usize..60, text()).prop_map(|(i, s)| Op::Set(i, s)),
            3 => (0usize..60, any::<bool>(), text()).prop_map(|(i, a, s)| Op::Insert(i, a, s)),
            1 => (text(), -3i64..4).prop_map(|(s, n)| Op::Remove(s, n)),
            1 => (0usize..60, 0usize..12).prop_map(|(i, n)| Op::RemoveRange(i, n)),
        ]
    }

    fn apply(list: &mut List, model: &mut Vec<Vec<u8>>, op: Op, limits: &Limits) {
        let end = |left| if left { End::Left } else { End::Right };
        match op {
            Op::Push(left, s) => {
                list.reserve(s.len(), 1, limits);
                list.push(end(left), &s, limits);
                if left { model.insert(0, s) } else { model.push(s) }
            }
            Op::Pop(left) => {
                let expected = match (left, model.is_empty()) {
                    (_, true) => None,
                    (true, _) => Some(model.remove(0)),
                    (false, _) => model.pop(),
                };
                assert_eq!(list.pop(end(left), limits), expected);
            }
            Op::Set(i, s) => {
                assert_eq!(list.set(i, &s, limits), i < model.len());
                if i < model.len() {
                    model[i] = s;
                }
            }
            Op::Insert(i, after, s) if i < model.len() => {
                list.insert(i, &s, after, limits);
                model.insert(i + usize::from(after), s);
            }
            Op::Insert(..) => {}
            Op::Remove(s, n) => {
                let mut hits: Vec<usize> = (0..model.len()).filter(|&i| model[i] == s).collect();
                if n < 0 {
                    hits.reverse();
                }
                if n != 0 {
                    hits.truncate(n.unsigned_abs() as usize);
                }
                hits.sort_unstable();
                for i in hits.iter().rev() {
                    model.remove(*i);
                }
                assert_eq!(list.remove(&s, n, limits), hits.len());
            }
            Op::RemoveRange(i, n) => {
                let end = (i + n).min(model.len());
                let there = end.saturating_sub(i);
                if there > 0 {
                    model.drain(i..end);
                }
                assert_eq!(list.remove_range(i, n, limits), there);
            }
        }
    }

    proptest! {
        #[test]
        fn it_behaves_like_a_vector(
            ops in proptest::collection::vec(op(), 1..150),
            fill in prop_oneof![Just(-2), Just(-1), 1i32..6],
            depth in 0u32..3,
        ) {
            let limits = Limits { list_max_listpack_size: fill, list_compress_depth: depth, ..L };
            let mut list = List::new();
            let mut model = Vec::new();
            for op in ops {
                apply(&mut list, &mut model, op, &limits);
                prop_assert_eq!(list.len(), model.len());
            }
            prop_assert_eq!(&texts(&list), &model);
            let mut backwards = Vec::new();
            list.for_each_from(model.len().wrapping_sub(1), false, |e| {
                backwards.push(e.to_vec());
                ControlFlow::Continue(())
            });
            backwards.reverse();
            prop_assert_eq!(&backwards, &model);
            for (i, s) in model.iter().enumerate() {
                prop_assert_eq!(list.get(i, |e| e.to_vec()), Some(s.clone()));
            }
            prop_assert_eq!(&texts(&list.duplicate()), &model);
        }
    }
}
