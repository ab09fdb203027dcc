//! Formats and errors.
