//! What a hostile host tries, and what it gets: the exact refusal, and a machine that is as it was.

mod blocks;
mod endings;
mod forgery;
mod handles;
mod places;
#[path = "../support/mod.rs"]
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

fn machine() -> support::beside::Beside {
    support::machine(config())
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
