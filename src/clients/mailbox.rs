//! How other threads reach a connection: messages to send, replies of blocked commands, the order to close.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use parking_lot::Mutex;

/// Something for a connection.
#[derive(Debug, Clone)]
pub enum Mail {
    /// Bytes for the client: a published message, a MONITOR line.
    Push(Bytes),
    /// The reply of the command that the client is blocked in.
    Reply(Vec<u8>),
    /// A shard channel that went to another node: the subscription is over.
    ShardLeft(Vec<u8>),
}

impl Mail {
    fn len(&self) -> usize {
        match self {
            Mail::Push(b) => b.len(),
            Mail::Reply(b) | Mail::ShardLeft(b) => b.len(),
        }
    }
}

#[derive(Debug, Default)]
struct Inner {
    queue: VecDeque<Mail>,
    waker: Option<Waker>,
}

/// The mailbox of one connection.
#[derive(Debug, Default)]
pub struct Mailbox {
    inner: Mutex<Inner>,
    /// Something is in the queue, or the connection is to close: what the connection looks at without the lock.
    signal: AtomicBool,
    closing: AtomicBool,
    last: AtomicBool,
    bytes: AtomicUsize,
}

impl Mailbox {
    /// Puts mail in, and wakes the connection.
    pub fn send(&self, mail: Mail) {
        self.bytes.fetch_add(mail.len(), Relaxed);
        let mut inner = self.inner.lock();
        inner.queue.push_back(mail);
        self.signal.store(true, Release);
        if let Some(w) = inner.waker.take() {
            w.wake();
        }
    }
    /// Orders the connection to close at once.
    pub fn close(&self) {
        self.closing.store(true, Release);
        self.nudge();
    }
    /// Wakes the connection without mail: something it waits for may have changed.
    pub fn nudge(&self) {
        let mut inner = self.inner.lock();
        self.signal.store(true, Release);
        if let Some(w) = inner.waker.take() {
            w.wake();
        }
    }
    /// Orders the connection to close once it has sent what it has.
    pub fn close_after_reply(&self) {
        self.last.store(true, Release);
        self.nudge();
    }
    /// Whether the connection was ordered to close once it has sent what it has.
    pub fn is_last(&self) -> bool {
        self.last.load(Acquire)
    }
    /// Whether the connection was ordered to close.
    pub fn is_closing(&self) -> bool {
        self.closing.load(Acquire)
    }
    /// Whether there is anything to look at.
    #[inline]
    pub fn has_signal(&self) -> bool {
        self.signal.load(Acquire)
    }
    /// Bytes in the queue.
    pub fn pending(&self) -> usize {
        self.bytes.load(Relaxed)
    }
    /// Takes all mail.
    pub fn take(&self) -> VecDeque<Mail> {
        let mut inner = self.inner.lock();
        self.signal.store(false, Release);
        self.bytes.store(0, Relaxed);
        std::mem::take(&mut inner.queue)
    }
    /// Ready when there is something to look at.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.has_signal() {
            return Poll::Ready(());
        }
        let mut inner = self.inner.lock();
        if self.has_signal() {
            return Poll::Ready(());
        }
        if !inner.waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            inner.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}
