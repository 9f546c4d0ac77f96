//! Commands about the server: its state, its configuration, its databases as a whole.

pub mod art;
pub mod command;
pub mod config;
pub mod databases;
pub mod debug;
pub mod docs;
pub mod info;
pub mod latency;
pub mod logs;
pub mod memory;
pub mod misc;
pub mod monitor;
pub mod shutdown;
