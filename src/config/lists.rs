//! Long lists in files of their own: [`csv`], one entry a line, a line at a time.
//!
//! ```text
//! domain,edge,port,version,messages_per_s,expires,owner,ticket
//! fabrikam.example,,,lync2013,,,,
//! *.tailspin.example,sip.tailspin.example,5061,,100,2027-12-31,uc team,UC-1042
//! ```
//!
//! Only the column `domain` must be there. What is kept of a row is what decides; the rest is
//! read, judged, and found again by its line.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::csv::{self, Columns, Row};

use super::remarks::{self, Remarks};
use super::report::{Problem, Report, Source};
use super::schema::{PeerName, SrvTarget, Verification};
use super::shape::{read_domain, read_pattern, read_remark};
use crate::dns::Domain;
use crate::policy::{Date, Pattern, Revocation, Version};

/// A partner of a list. About 60 bytes and its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartnerRow {
    /// Its SIP domain.
    pub domain: Pattern,
    /// FQDN of its edge; `None`: found by DNS SRV.
    pub edge: Option<Domain>,
    /// Port of its edge.
    pub port: u16,
    /// What else is said, by its place in [`PartnerList::terms`].
    pub terms: u32,
    /// Its line.
    pub line: u32,
}

/// What many rows say alike.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RowTerms {
    /// Which hosts its SRV record may name.
    pub srv_target: SrvTarget,
    /// Which name its certificate must carry.
    pub names: PeerName,
    /// Whether its certificate must be made for clients too.
    pub require_client_eku: bool,
    /// Whether its word on who its user is counts.
    pub verification: Verification,
    /// What its edge runs.
    pub version: Option<Version>,
    /// The last day on which the entry allows anything.
    pub expires: Option<Date>,
    /// Whether a name in the common name of its certificate counts too.
    pub common_name: bool,
    /// What holds while it is not known whether its certificate has been revoked.
    pub revocation: Option<Revocation>,
    /// Messages it may send a second.
    pub messages_per_s: Option<u32>,
    /// Distinct local users it may address.
    pub distinct_users: Option<u32>,
}

impl RowTerms {
    const fn unsaid() -> Self {
        Self {
            srv_target: SrvTarget::Strict,
            names: PeerName::Fqdn,
            require_client_eku: false,
            verification: Verification::Source,
            version: None,
            expires: None,
            common_name: false,
            revocation: None,
            messages_per_s: None,
            distinct_users: None,
        }
    }
}

/// Partners from a file of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartnerList {
    path: PathBuf,
    /// The partners, in the order of the file.
    pub rows: Vec<PartnerRow>,
    /// What they say beside their names.
    pub terms: Vec<RowTerms>,
}

impl PartnerList {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// [`Report`]: the rows that are wrong, up to `limits::LIST_PROBLEMS_MAX`.
    pub fn load(path: &Path) -> Result<Self, Report> {
        let text = std::fs::read_to_string(path).map_err(|why| Report::unreadable(path, &why))?;
        Self::parse(path, text)
    }

    /// Reads a text; `path` is named in messages. Bench `policy/csv_1m`.
    ///
    /// # Errors
    /// As [`PartnerList::load`].
    pub fn parse(path: &Path, text: String) -> Result<Self, Report> {
        let rows = Vec::with_capacity(csv::rows_at_most(&text));
        let mut list = Self { path: path.to_owned(), rows, terms: Vec::new() };
        let mut known: HashMap<RowTerms, u32> = HashMap::new();
        let mut last = 0;
        let problems = csv::read(&text, &PARTNERS, |row| {
            let (row, terms) = partner(row)?;
            // Most rows say what the one before says.
            if list.terms.get(last as usize) != Some(&terms) {
                let next = u32::try_from(list.terms.len()).unwrap_or(u32::MAX);
                last = *known.entry(terms).or_insert_with_key(|terms| {
                    list.terms.push(terms.clone());
                    next
                });
            }
            list.rows.push(PartnerRow { terms: last, ..row });
            Some(())
        });
        if !problems.is_empty() {
            return Err(report(path, text, problems));
        }
        list.rows.shrink_to_fit();
        Ok(list)
    }

    /// Returns what a row says for people, from the file as it is now.
    pub(super) fn remarks(&self, row: usize) -> Option<Remarks> {
        let row = self.rows.get(row)?;
        remarks::of_row(&self.path, &PARTNERS, row.line, &row.domain)
    }

    /// Returns `file:line` of a row.
    #[must_use]
    pub fn whereabouts(&self, row: usize) -> Option<String> {
        self.rows.get(row).map(|row| format!("{}:{}", self.path.display(), row.line))
    }
}

/// Blocked domains from a file of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockedList {
    path: PathBuf,
    /// The domains with their lines, in the order of the file.
    pub rows: Vec<(Pattern, u32)>,
}

impl BlockedList {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// As [`PartnerList::load`].
    pub fn load(path: &Path) -> Result<Self, Report> {
        let text = std::fs::read_to_string(path).map_err(|why| Report::unreadable(path, &why))?;
        Self::parse(path, text)
    }

    /// Reads a text; `path` is named in messages.
    ///
    /// # Errors
    /// As [`PartnerList::load`].
    pub fn parse(path: &Path, text: String) -> Result<Self, Report> {
        let mut rows = Vec::with_capacity(csv::rows_at_most(&text));
        let problems = csv::read(&text, &BLOCKED, |row| {
            judge_remarks(row)?;
            let domain = row.needed("domain", read_pattern)?;
            rows.push((domain, row.line()));
            Some(())
        });
        if !problems.is_empty() {
            return Err(report(path, text, problems));
        }
        rows.shrink_to_fit();
        Ok(Self { path: path.to_owned(), rows })
    }

    /// Returns what a row says for people, from the file as it is now.
    pub(super) fn remarks(&self, row: usize) -> Option<Remarks> {
        let (domain, line) = self.rows.get(row)?;
        remarks::of_row(&self.path, &BLOCKED, *line, domain)
    }

    /// Returns `file:line` of a row.
    #[must_use]
    pub fn whereabouts(&self, row: usize) -> Option<String> {
        self.rows.get(row).map(|(_, line)| format!("{}:{line}", self.path.display()))
    }
}

const PARTNERS: Columns =
    Columns { known: PARTNER_COLUMNS, needed: "domain", example: "domain,edge,owner" };
const BLOCKED: Columns =
    Columns { known: BLOCKED_COLUMNS, needed: "domain", example: "domain,ticket" };
const PARTNER_COLUMNS: &[&str] = &[
    "domain",
    "edge",
    "port",
    "srv_target",
    "names",
    "common_name",
    "require_client_eku",
    "revocation",
    "verification",
    "version",
    "messages_per_s",
    "distinct_users",
    "expires",
    "owner",
    "ticket",
    "comment",
];
const BLOCKED_COLUMNS: &[&str] = &["domain", "owner", "ticket", "comment"];
/// Columns of remarks, which are judged and not kept.
const REMARKS: [&str; 3] = ["owner", "ticket", "comment"];

fn report(path: &Path, text: String, problems: Vec<Problem>) -> Report {
    let source = Source { path: path.to_owned(), text, places: BTreeMap::new() };
    Report::new(source, problems)
}

/// Judges the columns that are only for people.
fn judge_remarks(row: &mut Row<'_, '_>) -> Option<()> {
    for column in REMARKS {
        row.read(column, |text| read_remark(text).map(drop))?;
    }
    Some(())
}

fn partner(row: &mut Row<'_, '_>) -> Option<(PartnerRow, RowTerms)> {
    judge_remarks(row)?;
    let domain = row.needed("domain", read_pattern)?;
    let edge = row.read("edge", read_domain)?;
    let port = row.read("port", |text| match text.parse() {
        Ok(0) | Err(_) => Err("expected 1 to 65535"),
        Ok(port) => Ok(port),
    })?;
    let srv_target = row.one_of(
        "srv_target",
        &[("strict", SrvTarget::Strict), ("same_domain", SrvTarget::SameDomain)],
    )?;
    if edge.is_none() && port.is_some() {
        return row.refuse("port", "the port of an allowed domain comes from its SRV record");
    }
    if edge.is_some() && srv_target.is_some() {
        return row.refuse("srv_target", "an allowed server is not looked up by SRV");
    }
    let terms = terms(row, srv_target)?;
    if matches!(domain, Pattern::Below(_)) {
        let limits = [
            ("messages_per_s", terms.messages_per_s.is_some()),
            ("distinct_users", terms.distinct_users.is_some()),
        ];
        if let Some((column, _)) = limits.into_iter().find(|(_, stated)| *stated) {
            return row.refuse(column, "a limit counts one domain, not what lies below it");
        }
    }
    let row = PartnerRow { domain, edge, port: port.unwrap_or(5061), terms: 0, line: row.line() };
    Some((row, terms))
}

/// Reads what a row says beside who the partner is and how its edge is found.
fn terms(row: &mut Row<'_, '_>, srv_target: Option<SrvTarget>) -> Option<RowTerms> {
    let unsaid = RowTerms::unsaid();
    Some(RowTerms {
        srv_target: srv_target.unwrap_or(unsaid.srv_target),
        names: row
            .one_of(
                "names",
                &[
                    ("fqdn", PeerName::Fqdn),
                    ("sip_domain", PeerName::SipDomain),
                    ("both", PeerName::Both),
                ],
            )?
            .unwrap_or(unsaid.names),
        require_client_eku: row
            .one_of("require_client_eku", &[("true", true), ("false", false)])?
            .unwrap_or(unsaid.require_client_eku),
        verification: row
            .one_of(
                "verification",
                &[
                    ("always", Verification::Always),
                    ("source", Verification::Source),
                    ("never", Verification::Never),
                ],
            )?
            .unwrap_or(unsaid.verification),
        version: row.one_of(
            "version",
            &[
                ("ocs2007", Version::Ocs2007),
                ("ocs2007r2", Version::Ocs2007R2),
                ("lync2010", Version::Lync2010),
                ("lync2013", Version::Lync2013),
                ("other", Version::Other),
            ],
        )?,
        expires: row
            .read("expires", |text| Date::parse(text).map_err(|_| "expected YYYY-MM-DD"))?,
        common_name: row
            .one_of("common_name", &[("true", true), ("false", false)])?
            .unwrap_or(unsaid.common_name),
        revocation: row.one_of(
            "revocation",
            &[("off", Revocation::Off), ("soft", Revocation::Soft), ("hard", Revocation::Hard)],
        )?,
        messages_per_s: row
            .read("messages_per_s", |text| within(text, 1, 1_000_000, "expected 1 to 1000000"))?,
        distinct_users: row
            .read("distinct_users", |text| within(text, 0, 10_000, "expected 0 to 10000"))?,
    })
}

/// Reads a number within the range that the key of the same name has in the configuration.
fn within(text: &str, least: u32, most: u32, expected: &'static str) -> Result<u32, &'static str> {
    let number = text.parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or(expected)
}

#[cfg(test)]
mod tests;
