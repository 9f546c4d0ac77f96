//! Data structures behind the Redis types: pure, knowing no key, lock or protocol.

pub mod bits;
pub mod bptree;
pub mod dict;
pub mod elem;
pub mod fields;
pub mod geo;
pub mod hash;
pub mod hll;
pub mod intset;
pub mod item;
pub mod limits;
pub mod list;
pub mod listpack;
pub mod lzf;
pub mod quicklist;
pub mod ranked;
pub mod set;
pub mod stream;
pub mod zset;

pub use elem::{Elem, IntBuf};
pub use hash::Hash;
pub use limits::Limits;
pub use list::{End, List};
pub use set::Set;
pub use stream::Stream;
pub use zset::ZSet;
