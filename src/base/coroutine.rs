//! Work on a stack of its own, which can be left half-way and gone on with later, on the same thread.
//!
//! A worker runs what may take very long this way: deep inside of it [`leave`] goes back to the worker, which serves others
//! and then calls [`Work::go_on`]. Work that is never left costs a change of stacks and back. The stacks are used again.
//!
//! (Threads were the other idea: what a script works with belongs to its worker's thread, so the worker's connections would
//! have had to move, and their tasks cannot.)

use std::cell::{Cell, RefCell};
use std::io;
use std::marker::PhantomData;

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};

/// The address space of a stack; memory is taken as it is used. A worker's own has 2 MB.
const STACK: usize = 4 << 20;
/// Stacks that a thread keeps.
const KEPT: usize = 2;

thread_local! {
    /// How the work that runs now is left; null outside of any.
    static CURRENT: Cell<*const Yielder<(), ()>> = const { Cell::new(std::ptr::null()) };
    static STACKS: RefCell<Vec<DefaultStack>> = const { RefCell::new(Vec::new()) };
}

/// Whether the caller runs on a stack of its own.
#[inline]
pub fn is_inside() -> bool {
    !CURRENT.get().is_null()
}

/// Goes back to whoever runs the present work, and returns when it is gone on with. False outside of any.
pub fn leave() -> bool {
    let way = CURRENT.get();
    if way.is_null() {
        return false;
    }
    // SAFETY: it is set while its work runs, which it lives as long as, and we are in that work.
    unsafe { (*way).suspend(()) };
    CURRENT.set(way);
    true
}

/// A stack.
pub struct Stack(DefaultStack);

/// A stack that nothing runs on. `Err` if there is no memory for one.
pub fn stack() -> io::Result<Stack> {
    match STACKS.with_borrow_mut(Vec::pop) {
        Some(stack) => Ok(Stack(stack)),
        None => DefaultStack::new(STACK).map(Stack),
    }
}

/// Work that has begun or will. Dropped before its end it is run to its end.
pub struct Work<'a, R> {
    coroutine: Option<Coroutine<(), (), R, DefaultStack>>,
    borrows: PhantomData<&'a mut ()>,
}

impl<'a, R> Work<'a, R> {
    /// Work that [`Work::go_on`] will begin with.
    pub fn new(stack: Stack, work: impl FnOnce() -> R + 'a) -> Work<'a, R> {
        let on_it = move |way: &Yielder<(), ()>, ()| {
            CURRENT.set(way);
            work()
        };
        // SAFETY: what it borrows lives for 'a. A Work ends before that, by `go_on` or by `drop`; one that is forgotten is
        // never gone on with, keeps its stack for good, and has lent nothing to another thread.
        let coroutine = unsafe { Coroutine::with_stack_unchecked(stack.0, on_it) };
        Work { coroutine: Some(coroutine), borrows: PhantomData }
    }
    /// Runs it until it ends or is left. Its result, once; `None` if it was left, or has ended before.
    pub fn go_on(&mut self) -> Option<R> {
        let coroutine = self.coroutine.as_mut()?;
        let outside = CURRENT.get();
        let end = coroutine.resume(());
        CURRENT.set(outside);
        let CoroutineResult::Return(result) = end else { return None };
        if let Some(coroutine) = self.coroutine.take() {
            let stack = coroutine.into_stack();
            STACKS.with_borrow_mut(|stacks| {
                if stacks.len() < KEPT {
                    stacks.push(stack);
                }
            });
        }
        Some(result)
    }
}

impl<R> Drop for Work<'_, R> {
    fn drop(&mut self) {
        while self.coroutine.is_some() {
            self.go_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_is_left_goes_on_where_it_was_while_other_work_runs() {
        let log = RefCell::new(Vec::new());
        let count = |name: &'static str| {
            let log = &log;
            move || {
                for i in 0..3 {
                    log.borrow_mut().push((name, i));
                    assert!(is_inside() && leave());
                }
                name.len()
            }
        };
        let (mut a, mut b) = (Work::new(stack().unwrap(), count("a")), Work::new(stack().unwrap(), count("bb")));
        let (mut ends, mut rounds) = ((None, None), 0);
        while ends.0.is_none() || ends.1.is_none() {
            assert!(!is_inside() && !leave());
            ends = (ends.0.or(a.go_on()), ends.1.or(b.go_on()));
            rounds += 1;
        }
        assert_eq!((ends, rounds), ((Some(1), Some(2)), 4));
        assert_eq!(log.borrow()[..4], [("a", 0), ("bb", 0), ("a", 1), ("bb", 1)]);
        assert_eq!(a.go_on(), None);
    }

    #[test]
    fn work_that_is_dropped_half_way_runs_to_its_end() {
        let ended = Cell::new(false);
        let mut work = Work::new(stack().unwrap(), || {
            leave();
            leave();
            ended.set(true);
        });
        work.go_on();
        drop(work);
        assert!(ended.get());
    }
}
