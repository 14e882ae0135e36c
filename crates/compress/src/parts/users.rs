//! Who else uses a weight: what changes for one layer changes for all of them.

use std::collections::BTreeSet;

use lissom_graph::{Graph, Layer, ValueId};

/// Why a layer's weight must stay as it is: something besides the weights of `changed` layers uses it, be it another
/// layer, any other node, a subgraph or the end of the network.
pub fn shared(graph: &Graph, changed: &[&Layer], weight: ValueId) -> Option<String> {
    let changed: BTreeSet<usize> =
        changed.iter().filter(|layer| layer.weight == weight).map(|layer| layer.node).collect();
    let uses = |index: usize| graph.nodes()[index].uses().filter(|&id| id == weight).count();
    let keeps = |&index: &usize| uses(index) > usize::from(changed.contains(&index));
    let node = (0..graph.nodes().len()).find(keeps).map(|index| graph.nodes()[index].name.as_str());
    let is_output = graph.outputs().contains(&weight);
    let user = node.or_else(|| is_output.then(|| graph.value(weight).name.as_str()))?;
    Some(format!("its weight is shared with `{user}`, which stays as it is"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lissom_graph::{Attributes, Dim, Fact, Patch};
    use lissom_ops::OPERATORS;
    use lissom_tensor::{DType, Tensor, Weight};

    fn product() -> (Graph, ValueId) {
        let mut graph = Graph::new("net");
        let x = graph.add_input("x", Fact::new(DType::F32, vec![Dim::from(1), Dim::from(1)]));
        let mut patch = Patch::new(&graph, 17);
        let weight = patch.constant("w", Weight::Dense(Tensor::new([1, 1], vec![1f32]).unwrap()));
        let y = patch.node(&OPERATORS, "MatMul", "fc", &[Some(x), Some(weight)], Attributes::new()).unwrap();
        graph.set_outputs(vec![y]);
        graph.apply(patch).unwrap();
        (graph, weight)
    }

    #[test]
    fn layers_captures_and_outputs_are_users() {
        let (mut graph, weight) = product();
        let layers = graph.layers();
        assert_eq!(shared(&graph, &[&layers[0]], weight), None);
        assert!(shared(&graph, &[], weight).unwrap().contains("`fc`"));
        let mut outputs = graph.outputs().to_vec();
        outputs.push(weight);
        graph.set_outputs(outputs);
        assert!(shared(&graph, &[&layers[0]], weight).unwrap().contains("`w`"));
        let mut user = graph.nodes()[0].clone();
        user.name = "if".to_owned();
        user.inputs.clear();
        user.captures = vec![weight];
        graph.push_node(user);
        assert!(shared(&graph, &[&layers[0]], weight).unwrap().contains("`if`"));
    }
}
