use super::*;
use crate::limits;

fn partners(text: &str) -> Result<PartnerList, Report> {
    PartnerList::parse(Path::new("partners.csv"), text.to_owned())
}

#[track_caller]
fn read_partners(text: &str) -> PartnerList {
    partners(text).unwrap_or_else(|report| panic!("{report}"))
}

/// Returns message, label and place of the only problem.
#[track_caller]
fn wrong(text: &str) -> (String, String, Option<(usize, usize)>) {
    let report = partners(text).expect_err("must be refused");
    assert_eq!(report.problems().len(), 1, "{report}");
    let problem = &report.problems()[0];
    let place = problem.span.as_ref().map(|span| report.source().line_and_column(span.start));
    (problem.message.clone(), problem.label.clone(), place)
}

fn domain(text: &str) -> Domain {
    Domain::parse(text.as_bytes()).unwrap()
}

#[test]
fn a_row_is_a_partner_and_knows_its_line() {
    let list = read_partners(
        "# our partners\n\
         owner,domain,edge,port,expires\n\
         \n\
         uc team,Fabrikam.example,,,\n\
         \"a \"\"b\"\", c\",*.tailspin.example,sip.tailspin.example,5071,2027-12-31\r\n",
    );
    assert_eq!(list.rows.len(), 2);
    assert_eq!(list.rows[0].domain, Pattern::Exact(domain("fabrikam.example")));
    assert_eq!((list.rows[0].edge.as_ref(), list.rows[0].port, list.rows[0].line), (None, 5061, 4));
    assert_eq!(list.rows[1].domain, Pattern::Below(domain("tailspin.example")));
    assert_eq!(list.rows[1].edge, Some(domain("sip.tailspin.example")));
    assert_eq!((list.rows[1].port, list.rows[1].line), (5071, 5));
    assert_eq!(list.terms.len(), 2);
    assert_eq!(list.terms[list.rows[1].terms as usize].expires, Date::new(2027, 12, 31));
    assert_eq!(list.whereabouts(1).as_deref(), Some("partners.csv:5"));
    assert_eq!(list.whereabouts(2), None);
}

#[test]
fn names_are_kept_as_a_labels() {
    let list = read_partners("domain\nmünchen.example\nXN--MNCHEN-3YA.other.example\n");
    assert_eq!(list.rows[0].domain.to_string(), "xn--mnchen-3ya.example");
    assert_eq!(list.rows[1].domain.to_string(), "xn--mnchen-3ya.other.example");
}

#[test]
fn rows_that_say_the_same_share_their_terms() {
    let list = read_partners(
        "domain,verification,names,version,srv_target,require_client_eku\n\
         a.example,never,both,ocs2007r2,same_domain,true\n\
         b.example,never,both,ocs2007r2,same_domain,true\n\
         c.example,,,,,\n",
    );
    assert_eq!(list.terms.len(), 2);
    assert_eq!(list.rows[0].terms, list.rows[1].terms);
    let terms = &list.terms[list.rows[0].terms as usize];
    assert_eq!(terms.version, Some(Version::Ocs2007R2));
    assert_eq!((terms.names, terms.verification), (PeerName::Both, Verification::Never));
    assert!(terms.require_client_eku);
    assert_eq!(list.terms[list.rows[2].terms as usize], RowTerms::unsaid());
}

#[test]
fn a_row_has_the_limits_and_demands_that_a_key_of_the_same_name_states() {
    let list = read_partners(
        "domain,messages_per_s,distinct_users,revocation,common_name\n\
         a.example,100,0,hard,true\n\
         b.example,,,,\n",
    );
    let terms = RowTerms {
        messages_per_s: Some(100),
        distinct_users: Some(0),
        revocation: Some(Revocation::Hard),
        common_name: true,
        ..RowTerms::unsaid()
    };
    assert_eq!(list.terms, [terms, RowTerms::unsaid()]);
}

#[test]
fn a_list_without_a_row_is_an_empty_one() {
    assert_eq!(read_partners("").rows, []);
    assert_eq!(read_partners("domain\n").rows, []);
    assert_eq!(read_partners("# nobody\n").rows, []);
}

#[test]
fn a_wrong_field_is_told_with_line_and_column() {
    let cases = [
        (
            "domain\nlit ware.example\n",
            "line 2: `lit ware.example` is no domain",
            "expected letters, digits and hyphens, such as contoso.example",
            (2, 1),
        ),
        (
            "domain,edge\na.example,192.0.2.1\n",
            "line 2: `192.0.2.1` is no edge",
            "expected a name, not an address",
            (2, 11),
        ),
        (
            "domain,edge,port\na.example,sip.a.example,70000\n",
            "line 2: `70000` is no port",
            "expected 1 to 65535",
            (2, 25),
        ),
        (
            "domain,expires\n\na.example,2027-02-30\n",
            "line 3: `2027-02-30` is no expires",
            "expected YYYY-MM-DD",
            (3, 11),
        ),
        (
            "domain,version\na.example,lync2016\n",
            "line 2: `version` cannot be `lync2016`",
            "expected one of: ocs2007, ocs2007r2, lync2010, lync2013, other",
            (2, 11),
        ),
        ("domain,edge\n,sip.a.example\n", "line 2: the domain is missing", "in this row", (2, 1)),
        (
            "domain,messages_per_s\na.example,0\n",
            "line 2: `0` is no messages_per_s",
            "expected 1 to 1000000",
            (2, 11),
        ),
        (
            "domain,distinct_users\na.example,10001\n",
            "line 2: `10001` is no distinct_users",
            "expected 0 to 10000",
            (2, 11),
        ),
        (
            "domain,revocation,common_name\na.example,firm,\n",
            "line 2: `revocation` cannot be `firm`",
            "expected one of: off, soft, hard",
            (2, 11),
        ),
        (
            "domain,revocation,common_name\na.example,,yes\n",
            "line 2: `common_name` cannot be `yes`",
            "expected one of: true, false",
            (2, 12),
        ),
        (
            "domain,port\na.example,5061\n",
            "line 2: the port of an allowed domain comes from its SRV record",
            "has no effect",
            (2, 11),
        ),
        (
            "domain,edge,srv_target\na.example,sip.a.example,strict\n",
            "line 2: an allowed server is not looked up by SRV",
            "has no effect",
            (2, 25),
        ),
        (
            "domain,distinct_users\n*.a.example,5\n",
            "line 2: a limit counts one domain, not what lies below it",
            "has no effect",
            (2, 13),
        ),
        (
            "domain,edge\na.example\n",
            "1 fields in a list of 2 columns",
            "expected one field for each column",
            (2, 1),
        ),
        (
            "domain,owner\na.example,\"uc team\n",
            "a quote is opened and not closed on its line",
            "opened here",
            (2, 11),
        ),
        (
            "domain,owner\na.example,\"uc\" team\n",
            "text after a quoted field",
            "expected a comma after the quote",
            (2, 11),
        ),
        (
            "domain\n*a.example\n",
            "line 2: `*a.example` is no domain",
            "the star stands for whole labels: *.contoso.example",
            (2, 1),
        ),
        ("domain,domain\n", "the column `domain` is named twice", "named again", (1, 8)),
        (
            "edge\nsip.a.example\n",
            "the first line names no column `domain`",
            "expected the columns",
            (1, 1),
        ),
    ];
    for (text, message, label, place) in cases {
        assert_eq!(wrong(text), (message.to_owned(), label.to_owned(), Some(place)), "{text}");
    }
}

#[test]
fn an_unknown_column_is_shown_like_a_compiler_does() {
    let report = partners("domain,ower\na.example,x\n").unwrap_err().to_string();
    let expected = "\
error[config-unknown-key]: there is no column `ower`
 --> partners.csv:1:8
  |
1 | domain,ower
  |        ^^^^ unknown column
  |
  = help: did you mean `owner`?

partners.csv: 1 problem; nothing was changed
";
    assert_eq!(report, expected);
}

#[test]
fn a_file_of_wrong_rows_is_not_read_to_its_end() {
    let text = format!("domain\n{}", "not a name\n".repeat(limits::LIST_PROBLEMS_MAX * 2));
    assert_eq!(partners(&text).unwrap_err().problems().len(), limits::LIST_PROBLEMS_MAX);
}

#[test]
fn blocked_domains_are_a_list_too() {
    let text = "domain,ticket\nlitware.example,SEC-7\n*.bad.example,\n".to_owned();
    let list = BlockedList::parse(Path::new("blocked.csv"), text).unwrap();
    let bad = Pattern::Below(domain("bad.example"));
    assert_eq!(list.rows, [(Pattern::Exact(domain("litware.example")), 2), (bad, 3)]);
    assert_eq!(list.whereabouts(1).as_deref(), Some("blocked.csv:3"));
    let text = "domain,edge\n".to_owned();
    assert!(BlockedList::parse(Path::new("blocked.csv"), text).is_err());
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let report = PartnerList::load(Path::new("/nowhere/p.csv")).unwrap_err().to_string();
    assert!(report.contains("cannot read /nowhere/p.csv: No such file"), "{report}");
}
