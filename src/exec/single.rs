//! One command alone: every check that Redis makes, in its order.

use std::sync::atomic::Ordering::Relaxed;

use smallvec::SmallVec;

use super::batch::note;
use super::debug::{is_debugged, is_elsewhere};
use super::permit::noperm;
use super::route::{Route, Unsettled};
use super::{Stop, Turn, Worker};
use crate::acl::Context;
use crate::base::{clock, coroutine};
use crate::clients::{Multi, PauseKind, Queued, ReplyMode, Session, flags as client_flags};
use crate::commands::gate::bits;
use crate::commands::lookup::Entry;
use crate::commands::server::monitor;
use crate::commands::{Scope, ScriptKind, Server, transactions};
use crate::keyspace::Located;
use crate::metrics::METERED;
use crate::resp::{Error, Out};
use crate::script::{cache, flags};
use crate::spec::{Flags, KeyFlags};

/// How often a stream looks whether a snapshot has what it waits for, µs.
const LOOK_US: u64 = 500;

/// The locks that a command or transaction asks for.
pub(super) enum Locks {
    /// None.
    None,
    /// These slots (in the worker's list).
    Slots,
    /// Every slot.
    All,
}

/// Why a command that was let in does not run after all.
enum Away {
    /// The state of the server has changed.
    Refused(Error),
    /// Its keys are with another node.
    Elsewhere(Error),
    /// A pause has begun, or a key of it is under way to another node.
    Held,
}

impl Worker {
    /// Executes one request, the turn's `number`th, unless it says why not.
    pub(super) fn single(
        &mut self,
        session: &mut Session,
        turn: &Turn<'_>,
        number: usize,
        argv: &[&[u8]],
        now: i64,
        out: &mut Out,
    ) -> Stop {
        let mark = out.place();
        let skipped = session.reply;
        let follows = session.client.has(client_flags::REPLICA);
        let stop = self.checked(session, turn, number, argv, now, out);
        if stop != Stop::No {
            return stop;
        }
        if follows {
            self.see_to_replica(session, argv, mark, out);
        }
        session.prepared = None;
        if session.asking && session.multi.is_none() && !argv[0].eq_ignore_ascii_case(b"asking") {
            // It held for this command, or this transaction.
            session.asking = false;
        }
        match (skipped, session.reply) {
            // Turning replies on is itself replied to, turning them off or skipping is not.
            (ReplyMode::Off, ReplyMode::Off) | (ReplyMode::Skip, ReplyMode::Skip) => {
                // Confirmations of subscriptions are messages, not replies.
                if !confirms(argv[0]) || out.is_error_since(mark) {
                    out.truncate(mark);
                }
                if session.reply == ReplyMode::Skip {
                    session.reply = ReplyMode::On;
                }
            }
            (_, ReplyMode::SkipNext) => session.reply = ReplyMode::Skip,
            _ => {}
        }
        if session.caching && session.multi.is_none() && !argv[0].eq_ignore_ascii_case(b"client") {
            // It held for this command.
            session.caching = false;
        }
        if session.hears_itself() && session.client.mailbox.has_signal() {
            // What this command published to its own connection comes right after its reply.
            super::after::own_mail(session, out);
        }
        Stop::No
    }

    fn checked(
        &mut self,
        session: &mut Session,
        turn: &Turn<'_>,
        number: usize,
        argv: &[&[u8]],
        now: i64,
        out: &mut Out,
    ) -> Stop {
        // What came before, the end of a wait say, may have met a script's locks.
        self.denied = false;
        let Some(container) = self.server.lookup.command(argv[0]) else {
            let e = told(session, Flags::NONE, unknown_command(argv));
            self.parts().reject(session, None, &e, out);
            return Stop::No;
        };
        let entry = match argv.get(1) {
            Some(sub) if !container.command.subs.is_empty() => match self.server.lookup.sub(container, sub) {
                Some(sub) => sub,
                None => {
                    let e = told(session, container.command.meta.flags, Error::subcommand(&container.name, sub));
                    self.parts().reject(session, Some(container), &e, out);
                    return Stop::No;
                }
            },
            _ => container,
        };
        let meta = &entry.command.meta;
        if !meta.arity_fits(argv.len()) {
            let e = told(session, meta.flags, Error::arity(meta.name));
            self.refuse(session, entry, &e, now, out);
            return Stop::No;
        }
        if self.leaves && runs_script(session, entry, self.server) {
            if !coroutine::is_inside() {
                return Stop::Stack;
            }
            if session.debug.as_ref().is_some_and(|dialogue| !dialogue.is_attended()) {
                // The stack was made before it was to be debugged: it comes again.
                return Stop::Session;
            }
        }
        self.flags = self.flags_of(entry, argv);
        if let Err(e) = self.permitted(session, entry, argv, out) {
            self.refuse(session, entry, &e, now, out);
            return Stop::No;
        }
        if self.is_for_primary(session, entry) && self.server.repl.link.hand_over.load(Relaxed) {
            // The one that it would be sent to may not know yet that it is a primary.
            return Stop::Paused;
        }
        let route = match self.route(session, entry, argv) {
            Ok(route) => route,
            Err(e) => {
                self.redirect(session, entry, &e, now, out);
                return Stop::No;
            }
        };
        self.scripts.oom = !session.internal && self.gate & bits::BUSY == 0 && !self.make_room(now);
        super::after::own_invalidations(session, out);
        if self.scripts.oom && self.does(session, entry, Flags::DENYOOM) {
            self.refuse(session, entry, &Error::OOM, now, out);
            return Stop::No;
        }
        if self.waits_for_session(session, entry, now) {
            return Stop::Paused;
        }
        if let Some(e) = self.barred(session, entry) {
            self.refuse(session, entry, &e, now, out);
            return Stop::No;
        }
        if self.server.pause.is_set() && self.is_held_back(session, entry, argv, now) {
            return Stop::Paused;
        }
        if self.server.keyspace.hooks.watching() && self.waits_for_snapshot(session, entry, argv, now) {
            return Stop::Paused;
        }
        if session.multi.is_some() && !transactions::runs_inside(meta.name) {
            if let Route::IfPresent(moving) = &route {
                // Whether its keys are here is asked now, and again at EXEC.
                self.slots.clear();
                self.slots.extend(moving.slot());
                if let Err(why) = self.enter(session, entry, argv, Locks::Slots, &route, now) {
                    return self.turn_away(session, entry, why, now, out);
                }
                self.unlock();
            }
            let bytes: usize = argv.iter().map(|a| a.len()).sum();
            if let Some(multi) = &mut session.multi {
                multi.bytes += bytes + argv.len() * 24;
                let argv = argv.iter().map(|a| a.to_vec()).collect();
                multi.queue.push(Queued { command: entry.id, flags: self.flags, argv, inline: session.inline });
            }
            session.publish_multi();
            out.raw(b"+QUEUED\r\n");
            return Stop::No;
        }
        if meta.name == "exec" && session.multi.is_some() {
            if !self.exec(session, turn, number, (entry, route), now, out) {
                return Stop::Paused;
            }
            if self.server.registry.has_monitors() {
                // After the commands it ran.
                self.show(session, entry, argv);
            }
        } else {
            if session.prepared.is_none()
                && let Some(prepare) = entry.command.prepare
                && super::is_long(argv)
            {
                if self.leaves {
                    return Stop::Prepare;
                }
                session.prepared = Some(prepare(self.server, argv));
            }
            if self.server.registry.has_monitors() {
                self.show_monitors(session, entry, argv);
            }
            let (locks, first) = self.locks_for(session, entry, argv);
            if let Err(why) = self.enter(session, entry, argv, locks, &route, now) {
                return self.turn_away(session, entry, why, now, out);
            }
            self.parts().call(session, entry, argv, first, now, out);
            if std::mem::take(&mut self.scripts.wants_all) {
                // A script that touches keys that it did not declare: from the start, with everything locked.
                self.unlock();
                if let Err(why) = self.enter(session, entry, argv, Locks::All, &route, now) {
                    return self.turn_away(session, entry, why, now, out);
                }
                self.parts().call(session, entry, argv, first, now, out);
            }
            if session.block.is_some() {
                self.begin_wait(session, argv, now, out);
            }
            self.pass_on(session, turn, number);
            if self.unlock() {
                session.written = self.server.repl.log.end();
            }
        }
        let through = u64::from(session.waiting.is_none());
        self.stats.commands_processed.add(through);
        note(session, entry.id, through);
        if !self.fx.is_quiet() {
            self.after();
        }
        Stop::No
    }

    /// Takes a command's locks, and looks again at what may have changed while it waited for them. Nothing is locked if it
    /// can not run here.
    fn enter(
        &mut self,
        session: &mut Session,
        entry: &Entry,
        argv: &[&[u8]],
        locks: Locks,
        route: &Route,
        now: i64,
    ) -> Result<(), Away> {
        let newer;
        let mut route = route;
        if !self.take(locks) {
            self.look_at_state();
            if !self.know_user(session) {
                self.unlock();
                return Err(Away::Refused(Error::NOAUTH));
            }
            if self.waits_for_session(session, entry, now) {
                self.unlock();
                return Err(Away::Held);
            }
            let context = if session.multi.is_some() { Context::Multi } else { Context::TopLevel };
            let checked = self.parts().check_user(session, entry, argv, context, (entry.id, argv));
            let refused = self.barred(session, entry).or(checked.err().map(|why| noperm(session, &why)));
            if let Some(e) = refused {
                self.unlock();
                return Err(Away::Refused(e));
            }
            if self.server.pause.is_set() && self.is_held_back(session, entry, argv, now) {
                self.unlock();
                return Err(Away::Held);
            }
            newer = self.route(session, entry, argv).map_err(|e| {
                self.unlock();
                Away::Elsewhere(e)
            })?;
            route = &newer;
        }
        self.parts().settle(route, session.db, now).map_err(|why| {
            self.unlock();
            match why {
                Unsettled::Elsewhere(e) => Away::Elsewhere(e),
                Unsettled::UnderWay => Away::Held,
            }
        })
    }

    /// Whether the command is to come again when a pause is over.
    fn turn_away(&mut self, session: &mut Session, entry: &'static Entry, why: Away, now: i64, out: &mut Out) -> Stop {
        match why {
            Away::Refused(e) => self.refuse(session, entry, &e, now, out),
            Away::Elsewhere(e) => self.redirect(session, entry, &e, now, out),
            Away::Held => return Stop::Paused,
        }
        Stop::No
    }

    /// Refuses a command. A refused EXEC ends the transaction, and the watches.
    fn refuse(&mut self, session: &mut Session, entry: &'static Entry, e: &Error, now: i64, out: &mut Out) {
        if entry.command.meta.name == "exec" {
            self.abort_exec(session, e, now, out);
        } else {
            self.parts().reject(session, Some(entry), e, out);
        }
    }

    /// Authentication, transaction, the rights of the user, and subscription state.
    fn permitted(&mut self, session: &Session, entry: &Entry, argv: &[&[u8]], out: &Out) -> Result<(), Error> {
        let meta = &entry.command.meta;
        if !session.authenticated && !meta.flags.has(Flags::NO_AUTH) {
            return Err(Error::NOAUTH);
        }
        if session.multi.is_some() && meta.flags.has(Flags::NO_MULTI) {
            return Err(Error::new("ERR Command not allowed inside a transaction"));
        }
        let context = if session.multi.is_some() { Context::Multi } else { Context::TopLevel };
        let checked = self.parts().check_user(session, entry, argv, context, (entry.id, argv));
        checked.map_err(|why| noperm(session, &why))?;
        if session.subscriptions() > 0 && !out.resp3() && !allowed_while_subscribed(meta.name) {
            return Err(Error::owned(format!(
                "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this \
                 context",
                meta.name
            )));
        }
        Ok(())
    }

    /// The flags of a command, in view of what the script says of itself that it runs.
    fn flags_of(&self, entry: &Entry, argv: &[&[u8]]) -> Flags {
        let server = self.server;
        let script = match entry.command.script {
            None => return entry.flags(),
            Some(ScriptKind::Text { .. }) => flags::of_script(argv[1]).ok().map(|f| f.0),
            Some(ScriptKind::Hash { .. }) => {
                cache::sha_of(argv[1]).and_then(|s| server.scripts.get(&s)).map(|s| s.flags)
            }
            Some(ScriptKind::Function { .. }) => server.libraries.function(argv[1]).map(|(l, n)| l.functions[n].flags),
        };
        script.map_or(entry.flags(), |s| s.of_command(entry.flags()))
    }

    /// Whether the command that is being looked at, or with EXEC one of those that it runs, has any of these flags.
    pub(super) fn does(&self, session: &Session, entry: &Entry, flags: Flags) -> bool {
        let queued = |m: &Multi| m.queue.iter().any(|q| q.flags.any(flags));
        self.flags.any(flags) || entry.command.meta.name == "exec" && session.multi.as_ref().is_some_and(queued)
    }

    pub(super) fn is_held_back(&self, session: &Session, entry: &Entry, argv: &[&[u8]], now: i64) -> bool {
        let pause = &self.server.pause;
        let writes = || self.does(session, entry, Flags::WRITE.or(Flags::MAY_REPLICATE));
        match pause.kind(now) {
            _ if session.internal => false,
            Some(PauseKind::All) => true,
            Some(PauseKind::Write) if writes() => true,
            _ => pause.holds_slots(now) && writes() && self.meets_held_slot(session, entry, argv),
        }
    }

    /// Whether a write is to a long value that a snapshot under way has to encode first: it comes again then, and others
    /// are served meanwhile. A stream waits for it here.
    #[cold]
    fn waits_for_snapshot(&mut self, session: &Session, entry: &Entry, argv: &[&[u8]], now: i64) -> bool {
        let mut keys = Vec::new();
        let writes = Flags::WRITE.or(Flags::MAY_REPLICATE);
        match &session.multi {
            Some(multi) if entry.command.meta.name == "exec" => {
                for queued in multi.queue.iter().filter(|q| q.flags.any(writes)) {
                    changed_keys(self.server.lookup.get(queued.command), &slices(&queued.argv), &mut keys);
                }
            }
            None if self.flags.any(writes) => changed_keys(entry, argv, &mut keys),
            _ => {}
        }
        for key in keys {
            let slot = Located::of(&key).slot;
            loop {
                let mut db = self.db(session.db, now);
                if !db.with_slot(slot, |db| db.waits_for_snapshot(&key)).unwrap_or(false) {
                    break;
                }
                if !session.internal || self.server.is_stopping() {
                    return !session.internal;
                }
                clock::pause_us(LOOK_US);
            }
        }
        false
    }

    /// Whether a write is to a slot that is held back: one without keys is to all of them.
    #[cold]
    fn meets_held_slot(&self, session: &Session, entry: &Entry, argv: &[&[u8]]) -> bool {
        let meets = |entry: &Entry, argv: &[&[u8]]| match entry.command.meta.keys_of(argv) {
            Some(keys) if !keys.is_empty() => {
                keys.iter().any(|key| self.server.pause.holds_slot(Located::of(argv[key.index]).slot, None))
            }
            _ => entry.flags().has(Flags::WRITE),
        };
        match &session.multi {
            Some(multi) if entry.command.meta.name == "exec" => {
                multi.queue.iter().any(|q| meets(self.server.lookup.get(q.command), &slices(&q.argv)))
            }
            _ => meets(entry, argv),
        }
    }

    /// The locks of a command; slots are left in the worker's list. Also locates the first key.
    pub(super) fn locks_for(&mut self, session: &Session, entry: &Entry, argv: &[&[u8]]) -> (Locks, Located) {
        self.slots.clear();
        let mut first = Located::NONE;
        let locks = self.add_locks(session, entry, argv, false, &mut first);
        (locks, first)
    }
    /// Adds a command's slots to the worker's list. In a transaction a command that locks by itself needs all slots.
    pub(super) fn add_locks(
        &mut self,
        session: &Session,
        entry: &Entry,
        argv: &[&[u8]],
        in_transaction: bool,
        first: &mut Located,
    ) -> Locks {
        if self.leaves && is_elsewhere(session, entry) {
            return if in_transaction { Locks::Slots } else { Locks::None };
        }
        if in_transaction && entry.command.script.is_some() || is_debugged(session, entry) {
            // It can not be stopped and begin again.
            return Locks::All;
        }
        match entry.command.scope_for(argv) {
            Scope::None => Locks::None,
            Scope::All => Locks::All,
            Scope::Own if in_transaction => Locks::All,
            Scope::Own => Locks::None,
            Scope::Watched => {
                self.add_watched(session);
                Locks::Slots
            }
            Scope::Keys | Scope::Dynamic(_) => match entry.command.meta.keys_of(argv) {
                Some(keys) => {
                    for (i, k) in keys.iter().enumerate() {
                        let at = Located::of(argv[k.index]);
                        if i == 0 {
                            *first = at;
                        }
                        self.slots.push(at.slot);
                    }
                    Locks::Slots
                }
                // The handler will refuse the arguments; until it does it may look at any of them.
                None => Locks::All,
            },
        }
    }
    /// Adds the slots of the keys that the session watches to the worker's list.
    pub(super) fn add_watched(&mut self, session: &Session) {
        self.slots.extend(session.watched.iter().map(|(_, k)| Located::of(k).slot));
    }
    /// Takes locks. False if the state of the server or the cluster has changed since it was last looked at: what depends on it is to
    /// be checked again.
    pub(super) fn take(&mut self, locks: Locks) -> bool {
        self.denied = false;
        match locks {
            Locks::None => {}
            Locks::Slots => {
                let mut slots = std::mem::take(&mut self.slots);
                self.denied = !self.held.lock(&mut slots);
                if METERED && !self.denied {
                    self.held.note_use(&slots);
                }
                self.slots = slots;
            }
            Locks::All => self.denied = !self.held.lock_all(),
        }
        if self.denied {
            return false;
        }
        // Whoever starts the log holds all slots meanwhile: asked before, the answer might be out of date.
        self.fx.logging = self.server.keyspace.hooks.logging();
        self.fx.tracking = self.server.keyspace.hooks.tracking();
        self.gate == self.server.gate.bits()
            && self.view_version == self.server.cluster.version()
            && self.acl_version == self.server.acl.version()
            // Whoever begins a pause relies on it once it held the locks after that.
            && self.pause_version == self.server.pause.version()
    }

    #[cold]
    pub(super) fn show_monitors(&self, session: &Session, entry: &Entry, argv: &[&[u8]]) {
        if !monitor::hides(entry) {
            self.show(session, entry, argv);
        }
    }

    fn show(&self, session: &Session, entry: &Entry, argv: &[&[u8]]) {
        monitor::show(self.server, entry, session.db, &session.client.addr, argv);
    }
}

/// The keys that a command may change.
fn changed_keys(entry: &Entry, argv: &[&[u8]], keys: &mut Vec<Vec<u8>>) {
    let named = entry.command.meta.keys_of(argv).unwrap_or_default();
    keys.extend(
        named
            .iter()
            .filter(|k| !k.flags.has(KeyFlags::RO) && !k.flags.has(KeyFlags::NOT_KEY))
            .map(|k| argv[k.index].to_vec()),
    );
}

/// Whether the command, or with EXEC one of those that it runs, is a script.
fn runs_script(session: &Session, entry: &Entry, server: &Server) -> bool {
    match &session.multi {
        None => entry.command.script.is_some(),
        Some(multi) => {
            entry.command.meta.name == "exec"
                && multi.queue.iter().any(|q| server.lookup.get(q.command).command.script.is_some())
        }
    }
}

fn confirms(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 6] =
        [b"subscribe", b"psubscribe", b"ssubscribe", b"unsubscribe", b"punsubscribe", b"sunsubscribe"];
    NAMES.iter().any(|n| name.eq_ignore_ascii_case(n))
}

fn allowed_while_subscribed(name: &str) -> bool {
    matches!(
        name,
        "subscribe"
            | "unsubscribe"
            | "psubscribe"
            | "punsubscribe"
            | "ssubscribe"
            | "sunsubscribe"
            | "ping"
            | "quit"
            | "reset"
    )
}

/// What a client hears of an error in its request: who has not said who they are does not hear what there is.
fn told(session: &Session, of: Flags, e: Error) -> Error {
    if session.authenticated || of.has(Flags::NO_AUTH) { e } else { Error::NOAUTH }
}

fn unknown_command(argv: &[&[u8]]) -> Error {
    // As C prints it: up to a NUL.
    let shown = |arg: &[u8], max: usize| arg.iter().copied().take(max).take_while(|&c| c != 0).collect::<Vec<u8>>();
    let mut text = b"ERR unknown command '".to_vec();
    text.extend_from_slice(&shown(argv[0], 128));
    text.extend_from_slice(b"', with args beginning with: ");
    let mut left = 128usize;
    for arg in &argv[1..] {
        if left == 0 {
            break;
        }
        let shown = shown(arg, left);
        text.push(b'\'');
        text.extend_from_slice(&shown);
        text.extend_from_slice(b"' ");
        left = left.saturating_sub(shown.len() + 3);
    }
    Error::owned(text)
}

/// Arguments on the stack, for a command whose arguments are owned.
pub(super) fn slices(argv: &[Vec<u8>]) -> SmallVec<[&[u8]; 16]> {
    argv.iter().map(|a| &a[..]).collect()
}
