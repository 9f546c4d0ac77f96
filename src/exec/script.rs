//! EVAL, EVALSHA and FCALL: what runs around a script, and the commands that it calls.
//!
//! A script runs under the locks of the keys that its command declares. When it touches another key, that slot's lock is
//! taken too, if it is free. If it is not, then
//!
//! 1. a script that has not written yet is stopped, and its command runs again under the locks of all slots;
//! 2. one that has written waits for the slot; whoever waits for locks with others in hand lets those go meanwhile
//!    ([`crate::keyspace::Held::also_urgent`]). Of two such scripts that want each other's slots one gets an error for the
//!    command that it called: each has written what the other is to see before it, and nothing written is taken back. That
//!    is for scripts that write first and only then touch a key, undeclared, which another such script holds; one that
//!    reads its undeclared keys before it writes, or declares them, never meets it.
//!
//! Locks are held until the script ends, so it takes effect as one in every case.
//!
//! A script of a client runs on a stack of its own ([`crate::base::coroutine`]). Once it has run for `busy-reply-threshold` it
//! is left half-way every so often, with its locks, and the worker serves its other connections: they hear BUSY, and can end
//! it. While it is left nobody on that thread may wait for a lock without end: clients' commands are refused before they ask
//! for one, and whatever else wants one gives up after a moment and is put off.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::call::Parts;
use super::debug::Talk;
use super::gate;
use super::route::{self, Route};
use crate::acl::Context;
use crate::base::{clock, coroutine, num, slot};
use crate::clients::Session;
use crate::commands::gate::bits;
use crate::commands::lookup::Entry;
use crate::commands::server::monitor;
use crate::commands::{CmdResult, Scope, ScriptKind, Server};
use crate::keyspace::{Located, SLOTS};
use crate::resp::{Error, Out, Proto};
use crate::script::vm::{Called, Compiled, Host, Job, Vm};
use crate::script::{Debugger, Interpreters, Run, ScriptFlags, cache, interpreters};
use crate::spec::Flags;

/// The slot that the commands inside of a script or transaction have in common.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum InnerSlot {
    /// None of them had keys.
    #[default]
    None,
    /// All keys are in this one.
    One(u16),
    /// They are in several.
    Several,
}

impl InnerSlot {
    /// Another of them is on this slot.
    pub fn add(&mut self, slot: u16) {
        *self = match *self {
            InnerSlot::None => InnerSlot::One(slot),
            InnerSlot::One(known) if known == slot => return,
            _ => InnerSlot::Several,
        };
    }
}

/// What a worker keeps from script to script.
#[derive(Default)]
pub struct Scripts {
    /// The interpreters.
    pub interpreters: Interpreters,
    /// The session in which scripts call commands.
    session: Option<Box<Session>>,
    /// Where their replies go.
    out: Option<Out>,
    /// The command that just ran did nothing, and is to run again under all locks.
    pub wants_all: bool,
    /// The script ended with an error that the statistics have from the command that it called.
    pub counted: bool,
    /// Memory was over the limit before the command.
    pub oom: bool,
    /// The slot of the commands of a script or transaction, as far as it was executed.
    pub inner: InnerSlot,
    /// The debugger of the script that is about to run, or just ran.
    pub debugger: Option<Box<Debugger>>,
    /// What the interpreters were last known to use.
    published: [usize; 2],
}

impl Scripts {
    /// Tells others what the interpreters use.
    fn publish(&mut self, server: &Server, interpreters: &Interpreters) {
        let used = interpreters.memory();
        for (used, (published, total)) in
            used.into_iter().zip(self.published.iter_mut().zip(&server.interpreter_memory))
        {
            if used.abs_diff(*published) >= 4096 {
                let before = std::mem::replace(published, used);
                total.fetch_add(used.wrapping_sub(before), Relaxed);
            }
        }
    }
    /// Gives up the interpreter of scripts that were all forgotten.
    pub(super) fn tidy(&mut self, server: &Server) {
        if self.interpreters.forget_stale(&server.scripts) {
            let interpreters = std::mem::take(&mut self.interpreters);
            self.publish(server, &interpreters);
            self.interpreters = interpreters;
        }
    }
}

/// What a script is and may do.
struct Plan<'a> {
    name: &'a str,
    eval: bool,
    flags: ScriptFlags,
    read_only: bool,
    keys: &'a [&'a [u8]],
    args: &'a [&'a [u8]],
}

impl Parts<'_> {
    /// Runs the script that a command asks for.
    pub(super) fn script(
        &mut self,
        kind: ScriptKind,
        session: &mut Session,
        argv: &[&[u8]],
        now: i64,
        out: &mut Out,
    ) -> CmdResult {
        let mut interpreters = std::mem::take(&mut self.scripts.interpreters);
        let result = self.find_and_run(&mut interpreters, kind, session, argv, now, out);
        self.scripts.publish(self.server, &interpreters);
        self.scripts.interpreters = interpreters;
        result
    }

    fn find_and_run(
        &mut self,
        interpreters: &mut Interpreters,
        kind: ScriptKind,
        session: &mut Session,
        argv: &[&[u8]],
        now: i64,
        out: &mut Out,
    ) -> CmdResult {
        let server = self.server;
        let limit = server.script_memory_limit();
        let numkeys = |bad: Error| {
            let n = num::parse_i64(argv[2]).ok_or(bad)?;
            match usize::try_from(n) {
                Err(_) => Err(Error::new("ERR Number of keys can't be negative")),
                Ok(n) if n > argv.len() - 3 => {
                    Err(Error::new("ERR Number of keys can't be greater than number of args"))
                }
                Ok(n) => Ok(n),
            }
        };
        let read_only = kind.read_only();
        if let ScriptKind::Function { .. } = kind {
            let Some((library, number)) = server.libraries.function(argv[1]) else {
                return Err(Error::new("ERR Function not found"));
            };
            let n = numkeys(Error::new("ERR Bad number of keys provided"))?;
            let function = &library.functions[number];
            let name = String::from_utf8_lossy(&function.name);
            let (keys, args) = (&argv[3..3 + n], &argv[3 + n..]);
            let plan = Plan { name: &name, eval: false, flags: function.flags, read_only, keys, args };
            self.prepare(session, &plan)?;
            let (vm, compiled) = interpreters.function(&server.libraries, limit, &library, number)?;
            return self.run_script(vm, compiled, &plan, session, argv, now, out);
        }
        let sha = match kind {
            ScriptKind::Hash { .. } => Some(cache::sha_of(argv[1]).ok_or(interpreters::NOSCRIPT)?),
            _ => None,
        };
        let n = numkeys(Error::NOT_INT)?;
        let (vm, script, compiled) = match sha {
            Some(sha) => interpreters.script_of(&server.scripts, limit, sha)?,
            None => interpreters.script(&server.scripts, limit, argv[1])?,
        };
        let (keys, args) = (&argv[3..3 + n], &argv[3 + n..]);
        let plan = Plan { name: script.name(), eval: true, flags: script.flags, read_only, keys, args };
        self.prepare(session, &plan)?;
        self.run_script(vm, compiled, &plan, session, argv, now, out)
    }

    /// What keeps a script from running at all.
    fn prepare(&self, session: &Session, plan: &Plan<'_>) -> CmdResult {
        let (flags, config) = (plan.flags, self.server.config);
        let has = |bit| self.gate & bit != 0;
        let stale = has(bits::REPLICA) && has(bits::STALE) && !config.replica_serve_stale_data();
        let obeyed = session.internal;
        if flags.has(ScriptFlags::COMPAT) {
            return if stale && !obeyed { Err(gate::MASTERDOWN) } else { Ok(()) };
        }
        if flags.has(ScriptFlags::NO_CLUSTER) && self.server.cluster.is_enabled() {
            return Err(Error::new("ERR Can not run script on cluster, 'no-cluster' flag is set."));
        }
        if stale && !flags.has(ScriptFlags::ALLOW_STALE) && !obeyed {
            return Err(Error::new(
                "MASTERDOWN Link with MASTER is down, replica-serve-stale-data is set to 'no' and 'allow-stale' flag is \
                 not set on the script.",
            ));
        }
        if !flags.has(ScriptFlags::NO_WRITES) {
            if has(bits::REPLICA) && config.replica_read_only() && !obeyed {
                return Err(Error::new("READONLY Can not run script with write flag on readonly replica"));
            }
            if has(bits::SNAPSHOT) && !has(bits::REPLICA) && !obeyed {
                return Err(Error::new(
                    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. \
                     Writable scripts are blocked. Use 'no-writes' flag for read only scripts.",
                ));
            }
            if has(bits::FILE) && !has(bits::REPLICA) && !obeyed {
                return Err(Error::new(
                    "MISCONF Redis is configured to persist data to AOF, but it's currently unable to persist to disk. \
                     Writable scripts are blocked. Use 'no-writes' flag for read only scripts. AOF error: Input/output \
                     error",
                ));
            }
            if plan.read_only {
                return Err(Error::new("ERR Can not execute a script with write flag using *_ro command."));
            }
            if has(bits::FEW_REPLICAS) && !has(bits::REPLICA) && !obeyed {
                return Err(gate::NOREPLICAS);
            }
        }
        if self.scripts.oom && !obeyed && !flags.has(ScriptFlags::ALLOW_OOM.or(ScriptFlags::NO_WRITES)) {
            return Err(Error::new(
                "OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'",
            ));
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments, reason = "what is known of a run")]
    fn run_script(
        &mut self,
        vm: &mut Vm,
        function: Compiled,
        plan: &Plan<'_>,
        session: &mut Session,
        argv: &[&[u8]],
        now: i64,
        out: &mut Out,
    ) -> CmdResult {
        let mut own = self.scripts.session.take().unwrap_or_else(|| {
            let mut own = Box::new(Session::internal(0));
            own.internal = false;
            own
        });
        own.client = session.client.clone();
        own.db = session.db;
        own.written = session.written;
        own.user.clone_from(&session.user);
        own.unrestricted = session.unrestricted;
        own.internal = session.internal;
        own.primary = session.primary;
        own.replaying = session.replaying;
        own.readonly = session.readonly;
        own.asking = session.asking;
        own.no_touch = session.no_touch;
        own.script = Some(clock::now_us());
        (own.tracking, own.caching) = (session.tracking, session.caching);
        let replies = self.scripts.out.take().unwrap_or_default();
        let was_transaction = std::mem::replace(&mut self.fx.in_transaction, true);
        let debugger = self.scripts.debugger.take();
        let talk = session.debug.clone().filter(|_| debugger.is_some()).map(Talk);
        let no_writes = plan.flags.has(ScriptFlags::NO_WRITES) && !plan.flags.has(ScriptFlags::COMPAT);
        let mut host = ScriptHost {
            parts: self,
            session: own,
            out: replies,
            now,
            argv,
            name: plan.name,
            eval: plan.eval,
            read_only: plan.read_only || no_writes,
            allow_oom: plan.flags.has(ScriptFlags::ALLOW_OOM) && !plan.flags.has(ScriptFlags::COMPAT),
            cross_slot: plan.flags.has(ScriptFlags::COMPAT.or(ScriptFlags::CROSS_SLOT)),
            slot: plan.keys.first().map(|k| slot::key_slot(k)),
            wrote: false,
            start: clock::mono_ns(),
            busy: None,
            talk,
            calls: 0,
        };
        let job = Job { function, name: plan.name, keys: plan.keys, args: plan.args };
        let mark = out.place();
        let (failure, debugger) = match debugger {
            None => (vm.run(&job, &mut host, out), None),
            Some(debugger) => vm.debug(debugger, &job, &mut host, out),
        };
        let ScriptHost { session: own, out: replies, busy, .. } = host;
        self.scripts.debugger = debugger;
        if let Some(run) = busy {
            session.client.argv_mem.store(0, Relaxed);
            self.leave_busy(&run);
        }
        self.scripts.session = Some(own);
        self.scripts.out = Some(replies);
        if session.db != session.client.db.load(Relaxed) {
            session.select(session.db);
        }
        self.fx.mask = crate::keyspace::effects::EVERYWHERE;
        self.fx.in_transaction = was_transaction;
        // What it did is in the log already.
        self.fx.dirty = 0;
        self.fx.replaced = true;
        if self.scripts.wants_all {
            out.truncate(mark);
            return Ok(());
        }
        match failure {
            None => Ok(()),
            Some(failure) => {
                out.truncate(mark);
                if failure.counted {
                    out.error(&failure.error);
                    self.scripts.counted = true;
                    return Ok(());
                }
                Err(failure.error)
            }
        }
    }

    fn leave_busy(&self, run: &Arc<Run>) {
        if self.server.running.leave(run) {
            self.server.gate.set(bits::BUSY, false);
            self.server.keyspace.set_busy(false);
        }
    }
}

const STOPPING: &str = "The server is shutting down";

/// A running script.
struct ScriptHost<'a, 'b> {
    parts: &'a mut Parts<'b>,
    session: Box<Session>,
    out: Out,
    now: i64,
    argv: &'a [&'a [u8]],
    name: &'a str,
    eval: bool,
    read_only: bool,
    allow_oom: bool,
    cross_slot: bool,
    /// In a cluster: the slot that its keys are in.
    slot: Option<u16>,
    wrote: bool,
    /// Monotonic ns.
    start: u64,
    busy: Option<Arc<Run>>,
    /// With the client that debugs it.
    talk: Option<Talk>,
    /// Commands called.
    calls: u32,
}

/// Commands between two looks at the clock: those that take long are few instructions of the script.
const LOOK_EVERY: u32 = 256;

/// Why a command is not run.
enum Refusal {
    /// With this text.
    Text(Vec<u8>),
    /// The script stops.
    Stop,
}

impl From<&str> for Refusal {
    fn from(text: &str) -> Refusal {
        Refusal::Text(text.as_bytes().to_vec())
    }
}
impl From<Error> for Refusal {
    fn from(e: Error) -> Refusal {
        Refusal::Text([b"-", e.text()].concat())
    }
}

impl ScriptHost<'_, '_> {
    /// Every check that a command from a script has to pass, in order; its slots are locked afterwards.
    fn check(&mut self, entry: &'static Entry, argv: &[&[u8]]) -> Result<(), Refusal> {
        let server = self.parts.server;
        let config = server.config;
        let flags = entry.flags();
        if !entry.command.meta.arity_fits(argv.len()) {
            return Err("Wrong number of args calling command from script".into());
        }
        if flags.has(Flags::NOSCRIPT) && !server.switches.allow_all_in_scripts.load(Relaxed) {
            return Err("This Redis command is not allowed from script".into());
        }
        let gate = self.parts.gate;
        let has = |bit| gate & bit != 0;
        let obeyed = self.session.internal;
        if has(bits::REPLICA) && has(bits::STALE) && !config.replica_serve_stale_data() && !flags.has(Flags::STALE) {
            return Err("Can not execute the command on a stale replica".into());
        }
        if !self.session.unrestricted {
            let running = self.parts.server.lookup.resolve(self.argv).map_or(entry.id, |caller| caller.id);
            let checked = self.parts.check_user(&self.session, entry, argv, Context::Lua, (running, self.argv));
            if let (Err(why), Some(user)) = (checked, &self.session.user) {
                return Err(Refusal::Text([b"ACL failure in script: ", &why.text(user, false)[..]].concat()));
            }
        }
        if self.read_only && flags.any(Flags::WRITE.or(Flags::MAY_REPLICATE)) {
            return Err("Write commands are not allowed from read-only scripts.".into());
        }
        if flags.has(Flags::WRITE) && !self.wrote {
            if has(bits::REPLICA) && config.replica_read_only() && !obeyed {
                return Err(Error::READONLY.into());
            }
            if has(bits::SNAPSHOT) && !has(bits::REPLICA) && !obeyed {
                return Err(gate::MISCONF_RDB.into());
            }
            if has(bits::FILE) && !has(bits::REPLICA) && !obeyed {
                return Err(gate::MISCONF_AOF.into());
            }
            if has(bits::FEW_REPLICAS) && !has(bits::REPLICA) && !obeyed {
                return Err(gate::NOREPLICAS.into());
            }
        }
        if !self.allow_oom && !obeyed && !self.wrote && self.parts.scripts.oom && flags.has(Flags::DENYOOM) {
            return Err(Error::OOM.into());
        }
        self.check_cluster(entry, argv)?;
        self.lock(entry, argv)?;
        if flags.has(Flags::WRITE) && !self.wrote {
            self.wrote = true;
            if let Some(run) = &self.busy {
                run.wrote.store(true, Relaxed);
            }
        }
        Ok(())
    }

    fn check_cluster(&mut self, entry: &'static Entry, argv: &[&[u8]]) -> Result<(), Refusal> {
        let Some(view) = self.parts.view.as_ref().filter(|_| !self.session.internal) else { return Ok(()) };
        let name = entry.command.meta.name;
        let router = route::Router { server: self.parts.server, view };
        let writes = entry.flags().has(Flags::WRITE);
        let refused = match router.route(&self.session, entry, argv, writes) {
            Ok(Route::Here) => None,
            Ok(moving) => {
                self.lock(entry, argv)?;
                self.parts.settle(&moving, self.session.db, self.now).err().map(Error::from)
            }
            Err(e) => Some(e),
        };
        if let Some(e) = refused {
            return Err(match e.code() {
                b"CROSSSLOT" => Refusal::from(&*format!(
                    "Command '{name}' in script attempted to access keys that don't hash to the same slot"
                )),
                b"TRYAGAIN" => Refusal::from(&*format!(
                    "Unable to execute command '{name}' in script because undeclared keys were accessed during rehashing \
                     of the slot"
                )),
                b"CLUSTERDOWN" if e == route::DOWN_READONLY => {
                    "Script attempted to execute a write command while the cluster is down and readonly".into()
                }
                b"CLUSTERDOWN" if e == route::DOWN => {
                    "Script attempted to execute a command while the cluster is down".into()
                }
                b"CLUSTERDOWN" => "Script attempted to access a slot not served".into(),
                _ => "Script attempted to access a non local key in a cluster node".into(),
            });
        }
        let first = entry.command.meta.keys_of(argv).and_then(|keys| keys.first().map(|k| argv[k.index]));
        if let Some(key) = first
            && !self.cross_slot
        {
            let at = slot::key_slot(key);
            if *self.slot.get_or_insert(at) != at {
                return Err("Script attempted to access keys that do not hash to the same slot".into());
            }
        }
        Ok(())
    }

    /// Sees to it that the slots of a command are locked.
    fn lock(&mut self, entry: &'static Entry, argv: &[&[u8]]) -> Result<(), Refusal> {
        match entry.command.scope_for(argv) {
            Scope::None => Ok(()),
            Scope::Keys | Scope::Dynamic(_) => match entry.command.meta.keys_of(argv) {
                Some(keys) => keys.iter().try_for_each(|k| self.lock_slot(slot::key_slot(argv[k.index]))),
                None => self.lock_all(),
            },
            Scope::All | Scope::Own | Scope::Watched => self.lock_all(),
        }
    }

    fn lock_all(&mut self) -> Result<(), Refusal> {
        if self.parts.held.has_all() {
            return Ok(());
        }
        if !self.wrote {
            // Together is faster than one after the other.
            self.parts.scripts.wants_all = true;
            return Err(Refusal::Stop);
        }
        (0..SLOTS as u16).try_for_each(|slot| self.lock_slot(slot))
    }

    fn lock_slot(&mut self, slot: u16) -> Result<(), Refusal> {
        if self.parts.held.has(slot) {
            return Ok(());
        }
        let locked = self.lock_another(slot);
        self.parts.fx.tracking = self.parts.server.keyspace.hooks.tracking();
        locked
    }
    fn lock_another(&mut self, slot: u16) -> Result<(), Refusal> {
        if self.parts.held.also_now(slot) {
            return Ok(());
        }
        if !self.wrote {
            self.parts.scripts.wants_all = true;
            return Err(Refusal::Stop);
        }
        if self.parts.held.also_urgent(slot) {
            return Ok(());
        }
        Err("Script attempted to access undeclared keys that another script is working on".into())
    }

    fn refused(&self, entry: Option<&Entry>, text: &[u8]) {
        let code = match text.strip_prefix(b"-") {
            Some(text) => text.split(|c| *c == b' ').next().unwrap_or_default(),
            None => b"ERR",
        };
        self.parts.stats.errors.count(code);
        self.parts.stats.error_replies.add(1);
        if let Some(entry) = entry {
            self.parts.stats.command(entry.id).rejected.add(1);
        }
    }
}

impl Host for ScriptHost<'_, '_> {
    fn call(&mut self, argv: &[&[u8]], resp3: bool) -> Called {
        let server = self.parts.server;
        let found = server.lookup.command(argv[0]).and_then(|entry| match argv.get(1) {
            Some(sub) if !entry.command.subs.is_empty() => server.lookup.sub(entry, sub),
            _ => Some(entry),
        });
        let Some(entry) = found else {
            let text = b"Unknown command called from script";
            self.refused(None, text);
            return Called::Refused(text.to_vec());
        };
        match self.check(entry, argv) {
            Ok(()) => {}
            Err(Refusal::Stop) => return Called::Stop(String::new()),
            Err(Refusal::Text(text)) => {
                self.refused(Some(entry), &text);
                return Called::Refused(text);
            }
        }
        if server.registry.has_monitors() && !monitor::hides(entry) {
            monitor::show(server, entry, self.session.db, "lua", argv);
        }
        self.out.clear();
        self.out.set_proto(if resp3 { Proto::Resp3 } else { Proto::Resp2 });
        // Lua ran since the last command: its end is not this one's start.
        self.parts.tick = None;
        self.parts.call(&mut self.session, entry, argv, Located::NONE, self.now, &mut self.out);
        self.parts.stats.commands_processed.add(1);
        let client = &self.session.client.commands;
        client.store(client.load(Relaxed) + 1, Relaxed);
        self.calls += 1;
        if self.calls.is_multiple_of(LOOK_EVERY)
            && let Some(why) = self.ending()
        {
            return Called::Stop(why);
        }
        Called::Done
    }
    fn reply(&mut self) -> &[u8] {
        if self.out.plain().is_none() {
            let bytes = self.out.take_bytes();
            self.out.raw(&bytes);
        }
        self.out.plain().unwrap_or_default()
    }
    fn may(&mut self, argv: &[&[u8]]) -> Option<bool> {
        let server = self.parts.server;
        let entry = server.lookup.resolve(argv)?;
        let session = &self.session;
        let Some(user) = session.user.as_ref().filter(|_| !session.unrestricted) else { return Some(true) };
        Some(user.check(&server.acl.table, entry.id, argv, session.db).is_ok())
    }
    fn replicate_to(&mut self, mask: u8) {
        self.parts.fx.mask = mask;
    }
    fn ending(&mut self) -> Option<String> {
        let server = self.parts.server;
        if self.parts.scripts.wants_all {
            return Some(String::new());
        }
        if server.is_stopping() {
            return Some(STOPPING.to_owned());
        }
        if self.talk.as_ref().is_some_and(|talk| talk.0.is_of_copy() && talk.0.is_over()) {
            // Nobody will ever see what it does.
            return Some("The debugging client has left".to_owned());
        }
        if let Some(run) = &self.busy {
            if !run.is_killed() {
                // To the worker, which serves its other connections before it comes back.
                coroutine::leave();
            }
            if server.is_stopping() {
                return Some(STOPPING.to_owned());
            }
            return run.is_killed().then(|| {
                tracing::info!("{}", run.killed_by());
                run.killed_by().to_owned()
            });
        }
        let threshold = server.config.busy_reply_threshold();
        let elapsed = (clock::mono_ns() - self.start) / 1_000_000;
        if threshold > 0 && elapsed >= threshold {
            let verb = if self.eval { "SCRIPT KILL" } else { "FUNCTION KILL" };
            let name = self.name;
            tracing::warn!(
                "Slow script detected: still in execution after {elapsed} milliseconds. You can try killing the script \
                 using the {verb} command. Script name is: {name}."
            );
            self.become_busy();
        }
        None
    }
    fn tell(&mut self, bytes: Vec<u8>) {
        self.become_busy();
        if let Some(talk) = &self.talk {
            talk.tell(&bytes, || self.is_to_end());
        }
    }
    fn hear(&mut self) -> Option<Vec<u8>> {
        self.become_busy();
        self.talk.as_ref().and_then(|talk| talk.hear(|| self.is_to_end()))
    }
    fn has_left(&mut self) -> bool {
        self.talk.as_ref().is_none_or(|talk| talk.0.is_over())
    }
}

impl ScriptHost<'_, '_> {
    /// Others hear of it from now on, and can end it.
    fn become_busy(&mut self) {
        if self.busy.is_some() {
            return;
        }
        let server = self.parts.server;
        let mut run = Run::new(self.name, self.eval, self.argv, self.start, self.session.internal);
        run.debugged = self.talk.is_some();
        let run = Arc::new(run);
        run.wrote.store(self.wrote, Relaxed);
        self.session.client.argv_mem.store(self.argv.iter().map(|arg| arg.len()).sum(), Relaxed);
        server.running.enter(run.clone());
        server.gate.set(bits::BUSY, true);
        server.keyspace.set_busy(true);
        self.busy = Some(run);
    }
    /// Whether it is to end although nothing is wrong with it.
    fn is_to_end(&self) -> bool {
        self.parts.server.is_stopping() || self.busy.as_ref().is_some_and(|run| run.is_killed())
    }
}
