//! CLUSTER subcommands that change something: the state machine checks them and carries them out.

use super::{DISABLED, UNSTEADY, events, keys, meta, setslot};
use crate::base::clock;
use crate::base::slot::SLOTS;
use crate::cluster::core::{self, Keys, Reply};
use crate::commands::{CmdResult, Command, Ctx, Scope, Server};
use crate::resp::Error;
use crate::spec::Flags;

const ADMIN: Flags = Flags::NO_ASYNC_LOADING.or(Flags::ADMIN).or(Flags::STALE);

macro_rules! change {
    ($($(#[$doc:meta])* $name:ident = $full:literal, $arity:literal, $flags:expr, $since:literal, $complexity:literal, $summary:literal;)+) => { $(
        $(#[$doc])*
        pub static $name: Command = Command::new(
            meta($full, $arity, $flags).doc($since, $complexity, $summary),
            change,
        )
        .scope(Scope::Own);
    )+ };
}

change! {
    /// <https://valkey.io/commands/cluster-addslots/>
    ADDSLOTS = "cluster|addslots", -3, ADMIN, "3.0.0", "O(N) where N is the number of slots.", "Takes slots that have no owner.";
    /// <https://valkey.io/commands/cluster-addslotsrange/>
    ADDSLOTSRANGE = "cluster|addslotsrange", -4, ADMIN, "7.0.0", "O(N) where N is the number of slots.", "Takes ranges of slots that have no owner.";
    /// <https://valkey.io/commands/cluster-delslots/>
    DELSLOTS = "cluster|delslots", -3, ADMIN, "3.0.0", "O(N) where N is the number of slots.", "Forgets who owns slots.";
    /// <https://valkey.io/commands/cluster-delslotsrange/>
    DELSLOTSRANGE = "cluster|delslotsrange", -4, ADMIN, "7.0.0", "O(N) where N is the number of slots.", "Forgets who owns ranges of slots.";
    /// <https://valkey.io/commands/cluster-failover/>
    FAILOVER = "cluster|failover", -2, ADMIN, "3.0.0", "O(1)", "Makes a replica the primary of its shard.";
    /// <https://valkey.io/commands/cluster-flushslots/>
    FLUSHSLOTS = "cluster|flushslots", 2, ADMIN, "3.0.0", "O(1)", "Gives up all slots of this node.";
    /// <https://valkey.io/commands/cluster-forget/>
    FORGET = "cluster|forget", 3, ADMIN, "3.0.0", "O(1)", "Removes a node from the cluster.";
    /// <https://valkey.io/commands/cluster-meet/>
    MEET = "cluster|meet", -4, ADMIN, "3.0.0", "O(1)", "Takes a node into the cluster.";
    /// <https://valkey.io/commands/cluster-replicate/>
    REPLICATE = "cluster|replicate", -3, ADMIN, "3.0.0", "O(1)", "Makes this node a replica of another, or a primary without slots.";
    /// <https://valkey.io/commands/cluster-reset/>
    RESET = "cluster|reset", -2, Flags::ADMIN.or(Flags::STALE).or(Flags::NOSCRIPT), "3.0.0", "O(N) where N is the number of nodes; all keys may be removed.", "Forgets the cluster.";
    /// <https://valkey.io/commands/cluster-saveconfig/>
    SAVECONFIG = "cluster|saveconfig", 2, ADMIN, "3.0.0", "O(1)", "Writes the configuration of the cluster to disk.";
    /// <https://valkey.io/commands/cluster-set-config-epoch/>
    SET_CONFIG_EPOCH = "cluster|set-config-epoch", 3, ADMIN, "3.0.0", "O(1)", "Sets the configuration epoch of a new node.";
    /// <https://valkey.io/commands/cluster-setslot/>
    SETSLOT = "cluster|setslot", -4, ADMIN.or(Flags::MAY_REPLICATE), "3.0.0", "O(1)", "Says what happens to a slot.";
}

/// <https://valkey.io/commands/cluster-bumpepoch/>
pub static BUMPEPOCH: Command = Command::new(
    meta("cluster|bumpepoch", 2, ADMIN)
        .doc("3.0.0", "O(1)", "Moves the configuration epoch of this node forward.")
        .tips(UNSTEADY),
    change,
)
.scope(Scope::Own);

/// <https://valkey.io/commands/cluster-count-failure-reports/>
pub static COUNT_FAILURE_REPORTS: Command = Command::new(
    meta("cluster|count-failure-reports", 3, Flags::ADMIN.or(Flags::STALE))
        .doc("3.0.0", "O(N) where N is the number of reports.", "Returns how many nodes report a node as failing.")
        .tips(UNSTEADY),
    change,
)
.scope(Scope::Own);

/// What the state machine asks of the data, counted before: no slot is locked while it works.
pub struct Counted {
    total: u64,
    slot: Option<u16>,
    keys: u64,
}

impl Counted {
    /// For orders about a slot.
    pub fn in_slot(slot: u16, keys: u64) -> Counted {
        Counted { total: 0, slot: Some(slot), keys }
    }
    /// For orders that do not look at the data.
    pub const NOTHING: Counted = Counted { total: 0, slot: None, keys: 0 };
}

impl Keys for Counted {
    fn total(&self) -> u64 {
        self.total
    }
    fn in_slot(&self, slot: u16) -> u64 {
        debug_assert!(self.slot.is_none_or(|counted| counted == slot), "only SETSLOT asks, for its slot");
        self.keys
    }
}

/// Gives the state machine an order, and carries out what follows from it. No slots are held.
///
/// # Errors
/// The text that the client gets.
pub fn order(server: &'static Server, command: core::Command, counted: &Counted) -> Result<Reply, Error> {
    let reply = match server.cluster.core() {
        Some(mut core) => core.handle_command(clock::steady_ms(), command, counted),
        None => return Err(DISABLED),
    };
    events::carry_out(server);
    server.cluster.ring();
    reply.map_err(|e| Error::owned(e.into_owned()))
}

fn change(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let server = cx.server;
    if !server.cluster.is_enabled() {
        return Err(DISABLED);
    }
    let command = core::Command::parse(&args[1..], &cx.session.client.addr).ok_or_else(|| cx.arity())?;
    let mut command = command.map_err(|e| Error::owned(e.into_owned()))?;
    let slot = match &mut command {
        core::Command::SetSlot { slot, from_primary, .. } => {
            *from_primary = cx.session.primary;
            Some(*slot).filter(|slot| *slot < SLOTS)
        }
        _ => None,
    };
    let keys = slot.map_or(0, |slot| keys::count(cx, slot));
    let total = (0..cx.db.keyspace().databases()).map(|db| server.metrics.keys(db)).sum();
    let counted = Counted { total, slot, keys };
    if slot.is_some() && setslot::tell_replicas(cx, args, &command, &counted)? {
        return Ok(());
    }
    let reply = match server.cluster.core() {
        Some(mut core) => core.handle_command(clock::steady_ms(), command, &counted),
        None => return Err(DISABLED),
    };
    if cx.db.held().is_empty() {
        events::carry_out(server);
    }
    // Else slots are held, and the bus thread does it.
    server.cluster.ring();
    match reply.map_err(|e| Error::owned(e.into_owned()))? {
        Reply::Ok => cx.out.ok(),
        Reply::Int(n) => cx.out.int(n),
        Reply::Status(text) => cx.out.simple(&text),
    }
    Ok(())
}
