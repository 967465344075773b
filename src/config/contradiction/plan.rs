//! What of the plan cannot hold together.

use super::{Finder, paths};
use crate::plan::{Planned, Topology};

/// Notes every contradiction of the sections `plan` and `plan_node`.
pub(super) fn find(finder: &mut Finder<'_>) {
    domains(finder);
    roles(finder);
    topology(finder);
    nodes(finder);
}

fn domains(finder: &mut Finder<'_>) {
    let config = finder.config;
    let listed = paths("plan.xmpp_domains", config.plan.xmpp_domains.iter().cloned());
    for (key, domain) in &listed {
        if !config.edge.domains.contains(domain) {
            finder.at(key, format!("{domain} is not an own domain"), "not served here");
            finder.help(format!("add \"{domain}\" to edge.domains"));
        }
    }
    finder.no_repetition(&listed, "domain");
}

/// Notes keys of roles that are not planned.
fn roles(finder: &mut Finder<'_>) {
    let config = finder.config;
    for (key, role, word) in [
        ("plan.conferencing_fqdn", Planned::Conferencing, "conferencing"),
        ("plan.conferencing_vip", Planned::Conferencing, "conferencing"),
        ("plan.av_fqdn", Planned::Av, "av"),
        ("plan.av_vip", Planned::Av, "av"),
        ("plan.xmpp_fqdn", Planned::Xmpp, "xmpp"),
        ("plan.xmpp_domains", Planned::Xmpp, "xmpp"),
        ("plan.web_fqdn", Planned::Web, "web"),
        ("plan.web_names", Planned::Web, "web"),
        ("plan.web_addresses", Planned::Web, "web"),
    ] {
        let runs = match role {
            Planned::Xmpp => config.runs_xmpp_proxy(),
            Planned::Av => !config.av_listeners.is_empty(),
            _ => false,
        };
        if config.source.says(key) && !runs && !config.plan.roles.contains(&role) {
            finder.at(key, format!("the role `{word}` is not planned"), "has no effect");
            finder.help(format!("add \"{word}\" to plan.roles"));
        }
    }
}

fn topology(finder: &mut Finder<'_>) {
    let config = finder.config;
    let plan = &config.plan;
    if plan.topology == Topology::Single && config.plan_nodes.len() > 1 {
        let message = format!("{} edges in a topology of one", config.plan_nodes.len());
        finder.at("plan_node[1].name", message, "a second edge");
        finder.help("write plan.topology = \"pool_dns\" or \"pool_hlb\"");
    }
    for (key, addresses) in [
        ("plan.access_vip", &plan.access_vip),
        ("plan.conferencing_vip", &plan.conferencing_vip),
        ("plan.av_vip", &plan.av_vip),
        ("plan.internal_vip", &plan.internal_vip),
    ] {
        if plan.topology != Topology::PoolHlb && !addresses.is_empty() {
            finder.at(key, "virtual addresses without a hardware balancer", "has no effect");
            finder.help("write plan.topology = \"pool_hlb\"");
        }
    }
    if plan.topology != Topology::PoolHlb {
        return;
    }
    for (index, node) in config.plan_nodes.iter().enumerate() {
        for (key, bound, public) in [
            ("access_public", &node.access, &node.access_public),
            ("conferencing_public", &node.conferencing, &node.conferencing_public),
            ("av_public", &node.av, &node.av_public),
        ] {
            if !public.is_empty() && public != bound {
                let message = "NAT behind a hardware balancer";
                finder.at(&format!("plan_node[{index}].{key}"), message, "not supported");
                finder.help("give the edge addresses that the Internet routes");
            }
        }
    }
}

fn nodes(finder: &mut Finder<'_>) {
    let config = finder.config;
    let names: Vec<_> = config
        .plan_nodes
        .iter()
        .enumerate()
        .map(|(index, node)| (format!("plan_node[{index}].name"), node.name.clone()))
        .collect();
    finder.no_repetition(&names, "edge");
    let node = config.node();
    let listed = names.is_empty() || names.iter().any(|(_, name)| name == node);
    if config.source.says("edge.node") && !listed {
        let message = format!("{node} is no edge of the plan");
        finder.at("edge.node", message, "this node is in no [[plan_node]]");
        finder.beside("plan_node[0].name", "the edges begin here");
    }
    for (index, node) in config.plan_nodes.iter().enumerate() {
        for (key, bound, public) in [
            ("access_public", &node.access, &node.access_public),
            ("conferencing_public", &node.conferencing, &node.conferencing_public),
            ("av_public", &node.av, &node.av_public),
        ] {
            // Where `access` is left out it is what the listeners say, which are counted elsewhere.
            if !public.is_empty() && !bound.is_empty() && public.len() != bound.len() {
                let message = format!("{} public addresses for {}", public.len(), bound.len());
                finder.at(&format!("plan_node[{index}].{key}"), message, "one for each is needed");
            }
        }
    }
}
