//! Key specifications: how to find the keys among a command's arguments, as `COMMAND INFO` describes them
//! (<https://valkey.io/topics/key-specs/>).

use smallvec::SmallVec;

use crate::base::num;

/// What a command does with a key, as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyFlags(pub u16);

macro_rules! key_flags {
    ($($(#[$doc:meta])* $name:ident = $bit:expr, $text:expr;)*) => {
        impl KeyFlags {
            $($(#[$doc])* pub const $name: KeyFlags = KeyFlags(1 << $bit);)*
            /// Every flag with its name in `COMMAND INFO`.
            pub const ALL: &'static [(KeyFlags, &'static str)] = &[$((KeyFlags::$name, $text)),*];
        }
    };
}
key_flags! {
    /// Read only.
    RO = 0, "RO";
    /// Read and written.
    RW = 1, "RW";
    /// Overwritten, whatever was there.
    OW = 2, "OW";
    /// Removed.
    RM = 3, "RM";
    /// User data is read.
    ACCESS = 4, "access";
    /// User data is changed.
    UPDATE = 5, "update";
    /// User data is added.
    INSERT = 6, "insert";
    /// User data is deleted.
    DELETE = 7, "delete";
    /// Not a key, though it is hashed like one.
    NOT_KEY = 8, "not_key";
    /// The spec cannot tell all keys.
    INCOMPLETE = 9, "incomplete";
    /// The flags may be others, depending on arguments.
    VARIABLE_FLAGS = 10, "variable_flags";
}
impl KeyFlags {
    /// The union.
    pub const fn or(self, other: KeyFlags) -> KeyFlags {
        KeyFlags(self.0 | other.0)
    }
    /// Whether all of `other` are set.
    pub const fn has(self, other: KeyFlags) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Where the search for keys begins.
#[derive(Debug, Clone, Copy)]
pub enum Begin {
    /// At this argument.
    Index(usize),
    /// After this word, looked for from an argument on (negative: backwards from the end).
    Keyword(&'static str, i32),
    /// No specification can say; the command's own function finds them.
    Unknown,
}

/// Which arguments are keys, counted from the beginning.
#[derive(Debug, Clone, Copy)]
pub enum Find {
    /// Every `step`-th up to `last` (relative to the beginning; negative: from the end); `limit` > 1: the first 1/limit.
    Range {
        /// Last key.
        last: i32,
        /// Distance of keys.
        step: usize,
        /// Divisor of what is left.
        limit: usize,
    },
    /// Their number stands at `at`; the first key is at `first`.
    Count {
        /// Offset of the number.
        at: usize,
        /// Offset of the first key.
        first: usize,
        /// Distance of keys.
        step: usize,
    },
}

/// One group of keys.
#[derive(Debug, Clone, Copy)]
pub struct KeySpec {
    /// Where to begin.
    pub begin: Begin,
    /// Which are keys.
    pub find: Find,
    /// What is done with them.
    pub flags: KeyFlags,
}

impl KeySpec {
    /// Keys that no specification can tell.
    pub const fn unknown(flags: KeyFlags) -> KeySpec {
        KeySpec { begin: Begin::Unknown, find: Find::Range { last: 0, step: 1, limit: 0 }, flags }
    }
    /// One key at an index.
    pub const fn one(index: usize, flags: KeyFlags) -> KeySpec {
        KeySpec { begin: Begin::Index(index), find: Find::Range { last: 0, step: 1, limit: 0 }, flags }
    }
    /// All arguments from an index up to `last` (negative: from the end), each `step`-th.
    pub const fn range(index: usize, last: i32, step: usize, flags: KeyFlags) -> KeySpec {
        KeySpec { begin: Begin::Index(index), find: Find::Range { last, step, limit: 0 }, flags }
    }
    /// `numkeys` at an index, then the keys.
    pub const fn count(index: usize, flags: KeyFlags) -> KeySpec {
        KeySpec { begin: Begin::Index(index), find: Find::Count { at: 0, first: 1, step: 1 }, flags }
    }
    /// One key after a word.
    pub const fn after(word: &'static str, from: i32, flags: KeyFlags) -> KeySpec {
        KeySpec { begin: Begin::Keyword(word, from), find: Find::Range { last: 0, step: 1, limit: 0 }, flags }
    }
}

/// A key among the arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyUse {
    /// Index of the argument.
    pub index: usize,
    /// What is done with it.
    pub flags: KeyFlags,
}

/// The keys of a command, in the order of its specs. `None` if a number of keys is wrong.
pub fn extract(specs: &[KeySpec], args: &[&[u8]]) -> Option<SmallVec<[KeyUse; 4]>> {
    let mut keys = SmallVec::new();
    let argc = args.len() as i64;
    for spec in specs {
        let begin = match spec.begin {
            Begin::Unknown => continue,
            Begin::Index(i) => i as i64,
            Begin::Keyword(word, from) => {
                let is = |a: &&[u8]| a.eq_ignore_ascii_case(word.as_bytes());
                let found = if from >= 0 {
                    let from = (from as usize).min(args.len());
                    args[from..].iter().position(is).map(|i| i + from)
                } else {
                    let until = (argc + i64::from(from)).max(-1) + 1;
                    args[..until as usize].iter().skip(1).rposition(is).map(|i| i + 1)
                };
                match found {
                    Some(i) => i as i64 + 1,
                    None => continue,
                }
            }
        };
        if begin >= argc {
            continue;
        }
        let (first, last, step) = match spec.find {
            Find::Range { last, step, limit } => {
                let last = if last >= 0 {
                    begin + i64::from(last)
                } else if limit > 1 {
                    begin + (argc - begin) / limit as i64 - 1
                } else {
                    argc + i64::from(last)
                };
                (begin, last, step as i64)
            }
            Find::Count { at, first, step } => {
                let at = begin + at as i64;
                let n = args.get(at as usize).and_then(|a| num::parse_i64(a)).filter(|n| *n >= 0)?;
                let first = begin + first as i64;
                let last = n.checked_sub(1)?.checked_mul(step as i64)?.checked_add(first)?;
                if n == 0 {
                    continue;
                }
                (first, last, step as i64)
            }
        };
        if last >= argc || (last < first && matches!(spec.find, Find::Count { .. })) {
            return None;
        }
        let mut i = first;
        while i <= last {
            keys.push(KeyUse { index: i as usize, flags: spec.flags });
            i += step;
        }
    }
    Some(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(specs: &[KeySpec], line: &str) -> Option<Vec<usize>> {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        extract(specs, &args).map(|k| k.iter().map(|k| k.index).collect())
    }

    #[test]
    fn every_kind_of_spec_finds_its_keys() {
        let ro = KeyFlags::RO;
        assert_eq!(at(&[KeySpec::one(1, ro)], "get a"), Some(vec![1]));
        assert_eq!(at(&[KeySpec::range(1, -1, 2, ro)], "mset a 1 b 2"), Some(vec![1, 3]));
        assert_eq!(at(&[KeySpec::range(1, -2, 1, ro)], "blpop a b 0"), Some(vec![1, 2]));
        assert_eq!(at(&[KeySpec::count(1, ro)], "lmpop 2 a b LEFT"), Some(vec![2, 3]));
        assert_eq!(at(&[KeySpec::count(1, ro)], "lmpop 9 a b LEFT"), None);
        assert_eq!(at(&[KeySpec::count(1, ro)], "lmpop x a"), None);
        let store = [KeySpec::one(1, ro), KeySpec::after("STORE", 2, ro)];
        assert_eq!(at(&store, "sort a LIMIT 0 1 store d"), Some(vec![1, 6]));
        assert_eq!(at(&store, "sort a LIMIT 0 1 store"), Some(vec![1]));
    }

    #[test]
    fn a_huge_count_overflows_nothing() {
        assert_eq!(at(&[KeySpec::count(1, KeyFlags::RO)], "lmpop 9223372036854775807 a"), None);
    }
}
