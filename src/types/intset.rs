//! Intset: a sorted array of integers, byte for byte as Redis lays it out.
//!
//! ```text
//! +----------------+--------------+-----------------------------------+
//! | width    u32le | length u32le | length integers of `width` bytes  |
//! +----------------+--------------+-----------------------------------+
//! ```
//!
//! The width is 2, 4 or 8, the least that holds every member ever added: it grows, and never shrinks. As in the
//! listpack the block is as long as the allocator's size class for what it holds.

use super::listpack::Malformed;
use crate::base::alloc::usable_size;

const HEADER: usize = 8;

/// A sorted set of integers; see the module's header for the layout.
#[derive(Clone)]
pub struct Intset {
    /// `block.len() == usable_size(HEADER + len * width)`.
    block: Box<[u8]>,
}

impl Default for Intset {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Intset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

fn width_for(n: i64) -> usize {
    match n {
        -0x8000..0x8000 => 2,
        -0x8000_0000..0x8000_0000 => 4,
        _ => 8,
    }
}

fn read(slot: &[u8]) -> i64 {
    match *slot {
        [a, b] => i64::from(i16::from_le_bytes([a, b])),
        [a, b, c, d] => i64::from(i32::from_le_bytes([a, b, c, d])),
        [a, b, c, d, e, f, g, h] => i64::from_le_bytes([a, b, c, d, e, f, g, h]),
        _ => 0,
    }
}

impl Intset {
    /// The empty set.
    pub fn new() -> Self {
        let mut block = vec![0; usable_size(HEADER)].into_boxed_slice();
        block[0] = 2;
        Intset { block }
    }

    /// Takes over foreign bytes after checking all of them: width, length, and that the members ascend.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let &[a, b, c, d, e, f, g, h, ref body @ ..] = bytes else { return Err(Malformed) };
        let width = u32::from_le_bytes([a, b, c, d]) as usize;
        let len = u32::from_le_bytes([e, f, g, h]) as usize;
        if !matches!(width, 2 | 4 | 8) || len.checked_mul(width) != Some(body.len()) {
            return Err(Malformed);
        }
        if !body.chunks_exact(width).map(read).is_sorted_by(|a, b| a < b) {
            return Err(Malformed);
        }
        let mut v = bytes.to_vec();
        let class = usable_size(v.len());
        v.reserve_exact(class - v.len());
        v.resize(class, 0);
        Ok(Intset { block: v.into_boxed_slice() })
    }

    /// The set's bytes, as Redis would store them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.block[..HEADER + self.len() * self.width()]
    }

    /// Size of the block that holds it.
    pub fn allocated(&self) -> usize {
        self.block.len()
    }

    #[inline]
    fn width(&self) -> usize {
        usize::from(self.block[0])
    }

    /// Number of members.
    #[inline]
    pub fn len(&self) -> usize {
        u32::from_le_bytes([self.block[4], self.block[5], self.block[6], self.block[7]]) as usize
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    fn at(&self, i: usize, width: usize) -> i64 {
        let start = HEADER + i * width;
        read(&self.block[start..start + width])
    }

    /// The `i`-th member in ascending order.
    pub fn get(&self, i: usize) -> Option<i64> {
        (i < self.len()).then(|| self.at(i, self.width()))
    }

    /// Where `n` stands (`Ok`), or where it would be inserted (`Err`).
    pub fn search(&self, n: i64) -> Result<usize, usize> {
        let width = self.width();
        let (mut low, mut high) = (0, self.len());
        // Ascending insertion is common: look at the last member first.
        if high > 0 && self.at(high - 1, width) < n {
            return Err(high);
        }
        while low < high {
            let mid = (low + high) / 2;
            match self.at(mid, width).cmp(&n) {
                std::cmp::Ordering::Less => low = mid + 1,
                std::cmp::Ordering::Equal => return Ok(mid),
                std::cmp::Ordering::Greater => high = mid,
            }
        }
        Err(low)
    }

    /// Whether `n` is a member.
    pub fn contains(&self, n: i64) -> bool {
        width_for(n) <= self.width() && self.search(n).is_ok()
    }

    /// Adds `n`; returns whether it is new.
    pub fn add(&mut self, n: i64) -> bool {
        let need = width_for(n);
        if need > self.width() {
            self.widen(need);
        }
        let Err(i) = self.search(n) else { return false };
        let (len, width) = (self.len(), self.width());
        self.resize_block(HEADER + (len + 1) * width);
        let at = HEADER + i * width;
        self.block.copy_within(at..HEADER + len * width, at + width);
        self.block[at..at + width].copy_from_slice(&n.to_le_bytes()[..width]);
        self.set_len(len + 1);
        true
    }

    /// Removes `n`; returns whether it was there.
    pub fn remove(&mut self, n: i64) -> bool {
        if width_for(n) > self.width() {
            return false;
        }
        match self.search(n) {
            Ok(i) => {
                self.remove_at(i);
                true
            }
            Err(_) => false,
        }
    }

    /// Removes the `i`-th member, if there is one.
    pub fn remove_at(&mut self, i: usize) {
        let (len, width) = (self.len(), self.width());
        if i >= len {
            return;
        }
        let at = HEADER + i * width;
        self.block.copy_within(at + width..HEADER + len * width, at);
        self.set_len(len - 1);
        self.resize_block(HEADER + (len - 1) * width);
    }

    fn set_len(&mut self, n: usize) {
        self.block[4..8].copy_from_slice(&(n as u32).to_le_bytes());
    }

    fn widen(&mut self, width: usize) {
        let len = self.len();
        let mut v = Vec::with_capacity(usable_size(HEADER + len * width));
        v.extend_from_slice(&(width as u32).to_le_bytes());
        v.extend_from_slice(&(len as u32).to_le_bytes());
        for n in self.iter() {
            v.extend_from_slice(&n.to_le_bytes()[..width]);
        }
        v.resize(usable_size(v.len()), 0);
        self.block = v.into_boxed_slice();
    }

    fn resize_block(&mut self, bytes: usize) {
        let class = usable_size(bytes);
        if class == self.block.len() {
            return;
        }
        let mut v = std::mem::take(&mut self.block).into_vec();
        if class > v.len() {
            v.reserve_exact(class - v.len());
            v.resize(class, 0);
        } else {
            v.truncate(class);
        }
        self.block = v.into_boxed_slice();
    }

    /// The members in ascending order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = i64> + ExactSizeIterator + Clone + '_ {
        let width = self.width();
        (0..self.len()).map(move |i| self.at(i, width))
    }

    /// The least member.
    pub fn min(&self) -> Option<i64> {
        self.get(0)
    }

    /// The greatest member.
    pub fn max(&self) -> Option<i64> {
        self.get(self.len().checked_sub(1)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_bytes_are_those_redis_writes() {
        let mut s = Intset::new();
        for n in [3, -1, 2, 3] {
            s.add(n);
        }
        assert_eq!(s.as_bytes(), [2, 0, 0, 0, 3, 0, 0, 0, 0xFF, 0xFF, 2, 0, 3, 0]);
        s.add(70_000);
        assert_eq!(s.as_bytes()[..8], [4, 0, 0, 0, 4, 0, 0, 0]);
        assert_eq!(s.iter().collect::<Vec<_>>(), [-1, 2, 3, 70_000]);
    }

    #[test]
    fn disorder_duplicates_and_wrong_lengths_are_refused() {
        let bytes = |w: u8, n: u8, body: &[u8]| [&[w, 0, 0, 0, n, 0, 0, 0], body].concat();
        assert!(Intset::from_bytes(&bytes(2, 2, &[1, 0, 2, 0])).is_ok());
        for bad in [
            bytes(2, 2, &[2, 0, 1, 0]),
            bytes(2, 2, &[1, 0, 1, 0]),
            bytes(2, 3, &[1, 0, 2, 0]),
            bytes(3, 1, &[1, 0, 0]),
            bytes(0, 0, &[]),
            vec![2, 0, 0],
        ] {
            assert!(Intset::from_bytes(&bad).is_err());
        }
    }

    proptest! {
        #[test]
        fn it_behaves_like_a_set(ops in proptest::collection::vec((any::<bool>(), prop_oneof![-50i64..50, any::<i64>(), -70_000i64..70_000]), 1..200)) {
            let mut s = Intset::new();
            let mut model = BTreeSet::new();
            for (add, n) in ops {
                if add {
                    prop_assert_eq!(s.add(n), model.insert(n));
                } else {
                    prop_assert_eq!(s.remove(n), model.remove(&n));
                }
                prop_assert_eq!(s.contains(n), model.contains(&n));
                prop_assert_eq!(s.allocated(), usable_size(s.as_bytes().len()));
            }
            prop_assert!(s.iter().eq(model.iter().copied()));
            let back = Intset::from_bytes(s.as_bytes()).unwrap();
            prop_assert!(back.iter().eq(model.iter().copied()));
            prop_assert_eq!((s.min(), s.max()), (model.first().copied(), model.last().copied()));
        }

        #[test]
        fn any_bytes_are_survived(data: Vec<u8>) {
            if let Ok(s) = Intset::from_bytes(&data) {
                prop_assert_eq!(s.iter().count(), s.len());
            }
        }
    }
}
