//! Every tensor a model holds, wherever it is: initializers, attributes, subgraphs, functions, training graphs.

use crate::messages::{AttributeProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto};

/// Calls `visit` for every tensor of `model`, in file order, until one fails.
pub(crate) fn for_each_tensor<E>(
    model: &mut ModelProto,
    visit: &mut dyn FnMut(&mut TensorProto) -> Result<(), E>,
) -> Result<(), E> {
    if let Some(graph) = &mut model.graph {
        in_graph(graph, visit)?;
    }
    for training in &mut model.training_info {
        for graph in training.initialization.iter_mut().chain(&mut training.algorithm) {
            in_graph(graph, visit)?;
        }
    }
    for function in &mut model.functions {
        in_attributes(&mut function.attribute_proto, visit)?;
        in_nodes(&mut function.node, visit)?;
    }
    Ok(())
}

type Visit<'a, E> = &'a mut dyn FnMut(&mut TensorProto) -> Result<(), E>;

fn in_graph<E>(graph: &mut GraphProto, visit: Visit<'_, E>) -> Result<(), E> {
    in_nodes(&mut graph.node, visit)?;
    graph.initializer.iter_mut().try_for_each(&mut *visit)?;
    graph.sparse_initializer.iter_mut().try_for_each(|sparse| in_sparse(sparse, visit))
}

fn in_nodes<E>(nodes: &mut [NodeProto], visit: Visit<'_, E>) -> Result<(), E> {
    nodes.iter_mut().try_for_each(|node| in_attributes(&mut node.attribute, visit))
}

fn in_attributes<E>(attributes: &mut [AttributeProto], visit: Visit<'_, E>) -> Result<(), E> {
    for attribute in attributes {
        if let Some(tensor) = &mut attribute.t {
            visit(tensor)?;
        }
        attribute.tensors.iter_mut().try_for_each(&mut *visit)?;
        if let Some(sparse) = &mut attribute.sparse_tensor {
            in_sparse(sparse, visit)?;
        }
        for sparse in &mut attribute.sparse_tensors {
            in_sparse(sparse, visit)?;
        }
        if let Some(graph) = &mut attribute.g {
            in_graph(graph, visit)?;
        }
        for graph in &mut attribute.graphs {
            in_graph(graph, visit)?;
        }
    }
    Ok(())
}

fn in_sparse<E>(sparse: &mut SparseTensorProto, visit: Visit<'_, E>) -> Result<(), E> {
    sparse.values.iter_mut().chain(&mut sparse.indices).try_for_each(visit)
}
