//! Lines on standard error from inside a signal handler: no allocation, no lock, no formatting machinery.

#![allow(unsafe_code, reason = "write(2) is what a signal handler may call; see the SAFETY comments")]

use uvsim_model::storage::{Donation, FrameState};

/// A line being made. What does not fit is left out. It is made in its place: an alternate stack has no room for copies.
#[derive(Debug)]
pub(super) struct Line {
    bytes: [u8; 512],
    len: usize,
}

impl Line {
    /// Begins with the name of the library.
    pub(super) fn new() -> Self {
        let mut line = Self { bytes: [0; 512], len: 0 };
        line.text("uvsim: ");
        line
    }

    /// Appends a text.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        // One byte is kept for the end of the line.
        let room = self.bytes.len() - 1 - self.len;
        let taken = text.len().min(room);
        self.bytes[self.len..self.len + taken].copy_from_slice(&text.as_bytes()[..taken]);
        self.len += taken;
        self
    }

    /// Appends a number as `0x…`.
    pub(super) fn hex(&mut self, number: u64) -> &mut Self {
        self.text("0x").digits(number, 16)
    }

    /// Appends a number.
    pub(super) fn decimal(&mut self, number: u64) -> &mut Self {
        self.digits(number, 10)
    }

    fn digits(&mut self, mut number: u64, base: u64) -> &mut Self {
        let mut digits = [0; 20];
        let mut first = digits.len();
        loop {
            first -= 1;
            digits[first] = b"0123456789abcdef"[(number % base) as usize];
            number /= base;
            if number == 0 {
                break;
            }
        }
        // Digits are text.
        self.text(core::str::from_utf8(&digits[first..]).unwrap_or_default())
    }

    /// Appends whose a secure frame is.
    pub(super) fn owner(&mut self, state: FrameState) -> &mut Self {
        match state {
            FrameState::Donated(Donation::Base) => self.text("the Ultravisor (base storage)"),
            FrameState::Donated(Donation::ConfigurationBase(domain)) => {
                self.text("the Ultravisor (base storage of configuration ").decimal(domain.0.into()).text(")")
            }
            FrameState::Donated(Donation::ConfigurationVariable(domain, _)) => {
                self.text("the Ultravisor (variable storage of configuration ").decimal(domain.0.into()).text(")")
            }
            FrameState::Donated(Donation::Cpu(domain)) => {
                self.text("the Ultravisor (a CPU of configuration ").decimal(domain.0.into()).text(")")
            }
            FrameState::Secure(domain, page) | FrameState::Shared(domain, page) | FrameState::Pinned(domain, page) => {
                self.text("configuration ").decimal(domain.0.into()).text(" (page ").hex(page.0).text(")")
            }
            FrameState::NonSecure => self.text("a call that is under way"),
        }
    }

    /// Writes the line.
    pub(super) fn emit(&mut self) {
        self.bytes[self.len] = b'\n';
        let mut rest = &self.bytes[..=self.len];
        while !rest.is_empty() {
            // SAFETY: the bytes are there. Nothing comes of a failure: there is nobody left to tell.
            let written = unsafe { libc::write(libc::STDERR_FILENO, rest.as_ptr().cast(), rest.len()) };
            match usize::try_from(written) {
                Ok(written @ 1..) => rest = rest.get(written..).unwrap_or_default(),
                _ => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uvsim_model::address::PageIndex;
    use uvsim_model::storage::Domain;

    #[test]
    fn lines_say_what_they_should() {
        let mut line = Line::new();
        line.hex(0x3d).text(" of ").decimal(u64::MAX).text(", ");
        line.owner(FrameState::Secure(Domain(7), PageIndex(0x12)));
        assert_eq!(
            core::str::from_utf8(&line.bytes[..line.len]),
            Ok("uvsim: 0x3d of 18446744073709551615, configuration 7 (page 0x12)")
        );
        assert_eq!(Line::new().text(&"x".repeat(1000)).len, 511);
    }
}
