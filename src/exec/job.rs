//! The threads of [`Job`]s: each has a worker of its own, so that what a job does to keys has the same consequences as a
//! command. A thread that is through waits a while for another job: who moves keys does so again and again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use parking_lot::Mutex;

use super::Worker;
use super::blocking::reply_to;
use super::single::Locks;
use crate::base::clock;
use crate::clients::{Client, Job, Reach, SlotPause, received};
use crate::commands::Server;
use crate::commands::gate::bits;
use crate::keyspace::{Db, Located, Waiter};
use crate::resp::Error;

/// How often a job looks whether the pause of writes is over. The end of a pause wakes nobody but connections.
const LOOK_US: u64 = 1000;
/// So long a thread waits for another job.
const KEEP: Duration = Duration::from_secs(1);

/// A job with who waits for it.
struct Task {
    server: &'static Server,
    job: Job,
    waiter: Arc<Waiter>,
    client: Arc<Client>,
}

/// A thread that waits for a job.
struct Idle {
    number: u64,
    /// Whose it is: tests have several servers in a process.
    server: &'static Server,
    to: Sender<Task>,
}

static IDLE: Mutex<Vec<Idle>> = Mutex::new(Vec::new());

/// Hands a job to a thread. The waiter is taken at once: neither CLIENT UNBLOCK nor anything else ends the wait but the job.
pub(super) fn start(server: &'static Server, job: Job, waiter: Arc<Waiter>, client: Arc<Client>) {
    if !waiter.take() {
        return;
    }
    let mut task = Task { server, job, waiter, client };
    while let Some(thread) = take_idle(server) {
        match thread.to.send(task) {
            Ok(()) => return,
            Err(refused) => task = refused.0,
        }
    }
    let to = task.waiter.clone();
    if let Err(e) = std::thread::Builder::new().name("job".into()).spawn(move || serve(task)) {
        tracing::warn!("Can't start a thread for a command: {e}");
        let mut out = reply_to(&to);
        out.error(&Error::new("ERR can't start a thread for this command now"));
        to.served(out.take_bytes());
    }
}

fn take_idle(server: &'static Server) -> Option<Idle> {
    let mut idle = IDLE.lock();
    let at = idle.iter().rposition(|thread| std::ptr::eq(thread.server, server))?;
    Some(idle.swap_remove(at))
}

/// Does a job, and those that come in time.
fn serve(first: Task) {
    let server = first.server;
    let stats = server.metrics.spare();
    let mut worker = Worker::with_stats(server, 0, stats.stats);
    let (to, tasks) = mpsc::channel();
    static THREADS: AtomicU64 = AtomicU64::new(0);
    let number = THREADS.fetch_add(1, Relaxed);
    let mut next = Some(first);
    while let Some(task) = next.take() {
        worker.run_job(task);
        IDLE.lock().push(Idle { number, server, to: to.clone() });
        next = tasks.recv_timeout(KEEP).ok();
        if next.is_none() {
            let mut idle = IDLE.lock();
            match idle.iter().position(|thread| thread.number == number) {
                Some(at) => drop(idle.swap_remove(at)),
                // Somebody has it in hand to send a job.
                None => {
                    drop(idle);
                    next = tasks.recv_timeout(KEEP).ok();
                }
            }
        }
    }
}

impl Worker {
    fn run_job(&mut self, task: Task) {
        let Task { server, job, waiter, client } = task;
        // Settings may have changed since the job before.
        self.refresh();
        let (start, mut out) = (clock::mono_ns(), reply_to(&waiter));
        let result = (job.0)(&mut Desk { worker: self, db: waiter.db, pause: None }, &mut out);
        let failed = result.is_err();
        if let Err(e) = result {
            self.stats.errors.count(e.code());
            self.stats.error_replies.add(1);
            out.error(&e);
        }
        let argv = super::single::slices(&waiter.argv);
        if let Some(entry) = server.lookup.resolve(&argv) {
            let (command, ns) = (self.stats.command(entry.id), clock::mono_ns().saturating_sub(start));
            command.calls.add(1);
            command.ns.add(ns);
            command.failed.add(u64::from(failed));
            let mut parts = self.parts();
            parts.observe(&client, entry, &argv, ns, out.len());
            if parts.counts_slots() {
                parts.count_for_slot(entry, &argv, ns, received(&argv, waiter.inline), out.len());
            }
        }
        waiter.served(out.take_bytes());
    }
}

struct Desk<'a> {
    worker: &'a mut Worker,
    db: usize,
    pause: Option<SlotPause<'static>>,
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
            let own = self.pause.as_ref().map(SlotPause::number);
            let held = pause.kind(now).is_some()
                || pause.holds_slots(now) && w.slots.iter().any(|&s| pause.holds_slot(s, own))
                || w.server.keyspace.hooks.watching() && {
                    let db = w.db(self.db, now);
                    keys.iter().any(|key| db.waits_for_snapshot(key))
                };
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

    fn hold_writes(&mut self, keys: &[&[u8]]) {
        if self.pause.is_none() {
            let (server, slots) = (self.worker.server, keys.iter().map(|key| Located::of(key).slot));
            // A client that waits is served as soon as the work is through, however long that takes.
            self.pause = server.pause.try_hold(&server.registry, &slots.collect::<Vec<_>>(), i64::MAX);
        }
    }
}
