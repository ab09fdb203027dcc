//! Disks.

use super::hal::{BlockDriver, begin_read, begin_write, end_read, end_write};
use super::ring::Used;
use super::{Driver, Request};
use crate::virtio::port::Port;
use virtio_drivers::device::blk::{BlkReq, BlkResp, RespStatus};
use virtio_drivers::{Error, Result};
use zerocopy::IntoBytes;

/// Bytes of a sector.
pub(crate) const SECTOR: usize = 512;
/// Most bytes of a request, as what one bounce-buffer mapping comfortably holds.
pub(crate) const LARGEST: usize = 64 << 10;
/// The only queue.
const QUEUE: u16 = 0;

/// A disk's driver.
pub(crate) struct Block(BlockDriver);

impl Block {
    pub(super) fn bind(port: Port) -> Result<Self> {
        BlockDriver::new(port).map(Self)
    }

    /// Sectors of the disk.
    pub(crate) fn capacity(&self) -> u64 {
        self.0.capacity()
    }
}

/// A read or a write of at most [`LARGEST`] bytes, at least one sector.
pub(crate) struct Transfer<'a> {
    sector: u64,
    data: Data<'a>,
    request: BlkReq,
    answer: BlkResp,
}

enum Data<'a> {
    Read(&'a mut [u8]),
    Write(&'a [u8]),
}

impl<'a> Transfer<'a> {
    pub(crate) fn read(sector: u64, data: &'a mut [u8]) -> Self {
        Self { sector, data: Data::Read(data), request: BlkReq::default(), answer: BlkResp::default() }
    }

    pub(crate) fn write(sector: u64, data: &'a [u8]) -> Self {
        Self { sector, data: Data::Write(data), request: BlkReq::default(), answer: BlkResp::default() }
    }

    fn len(&self) -> usize {
        match &self.data {
            Data::Read(data) => data.len(),
            Data::Write(data) => data.len(),
        }
    }
}

impl Request for Transfer<'_> {
    fn lengths(&self) -> Vec<u64> {
        vec![size_of::<BlkReq>() as u64, self.len() as u64, size_of::<BlkResp>() as u64]
    }

    fn queue(&self) -> u16 {
        QUEUE
    }

    fn payload(&self) -> (u64, u64) {
        match &self.data {
            Data::Read(data) => (data.len() as u64, 0),
            Data::Write(data) => (0, data.len() as u64),
        }
    }

    fn begin(&mut self, driver: &mut Driver) -> Result<u16> {
        let Driver::Block(Block(driver)) = driver else { return Err(Error::Unsupported) };
        // The driver asserts both.
        if self.len() == 0 || !self.len().is_multiple_of(SECTOR) {
            return Err(Error::InvalidParam);
        }
        let sector = usize::try_from(self.sector).map_err(|_| Error::InvalidParam)?;
        match &mut self.data {
            Data::Read(data) => begin_read(driver, sector, &mut self.request, data, &mut self.answer),
            Data::Write(data) => begin_write(driver, sector, &mut self.request, data, &mut self.answer),
        }
    }

    fn end(&mut self, driver: &mut Driver, used: Used) -> Result<Option<u8>> {
        let Driver::Block(Block(driver)) = driver else { return Err(Error::Unsupported) };
        let done = match &mut self.data {
            Data::Read(data) => end_read(driver, used.id, &self.request, data, &mut self.answer),
            Data::Write(data) => end_write(driver, used.id, &self.request, data, &mut self.answer),
        };
        let status = self.answer.status();
        // The status byte becomes an error of its own on the way.
        if status == RespStatus::OK { done.map(|()| None) } else { Ok(Some(status.as_bytes()[0])) }
    }
}
