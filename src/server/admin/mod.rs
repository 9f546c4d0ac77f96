//! HTTP for monitoring: `/metrics`, `/healthz`, `/readyz`, `/version`.
//!
//! hyper speaks it. The listener of metrics-exporter-prometheus serves the registry of its recorder, which is not used here
//! (`metrics::page` says why), and knows no password, no readiness and no bound.
//!
//! It has a thread of its own with the lowest claims: nothing of it runs on a worker, and it takes no lock that a client
//! waits for longer than the look at a number. At most [`MAX_CONNECTIONS`] connections are served at a time, others wait
//! to be accepted; a request has [`PATIENCE`] to arrive and its answer as long to be taken; a page is made once for all
//! who ask within [`FRESH_MS`], so a thousand scrapers cost what one does.

mod cluster;
mod health;
mod own;
mod redis;

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::{poll_fn, ready};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use subtle::ConstantTimeEq;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_io_timeout::TimeoutStream;

use self::cluster::HotSlots;
use super::accept::deafen;
use super::listen;
use super::worker::Gate;
use crate::base::clock;
use crate::commands::Server;
use crate::metrics::page::{Form, Page};

/// The longest head of a request, bytes.
const MAX_HEAD: usize = 8 << 10;
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

/// Where monitoring is served, which CONFIG SET changes.
pub struct Port {
    server: &'static Server,
    gates: Arc<[Gate]>,
    state: Mutex<Open>,
}

/// The sockets in use, and the way to replace them at the thread that serves them, once there is one.
#[derive(Default)]
struct Open {
    sockets: Vec<std::net::TcpListener>,
    orders: Option<UnboundedSender<Vec<std::net::TcpListener>>>,
}

impl Port {
    /// Nothing is open yet.
    pub fn new(server: &'static Server, gates: Arc<[Gate]>) -> Port {
        Port { server, gates, state: Mutex::default() }
    }
    /// Closes what is open, and opens what `metrics-port` and `metrics-bind` ask for now: nothing where the port is 0. Requests
    /// under way are answered. After a failure nothing is open until the next call: CONFIG SET puts the options back and
    /// calls again.
    pub fn rebind(&self) -> Result<(), String> {
        let config = self.server.config;
        let text = String::from_utf8_lossy(&config.metrics_bind()).into_owned();
        let addresses = text.split_whitespace().map(str::to_owned).collect();
        let mut state = self.state.lock();
        deafen(&mut state.sockets);
        let listeners = listen::bind_addresses(config, addresses, config.metrics_port())?;
        if listeners.is_empty() && state.orders.is_none() {
            return Ok(());
        }
        let orders = match state.orders.take() {
            Some(orders) => orders,
            None => start(self.server, self.gates.clone())?,
        };
        state.sockets = listeners.iter().filter_map(|l| l.try_clone().ok()).collect();
        let sent = orders.send(listeners);
        state.orders = Some(orders);
        if config.metrics_port() != 0 {
            tracing::info!("Serving metrics on port {}", config.metrics_port());
        }
        sent.map_err(|_| "the thread for metrics has ended".to_owned())
    }
}

/// Starts the thread. It serves the sockets that it is sent last.
fn start(server: &'static Server, gates: Arc<[Gate]>) -> Result<UnboundedSender<Vec<std::net::TcpListener>>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("Can't make the runtime for metrics: {e}"))?;
    let (orders, mut from) = unbounded_channel::<Vec<std::net::TcpListener>>();
    std::thread::Builder::new()
        .name("metrics".to_owned())
        .spawn(move || {
            let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
            let admin = Rc::new(Admin { server, gates, pages: RefCell::default(), hot: RefCell::default(), room });
            tokio::task::LocalSet::new().block_on(&runtime, async {
                let mut tasks: Vec<JoinHandle<()>> = Vec::new();
                tokio::task::spawn_local(async move {
                    while let Some(listeners) = from.recv().await {
                        tasks.drain(..).for_each(|task| task.abort());
                        for listener in listeners {
                            match TcpListener::from_std(listener) {
                                Ok(listener) => tasks.push(tokio::task::spawn_local(accept(admin.clone(), listener))),
                                Err(e) => tracing::error!("Can't serve metrics: {e}"),
                            }
                        }
                    }
                });
                server.stopped().await;
            });
        })
        .map_err(|e| format!("Can't start the thread for metrics: {e}"))?;
    Ok(orders)
}

async fn accept(admin: Rc<Admin>, listener: TcpListener) {
    loop {
        let Ok(place) = admin.room.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let admin = admin.clone();
                tokio::task::spawn_local(async move {
                    // A scraper that goes away is no event.
                    let _ = serve(admin, stream).await;
                    drop(place);
                });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

type Answer = Response<Full<Bytes>>;

const TEXT: &str = "text/plain; charset=utf-8";

fn answer(status: StatusCode, content_type: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    let head = answer.headers_mut();
    head.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    head.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

fn words(status: StatusCode, words: &str) -> Answer {
    answer(status, TEXT, format!("{words}\n").into())
}

async fn serve(admin: Rc<Admin>, stream: TcpStream) -> std::io::Result<()> {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(PATIENCE));
    let service = service_fn(|request: Request<Incoming>| ready(Ok::<_, Infallible>(admin.answer(&request))));
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(MAX_HEAD)
        .title_case_headers(true)
        .serve_connection(TokioIo::new(Box::pin(stream)), service);
    let ended = poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
    let parts = connection.into_parts();
    let mut stream = parts.io.into_inner();
    // A connection that was kept open and is not used ends without words.
    if ended.is_err_and(|e| e.is_timeout()) && !parts.read_buf.is_empty() {
        stream.write_all(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await?;
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

impl Admin {
    fn answer(&self, request: &Request<Incoming>) -> Answer {
        let mut answer = self.page(request);
        // Connections are kept open while there is plenty of room for others.
        let refused = matches!(answer.status(), StatusCode::METHOD_NOT_ALLOWED | StatusCode::PAYLOAD_TOO_LARGE);
        if refused || self.room.available_permits() <= MAX_CONNECTIONS / 2 {
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }

    fn page(&self, request: &Request<Incoming>) -> Answer {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut answer = words(StatusCode::METHOD_NOT_ALLOWED, "only GET");
            answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        if !request.body().is_end_stream() {
            return words(StatusCode::PAYLOAD_TOO_LARGE, "requests have no body here");
        }
        match request.uri().path() {
            // Whoever watches the process needs no password.
            "/healthz" => words(StatusCode::OK, "ok"),
            "/readyz" => match health::obstacle(self.server) {
                None => words(StatusCode::OK, "ok"),
                Some(why) => words(StatusCode::SERVICE_UNAVAILABLE, &why),
            },
            "/metrics" | "/version" if !self.allows(request) => {
                let mut answer = words(StatusCode::UNAUTHORIZED, "a user and a password are needed");
                let realm = HeaderValue::from_static("Basic realm=\"dunlin\"");
                answer.headers_mut().insert(header::WWW_AUTHENTICATE, realm);
                answer
            }
            "/metrics" => {
                let accepted = request.headers().get_all(header::ACCEPT).iter();
                let open = accepted.filter_map(|v| v.to_str().ok()).any(|v| v.contains("application/openmetrics-text"));
                self.metrics(if open { Form::OpenMetrics } else { Form::Text })
            }
            "/version" => {
                let text = format!(
                    "{{\"name\":\"dunlin\",\"version\":\"{}\",\"compatible\":\"{}\",\"run_id\":\"{}\"}}\n",
                    env!("CARGO_PKG_VERSION"),
                    crate::commands::text::COMPATIBLE_VERSION,
                    self.server.run_id
                );
                answer(StatusCode::OK, "application/json", text.into())
            }
            "/" => words(StatusCode::OK, "Dunlin: /metrics /healthz /readyz /version"),
            _ => words(StatusCode::NOT_FOUND, "there are /metrics, /healthz, /readyz and /version"),
        }
    }

    /// Whether the request has the password, if one is wanted. The time that it takes does not tell how near it came.
    fn allows(&self, request: &Request<Incoming>) -> bool {
        let wanted = self.server.config.metrics_auth();
        if wanted.is_empty() {
            return true;
        }
        let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some((scheme, coded)) = given.and_then(|text| text.split_once(' ')) else { return false };
        let Ok(given) = BASE64_STANDARD.decode(coded.trim()) else { return false };
        scheme.eq_ignore_ascii_case("basic") && given.ct_eq(&wanted).into()
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
        answer(StatusCode::OK, form.content_type(), body)
    }
}
