//! The append-only file, in the layout of Redis 7: a directory with a base (a snapshot), files of the writes since, and a
//! manifest that says which files count and in what order.
//!
//! * [`manifest`]: which files there are.
//! * [`file`]: the buffer that takes effects from the log, and the thread that writes them and makes them lasting.
//! * [`commands`]: a base as commands, for `aof-use-rdb-preamble no`.

pub mod commands;
pub mod file;
pub mod manifest;

pub use file::{Fsync, Step, Writer};
pub use manifest::{Entry, Manifest, Role};
