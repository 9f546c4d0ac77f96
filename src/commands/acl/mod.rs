//! ACL: users and their rights. (`exec` checks commands, `crate::acl` knows the rules.)

pub mod denied;
pub mod effects;
mod file;
mod log;
mod look;
mod user;

pub use file::{load_at_start, save_lines};

use super::{Command, help};
use crate::spec::{Flags, Group, Meta};

/// All of them.
pub const COMMANDS: &[&Command] = &[&ACL];

const OPEN: Flags = Flags::NOSCRIPT.or(Flags::LOADING).or(Flags::STALE);
const ADMIN: Flags = OPEN.or(Flags::ADMIN);
const TO_ALL: &[&str] = &["request_policy:all_nodes", "response_policy:all_succeeded"];

/// <https://valkey.io/commands/acl/>
pub static ACL: Command = Command::container(
    Meta::new("acl", -2, Flags::NONE, Group::Server).doc(
        "6.0.0",
        "Depends on subcommand.",
        "A container for commands about users and their rights.",
    ),
    &[
        &look::CAT,
        &user::DELUSER,
        &look::DRYRUN,
        &look::GENPASS,
        &user::GETUSER,
        &HELP,
        &user::LIST,
        &file::LOAD,
        &log::LOG,
        &file::SAVE,
        &user::SETUSER,
        &user::USERS,
        &look::WHOAMI,
    ],
);

/// <https://valkey.io/commands/acl-help/>
static HELP: Command = Command::new(
    Meta::new("acl|help", 2, Flags::LOADING.or(Flags::STALE), Group::Server).doc(
        "6.0.0",
        "O(1)",
        "Explains the subcommands.",
    ),
    |cx, _args| {
        help::reply(cx.out, "ACL", HELP_LINES);
        Ok(())
    },
);

const HELP_LINES: &[&str] = &[
    "CAT [<category>]",
    "    List all commands that belong to <category>, or all command categories",
    "    when no category is specified.",
    "DELUSER <username> [<username> ...]",
    "    Delete a list of users.",
    "DRYRUN <username> <command> [<arg> ...]",
    "    Returns whether the user can execute the given command without executing the command.",
    "GETUSER <username>",
    "    Get the user's details.",
    "GENPASS [<bits>]",
    "    Generate a secure 256-bit user password. The optional `bits` argument can",
    "    be used to specify a different size.",
    "LIST",
    "    Show users details in config file format.",
    "LOAD",
    "    Reload users from the ACL file.",
    "LOG [<count> | RESET]",
    "    Show the ACL log entries.",
    "SAVE",
    "    Save the current config to the ACL file.",
    "SETUSER <username> <attribute> [<attribute> ...]",
    "    Create or modify a user with the specified attributes.",
    "USERS",
    "    List all the registered usernames.",
    "WHOAMI",
    "    Return the current connection username.",
];
