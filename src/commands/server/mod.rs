//! Commands about the server: its state, its configuration, its databases as a whole.

pub mod art;
pub mod command;
pub mod config;
pub mod databases;
pub mod debug;
pub mod docs;
pub mod info;
pub mod latency;
pub mod logs;
pub mod memory;
pub mod misc;
pub mod monitor;
pub mod oom;
pub mod shutdown;
mod syntax;

use super::Command;

/// The commands of the group.
pub const COMMANDS: &[&Command] = &[
    &command::COMMAND,
    &logs::COMMANDLOG,
    &config::CONFIG,
    &databases::DBSIZE,
    &debug::DEBUG,
    &databases::FLUSHALL,
    &databases::FLUSHDB,
    &info::INFO,
    &latency::LATENCY,
    &art::LOLWUT,
    &memory::MEMORY,
    &misc::MODULE,
    &monitor::MONITOR,
    &shutdown::SHUTDOWN,
    &logs::SLOWLOG,
    &databases::SWAPDB,
    &misc::TIME,
];
