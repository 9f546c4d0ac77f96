//! A page of metrics in the forms that Prometheus reads: text 0.0.4, and OpenMetrics 1.0 where a scraper asks for it.
//!
//! metrics-exporter-prometheus writes the lines and escapes what is in them. Its recorder is not used: it keeps counters
//! as whole numbers and histograms as single samples, and what is shown here is counted elsewhere already, as sums over
//! threads, as finished distributions and as fractions of seconds; every scrape would copy each value into a second
//! store that cannot hold it.
//!
//! In OpenMetrics a counter's sample must end in `_total`. redis_exporter has counters that do not; there they are of
//! type `unknown`, under the same name.

use std::fmt::{Display, Formatter};

use indexmap::IndexMap;
use metrics::{Key, Label};
use metrics_exporter_prometheus::LabelSet;
use metrics_exporter_prometheus::formatting::{write_help_line, write_metric_line, write_type_line};

use super::histogram::Distribution;

/// How a page is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `text/plain; version=0.0.4`
    Text,
    /// `application/openmetrics-text; version=1.0.0`
    OpenMetrics,
}

impl Form {
    /// The content type.
    pub fn content_type(self) -> &'static str {
        match self {
            Form::Text => "text/plain; version=0.0.4; charset=utf-8",
            Form::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What kind of number a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, until a restart.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Cumulative buckets.
    Histogram,
    /// Percentiles.
    Summary,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::Summary => "summary",
        }
    }
}

/// Bounds of the buckets of a histogram: powers of two of nanoseconds, 1 µs to 1 s.
const BUCKETS: std::ops::RangeInclusive<u32> = 10..=30;

/// A value as Prometheus writes numbers.
struct Number(f64);

impl Display for Number {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            v if v.is_nan() => f.write_str("NaN"),
            v if v.is_infinite() => f.write_str(if v > 0.0 { "+Inf" } else { "-Inf" }),
            v => Display::fmt(&v, f),
        }
    }
}

/// A page being written. Samples follow the head of their metric.
#[derive(Debug)]
pub struct Page {
    text: String,
    form: Form,
    name: &'static str,
    /// Labels that every sample has: none.
    common: IndexMap<String, String>,
}

impl Page {
    /// An empty page.
    pub fn new(form: Form) -> Page {
        Page { text: String::with_capacity(64 << 10), form, name: "", common: IndexMap::new() }
    }

    /// The head of a metric.
    pub fn metric(&mut self, name: &'static str, kind: Kind, help: &str) -> &mut Page {
        self.name = name;
        let (family, kind) = match (self.form, kind, name.strip_suffix("_total")) {
            (Form::OpenMetrics, Kind::Counter, Some(family)) => (family, "counter"),
            (Form::OpenMetrics, Kind::Counter, None) => (name, "unknown"),
            _ => (name, kind.name()),
        };
        write_help_line(&mut self.text, family, None, None, &plain(help));
        write_type_line(&mut self.text, family, None, None, kind);
        self
    }

    fn labels(&self, labels: &[(&str, &str)]) -> LabelSet {
        let labels: Vec<Label> =
            labels.iter().map(|(name, value)| Label::new(name.to_string(), plain(value))).collect();
        LabelSet::from_key_and_global(&Key::from_parts("", labels), &self.common)
    }

    fn line<T: Display>(
        &mut self,
        suffix: Option<&'static str>,
        labels: &LabelSet,
        also: Option<(&'static str, T)>,
        value: f64,
    ) {
        write_metric_line(&mut self.text, self.name, suffix, labels, also, Number(value), None);
    }

    /// A sample of the metric whose head was written last.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: f64) -> &mut Page {
        let labels = self.labels(labels);
        self.line(None, &labels, None::<(_, &str)>, value);
        self
    }

    /// The sum and the number of a summary's values.
    pub fn totals(&mut self, labels: &[(&str, &str)], sum: f64, count: u64) {
        let labels = self.labels(labels);
        self.line(Some("sum"), &labels, None::<(_, &str)>, sum);
        self.line(Some("count"), &labels, None::<(_, &str)>, count as f64);
    }

    /// The buckets of times, in seconds, and what they sum up to.
    pub fn distribution(&mut self, labels: &[(&str, &str)], times: &Distribution, sum_ns: u64) {
        let set = self.labels(labels);
        for (level, seen) in times.below(BUCKETS) {
            self.line(Some("bucket"), &set, Some(("le", Number(seconds(level)))), seen as f64);
        }
        self.counted(&set, times.total(), seconds(sum_ns));
    }

    /// Buckets of anything: upper bounds, how many there were up to each; how many in all, and their sum.
    pub fn buckets(&mut self, labels: &[(&str, &str)], upto: &[(f64, u64)], count: u64, sum: f64) {
        let set = self.labels(labels);
        for &(level, seen) in upto {
            self.line(Some("bucket"), &set, Some(("le", Number(level))), seen as f64);
        }
        self.counted(&set, count, sum);
    }

    fn counted(&mut self, labels: &LabelSet, count: u64, sum: f64) {
        self.line(Some("bucket"), labels, Some(("le", "+Inf")), count as f64);
        self.line(Some("sum"), labels, None::<(_, &str)>, sum);
        self.line(Some("count"), labels, None::<(_, &str)>, count as f64);
    }

    /// A gauge without labels.
    pub fn gauge(&mut self, name: &'static str, help: &str, value: f64) {
        self.metric(name, Kind::Gauge, help).sample(&[], value);
    }

    /// A counter without labels.
    pub fn counter(&mut self, name: &'static str, help: &str, value: f64) {
        self.metric(name, Kind::Counter, help).sample(&[], value);
    }

    /// The page.
    pub fn finish(mut self) -> String {
        if self.form == Form::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

/// Text in which a backslash means itself: the formatter takes one that stands alone for the start of an escape.
fn plain(text: &str) -> String {
    text.replace('\\', "\\\\")
}

/// Seconds of nanoseconds.
pub fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_cannot_break_the_lines() {
        let mut page = Page::new(Form::Text);
        page.metric("a", Kind::Gauge, "x\ny \"z\"").sample(&[("l", "q\"\\\n"), ("m", "")], 1.5);
        page.counter("b_total", "", f64::INFINITY);
        assert_eq!(
            page.finish(),
            "# HELP a x\\ny \"z\"\n# TYPE a gauge\na{l=\"q\\\"\\\\\\n\",m=\"\"} 1.5\n# HELP b_total \n# TYPE b_total \
             counter\nb_total +Inf\n"
        );
    }

    #[test]
    fn openmetrics_has_counters_under_their_short_name_and_an_end() {
        let mut page = Page::new(Form::OpenMetrics);
        page.counter("b_total", "h", 2.0);
        page.counter("c", "h", 3.0);
        assert_eq!(
            page.finish(),
            "# HELP b h\n# TYPE b counter\nb_total 2\n# HELP c h\n# TYPE c unknown\nc 3\n# EOF\n"
        );
    }

    #[test]
    fn a_distribution_has_cumulative_buckets_in_seconds() {
        let histogram = crate::metrics::Histogram::default();
        [900, 1_500, 3_000_000_000].iter().for_each(|&ns| histogram.record(ns));
        let mut times = Distribution::default();
        times.add(&histogram);
        let mut page = Page::new(Form::Text);
        page.metric("d", Kind::Histogram, "h").distribution(&[("cmd", "get")], &times, 3_000_002_400);
        let text = page.finish();
        for line in [
            "d_bucket{cmd=\"get\",le=\"0.000001024\"} 1",
            "d_bucket{cmd=\"get\",le=\"0.000002048\"} 2",
            "d_bucket{cmd=\"get\",le=\"+Inf\"} 3",
            "d_sum{cmd=\"get\"} 3.0000024",
            "d_count{cmd=\"get\"} 3",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in {text}");
        }
    }
}
