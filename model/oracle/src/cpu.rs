//! State and resets of a configuration's CPUs.

use crate::call::{Call, Ruling, Stop, refuse};
use crate::ids::Handle;
use crate::reset;
use crate::state::{Boot, CpuReset, Registers, Run, SecureCpu, State};
use crate::world::World;

/// CPU_RESET 0x0310.
pub(crate) fn cpu_reset(state: &State, call: &Call, _world: &mut dyn World) -> Ruling {
    reset_cpu(state, call, CpuReset::Normal)
}

/// CPU_RESET_INITIAL 0x0311.
pub(crate) fn cpu_reset_initial(state: &State, call: &Call, _world: &mut dyn World) -> Ruling {
    reset_cpu(state, call, CpuReset::Initial)
}

/// CPU_RESET_CLEAR 0x0321.
pub(crate) fn cpu_reset_clear(state: &State, call: &Call, _world: &mut dyn World) -> Ruling {
    reset_cpu(state, call, CpuReset::Clear)
}

/// CPU_SET_STATE 0x0330: Q14, D13, D79.
pub(crate) fn cpu_set_state(state: &State, call: &Call, _world: &mut dyn World) -> Ruling {
    let handle = Handle(call.block.u64(0x18));
    let Some(cpu) = state.cpus.get(&handle) else { return refuse(0x0021, 0, "D2") };
    let (run, load) = match call.block.u8(0x27) {
        1 => (Run::Operating, false),
        2 => (Run::Stopped, false),
        3 => (Run::CheckStop, false),
        5 => (Run::Operating, true),
        _ => return refuse(0x0102, 0, "Q14"),
    };
    if cpu.in_sie.is_some() {
        return refuse(0x0103, 0, "D13");
    }
    let mut next = state.clone();
    let mut cpu = SecureCpu { run, ..cpu.clone() };
    if load {
        let psw = judge_load(state, handle)?;
        reset::finish(&mut next, cpu.configuration);
        cpu.owed = None;
        cpu.outstanding = None;
        // After a reset the PSW is that at guest absolute 0, when the CPU is entered.
        cpu.load_pending = next.configurations.get(&cpu.configuration).is_some_and(|owner| owner.reset.finished);
        if !cpu.load_pending {
            cpu.registers.psw = psw;
        }
        if let Some(owner) = next.configurations.get_mut(&cpu.configuration) {
            owner.reset.started = true;
        }
    }
    if run == Run::Operating
        && let Some(owner) = next.configurations.get_mut(&cpu.configuration)
    {
        owner.reset.unshared = false;
    }
    next.cpus.insert(handle, cpu);
    next.done("Q14")
}

/// Whether a CPU may take state 5 (D13); tells the PSW of the image.
fn judge_load(state: &State, handle: Handle) -> Result<(u64, u64), Stop> {
    let Some(cpu) = state.cpus.get(&handle) else { return refuse(0x0021, 0, "D2") };
    let psw = match state.configurations.get(&cpu.configuration).map(|owner| &owner.boot) {
        Some(Boot::Verified(image)) => image.psw,
        _ => return refuse(0x0104, 0, "D13"),
    };
    if !reset::allows_load(state, cpu) {
        return refuse(0x0104, 0, "I-36");
    }
    if cpu.run != Run::Stopped {
        return refuse(0x0103, 0, "D13");
    }
    Ok(psw)
}

/// The three resets (Q14, D43: no storage is cleared).
fn reset_cpu(state: &State, call: &Call, kind: CpuReset) -> Ruling {
    let handle = Handle(call.block.u64(0x18));
    let Some(cpu) = state.cpus.get(&handle) else { return refuse(0x0021, 0, "D2") };
    if cpu.in_sie.is_some() {
        return refuse(0x0103, 0, "D13");
    }
    if cpu.run != Run::Stopped {
        return refuse(0x0103, 0, "Q14");
    }
    let mut next = state.clone();
    let initial = kind >= CpuReset::Initial;
    let cpu = SecureCpu {
        outstanding: None,
        registers: cpu.registers.reset(kind),
        load_pending: cpu.load_pending && !initial,
        last_exit: cpu.last_exit.filter(|_| !initial),
        owed: reset::owed_after(state, cpu, kind),
        ..cpu.clone()
    };
    next.cpus.insert(handle, cpu);
    next.done("Q14")
}

impl Registers {
    /// Registers of a CPU that begins: those of a clear reset.
    pub(crate) fn cleared() -> Registers {
        Registers::default().reset(CpuReset::Clear)
    }

    /// What a CPU reset makes of registers (z/Architecture Principles of Operation, "Resets").
    fn reset(&self, kind: CpuReset) -> Registers {
        if kind == CpuReset::Normal {
            return self.clone();
        }
        let mut control = [0; 16];
        control[0] = 0xe0;
        control[14] = 0xc200_0000;
        let clear = kind == CpuReset::Clear;
        Registers {
            control,
            general: if clear { [0; 16] } else { self.general },
            access: if clear { [0; 16] } else { self.access },
            ..Registers::default()
        }
    }
}
