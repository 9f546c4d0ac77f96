//! The value of a key: owned, to read, and to change.

use super::entry::Text;
use crate::types::{hash::Hash, list::List, set::Set, stream::Stream, zset::ZSet};

/// The type of a value. The numbers are those that RDB files and the module API of Redis use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A string or number.
    String = 0,
    /// A list.
    List = 1,
    /// A set.
    Set = 2,
    /// A sorted set.
    ZSet = 3,
    /// A hash.
    Hash = 4,
    /// A stream. (5 is what modules bring.)
    Stream = 6,
}

impl Kind {
    /// All types.
    pub const ALL: [Kind; 6] = [Kind::String, Kind::List, Kind::Set, Kind::ZSet, Kind::Hash, Kind::Stream];
    /// The number of the type.
    pub const fn code(self) -> u8 {
        self as u8
    }
    pub(super) fn from_code(code: u8) -> Kind {
        match code {
            0 => Kind::String,
            1 => Kind::List,
            2 => Kind::Set,
            3 => Kind::ZSet,
            4 => Kind::Hash,
            6 => Kind::Stream,
            _ => unreachable!("no type has this number"),
        }
    }
    /// Whether clients may block on a key until it holds this type.
    pub const fn wakes(self) -> bool {
        matches!(self, Kind::List | Kind::ZSet | Kind::Stream)
    }
    /// The name that TYPE answers.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::String => "string",
            Kind::List => "list",
            Kind::Set => "set",
            Kind::ZSet => "zset",
            Kind::Hash => "hash",
            Kind::Stream => "stream",
        }
    }
}

macro_rules! collections {
    ($($kind:ident: $ty:ty),*) => {
        /// A value that belongs to its holder.
        #[derive(Debug)]
        #[allow(missing_docs)]
        pub enum Value {
            /// A string; stored as a number where it is one.
            String(Vec<u8>),
            /// A string that was changed in place, and is never stored as a number.
            Raw(Vec<u8>),
            $($kind(Box<$ty>),)*
        }
        /// A value in the keyspace, to read.
        #[derive(Clone, Copy)]
        #[allow(missing_docs)]
        pub enum View<'a> {
            String(Text<'a>),
            $($kind(&'a $ty),)*
        }
        /// A value in the keyspace, to change. Strings are changed through their place.
        #[allow(missing_docs)]
        pub enum ViewMut<'a> {
            String,
            $($kind(&'a mut $ty),)*
        }

        impl Value {
            /// The type.
            pub fn kind(&self) -> Kind {
                match self {
                    Value::String(_) | Value::Raw(_) => Kind::String,
                    $(Value::$kind(_) => Kind::$kind,)*
                }
            }
            /// The value to read.
            pub fn view(&self) -> View<'_> {
                match self {
                    Value::String(s) | Value::Raw(s) => View::String(Text::Bytes(s)),
                    $(Value::$kind(v) => View::$kind(v),)*
                }
            }
            pub(super) fn into_boxed(self) -> (Kind, *mut u8) {
                match self {
                    Value::String(_) | Value::Raw(_) => unreachable!("strings are not boxed"),
                    $(Value::$kind(v) => (Kind::$kind, Box::into_raw(v).cast()),)*
                }
            }
            /// # Safety
            /// `p` came from `into_boxed` with this kind, and is not used again.
            pub(super) unsafe fn from_boxed(kind: Kind, p: *mut u8) -> Value {
                match kind {
                    Kind::String => unreachable!("strings are not boxed"),
                    // SAFETY: see above.
                    $(Kind::$kind => Value::$kind(unsafe { Box::from_raw(p.cast::<$ty>()) }),)*
                }
            }
            /// # Safety
            /// As `from_boxed`.
            pub(super) unsafe fn drop_boxed(kind: Kind, p: *mut u8) {
                // SAFETY: see above.
                drop(unsafe { Value::from_boxed(kind, p) });
            }
        }
        impl<'a> View<'a> {
            /// # Safety
            /// `p` came from `into_boxed` with this kind, and lives for 'a.
            pub(super) unsafe fn from_boxed(kind: Kind, p: *mut u8) -> View<'a> {
                match kind {
                    Kind::String => unreachable!("strings are not boxed"),
                    // SAFETY: see above.
                    $(Kind::$kind => View::$kind(unsafe { &*p.cast::<$ty>() }),)*
                }
            }
            /// The name of the encoding of a collection.
            pub fn encoding(self) -> &'static str {
                match self {
                    View::String(_) => "embstr",
                    $(View::$kind(v) => v.encoding(),)*
                }
            }
            /// Bytes of memory of a collection, by `samples` of its elements (0: all).
            pub fn mem_usage(self, samples: usize) -> usize {
                match self {
                    View::String(_) => 0,
                    $(View::$kind(v) => v.mem_usage(samples) + size_of::<$ty>(),)*
                }
            }
            /// About how many allocations it is to free.
            pub fn free_effort(self) -> usize {
                match self {
                    View::String(_) => 1,
                    $(View::$kind(v) => v.free_effort(),)*
                }
            }
            /// A copy.
            pub fn duplicate(self) -> Value {
                match self {
                    View::String(t) => Value::String(t.to_vec()),
                    $(View::$kind(v) => Value::$kind(Box::new(v.duplicate())),)*
                }
            }
        }
        impl<'a> ViewMut<'a> {
            /// # Safety
            /// As [`View::from_boxed`], and nobody else uses the value during 'a.
            pub(super) unsafe fn from_boxed(kind: Kind, p: *mut u8) -> ViewMut<'a> {
                match kind {
                    Kind::String => unreachable!("strings are not boxed"),
                    // SAFETY: see above.
                    $(Kind::$kind => ViewMut::$kind(unsafe { &mut *p.cast::<$ty>() }),)*
                }
            }
        }
    };
}
collections!(List: List, Set: Set, ZSet: ZSet, Hash: Hash, Stream: Stream);

/// Members that take a good part of a millisecond to encode, and bytes of a string or nodes of a list or stream that do.
const LONG: usize = 8192;
const LONG_STRING: usize = 256 << 10;
const LONG_NODES: usize = 64;

impl View<'_> {
    /// Whether encoding it takes so long that nobody should wait for it with its slot locked.
    pub fn is_long(self) -> bool {
        match self {
            View::String(Text::Int(_)) => false,
            View::String(Text::Bytes(b)) => b.len() >= LONG_STRING,
            View::List(l) => l.as_quicklist().is_some_and(|q| q.node_count() >= LONG_NODES),
            View::Set(s) => s.len() >= LONG,
            View::ZSet(z) => z.len() >= LONG,
            View::Hash(h) => h.raw_len() >= LONG,
            View::Stream(s) => s.nodes().len() >= LONG_NODES,
        }
    }
}

impl Value {
    /// Whether it is a hash some of whose fields expire.
    pub fn has_volatile_fields(&self) -> bool {
        matches!(self, Value::Hash(h) if h.has_volatile())
    }
    /// Whether clients may block on a key until it holds this type.
    pub fn wakes(&self) -> bool {
        self.kind().wakes()
    }
}
