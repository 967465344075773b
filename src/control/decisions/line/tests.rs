//! What is written is read again; what is no decision is said to be none.

use std::path::Path;

use super::*;
use crate::config::fixture::LEAST;
use crate::config::{Config, parse};
use crate::dns::DnsView;
use crate::policy::{Inbound, Outbound, Snapshot};
use crate::time::Now;

fn name(text: &str) -> Domain {
    Domain::parse(text.as_bytes()).unwrap()
}

struct Answers(Vec<SharedAnswer>);

impl DnsView for Answers {
    fn look(&self, _: Now, question: &Question) -> Option<SharedAnswer> {
        self.0.iter().find(|answer| answer.question == *question).cloned()
    }
}

fn config() -> Config {
    let text = format!(
        "{LEAST}addresses = [\"10.0.0.20\"]\n[[partner]]\ndomain = \"fabrikam.example\"\n\
         [[blocked]]\ndomain = \"litware.example\"\n[remote_users]\nenabled = false\n\
         [addresses]\nallow_networks = [\"198.51.100.0/24\"]\n"
    );
    parse(Path::new("e.toml"), &text).unwrap()
}

fn policy() -> Snapshot {
    crate::control::policy(&config()).unwrap()
}

fn peer(host: &str) -> PeerNames {
    PeerNames {
        dns_names: vec![name(host), name("more.example")],
        sip_domains: vec![name("fabrikam.example")],
        common_name: Some(name("cn.example")),
        client_auth: false,
        anchors: Anchors::OfPartner(3),
        fingerprint: [7; 32],
        expires_unix_s: 5,
        revocation: RevocationState::Good,
        xmpp: None,
    }
}

fn found(domain: &str, host: &str) -> SharedAnswer {
    let target = Target {
        fqdn: name(host),
        port: 5061,
        priority: 1,
        weight: 2,
        addresses: vec!["198.51.100.7".parse().unwrap(), "2001:db8::7".parse().unwrap()],
        direct_tls: true,
    };
    let question = Question::Federation(name(domain));
    Arc::new(Answer { question, outcome: Ok(vec![target]), ttl_s: 300 })
}

fn decided(direction: Direction, from: &str, answers: Vec<SharedAnswer>, said: Said) -> Decided {
    let peer = (direction == Direction::Inbound).then(|| Arc::new(peer("sip.fabrikam.example")));
    let (from, to) = (name(from), Some(name("contoso.example")));
    Decided { decision_id: 0xabc, epoch: 4, direction, peer, from, to, answers, said }
}

fn written(line: &Line) -> String {
    let mut out = Vec::new();
    line.write(&mut out);
    String::from_utf8(out).unwrap()
}

/// Writes a decision, reads it back and returns both forms.
fn there_and_back(decided: &Decided) -> (String, Line) {
    let config = config();
    let line = Line::of(decided, 2, 1_795_381_445, |place| Some(config.whereabouts(place)));
    let text = written(&line);
    assert_eq!(text.find('\n'), Some(text.len() - 1), "one line: {text}");
    let read = Line::read(text.as_bytes()).unwrap();
    assert_eq!(read, line);
    (text, read)
}

#[test]
fn a_permit_is_written_with_its_rule_and_what_dns_said() {
    let answers = vec![found("fabrikam.example", "sip.fabrikam.example")];
    let q = Outbound { from: &name("contoso.example"), to: &name("fabrikam.example") };
    let decision = policy().outbound(Now::default(), &q, &Answers(answers.clone()));
    let said = Said::Verdict(decision);
    let mut decided = decided(Direction::Outbound, "contoso.example", answers.clone(), said);
    decided.to = Some(name("fabrikam.example"));
    let (text, line) = there_and_back(&decided);
    assert_eq!(
        text,
        "{\"time\":\"2026-11-22T21:04:05Z\",\"decision\":\"0000000000000abc\",\"shard\":2,\
         \"epoch\":4,\"direction\":\"out\",\"from\":\"contoso.example\",\
         \"to\":\"fabrikam.example\",\"dns\":[{\"srv\":\"fabrikam.example\",\"targets\":\
         [{\"fqdn\":\"sip.fabrikam.example\",\"port\":5061,\"priority\":1,\"weight\":2,\
         \"addresses\":[\"198.51.100.7\",\"2001:db8::7\"]}]}],\"verdict\":\"permit\",\
         \"by\":\"policy\",\"kind\":\"allowed_domain\",\"verification\":\"source\",\
         \"rule\":\"allowed partner domain fabrikam.example\",\"place\":\"partner[0]\",\
         \"whereabouts\":\"e.toml:14\"}\n"
    );
    assert_eq!(line.answers()[0].outcome, answers[0].outcome);
    let Ok(Before::Permitted { verified, .. }) = line.before() else { panic!("{line:?}") };
    assert_eq!(verified, [false, true]);
}

#[test]
fn a_refusal_is_written_with_its_answer_and_its_certificate() {
    let (from, to) = (name("litware.example"), name("contoso.example"));
    let peer = peer("sip.litware.example");
    let q = Inbound { peer: &peer, from: &from, to: &to };
    let said = Said::Verdict(policy().inbound(Now::default(), &q, &Answers(Vec::new())));
    let (text, line) =
        there_and_back(&decided(Direction::Inbound, "litware.example", Vec::new(), said));
    let end = "\"verdict\":\"refuse\",\"by\":\"policy\",\"refusal\":\"blocked\",\
               \"rule\":\"litware.example is blocked (rule blocked[0])\",\
               \"place\":\"blocked[0]\",\"whereabouts\":\"e.toml:16\",\"status\":403,\
               \"diagnostics\":1005}\n";
    assert!(text.ends_with(end), "{text}");
    assert_eq!(line.before(), Ok(Before::Refused(RefusalRule::Blocked)));
    let again = line.peer.unwrap().asked(Anchors::General);
    assert_eq!(again.dns_names[0].as_str(), "sip.fabrikam.example");
    assert_eq!(again.common_name, Some(name("cn.example")));
    assert_eq!((again.client_auth, again.revocation), (false, RevocationState::Good));
}

#[test]
fn every_failure_of_dns_and_a_question_for_a_host_come_back() {
    let failures = [
        Failure::NoSuchService,
        Failure::ServiceRefused,
        Failure::NoAddress,
        Failure::ServerFailure,
        Failure::Timeout,
    ];
    let (fqdn, port) = (name("edge.fabrikam.example"), 5062);
    for failure in failures {
        let question = Question::Host { fqdn: fqdn.clone(), port };
        let answer = Arc::new(Answer { question, outcome: Err(failure), ttl_s: 1 });
        let refusal = policy().remote_user(&name("contoso.example"), None);
        let said = Said::Verdict(refusal);
        let answers = vec![Arc::clone(&answer)];
        let (_, line) =
            there_and_back(&decided(Direction::RemoteUser, "contoso.example", answers, said));
        assert_eq!(line.answers()[0].question, answer.question);
        assert_eq!(line.answers()[0].outcome, Err(failure));
    }
}

#[test]
fn whatever_a_sentence_holds_stays_within_its_quotes() {
    let sentence = "a\"},{\\\r\n\u{1}\u{2028}\u{e9}\u{7f}".to_owned();
    let (by, status, diagnostics) = (RefusedBy::Limit, 480, 1007);
    let said = Said::Refused { by, status, diagnostics, sentence: sentence.clone() };
    let (_, line) =
        there_and_back(&decided(Direction::Inbound, "fabrikam.example", Vec::new(), said));
    assert_eq!((line.rule, line.by), (sentence, By::Limit));
}

#[test]
fn every_word_for_kinds_and_refusals_is_known_when_it_is_read() {
    let line = |verdict: &str| {
        let text = format!(
            "{{\"time\":\"2026-11-22T22:24:05Z\",\"decision\":\"1\",\"shard\":0,\"epoch\":1,\
             \"direction\":\"user\",\"from\":\"contoso.example\",\"by\":\"policy\",\
             \"rule\":\"\",{verdict}}}"
        );
        Line::read(text.as_bytes())
    };
    for kind in PartnerKind::ALL.map(PartnerKind::label) {
        let verdict =
            format!("\"verdict\":\"permit\",\"verification\":\"never\",\"kind\":\"{kind}\"");
        assert!(line(&verdict).is_ok(), "{kind}");
    }
    for rule in RefusalRule::ALL.map(RefusalRule::label) {
        assert!(line(&format!("\"verdict\":\"refuse\",\"refusal\":\"{rule}\"")).is_ok(), "{rule}");
    }
    let why = |verdict: &str| line(verdict).unwrap_err();
    assert_eq!(why("\"verdict\":\"permit\""), "a permit without `kind`");
    assert_eq!(why("\"verdict\":\"refuse\",\"refusal\":\"whim\""), "there is no refusal \"whim\"");
    let lying = "\"verdict\":\"refuse\",\"refusal\":\"blocked\",\"dns\":[{\"srv\":\"a.example\"}]";
    assert_eq!(why(lying), "`dns` has an answer that is neither targets nor a failure");
}

#[test]
fn what_is_no_decision_is_said_to_be_none() {
    let why = |text: &str| Line::read(text.as_bytes()).unwrap_err();
    assert!(why("2026-11-22 something happened").starts_with("invalid type: integer"));
    assert!(why("{}").starts_with("missing field `time`"));
    assert!(why("{\"time\":\"yesterday\"}").starts_with("expected a time such as"));
    assert!(why("{\"from\":\"a b\"}").starts_with("\"a b\" is no domain name"));
}

#[test]
fn moments_are_written_and_read_the_same_way() {
    for text in ["1970-01-01T00:00:00Z", "2024-02-29T23:59:59Z", "2026-11-22T22:24:05Z"] {
        assert_eq!(Moment::try_from(text.to_owned()).unwrap().to_string(), text);
    }
    for wrong in [
        "2026-11-22T24:00:00Z",
        "2026-11-22T22:60:00Z",
        "2026-11-22T22:00:00",
        "2026-11-22 22:00:00Z",
        "2026-11-31T22:00:00Z",
        "2026-11-22T2:00:00Z",
        "2026-11-22T22:00:00.5Z",
    ] {
        assert!(Moment::try_from(wrong.to_owned()).is_err(), "{wrong}");
    }
}
