//! Tells systemd, where it runs the server, when it is ready and when it ends.

use sd_notify::NotifyState;

/// The server accepts connections.
pub fn ready() {
    // Without systemd there is nobody to tell.
    let _ = sd_notify::notify(&[NotifyState::Ready, NotifyState::Status("Ready to accept connections")]);
}

/// The server ends.
pub fn stopping() {
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
}
