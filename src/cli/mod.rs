//! The command line.
//!
//! Exit codes, the same for every command: 0 it did what it should; 1 it did not, or `check` found
//! an error; 2 it was called wrongly. `check --fail-on` adds 3 for warnings and 4 for notes;
//! `replay` says 2 for what it could not do, since 1 means that a decision would differ, and
//! `explain` for a file that is refused, since 1 means that the message would be, and 3 that DNS
//! decides.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{Paint, Report};

pub mod check;
pub mod ctl;
pub mod explain;
mod handshake;
pub mod plan;
pub mod quickstart;
pub mod replay;
pub mod run;
mod stream;

/// A SIP federation edge: mutual TLS at the border, policy decides, io_uring moves the bytes.
#[derive(Clone, Debug, Parser)]
#[command(name = "entente", version, after_help = "Exit codes: 0 done, 1 failed, 2 called wrongly")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Runs the edge. SIGHUP reloads everything or nothing, SIGTERM drains.
    Run(run::Args),
    /// Reads the configuration without running, then looks at the world.
    Check(check::Args),
    /// Says why a message would pass or not, screen by screen.
    Explain(explain::Args),
    /// Tells what another policy would have done with the decisions of a log.
    Replay(replay::Args),
    /// Asks the running edge: status, reload, what a reload would change; edits its partners.
    Ctl(ctl::Args),
    /// Prints the firewall rules, DNS records, certificates and balancer rules it needs.
    Plan(plan::Args),
    /// Lets two organisations federate on this machine, in one command.
    ///
    /// Makes a throw-away CA, a name server and two complete edges on loopback addresses, sends
    /// real traffic through both, and prints who sent what and what each edge decided. Ends 0 only
    /// if every step did what it should.
    Quickstart(quickstart::Args),
}

/// Runs what the command line says.
///
/// # Errors
/// What the command could not do, with its context.
pub fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    match &cli.command {
        Command::Run(args) => run::run(args),
        Command::Check(args) => check::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Replay(args) => replay::run(args),
        Command::Ctl(args) => ctl::run(args),
        Command::Plan(args) => plan::run(args),
        Command::Quickstart(args) => quickstart::run(args),
    }
}

/// Tells on standard error why something could not be done; a configuration like a compiler.
pub fn tell(error: &anyhow::Error) {
    let paint = if std::io::stderr().is_terminal() { Paint::Styled } else { Paint::Plain };
    match error.downcast_ref::<Report>() {
        Some(report) => eprint!("{}", report.render(paint)),
        None => eprintln!("entente: {error:#}"),
    }
}
