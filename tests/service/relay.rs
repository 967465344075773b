//! A relay with no other role beside it.

use std::net::UdpSocket;

use super::*;

/// An Allocate for UDP without credentials (RFC 8656 section 7.1), which is challenged.
const ALLOCATE: [u8; 28] = [
    0x00, 0x03, 0x00, 0x08, 0x21, 0x12, 0xA4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x00,
    0x19, 0x00, 0x04, 17, 0, 0, 0,
];

#[test]
fn a_relay_alone_starts_answers_reloads_and_ends() {
    let world = World::new();
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let listener = taken.local_addr().unwrap();
    drop(taken);
    fs::write(world.directory.path().join("turn-secrets.txt"), "a-secret-of-this-test\n").unwrap();
    let text = format!(
        "[edge]\nexternal_fqdn = \"sip.contoso.example\"\ndomains = [\"contoso.example\"]\n\
         drain_notice_s = 1\n[av]\nrelayed = [\"127.0.0.1\"]\nports_first = 10000\n\
         secrets = \"turn-secrets.txt\"\n[[av_listener]]\naddress = \"{listener}\"\n\
         [management]\nlisten = [\"{}\"]\n\
         [log]\nformat = \"json\"\n",
        world.management
    );
    world.write(&text);
    let edge = world.run(|_| {});
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    client.connect(listener).unwrap();
    let mut answer = [0; 1500];
    let answered = || client.send(&ALLOCATE).is_ok() && client.recv(&mut answer).is_ok();
    assert!(within(answered), "{}", world.logged());
    assert_eq!(answer[..2], [0x01, 0x13], "an error response to Allocate");
    assert_eq!(answer[8..20], ALLOCATE[8..20], "of its transaction");

    world.write(&text.replace("[av]", "[av]\nallocations = 100"));
    signal(&edge, "HUP");
    let epoch = "entente_control_config_epoch 2\n";
    assert!(within(|| world.ask("/metrics").contains(epoch)), "{}", world.logged());
    signal(&edge, "TERM");
    assert_eq!(exit_code(edge), Some(0));
}
