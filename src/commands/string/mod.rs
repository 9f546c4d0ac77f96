//! string commands.

use super::Command;

/// All of them.
pub const COMMANDS: &[&Command] = &[];
