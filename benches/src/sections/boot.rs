//! Boot: a header, its pages, and a whole image.

use super::Plan;
use crate::bare_image::{BareHeader, BareImage};
use crate::boot::Boots;
use crate::host::machine;
use crate::samples::Samples;
use crate::stopwatch::Stopwatch;
use crate::table::Row;

const HEADER: &str = "SET_SEC_CONF_PARAMS";
const BARE_HEADER: &str = "P-521 product and two AES-GCM openings";
const UNPACK: &str = "UNPACK_IMG, a page";
const BARE_PAGE: &str = "AES-XTS and three SHA-512 updates";
const BOOT: &str = "boot end to end, a page";

/// Pages of the large image: 256 MiB.
const LARGE: u64 = 65_536;

/// Header, unpack and the whole of a boot.
#[must_use]
pub fn boot(plan: &Plan) -> Vec<Row> {
    let small = rows("1 MiB image", 256, plan.rounds);
    let quick = plan.rounds == 1;
    let (name, pages, rounds) = if quick { ("4 MiB image", 1024, 1) } else { ("256 MiB image", LARGE, 3) };
    small.into_iter().chain(rows(name, pages, rounds)).collect()
}

fn rows(set: &'static str, pages: u64, rounds: usize) -> Vec<Row> {
    // Each boot donates anew; the host of this bench never reuses.
    let boots = rounds as u64 + 1;
    let machine = machine(pages / 256 * 2 + boots * (pages / 256 / 16 + 8));
    let mut ours = Boots::new(&machine, pages);
    let bare = BareHeader::default();
    let mut samples = Samples::default();
    for round in 0..=rounds {
        if round == 1 {
            samples.forget();
        }
        let parts = ours.boot();
        samples.add(HEADER, parts.header, 1);
        samples.add(UNPACK, parts.unpack, pages as usize);
        samples.add(BOOT, parts.total(), pages as usize);
        samples.time(BARE_HEADER, &[()], |()| bare.open());
        let mut image = BareImage::default();
        let watch = Stopwatch::start();
        (0..pages).for_each(|page| image.unpack(page));
        image.verify();
        samples.add(BARE_PAGE, watch.elapsed(), pages as usize);
        samples.end_round();
    }
    [(HEADER, BARE_HEADER), (UNPACK, BARE_PAGE), (BOOT, BARE_PAGE)]
        .map(|(case, limit)| Row::of(&samples, set, case, limit, None))
        .into()
}
