//! Replication: whom to follow, how, and what is kept for those who follow.

use crate::config::enums::{DISKLESS_LOAD, DisklessLoad, PROPAGATION, PropagationError};
use crate::config::kind::{Kind::*, any_text};
use crate::config::row::*;

const I32: i64 = i32::MAX as i64;

rows! {
    /// Be a replica of this server.
    "replicaof" ["slaveof"]: ReplicaOf, = "", IMMUTABLE | OMIT_EMPTY, replicaof -> Vec<u8>;
    /// The password to the primary.
    "primaryauth" ["masterauth"]: Text(any_text), = "", MUTABLE | SENSITIVE | OMIT_EMPTY, primaryauth -> Vec<u8>;
    /// The user name to the primary.
    "primaryuser" ["masteruser"]: Text(any_text), = "", MUTABLE | SENSITIVE | OMIT_EMPTY, primaryuser -> Vec<u8>;
    /// Let a replica answer while it is not in step.
    "replica-serve-stale-data" ["slave-serve-stale-data"]: Bool, = "yes", MUTABLE, replica_serve_stale_data -> bool;
    /// Refuse writes on a replica.
    "replica-read-only" ["slave-read-only"]: Bool, = "yes", MUTABLE, replica_read_only -> bool;
    /// Send snapshots to replicas without a file.
    "repl-diskless-sync": Bool, = "yes", MUTABLE, repl_diskless_sync -> bool;
    /// Seconds to wait for more replicas before a snapshot is sent.
    "repl-diskless-sync-delay": Int(0, I32), = "5", MUTABLE, repl_diskless_sync_delay -> i64;
    /// Send at once when this many replicas wait; 0 for never.
    "repl-diskless-sync-max-replicas": Int(0, I32), = "0", MUTABLE, repl_diskless_sync_max_replicas -> usize;
    /// How a replica loads a snapshot from the network.
    "repl-diskless-load": Enum(DISKLESS_LOAD), = "disabled", MUTABLE | NOT_WHILE_LOADING, repl_diskless_load -> DisklessLoad;
    /// Send snapshot and changes over two connections, where primary and replica both want that.
    "dual-channel-replication-enabled": Bool, = "no", MUTABLE, dual_channel_replication_enabled -> bool;
    /// Seconds between pings to replicas.
    "repl-ping-replica-period" ["repl-ping-slave-period"]: Int(1, I32), = "10", MUTABLE, repl_ping_replica_period -> u64;
    /// Seconds without a sign of life that end a replication link.
    "repl-timeout": Int(1, I32), = "60", MUTABLE, repl_timeout -> i64;
    /// Gather small packets to replicas.
    "repl-disable-tcp-nodelay": Bool, = "no", MUTABLE, repl_disable_tcp_nodelay -> bool;
    /// Bytes of history kept for replicas that reconnect.
    "repl-backlog-size": Memory(1, i64::MAX), = "10485760", MUTABLE, repl_backlog_size -> i64;
    /// Seconds without replicas after which the history is dropped; 0 for never.
    "repl-backlog-ttl": Int(0, i64::MAX), = "3600", MUTABLE, repl_backlog_ttl -> i64;
    /// Rank of this replica in a failover; 0 for never.
    "replica-priority" ["slave-priority"]: Int(0, I32), = "100", MUTABLE, replica_priority -> i64;
    /// Show this replica to others.
    "replica-announced": Bool, = "yes", MUTABLE, replica_announced -> bool;
    /// The address that this replica reports.
    "replica-announce-ip" ["slave-announce-ip"]: Text(any_text), = "", MUTABLE | OMIT_EMPTY, replica_announce_ip -> Vec<u8>;
    /// The port that this replica reports; 0 for its own.
    "replica-announce-port" ["slave-announce-port"]: Int(0, 65_535), = "0", MUTABLE, replica_announce_port -> u16;
    /// Refuse writes with fewer replicas in step than this; 0 for no such rule.
    "min-replicas-to-write" ["min-slaves-to-write"]: Int(0, I32), = "0", MUTABLE, min_replicas_to_write -> usize;
    /// Seconds of lag at which a replica no longer counts as in step.
    "min-replicas-max-lag" ["min-slaves-max-lag"]: Int(0, I32), = "10", MUTABLE, min_replicas_max_lag -> i64;
    /// What a replica does when a write from its primary fails.
    "propagation-error-behavior": Enum(PROPAGATION), = "ignore", MUTABLE, propagation_error_behavior -> PropagationError;
    /// Let a replica go on when it cannot write to disk.
    "replica-ignore-disk-write-errors": Bool, = "no", MUTABLE | DORMANT;
}
