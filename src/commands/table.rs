//! Every command. A group lists its own; a command not listed does not exist.

use super::{
    Command, acl, bitmap, cluster, connection, generic, geo, hash, hyperloglog, list, persistence, pubsub, replication,
    scripting, server, set, stream, string, transactions, zset,
};

/// All commands, group by group.
pub fn all() -> Vec<&'static Command> {
    let groups: [&[&Command]; 19] = [
        string::COMMANDS,
        list::COMMANDS,
        hash::COMMANDS,
        set::COMMANDS,
        zset::COMMANDS,
        stream::COMMANDS,
        bitmap::COMMANDS,
        geo::COMMANDS,
        hyperloglog::COMMANDS,
        generic::COMMANDS,
        connection::COMMANDS,
        pubsub::COMMANDS,
        transactions::COMMANDS,
        persistence::COMMANDS,
        replication::COMMANDS,
        scripting::COMMANDS,
        cluster::COMMANDS,
        server::COMMANDS,
        acl::COMMANDS,
    ];
    groups.concat()
}
