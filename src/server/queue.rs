//! How long a connection that is wanted waits for its worker.
//!
//! A worker serves one connection at a time. From the moment at which a connection's socket, mail or timer calls it until
//! the worker comes to it passes a time that no command's duration shows; it is what clients feel of a worker that is
//! busy with others. A waker of the connection's own notes the first call, and the next poll counts what has passed.
//!
//! What passes between a packet's arrival and the look at the sockets is not in it: a worker looks after each round
//! through those that were called, so it is at most one round, and time without a CPU is in
//! `dunlin_thread_wait_seconds_total`.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::*};
use std::task::{Context, Poll, Wake, Waker};

use parking_lot::Mutex;

use crate::base::clock;
use crate::metrics::{METERED, ThreadStats};

/// A connection's work, whose waits are counted.
pub struct Queued<F> {
    work: Pin<Box<F>>,
    bell: Arc<Bell>,
    waker: Waker,
    stats: &'static ThreadStats,
}

#[derive(Default)]
struct Bell {
    /// When it was first rung since the last poll, in raw ticks; 0: it was not.
    rung: AtomicU64,
    task: Mutex<Option<Waker>>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }
    fn wake_by_ref(self: &Arc<Self>) {
        if self.rung.load(Relaxed) == 0 {
            self.rung.store(clock::mono_raw().max(1), Relaxed);
        }
        if let Some(task) = &*self.task.lock() {
            task.wake_by_ref();
        }
    }
}

impl<F: Future> Queued<F> {
    /// Work of a connection on the thread of these counters.
    pub fn new(work: F, stats: &'static ThreadStats) -> Queued<F> {
        let bell = Arc::<Bell>::default();
        Queued { work: Box::pin(work), waker: bell.clone().into(), bell, stats }
    }
}

impl<F: Future> Future for Queued<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        if !METERED {
            return self.work.as_mut().poll(cx);
        }
        let rung = self.bell.rung.load(Relaxed);
        if rung != 0 {
            // Rung again in between: that call is answered by this poll as well.
            self.bell.rung.store(0, Relaxed);
            self.stats.queued(clock::raw_to_ns(rung, clock::mono_raw()));
        }
        {
            let mut task = self.bell.task.lock();
            if task.as_ref().is_none_or(|task| !task.will_wake(cx.waker())) {
                *task = Some(cx.waker().clone());
            }
        }
        let this = &mut *self;
        this.work.as_mut().poll(&mut Context::from_waker(&this.waker))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn the_time_from_the_call_to_the_poll_is_counted_once() {
        let metrics = Metrics::new(1, 1);
        let mut polls = 0;
        let work = std::future::poll_fn(|cx| {
            polls += 1;
            // Called twice before the next poll.
            cx.waker().wake_by_ref();
            cx.waker().wake_by_ref();
            if polls == 3 { Poll::Ready(()) } else { Poll::Pending }
        });
        let mut queued = Box::pin(Queued::new(work, metrics.thread()));
        let mut cx = Context::from_waker(Waker::noop());
        while queued.as_mut().poll(&mut cx).is_pending() {
            clock::pause_us(1000);
        }
        let (times, ns) = metrics.queue();
        assert_eq!(times.total(), 2);
        assert!(ns >= 2_000_000, "{ns}");
    }
}
