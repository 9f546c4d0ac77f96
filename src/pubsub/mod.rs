//! Channels and patterns: who is subscribed, and how messages reach them.
//!
//! A message is encoded once a protocol version and handed to the mailbox of each subscriber.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use parking_lot::RwLock;

use crate::base::glob;
use crate::clients::{Client, Mail};
use crate::resp::{Out, Proto};

type Subscribers = HashMap<Vec<u8>, Vec<Arc<Client>>>;

/// All subscriptions.
#[derive(Debug, Default)]
pub struct PubSub {
    channels: RwLock<Subscribers>,
    patterns: RwLock<Subscribers>,
    shard_channels: RwLock<Subscribers>,
    /// How many patterns have subscribers.
    pattern_count: AtomicUsize,
}

/// Encodes a message once for each protocol version that is asked for.
struct Encoded<F: Fn(&mut Out)> {
    write: F,
    made: [Option<Bytes>; 2],
}

impl<F: Fn(&mut Out)> Encoded<F> {
    fn new(write: F) -> Self {
        Encoded { write, made: [None, None] }
    }
    /// Whether the client gets it: one that is about to be closed gets nothing more.
    fn send(&mut self, to: &Client) -> bool {
        if to.mailbox.is_closing() {
            return false;
        }
        let resp3 = to.resp.load(Relaxed) == 3;
        let bytes = self.made[usize::from(resp3)].get_or_insert_with(|| {
            let mut out = Out::new(if resp3 { Proto::Resp3 } else { Proto::Resp2 });
            (self.write)(&mut out);
            Bytes::from(out.take_bytes())
        });
        to.mailbox.send(Mail::Push(bytes.clone()));
        true
    }
    /// How many of these clients get it.
    fn send_to_all(&mut self, clients: &[Arc<Client>]) -> usize {
        clients.iter().filter(|client| self.send(client)).count()
    }
}

fn add(to: &RwLock<Subscribers>, name: &[u8], client: &Arc<Client>) {
    to.write().entry(name.to_vec()).or_default().push(client.clone());
}
fn remove(from: &RwLock<Subscribers>, name: &[u8], client: &Client) {
    let mut map = from.write();
    if let Some(list) = map.get_mut(name) {
        list.retain(|c| c.id != client.id);
        if list.is_empty() {
            map.remove(name);
        }
    }
}

impl PubSub {
    /// Subscribes to a channel. The session knows that it was not yet.
    pub fn subscribe(&self, channel: &[u8], client: &Arc<Client>) {
        add(&self.channels, channel, client);
    }
    /// Ends a subscription to a channel.
    pub fn unsubscribe(&self, channel: &[u8], client: &Client) {
        remove(&self.channels, channel, client);
    }
    /// Subscribes to a pattern.
    pub fn psubscribe(&self, pattern: &[u8], client: &Arc<Client>) {
        add(&self.patterns, pattern, client);
        self.pattern_count.store(self.patterns.read().len(), Relaxed);
    }
    /// Ends a subscription to a pattern.
    pub fn punsubscribe(&self, pattern: &[u8], client: &Client) {
        remove(&self.patterns, pattern, client);
        self.pattern_count.store(self.patterns.read().len(), Relaxed);
    }
    /// Subscribes to a shard channel.
    pub fn ssubscribe(&self, channel: &[u8], client: &Arc<Client>) {
        add(&self.shard_channels, channel, client);
    }
    /// Ends a subscription to a shard channel.
    pub fn sunsubscribe(&self, channel: &[u8], client: &Client) {
        remove(&self.shard_channels, channel, client);
    }
    /// The subscribers of channels (of both kinds) and patterns that `allowed` says no to; it hears whether it is a
    /// pattern.
    pub fn subscribers_against(&self, allowed: impl Fn(&[u8], bool) -> bool) -> Vec<Arc<Client>> {
        let mut found = Vec::new();
        for (map, pattern) in [(&self.channels, false), (&self.shard_channels, false), (&self.patterns, true)] {
            let map = map.read();
            let lists = map.iter().filter(|(name, _)| !allowed(name, pattern)).map(|(_, list)| list);
            found.extend(lists.flatten().cloned());
        }
        found
    }
    /// Ends the subscriptions to some shard channels: their subscribers are told.
    pub fn end_shard(&self, ends: impl Fn(&[u8]) -> bool) {
        let gone: Vec<_> = self.shard_channels.write().extract_if(|name, _| ends(name)).collect();
        for (channel, clients) in gone {
            clients.iter().for_each(|c| c.mailbox.send(Mail::ShardLeft(channel.clone())));
        }
    }
    /// Sends a message to the subscribers of a shard channel. How many got it.
    pub fn spublish(&self, channel: &[u8], message: &[u8]) -> usize {
        let map = self.shard_channels.read();
        let Some(list) = map.get(channel) else { return 0 };
        let mut encoded = Encoded::new(|out| {
            out.push(3);
            out.bulk(b"smessage");
            out.bulk(channel);
            out.bulk(message);
        });
        encoded.send_to_all(list)
    }
    /// Shard channels with subscribers that match the pattern (all without one).
    pub fn shard_channels(&self, pattern: Option<&[u8]>) -> Vec<Vec<u8>> {
        let wanted = |c: &&Vec<u8>| pattern.is_none_or(|p| glob::matches(p, c, false));
        self.shard_channels.read().keys().filter(wanted).cloned().collect()
    }
    /// Subscribers of a shard channel.
    pub fn shard_subscribers(&self, channel: &[u8]) -> usize {
        self.shard_channels.read().get(channel).map_or(0, Vec::len)
    }
    /// Sends a message to the channel's subscribers and those of matching patterns. How many got it.
    pub fn publish(&self, channel: &[u8], message: &[u8]) -> usize {
        let mut reached = 0;
        if let Some(list) = self.channels.read().get(channel) {
            let mut encoded = Encoded::new(|out| {
                out.push(3);
                out.bulk(b"message");
                out.bulk(channel);
                out.bulk(message);
            });
            reached += encoded.send_to_all(list);
        }
        if self.pattern_count.load(Relaxed) > 0 {
            for (pattern, list) in self.patterns.read().iter() {
                if glob::matches(pattern, channel, false) {
                    let mut encoded = Encoded::new(|out| {
                        out.push(4);
                        out.bulk(b"pmessage");
                        out.bulk(pattern);
                        out.bulk(channel);
                        out.bulk(message);
                    });
                    reached += encoded.send_to_all(list);
                }
            }
        }
        reached
    }
    /// Channels with subscribers that match the pattern (all without one).
    pub fn channels(&self, pattern: Option<&[u8]>) -> Vec<Vec<u8>> {
        let wanted = |c: &&Vec<u8>| pattern.is_none_or(|p| glob::matches(p, c, false));
        self.channels.read().keys().filter(wanted).cloned().collect()
    }
    /// Subscribers of a channel.
    pub fn subscribers(&self, channel: &[u8]) -> usize {
        self.channels.read().get(channel).map_or(0, Vec::len)
    }
    /// How many channels have subscribers.
    pub fn channel_count(&self) -> usize {
        self.channels.read().len()
    }
    /// How many patterns have subscribers.
    pub fn pattern_count(&self) -> usize {
        self.pattern_count.load(Relaxed)
    }
}
