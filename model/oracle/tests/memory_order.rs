//! Of several causes of a refusal the first decides: every set of causes that can be there at once.

mod machine;

use machine::*;
use std::sync::Arc;
use uvsim_oracle::ids::{CpuNumber, FrameNumber};
use uvsim_oracle::state::{Boot, Donated, Image, ImageKey, Pending, Purpose, Record, Run};

/// What brings a refusal about, in the machine or in the fields of the call, and the refusal.
type Cause = (fn(&mut Machine, &mut [u64]), Answer);

/// Tries all sets of causes; `done` is the answer without any.
fn first_decides(command: u16, fields: &dyn Fn(&Machine) -> Vec<u64>, good: &dyn Fn() -> Machine, causes: &[Cause]) {
    for set in 0..1_u32 << causes.len() {
        let mut machine = good();
        let mut fields = fields(&machine);
        let chosen = || causes.iter().enumerate().filter(|(at, _)| set & (1 << at) != 0).map(|(_, cause)| cause);
        for (spoil, _) in chosen() {
            spoil(&mut machine, &mut fields);
        }
        let answer = chosen().next().map_or(DONE, |(_, answer)| *answer);
        assert_eq!(machine.call(command, &fields), answer, "{command:#x}, set {set:#b}");
    }
}

fn unmapped(machine: &mut Machine, _: &mut [u64]) {
    machine.unmap(ALPHA, 3);
}

/// Where the page was before the frame was taken stays.
fn taken(machine: &mut Machine, _: &mut [u64]) {
    machine.place(BETA, 7, Record::Resident(FrameNumber(0x200)));
}

fn destroyed(machine: &mut Machine, _: &mut [u64]) {
    machine.place(ALPHA, 3, Record::Destroyed);
}

fn elsewhere(machine: &mut Machine, _: &mut [u64]) {
    machine.place(ALPHA, 3, Record::Pinned(FrameNumber(0x2f0)));
}

fn outside(_: &mut Machine, fields: &mut [u64]) {
    fields[0] = STORAGE;
}

fn mapped() -> Machine {
    let mut machine = Machine::new();
    machine.map(ALPHA, 3, 0x200);
    machine
}

#[test]
fn d7_q2_import() {
    let range: Cause = (|_, fields| fields[1] = ORIGIN + SIZE, refused(0x103));
    let fields = |_: &Machine| vec![ALPHA.0, ORIGIN + 0x3000];
    for page in [(elsewhere as fn(&mut Machine, &mut [u64]), refused(0x105)), (destroyed, refused(0x106))] {
        let causes = [range, (unmapped, refused(0x10a)), (taken, refused(0x104)), page];
        first_decides(IMPORT, &fields, &mapped, &causes);
    }
    let donated: Cause = (
        |machine, _| {
            machine.state.donated.insert(FrameNumber(0x200), Donated { count: 1, purpose: Purpose::Cpu(BETA) });
        },
        refused(0x104),
    );
    first_decides(IMPORT, &fields, &mapped, &[range, (unmapped, refused(0x10a)), donated, (elsewhere, refused(0x105))]);
}

#[test]
fn d9_unpin() {
    let causes: [Cause; 3] =
        [(|_, fields| fields[1] = ORIGIN - 1, refused(0x103)), (unmapped, refused(0x10a)), (elsewhere, refused(0x105))];
    first_decides(UNPIN, &|_| vec![ALPHA.0, ORIGIN + 0x3000], &mapped, &causes);
}

#[test]
fn d51_unpack() {
    fn loading() -> Machine {
        let mut machine = mapped();
        let none = [0; 64];
        let image = Image { key: ImageKey(1), pcf: 0, scf: 0, psw: (0, 0), nep: 0, pld: none, ald: none, tld: none };
        machine.state.configurations[&ALPHA].boot = Boot::Loading(image, Arc::default());
        machine.map(ALPHA, 9, 0x209);
        assert_eq!(machine.call(UNPACK, &[ALPHA.0, 0x9000, 5, 5]), DONE);
        machine
    }
    let range: [Cause; 2] =
        [(|_, fields| fields[1] = SIZE, refused(0x103)), (|_, fields| fields[1] |= 8, refused(0x103))];
    for range in range {
        let causes: [Cause; 6] = [
            (|machine, _| machine.state.configurations[&ALPHA].boot = Boot::Created, refused(0x101)),
            range,
            (unmapped, refused(0x10a)),
            (taken, refused(0x104)),
            (|machine, _| machine.place(ALPHA, 3, Record::Exported), refused(0x105)),
            (
                |machine, fields| {
                    Arc::make_mut(&mut machine.state.setup).strict_tweaks = true;
                    fields[2] = 4;
                },
                refused(0x106),
            ),
        ];
        first_decides(UNPACK, &|_| vec![ALPHA.0, 0x3000, 6, 0], &loading, &causes);
    }
}

#[test]
fn d10_d26_d42_export_and_destroy() {
    fn last_counter(machine: &mut Machine, _: &mut [u64]) {
        machine.state.configurations[&ALPHA].pages[&uvsim_oracle::ids::PageIndex(3)].counter = (1 << 56) - 1;
    }
    fn without_cpu() -> Machine {
        let mut machine = Machine::new();
        machine.resident(ALPHA, 3, 0x200, filled(1));
        machine.without_cpu(ALPHA);
        machine
    }
    let fields = |_: &Machine| vec![0x20_0000];
    first_decides(EXPORT, &fields, &without_cpu, &[(outside, refused(0x101)), (last_counter, refused(0x105))]);
    let owner_has_cpu: Cause = (
        |machine, _| machine.state.configurations[&ALPHA].cpus = [(0_u16, BETA)].into_iter().collect(),
        refused(0x104),
    );
    first_decides(DESTROY, &fields, &without_cpu, &[(outside, refused(0x101)), owner_has_cpu]);
}

#[test]
fn d13_q14_cpu_set_state_5() {
    let causes: [Cause; 5] = [
        (|_, fields| fields[1] = 4, refused(0x102)),
        (|machine, fields| machine.cpu_mut(fields[0]).in_sie = Some(CpuNumber(0)), refused(0x103)),
        (|machine, _| machine.state.configurations[&ALPHA].boot = Boot::Created, refused(0x104)),
        (
            |machine, _| {
                let pending = Pending { subcode: Some(1), prepared: true };
                machine.state.configurations[&ALPHA].reset.pending = Some(pending);
            },
            refused(0x104),
        ),
        (|machine, fields| machine.cpu_mut(fields[0]).run = Run::CheckStop, refused(0x103)),
    ];
    first_decides(SET_STATE, &|machine| vec![machine.cpu_of(ALPHA).0, 5], &Machine::new, &causes);
}

#[test]
fn q15_d13_prepare_reset() {
    fn unshared() -> Machine {
        let mut machine = Machine::new();
        assert_eq!(machine.call(UNSHARE_ALL, &[ALPHA.0]), DONE);
        machine
    }
    let causes: [Cause; 2] = [
        (
            |machine, _| {
                let cpu = machine.cpu_of(ALPHA);
                machine.cpu_mut(cpu.0).run = Run::Operating;
            },
            refused(0x101),
        ),
        (|machine, _| machine.state.configurations[&ALPHA].reset.unshared = false, refused(0x102)),
    ];
    first_decides(PREPARE, &|_| vec![ALPHA.0], &unshared, &causes);
}
