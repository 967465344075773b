use super::*;
use crate::policy::compile;
use crate::policy::fixture::{domain, rules, snapshot};

const TODAY: Now = Now { monotonic: Monotonic(0), unix_s: 1_400_000_000 };

fn with(partners: Vec<XmppPartner>) -> Rules {
    let xmpp = XmppRules { partners, ..XmppRules::default() };
    Rules { xmpp, ..rules(Vec::new()) }
}

fn ours() -> Domain {
    domain("contoso.example")
}

fn refused(rules: Rules) -> Vec<String> {
    let found = compile(rules, 1).expect_err("contradicts itself");
    found.iter().map(ToString::to_string).collect()
}

/// The table of lync-federation 7.3 with its contradictions resolved as in 11.
#[test]
fn the_matrix_is_the_guides_with_its_contradictions_resolved() {
    use Negotiation::{NotSupported as N, Optional as O, Required as R};
    // TLS, SASL, dialback: SASL EXTERNAL, dialback over TLS, dialback in the clear.
    let rows = [
        (R, R, true, "s"),
        (R, R, false, "s"),
        (R, O, true, "s t"),
        (R, O, false, "s"),
        (R, N, true, "t"),
        (R, N, false, ""),
        (O, R, true, "s t d"),
        (O, R, false, "s"),
        (O, O, true, "s t d"),
        (O, O, false, "s"),
        (O, N, true, "t d"),
        (O, N, false, ""),
        (N, R, true, ""),
        (N, R, false, ""),
        (N, O, true, ""),
        (N, O, false, ""),
        (N, N, true, "d"),
        (N, N, false, ""),
    ];
    for (tls, sasl, dialback, expected) in rows {
        let methods = Methods::of(tls, sasl, dialback);
        let written =
            [(methods.external, "s"), (methods.dialback_tls, "t"), (methods.dialback_clear, "d")];
        let written: Vec<&str> =
            written.into_iter().filter(|(there, _)| *there).map(|(_, word)| word).collect();
        assert_eq!(written.join(" "), expected, "{tls:?} {sasl:?} {dialback}");
        assert_eq!(methods.any(), !expected.is_empty());
    }
}

#[test]
fn every_domain_of_a_partner_is_found_and_nothing_below_one() {
    let mut partner = XmppPartner::new(domain("partner.example"));
    partner.additional = vec![domain("chat.partner.example"), domain("partner.test")];
    let others = (0..3_000).map(|n| XmppPartner::new(domain(&format!("p{n}.example"))));
    let snapshot = snapshot(with(others.chain([partner]).collect()));
    for name in ["partner.example", "chat.partner.example", "partner.test"] {
        let permit = snapshot.xmpp(TODAY, &ours(), &domain(name)).unwrap();
        assert_eq!((permit.partner(), permit.epoch()), (XmppKey(3_000), 7), "{name}");
    }
    for name in ["conference.partner.example", "example.test", "xpartner.example"] {
        let refused = snapshot.xmpp(TODAY, &ours(), &domain(name));
        assert_eq!(refused, Err(XmppRefusal::NotListed), "{name}");
    }
}

#[test]
fn the_first_rule_that_refuses_is_told() {
    let partner = || XmppPartner::new(domain("mail.litware.example"));
    let mut rules = with(vec![partner()]);
    rules.blocked.push(crate::policy::Pattern::Below(domain("litware.example")));
    let decided = |rules: &Rules, ours: &str, theirs: &str| {
        snapshot(rules.clone()).xmpp(TODAY, &domain(ours), &domain(theirs)).unwrap_err()
    };
    let listed = "mail.litware.example";
    assert_eq!(decided(&rules, "contoso.example", listed), XmppRefusal::Blocked);
    assert_eq!(decided(&rules, "elsewhere.example", "x.example"), XmppRefusal::NotOurs);
    rules.blocked.clear();
    rules.federation.enabled = false;
    assert_eq!(decided(&rules, "contoso.example", listed), XmppRefusal::FederationOff);
}

#[test]
fn an_entry_ends_with_its_last_day() {
    let day = Date::of_unix_s(TODAY.unix_s);
    let mut partner = XmppPartner::new(domain("partner.example"));
    partner.expires = Some(day);
    let snapshot = snapshot(with(vec![partner]));
    let theirs = domain("partner.example");
    let permit = snapshot.xmpp(TODAY, &ours(), &theirs).unwrap();
    assert_eq!(permit.valid_until(), day.end(TODAY));
    let tomorrow = Now { unix_s: day.end_unix_s(), ..TODAY };
    assert_eq!(snapshot.xmpp(tomorrow, &ours(), &theirs), Err(XmppRefusal::Expired));
}

#[test]
fn a_key_is_carried_over_by_the_primary_domain() {
    let partner = |name: &str| XmppPartner::new(domain(name));
    let older = snapshot(with(vec![partner("a.example"), partner("b.example")]));
    let mut taken = partner("c.example");
    taken.additional = vec![domain("a.example")];
    let newer = snapshot(with(vec![taken, partner("b.example")]));
    assert_eq!(newer.xmpp_carry_over(&older, XmppKey(1)), Some(XmppKey(1)));
    assert_eq!(newer.xmpp_carry_over(&older, XmppKey(0)), None, "another partner has it");
    assert_eq!(older.xmpp_carry_over(&newer, XmppKey(0)), None);
}

#[test]
fn what_contradicts_itself_is_refused_in_a_sentence() {
    let partner = |name: &str| XmppPartner::new(domain(name));
    let mut second = partner("b.example");
    second.additional = vec![domain("a.example")];
    assert_eq!(
        refused(with(vec![partner("a.example"), second])),
        ["XMPP partner a.example is listed twice (xmpp_partner[0] and xmpp_partner[1])"]
    );
    assert_eq!(
        refused(with(vec![partner("contoso.example")])),
        ["own domain contoso.example is listed as a partner (xmpp_partner[0])"]
    );
    assert_eq!(
        refused(with(vec![partner("litware.example")])),
        ["litware.example is both allowed (xmpp_partner[0]) and blocked (blocked[0])"]
    );
    let mut mute = partner("a.example");
    (mute.tls, mute.sasl) = (Negotiation::NotSupported, Negotiation::Optional);
    assert_eq!(
        refused(with(vec![mute])),
        ["XMPP partner a.example cannot prove its domain: no way is left by its entry \
          (xmpp_partner[0])"]
    );
}

#[test]
fn the_gateway_is_a_next_hop_that_serves_no_own_domain() {
    let mut rules = with(Vec::new());
    rules.xmpp.gateway_hops = vec![NextHop::new(domain("gw.contoso.example"))];
    let snapshot = snapshot(rules);
    assert_eq!(snapshot.gateway_hops(), 1..2);
    assert_eq!(snapshot.next_hops()[1].name, domain("gw.contoso.example"));
    assert_eq!(snapshot.next_hop_for(&ours()), Some(0));
}
