//! `rdb-key-save-delay`: whoever writes keys into a file waits after each of them.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::base::clock;
use crate::config::Config;
use crate::keyspace::snapshot::Progress;

/// So often is looked whether the wait is over, µs.
const STEP: u64 = 1000;

/// Holds a snapshot back, by what the option says at the moment.
#[derive(Debug)]
pub struct Pace {
    config: Option<&'static Config>,
    waited_for: u64,
}

impl Pace {
    /// `None`: nothing is held back.
    pub fn new(config: Option<&'static Config>) -> Pace {
        Pace { config, waited_for: 0 }
    }
    /// Waits for the keys that were encoded since the last time. An error of kind `Interrupted`, at once, if `cancel` is set.
    pub fn wait(&mut self, progress: &Progress, cancel: &AtomicBool) -> io::Result<()> {
        let keys = progress.done.load(Relaxed) as u64;
        let new = keys - std::mem::replace(&mut self.waited_for, keys);
        let wait = || self.config.map_or(0, |config| new.saturating_mul(config.rdb_key_save_delay().max(0) as u64));
        let mut waited = 0;
        while waited < wait() && !cancel.load(Relaxed) {
            let step = (wait() - waited).min(STEP);
            clock::pause_us(step);
            waited += step;
        }
        if cancel.load(Relaxed) {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "cancelled"));
        }
        Ok(())
    }
}
