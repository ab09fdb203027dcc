//! Boot: header, pages, a whole image.

use criterion::{Criterion, criterion_group, criterion_main};
use std::time::Duration;
use uvsim_benches::bare_image::{BareHeader, BareImage};
use uvsim_benches::boot::{Boots, Parts};
use uvsim_benches::host::machine;

const PAGES: u64 = 1024;

fn boot(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("boot/4 MiB");
    group.sample_size(10).measurement_time(Duration::from_secs(2));
    type Part = fn(&Parts) -> Duration;
    let parts: [(&str, Part); 3] =
        [("header", |parts| parts.header), ("unpack", |parts| parts.unpack), ("end to end", Parts::total)];
    for (name, part) in parts {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                let mut total = Duration::ZERO;
                for first in (0..iterations).step_by(64) {
                    // The host of this bench never reuses what it has donated.
                    let machine = machine(2048);
                    let mut boots = Boots::new(&machine, PAGES);
                    total += (first..iterations.min(first + 64)).map(|_| part(&boots.boot())).sum::<Duration>();
                }
                total
            });
        });
    }
    let bare = BareHeader::default();
    group.bench_function("limit/header", |bencher| bencher.iter(|| bare.open()));
    let mut image = BareImage::default();
    group.bench_function("limit/unpack", |bencher| bencher.iter(|| (0..PAGES).for_each(|page| image.unpack(page))));
    group.finish();
}

criterion_group!(benches, boot);
criterion_main!(benches);
