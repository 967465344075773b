//! Keys of federation with XMPP servers: the proxy at the border, its partners, and the gateway
//! behind it. The product's own names are those of lync-federation 6.5 and 6.6.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
#[cfg(test)]
use toml::Spanned;
#[cfg(test)]
use toml::de::DeValue;

#[cfg(test)]
use crate::config::section::Context;
use crate::config::section::{
    Key, Presence, Reader, Reload, Section, SectionEntry, kept, presence, read_key, section,
};
use crate::config::shape::{
    HostPort, Shape, address, boolean, bytes, date, domain, host_port, integer, label, list,
    network, one_of, one_or_list, path, remark, seconds, socket_address,
};
use crate::dns::Domain;
use crate::policy::{Date, Negotiation, Preferred, XmppKind};

/// What an XMPP contact who wants no messages (`dnd`) looks like on the SIP side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dnd {
    /// Do Not Disturb: clients hold messages back.
    DoNotDisturb,
    /// Busy: messages pass.
    Busy,
}

const NEGOTIATIONS: &[(&str, Negotiation)] = &[
    ("required", Negotiation::Required),
    ("optional", Negotiation::Optional),
    ("not_supported", Negotiation::NotSupported),
];

section! {
    /// Federation with XMPP servers: what holds for all streams together. It is on where a listener
    /// has the class `xmpp`; only listed partners exist.
    Xmpp = "xmpp", repeated: false {
        /// Streams of all partners, in both directions (ConnectionLimit).
        connections: u32 = integer(1, 100_000), default("1000"), Live {
            beyond: "exceeded: a stream that comes in gets resource-constraint, and what should \
                go out waits, then bounces",
            example: "2000",
            see: ["xmpp.partner_connections"],
        }
        /// Streams of one partner that states no number of its own (PartnerConnectionLimit).
        partner_connections: u16 = integer(1, 10_000), default("20"), Live {
            beyond: "exceeded: as xmpp.connections, for this partner alone",
            example: "40",
            see: ["xmpp_partner.connection_limit"],
        }
        /// Silence after which a stream is pinged, where its partner has `keep_alive`
        /// (KeepAliveInterval).
        keep_alive_s: u64 = seconds(10, 86_400), default("300"), Live {
            beyond: "a ping that nothing answers for as long again: the stream is closed",
            example: "120",
            see: ["xmpp_partner.keep_alive", "xmpp.inactivity_s"],
        }
        /// Time from the connection to the first authenticated domain (StreamEstablishmentTimeout).
        establishment_s: u64 = seconds(5, 600), default("60"), Live {
            beyond: "exceeded: closed with connection-timeout",
            example: "30",
            see: ["limits.half_open"],
        }
        /// Time without a stanza after which a stream is closed (StreamInactivityTimeout).
        inactivity_s: u64 = seconds(30, 86_400), default("600"), Live {
            beyond: "exceeded: closed in order; the next stanza opens another one",
            example: "1800",
            see: ["xmpp.keep_alive_s"],
        }
        /// Size of a stanza; RFC 6120 section 13.12 demands 10,000 at least.
        stanza_bytes: usize = bytes(10_000, 1_048_576), default("262144"), Live {
            beyond: "exceeded: the stream ends with policy-violation",
            example: "65536",
            see: ["limits.message_bytes"],
        }
        /// Stanzas that one partner may send in a second in the long run; twice as many may come at
        /// once.
        partner_stanzas_per_s: u32 = integer(1, 1_000_000), default("2000"), Live {
            beyond: "exceeded: the stanza is answered with resource-constraint, and others pass",
            example: "200",
            see: ["xmpp.partner_bytes_per_s"],
        }
        /// The same in bytes.
        partner_bytes_per_s: usize = bytes(10_000, 1_073_741_824), default("8388608"), Live {
            beyond: "exceeded: as xmpp.partner_stanzas_per_s",
            example: "1048576",
            see: ["xmpp.partner_stanzas_per_s", "xmpp.stanza_bytes"],
        }
        /// Whether bodies of messages may be written to the log (EnableLoggingAllMessageBodies).
        log_bodies: bool = boolean(), default("false"), Live {
            beyond: "false: a stanza is logged without what people wrote to each other",
            example: "true",
            see: ["log.level"],
        }
        /// Names of which the certificate of a gateway must carry one to use a listener of class
        /// `xmpp_link`.
        gateways: Vec<Domain> = list(domain(), 64), default("[]"), Live {
            beyond: "empty: no gateway gets in, so a listener of that class is refused",
            example: "[\"gw.contoso.example\"]",
            see: ["listener.class", "gateway_edge.name"],
        }
        /// The gateways' own SIP names and ports, for what own users send to XMPP partners by way
        /// of this edge's internal listener; one may stand alone. The certificate of each must
        /// carry its name, which has to be the one it links under (`edge.internal_fqdn` there):
        /// a pair of domains has one gateway, and both ways choose it by the names. Each gateway
        /// gets the same list, and hands over to the others what is theirs.
        gateway_sip: Vec<HostPort> = one_or_list(host_port, 16), default("[]"), Live {
            beyond: "empty: the gateway of this process, if it listens; without one such requests \
                take the SIP way or are refused",
            example: "[\"gw1.contoso.example:5061\", \"gw2.contoso.example:5061\"]",
            see: ["xmpp_partner.prefer", "gateway.listen", "xmpp.gateways"],
        }
        /// The addresses of the one gateway, in order of preference; of several gateways one each,
        /// in the order of `gateway_sip`.
        gateway_addresses: Vec<IpAddr> = list(address(), 16), default("[]"), Live {
            beyond: "empty: asked of DNS, A and AAAA",
            example: "[\"10.0.0.30\"]",
            see: ["xmpp.gateway_sip"],
        }
    }
}

section! {
    /// A listed XMPP partner. TLS, SASL and dialback together say how it proves its domain: the
    /// matrix is in the README; a row that leaves no way is refused.
    XmppPartner = "xmpp_partner", repeated: true {
        /// Its primary XMPP domain, exactly.
        domain: Domain = domain(), required, Live {
            beyond: "unset, an own or a blocked one, or one listed before: refused",
            example: "\"partner.example\"",
            see: ["xmpp_partner.additional_domains", "blocked.domain"],
        }
        /// Further domains of it, each by name: nothing below a domain is meant with it.
        additional_domains: Vec<Domain> = list(domain(), 256), default("[]"), Live {
            beyond: "empty: its primary domain alone",
            example: "[\"conference.partner.example\"]",
            see: [],
        }
        /// What its users may do before one of ours has added them (PartnerType): `federated` may
        /// add, write and see notes; `public_verified` may add and write; `public_unverified` may
        /// do nothing before.
        kind: XmppKind = one_of(&[
            ("federated", XmppKind::Federated),
            ("public_verified", XmppKind::PublicVerified),
            ("public_unverified", XmppKind::PublicUnverified),
        ]), default("\"public_unverified\""), Live {
            beyond: "what it may not do is refused by the gateway, which knows the contacts",
            example: "\"federated\"",
            see: [],
        }
        /// TLS, by STARTTLS or from the first byte (TlsNegotiation).
        tls: Negotiation = one_of(NEGOTIATIONS), default("\"required\""), Live {
            beyond: "required: nothing passes in the clear; not_supported: neither offered nor \
                used, which leaves dialback alone, readable by everybody on the way",
            example: "\"optional\"",
            see: ["xmpp_partner.sasl", "xmpp_partner.dialback"],
        }
        /// SASL EXTERNAL: the domain is proved by the certificate (SaslNegotiation).
        sasl: Negotiation = one_of(NEGOTIATIONS), default("\"required\""), Live {
            beyond: "required over required TLS: dialback is not used; required or optional \
                without TLS: refused, as the product's interface does",
            example: "\"optional\"",
            see: ["xmpp_partner.tls", "xmpp_partner.trust"],
        }
        /// Server dialback: the domain is proved by its DNS (SupportDialbackNegotiation).
        dialback: bool = boolean(), default("true"), Live {
            beyond: "false: only SASL EXTERNAL proves a domain; without that either: refused",
            example: "false",
            see: ["xmpp_partner.sasl", "edge.secrets"],
        }
        /// Whether its silent streams are pinged (EnableKeepAlive).
        keep_alive: bool = boolean(), default("true"), Live {
            beyond: "false: no pings, for a server that does not answer them",
            example: "false",
            see: ["xmpp.keep_alive_s"],
        }
        /// Streams to and from it at once.
        connection_limit: u16 = integer(1, 10_000), optional, Live {
            beyond: "unset: xmpp.partner_connections",
            example: "4",
            see: ["xmpp.partner_connections"],
        }
        /// Its server and port, instead of what DNS SRV says (ProxyFqdn).
        proxy: HostPort = host_port(), optional, Live {
            beyond: "unset: _xmpps-server._tcp and _xmpp-server._tcp of its domain, else the \
                domain itself at 5269; the certificate must carry the domain in any case",
            example: "\"xmpp.partner.example:5269\"",
            see: [],
        }
        /// Trust anchors of its own, PEM files.
        trust: Vec<PathBuf> = list(path(), 16), default("[]"), NewConnections {
            beyond: "empty: tls.trust; what these anchors sign may speak for this partner alone",
            example: "[\"pki/partner-ca.pem\"]",
            see: ["tls.trust"],
        }
        /// Networks its server may be in although they are not public.
        allow_networks: Vec<IpNet> = list(network(), 64), default("[]"), Live {
            beyond: "empty: addresses.allow_networks alone",
            example: "[\"10.50.0.0/16\"]",
            see: ["addresses.allow_networks"],
        }
        /// Which way is tried first for messages and presence of own users to a domain that SIP
        /// reaches too; the other one is taken where the first has no way.
        prefer: Preferred = one_of(&[("xmpp", Preferred::Xmpp), ("sip", Preferred::Sip)]),
            default("\"xmpp\""), Live {
            beyond: "audio, video and anything else always take the SIP way, which a domain that \
                is an XMPP partner alone does not have",
            example: "\"sip\"",
            see: ["xmpp.gateway_sip", "partner.domain"],
        }
        /// What it is.
        description: String = remark(), optional, Live {
            beyond: "only shown",
            example: "\"chat of the research institute\"",
            see: [],
        }
        /// The last day on which the entry allows anything.
        expires: Date = date(), optional, Live {
            beyond: "unset: never; past: refused as if it were not listed",
            example: "2027-12-31",
            see: [],
        }
        /// Who answers for the entry.
        owner: String = remark(), optional, Live {
            beyond: "only shown",
            example: "\"unified communications\"",
            see: ["xmpp_partner.ticket"],
        }
        /// Where it was asked for.
        ticket: String = remark(), optional, Live {
            beyond: "only shown",
            example: "\"UC-1077\"",
            see: ["xmpp_partner.owner"],
        }
    }
}

section! {
    /// The XMPP gateway: SIP on one side, the proxies of the edges on the other. It runs where
    /// `[[gateway_edge]]` names them, beside an edge or alone on the inside.
    Gateway = "gateway", repeated: false {
        /// Where inner servers and edges connect to it with SIP over TLS.
        listen: Vec<SocketAddr> = list(socket_address(1), 16), default("[]"), Restart {
            beyond: "empty: own users cannot begin, and only what XMPP partners begin passes",
            example: "[\"10.0.0.10:5062\"]",
            see: ["xmpp.gateway_sip", "internal.names"],
        }
        /// Name of the identity it shows on both sides.
        identity: String = label(), optional, NewConnections {
            beyond: "unset: the first identity of the file",
            example: "\"inside\"",
            see: ["identity.name"],
        }
        /// File in which authorisations of contacts survive a restart; each of several gateways
        /// has its own, and they tell each other.
        store: PathBuf = path(), optional, Restart {
            beyond: "unset: in memory alone, so every contact is asked again after a restart; a \
                file that is damaged: no start, and a copy is kept",
            example: "\"/var/lib/entente/gateway.redb\"",
            see: [],
        }
        /// How often a subscription to presence is refreshed (SubscriptionRefreshInterval).
        subscription_refresh_s: u64 = seconds(60, 604_800), default("28800"), Restart {
            beyond: "unset: eight hours, as the product",
            example: "3600",
            see: [],
        }
        /// How long a chat session on the SIP side is kept when nobody writes.
        chat_idle_s: u64 = seconds(60, 86_400), default("600"), Restart {
            beyond: "exceeded: BYE; the next message opens another one",
            example: "1800",
            see: ["next_hop.dialect"],
        }
        /// How long the SIP side may take to answer before the XMPP side gets an error.
        answer_timeout_s: u64 = seconds(5, 180), default("32"), Restart {
            beyond: "exceeded: remote-server-timeout, as after a 408 (RFC 7247 section 8)",
            example: "20",
            see: [],
        }
        /// What an XMPP contact who wants no messages (`dnd`) looks like on the SIP side.
        dnd: Dnd = one_of(&[("do_not_disturb", Dnd::DoNotDisturb), ("busy", Dnd::Busy)]),
            default("\"do_not_disturb\""), Restart {
            beyond: "do_not_disturb: clients hold his messages back; busy: they pass",
            example: "\"busy\"",
            see: [],
        }
    }
}

section! {
    /// An edge whose XMPP proxy the gateway connects to, over mutual TLS.
    GatewayEdge = "gateway_edge", repeated: true {
        /// Its FQDN; the certificate of its link listener must carry it.
        name: Domain = domain(), required, Restart {
            beyond: "unset: refused",
            example: "\"edge1.contoso.example\"",
            see: ["listener.class"],
        }
        /// Port of its listener of class `xmpp_link`.
        port: u16 = integer(1, 65_535), default("23456"), Restart {
            beyond: "unset: the port the planning guide names",
            example: "23456",
            see: [],
        }
        /// Its addresses, in order of preference.
        addresses: Vec<IpAddr> = list(address(), 16), default("[]"), Restart {
            beyond: "empty: asked of DNS, A and AAAA",
            example: "[\"10.0.0.10\"]",
            see: ["dns.servers"],
        }
    }
}
