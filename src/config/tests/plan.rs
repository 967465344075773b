//! What of the plan is refused, with its exact message.

use super::{one, refuse_added, triple};

#[test]
fn a_name_of_a_role_that_is_not_planned_has_no_effect() {
    assert_eq!(
        one("[plan]\nav_fqdn = \"av.contoso.example\"\n"),
        triple("the role `av` is not planned", "has no effect", "add \"av\" to plan.roles")
    );
}

#[test]
fn an_unknown_role_is_refused_with_those_there_are() {
    assert_eq!(
        one("[plan]\nroles = [\"xmp\"]\n"),
        triple(
            "`plan.roles[0]` cannot be `xmp`",
            "expected one of: av, conferencing, xmpp, web, push, public_im, central_management",
            "did you mean \"xmpp\"?"
        )
    );
}

#[test]
fn a_virtual_address_needs_a_hardware_balancer() {
    assert_eq!(
        one("[plan]\naccess_vip = [\"192.0.2.4\"]\n"),
        triple(
            "virtual addresses without a hardware balancer",
            "has no effect",
            "write plan.topology = \"pool_hlb\""
        )
    );
}

#[test]
fn two_edges_are_a_pool() {
    let nodes = "[[plan_node]]\nname = \"sip.contoso.example\"\n\
                 [[plan_node]]\nname = \"edge2.contoso.example\"\n";
    assert_eq!(
        one(nodes),
        triple(
            "2 edges in a topology of one",
            "a second edge",
            "write plan.topology = \"pool_dns\" or \"pool_hlb\""
        )
    );
}

#[test]
fn nat_behind_a_hardware_balancer_is_refused() {
    let text = "[plan]\ntopology = \"pool_hlb\"\n\
                [[plan_node]]\nname = \"edge1.contoso.example\"\n\
                access = [\"10.1.1.1\"]\naccess_public = [\"192.0.2.1\"]\n";
    assert_eq!(
        one(text),
        triple(
            "NAT behind a hardware balancer",
            "not supported",
            "give the edge addresses that the Internet routes"
        )
    );
}

#[test]
fn an_edge_is_listed_once_and_its_addresses_pair_up() {
    let text = "[plan]\ntopology = \"pool_dns\"\n\
                [[plan_node]]\nname = \"edge1.contoso.example\"\n\
                access = [\"10.1.1.1\"]\naccess_public = [\"192.0.2.1\", \"192.0.2.2\"]\n\
                [[plan_node]]\nname = \"edge1.contoso.example\"\n";
    let problems = refuse_added(text);
    assert_eq!(
        problems,
        [
            triple("2 public addresses for 1", "one for each is needed", ""),
            triple("edge edge1.contoso.example is given twice", "given again here", ""),
        ]
    );
}

#[test]
fn an_xmpp_domain_must_be_an_own_one() {
    assert_eq!(
        one("[plan]\nroles = [\"xmpp\"]\nxmpp_domains = [\"fabrikam.example\"]\n"),
        triple(
            "fabrikam.example is not an own domain",
            "not served here",
            "add \"fabrikam.example\" to edge.domains"
        )
    );
}
