//! Replication: roles, the talk between primary and replica, and clients that wait for replicas.

pub mod failover;
pub mod info;
pub mod psync;
pub mod role;
pub mod wait;

use super::Command;

/// All of them.
pub const COMMANDS: &[&Command] = &[
    &failover::FAILOVER,
    &psync::PSYNC,
    &psync::REPLCONF,
    &psync::SYNC,
    &role::REPLICAOF,
    &role::ROLE,
    &role::SLAVEOF,
    &wait::WAIT,
    &wait::WAITAOF,
];
