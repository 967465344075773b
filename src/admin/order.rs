//! What the operator may want done, as the socket takes it and the service carries it out.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use hyper::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::oneshot;

/// Range of the time within which a reload may be asked to be confirmed.
pub const CONFIRM_WITHIN_S: std::ops::RangeInclusive<u64> = 5..=86_400;

/// What the operator wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Read the configuration file again and put it in force.
    Reload {
        /// Go back to what is in force unless it is confirmed within this many seconds.
        confirm_within_s: Option<u64>,
    },
    /// Keep what the last reload put in force.
    Confirm,
    /// Tell what a reload would change.
    Diff {
        /// Another file than the one the edge was started with.
        file: Option<PathBuf>,
    },
    /// Ask a candidate policy beside the one in force, without effect.
    Shadow {
        /// The candidate's file; `None`: ask it no more.
        file: Option<PathBuf>,
    },
    /// Do something with the A/V Edge.
    Relay(RelayOrder),
    /// End in order.
    Drain,
}

/// What the operator wants of the A/V Edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RelayOrder {
    /// Tell allocations.
    List {
        /// How many to leave out before the first one told.
        skip: usize,
    },
    /// End the allocation of a client.
    Kill {
        /// The client's address.
        client: SocketAddr,
    },
    /// Tell how it stands: allocations, ports, what runs out, how long a drain takes.
    Status,
    /// Take no new allocations; those that are there go on.
    Drain,
    /// Take new allocations again.
    Open,
}

/// Who connected to the socket, as the kernel says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// User.
    pub uid: u32,
    /// Process, where it can be told.
    pub pid: Option<i32>,
}

impl std::fmt::Display for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "user {} (process {pid})", self.uid),
            None => write!(f, "user {}", self.uid),
        }
    }
}

/// A command on its way to whoever carries it out, with the way back.
#[derive(Debug)]
pub struct Order {
    /// What is wanted.
    pub command: Command,
    /// Who wants it.
    pub caller: Caller,
    /// Where the answer goes; who asked may have gone.
    pub reply: oneshot::Sender<Reply>,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Done,
    /// It cannot be done as things stand; nothing was changed.
    Conflict,
    /// What it named was refused; nothing was changed.
    Refused,
}

impl Outcome {
    /// Returns the status of the answer.
    pub(super) const fn status(self) -> StatusCode {
        match self {
            Self::Done => StatusCode::OK,
            Self::Conflict => StatusCode::CONFLICT,
            Self::Refused => StatusCode::UNPROCESSABLE_ENTITY,
        }
    }
}

/// The answer to a command.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// How it ended.
    pub outcome: Outcome,
    /// What there is to say; a refusal has `error`, a sentence.
    pub body: Value,
}

impl Reply {
    /// Answers that nothing was changed, and why.
    #[must_use]
    pub fn not_done(outcome: Outcome, why: impl Into<String>) -> Self {
        Self { outcome, body: serde_json::json!({ "error": why.into() }) }
    }
}

/// Body of `POST /reload`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ReloadBody {
    confirm_within_s: Option<u64>,
}

/// Body of `POST /diff`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct DiffBody {
    file: Option<PathBuf>,
}

/// Body of `POST /shadow`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ShadowBody {
    file: Option<PathBuf>,
    off: bool,
}

/// Body of `POST /relay/list`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ListBody {
    skip: usize,
}

/// Body of `POST /relay/kill`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct KillBody {
    client: Option<SocketAddr>,
}

/// Body of a command that has nothing to say.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoBody {}

/// Reads the command that `path` and `body` stand for; `None` if there is no such path.
///
/// # Errors
/// What is wrong with the body, for whoever sent it.
pub(super) fn read(path: &str, body: &[u8]) -> Option<Result<Command, String>> {
    let command = match path {
        "/reload" => body_of::<ReloadBody>(body).and_then(|body| {
            let confirm_within_s = body.confirm_within_s;
            if confirm_within_s.is_some_and(|seconds| !CONFIRM_WITHIN_S.contains(&seconds)) {
                let (least, most) = CONFIRM_WITHIN_S.into_inner();
                return Err(format!("confirm_within_s must be {least} to {most}"));
            }
            Ok(Command::Reload { confirm_within_s })
        }),
        "/confirm" => body_of::<NoBody>(body).map(|NoBody {}| Command::Confirm),
        "/diff" => body_of::<DiffBody>(body).and_then(|DiffBody { file }| {
            absolute(file.as_deref())?;
            Ok(Command::Diff { file })
        }),
        "/shadow" => body_of::<ShadowBody>(body).and_then(|ShadowBody { file, off }| {
            if file.is_some() == off {
                return Err("expected either file, or off: true".to_owned());
            }
            absolute(file.as_deref())?;
            Ok(Command::Shadow { file })
        }),
        "/relay/list" => body_of::<ListBody>(body)
            .map(|ListBody { skip }| Command::Relay(RelayOrder::List { skip })),
        "/relay/kill" => body_of::<KillBody>(body).and_then(|KillBody { client }| {
            let client = client.ok_or("expected client, an address with its port")?;
            Ok(Command::Relay(RelayOrder::Kill { client }))
        }),
        "/relay/status" => {
            body_of::<NoBody>(body).map(|NoBody {}| Command::Relay(RelayOrder::Status))
        }
        "/relay/drain" => {
            body_of::<NoBody>(body).map(|NoBody {}| Command::Relay(RelayOrder::Drain))
        }
        "/relay/open" => body_of::<NoBody>(body).map(|NoBody {}| Command::Relay(RelayOrder::Open)),
        "/drain" => body_of::<NoBody>(body).map(|NoBody {}| Command::Drain),
        _ => return None,
    };
    Some(command)
}

/// The edge has a working directory of its own, which is nobody else's.
fn absolute(file: Option<&Path>) -> Result<(), String> {
    if file.is_some_and(|file| !file.is_absolute()) {
        return Err("file must be an absolute path".to_owned());
    }
    Ok(())
}

/// Reads a JSON object; no body is an empty one.
fn body_of<'a, T: Default + Deserialize<'a>>(body: &'a [u8]) -> Result<T, String> {
    if body.trim_ascii().is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(body).map_err(|error| format!("the body is not understood: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_is_a_command() {
        let plain = Command::Reload { confirm_within_s: None };
        assert_eq!(read("/reload", b""), Some(Ok(plain)));
        let confirmed = Command::Reload { confirm_within_s: Some(300) };
        assert_eq!(read("/reload", b" {\"confirm_within_s\": 300}"), Some(Ok(confirmed)));
        assert_eq!(read("/confirm", b"{}\n"), Some(Ok(Command::Confirm)));
        assert_eq!(read("/drain", b""), Some(Ok(Command::Drain)));
        let other = Command::Diff { file: Some("/etc/entente/new.toml".into()) };
        assert_eq!(read("/diff", b"{\"file\":\"/etc/entente/new.toml\"}"), Some(Ok(other)));
        let candidate = Command::Shadow { file: Some("/etc/entente/new.toml".into()) };
        assert_eq!(read("/shadow", b"{\"file\":\"/etc/entente/new.toml\"}"), Some(Ok(candidate)));
        assert_eq!(read("/shadow", b"{\"off\":true}"), Some(Ok(Command::Shadow { file: None })));
        let kill = Command::Relay(RelayOrder::Kill { client: "[::1]:9".parse().unwrap() });
        assert_eq!(read("/relay/kill", b"{\"client\":\"[::1]:9\"}"), Some(Ok(kill)));
        let list = Command::Relay(RelayOrder::List { skip: 0 });
        assert_eq!(read("/relay/list", b""), Some(Ok(list)));
        assert_eq!(read("/walk", b""), None);
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_reason() {
        let refused = |path: &str, body: &str| read(path, body.as_bytes()).unwrap().unwrap_err();
        assert_eq!(
            refused("/reload", "{\"confirm_within_s\":4}"),
            "confirm_within_s must be 5 to 86400"
        );
        assert_eq!(refused("/diff", "{\"file\":\"new.toml\"}"), "file must be an absolute path");
        assert_eq!(refused("/relay/kill", ""), "expected client, an address with its port");
        assert_eq!(refused("/shadow", ""), "expected either file, or off: true");
        assert!(refused("/confirm", "{\"now\":true}").starts_with("the body is not understood: "));
        assert!(refused("/drain", "now").starts_with("the body is not understood: "));
        assert!(refused("/reload", "[").starts_with("the body is not understood: "));
    }
}
