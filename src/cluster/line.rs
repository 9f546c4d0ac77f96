//! One node as a line of text.
//!
//! `id ip:port@busport[,hostname[,aux=value]*] flags primary ping-sent pong-received epoch link-state [slot ...]`
//!
//! CLUSTER NODES prints it for clients, and nodes.conf stores it; the file has the auxiliary fields (shard id, human
//! name, the other port, addresses for clients), which clients do not get to see
//! (<https://valkey.io/commands/cluster-nodes/>).

use std::fmt::Write;

use super::{Flags, NodeInfo, View};

/// For whom a line is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reader {
    /// A client, who came with or without TLS, by IPv6 or by IPv4.
    Client {
        /// It came with TLS.
        tls: bool,
        /// It came by IPv6.
        ipv6: bool,
    },
    /// nodes.conf of a node whose bus uses TLS or does not.
    File {
        /// `tls-cluster` is on.
        tls: bool,
    },
}

/// The names of flags in the order in which they are printed.
pub const FLAG_NAMES: [(Flags, &str); 8] = [
    (Flags::MYSELF, "myself"),
    (Flags::PRIMARY, "master"),
    (Flags::REPLICA, "slave"),
    (Flags::PFAIL, "fail?"),
    (Flags::FAIL, "fail"),
    (Flags::HANDSHAKE, "handshake"),
    (Flags::NOADDR, "noaddr"),
    (Flags::NOFAILOVER, "nofailover"),
];

/// Append the names of `flags`, separated by commas; `noflags` if none has a name.
pub fn flags(out: &mut String, flags: Flags) {
    let start = out.len();
    for (flag, name) in FLAG_NAMES {
        if flags.any(flag) {
            if out.len() > start {
                out.push(',');
            }
            out.push_str(name);
        }
    }
    if out.len() == start {
        out.push_str("noflags");
    }
}

/// Append the line of `node`, without a line end.
pub fn node(out: &mut String, view: &View, node: &NodeInfo, reader: Reader) {
    let (ip, tls) = match reader {
        Reader::Client { tls, ipv6 } => (node.ip_for(ipv6), tls),
        Reader::File { tls } => (node.ip.as_str(), tls),
    };
    // Writing to a string does not fail.
    let _ = write!(out, "{} {ip}:{}@{}", node.id, node.client_port(tls), node.bus_port);
    if !node.hostname.is_empty() {
        out.push(',');
        out.push_str(&node.hostname);
    }
    if matches!(reader, Reader::File { .. }) {
        auxiliary(out, node, tls);
    }
    out.push(' ');
    flags(out, node.flags);
    match &node.primary {
        Some(primary) => {
            let _ = write!(out, " {primary}");
        }
        None => out.push_str(" -"),
    }
    let link = if node.connected || node.flags.any(Flags::MYSELF) { "connected" } else { "disconnected" };
    let _ = write!(out, " {} {} {} {link}", node.ping_sent, node.pong_received, node.epoch);
    if !node.slots.is_empty() {
        let _ = write!(out, " {}", node.slots);
    }
    if node.flags.any(Flags::MYSELF) {
        open_slots(out, view);
    }
}

/// The fields that only the file has, behind the host name.
fn auxiliary(out: &mut String, node: &NodeInfo, tls: bool) {
    if node.hostname.is_empty() {
        out.push(',');
    }
    let mut field = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = write!(out, ",{name}={value}");
        }
    };
    field("client-ipv6", &node.client_ipv6);
    field("client-ipv4", &node.client_ipv4);
    if tls {
        field("tcp-port", &node.port.to_string());
    } else {
        field("tls-port", &node.tls_port.to_string());
    }
    field("nodename", &node.human_nodename);
    field("shard-id", node.shard_id.as_str());
}

/// `[slot->-to]` and `[slot-<-from]`, by slot.
fn open_slots(out: &mut String, view: &View) {
    let mut open: Vec<_> = view.migrating().iter().map(|(slot, id)| (*slot, "->-", id)).collect();
    // A slot that is given away is not printed as received.
    open.extend(
        view.importing()
            .iter()
            .filter(|(slot, _)| view.migrating_to(*slot).is_none())
            .map(|(slot, id)| (*slot, "-<-", id)),
    );
    open.sort();
    for (slot, arrow, id) in open {
        let _ = write!(out, " [{slot}{arrow}{id}]");
    }
}

/// All nodes as CLUSTER NODES prints them, each with a line end.
pub fn cluster_nodes(view: &View, tls: bool, ipv6: bool) -> String {
    let mut out = String::with_capacity(view.nodes.len() * 140);
    for info in &view.nodes {
        node(&mut out, view, info, Reader::Client { tls, ipv6 });
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::SlotSet;
    use super::super::view::tests::{node as info, view};
    use super::*;

    #[test]
    fn a_line_for_clients_is_that_of_redis() {
        let mut me = info('a', Flags::PRIMARY | Flags::MYSELF);
        me.slots = SlotSet::range(0, 9);
        let mut other = info('b', Flags::PRIMARY | Flags::PFAIL);
        other.hostname = "host.example".to_owned();
        other.connected = false;
        other.ping_sent = 1_700_000_000_000;
        other.config_epoch = 4;
        let view = view(vec![me, other.clone()], vec![(3, other.id)]);
        let (a, b) = ("a".repeat(40), "b".repeat(40));
        assert_eq!(
            cluster_nodes(&view, false, false),
            format!(
                "{a} 10.0.0.1:7000@17000 myself,master - 0 0 0 connected 0-9 [3->-{b}]\n\
                 {b} 10.0.0.1:7000@17000,host.example master,fail? - 1700000000000 0 4 disconnected\n"
            )
        );
    }

    #[test]
    fn a_line_for_the_file_has_auxiliary_fields() {
        let mut me = info('a', Flags::REPLICA | Flags::MYSELF | Flags::NOFAILOVER);
        me.human_nodename = "left".to_owned();
        me.client_ipv4 = "1.2.3.4".to_owned();
        let view = view(vec![me], vec![]);
        let mut out = String::new();
        node(&mut out, &view, &view.nodes[0], Reader::File { tls: false });
        let a = "a".repeat(40);
        assert_eq!(
            out,
            format!(
                "{a} 10.0.0.1:7000@17000,,client-ipv4=1.2.3.4,tls-port=0,nodename=left,shard-id={a} \
                 myself,slave,nofailover - 0 0 0 connected"
            )
        );
    }

    #[test]
    fn a_node_without_flags_says_so() {
        let mut out = String::new();
        flags(&mut out, Flags::MIGRATE_TO);
        assert_eq!(out, "noflags");
    }
}
