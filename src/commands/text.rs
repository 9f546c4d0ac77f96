//! The text of INFO, to which several groups of commands write their sections.

use std::fmt::{Display, Write};

/// The version of Redis whose commands and replies we have: `redis_version` of INFO, `version` of HELLO.
pub const COMPATIBLE_VERSION: &str = "7.2.4";

/// The version of Valkey that a primary is told by REPLCONF: from 8.0.0 on, replicas understand CLUSTER SETSLOT in their
/// stream.
pub const REPLICA_VERSION: &str = "8.0.0";

/// Sections of `field:value` lines being put together.
#[derive(Debug, Default)]
pub struct Text(String);

impl Text {
    /// All of it.
    pub fn into_string(self) -> String {
        self.0
    }

    /// Begin a section.
    pub fn section(&mut self, title: &str) {
        if !self.0.is_empty() {
            self.0.push_str("\r\n");
        }
        self.put(format_args!("# {title}\r\n"));
    }

    /// A line.
    pub fn field(&mut self, name: &str, value: impl Display) {
        self.put(format_args!("{name}:{value}\r\n"));
    }

    /// A number of bytes, and again for people.
    pub fn bytes(&mut self, name: &str, bytes: usize) {
        self.field(name, bytes);
        self.put(format_args!("{name}_human:{}\r\n", human(bytes)));
    }

    /// A number with two decimals.
    pub fn ratio(&mut self, name: &str, value: f64) {
        self.put(format_args!("{name}:{value:.2}\r\n"));
    }

    /// Fields whose value is zero.
    pub fn zeros(&mut self, names: &[&str]) {
        names.iter().for_each(|name| self.field(name, 0));
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a String does not fail.
        let _ = self.0.write_fmt(text);
    }
}

/// Bytes for people: `512B`, `1.50K`, `2.00G`.
fn human(bytes: usize) -> String {
    const UNITS: [&str; 5] = ["K", "M", "G", "T", "P"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let power = ((bytes.ilog2() / 10) as usize).min(UNITS.len());
    format!("{:.2}{}", bytes as f64 / (1u64 << (10 * power)) as f64, UNITS[power - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_for_people() {
        assert_eq!(human(0), "0B");
        assert_eq!(human(1023), "1023B");
        assert_eq!(human(1024), "1.00K");
        assert_eq!(human(1_572_864), "1.50M");
        assert_eq!(human(3 << 40), "3.00T");
        assert_eq!(human(usize::MAX), "16384.00P");
    }
}
