//! XEP-0199: ping between servers.

use entente::xmpp::{StanzaError, ping};

use crate::xmpp::{element, written};

#[test]
fn s4_1_a_ping_is_answered_with_an_empty_result() {
    let text = written(|out| ping::write_ping("a.example", "b.example", "p1", out));
    let answer = element(&text, |element| {
        assert!(ping::is_ping(element));
        assert!(!ping::answers(element, "p1"));
        written(|out| ping::write_pong(element, out))
    });
    assert_eq!(answer, "<iq type='result' from='b.example' to='a.example' id='p1'/>");
    element(&answer, |element| {
        assert!(ping::answers(element, "p1"));
        assert!(!ping::answers(element, "p2"));
        assert!(!ping::is_ping(element));
    });
}

#[test]
fn s4_2_any_error_shows_as_well_that_the_peer_is_there() {
    let text = written(|out| ping::write_ping("a.example", "b.example", "p1", out));
    let answer = element(&text, |element| {
        written(|out| {
            let _ = StanzaError::ServiceUnavailable.reply(element, None, out);
        })
    });
    element(&answer, |element| assert!(ping::answers(element, "p1")));
}
