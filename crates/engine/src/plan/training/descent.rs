//! Gradient descent with momentum: products and sums of each weight, its gradient and its velocity, as one pass for each of the two
//! results. Each reads what was there before, so both are written where the caller wants them.

use lissom_graph::ValueId;
use lissom_kernels::Threads;
use lissom_kernels::elementwise::Binary;
use lissom_kernels::optimizer::{self, Sgd};

use crate::EngineError;
use crate::plan::lower::{Builder, Layout};
use crate::plan::operands::Operands;
use crate::plan::step::Compute;
use crate::plan::work::Op;

/// `v' = momentum · v + g + decay · w; w' = (w - rate · (v', or g + decay · w + momentum · v')) · mask`.
#[derive(Debug)]
struct Descent {
    weight: ValueId,
    gradient: ValueId,
    velocity: ValueId,
    rate: ValueId,
    mask: Option<ValueId>,
    momentum: f32,
    decay: f32,
    is_nesterov: bool,
    new_velocity: ValueId,
    new_weight: ValueId,
    works: Vec<usize>,
}

/// Adds the steps if work `index`, a product, is the first of such an update; else false.
pub(in crate::plan) fn descent(builder: &mut Builder<'_, '_>, index: usize) -> Result<bool, EngineError> {
    let Some(found) = Update { builder, index }.find().filter(|found| is_sound(builder, found)) else {
        return Ok(false);
    };
    let by = Sgd {
        learning_rate: 0.0,
        momentum: found.momentum,
        weight_decay: found.decay,
        is_nesterov: found.is_nesterov,
        gradient_scale: 1.0,
    };
    let mut inputs = Vec::new();
    for id in [found.weight, found.gradient, found.velocity] {
        inputs.push(builder.source(id, Layout::Plain)?);
    }
    found.works.iter().for_each(|&work| builder.is_done[work] = true);
    let len = builder.shape(found.weight)?.iter().product();
    let (network, velocity) = (builder.network, found.new_velocity.index());
    if network.is_output[velocity] || network.consumers[velocity].iter().any(|user| !found.works.contains(user)) {
        let info = builder.info(index, &found.works[1..], "velocity");
        let made = builder.compute(info, Velocity { by }, inputs.clone(), len);
        builder.set(found.new_velocity, Layout::Plain, made);
    }
    for id in std::iter::once(found.rate).chain(found.mask) {
        inputs.push(builder.source(id, Layout::Plain)?);
    }
    let info = builder.info(index, &found.works[1..], "descent");
    let made = builder.compute(info, Weight { by }, inputs, len);
    builder.set(found.new_weight, Layout::Plain, made);
    Ok(true)
}

/// All that is read is there, of one shape, and nobody else reads what is between.
fn is_sound(builder: &Builder<'_, '_>, found: &Descent) -> bool {
    let network = builder.network;
    let shape = network.shape(found.weight);
    let tensors = [found.weight, found.gradient, found.velocity];
    let mut whole = tensors.iter().chain(&found.mask);
    let is_own = |work: &usize| {
        let outputs = network.works[*work].outputs.iter().flatten();
        let mut between = outputs.filter(|id| ![found.new_velocity, found.new_weight].contains(id));
        between.all(|id| {
            !network.is_output[id.index()]
                && network.consumers[id.index()].iter().all(|user| found.works.contains(user))
        })
    };
    let is_alike = |id: &ValueId| network.is_f32(*id) && network.shape(*id) == shape && builder.is_ready(*id);
    let is_rate = network.is_f32(found.rate)
        && builder.is_ready(found.rate)
        && network.shape(found.rate).is_some_and(|shape| shape.iter().all(|&length| length == 1));
    // The velocity is read before its successor is there, and by nobody who needs the latter's maker to come first.
    shape.is_some()
        && whole.all(is_alike)
        && is_rate
        && found.works.iter().all(is_own)
        && found.works.iter().all(|&work| !builder.is_done[work] || work == found.works[0])
}

/// The search for what follows a product.
struct Update<'b, 'n, 'a> {
    builder: &'b Builder<'n, 'a>,
    index: usize,
}

impl Update<'_, '_, '_> {
    fn find(&self) -> Option<Descent> {
        let (x, factor) = self.by_constant(self.index)?;
        let scaled = self.builder.output(self.index)?;
        let next = self.builder.network.only_consumer(scaled)?;
        let gradient = self.operand(next, Binary::Add, scaled)?;
        let sum = self.builder.output(next)?;
        let works = vec![self.index, next];
        // Either decay · w + g, to which momentum · v is added, or that at once.
        self.decayed((x, factor), gradient, sum, &works)
            .or_else(|| self.descend(gradient, (x, factor), (gradient, None), sum, works))
    }

    fn decayed(&self, decay: (ValueId, f32), gradient: ValueId, sum: ValueId, works: &[usize]) -> Option<Descent> {
        let network = self.builder.network;
        network.consumers[sum.index()].iter().find_map(|&add| {
            let slowed = self.operand(add, Binary::Add, sum)?;
            let slow = network.producers[slowed.index()]?;
            let works = [works, &[slow, add]].concat();
            self.descend(gradient, self.by_constant(slow)?, (sum, Some(decay)), self.builder.output(add)?, works)
        })
    }

    /// What the new velocity leads to; `whole` is the gradient with its decay.
    fn descend(
        &self,
        gradient: ValueId,
        (velocity, momentum): (ValueId, f32),
        (whole, decay): (ValueId, Option<(ValueId, f32)>),
        new_velocity: ValueId,
        works: Vec<usize>,
    ) -> Option<Descent> {
        let network = self.builder.network;
        network.consumers[new_velocity.index()].iter().find_map(|&user| {
            let (mut works, mut step, mut is_nesterov) = (works.clone(), user, false);
            let mut direction = new_velocity;
            if let Some((_, factor)) = self.by_constant(user)
                && let Some(ahead) = self.builder.output(user)
                && let Some(add) = network.only_consumer(ahead)
                && self.operand(add, Binary::Add, ahead) == Some(whole)
            {
                if factor != momentum {
                    return None;
                }
                works.extend([user, add]);
                (direction, is_nesterov) = (self.builder.output(add)?, true);
                step = network.only_consumer(direction)?;
            }
            let rate = self.operand(step, Binary::Mul, direction)?;
            let change = self.builder.output(step)?;
            let sub = network.only_consumer(change)?;
            let Op::Binary(Binary::Sub) = network.works[sub].op else { return None };
            let weight = self.builder.input(sub, 0).filter(|_| self.builder.input(sub, 1) == Some(change))?;
            let mut new_weight = self.builder.output(sub)?;
            works.extend([step, sub]);
            if decay.is_some_and(|(decayed, _)| decayed != weight) {
                return None;
            }
            let masking = network.only_consumer(new_weight);
            let mask = masking.and_then(|next| self.operand(next, Binary::Mul, new_weight));
            let mask = mask.filter(|&mask| network.shape(mask) == network.shape(weight) && self.builder.is_ready(mask));
            if let (Some(next), Some(_)) = (masking, mask) {
                works.push(next);
                new_weight = self.builder.output(next)?;
            }
            let decay = decay.map_or(0.0, |(_, decay)| decay);
            Some(Descent {
                weight,
                gradient,
                velocity,
                rate,
                mask,
                momentum,
                decay,
                is_nesterov,
                new_velocity,
                new_weight,
                works,
            })
        })
    }

    /// What is multiplied by a constant number, and that.
    fn by_constant(&self, work: usize) -> Option<(ValueId, f32)> {
        let network = self.builder.network;
        let Op::Binary(Binary::Mul) = network.works[work].op else { return None };
        let (a, b) = (self.builder.input(work, 0)?, self.builder.input(work, 1)?);
        let of = |x: ValueId, factor: ValueId| Some((x, network.scalar(factor).filter(|_| !network.is_constant(x))?));
        of(a, b).or_else(|| of(b, a))
    }

    /// The other operand of `op` on `value`.
    fn operand(&self, work: usize, op: Binary, value: ValueId) -> Option<ValueId> {
        let Op::Binary(own) = self.builder.network.works[work].op else { return None };
        self.builder.other(work, value).filter(|_| own == op)
    }
}

/// w, g, v.
#[derive(Debug)]
struct Velocity {
    by: Sgd,
}

impl Compute for Velocity {
    fn run(&self, operands: &Operands<'_>, out: &mut [f32], threads: &Threads) -> Result<(), EngineError> {
        let old = [operands.f32(0)?, operands.f32(1)?, operands.f32(2)?];
        optimizer::sgd_velocity(threads, &self.by, old, out).map_err(|error| operands.kernel_error(error))
    }
}

/// w, g, v, rate, mask?
#[derive(Debug)]
struct Weight {
    by: Sgd,
}

impl Compute for Weight {
    fn run(&self, operands: &Operands<'_>, out: &mut [f32], threads: &Threads) -> Result<(), EngineError> {
        let old = [operands.f32(0)?, operands.f32(1)?, operands.f32(2)?];
        let learning_rate = operands.f32(3)?.first().copied().unwrap_or(0.0);
        let mask = if operands.has(4) { Some(operands.f32(4)?) } else { None };
        let by = Sgd { learning_rate, ..self.by };
        optimizer::sgd_weight(threads, &by, old, mask, out).map_err(|error| operands.kernel_error(error))
    }
}
