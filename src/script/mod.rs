//! Scripts: an interpreter for Lua 5.1, closed to the world, with the libraries that scripts of Redis and Valkey find there.
//!
//! * [`lua`] is Lua itself, [`sandbox`] what is left of it for scripts, [`vm`] an interpreter and how it runs something.
//! * [`api`] is the `redis` table, [`json`], [`msgpack`], [`structs`] and [`bit`] the libraries, [`strings`] what of Lua's
//!   own needed a bound, [`pattern`] its patterns, [`convert`] replies as
//!   values and back.
//! * [`debugger`] stops a script for a client that looks around in it.
//! * [`cache`] are the scripts by hash, [`library`] the libraries of functions, [`flags`] what both say of themselves.
//!
//! Nothing here knows commands: a running script asks its [`vm::Host`] for everything.

pub mod api;
pub mod bit;
pub mod cache;
pub mod convert;
pub mod debugger;
pub mod flags;
pub mod interpreters;
pub mod json;
pub mod library;
pub mod lua;
pub mod msgpack;
pub mod number;
pub mod pattern;
pub mod running;
pub mod sandbox;
pub mod strings;
pub mod structs;
#[cfg(test)]
mod tests;
pub mod vm;

pub use cache::{Script, Scripts, Sha};
pub use debugger::Debugger;
pub use flags::ScriptFlags;
pub use interpreters::Interpreters;
pub use library::{Libraries, Library, Policy};
pub use running::{Run, Running};
