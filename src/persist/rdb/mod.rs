//! The RDB format of values, as DUMP payloads and dump files have it.
//!
//! A value is a type byte and a body; lengths and short integers are packed; strings may be LZF-compressed. Packed
//! collections (listpack, intset) are stored as the bytes they have in memory. What is written, Redis 7.0 reads, unless
//! the data needs a newer form: a hash with fields that expire has Valkey 9's.

mod decode;
mod encode;
pub mod file;
pub mod load;
mod old;
mod skip;
mod steps;
mod stream;

pub use decode::{BadPayload, Reader, read_value};
pub use encode::{Writer, form_of, write_body, write_value};
pub use steps::{Steps, is_big};

/// The version in the footer of what is written.
pub const VERSION: u16 = 10;
/// The version of Valkey 9, which knows hashes with fields that expire.
pub const VERSION_FIELD_EXPIRY: u16 = 80;

/// What stands between values in a file.
pub mod opcode {
    /// How many keys a slot has.
    pub const SLOT_INFO: u8 = 244;
    /// A function library, as its source.
    pub const FUNCTION2: u8 = 245;
    /// A function library, in a form of a release candidate.
    pub const FUNCTION_PRE_GA: u8 = 246;
    /// Data of a module.
    pub const MODULE_AUX: u8 = 247;
    /// The LFU counter of the next key.
    pub const FREQ: u8 = 249;
    /// The idle time of the next key, seconds.
    pub const IDLE: u8 = 248;
    /// Something about the file.
    pub const AUX: u8 = 250;
    /// How many keys a database has.
    pub const RESIZEDB: u8 = 251;
    /// The expiry of the next key, ms.
    pub const EXPIRETIME_MS: u8 = 252;
    /// The expiry of the next key, seconds.
    pub const EXPIRETIME: u8 = 253;
    /// The database of the next keys.
    pub const SELECTDB: u8 = 254;
    /// The end.
    pub const EOF: u8 = 255;
}

/// The type bytes.
mod kind {
    pub const STRING: u8 = 0;
    pub const LIST: u8 = 1;
    pub const SET: u8 = 2;
    pub const ZSET: u8 = 3;
    pub const HASH: u8 = 4;
    pub const ZSET_2: u8 = 5;
    pub const HASH_ZIPMAP: u8 = 9;
    pub const LIST_ZIPLIST: u8 = 10;
    pub const SET_INTSET: u8 = 11;
    pub const ZSET_ZIPLIST: u8 = 12;
    pub const HASH_ZIPLIST: u8 = 13;
    pub const LIST_QUICKLIST: u8 = 14;
    /// A stream, of Redis 5.
    pub const STREAM: u8 = 15;
    pub const HASH_LISTPACK: u8 = 16;
    pub const ZSET_LISTPACK: u8 = 17;
    pub const LIST_QUICKLIST_2: u8 = 18;
    /// A stream that knows how many entries were added, of Redis 7.0.
    pub const STREAM_2: u8 = 19;
    pub const SET_LISTPACK: u8 = 20;
    /// A stream whose consumers know when they were active, of Redis 7.2.
    pub const STREAM_3: u8 = 21;
    /// Valkey's, with an expiry of each field. (Redis used the number for a form that it never released.)
    pub const HASH_2: u8 = 22;
    /// Redis 7.4's, with an expiry of each field.
    pub const HASH_METADATA: u8 = 24;
    /// The same, packed.
    pub const HASH_LISTPACK_EX: u8 = 25;
}

/// The name of a type byte, for messages about one that is not known.
pub fn type_name(kind: u8) -> &'static str {
    match kind {
        6 | 7 => "module value",
        23 => "packed hash with field expiry of a release candidate",
        26.. => "type of a newer version",
        _ => "unknown type",
    }
}
