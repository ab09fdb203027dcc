//! Snapshots: a machine goes back to an earlier moment, as often as one likes.
//!
//! Little is copied when a snapshot is taken. From then on whatever changes is kept as it was, before its first change:
//! frames in `storage/journal.rs`, the rest of what the Ultravisor knows in `firmware/journal.rs`, translations with
//! their buffers. A restore puts that back, so it costs what was touched, not what the machine is.

use crate::cpu::{CpuSlot, CpuState, HostCpu, KeptHostCpu};
use crate::firmware::{KeptFirmware, Recent};
use crate::machine::OthersOperate;
use crate::witness::{HostStep, Outcome};
use core::sync::atomic::Ordering;

/// What is copied when a snapshot is taken.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// By number.
    cpus: Vec<KeptHostCpu>,
    clock: u64,
    firmware: KeptFirmware,
}

/// A machine cannot go back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RestoreError {
    /// No snapshot was taken.
    #[error("there is no snapshot to go back to")]
    NoSnapshot,
    /// Another CPU operates, or somebody uses the channel.
    #[error(transparent)]
    OthersOperate(#[from] OthersOperate),
}

impl HostCpu<'_> {
    /// Takes a snapshot of the whole machine, in place of the last one. This CPU goes on operating.
    ///
    /// Everything that decides what the machine does belongs to it: storage, zone entries, integrity rows,
    /// configurations and their CPUs, handles, random streams, injected answers, the clock, registers and translation
    /// buffers of all host CPUs. Who listens does not: observers, a witness.
    ///
    /// # Errors
    /// Another CPU operates, or somebody uses the channel.
    ///
    /// # Examples
    /// ```
    /// use uvsim_model::Machine;
    /// use uvsim_model::address::VirtualAddress;
    /// use uvsim_model::config::MachineConfig;
    ///
    /// let machine = Machine::new(MachineConfig::default())?;
    /// let mut cpu = machine.cpu(0)?;
    /// cpu.store_u64(VirtualAddress(0x5000), 1).unwrap();
    /// cpu.snapshot()?;
    /// for input in 2..5 {
    ///     cpu.store_u64(VirtualAddress(0x5000), input).unwrap();
    ///     cpu.restore()?;
    ///     assert_eq!(cpu.load_u64(VirtualAddress(0x5000)), Ok(1));
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn snapshot(&mut self) -> Result<(), OthersOperate> {
        let taken = self.take_snapshot();
        self.tell(HostStep::Snapshot, if taken.is_ok() { Outcome::Done } else { Outcome::Impossible });
        taken
    }

    /// Goes back to the snapshot, which stays: another restore goes back to it again. Costs what was touched since the
    /// snapshot or the last restore.
    ///
    /// # Errors
    /// Another CPU operates, or somebody uses the channel; no snapshot was taken. Nothing has changed then.
    pub fn restore(&mut self) -> Result<(), RestoreError> {
        let restored = self.go_back();
        self.tell(HostStep::Restore, if restored.is_ok() { Outcome::Done } else { Outcome::Impossible });
        restored
    }

    fn take_snapshot(&mut self) -> Result<(), OthersOperate> {
        let machine = self.machine;
        machine
            .alone(|| {
                let cpus = self.every_cpu(|slot, state, _| slot.snapshot(state))?;
                machine.storage.snapshot();
                let (clock, firmware) = (machine.clock(), machine.firmware.snapshot());
                *machine.snapshot.lock() = Some(Snapshot { cpus, clock, firmware });
                Ok(())
            })
            .unwrap_or(Err(OthersOperate))
    }

    fn go_back(&mut self) -> Result<(), RestoreError> {
        let machine = self.machine;
        machine
            .alone(|| {
                let snapshot = machine.snapshot.lock();
                let Some(Snapshot { cpus, clock, firmware }) = &*snapshot else { return Err(RestoreError::NoSnapshot) };
                self.every_cpu(|slot, state, number| slot.restore(state, cpus[number]))?;
                self.recent = Recent::default();
                self.choose_way();
                machine.firmware.restore(firmware);
                machine.storage.restore();
                machine.clock.store(*clock, Ordering::Release);
                Ok(())
            })
            .unwrap_or(Err(RestoreError::OthersOperate(OthersOperate)))
    }

    /// Visits all CPUs, or none: one that is just about to operate counts as one that does.
    fn every_cpu<T>(
        &mut self,
        mut visit: impl FnMut(&CpuSlot, &mut CpuState, usize) -> T,
    ) -> Result<Vec<T>, OthersOperate> {
        let mut others = Vec::with_capacity(self.machine.cpus.len());
        for (number, slot) in self.machine.cpus.iter().enumerate() {
            let own = number == usize::from(self.number);
            others.push(if own { None } else { Some(slot.state.try_lock().ok_or(OthersOperate)?) });
        }
        let visited = self.machine.cpus.iter().zip(others).enumerate().map(|(number, (slot, other))| match other {
            Some(mut state) => visit(slot, &mut state, number),
            None => visit(slot, &mut self.state, number),
        });
        Ok(visited.collect())
    }
}
