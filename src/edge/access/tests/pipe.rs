//! A slot that stands for another shard's transaction.

use super::world::{World, domain, request, respond, setup};
use crate::edge::access::branch::{Branch, BranchKey};
use crate::edge::{Command, Core, Mail, MailRoute, SlotRef};
use crate::limits;

/// Symptom: a pool got an INVITE anew three minutes after it had begun to ring, and nobody waited
/// for the answer. Cause: a pipe took Timer C for a target that had never answered. Scenario: more
/// shards than connections, a provisional response, then silence.
#[test]
fn s16_8_timer_c_of_a_pipe_cancels_and_does_not_send_the_invite_again() {
    let mut world = World::new();
    world.fabrikam();
    let origin = SlotRef { shard: 5, index: 1, generation: 1 };
    let [k0, k1] = setup().process_key;
    let branch = BranchKey(k0, k1).write(Branch { slot: origin, attempt: 0, loop_hash: 0 });
    let branch = std::str::from_utf8(&branch).expect("hexadecimal digits");
    let invite = request("INVITE", "kim@contoso.example", "john@fabrikam.example", "c1");
    let invite = String::from_utf8(invite).unwrap().replace("z9hG4bKc1INVITE", branch);
    let route = MailRoute::Partner { domain: domain("fabrikam.example"), call_id_hash: 1 };
    let mail = Mail::Request { origin, route, bytes: invite.into() };
    world.access.mail(world.now, mail, &mut world.effects);
    world.pass(0);
    let out = world.grant();
    let invite = world.read(out);
    assert!(invite.starts_with("INVITE "), "{invite}");
    let ringing = respond(&invite, 180);
    world.access.feed(world.now, out, ringing.as_bytes(), &mut world.effects);
    let commands = std::mem::take(&mut world.effects.commands);
    assert!(matches!(commands[..], [Command::Mail { mail: Mail::Provisional { .. }, .. }]));
    world.now = world.now.plus_ms(limits::TIMER_C_MS + 1);
    world.access.expire(world.now, &mut world.effects);
    let sent = world.read(out);
    assert!(sent.contains("CANCEL sip:") && !sent.contains("INVITE sip:"), "{sent}");
}
