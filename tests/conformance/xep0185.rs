//! XEP-0185: keys of dialback.

use entente::xmpp::dialback::Secrets;

const SECRET: &[u8] = b"s3cr3tf0rd14lb4ck";
const KEY: &str = "37c69b1cf07a3f67c04a5ef5902fa5114f2c76fe4a2686482ba5b89323075643";

#[test]
fn s3_the_documents_example() {
    let secrets = Secrets::new(SECRET, &[]);
    assert_eq!(secrets.key("xmpp.example.com", "example.org", "D60000229F"), KEY);
    assert!(secrets.verify("xmpp.example.com", "example.org", "D60000229F", KEY));
}

#[test]
fn s3_a_key_is_good_for_its_stream_and_its_domains_alone() {
    let secrets = Secrets::new(SECRET, &[]);
    assert!(!secrets.verify("example.org", "xmpp.example.com", "D60000229F", KEY));
    assert!(!secrets.verify("xmpp.example.com", "example.org", "D60000229E", KEY));
    assert!(!Secrets::new(b"x", &[]).verify("xmpp.example.com", "example.org", "D60000229F", KEY));
    for key in ["", "3", "zz", &KEY[..62], &format!("{KEY}00"), "ü"] {
        assert!(!secrets.verify("xmpp.example.com", "example.org", "D60000229F", key), "{key}");
    }
}

#[test]
fn s3_a_previous_secret_is_accepted_while_it_rolls_and_makes_no_keys() {
    let rolled = Secrets::new(b"new", &[b"older", SECRET]);
    assert!(rolled.verify("xmpp.example.com", "example.org", "D60000229F", KEY));
    let key = rolled.key("xmpp.example.com", "example.org", "D60000229F");
    assert_eq!(key, Secrets::new(b"new", &[]).key("xmpp.example.com", "example.org", "D60000229F"));
    assert_ne!(key, KEY);
    assert!(!format!("{rolled:?}").contains("new"), "secrets are not printed");
}
