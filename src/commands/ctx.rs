//! What a handler works with.

use super::CmdResult;
use super::lookup::Entry;
use super::state::Server;
use crate::clients::{Block, NullKind, Session};
use crate::config::Config;
use crate::keyspace::Db;
use crate::keyspace::sample::Sampler;
use crate::metrics::ThreadStats;
use crate::resp::{Error, Out};
use crate::script::Interpreters;

/// The surroundings of one execution of a command. The parts are separate fields, so that a value borrowed from `db` can
/// be written to `out`.
pub struct Ctx<'a> {
    /// The selected database; the slots of the command's scope are locked.
    pub db: Db<'a>,
    /// The reply.
    pub out: &'a mut Out,
    /// The connection.
    pub session: &'a mut Session,
    /// Everything that the server's parts share.
    pub server: &'static Server,
    /// The command being run.
    pub entry: &'static Entry,
    /// Counters of this thread.
    pub stats: &'static ThreadStats,
    /// Random keys.
    pub samplers: &'a mut Vec<Sampler>,
    /// Interpreters for scripts.
    pub interpreters: &'a mut Interpreters,
}

impl<'a> Ctx<'a> {
    /// The configuration.
    pub fn config(&self) -> &'static Config {
        self.server.config
    }
    /// The command's full name in lower case, for error texts.
    pub fn name(&self) -> &'static str {
        self.entry.command.meta.name
    }
    /// The error for a wrong number of arguments.
    pub fn arity(&self) -> Error {
        Error::arity(self.name())
    }
    /// Waits until one of the keys appears: the command will be run again then. `timeout_ms` 0: for ever. Where nobody
    /// can wait (in a transaction), the reply is the one of a wait that ends at once.
    pub fn block(&mut self, keys: &[&[u8]], timeout_ms: i64, null: NullKind) -> CmdResult {
        if self.session.deny_blocking && !self.session.serving {
            write_null(self.out, null);
            return Ok(());
        }
        self.session.block = Some(Block {
            keys: keys.iter().map(|k| k.to_vec()).collect(),
            deadline: (timeout_ms > 0).then(|| self.db.clock.saturating_add(timeout_ms)),
            null,
            ..Block::default()
        });
        Ok(())
    }
}

/// Writes the null that a wait ends with.
pub fn write_null(out: &mut Out, null: NullKind) {
    match null {
        NullKind::Bulk => out.null(),
        NullKind::Array => out.null_array(),
        NullKind::Zero => out.int(0),
    }
}
