//! The house rules a machine can judge. Each takes a file and returns what is wrong with it.

use crate::tokens::{NamedPath, Token, named_paths, tokens};

/// A breach of a house rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Relative to the repository.
    pub(crate) file: String,
    /// Counted from one.
    pub(crate) line: usize,
    /// What is wrong, and under which rule.
    pub(crate) what: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.what)
    }
}

/// A file of the repository as the rules see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct File<'a> {
    /// Relative to the repository, with `/`.
    pub(crate) path: &'a str,
    /// Its text.
    pub(crate) text: &'a str,
}

impl File<'_> {
    fn finding(&self, line: usize, what: impl Into<String>) -> Finding {
        Finding { file: self.path.to_owned(), line, what: what.into() }
    }

    /// Tokens outside tests, which come last in a file and may do what the code may not.
    fn code(&self) -> Vec<Token> {
        let mut all = tokens(self.text);
        if self.path.ends_with("/tests.rs") || self.path.contains("/tests/") {
            return Vec::new();
        }
        let test = ["#", "[", "cfg", "(", "test", ")", "]"];
        let at = all.windows(test.len() + 1).position(|w| {
            w.iter().zip(test).all(|(token, text)| token.text == text) && w[7].text == "mod"
        });
        all.truncate(at.unwrap_or(all.len()));
        all
    }

    /// Paths the code names, absolute.
    fn paths(&self) -> Vec<NamedPath> {
        named_paths(&self.code(), &module_of(self.path))
    }
}

/// `src/edge/access/mod.rs` is `["edge", "access"]`.
fn module_of(path: &str) -> Vec<&str> {
    let inner = path.strip_prefix("src/").unwrap_or(path);
    let inner = inner.strip_suffix(".rs").unwrap_or(inner);
    let mut parts: Vec<&str> = inner.split('/').collect();
    if matches!(parts.last(), Some(&("mod" | "lib" | "main"))) {
        parts.pop();
    }
    parts
}

fn is_in(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/') || rest == ".rs")
}

/// The cores: bytes and a `Now` in, effects out (DESIGN 4).
const PURE: &[&str] = &[
    "src/sip",
    "src/xmpp",
    "src/stun",
    "src/proxy_protocol",
    "src/policy",
    "src/dns",
    "src/edge",
    "src/plan",
    "src/limits",
];

/// The shells that stand inside a core's folder.
const SHELLS_INSIDE: &[&str] = &["src/dns/resolver"];

/// What a core may not name, and why.
const IMPURE: &[(&str, &str)] = &[
    ("std::net::TcpStream", "a socket"),
    ("std::net::TcpListener", "a socket"),
    ("std::net::UdpSocket", "a socket"),
    ("std::net::ToSocketAddrs", "the resolver"),
    ("std::net::*", "sockets"),
    ("std::os", "descriptors"),
    ("std::thread", "threads"),
    ("std::time::Instant", "the clock"),
    ("std::time::SystemTime", "the clock"),
    ("std::time::*", "the clock"),
    ("std::fs", "files"),
    ("std::env", "the environment"),
    ("std::process", "processes"),
    ("tokio", "a runtime"),
    ("hyper", "a runtime"),
    ("tracing", "the log"),
    ("metrics", "metrics"),
    ("rustls", "TLS"),
    ("io_uring", "the ring"),
    ("socket2", "sockets"),
    ("libc", "system calls"),
    ("crate::shard", "a shell"),
    ("crate::poll", "a shell"),
    ("crate::relay", "a shell"),
    ("crate::splice", "a shell"),
    ("crate::tls", "a shell"),
    ("crate::control", "control"),
    ("crate::config", "control"),
    ("crate::admin", "control"),
    ("crate::metrics", "control"),
    ("crate::cli", "control"),
];

/// Pure cores name no socket, thread, clock, file, log, metric or shell (STYLE 2).
pub(crate) fn cores_are_pure(file: File<'_>) -> Vec<Finding> {
    let pure = PURE.iter().any(|folder| is_in(file.path, folder))
        && !SHELLS_INSIDE.iter().any(|shell| is_in(file.path, shell));
    if !pure {
        return Vec::new();
    }
    let mut found = Vec::new();
    for named in file.paths() {
        if let Some((_, what)) = IMPURE.iter().find(|(prefix, _)| named.is_in(prefix)) {
            let path = &named.path;
            found.push(file.finding(named.line, format!("a pure core names {what}: {path}")));
        }
    }
    found
}

/// The grammars know nothing of each other; only `edge/gateway` imports two of them (DESIGN 5).
pub(crate) fn grammars_stand_alone(file: File<'_>) -> Vec<Finding> {
    const GRAMMARS: [&str; 3] = ["sip", "xmpp", "stun"];
    let Some(own) = GRAMMARS.into_iter().find(|g| is_in(file.path, &format!("src/{g}"))) else {
        return Vec::new();
    };
    let other = |named: &NamedPath| {
        GRAMMARS.iter().any(|g| *g != own && named.is_in(&format!("crate::{g}")))
    };
    let paths = file.paths().into_iter().filter(other);
    paths
        .map(|n| file.finding(n.line, format!("{own} imports another grammar: {}", n.path)))
        .collect()
}

/// The command line is the outermost shell: nothing imports it (DESIGN 5).
pub(crate) fn nothing_imports_cli(file: File<'_>) -> Vec<Finding> {
    if !file.path.starts_with("src/") || is_in(file.path, "src/cli") || file.path == "src/main.rs" {
        return Vec::new();
    }
    let paths = file.paths().into_iter().filter(|n| n.is_in("crate::cli"));
    paths.map(|n| file.finding(n.line, format!("imports the command line: {}", n.path))).collect()
}

/// Lines a file may have (STYLE 18).
pub(crate) const FILE_LINES_MAX: usize = 900;
/// Columns a line of Rust may have (STYLE 18).
pub(crate) const LINE_COLUMNS_MAX: usize = 100;
/// Columns a line of a script may have: commands do not break as well as expressions do.
pub(crate) const SCRIPT_COLUMNS_MAX: usize = 120;

/// Files and lines stay readable (STYLE 18).
pub(crate) fn files_and_lines_are_short(file: File<'_>) -> Vec<Finding> {
    let rust = file.path.ends_with(".rs");
    let columns_max = if rust { LINE_COLUMNS_MAX } else { SCRIPT_COLUMNS_MAX };
    let mut found = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        let columns = line.chars().count();
        if columns > columns_max {
            let what = format!("{columns} columns, {columns_max} are allowed");
            found.push(file.finding(index + 1, what));
        }
    }
    let lines = file.text.lines().count();
    if lines > FILE_LINES_MAX {
        found.push(file.finding(lines, format!("{lines} lines, {FILE_LINES_MAX} are allowed")));
    }
    found
}

/// No unfinished work and no debugging left behind.
pub(crate) fn nothing_is_left_to_do(file: File<'_>) -> Vec<Finding> {
    const MACROS: [&str; 3] = ["todo", "unimplemented", "dbg"];
    let all = tokens(file.text);
    let calls = all.windows(2).filter(|w| MACROS.contains(&w[0].text.as_str()) && w[1].text == "!");
    calls.map(|w| file.finding(w[0].line, format!("{}! is left in", w[0].text))).collect()
}

/// Where `unsafe` may stand: the kernel interface of `poll`, and the generator's own (STYLE 15).
const UNSAFE_HOMES: &[&str] = &["src/poll", "src/relay/ring"];

/// `unsafe` stays where its reviewers look for it (STYLE 15).
pub(crate) fn unsafe_stays_home(file: File<'_>) -> Vec<Finding> {
    if UNSAFE_HOMES.iter().any(|home| is_in(file.path, home)) {
        return Vec::new();
    }
    let words = tokens(file.text).into_iter().filter(|t| t.text == "unsafe");
    words.map(|t| file.finding(t.line, "unsafe outside its home")).collect()
}

/// No path of one developer's machine in any file.
pub(crate) fn no_machine_paths(file: File<'_>) -> Vec<Finding> {
    const PLACES: [&str; 3] = [concat!("/", "work"), concat!("/", "root"), concat!("/", "home")];
    let mut found = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        let named = PLACES.iter().find(|place| {
            line.match_indices(**place).any(|(at, text)| {
                let before = line[..at].chars().next_back();
                let after = line[at + text.len()..].chars().next();
                !before.is_some_and(|c| c.is_alphanumeric() || "./_-$}*".contains(c))
                    && after == Some('/')
            })
        });
        if let Some(place) = named {
            found.push(file.finding(index + 1, format!("a path of some machine: {place}/...")));
        }
    }
    found
}

/// Every bound says why it is what it is (STYLE 9).
pub(crate) fn limits_are_explained(file: File<'_>) -> Vec<Finding> {
    if file.path != "src/limits.rs" {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut explained = false;
    for (index, line) in file.text.lines().enumerate() {
        let line = line.trim_start();
        if line.starts_with("pub const ") && !explained {
            found.push(file.finding(index + 1, "a limit without a reason above it"));
        }
        explained = line.starts_with("///") || (explained && line.starts_with("#["));
    }
    found
}

/// Every dependency says why it and not ourselves (STYLE 26).
pub(crate) fn dependencies_are_explained(file: File<'_>) -> Vec<Finding> {
    if !file.path.ends_with("Cargo.toml") {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut in_dependencies = false;
    for (index, line) in file.text.lines().enumerate() {
        if let Some(header) = line.strip_prefix('[') {
            let header = header.split(']').next().unwrap_or_default();
            in_dependencies = header.ends_with("dependencies");
            if header.contains("dependencies.") && !line.contains('#') {
                found.push(file.finding(index + 1, "a dependency without its reason"));
            }
        } else if in_dependencies
            && line.starts_with(|c: char| c.is_ascii_alphanumeric())
            && !line.contains(" # ")
        {
            found.push(file.finding(index + 1, "a dependency without its reason"));
        }
    }
    found
}

/// Every rule that applies to a file of this kind.
pub(crate) fn all(file: File<'_>) -> Vec<Finding> {
    let mut found = no_machine_paths(file);
    found.extend(dependencies_are_explained(file));
    let rust = file.path.ends_with(".rs");
    if rust {
        for rule in [
            cores_are_pure,
            grammars_stand_alone,
            nothing_imports_cli,
            nothing_is_left_to_do,
            unsafe_stays_home,
            limits_are_explained,
        ] {
            found.extend(rule(file));
        }
    }
    let script = file.text.starts_with("#!") || file.path.ends_with(".py");
    if rust || script {
        found.extend(files_and_lines_are_short(file));
    }
    found
}
