//! The house rules that a machine can judge, run over every file of the repository, and over
//! seeded breaches, so that a rule that no longer sees anything is seen itself.

use std::path::{Path, PathBuf};

#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/tokens.rs"]
mod tokens;

use rules::{File, Finding};

/// Folders that hold what machines made: build results, captures, fuzzers' finds.
const NOT_OURS: &[&str] = &["target", ".git", "corpus", "corpus-new", "artifacts", "record"];

/// Every file below `folder`, in an order that does not depend on the file system.
fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> =
        std::fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry").path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if path.is_symlink() || NOT_OURS.contains(&name) || name == "Cargo.lock" {
            continue;
        }
        if path.is_dir() {
            files_below(&path, found);
        } else {
            found.push(path);
        }
    }
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_file_keeps_the_house_rules() {
    let mut paths = Vec::new();
    files_below(repository(), &mut paths);
    let mut found: Vec<Finding> = Vec::new();
    let mut seen = 0;
    for path in paths {
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        let relative = path.strip_prefix(repository()).expect("inside");
        let relative = relative.to_str().expect("UTF-8").replace('\\', "/");
        found.extend(rules::all(File { path: &relative, text: &text }));
        seen += 1;
    }
    assert!(seen > 20, "only {seen} files were looked at");
    let lines: Vec<String> = found.iter().map(Finding::to_string).collect();
    assert!(lines.is_empty(), "{} findings\n{}", lines.len(), lines.join("\n"));
}

fn lines(rule: fn(File<'_>) -> Vec<Finding>, path: &str, text: &str) -> Vec<usize> {
    rule(File { path, text }).iter().map(|f| f.line).collect()
}

#[test]
fn a_socket_in_a_core_is_found_in_every_spelling() {
    let rule = rules::cores_are_pure;
    for text in [
        "use std::net::TcpStream;",
        "use std::net::{IpAddr, TcpStream};",
        "use std::{fmt, net::{self, UdpSocket as U}};",
        "fn f() { let _ = std::net::TcpListener::bind(a); }",
        "use std::net::*;",
        "use std::thread;",
        "use std::{fs, mem};",
        "fn f() { std::fs::read(p); }",
        "use std::time::{Duration, Instant};",
        "use tokio::net::TcpStream;",
        "fn f() { tracing::info!(\"x\"); }",
        "use metrics::counter;",
        "use crate::shard::Leg;",
        "use crate::{limits, tls::Session};",
        "use super::super::poll::Poller;",
        "use crate::metrics::catalogue;",
    ] {
        assert_eq!(lines(rule, "src/edge/access/mod.rs", text), [1], "{text}");
    }
}

#[test]
fn what_a_core_needs_is_let_through() {
    let text = "//! Never a std::net::TcpStream.\n\
                use std::net::{IpAddr, SocketAddr};\n\
                use std::time::Duration;\n\
                use crate::{dns::Domain, time::Now};\n\
                use super::shard_of;\n\
                const A: &str = \"std::fs::read\"; const C: char = '\"'; // std::thread\n\
                fn f<'a>(metrics: &'a u32) -> u32 { metrics.pow(2) }\n\
                #[cfg(test)]\nmod tests { use std::fs; }\n";
    let found = rules::cores_are_pure(File { path: "src/policy/decide.rs", text });
    assert_eq!(found, []);
    let shell = "use std::net::UdpSocket;";
    assert!(lines(rules::cores_are_pure, "src/shard/mod.rs", shell).is_empty());
    assert!(lines(rules::cores_are_pure, "src/dns/resolver.rs", shell).is_empty());
    assert_eq!(lines(rules::cores_are_pure, "src/dns/cache.rs", shell), [1]);
}

#[test]
fn a_grammar_that_imports_another_is_found() {
    let rule = rules::grammars_stand_alone;
    assert_eq!(lines(rule, "src/sip/uri.rs", "\nuse crate::xmpp::Jid;"), [2]);
    assert_eq!(lines(rule, "src/xmpp.rs", "use crate::{stun, limits};"), [1]);
    assert!(lines(rule, "src/sip/uri.rs", "use crate::sip::Via;").is_empty());
    assert!(lines(rule, "src/edge/gateway/mod.rs", "use crate::{sip, xmpp};").is_empty());
}

#[test]
fn an_import_of_the_command_line_is_found() {
    let rule = rules::nothing_imports_cli;
    assert_eq!(lines(rule, "src/control/mod.rs", "use crate::cli::Run;"), [1]);
    assert!(lines(rule, "src/cli/run.rs", "use crate::cli::Run;").is_empty());
    assert!(lines(rule, "src/main.rs", "use crate::cli::Run;").is_empty());
}

#[test]
fn long_lines_and_long_files_are_found() {
    let rule = rules::files_and_lines_are_short;
    let wide = "x".repeat(rules::LINE_COLUMNS_MAX + 1);
    assert_eq!(lines(rule, "src/a.rs", &format!("\n{wide}\n")), [2]);
    assert!(lines(rule, "src/a.rs", &"é".repeat(rules::LINE_COLUMNS_MAX)).is_empty());
    let long = "\n".repeat(rules::FILE_LINES_MAX + 1);
    assert_eq!(lines(rule, "src/a.rs", &long), [rules::FILE_LINES_MAX + 1]);
}

#[test]
fn unfinished_work_is_found_but_not_in_words() {
    let rule = rules::nothing_is_left_to_do;
    assert_eq!(lines(rule, "src/a.rs", "fn f() {\n todo!() }"), [2]);
    assert_eq!(lines(rule, "src/a.rs", "let x = dbg!(1);"), [1]);
    assert_eq!(lines(rule, "src/a.rs", "unimplemented!(\"later\")"), [1]);
    assert!(lines(rule, "src/a.rs", "// todo!()\nlet s = \"dbg!()\"; let todo = 1;").is_empty());
}

#[test]
fn unsafe_outside_its_home_is_found() {
    let rule = rules::unsafe_stays_home;
    assert_eq!(lines(rule, "src/sip/scan.rs", "fn f() { unsafe { g() } }"), [1]);
    assert!(lines(rule, "src/poll/uring.rs", "fn f() { unsafe { g() } }").is_empty());
    assert!(lines(rule, "src/lib.rs", "#![deny(unsafe_code)] // unsafe\n").is_empty());
}

#[test]
fn a_path_of_some_machine_is_found() {
    let rule = rules::no_machine_paths;
    let path = concat!("see `/", "work/notes`");
    assert_eq!(lines(rule, "README.md", path), [1]);
    assert_eq!(lines(rule, "tests/x", concat!("\ncd /", "home/me/src")), [2]);
    assert!(lines(rule, "README.md", "target/work/x and https://a.example/work").is_empty());
}

#[test]
fn a_limit_without_a_reason_is_found() {
    let rule = rules::limits_are_explained;
    let text = "/// Why.\npub const A: usize = 1;\npub const B: usize = 2;\n";
    assert_eq!(lines(rule, "src/limits.rs", text), [3]);
    assert!(lines(rule, "src/poll/mod.rs", text).is_empty());
}

#[test]
fn a_dependency_without_a_reason_is_found() {
    let rule = rules::dependencies_are_explained;
    let text = "[package]\nname = \"x\"\n[dependencies]\na = \"1\" # why\nb = \"1\"\n\
                [target.'cfg(loom)'.dependencies]\nc = \"1\"\n\
                [dev-dependencies.d]\nversion = \"1\"\n";
    assert_eq!(lines(rule, "Cargo.toml", text), [5, 7, 8]);
    assert!(lines(rule, "notes.toml", text).is_empty());
}

#[test]
fn a_file_is_judged_by_all_the_rules_of_its_kind() {
    let text = "use std::fs;\nfn f() { unsafe { todo!() } }\n";
    let found = rules::all(File { path: "src/sip/scan.rs", text });
    assert_eq!(found.len(), 3, "{found:?}");
    let script = format!("#!/bin/sh\n{}\n", "x".repeat(rules::SCRIPT_COLUMNS_MAX + 1));
    assert_eq!(rules::all(File { path: "tests/run", text: &script }).len(), 1);
    assert_eq!(rules::all(File { path: "tests/fixtures/x.sip", text: &script[10..] }).len(), 0);
}
