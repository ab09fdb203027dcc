//! Export and import, and the bare cipher.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::time::Duration;
use uvsim_benches::cases::{Arriving, Resident};
use uvsim_benches::host::{Host, machine};
use uvsim_benches::limits::BarePages;
use uvsim_benches::sets::{LARGE, MIDDLE, SMALL};
use uvsim_benches::stopwatch::Stopwatch;

fn paging(criterion: &mut Criterion) {
    for set in [SMALL, MIDDLE, LARGE] {
        let mut group = criterion.benchmark_group(format!("paging/{}", set.name));
        group.sample_size(10).measurement_time(Duration::from_secs(2)).throughput(Throughput::Bytes(4096));
        let machine = machine(set.mebibytes() * 2);
        let (mut ours, mut bare) = (Resident::new(Host::new(&machine), set), BarePages::new(set.pages));
        let passes = set.page_passes();
        for pages in &passes {
            ours.export(pages);
            ours.import(pages);
        }
        let mut pass = 0;
        let mut over_passes = |iterations: u64, one: &mut dyn FnMut(&[u64]) -> Duration| {
            let (mut total, mut done) = (Duration::ZERO, 0);
            while done < iterations {
                let pages = &passes[pass % passes.len()];
                pass += 1;
                total += one(pages);
                done += pages.len() as u64;
            }
            total.mul_f64(iterations as f64 / done as f64)
        };
        let mut run = |name: &str, one: &mut dyn FnMut(&[u64]) -> Duration| {
            group.bench_function(name, |bencher| bencher.iter_custom(|iterations| over_passes(iterations, one)));
        };
        run("export/untouched", &mut |pages| {
            let time = ours.export(pages);
            ours.import(pages);
            time
        });
        run("export/unchanged", &mut |pages| {
            ours.touch(pages);
            let time = ours.export(pages);
            ours.import(pages);
            time
        });
        run("export/changed", &mut |pages| {
            ours.change(pages);
            let time = ours.export(pages);
            ours.import(pages);
            time
        });
        run("import", &mut |pages| {
            ours.export(pages);
            ours.import(pages)
        });
        run("limit/seal", &mut |pages| timed(pages, |page| bare.seal(page)));
        run("limit/open", &mut |pages| {
            pages.iter().for_each(|&page| bare.seal(page));
            timed(pages, |page| bare.open(page))
        });
        run("limit/hash", &mut |pages| timed(pages, |page| bare.polyval(page)));
        run("limit/clear", &mut |pages| timed(pages, |page| bare.clear(page)));
        group.finish();
    }
}

fn arrival(criterion: &mut Criterion) {
    // Every iteration uses up guest pages, so the machine is built anew for each sample.
    for set in [SMALL, MIDDLE] {
        let mut group = criterion.benchmark_group(format!("arrival/{}", set.name));
        group.sample_size(10).measurement_time(Duration::from_secs(2)).throughput(Throughput::Bytes(4096));
        let passes = set.page_passes();
        let mut run = |name: &str, which: fn(Duration, Duration) -> Duration| {
            group.bench_function(name, |bencher| {
                bencher.iter_custom(|iterations| {
                    let rounds = iterations.div_ceil(set.pass());
                    let machine = machine(set.mebibytes() * (2 + rounds / 64));
                    let mut ours = Arriving::new(Host::new(&machine), set, rounds);
                    let total: Duration = (0..rounds as usize)
                        .map(|round| {
                            let pages = &passes[round % passes.len()];
                            which(ours.first_import(pages), ours.destroy(pages))
                        })
                        .sum();
                    total.mul_f64(iterations as f64 / (rounds * set.pass()) as f64)
                });
            });
        };
        run("first import", |first, _| first);
        run("destroy", |_, destroy| destroy);
        group.finish();
    }
}

fn timed(pages: &[u64], operation: impl FnMut(u64)) -> Duration {
    let start = Stopwatch::start();
    pages.iter().copied().for_each(operation);
    start.elapsed()
}

criterion_group!(benches, paging, arrival);
criterion_main!(benches);
