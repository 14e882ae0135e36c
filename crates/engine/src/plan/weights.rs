//! Weights in the form the kernels read, made once a session and shared between its plans.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use lissom_graph::ValueId;
use lissom_kernels::ShapeError;
use lissom_kernels::conv::{ConvShape, PackedConv};
use lissom_kernels::gemm::PackedB;
use lissom_kernels::qconv::PackedQConv;
use lissom_kernels::qgemm::PackedQB;
use lissom_kernels::wgemm::PackedW;
use lissom_tensor::{Tensor, Weight};

/// A packed weight with its bias, everything folded in.
#[derive(Debug)]
pub(crate) enum Packed {
    Conv(PackedConv, Option<Vec<f32>>),
    Linear(PackedB, Option<Vec<f32>>),
    QConv(PackedQConv),
    QLinear(PackedQB),
    /// Codes that few rows in f32 are multiplied with.
    FewRows(PackedW),
}

/// What decides the packed form.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct PackKey {
    pub weight: ValueId,
    pub bias: Option<ValueId>,
    pub form: Form,
    /// Nodes whose scale or shift is folded in, in order.
    pub folded: Vec<usize>,
}

/// How the weight is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    Conv(ConvShape),
    /// Alpha and beta as bits.
    Linear {
        is_transposed: bool,
        alpha: u32,
        beta: u32,
    },
    QConv(ConvShape),
    QLinear {
        is_transposed: bool,
    },
    FewRows {
        is_transposed: bool,
    },
}

/// All weights of a session that were needed so far.
#[derive(Debug, Default)]
pub(crate) struct WeightCache {
    decoded: Mutex<HashMap<ValueId, Tensor>>,
    packed: Mutex<HashMap<PackKey, Arc<Packed>>>,
}

impl WeightCache {
    /// The values of a constant; `None` if its encoding is broken, which the plain evaluation then reports.
    pub fn decoded(&self, id: ValueId, weight: &Weight) -> Option<Tensor> {
        if let Weight::Dense(tensor) = weight {
            return Some(tensor.clone());
        }
        let mut decoded = self.decoded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tensor) = decoded.get(&id) {
            return Some(tensor.clone());
        }
        let tensor = weight.decode().ok()?;
        decoded.insert(id, tensor.clone());
        Some(tensor)
    }

    /// The packed form for `key`, made by `pack` the first time; without a key, every time.
    pub fn packed(
        &self,
        key: Option<PackKey>,
        pack: impl FnOnce() -> Result<Packed, ShapeError>,
    ) -> Result<Arc<Packed>, ShapeError> {
        let Some(key) = key else { return Ok(Arc::new(pack()?)) };
        let mut packed = self.packed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = packed.get(&key) {
            return Ok(Arc::clone(found));
        }
        let made = Arc::new(pack()?);
        packed.insert(key, Arc::clone(&made));
        Ok(made)
    }

    /// Bytes of all packed weights.
    pub fn size_bytes(&self) -> usize {
        let packed = self.packed.lock().unwrap_or_else(PoisonError::into_inner);
        packed
            .values()
            .map(|packed| match &**packed {
                Packed::Conv(conv, _) => conv.size_bytes(),
                Packed::Linear(matrix, _) => matrix.size_bytes(),
                Packed::QConv(conv) => conv.size_bytes(),
                Packed::QLinear(matrix) => matrix.size_bytes(),
                Packed::FewRows(matrix) => matrix.size_bytes(),
            })
            .sum()
    }
}
