//! Whether the name servers answer.

use std::net::SocketAddr;

use super::{Checker, Severity};
use crate::control;
use crate::dns::resolver::{Resolver, Settings};
use crate::dns::{Answer, Domain, Failure, Question};

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
        let Some(domain) = config.edge.domains.first() else { return };
        if self.answer(config.dns.servers.clone(), domain).await.is_none() {
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
        }
        if let Some(resolver) = self.resolver(config.dns.servers.clone()) {
            self.published(&resolver).await;
        }
    }

    /// Asks for the federation record of `domain`; `None` when no server answers.
    async fn answer(&self, servers: Vec<SocketAddr>, domain: &Domain) -> Option<Answer> {
        let resolver = self.resolver(servers)?;
        let answer = resolver.answer(&Question::Federation(domain.clone())).await;
        match answer.outcome {
            Err(Failure::Timeout | Failure::ServerFailure) => None,
            _ => Some(answer),
        }
    }

    /// Makes a resolver as the edge has it; `None` when the system's configuration is unreadable.
    pub(super) fn resolver(&self, servers: Vec<SocketAddr>) -> Option<Resolver> {
        let settings = Settings { servers, attempts: 1, ..control::resolver_settings(self.config) };
        Resolver::new(&settings, 0).ok()
    }
}
