//! Tables of embeddings: the bulk of a small language model.
//!
//! One scale per column: measured on a sentence encoder, the squared error is a fifteenth of that of one scale for the
//! table; a scale per row would halve it again and cost four bytes a row and two more nodes.

use lissom_graph::{Attribute, Graph, ValueId};
use lissom_tensor::{Affine, DType};

use crate::MethodError;
use crate::parts::quantizer::{Codes, Sharing, WeightGrid};

/// Tables below this many elements are not worth a node more.
const MIN_LEN: usize = 4096;

/// A lookup in a constant table.
#[derive(Debug, Clone)]
pub(in crate::methods) struct Table {
    /// Name of the node.
    pub(in crate::methods) name: String,
    /// Position of the node.
    pub(in crate::methods) node: usize,
    /// The table `[rows, columns]`.
    pub(in crate::methods) table: ValueId,
}

/// The lookups in tables that nothing else uses.
pub(in crate::methods) fn tables(graph: &Graph) -> Result<Vec<Table>, MethodError> {
    let uses = graph.use_counts();
    let mut tables = Vec::new();
    for (index, node) in graph.nodes().iter().enumerate() {
        let axis = node.attributes.get("axis");
        let is_lookup = node.op_type == "Gather"
            && node.domain.is_empty()
            && axis.is_none_or(|axis| matches!(axis, Attribute::Int(0)));
        let Some(id) = node.inputs.first().copied().flatten().filter(|_| is_lookup) else { continue };
        let Some(tensor) = graph.dense_constant(id) else { continue };
        if tensor.dtype() != DType::F32 || tensor.rank() != 2 || tensor.len() < MIN_LEN || uses[id.index()] != 1 {
            continue;
        }
        if tensor.as_slice::<f32>()?.iter().any(|x| !x.is_finite()) {
            return Err(MethodError::NotFinite { layer: node.name.clone(), what: "NaN or infinity" });
        }
        tables.push(Table { name: node.name.clone(), node: index, table: id });
    }
    Ok(tables)
}

/// The table in 8-bit codes, with a scale for each column if the opset can say that.
pub(in crate::methods) fn encode(graph: &Graph, table: &Table, opset: u32) -> Result<Option<Affine>, MethodError> {
    let Some(tensor) = graph.dense_constant(table.table) else { return Ok(None) };
    let sharing = if opset >= 13 { Sharing::Channel(1) } else { Sharing::Tensor };
    let grid = WeightGrid { codes: Codes::signed(8), sharing, clips: false };
    Ok(Some(grid.quantize(tensor.shape(), tensor.as_slice()?, &[])?))
}
