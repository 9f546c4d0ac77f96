//! What a connection that follows us as a replica is sent without asking: a snapshot, then the log.

use std::sync::Arc;
use std::sync::atomic::Ordering::*;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::base::clock;
use crate::clients::{Follow, Replica, Session, Stage};
use crate::commands::Server;
use crate::repl::{Part, Peer, ReaderId};

/// What a replica gets, and how far that is.
pub struct Feed {
    replica: Arc<Replica>,
    phase: Phase,
}

enum Phase {
    /// The snapshot comes in parts.
    Snapshot(mpsc::Receiver<Part>),
    /// The replica has all of the snapshot, and is to say so; it had acknowledged so many times before.
    Loading(ReaderId, u64),
    /// The log.
    Log(ReaderId),
    /// It wanted the snapshot and nothing else. Whether it was told that this was all.
    Done(bool),
}

/// What comes next.
pub enum Next {
    /// To be sent.
    Bytes(Vec<Bytes>),
    /// The snapshot could not be made: the connection closes.
    Failed,
    /// That was all.
    Over,
}

impl Feed {
    /// Begins to feed a connection that asked for it.
    pub fn new(server: &Server, session: &Session, how: Follow) -> Option<Feed> {
        let replica = session.replica.clone()?;
        let phase = match how {
            Follow::Resume(reader) => {
                replica.reader.store(reader, Release);
                Phase::Log(ReaderId(reader))
            }
            Follow::Full => {
                let peer = Peer { client: session.client.clone(), replica: replica.clone() };
                Phase::Snapshot(server.repl.add_candidate(peer))
            }
        };
        Some(Feed { replica, phase })
    }

    /// The next bytes. Pending: there are none yet, or the replica is to speak first. So many of what came are not sent.
    pub fn poll(&mut self, server: &Server, unsent: usize, cx: &mut Context<'_>) -> Poll<Next> {
        loop {
            match &mut self.phase {
                Phase::Snapshot(from) => match from.poll_recv(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(None) => return Poll::Ready(Next::Failed),
                    Poll::Ready(Some(Part::Bytes(b))) => return Poll::Ready(Next::Bytes(vec![b])),
                    Poll::Ready(Some(Part::Log { reader, acknowledged })) => {
                        self.replica.reader.store(reader.0, Release);
                        self.phase = if self.replica.hello.lock().rdb_only {
                            server.repl.log.remove_reader(reader);
                            Phase::Done(false)
                        } else if acknowledged {
                            Phase::Loading(reader, self.replica.acks.load(Acquire))
                        } else {
                            self.go_online(server, reader)
                        };
                    }
                },
                Phase::Loading(reader, acks) => {
                    // The connection is woken by the acknowledgement itself, which it reads.
                    if self.replica.acks.load(Acquire) == *acks {
                        return Poll::Pending;
                    }
                    let reader = *reader;
                    self.phase = self.go_online(server, reader);
                }
                Phase::Log(reader) => match server.repl.log.poll_read(*reader, unsent as u64, cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(parts) => return Poll::Ready(Next::Bytes(parts)),
                },
                Phase::Done(true) => return Poll::Pending,
                Phase::Done(told) => {
                    *told = true;
                    return Poll::Ready(Next::Over);
                }
            }
        }
    }

    fn go_online(&self, server: &Server, reader: ReaderId) -> Phase {
        self.replica.set_stage(Stage::Online);
        self.replica.acked_at.store(clock::now_ms(), Release);
        server.repl.changed.notify_waiters();
        tracing::info!("Synchronization with a replica succeeded");
        Phase::Log(reader)
    }

    /// The connection ends.
    pub fn end(self, server: &Server, client: u64) {
        let reader = self.replica.reader.swap(0, AcqRel);
        if reader != 0 {
            server.repl.log.remove_reader(ReaderId(reader));
        }
        let now = clock::now_ms();
        if self.replica.hello.lock().rdb_channel {
            server.repl.snapshot_channel_ended(client, matches!(self.phase, Phase::Done(_)), now);
        }
        server.repl.remove_peer(client, now);
        server.repl.changed.notify_waiters();
    }
}
