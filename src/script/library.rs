//! Libraries of functions (<https://valkey.io/topics/functions-intro/>). What is shared is their text and what they say of
//! their functions; each interpreter runs a library's code when one of its functions is called first.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::*};

use parking_lot::RwLock;

use super::convert::push_plain_error;
use super::flags::{ScriptFlags, of_library};
use super::lua::{Raise, Returns, Stack, Type};
use super::vm::{Compiled, Kind, Vm, shared};
use crate::base::clock;

/// The only engine, as it is shown.
pub const ENGINE: &str = "LUA";

/// The longest that the code of a library may run when it is loaded, ns.
const LOAD_TIMEOUT: u64 = 500_000_000;
/// Bytes that the code of a library may use while it is looked at.
const LOAD_MEMORY: usize = 256 << 20;

/// A function, as the library registered it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: Vec<u8>,
    /// What its author says of it.
    pub description: Option<Vec<u8>>,
    /// Its flags.
    pub flags: ScriptFlags,
}

/// A function while its library is loaded into an interpreter.
pub struct Registered {
    /// What is known of it.
    pub function: Function,
    /// Where it is in the interpreter.
    pub compiled: Compiled,
}

/// The library that an interpreter is loading.
#[derive(Default)]
pub struct Loading {
    /// What is Lua of it.
    pub code: Vec<u8>,
    /// Its functions so far.
    pub functions: Vec<Registered>,
    deadline: Option<u64>,
}

impl Loading {
    /// Loads this code; `bounded` in time.
    pub fn new(code: &[u8], bounded: bool) -> Loading {
        let deadline = bounded.then(|| clock::mono_ns() + LOAD_TIMEOUT);
        Loading { code: code.to_vec(), functions: Vec::new(), deadline }
    }
    /// Whether it takes too long.
    pub fn is_late(&self) -> bool {
        self.deadline.is_some_and(|at| clock::mono_ns() > at)
    }
}

/// A library.
#[derive(Debug)]
pub struct Library {
    /// A number that no other library of this process has.
    pub id: u64,
    /// Its name.
    pub name: Vec<u8>,
    /// Its text, as it came.
    pub text: Vec<u8>,
    /// How much of the text is no Lua.
    skip: usize,
    /// Its functions.
    pub functions: Vec<Function>,
}

static NEXT: AtomicU64 = AtomicU64::new(1);

impl Library {
    /// Runs the code of a library in an interpreter of its own, to see which functions it registers. The error is a text
    /// without a code.
    pub fn examine(text: &[u8], bounded: bool) -> Result<Library, Vec<u8>> {
        let (name, engine, skip) = of_library(text)?;
        if !is_name(&name) {
            return Err(BAD_NAME.into());
        }
        if !engine.eq_ignore_ascii_case(ENGINE.as_bytes()) {
            return Err([b"Engine '", &engine[..], b"' not found"].concat());
        }
        let mut vm = Vm::new(Kind::Functions, LOAD_MEMORY).ok_or("Out of memory")?;
        let code = text.get(skip..).unwrap_or_default();
        let loaded = vm.load(Loading::new(code, bounded))?;
        if loaded.functions.is_empty() {
            return Err("No functions registered".into());
        }
        let functions = loaded.functions.into_iter().map(|f| f.function).collect();
        Ok(Library { id: NEXT.fetch_add(1, Relaxed), name, text: text.to_vec(), skip, functions })
    }
    /// What is Lua of it.
    pub fn code(&self) -> &[u8] {
        self.text.get(self.skip..).unwrap_or_default()
    }
    fn memory(&self) -> usize {
        let functions = self
            .functions
            .iter()
            .map(|f| size_of::<Function>() + 2 * f.name.len() + f.description.as_ref().map_or(0, Vec::len) + 64);
        size_of::<Library>() + self.text.len() + 2 * self.name.len() + functions.sum::<usize>()
    }
}

const BAD_NAME: &str =
    "Library names can only contain letters, numbers, or underscores(_) and must be at least one character long";

fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|c| c.is_ascii_alphanumeric() || *c == b'_')
}

/// What to do where libraries are there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// All of them go first.
    Flush,
    /// Nothing may be there twice.
    Append,
    /// Libraries of the same name go.
    Replace,
}

#[derive(Default, Clone)]
struct Known {
    libraries: BTreeMap<Vec<u8>, Arc<Library>>,
    /// By name in lower case: the library, and the number of the function in it.
    functions: HashMap<Vec<u8>, (Arc<Library>, usize)>,
}

impl Known {
    fn add(&mut self, library: Arc<Library>) -> Result<(), Vec<u8>> {
        for (i, f) in library.functions.iter().enumerate() {
            if self.functions.insert(f.name.to_ascii_lowercase(), (library.clone(), i)).is_some() {
                return Err([b"Function ", &f.name[..], b" already exists"].concat());
            }
        }
        self.libraries.insert(library.name.clone(), library);
        Ok(())
    }
    fn remove(&mut self, name: &[u8]) -> bool {
        let Some(library) = self.libraries.remove(name) else { return false };
        for f in &library.functions {
            self.functions.remove(&f.name.to_ascii_lowercase());
        }
        true
    }
}

/// All libraries.
#[derive(Default)]
pub struct Libraries {
    known: RwLock<Known>,
    generation: AtomicU64,
}

impl Libraries {
    /// A function by its name: its library, and its number there.
    pub fn function(&self, name: &[u8]) -> Option<(Arc<Library>, usize)> {
        let known = self.known.read();
        if name.iter().any(u8::is_ascii_uppercase) {
            return known.functions.get(&name.to_ascii_lowercase()).cloned();
        }
        known.functions.get(name).cloned()
    }
    /// All libraries, by name.
    pub fn all(&self) -> Vec<Arc<Library>> {
        self.known.read().libraries.values().cloned().collect()
    }
    /// Libraries and functions.
    pub fn count(&self) -> (usize, usize) {
        let known = self.known.read();
        (known.libraries.len(), known.functions.len())
    }
    /// Bytes that they take.
    pub fn memory(&self) -> usize {
        self.known.read().libraries.values().map(|l| l.memory()).sum()
    }
    /// Changes when libraries went.
    pub fn generation(&self) -> u64 {
        self.generation.load(Acquire)
    }
    /// Whether a library of this name is there.
    pub fn has(&self, name: &[u8]) -> bool {
        self.known.read().libraries.contains_key(name)
    }
    /// Adds a library; `replace`: in the place of one of the same name.
    pub fn add(&self, library: Library, replace: bool) -> Result<(), Vec<u8>> {
        let mut known = self.known.write();
        let mut after = known.clone();
        if after.remove(&library.name) && !replace {
            return Err([b"Library '", &library.name[..], b"' already exists"].concat());
        }
        after.add(Arc::new(library))?;
        *known = after;
        self.generation.fetch_add(1, Release);
        Ok(())
    }
    /// Adds several, or none.
    pub fn restore(&self, libraries: Vec<Library>, policy: Policy) -> Result<(), Vec<u8>> {
        let mut known = self.known.write();
        let mut after = if policy == Policy::Flush { Known::default() } else { known.clone() };
        let mut names = std::collections::BTreeSet::new();
        for library in &libraries {
            let twice = !names.insert(&library.name);
            let there = after.libraries.contains_key(&library.name);
            if twice || there && policy == Policy::Append {
                return Err([b"Library ", &library.name[..], b" already exists"].concat());
            }
            after.remove(&library.name);
        }
        for library in libraries {
            after.add(Arc::new(library))?;
        }
        *known = after;
        self.generation.fetch_add(1, Release);
        Ok(())
    }
    /// Removes a library. Whether it was there.
    pub fn delete(&self, name: &[u8]) -> bool {
        let was = self.known.write().remove(name);
        self.generation.fetch_add(1, Release);
        was
    }
    /// Removes all.
    pub fn flush(&self) {
        *self.known.write() = Known::default();
        self.generation.fetch_add(1, Release);
    }
}

/// `redis.register_function`
pub(super) fn register(s: Stack) -> Returns {
    let refuse = |text: &str| {
        push_plain_error(s, text);
        Err(Raise)
    };
    if shared(s).loading.borrow().is_none() {
        return refuse("server.register_function can only be called on FUNCTION LOAD command");
    }
    let found = match s.top() {
        1 => named(s),
        2 => positional(s),
        _ => Err("wrong number of arguments to server.register_function"),
    };
    let (function, compiled) = match found {
        Ok(found) => found,
        Err(why) => return refuse(why),
    };
    let mut loading = shared(s).loading.borrow_mut();
    let functions = &mut loading.get_or_insert_default().functions;
    let why = if !is_name(&function.name) {
        BAD_NAME
    } else if functions.iter().any(|f| f.function.name == function.name) {
        "Function already exists in the library"
    } else {
        functions.push(Registered { function, compiled });
        return Ok(0);
    };
    drop(loading);
    refuse(why)
}

fn positional(s: Stack) -> Result<(Function, Compiled), &'static str> {
    if !s.is_string(1) {
        return Err("first argument to server.register_function must be a string");
    }
    if !s.is(2, Type::Function) {
        return Err("second argument to server.register_function must be a function");
    }
    let name = s.bytes(1).unwrap_or_default().to_vec();
    Ok((Function { name, description: None, flags: ScriptFlags::default() }, Compiled::keep(s)))
}

fn named(s: Stack) -> Result<(Function, Compiled), &'static str> {
    if !s.is(1, Type::Table) {
        return Err("calling server.register_function with a single argument is only applicable to Lua table \
                    (representing named arguments).");
    }
    let (mut name, mut description, mut compiled, mut flags) = (None, None, None, ScriptFlags::default());
    s.push_nil();
    while s.next(1) {
        if !s.is(-2, Type::String) {
            return Err("named argument key given to server.register_function is not a string");
        }
        let key = s.bytes(-2).unwrap_or_default().to_ascii_lowercase();
        let text = || if s.is_string(-1) { s.bytes(-1).map(<[u8]>::to_vec) } else { None };
        match &key[..] {
            b"function_name" => {
                name = Some(text().ok_or("function_name argument given to server.register_function must be a string")?);
            }
            b"description" => {
                description =
                    Some(text().ok_or("description argument given to server.register_function must be a string")?);
            }
            b"callback" => {
                if !s.is(-1, Type::Function) {
                    return Err("callback argument given to server.register_function must be a function");
                }
                compiled = Some(Compiled::keep(s));
                continue;
            }
            b"flags" => {
                if !s.is(-1, Type::Table) {
                    return Err(
                        "flags argument to server.register_function must be a table representing function flags",
                    );
                }
                flags = flags_of(s).ok_or("unknown flag given")?;
            }
            _ => return Err("unknown argument given to server.register_function"),
        }
        s.pop(1);
    }
    let name = name.ok_or("server.register_function must get a function name argument")?;
    let compiled = compiled.ok_or("server.register_function must get a callback argument")?;
    Ok((Function { name, description, flags }, compiled))
}

/// The flags in the list on top.
fn flags_of(s: Stack) -> Option<ScriptFlags> {
    let mut flags = ScriptFlags::default();
    for i in 1.. {
        s.raw_get_at(-1, i);
        if s.is(-1, Type::Nil) {
            s.pop(1);
            break;
        }
        let known = s
            .is_string(-1)
            .then(|| s.bytes(-1).unwrap_or_default())
            .and_then(|name| ScriptFlags::NAMED.iter().find(|(_, n)| n.as_bytes().eq_ignore_ascii_case(name)));
        s.pop(1);
        flags = flags.or(known?.0);
    }
    Some(flags)
}

/// Writes to the server's log for a library that is being loaded.
pub fn log(level: u8, text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    match level {
        0 | 1 => tracing::debug!("{text}"),
        2 => tracing::info!("{text}"),
        _ => tracing::warn!("{text}"),
    }
}
