//! Writing arithmetic as nodes.

use std::collections::HashMap;

use lissom_graph::{Attributes, OpError, Operators, Patch, ValueId};
use lissom_tensor::{DType, Tensor, TensorError, Weight};

/// The opset new nodes of a training step are written in, unless the model is newer: from 18 on every reduction takes its
/// axes as an input.
pub(crate) const OPSET: u32 = 20;

/// Adds nodes to a patch; every float is of one type.
#[derive(Debug)]
pub struct Nodes<'a> {
    /// Where the nodes go.
    pub patch: &'a mut Patch,
    /// The operators there are.
    pub operators: &'a Operators,
    /// Type of all floats.
    pub dtype: DType,
    /// Numbers that are constants already, by their bits.
    numbers: HashMap<u64, ValueId>,
}

/// Numbers as a tensor of a float type.
///
/// # Errors
/// [`TensorError`] if the type is neither f32 nor f64, or the shape does not fit.
pub fn floats(dtype: DType, shape: &[usize], values: &[f64]) -> Result<Tensor, TensorError> {
    match dtype {
        DType::F32 => Tensor::new(shape, values.iter().map(|&value| value as f32).collect()),
        DType::F64 => Tensor::new(shape, values.to_vec()),
        actual => Err(TensorError::TypeMismatch { expected: DType::F32, actual }),
    }
}

macro_rules! of_two {
    ($($(#[$doc:meta])* $name:ident: $op:literal;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// As [`node`](Self::node).
        pub fn $name(&mut self, a: ValueId, b: ValueId) -> Result<ValueId, OpError> {
            self.node($op, &[a, b], Attributes::new())
        }
    )*};
}

macro_rules! of_one {
    ($($(#[$doc:meta])* $name:ident: $op:literal;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// As [`node`](Self::node).
        pub fn $name(&mut self, x: ValueId) -> Result<ValueId, OpError> {
            self.node($op, &[x], Attributes::new())
        }
    )*};
}

impl<'a> Nodes<'a> {
    /// Nodes for `patch`, with floats of this type.
    pub fn new(patch: &'a mut Patch, operators: &'a Operators, dtype: DType) -> Self {
        Self { patch, operators, dtype, numbers: HashMap::new() }
    }

    /// A node of one output.
    ///
    /// # Errors
    /// [`OpError`] if the operator does not exist or refuses the attributes.
    pub fn node(&mut self, op_type: &str, inputs: &[ValueId], attributes: Attributes) -> Result<ValueId, OpError> {
        let inputs: Vec<Option<ValueId>> = inputs.iter().copied().map(Some).collect();
        let name = format!("train_{}", op_type.to_lowercase());
        self.patch.node(self.operators, op_type, &name, &inputs, attributes)
    }

    /// A number as a constant without axes.
    ///
    /// # Errors
    /// [`OpError`] if the type has no such constants.
    pub fn number(&mut self, value: f64) -> Result<ValueId, OpError> {
        if let Some(&number) = self.numbers.get(&value.to_bits()) {
            return Ok(number);
        }
        let tensor = floats(self.dtype, &[], &[value])?;
        let number = self.patch.constant("train_number", Weight::Dense(tensor));
        self.numbers.insert(value.to_bits(), number);
        Ok(number)
    }

    /// Integers as a constant vector.
    pub fn integers(&mut self, values: &[i64]) -> ValueId {
        self.patch.constant("train_integers", Weight::Dense(Tensor::vector(values.to_vec())))
    }

    of_two! {
        /// a + b.
        add: "Add";
        /// a − b.
        sub: "Sub";
        /// a · b.
        mul: "Mul";
        /// a / b.
        div: "Div";
        /// a > b.
        greater: "Greater";
        /// a and b.
        and: "And";
    }

    of_one! {
        /// √x.
        sqrt: "Sqrt";
        /// −1, 0 or 1.
        sign: "Sign";
        /// |x|.
        abs: "Abs";
    }

    /// x · number.
    ///
    /// # Errors
    /// As [`node`](Self::node).
    pub fn scaled(&mut self, x: ValueId, factor: f64) -> Result<ValueId, OpError> {
        if factor == 1.0 {
            return Ok(x);
        }
        let factor = self.number(factor)?;
        self.mul(x, factor)
    }

    /// x + number.
    ///
    /// # Errors
    /// As [`node`](Self::node).
    pub fn shifted(&mut self, x: ValueId, by: f64) -> Result<ValueId, OpError> {
        let by = self.number(by)?;
        self.add(x, by)
    }

    /// The sum of all, in order; `None` of none.
    ///
    /// # Errors
    /// As [`node`](Self::node).
    pub fn total(&mut self, values: &[ValueId]) -> Result<Option<ValueId>, OpError> {
        let mut values = values.iter().copied();
        let Some(mut total) = values.next() else { return Ok(None) };
        for value in values {
            total = self.add(total, value)?;
        }
        Ok(Some(total))
    }

    /// A reduction (`ReduceSum`, `ReduceMean`, …) over these axes, which stay with length 1 if `keeps`; over all axes if none
    /// are named.
    ///
    /// # Errors
    /// As [`node`](Self::node).
    pub fn reduce(&mut self, op_type: &str, x: ValueId, axes: &[i64], keeps: bool) -> Result<ValueId, OpError> {
        let attributes = Attributes::new().with("keepdims", i64::from(keeps));
        if axes.is_empty() {
            return self.node(op_type, &[x], attributes);
        }
        let axes = self.integers(axes);
        self.node(op_type, &[x, axes], attributes)
    }

    /// Σ x², without axes.
    ///
    /// # Errors
    /// As [`node`](Self::node).
    pub fn sum_of_squares(&mut self, x: ValueId) -> Result<ValueId, OpError> {
        self.reduce("ReduceSumSquare", x, &[], false)
    }

    /// ‖x‖₂ of a whole tensor, without axes.
    ///
    /// # Errors
    /// As [`node`](Self::node).
    pub fn norm(&mut self, x: ValueId) -> Result<ValueId, OpError> {
        let squares = self.sum_of_squares(x)?;
        self.sqrt(squares)
    }

    /// ‖x‖₂ of several tensors as if they were one; 0 of none.
    ///
    /// # Errors
    /// As [`node`](Self::node).
    pub fn global_norm(&mut self, values: &[ValueId]) -> Result<ValueId, OpError> {
        let squares: Vec<ValueId> = values.iter().map(|&value| self.sum_of_squares(value)).collect::<Result<_, _>>()?;
        match self.total(&squares)? {
            Some(total) => self.sqrt(total),
            None => self.number(0.0),
        }
    }
}
