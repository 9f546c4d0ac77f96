//! CLUSTER SLOTS and CLUSTER SHARDS: what clients build their maps from.

use super::look::is_ipv6;
use super::{LOOK, NODES, UNSTEADY, meta};
use crate::cluster::NodeInfo;
use crate::commands::{CmdResult, Command, Ctx};

/// <https://valkey.io/commands/cluster-slots/>
pub static SLOTS: Command = Command::new(
    meta("cluster|slots", 2, LOOK)
        .doc("3.0.0", NODES, "Returns the ranges of slots with the nodes that serve them.")
        .tips(UNSTEADY),
    slots,
);
/// <https://valkey.io/commands/cluster-shards/>
pub static SHARDS: Command = Command::new(
    meta("cluster|shards", 2, LOOK)
        .doc("7.0.0", NODES, "Returns the shards with their slots and nodes.")
        .tips(UNSTEADY),
    shards,
);

/// `cluster-preferred-endpoint-type`
#[derive(Clone, Copy, PartialEq)]
enum Endpoint {
    Ip,
    Hostname,
    Unknown,
}

fn preferred(cx: &Ctx<'_>) -> Endpoint {
    match cx.config().cluster_preferred_endpoint_type() {
        0 => Endpoint::Ip,
        1 => Endpoint::Hostname,
        _ => Endpoint::Unknown,
    }
}

fn slots(cx: &mut Ctx<'_>, _args: &[&[u8]]) -> CmdResult {
    let view = super::view(cx)?;
    let ranges = view.owned_ranges();
    cx.out.array(ranges.len());
    for (first, last, owner) in ranges {
        let replicas: Vec<&NodeInfo> = view.replicas_of(owner).filter(|node| node.is_available()).collect();
        cx.out.array(3 + replicas.len());
        cx.out.int(i64::from(first));
        cx.out.int(i64::from(last));
        address(cx, owner);
        replicas.into_iter().for_each(|node| address(cx, node));
    }
    Ok(())
}

/// Where a node is, as a client is to reach it, and what else is known of that.
fn address(cx: &mut Ctx<'_>, node: &NodeInfo) {
    let (by, ip) = (preferred(cx), node.ip_for(is_ipv6(cx)));
    let out = &mut *cx.out;
    out.array(4);
    match by {
        Endpoint::Ip => out.bulk(ip.as_bytes()),
        Endpoint::Hostname if node.hostname.is_empty() => out.bulk(b"?"),
        Endpoint::Hostname => out.bulk(node.hostname.as_bytes()),
        Endpoint::Unknown => out.null(),
    }
    out.int(i64::from(node.client_port(false)));
    out.bulk(node.id.as_bytes());
    let tells_ip = by != Endpoint::Ip;
    let tells_name = by != Endpoint::Hostname && !node.hostname.is_empty();
    out.map(usize::from(tells_ip) + usize::from(tells_name));
    if tells_ip {
        out.bulk(b"ip");
        out.bulk(ip.as_bytes());
    }
    if tells_name {
        out.bulk(b"hostname");
        out.bulk(node.hostname.as_bytes());
    }
}

fn shards(cx: &mut Ctx<'_>, _args: &[&[u8]]) -> CmdResult {
    let view = cx.server.cluster.fresh_view().ok_or(super::DISABLED)?;
    let shards = view.shards();
    cx.out.array(shards.len());
    for shard in shards {
        cx.out.map(2);
        cx.out.bulk(b"slots");
        let owner = shard.iter().find(|node| !node.slots.is_empty());
        let ranges = owner.map(|node| node.slots.ranges()).unwrap_or_default();
        cx.out.array(ranges.len() * 2);
        for &(first, last) in ranges {
            cx.out.int(i64::from(first));
            cx.out.int(i64::from(last));
        }
        cx.out.bulk(b"nodes");
        cx.out.array(shard.len());
        for node in shard {
            details(cx, node);
        }
    }
    Ok(())
}

fn details(cx: &mut Ctx<'_>, node: &NodeInfo) {
    let (by, ip) = (preferred(cx), node.ip_for(is_ipv6(cx)));
    let out = &mut *cx.out;
    let optional = [node.port != 0, node.tls_port != 0, !node.hostname.is_empty()];
    out.map(6 + optional.iter().filter(|there| **there).count());
    out.bulk(b"id");
    out.bulk(node.id.as_bytes());
    for (name, port) in [("port", node.port), ("tls-port", node.tls_port)] {
        if port != 0 {
            out.bulk(name.as_bytes());
            out.int(i64::from(port));
        }
    }
    out.bulk(b"ip");
    out.bulk(ip.as_bytes());
    out.bulk(b"endpoint");
    out.bulk(match by {
        Endpoint::Ip => ip.as_bytes(),
        Endpoint::Hostname if node.hostname.is_empty() => b"?",
        Endpoint::Hostname => node.hostname.as_bytes(),
        Endpoint::Unknown => b"",
    });
    if !node.hostname.is_empty() {
        out.bulk(b"hostname");
        out.bulk(node.hostname.as_bytes());
    }
    out.bulk(b"role");
    out.bulk(if node.is_replica() { b"replica" } else { b"master" });
    out.bulk(b"replication-offset");
    out.int(node.repl_offset as i64);
    out.bulk(b"health");
    out.bulk(node.health().name().as_bytes());
}
