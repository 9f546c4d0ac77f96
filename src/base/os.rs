//! What the operating system knows about this process and this machine: memory, CPU time, limits, names.
//!
//! Read for INFO and at start, never on a command's path. One of the few modules with `unsafe`: plain libc calls on
//! plain structures, each argued where it stands.

use std::mem::MaybeUninit;

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
    fn names_and_limits_are_there() {
        assert!(uname().starts_with("Linux "));
        assert!(raise_open_files(64) >= 64);
    }
}
