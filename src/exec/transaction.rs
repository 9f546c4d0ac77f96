//! EXEC: the queued commands take effect as one.

use super::route::{Route, Unsettled};
use super::single::{Locks, slices};
use super::{Turn, Worker};
use crate::acl::Context;
use crate::base::clock;
use crate::clients::{Session, received};
use crate::commands::lookup::Entry;
use crate::commands::transactions::forget_watches;
use crate::keyspace::Located;
use crate::resp::{Error, Out};

impl Worker {
    /// Executes the transaction of a session that has one. False if a pause holds it back, all of it.
    pub(super) fn exec(
        &mut self,
        session: &mut Session,
        turn: &Turn<'_>,
        number: usize,
        (entry, mut route): (&'static Entry, Route),
        now: i64,
        out: &mut Out,
    ) -> bool {
        let Some(mut multi) = session.multi.take() else { return true };
        if multi.failed {
            self.end_transaction(session, now);
            let e = Error::EXECABORT;
            self.stats.command(entry.id).calls.add(1);
            self.stats.command(entry.id).failed.add(1);
            self.parts().reject(session, None, &e, out);
            return true;
        }
        self.slots.clear();
        self.add_watched(session);
        // Located again by each command: the list is for locking only.
        let (mut all, mut first) = (false, Located::NONE);
        for q in &multi.queue {
            let e = self.server.lookup.get(q.command);
            all |= matches!(self.add_locks(session, e, &slices(&q.argv), true, &mut first), Locks::All);
        }
        if !self.take(if all { Locks::All } else { Locks::Slots }) {
            self.look_at_state();
            session.multi = Some(multi);
            if let Some(e) = self.barred(session, entry) {
                self.unlock();
                self.abort_exec(session, &e, now, out);
                return true;
            }
            if self.server.pause.is_set() && self.is_held_back(session, entry, &[b"exec"], now) {
                self.unlock();
                return false;
            }
            match self.route(session, entry, &[b"exec"]) {
                Ok(newer) => route = newer,
                Err(e) => {
                    self.unlock();
                    self.redirect(session, entry, &e, now, out);
                    return true;
                }
            }
            let Some(again) = session.multi.take() else { return true };
            multi = again;
        }
        match self.parts().settle(&route, session.db, now) {
            Ok(()) => {}
            Err(Unsettled::Elsewhere(e)) => {
                self.unlock();
                self.redirect(session, entry, &e, now, out);
                return true;
            }
            Err(Unsettled::UnderWay) => {
                self.unlock();
                session.multi = Some(multi);
                return false;
            }
        }
        let expired = session.watched.iter().any(|(db, k)| self.db(*db, now).watch_expired(k, &session.watch));
        let spoilt = session.watch.is_touched() || expired;
        let mut db = self.db(session.db, now);
        forget_watches(&mut db, session);
        if spoilt {
            self.unlock();
            session.publish_multi();
            out.null_array();
            return true;
        }
        session.deny_blocking = true;
        self.fx.in_transaction = true;
        let (start, mark, logged) = (clock::mono_raw(), out.len(), self.fx.log.bytes());
        out.array(multi.queue.len());
        for q in &multi.queue {
            let e = self.server.lookup.get(q.command);
            let argv = slices(&q.argv);
            self.flags = q.flags;
            if self.server.registry.has_monitors() {
                self.show_monitors(session, e, &argv);
            }
            // Its rights may have gone since it was queued, even by a command of this transaction.
            if session.acl_version != self.server.acl.version() {
                session.look_at_user(&self.server.acl);
            }
            if let Err(why) = self.parts().check_user(session, e, &argv, Context::Multi, (entry.id, &[b"exec"])) {
                self.parts().refuse_queued(&why, out);
                continue;
            }
            self.parts().call(session, e, &argv, Located::NONE, now, out);
            self.stats.commands_processed.add(1);
        }
        session.deny_blocking = false;
        self.fx.in_transaction = false;
        self.fx.log.close_group();
        let ns = clock::raw_to_ns(start, clock::mono_raw());
        if self.parts().counts_slots() {
            let requests: usize = multi.queue.iter().map(|q| received(&slices(&q.argv), q.inline)).sum();
            let received = received(&[b"multi"], false) + requests + session.received(&[b"exec"]);
            let replied = if session.primary { 0 } else { out.len().saturating_sub(mark) };
            let logged = self.fx.log.bytes().saturating_sub(logged);
            let mut parts = self.parts();
            let sent = replied + logged * parts.receivers();
            parts.count_inner(received, ns, sent);
        }
        self.pass_on(session, turn, number);
        if self.unlock() {
            session.written = self.server.repl.log.end();
        }
        session.publish_multi();
        self.stats.command(entry.id).calls.add(1);
        self.stats.command(entry.id).ns.add(ns);
        true
    }

    /// EXEC is refused: the transaction is gone.
    pub(super) fn abort_exec(&mut self, session: &mut Session, why: &Error, now: i64, out: &mut Out) {
        self.end_transaction(session, now);
        let mut text = b"EXECABORT Transaction discarded because of: ".to_vec();
        text.extend_from_slice(why.text().strip_prefix(b"ERR ").unwrap_or(why.text()));
        self.parts().reject(session, None, &Error::owned(text), out);
    }

    /// Ends all watches of a session; nothing is locked.
    pub fn end_transaction(&mut self, session: &mut Session, now: i64) {
        session.multi = None;
        if !session.watched.is_empty() {
            let keys: Vec<_> = std::mem::take(&mut session.watched).into_iter().collect();
            keys.iter().for_each(|(_, key)| session.client.drop_name(key));
            let watch = std::mem::take(&mut session.watch);
            self.unwatch(keys, watch, now);
        }
        session.publish_multi();
    }
}
