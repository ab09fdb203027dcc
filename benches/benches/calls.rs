//! Calls that move no page.

use criterion::{Criterion, criterion_group, criterion_main};
use std::time::Duration;
use uvsim_benches::cases::Resident;
use uvsim_benches::host::{Host, machine};
use uvsim_benches::limits::States;
use uvsim_benches::sets::{LARGE, MIDDLE, SMALL};
use uvsim_benches::stopwatch::Stopwatch;

fn calls(criterion: &mut Criterion) {
    for set in [SMALL, MIDDLE, LARGE] {
        let machine = machine(set.mebibytes() * 2);
        let mut ours = Resident::new(Host::new(&machine), set);
        let states = States::new(set.pages);
        let passes = set.page_passes();
        let mut group = criterion.benchmark_group(format!("calls/{}", set.name));
        group.sample_size(10).measurement_time(Duration::from_secs(1));
        let mut run = |name: &str, one: &mut dyn FnMut(&[u64]) -> Duration| {
            group.bench_function(name, |bencher| {
                bencher.iter_custom(|iterations| {
                    let rounds = iterations.div_ceil(set.pass());
                    let total: Duration = (0..rounds as usize).map(|round| one(&passes[round % passes.len()])).sum();
                    total.mul_f64(iterations as f64 / (rounds * set.pass()) as f64)
                });
            });
        };
        run("share and unshare", &mut |pages| ours.share_and_unshare(pages));
        run("nothing to do", &mut |pages| ours.export_nothing(pages));
        run("limit/atomic exchanges", &mut |pages| {
            let start = Stopwatch::start();
            pages.iter().for_each(|&page| states.change_twice(page));
            start.elapsed()
        });
        group.finish();
    }
}

criterion_group!(benches, calls);
criterion_main!(benches);
