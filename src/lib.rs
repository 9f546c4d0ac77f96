//! Dunlin: a Redis-protocol-compatible sharded cache.
//!
//! The modules are layers; a module imports only from lower ones (ARCHITECTURE.md draws them,
//! `tests/layers.rs` enforces them).
#![deny(clippy::await_holding_lock, unsafe_op_in_unsafe_fn)]
#![warn(missing_docs)]

pub mod acl;
pub mod base;
pub mod cli;
pub mod clients;
pub mod cluster;
pub mod commands;
pub mod config;
pub mod exec;
pub mod keyspace;
pub mod metrics;
pub mod persist;
pub mod pubsub;
pub mod repl;
pub mod resp;
pub mod script;
pub mod server;
pub mod spec;
pub mod types;
