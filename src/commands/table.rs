//! Every command. A group lists its own; a command not listed does not exist.

use super::{
    Command, connection, generic, hash, list, pubsub, replication, scripting, server, set, string, transactions, zset,
};

/// All commands, group by group.
pub fn all() -> Vec<&'static Command> {
    let groups: [&[&Command]; 12] = [
        string::COMMANDS,
        list::COMMANDS,
        hash::COMMANDS,
        set::COMMANDS,
        zset::COMMANDS,
        generic::COMMANDS,
        connection::COMMANDS,
        pubsub::COMMANDS,
        transactions::COMMANDS,
        replication::COMMANDS,
        scripting::COMMANDS,
        server::COMMANDS,
    ];
    groups.concat()
}
