//! The scripts that clients have brought, by their hash. Shared by all interpreters.
//!
//! Scripts that came with EVAL make room for others once there are 500 of them, the one first that was not used for
//! longest; those that came with SCRIPT LOAD stay.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*};

use parking_lot::RwLock;

use super::flags::ScriptFlags;
use crate::base::clock;

/// A hash in lower case hexadecimal digits.
pub type Sha = [u8; 40];

/// Scripts of EVAL that are kept.
const MAX_EVALUATED: usize = 500;

/// The hash by which clients know a script.
pub fn sha1_hex(body: &[u8]) -> Sha {
    use sha1::{Digest, Sha1};
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut hex = [0; 40];
    for (i, byte) in Sha1::digest(body).iter().enumerate() {
        hex[2 * i] = DIGITS[usize::from(byte >> 4)];
        hex[2 * i + 1] = DIGITS[usize::from(byte & 15)];
    }
    hex
}

/// The hash that a client gave, in lower case, if it can be one.
pub fn sha_of(arg: &[u8]) -> Option<Sha> {
    let mut sha: Sha = arg.try_into().ok()?;
    sha.make_ascii_lowercase();
    Some(sha)
}

/// A script.
#[derive(Debug)]
pub struct Script {
    /// Its hash.
    pub sha: Sha,
    /// Its text, as it came.
    pub body: Vec<u8>,
    /// Its flags.
    pub flags: ScriptFlags,
    /// The length of the first line, if that names the engine.
    pub skip: usize,
    /// It came with SCRIPT LOAD.
    kept: AtomicBool,
    /// It was forgotten.
    gone: AtomicBool,
    used: AtomicU64,
}

impl Script {
    /// A script that nobody knows yet.
    pub fn new(sha: Sha, body: &[u8], flags: ScriptFlags, skip: usize) -> Script {
        Script {
            sha,
            body: body.to_vec(),
            flags,
            skip,
            kept: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            used: AtomicU64::new(0),
        }
    }
    /// The hash as text.
    pub fn name(&self) -> &str {
        std::str::from_utf8(&self.sha).unwrap_or_default()
    }
    /// What is Lua of it. The first line keeps its line break, so that lines count as the author counts them.
    pub fn code(&self) -> &[u8] {
        self.body.get(self.skip..).unwrap_or_default()
    }
    /// Whether it was forgotten.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Relaxed)
    }
    /// Notes that it runs.
    pub fn touch(&self) {
        self.used.store(clock::mono_raw(), Relaxed);
    }
    fn memory(&self) -> usize {
        self.body.capacity() + size_of::<Script>() + 64
    }
}

#[derive(Default)]
struct Known {
    scripts: HashMap<Sha, Arc<Script>>,
    evaluated: usize,
}

/// All scripts.
#[derive(Default)]
pub struct Scripts {
    known: RwLock<Known>,
    memory: AtomicUsize,
    evicted: AtomicU64,
    generation: AtomicU64,
}

impl Scripts {
    /// The script of this hash.
    pub fn get(&self, sha: &Sha) -> Option<Arc<Script>> {
        self.known.read().scripts.get(sha).cloned()
    }
    /// Adds a script that compiles; the one that is there already if it is. `keep`: it stays.
    pub fn add(&self, script: Script, keep: bool) -> Arc<Script> {
        let mut known = self.known.write();
        if let Some(there) = known.scripts.get(&script.sha).cloned() {
            if keep && !there.kept.swap(true, Relaxed) {
                known.evaluated -= 1;
            }
            return there;
        }
        if !keep {
            while known.evaluated >= MAX_EVALUATED && self.evict(&mut known) {}
            known.evaluated += 1;
        }
        script.kept.store(keep, Relaxed);
        script.touch();
        self.memory.fetch_add(script.memory(), Relaxed);
        let script = Arc::new(script);
        known.scripts.insert(script.sha, script.clone());
        script
    }
    fn evict(&self, known: &mut Known) -> bool {
        let idle = |s: &&Arc<Script>| s.used.load(Relaxed);
        let oldest = known.scripts.values().filter(|s| !s.kept.load(Relaxed)).min_by_key(idle).map(|s| s.sha);
        let Some(script) = oldest.and_then(|sha| known.scripts.remove(&sha)) else { return false };
        script.gone.store(true, Relaxed);
        self.memory.fetch_sub(script.memory(), Relaxed);
        self.evicted.fetch_add(1, Relaxed);
        known.evaluated -= 1;
        true
    }
    /// Forgets all scripts; the interpreters begin anew.
    pub fn flush(&self) {
        let mut known = self.known.write();
        known.scripts.values().for_each(|s| s.gone.store(true, Relaxed));
        *known = Known::default();
        self.memory.store(0, Relaxed);
        self.generation.fetch_add(1, Release);
    }
    /// How many there are.
    pub fn len(&self) -> usize {
        self.known.read().scripts.len()
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Bytes that they take.
    pub fn memory(&self) -> usize {
        self.memory.load(Relaxed)
    }
    /// How many had to make room.
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Relaxed)
    }
    /// Forgets how many had to make room.
    pub fn reset_evicted(&self) {
        self.evicted.store(0, Relaxed);
    }
    /// Changes when all were forgotten.
    pub fn generation(&self) -> u64 {
        self.generation.load(Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(i: usize) -> Script {
        let body = format!("return {i}");
        Script::new(sha1_hex(body.as_bytes()), body.as_bytes(), ScriptFlags::COMPAT, 0)
    }

    #[test]
    fn scripts_of_eval_make_room_and_loaded_ones_stay() {
        let all = Scripts::default();
        let loaded = all.add(script(0), true);
        let first = all.add(script(1), false);
        let second = all.add(script(2), false);
        (3..=MAX_EVALUATED).for_each(|i| drop(all.add(script(i), false)));
        first.touch();
        all.add(script(1000), false);
        assert!(second.is_gone() && !first.is_gone() && !loaded.is_gone());
        assert_eq!((all.len(), all.evicted()), (MAX_EVALUATED + 1, 1));
        // One that is loaded afterwards stays from then on.
        all.add(script(1), true);
        (2000..2600).for_each(|i| drop(all.add(script(i), false)));
        assert!(!first.is_gone());
        all.flush();
        assert!(first.is_gone() && all.is_empty() && all.memory() == 0);
    }

    #[test]
    fn a_hash_is_that_of_sha1() {
        assert_eq!(&sha1_hex(b""), b"da39a3ee5e6b4b0d3255bfef95601890afd80709");
    }
}
