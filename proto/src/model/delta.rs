//! Placeholder while the room is built.
/// x
pub const SUM_LEN: usize = 20;
/// x
#[derive(Clone, Debug)]
pub enum Op { /// x
Copy { /// x
offset: u64, /// x
len: u64 }, /// x
Literal(prost::bytes::Bytes) }
/// x
pub struct Sums;
/// x
pub struct Signer;
/// x
pub struct Search<'a>(&'a Sums);
impl Signer { /// x
pub fn new(_: u32) -> Self { Self } /// x
pub fn update(&mut self, _: &[u8], _: &mut Vec<u8>) {} /// x
pub fn finish(self, _: &mut Vec<u8>) {} }
impl Sums { /// x
pub fn parse(_: u32, _: u64, _: Vec<u8>) -> Result<Self, ()> { Ok(Self) } }
impl<'a> Search<'a> { /// x
pub fn new(s: &'a Sums) -> Self { Self(s) } /// x
pub fn update(&mut self, _: &[u8], _: &mut impl FnMut(Op)) {} /// x
pub fn finish(self, _: &mut impl FnMut(Op)) {} }
/// x
pub fn block_len(_: u64) -> u32 { 0 }
