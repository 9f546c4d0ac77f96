//! What follows from a command once its locks are dropped: notifications, and clients that waited for its keys.

use super::Worker;
use crate::clients::{Mail, Session};
use crate::keyspace::notify;
use crate::resp::Out;

impl Worker {
    /// Carries out the gathered effects. Serving a waiter may have effects of its own, so this goes on until all is quiet.
    pub(super) fn after(&mut self) {
        while !self.fx.is_quiet() {
            for event in std::mem::take(&mut self.fx.events) {
                let mask = self.fx.notify_mask;
                if mask & notify::KEYSPACE != 0 {
                    let mut channel = format!("__keyspace@{}__:", event.db).into_bytes();
                    channel.extend_from_slice(&event.key);
                    self.server.pubsub.publish(&channel, event.name.as_bytes());
                }
                if mask & notify::KEYEVENT != 0 {
                    let channel = format!("__keyevent@{}__:{}", event.db, event.name);
                    self.server.pubsub.publish(channel.as_bytes(), &event.key);
                }
            }
            let changed = std::mem::take(&mut self.fx.invalidated);
            if !changed.is_empty() {
                let told = std::mem::take(&mut self.fx.told);
                self.server.tracking.changed(&self.server.registry, &changed, told, self.client);
            }
            if std::mem::take(&mut self.fx.flushed) {
                self.server.tracking.flushed(&self.server.registry);
            }
            let ready = std::mem::take(&mut self.fx.ready);
            self.serve(ready);
        }
    }
}

/// What a connection that tracks keys is to hear by now, if anything.
#[inline]
pub fn own_invalidations(session: &mut Session, out: &mut Out) {
    if session.tracking.is_some() && session.client.mailbox.has_signal() {
        own_mail(session, out);
    }
}

/// Moves what is in a connection's own mailbox into its output.
pub fn own_mail(session: &mut Session, out: &mut Out) {
    for mail in session.client.mailbox.take() {
        match mail {
            Mail::Push(bytes) => out.raw(&bytes),
            Mail::ShardLeft(channel) => crate::commands::pubsub::shard_left(session, &channel, out),
            // Only a blocked connection gets one, and that one runs no commands.
            Mail::Reply(bytes) => out.raw(&bytes),
        }
    }
}
