//! `entente ctl`: asks the running edge, and edits the policy file it runs from.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;
use serde_json::{Value, json};

use crate::admin::CONFIRM_WITHIN_S;
use crate::control::edit;

pub(in crate::cli) mod client;
mod partner;
mod relay;
mod show;

pub(in crate::cli) use show::span;

/// Arguments of `entente ctl`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "The edge is asked on the socket that management.socket names. \
                        `partner` works without a running edge too, on the file alone.")]
pub struct Args {
    /// The configuration file of the edge; it names the socket.
    #[arg(short, long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// The admin socket.
    #[arg(long, value_name = "PATH", global = true)]
    pub socket: Option<PathBuf>,
    /// Prints what the edge answers, in JSON.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Tells how the edge is.
    Status,
    /// Puts the file in force, all of it or nothing.
    Reload(Reload),
    /// Keeps what a reload with --confirm-within has put in force.
    Confirm,
    /// Tells what a reload would change: who is cut off, who gets in, which switches.
    Diff {
        /// Another file than the edge's own, as it would be put in its place.
        file: Option<PathBuf>,
    },
    /// Asks a candidate policy beside the one in force, without effect, until the next reload.
    ///
    /// What it would decide otherwise is counted (entente_access_shadow_...) and told in the log, a
    /// few lines a second.
    Shadow {
        /// The candidate.
        #[arg(required_unless_present = "off", conflicts_with = "off")]
        file: Option<PathBuf>,
        /// Asks it no more.
        #[arg(long)]
        off: bool,
    },
    /// Ends the edge in order, as SIGTERM does.
    Drain,
    /// Lists and ends allocations of the A/V Edge, or lets it take no new ones.
    #[command(subcommand)]
    Relay(relay::Command),
    /// Edits the list of partners in the policy file, and reloads.
    #[command(subcommand)]
    Partner(partner::Command),
}

/// Options of a reload.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct Reload {
    /// Rolls back unless `entente ctl confirm` comes within this time: 90s, 5m, 1h.
    #[arg(long, value_name = "TIME", value_parser = duration_s)]
    pub confirm_within: Option<u64>,
}

impl Reload {
    fn body(self) -> Value {
        match self.confirm_within {
            Some(seconds) => json!({ "confirm_within_s": seconds }),
            None => json!({}),
        }
    }
}

/// Reads a time with its unit, in seconds.
fn duration_s(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err("expected a number with s, m or h, such as 5m".to_owned()),
    };
    let number: u64 = digits.parse().map_err(|_| "expected a number before the unit".to_owned())?;
    let seconds = number.saturating_mul(factor);
    if !CONFIRM_WITHIN_S.contains(&seconds) {
        let (least, most) = (CONFIRM_WITHIN_S.start(), CONFIRM_WITHIN_S.end() / 3600);
        return Err(format!("expected {least}s to {most}h"));
    }
    Ok(seconds)
}

/// Runs `entente ctl`.
///
/// # Errors
/// In an operator's words: no edge answers, or it refused.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.config.is_none() && args.socket.is_none() {
        eprintln!("entente: say which edge: --config FILE or --socket PATH");
        return Ok(ExitCode::from(2));
    }
    match &args.command {
        Command::Status => {
            let status = ask(args, "GET", "/status", None)?;
            print(args, &status, || show::status(&status))
        }
        Command::Reload(reload) => {
            let done = ask(args, "POST", "/reload", Some(reload.body()))?;
            print(args, &done, || show::reloaded(&done))
        }
        Command::Confirm => {
            let done = ask(args, "POST", "/confirm", Some(json!({})))?;
            print(args, &done, || format!("epoch {} stays\n", done["epoch"]))
        }
        Command::Diff { file } => {
            let file = file.as_deref().map(std::path::absolute).transpose()?;
            let body = file.map_or_else(|| json!({}), |file| json!({ "file": file }));
            let told = ask(args, "POST", "/diff", Some(body))?;
            print(args, &told, || show::difference(&told["difference"]))
        }
        Command::Shadow { file, off } => {
            let file = file.as_deref().map(std::path::absolute).transpose()?;
            let body = if *off { json!({ "off": true }) } else { json!({ "file": file }) };
            let done = ask(args, "POST", "/shadow", Some(body))?;
            print(args, &done, || show::shadow(&done))
        }
        Command::Drain => {
            let done = ask(args, "POST", "/drain", Some(json!({})))?;
            print(args, &done, || "the drain has begun\n".to_owned())
        }
        Command::Relay(command) => relay::run(args, command),
        Command::Partner(command) => partner::run(args, command),
    }
}

/// Prints an answer, as it came or for people.
fn print(args: &Args, answer: &Value, text: impl FnOnce() -> String) -> anyhow::Result<ExitCode> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{answer:#}")?;
    } else {
        write!(out, "{}", text())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns where the edge takes commands.
fn socket(args: &Args) -> anyhow::Result<PathBuf> {
    if let Some(socket) = &args.socket {
        return Ok(socket.clone());
    }
    let config = args.config.as_deref().unwrap_or_else(|| Path::new("entente.toml"));
    match edit::socket_in(config) {
        Some(socket) => Ok(socket),
        None => bail!(
            "{} names no management.socket; add it and restart the edge, or give --socket",
            config.display()
        ),
    }
}

/// Asks the edge; an answer that is no success is an error in its own words.
fn ask(args: &Args, method: &str, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
    let answer = client::ask(&socket(args)?, method, path, body)?;
    answer.success()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_needs_its_unit_and_its_range() {
        assert_eq!(duration_s("90s"), Ok(90));
        assert_eq!(duration_s("5m"), Ok(300));
        assert_eq!(duration_s("24h"), Ok(86_400));
        let unit = Err("expected a number with s, m or h, such as 5m".to_owned());
        assert_eq!(duration_s("300"), unit);
        assert_eq!(duration_s("5 min"), unit);
        assert_eq!(duration_s("m"), Err("expected a number before the unit".to_owned()));
        let range = Err("expected 5s to 24h".to_owned());
        assert_eq!(duration_s("4s"), range);
        assert_eq!(duration_s("25h"), range);
        assert_eq!(duration_s("18446744073709551615h"), range);
    }
}
