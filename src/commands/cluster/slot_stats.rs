//! CLUSTER SLOT-STATS: how many keys slots have, and what is spent on them.

use super::{keys, meta, view};
use crate::base::slot::SLOTS;
use crate::cluster::slot_stats::Spent;
use crate::commands::options::{self, is};
use crate::commands::{CmdResult, Command, Ctx, Scope};
use crate::resp::Error;
use crate::spec::Flags;

/// <https://valkey.io/commands/cluster-slot-stats/>
pub static SLOT_STATS: Command = Command::new(
    meta("cluster|slot-stats", -4, Flags::STALE.or(Flags::LOADING))
        .doc(
            "8.0.0",
            "O(N) where N is the number of slots of the range, O(N*log(N)) for those of the node where they are ordered.",
            "Returns how many keys slots have and what is spent on them.",
        )
        .tips(&["nondeterministic_output", "request_policy:all_shards"]),
    slot_stats,
)
.scope(Scope::Own);

#[derive(Clone, Copy)]
enum Metric {
    Keys,
    Cpu,
    In,
    Out,
}

const METRICS: [(&str, Metric); 4] = [
    ("key-count", Metric::Keys),
    ("cpu-usec", Metric::Cpu),
    ("network-bytes-in", Metric::In),
    ("network-bytes-out", Metric::Out),
];

struct Row {
    slot: u16,
    keys: u64,
    spent: Spent,
}

impl Row {
    fn value(&self, metric: Metric) -> u64 {
        match metric {
            Metric::Keys => self.keys,
            Metric::Cpu => self.spent.cpu_us,
            Metric::In => self.spent.bytes_in,
            Metric::Out => self.spent.bytes_out,
        }
    }
}

fn slot_stats(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let view = view(cx)?;
    // key-count costs nothing; the others are known where they are counted.
    let counted = cx.config().cluster_slot_stats_enabled();
    let shown = if counted { &METRICS[..] } else { &METRICS[..1] };
    let (slots, order) = match args[2] {
        word if is(word, "slotsrange") && args.len() == 5 => {
            let (first, last) = (options::slot(args[3])?, options::slot(args[4])?);
            if first > last {
                return Err(Error::owned(format!(
                    "ERR Start slot number {first} is greater than end slot number {last}"
                )));
            }
            (first..=last, None)
        }
        word if is(word, "orderby") => (0..=SLOTS - 1, Some(order(shown, &args[3..])?)),
        _ => return Err(Error::usage("CLUSTER", args[1])),
    };
    let mut rows: Vec<Row> = Vec::new();
    for slot in slots.filter(|&slot| view.is_my_shards(slot)) {
        rows.push(Row { slot, keys: keys::count(cx, slot), spent: cx.server.cluster.slot_stats.of(slot) });
    }
    if let Some((metric, limit, ascending)) = order {
        rows.sort_by_key(|row| {
            let value = row.value(metric);
            (if ascending { value } else { u64::MAX - value }, row.slot)
        });
        rows.truncate(limit);
    }
    let out = &mut *cx.out;
    out.array(rows.len());
    for row in &rows {
        out.array(2);
        out.int(i64::from(row.slot));
        out.map(shown.len());
        for &(name, metric) in shown {
            out.bulk(name.as_bytes());
            out.int(row.value(metric) as i64);
        }
    }
    Ok(())
}

/// `metric [LIMIT n] [ASC|DESC]`: the metric, how many slots, whether the smallest come first.
fn order(shown: &[(&str, Metric)], args: &[&[u8]]) -> Result<(Metric, usize, bool), Error> {
    let metric = shown.iter().find(|(name, _)| is(args[0], name)).map(|(_, metric)| *metric);
    let metric = metric.ok_or(Error::new("ERR Unrecognized sort metric for ORDERBY."))?;
    let (mut limit, mut ascending) = (None, None);
    let mut rest = args[1..].iter();
    while let Some(word) = rest.next() {
        let again = match () {
            () if is(word, "limit") => {
                let text = "ERR Limit has to lie in between 1 and 16384 (maximum number of slots).";
                let n = options::int_in(rest.next().ok_or(Error::SYNTAX)?, 1, i64::from(SLOTS), Some(text))?;
                limit.replace(n as usize).is_some()
            }
            () if is(word, "asc") => ascending.replace(true).is_some(),
            () if is(word, "desc") => ascending.replace(false).is_some(),
            () => return Err(Error::SYNTAX),
        };
        if again {
            return Err(Error::new("ERR Multiple filters of the same type are disallowed."));
        }
    }
    Ok((metric, limit.unwrap_or(usize::from(SLOTS)), ascending.unwrap_or(false)))
}
