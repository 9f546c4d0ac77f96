//! Published messages travel over the bus: to everybody, or within the shard.

use bytes::Bytes;

use super::node::ME;
use super::{Core, Event, Flags};
use crate::cluster::wire::{self, Kind};

impl Core {
    /// Pass a message that a client published here on: to all nodes, or, for a shard channel, to those of this shard.
    pub fn publish(&mut self, now: i64, channel: &[u8], message: &[u8], shard: bool) {
        self.begin(now);
        let kind = if shard { Kind::PublishShard } else { Kind::Publish };
        let mine = self.nodes[ME].shard_id;
        let receivers: Vec<_> = self
            .nodes
            .iter()
            .filter(|&(at, node)| at != ME && !node.in_handshake() && (!shard || node.shard_id == mine))
            .filter_map(|(_, node)| Some((node.link?, node.flags.any(Flags::LIGHT_HEADER))))
            .collect();
        let (mut light, mut full): (Option<Bytes>, Option<Bytes>) = (None, None);
        for (link, reads_light) in receivers {
            let packet = if reads_light {
                light.get_or_insert_with(|| wire::publish_light(kind, channel, message).into()).clone()
            } else {
                let build = || wire::publish(&self.header(kind, &self.claimed_bitmap()), channel, message).into();
                full.get_or_insert_with(build).clone()
            };
            self.send(link, kind, packet);
        }
        self.settle();
    }

    /// A message that another node passed on.
    pub(super) fn published(&mut self, kind: Kind, channel: &[u8], message: &[u8]) {
        self.events.push_back(Event::Published {
            channel: Bytes::copy_from_slice(channel),
            message: Bytes::copy_from_slice(message),
            shard: kind == Kind::PublishShard,
        });
    }
}
