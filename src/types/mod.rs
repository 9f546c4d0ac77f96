//! Data structures behind the Redis types: pure, knowing no key, lock or protocol.
pub mod dict;
