//! Commands on sets.

pub mod algebra;
pub mod edit;
pub mod random;
pub mod read;
pub mod sscan;

use super::Command;

/// All of them.
pub const COMMANDS: &[&Command] = &[
    &edit::SADD,
    &read::SCARD,
    &algebra::SDIFF,
    &algebra::SDIFFSTORE,
    &algebra::SINTER,
    &algebra::SINTERCARD,
    &algebra::SINTERSTORE,
    &read::SISMEMBER,
    &read::SMEMBERS,
    &read::SMISMEMBER,
    &edit::SMOVE,
    &random::SPOP,
    &random::SRANDMEMBER,
    &edit::SREM,
    &sscan::SSCAN,
    &algebra::SUNION,
    &algebra::SUNIONSTORE,
];
