//! MEMORY: where memory goes.

use super::info::Overhead;
use crate::base::alloc;
use crate::base::num;
use crate::commands::options::is;
use crate::commands::{CmdResult, Command, Ctx, Scope, help};
use crate::keyspace::SLOTS;
use crate::resp::Error;
use crate::spec::{Flags, Group, KeyFlags, KeySpec, Meta};

const ANY_NODE: &[&str] = &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"];
/// Elements of a collection that MEMORY USAGE looks at unless told otherwise.
const SAMPLES: usize = 5;

const fn meta(name: &'static str, arity: i16, summary: &'static str) -> Meta {
    Meta::new(name, arity, Flags::NONE, Group::Server).doc("4.0.0", "O(1)", summary)
}

/// <https://valkey.io/commands/memory/>
pub static MEMORY: Command = Command::container(
    meta("memory", -2, "A container for memory diagnostics commands."),
    &[&DOCTOR, &HELP, &MALLOC_STATS, &PURGE, &STATS, &USAGE],
);

/// <https://valkey.io/commands/memory-usage/>
static USAGE: Command = Command::new(
    Meta::new("memory|usage", -3, Flags::READONLY, Group::Server).keys(&[KeySpec::one(2, KeyFlags::RO)]).doc(
        "4.0.0",
        "O(N) where N is the number of samples.",
        "Returns the memory that a key takes.",
    ),
    usage,
);

fn usage(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let mut samples = SAMPLES;
    let mut rest = &args[3..];
    while let Some((option, values)) = rest.split_first() {
        let Some((count, after)) = values.split_first().filter(|_| is(option, "SAMPLES")) else {
            return Err(Error::SYNTAX);
        };
        let count = num::parse_i64(count).ok_or(Error::NOT_INT)?;
        // Zero asks for all elements, here and in the types.
        samples = usize::try_from(count).map_err(|_| Error::SYNTAX)?;
        rest = after;
    }
    match cx.db.peek(args[2]) {
        Some(entry) => cx.out.len_int(entry.mem_usage(samples)),
        None => cx.out.null(),
    }
    Ok(())
}

/// <https://valkey.io/commands/memory-stats/>
static STATS: Command =
    Command::new(meta("memory|stats", 2, "Returns figures about the server's memory.").tips(ANY_NODE), stats)
        .scope(Scope::Own);

fn stats(cx: &mut Ctx<'_>, _args: &[&[u8]]) -> CmdResult {
    let o = Overhead::read(cx.server);
    // Those that have or had keys.
    let used: Vec<usize> = (0..cx.db.keyspace().databases()).filter(|&db| cx.db.other(db).is_used()).collect();
    let tables: Vec<(usize, usize)> = used.into_iter().map(|db| (db, table_bytes(cx, db))).collect();
    let total_tables: usize = tables.iter().map(|(_, bytes)| bytes).sum();
    let out = &mut *cx.out;
    out.map(31 + tables.len());
    let int = |out: &mut crate::resp::Out, name: &str, n: i64| {
        out.bulk(name.as_bytes());
        out.int(n);
    };
    int(out, "peak.allocated", o.peak as i64);
    int(out, "total.allocated", o.used as i64);
    int(out, "startup.allocated", o.startup as i64);
    let surplus = cx.server.repl.log.surplus();
    let kept = cx.server.repl.log.kept().map_or(0, |k| k.len);
    int(out, "replication.backlog", kept.saturating_sub(surplus) as i64);
    int(out, "clients.slaves", surplus as i64);
    int(out, "clients.normal", o.clients as i64);
    int(out, "cluster.links", cx.server.cluster.link_memory() as i64);
    int(out, "aof.buffer", cx.server.aof.writer().map_or(0, |w| w.memory()) as i64);
    int(out, "lua.caches", cx.server.scripts.memory() as i64);
    int(out, "functions.caches", cx.server.libraries.memory() as i64);
    for (db, bytes) in &tables {
        out.bulk(format!("db.{db}").as_bytes());
        out.map(2);
        int(out, "overhead.hashtable.main", *bytes as i64);
        int(out, "overhead.hashtable.expires", 0);
    }
    int(out, "overhead.db.hashtable.lut", total_tables as i64);
    int(out, "overhead.db.hashtable.rehashing", 0);
    int(out, "overhead.total", o.total() as i64);
    int(out, "db.dict.rehashing.count", 0);
    int(out, "keys.count", o.keys as i64);
    int(out, "keys.bytes-per-key", o.bytes_per_key() as i64);
    int(out, "dataset.bytes", o.dataset() as i64);
    let double = |out: &mut crate::resp::Out, name: &str, n: f64| {
        out.bulk(name.as_bytes());
        out.double(n);
    };
    double(out, "dataset.percentage", o.dataset_percent());
    double(out, "peak.percentage", o.peak_percent());
    int(out, "allocator.allocated", o.allocator.allocated as i64);
    int(out, "allocator.active", o.allocator.active as i64);
    int(out, "allocator.resident", o.allocator.resident as i64);
    int(out, "allocator.muzzy", o.allocator.muzzy as i64);
    for (ratio, bytes, (r, b)) in [
        ("allocator-fragmentation.ratio", "allocator-fragmentation.bytes", o.fragmentation()),
        ("allocator-rss.ratio", "allocator-rss.bytes", o.allocator_rss()),
        ("rss-overhead.ratio", "rss-overhead.bytes", o.rss_overhead()),
        ("fragmentation", "fragmentation.bytes", o.total_fragmentation()),
    ] {
        double(out, ratio, r);
        int(out, bytes, b);
    }
    Ok(())
}

/// Bytes of the tables of a database, locking one slot after the other.
fn table_bytes(cx: &mut Ctx<'_>, db: usize) -> usize {
    let mut db = cx.db.other(db);
    (0..SLOTS as u16).map(|slot| db.with_slot(slot, |db| db.slot_table_bytes(slot)).unwrap_or(0)).sum()
}

/// <https://valkey.io/commands/memory-purge/>
static PURGE: Command = Command::new(
    meta("memory|purge", 2, "Gives unused memory back to the system.")
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"]),
    |cx, _args| {
        if !alloc::purge() {
            return Err(Error::new("ERR Error purging dirty pages"));
        }
        cx.out.ok();
        Ok(())
    },
);

/// <https://valkey.io/commands/memory-malloc-stats/>
static MALLOC_STATS: Command =
    Command::new(meta("memory|malloc-stats", 2, "Returns the allocator's report.").tips(ANY_NODE), |cx, _args| {
        cx.out.verbatim("txt", alloc::report().as_bytes());
        Ok(())
    });

/// <https://valkey.io/commands/memory-doctor/>
static DOCTOR: Command = Command::new(
    meta("memory|doctor", 2, "Explains what may be wrong with the server's memory.").tips(ANY_NODE),
    |cx, _args| {
        let clients = cx.server.registry.len();
        let report = diagnose(&Overhead::read(cx.server), clients);
        cx.out.verbatim("txt", report.as_bytes());
        Ok(())
    },
);

/// What stands out in the figures, in words.
fn diagnose(o: &Overhead, clients: usize) -> String {
    const LARGE: i64 = 10 << 20;
    if o.used < 5 << 20 {
        return "Hi Sam, this instance is empty or is using very little memory, my issues detector can't be used in \
                these conditions. Please, leave for your mission on Earth and fill it with some data.\n"
            .to_owned();
    }
    let beyond = |(ratio, bytes): (f64, i64), limit: f64| ratio > limit && bytes > LARGE;
    let findings = [
        (
            o.peak as f64 / o.used as f64 > 1.5,
            "Peak memory: this instance once used more than one and a half times what it uses now. The allocator may \
             still hold that memory; it will be used again as data grows. MEMORY PURGE gives it back at once.",
        ),
        (
            beyond(o.total_fragmentation(), 1.4),
            "High total RSS: the process holds more than 1.4 times the memory that is allocated. After a peak this is \
             harmless; otherwise it points to fragmentation.",
        ),
        (
            beyond(o.fragmentation(), 1.1),
            "High allocator fragmentation: pages are in use that hold few allocations, often after values of many \
             sizes were deleted.",
        ),
        (
            beyond(o.allocator_rss(), 1.1),
            "High allocator RSS overhead: the allocator keeps pages that nothing uses. They go back in time; MEMORY \
             PURGE returns them at once.",
        ),
        (
            beyond(o.rss_overhead(), 1.1),
            "High process RSS overhead: the process holds memory that does not come from the allocator.",
        ),
        (
            o.clients / clients.max(1) > 200 << 10,
            "Big client buffers: clients take more than 200 KB each on average. Some may read their replies slower \
             than they ask, or wait for published messages that they do not read; see CLIENT LIST and \
             client-output-buffer-limit.",
        ),
    ];
    let found: Vec<&str> = findings.iter().filter(|(found, _)| *found).map(|(_, text)| *text).collect();
    if found.is_empty() {
        return "Hi Sam, I can't find any memory issue in your instance. I can only account for what occurs on this \
                base.\n"
            .to_owned();
    }
    let mut report = "Sam, I detected a few issues in this Dunlin instance memory implants:\n\n".to_owned();
    found.iter().for_each(|text| {
        report.push_str(" * ");
        report.push_str(text);
        report.push_str("\n\n");
    });
    report
}

static HELP: Command = Command::new(
    Meta::new("memory|help", 2, Flags::LOADING.or(Flags::STALE), Group::Server).doc(
        "4.0.0",
        "O(1)",
        "Explains the subcommands.",
    ),
    |cx, _args| {
        help::reply(
            cx.out,
            "MEMORY",
            &[
                "DOCTOR",
                "    Return memory problems reports.",
                "MALLOC-STATS",
                "    Return internal statistics report from the memory allocator.",
                "PURGE",
                "    Attempt to purge dirty pages for reclamation by the allocator.",
                "STATS",
                "    Return information about the memory usage of the server.",
                "USAGE <key> [SAMPLES <count>]",
                "    Return memory in bytes used by <key> and its value. Nested values are",
                "    sampled up to <count> times (default: 5, 0 means sample all).",
            ],
        );
        Ok(())
    },
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_doctor_names_what_stands_out() {
        let mb = |n: usize| n << 20;
        let healthy = Overhead {
            used: mb(100),
            peak: mb(110),
            startup: mb(1),
            clients: 1000,
            tables: 0,
            buffers: 0,
            rss: mb(105),
            allocator: alloc::Stats {
                allocated: mb(100),
                active: mb(101),
                resident: mb(104),
                ..alloc::Stats::default()
            },
            keys: 5,
        };
        assert!(diagnose(&healthy, 1).contains("can't find any memory issue"));
        assert!(diagnose(&Overhead { used: 100, ..healthy }, 1).contains("is empty"));
        assert!(diagnose(&Overhead { peak: mb(200), ..healthy }, 1).contains("Peak memory"));
        let report = diagnose(&Overhead { rss: mb(200), clients: mb(1), ..healthy }, 2);
        assert!(report.contains("High total RSS") && report.contains("Big client buffers"), "{report}");
    }
}
