//! A small host that knows nothing but the C functions: translation is off, so its addresses are real ones.

#![allow(unsafe_code, reason = "it stands where C code stands")]
#![allow(dead_code, unreachable_pub, reason = "every test file uses its own part")]

use std::ffi::{CStr, CString, c_int};
use std::ptr::null_mut;
use uvsim_capi::call::uvsim_uvc;
use uvsim_capi::cpu::{
    uvsim_cpu, uvsim_cpu_start, uvsim_cpu_stop, uvsim_interruption, uvsim_set_primary, uvsim_set_problem_state,
};
use uvsim_capi::guest::{uvsim_guest_load, uvsim_guest_store, uvsim_guest_uvc};
use uvsim_capi::image::{UVSIM_IMAGE_HEADER_LENGTH, uvsim_component, uvsim_image_build, uvsim_image_plan};
use uvsim_capi::machine::{uvsim_machine, uvsim_machine_create, uvsim_machine_destroy};
use uvsim_capi::purge::uvsim_ipte;
use uvsim_capi::result::{UVSIM_OK, uvsim_last_error};
use uvsim_capi::sie::{uvsim_exit, uvsim_sie_enter, uvsim_sie_leave};
use uvsim_capi::storage::{uvsim_load, uvsim_store};

pub const PAGE: u64 = 4096;
const BLOCK: u64 = 0x1_0000;
const UV_BASE: u64 = 2 << 30;
/// Where guests put their blocks: the last 512 bytes of page 1.
const GUEST_BLOCK: u64 = 0x1e00;

/// cc, rc, rrc.
pub type Answer = (c_int, u16, u16);
pub const DONE: Answer = (0, 1, 0);
/// Offset, size, value.
pub type Field = (usize, usize, u64);

pub fn create(config: &str) -> *mut uvsim_machine {
    let mut machine = null_mut();
    let config = CString::new(config).unwrap();
    // SAFETY: the text ends with a zero byte, the place is there.
    let answer = unsafe { uvsim_machine_create(config.as_ptr(), 0, &mut machine) };
    assert_eq!(answer, UVSIM_OK, "{}", last_error());
    machine
}

pub fn start(machine: *mut uvsim_machine, number: u16) -> *mut uvsim_cpu {
    let mut cpu = null_mut();
    // SAFETY: the place is there.
    let answer = unsafe { uvsim_cpu_start(machine, number, &mut cpu) };
    assert_eq!(answer, UVSIM_OK, "{}", last_error());
    cpu
}

pub fn last_error() -> String {
    // SAFETY: the text ends with a zero byte.
    unsafe { CStr::from_ptr(uvsim_last_error()) }.to_str().unwrap().to_owned()
}

pub fn load(cpu: *mut uvsim_cpu, at: u64, bytes: &mut [u8]) -> (c_int, uvsim_interruption) {
    let mut found = uvsim_interruption::default();
    // SAFETY: buffer and place are there.
    let answer = unsafe { uvsim_load(cpu, at, bytes.as_mut_ptr().cast(), bytes.len(), &mut found) };
    (answer, found)
}

pub fn store(cpu: *mut uvsim_cpu, at: u64, bytes: &[u8]) -> (c_int, uvsim_interruption) {
    let mut found = uvsim_interruption::default();
    // SAFETY: buffer and place are there.
    let answer = unsafe { uvsim_store(cpu, at, bytes.as_ptr().cast(), bytes.len(), &mut found) };
    (answer, found)
}

pub fn guest_load(cpu: *mut uvsim_cpu, at: u64, bytes: &mut [u8]) -> (c_int, uvsim_exit) {
    let mut exit = uvsim_exit::default();
    // SAFETY: buffer and place are there.
    let answer = unsafe { uvsim_guest_load(cpu, at, bytes.as_mut_ptr().cast(), bytes.len(), &mut exit) };
    (answer, exit)
}

pub fn guest_store(cpu: *mut uvsim_cpu, at: u64, bytes: &[u8]) -> (c_int, uvsim_exit) {
    let mut exit = uvsim_exit::default();
    // SAFETY: buffer and place are there.
    let answer = unsafe { uvsim_guest_store(cpu, at, bytes.as_ptr().cast(), bytes.len(), &mut exit) };
    (answer, exit)
}

pub fn enter(cpu: *mut uvsim_cpu, description: u64) -> (c_int, uvsim_exit) {
    let mut exit = uvsim_exit::default();
    // SAFETY: the place is there.
    let answer = unsafe { uvsim_sie_enter(cpu, description, &mut exit) };
    (answer, exit)
}

pub fn leave(cpu: *mut uvsim_cpu) -> (c_int, uvsim_exit) {
    let mut exit = uvsim_exit::default();
    // SAFETY: the place is there.
    let answer = unsafe { uvsim_sie_leave(cpu, &mut exit) };
    (answer, exit)
}

fn block(command: u16, length: u16, fields: &[Field]) -> Vec<u8> {
    let mut bytes = vec![0; usize::from(length)];
    bytes[..2].copy_from_slice(&length.to_be_bytes());
    bytes[2..4].copy_from_slice(&command.to_be_bytes());
    for &(offset, size, value) in fields {
        bytes[offset..offset + size].copy_from_slice(&value.to_be_bytes()[8 - size..]);
    }
    bytes
}

/// A host on CPU 0 of a machine of its own.
pub struct Host {
    pub machine: *mut uvsim_machine,
    pub cpu: *mut uvsim_cpu,
    next: u64,
}

/// A configuration of 1 MiB with one CPU.
pub struct Guest {
    pub handle: u64,
    pub cpu: u64,
    pub asce: u64,
    pub table: u64,
    pub description: u64,
}

impl Host {
    /// Its Ultravisor is initialised.
    pub fn new(config: &str) -> Self {
        let machine = create(config);
        let host = Self { machine, cpu: start(machine, 0), next: 0x10_0000 };
        host.call(0x0001, 0xa8, &[]);
        let length = host.output(0x40);
        assert_eq!(host.call(0x000f, 0x48, &[(0x18, 8, UV_BASE), (0x20, 8, length)]), DONE);
        host
    }

    pub fn allocate(&mut self, len: u64, align: u64) -> u64 {
        let at = self.next.next_multiple_of(align);
        self.next = at + len.next_multiple_of(PAGE);
        at
    }

    pub fn store(&self, at: u64, bytes: &[u8]) {
        assert_eq!(store(self.cpu, at, bytes).0, UVSIM_OK, "{at:#x}");
    }

    pub fn store_u64(&self, at: u64, value: u64) {
        self.store(at, &value.to_be_bytes());
    }

    pub fn load<const N: usize>(&self, at: u64) -> [u8; N] {
        let mut bytes = [0; N];
        assert_eq!(load(self.cpu, at, &mut bytes).0, UVSIM_OK, "{at:#x}");
        bytes
    }

    pub fn call(&self, command: u16, length: u16, fields: &[Field]) -> Answer {
        self.store(BLOCK, &block(command, length, fields));
        // SAFETY: nobody wants the interruption.
        let cc = unsafe { uvsim_uvc(self.cpu, 0, BLOCK, null_mut()) };
        let codes: [u8; 4] = self.load(BLOCK + 4);
        (cc, u16::from_be_bytes([codes[0], codes[1]]), u16::from_be_bytes([codes[2], codes[3]]))
    }

    pub fn output(&self, offset: u64) -> u64 {
        u64::from_be_bytes(self.load(BLOCK + offset))
    }

    pub fn create_guest(&mut self) -> Guest {
        let (base, variable) = (self.allocate(0x1_0000, 0x4000), self.allocate(0x1_1000, PAGE));
        let (segments, table) = (self.allocate(0x4000, 0x4000), self.allocate(PAGE, PAGE));
        let (sca, storage) = (self.allocate(0x8000, PAGE), self.allocate(PAGE, PAGE));
        let (description, sida) = (self.allocate(PAGE, PAGE), self.allocate(PAGE, PAGE));
        (0..2048).for_each(|index| self.store_u64(segments + index * 8, 0x20));
        (0..256).for_each(|index| self.store_u64(table + index * 8, 0x400));
        self.store_u64(segments, table);
        let asce = segments | 0x103;
        let fields = [(0x20, 8, base), (0x28, 8, variable), (0x40, 8, 1 << 20), (0x48, 8, sca), (0x50, 8, asce)];
        assert_eq!(self.call(0x0100, 0x80, &fields), DONE);
        let handle = self.output(0x18);
        let fields = [(0x20, 8, handle), (0x28, 8, storage), (0x36, 2, 0), (0x38, 8, description)];
        assert_eq!(self.call(0x0120, 0x60, &fields), DONE);
        let cpu = self.output(0x18);
        self.store_u64(description + 0x10, cpu);
        self.store_u64(description + 0x18, handle);
        self.store(description + 0x68, &[2]);
        self.store_u64(description + 0x180, sida);
        assert_eq!(uvsim_set_primary(self.cpu, asce), UVSIM_OK);
        Guest { handle, cpu, asce, table, description }
    }

    /// Loads an image with one page for each of these, at 0x2000 and on, and lets the CPU operate.
    pub fn boot(&mut self, guest: &Guest, pages: &mut [[u8; PAGE as usize]]) {
        let mut header = [0u8; UVSIM_IMAGE_HEADER_LENGTH];
        let plan = uvsim_image_plan { seed: 3, psw_address: 0x2000, ..Default::default() };
        let length = size_of_val(pages);
        let component = uvsim_component { address: 0x2000, prefix: 77, data: pages.as_mut_ptr().cast(), length };
        // SAFETY: plan, component, its data and the place for the header are there.
        let answer =
            unsafe { uvsim_image_build(self.machine, &plan, &component, 1, header.as_mut_ptr().cast(), header.len()) };
        assert_eq!(answer, UVSIM_OK, "{}", last_error());
        let at = self.allocate(PAGE, PAGE);
        self.store(at, &header);
        let fields = [(0x18, 8, guest.handle), (0x20, 8, at), (0x28, 4, header.len() as u64)];
        assert_eq!(self.call(0x0300, 0x50, &fields), DONE);
        for (number, page) in (0u64..).zip(&*pages) {
            let frame = self.map(guest, 2 + number);
            self.store(frame, page);
            let address = (2 + number) * PAGE;
            let fields = [(0x18, 8, guest.handle), (0x20, 8, address), (0x28, 8, 77), (0x30, 8, number * PAGE)];
            assert_eq!(self.call(0x0301, 0x50, &fields), DONE);
        }
        assert_eq!(self.call(0x0302, 0x40, &[(0x18, 8, guest.handle)]), DONE);
        assert_eq!(self.call(0x0330, 0x50, &[(0x18, 8, guest.cpu), (0x27, 1, 5)]), DONE);
        for page in 0..2 {
            self.map(guest, page);
            assert_eq!(self.import(guest, page), DONE);
        }
    }

    /// Maps a fresh frame at a page.
    pub fn map(&mut self, guest: &Guest, page: u64) -> u64 {
        let frame = self.allocate(PAGE, PAGE);
        self.map_at(guest, page, frame);
        frame
    }

    pub fn map_at(&self, guest: &Guest, page: u64, frame: u64) {
        self.unmap(guest, page);
        self.store_u64(guest.table + page * 8, frame);
    }

    pub fn unmap(&self, guest: &Guest, page: u64) {
        // SAFETY: nobody wants the interruption.
        assert_eq!(unsafe { uvsim_ipte(self.cpu, guest.table, page * PAGE, null_mut()) }, UVSIM_OK);
    }

    pub fn import(&self, guest: &Guest, page: u64) -> Answer {
        self.call(0x0200, 0x28, &[(0x18, 8, guest.handle), (0x20, 8, page * PAGE)])
    }

    pub fn export(&self, frame: u64) -> Answer {
        self.call(0x0201, 0x20, &[(0x18, 8, frame)])
    }

    /// The guest shares a page; it is in SIE.
    pub fn guest_share(&self, page: u64) -> c_int {
        assert_eq!(guest_store(self.cpu, GUEST_BLOCK, &block(0x1000, 0x30, &[(0x20, 8, page * PAGE)])).0, UVSIM_OK);
        // SAFETY: nobody wants the exit.
        unsafe { uvsim_guest_uvc(self.cpu, 0, GUEST_BLOCK, null_mut()) }
    }

    pub fn end(&self, guest: &Guest) {
        assert_eq!(self.call(0x0121, 0x40, &[(0x18, 8, guest.cpu)]), DONE);
        assert_eq!(self.call(0x0101, 0x40, &[(0x18, 8, guest.handle)]), DONE);
    }

    /// Stops the CPU, in SIE or not, and destroys the machine.
    pub fn leave_and_close(self) {
        assert_eq!(uvsim_cpu_stop(self.cpu), UVSIM_OK);
        assert_eq!(uvsim_machine_destroy(self.machine), UVSIM_OK);
    }

    pub fn close(self) {
        assert_eq!(uvsim_set_problem_state(self.cpu, 0), UVSIM_OK, "it is in SIE");
        self.leave_and_close();
    }
}
