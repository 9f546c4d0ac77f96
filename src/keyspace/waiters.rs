//! Who waits for a key, and who watches one.
//!
//! A blocked client stands as a [`Waiter`] in the queue of each key it waits for, in the order of arrival. The command
//! that makes such a key appear serves the first waiters before it ends (see `exec`), by running their commands again
//! in their place. [`Waiter::claim`] decides between service, timeout, CLIENT UNBLOCK and disconnection: one of them
//! wins. A waiter that is through stays in the queues of its other keys until the next one to look there drops it.
//!
//! WATCH puts a [`Watch`] on the key; changing the key dirties it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::*};

const WAITING: u8 = 0;
const SERVING: u8 = 1;
const DONE: u8 = 2;

/// How a waiter's client hears of the end.
pub trait WaiterClient: Send + Sync {
    /// The reply of the command that was run for it, in its protocol version.
    fn deliver(&self, reply: Vec<u8>);
}

/// A blocked client.
pub struct Waiter {
    /// The client's id.
    pub client: u64,
    /// The database it had selected.
    pub db: usize,
    /// The keys it waits for.
    pub keys: Vec<Vec<u8>>,
    /// The command to run again.
    pub argv: Vec<Vec<u8>>,
    /// Whether it came as an inline request, as far as anybody counts.
    pub inline: bool,
    /// Whether the client speaks RESP3.
    pub resp3: bool,
    /// The reply when the time is up.
    pub on_timeout: Vec<u8>,
    /// Where the reply goes.
    pub to: Arc<dyn WaiterClient>,
    state: AtomicU8,
}

/// What a [`Waiter`] is made of; see its fields.
#[allow(missing_docs)]
pub struct WaitRequest {
    pub client: u64,
    pub db: usize,
    pub keys: Vec<Vec<u8>>,
    pub argv: Vec<Vec<u8>>,
    pub inline: bool,
    pub resp3: bool,
    pub on_timeout: Vec<u8>,
}

impl std::fmt::Debug for Waiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiter").field("client", &self.client).field("keys", &self.keys).finish_non_exhaustive()
    }
}

impl Waiter {
    /// A client that begins to wait.
    pub fn new(request: WaitRequest, to: Arc<dyn WaiterClient>) -> Arc<Waiter> {
        let WaitRequest { client, db, keys, argv, inline, resp3, on_timeout } = request;
        Arc::new(Waiter { client, db, keys, argv, inline, resp3, on_timeout, to, state: AtomicU8::new(WAITING) })
    }
    /// Ends the wait for the caller's reason, unless another reason was first: then false.
    pub fn claim(&self) -> bool {
        self.state.compare_exchange(WAITING, DONE, AcqRel, Acquire).is_ok()
    }
    /// Takes the waiter to run its command; [`Waiter::served`] or [`Waiter::put_back`] must follow.
    pub fn take(&self) -> bool {
        self.state.compare_exchange(WAITING, SERVING, AcqRel, Acquire).is_ok()
    }
    /// Its command had a reply.
    pub fn served(&self, reply: Vec<u8>) {
        self.state.store(DONE, Release);
        self.to.deliver(reply);
    }
    /// Its command would block again.
    pub fn put_back(&self) {
        self.state.store(WAITING, Release);
    }
    /// Whether the wait is over.
    pub fn is_done(&self) -> bool {
        self.state.load(Acquire) == DONE
    }
}

/// The mark of a client's WATCH: set once one of its keys was touched.
#[derive(Debug, Default)]
pub struct Watch(AtomicBool);

impl Watch {
    /// Notes that a watched key changed.
    pub fn touch(&self) {
        self.0.store(true, Release);
    }
    /// Whether a watched key changed.
    pub fn is_touched(&self) -> bool {
        self.0.load(Acquire)
    }
}

type DbKey = (usize, Vec<u8>);

/// What few slots have: waiters and watchers by database and key.
#[derive(Default)]
pub struct Extra {
    waiters: HashMap<DbKey, VecDeque<Arc<Waiter>>>,
    /// Each with whether the key was there but expired when it was watched.
    watches: HashMap<DbKey, Vec<(Arc<Watch>, bool)>>,
}

impl Extra {
    /// Whether nobody waits or watches here.
    pub fn is_empty(&self) -> bool {
        self.waiters.is_empty() && self.watches.is_empty()
    }
    /// Puts a waiter at the end of a key's queue.
    pub fn wait(&mut self, db: usize, key: &[u8], waiter: &Arc<Waiter>) {
        self.waiters.entry((db, key.to_vec())).or_default().push_back(waiter.clone());
    }
    /// Takes a waiter out of a key's queue, and with it those that are through.
    pub fn forget_waiter(&mut self, db: usize, key: &[u8], waiter: &Arc<Waiter>) {
        let at = (db, key.to_vec());
        if let Some(queue) = self.waiters.get_mut(&at) {
            queue.retain(|w| !Arc::ptr_eq(w, waiter) && !w.is_done());
            if queue.is_empty() {
                self.waiters.remove(&at);
            }
        }
    }
    /// Whether somebody waits for the key.
    pub fn has_waiters(&self, db: usize, key: &[u8]) -> bool {
        !self.waiters.is_empty() && self.waiters.contains_key(&(db, key.to_vec()))
    }
    /// The waiters of a key in order, without those that are through.
    pub fn waiters(&mut self, db: usize, key: &[u8]) -> Vec<Arc<Waiter>> {
        let at = (db, key.to_vec());
        let Some(queue) = self.waiters.get_mut(&at) else { return Vec::new() };
        queue.retain(|w| !w.is_done());
        let list = queue.iter().cloned().collect::<Vec<_>>();
        if list.is_empty() {
            self.waiters.remove(&at);
        }
        list
    }
    /// Every waited-for key of a database.
    pub fn waited_keys(&self, db: usize) -> impl Iterator<Item = &[u8]> {
        self.waiters.keys().filter(move |k| k.0 == db).map(|k| &k.1[..])
    }
    /// How many keys have waiters.
    pub fn waited(&self) -> usize {
        self.waiters.len()
    }
    /// How many keys are watched.
    pub fn watched(&self) -> usize {
        self.watches.len()
    }
    /// Watches a key.
    pub fn watch(&mut self, db: usize, key: &[u8], watch: &Arc<Watch>, expired: bool) {
        self.watches.entry((db, key.to_vec())).or_default().push((watch.clone(), expired));
    }
    /// Whether the key was expired already when it was watched with this mark.
    pub fn watched_when_expired(&self, db: usize, key: &[u8], watch: &Arc<Watch>) -> bool {
        let list = self.watches.get(&(db, key.to_vec()));
        list.is_some_and(|l| l.iter().any(|w| Arc::ptr_eq(&w.0, watch) && w.1))
    }
    /// Ends a watch.
    pub fn unwatch(&mut self, db: usize, key: &[u8], watch: &Arc<Watch>) {
        let at = (db, key.to_vec());
        if let Some(list) = self.watches.get_mut(&at) {
            list.retain(|w| !Arc::ptr_eq(&w.0, watch));
            if list.is_empty() {
                self.watches.remove(&at);
            }
        }
    }
    /// Dirties the watches of a key that changed; `exists`: it is in the table now.
    pub fn touch(&mut self, db: usize, key: &[u8], exists: bool) {
        if self.watches.is_empty() {
            return;
        }
        for (watch, expired) in self.watches.get_mut(&(db, key.to_vec())).into_iter().flatten() {
            if *expired && !exists {
                // It was over when it was watched, and is deleted now: nothing changed for its watcher.
                *expired = false;
            } else {
                watch.touch();
            }
        }
    }
    /// Dirties the watches of a database's keys when the whole database changes. `before` tells whether a key is in the
    /// table now, `after` whether it will be, and then whether its time is over.
    pub fn touch_all(&mut self, db: usize, before: impl Fn(&[u8]) -> bool, after: impl Fn(&[u8]) -> Option<bool>) {
        for ((at, key), list) in &mut self.watches {
            if *at != db {
                continue;
            }
            let (was, becomes) = (before(key), after(key));
            if !was && becomes.is_none() {
                continue;
            }
            for (watch, expired) in list {
                match (*expired, becomes) {
                    (true, None) => *expired = false,
                    (true, Some(true)) => {}
                    (false, Some(true)) if !was => *expired = true,
                    _ => watch.touch(),
                }
            }
        }
    }
}
