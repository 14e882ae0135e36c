//! `LinearAttention`: a state of outer products of keys and values, updated step by step and read by queries.
//!
//! <https://onnx.ai/onnx/operators/onnx__LinearAttention.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Dim, Fact, Facts, Inputs, NodeReader, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Tensor, checked_len};

use crate::heads::Heads;
use crate::numeric::{expect_shape, floats, from_f64};
use crate::recurrent::dot;
use crate::sample_data::{positive, ramp};

pub(crate) const OP: OpSpec = OpSpec {
    name: "LinearAttention",
    domain: "",
    since: 27,
    read: |node| Ok(Arc::new(LinearAttention::read(node)?)),
    samples: || {
        let heads = |sample: Sample| sample.with("q_num_heads", 2i64).with("kv_num_heads", 1i64).outputs(2);
        vec![
            heads(Sample::new([ramp(&[2, 3, 4]), ramp(&[2, 3, 2]), ramp(&[2, 3, 3])])).with("update_rule", "linear"),
            heads(Sample::new([
                ramp(&[1, 2, 4]),
                ramp(&[1, 2, 2]),
                ramp(&[1, 2, 2]),
                ramp(&[1, 1, 2, 2]),
                ramp(&[1, 2, 2]),
                positive(&[1, 2, 1]),
            ])),
        ]
    },
};

/// `LinearAttention`: inputs query, key, value `[n, seq, heads · size]`, state, decay, beta.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinearAttention {
    /// Heads of the queries.
    pub q_heads: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Factor of the output; 1 / √(size of a key) unless given.
    pub scale: Option<f32>,
    /// The state decays at each step.
    pub is_gated: bool,
    /// What the state already says of a key is taken off the value first.
    pub is_delta: bool,
}

impl LinearAttention {
    fn read(node: &NodeReader<'_>) -> Result<Self, OpError> {
        node.ignore(&["chunk_size"]); // a hint for speed
        let heads = |name| {
            let count = node.int(name)?.and_then(|count| usize::try_from(count).ok()).filter(|&count| count > 0);
            count.ok_or_else(|| OpError::attribute(name, "must be given and positive"))
        };
        let (is_gated, is_delta) = match node.string_or("update_rule", "gated_delta")?.as_str() {
            "linear" => (false, false),
            "gated" => (true, false),
            "delta" => (false, true),
            "gated_delta" => (true, true),
            other => return Err(OpError::attribute("update_rule", format!("unknown value `{other}`"))),
        };
        Ok(Self {
            q_heads: heads("q_num_heads")?,
            kv_heads: heads("kv_num_heads")?,
            scale: node.float("scale")?.filter(|&scale| scale != 0.0),
            is_gated,
            is_delta,
        })
    }
}

impl Op for LinearAttention {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let state_dtype = inputs.optional(3).map_or(inputs.dtype(0), |state| state.dtype);
        let (Some([n, seq, hidden]), Some([_, _, v_hidden])) = (inputs.shape(0), inputs.shape(2)) else {
            return Ok(vec![Fact::maybe(inputs.dtype(0), None), Fact::maybe(state_dtype, None)]);
        };
        let (q_heads, kv_heads) = (Dim::from(self.q_heads), Dim::from(self.kv_heads));
        let (Some(d_k), Some(d_v)) = (hidden.div(&q_heads), v_hidden.div(&kv_heads)) else { return Ok(Vec::new()) };
        let y = vec![n.clone(), seq.clone(), d_v.mul(&q_heads)];
        let state = vec![n.clone(), kv_heads, d_k, d_v];
        Ok(vec![Fact::maybe(inputs.dtype(0), Some(y)), Fact::maybe(state_dtype, Some(state))])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let dtype = inputs.required(0)?.dtype();
        let q = Heads::of(0, inputs.required(0)?, Some(self.q_heads))?;
        let k = Heads::of(1, inputs.required(1)?, Some(self.kv_heads))?;
        let v = Heads::of(2, inputs.required(2)?, Some(self.kv_heads))?;
        let fits = [k.batch, v.batch] == [q.batch; 2] && [k.seq, v.seq] == [q.seq; 2] && k.size == q.size;
        if !fits || !self.q_heads.is_multiple_of(self.kv_heads) {
            return Err(OpError::shape(1, &k.shape(), format!("does not fit queries {:?}", q.shape())));
        }
        let state_shape = [q.batch, self.kv_heads, k.size, v.size];
        let mut states = vec![0.0; checked_len(DType::F64, &state_shape)?];
        let mut state_dtype = dtype;
        if let Some(given) = inputs.optional(3) {
            expect_shape(3, given, &state_shape)?;
            states = floats(3, given)?;
            state_dtype = given.dtype();
        }
        let decay = if self.is_gated { Some(self.rates(inputs, 4, &k, true)?) } else { None };
        let beta = if self.is_delta { Some(self.rates(inputs, 5, &k, false)?) } else { None };
        let scale = self.scale.map_or(1.0 / (q.size as f64).sqrt(), f64::from);
        let out_shape = [q.batch, self.q_heads, q.seq, v.size];
        let mut out = vec![0.0; checked_len(DType::F64, &out_shape)?];
        let group = self.q_heads / self.kv_heads;
        let state_len = k.size * v.size;
        let n_states = if state_len == 0 { 0 } else { q.batch * self.kv_heads };
        for (index, state) in states.chunks_exact_mut(state_len.max(1)).take(n_states).enumerate() {
            let (item, head) = (index / self.kv_heads, index % self.kv_heads);
            for time in 0..q.seq {
                let key = &k.head(item, head)[time * k.size..][..k.size];
                let mut value = v.head(item, head)[time * v.size..][..v.size].to_vec();
                if let Some(decay) = &decay {
                    let rates = decay.of(item, time, head);
                    for (row, state) in state.chunks_exact_mut(v.size).enumerate() {
                        let rate = rates[row % rates.len()].exp();
                        state.iter_mut().for_each(|x| *x *= rate);
                    }
                }
                if let Some(beta) = &beta {
                    let rate = beta.of(item, time, head)[0];
                    for (column, value) in value.iter_mut().enumerate() {
                        let said: f64 = (0..k.size).map(|row| state[row * v.size + column] * key[row]).sum();
                        *value = rate * (*value - said);
                    }
                }
                for (row, state) in state.chunks_exact_mut(v.size).enumerate() {
                    state.iter_mut().zip(&value).for_each(|(x, value)| *x += key[row] * value);
                }
                for q_head in head * group..(head + 1) * group {
                    let query = &q.head(item, q_head)[time * q.size..][..q.size];
                    let out = &mut out[((item * self.q_heads + q_head) * q.seq + time) * v.size..][..v.size];
                    for (column, out) in out.iter_mut().enumerate() {
                        let seen: Vec<f64> = (0..k.size).map(|row| state[row * v.size + column]).collect();
                        *out = scale * dot(query, &seen);
                    }
                }
            }
        }
        let y = Heads { batch: q.batch, heads: self.q_heads, seq: q.seq, size: v.size, values: out };
        Ok(vec![y.packed(dtype)?, from_f64(state_dtype, state_shape.to_vec(), states)?])
    }
}

/// Numbers a step: `per_head` of them for each of `heads`.
struct Rates {
    values: Vec<f64>,
    seq: usize,
    heads: usize,
    per_head: usize,
}

impl Rates {
    fn of(&self, item: usize, time: usize, head: usize) -> &[f64] {
        let head = head % self.heads;
        &self.values[((item * self.seq + time) * self.heads + head) * self.per_head..][..self.per_head]
    }
}

impl LinearAttention {
    /// Input `index`, `[n, seq, …]`: one number a head, or (`per_key`) one for each element of a key, or else one for all
    /// heads.
    fn rates(&self, inputs: &Inputs<'_>, index: usize, k: &Heads, per_key: bool) -> Result<Rates, OpError> {
        let x = inputs.required(index)?;
        let (heads, per_head) = match *x.shape() {
            [n, seq, width] if (n, seq) == (k.batch, k.seq) && width == self.kv_heads => (width, 1),
            [n, seq, width] if (n, seq) == (k.batch, k.seq) && per_key && width == self.kv_heads * k.size => {
                (self.kv_heads, k.size)
            }
            [n, seq, 1] if (n, seq) == (k.batch, k.seq) && !per_key => (1, 1),
            _ => return Err(OpError::shape(index, x.shape(), format!("does not fit keys {:?}", k.shape()))),
        };
        Ok(Rates { values: floats(index, x)?, seq: k.seq, heads, per_head })
    }
}
