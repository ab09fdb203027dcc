//! The case files.

#[path = "../../../tests/conformance_access.rs"]
mod access;
#[path = "../../../tests/conformance_blocks.rs"]
mod blocks;
#[path = "../../../tests/conformance_boot.rs"]
mod boot;
#[path = "../../../tests/conformance_configurations.rs"]
mod configurations;
#[path = "../../../tests/conformance_cpus.rs"]
mod cpus;
#[path = "../../../tests/conformance_endings.rs"]
mod endings;
#[path = "../../../tests/conformance_entry.rs"]
mod entry;
#[path = "../../../tests/conformance_events.rs"]
mod events;
#[path = "../../../tests/conformance_export.rs"]
mod export;
#[path = "../../../tests/conformance_general.rs"]
mod general;
#[path = "../../../tests/conformance_import.rs"]
mod import;
#[path = "../../../tests/conformance_init.rs"]
mod init;
#[path = "../../../tests/conformance_injection.rs"]
mod injection;
#[path = "../../../tests/conformance_instructions.rs"]
mod instructions;
#[path = "../../../tests/conformance_reset.rs"]
mod reset;
#[path = "../../../tests/conformance_sharing.rs"]
mod sharing;
