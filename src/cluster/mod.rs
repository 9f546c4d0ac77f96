//! The sharded cluster: which node owns which hash slot, who is alive, who takes over.
//!
//! Everything in this module but [`Cluster`], [`transfers`] and [`slot_stats`] is pure: no socket, no clock, no source of randomness. `now` comes in as an argument,
//! draws come from a generator with a seed, and what is to be sent, stored or done goes out as values. The thread that
//! owns sockets and timers drives it; the simulator in `tests/cluster_sim` drives hundreds of it.
//!
//! * [`NodeId`], [`SlotSet`]: names and sets of slots.
//! * [`View`]: the cluster as this node sees it at one instant. Immutable; commands read it without a lock.
//! * [`line`]: one node as a line of text, for CLUSTER NODES and for nodes.conf.
//! * [`nodes_conf`]: the file in which a node remembers the cluster.
//! * [`wire`]: the packets of the cluster bus, byte for byte those of Redis 7 and Valkey.
//! * [`core`]: the state machine: gossip, failure detection, elections, migrations of slots and replicas.
//!
//! Specification: <https://valkey.io/topics/cluster-spec/>.

pub mod core;
mod id;
pub mod line;
pub mod nodes_conf;
mod shared;
pub mod slot_stats;
mod slots;
pub mod transfers;
pub mod view;
pub mod wire;

pub use id::NodeId;
pub use shared::Cluster;
pub use slots::SlotSet;
pub use view::{DownReason, Flags, Health, NodeInfo, State, Stats, View};
