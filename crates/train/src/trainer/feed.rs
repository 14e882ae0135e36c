//! What a step is fed beside the batch: random numbers and numbers that change from step to step.

use std::collections::BTreeMap;

use lissom_graph::{Fact, ValueId, infer_with_inputs};
use lissom_tensor::Tensor;

use super::Trainer;
use crate::random::Stream;
use crate::{Named, TrainError};

impl Trainer {
    /// Masks of dropout and noise of gradients, of this step.
    pub(super) fn add_random(&self, given: &mut Named) -> Result<(), TrainError> {
        let (dropped, noise) = (&self.passes.gradient().step.dropped, &self.passes.update().step.noise);
        let mut number = 0;
        let mut stream = || {
            number += 1;
            Stream::new(self.options.seed, self.done, number)
        };
        if !dropped.is_empty() {
            let shapes = self.shapes(given)?;
            for (name, dropped) in dropped {
                let (stream, kept) = (stream(), (1.0 / (1.0 - dropped.ratio)) as f32);
                let shape = shapes.get(&dropped.like).cloned().unwrap_or_default();
                let len: usize = shape.iter().product();
                let keep = |i: u64| if stream.uniform(i) < dropped.ratio { 0.0 } else { kept };
                given.insert(name.clone(), Tensor::new(shape, (0..len as u64).map(keep).collect::<Vec<f32>>())?);
            }
        }
        for (name, shape) in noise {
            let (stream, len) = (stream(), shape.iter().product::<usize>() as u64);
            let normal = (0..len).map(|i| stream.normal(i) as f32).collect::<Vec<f32>>();
            given.insert(name.clone(), Tensor::new(shape.clone(), normal)?);
        }
        Ok(())
    }

    /// Shapes of the values dropout works on, for a batch.
    fn shapes(&self, given: &Named) -> Result<BTreeMap<ValueId, Vec<usize>>, TrainError> {
        let graph = &self.original.graph;
        let facts: Vec<Fact> = graph
            .inputs()
            .iter()
            .map(|&id| match given.get(&graph.value(id).name) {
                Some(tensor) => Fact::known(tensor.dtype(), tensor.shape()),
                None => graph.value(id).fact.clone(),
            })
            .collect();
        let facts = infer_with_inputs(graph, &facts)?;
        let mut shapes = BTreeMap::new();
        for dropped in &self.forward.random {
            let name = || self.forward.name(dropped.like).to_owned();
            let fact = &facts[dropped.like.index()];
            let refused = || TrainError::BatchShape { name: name(), reason: format!("it is {fact} for this batch") };
            shapes.insert(dropped.like, fact.known_shape().ok_or_else(refused)?);
        }
        Ok(shapes)
    }

    /// The numbers of this step; gives back the learning rate.
    pub(super) fn add_scalars(&self, given: &mut Named) -> Result<f64, TrainError> {
        let runner = self.passes.update();
        let step = self.done + 1;
        let options = &self.options;
        let rate = options.optimizer.learning_rate() * options.schedule.share(self.done, options.total_steps);
        let mut values = options.optimizer.values(step, rate);
        values.extend(options.noise.map(|eta| (eta / (step as f64).powf(0.55)).sqrt()));
        values.extend(options.average.map(|decay| decay.min((1 + step) as f64 / (10 + step) as f64)));
        for (name, value) in runner.step.scalars.iter().zip(values) {
            given.insert(name.clone(), Tensor::scalar(value as f32));
        }
        Ok(rate)
    }
}
