//! QUI and QUERY_KEYS.

mod support;

use support::{Machine, block, setup, u16_at, u64_at};
use uvsim_oracle::state::Setup;

/// QUI with so many bytes, all set before.
fn qui(machine: &mut Machine, length: u16) -> (support::Answer, Vec<u8>) {
    let mut bytes = block(1, length);
    bytes[8..].fill(0xff);
    machine.call(&bytes)
}

fn bits(bits: &[u32]) -> u64 {
    bits.iter().map(|bit| 1 << (63 - bit)).sum()
}

#[test]
fn q32_d14_c18_c19_installed_calls_of_the_generations() {
    let first: Vec<u32> = (0..=7).chain(11..=22).collect();
    let z16 = [first.clone(), vec![23]].concat();
    let z17 = [z16.clone(), vec![34]].concat();
    // Guest calls, bits 8 and 9, are not a host's.
    let z15: Vec<u32> = first.clone();
    for (generation, expected) in [(15, z15), (16, z16), (17, z17)] {
        let (answer, after) = qui(&mut Machine::of(setup(generation)), 0x120);
        assert_eq!(answer, (0, 1, 0));
        assert_eq!(u64_at(&after, 0x10), bits(&expected), "z{generation}");
        assert!(after[0x18..0x30].iter().all(|&byte| byte == 0));
    }
    let (_, after) = qui(&mut Machine::of(Setup { without: vec![0x202], ..setup(15) }), 0x120);
    let missing: Vec<u32> = first.into_iter().filter(|&bit| bit != 12).collect();
    assert_eq!(u64_at(&after, 0x10), bits(&missing));
}

#[test]
fn q1_d15_d53_figures() {
    for (generation, features, flags) in [(15, 0, 0x3000_00e2), (16, 1 << 63, 0x3000_00e2), (17, 1 << 63, 0x3000_00f2)]
    {
        let (_, after) = qui(&mut Machine::of(setup(generation)), 0x120);
        let figures = [
            (0x40, 0x620_0000),
            (0x50, 0x1_0000),
            (0x58, 0x1_0000),
            (0x60, 0x1000),
            (0x68, 0x1000),
            (0x80, 1 << 47),
            (0xa0, features),
            (0xb0, 1 << 63),
            (0xb8, flags),
            (0xc8, 0),
            (0xd0, 0),
            (0xe0, 0),
            (0xe8, 0),
            (0xf8, 0),
            (0x100, 0),
            (0x108, 0),
        ];
        for (offset, value) in figures {
            assert_eq!(u64_at(&after, offset), value, "{offset:#x}");
        }
        assert_eq!(after[0x7c..0x80], [0, 0x7f, 0xff, 0xff]);
        assert_eq!((u16_at(&after, 0x9e), u16_at(&after, 0x110), u16_at(&after, 0x112)), (256, 0, 0));
        for reserved in
            [0x08..0x10, 0x30..0x40, 0x48..0x50, 0x70..0x7c, 0x88..0x9e, 0xa8..0xb0, 0xc0..0xc8, 0x114..0x120]
        {
            assert!(after[reserved].iter().all(|&byte| byte == 0xff), "D3: reserved bytes stay");
        }
    }
}

#[test]
fn d4_c15_c17_c18_short_answers() {
    let mut machine = Machine::new();
    assert_eq!(qui(&mut machine, 0xa0).0, (1, 0x0005, 0));
    let (_, whole) = qui(&mut machine, 0x120);
    for length in [0xa8, 0xac, 0xb4, 0x100, 0x11f] {
        let (answer, after) = qui(&mut machine, length);
        assert_eq!(answer, (1, 0x0100, 0));
        assert_eq!(after[8..], whole[8..usize::from(length)], "data up to the length");
    }
    let (answer, after) = qui(&mut machine, 0x160);
    assert_eq!(answer, (0, 1, 0));
    assert_eq!(after[8..0x120], whole[8..]);
    assert!(after[0x120..].iter().all(|&byte| byte == 0xff));
}

#[test]
fn q34_d15_c22_keys_before_init() {
    let mut machine = Machine::of(setup(17));
    let (answer, after) = machine.call(&block(2, 0x200));
    assert_eq!(answer, (0, 1, 0));
    assert_eq!(machine.rules, ["Q34"]);
    assert!(after[0x20..0x60].iter().all(|&byte| byte == 0x77), "two slots are the world's");
    assert!(after[0x60..].iter().all(|&byte| byte == 0), "the others are empty");
    assert_eq!(machine.call(&block(2, 0x1f8)).0, (1, 0x0005, 0));
}
