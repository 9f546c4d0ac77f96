//! What the operating system knows about this process and this machine: memory, CPU time, limits, names.
//!
//! Read for INFO and at start, never on a command's path. One of the few modules with `unsafe`: plain libc calls on
//! plain structures, each argued where it stands.

use std::ffi::OsString;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// The path that a setting names: any bytes.
pub fn path(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes))
}

/// CPU seconds of the process or a part of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CpuTimes {
    /// In user space.
    pub user: f64,
    /// In the kernel.
    pub system: f64,
}

/// Whose CPU time to read.
#[derive(Clone, Copy, Debug)]
pub enum CpuOf {
    /// All threads of this process.
    Process,
    /// The calling thread.
    Thread,
    /// Children that have ended and been waited for.
    Children,
}

/// CPU seconds used so far.
pub fn cpu_times(of: CpuOf) -> CpuTimes {
    let who = match of {
        CpuOf::Process => libc::RUSAGE_SELF,
        CpuOf::Thread => libc::RUSAGE_THREAD,
        CpuOf::Children => libc::RUSAGE_CHILDREN,
    };
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `usage` is a writable rusage; all-zero bytes are a valid one, should the call fail.
    let usage = unsafe {
        libc::getrusage(who, usage.as_mut_ptr());
        usage.assume_init()
    };
    let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
    CpuTimes { user: seconds(usage.ru_utime), system: seconds(usage.ru_stime) }
}

/// What the scheduler knows of a thread.
#[derive(Clone, Debug, PartialEq)]
pub struct ThreadTimes {
    /// The thread's name.
    pub name: String,
    /// Seconds on a CPU.
    pub running: f64,
    /// Seconds that it could have run and no CPU was free.
    pub waiting: f64,
}

/// The threads of this process; none where /proc is missing or the kernel keeps no such statistics.
pub fn thread_times() -> Vec<ThreadTimes> {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return Vec::new() };
    let read = |task: std::fs::DirEntry| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        let mut fields = text.split_ascii_whitespace().map(|field| field.parse::<u64>().unwrap_or(0) as f64 / 1e9);
        let name = std::fs::read_to_string(task.path().join("comm")).ok()?.trim_end().to_owned();
        Some(ThreadTimes { name, running: fields.next()?, waiting: fields.next()? })
    };
    tasks.filter_map(|task| read(task.ok()?)).collect()
}

/// The CPUs that the calling thread may run on.
pub fn allowed_cpus() -> Vec<usize> {
    // SAFETY: a set is plain bits, of which none is a valid state.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is writable and its size given; 0 is the calling thread.
    let failed = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &mut set) } != 0;
    if failed {
        return Vec::new();
    }
    // SAFETY: each number is below the size of the set.
    (0..libc::CPU_SETSIZE as usize).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) }).collect()
}

/// Lets the calling thread run on these CPUs only. Fails if there is none of them.
pub fn set_allowed_cpus(cpus: &[usize]) -> std::io::Result<()> {
    // SAFETY: as in `allowed_cpus`.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for cpu in cpus.iter().filter(|cpu| **cpu < libc::CPU_SETSIZE as usize) {
        // SAFETY: the number is below the size of the set.
        unsafe { libc::CPU_SET(*cpu, &mut set) };
    }
    // SAFETY: `set` is readable and its size given; 0 is the calling thread.
    match unsafe { libc::sched_setaffinity(0, size_of_val(&set), &set) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// How many threads this process has; 0 where /proc is missing.
pub fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, |list| list.count())
}

/// Address space of this process in bytes; 0 where /proc is missing.
pub fn virtual_bytes() -> usize {
    kib_of("/proc/self/status", "VmSize:")
}

/// Open files of this process, and how many there may be; zeros where /proc is missing.
pub fn open_files() -> (usize, u64) {
    // Linux tells the number as the directory's size from 6.2 on; listing ten thousand files takes milliseconds.
    let open = match std::fs::metadata("/proc/self/fd").map_or(0, |fd| fd.len()) {
        0 => std::fs::read_dir("/proc/self/fd").map_or(0, |list| list.count()),
        known => known as usize,
    };
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a writable rlimit.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    (open, limit.rlim_cur)
}

/// Resident memory of this process in bytes; 0 where /proc is missing.
pub fn resident_bytes() -> usize {
    let Ok(statm) = std::fs::read_to_string("/proc/self/statm") else { return 0 };
    let pages: usize = statm.split_ascii_whitespace().nth(1).and_then(|field| field.parse().ok()).unwrap_or(0);
    pages * page_size()
}

/// The highest resident memory so far in bytes; 0 where /proc is missing.
pub fn peak_resident_bytes() -> usize {
    kib_of("/proc/self/status", "VmHWM:")
}

/// The machine's memory in bytes; 0 where /proc is missing.
pub fn total_memory() -> usize {
    kib_of("/proc/meminfo", "MemTotal:")
}

/// Whether so many bytes are more than the machine has, so that asking for them would end the process. What any machine has is
/// not looked up.
pub fn exceeds_memory(bytes: usize) -> bool {
    bytes > 1 << 29 && matches!(total_memory(), total if total > 0 && bytes > total)
}

/// The line of a /proc file that starts with `name` holds a number of KiB: that in bytes.
fn kib_of(path: &str, name: &str) -> usize {
    let Ok(text) = std::fs::read_to_string(path) else { return 0 };
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<usize>().ok()).unwrap_or(0) * 1024
}

/// Bytes of a memory page.
pub fn page_size() -> usize {
    // SAFETY: no pointers; the call only reads a constant.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096)
}

/// How many CPUs this process may use.
pub fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The kernel's name, release and machine, as `uname -srm` prints them.
pub fn uname() -> String {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/sys/kernel/{name}")).unwrap_or_default();
    format!("{} {} {}", read("ostype").trim(), read("osrelease").trim(), std::env::consts::ARCH)
}

/// Raise the limit of open files to at least `wanted` as far as permitted, and return what it is then.
pub fn raise_open_files(wanted: u64) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a writable rlimit.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return 1024;
    }
    if limit.rlim_cur >= wanted {
        return limit.rlim_cur;
    }
    let before = limit.rlim_cur;
    // First with a higher ceiling, which only root may ask for, then up to the ceiling there is.
    for ceiling in [limit.rlim_max.max(wanted), limit.rlim_max] {
        let raised = libc::rlimit { rlim_cur: wanted.min(ceiling), rlim_max: ceiling };
        // SAFETY: `raised` is an initialised rlimit that the call only reads.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raised) } == 0 {
            return raised.rlim_cur;
        }
    }
    before
}

/// A moment on the wall clock of this place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalTime {
    /// Year.
    pub year: i32,
    /// 1 to 12.
    pub month: i32,
    /// 1 to 31.
    pub day: i32,
    /// 0 to 23.
    pub hour: i32,
    /// 0 to 59.
    pub minute: i32,
    /// 0 to 60.
    pub second: i32,
    /// Seconds east of UTC.
    pub offset: i32,
}

/// The local time of a moment, in Unix seconds.
pub fn local_time(seconds: i64) -> LocalTime {
    let mut tm = MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both pointers are valid for the call; all-zero bytes are a valid tm, should the call fail.
    let tm = unsafe {
        libc::localtime_r(&seconds, tm.as_mut_ptr());
        tm.assume_init()
    };
    LocalTime {
        year: tm.tm_year + 1900,
        month: tm.tm_mon + 1,
        day: tm.tm_mday,
        hour: tm.tm_hour,
        minute: tm.tm_min,
        second: tm.tm_sec,
        offset: tm.tm_gmtoff as i32,
    }
}

/// Go on as a process in the background: in a session of its own, cut off from the terminal. The calling process ends
/// here; what returns is its child. To be called before any thread is started, for only the caller's lives on.
pub fn daemonize() -> std::io::Result<()> {
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    // SAFETY: there is one thread (the caller's promise), so the child has no lock that another thread held. The
    // parent leaves by _exit, which runs no destructor a second time.
    unsafe {
        match libc::fork() {
            -1 => return Err(std::io::Error::last_os_error()),
            0 => {}
            _ => libc::_exit(0),
        }
        libc::setsid();
        for standard in 0..=2 {
            libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&null), standard);
        }
    }
    Ok(())
}

/// Have `command`'s process told to end (SIGTERM) when the calling thread ends, however that happens.
pub fn end_with_this_thread(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;
    let parent = std::process::id();
    // SAFETY: between fork and exec only prctl, getppid and the making of an error from a number run: none allocates or
    // takes a lock.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            // It may have ended before the prctl.
            if libc::getppid() as u32 != parent {
                return Err(std::io::Error::from_raw_os_error(libc::ESRCH));
            }
            Ok(())
        });
    }
}

/// End this process by SIGSEGV, as a wrong access to memory would.
pub fn end_by_segfault() -> ! {
    // SAFETY: the default action is set for a signal whose handler nobody counts on any more; no memory is touched.
    unsafe {
        libc::signal(libc::SIGSEGV, libc::SIG_DFL);
        libc::raise(libc::SIGSEGV);
    }
    std::process::abort()
}

/// Ask a child process, which was not waited for, to end: SIGTERM.
pub fn ask_to_end(child: &std::process::Child) {
    // SAFETY: a plain call; the id is that of a child that is not reaped, so it names no other process.
    unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGTERM) };
}

/// Keep the kernel from giving this process transparent huge pages, which make copy and free in bits costly.
pub fn disable_huge_pages() -> bool {
    // SAFETY: this prctl takes numbers only.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0 }
}

/// The id of a group of users, by its name or its number.
pub fn group_id(name: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(name).ok()?;
    if let Ok(id) = text.parse() {
        return Some(id);
    }
    let name = std::ffi::CString::new(name).ok()?;
    let (mut entry, mut found) = (std::mem::MaybeUninit::uninit(), std::ptr::null_mut());
    let mut buf = vec![0; 16 << 10];
    // SAFETY: all pointers are to memory of ours, and the length is the buffer's.
    let failed =
        unsafe { libc::getgrnam_r(name.as_ptr(), entry.as_mut_ptr(), buf.as_mut_ptr(), buf.len(), &mut found) };
    // SAFETY: `found` is null or points to the entry that was filled in.
    (failed == 0 && !found.is_null()).then(|| unsafe { (*found).gr_gid })
}

static COLLATES: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// Chooses the locale that [`collate`] compares by; empty: the environment's. False if the system has no such locale.
pub fn set_collation(locale: &str) -> bool {
    let Ok(name) = std::ffi::CString::new(locale) else { return false };
    // SAFETY: a valid C string; the returned one is only looked at here, before the locale can change again.
    let (known, bytewise) = unsafe {
        let set = libc::setlocale(libc::LC_COLLATE, name.as_ptr());
        let known = !set.is_null();
        (known, known && matches!(std::ffi::CStr::from_ptr(set).to_bytes(), b"C" | b"POSIX"))
    };
    if known {
        COLLATES.store(!bytewise, std::sync::atomic::Ordering::Relaxed);
    }
    known
}

/// Compares two strings by the rules of the locale (`locale-collate`); byte by byte in the C locale.
pub fn collate(a: &[u8], b: &[u8]) -> std::cmp::Ordering {
    if !COLLATES.load(std::sync::atomic::Ordering::Relaxed) {
        return a.cmp(b);
    }
    match (std::ffi::CString::new(a), std::ffi::CString::new(b)) {
        // SAFETY: valid C strings.
        (Ok(x), Ok(y)) => unsafe { libc::strcoll(x.as_ptr(), y.as_ptr()) }.cmp(&0),
        // A NUL inside is nothing that a locale knows.
        _ => a.cmp(b),
    }
}

/// Asks the kernel to begin writing a range of a file to the disk. Only a hint: a file system that does not know of it
/// loses nothing.
pub fn begin_writeback(file: &std::fs::File, offset: u64, len: u64) {
    use std::os::fd::AsRawFd;
    // SAFETY: a call on a file descriptor that is open while `file` is borrowed.
    unsafe {
        libc::sync_file_range(file.as_raw_fd(), offset as i64, len as i64, libc::SYNC_FILE_RANGE_WRITE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_figures_are_plausible() {
        let (resident, peak, total) = (resident_bytes(), peak_resident_bytes(), total_memory());
        assert!(resident > 1 << 20 && peak >= 1 << 20 && total > resident, "{resident} {peak} {total}");
        assert!(page_size().is_power_of_two() && cpus() >= 1);
    }

    #[test]
    fn cpu_time_grows() {
        let before = cpu_times(CpuOf::Process);
        let mut x = 1u64;
        while cpu_times(CpuOf::Process).user - before.user < 0.01 {
            x = x.wrapping_mul(3);
        }
        assert!(x != 0 && cpu_times(CpuOf::Thread).user >= 0.0 && cpu_times(CpuOf::Children).system >= 0.0);
    }

    #[test]
    fn local_time_counts_from_its_offset() {
        let t = local_time(1_700_000_000);
        assert_eq!((t.year, t.month), (2023, 11));
        assert!((1..=31).contains(&t.day) && t.offset.abs() <= 14 * 3600);
        let utc = 1_700_000_000 + i64::from(t.offset);
        assert_eq!(i64::from(t.hour * 3600 + t.minute * 60 + t.second), utc % 86_400);
    }

    #[test]
    fn names_and_limits_are_there() {
        assert!(uname().starts_with("Linux "));
        assert!(raise_open_files(64) >= 64);
    }
}
