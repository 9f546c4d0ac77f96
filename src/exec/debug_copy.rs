//! Debugging sessions on a copy of the data: what a script does there is seen by nobody else, and gone at the end.
//!
//! A thread for each session has a [`Server`] of its own: data, counters, subscriptions, log, gate, all but the configuration. It
//! loads a snapshot of the data into that, which holds nobody up, and executes EVAL there. Servers are never freed; one that
//! is done with is emptied and kept for the next session. The connection's command waits for the thread meanwhile, without a
//! lock. A copy counts as memory in use: one that does not fit is refused.

use std::io::{self, Write};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Turn, Worker};
use crate::base::{alloc, clock, coroutine, os};
use crate::clients::{Close, Dialogue, Session};
use crate::commands::gate::bits;
use crate::commands::persistence::load::{self, How};
use crate::commands::{CmdResult, Server};
use crate::persist::rdb::file::{FileSnapshot, Options};
use crate::resp::{Arg, Error, Out, Proto};
use crate::script::Policy;

/// Sessions at the same time.
const MOST: usize = 16;
/// As much as a worker's stack for scripts.
const STACK: usize = 4 << 20;
/// How often it is looked whether another snapshot is through, µs.
const LOOK_US: u64 = 1000;
/// What the state of the server bars a script from.
const STATE: [u32; 5] = [bits::REPLICA, bits::STALE, bits::FEW_REPLICAS, bits::SNAPSHOT, bits::FILE];

/// A server for sessions, and whose data it takes.
struct Copy {
    of: &'static Server,
    server: &'static Server,
    free: bool,
}

static COPIES: Mutex<Vec<Copy>> = Mutex::new(Vec::new());

/// A server for one session. It is given back empty.
struct Leased(&'static Server);

impl Leased {
    fn take(of: &'static Server) -> Option<Leased> {
        let mut copies = COPIES.lock();
        let own = |c: &&mut Copy| std::ptr::eq(c.of, of);
        if let Some(copy) = copies.iter_mut().filter(own).find(|c| c.free) {
            copy.free = false;
            return Some(Leased(copy.server));
        }
        if copies.iter_mut().filter(own).count() >= MOST {
            return None;
        }
        let server = Server::new(of.config);
        copies.push(Copy { of, server, free: false });
        Some(Leased(server))
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        let spare = self.0.metrics.spare();
        Worker::with_stats(self.0, 0, spare.stats).flush_all();
        self.0.scripts.flush();
        if let Some(copy) = COPIES.lock().iter_mut().find(|c| std::ptr::eq(c.server, self.0)) {
            copy.free = true;
        }
    }
}

/// Tells the connection once that the thread is through, however it ends.
struct Thread(Option<Arc<Dialogue>>);

impl Thread {
    fn end(&mut self, how: CmdResult) {
        if let Some(dialogue) = self.0.take() {
            dialogue.finish(how);
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.end(Ok(()));
    }
}

/// Has a thread execute the command on a copy, and waits for it. The reply comes from there, too. Nothing is locked.
pub(super) fn attend(
    server: &'static Server,
    dialogue: &Arc<Dialogue>,
    session: &mut Session,
    argv: &[&[u8]],
    proto: Proto,
) -> CmdResult {
    if session.deny_blocking {
        return Err(Error::new(
            "ERR Can't run EVAL in debugging mode inside of a transaction, but with SCRIPT DEBUG SYNC",
        ));
    }
    let argv: Vec<Vec<u8>> = argv.iter().map(|arg| arg.to_vec()).collect();
    let mut own = Session::new(session.client.clone(), true);
    own.user.clone_from(&session.user);
    (own.db, own.unrestricted, own.no_touch) = (session.db, session.unrestricted, session.no_touch);
    own.debug = Some(dialogue.clone());
    let of_thread = dialogue.clone();
    let work = move || {
        // Told twice, it once ended the next session on this connection as well.
        let mut thread = Thread(Some(of_thread.clone()));
        let how = run(server, &of_thread, own, &argv, proto);
        thread.end(how);
    };
    let builder = std::thread::Builder::new().name("debug".into()).stack_size(STACK);
    builder.spawn(work).map_err(|e| cant(&e))?;
    loop {
        if let Some(end) = dialogue.take_end() {
            end?;
            break;
        }
        if dialogue.is_over() || !coroutine::leave() {
            break;
        }
    }
    if session.close == Close::No {
        session.close = Close::AfterReply;
    }
    Ok(())
}

fn cant(why: &dyn std::fmt::Display) -> Error {
    Error::owned(format!("ERR Can't copy the data: can't run EVAL in debugging mode: {why}"))
}

/// A session.
fn run(
    server: &'static Server,
    dialogue: &Arc<Dialogue>,
    mut session: Session,
    argv: &[Vec<u8>],
    proto: Proto,
) -> CmdResult {
    let leased = Leased::take(server).ok_or_else(|| cant(&format!("there are {MOST} such sessions already")))?;
    let own = leased.0;
    STATE.iter().for_each(|bit| own.gate.set(*bit, server.gate.has(*bit)));
    copy(server, own, dialogue).map_err(|e| cant(&e))?;
    let spare = own.metrics.spare();
    let mut worker = Worker::with_stats(own, 0, spare.stats);
    session.acl_version = own.acl.version();
    let (mut buf, mut args) = (Vec::new(), Vec::new());
    for arg in argv {
        args.push(Arg { start: buf.len() as u32, end: (buf.len() + arg.len()) as u32 });
        buf.extend_from_slice(arg);
    }
    let mut out = Out::new(proto);
    let counts = [args.len() as u32];
    let turn = Turn { buf: &buf, args: &args, counts: &counts, inline: &[], now: clock::now_ms(), stream: None };
    worker.run(&mut session, &turn, &mut out);
    dialogue.tell(&out.take_bytes());
    Ok(())
}

fn failed(why: &str) -> io::Error {
    io::Error::other(why)
}

/// Whether so much more memory is there.
fn fits(server: &Server, more: usize) -> io::Result<()> {
    let (used, limit) = (alloc::used_memory(), server.config.maxmemory());
    if limit > 0 && used.saturating_add(more) > limit {
        return Err(failed("it does not fit into maxmemory"));
    }
    if os::exceeds_memory(used.saturating_add(more)) {
        return Err(failed("it does not fit into the memory of this machine"));
    }
    Ok(())
}

/// Copies the data of one server into another, which has none.
fn copy(server: &'static Server, to: &'static Server, dialogue: &Dialogue) -> io::Result<()> {
    let data = alloc::used_memory().saturating_sub(server.startup_memory);
    fits(server, data)?;
    let over = || dialogue.is_over() || server.is_stopping();
    // One snapshot at a time.
    let (snapshot, job) = loop {
        if over() {
            return Err(failed("the client has left"));
        }
        if !server.keyspace.hooks.watching()
            && let Some(job) = server.snapshots.begin(false)
        {
            let options = Options { compress: false, checksum: false, delay: None, ..server.rdb_options() };
            match FileSnapshot::begin(server.keyspace, options, job.progress.clone(), || (server.rdb_head(false), ())) {
                Ok((snapshot, ())) => break (snapshot, job),
                Err(_) => server.snapshots.end(),
            }
        }
        clock::pause_us(LOOK_US);
    };
    let how = How { replace: false, keep_expired: true, note_expired: false, libraries: Some(Policy::Flush) };
    let result = io::pipe().and_then(|(from, mut pipe)| {
        std::thread::scope(|scope| {
            let loader = scope.spawn(move || load::into(to, (to.keyspace, &to.metrics), from, how));
            let sent = snapshot.run(&job.cancel, |chunk| {
                if over() {
                    return Err(failed("the client has left"));
                }
                fits(server, 0)?;
                pipe.write_all(chunk)
            });
            drop(pipe);
            let loaded = loader.join().map_err(|_| failed("the loader has panicked"))?;
            sent?;
            loaded.map(drop).map_err(io::Error::from)
        })
    });
    server.snapshots.end();
    result
}
