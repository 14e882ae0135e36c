//! What a step reads.

use std::borrow::Cow;

use lissom_graph::{EvaluateError, OpError};
use lissom_kernels::ShapeError;
use lissom_kernels::quantize::{Bytes, BytesMut};
use lissom_tensor::{Element, Storage, Tensor, Values};

use super::binding::Slot;
use super::step::{Elem, Plan, Source, Step};
use crate::EngineError;

/// Operands of a step: everything but the part of the arena that it writes.
pub(crate) struct Operands<'a> {
    pub plan: &'a Plan,
    pub slots: &'a [Slot<'a>],
    /// The arena before the target, and after it from `right_start` on.
    pub left: &'a [f32],
    pub right: &'a [f32],
    pub right_start: usize,
    pub step: &'a Step,
}

impl<'a> Operands<'a> {
    pub fn has(&self, index: usize) -> bool {
        index < self.step.inputs.len()
    }

    fn words(&self, buffer: usize) -> Option<(&'a [f32], usize)> {
        let (place, len) = self.plan.places.get(buffer)?;
        let words = if place.end <= self.left.len() {
            &self.left[place.clone()]
        } else {
            self.right.get(place.start.checked_sub(self.right_start)?..place.end - self.right_start)?
        };
        Some((words, *len))
    }

    pub fn tensor(&self, index: usize) -> Result<&'a Tensor, EngineError> {
        let found = match self.step.inputs.get(index) {
            Some(Source::Slot(slot)) => self.slots.get(*slot).and_then(Slot::tensor),
            Some(Source::Constant(tensor)) => Some(tensor),
            _ => None,
        };
        found.ok_or_else(|| self.missing(index))
    }

    /// Input `index`, if it is the caller's and no tensor.
    fn view(&self, index: usize) -> Option<Values<'a>> {
        match self.step.inputs.get(index) {
            Some(Source::Slot(slot)) => self.slots.get(*slot).and_then(Slot::view),
            _ => None,
        }
    }

    fn missing(&self, index: usize) -> EngineError {
        self.error(OpError::MissingInput { index })
    }

    pub fn error(&self, source: OpError) -> EngineError {
        let info = &self.step.info;
        EngineError::Evaluate(EvaluateError::Node { node: info.name.clone(), op: info.op.clone(), source })
    }

    pub fn kernel_error(&self, source: ShapeError) -> EngineError {
        EngineError::Kernel { node: self.step.info.name.clone(), source }
    }

    /// Input `index` as f32.
    pub fn f32(&self, index: usize) -> Result<&'a [f32], EngineError> {
        match self.step.inputs.get(index) {
            Some(Source::Buffer(id)) => self.words(*id).map(|(words, _)| words).ok_or_else(|| self.missing(index)),
            Some(Source::Part(id, range)) => {
                let words = self.words(*id).and_then(|(words, _)| words.get(range.clone()));
                words.ok_or_else(|| self.missing(index))
            }
            _ => match self.view(index) {
                Some(Values::F32(values)) => Ok(values),
                Some(other) => Err(self.error(OpError::UnsupportedType { index, actual: other.dtype() })),
                None => self.tensor(index)?.as_slice().map_err(|source| self.error(source.into())),
            },
        }
    }

    /// Input `index` as bytes of this type.
    pub fn bytes(&self, index: usize, elem: Elem) -> Result<Bytes<'a>, EngineError> {
        if let Some(Source::Buffer(id)) = self.step.inputs.get(index) {
            let (words, len) = self.words(*id).ok_or_else(|| self.missing(index))?;
            return Ok(match elem {
                Elem::I8 => Bytes::I8(&bytemuck::cast_slice(words)[..len]),
                _ => Bytes::U8(&bytemuck::cast_slice(words)[..len]),
            });
        }
        match self.view(index) {
            Some(Values::I8(values)) => return Ok(Bytes::I8(values)),
            Some(Values::U8(values)) => return Ok(Bytes::U8(values)),
            Some(other) => return Err(self.error(OpError::UnsupportedType { index, actual: other.dtype() })),
            None => {}
        }
        let tensor = self.tensor(index)?;
        Ok(match tensor.storage() {
            Storage::I8(values) => Bytes::I8(values),
            Storage::U8(values) => Bytes::U8(values),
            _ => return Err(self.error(OpError::UnsupportedType { index, actual: tensor.dtype() })),
        })
    }

    /// Input `index`, of any type of integer.
    pub fn integers(&self, index: usize) -> Result<Cow<'a, [i64]>, EngineError> {
        let refused = |actual| self.error(OpError::UnsupportedType { index, actual });
        Ok(match self.view(index) {
            Some(Values::I64(values)) => Cow::Borrowed(values),
            Some(Values::I32(values)) => Cow::Owned(values.iter().map(|&value| value.into()).collect()),
            Some(other) => return Err(refused(other.dtype())),
            None => {
                let tensor = self.tensor(index)?;
                match i64::slice(tensor.storage()) {
                    Some(values) => Cow::Borrowed(values),
                    None => Cow::Owned(tensor.to_i64_vec().map_err(|_| refused(tensor.dtype()))?),
                }
            }
        })
    }
}

/// The bytes of `words` as elements of this type.
pub(super) fn bytes_mut(words: &mut [f32], len: usize, elem: Elem) -> BytesMut<'_> {
    match elem {
        Elem::I8 => BytesMut::I8(&mut bytemuck::cast_slice_mut(words)[..len]),
        _ => BytesMut::U8(&mut bytemuck::cast_slice_mut(words)[..len]),
    }
}
