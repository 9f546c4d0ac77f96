//! The Redis serialization protocol: a resumable request decoder, a RESP2/RESP3 reply encoder, and errors as replies.
//!
//! Specification: <https://valkey.io/topics/protocol/>.

mod decode;
mod error;
mod out;

pub use decode::{Arg, Decoder, Limits, ProtocolError, Step};
pub use error::Error;
pub use out::{Mark, Out, Proto};
