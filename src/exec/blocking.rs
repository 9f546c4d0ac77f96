//! Blocked clients: how they begin to wait, how they are served, how they end without.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::Worker;
use super::permit::noperm;
use super::single::{Locks, slices};
use crate::acl::Context;
use crate::base::clock;
use crate::clients::{Session, flags};
use crate::commands::ctx::write_null;
use crate::commands::lookup::Entry;
use crate::keyspace::{Located, WaitRequest, Waiter, Watch};
use crate::resp::{Error, Out, Proto};

/// Watched keys, each with its database, and their mark.
type Watches = (Vec<(usize, Vec<u8>)>, Arc<Watch>);

/// What is to be done once no script keeps the locks any more.
#[derive(Default)]
pub(super) struct PutOff {
    ready: Vec<(usize, Vec<u8>)>,
    waiters: Vec<Arc<Waiter>>,
    watches: Vec<Watches>,
}

/// Where the reply of a blocked client is written, in its protocol version.
pub(super) fn reply_to(waiter: &Waiter) -> Out {
    Out::new(if waiter.resp3 { Proto::Resp3 } else { Proto::Resp2 })
}

impl Worker {
    /// Does what was put off, if there is anything and no script keeps others waiting. Whether all is done. Nothing is
    /// locked.
    pub fn catch_up(&mut self) -> bool {
        if !self.has_put_off() {
            return true;
        }
        if self.server.running.any() {
            return false;
        }
        let PutOff { ready, waiters, watches } = std::mem::take(&mut self.put_off);
        for waiter in waiters {
            self.unqueue(&waiter, clock::now_ms());
        }
        for (keys, watch) in watches {
            self.unwatch(keys, watch, clock::now_ms());
        }
        self.serve(ready);
        !self.has_put_off()
    }
    /// Whether anything was put off.
    pub(super) fn has_put_off(&self) -> bool {
        let p = &self.put_off;
        !(p.ready.is_empty() && p.waiters.is_empty() && p.watches.is_empty())
    }
    /// Ends watches.
    pub(super) fn unwatch(&mut self, keys: Vec<(usize, Vec<u8>)>, watch: Arc<Watch>, now: i64) {
        self.slots.clear();
        self.slots.extend(keys.iter().map(|(_, k)| Located::of(k).slot));
        self.take(Locks::Slots);
        if self.denied {
            return self.put_off.watches.push((keys, watch));
        }
        for (index, key) in keys {
            self.db(index, now).unwatch(&key, &watch);
        }
        self.unlock();
    }

    /// Turns the wish of the command that just ran into a wait. The locks of its keys are held.
    pub(super) fn begin_wait(&mut self, session: &mut Session, argv: &[&[u8]], now: i64, out: &mut Out) {
        let Some(block) = session.block.take() else { return };
        let mut null = Out::new(out.proto());
        write_null(&mut null, block.null);
        let waiter = Waiter::new(
            WaitRequest {
                client: session.client.id,
                db: session.db,
                keys: block.keys,
                argv: block.argv.unwrap_or_else(|| argv.iter().map(|a| a.to_vec()).collect()),
                inline: session.inline,
                resp3: out.resp3(),
                on_timeout: null.take_bytes(),
            },
            session.client.clone(),
        );
        if block.ending {
            self.server.enders.lock().push(waiter.clone());
        }
        if let Some(acks) = block.acks {
            crate::commands::replication::wait::register(self.server, waiter.clone(), acks);
        }
        let mut db = self.db(session.db, now);
        for (i, key) in waiter.keys.iter().enumerate() {
            if !waiter.keys[..i].contains(key) {
                db.wait(key, &waiter);
            }
        }
        *session.client.blocked.lock() = Some(waiter.clone());
        session.client.set(flags::BLOCKED, true);
        if let Some(job) = block.job {
            super::job::start(self.server, job, waiter.clone(), session.client.clone());
        }
        session.client.argv_mem.store(waiter.argv.iter().map(Vec::len).sum(), Relaxed);
        session.waiting = Some((waiter, block.deadline));
        self.server.registry.count_blocked(true);
    }

    /// Serves those who wait for keys that appeared, in the order of their arrival. Nothing is locked.
    pub(super) fn serve(&mut self, ready: Vec<(usize, Vec<u8>)>) {
        if ready.is_empty() {
            return;
        }
        // The command before may have taken long, and what it made may be over already.
        let now = clock::now_ms();
        for (db, key) in ready {
            self.slots.clear();
            self.slots.push(Located::of(&key).slot);
            self.take(Locks::Slots);
            if self.denied {
                self.put_off.ready.push((db, key));
                continue;
            }
            // A key that is over again serves nobody, and stays until a command looks for it. Who reads for a group hears
            // of its end.
            let mut db = self.db(db, now);
            let (there, waiters) = (db.peek(&key).is_some(), db.waiters(&key));
            self.unlock();
            for waiter in waiters {
                if (there || self.reads_for_group(&waiter)) && waiter.take() {
                    self.serve_one(&waiter, now);
                }
            }
        }
    }

    /// Whether a waiter hears of it when what it waits for is gone.
    fn reads_for_group(&self, waiter: &Waiter) -> bool {
        let entry = self.server.lookup.resolve(&slices(&waiter.argv));
        entry.is_some_and(|entry| entry.command.meta.name == "xreadgroup")
    }

    /// Runs a waiter's command in its place.
    fn serve_one(&mut self, waiter: &Arc<Waiter>, now: i64) {
        let argv = slices(&waiter.argv);
        let Some(entry) = self.server.lookup.resolve(&argv) else { return waiter.put_back() };
        let mut session = Session::internal(waiter.db);
        session.serving = true;
        session.inline = waiter.inline;
        let mut out = reply_to(waiter);
        let (locks, first) = self.locks_for(&session, entry, &argv);
        self.take(locks);
        let paused = !self.denied && self.server.pause.is_set() && self.is_held_back_for(waiter, now);
        let snapshot = !self.denied && self.server.keyspace.hooks.watching() && {
            let db = self.db(waiter.db, now);
            // All its keys: what it moves goes to another one.
            let keys = entry.command.meta.keys_of(&argv).unwrap_or_default();
            keys.iter().any(|key| db.waits_for_snapshot(argv[key.index]))
        };
        if self.denied || paused || snapshot {
            self.unlock();
            waiter.put_back();
            return self.put_off.ready.extend(waiter.keys.iter().map(|k| (waiter.db, k.clone())));
        }
        if let Err(e) = self.still_may(waiter, entry, &argv) {
            self.unlock();
            self.parts().reject(&mut session, Some(entry), &e, &mut out);
            return waiter.served(out.take_bytes());
        }
        let server = self.server;
        server.timed("command-unblocking", || self.parts().call(&mut session, entry, &argv, first, now, &mut out));
        let again = session.block.take().is_some();
        // The state changes while the locks are held: a key that appears afterwards finds the waiter waiting.
        if again {
            waiter.put_back();
        } else {
            waiter.served(out.take_bytes());
        }
        self.unlock();
    }

    /// Whether a pause has begun that holds back what a blocked client waits for.
    #[cold]
    fn is_held_back_for(&self, waiter: &Waiter, now: i64) -> bool {
        let pause = &self.server.pause;
        let held = || waiter.keys.iter().any(|key| pause.holds_slot(Located::of(key).slot, None));
        pause.kind(now).is_some() || pause.holds_slots(now) && held()
    }

    /// Whether the waiter's client may still run its command: its user may have changed since it began to wait.
    fn still_may(&mut self, waiter: &Waiter, entry: &'static Entry, argv: &[&[u8]]) -> Result<(), Error> {
        let server = self.server;
        if server.acl.is_plain() {
            return Ok(());
        }
        let Some(client) = server.registry.get(waiter.client) else { return Ok(()) };
        let mut session = Session::internal(waiter.db);
        session.user = server.acl.get(&client.names.lock().user);
        session.unrestricted = session.user.as_ref().is_none_or(|user| user.unrestricted);
        session.client = client;
        let checked = self.parts().check_user(&session, entry, argv, Context::TopLevel, (entry.id, argv));
        checked.map_err(|why| noperm(&session, &why))
    }

    /// A wait ended without service: the command counts as executed now.
    pub fn count_unserved(&self, waiter: &Waiter) {
        crate::commands::connection::kill::count_unserved(self.server, self.stats, waiter, None);
    }

    /// After a wait ended, however it did: takes the waiter out of the queues.
    pub fn forget_waiter(&mut self, waiter: &Arc<Waiter>, now: i64) {
        self.unqueue(waiter, now);
        self.server.registry.count_blocked(false);
    }
    fn unqueue(&mut self, waiter: &Arc<Waiter>, now: i64) {
        self.slots.clear();
        self.slots.extend(waiter.keys.iter().map(|k| Located::of(k).slot));
        self.take(Locks::Slots);
        if self.denied {
            return self.put_off.waiters.push(waiter.clone());
        }
        let mut db = self.db(waiter.db, now);
        for key in &waiter.keys {
            db.forget_waiter(key, waiter);
        }
        self.unlock();
    }
}
