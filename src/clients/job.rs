//! Work that a command hands to a thread of its own while its client is blocked: it waits for something outside of the
//! server, and the workers have other clients.

use std::fmt;

use crate::keyspace::Db;
use crate::resp::{Error, Out};

/// How such work reaches keys: under the locks of their slots, for as long as one look or change takes.
pub trait Reach {
    /// Runs `work` on the database that the client had selected, with the locks of these keys' slots. What follows from
    /// it (log, notifications, clients that are blocked for a key) happens when the locks are dropped. Waits while
    /// writes are paused. The flag is false where clients may not write now (the node follows a primary).
    fn with(&mut self, keys: &[&[u8]], work: &mut dyn FnMut(&mut Db<'_>, bool));
    /// From now on clients' writes to these keys' slots are held back, if nobody else holds some back already; the next
    /// [`Reach::with`] finds those through that were under way. It ends with the work.
    fn hold_writes(&mut self, keys: &[&[u8]]);
}

type Work = dyn FnOnce(&mut dyn Reach, &mut Out) -> Result<(), Error> + Send;

/// The work: it writes the reply of the command, or returns the error that is replied in its place.
pub struct Job(pub Box<Work>);

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Job")
    }
}
