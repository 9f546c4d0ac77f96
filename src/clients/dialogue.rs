//! What a client and the script that it debugs have for each other. The script runs on a stack of its own, which is left while it
//! waits, or on a thread of its own; meanwhile its connection's task carries bytes between here and the socket.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use crate::resp::Error;

/// While this much waits to be sent the script says no more, bytes.
const MAX_UNSENT: usize = 64 << 10;

#[derive(Debug, Default)]
struct Inner {
    to_client: Vec<u8>,
    from_client: Vec<u8>,
    waits: bool,
    gone: bool,
    end: Option<Result<(), Error>>,
}

/// SCRIPT DEBUG: the scripts of a connection are debugged from now on.
#[derive(Debug, Default)]
pub struct Dialogue {
    inner: Mutex<Inner>,
    attended: AtomicBool,
    /// Scripts work on a copy of the data, on a thread of their own.
    copies: bool,
    for_script: Condvar,
    for_client: Notify,
}

impl Dialogue {
    /// Of scripts that work on a copy of the data, or on the data themselves.
    pub fn new(copies: bool) -> Dialogue {
        Dialogue { copies, ..Dialogue::default() }
    }
    /// Whether scripts work on a copy, on a thread of their own.
    pub fn is_of_copy(&self) -> bool {
        self.copies
    }
    /// That thread waits until the client does something.
    pub fn pause(&self) {
        let mut inner = self.inner.lock();
        let nothing = inner.from_client.is_empty() && inner.waits || inner.to_client.len() > MAX_UNSENT;
        if nothing && !inner.gone {
            self.for_script.wait(&mut inner);
        }
    }
    /// That thread is through; with why it could not begin, if it could not.
    pub fn finish(&self, how: Result<(), Error>) {
        self.inner.lock().end.get_or_insert(how);
        self.for_client.notify_one();
    }
    /// How it ended, once it has.
    pub fn take_end(&self) -> Option<Result<(), Error>> {
        self.inner.lock().end.take()
    }
    /// Ready when that thread has said something or is through.
    pub async fn news(&self) {
        self.for_client.notified().await;
    }

    /// The script says something.
    pub fn tell(&self, bytes: &[u8]) {
        let mut inner = self.inner.lock();
        if !inner.gone {
            inner.to_client.extend_from_slice(bytes);
            self.for_client.notify_one();
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
        self.for_script.notify_one();
    }
    /// Whether it has.
    pub fn is_over(&self) -> bool {
        self.inner.lock().gone
    }

    /// What is to be sent.
    pub fn take_unsent(&self) -> Vec<u8> {
        let unsent = std::mem::take(&mut self.inner.lock().to_client);
        self.for_script.notify_one();
        unsent
    }
    /// The client says something.
    pub fn say(&self, bytes: &[u8]) {
        let mut inner = self.inner.lock();
        inner.from_client.extend_from_slice(bytes);
        inner.waits = false;
        self.for_script.notify_one();
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
