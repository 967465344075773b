//! The own user's policy: by user, site and for all, both ways, with its line.

use super::*;

/// Policies and users after the partners of [`TEXT`], whose last line is 22.
const POLICIES: &str = r#"[[external_access_policy]]
name = "global"
federation = true
[[external_access_policy]]
name = "site:dublin"
public_im = true
[[external_access_policy]]
name = "sales"
federation = true
xmpp = true
outside = true
[[user]]
uri = "kim@contoso.example"
site = "dublin"
policy = "sales"
home = "sba"
[[user]]
uri = "lee@contoso.example"
site = "dublin"
"#;

fn text() -> String {
    format!("{TEXT}{POLICIES}")
}

/// The line of `text` that begins with `start`, counted from 1, from the `nth` on.
fn line_of(text: &str, start: &str, nth: usize) -> usize {
    let mut lines = text.lines().enumerate().filter(|(_, line)| line.starts_with(start));
    lines.nth(nth).unwrap().0 + 1
}

fn json(explained: &Explanation) -> serde_json::Value {
    serde_json::to_value(explained).unwrap()
}

fn gate<'a>(told: &'a serde_json::Value, gate: &str) -> &'a serde_json::Value {
    let gates = told["own_user"]["gates"].as_array().unwrap();
    gates.iter().find(|shown| shown["gate"] == gate).unwrap()
}

#[test]
fn the_policy_that_decides_is_named_with_its_line_both_ways() {
    let text = text();
    let tailspin = "sip:bob@tailspin.example";
    for (user, policy, granted, index) in [
        ("kim", "sales", "user", 2),
        ("lee", "site:dublin", "site", 1),
        ("max", "global", "all", 0),
    ] {
        let user = format!("sip:{user}@contoso.example");
        let line = line_of(&text, "[[external_access_policy]]", index);
        let place = format!("external_access_policy[{index}], e.toml:{line}");
        for (from, to, role) in
            [(tailspin, user.as_str(), "recipient"), (user.as_str(), tailspin, "sender")]
        {
            let told = json(&explained(&text, &args(from, to)));
            assert_eq!(told["own_user"]["role"], role);
            assert_eq!(told["own_user"]["policy"]["name"], policy);
            assert_eq!(told["own_user"]["policy"]["granted"], granted);
            assert_eq!(told["own_user"]["policy"]["place"], place);
            assert_eq!(gate(&told, "federation")["open"], policy != "site:dublin");
        }
    }
}

#[test]
fn a_closed_gate_stops_the_walk_at_the_user_with_its_rule() {
    let text = text();
    let refused = explained(&text, &args("sip:bob@tailspin.example", "sip:lee@contoso.example"));
    assert_eq!(stopped(&refused), Some((Screen::User, Said::Stopped)));
    assert_eq!((refused.verdict, refused.status), (Verdict::Refused, Some(403)));
    let line = line_of(&text, "[[external_access_policy]]", 1);
    let place = format!("external_access_policy[1], e.toml:{line}");
    assert_eq!(refused.place.as_deref(), Some(place.as_str()));
    let partner = refused.screens.iter().find(|step| step.screen == Screen::Partner).unwrap();
    assert_eq!(partner.place.as_deref(), Some("partner[1], e.toml:16"), "each rule at its screen");
    let step = refused.screens.iter().find(|step| step.screen == Screen::User).unwrap();
    assert_eq!(
        step.sentence,
        "the external access policy site:dublin of that user's site does not open federated \
         partners for the recipient (rule external_access_policy[1])"
    );
}

#[test]
fn a_user_who_passes_is_told_with_the_policy_that_opens() {
    let text = text();
    let passes = explained(&text, &args("sip:bob@tailspin.example", "sip:KIM@contoso.example"));
    assert_eq!(passes.verdict, Verdict::Passes);
    let printed = show::text(&passes);
    let line = line_of(&text, "[[external_access_policy]]", 2);
    let named = line_of(&text, "uri = \"kim", 0);
    for expected in [
        format!(
            "  the own user         passed   the policy sales, granted to this user, opens \
             federated partners\n{:<32}rule external_access_policy[2], e.toml:{line}\n",
            ""
        ),
        format!(
            "own user          sip:KIM@contoso.example, the recipient: named at e.toml:{named}, \
             homed on a survivable branch appliance\n"
        ),
        format!(
            "{:<18}the policy sales, granted to this user (external_access_policy[2], \
             e.toml:{line})\n",
            ""
        ),
        format!("{:<18}open: federated partners, access from outside\n", ""),
        format!(
            "{:<18}closed: XMPP partners, public IM providers, audio and video with public IM \
             providers\n",
            ""
        ),
    ] {
        assert!(printed.contains(&expected), "{expected}\n{printed}");
    }
    let xmpp = json(&passes);
    assert_eq!(
        gate(&xmpp, "xmpp")["why"],
        "the recipient is homed on a survivable branch appliance, which does not do XMPP partners"
    );
}

#[test]
fn a_mark_of_an_inner_server_counts_as_users_marks_says() {
    // A stated address, so that the walk comes to the user.
    let answers = || answers("tailspin.example", Some("sip.tailspin.example"));
    let judge = |count: &str, user: &str, mark: Vec<Mark>| {
        let text = format!("{}[users]\nmarks = \"{count}\"\n", text());
        let config = read(&text);
        let user = format!("sip:{user}@contoso.example");
        let args = Args { mark, ..args(&user, "sip:bob@tailspin.example") };
        let (from, to) = (party(&args.from).unwrap(), party(&args.to[0]).unwrap());
        case(&args, &config, (&from, &to), Direction::Out, answers()).conclude(None).verdict
    };
    let (open, closed) = (vec![Mark::Federation(true)], vec![Mark::Federation(false)]);
    assert_eq!(judge("decide", "lee", Vec::new()), Verdict::Refused);
    assert_eq!(judge("decide", "lee", open.clone()), Verdict::Passes);
    assert_eq!(judge("decide", "kim", closed.clone()), Verdict::Refused);
    assert_eq!(judge("restrict", "lee", open.clone()), Verdict::Refused);
    assert_eq!(judge("restrict", "kim", closed.clone()), Verdict::Refused);
    assert_eq!(judge("ignore", "lee", open), Verdict::Refused);
    assert_eq!(judge("ignore", "kim", closed), Verdict::Passes);
}

#[test]
fn a_sender_who_may_nothing_is_told_before_dns_is_asked() {
    let text = text().replace("public_im = true\n", "");
    let undecided = explained(&text, &args("sip:lee@contoso.example", "sip:bob@fabrikam.example"));
    assert_eq!(undecided.verdict, Verdict::Undecided);
    assert!(
        undecided.sentence.contains("; whatever it says, the external access policy site:dublin"),
        "{}",
        undecided.sentence
    );
}

#[test]
fn a_user_outside_needs_the_gate_for_that() {
    let text = format!("{}[remote_users]\nenabled = true\n", text());
    let told = |user: &str| {
        let direction = Some(Direction::User);
        let args = Args { direction, ..args(&format!("sip:{user}@contoso.example"), ALICE) };
        explained(&text, &args)
    };
    assert_eq!(told("kim").verdict, Verdict::Passes);
    let refused = told("max");
    assert_eq!(stopped(&refused), Some((Screen::User, Said::Stopped)));
    assert!(refused.diagnostics.clone().unwrap().contains("4003"), "{:?}", refused.diagnostics);
}

#[test]
fn a_user_of_the_list_is_found_in_its_file() {
    let directory = tempfile::tempdir().unwrap();
    let list = "\u{feff}uri,policy\n# a remark\nmax@contoso.example,sales\n";
    std::fs::write(directory.path().join("users.csv"), list).unwrap();
    let path = directory.path().join("e.toml");
    std::fs::write(&path, format!("{}[users]\nfile = \"users.csv\"\n", text())).unwrap();
    let config = config::load(&path).unwrap_or_else(|report| panic!("{report}"));
    let args = args("sip:bob@tailspin.example", "sip:Max@contoso.example");
    let (from, to) = (party(&args.from).unwrap(), party(&args.to[0]).unwrap());
    let told = json(&explain(&args, &config, &from, &to).unwrap());
    assert_eq!(told["own_user"]["policy"]["granted"], "user");
    let expected = format!("{}:3", directory.path().join("users.csv").display());
    assert_eq!(told["own_user"]["named_at"], expected);
}

#[test]
fn an_escaped_user_is_the_same_user() {
    let text = text();
    let told =
        json(&explained(&text, &args("sip:bob@tailspin.example", "sip:k%69m@contoso.example")));
    assert_eq!(told["own_user"]["policy"]["name"], "sales");
    let line = line_of(&text, "uri = \"kim", 0);
    assert_eq!(told["own_user"]["named_at"], format!("e.toml:{line}"));
}

#[test]
fn without_any_policy_all_gates_stand_open() {
    let told = explained(TEXT, &args("sip:bob@tailspin.example", ALICE));
    let printed = show::text(&told);
    let expected = "own user          sip:alice@contoso.example, the recipient: named nowhere\n";
    assert!(printed.contains(expected), "{printed}");
    assert!(printed.contains("no external access policy: all gates stand open\n"), "{printed}");
}
