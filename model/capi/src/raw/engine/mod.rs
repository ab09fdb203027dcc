//! What raw mode needs of the system: Linux on x86-64 and aarch64.

mod chain;
mod context;
mod copy;
mod handler;
mod landing;
mod last_words;
mod registry;
#[cfg(test)]
mod tests;
mod thread;
mod view;

pub(crate) use copy::{Stop, copy};
pub(crate) use handler::ATTEMPTS;
pub(crate) use landing::{pop, push};
pub(crate) use thread::{cpu_started, cpu_stopped, inside, outside};
pub(crate) use view::{Callback, View, is_plain};

/// Makes sure that faults come to the handler.
pub(crate) fn prepare() -> Result<(), std::io::ErrorKind> {
    chain::install()
}
