//! Keys of a writable replica whose time clients of its own set. The primary says nothing of their end.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering::*};

use parking_lot::Mutex;

/// A key with the number of its database.
pub type OwnKey = (usize, Vec<u8>);

/// The keys, while the node is a replica.
#[derive(Debug, Default)]
pub struct OwnKeys {
    any: AtomicBool,
    keys: Mutex<HashSet<OwnKey>>,
}

impl OwnKeys {
    /// A client of this node has given the key a time.
    #[cold]
    pub fn add(&self, db: usize, key: &[u8]) {
        self.keys.lock().insert((db, key.to_vec()));
        self.any.store(true, Release);
    }
    /// Whether there are any: cheap.
    pub fn any(&self) -> bool {
        self.any.load(Acquire)
    }
    /// Takes all of them, to look at; those that go on are added again.
    pub fn take(&self) -> HashSet<OwnKey> {
        let mut keys = self.keys.lock();
        self.any.store(false, Release);
        std::mem::take(&mut *keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_kept_once_and_taken_once() {
        let own = OwnKeys::default();
        assert!(!own.any());
        own.add(0, b"k");
        own.add(0, b"k");
        own.add(1, b"k");
        assert!(own.any());
        assert_eq!(own.take().len(), 2);
        assert!(!own.any() && own.take().is_empty());
    }
}
