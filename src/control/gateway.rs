//! What the configuration says of the gateway, as its core takes it.

use crate::config::{Config, Dnd};
use crate::edge::gateway::{Authorisation, BusyAs, EdgeAddress, Setup};

/// How long a contact's error is waited for before a SIP user hears that his message was delivered,
/// in milliseconds: servers answer for users whom they do not have within a few.
const ERROR_GRACE_MS: u64 = 250;

/// Returns what the gateway of this process is made from; `None`: none runs.
///
/// `process_key`: random per process. `remembered`: what the store holds.
#[must_use]
pub fn gateway_setup(
    config: &Config,
    process_key: [u64; 2],
    remembered: Vec<Authorisation>,
) -> Option<Setup> {
    if !config.runs_gateway() {
        return None;
    }
    let gateway = &config.gateway;
    let seconds = |seconds: u64| u32::try_from(seconds).unwrap_or(u32::MAX);
    let edges = config.gateway_edges.iter().map(|edge| EdgeAddress {
        name: edge.name.clone(),
        port: edge.port,
        addresses: edge.addresses.clone(),
    });
    // Where nobody can connect, Contact names the port that nobody is told.
    let sip_port = gateway.listen.first().map_or(5061, std::net::SocketAddr::port);
    Some(Setup {
        process_key,
        seed: process_key[0],
        name: config.internal_fqdn().clone(),
        sip_port,
        edges: edges.collect(),
        subscription_refresh_s: seconds(gateway.subscription_refresh_s),
        chat_idle_s: seconds(gateway.chat_idle_s),
        answer_timeout_s: seconds(gateway.answer_timeout_s),
        busy_as: match gateway.dnd {
            Dnd::Busy => BusyAs::Busy,
            Dnd::DoNotDisturb => BusyAs::DoNotDisturb,
        },
        error_grace_ms: ERROR_GRACE_MS,
        remembered,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fixture::LEAST;
    use crate::config::parse;

    fn accepted(added: &str) -> Config {
        let text = format!("{LEAST}{added}");
        parse(std::path::Path::new("e.toml"), &text).expect("accepted")
    }

    #[test]
    fn every_key_of_the_gateway_reaches_its_core() {
        let text = "[gateway]\nlisten = [\"10.0.0.1:5062\"]\nsubscription_refresh_s = 3600\n\
                    chat_idle_s = 120\nanswer_timeout_s = 20\ndnd = \"busy\"\n\
                    [[gateway_edge]]\nname = \"edge1.contoso.example\"\nport = 23457\n\
                    addresses = [\"10.0.0.7\"]\n";
        let config = accepted(text);
        let setup = gateway_setup(&config, [1, 2], Vec::new()).expect("it runs");
        assert_eq!((setup.sip_port, setup.busy_as), (5062, BusyAs::Busy));
        let times = (setup.subscription_refresh_s, setup.chat_idle_s, setup.answer_timeout_s);
        assert_eq!(times, (3_600, 120, 20));
        assert_eq!(setup.edges.len(), 1);
        assert_eq!(setup.edges[0].port, 23457);
        assert_eq!(&setup.name, config.internal_fqdn());
        let none = accepted("");
        assert!(gateway_setup(&none, [1, 2], Vec::new()).is_none());
    }
}
