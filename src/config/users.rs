//! Users with policies of their own: those of the configuration and those of a CSV file.
//!
//! ```text
//! uri, site, policy, home
//! kim@contoso.example, redmond, sales, pool
//! lee@contoso.example, dublin, , sba
//! ```
//!
//! The first line names the columns, in any order; only `uri` must be there. Lines that are empty
//! or begin with `#` count for nothing. There is no quoting: none of the fields holds a comma.

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;

use super::report::{Code, Problem, Report, Source};
use super::{Config, shape, suggest};
use crate::dns::Domain;
use crate::limits;
use crate::policy::users::{AccessPolicy, Directory, DirectoryBuilder, DirectoryFault, Home};

const COLUMNS: [&str; 4] = ["uri", "site", "policy", "home"];

/// Returns the policies of `config` with the users it names itself, and what is wrong with these.
pub(super) fn of_configuration(config: &Config) -> (Directory, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut builder = builder(config, 0);
    add_stated(config, &mut builder, &mut problems);
    (builder.finish(), problems)
}

/// Returns the same with the users of the file at `path`.
///
/// # Errors
/// [`Report`] on the lines of the file, at most [`limits::CONTRADICTIONS_MAX`].
pub(super) fn with_file(config: &Config, path: &Path) -> Result<Directory, Report> {
    let text = std::fs::read_to_string(path).map_err(|why| Report::unreadable(path, &why))?;
    of_text(config, path, text)
}

fn of_text(config: &Config, path: &Path, text: String) -> Result<Directory, Report> {
    let lines = memchr::memchr_iter(b'\n', text.as_bytes()).count() + 1;
    let mut problems = Vec::new();
    let mut builder = builder(config, lines);
    // They were judged when the configuration was read.
    add_stated(config, &mut builder, &mut Vec::new());
    add_listed(config, &text, &mut builder, &mut problems);
    if problems.is_empty() {
        return Ok(builder.finish());
    }
    let source = Source { path: path.to_owned(), text, ..Source::default() };
    Err(Report::new(source, problems))
}

/// Returns `file:line` of where a user is named; nowhere is an answer too.
///
/// Of a user nothing is kept that could be read back, so the list is read again. Cold: for people.
pub(super) fn whereabouts(config: &Config, user: &str, domain: &Domain) -> Option<String> {
    let user = user.to_ascii_lowercase();
    let is_he = |stated: &shape::User| stated.user == user && stated.domain == *domain;
    if let Some(index) = config.single_users.iter().position(|stated| is_he(&stated.uri)) {
        return Some(config.source.whereabouts(&format!("user[{index}].uri")));
    }
    let path = config.users.file.as_ref()?;
    let text = std::fs::read_to_string(path).ok()?;
    let mut columns = None;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_start_matches('\u{feff}');
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let Some(columns) = &columns else {
            columns = Some(head(0, line).ok()?);
            continue;
        };
        let (uri, _) = Row { at: 0, line, columns }.field(0);
        if shape::read_user(uri).is_ok_and(|listed| is_he(&listed)) {
            return Some(format!("{}:{}", path.display(), index + 1));
        }
    }
    None
}

fn builder(config: &Config, listed: usize) -> DirectoryBuilder {
    let policies = config.access_policies.iter().map(|policy| AccessPolicy {
        name: policy.name.clone(),
        federation: policy.federation,
        xmpp: policy.xmpp,
        public_im: policy.public_im,
        public_av: policy.public_av,
        outside: policy.outside,
    });
    let users = config.single_users.len() + listed;
    DirectoryBuilder::new(random_key(), policies.collect(), config.users.marks, users)
}

/// Two words that nobody can guess; without them a stranger could search for a name that is taken
/// for a user's.
fn random_key() -> [u64; 2] {
    use std::hash::{BuildHasher as _, RandomState};
    let state = RandomState::new();
    [state.hash_one(0_u8), state.hash_one(1_u8)]
}

fn add_stated(config: &Config, builder: &mut DirectoryBuilder, problems: &mut Vec<Problem>) {
    for (index, stated) in config.single_users.iter().enumerate() {
        let key = |name: &str| config.source.place(&format!("user[{index}].{name}"));
        let shape::User { user, domain } = &stated.uri;
        if !config.edge.domains.contains(domain) {
            let message = format!("{domain} is not an own domain");
            let problem = Problem::new(Code::Contradiction, key("uri"), message, "not served here");
            problems.push(problem.help(format!("add \"{domain}\" to edge.domains")));
            continue;
        }
        let site = stated.site.as_deref().unwrap_or_default();
        let policy = stated.policy.as_deref().unwrap_or_default();
        if let Err(fault) = builder.add(user, domain.as_str(), site, policy, stated.home) {
            let at = if fault == DirectoryFault::Twice { "uri" } else { "policy" };
            problems.push(problem(config, key(at), &fault));
        }
    }
}

fn problem(config: &Config, span: Option<Range<usize>>, fault: &DirectoryFault) -> Problem {
    let label = match fault {
        DirectoryFault::UnknownPolicy(_) => "unknown policy",
        DirectoryFault::NotGranted(_) => "expected a policy of single users",
        DirectoryFault::Twice => "given again here",
        DirectoryFault::Full | DirectoryFault::TooManyClasses => "the first that is too many",
    };
    let problem = Problem::new(Code::Contradiction, span, fault.to_string(), label);
    let DirectoryFault::UnknownPolicy(name) = fault else { return problem };
    let names = config.access_policies.iter().map(|policy| policy.name.as_str());
    match suggest::closest(name, names) {
        Some(meant) => problem.help(format!("did you mean \"{meant}\"?")),
        None => problem.help("policies are declared with [[external_access_policy]]"),
    }
}

/// One line cut into its fields, each with its place in the file.
struct Row<'a> {
    at: usize,
    line: &'a str,
    columns: &'a [usize; COLUMNS.len()],
}

impl<'a> Row<'a> {
    /// Returns the field of a column with its place; empty where the file has no such column.
    fn field(&self, column: usize) -> (&'a str, Range<usize>) {
        let mut start = self.at;
        for (place, field) in self.line.split(',').enumerate() {
            if place == self.columns[column] {
                let written = field.trim();
                let from = start + field.len() - field.trim_start().len();
                return (written, from..from + written.len());
            }
            start += field.len() + 1;
        }
        ("", self.at..self.at + self.line.len())
    }
}

/// A column that the file does not have.
const ABSENT: usize = usize::MAX;

fn add_listed(
    config: &Config,
    text: &str,
    builder: &mut DirectoryBuilder,
    problems: &mut Vec<Problem>,
) {
    let own: HashSet<&Domain> = config.edge.domains.iter().collect();
    let mut columns = None;
    let mut at = 0;
    for whole in text.split_inclusive('\n') {
        let start = at;
        at += whole.len();
        let line = whole.trim_end_matches(['\n', '\r']);
        // A spreadsheet may begin the file with a byte order mark.
        let (start, line) = match line.strip_prefix('\u{feff}') {
            Some(rest) if start == 0 => (start + line.len() - rest.len(), rest),
            _ => (start, line),
        };
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let Some(columns) = &columns else {
            match head(start, line) {
                Ok(found) => columns = Some(found),
                // Without its columns nothing else of the file can be read.
                Err(problem) => return problems.push(*problem),
            }
            continue;
        };
        let row = Row { at: start, line, columns };
        if let Err(problem) = add_row(config, &own, &row, builder) {
            problems.push(*problem);
            if problems.len() >= limits::CONTRADICTIONS_MAX {
                return;
            }
        }
    }
}

/// Reads the line that names the columns.
fn head(at: usize, line: &str) -> Result<[usize; COLUMNS.len()], Box<Problem>> {
    let mut columns = [ABSENT; COLUMNS.len()];
    let mut start = at;
    for (place, field) in line.split(',').enumerate() {
        let name = field.trim();
        let span = start..start + field.len();
        start += field.len() + 1;
        let Some(column) = COLUMNS.iter().position(|known| *known == name) else {
            let message = format!("there is no column `{name}`");
            let problem = Problem::new(Code::UnknownKey, Some(span), message, "unknown column");
            return Err(Box::new(problem.help(format!("columns are: {}", COLUMNS.join(", ")))));
        };
        if columns[column] != ABSENT {
            let message = format!("column `{name}` is given twice");
            let label = "given again here";
            return Err(Box::new(Problem::new(Code::Contradiction, Some(span), message, label)));
        }
        columns[column] = place;
    }
    if columns[0] == ABSENT {
        let span = Some(at..at + line.len());
        let problem = Problem::new(Code::MissingKey, span, "there is no column `uri`", "");
        return Err(Box::new(problem.help("begin the file with: uri,site,policy,home")));
    }
    Ok(columns)
}

fn add_row(
    config: &Config,
    own: &HashSet<&Domain>,
    row: &Row<'_>,
    builder: &mut DirectoryBuilder,
) -> Result<(), Box<Problem>> {
    let malformed = |span, message: String, label: &str| {
        Err(Box::new(Problem::new(Code::Malformed, Some(span), message, label)))
    };
    if row.line.contains('"') {
        let span = row.at..row.at + row.line.len();
        return malformed(span, "quotes are not read".to_owned(), "expected plain fields");
    }
    let (uri, span) = row.field(0);
    let shape::User { user, domain } = match shape::read_user(uri) {
        Ok(user) => user,
        Err(expected) => return malformed(span, format!("`{uri}` is not a user"), expected),
    };
    if !own.contains(&domain) {
        let message = format!("{domain} is not an own domain");
        return malformed(span, message, "not served here");
    }
    let (written, home_span) = row.field(3);
    let home = match written {
        "" | "pool" => Home::Pool,
        "sba" => Home::BranchAppliance,
        _ => return malformed(home_span, format!("`{written}` is not a home"), "pool or sba"),
    };
    let (site, _) = row.field(1);
    let (policy, policy_span) = row.field(2);
    builder.add(&user, domain.as_str(), site, policy, home).map_err(|fault| {
        let span = if fault == DirectoryFault::Twice { span } else { policy_span };
        Box::new(problem(config, Some(span), &fault))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::users::{Gate, Marks, Role};

    const STATED: &str = concat!(
        include_str!("../../tests/fixtures/least.toml"),
        r#"[[external_access_policy]]
name = "global"
[[external_access_policy]]
name = "sales"
federation = true
xmpp = true
[[user]]
uri = "sip:ann@contoso.example"
policy = "sales"
"#
    );

    fn config() -> Config {
        super::super::parse(Path::new("e.toml"), STATED).unwrap()
    }

    fn read(text: &str) -> Result<Directory, Report> {
        of_text(&config(), Path::new("users.csv"), text.to_owned())
    }

    fn may(directory: &Directory, user: &str, gate: Gate) -> bool {
        let (user, host) = (user.as_bytes(), b"contoso.example");
        directory.judge(user, host, gate, Role::Sender, Marks::default()).is_ok()
    }

    #[test]
    fn users_of_both_sources_have_their_policies() {
        let text = "\u{feff}home,uri , policy\r\n# a remark\r\n\r\n\
                    ,kim@contoso.example,sales\r\nsba, sip:Lee@Contoso.example ,sales\r\n\
                    pool,max@contoso.example,\r\n";
        let directory = read(text).unwrap();
        assert_eq!(directory.len(), 4);
        for (user, federation, xmpp) in
            [("ann", true, true), ("kim", true, true), ("lee", true, false), ("max", false, false)]
        {
            assert_eq!(may(&directory, user, Gate::Federation), federation, "{user}");
            assert_eq!(may(&directory, user, Gate::Xmpp), xmpp, "{user}");
        }
    }

    fn refused(text: &str) -> String {
        read(text).expect_err("must be refused").to_string()
    }

    #[test]
    fn a_wrong_line_is_shown_with_its_place() {
        let text = "uri,policy\nkim@contoso.example,sale\n";
        assert_eq!(
            refused(text),
            "\
error[config-contradiction]: there is no external access policy `sale`
 --> users.csv:2:21
  |
2 | kim@contoso.example,sale
  |                     ^^^^ unknown policy
  |
  = help: did you mean \"sales\"?

users.csv: 1 problem; nothing was changed
"
        );
    }

    #[test]
    fn each_kind_of_wrong_line_is_named() {
        for (text, told) in [
            ("uri\nkim@fabrikam.example\n", "fabrikam.example is not an own domain"),
            ("uri\nkim\n", "`kim` is not a user"),
            ("uri,home\nkim@contoso.example,boat\n", "`boat` is not a home"),
            ("uri\n\"kim@contoso.example\"\n", "quotes are not read"),
            ("uri\nkim@contoso.example\nKIM@contoso.example\n", "this user is given twice"),
            ("uri\nann@contoso.example\n", "this user is given twice"),
            (
                "uri,policy\nkim@contoso.example,global\n",
                "`global` is the policy of a site or of all",
            ),
            ("url\n", "there is no column `url`"),
            ("site,policy\n", "there is no column `uri`"),
            ("uri,uri\n", "column `uri` is given twice"),
        ] {
            let report = refused(text);
            assert!(report.contains(told), "{text:?}: {report}");
        }
    }

    #[test]
    fn only_so_many_wrong_lines_are_told() {
        let text = format!("uri\n{}", "nobody\n".repeat(10_000));
        let report = read(&text).expect_err("must be refused");
        assert_eq!(report.problems().len(), limits::CONTRADICTIONS_MAX);
    }

    #[test]
    fn users_of_the_configuration_are_judged_with_it() {
        let text = STATED.replace("policy = \"sales\"", "policy = \"sale\"");
        let report = super::super::parse(Path::new("e.toml"), &text).expect_err("refused");
        let told = report.to_string();
        assert!(told.contains("there is no external access policy `sale`"), "{told}");
        assert!(told.contains("did you mean \"sales\"?"), "{told}");
    }

    #[test]
    fn the_same_statements_make_the_same_directory() {
        let text = "uri,policy\nkim@contoso.example,sales\n";
        assert_eq!(read(text).unwrap(), read(text).unwrap());
        let other = "uri,policy\nlee@contoso.example,sales\n";
        assert_ne!(read(text).unwrap(), read(other).unwrap());
    }
}
