//! A synchronization over two connections (`dual-channel-replication-enabled`), as the replica sees it: the snapshot comes over
//! one of its own, and meanwhile the stream from its cut on over the first. So it is this node that keeps what is written
//! meanwhile, not the primary.
//!
//! The primary answers PSYNC with `+DUALCHANNELSYNC`. A second connection says `REPLCONF ... rdb-channel 1` and SYNC, and hears
//! `$ENDOFF:<offset> <history> <database> <client>` before the snapshot: where its cut is, and the number of that connection.
//! With that number (`REPLCONF set-rdb-client-id`) the first one asks for the stream from there on.

use std::io;
use std::sync::atomic::Ordering::*;

use bytes::BytesMut;
use tokio::io::AsyncReadExt;

use super::link::{Following, LATE_BULK, READ, SUPERSEDED, Wire, failed, superseded, with_patience};
use super::{bulk, dial};
use crate::exec::Worker;
use crate::repl::{LinkState, Primary};

/// What the primary says of a snapshot's cut.
#[derive(Debug, PartialEq, Eq)]
struct Cut {
    offset: u64,
    id: String,
    /// The database that the stream goes on in.
    db: usize,
    /// The number of the connection with the snapshot, at the primary.
    client: u64,
}

impl Cut {
    fn parse(line: &[u8]) -> Option<Cut> {
        let words: Vec<&str> = std::str::from_utf8(line).ok()?.strip_prefix("$ENDOFF:")?.split(' ').collect();
        let [offset, id, db, client] = words[..] else { return None };
        let id = Some(id).filter(|id| id.len() == 40)?.to_owned();
        Some(Cut { offset: offset.parse().ok()?, id, db: db.parse().ok()?, client: client.parse().ok()? })
    }
}

impl Following {
    /// Takes the snapshot over a connection of its own, and what is written meanwhile over `wire`, where it waits to be applied.
    pub(super) async fn synchronize_apart(
        &self,
        worker: &mut Worker,
        primary: &Primary,
        wire: &mut Wire,
    ) -> io::Result<()> {
        let server = self.server;
        let (mut snapshot, cut) = self.snapshot_channel(primary).await?;
        if cut.db >= server.keyspace.databases() {
            return Err(failed(format!("the stream of the primary is in database {}, which is not here", cut.db)));
        }
        wire.send(&[b"REPLCONF", b"set-rdb-client-id", cut.client.to_string().as_bytes()]).await?;
        wire.reply().await?.map_err(|e| failed(format!("Primary does not understand REPLCONF identify: {e}")))?;
        wire.send(&[b"PSYNC", cut.id.as_bytes(), (cut.offset + 1).to_string().as_bytes()]).await?;
        let text = wire.reply().await?.map_err(|e| failed(format!("the primary refuses: {e}")))?;
        if text != "CONTINUE" && text != format!("CONTINUE {}", cut.id) {
            return Err(failed(format!("Aborting dual channel sync. Main channel psync result: {text}")));
        }
        tracing::info!(
            "PRIMARY <-> REPLICA sync: Primary accepted a Partial Resynchronization, RDB load in background."
        );
        self.set_state(LinkState::Sync)?;
        snapshot.late = LATE_BULK;
        server.repl.link.buffered.store(0, Release);
        server.repl.link.buffered_peak.store(0, Release);
        tokio::select! {
            done = bulk::receive(server, worker, self.generation, &mut snapshot, &cut.id, cut.offset) => done?,
            e = self.gather(wire) => return Err(e),
        }
        server.repl.link.selected.store(cut.db, Release);
        Ok(())
    }

    /// The connection for the snapshot, which begins next on it.
    async fn snapshot_channel(&self, primary: &Primary) -> io::Result<(Wire, Cut)> {
        let connecting = dial::connect(self.server.config, &primary.host, primary.port);
        let stream = with_patience(self.server, self.generation, LATE_BULK, connecting).await?;
        let mut wire = Wire::new(stream, self.server, self.generation)?;
        wire.one_way = true;
        self.authenticate(&mut wire).await?;
        let port = self.own_port();
        let words: [&[u8]; 9] =
            [b"REPLCONF", b"capa", b"eof", b"rdb-only", b"1", b"rdb-channel", b"1", b"listening-port", port.as_bytes()];
        wire.send(&words).await?;
        wire.reply().await?.map_err(|e| {
            failed(format!("Server does not support sync with offset, dual channel sync approach cannot be used: {e}"))
        })?;
        wire.send(&[b"SYNC"]).await?;
        loop {
            let line = wire.line().await?;
            // Empty lines are signs of life.
            if !line.is_empty() {
                let unexpected = || failed(format!("Unexpected $ENDOFF response: {}", String::from_utf8_lossy(&line)));
                return Ok((wire, Cut::parse(&line).ok_or_else(unexpected)?));
            }
        }
    }

    /// Takes in what the primary writes, until that is too much (`client-output-buffer-limit`): then the rest waits at the
    /// primary. Comes back only with an error.
    async fn gather(&self, wire: &mut Wire) -> io::Error {
        let (server, link) = (self.server, &self.server.repl.link);
        // What came with the last reply is the beginning of it.
        let mut held = wire.buf.len() as u64;
        loop {
            link.buffered.store(held, Release);
            link.buffered_peak.fetch_max(held, AcqRel);
            let limit = server.config.output_limit(1).hard;
            if limit > 0 && held > limit {
                tracing::info!("Replication buffer limit reached, stopping buffering.");
                superseded(server, self.generation).await;
                return failed(SUPERSEDED);
            }
            let fits = wire.ahead.back().is_some_and(|last| last.len() < READ);
            if !fits {
                wire.ahead.push_back(BytesMut::with_capacity(READ));
            }
            let Some(last) = wire.ahead.back_mut() else { continue };
            let read = tokio::select! {
                read = wire.stream.read_buf(last) => read,
                () = superseded(server, self.generation) => return failed(SUPERSEDED),
            };
            match read {
                Ok(0) => return failed("Connection with primary lost."),
                Ok(n) => {
                    held += n as u64;
                    link.last_io.store(crate::base::clock::now_ms(), Release);
                    server.repl.counters.bytes_in.fetch_add(n as u64, Relaxed);
                }
                Err(e) => return e,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_line_tells_where_the_cut_is() {
        let id = "0123456789012345678901234567890123456789";
        let of = |line: &str| Cut::parse(line.as_bytes());
        let cut = Cut { offset: 15, id: id.to_owned(), db: 3, client: 77 };
        assert_eq!(of(&format!("$ENDOFF:15 {id} 3 77")), Some(cut));
        for bad in ["$ENDOFF:15", "$EOF:15", "", "-ERR no", &format!("$ENDOFF:15 {id} 3"), "$ENDOFF:15 abc 3 77"] {
            assert_eq!(of(bad), None, "{bad}");
        }
        assert_eq!(of(&format!("$ENDOFF:-1 {id} 3 77")), None);
    }
}
