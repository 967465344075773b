//! Load generator for SIP and XMPP federation edges.
//!
//! One thread plays both neighbours of an edge: partner edges that connect to its federation
//! listener over mutual TLS, and the next hop it connects to; or partners' XMPP servers, and the
//! gateway behind the proxy. It offers work at a rate that a slow
//! server cannot hold back, or keeps a window full, and tells what was offered, what was done, how
//! long it took, and what it cost the process under test. It shares no codec with the server.

mod clock;
mod connections;
#[cfg(test)]
mod loopback;
mod measure;
mod net;
mod offer;
mod options;
mod partner;
mod process;
mod progress;
mod report;
mod sip;
mod tls;
mod traffic;
mod xmpp;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::options::{Common, Options, Scenario};
use crate::report::Report;
use crate::traffic::Kind;

fn main() -> ExitCode {
    match run(&Options::parse().scenario) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("entente-loadgen: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Returns whether anything was done at all.
fn run(scenario: &Scenario) -> Result<bool> {
    let common = common(scenario);
    if let Some(core) = common.core {
        let mut set = CpuSet::new();
        set.set(core);
        sched_setaffinity(None, &set).with_context(|| format!("core {core}"))?;
    }
    let report = self::scenario(scenario)?;
    if common.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{report}");
    }
    Ok(report.done > 0)
}

fn scenario(scenario: &Scenario) -> Result<Report> {
    match scenario {
        Scenario::Message(options) => traffic::run(Kind::Message, options),
        Scenario::Dialog(options) => traffic::run(Kind::Dialog, options),
        Scenario::Presence(options) => traffic::run(Kind::Presence, options),
        Scenario::Handshake(options) => connections::handshake(options),
        Scenario::Idle(options) => connections::idle(options),
        Scenario::Xmpp(options) => xmpp::run("xmpp", options),
        Scenario::Gateway(options) => xmpp::run("gateway", options),
    }
}

fn common(scenario: &Scenario) -> &Common {
    match scenario {
        Scenario::Message(options) | Scenario::Dialog(options) | Scenario::Presence(options) => {
            &options.common
        }
        Scenario::Handshake(options) => &options.common,
        Scenario::Idle(options) => &options.common,
        Scenario::Xmpp(options) | Scenario::Gateway(options) => &options.common,
    }
}
