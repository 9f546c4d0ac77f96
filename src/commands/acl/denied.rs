//! Refusals: counted, and noted in the log.

use crate::acl::{Context, Denied, Event, Reason};
use crate::base::clock;
use crate::clients::Client;
use crate::commands::Server;
use crate::commands::connection::list::{self, Running};
use crate::metrics::ThreadStats;

/// The client in one line; `running` is the command that it is in.
pub fn client_line(server: &Server, client: &Client, running: Running) -> Vec<u8> {
    let mut line = Vec::new();
    list::describe(client, Some(running), clock::now_ms(), &server.lookup, &mut line);
    line.truncate(line.trim_ascii_end().len());
    line
}

/// Counts a refusal, and notes it.
pub fn log(server: &Server, stats: &ThreadStats, event: Event) {
    let counter = match event.reason {
        Reason::Auth => &stats.auth_denied,
        Reason::Command => &stats.command_denied,
        Reason::Key => &stats.key_denied,
        Reason::Channel => &stats.channel_denied,
        Reason::Database => &stats.database_denied,
    };
    counter.add(1);
    server.acl.log.add(event, clock::now_ms(), server.config.acllog_max_len());
}

/// The same for a command that the user named may not run.
#[cold]
pub fn record(
    server: &Server,
    stats: &ThreadStats,
    client: &Client,
    running: Running,
    context: Context,
    (why, user): (&Denied, &[u8]),
) {
    let client = client_line(server, client, running);
    let (object, user) = (why.object.clone(), user.to_vec());
    log(server, stats, Event { reason: why.reason, context, object, user, client });
}
