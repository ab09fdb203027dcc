//! Anything that a host and its guests could do.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| uvsim_fuzz::must_hold("actions", data));
