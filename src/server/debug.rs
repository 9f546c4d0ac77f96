//! A connection whose script is debugged: bytes between its socket and the script, which has been left meanwhile.

use std::future::{Future, poll_fn};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::ReadBuf;
use tokio::time::timeout;

use super::stream::Stream;
use crate::base::clock;
use crate::clients::{Client, Dialogue};
use crate::commands::Server;
use crate::metrics::ThreadStats;
use crate::persist::aof::Writer;
use crate::resp::Out;

/// So long a client may take to take what it is sent.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked whether the script is to end.
const LOOK: Duration = Duration::from_millis(50);
/// What is read at once, bytes.
const PIECE: usize = 1024;

/// The socket, and what was to be sent before the session.
pub(super) struct Line<'a> {
    pub stream: &'a mut Stream,
    /// Replies of earlier turns.
    pub earlier: Option<&'a mut Out>,
}

/// Carries bytes for one session.
pub(super) struct Carrier<'a> {
    pub server: &'static Server,
    pub stream: &'a mut Stream,
    pub client: Arc<Client>,
    pub stats: &'static ThreadStats,
    pub dialogue: Arc<Dialogue>,
}

impl Carrier<'_> {
    /// Sends all of it. A client that does not take it is gone.
    pub async fn send(&mut self, bytes: &[u8]) {
        let sent = timeout(PATIENCE, async {
            let mut at = 0;
            while at < bytes.len() {
                match self.stream.try_write(&bytes[at..]) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(n) => at += n,
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                        poll_fn(|cx| self.stream.poll_write_ready(cx)).await?;
                    }
                    Err(e) => return Err(e),
                }
            }
            io::Result::Ok(())
        });
        match sent.await {
            Ok(Ok(())) => {
                self.stats.net_out.add(bytes.len() as u64);
                self.client.net_out.fetch_add(bytes.len() as u64, Relaxed);
            }
            _ => {
                // Half a line may have been sent.
                self.client.mailbox.close();
                self.dialogue.leave();
            }
        }
    }
    /// Sends what was to be sent before the session; what waits for the append-only file, once that is on disk.
    pub async fn send_before(&mut self, out: &mut Out, writer: Option<(Arc<Writer>, u64)>) {
        if let Some((writer, offset)) = writer {
            poll_fn(|cx| writer.poll_synced(offset, cx)).await;
        }
        if !out.is_empty() {
            let bytes = out.take_bytes();
            self.send(&bytes).await;
        }
    }
    /// Sends what the script says, and if it waits for the client, waits for it with it, for a moment at most. `ended`: it does
    /// nothing any more.
    pub async fn carry(&mut self, ended: bool) {
        let bytes = self.dialogue.take_unsent();
        if !bytes.is_empty() {
            self.send(&bytes).await;
        }
        if ended {
            return;
        }
        // One that thinks is not idle.
        self.client.active.store(clock::now_ms(), Relaxed);
        if self.client.mailbox.is_closing() || self.server.is_stopping() {
            return self.dialogue.leave();
        }
        if self.dialogue.is_over() {
            return tokio::task::yield_now().await;
        }
        let mut piece = [0; PIECE];
        let mut buf = ReadBuf::new(&mut piece);
        let (copies, heard) = (self.dialogue.is_of_copy(), !self.dialogue.has_said());
        let dialogue = self.dialogue.clone();
        let mut news = std::pin::pin!(dialogue.news());
        let stream = &mut *self.stream;
        let mut look = |cx: &mut Context<'_>| {
            if heard && let Poll::Ready(read) = stream.poll_read(cx, &mut buf) {
                return Poll::Ready(Some(read));
            }
            news.as_mut().poll(cx).map(|()| None)
        };
        let read = if copies || self.dialogue.waits() {
            timeout(LOOK, poll_fn(look)).await.ok().flatten()
        } else {
            tokio::task::yield_now().await;
            // Whether the client is still there is of interest while the script runs, too.
            poll_fn(|cx| match look(cx) {
                Poll::Ready(read) => Poll::Ready(read),
                Poll::Pending => Poll::Ready(None),
            })
            .await
        };
        match (read, buf.filled()) {
            (None, _) => {}
            (Some(Ok(())), said) if !said.is_empty() => {
                self.stats.net_in.add(said.len() as u64);
                self.client.net_in.fetch_add(said.len() as u64, Relaxed);
                self.dialogue.say(said);
            }
            _ => self.dialogue.leave(),
        }
    }
}
