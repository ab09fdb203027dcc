//! What a CPU remembers of configurations never outlives them.

mod support;

use support::{DONE, Host, config, refused};
use uvsim_model::Machine;
use uvsim_model::address::PageIndex;
use uvsim_model::uvc::Command;

#[test]
fn a_handle_is_dead_at_once_on_the_cpu_that_has_just_used_it() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    let frame = host.resident(&guest, PageIndex(3));
    assert_eq!(host.call(Command::DestroySecCpu, &[(0x18, 8, guest.cpu)]), DONE);
    assert_eq!(host.export(frame), DONE);
    assert_eq!(host.import(&guest, PageIndex(3)), DONE);
    assert_eq!(host.call(Command::DestroySecConf, &[(0x18, 8, guest.handle)]), DONE);
    assert_eq!(host.import(&guest, PageIndex(3)), refused(0x20));
}

#[test]
fn a_domain_that_is_given_out_again_is_that_of_its_new_owner() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let first = host.create(1);
    let frame = host.resident(&first, PageIndex(3));
    let domain = machine.domain(first.handle);
    assert_eq!(host.export(frame), DONE);
    assert_eq!(host.call(Command::DestroySecCpu, &[(0x18, 8, first.cpu)]), DONE);
    assert_eq!(host.call(Command::DestroySecConf, &[(0x18, 8, first.handle)]), DONE);

    let second = host.create(1);
    assert_eq!(machine.domain(second.handle), domain);
    host.map(&second, PageIndex(3), frame);
    assert_eq!(host.import(&second, PageIndex(3)), DONE);
    assert_eq!(host.export(frame), DONE);
    assert_eq!(machine.page(second.handle, PageIndex(3)).map(|page| page.counter), Some(1));
}

#[test]
fn one_cpu_serves_many_configurations_in_turn() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guests = [host.create(1), host.create(1)];
    let frames = guests.each_ref().map(|guest| host.resident(guest, PageIndex(3)));
    for round in 1..4 {
        for (guest, &frame) in guests.iter().zip(&frames) {
            assert_eq!(host.export(frame), DONE);
            assert_eq!(machine.page(guest.handle, PageIndex(3)).map(|page| page.counter), Some(1), "round {round}");
        }
        for guest in &guests {
            assert_eq!(host.import(guest, PageIndex(3)), DONE);
        }
    }
    let cpu_handle = guests[0].cpu;
    let fields = [(0x18, 8, cpu_handle), (0x20, 8, 0x3000)];
    assert_eq!(host.call(Command::ConvToSecStor, &fields), refused(0x20), "a CPU's handle is none of a configuration");
}

#[test]
fn a_cpu_that_has_stopped_can_be_started_at_once() {
    let machine = support::machine(config());
    for _ in 0..3 {
        let cpu = machine.cpu(0).unwrap();
        assert!(machine.cpu(0).is_err());
        drop(cpu);
    }
}
