//! The text format as Prometheus reads it, as far as names, types and labels go.

use std::collections::{BTreeMap, BTreeSet};

/// A metric: its type, the names of its labels, and its samples.
#[derive(Clone, Debug, Default)]
pub struct Metric {
    pub kind: String,
    pub labels: BTreeSet<String>,
    /// By name and labels as they stand in the line.
    pub samples: BTreeMap<String, f64>,
}

/// The metrics of a page by name.
pub fn parse(text: &str) -> BTreeMap<String, Metric> {
    let mut metrics: BTreeMap<String, Metric> = BTreeMap::new();
    let mut name = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (of, kind) = rest.split_once(' ').unwrap();
            name = of.to_owned();
            metrics.entry(name.clone()).or_default().kind = kind.to_owned();
        }
        if line.starts_with('#') {
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
        let metric = metrics.get_mut(&name).unwrap_or_else(|| panic!("a sample without a type: {line}"));
        if let Some((_, labels)) = series.split_once('{') {
            let pairs = labels.trim_end_matches('}').split("\",");
            let names = pairs.filter_map(|pair| pair.split_once('=')).map(|(name, _)| name.to_owned());
            metric.labels.extend(names.filter(|name| name != "quantile" && name != "le"));
        }
        metric.samples.insert(series.to_owned(), value.parse().unwrap_or(f64::NAN));
    }
    metrics.retain(|_, metric| !metric.samples.is_empty());
    metrics
}
