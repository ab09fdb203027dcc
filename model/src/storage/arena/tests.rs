use super::*;
use crate::address::PageIndex;
use crate::storage::zone::{Domain, FrameState};
use proptest::prelude::*;

#[test]
fn untouched_storage_reads_zero_and_costs_nothing() {
    let storage = Storage::new(16 << 40, 1, ByteOrder::Big).unwrap();
    let mut bytes = [1; 64];
    storage.load(AbsoluteAddress((16 << 40) - 64), &mut bytes).unwrap();
    assert_eq!(bytes, [0; 64]);
    assert_eq!(storage.load(AbsoluteAddress((16 << 40) - 63), &mut bytes), Err(OutsideStorage));
    assert_eq!(storage.store(AbsoluteAddress(u64::MAX), &bytes), Err(OutsideStorage));
    assert_eq!(storage.chunks().count(), 0);
}

proptest! {
    #[test]
    fn copies_agree_with_a_plain_array(
        writes in prop::collection::vec((0usize..9000, prop::collection::vec(any::<u8>(), 0..5000)), 1..8)
    ) {
        let storage = Storage::new(1 << 20, 1, ByteOrder::Big).unwrap();
        let mut plain = vec![0u8; 16384];
        for (at, bytes) in &writes {
            storage.store(AbsoluteAddress(*at as u64), bytes).unwrap();
            plain[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        let mut seen = vec![0; 16384 - 13];
        storage.load(AbsoluteAddress(13), &mut seen).unwrap();
        prop_assert!(seen == plain[13..]);
    }
}

#[test]
fn a_lock_shuts_out_and_a_dropped_lock_changes_nothing() {
    let storage = Storage::new(1 << 20, 1, ByteOrder::Big).unwrap();
    let frame = FrameNumber(9);
    let mut lock = storage.try_lock(frame).unwrap();
    assert!(storage.try_lock(frame).is_none());
    assert!(!storage.zone(frame).is_secure());
    lock.quiesce();
    assert!(storage.zone(frame).is_secure());
    drop(lock);
    assert_eq!(storage.zone(frame), ZoneEntry::NON_SECURE);
    assert_eq!(storage.generation(frame), 0);

    let mut lock = storage.try_lock(frame).unwrap();
    lock.bytes_mut()[17] = 3;
    lock.commit(FrameState::Secure(Domain(1), PageIndex(2)));
    assert_eq!(storage.generation(frame), 1);
    assert!(storage.zone(frame).is_secure());
    let mut byte = [0];
    storage.load(AbsoluteAddress(9 * 4096 + 17), &mut byte).unwrap();
    assert_eq!(byte, [3]);
}

#[test]
fn marks_and_bytes_are_judged_after_the_stores_in_flight() {
    type Judge = fn(&mut FrameLock<'_>);
    let judges: [Judge; 3] = [
        |lock| assert_eq!(lock.touched(), touch::ALL),
        |lock| assert_eq!(lock.bytes()[0], 1),
        |lock| {
            lock.clear();
            assert_eq!(lock.bytes()[0], 0);
        },
    ];
    for (judge, changes) in judges.into_iter().flat_map(|judge| [(judge, 0), (judge, 100)]) {
        let storage = concurrent(changes);
        let frame = FrameNumber(4);
        std::thread::scope(|scope| {
            let access = storage.begin(RequestorNumber(0), frame);
            let holder = scope.spawn(|| judge(&mut storage.try_lock(frame).unwrap()));
            std::thread::sleep(std::time::Duration::from_millis(20));
            access.store(0, &[1]);
            drop(access);
            holder.join().unwrap();
        });
        assert_eq!(storage.zone(frame), ZoneEntry::NON_SECURE);
    }
}

#[test]
fn an_open_change_leaves_no_gap_and_waits_all_the_same() {
    for storage in [concurrent(0), concurrent(100)] {
        let frame = FrameNumber(4);
        let shared = FrameState::Shared(Domain(1), PageIndex(2));
        storage.try_lock(frame).unwrap().commit(shared);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let access = storage.begin(RequestorNumber(0), frame);
            let changer = scope.spawn(|| {
                storage.try_lock(frame).unwrap().commit(FrameState::Pinned(Domain(1), PageIndex(2)));
                assert!(over.load(Ordering::SeqCst), "the change overtook an access");
            });
            for _ in 0..20 {
                assert!(!storage.zone(frame).is_secure());
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            over.store(true, Ordering::SeqCst);
            drop(access);
            changer.join().unwrap();
        });
        assert_eq!(storage.zone(frame), ZoneEntry::new(FrameState::Pinned(Domain(1), PageIndex(2))));
    }
}

/// Lets a test stand at the end of the count without 2^32 changes.
pub(in crate::storage) fn set_generation(storage: &Storage, frame: FrameNumber, generation: u32) {
    storage.place_or_make(frame).unwrap().keeper().generation.store(generation, Ordering::Relaxed);
}

#[test]
fn a_generation_never_comes_again() {
    let storage = Storage::new(1 << 20, 1, ByteOrder::Big).unwrap();
    let frame = FrameNumber(3);
    set_generation(&storage, frame, NEVER_BUFFERED - 1);
    for state in [FrameState::Secure(Domain(1), PageIndex(2)), FrameState::NonSecure] {
        storage.try_lock(frame).unwrap().commit(state);
        assert_eq!(storage.generation(frame), NEVER_BUFFERED);
    }
}

#[test]
fn stores_leave_their_mark_and_zone_changes_theirs() {
    let storage = Storage::new(1 << 20, 1, ByteOrder::Big).unwrap();
    storage.store(AbsoluteAddress(0x5000), &[1]).unwrap();
    let marked = || {
        let mut found = Vec::new();
        storage.chunks().for_each(|(_, chunk)| chunk.visit_touched(|index| found.push(index)));
        found
    };
    assert_eq!((marked(), marked()), (vec![5], vec![]));
    storage.begin(RequestorNumber(0), FrameNumber(5)).store(8, &[1]);
    assert_eq!(marked(), [5]);
    let changed = || storage.chunks().any(|(_, chunk)| chunk.take_zone_changed());
    assert!(!changed());
    for frame in [7, 9] {
        storage.try_lock(FrameNumber(frame)).unwrap().commit(FrameState::Secure(Domain(1), PageIndex(2)));
    }
    assert!(changed() && !changed());
}

#[test]
fn a_change_waits_for_accesses_in_flight() {
    for storage in [concurrent(0), concurrent(100)] {
        let frame = FrameNumber(4);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let access = storage.begin(RequestorNumber(0), frame);
            let changer = scope.spawn(|| {
                let mut lock = storage.try_lock(frame).unwrap();
                lock.quiesce();
                assert!(over.load(Ordering::SeqCst), "the change overtook an access");
                lock.commit(FrameState::NonSecure);
            });
            std::thread::sleep(std::time::Duration::from_millis(20));
            access.store(0, &[1]);
            over.store(true, Ordering::SeqCst);
            drop(access);
            changer.join().unwrap();
        });
    }
}

/// Storage for two threads in which so many changes have been made.
fn concurrent(changes: u32) -> Storage {
    let storage = Storage::new(1 << 20, 2, ByteOrder::Big).unwrap();
    storage.set_concurrent(true);
    for _ in 0..changes {
        storage.try_lock(FrameNumber(9)).unwrap().quiesce();
    }
    storage
}

#[test]
fn accesses_fence_once_there_are_many_changes_and_until_nobody_operates() {
    let fencing = |storage: &Storage| storage.fencing.load(Ordering::SeqCst);
    assert_eq!(fencing(&concurrent(fencing::PATIENCE)), fencing::BY_CHANGES);
    let storage = concurrent(fencing::PATIENCE + 1);
    assert_eq!(fencing(&storage), fencing::BY_ACCESSES);
    storage.set_concurrent(false);
    assert_eq!(fencing(&storage), fencing::BY_CHANGES);
}

#[test]
fn no_access_slips_through_while_fencing_changes_sides() {
    for _ in 0..10 {
        let storage = concurrent(0);
        let frame = FrameNumber(4);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut turn = 0u8;
                while !over.load(Ordering::Relaxed) {
                    turn = turn.wrapping_add(1);
                    let access = storage.begin(RequestorNumber(0), frame);
                    if !access.zone().is_closed() {
                        access.store(0, &[turn; 4096]);
                    }
                }
            });
            for _ in 0..400 * fencing::PATIENCE {
                let mut lock = storage.try_lock(frame).unwrap();
                let bytes = lock.bytes();
                assert_eq!(bytes[0], bytes[4095], "an access is half done");
            }
            over.store(true, Ordering::Relaxed);
        });
    }
}
