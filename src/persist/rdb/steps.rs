//! A value to bytes in steps, so that what a big one takes is divided among many short looks at it.
//!
//! Between two steps the value must stay as it was: whoever writes it out watches the key, and begins again when it was
//! touched; or keeps it from being touched, as a snapshot does. What is written is what [`super::write_value`] writes, but for the order of members.

use super::encode::{Writer, form_of, write_body};
use crate::keyspace::{Text, View};
use crate::types::stream::StreamId;

/// About so many bytes are written in a step.
const STEP: usize = 64 << 10;
/// Values of fewer members (or bytes, for strings) are not worth several steps.
const SMALL: usize = 512;
const SMALL_STRING: usize = 256 << 10;

/// Where the next step goes on.
enum At {
    Start,
    /// At a byte of a string.
    Byte(usize),
    /// At a node of a list.
    Node(usize),
    /// At a place in a table.
    Cursor(u64),
    /// At a member of a sorted set; they go from the last to the first.
    Rank(usize),
    /// Behind a node of a stream.
    Entry(StreamId),
    End,
}

/// A value on its way into bytes.
pub struct Steps {
    w: Writer,
    /// A string as it is: it is packed, if at all, with nothing locked.
    text: Vec<u8>,
    version: u16,
    at: At,
}

/// Whether a value is so big that it should be written in steps.
pub fn is_big(value: View<'_>) -> bool {
    match value {
        View::String(Text::Int(_)) => false,
        View::String(Text::Bytes(b)) => b.len() >= SMALL_STRING,
        View::List(l) => l.as_quicklist().is_some() && l.len() >= SMALL,
        View::Set(s) => s.as_intset().is_none() && s.len() >= SMALL,
        View::ZSet(z) => z.as_listpack().is_none() && z.len() >= SMALL,
        View::Hash(h) => h.as_listpack().is_none() && h.raw_len() >= SMALL,
        View::Stream(s) => s.len() >= SMALL as u64,
    }
}

impl Steps {
    /// `compress`: long strings are compressed where that makes them shorter.
    pub fn new(compress: bool) -> Steps {
        Steps { w: Writer::new(compress), text: Vec::new(), version: 0, at: At::Start }
    }

    /// Takes the memory that the next step will need: without it that happens, and may take long, with the value locked.
    pub fn make_room(&mut self) {
        self.w.bytes.reserve(2 * STEP);
        if matches!(self.at, At::Byte(_)) {
            self.text.reserve(4 * STEP);
        }
    }

    /// Writes some of the value. Whether that was the last of it.
    pub fn step(&mut self, value: View<'_>) -> bool {
        let until = self.w.bytes.len() + STEP;
        self.w.bytes.reserve(STEP + STEP / 4);
        if let At::Start = self.at {
            self.begin(value);
        }
        let w = &mut self.w;
        self.at = match (std::mem::replace(&mut self.at, At::End), value) {
            (At::Byte(from), View::String(Text::Bytes(b))) => {
                let to = b.len().min(from + 4 * STEP);
                self.text.extend_from_slice(&b[from..to]);
                if to == b.len() { At::End } else { At::Byte(to) }
            }
            (At::Node(mut n), View::List(l)) => {
                if let Some(q) = l.as_quicklist() {
                    while n < q.node_count() && w.bytes.len() < until {
                        q.with_node(n, |node| w.node(node));
                        n += 1;
                    }
                    if n < q.node_count() { At::Node(n) } else { At::End }
                } else {
                    At::End
                }
            }
            (At::Cursor(mut cursor), View::Set(s)) => loop {
                cursor = s.scan(cursor, |e| w.elem(e));
                match cursor {
                    0 => break At::End,
                    _ if w.bytes.len() >= until => break At::Cursor(cursor),
                    _ => {}
                }
            },
            (At::Cursor(mut cursor), View::Hash(h)) => loop {
                let volatile = h.has_volatile();
                cursor = h.scan_raw(cursor, |f, v, expiry| w.field(f, v, volatile.then_some(expiry)));
                match cursor {
                    0 => break At::End,
                    _ if w.bytes.len() >= until => break At::Cursor(cursor),
                    _ => {}
                }
            },
            (At::Rank(mut left), View::ZSet(z)) => {
                while left > 0 && w.bytes.len() < until {
                    let some = left.min(SMALL);
                    z.for_range(left - 1, some, true, |e, score| w.member(e, score));
                    left -= some;
                }
                if left > 0 { At::Rank(left) } else { At::End }
            }
            (At::Entry(mut after), View::Stream(s)) => {
                let mut more = false;
                for (id, node) in s.nodes_after(after) {
                    if w.bytes.len() >= until {
                        more = true;
                        break;
                    }
                    super::stream::write_node(w, id, node);
                    after = id;
                }
                if more {
                    At::Entry(after)
                } else {
                    super::stream::write_rest(w, s);
                    At::End
                }
            }
            _ => At::End,
        };
        matches!(self.at, At::End)
    }

    fn begin(&mut self, value: View<'_>) {
        let (kind, version) = form_of(value);
        let w = &mut self.w;
        w.bytes.push(kind);
        self.version = version;
        self.at = match value {
            _ if !is_big(value) => {
                write_body(w, value);
                At::End
            }
            View::String(text) => {
                // Only asked for: it is there once it is written to.
                self.text.reserve_exact(text.len());
                At::Byte(0)
            }
            View::List(l) => {
                w.length(l.as_quicklist().map_or(0, |q| q.node_count()) as u64);
                At::Node(0)
            }
            View::Set(s) => {
                w.length(s.len() as u64);
                At::Cursor(0)
            }
            View::Hash(h) => {
                w.length(h.raw_len() as u64);
                At::Cursor(0)
            }
            View::ZSet(z) => {
                w.length(z.len() as u64);
                At::Rank(z.len())
            }
            View::Stream(s) => match s.nodes().next() {
                None => {
                    write_body(w, value);
                    At::End
                }
                Some((first, node)) => {
                    w.length(s.nodes().len() as u64);
                    super::stream::write_node(w, first, node);
                    At::Entry(first)
                }
            },
        };
    }

    /// What is written so far, and is not to be given out again.
    pub fn take_written(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.w.bytes)
    }

    /// Type byte and body without what was taken, and the version that a reader must know. All steps were made.
    pub fn finish(mut self) -> (Vec<u8>, u16) {
        if !self.text.is_empty() {
            self.w.string(&self.text);
        }
        (self.w.bytes, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Reader, read_value, write_value};
    use super::*;
    use crate::keyspace::Value;
    use crate::types::hash::Expiry;
    use crate::types::stream::NodeLimits;
    use crate::types::{Elem, End, Hash, Limits, List, Set, Stream, ZSet};

    /// The value as it comes back, and how many steps that took.
    fn there_and_back(value: &Value, compress: bool) -> (Value, usize) {
        let (mut steps, mut n) = (Steps::new(compress), 1);
        while !steps.step(value.view()) {
            n += 1;
        }
        let (bytes, version) = steps.finish();
        assert!(version > 0);
        let mut r = Reader::new(&bytes);
        let what = r.byte().unwrap();
        let back = read_value(what, &mut r, &Limits::default(), 0).unwrap();
        assert!(r.rest().is_empty());
        (back, n)
    }

    /// The members, sorted.
    fn contents(value: &Value) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        let text = |e: Elem<'_>| e.to_vec();
        match value.view() {
            View::String(Text::Bytes(b)) => return vec![b.to_vec()],
            View::String(Text::Int(n)) => return vec![n.to_string().into_bytes()],
            View::List(l) => {
                l.for_each(|e| all.push(text(e)));
                return all;
            }
            View::Set(s) => s.for_each(|e| all.push(text(e))),
            View::ZSet(z) => z.for_each(|e, score| all.push([text(e), score.to_le_bytes().to_vec()].concat())),
            View::Hash(h) => h.for_each_raw(|f, v, at| {
                all.push([text(f), b"=".to_vec(), text(v), at.unwrap_or(-1).to_le_bytes().to_vec()].concat());
            }),
            View::Stream(_) => {
                let mut w = Writer::new(false);
                write_value(&mut w, value.view());
                return vec![w.bytes];
            }
        }
        all.sort();
        all
    }

    fn same(value: &Value, at_least: usize) {
        for compress in [true, false] {
            let (back, steps) = there_and_back(value, compress);
            assert!(contents(&back) == contents(value));
            assert!(compress || steps >= at_least, "{steps} steps");
        }
    }

    #[test]
    fn big_values_of_every_type_go_in_steps_and_come_back_whole() {
        let limits = Limits::default();
        let n = 50_000;
        let word = |i: usize| format!("member:{i:08}").into_bytes();
        same(&Value::Raw((0..3_000_000u32).map(|i| (i * 7 % 251) as u8).collect()), 10);
        let mut list = List::new();
        list.reserve(16 * n, n, &limits);
        (0..n).for_each(|i| list.push(End::Right, &word(i), &limits));
        list.push(End::Right, &vec![b'x'; 100_000], &limits);
        same(&Value::List(Box::new(list)), 10);
        let mut set = Set::new();
        for i in 0..n {
            set.add(&word(i), &limits);
        }
        same(&Value::Set(Box::new(set)), 10);
        let mut zset = ZSet::for_members(n, 16, &limits);
        for i in 0..n {
            zset.insert(&word(i), i as f64 / 3.0, &limits);
        }
        same(&Value::ZSet(Box::new(zset)), 10);
        for expiring in [false, true] {
            let mut hash = Hash::new();
            for i in 0..n {
                hash.set(&word(i), b"value", Expiry::Keep, 0, &limits);
            }
            if expiring {
                for i in (0..n).step_by(3) {
                    hash.set_expiry(&word(i), Some(1 << 50), 0);
                }
            }
            same(&Value::Hash(Box::new(hash)), 10);
        }
        let mut stream = Stream::new();
        let nodes = NodeLimits::DEFAULT;
        (1..n as u64).for_each(|i| stream.append(StreamId::new(i, 0), &[b"field", &word(i as usize)], nodes));
        same(&Value::Stream(Box::new(stream)), 3);
    }

    #[test]
    fn small_values_take_one_step() {
        let limits = Limits::default();
        for value in [Value::String(b"12345".to_vec()), Value::String(vec![b'a'; 1000])] {
            same(&value, 1);
            assert_eq!(there_and_back(&value, true).1, 1);
        }
        let mut set = Set::new();
        for i in 0..20 {
            set.add(i.to_string().as_bytes(), &limits);
        }
        let value = Value::Set(Box::new(set));
        assert!(!is_big(value.view()));
        assert_eq!(there_and_back(&value, true).1, 1);
    }
}
