//! Whether the user of a session may run a command, and what follows if not.

use super::Worker;
use super::call::Parts;
use crate::acl::{Context, Denied};
use crate::clients::Session;
use crate::commands::acl::denied;
use crate::commands::connection::list::Running;
use crate::commands::lookup::Entry;
use crate::resp::{Error, Out};

impl Worker {
    /// Brings the session up to date with changes of its user. False if the connection ends for that.
    #[inline]
    pub(super) fn know_user(&self, session: &mut Session) -> bool {
        if session.acl_version != self.acl_version {
            session.look_at_user(&self.server.acl);
        }
        session.close == crate::clients::Close::No
    }

    /// Whether the session's user may run a command, without a word to anybody.
    #[inline]
    pub(super) fn may(&self, session: &Session, entry: &Entry, argv: &[&[u8]]) -> bool {
        let Some(user) = session.user.as_ref().filter(|_| !session.unrestricted) else { return true };
        user.check(&self.server.acl.table, entry.id, argv, session.db).is_ok()
    }
}

impl Parts<'_> {
    /// Whether the session's user may run a command. If not, that is counted and goes to the log; `running` is the command
    /// that its connection is in, with its arguments.
    #[inline]
    pub(super) fn check_user(
        &self,
        session: &Session,
        entry: &Entry,
        argv: &[&[u8]],
        context: Context,
        (running, its): (u16, &[&[u8]]),
    ) -> Result<(), Denied> {
        let Some(user) = session.user.as_ref().filter(|_| !session.unrestricted) else { return Ok(()) };
        user.check(&self.server.acl.table, entry.id, argv, session.db).inspect_err(|why| {
            let running = Running::new(running, its);
            denied::record(self.server, self.stats, &session.client, running, context, (why, &user.name));
        })
    }
}

impl Parts<'_> {
    /// The reply in place of that of a queued command.
    #[cold]
    pub(super) fn refuse_queued(&self, why: &Denied, out: &mut Out) {
        let e = Error::owned(why.text_in_exec());
        self.stats.errors.count(e.code());
        self.stats.error_replies.add(1);
        out.error(&e);
    }
}

/// The error reply.
pub(super) fn noperm(session: &Session, why: &Denied) -> Error {
    let text = session.user.as_ref().map(|user| why.text(user, false)).unwrap_or_default();
    Error::owned([b"NOPERM ", &text[..]].concat())
}
