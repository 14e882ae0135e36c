//! Formulas over values of a graph, which become nodes: what vector-Jacobian products are written in.
//!
//! A formula is a tree whose clones are one part: it becomes one node however often it is used.

use std::collections::HashMap;
use std::ops::{Add, Div, Mul, Neg, Sub};
use std::rc::Rc;
use std::sync::Arc;

use lissom_graph::{Attribute, Attributes, Fact, Facts, Inputs, NoGradient, Op, ValueId, Vjp};
use lissom_tensor::{DType, Tensor, Weight};

use crate::numeric::from_f64;

/// ONNX Runtime's domain.
const MICROSOFT: &str = "com.microsoft";

/// A formula.
#[derive(Debug, Clone)]
pub(crate) struct Expr {
    kind: Rc<Kind>,
    /// Which output of a node.
    output: usize,
}

#[derive(Debug)]
enum Kind {
    Value(ValueId),
    /// A scalar of the type that is differentiated.
    Number(f64),
    Constant(Tensor),
    Node {
        domain: &'static str,
        op_type: &'static str,
        inputs: Vec<Option<Expr>>,
        attributes: Attributes,
        n_outputs: usize,
        /// A list of integers that is the last input from an opset on, and before it an attribute of this name.
        list: Option<(&'static str, Vec<i64>, u32)>,
    },
}

impl From<ValueId> for Expr {
    fn from(value: ValueId) -> Self {
        Self::new(Kind::Value(value))
    }
}

impl From<f64> for Expr {
    fn from(number: f64) -> Self {
        Self::new(Kind::Number(number))
    }
}

impl Expr {
    fn new(kind: Kind) -> Self {
        Self { kind: Rc::new(kind), output: 0 }
    }

    /// A constant vector of integers.
    pub fn ints(values: impl Into<Vec<i64>>) -> Self {
        Self::tensor(Tensor::vector(values.into()))
    }

    /// A constant integer.
    pub fn int(value: i64) -> Self {
        Self::tensor(Tensor::scalar(value))
    }

    /// A constant.
    pub fn tensor(tensor: Tensor) -> Self {
        Self::new(Kind::Constant(tensor))
    }

    /// All outputs of a node of ONNX's own domain.
    pub fn outputs(
        op_type: &'static str,
        inputs: Vec<Option<Self>>,
        attributes: Attributes,
        n_outputs: usize,
    ) -> Vec<Self> {
        Self::outputs_of("", op_type, inputs, attributes, n_outputs)
    }

    /// All outputs of a node of ONNX Runtime's domain.
    pub fn microsoft_outputs(
        op_type: &'static str,
        inputs: Vec<Option<Self>>,
        attributes: Attributes,
        n_outputs: usize,
    ) -> Vec<Self> {
        Self::outputs_of(MICROSOFT, op_type, inputs, attributes, n_outputs)
    }

    /// All outputs of a node of any domain.
    pub fn outputs_of(
        domain: &'static str,
        op_type: &'static str,
        inputs: Vec<Option<Self>>,
        attributes: Attributes,
        n_outputs: usize,
    ) -> Vec<Self> {
        let kind = Rc::new(Kind::Node { domain, op_type, inputs, attributes, n_outputs, list: None });
        (0..n_outputs).map(|output| Self { kind: Rc::clone(&kind), output }).collect()
    }

    fn single(
        domain: &'static str,
        op_type: &'static str,
        inputs: Vec<Option<Self>>,
        attributes: Attributes,
        list: Option<(&'static str, Vec<i64>, u32)>,
    ) -> Self {
        Self::new(Kind::Node { domain, op_type, inputs, attributes, n_outputs: 1, list })
    }

    /// The output of a node of ONNX's own domain.
    pub fn of<const N: usize>(op_type: &'static str, inputs: [Self; N]) -> Self {
        Self::single("", op_type, inputs.into_iter().map(Some).collect(), Attributes::new(), None)
    }

    /// The output of a node of ONNX Runtime's domain.
    pub fn microsoft<const N: usize>(op_type: &'static str, inputs: [Self; N]) -> Self {
        Self::single(MICROSOFT, op_type, inputs.into_iter().map(Some).collect(), Attributes::new(), None)
    }

    /// The output of a node, inputs left out included.
    pub fn optional(domain: &'static str, op_type: &'static str, inputs: Vec<Option<Self>>) -> Self {
        Self::single(domain, op_type, inputs, Attributes::new(), None)
    }

    /// The same node with an attribute.
    pub fn with(self, name: &'static str, value: impl Into<Attribute>) -> Self {
        match &*self.kind {
            Kind::Node { domain, op_type, inputs, attributes, list, .. } => {
                let attributes = attributes.clone().with(name, value);
                Self::single(domain, op_type, inputs.clone(), attributes, list.clone())
            }
            _ => self,
        }
    }

    /// A function of this alone.
    pub fn apply(self, op_type: &'static str) -> Self {
        Self::of(op_type, [self])
    }

    /// A reduction over axes, which keep length 1 or go. `ReduceSum` has axes as an input since opset 13, others since 18.
    pub fn reduce(self, op_type: &'static str, axes: impl Into<Vec<i64>>, keepdims: bool) -> Self {
        let axes = axes.into();
        // No axes would mean all.
        if axes.is_empty() {
            return self;
        }
        let since = if op_type == "ReduceSum" { 13 } else { 18 };
        let attributes = Attributes::new().with("keepdims", i64::from(keepdims));
        Self::single("", op_type, vec![Some(self)], attributes, Some(("axes", axes, since)))
    }

    /// The sum over axes, which keep length 1 or go.
    pub fn sum(self, axes: impl Into<Vec<i64>>, keepdims: bool) -> Self {
        self.reduce("ReduceSum", axes, keepdims)
    }

    /// Axes of length 1 put in, counted in the result.
    pub fn unsqueeze(self, axes: impl Into<Vec<i64>>) -> Self {
        let axes = axes.into();
        if axes.is_empty() {
            return self;
        }
        Self::single("", "Unsqueeze", vec![Some(self)], Attributes::new(), Some(("axes", axes, 13)))
    }

    /// Axes of length 1 taken away.
    pub fn squeeze(self, axes: impl Into<Vec<i64>>) -> Self {
        let axes = axes.into();
        if axes.is_empty() {
            return self;
        }
        Self::single("", "Squeeze", vec![Some(self)], Attributes::new(), Some(("axes", axes, 13)))
    }

    /// Parts of these lengths along an axis.
    pub fn split(self, axis: i64, lengths: Vec<i64>) -> Vec<Self> {
        let n_outputs = lengths.len();
        let kind = Rc::new(Kind::Node {
            domain: "",
            op_type: "Split",
            inputs: vec![Some(self)],
            attributes: Attributes::new().with("axis", axis),
            n_outputs,
            list: Some(("split", lengths, 13)),
        });
        (0..n_outputs).map(|output| Self { kind: Rc::clone(&kind), output }).collect()
    }

    /// All of these along an axis.
    pub fn concat(parts: Vec<Self>, axis: i64) -> Self {
        let inputs = parts.into_iter().map(Some).collect();
        Self::single("", "Concat", inputs, Attributes::new().with("axis", axis), None)
    }

    /// The sum of all elements, without axes.
    pub fn total(self) -> Self {
        self.apply("ReduceSum").with("keepdims", 0i64)
    }

    /// The length of an axis.
    pub fn length(&self, axis: i64) -> Self {
        Self::of("Gather", [self.shape(), Self::int(axis)])
    }

    /// 0, 1, … up to a number.
    pub fn range(count: Self) -> Self {
        Self::of("Range", [Self::int(0), count, Self::int(1)])
    }

    /// One number for each channel, which is axis 1 of `rank`, as a tensor that broadcasts to all axes.
    pub fn on_channels(self, rank: usize) -> Self {
        self.unsqueeze((0..rank as i64).filter(|&axis| axis != 1).collect::<Vec<_>>())
    }

    /// The lengths of the axes.
    pub fn shape(&self) -> Self {
        self.clone().apply("Shape")
    }

    /// The elements under another shape, which is a vector of integers.
    pub fn reshape(self, shape: Self) -> Self {
        Self::of("Reshape", [self, shape])
    }

    /// The elements under the shape of another value of as many elements, an empty one included.
    pub fn reshape_like(self, other: &Self) -> Self {
        Self::of("Reshape", [self, other.shape()]).with("allowzero", 1i64)
    }

    /// Broadcast to the shape of another value.
    pub fn expand_like(self, other: &Self) -> Self {
        Self::of("Expand", [self, other.shape()])
    }

    /// Axes in another order.
    pub fn transpose(self, order: impl Into<Vec<i64>>) -> Self {
        Self::of("Transpose", [self]).with("perm", order.into())
    }

    /// Another element type.
    pub fn cast(self, to: DType) -> Self {
        self.apply("Cast").with("to", i64::from(to.to_onnx().unwrap_or(0)))
    }

    /// This where `condition` holds, else `other`.
    pub fn when(self, condition: &Self, other: impl Into<Self>) -> Self {
        Self::of("Where", [condition.clone(), self, other.into()])
    }

    /// Whether this is larger.
    pub fn greater(&self, other: impl Into<Self>) -> Self {
        Self::of("Greater", [self.clone(), other.into()])
    }

    /// Whether this is smaller.
    pub fn less(&self, other: impl Into<Self>) -> Self {
        Self::of("Less", [self.clone(), other.into()])
    }

    /// Whether both are the same.
    pub fn equal(&self, other: impl Into<Self>) -> Self {
        Self::of("Equal", [self.clone(), other.into()])
    }

    /// This times itself.
    pub fn squared(&self) -> Self {
        self.clone() * self.clone()
    }
}

macro_rules! arithmetic {
    ($($trait:ident $method:ident)*) => {$(
        impl<T: Into<Expr>> $trait<T> for Expr {
            type Output = Self;
            fn $method(self, other: T) -> Self {
                Self::of(stringify!($trait), [self, other.into()])
            }
        }
        impl $trait<Expr> for f64 {
            type Output = Expr;
            fn $method(self, other: Expr) -> Expr {
                Expr::of(stringify!($trait), [self.into(), other])
            }
        }
    )*};
}

arithmetic!(Add add Sub sub Mul mul Div div);

impl Neg for Expr {
    type Output = Self;
    fn neg(self) -> Self {
        self.apply("Neg")
    }
}

/// A node that was made, with what its own vector-Jacobian product wants.
#[derive(Debug)]
pub(crate) struct Step {
    pub op: Arc<dyn Op>,
    pub inputs: Vec<Option<ValueId>>,
    pub outputs: Vec<ValueId>,
}

/// Turns formulas into nodes of a patch.
#[derive(Debug)]
pub(crate) struct Emitter<'a, 'v> {
    pub vjp: &'a mut Vjp<'v>,
    /// Type of the numbers in formulas.
    dtype: Option<DType>,
    /// Outputs of the parts that were met; the part is kept so that its address stays its own.
    done: HashMap<*const Kind, (Rc<Kind>, Vec<ValueId>)>,
    /// The nodes that were made, in order.
    pub steps: Vec<Step>,
    /// What is known of the values.
    pub facts: HashMap<ValueId, Fact>,
}

impl<'a, 'v> Emitter<'a, 'v> {
    pub fn new(vjp: &'a mut Vjp<'v>) -> Self {
        let given = vjp.inputs.iter().enumerate();
        let facts: HashMap<ValueId, Fact> =
            given.filter_map(|(index, id)| Some(((*id)?, vjp.facts.optional(index)?.clone()))).collect();
        let dtype = (0..vjp.facts.len()).filter_map(|index| vjp.facts.dtype(index)).find(|dtype| dtype.is_float());
        Self { vjp, dtype, done: HashMap::new(), steps: Vec::new(), facts }
    }

    /// The value of a formula.
    ///
    /// # Errors
    /// [`NoGradient`] if the opset at hand has no such operator.
    pub fn emit(&mut self, expr: &Expr) -> Result<ValueId, NoGradient> {
        if let Some((_, values)) = self.done.get(&Rc::as_ptr(&expr.kind)) {
            return values.get(expr.output).copied().ok_or(NoGradient);
        }
        let values = match &*expr.kind {
            Kind::Value(value) => vec![*value],
            Kind::Number(number) => {
                let tensor = from_f64(self.dtype.ok_or(NoGradient)?, Vec::new(), vec![*number]);
                vec![self.constant(tensor.map_err(|_| NoGradient)?)]
            }
            Kind::Constant(tensor) => vec![self.constant(tensor.clone())],
            Kind::Node { domain, op_type, inputs, attributes, n_outputs, list } => {
                let mut ids = Vec::with_capacity(inputs.len() + 1);
                for input in inputs {
                    ids.push(input.as_ref().map(|input| self.emit(input)).transpose()?);
                }
                let mut attributes = attributes.clone();
                // It came in opset 14; before, a length of zero could not be asked for.
                if self.vjp.patch.opset() < 14 {
                    attributes.remove("allowzero");
                }
                match list {
                    Some((name, list, since)) if self.vjp.patch.opset() < *since => {
                        attributes.set(*name, list.clone());
                    }
                    Some((_, list, _)) => ids.push(Some(self.constant(Tensor::vector(list.clone())))),
                    None => {}
                }
                self.node((domain, op_type), ids, attributes, *n_outputs)?
            }
        };
        let value = values.get(expr.output).copied().ok_or(NoGradient)?;
        self.done.insert(Rc::as_ptr(&expr.kind), (Rc::clone(&expr.kind), values));
        Ok(value)
    }

    fn constant(&mut self, tensor: Tensor) -> ValueId {
        let fact = Fact::constant(&tensor);
        let id = self.vjp.patch.constant("gradient_constant", Weight::Dense(tensor));
        self.facts.insert(id, fact);
        id
    }

    fn node(
        &mut self,
        operator: (&str, &str),
        inputs: Vec<Option<ValueId>>,
        attributes: Attributes,
        n_outputs: usize,
    ) -> Result<Vec<ValueId>, NoGradient> {
        let name = format!("gradient_{}", operator.1.to_lowercase());
        let outputs: Vec<ValueId> =
            (0..n_outputs).map(|_| self.vjp.patch.value(&format!("{name}_out"), Fact::unknown())).collect();
        let slots: Vec<Option<ValueId>> = outputs.iter().copied().map(Some).collect();
        self.vjp
            .patch
            .node_of(self.vjp.operators, operator, &name, &inputs, attributes, &slots)
            .map_err(|_| NoGradient)?;
        let op = Arc::clone(&self.vjp.patch.last_node().ok_or(NoGradient)?.op);
        let known: Vec<Option<&Fact>> = inputs.iter().map(|id| self.facts.get(&(*id)?)).collect();
        let mut inferred = op.infer(&Facts(&known)).unwrap_or_default();
        if let Some(values) = computed(&*op, &known, &inferred) {
            inferred = values.iter().map(Fact::constant).collect();
        }
        self.facts.extend(outputs.iter().copied().zip(inferred));
        self.steps.push(Step { op, inputs, outputs: outputs.clone() });
        Ok(outputs)
    }
}

/// Elements of values that are computed while differentiating: shape arithmetic.
const MAX_COMPUTED_LEN: usize = 64;

/// The outputs, if the inputs are known entirely and all is small.
fn computed(op: &dyn Op, inputs: &[Option<&Fact>], outputs: &[Fact]) -> Option<Vec<Tensor>> {
    let is_small =
        |shape: &[usize]| shape.iter().try_fold(1usize, |len, &n| len.checked_mul(n)) <= Some(MAX_COMPUTED_LEN);
    let small = |fact: &Fact| fact.known_shape().is_some_and(|shape| is_small(&shape));
    if outputs.is_empty() || !outputs.iter().all(small) {
        return None;
    }
    let tensors: Vec<Option<&Tensor>> =
        inputs.iter().map(|fact| fact.map_or(Some(None), |fact| fact.tensor().map(Some))).collect::<Option<_>>()?;
    op.evaluate(&Inputs(&tensors)).ok()
}
