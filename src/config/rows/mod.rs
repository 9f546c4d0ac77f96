//! The table itself, a file a section.

use super::row::Row;

pub mod cluster;
pub mod data;
pub mod general;
pub mod memory;
pub mod network;
pub mod observe;
pub mod persistence;
pub mod replication;
pub mod security;
pub mod tls;

/// The sections, in the order of the documentation, with their titles.
pub const SECTIONS: [(&str, &[Row]); 10] = [
    ("Network", network::ROWS),
    ("General", general::ROWS),
    ("Security", security::ROWS),
    ("Memory", memory::ROWS),
    ("Data structures and notifications", data::ROWS),
    ("Command log and latency", observe::ROWS),
    ("Persistence", persistence::ROWS),
    ("Replication", replication::ROWS),
    ("Cluster", cluster::ROWS),
    ("TLS", tls::ROWS),
];
