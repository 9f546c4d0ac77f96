//! Counters that each thread keeps for itself, summed when somebody reads them.
//!
//! - [`stats`]: the counters, and the list of all threads' counters.
//! - [`histogram`]: latencies of a command.
//! - [`errors`]: error replies by code.
//! - [`page`]: metrics as Prometheus reads them.
//! - [`rates`]: running totals as rates per second.
//! - [`commandlog`], [`spikes`]: what SLOWLOG, COMMANDLOG and LATENCY show.

/// Whether anything is counted for metrics. `--cfg unmetered` builds a server that does not, for the benchmark of what it
/// costs. Commands are timed all the same: SLOWLOG and LATENCY need that.
pub const METERED: bool = !cfg!(unmetered);

pub mod commandlog;
pub mod errors;
pub mod histogram;
pub mod page;
pub mod rates;
pub mod spikes;
pub mod stats;

pub use commandlog::{CommandLog, LogKind};
pub use histogram::{Distribution, Histogram};
pub use rates::Rates;
pub use spikes::Spikes;
pub use stats::{Counter, Metrics, ThreadStats};
