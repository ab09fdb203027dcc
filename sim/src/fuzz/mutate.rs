//! Cases made from cases.

use super::bytes::Input;
use super::case::{Case, Deed};
use super::{bytes::Output, draw};
use rand::{Rng, RngExt};

/// Fewer statements than that are not worth a machine.
const SHORTEST: usize = 100;
/// The most statements that mutation lets a case grow to.
const LONGEST: usize = 400;

/// A case like this one but for a few changes; `other` gives parts.
pub(super) fn mutated<R: Rng>(case: &Case, other: &Case, random: &mut R) -> Case {
    let mut setup = case.setup.clone();
    let mut statements = case.statements.clone();
    for _ in 0..random.random_range(1..12) {
        match random.random_range(0..16) {
            0 | 1 => remove(&mut statements, random),
            2 => duplicate(&mut statements, random),
            3 => swap(&mut statements, random),
            4 | 5 => splice(&mut statements, &other.statements, random),
            6..=8 => insert(&mut statements, draw::statements(&setup, random), random),
            9 => setup = drawn_setup(&setup, other, random),
            _ => change(&mut statements, random),
        }
    }
    // Short ones go on: to bring the machine up takes longer.
    while statements.len() < SHORTEST {
        statements.extend(draw::statements(&setup, random));
    }
    statements.truncate(LONGEST);
    Case::new(setup, statements)
}

fn place<R: Rng>(statements: &[Deed], random: &mut R) -> usize {
    random.random_range(0..statements.len().max(1))
}

fn remove<R: Rng>(statements: &mut Vec<Deed>, random: &mut R) {
    let from = place(statements, random);
    let to = (from + random.random_range(1..8)).min(statements.len());
    statements.drain(from.min(to)..to);
}

fn duplicate<R: Rng>(statements: &mut Vec<Deed>, random: &mut R) {
    let from = place(statements, random);
    let to = (from + random.random_range(1..6)).min(statements.len());
    let copied = statements[from.min(to)..to].to_vec();
    insert(statements, copied, random);
}

fn swap<R: Rng>(statements: &mut [Deed], random: &mut R) {
    if statements.len() > 1 {
        let (one, other) = (place(statements, random), place(statements, random));
        statements.swap(one, other);
    }
}

fn splice<R: Rng>(statements: &mut Vec<Deed>, others: &[Deed], random: &mut R) {
    let from = place(others, random);
    let to = (from + random.random_range(1..24)).min(others.len());
    insert(statements, others[from.min(to)..to].to_vec(), random);
}

fn insert<R: Rng>(statements: &mut Vec<Deed>, new: Vec<Deed>, random: &mut R) {
    let at = random.random_range(0..=statements.len());
    statements.splice(at..at, new);
}

/// Another operand, by way of the bytes: a statement reads from any.
fn change<R: Rng>(statements: &mut [Deed], random: &mut R) {
    if statements.is_empty() {
        return;
    }
    let at = place(statements, random);
    let mut out = Output::default();
    statements[at].write(&mut out);
    let mut bytes = out.into_bytes();
    // The first byte is the verb, which stays.
    let which = random.random_range(1..bytes.len().max(2));
    if let Some(byte) = bytes.get_mut(which) {
        *byte = match random.random_range(0..4) {
            0 => byte.wrapping_add(1),
            1 => byte.wrapping_sub(1),
            2 => random.random_range(0..8),
            _ => random.random(),
        };
    }
    // Where a changed byte calls for more operands than there are.
    bytes.extend((0..8).map(|_| random.random_range(0..8u8)));
    statements[at] = Deed::read(&mut Input::new(&bytes));
}

fn drawn_setup<R: Rng>(setup: &super::Setup, other: &Case, random: &mut R) -> super::Setup {
    let mut new = setup.clone();
    match random.random_range(0..5) {
        0 => new.generation = other.setup.generation,
        1 => new.cipher = other.setup.cipher,
        2 => new.misc = other.setup.misc,
        3 => new.strict_tweaks = !new.strict_tweaks,
        _ => {
            if new.guests.len() < 3 {
                new.guests.extend(other.setup.guests.first().cloned());
            }
        }
    }
    new
}
