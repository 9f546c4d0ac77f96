//! The locks and atomics of the parts whose interleavings are tested: the replication log, and the cut of a snapshot.
//!
//! As a rule these are parking_lot's and the standard library's. Built with `--cfg shuttle` they are those of the
//! `shuttle` crate, which runs threads one at a time in orders that it draws, and so finds orders that a machine hardly
//! ever shows (`make shuttle`).

#[cfg(not(shuttle))]
pub use parking_lot::{Mutex, RawMutex, RwLock};
#[cfg(not(shuttle))]
pub use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

#[cfg(shuttle)]
pub use drawn::{Mutex, RawMutex, RwLock};
#[cfg(shuttle)]
pub use shuttle::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

/// Tries to lock for so many ms.
#[cfg(not(shuttle))]
pub fn lock_for(lock: &RawMutex, ms: u64) -> bool {
    use parking_lot::lock_api::RawMutexTimed as _;
    lock.try_lock_for(std::time::Duration::from_millis(ms))
}
/// Unlocks; whoever waits has the lock next, even if the caller asks for it again at once.
///
/// # Safety
/// The caller holds it.
#[cfg(not(shuttle))]
pub unsafe fn unlock_fair(lock: &RawMutex) {
    use parking_lot::lock_api::RawMutexFair as _;
    // SAFETY: as above.
    unsafe { lock.unlock_fair() }
}
/// Unlocks.
///
/// # Safety
/// The caller holds it.
#[cfg(shuttle)]
pub unsafe fn unlock_fair(lock: &RawMutex) {
    use parking_lot::lock_api::RawMutex as _;
    // SAFETY: as above.
    unsafe { lock.unlock() }
}
/// Tries to lock, and lets others run if that fails.
#[cfg(shuttle)]
pub fn lock_for(lock: &RawMutex, _ms: u64) -> bool {
    use parking_lot::lock_api::RawMutex as _;
    let locked = lock.try_lock();
    if !locked {
        shuttle::thread::yield_now();
    }
    locked
}

/// Shuttle's locks in the clothes of parking_lot's.
#[cfg(shuttle)]
#[allow(missing_docs)]
mod drawn {
    use shuttle::sync::atomic::{AtomicBool, Ordering::*};
    use shuttle::sync::{MutexGuard, RwLockReadGuard, RwLockWriteGuard};

    #[derive(Default)]
    pub struct Mutex<T>(shuttle::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub fn new(value: T) -> Self {
            Mutex(shuttle::sync::Mutex::new(value))
        }
        pub fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().expect("no thread of a test panics")
        }
    }

    #[derive(Default)]
    pub struct RwLock<T>(shuttle::sync::RwLock<T>);

    impl<T> RwLock<T> {
        pub fn read(&self) -> RwLockReadGuard<'_, T> {
            self.0.read().expect("no thread of a test panics")
        }
        pub fn write(&self) -> RwLockWriteGuard<'_, T> {
            self.0.write().expect("no thread of a test panics")
        }
    }

    /// A lock without a value.
    pub struct RawMutex(AtomicBool);

    // SAFETY: only one thread at a time finds `false` and leaves `true`.
    unsafe impl parking_lot::lock_api::RawMutex for RawMutex {
        #[allow(clippy::declare_interior_mutable_const, reason = "the trait asks for it")]
        const INIT: RawMutex = RawMutex(AtomicBool::new(false));
        type GuardMarker = parking_lot::lock_api::GuardSend;
        fn lock(&self) {
            while !self.try_lock() {
                shuttle::thread::yield_now();
            }
        }
        fn try_lock(&self) -> bool {
            self.0.compare_exchange(false, true, AcqRel, Acquire).is_ok()
        }
        unsafe fn unlock(&self) {
            self.0.store(false, Release);
        }
        fn is_locked(&self) -> bool {
            self.0.load(Acquire)
        }
    }
}
