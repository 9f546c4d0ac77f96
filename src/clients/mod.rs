//! Who is connected: what others may know of a connection, how they reach it, and CLIENT PAUSE.

pub mod mailbox;
pub mod pause;
pub mod registry;
pub mod session;

pub use mailbox::{Mail, Mailbox};
pub use pause::{Pause, PauseKind};
pub use registry::{Client, Registry, flags};
pub use session::{Block, Close, Multi, NullKind, Queued, ReplyMode, Session};
