//! What a deployment needs around the edge: firewall rules, DNS records, certificates and the
//! rules of a load balancer, each with the reason for it.
//!
//! ```text
//!  Deployment ─> plan() ─> Plan { firewall, nat, dns, certificates, balancer } ─> render ─> text
//! ```
//!
//! A pure core: [`Deployment`] is what the configuration says, [`plan()`] reckons, [`render`] makes
//! text of it. The tables reproduce those of the planning guide for Lync Server 2013 edges; where
//! its pages contradict each other, a [`Note`] says what is followed here.

mod balancer;
mod certificates;
mod deployment;
mod dns;
mod firewall;
mod notes;
pub mod render;
mod rows;
mod translation;

pub use deployment::{
    Addresses, Av, Deployment, Doors, Identity, Inner, Node, Planned, Runs, Shows, Topology,
    Version, Vips, Xmpp,
};
pub use rows::{
    Allowed, At, BalancerRow, CertificateRow, Direction, DnsRow, Eku, Endpoint, FirewallRow,
    Issuer, NatRow, Note, Place, Plan, PortOf, Record, Role, San, Section, Transport,
};

/// Returns what `deployment` needs.
#[must_use]
pub fn plan(deployment: &Deployment) -> Plan {
    Plan {
        topology: deployment.topology,
        firewall: firewall::rows(deployment),
        nat: translation::rows(deployment),
        dns: dns::rows(deployment),
        certificates: certificates::rows(deployment),
        balancer: balancer::rows(deployment),
        notes: notes::notes(deployment),
    }
}
