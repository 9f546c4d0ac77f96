//! Counters that each thread keeps for itself, summed when somebody reads them.

pub mod stats;

pub use stats::{Counter, Metrics, ThreadStats};
