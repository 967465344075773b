//! Whether the name servers answer, and what they say of the own domains.

use std::net::SocketAddr;

use super::{Checker, Severity};
use crate::dns::resolver::{Resolver, Settings};
use crate::dns::{Answer, Domain, Failure, Question};

/// Own domains whose record is looked up; an organisation with more sees the first of them.
const DOMAINS_ASKED_MAX: usize = 8;

impl Checker<'_> {
    pub(super) fn name_servers(&mut self) {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
            return;
        };
        runtime.block_on(self.ask());
    }

    async fn ask(&mut self) {
        let config = self.config;
        for (index, server) in config.dns.servers.iter().enumerate() {
            let Some(domain) = config.edge.domains.first() else { return };
            if self.answer(vec![*server], domain).await.is_none() {
                self.at(
                    &format!("dns.servers[{index}]"),
                    Severity::Warning,
                    "dns-server-silent",
                    format!("the name server {server} does not answer"),
                    "correct its address, or let its answers through",
                );
            }
        }
        for (index, domain) in config.edge.domains.iter().take(DOMAINS_ASKED_MAX).enumerate() {
            let answer = self.answer(config.dns.servers.clone(), domain).await;
            let Some(answer) = answer else {
                if config.dns.servers.is_empty() {
                    self.at(
                        "dns",
                        Severity::Warning,
                        "dns-server-silent",
                        "the name servers of the system do not answer",
                        "set dns.servers, or correct /etc/resolv.conf",
                    );
                }
                return;
            };
            self.own_record(index, domain, &answer);
        }
    }

    /// Says what partners that look for this organisation would find.
    fn own_record(&mut self, index: usize, domain: &Domain, answer: &Answer) {
        let key = format!("edge.domains[{index}]");
        let record = format!("_sipfederationtls._tcp.{domain}");
        let external = &self.config.edge.external_fqdn;
        match &answer.outcome {
            Ok(targets) if targets.iter().any(|target| target.fqdn == *external) => {}
            Ok(targets) => {
                let found: Vec<_> = targets.iter().map(|target| target.fqdn.as_str()).collect();
                let found = found.join(", ");
                self.at(
                    &key,
                    Severity::Warning,
                    "dns-record-elsewhere",
                    format!("{record} names {found}, not {external}"),
                    format!("{record}. SRV 0 0 5061 {external}."),
                );
            }
            Err(Failure::NoAddress) => self.at(
                &key,
                Severity::Warning,
                "dns-record-without-address",
                format!("{record} exists, but its target has no address"),
                format!("publish A or AAAA for {external}"),
            ),
            Err(_) => self.at(
                &key,
                Severity::Note,
                "dns-record-missing",
                format!("there is no {record}"),
                format!(
                    "for partners that find this edge by DNS: {record}. SRV 0 0 5061 {external}."
                ),
            ),
        }
    }

    /// Asks for the federation record of `domain`; `None` when no server answers.
    async fn answer(&self, servers: Vec<SocketAddr>, domain: &Domain) -> Option<Answer> {
        let dns = &self.config.dns;
        let settings = Settings {
            servers,
            timeout_ms: dns.timeout_ms,
            attempts: 1,
            hold_down_s: dns.hold_down_s,
            sips_srv: dns.sips_srv,
        };
        let resolver = Resolver::new(&settings, 0).ok()?;
        let answer = resolver.answer(&Question::Federation(domain.clone())).await;
        match answer.outcome {
            Err(Failure::Timeout | Failure::ServerFailure) => None,
            _ => Some(answer),
        }
    }
}
