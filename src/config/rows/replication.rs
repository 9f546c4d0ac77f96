//! Replication: not there yet, so only the values that leave it off are taken; settings that merely tune it are kept
//! for later.

use crate::config::enums::{DISKLESS_LOAD, PROPAGATION};
use crate::config::kind::{Kind::*, any_text};
use crate::config::row::*;

const I32: i64 = i32::MAX as i64;

rows! {
    /// Be a replica of this server.
    "replicaof" ["slaveof"]: ReplicaOf, = "", IMMUTABLE | OMIT_EMPTY => only([""], "replication is not supported");
    /// The password to the primary.
    "primaryauth" ["masterauth"]: Text(any_text), = "", MUTABLE | SENSITIVE | OMIT_EMPTY | DORMANT;
    /// The user name to the primary.
    "primaryuser" ["masteruser"]: Text(any_text), = "", MUTABLE | SENSITIVE | OMIT_EMPTY | DORMANT;
    /// Let a replica answer while it is not in step.
    "replica-serve-stale-data" ["slave-serve-stale-data"]: Bool, = "yes", MUTABLE | DORMANT;
    /// Refuse writes on a replica.
    "replica-read-only" ["slave-read-only"]: Bool, = "yes", MUTABLE | DORMANT;
    /// Send snapshots to replicas without a file.
    "repl-diskless-sync": Bool, = "yes", MUTABLE | DORMANT;
    /// Seconds to wait for more replicas before a snapshot is sent.
    "repl-diskless-sync-delay": Int(0, I32), = "5", MUTABLE | DORMANT;
    /// Send at once when this many replicas wait; 0 for never.
    "repl-diskless-sync-max-replicas": Int(0, I32), = "0", MUTABLE | DORMANT;
    /// How a replica loads a snapshot from the network.
    "repl-diskless-load": Enum(DISKLESS_LOAD), = "disabled", MUTABLE | DORMANT;
    /// Send snapshot and changes over two connections.
    "dual-channel-replication-enabled": Bool, = "no", MUTABLE | DORMANT;
    /// Seconds between pings to replicas.
    "repl-ping-replica-period" ["repl-ping-slave-period"]: Int(1, I32), = "10", MUTABLE | DORMANT;
    /// Seconds without a sign of life that end a replication link.
    "repl-timeout": Int(1, I32), = "60", MUTABLE | DORMANT;
    /// Gather small packets to replicas.
    "repl-disable-tcp-nodelay": Bool, = "no", MUTABLE | DORMANT;
    /// Bytes of history kept for replicas that reconnect.
    "repl-backlog-size": Memory(1, i64::MAX), = "10485760", MUTABLE | DORMANT;
    /// Seconds without replicas after which the history is dropped; 0 for never.
    "repl-backlog-ttl": Int(0, i64::MAX), = "3600", MUTABLE | DORMANT;
    /// Rank of this replica in a failover; 0 for never.
    "replica-priority" ["slave-priority"]: Int(0, I32), = "100", MUTABLE | DORMANT;
    /// Show this replica to others.
    "replica-announced": Bool, = "yes", MUTABLE | DORMANT;
    /// The address that this replica reports.
    "replica-announce-ip" ["slave-announce-ip"]: Text(any_text), = "", MUTABLE | OMIT_EMPTY | DORMANT;
    /// The port that this replica reports; 0 for its own.
    "replica-announce-port" ["slave-announce-port"]: Int(0, 65_535), = "0", MUTABLE | DORMANT;
    /// Refuse writes with fewer replicas in step than this; 0 for no such rule.
    "min-replicas-to-write" ["min-slaves-to-write"]: Int(0, I32), = "0", MUTABLE => only(["0"], "replication is not supported");
    /// Seconds of lag at which a replica no longer counts as in step.
    "min-replicas-max-lag" ["min-slaves-max-lag"]: Int(0, I32), = "10", MUTABLE | DORMANT;
    /// What a replica does when a write from its primary fails.
    "propagation-error-behavior": Enum(PROPAGATION), = "ignore", MUTABLE | DORMANT;
    /// Let a replica go on when it cannot write to disk.
    "replica-ignore-disk-write-errors": Bool, = "no", MUTABLE | DORMANT;
}
