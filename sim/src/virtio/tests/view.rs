//! What the view shows, and what it refuses.

use std::sync::atomic::Ordering;
use uvsim_model::address::PAGE_SIZE;
use vm_memory::{Bytes, GuestAddress, GuestMemory, GuestMemoryError, Permissions, VolatileMemory};

use super::{load, on_guest, share, store, unshare};
use crate::virtio::view::{Copies, HostView, Refusal, ViewStatistics};

const PAGE: u64 = 0x20;
const AT: u64 = PAGE * PAGE_SIZE;
const SECRET: [u8; 8] = *b"a secret";
const OPEN: [u8; 8] = *b"in the o";

#[test]
fn shared_pages_are_read_and_written_and_pinned_once() {
    on_guest(|kernel| {
        let mut copies = Copies::default();
        store(kernel, AT + 4090, &OPEN);
        share(kernel, PAGE);
        share(kernel, PAGE + 1);
        store(kernel, AT + 4090, &OPEN);
        let view = HostView::new(kernel, 0, 0, &mut copies);
        let mut bytes = [0; 8];
        view.read_slice(&mut bytes, GuestAddress(AT + 4090)).unwrap();
        assert_eq!(bytes, OPEN);
        view.write_slice(b"answered", GuestAddress(AT + 4092)).unwrap();
        let expected = ViewStatistics { bytes_read: 8, bytes_written: 8, pins: 2, refusals: 0 };
        assert_eq!(view.statistics(), expected);
        assert!(view.take_refusals().is_empty() && view.stopped().is_none());
        assert_eq!(&load::<12>(kernel, AT + 4090), b"inanswered\0\0");
    });
}

#[test]
fn what_is_not_shared_is_refused_with_the_page_and_the_rule() {
    on_guest(|kernel| {
        let mut copies = Copies::default();
        store(kernel, AT, &SECRET);
        let view = HostView::new(kernel, 0, 0, &mut copies);
        let mut bytes = [0; 8];
        let error = view.read_slice(&mut bytes, GuestAddress(AT)).unwrap_err().to_string();
        assert!(error.contains("page 0x20") && error.contains("has not shared it (T69)"), "{error}");
        assert_eq!(bytes, [0; 8]);
        view.write_slice(&[1], GuestAddress(AT + 1)).unwrap_err();
        // Never touched: it gets a frame and is refused all the same.
        assert!(!view.check_range(GuestAddress(AT + PAGE_SIZE), 1, Permissions::Read));
        let refusal = |address, write| Refusal { address, page: address / PAGE_SIZE, write, rule: "T69" };
        let expected = [refusal(AT, false), refusal(AT + 1, true), refusal(AT + PAGE_SIZE, false)];
        assert_eq!(view.take_refusals(), expected);
        assert!(view.take_refusals().is_empty());
        assert_eq!((view.statistics().refusals, view.statistics().bytes_read), (3, 0));
        assert_eq!(load(kernel, AT), SECRET);
    });
}

#[test]
fn an_exported_page_is_refused_though_the_channel_would_allow_it() {
    on_guest(|kernel| {
        let mut copies = Copies::default();
        store(kernel, AT, &SECRET);
        kernel.export(0, 0, PAGE).unwrap();
        let view = HostView::new(kernel, 0, 0, &mut copies);
        view.write_slice(&[1], GuestAddress(AT)).unwrap_err();
        assert_eq!(view.take_refusals()[0].rule, "T69");
        assert_eq!(load(kernel, AT), SECRET, "and it can be imported again");
    });
}

#[test]
fn a_range_ends_where_storage_ends() {
    on_guest(|kernel| {
        let mut copies = Copies::default();
        share(kernel, 0xff);
        let view = HostView::new(kernel, 0, 0, &mut copies);
        let end = 1 << 20;
        assert!(view.check_range(GuestAddress(end - 8), 8, Permissions::ReadWrite));
        assert!(!view.check_range(GuestAddress(end - 8), 9, Permissions::ReadWrite));
        assert!(view.check_range(GuestAddress(end), 0, Permissions::Read), "nothing is anywhere");
        let mut bytes = [0; 8];
        let outside = view.read_slice(&mut bytes, GuestAddress(end));
        assert!(matches!(outside, Err(GuestMemoryError::InvalidGuestAddress(GuestAddress(0x10_0000)))));
        for (address, len) in [(u64::MAX - 3, 8), (u64::MAX, 1), (0xff000, usize::MAX)] {
            let slices = view.get_slices(GuestAddress(address), len, Permissions::Write).unwrap();
            assert!(slices.last().unwrap().is_err(), "{address:#x}");
        }
        assert!(view.take_refusals().is_empty());
    });
}

#[test]
fn a_slice_that_outlives_an_unshare_shows_the_past_and_writes_nothing() {
    on_guest(|kernel| {
        let mut copies = Copies::default();
        share(kernel, PAGE);
        share(kernel, PAGE + 1);
        store(kernel, AT, &OPEN);
        let view = HostView::new(kernel, 0, 0, &mut copies);
        let slice = view.get_slices(GuestAddress(AT), 8, Permissions::ReadWrite).unwrap().next().unwrap().unwrap();
        view.meanwhile(|kernel| {
            unshare(kernel, PAGE);
            store(kernel, AT, &SECRET);
        });
        let mut bytes = [0; 8];
        slice.copy_to(&mut bytes);
        assert_eq!(bytes, OPEN);
        slice.subslice(2, 3).unwrap().copy_from(&[7u8; 3]);
        assert_eq!(view.meanwhile(|kernel| load(kernel, AT)), SECRET);
        // Nobody could be told, so the next access of any page tells.
        let error = view.read_slice(&mut bytes, GuestAddress(AT + PAGE_SIZE)).unwrap_err().to_string();
        assert!(error.contains("page 0x20 cannot be written at 0x20002"), "{error}");
        assert_eq!(view.take_refusals(), [Refusal { address: AT + 2, page: PAGE, write: true, rule: "T69" }]);
        view.read_slice(&mut bytes, GuestAddress(AT + PAGE_SIZE)).unwrap();
    });
}

#[test]
fn a_page_shared_again_is_pinned_again() {
    on_guest(|kernel| {
        let mut copies = Copies::default();
        share(kernel, PAGE);
        let view = HostView::new(kernel, 0, 0, &mut copies);
        view.write_slice(&[1], GuestAddress(AT)).unwrap();
        view.meanwhile(|kernel| {
            unshare(kernel, PAGE);
            share(kernel, PAGE);
        });
        view.write_slice(&[2], GuestAddress(AT)).unwrap();
        assert_eq!(view.statistics().pins, 2);
        assert_eq!(load(kernel, AT), [2]);
    });
}

#[test]
fn parts_of_slices_write_where_they_lie_and_numbers_are_aligned() {
    on_guest(|kernel| {
        let mut copies = Copies::default();
        share(kernel, PAGE);
        let view = HostView::new(kernel, 0, 0, &mut copies);
        let slice = view.get_slices(GuestAddress(AT + 3), 16, Permissions::Write).unwrap().next().unwrap().unwrap();
        let (_, end) = slice.split_at(4).unwrap();
        end.offset(2).unwrap().get_ref::<u8>(1).unwrap().store(9);
        slice.copy_from(&[5u8]);
        view.store(0x0102_0304_0506_0708_u64.to_be(), GuestAddress(AT + 24), Ordering::Release).unwrap();
        view.store(0x1122_u16.to_be(), GuestAddress(AT + 34), Ordering::Release).unwrap();
        assert_eq!(view.load::<u16>(GuestAddress(AT + 34), Ordering::Acquire).unwrap().to_be(), 0x1122);
        view.load::<u64>(GuestAddress(AT + 28), Ordering::Acquire).unwrap_err();
        let mut expected = [0; 40];
        (expected[3], expected[10]) = (5, 9);
        expected[24..32].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
        expected[34..36].copy_from_slice(&[0x11, 0x22]);
        assert_eq!(load(kernel, AT), expected);
    });
}

#[test]
fn copies_have_a_bound_until_they_are_given_up() {
    on_guest(|kernel| {
        let mut copies = Copies::default();
        share(kernel, PAGE);
        let mut view = HostView::new(kernel, 0, 0, &mut copies);
        let take = |view: &HostView<'_, '_>| {
            let mut slices = view.get_slices(GuestAddress(AT), 4096, Permissions::Write).unwrap();
            slices.next().unwrap().map(drop)
        };
        let taken = (0..1 << 17).take_while(|_| take(&view).is_ok()).count();
        assert!((1 << 15..1 << 16).contains(&taken), "{taken}");
        assert!(take(&view).unwrap_err().to_string().contains("268435456 bytes of buffers"));
        assert!(view.take_refusals().is_empty());
        view.reclaim();
        take(&view).unwrap();
    });
}

#[test]
fn a_guest_that_is_not_protected_is_seen_whole() {
    on_guest(|kernel| {
        let mut copies = Copies::default();
        kernel.teardown(0, 0, false).unwrap();
        let view = HostView::new(kernel, 0, 0, &mut copies);
        view.write_slice(&OPEN, GuestAddress(AT)).unwrap();
        let mut bytes = [0; 8];
        view.read_slice(&mut bytes, GuestAddress(AT)).unwrap();
        assert_eq!((bytes, view.statistics().pins), (OPEN, 0));
    });
}
