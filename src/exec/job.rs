//! The threads of [`Job`]s: each has a worker of its own for as long as the job lasts, so that what it does to keys has
//! the same consequences as a command.

use std::sync::Arc;

use super::Worker;
use super::single::Locks;
use crate::base::clock;
use crate::clients::{Job, PauseKind, Reach};
use crate::commands::Server;
use crate::commands::gate::bits;
use crate::keyspace::{Db, Located, Waiter};

/// How often a job looks whether the pause of writes is over. The end of a pause wakes nobody but connections.
const LOOK_US: u64 = 1000;

/// Starts the thread. The waiter is taken at once: neither CLIENT UNBLOCK nor anything else ends the wait but the job.
pub(super) fn start(server: &'static Server, job: Job, waiter: Arc<Waiter>) {
    if !waiter.take() {
        return;
    }
    let to = waiter.clone();
    let work = move || {
        let stats = server.metrics.spare();
        let mut worker = Worker::with_stats(server, 0, stats.stats);
        let start = clock::mono_ns();
        let reply = (job.0)(&mut Desk { worker: &mut worker, db: waiter.db });
        let argv = super::single::slices(&waiter.argv);
        if let Some(entry) = server.lookup.resolve(&argv) {
            let failed = reply.first() == Some(&b'-');
            let command = stats.stats.command(entry.id);
            command.calls.add(1);
            command.ns.add(clock::mono_ns().saturating_sub(start));
            command.failed.add(u64::from(failed));
            if failed {
                let code = reply[1..].split(|&c| c == b' ' || c == b'\r').next().unwrap_or_default();
                stats.stats.errors.count(code);
                stats.stats.error_replies.add(1);
            }
        }
        waiter.served(reply);
    };
    if let Err(e) = std::thread::Builder::new().name("job".into()).spawn(work) {
        tracing::warn!("Can't start a thread for a command: {e}");
        to.served(b"-ERR can't start a thread for this command now\r\n".to_vec());
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
            let paused = w.server.pause.kind(clock::now_ms());
            if !matches!(paused, Some(PauseKind::Write | PauseKind::All)) || w.server.is_stopping() {
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
