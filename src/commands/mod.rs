//! Every command: metadata, handler and tests together, a file a verb or a few related verbs.
//!
//! A handler is a plain function: it gets its arguments and a [`Ctx`], writes its reply, and returns an error to be
//! replied in its place. The locks of its keys are held while it runs (see [`Scope`]). To add a command, write its file
//! and add its line to [`table`].

pub mod collections;
pub mod compatibility;
pub mod ctx;
pub mod gate;
pub mod help;
pub mod lookup;
pub mod options;
pub mod redact;
pub mod state;
pub mod table;
#[cfg(test)]
pub(crate) mod testing;
pub mod text;

pub mod acl;
pub mod bitmap;
pub mod cluster;
pub mod connection;
pub mod generic;
pub mod geo;
pub mod hash;
pub mod hyperloglog;
pub mod list;
pub mod persistence;
pub mod pubsub;
pub mod replication;
pub mod scripting;
pub mod server;
pub mod set;
pub mod stream;
pub mod string;
pub mod transactions;
pub mod zset;

pub use ctx::Ctx;
pub use lookup::{Entry, Lookup};
pub use state::Server;

use crate::resp::Error;
use crate::spec::{Cat, Meta};

/// What a handler returns: the error is the reply, and whatever was written before is dropped.
pub type CmdResult = Result<(), Error>;

/// A handler. `args[0]` is the command's name; arity has been checked.
pub type Handler = fn(&mut Ctx<'_>, &[&[u8]]) -> CmdResult;

/// Which locks a command runs under.
#[derive(Debug, Clone, Copy)]
pub enum Scope {
    /// The slots of its keys, by its key specs.
    Keys,
    /// None: it does not touch the keyspace.
    None,
    /// All slots: it sees or changes everything at once.
    All,
    /// It locks one slot after the other by itself ([`crate::keyspace::Db::with_slot`]). In a transaction: all slots.
    Own,
    /// The slots of the keys that the client watches.
    Watched,
    /// By its arguments.
    Dynamic(fn(&[&[u8]]) -> Scope),
}

/// A command, or the subcommand of a container.
#[derive(Debug)]
pub struct Command {
    /// What it is.
    pub meta: Meta,
    /// What it does.
    pub run: Handler,
    /// Its locks.
    pub scope: Scope,
    /// Its subcommands, where it is a container.
    pub subs: &'static [&'static Command],
    /// The script that it runs. `exec` does that, not the handler.
    pub script: Option<ScriptKind>,
    /// What can be done about a big request before it has its locks.
    pub prepare: Option<Prepare>,
}

/// Makes of a request's payload the value that the handler finds in [`crate::clients::Session::prepared`].
pub type Prepare = fn(&'static Server, &[&[u8]]) -> Result<crate::keyspace::Value, Error>;

/// How a command says which script to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScriptKind {
    /// By its text.
    Text {
        /// It may not write.
        ro: bool,
    },
    /// By its hash.
    Hash {
        /// It may not write.
        ro: bool,
    },
    /// A function by its name.
    Function {
        /// It may not write.
        ro: bool,
    },
}

impl ScriptKind {
    /// Whether the script may not write.
    pub fn read_only(self) -> bool {
        let (ScriptKind::Text { ro } | ScriptKind::Hash { ro } | ScriptKind::Function { ro }) = self;
        ro
    }
}

impl Command {
    /// A command. It locks its keys if it has any.
    pub const fn new(meta: Meta, run: Handler) -> Command {
        let scope = if meta.keys.is_empty() { Scope::None } else { Scope::Keys };
        Command { meta, run, scope, subs: &[], script: None, prepare: None }
    }
    /// A command that runs a script under the locks of the keys that it declares.
    pub const fn of_script(meta: Meta, kind: ScriptKind, scope: Scope) -> Command {
        Command { meta, run: without_handler, scope, subs: &[], script: Some(kind), prepare: None }
    }
    /// A command that is nothing without a subcommand.
    pub const fn container(mut meta: Meta, subs: &'static [&'static Command]) -> Command {
        // What a subcommand does is in its own categories.
        meta.acl = Cat::SLOW;
        Command { meta, run: without_handler, scope: Scope::None, subs, script: None, prepare: None }
    }
    /// A command that has subcommands, and also does something where none is named.
    pub const fn subs(mut self, subs: &'static [&'static Command]) -> Command {
        self.subs = subs;
        self
    }
    /// Its locks with these arguments.
    pub fn scope_for(&self, args: &[&[u8]]) -> Scope {
        match self.scope {
            Scope::Dynamic(by) => by(args),
            scope => scope,
        }
    }
    /// Big requests are prepared.
    pub const fn prepared(mut self, by: Prepare) -> Command {
        self.prepare = Some(by);
        self
    }
    /// Other locks than those of the keys.
    pub const fn scope(mut self, scope: Scope) -> Command {
        self.scope = scope;
        self
    }
}

/// Never called: the arity of a container asks for a subcommand, and an unknown one is refused earlier; and `exec` runs
/// scripts.
fn without_handler(cx: &mut Ctx<'_>, _args: &[&[u8]]) -> CmdResult {
    Err(Error::arity(cx.entry.command.meta.name))
}
