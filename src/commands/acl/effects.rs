//! What a change of users means for those who are connected.

use crate::acl::{User, allows_channel};
use crate::clients::{Client, Close};
use crate::commands::{Ctx, Server};

fn is_user_of(client: &Client, user: &User) -> bool {
    client.names.lock().user == user.name
}

/// Closes a connection; the one that asks gets its reply first.
fn close(cx: &mut Ctx<'_>, client: &Client) {
    if client.id == cx.session.client.id {
        cx.session.close = Close::AfterReply;
    } else {
        client.mailbox.close();
        // It is gone for whoever looks, although its worker still has to see to that.
        cx.server.registry.hide(client.id);
    }
}

/// The user was deleted: its connections end.
pub(super) fn end_connections(cx: &mut Ctx<'_>, user: &User) {
    for client in cx.server.registry.all() {
        if is_user_of(&client, user) {
            close(cx, &client);
        }
    }
    if cx.session.user.as_ref().is_some_and(|own| own.id == user.id) {
        cx.session.lose_user(&cx.server.acl);
    }
}

/// The user lost channels: those of its connections end that are subscribed to one of them.
pub(super) fn end_subscribers(cx: &mut Ctx<'_>, old: &User, new: &User) {
    let Some(left) = new.channels_if_fewer_than(old) else { return };
    let server: &Server = cx.server;
    for client in server.pubsub.subscribers_against(|name, pattern| allows_channel(&left, name, pattern)) {
        if is_user_of(&client, old) {
            close(cx, &client);
        }
    }
}
