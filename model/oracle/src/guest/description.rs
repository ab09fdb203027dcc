//! The state description, format 4: what host and Ultravisor tell each other about a guest CPU. Offsets are those of
//! Linux `kvm_host.h`.

use super::{Notice, Site};
use crate::call::Block;
use crate::host::{self, Interrupted};
use crate::ids::{AbsoluteAddress, VirtualAddress};
use crate::state::State;
use crate::step::{Access, Program};
use crate::world::World;

/// Bytes, the save area of the general registers included.
const SIZE: u64 = 0x400;

/// Offsets.
pub(super) mod offset {
    pub(in super::super) const CPU_HANDLE: usize = 0x10;
    pub(in super::super) const CONFIGURATION_HANDLE: usize = 0x18;
    pub(in super::super) const CPU_TIMER: usize = 0x28;
    pub(super) const CODE: u64 = 0x50;
    pub(in super::super) const INJECTION: usize = 0x55;
    pub(super) const IPA: u64 = 0x56;
    pub(in super::super) const EXTERNAL_PARAMETER: usize = 0xc0;
    pub(in super::super) const EXTERNAL_CPU: usize = 0xc4;
    pub(in super::super) const EXTERNAL_CODE: usize = 0xc6;
    pub(in super::super) const MACHINE_CHECK_CODE: usize = 0xc0;
    pub(in super::super) const EXTERNAL_DAMAGE: usize = 0xcc;
    pub(in super::super) const FAILING_STORAGE: usize = 0xd0;
    pub(in super::super) const SUBCHANNEL: usize = 0xe8;
    pub(in super::super) const IO_PARAMETER: usize = 0xec;
    pub(in super::super) const IO_WORD: usize = 0xf0;
    pub(in super::super) const DATA_AREA: usize = 0x180;
    pub(in super::super) const GENERAL: usize = 0x380;
}

/// Fetches a state description; tells the absolute address where it begins, too.
pub(super) fn fetch(
    state: &mut State,
    site: Site,
    world: &mut dyn World,
) -> Result<(Block, AbsoluteAddress), Interrupted> {
    let (parts, _) = host::reach(state, site.host, site.description, SIZE, Access::Fetch, world)?;
    let block = Block { bytes: host::gather(state, &parts), big_endian: state.setup.big_endian };
    Ok((block, parts[0].address))
}

/// Shows the host an interception: data area, registers of the save area, instruction text, code. What cannot be stored
/// is lost (a choice of the book).
pub(super) fn report(state: &mut State, site: Site, notice: &Notice, world: &mut dyn World) {
    if !notice.data.is_empty()
        && let Ok(area) = data_area(state, site, world)
        && area.length != 0
    {
        let length = notice.data.len().min(area.length as usize);
        let _ = host::store(state, site.host, area.at, &notice.data[..length], world);
    }
    let encode = Encoder { big_endian: state.setup.big_endian };
    for &(number, value) in &notice.registers {
        let offset = offset::GENERAL as u64 + 8 * u64::from(number & 15);
        store(state, site, offset, &encode.u64(value), world);
    }
    let interception = notice.interception;
    let mut text = encode.u16(interception.ipa).to_vec();
    text.extend(encode.u32(interception.ipb));
    store(state, site, offset::CODE, &[interception.code], world);
    store(state, site, offset::IPA, &text, world);
}

/// Stores the CPU timer.
pub(super) fn store_timer(state: &mut State, site: Site, timer: u64, world: &mut dyn World) {
    let encode = Encoder { big_endian: state.setup.big_endian };
    store(state, site, offset::CPU_TIMER as u64, &encode.u64(timer), world);
}

/// Nothing is to be injected any more.
pub(super) fn clear_injection(state: &mut State, site: Site, world: &mut dyn World) {
    store(state, site, offset::INJECTION as u64, &[0], world);
}

/// CPU flags and interception controls, by which the host says what it waits for. Zeros if it cannot be asked.
pub(super) fn announced(state: &mut State, site: Site, world: &mut dyn World) -> (u32, u32) {
    (word(state, site, 0x00, world), word(state, site, 0x48, world))
}

/// The control registers whose changes the host waits for, from the left.
pub(super) fn control_requests(state: &mut State, site: Site, world: &mut dyn World) -> u16 {
    (word(state, site, 0x44, world) >> 16) as u16
}

fn word(state: &mut State, site: Site, offset: u64, world: &mut dyn World) -> u32 {
    let address = VirtualAddress(site.description.0.wrapping_add(offset));
    let loaded = host::load(state, site.host, address, 4, Access::Fetch, world);
    loaded.map_or(0, |bytes| Block { bytes, big_endian: state.setup.big_endian }.u32(0))
}

/// The secure instruction data area.
pub(super) struct DataArea {
    pub(super) at: VirtualAddress,
    pub(super) length: u64,
}

/// The data area that a state description names: its address, and in the low byte its pages less one. Address 0
/// names none (a choice of the book): nothing goes there, nothing comes from there.
pub(super) fn named_area(block: &Block) -> DataArea {
    let designation = block.u64(offset::DATA_AREA);
    let (at, pages) = (VirtualAddress(designation & !0xfff), (designation & 0xff) + 1);
    DataArea { at, length: if at.0 == 0 { 0 } else { pages * 4096 } }
}

fn data_area(state: &mut State, site: Site, world: &mut dyn World) -> Result<DataArea, Program> {
    let address = VirtualAddress(site.description.0.wrapping_add(offset::DATA_AREA as u64));
    let bytes = host::load(state, site.host, address, 8, Access::Fetch, world)?;
    let mut head = vec![0; offset::DATA_AREA];
    head.extend(bytes);
    Ok(named_area(&Block { bytes: head, big_endian: state.setup.big_endian }))
}

fn store(state: &mut State, site: Site, offset: u64, bytes: &[u8], world: &mut dyn World) {
    let _ = host::store(state, site.host, VirtualAddress(site.description.0.wrapping_add(offset)), bytes, world);
}

/// Byte order of structures in storage.
pub(super) struct Encoder {
    pub(super) big_endian: bool,
}

impl Encoder {
    pub(super) fn u64(&self, value: u64) -> [u8; 8] {
        if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    pub(super) fn u32(&self, value: u32) -> [u8; 4] {
        if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    pub(super) fn u16(&self, value: u16) -> [u8; 2] {
        if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() }
    }
}
