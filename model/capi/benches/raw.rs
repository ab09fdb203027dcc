//! What raw mode costs: plain accesses to the host view, and the round trip of a fault.

#![cfg_attr(not(target_os = "linux"), allow(unused))]
#![allow(unsafe_code, missing_docs, reason = "functions of the C interface, and plain accesses to storage")]

#[path = "../tests/kernel/mod.rs"]
mod kernel;

use core::ffi::{c_int, c_void};
use core::hint::black_box;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, Ordering};
use criterion::{Criterion, criterion_group, criterion_main};
use kernel::{Kernel, UV_BASE, export, make_accessible};
use std::thread;
use uvsim_capi::cpu::uvsim_cpu_stop;
use uvsim_capi::raw::{UVSIM_DELIVER, uvsim_fault, uvsim_on_secure_access, uvsim_secure_access_fn, uvsim_try_copy};
use uvsim_capi::result::{UVSIM_INTERRUPTED, UVSIM_OK};
use uvsim_capi::storage::uvsim_load64;

const HERE: u64 = 16 << 20;

fn ask(kernel: &Kernel, callback: uvsim_secure_access_fn) {
    // SAFETY: the callbacks make do with a null pointer.
    assert_eq!(unsafe { uvsim_on_secure_access(kernel.machine(), callback, null_mut()) }, UVSIM_OK);
}

unsafe extern "C" fn refuse(_: *mut c_void, _: *const uvsim_fault) -> c_int {
    UVSIM_DELIVER
}

/// Copies one word of `from`.
fn copy(from: *const u8) -> c_int {
    let mut word = [0_u8; 8];
    // SAFETY: the array is long enough; the copy survives the rest.
    unsafe { uvsim_try_copy(null_mut(), word.as_mut_ptr().cast(), from.cast(), 8, null_mut()) }
}

fn accesses(criterion: &mut Criterion) {
    let (kernel, cpu) = Kernel::ready(1);
    let words = vec![1_u64; 1 << 17];
    let mut group = criterion.benchmark_group("raw/access");
    let mut at = 0;
    let mut next = || {
        at = (at + 0x1008) & 0xf_fff8;
        at
    };
    group.bench_function("plain memory", |bencher| {
        // SAFETY: inside the vector.
        bencher.iter(|| unsafe { words.as_ptr().byte_add(next()).read_volatile() });
    });
    group.bench_function("host view", |bencher| bencher.iter(|| kernel.load_u64(0x10_0000 + next() as u64)));
    group.bench_function("uvsim_load64", |bencher| {
        bencher.iter(|| {
            let mut value = 0;
            let address = kernel.at(0x10_0000 + next() as u64).addr() as u64;
            // SAFETY: the place is there.
            assert_eq!(unsafe { uvsim_load64(cpu, address, &raw mut value, null_mut()) }, UVSIM_OK);
            value
        });
    });
    group.bench_function("uvsim_try_copy", |bencher| bencher.iter(|| copy(kernel.at(0x10_0000 + next() as u64))));
    group.finish();
    kernel.end(cpu);
}

fn faults(criterion: &mut Criterion) {
    let (kernel, cpu) = Kernel::ready(2);
    let guest = kernel.guest(cpu, HERE, 1, 1);
    let secure = kernel.at(UV_BASE);
    let mut group = criterion.benchmark_group("raw/fault");
    group.bench_function("fix-up", |bencher| bencher.iter(|| assert_eq!(copy(secure), UVSIM_INTERRUPTED)));
    ask(&kernel, Some(refuse));
    group.bench_function("callback, fix-up", |bencher| bencher.iter(|| assert_eq!(copy(secure), UVSIM_INTERRUPTED)));
    ask(&kernel, Some(make_accessible));
    let both = |raw: bool| {
        assert_eq!(guest.import(cpu, 7), 0);
        if !raw {
            assert_eq!(export(cpu, guest.frames + 0x7000), 0);
        }
        black_box(kernel.load_u64(guest.frames + 0x7000));
    };
    group.bench_function("import, export, load", |bencher| bencher.iter(|| both(false)));
    group.bench_function("import, load that exports", |bencher| bencher.iter(|| both(true)));
    // Another thread of the process runs: changes of protection interrupt it.
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let cpu = kernel.cpu(1);
            while !over.load(Ordering::Relaxed) {
                black_box(kernel.load_u64(0x10_0000));
            }
            assert_eq!(uvsim_cpu_stop(cpu), UVSIM_OK);
        });
        group.bench_function("import, export, load; two threads", |bencher| bencher.iter(|| both(false)));
        group.bench_function("import, load that exports; two threads", |bencher| bencher.iter(|| both(true)));
        over.store(true, Ordering::Relaxed);
    });
    group.finish();
    kernel.end(cpu);
}

criterion_group!(raw, accesses, faults);
criterion_main!(raw);
