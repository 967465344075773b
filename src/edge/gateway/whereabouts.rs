//! Where the servers are that the gateway connects to: addresses that are stated, or those of DNS.

use std::net::{IpAddr, SocketAddr};

use super::Gateway;
use crate::dns::{Domain, Question, Want};
use crate::edge::{Command, Effects};
use crate::time::Now;

/// What is known of a server's addresses.
pub(super) enum Whereabouts {
    /// These; none, if DNS has none.
    Known(Vec<SocketAddr>),
    /// This is being asked.
    Asked(Question),
}

impl Gateway {
    /// Returns where a server is; `stated`: its addresses as the configuration says them.
    pub(super) fn whereabouts(
        &mut self,
        now: Now,
        (name, port): (&Domain, u16),
        stated: &[IpAddr],
        effects: &mut Effects,
    ) -> Whereabouts {
        if !stated.is_empty() {
            return Whereabouts::Known(stated.iter().map(|ip| (*ip, port).into()).collect());
        }
        let question = Question::Host { fqdn: name.clone(), port };
        match self.dns.want(now, &question) {
            Want::Known(answer) => {
                let targets = answer.outcome.iter().flatten();
                let of_target = |target: &crate::dns::Target| {
                    let port = target.port;
                    target.addresses.iter().map(move |ip| (*ip, port).into()).collect::<Vec<_>>()
                };
                Whereabouts::Known(targets.flat_map(of_target).collect())
            }
            asked => {
                if matches!(asked, Want::Ask) {
                    effects.commands.push(Command::Ask(question.clone()));
                }
                Whereabouts::Asked(question)
            }
        }
    }
}
