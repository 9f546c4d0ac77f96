//! CLUSTER, and the commands by which clients follow redirections.
//!
//! [`change`] hands what operators ask for to the state machine; [`look`] answers from its view; [`keys`] tells and
//! removes the keys of slots; [`events`] carries out what the state machine decides.

pub mod change;
pub mod events;
pub mod keys;
pub mod look;
mod replicas;
mod scan;
mod setslot;
mod slot_stats;
mod slots;
pub mod succession;
pub mod transfer;

use std::sync::Arc;

use super::{Command, Ctx, Server, help};
use crate::clients::flags;
use crate::cluster::{NodeInfo, View};
use crate::resp::Error;
use crate::spec::{Cat, Flags, Group, Meta};

/// All of them.
pub const COMMANDS: &[&Command] = &[&ASKING, &CLUSTER, &scan::CLUSTERSCAN, &READONLY, &READWRITE];

/// Any of them where there is no cluster.
const DISABLED: Error = Error::new("ERR This instance has cluster support disabled");
const LOOK: Flags = Flags::LOADING.or(Flags::STALE);
const NODES: &str = "O(N) where N is the number of nodes of the cluster";
const UNSTEADY: &[&str] = &["nondeterministic_output"];

const fn meta(name: &'static str, arity: i16, flags: Flags) -> Meta {
    Meta::new(name, arity, flags, Group::Cluster)
}

/// The endpoint of a node by `cluster-preferred-endpoint-type`.
pub fn endpoint(server: &Server, node: &NodeInfo, ipv6: bool) -> String {
    match server.config.cluster_preferred_endpoint_type() {
        0 => node.ip_for(ipv6).to_owned(),
        1 if node.hostname.is_empty() => "?".to_owned(),
        1 => node.hostname.clone(),
        _ => String::new(),
    }
}

fn view(cx: &Ctx<'_>) -> Result<Arc<View>, Error> {
    cx.server.cluster.view().ok_or(DISABLED)
}

/// `CLUSTER` <https://valkey.io/commands/#cluster>
pub static CLUSTER: Command = Command::container(
    meta("cluster", -2, Flags::NONE).doc("3.0.0", "Depends on subcommand.", "A container for cluster commands."),
    &[
        &change::ADDSLOTS,
        &change::ADDSLOTSRANGE,
        &change::BUMPEPOCH,
        &transfer::CANCELSLOTMIGRATIONS,
        &change::COUNT_FAILURE_REPORTS,
        &keys::COUNTKEYSINSLOT,
        &change::DELSLOTS,
        &change::DELSLOTSRANGE,
        &change::FAILOVER,
        &keys::FLUSHSLOT,
        &change::FLUSHSLOTS,
        &change::FORGET,
        &keys::GETKEYSINSLOT,
        &transfer::GETSLOTMIGRATIONS,
        &HELP,
        &look::INFO,
        &look::KEYSLOT,
        &look::LINKS,
        &change::MEET,
        &transfer::MIGRATESLOTS,
        &look::MYID,
        &look::MYSHARDID,
        &look::NODES,
        &look::REPLICAS,
        &change::REPLICATE,
        &change::RESET,
        &change::SAVECONFIG,
        &change::SET_CONFIG_EPOCH,
        &change::SETSLOT,
        &slots::SHARDS,
        &look::SLAVES,
        &slots::SLOTS,
        &slot_stats::SLOT_STATS,
        &transfer::SYNCSLOTS,
    ],
);

static HELP: Command = Command::new(
    meta("cluster|help", 2, LOOK).doc("5.0.0", "O(1)", "Returns a text about the subcommands."),
    |cx, _| {
        help::reply(
            cx.out,
            "CLUSTER",
            &[
                "ADDSLOTS <slot> [<slot> ...]",
                "    Take slots that have no owner.",
                "ADDSLOTSRANGE <start slot> <end slot> [<start slot> <end slot> ...]",
                "    Take ranges of slots that have no owner.",
                "BUMPEPOCH",
                "    Move this node's configuration epoch forward.",
                "CANCELSLOTMIGRATIONS",
                "    Give up all moves of slots away from this node.",
                "COUNT-FAILURE-REPORTS <node-id>",
                "    Return how many nodes report that <node-id> does not answer.",
                "COUNTKEYSINSLOT <slot>",
                "    Return the number of keys in <slot>.",
                "DELSLOTS <slot> [<slot> ...]",
                "    Forget who owns slots.",
                "DELSLOTSRANGE <start slot> <end slot> [<start slot> <end slot> ...]",
                "    Forget who owns ranges of slots.",
                "FAILOVER [FORCE|TAKEOVER]",
                "    Make this replica the primary of its shard.",
                "FLUSHSLOT <slot> [ASYNC|SYNC]",
                "    Remove all keys in <slot>.",
                "FLUSHSLOTS",
                "    Give up all slots of this node.",
                "FORGET <node-id>",
                "    Remove a node from the cluster.",
                "GETKEYSINSLOT <slot> <count>",
                "    Return the names of up to <count> keys in <slot>.",
                "GETSLOTMIGRATIONS",
                "    Return the moves of slots that are under way or were.",
                "INFO",
                "    Return the state of the cluster.",
                "KEYSLOT <key>",
                "    Return the slot of <key>.",
                "LINKS",
                "    Return the connections of the cluster bus.",
                "MEET <ip> <port> [<bus-port>]",
                "    Take a node into the cluster.",
                "MIGRATESLOTS SLOTSRANGE <start slot> <end slot> [<start slot> <end slot> ...] NODE <node-id> [...]",
                "    Move slots with their keys to other nodes, at once.",
                "MYID",
                "    Return this node's id.",
                "MYSHARDID",
                "    Return the id of this node's shard.",
                "NODES",
                "    Return the cluster as this node sees it, a node a line.",
                "REPLICAS <node-id>",
                "    Return the replicas of <node-id>.",
                "REPLICATE (<node-id>|NO ONE)",
                "    Make this node a replica of <node-id>, or a primary without slots.",
                "RESET [HARD|SOFT]",
                "    Forget the cluster.",
                "SAVECONFIG",
                "    Write the cluster's configuration to disk.",
                "SET-CONFIG-EPOCH <epoch>",
                "    Set the configuration epoch of a new node.",
                "SETSLOT <slot> (IMPORTING <node-id>|MIGRATING <node-id>|STABLE|NODE <node-id>) [TIMEOUT <ms>]",
                "    Say what happens to a slot.",
                "SHARDS",
                "    Return the shards with their slots and nodes.",
                "SLOT-STATS SLOTSRANGE <start slot> <end slot>",
                "    Return how many keys slots have and what is spent on them.",
                "SLOT-STATS ORDERBY <metric> [LIMIT <count>] [ASC|DESC]",
                "    Return the slots with the most, or least, of a metric.",
                "SLOTS",
                "    Return the ranges of slots with the nodes that serve them.",
            ],
        );
        Ok(())
    },
);

const CONNECTION: Cat = Cat::CONNECTION;

/// `ASKING` <https://valkey.io/commands/asking/>
pub static ASKING: Command = Command::new(
    meta("asking", 1, Flags::FAST).cat(CONNECTION).doc(
        "3.0.0",
        "O(1)",
        "Lets the next command meet a slot that is arriving here.",
    ),
    |cx, _| {
        if !cx.server.cluster.is_enabled() {
            return Err(DISABLED);
        }
        cx.session.asking = true;
        cx.out.ok();
        Ok(())
    },
);
/// `READONLY` <https://valkey.io/commands/readonly/>
pub static READONLY: Command = Command::new(
    meta("readonly", 1, Flags::FAST.or(LOOK)).cat(CONNECTION).doc(
        "3.0.0",
        "O(1)",
        "Lets this connection read from a replica.",
    ),
    |cx, _| reads(cx, true),
);
/// `READWRITE` <https://valkey.io/commands/readwrite/>
pub static READWRITE: Command = Command::new(
    meta("readwrite", 1, Flags::FAST.or(LOOK)).cat(CONNECTION).doc("3.0.0", "O(1)", "Ends what READONLY began."),
    |cx, _| reads(cx, false),
);

fn reads(cx: &mut Ctx<'_>, readonly: bool) -> super::CmdResult {
    cx.session.readonly = readonly;
    cx.session.client.set(flags::READONLY, readonly);
    cx.out.ok();
    Ok(())
}
