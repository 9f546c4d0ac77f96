//! SIGTERM and SIGINT end the server in order; a second SIGINT ends it at once. The pid file.

use std::cell::Cell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

use tokio::signal::unix::{SignalKind, signal};

use crate::base::os;
use crate::commands::Server;
use crate::commands::persistence::save;
use crate::commands::server::shutdown::{self, Ending, Plan};
use crate::config::Config;

/// Listens to signals from here on.
pub fn install(server: &'static Server) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("Can't listen to signals: {e}");
    // The final snapshot is being written.
    let saving: Rc<Cell<bool>> = Rc::default();
    for (kind, name) in [(SignalKind::terminate(), "SIGTERM"), (SignalKind::interrupt(), "SIGINT")] {
        let mut stream = signal(kind).map_err(failed)?;
        let saving = saving.clone();
        tokio::task::spawn_local(async move {
            while stream.recv().await.is_some() {
                let under_way = saving.get() || server.ending.lock().is_some();
                if server.is_stopping() || under_way && name == "SIGINT" {
                    tracing::warn!("You insist... exiting now.");
                    let _ = std::fs::remove_file(save::temporary());
                    std::process::exit(1);
                }
                tracing::warn!("Received {name} scheduling shutdown...");
                let plan = plan(server, name);
                if under_way {
                    continue;
                }
                if server.switches.pause_cron.load(Relaxed) {
                    // It is seen to with the rest of the regular work, unless it is aborted before.
                    *server.ending.lock() = Some(Ending::without_wait(plan));
                } else if shutdown::begin(server, plan) {
                    saving.set(true);
                    tokio::task::spawn_local(finish(server, plan, name, saving.clone()));
                }
            }
        });
    }
    // A hang-up of the terminal is nothing to a server.
    let mut hangup = signal(SignalKind::hangup()).map_err(failed)?;
    tokio::task::spawn_local(async move { while hangup.recv().await.is_some() {} });
    Ok(())
}

/// A snapshot takes its time: not here, where connections are accepted and signals heard.
async fn finish(server: &'static Server, plan: Plan, name: &str, saving: Rc<Cell<bool>>) {
    let done = tokio::task::spawn_blocking(move || shutdown::finish(server, plan)).await;
    saving.set(false);
    if !matches!(done, Ok(Ok(()))) {
        tracing::warn!("{name} received but errors trying to shut down the server, check the logs");
    }
}

/// `shutdown-on-sigterm` and `shutdown-on-sigint`.
fn plan(server: &Server, name: &str) -> Plan {
    let option = if name == "SIGTERM" { "shutdown-on-sigterm" } else { "shutdown-on-sigint" };
    let text = String::from_utf8_lossy(&server.config.text_of(option)).into_owned();
    let has = |word: &str| text.split(' ').any(|w| w == word);
    let save = if has("nosave") || server.loading.on.load(Acquire) { Some(false) } else { has("save").then_some(true) };
    Plan { save, now: has("now"), force: has("force"), safe: has("safe"), failover: has("failover") }
}

/// The pid file, removed at the end.
pub struct PidFile(Option<PathBuf>);

impl PidFile {
    /// Writes it, if one is configured, or if the server runs in the background.
    pub fn write(config: &Config) -> PidFile {
        let mut path = config.pidfile();
        if path.is_empty() && config.daemonize() {
            path = b"/var/run/dunlin.pid".to_vec();
        }
        if path.is_empty() {
            return PidFile(None);
        }
        let path = os::path(path);
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
