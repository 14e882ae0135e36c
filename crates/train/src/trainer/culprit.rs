//! Finding where numbers stop being finite.

use lissom_engine::{Session, SessionOptions};
use lissom_graph::Model;
use lissom_tensor::Tensor;

use super::Trainer;
use crate::{Culprit, Named, TrainError};

impl Trainer {
    /// The first value of the forward part that is not finite.
    pub(super) fn culprit(&self, given: &Named) -> Result<Culprit, TrainError> {
        let is_broken = |tensor: &Tensor| {
            tensor.dtype().is_float() && tensor.to_f64_vec().is_ok_and(|values| values.iter().any(|x| !x.is_finite()))
        };
        if let Some((name, _)) = given.iter().find(|(_, tensor)| is_broken(tensor)) {
            return Ok(Culprit::Input { name: name.clone() });
        }
        if let Some((name, _)) = self.front.iter().find(|(_, tensor)| is_broken(tensor)) {
            return Ok(Culprit::Parameter { name: name.clone() });
        }
        let forward = &self.forward;
        let made =
            forward.graph.nodes().iter().flat_map(|node| node.outputs.iter().flatten().map(move |id| (node, *id)));
        let made: Vec<_> = made.filter(|(_, id)| !forward.graph.outputs().contains(id)).collect();
        let model = Model::new(forward.graph.clone(), forward.operators, forward.opset);
        let observe = made.iter().map(|(_, id)| *id).collect();
        let session = Session::new(&model, &SessionOptions { observe, ..SessionOptions::default() })?;
        let mut inputs: Vec<(&str, &Tensor)> = Vec::new();
        for input in session.inputs() {
            let tensor = given.get(&input.name).or_else(|| self.front.get(&input.name));
            let tensor = tensor.ok_or_else(|| TrainError::MissingInput { name: input.name.clone() })?;
            inputs.push((&input.name, tensor));
        }
        let outputs = session.run(&inputs)?;
        let observed = &outputs[outputs.len() - made.len()..];
        let broken = made.iter().zip(observed).find(|(_, tensor)| is_broken(tensor));
        Ok(match broken {
            Some(((node, id), _)) => {
                Culprit::Node { node: node.name.clone(), op: node.op_type.clone(), value: forward.name(*id).to_owned() }
            }
            None => Culprit::Nothing,
        })
    }
}
