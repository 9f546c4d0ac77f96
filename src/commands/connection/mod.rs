//! Commands about the connection itself.

pub mod auth;
pub mod client;
pub mod filter;
pub mod kill;
pub mod list;
pub mod misc;
