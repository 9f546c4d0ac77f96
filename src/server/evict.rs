//! `maxmemory-clients`: while the buffers of clients together take more, the largest is closed.
//!
//! A connection says what it takes when it has read much and at the end of each turn, and whoever finds the sum over the limit
//! looks at all of them. What others put into its mailbox counts with its next turn, or when the main thread looks.

use std::sync::Arc;

use crate::clients::{Client, flags};
use crate::commands::Server;

/// What a connection last said that it takes, bytes.
#[derive(Debug, Default)]
pub struct Account(usize);

impl Account {
    /// The connection takes what it takes now. False if it has to go.
    #[inline]
    pub fn settle(&mut self, server: &'static Server, client: &Client) -> bool {
        let limit = server.config.maxmemory_clients();
        if limit == 0 && self.0 == 0 {
            return true;
        }
        self.count(server, client, limit)
    }
    #[cold]
    fn count(&mut self, server: &'static Server, client: &Client, limit: usize) -> bool {
        let now = if limit == 0 || !is_counted(client) { 0 } else { client.memory() };
        let sum = server.registry.count_memory(std::mem::replace(&mut self.0, now), now);
        if limit > 0 && sum > limit {
            evict(server);
        }
        !client.mailbox.is_closing()
    }
    /// The connection is at its end.
    pub fn close(self, server: &Server) {
        server.registry.count_memory(self.0, 0);
    }
}

/// Links of replication have limits of their own.
fn is_counted(client: &Client) -> bool {
    !client.has(flags::REPLICA | flags::PRIMARY)
}

/// Closes the largest connections until the others are under the limit.
pub fn evict(server: &'static Server) {
    let limit = server.config.maxmemory_clients();
    if limit == 0 {
        return;
    }
    let _alone = server.registry.evicting.lock();
    let all = server.registry.all().into_iter().filter(|c| is_counted(c) && !c.mailbox.is_closing());
    let mut clients: Vec<(usize, Arc<Client>)> = all.map(|c| (c.memory(), c)).collect();
    let mut total: usize = clients.iter().map(|(memory, _)| memory).sum();
    clients.retain(|(_, c)| !c.has(flags::NO_EVICT));
    clients.sort_by_key(|(memory, _)| *memory);
    while total > limit
        && let Some((memory, client)) = clients.pop()
    {
        tracing::info!("Evicting client: id={} addr={}", client.id, client.addr);
        server.registry.count_evicted();
        client.mailbox.close();
        server.registry.hide(client.id);
        total -= memory;
    }
}
