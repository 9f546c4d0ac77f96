//! The connection to the target of a move: opening it, and hearing what comes back.

use std::io::{self, Read};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use std::time::Duration;

use bytes::BytesMut;
use parking_lot::Mutex;
use redis_protocol::resp2::decode::decode_bytes_mut;
use redis_protocol::resp2::types::BytesFrame;

use super::export::SILENCE_MS;
use super::filter::Stopped;
use crate::base::clock;
use crate::cluster::transfers::Transfer;
use crate::commands::Server;

/// A write that takes longer is interrupted, to see whether the move may go on.
const WRITE: Duration = Duration::from_millis(100);

/// What the target has answered.
#[derive(Default)]
pub(super) struct Answers {
    pub(super) count: AtomicU64,
    pub(super) refusal: Mutex<Option<String>>,
    pub(super) closed: AtomicBool,
}

/// An error of the connection in words.
pub(super) fn io_error(what: &str) -> impl Fn(io::Error) -> Stopped + '_ {
    move |e| Stopped(format!("{what}: {e}"))
}

/// Connects to the target.
pub(super) fn connect(server: &'static Server, transfer: &Transfer) -> Result<TcpStream, Stopped> {
    let view = server.cluster.view().ok_or_else(|| Stopped("no cluster".to_owned()))?;
    let target = view.nodes.iter().find(|node| node.id == transfer.target);
    let target = target.ok_or_else(|| Stopped("Target node is gone".to_owned()))?;
    let timeout = Duration::from_millis(server.config.cluster_node_timeout().clamp(1000, SILENCE_MS) as u64);
    let address =
        (target.ip.as_str(), target.client_port(false)).to_socket_addrs().ok().and_then(|mut list| list.next());
    let address = address.ok_or_else(|| Stopped("Target node has no address".to_owned()))?;
    let stream = TcpStream::connect_timeout(&address, timeout).map_err(io_error("Can't connect to the target"))?;
    let _ = stream.set_nodelay(true);
    stream.set_write_timeout(Some(WRITE)).map_err(io_error("Target"))?;
    Ok(stream)
}

fn refusal_of(frame: &BytesFrame) -> Option<String> {
    match frame {
        BytesFrame::Error(text) => Some(text.to_string()),
        BytesFrame::Array(frames) => frames.iter().find_map(refusal_of),
        _ => None,
    }
}

/// Reads what the target answers until the connection ends.
pub(super) fn listen(mut stream: TcpStream, answers: &Answers, transfer: &Transfer) {
    let (mut buf, mut piece) = (BytesMut::new(), [0; 16 << 10]);
    'connection: while let Ok(n) = stream.read(&mut piece) {
        if n == 0 {
            break;
        }
        transfer.heard.store(clock::now_ms() as u64, Relaxed);
        buf.extend_from_slice(&piece[..n]);
        loop {
            match decode_bytes_mut(&mut buf) {
                Ok(Some((frame, ..))) => {
                    if let Some(text) = refusal_of(&frame) {
                        answers.refusal.lock().get_or_insert(text);
                    }
                    answers.count.fetch_add(1, AcqRel);
                }
                Ok(None) => break,
                Err(_) => break 'connection,
            }
        }
    }
    answers.closed.store(true, Release);
}
