//! Guessed, foreign and dead handles: I-32, D20.

use super::*;

/// Every host command that takes a handle, with the offset of the handle and the code of a wrong one.
fn handled() -> impl Iterator<Item = (Command, u64, u16)> {
    Command::ALL.iter().filter_map(|&command| match command.row().handle {
        _ if command.row().issuer == Issuer::Guest => None,
        HandleKind::Configuration(offset) => Some((command, u64::from(offset), 0x20)),
        HandleKind::Cpu(offset) => Some((command, u64::from(offset), 0x21)),
        HandleKind::None => None,
    })
}

/// Commands that a machine does not have answer 0x0002 before any handle is looked at (D2, D14).
const ABSENT: [Command; 5] =
    [Command::VerifyLargeFrame, Command::DumpInit, Command::DumpConfStorState, Command::DumpCpu, Command::DumpComplete];

#[test]
fn handles_cannot_be_guessed_or_used_after_their_end() {
    let machine = machine();
    let mut attacker = Attacker::on(&machine);
    let (guest, gone) = (attacker.host.start(1), attacker.host.start(1));
    let frame = attacker.host.resident(&gone, P);
    attacker.tear_down(&gone, Command::DestroySecConf);
    for (command, offset, rc) in handled() {
        let own = if rc == 0x20 { guest.handle } else { guest.cpu };
        let near = (0..64).map(|bit| own ^ 1 << bit).chain([own.wrapping_add(1), own.wrapping_sub(1)]);
        // Ended ones, and handles of the other kind.
        let wrong = near.chain([0, u64::MAX, gone.handle, gone.cpu, if rc == 0x20 { guest.cpu } else { guest.handle }]);
        for handle in wrong {
            let fields = [(offset, 8, handle), (0x28, 8, 0)];
            match ABSENT.contains(&command) {
                true => attacker.refused(command, &fields[..1], 2, "D2"),
                false => attacker.refused(command, &fields[..1], rc, "D2"),
            }
        }
    }
    assert_eq!(machine.frame_state(frame), FrameState::NonSecure);
    assert_eq!(attacker.host.page_bytes(frame).unwrap(), [0; 4096]);
}

#[test]
fn a_state_description_with_wrong_handles_enters_nothing() {
    let machine = machine();
    let mut attacker = Attacker::on(&machine);
    let (guest, other) = (attacker.host.start(1), attacker.host.start(1));
    let attempt = |attacker: &mut Attacker<'_>, cpu, configuration, reason: u32| {
        let at = guest.state_description;
        attacker.host.store_u64(at + 0x10, cpu);
        attacker.host.store_u64(at + 0x18, configuration);
        let exit = attacker.host.enter(&guest).map(drop).unwrap_err();
        let SieExit::Interception(it) = exit else { panic!("{exit}") };
        assert_eq!((it.code, it.ipa, it.ipb >> 16), (32, 0, reason));
    };
    attempt(&mut attacker, guest.cpu, guest.handle ^ 1, 0x2001);
    attempt(&mut attacker, guest.cpu, guest.cpu, 0x2001);
    attempt(&mut attacker, guest.cpu ^ 1, guest.handle, 0x2002);
    attempt(&mut attacker, guest.handle, guest.handle, 0x2002);
    attempt(&mut attacker, other.cpu, guest.handle, 0x2003);
    attempt(&mut attacker, other.cpu, other.handle, 0x2004);
    attacker.host.cpu.set_primary(other.asce);
    attacker.host.store_u64(guest.state_description + 0x10, guest.cpu);
    attacker.host.store_u64(guest.state_description + 0x18, guest.handle);
    drop(attacker.host.enter(&guest).unwrap());
}
