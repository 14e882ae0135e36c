//! Values in the form somebody needs, converted or made where they are not there yet.

use lissom_graph::ValueId;
use lissom_kernels::elementwise::Binary;
use lissom_tensor::Tensor;

use super::{Builder, Forms, Layout, Record, in_memory, is_same_bytes};
use crate::EngineError;
use crate::plan::step::{Elem, Grid, Inner, Kind, Source, Spread, StepInfo, Target};

impl Builder<'_, '_> {
    /// The value's numbers (f32, or the codes themselves if that is what the value is) in a layout.
    pub fn source(&mut self, id: ValueId, layout: Layout) -> Result<Source, EngineError> {
        let shape = self.shape(id)?;
        if self.network.is_constant(id) {
            return self.constant(id, &shape, layout);
        }
        let mut record =
            self.records[id.index()].clone().ok_or_else(|| self.internal(id, "is used before it is made"))?;
        if record.forms.is_empty() {
            record.forms = self.made(id, &record, &shape)?;
        }
        let elem = self.elem(id).ok_or_else(|| self.internal(id, "has no kernels for its type"))?;
        let source = self.converted(id, &mut record.forms, &shape, elem, layout)?;
        self.records[id.index()] = Some(record);
        Ok(source)
    }

    /// The codes of a value that is codes on a grid, in a layout.
    pub fn codes(&mut self, id: ValueId, layout: Layout) -> Result<Option<(Source, Grid)>, EngineError> {
        let shape = self.shape(id)?;
        let Some(mut record) = self.records[id.index()].clone() else { return Ok(None) };
        let Some((forms, grid)) = &mut record.codes else { return Ok(None) };
        let grid = *grid;
        let source = self.converted(id, forms, &shape, grid.elem, layout)?;
        self.records[id.index()] = Some(record);
        Ok(Some((source, grid)))
    }

    /// The grid, if the value is codes and nothing else yet.
    pub fn grid(&self, id: ValueId) -> Option<Grid> {
        let record = self.record(id)?;
        record.codes.as_ref().filter(|_| record.forms.is_empty()).map(|(_, grid)| *grid)
    }

    /// Makes a value that was put off.
    fn made(&mut self, id: ValueId, record: &Record, shape: &[usize]) -> Result<Forms, EngineError> {
        if let Some(pairs) = &record.pairs {
            return self.widened(id, pairs.clone());
        }
        let len = shape.iter().product();
        let name = self.network.graph.value(id).name.clone();
        let info = |op: &str, kernel| StepInfo { name: name.clone(), op: op.to_owned(), kernel, ..StepInfo::default() };
        if let Some((from, perm)) = &record.permuted {
            let from_shape = self.shape(*from)?;
            let elem = self.elem(*from).ok_or_else(|| self.internal(*from, "has no kernels for its type"))?;
            let source = self.source(*from, Layout::Plain)?;
            let kind = Kind::Permute { shape: from_shape, perm: perm.clone(), elem };
            let made = self.emit(info("Transpose", "permute"), kind, vec![source], len, elem);
            return Ok(Forms::at(Layout::Plain, made));
        }
        if let Some((forms, grid)) = &record.codes {
            let layout = forms.layout();
            let Some((source, grid)) = self.codes(id, layout)?.or(Some((Source::Slot(0), *grid))) else {
                return Err(self.internal(id, "has no codes"));
            };
            let kind = Kind::Dequantize { grid };
            let made = self.emit(info("DequantizeLinear", "dequantize"), kind, vec![source], len, Elem::F32);
            return Ok(Forms::at(layout, made));
        }
        if let Some((from, output)) = record.masked {
            let layout = self.layout(from);
            let inputs = vec![self.source(from, layout)?, self.source(output, layout)?];
            let spread = Spread { outer: Vec::new(), inner: Inner::Same { len } };
            let kind = Kind::Binary { op: Binary::ReluGrad, spread };
            let made = self.emit(info("ReluGrad", "elementwise"), kind, inputs, len, Elem::F32);
            return Ok(Forms::at(layout, made));
        }
        Err(self.internal(id, "was never made"))
    }

    /// The gradient and the output of the ReLU that the value is made from, if it is not made yet.
    pub fn relu_gradient(&self, id: ValueId) -> Option<(ValueId, ValueId)> {
        let put_off = self.record(id).filter(|record| record.forms.is_empty() && record.pairs.is_none());
        put_off.and_then(|record| record.masked)
    }

    /// One of the forms in the layout, converted if it must be.
    fn converted(
        &mut self,
        id: ValueId,
        forms: &mut Forms,
        shape: &[usize],
        elem: Elem,
        layout: Layout,
    ) -> Result<Source, EngineError> {
        let found = match layout {
            Layout::Plain => &forms.plain,
            Layout::Last => &forms.last,
        };
        if let Some(source) = found {
            return Ok(source.clone());
        }
        let (from, is_to_last) = match layout {
            Layout::Plain => (forms.last.clone(), false),
            Layout::Last => (forms.plain.clone(), true),
        };
        let from = from.ok_or_else(|| self.internal(id, "has an unknown shape"))?;
        let made = if is_same_bytes(shape) {
            from
        } else {
            let (n, channels, pixels) = (shape[0], shape[1], shape[2..].iter().product());
            let size = if is_to_last { [n, channels, pixels] } else { [n, pixels, channels] };
            let name = self.network.graph.value(id).name.clone();
            let op = if is_to_last { "to channels last" } else { "to channels first" };
            let info = StepInfo { name, op: op.to_owned(), kernel: "transpose", ..StepInfo::default() };
            self.emit(info, Kind::Transpose { size, elem }, vec![from], n * channels * pixels, elem)
        };
        match layout {
            Layout::Plain => forms.plain = Some(made.clone()),
            Layout::Last => forms.last = Some(made.clone()),
        }
        Ok(made)
    }

    fn constant(&mut self, id: ValueId, shape: &[usize], layout: Layout) -> Result<Source, EngineError> {
        let tensor = self.network.constant(id).ok_or_else(|| self.internal(id, "cannot be decoded"))?;
        if layout == Layout::Plain || is_same_bytes(shape) {
            return Ok(Source::Constant(tensor));
        }
        let values = tensor.as_slice::<f32>().map_err(|_| self.internal(id, "is no f32 constant"))?;
        let (n, channels, pixels) = (shape[0], shape[1], shape[2..].iter().product::<usize>());
        let mut moved = vec![0.0; values.len()];
        lissom_kernels::permute::transpose(
            &lissom_kernels::Threads::single(),
            values,
            [n, channels, pixels],
            &mut moved,
        )
        .map_err(|_| self.internal(id, "has another length than its shape"))?;
        let tensor = Tensor::new(in_memory(shape, layout), moved).map_err(|_| self.internal(id, "is too large"))?;
        Ok(Source::Constant(tensor))
    }

    /// The value as a tensor, for nodes that evaluate themselves and for outputs.
    pub(super) fn tensor(&mut self, id: ValueId) -> Result<Source, EngineError> {
        if self.network.is_constant(id)
            && let Some(tensor) = self.network.constant(id)
        {
            return Ok(Source::Constant(tensor));
        }
        if let Some(Record { forms: Forms { tensor: Some(source), .. }, .. }) = self.record(id) {
            return Ok(source.clone());
        }
        let elem = self.elem(id).ok_or_else(|| self.internal(id, "has no kernels for its type"))?;
        let source = self.source(id, Layout::Plain)?;
        let slot = self.slot();
        let name = self.network.graph.value(id).name.clone();
        let info = StepInfo { name, op: "copy out".to_owned(), kernel: "copy", ..StepInfo::default() };
        let kind = Kind::Store { shape: self.shape(id)?, elem };
        self.push(info, kind, vec![source], Target::Slots(vec![Some(slot)]));
        if let Some(record) = &mut self.records[id.index()] {
            record.forms.tensor = Some(Source::Slot(slot));
        }
        Ok(Source::Slot(slot))
    }
}
