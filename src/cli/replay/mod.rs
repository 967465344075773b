//! `entente replay`: what another policy would have done with the decisions of a log.
//!
//! Each line of a decision log holds the question that policy was asked: the domains, the names in
//! the certificate, what DNS had answered. The new policy is compiled as a running edge would and
//! asked the same with nothing else to go by; where it wants an answer of DNS that the line lacks,
//! that is told and not guessed. The log is read as a stream, and what is kept is bounded.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use crate::config;

mod ask;
mod show;
mod tally;

use ask::Candidate;
use tally::Tally;

/// Longest line that is read; a certificate with all the names a log may hold stays below it.
const LINE_BYTES_MAX: usize = 1024 * 1024;

/// Arguments of `entente replay`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example: entente replay --policy new.toml decisions.log.1 decisions.log\n\
                        Exit codes: 0 all the same, 1 something would be decided otherwise, 2 it \
                        could not be done")]
pub struct Args {
    /// The configuration whose policy is asked.
    #[arg(long, value_name = "FILE")]
    pub policy: PathBuf,
    /// Decision logs (`log.decisions`), oldest first; `-` is standard input.
    #[arg(value_name = "LOG", required = true)]
    pub logs: Vec<PathBuf>,
    /// Prints one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Runs `entente replay`; exit code 0 if nothing would be decided otherwise, 2 if that cannot be
/// told.
///
/// # Errors
/// What was found cannot be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let tally = match replay(args) {
        Ok(tally) => tally,
        Err(error) => {
            super::tell(&error);
            return Ok(ExitCode::from(2));
        }
    };
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&show::json(args, &tally))?)?;
    } else {
        write!(out, "{}", show::text(args, &tally))?;
    }
    Ok(if tally.differ() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A log that can be read.
struct Log {
    name: String,
    lines: Box<dyn BufRead>,
}

impl Log {
    fn open(path: &Path) -> anyhow::Result<Self> {
        if path == Path::new("-") {
            let lines = Box::new(BufReader::new(std::io::stdin()));
            return Ok(Self { name: "standard input".to_owned(), lines });
        }
        let name = path.display().to_string();
        let file = File::open(path).with_context(|| format!("cannot read {name}"))?;
        Ok(Self { name, lines: Box::new(BufReader::with_capacity(256 * 1024, file)) })
    }
}

fn replay(args: &Args) -> anyhow::Result<Tally> {
    let config = config::load(&args.policy)?;
    let candidate = Candidate::new(&config)?;
    // All of them are opened first: a wrong name should not be told after minutes.
    let logs: Vec<Log> = args.logs.iter().map(|path| Log::open(path)).collect::<Result<_, _>>()?;
    let mut tally = Tally::default();
    for mut log in logs {
        read(&mut log, &candidate, &mut tally)?;
    }
    if tally.decisions() == 0 {
        match &tally.unreadable.first {
            Some(first) => bail!("no line of the logs is a decision; the first: {first}"),
            None => bail!("the logs hold no decision"),
        }
    }
    Ok(tally)
}

/// Puts each line of a log to the candidate.
fn read(log: &mut Log, candidate: &Candidate<'_>, tally: &mut Tally) -> anyhow::Result<()> {
    let mut text = Vec::new();
    let mut number = 0_u64;
    loop {
        text.clear();
        let read = (&mut log.lines)
            .take(LINE_BYTES_MAX as u64 + 1)
            .read_until(b'\n', &mut text)
            .with_context(|| format!("cannot read {}", log.name))?;
        if read == 0 {
            return Ok(());
        }
        number += 1;
        let ended = text.ends_with(b"\n");
        if !ended && read > LINE_BYTES_MAX {
            skip_line(&mut log.lines).with_context(|| format!("cannot read {}", log.name))?;
            let why = format!("longer than {LINE_BYTES_MAX} bytes");
            tally.unreadable(&log.name, number, &why);
            continue;
        }
        let line = text.trim_ascii();
        match crate::control::decisions::Line::read(line) {
            _ if line.is_empty() => {}
            Ok(line) => candidate.put(&line, tally),
            // The edge was still at it, or was stopped there.
            Err(_) if !ended => tally.torn += 1,
            Err(why) => tally.unreadable(&log.name, number, &why),
        }
    }
}

/// Reads to the end of a line and keeps nothing of it.
fn skip_line(lines: &mut dyn BufRead) -> std::io::Result<()> {
    loop {
        let held = lines.fill_buf()?;
        let (used, ended) = match memchr::memchr(b'\n', held) {
            Some(at) => (at + 1, true),
            None => (held.len(), held.is_empty()),
        };
        lines.consume(used);
        if ended {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests;
