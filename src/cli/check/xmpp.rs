//! With `--live`: the servers of XMPP partners and the edges of a gateway, as they are.

use std::net::SocketAddr;

use super::live::doors::ADDRESSES_MAX;
use super::live::handshake::{Reached, reach};
use super::{Checker, Severity};
use crate::cli::explain::xmpp_door;
use crate::dns::{Answer, Question};
use crate::edge::Class;
use crate::policy::{Date, ExpectedNames, Snapshot, XmppKey};
use crate::tls::Material;

impl Checker<'_> {
    /// Opens a stream to each XMPP partner, at most `limit`, up to the features behind TLS.
    pub(super) fn xmpp_partners(&mut self, snapshot: &Snapshot, limit: usize) {
        let config = self.config;
        let Some(ours) = config.edge.domains.first() else { return };
        if !config.runs_xmpp_proxy() {
            return;
        }
        let today = Date::of_unix_s(self.now_unix_s);
        let listed =
            (0_u16..).map_while(|index| Some((index, snapshot.xmpp_partner(XmppKey(index))?)));
        let held = listed.filter(|(_, partner)| partner.expires.is_none_or(|day| day >= today));
        for (index, partner) in held.take(limit) {
            let found = match xmpp_door(config, snapshot, partner, ours) {
                Ok(Ok(())) => continue,
                Ok(Err(why)) => why,
                Err(error) => format!("{error:#}"),
            };
            let domain = &partner.domain;
            self.at(
                &format!("xmpp_partner[{index}].domain"),
                Severity::Warning,
                "xmpp-partner-unreachable",
                format!("no stream would come up with {domain}: {found}"),
                format!("entente explain xmpp:{ours} to xmpp:{domain} --live shows every step"),
            );
        }
    }

    /// Connects to the proxies that the gateway of this process needs.
    pub(super) fn gateway_edges(
        &mut self,
        material: &Material,
        ask: &impl Fn(&Question) -> Answer,
    ) {
        for (index, edge) in self.config.gateway_edges.iter().enumerate() {
            let key = format!("gateway_edge[{index}].name");
            let mut addresses = edge.addresses.clone();
            if addresses.is_empty() {
                let question = Question::Host { fqdn: edge.name.clone(), port: edge.port };
                let found = ask(&question).outcome.unwrap_or_default().into_iter();
                addresses = found.flat_map(|target| target.addresses).collect();
            }
            if addresses.is_empty() {
                let sentence = format!("{} has no address", edge.name);
                let advice = "publish one inside, or set gateway_edge.addresses";
                self.at(&key, Severity::Warning, "gateway-edge-not-found", sentence, advice);
            }
            let expected = ExpectedNames::host(edge.name.clone());
            for address in addresses.into_iter().take(ADDRESSES_MAX) {
                let address = SocketAddr::new(address, edge.port);
                let reached =
                    reach(material, Class::XmppLink, None, address, &edge.name, &expected);
                let (why, advice) = match reached {
                    Reached::Yes(_) => continue,
                    Reached::No(why) => (why, "start the edge, or let port 23456 through"),
                    Reached::Refused(why, _) => (
                        why,
                        "compare its certificate with this name, and ours with its xmpp.gateways",
                    ),
                };
                let sentence = format!("the proxy of {} at {address}: {why}", edge.name);
                self.at(&key, Severity::Warning, "gateway-edge-unreachable", sentence, advice);
            }
        }
    }
}
