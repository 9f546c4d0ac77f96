//! CLUSTER SETSLOT where there are replicas: they hear of the change before it is made.
//!
//! Otherwise a primary could tell the others of a slot that it has now, and fail before its replicas know; the one that
//! replaces it would not claim the slot, and nobody would have it.

use super::change::{Counted, order};
use super::keys;
use super::replicas::{self, Wait};
use crate::clients::{Block, Job};
use crate::cluster::core::Command;
use crate::commands::Ctx;
use crate::resp::Error;

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
    replicas::log(server, [args]);
    let (slot, timeout) = (*slot, timeout.map_err(Error::new)?);
    let wait = Wait::begin(cx, wanted, timeout);
    if cx.session.deny_blocking {
        return Ok(false);
    }
    let command = command.clone();
    let job = Job(Box::new(move |_, out| {
        wait.run()?;
        let counted = Counted::in_slot(slot, keys::Hands::new(server).count(slot));
        order(server, command, &counted)?;
        out.ok();
        Ok(())
    }));
    cx.session.block = Some(Block { job: Some(job), ..Block::default() });
    Ok(true)
}
