//! CLUSTER subcommands that tell how the cluster is, from a view.

use std::fmt::Write;

use super::{DISABLED, LOOK, NODES as ALL_NODES, UNSTEADY, meta, view};
use crate::base::slot;
use crate::cluster::line::{self, Reader};
use crate::cluster::{Stats, View};
use crate::commands::{CmdResult, Command, Ctx};
use crate::resp::Error;
use crate::spec::Flags;

/// Whether a client came by IPv6.
pub(super) fn is_ipv6(cx: &Ctx<'_>) -> bool {
    cx.session.client.laddr.matches(':').count() > 1
}

/// <https://valkey.io/commands/cluster-keyslot/>
pub static KEYSLOT: Command = Command::new(
    meta("cluster|keyslot", 3, Flags::STALE).doc(
        "3.0.0",
        "O(N) where N is the number of bytes of the key.",
        "Returns the slot of a key.",
    ),
    |cx, args| {
        // Also where there is no cluster: it asks nothing of one.
        cx.out.int(i64::from(slot::key_slot(args[2])));
        Ok(())
    },
);
/// <https://valkey.io/commands/cluster-myid/>
pub static MYID: Command =
    Command::new(meta("cluster|myid", 2, LOOK).doc("3.0.0", "O(1)", "Returns the id of this node."), |cx, _| {
        let view = view(cx)?;
        cx.out.bulk(view.myself().id.as_bytes());
        Ok(())
    });
/// <https://valkey.io/commands/cluster-myshardid/>
pub static MYSHARDID: Command = Command::new(
    meta("cluster|myshardid", 2, LOOK).doc("7.2.0", "O(1)", "Returns the id of this node's shard.").tips(UNSTEADY),
    |cx, _| {
        let view = view(cx)?;
        cx.out.bulk(view.myself().shard_id.as_bytes());
        Ok(())
    },
);
/// <https://valkey.io/commands/cluster-nodes/>
pub static NODES: Command = Command::new(
    meta("cluster|nodes", 2, LOOK).doc("3.0.0", ALL_NODES, "Returns the cluster as this node sees it.").tips(UNSTEADY),
    |cx, _| {
        let view = cx.server.cluster.fresh_view().ok_or(DISABLED)?;
        let text = line::cluster_nodes(&view, false, is_ipv6(cx));
        cx.out.verbatim("txt", text.as_bytes());
        Ok(())
    },
);
/// <https://valkey.io/commands/cluster-info/>
pub static INFO: Command = Command::new(
    meta("cluster|info", 2, LOOK).doc("3.0.0", "O(1)", "Returns the state of the cluster.").tips(UNSTEADY),
    |cx, _| {
        let view = cx.server.cluster.fresh_view().ok_or(DISABLED)?;
        cx.out.verbatim("txt", info(&view).as_bytes());
        Ok(())
    },
);
/// <https://valkey.io/commands/cluster-replicas/>
pub static REPLICAS: Command = Command::new(
    meta("cluster|replicas", 3, Flags::ADMIN.or(Flags::STALE))
        .doc("5.0.0", "O(N) where N is the number of replicas.", "Returns the replicas of a node.")
        .tips(UNSTEADY),
    replicas,
);
/// <https://valkey.io/commands/cluster-slaves/>
pub static SLAVES: Command = Command::new(
    meta("cluster|slaves", 3, Flags::ADMIN.or(Flags::STALE))
        .doc("3.0.0", "O(N) where N is the number of replicas.", "Returns the replicas of a node.")
        .deprecated("5.0.0", "`CLUSTER REPLICAS`")
        .tips(UNSTEADY),
    replicas,
);
/// <https://valkey.io/commands/cluster-links/>
pub static LINKS: Command = Command::new(
    meta("cluster|links", 2, Flags::STALE)
        .doc("7.0.0", ALL_NODES, "Returns the connections of the cluster bus.")
        .tips(UNSTEADY),
    links,
);

fn info(view: &View) -> String {
    let mut text = format!(
        "cluster_state:{}\r\ncluster_slots_assigned:{}\r\ncluster_slots_ok:{}\r\ncluster_slots_pfail:{}\r\n\
         cluster_slots_fail:{}\r\ncluster_known_nodes:{}\r\ncluster_size:{}\r\ncluster_current_epoch:{}\r\n\
         cluster_my_epoch:{}\r\n",
        view.state.name(),
        view.slots_assigned,
        view.slots_ok,
        view.slots_pfail,
        view.slots_fail,
        view.nodes.len(),
        view.size,
        view.current_epoch,
        view.my_epoch
    );
    for (way, counts) in [("sent", &view.stats.sent), ("received", &view.stats.received)] {
        for (name, n) in Stats::NAMES.iter().zip(counts).filter(|(_, n)| **n > 0) {
            let _ = write!(text, "cluster_stats_messages_{name}_{way}:{n}\r\n");
        }
        let _ = write!(text, "cluster_stats_messages_{way}:{}\r\n", counts.iter().sum::<u64>());
    }
    let _ = write!(text, "total_cluster_links_buffer_limit_exceeded:{}\r\n", view.stats.links_over_limit);
    text
}

fn replicas(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let view = cx.server.cluster.fresh_view().ok_or(DISABLED)?;
    let Some(node) = view.lookup(args[2]) else {
        return Err(Error::owned([b"ERR Unknown node ", args[2]].concat()));
    };
    if node.is_replica() {
        return Err(Error::new("ERR The specified node is not a master"));
    }
    let reader = Reader::Client { tls: false, ipv6: is_ipv6(cx) };
    cx.out.array(node.replicas.len());
    for replica in view.replicas_of(node) {
        let mut text = String::new();
        line::node(&mut text, &view, replica, reader);
        cx.out.bulk(text.as_bytes());
    }
    Ok(())
}

fn links(cx: &mut Ctx<'_>, _args: &[&[u8]]) -> CmdResult {
    let links = cx.server.cluster.core().ok_or(DISABLED)?.links();
    cx.out.array(links.len());
    for link in links {
        let waiting = cx.server.cluster.waiting(link.link);
        cx.out.map(6);
        cx.out.bulk(b"direction");
        cx.out.bulk(if link.inbound { b"from" } else { b"to" });
        cx.out.bulk(b"node");
        cx.out.bulk(link.node.as_bytes());
        cx.out.bulk(b"create-time");
        cx.out.int(link.created);
        cx.out.bulk(b"events");
        cx.out.bulk(if waiting > 0 { b"rw" } else { b"r" });
        cx.out.bulk(b"send-buffer-allocated");
        cx.out.int(waiting as i64);
        cx.out.bulk(b"send-buffer-used");
        cx.out.int(waiting as i64);
    }
    Ok(())
}
