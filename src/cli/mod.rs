//! `dunlin cluster ...`: a local cluster from one command, and what an operator does with a cluster.
//!
//! [`start`] runs the nodes of a local cluster and [`form`] makes a cluster of them; [`status`] shows one, [`rebalance`] moves its slots. They speak to
//! nodes as any client does, so they work with Redis and Valkey nodes too.

pub mod client;
mod form;
mod plan;
mod rebalance;
mod start;
mod status;
mod table;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use self::client::{Client, Login};
use crate::cluster::nodes_conf::{self, Stored};

/// The port of the first node of a local cluster.
const PORT: u16 = 7000;

#[derive(Parser)]
#[command(name = "dunlin cluster", bin_name = "dunlin cluster", about = "Run a local cluster, look after any cluster.")]
struct Cli {
    #[command(subcommand)]
    job: Job,
}

#[derive(Subcommand)]
enum Job {
    /// Run a whole cluster on this machine until Ctrl-C; nodes that die are started again.
    Start(start::Options),
    /// Show nodes, slots, and how far replicas lag behind. The exit status is 1 if something is wrong.
    Status(Target),
    /// Move slots until each primary carries its share. Can be interrupted, and goes on when it is run again.
    Rebalance(rebalance::Options),
}

/// Which cluster is meant.
#[derive(Args)]
struct Target {
    /// Any node of the cluster, as host:port.
    #[arg(default_value_t = format!("127.0.0.1:{PORT}"))]
    node: String,
    #[command(flatten)]
    login: LoginArgs,
}

#[derive(Args)]
struct LoginArgs {
    /// The user that logs in at the nodes.
    #[arg(long)]
    user: Option<String>,
    /// Its password. Other users of this machine can see it here: better set the variable REDISCLI_AUTH.
    #[arg(short = 'a', long = "pass")]
    password: Option<String>,
}

impl LoginArgs {
    fn login(&self) -> Login {
        let password = self.password.clone().or_else(|| std::env::var("REDISCLI_AUTH").ok());
        Login { user: self.user.clone(), password }
    }
}

impl Target {
    fn connect(&self) -> Result<Client, String> {
        let (host, port) = address(&self.node)?;
        Client::connect(host, port, &self.login.login())
    }
}

/// Splits `host:port`; brackets around an IPv6 address are taken off.
fn address(text: &str) -> Result<(&str, u16), String> {
    let bad = || format!("{text} is no address: host:port is wanted");
    let (host, port) = text.rsplit_once(':').ok_or_else(bad)?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Ok((host, port.parse().ok().filter(|_| !host.is_empty()).ok_or_else(bad)?))
}

/// The cluster as a node sees it.
fn nodes(client: &mut Client) -> Result<Stored, String> {
    let text = client.call(&["CLUSTER", "NODES"])?.text();
    let stored = nodes_conf::parse(&text, false).map_err(|e| format!("{}: CLUSTER NODES: {e}", client.at))?;
    let mut stored = stored.ok_or_else(|| format!("{}: CLUSTER NODES is empty", client.at))?;
    // A node that has met nobody does not know its address.
    stored.nodes.iter_mut().filter(|node| node.ip.is_empty()).for_each(|node| node.ip.clone_from(&client.host));
    Ok(stored)
}

/// Runs `dunlin cluster` with the arguments after these two words.
pub fn run(args: &[OsString]) -> ExitCode {
    let words = std::iter::once(OsString::from("dunlin cluster")).chain(args.iter().cloned());
    let result = match Cli::parse_from(words).job {
        Job::Start(options) => start::run(&options),
        Job::Status(target) => status::run(&target),
        Job::Rebalance(options) => rebalance::run(&options),
    };
    result.unwrap_or_else(|e| {
        eprintln!("{e}");
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn addresses() {
        assert_eq!(address("a.example:7000"), Ok(("a.example", 7000)));
        assert_eq!(address("[::1]:7000"), Ok(("::1", 7000)));
        for bad in ["7000", ":7000", "a:", "a:70000"] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }
}
