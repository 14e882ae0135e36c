//! Training networks: losses, optimizers and schedules, all as graphs.
//!
//! The gradient of a graph is a graph ([`differentiate`]), so a training step is one too ([`Step`]): forward, backward and update,
//! which the engine runs like any other. What changes from step to step goes in and comes out: parameters, running
//! statistics, what the optimizer keeps. A [`Trainer`] feeds these back, seeded and resumable; [`fit()`] is the loop around it, in which a
//! [`Technique`] has its say.
//!
//! - [`parameters`] are the constants of a network that can be trained; [`Forward`] is the network as training runs it, with its loss.
//! - [`LOSSES`], [`OPTIMIZERS`], [`SCHEDULES`] and [`ARCHITECTURES`] are plain lists: a file and a line each.
//! - [`recompute()`] makes cheap forward values again instead of keeping them.

pub mod architectures;
mod checkpoint;
mod detour;
mod error;
mod fit;
mod forward;
mod gradient;
pub mod losses;
mod nodes;
pub mod optimizers;
mod parameters;
mod random;
mod recompute;
mod report;
mod runner;
pub mod schedules;
mod step;
mod technique;
mod trainer;

pub use architectures::{ARCHITECTURES, Architecture, ArchitectureSpec};
pub use checkpoint::{Checkpoint, CheckpointError};
pub use detour::Detour;
pub use error::{Culprit, TrainError};
pub use fit::{
    Checkpoints, Evaluated, FitData, FitOptions, Fitted, InMemory, Samples, Source, Unwatched, Watch, WatchError, fit,
};
pub use forward::{BatchNorm, Dropped, Forward, ForwardOptions, Objective, Statistic, scores};
pub use gradient::{Differentiation, GradientError, Gradients, Missing, differentiate};
pub use losses::{LOSSES, Loss, LossSpec, Network, Target};
pub use nodes::{Nodes, floats};
pub use optimizers::{Length, OPTIMIZERS, Optimizer, OptimizerSpec, Perturbation, Slot, Updated};
pub use parameters::{Group, Parameter, parameters};
pub use random::Stream;
pub use recompute::{Recompute, recompute};
pub use report::Progress;
pub use runner::{Evaluation, Evaluator, Named, Runner};
pub use schedules::{RateNorm, SCHEDULES, Schedule, ScheduleSpec, refine};
pub use step::{Carried, Role, Step, StepOptions, StepOutputs};
pub use technique::{Due, Kept, Moment, Plain, Technique};
pub use trainer::{Precision, Trainer, TrainerOptions};
