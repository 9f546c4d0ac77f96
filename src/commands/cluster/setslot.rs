//! CLUSTER SETSLOT where there are replicas: they hear of the change before it is made.
//!
//! Otherwise a primary could tell the others of a slot that it has now, and fail before its replicas know; the one that
//! replaces it would not claim the slot, and nobody would have it.

use super::change::Counted;
use super::{events, keys};
use crate::base::clock;
use crate::clients::{Block, Job};
use crate::cluster::NodeId;
use crate::cluster::core::Command;
use crate::commands::{Ctx, Server};
use crate::keyspace::{LogBuf, Target};
use crate::resp::Error;

/// How often the thread looks how far the replicas are.
const LOOK_US: u64 = 200;
/// After how many looks it looks whether the client is still there.
const CLIENT_LOOKS: u64 = 500;

/// Passes a SETSLOT on to replicas that understand it. `true`: it is carried out, and replied to, once they have it.
/// `false`: it is to be carried out now, because there are none, or because the client cannot be kept waiting (in a
/// transaction).
pub fn tell_replicas(cx: &mut Ctx<'_>, args: &[&[u8]], command: &Command, counted: &Counted) -> Result<bool, Error> {
    let server = cx.server;
    let Command::SetSlot { slot, timeout, .. } = command else { return Ok(false) };
    let wanted = server.repl.follow_slots();
    if cx.session.internal || wanted == 0 {
        return Ok(false);
    }
    let refused = |e: std::borrow::Cow<'static, str>| Error::owned(e.into_owned());
    let has_replicas = match server.cluster.core() {
        Some(core) => core.may_set_slot(command, counted).map_err(refused)?,
        None => false,
    };
    if !has_replicas {
        return Ok(false);
    }
    let mut log = LogBuf::default();
    log.push(0, args, Target::Replicas);
    log.close_group();
    server.keyspace.hooks.append(&mut log);
    let offset = server.repl.log.end();
    server.repl.ask();
    server.keyspace.hooks.wake();
    if cx.session.deny_blocking {
        return Ok(false);
    }
    let (slot, timeout) = (*slot, timeout.map_err(Error::new)?);
    let wait = Wait { server, replicas: my_replicas(server), wanted, offset, timeout, client: cx.session.client.id };
    let command = command.clone();
    let job = Job(Box::new(move |_, out| {
        wait.run()?;
        carry_out(server, slot, command)?;
        out.ok();
        Ok(())
    }));
    cx.session.block = Some(Block { job: Some(job), ..Block::default() });
    Ok(true)
}

/// The nodes that follow this one, as it knows.
fn my_replicas(server: &Server) -> Vec<NodeId> {
    let Some(view) = server.cluster.view() else { return Vec::new() };
    view.replicas_of(view.myself()).map(|node| node.id).collect()
}

struct Wait {
    server: &'static Server,
    /// Who followed when it began.
    replicas: Vec<NodeId>,
    /// How many of them were to hear of it.
    wanted: usize,
    /// The end of the order in the log.
    offset: u64,
    /// Milliseconds; 0: for ever.
    timeout: i64,
    /// Who waits.
    client: u64,
}

impl Wait {
    /// Ends when the replicas have it. One that follows somebody else since has it, too: with the last slot of a shard
    /// its replicas go to the new owner as soon as they hear, and confirm nothing any more. So may this node, and then
    /// says that it is no primary.
    fn run(&self) -> Result<(), Error> {
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

fn carry_out(server: &'static Server, slot: u16, command: Command) -> Result<(), Error> {
    let counted = Counted::in_slot(slot, keys::Hands::new(server).count(slot));
    let reply = match server.cluster.core() {
        Some(mut core) => core.handle_command(clock::steady_ms(), command, &counted),
        None => return Err(super::DISABLED),
    };
    events::carry_out(server);
    server.cluster.ring();
    reply.map(drop).map_err(|e| Error::owned(e.into_owned()))
}
