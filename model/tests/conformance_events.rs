//! Conformance, events: a subscribed observer sees every call and every transition with its rule, in order.

#[path = "support/scene.rs"]
mod scene;
mod support;

use scene::Log;
use support::{BLOCK, DONE, Host, UV_BASE, config, refused};
use uvsim_model::address::{AbsoluteAddress, PageIndex, VirtualAddress};
use uvsim_model::cpu::Uvc;
use uvsim_model::event::Event;
use uvsim_model::storage::{Donation, FrameState};
use uvsim_model::uvc::{Command, ConditionCode, Issuer};
use uvsim_model::{Injection, Machine, Reset, UV_BASE_LENGTH};

const PAGE: PageIndex = PageIndex(3);

fn host_call(command: Command, cc: ConditionCode, rc: u16, rule: &'static str) -> Event {
    Event::Call { issuer: Issuer::Host, cpu: 0, command: command.code(), cc, rc, rrc: 0, rule }
}

#[test]
fn one_page_from_both_sides() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let frame = host.frame();
    host.map(&guest, PAGE, frame);
    let log = Log::of(&machine);
    let domain = machine.domain(guest.handle).unwrap();
    let (secure, shared, pinned) =
        (FrameState::Secure(domain, PAGE), FrameState::Shared(domain, PAGE), FrameState::Pinned(domain, PAGE));
    let transition = |from, to, rule| Event::Transition { frame, from, to, rule };
    let done = |command, rule| host_call(command, ConditionCode::Done, 1, rule);
    let guest_call = |command: Command, rule| Event::Call {
        issuer: Issuer::Guest,
        cpu: 0,
        command: command.code(),
        cc: ConditionCode::Done,
        rc: 1,
        rrc: 0,
        rule,
    };

    assert_eq!(host.import(&guest, PAGE), DONE);
    assert_eq!(log.take(), [transition(FrameState::NonSecure, secure, "T24"), done(Command::ConvToSecStor, "T24")]);
    assert_eq!(host.share(&guest, PAGE), Ok(DONE));
    assert_eq!(log.take(), [transition(secure, shared, "T56"), guest_call(Command::SetSharedAccess, "T56")]);
    assert_eq!(host.pin(frame), DONE);
    assert_eq!(log.take(), [transition(shared, pinned, "T64"), done(Command::PinPageShared, "T64")]);
    // An exit is not the end of a call.
    assert!(host.unshare(&guest, PAGE).is_err());
    assert_eq!(log.take(), []);
    assert_eq!(host.unpin(&guest, PAGE), DONE);
    assert_eq!(log.take(), [transition(pinned, shared, "T66"), done(Command::UnpinPageShared, "T66")]);
    assert_eq!(host.unshare(&guest, PAGE), Ok(DONE));
    assert_eq!(log.take(), [transition(shared, secure, "T59"), guest_call(Command::RemoveSharedAccess, "T59")]);
    assert_eq!(host.export(frame), DONE);
    assert_eq!(log.take(), [transition(secure, FrameState::NonSecure, "T44"), done(Command::ConvFromSecStor, "T44")]);
    host.store(frame.address().0, &[0xff]);
    assert_eq!(host.import(&guest, PAGE), refused(0x106));
    assert_eq!(log.take(), [host_call(Command::ConvToSecStor, ConditionCode::Other, 0x106, "T26")]);
}

#[test]
fn donations_are_reported_frame_by_frame() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::new(&machine);
    let log = Log::of(&machine);
    assert_eq!(host.init(), DONE);
    let mut events = log.take();
    assert_eq!(events.pop(), Some(host_call(Command::InitUv, ConditionCode::Done, 1, "T76")));
    assert_eq!(events.len() as u64, UV_BASE_LENGTH / 4096);
    let to = FrameState::Donated(Donation::Base);
    let frame = AbsoluteAddress(UV_BASE).frame();
    assert_eq!(events[0], Event::Transition { frame, from: FrameState::NonSecure, to, rule: "T76" });
    host.cpu.reset_machine(Reset::LoadNormal).unwrap();
    let events = log.take();
    assert_eq!(events[0], Event::Transition { frame, from: to, to: FrameState::NonSecure, rule: "T43" });
    assert_eq!(events.len() as u64, UV_BASE_LENGTH / 4096);
}

#[test]
fn general_refusals_and_injected_answers_are_calls_too() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::new(&machine);
    let log = Log::of(&machine);
    host.block(BLOCK, 0x4242, 8, &[]);
    assert_eq!(host.issue(BLOCK), Ok(refused(2)));
    let expected = Event::Call {
        issuer: Issuer::Host,
        cpu: 0,
        command: 0x4242,
        cc: ConditionCode::Other,
        rc: 2,
        rrc: 0,
        rule: "D2",
    };
    assert_eq!(log.take(), [expected]);
    assert_eq!(host.call(Command::ConvFromSecStor, &[]), refused(3));
    assert_eq!(log.take(), [host_call(Command::ConvFromSecStor, ConditionCode::Other, 3, "D2")]);
    assert_eq!(host.init(), DONE);
    machine.inject(Command::ConvFromSecStor, Injection::Busy(1));
    machine.inject(Command::ConvFromSecStor, Injection::Partial(1));
    log.take();
    for cc in [ConditionCode::Busy, ConditionCode::Partial] {
        assert_eq!(host.call(Command::ConvFromSecStor, &[]).cc, cc as u8);
        assert_eq!(log.take(), [host_call(Command::ConvFromSecStor, cc, 0, "Q19")]);
    }
    // An interruption is no answer.
    assert!(host.cpu.uvc(Uvc::at(VirtualAddress(UV_BASE))).is_err());
    assert_eq!(log.take(), []);
}

#[test]
fn events_name_the_host_cpu() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let log = Log::of(&machine);
    host.block(BLOCK, 0x4242, 8, &[]);
    let mut second = machine.cpu(1).unwrap();
    assert_eq!(second.uvc(Uvc::at(VirtualAddress(BLOCK))), Ok(ConditionCode::Other));
    assert!(matches!(log.take()[..], [Event::Call { cpu: 1, issuer: Issuer::Host, .. }]));
}

#[test]
fn every_observer_sees_everything_from_its_subscription_on() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let first = Log::of(&machine);
    host.block(BLOCK, 0x4242, 8, &[]);
    assert_eq!(host.issue(BLOCK), Ok(refused(2)));
    let second = Log::of(&machine);
    assert_eq!(host.issue(BLOCK), Ok(refused(2)));
    assert_eq!((first.take().len(), second.take().len()), (2, 1));
}
