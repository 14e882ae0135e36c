//! The weights as the model has them, let go while another form can give them back.
//!
//! A large f32 weight would otherwise be in memory twice, beside its packed form. It is needed again where another plan wants
//! another form, and where the network runs its plain evaluation.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lissom_graph::{Graph, ValueId};
use lissom_tensor::{DType, Tensor, Weight};

use super::weights::PackedFloat;

/// Elements from which on a weight is worth letting go.
const LARGE: usize = 1 << 14;
/// With more elements that are not zero, holding those alone saves little.
const MAX_NONZERO_PERCENT: u8 = 75;

/// The large f32 constants of a graph, bit by bit as they were.
#[derive(Debug, Default)]
pub(crate) struct Originals(Mutex<HashMap<ValueId, Original>>);

#[derive(Debug)]
enum Original {
    Whole(Tensor),
    /// These values, and zero elsewhere: a bit an element says where.
    Nonzero {
        shape: Vec<usize>,
        mask: Vec<u64>,
        values: Vec<f32>,
    },
    /// What a dense product multiplies by.
    Packed {
        shape: Vec<usize>,
        packed: Arc<PackedFloat>,
    },
}

impl Originals {
    /// Takes the large f32 constants out of `graph`.
    pub fn of(graph: &mut Graph) -> Self {
        let is_large = |weight: &Weight| {
            matches!(weight, Weight::Dense(_)) && weight.dtype() == DType::F32 && weight.len() >= LARGE
        };
        let large: Vec<ValueId> = graph.constants().filter(|(_, weight)| is_large(weight)).map(|(id, _)| id).collect();
        let taken = large.into_iter().filter_map(|id| match graph.take_constant(id)? {
            Weight::Dense(tensor) => Some((id, Original::Whole(tensor))),
            Weight::Affine(_) => None,
        });
        Self(Mutex::new(taken.collect()))
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<ValueId, Original>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if the constant is here.
    pub fn has(&self, id: ValueId) -> bool {
        self.locked().contains_key(&id)
    }

    /// The constant; made anew if it was let go.
    pub fn tensor(&self, id: ValueId) -> Option<Tensor> {
        self.locked().get(&id)?.tensor()
    }

    /// Lets the weight go if it can be made anew: from `packed`, if that is given and holds the values as they were, or from
    /// those that are not zero.
    pub fn let_go(&self, id: ValueId, packed: Option<&Arc<PackedFloat>>, nonzero_percent: u8) {
        let mut originals = self.locked();
        let Some(original) = originals.get_mut(&id) else { return };
        let Original::Whole(tensor) = &*original else { return };
        let shape = tensor.shape().to_vec();
        let packed = packed.filter(|packed| packed.product.dense().is_some_and(|dense| dense.can_unpack()));
        if let Some(packed) = packed {
            *original = Original::Packed { shape, packed: Arc::clone(packed) };
        } else if nonzero_percent <= MAX_NONZERO_PERCENT
            && let Ok(values) = tensor.as_slice::<f32>()
        {
            let (mask, values) = nonzero(values, nonzero_percent);
            *original = Original::Nonzero { shape, mask, values };
        }
    }

    /// `graph` with all its constants.
    pub fn put_back<'g>(&self, graph: &'g Graph) -> Cow<'g, Graph> {
        let mut whole = Cow::Borrowed(graph);
        for (&id, original) in &*self.locked() {
            if let Some(tensor) = original.tensor() {
                whole.to_mut().set_constant(id, Weight::Dense(tensor));
            }
        }
        whole
    }
}

/// Which elements are not zero, a bit each, and those elements; about `percent` of them. Negative zeros are kept.
fn nonzero(values: &[f32], percent: u8) -> (Vec<u64>, Vec<f32>) {
    let mut kept = Vec::with_capacity(values.len().div_ceil(100) * usize::from(percent));
    let word = |values: &[f32]| {
        // Without a branch: which elements are zero cannot be foreseen.
        let (mut own, mut n, mut word) = ([0.0; 64], 0, 0);
        for (bit, &value) in values.iter().enumerate() {
            let is_kept = value.to_bits() != 0;
            own[n % 64] = value;
            n += usize::from(is_kept);
            word |= u64::from(is_kept) << bit;
        }
        kept.extend_from_slice(&own[..n]);
        word
    };
    (values.chunks(64).map(word).collect(), kept)
}

impl Original {
    fn tensor(&self) -> Option<Tensor> {
        let (shape, values) = match self {
            Self::Whole(tensor) => return Some(tensor.clone()),
            Self::Nonzero { shape, mask, values } => {
                let mut whole = vec![0.0; shape.iter().product()];
                let mut values = values.iter();
                for (to, &word) in whole.chunks_mut(64).zip(mask) {
                    let mut left = word;
                    while left != 0 {
                        to[left.trailing_zeros() as usize] = *values.next()?;
                        left &= left - 1;
                    }
                }
                (shape, whole)
            }
            Self::Packed { shape, packed } => (shape, packed.product.dense()?.unpacked()?),
        };
        Tensor::new(shape.clone(), values).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::product::{FORMS, FloatLayer, Order, point};

    const K: usize = 130;
    const N: usize = 129;

    /// A graph with one constant, and its values.
    fn graph(values: impl Fn(usize) -> f32) -> (Graph, ValueId, Vec<f32>) {
        let mut graph = Graph::new("test");
        let values: Vec<f32> = (0..K * N).map(values).collect();
        let id = graph.add_constant("w", Weight::Dense(Tensor::new([K, N], values.clone()).unwrap()));
        (graph, id, values)
    }

    fn bits(tensor: &Tensor) -> Vec<u32> {
        tensor.as_slice::<f32>().unwrap().iter().map(|value| value.to_bits()).collect()
    }

    /// Lets a constant go and looks at what the graph has then.
    fn through(values: impl Fn(usize) -> f32, is_packed: bool, nonzero_percent: u8) -> Original {
        let (mut graph, id, values) = graph(values);
        let whole = Tensor::new([K, N], values.clone()).unwrap();
        let originals = Originals::of(&mut graph);
        assert!(graph.constant(id).is_none() && originals.has(id));
        let pack = || {
            let layer = FloatLayer { shape: point(K, N), order: Order::Columns, weight: &values, rows: 1 };
            Arc::new(PackedFloat { product: (FORMS[0].pack)(&layer).unwrap(), bias: None })
        };
        originals.let_go(id, is_packed.then(pack).as_ref(), nonzero_percent);
        assert_eq!(bits(&originals.tensor(id).unwrap()), bits(&whole));
        let back = originals.put_back(&graph);
        assert_eq!(bits(back.dense_constant(id).unwrap()), bits(&whole));
        originals.locked().remove(&id).unwrap()
    }

    #[test]
    fn what_was_let_go_comes_back_bit_by_bit() {
        let odd = |i: usize| match i % 7 {
            0 => -0.0,
            1 => f32::NAN,
            2 => f32::from_bits(1),
            3 => f32::NEG_INFINITY,
            4 => i as f32,
            _ => 0.0,
        };
        assert!(matches!(through(odd, true, 100), Original::Packed { .. }));
        assert!(matches!(through(odd, false, 75), Original::Nonzero { .. }));
        assert!(matches!(through(odd, false, 76), Original::Whole(_)));
        assert!(matches!(through(|_| 0.0, false, 0), Original::Nonzero { .. }));
    }
}
