//! The refusal matrix: from the table of [`Command::checks`] follow, for every command, each cause alone and
//! all pairs of causes, of which the first in order must win (D2, D7, D9, D11–D13, D50–D54). Every refusal
//! leaves everything alone but rc and rrc (I-18).

#![allow(unreachable_pub, reason = "modules of a test binary")]

mod cause;
mod conduct;
mod footprint;
mod random;
#[path = "../support/scene.rs"]
mod scene;
mod stage;
mod subjects;
#[path = "../support/mod.rs"]
mod support;
