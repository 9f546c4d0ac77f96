//! Which CPUs threads may run on (`server-cpulist` and its like).
//!
//! The lists are given once, before threads are started; each thread enters its duty, and so do those that it starts.

use std::io;
use std::sync::OnceLock;

use super::os;

/// The greatest number of a CPU, as the kernel's sets have it.
const MOST: usize = 1023;

/// What a thread does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duty {
    /// It executes commands, or is none of the others.
    Server,
    /// It frees memory, or writes the append-only file.
    Background,
    /// It writes the append-only file anew.
    Rewrite,
    /// It writes a snapshot to disk.
    Snapshot,
}

static LISTS: OnceLock<[Vec<usize>; 4]> = OnceLock::new();

/// Takes the lists for the duties in their order, an empty one for wherever the server may run. Fails, with the number of the
/// list, if the system has none of its CPUs.
pub fn configure(lists: [Vec<usize>; 4]) -> Result<(), (usize, io::Error)> {
    let all = os::allowed_cpus();
    for (at, list) in lists.iter().enumerate().filter(|(_, list)| !list.is_empty()) {
        os::set_allowed_cpus(list).map_err(|e| (at, e))?;
    }
    if lists.iter().any(|list| !list.is_empty()) {
        os::set_allowed_cpus(&all).map_err(|e| (Duty::Server as usize, e))?;
    }
    // A second call changes nothing.
    let _ = LISTS.set(lists);
    Ok(())
}

/// Binds the calling thread to the CPUs of its duty, if there is a list of them.
pub fn enter(duty: Duty) {
    if let Some(list) = LISTS.get().map(|lists| &lists[duty as usize]).filter(|list| !list.is_empty()) {
        // It could at the start. CPUs that went since then are the system's affair.
        let _ = os::set_allowed_cpus(list);
    }
}

/// Reads a list: numbers and ranges with commas between them, `0,2-5,8-14:2`, where the last takes every second.
pub fn parse(text: &str) -> Option<Vec<usize>> {
    let number =
        |text: &str| text.parse::<usize>().ok().filter(|n| *n <= MOST && text.bytes().all(|c| c.is_ascii_digit()));
    let mut all = Vec::new();
    for part in text.split(',').map(str::trim).filter(|_| !text.is_empty()) {
        let (range, step) = match part.split_once(':') {
            Some((range, step)) if range.contains('-') => (range, number(step).filter(|step| *step > 0)?),
            Some(_) => return None,
            None => (part, 1),
        };
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return None;
        }
        all.extend((first..=last).step_by(step));
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_numbers_ranges_and_steps() {
        assert_eq!(parse(""), Some(vec![]));
        assert_eq!(parse("3"), Some(vec![3]));
        assert_eq!(parse("0,2-5,8-14:2"), Some(vec![0, 2, 3, 4, 5, 8, 10, 12, 14]));
        assert_eq!(parse("1, 2"), Some(vec![1, 2]));
        for bad in
            ["x", "1,", ",1", "-1", "1-", "5-2", "1:2", "1-4:0", "1-4:x", "1024", "+1", "1 2", "99999999999999999999"]
        {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
