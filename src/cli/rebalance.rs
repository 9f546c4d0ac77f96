//! `dunlin cluster rebalance`: moves slots until each primary carries its share, by CLUSTER MIGRATESLOTS.
//!
//! Nothing is remembered between two runs: one that was interrupted goes on from where the slots are then. A batch that is
//! under way when this program ends is finished by the nodes.

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::client::{Client, Login, Reply};
use super::plan::{Carrier, Move, batches, plan};
use super::{Target, nodes, table};
use crate::base::clock;
use crate::base::slot::SLOTS;
use crate::cluster::{NodeInfo, SlotSet};

/// How often the progress of a batch is asked for, microseconds.
const LOOK_US: u64 = 20_000;
/// Nodes get so long to agree on what was moved, ms.
const PATIENCE_MS: i64 = 30_000;

/// What is shared out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum By {
    /// The number of slots.
    Slots,
    /// The number of keys.
    Keys,
    /// Memory: of each slot its keys, times what a key takes on its node.
    Bytes,
    /// Operations: the CPU time of commands, measured for --sample seconds (with cluster-slot-stats-enabled on meanwhile).
    Ops,
}

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    target: Target,
    /// What each primary is to have an equal share of.
    #[arg(long, value_enum, default_value = "slots")]
    by: By,
    /// A primary's share in proportion to the others', as the start of its id, or host:port, and a number: 0 empties it.
    /// The rest have 1.
    #[arg(long = "weight", value_name = "NODE=WEIGHT")]
    weights: Vec<String>,
    /// Do nothing where no primary is further than this from its share, percent.
    #[arg(long, default_value_t = 2.0)]
    threshold: f64,
    /// Slots that move at once.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..=16384))]
    batch: u16,
    /// Milliseconds between two batches.
    #[arg(long, default_value_t = 0)]
    pause: u64,
    /// Seconds for which operations are measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=3600))]
    sample: u16,
    /// Show what would move, and move nothing.
    #[arg(long)]
    dry_run: bool,
}

struct Primary {
    info: NodeInfo,
    client: Client,
}

fn name(node: &NodeInfo) -> String {
    format!("{}:{}", node.ip, node.port)
}

/// The weights that were asked for, by the position of the primary.
fn weights(primaries: &[Primary], asked: &[String]) -> Result<Vec<f64>, String> {
    let mut weights = vec![1.0; primaries.len()];
    for text in asked {
        let (who, weight) = text.rsplit_once('=').ok_or_else(|| format!("--weight {text}: NODE=WEIGHT is wanted"))?;
        let weight: f64 = weight
            .parse()
            .ok()
            .filter(|w: &f64| w.is_finite() && *w >= 0.0)
            .ok_or_else(|| format!("--weight {text}: {weight} is no weight"))?;
        let is_meant = |p: &&Primary| p.info.id.as_str().starts_with(who) || name(&p.info) == who;
        let meant: Vec<usize> = (0..primaries.len()).filter(|&i| is_meant(&&primaries[i])).collect();
        match meant[..] {
            [i] => weights[i] = weight,
            [] => return Err(format!("--weight {text}: no primary is called {who}")),
            _ => return Err(format!("--weight {text}: several primaries begin with {who}")),
        }
    }
    Ok(weights)
}

/// A metric of all slots of a primary.
fn slot_stats(client: &mut Client, metric: &str) -> Result<HashMap<u16, f64>, String> {
    let last = (SLOTS - 1).to_string();
    let reply = client.call(&["CLUSTER", "SLOT-STATS", "SLOTSRANGE", "0", &last])?;
    let row = |row: &Reply| {
        let [Reply::Int(slot), stats] = row.items() else { return None };
        let Some(Reply::Int(value)) = stats.field(metric) else { return None };
        Some((u16::try_from(*slot).ok()?, *value as f64))
    };
    reply
        .items()
        .iter()
        .map(row)
        .collect::<Option<_>>()
        .ok_or_else(|| format!("{}: no {metric} in CLUSTER SLOT-STATS", client.at))
}

/// The load of each slot of each primary.
fn loads(primaries: &mut [Primary], by: By, sample: u16) -> Result<Vec<HashMap<u16, f64>>, String> {
    match by {
        By::Slots => Ok(primaries.iter().map(|p| p.info.slots.iter().map(|slot| (slot, 1.0)).collect()).collect()),
        By::Keys => primaries.iter_mut().map(|p| slot_stats(&mut p.client, "key-count")).collect(),
        By::Bytes => primaries
            .iter_mut()
            .map(|p| {
                let mut keys = slot_stats(&mut p.client, "key-count")?;
                let dataset: f64 = p.client.info("memory", "used_memory_dataset")?.parse().unwrap_or(0.0);
                let all: f64 = keys.values().sum();
                keys.values_mut().for_each(|n| *n *= if all > 0.0 { dataset / all } else { 0.0 });
                Ok(keys)
            })
            .collect(),
        By::Ops => {
            let mut switched = Vec::new();
            for (i, p) in primaries.iter_mut().enumerate() {
                let on = p.client.call(&["CONFIG", "GET", "cluster-slot-stats-enabled"])?;
                if on.field("cluster-slot-stats-enabled").is_some_and(|value| value.text() == "no") {
                    p.client.call(&["CONFIG", "SET", "cluster-slot-stats-enabled", "yes"])?;
                    switched.push(i);
                }
            }
            let read = |primaries: &mut [Primary]| -> Result<Vec<HashMap<u16, f64>>, String> {
                primaries.iter_mut().map(|p| slot_stats(&mut p.client, "cpu-usec")).collect()
            };
            let before = read(primaries);
            if before.is_ok() {
                clock::pause_us(u64::from(sample) * 1_000_000);
            }
            let after = before.and_then(|before| Ok((before, read(primaries)?)));
            for i in switched {
                primaries[i].client.call(&["CONFIG", "SET", "cluster-slot-stats-enabled", "no"])?;
            }
            let (before, mut after) = after?;
            for (now, then) in after.iter_mut().zip(&before) {
                now.iter_mut().for_each(|(slot, us)| *us = (*us - then.get(slot).unwrap_or(&0.0)).max(0.0));
            }
            Ok(after)
        }
    }
}

/// Every slot counts a little, so that those without load are shared out, too.
fn with_floor(loads: &mut [HashMap<u16, f64>]) {
    let total: f64 = loads.iter().flat_map(|slots| slots.values()).sum();
    let floor = if total > 0.0 { total / f64::from(SLOTS) / 100.0 } else { 1.0 };
    loads.iter_mut().flat_map(|slots| slots.values_mut()).for_each(|load| *load += floor);
}

fn show(primaries: &[Primary], carriers: &[Carrier], moves: &[Move], by: By) -> String {
    let (weights, total): (f64, f64) = carriers
        .iter()
        .fold((0.0, 0.0), |(w, t), c| (w + c.weight, t + c.slots.iter().map(|(_, load)| load).sum::<f64>()));
    let head = ["NODE", "ADDRESS", "WEIGHT", "SLOTS", "CARRIES", "SHARE", "AFTERWARDS", "SLOTS AFTERWARDS"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let percent = |load: f64| if total > 0.0 { format!("{:.1}%", load / total * 100.0) } else { "-".to_owned() };
    for (i, (p, c)) in primaries.iter().zip(carriers).enumerate() {
        let load_of =
            |slot: u16| carriers.iter().flat_map(|c| &c.slots).find(|(s, _)| *s == slot).map_or(0.0, |(_, l)| *l);
        let (mut load, mut slots) = (c.slots.iter().map(|(_, load)| load).sum::<f64>(), c.slots.len());
        let (now, before) = (load, slots);
        for m in moves {
            let moved: f64 = if m.from == i || m.to == i { m.slots.iter().map(load_of).sum() } else { 0.0 };
            if m.from == i {
                (load, slots) = (load - moved, slots - usize::from(m.slots.len()));
            } else if m.to == i {
                (load, slots) = (load + moved, slots + usize::from(m.slots.len()));
            }
        }
        let share = if weights > 0.0 { percent(total * c.weight / weights) } else { "-".to_owned() };
        rows.push(vec![
            p.info.id.as_str()[..8].to_owned(),
            name(&p.info),
            c.weight.to_string(),
            before.to_string(),
            percent(now),
            share,
            percent(load),
            slots.to_string(),
        ]);
    }
    format!("By {}:\n{}", format!("{by:?}").to_lowercase(), table::render(&rows, &[2, 3, 4, 5, 6, 7]))
}

/// How far it is, on one line that is written over where somebody looks.
struct Progress {
    slots: usize,
    done: usize,
    start: i64,
}

impl Progress {
    fn show(&self, what: &str) {
        const WIDTH: usize = 30;
        let filled = self.done * WIDTH / self.slots.max(1);
        let bar: String = (0..WIDTH).map(|i| if i < filled { '#' } else { '.' }).collect();
        let seconds = (clock::steady_ms() - self.start) / 1000;
        let line = format!("[{bar}] {} of {} slots, {seconds} s, {what}", self.done, self.slots);
        if std::io::stdout().is_terminal() {
            print!("\r\x1b[K{line}");
            let _ = std::io::stdout().flush();
        } else {
            println!("{line}");
        }
    }
}

/// Moves one batch and waits for its end.
fn carry(client: &mut Client, target: &str, slots: &SlotSet) -> Result<(), String> {
    let numbers: Vec<String> =
        slots.ranges().iter().flat_map(|(first, last)| [first, last]).map(u16::to_string).collect();
    let mut words = vec!["CLUSTER", "MIGRATESLOTS", "SLOTSRANGE"];
    words.extend(numbers.iter().map(String::as_str));
    words.extend(["NODE", target]);
    client.call(&words)?;
    let ranges: Vec<String> = slots.ranges().iter().map(|(first, last)| format!("{first}-{last}")).collect();
    let ranges = ranges.join(" ");
    loop {
        let reply = client.call(&["CLUSTER", "GETSLOTMIGRATIONS"])?;
        let text = |row: &Reply, field: &str| row.field(field).map(Reply::text).unwrap_or_default();
        let mine =
            reply.items().iter().find(|row| text(row, "slot_ranges") == ranges && text(row, "operation") == "EXPORT");
        let mine = mine.ok_or_else(|| format!("{} does not know the migration of {ranges} any more", client.at))?;
        match &text(mine, "state")[..] {
            "success" => return Ok(()),
            state @ ("failed" | "cancelled") => {
                return Err(format!("{}: the migration of {ranges} {state}: {}", client.at, text(mine, "message")));
            }
            _ => clock::pause_us(LOOK_US),
        }
    }
}

/// Waits until all nodes say that the slots are their new owner's.
fn settle(all: &[NodeInfo], login: &Login, moved: &[Move], primaries: &[Primary]) -> Result<(), String> {
    let start = clock::steady_ms();
    for node in all {
        loop {
            let agrees =
                Client::connect(&node.ip, node.port, login).and_then(|mut client| nodes(&mut client)).map(|seen| {
                    moved.iter().all(|m| {
                        let owner = seen.nodes.iter().find(|n| n.id == primaries[m.to].info.id);
                        owner.is_some_and(|owner| m.slots.iter().all(|slot| owner.slots.contains(slot)))
                    })
                });
            match agrees {
                Ok(true) => break,
                _ if clock::steady_ms() - start < PATIENCE_MS => clock::pause_us(LOOK_US),
                Ok(false) => return Err(format!("{} does not know yet what was moved", name(node))),
                Err(e) => return Err(e),
            }
        }
    }
    Ok(())
}

pub fn run(options: &Options) -> Result<ExitCode, String> {
    let login = options.target.login.login();
    let cluster = nodes(&mut options.target.connect()?)?;
    if let Some((slot, _)) = cluster.migrating.first().or(cluster.importing.first()) {
        return Err(format!("Slot {slot} is on its way already: end that first (redis-cli --cluster fix)"));
    }
    let mut primaries = Vec::new();
    for info in cluster.nodes.iter().filter(|node| node.is_primary()) {
        if info.is_failed() {
            return Err(format!("{} has failed: nothing is moved in a cluster that is not whole", name(info)));
        }
        primaries.push(Primary { client: Client::connect(&info.ip, info.port, &login)?, info: info.clone() });
    }
    let weights = weights(&primaries, &options.weights)?;
    let mut loads = loads(&mut primaries, options.by, options.sample)?;
    with_floor(&mut loads);
    let carriers: Vec<Carrier> = loads
        .into_iter()
        .zip(weights)
        .map(|(slots, weight)| Carrier { weight, slots: slots.into_iter().collect() })
        .collect();
    let moves = plan(&carriers, options.threshold / 100.0);
    print!("{}", show(&primaries, &carriers, &moves, options.by));
    if moves.is_empty() {
        println!("Nothing is to be moved: each primary is within {} % of its share.", options.threshold);
        return Ok(ExitCode::SUCCESS);
    }
    for m in &moves {
        println!("{} -> {}: {} slots", name(&primaries[m.from].info), name(&primaries[m.to].info), m.slots.len());
    }
    if options.dry_run {
        println!("A dry run: nothing was moved.");
        return Ok(ExitCode::SUCCESS);
    }
    let slots = moves.iter().map(|m| usize::from(m.slots.len())).sum();
    let mut progress = Progress { slots, done: 0, start: clock::steady_ms() };
    for batch in moves.iter().flat_map(|m| batches(m, usize::from(options.batch))) {
        let target = primaries[batch.to].info.id;
        carry(&mut primaries[batch.from].client, target.as_str(), &batch.slots)?;
        progress.done += usize::from(batch.slots.len());
        progress.show(&format!("{} -> {}", name(&primaries[batch.from].info), name(&primaries[batch.to].info)));
        if progress.done < progress.slots && options.pause > 0 {
            clock::pause_us(options.pause * 1000);
        }
    }
    if std::io::stdout().is_terminal() {
        println!();
    }
    settle(&cluster.nodes, &login, &moves, &primaries)?;
    println!("Done: {slots} slots moved in {:.1} s.", (clock::steady_ms() - progress.start) as f64 / 1000.0);
    Ok(ExitCode::SUCCESS)
}
