//! Walking through the entries of a stream, forwards or backwards.

use std::collections::{BTreeMap, btree_map};

use super::{Entry, Node, StreamId};

/// The entries of a range that were not deleted.
#[derive(Debug)]
pub struct Range<'a> {
    nodes: btree_map::Range<'a, StreamId, Node>,
    node: Option<(StreamId, &'a Node)>,
    /// The entry that comes next in `node`.
    next: Option<Entry<'a>>,
    start: StreamId,
    end: StreamId,
    backward: bool,
}

impl<'a> Range<'a> {
    pub(super) fn forward(nodes: &'a BTreeMap<StreamId, Node>, start: StreamId, end: StreamId) -> Range<'a> {
        // The node that holds `start` may begin before it.
        let from = nodes.range(..=start).next_back().map_or(StreamId::MIN, |(id, _)| *id);
        let span = if from <= end { nodes.range(from..=end) } else { nodes.range(from..from) };
        Range { nodes: span, node: None, next: None, start, end, backward: false }
    }
    pub(super) fn backward(nodes: &'a BTreeMap<StreamId, Node>, start: StreamId, end: StreamId) -> Range<'a> {
        Range { backward: true, ..Range::forward(nodes, start, end) }
    }
}

impl<'a> Iterator for Range<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        loop {
            let Some(entry) = self.next else {
                let (id, node) = if self.backward { self.nodes.next_back() } else { self.nodes.next() }?;
                self.node = Some((*id, node));
                self.next = if self.backward { node.last(*id) } else { node.first(*id) };
                continue;
            };
            let (master, node) = self.node?;
            if self.backward {
                if entry.id < self.start {
                    return None;
                }
                self.next = node.before(master, &entry);
            } else {
                if entry.id > self.end {
                    return None;
                }
                self.next = node.after(master, &entry);
            }
            if entry.id >= self.start && entry.id <= self.end && !entry.is_deleted() {
                return Some(entry);
            }
        }
    }
}
