//! The cluster as the threads of a server share it.
//!
//! One mutex guards the state machine: the bus thread and the CLUSTER commands take it, each for microseconds, and hold
//! no other lock inside. What the state machine wants done ([`Event`](super::core::Event)s) is carried out after it is
//! let go, since that takes the locks of slots. The path of commands takes no lock: it keeps the [`View`] and looks at a
//! number to learn that there is a newer one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::*};
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, MutexGuard, RwLock};
use tokio::sync::Notify;

use super::View;
use super::core::{Core, Event, LinkId};
use super::slot_stats::SlotStats;
use super::transfers::Transfers;

/// Bytes that a link of the bus takes.
#[derive(Default)]
struct Buffers {
    /// Packets that wait to be sent.
    waiting: usize,
    /// Room for what is received.
    receiving: usize,
}

/// The place of the cluster in a server. Empty where the server is no node of one.
#[derive(Default)]
pub struct Cluster {
    core: OnceLock<Mutex<Core>>,
    view: RwLock<Option<Arc<View>>>,
    version: AtomicU64,
    /// Held by whoever carries events out: they happen in their order.
    carrying: Mutex<()>,
    bell: Notify,
    /// What links take.
    buffers: Mutex<HashMap<LinkId, Buffers>>,
    /// Moves of whole slots.
    pub transfers: Transfers,
    /// What is spent on slots.
    pub slot_stats: SlotStats,
}

impl Cluster {
    /// The server is a node of a cluster from now on.
    pub fn install(&self, mut core: Core) {
        let view = core.view();
        let _ = self.core.set(Mutex::new(core));
        self.publish(view);
    }
    /// Whether the server is a node of a cluster.
    #[inline]
    pub fn is_enabled(&self) -> bool {
        self.core.get().is_some()
    }
    /// The state machine. `None` where there is no cluster. Take no lock while you hold it.
    pub fn core(&self) -> Option<MutexGuard<'_, Core>> {
        self.core.get().map(Mutex::lock)
    }
    /// The newest view.
    pub fn view(&self) -> Option<Arc<View>> {
        self.view.read().clone()
    }
    /// A view with the times and counters of this moment.
    pub fn fresh_view(&self) -> Option<Arc<View>> {
        self.core().map(|mut core| core.fresh_view())
    }
    /// Counts the views: a number that was seen before says that nothing is new. 0: no cluster.
    #[inline]
    pub fn version(&self) -> u64 {
        self.version.load(Acquire)
    }
    /// A new view, for everybody. An older one than the present does nothing.
    pub fn publish(&self, view: Arc<View>) {
        let mut present = self.view.write();
        if present.as_ref().is_none_or(|present| present.version < view.version) {
            self.version.store(view.version, Release);
            *present = Some(view);
        }
    }
    /// Hands out what is to be done, in order, one at a time. Nobody else does so meanwhile. No slots are held.
    pub fn carry_out(&self, mut carry: impl FnMut(Event)) {
        let _turn = self.carrying.lock();
        while let Some(event) = self.core().and_then(|mut core| core.poll_event()) {
            carry(event);
        }
    }
    /// Bytes that wait to be sent over a link.
    pub fn waiting(&self, link: LinkId) -> usize {
        self.buffers.lock().get(&link).map_or(0, |b| b.waiting)
    }
    /// So many bytes wait to be sent over a link.
    pub fn set_waiting(&self, link: LinkId, bytes: usize) {
        self.buffers.lock().entry(link).or_default().waiting = bytes;
    }
    /// A link has room for so many bytes that are received.
    pub fn set_receiving(&self, link: LinkId, bytes: usize) {
        self.buffers.lock().entry(link).or_default().receiving = bytes;
    }
    /// The link is gone, and what it took.
    pub fn forget_link(&self, link: LinkId) {
        self.buffers.lock().remove(&link);
    }
    /// Bytes that wait to be sent over all links.
    pub fn all_waiting(&self) -> usize {
        self.buffers.lock().values().map(|b| b.waiting).sum()
    }
    /// Bytes that all links take, in both directions.
    pub fn link_memory(&self) -> usize {
        self.buffers.lock().values().map(|b| b.waiting + b.receiving).sum()
    }
    /// Tells the bus thread that there may be something to send, store or carry out.
    pub fn ring(&self) {
        self.bell.notify_one();
    }
    /// Ready when somebody rang.
    pub async fn rung(&self) {
        self.bell.notified().await;
    }
}
