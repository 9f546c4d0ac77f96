//! A B+tree of small copyable keys that knows how many keys are under each branch, so that it answers "which rank" and
//! "what stands at this rank" in O(log n). It is the order behind big sorted sets and behind the expiry of hash fields.
//!
//! A leaf is a vector of up to [`LEAF`] keys; a branch is a vector of up to [`FAN`] children, each with its least key and
//! its number of keys, so a descent compares inside one block a level. Leaves grow by an eighth of a block at a time,
//! and a key appended at either edge of the tree starts a new leaf instead of halving a full one, so lists built in
//! order are packed full.
//!
//! Range queries are two steps everywhere: a monotone predicate gives ranks ([`Tree::partition_point`]), and ranks give
//! elements ([`Tree::iter_from`], [`Tree::iter_back_from`]) or a removal ([`Tree::remove_range`]).
//!
//! Rejected: a skip list, as Redis has it, touches a cache line a comparison and needs some 37 bytes of links a member;
//! here it is 17.

use std::cmp::Ordering;

/// Keys in a full leaf: 1 KB of them.
const LEAF: usize = 64;
/// Children in a full branch.
const FAN: usize = 32;
/// Leaves get room in steps of this many keys.
const LEAF_STEP: usize = 8;

/// What a tree holds: copyable, with a total order. No two keys of a tree are equal.
pub trait Key: Copy {
    /// The order.
    fn order(&self, other: &Self) -> Ordering;
}

#[derive(Clone)]
enum Node<K> {
    Leaf(Vec<K>),
    Branch(Vec<Child<K>>),
}

#[derive(Clone)]
struct Child<K> {
    /// The least key below.
    min: K,
    /// The number of keys below; never 0 between two calls.
    count: usize,
    node: Node<K>,
}

/// The tree; see the module's header. All leaves are at the same depth.
#[derive(Clone)]
pub struct Tree<K> {
    root: Node<K>,
    len: usize,
}

impl<K: Key> Default for Tree<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K> std::fmt::Debug for Tree<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tree of {}", self.len)
    }
}

/// Where in the tree a node stands: a new leaf may start at an edge.
#[derive(Clone, Copy)]
struct Edge {
    first: bool,
    last: bool,
}

impl<K: Key> Tree<K> {
    /// An empty tree.
    pub const fn new() -> Self {
        Tree { root: Node::Leaf(Vec::new()), len: 0 }
    }

    /// Number of keys.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a key that is not in the tree yet.
    pub fn insert(&mut self, key: K) {
        self.len += 1;
        if let Some(right) = self.root.insert(key, Edge { first: true, last: true }) {
            let left = std::mem::replace(&mut self.root, Node::Branch(Vec::with_capacity(FAN)));
            if let (Some(left), Node::Branch(children)) = (Child::of(left), &mut self.root) {
                children.push(left);
                children.push(right);
            }
        }
    }

    /// Removes a key; false when it is not there.
    pub fn remove(&mut self, key: &K) -> bool {
        let removed = self.root.remove(key);
        if removed {
            self.len -= 1;
            self.lower_root();
        }
        removed
    }

    /// Replaces `old` by `new` without moving anything, when the order allows it and both stand inside one leaf.
    pub fn replace_in_place(&mut self, old: &K, new: K) -> bool {
        let mut node = &mut self.root;
        loop {
            match node {
                Node::Branch(children) => {
                    let i = child_for(children, old);
                    node = &mut children[i].node;
                }
                Node::Leaf(keys) => {
                    let Ok(i) = keys.binary_search_by(|k| k.order(old)) else { return false };
                    // The first key of a leaf is named by its parents, the last one is bounded by a neighbour we do
                    // not see: both are left to the slow way.
                    let fits = i > 0
                        && i + 1 < keys.len()
                        && keys[i - 1].order(&new) == Ordering::Less
                        && new.order(&keys[i + 1]) == Ordering::Less;
                    if fits {
                        keys[i] = new;
                    }
                    return fits;
                }
            }
        }
    }

    /// How many keys are less than `key`, when `key` is in the tree.
    pub fn rank(&self, key: &K) -> Option<usize> {
        let mut node = &self.root;
        let mut before = 0;
        loop {
            match node {
                Node::Branch(children) => {
                    let i = child_for(children, key);
                    before += children[..i].iter().map(|c| c.count).sum::<usize>();
                    node = &children[i].node;
                }
                Node::Leaf(keys) => return keys.binary_search_by(|k| k.order(key)).ok().map(|i| before + i),
            }
        }
    }

    /// How many keys at the front satisfy `pred`, which must hold for a prefix of the order and for nothing after it.
    pub fn partition_point(&self, pred: impl Fn(&K) -> bool) -> usize {
        let mut node = &self.root;
        let mut before = 0;
        loop {
            match node {
                Node::Branch(children) => {
                    let i = children.partition_point(|c| pred(&c.min)).saturating_sub(1);
                    before += children[..i].iter().map(|c| c.count).sum::<usize>();
                    node = &children[i].node;
                }
                Node::Leaf(keys) => return before + keys.partition_point(&pred),
            }
        }
    }

    /// The key at `rank`.
    pub fn get(&self, rank: usize) -> Option<K> {
        self.iter_from(rank).next()
    }

    /// The least key.
    pub fn first(&self) -> Option<K> {
        match &self.root {
            Node::Leaf(keys) => keys.first().copied(),
            Node::Branch(children) => children.first().map(|c| c.min),
        }
    }

    /// The keys from `rank` on, ascending.
    pub fn iter_from(&self, rank: usize) -> Cursor<'_, K> {
        if rank >= self.len { Cursor::nowhere() } else { Cursor::at(&self.root, rank) }
    }

    /// The keys from `rank` on, descending.
    pub fn iter_back_from(&self, rank: usize) -> impl Iterator<Item = K> + '_ {
        let mut cursor = self.iter_from(rank);
        std::iter::from_fn(move || cursor.step_back())
    }

    /// All keys, ascending.
    pub fn iter(&self) -> Cursor<'_, K> {
        self.iter_from(0)
    }

    /// Removes `count` keys from `rank` on, showing each to `f`.
    pub fn remove_range(&mut self, rank: usize, count: usize, f: &mut dyn FnMut(K)) {
        let count = count.min(self.len.saturating_sub(rank));
        if count == 0 {
            return;
        }
        self.len -= count;
        self.root.remove_range(rank, count, f);
        self.lower_root();
    }

    /// A root with one child gives way to it.
    fn lower_root(&mut self) {
        while let Node::Branch(children) = &mut self.root
            && children.len() < 2
        {
            self.root = children.pop().map_or(Node::Leaf(Vec::new()), |only| only.node);
        }
    }

    /// Bytes the tree's blocks take.
    pub fn mem_bytes(&self) -> usize {
        self.root.mem_bytes()
    }
}

/// Index of the child below which `key` is or belongs.
#[inline]
fn child_for<K: Key>(children: &[Child<K>], key: &K) -> usize {
    children.partition_point(|c| c.min.order(key) != Ordering::Greater).saturating_sub(1)
}

impl<K: Key> Child<K> {
    fn of(node: Node<K>) -> Option<Self> {
        Some(Child { min: node.min()?, count: node.count(), node })
    }
}

impl<K: Key> Node<K> {
    fn min(&self) -> Option<K> {
        match self {
            Node::Leaf(keys) => keys.first().copied(),
            Node::Branch(children) => children.first().map(|c| c.min),
        }
    }

    fn count(&self) -> usize {
        match self {
            Node::Leaf(keys) => keys.len(),
            Node::Branch(children) => children.iter().map(|c| c.count).sum(),
        }
    }

    fn width(&self) -> usize {
        match self {
            Node::Leaf(keys) => keys.len(),
            Node::Branch(children) => children.len(),
        }
    }

    fn capacity(&self) -> usize {
        match self {
            Node::Leaf(_) => LEAF,
            Node::Branch(_) => FAN,
        }
    }

    /// Inserts below this node; returns the right part when it had to be divided.
    fn insert(&mut self, key: K, edge: Edge) -> Option<Child<K>> {
        match self {
            Node::Leaf(keys) => {
                let at = keys.partition_point(|k| k.order(&key) == Ordering::Less);
                if keys.len() < LEAF {
                    put(keys, at, key);
                    return None;
                }
                let cut = if edge.last && at == LEAF {
                    LEAF
                } else if edge.first && at == 0 {
                    0
                } else {
                    LEAF / 2
                };
                let mut right = keys[cut..].to_vec();
                keys.truncate(cut);
                keys.shrink_to(cut.next_multiple_of(LEAF_STEP));
                if at > cut || cut == LEAF {
                    put(&mut right, at - cut, key);
                } else {
                    put(keys, at, key);
                }
                Child::of(Node::Leaf(right))
            }
            Node::Branch(children) => {
                let i = child_for(children, &key);
                let edge = Edge { first: edge.first && i == 0, last: edge.last && i + 1 == children.len() };
                let child = &mut children[i];
                child.count += 1;
                let split = child.node.insert(key, edge);
                if key.order(&child.min) == Ordering::Less {
                    child.min = key;
                }
                let right = split?;
                child.count -= right.count;
                children.insert(i + 1, right);
                if children.len() <= FAN {
                    return None;
                }
                // As with leaves: a tree built in order keeps its branches full.
                let cut = if edge.last {
                    FAN
                } else if edge.first {
                    1
                } else {
                    FAN / 2
                };
                let mut right = Vec::with_capacity(FAN + 1);
                right.extend(children.drain(cut..));
                Child::of(Node::Branch(right))
            }
        }
    }

    /// Removes `key` below this node; false when it is not there.
    fn remove(&mut self, key: &K) -> bool {
        match self {
            Node::Leaf(keys) => {
                let Ok(at) = keys.binary_search_by(|k| k.order(key)) else { return false };
                keys.remove(at);
                trim(keys);
            }
            Node::Branch(children) => {
                let i = child_for(children, key);
                let child = &mut children[i];
                if !child.node.remove(key) {
                    return false;
                }
                child.count -= 1;
                match child.node.min() {
                    Some(min) => child.min = min,
                    None => drop(children.remove(i)),
                }
                for k in [i, i.saturating_sub(1)] {
                    join(children, k);
                }
            }
        }
        true
    }

    fn remove_range(&mut self, rank: usize, count: usize, f: &mut dyn FnMut(K)) {
        match self {
            Node::Leaf(keys) => {
                keys.drain(rank..rank + count).for_each(&mut *f);
                trim(keys);
            }
            Node::Branch(children) => {
                let mut i = 0;
                let mut skip = rank;
                while skip >= children[i].count {
                    skip -= children[i].count;
                    i += 1;
                }
                let first = i;
                let mut rest = count;
                while rest > 0 {
                    let child = &mut children[i];
                    let take = rest.min(child.count - skip);
                    if take == child.count {
                        child.node.for_each(f);
                        child.count = 0;
                    } else {
                        child.node.remove_range(skip, take, f);
                        child.count -= take;
                        if let Some(min) = child.node.min() {
                            child.min = min;
                        }
                    }
                    rest -= take;
                    skip = 0;
                    i += 1;
                }
                // Only the outer two of the touched children can have something left.
                let mut kept = first;
                for k in first..i {
                    if children[k].count > 0 {
                        children.swap(kept, k);
                        kept += 1;
                    }
                }
                children.drain(kept..i);
                for k in (first.saturating_sub(1)..kept.min(children.len())).rev() {
                    join(children, k);
                }
            }
        }
    }

    fn for_each(&self, f: &mut dyn FnMut(K)) {
        match self {
            Node::Leaf(keys) => keys.iter().for_each(|k| f(*k)),
            Node::Branch(children) => children.iter().for_each(|c| c.node.for_each(f)),
        }
    }

    fn mem_bytes(&self) -> usize {
        match self {
            Node::Leaf(keys) => keys.capacity() * size_of::<K>(),
            Node::Branch(children) => {
                children.capacity() * size_of::<Child<K>>() + children.iter().map(|c| c.node.mem_bytes()).sum::<usize>()
            }
        }
    }
}

/// Joins child `i` with the next one, when one of them is small and both fit into one.
fn join<K: Key>(children: &mut Vec<Child<K>>, i: usize) {
    if i + 1 >= children.len() {
        return;
    }
    let (a, b) = (children[i].node.width(), children[i + 1].node.width());
    let capacity = children[i].node.capacity();
    if a.min(b) > capacity / 4 || a + b > capacity * 7 / 8 {
        return;
    }
    let right = children.remove(i + 1);
    let left = &mut children[i];
    left.count += right.count;
    match (&mut left.node, right.node) {
        (Node::Leaf(l), Node::Leaf(r)) => {
            l.reserve_exact((a + b).next_multiple_of(LEAF_STEP) - a);
            l.extend(r);
        }
        (Node::Branch(l), Node::Branch(r)) => l.extend(r),
        _ => unreachable!("children of one branch are at the same depth"),
    }
}

/// Gives memory of a leaf back that it has not needed for two steps.
fn trim<K>(keys: &mut Vec<K>) {
    if keys.len() + 2 * LEAF_STEP < keys.capacity() {
        keys.shrink_to(keys.len().next_multiple_of(LEAF_STEP));
    }
}

/// Inserts into a leaf, growing its block by a step when it is full.
#[inline]
fn put<K>(keys: &mut Vec<K>, at: usize, key: K) {
    if keys.len() == keys.capacity() {
        keys.reserve_exact(LEAF_STEP);
    }
    keys.insert(at, key);
}

/// A branch on the way down, with the index of the child taken.
type Turn<'a, K> = (&'a [Child<K>], usize);

/// A place in a tree; as an iterator it ascends.
pub struct Cursor<'a, K> {
    /// From the root down.
    path: smallvec::SmallVec<[Turn<'a, K>; 8]>,
    leaf: &'a [K],
    /// Index of the next key in `leaf`; `usize::MAX` when a step back passed the first one.
    at: usize,
}

impl<'a, K: Key> Cursor<'a, K> {
    fn nowhere() -> Self {
        Cursor { path: smallvec::SmallVec::new(), leaf: &[], at: 0 }
    }

    fn at(root: &'a Node<K>, mut rank: usize) -> Self {
        let mut cursor = Self::nowhere();
        let mut node = root;
        loop {
            match node {
                Node::Branch(children) => {
                    let mut i = 0;
                    while rank >= children[i].count {
                        rank -= children[i].count;
                        i += 1;
                    }
                    cursor.path.push((children, i));
                    node = &children[i].node;
                }
                Node::Leaf(keys) => {
                    cursor.leaf = keys;
                    cursor.at = rank;
                    return cursor;
                }
            }
        }
    }

    /// Moves to the neighbouring leaf; false at the edge of the tree.
    fn next_leaf(&mut self, forward: bool) -> bool {
        while let Some((children, i)) = self.path.pop() {
            let next = if forward { i + 1 } else { i.wrapping_sub(1) };
            let Some(child) = children.get(next) else { continue };
            self.path.push((children, next));
            let mut node = &child.node;
            loop {
                match node {
                    Node::Branch(children) => {
                        let i = if forward { 0 } else { children.len() - 1 };
                        self.path.push((children, i));
                        node = &children[i].node;
                    }
                    Node::Leaf(keys) => {
                        self.leaf = keys;
                        self.at = if forward { 0 } else { keys.len() - 1 };
                        return true;
                    }
                }
            }
        }
        self.leaf = &[];
        false
    }

    /// The key here, moving towards the start.
    fn step_back(&mut self) -> Option<K> {
        if self.at == usize::MAX && !self.next_leaf(false) {
            return None;
        }
        let key = *self.leaf.get(self.at)?;
        self.at = self.at.wrapping_sub(1);
        Some(key)
    }
}

impl<K: Key> Iterator for Cursor<'_, K> {
    type Item = K;

    #[inline]
    fn next(&mut self) -> Option<K> {
        if self.at == self.leaf.len() && !self.next_leaf(true) {
            return None;
        }
        let key = *self.leaf.get(self.at)?;
        self.at += 1;
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl Key for u32 {
        fn order(&self, other: &Self) -> Ordering {
            self.cmp(other)
        }
    }

    fn check(node: &Node<u32>, depth: usize) -> usize {
        match node {
            Node::Leaf(keys) => {
                assert!(keys.len() <= LEAF && keys.is_sorted());
                depth
            }
            Node::Branch(children) => {
                assert!(!children.is_empty() && children.len() <= FAN);
                let depths: Vec<_> = children
                    .iter()
                    .map(|c| {
                        assert_eq!((Some(c.min), c.count), (c.node.min(), c.node.count()));
                        assert!(c.count > 0);
                        check(&c.node, depth + 1)
                    })
                    .collect();
                assert!(depths.iter().all(|d| *d == depths[0]));
                depths[0]
            }
        }
    }

    #[test]
    fn a_tree_built_in_order_is_packed_full() {
        let mut up = Tree::new();
        let mut down = Tree::new();
        for i in 0..50_000u32 {
            up.insert(i);
            down.insert(50_000 - i);
        }
        for tree in [&up, &down] {
            check(&tree.root, 0);
            assert!(tree.mem_bytes() < 50_000 * 5, "{}", tree.mem_bytes());
        }
        assert!(up.iter().eq(0..50_000));
    }

    #[test]
    fn a_tree_filled_at_random_and_emptied_again_stays_sound() {
        let mut tree = Tree::new();
        let mut model = std::collections::BTreeSet::new();
        let mut x = 1u32;
        let mut next = || {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            x >> 8
        };
        for _ in 0..30_000 {
            let k = next();
            if model.insert(k) {
                tree.insert(k);
            }
        }
        check(&tree.root, 0);
        for (i, k) in model.iter().enumerate().step_by(97) {
            assert_eq!((tree.rank(k), tree.get(i)), (Some(i), Some(*k)));
            assert_eq!(tree.partition_point(|x| x < k), i);
        }
        while !model.is_empty() {
            let rank = next() as usize % model.len();
            let count = (next() as usize % 300).min(model.len() - rank);
            let gone: Vec<u32> = model.iter().skip(rank).take(count).copied().collect();
            let mut seen = Vec::new();
            tree.remove_range(rank, count, &mut |k| seen.push(k));
            assert_eq!(seen, gone);
            gone.iter().for_each(|k| assert!(model.remove(k)));
            check(&tree.root, 0);
        }
        assert!(tree.is_empty() && tree.mem_bytes() < 2048);
    }

    proptest! {
        #[test]
        fn it_behaves_like_a_sorted_set(ops in proptest::collection::vec((0u8..4, 0u32..2000, 0usize..120), 1..600)) {
            let mut tree = Tree::new();
            let mut model = std::collections::BTreeSet::new();
            for (op, k, n) in ops {
                match op {
                    0 | 1 => if model.insert(k) { tree.insert(k) },
                    2 => prop_assert_eq!(tree.remove(&k), model.remove(&k)),
                    _ => {
                        let rank = k as usize % (model.len() + 1);
                        let gone: Vec<u32> = model.iter().skip(rank).take(n).copied().collect();
                        let mut seen = Vec::new();
                        tree.remove_range(rank, n, &mut |k| seen.push(k));
                        for k in &gone { model.remove(k); }
                        prop_assert_eq!(seen, gone);
                    }
                }
                prop_assert_eq!(tree.len(), model.len());
            }
            check(&tree.root, 0);
            prop_assert!(tree.iter().eq(model.iter().copied()));
            if let Some(last) = model.len().checked_sub(1) {
                prop_assert!(tree.iter_back_from(last).eq(model.iter().rev().copied()));
            }
            prop_assert_eq!(tree.iter_back_from(model.len()).count(), 0);
            prop_assert_eq!(tree.first(), model.first().copied());
        }
    }
}
