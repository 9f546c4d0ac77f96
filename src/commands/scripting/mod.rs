//! Scripts and functions: EVAL and its kin, SCRIPT, FUNCTION, FCALL. (`exec` runs them; [`crate::script`] is the engine.)

mod eval;
mod function;
mod script;

use super::Command;

pub use function::dump;

/// The commands of the group.
pub const COMMANDS: &[&Command] = &[
    &eval::EVAL,
    &eval::EVALSHA,
    &eval::EVALSHA_RO,
    &eval::EVAL_RO,
    &eval::FCALL,
    &eval::FCALL_RO,
    &function::FUNCTION,
    &script::SCRIPT,
];
