//! Quicklist: the encoding of long lists, a sequence of listpacks of bounded size.
//!
//! Nodes stand in a ring buffer of small records instead of a doubly linked chain: both ends are still O(1), and a seek
//! by index adds up counts that lie side by side in memory. Inserting a node in the middle moves records, never
//! elements; at 8 KB of elements a record, that is a thousandth of the data.
//!
//! A node is a packed listpack, or one *plain* element too large to share one. With `list-compress-depth` n, all but
//! the n outermost nodes at each end are kept LZF-compressed; a read of such a node works on a copy, a write unpacks it,
//! changes it and packs it again. Pushes and pops touch only the ends, which are never compressed.
//!
//! Node limits are those of `list-max-listpack-size`, passed in with each growing call.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use super::elem::{Elem, Needle};
use super::limits::Limits;
use super::list::End;
use super::listpack::Listpack;
use super::lzf;
use crate::base::alloc::usable_size;

/// Bytes of a node under a count limit beyond which it takes no more elements.
const SAFETY_BYTES: usize = 8192;
/// What an element costs in a listpack on top of its bytes, at most.
const ELEMENT_OVERHEAD: usize = 8;
/// Smaller nodes are not worth compressing.
const MIN_COMPRESS_BYTES: usize = 48;
/// What compression must at least save.
const MIN_COMPRESS_GAIN: usize = 8;

/// A node's content. All variants are handles; the record stays small.
#[derive(Clone, Debug)]
enum Body {
    Packed(Listpack),
    Plain(Box<[u8]>),
    Squeezed(Box<Squeezed>),
}

/// A compressed node.
#[derive(Clone, Debug)]
struct Squeezed {
    data: Box<[u8]>,
    raw_len: usize,
    plain: bool,
}

#[derive(Clone, Debug)]
struct Node {
    body: Body,
    /// Elements in the node; never 0 between two calls.
    count: u32,
}

/// A node as a reader sees it.
pub enum View<'a> {
    /// A listpack of one or more elements.
    Packed(&'a Listpack),
    /// One large element.
    Plain(&'a [u8]),
}

/// How many bytes and elements a node may have.
#[derive(Clone, Copy)]
struct NodeLimit {
    bytes: usize,
    count: usize,
}

impl NodeLimit {
    fn of(limits: &Limits) -> Self {
        match limits.list_max_listpack_size {
            fill @ 0.. => NodeLimit { bytes: usize::MAX, count: fill.max(1) as usize },
            fill => {
                let level = (fill.unsigned_abs() - 1).min(4);
                NodeLimit { bytes: 4096 << level, count: usize::MAX }
            }
        }
    }

    fn exceeded(self, bytes: usize, count: usize) -> bool {
        if self.bytes != usize::MAX { bytes > self.bytes } else { bytes > SAFETY_BYTES || count > self.count }
    }
}

/// Whether a listpack of `bytes` and `count` is too large for one node: the point where a list becomes a quicklist.
pub fn exceeds_node(limits: &Limits, bytes: usize, count: usize) -> bool {
    NodeLimit::of(limits).exceeded(bytes, count)
}

fn is_large(limits: &Limits, len: usize) -> bool {
    match limits.list_packed_threshold {
        0 => match NodeLimit::of(limits).bytes {
            usize::MAX => len > SAFETY_BYTES,
            bytes => len > bytes,
        },
        threshold => len >= threshold,
    }
}

impl Node {
    fn packed(lp: Listpack) -> Self {
        Node { count: lp.len() as u32, body: Body::Packed(lp) }
    }

    fn single(value: &[u8], limits: &Limits) -> Self {
        if is_large(limits, value.len()) {
            Node { count: 1, body: Body::Plain(value.into()) }
        } else {
            let mut lp = Listpack::new();
            lp.append(Elem::Str(value));
            Node { count: 1, body: Body::Packed(lp) }
        }
    }

    /// Whether the node takes one more element of `len` bytes.
    fn takes(&self, limits: &Limits, len: usize) -> bool {
        let Some(bytes) = self.packed_bytes() else { return false };
        let fits = !NodeLimit::of(limits).exceeded(bytes + len + ELEMENT_OVERHEAD, self.count as usize + 1);
        fits && !is_large(limits, len)
    }

    /// Size of the node's listpack, packed or compressed; `None` for a plain node.
    fn packed_bytes(&self) -> Option<usize> {
        match &self.body {
            Body::Packed(lp) => Some(lp.bytes()),
            Body::Squeezed(s) if !s.plain => Some(s.raw_len),
            _ => None,
        }
    }

    fn squeeze(&mut self) {
        let (raw, plain) = match &self.body {
            Body::Packed(lp) => (lp.as_bytes(), false),
            Body::Plain(b) => (&b[..], true),
            Body::Squeezed(_) => return,
        };
        if raw.len() < MIN_COMPRESS_BYTES {
            return;
        }
        if let Some(data) = lzf::compress(raw, raw.len() - MIN_COMPRESS_GAIN) {
            let raw_len = raw.len();
            self.body = Body::Squeezed(Box::new(Squeezed { data: data.into_boxed_slice(), raw_len, plain }));
        }
    }

    fn unsqueeze(&mut self) {
        if let Body::Squeezed(s) = &self.body {
            self.body = s.unpacked();
        }
    }

    fn view<R>(&self, f: impl FnOnce(View<'_>) -> R) -> R {
        match &self.body {
            Body::Packed(lp) => f(View::Packed(lp)),
            Body::Plain(b) => f(View::Plain(b)),
            Body::Squeezed(s) => match s.unpacked() {
                Body::Plain(b) => f(View::Plain(&b)),
                Body::Packed(lp) => f(View::Packed(&lp)),
                Body::Squeezed(_) => unreachable!("a node is compressed once"),
            },
        }
    }

    /// The node's listpack for a change, unpacked first; `None` for a plain node.
    fn listpack(&mut self) -> Option<&mut Listpack> {
        self.unsqueeze();
        match &mut self.body {
            Body::Packed(lp) => Some(lp),
            _ => None,
        }
    }

    fn allocated(&self) -> usize {
        match &self.body {
            Body::Packed(lp) => lp.allocated(),
            Body::Plain(b) => usable_size(b.len()),
            Body::Squeezed(s) => usable_size(size_of::<Squeezed>()) + usable_size(s.data.len()),
        }
    }
}

impl Squeezed {
    fn unpacked(&self) -> Body {
        let raw = lzf::decompress(&self.data, self.raw_len).expect("this process compressed it");
        if self.plain { Body::Plain(raw.into_boxed_slice()) } else { Body::Packed(Listpack::from_vec(raw)) }
    }
}

/// A sequence of listpack nodes; see the module's header.
#[derive(Clone, Debug, Default)]
pub struct Quicklist {
    nodes: VecDeque<Node>,
    /// Sum of all `count`s.
    len: usize,
}

impl Quicklist {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of elements.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of nodes.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Adds a listpack as a node of its own at the end; an empty one is dropped.
    pub fn push_packed_node(&mut self, lp: Listpack) {
        if !lp.is_empty() {
            self.len += lp.len();
            self.nodes.push_back(Node::packed(lp));
        }
    }

    /// Adds an element as a plain node at the end.
    pub fn push_plain_node(&mut self, value: &[u8]) {
        self.len += 1;
        self.nodes.push_back(Node { body: Body::Plain(value.into()), count: 1 });
    }

    /// Shows the node at this place, if there is one.
    pub fn with_node(&self, at: usize, f: impl FnOnce(View<'_>)) {
        if let Some(node) = self.nodes.get(at) {
            node.view(f);
        }
    }

    /// Shows every node, first to last.
    pub fn for_each_node(&self, mut f: impl FnMut(View<'_>)) {
        for node in &self.nodes {
            node.view(&mut f);
        }
    }

    /// The only node's listpack, when there is exactly one node and it is packed.
    pub fn sole_listpack(&self) -> Option<&Listpack> {
        match self.nodes.as_slices() {
            ([Node { body: Body::Packed(lp), .. }], []) => Some(lp),
            _ => None,
        }
    }

    /// Takes [`Quicklist::sole_listpack`] out, leaving the list empty.
    pub fn take_sole_listpack(&mut self) -> Option<Listpack> {
        self.sole_listpack()?;
        self.len = 0;
        match self.nodes.pop_front()?.body {
            Body::Packed(lp) => Some(lp),
            _ => None,
        }
    }

    /// Adds `value` at `end`.
    pub fn push(&mut self, end: End, value: &[u8], limits: &Limits) {
        self.len += 1;
        let node = match end {
            End::Left => self.nodes.front_mut(),
            End::Right => self.nodes.back_mut(),
        };
        if let Some(node) = node
            && node.takes(limits, value.len())
            && let Some(lp) = node.listpack()
        {
            match end {
                End::Left => lp.prepend(Elem::Str(value)),
                End::Right => lp.append(Elem::Str(value)),
            }
            node.count += 1;
            return;
        }
        let node = Node::single(value, limits);
        match end {
            End::Left => self.nodes.push_front(node),
            End::Right => self.nodes.push_back(node),
        }
        self.balance_compression(limits);
    }

    /// The element at `end`.
    pub fn peek(&self, end: End) -> Option<Elem<'_>> {
        let node = match end {
            End::Left => self.nodes.front()?,
            End::Right => self.nodes.back()?,
        };
        match (&node.body, end) {
            (Body::Packed(lp), End::Left) => lp.first().map(|at| lp.get(at)),
            (Body::Packed(lp), End::Right) => lp.last().map(|at| lp.get(at)),
            (Body::Plain(b), _) => Some(Elem::Str(b)),
            (Body::Squeezed(_), _) => unreachable!("the outermost nodes are never compressed"),
        }
    }

    /// Removes the element at `end`; false when there is none.
    pub fn drop_end(&mut self, end: End, limits: &Limits) -> bool {
        let i = match end {
            End::Left => 0,
            End::Right => self.nodes.len().wrapping_sub(1),
        };
        let Some(node) = self.nodes.get_mut(i) else { return false };
        self.len -= 1;
        if node.count > 1 {
            node.count -= 1;
            if let Some(lp) = node.listpack() {
                let at = match end {
                    End::Left => lp.first(),
                    End::Right => lp.last(),
                };
                if let Some(at) = at {
                    lp.delete(at);
                }
            }
            return true;
        }
        match end {
            End::Left => self.nodes.pop_front(),
            End::Right => self.nodes.pop_back(),
        };
        self.balance_compression(limits);
        true
    }

    /// Node and index in it of the `index`-th element, counted from the nearer end.
    fn locate(&self, index: usize) -> Option<(usize, usize)> {
        if index >= self.len {
            return None;
        }
        if index <= self.len / 2 {
            let mut rest = index;
            for (i, node) in self.nodes.iter().enumerate() {
                if rest < node.count as usize {
                    return Some((i, rest));
                }
                rest -= node.count as usize;
            }
        } else {
            let mut rest = self.len - 1 - index;
            for (i, node) in self.nodes.iter().enumerate().rev() {
                let count = node.count as usize;
                if rest < count {
                    return Some((i, count - 1 - rest));
                }
                rest -= count;
            }
        }
        None
    }

    /// Shows elements from the `index`-th on, towards the tail (`forward`) or the head, until `f` breaks.
    pub fn for_each_from(
        &self,
        index: usize,
        forward: bool,
        f: &mut dyn FnMut(Elem<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let Some((mut i, mut inner)) = self.locate(index) else { return ControlFlow::Continue(()) };
        loop {
            let node = &self.nodes[i];
            node.view(|view| match view {
                View::Plain(b) => f(Elem::Str(b)),
                View::Packed(lp) => {
                    let Some(at) = lp.seek(inner as i64) else { return ControlFlow::Continue(()) };
                    if forward {
                        lp.iter_from(at).try_for_each(&mut *f)
                    } else {
                        f(lp.get(at))?;
                        lp.iter_until(at).rev().try_for_each(&mut *f)
                    }
                }
            })?;
            let next = if forward { i + 1 } else { i.wrapping_sub(1) };
            let Some(node) = self.nodes.get(next) else { return ControlFlow::Continue(()) };
            inner = if forward { 0 } else { node.count as usize - 1 };
            i = next;
        }
    }

    /// Replaces the `index`-th element; false when there is none.
    pub fn set(&mut self, index: usize, value: &[u8], limits: &Limits) -> bool {
        let Some((i, inner)) = self.locate(index) else { return false };
        let large = is_large(limits, value.len());
        let node = &mut self.nodes[i];
        let fits = !large
            && node.packed_bytes().is_some_and(|b| {
                let old = node.view(|v| match v {
                    View::Packed(lp) => lp.seek(inner as i64).map_or(0, |at| lp.get(at).len()),
                    View::Plain(b) => b.len(),
                });
                let grown = (b + value.len() + ELEMENT_OVERHEAD).saturating_sub(old);
                !NodeLimit::of(limits).exceeded(grown, node.count as usize)
            });
        if fits {
            if let Some(lp) = node.listpack()
                && let Some(at) = lp.seek(inner as i64)
            {
                lp.replace(at, Elem::Str(value));
            }
            self.recompress(i, limits);
        } else if node.count == 1 {
            *node = Node::single(value, limits);
            self.recompress(i, limits);
        } else {
            // The new value does not fit where the old one stood: it gets in beside it, the old one goes.
            self.insert_at(i, inner, value, false, limits);
            self.remove_range(index + 1, 1, limits);
        }
        true
    }

    /// Inserts `value` before or after the `index`-th element, which must exist.
    pub fn insert(&mut self, index: usize, value: &[u8], after: bool, limits: &Limits) {
        if let Some((i, inner)) = self.locate(index) {
            self.insert_at(i, inner, value, after, limits);
        }
    }

    fn insert_at(&mut self, i: usize, inner: usize, value: &[u8], after: bool, limits: &Limits) {
        self.len += 1;
        let place = inner + usize::from(after);
        let node = &mut self.nodes[i];
        let count = node.count as usize;
        if node.takes(limits, value.len()) {
            self.insert_into(i, place, value);
            self.recompress(i, limits);
            return;
        }
        let at_head = place == 0;
        let at_tail = place == count;
        if at_tail && self.nodes.get(i + 1).is_some_and(|n| n.takes(limits, value.len())) {
            self.insert_into(i + 1, 0, value);
            self.recompress(i + 1, limits);
            return;
        }
        if at_head && i > 0 && self.nodes[i - 1].takes(limits, value.len()) {
            let end = self.nodes[i - 1].count as usize;
            self.insert_into(i - 1, end, value);
            self.recompress(i - 1, limits);
            return;
        }
        let new = Node::single(value, limits);
        if at_head || at_tail {
            self.nodes.insert(i + usize::from(at_tail), new);
        } else {
            // A full node is cut where the element belongs; the parts then join whatever neighbour has room.
            let right = match self.nodes[i].listpack() {
                Some(lp) => lp.seek(place as i64).map(|at| lp.split_off(at)),
                None => None,
            };
            self.nodes[i].count = place as u32;
            if let Some(right) = right {
                self.nodes.insert(i + 1, Node::packed(right));
            }
            self.nodes.insert(i + 1, new);
            self.merge_around(i + 1, limits);
            self.recompress(i, limits);
        }
        self.balance_compression(limits);
    }

    fn insert_into(&mut self, i: usize, place: usize, value: &[u8]) {
        let node = &mut self.nodes[i];
        if let Some(lp) = node.listpack() {
            let at = lp.seek(place as i64).unwrap_or(lp.end());
            lp.insert(at, Elem::Str(value));
            node.count += 1;
        }
    }

    /// Joins neighbours of node `i` that fit into one node together: the two before it, the two after it, and it with
    /// what then stands on its sides.
    fn merge_around(&mut self, i: usize, limits: &Limits) {
        let mut centre = i;
        if centre >= 2 && self.merge_next(centre - 2, limits) {
            centre -= 1;
        }
        if centre + 2 < self.nodes.len() {
            self.merge_next(centre + 1, limits);
        }
        if centre >= 1 && self.merge_next(centre - 1, limits) {
            centre -= 1;
        }
        self.merge_next(centre, limits);
    }

    /// Merges node `i + 1` into node `i` when both are packed and fit together.
    fn merge_next(&mut self, i: usize, limits: &Limits) -> bool {
        let (Some(a), Some(b)) = (self.nodes.get(i), self.nodes.get(i + 1)) else { return false };
        let (Some(a_bytes), Some(b_bytes)) = (a.packed_bytes(), b.packed_bytes()) else { return false };
        // The merged node has one header and one end byte less.
        if NodeLimit::of(limits).exceeded(a_bytes + b_bytes - 7, a.count as usize + b.count as usize) {
            return false;
        }
        let Some(mut right) = self.nodes.remove(i + 1) else { return false };
        let left = &mut self.nodes[i];
        if let (Some(l), Some(r)) = (left.listpack(), right.listpack()) {
            l.extend(r);
            left.count += right.count;
        }
        true
    }

    /// Removes up to `count` elements from the `index`-th on; returns how many there were.
    pub fn remove_range(&mut self, index: usize, count: usize, limits: &Limits) -> usize {
        let count = count.min(self.len.saturating_sub(index));
        if count == 0 {
            return 0;
        }
        let Some((first, mut inner)) = self.locate(index) else { return 0 };
        self.len -= count;
        let mut rest = count;
        let mut i = first;
        let mut gone_from = None;
        let mut gone = 0;
        while rest > 0 {
            let node = &mut self.nodes[i];
            let have = node.count as usize;
            let take = rest.min(have - inner);
            if take == have {
                gone_from.get_or_insert(i);
                gone += 1;
            } else {
                if let Some(lp) = node.listpack() {
                    lp.delete_range(inner as i64, take);
                }
                node.count -= take as u32;
            }
            rest -= take;
            inner = 0;
            i += 1;
        }
        if let Some(from) = gone_from {
            self.nodes.drain(from..from + gone);
        }
        if limits.list_compress_depth > 0 {
            for k in first.saturating_sub(1)..(first + 2).min(self.nodes.len()) {
                self.recompress(k, limits);
            }
        }
        self.balance_compression(limits);
        count
    }

    /// Removes the first `max` elements equal to `needle`, seen from the head (`forward`) or the tail.
    pub fn remove_equal(&mut self, needle: &[u8], max: usize, forward: bool, limits: &Limits) -> usize {
        let wanted = Needle::new(needle);
        let mut removed = 0;
        let nodes = self.nodes.len();
        for step in 0..nodes {
            if removed == max {
                break;
            }
            let i = if forward { step } else { nodes - 1 - step };
            let node = &mut self.nodes[i];
            let hits = node.view(|view| match view {
                View::Plain(b) => usize::from(b == needle),
                View::Packed(lp) => lp.iter().filter(|e| wanted.is(*e)).count(),
            });
            if hits == 0 {
                continue;
            }
            let hits = hits.min(max - removed);
            if hits < node.count as usize
                && let Some(lp) = node.listpack()
            {
                remove_from_listpack(lp, needle, hits, forward);
            }
            node.count -= hits as u32;
            removed += hits;
            self.recompress(i, limits);
        }
        if removed > 0 {
            self.len -= removed;
            self.nodes.retain(|n| n.count > 0);
            self.balance_compression(limits);
        }
        removed
    }

    /// Compresses node `i` again after a change, when it is an inner one.
    fn recompress(&mut self, i: usize, limits: &Limits) {
        let depth = limits.list_compress_depth as usize;
        if depth > 0 && i >= depth && i + depth < self.nodes.len() {
            self.nodes[i].squeeze();
        }
    }

    /// Keeps the outermost `depth` nodes raw and compresses the ones just inside them: what the last push or pop moved
    /// over the border.
    fn balance_compression(&mut self, limits: &Limits) {
        let depth = limits.list_compress_depth as usize;
        let n = self.nodes.len();
        if depth == 0 {
            // The option may have been switched off since: the ends must be raw all the same.
            for i in [0, n.wrapping_sub(1)] {
                if let Some(node) = self.nodes.get_mut(i) {
                    node.unsqueeze();
                }
            }
            return;
        }
        for i in 0..depth.min(n) {
            self.nodes[i].unsqueeze();
            self.nodes[n - 1 - i].unsqueeze();
        }
        if n > 2 * depth {
            self.nodes[depth].squeeze();
            self.nodes[n - 1 - depth].squeeze();
        }
    }

    /// Bytes allocated, estimated from up to `samples` nodes (0: all).
    pub fn mem_usage(&self, samples: usize) -> usize {
        let n = self.nodes.len();
        let look = if samples == 0 { n } else { samples.min(n) };
        let seen: usize = self.nodes.iter().take(look).map(Node::allocated).sum();
        let nodes = if look == 0 { 0 } else { (seen as u128 * n as u128 / look as u128) as usize };
        usable_size(size_of::<Self>()) + usable_size(self.nodes.capacity() * size_of::<Node>()) + nodes
    }
}

/// Removes the first `max` elements equal to `needle` from one listpack, seen from its head or its tail.
pub(super) fn remove_from_listpack(lp: &mut Listpack, needle: &[u8], max: usize, forward: bool) -> usize {
    let mut removed = 0;
    if forward {
        let mut from = lp.first();
        while removed < max {
            let Some(at) = lp.find(from, needle, 0) else { break };
            from = lp.delete(at);
            removed += 1;
        }
    } else {
        let wanted = Needle::new(needle);
        let mut from = lp.last();
        while let Some(at) = from {
            if removed == max {
                break;
            }
            from = lp.prev(at);
            if wanted.is(lp.get(at)) {
                lp.delete(at);
                removed += 1;
            }
        }
    }
    removed
}
