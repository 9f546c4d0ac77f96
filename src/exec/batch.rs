//! Runs of plain one-key commands under common locks, with prefetching.

use smallvec::SmallVec;

use super::call::Parts;
use super::single::Locks;
use super::{Stop, Turn, Worker};
use crate::base::clock;
use crate::clients::{ReplyMode, Session};
use crate::commands::gate::bits;
use crate::commands::lookup::Entry;
use crate::keyspace::{Db, Located};
use crate::resp::{Error, Out};
use crate::spec::Flags;

/// The most commands under common locks.
const MAX: usize = 32;

/// A command of a run, prepared.
struct Prepared {
    entry: &'static Entry,
    /// Its arguments: from here on in the turn's list, so many.
    at: u32,
    argc: u32,
    key: Located,
}

impl Worker {
    /// Executes the requests of a turn in order. Returns how many were executed and why it stopped.
    pub fn run(&mut self, session: &mut Session, turn: &Turn<'_>, out: &mut Out) -> (usize, Stop) {
        self.trusted = session.internal;
        self.client = session.client.id;
        self.held.set_patient(session.internal);
        if self.has_put_off() {
            self.catch_up();
        }
        if session.tracking.is_some() {
            self.server.tracking.limit(&self.server.registry, self.server.config.tracking_table_max_keys());
        }
        self.refresh();
        self.fx.ignore_expiry = session.sees_expired(self.fx.importing);
        self.fx.owns_expiry =
            self.gate & bits::REPLICA != 0 && !session.internal && !self.server.config.replica_read_only();
        let mut now = turn.now;
        self.passed_on = 0;
        session.inline = false;
        // Only CLUSTER SLOT-STATS asks which they are; then the requests of such a turn go alone.
        let inline = if turn.inline.is_empty() || !self.parts().counts_slots() { &[] } else { turn.inline };
        let (mut done, mut at) = (0, 0);
        while done < turn.counts.len() {
            if !self.know_user(session) {
                self.server.keyspace.hooks.wake();
                return (done, Stop::Session);
            }
            let before = done;
            if !inline.is_empty() {
                session.inline = inline.binary_search(&turn.args[at].start).is_ok();
            }
            if inline.is_empty() && self.may_batch(session, out) {
                let (n, args) = self.batch(session, turn, now, done, at, out);
                done += n;
                at += args;
            }
            if done == before {
                // The batch may have found, with locks in hand, that users have changed.
                if !self.know_user(session) {
                    self.server.keyspace.hooks.wake();
                    return (done, Stop::Session);
                }
                let argc = turn.counts[done] as usize;
                let argv: SmallVec<[&[u8]; 16]> = turn.args[at..at + argc].iter().map(|a| a.of(turn.buf)).collect();
                let stop = self.single(session, turn, done + 1, &argv, now, out);
                if stop != Stop::No {
                    self.server.keyspace.hooks.wake();
                    return (done, stop);
                }
                // It may have taken long, or paused clients.
                now = clock::now_ms();
                self.look_at_state();
                done += 1;
                at += argc;
            }
            if session.waiting.is_some() || session.sync.is_some() || session.close != crate::clients::Close::No {
                self.server.keyspace.hooks.wake();
                return (done, Stop::Session);
            }
        }
        self.pass_on(session, turn, done);
        self.server.keyspace.hooks.wake();
        (done, Stop::No)
    }

    /// Whether nothing about the connection or the server asks for more than the plain way.
    fn may_batch(&self, s: &Session, out: &Out) -> bool {
        s.authenticated
            && !s.asking
            && !s.caching
            && (!s.redirects || self.gate & bits::REPLICA == 0)
            && s.multi.is_none()
            && s.reply == ReplyMode::On
            && s.replica.is_none()
            && !self.server.pause.is_set()
            && !self.server.registry.has_monitors()
            && (s.subscriptions() == 0 || out.resp3())
    }

    /// Executes the run of batchable requests from number `from` on, whose arguments begin at `at`. Returns how many
    /// requests and arguments that was.
    fn batch(
        &mut self,
        session: &mut Session,
        turn: &Turn<'_>,
        now: i64,
        from: usize,
        at: usize,
        out: &mut Out,
    ) -> (usize, usize) {
        let mut run: SmallVec<[Prepared; MAX]> = SmallVec::new();
        let mut next = at;
        let mut flags = Flags::NONE;
        self.slots.clear();
        let most = self.server.config.prefetch_batch_max_size().clamp(1, MAX);
        for &argc in turn.counts[from..].iter().take(most) {
            let name = turn.args[next].of(turn.buf);
            let Some(entry) = self.server.lookup.command(name) else { break };
            if !entry.batchable || !self.is_open(entry.flags()) || !entry.command.meta.arity_fits(argc as usize) {
                break;
            }
            let prepares = entry.command.prepare.is_some();
            if prepares || !session.unrestricted {
                let argv: SmallVec<[&[u8]; 8]> =
                    turn.args[next..next + argc as usize].iter().map(|a| a.of(turn.buf)).collect();
                if prepares && super::is_long(&argv) || !session.unrestricted && !self.may(session, entry, &argv) {
                    break;
                }
            }
            let mut key = Located::NONE;
            if entry.keyed {
                key = Located::of(turn.args[next + 1].of(turn.buf));
                if !self.is_settled_here(key.slot) {
                    break;
                }
                self.server.keyspace.prefetch_slot(key.slot);
                self.slots.push(key.slot);
            }
            flags = flags.or(entry.flags());
            run.push(Prepared { entry, at: next as u32, argc, key });
            next += argc as usize;
        }
        if run.is_empty() {
            return (0, 0);
        }
        // Evicting takes locks of its own, so it comes first.
        let oom = !self.make_room(now) && flags.has(Flags::DENYOOM);
        super::after::own_invalidations(session, out);
        if !self.take(Locks::Slots) {
            self.unlock();
            self.look_at_state();
            return (0, 0);
        }
        let snapshot = self.server.keyspace.hooks.watching();
        let mut parts = self.parts();
        if run.len() > 1 && run[0].entry.keyed {
            parts.prefetch(session.db, &run);
        }
        let (mut done, mut args) = (0, 0);
        for p in &run {
            let range = p.at as usize..(p.at + p.argc) as usize;
            let argv: SmallVec<[&[u8]; 8]> = turn.args[range].iter().map(|a| a.of(turn.buf)).collect();
            if snapshot && parts.waits_for_snapshot(session.db, p, &argv, now) {
                // It goes alone, and waits.
                break;
            }
            if oom && p.entry.flags().has(Flags::DENYOOM) {
                parts.reject(session, Some(p.entry), &Error::OOM, out);
            } else {
                parts.call(session, p.entry, &argv, p.key, now, out);
            }
            done += 1;
            args += p.argc as usize;
            if !parts.fx.is_quiet() {
                break;
            }
        }
        if done == 0 {
            self.unlock();
            return (0, 0);
        }
        self.pass_on(session, turn, from + done);
        if self.unlock() {
            session.written = self.server.repl.log.end();
        }
        let last = run[done - 1].entry.id;
        self.stats.commands_processed.add(done as u64);
        note(session, last, done as u64);
        if !self.fx.is_quiet() {
            self.after();
            super::after::own_invalidations(session, out);
        }
        (done, args)
    }
}

impl Parts<'_> {
    /// Whether the command would change a long value that a snapshot under way has to encode first.
    #[cold]
    fn waits_for_snapshot(&mut self, db: usize, p: &Prepared, argv: &[&[u8]], now: i64) -> bool {
        if !p.entry.keyed || !p.entry.flags().has(Flags::WRITE) {
            return false;
        }
        let Parts { server, held, fx, stats, tuning, .. } = self;
        Db::new(server.keyspace, held, db, now, fx, stats, *tuning, p.key).waits_for_snapshot(argv[1])
    }
    fn prefetch(&mut self, db: usize, run: &[Prepared]) {
        for p in run.iter().filter(|p| p.entry.keyed) {
            self.held.prefetch_bucket(db, &p.key);
        }
        for p in run.iter().filter(|p| p.entry.keyed) {
            self.held.prefetch_entry(db, &p.key);
        }
    }
}

/// What others see of the connection's commands.
#[inline]
pub(super) fn note(session: &Session, last: u16, n: u64) {
    use std::sync::atomic::Ordering::Relaxed;
    let c = &session.client;
    c.commands.store(c.commands.load(Relaxed) + n, Relaxed);
    c.last_command.store(u32::from(last) + 1, Relaxed);
}
