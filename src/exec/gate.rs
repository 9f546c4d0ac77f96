//! What is refused because of the state of the server.

use super::Worker;
use crate::clients::{Close, Session, flags};
use crate::commands::gate::bits;
use crate::commands::lookup::Entry;
use crate::resp::{Error, Mark, Out};
use crate::spec::Flags;

/// The last snapshot failed.
pub(super) const MISCONF_RDB: Error = Error::new(
    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. Commands that may \
     modify the data set are disabled, because this instance is configured to report errors during writes if RDB \
     snapshotting fails (stop-writes-on-bgsave-error option). Please check the Redis logs for details about the RDB error.",
);
/// The append-only file can not be written.
pub(super) const MISCONF_AOF: Error = Error::new("MISCONF Errors writing to the AOF file");
/// Too few replicas are in step.
pub(super) const NOREPLICAS: Error = Error::new("NOREPLICAS Not enough good replicas to write.");
/// The data may be old.
pub(super) const MASTERDOWN: Error =
    Error::new("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.");

impl Worker {
    /// Whether a plain command may run in the present state without being looked at closer.
    #[inline]
    pub(super) fn is_open(&self, flags: Flags) -> bool {
        self.gate == 0
            || self.trusted
            || self.gate == bits::REPLICA && !flags.any(Flags::WRITE.or(Flags::MAY_REPLICATE))
    }

    /// Why the state of the server keeps the command from running, if it does.
    pub(super) fn barred(&self, session: &Session, entry: &Entry) -> Option<Error> {
        if session.primary && self.gate & bits::REPLICA == 0 {
            return Some(Error::new("ERR this node does not follow a primary any more"));
        }
        if self.denied {
            // A script keeps the locks.
            return Some(self.server.running.refusal());
        }
        // Replicas are not paused, so they are not to do what a pause is for.
        if session.client.has(flags::REPLICA)
            && [Flags::WRITE, Flags::READONLY, Flags::MAY_REPLICATE]
                .into_iter()
                .any(|flag| self.does(session, entry, flag))
        {
            return Some(Error::new("ERR Replica can't interact with the keyspace"));
        }
        if self.gate == 0 || session.internal {
            return None;
        }
        let config = self.server.config;
        let writes = || self.does(session, entry, Flags::WRITE);
        let has = |bit| self.gate & bit != 0;
        let writes_or_pings = || writes() || entry.command.meta.name == "ping";
        if has(bits::SNAPSHOT) && !has(bits::REPLICA) && writes_or_pings() {
            return Some(MISCONF_RDB);
        }
        if has(bits::FILE) && !has(bits::REPLICA) && writes_or_pings() {
            return Some(MISCONF_AOF);
        }
        if has(bits::FEW_REPLICAS) && !has(bits::REPLICA) && writes() {
            return Some(NOREPLICAS);
        }
        if has(bits::REPLICA) && config.replica_read_only() && writes() {
            return Some(Error::READONLY);
        }
        let lacks = |flag| !self.flags.has(flag) || self.queues_without(session, entry, flag);
        if has(bits::REPLICA) && has(bits::STALE) && !config.replica_serve_stale_data() && lacks(Flags::STALE) {
            return Some(MASTERDOWN);
        }
        if has(bits::LOADING) && lacks(Flags::LOADING) {
            return Some(Error::LOADING);
        }
        if has(bits::ASIDE) && entry.flags().has(Flags::NO_ASYNC_LOADING) {
            return Some(Error::LOADING);
        }
        if has(bits::BUSY) && !self.server.running.any() {
            // It has just ended.
        } else if has(bits::BUSY) && !entry.flags().has(Flags::ALLOW_BUSY) {
            return Some(self.server.running.refusal());
        }
        None
    }

    /// The connection of a replica has executed something: there is no room in the stream for replies to it. Whoever causes one
    /// is disconnected, without it.
    pub(super) fn see_to_replica(&self, session: &mut Session, argv: &[&[u8]], mark: Mark, out: &mut Out) {
        if !out.has_grown_since(mark) {
            return;
        }
        let name = self.server.lookup.resolve(argv).map_or("<unknown>", |entry| entry.command.meta.name);
        if let Some(text) = out.error_since(mark) {
            let text = String::from_utf8_lossy(text);
            tracing::warn!(
                "== CRITICAL == This primary is sending an error to its replica: '{text}' after processing the command '{name}'"
            );
        }
        let client = &session.client;
        tracing::warn!(
            "Replica generated a reply to command '{name}', disconnecting it: id={} addr={}",
            client.id,
            client.addr
        );
        out.truncate(mark);
        session.close = Close::Now;
    }

    /// With EXEC: whether a queued command lacks the flag.
    fn queues_without(&self, session: &Session, entry: &Entry, flag: Flags) -> bool {
        entry.command.meta.name == "exec"
            && session.multi.as_ref().is_some_and(|m| m.queue.iter().any(|q| !q.flags.has(flag)))
    }
}
