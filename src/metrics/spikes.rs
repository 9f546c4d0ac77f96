//! The latency monitor: events that took longer than `latency-monitor-threshold`, by kind, over time (LATENCY).
//!
//! Each kind of event keeps its last 160 samples, one a second at most (the worst of that second), and the worst ever.

use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;

/// Samples that a kind of event keeps.
const SAMPLES: usize = 160;
/// Columns and rows of a graph.
const COLUMNS: usize = 80;
const ROWS: usize = 4;
/// Steps of a row, lowest first.
const STEPS: &[u8; 3] = b"_o#";

/// The worst delay of a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Unix seconds.
    pub time: i64,
    /// Milliseconds.
    pub latency: u64,
}

/// What is known of a kind of event.
#[derive(Clone, Debug, Default)]
pub struct Series {
    samples: VecDeque<Sample>,
    worst: u64,
}

/// The state of a series in figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// How many samples there are.
    pub samples: usize,
    /// Their mean, ms.
    pub average: u64,
    /// Their mean distance from the mean, ms.
    pub deviation: u64,
    /// Seconds from one to the next, on average.
    pub period: f64,
    /// The worst ever, ms.
    pub worst: u64,
}

impl Series {
    fn add(&mut self, time: i64, latency: u64) {
        self.worst = self.worst.max(latency);
        match self.samples.back_mut() {
            Some(last) if last.time == time => last.latency = last.latency.max(latency),
            _ => {
                if self.samples.len() == SAMPLES {
                    self.samples.pop_front();
                }
                self.samples.push_back(Sample { time, latency });
            }
        }
    }

    /// The samples, oldest first.
    pub fn samples(&self) -> impl ExactSizeIterator<Item = Sample> + '_ {
        self.samples.iter().copied()
    }

    /// The latest sample.
    pub fn latest(&self) -> Option<Sample> {
        self.samples.back().copied()
    }

    /// The worst ever, ms.
    pub fn worst(&self) -> u64 {
        self.worst
    }

    /// The series in figures, at the time `now` (Unix seconds).
    pub fn summary(&self, now: i64) -> Summary {
        let count = self.samples.len().max(1) as u64;
        let average = self.samples().map(|s| s.latency).sum::<u64>() / count;
        let deviation = self.samples().map(|s| s.latency.abs_diff(average)).sum::<u64>() / count;
        let since = self.samples.front().map_or(0, |first| (now - first.time).max(1));
        Summary {
            samples: self.samples.len(),
            average,
            deviation,
            period: since as f64 / count as f64,
            worst: self.worst,
        }
    }

    /// The series as a picture in letters, below a line that names `event`.
    pub fn graph(&self, event: &str, now: i64) -> String {
        let latencies = || self.samples().map(|s| s.latency);
        let (low, high) = (latencies().min().unwrap_or(0), latencies().max().unwrap_or(0));
        let mut out = format!("{event} - high {high} ms, low {low} ms (all time high {} ms)\n", self.worst);
        out.push_str(&"-".repeat(COLUMNS));
        out.push('\n');
        let samples: Vec<Sample> = self.samples().collect();
        for (part, chunk) in samples.chunks(COLUMNS).enumerate() {
            if part > 0 {
                out.push('\n');
            }
            draw(&mut out, chunk, low, high, now);
        }
        out
    }
}

fn draw(out: &mut String, samples: &[Sample], low: u64, high: u64, now: i64) {
    let range = (high - low).max(1);
    let height = (ROWS * STEPS.len()) as u64;
    let steps: Vec<usize> =
        samples.iter().map(|s| ((s.latency - low) * height / range).min(height - 1) as usize).collect();
    for row in (0..ROWS).rev() {
        let floor = row * STEPS.len();
        out.extend(steps.iter().map(|&step| match step.checked_sub(floor) {
            None => ' ',
            Some(above) if above < STEPS.len() => STEPS[above] as char,
            Some(_) => '|',
        }));
        out.push('\n');
    }
    out.push_str(&" ".repeat(samples.len()));
    out.push('\n');
    let labels: Vec<Vec<u8>> = samples.iter().map(|s| ago(now - s.time).into_bytes()).collect();
    for line in 0..labels.iter().map(Vec::len).max().unwrap_or(0) {
        out.extend(labels.iter().map(|label| label.get(line).map_or(' ', |&c| c as char)));
        out.push('\n');
    }
}

fn ago(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Settings that LATENCY DOCTOR looks at.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// `latency-monitor-threshold`
    pub threshold: i64,
    /// `commandlog-execution-slower-than`
    pub slower_than: i64,
    /// `commandlog-slow-execution-max-len`
    pub log_len: usize,
    /// `hz`
    pub hz: u64,
}

/// All series.
#[derive(Debug, Default)]
pub struct Spikes {
    series: Mutex<BTreeMap<String, Series>>,
}

impl Spikes {
    /// Note that `event` took `latency` milliseconds at `time` (Unix seconds). The caller compares with the threshold.
    pub fn add(&self, event: &str, time: i64, latency: u64) {
        let mut series = self.series.lock();
        match series.get_mut(event) {
            Some(known) => known.add(time, latency),
            None => series.entry(event.to_owned()).or_default().add(time, latency),
        }
    }

    /// All kinds of events, by name.
    pub fn all(&self) -> Vec<(String, Series)> {
        self.series.lock().iter().map(|(event, series)| (event.clone(), series.clone())).collect()
    }

    /// One kind of event.
    pub fn get(&self, event: &[u8]) -> Option<Series> {
        self.series.lock().get(std::str::from_utf8(event).ok()?).cloned()
    }

    /// Forget an event. Whether it was known.
    pub fn reset(&self, event: &[u8]) -> bool {
        let mut series = self.series.lock();
        let before = series.len();
        series.retain(|name, _| !name.as_bytes().eq_ignore_ascii_case(event));
        series.len() < before
    }

    /// Forget everything. How many events were known.
    pub fn reset_all(&self) -> usize {
        std::mem::take(&mut *self.series.lock()).len()
    }

    /// LATENCY DOCTOR: what was seen, and what may help.
    pub fn report(&self, now: i64, settings: Settings) -> String {
        let all = self.all();
        if all.is_empty() && settings.threshold == 0 {
            return "I'm sorry, Dave, I can't do that. Latency monitoring is disabled in this Dunlin instance. You may \
                    use \"CONFIG SET latency-monitor-threshold <milliseconds>.\" in order to enable it.\n"
                .to_owned();
        }
        if all.is_empty() {
            return "No latency spike was observed during the lifetime of this Dunlin instance, not in the slightest \
                    bit.\n"
                .to_owned();
        }
        let mut out = "Latency spikes are observed in this Dunlin instance.\n\n".to_owned();
        for (n, (event, series)) in all.iter().enumerate() {
            let s = series.summary(now);
            let _ = writeln!(
                out,
                "{}. {event}: {} latency spikes (average {}ms, mean deviation {}ms, period {:.2} sec). Worst all time \
                 event {}ms.",
                n + 1,
                s.samples,
                s.average,
                s.deviation,
                s.period,
                s.worst
            );
        }
        let seen: Vec<&str> = all.iter().map(|(event, _)| event.as_str()).collect();
        let advice = advice(&seen, settings);
        if advice.is_empty() {
            out.push_str("\nNone of these events points to a setting that is known to help.\n");
        } else {
            out.push_str("\nHere is some advice for you:\n\n");
            advice.iter().for_each(|line| {
                let _ = writeln!(out, "- {line}");
            });
        }
        out
    }
}

fn advice(seen: &[&str], settings: Settings) -> Vec<String> {
    let has = |event: &str| seen.contains(&event);
    let mut advice = Vec::new();
    if has("command") {
        let micros = settings.threshold.saturating_mul(1000);
        if settings.slower_than < 0 || settings.log_len == 0 {
            advice.push(format!(
                "Some commands are slow, but the slow log is off. Turn it on with 'CONFIG SET slowlog-log-slower-than \
                 {micros}' to see which."
            ));
        } else if settings.slower_than / 1000 > settings.threshold {
            advice.push(format!(
                "The slow log only records commands that are slower than the latency monitor's threshold. Lower it with \
                 'CONFIG SET slowlog-log-slower-than {micros}'."
            ));
        }
        advice.push("Look into the slow log (SLOWLOG GET): it names the commands that took long.".into());
    }
    if has("fast-command") {
        advice.push(
            "Commands that do little work took long, so the server did not get the CPU. Lower the load of this machine, \
             look for noisy neighbours if it is virtual, and measure with 'redis-cli --intrinsic-latency 100'."
                .into(),
        );
    }
    if has("expire-cycle") && settings.hz < 100 {
        advice.push("Let expired keys go in more, smaller steps: 'CONFIG SET hz 100'.".into());
    }
    if has("command") || has("expire-cycle") || has("eviction-del") {
        advice.push(
            "Deleting a large value takes time in proportion to its size. Free it in the background (UNLINK, \
             lazyfree-lazy-expire, lazyfree-lazy-eviction), or split it up."
                .into(),
        );
    }
    if has("aof-write") || has("aof-fsync-always") {
        advice.push(
            "The disk that holds the append-only file is slow or busy with other work. Give it a disk of its own, or \
             change 'appendfsync' to one that waits less (everysec, no) if losing the last writes is acceptable."
                .into(),
        );
    }
    if has("aof-write-active-child") {
        advice.push(
            "The append-only file is written slowly while a snapshot is written too: 'no-appendfsync-on-rewrite yes' \
             keeps the two apart."
                .into(),
        );
    }
    if has("eviction-cycle") {
        advice.push(
            "Memory had to be made free in a hurry. Change 'maxmemory' in small steps, and beware of commands that \
             store large results at once."
                .into(),
        );
    }
    advice
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_keeps_its_worst_and_a_series_its_last_160() {
        let spikes = Spikes::default();
        spikes.add("command", 5, 10);
        spikes.add("command", 5, 30);
        spikes.add("command", 5, 20);
        let series = spikes.get(b"command").unwrap();
        assert_eq!(series.samples().collect::<Vec<_>>(), [Sample { time: 5, latency: 30 }]);
        (6..300).for_each(|time| spikes.add("command", time, 1));
        let series = spikes.get(b"command").unwrap();
        assert_eq!((series.samples().len(), series.worst(), series.latest().unwrap().time), (160, 30, 299));
        assert!(spikes.reset(b"COMMAND") && !spikes.reset(b"command") && spikes.reset_all() == 0);
    }

    #[test]
    fn figures_and_graph_describe_the_series() {
        let spikes = Spikes::default();
        for (time, latency) in [(100, 300), (110, 400), (120, 500)] {
            spikes.add("command", time, latency);
        }
        let series = spikes.get(b"command").unwrap();
        let summary = Summary { samples: 3, average: 400, deviation: 66, period: 10.0, worst: 500 };
        assert_eq!(series.summary(130), summary);
        let graph = series.graph("command", 200);
        assert!(graph.starts_with("command - high 500 ms, low 300 ms (all time high 500 ms)\n----"), "{graph}");
        let rows: Vec<&str> = graph.lines().skip(2).collect();
        assert_eq!(rows, ["  #", " _|", " ||", "_||", "   ", "111", "mmm"], "{graph}");
    }

    #[test]
    fn the_doctor_gives_advice_for_what_was_seen() {
        let settings = Settings { threshold: 0, slower_than: -1, log_len: 128, hz: 10 };
        let spikes = Spikes::default();
        assert!(spikes.report(0, settings).contains("disabled"));
        assert!(spikes.report(0, Settings { threshold: 5, ..settings }).starts_with("No latency spike"));
        spikes.add("command", 1, 9);
        spikes.add("expire-cycle", 1, 9);
        let report = spikes.report(2, Settings { threshold: 5, ..settings });
        assert!(report.contains("1. command: 1 latency spikes (average 9ms"), "{report}");
        assert!(report.contains("slowlog-log-slower-than 5000") && report.contains("hz 100"), "{report}");
        spikes.reset_all();
        spikes.add("aof-write", 1, 9);
        spikes.add("aof-write-active-child", 1, 9);
        let report = spikes.report(2, settings);
        assert!(report.contains("disk of its own") && report.contains("no-appendfsync-on-rewrite yes"), "{report}");
        spikes.reset_all();
        spikes.add("other", 1, 1);
        assert!(spikes.report(2, settings).contains("None of these events"));
    }
}
