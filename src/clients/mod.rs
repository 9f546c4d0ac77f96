//! Who is connected: what others may know of a connection, how they reach it, and CLIENT PAUSE.

pub mod dialogue;
mod job;
pub mod mailbox;
pub mod pause;
pub mod registry;
pub mod replica;
pub mod session;
pub mod tracking;

pub use dialogue::Dialogue;
pub use job::{Job, Reach};
pub use mailbox::{Mail, Mailbox};
pub use pause::{Pause, PauseKind, PauseReason, SlotPause};
pub use registry::{Client, Registry, flags};
pub use replica::{Filter, Hello, Replica, Stage};
pub use session::{Acks, Block, Close, Follow, Import, Multi, NullKind, Queued, ReplyMode, Session, received};
pub use tracking::{Mode, Tracked, Tracking};
