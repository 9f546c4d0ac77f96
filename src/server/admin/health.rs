//! Whether a node should be sent clients.

use std::sync::atomic::Ordering::Relaxed;

use crate::cluster::State;
use crate::commands::Server;
use crate::commands::gate::bits;
use crate::repl::LinkState;

/// Why the node is not ready; nothing: it is.
pub fn obstacle(server: &Server) -> Option<String> {
    if server.is_stopping() {
        return Some("the server is stopping".to_owned());
    }
    if server.gate.has(bits::LOADING) || server.loading.on.load(Relaxed) {
        let (done, total) = (server.loading.done.load(Relaxed), server.loading.total.load(Relaxed));
        return Some(format!("loading the data: {done} of {total} bytes"));
    }
    let link = &server.repl.link;
    if link.is_replica() && link.state() != LinkState::Connected {
        return Some(format!("the link to the primary is down: {}", link.state().name()));
    }
    let view = server.cluster.view()?;
    (view.state != State::Ok).then(|| format!("the cluster is down: {}", view.reason.text()))
}
