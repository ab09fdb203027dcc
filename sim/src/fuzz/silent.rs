//! A report that nobody reads.

use crate::run::{Failure, FileEnd, Report, StatementEnd, Verdict, WorkloadEnd};
use crate::scenario::{Place, Scenario, ScenarioErrors, Step};
use uvsim_model::config::MachineConfig;

/// Tells nothing.
#[derive(Debug)]
pub(super) struct Silent;

impl Report for Silent {
    fn scenario(&mut self, _: &Scenario, _: &MachineConfig) {}
    fn step(&mut self, _: &Scenario, _: &Step) {}
    fn statement(&mut self, _: &Scenario, _: &StatementEnd<'_>) {}
    fn difference(&mut self, _: &Scenario, _: Place, _: &uvsim_verify::Difference) {}
    fn failure(&mut self, _: &Scenario, _: Place, _: &Failure) {}
    fn workload(&mut self, _: &Scenario, _: &WorkloadEnd<'_>) {}
    fn error(&mut self, _: &Scenario, _: Place, _: &str, _: Option<&str>) {}
    fn argument(&mut self, _: &str, _: Option<&str>) {}
    fn unusable(&mut self, _: &ScenarioErrors) {}
    fn end(&mut self, _: &FileEnd<'_>) {}
    fn verdict(&mut self, _: &Verdict) {}
}
