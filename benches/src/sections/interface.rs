//! What the C interface adds to a load, a store and a call: each beside the same thing in Rust.

#![allow(unsafe_code, reason = "functions of the C interface")]

use super::Plan;
use crate::host::machine;
use crate::samples::Samples;
use crate::table::Row;
use core::ffi::c_int;
use core::hint::black_box;
use core::ptr::{null, null_mut};
use uvsim_capi::call::uvsim_uvc;
use uvsim_capi::cpu::{uvsim_cpu, uvsim_cpu_start, uvsim_cpu_stop, uvsim_set_home, uvsim_set_translation};
use uvsim_capi::machine::{uvsim_machine, uvsim_machine_create, uvsim_machine_destroy};
use uvsim_capi::result::UVSIM_OK;
use uvsim_capi::storage::{uvsim_load64, uvsim_store, uvsim_store64};
use uvsim_model::address::VirtualAddress;
use uvsim_model::cpu::{HostCpu, Uvc};
use uvsim_model::storage::Asce;
use uvsim_model::uvc::Command;

/// Home space is real storage, so that translations are buffered and no tables are needed.
const REAL_SPACE: u64 = 0x20;
const BLOCK: u64 = 0x10_0000;
const WORDS: u64 = 0x20_0000;
const LENGTH: u16 = 0x120;

const LOAD: [&str; 2] = ["C: load of 8 bytes", "Rust: load of 8 bytes"];
const STORE: [&str; 2] = ["C: store of 8 bytes", "Rust: store of 8 bytes"];
const QUERY: [&str; 2] = ["C: QUERY_UV_INFORMATION", "Rust: QUERY_UV_INFORMATION"];

/// Loads, stores and calls.
#[must_use]
pub fn interface(plan: &Plan) -> Vec<Row> {
    let machine = machine(1);
    let mut rust = machine.cpu(0).expect("CPU 0 is free");
    rust.set_home(Asce(REAL_SPACE));
    rust.set_translation(true);
    let c = Linked::new();
    let [high, low] = Command::QueryUvInformation.code().to_be_bytes();
    let [long, short] = LENGTH.to_be_bytes();
    let header = [long, short, high, low];
    rust.store(VirtualAddress(BLOCK), &header).expect("non-secure");
    c.store(BLOCK, &header);
    let addresses: Vec<u64> = (0..4096).map(|word| WORDS + word * 0x1008 % 0x10_0000 / 8 * 8).collect();
    let mut samples = Samples::default();
    for round in 0..=plan.rounds {
        if round == 1 {
            samples.forget();
        }
        for _ in 0..8 {
            samples.time(LOAD[0], &addresses, |at| c.load(at));
            samples.time(LOAD[1], &addresses, |at| load(&mut rust, at));
            samples.time(STORE[0], &addresses, |at| c.store_word(at));
            samples.time(STORE[1], &addresses, |at| rust.store_u64(VirtualAddress(at), at).expect("non-secure"));
            samples.time(QUERY[0], &addresses[..1024], |_| c.query());
            samples.time(QUERY[1], &addresses[..1024], |_| query(&mut rust));
        }
        samples.end_round();
    }
    [LOAD, STORE, QUERY].map(|[ours, limit]| Row::of(&samples, "1 MiB", ours, limit, None)).into()
}

fn load(cpu: &mut HostCpu<'_>, at: u64) {
    black_box(cpu.load_u64(VirtualAddress(at)).expect("non-secure"));
}

fn query(cpu: &mut HostCpu<'_>) {
    black_box(cpu.uvc(Uvc::at(VirtualAddress(BLOCK))).expect("the block can be reached"));
}

/// A machine with one CPU, as a C program has it.
struct Linked {
    machine: *mut uvsim_machine,
    cpu: *mut uvsim_cpu,
}

impl Linked {
    fn new() -> Self {
        let (mut machine, mut cpu) = (null_mut(), null_mut());
        // SAFETY: the places for the handles are there, and a null configuration means the defaults.
        done(unsafe { uvsim_machine_create(null(), 0, &raw mut machine) });
        // SAFETY: as above.
        done(unsafe { uvsim_cpu_start(machine, 0, &raw mut cpu) });
        done(uvsim_set_home(cpu, REAL_SPACE));
        done(uvsim_set_translation(cpu, 1));
        Self { machine, cpu }
    }

    fn store(&self, at: u64, bytes: &[u8]) {
        // SAFETY: the bytes are there, and nobody wants the interruption.
        done(unsafe { uvsim_store(self.cpu, at, bytes.as_ptr().cast(), bytes.len(), null_mut()) });
    }

    fn store_word(&self, at: u64) {
        // SAFETY: nobody wants the interruption.
        done(unsafe { uvsim_store64(self.cpu, at, at, null_mut()) });
    }

    fn load(&self, at: u64) {
        let mut value = 0;
        // SAFETY: the place for the value is there.
        done(unsafe { uvsim_load64(self.cpu, at, &raw mut value, null_mut()) });
        black_box(value);
    }

    fn query(&self) {
        // SAFETY: nobody wants the interruption.
        black_box(unsafe { uvsim_uvc(self.cpu, 0, BLOCK, null_mut()) });
    }
}

impl Drop for Linked {
    fn drop(&mut self) {
        done(uvsim_cpu_stop(self.cpu));
        done(uvsim_machine_destroy(self.machine));
    }
}

#[track_caller]
fn done(answer: c_int) {
    assert_eq!(answer, UVSIM_OK, "an answer of the C interface");
}
