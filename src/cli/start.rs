//! `dunlin cluster start`: the nodes of a local cluster as children of this process.
//!
//! Each has a directory of its own, so a cluster that was stopped comes back with its data. A node that ends by itself is
//! started again, after a pause that grows while it does not stay; Ctrl-C or SIGTERM stop all of them in order.

use std::ffi::OsString;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::client::{Client, Login};
use super::form::Wanted;
use super::{PORT, status};
use crate::base::{clock, os};
use crate::cluster::core::BUS_OFFSET;

/// How often the nodes are looked after.
const LOOK: Duration = Duration::from_millis(100);
/// A node that ran for so long starts again without much of a pause, ms.
const STAYED_MS: i64 = 10_000;
/// The first pause, and the longest, ms. The first is longer where a replica can take over: a primary that is back before
/// that goes on with what it had on disk, and its replica's newer data is lost.
const PAUSES_MS: (i64, i64) = (500, 30_000);
const PAUSE_FOR_FAILOVER_MS: i64 = 6_000;
/// A node that has not ended so long after it was asked to is killed, ms. Longer than `shutdown-timeout` of 10 s.
const GRACE_MS: i64 = 20_000;
/// Lines of a node's log that are shown when it does not start.
const LOG_LINES: usize = 5;

#[derive(Args)]
pub struct Options {
    /// How many nodes.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..=1000))]
    nodes: u16,
    /// Replicas of each primary.
    #[arg(long, default_value_t = 1)]
    replicas: u16,
    /// The port of the first node; the others follow.
    #[arg(long, default_value_t = PORT)]
    port: u16,
    /// The address at which the nodes listen.
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Where the nodes keep their data, each in a directory named by its port.
    #[arg(long, default_value = "dunlin-cluster")]
    dir: PathBuf,
    /// Serve the metrics of the first node at this port, and of the others at the following ones.
    #[arg(long)]
    metrics_port: Option<u16>,
    /// Options of the nodes, after `--`: for example -- --maxmemory 1gb
    #[arg(last = true)]
    options: Vec<OsString>,
}

struct Node {
    port: u16,
    child: Option<Child>,
    started: i64,
    pause: i64,
    /// When it is to be started again.
    due: i64,
}

struct Nest<'a> {
    options: &'a Options,
    dir: PathBuf,
    nodes: Vec<Node>,
}

/// The ports, and the number of primaries.
fn layout(options: &Options) -> Result<(Vec<u16>, usize), String> {
    let last = options.port.checked_add(options.nodes - 1).and_then(|last| last.checked_add(BUS_OFFSET));
    if options.port == 0 || last.is_none() {
        return Err(format!("--port {}: each node needs a port and another, {BUS_OFFSET} above it", options.port));
    }
    if options.metrics_port.is_some_and(|first| first.checked_add(options.nodes - 1).is_none()) {
        return Err("--metrics-port is too high for so many nodes".to_owned());
    }
    let primaries = options.nodes / (options.replicas.saturating_add(1));
    if primaries == 0 {
        return Err(format!("{} nodes are too few for {} replicas of a primary", options.nodes, options.replicas));
    }
    Ok(((options.port..options.port + options.nodes).collect(), usize::from(primaries)))
}

impl Nest<'_> {
    fn place(&self, port: u16) -> PathBuf {
        self.dir.join(port.to_string())
    }

    fn spawn(&self, port: u16) -> Result<Child, String> {
        let place = self.place(port);
        std::fs::create_dir_all(&place).map_err(|e| format!("Can't make {}: {e}", place.display()))?;
        let program = std::env::current_exe().map_err(|e| format!("Can't find this program: {e}"))?;
        let mut command = Command::new(program);
        let port_text = port.to_string();
        command.args(["--port", &port_text, "--bind", &self.options.host, "--cluster-enabled", "yes"]);
        // As a name in nodes.conf is of use to nobody on one machine, failures are found fast.
        command.args(["--cluster-node-timeout", "2000", "--repl-diskless-sync-delay", "0"]);
        command.arg("--dir").arg(&place).arg("--logfile").arg(place.join("dunlin.log"));
        if let Some(first) = self.options.metrics_port {
            command.args(["--metrics-port", &(first + (port - self.options.port)).to_string()]);
        }
        command.args(&self.options.options);
        // Ctrl-C reaches this process alone, which stops the nodes in order.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        os::end_with_this_thread(&mut command);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.spawn().map_err(|e| format!("Can't start the node of port {port}: {e}"))
    }

    fn start_all(&mut self) -> Result<(), String> {
        for i in 0..self.nodes.len() {
            let child = self.spawn(self.nodes[i].port)?;
            (self.nodes[i].child, self.nodes[i].started) = (Some(child), clock::steady_ms());
        }
        Ok(())
    }

    /// Those that ended since the last look: port and how.
    fn ended(&mut self) -> Vec<(usize, String)> {
        let status = |(i, node): (usize, &mut Node)| match node.child.as_mut()?.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some((i, status.to_string())),
            Err(e) => Some((i, e.to_string())),
        };
        let ended: Vec<_> = self.nodes.iter_mut().enumerate().filter_map(status).collect();
        ended.iter().for_each(|&(i, _)| self.nodes[i].child = None);
        ended
    }

    fn last_words(&self, port: u16) -> String {
        let log = std::fs::read_to_string(self.place(port).join("dunlin.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    /// Starts those again that ended.
    fn look_after(&mut self) {
        let now = clock::steady_ms();
        for (i, how) in self.ended() {
            let host = &self.options.host;
            let node = &mut self.nodes[i];
            let (shortest, longest) = PAUSES_MS;
            let shortest = if self.options.replicas > 0 { PAUSE_FOR_FAILOVER_MS } else { shortest };
            node.pause =
                if now - node.started > STAYED_MS { shortest } else { (node.pause * 2).clamp(shortest, longest) };
            node.due = now + node.pause;
            println!("{host}:{} ended ({how}); it is started again in {} ms", node.port, node.pause);
        }
        for i in 0..self.nodes.len() {
            if self.nodes[i].child.is_some() || self.nodes[i].due > now {
                continue;
            }
            let port = self.nodes[i].port;
            match self.spawn(port) {
                Ok(child) => {
                    println!("{}:{port} runs again, pid {}", self.options.host, child.id());
                    (self.nodes[i].child, self.nodes[i].started) = (Some(child), now);
                }
                Err(e) => {
                    println!("{e}");
                    self.nodes[i].due = now + PAUSES_MS.1;
                }
            }
        }
    }

    /// Asks all to end and waits. What has not ended in time is killed.
    async fn stop(&mut self) {
        self.nodes.iter().filter_map(|node| node.child.as_ref()).for_each(os::ask_to_end);
        let start = clock::steady_ms();
        loop {
            self.ended();
            let running = self.nodes.iter().filter(|node| node.child.is_some()).count();
            if running == 0 {
                return;
            }
            if clock::steady_ms() - start > GRACE_MS {
                println!("{running} nodes did not end in time and are killed.");
                for child in self.nodes.iter_mut().filter_map(|node| node.child.as_mut()) {
                    let _ = child.kill();
                    let _ = child.wait();
                }
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn say_ready(&self, is_new: bool) -> Result<(), String> {
        let Options { host, port, metrics_port, .. } = self.options;
        let login = Login::default();
        let (table, _) = status::describe(&mut Client::connect(host, *port, &login)?, &login)?;
        print!("\n{table}");
        let pids: Vec<String> =
            self.nodes.iter().filter_map(|node| Some(format!("{}={}", node.port, node.child.as_ref()?.id()))).collect();
        println!("Processes: {}", pids.join(" "));
        let (what, dir) = (if is_new { "A new cluster" } else { "The cluster of before" }, self.dir.display());
        println!("{what} is ready; its data are in {dir}.\n");
        println!("  redis-cli -c -h {host} -p {port}          any client that knows clusters, at any node");
        println!("  dunlin cluster status {host}:{port}      this table again");
        if let Some(first) = metrics_port {
            println!("  curl http://{host}:{first}/metrics       metrics of the first node");
        }
        println!("\nCtrl-C stops it.");
        Ok(())
    }
}

fn ports_are_free(host: &str, ports: &[u16]) -> Result<(), String> {
    for port in ports.iter().flat_map(|&port| [port, port + BUS_OFFSET]) {
        TcpListener::bind((host, port)).map_err(|e| format!("{host}:{port} can't be used: {e}"))?;
    }
    Ok(())
}

pub fn run(options: &Options) -> Result<ExitCode, String> {
    let (ports, primaries) = layout(options)?;
    ports_are_free(&options.host, &ports)?;
    let dir = std::path::absolute(&options.dir).map_err(|e| format!("{}: {e}", options.dir.display()))?;
    let nodes = ports.iter().map(|&port| Node { port, child: None, started: 0, pause: 0, due: 0 }).collect();
    let mut nest = Nest { options, dir, nodes };
    // Nodes end with the thread that started them: that is this one, in all cases.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    println!(
        "Starting {} nodes at {}, ports {} to {}: {primaries} primaries, {} replicas.",
        ports.len(),
        options.host,
        ports[0],
        ports[ports.len() - 1],
        ports.len() - primaries
    );
    if primaries < 3 {
        println!("With fewer than 3 primaries there is no majority to replace one that fails.");
    }
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(|e| e.to_string())?;
        let mut terminate = signal(SignalKind::terminate()).map_err(|e| e.to_string())?;
        let result = async {
            nest.start_all()?;
            tokio::select! {
                made = make(&mut nest, &ports, primaries) => nest.say_ready(made?)?,
                _ = interrupt.recv() => return Ok(()),
                _ = terminate.recv() => return Ok(()),
            }
            loop {
                tokio::select! {
                    () = tokio::time::sleep(LOOK) => nest.look_after(),
                    _ = interrupt.recv() => return Ok(()),
                    _ = terminate.recv() => return Ok(()),
                }
            }
        }
        .await;
        println!("Stopping the nodes.");
        tokio::select! {
            () = nest.stop() => {}
            _ = interrupt.recv() => println!("Once more Ctrl-C: the nodes are left to end by themselves."),
        }
        result.map(|()| ExitCode::SUCCESS)
    })
}

/// Makes a cluster of the nodes. True if it is new.
async fn make(nest: &mut Nest<'_>, ports: &[u16], primaries: usize) -> Result<bool, String> {
    let stop = Arc::new(AtomicBool::new(false));
    // Dropped with this future, when Ctrl-C comes first.
    let _guard = Raise(stop.clone());
    let (host, ports) = (nest.options.host.clone(), ports.to_vec());
    let mut forming = tokio::task::spawn_blocking(move || {
        let wanted = Wanted { ports: &ports, host: &host, primaries, stop: &stop };
        wanted.answer()?;
        wanted.form()
    });
    loop {
        tokio::select! {
            made = &mut forming => return made.map_err(|e| e.to_string())?,
            () = tokio::time::sleep(LOOK) => {}
        }
        if let Some((i, how)) = nest.ended().into_iter().next() {
            let port = nest.nodes[i].port;
            return Err(format!("The node of port {port} did not start ({how}):\n{}", nest.last_words(port)));
        }
    }
}

/// Sets a flag when it is dropped.
struct Raise(Arc<AtomicBool>);

impl Drop for Raise {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(nodes: u16, replicas: u16, port: u16) -> Options {
        let (host, dir) = ("127.0.0.1".to_owned(), PathBuf::new());
        Options { nodes, replicas, port, host, dir, metrics_port: None, options: Vec::new() }
    }

    #[test]
    fn how_many_primaries() {
        assert_eq!(layout(&options(6, 1, 7000)).unwrap(), ((7000..7006).collect(), 3));
        assert_eq!(layout(&options(7, 1, 7000)).unwrap().1, 3);
        assert_eq!(layout(&options(1, 0, 7000)).unwrap().1, 1);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (nodes, replicas, port) in [(2, 2, 7000), (3, u16::MAX, 7000), (6, 1, 0), (6, 1, 55_531), (6, 1, 65_534)] {
            assert!(layout(&options(nodes, replicas, port)).is_err(), "{nodes} {replicas} {port}");
        }
        assert!(layout(&options(6, 1, 55_530)).is_ok());
    }
}
