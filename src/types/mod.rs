//! Data structures behind the Redis types: pure, knowing no key, lock or protocol.

pub mod bptree;
pub mod dict;
pub mod elem;
pub mod intset;
pub mod item;
pub mod limits;
pub mod list;
pub mod listpack;
pub mod lzf;
pub mod quicklist;

pub use elem::{Elem, IntBuf};
pub use limits::Limits;
pub use list::{End, List};
