//! What the replicas of this node hear of slots, by the log, and the wait until they have.

use crate::base::clock;
use crate::cluster::NodeId;
use crate::commands::{Ctx, Server};
use crate::keyspace::{LogBuf, Target};
use crate::resp::Error;

/// How often the thread looks how far the replicas are.
const LOOK_US: u64 = 200;
/// After how many looks it looks whether the client is still there.
const CLIENT_LOOKS: u64 = 500;

/// Puts orders into the log for replicas. Nobody is woken.
pub fn log<O, W>(server: &Server, orders: impl IntoIterator<Item = O>)
where
    O: AsRef<[W]>,
    W: AsRef<[u8]>,
{
    let mut log = LogBuf::default();
    for order in orders {
        log.push(0, &order.as_ref().iter().map(AsRef::as_ref).collect::<Vec<_>>(), Target::Replicas);
        log.close_group();
    }
    if !log.is_empty() {
        server.keyspace.hooks.append(&mut log);
    }
}

/// A wait until replicas have the log up to where it was when it began.
pub struct Wait {
    server: &'static Server,
    /// Who followed then.
    replicas: Vec<NodeId>,
    /// How many are to have it.
    wanted: usize,
    /// The end of the log.
    offset: u64,
    /// Milliseconds; 0: for ever.
    timeout: i64,
    /// Who waits.
    client: u64,
}

impl Wait {
    /// Begins: asks the replicas how far they are. `timeout` in milliseconds; 0: none.
    pub fn begin(cx: &Ctx<'_>, wanted: usize, timeout: i64) -> Wait {
        let server = cx.server;
        let offset = server.repl.log.end();
        server.repl.ask();
        server.keyspace.hooks.wake();
        Wait { server, replicas: my_replicas(server), wanted, offset, timeout, client: cx.session.client.id }
    }

    /// Ends when the replicas have it. One that follows somebody else since has it, too: with the last slot of a shard
    /// its replicas go to the new owner as soon as they hear, and confirm nothing any more. So may this node, and then
    /// says that it is no primary.
    ///
    /// # Errors
    /// NOREPLICAS: they did not in time, or the client is gone.
    pub fn run(&self) -> Result<(), Error> {
        let server = self.server;
        let deadline = (self.timeout > 0).then(|| clock::steady_ms().saturating_add(self.timeout));
        let mut looks = 0_u64;
        while server.repl.have(self.offset, false) + self.left() < self.wanted {
            if server.repl.link.is_replica() {
                break;
            }
            looks += 1;
            let late = deadline.is_some_and(|deadline| clock::steady_ms() >= deadline);
            let gone = looks.is_multiple_of(CLIENT_LOOKS) && server.registry.get(self.client).is_none();
            if late || gone || server.is_stopping() {
                return Err(Error::new("NOREPLICAS Not enough good replicas to write."));
            }
            clock::pause_us(LOOK_US);
        }
        Ok(())
    }

    /// How many replicas are somebody else's by now.
    fn left(&self) -> usize {
        let Some(view) = self.server.cluster.view() else { return 0 };
        let left =
            |id: &&NodeId| view.node(id).is_some_and(|node| node.primary.is_some_and(|id| id != view.myself().id));
        self.replicas.iter().filter(left).count()
    }
}

/// The nodes that follow this one, as it knows.
fn my_replicas(server: &Server) -> Vec<NodeId> {
    let Some(view) = server.cluster.view() else { return Vec::new() };
    view.replicas_of(view.myself()).map(|node| node.id).collect()
}
