//! The admin socket: HTTP on a Unix socket, for `entente ctl` and for curl.
//!
//! | request | JSON body | answer |
//! | --- | --- | --- |
//! | `GET` of any path of the management addresses | | the same as there |
//! | `POST /reload` | none, or `{"confirm_within_s": 300}` | what changed, or why nothing did |
//! | `POST /confirm` | none | the epoch that stays |
//! | `POST /diff` | none, or `{"file": "/absolute/path"}` | what a reload would change |
//! | `POST /shadow` | `{"file": "/absolute/path"}`, or `{"off": true}` | the candidate is asked |
//! | `POST /drain` | none | the drain has begun |
//!
//! `curl --unix-socket /run/entente/admin.sock http://edge/reload -d ''`
//!
//! Only the user the edge runs as, and root, get an answer: the file has mode 0600, and the kernel
//! is asked who connected (`SO_PEERCRED`), which every command's line in the log names.

use std::convert::Infallible;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener as Listener, UnixStream as Stream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::order::{self, Caller, Command, Order};
use super::{ACCEPT_PAUSE, HEAD_TIMEOUT, View, read, serve_stream, text};

/// Connections at once; an operator and a script or two.
const CONNECTIONS_MAX: usize = 8;
/// Bytes of a command's body, which names at most one path.
const BODY_BYTES_MAX: usize = 8 * 1024;
/// How long a command may take; a policy of a million partners compiles in about two seconds.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(120);
/// What the kernel takes as the path of a socket, the ending zero apart (unix(7)).
const PATH_BYTES_MAX: usize = 107;

/// Where commands are taken, and who carries them out.
#[derive(Debug)]
pub struct Desk {
    /// Path of the socket.
    pub path: PathBuf,
    /// Whoever carries them out, one after the other.
    pub orders: mpsc::Sender<Order>,
}

/// A bound socket; dropping it removes its file.
#[derive(Debug)]
pub(super) struct Bound {
    listener: Option<Listener>,
    path: PathBuf,
    inode: u64,
    /// The user the edge runs as: who made the file.
    owner: u32,
}

impl Drop for Bound {
    fn drop(&mut self) {
        // Another edge may have put its own there since.
        if std::fs::symlink_metadata(&self.path).is_ok_and(|file| file.ino() == self.inode) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Bound {
    /// Binds `path`. A file that nobody listens on any more is replaced.
    ///
    /// # Errors
    /// With the path in the message: another process listens there, or the kernel refuses.
    pub(super) fn new(path: &Path) -> io::Result<Self> {
        Self::bind(path).map_err(|error| {
            let path = path.display();
            io::Error::new(error.kind(), format!("admin socket {path}: {error}"))
        })
    }

    fn bind(path: &Path) -> io::Result<Self> {
        if path.as_os_str().len() > PATH_BYTES_MAX {
            let why = format!("the path is longer than {PATH_BYTES_MAX} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        if Stream::connect(path).is_ok() {
            let why = "another process listens there";
            return Err(io::Error::new(io::ErrorKind::AddrInUse, why));
        }
        if std::fs::symlink_metadata(path).is_ok_and(|file| !is_socket(&file)) {
            let why = "a file that is no socket stands there";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
        }
        // Made beside its place and moved there with its mode, so that nobody finds it without.
        let beside = path.with_file_name(format!(".entente-{}", std::process::id()));
        let _ = std::fs::remove_file(&beside);
        let listener = Listener::bind(&beside)?;
        let placed = std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o600))
            .and_then(|()| std::fs::rename(&beside, path))
            .and_then(|()| listener.set_nonblocking(true));
        if let Err(error) = placed {
            let _ = std::fs::remove_file(&beside);
            return Err(error);
        }
        let file = std::fs::symlink_metadata(path)?;
        let path = path.to_owned();
        Ok(Self { listener: Some(listener), path, inode: file.ino(), owner: file.uid() })
    }

    /// Takes the listener out, with the user that may use it beside root. Once.
    pub(super) fn take(&mut self) -> Option<(Listener, u32)> {
        self.listener.take().map(|listener| (listener, self.owner))
    }
}

fn is_socket(file: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    file.file_type().is_socket()
}

/// Accepts for as long as the admin thread lives.
pub(super) async fn accept(
    listener: UnixListener,
    owner: u32,
    orders: mpsc::Sender<Order>,
    view: Arc<dyn View>,
) -> Infallible {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = Arc::clone(&places).acquire_owned().await;
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let caller = match stream.peer_cred() {
            Ok(peer) => Caller { uid: peer.uid(), pid: peer.pid() },
            Err(error) => {
                tracing::warn!(%error, "the kernel does not say who uses the admin socket");
                continue;
            }
        };
        if caller.uid != 0 && caller.uid != owner {
            tracing::warn!("admin socket: {caller} is neither root nor user {owner}");
            continue;
        }
        let (view, orders) = (Arc::clone(&view), orders.clone());
        tokio::spawn(async move {
            let _place = place;
            let service = service_fn(move |request: Request<Incoming>| {
                let (view, orders) = (Arc::clone(&view), orders.clone());
                async move { Ok::<_, Infallible>(answer(view.as_ref(), &orders, caller, request).await) }
            });
            serve_stream(stream, service).await;
        });
    }
}

async fn answer(
    view: &dyn View,
    orders: &mpsc::Sender<Order>,
    caller: Caller,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    if head.method == Method::GET || head.method == Method::HEAD {
        return read(view, path);
    }
    if head.method != Method::POST {
        let mut refused = failed(StatusCode::METHOD_NOT_ALLOWED, "GET, HEAD or POST only");
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
        return refused;
    }
    let limited = Limited::new(body, BODY_BYTES_MAX).collect();
    let body = match tokio::time::timeout(HEAD_TIMEOUT, limited).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let why = format!("a body has at most {BODY_BYTES_MAX} bytes");
            return failed(StatusCode::PAYLOAD_TOO_LARGE, &why);
        }
        Ok(Err(_)) => return failed(StatusCode::BAD_REQUEST, "the body broke off"),
        Err(_) => return failed(StatusCode::REQUEST_TIMEOUT, "the body did not come in time"),
    };
    match order::read(path, &body) {
        None => failed(StatusCode::NOT_FOUND, "POST /reload, /confirm, /diff, /shadow or /drain"),
        Some(Err(why)) => failed(StatusCode::BAD_REQUEST, &why),
        Some(Ok(command)) => carry_out(orders, command, caller).await,
    }
}

async fn carry_out(
    orders: &mpsc::Sender<Order>,
    command: Command,
    caller: Caller,
) -> Response<Full<Bytes>> {
    let (reply, replied) = oneshot::channel();
    match orders.try_send(Order { command, caller, reply }) {
        Ok(()) => {}
        Err(TrySendError::Full(_)) => {
            let why = "other commands are being carried out; try again";
            return failed(StatusCode::SERVICE_UNAVAILABLE, why);
        }
        Err(TrySendError::Closed(_)) => {
            return failed(StatusCode::SERVICE_UNAVAILABLE, "the edge drains");
        }
    }
    match tokio::time::timeout(COMMAND_TIMEOUT, replied).await {
        Ok(Ok(reply)) => json_body(reply.outcome.status(), &reply.body),
        Ok(Err(_)) => failed(StatusCode::SERVICE_UNAVAILABLE, "the edge drains"),
        Err(_) => failed(
            StatusCode::GATEWAY_TIMEOUT,
            "the command still runs; its end is in the log, /status tells what is in force",
        ),
    }
}

fn failed(status: StatusCode, why: &str) -> Response<Full<Bytes>> {
    json_body(status, &json!({ "error": why }))
}

fn json_body(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let mut answer = text(status, format!("{body:#}\n"));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

#[cfg(test)]
mod tests;
