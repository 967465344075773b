//! One request on the admin socket.

use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

/// How long an answer may take: longer than the edge itself lets a command take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(150);
/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What the edge answered.
#[derive(Debug)]
pub(in crate::cli) struct Answer {
    pub(in crate::cli) status: StatusCode,
    pub(in crate::cli) body: Value,
}

impl Answer {
    /// Returns the body of a success; otherwise why there was none, in the edge's words.
    pub(in crate::cli) fn success(self) -> anyhow::Result<Value> {
        if self.status.is_success() {
            return Ok(self.body);
        }
        let mut told = match self.body["error"].as_str() {
            Some(error) => error.to_owned(),
            None => format!("the edge answered {}", self.status),
        };
        for problem in self.body["problems"].as_array().into_iter().flatten() {
            let word = |key: &str| problem[key].as_str().unwrap_or_default();
            told.push_str(&format!("\n  {}: {}", word("place"), word("sentence")));
            if !word("advice").is_empty() {
                told.push_str(&format!("\n    {}", word("advice")));
            }
        }
        Err(anyhow!(told))
    }
}

/// Nobody listens on the socket: the edge does not run.
#[derive(Debug, thiserror::Error)]
#[error("no edge listens on {0}: it does not run, or was started without management.socket")]
pub(in crate::cli) struct NobodyThere(String);

/// Sends one request and waits for its answer.
///
/// # Errors
/// [`NobodyThere`], or what stands between us and the edge.
pub(in crate::cli) fn ask(
    socket: &Path,
    method: &str,
    path: &str,
    body: Option<Value>,
) -> anyhow::Result<Answer> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, "edge")
        .body(Full::new(Bytes::from(body)))?;
    let exchange = runtime
        .block_on(async { tokio::time::timeout(ANSWER_TIMEOUT, send(socket, request)).await });
    exchange.with_context(|| format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()))?
}

async fn send(socket: &Path, request: Request<Full<Bytes>>) -> anyhow::Result<Answer> {
    let named = socket.display().to_string();
    let stream = match UnixStream::connect(socket).await {
        Ok(stream) => stream,
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                return Err(NobodyThere(named).into());
            }
            io::ErrorKind::PermissionDenied => {
                bail!("{named}: only root and the user that the edge runs as may use it")
            }
            _ => return Err(error).with_context(|| named),
        },
    };
    let closed = || format!("{named}: the edge closed the connection without an answer");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.with_context(closed)?;
    tokio::spawn(connection);
    let answer = sender.send_request(request).await.with_context(closed)?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX);
    let body = body.collect().await.map_err(|error| anyhow!("{named}: {error}"))?.to_bytes();
    let body = serde_json::from_slice(&body).with_context(|| format!("{named}: not an edge"))?;
    Ok(Answer { status, body })
}
