//! A primary that is to end hands its slots to a replica first (`SHUTDOWN FAILOVER`).
//!
//! The order goes into the replication stream, behind the last write: the replica that it names has applied all of them when it
//! begins its election, in which the others vote although the primary is well. The other replicas pass over it.

use crate::cluster::{Flags, NodeId, NodeInfo};
use crate::commands::Server;
use crate::keyspace::encode_request;

/// Whether this node is a primary with slots.
pub fn leads(server: &Server) -> bool {
    server.cluster.view().is_some_and(|view| is_leader(view.myself()))
}

fn is_leader(node: &NodeInfo) -> bool {
    node.is_primary() && !node.slots.is_empty()
}

/// The replica that is to take over from this node, if it has slots to hand over: of those that may and that answer, the one
/// that told of most of the data. (One that came just now has told nothing yet.)
pub fn successor(server: &Server) -> Option<NodeId> {
    let view = server.cluster.fresh_view()?;
    let me = view.myself();
    let unfit = Flags::FAIL | Flags::PFAIL | Flags::NOFAILOVER;
    let fit = view.replicas_of(me).filter(|node| !node.flags.any(unfit));
    let best = fit.max_by_key(|node| node.repl_offset)?;
    (is_leader(me) && server.repl.online() > 0).then_some(best.id)
}

/// Orders the replica to take over.
pub fn order(server: &Server, successor: &NodeId) {
    let mut request = Vec::new();
    encode_request(&[b"CLUSTER", b"FAILOVER", b"FORCE", b"REPLICAID", successor.to_string().as_bytes()], &mut request);
    server.repl.log.append_raw(&request);
}
