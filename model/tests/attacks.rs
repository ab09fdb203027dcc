//! What a hostile host tries, and what it gets: the exact refusal, and a machine that is as it was.

mod support;

use std::sync::{Arc, Mutex};
use support::{BLOCK, DONE, Guest, Host, UV_BASE, config, refused};
use uvsim_model::address::{AbsoluteAddress, FrameNumber, PageIndex};
use uvsim_model::config::{ChangeDetection, CipherProfile, Generation, MachineConfig};
use uvsim_model::cpu::{GuestEvent, SieExit};
use uvsim_model::crypto::Counter;
use uvsim_model::event::{Event, Observer};
use uvsim_model::storage::{FrameState, ProgramCode};
use uvsim_model::uvc::{Command, HandleKind, Issuer};
use uvsim_model::{
    CONFIGURATION_BASE_LENGTH, CONFIGURATION_FIXED_LENGTH, Machine, PageRecord, PageView, Reset, UV_BASE_LENGTH,
};

/// Remembers the rule of the latest call.
#[derive(Default)]
struct Rules(Mutex<&'static str>);

impl Observer for Rules {
    fn observe(&self, event: &Event) {
        if let Event::Call { rule, .. } = event {
            *self.0.lock().unwrap() = rule;
        }
    }
}

/// A host that attacks, and looks at the machine before and after each attempt.
struct Attacker<'m> {
    host: Host<'m>,
    rules: Arc<Rules>,
}

impl<'m> Attacker<'m> {
    fn on(machine: &'m Machine) -> Self {
        let rules = Arc::new(Rules::default());
        machine.subscribe(rules.clone());
        Self { host: Host::ready(machine), rules }
    }

    fn rule(&self) -> &'static str {
        *self.rules.0.lock().unwrap()
    }

    /// Issues a call that must be refused with this code by this rule, and must change nothing.
    fn refused(&mut self, command: Command, fields: &[(u64, u8, u64)], rc: u16, rule: &str) {
        self.host.block(BLOCK, command.code(), command.usual_length(), fields);
        let digest = |host: &Host<'_>| host.machine().state_digest(Some(AbsoluteAddress(BLOCK)));
        let before = digest(&self.host);
        assert_eq!(self.host.issue(BLOCK).unwrap(), refused(rc), "{}", command.name());
        assert_eq!(self.rule(), rule, "{} rc {rc:#x}", command.name());
        assert_eq!(digest(&self.host), before, "{} changed something", command.name());
    }

    fn import_refused(&mut self, guest: &Guest, page: PageIndex, rc: u16, rule: &str) {
        let fields = [(0x18, 8, guest.handle), (0x20, 8, page.0 * 4096)];
        self.refused(Command::ConvToSecStor, &fields, rc, rule);
    }

    /// Offers bytes in place of an exported page: they are refused and stay exactly as supplied.
    fn forgery(&mut self, guest: &Guest, page: PageIndex, frame: FrameNumber, bytes: &[u8]) {
        let before = self.view(guest, page);
        self.host.store(frame.address().0, bytes);
        self.import_refused(guest, page, 0x106, "T26");
        assert_eq!(self.host.page_bytes(frame).unwrap(), bytes);
        assert_eq!(self.host.machine().frame_state(frame), FrameState::NonSecure);
        assert_eq!(self.view(guest, page), before);
    }

    fn view(&self, guest: &Guest, page: PageIndex) -> PageView {
        self.host.machine().page(guest.handle, page).unwrap()
    }

    /// Fills a page from inside and exports it; returns its frame and its ciphertext.
    fn exported(&mut self, guest: &Guest, page: PageIndex, bytes: &[u8]) -> (FrameNumber, Vec<u8>) {
        let frame = self.host.resident(guest, page);
        self.host.guest_store(guest, page.0 * 4096, bytes).unwrap();
        assert_eq!(self.host.export(frame), DONE);
        (frame, self.host.page_bytes(frame).unwrap())
    }

    fn rewrite(&mut self, guest: &Guest, page: PageIndex, frame: FrameNumber, bytes: &[u8]) -> Vec<u8> {
        assert_eq!(self.host.import(guest, page), DONE);
        self.host.guest_store(guest, page.0 * 4096, bytes).unwrap();
        assert_eq!(self.host.export(frame), DONE);
        self.host.page_bytes(frame).unwrap()
    }

    fn destroy_cpu(&mut self, guest: &Guest) {
        assert_eq!(self.host.call(Command::DestroySecCpu, &[(0x18, 8, guest.cpu)]), DONE);
    }

    fn tear_down(&mut self, guest: &Guest, command: Command) {
        self.destroy_cpu(guest);
        assert_eq!(self.host.call(command, &[(0x18, 8, guest.handle)]), DONE);
    }
}

fn machine() -> Machine {
    Machine::new(config()).unwrap()
}

/// A page in which no two blocks are equal.
fn text(salt: u8) -> Vec<u8> {
    (0..4096u32).map(|byte| (byte.wrapping_mul(2_654_435_761) >> 13) as u8 ^ salt).collect()
}

/// What the guest's access gives to the host.
fn exit_code(result: Result<impl std::fmt::Debug, GuestEvent>) -> ProgramCode {
    match result {
        Err(GuestEvent::Exit(SieExit::HostInterruption(interruption))) => interruption.code,
        other => panic!("no interruption of the host: {other:?}"),
    }
}

const P: PageIndex = PageIndex(5);
const Q: PageIndex = PageIndex(6);

fn profiles() -> [MachineConfig; 2] {
    [CipherProfile::Gcm, CipherProfile::Xts].map(|cipher| MachineConfig { cipher, ..config() })
}

// Damage, replay, relocation: I-15, I-16.

#[test]
fn every_flipped_bit_is_refused() {
    for config in profiles() {
        let machine = Machine::new(config).unwrap();
        let mut attacker = Attacker::on(&machine);
        let guest = attacker.host.start(1);
        let (frame, genuine) = attacker.exported(&guest, P, &text(1));
        let everywhere = (0..256).map(|block| block * 128 + block % 128);
        let one_block = (0..128).map(|bit| 77 * 128 + bit);
        for bit in everywhere.chain(one_block) {
            let mut forged = genuine.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            attacker.forgery(&guest, P, frame, &forged);
        }
        attacker.host.store(frame.address().0, &genuine);
        assert_eq!(attacker.host.import(&guest, P), DONE);
        assert_eq!(attacker.host.guest_load(&guest, P.0 * 4096, 4096).unwrap(), text(1));
        machine.check_invariants().unwrap();
    }
}

#[test]
fn truncated_pages_are_refused() {
    for config in profiles() {
        let machine = Machine::new(config).unwrap();
        let mut attacker = Attacker::on(&machine);
        let guest = attacker.host.start(1);
        let (frame, genuine) = attacker.exported(&guest, P, &text(1));
        for len in [0, 1, 16, 2048, 4080, 4095] {
            let mut forged = genuine.clone();
            forged[len..].fill(0);
            assert_ne!(forged, genuine, "the tail happens to be zero");
            attacker.forgery(&guest, P, frame, &forged);
        }
    }
}

#[test]
fn an_older_export_is_refused() {
    for config in profiles() {
        let machine = Machine::new(config).unwrap();
        let mut attacker = Attacker::on(&machine);
        let guest = attacker.host.start(1);
        let (frame, first) = attacker.exported(&guest, P, &text(1));
        let second = attacker.rewrite(&guest, P, frame, &text(2));
        let third = attacker.rewrite(&guest, P, frame, &text(3));
        for old in [&first, &second] {
            attacker.forgery(&guest, P, frame, old);
        }
        attacker.host.store(frame.address().0, &third);
        assert_eq!(attacker.host.import(&guest, P), DONE);
        assert_eq!(attacker.host.guest_load(&guest, P.0 * 4096, 4096).unwrap(), text(3));
    }
}

#[test]
fn a_page_does_not_import_at_the_place_of_another() {
    for config in profiles() {
        let machine = Machine::new(config).unwrap();
        let mut attacker = Attacker::on(&machine);
        let guest = attacker.host.start(1);
        let (here, p) = attacker.exported(&guest, P, &text(1));
        let (there, q) = attacker.exported(&guest, Q, &text(1));
        assert_ne!(p, q, "equal content at two pages");
        attacker.forgery(&guest, P, here, &q);
        attacker.forgery(&guest, Q, there, &p);
        // The same with the tables exchanged instead of the bytes.
        attacker.host.store(here.address().0, &p);
        attacker.host.store(there.address().0, &q);
        attacker.host.map(&guest, P, there);
        attacker.host.map(&guest, Q, here);
        attacker.import_refused(&guest, P, 0x106, "T26");
        attacker.import_refused(&guest, Q, 0x106, "T26");
    }
}

#[test]
fn a_page_of_another_guest_is_refused_or_read_as_zeros() {
    for config in profiles() {
        let machine = Machine::new(config).unwrap();
        let mut attacker = Attacker::on(&machine);
        let (one, two) = (attacker.host.start(1), attacker.host.start(1));
        let (_, foreign) = attacker.exported(&one, P, &text(1));
        let (frame, own) = attacker.exported(&two, P, &text(1));
        assert_ne!(foreign, own, "I-12");
        attacker.forgery(&two, P, frame, &foreign);
        // Never imported there: the content does not count (T29, I-17).
        let frame = attacker.host.frame();
        attacker.host.store(frame.address().0, &foreign);
        attacker.host.map(&two, Q, frame);
        assert_eq!(attacker.host.import(&two, Q), DONE);
        assert_eq!(attacker.rule(), "T24");
        assert_eq!(attacker.host.guest_load(&two, Q.0 * 4096, 4096).unwrap(), [0; 4096]);
    }
}

#[test]
fn ciphertext_may_move_to_another_frame() {
    let machine = machine();
    let mut attacker = Attacker::on(&machine);
    let guest = attacker.host.start(1);
    let (_, genuine) = attacker.exported(&guest, P, &text(1));
    let frame = attacker.host.frame();
    attacker.host.store(frame.address().0, &genuine);
    attacker.host.map(&guest, P, frame);
    assert_eq!(attacker.host.import(&guest, P), DONE);
    assert_eq!(attacker.rule(), "T25");
    assert_eq!(attacker.host.guest_load(&guest, P.0 * 4096, 4096).unwrap(), text(1));
}

// Pages and frames in two places: I-01, I-02, I-19.

#[test]
fn a_page_is_in_one_frame_and_a_frame_holds_one_page() {
    let machine = machine();
    let mut attacker = Attacker::on(&machine);
    let guest = attacker.host.start(1);
    let frame = attacker.host.resident(&guest, P);
    attacker.host.guest_store(&guest, P.0 * 4096, &text(1)).unwrap();
    // Mapped twice: the page in two frames (T32), whatever the second frame holds.
    let second = attacker.host.frame();
    attacker.host.map(&guest, P, second);
    attacker.import_refused(&guest, P, 0x105, "T32");
    attacker.host.store(second.address().0, &text(9));
    attacker.import_refused(&guest, P, 0x105, "T32");
    // The frame at two pages (T33), new or exported ones.
    attacker.host.map(&guest, Q, frame);
    attacker.import_refused(&guest, Q, 0x104, "T33");
    let (_, _) = attacker.exported(&guest, PageIndex(7), &text(2));
    attacker.host.map(&guest, PageIndex(7), frame);
    attacker.import_refused(&guest, PageIndex(7), 0x104, "T33");
    // In its own place the page is there, and an import changes nothing (T31).
    attacker.host.map(&guest, P, frame);
    let fields = [(0x18, 8, guest.handle), (0x20, 8, P.0 * 4096)];
    attacker.host.block(BLOCK, Command::ConvToSecStor.code(), 0x28, &fields);
    let before = machine.state_digest(Some(AbsoluteAddress(BLOCK)));
    assert_eq!(attacker.host.issue(BLOCK).unwrap(), DONE);
    assert_eq!(attacker.rule(), "T31");
    assert_eq!(machine.state_digest(Some(AbsoluteAddress(BLOCK))), before);
    assert_eq!(attacker.host.guest_load(&guest, P.0 * 4096, 4096).unwrap(), text(1));
    machine.check_invariants().unwrap();
}

#[test]
fn shared_frames_are_not_aliased_either() {
    let machine = machine();
    let mut attacker = Attacker::on(&machine);
    let guest = attacker.host.start(1);
    let frame = attacker.host.resident(&guest, P);
    assert_eq!(attacker.host.share(&guest, P).unwrap(), DONE);
    attacker.host.map(&guest, Q, frame);
    attacker.import_refused(&guest, Q, 0x104, "D22");
    assert_eq!(attacker.host.pin(frame), DONE);
    attacker.import_refused(&guest, Q, 0x104, "D22");
    let second = attacker.host.frame();
    attacker.host.map(&guest, P, second);
    attacker.import_refused(&guest, P, 0x105, "T32");
    // A pin is undone in the frame where it was made (D9).
    let fields = [(0x18, 8, guest.handle), (0x20, 8, P.0 * 4096)];
    attacker.refused(Command::UnpinPageShared, &fields, 0x105, "D9");
}

#[test]
fn a_remapped_page_never_shows_other_bytes() {
    let machine = machine();
    let mut attacker = Attacker::on(&machine);
    let (guest, other) = (attacker.host.start(1), attacker.host.start(1));
    let home = attacker.host.resident(&guest, P);
    attacker.host.guest_store(&guest, P.0 * 4096, &text(1)).unwrap();

    let host = &mut attacker.host;
    let plain = host.frame();
    host.store(plain.address().0, &text(2));
    let own = host.resident(&guest, PageIndex(7));
    let own_shared = host.resident(&guest, PageIndex(8));
    assert_eq!(host.share(&guest, PageIndex(8)).unwrap(), DONE);
    let own_pinned = host.resident(&guest, PageIndex(9));
    assert_eq!(host.share(&guest, PageIndex(9)).unwrap(), DONE);
    assert_eq!(host.pin(own_pinned), DONE);
    // The same page number, to make it hard.
    let foreign = host.resident(&other, P);
    let foreign_shared = host.resident(&other, Q);
    assert_eq!(host.share(&other, Q).unwrap(), DONE);
    let donated = AbsoluteAddress(guest.base).frame();
    let variable = AbsoluteAddress(other.variable).frame();
    let base = AbsoluteAddress(UV_BASE).frame();
    let cpu = AbsoluteAddress(guest.cpu_storage).frame();
    let discarded = {
        let gone = host.start(1);
        let frame = host.resident(&gone, P);
        host.call(Command::DestroySecCpu, &[(0x18, 8, gone.cpu)]);
        assert_eq!(host.call(Command::DestroySecConfFast, &[(0x18, 8, gone.handle)]), DONE);
        frame
    };

    use ProgramCode::{NonSecureStorageAccess as E, SecureStorageViolation as F};
    for (frame, code) in [
        (plain, E),
        (own, F),
        (own_shared, E),
        (own_pinned, E),
        (foreign, F),
        (foreign_shared, E),
        (donated, F),
        (variable, F),
        (base, F),
        (cpu, F),
        (discarded, F),
    ] {
        let state = machine.frame_state(frame);
        attacker.host.map(&guest, P, frame);
        let before = machine.state_digest(None);
        assert_eq!(exit_code(attacker.host.guest_load(&guest, P.0 * 4096, 8)), code, "{state:?}");
        assert_eq!(exit_code(attacker.host.guest_store(&guest, P.0 * 4096, &[1; 8])), code, "{state:?}");
        assert_eq!(machine.state_digest(None), before);
        assert_eq!(exit_code(attacker.host.share(&guest, P)), code, "{state:?}");
        assert_eq!(machine.frame_state(frame), state);
    }
    attacker.host.map(&guest, P, home);
    assert_eq!(attacker.host.guest_load(&guest, P.0 * 4096, 4096).unwrap(), text(1));
    machine.check_invariants().unwrap();
}

#[test]
fn imports_into_taken_frames_are_refused() {
    let machine = machine();
    let mut attacker = Attacker::on(&machine);
    let (guest, other) = (attacker.host.start(1), attacker.host.start(1));
    let secure = attacker.host.resident(&other, P);
    let shared = attacker.host.resident(&other, Q);
    assert_eq!(attacker.host.share(&other, Q).unwrap(), DONE);
    assert_eq!(attacker.host.pin(shared), DONE);
    for (frame, rule) in [
        (secure, "T34"),
        (shared, "T36"),
        (AbsoluteAddress(guest.base).frame(), "T38"),
        (AbsoluteAddress(guest.variable).frame(), "T38"),
        (AbsoluteAddress(guest.cpu_storage).frame(), "T38"),
        (AbsoluteAddress(UV_BASE).frame(), "T38"),
    ] {
        attacker.host.map(&guest, P, frame);
        attacker.import_refused(&guest, P, 0x104, rule);
    }
    attacker.tear_down(&other, Command::DestroySecConfFast);
    attacker.host.map(&guest, P, secure);
    attacker.import_refused(&guest, P, 0x104, "T39");
    // The leftover goes back as zeros, then the page can have it.
    assert_eq!(attacker.host.destroy(secure), DONE);
    assert_eq!(attacker.rule(), "T52");
    assert_eq!(attacker.host.import(&guest, P), DONE);
    machine.check_invariants().unwrap();
}

#[test]
fn a_shared_frame_is_taken_over_only_together_with_success() {
    let machine = machine();
    let mut attacker = Attacker::on(&machine);
    let (guest, other) = (attacker.host.start(1), attacker.host.start(1));
    let (_, genuine) = attacker.exported(&guest, P, &text(1));
    let frame = attacker.host.resident(&other, Q);
    assert_eq!(attacker.host.share(&other, Q).unwrap(), DONE);
    attacker.host.store(frame.address().0, &text(3));
    attacker.host.map(&guest, P, frame);
    // D30: the content is not genuine, so nothing moves.
    attacker.import_refused(&guest, P, 0x106, "T26");
    assert_eq!(attacker.view(&other, Q).record, PageRecord::Shared(Some(frame)));
    attacker.host.store(frame.address().0, &genuine);
    assert_eq!(attacker.host.import(&guest, P), DONE);
    assert_eq!(attacker.rule(), "T35");
    assert_eq!(attacker.view(&other, Q).record, PageRecord::Shared(None));
    machine.check_invariants().unwrap();
}

#[test]
fn without_misc_a_shared_frame_of_another_is_refused() {
    let machine = Machine::new(MachineConfig { generation: Generation::Z15, ..config() }).unwrap();
    let mut attacker = Attacker::on(&machine);
    let (guest, other) = (attacker.host.start(1), attacker.host.start(1));
    let frame = attacker.host.resident(&other, Q);
    assert_eq!(attacker.host.share(&other, Q).unwrap(), DONE);
    attacker.host.map(&guest, P, frame);
    attacker.import_refused(&guest, P, 0x104, "T35");
    assert_eq!(attacker.host.export(frame), DONE);
    assert_eq!(attacker.host.import(&guest, P), DONE);
    assert_eq!(attacker.rule(), "T24");
}

// Handles: I-32, D20.

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
const ABSENT: [Command; 9] = [
    Command::VerifyLargeFrame,
    Command::CpuReset,
    Command::CpuResetInitial,
    Command::PrepareReset,
    Command::CpuResetClear,
    Command::DumpInit,
    Command::DumpConfStorState,
    Command::DumpCpu,
    Command::DumpComplete,
];

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

// Teardown: I-10, I-33, D16, D26–D29.

#[test]
fn a_live_page_cannot_be_destroyed_and_a_destroyed_one_never_comes_back() {
    let machine = machine();
    let mut attacker = Attacker::on(&machine);
    let guest = attacker.host.start(1);
    let frame = attacker.host.resident(&guest, P);
    attacker.host.guest_store(&guest, P.0 * 4096, &text(1)).unwrap();
    let (exported, cipher) = attacker.exported(&guest, Q, &text(2));
    assert_eq!(attacker.host.import(&guest, Q), DONE);
    for victim in [frame, exported] {
        attacker.refused(Command::DestrSecStor, &[(0x18, 8, victim.address().0)], 0x104, "D26");
    }
    attacker.destroy_cpu(&guest);
    for (victim, page) in [(frame, P), (exported, Q)] {
        assert_eq!(attacker.host.destroy(victim), DONE);
        assert_eq!(attacker.rule(), "T50");
        assert_eq!(attacker.host.page_bytes(victim).unwrap(), [0; 4096]);
        assert_eq!(attacker.view(&guest, page).record, PageRecord::Destroyed);
        attacker.import_refused(&guest, page, 0x106, "T55");
    }
    attacker.host.store(exported.address().0, &cipher);
    attacker.import_refused(&guest, Q, 0x106, "T55");
    machine.check_invariants().unwrap();
}

#[test]
fn the_host_never_finds_plaintext() {
    type End = fn(&mut Attacker<'_>, &Guest, FrameNumber);
    let ends: [(&str, bool, End); 7] = [
        ("export", false, |attacker, _, frame| assert_eq!(attacker.host.export(frame), DONE)),
        ("destroy", true, |attacker, guest, frame| {
            attacker.destroy_cpu(guest);
            assert_eq!(attacker.host.destroy(frame), DONE);
        }),
        ("teardown", true, |attacker, guest, _| attacker.tear_down(guest, Command::DestroySecConf)),
        ("fast teardown and export", true, |attacker, guest, frame| {
            attacker.tear_down(guest, Command::DestroySecConfFast);
            let code = attacker.host.page_bytes(frame).unwrap_err().code;
            assert_eq!(code, ProgramCode::SecureStorageAccess, "T9");
            assert_eq!(attacker.host.export(frame), DONE);
            assert_eq!(attacker.rule(), "T48");
        }),
        ("fast teardown and destroy", true, |attacker, guest, frame| {
            attacker.tear_down(guest, Command::DestroySecConfFast);
            assert_eq!(attacker.host.destroy(frame), DONE);
            assert_eq!(attacker.rule(), "T52");
        }),
        ("load-normal reset", true, |attacker, _, _| attacker.host.cpu.reset_machine(Reset::LoadNormal).unwrap()),
        ("clear reset", true, |attacker, _, _| attacker.host.cpu.reset_machine(Reset::Clear).unwrap()),
    ];
    for (name, zeros, end) in ends {
        let machine = machine();
        let mut attacker = Attacker::on(&machine);
        let guest = attacker.host.start(1);
        let frame = attacker.host.resident(&guest, P);
        attacker.host.guest_store(&guest, P.0 * 4096, &text(1)).unwrap();
        end(&mut attacker, &guest, frame);
        assert_eq!(machine.frame_state(frame), FrameState::NonSecure, "{name}");
        let seen = attacker.host.page_bytes(frame).unwrap();
        if zeros {
            assert_eq!(seen, [0; 4096], "{name}");
        }
        let plain = text(1);
        assert!(plain.chunks_exact(16).zip(seen.chunks_exact(16)).all(|(plain, seen)| plain != seen), "{name}");
        machine.check_invariants().unwrap();
    }
}

#[test]
fn a_torn_down_guest_imports_nothing_and_its_ciphertext_is_dead() {
    for command in [Command::DestroySecConf, Command::DestroySecConfFast] {
        let machine = machine();
        let mut attacker = Attacker::on(&machine);
        let guest = attacker.host.start(1);
        let (frame, cipher) = attacker.exported(&guest, P, &text(1));
        attacker.tear_down(&guest, command);
        attacker.import_refused(&guest, P, 0x20, "D2");
        // A new guest over the same tables and with the same image has other keys (I-12).
        let mut again = guest.clone();
        for page in 0..2 {
            let frame = attacker.host.frame();
            attacker.host.map(&guest, PageIndex(page), frame);
        }
        assert_eq!(attacker.host.call(Command::CreateSecConf, &Host::create_fields(&again)), DONE);
        again.handle = attacker.host.output(0x18);
        assert_ne!(again.handle, guest.handle);
        attacker.host.create_cpu(&mut again);
        attacker.host.boot(&again);
        assert_eq!(attacker.host.import(&again, P), DONE);
        assert_eq!(attacker.host.guest_load(&again, P.0 * 4096, 4096).unwrap(), [0; 4096], "T29");
        attacker.host.guest_store(&again, P.0 * 4096, &text(1)).unwrap();
        assert_eq!(attacker.host.export(frame), DONE);
        assert_ne!(attacker.host.page_bytes(frame).unwrap(), cipher);
        attacker.forgery(&again, P, frame, &cipher);
        machine.check_invariants().unwrap();
    }
}

#[test]
fn donated_frames_are_closed_and_come_back_as_zeros() {
    let machine = machine();
    let mut attacker = Attacker::on(&machine);
    let host = &mut attacker.host;
    let mut guest = host.prepare(1);
    let areas = [
        (guest.base, CONFIGURATION_BASE_LENGTH),
        (guest.variable, CONFIGURATION_FIXED_LENGTH + 0x1000),
        (guest.cpu_storage, 0x1000),
    ];
    let frames: Vec<u64> = areas.iter().flat_map(|&(at, len)| (at..at + len).step_by(4096)).collect();
    for &frame in &frames {
        host.store(frame, &text(7));
    }
    assert_eq!(host.call(Command::CreateSecConf, &Host::create_fields(&guest)), DONE);
    guest.handle = host.output(0x18);
    host.create_cpu(&mut guest);
    for frame in frames.iter().copied().chain([UV_BASE, UV_BASE + UV_BASE_LENGTH - 4096]) {
        let mut bytes = [1; 4096];
        assert!(machine.peek(AbsoluteAddress(frame), &mut bytes));
        assert_eq!(bytes, [0; 4096], "D16 at {frame:#x}");
        assert_eq!(host.load(frame, 1).unwrap_err().code, ProgramCode::SecureStorageAccess, "T2");
        let store = host.cpu.store(uvsim_model::address::VirtualAddress(frame), &[1]);
        assert_eq!(store.unwrap_err().code, ProgramCode::SecureStorageAccess);
    }
    for (command, rc, rule) in [
        (Command::ConvFromSecStor, 0x103, "T49"),
        (Command::DestrSecStor, 0x103, "T54"),
        (Command::PinPageShared, 0x102, "T69"),
    ] {
        for &(at, _) in &areas {
            attacker.refused(command, &[(0x18, 8, at)], rc, rule);
        }
        attacker.refused(command, &[(0x18, 8, UV_BASE)], rc, rule);
        attacker.refused(command, &[(0x18, 8, machine.storage_size())], 0x101, "D10");
        attacker.refused(command, &[(0x18, 8, u64::MAX)], 0x101, "D10");
    }
    attacker.tear_down(&guest, Command::DestroySecConf);
    for frame in frames {
        assert_eq!(attacker.host.load(frame, 4096).unwrap(), [0; 4096], "T42 at {frame:#x}");
    }
    machine.check_invariants().unwrap();
}

// Pins and counters: D24, D42.

#[test]
fn a_pinned_page_exports_plain_and_loses_its_pin() {
    let machine = machine();
    let mut attacker = Attacker::on(&machine);
    let guest = attacker.host.start(1);
    let frame = attacker.host.resident(&guest, P);
    let secret = attacker.host.resident(&guest, Q);
    attacker.host.guest_store(&guest, Q.0 * 4096, &text(2)).unwrap();
    attacker.host.guest_store(&guest, P.0 * 4096, &text(1)).unwrap();
    assert_eq!(attacker.host.share(&guest, P).unwrap(), DONE);
    assert_eq!(attacker.host.pin(frame), DONE);
    let shared = attacker.host.page_bytes(frame).unwrap();
    assert_eq!(attacker.host.export(frame), DONE);
    assert_eq!(attacker.rule(), "T46");
    assert_eq!(attacker.host.page_bytes(frame).unwrap(), shared, "nothing that was not shared already");
    assert_eq!(attacker.view(&guest, P), PageView { record: PageRecord::Shared(None), counter: 0 });
    assert_eq!(attacker.host.page_bytes(secret).unwrap_err().code, ProgramCode::SecureStorageAccess, "I-13");
    assert_eq!(attacker.host.unpin(&guest, P), DONE);
    assert_eq!(attacker.rule(), "T67", "the pin is gone");
    assert_eq!(exit_code(attacker.host.unshare(&guest, P)), ProgramCode::NonSecureStorageAccess, "D31");
    assert_eq!(attacker.host.import(&guest, P), DONE);
    assert_eq!(attacker.rule(), "T37");
    assert_eq!(attacker.host.unshare(&guest, P).unwrap(), DONE);
    assert_eq!(attacker.host.guest_load(&guest, P.0 * 4096, 4096).unwrap(), text(1), "T62");
}

#[test]
fn at_its_last_counter_a_changed_page_stays_resident() {
    for cipher in [CipherProfile::Gcm, CipherProfile::Xts] {
        for change_detection in [ChangeDetection::Digest, ChangeDetection::Always] {
            let machine = Machine::new(MachineConfig { cipher, change_detection, ..config() }).unwrap();
            let mut attacker = Attacker::on(&machine);
            let guest = attacker.host.start(1);
            let frame = attacker.host.resident(&guest, P);
            attacker.host.guest_store(&guest, P.0 * 4096, &text(1)).unwrap();
            assert!(machine.preset_counter(guest.handle, P, Counter::MAX));
            let export = [(0x18, 8, frame.address().0)];
            if change_detection == ChangeDetection::Digest {
                assert_eq!(attacker.host.export(frame), DONE, "unchanged");
                assert_eq!(attacker.host.import(&guest, P), DONE);
                assert_eq!(attacker.host.export(frame), DONE, "untouched");
                assert_eq!(attacker.host.import(&guest, P), DONE);
                attacker.host.guest_store(&guest, P.0 * 4096, &text(2)).unwrap();
            }
            attacker.refused(Command::ConvFromSecStor, &export, 0x105, "D42");
            let view = PageView { record: PageRecord::Resident(frame), counter: Counter::MAX.value() };
            assert_eq!(attacker.view(&guest, P), view);
            let expected = if change_detection == ChangeDetection::Digest { text(2) } else { text(1) };
            assert_eq!(attacker.host.guest_load(&guest, P.0 * 4096, 4096).unwrap(), expected);
            // The last step up is still there, and ends at the maximum.
            let frame = attacker.host.resident(&guest, Q);
            let last = Counter::new(Counter::MAX.value() - 1).unwrap();
            assert!(machine.preset_counter(guest.handle, Q, last));
            attacker.host.guest_store(&guest, Q.0 * 4096, &text(3)).unwrap();
            assert_eq!(attacker.host.export(frame), DONE);
            assert_eq!(attacker.view(&guest, Q).counter, Counter::MAX.value());
            assert_eq!(attacker.host.import(&guest, Q), DONE);
            assert_eq!(attacker.host.guest_load(&guest, Q.0 * 4096, 4096).unwrap(), text(3));
        }
    }
}

// What ciphertext gives away: I-12, I-22, I-23.

#[test]
fn equal_content_looks_different_everywhere_but_when_unchanged() {
    for config in profiles() {
        let machine = Machine::new(config).unwrap();
        let mut attacker = Attacker::on(&machine);
        let (one, two) = (attacker.host.start(1), attacker.host.start(1));
        let uniform = vec![0x5a; 4096];
        let (frame, first) = attacker.exported(&one, P, &uniform);
        let (_, elsewhere) = attacker.exported(&one, Q, &uniform);
        let (_, foreign) = attacker.exported(&two, P, &uniform);
        assert!(first != elsewhere && first != foreign && elsewhere != foreign);
        let mut blocks: Vec<&[u8]> = [&first, &elsewhere, &foreign].iter().flat_map(|page| page.chunks(16)).collect();
        let total = blocks.len();
        blocks.sort_unstable();
        blocks.dedup();
        assert_eq!(blocks.len(), total, "equal blocks");

        let integrity = machine.page_integrity(one.handle, P).unwrap();
        assert_eq!(attacker.host.import(&one, P), DONE);
        assert_eq!(attacker.host.export(frame), DONE);
        assert_eq!(attacker.host.page_bytes(frame).unwrap(), first, "unchanged (I-23)");
        assert_eq!(machine.page_integrity(one.handle, P).unwrap(), integrity);
        assert_eq!(attacker.view(&one, P).counter, 1);

        // A → B → A: the return of A does not show (I-22).
        let other = attacker.rewrite(&one, P, frame, &text(1));
        let back = attacker.rewrite(&one, P, frame, &uniform);
        assert!(first != other && other != back && first != back);
        assert_eq!(attacker.view(&one, P).counter, 3);
    }
}

// Control blocks in hostile places: D2, D3, D5.

#[test]
fn control_blocks_in_hostile_places() {
    let machine = machine();
    let mut attacker = Attacker::on(&machine);
    let guest = attacker.host.start(1);
    let (frame, _) = attacker.exported(&guest, P, &text(1));
    let host = &mut attacker.host;
    // The frame that the import would make secure (D5); refused, and the codes are there to see.
    let fields = [(0x18, 8, guest.handle), (0x20, 8, P.0 * 4096)];
    let offsets = [0, 0x800, 4096 - 0x28];
    for offset in offsets {
        let at = frame.address().0 + offset;
        host.block(at, Command::ConvToSecStor.code(), 0x28, &fields);
        let before = machine.state_digest(Some(AbsoluteAddress(at)));
        assert_eq!(host.issue(at).unwrap(), refused(0x104));
        assert_eq!(machine.state_digest(Some(AbsoluteAddress(at))), before);
    }
    // Half in that frame, from the frame before: frames are handed out in order.
    let next = host.frame();
    let after = host.frame();
    assert_eq!(after.0, next.0 + 1);
    host.map(&guest, Q, after);
    let at = after.address().0 - 0x18;
    host.block(at, Command::ConvToSecStor.code(), 0x28, &[(0x18, 8, guest.handle), (0x20, 8, Q.0 * 4096)]);
    assert_eq!(host.issue(at).unwrap(), refused(0x104));

    // In a secure frame, across the border of one, and outside storage: interruptions, nothing stored.
    let secure = host.resident(&guest, PageIndex(8));
    let behind = host.frame();
    assert_eq!(behind.0, secure.0 + 1);
    let before = machine.state_digest(None);
    for at in [secure.address().0, secure.address().0 + 0xff8] {
        assert_eq!(host.issue(at).unwrap_err().code, ProgramCode::SecureStorageAccess);
    }
    assert_eq!(host.issue(machine.storage_size()).unwrap_err().code, ProgramCode::Addressing);
    assert_eq!(host.issue(u64::MAX - 7).unwrap_err().code, ProgramCode::Addressing);
    assert_eq!(host.issue(BLOCK + 4).unwrap_err().code, ProgramCode::Specification);
    assert_eq!(machine.state_digest(None), before);
    let at = secure.address().0 - 8;
    host.block(at, Command::ConvFromSecStor.code(), 8, &[]);
    host.store(at, &[0, 0x20]);
    let before = machine.state_digest(None);
    let interruption = host.issue(at).unwrap_err();
    assert_eq!(interruption.code, ProgramCode::SecureStorageAccess);
    assert_eq!(interruption.teid.address(), secure.address().0);
    assert_eq!(machine.state_digest(None), before);
    let end = machine.storage_size() - 8;
    host.block(end, Command::ConvFromSecStor.code(), 8, &[]);
    host.store(end, &[0, 0x20]);
    assert_eq!(host.issue(end).unwrap_err().code, ProgramCode::Addressing);
    machine.check_invariants().unwrap();
}

#[test]
fn a_block_in_the_area_that_it_donates_is_refused() {
    let machine = machine();
    let rules = Arc::new(Rules::default());
    machine.subscribe(rules.clone());
    let mut host = Host::new(&machine);
    let refuse_at = |host: &mut Host<'_>, at: u64, command: Command, fields: &[(u64, u8, u64)], rc| {
        host.block(at, command.code(), command.usual_length(), fields);
        let before = machine.state_digest(Some(AbsoluteAddress(at)));
        assert_eq!(host.issue(at).unwrap(), refused(rc), "{} at {at:#x}", command.name());
        assert_eq!(*rules.0.lock().unwrap(), if rc == 0x10b { "D11" } else { "D5" });
        assert_eq!(machine.state_digest(Some(AbsoluteAddress(at))), before);
    };
    let init = [(0x18, 8, UV_BASE), (0x20, 8, UV_BASE_LENGTH)];
    for at in [UV_BASE, UV_BASE + UV_BASE_LENGTH - 0x48, UV_BASE - 8, UV_BASE + UV_BASE_LENGTH - 8] {
        refuse_at(&mut host, at, Command::InitUv, &init, 0x105);
    }
    assert_eq!(host.init(), DONE);
    let mut guest = host.prepare(1);
    let fields = Host::create_fields(&guest);
    for at in [guest.base, guest.base + CONFIGURATION_BASE_LENGTH - 0x80, guest.base - 8] {
        refuse_at(&mut host, at, Command::CreateSecConf, &fields, 0x108);
    }
    for at in [guest.variable + 0x1000, guest.variable + CONFIGURATION_FIXED_LENGTH + 0x1000 - 0x10] {
        refuse_at(&mut host, at, Command::CreateSecConf, &fields, 0x10b);
    }
    assert_eq!(host.call(Command::CreateSecConf, &fields), DONE);
    guest.handle = host.output(0x18);
    let fields = Host::cpu_fields(&guest, 0);
    for at in [guest.cpu_storage, guest.cpu_storage + 0x1000 - 0x20] {
        refuse_at(&mut host, at, Command::CreateSecCpu, &fields, 0x105);
    }
    machine.check_invariants().unwrap();
}

#[test]
fn exporting_the_frame_of_the_block_itself_is_harmless() {
    let machine = machine();
    let mut attacker = Attacker::on(&machine);
    let guest = attacker.host.start(1);
    let frame = attacker.host.resident(&guest, P);
    assert_eq!(attacker.host.share(&guest, P).unwrap(), DONE);
    for command in [Command::PinPageShared, Command::ConvFromSecStor, Command::ConvFromSecStor] {
        let at = frame.address().0;
        attacker.host.block(at, command.code(), 0x20, &[(0x18, 8, at)]);
        assert_eq!(attacker.host.issue(at).unwrap(), DONE);
    }
    assert_eq!(attacker.view(&guest, P).record, PageRecord::Shared(None));
    machine.check_invariants().unwrap();
}
