//! `entente ctl partner`: the list of partners, in the file first and then in force.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use super::{Args, Reload, client, print, show};
use crate::config::{self, Config, Remarks, read_domain, read_pattern};
use crate::control::edit::{Addition, Edit, PolicyFile, Side, Terms, socket_in};
use crate::dns::Domain;
use crate::policy::{Pattern, Place, XmppKind};

/// What to do with the list.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Prints the listed partners and blocked domains of the file.
    List,
    /// Lists a partner.
    Add(Entry),
    /// Takes a domain off the blocked list, and lists it as a partner.
    Allow(Entry),
    /// Blocks a domain; its partner entries go.
    Block(Whom),
    /// Takes a partner off the list.
    Remove(Listed),
}

/// A partner to be listed.
#[derive(Clone, Debug, clap::Args)]
pub struct Entry {
    /// Its SIP domain, or *.domain for all below it; with --xmpp its XMPP domain.
    #[arg(value_parser = pattern)]
    domain: Pattern,
    /// It is a partner on XMPP.
    #[arg(long, conflicts_with = "edge")]
    xmpp: bool,
    /// What its users may do unasked.
    #[arg(long, requires = "xmpp", value_parser = kind, value_name = "KIND")]
    kind: Option<XmppKind>,
    /// FQDN of its edge; without it DNS names the edge.
    #[arg(long, value_name = "FQDN", value_parser = domain)]
    edge: Option<Domain>,
    /// Port of its edge.
    #[arg(long, requires = "edge", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    #[command(flatten)]
    reload: Reload,
}

/// A partner to be taken off the list.
#[derive(Clone, Debug, clap::Args)]
pub struct Listed {
    /// Its domain as it is listed.
    #[arg(value_parser = pattern)]
    domain: Pattern,
    /// It is a partner on XMPP.
    #[arg(long)]
    xmpp: bool,
    #[command(flatten)]
    reload: Reload,
}

/// A domain, and how the reload goes.
#[derive(Clone, Debug, clap::Args)]
pub struct Whom {
    /// The domain, or *.domain for all below it.
    #[arg(value_parser = pattern)]
    domain: Pattern,
    #[command(flatten)]
    reload: Reload,
}

fn kind(text: &str) -> Result<XmppKind, String> {
    let kinds = [XmppKind::Federated, XmppKind::PublicVerified, XmppKind::PublicUnverified];
    let named = kinds.into_iter().find(|kind| kind.as_str() == text);
    named.ok_or_else(|| format!("expected one of: {}", kinds.map(XmppKind::as_str).join(", ")))
}

const fn side(xmpp: bool) -> Side {
    if xmpp { Side::Xmpp } else { Side::Sip }
}

fn domain(text: &str) -> Result<Domain, String> {
    read_domain(text).map_err(str::to_owned)
}

fn pattern(text: &str) -> Result<Pattern, String> {
    read_pattern(text).map_err(str::to_owned)
}

impl Entry {
    fn addition(&self) -> Addition {
        let terms = match self.xmpp {
            true => Terms::Xmpp { kind: self.kind },
            false => Terms::Sip { edge: self.edge.clone(), port: self.port },
        };
        Addition { domain: self.domain.clone(), terms }
    }
}

pub(super) fn run(args: &Args, command: &Command) -> anyhow::Result<ExitCode> {
    let Some(path) = args.config.as_deref() else {
        eprintln!("entente: the list of partners is in the policy file: --config FILE");
        return Ok(ExitCode::from(2));
    };
    let (edit, reload) = match command {
        Command::List => return list(args, &config::load(path)?),
        Command::Add(entry) => (Edit::Add(entry.addition()), entry.reload),
        Command::Allow(entry) => (Edit::Allow(entry.addition()), entry.reload),
        Command::Block(whom) => (Edit::Block(whom.domain.clone()), whom.reload),
        Command::Remove(listed) => {
            (Edit::Remove(listed.domain.clone(), side(listed.xmpp)), listed.reload)
        }
    };
    let edited = PolicyFile::read(path)?.edit(&edit)?;
    let edge = edge_of(args, path)?;
    edited.write()?;
    let done = edited.done;
    match edge {
        Some(socket) => {
            let reloaded = put_in_force(&socket, path, reload)?;
            let answer = json!({ "file": path, "done": done, "reload": reloaded });
            print(args, &answer, || told(&done) + &show::reloaded(&reloaded))
        }
        None => {
            let answer = json!({ "file": path, "done": done, "reload": null });
            print(args, &answer, || {
                let offline = "no edge was asked: it is in force from the next start or reload on";
                format!("{}{}: {offline}\n", told(&done), path.display())
            })
        }
    }
}

fn told(done: &[String]) -> String {
    done.iter().map(|sentence| format!("{sentence}\n")).collect()
}

/// Returns the socket of the edge that reads `path`, if one is there.
///
/// Asked before anything is written: an edge that reads another file must not reload for it.
fn edge_of(args: &Args, path: &Path) -> anyhow::Result<Option<PathBuf>> {
    let Some(socket) = args.socket.clone().or_else(|| socket_in(path)) else { return Ok(None) };
    let status = match client::ask(&socket, "GET", "/status", None) {
        Ok(answer) => answer.success()?,
        Err(error) if error.is::<client::NobodyThere>() => return Ok(None),
        Err(error) => return Err(error),
    };
    let read = status["configuration"].as_str().unwrap_or_default();
    let same = |one: &Path| std::fs::canonicalize(one).ok();
    if same(Path::new(read)) != same(path) {
        let (path, socket) = (path.display(), socket.display());
        bail!("nothing is changed: the edge on {socket} reads {read}, not {path}");
    }
    Ok(Some(socket))
}

/// Lets the edge reload.
fn put_in_force(socket: &Path, path: &Path, reload: Reload) -> anyhow::Result<Value> {
    let written = || format!("{} is written but not in force", path.display());
    let answer = client::ask(socket, "POST", "/reload", Some(reload.body()));
    answer.with_context(written)?.success().with_context(written)
}

/// Prints what the file lists; of lists in files of their own, how long they are.
fn list(args: &Args, config: &Config) -> anyhow::Result<ExitCode> {
    let numbered = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
    let partners: Vec<Value> = config
        .partners
        .iter()
        .enumerate()
        .map(|(index, partner)| {
            let edge = partner.edge.as_ref().map(|edge| format!("{edge}:{}", partner.port));
            json!({
                "domain": partner.domain.to_string(),
                "edge": edge,
                "place": config.whereabouts(Place::Partner(numbered(index))),
                "owner": partner.owner,
                "ticket": partner.ticket,
            })
        })
        .collect();
    let xmpp: Vec<Value> = config
        .xmpp_partners
        .iter()
        .enumerate()
        .map(|(index, partner)| {
            let number = u16::try_from(index).unwrap_or(u16::MAX);
            json!({
                "domain": partner.domain.to_string(),
                "kind": partner.kind.as_str(),
                "place": config.whereabouts(Place::XmppPartner(number)),
                "owner": partner.owner,
                "ticket": partner.ticket,
            })
        })
        .collect();
    let blocked: Vec<Value> = config
        .blocked
        .iter()
        .enumerate()
        .map(|(index, blocked)| {
            let place = config.whereabouts(Place::Blocked(numbered(index)));
            json!({
                "domain": blocked.domain.to_string(),
                "place": place,
                "owner": blocked.owner,
                "ticket": blocked.ticket,
            })
        })
        .collect();
    let answer = json!({
        "partners": partners,
        "xmpp_partners": xmpp,
        "blocked": blocked,
        "partners_csv": config.partner_list.as_ref().map(|list| list.rows.len()),
        "blocked_csv": config.blocked_list.as_ref().map(|list| list.rows.len()),
        "discovery": config.federation.discovery,
    });
    print(args, &answer, || listed(&answer))
}

/// Returns the lists as a table.
fn listed(answer: &Value) -> String {
    let mut text = String::new();
    let mut row = |entry: &Value, what: &str| {
        let word = |key: &str| entry[key].as_str();
        let (domain, place) = (word("domain").unwrap_or("-"), word("place").unwrap_or("-"));
        let remarks = Remarks {
            owner: word("owner").map(str::to_owned),
            ticket: word("ticket").map(str::to_owned),
        };
        let line = format!("{domain:<40} {what:<40} {place:<24} {remarks}");
        text.push_str(line.trim_end());
        text.push('\n');
    };
    for partner in answer["partners"].as_array().into_iter().flatten() {
        let what = match partner["edge"].as_str() {
            Some(edge) => format!("edge {edge}"),
            None => "edge by DNS SRV".to_owned(),
        };
        row(partner, &what);
    }
    for partner in answer["xmpp_partners"].as_array().into_iter().flatten() {
        row(partner, &format!("XMPP, {}", partner["kind"].as_str().unwrap_or("-")));
    }
    for blocked in answer["blocked"].as_array().into_iter().flatten() {
        row(blocked, "blocked");
    }
    for (key, what) in [("partners_csv", "partners"), ("blocked_csv", "blocked domains")] {
        if let Some(rows) = answer[key].as_u64() {
            text.push_str(&format!("{:<40} {rows} {what}\n", format!("federation.{key}")));
        }
    }
    let everybody = match answer["discovery"].as_bool() {
        Some(true) => "discovered by DNS SRV, with limits",
        _ => "refused: discovery is off",
    };
    text.push_str(&format!("{:<40} {everybody}\n", "every other domain"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_whose_an_entry_is() {
        let answer = json!({
            "partners": [
                { "domain": "a.example", "edge": null, "place": "e.toml:3", "owner": "ann",
                  "ticket": "UC-1" },
                { "domain": "b.example", "edge": "sip.b.example:5061", "place": "e.toml:9",
                  "owner": null, "ticket": null },
            ],
            "xmpp_partners": [{ "domain": "d.example", "kind": "federated", "place": "e.toml:11" }],
            "blocked": [{ "domain": "c.example", "place": "e.toml:12", "ticket": "SEC-7" }],
            "discovery": false,
        });
        let text = listed(&answer);
        let lines: Vec<Vec<&str>> =
            text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0].join(" "), "a.example edge by DNS SRV e.toml:3 owner ann, ticket UC-1");
        assert_eq!(lines[1].join(" "), "b.example edge sip.b.example:5061 e.toml:9");
        assert_eq!(lines[2].join(" "), "d.example XMPP, federated e.toml:11");
        assert_eq!(lines[3].join(" "), "c.example blocked e.toml:12 ticket SEC-7");
    }
}
