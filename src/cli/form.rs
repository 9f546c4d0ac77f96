//! Making a cluster of nodes that do not know each other. Each step looks at what is there first, so one that was cut
//! short is completed by doing it again, and a cluster that exists already stays as it is.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::client::{Client, Login, info_field};
use super::nodes;
use crate::base::clock;
use crate::base::slot::SLOTS;
use crate::cluster::core::BUS_OFFSET;

/// Milliseconds for each step.
const PATIENCE_MS: i64 = 60_000;
/// Between two looks, microseconds.
const PAUSE_US: u64 = 50_000;

/// What is wanted.
pub struct Wanted<'a> {
    /// The ports of the nodes.
    pub ports: &'a [u16],
    /// Their address.
    pub host: &'a str,
    /// How many of them are to be primaries: the first ones.
    pub primaries: usize,
    /// Set when it is not wanted any more.
    pub stop: &'a AtomicBool,
}

impl Wanted<'_> {
    fn connect(&self, port: u16) -> Result<Client, String> {
        Client::connect(self.host, port, &Login::default())
    }

    /// Waits until `right` says true of a connection to each node. Errors count as not yet.
    fn until(&self, what: &str, mut right: impl FnMut(&mut Client) -> Result<bool, String>) -> Result<(), String> {
        let start = clock::steady_ms();
        for &port in self.ports {
            loop {
                let result = self.connect(port).and_then(|mut client| right(&mut client));
                if result == Ok(true) {
                    break;
                }
                if self.stop.load(Relaxed) {
                    return Err("stopped".to_owned());
                }
                if clock::steady_ms() - start > PATIENCE_MS {
                    let why = result.err().map(|e| format!(" ({e})")).unwrap_or_default();
                    return Err(format!("{}:{port}: {what} did not come about{why}", self.host));
                }
                clock::pause_us(PAUSE_US);
            }
        }
        Ok(())
    }

    /// Waits until every node answers.
    pub fn answer(&self) -> Result<(), String> {
        self.until("an answer", |client| Ok(client.call(&["PING"])?.text() == "PONG"))
    }

    /// Whether any of the nodes is part of a cluster with slots.
    fn exists(&self) -> Result<bool, String> {
        for &port in self.ports {
            if nodes(&mut self.connect(port)?)?.nodes.iter().any(|node| !node.slots.is_empty()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Makes them a cluster that serves all slots, unless they are one. True if it is new.
    pub fn form(&self) -> Result<bool, String> {
        let is_new = !self.exists()?;
        self.meet()?;
        if is_new {
            self.share_slots()?;
        }
        self.follow()?;
        self.until("a cluster in order", |client| {
            let up = client.info("replication", "master_link_status")?;
            let state = client.call(&["CLUSTER", "INFO"])?.text();
            Ok(info_field(&state, "cluster_state") == "ok" && (up.is_empty() || up == "up"))
        })?;
        Ok(is_new)
    }

    fn meet(&self) -> Result<(), String> {
        let mut first = self.connect(self.ports[0])?;
        let known = nodes(&mut first)?;
        for &port in &self.ports[1..] {
            if !known.nodes.iter().any(|node| node.port == port) {
                let bus = port.saturating_add(BUS_OFFSET).to_string();
                first.call(&["CLUSTER", "MEET", self.host, &port.to_string(), &bus])?;
            }
        }
        let all = self.ports.len();
        self.until("a meeting of all nodes", |client| {
            let known = nodes(client)?.nodes;
            Ok(known.len() >= all && known.iter().all(|node| !node.flags.any(crate::cluster::Flags::HANDSHAKE)))
        })
    }

    fn share_slots(&self) -> Result<(), String> {
        for (i, &port) in self.ports[..self.primaries].iter().enumerate() {
            let edge = |i: usize| usize::from(SLOTS) * i / self.primaries;
            let (first, last) = (edge(i).to_string(), (edge(i + 1) - 1).to_string());
            let mut client = self.connect(port)?;
            // Epochs that differ from the start need no votes to be told apart. Where there is one already, this is an error.
            let _ = client.call(&["CLUSTER", "SET-CONFIG-EPOCH", &(i + 1).to_string()]);
            client.call(&["CLUSTER", "ADDSLOTSRANGE", &first, &last])?;
        }
        Ok(())
    }

    /// Nodes without slots follow those with slots, in turn.
    fn follow(&self) -> Result<(), String> {
        let picture = nodes(&mut self.connect(self.ports[0])?)?.nodes;
        let mut least: Vec<(usize, String)> = picture
            .iter()
            .filter(|node| {
                !node.slots.is_empty() || node.is_primary() && self.ports[..self.primaries].contains(&node.port)
            })
            .map(|node| {
                (picture.iter().filter(|other| other.primary == Some(node.id)).count(), node.id.as_str().to_owned())
            })
            .collect();
        for &port in self.ports {
            let mut client = self.connect(port)?;
            let seen = nodes(&mut client)?;
            let Some(me) = seen.nodes.iter().find(|node| node.id == seen.me) else { continue };
            let id = me.id.as_str().to_owned();
            if me.is_replica() || !me.slots.is_empty() || least.iter().any(|(_, primary)| *primary == id) {
                continue;
            }
            least.sort();
            let Some((count, primary)) = least.first_mut() else { continue };
            client.call(&["CLUSTER", "REPLICATE", primary])?;
            *count += 1;
        }
        Ok(())
    }
}
