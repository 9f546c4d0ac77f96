//! The threads of [`Job`]s: each has a worker of its own for as long as the job lasts, so that what it does to keys has
//! the same consequences as a command.

use std::sync::Arc;

use super::Worker;
use super::blocking::reply_to;
use super::single::Locks;
use crate::base::clock;
use crate::clients::{Client, Job, Reach};
use crate::commands::Server;
use crate::commands::gate::bits;
use crate::keyspace::{Db, Located, Waiter};
use crate::resp::Error;

/// How often a job looks whether the pause of writes is over. The end of a pause wakes nobody but connections.
const LOOK_US: u64 = 1000;

/// Starts the thread. The waiter is taken at once: neither CLIENT UNBLOCK nor anything else ends the wait but the job.
pub(super) fn start(server: &'static Server, job: Job, waiter: Arc<Waiter>, client: Arc<Client>) {
    if !waiter.take() {
        return;
    }
    let to = waiter.clone();
    let work = move || {
        let stats = server.metrics.spare();
        let mut worker = Worker::with_stats(server, 0, stats.stats);
        let (start, mut out) = (clock::mono_ns(), reply_to(&waiter));
        let result = (job.0)(&mut Desk { worker: &mut worker, db: waiter.db }, &mut out);
        let failed = result.is_err();
        if let Err(e) = result {
            stats.stats.errors.count(e.code());
            stats.stats.error_replies.add(1);
            out.error(&e);
        }
        let argv = super::single::slices(&waiter.argv);
        if let Some(entry) = server.lookup.resolve(&argv) {
            let (command, ns) = (stats.stats.command(entry.id), clock::mono_ns().saturating_sub(start));
            command.calls.add(1);
            command.ns.add(ns);
            command.failed.add(u64::from(failed));
            worker.parts().observe(&client, entry, &argv, ns, out.len());
        }
        waiter.served(out.take_bytes());
    };
    if let Err(e) = std::thread::Builder::new().name("job".into()).spawn(work) {
        tracing::warn!("Can't start a thread for a command: {e}");
        let mut out = reply_to(&to);
        out.error(&Error::new("ERR can't start a thread for this command now"));
        to.served(out.take_bytes());
    }
}

struct Desk<'a> {
    worker: &'a mut Worker,
    db: usize,
}

impl Reach for Desk<'_> {
    fn with(&mut self, keys: &[&[u8]], work: &mut dyn FnMut(&mut Db<'_>, bool)) {
        let w = &mut *self.worker;
        loop {
            w.refresh();
            w.slots.clear();
            w.slots.extend(keys.iter().map(|key| Located::of(key).slot));
            w.take(Locks::Slots);
            // Whoever begins a pause holds all slots before it relies on it.
            let (pause, now) = (&w.server.pause, clock::now_ms());
            let held =
                pause.kind(now).is_some() || pause.holds_slots(now) && w.slots.iter().any(|&s| pause.holds_slot(s));
            if !held || w.server.is_stopping() {
                break;
            }
            w.unlock();
            clock::pause_us(LOOK_US);
        }
        let writable = !w.server.gate.has(bits::REPLICA) && !w.server.is_stopping();
        w.fx.dirty = 0;
        w.fx.replaced = false;
        work(&mut w.db(self.db, clock::now_ms()), writable);
        w.fx.log.close_group();
        w.stats.changes.add(w.fx.dirty);
        w.unlock();
        w.server.keyspace.hooks.wake();
        w.after();
    }
}
