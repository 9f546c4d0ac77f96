//! What a client and the script that it debugs have for each other. The script runs on a stack of its own, which is left while it
//! waits; meanwhile its connection's task carries bytes between here and the socket.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use parking_lot::Mutex;

/// While this much waits to be sent the script says no more, bytes.
const MAX_UNSENT: usize = 64 << 10;

#[derive(Debug, Default)]
struct Inner {
    to_client: Vec<u8>,
    from_client: Vec<u8>,
    waits: bool,
    gone: bool,
}

/// SCRIPT DEBUG: the scripts of a connection are debugged from now on.
#[derive(Debug, Default)]
pub struct Dialogue {
    inner: Mutex<Inner>,
    attended: AtomicBool,
}

impl Dialogue {
    /// The script says something.
    pub fn tell(&self, bytes: &[u8]) {
        let mut inner = self.inner.lock();
        if !inner.gone {
            inner.to_client.extend_from_slice(bytes);
        }
    }
    /// Whether so much waits to be sent that the script should wait, too.
    pub fn is_full(&self) -> bool {
        self.inner.lock().to_client.len() > MAX_UNSENT
    }
    /// What the client has said, if anything; else the script waits for it from now on.
    pub fn hear(&self) -> Option<Vec<u8>> {
        let mut inner = self.inner.lock();
        let said = std::mem::take(&mut inner.from_client);
        inner.waits = said.is_empty();
        (!said.is_empty()).then_some(said)
    }
    /// The client has gone, or has to.
    pub fn leave(&self) {
        let mut inner = self.inner.lock();
        (inner.gone, inner.waits) = (true, false);
        inner.to_client = Vec::new();
    }
    /// Whether it has.
    pub fn is_over(&self) -> bool {
        self.inner.lock().gone
    }

    /// What is to be sent.
    pub fn take_unsent(&self) -> Vec<u8> {
        std::mem::take(&mut self.inner.lock().to_client)
    }
    /// The client says something.
    pub fn say(&self, bytes: &[u8]) {
        let mut inner = self.inner.lock();
        inner.from_client.extend_from_slice(bytes);
        inner.waits = false;
    }
    /// Whether the script waits for it.
    pub fn waits(&self) -> bool {
        self.inner.lock().waits
    }
    /// Whether the client has said more than the script has heard.
    pub fn has_said(&self) -> bool {
        !self.inner.lock().from_client.is_empty()
    }

    /// Somebody carries the bytes.
    pub fn attend(&self) {
        self.attended.store(true, Relaxed);
    }
    /// Whether somebody does.
    pub fn is_attended(&self) -> bool {
        self.attended.load(Relaxed)
    }
}
