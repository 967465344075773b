//! The certificates to order: subject, names, usages, and who must sign.

use super::dns::web_names;
use super::{CertificateRow, Deployment, Eku, Identity, Issuer, Planned, Role, San, Shows};
use crate::edge::{Class, Side};

/// Returns every certificate, in the order of the configuration, planned ones after.
pub(super) fn rows(d: &Deployment) -> Vec<CertificateRow> {
    let mut rows: Vec<CertificateRow> =
        d.identities.iter().filter_map(|identity| shown(d, &identity.name)).collect();
    // A relay of this process needs none: secrets sign its credentials.
    if d.has(Planned::Av) && !d.serves(Role::Av) {
        rows.push(av_authentication(d));
    }
    if d.has(Planned::Web) {
        rows.push(reverse_proxy(d));
    }
    rows
}

struct Names(Vec<San>);

impl Names {
    /// Adds a name unless it is there already.
    fn add(&mut self, name: impl Into<String>, why: impl Into<String>) {
        let (name, why) = (name.into(), why.into());
        if !self.0.iter().any(|san| san.name == name) {
            self.0.push(San { name, why });
        }
    }

    fn external(&mut self, d: &Deployment, classes: &[Class]) {
        self.add(d.external_fqdn.as_str(), "checks look at this list alone, never at the subject");
        let partners = classes.contains(&Class::Federation);
        if partners && d.has(Planned::Conferencing) {
            let why = d.why(Role::Conferencing, "the Web Conferencing Edge shows this one too");
            self.add(d.conferencing_fqdn.as_str(), why);
        }
        for domain in &d.domains {
            let why = format!("strict peers of {domain} are told this name by DNS");
            self.add(d.access_name(domain), why);
        }
        // Where the proxy is only planned, it shows what partners see.
        let planned = d.has(Planned::Xmpp) && !d.serves(Role::Xmpp) && partners;
        if planned || classes.iter().any(|class| XMPP.contains(class)) {
            for domain in &d.xmpp_domains {
                let why = "XMPP servers check the domain itself, not the host; an SRVName \
                           _xmpp-server does too";
                self.add(domain.as_str(), d.why(Role::Xmpp, why));
            }
        }
    }

    /// Adds the names by which clients of the A/V Edge open TLS.
    fn media(&mut self, d: &Deployment, sides: &[Side]) {
        let why = "users outside open TURN over TLS to this name";
        if sides.contains(&Side::External) {
            self.add(d.av_fqdn.as_str(), why);
        }
        let name = d.av.internal_fqdn.as_ref().filter(|_| sides.contains(&Side::Internal));
        if let Some(name) = name {
            self.add(name.as_str(), "users inside open TURN over TLS to this name");
        }
    }

    fn internal(&mut self, d: &Deployment) {
        self.add(d.internal_fqdn.as_str(), "servers inside connect to this name");
        if d.pool() {
            for node in &d.nodes {
                let why = "what must reach each edge of the pool connects to this name";
                self.add(node.name.as_str(), why);
            }
        }
    }
}

/// Who connects from outside with XMPP.
const XMPP: [Class; 2] = [Class::Xmpp, Class::XmppDirectTls];
/// Who connects from inside.
const INSIDE: [Class; 3] = [Class::Internal, Class::XmppLink, Class::Credentials];

/// Returns what the certificate of one identity must be; `None` when nothing shows it.
fn shown(d: &Deployment, name: &str) -> Option<CertificateRow> {
    let identity = d.identities.iter().find(|identity| identity.name == name)?;
    let classes = identity.classes.as_slice();
    let media = identity.media.as_slice();
    let access = classes.iter().any(|class| !INSIDE.contains(class));
    let outside = access || media.contains(&Side::External);
    let gateway = identity.gateway == Shows::ToGatewaysPeers;
    let servers = gateway || classes.iter().any(|class| INSIDE.contains(class));
    let inside = servers || media.contains(&Side::Internal);
    if !outside && !inside {
        return None;
    }
    let mut names = Names(Vec::new());
    if access {
        names.external(d, classes);
    }
    names.media(d, media);
    if servers {
        names.internal(d);
    }
    let subject = match (access, names.0.first()) {
        (true, _) => d.external_fqdn.to_string(),
        (false, Some(san)) if !servers => san.name.clone(),
        (false, _) => d.internal_fqdn.to_string(),
    };
    let why = match (outside, inside) {
        (true, false) => {
            "strangers must trust it; no wildcard, which servers refuse; the subject is the Access \
             Edge, which OCS partners still look at"
        }
        (false, _) => "shown to servers inside when they connect, and when the edge does",
        (true, true) => "one certificate for both sides: strangers read its internal names too",
    };
    let both = d.client_eku && classes.contains(&Class::Federation);
    let mut why = why.to_owned();
    if both {
        why.push_str("; for clients too, because a partner or provider demands it");
    }
    Some(CertificateRow {
        name: name.to_owned(),
        shown: places(identity),
        served: true,
        subject,
        names: names.0,
        eku: if both { Eku::ServerAndClient } else { Eku::Server },
        issuer: if outside { Issuer::Public } else { Issuer::PrivateOrPublic },
        shared: d.pool(),
        why,
    })
}

fn places(identity: &Identity) -> String {
    let classes = &identity.classes;
    let mut places = Vec::new();
    for (class, place) in [
        (Class::Federation, "partners"),
        (Class::RemoteUsers, "own users outside"),
        (Class::Internal, "servers inside"),
        (Class::Xmpp, "XMPP partners"),
        (Class::XmppLink, "XMPP gateways"),
        (Class::Credentials, "servers that fetch relay credentials"),
    ] {
        if classes.contains(&class) {
            places.push(place);
        }
    }
    if identity.gateway == Shows::ToGatewaysPeers {
        places.push("the gateway's edges and servers");
    }
    for (side, place) in [
        (Side::External, "media of users outside, over TLS"),
        (Side::Internal, "media of users inside, over TLS"),
    ] {
        if identity.media.contains(&side) {
            places.push(place);
        }
    }
    places.join(", ")
}

fn av_authentication(d: &Deployment) -> CertificateRow {
    let why = "signs relay credentials; the A/V Edge itself has no certificate; apart from the \
               others, so that it can roll eight hours before it ends";
    CertificateRow {
        name: "av-authentication".to_owned(),
        shown: "A/V authentication service".to_owned(),
        served: false,
        subject: d.external_fqdn.to_string(),
        names: vec![San {
            name: d.external_fqdn.to_string(),
            why: "what the guide asks for; nobody checks it".to_owned(),
        }],
        eku: Eku::Server,
        issuer: Issuer::PrivateOrPublic,
        shared: d.pool(),
        why: d.why(Role::Av, why),
    }
}

fn reverse_proxy(d: &Deployment) -> CertificateRow {
    let mut names = Names(Vec::new());
    names.add(d.web_fqdn.as_str(), "address book, meeting content, join pages");
    for name in web_names(d) {
        names.add(name, "published under a name of its own");
    }
    for domain in &d.domains {
        names.add(format!("lyncdiscover.{domain}"), "clients look here over HTTPS");
    }
    let why = "browsers, phones and strangers must trust it; *.domain may stand for meet and \
               dialin here, and only here";
    CertificateRow {
        name: "reverse-proxy".to_owned(),
        shown: "reverse proxy".to_owned(),
        served: false,
        subject: d.web_fqdn.clone(),
        names: names.0,
        eku: Eku::Server,
        issuer: Issuer::Public,
        shared: false,
        why: d.why(Role::Web, why),
    }
}
