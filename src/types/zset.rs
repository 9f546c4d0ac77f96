//! The sorted set type: a listpack of member-score pairs while it is small, a table with a B+tree of ranks beyond.
//!
//! Every range, by index, score or member, comes down to ranks: [`ZSet::score_span`] and [`ZSet::lex_span`] give
//! the first rank and the count, [`ZSet::for_range`] shows, [`ZSet::remove_range`] removes. Reverse reading is the same
//! span from its other end.

use super::elem::Elem;
use super::limits::Limits;
use super::listpack::{Listpack, Malformed};
use super::ranked::Ranked;
use super::set::select;
use crate::base::num;
use crate::base::rng;

/// A range of scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoreRange {
    /// The low end.
    pub min: f64,
    /// Whether the low end itself is left out.
    pub min_open: bool,
    /// The high end.
    pub max: f64,
    /// Whether the high end itself is left out.
    pub max_open: bool,
}

impl ScoreRange {
    #[inline]
    fn below(&self, score: f64) -> bool {
        if self.min_open { score <= self.min } else { score < self.min }
    }

    #[inline]
    fn not_above(&self, score: f64) -> bool {
        if self.max_open { score < self.max } else { score <= self.max }
    }

    fn is_void(&self) -> bool {
        self.min > self.max || (self.min == self.max && (self.min_open || self.max_open))
    }
}

/// One end of a range of members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LexBound<'a> {
    /// `-`: before every member.
    First,
    /// `+`: after every member.
    Last,
    /// `[m`: at `m`, included.
    Closed(&'a [u8]),
    /// `(m`: at `m`, left out.
    Open(&'a [u8]),
}

/// A range of members that all have the same score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LexRange<'a> {
    /// The low end.
    pub min: LexBound<'a>,
    /// The high end.
    pub max: LexBound<'a>,
}

impl LexRange<'_> {
    fn below(&self, member: &[u8]) -> bool {
        match self.min {
            LexBound::First => false,
            LexBound::Last => true,
            LexBound::Closed(m) => member < m,
            LexBound::Open(m) => member <= m,
        }
    }

    fn not_above(&self, member: &[u8]) -> bool {
        match self.max {
            LexBound::First => false,
            LexBound::Last => true,
            LexBound::Closed(m) => member <= m,
            LexBound::Open(m) => member < m,
        }
    }
}

/// A sorted set; see the module's header.
pub struct ZSet(Repr);

enum Repr {
    Packed(Listpack),
    Ranked(Box<Ranked>),
}

impl Default for ZSet {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for ZSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ZSet({}, {})", self.encoding(), self.len())
    }
}

/// The score that an element of a packed sorted set spells.
fn score_of(e: Elem<'_>) -> Option<f64> {
    match e {
        Elem::Int(n) => Some(n as f64),
        Elem::Str(s) => num::parse_f64(s),
    }
}

/// Calls `f` with the element that a packed sorted set stores for `score`.
fn with_score_elem<R>(score: f64, f: impl FnOnce(Elem<'_>) -> R) -> R {
    match num::exact_i64(score) {
        Some(n) => f(Elem::Int(n)),
        None => {
            let mut text = Vec::with_capacity(24);
            num::fmt_f64(score, &mut text);
            f(Elem::Str(&text))
        }
    }
}

/// The member-score pairs from position `at` on.
fn pairs_from(lp: &Listpack, at: Option<usize>) -> impl Iterator<Item = (Elem<'_>, f64)> {
    let mut it = lp.iter_from(at.unwrap_or(lp.end()));
    std::iter::from_fn(move || Some((it.next()?, score_of(it.next()?)?)))
}

impl ZSet {
    /// An empty sorted set.
    pub fn new() -> Self {
        ZSet(Repr::Packed(Listpack::new()))
    }

    /// An empty sorted set for about `expected` members of at most `longest` bytes.
    pub fn for_members(expected: usize, longest: usize, limits: &Limits) -> Self {
        if expected <= limits.zset_max_listpack_entries && longest <= limits.zset_max_listpack_value {
            Self::new()
        } else {
            ZSet(Repr::Ranked(Box::default()))
        }
    }

    /// A sorted set of a listpack's pairs; an error when they are no pairs of distinct members and numbers. Pairs out of
    /// order are put in order.
    pub fn from_listpack(lp: Listpack, limits: &Limits) -> Result<Self, Malformed> {
        if !lp.len().is_multiple_of(2) {
            return Err(Malformed);
        }
        let mut pairs = Vec::with_capacity(lp.len() / 2);
        for (member, score) in lp.pairs() {
            pairs.push((member.to_vec(), score_of(score).ok_or(Malformed)?));
        }
        let mut seen = std::collections::HashSet::with_capacity(pairs.len());
        if !pairs.iter().all(|(m, _)| seen.insert(m.as_slice())) {
            return Err(Malformed);
        }
        let sorted = pairs.is_sorted_by(|a, b| a.1 < b.1 || (a.1 == b.1 && a.0 < b.0));
        let longest = pairs.iter().map(|(m, _)| m.len()).max().unwrap_or(0);
        let fits = pairs.len() <= limits.zset_max_listpack_entries && longest <= limits.zset_max_listpack_value;
        if sorted && fits {
            return Ok(ZSet(Repr::Packed(lp)));
        }
        let mut set = Self::for_members(pairs.len(), longest, limits);
        for (member, score) in &pairs {
            set.update(member, limits, |_| Some(*score));
        }
        Ok(set)
    }

    /// The `OBJECT ENCODING` name: that of the structure Redis clients know, whatever keeps the order underneath.
    pub fn encoding(&self) -> &'static str {
        match self.0 {
            Repr::Packed(_) => "listpack",
            Repr::Ranked(_) => "skiplist",
        }
    }

    /// The listpack, when that is the encoding.
    pub fn as_listpack(&self) -> Option<&Listpack> {
        match &self.0 {
            Repr::Packed(lp) => Some(lp),
            Repr::Ranked(_) => None,
        }
    }

    /// Number of members.
    #[inline]
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Packed(lp) => lp.len() / 2,
            Repr::Ranked(r) => r.len(),
        }
    }

    /// Whether there is no member: such a sorted set is deleted from its key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Turns a freshly built set that ended up small into a listpack.
    pub fn settle(&mut self, limits: &Limits) {
        let Repr::Ranked(r) = &self.0 else { return };
        if r.len() > limits.zset_max_listpack_entries
            || r.iter_from(0).any(|(m, _)| m.len() > limits.zset_max_listpack_value)
        {
            return;
        }
        let mut lp = Listpack::new();
        for (member, score) in r.iter_from(0) {
            lp.append(Elem::Str(member));
            with_score_elem(score, |e| lp.append(e));
        }
        self.0 = Repr::Packed(lp);
    }

    fn rank_all(&mut self) -> &mut Ranked {
        if let Repr::Packed(lp) = &self.0 {
            let mut ranked = Box::<Ranked>::default();
            for (member, score) in pairs_from(lp, lp.first()) {
                ranked.update(member.as_bytes(&mut itoa::Buffer::new()), |_| Some(score));
            }
            self.0 = Repr::Ranked(ranked);
        }
        match &mut self.0 {
            Repr::Ranked(r) => r,
            Repr::Packed(_) => unreachable!("just made"),
        }
    }

    /// The member's score.
    #[inline]
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        match &self.0 {
            Repr::Packed(lp) => {
                let at = lp.find(lp.first(), member, 1)?;
                score_of(lp.get(lp.next(at)?))
            }
            Repr::Ranked(r) => r.score(member),
        }
    }

    /// Looks the member up and gives it the score that `f` makes of its present one (`None`: it is not there); `f`
    /// declines with `None`. Returns the present score. The new score must not be NaN.
    pub fn update(
        &mut self,
        member: &[u8],
        limits: &Limits,
        f: impl FnOnce(Option<f64>) -> Option<f64>,
    ) -> Option<f64> {
        let lp = match &mut self.0 {
            Repr::Ranked(r) => return r.update(member, f),
            Repr::Packed(lp) => lp,
        };
        let found = lp.find(lp.first(), member, 1);
        let old = found.and_then(|at| score_of(lp.get(lp.next(at)?)));
        let Some(score) = f(old) else { return old };
        match (found, old) {
            (Some(_), Some(o)) if o == score => {}
            (Some(at), _) => {
                lp.delete_at(at, 2);
                insert_pair(lp, member, score);
            }
            (None, _) => {
                let fits = lp.len() / 2 < limits.zset_max_listpack_entries
                    && member.len() <= limits.zset_max_listpack_value
                    && lp.has_room(member.len());
                if fits {
                    insert_pair(lp, member, score);
                } else {
                    self.rank_all().update(member, |_| Some(score));
                }
            }
        }
        old
    }

    /// Gives the member a score; returns the one it had.
    pub fn insert(&mut self, member: &[u8], score: f64, limits: &Limits) -> Option<f64> {
        self.update(member, limits, |_| Some(score))
    }

    /// Removes the member; returns its score.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        match &mut self.0 {
            Repr::Packed(lp) => {
                let at = lp.find(lp.first(), member, 1)?;
                let score = score_of(lp.get(lp.next(at)?));
                lp.delete_at(at, 2);
                score
            }
            Repr::Ranked(r) => r.remove(member),
        }
    }

    /// The member's rank, from the lowest score, and its score.
    pub fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        match &self.0 {
            Repr::Packed(lp) => {
                let needle = super::elem::Needle::new(member);
                pairs_from(lp, lp.first()).enumerate().find(|(_, (m, _))| needle.is(*m)).map(|(i, (_, s))| (i, s))
            }
            Repr::Ranked(r) => r.rank(member),
        }
    }

    /// The first rank and the number of members with a score in `range`.
    pub fn score_span(&self, range: &ScoreRange) -> (usize, usize) {
        if range.is_void() {
            return (0, 0);
        }
        let (start, end) = match &self.0 {
            Repr::Packed(lp) => {
                let start = pairs_from(lp, lp.first()).take_while(|(_, s)| range.below(*s)).count();
                let rest = pairs_from(lp, lp.seek(2 * start as i64));
                (start, start + rest.take_while(|(_, s)| range.not_above(*s)).count())
            }
            Repr::Ranked(r) => {
                (r.partition_point_by_score(|s| range.below(s)), r.partition_point_by_score(|s| range.not_above(s)))
            }
        };
        (start, end.saturating_sub(start))
    }

    /// The first rank and the number of members in `range`. The order is by member only when all scores are equal.
    pub fn lex_span(&self, range: &LexRange<'_>) -> (usize, usize) {
        let (start, end) = match &self.0 {
            Repr::Packed(lp) => {
                let mut buf = itoa::Buffer::new();
                let start = pairs_from(lp, lp.first()).take_while(|(m, _)| range.below(m.as_bytes(&mut buf))).count();
                let rest = pairs_from(lp, lp.seek(2 * start as i64));
                (start, start + rest.take_while(|(m, _)| range.not_above(m.as_bytes(&mut buf))).count())
            }
            Repr::Ranked(r) => (r.partition_point(|m, _| range.below(m)), r.partition_point(|m, _| range.not_above(m))),
        };
        (start, end.saturating_sub(start))
    }

    /// Shows `count` members from `rank` on, ascending or (`reverse`) descending.
    pub fn for_range(&self, rank: usize, count: usize, reverse: bool, mut f: impl FnMut(Elem<'_>, f64)) {
        match (&self.0, reverse) {
            (Repr::Packed(lp), false) => {
                pairs_from(lp, lp.seek(2 * rank as i64)).take(count).for_each(|(m, s)| f(m, s));
            }
            (Repr::Packed(lp), true) => {
                // Stand behind the pair of `rank`, and walk to the left.
                if rank >= self.len() {
                    return;
                }
                let end = lp.seek(2 * rank as i64 + 2).unwrap_or(lp.end());
                let mut it = lp.iter_until(end);
                for _ in 0..count {
                    let (Some(score), Some(member)) = (it.next_back(), it.next_back()) else { return };
                    f(member, score_of(score).unwrap_or(0.0));
                }
            }
            (Repr::Ranked(r), false) => r.iter_from(rank).take(count).for_each(|(m, s)| f(Elem::Str(m), s)),
            (Repr::Ranked(r), true) => r.iter_back_from(rank).take(count).for_each(|(m, s)| f(Elem::Str(m), s)),
        }
    }

    /// Shows every member, ascending.
    pub fn for_each(&self, f: impl FnMut(Elem<'_>, f64)) {
        self.for_range(0, usize::MAX, false, f);
    }

    /// Removes up to `count` members from `rank` on, showing each to `f`.
    pub fn remove_range(&mut self, rank: usize, count: usize, mut f: impl FnMut(Elem<'_>, f64)) {
        if count == 0 {
            return;
        }
        match &mut self.0 {
            Repr::Packed(lp) => {
                let Some(at) = lp.seek(2 * rank as i64) else { return };
                pairs_from(lp, Some(at)).take(count).for_each(|(m, s)| f(m, s));
                lp.delete_at(at, count.saturating_mul(2));
            }
            Repr::Ranked(r) => r.remove_range(rank, count, |m, s| f(Elem::Str(m), s)),
        }
    }

    /// One step of an incremental walk: shows some members and returns the cursor to go on with, 0 at the end. A packed
    /// set is shown whole.
    pub fn scan(&self, cursor: u64, mut f: impl FnMut(Elem<'_>, f64)) -> u64 {
        match &self.0 {
            Repr::Ranked(r) => r.scan(cursor, |m, s| f(Elem::Str(m), s)),
            Repr::Packed(_) => {
                self.for_each(f);
                0
            }
        }
    }

    /// Shows a random member, each with the same probability; nothing when there is none.
    pub fn random(&self, f: impl FnMut(Elem<'_>, f64)) {
        self.for_range(rng::below(self.len() as u64) as usize, 1, false, f);
    }

    /// Shows `n` distinct random members (all, when there are no more); every choice of `n` is equally likely.
    pub fn sample(&self, n: usize, mut f: impl FnMut(Elem<'_>, f64)) {
        let len = self.len();
        match &self.0 {
            Repr::Ranked(r) if n < len / 3 => {
                let mut seen = std::collections::HashSet::with_capacity(n);
                while seen.len() < n {
                    let rank = rng::below(len as u64) as usize;
                    if seen.insert(rank) {
                        r.iter_from(rank).take(1).for_each(|(m, s)| f(Elem::Str(m), s));
                    }
                }
            }
            Repr::Ranked(r) => select(len, n, r.iter_from(0), |(m, s)| f(Elem::Str(m), s)),
            Repr::Packed(lp) => select(len, n, pairs_from(lp, lp.first()), |(m, s)| f(m, s)),
        }
    }

    /// A copy of its own.
    pub fn duplicate(&self) -> Self {
        match &self.0 {
            Repr::Packed(lp) => ZSet(Repr::Packed(lp.clone())),
            Repr::Ranked(r) => ZSet(Repr::Ranked(Box::new(r.duplicate()))),
        }
    }

    /// Bytes allocated beyond the handle itself, estimated from up to `samples` members (0: all).
    pub fn mem_usage(&self, samples: usize) -> usize {
        match &self.0 {
            Repr::Packed(lp) => lp.allocated(),
            Repr::Ranked(r) => r.mem_usage(samples),
        }
    }

    /// How many allocations freeing the set takes: what decides whether it is freed in the background.
    pub fn free_effort(&self) -> usize {
        match &self.0 {
            Repr::Packed(_) => 1,
            Repr::Ranked(r) => r.len(),
        }
    }
}

/// Inserts a pair where it belongs.
fn insert_pair(lp: &mut Listpack, member: &[u8], score: f64) {
    let mut it = lp.iter();
    let at = loop {
        let at = it.position();
        let (Some(m), Some(s)) = (it.next(), it.next().and_then(score_of)) else { break lp.end() };
        if s > score || (s == score && m.cmp_bytes(member).is_gt()) {
            break at;
        }
    };
    with_score_elem(score, |e| lp.insert(at, e));
    lp.insert(at, Elem::Str(member));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const L: Limits = Limits::DEFAULT;

    fn all(z: &ZSet) -> Vec<(Vec<u8>, f64)> {
        let mut out = Vec::new();
        z.for_each(|m, s| out.push((m.to_vec(), s)));
        out
    }

    #[test]
    fn encodings_change_at_redis_thresholds() {
        let mut z = ZSet::new();
        for i in 0..128 {
            z.insert(format!("m{i}").as_bytes(), f64::from(i), &L);
        }
        assert_eq!(z.encoding(), "listpack");
        z.insert(b"m0", 5.5, &L);
        assert_eq!(z.encoding(), "listpack");
        z.insert(b"one more", 0.0, &L);
        assert_eq!((z.encoding(), z.len()), ("skiplist", 129));
        z.remove(b"one more");
        z.settle(&L);
        assert_eq!((z.encoding(), z.len()), ("listpack", 128));
        assert_eq!(z.score(b"m0"), Some(5.5));
        z.insert(&[b'x'; 65], 0.0, &L);
        assert_eq!(z.encoding(), "skiplist");
    }

    #[test]
    fn infinite_and_fractional_scores_survive_packing() {
        let mut z = ZSet::new();
        let scores = [f64::NEG_INFINITY, -1.5, 0.1, 3.0, 1e300, f64::INFINITY];
        for (i, s) in scores.iter().enumerate() {
            z.insert(&[b'a' + i as u8], *s, &L);
        }
        assert!(all(&z).iter().map(|p| p.1).eq(scores));
    }

    #[test]
    fn a_listpack_out_of_order_is_sorted_and_a_bad_one_refused() {
        let lp = |items: &[&str]| Listpack::from_items(items.iter().map(|s| Elem::Str(s.as_bytes())));
        let z = ZSet::from_listpack(lp(&["b", "2", "a", "1"]), &L).unwrap();
        assert_eq!(all(&z), [(b"a".to_vec(), 1.0), (b"b".to_vec(), 2.0)]);
        for bad in [&["a"][..], &["a", "x"], &["a", "nan"], &["a", "1", "a", "2"]] {
            assert!(ZSet::from_listpack(lp(bad), &L).is_err(), "{bad:?}");
        }
    }

    fn model_order(model: &BTreeMap<Vec<u8>, f64>) -> Vec<(Vec<u8>, f64)> {
        let mut v: Vec<_> = model.iter().map(|(m, s)| (m.clone(), *s)).collect();
        v.sort_by(|a, b| a.1.total_cmp(&b.1).then_with(|| a.0.cmp(&b.0)));
        v
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]
        #[test]
        fn it_behaves_like_a_sorted_map(
            ops in proptest::collection::vec((0u8..6, "[a-d]{0,3}|[0-9]{1,2}", -4i32..5, 0usize..40), 1..300),
            entries in prop_oneof![Just(1000usize), Just(0), Just(5)],
            edges in (-4i32..5, any::<bool>(), -4i32..5, any::<bool>()),
            lex in ("[a-d]{0,2}", any::<bool>(), "[a-d]{0,2}", any::<bool>()),
        ) {
            let limits = Limits { zset_max_listpack_entries: entries, ..L };
            let mut z = ZSet::new();
            let mut model: BTreeMap<Vec<u8>, f64> = BTreeMap::new();
            for (op, m, s, n) in ops {
                let (m, s) = (m.into_bytes(), f64::from(s) / 2.0);
                match op {
                    0..=3 => prop_assert_eq!(z.insert(&m, s, &limits), model.insert(m.clone(), s)),
                    4 => prop_assert_eq!(z.remove(&m), model.remove(&m)),
                    _ if n % 4 == 0 => {
                        let sorted = model_order(&model);
                        let gone: Vec<_> = sorted.into_iter().skip(n).take(n / 4).collect();
                        let mut seen = Vec::new();
                        z.remove_range(n, n / 4, |m, s| seen.push((m.to_vec(), s)));
                        for (m, _) in &gone { model.remove(m); }
                        prop_assert_eq!(seen, gone);
                    }
                    _ => {}
                }
                prop_assert_eq!(z.score(&m), model.get(&m).copied());
                prop_assert_eq!(z.len(), model.len());
            }
            let sorted = model_order(&model);
            prop_assert_eq!(&all(&z), &sorted);
            prop_assert_eq!(&all(&z.duplicate()), &sorted);
            for (i, (m, s)) in sorted.iter().enumerate() {
                prop_assert_eq!(z.rank(m), Some((i, *s)));
            }
            let mut back = Vec::new();
            z.for_range(sorted.len().wrapping_sub(1), usize::MAX, true, |m, s| back.push((m.to_vec(), s)));
            back.reverse();
            prop_assert_eq!(&back, &sorted);
            let range = ScoreRange {
                min: f64::from(edges.0) / 2.0, min_open: edges.1, max: f64::from(edges.2) / 2.0, max_open: edges.3,
            };
            let inside: Vec<usize> = (0..sorted.len())
                .filter(|&i| !range.below(sorted[i].1) && range.not_above(sorted[i].1))
                .collect();
            let (start, count) = z.score_span(&range);
            prop_assert_eq!(count, inside.len());
            if count > 0 { prop_assert_eq!(start, inside[0]); }

            let mut flat = ZSet::new();
            for m in model.keys() { flat.insert(m, 0.0, &limits); }
            let bound = |s: &'_ str, open| if open { LexBound::Open(s.as_bytes().to_vec().leak()) } else { LexBound::Closed(s.as_bytes().to_vec().leak()) };
            let range = LexRange { min: bound(&lex.0, lex.1), max: bound(&lex.2, lex.3) };
            let keys: Vec<_> = model.keys().collect();
            let inside: Vec<usize> = (0..keys.len()).filter(|&i| !range.below(keys[i]) && range.not_above(keys[i])).collect();
            let (start, count) = flat.lex_span(&range);
            prop_assert_eq!(count, inside.len());
            if count > 0 { prop_assert_eq!(start, inside[0]); }
            prop_assert_eq!(flat.lex_span(&LexRange { min: LexBound::First, max: LexBound::Last }), (0, keys.len()));
            prop_assert_eq!(flat.lex_span(&LexRange { min: LexBound::Last, max: LexBound::First }).1, 0);
        }
    }

    #[test]
    fn a_sample_is_distinct() {
        let mut z = ZSet::new();
        for i in 0..1000 {
            z.insert(i.to_string().as_bytes(), 1.0, &L);
        }
        for n in [1, 10, 600, 1000, 2000] {
            let mut seen = std::collections::HashSet::new();
            z.sample(n, |m, _| assert!(seen.insert(m.to_vec())));
            assert_eq!(seen.len(), n.min(1000));
        }
    }
}
