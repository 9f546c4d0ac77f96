//! Worker threads: each has its own single-threaded runtime, and serves its connections on it.

use std::cell::RefCell;
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
use crate::resp::Out;

/// The bytes that a worker reads at once, shared by its connections: what is left of a request goes to the connection.
const READ_BUFFER: usize = 64 << 10;

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

/// What the connections of a worker share. Never borrowed across an await.
pub struct Shared {
    /// Executes.
    pub exec: exec::Worker,
    /// Where every connection without a partial request reads into.
    pub read: Vec<u8>,
    /// Where replies are written that fit into the socket at once.
    pub out: Out,
}

fn run(
    server: &'static Server,
    id: usize,
    workers: usize,
    mut from: UnboundedReceiver<(u64, Accepted)>,
    connections: Arc<AtomicUsize>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(r) => r,
        Err(e) => {
            tracing::error!("Can't make the runtime of a worker: {e}");
            return server.shut_down();
        }
    };
    let shared = Rc::new(RefCell::new(Shared {
        exec: exec::Worker::new(server, id),
        read: vec![0; READ_BUFFER],
        out: Out::default(),
    }));
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
async fn expire(server: &'static Server, shared: Rc<RefCell<Shared>>, workers: usize) {
    loop {
        let hz = server.config.hz().clamp(1, 500);
        tokio::time::sleep(Duration::from_millis(1000 / hz)).await;
        let exec = &mut shared.borrow_mut().exec;
        exec.expire(workers, hz);
        exec.evict();
    }
}
