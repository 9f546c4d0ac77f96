//! SHUTDOWN: end the server.

use crate::clients::Close;
use crate::commands::options::is;
use crate::commands::{CmdResult, Command, Ctx};
use crate::resp::Error;
use crate::spec::{Flags, Group, Meta};

/// <https://valkey.io/commands/shutdown/>
pub static SHUTDOWN: Command = Command::new(
    Meta::new(
        "shutdown",
        -1,
        Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::LOADING).or(Flags::STALE).or(Flags::NO_MULTI).or(Flags::ALLOW_BUSY),
        Group::Server,
    )
    .doc("1.0.0", "O(1)", "Ends the server."),
    shutdown,
);

fn shutdown(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let (mut save, mut nosave, mut abort, mut other) = (false, false, false, false);
    for option in &args[1..] {
        match () {
            () if is(option, "NOSAVE") => nosave = true,
            () if is(option, "SAVE") => save = true,
            () if is(option, "NOW") || is(option, "FORCE") => other = true,
            () if is(option, "ABORT") => abort = true,
            () => return Err(Error::SYNTAX),
        }
    }
    if (abort && (save || nosave || other)) || (save && nosave) {
        return Err(Error::SYNTAX);
    }
    if abort {
        // There is nothing to wait for (replicas, a snapshot), so a shutdown is never under way.
        return Err(Error::new("ERR No shutdown in progress."));
    }
    if save {
        return Err(Error::new("ERR Errors trying to SHUTDOWN: this version has no persistence to save to."));
    }
    tracing::warn!("User requested shutdown...");
    cx.server.shut_down();
    cx.session.close = Close::Now;
    Ok(())
}
