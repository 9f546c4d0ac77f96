//! SIGTERM and SIGINT end the server in order; a second SIGINT ends it at once. The pid file.

use std::path::PathBuf;

use tokio::signal::unix::{SignalKind, signal};

use crate::commands::Server;
use crate::config::Config;

/// Listens to signals from here on.
pub fn install(server: &'static Server) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("Can't listen to signals: {e}");
    for (kind, name) in [(SignalKind::terminate(), "SIGTERM"), (SignalKind::interrupt(), "SIGINT")] {
        let mut stream = signal(kind).map_err(failed)?;
        tokio::task::spawn_local(async move {
            while stream.recv().await.is_some() {
                if server.is_stopping() {
                    tracing::warn!("You insist... exiting now.");
                    std::process::exit(1);
                }
                tracing::warn!("Received {name} scheduling shutdown...");
                server.shut_down();
            }
        });
    }
    // A hang-up of the terminal is nothing to a server.
    let mut hangup = signal(SignalKind::hangup()).map_err(failed)?;
    tokio::task::spawn_local(async move { while hangup.recv().await.is_some() {} });
    Ok(())
}

/// The pid file, removed at the end.
pub struct PidFile(Option<PathBuf>);

impl PidFile {
    /// Writes it, if one is configured, or if the server runs in the background.
    pub fn write(config: &Config) -> PidFile {
        use std::os::unix::ffi::OsStringExt;
        let mut path = config.pidfile();
        if path.is_empty() && config.daemonize() {
            path = b"/var/run/dunlin.pid".to_vec();
        }
        if path.is_empty() {
            return PidFile(None);
        }
        let path = PathBuf::from(std::ffi::OsString::from_vec(path));
        match std::fs::write(&path, format!("{}\n", std::process::id())) {
            Ok(()) => PidFile(Some(path)),
            Err(e) => {
                tracing::warn!("Failed to write PID file: {e}");
                PidFile(None)
            }
        }
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}
