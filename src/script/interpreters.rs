//! The interpreters of one worker, and what each has compiled.

use std::collections::HashMap;
use std::sync::Arc;

use super::cache::{Script, Scripts, Sha, sha1_hex};
use super::flags::of_script;
use super::library::{Libraries, Library, Loading};
use super::vm::{Compiled, Kind, Vm};
use crate::resp::Error;
use crate::types::dict;

/// Nobody knows a script of this hash.
pub const NOSCRIPT: Error = Error::new("NOSCRIPT No matching script. Please use EVAL.");

const NO_MEMORY: Error = Error::new("ERR Out of memory for a Lua interpreter");

/// Compiled scripts above this number are looked through for those that were forgotten.
const SWEEP_AT: usize = 1024;

struct Scripting {
    vm: Vm,
    generation: u64,
    compiled: HashMap<Sha, (Arc<Script>, Compiled)>,
    /// By the hash of the text: spares the SHA-1 of a text that comes again.
    by_text: HashMap<u64, Sha>,
}

struct Functions {
    vm: Vm,
    generation: u64,
    /// By the number of the library: its functions in this interpreter.
    loaded: HashMap<u64, Vec<(Vec<u8>, Compiled)>>,
}

/// The interpreters of one worker. They are made when they are needed first.
#[derive(Default)]
pub struct Interpreters {
    scripts: Option<Box<Scripting>>,
    functions: Option<Box<Functions>>,
}

/// A script, ready to run.
pub type Ready<'a> = (&'a mut Vm, Arc<Script>, Compiled);

impl Interpreters {
    /// Bytes that the interpreters for scripts and for functions use.
    pub fn memory(&self) -> [usize; 2] {
        [self.scripts.as_ref().map_or(0, |s| s.vm.memory()), self.functions.as_ref().map_or(0, |f| f.vm.memory())]
    }
    /// Drops the interpreter of scripts if all that it knows were forgotten since. Whether it did.
    pub fn forget_stale(&mut self, all: &Scripts) -> bool {
        let generation = all.generation();
        self.scripts.take_if(|s| s.generation != generation).is_some()
    }
    fn scripting(&mut self, all: &Scripts, limit: usize) -> Result<&mut Scripting, Error> {
        let generation = all.generation();
        if self.scripts.as_ref().is_none_or(|s| s.generation != generation) {
            // Forgetting all scripts is how one gets rid of what they left behind.
            self.scripts = None;
            let vm = Vm::new(Kind::Eval, limit).ok_or(NO_MEMORY)?;
            let (compiled, by_text) = (HashMap::new(), HashMap::new());
            self.scripts = Some(Box::new(Scripting { vm, generation, compiled, by_text }));
        }
        let scripting = self.scripts.as_deref_mut().ok_or(NO_MEMORY)?;
        scripting.vm.set_limit(limit);
        Ok(scripting)
    }
    /// The script of this text, which is compiled and added to `all` if need be.
    pub fn script<'a>(&'a mut self, all: &Scripts, limit: usize, body: &[u8]) -> Result<Ready<'a>, Error> {
        let s = self.scripting(all, limit)?;
        let hash = dict::hash(body);
        if let Some(sha) = s.by_text.get(&hash)
            && let Some((script, compiled)) = s.compiled.get(sha)
            && script.body == body
            && !script.is_gone()
        {
            script.touch();
            return Ok((&mut s.vm, script.clone(), *compiled));
        }
        let sha = sha1_hex(body);
        s.by_text.insert(hash, sha);
        s.ready(all, sha, Some(body), false)
    }
    /// The script of this hash.
    pub fn script_of<'a>(&'a mut self, all: &Scripts, limit: usize, sha: Sha) -> Result<Ready<'a>, Error> {
        self.scripting(all, limit)?.ready(all, sha, None, false)
    }
    /// Adds a script that is to stay. Returns its hash.
    pub fn load(&mut self, all: &Scripts, limit: usize, body: &[u8]) -> Result<Sha, Error> {
        let sha = sha1_hex(body);
        self.scripting(all, limit)?.ready(all, sha, Some(body), true)?;
        Ok(sha)
    }
    /// A function by its name, in the library that has it; compiled if need be.
    pub fn function<'a>(
        &'a mut self,
        all: &Libraries,
        limit: usize,
        library: &Library,
        number: usize,
    ) -> Result<(&'a mut Vm, Compiled), Error> {
        if self.functions.is_none() {
            let vm = Vm::new(Kind::Functions, limit).ok_or(NO_MEMORY)?;
            self.functions = Some(Box::new(Functions { vm, generation: 0, loaded: HashMap::new() }));
        }
        let f = self.functions.as_deref_mut().ok_or(NO_MEMORY)?;
        f.vm.set_limit(limit);
        f.tidy(all);
        if !f.loaded.contains_key(&library.id) {
            let loaded = f.vm.load(Loading::new(library.code(), false)).map_err(|e| Error::general(&e))?;
            let functions = loaded.functions.into_iter().map(|r| (r.function.name, r.compiled)).collect();
            f.loaded.insert(library.id, functions);
        }
        let name = &library.functions[number].name;
        let compiled = f.loaded[&library.id].iter().find(|(n, _)| n == name).map(|(_, c)| *c);
        // Code that registers other functions each time it runs.
        let compiled = compiled.ok_or(Error::new("ERR Function not found"))?;
        Ok((&mut f.vm, compiled))
    }
}

impl Scripting {
    fn ready(&mut self, all: &Scripts, sha: Sha, body: Option<&[u8]>, keep: bool) -> Result<Ready<'_>, Error> {
        let known = self.compiled.get(&sha).filter(|(script, _)| !script.is_gone()).cloned();
        if let Some((script, compiled)) = known {
            script.touch();
            if keep {
                all.add(Script::new(sha, &script.body, script.flags, script.skip), true);
            }
            return Ok((&mut self.vm, script, compiled));
        }
        let script = match (all.get(&sha), body) {
            (Some(script), _) => script,
            (None, Some(body)) => {
                let (flags, skip) = of_script(body).map_err(|e| Error::owned(format!("ERR {e}")))?;
                Arc::new(Script::new(sha, body, flags, skip))
            }
            (None, None) => return Err(NOSCRIPT),
        };
        let compiled = self
            .vm
            .compile(script.code())
            .map_err(|e| Error::general(&[b"Error compiling script (new function): ", &e[..]].concat()))?;
        let script = match body {
            Some(body) => all.add(Script::new(sha, body, script.flags, script.skip), keep),
            None => script,
        };
        script.touch();
        if self.compiled.len() >= SWEEP_AT {
            self.sweep();
        }
        if let Some((_, old)) = self.compiled.insert(sha, (script.clone(), compiled)) {
            self.vm.forget(old);
        }
        Ok((&mut self.vm, script, compiled))
    }
    /// Drops what was compiled of scripts that were forgotten.
    fn sweep(&mut self) {
        let vm = &mut self.vm;
        self.compiled.retain(|_, (script, compiled)| {
            let stays = !script.is_gone();
            if !stays {
                vm.forget(*compiled);
            }
            stays
        });
        let compiled = &self.compiled;
        self.by_text.retain(|_, sha| compiled.contains_key(sha));
    }
}

impl Functions {
    /// Drops what was compiled of libraries that are gone.
    fn tidy(&mut self, all: &Libraries) {
        let generation = all.generation();
        if self.generation == generation {
            return;
        }
        self.generation = generation;
        let alive: Vec<u64> = all.all().iter().map(|l| l.id).collect();
        let vm = &mut self.vm;
        self.loaded.retain(|id, functions| {
            let stays = alive.contains(id);
            if !stays {
                functions.iter().for_each(|(_, compiled)| vm.forget(*compiled));
            }
            stays
        });
    }
}
