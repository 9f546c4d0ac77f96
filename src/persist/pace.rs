//! `rdb-key-save-delay`: whoever writes keys into a file waits after each of them, for a minute in all: no forgotten test stops
//! snapshots for days, and there is no child process that could be killed.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::base::clock;
use crate::config::Config;
use crate::keyspace::snapshot::Progress;

/// So often is looked whether the wait is over, µs.
const STEP: u64 = 1000;
/// The longest that one snapshot is held back, µs.
const MOST: u64 = 60_000_000;

/// Holds a snapshot back, by what the option says at the moment.
#[derive(Debug)]
pub struct Pace {
    config: Option<&'static Config>,
    waited_for: u64,
    /// How long it may still wait, µs.
    left: u64,
}

impl Pace {
    /// `None`: nothing is held back.
    pub fn new(config: Option<&'static Config>) -> Pace {
        Pace { config, waited_for: 0, left: MOST }
    }
    /// Waits for the keys that were encoded since the last time. An error of kind `Interrupted`, at once, if `cancel` is set.
    pub fn wait(&mut self, progress: &Progress, cancel: &AtomicBool) -> io::Result<()> {
        let keys = progress.done.load(Relaxed) as u64;
        let new = keys - std::mem::replace(&mut self.waited_for, keys);
        let wait = || self.config.map_or(0, |config| new.saturating_mul(config.rdb_key_save_delay().max(0) as u64));
        let mut waited = 0;
        while waited < wait() && self.left > 0 && !cancel.load(Relaxed) {
            let step = (wait() - waited).min(STEP).min(self.left);
            clock::pause_us(step);
            waited += step;
            self.left -= step;
        }
        if cancel.load(Relaxed) {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "cancelled"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_of_a_snapshot_has_an_end() {
        let config: &'static Config = Box::leak(Box::new(Config::new()));
        config.set(&[(b"rdb-key-save-delay", b"2000000000")], false).unwrap();
        let mut pace = Pace { left: 3000, ..Pace::new(Some(config)) };
        let (progress, cancel) = (Progress::default(), AtomicBool::new(false));
        for keys in [1, 1000] {
            progress.done.store(keys, Relaxed);
            pace.wait(&progress, &cancel).unwrap();
        }
        assert_eq!(pace.left, 0);
        cancel.store(true, Relaxed);
        assert_eq!(pace.wait(&progress, &cancel).unwrap_err().kind(), io::ErrorKind::Interrupted);
    }
}
