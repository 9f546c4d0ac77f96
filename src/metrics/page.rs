//! A page of metrics in the forms that Prometheus reads: text 0.0.4, and OpenMetrics 1.0 where a scraper asks for it.
//!
//! What is shown is counted elsewhere already, as sums, as finished distributions and as fractions of seconds. The usual
//! registries (metrics-exporter-prometheus was tried) keep counters as whole numbers and histograms as single samples, so
//! every scrape would copy each value into a second store that cannot hold it; a page is a string that is written once.
//!
//! In OpenMetrics a counter's sample must end in `_total`. redis_exporter has counters that do not; there they are of
//! type `unknown`, under the same name.

use std::fmt::Write;

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

/// A page being written. Samples follow the head of their metric.
#[derive(Debug)]
pub struct Page {
    text: String,
    form: Form,
    name: &'static str,
}

impl Page {
    /// An empty page.
    pub fn new(form: Form) -> Page {
        Page { text: String::with_capacity(64 << 10), form, name: "" }
    }

    /// The head of a metric.
    pub fn metric(&mut self, name: &'static str, kind: Kind, help: &str) -> &mut Page {
        self.name = name;
        let (family, kind) = match (self.form, kind, name.strip_suffix("_total")) {
            (Form::OpenMetrics, Kind::Counter, Some(family)) => (family, "counter"),
            (Form::OpenMetrics, Kind::Counter, None) => (name, "unknown"),
            _ => (name, kind.name()),
        };
        let _ = write!(self.text, "# HELP {family} ");
        escape(&mut self.text, help, self.form == Form::OpenMetrics);
        let _ = writeln!(self.text, "\n# TYPE {family} {kind}");
        self
    }

    /// A sample of the metric whose head was written last.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: f64) -> &mut Page {
        self.part("", labels, value)
    }

    /// A sample whose name has this at its end: `_bucket`, `_sum`, `_count`.
    pub fn part(&mut self, suffix: &str, labels: &[(&str, &str)], value: f64) -> &mut Page {
        self.text.push_str(self.name);
        self.text.push_str(suffix);
        for (i, (name, value)) in labels.iter().enumerate() {
            self.text.push(if i == 0 { '{' } else { ',' });
            let _ = write!(self.text, "{name}=\"");
            escape(&mut self.text, value, true);
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = match value {
            v if v.is_nan() => writeln!(self.text, " NaN"),
            v if v.is_infinite() => writeln!(self.text, " {}Inf", if v > 0.0 { '+' } else { '-' }),
            v => writeln!(self.text, " {v}"),
        };
        self
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

fn escape(out: &mut String, text: &str, quotes: bool) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            c => out.push(c),
        }
    }
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
}
