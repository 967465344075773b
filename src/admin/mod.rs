//! Metrics, health and status over HTTP on the management addresses.
//!
//! One thread of its own answers, so that a probe is answered while the control thread compiles a
//! long policy. What it tells comes through a [`View`].
//!
//! | path | answer |
//! | --- | --- |
//! | `/metrics` | the catalogue's series in the Prometheus text format |
//! | `/livez` | 200, or 503 with one reason a line: the process should be started again |
//! | `/readyz` | 200, or 503 with one reason a line: nothing new should be sent here |
//! | `/status` | JSON for people and scripts |
//! | `/scores/NAME` | JSON: the scores of a partner under limits, by domain, entry or host |
//!
//! The [`socket`] takes the operator's commands too, as [`Order`]s to whoever carries them out.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::{HttpService, service_fn};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, mpsc, oneshot};

mod order;
pub mod socket;

pub use order::{CONFIRM_WITHIN_S, Caller, Command, Order, Outcome, RelayOrder, Reply};
pub use socket::Desk;

/// Connections at once; further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 64;
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// How long a head may take to arrive, and an idle connection is kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection lives in all; Prometheus opens another one.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);
/// Pause after an accept that failed for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// What the admin thread tells. Called on that thread, must not wait for another.
pub trait View: Send + Sync + 'static {
    /// Returns the metrics in the Prometheus text format.
    fn metrics(&self) -> String;
    /// Returns why the process should be started again; empty while it need not.
    fn dead(&self) -> Vec<String>;
    /// Returns why nothing new should be sent here; empty while it may.
    fn not_ready(&self) -> Vec<String>;
    /// Returns the state for people and scripts.
    fn status(&self) -> serde_json::Value;
    /// Returns the scores of one partner; an edge that keeps none has nothing to say.
    fn score(&self, _name: &str) -> serde_json::Value {
        serde_json::json!({ "scores": [], "suggestions": [] })
    }
    /// Returns whether `peer` may ask.
    fn allows(&self, peer: IpAddr) -> bool;
}

/// The thread that answers. Dropping it ends the thread.
#[derive(Debug)]
pub struct Running {
    addresses: Vec<SocketAddr>,
    _socket: Option<socket::Bound>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Returns where it listens, with the ports the kernel chose.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there was told by the panic hook; here it has nobody left to tell.
            let _ = thread.join();
        }
    }
}

/// Listens on `addresses`, and on the socket of `desk`, and answers on a thread of its own.
///
/// # Errors
/// An address cannot be bound, with the address in the message; or no thread can be made.
pub fn start(
    addresses: &[SocketAddr],
    desk: Option<Desk>,
    view: Arc<dyn View>,
) -> io::Result<Running> {
    let mut listeners = Vec::with_capacity(addresses.len());
    let mut bound = Vec::with_capacity(addresses.len());
    for address in addresses {
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("management address {address}: {error}"))
        };
        let listener = TcpListener::bind(address).map_err(named)?;
        listener.set_nonblocking(true).map_err(named)?;
        bound.push(listener.local_addr().map_err(named)?);
        listeners.push(listener);
    }
    let mut socket = desk.as_ref().map(|desk| socket::Bound::new(&desk.path)).transpose()?;
    let commands = socket.as_mut().and_then(socket::Bound::take).zip(desk);
    let commands = commands.map(|((listener, owner), desk)| (listener, owner, desk.orders));
    let (stop, stopped) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let thread = std::thread::Builder::new().name("admin".to_owned()).spawn(move || {
        // A scrape takes a millisecond, and messages of a shard on its core are not to wait for it.
        let _ = crate::poll::epoll::give_way();
        runtime.block_on(serve(listeners, commands, view, stopped));
    })?;
    Ok(Running { addresses: bound, _socket: socket, stop: Some(stop), thread: Some(thread) })
}

type Commands = (UnixListener, u32, mpsc::Sender<Order>);

async fn serve(
    listeners: Vec<TcpListener>,
    commands: Option<Commands>,
    view: Arc<dyn View>,
    stopped: oneshot::Receiver<()>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    for listener in listeners {
        match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => {
                tokio::spawn(accept(listener, Arc::clone(&view), Arc::clone(&places)));
            }
            Err(error) => tracing::error!(%error, "a management address cannot be served"),
        }
    }
    if let Some((listener, owner, orders)) = commands {
        match tokio::net::UnixListener::from_std(listener) {
            Ok(listener) => {
                tokio::spawn(socket::accept(listener, owner, orders, Arc::clone(&view)));
            }
            Err(error) => tracing::error!(%error, "the admin socket cannot be served"),
        }
    }
    // Either word or a dropped sender ends it.
    let _ = stopped.await;
}

async fn accept(
    listener: tokio::net::TcpListener,
    view: Arc<dyn View>,
    places: Arc<Semaphore>,
) -> Infallible {
    loop {
        let place = Arc::clone(&places).acquire_owned().await;
        let Ok((stream, peer)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let view = Arc::clone(&view);
        tokio::spawn(async move {
            let _place = place;
            let service = service_fn(move |request: Request<Incoming>| {
                let answer =
                    answer(view.as_ref(), peer.ip(), request.method(), request.uri().path());
                async move { Ok::<_, Infallible>(answer) }
            });
            serve_stream(stream, service).await;
        });
    }
}

/// Answers the requests of one connection until it ends or its time is over.
async fn serve_stream<S, T>(stream: T, service: S)
where
    T: AsyncRead + AsyncWrite + Unpin,
    S: HttpService<Incoming, ResBody = Full<Bytes>, Error = Infallible>,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    // A prober that breaks off is no event.
    let _ = tokio::time::timeout(CONNECTION_TIMEOUT, connection).await;
}

/// Answers one request.
fn answer(view: &dyn View, peer: IpAddr, method: &Method, path: &str) -> Response<Full<Bytes>> {
    // Balancers that speak IPv6 sockets show IPv4 peers in their mapped form.
    if !view.allows(peer.to_canonical()) {
        return text(StatusCode::FORBIDDEN, "not in management.allow\n".to_owned());
    }
    if method != Method::GET && method != Method::HEAD {
        let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD only\n".to_owned());
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    read(view, path)
}

/// Answers a reading request.
fn read(view: &dyn View, path: &str) -> Response<Full<Bytes>> {
    match path {
        "/metrics" => {
            let mut answer = text(StatusCode::OK, view.metrics());
            let format = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            answer.headers_mut().insert(CONTENT_TYPE, format);
            answer
        }
        "/livez" => health(&view.dead()),
        "/readyz" => health(&view.not_ready()),
        "/status" => json(&view.status()),
        _ => match path.strip_prefix("/scores/") {
            Some(name) if !name.is_empty() => json(&view.score(name)),
            _ => {
                let known = "/metrics /livez /readyz /status /scores/NAME\n";
                text(StatusCode::NOT_FOUND, known.to_owned())
            }
        },
    }
}

fn json(told: &serde_json::Value) -> Response<Full<Bytes>> {
    let mut answer = text(StatusCode::OK, format!("{told:#}\n"));
    let format = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, format);
    answer
}

fn health(reasons: &[String]) -> Response<Full<Bytes>> {
    if reasons.is_empty() {
        return text(StatusCode::OK, "ok\n".to_owned());
    }
    let mut lines = String::new();
    for reason in reasons {
        lines.push_str(reason);
        lines.push('\n');
    }
    text(StatusCode::SERVICE_UNAVAILABLE, lines)
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

#[cfg(test)]
mod tests;
