//! What the entries of XMPP partners probably do not mean.

use super::{Linter, Place, XmppServed};
use crate::dns::Domain;
use crate::policy::{Negotiation, Preferred, XmppKind, XmppPartner};

/// Looks at the XMPP partners and at what serves them.
pub(super) fn lint(linter: &mut Linter<'_>) {
    let partners = &linter.rules.xmpp.partners;
    served(linter);
    gateways(linter);
    for (index, partner) in (0_u16..).zip(partners) {
        let place = Place::XmppPartner(index);
        lists(linter, place, partner);
        protection(linter, place, partner);
        way(linter, place, partner);
    }
}

fn served(linter: &mut Linter<'_>) {
    let partners = linter.rules.xmpp.partners.len();
    match (linter.surroundings.xmpp, partners) {
        (XmppServed::Nothing, 1..) if linter.rules.xmpp.gateway_hops.is_empty() => {
            let sentence = format!(
                "{partners} XMPP partners are listed, but there is neither a listener of class \
                 xmpp nor a gateway"
            );
            let advice = "add the listeners xmpp and xmpp_link, or remove the entries";
            linter.warn("W117", Place::XmppPartner(0), sentence, advice);
        }
        (XmppServed::Proxy, 0) => {
            let sentence = "XMPP partners may connect, but none is listed".to_owned();
            let advice = "list them with [[xmpp_partner]]: nobody is discovered";
            linter.warn("W118", Place::Key("listener"), sentence, advice);
        }
        _ => {}
    }
}

/// A pair of domains has one gateway, which stanzas and requests choose each from their own list.
fn gateways(linter: &mut Linter<'_>) {
    let xmpp = &linter.rules.xmpp;
    let by_sip: Vec<&Domain> = xmpp.gateway_hops.iter().map(|hop| &hop.name).collect();
    let own = &linter.rules.internal_fqdn;
    let advice = "write the same names into both lists, on every edge and gateway";
    let mut sentences = Vec::new();
    if linter.surroundings.xmpp == XmppServed::Proxy && !by_sip.is_empty() {
        let by_link = &xmpp.gateways;
        sentences.extend(by_link.iter().filter(|name| !by_sip.contains(name)).map(|name| {
            format!("{name} may link as a gateway, but requests of own users never go there")
        }));
        sentences.extend(by_sip.iter().filter(|name| !by_link.contains(name)).map(|name| {
            format!("requests of own users go to the gateway {name}, which may not link")
        }));
    }
    if linter.surroundings.xmpp == XmppServed::GatewayAlone
        && by_sip.len() > 1
        && !by_sip.contains(&own)
    {
        sentences.push(format!("this gateway is {own}, which is none of xmpp.gateway_sip"));
    }
    for sentence in sentences {
        linter.warn("W121", Place::Key("xmpp.gateway_sip"), sentence, advice);
    }
}

fn lists(linter: &mut Linter<'_>, place: Place, partner: &XmppPartner) {
    for domain in partner.domains() {
        if let Some(wider) = linter.blocked.find_below(domain.as_str().as_bytes()) {
            let wider = linter.blocked.name(wider).unwrap_or_default();
            let sentence = format!("{domain} is an XMPP partner, but all of {wider} is blocked");
            linter.warn("W103", place, sentence, "remove one of the two: blocked wins");
        }
    }
    if let Some(day) = partner.expires {
        linter.expiry(place, &format!("XMPP partner {}", partner.domain), day);
    }
    if partner.allow_networks.iter().any(|network| network.prefix_len() == 0) {
        let sentence =
            format!("the server of XMPP partner {} may have any address", partner.domain);
        linter.warn("W110", place, sentence, "state the networks its server is in");
    }
}

fn protection(linter: &mut Linter<'_>, place: Place, partner: &XmppPartner) {
    let domain = &partner.domain;
    let methods = partner.methods();
    if methods.dialback_clear {
        let sentence = match methods.over_tls() {
            true => format!("stanzas of {domain} may pass in the clear where TLS does not come up"),
            false => format!("stanzas of {domain} pass in the clear"),
        };
        let advice = "write tls = \"required\" if its server can";
        linter.warn("W115", place, sentence, advice);
    }
    if methods.dialback_clear && partner.sasl == Negotiation::Required {
        let sentence = format!(
            "{domain} is to prove itself by certificate, but without TLS dialback is enough"
        );
        let advice = "write tls = \"required\", or sasl = \"optional\" if that is meant";
        linter.warn("W119", place, sentence, advice);
    }
    if partner.kind == XmppKind::PublicVerified {
        let sentence = format!("strangers of {domain} may write to every own user unasked");
        let advice = "public_unverified is for public services, federated for organisations";
        linter.warn("W116", place, sentence, advice);
    }
}

fn way(linter: &mut Linter<'_>, place: Place, partner: &XmppPartner) {
    let rules = linter.rules;
    let somehow = rules.federation.discovery
        || rules.default_route.is_some()
        || rules.providers.iter().any(|provider| provider.enabled)
        || rules.partners.iter().any(|listed| partner.domains().any(|d| listed.domain.covers(d)));
    if partner.prefer == Preferred::Sip && !somehow {
        let sentence = format!("SIP is preferred for {}, which is no SIP partner", partner.domain);
        linter.warn("W120", place, sentence, "list it with [[partner]] too, or prefer xmpp");
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Surroundings, lint as all};
    use super::*;
    use crate::policy::fixture::{domain, rules};
    use crate::policy::{Date, NextHop, PartnerRule, Pattern, Rules};

    /// Returns code and sentence of each warning about one changed partner.
    fn warnings(
        served: XmppServed,
        change: impl FnOnce(&mut Rules),
    ) -> Vec<(&'static str, String)> {
        let mut rules = rules(vec![PartnerRule::allowed_domain(domain("fabrikam.example"))]);
        rules.xmpp.partners = vec![XmppPartner::new(domain("partner.example"))];
        change(&mut rules);
        let surroundings = Surroundings {
            today: Date::parse("2026-07-01").unwrap(),
            pool_by_dns: false,
            client_usage: None,
            xmpp: served,
        };
        all(&rules, &surroundings).into_iter().map(|w| (w.code, w.sentence)).collect()
    }

    #[track_caller]
    fn told(change: impl FnOnce(&mut XmppPartner), expected: &[(&str, &str)]) {
        let told = warnings(XmppServed::Proxy, |rules| change(&mut rules.xmpp.partners[0]));
        let told: Vec<(&str, &str)> = told.iter().map(|(code, text)| (*code, &**text)).collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn a_sound_entry_gives_no_warning() {
        told(|_| {}, &[]);
        assert_eq!(warnings(XmppServed::GatewayAlone, |_| {}), []);
    }

    #[test]
    fn w115_and_w119_what_passes_in_the_clear() {
        let clear = "stanzas of partner.example may pass in the clear where TLS does not come up";
        told(
            |partner| {
                (partner.tls, partner.sasl) = (Negotiation::Optional, Negotiation::Optional);
            },
            &[("W115", clear)],
        );
        told(
            |partner| partner.tls = Negotiation::Optional,
            &[
                ("W115", clear),
                (
                    "W119",
                    "partner.example is to prove itself by certificate, but without TLS dialback \
                     is enough",
                ),
            ],
        );
        told(
            |partner| {
                let not = Negotiation::NotSupported;
                (partner.tls, partner.sasl) = (not, not);
            },
            &[("W115", "stanzas of partner.example pass in the clear")],
        );
    }

    #[test]
    fn w116_strangers_that_may_write_unasked() {
        let sentence = "strangers of partner.example may write to every own user unasked";
        told(|partner| partner.kind = XmppKind::PublicVerified, &[("W116", sentence)]);
    }

    #[test]
    fn w117_and_w118_partners_and_listeners_belong_together() {
        let sentence = "1 XMPP partners are listed, but there is neither a listener of class xmpp \
                        nor a gateway";
        assert_eq!(warnings(XmppServed::Nothing, |_| {}), [("W117", sentence.to_owned())]);
        let sentence = "XMPP partners may connect, but none is listed";
        let told = warnings(XmppServed::Proxy, |rules| rules.xmpp.partners.clear());
        assert_eq!(told, [("W118", sentence.to_owned())]);
    }

    #[test]
    fn w120_a_preferred_way_that_is_not_there() {
        let sentence = "SIP is preferred for partner.example, which is no SIP partner";
        told(|partner| partner.prefer = Preferred::Sip, &[("W120", sentence)]);
        told(
            |partner| {
                partner.prefer = Preferred::Sip;
                partner.additional = vec![domain("fabrikam.example")];
            },
            &[],
        );
    }

    #[test]
    fn w121_lists_of_gateways_that_cannot_agree() {
        let hops = |names: &[&str]| names.iter().map(|name| NextHop::new(domain(name))).collect();
        let told = warnings(XmppServed::Proxy, |rules| {
            rules.xmpp.gateways =
                vec![domain("gw1.contoso.example"), domain("gw2.contoso.example")];
            rules.xmpp.gateway_hops = hops(&["gw2.contoso.example", "gw3.contoso.example"]);
        });
        let told: Vec<_> = told.iter().map(|(_, sentence)| sentence.as_str()).collect();
        let expected = [
            "gw1.contoso.example may link as a gateway, but requests of own users never go there",
            "requests of own users go to the gateway gw3.contoso.example, which may not link",
        ];
        assert_eq!(told, expected);
        let alone = warnings(XmppServed::GatewayAlone, |rules| {
            rules.xmpp.gateway_hops = hops(&["gw2.contoso.example", "gw3.contoso.example"]);
        });
        assert_eq!(alone.len(), 1, "{alone:?}");
        let same = warnings(XmppServed::Proxy, |rules| {
            rules.xmpp.gateways = vec![domain("gw1.contoso.example")];
            rules.xmpp.gateway_hops = hops(&["gw1.contoso.example"]);
        });
        assert_eq!(same, []);
    }

    #[test]
    fn an_entry_ends_and_lies_below_blocked_names_as_those_of_sip_do() {
        let day = Date::parse("2026-06-01").unwrap();
        let sentence = "XMPP partner partner.example was allowed until 2026-06-01 and is refused";
        told(|partner| partner.expires = Some(day), &[("W105", sentence)]);
        let told = warnings(XmppServed::Proxy, |rules| {
            rules.own_domains = vec![domain("contoso.other")];
            rules.blocked = vec![Pattern::Below(domain("partner.example"))];
            rules.xmpp.partners[0].additional = vec![domain("a.partner.example")];
        });
        let sentence = "a.partner.example is an XMPP partner, but all of *.partner.example is \
                        blocked";
        assert_eq!(told, [("W103", sentence.to_owned())]);
    }
}
