//! Worker threads: each has its own single-threaded runtime, and serves its connections on it.

use std::cell::{Cell, RefCell};
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::accept::Accepted;
use super::conn;
use crate::commands::Server;
use crate::exec;
use crate::metrics::ThreadStats;
use crate::resp::Out;

/// The bytes that a worker reads at once, shared by its connections: what is left of a request goes to the connection.
const READ_BUFFER: usize = 64 << 10;
/// Long requests of a worker's connections that are prepared at the same time.
const PREPARERS: usize = 2;

/// How connections reach a worker.
#[derive(Clone)]
pub struct Gate {
    to: UnboundedSender<(u64, Accepted)>,
    connections: Arc<AtomicUsize>,
}

impl Gate {
    /// How many connections the worker has.
    pub fn load(&self) -> usize {
        self.connections.load(Relaxed)
    }
    /// Hands a connection over, with its number.
    pub fn send(&self, id: u64, accepted: Accepted) {
        self.connections.fetch_add(1, Relaxed);
        // A worker that is gone closes the socket by dropping it.
        let _ = self.to.send((id, accepted));
    }
}

/// The running workers.
pub struct Workers {
    gates: Arc<[Gate]>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// How connections reach them.
    pub fn gates(&self) -> Arc<[Gate]> {
        self.gates.clone()
    }
    /// Waits until all have ended.
    pub fn join(self) {
        for t in self.threads {
            if t.join().is_err() {
                tracing::error!("a worker had panicked");
            }
        }
    }
}

/// Starts `n` workers.
pub fn start_all(server: &'static Server, n: usize) -> Result<Workers, String> {
    let (mut gates, mut threads) = (Vec::new(), Vec::new());
    for id in 0..n {
        let (to, from) = unbounded_channel();
        let connections = Arc::new(AtomicUsize::new(0));
        gates.push(Gate { to, connections: connections.clone() });
        let thread = std::thread::Builder::new()
            .name(format!("worker-{id}"))
            .spawn(move || run(server, id, n, from, connections))
            .map_err(|e| format!("Can't start a worker thread: {e}"))?;
        threads.push(thread);
    }
    Ok(Workers { gates: gates.into(), threads })
}

/// What a connection works with while it runs.
pub struct Desk {
    /// Executes.
    pub exec: exec::Worker,
    /// Where every connection without a partial request reads into.
    pub read: Vec<u8>,
    /// Where replies are written that fit into the socket at once.
    pub out: Out,
    /// It was made because a script sits at the worker's own.
    spare: bool,
}

/// The desks of a worker. There is one, and whoever runs sits at it; a script that is left half-way stays there, and
/// meanwhile the other connections share a second one.
pub struct Shared {
    server: &'static Server,
    id: usize,
    stats: &'static ThreadStats,
    own: Cell<Option<Box<Desk>>>,
    #[allow(clippy::vec_box, reason = "a desk does not move while somebody sits at it")]
    spare: RefCell<Vec<Box<Desk>>>,
}

impl Shared {
    fn new(server: &'static Server, id: usize) -> Shared {
        let stats = server.metrics.thread();
        let shared = Shared { server, id, stats, own: Cell::new(None), spare: RefCell::default() };
        shared.own.set(Some(shared.desk(false)));
        shared
    }
    fn desk(&self, spare: bool) -> Box<Desk> {
        let mut exec = exec::Worker::with_stats(self.server, self.id, self.stats);
        exec.may_leave();
        Box::new(Desk { exec, read: vec![0; READ_BUFFER], out: Out::default(), spare })
    }
    /// The counters of the worker.
    pub fn stats(&self) -> &'static ThreadStats {
        self.stats
    }
    /// A free desk. It is given back when the lease is dropped; of those who sit down without anybody else having run in
    /// between, each finds what the one before left there.
    #[inline]
    pub fn take(&self) -> Lease<'_> {
        Lease { shared: self, desk: self.own.take().or_else(|| Some(self.take_spare())) }
    }
    #[cold]
    fn take_spare(&self) -> Box<Desk> {
        self.spare.borrow_mut().pop().unwrap_or_else(|| self.desk(true))
    }
    /// Once no script is left half-way: what could not be done meanwhile is done, and the second desk goes.
    fn tidy(&self) {
        if self.spare.borrow().is_empty() {
            return;
        }
        let own = self.own.take();
        if own.is_some() {
            self.spare.borrow_mut().retain_mut(|desk| !desk.exec.catch_up());
        }
        self.own.set(own);
    }
}

/// A desk for as long as one sits at it.
pub struct Lease<'a> {
    shared: &'a Shared,
    desk: Option<Box<Desk>>,
}

impl Deref for Lease<'_> {
    type Target = Desk;
    fn deref(&self) -> &Desk {
        self.desk.as_deref().unwrap_or_else(|| unreachable!("only drop takes it"))
    }
}
impl DerefMut for Lease<'_> {
    fn deref_mut(&mut self) -> &mut Desk {
        self.desk.as_deref_mut().unwrap_or_else(|| unreachable!("only drop takes it"))
    }
}
impl Drop for Lease<'_> {
    fn drop(&mut self) {
        match self.desk.take() {
            Some(desk) if desk.spare => self.shared.spare.borrow_mut().push(desk),
            own => self.shared.own.set(own),
        }
    }
}

fn run(
    server: &'static Server,
    id: usize,
    workers: usize,
    mut from: UnboundedReceiver<(u64, Accepted)>,
    connections: Arc<AtomicUsize>,
) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = match builder.enable_all().max_blocking_threads(PREPARERS).build() {
        Ok(r) => r,
        Err(e) => {
            tracing::error!("Can't make the runtime of a worker: {e}");
            return server.shut_down();
        }
    };
    let shared = Rc::new(Shared::new(server, id));
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        tokio::task::spawn_local(expire(server, shared.clone(), workers));
        loop {
            tokio::select! {
                accepted = from.recv() => {
                    let Some((number, accepted)) = accepted else { break };
                    let (shared, connections) = (shared.clone(), connections.clone());
                    tokio::task::spawn_local(async move {
                        conn::serve(server, shared, id, number, accepted).await;
                        connections.fetch_sub(1, Relaxed);
                    });
                }
                () = server.stopped() => break,
            }
        }
        // Connections notice the end by themselves, send what they have, and go.
        let mut patience = 0;
        while connections.load(Relaxed) > 0 && patience < 100 {
            tokio::time::sleep(Duration::from_millis(5)).await;
            patience += 1;
        }
    });
}

/// The expiry passes of a worker, `hz` a second.
async fn expire(server: &'static Server, shared: Rc<Shared>, workers: usize) {
    loop {
        let hz = server.config.hz().clamp(1, 500);
        tokio::time::sleep(Duration::from_millis(1000 / hz)).await;
        if server.running.any() {
            // A script keeps the locks; it may be one of ours.
            continue;
        }
        shared.tidy();
        let exec = &mut shared.take().exec;
        exec.expire(workers, hz);
        exec.evict();
        exec.keep_house(workers);
    }
}
