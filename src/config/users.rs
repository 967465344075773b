//! Users with policies of their own: those of the configuration and those of a CSV file.
//!
//! ```text
//! uri, site, policy, home
//! kim@contoso.example, redmond, sales, pool
//! lee@contoso.example, dublin, , sba
//! ```
//!
//! Read as every list is ([`csv`]); only the column `uri` must be there.

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;

use super::csv::{self, Columns, Row};
use super::report::{Code, Problem, Report, Source};
use super::{Config, shape, suggest};
use crate::dns::Domain;
use crate::policy::users::{AccessPolicy, Directory, DirectoryBuilder, DirectoryFault, Home};

const COLUMNS: Columns = Columns {
    known: &["uri", "site", "policy", "home"],
    needed: "uri",
    example: "uri,site,policy,home",
};

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
/// [`Report`] on the lines of the file, at most [`crate::limits::LIST_PROBLEMS_MAX`].
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
    csv::find(&text, &COLUMNS, |row| {
        let (_, uri) = row.field("uri")?;
        let listed = shape::read_user(&uri).ok()?;
        is_he(&listed).then(|| format!("{}:{}", path.display(), row.line()))
    })
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

fn add_listed(
    config: &Config,
    text: &str,
    builder: &mut DirectoryBuilder,
    problems: &mut Vec<Problem>,
) {
    let own: HashSet<&Domain> = config.edge.domains.iter().collect();
    problems.extend(csv::read(text, &COLUMNS, |row| add_row(config, &own, row, builder)));
}

fn add_row(
    config: &Config,
    own: &HashSet<&Domain>,
    row: &mut Row<'_, '_>,
    builder: &mut DirectoryBuilder,
) -> Option<()> {
    let shape::User { user, domain } = row.needed("uri", shape::read_user)?;
    if !own.contains(&domain) {
        let message = format!("line {}: {domain} is not an own domain", row.line());
        let span = Some(row.span("uri"));
        row.tell(Problem::new(Code::Malformed, span, message, "not served here"));
        return None;
    }
    let homes = [("pool", Home::Pool), ("sba", Home::BranchAppliance)];
    let home = row.one_of("home", &homes)?.unwrap_or(Home::Pool);
    let added = {
        let text = |column| row.field(column).map(|(_, text)| text).unwrap_or_default();
        builder.add(&user, domain.as_str(), &text("site"), &text("policy"), home)
    };
    added
        .map_err(|fault| {
            let column = if fault == DirectoryFault::Twice { "uri" } else { "policy" };
            row.tell(problem(config, Some(row.span(column)), &fault));
        })
        .ok()
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
                    ,kim@contoso.example,sales\r\nsba, sip:Lee@Contoso.example ,\"sales\"\r\n\
                    \"pool\",\"max@contoso.example\",\r\n";
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
            ("uri\nkim@fabrikam.example\n", "line 2: fabrikam.example is not an own domain"),
            ("uri\nkim\n", "line 2: `kim` is no uri"),
            ("uri,home\nkim@contoso.example,boat\n", "line 2: `home` cannot be `boat`"),
            ("uri,home\nkim@contoso.example\n", "1 fields in a list of 2 columns"),
            ("uri\n\"kim@contoso.example\n", "a quote is opened and not closed on its line"),
            ("site,uri\nredmond,\n", "line 2: the uri is missing"),
            ("uri\nkim@contoso.example\nKIM@contoso.example\n", "this user is given twice"),
            ("uri\nann@contoso.example\n", "this user is given twice"),
            (
                "uri,policy\nkim@contoso.example,global\n",
                "`global` is the policy of a site or of all",
            ),
            ("url\n", "there is no column `url`"),
            ("site,policy\n", "the first line names no column `uri`"),
            ("uri,uri\n", "the column `uri` is named twice"),
        ] {
            let report = refused(text);
            assert!(report.contains(told), "{text:?}: {report}");
        }
    }

    #[test]
    fn only_so_many_wrong_lines_are_told() {
        let text = format!("uri\n{}", "nobody\n".repeat(10_000));
        let report = read(&text).expect_err("must be refused");
        assert_eq!(report.problems().len(), crate::limits::LIST_PROBLEMS_MAX);
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
