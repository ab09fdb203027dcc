//! Loads and stores, a guest-memory library, and raw memory.

use core::hint::black_box;
use criterion::{Criterion, criterion_group, criterion_main};
use std::time::Duration;
use uvsim_benches::cases::Resident;
use uvsim_benches::host::{Host, machine};
use uvsim_benches::limits::{BarePages, MappedPages};
use uvsim_benches::sets::{LARGE, MIDDLE, SMALL};
use uvsim_benches::stopwatch::Stopwatch;

fn access(criterion: &mut Criterion) {
    for set in [SMALL, MIDDLE, LARGE] {
        let machine = machine(set.mebibytes() * 2);
        let mut ours = Resident::new(Host::new(&machine), set);
        let (mut bare, mut mapped) = (BarePages::new(set.pages), MappedPages::new(set.pages));
        let (words, passes) = (set.words(), set.page_passes());
        let mut group = criterion.benchmark_group(format!("access/{}", set.name));
        group.sample_size(10).measurement_time(Duration::from_secs(1));
        let mut run = |name: &str, per_pass: usize, one: &mut dyn FnMut(usize) -> Duration| {
            group.bench_function(name, |bencher| {
                bencher.iter_custom(|iterations| {
                    let rounds = (iterations as usize).div_ceil(per_pass);
                    let total: Duration = (0..rounds).map(&mut *one).sum();
                    total.mul_f64(iterations as f64 / (rounds * per_pass) as f64)
                });
            });
        };
        run("8/guest load", words.len(), &mut |_| ours.guest_load(&words));
        run("8/guest store", words.len(), &mut |_| ours.guest_store(&words));
        run("8/host load", words.len(), &mut |_| ours.host_load(&words));
        run("8/host store", words.len(), &mut |_| ours.host_store(&words));
        run("8/limit/read_obj", words.len(), &mut |_| {
            timed(&words, |at| {
                black_box(mapped.read_obj(u64::from(at)));
            })
        });
        run("8/limit/write_obj", words.len(), &mut |_| timed(&words, |at| mapped.write_obj(u64::from(at), 1)));
        run("8/limit/raw load", words.len(), &mut |_| {
            timed(&words, |at| {
                black_box(bare.load(u64::from(at)));
            })
        });
        run("8/limit/raw store", words.len(), &mut |_| timed(&words, |at| bare.store(u64::from(at), 1)));
        let (pages, count) = (|round: usize| &passes[round % passes.len()][..], set.pass() as usize);
        run("4096/guest load", count, &mut |round| ours.guest_load_pages(pages(round)));
        run("4096/guest store", count, &mut |round| ours.guest_store_pages(pages(round)));
        run("4096/host load", count, &mut |round| ours.host_load_pages(pages(round)));
        run("4096/host store", count, &mut |round| ours.host_store_pages(pages(round)));
        run("4096/limit/read_slice", count, &mut |round| timed(pages(round), |page| mapped.read_slice(page)));
        run("4096/limit/write_slice", count, &mut |round| timed(pages(round), |page| mapped.write_slice(page)));
        run("4096/limit/copy", count, &mut |round| timed(pages(round), |page| bare.copy_out(page)));
        group.finish();
    }
}

fn timed<T: Copy>(items: &[T], operation: impl FnMut(T)) -> Duration {
    let start = Stopwatch::start();
    items.iter().copied().for_each(operation);
    start.elapsed()
}

criterion_group!(benches, access);
criterion_main!(benches);
