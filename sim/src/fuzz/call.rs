//! Raw calls as bytes.

use super::bytes::{Input, Output};
use super::operands::{buffer, guest, vcpu};
use crate::scenario::{FieldValue, UvcCall};
use uvsim_model::address::PageIndex;
use uvsim_model::uvc::{Command, Field, HEADER_LENGTH};

const LENGTH: u8 = 1;
const BYTES: u8 = 2;
const PROBLEM_STATE: u8 = 4;
const IMMEDIATE: u8 = 8;
const SKEW: u8 = 16;
const SAVE: u8 = 32;

/// The length that a block of this code has unless another is given.
pub(super) fn usual_length(command: Option<Command>) -> u16 {
    command.map_or(HEADER_LENGTH as u16, Command::usual_length)
}

fn fields(command: Option<Command>) -> &'static [Field] {
    command.map_or(&[], |command| command.row().fields)
}

pub(super) fn read(input: &mut Input<'_>) -> UvcCall {
    let command = Command::ALL.get(input.below(Command::ALL.len() + 1)).copied();
    let code = command.map_or_else(|| input.number() as u16, Command::code);
    let command = Command::from_code(code);
    let given = input.byte();
    let has = |bit: u8| given & bit != 0;
    let length = if has(LENGTH) { input.number() as u16 } else { usual_length(command) };
    let bytes = if has(BYTES) { input.bytes(0x1000) } else { Vec::new() };
    let immediate = if has(IMMEDIATE) { input.byte() } else { 0 };
    let skew = if has(SKEW) { input.number() as u16 } else { 0 };
    let save = has(SAVE).then(|| buffer(input));
    let known = fields(command);
    let chosen = if known.is_empty() { 0 } else { input.number() };
    let named = known.iter().enumerate().filter(|(number, _)| chosen >> number & 1 != 0);
    let fields = named.map(|(_, field)| (*field, value(input))).collect();
    UvcCall { code, command, length, bytes, fields, save, problem_state: has(PROBLEM_STATE), immediate, skew }
}

pub(super) fn write(call: &UvcCall, out: &mut Output) {
    let number = Command::ALL.iter().position(|known| Some(*known) == call.command);
    out.index(number.unwrap_or(Command::ALL.len()));
    if number.is_none() {
        out.number(call.code.into());
    }
    let bit = |given: bool, bit: u8| if given { bit } else { 0 };
    let other_length = call.length != usual_length(call.command);
    out.byte(
        bit(other_length, LENGTH)
            | bit(!call.bytes.is_empty(), BYTES)
            | bit(call.problem_state, PROBLEM_STATE)
            | bit(call.immediate != 0, IMMEDIATE)
            | bit(call.skew != 0, SKEW)
            | bit(call.save.is_some(), SAVE),
    );
    if other_length {
        out.number(call.length.into());
    }
    if !call.bytes.is_empty() {
        out.bytes(&call.bytes);
    }
    if call.immediate != 0 {
        out.byte(call.immediate);
    }
    if call.skew != 0 {
        out.number(call.skew.into());
    }
    if let Some(buffer) = call.save {
        out.index(buffer.0);
    }
    let known = fields(call.command);
    if known.is_empty() {
        return;
    }
    let given = |field: &Field| call.fields.iter().find(|(name, _)| name == field);
    let chosen = known.iter().enumerate().filter(|(_, field)| given(field).is_some());
    out.number(chosen.fold(0, |mask, (number, _)| mask | 1 << number));
    known.iter().filter_map(given).for_each(|(_, value)| put_value(*value, out));
}

fn value(input: &mut Input<'_>) -> FieldValue {
    let kind = input.below(9);
    if kind == 0 {
        return FieldValue::Number(input.number());
    }
    let guest = guest(input);
    match kind {
        1 => FieldValue::Handle(guest),
        2 => FieldValue::Cpu(guest, vcpu(input)),
        3 => FieldValue::Frame(guest, PageIndex(input.number())),
        4 => FieldValue::Page(guest, PageIndex(input.number())),
        5 => FieldValue::Header(guest),
        6 => FieldValue::HeaderLength(guest),
        7 => FieldValue::TweakPrefix(guest, PageIndex(input.number())),
        _ => FieldValue::TweakOffset(guest, PageIndex(input.number())),
    }
}

fn put_value(value: FieldValue, out: &mut Output) {
    let (kind, guest, page) = match value {
        FieldValue::Number(number) => {
            out.index(0);
            return out.number(number);
        }
        FieldValue::Cpu(guest, cpu) => {
            out.index(2);
            out.index(guest.0);
            return out.number(cpu.into());
        }
        FieldValue::Handle(guest) => (1, guest, None),
        FieldValue::Frame(guest, page) => (3, guest, Some(page)),
        FieldValue::Page(guest, page) => (4, guest, Some(page)),
        FieldValue::Header(guest) => (5, guest, None),
        FieldValue::HeaderLength(guest) => (6, guest, None),
        FieldValue::TweakPrefix(guest, page) => (7, guest, Some(page)),
        FieldValue::TweakOffset(guest, page) => (8, guest, Some(page)),
    };
    out.index(kind);
    out.index(guest.0);
    if let Some(page) = page {
        out.number(page.0);
    }
}
