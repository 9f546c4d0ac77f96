//! Frees big values and whole databases in the background, off the workers (UNLINK, FLUSHALL ASYNC,
//! `lazyfree-lazy-*`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::*};
use std::sync::mpsc::{Sender, channel};

use parking_lot::Mutex;

use super::entry::Entry;
use crate::base::cpus::{self, Duty};
use crate::types::dict::{Dict, Owned};

/// Values of less effort are freed at once: handing them over would cost more.
const THRESHOLD: usize = 64;

/// Something to free.
pub enum Garbage {
    /// A key with its value.
    Entry(Owned<Entry>),
    /// The tables of a database.
    Tables(Vec<Dict<Entry>>),
}

/// The way to the thread that frees.
pub struct LazyFree {
    to: Mutex<Sender<(Garbage, u64)>>,
    pending: Arc<AtomicU64>,
    freed: Arc<AtomicU64>,
}

impl LazyFree {
    /// Starts the thread.
    pub fn start() -> LazyFree {
        let (to, from) = channel::<(Garbage, u64)>();
        let (pending, freed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let counters = (pending.clone(), freed.clone());
        std::thread::Builder::new()
            .name("lazyfree".into())
            .spawn(move || {
                cpus::enter(Duty::Background);
                for (garbage, objects) in from {
                    drop(garbage);
                    counters.0.fetch_sub(objects, Relaxed);
                    counters.1.fetch_add(objects, Relaxed);
                }
            })
            .expect("a thread for freeing");
        LazyFree { to: Mutex::new(to), pending, freed }
    }
    /// Frees an entry: in the background if it is big and `lazy`.
    #[inline]
    pub fn dispose(&self, e: Owned<Entry>, lazy: bool) {
        if lazy && e.as_ref().free_effort() > THRESHOLD {
            self.send(Garbage::Entry(e), 1);
        }
    }
    /// Frees the tables of a database.
    pub fn dispose_tables(&self, tables: Garbage, lazy: bool) {
        if lazy {
            let Garbage::Tables(list) = &tables else { return };
            let objects = list.iter().map(|t| t.len() as u64).sum();
            if objects > 0 {
                self.send(tables, objects);
            }
        }
    }
    fn send(&self, garbage: Garbage, objects: u64) {
        self.pending.fetch_add(objects, Relaxed);
        // Where the thread is gone (at exit), what comes back is freed here.
        let _ = self.to.lock().send((garbage, objects));
    }
    /// Objects that wait to be freed.
    pub fn pending(&self) -> u64 {
        self.pending.load(Relaxed)
    }
    /// Objects freed in the background so far.
    pub fn freed(&self) -> u64 {
        self.freed.load(Relaxed)
    }
    /// Sets the number of freed objects to zero (CONFIG RESETSTAT).
    pub fn reset(&self) {
        self.freed.store(0, Relaxed);
    }
}
