//! A small host that works as a kernel does: storage is memory, control blocks lie on its stack, its home space is the
//! process.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "every test file uses its own part")]

use core::ffi::{c_int, c_void};
use core::ptr::{null_mut, without_provenance_mut};
use std::ffi::CString;
use uvsim_capi::call::uvsim_uvc;
use uvsim_capi::cpu::{uvsim_cpu, uvsim_cpu_start, uvsim_cpu_stop, uvsim_interruption, uvsim_set_native};
use uvsim_capi::machine::{uvsim_machine, uvsim_machine_create, uvsim_machine_destroy};
use uvsim_capi::raw::{UVSIM_DELIVER, UVSIM_HOST_VIEW, UVSIM_RETRY, uvsim_fault, uvsim_va};
use uvsim_capi::result::UVSIM_OK;
use uvsim_model::UV_BASE_LENGTH;
use uvsim_model::uvc::Command;

pub const NOTHING: uvsim_interruption = uvsim_interruption { code: 0, reserved: [0; 3], teid: 0 };
/// Base storage of the Ultravisor.
pub const UV_BASE: u64 = 2 << 30;

/// A machine with a host view. Handles are numbers, so all threads may have them.
#[derive(Clone, Copy)]
pub struct Kernel {
    machine: u64,
    base: usize,
}

/// A configuration without CPUs.
pub struct Guest {
    pub handle: u64,
    tables: u64,
    /// Where the host keeps the frames of its pages, in order.
    pub frames: u64,
}

impl Kernel {
    pub fn new(cpus: u16) -> Self {
        let text = format!("storage \"4GiB\"; cpus {cpus}; seed 7; byte-order native");
        let text = CString::new(text).unwrap();
        let mut machine = null_mut();
        // SAFETY: the text ends with a zero byte.
        assert_eq!(unsafe { uvsim_machine_create(text.as_ptr(), UVSIM_HOST_VIEW, &raw mut machine) }, UVSIM_OK);
        let base = uvsim_va(machine, 0);
        assert!(!base.is_null());
        Self { machine: machine.addr() as u64, base: base.addr() }
    }

    /// A machine whose Ultravisor is initialised, on this thread's CPU 0.
    pub fn ready(cpus: u16) -> (Self, *mut uvsim_cpu) {
        let kernel = Self::new(cpus);
        let cpu = kernel.cpu(0);
        assert_eq!(call(cpu, Command::InitUv, &[(0x18, UV_BASE), (0x20, UV_BASE_LENGTH)]), 0);
        (kernel, cpu)
    }

    pub fn machine(&self) -> *mut uvsim_machine {
        without_provenance_mut(self.machine as usize)
    }

    pub fn cpu(&self, number: u16) -> *mut uvsim_cpu {
        let mut cpu = null_mut();
        // SAFETY: the place is there; this thread tells its CPUs pointers of its own only.
        unsafe {
            assert_eq!(uvsim_cpu_start(self.machine(), number, &raw mut cpu), UVSIM_OK);
            assert_eq!(uvsim_set_native(cpu, 1), UVSIM_OK);
        }
        cpu
    }

    pub fn end(self, cpu: *mut uvsim_cpu) {
        assert_eq!([uvsim_cpu_stop(cpu), uvsim_machine_destroy(self.machine())], [UVSIM_OK; 2]);
    }

    pub fn at(&self, absolute: u64) -> *mut u8 {
        core::ptr::with_exposed_provenance_mut(self.base + absolute as usize)
    }

    pub fn store_u64(&self, absolute: u64, value: u64) {
        // SAFETY: storage of the machine, which no Rust reference leads to.
        unsafe { self.at(absolute).cast::<u64>().write_volatile(value) };
    }

    pub fn load_u64(&self, absolute: u64) -> u64 {
        // SAFETY: as above.
        unsafe { self.at(absolute).cast::<u64>().read_volatile() }
    }

    /// A configuration with all it needs from `at` on; its pages are mapped to frames that lie `spread` pages apart.
    pub fn guest(&self, cpu: *mut uvsim_cpu, at: u64, mebibytes: u64, spread: u64) -> Guest {
        let (base, sca, segments) = (at, at + 0x1_0000, at + 0x2_0000);
        let tables = segments + 0x4000;
        let variable = tables + mebibytes * 0x1000;
        let frames = (variable + 0x1_0000 + mebibytes * 0x1000).next_multiple_of(1 << 20);
        for index in 0..2048 {
            self.store_u64(segments + index * 8, if index < mebibytes { tables + index * 0x1000 } else { 0x20 });
        }
        for page in 0..mebibytes * 256 {
            self.store_u64(tables + page / 256 * 0x1000 + page % 256 * 8, frames + page * spread * 0x1000);
        }
        let fields = [
            (0x20, base),
            (0x28, self.at(variable).addr() as u64),
            (0x38, 0),
            (0x40, mebibytes << 20),
            (0x48, sca),
            (0x50, segments | 0x103),
        ];
        let mut block = block(Command::CreateSecConf, &fields);
        assert_eq!(issue(cpu, &mut block), 0, "{block:x?}");
        Guest { handle: block[3], tables, frames }
    }
}

impl Guest {
    pub fn import(&self, cpu: *mut uvsim_cpu, page: u64) -> c_int {
        call(cpu, Command::ConvToSecStor, &[(0x18, self.handle), (0x20, page * 0x1000)])
    }
}

pub fn export(cpu: *mut uvsim_cpu, frame: u64) -> c_int {
    call(cpu, Command::ConvFromSecStor, &[(0x18, frame & !0xfff)])
}

/// An Ultravisor call with a block on the stack; again while the Ultravisor is busy.
pub fn call(cpu: *mut uvsim_cpu, command: Command, fields: &[(usize, u64)]) -> c_int {
    issue(cpu, &mut block(command, fields))
}

fn block(command: Command, fields: &[(usize, u64)]) -> [u64; 64] {
    let mut block = [0; 64];
    block[0] = u64::from(command.usual_length()) | u64::from(command.code()) << 16;
    const { assert!(cfg!(target_endian = "little")) };
    fields.iter().for_each(|&(offset, value)| block[offset / 8] = value);
    block
}

fn issue(cpu: *mut uvsim_cpu, block: &mut [u64; 64]) -> c_int {
    let at = block.as_mut_ptr().expose_provenance() as u64;
    loop {
        // SAFETY: nothing is to be written.
        let cc = unsafe { uvsim_uvc(cpu, 0, at, null_mut()) };
        if cc != 2 {
            return cc;
        }
    }
}

/// The fault handler of a kernel: exports the frame. `user` is null.
pub unsafe extern "C" fn make_accessible(_user: *mut c_void, fault: *const uvsim_fault) -> c_int {
    // SAFETY: the library passes a fault.
    let fault = unsafe { &*fault };
    if export(fault.cpu, fault.absolute) == 0 { UVSIM_RETRY } else { UVSIM_DELIVER }
}
