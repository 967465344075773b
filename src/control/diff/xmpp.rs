//! What a reload changes for XMPP partners: both policies are asked about every domain that either
//! lists.

use std::collections::{BTreeMap, BTreeSet};

use super::{Difference, Named, Side};
use crate::config::XmppPartner;
use crate::dns::Domain;
use crate::policy::XmppRefusal;
use crate::time::Now;

/// Tells who is cut off, who gets in, and who stays under other terms.
pub(super) fn partners(old: &Side<'_>, new: &Side<'_>, now: Now, found: &mut Difference) {
    let mut cut_off: BTreeMap<&'static str, Named> = BTreeMap::new();
    let (mut let_in, mut changed) = (Named::default(), Named::default());
    let domains: BTreeSet<&Domain> = listed(old).chain(listed(new)).collect();
    for domain in domains {
        let name = domain.as_str();
        match (stance(old, now, domain), stance(new, now, domain)) {
            (Ok(()), Err(refusal)) => cut_off.entry(why(refusal)).or_default().push(name),
            (Err(_), Ok(())) => let_in.push(name),
            (Ok(()), Ok(())) if !says_like(entry(old, domain), entry(new, domain)) => {
                changed.push(name);
            }
            _ => {}
        }
    }
    for (why, names) in cut_off {
        let subject = names.subject("is cut off on XMPP", "are cut off on XMPP");
        found.sentences.push(format!("{subject}: {why}"));
        found.cut_off.add(&names);
    }
    if let_in.count > 0 {
        found.sentences.push(let_in.subject("gets in on XMPP", "get in on XMPP"));
        found.let_in.add(&let_in);
    }
    if changed.count > 0 {
        let (one, many) = (
            "stays an XMPP partner, under a changed entry",
            "stay XMPP partners, under changed entries",
        );
        found.sentences.push(changed.subject(one, many));
        found.terms_changed.add(&changed);
    }
}

fn listed<'a>(side: &Side<'a>) -> impl Iterator<Item = &'a Domain> {
    let domains = |partner: &'a XmppPartner| {
        std::iter::once(&partner.domain).chain(&partner.additional_domains)
    };
    side.config.xmpp_partners.iter().flat_map(domains)
}

fn entry<'a>(side: &Side<'a>, domain: &Domain) -> Option<&'a XmppPartner> {
    let key = side.policy.xmpp_key(domain)?;
    side.config.xmpp_partners.get(usize::from(key.0))
}

fn stance(side: &Side<'_>, now: Now, domain: &Domain) -> Result<(), XmppRefusal> {
    // A configuration without an own domain is refused, so there is one to ask for.
    let ours = side.config.edge.domains.first().ok_or(XmppRefusal::NotOurs)?;
    side.policy.xmpp(now, ours, domain).map(|_| ())
}

/// Tells whether two entries say the same of a domain; what is only shown to people, and where
/// other domains stand, does not count.
fn says_like(one: Option<&XmppPartner>, other: Option<&XmppPartner>) -> bool {
    let told = |partner: &XmppPartner| XmppPartner {
        additional_domains: Vec::new(),
        description: None,
        owner: None,
        ticket: None,
        ..partner.clone()
    };
    one.map(told) == other.map(told)
}

const fn why(refusal: XmppRefusal) -> &'static str {
    match refusal {
        XmppRefusal::NotListed => "not listed",
        XmppRefusal::Blocked => "blocked",
        XmppRefusal::FederationOff => "federation is switched off",
        XmppRefusal::Expired => "its entry has expired",
        XmppRefusal::NotOurs => "no own domain is left",
    }
}
