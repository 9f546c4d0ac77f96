//! Persistence: snapshots on disk, loading.

pub mod info;
pub mod load;
pub mod save;
pub mod status;

use super::Command;

/// All of them.
pub const COMMANDS: &[&Command] = &[&save::BGSAVE, &save::LASTSAVE, &save::SAVE];
