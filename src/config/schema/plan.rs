//! What `entente plan` and `check` must be told because no listener shows it: the other roles of
//! the deployment, the other edges of the pool, and how they are balanced.

use std::net::IpAddr;

#[cfg(test)]
use crate::config::section::Context;
use crate::config::section::{
    Key, Presence, Reader, Reload, Section, SectionEntry, kept, presence, read_key, section,
};
use crate::config::shape::{Shape, address, boolean, domain, list, one_of};
use crate::dns::Domain;
use crate::plan::{Planned, Topology, Version};
#[cfg(test)]
use toml::Spanned;
#[cfg(test)]
use toml::de::DeValue;

section! {
    /// What is planned around this edge. It only changes what `plan` and `check` say.
    Plan = "plan", repeated: false {
        /// How peers find a living edge: one edge, several by DNS, several behind a balancer.
        topology: Topology = one_of(&[
            ("single", Topology::Single),
            ("pool_dns", Topology::PoolDns),
            ("pool_hlb", Topology::PoolHlb),
        ]), default("\"single\""), Live {
            beyond: "pool_hlb excludes NAT; a pool needs a [[plan_node]] for each edge",
            example: "\"pool_dns\"",
            see: ["plan_node.name"],
        }
        /// Roles beside the one this program runs.
        roles: Vec<Planned> = list(one_of(&[
            ("av", Planned::Av),
            ("conferencing", Planned::Conferencing),
            ("xmpp", Planned::Xmpp),
            ("web", Planned::Web),
            ("push", Planned::Push),
            ("public_im", Planned::PublicIm),
            ("central_management", Planned::CentralManagement),
        ]), 16), default("[]"), Live {
            beyond: "empty: SIP federation and remote users alone, as the listeners say",
            example: "[\"av\", \"xmpp\"]",
            see: ["plan.conferencing_fqdn", "plan.av_fqdn", "plan.xmpp_fqdn", "plan.web_fqdn"],
        }
        /// What partners run whose entry does not say: decides which A/V ports are open, and who
        /// needs a hardware balancer. What entries say (`partner.version`) counts besides.
        partner_versions: Vec<Version> = list(one_of(&[
            ("ocs2007", Version::Ocs2007),
            ("ocs2007r2", Version::Ocs2007R2),
            ("lync2010", Version::Lync2010),
            ("lync2013", Version::Lync2013),
            ("messenger", Version::Messenger),
            ("other", Version::Other),
        ]), 16), default("[\"lync2010\", \"lync2013\"]"), Live {
            beyond: "empty: what entries say alone; ocs2007 opens 50000 to 59999 inwards",
            example: "[\"ocs2007r2\", \"lync2013\"]",
            see: ["plan.roles", "partner.version"],
        }
        /// FQDN of the Web Conferencing Edge.
        conferencing_fqdn: Domain = domain(), optional, Live {
            beyond: "unset: webcon. and the first own domain",
            example: "\"webcon.contoso.example\"",
            see: ["plan.roles"],
        }
        /// FQDN of the A/V Edge.
        av_fqdn: Domain = domain(), optional, Live {
            beyond: "unset: av. and the first own domain",
            example: "\"av.contoso.example\"",
            see: ["plan.roles"],
        }
        /// Host that the XMPP record of each domain names; it has the addresses of the Access Edge.
        xmpp_fqdn: Domain = domain(), optional, Live {
            beyond: "unset: external_fqdn, one record less; the guide writes both",
            example: "\"xmpp.contoso.example\"",
            see: ["edge.external_fqdn"],
        }
        /// Own domains with XMPP users.
        xmpp_domains: Vec<Domain> = list(domain(), 10_000), default("[]"), Live {
            beyond: "empty: all own domains",
            example: "[\"contoso.example\"]",
            see: ["edge.domains"],
        }
        /// FQDN of the external web services behind the reverse proxy.
        web_fqdn: Domain = domain(), optional, Live {
            beyond: "unset: webext. and the first own domain",
            example: "\"webext.contoso.example\"",
            see: ["plan.web_names"],
        }
        /// Further names the reverse proxy publishes, beside meet, dialin and lyncdiscover.
        web_names: Vec<Domain> = list(domain(), 256), default("[]"), Live {
            beyond: "empty: none, as without a Director or a server for presentations",
            example: "[\"webdirext.contoso.example\", \"officewebapps01.contoso.example\"]",
            see: ["plan.web_fqdn"],
        }
        /// Addresses of the reverse proxy as the Internet sees them.
        web_addresses: Vec<IpAddr> = list(address(), 16), default("[]"), Live {
            beyond: "empty: written as not known",
            example: "[\"192.0.2.40\"]",
            see: ["plan.web_fqdn"],
        }
        /// Virtual addresses of the Access Edge at the hardware balancer.
        access_vip: Vec<IpAddr> = list(address(), 4), default("[]"), Live {
            beyond: "only with pool_hlb; empty there: written as not known",
            example: "[\"192.0.2.4\"]",
            see: ["plan.topology"],
        }
        /// Virtual addresses of the Web Conferencing Edge.
        conferencing_vip: Vec<IpAddr> = list(address(), 4), default("[]"), Live {
            beyond: "only with pool_hlb; empty there: written as not known",
            example: "[\"192.0.2.5\"]",
            see: ["plan.topology"],
        }
        /// Virtual addresses of the A/V Edge.
        av_vip: Vec<IpAddr> = list(address(), 4), default("[]"), Live {
            beyond: "only with pool_hlb; empty there: written as not known",
            example: "[\"192.0.2.6\"]",
            see: ["plan.topology"],
        }
        /// Virtual addresses of the internal side.
        internal_vip: Vec<IpAddr> = list(address(), 4), default("[]"), Live {
            beyond: "only with pool_hlb; empty there: written as not known",
            example: "[\"10.0.0.4\"]",
            see: ["plan.topology"],
        }
        /// Whether a partner demands that this edge's certificate is for clients too; a provider
        /// that does says so itself.
        client_eku: bool = boolean(), default("false"), Live {
            beyond: "false: for servers only, as public authorities issue them; AOL demanded both",
            example: "true",
            see: ["provider.needs_client_eku"],
        }
    }
}

section! {
    /// One edge of the pool, for the plan.
    PlanNode = "plan_node", repeated: true {
        /// Its own FQDN.
        name: Domain = domain(), required, Live {
            beyond: "unset: refused; without any [[plan_node]] there is this node alone",
            example: "\"edge1.contoso.example\"",
            see: ["edge.node"],
        }
        /// Addresses of its Access Edge, as the edge itself has them.
        access: Vec<IpAddr> = list(address(), 4), default("[]"), Live {
            beyond: "empty: those of the listeners where it is this node, else not known",
            example: "[\"192.0.2.10\"]",
            see: ["listener.address"],
        }
        /// The same as the Internet sees them; different behind NAT.
        access_public: Vec<IpAddr> = list(address(), 4), default("[]"), Live {
            beyond: "empty: as `access`",
            example: "[\"198.51.100.10\"]",
            see: ["plan_node.access"],
        }
        /// Addresses of its Web Conferencing Edge.
        conferencing: Vec<IpAddr> = list(address(), 4), default("[]"), Live {
            beyond: "empty: written as not known",
            example: "[\"192.0.2.11\"]",
            see: ["plan.roles"],
        }
        /// The same as the Internet sees them.
        conferencing_public: Vec<IpAddr> = list(address(), 4), default("[]"), Live {
            beyond: "empty: as `conferencing`",
            example: "[\"198.51.100.11\"]",
            see: ["plan_node.conferencing"],
        }
        /// Addresses of its A/V Edge.
        av: Vec<IpAddr> = list(address(), 4), default("[]"), Live {
            beyond: "empty: written as not known",
            example: "[\"192.0.2.12\"]",
            see: ["plan.roles"],
        }
        /// The same as the Internet sees them.
        av_public: Vec<IpAddr> = list(address(), 4), default("[]"), Live {
            beyond: "empty: as `av`",
            example: "[\"198.51.100.12\"]",
            see: ["plan_node.av"],
        }
        /// Addresses of its internal side, which must not be translated.
        internal: Vec<IpAddr> = list(address(), 4), default("[]"), Live {
            beyond: "empty: those of the listeners where it is this node, else not known",
            example: "[\"10.0.0.10\"]",
            see: ["listener.address"],
        }
    }
}
