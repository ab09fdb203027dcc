//! Paging workloads through scenario, runner, host kernel and machine: everything resident, and half of it.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use uvsim_benches::sections::workload::{play, scenario};

const ACCESSES: u64 = 200_000;
const PAGES: u64 = 1024;

fn workloads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("workload/4 MiB");
    group.sample_size(10).throughput(Throughput::Elements(ACCESSES));
    for (name, frames) in [("resident", PAGES), ("half resident", PAGES / 2)] {
        let scenario = scenario(ACCESSES, PAGES, frames);
        group.bench_function(name, |bencher| bencher.iter(|| play(&scenario)));
    }
    group.finish();
}

criterion_group!(benches, workloads);
criterion_main!(benches);
