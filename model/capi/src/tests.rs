//! What only an error of the library itself leads to.

use crate::cpu::{on_cpu, uvsim_cpu, uvsim_cpu_start, uvsim_cpu_stop, uvsim_set_translation};
use crate::machine::{on_machine, uvsim_clock_advance, uvsim_machine, uvsim_machine_create, uvsim_machine_destroy};
use crate::result::{UVSIM_E_INTERNAL, UVSIM_E_LOST, UVSIM_OK};
use core::ptr::null_mut;

fn machine() -> (*mut uvsim_machine, *mut uvsim_cpu) {
    let (mut machine, mut cpu) = (null_mut(), null_mut());
    // SAFETY: the text ends with a zero byte, the places are there.
    unsafe {
        assert_eq!(uvsim_machine_create(c"storage \"1MiB\"".as_ptr(), 0, &mut machine), UVSIM_OK);
        assert_eq!(uvsim_cpu_start(machine, 0, &mut cpu), UVSIM_OK);
    }
    (machine, cpu)
}

#[test]
fn a_panic_loses_the_machine_and_no_other() {
    for of_cpu in [true, false] {
        let ((lost, cpu), (other, another)) = (machine(), machine());
        let answer =
            if of_cpu { on_cpu(cpu, |_| panic!("on purpose")) } else { on_machine(lost, |_| panic!("on purpose")) };
        assert_eq!(answer, UVSIM_E_INTERNAL);
        assert_eq!((uvsim_clock_advance(lost, 1), uvsim_set_translation(cpu, 0)), (UVSIM_E_LOST, UVSIM_E_LOST));
        assert_eq!((uvsim_cpu_stop(cpu), uvsim_machine_destroy(lost)), (UVSIM_OK, UVSIM_OK));
        assert_eq!((uvsim_clock_advance(other, 1), uvsim_set_translation(another, 0)), (UVSIM_OK, UVSIM_OK));
        assert_eq!((uvsim_cpu_stop(another), uvsim_machine_destroy(other)), (UVSIM_OK, UVSIM_OK));
    }
}
