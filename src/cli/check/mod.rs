//! `entente check`: reads the configuration like a compiler, then looks at the world.
//!
//! The world is compared with the plan of the same configuration (`entente plan`): records, names
//! and usages of the certificates, chains. Nothing is changed, and nothing is sent but questions to
//! the name servers; with `--live` also handshakes to next hops, providers and listed partners.
//!
//! Exit codes: 0 no error; 1 an error, or the configuration is refused; 2 called wrongly; with
//! `--fail-on warning` or `--fail-on note` also 3 if the worst finding is a warning, and 4 if it is
//! a note.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use serde::Serialize;

use crate::config::{self, Config, Paint, Report};
use crate::time::Clock;

mod certificates;
mod host;
mod live;
mod media;
mod names;
mod planned;
mod policy;
mod pool;
mod published;
mod relay;
mod relay_pool;
mod xmpp;

/// Arguments of `entente check`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE", required_unless_present = "reference")]
    pub config: Option<PathBuf>,
    /// Prints the reference of all keys and metrics in Markdown and ends.
    #[arg(long, conflicts_with_all = ["config", "json"])]
    pub reference: bool,
    /// Prints the findings as one JSON object.
    #[arg(long)]
    pub json: bool,
    /// The edge runs already: that its ports are in use is no finding.
    #[arg(long)]
    pub running: bool,
    /// Connects to next hops, providers and listed partners too, as the edge would; with
    /// --running also to the edge itself.
    #[arg(long)]
    pub live: bool,
    /// With --live: the most partners and providers that are connected to. Those of the file come
    /// before rows of a list; what is too many is thinned out evenly, from the first on.
    #[arg(long, value_name = "N", requires = "live", default_value_t = live::LIMIT)]
    pub limit: u16,
    /// The least severity that makes the exit code another than 0: 1 for an error, 3 for a
    /// warning, 4 for a note.
    #[arg(long, value_enum, value_name = "SEVERITY", default_value = "error")]
    pub fail_on: Severity,
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// It will run, and somebody should look.
    Warning,
    /// It will not run, or not do its work.
    Error,
}

/// One thing found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Stable name of the kind.
    pub code: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// What is the case.
    pub sentence: String,
    /// `file:line` that it is about, or the part of the host.
    pub place: String,
    /// What to do about it.
    pub advice: String,
}

/// One row of the memory table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryRow {
    /// What is held.
    pub what: &'static str,
    /// How many of them at most.
    pub count: u64,
    /// Bytes of each.
    pub bytes_each: u64,
}

/// Collects findings about one configuration.
struct Checker<'a> {
    config: &'a Config,
    now_unix_s: u64,
    findings: Vec<Finding>,
}

impl Checker<'_> {
    /// Notes a finding about the value at `key`.
    fn at(
        &mut self,
        key: &str,
        severity: Severity,
        code: &'static str,
        sentence: impl Into<String>,
        advice: impl Into<String>,
    ) {
        let place = self.config.source.whereabouts(key);
        let (sentence, advice) = (sentence.into(), advice.into());
        self.findings.push(Finding { code, severity, sentence, place, advice });
    }
}

/// What `check` prints with `--json`.
#[derive(Serialize)]
struct Printed<'a> {
    ok: bool,
    findings: &'a [Finding],
    memory: &'a [MemoryRow],
    limits: &'a [pool::PoolRow],
}

/// Runs `entente check`; fails (exit code 1) when there is an error among the findings.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    let Some(path) = args.config.as_deref().filter(|_| !args.reference) else {
        let metrics = crate::metrics::catalogue::reference();
        let warnings = crate::policy::lint_reference();
        write!(out, "{}\n{metrics}\n{warnings}", config::reference())?;
        return Ok(ExitCode::SUCCESS);
    };
    let config = match config::load(path) {
        Ok(config) => config,
        Err(report) => {
            print_report(&mut out, &report, args.json)?;
            return Ok(ExitCode::FAILURE);
        }
    };
    let look = match args.live {
        true => Look::Connecting { partners: args.limit, running: args.running },
        false => Look::Asking,
    };
    let mut findings = check(&config, Clock::start().now().unix_s, look);
    findings.retain(|finding| !args.running || finding.code != "port-in-use");
    let memory = host::memory(&config);
    let ok = !findings.iter().any(|finding| finding.severity == Severity::Error);
    if args.json {
        let limits = pool::rows(&config);
        let printed = Printed { ok, findings: &findings, memory: &memory, limits: &limits };
        writeln!(out, "{}", serde_json::to_string_pretty(&printed)?)?;
    } else {
        write!(out, "{}", text(&config, &findings, &memory))?;
    }
    Ok(ExitCode::from(exit_code(&findings, args.fail_on)))
}

/// Returns the exit code for the worst of the findings, if it is at least `fail_on`.
fn exit_code(findings: &[Finding], fail_on: Severity) -> u8 {
    let worst = findings.iter().map(|finding| finding.severity).max();
    match worst.filter(|worst| *worst >= fail_on) {
        None => 0,
        Some(Severity::Error) => 1,
        Some(Severity::Warning) => 3,
        Some(Severity::Note) => 4,
    }
}

/// How far the look at the world goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Files, this host, name servers.
    Asking,
    /// Next hops and partners too.
    Connecting {
        /// The most partners and providers.
        partners: u16,
        /// The edge itself as well, which runs.
        running: bool,
    },
}

/// Returns what is found about `config`, errors first.
#[must_use]
pub fn check(config: &Config, now_unix_s: u64, look: Look) -> Vec<Finding> {
    let mut checker = Checker { config, now_unix_s, findings: Vec::new() };
    checker.policy();
    checker.pool();
    checker.media();
    checker.relay_pool();
    checker.certificates();
    checker.planned_certificates();
    checker.host();
    checker.name_servers();
    if let Look::Connecting { partners, running } = look {
        if running {
            checker.own();
        }
        checker.live(partners.into());
    }
    let mut findings = checker.findings;
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

fn print_report(out: &mut impl std::io::Write, report: &Report, json: bool) -> anyhow::Result<()> {
    use std::io::IsTerminal as _;
    if !json {
        let coloured = std::io::stdout().is_terminal();
        write!(out, "{}", report.render(if coloured { Paint::Styled } else { Paint::Plain }))?;
        return Ok(());
    }
    let findings: Vec<Finding> = report
        .problems()
        .iter()
        .map(|problem| Finding {
            code: problem.code.as_str(),
            severity: Severity::Error,
            sentence: problem.message.clone(),
            place: report.place(problem),
            advice: problem.help.clone().unwrap_or_else(|| problem.label.clone()),
        })
        .collect();
    let printed = Printed { ok: false, findings: &findings, memory: &[], limits: &[] };
    writeln!(out, "{}", serde_json::to_string_pretty(&printed)?)?;
    Ok(())
}

/// Returns findings and the memory table as text.
fn text(config: &Config, findings: &[Finding], memory: &[MemoryRow]) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for finding in findings {
        let severity = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        };
        let _ = writeln!(text, "{severity}[{}]: {}", finding.code, finding.sentence);
        let _ = writeln!(text, "  --> {}", finding.place);
        let _ = writeln!(text, "  do: {}\n", finding.advice);
    }
    let _ = writeln!(text, "{:<44} {:>10} {:>12} {:>12}", "memory at most", "count", "each", "all");
    let mut total = 0;
    for row in memory {
        let all = row.count.saturating_mul(row.bytes_each);
        total += all;
        let (each, all) = (sized(row.bytes_each), sized(all));
        let _ = writeln!(text, "{:<44} {:>10} {each:>12} {all:>12}", row.what, row.count);
    }
    let _ = writeln!(text, "{:<44} {:>10} {:>12} {:>12}\n", "together", "", "", sized(total));
    text.push_str(&pool::text(&pool::rows(config)));
    let count = |severity| findings.iter().filter(|f| f.severity == severity).count();
    let counted = |severity, noun: &str| {
        let number = count(severity);
        format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
    };
    let _ = writeln!(
        text,
        "{}: {}, {}, {}",
        config.source.path.display(),
        counted(Severity::Error, "error"),
        counted(Severity::Warning, "warning"),
        counted(Severity::Note, "note"),
    );
    text
}

/// Returns a number of bytes with a unit that leaves few digits.
fn sized(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["B", "KiB", "MiB", "GiB"];
    let mut unit = 0;
    let mut whole = bytes;
    let mut tenths = 0;
    while whole >= 1024 && unit + 1 < UNITS.len() {
        tenths = (whole % 1024) * 10 / 1024;
        whole /= 1024;
        unit += 1;
    }
    if unit == 0 { format!("{whole} B") } else { format!("{whole}.{tenths} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests;
