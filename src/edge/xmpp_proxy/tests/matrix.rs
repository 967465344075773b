//! The matrix of TLS, SASL and dialback, each row in both directions (lync-federation 7.3).

use super::world::*;
use crate::edge::LegId;
use crate::policy::Negotiation::{self, NotSupported, Optional, Required};
use crate::policy::{Methods, Rules};

const TARGET: &str = "192.0.2.60";

/// Rows that policy does not refuse, with the methods they amount to: by certificate, dialback
/// over TLS, dialback in the clear.
const ROWS: [(Negotiation, Negotiation, bool, [bool; 3]); 11] = [
    (Required, Required, true, [true, false, false]),
    (Required, Required, false, [true, false, false]),
    (Required, Optional, true, [true, true, false]),
    (Required, Optional, false, [true, false, false]),
    (Required, NotSupported, true, [false, true, false]),
    (Optional, Required, true, [true, true, true]),
    (Optional, Required, false, [true, false, false]),
    (Optional, Optional, true, [true, true, true]),
    (Optional, Optional, false, [true, false, false]),
    (Optional, NotSupported, true, [false, true, true]),
    (NotSupported, NotSupported, true, [false, false, true]),
];

const REFUSED: [(Negotiation, Negotiation, bool); 7] = [
    (Required, NotSupported, false),
    (Optional, NotSupported, false),
    (NotSupported, Required, true),
    (NotSupported, Required, false),
    (NotSupported, Optional, true),
    (NotSupported, Optional, false),
    (NotSupported, NotSupported, false),
];

fn rules_of(tls: Negotiation, sasl: Negotiation, dialback: bool) -> Rules {
    let mut rules = rules();
    let mut row = partner("row.example");
    (row.tls, row.sasl, row.dialback) = (tls, sasl, dialback);
    rules.xmpp.partners.push(row);
    rules
}

fn said(answer: &str) -> [bool; 3] {
    let has = |text: &str| answer.contains(text);
    [has("<starttls"), has("<mechanism>EXTERNAL"), has("urn:xmpp:features:dialback")]
}

/// What the proxy offers row.example on `leg`.
fn offers(world: &mut World, leg: LegId) -> [bool; 3] {
    said(&world.say(leg, &header("row.example", "contoso.example")))
}

#[test]
fn each_row_offers_a_partner_what_it_allows() {
    for (tls, sasl, dialback, [external, over_tls, in_the_clear]) in ROWS {
        let row = format!("{tls:?} {sasl:?} {dialback}");
        let mut world = World::with(rules_of(tls, sasl, dialback));
        let any_tls = external || over_tls;
        let clear = world.server();
        assert_eq!(offers(&mut world, clear), [any_tls, false, in_the_clear], "{row}, clear");
        let certified = world.tls_server(&["row.example"]);
        assert_eq!(offers(&mut world, certified), [false, external, over_tls], "{row}, names");
        let anonymous = world.tls_server(&[]);
        assert_eq!(offers(&mut world, anonymous), [false, false, over_tls], "{row}, no names");
    }
}

#[test]
fn each_row_takes_from_a_partner_what_it_offers_and_nothing_else() {
    for (tls, sasl, dialback, [external, over_tls, in_the_clear]) in ROWS {
        let row = format!("{tls:?} {sasl:?} {dialback}");
        let mut world = World::with(rules_of(tls, sasl, dialback));
        let claim = "<db:result from='row.example' to='contoso.example'>k</db:result>";
        let clear = world.server();
        offers(&mut world, clear);
        assert_eq!(world.say(clear, claim).is_empty(), in_the_clear, "{row}: asks, in the clear");
        let anonymous = world.tls_server(&[]);
        offers(&mut world, anonymous);
        assert_eq!(world.say(anonymous, claim).is_empty(), over_tls, "{row}: asks, over TLS");
        assert!(!world.say(anonymous, AUTH).contains("<success"), "{row}: no certificate");
        let certified = world.tls_server(&["row.example"]);
        offers(&mut world, certified);
        assert_eq!(world.say(certified, AUTH).contains("<success"), external, "{row}");
    }
}

/// Opens our stream to row.example, which offers `before` in the clear and `after` over TLS.
/// Returns how our domain is proved there.
fn proves(world: &mut World, before: &str, after: &str, hosts: &[&str]) -> Option<&'static str> {
    let mut gateway = world.gateway("gw1.contoso.example");
    world.send(&mut gateway, "kim@contoso.example", "a@row.example", "m");
    world.resolve_to(&["xmpp.row.example"], &[TARGET], false);
    let leg = world.grant(&[]);
    world.read(leg);
    let head = |id: &str| header_with_id("row.example", "contoso.example", id);
    let mut said = world.say(leg, &(head("1") + &features(before)));
    if said.contains("<starttls") {
        said = world.say(leg, PROCEED);
        assert_eq!(said, "", "nothing in the clear behind STARTTLS");
        world.secure(leg, hosts);
        world.read(leg);
        said = world.say(leg, &(head("2") + &features(after)));
        if said.contains("<auth") {
            return Some("external");
        }
        return said.contains("<db:result").then_some("dialback");
    }
    said.contains("<db:result").then_some("dialback-clear")
}

#[test]
fn each_row_proves_ours_by_the_best_way_that_the_partner_offers() {
    let tls_and_dialback = format!("{STARTTLS}{DIALBACK}");
    let all = format!("{EXTERNAL}{DIALBACK}");
    for (tls, sasl, dialback, [external, over_tls, in_the_clear]) in ROWS {
        let row = format!("{tls:?} {sasl:?} {dialback}");
        let best = match (external, over_tls, in_the_clear) {
            (true, ..) => "external",
            (_, true, _) => "dialback",
            _ => "dialback-clear",
        };
        let of = || World::with(rules_of(tls, sasl, dialback));
        let hosts = &["row.example"][..];
        assert_eq!(proves(&mut of(), &tls_and_dialback, &all, hosts), Some(best), "{row}: all");
        let no_sasl = proves(&mut of(), &tls_and_dialback, DIALBACK, hosts);
        let next = match (over_tls, external, in_the_clear) {
            (true, ..) => Some("dialback"),
            (_, true, _) => None,
            _ => Some("dialback-clear"),
        };
        assert_eq!(no_sasl, next, "{row}: no SASL there");
        let no_tls = proves(&mut of(), DIALBACK, "", hosts);
        assert_eq!(no_tls, in_the_clear.then_some("dialback-clear"), "{row}: no TLS there");
    }
}

#[test]
fn a_server_without_the_domain_in_its_certificate_gets_nothing_where_only_certificates_count() {
    for (tls, sasl, dialback, [external, over_tls, _]) in ROWS {
        let row = format!("{tls:?} {sasl:?} {dialback}");
        let mut world = World::with(rules_of(tls, sasl, dialback));
        if !external {
            continue;
        }
        let both = format!("{EXTERNAL}{DIALBACK}");
        let proved = proves(&mut world, STARTTLS, &both, &["other.example"]);
        assert_eq!(proved, over_tls.then_some("external"), "{row}");
    }
}

#[test]
fn refused_rows_amount_to_no_method() {
    for (tls, sasl, dialback) in REFUSED {
        assert_eq!(Methods::of(tls, sasl, dialback), Methods::NONE);
    }
    assert_eq!(ROWS.len() + REFUSED.len(), 18);
}
