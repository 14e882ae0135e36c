//! Weights in the form the kernels read, made once and shared between plans and sessions.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use lissom_graph::ValueId;
use lissom_kernels::conv::{Channels, ConvShape};
use lissom_kernels::qgemm::{Dequantize, Output, Requantize};
use lissom_kernels::quantize::{Bytes, BytesMut};
use lissom_kernels::{Activation, Epilogue, ShapeError, Threads};
use lissom_tensor::{Tensor, Weight};

use super::Originals;
use crate::product::{
    Call, Choice, Chooser, Choosing, FORMS, FloatLayer, FloatProduct, Form, INTEGER_FORMS, IntegerLayer,
    IntegerProduct, Order, Traits, Zeros,
};

/// A packed f32 weight with its bias, everything folded in.
#[derive(Debug)]
pub(crate) struct PackedFloat {
    pub product: Box<dyn FloatProduct>,
    pub bias: Option<Vec<f32>>,
}

/// A weight and what is folded into it; both decide the packed form.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct PackKey {
    pub weight: ValueId,
    pub bias: Option<ValueId>,
    pub shape: ConvShape,
    pub order: Order,
    /// Alpha and beta of a Gemm as bits.
    pub factors: [u32; 2],
    /// Nodes whose scale or shift is folded in, in order.
    pub folded: Vec<usize>,
    pub form: &'static str,
}

type Packs<P> = Mutex<HashMap<PackKey, Arc<P>>>;

/// All weights of a model that were needed so far.
#[derive(Debug)]
pub(crate) struct WeightCache {
    /// Constants of the graph that are not in it.
    pub originals: Originals,
    decoded: Mutex<HashMap<ValueId, Tensor>>,
    zeros: Mutex<HashMap<(ValueId, ConvShape, Order), Zeros>>,
    floats: Packs<PackedFloat>,
    integers: Packs<Box<dyn IntegerProduct>>,
    pub chooser: Chooser,
    /// Products in f32 may round their operands to bf16.
    pub may_round: bool,
}

impl WeightCache {
    pub fn new(originals: Originals, choosing: &Choosing, may_round: bool) -> Self {
        Self {
            originals,
            decoded: Mutex::default(),
            zeros: Mutex::default(),
            floats: Mutex::default(),
            integers: Mutex::default(),
            chooser: Chooser::new(choosing),
            may_round,
        }
    }

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

    /// The zeros of a weight, counted once.
    pub fn zeros(&self, id: ValueId, shape: ConvShape, order: Order, count: impl FnOnce() -> Zeros) -> Zeros {
        let mut zeros = self.zeros.lock().unwrap_or_else(PoisonError::into_inner);
        *zeros.entry((id, shape, order)).or_insert_with(count)
    }

    /// An f32 weight in the form that suits the layer. `values` gives the weight and the bias, with all that is folded in.
    /// Without a key, it is packed every time.
    pub fn float<'v>(
        &self,
        key: Option<PackKey>,
        traits: &Traits,
        order: Order,
        values: impl FnOnce() -> (Cow<'v, [f32]>, Option<Vec<f32>>),
        threads: &Threads,
    ) -> Result<(Arc<PackedFloat>, Choice), ShapeError> {
        let values = std::cell::LazyCell::new(values);
        let pack = |pack: &crate::product::PackFloat| {
            let (weight, bias) = &*values;
            let product = pack(&FloatLayer { shape: traits.shape, order, weight, rows: traits.m() })?;
            Ok(PackedFloat { product, bias: bias.clone() })
        };
        let mut buffers: Option<(Vec<f32>, Vec<f32>)> = None;
        let run = |packed: &PackedFloat| {
            let (x, out) = buffers.get_or_insert_with(|| {
                let (x, out) = traits.lengths();
                (vec![0.5; x], vec![0.0; out])
            });
            let is_first = packed.product.takes_channels_first() && traits.shape.window.kernel != [1, 1];
            let channels = if is_first { Channels::First } else { Channels::Last };
            let bias = packed.bias.as_deref();
            let epilogue = Epilogue { bias, residual: None, activation: Activation::Relu };
            packed.product.run(&Call { threads, x, images: traits.images, from: channels, to: channels, epilogue }, out)
        };
        self.packed(&self.floats, key, traits, FORMS, pack, run)
    }

    /// An integer weight in the form that suits the layer.
    pub fn integer(
        &self,
        key: Option<PackKey>,
        traits: &Traits,
        layer: &IntegerLayer<'_>,
        threads: &Threads,
    ) -> Result<(Arc<Box<dyn IntegerProduct>>, Choice), ShapeError> {
        let pack = |pack: &crate::product::PackInteger| pack(layer);
        let mut buffers: Option<(Vec<u8>, Vec<f32>, Vec<u8>)> = None;
        // Images become bytes again, rows of matrices mostly real numbers; forms differ in what is quick for them.
        let are_bytes = traits.images.h > 1;
        #[allow(clippy::borrowed_box, reason = "what is packed here is the box")]
        let run = |packed: &Box<dyn IntegerProduct>| {
            let (x, reals, bytes) = buffers.get_or_insert_with(|| {
                let (x, out) = traits.lengths();
                let [reals, bytes] = if are_bytes { [0, out] } else { [out, 0] };
                (vec![100; x], vec![0.0; reals], vec![0; bytes])
            });
            let dequantize = Dequantize { scales: &[0.01], bias: None, residual: None, activation: Activation::Relu };
            let (multipliers, zero_point) = (&[0.001][..], 3);
            let requantize = Requantize { multipliers, bias: None, residual: None, zero_point, clamp: [3, 255] };
            let mut output = match are_bytes {
                true => Output::Bytes(requantize, BytesMut::U8(bytes)),
                false => Output::F32(dequantize, reals),
            };
            packed.run(threads, Bytes::U8(x), 128, traits.images, &mut output)
        };
        self.packed(&self.integers, key, traits, INTEGER_FORMS, pack, run)
    }

    /// A weight that stays codes, the name of whose form is `codes`.
    pub fn coded(
        &self,
        key: Option<PackKey>,
        pack: impl FnOnce() -> Result<PackedFloat, ShapeError>,
    ) -> Result<Arc<PackedFloat>, ShapeError> {
        let Some(key) = key else { return pack().map(Arc::new) };
        let mut packs = self.floats.lock().unwrap_or_else(PoisonError::into_inner);
        let key = PackKey { form: "codes", ..key };
        if let Some(found) = packs.get(&key) {
            return Ok(Arc::clone(found));
        }
        let packed = Arc::new(pack()?);
        packs.insert(key, Arc::clone(&packed));
        Ok(packed)
    }

    fn packed<F, P>(
        &self,
        packs: &Packs<P>,
        key: Option<PackKey>,
        traits: &Traits,
        forms: &'static [Form<F>],
        pack: impl Fn(&F) -> Result<P, ShapeError>,
        mut run: impl FnMut(&P) -> Result<(), ShapeError>,
    ) -> Result<(Arc<P>, Choice), ShapeError> {
        let of_form = |form| key.clone().map(|key| PackKey { form, ..key });
        let mut made: HashMap<&'static str, Arc<P>> = HashMap::new();
        let mut get = |name: &'static str| {
            if let Some(packed) = made.get(name) {
                return Ok(Arc::clone(packed));
            }
            let known =
                of_form(name).and_then(|key| packs.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned());
            let packed = match (known, forms.iter().find(|form| form.name == name)) {
                (Some(known), _) => known,
                (None, Some(form)) => Arc::new(pack(&form.pack)?),
                (None, None) => return Err(ShapeError::Overflow { what: "the forms of a product" }),
            };
            made.insert(name, Arc::clone(&packed));
            Ok(packed)
        };
        let choice = self.chooser.choose(traits, &fitting(forms, traits), &mut |name| {
            let packed = get(name)?;
            let started = Instant::now();
            run(&packed)?;
            Ok(started.elapsed())
        });
        let packed = get(choice.form)?;
        let Some(key) = of_form(choice.form) else { return Ok((packed, choice)) };
        let mut packs = packs.lock().unwrap_or_else(PoisonError::into_inner);
        Ok((Arc::clone(packs.entry(key).or_insert(packed)), choice))
    }

    /// Bytes of all packed weights.
    pub fn size_bytes(&self) -> usize {
        let floats = self.floats.lock().unwrap_or_else(PoisonError::into_inner);
        let integers = self.integers.lock().unwrap_or_else(PoisonError::into_inner);
        let floats = floats.values().map(|packed| packed.product.size_bytes());
        floats.chain(integers.values().map(|packed| packed.size_bytes())).sum()
    }
}

/// The forms that can run a layer, with guesses of their cost.
pub(crate) fn fitting<F>(forms: &'static [Form<F>], traits: &Traits) -> Vec<(&'static str, f64)> {
    forms.iter().filter(|form| (form.fits)(traits)).map(|form| (form.name, (form.cost)(traits))).collect()
}
