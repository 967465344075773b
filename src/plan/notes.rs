//! What no row says: conditions of a topology, partners that do not fit it, gaps, and what is
//! followed where the guide's pages contradict each other.

use super::{At, Deployment, Note, Place, Planned, Role, Section, Topology, Version, firewall};

/// Returns the notes, part by part.
pub(super) fn notes(d: &Deployment) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut note = |section, code, sentence: String| notes.push(Note { section, code, sentence });
    unknown(d, &mut note);
    translation(d, &mut note);
    balancing(d, &mut note);
    contradictions(d, &mut note);
    notes.sort_by_key(|note| match note.section {
        Section::Firewall => 0,
        Section::Dns => 1,
        Section::Certificates => 2,
        Section::Balancer => 3,
    });
    notes
}

/// Names the keys whose absence leaves holes in the tables.
fn unknown(d: &Deployment, note: &mut impl FnMut(Section, &'static str, String)) {
    let mut missing: Vec<&str> = Vec::new();
    for row in firewall::rows(d) {
        for end in [&row.source, &row.destination] {
            let key = match (end.place, row.at) {
                _ if !end.addresses.is_empty() || !end.place.is_edge() => continue,
                (Place::AccessEdge, At::Node) => "plan_node.access",
                (Place::AccessEdge, At::Vip) => "plan.access_vip",
                (Place::ConferencingEdge, At::Node) => "plan_node.conferencing",
                (Place::ConferencingEdge, At::Vip) => "plan.conferencing_vip",
                (Place::AvEdge, At::Node) => "plan_node.av",
                (Place::AvEdge, At::Vip) => "plan.av_vip",
                (Place::InternalEdge, At::Vip) => "plan.internal_vip",
                (Place::InternalEdge, At::Node) => "plan_node.internal",
                _ => continue,
            };
            if !missing.contains(&key) {
                missing.push(key);
            }
        }
    }
    if d.has(Planned::Web) && d.web_addresses.is_empty() {
        missing.push("plan.web_addresses");
    }
    if !missing.is_empty() {
        let keys = missing.join(", ");
        let sentence = format!("addresses are missing; give them in {keys}");
        note(Section::Firewall, "addresses-unknown", sentence);
    }
    if d.pool() && d.nodes.len() < 2 {
        let sentence = "a pool of one edge: write a [[plan_node]] for each of them".to_owned();
        note(Section::Firewall, "pool-of-one", sentence);
    }
}

fn translation(d: &Deployment, note: &mut impl FnMut(Section, &'static str, String)) {
    match d.topology {
        Topology::PoolHlb => note(
            Section::Firewall,
            "nat-forbidden",
            "no firewall may translate addresses or ports on either side: behind a hardware \
             balancer every edge needs addresses of its own that the Internet routes"
                .to_owned(),
        ),
        Topology::Single | Topology::PoolDns if d.translates() => note(
            Section::Firewall,
            "nat-one-to-one",
            "addresses are translated outside only, one to one, the same in both directions; the \
             rules name the addresses that the edge has, the records those that the Internet sees"
                .to_owned(),
        ),
        Topology::Single | Topology::PoolDns => {}
    }
    if d.has(Planned::Av) && !d.serves(Role::Av) && d.translates() {
        let sentence = "the A/V service must be told its public address apart from the one it is \
                        bound to";
        note(Section::Firewall, "nat-av-address", sentence.to_owned());
    }
}

fn balancing(d: &Deployment, note: &mut impl FnMut(Section, &'static str, String)) {
    let balancer = Section::Balancer;
    if d.topology == Topology::PoolHlb {
        let services = [Planned::Conferencing, Planned::Av];
        let services = 1 + services.into_iter().filter(|role| d.has(*role)).count();
        let (nodes, each) = (d.nodes.len(), d.nodes.len() + 1);
        let sentence = format!(
            "public addresses: {} ({services} services, each with {nodes} edges and one virtual)",
            services * each
        );
        note(balancer, "public-addresses", sentence);
        let sentence = "both sides are balanced by hardware, or neither; direct server return is \
                        not supported; the balancer is the default gateway of the edges";
        note(balancer, "same-kind-both-sides", sentence.to_owned());
    }
    if d.topology != Topology::PoolDns {
        return;
    }
    let stay: Vec<&str> =
        d.versions.iter().filter(|v| !v.follows_dns_balancing()).map(|v| v.label()).collect();
    if !stay.is_empty() {
        let sentence = format!(
            "partners with {} stay at the first edge that answered: when it dies, they reach \
             nobody until it is back; for them a hardware balancer is needed",
            stay.join(", ")
        );
        note(balancer, "partners-without-failover", sentence);
    }
    for (role, who) in
        [(Planned::Xmpp, "XMPP partners"), (Planned::PublicIm, "public IM providers")]
    {
        if d.has(role) {
            let sentence = format!("{who} do not follow DNS load balancing either");
            note(balancer, "partners-without-failover", sentence);
        }
    }
    let sentence = "both sides are balanced by DNS, or neither; to take an edge out, remove its \
                    address from every name here, and its own name";
    note(balancer, "same-kind-both-sides", sentence.to_owned());
}

/// Says what is followed where the sources say two things.
fn contradictions(d: &Deployment, note: &mut impl FnMut(Section, &'static str, String)) {
    let mut both = |planned: Planned, section, code, sentence: &str| {
        if d.has(planned) {
            note(section, code, sentence.to_owned());
        }
    };
    both(
        Planned::Xmpp,
        Section::Firewall,
        "guide-xmpp-port",
        "the guide's port tables say 23456 between gateway and proxy, the help of a cmdlet 5098: \
         23456 is used",
    );
    both(
        Planned::Xmpp,
        Section::Certificates,
        "guide-xmpp-name",
        "one page has the domain itself in the certificate, another xmpp.domain and *.domain, \
         although wildcards are not supported: the domain itself is used",
    );
    both(
        Planned::Xmpp,
        Section::Dns,
        "guide-xmpp-target",
        "the guide's XMPP record names xmpp.domain on one page and the Access Edge on another: \
         either does (plan.xmpp_fqdn), if it has an address",
    );
    both(
        Planned::Av,
        Section::Firewall,
        "guide-media-address",
        "one page has media of public IM leave from the Access Edge's address, the others from \
         the A/V Edge's: the A/V Edge's is used",
    );
    let (code, sentence) = if d.serves(Role::Av) {
        let sentence = "the guide has a certificate sign relay credentials, the same on every edge \
                        of the pool: here secrets do (av.credentials_secrets, else edge.secrets), \
                        in a file that is the same on every edge and rolls there";
        ("av-authentication-by-secrets", sentence)
    } else {
        let sentence = "the guide signs relay credentials with the internal certificate on one \
                        page and with the external one on another: a certificate of its own is \
                        planned, shared by the pool";
        ("guide-av-authentication", sentence)
    };
    both(Planned::Av, Section::Certificates, code, sentence);
    one_address(d, note);
    if d.federation_port.is_some() && d.pool() {
        let sentence = "the guide has failover by SRV priority for clients, and none for \
                        federation: partners that follow RFC 2782 and try every address do fail \
                        over, and this edge does so towards them";
        note(Section::Dns, "guide-srv-failover", sentence.to_owned());
    }
    let ocs = d.meets(&[Version::Ocs2007]);
    if d.serves(Role::Av) {
        let ports: u32 = d.av.relayed.iter().map(|range| range.len() as u32).sum();
        let tcp = match d.av.relays_tcp {
            true => {
                "; to TCP outwards, and inwards where peers are to connect to clients (RFC 6062)"
            }
            false => "",
        };
        let sentence = format!(
            "relays of the product tunnel media between each other at 3478 and keep their range \
             closed; the relay here does not, so its {ports} relayed ports are open to UDP both \
             ways, or at least outwards (av.shared_ports makes them few){tcp}"
        );
        note(Section::Firewall, "media-without-tunnel", sentence);
    } else if d.has(Planned::Av) && !ocs && !d.versions.is_empty() {
        let sentence = "50000 to 59999 stays closed inwards and to UDP outwards: only OCS 2007 \
                        needs it (plan.partner_versions)";
        note(Section::Firewall, "media-range-closed", sentence.to_owned());
    }
}

/// Tells of services that would share an address and a port.
fn one_address(d: &Deployment, note: &mut impl FnMut(Section, &'static str, String)) {
    for node in &d.nodes {
        let mut taken = Vec::new();
        let users = d.remote_user_port.filter(|port| *port == 443).map(|_| &node.access.bound);
        let conferencing = d.has(Planned::Conferencing).then_some(&node.conferencing.bound);
        let av = d.has(Planned::Av) && d.av.external.tcp.contains(&443);
        let av = av.then_some(&node.av.bound);
        let named = [("Access Edge", users), ("Web Conferencing Edge", conferencing), ("A/V", av)];
        for (name, addresses) in named {
            taken.extend(addresses.into_iter().flatten().map(|address| (*address, name)));
        }
        taken.sort_unstable();
        for pair in taken.windows(2) {
            if let [(first, one), (second, other)] = pair
                && first == second
            {
                let sentence = format!(
                    "{one} and {other} of {} share {first}, and all want 443: with one address \
                     the guide moves conferencing to 444 on one page and A/V on another; give \
                     them addresses of their own",
                    node.name
                );
                note(Section::Firewall, "guide-one-address", sentence);
            }
        }
    }
}
