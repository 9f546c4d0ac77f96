//! `dunlin cluster status`: nodes, slots and lag as a table.

use std::process::ExitCode;

use super::client::{Client, Login, info_field};
use super::{Target, nodes, table};
use crate::base::slot::SLOTS;
use crate::cluster::{Flags, NodeId, NodeInfo, SlotSet};

/// How many ranges of slots are shown of one node.
const RANGES: usize = 3;

/// What a node says of itself.
struct Report {
    keys: u64,
    memory: u64,
    ops: u64,
    clients: u64,
    /// Where it is in the stream of its shard.
    offset: u64,
    /// Of a replica: whether its link is up, and seconds since it heard from its primary.
    link: Option<(bool, i64)>,
    state_ok: bool,
}

fn ask(node: &NodeInfo, login: &Login) -> Result<Report, String> {
    let mut client = Client::connect(&node.ip, node.port, login)?;
    let keys = match client.call(&["DBSIZE"])? {
        super::client::Reply::Int(n) => n.max(0) as u64,
        other => return Err(format!("{}: DBSIZE said {}", client.at, other.text())),
    };
    let replication = client.call(&["INFO", "replication"])?.text();
    let number = |text: String| text.parse::<u64>().unwrap_or(0);
    let is_replica = info_field(&replication, "role") == "slave";
    let offset = if is_replica { "slave_repl_offset" } else { "master_repl_offset" };
    let link = is_replica.then(|| {
        let seconds = info_field(&replication, "master_last_io_seconds_ago").parse().unwrap_or(-1);
        (info_field(&replication, "master_link_status") == "up", seconds)
    });
    Ok(Report {
        keys,
        memory: number(client.info("memory", "used_memory")?),
        ops: number(client.info("stats", "instantaneous_ops_per_sec")?),
        clients: number(client.info("clients", "connected_clients")?),
        offset: number(info_field(&replication, offset)),
        link,
        state_ok: info_field(&client.call(&["CLUSTER", "INFO"])?.text(), "cluster_state") == "ok",
    })
}

fn condition(node: &NodeInfo) -> &'static str {
    if node.flags.any(Flags::FAIL) {
        "failed"
    } else if node.flags.any(Flags::PFAIL) {
        "suspected"
    } else if node.flags.any(Flags::HANDSHAKE) {
        "handshake"
    } else {
        "ok"
    }
}

fn ranges(slots: &SlotSet) -> String {
    let text = |&(first, last): &(u16, u16)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    let mut shown: Vec<String> = slots.ranges().iter().take(RANGES).map(text).collect();
    let more = slots.ranges().len().saturating_sub(RANGES);
    if more > 0 {
        shown.push(format!("and {more} more"));
    }
    shown.join(" ")
}

fn short(id: &NodeId) -> String {
    id.as_str()[..8].to_owned()
}

/// How far a replica is behind its primary.
fn lag(primary: Option<&Report>, replica: &Report) -> String {
    match replica.link {
        Some((true, seconds)) => {
            let bytes = primary.map(|primary| table::bytes(primary.offset.saturating_sub(replica.offset)));
            format!("{}, heard {seconds} s ago", bytes.unwrap_or_else(|| "?".to_owned()))
        }
        Some((false, _)) => "link down".to_owned(),
        None => String::new(),
    }
}

/// The table, and what is wrong.
pub fn describe(client: &mut Client, login: &Login) -> Result<(String, Vec<String>), String> {
    let cluster = nodes(client)?;
    let mut wrong = Vec::new();
    let reports: Vec<Result<Report, String>> = cluster.nodes.iter().map(|node| ask(node, login)).collect();
    let at = |id: &NodeId| cluster.nodes.iter().position(|node| node.id == *id);
    let mut order: Vec<usize> = (0..cluster.nodes.len()).collect();
    // A shard after the other in the order of slots, its primary first.
    order.sort_by_key(|&i| {
        let node = &cluster.nodes[i];
        let primary = node.primary.as_ref().and_then(at).map_or(node, |i| &cluster.nodes[i]);
        let first = primary.slots.ranges().first().map_or(SLOTS, |range| range.0);
        (first, primary.id, node.is_replica(), node.port)
    });
    let head = ["NODE", "ADDRESS", "ROLE", "STATE", "SLOTS", "KEYS", "MEMORY", "OPS/S", "CLIENTS", "RANGES OR LAG"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let mut covered = 0;
    for i in order {
        let (node, report) = (&cluster.nodes[i], &reports[i]);
        let name = format!("{}:{}", node.ip, node.port);
        let mut state = condition(node).to_owned();
        if state != "ok" {
            wrong.push(format!("{name} is {state}"));
        } else {
            covered += usize::from(node.slots.len());
        }
        let role = if node.is_replica() { "replica" } else { "primary" };
        let slots = if node.is_replica() { String::new() } else { node.slots.len().to_string() };
        let mut row = vec![short(&node.id), name.clone(), role.to_owned()];
        match report {
            Ok(report) => {
                if !report.state_ok {
                    wrong.push(format!("for {name} the cluster is down"));
                }
                if matches!(report.link, Some((false, _))) {
                    wrong.push(format!("{name} has no link to its primary"));
                }
                let primary = node.primary.as_ref().and_then(at).and_then(|i| reports[i].as_ref().ok());
                let last = if node.is_replica() { lag(primary, report) } else { ranges(&node.slots) };
                let numbers = [report.keys.to_string(), table::bytes(report.memory), report.ops.to_string()];
                row.extend([state, slots]);
                row.extend(numbers);
                row.extend([report.clients.to_string(), last]);
            }
            Err(e) => {
                if state == "ok" {
                    wrong.push(e.clone());
                    state = "unreachable".to_owned();
                }
                row.extend([state, slots, "-".to_owned(), "-".to_owned(), "-".to_owned(), "-".to_owned()]);
                row.push(ranges(&node.slots));
            }
        }
        rows.push(row);
    }
    if covered != usize::from(SLOTS) {
        wrong.push(format!("{} slots are not served", usize::from(SLOTS) - covered));
    }
    let open = cluster.migrating.len() + cluster.importing.len();
    let mut text = table::render(&rows, &[4, 5, 6, 7, 8]);
    let state = if wrong.is_empty() { "ok" } else { "not ok" };
    text.push_str(&format!("{state}: {covered} of {SLOTS} slots served, {} nodes", cluster.nodes.len()));
    if open > 0 {
        text.push_str(&format!(", {open} slots on their way at {}", client.at));
    }
    text.push('\n');
    Ok((text, wrong))
}

pub fn run(target: &Target) -> Result<ExitCode, String> {
    let (text, wrong) = describe(&mut target.connect()?, &target.login.login())?;
    print!("{text}");
    for line in &wrong {
        println!("! {line}");
    }
    Ok(if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_ranges_are_cut_short() {
        let slots: SlotSet = [1, 3, 4, 5, 7, 9, 11].into_iter().collect();
        assert_eq!(ranges(&slots), "1 3-5 7 and 2 more");
        assert_eq!(ranges(&SlotSet::new()), "");
    }
}
