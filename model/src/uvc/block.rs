//! placeholder
/// placeholder
#[derive(Debug)]
pub struct Block;
/// placeholder
#[derive(Debug)]
pub struct BlockHeader;
/// placeholder
pub fn general_checks() {}
