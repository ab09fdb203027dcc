//! Any statements in two lanes that take turns.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| uvsim_fuzz::must_hold("lanes", data));
