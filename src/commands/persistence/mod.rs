//! Persistence: snapshots on disk, loading.

pub mod aof;
pub mod info;
pub mod load;
pub mod save;
pub mod status;

use super::Command;

/// All of them.
pub const COMMANDS: &[&Command] = &[&aof::BGREWRITEAOF, &save::BGSAVE, &save::LASTSAVE, &save::SAVE];
