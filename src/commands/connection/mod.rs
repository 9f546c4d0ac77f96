//! Commands about the connection itself.

pub mod auth;
pub mod client;
pub mod filter;
pub mod kill;
pub mod list;
pub mod misc;
pub mod tracking;

use super::Command;

/// The commands of the group.
pub const COMMANDS: &[&Command] =
    &[&auth::AUTH, &client::CLIENT, &misc::ECHO, &auth::HELLO, &misc::PING, &misc::QUIT, &misc::RESET, &misc::SELECT];
