//! LATENCY: events that took long, and histograms of commands' latencies.

use super::command::by_full_name;
use crate::commands::{CmdResult, Command, Ctx, Entry, help};
use crate::metrics::Distribution;
use crate::metrics::spikes::Settings;
use crate::resp::Error;
use crate::spec::{Flags, Group, Meta};

const ADMIN: Flags = Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::LOADING).or(Flags::STALE);
const TIPS: &[&str] = &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"];

const fn meta(name: &'static str, arity: i16, flags: Flags, summary: &'static str) -> Meta {
    Meta::new(name, arity, flags, Group::Server).doc("2.8.13", "O(1)", summary)
}

/// <https://valkey.io/commands/latency/>
pub static LATENCY: Command = Command::container(
    meta("latency", -2, Flags::NONE, "A container for latency diagnostics commands."),
    &[&DOCTOR, &GRAPH, &HELP, &HISTOGRAM, &HISTORY, &LATEST, &RESET],
);

/// Unix seconds.
fn now(cx: &Ctx<'_>) -> i64 {
    cx.db.clock / 1000
}

static DOCTOR: Command = Command::new(
    meta("latency|doctor", 2, ADMIN, "Explains the latencies that were observed.").tips(TIPS),
    |cx, _args| {
        let config = cx.config();
        let settings = Settings {
            threshold: config.latency_monitor_threshold(),
            slower_than: config.commandlog_execution_slower_than(),
            log_len: config.commandlog_slow_execution_max_len(),
            hz: config.hz(),
        };
        let report = cx.server.spikes.report(now(cx), settings);
        cx.out.verbatim("txt", report.as_bytes());
        Ok(())
    },
);

static GRAPH: Command = Command::new(
    meta("latency|graph", 3, ADMIN, "Draws the latencies of an event over time.").tips(TIPS),
    |cx, args| {
        let Some(series) = cx.server.spikes.get(args[2]) else {
            let text = [b"ERR No samples available for event '", args[2], b"'"].concat();
            return Err(Error::owned(text));
        };
        let graph = series.graph(&String::from_utf8_lossy(args[2]), now(cx));
        cx.out.verbatim("txt", graph.as_bytes());
        Ok(())
    },
);

static HISTORY: Command = Command::new(
    meta("latency|history", 3, ADMIN, "Returns the latencies of an event with their times.").tips(TIPS),
    |cx, args| {
        let series = cx.server.spikes.get(args[2]).unwrap_or_default();
        cx.out.array(series.samples().len());
        for sample in series.samples() {
            cx.out.array(2);
            cx.out.int(sample.time);
            cx.out.int(sample.latency as i64);
        }
        Ok(())
    },
);

static LATEST: Command = Command::new(
    meta("latency|latest", 2, ADMIN, "Returns the latest latency of every event.").tips(TIPS),
    |cx, _args| {
        let all = cx.server.spikes.all();
        cx.out.array(all.len());
        for (event, series) in all {
            let Some(latest) = series.latest() else { continue };
            cx.out.array(4);
            cx.out.bulk(event.as_bytes());
            cx.out.int(latest.time);
            cx.out.int(latest.latency as i64);
            cx.out.int(series.worst() as i64);
        }
        Ok(())
    },
);

static RESET: Command = Command::new(
    meta("latency|reset", -2, ADMIN, "Forgets the latencies of some or all events.")
        .tips(&["request_policy:all_nodes", "response_policy:agg_sum"]),
    |cx, args| {
        let reset = match &args[2..] {
            [] => cx.server.spikes.reset_all(),
            events => events.iter().filter(|event| cx.server.spikes.reset(event)).count(),
        };
        cx.out.len_int(reset);
        Ok(())
    },
);

/// <https://valkey.io/commands/latency-histogram/>
static HISTOGRAM: Command = Command::new(
    Meta::new("latency|histogram", -2, ADMIN, Group::Server)
        .doc(
            "7.0.0",
            "O(N) where N is the number of commands with latency information being retrieved.",
            "Returns the distribution of latencies of some or all commands.",
        )
        .tips(TIPS),
    histogram,
);

fn histogram(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let lookup = &cx.server.lookup;
    let mut wanted: Vec<&Entry> = Vec::new();
    if args.len() == 2 {
        wanted.extend(lookup.all());
    }
    for name in &args[2..] {
        if let Some(entry) = by_full_name(lookup, name) {
            wanted.push(entry);
            wanted.extend(lookup.subs(entry));
        }
    }
    let found: Vec<(&Entry, Distribution)> =
        wanted.into_iter().filter_map(|entry| Some((entry, cx.server.metrics.latency(entry.id)?))).collect();
    cx.out.map(found.len());
    for (entry, times) in found {
        cx.out.bulk(entry.command.meta.name.as_bytes());
        cx.out.map(2);
        cx.out.bulk(b"calls");
        cx.out.int(times.total() as i64);
        cx.out.bulk(b"histogram_usec");
        let steps = times.cumulative();
        cx.out.map(steps.len());
        for (micros, count) in steps {
            cx.out.int(micros as i64);
            cx.out.int(count as i64);
        }
    }
    Ok(())
}

static HELP: Command =
    Command::new(meta("latency|help", 2, Flags::LOADING.or(Flags::STALE), "Explains the subcommands."), |cx, _args| {
        help::reply(
            cx.out,
            "LATENCY",
            &[
                "DOCTOR",
                "    Return a human readable latency analysis report.",
                "GRAPH <event>",
                "    Return an ASCII latency graph for the <event> class.",
                "HISTORY <event>",
                "    Return time-latency samples for the <event> class.",
                "LATEST",
                "    Return the latest latency samples for all events.",
                "RESET [<event> ...]",
                "    Reset latency data of one or more <event> classes.",
                "    (default: reset all data for all event classes)",
                "HISTOGRAM [COMMAND ...]",
                "    Return a cumulative distribution of latencies in the format of a histogram for the specified \
                 command names.",
                "    If no commands are specified then all histograms are replied.",
            ],
        );
        Ok(())
    });
