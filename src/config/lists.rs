//! Long lists in files of their own: CSV (RFC 4180), one entry a line, a line at a time.
//!
//! ```text
//! domain,edge,port,version,messages_per_s,expires,owner,ticket
//! fabrikam.example,,,lync2013,,,,
//! *.tailspin.example,sip.tailspin.example,5061,,100,2027-12-31,uc team,UC-1042
//! ```
//!
//! The first line names the columns, in any order; only `domain` must be there. An empty field is
//! as if the column were not. Empty lines and lines that begin with `#` count for nothing. What is
//! kept of a row is what decides; the rest is read, judged, and found again by its line.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::report::{Code, Problem, Report, Source};
use super::schema::{PeerName, SrvTarget, Verification};
use super::shape::{read_domain, read_pattern, read_remark};
use super::suggest;
use crate::dns::Domain;
use crate::limits;
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
    /// [`Report`]: the rows that are wrong, up to [`limits::LIST_PROBLEMS_MAX`].
    pub fn load(path: &Path) -> Result<Self, Report> {
        let text = std::fs::read_to_string(path).map_err(|why| Report::unreadable(path, &why))?;
        Self::parse(path, text)
    }

    /// Reads a text; `path` is named in messages. Bench `policy/csv_1m`.
    ///
    /// # Errors
    /// As [`PartnerList::load`].
    pub fn parse(path: &Path, text: String) -> Result<Self, Report> {
        let mut list = Self { path: path.to_owned(), rows: Vec::new(), terms: Vec::new() };
        let mut known: HashMap<RowTerms, u32> = HashMap::new();
        let mut last = 0;
        let problems = read(&text, PARTNER_COLUMNS, |row| {
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
        let mut rows = Vec::new();
        let problems = read(&text, BLOCKED_COLUMNS, |row| {
            row.judge_remarks()?;
            let domain = row.needed("domain", read_pattern)?;
            rows.push((domain, row.line));
            Some(())
        });
        if !problems.is_empty() {
            return Err(report(path, text, problems));
        }
        rows.shrink_to_fit();
        Ok(Self { path: path.to_owned(), rows })
    }

    /// Returns `file:line` of a row.
    #[must_use]
    pub fn whereabouts(&self, row: usize) -> Option<String> {
        self.rows.get(row).map(|(_, line)| format!("{}:{line}", self.path.display()))
    }
}

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

fn partner(row: &mut Row<'_, '_>) -> Option<(PartnerRow, RowTerms)> {
    row.judge_remarks()?;
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
    let row = PartnerRow { domain, edge, port: port.unwrap_or(5061), terms: 0, line: row.line };
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

/// Reads `text` row by row; returns what is wrong with it.
fn read(
    text: &str,
    known: &'static [&'static str],
    mut keep: impl FnMut(&mut Row<'_, '_>) -> Option<()>,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut columns: Option<Vec<&'static str>> = None;
    let mut fields: Vec<Range<usize>> = Vec::new();
    let (mut start, mut line, mut rows) = (0, 0_u32, 0);
    while start < text.len() && problems.len() < limits::LIST_PROBLEMS_MAX {
        let end = memchr::memchr(b'\n', &text.as_bytes()[start..])
            .map_or(text.len(), |length| start + length);
        let next = end + 1;
        line += 1;
        let written = text[start..end].trim_end_matches('\r');
        let span = start..start + written.len();
        start = next;
        if written.is_empty() || written.starts_with('#') {
            continue;
        }
        if let Some(problem) = split(text, span.clone(), &mut fields) {
            problems.push(problem);
            continue;
        }
        let Some(columns) = &columns else {
            columns = match head(text, &fields, span, known) {
                Ok(columns) => Some(columns),
                Err(found) => return found,
            };
            continue;
        };
        rows += 1;
        if rows > limits::LIST_ROWS_MAX {
            let message = format!("the list has more than {} rows", limits::LIST_ROWS_MAX);
            problems.push(Problem::new(Code::OutOfRange, Some(span), message, "one too many"));
            break;
        }
        if fields.len() != columns.len() {
            let message = format!("{} fields in a list of {} columns", fields.len(), columns.len());
            let label = "expected one field for each column";
            problems.push(Problem::new(Code::Malformed, Some(span), message, label));
            continue;
        }
        let mut row = Row { text, columns, fields: &fields, line, span, problems: &mut problems };
        let before = row.problems.len();
        let kept = keep(&mut row);
        assert!(kept.is_some() || problems.len() > before, "a row is kept or told of");
    }
    problems
}

/// Reads the line that names the columns.
fn head(
    text: &str,
    fields: &[Range<usize>],
    line: Range<usize>,
    known: &'static [&'static str],
) -> Result<Vec<&'static str>, Vec<Problem>> {
    let mut columns = Vec::with_capacity(fields.len());
    let mut problems = Vec::new();
    for field in fields {
        let name = unquoted(&text[field.clone()]);
        let span = Some(field.clone());
        match known.iter().find(|column| **column == name) {
            Some(column) if columns.contains(column) => {
                let message = format!("the column `{name}` is named twice");
                problems.push(Problem::new(Code::Contradiction, span, message, "named again"));
            }
            Some(column) => columns.push(*column),
            None => {
                let message = format!("there is no column `{name}`");
                let problem = Problem::new(Code::UnknownKey, span, message, "unknown column");
                problems.push(match suggest::closest(&name, known.iter().copied()) {
                    Some(meant) => problem.help(format!("did you mean `{meant}`?")),
                    None => problem.help(format!("columns are: {}", known.join(", "))),
                });
            }
        }
    }
    if problems.is_empty() && !columns.contains(&"domain") {
        let message = "the first line names no column `domain`";
        let problem = Problem::new(Code::MissingKey, Some(line), message, "expected the columns");
        problems.push(problem.help("write for example: domain,edge,owner"));
    }
    if problems.is_empty() { Ok(columns) } else { Err(problems) }
}

/// Splits the line written at `span` into its fields, quotes included; returns what is wrong.
fn split(text: &str, span: Range<usize>, fields: &mut Vec<Range<usize>>) -> Option<Problem> {
    fields.clear();
    let bytes = text.as_bytes();
    let malformed = |at: Range<usize>, message: &str, label: &str| {
        Problem::new(Code::Malformed, Some(at), message, label)
    };
    let mut start = span.start;
    loop {
        let rest = &bytes[start..span.end];
        let length = if rest.first() == Some(&b'"') {
            let Some(length) = quoted_length(rest) else {
                let message = "a quote is opened and not closed on its line";
                return Some(malformed(start..span.end, message, "opened here"));
            };
            if !matches!(rest.get(length), None | Some(b',')) {
                let message = "text after a quoted field";
                let label = "expected a comma after the quote";
                return Some(malformed(start..span.end, message, label));
            }
            length
        } else {
            memchr::memchr(b',', rest).unwrap_or(rest.len())
        };
        fields.push(start..start + length);
        start += length;
        if start >= span.end {
            return None;
        }
        // Past the comma; a line that ends in one ends in an empty field.
        start += 1;
    }
}

/// Returns the length of a quoted field with its quotes; a quote in it is written twice.
fn quoted_length(field: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += memchr::memchr(b'"', field.get(at..)?)?;
        if field.get(at + 1) != Some(&b'"') {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// Returns a field without its quotes and the spaces around it.
fn unquoted(field: &str) -> std::borrow::Cow<'_, str> {
    match field.strip_prefix('"').and_then(|field| field.strip_suffix('"')) {
        Some(inner) if inner.contains('"') => inner.replace("\"\"", "\"").into(),
        Some(inner) => inner.into(),
        None => field.trim().into(),
    }
}

/// One row while it is read.
struct Row<'a, 'p> {
    text: &'a str,
    columns: &'a [&'static str],
    fields: &'a [Range<usize>],
    line: u32,
    span: Range<usize>,
    problems: &'p mut Vec<Problem>,
}

impl<'a> Row<'a, '_> {
    /// Returns the field of a column, unless it is empty or there is no such column.
    fn field(&self, column: &str) -> Option<(Range<usize>, std::borrow::Cow<'a, str>)> {
        let place = self.columns.iter().position(|known| *known == column)?;
        let span = self.fields.get(place)?.clone();
        let field = unquoted(self.text.get(span.clone())?);
        (!field.is_empty()).then_some((span, field))
    }

    /// Reads a field; the outer `None` after a problem.
    #[allow(clippy::option_option, reason = "read badly and not there are two things")]
    fn read<T>(
        &mut self,
        column: &str,
        parse: impl FnOnce(&str) -> Result<T, &'static str>,
    ) -> Option<Option<T>> {
        let Some((span, field)) = self.field(column) else { return Some(None) };
        match parse(&field) {
            Ok(kept) => Some(Some(kept)),
            Err(expected) => {
                let message = format!("line {}: `{field}` is no {column}", self.line);
                self.problems.push(Problem::new(Code::Malformed, Some(span), message, expected));
                None
            }
        }
    }

    /// Reads a field that must be there.
    fn needed<T>(
        &mut self,
        column: &str,
        parse: impl FnOnce(&str) -> Result<T, &'static str>,
    ) -> Option<T> {
        let read = self.read(column, parse)?;
        if read.is_none() {
            let message = format!("line {}: the {column} is missing", self.line);
            let span = Some(self.span.clone());
            self.problems.push(Problem::new(Code::MissingKey, span, message, "in this row"));
        }
        read
    }

    /// Reads one of a few words.
    #[allow(clippy::option_option, reason = "read badly and not there are two things")]
    fn one_of<T: Clone>(
        &mut self,
        column: &str,
        choices: &[(&'static str, T)],
    ) -> Option<Option<T>> {
        let Some((span, field)) = self.field(column) else { return Some(None) };
        if let Some((_, kept)) = choices.iter().find(|(word, _)| *word == field) {
            return Some(Some(kept.clone()));
        }
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        let message = format!("line {}: `{column}` cannot be `{field}`", self.line);
        let label = format!("expected one of: {}", words.join(", "));
        self.problems.push(Problem::new(Code::OutOfRange, Some(span), message, label));
        None
    }

    /// Judges the columns that are only for people.
    fn judge_remarks(&mut self) -> Option<()> {
        for column in REMARKS {
            self.read(column, |text| read_remark(text).map(drop))?;
        }
        Some(())
    }

    /// Notes that a field has no place in this row.
    fn refuse<T>(&mut self, column: &str, message: &str) -> Option<T> {
        let span = self.field(column).map_or_else(|| self.span.clone(), |(span, _)| span);
        let message = format!("line {}: {message}", self.line);
        self.problems.push(Problem::new(Code::Contradiction, Some(span), message, "has no effect"));
        None
    }
}

#[cfg(test)]
mod tests;
