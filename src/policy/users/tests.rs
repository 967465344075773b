//! Who may do what: precedence, marks, branch appliances, and the answers.

use super::*;

fn policy(name: &str, open: &[Gate]) -> AccessPolicy {
    let has = |gate| open.contains(&gate);
    AccessPolicy {
        name: name.to_owned(),
        federation: has(Gate::Federation),
        xmpp: has(Gate::Xmpp),
        public_im: has(Gate::PublicIm),
        public_av: has(Gate::PublicAv),
        outside: has(Gate::Outside),
    }
}

fn policies() -> Vec<AccessPolicy> {
    vec![
        policy("global", &[Gate::Outside]),
        policy("site:redmond", &[Gate::Federation, Gate::Outside]),
        policy("sales", &[Gate::Federation, Gate::Xmpp, Gate::PublicIm, Gate::PublicAv]),
        policy("none", &[]),
    ]
}

fn directory(marks: MarksCount, users: &[(&str, &str, &str, Home)]) -> Directory {
    let mut builder = DirectoryBuilder::new([1, 2], policies(), marks, users.len());
    for (user, site, policy, home) in users {
        builder.add(user, "contoso.example", site, policy, *home).unwrap();
    }
    builder.finish()
}

fn sends(directory: &Directory, user: &str, gate: Gate) -> Result<(), Closed> {
    let (user, host) = (user.as_bytes(), b"contoso.example");
    directory.judge(user, host, gate, Role::Sender, Marks::default())
}

#[test]
fn s5_5_a_policy_of_the_user_wins_over_that_of_his_site_over_the_global_one() {
    let of_site = ("site", "redmond", "", Home::Pool);
    let of_user = ("user", "redmond", "none", Home::Pool);
    let elsewhere = ("elsewhere", "dublin", "", Home::Pool);
    let directory = directory(MarksCount::Decide, &[of_site, of_user, elsewhere]);
    assert_eq!(sends(&directory, "site", Gate::Federation), Ok(()));
    let closed = sends(&directory, "user", Gate::Federation).unwrap_err();
    assert_eq!(closed.place().as_deref(), Some("external_access_policy[3]"));
    for user in ["elsewhere", "nobody.has.named.me"] {
        let closed = sends(&directory, user, Gate::Federation).unwrap_err();
        assert_eq!(closed.place().as_deref(), Some("external_access_policy[0]"), "{user}");
        assert_eq!(sends(&directory, user, Gate::Outside), Ok(()));
    }
}

#[test]
fn without_policies_every_gate_is_open() {
    let directory = Directory::default();
    assert!(directory.is_open());
    for gate in [Gate::Federation, Gate::Xmpp, Gate::PublicIm, Gate::PublicAv, Gate::Outside] {
        assert_eq!(sends(&directory, "kim", gate), Ok(()));
    }
}

#[test]
fn a_user_is_found_in_any_case_and_nobody_else_is() {
    let directory = directory(MarksCount::Decide, &[("kim", "", "sales", Home::Pool)]);
    let found = |user: &[u8], host: &[u8]| {
        directory.judge(user, host, Gate::Federation, Role::Recipient, Marks::default()).is_ok()
    };
    assert!(found(b"Kim", b"CONTOSO.example."));
    assert!(!found(b"kim", b"fabrikam.example"));
    assert!(!found(b"ki", b"m@contoso.example"));
    assert!(!found(b"", b""));
}

#[test]
fn s7_2_a_user_on_a_branch_appliance_has_no_xmpp_and_all_else() {
    let branch = ("kim", "", "sales", Home::BranchAppliance);
    let pool = ("lee", "", "sales", Home::Pool);
    let directory = directory(MarksCount::Decide, &[branch, pool]);
    assert_eq!(sends(&directory, "lee", Gate::Xmpp), Ok(()));
    assert_eq!(sends(&directory, "kim", Gate::Federation), Ok(()));
    let closed = sends(&directory, "kim", Gate::Xmpp).unwrap_err();
    assert_eq!(
        closed.sentence(),
        "the sender is homed on a survivable branch appliance, which does not do XMPP partners"
    );
    assert_eq!((closed.status(), closed.diagnostics()), (403, 1002));
}

#[test]
fn marks_of_an_inner_server_count_as_configured() {
    let judge = |count, policy, federation| {
        let directory = directory(count, &[("kim", "", policy, Home::Pool)]);
        let marks = Marks { federation, public_im: None };
        let (user, host) = (b"kim", b"contoso.example");
        directory.judge(user, host, Gate::Federation, Role::Sender, marks).is_ok()
    };
    for (count, closed_but_marked, open_but_marked) in [
        (MarksCount::Decide, true, false),
        (MarksCount::Restrict, false, false),
        (MarksCount::Ignore, false, true),
    ] {
        assert_eq!(judge(count, "none", Some(true)), closed_but_marked, "{count:?}");
        assert_eq!(judge(count, "sales", Some(false)), open_but_marked, "{count:?}");
        assert!(judge(count, "sales", None) && !judge(count, "none", None), "{count:?}");
    }
}

#[test]
fn a_mark_opens_no_narrower_gate_than_its_own() {
    let policies = vec![policy("im only", &[Gate::Federation, Gate::PublicIm])];
    let mut builder = DirectoryBuilder::new([1, 2], policies, MarksCount::Decide, 1);
    builder.add("kim", "contoso.example", "", "im only", Home::Pool).unwrap();
    let directory = builder.finish();
    let judge = |gate, public_im| {
        let marks = Marks { public_im, federation: None };
        directory.judge(b"kim", b"contoso.example", gate, Role::Sender, marks).is_ok()
    };
    assert!(judge(Gate::PublicIm, Some(true)));
    assert!(!judge(Gate::PublicAv, Some(true)), "the mark is of messages");
    assert!(!judge(Gate::PublicAv, Some(false)) && !judge(Gate::PublicIm, Some(false)));
}

#[test]
fn s12_2_each_gate_has_its_answer() {
    let directory = directory(
        MarksCount::Decide,
        &[("none", "", "none", Home::Pool), ("site", "redmond", "", Home::Pool)],
    );
    let told = |user: &str, gate, role| {
        let closed = directory
            .judge(user.as_bytes(), b"contoso.example", gate, role, Marks::default())
            .unwrap_err();
        (closed.status(), closed.diagnostics(), closed.reason())
    };
    let sender = Role::Sender;
    assert_eq!(
        told("none", Gate::Federation, sender),
        (403, 1012, "From URI not authorized outside the enterprise")
    );
    assert_eq!(
        told("none", Gate::Federation, Role::Recipient),
        (403, 1002, "User not authorized for federation")
    );
    assert_eq!(
        told("site", Gate::PublicIm, sender),
        (403, 1001, "From URI not authorized for public IM")
    );
    assert_eq!(
        told("site", Gate::Xmpp, sender),
        (403, 1002, "From URI not authorized for federation")
    );
    assert_eq!(told("none", Gate::Outside, sender), (403, 4003, "Remote access is not enabled"));
}

#[test]
fn a_sentence_names_the_policy_and_not_the_user() {
    let directory = directory(MarksCount::Decide, &[("kim", "redmond", "", Home::Pool)]);
    let closed = sends(&directory, "kim", Gate::PublicIm).unwrap_err();
    assert_eq!(
        closed.sentence(),
        "the external access policy site:redmond of that user's site does not open public IM \
         providers for the sender (rule external_access_policy[1])"
    );
}

#[test]
fn what_cannot_be_taken_up_is_refused() {
    let mut builder = DirectoryBuilder::new([1, 2], policies(), MarksCount::Decide, 2);
    let mut add = |user, policy| builder.add(user, "contoso.example", "", policy, Home::Pool);
    assert_eq!(add("kim", "sails"), Err(DirectoryFault::UnknownPolicy("sails".to_owned())));
    for of_many in ["global", "site:redmond"] {
        assert_eq!(add("kim", of_many), Err(DirectoryFault::NotGranted(of_many.to_owned())));
    }
    assert_eq!(add("kim", "sales"), Ok(()));
    assert_eq!(add("KIM", "none"), Err(DirectoryFault::Twice));
    assert_eq!(add("lee", ""), Ok(()));
    assert_eq!(add("max", ""), Ok(()), "a little room is left over");
    assert_eq!(add("ned", ""), Err(DirectoryFault::Full));
}

#[test]
fn many_users_are_found_in_few_bytes() {
    const USERS: usize = 50_000;
    let mut builder = DirectoryBuilder::new([1, 2], policies(), MarksCount::Decide, USERS);
    for number in 0..USERS {
        let policy = if number % 2 == 0 { "sales" } else { "none" };
        builder.add(&format!("u{number}"), "contoso.example", "", policy, Home::Pool).unwrap();
    }
    let directory = builder.finish();
    assert_eq!(directory.len(), USERS);
    assert!(directory.memory_bytes() <= 14 * USERS, "{}", directory.memory_bytes());
    for number in (0..USERS).step_by(97) {
        let may = sends(&directory, &format!("u{number}"), Gate::Federation).is_ok();
        assert_eq!(may, number % 2 == 0, "{number}");
    }
}

#[test]
fn a_uri_is_a_user_at_a_domain() {
    let (user, domain) = user_and_domain("SIP:Kim.Abercrombie@Contoso.example").unwrap();
    assert_eq!((user.as_str(), domain.as_str()), ("kim.abercrombie", "contoso.example"));
    assert!(user_and_domain("kim@contoso.example").is_some());
    for wrong in
        ["", "kim", "@contoso.example", "k im@contoso.example", "a@b@c.example", "k;x@c.example"]
    {
        assert_eq!(user_and_domain(wrong), None, "{wrong}");
    }
}
