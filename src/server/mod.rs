//! The running server: listeners, workers, connections, signals, periodic work.
//!
//! ```text
//!   main thread                         worker threads (one runtime each)
//!   accept on every listener  --fd-->   connection tasks: read, decode, execute, write
//!   signals, once-a-second work         expiry passes over the worker's share of the slots
//!   lazyfree thread: frees big values
//! ```

mod accept;
mod admin;
mod apart;
mod bulk;
mod bus;
mod conn;
mod debug;
mod dial;
mod evict;
mod feed;
mod link;
mod listen;
pub mod log;
mod notify;
mod periodic;
mod queue;
pub mod replay;
mod requests;
mod signals;
mod stream;
mod sync;
mod worker;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering::Release;

use sha2::{Digest, Sha256};

use crate::base::cpus::{self, Duty};
use crate::base::{alloc, os, siphash, title};
use crate::commands::Server;
use crate::commands::acl as users;
use crate::commands::cluster::keys;
use crate::commands::gate::bits;
use crate::commands::persistence::{aof, load, save};
use crate::commands::replication::role;
use crate::commands::server::oom;
use crate::config::Config;
use crate::repl::Primary;

/// Sets the key of the hash that orders tables: from the seed, or at random where there is none.
fn set_hash_key(seed: &[u8]) {
    if seed.is_empty() {
        siphash::randomize();
        return;
    }
    let digest: [u8; 32] = Sha256::digest(seed).into();
    let (words, _) = digest.as_chunks::<8>();
    siphash::set_key(u64::from_le_bytes(words[0]), u64::from_le_bytes(words[1]));
}

/// Binds this thread, from which all others come, to its CPUs.
fn set_cpus(config: &Config) -> Result<(), String> {
    let lists = [
        ("server-cpulist", config.server_cpulist()),
        ("bio-cpulist", config.bio_cpulist()),
        ("aof-rewrite-cpulist", config.aof_rewrite_cpulist()),
        ("bgsave-cpulist", config.bgsave_cpulist()),
    ];
    let read = |list: &[u8]| std::str::from_utf8(list).ok().and_then(cpus::parse).unwrap_or_default();
    cpus::configure(lists.each_ref().map(|(_, list)| read(list)))
        .map_err(|(at, e)| format!("Can't bind threads to the CPUs of {}: {e}", lists[at].0))?;
    cpus::enter(Duty::Server);
    Ok(())
}

/// Runs a server until it is told to end. The exit status: 0 after an orderly end, 1 when it could not start.
pub fn run(config: Config) -> ExitCode {
    let config: &'static Config = Box::leak(Box::new(config));
    set_hash_key(&config.hash_seed());
    if config.daemonize()
        && let Err(e) = os::daemonize()
    {
        eprintln!("Can't run in the background: {e}");
        return ExitCode::FAILURE;
    }
    log::init(config);
    if let Err(e) = set_cpus(config) {
        tracing::error!("{e}");
        eprintln!("{e}");
        return ExitCode::FAILURE;
    }
    alloc::set_background(config.jemalloc_bg_thread());
    if let Err(e) = set_locale(config) {
        tracing::warn!("{e}");
    }
    if config.disable_thp() {
        os::disable_huge_pages();
    }
    let server = Server::new(config);
    if let Err(e) = users::load_at_start(server) {
        tracing::error!("{e}");
        eprintln!("{e}");
        return ExitCode::FAILURE;
    }
    // A server that may not change it serves all the same; the log says so.
    let _ = oom::apply(server);
    config.rewrite_users_from(Box::new(move || users::save_lines(server)));
    let _ = server.replay.set(|server| replay::load_files(server, &server.aof.manifest()));
    match serve(server) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            tracing::error!("{e}");
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

fn serve(server: &'static Server) -> Result<(), String> {
    let config = server.config;
    tracing::info!("Dunlin {} starting, pid={}", env!("CARGO_PKG_VERSION"), std::process::id());
    for option in config.without_effect() {
        tracing::warn!("The option {option} has no effect in this version.");
    }
    accept::raise_open_files(config);
    let listeners = listen::bind_all(config)?;
    let pid_file = signals::PidFile::write(config);
    if let Some((host, port)) = config.primary_to_follow() {
        role::become_replica(server, Primary { host, port });
    }
    let bus = bus::prepare(server)?;
    // Unless the snapshot on disk says otherwise.
    server.repl.link.blank.store(server.repl.link.is_replica(), Release);
    let workers = worker::start_all(server, config.workers())?;
    let metrics = admin::Port::new(server, workers.gates());
    metrics.rebind()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("Can't make the runtime: {e}"))?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let acceptors = accept::Acceptors::new(server, workers.gates());
        let remote = Arc::new(acceptors.remote(&listeners));
        install_hook(server, remote.clone(), metrics);
        server.on_shut_down(Box::new(move || remote.close()));
        acceptors.listen(listeners);
        signals::install(server)?;
        // Tools that start servers wait for these words.
        let mode = if config.cluster_enabled() { "cluster" } else { "standalone" };
        tracing::info!("Running mode={mode}, port={}. PID: {}", config.port(), std::process::id());
        tracing::info!("Server initialized");
        show_title(config);
        load_data(server).await?;
        link::start(server, config.workers())?;
        if let Some(bus) = bus {
            bus::start(server, bus)?;
        }
        tokio::task::spawn_local(periodic::run(server));
        tokio::task::spawn_local(sync::run(server));
        tracing::info!("Ready to accept connections");
        notify::ready();
        server.stopped().await;
        acceptors.close();
        Ok::<(), String>(())
    })?;
    notify::stopping();
    workers.join();
    if let Some(writer) = server.aof.writer() {
        writer.stop();
    }
    drop(pid_file);
    tracing::info!("Dunlin is now ready to exit, bye bye...");
    Ok(())
}

/// Loads what is on disk, while clients are told to wait.
async fn load_data(server: &'static Server) -> Result<(), String> {
    server.gate.set(bits::LOADING, true);
    let loaded = tokio::task::spawn_blocking(move || {
        if server.config.appendonly() {
            if !replay::load(server)? && save::path(server).exists() {
                tracing::warn!("appendonly is on and there is no append-only file: the snapshot is not loaded");
            }
            aof::open_at_start(server)
        } else {
            save::check_directory(server)?;
            load::at_start(server)
        }
    })
    .await;
    server.gate.set(bits::LOADING, false);
    loaded.map_err(|e| e.to_string())??;
    keys::verify_loaded(server)
}

/// `set-proc-title`: what `ps` shows.
fn show_title(config: &Config) {
    if !config.set_proc_title() {
        return;
    }
    let template = String::from_utf8_lossy(&config.text_of("proc-title-template")).into_owned();
    let addr = config.bind_addresses().into_iter().next().unwrap_or_else(|| "*".to_owned());
    let text = title::expand(&template, |name| match name {
        "title" => Some("dunlin".to_owned()),
        "listen-addr" => Some(format!("{}:{}", addr.trim_start_matches('-'), config.port())),
        "server-mode" => Some(if config.cluster_enabled() { " [cluster]" } else { "" }.to_owned()),
        "port" => Some(config.port().to_string()),
        "tls-port" => Some("0".to_owned()),
        "unixsocket" => Some(String::from_utf8_lossy(&config.unixsocket()).into_owned()),
        "config-file" => Some(config.file().map(|f| f.display().to_string()).unwrap_or_default()),
        _ => None,
    });
    title::set(&text);
}

fn set_locale(config: &Config) -> Result<(), String> {
    let name = String::from_utf8_lossy(&config.locale_collate()).into_owned();
    if os::set_collation(&name) { Ok(()) } else { Err("Invalid locale name".to_owned()) }
}

/// What CONFIG SET changes outside of the table of options.
fn install_hook(server: &'static Server, acceptors: Arc<accept::Remote>, metrics: admin::Port) {
    server.config.on_change(Box::new(move |config, name| match name {
        "port" => acceptors.rebind().map_err(|_| "Unable to listen on this port. Check server logs.".to_owned()),
        "bind" => acceptors.rebind().map_err(|_| "Failed to bind to specified addresses.".to_owned()),
        "metrics-port" | "metrics-bind" => metrics.rebind().map_err(|e| {
            tracing::warn!("{e}");
            "Unable to listen on this port. Check server logs.".to_owned()
        }),
        "maxclients" => accept::check_open_files(config),
        "jemalloc-bg-thread" => {
            alloc::set_background(config.jemalloc_bg_thread());
            Ok(())
        }
        "commandlog-slow-execution-max-len" | "commandlog-large-request-max-len" | "commandlog-large-reply-max-len" => {
            use crate::metrics::LogKind;
            server.log.trim(LogKind::Slow, config.commandlog_slow_execution_max_len());
            server.log.trim(LogKind::LargeRequest, config.commandlog_large_request_max_len());
            server.log.trim(LogKind::LargeReply, config.commandlog_large_reply_max_len());
            Ok(())
        }
        "requirepass" => {
            server.acl.set_default_password(&config.requirepass());
            Ok(())
        }
        "stop-writes-on-bgsave-error" | "save" => {
            save::review_gate(server);
            Ok(())
        }
        "appendonly" if config.appendonly() => aof::turn_on(server),
        "appendonly" => {
            aof::turn_off(server);
            Ok(())
        }
        "appendfsync" | "aof-timestamp-enabled" => {
            if let Some(writer) = server.aof.writer() {
                writer.set_fsync(aof::policy(server));
                writer.set_timestamps(config.aof_timestamp_enabled());
            }
            Ok(())
        }
        "repl-backlog-size" => {
            server.repl.log.set_backlog(config.repl_backlog_size() as u64);
            Ok(())
        }
        "min-replicas-to-write" | "min-replicas-max-lag" => {
            sync::count_good(server, crate::base::clock::now_ms());
            Ok(())
        }
        "maxmemory-clients" | "maxmemory" => {
            evict::evict(server);
            Ok(())
        }
        "locale-collate" => set_locale(config),
        "oom-score-adj" | "oom-score-adj-values" => oom::apply(server),
        name if name.starts_with("cluster-") => {
            bus::review_settings(server);
            Ok(())
        }
        "proc-title-template" => {
            show_title(config);
            Ok(())
        }
        _ => Ok(()),
    }));
}
