use std::path::Path;

use super::*;
use crate::config;

const TEXT: &str = concat!(
    include_str!("../../../../tests/fixtures/least.toml"),
    r#"
[[xmpp_partner]]
domain = "partner.example"
additional_domains = ["chat.partner.example"]
kind = "federated"
sasl = "optional"
[[xmpp_partner]]
domain = "talk.example"
tls = "not_supported"
sasl = "not_supported"
expires = 2020-01-01
[[blocked]]
domain = "*.litware.example"
[[external_access_policy]]
name = "global"
federation = true
xmpp = true
[[external_access_policy]]
name = "none"
[[user]]
uri = "lee@contoso.example"
policy = "none"
[[user]]
uri = "bo@contoso.example"
home = "sba"
"#
);

fn explained(from: &str, to: &str) -> Explanation {
    let config = config::parse(Path::new("e.toml"), TEXT).unwrap_or_else(|r| panic!("{r}"));
    let (from, to) = (address(from).unwrap(), address(to).unwrap());
    explain(&config, &from, &to, false).unwrap()
}

/// Returns the screen that stopped a stanza, with why and where.
fn stopped(from: &str, to: &str) -> (&'static str, String, Option<String>) {
    let explained = explained(from, to);
    assert_eq!(explained.verdict, Verdict::Refused);
    let step = explained.screens.into_iter().find(|step| step.said == Said::Stopped);
    let step = step.expect("a refusal stops somewhere");
    (step.screen, step.sentence, step.place)
}

const ALICE: &str = "xmpp:alice@contoso.example";

#[test]
fn a_stanza_of_a_partner_passes_and_its_records_and_names_are_told() {
    let explained = explained("xmpp:bob@chat.partner.example/phone", ALICE);
    let text = text(&explained);
    let expected = "\
stanza bob@chat.partner.example to alice@contoso.example, from an XMPP partner

  switches             passed
  blocked domains      passed
  own domains          passed
  XMPP partner         passed   partner.example (federated)
                                rule xmpp_partner[0], e.toml:14
  proof of the domain  passed   SASL EXTERNAL over TLS, or dialback over TLS
  the own user         passed   policy global opens XMPP partners
                                rule external_access_policy[0], e.toml:26
  unasked              passed   may add our users, write to them and see their notes

verdict           it passes: XMPP partner partner.example
rule              xmpp_partner[0], e.toml:14
DNS               _xmpp-server._tcp.chat.partner.example and \
_xmpps-server._tcp.chat.partner.example SRV: not asked; --live does
DNS               chat.partner.example A and AAAA (port 5269), if neither exists: \
not asked; --live does
certificate       must carry dNSName chat.partner.example or SRVName \
_xmpp-server.chat.partner.example or xmppAddr chat.partner.example
own certificate   must carry dNSName contoso.example or SRVName _xmpp-server.contoso.example or \
xmppAddr contoso.example
";
    assert_eq!(text, expected);
}

#[test]
fn the_first_screen_that_stops_is_told_with_its_place() {
    let told =
        |sentence: &str, place: Option<&str>| (sentence.to_owned(), place.map(str::to_owned));
    let stop = |from: &str, to: &str| {
        let (screen, sentence, place) = stopped(from, to);
        (screen, (sentence, place))
    };
    assert_eq!(
        stop(ALICE, "xmpp:eve@nobody.example"),
        ("XMPP partner", told("no XMPP partner is listed under this domain", None))
    );
    assert_eq!(
        stop("xmpp:eve@mail.litware.example", ALICE),
        ("blocked domains", told("the domain is blocked", Some("blocked[0], e.toml:24")))
    );
    assert_eq!(
        stop("xmpp:bob@talk.example", ALICE),
        (
            "XMPP partner",
            told("the entry of this XMPP partner has expired", Some("xmpp_partner[1], e.toml:19"))
        )
    );
    assert_eq!(
        stop("xmpp:bob@partner.example", "xmpp:kim@elsewhere.example"),
        ("own domains", told("the other domain is none of ours", None))
    );
    let (screen, (sentence, _)) = stop("xmpp:bo@contoso.example", "xmpp:bob@partner.example");
    assert_eq!(screen, "the own user");
    assert!(sentence.contains("survivable branch appliance"), "{sentence}");
    let (screen, (sentence, place)) = stop("xmpp:bob@partner.example", "sip:lee@contoso.example");
    assert_eq!(screen, "the own user");
    assert!(sentence.starts_with("the external access policy none"), "{sentence}");
    assert_eq!(place.as_deref(), Some("external_access_policy[1], e.toml:30"));
}

#[test]
fn an_address_is_read_as_xmpp_and_sip_write_it() {
    for (written, read) in [
        ("xmpp:Alice@Contoso.example/desk?message", "alice@contoso.example"),
        ("XMPP:contoso.example", "contoso.example"),
        ("sip:alice@contoso.example", "alice@contoso.example"),
    ] {
        assert_eq!(address(written).map(|address| address.text).as_deref(), Ok(read), "{written}");
    }
    assert!(address("xmpp:@").is_err());
    assert!(address("xmpp:alice@localhost").is_err());
}
