//! The allocator: jemalloc, with a count of what is in use.
//!
//! `maxmemory` and `used_memory` need the number of bytes allocated, cheaply and without waiting for jemalloc's own
//! statistics (refreshing those takes a lock and tens of microseconds). So every allocation adds its usable size to a
//! counter of its thread, and a reader sums the counters. A counter has one writer, so counting is a load, an add and a
//! store on a cache line that nobody else writes; a free on another thread than the allocation simply drives that
//! thread's counter negative. Threads beyond [`SLOTS`] share one slot with atomic adds.
//!
//! Usable sizes are computed, not asked for: jemalloc's size classes are a function of size and alignment
//! ([`usable_size`]), and the layout that Rust passes to `dealloc` is the one it allocated with. A test holds the
//! function against `nallocx`.
//!
//! The build sets `lg_quantum` to 3 (.cargo/config.toml): classes 8 bytes apart up to 64. An entry of 56 bytes then
//! takes 56, not 64, which is where much of the memory per key is won. The price is that a plain `malloc` aligns to 8
//! only; layouts that ask for more go through `mallocx` with the alignment.
//!
//! Rejected: `malloc_usable_size` on each free (a look-up in jemalloc's radix tree, 2 to 4 ns more), and one global
//! atomic (a cache line that every core fights for).

#![cfg_attr(miri, allow(dead_code))]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::ffi::{CStr, c_int, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering::Relaxed};
use tikv_jemalloc_sys as je;

/// Threads with a counter of their own.
const SLOTS: usize = 128;
/// The alignment that every size class has.
const QUANTUM: usize = 8;
const SMALL_MAX: usize = 14 << 10;
const LARGE_MIN: usize = 16 << 10;
const PAGE: usize = 4 << 10;

/// A counter on a cache line of its own (two lines: the prefetcher takes pairs).
#[repr(align(128))]
struct Slot(AtomicI64);

static COUNTERS: [Slot; SLOTS + 1] = [const { Slot(AtomicI64::new(0)) }; SLOTS + 1];
static NEXT: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    // Const-initialised and without a destructor: reading it never allocates, also while a thread ends.
    static MINE: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// The global allocator.
struct Counting;

// Miri has an allocator of its own, which is what it checks with.
#[cfg_attr(not(miri), global_allocator)]
static GLOBAL: Counting = Counting;

#[inline]
fn count(delta: isize) {
    let mut slot = MINE.get();
    if slot >= SLOTS {
        slot = slot_of_this_thread(slot);
    }
    let counter = &COUNTERS[slot.min(SLOTS)].0;
    if slot < SLOTS {
        counter.store(counter.load(Relaxed) + delta as i64, Relaxed);
    } else {
        counter.fetch_add(delta as i64, Relaxed);
    }
}

#[cold]
fn slot_of_this_thread(mut slot: usize) -> usize {
    if slot == usize::MAX {
        slot = NEXT.fetch_add(1, Relaxed).min(SLOTS);
        MINE.set(slot);
    }
    slot
}

/// The bytes that an allocation of `size` (of ordinary alignment) takes.
#[inline]
pub const fn usable_size(size: usize) -> usize {
    if size <= 64 {
        let rounded = (size + QUANTUM - 1) & !(QUANTUM - 1);
        return if rounded == 0 { QUANTUM } else { rounded };
    }
    if size > SMALL_MAX {
        return (size + PAGE - 1) & !(PAGE - 1);
    }
    // Four classes between one power of two and the next.
    let step = 1usize << ((size - 1).ilog2() - 2);
    (size + step - 1) & !(step - 1)
}

/// The bytes that an allocation of `layout` takes.
#[inline]
const fn usable_layout(layout: Layout) -> usize {
    let (size, align) = (layout.size(), layout.align());
    if align <= QUANTUM {
        return usable_size(size);
    }
    if size <= SMALL_MAX && align <= PAGE {
        let usable = usable_size((size + align - 1) & !(align - 1));
        if usable < LARGE_MIN {
            return usable;
        }
    }
    if size <= LARGE_MIN { LARGE_MIN } else { usable_size(size) }
}

/// jemalloc's flags for a layout: its alignment, where that is more than every class has.
#[inline]
fn flags(layout: Layout) -> c_int {
    if layout.align() <= QUANTUM { 0 } else { layout.align().ilog2() as c_int }
}

// SAFETY: every method hands the request to jemalloc with the layout's size and alignment (a layout of ordinary
// alignment is served by `malloc`, whose classes are all multiples of 8 bytes and 8-aligned; a size of zero never
// reaches a global allocator). Blocks come from and return to the same jemalloc. The counters touch no memory of the
// allocation, and `count` neither allocates nor panics: its thread-local has no destructor and no lazy initialiser,
// and its index is bounded.
unsafe impl GlobalAlloc for Counting {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let flags = flags(layout);
        // SAFETY: the size is not zero (the caller's contract).
        let block = unsafe { if flags == 0 { je::malloc(layout.size()) } else { je::mallocx(layout.size(), flags) } };
        if !block.is_null() {
            count(usable_layout(layout) as isize);
        }
        block.cast()
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let flags = flags(layout);
        // SAFETY: the size is not zero (the caller's contract).
        let block = unsafe {
            if flags == 0 { je::calloc(1, layout.size()) } else { je::mallocx(layout.size(), flags | je::MALLOCX_ZERO) }
        };
        if !block.is_null() {
            count(usable_layout(layout) as isize);
        }
        block.cast()
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: `block` came from this allocator with this layout (the caller's contract).
        unsafe { je::sdallocx(block.cast(), layout.size(), flags(layout)) };
        count(-(usable_layout(layout) as isize));
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let flags = flags(layout);
        // SAFETY: as for `dealloc`; `new_size` is not zero and does not overflow when rounded up to the alignment (the
        // caller's contract), so the layout built from it is valid.
        let (moved, after) = unsafe {
            let moved = if flags == 0 {
                je::realloc(block.cast(), new_size)
            } else {
                je::rallocx(block.cast(), new_size, flags)
            };
            (moved, Layout::from_size_align_unchecked(new_size, layout.align()))
        };
        if !moved.is_null() {
            count(usable_layout(after) as isize - usable_layout(layout) as isize);
        }
        moved.cast()
    }
}

/// Bytes allocated now, rounded up to size classes. Exact once other threads are quiet; while they run, off by what
/// they have in flight. Reads one cache line per thread that ever allocated.
pub fn used_memory() -> usize {
    let slots = NEXT.load(Relaxed).min(SLOTS);
    let mut sum: i64 = COUNTERS[..slots].iter().map(|slot| slot.0.load(Relaxed)).sum();
    sum += COUNTERS[SLOTS].0.load(Relaxed);
    let used = usize::try_from(sum).unwrap_or(0);
    if used > PEAK.load(Relaxed) {
        PEAK.fetch_max(used, Relaxed);
    }
    used
}

/// The highest [`used_memory`] that was ever read: the server reads it many times a second.
pub fn peak_memory() -> usize {
    used_memory();
    PEAK.load(Relaxed)
}

/// jemalloc's own view, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// Handed out to the program, thread caches not counted.
    pub allocated: usize,
    /// In pages that hold allocations: `allocated` plus what is lost inside them.
    pub active: usize,
    /// Mapped and not given back: `active` plus metadata plus dirty pages.
    pub resident: usize,
    /// Mapped in extents.
    pub mapped: usize,
    /// Address space kept for reuse, without memory behind it.
    pub retained: usize,
    /// jemalloc's own structures.
    pub metadata: usize,
    /// Pages given back lazily, which the kernel may still count as ours.
    pub muzzy: usize,
}

/// Refresh and read jemalloc's statistics. Takes jemalloc's locks: for INFO and MEMORY, not for every command.
pub fn stats() -> Stats {
    refresh();
    let muzzy_pages = read(c"stats.arenas.4096.pmuzzy").unwrap_or(0);
    Stats {
        allocated: read(c"stats.allocated").unwrap_or(0),
        active: read(c"stats.active").unwrap_or(0),
        resident: read(c"stats.resident").unwrap_or(0),
        mapped: read(c"stats.mapped").unwrap_or(0),
        retained: read(c"stats.retained").unwrap_or(0),
        metadata: read(c"stats.metadata").unwrap_or(0),
        muzzy: muzzy_pages * PAGE,
    }
}

/// Give unused pages of all arenas back to the system (MEMORY PURGE). True if jemalloc did.
pub fn purge() -> bool {
    control_action(c"arena.4096.purge").is_ok()
}

/// Whether a block stands among so much free room that it is worth moving: more than a quarter of the places of its slab
/// are free. Never so for large blocks, which have pages of their own. Takes no lock of jemalloc.
pub fn is_sparse(block: *const u8) -> bool {
    static NAME: OnceLock<Option<[usize; 3]>> = OnceLock::new();
    let name = NAME.get_or_init(|| {
        let (mut name, mut len) = ([0; 3], 3);
        // SAFETY: the control's name has three parts, for which `name` has room.
        let found = unsafe {
            je::mallctlnametomib(c"experimental.utilization.batch_query".as_ptr(), name.as_mut_ptr(), &mut len)
        };
        (found == 0 && len == 3).then_some(name)
    });
    let Some(name) = name else { return false };
    // Of the slab: its free places, all its places, its bytes.
    let mut slab = [0usize; 3];
    let mut len = size_of_val(&slab);
    let mut asked = block;
    // SAFETY: one pointer goes in and three words come out, as the control has it; it reads nothing behind the pointer.
    let result = unsafe {
        je::mallctlbymib(
            name.as_ptr(),
            name.len(),
            slab.as_mut_ptr().cast(),
            &mut len,
            (&raw mut asked).cast(),
            size_of::<*const u8>(),
        )
    };
    result == 0 && slab[0] * 4 > slab[1]
}

/// Moves a block to where jemalloc has room nearest to the start of memory, past the caches of threads (which would hand
/// out what was freed just now); the place that it left is free at once. Null if there is no memory: then it stays.
///
/// # Safety
/// `block` was allocated by the global allocator with `layout`, and is used at the new address only, if there is one.
pub unsafe fn moved(block: *mut u8, layout: Layout) -> *mut u8 {
    #[cfg(miri)]
    // SAFETY: as below.
    unsafe {
        let to = std::alloc::alloc(layout);
        if !to.is_null() {
            to.copy_from_nonoverlapping(block, layout.size());
            std::alloc::dealloc(block, layout);
        }
        to
    }
    #[cfg(not(miri))]
    // SAFETY: both blocks have `layout.size()` bytes; the size counted stays as it was.
    unsafe {
        let flags = flags(layout) | je::MALLOCX_TCACHE_NONE;
        let to = je::mallocx(layout.size(), flags);
        if !to.is_null() {
            to.cast::<u8>().copy_from_nonoverlapping(block, layout.size());
            je::sdallocx(block.cast(), layout.size(), flags);
        }
        to.cast()
    }
}

/// Gives back what the calling thread keeps for allocations to come. For threads that have nothing to do.
pub fn flush_cache() -> bool {
    control_action(c"thread.tcache.flush").is_ok()
}

/// A control that is a number of eight, four, two or one bytes: its value, after which it becomes `new`, if that is given;
/// no value where it can only be written. The error is the system's number.
pub fn control_number(name: &CStr, new: Option<i64>) -> Result<Option<i64>, c_int> {
    if name.to_bytes().ends_with(b"extent_hooks") {
        // A pointer, which has the size of a number.
        return Err(libc::EPERM);
    }
    let mut value = new.unwrap_or(0);
    for size in [8, 4, 2, 1] {
        let (at, given) =
            if new.is_some() { ((&raw mut value).cast::<c_void>(), size) } else { (std::ptr::null_mut(), 0) };
        let (mut old, mut len) = (0i64, size);
        // SAFETY: both words have eight bytes, of which jemalloc reads and writes the `size` that it is told, and refuses a
        // control of another size. The first bytes are the low ones on the machines that we run on.
        let mut result = unsafe { je::mallctl(name.as_ptr(), (&raw mut old).cast(), &mut len, at, given) };
        if result == libc::EPERM && new.is_some() {
            // It can only be written.
            // SAFETY: as above.
            result = unsafe { je::mallctl(name.as_ptr(), std::ptr::null_mut(), std::ptr::null_mut(), at, given) };
            if result == 0 {
                return Ok(None);
            }
        }
        match result {
            0 => return Ok(Some(old)),
            libc::EINVAL => {}
            error => return Err(error),
        }
    }
    Err(libc::EINVAL)
}

/// Does what a control without a value does, such as `thread.tcache.flush`. The error is the system's number.
pub fn control_action(name: &CStr) -> Result<(), c_int> {
    // SAFETY: no data go in either direction; jemalloc refuses a control that needs some.
    let result =
        unsafe { je::mallctl(name.as_ptr(), std::ptr::null_mut(), std::ptr::null_mut(), std::ptr::null_mut(), 0) };
    if result == 0 { Ok(()) } else { Err(result) }
}

/// Turn jemalloc's background threads on or off (`jemalloc-bg-thread`).
pub fn set_background(on: bool) -> bool {
    write(c"background_thread", on)
}

/// jemalloc's version, as INFO's `mem_allocator` shows it.
pub fn version() -> String {
    let mut text: *const std::ffi::c_char = std::ptr::null();
    let mut len = size_of::<*const std::ffi::c_char>();
    // SAFETY: the control writes one pointer to a constant C string; size and type match.
    let ok =
        unsafe { je::mallctl(c"version".as_ptr(), (&raw mut text).cast(), &mut len, std::ptr::null_mut(), 0) == 0 };
    if !ok || text.is_null() {
        return "jemalloc".to_owned();
    }
    // SAFETY: jemalloc's version is a static NUL-terminated string.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    format!("jemalloc-{}", text.split('-').next().unwrap_or(&text))
}

/// jemalloc's full report (MEMORY MALLOC-STATS).
pub fn report() -> String {
    unsafe extern "C" fn append(out: *mut c_void, text: *const std::ffi::c_char) {
        // SAFETY: `out` is the String that `report` passes and nothing else uses meanwhile; `text` is a C string that
        // jemalloc owns for the duration of the call.
        unsafe { (*out.cast::<String>()).push_str(&CStr::from_ptr(text).to_string_lossy()) };
    }
    let mut out = String::with_capacity(64 << 10);
    // SAFETY: the callback and its argument match, and the String outlives the call.
    unsafe { je::malloc_stats_print(Some(append), (&raw mut out).cast(), std::ptr::null()) };
    out
}

fn refresh() {
    write(c"epoch", 1u64);
}

/// Read a control whose value is a machine word.
fn read(name: &CStr) -> Option<usize> {
    let mut value = 0usize;
    let mut len = size_of::<usize>();
    // SAFETY: the value is a writable word and `len` its size; jemalloc refuses a control of another size.
    let result = unsafe { je::mallctl(name.as_ptr(), (&raw mut value).cast(), &mut len, std::ptr::null_mut(), 0) };
    (result == 0).then_some(value)
}

/// Write a control; jemalloc refuses a value of the wrong size.
fn write<T: Copy>(name: &CStr, mut value: T) -> bool {
    // SAFETY: the value is readable and `size_of::<T>()` its size; jemalloc copies it before it returns.
    unsafe {
        je::mallctl(name.as_ptr(), std::ptr::null_mut(), std::ptr::null_mut(), (&raw mut value).cast(), size_of::<T>())
            == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(size: usize, align: usize) -> usize {
        let layout = Layout::from_size_align(size, align).unwrap();
        // SAFETY: nallocx touches no memory; the size is not zero.
        unsafe { je::nallocx(size, flags(layout)) }
    }

    #[test]
    fn computed_sizes_are_jemallocs() {
        for size in (1..70_000).chain((70_000..5_000_000).step_by(997)).chain((1..40).map(|bit| (1usize << bit) + 1)) {
            assert_eq!(usable_size(size), asked(size, 1), "{size}");
        }
        for align in [8, 16, 32, 64, 128, 1024, 4096, 8192, 65536, 1 << 21] {
            for size in (1..40_000).step_by(7).chain([14336, 14337, 16384, 16385, 1 << 20]) {
                let layout = Layout::from_size_align(size, align).unwrap();
                assert_eq!(usable_layout(layout), asked(size, align), "{size} aligned to {align}");
            }
        }
        assert_eq!(usable_size(56), 56, "the build must set lg_quantum 3");
    }

    #[test]
    fn what_is_allocated_is_counted_and_what_is_freed_is_not() {
        // Other tests allocate meanwhile; a block far larger than they use shows through.
        const BIG: usize = 256 << 20;
        let before = used_memory();
        let mut block = Vec::<u8>::with_capacity(BIG);
        assert!(used_memory() >= before + BIG - (BIG >> 2));
        block.reserve_exact(2 * BIG);
        assert!(used_memory() >= before + 2 * BIG - (BIG >> 2));
        assert!(peak_memory() >= before + BIG);
        std::thread::spawn(move || drop(block)).join().unwrap();
        assert!(used_memory() < before + BIG);
    }

    #[test]
    fn layouts_of_every_alignment_are_aligned_and_zeroed() {
        for align in (0..16).map(|bit| 1usize << bit) {
            for size in [1, 7, 8, 24, 100, 5000, 20_000] {
                let layout = Layout::from_size_align(size, align).unwrap();
                // SAFETY: the layout is not empty; the block is used within its size and freed with its layout.
                unsafe {
                    let block = std::alloc::alloc_zeroed(layout);
                    assert_eq!(block as usize % align, 0);
                    assert!(std::slice::from_raw_parts(block, size).iter().all(|&b| b == 0));
                    block.write(7);
                    let block = std::alloc::realloc(block, layout, size * 3);
                    assert_eq!((block as usize % align, block.read()), (0, 7));
                    std::alloc::dealloc(block, Layout::from_size_align(size * 3, align).unwrap());
                }
            }
        }
    }

    #[test]
    fn a_block_that_stands_alone_in_its_slab_moves_to_the_others() {
        let layout = Layout::from_size_align(448, 64).unwrap();
        let block = |_| {
            // SAFETY: the layout is not empty.
            let block = unsafe { std::alloc::alloc(layout) };
            // SAFETY: the block is ours.
            unsafe { block.cast::<usize>().write(block.addr()) };
            block
        };
        let all: Vec<*mut u8> = (0..20_000).map(block).collect();
        // One in twenty stays.
        let (mut stay, mut go) = (Vec::new(), Vec::new());
        all.into_iter().enumerate().for_each(|(i, block)| if i % 20 == 0 { stay.push(block) } else { go.push(block) });
        assert!(stay.iter().filter(|block| is_sparse(**block)).count() < 20, "all slabs were full");
        // SAFETY: each was allocated with the layout, and is freed once.
        go.into_iter().for_each(|block| unsafe { std::alloc::dealloc(block, layout) });
        assert!(flush_cache());
        let sparse = stay.iter().filter(|block| is_sparse(**block)).count();
        assert!(sparse > 900, "{sparse} of {}", stay.len());
        for block in &mut stay {
            let was = block.addr();
            if is_sparse(*block) {
                // SAFETY: the block is ours, and used at the new address only.
                *block = unsafe { moved(*block, layout) };
                // SAFETY: a block with what was written into it.
                assert_eq!(unsafe { block.cast::<usize>().read() }, was);
            }
        }
        let sparse = stay.iter().filter(|block| is_sparse(**block)).count();
        assert!(sparse < 100, "{sparse} of {}: more than the last slab or two", stay.len());
        // SAFETY: as above.
        stay.into_iter().for_each(|block| unsafe { std::alloc::dealloc(block, layout) });
    }

    #[test]
    fn controls_of_every_size_are_read_and_written() {
        assert_eq!(control_number(c"arenas.page", None), Ok(Some(PAGE as i64)));
        assert!(matches!(control_number(c"opt.background_thread", None), Ok(Some(0 | 1))));
        let before = control_number(c"arenas.dirty_decay_ms", Some(1234)).unwrap();
        assert_eq!(control_number(c"arenas.dirty_decay_ms", before), Ok(Some(1234)));
        assert_eq!(control_number(c"no.such", None), Err(libc::ENOENT));
        assert_eq!(control_number(c"arena.0.extent_hooks", Some(1)), Err(libc::EPERM));
        assert_eq!(control_action(c"thread.tcache.flush"), Ok(()));
        assert_eq!(control_action(c"no.such"), Err(libc::ENOENT));
    }

    #[test]
    fn statistics_are_compiled_in() {
        let stats = stats();
        assert!(stats.allocated > 0 && stats.resident >= stats.active && stats.mapped > 0, "{stats:?}");
        assert!(purge());
        assert!(version().starts_with("jemalloc-5"), "{}", version());
        assert!(report().contains("jemalloc statistics"));
    }

    #[test]
    fn more_threads_than_slots_still_count() {
        let threads: Vec<_> = (0..SLOTS + 20).map(|_| std::thread::spawn(|| drop(vec![0u8; 1000]))).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(used_memory() > 0);
    }
}
