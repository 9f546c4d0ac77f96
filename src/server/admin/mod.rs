//! HTTP for monitoring: `/metrics`, `/healthz`, `/readyz`, `/version`.
//!
//! The HTTP is our own, and as little as a scraper needs: the listener of metrics-exporter-prometheus serves the registry
//! of its recorder, which is not used here (`metrics::page` says why), and knows no password, no readiness and no bound.
//!
//! It has a thread of its own with the lowest claims: nothing of it runs on a worker, and it takes no lock that a client
//! waits for longer than the look at a number. At most [`MAX_CONNECTIONS`] connections are served at a time, others wait
//! to be accepted; a request has [`PATIENCE`] to arrive and its answer as long to be taken; a page is made once for all
//! who ask within [`FRESH_MS`], so a thousand scrapers cost what one does.

mod cluster;
mod health;
mod http;
mod own;
mod redis;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use self::cluster::HotSlots;
use self::http::{MAX_HEAD, Refusal, Request};
use super::listen;
use super::worker::Gate;
use crate::base::clock;
use crate::commands::Server;
use crate::metrics::page::{Form, Page};

/// Connections served at a time.
const MAX_CONNECTIONS: usize = 128;
/// How long a request may take to arrive, and an answer to be taken.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is read of a request that was refused, so that its sender gets to see the answer, and for how long.
const LEFTOVER: usize = 1 << 20;
const LEFTOVER_PATIENCE: Duration = Duration::from_secs(1);
/// For so long a page is not made again, in milliseconds.
const FRESH_MS: u64 = 100;

struct Admin {
    server: &'static Server,
    gates: Arc<[Gate]>,
    /// The last page of each form, and when it was made.
    pages: RefCell<[Option<(u64, Bytes)>; 2]>,
    hot: RefCell<HotSlots>,
    /// Connections that may be served beside those that are.
    room: Arc<Semaphore>,
}

/// Opens the port, and serves it on a thread of its own. Nothing where `metrics-port` is 0.
pub fn start(server: &'static Server, gates: Arc<[Gate]>) -> Result<(), String> {
    let config = server.config;
    let text = String::from_utf8_lossy(&config.metrics_bind()).into_owned();
    let addresses = text.split_whitespace().map(str::to_owned).collect();
    let listeners = listen::bind_addresses(config, addresses, config.metrics_port())?;
    if listeners.is_empty() {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("Can't make the runtime for metrics: {e}"))?;
    std::thread::Builder::new()
        .name("metrics".to_owned())
        .spawn(move || {
            let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
            let admin = Rc::new(Admin { server, gates, pages: RefCell::default(), hot: RefCell::default(), room });
            tokio::task::LocalSet::new().block_on(&runtime, async {
                for listener in listeners {
                    match TcpListener::from_std(listener) {
                        Ok(listener) => {
                            tokio::task::spawn_local(accept(admin.clone(), listener));
                        }
                        Err(e) => tracing::error!("Can't serve metrics: {e}"),
                    }
                }
                server.stopped().await;
            });
        })
        .map_err(|e| format!("Can't start the thread for metrics: {e}"))?;
    tracing::info!("Serving metrics on port {}", config.metrics_port());
    Ok(())
}

async fn accept(admin: Rc<Admin>, listener: TcpListener) {
    loop {
        let Ok(place) = admin.room.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let admin = admin.clone();
                tokio::task::spawn_local(async move {
                    // A scraper that goes away is no event.
                    let _ = serve(&admin, stream).await;
                    drop(place);
                });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

struct Answer {
    status: u16,
    content_type: &'static str,
    body: Bytes,
}

impl Answer {
    fn text(status: u16, text: impl Into<String>) -> Answer {
        let mut text = text.into();
        text.push('\n');
        Answer { status, content_type: "text/plain; charset=utf-8", body: text.into() }
    }
}

async fn serve(admin: &Admin, mut stream: TcpStream) -> std::io::Result<()> {
    let mut input = Vec::new();
    loop {
        let request = match timeout(PATIENCE, read(&mut stream, &mut input)).await {
            Ok(Ok(None)) => return Ok(()),
            Ok(Ok(Some(request))) => request,
            Ok(Err(e)) => return Err(e),
            // A connection that was kept open and is not used ends without words.
            Err(_) if input.is_empty() => return Ok(()),
            Err(_) => Err((408, "the request took too long")),
        };
        let (answer, keep, head_only) = match &request {
            // Connections are kept open while there is plenty of room for others.
            Ok(request) => {
                let keep = request.keep_alive && admin.room.available_permits() > MAX_CONNECTIONS / 2;
                (admin.answer(request), keep, request.head_only)
            }
            Err((status, why)) => (Answer::text(*status, *why), false, false),
        };
        let head = http::head(answer.status, answer.content_type, answer.body.len(), keep);
        let sent = timeout(PATIENCE, async {
            stream.write_all(head.as_bytes()).await?;
            if !head_only {
                stream.write_all(&answer.body).await?;
            }
            stream.flush().await
        });
        match sent.await {
            Ok(Ok(())) if keep => {}
            _ => break,
        }
    }
    stream.shutdown().await?;
    // Closing a socket with unread bytes resets it, and the other side may lose what was sent to it.
    let drain = async {
        let (mut left, mut piece) = (LEFTOVER, [0; 1024]);
        while let Ok(n) = stream.read(&mut piece).await
            && n > 0
            && n <= left
        {
            left -= n;
        }
    };
    let _ = timeout(LEFTOVER_PATIENCE, drain).await;
    Ok(())
}

/// The next request; nothing: the other side has closed.
async fn read(stream: &mut TcpStream, input: &mut Vec<u8>) -> std::io::Result<Option<Result<Request, Refusal>>> {
    loop {
        if let Some(end) = http::end_of_head(input) {
            let request = http::parse(&input[..end]);
            input.drain(..end);
            return Ok(Some(request));
        }
        if input.len() >= MAX_HEAD {
            return Ok(Some(Err((431, "the request is too long"))));
        }
        let mut piece = [0; 2048];
        let room = piece.len().min(MAX_HEAD - input.len());
        match stream.read(&mut piece[..room]).await? {
            0 => return Ok(None),
            n => input.extend_from_slice(&piece[..n]),
        }
    }
}

impl Admin {
    fn answer(&self, request: &Request) -> Answer {
        match &request.path[..] {
            // Whoever watches the process needs no password.
            "/healthz" => Answer::text(200, "ok"),
            "/readyz" => match health::obstacle(self.server) {
                None => Answer::text(200, "ok"),
                Some(why) => Answer::text(503, why),
            },
            "/metrics" | "/version" if !self.allows(request) => Answer::text(401, "a user and a password are needed"),
            "/metrics" => self.metrics(if request.openmetrics { Form::OpenMetrics } else { Form::Text }),
            "/version" => Answer {
                status: 200,
                content_type: "application/json",
                body: format!(
                    "{{\"name\":\"dunlin\",\"version\":\"{}\",\"compatible\":\"{}\",\"run_id\":\"{}\"}}\n",
                    env!("CARGO_PKG_VERSION"),
                    crate::commands::text::COMPATIBLE_VERSION,
                    self.server.run_id
                )
                .into(),
            },
            "/" => Answer::text(200, "Dunlin: /metrics /healthz /readyz /version"),
            _ => Answer::text(404, "there are /metrics, /healthz, /readyz and /version"),
        }
    }

    fn allows(&self, request: &Request) -> bool {
        let wanted = self.server.config.metrics_auth();
        let given = request.basic.as_deref().unwrap_or_default();
        wanted.is_empty() || http::same(http::base64(&wanted).as_bytes(), given.as_bytes())
    }

    fn metrics(&self, form: Form) -> Answer {
        let (at, now) = (form as usize, clock::mono_ns() / 1_000_000);
        let mut pages = self.pages.borrow_mut();
        let body = match &pages[at] {
            Some((made, page)) if now - made < FRESH_MS => page.clone(),
            _ => {
                let started = clock::mono_ns();
                let mut page = Page::new(form);
                let view = self.server.cluster.fresh_view();
                redis::write(self.server, view.as_deref(), &mut page);
                own::write(self.server, &self.gates, view.as_deref(), &mut page);
                self.hot.borrow_mut().write(self.server.keyspace, &mut page);
                let seconds = (clock::mono_ns() - started) as f64 / 1e9;
                page.gauge("dunlin_scrape_duration_seconds", "Time that it took to make this page.", seconds);
                let page = Bytes::from(page.finish());
                pages[at] = Some((now, page.clone()));
                page
            }
        };
        Answer { status: 200, content_type: form.content_type(), body }
    }
}
