//! Scripts that have run for so long that others hear of them: what they are, and the wish to end them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};

use parking_lot::Mutex;

use crate::base::clock;
use crate::resp::Error;

/// A script that is busy.
#[derive(Debug)]
pub struct Run {
    /// The hash of the script, or the name of the function.
    pub name: String,
    /// It is a script, not a function.
    pub eval: bool,
    /// The command that runs it.
    pub argv: Vec<Vec<u8>>,
    /// When it began, monotonic ns.
    pub start: u64,
    /// A primary or a file sent it: it is not to be ended.
    pub obeyed: bool,
    /// A client debugs it.
    pub debugged: bool,
    /// It has written.
    pub wrote: AtomicBool,
    killed: AtomicBool,
}

impl Run {
    /// A script that has become busy.
    pub fn new(name: &str, eval: bool, argv: &[&[u8]], start: u64, obeyed: bool) -> Run {
        let argv = argv.iter().map(|a| a.to_vec()).collect();
        let (wrote, killed) = (AtomicBool::new(false), AtomicBool::new(false));
        Run { name: name.to_owned(), eval, argv, start, obeyed, debugged: false, wrote, killed }
    }
    /// Whether it is to end.
    pub fn is_killed(&self) -> bool {
        self.killed.load(Relaxed)
    }
    /// The text of its end.
    pub fn killed_by(&self) -> &'static str {
        match self.eval {
            true => "Script killed by user with SCRIPT KILL.",
            false => "Script killed by user with FUNCTION KILL.",
        }
    }
    /// How long it has run, ms.
    pub fn duration_ms(&self) -> u64 {
        (clock::mono_ns().saturating_sub(self.start)) / 1_000_000
    }
}

/// The busy scripts.
#[derive(Default)]
pub struct Running {
    list: Mutex<Vec<Arc<Run>>>,
    count: AtomicUsize,
}

/// A busy script: what SCRIPT KILL ends.
pub const BUSY_SCRIPT: Error =
    Error::new("BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.");
/// A busy function.
pub const BUSY_FUNCTION: Error =
    Error::new("BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.");

impl Running {
    /// Adds one.
    pub fn enter(&self, run: Arc<Run>) {
        let mut list = self.list.lock();
        list.push(run);
        self.count.store(list.len(), Release);
    }
    /// Removes one. True if none is left.
    pub fn leave(&self, run: &Arc<Run>) -> bool {
        let mut list = self.list.lock();
        list.retain(|r| !Arc::ptr_eq(r, run));
        self.count.store(list.len(), Release);
        list.is_empty()
    }
    /// Whether there is any.
    #[inline]
    pub fn any(&self) -> bool {
        self.count.load(Relaxed) != 0
    }
    /// The one that is busy for longest.
    pub fn first(&self) -> Option<Arc<Run>> {
        self.list.lock().first().cloned()
    }
    /// Whether a client debugs one.
    pub fn any_debugged(&self) -> bool {
        self.any() && self.list.lock().iter().any(|run| run.debugged)
    }
    /// What others are told.
    pub fn refusal(&self) -> Error {
        match self.first() {
            Some(run) if !run.eval => BUSY_FUNCTION,
            _ => BUSY_SCRIPT,
        }
    }
    /// SCRIPT KILL (`eval`) or FUNCTION KILL: ends those that may be ended.
    pub fn kill(&self, eval: bool) -> Result<(), Error> {
        let list = self.list.lock();
        let mut why = Error::new("NOTBUSY No scripts in execution right now.");
        let mut any = false;
        for run in list.iter() {
            why = if run.obeyed {
                Error::new(
                    "UNKILLABLE The busy script was sent by a master instance in the context of replication and cannot \
                     be killed.",
                )
            } else if run.wrote.load(Relaxed) {
                Error::new(
                    "UNKILLABLE Sorry the script already executed write commands against the dataset. You can either \
                     wait the script termination or kill the server in a hard way using the SHUTDOWN NOSAVE command.",
                )
            } else if run.eval != eval {
                if eval { BUSY_FUNCTION } else { BUSY_SCRIPT }
            } else {
                run.killed.store(true, Release);
                any = true;
                continue;
            };
        }
        if any { Ok(()) } else { Err(why) }
    }
}
