//! Load generator for federation edges: SIP, XMPP, and the relay of media.
//!
//! One thread plays both neighbours of an edge: partner edges that connect to its federation
//! listener over mutual TLS, and the next hop it connects to; or partners' XMPP servers, and the
//! gateway behind the proxy; or clients of a TURN relay, and the peers behind it. It offers work
//! at a rate that a slow server cannot hold back, or keeps a window full, and tells what was
//! offered, what was done, how long it took, and what it cost the process under test. It shares no
//! codec with the server.

mod clock;
mod connections;
#[cfg(test)]
mod loopback;
mod measure;
mod media;
mod net;
mod offer;
mod options;
mod partner;
mod process;
mod progress;
mod report;
mod run;
mod sip;
mod tls;
mod traffic;
mod xmpp;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::options::{Measured, Options, Scenario};
use crate::report::Report;
use crate::traffic::Kind;
use crate::xmpp::Across;

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
    let measured = measured(scenario);
    if let Some(core) = measured.and_then(|measured| measured.core) {
        let mut set = CpuSet::new();
        set.set(core);
        sched_setaffinity(None, &set).with_context(|| format!("core {core}"))?;
    }
    let report = self::scenario(scenario)?;
    if measured.is_some_and(|measured| measured.json) {
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
        Scenario::Xmpp(options) => xmpp::run(Across::Proxy, options),
        Scenario::Gateway(options) => xmpp::run(Across::Gateway, &options.of_gateway()),
        Scenario::Media(options) => media::run(options),
        Scenario::Forwarder(options) => match media::forwarder::run(options)? {},
    }
}

/// What does not measure has nothing of the kind.
fn measured(scenario: &Scenario) -> Option<&Measured> {
    match scenario {
        Scenario::Message(options) | Scenario::Dialog(options) | Scenario::Presence(options) => {
            Some(&options.common.measured)
        }
        Scenario::Handshake(options) => Some(&options.common.measured),
        Scenario::Idle(options) => Some(&options.common.measured),
        Scenario::Xmpp(options) | Scenario::Gateway(options) => Some(&options.common.measured),
        Scenario::Media(options) => Some(&options.measured),
        Scenario::Forwarder(_) => None,
    }
}
