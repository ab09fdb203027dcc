//! Whatever a driver puts into its rings, devices get bytes of shared pages and nothing else.

use bumpalo::Bump;
use proptest::prelude::*;
use uvsim_model::address::PAGE_SIZE;
use uvsim_model::seed::{Purpose, Seed};

use super::{Descriptor, INDIRECT, NEXT, WRITE, on_guest, queue, ring_page, share, store, unshare};
use crate::virtio::device::{AnyDevice, Block, Console, Device, Entropy, Network};
use crate::virtio::view::HostView;

/// The pages that the driver plays with; the first holds the ring.
const FIRST: u64 = 0x20;
const PAGES: u64 = 6;
/// What secret pages are full of, and what shared ones are.
const SECRET: u8 = 0xa5;
const OPEN: u8 = 0x11;

#[derive(Clone, Copy, Debug)]
enum Page {
    Secret,
    Shared,
    Exported,
    TakenBack,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn no_device_ever_gets_a_secret(
        pages in proptest::collection::vec(page(), PAGES as usize),
        rounds in proptest::collection::vec((proptest::collection::vec(descriptor(), 1..8), 0..4u8), 1..6),
    ) {
        on_guest(|kernel| play(kernel, &pages, &rounds))?;
    }
}

fn page() -> impl Strategy<Value = Page> {
    prop_oneof![
        3 => Just(Page::Shared),
        1 => Just(Page::Secret),
        1 => Just(Page::Exported),
        1 => Just(Page::TakenBack),
    ]
}

/// Mostly in the pages, often across their ends; sometimes anywhere.
fn descriptor() -> impl Strategy<Value = Descriptor> {
    let offset = prop_oneof![Just(0), Just(4090), 0..PAGE_SIZE];
    let near = (0..PAGES, offset).prop_map(|(page, offset)| (FIRST + page) * PAGE_SIZE + offset);
    let address = prop_oneof![8 => near, 1 => any::<u64>(), 1 => Just((1 << 20) - 8)];
    let len = prop_oneof![4 => Just(16), 4 => Just(12), 4 => 0..2000u32, 1 => Just(1), 1 => Just(u32::MAX)];
    let flags =
        prop_oneof![4 => Just(NEXT), 2 => Just(NEXT | WRITE), 2 => Just(WRITE), 2 => Just(0), 1 => Just(INDIRECT)];
    (address, len, flags, 0..9u16)
}

fn play(
    kernel: &mut crate::kernel::Kernel<'_>,
    pages: &[Page],
    rounds: &[(Vec<Descriptor>, u8)],
) -> Result<(), TestCaseError> {
    let mut devices = [
        AnyDevice::Block(Block::of_memory(vec![0; 8192], false, "d").unwrap()),
        AnyDevice::Network(Network::new([2; 6], 8)),
        AnyDevice::Console(Console::new(1 << 16)),
        AnyDevice::Entropy(Entropy::new(Seed(1).stream(Purpose::Workload))),
    ];
    let mut copies = Bump::new();
    for (number, page) in (FIRST..).zip(pages) {
        prepare(kernel, number, *page);
    }
    for (descriptors, device) in rounds {
        // A ring that is not shared is written all the same; devices must not see it.
        if !matches!(pages[0], Page::Exported) {
            store(kernel, FIRST * PAGE_SIZE, &ring_page(descriptors, &[0, 1, 2]));
        }
        let device = &mut devices[usize::from(*device)];
        let mut queues = [queue(FIRST * PAGE_SIZE), queue(FIRST * PAGE_SIZE)];
        let view = HostView::new(kernel, 0, 0, &mut copies);
        for number in 0..2 {
            // That it stops is one of its answers.
            let _ = device.notify(number, &mut queues, &view);
        }
        let _ = view.take_refusals();
    }
    for device in &mut devices {
        let got = received(device);
        prop_assert!(!got.contains(&SECRET), "a device has got a secret");
    }
    // Nothing is written to what is not shared either.
    for (number, page) in (FIRST..).zip(pages).skip(1) {
        if !matches!(page, Page::Shared) {
            prop_assert_eq!(super::load::<4096>(kernel, number * PAGE_SIZE), [SECRET; 4096]);
        }
    }
    Ok(())
}

fn prepare(kernel: &mut crate::kernel::Kernel<'_>, number: u64, page: Page) {
    let at = number * PAGE_SIZE;
    match page {
        Page::Secret => store(kernel, at, &[SECRET; 4096]),
        Page::Shared => {
            share(kernel, number);
            store(kernel, at, &[OPEN; 4096]);
        }
        Page::Exported => {
            store(kernel, at, &[SECRET; 4096]);
            kernel.export(0, 0, number).unwrap();
        }
        Page::TakenBack => {
            share(kernel, number);
            kernel.pin(0, 0, number).unwrap();
            unshare(kernel, number);
            store(kernel, at, &[SECRET; 4096]);
        }
    }
}

/// All that a device has got from the guest.
fn received(device: &mut AnyDevice) -> Vec<u8> {
    match device {
        AnyDevice::Block(disk) => disk.content().unwrap().to_vec(),
        AnyDevice::Network(card) => card.outbox().iter().flatten().copied().collect(),
        AnyDevice::Console(console) => console.take_output(),
        AnyDevice::Entropy(_) => Vec::new(),
    }
}
