//! An interpreter: a Lua state closed to the world, the functions compiled in it, and their execution.
//!
//! Each worker has its own interpreters, so scripts on different slots run at the same time. What is shared is text: scripts
//! by their hash ([`super::cache`]) and libraries ([`super::library`]); an interpreter compiles what it is asked for and
//! does not know yet.

use std::cell::{Cell, RefCell};
use std::ffi::c_int;

use super::convert::{self, Failure};
use super::debugger::{self, Debugger};
use super::json;
use super::library::Loading;
use super::lua::{GLOBALS, Lua, Raise, Returns, Stack, Type};
use super::{api, bit, msgpack, sandbox, strings, structs};
use crate::base::rng;
use crate::resp::{Error, Out};

/// How a command that a script called ended.
pub enum Called {
    /// Its reply is in [`Host::reply`].
    Done,
    /// It was refused, for this reason (a text without a code, or one that begins with `-`).
    Refused(Vec<u8>),
    /// The script is to end at once, with this text.
    Stop(String),
}

/// What a running script asks of the server.
pub trait Host {
    /// Runs a command.
    fn call(&mut self, argv: &[&[u8]], resp3: bool) -> Called;
    /// The reply of the last command, which stays where it is until the next one.
    fn reply(&mut self) -> &[u8];
    /// Whether the user may run a command. `None`: there is no such command.
    fn may(&mut self, argv: &[&[u8]]) -> Option<bool>;
    /// From now on effects go to the append-only file (1), to replicas (2), to both or to neither.
    fn replicate_to(&mut self, mask: u8);
    /// Called every so often while Lua code runs. The text is the reason to end it.
    fn ending(&mut self) -> Option<String>;
    /// Sends bytes to the client that debugs the script.
    fn tell(&mut self, _: Vec<u8>) {}
    /// What that client says next, at least one byte. `None`: it is gone, or the script is to end.
    fn hear(&mut self) -> Option<Vec<u8>> {
        None
    }
    /// Whether it is gone.
    fn has_left(&mut self) -> bool {
        true
    }
}

/// What the functions of one state share.
pub struct Shared {
    /// Settings of the instances of `cjson`.
    pub json: RefCell<Vec<json::Config>>,
    /// The library that is being loaded.
    pub loading: RefCell<Option<Loading>>,
    /// The state of `math.random`, 48 bits.
    pub random: Cell<u64>,
    /// `redis.setresp(3)`
    pub resp3: Cell<bool>,
    /// A command is under way.
    pub busy: Cell<bool>,
    /// The debugger of the script that runs.
    pub(super) debugger: RefCell<Option<Box<Debugger>>>,
    /// Why the script is to end; it can not catch that.
    stop: RefCell<Option<String>>,
    host: Cell<Option<*mut (dyn Host + 'static)>>,
    limit: Cell<usize>,
}

/// What the state that a function runs in shares.
pub fn shared<'a>(s: Stack) -> &'a Shared {
    // SAFETY: `Vm::new` gives every state a `Shared`, in a box that goes after the state.
    let shared = unsafe { s.context::<Shared>() };
    shared.unwrap_or_else(|| unreachable!("a state of ours"))
}

impl Shared {
    /// Works with the host of the script that runs; `None` outside of one.
    pub fn with_host<R>(&self, f: impl FnOnce(&mut dyn Host) -> R) -> Option<R> {
        let host = self.host.take()?;
        // SAFETY: `Vm::run` set it to a host that it borrows until it has taken it back. Taken out meanwhile, it is not
        // borrowed twice.
        let result = f(unsafe { &mut *host });
        self.host.set(Some(host));
        Some(result)
    }
    /// Has the script end.
    pub fn stop(&self, why: String) {
        *self.stop.borrow_mut() = Some(why);
    }
    /// Whether it is to end.
    pub fn stopping(&self) -> Option<String> {
        self.stop.borrow().clone()
    }
}

/// A compiled function: its number in the registry of the interpreter that compiled it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compiled(c_int);

impl Compiled {
    /// Keeps the function on top, which goes.
    pub(super) fn keep(s: Stack) -> Compiled {
        Compiled(s.keep())
    }
}

/// Which globals there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Scripts: keys and arguments are globals.
    Eval,
    /// Functions: keys and arguments are parameters, globals are others while a library loads.
    Functions,
}

/// An interpreter.
pub struct Vm {
    lua: Lua,
    shared: Box<Shared>,
    kind: Kind,
    /// Runs since the last step of the garbage collector.
    runs: u32,
}

// Values at the bottom of the main stack.
const HANDLER: c_int = 1;
/// The real table of globals.
const REAL: c_int = 2;
/// What scripts see of it.
const PROXY: c_int = 3;
const KEYS: c_int = 4;
const ARGV: c_int = 5;
/// The proxy's metatable.
const META: c_int = 6;
/// The globals while a library loads.
const LOAD: c_int = 7;
const BOTTOM: c_int = 7;

/// Instructions between two looks at the clock.
const TICK: c_int = 100_000;
/// Runs between two steps of the garbage collector.
const COLLECT_EVERY: u32 = 50;

/// What to run.
pub struct Job<'a> {
    /// The function.
    pub function: Compiled,
    /// Its name in error texts.
    pub name: &'a str,
    /// The keys.
    pub keys: &'a [&'a [u8]],
    /// The other arguments.
    pub args: &'a [&'a [u8]],
}

impl Vm {
    /// A new interpreter. Its code may use `limit` bytes.
    pub fn new(kind: Kind, limit: usize) -> Option<Vm> {
        let lua = Lua::new()?;
        let shared = Box::new(Shared {
            json: RefCell::default(),
            loading: RefCell::default(),
            random: Cell::new(rng::next_u64() >> 16),
            resp3: Cell::new(false),
            busy: Cell::new(false),
            debugger: RefCell::default(),
            stop: RefCell::default(),
            host: Cell::new(None),
            limit: Cell::new(limit),
        });
        lua.set_context(Some(&*shared));
        lua.open_libraries();
        lua.as_host(|s| furnish(s, kind));
        lua.stack().set_hook(Some(tick), TICK, false);
        lua.set_limit(limit);
        Some(Vm { lua, shared, kind, runs: 0 })
    }
    /// Bytes in use.
    pub fn memory(&self) -> usize {
        self.lua.used()
    }
    /// Sets how many bytes Lua code may use.
    pub fn set_limit(&mut self, bytes: usize) {
        if self.shared.limit.replace(bytes) != bytes {
            self.lua.set_limit(bytes);
        }
    }
    /// Compiles a script. The error is Lua's message.
    pub fn compile(&mut self, text: &[u8]) -> Result<Compiled, Vec<u8>> {
        self.lua.as_host(|s| {
            let loaded = if text.first() == Some(&0x1b) {
                s.push_bytes(b"user_script:1: unexpected symbol near '\x1b'");
                false
            } else if text.len() > sandbox::MAX_CHUNK {
                s.push_bytes(b"user_script:1: chunk too long");
                false
            } else {
                s.load(text, c"@user_script").is_ok()
            };
            if loaded {
                return Ok(Compiled(s.keep()));
            }
            let text = s.bytes(-1).unwrap_or_default().to_vec();
            s.pop(1);
            Err(text)
        })
    }
    /// Forgets a function.
    pub fn forget(&mut self, function: Compiled) {
        self.lua.as_host(|s| s.forget(function.0));
    }
    /// Runs a function; its result is written as a reply, or the error returned.
    pub fn run(&mut self, job: &Job<'_>, host: &mut dyn Host, out: &mut Out) -> Option<Failure> {
        let host: *mut (dyn Host + '_) = host;
        // SAFETY: only the lifetime changes. The pointer is used by `Shared::with_host` alone, while `host` is borrowed
        // here, and is taken away below.
        let host: *mut (dyn Host + 'static) = unsafe { std::mem::transmute(host) };
        self.shared.host.set(Some(host));
        self.shared.resp3.set(false);
        let (kind, shared) = (self.kind, &*self.shared);
        let failure = self.lua.as_host(|s| run(s, shared, kind, job, out));
        self.shared.host.set(None);
        self.end_stop();
        self.runs += 1;
        if self.lua.used() > self.shared.limit.get() / 2 {
            self.lua.collect();
        }
        if self.runs >= COLLECT_EVERY {
            self.runs = 0;
            self.lua.collect_step(COLLECT_EVERY as c_int);
        }
        failure
    }
    /// As [`Vm::run`], with a debugger, which comes back.
    pub fn debug(
        &mut self,
        debugger: Box<Debugger>,
        job: &Job<'_>,
        host: &mut dyn Host,
        out: &mut Out,
    ) -> (Option<Failure>, Option<Box<Debugger>>) {
        *self.shared.debugger.borrow_mut() = Some(debugger);
        self.lua.stack().set_hook(Some(debugger::watch), TICK, true);
        let failure = self.run(job, host, out);
        self.lua.stack().set_hook(Some(tick), TICK, false);
        (failure, self.shared.debugger.take())
    }
    /// What had to stop has ended: the next run is watched as usual.
    fn end_stop(&self) {
        if self.shared.stop.take().is_some() {
            self.lua.stack().set_hook(Some(tick), TICK, false);
        }
    }
    /// Runs the code of a library, which registers its functions. The error is a text without a code.
    pub fn load(&mut self, loading: Loading) -> Result<Loading, Vec<u8>> {
        *self.shared.loading.borrow_mut() = Some(loading);
        let result = self.lua.as_host(|s| {
            s.push_value(LOAD);
            s.set_raw_field(META, b"__index");
            let result = run_library(s);
            s.push_value(REAL);
            s.set_raw_field(META, b"__index");
            s.set_top(BOTTOM);
            result
        });
        let loading = self.shared.loading.take().unwrap_or_default();
        self.end_stop();
        match result {
            Ok(()) => Ok(loading),
            Err(text) => {
                loading.functions.iter().for_each(|f| self.forget(f.compiled));
                Err(text)
            }
        }
    }
}

/// Puts everything into a state that scripts find there.
fn furnish(s: Stack, kind: Kind) {
    let library = |name: &str, functions: &[(&str, super::lua::Function)], strings: &[(&str, &str)]| {
        s.new_table(0, functions.len() + strings.len());
        for (name, f) in functions {
            s.push_function(*f);
            s.set_raw_field(-2, name.as_bytes());
        }
        for (name, text) in strings {
            s.push_bytes(text.as_bytes());
            s.set_raw_field(-2, name.as_bytes());
        }
        s.set_raw_field(GLOBALS, name.as_bytes());
    };
    library("bit", bit::FUNCTIONS, &[]);
    library("struct", structs::FUNCTIONS, &[]);
    library("cmsgpack", msgpack::FUNCTIONS, msgpack::STRINGS);
    json::open(s);
    s.set_raw_field(GLOBALS, b"cjson");
    sandbox::close_base(s);
    strings::open(s);
    s.raw_field(GLOBALS, b"math");
    for (name, f) in api::MATH {
        s.push_function(*f);
        s.set_raw_field(-2, name.as_bytes());
    }
    s.pop(1);
    api::push_table(s, api::Table::of(kind));
    sandbox::protect(s);
    s.push_value(-1);
    s.set_raw_field(GLOBALS, b"server");
    s.set_raw_field(GLOBALS, b"redis");
    sandbox::protect_libraries(s);
    s.push_function(handler);
    for name in ["__server__err__handler", "__redis__err__handler"] {
        if kind == Kind::Eval {
            s.push_value(-1);
            s.set_raw_field(GLOBALS, name.as_bytes());
        }
    }
    s.push_value(GLOBALS);
    sandbox::refuse_missing(s);
    // What getmetatable(_G) shows.
    s.push_metatable(-1);
    s.new_table(0, 1);
    s.raw_field(-2, b"__index");
    s.set_raw_field(-2, b"__index");
    s.remove(-2);
    sandbox::protect(s);
    s.push_value(REAL);
    sandbox::protect(s);
    sandbox::show_metatable(s);
    s.push_value(PROXY);
    s.set_raw_field(REAL, b"_G");
    s.push_bytes(b"KEYS");
    s.push_bytes(b"ARGV");
    s.push_metatable(PROXY);
    // The globals of a library that is being loaded.
    s.new_table(0, 2);
    api::push_table(s, api::Table::Load);
    sandbox::refuse_missing(s);
    sandbox::protect(s);
    for name in ["redis", "server"] {
        s.push_value(-1);
        s.set_raw_field(-3, name.as_bytes());
    }
    s.pop(1);
    sandbox::refuse_missing(s);
    s.push_value(PROXY);
    s.replace(GLOBALS);
    debug_assert_eq!(s.top(), BOTTOM);
}

fn push_array(s: Stack, items: &[&[u8]]) {
    s.new_table(items.len(), 0);
    for (i, item) in items.iter().enumerate() {
        s.push_bytes(item);
        s.raw_set_at(-2, i as c_int + 1);
    }
}

fn run(s: Stack, shared: &Shared, kind: Kind, job: &Job<'_>, out: &mut Out) -> Option<Failure> {
    s.push_kept(job.function.0);
    // An earlier run may have given it another.
    s.push_value(PROXY);
    s.set_environment(-2);
    let parameters = match kind {
        Kind::Eval => {
            for (name, items) in [(KEYS, job.keys), (ARGV, job.args)] {
                s.push_value(name);
                push_array(s, items);
                s.raw_set(REAL);
            }
            0
        }
        Kind::Functions => {
            push_array(s, job.keys);
            push_array(s, job.args);
            2
        }
    };
    let failure = match s.call(parameters, 1, HANDLER) {
        Ok(()) => convert::write_reply(s, shared.resp3.get(), out).unwrap_or_else(|_| Some(died(s, job.name))),
        Err(_) => Some(died(s, job.name)),
    };
    s.set_top(BOTTOM);
    failure
}

/// Runs the code of the library that is being loaded.
fn run_library(s: Stack) -> Result<(), Vec<u8>> {
    let code = shared(s).loading.borrow().as_ref().map(|l| l.code.clone()).unwrap_or_default();
    let message = |what: &str| {
        let mut text = what.as_bytes().to_vec();
        text.extend_from_slice(s.bytes(-1).unwrap_or_default());
        text
    };
    if code.first() == Some(&0x1b) || code.len() > sandbox::MAX_CHUNK || s.load(&code, c"@user_function").is_err() {
        return Err(message("Error compiling function: "));
    }
    if s.call(0, 0, 0).is_ok() {
        return Ok(());
    }
    if s.is(-1, Type::Table) {
        s.raw_field(-1, b"err");
        return Err(message("Error registering functions: "));
    }
    Err(message("Error registering functions: ERR "))
}

/// The error that a script died of, from the value on top.
fn died(s: Stack, name: &str) -> Failure {
    if !s.is(-1, Type::Table) {
        let text = if s.is_string(-1) { s.bytes(-1).unwrap_or_default() } else { b"execution failure" };
        let text = String::from_utf8_lossy(&text[..text.len().min(100)]).into_owned();
        return Failure { error: Error::owned(format!("ERR Error running script {name}, {text}")), counted: false };
    }
    let mut failure = convert::failure(s);
    let mut place = [Vec::new(), Vec::new()];
    for (field, text) in [&b"source"[..], b"line"].into_iter().zip(&mut place) {
        s.raw_field(-1, field);
        if s.is_string(-1) {
            *text = s.bytes(-1).unwrap_or_default().to_vec();
        }
        s.pop(1);
    }
    let [source, line] = place;
    if !source.is_empty() && !line.is_empty() {
        let mut text = failure.error.text().to_vec();
        text.extend_from_slice(format!(" script: {name}, on ").as_bytes());
        text.extend_from_slice(&source);
        text.push(b':');
        text.extend_from_slice(&line);
        text.push(b'.');
        failure.error = Error::owned(text);
    }
    failure
}

/// Makes of any error value a table that says where the error was raised.
fn handler(s: Stack) -> Returns {
    s.set_top(1);
    let place = match s.location(1) {
        Some((true, ..)) => s.location(2),
        other => other,
    };
    if !s.is(1, Type::Table) {
        let text = match s.type_of(1) {
            Type::String | Type::Number => s.bytes(1).unwrap_or_default().to_vec(),
            Type::Boolean => s.boolean(1).to_string().into_bytes(),
            Type::Nil => b"nil".to_vec(),
            other => format!("{}: {:p}", other.name(), s.address(1)).into_bytes(),
        };
        let text = [b"ERR ", &text[..]].concat();
        s.new_table(0, 3);
        s.push_bytes(&text);
        s.set_raw_field(-2, b"err");
    }
    if let Some((_, source, line)) = place {
        s.push_bytes(&source);
        s.set_raw_field(-2, b"source");
        s.push_number(f64::from(line));
        s.set_raw_field(-2, b"line");
    }
    Ok(1)
}

/// Whether the script is to end. For functions of ours that take long; [`tick`] does it for Lua code.
pub fn look(s: Stack) -> Result<(), Raise> {
    tick(s).map(drop)
}

/// Whether the script is to end already.
pub fn stopping(s: Stack) -> bool {
    shared(s).stop.borrow().is_some()
}

/// An error if `bytes` more would be over the memory limit: what functions of ours gather is not Lua's.
pub fn afford(s: Stack, bytes: usize) -> Result<(), Raise> {
    if s.memory_used().saturating_add(bytes) > shared(s).limit.get() {
        s.push_bytes(b"not enough memory");
        return Err(Raise);
    }
    Ok(())
}

/// For functions of ours that make much out of little: looks every so often whether the script is to end, and whether what
/// was gathered is within the limit.
#[derive(Default)]
pub struct Pace {
    steps: u32,
    gathered: usize,
}

impl Pace {
    /// One step; so much is gathered by now, in bytes.
    #[inline]
    pub fn step(&mut self, s: Stack, gathered: usize) -> Result<(), Raise> {
        self.steps = self.steps.wrapping_add(1);
        if self.steps.is_multiple_of(8192) || gathered > self.gathered + (64 << 10) {
            self.gathered = gathered;
            afford(s, gathered)?;
            look(s)?;
        }
        Ok(())
    }
}

/// The hook: whether the script is to end.
fn tick(s: Stack) -> Returns {
    let shared = shared(s);
    if shared.stopping().is_none() {
        let late = shared.loading.borrow().as_ref().is_some_and(Loading::is_late);
        if late {
            shared.stop("FUNCTION LOAD timeout".to_owned());
        } else if let Some(why) = shared.with_host(|h| h.ending()).flatten() {
            shared.stop(why);
        }
    }
    match shared.stopping() {
        None => Ok(0),
        Some(why) => {
            // From now on every line ends it, so that it can not go on by catching the error.
            s.set_hook(Some(tick), 0, true);
            convert::push_plain_error(s, &why);
            Err(Raise)
        }
    }
}
