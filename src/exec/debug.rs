//! EVAL of a client that debugs its scripts (<https://valkey.io/topics/ldb/>): the session, and how the script and its client talk.
//!
//! The script holds all slots from the start, for it must not begin again half-way. While it waits for its client it is left
//! as one that takes very long is ([`super::script`]), and from its first stop on it is busy: others hear BUSY, and SCRIPT KILL
//! ends it. A command waits for `busy-reply-threshold` before it hears that: the session may be just about to end.

use std::sync::Arc;

use super::call::Parts;
use super::{Worker, debug_copy};
use crate::base::coroutine;
use crate::clients::{Close, Dialogue, Session};
use crate::commands::gate::bits;
use crate::commands::lookup::Entry;
use crate::commands::{CmdResult, ScriptKind};
use crate::resp::{Error, Out};
use crate::script::Debugger;
use crate::spec::Flags;

/// After so long a script is taken to be in an endless loop where nothing else is set, ms.
const PATIENCE_MS: u64 = 5000;

/// Whether the command runs a script that is debugged.
pub(super) fn is_debugged(session: &Session, entry: &Entry) -> bool {
    session.debug.is_some() && matches!(entry.command.script, Some(ScriptKind::Text { .. }))
}

/// Whether the command's script is executed elsewhere, and this is only the wait for it.
pub(super) fn is_elsewhere(session: &Session, entry: &Entry) -> bool {
    is_debugged(session, entry) && session.debug.as_ref().is_some_and(|dialogue| dialogue.is_of_copy())
}

impl Worker {
    /// Whether the command is to come again, because a debugging session may end soon.
    pub(super) fn waits_for_session(&self, session: &mut Session, entry: &Entry, now: i64) -> bool {
        if self.gate & bits::BUSY == 0
            || session.internal
            || entry.flags().has(Flags::ALLOW_BUSY) && !self.denied
            || !self.server.running.any_debugged()
        {
            session.held_since = None;
            return false;
        }
        let threshold = self.server.config.busy_reply_threshold();
        let since = *session.held_since.get_or_insert(now);
        let waits = threshold == 0 || ((now - since).max(0) as u64) < threshold;
        if !waits {
            session.held_since = None;
        }
        waits
    }
}

impl Parts<'_> {
    /// Runs the script that a command asks for, in a debugging session if the connection wants that.
    pub(super) fn script_or_session(
        &mut self,
        kind: ScriptKind,
        session: &mut Session,
        argv: &[&[u8]],
        now: i64,
        out: &mut Out,
    ) -> CmdResult {
        let Some(dialogue) = session.debug.clone() else { return self.script(kind, session, argv, now, out) };
        match kind {
            ScriptKind::Function { .. } => return self.script(kind, session, argv, now, out),
            ScriptKind::Hash { .. } => {
                if argv[1].len() != 40 {
                    return Err(crate::script::interpreters::NOSCRIPT);
                }
                return Err(Error::new("ERR Please use EVAL instead of EVALSHA for debugging"));
            }
            ScriptKind::Text { .. } => {}
        }
        if dialogue.is_of_copy() && coroutine::is_inside() {
            return debug_copy::attend(self.server, &dialogue, session, argv, out.proto());
        }
        let kind_of = if dialogue.is_of_copy() { "isolated" } else { "synchronous" };
        tracing::info!("{kind_of} debugging eval session started");
        let patience = match self.server.config.busy_reply_threshold() {
            0 => PATIENCE_MS,
            ms => ms,
        };
        self.scripts.debugger = Some(Box::new(Debugger::new(argv[1], patience)));
        let result = self.script(kind, session, argv, now, out);
        if let Some(debugger) = self.scripts.debugger.take() {
            dialogue.tell(&debugger.end());
        }
        tracing::info!("{kind_of} debugging eval session ended");
        // That is how the client sees that it is over.
        if session.close == Close::No {
            session.close = Close::AfterReply;
        }
        result
    }
}

/// The script's end of the talk. `ends`: whether it is to end.
pub(super) struct Talk(pub Arc<Dialogue>);

impl Talk {
    /// Sends bytes, and waits while too much is to be sent.
    pub fn tell(&self, bytes: &[u8], ends: impl Fn() -> bool) {
        self.0.tell(bytes);
        while self.0.is_full() && !self.0.is_over() && !ends() && self.pause() {}
    }
    /// Waits until the client does something, or for less. False: it never will.
    fn pause(&self) -> bool {
        if !self.0.is_of_copy() {
            return coroutine::leave();
        }
        self.0.pause();
        true
    }
    /// Waits for what the client says. `None`: it is gone, or the script is to end.
    pub fn hear(&self, ends: impl Fn() -> bool) -> Option<Vec<u8>> {
        loop {
            if let Some(said) = self.0.hear() {
                return Some(said);
            }
            if self.0.is_over() || ends() || !self.pause() {
                return None;
            }
        }
    }
}
