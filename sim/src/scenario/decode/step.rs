//! Steps, loops, workloads, and what all statements have in common.

use kdl::{KdlDocument, KdlEntry, KdlNode};

use super::super::document::{Node, Pattern, Repeat, Step, Workload};
use super::super::outcome::{Expectation, Outcome};
use super::super::reader::NodeReader;
use super::super::statement::Statement;
use super::super::syntax::shown;
use super::Decoder;
use super::parallel::{LANES, LaneReading};

/// What may stand in a step.
pub(super) const INSIDE: [&str; 8] = ["host", "guest", "device", "check", "repeat", "workload", "parallel", "replay"];

impl Decoder<'_, '_> {
    pub(super) fn step(&mut self, node: &KdlNode) -> Option<Step> {
        let mut reader = NodeReader::new(node, &mut self.reports);
        let title = reader.argument("a title", &mut self.reports);
        let title = title.and_then(|entry| self.reports.text(entry, "a title"));
        let place = self.reports.place(reader.span());
        let nodes = self.body(&mut reader);
        reader.finish(&mut self.reports);
        Some(Step { place, title: title?.to_owned(), nodes: nodes? })
    }

    /// The statements of a step or loop.
    pub(super) fn body(&mut self, reader: &mut NodeReader<'_>) -> Option<Vec<Node>> {
        match reader.children() {
            Some(children) => Some(self.nodes(children)),
            None => self.reports.error(
                reader.span(),
                format!("`{}` has no statements", reader.title),
                "block expected",
                "put the statements into braces",
            ),
        }
    }

    fn nodes(&mut self, document: &KdlDocument) -> Vec<Node> {
        document.nodes().iter().filter_map(|node| self.node(node)).collect()
    }

    fn node(&mut self, node: &KdlNode) -> Option<Node> {
        let (name, span) = (node.name().value(), node.name().span());
        match name {
            "host" | "guest" | "device" | "check" => {
                self.statement(node).map(|statement| Node::Statement(Box::new(statement)))
            }
            "repeat" => self.repeat(node).map(Node::Repeat),
            "workload" => self.workload(node).map(Node::Workload),
            "parallel" => self.parallel(node).map(Node::Parallel),
            "lane" => self.reports.error(span, "`lane` does not belong here".to_owned(), "not here", LANES),
            "replay" => self.replay(node).map(Node::Replay),
            "step" | "scenario" | "machine" => self.reports.error(
                span,
                format!("`{name}` does not belong inside a step"),
                "not here",
                "close the step with `}` before it",
            ),
            _ => {
                let help = self.reports.suggestion(name, INSIDE);
                self.reports.error(span, format!("unknown statement `{}`", shown(name)), "unknown", help)
            }
        }
    }

    fn repeat(&mut self, node: &KdlNode) -> Option<Repeat> {
        let mut reader = NodeReader::new(node, &mut self.reports);
        let count = reader.argument("a number", &mut self.reports);
        let count = count.and_then(|entry| self.reports.number(entry, 1, u64::MAX));
        let place = self.reports.place(reader.span());
        let nodes = self.body(&mut reader);
        reader.finish(&mut self.reports);
        Some(Repeat { place, count: count?, nodes: nodes? })
    }

    fn workload(&mut self, node: &KdlNode) -> Option<Workload> {
        const PATTERNS: [(&str, Pattern); 4] = [
            ("uniform", Pattern::Uniform),
            ("zipf", Pattern::Zipf),
            ("sequential", Pattern::Sequential),
            ("scan", Pattern::Scan),
        ];
        let mut reader = NodeReader::new(node, &mut self.reports);
        let place = self.reports.place(reader.span());
        let text = self.written(node);
        let guest = reader.required("guest", &mut self.reports).and_then(|entry| self.guest_of(entry));
        let [accesses, working_set, frames] = ["accesses", "working-set", "frames"].map(|name| {
            let entry = reader.required(name, &mut self.reports)?;
            Some((entry, self.reports.number(entry, 1, u64::MAX)?))
        });
        let first_entry = reader.property("first");
        let first = first_entry.map_or(Some(2), |entry| self.reports.number(entry, 0, u64::MAX));
        let writes = reader.property("writes").map_or(Some(0.3), |entry| self.reports.fraction(entry));
        let pattern = reader
            .property("pattern")
            .map_or(Some(Pattern::Uniform), |entry| self.reports.choice(entry, "a pattern", &PATTERNS));
        let seed = reader.property("seed").and_then(|entry| self.reports.number(entry, 0, u64::MAX));
        let replacement = self.replacement(&mut reader);
        reader.finish(&mut self.reports);
        self.checked = true;
        let (guest, (entry, working_set), first) = (guest?, working_set?, first?);
        let (policy, window) = replacement?;
        let pages = self.guests[guest.0].pages();
        if first.checked_add(working_set).is_none_or(|end| end > pages) {
            let entry: &KdlEntry = first_entry.filter(|_| first >= pages).unwrap_or(entry);
            let message = format!("{working_set} pages from page {first} on are not all in the guest");
            return self.reports.error(entry.span(), message, "outside", format!("its pages are 0 to {}", pages - 1));
        }
        Some(Workload {
            place,
            text,
            guest,
            accesses: accesses?.1,
            working_set,
            frames: frames?.1,
            first,
            writes: writes?,
            pattern: pattern?,
            seed,
            policy,
            window,
        })
    }

    fn statement(&mut self, node: &KdlNode) -> Option<Statement> {
        let actor = node.name().value();
        let mut reader = NodeReader::new(node, &mut self.reports);
        let place = self.reports.place(reader.span());
        let text = self.written(node);
        let entry = reader.argument("a verb", &mut self.reports)?;
        let verb = self.reports.string(entry, "a verb")?;
        reader.title = format!("{actor} {}", shown(verb));
        let verbs = super::verb::verbs(actor);
        if !verbs.contains(&verb) {
            let help = self.reports.suggestion(verb, verbs.iter().copied());
            return self.reports.error(
                entry.span(),
                format!("`{actor}` has no verb `{}`", shown(verb)),
                "unknown verb",
                help,
            );
        }
        let plain = actor == "check" || (actor == "host" && matches!(verb, "faults" | "inject"));
        let expectation = if plain { Expectation::default() } else { self.expectation(&mut reader) };
        let cpu = if matches!(actor, "host" | "guest") { self.cpu(&mut reader, actor) } else { Some(0) };
        let verb = match actor {
            "host" => self.host(verb, &mut reader, &expectation),
            "device" => self.device(verb, &mut reader, &expectation),
            "guest" => self.guest_verb(verb, &mut reader, &expectation),
            _ => self.check(verb, &mut reader),
        };
        reader.finish(&mut self.reports);
        let statement = Statement { place, text, cpu: cpu?, expectation, verb: verb? };
        self.checked |= statement.checks();
        Some(statement)
    }

    /// `cpu=N`: a host CPU must exist, and in a lane be its own; a vCPU need not exist.
    fn cpu(&mut self, reader: &mut NodeReader<'_>, actor: &str) -> Option<u16> {
        let own = self.lane.as_ref().filter(|_| actor == "host").map(LaneReading::cpu);
        let Some(entry) = reader.property("cpu") else { return Some(own.unwrap_or(0)) };
        let cpu = self.reports.number16(entry, 0, u16::MAX)?;
        if actor == "host" && cpu >= self.machine.cpus {
            return self.reports.error(
                entry.span(),
                format!("the machine has no CPU {cpu}"),
                "no such CPU",
                format!("its CPUs are 0 to {}; `machine` sets their number with `cpus`", self.machine.cpus - 1),
            );
        }
        if let Some(own) = own.filter(|&own| own != cpu) {
            return self.reports.error(
                entry.span(),
                format!("this lane is that of host CPU {own}"),
                "another CPU",
                "lane k runs on host CPU k: leave `cpu=` out, or put the statement into the lane of that CPU",
            );
        }
        Some(cpu)
    }

    fn expectation(&mut self, reader: &mut NodeReader<'_>) -> Expectation {
        let expect = reader.property("expect");
        let outcome = expect.and_then(|entry| self.outcome(entry));
        let mut codes = [None; 3];
        for (slot, name) in codes.iter_mut().zip(["rc", "rrc", "code"]) {
            let Some(entry) = reader.property(name) else { continue };
            *slot = self.reports.number16(entry, 0, u16::MAX);
            let wanted = if name == "code" { "expect=intercept" } else { "expect=refused or expect=ok" };
            let fits = match outcome {
                Some(Outcome::Intercept) => name == "code",
                Some(Outcome::Ok | Outcome::Refused) => name != "code",
                Some(_) => false,
                // The outcome itself is wrong, and has been reported.
                None => expect.is_some(),
            };
            if !fits {
                self.reports.report(
                    entry.span(),
                    format!("`{name}=` goes only with a written {wanted}"),
                    "without its outcome",
                    format!("write {}", if name == "code" { "expect=intercept" } else { "expect=refused" }),
                );
            }
        }
        let [rc, rrc, code] = codes;
        Expectation { outcome: outcome.unwrap_or_default(), rc, rrc, code, explicit: expect.is_some() }
    }

    fn outcome(&mut self, entry: &KdlEntry) -> Option<Outcome> {
        let name = self.reports.string(entry, "an outcome")?;
        Outcome::from_name(name).or_else(|| {
            let help = self.reports.suggestion(name, Outcome::ALL.iter().map(|outcome| outcome.name()));
            self.reports.error(entry.span(), format!("`{}` is not an outcome", shown(name)), "unknown outcome", help)
        })
    }

    /// The text of a node without its block, single-spaced.
    pub(super) fn written(&self, node: &KdlNode) -> String {
        let mut text = node.name().value().to_owned();
        for entry in node.entries() {
            text.push(' ');
            text.push_str(self.reports.quote(entry.span()).trim());
        }
        text
    }
}
