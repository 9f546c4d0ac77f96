//! Passwords and users.

use crate::config::enums::PUBSUB_DEFAULT;
use crate::config::kind::{Kind::*, any_text};
use crate::config::row::*;

rows! {
    /// The password of the default user; empty for none.
    "requirepass": Text(any_text), = "", MUTABLE | SENSITIVE | OMIT_EMPTY, requirepass -> Vec<u8>;
    /// The file of users, in place of `user` lines in this file.
    "aclfile": Text(any_text), = "", IMMUTABLE, aclfile -> Vec<u8>;
    /// The channels of a new user.
    "acl-pubsub-default": Enum(PUBSUB_DEFAULT), = "resetchannels", MUTABLE, acl_pubsub_default -> i64;
    /// How many refused commands to remember.
    "acllog-max-len": Int(0, i64::MAX), = "128", MUTABLE, acllog_max_len -> usize;
}
