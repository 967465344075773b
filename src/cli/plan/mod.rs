//! `entente plan`: what the deployment needs around the edge.
//!
//! Reads the configuration and nothing else: no file it names, no name server, no network.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::ValueEnum;

use crate::config;
use crate::edge::Side;
use crate::plan::{self, Plan, Section, render};

mod deployment;

pub use deployment::deployment;

/// How the plan is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For a terminal.
    Table,
    /// For a document.
    Markdown,
    /// For programs.
    Json,
    /// Rules for `nft -f`.
    Nftables,
    /// Fragments of zone files, as BIND reads them.
    Zone,
    /// Certificate requests, for `openssl req -config`.
    Csr,
}

/// A part of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Rules and translations of both firewalls.
    Firewall,
    /// Records to publish.
    Dns,
    /// Certificates to order.
    Certificates,
    /// Rules of the load balancer.
    Balancer,
}

/// A side of the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Which {
    /// Towards the Internet.
    External,
    /// Towards the organisation.
    Internal,
}

/// Arguments of `entente plan`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,
    /// How it is written.
    #[arg(short, long, value_enum, default_value = "table")]
    pub format: Format,
    /// Only this part.
    #[arg(short, long, value_enum)]
    pub section: Option<Part>,
    /// Only this side of firewall, records and balancer.
    #[arg(long, value_enum)]
    pub side: Option<Which>,
    /// Only the certificate of this name.
    #[arg(long, value_name = "NAME")]
    pub certificate: Option<String>,
}

impl Part {
    const fn section(self) -> Section {
        match self {
            Self::Firewall => Section::Firewall,
            Self::Dns => Section::Dns,
            Self::Certificates => Section::Certificates,
            Self::Balancer => Section::Balancer,
        }
    }
}

impl Format {
    /// Returns the one part that this format can say, for formats that other programs read.
    const fn says_only(self) -> Option<Part> {
        match self {
            Self::Table | Self::Markdown | Self::Json => None,
            Self::Nftables => Some(Part::Firewall),
            Self::Zone => Some(Part::Dns),
            Self::Csr => Some(Part::Certificates),
        }
    }
}

fn word<T: ValueEnum>(value: &T) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// Runs `entente plan`.
///
/// # Errors
/// The configuration is refused ([`config::Report`]), or nothing is left to print.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if let (Some(says), Some(part)) = (args.format.says_only(), args.section)
        && says != part
    {
        // Called wrongly, as clap would say it.
        eprintln!("{}", contradiction(args.format, part, says));
        return Ok(ExitCode::from(2));
    }
    let config = config::load(&args.config)?;
    let text = text(args, &config)?;
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        // A reader such as `head` has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        result => result?,
    }
    Ok(ExitCode::SUCCESS)
}

fn contradiction(format: Format, part: Part, says: Part) -> String {
    let (format, part, says) = (word(&format), word(&part), word(&says));
    format!(
        "error: --format {format} says {says} only, not --section {part}\n\n\
         tip: leave --section out, or use --format table, markdown or json"
    )
}

/// Returns what is printed.
fn text(args: &Args, config: &config::Config) -> anyhow::Result<String> {
    let mut plan = plan::plan(&deployment(config));
    if let Some(part) = args.section.or(args.format.says_only()) {
        plan = plan.only(part.section());
    }
    if let Some(side) = args.side {
        plan = plan.side(match side {
            Which::External => Side::External,
            Which::Internal => Side::Internal,
        });
    }
    if let Some(name) = &args.certificate {
        choose(&mut plan, name)?;
    }
    let domains: Vec<&str> = config.edge.domains.iter().map(|domain| domain.as_str()).collect();
    Ok(match args.format {
        Format::Table => or_nothing(render::table(&plan), args),
        Format::Markdown => or_nothing(render::markdown(&plan), args),
        Format::Json => render::json(&plan),
        Format::Nftables => render::nftables(&plan),
        Format::Zone => render::zone(&plan, &domains),
        Format::Csr => render::csr(&plan),
    })
}

/// Leaves one certificate.
fn choose(plan: &mut Plan, name: &str) -> anyhow::Result<()> {
    if plan.certificates.iter().all(|row| row.name != name) {
        let names: Vec<&str> = plan.certificates.iter().map(|row| row.name.as_str()).collect();
        bail!("no certificate is called `{name}`; there are: {}", names.join(", "));
    }
    plan.certificates.retain(|row| row.name == name);
    Ok(())
}

/// Says so when a part is empty, which is an answer too.
fn or_nothing(text: String, args: &Args) -> String {
    if !text.is_empty() {
        return text;
    }
    let part = args.section.map_or("anything".to_owned(), |part| format!("`{}`", word(&part)));
    format!("Nothing: this deployment needs no rule of {part}. See plan.topology, plan.roles.\n")
}

#[cfg(test)]
mod tests;
